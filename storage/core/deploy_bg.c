/*
 * deploy_bg.c - behind a running guest: ticket, ESP, being offline
 *
 *	WAIT -> TICKET -> (PROFILE) -> NOTE -> (STAGE) -> (ESP_CLEAR -> ESP -> ESP_NOTE) -> WAIT ...
 *	WAIT -> UP -> WAIT	once, when the guest has come up
 *
 * Nothing here can hurt the guest: what fails is logged and tried again later.
 * A newer version on the channel is noted, and staged beside this one when this
 * one is complete; the next boot takes it.
 */
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "base/plat.h"
#include "storage/core/deploy_priv.h"

#define OFFLINE_AFTER_NS (20 * NS_PER_SEC)
#define BG_RETRY_MAX_NS (60 * NS_PER_SEC)
#define BG_REFRESH_NS (300 * NS_PER_SEC)
#define SCRUB_AFTER_NS (600 * NS_PER_SEC) /* boot and morning are over */
#define SCRUB_KIB_S 2048
#define BG_STAGE_NS (30 * NS_PER_SEC) /* ask again while there is something to stage */
#define TIME_NOTE_S (24 * 3600u)

/*
 * A complete store without a network: a damaged chunk must become an I/O
 * error, not a wait without end. As long as chunks are missing, wait.
 */
static void follow_source(struct deploy *d, u64 now)
{
	struct source_status st;
	bool offline;

	if (!d->cfg.source)
		return;
	d->cfg.source->ops->status(d->cfg.source, &st);
	if (st.state == SOURCE_UP)
		d->down_since_ns = 0;
	else if (!d->down_since_ns)
		d->down_since_ns = now;
	offline = d->down_since_ns && now - d->down_since_ns >= OFFLINE_AFTER_NS &&
		  store_meta(d->store)->complete;
	if (offline == d->offline)
		return;
	d->offline = offline;
	log_info("deploy: %s", offline ? "offline, running from the store" : "online");
	disk_set_offline(d->disk, offline);
}

static void bg_later(struct deploy *d, u64 now, u64 wait)
{
	d->bg = BG_WAIT;
	d->bg_at = now + wait;
}

static void bg_ticket(struct deploy *d, u64 now)
{
	enum deploy_code code;
	struct ticket t;
	char why[128];
	int err = deploy_run_ticket(d);

	if (err == -EINPROGRESS)
		return;
	if (err) {
		d->bg_tries++;
		bg_later(d, now, MIN(NS_PER_SEC << MIN(d->bg_tries, 6u), BG_RETRY_MAX_NS));
		return;
	}
	d->bg_tries = 0;
	code = deploy_check_ticket(d, &t, why, sizeof(why));
	if (code) {
		log_warn("deploy: ticket ignored code=FR-%u text=\"%s\"", code, why);
		bg_later(d, now, BG_REFRESH_NS);
		return;
	}
	deploy_believe(d, &t);
	d->bg = deploy_profile_due(d) ? BG_PROFILE : BG_NOTE;
}

static void noted(struct disk *disk, int err, void *arg)
{
	struct deploy *d = arg;

	(void)disk;
	d->note_err = err;
	d->noting = false;
}

/* Put @st into the store; -EINPROGRESS, 0 when durable, -EIO. Once per started note. */
static int note_run(struct deploy *d, const struct disk_state *st)
{
	int err;

	if (!d->note_started) {
		d->note_started = d->noting = true;
		err = disk_set_state(d->disk, st, noted, d);
		if (err) {
			d->note_started = d->noting = false;
			return err == -EBUSY ? -EINPROGRESS : err;
		}
	}
	if (d->noting)
		return -EINPROGRESS;
	d->note_started = false;
	return d->note_err;
}

/* Is there a version that should be here at the next boot? */
static bool next_wanted(const struct deploy *d)
{
	return memcmp(d->ticket.version, store_meta(d->store)->version, SHA256_BYTES) &&
	       d->ticket.policy != TICKET_POLICY_NEVER && !deploy_is_bad(d, &d->ticket);
}

static bool stage_wanted(const struct deploy *d)
{
	struct store_second o;

	store_second(d->store, &o);
	/* Memory is empty at the next boot, and this version's. */
	return next_wanted(d) && d->ticket.fill && !d->ticket.metered && !d->cfg.memory &&
	       !(o.complete && !memcmp(o.version, d->ticket.version, SHA256_BYTES));
}

