/*
 * deploy.c - from HC_START until the virtual disk is there
 *
 * The VMM does the work, this CPU only asks: HC_STATUS every 20 ms, which also
 * advances the VMM's pump, and one line on the console that is redrawn at most
 * five times a second. Trouble gets its own screen; a retry comes back here.
 */
#include <string.h>

#include "base/err.h"
#include "base/fmt.h"
#include "boot/loader/launch.h"
#include "boot/loader/loader.h"

#define POLL_MS 20
#define REDRAW_MS 200
#define RATE_MS 1000
#define PERCENT_UNKNOWN 0xffffffffu

static const char *const state_text[] = {
	[HS_IDLE] = "starting",	     [HS_DISK] = "disk",
	[HS_NETWORK] = "network",    [HS_TICKET] = "boot ticket",
	[HS_MANIFEST] = "manifest",  [HS_CLAIM] = "preparing the disk",
	[HS_READY] = "ready",	     [HS_ATTACHED] = "attached",
	[HS_TROUBLE] = "trouble",
};

struct progress {
	u32 since_draw_ms, since_rate_ms;
	u64 rate_from; /* fetched_bytes when the present second began */
	u64 rate; /* bytes per second, of the last second */
	u32 state;
	u64 log_pos;
};

static int ask(struct loader *l)
{
	s64 err = hypercall(HC_STATUS, (u64)&l->status);

	if (err) {
		fmt_snprintf(l->detail, sizeof(l->detail), "HC_STATUS: %s", err_name((int)-err));
		return FR_INTERNAL;
	}
	l->status.text[sizeof(l->status.text) - 1] = 0;
	return 0;
}

static void draw(const struct loader *l, const struct progress *p)
{
	const struct handoff_status *s = &l->status;
	char percent[16] = "", bytes[48] = "";

	if (s->percent <= 100)
		fmt_snprintf(percent, sizeof(percent), " %u %%", s->percent);
	if (s->fetched_bytes)
		fmt_snprintf(bytes, sizeof(bytes), " %llu KiB, %llu KiB/s",
			     (unsigned long long)(s->fetched_bytes / KIB),
			     (unsigned long long)(p->rate / KIB));
	con_redraw("%s:%s%s %s", s->state < ARRAY_SIZE(state_text) ? state_text[s->state] : "?",
		   percent, bytes, s->text);
}

/* verbose=1: the VMM's own log, as it grows. */
static void show_log(struct loader *l, struct progress *p)
{
	static struct handoff_log log __aligned(4096);

	if (strcmp(l->options.value[OPTION_VERBOSE], "1"))
		return;
	for (;;) {
		log.pos = p->log_pos;
		log.bytes = 0;
		if (hypercall(HC_LOG, (u64)&log) || !log.bytes ||
		    log.bytes > sizeof(log.text) || log.pos == p->log_pos)
			return;
		p->log_pos = log.pos;
		for (u32 at = 0; at < log.bytes; at += 256)
			con_print("%.*s", (int)MIN(256u, log.bytes - at), log.text + at);
	}
}

static void progress_tick(struct loader *l, struct progress *p)
{
	bool moved = p->state != l->status.state;

	p->since_draw_ms += POLL_MS;
	p->since_rate_ms += POLL_MS;
	if (p->since_rate_ms >= RATE_MS) {
		p->rate = (l->status.fetched_bytes - p->rate_from) * 1000 / p->since_rate_ms;
		p->rate_from = l->status.fetched_bytes;
		p->since_rate_ms = 0;
	}
	if (!moved && p->since_draw_ms < REDRAW_MS)
		return;
	p->since_draw_ms = 0;
	p->state = l->status.state;
	show_log(l, p);
	draw(l, p);
}

/* The VMM is in trouble. Ask the person, tell the VMM. */
static void resolve(struct loader *l)
{
	u32 code = l->status.code;
	enum way way;

	fmt_snprintf(l->detail, sizeof(l->detail), "%s", l->status.text);
	way = trouble(l, code, WAY_RETRY);
	if (l->status.state != HS_TROUBLE || l->status.code != code)
		return; /* it went away by itself */
	hypercall(HC_ACTION, way == WAY_CACHE ? HA_BOOT_CACHE : HA_RETRY);
	ask(l);
}

/**
 * deploy() - let the VMM bring up the disk, wait for it, attach it
 *
 * Return: 0 with l->status.disk_bdf valid; FR_INTERNAL when the VMM refuses.
 */
int deploy(struct loader *l)
{
	struct progress p = { .state = ~0u };
	s64 err = hypercall(HC_START, 0);
	int code;

	if (err && err != -EALREADY) {
		fmt_snprintf(l->detail, sizeof(l->detail), "HC_START: %s", err_name((int)-err));
		return FR_INTERNAL;
	}
	for (;;) {
		code = ask(l);
		if (code)
			return code;
		if (l->status.state == HS_TROUBLE) {
			show_log(l, &p);
			resolve(l);
			p.state = HS_TROUBLE; /* draw at once what comes after */
			continue;
		}
		progress_tick(l, &p);
		if (l->status.state == HS_READY) {
			err = hypercall(HC_ATTACH, 0);
			if (err && err != -EAGAIN) {
				fmt_snprintf(l->detail, sizeof(l->detail), "HC_ATTACH: %s",
					     err_name((int)-err));
				return FR_INTERNAL;
			}
		} else if (l->status.state == HS_ATTACHED) {
			con_redraw_end();
			return 0;
		}
		BS->Stall(LOADER_MS(POLL_MS));
	}
}
