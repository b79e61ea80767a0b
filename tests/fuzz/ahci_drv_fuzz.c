/*
 * The AHCI driver with a controller that lies: register reads come back changed
 * by the input, memory that the controller may write to is written to, commands
 * fail, links go. Whatever it does, the driver neither crashes nor touches other
 * memory, and no request ends twice; once the lies stop, every one has ended.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/err.h"
#include "base/plat_host.h"
#include "storage/drivers/ahci.h"
#include "tests/fakes/hba_model.h"

#define REQUESTS 24
#define SECTORS 2048u
#define PACKETS 8
#define BLOCKS 64u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static const uint8_t *in;
static size_t left;
static const struct bus_ops *honest;
static struct bus_ops quick, liar;
static u8 buf[REQUESTS][16384] __aligned(4096);

static u32 take(void)
{
	return left ? left--, *in++ : 0;
}

/* A bit wrong, all wrong, or gone. */
static u32 lie(u32 v)
{
	u32 how = take();

	if (how < 200)
		return v;
	if (how < 240)
		return v ^ BIT(take() % 32);
	if (how < 254)
		return v ^ (take() | take() << 8 | take() << 16 | take() << 24);
	return how == 254 ? ~0u : 0;
}

static u32 lying_read32(struct bus_dev *b, u32 off)
{
	return lie(honest->read32(b, off));
}

/* Start-up polls in microseconds; that many turns tell nothing new. */
static void long_delay(struct bus_dev *b, u32 us)
{
	plat_host_now_ns += us * 50 * NS_PER_US;
	hba_model_run(container_of(b, struct hba_model, bus));
}

/* Where a controller writes: received frames, and the data of the driver's own commands. */
static void scribble(struct hba_model *m)
{
	u32 at = take() & 1 ? 1024 + take() : 2048 + 2 * take();
	u32 bytes = take() % 64;

	for (u32 i = 0; i < bytes && m->nallocs > 1; i++)
		((u8 *)m->allocs[1].p)[at + i] = (u8)take(); /* the port's page */
}

static void ended(struct blk_req *r, int err)
{
	u32 *n = r->owner;

	assert(++*n == 1);
	assert(!err || err == -EIO || err == -EINVAL);
}

static void trouble(struct hba_model *m, struct hba_disk *k)
{
	switch (take() % 10) {
	case 0: k->bad_lba = take(); k->bad_count = 1; k->bad_error = (u8)take(); break;
	case 1: k->wire_errors = 1; break;
	case 2: hba_model_lose_link(k); break;
	case 3: k->deaf = take() % 4; break;
	case 4: k->wrong_log = !k->wrong_log; break;
	case 5: k->no_frames = !k->no_frames; break;
	case 6: k->stuck = true; break;
	case 7: m->gone = take() > 250; break;
	default: scribble(m);
	}
}

static void submit(struct blk_dev *blk, u32 i, struct blk_req *r, struct blk_seg *seg, u32 *dones)
{
	u32 sectors = 1 + take() % (sizeof(buf[0]) / blk->sector_bytes);

	*seg = (struct blk_seg){ HPA((uintptr_t)buf[i]), sectors * blk->sector_bytes };
	*r = (struct blk_req){ .op = take() % 5, .fua = take() & 1, .lba = take() << 4,
			       .sectors = sectors, .segs = seg, .done = ended, .owner = dones };
	if (r->op == BLK_READ || r->op == BLK_WRITE)
		r->nsegs = 1;
	blk_submit(blk, r);
}

static void packet_ended(struct packet_req *r, int err)
{
	u32 *n = r->owner;

	assert(++*n == 1);
	assert(!err || err == -EIO || err == -EINVAL);
}