static bool esp_wanted(const struct deploy *d)
{
	return d->ticket.has_esp && d->layout.esp.first_lba &&
	       memcmp(d->ticket.esp, store_meta(d->store)->esp, SHA256_BYTES);
}

/* A version that was being staged and that nobody wants any more. */
static void drop_stale(struct deploy *d)
{
	struct store_second o;

	store_second(d->store, &o);
	if (o.role == STORE_OTHER_NEXT && memcmp(o.version, d->ticket.version, SHA256_BYTES))
		disk_stage_drop(d->disk);
}

static void after_stage(struct deploy *d, u64 now, int err)
{
	if (!err && esp_wanted(d)) {
		memset(d->note_esp, 0, sizeof(d->note_esp));
		d->bg = BG_ESP_CLEAR;
		return;
	}
	bg_later(d, now, stage_wanted(d) ? BG_STAGE_NS : BG_REFRESH_NS);
}

/* What the ticket says for the next boot. */
static void bg_note(struct deploy *d, u64 now)
{
	const struct store_meta *meta = store_meta(d->store);
	struct disk_state st = { .policy = deploy_ticket_policy(&d->ticket),
				 .frontend = deploy_ticket_frontend(&d->ticket),
				 .nic = deploy_ticket_nic(&d->ticket),
				 .serial = d->ticket.serial, .next = d->note_next };
	bool issued = d->ticket.has_credential &&
		      memcmp(d->ticket.credential, meta->credential, CREDENTIAL_BYTES);
	bool noting = d->note_started;
	int err = 0;

	if (d->ticket.has_credential)
		st.credential = d->ticket.credential;
	/* The clock of certificates may be a day late, and costs no write each time. */
	if (d->ticket.time_unix > meta->time + TIME_NOTE_S)
		st.time = d->ticket.time_unix;

	if (!d->note_started) {
		memset(d->note_next, 0, sizeof(d->note_next));
		if (next_wanted(d))
			memcpy(d->note_next, d->ticket.version, SHA256_BYTES);
	}
	if (d->note_started || issued || st.time || meta->policy != st.policy ||
	    deploy_frontend(d) != st.frontend || deploy_nic(d) != st.nic ||
	    meta->serial != st.serial ||
	    memcmp(meta->next, d->note_next, SHA256_BYTES))
		err = note_run(d, &st);
	if (err == -EINPROGRESS)
		return;
	if (!err && d->ticket.has_credential)
		deploy_identify(d);
	if (err)
		log_err("deploy: cannot note the ticket err=%s", err_name(err));
	else if (noting)
		log_info("deploy: noted for the next boot policy=%s serial=%llu version=%s",
			 ticket_policy_name(d->ticket.policy),
			 (unsigned long long)st.serial,
			 memcmp(d->ticket.version, meta->version, SHA256_BYTES) ? "new" : "same");
	if (!err && stage_wanted(d)) {
		d->bg = BG_STAGE;
		return;
	}
	drop_stale(d);
	after_stage(d, now, err);
}

/* The mark that this version is good. */
static void bg_up(struct deploy *d, u64 now)
{
	struct disk_state st = { .up = true };
	int err = note_run(d, &st);

	if (err == -EINPROGRESS)
		return;
	if (err)
		log_err("deploy: cannot note that the guest is up err=%s", err_name(err));
	else
		log_info("deploy: the guest has come up");
	d->guest_up = false; /* once is enough */
	bg_later(d, now, 0);
}

static bool staging(struct deploy *d)
{
	u32 n = d->doc.doc.bytes;
	u8 digest[SHA256_BYTES];
	int err;

	manifest_digest(digest, d->manifest, n);
	if (memcmp(digest, d->ticket.version, SHA256_BYTES) ||
	    manifest_verify(d->manifest, n, d->cfg.keys, d->cfg.nkeys)) {
		log_warn("deploy: not staged, its manifest does not verify");
		return false;
	}
	err = disk_stage(d->disk, d->manifest, n);
	if (err && err != -EALREADY)
		log_limited(LOG_WARN, "deploy: not staged now err=%s", err_name(err));
	return !err || err == -EALREADY;
}

static void bg_stage(struct deploy *d, u64 now)
{
	int err = 0;

	/* the store must be complete first: what runs comes before what will run */
	if (store_meta(d->store)->complete) {
		err = deploy_run_manifest(d, d->ticket.version);
		if (err == -EINPROGRESS)
			return;
		if (!err)
			staging(d);
		deploy_drop_manifest(d);
	}
	after_stage(d, now, 0);
}

