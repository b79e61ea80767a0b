/*
 * e1000e_irq.c - causes, masks and messages of the emulated 82574L
 *
 * ICR collects causes, IMS lets them through. A message is sent when a cause
 * becomes visible in both, once: until the cause is cleared or masked and comes
 * again. With MSI-X, IVAR says by which of five vectors each of five groups of
 * causes goes, and what EIAC names is cleared and masked as the message leaves;
 * with CTRL_EXT.EIAME what IAM names of the group is masked, and nothing of the
 * others: a driver's handler unmasks its own group alone.
 * Without, there is one message, and ICR.ASSERTED says that it is out; reading
 * ICR clears it.
 *
 * Moderation is not emulated: ITR and EITR keep what is written. What the guest
 * is spared by it, it is spared by frames coming in bundles from the pump.
 * [82574 §7.4, §10.2.4]
 */
#include "net/emul/e1000e_priv.h"

/* Causes that have no vector of their own show as OTHER. [82574 §10.2.4.1] */
#define OTHERS (E1000_INT_LSC | E1000_INT_RXO | E1000_INT_MDAC | E1000_INT_SRPD |           \
		E1000_INT_ACK | E1000_INT_MNG)
#define GROUP0 E1000_INT_RXQ0 /* the first of five neighbours */

static void send(struct e1000e_emul *e, u32 vec)
{
	e->n.irqs++;
	e->cfg.host->ops->irq(e->cfg.host, vec);
}

/* One group's message is due. */
static void send_group(struct e1000e_emul *e, u32 group)
{
	u32 bit = GROUP0 << group;
	u32 entry = R(e, E1000_IVAR) >> (4 * group);
	u32 clear = R(e, E1000_EIAC) & bit;

	if (entry & E1000_IVAR_VALID && (entry & E1000_IVAR_VECTOR) < E1000E_EMUL_VECTORS)
		send(e, entry & E1000_IVAR_VECTOR);
	if (R(e, E1000_CTRL_EXT) & E1000_CTRL_EXT_EIAME)
		R(e, E1000_IMS) &= ~(R(e, E1000_IAM) & bit);
	R(e, E1000_ICR) &= ~clear;
	R(e, E1000_IMS) &= ~clear;
}

static void update(struct e1000e_emul *e)
{
	u32 on = R(e, E1000_ICR) & R(e, E1000_IMS) & ~E1000_INT_ASSERTED, due;

	e->sent &= on;
	if (on)
		R(e, E1000_ICR) |= E1000_INT_ASSERTED;
	else
		R(e, E1000_ICR) &= ~E1000_INT_ASSERTED;
	due = on & ~e->sent;
	if (!due)
		return;
	if (!emul_uses_msix(e)) {
		if (!e->sent)
			send(e, 0);
		e->sent = on;
		return;
	}
	e->sent = on;
	for (u32 g = 0; g < E1000_IVAR_ENTRIES; g++)
		if (due & GROUP0 << g)
			send_group(e, g);
	e->sent &= R(e, E1000_ICR) & R(e, E1000_IMS);
}

/** emul_cause() - something has happened */
void emul_cause(struct e1000e_emul *e, u32 causes)
{
	if (causes & OTHERS)
		causes |= E1000_INT_OTHER;
	R(e, E1000_ICR) |= causes & ~E1000_INT_ASSERTED;
	update(e);
}

/* The bits that IAM names are masked when ICR is read or written. */
static void auto_mask(struct e1000e_emul *e)
{
	if (R(e, E1000_ICR) & E1000_INT_ASSERTED &&
	    R(e, E1000_CTRL_EXT) & E1000_CTRL_EXT_IAME)
		R(e, E1000_IMS) &= ~R(e, E1000_IAM);
}

/**
 * emul_icr_read() - reading clears, but with MSI-X only what is asserted or masked
 *
 * Then all of it, causes of queues too: drivers set those again (ICS).
 */
u32 emul_icr_read(struct e1000e_emul *e)
{
	u32 v = R(e, E1000_ICR);
	bool clear = !R(e, E1000_IMS) || !emul_uses_msix(e) || v & E1000_INT_ASSERTED;

	auto_mask(e);
	if (clear)
		R(e, E1000_ICR) = 0;
	update(e);
	return v;
}

/** emul_icr_write() - ones clear */
void emul_icr_write(struct e1000e_emul *e, u32 v)
{
	auto_mask(e);
	R(e, E1000_ICR) &= ~v;
	if (!(R(e, E1000_ICR) & OTHERS))
		R(e, E1000_ICR) &= ~(v & OTHERS ? E1000_INT_OTHER : 0);
	update(e);
}

/** emul_ims_write() - ones unmask; what is pending goes out */
void emul_ims_write(struct e1000e_emul *e, u32 v)
{
	R(e, E1000_IMS) |= v & ~E1000_INT_ASSERTED;
	update(e);
}

/** emul_imc_write() - ones mask */
void emul_imc_write(struct e1000e_emul *e, u32 v)
{
	R(e, E1000_IMS) &= ~v;
	update(e);
}
