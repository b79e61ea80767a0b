/* nmi.h - whose NMI was that? */
#ifndef VMM_CPU_NMI_H
#define VMM_CPU_NMI_H

#include "base/types.h"

struct nmi_echo {
	u64 explained_ns; /* when one was last ours; 0: never */
	bool late; /* one more may come, long after */
};

bool nmi_is_the_guests(struct nmi_echo *e, bool ours, u64 now);

#endif
