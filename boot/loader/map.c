/*
 * map.c - the VMM's region, its launch page tables, and the map of RAM
 *
 * The tables are those that boot/handoff.h describes. Identity and direct map
 * share everything below the top level.
 */
#include <efi.h>
#include <efilib.h>

#include "base/err.h"
#include "boot/loader/launch.h"

#define PTE_P BIT64(0)
#define PTE_W BIT64(1)
#define PTE_A BIT64(5)
#define PTE_D BIT64(6)
#define PTE_PS BIT64(7)
#define PTE_LEAF (PTE_P | PTE_W | PTE_A | PTE_D | PTE_PS)
#define PTE_TABLE (PTE_P | PTE_W | PTE_A)

#define BYTES_2M (2 * MIB)
#define BYTES_512G (512 * GIB)
#define REGION_TOP 0xffffffffull /* 32-bit code of ours never needs more, and QEMU's DMA neither */
#define DIRECT_BITS_MAX 46 /* PHYS_BASE to VMM_VBASE, with a margin */

static void cpuid(u32 leaf, u32 r[4])
{
	__asm__ volatile("cpuid" : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3])
			 : "a"(leaf), "c"(0));
}

/** map_phys_limit() - end of physical address space, at most 48 bits */
u64 map_phys_limit(void)
{
	u32 r[4], bits = 36;

	cpuid(0x80000000, r);
	if (r[0] >= 0x80000008) {
		cpuid(0x80000008, r);
		bits = r[0] & 0xff;
	}
	return 1ull << MIN(MAX(bits, 32u), 48u);
}

static bool have_gib_pages(void)
{
	u32 r[4];

	cpuid(0x80000001, r);
	return r[3] & BIT(26);
}

/**
 * map_region_reserve() - memory that the OS will find reserved
 * @bytes: a multiple of 2 MiB
 * @pa:    out, 2 MiB aligned
 */
int map_region_reserve(u64 bytes, u64 *pa)
{
	EFI_PHYSICAL_ADDRESS at = REGION_TOP;
	UINTN pages = bytes / PAGE_BYTES, slack = BYTES_2M / PAGE_BYTES - 1, before;

	if (EFI_ERROR(BS->AllocatePages(AllocateMaxAddress, EfiReservedMemoryType, pages + slack,
					&at)))
		return -ENOMEM;
	*pa = ALIGN_UP((u64)at, BYTES_2M);
	before = (*pa - at) / PAGE_BYTES;
	if (before)
		BS->FreePages(at, before);
	if (slack - before)
		BS->FreePages(*pa + bytes, slack - before);
	return 0;
}

void map_region_free(u64 pa, u64 bytes)
{
	BS->FreePages(pa, bytes / PAGE_BYTES);
}

static u64 *page_take(struct map_pages *p)
{
	u64 *t = (u64 *)(uintptr_t)p->next;

	if (p->end - p->next < PAGE_BYTES)
		return NULL;
	p->next += PAGE_BYTES;
	__builtin_memset(t, 0, PAGE_BYTES);
	return t;
}

/* 1 GiB from @pa in 2 MiB leaves. */
static u64 *table_2m(struct map_pages *p, u64 pa)
{
	u64 *t = page_take(p);

	for (u32 i = 0; t && i < 512; i++)
		t[i] = (pa + i * BYTES_2M) | PTE_LEAF;
	return t;
}

/* 512 GiB from @pa, as far as @limit. */
static u64 *table_1g(struct map_pages *p, u64 pa, u64 limit, bool gib)
{
	u64 *t = page_take(p), *l;

	for (u32 i = 0; t && i < 512 && pa < limit; i++, pa += GIB) {
		if (gib) {
			t[i] = pa | PTE_LEAF;
			continue;
		}
		l = table_2m(p, pa);
		if (!l)
			return NULL;
		t[i] = (u64)l | PTE_TABLE;
	}
	return t;
}

static int map_vmm(struct map_pages *p, u64 *root, u64 pa, u64 bytes)
{
	u64 *l3 = page_take(p), *l2 = page_take(p);

	if (!l3 || !l2 || bytes > GIB)
		return -ENOMEM;
	for (u32 i = 0; i < bytes / BYTES_2M; i++)
		l2[i] = (pa + i * BYTES_2M) | PTE_LEAF;
	l3[VMM_VBASE >> 30 & 511] = (u64)l2 | PTE_TABLE;
	root[VMM_VBASE >> 39 & 511] = (u64)l3 | PTE_TABLE;
	return 0;
}

/** map_launch_tables() - see boot/handoff.h. Return: 0; -ENOMEM when @p has too few pages. */
int map_launch_tables(struct map_pages *p, u64 limit, u64 region_pa, u64 region_bytes, u64 *cr3)
{
	bool gib = have_gib_pages();
	u64 *root = page_take(p), *l;

	if (!root)
		return -ENOMEM;
	limit = MIN(limit, 1ull << DIRECT_BITS_MAX);
	for (u64 pa = 0; pa < limit; pa += BYTES_512G) {
		l = table_1g(p, pa, limit, gib);
		if (!l)
			return -ENOMEM;
		root[pa / BYTES_512G] = (u64)l | PTE_TABLE;
		root[(PHYS_BASE >> 39 & 511) + pa / BYTES_512G] = (u64)l | PTE_TABLE;
	}
	*cr3 = (u64)root;
	return map_vmm(p, root, region_pa, region_bytes);
}

static bool is_ram(UINT32 type)
{
	switch (type) {
	case EfiLoaderCode:
	case EfiLoaderData:
	case EfiBootServicesCode:
	case EfiBootServicesData:
	case EfiRuntimeServicesCode:
	case EfiRuntimeServicesData:
	case EfiConventionalMemory:
	case EfiACPIReclaimMemory:
	case EfiACPIMemoryNVS:
		return true;
	}
	return false;
}

static int ram_add(struct handoff *h, u64 base, u64 bytes)
{
	struct handoff_ram *last = h->ram_count ? &h->ram[h->ram_count - 1] : NULL;

	if (last && last->base + last->bytes == base) {
		last->bytes += bytes;
		return 0;
	}
	if (h->ram_count == HANDOFF_RAM_MAX)
		return -E2BIG;
	h->ram[h->ram_count++] = (struct handoff_ram){ base, bytes };
	return 0;
}

/** map_ram() - the firmware's memory map as ranges of RAM, neighbours joined */
int map_ram(struct handoff *h)
{
	UINTN bytes = 0, key, step, room;
	UINT32 version;
	EFI_MEMORY_DESCRIPTOR *map = NULL;
	int err = 0;

	h->ram_count = 0;
	BS->GetMemoryMap(&bytes, NULL, &key, &step, &version);
	room = bytes + PAGE_BYTES;
	if (EFI_ERROR(BS->AllocatePool(EfiBootServicesData, room, (void **)&map)))
		return -ENOMEM;
	bytes = room;
	if (EFI_ERROR(BS->GetMemoryMap(&bytes, map, &key, &step, &version)))
		err = -EIO;
	for (UINTN at = 0; !err && at + step <= bytes; at += step) {
		const EFI_MEMORY_DESCRIPTOR *d = (void *)((u8 *)map + at);

		if (is_ram(d->Type))
			err = ram_add(h, d->PhysicalStart, d->NumberOfPages * PAGE_BYTES);
	}
	BS->FreePool(map);
	return err;
}
