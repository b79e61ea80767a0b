/*
 * e1000e_rx.c - frames to the guest: filters, and the receive ring
 *
 * A frame is copied into the buffers that the next descriptors name, once, from
 * share_poll(). The descriptor is read before, and written back after it; what
 * the guest does to it meanwhile does not matter. A ring that makes no sense
 * (indices beyond its end, addresses that are no memory) takes no frames: the
 * guest's frames are lost as on a card without descriptors.
 *
 * Three forms of descriptors: legacy, extended, packet split. Packet split is
 * done as for frames that the card cannot split: the first buffer is filled,
 * then the others. One queue; the hash that would choose another is zero.
 * [82574 §7.1]
 */
#include <string.h>

#include "base/endian.h"
#include "net/emul/e1000e_priv.h"

#define VLAN_TYPE 0x8100
#define FCS_BYTES 4u
#define FRAME_MIN 60u

struct buffers {
	u32 n;
	struct { u64 gpa; u32 room; } b[E1000_RX_SPLIT_BUFFERS];
};

/* ---------------------------------------------------------------- filters */

static bool own_address(struct e1000e_emul *e, const u8 *mac)
{
	for (u32 i = 0; i < E1000_RA_ENTRIES; i++) {
		u32 hi = R(e, E1000_RAH(i));

		if (hi & E1000_RAH_AV && R(e, E1000_RAL(i)) == get_le32(mac) &&
		    (u16)hi == get_le16(mac + 4))
			return true;
	}
	return false;
}

/* Which 12 bits of an address index the table: RCTL.MO. [82574 §10.2.5.12] */
static bool in_table(struct e1000e_emul *e, const u8 *mac)
{
	static const u8 shifts[] = { 4, 3, 2, 0 };
	u32 bit = get_le16(mac + 4) >> shifts[FIELD_GET(E1000_RCTL_MO, R(e, E1000_RCTL))] & 0xfff;

	return R(e, E1000_MTA(bit / 32)) & BIT(bit % 32);
}

