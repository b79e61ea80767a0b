/*
 * handoff.h - the ABI between the loader and the VMM
 *
 * The loader reserves one region of memory (2 MiB aligned, below 4 GiB),
 * loads the VMM's ELF at its start, puts this structure and the launch page
 * tables behind it, and calls the entry point once on every CPU. The call
 * returns with that CPU in guest mode. From then on the two talk by VMMCALL.
 *
 * Launch page tables (handoff.cr3), built by the loader:
 *   identity      0 .. phys_limit, present, writable, executable
 *   PHYS_BASE     the same physical memory again: the VMM's direct map
 *   VMM_VBASE     region_pa .. region_pa + region_bytes, 2 MiB pages
 * The VMM drops the identity half once it runs at its own addresses.
 */
#ifndef BOOT_HANDOFF_H
#define BOOT_HANDOFF_H

#include "base/assert.h"
#include "base/field.h"
#include "base/types.h"
#include "boot/crash.h"

#define HANDOFF_MAGIC 0x3154455348534652ull /* "RFSHSET1", little-endian */
#define HANDOFF_VERSION 1
#define HANDOFF_CPUS_MAX 64
#define HANDOFF_PCI_MAX 8
#define HANDOFF_RAM_MAX 192
#define HANDOFF_KEYS_MAX 4
#define HANDOFF_SEED_BYTES 128

#define PHYS_BASE 0xffff800000000000ull
#define VMM_VBASE 0xffffffff80000000ull

enum handoff_pci_kind {
	HANDOFF_PCI_NVME = 1,
	HANDOFF_PCI_AHCI,
	HANDOFF_PCI_NIC,
};

struct handoff_pci {
	u32 kind; /* enum handoff_pci_kind */
	u16 segment;
	u16 bdf;
	u16 vendor, device;
	u32 reserved;
};

struct handoff_ram {
	u64 base, bytes; /* RAM in the guest's memory map, the VMM's region left out */
};

/*
 * The display as the firmware left it, for a panic alone. The glyphs are the
 * firmware's own: row by row from the top, the leftmost pixel in bit 7.
 */
#define HANDOFF_GLYPH_FIRST 0x20
#define HANDOFF_GLYPH_LAST 0x7e
#define HANDOFF_GLYPH_ROWS 20

struct handoff_screen {
	u64 base; /* of the frame buffer, 32 bits a pixel; 0: there is none */
	u64 bar_base; /* of the BAR that holds it, at bar_reg of function bdf */
	u16 bdf;
	u16 bar_reg;
	u32 width, height; /* pixels */
	u32 stride; /* pixels from one line to the next */
	u32 glyph_width, glyph_height; /* pixels; at most 8 and HANDOFF_GLYPH_ROWS */
	u8 glyph[HANDOFF_GLYPH_LAST - HANDOFF_GLYPH_FIRST + 1][HANDOFF_GLYPH_ROWS];
};

#define HANDOFF_FLAG_NULL BIT(0) /* take no device: the VMM and nothing else */
#define HANDOFF_FLAG_TEST BIT(1) /* mode test: HC_TEST exists */

