/*
 * e1000e_tx.c - frames from the guest: the transmit ring, checksums, segmentation
 *
 * Descriptors are copied in one by one and gathered until one says that the
 * frame ends; then the frame goes to the share, when it has a slot:
 *
 *	gathering -> held (whole, waits for a slot) -> gathering
 *
 * The first bytes are copied, the rest is handed on where it lies, as long as
 * there are few enough pieces; its descriptors are written back when the real
 * card has sent it. A frame in many pieces, or of which we compute something
 * beyond the first bytes, is copied whole and written back at once. TCP
 * segmentation copies: each segment has a header of its own.
 *
 * After a reset of the guest's card frames under way are nobody's: the ring may
 * have become other memory. A generation tells.
 *
 * Whatever makes no sense (no end, too long, too short, a header that is not in
 * the frame, memory that is none) costs the frame; its descriptors are done.
 * A ring that makes no sense does nothing until it is set up again.
 * [82574 §7.2]
 */
#include <string.h>

#include "base/endian.h"
#include "net/emul/e1000e_priv.h"

#define RUN_DESCS 256u /* in one visit */
#define TAG_BYTES 4u
#define TCP_FIN_PSH 0x09u

/* ---------------------------------------------------------------- pieces */

/* Copy @bytes from @from on out of the gathered pieces. */
static bool pieces_copy(struct e1000e_emul *e, u32 from, u32 bytes, u8 *to)
{
	for (u32 i = 0; i < e->tx.n && bytes; i++) {
		u32 have = e->tx.part[i].bytes, n;

		if (from >= have) {
			from -= have;
			continue;
		}
		n = MIN(have - from, bytes);
		if (e->cfg.host->ops->read(e->cfg.host, GPA(e->tx.part[i].gpa + from), to, n))
			return false;
		to += n;
		bytes -= n;
		from = 0;
	}
	return !bytes;
}

/* The pieces from @from on as host memory; false: too many, or no memory. */
static bool pieces_map(struct e1000e_emul *e, u32 from, struct share_tx *t)
{
	t->n = 0;
	for (u32 i = 0; i < e->tx.n; i++) {
		u32 have = e->tx.part[i].bytes;
		struct netif_seg *s = &t->segs[t->n];

		if (from >= have) {
			from -= have;
			continue;
		}
		if (t->n == SHARE_SEGS_MAX ||
		    e->cfg.host->ops->map(e->cfg.host, GPA(e->tx.part[i].gpa + from), have - from,
					  &s->pa))
			return false;
		s->bytes = have - from;
		t->n++;
		from = 0;
	}
	return true;
}

/* ---------------------------------------------------------------- descriptors done */

static void back_one(struct e1000e_emul *e, u16 desc)
{
	u64 base = R(e, E1000_TDBAL) | (u64)R(e, E1000_TDBAH) << 32;
	u8 status = E1000_TXD_DD;

	(void)e->cfg.host->ops->write(e->cfg.host, GPA(base + 16ull * desc + 12), &status, 1);
}

static void backs_now(struct e1000e_emul *e, const u16 *back, u32 n)
{
	for (u32 i = 0; i < n; i++)
		back_one(e, back[i]);
	if (n)
		emul_cause(e, E1000_INT_TXDW | E1000_INT_TXQ0);
}

static void flight_done(void *ctx)
{
	struct tx_flight *f = ctx;
	struct e1000e_emul *e = f->e;

	f->e = NULL;
	if (f->generation == e->generation)
		backs_now(e, f->back, f->n);
}

static void copied_done(void *ctx)
{
	(void)ctx;
}

/* There are as many as slots: one is free when a slot was. */
static struct tx_flight *flight_get(struct e1000e_emul *e)
{
	for (u32 i = 0; i < SHARE_TX_SLOTS; i++) {
		struct tx_flight *f = &e->flight[e->flight_next++ % SHARE_TX_SLOTS];

		if (!f->e)
			return f;
	}
	return NULL;
}

