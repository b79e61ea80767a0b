/*
 * One world: a PC that is switched on again and again
 *
 * A boot is: the admin may have changed something; the disk may have been
 * damaged; power on; deploy works its way to READY; the model says what the
 * guest's disk must hold now, and some of it is looked at; the guest does what
 * it does, while the network goes and comes and blocks rot; and in the end the
 * power goes, now or in the midst of all this, or the PC is reset, or it is
 * shut down in order.
 *
 * What must hold, beside the model of the guest's disk:
 *  - READY comes, whatever happened before, once there are network and power; a
 *    complete store needs no network for it;
 *  - the version that is shown is the one that was, or one that the admin has
 *    offered with a serial number that is not older than the last;
 *  - every slot is free, or named once, or on its way;
 *  - a request ends while there is a network; an error has a reason;
 *  - in the end every byte of memory is given back.
 */
#include <stdlib.h>
#include <string.h>

#include "base/bitmap.h"
#include "base/endian.h"
#include "base/err.h"
#include "storage/core/check.h"
#include "tests/sim/world.h"

#define STEPS_MAX 400000u
#define READY_NS (400 * NS_PER_SEC) /* of network */
#define STUCK_NS (300 * NS_PER_SEC)

struct world w;

struct sim_totals sim_total;

/* ---------------------------------------------------------------- making a world */

static void write_tables(void)
{
	u8 *buf = calloc(1, GPT_HEAD_BYTES_MAX);
	u32 ss = w.disk.blk.sector_bytes;

	gpt_build_head(&w.layout, buf);
	sim_disk_poke(&w.disk, 0, buf, GPT_HEAD_BYTES(ss));
	super_build_marker(buf + GPT_HEAD_BYTES_MAX - 4096);
	sim_disk_poke(&w.disk, w.layout.store.first_lba * ss, buf + GPT_HEAD_BYTES_MAX - 4096,
		      4096);
	gpt_build_tail(&w.layout, buf);
	sim_disk_poke(&w.disk, SIM_DISK_BYTES - GPT_TAIL_BYTES(ss), buf, GPT_TAIL_BYTES(ss));
	free(buf);
}

static u64 some_image(u64 *rng)
{
	u32 chunks = 12 + sim_below(rng, sim_one_in(rng, 4) ? 60 : 30);
	u64 bytes;

	if (w.wide)
		chunks = 600 + sim_below(rng, SIM_CHUNKS - 600);
	bytes = (u64)chunks * w.chunk_bytes;
	if (sim_one_in(rng, 3))
		bytes -= (1 + sim_below(rng, 15)) * 4096;
	if (sim_one_in(rng, 3) && w.sector_bytes == 512)
		bytes -= (1 + sim_below(rng, 7)) * 512;
	return bytes;
}

static void world_make(u64 seed)
{
	u8 random[48];
	u32 ss;
	u64 need;

	memset(&w, 0, sizeof(w));
	w.seed = seed;
	w.rng = sim_mix(seed, 1);
	w.bound = w.prev = w.bad = NONE;
	sim_random = sim_mix(seed, 2);
	sim_now = NS_PER_SEC;
	ss = sim_one_in(&w.rng, 4) ? 4096 : 512;
	w.sector_bytes = sim_one_in(&w.rng, 4) ? 4096 : 512;
	w.chunk_bytes = sim_one_in(&w.rng, 6) ? 128 * 1024 : 64 * 1024;
	w.sound = sim_one_in(&w.rng, 3);
	w.wide = sim_one_in(&w.rng, 12);
	if (w.wide)
		w.chunk_bytes = 64 * 1024;
	sim_disk_init(&w.disk, ss, sim_mix(seed, 3));
	w.disk.blk.write_cache = !sim_one_in(&w.rng, 6);
	if (sim_one_in(&w.rng, w.wide ? 2 : 4)) {
		w.disk.blk.max_sectors = (8192 + 4096 * sim_below(&w.rng, w.wide ? 1 : 8)) / ss;
		w.disk.blk.max_segs = 1 + sim_below(&w.rng, 4);
	}
	sim_source_init(&w.net, sim_mix(seed, 4));
	sim_source_push(&w.net, &w.rng, some_image(&w.rng), w.chunk_bytes, w.sector_bytes, false);
	w.net.fill = !w.wide;
	w.net.policy = sim_one_in(&w.rng, 4) ? TICKET_POLICY_BOOT : TICKET_POLICY_PUSH;
	memset(random, 0x11, sizeof(random));
	if (gpt_plan(&w.layout, SIM_DISK_BYTES / ss, ss, random))
		sim_fail("no room for a table");
	if (!sim_has(SIM_CLAIM) || sim_below(&w.rng, 8)) {
		need = MAX(w.net.v[0].image_bytes, store_min_bytes(w.chunk_bytes));
		need += (w.wide ? 50 : 3) * MIB;
		if (!w.wide && (!sim_has(SIM_FULL) || sim_below(&w.rng, 2)))
			need += 4 * w.net.v[0].image_bytes;
		w.layout.store.sectors = ALIGN_UP(need, MIB) / ss;
		write_tables();
	}
	w.store_bytes = w.layout.store.sectors * ss;
	sim_guest_gone();
	sim_model_reset(&w.net.v[0]);
}

