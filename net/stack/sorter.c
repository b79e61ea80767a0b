/*
 * sorter.c - whose frame is it: the VMM's, the guest's, or of both
 *
 * One MAC, two users with an IPv4 address each. Received:
 *
 *	not ours and no group address	guest (it is promiscuous)
 *	ARP, group address		both
 *	ARP for the VMM's address	VMM
 *	DHCP for a client		VMM by the transaction's number, else guest
 *	IPv4, group address		both
 *	IPv4 to the VMM's address	VMM, fragments too
 *	all else			guest: IPv6, VLAN tags, LLDP, ...
 *
 * The VMM asks for its lease with a client identifier of its own. A DHCP server
 * that goes by the MAC alone gives both the same address: seen when it
 * acknowledges that to the guest. From then on the VMM owns its TCP
 * connections and its DHCP exchanges only, and the guest the rest, pings
 * included; ARP for the address goes to both, who answer alike.
 *
 * Sent by the guest: what claims the VMM's address (IPv4 source, ARP sender,
 * DHCP ciaddr) is spoofed, except with the address in common; then what claims
 * to belong to one of the VMM's connections is. A priority tag (VLAN 0) hides
 * nothing. A frame tagged for another VLAN cannot reach the VMM's network.
 *
 * Frames between the two do not exist: neither reaches the other through the
 * card, as with any two addresses of one port, and nothing is looped here.
 *
 * Everything here reads bytes of strangers; every length is checked.
 * [RFC 826; RFC 791; RFC 2131 §2, §4.1; IEEE 802.1Q §9.6]
 */
#include "net/stack/sorter.h"

#include <string.h>

#include "base/log.h"

#define TYPE_IPV4 0x0800u
#define TYPE_ARP 0x0806u
#define TYPE_VLAN 0x8100u
#define TYPE_QINQ 0x88a8u
#define VLAN_ID 0x0fffu

#define ARP_BYTES 28u
#define IP_BYTES 20u
#define PROTO_TCP 6u
#define PROTO_UDP 17u
#define DHCP_SERVER 67u
#define DHCP_CLIENT 68u
#define BOOTP_BYTES 240u /* up to the options, magic included */
#define DHCP_OPT_TYPE 53u
#define DHCP_ACK 5u

static u32 be16(const u8 *p)
{
	return (u32)p[0] << 8 | p[1];
}

static u32 be32(const u8 *p)
{
	return be16(p) << 16 | be16(p + 2);
}

static u32 vmm_ip(const struct sorter *s)
{
	return s->vmm ? s->vmm->ip() : 0;
}

bool sorter_same_ip(const struct sorter *s)
{
	return s->guest_ip && s->guest_ip == vmm_ip(s);
}

/* An IPv4 header that is all there. */
struct ip_view {
	u32 src, dst;
	u8 proto;
	bool first; /* not a later fragment */
	bool whole; /* no fragment at all */
	const u8 *up; /* what is above it, @up_bytes of that are there */
	u32 up_bytes;
};

static bool ip_parse(struct ip_view *v, const u8 *p, u32 n)
{
	u32 head, frag;

	if (n < IP_BYTES || p[0] >> 4 != 4)
		return false;
	head = (p[0] & 15) * 4u;
	if (head < IP_BYTES || head > n)
		return false;
	frag = be16(p + 6);
	v->src = be32(p + 12);
	v->dst = be32(p + 16);
	v->proto = p[9];
	v->first = !(frag & 0x1fff);
	v->whole = !(frag & 0x3fff);
	v->up = p + head;
	v->up_bytes = n - head;
	return true;
}

/* A DHCP message from port or to port @dport; NULL: it is none. @n out: its bytes. */
static const u8 *dhcp_message(const struct ip_view *v, u32 dport, u32 *n)
{
	if (v->proto != PROTO_UDP || !v->first || v->up_bytes < 8 + BOOTP_BYTES - 4 ||
	    be16(v->up + 2) != dport)
		return NULL;
	*n = v->up_bytes - 8;
	return v->up + 8;
}

static bool dhcp_is_ack(const u8 *m, u32 n)
{
	u32 at = BOOTP_BYTES;

	while (at + 2 < n && m[at] != 255) {
		if (!m[at]) {
			at++;
			continue;
		}
		if (m[at] == DHCP_OPT_TYPE)
			return m[at + 2] == DHCP_ACK;
		at += 2u + m[at + 1];
	}
	return false;
}

