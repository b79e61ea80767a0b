/*
 * nmi.c - whose NMI was that?
 *
 * Nothing in an NMI says where it came from, and one latch holds NMIs of all
 * sources. So every source of ours is asked, and one that none explains is the
 * guest's. But what a source has to say may have been heard already: a kick
 * and a doorbell, or two doorbells, rang together, the first NMI served both,
 * and the second comes to find nothing. Such an echo follows within
 * microseconds on a machine, and may come late where processors and devices
 * are threads of an emulator. A guest that gets it complains at best; firmware
 * and kernels in their first steps have no handler and die of it.
 */
#include "vmm/cpu/nmi.h"

#include "base/plat.h"

/* Any number of echoes so soon after one of ours; then one more, for so long. */
#define ECHO_NS (10 * NS_PER_MS)
#define LATE_NS (250 * NS_PER_MS)

/**
 * nmi_is_the_guests() - does this NMI go to the guest?
 * @e:    what this CPU remembers of earlier ones, zero at first
 * @ours: a source of ours has explained it
 *
 * Context: exit path of the CPU that got it.
 */
bool nmi_is_the_guests(struct nmi_echo *e, bool ours, u64 now)
{
	u64 since = now - e->explained_ns;

	if (ours) {
		*e = (struct nmi_echo){ .explained_ns = now, .late = true };
		return false;
	}
	if (!e->explained_ns || since >= LATE_NS)
		return true;
	if (since >= ECHO_NS && !e->late)
		return true;
	e->late = since < ECHO_NS && e->late;
	return false;
}