/* ---------------------------------------------------------------- the admin */

static void push(void)
{
	struct sim_version *last = &w.net.v[w.net.nversions - 1];
	u64 bytes = last->image_bytes;

	if (w.net.nversions == SIM_VERSIONS)
		return;
	if (sim_one_in(&w.rng, 3))
		bytes = some_image(&w.rng);
	if (bytes > w.store_bytes)
		bytes = last->image_bytes;
	/* somebody has not looked at what the lab's disks are like */
	if (sim_has(SIM_FULL) && sim_one_in(&w.rng, 10) &&
	    w.store_bytes / w.chunk_bytes + 1 < SIM_CHUNKS)
		bytes = (w.store_bytes / w.chunk_bytes + 1) * w.chunk_bytes;
	sim_source_push(&w.net, &w.rng, bytes, w.chunk_bytes, w.sector_bytes,
			sim_has(SIM_SICK) && sim_one_in(&w.rng, 5));
	sim_total.pushes++;
}

static void admin(void)
{
	if (!sim_has(SIM_ADMIN))
		return;
	if (sim_one_in(&w.rng, 10))
		push();
	if (sim_one_in(&w.rng, 25) && w.net.nversions > 1) {
		w.net.channel = sim_below(&w.rng, w.net.nversions);
		w.net.serial++;
		sim_total.rollbacks++;
	}
	if (sim_one_in(&w.rng, 16))
		w.net.policy = sim_one_in(&w.rng, 3)   ? TICKET_POLICY_BOOT :
			       sim_below(&w.rng, 4) ? TICKET_POLICY_PUSH :
						      TICKET_POLICY_NEVER;
	if (sim_one_in(&w.rng, 16))
		w.net.fill = !w.net.fill && !w.wide;
	if (sim_one_in(&w.rng, 16))
		w.net.fill_limit = sim_one_in(&w.rng, 2) ? 0 : 100 + sim_below(&w.rng, 4000);
	if (sim_one_in(&w.rng, 16))
		w.net.metered = !w.net.metered && sim_one_in(&w.rng, 2);
	if (sim_one_in(&w.rng, 16)) {
		w.net.fill_from = sim_below(&w.rng, TICKET_DAY_MINUTES);
		w.net.fill_to = sim_one_in(&w.rng, 2) ? w.net.fill_from :
							sim_below(&w.rng, TICKET_DAY_MINUTES);
	}
}

/* ---------------------------------------------------------------- what must hold */

