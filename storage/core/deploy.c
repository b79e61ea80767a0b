/*
 * deploy.c - the state machine of a boot
 *
 * See deploy.h for the states. What must hold:
 *
 *  - a disk that is not ours is not written before a ticket that verifies
 *    allows it (deploy_claim.c decides in one place);
 *  - a complete store is READY without waiting for anything but the disk,
 *    unless an earlier boot noted that there is a newer version: then the
 *    network gets UPDATE_WAIT_NS to bring it, and no failure can stop the boot;
 *  - every failure is shown with a code and tried again for ever.
 *
 * Here: what is shown, looking at the disk, opening the store, binding, and the
 * interface. deploy_ticket.c asks the server, deploy_claim.c writes to a disk
 * that is new, deploy_bg.c goes on behind the guest.
 */
#include "storage/core/deploy_priv.h"

#include <stdarg.h>
#include <string.h>

#include "base/err.h"
#include "base/fmt.h"
#include "base/log.h"
#include "base/plat.h"

#define RETRY_NS (10 * NS_PER_SEC)
#define BACKOFF_FIRST_NS (500 * NS_PER_MS)
#define TRIES_BEFORE_TROUBLE 4
#define UPDATE_WAIT_NS (8 * NS_PER_SEC)
#define BOOT_TRIES 3 /* boots in which a new version may fail to come up */
#define SAMPLES 64
#define SAMPLE_BYTES 4096u

static const enum deploy_state step_state[STEP_COUNT] = {
	[STEP_PROBE_HEAD] = DEPLOY_DISK,  [STEP_PROBE_TAIL] = DEPLOY_DISK,
	[STEP_PROBE_SAMPLES] = DEPLOY_DISK, [STEP_OPEN] = DEPLOY_DISK,
	[STEP_NETWORK] = DEPLOY_NETWORK,  [STEP_TICKET] = DEPLOY_TICKET,
	[STEP_MANIFEST] = DEPLOY_MANIFEST, [STEP_DECIDE] = DEPLOY_MANIFEST,
	[STEP_MARK] = DEPLOY_CLAIM,	  [STEP_ESP] = DEPLOY_CLAIM,
	[STEP_FORMAT] = DEPLOY_CLAIM,	  [STEP_TABLES] = DEPLOY_CLAIM,
	[STEP_BIND] = DEPLOY_MANIFEST,	  [STEP_READY] = DEPLOY_READY,
};

/* ---------------------------------------------------------------- telling */

/** deploy_say() - the line on the screen; what is the matter stays there until it is over */
void deploy_say(struct deploy *d, const char *fmt, ...)
{
	va_list ap;

	if (d->state == DEPLOY_TROUBLE)
		return;
	va_start(ap, fmt);
	fmt_vsnprintf(d->text, sizeof(d->text), fmt, ap);
	va_end(ap);
}

static void set_state(struct deploy *d, enum deploy_state s)
{
	u64 now = plat_time_ns();

	if (d->state == s)
		return;
	if (!d->state_ns[s])
		d->state_ns[s] = now;
	d->state = s;
	log_info("deploy: state=%s code=%u ms=%llu", deploy_state_names[s], d->code,
		 (unsigned long long)((now - d->born_ns) / NS_PER_MS));
}

/**
 * deploy_go() - the present step is done
 *
 * Trouble is over when the step that met it is: while earlier ones are tried
 * again on the way there, it stays on the screen.
 */
void deploy_go(struct deploy *d, enum deploy_step step)
{
	d->step = step;
	d->step_since_ns = plat_time_ns();
	d->tries = 0;
	d->retry_at = 0;
	if (d->code && step <= d->trouble_step)
		return;
	d->code = DEPLOY_OK;
	d->percent = DEPLOY_PERCENT_UNKNOWN;
	set_state(d, step == STEP_READY && d->attached ? DEPLOY_ATTACHED : step_state[step]);
}

/* The store has a version that can be shown: show that. */
static bool boot_cache(struct deploy *d)
{
	d->update = false;
	d->use_cache = true;
	d->doc.orphan = d->doc.busy;
	d->doc.started = false;
	deploy_go(d, STEP_BIND);
	return true;
}

/** deploy_trouble() - d->text is something that a person should know */
void deploy_trouble(struct deploy *d, enum deploy_code code)
{
	if (d->code != code)
		log_err("deploy: trouble code=FR-%u text=\"%s\"", code, d->text);
	d->trouble_step = d->code == code ? MAX(d->trouble_step, d->step) : d->step;
	d->code = code;
	set_state(d, DEPLOY_TROUBLE);
}