static u32 dhcp_to(struct sorter *s, const u8 *m, u32 n)
{
	u32 xid = s->vmm ? s->vmm->dhcp_xid() : 0, yiaddr = be32(m + 16);
	bool same = sorter_same_ip(s);

	if (xid && be32(m + 4) == xid && !memcmp(m + 28, s->mac, 6))
		return SORTER_VMM;
	if (yiaddr && !memcmp(m + 28, s->mac, 6) && dhcp_is_ack(m, n)) {
		s->guest_ip = yiaddr;
		if (sorter_same_ip(s) && !same)
			log_warn("share: the DHCP server ignores client identifiers: guest and "
				 "VMM have one address ip=%u.%u.%u.%u", yiaddr >> 24,
				 yiaddr >> 16 & 255, yiaddr >> 8 & 255, yiaddr & 255);
	}
	return SORTER_GUEST;
}

static bool tcp_owned(const struct sorter *s, u32 rip, u32 rport, u32 lport)
{
	return s->vmm && s->vmm->owns_tcp(rip, (u16)rport, (u16)lport);
}

static u32 ip_to(struct sorter *s, bool group, const u8 *p, u32 n)
{
	struct ip_view v;
	const u8 *dhcp;
	u32 dhcp_bytes;

	if (!ip_parse(&v, p, n))
		return SORTER_GUEST;
	dhcp = dhcp_message(&v, DHCP_CLIENT, &dhcp_bytes);
	if (dhcp && v.whole)
		return dhcp_to(s, dhcp, dhcp_bytes);
	if (group)
		return SORTER_BOTH;
	if (!vmm_ip(s) || v.dst != vmm_ip(s))
		return SORTER_GUEST;
	if (!sorter_same_ip(s))
		return SORTER_VMM;
	if (v.proto == PROTO_TCP && v.first && v.up_bytes >= 4 &&
	    tcp_owned(s, v.src, be16(v.up), be16(v.up + 2)))
		return SORTER_VMM;
	return SORTER_GUEST;
}

static u32 arp_to(const struct sorter *s, bool group, const u8 *p, u32 n)
{
	if (group)
		return SORTER_BOTH;
	if (n < ARP_BYTES || !vmm_ip(s) || be32(p + 24) != vmm_ip(s))
		return SORTER_GUEST;
	return sorter_same_ip(s) ? SORTER_BOTH : SORTER_VMM;
}

u32 sorter_rx(struct sorter *s, const u8 *f, u32 bytes)
{
	bool group = f[0] & 1;
	u32 type = be16(f + 12);

	if (!group && memcmp(f, s->mac, 6))
		return SORTER_GUEST;
	if (type == TYPE_ARP)
		return arp_to(s, group, f + 14, bytes - 14);
	if (type == TYPE_IPV4)
		return ip_to(s, group, f + 14, bytes - 14);
	return SORTER_GUEST;
}

static bool ip_spoofed(const struct sorter *s, const u8 *p, u32 n)
{
	struct ip_view v;
	const u8 *dhcp;
	u32 dhcp_bytes;

	if (!ip_parse(&v, p, n))
		return false;
	if (sorter_same_ip(s)) {
		if (v.src != vmm_ip(s) || v.proto != PROTO_TCP || !v.first)
			return false;
		/* too short to tell: no TCP sends that */
		return v.up_bytes < 4 || tcp_owned(s, v.dst, be16(v.up + 2), be16(v.up));
	}
	if (v.src == vmm_ip(s))
		return true;
	/* A message that ends the VMM's lease, say; the head has ciaddr. */
	if (v.proto != PROTO_UDP || !v.first || v.up_bytes < 8 + 16 ||
	    be16(v.up + 2) != DHCP_SERVER)
		return false;
	dhcp = v.up + 8;
	dhcp_bytes = v.up_bytes - 8;
	return dhcp_bytes >= 16 && be32(dhcp + 12) == vmm_ip(s);
}

bool sorter_tx_spoofed(const struct sorter *s, const u8 *head, u32 bytes)
{
	u32 at = 12;

	if (!vmm_ip(s))
		return false;
	while (bytes >= at + 6 && (be16(head + at) == TYPE_VLAN || be16(head + at) == TYPE_QINQ)) {
		if (be16(head + at + 2) & VLAN_ID)
			return false;
		at += 4;
	}
	if (bytes < at + 2)
		return false;
	if (be16(head + at) == TYPE_IPV4)
		return ip_spoofed(s, head + at + 2, bytes - at - 2);
	if (be16(head + at) == TYPE_ARP && bytes >= at + 2 + 18)
		return be32(head + at + 2 + 14) == vmm_ip(s) && !sorter_same_ip(s);
	return false;
}
