/*
 * diskless.c - what a PC without a disk gives the VMM instead
 *
 * Two things that only the firmware can hand out: memory, which the OS will
 * find reserved, and an address range for the registers of a controller that
 * replaces no real one. The latter must lie where the PCI root bridge decodes
 * and nothing else does, or the OS would move it, or worse, not. The firmware's
 * own bookkeeping of address space (GCD) has both: the bridges' windows are in
 * it as memory-mapped I/O, and what the bus enumeration used of them as
 * allocated. There is other memory-mapped I/O (VGA's, the chipset's), so what
 * is free above the highest BAR is taken first. [PI 1.7 vol. 2 §7.2]
 */
#include "base/err.h"
#include "base/fmt.h"
#include "boot/loader/loader.h"

#define MEMORY_ALIGN (2 * MIB)
#define MEMORY_MIN (64 * MIB)
/* Of what is free, for the disk; the OS gets the rest. */
#define MEMORY_SHARE 4
#define BAR_BYTES (64 * KIB) /* the controller's registers and more */
#define BAR_TOP 0xfebfffffull
#define BAR_TRIES 8192 /* 512 MiB */

/* [PCI 3.0 §6.1, §6.2.5.1] */
#define PCI_HEADER 0x0e
#define   PCI_HEADER_TYPE 0x7fu
#define PCI_BAR0 0x10
#define   PCI_BAR_IO BIT(0)
#define   PCI_BAR_64 BIT(2)

/* [PI 1.7 vol. 2 §7.2.4] */
#define DXE_SERVICES_GUID \
	{ 0x05ad34ba, 0x6f02, 0x4214, { 0x95, 0x2e, 0x4d, 0xa0, 0x39, 0x8e, 0x2b, 0xb9 } }

enum gcd_how { GCD_ADDRESS = 2, GCD_BELOW_TOP_DOWN = 4 };
enum gcd_type { GCD_MMIO = 3 };

struct dxe_services {
	EFI_TABLE_HEADER head;
	VOID *add_memory;
	EFI_STATUS (EFIAPI *allocate_memory)(enum gcd_how how, enum gcd_type type, UINTN align_bits,
					     UINT64 bytes, EFI_PHYSICAL_ADDRESS *base,
					     EFI_HANDLE image, EFI_HANDLE device);
};

static EFI_GUID dxe_services_guid = DXE_SERVICES_GUID;
static EFI_GUID pci_io_guid = EFI_PCI_IO_PROTOCOL_GUID;

static void *config_table(const EFI_GUID *guid)
{
	for (UINTN i = 0; i < ST->NumberOfTableEntries; i++)
		if (!CompareMem(&ST->ConfigurationTable[i].VendorGuid, guid, sizeof(*guid)))
			return ST->ConfigurationTable[i].VendorTable;
	return NULL;
}

/* The highest memory BAR below 4 GiB of one function, or 0. */
static u64 highest_bar_of(EFI_HANDLE handle)
{
	u32 bar[6] = { 0 }, high = 0;
	EFI_PCI_IO *io;
	u8 header = 0;

	if (EFI_ERROR(BS->HandleProtocol(handle, &pci_io_guid, (void **)&io)) ||
	    EFI_ERROR(io->Pci.Read(io, EfiPciIoWidthUint8, PCI_HEADER, 1, &header)) ||
	    header & PCI_HEADER_TYPE ||
	    EFI_ERROR(io->Pci.Read(io, EfiPciIoWidthUint32, PCI_BAR0, 6, bar)))
		return 0;
	for (u32 i = 0; i < 6; i++) {
		if (bar[i] & PCI_BAR_IO)
			continue;
		if (!(bar[i] & PCI_BAR_64)) {
			high = MAX(high, bar[i] & ~15u);
		} else if (i < 5) {
			high = bar[i + 1] ? high : MAX(high, bar[i] & ~15u);
			i++;
		}
	}
	return high;
}

static u64 highest_bar(void)
{
	EFI_HANDLE *handles;
	u64 high = 0;
	UINTN n;

	if (EFI_ERROR(BS->LocateHandleBuffer(ByProtocol, &pci_io_guid, NULL, &n, &handles)))
		return 0;
	for (UINTN i = 0; i < n; i++)
		high = MAX(high, highest_bar_of(handles[i]));
	BS->FreePool(handles);
	return high;
}

