/*
 * guest.c - the guest's physical and linear memory
 *
 * Two kinds of access. Buffers that the guest names to a device or a
 * hypercall must be RAM by the firmware's memory map and not the VMM's:
 * guest_map(). What the CPU itself would read on the guest's behalf, page
 * tables and instructions, may lie anywhere but in the VMM's region, as on
 * hardware.
 *
 * Entries of the guest's page tables are read once, and accessed and dirty
 * bits are set as the hardware would. Spec: [APM 2 §5.3]
 */
#include "vmm/cpu/guest.h"

#include <string.h>

#include "base/err.h"
#include "base/plat.h"
#include "vmm/cpu/cpu.h"
#include "vmm/cpu/env.h"
#include "vmm/cpu/mmio.h"
#include "vmm/cpu/nested.h"

#define PTE_P BIT64(0)
#define PTE_W BIT64(1)
#define PTE_U BIT64(2)
#define PTE_A BIT64(5)
#define PTE_D BIT64(6)
#define PTE_PS BIT64(7)
#define PTE_ADDR GENMASK(51, 12)

#define FAULT_PRESENT BIT(0)

/**
 * guest_map() - the guest's RAM at @gpa as host memory
 * @out: host-physical address; equal in value
 *
 * Return: 0; -EFAULT when a byte of it is not RAM of the guest.
 */
int guest_map(gpa_t gpa, u64 bytes, hpa_t *out)
{
	const struct handoff *h = cpu_env->handoff;
	u64 at = gpa.v, end = gpa.v + bytes;
	u32 i;

	if (end < at || cpu_env->in_region(at, bytes))
		return -EFAULT;
	/* Ranges may touch one another; they are in no order. */
	while (at < end) {
		for (i = 0; i < h->ram_count; i++)
			if (at - h->ram[i].base < h->ram[i].bytes)
				break;
		if (i == h->ram_count)
			return -EFAULT;
		at = h->ram[i].base + h->ram[i].bytes;
	}
	*out = HPA(gpa.v);
	return 0;
}

int guest_read(gpa_t gpa, void *to, u64 bytes)
{
	hpa_t pa;

	if (guest_map(gpa, bytes, &pa))
		return -EFAULT;
	memcpy(to, plat_phys_to_virt(pa), bytes);
	return 0;
}

int guest_write(gpa_t gpa, const void *from, u64 bytes)
{
	hpa_t pa;

	if (guest_map(gpa, bytes, &pa))
		return -EFAULT;
	memcpy(plat_phys_to_virt(pa), from, bytes);
	return 0;
}

/* What the CPU may touch for the guest: anything that exists and is not ours. */
static void *cpu_view(u64 pa, u64 bytes)
{
	if (pa + bytes > nested_limit() || pa + bytes < pa || cpu_env->in_region(pa, bytes))
		return NULL;
	return plat_phys_to_virt(HPA(pa));
}

static bool entry_read(u64 pa, bool wide, u64 *e)
{
	const void *p = cpu_view(pa, wide ? 8 : 4);

	if (!p)
		return false;
	*e = wide ? *(const volatile u64 *)p : *(const volatile u32 *)p;
	return true;
}

static void entry_mark(u64 pa, u64 e, u64 bits)
{
	u32 *p = cpu_view(pa, 4);

	if ((e & bits) != bits && p)
		__atomic_fetch_or(p, (u32)bits, __ATOMIC_SEQ_CST);
}

struct paging {
	u64 root;
	u32 levels;
	u32 bits; /* of index per level */
	bool wide; /* 8-byte entries */
	bool pse; /* large pages at level 2 */
};

static void paging_of(struct vcpu *v, struct paging *p)
{
	u64 cr3 = vcpu_ops->get(v, VCPU_CR3), cr4 = vcpu_ops->get(v, VCPU_CR4);

	p->wide = cr4 & CR4_PAE;
	p->bits = p->wide ? 9 : 10;
	p->pse = p->wide || (cr4 & CR4_PSE);
	if (vcpu_ops->get(v, VCPU_EFER) & EFER_LMA) {
		p->levels = cr4 & CR4_LA57 ? 5 : 4;
		p->root = cr3 & PTE_ADDR;
	} else {
		p->levels = p->wide ? 3 : 2;
		p->root = cr3 & (p->wide ? GENMASK(31, 5) : GENMASK(31, 12));
	}
}

static u64 leaf_base(const struct paging *p, u64 e, u32 shift)
{
	if (!p->wide && shift == 22) /* PSE-36 [APM 2 §5.2.2] */
		return (e & GENMASK(31, 22)) | FIELD_GET(GENMASK(20, 13), e) << 32;
	return e & PTE_ADDR & ~(BIT64(shift) - 1);
}

