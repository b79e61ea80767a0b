/*
 * lwipopts.h - lwIP as the pump uses it
 *
 * One owner, raw API, static memory, IPv4 only, no DNS (the server is given
 * by address), no fragments (every PC and server here has an MTU of 1500 or
 * finds out by itself). Timers are ours (net/stack/stack.c), so that an idle
 * machine needs no tick at all.
 *
 * Memory: the buffer pool holds what STACK_CONNS_MAX connections may have
 * under way with full windows, so that a burst is never dropped for want of
 * a buffer: 1280 * (1536 + 24) bytes = 2.0 MB. The rest is below 300 KiB.
 */
#ifndef NET_STACK_PORT_LWIPOPTS_H
#define NET_STACK_PORT_LWIPOPTS_H

#define NO_SYS 1
#define SYS_LIGHTWEIGHT_PROT 0
#define LWIP_TIMERS 1
#define LWIP_TIMERS_CUSTOM 1
#define LWIP_SOCKET 0
#define LWIP_NETCONN 0
#define LWIP_NETIF_API 0

#define LWIP_IPV4 1
#define LWIP_IPV6 0
#define LWIP_ARP 1
#define LWIP_ETHERNET 1
#define LWIP_ICMP 1
#define LWIP_UDP 1
#define LWIP_TCP 1
#define LWIP_DHCP 1
#define LWIP_DNS 0
#define LWIP_RAW 0
#define LWIP_IGMP 0
#define LWIP_AUTOIP 0
#define IP_FORWARD 0
#define IP_FRAG 0
#define IP_REASSEMBLY 0
#define LWIP_STATS 0
#define LWIP_NETIF_LOOPBACK 0
#define LWIP_HAVE_LOOPIF 0
#define LWIP_NETIF_HOSTNAME 0
#define LWIP_NETIF_STATUS_CALLBACK 0
#define LWIP_NETIF_LINK_CALLBACK 0

/* A probe would add a second to every boot; the server has one address per
 * client identifier anyway. */
#define DHCP_DOES_ARP_CHECK 0
#define LWIP_DHCP_DOES_ACD_CHECK 0
#define DHCP_OPTIONS_LEN 128

#define MEM_ALIGNMENT 16
#define MEM_SIZE (128 * 1024)
#define MEMP_NUM_PBUF 64
#define MEMP_NUM_TCP_PCB 16
#define MEMP_NUM_TCP_PCB_LISTEN 3
#define MEMP_NUM_UDP_PCB 2
#define MEMP_NUM_TCP_SEG 256
#define MEMP_NUM_REASSDATA 0
#define PBUF_POOL_SIZE 1280
#define PBUF_POOL_BUFSIZE 1536

#define TCP_MSS 1460
#define LWIP_WND_SCALE 1
#define TCP_RCV_SCALE 4
#define TCP_WND (360 * TCP_MSS)
#define TCP_SND_BUF (16 * TCP_MSS)
#define TCP_SND_QUEUELEN 64
#define TCP_SNDLOWAT (2 * TCP_MSS)
#define TCP_OVERSIZE TCP_MSS
#define TCP_QUEUE_OOSEQ 1
#define LWIP_TCP_SACK_OUT 1
#define LWIP_TCP_MAX_SACK_NUM 4
#define LWIP_TCP_TIMESTAMPS 0
#define TCP_LISTEN_BACKLOG 0
/* Must be well below 64 KiB: that is the whole window when the peer does not scale. */
#define TCP_WND_UPDATE_THRESHOLD (11 * TCP_MSS)
#define LWIP_TCP_RTO_TIME 1000
/* We close idle connections ourselves; ports are random. */
#define TCP_MSL 2000
#define TCP_MAXRTX 8
#define TCP_SYNMAXRTX 4

/* Received checksums: skipped frame by frame when the card verified them. */
#define LWIP_CHECKSUM_CTRL_PER_NETIF 1
#define LWIP_CHECKSUM_ON_COPY 0
#define LWIP_CHKSUM_ALGORITHM 3

#define LWIP_HOOK_FILENAME "net/stack/port/hooks.h"

#endif
