/*
 * ahci_priv.h - shared by the files of the AHCI front-end
 *
 * ahci.c          registers, interrupts, resets: the host bus adapter
 * ahci_port.c     one port's command list: from PxCI to the frame that answers
 * ahci_prd.c      a command's PRDT as segments, part by part
 * ata.c           the disk on the port: what each command does
 * ata_identify.c  what the disk says about itself: IDENTIFY, logs, SMART
 * atapi.c         an optical drive on another port: packets passed on
 */
#ifndef STORAGE_EMUL_AHCI_PRIV_H
#define STORAGE_EMUL_AHCI_PRIV_H

#include "storage/core/blk.h"
#include "storage/core/packet.h"
#include "storage/emul/ahci.h"
#include "storage/emul/host.h"
#include "storage/spec/ahci.h"
#include "storage/spec/ata.h"

/*
 * Segments of one request: a sector of 512 bytes in the smallest pieces, or a
 * MiB in pages. One more when a segment is cut where a sector ends.
 */
#define AHCI_SEGS 257u
#define AHCI_PART_BYTES (1u << 20)
/* Room for the data of a packet that is passed on. */
#define AHCI_PACKET_BYTES (4u << 20)
/* Blocks of ranges that one DATA SET MANAGEMENT takes (IDENTIFY word 105). */
#define AHCI_DSM_BLOCKS 8u

#define AHCI_STS_READY (ATA_STS_DRDY | ATA_STS_DSC)

/* How a command's data moves, which decides the frames that tell of its end. */
enum ata_proto { ATA_NO_DATA, ATA_PIO_IN, ATA_PIO_OUT, ATA_DMA, ATA_NCQ };

/* How a command stands. */
enum slot_end {
	SLOT_LATER, /* the block device has a request of it */
	SLOT_OK,
	SLOT_ERROR, /* the disk says so: slot.out.error */
	SLOT_BUS, /* its data are not in the guest's memory */
	SLOT_SHORT, /* its PRDT is shorter than its data */
};

/* The disk's registers as a command leaves them. */
struct ata_result {
	u8 error;
	u8 device;
	u16 count;
	u64 lba;
};

/* A command of the guest's, at most one per tag; of an optical drive, one at all. */
struct ahci_slot {
	struct ahci_port *p; /* (c) */
	u32 tag; /* (c) of the disk's */
	u32 flags; /* of the command header */
	u64 table; /* where the guest has it */
	struct fis_reg_h2d fis; /* our copy */
	struct ata_result out;
	enum ata_proto proto;
	u32 drq_bytes; /* of a block by PIO */
	bool in_blk; /* the block device has req */
	bool orphan; /* forgotten by the guest while in_blk */

	/* where it stands in its PRDT; entries are copied in once */
	u64 prd_next; /* address of the next entry */
	u32 prd_left; /* entries after that */
	u64 prd_addr; /* the rest of the entry at hand */
	u32 prd_bytes;
	u32 moved; /* bytes that were used, of all entries */
	u32 carried; /* segments after req.nsegs that belong to the next part */

	/* a transfer, in parts; or ranges to trim, one after the other */
	u64 lba;
	u32 left; /* sectors */
	u32 range, ranges;
	struct blk_req req;
	struct packet_req packet;
	union {
		struct blk_seg segs[AHCI_SEGS + 1];
		u64 dsm[AHCI_DSM_BLOCKS * ATA_DSM_RANGES];
	};
};

/* The disk behind the port. Settings fall back by COMRESET, and by SRST with .revert. */
struct ata_disk {
	bool wcache, lookahead, smart, revert;
	u8 multiple; /* sectors of a DRQ block of the MULTIPLE commands; 0: not set */
	u8 xfer; /* ATA_XFER_* */
	u8 power; /* ATA_POWER_* */
	bool ncq_failed; /* until the log was read, or a reset */
	struct ata_ncq_error ncq;
};

