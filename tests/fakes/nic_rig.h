/*
 * nic_rig.h - a card that the guest sees, without a machine
 *
 * The front-end over a real struct share, whose real card is a list of frames;
 * guest memory in windows; its registers as a struct bus_dev, so that one of our
 * own drivers can be the guest's, or a test plays the guest itself.
 */
#ifndef TESTS_FAKES_NIC_RIG_H
#define TESTS_FAKES_NIC_RIG_H

#include "base/bus.h"
#include "net/emul/nic.h"
#include "net/spec/netif.h"
#include "net/stack/share.h"
#include "storage/emul/host.h"

#define RIG_WINDOWS 16
#define RIG_ALLOCS 16
#define RIG_SENT 1024
#define RIG_VECTORS 8

struct nic_rig {
	struct bus_dev bus;
	struct emul_host host;
	struct netif_dev card;
	struct share *share;
	struct nic_emul *nic;
	struct { u64 gpa; u8 *p; size_t bytes; } window[RIG_WINDOWS];
	u32 windows;
	void *alloc[RIG_ALLOCS];
	u32 allocs;
	u32 refused; /* accesses outside the windows */
	u32 irqs[RIG_VECTORS];
	bool msix; /* the guest uses it */
	bool link;
	u32 mbps;
	bool hold; /* the real card sends nothing */
	u32 room; /* frames that it takes */
	struct { struct netif_tx t; struct netif_seg segs[NETIF_TX_SEGS_MAX]; } queue[256];
	u32 queued;
	u32 sents;
	struct netif_filter filter;
	struct { u8 data[NETIF_FRAME_MAX]; u32 bytes; bool csum_ok; } wire;
	bool on_wire;
	/* last: not cleared */
	struct { u8 data[NETIF_FRAME_MAX]; u32 bytes, segs; } sent[RIG_SENT];
};

/* Then nic is to be created by the caller, over host and share. */
void rig_init(struct nic_rig *r);
void rig_fini(struct nic_rig *r);
void rig_window(struct nic_rig *r, u64 gpa, void *p, size_t bytes);
/* The pump: until nothing moves. */
void rig_run(struct nic_rig *r);
void rig_send(struct nic_rig *r, u32 n);
/* A frame from the wire, to the real card's users. */
void rig_rx(struct nic_rig *r, const void *frame, u32 bytes, bool csum_ok);
u32 rig_read(struct nic_rig *r, u32 off);
void rig_write(struct nic_rig *r, u32 off, u32 v);
bool rig_msix(void *ctx);

#endif