static void check_space(void)
{
	static u64 seen[BITMAP_WORDS(SUPER_SLOTS_MAX)];
	struct store *s = store();
	struct chunkmap *m = s->map;
	u32 named = 0, base = 0, ovl = 0, here = 0, flying = 0, used = 0, active = 0;

	memset(seen, 0, BITMAP_WORDS(s->sb.slots) * 8);
	for (u32 i = 0; i < m->n + m->chunks; i++) {
		u32 slot = i < m->n ? m->base[i] : chunkmap_ovl_slot(m, i - m->n);

		here += i < m->n && slot != SLOT_NONE;
		if (slot >= SLOT_LIMIT)
			continue;
		if (slot >= s->sb.slots || !bitmap_test(s->slots.used, slot))
			sim_fail("slot %u is named and free", slot);
		if (bitmap_test(seen, slot))
			sim_fail("slot %u is named twice", slot);
		bitmap_set(seen, slot);
		named++;
		base += i < m->n;
		ovl += i >= m->n;
	}
	for (u32 k = 0; k < 2; k++) {
		struct chunkmap *o = k ? s->dropped : s->other.map;

		for (u32 i = 0; o && i < o->n; i++) {
			u32 slot = o->base[i];

			if (slot >= SLOT_LIMIT || slot == chunkmap_same(m, o, i))
				continue;
			if (slot >= s->sb.slots || !bitmap_test(s->slots.used, slot))
				sim_fail("slot %u of the second version is free", slot);
			if (bitmap_test(seen, slot))
				sim_fail("slot %u is named by both versions", slot);
			bitmap_set(seen, slot);
			named++;
		}
	}
	flying += w.dep->disk->stage.busy && w.dep->disk->stage.blocks;
	flying += w.dep->disk->reclaim.n + w.dep->disk->reclaim.ngoing;
	for (u32 i = 0; i < w.dep->disk->npool; i++) {
		struct cbuf *c = &w.dep->disk->pool[i];

		active += !cbuf_at_rest(c->state);
		if ((c->state == CBUF_WRITE || c->state == CBUF_COMMIT) && !c->repair)
			flying++;
	}
	if (active != w.dep->disk->nactive)
		sim_fail("chunk buffers are miscounted: %u, %u are active",
			 w.dep->disk->nactive, active);
	for (u32 i = 0; i < s->sb.slots; i++)
		used += bitmap_test(s->slots.used, i);
	if (used != s->sb.slots - s->slots.free)
		sim_fail("free slots are miscounted: %u used, %u free", used, s->slots.free);
	if (base != m->slots_base || ovl != m->slots_ovl || here != m->present)
		sim_fail("the map is miscounted: base %u/%u overlay %u/%u present %u/%u", base,
			 m->slots_base, ovl, m->slots_ovl, here, m->present);
	if (s->meta.complete && m->present != m->n)
		sim_fail("complete, and something is missing");
	if (used < named)
		sim_fail("more slots are named than used");
	if (w.sound && !w.write_failed && w.dep->disk->st.corrupt_chunks)
		sim_fail("chunks are corrupt, and nothing was done to them");
	if (!w.writes_failed && used - named > flying)
		sim_fail("%u slots are lost", used - named - flying);
}

static bool scrubbing(void)
{
	const struct disk *d = w.dep->disk;

	return w.scrub && (d->scrub.kib_s || d->repairs);
}

/* A pass that nothing went wrong with is over: nothing that it should have found is left. */
static void check_scrubbed(void)
{
	struct store *s = store();

	if (!w.scrub || scrubbing())
		return;
	for (u32 k = 0; k < w.nold; k++) {
		u64 block = w.old[k] - part_block(s->sb.slots_off / 4096);
		u32 slot = (u32)(block / s->bpc), data = s->bpc;
		bool hurt = false;

		for (u32 i = 0; i < w.disk.ndamaged; i++)
			hurt |= w.disk.damaged[i] == w.old[k];
		for (u32 i = 0; hurt && i < s->map->n; i++) {
			if (s->map->base[i] != slot)
				continue;
			if (i == s->map->chunks - 1)
				data = (u32)(s->map->blocks - (u64)i * s->bpc);
			if (i >= s->map->chunks)
				data = DIV_ROUND_UP(s->map->chunks * 32, 4096);
			if (block % s->bpc < data)
				sim_fail("the scrub has passed over entry=%u slot=%u", i, slot);
		}
	}
	sim_total.passes++;
}

static u32 version_of(const u8 *digest)
{
	for (u32 i = 0; i < w.net.nversions; i++)
		if (!memcmp(w.net.v[i].digest, digest, 32))
			return i;
	sim_fail("a version that never was");
}

