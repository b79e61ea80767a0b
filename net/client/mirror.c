/*
 * mirror.c - which of the site's sources of chunk objects to ask
 *
 * The ticket lists sources besides the site's own server ("home"): web servers, CDNs or
 * other freshetds that have the objects. Documents and reports go home, on connection
 * 0, always. Chunks go by the other connections to the first source in the list
 * that is proven (c->use), home only while none is. Nobody is trusted: what comes is
 * checked against its digest, as from home.
 *
 *	unproven -> proven	a good chunk came
 *	proven -> unproven	a connection failed or fell silent, or BAD_MAX answers
 *				one after the other were no good
 *
 * While a source that the list prefers to the one in use is unproven and its time of
 * waiting (1 s doubling to a minute) is over, the last connection tries it with one
 * chunk at a time (c->probe); the others go on as before. So coming back costs nobody
 * anything, and a source that takes connections and says nothing holds up one chunk.
 *
 * One answer that is no good (a mirror that lags behind) condemns nobody: that chunk
 * is asked for at home, at once.
 */
#include <string.h>

#include "base/err.h"
#include "base/fmt.h"
#include "base/log.h"
#include "base/plat.h"
#include "net/client/client_priv.h"

#define BAD_MAX 8u
#define GOOD_MANY 16u /* so many good answers, and past failures are forgotten */
#define WAIT_MIN_NS NS_PER_SEC
#define WAIT_MAX_NS (60 * NS_PER_SEC)

static void forget_connections(struct client *c)
{
	for (u32 i = 0; i < c->o.conns; i++)
		if (c->conns[i]->mirror && c->conns[i]->state != CONN_CLOSED)
			conn_drop(c->conns[i], 0);
}

void mirrors_set(struct client *c, const struct sources *list)
{
	if (c->o.conns < 2 || !memcmp(list, &c->list, sizeof(*list)))
		return;
	forget_connections(c);
	c->use = c->probe = NULL;
	c->list = *list;
	memset(c->mirrors, 0, sizeof(c->mirrors));
	for (u32 i = 0; i < list->count; i++) {
		const struct source_url *u = &c->list.at[i];
		struct mirror *m = &c->mirrors[i];

		m->url = u;
		fmt_snprintf(m->host, sizeof(m->host), "%u.%u.%u.%u:%u", u->ip >> 24,
			     u->ip >> 16 & 255, u->ip >> 8 & 255, u->ip & 255, u->port);
	}
}

/* Which source connection @i is for now; NULL: home. */
struct mirror *mirror_of(const struct client *c, u32 i)
{
	if (!i)
		return NULL;
	return c->probe && i == c->o.conns - 1 ? c->probe : c->use;
}

static void choose(struct client *c, u64 now)
{
	c->use = c->probe = NULL;
	for (u32 i = 0; i < c->list.count && !c->use; i++) {
		struct mirror *m = &c->mirrors[i];

		if (m->proven)
			c->use = m;
		else if (!c->probe && now >= m->retry_ns)
			c->probe = m;
	}
	/* With two connections there is none to spare for a try. */
	if (c->use && c->o.conns < 3)
		c->probe = NULL;
}

/* Decide, and close idle connections that lead elsewhere. */
void mirrors_turn(struct client *c, u64 now)
{
	choose(c, now);
	for (u32 i = 1; i < c->o.conns; i++) {
		struct conn *k = c->conns[i];

		if (k->state != CONN_CLOSED && k->mirror != mirror_of(c, i) && !k->count)
			conn_close(k);
	}
}

void mirror_failed(struct client *c, struct mirror *m, int err)
{
	u64 wait = m->fails > 6 ? WAIT_MAX_NS : MIN(WAIT_MIN_NS << m->fails, WAIT_MAX_NS);

	if (!m->proven && plat_time_ns() < m->retry_ns)
		return; /* its other connections end for the same reason */
	m->fails++;
	m->proven = false;
	m->good = m->bad = 0;
	m->retry_ns = plat_time_ns() + wait;
	log_limited(LOG_WARN, "client: source=%s err=%s fails=%u", m->host, err_name(err),
		    m->fails);
	choose(c, plat_time_ns());
}

void mirror_answered(struct client *c, struct mirror *m, bool good)
{
	if (!good) {
		m->good = 0;
		if (++m->bad >= BAD_MAX || !m->proven)
			mirror_failed(c, m, -EBADMSG);
		return;
	}
	m->bad = 0;
	if (++m->good >= GOOD_MANY)
		m->fails = 0;
	if (!m->proven) {
		m->proven = true;
		log_limited(LOG_INFO, "client: source=%s is good", m->host);
		choose(c, plat_time_ns());
	}
}

/* When a source that waits may be tried again; ~0: none waits. */
u64 mirrors_deadline(const struct client *c, u64 now)
{
	u64 d = ~0ull;

	for (u32 i = 0; i < c->list.count && &c->mirrors[i] != c->use; i++)
		if (c->mirrors[i].retry_ns > now)
			d = MIN(d, c->mirrors[i].retry_ns);
	return d;
}
