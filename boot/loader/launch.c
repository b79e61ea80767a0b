/*
 * launch.c - load the VMM and let every CPU call it
 *
 * The region's layout: ELF segments from its start (the address they are
 * linked for is VMM_VBASE), launch page tables, the handoff, then free memory.
 * The BSP calls the entry point first and comes back as a guest. Then the
 * firmware's MP services run ap_procedure() on every AP, which does the same;
 * the INIT and SIPI they use for that pass through the VMM already.
 */
#include <efi.h>
#include <efilib.h>

#include "base/err.h"
#include "boot/loader/launch.h"

#define REGION_BYTES (56 * MIB)
#define REGION_BYTES_NULL (24 * MIB)

/* [PI 1.7 vol. 2 §13.4] */
#define MP_SERVICES_GUID \
	{ 0x3fdda605, 0xa76e, 0x4f46, { 0xad, 0x29, 0x12, 0xf4, 0x53, 0x1b, 0x3d, 0x08 } }
#define MP_IS_BSP BIT(0)
#define MP_ENABLED BIT(1)

struct mp_info {
	UINT64 apic_id;
	UINT32 flags;
	UINT32 location[3];
	UINT32 extended[6];
};

struct mp_services {
	EFI_STATUS (EFIAPI *count)(struct mp_services *mp, UINTN *all, UINTN *enabled);
	EFI_STATUS (EFIAPI *info)(struct mp_services *mp, UINTN number, struct mp_info *out);
	EFI_STATUS (EFIAPI *start_all)(struct mp_services *mp, VOID (EFIAPI *run)(VOID *arg),
				       BOOLEAN one_by_one, EFI_EVENT wait, UINTN timeout_us,
				       VOID *arg, UINTN **failed);
	VOID *start_one;
	VOID *switch_bsp;
	VOID *enable;
	EFI_STATUS (EFIAPI *who)(struct mp_services *mp, UINTN *number);
};

struct elf_header {
	u8 ident[16];
	u16 type, machine;
	u32 version;
	u64 entry, phoff, shoff;
	u32 flags;
	u16 ehsize, phentsize, phnum, shentsize, shnum, shstrndx;
};

struct elf_segment {
	u32 type, flags;
	u64 offset, vaddr, paddr, filesz, memsz, align;
};

#define ELF_MAGIC 0x464c457f
#define ELF_LOAD 1

struct launch {
	struct handoff *h; /* in the region: out of reach once this CPU is a guest */
	u32 cpu_count;
	handoff_entry_fn entry;
	struct mp_services *mp;
	UINTN number[HANDOFF_CPUS_MAX]; /* the firmware's name of each CPU */
	int result[HANDOFF_CPUS_MAX];
};

static EFI_GUID mp_guid = MP_SERVICES_GUID;

bool hypercall_by_vmcall;

/* Copy the segments to where the launch tables will show them. */
static int elf_load(const u8 *elf, size_t bytes, u64 region_pa, u64 room, u64 *end, u64 *entry)
{
	const struct elf_header *e = (const void *)elf;

	if (bytes < sizeof(*e) || *(const u32 *)e->ident != ELF_MAGIC ||
	    e->phentsize != sizeof(struct elf_segment) || e->phoff > bytes ||
	    (bytes - e->phoff) / sizeof(struct elf_segment) < e->phnum)
		return -EINVAL;
	*end = region_pa;
	for (u32 i = 0; i < e->phnum; i++) {
		const struct elf_segment *s = (const struct elf_segment *)(elf + e->phoff) + i;
		u64 off = s->vaddr - VMM_VBASE;
		u8 *to = (u8 *)(region_pa + off);

		if (s->type != ELF_LOAD)
			continue;
		if (off > room || s->memsz > room - off || s->filesz > s->memsz ||
		    s->offset > bytes || s->filesz > bytes - s->offset)
			return -EINVAL;
		__builtin_memcpy(to, elf + s->offset, s->filesz);
		__builtin_memset(to + s->filesz, 0, s->memsz - s->filesz);
		*end = MAX(*end, region_pa + off + s->memsz);
	}
	*entry = e->entry - VMM_VBASE + region_pa;
	*end = ALIGN_UP(*end, (u64)PAGE_BYTES);
	return 0;
}

