/*
 * net_frames.h - frames to order, for tests of who gets what
 */
#ifndef TESTS_FAKES_NET_FRAMES_H
#define TESTS_FAKES_NET_FRAMES_H

#include "base/types.h"

struct frame_spec {
	const char *name;
	char dst; /* 'u' our MAC, 'b' broadcast, 'm' multicast, 'o' another's */
	u16 tag; /* of a VLAN, its number + 1; 0: none */
	u16 type; /* 0: IPv4 */
	u32 src, dst_ip; /* IPv4, or ARP's sender and target */
	u8 proto; /* IPv4 */
	u16 sport, dport;
	u16 frag; /* IPv4's fragment word */
	u32 xid, ciaddr, yiaddr; /* with port 67 or 68: DHCP */
	u8 dhcp_type;
	u32 bytes; /* cut to this length; 0: whole */
};

extern const u8 frame_mac[6]; /* "our" MAC */

/* Builds into @f, at least 1600 bytes; returns the length, 14 at least. */
u32 frame_build(u8 *f, const struct frame_spec *s);

#endif