struct handoff {
	u64 magic;
	u32 version;
	u32 bytes; /* sizeof(struct handoff) */
	u64 region_pa, region_bytes;
	u64 free_pa; /* first byte of the region that the loader did not use */
	u64 cr3;
	u64 phys_limit; /* 1 << MAXPHYADDR */
	u64 tsc_hz; /* measured by the loader */
	u64 ecam_base; /* 0: no MCFG; segment 0 */
	u32 ecam_bus_first, ecam_bus_last;
	u64 rsdp_pa;
	/*
	 * Instead of a disk: memory that the guest's map has as reserved, 2 MiB
	 * aligned. memory_bytes 0: a disk of handoff.pci[].
	 */
	u64 memory_pa, memory_bytes;
	/* Where the BAR of a virtual controller may stand that replaces no real one. */
	u64 bar_pa, bar_bytes;
	u32 flags;
	u32 cpu_count; /* CPUs that will call the entry point */
	u32 apic_id[HANDOFF_CPUS_MAX]; /* by CPU index; 0 is the BSP */
	u32 pci_count;
	u32 ram_count;
	struct handoff_pci pci[HANDOFF_PCI_MAX];
	struct handoff_ram ram[HANDOFF_RAM_MAX];
	u8 uuid[16]; /* SMBIOS system UUID, as in the table; zeros: the VMM makes one of the MAC */
	u32 key_count;
	u32 options_bytes;
	u8 keys[HANDOFF_KEYS_MAX][64]; /* site public keys, P-256 X || Y */
	char options[4096]; /* "key value\n" lines: file first, then load options */
	char version_text[64]; /* build id, for log and report */
	struct handoff_screen screen;
	struct crash_record crash; /* of the last run, or nothing valid */
	/* What the firmware has of randomness; the loader forgets its copy. */
	u8 seed[HANDOFF_SEED_BYTES];
	u32 seed_good; /* it comes from EFI_RNG_PROTOCOL; 0: times and their jitter only */
};

/*
 * The entry point: called in long mode by the SysV ABI, interrupts off, on the
 * firmware's page tables and stack. Returns 0 in guest mode, or a negative
 * error in host mode with nothing changed on this CPU.
 */
typedef int (*handoff_entry_fn)(struct handoff *h, u32 cpu);

/*
 * Hypercalls: VMMCALL (VMCALL on Intel) with RAX = HC_MAGIC | number,
 * RBX = argument. RAX returns 0 or a negative error. From CPL 0 only; after
 * HC_DONE they do not exist (#UD). Buffers are guest-physical, checked.
 */
#define HC_MAGIC 0x46520000u /* "FR" */
enum handoff_call {
	HC_STATUS = 1, /* RBX = gpa of a struct handoff_status; also advances the pump */
	HC_START, /* take the devices of handoff.pci[] and begin to deploy */
	HC_ATTACH, /* present the virtual disk (state READY); -EAGAIN before */
	HC_ACTION, /* RBX = enum handoff_action, answer to state TROUBLE */
	HC_LOG, /* RBX = gpa of a struct handoff_log */
	HC_DONE, /* ExitBootServices: no more calls */
	HC_TEST, /* RBX = gpa of a struct handoff_test; with HANDOFF_FLAG_TEST only */
	/*
	 * The virtual disk for a firmware that has no driver for its controller:
	 * one request at a time. RBX = gpa of a struct handoff_io. 0: it has begun;
	 * -EAGAIN: no disk is attached; -EBUSY: another is under way; -EINVAL,
	 * -EFAULT: nothing has been done.
	 */
	HC_READ,
	HC_WRITE,
	HC_FLUSH,
	/* How it went, and advance the pump: -EINPROGRESS, then 0, -EIO or -ENOSPC. RBX unused. */
	HC_IO_STATUS,
};

enum handoff_state {
	HS_IDLE, /* before HC_START */
	HS_DISK, /* looking at the disk and the store */
	HS_NETWORK, /* link, DHCP, server */
	HS_TICKET,
	HS_MANIFEST,
	HS_CLAIM, /* writing GPT, ESP and store */
	HS_READY, /* the virtual disk may be attached */
	HS_ATTACHED,
	HS_TROUBLE, /* code says why; HC_ACTION or wait */
};

enum handoff_action {
	HA_RETRY = 1,
	HA_BOOT_CACHE,
};

/*
 * Trouble codes, shown as FR-nn and listed in docs/messages.md. Loader codes
 * are below 50, VMM codes from 50.
 */
