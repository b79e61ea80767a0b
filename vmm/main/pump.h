/*
 * pump.h - the one place where network, disk and storage work advances
 *
 * Whichever CPU enters first runs it; the others mark it dirty and go back to
 * their guest, and the owner looks again before it leaves. Nothing in the
 * pump waits.
 */
#ifndef VMM_MAIN_PUMP_H
#define VMM_MAIN_PUMP_H

#include "base/types.h"

/* Mark work and run the pump unless another CPU has it (that one goes on). */
void pump_kick(void);

/*
 * Take the pump's ownership, waiting for its owner: for rare guest accesses
 * that need the device models still (controller registers). Pairs with
 * pump_unlock(), which runs what was marked meanwhile.
 */
void pump_lock(void);
void pump_unlock(void);

#endif
