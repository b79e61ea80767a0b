/*
 * tick.c - the VMX preemption timer as tick
 *
 * While the tick is wanted, the tick CPU's guest exits when the timer runs
 * out. Nothing else is intercepted for it: interrupts go to the guest as
 * always, and HLT is executed by the guest, in which state the timer counts on
 * and its exit finds and keeps the guest halted. It does not count below C2,
 * which MWAIT may reach; so MWAIT exits meanwhile, is taken as a tick, and
 * ends at once, as the instruction may.
 *
 * A due time is kept rather than the timer's own value, so that exits of other
 * kinds do not put the tick off.
 * Spec: [SDM 3 §26.5.1]
 */
#include "vmm/cpu/env.h"
#include "vmm/vmx/vmcs.h"
#include "vmm/vmx/vmx_priv.h"

#define TICK_HZ 1000u /* while the guest works */
#define TICK_IDLE_HZ 4000u /* while it halts, and time costs nobody */

static u32 shift; /* (c) TSC ticks per timer tick, power of two */
static u64 period, period_idle; /* (c) in TSC ticks */

/** tick_init() - boot CPU, once */
void tick_init(void)
{
	u64 hz = cpu_env->handoff->tsc_hz;

	shift = (u32)FIELD_GET(VMX_MISC_TIMER_SHIFT, rdmsr(MSR_VMX_MISC));
	period = hz / TICK_HZ;
	period_idle = hz / TICK_IDLE_HZ;
}

/** tick_again() - the timer, or an MWAIT: a tick has been made, the next is due later */
void tick_again(struct vcpu *v, bool idle)
{
	vmx_of(v)->tick_due = rdtsc() + (idle ? period_idle : period);
}

/** tick_apply() - before an entry: switch it on or off, set the timer */
void tick_apply(struct vcpu *v)
{
	bool want = v->index == 0 && vcpu_tick_wanted();
	struct vmx_cpu *x = vmx_of(v);
	u64 now, left;

	if (want != v->tick) {
		v->tick = want;
		vmx_pin_set(x, PIN_TIMER, want);
		vmx_primary_set(x, PRIMARY_MWAIT, want);
		tick_again(v, false);
	}
	if (!want)
		return;
	now = rdtsc();
	left = x->tick_due > now ? (x->tick_due - now) >> shift : 0;
	vmcs_write(VMCS_TIMER, MIN(left, 0xffffffffull));
}