static void note_served(void)
{
	for (u32 i = 0; i < w.net.nversions; i++)
		if (w.net.served & 1u << i)
			w.serial_of[i] = MAX(w.serial_of[i], w.net.highest);
	w.policies |= w.net.policies;
}

static void check_version(u32 v)
{
	const struct store_meta *meta = store_meta(store());

	if (meta->serial < w.serial && !w.loose && !w.lost)
		sim_fail("the serial number goes back: %llu, was %llu",
			 (unsigned long long)meta->serial, (unsigned long long)w.serial);
	if (v == w.bad && w.serial_of[v] <= w.bad_serial && v != w.bound && !w.loose && !w.lost)
		sim_fail("version %u comes up again, and was left because it did not boot", v);
	if (v == w.prev && v != w.bound && w.boot - w.shown[v] > 3 && !w.up && !w.loose &&
	    !w.lost && !memcmp(meta->bad, w.net.v[w.bound].digest, 32)) {
		sim_total.rolled_back++;
		w.bad = w.bound;
		w.bad_serial = meta->bad_serial;
		return;
	}
	if (v != w.bound && !w.loose && !w.lost && w.serial_of[v] < w.serial)
		sim_fail("version %u comes up, last offered with serial %llu, known is %llu", v,
			 (unsigned long long)w.serial_of[v], (unsigned long long)w.serial);
}

/* ---------------------------------------------------------------- READY */

static void look_list(void)
{
	w.ntodo = sim_model_active(w.todo, 16, &w.rng, false);
	w.at = 0;
}

static void on_ready(void)
{
	struct store *s = store();
	u32 v = version_of(store_meta(s)->version);
	bool keep = store_meta(s)->policy != STORE_POLICY_BOOT, same = v == w.bound && !w.lost;

	sim_total.ready++;
	note_served();
	check_version(v);
	sim_say("ready version=%u policy=%s complete=%u", v, keep ? "push" : "boot",
		store_meta(s)->complete);
	if (w.never && v != w.bound && v != w.prev && !w.unseen && !w.lost && !w.loose &&
	    !(w.policies & ~(1u << TICKET_POLICY_NEVER)))
		sim_fail("version %u comes up under policy never, was %u", v, w.bound);
	w.never = store_meta(s)->policy == STORE_POLICY_NEVER;
	if (v != w.bound) {
		sim_total.switches++;
		w.prev = w.lost || w.bad == w.bound ? NONE : w.bound;
		w.up = false;
		if (w.bad == v) /* once more, with a newer serial number */
			w.bad = NONE;
	}
	w.up |= store_meta(s)->up;
	w.stays = s->other.role == STORE_OTHER_PREV && !w.up && same ? w.stays + 1 : 0;
	if (w.stays > 3)
		sim_fail("version %u does not come up, and the PC does not go back", v);
	w.shown[v] = w.boot;
	if (w.lost)
		sim_total.claims++;
	if (w.lost || w.loose)
		w.bad = NONE;
	if (w.lost && !w.claimed)
		sim_fail("a damaged store is made anew without being claimed");
	w.phase = PHASE_LOOK;
	if (!same || !w.keep || !keep) {
		if (w.loose && same)
			sim_model_anything();
		else
			sim_model_reset(&w.net.v[v]);
	} else if (w.loose) {
		sim_model_anything();
	} else if (w.policies & 1u << TICKET_POLICY_BOOT || w.unseen & ~(1u << v)) {
		w.ntodo = sim_model_active(w.todo, 16, &w.rng, true);
		w.at = 0;
		w.phase = PHASE_RESOLVE;
	}
	w.bound = v;
	w.keep = keep;
	w.serial = store_meta(s)->serial;
	w.complete = store_meta(s)->complete;
	w.loose = w.lost = w.claimed = false;
	w.net.claim_serial = false;
	if (w.phase != PHASE_RESOLVE) /* else both are known when that is over */
		w.policies = w.net.policies = w.unseen = 0;
	w.attached = true;
	check_space();
	deploy_attached(w.dep);
	w.scrub = sim_one_in(&w.rng, 3);
	if (w.scrub)
		disk_scrub(w.dep->disk, 1024 + sim_below(&w.rng, 65536));
	memcpy(w.old, w.disk.damaged, sizeof(w.old));
	w.nold = w.disk.ndamaged;
	sim_guest_init(deploy_disk(w.dep), sim_mix(w.seed, 1000 + w.boot), 0,
		       1 + sim_below(&w.rng, sim_one_in(&w.rng, 3) ? 24 : 4), keep);
	if (w.phase == PHASE_LOOK)
		look_list();
}