enum handoff_code {
	FR_OK = 0,
	FR_NO_SVM = 10,
	FR_SVM_LOCKED = 11,
	FR_LOW_MEMORY = 12,
	FR_NO_NIC = 13,
	FR_NO_DISK = 14,
	FR_BAD_CONFIG = 15,
	FR_NO_KEY = 16,
	FR_LAUNCH_FAILED = 17,
	FR_NO_OS_LOADER = 18,
	FR_FIRMWARE = 19,
	FR_NO_VMX = 20,
	FR_VMX_LOCKED = 21,
	FR_DISK_FOREIGN = 50, /* not blank, not ours, not claimed: nothing was written */
	FR_DISK_SMALL = 51,
	FR_DISK_FAILED = 52,
	FR_NO_LINK = 53,
	FR_NO_DHCP = 54,
	FR_NO_SERVER = 55,
	FR_TICKET_REFUSED = 56, /* the server does not know or want this machine */
	FR_TICKET_BAD = 57, /* signature or syntax */
	FR_TICKET_STALE = 58, /* serial went back */
	FR_MANIFEST_BAD = 59,
	FR_STORE_BAD = 60,
	FR_INTERNAL = 61,
	FR_NOT_THE_SITE = 62, /* TLS: the server's certificate is not the site's */
	FR_NO_TLS = 63, /* no common version or cipher suite, or no TLS at all */
	FR_CREDENTIAL = 64, /* the server does not accept this machine's */
};

struct handoff_status {
	u32 state; /* enum handoff_state */
	u32 code; /* enum handoff_code when TROUBLE */
	char text[160]; /* one line for the screen, ASCII */
	u32 percent; /* of the present step; 0xffffffff: unknown */
	u32 can_boot_cache; /* HA_BOOT_CACHE would work */
	u32 disk_bdf; /* where the virtual disk stands, from HS_ATTACHED on */
	u32 sector_bytes; /* of the virtual disk, from HS_READY on */
	u64 disk_bytes;
	u64 fetched_bytes;
	u64 vmm_bytes; /* reserved_bytes */
	u8 uuid[16]; /* what the server is told */
};

struct handoff_log {
	u64 pos; /* in: read from here; out: next position */
	u32 bytes; /* out */
	u32 reserved;
	char text[4080];
};

#define HANDOFF_IO_BYTES_MAX (128 * 1024u)

struct handoff_io {
	u64 buffer; /* gpa of RAM */
	u64 lba; /* in the disk's sectors */
	u32 bytes; /* whole sectors, at most HANDOFF_IO_BYTES_MAX; 0 for HC_FLUSH */
	u32 reserved; /* 0 */
};

/* What tests/guest asks for: hooks on pages and ports that behave like memory. */
enum handoff_test_op {
	HT_INFO, /* out: where the VMM's region lies, nested faults since the start */
	HT_HOOK, /* @base: a page whose every access is logged and goes to memory of the VMM */
	HT_HOOK_WRITES, /* the same for writes; they go to the guest's own page */
	HT_HOOK_ABSENT, /* as if nothing were there; no log */
	HT_UNHOOK, /* @base */
	HT_PORTS, /* HANDOFF_TEST_PORTS ports from @base: logged bytes; once */
	HT_PANIC, /* the VMM's end */
};

#define HANDOFF_TEST_PORTS 16

struct handoff_test {
	u32 op; /* enum handoff_test_op */
	u32 reserved;
	u64 base;
	u64 log; /* gpa of a struct handoff_test_log, in RAM, for as long as the hook lives */
	u64 region_pa, region_bytes, nested_faults; /* out, HT_INFO */
};

struct handoff_test_log {
	u32 count; /* accesses; the guest may set it back */
	u32 reserved;
	struct {
		u64 at; /* offset in the page, or the port */
		u64 value;
		u32 bytes;
		u32 write;
	} entry[170];
	u64 pad;
};

static_assert(sizeof(struct handoff_test_log) == 4096, "handoff_test_log");
static_assert(sizeof(struct handoff_status) == 224, "handoff_status");
static_assert(sizeof(struct handoff_io) == 24, "handoff_io");
static_assert(sizeof(struct handoff_log) == 4096, "handoff_log");

#endif