static void bg_esp(struct deploy *d, u64 now)
{
	int err = deploy_esp_run(d, d->ticket.esp);

	if (err == -EINPROGRESS)
		return;
	if (err) {
		log_warn("deploy: ESP not updated err=%s", err_name(err));
		bg_later(d, now, BG_REFRESH_NS);
		return;
	}
	memcpy(d->note_esp, d->ticket.esp, SHA256_BYTES);
	d->bg = BG_ESP_NOTE;
}

/*
 * While the ESP is being rewritten the store says that there is none, so that
 * a power cut in the middle is repaired by the next ticket.
 */
static void bg_note_esp(struct deploy *d, u64 now)
{
	struct disk_state st = { .esp = d->note_esp };
	int err = note_run(d, &st);

	if (err == -EINPROGRESS)
		return;
	if (err) {
		log_err("deploy: cannot note the ESP err=%s", err_name(err));
		bg_later(d, now, BG_REFRESH_NS);
	} else if (d->bg == BG_ESP_CLEAR) {
		d->bg = BG_ESP;
	} else {
		log_info("deploy: ESP updated chunks_written=%u", d->esp.written);
		bg_later(d, now, BG_REFRESH_NS);
	}
}

/* Has the guest of a version that is still on trial come up? */
static bool guest_is_up(struct deploy *d)
{
	u64 last;

	if (!d->attached || store_meta(d->store)->up)
		return false;
	if (d->guest_up)
		return true;
	last = disk_last_guest_ns(d->disk);
	return last > d->attached_ns && last - d->attached_ns >= GUEST_UP_NS;
}

/* Once a boot, when what is shown is all here; memory does not rot in a day. */
static bool scrub_due(const struct deploy *d)
{
	return d->attached && !d->scrubbed && !d->cfg.memory && store_meta(d->store)->complete;
}

static void bg_wait(struct deploy *d, u64 now)
{
	struct source_status st;

	if (guest_is_up(d)) {
		d->bg = BG_UP;
		return;
	}

	if (scrub_due(d) && now - d->attached_ns >= SCRUB_AFTER_NS) {
		d->scrubbed = true;
		disk_scrub(d->disk, SCRUB_KIB_S);
	}
	if (!d->cfg.source || now < d->bg_at)
		return;
	d->cfg.source->ops->status(d->cfg.source, &st);
	if (st.state == SOURCE_UP || (st.link_up && st.ip))
		d->bg = BG_TICKET;
}

/** deploy_step_ready() - all that goes on behind a running guest */
bool deploy_step_ready(struct deploy *d)
{
	enum bg_step before = d->bg;
	u64 now = plat_time_ns();

	if (d->manifest && d->bg != BG_STAGE)
		deploy_drop_manifest(d); /* an answer was on its way into it */
	follow_source(d, now);
	switch (d->bg) {
	case BG_WAIT:
		bg_wait(d, now);
		break;
	case BG_TICKET:
		bg_ticket(d, now);
		break;
	case BG_PROFILE:
		if (deploy_profile_run(d) != -EINPROGRESS)
			d->bg = BG_NOTE;
		break;
	case BG_NOTE:
		bg_note(d, now);
		break;
	case BG_UP:
		bg_up(d, now);
		break;
	case BG_STAGE:
		bg_stage(d, now);
		break;
	case BG_ESP:
		bg_esp(d, now);
		break;
	case BG_ESP_CLEAR:
	case BG_ESP_NOTE:
		bg_note_esp(d, now);
		break;
	}
	return d->bg != before;
}

/**
 * deploy_ready_wait() - when there is something to do behind a quiet guest
 *
 * A network that comes up is noticed by the pump's round that it causes, so
 * nothing is asked for that: a complete store without a network must not tick.
 * Return: ns from @now; ~0: nothing.
 */
u64 deploy_ready_wait(const struct deploy *d, u64 now)
{
	u64 wait = ~0ull, offline_at = d->down_since_ns + OFFLINE_AFTER_NS;

	/* What is on its way to the disk or from the network wakes us when it ends. */
	if (d->bg != BG_WAIT)
		return d->noting || d->io.busy || d->doc.busy || d->fetch.busy ? ~0ull : NS_PER_SEC;
	if (d->bg_at > now)
		wait = d->bg_at - now;
	if (scrub_due(d) && now - d->attached_ns < SCRUB_AFTER_NS)
		wait = MIN(wait, d->attached_ns + SCRUB_AFTER_NS - now);
	if (d->down_since_ns && offline_at > now && store_meta(d->store)->complete)
		wait = MIN(wait, offline_at - now);
	return wait;
}
