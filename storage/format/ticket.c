/*
 * ticket.c - signed text: boot tickets and channels
 *
 * One small reader for both: first line, then "key value" lines. It refuses
 * before it understands anything: too long, not ASCII, no newline at the end,
 * a key twice (known or not), a line without a value. So two readers of one
 * text can hardly disagree about it.
 */
#include "storage/format/ticket.h"

#include <string.h>

#include "base/err.h"
#include "base/fmt.h"
#include "storage/format/manifest.h"

#define SIG_LINE_BYTES (4 + 2 * P256_SIG_BYTES + 1) /* "sig " hex newline */
#define TICKET_TITLE "freshet-ticket 1"
#define CHANNEL_TITLE "freshet-channel 1"

struct span {
	const char *s;
	size_t n;
};

struct sigtext_line {
	struct span key, value;
};

static bool span_is(struct span a, const char *s)
{
	return a.n == strlen(s) && !memcmp(a.s, s, a.n);
}

static bool span_same(struct span a, struct span b)
{
	return a.n == b.n && !memcmp(a.s, b.s, a.n);
}

static bool is_key_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
}

/* "key value": a key, one space, a value that neither starts nor ends with one. */
static int split_line(struct span line, struct sigtext_line *out)
{
	size_t k = 0;

	while (k < line.n && is_key_char(line.s[k]))
		k++;
	if (!k || k + 1 >= line.n || line.s[k] != ' ')
		return err_trace(-EINVAL);
	out->key = (struct span){ line.s, k };
	out->value = (struct span){ line.s + k + 1, line.n - k - 1 };
	if (out->value.s[0] == ' ' || out->value.s[out->value.n - 1] == ' ')
		return err_trace(-EINVAL);
	return 0;
}

/*
 * Cut @text into lines[]; a sig line may only be the last one and is not
 * handed out. *count out.
 */
static int split_text(const char *text, size_t n, const char *title, struct sigtext_line *lines,
		      u32 *count)
{
	u32 used = 0;
	size_t pos = 0;
	bool first = true, sig_seen = false;

	if (n > SIGTEXT_MAX)
		return err_trace(-EMSGSIZE);
	if (!n || text[n - 1] != '\n')
		return err_trace(-EINVAL);
	for (size_t i = 0; i < n; i++)
		if (text[i] != '\n' && (text[i] < 0x20 || text[i] > 0x7e))
			return err_trace(-EINVAL);
	while (pos < n) {
		struct span line = { text + pos, 0 };

		while (line.s[line.n] != '\n')
			line.n++;
		pos += line.n + 1;
		if (first) {
			if (!span_is(line, title))
				return err_trace(-EINVAL);
			first = false;
			continue;
		}
		if (sig_seen || used == SIGTEXT_KEYS_MAX || split_line(line, &lines[used]))
			return err_trace(-EINVAL);
		if (span_is(lines[used].key, "sig")) {
			sig_seen = true;
			continue;
		}
		for (u32 i = 0; i < used; i++)
			if (span_same(lines[i].key, lines[used].key))
				return err_trace(-EINVAL);
		used++;
	}
	*count = used;
	return 0;
}

static const struct span *find(const struct sigtext_line *lines, u32 count, const char *key)
{
	for (u32 i = 0; i < count; i++)
		if (span_is(lines[i].key, key))
			return &lines[i].value;
	return NULL;
}

/* Decimal, no sign, no leading zero, no overflow. */
static int parse_u64(struct span v, u64 max, u64 *out)
{
	u64 x = 0;

	if (!v.n || (v.n > 1 && v.s[0] == '0'))
		return err_trace(-EINVAL);
	for (size_t i = 0; i < v.n; i++) {
		u64 digit = (u64)(v.s[i] - '0');

		if (v.s[i] < '0' || v.s[i] > '9' || x > (~0ull - digit) / 10)
			return err_trace(-EINVAL);
		x = x * 10 + digit;
	}
	if (x > max)
		return err_trace(-EINVAL);
	*out = x;
	return 0;
}

