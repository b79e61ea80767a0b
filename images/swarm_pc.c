/*
 * swarm_pc.c - one simulated PC: the VMM's own client and storage core, no VMM
 *
 *	OFF -> BOOT -> GUEST -> COPY -> DONE
 *
 * BOOT is storage/core/deploy from a blank disk: ticket, manifest, claim, store.
 * GUEST stands for the system that boots: it reads runs of the virtual disk in
 * an order that is the same for all PCs of a run, as they boot the same system,
 * until it has made the client fetch as much as a boot does (or has read it all).
 * COPY ends when the store is complete and the report that says so is delivered.
 *
 * Nothing of the network or the store is imitated but the card (net/sockets) and
 * the disk (swarm_disk.c). Time is plat_time_ns(), which the loop in swarm.c sets.
 */
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/fmt.h"
#include "base/plat.h"
#include "images/swarm.h"
#include "net/client/client.h"
#include "storage/core/deploy.h"
#include "storage/format/guid.h"

#define READ_BYTES 65536u
#define READS 2 /* at once */
#define RUN_READS 16 /* one after the other, then somewhere else */
#define POOL_BYTES (24u * 65536)
#define CRC_BYTES 65536u
#define ROUNDS_MAX 64
#define LOCAL_NET 0x7f010000u /* 127.1.0.0: PC n is at the n-th address of it */

struct guest_read {
	struct swarm_pc *pc;
	struct blk_req req;
	struct blk_seg seg;
	bool busy;
	u8 *buf;
};

struct swarm_pc {
	const struct swarm_plan *plan;
	struct sockets_owner owner;
	u32 index;
	enum swarm_phase phase;
	u64 real_on_ns, next_ns;
	struct blk_dev *disk;
	struct source *client, *source;
	struct deploy *deploy;
	struct swarm_result res;
	bool troubled;
	/* the guest */
	struct guest_read reads[READS];
	u64 runs, run_at, run_step; /* of the permutation */
	u64 run, run_left, run_lba;
};

/* ---------------------------------------------------------------- the guest */

static u64 gcd(u64 a, u64 b)
{
	while (b) {
		u64 t = a % b;

		a = b;
		b = t;
	}
	return a;
}

/* Every run once, in an order that looks like none and is the same everywhere. */
static void guest_start(struct swarm_pc *pc)
{
	struct blk_dev *d = deploy_disk(pc->deploy);
	u64 bytes = d->sectors * d->sector_bytes;

	pc->runs = MAX(bytes / (RUN_READS * READ_BYTES), 1ull);
	pc->run_at = pc->plan->seed % pc->runs;
	pc->run_step = (u64)((double)pc->runs * 0.6180339887) | 1;
	while (gcd(pc->run_step, pc->runs) != 1)
		pc->run_step++;
	deploy_attached(pc->deploy);
}

static u64 fetched(const struct swarm_pc *pc)
{
	struct disk_stats s;

	disk_stats(deploy_vdisk(pc->deploy), &s);
	return s.fetched_bytes;
}

static void read_done(struct blk_req *r, int err)
{
	struct guest_read *g = r->owner;

	g->busy = false;
	g->pc->res.failed_reads += err != 0;
}

/* False when there is nothing left to read. */
static bool guest_next(struct swarm_pc *pc, u64 *lba, u32 *sectors)
{
	struct blk_dev *d = deploy_disk(pc->deploy);

	if (!pc->run_left) {
		if (pc->run == pc->runs)
			return false;
		pc->run_lba = pc->run_at * RUN_READS * (READ_BYTES / d->sector_bytes);
		pc->run_at = (pc->run_at + pc->run_step) % pc->runs;
		pc->run++;
		pc->run_left = RUN_READS;
	}
	*lba = pc->run_lba;
	if (*lba >= d->sectors)
		return false; /* a disk smaller than one run */
	*sectors = (u32)MIN((u64)READ_BYTES / d->sector_bytes, d->sectors - *lba);
	pc->run_lba += *sectors;
	pc->run_left--;
	return true;
}