/* The frame has been dealt with: the next may be gathered. */
static void gather_end(struct e1000e_emul *e)
{
	memset(&e->tx, 0, offsetof(struct tx_gather, part));
	e->tx_held = false;
	e->tso_at = 0;
}

/* ---------------------------------------------------------------- checksums */

static u16 sum16(const u8 *p, u32 bytes, u32 sum)
{
	u32 i;

	for (i = 0; i + 1 < bytes; i += 2)
		sum += (u32)p[i] << 8 | p[i + 1];
	if (i < bytes)
		sum += (u32)p[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (u16)sum;
}

static void put_be16(u8 *p, u16 v)
{
	p[0] = (u8)(v >> 8);
	p[1] = (u8)v;
}

static void put_be32(u8 *p, u32 v)
{
	put_be16(p, (u16)(v >> 16));
	put_be16(p + 2, (u16)v);
}

/* Insert the sum of @from up to @end (inclusive; 0: all), at @at; what is outside is not done. */
static void insert_sum(u8 *head, u32 bytes, u32 from, u32 at, u32 end)
{
	u32 to = end && end < bytes ? end + 1 : bytes;

	if (from >= to || at + 2 > bytes)
		return;
	put_be16(head + at, (u16)~sum16(head + from, to - from, 0));
}

/* ---------------------------------------------------------------- one frame */

struct sums {
	bool ip, l4;
	u32 ip_from, ip_at, ip_end;
	u32 from, at, end;
};

static struct sums sums_of(struct e1000e_emul *e)
{
	const struct e1000_tx_context *c = &e->context;
	struct sums s = { 0 };

	if (e->tx.extended) {
		s.ip = e->tx.popts & E1000_TXX_IXSM;
		s.ip_from = c->ipcss;
		s.ip_at = c->ipcso;
		s.ip_end = c->ipcse;
		s.l4 = e->tx.popts & E1000_TXX_TXSM;
		s.from = c->tucss;
		s.at = c->tucso;
		s.end = c->tucse;
	} else if (e->tx.cso) {
		s.l4 = true;
		s.from = e->tx.css;
		s.at = e->tx.cso;
	}
	/* 0 would mean none further on, and is nowhere that a checksum starts */
	if (s.from >= e->tx.bytes || s.at + 2 > e->tx.bytes || !s.from || s.at < s.from)
		s.l4 = false;
	return s;
}

static void tag_insert(struct e1000e_emul *e, struct share_tx *t)
{
	memmove(t->head + 12 + TAG_BYTES, t->head + 12, t->head_bytes - 12);
	put_be16(t->head + 12, (u16)R(e, E1000_VET));
	put_be16(t->head + 14, e->tx.vlan);
	t->head_bytes += TAG_BYTES;
	if (t->csum_start) {
		t->csum_start = (u16)(t->csum_start + TAG_BYTES);
		t->csum_at = (u16)(t->csum_at + TAG_BYTES);
	}
}

static void count(struct e1000e_emul *e, const u8 *head, u32 bytes)
{
	static const u8 all[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };

	emul_count(e, 0x4080, 1); /* GPTC */
	emul_count(e, 0x40d4, 1); /* TPT */
	emul_count_octets(e, 0x4090, bytes + 4); /* GOTC */
	emul_count_octets(e, 0x40c8, bytes + 4); /* TOT */
	emul_count_size(e, 0x40d8, bytes + 4); /* PTC64... */
	if (!memcmp(head, all, 6))
		emul_count(e, 0x40f4, 1); /* BPTC */
	else if (head[0] & 1)
		emul_count(e, 0x40f0, 1); /* MPTC */
	e->n.tx_frames++;
}

static void frame_bad(struct e1000e_emul *e)
{
	e->n.tx_bad++;
	backs_now(e, e->tx.back, e->tx.backs);
	gather_end(e);
}

/* Fill the slot with the frame; false: it cannot be. @whole: it was copied. */
static bool frame_fill(struct e1000e_emul *e, struct share_tx *t, bool *whole)
{
	struct sums s = sums_of(e);
	u32 bytes = e->tx.bytes, head = MIN(bytes, SHARE_HEAD_MIN);
	bool all = e->tx.more_backs || bytes <= head ||
		   (s.ip && (s.ip_at + 2 > head || !s.ip_end || s.ip_end >= head)) ||
		   (s.l4 && (s.at + 2 > head || (s.end && s.end + 1 < bytes)));

	t->csum_start = t->csum_at = 0;
	if (!all && !pieces_map(e, head, t))
		all = true;
	if (all) {
		head = bytes;
		t->n = 0;
	}
	t->head_bytes = head;
	if (!pieces_copy(e, 0, head, t->head))
		return false;
	if (s.ip)
		insert_sum(t->head, head, s.ip_from, s.ip_at, s.ip_end);
	if (s.l4 && s.end && s.end + 1 < bytes) {
		insert_sum(t->head, head, s.from, s.at, s.end);
	} else if (s.l4) {
		t->csum_start = (u16)s.from;
		t->csum_at = (u16)s.at;
	}
	*whole = all;
	return true;
}

/*
 * A slot that was got must be put: a frame that cannot be filled is put empty,
 * which the share refuses.
 */
static void slot_waste(struct e1000e_emul *e, struct share_tx *t)
{
	t->head_bytes = t->n = 0;
	t->csum_start = t->csum_at = 0;
	t->done = copied_done;
	t->ctx = e;
	share_tx_put(e->cfg.share, t);
}

static void frame_put(struct e1000e_emul *e, struct share_tx *t, bool whole)
{
	u16 back[TX_BACK_MAX];
	u32 backs = e->tx.backs, bytes = e->tx.bytes;
	struct tx_flight *f = whole ? NULL : flight_get(e);

	if (e->tx.tag) {
		tag_insert(e, t);
		bytes += TAG_BYTES;
	}
	count(e, t->head, bytes);
	memcpy(back, e->tx.back, sizeof(back));
	gather_end(e);
	if (f) {
		*f = (struct tx_flight){ .e = e, .generation = e->generation, .n = backs };
		memcpy(f->back, back, sizeof(back));
		t->done = flight_done;
		t->ctx = f;
		share_tx_put(e->cfg.share, t);
		return;
	}
	e->n.tx_copied++;
	t->done = copied_done;
	t->ctx = e;
	share_tx_put(e->cfg.share, t);
	backs_now(e, back, backs);
}

/* False: no slot. */
static bool frame_send(struct e1000e_emul *e)
{
	u32 bytes = e->tx.bytes + (e->tx.tag ? TAG_BYTES : 0);
	struct share_tx *t;
	bool whole;

	if (e->tx.bad || e->tx.bytes < NETIF_HEAD_BYTES || bytes > NETIF_FRAME_MAX) {
		frame_bad(e);
		return true;
	}
	t = share_tx_get(e->cfg.share);
	if (!t)
		return false;
	if (!frame_fill(e, t, &whole)) {
		slot_waste(e, t);
		frame_bad(e);
		return true;
	}
	frame_put(e, t, whole);
	return true;
}

/* ---------------------------------------------------------------- segmentation */

static bool tso_ok(struct e1000e_emul *e)
{
	const struct e1000_tx_context *c = &e->context;
	u32 h = c->header_bytes, ip = c->cmd & E1000_TXC_IP4 ? 20 : 40;
	u32 l4 = c->cmd & E1000_TXC_TCP ? 20 : 8;

	return !e->tx.bad && c->mss && h >= NETIF_HEAD_BYTES && e->tx.bytes > h &&
	       h + c->mss + (e->tx.tag ? TAG_BYTES : 0) <= NETIF_FRAME_MAX &&
	       c->ipcss + ip <= h && c->tucss + l4 <= h && c->tucss >= c->ipcss + ip &&
	       c->tucso >= c->tucss && c->tucso + 2u <= h && c->ipcso + 2u <= h;
}

/* What differs from segment to segment: lengths, numbers, flags, sums. */
static void tso_header(struct e1000e_emul *e, u8 *h, u32 at, u32 bytes, bool last)
{
	const struct e1000_tx_context *c = &e->context;
	u32 total = c->header_bytes + bytes;
	u8 *ip = h + c->ipcss, *l4 = h + c->tucss;
	u32 l4_bytes = total - c->tucss;

	if (c->cmd & E1000_TXC_IP4) {
		put_be16(ip + 2, (u16)(total - c->ipcss));
		put_be16(ip + 4, (u16)(get_be16(ip + 4) + at / c->mss));
	} else {
		put_be16(ip + 4, (u16)(total - c->ipcss - 40));
	}
	if (c->cmd & E1000_TXC_TCP) {
		put_be32(l4 + 4, get_be32(l4 + 4) + at);
		if (!last)
			l4[13] &= (u8)~TCP_FIN_PSH;
	} else {
		put_be16(l4 + 4, (u16)l4_bytes);
	}
	if (e->tx.popts & E1000_TXX_IXSM)
		insert_sum(h, c->header_bytes, c->ipcss, c->ipcso, c->ipcse);
	/* the guest's sum of the pseudo header lacks the length */
	if (e->tx.popts & E1000_TXX_TXSM)
		put_be16(h + c->tucso, sum16(h + c->tucso, 2, l4_bytes));
}

/* False: no slot. */
static bool tso_send(struct e1000e_emul *e)
{
	const struct e1000_tx_context *c = &e->context;
	u32 h = c->header_bytes;

	if (!tso_ok(e) || (!e->tso_at && !pieces_copy(e, 0, h, e->tso_header))) {
		frame_bad(e);
		return true;
	}
	while (e->tso_at < e->tx.bytes - h) {
		u32 left = e->tx.bytes - h - e->tso_at, n = MIN(left, (u32)c->mss);
		struct share_tx *t = share_tx_get(e->cfg.share);

		if (!t)
			return false;
		memcpy(t->head, e->tso_header, h);
		if (!pieces_copy(e, h + e->tso_at, n, t->head + h)) {
			slot_waste(e, t);
			frame_bad(e);
			return true;
		}
		tso_header(e, t->head, e->tso_at, n, n == left);
		t->head_bytes = h + n;
		t->n = 0;
		t->csum_start = t->csum_at = 0;
		if (e->tx.popts & E1000_TXX_TXSM) {
			t->csum_start = c->tucss;
			t->csum_at = c->tucso;
		}
		if (e->tx.tag)
			tag_insert(e, t);
		t->done = copied_done;
		t->ctx = e;
		e->tso_at += n;
		e->n.tx_copied++;
		count(e, t->head, t->head_bytes);
		share_tx_put(e->cfg.share, t);
	}
	backs_now(e, e->tx.back, e->tx.backs);
	gather_end(e);
	return true;
}

/* ---------------------------------------------------------------- the ring */

static void gather_back(struct e1000e_emul *e, u16 desc)
{
	if (e->tx.backs < TX_BACK_MAX) {
		e->tx.back[e->tx.backs++] = desc;
		return;
	}
	/* never in practice: this one is done early, the frame is copied whole */
	e->tx.more_backs = true;
	back_one(e, desc);
}

static void gather_add(struct e1000e_emul *e, u64 gpa, u32 bytes)
{
	struct tx_gather *g = &e->tx;

	if (g->n == TX_PARTS_MAX || g->bytes + bytes > TX_BYTES_MAX)
		g->bad = true;
	if (g->bad || !bytes)
		return;
	g->part[g->n].gpa = gpa;
	g->part[g->n++].bytes = bytes;
	g->bytes += bytes;
}

static void legacy(struct e1000e_emul *e, const struct e1000_tx_desc *d)
{
	struct tx_gather *g = &e->tx;

	if (!g->started) {
		g->started = true;
		g->css = d->css;
		g->cso = d->cmd & E1000_TXD_IC ? d->cso : 0;
		g->tag = d->cmd & E1000_TXD_VLE && R(e, E1000_CTRL) & E1000_CTRL_VME;
		g->vlan = d->special;
	}
	gather_add(e, d->addr, d->bytes);
}

static void data(struct e1000e_emul *e, const struct e1000_tx_data *d, u8 cmd)
{
	struct tx_gather *g = &e->tx;

	if (!g->started) {
		g->started = true;
		g->extended = true;
		g->segment = cmd & E1000_TXD_TSE;
		g->popts = d->popts;
		g->tag = cmd & E1000_TXD_VLE && R(e, E1000_CTRL) & E1000_CTRL_VME;
		g->vlan = d->special;
	}
	gather_add(e, d->addr, FIELD_GET(E1000_TXX_BYTES, d->cmd));
}

/* One descriptor, by our copy. */
static void take(struct e1000e_emul *e, const u8 *raw, u16 index)
{
	u32 word = get_le32(raw + 8);
	u8 cmd = (u8)FIELD_GET(E1000_TXX_CMD, word);
	bool context = cmd & E1000_TXD_DEXT && FIELD_GET(E1000_TXX_TYPE, word) == E1000_TXX_CONTEXT;

	if (context) {
		/* in the middle of a frame it would change what has begun */
		if (!e->tx.started)
			memcpy(&e->context, raw, sizeof(e->context));
		if (cmd & E1000_TXD_RS)
			backs_now(e, &index, 1);
		return;
	}
	if (cmd & E1000_TXD_DEXT)
		data(e, (const void *)raw, cmd);
	else
		legacy(e, (const void *)raw);
	if (cmd & E1000_TXD_RS)
		gather_back(e, index);
	e->tx_held = cmd & E1000_TXD_EOP;
}

/* The next descriptor; false: there is none. */
static bool fetch(struct e1000e_emul *e)
{
	u32 n = R(e, E1000_TDLEN) / 16, head = R(e, E1000_TDH);
	u32 tail = __atomic_load_n(emul_reg(e, E1000_TDT), __ATOMIC_ACQUIRE);
	u64 base = R(e, E1000_TDBAL) | (u64)R(e, E1000_TDBAH) << 32;
	u8 raw[16] __attribute__((aligned(8)));

	if (!(R(e, E1000_TCTL) & E1000_TCTL_EN) || head >= n || tail >= n || head == tail)
		return false;
	if (e->cfg.host->ops->read(e->cfg.host, GPA(base + 16ull * head), raw, sizeof(raw)))
		return false;
	R(e, E1000_TDH) = (head + 1) % n;
	take(e, raw, (u16)head);
	return true;
}

static bool run(struct e1000e_emul *e)
{
	u32 done = 0;

	for (;;) {
		if (e->tx_held && !(e->tx.segment ? tso_send(e) : frame_send(e)))
			return false; /* tx_room() goes on */
		if (done++ == RUN_DESCS)
			return true;
		if (!fetch(e))
			break;
	}
	if (done > 1)
		emul_cause(e, E1000_INT_TXQE);
	return false;
}

/**
 * emul_tx_run() - send what the guest has put into the ring
 *
 * Return: true: there may be more than one visit should do.
 */
bool emul_tx_run(struct e1000e_emul *e)
{
	bool more;

	if (e->tx_running)
		return true; /* from below share_tx_put(): the one above goes on */
	e->tx_running = true;
	more = run(e);
	e->tx_running = false;
	return more;
}