/**
 * deploy_fail() - a person should know; try again from @again in 10 s
 *
 * Return: true when there is something else to do now, as a step does.
 */
bool deploy_fail(struct deploy *d, enum deploy_step again, enum deploy_code code, const char *fmt,
		 ...)
{
	va_list ap;

	va_start(ap, fmt);
	fmt_vsnprintf(d->text, sizeof(d->text), fmt, ap);
	va_end(ap);
	if (d->update) {
		log_warn("deploy: no update now code=FR-%u text=\"%s\"", code, d->text);
		return boot_cache(d);
	}
	deploy_trouble(d, code);
	d->step = again;
	d->retry_at = plat_time_ns() + RETRY_NS;
	return false;
}

/**
 * deploy_net_failed() - the network did not deliver: quietly at first, then as trouble
 *
 * Return: false, as a step that has nothing to do now.
 */
bool deploy_net_failed(struct deploy *d, int err)
{
	struct source_status st;
	u64 wait = BACKOFF_FIRST_NS << MIN(d->tries, 5u);

	d->cfg.source->ops->status(d->cfg.source, &st);
	d->tries++;
	fmt_snprintf(d->text, sizeof(d->text), "waiting for the server: %s",
		     st.what[0] ? st.what : err_name(err));
	log_limited(LOG_WARN, "deploy: no answer try=%u err=%s path=%s", d->tries, err_name(err),
		    d->doc.doc.path);
	if (d->tries >= TRIES_BEFORE_TROUBLE && !d->update)
		deploy_trouble(d, st.last_err == -EKEYREJECTED ? DEPLOY_NOT_THE_SITE :
				  st.last_err == -EOPNOTSUPP   ? DEPLOY_NO_TLS :
								 DEPLOY_NO_SERVER);
	d->retry_at = plat_time_ns() + MIN(wait, RETRY_NS);
	/* Cable or address may be gone meanwhile: look again from there. */
	if (!st.link_up || !st.ip)
		d->step = STEP_NETWORK;
	return false;
}

/* ------------------------------------------------------------------- disk */

static bool disk_failed(struct deploy *d, const char *what, int err)
{
	return deploy_fail(d, STEP_PROBE_HEAD, DEPLOY_DISK_FAILED, "disk %s: cannot %s (%s)",
			   d->cfg.blk->serial, what, err_name(err));
}

static bool step_probe_head(struct deploy *d)
{
	struct blk_dev *b = d->cfg.blk;
	int err;

	if (d->cfg.memory) {
		d->kind = GPT_DISK_BLANK;
		deploy_go(d, STEP_NETWORK);
		return true;
	}
	if (b->sector_bytes != 512 && b->sector_bytes != 4096)
		return deploy_pick_skip(d, 0) ||
		       deploy_fail(d, STEP_PROBE_HEAD, DEPLOY_DISK_FAILED,
				   "disk %s: sectors of %u bytes", b->serial, b->sector_bytes);
	if (b->sectors < GPT_DISK_MIN_BYTES / b->sector_bytes)
		return deploy_pick_skip(d, 0) ||
		       deploy_fail(d, STEP_PROBE_HEAD, DEPLOY_DISK_SMALL,
				   "disk %s has %llu MiB, at least %llu are needed", b->serial,
				   (unsigned long long)(b->sectors * b->sector_bytes / MIB),
				   (unsigned long long)(GPT_DISK_MIN_BYTES / MIB));
	deploy_say(d, "looking at disk %s", b->serial);
	err = deploy_io_run(d, BLK_READ, 0, (u32)(MIB / b->sector_bytes), d->work);
	if (err == -EINPROGRESS)
		return false;
	if (err)
		return deploy_pick_skip(d, err) || disk_failed(d, "read", err);
	memcpy(d->head, d->work, sizeof(d->head));
	d->ends_zero = gpt_is_zero(d->work, MIB);
	deploy_go(d, STEP_PROBE_TAIL);
	return true;
}

