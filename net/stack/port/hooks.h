/*
 * hooks.h - where lwIP asks us: initial sequence numbers and DHCP options
 */
#ifndef NET_STACK_PORT_HOOKS_H
#define NET_STACK_PORT_HOOKS_H

#include <stdint.h>

struct netif;
struct pbuf;
struct dhcp_msg;

int stack_ip4_input(struct pbuf *p, struct netif *n);
void stack_dhcp_append(struct netif *n, struct dhcp_msg *msg, uint16_t *len);

/* Unpredictable, and never that of the connection before a warm reset. */
#define LWIP_HOOK_TCP_ISN(lip, lport, rip, rport) lwip_port_rand()
#define LWIP_HOOK_DHCP_APPEND_OPTIONS(netif, dhcp, state, msg, type, len) \
	stack_dhcp_append((netif), (msg), (len))

/* What is not for one of our connections gets no answer. */
#define LWIP_HOOK_IP4_INPUT(pbuf, input_netif) stack_ip4_input((pbuf), (input_netif))

#endif
