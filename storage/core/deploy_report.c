/*
 * deploy_report.c - what a PC tells the server of itself: POST /v1/report
 *
 * One JSON object, written by hand: flat, with two objects in it (counters,
 * timeline). Sent at every change of state, when the network comes up, when
 * the fill is complete, and every 10 s while it is not. Best effort.
 */
#include <stdarg.h>
#include <string.h>

#include "base/err.h"
#include "base/fmt.h"
#include "base/plat.h"
#include "storage/core/deploy_priv.h"

#define REPORT_EVERY_NS (10 * NS_PER_SEC)

const char *const deploy_state_names[DEPLOY_TROUBLE + 1] = {
	[DEPLOY_IDLE] = "idle",		[DEPLOY_DISK] = "disk",
	[DEPLOY_NETWORK] = "network",	[DEPLOY_TICKET] = "ticket",
	[DEPLOY_MANIFEST] = "manifest", [DEPLOY_CLAIM] = "claim",
	[DEPLOY_READY] = "ready",	[DEPLOY_ATTACHED] = "attached",
	[DEPLOY_TROUBLE] = "trouble",
};

struct json {
	char *out;
	u32 room, used;
	bool full, comma;
};

static void raw(struct json *j, const char *fmt, ...) __printf_like(2, 3);

static void raw(struct json *j, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = fmt_vsnprintf(j->out + j->used, j->room - j->used, fmt, ap);
	va_end(ap);
	if (n < 0 || (u32)n >= j->room - j->used)
		j->full = true;
	else
		j->used += (u32)n;
}

static void name(struct json *j, const char *key)
{
	raw(j, "%s\"%s\":", j->comma ? "," : "", key);
	j->comma = true;
}

static void text(struct json *j, const char *key, const char *value)
{
	name(j, key);
	raw(j, "\"");
	for (; *value; value++) {
		u8 c = (u8)*value;

		if (c == '"' || c == '\\')
			raw(j, "\\%c", c);
		else if (c < 0x20 || c > 0x7e)
			raw(j, "\\u%04x", c);
		else
			raw(j, "%c", c);
	}
	raw(j, "\"");
}

static void number(struct json *j, const char *key, u64 value)
{
	name(j, key);
	raw(j, "%llu", (unsigned long long)value);
}

static void open_object(struct json *j, const char *key)
{
	name(j, key);
	raw(j, "{");
	j->comma = false;
}

static void close_object(struct json *j)
{
	raw(j, "}");
	j->comma = true;
}

static void put_machine(struct json *j, struct deploy *d)
{
	char uuid[GUID_TEXT_BYTES], mac[18];
	const u8 *m = d->cfg.mac;

	text(j, "uuid", guid_format(uuid, d->cfg.uuid));
	fmt_snprintf(mac, sizeof(mac), "%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3],
		     m[4], m[5]);
	text(j, "mac", mac);
	text(j, "disk", d->cfg.blk->serial);
	if (d->cfg.build)
		text(j, "build", d->cfg.build);
	text(j, "state", deploy_state_names[d->state]);
	number(j, "code", d->code);
	text(j, "text", d->text);
}

/* What is on trial, what is staged, what was left because it did not come up. */
static void put_trial(struct json *j, struct deploy *d, const struct store_meta *meta)
{
	char hex[2 * SHA256_BYTES + 1];
	struct store_second o;

	store_second(d->store, &o);
	number(j, "up", meta->up);
	number(j, "tries", meta->tries);
	if (o.role == STORE_OTHER_NEXT) {
		text(j, "staged", fmt_hex(hex, o.version, SHA256_BYTES));
		number(j, "staged_complete", o.complete);
	}
	if (!manifest_digest_is_zero(meta->bad))
		text(j, "rolled_back_from", fmt_hex(hex, meta->bad, SHA256_BYTES));
}

static void put_version(struct json *j, struct deploy *d)
{
	char hex[2 * SHA256_BYTES + 1];

	if (d->bound) {
		const struct store_meta *meta = store_meta(d->store);

		text(j, "version", fmt_hex(hex, meta->version, SHA256_BYTES));
		text(j, "policy", meta->policy == STORE_POLICY_PUSH    ? "push" :
				  meta->policy == STORE_POLICY_NEVER ? "never" :
									"boot");
		number(j, "serial", meta->serial);
		number(j, "complete", meta->complete);
		put_trial(j, d, meta);
	}
	if (d->have_ticket)
		text(j, "channel", d->ticket.channel);
}