/* Returns true when it did something. */
static bool guest_step(struct swarm_pc *pc)
{
	struct blk_dev *d = deploy_disk(pc->deploy);
	bool busy = false, moved = false;

	for (u32 i = 0; i < READS; i++) {
		struct guest_read *g = &pc->reads[i];
		u32 sectors;
		u64 lba;

		if (!g->busy && fetched(pc) < pc->plan->boot_bytes &&
		    guest_next(pc, &lba, &sectors)) {
			g->seg = (struct blk_seg){ plat_virt_to_phys(g->buf),
						   sectors * d->sector_bytes };
			g->req = (struct blk_req){ .op = BLK_READ, .lba = lba,
						   .sectors = sectors, .segs = &g->seg, .nsegs = 1,
						   .done = read_done, .owner = g };
			g->busy = true;
			moved = true;
			blk_submit(d, &g->req);
		}
		busy |= g->busy;
	}
	if (busy)
		return moved;
	deploy_guest_up(pc->deploy);
	pc->res.up_ns = swarm_real_ns() - pc->real_on_ns;
	pc->phase = pc->plan->full ? SWARM_COPY : SWARM_DONE;
	return true;
}

/* ---------------------------------------------------------------- its life */

static int switch_on(struct swarm_pc *pc)
{
	const struct swarm_plan *p = pc->plan;
	struct client_opts o = { .ip = p->server_ip, .port = p->port };
	struct deploy_cfg cfg = {
		.blk = pc->disk,
		.mac = { 0x02, 0x53, 0x57, pc->index >> 16 & 255, pc->index >> 8 & 255,
			 pc->index & 255 },
		.keys = p->keys,
		.nkeys = 1,
		.build = "swarm",
		.pool_bytes = POOL_BYTES,
		.crc_cache_bytes = CRC_BYTES,
	};
	char uuid[GUID_TEXT_BYTES];
	int err;

	pc->real_on_ns = swarm_real_ns();
	fmt_snprintf(uuid, sizeof(uuid), "73776172-6d00-4000-8000-%012x", pc->index);
	err = guid_parse(cfg.uuid, uuid, sizeof(uuid) - 1);
	if (!err)
		err = client_create(&o, &pc->client);
	if (err)
		return err;
	pc->source = swarm_source(pc->client, p->times);
	cfg.source = pc->source;
	err = pc->source ? deploy_create(&pc->deploy, &cfg) : -ENOMEM;
	if (!err)
		pc->phase = SWARM_BOOT;
	return err;
}

static void look(struct swarm_pc *pc)
{
	struct deploy_status st;
	struct disk_stats ds;

	deploy_status(pc->deploy, &st);
	if (st.state == DEPLOY_TROUBLE && !pc->troubled) {
		pc->res.troubles++;
		fmt_snprintf(pc->res.text, sizeof(pc->res.text), "%s", st.text);
	}
	pc->troubled = st.state == DEPLOY_TROUBLE;
	if (pc->phase == SWARM_BOOT && st.state == DEPLOY_READY) {
		pc->res.ready_ns = swarm_real_ns() - pc->real_on_ns;
		pc->phase = SWARM_GUEST;
		guest_start(pc);
	}
	if (pc->phase != SWARM_COPY)
		return;
	disk_stats(deploy_vdisk(pc->deploy), &ds);
	if (!ds.complete)
		return;
	if (!pc->res.full_ns)
		pc->res.full_ns = swarm_real_ns() - pc->real_on_ns;
	if (client_idle(pc->client))
		pc->phase = SWARM_DONE;
}

/* Its connections end; what it has counted is kept. */
static void switch_off(struct swarm_pc *pc)
{
	pc->next_ns = ~0ull;
	pc->owner.ready = false;
	if (!pc->client)
		return;
	swarm_pc_result(pc, &pc->res);
	client_destroy(pc->client);
	pc->client = NULL;
}

