/*
 * nic.h - the network card: driven for the VMM, presented to the guest
 */
#ifndef VMM_MAIN_NIC_H
#define VMM_MAIN_NIC_H

#include "base/types.h"
#include "boot/handoff.h"
#include "storage/core/source.h"
#include "storage/core/store.h"

/*
 * Take the card of the handoff, start the stack and the client. Without a
 * network there may still be a complete store: no error is fatal, *out is NULL.
 */
void nic_start(const struct handoff *h, struct source **out);
/* The card's address, or NULL without a card. */
const u8 *nic_mac(void);
/*
 * Make the guest's card, not yet to be seen: @ticket's, or what the options ask
 * for. After nic_start(), on the way to the OS.
 */
void nic_attach(enum store_nic ticket);
/* The firmware has gone: the guest's card appears. */
void nic_present(void);
/*
 * The guest's frames, both ways. True: call again at once. *vmm_only: the real
 * card had nothing but frames of the VMM's. Pump only.
 */
bool nic_poll(bool *vmm_only);
/* Tell the guest what it has not been told since. Pump only. */
void nic_signal(void);
/* The real card is polled for the guest's sake. Pump only. */
bool nic_active(void);
/* Does the real card want to be looked at from a tick, having no doorbell? Pump only. */
bool nic_polled(void);
/* The same for the guest's sake: its driver runs. */
bool nic_guest_waits(void);
/* Does the real card explain an NMI? Any CPU, no lock. */
bool nic_explains_nmi(void);
/* Figures to the log. */
void nic_say(void);
/* The value of "key value\n" in the handoff's options, copied; false: not there. */
bool nic_option(const struct handoff *h, const char *key, char *out, size_t room);

#endif
