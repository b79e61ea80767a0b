/*
 * e1000e_priv.h - what the files of the emulated 82574L share
 *
 * e1000e.c      registers, reset, link, the outside
 * e1000e_phy.c  the PHY behind MDIC, the NVM behind EERD
 * e1000e_irq.c  causes, masks, messages
 * e1000e_rx.c   filters, the receive ring
 * e1000e_tx.c   the transmit ring, checksums, segmentation
 */
#ifndef NET_EMUL_E1000E_PRIV_H
#define NET_EMUL_E1000E_PRIV_H

#include "net/emul/e1000e.h"
#include "net/spec/e1000e.h"

#define REG_BYTES 0x6000u /* beyond: nothing that a driver needs; reads as zero */
#define NVM_WORDS 64u

/* Pieces of a guest's frame, and bytes: what TCP segmentation may be given. */
#define TX_PARTS_MAX 64u
#define TX_BYTES_MAX (64 * 1024u + 256)
/* A frame that goes out uncopied has its descriptors written back when it is sent. */
#define TX_BACK_MAX 8u

struct e1000e_emul;

struct tx_flight {
	struct e1000e_emul *e; /* NULL: free */
	u32 generation;
	u32 n;
	u16 back[TX_BACK_MAX]; /* descriptors that asked for their status */
};

/* A frame being gathered from descriptors. */
struct tx_gather {
	u32 n, bytes;
	bool started, bad;
	/* of the first data descriptor */
	u8 popts;
	bool extended, segment, tag;
	u8 css, cso; /* legacy checksum; cso 0: none */
	u16 vlan;
	u32 backs;
	u16 back[TX_BACK_MAX];
	bool more_backs; /* too many to remember: written at once */
	struct { u64 gpa; u32 bytes; } part[TX_PARTS_MAX]; /* last: not cleared */
};

struct e1000e_emul {
	struct nic_emul nic;
	struct e1000e_emul_cfg cfg; /* (c) */
	u32 reg[REG_BYTES / 4]; /* TDT, RDT: (a) */
	u32 rung; /* (a) TDT was written */
	u32 sent; /* causes whose message is out, until they are cleared or masked */
	u16 nvm[NVM_WORDS]; /* (c) but for what the guest writes */
	u16 phy[32];
	u16 phy_page;
	bool link;
	u32 mbps;
	u32 generation; /* of resets: what was under way before is nobody's any more */
	struct e1000_tx_context context;
	struct tx_gather tx;
	bool tx_held; /* tx is whole and waits for a slot */
	bool tx_running; /* share_tx_put() may come back here */
	u32 tso_at; /* payload of tx that has gone out in segments */
	u8 tso_header[256]; /* copied once for all segments */
	u32 flight_next; /* where to look for a free one first */
	struct tx_flight flight[SHARE_TX_SLOTS];
	u8 frame[NETIF_FRAME_MAX + 32]; /* a received frame as it goes to the guest */
	struct e1000e_emul_stats n;
};

static inline u32 *emul_reg(struct e1000e_emul *e, u32 off)
{
	return &e->reg[off / 4];
}

#define R(e, off) (*emul_reg(e, off))

static inline struct e1000e_emul *to_emul(struct nic_emul *n)
{
	return container_of(n, struct e1000e_emul, nic);
}

static inline bool emul_uses_msix(struct e1000e_emul *e)
{
	return e->cfg.msix && e->cfg.msix(e->cfg.ctx);
}

/* A statistics register, [82574 §10.2.8]: up to all ones, and stays there. */
static inline void emul_count(struct e1000e_emul *e, u32 off, u32 by)
{
	u32 *r = emul_reg(e, off);

	*r = *r > ~0u - by ? ~0u : *r + by;
}

void emul_count_octets(struct e1000e_emul *e, u32 off, u32 by);
void emul_count_size(struct e1000e_emul *e, u32 off, u32 bytes);

void emul_phy_init(struct e1000e_emul *e);
void emul_phy_link(struct e1000e_emul *e);
void emul_mdic(struct e1000e_emul *e, u32 v);
void emul_nvm_init(struct e1000e_emul *e);
void emul_eerd(struct e1000e_emul *e, u32 v);

void emul_cause(struct e1000e_emul *e, u32 causes);
u32 emul_icr_read(struct e1000e_emul *e);
void emul_icr_write(struct e1000e_emul *e, u32 v);
void emul_ims_write(struct e1000e_emul *e, u32 v);
void emul_imc_write(struct e1000e_emul *e, u32 v);

bool emul_rx(void *ctx, const void *frame, u32 bytes, bool csum_ok);
void emul_rx_filter(struct e1000e_emul *e);

bool emul_tx_run(struct e1000e_emul *e);

#endif