static bool step_probe_tail(struct deploy *d)
{
	struct blk_dev *b = d->cfg.blk;
	u32 ss = b->sector_bytes, mib = (u32)(MIB / ss);
	int err = deploy_io_run(d, BLK_READ, b->sectors - mib, mib, d->work);

	if (err == -EINPROGRESS)
		return false;
	if (err)
		return deploy_pick_skip(d, err) || disk_failed(d, "read", err);
	memcpy(d->tail, d->work + MIB - GPT_TAIL_BYTES(ss), GPT_TAIL_BYTES(ss));
	d->ends_zero &= gpt_is_zero(d->work, MIB);
	d->kind = gpt_classify(d->head, GPT_HEAD_BYTES(ss), d->tail, GPT_TAIL_BYTES(ss), ss,
			       b->sectors, &d->layout);
	if (d->kind == GPT_DISK_BLANK && !d->ends_zero)
		d->kind = GPT_DISK_FOREIGN;
	d->sample = 0;
	if (d->kind == GPT_DISK_BLANK) {
		deploy_go(d, STEP_PROBE_SAMPLES);
		return true;
	}
	log_info("deploy: disk serial=%s kind=%s", b->serial,
		 d->kind == GPT_DISK_OURS     ? "ours" :
		 d->kind == GPT_DISK_CLAIMING ? "claiming" :
						"foreign");
	return deploy_pick_looked(d);
}

/* Where sample @i is: the rest of the first 4 MiB, then places spread evenly. */
static u64 sample_lba(const struct deploy *d, u32 i, u32 *sectors)
{
	u32 ss = d->cfg.blk->sector_bytes;

	if (i < 3) {
		*sectors = (u32)(MIB / ss);
		return (i + 1) * (MIB / ss);
	}
	*sectors = SAMPLE_BYTES / ss;
	return ALIGN_DOWN(d->cfg.blk->sectors / (SAMPLES + 1) * (i - 2), (u64)*sectors);
}

static bool step_probe_samples(struct deploy *d)
{
	u32 sectors;
	u64 lba = sample_lba(d, d->sample, &sectors);
	int err = deploy_io_run(d, BLK_READ, lba, sectors, d->work);

	if (err == -EINPROGRESS)
		return false;
	if (err)
		return deploy_pick_skip(d, err) || disk_failed(d, "read", err);
	if (!gpt_is_zero(d->work, (size_t)sectors * d->cfg.blk->sector_bytes))
		d->kind = GPT_DISK_FOREIGN;
	else if (++d->sample < SAMPLES + 3)
		return true;
	log_info("deploy: disk serial=%s kind=%s", d->cfg.blk->serial,
		 d->kind == GPT_DISK_BLANK ? "blank" : "foreign");
	return deploy_pick_looked(d);
}

/** deploy_reset_store() - drop the store (and the virtual disk that owns it) */
void deploy_reset_store(struct deploy *d)
{
	if (d->disk)
		disk_destroy(d->disk);
	else if (d->store)
		store_destroy(d->store);
	d->disk = NULL;
	d->store = NULL;
	d->opening = false;
	d->have_cache = false;
	d->use_cache = d->use_second = d->roll_back = false;
}

static void store_opened(struct store *s, int err, void *arg)
{
	struct deploy *d = arg;

	(void)s;
	d->open_err = err;
	d->opening = false;
}

/* Is the manifest that the store keeps the one it says, and signed? */
static bool root_ok(struct deploy *d, const void *bytes, u32 n, const u8 *version)
{
	u8 digest[SHA256_BYTES];
	struct manifest m;

	if (!bytes)
		return false;
	manifest_digest(digest, bytes, n);
	if (memcmp(digest, version, SHA256_BYTES) || manifest_parse(bytes, n, &m) ||
	    manifest_verify(bytes, n, d->cfg.keys, d->cfg.nkeys)) {
		log_err("deploy: the store's own manifest does not verify");
		return false;
	}
	return true;
}

static bool cache_ok(struct deploy *d, const struct store_meta *meta)
{
	u32 n = 0;
	const void *bytes = store_manifest(d->store, &n);

	return meta->bound && root_ok(d, bytes, n, meta->version);
}

/** deploy_is_bad() - is it the version that did not come up here, offered no later than then? */
bool deploy_is_bad(const struct deploy *d, const struct ticket *t)
{
	const struct store_meta *meta = store_meta(d->store);

	return !memcmp(t->version, meta->bad, SHA256_BYTES) && t->serial <= meta->bad_serial;
}

