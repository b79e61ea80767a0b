/*
 * sockets.h - lwIP's raw TCP calls over the sockets of the system that hosts us
 *
 * What net/client asks of lwIP and of net/stack, made of epoll(7) and
 * non-blocking sockets: so the very client of the VMM runs in a process, many
 * times over (freshet swarm). Hosted only; linked instead of lwIP and net/stack.
 *
 * One thread, one poll set. A connection belongs to the owner that was set when
 * it was opened; sockets_wait() tells which owners have something to do.
 */
#ifndef NET_SOCKETS_SOCKETS_H
#define NET_SOCKETS_SOCKETS_H

#include "base/types.h"

struct sockets_owner {
	u32 ip; /* the address to connect from, host order; 0: the system's choice */
	bool ready; /* set by sockets_wait(); the user clears it */
};

/** sockets_open() - 0, or -errno */
int sockets_open(void);
void sockets_close(void);

/** sockets_owner_set() - whose connections are opened from here on */
void sockets_owner_set(struct sockets_owner *o);

/**
 * sockets_wait() - wait for the network, receive what is there
 * @timeout_ms: 0: do not wait; -1: for ever
 *
 * Return: how many events there were.
 */
int sockets_wait(int timeout_ms);

#endif