static void trouble(const struct deploy_status *st)
{
	if (st->code == DEPLOY_STORE_BAD) {
		if (!w.lost && !w.loose)
			sim_fail("the store is refused without a reason: %s", st->text);
		w.lost = true; /* whoever claims it accepts that */
		w.net.claim_serial = w.claimed = true;
	} else if (st->code == DEPLOY_DISK_SMALL) {
		if (w.net.v[version_of(w.dep->ticket.version)].image_bytes <= w.store_bytes &&
		    w.dep->ticket.serial == w.net.serial && w.dep->step >= STEP_FORMAT)
			sim_fail("the disk is said to be too small: %s", st->text);
		if (w.net.v[w.net.channel].image_bytes <= w.store_bytes)
			return; /* it will ask again */
		while (w.net.v[w.net.channel].image_bytes > w.store_bytes)
			w.net.channel = sim_below(&w.rng, w.net.nversions);
		w.net.serial++;
	} else if (st->code == DEPLOY_DISK_FAILED && !w.writes_failed) {
		sim_fail("the disk is refused without a reason: %s", st->text);
	}
}

/* ---------------------------------------------------------------- phases */

static void to_run(void)
{
	w.phase = PHASE_RUN;
	if (!w.net.v[w.bound].sick && sim_below(&w.rng, 4))
		deploy_guest_up(w.dep);
	sim_guest_more(w.ops, w.wide ? 1 + sim_below(&w.rng, 2) : 0);
}

static void phase_resolve(void)
{
	int r;

	if (w.err == 1)
		return;
	if (w.at && !w.err) {
		r = sim_model_dropped(w.todo[w.at - 1], w.buf);
		if (r == 1) {
			sim_total.dropped++;
			sim_model_reset(&w.net.v[w.bound]);
		}
		if (r >= 0)
			w.ntodo = w.at;
	}
	if (w.at < w.ntodo) {
		u32 per = disk_blk(w.dep->disk)->sector_bytes / 512;

		w.todo[w.at] = ALIGN_DOWN(w.todo[w.at], (u64)per);
		sim_guest_read(w.todo[w.at++], per, &w.err, w.buf);
		return;
	}
	w.policies = w.net.policies = w.unseen = 0;
	w.phase = PHASE_LOOK;
	w.err = 0;
	look_list();
}

static void phase_look(void)
{
	u32 per = disk_blk(w.dep->disk)->sector_bytes / 512;

	if (w.err == 1)
		return;
	if (w.at < w.ntodo)
		sim_guest_read(ALIGN_DOWN(w.todo[w.at++], (u64)per), per, &w.err, NULL);
	else
		to_run();
}

static void phase_run(void)
{
	if (sim_guest_left())
		return;
	if (w.ending == END_ORDERLY) {
		w.phase = PHASE_DRAIN;
		w.toggle_at = ~0ull;
		w.disk.write_fails = w.disk.fail_after = 0;
		if (!w.net.up)
			sim_source_set(&w.net, true);
	} else if (w.ending != END_CUT && !w.patient) {
		w.phase = PHASE_OVER;
	} else if (sim_guest_idle()) { /* that many writes there were not */
		w.phase = PHASE_OVER;
	}
}

static bool can_complete(void)
{
	const struct store *s = store();

	return w.dep->disk->fill.on && w.net.fill && !w.net.metered &&
	       w.dep->disk->keep_failed < 16 && !s->failed &&
	       !w.dep->disk->st.store_full &&
	       s->slots.free > w.dep->disk->reserve + (s->map->n - s->map->present);
}

static void quiet(struct disk *d, int err, void *arg)
{
	(void)d;
	(void)arg;
	w.err = err;
}