static void put_disk(struct json *j, struct deploy *d)
{
	struct disk_stats s;

	if (!d->bound)
		return;
	disk_stats(d->disk, &s);
	name(j, "percent");
	raw(j, "%u.%u", s.fill_permille / 10, s.fill_permille % 10);
	open_object(j, "counters");
	number(j, "guest_reads", s.guest_reads);
	number(j, "guest_writes", s.guest_writes);
	number(j, "guest_read_bytes", s.guest_read_bytes);
	number(j, "guest_write_bytes", s.guest_write_bytes);
	number(j, "asked_bytes", s.asked_bytes);
	number(j, "fetched_bytes", s.fetched_bytes);
	number(j, "demand_chunks", s.demand_chunks);
	number(j, "ahead_chunks", s.ahead_chunks);
	number(j, "fill_chunks", s.fill_chunks);
	number(j, "profile_chunks", s.listed_chunks);
	number(j, "boot_demand_chunks", s.boot_demand_chunks);
	number(j, "chunks_total", s.chunks_total);
	number(j, "chunks_present", s.chunks_present);
	number(j, "corrupt_chunks", s.corrupt_chunks);
	number(j, "repaired_chunks", s.repaired_chunks);
	number(j, "scrubbed_chunks", s.scrubbed_chunks);
	number(j, "failed_reads", s.failed_reads);
	number(j, "failed_writes", s.failed_writes);
	number(j, "store_full", s.store_full);
	number(j, "staged_bytes", s.staged_bytes);
	number(j, "stage_refused", s.stage_refused);
	number(j, "longest_wait_us", s.longest_wait_ns / NS_PER_US);
	number(j, "longest_read_us", s.longest_read_ns / NS_PER_US);
	close_object(j);
}

static void put_source(struct json *j, struct deploy *d)
{
	struct source_status st;

	if (!d->cfg.source)
		return;
	d->cfg.source->ops->status(d->cfg.source, &st);
	open_object(j, "network");
	number(j, "wire_bytes", st.wire_bytes);
	number(j, "plain_bytes", st.plain_bytes);
	number(j, "chunks", st.chunks);
	number(j, "corrupt", st.corrupt);
	number(j, "retries", st.retries);
	close_object(j);
}

/* When each state was first entered, ms since deploy_create(). */
static void put_timeline(struct json *j, struct deploy *d)
{
	open_object(j, "timeline_ms");
	for (u32 i = 0; i <= DEPLOY_TROUBLE; i++)
		if (d->state_ns[i])
			number(j, deploy_state_names[i], (d->state_ns[i] - d->born_ns) / NS_PER_MS);
	number(j, "now", (plat_time_ns() - d->born_ns) / NS_PER_MS);
	close_object(j);
}

/**
 * deploy_report_build() - the report as it is now
 *
 * Return: its length; 0 when @room is too small.
 */
u32 deploy_report_build(struct deploy *d, char *out, u32 room)
{
	struct json j = { .out = out, .room = room };

	raw(&j, "{");
	put_machine(&j, d);
	put_version(&j, d);
	put_disk(&j, d);
	put_source(&j, d);
	put_timeline(&j, d);
	if (d->cfg.report_more && !j.full)
		j.used += MIN(d->cfg.report_more(out + j.used, room - j.used), room - j.used - 1);
	raw(&j, "}");
	return j.full ? 0 : j.used;
}

/**
 * deploy_report_poll() - send one if it is time
 *
 * Return: ns until it wants to be called again.
 */
u64 deploy_report_poll(struct deploy *d, u64 now)
{
	struct source_status st;
	bool up, complete, news;
	u32 n;

	if (!d->cfg.source)
		return ~0ull;
	d->cfg.source->ops->status(d->cfg.source, &st);
	up = st.state == SOURCE_UP;
	complete = d->bound && store_meta(d->store)->complete;
	news = d->state != d->reported_state || complete != d->reported_complete ||
	       up != d->reported_up;
	d->reported_up = up;
	if (!up)
		return ~0ull;
	if (!news && (complete || now < d->report_at))
		return complete ? ~0ull : d->report_at - now;
	d->reported_state = d->state;
	d->reported_complete = complete;
	d->report_at = now + REPORT_EVERY_NS;
	n = deploy_report_build(d, d->report, sizeof(d->report));
	if (n)
		d->cfg.source->ops->post(d->cfg.source, "/v1/report", d->report, n);
	return REPORT_EVERY_NS;
}
