/*
 * stack.c - lwIP over one network card, advanced by polling
 *
 * Between a struct netif_dev (frames) and lwIP (pbufs), plus lwIP's timers.
 *
 * Receive: the frame is copied once, into a pool buffer, and waits there for
 * stack_poll(): the card may be polled oftener than that, for its other user
 * (share.h). When the pool is empty the frame is dropped and TCP sends it
 * again. A frame whose checksums the card verified is not summed again: the
 * check flags of the interface are set per frame, which is sound because lwIP's
 * input is synchronous.
 *
 * Answers: to ARP, to pings if wanted, and on connections that we opened. lwIP
 * sees nothing else, so that nobody gets a reset or an "unreachable" out of it.
 *
 * Transmit: the pbuf's segments go to the card as they are; the reference
 * taken here is dropped when the card has sent them, and lwIP does not touch
 * a segment that somebody else still refers to.
 *
 * Timers: instead of lwIP's list of cyclic timers, four fixed ones that run
 * only while they have a purpose: TCP's while connections exist, DHCP's fine
 * one while a lease is negotiated, ARP's and DHCP's coarse ones by the
 * minute. An idle machine is left alone for a minute at a time.
 *
 * The lease is asked for with a client identifier of our own [RFC 2132
 * §9.14], so that the guest, with the same MAC, gets another one.
 */
#include "net/stack/stack.h"

#include <string.h>

#include "base/endian.h"
#include "base/err.h"
#include "base/fmt.h"
#include "base/log.h"
#include "base/plat.h"
#include "lwip/dhcp.h"
#include "lwip/etharp.h"
#include "lwip/init.h"
#include "lwip/icmp.h"
#include "lwip/netif.h"
#include "lwip/pbuf.h"
#include "lwip/priv/tcp_priv.h"
#include "lwip/prot/dhcp.h"
#include "lwip/prot/iana.h"
#include "lwip/prot/icmp.h"
#include "lwip/prot/tcp.h"
#include "lwip/prot/udp.h"
#include "lwip/sys.h"
#include "lwip/timeouts.h"
#include "netif/ethernet.h"
#include "net/stack/port/hooks.h"

#define IDLE_NS (60 * NS_PER_SEC)
/* Timers run late by this much at most before the missed rounds are skipped. */
#define CATCH_UP_MAX 240
/* 68 bytes [RFC 791 §3.2] without the headers of IP and TCP. */
#define TCP_MSS_LEAST 28

struct timer {
	u64 period_ns;
	void (*run)(void);
	bool (*wanted)(void);
	bool idle_slack; /* rounds may be late, and are made up for */
	u64 next_ns;
	bool on;
};

static bool tcp_wanted(void)
{
	return tcp_active_pcbs || tcp_tw_pcbs;
}

static struct {
	struct netif netif;
	struct netif_dev *dev;
	bool inited, started, dhcp, deaf;
	bool link;
	u32 ip;
	struct {
		struct pbuf *p;
		bool csum_ok;
	} in[PBUF_POOL_SIZE]; /* received, lwIP has not seen it */
	u32 in_head, in_count;
	struct stack_counters n;
} st;

static bool dhcp_wanted(void)
{
	return st.started && st.dhcp;
}

static bool dhcp_negotiates(void)
{
	const struct dhcp *d = netif_dhcp_data(&st.netif);

	return dhcp_wanted() && st.link && d && d->state != DHCP_STATE_BOUND;
}

static bool always(void)
{
	return st.started;
}

/*
 * lwIP keeps the persist timer on when all that waited was retransmitted and
 * then acknowledged together with a window of zero; its next tick asserts that
 * there is something to send. Such a timer has nothing to do: off with it.
 */
static void tcp_tick(void)
{
	for (struct tcp_pcb *p = tcp_active_pcbs; p; p = p->next)
		if (p->persist_backoff && (!p->unsent || p->unacked))
			p->persist_backoff = 0;
	tcp_tmr();
}

static struct timer timers[] = {
	{ TCP_TMR_INTERVAL * NS_PER_MS, tcp_tick, tcp_wanted, false, 0, false },
	{ DHCP_FINE_TIMER_MSECS * NS_PER_MS, dhcp_fine_tmr, dhcp_negotiates, false, 0, false },
	{ DHCP_COARSE_TIMER_MSECS * NS_PER_MS, dhcp_coarse_tmr, dhcp_wanted, true, 0, false },
	{ ARP_TMR_INTERVAL * NS_PER_MS, etharp_tmr, always, true, 0, false },
};

/* ---------------------------------------------------------------- lwIP asks */

