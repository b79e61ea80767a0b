/*
 * config.c - freshetd's own settings: a file of "key value" lines, then the command line
 *
 * Two kinds of settings are kept apart. What a site's machines get is in site.conf
 * and the database, and is changed while the server runs. What the server is
 * (addresses, limits, who may connect how) is here, and is read once, at the start.
 */
#include "server/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"

enum kind {
	KIND_TEXT,
	KIND_LIST,
	KIND_NUMBER,
	KIND_BOOL,
	KIND_PLAIN,
	KIND_LEVEL,
	KIND_ENROL,
};

static const struct key {
	const char *name;
	enum kind kind;
	size_t offset;
	size_t count_offset; /* of a list */
	u32 min, max;	     /* of a number */
} keys[] = {
	{ "data", KIND_TEXT, offsetof(struct config, data), 0, 0, 0 },
	{ "key", KIND_TEXT, offsetof(struct config, key), 0, 0, 0 },
	{ "objects", KIND_TEXT, offsetof(struct config, objects), 0, 0, 0 },
	{ "s3_credentials", KIND_TEXT, offsetof(struct config, s3_credentials), 0, 0, 0 },
	{ "s3_ca", KIND_TEXT, offsetof(struct config, s3_ca), 0, 0, 0 },
	{ "s3_connections", KIND_NUMBER, offsetof(struct config, s3_connections), 0, 1, 64 },
	{ "listen", KIND_LIST, offsetof(struct config, listen), offsetof(struct config, listens), 0,
	  0 },
	{ "listen_tls", KIND_LIST, offsetof(struct config, listen_tls),
	  offsetof(struct config, listens_tls), 0, 0 },
	{ "tls_cert", KIND_TEXT, offsetof(struct config, tls_cert), 0, 0, 0 },
	{ "tls_key", KIND_TEXT, offsetof(struct config, tls_key), 0, 0, 0 },
	{ "tls_names", KIND_TEXT, offsetof(struct config, tls_names), 0, 0, 0 },
	{ "wake_address", KIND_TEXT, offsetof(struct config, wake_address), 0, 0, 0 },
	{ "max_connections", KIND_NUMBER, offsetof(struct config, connections), 0, 1, 100000 },
	{ "api_rate", KIND_NUMBER, offsetof(struct config, api_rate), 0, 1, 1000000 },
	{ "login_rate", KIND_NUMBER, offsetof(struct config, login_rate), 0, 1, 1000000 },
	{ "boot_rate", KIND_NUMBER, offsetof(struct config, boot_rate), 0, 1, 1000000 },
	{ "jobs", KIND_NUMBER, offsetof(struct config, jobs), 0, 1, 64 },
	{ "object_cache", KIND_NUMBER, offsetof(struct config, object_cache), 0, 0, 1000000 },
	{ "log_level", KIND_LEVEL, offsetof(struct config, log_level), 0, 0, 0 },
	{ "enrol", KIND_ENROL, offsetof(struct config, open_enrolment), 0, 0, 0 },
	{ "plain_api", KIND_PLAIN, offsetof(struct config, plain_api), 0, 0, 0 },
	{ "metrics", KIND_PLAIN, offsetof(struct config, metrics), 0, 0, 0 },
	{ "plain_objects", KIND_BOOL, offsetof(struct config, plain_objects), 0, 0, 0 },
	{ "plain_boot", KIND_BOOL, offsetof(struct config, plain_boot), 0, 0, 0 },
	{ "verify", KIND_BOOL, offsetof(struct config, verify), 0, 0, 0 },
	{ "dashboard", KIND_BOOL, offsetof(struct config, dashboard), 0, 0, 0 },
};

/** config_default() - what holds without a file and without options */
void config_default(struct config *c)
{
	*c = (struct config){
		.wake_address = "255.255.255.255:9",
		.connections = 1024,
		.api_rate = 200,
		.login_rate = 10,
		.boot_rate = 1000,
		.jobs = 2,
		.object_cache = 1024,
		.s3_connections = 16,
		.log_level = 2,
		.open_enrolment = true,
		.plain_api = PLAIN_LOOPBACK,
		.metrics = PLAIN_LOOPBACK,
		.plain_objects = true,
		.plain_boot = true,
		.dashboard = true,
		.verify = true,
	};
}

