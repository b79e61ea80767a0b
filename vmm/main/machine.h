/*
 * machine.h - the devices that Freshet drives and presents on this PC
 */
#ifndef VMM_MAIN_MACHINE_H
#define VMM_MAIN_MACHINE_H

#include "base/types.h"
#include "boot/handoff.h"
#include "storage/core/blk.h"

/* Take the devices of the handoff and begin to deploy. 0 or a negative error. */
int machine_start(const struct handoff *h);
/* Present the virtual disk; -EAGAIN before it is ready. */
int machine_attach(void);
/* The guest's disk once it is attached, else NULL. Pump only. */
struct blk_dev *machine_disk(void);
void machine_status(struct handoff_status *out);
int machine_action(u32 action);
/* The tick CPU's guest halts (or no longer): background work may use the time. */
void machine_idle(bool idle);
/* How long one visit to the pump may last now, in ns. */
u64 machine_stay_ns(void);
/* One round of everything; true: there is more to do at once. Pump only. */
bool machine_poll(void);
/* After the last round of a visit, @more or not: is a tick needed to come back? Pump only. */
void machine_visit_end(bool more);
/* Does one of our devices explain an NMI? Any CPU, no lock. */
bool machine_explains_nmi(void);
/* All figures to the log, between "counters: begin" and "counters: end". */
void machine_say(void);

#endif
