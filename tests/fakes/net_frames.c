/*
 * net_frames.c - frames to order, for tests of who gets what
 */
#include "tests/fakes/net_frames.h"

#include <string.h>

const u8 frame_mac[6] = { 0x52, 0x54, 0, 0x12, 0x34, 0x56 };

static void be16(u8 *p, u32 v)
{
	p[0] = (u8)(v >> 8);
	p[1] = (u8)v;
}

static void be32(u8 *p, u32 v)
{
	be16(p, v >> 16);
	be16(p + 2, v);
}

static u32 build_arp(u8 *a, const struct frame_spec *s)
{
	be16(a, 1);
	be16(a + 2, 0x0800);
	a[4] = 6;
	a[5] = 4;
	be16(a + 6, 1);
	be32(a + 14, s->src);
	be32(a + 24, s->dst_ip);
	return 46;
}

static u32 build_dhcp(u8 *m, const struct frame_spec *s)
{
	m[0] = s->dport == 68 ? 2 : 1;
	m[1] = 1;
	m[2] = 6;
	be32(m + 4, s->xid);
	be32(m + 12, s->ciaddr);
	be32(m + 16, s->yiaddr);
	memcpy(m + 28, frame_mac, 6);
	be32(m + 236, 0x63825363);
	m[240] = 0; /* padding comes before anything */
	m[241] = 61;
	m[242] = 2;
	m[245] = 53;
	m[246] = 1;
	m[247] = s->dhcp_type;
	m[248] = 255;
	return 300;
}

static u32 build_ip(u8 *p, const struct frame_spec *s)
{
	u32 n = 40;

	p[0] = 0x45;
	be16(p + 6, s->frag);
	p[8] = 64;
	p[9] = s->proto;
	be32(p + 12, s->src);
	be32(p + 16, s->dst_ip);
	be16(p + 20, s->sport);
	be16(p + 22, s->dport);
	if (s->proto == 17 && (s->dport == 67 || s->dport == 68))
		n = build_dhcp(p + 28, s) + 8;
	be16(p + 24, n);
	be16(p + 2, n + 20);
	return n + 20;
}

u32 frame_build(u8 *f, const struct frame_spec *s)
{
	static const u8 mcast[6] = { 1, 0, 0x5e, 0, 0, 0xfb }, other[6] = { 2, 0, 0, 0, 0, 9 };
	u32 at = 12, n;

	memset(f, 0, 1600);
	if (s->dst == 'b')
		memset(f, 0xff, 6);
	else
		memcpy(f, s->dst == 'm' ? mcast : s->dst == 'o' ? other : frame_mac, 6);
	memcpy(f + 6, other, 6);
	if (s->tag) {
		be16(f + 12, 0x8100);
		be16(f + 14, s->tag - 1u);
		at = 16;
	}
	be16(f + at, s->type ? s->type : 0x0800);
	at += 2;
	n = s->type == 0x0806 ? build_arp(f + at, s) : s->type ? 46 : build_ip(f + at, s);
	return s->bytes ? s->bytes : at + n;
}
