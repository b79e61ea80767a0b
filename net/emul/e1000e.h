/*
 * e1000e.h - an 82574L that the guest sees
 */
#ifndef NET_EMUL_E1000E_H
#define NET_EMUL_E1000E_H

#include "net/emul/nic.h"

#define E1000E_EMUL_VENDOR 0x8086
#define E1000E_EMUL_DEVICE 0x10d3
#define E1000E_EMUL_CLASS 0x020000
#define E1000E_EMUL_BAR_BYTES (128 * 1024u)
#define E1000E_EMUL_VECTORS 5
/* Of the MSI-X table in BAR0, where a real one has a window to its packet buffer. */
#define E1000E_EMUL_MSIX_OFF 0x1e000u

struct e1000e_emul_cfg {
	struct emul_host *host;
	struct share *share;
	/* Does the guest use MSI-X? Else irq(0) is all there is. */
	bool (*msix)(void *ctx);
	void *ctx;
};

struct e1000e_emul_stats {
	u64 rx_frames, rx_lost, tx_frames, tx_copied, tx_bad, irqs, resets;
};

/** e1000e_emul_create() - after power-on; 0, -ENOMEM. About 60 KiB, once. */
int e1000e_emul_create(const struct e1000e_emul_cfg *cfg, struct nic_emul **out);
/** e1000e_emul_destroy() - with nothing under way; for tests */
void e1000e_emul_destroy(struct nic_emul *n);
const struct e1000e_emul_stats *e1000e_emul_stats(const struct nic_emul *n);

#endif
