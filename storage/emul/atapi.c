/*
 * atapi.c - the optical drive on an emulated port: packets passed on
 *
 * The drive is a real one behind another port (struct packet_dev). What it says
 * of itself is its own IDENTIFY PACKET DEVICE; its packets go to it as they are,
 * with their data in the guest's own memory, one at a time. The commands around
 * them (settings, power, signature) are answered here, for the port is not the
 * drive's own; what is not here is aborted.
 *
 * The adapter sends a packet only when the command header says that there is
 * one: without that bit the drive waits for it until a reset, as a real one does.
 *
 * The room for data ends at AHCI_PACKET_BYTES: more would move in no one command
 * of any driver. A drive that sends more than there is room for is an error of
 * its controller's, which the guest sees as a command that was aborted.
 *
 * [ACS-3 §7.8, §7.13, §7.18; AHCI 1.3.1 §5.3.7]
 */
#include <string.h>

#include "base/plat.h"
#include "storage/emul/ahci_priv.h"

static enum slot_end fail(struct ahci_slot *s, u8 error)
{
	s->out.error = error;
	return SLOT_ERROR;
}

/* What tells such a device from a disk, with @error. [ACS-3 §7.8.4] */
static void signature(struct ahci_slot *s, u8 error)
{
	s->out = (struct ata_result){ .error = error, .count = 1, .lba = ATAPI_SIG_LBA };
}

static void packet_ended(struct packet_req *r, int err)
{
	struct ahci_slot *s = r->owner;
	bool orphan = s->orphan;

	ahci_emul_sends(s);
	if (orphan)
		return;
	s->p->e->stats.packets++;
	s->moved = r->moved;
	s->out.count = ATAPI_REASON_STATUS;
	s->out.error = err ? FIELD_PREP(ATAPI_ERR_SENSE, ATAPI_SENSE_ABORTED) | ATA_ERR_ABRT :
			     r->error;
	ahci_emul_slot_ended(s, s->out.error ? SLOT_ERROR : SLOT_OK);
}

static enum slot_end packet(struct ahci_port *p, struct ahci_slot *s)
{
	struct packet_req *r = &s->packet;
	struct emul_host *h = p->e->host;
	enum slot_end end;

	if (!(s->flags & AHCI_CH_A))
		return SLOT_LATER;
	s->proto = ATA_DMA;
	memset(r, 0, sizeof(*r));
	if (h->ops->read(h, GPA(s->table + offsetof(struct ahci_cmd_table, acmd)), r->cdb,
			 sizeof(r->cdb)))
		return SLOT_BUS;
	end = ahci_emul_prd_whole(s, AHCI_PACKET_BYTES, p->packet->max_segs);
	if (end != SLOT_OK)
		return end;
	r->features = s->fis.features;
	r->limit = (u16)(s->fis.lba[1] | s->fis.lba[2] << 8);
	r->to_device = s->flags & AHCI_CH_W;
	r->segs = s->segs;
	r->nsegs = s->req.nsegs;
	r->done = packet_ended;
	r->owner = s;
	s->in_blk = true;
	p->in_blk++;
	packet_submit(p->packet, r);
	return SLOT_LATER;
}

/* Its own words, but for events: no frame of the drive's own accord is passed on. */
static enum slot_end identify_packet(struct ahci_port *p, struct ahci_slot *s)
{
	u16 w[ATA_ID_WORDS];

	memcpy(w, p->packet->id, sizeof(w));
	w[ATA_ID_SATA_FEATURES] &= (u16)~ATAPI_ID_SATA_NOTIFIES;
	w[ATA_ID_SATA_ENABLED] &= (u16)~ATAPI_ID_SATA_NOTIFIES;
	ata_emul_seal(w);
	s->proto = ATA_PIO_IN;
	s->drq_bytes = ATA_ID_BYTES;
	return ahci_emul_give(s, w, sizeof(w));
}

static enum slot_end set_features(struct ahci_slot *s)
{
	if (s->fis.features != ATA_SF_XFER_MODE || !ata_emul_xfer_ok(s->fis.count))
		return fail(s, ATA_ERR_ABRT);
	return SLOT_OK;
}

/**
 * atapi_emul_exec() - carry out the command of @s->fis on a port with an optical drive
 *
 * Context: owner. Return: how it stands. Spec: [ACS-3 §4.3, §7]
 */
enum slot_end atapi_emul_exec(struct ahci_port *p, struct ahci_slot *s)
{
	s->out.device = s->fis.device;
	switch (s->fis.command) {
	case ATA_PACKET:
		return packet(p, s);
	case ATA_IDENTIFY_PACKET:
		return identify_packet(p, s);
	case ATA_IDENTIFY:
	case ATA_READ_SECTORS: /* how software of old looks for disks */
		signature(s, ATA_ERR_ABRT);
		return SLOT_ERROR;
	case ATA_DEVICE_RESET:
	case ATA_DIAGNOSTIC:
		signature(s, ATA_ERR_DIAG_OK);
		return SLOT_OK;
	case ATA_SET_FEATURES:
		return set_features(s);
	case ATA_CHECK_POWER:
		s->out.count = ATA_POWER_ACTIVE;
		return SLOT_OK;
	case ATA_STANDBY:
	case ATA_STANDBY_IMMEDIATE:
	case ATA_IDLE:
	case ATA_IDLE_IMMEDIATE:
		return SLOT_OK;
	case ATA_SLEEP:
		p->asleep = true;
		return SLOT_OK;
	default:
		return fail(s, ATA_ERR_ABRT);
	}
}
