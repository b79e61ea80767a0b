/*
 * ahci_priv.h - what the files of the AHCI driver share
 *
 * ahci.c       the controller: hand-over, reset, which ports have disks, interrupts
 * ahci_port.c  a port: link, IDENTIFY, errors, recovery
 * ahci_io.c    requests: carved into commands, sent, ended
 * ahci_packet.c  an optical drive's packets: sent one by one, ended
 * ahci_id.c    what a disk says about itself; pure
 *
 * One owner (the VMM's pump) calls everything but ahci_drv_work(). Fields
 * without a mark are the owner's.
 */
#ifndef STORAGE_DRIVERS_AHCI_PRIV_H
#define STORAGE_DRIVERS_AHCI_PRIV_H

#include "base/bus.h"
#include "base/list.h"
#include "storage/core/blk.h"
#include "storage/core/packet.h"
#include "storage/drivers/ahci.h"
#include "storage/spec/ahci.h"

/* A command table is one page: so many pieces of memory in one command. */
#define AHCI_DRV_PRDS ((PAGE_BYTES - sizeof(struct ahci_cmd_table)) / sizeof(struct ahci_prd))
#define AHCI_DRV_COMMAND_BYTES (1u * (u32)MIB)
#define AHCI_DRV_REQUEST_BYTES (4u * (u32)MIB)
#define AHCI_DRV_BOUNCES 8u
#define AHCI_DRV_BOUNCE_BYTES (32u * (u32)KIB)
#define AHCI_DRV_ZEROES_BYTES (16u * (u32)KIB)
#define AHCI_DRV_NO_BOUNCE 0xffu
#define AHCI_DRV_ATTEMPTS 4u
#define AHCI_DRV_ATTEMPTS_MEDIUM 2u /* the disk has tried for seconds by itself */
#define AHCI_DRV_RESETS 3u
#define AHCI_DRV_NO_SLOT 0xffu

enum slot_state {
	SLOT_FREE,
	SLOT_SENT,
	SLOT_AGAIN, /* to be sent (again) at @when_ns */
};

struct ahci_slot {
	enum slot_state state;
	u8 attempts;
	u8 bounce;
	bool plain; /* not to be queued any more: something went wrong with it */
	struct blk_req *req;
	enum blk_op op; /* the command's; BLK_FLUSH may follow writes of a FUA request */
	u64 lba;
	u32 sectors;
	u32 prds;
	u64 when_ns; /* SENT: time-out; AGAIN: not before */
	struct ahci_cmd_table *table; /* (c) a page */
	u64 table_dma; /* (c) */
	u32 seg, seg_off, bytes; /* where the data is in the request */
};

enum port_state {
	PORT_STOP, /* ST=0 written, waiting for CR=0; then what .plan says */
	PORT_RESET, /* COMRESET is on the wire */
	PORT_LINK, /* waiting for the link */
	PORT_READY, /* waiting for the disk's first frame: neither BSY nor DRQ */
	PORT_IDENTIFY, /* command on its way */
	PORT_LOG, /* command on its way: which queued command failed? */
	PORT_LIVE,
	PORT_DEAD,
};

enum port_plan {
	PLAN_RESTART, /* the command list only */
	PLAN_LOG, /* the same, then the NCQ error log */
	PLAN_RESET, /* COMRESET */
	PLAN_DIE,
};

/* What may be out together: queued commands, or others, never both. */
enum port_kind { KIND_QUEUED, KIND_PLAIN };

struct ahci_port {
	union { /* what it is to others */
		struct blk_dev blk;
		struct packet_dev pkt; /* .packet */
	};
	bool packet; /* it is an optical drive, or the like: of slots, it has the first */
	struct ahci_drv *d; /* (c) */
	u32 n; /* (c) */
	enum port_state state;
	enum port_plan plan;
	u64 state_ns; /* when the state's wait ends */
	bool known; /* the disk has been identified once */
	bool other; /* it is neither a disk nor a drive of packets */
	bool ncq; /* queued commands may be used */
	u32 resets; /* since a command last ended well */
	u32 distrust; /* failures that NCQ may be guilty of */
	struct ahci_drv_id id;

	/* of the error that is being recovered from */
	u8 culprit; /* slot; AHCI_DRV_NO_SLOT: not known */
	u8 culprit_error; /* ATA_ERR_* */
	bool blame_all;
	const char *why; /* PLAN_DIE */

