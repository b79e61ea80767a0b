/*
 * share.h - one network card, two users: the VMM's stack and the guest
 *
 * The VMM's stack sees a struct netif_dev (share_netif()), the guest's card a
 * port: share_tx_get(), share_tx_put() and struct share_port_ops. Both are
 * advanced by share_poll(), in the pump; nothing here waits. See share.c for
 * who gets what, and for fairness.
 *
 * A guest-facing card sends like this, for every frame of the guest's:
 *
 *	t = share_tx_get(s);		NULL: stop; tx_room() says when to go on
 *	copy the first bytes, SHARE_HEAD_MIN or the whole frame, to t->head
 *	the rest goes into t->segs[] as host addresses, uncopied
 *	t->done, t->ctx
 *	share_tx_put(s, t);		done() follows once, whatever happens
 *
 * The head is copied because it is looked at (who claims to be whom), and the
 * guest could change it after the look. A frame of too many segments is copied
 * whole: there is room.
 */
#ifndef NET_STACK_SHARE_H
#define NET_STACK_SHARE_H

#include "net/spec/netif.h"
#include "net/stack/sorter.h"

#define SHARE_TX_SLOTS 128u
#define SHARE_HEAD_ROOM 1536u
/* What must be in the head, when the frame is that long: all that is looked at. */
#define SHARE_HEAD_MIN 128u
#define SHARE_SEGS_MAX (NETIF_TX_SEGS_MAX - 1)
#define SHARE_CUT_SEGS_MAX (NETIF_CUT_SEGS_MAX - 1) /* with mss */

struct share;

struct share_tx {
	u8 *head; /* (c) SHARE_HEAD_ROOM bytes */
	u32 head_bytes;
	u32 n;
	struct netif_seg segs[SHARE_CUT_SEGS_MAX];
	u16 csum_start, csum_at; /* as in struct netif_tx, done in software if need be; 0: none */
	/*
	 * Not 0: to be cut into segments of so many bytes, by the card (share_features());
	 * complete headers in the head, as if there were no limit to a frame.
	 */
	u16 mss;
	u16 header_bytes; /* the share's */
	void (*done)(void *ctx); /* from share_tx_put(), share_tx_flush() or share_poll() */
	void *ctx;
};

struct share_port_ops {
	/*
	 * A frame for the guest, to be copied before this returns. False: the
	 * guest has no buffer; the frame is lost, as on any card.
	 */
	bool (*rx)(void *ctx, const void *frame, u32 bytes, bool csum_ok);
	/* There is a slot again after share_tx_get() had none. May send from here. */
	void (*tx_room)(void *ctx);
	/* The port's link has changed; share_link() says how. */
	void (*link)(void *ctx);
};

struct share_counters {
	u64 rx_guest, rx_vmm, rx_guest_lost, rx_dropped;
	u64 tx_guest, tx_vmm, tx_guest_bytes, tx_vmm_bytes;
	u64 tx_spoofed, tx_oversize, tx_bad, tx_csum_software;
	u64 tx_guest_waits, tx_vmm_refused;
};

/** share_create() - 0, -ENOMEM. About 300 KiB, once. */
int share_create(struct netif_dev *card, struct share **out);
/** share_destroy() - with nothing under way; for tests and tools */
void share_destroy(struct share *s);
/**
 * share_netif() - the card as the VMM's stack has it
 *
 * Its poll() is share_poll(), and share_poll() gives frames to the input that
 * poll() was last called with.
 */
struct netif_dev *share_netif(struct share *s);
/** share_vmm() - the stack behind share_netif(): what is its own */
void share_vmm(struct share *s, const struct sorter_vmm *vmm);

/** share_attach() - the guest's card; one at a time */
void share_attach(struct share *s, const struct share_port_ops *ops, void *ctx);
/** share_detach() - no more calls to the port but done() of what is under way */
void share_detach(struct share *s);
/**
 * share_tx_flush() - a reset of the guest's card: drop what is queued
 *
 * What the real card has already got goes on: see share_tx_busy().
 */
void share_tx_flush(struct share *s);
/** share_tx_busy() - frames of the guest's whose done() is still to come */
u32 share_tx_busy(const struct share *s);

struct share_tx *share_tx_get(struct share *s);
void share_tx_put(struct share *s, struct share_tx *t);
/** share_tx_drop() - give a slot back unused; no done() */
void share_tx_drop(struct share *s, struct share_tx *t);

/** share_filter() - what the guest wants to receive */
void share_filter(struct share *s, const struct netif_filter *f);
/** share_link() - is the real port's link up? @mbps may be NULL */
bool share_link(struct share *s, u32 *mbps);
/** share_features() - what the card does for frames that go out: enum netif_feature */
u32 share_features(const struct share *s);
/** share_mac() - the address of both */
const u8 *share_mac(const struct share *s);

/**
 * share_poll() - frames in and out, both users
 *
 * Context: pump. Return: frames handled; not 0 means call again soon.
 */
u32 share_poll(struct share *s);
const struct share_counters *share_counters(const struct share *s);

#endif