void swarm_pc_run(struct swarm_pc *pc)
{
	u64 now = plat_time_ns(), wait = 0;

	sockets_owner_set(&pc->owner);
	pc->owner.ready = false;
	if (pc->phase == SWARM_OFF && switch_on(pc)) {
		pc->res.troubles++;
		fmt_snprintf(pc->res.text, sizeof(pc->res.text), "no memory for another PC");
		pc->phase = SWARM_DONE;
	}
	for (u32 i = 0; i < ROUNDS_MAX && pc->phase != SWARM_DONE; i++) {
		bool moved = false;

		pc->source->ops->poll(pc->source);
		blk_poll(pc->disk);
		wait = deploy_poll(pc->deploy);
		look(pc);
		if (pc->phase == SWARM_GUEST)
			moved = guest_step(pc);
		if (!moved && !swarm_disk_busy(pc->disk) && !client_busy(pc->client) && wait)
			break;
		wait = 0;
	}
	if (pc->phase == SWARM_DONE) {
		switch_off(pc);
		return;
	}
	pc->next_ns = wait == ~0ull ? ~0ull : now + wait;
	pc->next_ns = MIN(pc->next_ns, client_deadline_ns(pc->client));
}

bool swarm_pc_due(const struct swarm_pc *pc, u64 now)
{
	return pc->phase != SWARM_DONE && (pc->owner.ready || pc->next_ns <= now);
}

u64 swarm_pc_next_ns(const struct swarm_pc *pc)
{
	return pc->next_ns;
}

bool swarm_pc_done(const struct swarm_pc *pc)
{
	return pc->phase == SWARM_DONE;
}

bool swarm_pc_waits(const struct swarm_pc *pc)
{
	return pc->client && !client_idle(pc->client);
}

void swarm_pc_result(struct swarm_pc *pc, struct swarm_result *out)
{
	const struct client_counters *n;
	struct source_status st;

	*out = pc->res;
	out->phase = pc->phase;
	if (!pc->client)
		return;
	pc->client->ops->status(pc->client, &st);
	n = client_counters(pc->client);
	out->wire_bytes = st.wire_bytes;
	out->plain_bytes = st.plain_bytes;
	out->chunks = st.chunks;
	out->corrupt = st.corrupt;
	out->retries = st.retries;
	out->lost = n->lost;
	out->timeouts = n->timeouts;
	out->refused = n->http_errors;
}

struct swarm_pc *swarm_pc_create(const struct swarm_plan *p, u32 index, u64 on_ns)
{
	struct swarm_pc *pc = calloc(1, sizeof(*pc));

	if (!pc)
		return NULL;
	pc->plan = p;
	pc->index = index;
	pc->next_ns = on_ns;
	if (p->local)
		pc->owner.ip = LOCAL_NET + 1 + index;
	pc->disk = swarm_disk_create(p->disk_bytes, index);
	for (u32 i = 0; i < READS; i++) {
		pc->reads[i].pc = pc;
		pc->reads[i].buf = aligned_alloc(4096, READ_BYTES);
		if (!pc->reads[i].buf || !pc->disk) {
			swarm_pc_destroy(pc);
			return NULL;
		}
	}
	return pc;
}

int swarm_pc_save(struct swarm_pc *pc, const char *path)
{
	return swarm_disk_save(pc->disk, path);
}

/* What the storage core still has in flight goes with the process. */
void swarm_pc_destroy(struct swarm_pc *pc)
{
	if (!pc)
		return;
	if (pc->client)
		client_destroy(pc->client);
	if (pc->source)
		swarm_source_destroy(pc->source);
	if (pc->disk)
		swarm_disk_destroy(pc->disk);
	for (u32 i = 0; i < READS; i++)
		free(pc->reads[i].buf);
	free(pc);
}