static bool wanted(struct e1000e_emul *e, const u8 *mac)
{
	static const u8 all[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
	u32 rctl = R(e, E1000_RCTL);

	if (!memcmp(mac, all, 6))
		return rctl & (E1000_RCTL_BAM | E1000_RCTL_MPE);
	if (mac[0] & 1)
		return rctl & E1000_RCTL_MPE || own_address(e, mac) || in_table(e, mac);
	return rctl & E1000_RCTL_UPE || own_address(e, mac);
}

static bool vlan_wanted(struct e1000e_emul *e, const u8 *frame)
{
	u32 id;

	if (!(R(e, E1000_RCTL) & E1000_RCTL_VFE) || get_be16(frame + 12) != VLAN_TYPE)
		return true;
	id = get_be16(frame + 14) & 0xfff;
	return R(e, E1000_VFTA(id / 32)) & BIT(id % 32);
}

/**
 * emul_rx_filter() - tell the real card what the guest would take
 *
 * The hash table does not say which groups it stands for: a bit in it asks for
 * all. Unicast addresses besides the card's own ask for everything.
 */
void emul_rx_filter(struct e1000e_emul *e)
{
	const u8 *mac = share_mac(e->cfg.share);
	struct netif_filter f = {
		.promiscuous = R(e, E1000_RCTL) & E1000_RCTL_UPE,
		.all_multicast = R(e, E1000_RCTL) & E1000_RCTL_MPE,
	};

	for (u32 i = 0; i < E1000_MTA_WORDS; i++)
		f.all_multicast |= !!R(e, E1000_MTA(i));
	for (u32 i = 0; i < E1000_RA_ENTRIES; i++) {
		u32 lo = R(e, E1000_RAL(i)), hi = R(e, E1000_RAH(i));

		if (!(hi & E1000_RAH_AV) || (lo == get_le32(mac) && (u16)hi == get_le16(mac + 4)))
			continue;
		if (lo & 1)
			f.all_multicast = true;
		else
			f.promiscuous = true;
	}
	share_filter(e->cfg.share, &f);
}

/* ---------------------------------------------------------------- the frame */

static u32 fcs(const u8 *p, u32 bytes)
{
	u32 c = ~0u;

	while (bytes--) {
		c ^= *p++;
		for (u32 i = 0; i < 8; i++)
			c = c >> 1 ^ (c & 1 ? 0xedb88320u : 0);
	}
	return ~c;
}

/* As it lies in the guest's buffers: padded, without its tag, with FCS. */
static u32 frame_make(struct e1000e_emul *e, const u8 *frame, u32 bytes, bool *tagged, u16 *tag)
{
	u8 *to = e->frame;

	*tagged = bytes >= 18 && get_be16(frame + 12) == VLAN_TYPE &&
		  R(e, E1000_CTRL) & E1000_CTRL_VME;
	*tag = *tagged ? get_be16(frame + 14) : 0;
	if (*tagged) {
		memcpy(to, frame, 12);
		memcpy(to + 12, frame + 16, bytes - 16);
		bytes -= 4;
	} else {
		memcpy(to, frame, bytes);
	}
	if (bytes < FRAME_MIN) {
		memset(to + bytes, 0, FRAME_MIN - bytes);
		bytes = FRAME_MIN;
	}
	if (!(R(e, E1000_RCTL) & E1000_RCTL_SECRC)) {
		put_le32(to + bytes, fcs(to, bytes));
		bytes += FCS_BYTES;
	}
	return bytes;
}

/* ---------------------------------------------------------------- descriptors */

static bool split(struct e1000e_emul *e)
{
	return FIELD_GET(E1000_RCTL_DTYP, R(e, E1000_RCTL)) == E1000_RCTL_DTYP_SPLIT;
}

static bool extended(struct e1000e_emul *e)
{
	return R(e, E1000_RFCTL) & E1000_RFCTL_EXSTEN;
}

static u32 desc_bytes(struct e1000e_emul *e)
{
	return split(e) ? E1000_RX_SPLIT_BYTES : sizeof(struct e1000_rx_desc);
}

static u32 buffer_bytes(u32 rctl)
{
	u32 size = FIELD_GET(E1000_RCTL_BSIZE, rctl);

	if (rctl & E1000_RCTL_BSEX)
		return size ? 32768u >> size : 2048; /* 0 is reserved */
	return 2048u >> size;
}

/* What one descriptor holds; packet split: the first in 128 bytes, the others in KiB. */
static u32 room_bytes(struct e1000e_emul *e)
{
	u32 ps = R(e, E1000_PSRCTL);

	if (!split(e))
		return buffer_bytes(R(e, E1000_RCTL));
	return (ps & 0x7f) * 128 +
	       ((ps >> 8 & 0x3f) + (ps >> 16 & 0x3f) + (ps >> 24 & 0x3f)) * 1024;
}

/* The buffers that descriptor @gpa names; false: it is not readable. */
static bool buffers_read(struct e1000e_emul *e, u64 gpa, struct buffers *b)
{
	u8 raw[E1000_RX_SPLIT_BYTES];
	u32 ps = R(e, E1000_PSRCTL);

	if (e->cfg.host->ops->read(e->cfg.host, GPA(gpa), raw, desc_bytes(e)))
		return false;
	b->n = 1;
	b->b[0].gpa = get_le64(raw);
	b->b[0].room = buffer_bytes(R(e, E1000_RCTL));
	if (!split(e))
		return true;
	/* sizes: the first in units of 128 bytes, the others of 1 KiB [82574 §10.2.5.4] */
	b->n = E1000_RX_SPLIT_BUFFERS;
	b->b[0].room = (ps & 0x7f) * 128;
	for (u32 i = 1; i < b->n; i++) {
		b->b[i].gpa = get_le64(raw + 8 * i);
		b->b[i].room = (ps >> (8 * i) & 0x3f) * 1024;
	}
	return true;
}

static u32 status_of(struct e1000e_emul *e, const u8 *f, u32 bytes, bool csum_ok, bool tagged)
{
	u32 s = tagged ? E1000_RXX_VP : 0;
	bool udp = bytes >= 34 && get_be16(f + 12) == 0x0800 && f[23] == 17;

	if (!csum_ok || !(R(e, E1000_RXCSUM) & E1000_RXCSUM_TUOFL))
		return s | E1000_RXX_IXSM;
	return s | E1000_RXX_IPCS | E1000_RXX_TCPCS | (udp ? E1000_RXX_UDPCS : 0);
}

static bool write_back(struct e1000e_emul *e, u64 gpa, const u32 *len, u32 status, u16 tag)
{
	struct emul_host *h = e->cfg.host;
	struct e1000_rx_ext x = { .status = status, .bytes = (u16)len[0], .vlan = tag };
	struct e1000_rx_desc d;

	if (extended(e) || split(e)) {
		u16 more[3] = { (u16)len[1], (u16)len[2], (u16)len[3] };

		if (split(e) && h->ops->write(h, GPA(gpa + E1000_RX_SPLIT_LENGTHS), more,
					      sizeof(more)))
			return false;
		return !h->ops->write(h, GPA(gpa), &x, sizeof(x));
	}
	/* the address stays: only the second half is the card's */
	d = (struct e1000_rx_desc){ .bytes = (u16)len[0], .status = (u8)status, .special = tag };
	return !h->ops->write(h, GPA(gpa + 8), &d.bytes, 8);
}

/* Copy what fits of @left bytes from @from; the lengths of the buffers in @len. */
static u32 scatter(struct e1000e_emul *e, const struct buffers *b, const u8 *from, u32 left,
		   u32 *len)
{
	u32 done = 0;

	for (u32 i = 0; i < b->n && done < left; i++) {
		len[i] = MIN(left - done, b->b[i].room);
		/* a buffer that is no memory: the bytes are lost, as on a bus */
		if (len[i])
			(void)e->cfg.host->ops->write(e->cfg.host, GPA(b->b[i].gpa), from + done,
						      len[i]);
		done += len[i];
	}
	return done;
}

/* ---------------------------------------------------------------- the ring */

static u32 ring_left(u32 head, u32 tail, u32 n)
{
	return (tail + n - head) % n;
}

static bool deliver(struct e1000e_emul *e, u32 bytes, u32 status, u16 tag)
{
	u32 size = desc_bytes(e), n = (R(e, E1000_RDLEN) & 0xfff80u) / size;
	u32 head = R(e, E1000_RDH);
	u32 tail = __atomic_load_n(emul_reg(e, E1000_RDT), __ATOMIC_ACQUIRE);
	u64 base = (R(e, E1000_RDBAL) & ~15u) | (u64)R(e, E1000_RDBAH) << 32;
	u32 done = 0, room = room_bytes(e);

	/* all of it or nothing: a frame without its end would be taken for another's start */
	if (!room || head >= n || tail >= n ||
	    ring_left(head, tail, n) < (bytes + room - 1) / room)
		return false;
	while (done < bytes) {
		u32 len[E1000_RX_SPLIT_BUFFERS] = { 0 };
		u64 at = base + (u64)head * size;
		struct buffers b;

		if (!buffers_read(e, at, &b))
			return false;
		done += scatter(e, &b, e->frame + done, bytes - done, len);
		if (!write_back(e, at, len, E1000_RXX_DD |
				(done == bytes ? E1000_RXX_EOP | status : 0),
				done == bytes ? tag : 0))
			return false;
		head = (head + 1) % n;
	}
	R(e, E1000_RDH) = head;
	if (ring_left(head, tail, n) * 2 <= n >> FIELD_GET(0x300u, R(e, E1000_RCTL)))
		emul_cause(e, E1000_INT_RXDMT0);
	return true;
}

static void count(struct e1000e_emul *e, const u8 *frame, u32 bytes)
{
	static const u8 all[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };

	emul_count(e, 0x4074, 1); /* GPRC */
	emul_count(e, 0x40d0, 1); /* TPR */
	emul_count_octets(e, 0x4088, bytes + FCS_BYTES); /* GORC */
	emul_count_octets(e, 0x40c0, bytes + FCS_BYTES); /* TOR */
	emul_count_size(e, 0x405c, bytes + FCS_BYTES); /* PRC64... */
	if (!memcmp(frame, all, 6))
		emul_count(e, 0x4078, 1); /* BPRC */
	else if (frame[0] & 1)
		emul_count(e, 0x407c, 1); /* MPRC */
	e->n.rx_frames++;
}

/** emul_rx() - a frame for the guest; struct share_port_ops.rx */
bool emul_rx(void *ctx, const void *frame, u32 bytes, bool csum_ok)
{
	struct e1000e_emul *e = ctx;
	bool tagged;
	u32 status;
	u16 tag;

	if (!(R(e, E1000_RCTL) & E1000_RCTL_EN) || bytes < NETIF_HEAD_BYTES ||
	    bytes > NETIF_FRAME_MAX || !wanted(e, frame) || !vlan_wanted(e, frame))
		return true; /* not for this guest: nothing is lost */
	status = status_of(e, frame, bytes, csum_ok, false);
	bytes = frame_make(e, frame, bytes, &tagged, &tag);
	if (tagged)
		status |= E1000_RXX_VP;
	if (!deliver(e, bytes, status, tag)) {
		e->n.rx_lost++;
		emul_count(e, 0x4010, 1); /* MPC */
		emul_cause(e, E1000_INT_RXO);
		return false;
	}
	count(e, frame, bytes);
	emul_cause(e, E1000_INT_RXT0 | E1000_INT_RXQ0);
	return true;
}