/* Lay everything out in the region; *@live is the handoff that the VMM will see. */
static int region_fill(struct launch *l, const struct handoff *h, const void *elf, size_t bytes)
{
	struct map_pages pages = { .end = h->region_pa + h->region_bytes };
	u64 entry;
	int err = elf_load(elf, bytes, h->region_pa, h->region_bytes, &pages.next, &entry);

	if (err)
		return err;
	l->entry = (handoff_entry_fn)entry;
	l->h = (struct handoff *)pages.next;
	pages.next += ALIGN_UP(sizeof(*h), (size_t)PAGE_BYTES);
	__builtin_memcpy(l->h, h, sizeof(*h));
	err = map_launch_tables(&pages, h->phys_limit, h->region_pa, h->region_bytes, &l->h->cr3);
	l->h->free_pa = pages.next;
	return err;
}

static void find_cpus(struct launch *l, struct handoff *h)
{
	UINTN all = 0, enabled = 0, me = 0;
	struct mp_info info;
	u32 r[4];

	__asm__ volatile("cpuid" : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3])
			 : "a"(1), "c"(0));
	h->cpu_count = 1;
	h->apic_id[0] = r[1] >> 24;
	l->mp = NULL;
	if (EFI_ERROR(BS->LocateProtocol(&mp_guid, NULL, (void **)&l->mp)) ||
	    EFI_ERROR(l->mp->count(l->mp, &all, &enabled)) || EFI_ERROR(l->mp->who(l->mp, &me))) {
		l->mp = NULL;
		return;
	}
	l->number[0] = me;
	for (UINTN i = 0; i < all && h->cpu_count < HANDOFF_CPUS_MAX; i++) {
		if (EFI_ERROR(l->mp->info(l->mp, i, &info)))
			continue;
		if (i == me)
			h->apic_id[0] = (u32)info.apic_id;
		if (i == me || !(info.flags & MP_ENABLED))
			continue;
		l->number[h->cpu_count] = i;
		h->apic_id[h->cpu_count++] = (u32)info.apic_id;
	}
}

static VOID EFIAPI ap_procedure(VOID *arg)
{
	struct launch *l = arg;
	UINTN me;

	if (EFI_ERROR(l->mp->who(l->mp, &me)))
		return;
	for (u32 i = 1; i < l->cpu_count; i++)
		if (l->number[i] == me)
			l->result[i] = l->entry(l->h, i);
}

static int enter_bsp(struct launch *l)
{
	u64 flags;
	int err;

	__asm__ volatile("pushfq; popq %0; cli" : "=r"(flags) : : "memory");
	err = l->entry(l->h, 0);
	if (flags & BIT(9))
		__asm__ volatile("sti" : : : "memory");
	return err;
}

static int enter_aps(struct launch *l)
{
	u32 i;

	if (l->cpu_count == 1)
		return 0;
	for (i = 1; i < l->cpu_count; i++)
		l->result[i] = -EIO;
	if (EFI_ERROR(l->mp->start_all(l->mp, ap_procedure, FALSE, NULL, 0, l, NULL)))
		return -EIO;
	for (i = 1; i < l->cpu_count; i++)
		if (l->result[i])
			return -EIO;
	return 0;
}

int launch_vmm(struct handoff *h, const void *elf, size_t elf_bytes)
{
	static struct launch l;
	int err;

	h->region_bytes = h->flags & HANDOFF_FLAG_NULL ? REGION_BYTES_NULL : REGION_BYTES;
	h->phys_limit = map_phys_limit();
	find_cpus(&l, h);
	l.cpu_count = h->cpu_count;
	err = map_region_reserve(h->region_bytes, &h->region_pa);
	if (err)
		return err;
	err = map_ram(h);
	if (!err)
		err = region_fill(&l, h, elf, elf_bytes);
	if (!err)
		err = enter_bsp(&l);
	if (err) {
		map_region_free(h->region_pa, h->region_bytes);
		return err;
	}
	return enter_aps(&l);
}
