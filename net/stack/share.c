/*
 * share.c - one network card, two users: the VMM's stack and the guest
 *
 * Received frames are told apart by sorter.c and handed on at once; the users
 * copy. Without a guest's card everything is the VMM's.
 *
 * Frames to send wait in a queue for each user, both bounded: the guest's by
 * its slots, the VMM's by VMM_QUEUE. The real card's ring is filled from both
 * by deficit round robin in bytes: with both waiting each gets half the wire,
 * whatever the sizes of its frames; alone, either gets all of it. A frame that
 * the card cuts counts as what it is cut from.
 *
 *	slot:	free -> share_tx_get() -> share_tx_put() -> queued -> card -> free
 *		              (refused: done() at once)     (flushed: done())
 *
 * A frame of the guest's is its head, copied before it is looked at, and the
 * rest in the guest's memory, never looked at. What the guest does to that
 * meanwhile ends up on the wire and nowhere else.
 *
 * All in the pump; done() and tx_room() may come back with the next frame.
 */
#include "net/stack/share.h"

#include <string.h>

#include "base/endian.h"
#include "base/err.h"
#include "base/log.h"
#include "base/plat.h"

#define VMM_QUEUE 64u
#define QUANTUM_BYTES 3072
/* Anything shorter is made this long, as the wire wants it. */
#define FRAME_MIN 60u

#define ETH_TYPE_AT 12u
#define ETH_IPV4 0x0800u
#define IP_HEAD_MIN 20u
#define IP_TCP 6u
#define IP_UDP 17u
#define TCP_SUM_AT 16u
#define TCP_HEAD_MIN 20u

enum user { GUEST, VMM, USERS };

struct slot {
	struct share_tx t; /* first: what the guest's card knows */
	struct share *s; /* (c) */
	hpa_t head_pa; /* (c) */
	u32 bytes;
};

struct vmm_frame {
	struct netif_seg segs[NETIF_TX_SEGS_MAX];
	struct netif_tx tx;
	u32 bytes;
};

struct share {
	struct netif_dev vmm; /* what the stack sees */
	struct netif_dev *card; /* (c) */
	struct sorter sorter;
	void (*vmm_input)(void *ctx, const void *frame, u32 bytes, bool csum_ok);
	void *vmm_input_ctx;

	const struct share_port_ops *ops; /* NULL: no guest */
	void *ctx;
	bool link;
	u32 mbps;
	bool wants_room;

	struct slot slots[SHARE_TX_SLOTS];
	u8 *heads; /* (c) of all slots */
	u16 free[SHARE_TX_SLOTS];
	u32 nfree;
	u16 queue[SHARE_TX_SLOTS]; /* of the guest: slots, in order */
	u32 qhead, qcount;
	struct vmm_frame vq[VMM_QUEUE];
	u32 vhead, vcount;
	s64 deficit[USERS];
	enum user turn;
	bool sending, more; /* tx_push() is at work; it was asked for again */

	struct share_counters n;
};

/* ---------------------------------------------------------------- the wire's share */

static u32 waiting(const struct share *s, enum user u)
{
	return u == GUEST ? s->qcount : s->vcount;
}

static void slot_done(void *ctx)
{
	struct slot *d = ctx;
	struct share *s = d->s;
	void (*done)(void *) = d->t.done;
	void *done_ctx = d->t.ctx;

	s->free[s->nfree++] = (u16)(d - s->slots);
	if (done)
		done(done_ctx);
}

/* The oldest frame of the guest's to the card. -ENOBUFS: it stays. */
static int send_guest(struct share *s, u32 *bytes)
{
	struct slot *d = &s->slots[s->queue[s->qhead]];
	struct netif_seg segs[NETIF_CUT_SEGS_MAX] = { { d->head_pa, d->t.head_bytes } };
	struct netif_tx tx = {
		.segs = segs, .n = 1 + d->t.n, .csum_start = d->t.csum_start,
		.csum_at = d->t.csum_at, .mss = d->t.mss, .header_bytes = d->t.header_bytes,
		.bell = true, .done = slot_done, .ctx = d,
	};
	int err;

	memcpy(segs + 1, d->t.segs, d->t.n * sizeof(segs[0]));
	err = s->card->ops->tx(s->card, &tx);
	if (err == -ENOBUFS)
		return err;
	*bytes = d->bytes;
	s->qhead = (s->qhead + 1) % SHARE_TX_SLOTS;
	s->qcount--;
	if (err) {
		s->n.tx_bad++;
		slot_done(d);
		return 0;
	}
	s->n.tx_guest++;
	s->n.tx_guest_bytes += d->bytes;
	return 0;
}

