/*
 * deploy.h - a PC's boot: from a real disk and a source to the guest's disk
 *
 *	DISK -> NETWORK -> TICKET -> MANIFEST -> CLAIM -> READY (-> ATTACHED)
 *	  \______________________________________________/
 *	   a complete store needs nothing of the network
 *
 * DISK looks whose disk it is and opens the store. If the store is complete
 * the virtual disk is READY at once, and ticket and ESP are looked after in
 * the background. Otherwise the ticket says which version to show and whether
 * a disk may be taken (CLAIM). TROUBLE is shown when a person should know;
 * whatever it is, the step is tried again every 10 s, or at once when told.
 *
 * Nothing is written to the disk before a ticket signed by a site key allows
 * it, unless the disk carries our partition table already.
 *
 * A disk of memory (cfg.memory) needs no claim and gets no partitions: the whole
 * of it is formatted as store at each boot. It may be smaller than the image.
 *
 * Of several disks deploy_pick.c says which one it is.
 *
 * Driving it: poll the block devices and the source, then call deploy_poll(),
 * which polls the virtual disk too. It neither polls the device nor the source.
 * Context: pump. Allocates at creation and on control paths, never per I/O.
 */
#ifndef STORAGE_CORE_DEPLOY_H
#define STORAGE_CORE_DEPLOY_H

#include "base/crypto.h"
#include "base/types.h"
#include "storage/core/blk.h"
#include "storage/core/disk.h"
#include "storage/core/source.h"

/* Same order as enum handoff_state in boot/handoff.h. */
enum deploy_state {
	DEPLOY_IDLE,
	DEPLOY_DISK,
	DEPLOY_NETWORK,
	DEPLOY_TICKET,
	DEPLOY_MANIFEST,
	DEPLOY_CLAIM,
	DEPLOY_READY,
	DEPLOY_ATTACHED,
	DEPLOY_TROUBLE,
};

/* Same values as enum handoff_code, FR-50 and on. */
enum deploy_code {
	DEPLOY_OK = 0,
	DEPLOY_DISK_FOREIGN = 50,
	DEPLOY_DISK_SMALL,
	DEPLOY_DISK_FAILED,
	DEPLOY_NO_LINK,
	DEPLOY_NO_DHCP,
	DEPLOY_NO_SERVER,
	DEPLOY_TICKET_REFUSED,
	DEPLOY_TICKET_BAD,
	DEPLOY_TICKET_STALE,
	DEPLOY_MANIFEST_BAD,
	DEPLOY_STORE_BAD,
	DEPLOY_INTERNAL,
	DEPLOY_NOT_THE_SITE,
	DEPLOY_NO_TLS,
	DEPLOY_CREDENTIAL,
};

enum deploy_action {
	DEPLOY_RETRY = 1, /* same values as enum handoff_action */
	DEPLOY_BOOT_CACHE,
};

#define DEPLOY_DISKS_MAX 16
#define DEPLOY_PERCENT_UNKNOWN 0xffffffffu

struct deploy_cfg {
	struct blk_dev *blk; /* the real disk */
	/* Others that may be it; the array is copied, DEPLOY_DISKS_MAX - 1 at most. */
	struct blk_dev *const *more;
	u32 nmore;
	bool memory; /* it is memory: nobody's, empty, and gone with the power */
	struct source *source; /* NULL: there is no network card */
	u8 uuid[16]; /* SMBIOS, as in the table */
	u8 mac[6];
	const u8 (*keys)[P256_PUB_BYTES]; /* the site's; live as long as the deploy */
	u32 nkeys;
	const char *build; /* version text for reports, lives as long; NULL: none */
	u32 pool_bytes, crc_cache_bytes; /* as in disk_cfg; 0: defaults */
	/* Appended to reports: ",\"key\":value" pairs; returns bytes. NULL: none. */
	u32 (*report_more)(char *out, u32 room);
};

struct deploy_status {
	enum deploy_state state;
	enum deploy_code code; /* when TROUBLE */
	char text[160]; /* one line for the screen, ASCII */
	u32 percent; /* of the present step; of the fill when READY */
	bool can_boot_cache; /* DEPLOY_BOOT_CACHE would work */
	u64 disk_bytes; /* of the virtual disk, 0 before READY */
	u64 fetched_bytes; /* over the wire */
};

struct deploy;

/** deploy_create() - begin; 0, -EINVAL for no key or disk, -ENOMEM */
int deploy_create(struct deploy **out, const struct deploy_cfg *cfg);
/** deploy_destroy() - only when nothing is in flight (tests, tools) */
void deploy_destroy(struct deploy *d);

/**
 * deploy_poll() - do everything that can be done now
 *
 * Return: ns until it wants to be called again without other cause. ~0 (behind a
 * quiet guest): only a completion, a submission or the source can give it work.
 */
u64 deploy_poll(struct deploy *d);

/** deploy_disk() - the guest's disk; NULL before READY */
struct blk_dev *deploy_disk(struct deploy *d);
/** deploy_real_disk() - the one of the real disks that it is; final from READY on */
struct blk_dev *deploy_real_disk(struct deploy *d);
/** deploy_vdisk() - the same as a struct disk, for statistics and quiesce */
struct disk *deploy_vdisk(struct deploy *d);
/** deploy_frontend() - the controller that the guest is to see; SAME before READY */
enum store_frontend deploy_frontend(struct deploy *d);
/** deploy_nic() - the network card that it is to see; NONE before READY */
enum store_nic deploy_nic(struct deploy *d);
/** deploy_attached() - the guest has been given the disk */
void deploy_attached(struct deploy *d);
/**
 * deploy_guest_up() - the guest has come up: the version that is shown is good
 *
 * Without this call a guest that still uses its disk a minute after it was
 * attached counts as up. Three boots of a new version without it, and the PC
 * goes back to the version before, if that is still in the store.
 */
void deploy_guest_up(struct deploy *d);

void deploy_status(struct deploy *d, struct deploy_status *out);
/** deploy_action() - 0; -EINVAL when it makes no sense now */
int deploy_action(struct deploy *d, enum deploy_action a);

#endif