struct ahci_port {
	struct ahci_emul *e; /* (c) */
	u32 index; /* (c) */
	bool disk; /* (c) it is here */
	struct packet_dev *packet; /* (c) or this is */
	struct ahci_slot *slots; /* (c) 32 of a disk, 1 of a drive, or NULL */
	bool asleep; /* until a reset */
	bool link; /* up */
	bool sig_owed; /* the first frame after a reset is to be sent */
	bool srst; /* the guest holds the disk in software reset */
	bool halted; /* an error: no command goes out until ST falls */
	u32 issued; /* slots that the disk has */
	u32 queued; /* of them, by NCQ */
	u32 ended; /* tags that ended; the frame that tells is to be sent */
	struct ahci_slot *current; /* the one that is not queued, or NULL */
	u32 in_blk; /* requests below, */
	u32 orphans; /* of them, of commands that are forgotten */
	u32 next; /* slot that is looked at first */

	/* (a) noted by any CPU, taken by the owner */
	u32 ci_note, sact_note;
};

struct ahci_emul {
	struct emul_host *host; /* (c) */
	struct blk_dev *blk; /* (c) */
	char serial[21], model[41]; /* (c) */
	u32 implemented; /* (c) */
	u32 bar_bytes; /* (c) */
	struct ahci_port port[AHCI_PORTS_MAX];
	struct ata_disk ata;
	u32 *regs; /* the ABAR's, as they read */
	bool level; /* of the interrupt */
	bool unsaid; /* something ended since interrupts were looked at */
	u32 dirty; /* (a) ports with notes */
	struct ahci_emul_stats stats;
	u8 *scratch; /* a page that verified sectors go to */
	u8 page[AHCI_DSM_BLOCKS * ATA_DSM_BLOCK_BYTES]; /* what a small command moves */
};

static inline u32 *ahci_px(const struct ahci_port *p, u32 reg)
{
	return &p->e->regs[(AHCI_PORT(p->index) + reg) / 4];
}

/* ahci_port.c */
bool ahci_emul_port_run(struct ahci_port *p);
void ahci_emul_port_stop(struct ahci_port *p);
void ahci_emul_port_reset(struct ahci_port *p);
void ahci_emul_port_receive(struct ahci_port *p);
void ahci_emul_slot_ended(struct ahci_slot *s, enum slot_end end);
void ahci_emul_sends(struct ahci_slot *s);
/* ahci_prd.c */
enum slot_end ahci_emul_prd_part(struct ahci_slot *s, u32 bytes, u32 unit, u32 *got);
enum slot_end ahci_emul_prd_whole(struct ahci_slot *s, u32 bytes, u32 max);
enum slot_end ahci_emul_give(struct ahci_slot *s, const void *buf, u32 bytes);
enum slot_end ahci_emul_take(struct ahci_slot *s, void *buf, u32 bytes);
/* ata.c */
enum slot_end ata_emul_exec(struct ahci_emul *e, struct ahci_slot *s);
void ata_emul_reset(struct ahci_emul *e, bool hard);
bool ata_emul_is_ncq(const struct ahci_slot *s);
bool ata_emul_xfer_ok(u8 mode);
void ata_emul_ncq_error(struct ahci_emul *e, const struct ahci_slot *s, u8 status);
/* atapi.c */
enum slot_end atapi_emul_exec(struct ahci_port *p, struct ahci_slot *s);
/* ata_identify.c */
void ata_emul_seal(u16 w[ATA_ID_WORDS]);
void ata_emul_identify(const struct ahci_emul *e, u16 w[ATA_ID_WORDS]);
u32 ata_emul_log(struct ahci_emul *e, u8 log, u32 page, u8 *to);
void ata_emul_smart_data(const struct ahci_emul *e, struct ata_smart_data *d);
void ata_emul_smart_thresholds(u8 to[ATA_LOG_BYTES]);

#endif
