/* A request's head: any bytes give a verdict; a prefix of a good one only ever wants more. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "server/request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void check(bool ok)
{
	if (!ok)
		abort();
}

static int parse_copy(const uint8_t *data, size_t n, struct request *r, size_t *used, int *status)
{
	char *copy = malloc(n ? n : 1);
	int err;

	memcpy(copy, data, n);
	err = request_parse(r, copy, n, used, status);
	free(copy);
	return err;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct request r, shorter;
	char value[64];
	size_t used, ignored;
	int status, err = parse_copy(data, n, &r, &used, &status);

	check(err == 0 || err == -EAGAIN || err == -EBADMSG);
	if (err == -EBADMSG)
		check(status >= 400 && status <= 505);
	if (err)
		return 0;
	check(used <= n && used <= REQUEST_HEAD_MAX && r.path[0] == '/');
	check(!memcmp(data + used - 2, "\r\n", 2));
	for (size_t cut = used - 1; cut > 0; cut /= 2)
		check(parse_copy(data, cut, &shorter, &ignored, &status) == -EAGAIN);
	if (!request_param(&r, "uuid", value, sizeof(value)))
		for (const char *p = value; *p; p++)
			check(*p >= ' ' && *p <= '~');
	return 0;
}