static int send_vmm(struct share *s, u32 *bytes)
{
	struct vmm_frame *f = &s->vq[s->vhead];
	int err = s->card->ops->tx(s->card, &f->tx);

	if (err == -ENOBUFS)
		return err;
	*bytes = f->bytes;
	s->vhead = (s->vhead + 1) % VMM_QUEUE;
	s->vcount--;
	if (err) {
		s->n.tx_bad++;
		f->tx.done(f->tx.ctx);
		return 0;
	}
	s->n.tx_vmm++;
	s->n.tx_vmm_bytes += f->bytes;
	return 0;
}

static void send_all(struct share *s)
{
	while (s->qcount || s->vcount) {
		enum user u = s->turn;
		u32 bytes, most;

		if (!waiting(s, u)) {
			s->deficit[u] = 0; /* who has nothing to send saves nothing up */
			s->turn = !u;
			continue;
		}
		if (s->deficit[u] <= 0 && waiting(s, !u)) {
			s->deficit[u] += QUANTUM_BYTES;
			s->turn = !u;
			continue;
		}
		if ((u == GUEST ? send_guest : send_vmm)(s, &bytes))
			return;
		/* who had the wire for itself owes a frame at most */
		most = MAX((u32)QUANTUM_BYTES, bytes);
		s->deficit[u] = MAX(s->deficit[u] - (s64)bytes, -(s64)most);
	}
}

/* done() of a refused frame may bring the next: one loop, no recursion. */
static void tx_push(struct share *s)
{
	s->more = true;
	if (s->sending)
		return;
	s->sending = true;
	while (s->more) {
		s->more = false;
		send_all(s);
	}
	s->sending = false;
}

/* ---------------------------------------------------------------- the VMM's side */

static struct share *of_vmm(struct netif_dev *d)
{
	return container_of(d, struct share, vmm);
}

static int vmm_tx(struct netif_dev *d, const struct netif_tx *t)
{
	struct share *s = of_vmm(d);
	struct vmm_frame *f;

	if (!t->n || t->n > NETIF_TX_SEGS_MAX)
		return -EINVAL;
	if (s->vcount == VMM_QUEUE) {
		s->n.tx_vmm_refused++;
		return -ENOBUFS;
	}
	f = &s->vq[(s->vhead + s->vcount++) % VMM_QUEUE];
	f->tx = *t;
	f->bytes = 0;
	for (u32 i = 0; i < t->n; i++) {
		f->segs[i] = t->segs[i];
		f->bytes += t->segs[i].bytes;
	}
	f->tx.segs = f->segs;
	tx_push(s);
	return 0;
}

static u32 vmm_poll(struct netif_dev *d,
		    void (*input)(void *ctx, const void *frame, u32 bytes, bool csum_ok), void *ctx)
{
	struct share *s = of_vmm(d);

	s->vmm_input = input;
	s->vmm_input_ctx = ctx;
	return share_poll(s);
}

static bool vmm_link_up(struct netif_dev *d)
{
	return share_link(of_vmm(d), NULL);
}

static const struct netif_ops vmm_ops = {
	.tx = vmm_tx,
	.poll = vmm_poll,
	.link_up = vmm_link_up,
};

struct netif_dev *share_netif(struct share *s)
{
	return &s->vmm;
}

void share_vmm(struct share *s, const struct sorter_vmm *vmm)
{
	s->sorter.vmm = vmm;
}

/* ---------------------------------------------------------------- the guest's side */

void share_attach(struct share *s, const struct share_port_ops *ops, void *ctx)
{
	s->ops = ops;
	s->ctx = ctx;
	s->link = share_link(s, &s->mbps);
}

void share_tx_flush(struct share *s)
{
	u32 n = s->qcount;

	s->wants_room = false;
	while (n--) {
		struct slot *d = &s->slots[s->queue[s->qhead]];

		s->qhead = (s->qhead + 1) % SHARE_TX_SLOTS;
		s->qcount--;
		slot_done(d);
	}
}

void share_detach(struct share *s)
{
	share_tx_flush(s);
	s->ops = NULL;
	share_filter(s, &(struct netif_filter){ 0 });
}

u32 share_tx_busy(const struct share *s)
{
	return SHARE_TX_SLOTS - s->nfree;
}

struct share_tx *share_tx_get(struct share *s)
{
	struct slot *d;

	if (!s->nfree) {
		s->wants_room = true;
		s->n.tx_guest_waits++;
		return NULL;
	}
	d = &s->slots[s->free[--s->nfree]];
	d->t = (struct share_tx){ .head = d->t.head };
	return &d->t;
}