static void phase_next(void)
{
	u64 sectors = sim_model_sectors();
	u32 n;

	switch (w.phase) {
	case PHASE_BOOT:
	case PHASE_OVER:
		break;
	case PHASE_RESOLVE:
		phase_resolve();
		break;
	case PHASE_LOOK:
		phase_look();
		break;
	case PHASE_RUN:
		phase_run();
		break;
	case PHASE_DRAIN:
		w.scrub &= !w.writes_failed && !store()->failed && !w.dep->disk->offline;
		if (!sim_guest_idle() || scrubbing())
			break;
		w.phase = w.want_complete && can_complete() ? PHASE_FILL : PHASE_CHECK;
		w.pos = w.want_check ? 0 : sectors;
		w.err = 0;
		break;
	case PHASE_FILL:
		if (store_meta(store())->complete || !can_complete())
			w.phase = PHASE_CHECK;
		break;
	case PHASE_CHECK:
		if (w.err == 1)
			break;
		if (w.pos < sectors) {
			n = (u32)MIN(512ull, sectors - w.pos);
			sim_guest_read(w.pos, n, &w.err, NULL);
			w.pos += n;
			break;
		}
		w.phase = PHASE_FLUSH;
		sim_guest_flush(&w.err);
		break;
	case PHASE_FLUSH:
		if (w.err == 1)
			break;
		w.phase = PHASE_QUIESCE;
		w.err = 1;
		disk_quiesce(w.dep->disk, quiet, NULL);
		break;
	case PHASE_QUIESCE:
		if (w.err == 1 || w.disk.inflight || !sim_guest_idle() ||
		    !list_empty(&w.net.docs) || !list_empty(&w.net.chunks))
			break;
		if (w.err && !w.writes_failed)
			sim_fail("quiesce fails err=%s", err_name(w.err));
		w.complete = store_meta(store())->complete && !w.err;
		check_scrubbed();
		w.phase = PHASE_OVER;
		break;
	}
}

/* ---------------------------------------------------------------- time */

static void stuck(const char *what)
{
	struct deploy_status st;

	deploy_status(w.dep, &st);
	sim_guest_say();
	sim_say("left=%u disk queue=%u again=%u", sim_guest_left(), w.disk.inflight,
		w.dep->disk ? w.dep->disk->again : 0);
	sim_fail("%s: state=%u code=%u \"%s\" phase=%u inflight=%u net=%u", what, st.state, st.code,
		 st.text, w.phase, sim_guest_inflight(), w.net.up);
}

static void watch(const struct deploy_status *st)
{
	bool offline = w.attached && w.dep->disk->offline;
	u64 done = sim_ops + (u64)w.phase * 1000000007u + (offline ? 1ull << 60 : 0);

	if (w.net.up && w.up_since == ~0ull)
		w.up_since = sim_now;
	if (!w.net.up)
		w.up_since = ~0ull;
	if (done != w.progress || w.quiet ||
	    (w.up_since == ~0ull && !offline)) {
		w.progress = done;
		w.progress_at = sim_now;
	}
	w.quiet = !sim_guest_inflight();
	w.scrub &= !offline; /* what is corrupt then stays so */
	if (sim_now - w.progress_at > (w.net.up ? STUCK_NS : STUCK_NS / 5) && sim_guest_inflight())
		stuck("a request does not end");
	if (w.phase == PHASE_BOOT && w.up_since != ~0ull && sim_now - w.up_since > READY_NS &&
	    !w.writes_failed)
		stuck("the boot does not end");
	if (w.phase == PHASE_BOOT && w.complete && !w.lost && !w.loose && !w.disk.ndamaged &&
	    !w.writes_failed && sim_now - w.born > 12 * NS_PER_SEC)
		stuck("complete, and it waits for something");
	if ((w.phase == PHASE_FILL || w.phase == PHASE_QUIESCE) &&
	    sim_now - w.up_since > 40 * READY_NS)
		stuck("this phase does not end");
	if (w.phase == PHASE_BOOT && w.writes_failed && sim_now - w.born > READY_NS)
		w.phase = PHASE_OVER; /* a disk that takes no writes makes no store */
	if (st->state == DEPLOY_TROUBLE)
		trouble(st);
}

