/*
 * options.c - the loader's options: freshet.conf and the load options
 *
 * Two sources, one table. The file has a `key value` per line, `#` starts a
 * comment line. The load options are what iPXE, the UEFI shell or a boot entry
 * put behind the program's name: "freshet.efi key=value key=value", UTF-16.
 * They are read after the file, and win.
 *
 * Strict on purpose: a key that nobody knows, a value that nobody understands
 * and a key given twice are errors which name line and key, because a PC that
 * silently ignores "sever 10.0.0.1:80" sends an admin looking at the cables.
 *
 * The one thing ignored is load options that are no text at all: firmware marks
 * boot entries that it made itself with binary data there.
 *
 * Portable: no EFI header, so that tests and the fuzzer run it on the host.
 */
#include "boot/loader/options.h"

#include <string.h>

#include "base/endian.h"
#include "base/err.h"
#include "base/fmt.h"

#define WAIT_DEFAULT 30
#define WAIT_MAX 86400
#define MEMORY_MIN_MIB 64
#define MEMORY_MAX_MIB (1u << 24)
#define LOAD_MAX 2048 /* characters of load options */

struct span {
	const char *at;
	size_t n;
};

static bool span_is(struct span s, const char *text)
{
	return s.n == strlen(text) && !memcmp(s.at, text, s.n);
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

static struct span span_trim(struct span s)
{
	for (; s.n && is_blank(s.at[0]); s.at++, s.n--)
		;
	for (; s.n && is_blank(s.at[s.n - 1]); s.n--)
		;
	return s;
}

/* Cut @s at the first @c; what follows goes to @rest. False: there is none. */
static bool span_cut(struct span *s, char c, struct span *rest)
{
	size_t i;

	for (i = 0; i < s->n && s->at[i] != c; i++)
		;
	if (i == s->n)
		return false;
	*rest = (struct span){ s->at + i + 1, s->n - i - 1 };
	s->n = i;
	return true;
}

/* ---------------------------------------------------------------- values */

static bool number(struct span s, u32 min, u32 max, u32 *out)
{
	u32 v = 0;

	if (!s.n || s.n > 9)
		return false;
	for (size_t i = 0; i < s.n; i++) {
		if (s.at[i] < '0' || s.at[i] > '9')
			return false;
		v = v * 10 + (u32)(s.at[i] - '0');
	}
	*out = v;
	return v >= min && v <= max;
}

static bool ipv4(struct span s)
{
	struct span rest = { 0 };
	u32 v;

	for (int i = 0; i < 3; i++, s = rest)
		if (!span_cut(&s, '.', &rest) || !number(s, 0, 255, &v))
			return false;
	return number(s, 0, 255, &v);
}

static bool is_server(struct span s)
{
	static const char *const schemes[] = { "http://", "https://" };
	struct span port;
	u32 v;

	for (size_t i = 0; i < ARRAY_SIZE(schemes); i++) {
		size_t n = strlen(schemes[i]);

		if (s.n <= n || memcmp(s.at, schemes[i], n))
			continue;
		s.at += n;
		s.n -= n;
		if (s.at[s.n - 1] == '/')
			s.n--;
		break;
	}
	return span_cut(&s, ':', &port) && ipv4(s) && number(port, 1, 65535, &v);
}

static bool is_mode(struct span s)
{
	return span_is(s, "normal") || span_is(s, "null") || span_is(s, "test");
}

static bool is_ip(struct span s)
{
	struct span len, gateway;
	u32 v;

	if (span_is(s, "dhcp"))
		return true;
	return span_cut(&s, '/', &len) && span_cut(&len, ',', &gateway) && ipv4(s) &&
	       number(len, 1, 30, &v) && ipv4(gateway);
}

static bool is_switch(struct span s)
{
	return span_is(s, "0") || span_is(s, "1");
}

static bool is_wait(struct span s)
{
	u32 v;

	return number(s, 0, WAIT_MAX, &v);
}

static bool is_path(struct span s)
{
	return s.n > 1 && s.at[0] == '\\';
}

static bool is_disk(struct span s)
{
	return span_is(s, "auto") || span_is(s, "nvme") || span_is(s, "ahci") ||
	       span_is(s, "none");
}

static bool is_memory(struct span s)
{
	u32 v;

	return number(s, MEMORY_MIN_MIB, MEMORY_MAX_MIB, &v);
}

static bool is_nic(struct span s)
{
	return span_is(s, "none") || span_is(s, "virtio") || span_is(s, "e1000e");
}

static bool is_ping(struct span s)
{
	return span_is(s, "on") || span_is(s, "off");
}

static const struct option_kind {
	const char *key;
	bool (*valid)(struct span value);
	const char *want;
} kinds[OPTION_COUNT] = {
	[OPTION_SERVER] = { "server", is_server,
			    "an address and port like 10.0.0.1:80 or https://10.0.0.1:443" },
	[OPTION_MODE] = { "mode", is_mode, "normal or null" },
	[OPTION_IP] = { "ip", is_ip, "dhcp or address/length,gateway" },
	[OPTION_VERBOSE] = { "verbose", is_switch, "0 or 1" },
	[OPTION_WAIT] = { "wait", is_wait, "seconds, 0 to 86400" },
	[OPTION_LOADER] = { "loader", is_path, "a path that starts with \\" },
	[OPTION_DISK] = { "disk", is_disk, "auto, nvme, ahci or none" },
	[OPTION_MEMORY] = { "memory", is_memory, "MiB, 64 or more" },
	[OPTION_NIC] = { "nic", is_nic, "none, virtio or e1000e" },
	[OPTION_PING] = { "ping", is_ping, "on or off" },
};

/* ---------------------------------------------------------------- errors */

/* Only what a console can show: the bytes come from a file. */
static void copy_printable(char *out, size_t room, struct span s)
{
	size_t n = MIN(s.n, room - 1);

	for (size_t i = 0; i < n; i++)
		out[i] = s.at[i] >= 0x20 && s.at[i] < 0x7f ? s.at[i] : '?';
	out[n] = 0;
}

static int fail(struct options_error *e, u32 line, struct span key, const char *what)
{
	e->line = line;
	copy_printable(e->key, sizeof(e->key), key);
	fmt_snprintf(e->what, sizeof(e->what), "%s", what);
	return -EINVAL;
}

static int fail_want(struct options_error *e, u32 line, struct span key, const char *want)
{
	fail(e, line, key, "");
	fmt_snprintf(e->what, sizeof(e->what), "wanted %s", want);
	return -EINVAL;
}

/* ---------------------------------------------------------------- sources */

/*
 * One pair. @seen has a bit for each key that this source gave already: the
 * load options may override the file, nothing may contradict itself.
 */
static int set_option(struct options *o, u32 *seen, u32 line, struct span key, struct span value,
		      struct options_error *e)
{
	for (u32 i = 0; i < OPTION_COUNT; i++) {
		if (!span_is(key, kinds[i].key))
			continue;
		if (*seen & 1u << i)
			return fail(e, line, key, "given twice");
		if (value.n >= OPTION_BYTES)
			return fail(e, line, key, "the value is too long");
		for (size_t c = 0; c < value.n; c++)
			if (value.at[c] < 0x20 || value.at[c] > 0x7e)
				return fail(e, line, key, "the value is not plain ASCII");
		if (!kinds[i].valid(value))
			return fail_want(e, line, key, kinds[i].want);
		*seen |= 1u << i;
		memcpy(o->value[i], value.at, value.n);
		o->value[i][value.n] = 0;
		return 0;
	}
	return fail(e, line, key, "no such option");
}

/**
 * options_init() - the state in which nothing was given
 */
void options_init(struct options *o)
{
	memset(o, 0, sizeof(*o));
}

/**
 * options_file() - read the text of freshet.conf
 * @text:  its bytes, not terminated; may be anything
 * @e:     out, when it fails
 *
 * Accepts LF and CRLF, and the byte order mark that some editors put in front.
 * Return: 0; -EINVAL with @e filled in.
 */
int options_file(struct options *o, const char *text, size_t bytes, struct options_error *e)
{
	struct span rest = { text, bytes }, line, value;
	u32 seen = 0, number_of = 0;
	bool more = true;
	int err;

	if (bytes > OPTIONS_FILE_MAX)
		return fail(e, 1, (struct span){ "", 0 }, "the file is too long");
	if (bytes >= 3 && !memcmp(text, "\xef\xbb\xbf", 3))
		rest = (struct span){ text + 3, bytes - 3 };
	while (more) {
		line = rest;
		more = span_cut(&line, '\n', &rest);
		number_of++;
		line = span_trim(line);
		if (!line.n || line.at[0] == '#')
			continue;
		value = (struct span){ line.at + line.n, 0 };
		for (size_t i = 0; i < line.n; i++)
			if (is_blank(line.at[i])) {
				value = (struct span){ line.at + i, line.n - i };
				line.n = i;
				break;
			}
		err = set_option(o, &seen, number_of, line, span_trim(value), e);
		if (err)
			return err;
	}
	return 0;
}

/* UTF-16 to ASCII; -ENODATA when the bytes are not the text of load options. */
static int load_text(const void *args, size_t bytes, char *out, size_t *n)
{
	size_t i;

	if (bytes % 2)
		return -ENODATA;
	for (i = 0; i < bytes / 2; i++) {
		u16 c = get_le16((const u8 *)args + 2 * i);

		if (!c)
			break;
		if (i == LOAD_MAX || c > 0x7e || (c < 0x20 && c != '\t'))
			return -ENODATA;
		out[i] = (char)c;
	}
	*n = i;
	return 0;
}

/**
 * options_load() - read the load options of a loaded image
 * @args:  LoadOptions, need not be aligned, terminated or text
 * @bytes: LoadOptionsSize
 * @e:     out, when it fails
 *
 * A first word without "=" is the program's own name, as iPXE and the UEFI
 * shell pass it.
 * Return: 0; -ENODATA when they are no text (and were ignored); -EINVAL with
 * @e filled in.
 */
int options_load(struct options *o, const void *args, size_t bytes, struct options_error *e)
{
	static char text[LOAD_MAX];
	struct span rest = { text, 0 }, word, value;
	u32 seen = 0;
	bool first = true, more = true;
	int err = load_text(args, bytes, text, &rest.n);

	if (err)
		return err;
	for (size_t i = 0; i < rest.n; i++)
		if (text[i] == '\t')
			text[i] = ' ';
	while (more) {
		word = rest;
		more = span_cut(&word, ' ', &rest);
		if (!word.n)
			continue;
		if (!span_cut(&word, '=', &value)) {
			if (!first)
				return fail(e, 0, word, "wanted key=value");
		} else {
			err = set_option(o, &seen, 0, word, value, e);
			if (err)
				return err;
		}
		first = false;
	}
	return 0;
}

/**
 * options_complete() - is everything there that a boot needs?
 *
 * Return: 0; -EINVAL with @e filled in.
 */
int options_complete(const struct options *o, struct options_error *e)
{
	if (options_null_mode(o) || o->value[OPTION_SERVER][0])
		return 0;
	return fail(e, 0, (struct span){ "server", 6 },
		    "missing: neither freshet.conf nor the load options have it");
}

/**
 * options_render() - the options as text for the VMM
 * @out: "key value\n" lines, terminated
 *
 * Return: length; -EMSGSIZE when @room is too small.
 */
int options_render(const struct options *o, char *out, size_t room)
{
	size_t at = 0;

	if (!room)
		return -EMSGSIZE;
	out[0] = 0;
	for (u32 i = 0; i < OPTION_COUNT; i++) {
		int n;

		if (!o->value[i][0])
			continue;
		n = fmt_snprintf(out + at, room - at, "%s %s\n", kinds[i].key, o->value[i]);
		if ((size_t)n >= room - at)
			return -EMSGSIZE;
		at += (size_t)n;
	}
	return (int)at;
}

/** options_null_mode() - true: the VMM runs, and takes no device */
bool options_null_mode(const struct options *o)
{
	return !strcmp(o->value[OPTION_MODE], "null") || options_test_mode(o);
}

/** options_test_mode() - true: as null mode, and the guest may ask for hooks (HC_TEST) */
bool options_test_mode(const struct options *o)
{
	return !strcmp(o->value[OPTION_MODE], "test");
}

/** options_wait() - seconds until a trouble screen takes its default */
u32 options_wait(const struct options *o)
{
	const char *v = o->value[OPTION_WAIT];
	u32 s;

	return number((struct span){ v, strlen(v) }, 0, WAIT_MAX, &s) ? s : WAIT_DEFAULT;
}

/** options_disk() - where the store is to lie */
enum options_disk options_disk(const struct options *o)
{
	const char *v = o->value[OPTION_DISK];

	return !strcmp(v, "none") ? OPTIONS_DISK_NONE :
	       !strcmp(v, "nvme") ? OPTIONS_DISK_NVME :
	       !strcmp(v, "ahci") ? OPTIONS_DISK_AHCI : OPTIONS_DISK_AUTO;
}

/** options_memory() - bytes of memory for the store of a PC without a disk; 0: not said */
u64 options_memory(const struct options *o)
{
	const char *v = o->value[OPTION_MEMORY];
	u32 mib;

	/* whole pages of 2 MiB */
	return number((struct span){ v, strlen(v) }, MEMORY_MIN_MIB, MEMORY_MAX_MIB, &mib) ?
		       ALIGN_UP(mib, 2u) * MIB : 0;
}