static void packet(struct packet_dev *dev, struct packet_req *r, struct blk_seg *seg, u32 *dones)
{
	u8 op = take() & 1 ? 0x28 : take() & 1 ? 0x2a : (u8)take();

	*seg = (struct blk_seg){ HPA((uintptr_t)buf[0] + 2 * (take() % 8)), 2 + 2 * (take() << 4) };
	*r = (struct packet_req){
		.cdb = { op, 0, 0, 0, 0, (u8)take(), 0, 0, (u8)(take() % 4) },
		.to_device = op == 0x2a, .segs = seg, .nsegs = take() & 1,
		.done = packet_ended, .owner = dones,
	};
	packet_submit(dev, r);
}

static void settle(struct hba_model *m, struct ahci_drv *d)
{
	m->bus.ops = honest;
	m->gone = m->stuck_hr = false;
	for (u32 n = 0; n < 2; n++) {
		struct hba_disk *k = &m->disk[n];

		k->deaf = k->wire_errors = k->bad_count = 0;
		k->no_frames = k->stuck = false;
	}
	for (u32 i = 0; i < 30000 && (i < 100 || ahci_drv_deadline_ns(d)); i++) {
		plat_host_now_ns += 30 * NS_PER_MS; /* packets have ten minutes */
		hba_model_run(m);
		blk_poll(ahci_drv_blk(d, 0));
	}
}

static void drv_free(struct ahci_drv *d)
{
	for (u32 n = ahci_drv_disks(d); n--;)
		free(ahci_drv_blk(d, n)); /* it is the first of what it stands in */
	for (u32 n = ahci_drv_packets(d); n--;)
		free(ahci_drv_packet(d, n));
	free(d);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static struct hba_model m;
	struct blk_req r[REQUESTS];
	struct blk_seg seg[REQUESTS];
	struct packet_req pr[PACKETS];
	struct blk_seg pseg[PACKETS];
	u32 dones[REQUESTS] = { 0 }, sent = 0, pdones[PACKETS] = { 0 }, psent = 0;
	struct ahci_drv *d;
	bool early;

	in = data;
	left = n;
	hba_model_init(&m);
	m.lenient = true;
	early = take() & 1; /* lies from the beginning, or only once it works */
	m.cap ^= take() & 1 ? take() << 8 : 0;
	hba_model_disk(&m, 0, SECTORS, take() & 1 ? 4096 : 512);
	if (take() & 1)
		m.disk[0].id[take()] = (u16)(take() | take() << 8);
	hba_model_seal(&m.disk[0]);
	if (take() & 1) {
		struct hba_disk *k = hba_model_drive(&m, 1, BLOCKS);

		if (take() & 1)
			k->id[take()] = (u16)(take() | take() << 8);
		hba_model_seal(k);
	}
	quick = *m.bus.ops;
	quick.delay_us = long_delay;
	honest = &quick;
	liar = quick;
	liar.read32 = lying_read32;
	m.bus.ops = early ? &liar : honest;
	if (!ahci_drv_create(&m.bus, NULL, &d)) {
		m.bus.ops = &liar;
		for (u32 i = 0; i < 2000 && left; i++) {
			u32 what = take();

			if (what < 40 && sent < REQUESTS) {
				submit(ahci_drv_blk(d, 0), sent, &r[sent], &seg[sent],
				       &dones[sent]);
				sent++;
			} else if (what < 60) {
				trouble(&m, &m.disk[take() & 1]);
			} else if (what < 80) {
				ahci_drv_work(d);
			} else if (what < 100 && psent < PACKETS && ahci_drv_packets(d)) {
				packet(ahci_drv_packet(d, 0), &pr[psent], &pseg[psent],
				       &pdones[psent]);
				psent++;
			} else if (what < 105 && ahci_drv_packets(d)) {
				packet_reset(ahci_drv_packet(d, 0));
			} else {
				plat_host_now_ns += (u64)what * what * NS_PER_MS / 16;
				hba_model_run(&m);
				blk_poll(ahci_drv_blk(d, 0));
			}
		}
		settle(&m, d);
		for (u32 i = 0; i < sent; i++)
			assert(dones[i] == 1);
		for (u32 i = 0; i < psent; i++)
			assert(pdones[i] == 1);
		drv_free(d);
	}
	hba_model_fini(&m);
	return 0;
}