static void toggle(void)
{
	/* a network that stays away, until everybody waits for it */
	if (!w.net.up && w.toggle_at == ~0ull && sim_now - w.born > 100 * NS_PER_SEC &&
	    !(w.attached && w.dep->disk->offline))
		w.toggle_at = sim_now;
	if (sim_now < w.toggle_at)
		return;
	sim_source_set(&w.net, !w.net.up);
	w.toggle_at = sim_now + (w.net.up ? 200 : 5) * NS_PER_MS +
		      sim_below(&w.rng_fault, 100000) * 100 * NS_PER_US;
	if (sim_one_in(&w.rng_fault, 4))
		w.toggle_at += sim_below(&w.rng_fault, 100) * NS_PER_SEC;
}

static void run(void)
{
	struct deploy_status st;
	u64 next, wait;
	u32 step;

	for (step = 0; w.phase != PHASE_OVER && !w.disk.dead; step++) {
		enum phase before = w.phase;

		if (step == STEPS_MAX)
			stuck("too many steps");
		blk_poll(&w.disk.blk);
		if (w.disk.dead)
			break;
		w.net.src.ops->poll(&w.net.src);
		wait = deploy_poll(w.dep);
		deploy_status(w.dep, &st);
		if (w.phase == PHASE_BOOT && st.state == DEPLOY_READY)
			on_ready();
		next = sim_guest_poll();
		damage_running();
		toggle();
		phase_next();
		watch(&st);
		if (w.attached && step % 64 == 0)
			check_space();
		next = MIN(next, sim_disk_next(&w.disk));
		next = MIN(next, sim_source_next(&w.net));
		next = MIN(next, w.toggle_at);
		if (wait != ~0ull)
			next = MIN(next, sim_now + wait);
		/* what was submitted just now wants to be looked at */
		if (w.attached && (!list_empty(&w.dep->disk->incoming) || w.dep->disk->again ||
				   before != w.phase))
			next = sim_now;
		if (next == ~0ull && !w.net.up && !(w.attached && w.dep->disk->offline))
			w.toggle_at = next = sim_now + NS_PER_SEC; /* as everybody waits for it */
		if (next == ~0ull && w.phase != PHASE_OVER)
			stuck("nothing will ever happen");
		next = MIN(next, sim_now + 3600 * NS_PER_SEC);
		sim_now = MAX(sim_now, next) + 50;
	}
}

/* ---------------------------------------------------------------- a boot */

static void plan(void)
{
	u32 what = sim_below(&w.rng, 100);

	w.ending = END_CUT_LATE;
	if (what < (w.wide ? 70 : 45) && sim_has(SIM_CUT))
		w.ending = END_CUT;
	else if (what >= 70 && what < 80 && sim_has(SIM_WARM))
		w.ending = END_WARM;
	else if (what >= 80)
		w.ending = END_ORDERLY;
	w.ops = sim_below(&w.rng, sim_one_in(&w.rng, 4) ? sim.ops : sim.ops / 4 + 1);
	w.patient = sim_one_in(&w.rng, 2);
	w.want_complete = sim_one_in(&w.rng, 4);
	w.want_check = sim_one_in(&w.rng, 3);
	if (w.wide)
		w.ops = sim.ops * (1 + sim_below(&w.rng, 12));
	w.disk.die_after = w.disk.die_fua = w.disk.fail_after = 0;
	if (w.ending == END_CUT && (w.wide || sim_one_in(&w.rng, 3)))
		w.disk.die_fua = 1 + sim_below(&w.rng, w.wide ? 2 : 20);
	else if (w.ending == END_CUT)
		w.disk.die_after = 1 + sim_below(&w.rng, sim_one_in(&w.rng, 3) ? 300 : 30);
	w.disk.write_fails = 0;
	if (sim_has(SIM_WERR) && !w.sound && sim_one_in(&w.rng, 20))
		w.disk.write_fails = 2 + sim_below(&w.rng, 60);
	else if (sim_has(SIM_WERR) && !w.sound && sim_one_in(&w.rng, 30))
		w.disk.fail_after = 1 + sim_below(&w.rng, 100);
	w.writes_failed = w.disk.write_fails || w.disk.fail_after;
	w.write_failed |= w.writes_failed;
	w.toggle_at = ~0ull;
	w.net.up = true;
	if (sim_has(SIM_NET) && sim_one_in(&w.rng, 3)) {
		w.net.up = sim_below(&w.rng, 2);
		if (sim_below(&w.rng, 4))
			w.toggle_at = sim_now + sim_below(&w.rng, 20000) * NS_PER_MS;
	}
	if (!w.net.up)
		sim_total.offline++;
}

