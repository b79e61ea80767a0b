/*
 * ahci.h - the disks behind a real AHCI controller as block devices, its optical
 * drives as packet devices
 */
#ifndef STORAGE_DRIVERS_AHCI_H
#define STORAGE_DRIVERS_AHCI_H

#include "base/bus.h"
#include "storage/core/blk.h"
#include "storage/core/packet.h"
#include "storage/spec/ata.h"

struct ahci_drv;

struct ahci_drv_opts {
	u32 depth; /* commands at once on a disk, 0: all 32 */
	u64 timeout_ns; /* of one command, 0: 10 s */
	bool no_ncq;
};

struct ahci_drv_stats {
	u64 reads, writes, flushes, trims, zeroes; /* commands that ended well */
	u64 bytes_read, bytes_written;
	u64 packets; /* that were answered, well or not */
	u64 queued, plain; /* commands sent, with NCQ and without */
	u64 bounced; /* commands that went through a bounce buffer */
	u64 errors; /* commands that the disk refused or failed */
	u64 retries, timeouts;
	u64 link_errors; /* on the wire or the bus: nobody's command in particular */
	u64 logs; /* NCQ error logs that named the command */
	u64 resets; /* COMRESETs after the start */
	u64 hba_resets;
};

/* What IDENTIFY DEVICE says, checked; ahci_drv_parse_id() fills it in. */
struct ahci_drv_id {
	char serial[24], model[44], firmware[12];
	u64 sectors;
	u32 sector_bytes;
	u32 depth; /* of the queue; 0: no NCQ */
	bool write_cache, fua, trim;
	bool log; /* READ LOG EXT */
};

int ahci_drv_create(struct bus_dev *bus, const struct ahci_drv_opts *opts, struct ahci_drv **out);
u32 ahci_drv_disks(const struct ahci_drv *d);
struct blk_dev *ahci_drv_blk(struct ahci_drv *d, u32 disk);
u32 ahci_drv_port(const struct ahci_drv *d, u32 disk);
u32 ahci_drv_packets(const struct ahci_drv *d);
struct packet_dev *ahci_drv_packet(struct ahci_drv *d, u32 drive);
bool ahci_drv_work(struct ahci_drv *d);
u64 ahci_drv_deadline_ns(const struct ahci_drv *d);
bool ahci_drv_has_irq(const struct ahci_drv *d);
bool ahci_drv_dead(const struct ahci_drv *d, u32 disk);
void ahci_drv_shutdown(struct ahci_drv *d);
const struct ahci_drv_stats *ahci_drv_stats(const struct ahci_drv *d);

int ahci_drv_parse_id(const u16 words[ATA_ID_WORDS], struct ahci_drv_id *id);
int ahci_drv_parse_packet_id(const u16 words[ATA_ID_WORDS], struct ahci_drv_id *id);
int ahci_drv_parse_ncq_error(const struct ata_ncq_error *log, u32 *tag);

#endif