u32_t sys_now(void)
{
	return (u32_t)(plat_time_ns() / NS_PER_MS);
}

/* lwIP's own timer list is compiled out; these are what is left of it. */
void sys_timeouts_init(void)
{
}

/** tcp_timer_needed() - called by lwIP when a connection appears */
void tcp_timer_needed(void)
{
	if (!timers[0].on) {
		timers[0].on = true;
		timers[0].next_ns = plat_time_ns() + timers[0].period_ns;
	}
}

/**
 * stack_dhcp_append() - lwIP's hook: our client identifier into every message
 *
 * Type 0 (no hardware type), "freshet", then the MAC: stable over reboots and
 * never what a guest's client sends.
 */
void stack_dhcp_append(struct netif *n, struct dhcp_msg *msg, u16 *len)
{
	static const u8 head[] = { DHCP_OPTION_CLIENT_ID, 1 + 7 + 6, 0, 'f', 'r', 'e', 's',
				   'h', 'e', 't' };
	u32 at = *len;

	if (at + sizeof(head) + 6 + 1 > DHCP_OPTIONS_LEN)
		return;
	memcpy(&msg->options[at], head, sizeof(head));
	memcpy(&msg->options[at + sizeof(head)], n->hwaddr, 6);
	*len = (u16)(at + sizeof(head) + 6);
}

/* ---------------------------------------------------------------- frames */

static void tx_done(void *ctx)
{
	pbuf_free(ctx);
}

static int tx_pbuf(struct pbuf *p)
{
	struct netif_seg segs[NETIF_TX_SEGS_MAX];
	struct netif_tx t = { .segs = segs, .done = tx_done, .ctx = p };
	int err;

	for (struct pbuf *q = p; q; q = q->next) {
		if (!q->len)
			continue;
		segs[t.n].pa = plat_virt_to_phys(q->payload);
		segs[t.n++].bytes = q->len;
	}
	pbuf_ref(p);
	err = st.dev->ops->tx(st.dev, &t);
	if (err)
		pbuf_free(p);
	return err;
}

static u32 pbuf_segs(const struct pbuf *p)
{
	u32 n = 0;

	for (; p; p = p->next)
		n += p->len != 0;
	return n;
}

static err_t link_output(struct netif *n, struct pbuf *p)
{
	struct pbuf *copy = NULL;
	int err;

	(void)n;
	if (pbuf_segs(p) > NETIF_TX_SEGS_MAX) {
		copy = pbuf_clone(PBUF_RAW, PBUF_RAM, p);
		if (!copy)
			return ERR_MEM;
		st.n.tx_copied++;
	}
	err = tx_pbuf(copy ? copy : p);
	if (copy)
		pbuf_free(copy);
	if (err) {
		st.n.tx_dropped++;
		return ERR_MEM;
	}
	st.n.tx_frames++;
	return ERR_OK;
}

/* Of the card, at any time; the frame waits for frames_run(). */
static void frame_in(void *ctx, const void *frame, u32 bytes, bool csum_ok)
{
	struct pbuf *p = st.in_count < PBUF_POOL_SIZE ?
			 pbuf_alloc(PBUF_RAW, (u16_t)bytes, PBUF_POOL) : NULL;
	u32 at = (st.in_head + st.in_count) % PBUF_POOL_SIZE;

	(void)ctx;
	st.n.rx_frames++;
	st.n.rx_csum_by_card += csum_ok;
	if (!p) {
		st.n.rx_no_buffer++;
		log_limited(LOG_WARN, "stack: no receive buffer dropped=%lu", st.n.rx_no_buffer);
		return;
	}
	if (pbuf_take(p, frame, (u16_t)bytes) != ERR_OK) {
		pbuf_free(p);
		return;
	}
	st.in[at].p = p;
	st.in[at].csum_ok = csum_ok;
	st.in_count++;
}

static struct pbuf *frame_next(bool *csum_ok)
{
	struct pbuf *p;

	if (!st.in_count)
		return NULL;
	p = st.in[st.in_head].p;
	*csum_ok = st.in[st.in_head].csum_ok;
	st.in_head = (st.in_head + 1) % PBUF_POOL_SIZE;
	st.in_count--;
	return p;
}

static u32 frames_run(void)
{
	struct netif *n = &st.netif;
	struct pbuf *p;
	bool csum_ok;
	u32 done = 0;

	while (st.started && (p = frame_next(&csum_ok))) {
		NETIF_SET_CHECKSUM_CTRL(n, csum_ok ? NETIF_CHECKSUM_ENABLE_ALL &
						     ~(NETIF_CHECKSUM_CHECK_IP |
						       NETIF_CHECKSUM_CHECK_UDP |
						       NETIF_CHECKSUM_CHECK_TCP) :
						     NETIF_CHECKSUM_ENABLE_ALL);
		if (n->input(p, n) != ERR_OK)
			pbuf_free(p);
		done++;
	}
	return done;
}

