/*
 * hooks.h - where lwIP asks us: initial sequence numbers and DHCP options
 */
#ifndef NET_STACK_PORT_HOOKS_H
#define NET_STACK_PORT_HOOKS_H

#include <stdint.h>

struct netif;
struct dhcp_msg;

void stack_dhcp_append(struct netif *n, struct dhcp_msg *msg, uint16_t *len);

/* Unpredictable, and never that of the connection before a warm reset. */
#define LWIP_HOOK_TCP_ISN(lip, lport, rip, rport) lwip_port_rand()
#define LWIP_HOOK_DHCP_APPEND_OPTIONS(netif, dhcp, state, msg, type, len) \
	stack_dhcp_append((netif), (msg), (len))

#endif
