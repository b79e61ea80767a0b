/*
 * fault.c - misbehaving on purpose, for tests only
 *
 *	KIND[:/PREFIX][:OPTION]...
 *
 * KIND is a status number, cut, stall, close, garbage, noise, wrong-chunk,
 * bad-signature, stale-serial or delay. PREFIX limits it to paths that start so.
 * Options: after=N, count=N, p=PERCENT, ms=N; a bare number is the count, or for
 * delay the milliseconds. Several faults may be given: delays add up, of the
 * others the first that is due fires.
 */
#include "server/fault.h"

#include <string.h>

#include "base/err.h"

static const struct {
	const char *name;
	enum fault_kind kind;
} kinds[] = {
	{ "cut", FAULT_CUT },
	{ "stall", FAULT_STALL },
	{ "close", FAULT_CLOSE },
	{ "garbage", FAULT_GARBAGE },
	{ "noise", FAULT_NOISE },
	{ "wrong-chunk", FAULT_WRONG_CHUNK },
	{ "bad-signature", FAULT_BAD_SIGNATURE },
	{ "stale-serial", FAULT_STALE_SERIAL },
	{ "delay", FAULT_DELAY },
};

static int number(const char *p, size_t n, u32 *out)
{
	u32 v = 0;

	if (!n || n > 8)
		return -EINVAL;
	for (size_t i = 0; i < n; i++) {
		if (p[i] < '0' || p[i] > '9')
			return -EINVAL;
		v = v * 10 + (u32)(p[i] - '0');
	}
	*out = v;
	return 0;
}

static int parse_kind(struct fault *f, const char *p, size_t n)
{
	u32 status;

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		if (n == strlen(kinds[i].name) && !memcmp(p, kinds[i].name, n)) {
			f->kind = kinds[i].kind;
			return 0;
		}
	if (number(p, n, &status) || status < 400 || status > 599)
		return -EINVAL;
	f->kind = FAULT_STATUS;
	f->status = (int)status;
	return 0;
}

static int parse_option(struct fault *f, const char *p, size_t n)
{
	static const char *const names[] = { "after=", "count=", "p=", "ms=" };
	u32 *const values[] = { &f->after, &f->count, &f->percent, &f->ms };

	if (n && p[0] == '/') {
		if (n >= sizeof(f->prefix))
			return -EINVAL;
		memcpy(f->prefix, p, n);
		f->prefix[n] = 0;
		return 0;
	}
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		size_t len = strlen(names[i]);

		if (n > len && !memcmp(p, names[i], len))
			return number(p + len, n - len, values[i]);
	}
	return number(p, n, f->kind == FAULT_DELAY ? &f->ms : &f->count);
}

/** fault_add() - one more fault; 0, -EINVAL for a bad @spec, -ENOSPC */
int fault_add(struct faults *f, const char *spec)
{
	struct fault *x = &f->list[f->count];
	size_t n = strcspn(spec, ":");
	int err;

	if (f->count == FAULTS_MAX)
		return -ENOSPC;
	memset(x, 0, sizeof(*x));
	x->percent = 100;
	err = parse_kind(x, spec, n);
	while (!err && spec[n]) {
		spec += n + 1;
		n = strcspn(spec, ":");
		err = parse_option(x, spec, n);
	}
	if (!err)
		f->count++;
	return err;
}

static u32 random_percent(struct faults *f)
{
	if (!f->random)
		f->random = 0x9e3779b97f4a7c15ull;
	f->random ^= f->random << 13;
	f->random ^= f->random >> 7;
	f->random ^= f->random << 17;
	return (u32)(f->random >> 33) % 100;
}

static bool due(struct faults *f, struct fault *x, const char *path)
{
	if (strncmp(path, x->prefix, strlen(x->prefix)))
		return false;
	if (x->seen++ < x->after || (x->count && x->fired == x->count))
		return false;
	if (x->percent < 100 && random_percent(f) >= x->percent)
		return false;
	x->fired++;
	return true;
}

/** fault_pick() - what is to go wrong with this request; usually nothing */
struct fault_hit fault_pick(struct faults *f, const char *path)
{
	struct fault_hit hit = { .kind = FAULT_NONE };

	for (u32 i = 0; i < f->count; i++) {
		struct fault *x = &f->list[i];

		if (x->kind != FAULT_DELAY && hit.kind != FAULT_NONE)
			continue;
		if (!due(f, x, path))
			continue;
		if (x->kind == FAULT_DELAY) {
			hit.delay_ms += x->ms;
		} else {
			hit.kind = x->kind;
			hit.status = x->status;
		}
	}
	return hit;
}