static int word(const char *value, const char *const *words, int n)
{
	for (int i = 0; i < n; i++)
		if (!strcmp(value, words[i]))
			return i;
	return -EINVAL;
}

static int set_text(char *out, const char *value)
{
	if (strlen(value) >= CONFIG_TEXT_MAX)
		return -EMSGSIZE;
	strcpy(out, value);
	return 0;
}

static int set_number(u32 *out, const struct key *k, const char *value)
{
	unsigned long long v;
	char *end;

	if (*value < '0' || *value > '9')
		return -EINVAL;
	errno = 0;
	v = strtoull(value, &end, 10);
	if (*end || errno)
		return -EINVAL;
	if (v < k->min || v > k->max)
		return -ERANGE;
	*out = (u32)v;
	return 0;
}

static int set_list(struct config *c, const struct key *k, const char *value)
{
	u32 *count = (u32 *)((char *)c + k->count_offset);

	if (*count == CONFIG_LISTEN_MAX)
		return -ENOSPC;
	return set_text((char *)c + k->offset + (size_t)(*count)++ * CONFIG_TEXT_MAX, value);
}

static int set_value(struct config *c, const struct key *k, const char *value)
{
	static const char *const bools[] = { "off", "on" };
	static const char *const plains[] = { "off", "loopback", "on" };
	static const char *const levels[] = { "err", "warn", "info", "debug" };
	static const char *const enrols[] = { "approve", "open" };
	void *at = (char *)c + k->offset;
	int v;

	switch (k->kind) {
	case KIND_TEXT:
		return set_text(at, value);
	case KIND_LIST:
		return set_list(c, k, value);
	case KIND_NUMBER:
		return set_number(at, k, value);
	case KIND_BOOL:
	case KIND_ENROL:
		v = word(value, k->kind == KIND_BOOL ? bools : enrols, 2);
		if (v >= 0)
			*(bool *)at = v;
		break;
	case KIND_PLAIN:
		v = word(value, plains, 3);
		if (v >= 0)
			*(enum config_plain *)at = (enum config_plain)v;
		break;
	case KIND_LEVEL:
		v = word(value, levels, 4);
		if (v >= 0)
			*(int *)at = v;
		break;
	default:
		v = -EINVAL;
	}
	return v < 0 ? -EINVAL : 0;
}

/** config_set() - one setting; -ENOENT: no such key; -EINVAL, -ERANGE, -EMSGSIZE, -ENOSPC */
int config_set(struct config *c, const char *key, const char *value)
{
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		if (!strcmp(keys[i].name, key))
			return set_value(c, &keys[i], value);
	return -ENOENT;
}

static char *trim(char *p)
{
	char *end = p + strlen(p);

	while (end > p && (end[-1] == ' ' || end[-1] == '\t' || end[-1] == '\r' || end[-1] == '\n'))
		*--end = 0;
	return p + strspn(p, " \t");
}

/**
 * config_read() - all settings of a file, each line checked
 * @why: out, on failure: what is wrong, with its line
 */
int config_read(struct config *c, const char *path, char why[256])
{
	FILE *f = fopen(path, "re");
	char line[CONFIG_TEXT_MAX + 64];
	int err = 0, n = 0;

	if (!f) {
		snprintf(why, 256, "%.200s: %s", path, strerror(errno));
		return -errno;
	}
	while (!err && fgets(line, sizeof(line), f)) {
		char *key = trim(line), *value = key + strcspn(key, " \t");

		n++;
		if (!*key || *key == '#')
			continue;
		if (*value)
			*value++ = 0;
		err = config_set(c, key, trim(value));
		if (err)
			snprintf(why, 256, "%.120s line %d: %.32s: %s", path, n, key,
				 err == -ENOENT ? "no such setting" :
				 err == -ERANGE ? "out of range" :
				 err == -ENOSPC ? "too many" : "bad value");
	}
	fclose(f);
	return err;
}
