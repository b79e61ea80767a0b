/*
 * ept.c - what Intel's nested tables need: types, pointer, flushes
 *
 * The leaves carry the memory types that the MTRRs give, for which the guest's
 * writes of them exit. All CPUs must agree on them, so there is one set: the
 * one that a CPU was last seen with while its MTRRs were on. To change them a
 * guest switches them off on every CPU, caches as well, writes, and switches
 * them on [SDM 3 §12.11.7.2]: the tables are brought in line then, once, and
 * when the other CPUs follow there is nothing left to do. That costs no more
 * than one walk of the tables and one shootdown; a guest that leaves its MTRRs
 * alone pays nothing.
 *
 * Spec: [SDM 3 §29.3, §29.4]
 */
#include <string.h>

#include "base/field.h"
#include "base/log.h"
#include "vmm/cpu/cpu.h"
#include "vmm/cpu/nested.h"
#include "vmm/vmx/vmcs.h"
#include "vmm/vmx/vmx_priv.h"

#define MSR_MTRRCAP 0xfeu
#define  MTRRCAP_COUNT GENMASK(7, 0)
#define  MTRRCAP_FIXED BIT64(8)
#define MSR_MTRR_BASE0 0x200u /* pairs of base and mask */
#define MSR_MTRR_DEF_TYPE 0x2ffu
#define  MTRR_ENABLE BIT64(11)

#define CPUID_1_EDX_MTRR BIT(12)

/* Tables of 2 MiB leaves take 4 KiB for each GiB: without 1 GiB leaves this much is mapped. */
#define LIMIT_2M_LEAVES (1024 * GIB)

/* INVEPT, INVVPID types */
#define FLUSH_ONE 1ull
#define FLUSH_ALL 2ull

static const u32 fixed[MEMTYPE_FIXED] = {
	0x250, 0x258, 0x259, 0x268, 0x269, 0x26a, 0x26b, 0x26c, 0x26d, 0x26e, 0x26f,
};

static struct spinlock types_lock; /* before the nested map's */
static struct memtypes types[2]; /* [types_lock] the tables' own, and room for the next */
static u32 current; /* [types_lock] */
static u64 caps; /* (c) */

static bool mtrrs_exist(void)
{
	u32 r[4];

	cpuid(1, 0, r);
	return r[3] & CPUID_1_EDX_MTRR;
}

/* This CPU's, as they are now. */
static void types_read(struct memtypes *m)
{
	u64 cap;
	u32 i;

	memset(m, 0, sizeof(*m));
	if (!mtrrs_exist())
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

static void types_log(const struct memtypes *m)
{
	u32 i;

	log_dbg("ept: mtrr default=%llx fixed=%d", (unsigned long long)m->def, m->have_fixed);
	for (i = 0; i < m->count; i++)
		if (m->mask[i])
			log_dbg("ept: mtrr %u base=%llx mask=%llx", i,
				(unsigned long long)m->base[i], (unsigned long long)m->mask[i]);
}

/* Writes of every MTRR that the processor has exit. */
static void types_watch(const struct memtypes *m)
{
	u32 i;

	if (!mtrrs_exist())
		return;
	vcpu_ops->intercept_msr(MSR_MTRR_DEF_TYPE, false, true);
	for (i = 0; m->have_fixed && i < MEMTYPE_FIXED; i++)
		vcpu_ops->intercept_msr(fixed[i], false, true);
	for (i = 0; i < 2 * m->count; i++)
		vcpu_ops->intercept_msr(MSR_MTRR_BASE0 + i, false, true);
}

static bool is_mtrr(u32 msr)
{
	u32 i;

	for (i = 0; i < MEMTYPE_FIXED; i++)
		if (msr == fixed[i])
			return true;
	return msr == MSR_MTRR_DEF_TYPE || msr - MSR_MTRR_BASE0 < 2 * MEMTYPE_VARIABLE_MAX;
}

/**
 * ept_msr_written() - the guest's WRMSR has exited, and the processor has done or refused it
 * Context: the CPU that wrote.
 */
void ept_msr_written(u32 msr)
{
	struct memtypes *now;

	if (!is_mtrr(msr) || !(rdmsr(MSR_MTRR_DEF_TYPE) & MTRR_ENABLE))
		return;
	spin_lock(&types_lock);
	now = &types[!current];
	types_read(now);
	if (memcmp(now, &types[current], sizeof(*now))) {
		current = !current;
		nested_retype(now);
		log_limited(LOG_INFO, "ept: the guest has changed memory types, msr=%x", msr);
	}
	spin_unlock(&types_lock);
}

/** ept_init() - boot CPU, once */
void ept_init(void)
{
	caps = rdmsr(MSR_VMX_EPT_VPID);
	types_read(&types[0]);
	types_log(&types[0]);
	types_watch(&types[0]);
}

/** ept_shape() - for vcpu_ops */
void ept_shape(struct npt_shape *s)
{
	s->format = NPT_EPT;
	s->gib = caps & EPT_CAP_1G;
	s->types = &types[current];
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