/* Staged in an earlier boot, or left three boots ago: can it be shown now, and should it? */
static bool wants_second(struct deploy *d, const struct store_meta *meta)
{
	struct store_second o;

	store_second(d->store, &o);
	if (!d->have_cache || !o.complete || !root_ok(d, o.root, o.root_bytes, o.version))
		return false;
	if (o.role == STORE_OTHER_PREV && !meta->up && meta->tries >= BOOT_TRIES) {
		log_err("deploy: this version does not come up, going back tries=%u", meta->tries);
		d->roll_back = true;
		return true;
	}
	return o.role == STORE_OTHER_NEXT && meta->policy != STORE_POLICY_NEVER &&
	       !memcmp(o.version, meta->next, SHA256_BYTES);
}

static bool bind_second(struct deploy *d)
{
	d->update = false;
	d->use_cache = false;
	d->use_second = true;
	deploy_go(d, STEP_BIND);
	return true;
}

static bool is_zero_digest(const u8 *digest)
{
	return manifest_digest_is_zero(digest);
}

static bool take_store(struct deploy *d)
{
	const struct store_meta *meta = store_meta(d->store);

	d->have_cache = cache_ok(d, meta);
	if (d->cfg.source && d->cfg.source->ops->signed_time)
		d->cfg.source->ops->signed_time(d->cfg.source, meta->time);
	log_info("deploy: store bound=%u complete=%u usable=%u serial=%llu", meta->bound,
		 meta->complete, d->have_cache, (unsigned long long)meta->serial);
	/* A claim of this boot brought us here; ticket and manifest are known. */
	if (d->have_ticket && d->manifest_bytes) {
		deploy_go(d, STEP_BIND);
		return true;
	}
	if (wants_second(d, meta))
		return bind_second(d);
	if (d->have_cache && meta->complete) {
		if (meta->policy == STORE_POLICY_NEVER || is_zero_digest(meta->next) ||
		    !memcmp(meta->next, meta->version, SHA256_BYTES) || !d->cfg.source)
			return boot_cache(d);
		d->update = true;
		d->update_until = plat_time_ns() + UPDATE_WAIT_NS;
		log_info("deploy: a newer version is known, asking for it");
	}
	deploy_go(d, STEP_NETWORK);
	return true;
}

static bool step_open(struct deploy *d)
{
	int err;

	if (!d->store) {
		deploy_say(d, "opening the store");
		err = store_create(&d->store, d->cfg.blk, d->layout.store.first_lba,
				   d->layout.store.sectors);
		if (err) {
			d->store = NULL;
			return deploy_fail(d, STEP_PROBE_HEAD, DEPLOY_STORE_BAD,
					   "the store partition cannot be used (%s)",
					   err_name(err));
		}
		d->opening = true;
		store_open(d->store, store_opened, d);
	}
	if (d->opening)
		return false;
	err = d->open_err;
	if (!err)
		return take_store(d);
	deploy_reset_store(d);
	if (err == -EIO)
		return disk_failed(d, "read the store", err);
	if (err == -ENOMEM)
		return deploy_fail(d, STEP_PROBE_HEAD, DEPLOY_INTERNAL, "out of memory");
	log_err("deploy: store not usable err=%s", err_name(err));
	d->must_format = true;
	d->store_bad = err != -ENODATA;
	deploy_go(d, STEP_NETWORK);
	return true;
}

/* ------------------------------------------------------------------- bind */

static void disk_ready(struct disk *disk, int err, void *arg)
{
	struct deploy *d = arg;

	(void)disk;
	d->bind_err = err;
	d->binding = false;
}

static int start_bind(struct deploy *d)
{
	struct disk_cfg cfg = {
		.store = d->store,
		.source = d->cfg.source,
		.offline = !d->cfg.source,
		.pool_bytes = d->cfg.pool_bytes,
		.crc_cache_bytes = d->cfg.crc_cache_bytes,
		.ready = disk_ready,
		.arg = d,
	};

	if (d->use_second) {
		struct store_second o;

		store_second(d->store, &o);
		cfg.manifest = o.root;
		cfg.manifest_bytes = o.root_bytes;
		cfg.give_up = d->roll_back;
	} else if (!d->use_cache) {
		cfg.manifest = d->manifest;
		cfg.manifest_bytes = d->manifest_bytes;
	}
	if (d->have_ticket) {
		cfg.policy = deploy_ticket_policy(&d->ticket);
		cfg.frontend = deploy_ticket_frontend(&d->ticket);
		cfg.nic = deploy_ticket_nic(&d->ticket);
		cfg.serial = d->ticket.serial;
		if (d->esp_installed)
			cfg.esp = d->ticket.esp;
	}
	deploy_fill_now(d, plat_time_ns(), &d->fill);
	cfg.fill = d->fill;
	return disk_create(&d->disk, &cfg);
}