static void power_on(void)
{
	struct deploy_cfg cfg = { .blk = &w.disk.blk, .source = &w.net.src, .uuid = { 7 },
				  .keys = sim_keys, .nkeys = 1,
				  .pool_bytes = (8 + sim_below(&w.rng, 9)) * w.chunk_bytes,
				  .crc_cache_bytes = 8 * 4096 };

	w.phase = PHASE_BOOT;
	w.attached = false;
	w.err = 0;
	w.born = w.progress_at = sim_now;
	w.up_since = ~0ull;
	if (deploy_create(&w.dep, &cfg))
		sim_fail("deploy_create");
}

static void complaint(struct store_check *k, enum check_level level, const char *text)
{
	(void)k;
	/* a write of one that the power cut */
	if (level != CHECK_NOTE && strncmp(text, "superblock", 10))
		sim_fail("the offline check finds: %s", text);
}

/* Nothing has been done to this disk: the offline check must agree. */
static void check_offline(void)
{
	struct store_check k = { .blk = &w.disk.blk, .lba = w.layout.store.first_lba,
				 .sectors = w.layout.store.sectors, .say = complaint };

	if (!w.sound || w.write_failed || w.bound == NONE || sim_below(&w.rng, 4))
		return;
	sim_disk_prompt(&w.disk, true);
	store_check(&k);
	store_check_end(&k);
	sim_disk_prompt(&w.disk, false);
	sim_total.checked++;
}

static void power_off(void)
{
	bool warm;

	note_served();
	if (!w.attached && w.net.served) {
		w.unseen |= w.net.served;
		w.complete = false; /* it may show another version now */
	}
	if (!w.attached && w.second)
		w.unseen = ~0u; /* back and forth, perhaps */
	if (w.attached)
		w.second = store()->other.map || store()->dropped;
	sim_total.cuts += w.ending == END_CUT && w.disk.dead;
	sim_total.warm += w.ending == END_WARM;
	if (w.attached) {
		check_space();
		sim_total.complete += store_meta(store())->complete;
		sim_total.repaired += w.dep->disk->st.repaired_chunks;
		sim_total.checkpoints += store()->checkpoints;
		sim_total.scrubbed += w.dep->disk->st.scrubbed_chunks;
		sim_total.listed += w.dep->disk->st.listed_chunks;
		sim_total.reclaimed += w.dep->disk->st.reclaimed_slots;
	}
	if (w.ending == END_ORDERLY && !w.disk.dead && w.attached) {
		sim_total.orderly++;
		deploy_destroy(w.dep);
		if (sim_allocs)
			sim_fail("%u blocks of memory are not given back", sim_allocs);
	}
	warm = w.ending == END_WARM && !w.disk.dead;
	if (warm)
		sim_disk_reset(&w.disk);
	else
		sim_disk_cut(&w.disk);
	w.dep = NULL;
	sim_forget_memory();
	sim_guest_gone();
	sim_source_reset(&w.net);
	sim_model_crash(!warm);
	check_offline();
	sim_forget_memory();
	sim_now += sim_below(&w.rng, 3600) * NS_PER_SEC;
}

void sim_world(u64 seed)
{
	u64 start;

	world_make(seed);
	start = sim_now;
	for (w.boot = 0; w.boot < sim.boots; w.boot++) {
		w.rng = sim_mix(seed, 100000 + w.boot);
		w.rng_fault = sim_mix(seed, 200000 + w.boot);
		w.disk.rng = sim_mix(seed, 300000 + w.boot);
		w.net.rng = sim_mix(seed, 400000 + w.boot);
		sim_where_is(seed, w.boot);
		admin();
		damage_metadata();
		plan();
		power_on();
		run();
		power_off();
		sim_total.boots++;
	}
	sim_total.hours_ns += sim_now - start;
}
