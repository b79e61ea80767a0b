/*
 * lapic.c - the local APIC as the VMM uses it beside the guest
 *
 * The APIC is the guest's. The VMM only sends: NMIs to other CPUs, and the
 * messages of virtual devices. In xAPIC mode an IPI is two register writes,
 * and the guest may have been stopped between its own two, so the high half
 * is put back as it was. GIF is 0 meanwhile, nothing else on this CPU sends.
 *
 * Spec: [APM 2 §16.5], x2APIC [APM 2 §16.9]
 */
#include "vmm/cpu/lapic.h"

#include "base/field.h"
#include "base/log.h"
#include "base/plat.h"
#include "vmm/cpu/cpu.h"
#include "vmm/cpu/lapic_regs.h"

#define ICR_WAIT_LOOPS 100000

static volatile u32 *reg(u32 off)
{
	u64 base = rdmsr(MSR_APIC_BASE) & APIC_BASE_ADDR;

	return plat_phys_to_virt(HPA(base + off));
}

static bool x2apic(void)
{
	return (rdmsr(MSR_APIC_BASE) & (APIC_BASE_ENABLE | APIC_BASE_X2)) ==
	       (APIC_BASE_ENABLE | APIC_BASE_X2);
}

/** lapic_read() - a register by its xAPIC offset, in either mode */
u32 lapic_read(u32 off)
{
	return x2apic() ? (u32)rdmsr(MSR_X2APIC + off / 16) : *reg(off);
}

/** lapic_write() - the same for writing; not for the ICR */
void lapic_write(u32 off, u32 value)
{
	if (x2apic())
		wrmsr(MSR_X2APIC + off / 16, value);
	else
		*reg(off) = value;
}

/**
 * lapic_icr() - send what @low says to @dest
 * @dest: APIC ID, or logical destination, by ICR_LOGICAL; ignored with a shorthand
 */
void lapic_icr(u32 dest, u32 low)
{
	volatile u32 *lo, *hi;
	u32 saved, i;

	if (x2apic()) {
		wrmsr(MSR_X2APIC + APIC_ICR_LOW / 16, (u64)dest << 32 | low);
		return;
	}
	lo = reg(APIC_ICR_LOW);
	hi = reg(APIC_ICR_HIGH);
	for (i = 0; i < ICR_WAIT_LOOPS && (*lo & ICR_PENDING); i++)
		cpu_pause();
	saved = *hi;
	*hi = dest << 24;
	*lo = low;
	for (i = 0; i < ICR_WAIT_LOOPS && (*lo & ICR_PENDING); i++)
		cpu_pause();
	*hi = saved;
}

u32 lapic_id(void)
{
	u32 id = lapic_read(APIC_ID);

	return x2apic() ? id : id >> 24;
}

void lapic_nmi(u32 cpu)
{
	lapic_icr(cpu_table[cpu]->apic_id, ICR_ASSERT | FIELD_PREP(ICR_MODE, ICR_MODE_NMI));
}

/** lapic_nmi_others() - for a panic */
void lapic_nmi_others(void)
{
	lapic_icr(0, FIELD_PREP(ICR_SHORT, ICR_SHORT_OTHERS) | ICR_ASSERT |
		     FIELD_PREP(ICR_MODE, ICR_MODE_NMI));
}

/** lapic_msi() - see lapic.h. Spec: [SDM 3 §11.11] for the message's layout */
void lapic_msi(u64 address, u32 data)
{
	u32 mode = (u32)FIELD_GET(ICR_MODE, data), dest = (u32)FIELD_GET(MSI_ADDR_DEST, address);
	u32 low = (data & 0xff) | FIELD_PREP(ICR_MODE, mode) | ICR_ASSERT;

	if ((address & MSI_ADDR_FIXED) != MSI_ADDR_BASE ||
	    (mode != ICR_MODE_FIXED && mode != ICR_MODE_LOWEST && mode != ICR_MODE_NMI)) {
		log_limited(LOG_WARN, "lapic: no MSI of this kind address=%llx data=%x",
			    (unsigned long long)address, data);
		return;
	}
	if (address & MSI_ADDR_LOGICAL)
		low |= ICR_LOGICAL;
	/* Physical lowest priority has one candidate; x2APIC knows no lowest priority at all. */
	if (mode == ICR_MODE_LOWEST && (!(address & MSI_ADDR_LOGICAL) || x2apic()))
		low &= ~(u32)ICR_MODE;
	if (!(low & ICR_LOGICAL) && dest == 0xff && x2apic())
		dest = 0xffffffff;
	lapic_icr(dest, low);
}

void lapic_doorbell_msi(u32 cpu, u64 *address, u32 *data)
{
	*address = MSI_ADDR_BASE | FIELD_PREP(MSI_ADDR_DEST, (u64)(cpu_table[cpu]->apic_id & 0xff));
	*data = FIELD_PREP(ICR_MODE, ICR_MODE_NMI);
}
