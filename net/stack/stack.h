/*
 * stack.h - lwIP over one network card, advanced by polling
 *
 * One instance, one owner (the pump). Nothing here waits: stack_poll() takes
 * what the card received, runs the timers that are due and returns.
 */
#ifndef NET_STACK_STACK_H
#define NET_STACK_STACK_H

#include "net/spec/netif.h"
#include "net/stack/sorter.h"

/* TCP connections that may have full windows without running out of buffers. */
#define STACK_CONNS_MAX 3

struct stack_opts {
	bool dhcp;
	u32 ip, mask, gw; /* host order; when not dhcp; gw 0: none */
	bool deaf; /* no answer to pings */
};

/** stack_opts_parse() - "dhcp" or "a.b.c.d/len[,gw]"; 0 or -EINVAL */
int stack_opts_parse(const char *text, struct stack_opts *out);

/** stack_parse_server() - "[http[s]://]a.b.c.d[:port][/]"; default port 80, 443; 0 or -EINVAL */
int stack_parse_server(const char *text, u32 *ip, u16 *port, bool *tls);

/**
 * stack_start() - bring the interface up
 *
 * Once; again only after stack_stop(). Return: 0, -ENOMEM.
 */
int stack_start(struct netif_dev *dev, const struct stack_opts *opts);
void stack_stop(void);

/**
 * stack_poll() - frames in, frames reaped, timers run
 *
 * Context: pump. Return: frames handled; not 0 means call again soon.
 */
u32 stack_poll(void);

/**
 * stack_deadline_ns() - when stack_poll() must run even if nothing arrives
 *
 * Absolute, as plat_time_ns(). While no connection is open and no lease is
 * being negotiated that is up to a minute away: no tick is needed for it.
 */
u64 stack_deadline_ns(void);

/** stack_waits() - received frames wait for stack_poll() */
bool stack_waits(void);

bool stack_link_up(void);
/** stack_ip() - our address, host order; 0 while there is none */
u32 stack_ip(void);
/** stack_vmm - what of the wire is the stack's; for share_vmm() */
extern const struct sorter_vmm stack_vmm;

struct stack_counters {
	u64 rx_frames, rx_no_buffer, rx_csum_by_card, tx_frames, tx_copied, tx_dropped;
	u64 rx_refused; /* for us, and none of our connections */
	u64 leases; /* addresses gained */
};
const struct stack_counters *stack_counters(void);

#endif
