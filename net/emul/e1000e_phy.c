/*
 * e1000e_phy.c - the emulated 82574L's PHY and NVM
 *
 * The PHY is an 88E1149R's like: the standard's registers, and of Marvell's own
 * those that drivers read the link from. It has always finished negotiating.
 * Whatever the real port has, it offers and is offered. Registers 16 to 31 are
 * paged by register 22; other pages than 0 read as zero.
 *
 * The NVM has 64 words: the card's address, ids, and the sum that drivers check.
 * [82574 §6.1 NVM map, §10.2.1.7 EERD, §10.2.2.7 MDIC, §10.4 PHY; IEEE 802.3 §22.2.4]
 */
#include "net/emul/e1000e_priv.h"

#define PHY_ADDRESS 1
#define NVM_SUM 0xbaba
#define NVM_SUM_WORD 63

#define BMSR_CAPABLE 0x7949 /* 10 and 100 both ways, extended status, negotiates */
#define BMCR_DEFAULT 0x1140 /* negotiates, full duplex, 1000 */

static bool read_only(u32 reg)
{
	switch (reg) {
	case E1000_PHY_BMSR:
	case E1000_PHY_ID1:
	case E1000_PHY_ID2:
	case E1000_PHY_LPAR:
	case E1000_PHY_GBSR:
	case E1000_PHY_ESTATUS:
	case E1000_PHY_PSSR:
		return true;
	default:
		return false;
	}
}

/** emul_phy_link() - put the link into the PHY's registers */
void emul_phy_link(struct e1000e_emul *e)
{
	u16 speed = e->mbps >= 1000 ? 2 : e->mbps >= 100 ? 1 : 0;

	e->phy[E1000_PHY_BMSR] = BMSR_CAPABLE;
	e->phy[E1000_PHY_LPAR] = 0;
	e->phy[E1000_PHY_GBSR] = 0;
	e->phy[E1000_PHY_PSSR] = 0;
	if (!e->link)
		return;
	e->phy[E1000_PHY_BMSR] |= E1000_BMSR_LINK | E1000_BMSR_ANDONE;
	e->phy[E1000_PHY_LPAR] = speed ? 0x45e1 : 0x4461; /* acknowledged; 100 or 10, pause */
	e->phy[E1000_PHY_GBSR] = speed == 2 ? 0x3c00 : 0; /* receivers are well, partner has 1000 */
	e->phy[E1000_PHY_PSSR] = (u16)(FIELD_PREP(E1000_PSSR_SPEED, speed) | E1000_PSSR_FD |
				       E1000_PSSR_RESOLVED | E1000_PSSR_LINK);
}

/** emul_phy_init() - as after a reset of the PHY */
void emul_phy_init(struct e1000e_emul *e)
{
	for (u32 i = 0; i < ARRAY_SIZE(e->phy); i++)
		e->phy[i] = 0;
	e->phy_page = 0;
	e->phy[E1000_PHY_BMCR] = BMCR_DEFAULT;
	e->phy[E1000_PHY_ID1] = 0x0141;
	e->phy[E1000_PHY_ID2] = 0x0cb1;
	e->phy[E1000_PHY_ANAR] = 0x0de1;
	e->phy[E1000_PHY_GBCR] = 0x0e00;
	e->phy[E1000_PHY_ESTATUS] = 0x3000;
	emul_phy_link(e);
}

static u16 phy_read(struct e1000e_emul *e, u32 reg)
{
	if (reg == E1000_PHY_PAGE)
		return e->phy_page;
	return reg >= 16 && e->phy_page ? 0 : e->phy[reg];
}

static void phy_write(struct e1000e_emul *e, u32 reg, u16 v)
{
	if (reg == E1000_PHY_PAGE) {
		e->phy_page = v;
	} else if (reg == E1000_PHY_BMCR) {
		if (v & E1000_BMCR_RESET)
			emul_phy_init(e);
		else
			e->phy[reg] = v & (u16)~E1000_BMCR_ANRESTART;
	} else if (!read_only(reg) && (reg < 16 || !e->phy_page)) {
		e->phy[reg] = v;
	}
}

/** emul_mdic() - the guest writes MDIC: done at once */
void emul_mdic(struct e1000e_emul *e, u32 v)
{
	u32 reg = FIELD_GET(E1000_MDIC_REG, v);

	v &= ~(E1000_MDIC_READY | E1000_MDIC_ERROR);
	if (FIELD_GET(E1000_MDIC_PHY, v) != PHY_ADDRESS)
		v |= E1000_MDIC_ERROR;
	else if (v & E1000_MDIC_OP_READ)
		v = (v & ~E1000_MDIC_DATA) | phy_read(e, reg);
	else if (v & E1000_MDIC_OP_WRITE)
		phy_write(e, reg, (u16)v);
	else
		v |= E1000_MDIC_ERROR;
	R(e, E1000_MDIC) = v | E1000_MDIC_READY;
	if (v & E1000_MDIC_INTERRUPT)
		emul_cause(e, E1000_INT_MDAC);
}

/** emul_nvm_init() - the words of a card with the real one's address */
void emul_nvm_init(struct e1000e_emul *e)
{
	const u8 *mac = share_mac(e->cfg.share);
	u16 sum = 0;

	for (u32 i = 0; i < 3; i++)
		e->nvm[i] = (u16)(mac[2 * i] | mac[2 * i + 1] << 8);
	e->nvm[0x03] = 0x0420; /* a LOM without management */
	e->nvm[0x05] = 0xf746;
	e->nvm[0x0a] = 0x4000; /* a valid image */
	e->nvm[0x0b] = E1000E_EMUL_DEVICE; /* subsystem */
	e->nvm[0x0c] = E1000E_EMUL_VENDOR;
	e->nvm[0x0d] = E1000E_EMUL_DEVICE;
	e->nvm[0x0e] = E1000E_EMUL_VENDOR;
	for (u32 i = 0; i < NVM_SUM_WORD; i++)
		sum = (u16)(sum + e->nvm[i]);
	e->nvm[NVM_SUM_WORD] = (u16)(NVM_SUM - sum);
}

/** emul_eerd() - the guest asks for a word; done at once */
void emul_eerd(struct e1000e_emul *e, u32 v)
{
	u32 i = FIELD_GET(E1000_EERD_ADDR_82574, v);

	if (!(v & E1000_EERD_START_82574))
		return;
	R(e, E1000_EERD) = FIELD_PREP(E1000_EERD_ADDR_82574, i) | E1000_EERD_DONE_82574 |
			   FIELD_PREP(E1000_EERD_DATA, i < NVM_WORDS ? e->nvm[i] : 0xffffu);
}