static u64 sum_bytes(u64 sum, const u8 *p, u32 n, bool *odd)
{
	for (u32 i = 0; i < n; i++, *odd = !*odd)
		sum += *odd ? p[i] : (u32)p[i] << 8;
	return sum;
}

/* The head has a plain IPv4 header, and what is summed begins behind it: its length; else 0. */
static u32 ipv4_bytes(const struct share_tx *t)
{
	const u8 *ip = t->head + NETIF_HEAD_BYTES;
	u32 bytes;

	if (t->head_bytes < NETIF_HEAD_BYTES + IP_HEAD_MIN ||
	    get_be16(t->head + ETH_TYPE_AT) != ETH_IPV4 || ip[0] >> 4 != 4)
		return 0;
	bytes = (ip[0] & 15) * 4u;
	return bytes >= IP_HEAD_MIN && t->csum_start == NETIF_HEAD_BYTES + bytes ? bytes : 0;
}

/* Frames that are made longer have more than what their headers speak of: not those. */
static bool card_sums(const struct share *s, const struct share_tx *t, u32 total)
{
	u8 proto = t->head[NETIF_HEAD_BYTES + 9];

	return s->card->features & NETIF_CSUM && total >= FRAME_MIN && ipv4_bytes(t) &&
	       (proto == IP_TCP || proto == IP_UDP);
}

/*
 * May the card cut it? Then its header is made as the card wants it. What fits
 * into one segment is an ordinary frame.
 */
static bool cut(struct share *s, struct share_tx *t, u32 total)
{
	u8 *ip = t->head + NETIF_HEAD_BYTES, *tcp = t->head + t->csum_start;
	u32 ip_bytes = ipv4_bytes(t), sum = IP_TCP;

	if (!(s->card->features & NETIF_TSO) || !ip_bytes || ip[9] != IP_TCP ||
	    get_be16(ip + 6) & 0x3fff || t->csum_at != t->csum_start + TCP_SUM_AT ||
	    t->csum_start + TCP_HEAD_MIN > t->head_bytes)
		return false;
	t->header_bytes = (u16)(t->csum_start + (tcp[12] >> 4) * 4u);
	if (t->header_bytes < t->csum_start + TCP_HEAD_MIN || t->header_bytes > t->head_bytes ||
	    t->header_bytes >= total || t->header_bytes + t->mss > NETIF_FRAME_MAX)
		return false;
	if (total - t->header_bytes <= t->mss) {
		t->mss = 0;
		return t->n <= SHARE_SEGS_MAX;
	}
	for (u32 i = 12; i < IP_HEAD_MIN; i += 2)
		sum += get_be16(ip + i);
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	tcp[TCP_SUM_AT] = (u8)(sum >> 8);
	tcp[TCP_SUM_AT + 1] = (u8)sum;
	ip[2] = ip[3] = ip[10] = ip[11] = 0;
	return true;
}

/* What the card cannot do: the frame's sum from csum_start to its end, into the head. */
static void checksum(struct share *s, struct share_tx *t)
{
	u64 sum;
	bool odd = false;

	sum = sum_bytes(0, t->head + t->csum_start, t->head_bytes - t->csum_start, &odd);
	for (u32 i = 0; i < t->n; i++)
		sum = sum_bytes(sum, plat_phys_to_virt(t->segs[i].pa), t->segs[i].bytes, &odd);
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	sum = ~sum & 0xffff;
	/* as TCP and UDP send a sum of 0 [RFC 768] */
	if (!sum)
		sum = 0xffff;
	t->head[t->csum_at] = (u8)(sum >> 8);
	t->head[t->csum_at + 1] = (u8)sum;
	t->csum_start = t->csum_at = 0;
	s->n.tx_csum_software++;
}

/* May it go out? Then it is as the card wants it, and *total its length. */
static bool acceptable(struct share *s, struct share_tx *t, u32 *total)
{
	u32 most = t->mss ? NETIF_CUT_MAX : NETIF_FRAME_MAX;

	*total = t->head_bytes;
	if (t->head_bytes < NETIF_HEAD_BYTES || t->head_bytes > SHARE_HEAD_ROOM ||
	    t->n > (t->mss ? SHARE_CUT_SEGS_MAX : SHARE_SEGS_MAX) ||
	    (t->n && t->head_bytes < SHARE_HEAD_MIN)) {
		s->n.tx_bad++;
		return false;
	}
	for (u32 i = 0; i < t->n; i++) {
		if (!t->segs[i].bytes || t->segs[i].bytes > most) {
			s->n.tx_bad++;
			return false;
		}
		*total += t->segs[i].bytes;
	}
	if (*total > most) {
		s->n.tx_oversize++;
		return false;
	}
	if (t->csum_at && (t->csum_at < t->csum_start || t->csum_start < NETIF_HEAD_BYTES ||
			   t->csum_at + 2u > t->head_bytes)) {
		s->n.tx_bad++;
		return false;
	}
	if (sorter_tx_spoofed(&s->sorter, t->head, t->head_bytes)) {
		s->n.tx_spoofed++;
		log_limited(LOG_WARN, "share: guest frame with the VMM's address dropped");
		return false;
	}
	if (t->mss && !cut(s, t, *total)) {
		s->n.tx_bad++;
		return false;
	}
	return true;
}