static void became_ready(struct deploy *d)
{
	const struct store_meta *meta = store_meta(d->store);
	u64 now = plat_time_ns();

	deploy_drop_manifest(d);
	plat_free(d->work);
	d->work = NULL;
	d->offline = !d->cfg.source;
	d->bound = true;
	d->down_since_ns = now;
	deploy_go(d, STEP_READY);
	deploy_say(d, "image %s is ready", meta->image);
	d->profile_wanted = d->cfg.source && (!meta->up || d->cfg.memory);
	d->bg = !d->have_ticket ? BG_WAIT : deploy_profile_due(d) ? BG_PROFILE : BG_NOTE;
	d->bg_at = now;
}

static bool step_bind(struct deploy *d)
{
	int err;

	if (!d->disk) {
		deploy_say(d, "opening the image");
		d->binding = true;
		err = start_bind(d);
		if (err) {
			d->disk = NULL;
			d->binding = false;
			deploy_reset_store(d);
			return deploy_fail(d, STEP_PROBE_HEAD, DEPLOY_INTERNAL,
					   "the virtual disk cannot be made (%s)", err_name(err));
		}
	}
	if (d->binding)
		return false;
	if (!d->bind_err) {
		became_ready(d);
		return true;
	}
	err = d->bind_err;
	deploy_reset_store(d);
	d->have_ticket = false;
	deploy_drop_manifest(d);
	if (err == -EIO)
		return disk_failed(d, "open the image", err);
	return deploy_fail(d, STEP_PROBE_HEAD, DEPLOY_STORE_BAD, "the store cannot be used (%s)",
			   err_name(err));
}

/* -------------------------------------------------------------- interface */

static bool (*const steps[STEP_COUNT])(struct deploy *d) = {
	[STEP_PROBE_HEAD] = step_probe_head, [STEP_PROBE_TAIL] = step_probe_tail,
	[STEP_PROBE_SAMPLES] = step_probe_samples, [STEP_OPEN] = step_open,
	[STEP_NETWORK] = deploy_step_network, [STEP_TICKET] = deploy_step_ticket,
	[STEP_MANIFEST] = deploy_step_manifest, [STEP_DECIDE] = deploy_step_decide,
	[STEP_MARK] = deploy_step_mark,	     [STEP_ESP] = deploy_step_esp,
	[STEP_FORMAT] = deploy_step_format,  [STEP_TABLES] = deploy_step_tables,
	[STEP_BIND] = step_bind,	     [STEP_READY] = deploy_step_ready,
};

static bool waits_for_network(const struct deploy *d)
{
	return d->step == STEP_NETWORK || d->step == STEP_TICKET || d->step == STEP_MANIFEST;
}

static bool run_step(struct deploy *d, u64 now)
{
	if (d->update && now >= d->update_until && waits_for_network(d)) {
		log_warn("deploy: no update now, the network is too slow");
		return boot_cache(d);
	}
	if (now < d->retry_at)
		return false;
	return steps[d->step](d);
}

/* What goes by the clock behind a guest. */
static u64 deploy_background_poll(struct deploy *d, u64 now)
{
	u64 profile = deploy_profile_poll(d, now), fill = deploy_fill_poll(d, now);

	return MIN(profile, fill);
}

/**
 * deploy_poll() - do everything that can be done now
 *
 * Context: pump, after the block device and the source were polled.
 * Return: ns until it wants to be called again without other cause; ~0 when only
 * the guest, the device or the source can give it work.
 */
u64 deploy_poll(struct deploy *d)
{
	u64 now = plat_time_ns(), wait, disk_wait = ~0ull;

	while (run_step(d, now))
		;
	if (d->disk) {
		disk_wait = disk_poll(d->disk);
		while (run_step(d, now)) /* it may have called us back */
			;
	}
	wait = d->step == STEP_READY ? deploy_ready_wait(d, now) : NS_PER_SEC;
	if (d->retry_at > now)
		wait = MIN(wait, d->retry_at - now);
	else if (waits_for_network(d))
		wait = MIN(wait, 100 * NS_PER_MS);
	if (d->step == STEP_READY)
		wait = MIN(wait, deploy_background_poll(d, now));
	wait = MIN(wait, deploy_report_poll(d, now));
	return MIN(wait, disk_wait);
}

