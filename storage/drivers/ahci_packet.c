/*
 * ahci_packet.c - optical drives: packets to the drive, one at a time
 *
 *   waiting -> slot 0, SENT -> finished (done() is due)
 *
 * The commands are somebody else's and only passed on: nothing is tried again,
 * for nothing here knows whether that would be the same. A command that the
 * drive refuses ends with its error register, and the drive keeps its sense data
 * for who asks next: the port is only restarted (ahci_port.c), never reset for
 * that. A command that is not answered ends with -EIO after a reset, and so does
 * one that the submitter gives up: closing a disc takes minutes, and how long to
 * wait is the submitter's to say.
 *
 * Data go to the submitter's memory itself; what the controller cannot reach
 * (beyond 4 GiB, where it has 32 bits) is refused.
 *
 * [AHCI 1.3.1 §5.3.7; ACS-3 §7.18]
 */
#include <string.h>

#include "base/err.h"
#include "base/field.h"
#include "base/plat.h"
#include "storage/drivers/ahci_priv.h"

#define PACKET_TIMEOUT_NS (600 * NS_PER_SEC)

static struct packet_req *first(struct ahci_port *p)
{
	return list_first(&p->waiting, struct packet_req, link);
}

static void req_finish(struct ahci_port *p, struct packet_req *r, int err)
{
	r->err = err;
	list_del(&r->link);
	list_add_tail(&p->finished, &r->link);
}

/* What was out, the first of the waiting, is over. */
static void sent_over(struct ahci_port *p, int err, u8 error)
{
	struct packet_req *r = first(p);

	p->slots[0].state = SLOT_FREE;
	p->sent = p->ring = 0;
	r->moved = p->list[0].prdbc;
	r->error = error;
	req_finish(p, r, err);
}

/* False: too many pieces, or out of the controller's reach. */
static bool name_data(struct ahci_port *p, const struct packet_req *r, struct prd_fill *f)
{
	for (u32 i = 0; i < r->nsegs; i++) {
		const struct blk_seg *g = &r->segs[i];

		if (!ahci_io_reachable(p, g->pa.v, g->bytes) ||
		    ahci_io_prd_add(f, g->pa.v, g->bytes) != g->bytes)
			return false;
	}
	return true;
}

static void send(struct ahci_port *p, const struct packet_req *r, u32 prds)
{
	struct ahci_slot *s = &p->slots[0];
	struct fis_reg_h2d *f = (struct fis_reg_h2d *)s->table->cfis;
	u32 flags = sizeof(*f) / 4 | AHCI_CH_A | FIELD_PREP(AHCI_CH_PRDTL, prds);

	memset(s->table, 0, sizeof(*s->table));
	f->type = FIS_REG_H2D;
	f->flags = FIS_C;
	f->command = ATA_PACKET;
	f->features = r->features;
	f->lba[1] = (u8)r->limit;
	f->lba[2] = (u8)(r->limit >> 8);
	memcpy(s->table->acmd, r->cdb, sizeof(s->table->acmd));
	if (r->to_device)
		flags |= AHCI_CH_W;
	p->list[0] = (struct ahci_cmd_header){
		.flags = flags, .ctba = (u32)s->table_dma, .ctbau = (u32)(s->table_dma >> 32),
	};
	p->out_kind = KIND_PLAIN;
	p->d->stats.plain++;
	s->state = SLOT_SENT;
	s->when_ns = plat_time_ns() + PACKET_TIMEOUT_NS;
	p->sent = p->ring = BIT(0);
}

/** ahci_packet_start() - the next command, if the drive is free */
void ahci_packet_start(struct ahci_port *p)
{
	while (p->state == PORT_LIVE && !p->sent && !list_empty(&p->waiting)) {
		struct prd_fill f = { .prd = p->slots[0].table->prdt };
		struct packet_req *r = first(p);

		if (name_data(p, r, &f))
			send(p, r, f.n);
		else
			req_finish(p, r, -EINVAL);
	}
	if (!p->d->polling)
		ahci_io_ring(p);
}

/** ahci_packet_done() - the command has ended well */
void ahci_packet_done(struct ahci_port *p)
{
	p->d->stats.packets++;
	sent_over(p, 0, 0);
}

/** ahci_packet_forget() - the controller has forgotten what was out: refused, or lost */
void ahci_packet_forget(struct ahci_port *p)
{
	/* An error without a reason is one all the same. */
	u8 error = p->culprit_error ? p->culprit_error : ATA_ERR_ABRT;

	if (p->sent && p->culprit != AHCI_DRV_NO_SLOT) {
		p->d->stats.packets++;
		sent_over(p, 0, error);
	} else if (p->sent) {
		sent_over(p, -EIO, 0);
	}
	p->culprit = AHCI_DRV_NO_SLOT;
	p->blame_all = false;
}

/** ahci_packet_fail_all() - nothing will be answered any more */
void ahci_packet_fail_all(struct ahci_port *p)
{
	if (p->sent)
		sent_over(p, -EIO, 0);
	while (!list_empty(&p->waiting))
		req_finish(p, first(p), -EIO);
}

/** ahci_packet_run_finished() - call done() of what is due now */
void ahci_packet_run_finished(struct ahci_port *p)
{
	struct list due;

	list_init(&due);
	list_splice_tail(&due, &p->finished);
	while (!list_empty(&due)) {
		struct packet_req *r = list_first(&due, struct packet_req, link);

		list_del(&r->link);
		r->done(r, r->err);
	}
}

/* ---------------------------------------------------------------- packet_dev */

static struct ahci_port *port_of(struct packet_dev *k)
{
	return container_of(k, struct ahci_port, pkt);
}

static void drive_submit(struct packet_dev *k, struct packet_req *r)
{
	struct ahci_port *p = port_of(k);

	list_init(&r->link);
	r->moved = r->error = 0;
	list_add_tail(&p->waiting, &r->link);
	if (p->state == PORT_DEAD)
		ahci_packet_fail_all(p);
	else
		ahci_packet_start(p);
}

static void drive_reset(struct packet_dev *k)
{
	struct ahci_port *p = port_of(k);
	bool sent = p->sent; /* it is the first, and ends when the controller has forgotten it */
	struct packet_req *r, *next;

	list_for_each_safe(r, next, &p->waiting, link) {
		if (!sent)
			req_finish(p, r, -EIO);
		sent = false;
	}
	if (p->sent)
		ahci_port_reset(p, "a packet is given up");
}

static const struct packet_ops drive_ops = {
	.submit = drive_submit,
	.reset = drive_reset,
};

/** ahci_packet_announce() - fill in the packet device; @id is IDENTIFY PACKET DEVICE */
void ahci_packet_announce(struct ahci_port *p, const u16 *id)
{
	p->pkt.ops = &drive_ops;
	p->pkt.max_segs = AHCI_DRV_PRDS;
	memcpy(p->pkt.id, id, sizeof(p->pkt.id));
}