/* Lower-case hex only, so that a digest has one spelling. */
static int parse_hex(struct span v, u8 *out, size_t bytes)
{
	for (size_t i = 0; i < v.n; i++)
		if (v.s[i] >= 'A' && v.s[i] <= 'F')
			return err_trace(-EINVAL);
	return fmt_unhex(out, bytes, v.s, v.n);
}

/** channel_name_ok() - parts of [a-z0-9._-] separated by '/', none empty or starting with '.' */
bool channel_name_ok(const char *s, size_t n)
{
	size_t start = 0;

	if (!n || n > CHANNEL_NAME_MAX)
		return false;
	for (size_t i = 0; i <= n; i++) {
		if (i < n && s[i] != '/')
			continue;
		if (!manifest_name_ok(s + start, i - start))
			return false;
		start = i + 1;
	}
	return true;
}

static int parse_channel_name(const struct span *v, char *out)
{
	if (!v || !channel_name_ok(v->s, v->n))
		return err_trace(-EINVAL);
	memcpy(out, v->s, v->n);
	out[v->n] = 0;
	return 0;
}

static int parse_claim(struct span v, struct ticket *t)
{
	static const char prefix[] = "serial:";
	size_t skip = sizeof(prefix) - 1;

	if (span_is(v, "none")) {
		t->claim = TICKET_CLAIM_NONE;
	} else if (span_is(v, "blank")) {
		t->claim = TICKET_CLAIM_BLANK;
	} else {
		if (v.n <= skip || v.n - skip > TICKET_DISK_SERIAL_MAX ||
		    memcmp(v.s, prefix, skip) || v.s[skip] == ' ')
			return err_trace(-EINVAL);
		t->claim = TICKET_CLAIM_SERIAL;
		memcpy(t->claim_serial, v.s + skip, v.n - skip);
	}
	return 0;
}

static const char *const frontends[] = { "same", "nvme", "ahci" };
static const char *const nics[] = { "none", "virtio", "e1000e" };

/* Which of @names? Or -EINVAL. */
static int parse_name(struct span v, const char *const *names, u32 count)
{
	for (u32 i = 0; i < count; i++)
		if (span_is(v, names[i]))
			return (int)i;
	return -EINVAL;
}

/** ticket_frontend_parse() - a front-end's name; 0 or -EINVAL */
int ticket_frontend_parse(const char *s, size_t n, enum ticket_frontend *out)
{
	int i = parse_name((struct span){ s, n }, frontends, ARRAY_SIZE(frontends));

	if (i >= 0)
		*out = (enum ticket_frontend)i;
	return MIN(i, 0);
}

/** ticket_nic_parse() - a network card's name; 0 or -EINVAL */
int ticket_nic_parse(const char *s, size_t n, enum ticket_nic *out)
{
	int i = parse_name((struct span){ s, n }, nics, ARRAY_SIZE(nics));

	if (i >= 0)
		*out = (enum ticket_nic)i;
	return MIN(i, 0);
}

static int parse_required(const struct sigtext_line *lines, u32 count, struct ticket *t)
{
	const struct span *uuid = find(lines, count, "uuid");
	const struct span *serial = find(lines, count, "serial");
	const struct span *version = find(lines, count, "version");
	const struct span *policy = find(lines, count, "policy");

	if (!uuid || !serial || !version || !policy)
		return err_trace(-EINVAL);
	if (parse_channel_name(find(lines, count, "channel"), t->channel) ||
	    guid_parse(t->uuid, uuid->s, uuid->n) || parse_u64(*serial, ~0ull, &t->serial) ||
	    parse_hex(*version, t->version, SHA256_BYTES))
		return err_trace(-EINVAL);
	if (span_is(*policy, "boot"))
		t->policy = TICKET_POLICY_BOOT;
	else if (span_is(*policy, "push"))
		t->policy = TICKET_POLICY_PUSH;
	else if (span_is(*policy, "never"))
		t->policy = TICKET_POLICY_NEVER;
	else
		return err_trace(-EINVAL);
	return 0;
}