/**
 * deploy_create() - begin a boot
 * @cfg: copied; what it points to is not
 *
 * No I/O before the first deploy_poll().
 * Return: 0; -EINVAL without a disk or a key; -ENOMEM.
 */
int deploy_create(struct deploy **out, const struct deploy_cfg *cfg)
{
	struct deploy *d;

	if (!cfg->blk || !cfg->nkeys)
		return err_trace(-EINVAL);
	d = plat_alloc(sizeof(*d));
	if (!d)
		return err_trace(-ENOMEM);
	d->work = plat_alloc(DEPLOY_WORK_BYTES);
	if (!d->work) {
		plat_free(d);
		return err_trace(-ENOMEM);
	}
	d->cfg = *cfg;
	deploy_pick_init(d);
	d->born_ns = plat_time_ns();
	deploy_go(d, STEP_PROBE_HEAD);
	*out = d;
	return 0;
}

/** deploy_destroy() - only when nothing is in flight */
void deploy_destroy(struct deploy *d)
{
	deploy_reset_store(d);
	plat_free(d->esp.digests);
	plat_free(d->manifest);
	plat_free(d->profile);
	plat_free(d->work);
	plat_free(d);
}

/** deploy_disk() - the guest's disk; NULL before READY */
struct blk_dev *deploy_disk(struct deploy *d)
{
	return d->bound ? disk_blk(d->disk) : NULL;
}

/** deploy_vdisk() - the same as a struct disk; NULL before READY */
struct disk *deploy_vdisk(struct deploy *d)
{
	return d->bound ? d->disk : NULL;
}

/** deploy_frontend() - as ticket or store say, as of READY */
enum store_frontend deploy_frontend(struct deploy *d)
{
	enum store_frontend f = d->bound ? store_meta(d->store)->frontend : STORE_FRONTEND_SAME;

	return f ? f : STORE_FRONTEND_SAME;
}

/** deploy_nic() - as ticket or store say, as of READY */
enum store_nic deploy_nic(struct deploy *d)
{
	enum store_nic nic = d->bound ? store_meta(d->store)->nic : STORE_NIC_NONE;

	return nic ? nic : STORE_NIC_NONE;
}

/** deploy_attached() - the guest has been given the disk */
void deploy_attached(struct deploy *d)
{
	d->attached = true;
	d->attached_ns = plat_time_ns();
	if (d->step == STEP_READY)
		set_state(d, DEPLOY_ATTACHED);
}

/** deploy_guest_up() - the guest has come up */
void deploy_guest_up(struct deploy *d)
{
	d->guest_up = true;
}

static bool can_boot_cache(const struct deploy *d)
{
	return d->have_cache && d->store && !d->disk && d->step >= STEP_NETWORK &&
	       d->step <= STEP_DECIDE;
}

/** deploy_status() - for the screen */
void deploy_status(struct deploy *d, struct deploy_status *out)
{
	struct source_status st = { 0 };

	memset(out, 0, sizeof(*out));
	if (d->cfg.source)
		d->cfg.source->ops->status(d->cfg.source, &st);
	out->state = d->state;
	out->code = d->code;
	out->percent = d->percent;
	out->can_boot_cache = can_boot_cache(d);
	out->fetched_bytes = st.wire_bytes;
	memcpy(out->text, d->text, sizeof(out->text));
	/* A chunk is wanted, and the source has not got through. */
	if (d->fetch.busy && st.state != SOURCE_UP && st.what[0])
		fmt_snprintf(out->text, sizeof(out->text), "waiting for the server: %s", st.what);
	if (d->bound) {
		struct blk_dev *b = disk_blk(d->disk);
		struct disk_stats ds;

		disk_stats(d->disk, &ds);
		out->disk_bytes = b->sectors * b->sector_bytes;
		out->percent = ds.fill_permille / 10;
	}
}

/**
 * deploy_action() - what a person chose
 *
 * Return: 0; -EINVAL when it makes no sense now.
 */
int deploy_action(struct deploy *d, enum deploy_action a)
{
	if (a == DEPLOY_BOOT_CACHE && can_boot_cache(d)) {
		log_info("deploy: booting what is in the store, as told");
		boot_cache(d);
		return 0;
	}
	if (a != DEPLOY_RETRY || d->step == STEP_READY)
		return err_trace(-EINVAL);
	d->retry_at = 0;
	d->tries = 0;
	d->step_since_ns = plat_time_ns();
	d->code = DEPLOY_OK;
	set_state(d, step_state[d->step]);
	return 0;
}