static EFI_STATUS allocate_bar(struct loader *l, struct dxe_services *dxe,
			       EFI_PHYSICAL_ADDRESS *at)
{
	UINTN bits = __builtin_ctzll(BAR_BYTES);
	u64 from = ALIGN_UP(highest_bar(), BAR_BYTES);

	for (u32 i = 0; from && i < BAR_TRIES && from + BAR_BYTES <= BAR_TOP; i++) {
		*at = from;
		if (!EFI_ERROR(dxe->allocate_memory(GCD_ADDRESS, GCD_MMIO, bits, BAR_BYTES, at,
						    l->image, NULL)))
			return EFI_SUCCESS;
		from += BAR_BYTES;
	}
	*at = BAR_TOP;
	return dxe->allocate_memory(GCD_BELOW_TOP_DOWN, GCD_MMIO, bits, BAR_BYTES, at, l->image,
				    NULL);
}

static EFI_STATUS reserve_bar(struct loader *l)
{
	struct dxe_services *dxe = config_table(&dxe_services_guid);
	EFI_PHYSICAL_ADDRESS at;
	EFI_STATUS s;

	if (l->handoff.bar_bytes)
		return EFI_SUCCESS;
	if (!dxe)
		return EFI_UNSUPPORTED;
	s = allocate_bar(l, dxe, &at);
	if (!EFI_ERROR(s)) {
		l->handoff.bar_pa = at;
		l->handoff.bar_bytes = BAR_BYTES;
	}
	return s;
}

/* Any place; aligned so that the nested tables need not be split for it. */
static EFI_STATUS reserve_memory(u64 bytes, u64 *pa)
{
	UINTN pages = bytes / PAGE_BYTES, slack = MEMORY_ALIGN / PAGE_BYTES - 1, before;
	EFI_PHYSICAL_ADDRESS at = 0;
	EFI_STATUS s;

	s = BS->AllocatePages(AllocateAnyPages, EfiReservedMemoryType, pages + slack, &at);
	if (EFI_ERROR(s))
		return s;
	*pa = ALIGN_UP((u64)at, MEMORY_ALIGN);
	before = (*pa - at) / PAGE_BYTES;
	if (before)
		BS->FreePages(at, before);
	if (slack - before)
		BS->FreePages(*pa + bytes, slack - before);
	return s;
}

/**
 * diskless_prepare() - reserve memory and addresses for a disk that is none
 *
 * The addresses also for a PC with a disk: its virtual controller may be of another
 * kind, which does not fit in the real one's place. Of memory, as much as the option
 * `memory` says, else a quarter of what is free, or as much of that as there is in one
 * piece. May be called again.
 * Return: 0, or FR_LOW_MEMORY, FR_FIRMWARE.
 */
int diskless_prepare(struct loader *l)
{
	u64 wanted = options_memory(&l->options), bytes;
	EFI_STATUS s;

	s = reserve_bar(l);
	if (!l->diskless)
		return 0; /* without addresses it may still fit */
	if (EFI_ERROR(s)) {
		fmt_snprintf(l->detail, sizeof(l->detail), "no place for a PCI device: %s",
			     efi_text(s));
		return FR_FIRMWARE;
	}
	bytes = wanted ? wanted : ALIGN_DOWN(machine_free_ram() / MEMORY_SHARE, MEMORY_ALIGN);
	s = EFI_OUT_OF_RESOURCES;
	for (; bytes >= MEMORY_MIN; bytes = ALIGN_DOWN(bytes / 4 * 3, MEMORY_ALIGN)) {
		s = reserve_memory(bytes, &l->handoff.memory_pa);
		if (!EFI_ERROR(s) || wanted)
			break;
	}
	if (EFI_ERROR(s)) {
		fmt_snprintf(l->detail, sizeof(l->detail), "no %llu MiB in one piece for the disk",
			     (unsigned long long)((wanted ? wanted : MEMORY_MIN) / MIB));
		return FR_LOW_MEMORY;
	}
	l->handoff.memory_bytes = bytes;
	con_print("disk: %llu MiB of memory; what is written is lost at power-off\n",
		  (unsigned long long)(bytes / MIB));
	return 0;
}