/* "1320-360": minutes of the day; it may go over midnight. */
static int parse_window(struct span v, struct ticket *t)
{
	struct span from = { v.s, 0 }, to;
	u64 a, b;

	while (from.n < v.n && v.s[from.n] != '-')
		from.n++;
	if (from.n == v.n)
		return err_trace(-EINVAL);
	to = (struct span){ v.s + from.n + 1, v.n - from.n - 1 };
	if (parse_u64(from, TICKET_DAY_MINUTES - 1, &a) ||
	    parse_u64(to, TICKET_DAY_MINUTES - 1, &b))
		return err_trace(-EINVAL);
	t->fill_from = (u16)a;
	t->fill_to = (u16)b;
	return 0;
}

static int parse_switch(const struct span *v, bool *out)
{
	if (!v)
		return 0;
	if (!span_is(*v, "on") && !span_is(*v, "off"))
		return err_trace(-EINVAL);
	*out = span_is(*v, "on");
	return 0;
}

static int parse_optional(const struct sigtext_line *lines, u32 count, struct ticket *t)
{
	const struct span *v;
	u64 limit = 0;

	v = find(lines, count, "esp");
	if (v && !span_is(*v, "none")) {
		if (parse_hex(*v, t->esp, SHA256_BYTES))
			return err_trace(-EINVAL);
		t->has_esp = true;
	}
	v = find(lines, count, "claim");
	if (v && parse_claim(*v, t))
		return err_trace(-EINVAL);
	t->fill = true;
	if (parse_switch(find(lines, count, "fill"), &t->fill) ||
	    parse_switch(find(lines, count, "metered"), &t->metered))
		return err_trace(-EINVAL);
	v = find(lines, count, "fill_limit");
	if (v && parse_u64(*v, ~0u, &limit))
		return err_trace(-EINVAL);
	t->fill_limit_kib = (u32)limit;
	v = find(lines, count, "frontend");
	if (v && ticket_frontend_parse(v->s, v->n, &t->frontend))
		return err_trace(-EINVAL);
	v = find(lines, count, "nic");
	if (v && ticket_nic_parse(v->s, v->n, &t->nic))
		return err_trace(-EINVAL);
	v = find(lines, count, "sources");
	if (v && sources_parse(&t->sources, v->s, v->n))
		return err_trace(-EINVAL);
	v = find(lines, count, "time");
	if (v && parse_u64(*v, ~0ull, &t->time_unix))
		return err_trace(-EINVAL);
	v = find(lines, count, "fill_window");
	if (v && (parse_window(*v, t) || !t->time_unix))
		return err_trace(-EINVAL); /* without a clock it means nothing */
	v = find(lines, count, "credential");
	if (v && parse_hex(*v, t->credential, CREDENTIAL_BYTES))
		return err_trace(-EINVAL);
	t->has_credential = v;
	return 0;
}

/**
 * ticket_parse() - text to struct, strictly
 * @bytes: with or without its sig line
 * @out:   filled on success only
 *
 * Required: uuid, channel, serial, version, policy.
 * Return: 0; -EINVAL; -EMSGSIZE beyond SIGTEXT_MAX.
 */
int ticket_parse(const void *bytes, size_t n, struct ticket *out)
{
	struct sigtext_line lines[SIGTEXT_KEYS_MAX];
	struct ticket t;
	u32 count;
	int err;

	err = split_text(bytes, n, TICKET_TITLE, lines, &count);
	if (err)
		return err;
	memset(&t, 0, sizeof(t));
	err = parse_required(lines, count, &t);
	if (err)
		return err;
	err = parse_optional(lines, count, &t);
	if (err)
		return err;
	*out = t;
	return 0;
}

