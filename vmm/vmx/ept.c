/*
 * ept.c - what Intel's nested tables need: types, pointer, flushes
 *
 * The leaves carry the memory types that the firmware's MTRRs give, read once
 * on the boot CPU. A guest that changes MTRRs later is not followed: today's
 * operating systems leave them alone and use the PAT, which is honoured.
 *
 * Spec: [SDM 3 §29.3, §29.4]
 */
#include "base/field.h"
#include "base/log.h"
#include "vmm/cpu/nested.h"
#include "vmm/vmx/vmcs.h"
#include "vmm/vmx/vmx_priv.h"

#define MSR_MTRRCAP 0xfeu
#define  MTRRCAP_COUNT GENMASK(7, 0)
#define  MTRRCAP_FIXED BIT64(8)
#define MSR_MTRR_BASE0 0x200u /* pairs of base and mask */
#define MSR_MTRR_DEF_TYPE 0x2ffu

#define CPUID_1_EDX_MTRR BIT(12)

/* Tables of 2 MiB leaves take 4 KiB for each GiB: without 1 GiB leaves this much is mapped. */
#define LIMIT_2M_LEAVES (1024 * GIB)

/* INVEPT, INVVPID types */
#define FLUSH_ONE 1ull
#define FLUSH_ALL 2ull

static struct memtypes types; /* (c) */
static u64 caps; /* (c) */

static void types_read(struct memtypes *m)
{
	static const u32 fixed[MEMTYPE_FIXED] = {
		0x250, 0x258, 0x259, 0x268, 0x269, 0x26a, 0x26b, 0x26c, 0x26d, 0x26e, 0x26f,
	};
	u64 cap;
	u32 r[4], i;

	cpuid(1, 0, r);
	if (!(r[3] & CPUID_1_EDX_MTRR))
		return; /* all uncached, as the processor would have it */
	cap = rdmsr(MSR_MTRRCAP);
	m->def = rdmsr(MSR_MTRR_DEF_TYPE);
	m->have_fixed = cap & MTRRCAP_FIXED;
	for (i = 0; m->have_fixed && i < MEMTYPE_FIXED; i++)
		m->fixed[i] = rdmsr(fixed[i]);
	m->count = MIN((u32)FIELD_GET(MTRRCAP_COUNT, cap), (u32)MEMTYPE_VARIABLE_MAX);
	for (i = 0; i < m->count; i++) {
		m->base[i] = rdmsr(MSR_MTRR_BASE0 + 2 * i);
		m->mask[i] = rdmsr(MSR_MTRR_BASE0 + 2 * i + 1);
	}
}

/** ept_init() - boot CPU, once */
void ept_init(void)
{
	u32 i;

	caps = rdmsr(MSR_VMX_EPT_VPID);
	types_read(&types);
	log_dbg("ept: mtrr default=%llx fixed=%d", (unsigned long long)types.def,
		types.have_fixed);
	for (i = 0; i < types.count; i++)
		if (types.mask[i])
			log_dbg("ept: mtrr %u base=%llx mask=%llx", i,
				(unsigned long long)types.base[i],
				(unsigned long long)types.mask[i]);
}

/** ept_shape() - for vcpu_ops */
void ept_shape(struct npt_shape *s)
{
	s->format = NPT_EPT;
	s->gib = caps & EPT_CAP_1G;
	s->types = &types;
	if (!s->gib && s->limit > LIMIT_2M_LEAVES) {
		log_warn("ept: no 1 GiB pages, addresses from 1 TiB on are absent");
		s->limit = LIMIT_2M_LEAVES;
	}
}

u64 ept_pointer(void)
{
	return nested_root() | EPTP_LEVELS_4 | EPTP_WB;
}

/** ept_flush() - this CPU forgets every translation through the nested tables */
void ept_flush(void)
{
	struct {
		u64 eptp, zero;
	} d = { ept_pointer(), 0 };

	asm volatile("invept %0, %1" :: "m"(d), "r"(caps & EPT_CAP_INVEPT_SINGLE ?
						      FLUSH_ONE : FLUSH_ALL) : "cc", "memory");
}

/** vpid_flush() - the guest's own translations, where we did what flushes them */
void vpid_flush(u16 vpid)
{
	struct {
		u64 vpid, linear;
	} d = { vpid, 0 };

	asm volatile("invvpid %0, %1" :: "m"(d), "r"(caps & EPT_CAP_INVVPID_SINGLE ?
						       FLUSH_ONE : FLUSH_ALL) : "cc", "memory");
}