void share_tx_put(struct share *s, struct share_tx *t)
{
	struct slot *d = container_of(t, struct slot, t);

	if (!acceptable(s, t, &d->bytes)) {
		slot_done(d);
		return;
	}
	if (t->csum_at && !t->mss && !card_sums(s, t, d->bytes))
		checksum(s, t);
	if (d->bytes < FRAME_MIN) { /* then it is all in the head */
		memset(t->head + d->bytes, 0, FRAME_MIN - d->bytes);
		t->head_bytes = d->bytes = FRAME_MIN;
	}
	s->queue[(s->qhead + s->qcount++) % SHARE_TX_SLOTS] = (u16)(d - s->slots);
	tx_push(s);
}

void share_tx_drop(struct share *s, struct share_tx *t)
{
	(void)s;
	t->done = NULL;
	slot_done(container_of(t, struct slot, t));
}

void share_filter(struct share *s, const struct netif_filter *f)
{
	if (s->card->ops->filter)
		s->card->ops->filter(s->card, f);
}

bool share_link(struct share *s, u32 *mbps)
{
	bool up = s->card->ops->link_up(s->card);

	if (mbps)
		*mbps = up && s->card->ops->link_mbps ? s->card->ops->link_mbps(s->card) :
			up ? 1000 : 0;
	return up;
}

u32 share_features(const struct share *s)
{
	return s->card->features;
}

const u8 *share_mac(const struct share *s)
{
	return s->card->mac;
}

/* ---------------------------------------------------------------- both */

static void input(void *ctx, const void *frame, u32 bytes, bool csum_ok)
{
	struct share *s = ctx;
	u32 to;

	if (bytes < NETIF_HEAD_BYTES) {
		s->n.rx_dropped++;
		return;
	}
	to = s->ops ? sorter_rx(&s->sorter, frame, bytes) : SORTER_VMM;
	if (to & SORTER_GUEST) {
		s->n.rx_guest++;
		s->n.rx_guest_lost += !s->ops->rx(s->ctx, frame, bytes, csum_ok);
	}
	if (to & SORTER_VMM && s->vmm_input) {
		s->n.rx_vmm++;
		s->vmm_input(s->vmm_input_ctx, frame, bytes, csum_ok);
	}
}

static void watch_link(struct share *s)
{
	u32 mbps = s->mbps;
	bool up = s->card->ops->link_up(s->card);

	if (up == s->link)
		return;
	s->link = share_link(s, &mbps);
	s->mbps = mbps;
	if (s->ops)
		s->ops->link(s->ctx);
}

u32 share_poll(struct share *s)
{
	u32 n = s->card->ops->poll(s->card, input, s);

	tx_push(s);
	watch_link(s);
	if (s->wants_room && s->nfree && s->ops) {
		s->wants_room = false;
		s->ops->tx_room(s->ctx);
	}
	return n;
}

const struct share_counters *share_counters(const struct share *s)
{
	return &s->n;
}

int share_create(struct netif_dev *card, struct share **out)
{
	struct share *s = plat_alloc(sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->heads = plat_alloc(SHARE_TX_SLOTS * SHARE_HEAD_ROOM);
	if (!s->heads) {
		plat_free(s);
		return -ENOMEM;
	}
	s->card = card;
	s->vmm.ops = &vmm_ops;
	s->vmm.irq = card->irq;
	s->vmm.name = card->name;
	memcpy(s->vmm.mac, card->mac, 6);
	memcpy(s->sorter.mac, card->mac, 6);
	for (u32 i = 0; i < SHARE_TX_SLOTS; i++) {
		struct slot *d = &s->slots[i];

		d->s = s;
		d->t.head = s->heads + i * SHARE_HEAD_ROOM;
		d->head_pa = plat_virt_to_phys(d->t.head);
		s->free[s->nfree++] = (u16)i;
	}
	*out = s;
	return 0;
}

void share_destroy(struct share *s)
{
	plat_free(s->heads);
	plat_free(s);
}