/**
 * channel_parse() - the same for a channel: name, serial, version
 *
 * Return: 0; -EINVAL; -EMSGSIZE.
 */
int channel_parse(const void *bytes, size_t n, struct channel *out)
{
	struct sigtext_line lines[SIGTEXT_KEYS_MAX];
	const struct span *serial, *version;
	struct channel c;
	u32 count;
	int err;

	err = split_text(bytes, n, CHANNEL_TITLE, lines, &count);
	if (err)
		return err;
	memset(&c, 0, sizeof(c));
	serial = find(lines, count, "serial");
	version = find(lines, count, "version");
	if (!serial || !version || parse_channel_name(find(lines, count, "name"), c.name) ||
	    parse_u64(*serial, ~0ull, &c.serial) || parse_hex(*version, c.version, SHA256_BYTES))
		return err_trace(-EINVAL);
	*out = c;
	return 0;
}

/** credential_text() - as a machine says it; returns @out */
char *credential_text(char out[CREDENTIAL_TEXT_BYTES], const u8 credential[CREDENTIAL_BYTES])
{
	memcpy(out, CREDENTIAL_PREFIX, 4);
	fmt_hex(out + 4, credential, CREDENTIAL_BYTES);
	return out;
}

/** ticket_policy_name() - as in the text */
const char *ticket_policy_name(enum ticket_policy policy)
{
	static const char *const names[] = { "boot", "push", "never" };

	return names[MIN((u32)policy, 2u)];
}

/** ticket_frontend_name() - as in the text */
const char *ticket_frontend_name(enum ticket_frontend frontend)
{
	return frontends[MIN((u32)frontend, (u32)ARRAY_SIZE(frontends) - 1)];
}

/** ticket_nic_name() - as in the text */
const char *ticket_nic_name(enum ticket_nic nic)
{
	return nics[MIN((u32)nic, (u32)ARRAY_SIZE(nics) - 1)];
}

struct text_out {
	char *out;
	size_t room, used;
	bool full;
};

static void put(struct text_out *o, const char *key, const char *value)
{
	int n;

	if (o->full)
		return;
	n = fmt_snprintf(o->out + o->used, o->room - o->used, "%s %s\n", key, value);
	if (n < 0 || (size_t)n >= o->room - o->used)
		o->full = true;
	else
		o->used += (size_t)n;
}

static void put_u64(struct text_out *o, const char *key, u64 v)
{
	char text[24];

	fmt_snprintf(text, sizeof(text), "%llu", (unsigned long long)v);
	put(o, key, text);
}

static void put_digest(struct text_out *o, const char *key, const u8 *digest)
{
	char hex[2 * SHA256_BYTES + 1];

	put(o, key, fmt_hex(hex, digest, SHA256_BYTES));
}

/**
 * ticket_build() - the text up to where "sig" goes
 * @out: @room bytes
 * @n:   out, length without a terminator
 *
 * Return: 0; -ENOSPC; -EINVAL for a struct that would not parse.
 */
