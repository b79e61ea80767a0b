/*
 * nic.h - a network card that the guest sees, whatever its kind
 *
 * Implemented by virtio_net.c and e1000e.c, wired by vmm/main. In front of it
 * a PCI function (registers, configuration space), behind it the guest's port
 * of a struct share; guest memory and interrupts by a struct emul_host, whose
 * irq() raises a vector of MSI-X, or of MSI when that is what the guest uses.
 *
 * All but bell() run with the pump's ownership. Guest structures are copied in
 * once, checked, then used; whatever the guest does, it harms itself alone.
 */
#ifndef NET_EMUL_NIC_H
#define NET_EMUL_NIC_H

#include "net/stack/share.h"
#include "storage/emul/host.h"

struct nic_emul;

struct nic_emul_ops {
	/* A register, 1 to 8 bytes at @off of the register BAR, aligned or not. */
	void (*mmio)(struct nic_emul *e, u64 off, u32 bytes, bool write, u64 *value);
	/*
	 * A write that only says "look at your ring"? Then note it, and poll()
	 * does the rest. Context: any CPU, without the pump; stores only.
	 */
	bool (*bell)(struct nic_emul *e, u64 off, u64 value);
	/* The guest's frames out, interrupts that are due. True: call again at once. */
	bool (*poll)(struct nic_emul *e);
	/*
	 * Has the guest a driver for it, or is a reset not over? Until then the real
	 * card need not be polled for its sake.
	 */
	bool (*active)(struct nic_emul *e);
	/* When poll() must run even if nothing happens, for moderation; ~0: never. May be NULL. */
	u64 (*deadline_ns)(struct nic_emul *e);
	/* Figures to the log. */
	void (*say)(struct nic_emul *e);
};

struct nic_emul {
	const struct nic_emul_ops *ops;
	const char *name; /* (c) */
};

#endif
