/*
 * net_mirror.h - a network card whose wire ends in a mirror
 *
 * TCP frames come back with source and destination address exchanged, so one
 * lwIP instance talks to itself through the whole path: what is sent to the
 * peer's address arrives as if the peer had sent it to us. The sum over an
 * exchanged pair is the same, so checksums stay right. The mirror answers ARP
 * and, if asked, DHCP. It loses, delays and damages frames on demand. Time is
 * the virtual clock's.
 */
#ifndef TESTS_FAKES_NET_MIRROR_H
#define TESTS_FAKES_NET_MIRROR_H

#include "net/spec/netif.h"

#define MIRROR_IP 0x0a000001u /* 10.0.0.1, the peer */
#define MIRROR_OUR_IP 0x0a000002u

struct mirror {
	struct netif_dev dev;
	bool link, csum_by_card;
	bool dhcp; /* answer DHCP, offer MIRROR_OUR_IP */
	bool no_scaling; /* the peer knows no window scaling */
	bool no_window; /* the peer's SYN offers no window, what follows a tiny one */
	bool late_mss; /* the peer names a segment size in all but its SYN */
	bool refuse; /* the peer answers SYNs with RST */
	bool no_tcp; /* swallow TCP: a dead peer */
	u32 drop_every, corrupt_every; /* 0: never; damage hits long frames */
	u64 latency_ns;
	u64 frames, dropped, dhcp_seen;
	u8 client_id[32];
	u32 client_id_bytes;
	u32 tcp_count;
	u32 room; /* frames the wire holds; beyond that tx() says -ENOBUFS */
};

void mirror_init(struct mirror *m);
void mirror_fini(struct mirror *m);
/* A frame of somebody's on the wire. */
void mirror_inject(struct mirror *m, const void *frame, u32 bytes);
/* When the next frame arrives; ~0 if none is under way. */
u64 mirror_next_ns(struct mirror *m);

#endif
