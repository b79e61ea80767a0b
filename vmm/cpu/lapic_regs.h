/* lapic_regs.h - local APIC registers and messages [APM 2 §16.3] */
#ifndef VMM_CPU_LAPIC_REGS_H
#define VMM_CPU_LAPIC_REGS_H

#include "base/field.h"

#define MSR_APIC_BASE 0x1bu
#define  APIC_BASE_BSP BIT64(8)
#define  APIC_BASE_X2 BIT64(10)
#define  APIC_BASE_ENABLE BIT64(11)
#define  APIC_BASE_ADDR GENMASK(51, 12)
#define MSR_X2APIC 0x800u

#define APIC_ID 0x020
#define APIC_TPR 0x080
#define APIC_EOI 0x0b0
#define APIC_LDR 0x0d0
#define APIC_DFR 0x0e0
#define APIC_SVR 0x0f0
#define APIC_ISR 0x100 /* eight registers, 16 bytes apart */
#define APIC_ICR_LOW 0x300
#define  ICR_VECTOR GENMASK(7, 0)
#define  ICR_MODE GENMASK(10, 8)
#define   ICR_MODE_FIXED 0u
#define   ICR_MODE_LOWEST 1u
#define   ICR_MODE_NMI 4u
#define   ICR_MODE_INIT 5u
#define   ICR_MODE_STARTUP 6u
#define  ICR_LOGICAL BIT(11)
#define  ICR_PENDING BIT(12)
#define  ICR_ASSERT BIT(14)
#define  ICR_LEVEL BIT(15)
#define  ICR_SHORT GENMASK(19, 18)
#define   ICR_SHORT_NONE 0u
#define   ICR_SHORT_SELF 1u
#define   ICR_SHORT_ALL 2u
#define   ICR_SHORT_OTHERS 3u
#define APIC_ICR_HIGH 0x310
#define APIC_LVT_TIMER 0x320
#define APIC_LVT_LAST 0x370
#define  LVT_MASKED BIT(16)
#define APIC_TIMER_INITIAL 0x380

#define MSI_ADDR_BASE 0xfee00000ull
#define MSI_ADDR_FIXED 0xfffffffffff00000ull
#define MSI_ADDR_DEST GENMASK(19, 12)
#define MSI_ADDR_LOGICAL BIT(2)

#include "base/types.h"

u32 lapic_read(u32 off);
void lapic_write(u32 off, u32 value);
void lapic_icr(u32 dest, u32 low);

#endif
