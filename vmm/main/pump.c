/*
 * pump.c - the one place where network, disk and storage work advances
 *
 *	idle -> owned -> (dirty: once more) -> idle
 *
 * Whoever has work sets "dirty" first and tries for the ownership second; the
 * owner clears "dirty" before each round and looks at it again after letting
 * go. So a mark is never lost: either the owner sees it, or the marker becomes
 * the owner. Nobody waits but pump_lock(), which is for rare guest accesses.
 */
#include "vmm/main/pump.h"

#include "base/plat.h"
#include "vmm/cpu/cpu.h"
#include "vmm/main/machine.h"

static struct spinlock owner;
static u32 dirty; /* (a) */

static bool marked(void)
{
	return __atomic_load_n(&dirty, __ATOMIC_ACQUIRE);
}

/*
 * Rounds until no mark is left. Work that makes more work, such as a fill at
 * full speed, ends when the visit has lasted long enough, and so do marks of
 * other CPUs, who may set them faster than rounds go by: the guest's CPU is
 * its own, and machine_visit_end() sees to it that a tick brings us back.
 * Return: false when time ran out; the tick takes care of what is marked.
 */
static bool run_rounds(void)
{
	u64 until = plat_time_ns() + machine_stay_ns();
	bool more = false, late = false;

	/* Pairs with the exchange in pump_kick(). */
	while (!late && __atomic_exchange_n(&dirty, 0, __ATOMIC_ACQ_REL)) {
		more = machine_poll();
		late = plat_time_ns() >= until;
		if (more && !late)
			__atomic_store_n(&dirty, 1, __ATOMIC_RELEASE);
	}
	machine_visit_end(more || (late && marked()));
	return !late;
}

/* Time ran out. A mark that came since is the tick's as well, and that may still be off. */
static void leave_to_tick(void)
{
	if (marked() && spin_trylock(&owner)) {
		machine_visit_end(true);
		spin_unlock(&owner);
	}
}

/** pump_kick() - see pump.h. Context: any CPU in the host, not the pump itself. */
void pump_kick(void)
{
	__atomic_exchange_n(&dirty, 1, __ATOMIC_ACQ_REL);
	while (marked() && spin_trylock(&owner)) {
		bool done = run_rounds();

		spin_unlock(&owner);
		if (!done) {
			leave_to_tick();
			break;
		}
	}
}

/** pump_lock() - see pump.h */
void pump_lock(void)
{
	spin_lock(&owner);
}

/** pump_unlock() - run what the guest's access or other CPUs have made necessary */
void pump_unlock(void)
{
	bool done;

	__atomic_store_n(&dirty, 1, __ATOMIC_RELEASE);
	done = run_rounds();
	spin_unlock(&owner);
	/* Between the last look and the unlock somebody may have come and gone. */
	if (!done)
		leave_to_tick();
	else if (marked())
		pump_kick();
}