	struct ahci_cmd_header *list; /* (c) */
	struct ahci_rx_fis *rx; /* (c); types are read by ahci_drv_work() on any CPU */
	struct ahci_cmd_table *own; /* (c) table of commands of the state machine's own */
	u8 *own_data; /* (c) 512 bytes */
	u64 list_dma, rx_dma, own_dma, own_data_dma; /* (c) */

	struct ahci_slot slots[AHCI_SLOTS_MAX];
	u32 nslots; /* (c) */
	u32 sent; /* bits: slots SENT */
	u32 ring; /* bits: of those, not yet told to the controller */
	enum port_kind out_kind; /* of those */
	u32 again; /* slots AGAIN */
	u64 look_ns; /* when to read registers although nothing happened */
	u8 *bounce[AHCI_DRV_BOUNCES];
	u64 bounce_dma[AHCI_DRV_BOUNCES];
	u32 bounce_free; /* bits */

	struct list waiting; /* not wholly carved */
	struct list finished; /* done() is due */
};

enum hba_state { HBA_LIVE, HBA_RESET, HBA_DEAD };

struct ahci_drv {
	struct bus_dev *bus;
	struct ahci_drv_opts opt; /* (c) */
	enum hba_state state;
	u64 state_ns;
	u32 cap, cap2; /* (c) */
	u32 implemented; /* (c) bits: ports */
	bool has_irq; /* (c) */
	bool looking; /* this round of poll() reads registers */
	bool polling; /* inside poll(): the controller is told at its end */
	u32 hba_resets; /* since a command last ended well */
	u32 nports; /* (c) */
	u32 ndisks; /* (c) the first of them */
	struct ahci_port *ports[AHCI_PORTS_MAX]; /* (c) */
	u8 *zeroes; /* (c) never written */
	u64 zeroes_dma; /* (c) */
	u32 news; /* (a) something was reaped since ahci_drv_work() was asked */
	u32 look; /* (a) registers have something that memory does not show */
	struct ahci_drv_stats stats;
};

/* A table of memory pieces, given one by one; neighbours become one. */
struct prd_fill {
	struct ahci_prd *prd; /* NULL: only count */
	u32 n;
	u64 end; /* of the last */
	u32 bytes; /* of the last */
};

static inline u32 port_read(struct ahci_port *p, u32 reg)
{
	return bus_read32(p->d->bus, AHCI_PORT(p->n) + reg);
}

static inline void port_write(struct ahci_port *p, u32 reg, u32 v)
{
	bus_write32(p->d->bus, AHCI_PORT(p->n) + reg, v);
}

/* ahci.c */
void ahci_hba_reset(struct ahci_drv *d, const char *why);
void ahci_hba_die(struct ahci_drv *d, const char *why);
void ahci_hba_poll(struct ahci_drv *d);

/* ahci_port.c */
int ahci_port_create(struct ahci_drv *d, u32 n, struct ahci_port **out);
void ahci_port_begin(struct ahci_port *p);
void ahci_port_hold(struct ahci_port *p);
void ahci_port_step(struct ahci_port *p);
void ahci_port_die(struct ahci_port *p, const char *why);
bool ahci_port_news(const struct ahci_port *p);
void ahci_port_reset(struct ahci_port *p, const char *why);
u64 ahci_port_deadline_ns(const struct ahci_port *p);

/* ahci_io.c */
void ahci_io_announce(struct ahci_port *p);
void ahci_io_done(struct ahci_port *p, u32 slots);
void ahci_io_forget(struct ahci_port *p);
void ahci_io_fail_all(struct ahci_port *p);
void ahci_io_start(struct ahci_port *p);
void ahci_io_ring(struct ahci_port *p);
void ahci_io_run_finished(struct ahci_port *p);
bool ahci_io_reachable(const struct ahci_port *p, u64 pa, u32 bytes);
u32 ahci_io_prd_add(struct prd_fill *f, u64 pa, u32 bytes);

/* ahci_packet.c: as ahci_io.c's of the same names, which call them for such a port */
void ahci_packet_announce(struct ahci_port *p, const u16 *id);
void ahci_packet_done(struct ahci_port *p);
void ahci_packet_forget(struct ahci_port *p);
void ahci_packet_fail_all(struct ahci_port *p);
void ahci_packet_start(struct ahci_port *p);
void ahci_packet_run_finished(struct ahci_port *p);

#endif
