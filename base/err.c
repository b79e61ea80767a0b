#include "base/err.h"

#include "base/types.h"
#include "base/log.h"

static const struct {
	int err;
	const char *name;
} names[] = {
#define E(x) { x, #x }
	E(EPERM), E(ENOENT), E(EINTR), E(EIO), E(ENXIO), E(E2BIG), E(EAGAIN),
	E(ENOMEM), E(EACCES), E(EFAULT), E(EBUSY), E(EEXIST), E(ENODEV),
	E(EINVAL), E(ENFILE), E(EFBIG), E(ENOSPC), E(EROFS), E(EPIPE),
	E(ERANGE), E(ENOSYS), E(ENODATA), E(ETIME), E(EPROTO), E(EBADMSG),
	E(EOVERFLOW), E(EILSEQ), E(EMSGSIZE), E(EOPNOTSUPP), E(EADDRNOTAVAIL),
	E(ENETUNREACH), E(ECONNABORTED), E(ECONNRESET), E(ENOBUFS),
	E(ENOTCONN), E(ETIMEDOUT), E(ECONNREFUSED), E(EHOSTUNREACH),
	E(EALREADY), E(EINPROGRESS), E(ESTALE), E(EREMOTEIO), E(ECANCELED), E(EKEYREJECTED),
#undef E
};

/** err_name() - "EIO" for 5 or -5; "E?" for a number that is not listed */
const char *err_name(int err)
{
	if (err < 0)
		err = -err;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (names[i].err == err)
			return names[i].name;
	return err ? "E?" : "OK";
}

#ifdef FRESHET_DEBUG
int err_trace_at(int err, const char *file, int line)
{
	log_dbg("%s:%d: %s", file, line, err_name(err));
	return err;
}
#endif