int ticket_build(const struct ticket *t, char *out, size_t room, size_t *n)
{
	struct text_out o = { .out = out, .room = room };
	char uuid[GUID_TEXT_BYTES], claim[TICKET_DISK_SERIAL_MAX + 16], window[16];
	char sources[SOURCES_TEXT_BYTES];
	struct ticket check;

	put(&o, "freshet-ticket", "1");
	put(&o, "uuid", guid_format(uuid, t->uuid));
	put(&o, "channel", t->channel);
	put_u64(&o, "serial", t->serial);
	put_digest(&o, "version", t->version);
	put(&o, "policy", ticket_policy_name(t->policy));
	if (t->has_esp)
		put_digest(&o, "esp", t->esp);
	else
		put(&o, "esp", "none");
	fmt_snprintf(claim, sizeof(claim), "serial:%s", t->claim_serial);
	put(&o, "claim", t->claim == TICKET_CLAIM_SERIAL ? claim :
			 t->claim == TICKET_CLAIM_BLANK	 ? "blank" :
							   "none");
	put(&o, "fill", t->fill ? "on" : "off");
	put_u64(&o, "fill_limit", t->fill_limit_kib);
	fmt_snprintf(window, sizeof(window), "%u-%u", t->fill_from, t->fill_to);
	if (t->fill_from != t->fill_to)
		put(&o, "fill_window", window);
	if (t->metered)
		put(&o, "metered", "on");
	put(&o, "frontend", ticket_frontend_name(t->frontend));
	put(&o, "nic", ticket_nic_name(t->nic));
	if (t->sources.count)
		put(&o, "sources", sources_print(sources, &t->sources));
	put_u64(&o, "time", t->time_unix);
	if (t->has_credential)
		put_digest(&o, "credential", t->credential);
	if (o.full)
		return err_trace(-ENOSPC);
	if (ticket_parse(out, o.used, &check))
		return err_trace(-EINVAL);
	*n = o.used;
	return 0;
}

/** channel_build() - as ticket_build() */
int channel_build(const struct channel *c, char *out, size_t room, size_t *n)
{
	struct text_out o = { .out = out, .room = room };
	struct channel check;

	put(&o, "freshet-channel", "1");
	put(&o, "name", c->name);
	put_u64(&o, "serial", c->serial);
	put_digest(&o, "version", c->version);
	if (o.full)
		return err_trace(-ENOSPC);
	if (channel_parse(out, o.used, &check))
		return err_trace(-EINVAL);
	*n = o.used;
	return 0;
}

/** sigtext_digest() - what is signed: every byte before the sig line */
void sigtext_digest(u8 out[SHA256_BYTES], const void *bytes, size_t n)
{
	crypto_sha256(out, bytes, n);
}

/**
 * sigtext_append_sig() - add the last line
 * @n: in and out
 *
 * Return: 0; -ENOSPC, also beyond SIGTEXT_MAX.
 */
int sigtext_append_sig(char *out, size_t room, size_t *n, const u8 sig[P256_SIG_BYTES])
{
	char line[SIG_LINE_BYTES + 1];

	if (*n > SIGTEXT_MAX - SIG_LINE_BYTES || room < *n || room - *n < SIG_LINE_BYTES)
		return err_trace(-ENOSPC);
	memcpy(line, "sig ", 4);
	fmt_hex(line + 4, sig, P256_SIG_BYTES);
	line[SIG_LINE_BYTES - 1] = '\n';
	memcpy(out + *n, line, SIG_LINE_BYTES);
	*n += SIG_LINE_BYTES;
	return 0;
}

/**
 * sigtext_verify() - was this ticket or channel signed by one of @keys?
 *
 * Return: 0; -EKEYREJECTED; -EINVAL without a well-formed sig line at the end.
 */
int sigtext_verify(const void *bytes, size_t n, const u8 keys[][P256_PUB_BYTES], u32 nkeys)
{
	u8 digest[SHA256_BYTES], sig[P256_SIG_BYTES];
	const char *line;

	if (n > SIGTEXT_MAX || n <= SIG_LINE_BYTES)
		return err_trace(-EINVAL);
	line = (const char *)bytes + n - SIG_LINE_BYTES;
	if (line[-1] != '\n' || line[SIG_LINE_BYTES - 1] != '\n' || memcmp(line, "sig ", 4) ||
	    parse_hex((struct span){ line + 4, 2 * P256_SIG_BYTES }, sig, sizeof(sig)))
		return err_trace(-EINVAL);
	sigtext_digest(digest, bytes, n - SIG_LINE_BYTES);
	for (u32 i = 0; i < nkeys; i++)
		if (!crypto_p256_verify(keys[i], digest, sig))
			return 0;
	return err_trace(-EKEYREJECTED);
}