/* ---------------------------------------------------------------- what is ours */

static bool in_list(const struct tcp_pcb *p, u32 rip, u16 rport, u16 lport)
{
	for (; p; p = p->next)
		if (p->local_port == lport && p->remote_port == rport &&
		    lwip_ntohl(ip4_addr_get_u32(ip_2_ip4(&p->remote_ip))) == rip)
			return true;
	return false;
}

/* Nobody listens in the VMM; the client's test does. */
static bool listens(u16 lport)
{
	for (const struct tcp_pcb_listen *p = tcp_listen_pcbs.listen_pcbs; p; p = p->next)
		if (p->local_port == lport)
			return true;
	return false;
}

static bool owns_tcp(u32 rip, u16 rport, u16 lport)
{
	return in_list(tcp_active_pcbs, rip, rport, lport) ||
	       listens(lport) || in_list(tcp_tw_pcbs, rip, rport, lport);
}

static u32 own_ip(void)
{
	return st.started ? lwip_ntohl(ip4_addr_get_u32(netif_ip4_addr(&st.netif))) : 0;
}

static u32 own_dhcp_xid(void)
{
	const struct dhcp *d = st.started && st.dhcp ? netif_dhcp_data(&st.netif) : NULL;

	return d ? d->xid : 0;
}

const struct sorter_vmm stack_vmm = {
	.ip = own_ip,
	.dhcp_xid = own_dhcp_xid,
	.owns_tcp = owns_tcp,
};

/*
 * Do these options of a segment leave lwIP's segment size alone? It takes a
 * maximum segment size at any time and of any value, and its assertions do not
 * stand what follows. It belongs into a SYN [RFC 9293 §3.7.1].
 */
static bool size_is_sound(const u8 *tcp, u32 n)
{
	const u8 *o = tcp + TCP_HLEN, *end = tcp + MIN(n, (u32)(tcp[12] >> 4) * 4);

	while (o + 2 <= end && *o != LWIP_TCP_OPT_EOL) {
		if (*o == LWIP_TCP_OPT_NOP) {
			o++;
			continue;
		}
		if (*o == LWIP_TCP_OPT_MSS &&
		    (!(tcp[13] & TCP_SYN) || o + 4 > end || get_be16(o + 2) < TCP_MSS_LEAST))
			return false;
		if (o[1] < 2)
			return true; /* lwIP reads no further either */
		o += o[1];
	}
	return true;
}

/* May lwIP have this? @at: the bytes above the IP header, @n of them contiguous. */
static bool wanted(u8 proto, u32 src, const u8 *at, u32 n)
{
	switch (proto) {
	case IP_PROTO_TCP:
		return n >= TCP_HLEN && owns_tcp(src, (u16)(at[0] << 8 | at[1]),
						 (u16)(at[2] << 8 | at[3])) &&
		       size_is_sound(at, n);
	case IP_PROTO_UDP:
		return st.dhcp && n >= UDP_HLEN &&
		       (at[2] << 8 | at[3]) == LWIP_IANA_PORT_DHCP_CLIENT;
	case IP_PROTO_ICMP:
		return n >= 1 && at[0] == ICMP_ECHO && !st.deaf;
	default:
		return false;
	}
}

/**
 * stack_ip4_input() - lwIP's hook: an IP header that it has not checked yet
 *
 * A buffer holds a whole frame.
 * Return: 1 when the packet is dropped here, else 0.
 */
int stack_ip4_input(struct pbuf *p, struct netif *n)
{
	const struct ip_hdr *h = p->payload;
	u32 head = IPH_HL_BYTES(h);

	(void)n;
	if (p->len >= IP_HLEN && head <= p->len &&
	    wanted(IPH_PROTO(h), lwip_ntohl(h->src.addr), (const u8 *)h + head, p->len - head))
		return 0;
	st.n.rx_refused++;
	pbuf_free(p);
	return 1;
}

static err_t netif_setup(struct netif *n)
{
	n->name[0] = 'e';
	n->name[1] = 'n';
	n->mtu = 1500;
	n->hwaddr_len = 6;
	memcpy(n->hwaddr, st.dev->mac, 6);
	n->output = etharp_output;
	n->linkoutput = link_output;
	n->flags = NETIF_FLAG_BROADCAST | NETIF_FLAG_ETHARP | NETIF_FLAG_ETHERNET;
	return ERR_OK;
}