/** guest_walk() - see guest.h. Return: 0; -EFAULT with *@fault. */
int guest_walk(struct vcpu *v, u64 linear, u32 want, gpa_t *out, u32 *fault)
{
	struct paging p;
	u64 table, allow = PTE_W | PTE_U, cr0 = vcpu_ops->get(v, VCPU_CR0);
	bool forced;
	u32 level;

	*fault = want;
	if (!(cr0 & CR0_PG)) {
		*out = GPA(linear & 0xffffffff);
		return 0;
	}
	paging_of(v, &p);
	table = p.root;
	for (level = p.levels;; level--) {
		u32 shift = 12 + p.bits * (level - 1);
		u64 index = linear >> shift & (BIT64(p.bits) - 1);
		bool pdpte = p.wide && p.levels == 3 && level == 3;
		u64 e, at;

		at = table + (pdpte ? (index & 3) * 8 : index * (p.wide ? 8 : 4));
		if (!entry_read(at, p.wide, &e) || !(e & PTE_P))
			return -EFAULT;
		if (!pdpte) {
			allow &= e;
			entry_mark(at, e, PTE_A);
		}
		if (level == 1 || (!pdpte && (e & PTE_PS) && level <= 3 && p.pse)) {
			*fault |= FAULT_PRESENT;
			forced = !(want & GUEST_USER) && !(cr0 & CR0_WP);
			if ((want & GUEST_USER) && !(allow & PTE_U))
				return -EFAULT;
			if ((want & GUEST_WRITE) && !(allow & PTE_W) && !forced)
				return -EFAULT;
			if (want & GUEST_WRITE)
				entry_mark(at, e, PTE_D);
			*out = GPA(leaf_base(&p, e, shift) + (linear & (BIT64(shift) - 1)));
			return 0;
		}
		table = e & (p.wide ? PTE_ADDR : GENMASK(31, 12));
	}
}

/** guest_code_bits() - default operand and address size of the code segment */
u32 guest_code_bits(struct vcpu *v)
{
	struct vcpu_segment cs;

	if (!(vcpu_ops->get(v, VCPU_CR0) & CR0_PE) || (v->rflags & RFLAGS_VM))
		return 16;
	vcpu_ops->segment(v, SEG_CS, &cs);
	if ((vcpu_ops->get(v, VCPU_EFER) & EFER_LMA) && (cs.attr & SEG_ATTR_L))
		return 64;
	return cs.attr & SEG_ATTR_DB ? 32 : 16;
}

/** guest_segment_base() - in 64-bit code only FS and GS have one */
u64 guest_segment_base(struct vcpu *v, enum vcpu_seg seg)
{
	struct vcpu_segment s;

	if (guest_code_bits(v) == 64 && seg != SEG_FS && seg != SEG_GS)
		return 0;
	vcpu_ops->segment(v, seg, &s);
	return s.base;
}

static u64 linear_wrap(struct vcpu *v, u64 linear)
{
	return guest_code_bits(v) == 64 ? linear : linear & 0xffffffff;
}

/** guest_fetch() - see guest.h */
u32 guest_fetch(struct vcpu *v, u8 bytes[15])
{
	u64 linear = linear_wrap(v, guest_segment_base(v, SEG_CS) + v->rip);
	u32 want = GUEST_FETCH | (vcpu_ops->cpl(v) == 3 ? GUEST_USER : 0);
	u32 n = 0, fault;

	while (n < 15) {
		u32 room = MIN(15 - n, (u32)(PAGE_BYTES - ((linear + n) & (PAGE_BYTES - 1))));
		const void *p;
		gpa_t gpa;

		if (guest_walk(v, linear_wrap(v, linear + n), want, &gpa, &fault))
			break;
		p = cpu_view(gpa.v, room);
		if (!p)
			break;
		memcpy(bytes + n, p, room);
		n += room;
	}
	return n;
}

static void page_fault(struct vcpu *v, u64 linear, u32 fault)
{
	vcpu_ops->set(v, VCPU_CR2, linear);
	vcpu_ops->inject_exception(v, VEC_PF, true, fault);
}

static int operand(struct vcpu *v, u64 linear, u32 bytes, u64 *value, bool write)
{
	u32 want = (write ? GUEST_WRITE : 0) | (vcpu_ops->cpl(v) == 3 ? GUEST_USER : 0), fault;
	u32 first = MIN(bytes, (u32)(PAGE_BYTES - (linear & (PAGE_BYTES - 1))));
	struct mmio_access a = { .bytes = bytes, .write = write, .value = *value };
	gpa_t gpa[2];
	u8 *p;

	linear = linear_wrap(v, linear);
	if (guest_walk(v, linear, want, &gpa[0], &fault)) {
		page_fault(v, linear, fault);
		return -EFAULT;
	}
	if (first == bytes && mmio_dispatch(gpa[0].v, &a)) {
		*value = a.value;
		return 0;
	}
	if (first < bytes &&
	    guest_walk(v, linear_wrap(v, linear + first), want, &gpa[1], &fault)) {
		page_fault(v, linear_wrap(v, linear + first), fault);
		return -EFAULT;
	}
	if (!write)
		*value = ~0ull;
	p = cpu_view(gpa[0].v, first);
	if (p && write)
		memcpy(p, value, first);
	else if (p)
		memcpy(value, p, first);
	if (first == bytes)
		return 0;
	p = cpu_view(gpa[1].v, bytes - first);
	if (p && write)
		memcpy(p, (u8 *)value + first, bytes - first);
	else if (p)
		memcpy((u8 *)value + first, p, bytes - first);
	return 0;
}

int guest_operand_read(struct vcpu *v, u64 linear, u32 bytes, u64 *value)
{
	*value = 0;
	return operand(v, linear, bytes, value, false);
}

int guest_operand_write(struct vcpu *v, u64 linear, u32 bytes, u64 value)
{
	return operand(v, linear, bytes, &value, true);
}