/* ---------------------------------------------------------------- progress */

static void timers_run(u64 now)
{
	for (u32 i = 0; i < ARRAY_SIZE(timers); i++) {
		struct timer *t = &timers[i];
		u32 rounds = 0;

		if (!t->wanted()) {
			t->on = false;
			continue;
		}
		if (!t->on) {
			t->on = true;
			t->next_ns = now + t->period_ns;
		}
		while (t->next_ns <= now && rounds++ < CATCH_UP_MAX) {
			t->next_ns += t->period_ns;
			t->run();
			if (!t->idle_slack)
				break; /* TCP and DHCP back off by rounds: never two at once */
		}
		if (t->next_ns <= now)
			t->next_ns = now + t->period_ns;
	}
}

static void watch_link(void)
{
	bool up = st.dev->ops->link_up(st.dev);

	if (up == st.link)
		return;
	st.link = up;
	if (up)
		netif_set_link_up(&st.netif);
	else
		netif_set_link_down(&st.netif);
}

static void watch_address(void)
{
	u32 ip = lwip_ntohl(ip4_addr_get_u32(netif_ip4_addr(&st.netif)));

	if (ip == st.ip)
		return;
	st.ip = ip;
	if (ip) {
		st.n.leases++;
		log_info("stack: address ip=%u.%u.%u.%u%s", ip >> 24, ip >> 16 & 255,
			 ip >> 8 & 255, ip & 255, st.dhcp ? " by=dhcp" : "");
	} else {
		log_info("stack: address lost");
	}
}

u32 stack_poll(void)
{
	u32 n;

	if (!st.started)
		return 0;
	n = st.dev->ops->poll(st.dev, frame_in, NULL);
	n += frames_run();
	watch_link();
	timers_run(plat_time_ns());
	watch_address();
	return n;
}

u64 stack_deadline_ns(void)
{
	u64 now = plat_time_ns(), d = now + IDLE_NS;

	if (!st.started)
		return d;
	for (u32 i = 0; i < ARRAY_SIZE(timers); i++) {
		struct timer *t = &timers[i];

		if (t->idle_slack || !t->wanted())
			continue;
		d = MIN(d, t->on ? t->next_ns : now + t->period_ns);
	}
	/* without a link somebody has to look for one */
	if (!st.link)
		d = MIN(d, now + NS_PER_SEC);
	return d;
}

/* ---------------------------------------------------------------- start, stop */

int stack_start(struct netif_dev *dev, const struct stack_opts *opts)
{
	ip4_addr_t ip, mask, gw;

	if (!st.inited) {
		lwip_init();
		st.inited = true;
	}
	memset(&st.netif, 0, sizeof(st.netif));
	memset(&st.n, 0, sizeof(st.n));
	st.dev = dev;
	st.dhcp = opts->dhcp;
	st.deaf = opts->deaf;
	st.ip = 0;
	ip4_addr_set_u32(&ip, opts->dhcp ? 0 : lwip_htonl(opts->ip));
	ip4_addr_set_u32(&mask, opts->dhcp ? 0 : lwip_htonl(opts->mask));
	ip4_addr_set_u32(&gw, opts->dhcp ? 0 : lwip_htonl(opts->gw));
	if (!netif_add(&st.netif, &ip, &mask, &gw, NULL, netif_setup, ethernet_input))
		return -ENOMEM;
	netif_set_default(&st.netif);
	netif_set_up(&st.netif);
	st.started = true;
	st.link = dev->ops->link_up(dev);
	if (st.link)
		netif_set_link_up(&st.netif);
	if (opts->dhcp && dhcp_start(&st.netif) != ERR_OK) {
		stack_stop();
		return -ENOMEM;
	}
	watch_address();
	return 0;
}

void stack_stop(void)
{
	struct pbuf *p;

	if (!st.started)
		return;
	if (st.dhcp) {
		dhcp_release_and_stop(&st.netif);
		dhcp_cleanup(&st.netif);
	}
	for (bool ok; (p = frame_next(&ok));)
		pbuf_free(p);
	netif_remove(&st.netif);
	st.started = false;
	st.link = false;
	st.ip = 0;
	for (u32 i = 0; i < ARRAY_SIZE(timers); i++)
		timers[i].on = false;
}

bool stack_waits(void)
{
	return st.in_count;
}

bool stack_link_up(void)
{
	return st.started && st.link;
}

u32 stack_ip(void)
{
	return st.started && st.link ? st.ip : 0;
}

const struct stack_counters *stack_counters(void)
{
	return &st.n;
}
