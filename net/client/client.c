/*
 * client.c - a chunk source over pipelined HTTP connections
 *
 * A chunk request's life: queued (by priority) -> on the wire -> done, with
 * two ways back: its connection ends (to the front of its queue, at once), or
 * its answer is no good (to the delayed list, its own back-off, then the
 * queue). So one chunk that the server has not, or has wrongly, holds nobody
 * else up. Documents and reports take the same road but are tried once, or
 * for reports twice.
 *
 * Connection 0 carries no fill: a guest's demand finds a pipeline in front of
 * it that holds other demands only. The other connections take fill, a little
 * each, and read-ahead; while demand waits for a place, no fill is sent.
 *
 * Trust in the server is one bit: proven while connections succeed. Until it
 * is set, connection 0 alone knocks, with back-off (100 ms doubling to 2 s);
 * a server that restarts is found by one probe, not by a volley.
 *
 * With TLS every connection is to the site's own server or is none: the source
 * looks the same from above. When the site's ticket names other sources of chunks, all
 * connections but 0 may lead to one of those (mirror.c).
 *
 * Callbacks run from poll() alone, after the connections were worked on, and
 * may submit again.
 */
#include "net/client/client.h"

#include <string.h>

#include "base/err.h"
#include "base/field.h"
#include "base/fmt.h"
#include "base/log.h"
#include "base/plat.h"
#include "net/client/client_priv.h"
#include "net/stack/stack.h"

#define FILL_DEPTH 2 /* requests of the lowest priority on one connection */
#define AHEAD_DEPTH 4
#define IDLE_NS (60 * NS_PER_SEC)
#define CHUNK_PATH_BYTES (SOURCES_PATH_MAX + 4 + 2 * SHA256_BYTES + 1)

/* source_req.scratch[0]: state, tries; [1]: not before, or the error to report */
enum req_state {
	REQ_QUEUED = 1,
	REQ_DELAYED,
	REQ_WIRE,
	REQ_DONE,
};

#define REQ_STATE GENMASK(7, 0)
#define REQ_TRIES GENMASK(39, 8)
#define REQ_HOME (1ull << 40) /* a mirror had no good answer: home is asked next */

static inline struct client *to_client(struct source *s)
{
	return container_of(s, struct client, src);
}

static enum req_state req_state(const struct source_req *r)
{
	return (enum req_state)FIELD_GET(REQ_STATE, r->scratch[0]);
}

static void req_set(struct source_req *r, enum req_state st)
{
	r->scratch[0] = (r->scratch[0] & ~REQ_STATE) | FIELD_PREP(REQ_STATE, st);
}

static u64 backoff_ns(u32 tries)
{
	return tries > 5 ? BACKOFF_MAX_NS : MIN(BACKOFF_MIN_NS << (tries - 1), BACKOFF_MAX_NS);
}

/* ---------------------------------------------------------------- results */

static void req_done(struct client *c, struct source_req *r, int err)
{
	list_del(&r->link);
	req_set(r, REQ_DONE);
	r->scratch[1] = (u64)(s64)err;
	list_add_tail(&c->done_reqs, &r->link);
}

static void doc_done(struct client *c, struct source_doc *d, int err)
{
	list_del(&d->link);
	d->scratch[1] = (u64)(s64)err;
	list_add_tail(&c->done_docs, &d->link);
}

static struct list *queue_of(struct client *c, const struct source_req *r)
{
	return r->scratch[0] & REQ_HOME ? &c->homeward : &c->queue[r->prio];
}

/* A mirror's answer was no good: home, at once. */
static void req_homeward(struct client *c, struct source_req *r)
{
	r->scratch[0] |= REQ_HOME;
	req_set(r, REQ_QUEUED);
	list_del(&r->link);
	list_add_tail(&c->homeward, &r->link);
	c->st.retries++;
}

/* The answer was no good: its own back-off, then again, from whom chunks come then. */
static void req_delay(struct client *c, struct source_req *r)
{
	u32 tries = (u32)FIELD_GET(REQ_TRIES, r->scratch[0]) + 1;

	tries = MIN(tries, 1000u);
	r->scratch[0] = (r->scratch[0] & ~REQ_TRIES) | FIELD_PREP(REQ_TRIES, tries);
	r->scratch[1] = plat_time_ns() + backoff_ns(tries);
	r->scratch[0] &= ~REQ_HOME;
	req_set(r, REQ_DELAYED);
	list_del(&r->link);
	list_add_tail(&c->delayed, &r->link);
	c->st.retries++;
}

static void req_requeue_first(struct client *c, struct source_req *r)
{
	req_set(r, REQ_QUEUED);
	list_del(&r->link);
	list_add(queue_of(c, r), &r->link);
	c->st.retries++;
}

static void chunk_answer(struct conn *k, struct source_req *r, int err, u32 status)
{
	struct client *c = k->c;
	char hex[17];

	if (k->mirror)
		mirror_answered(c, k->mirror, !err);
	if (!err) {
		if (!k->mirror)
			c->http_status = 0;
		c->st.chunks++;
		c->st.plain_bytes += r->plain_bytes;
		req_done(c, r, 0);
		return;
	}
	fmt_hex(hex, r->digest, 8);
	if (status == 200) {
		c->st.corrupt++;
		log_limited(LOG_WARN, "client: corrupt chunk=%s.. refetching", hex);
	} else {
		c->n.http_errors++;
		log_limited(LOG_WARN, "client: refused chunk=%s.. status=%u", hex, status);
	}
	if (k->mirror) {
		req_homeward(c, r);
		return;
	}
	if (status != 200)
		c->http_status = status;
	c->st.last_err = err;
	req_delay(c, r);
}

void client_slot_done(struct conn *k, struct slot s, int err, u32 status)
{
	struct client *c = k->c;

	if (!k->mirror)
		c->fails = 0;
	switch (s.kind) {
	case SLOT_CHUNK:
		chunk_answer(k, s.req, err, status);
		break;
	case SLOT_DOC:
		s.doc->http_status = status;
		doc_done(c, s.doc, err);
		break;
	case SLOT_POST:
		list_add_tail(&c->free_posts, &s.post->link);
		break;
	case SLOT_GONE:
		break;
	}
}

void client_slot_lost(struct conn *k, struct slot s, int err, bool first, bool stale)
{
	struct client *c = k->c;

	switch (s.kind) {
	case SLOT_CHUNK:
		if (first && !stale && err && k->mirror)
			req_homeward(c, s.req);
		else if (first && !stale && err)
			req_delay(c, s.req);
		else
			req_requeue_first(c, s.req);
		break;
	case SLOT_DOC:
		/* once more if the answer never had a chance */
		if (stale && !s.doc->scratch[1]) {
			s.doc->scratch[1] = 1;
			list_del(&s.doc->link);
			list_add(&c->docs, &s.doc->link);
		} else {
			doc_done(c, s.doc, err ? err : -ECONNRESET);
		}
		break;
	case SLOT_POST:
		if (s.post->tries++ < 1) {
			list_add(&c->posts, &s.post->link);
		} else {
			c->n.posts_dropped++;
			list_add_tail(&c->free_posts, &s.post->link);
		}
		break;
	case SLOT_GONE:
		break;
	}
}

void client_conn_up(struct conn *k)
{
	struct client *c = k->c;

	if (k->mirror || c->proven)
		return;
	c->proven = true;
	log_limited(LOG_INFO, "client: connected server=%s", c->host);
}

static void docs_fail(struct client *c, int err)
{
	while (!list_empty(&c->docs))
		doc_done(c, list_first(&c->docs, struct source_doc, link), err);
}

void client_conn_failed(struct conn *k, int err, bool worked)
{
	struct client *c = k->c;
	u64 now = plat_time_ns();

	c->n.lost++;
	if (k->mirror) {
		/* To close a connection after some answers is a server's right. */
		if (!worked || err != -ECONNRESET)
			mirror_failed(c, k->mirror, err);
		return;
	}
	c->st.last_err = err;
	if (worked) {
		c->retry_ns = MAX(c->retry_ns, now);
		return;
	}
	c->proven = false;
	c->fails++;
	c->retry_ns = now + backoff_ns(c->fails);
	log_limited(LOG_WARN, "client: server=%s err=%s fails=%u", c->host, err_name(err),
		    c->fails);
	docs_fail(c, err);
}

/* ---------------------------------------------------------------- sending */

/* Among connections @from and on, those that lead to @m and shall. */
static struct conn *conn_shortest(struct client *c, struct mirror *m, u32 from, u32 limit)
{
	struct conn *best = NULL;

	for (u32 i = from; i < c->o.conns; i++) {
		struct conn *k = c->conns[i];

		if (k->mirror != m || mirror_of(c, i) != m)
			continue;
		if (k->state == CONN_OPEN && !k->lost && !k->eof && k->count < limit &&
		    (!best || k->count < best->count))
			best = k;
	}
	return best;
}

/* 0: sent; -EAGAIN: no place; others: that connection is gone, look again */
static int send_doc(struct client *c)
{
	struct conn *k = conn_shortest(c, NULL, 0, c->o.depth);
	struct source_doc *d = list_first(&c->docs, struct source_doc, link);
	struct slot s = { .kind = SLOT_DOC, .doc = d };
	int err;

	if (!k)
		return -EAGAIN;
	list_del(&d->link);
	list_add_tail(&c->wire, &d->link);
	err = conn_send(k, s, "GET", d->path, NULL, -1);
	if (err == -EINVAL) {
		doc_done(c, d, err);
		return 0;
	}
	if (err == -EAGAIN) {
		list_del(&d->link);
		list_add(&c->docs, &d->link);
	}
	return err;
}

static void chunk_path(char out[CHUNK_PATH_BYTES], const struct mirror *m,
		       const struct source_req *r)
{
	char hex[2 * SHA256_BYTES + 1];

	fmt_hex(hex, r->digest, SHA256_BYTES);
	if (m)
		fmt_snprintf(out, CHUNK_PATH_BYTES, "%s/%.2s/%s", m->url->path, hex, hex);
	else
		fmt_snprintf(out, CHUNK_PATH_BYTES, "/v1/chunk/%s", hex);
}

/* The first of @queue to @m */
static int send_chunk(struct client *c, struct list *queue, struct mirror *m, u32 from, u32 limit)
{
	struct conn *k = conn_shortest(c, m, from, limit);
	struct source_req *r = list_first(queue, struct source_req, link);
	struct slot s = { .kind = SLOT_CHUNK, .req = r };
	char path[CHUNK_PATH_BYTES];
	int err;

	if (!k)
		return -EAGAIN;
	chunk_path(path, m, r);
	req_set(r, REQ_WIRE);
	list_del(&r->link);
	list_add_tail(&c->wire, &r->link);
	err = conn_send(k, s, "GET", path, NULL, -1);
	if (err == -EAGAIN) {
		req_set(r, REQ_QUEUED);
		list_del(&r->link);
		list_add(queue, &r->link);
	}
	return err;
}

static int send_post(struct client *c)
{
	struct conn *k = conn_shortest(c, NULL, 0, c->o.depth);
	struct post *p = list_first(&c->posts, struct post, link);
	struct slot s = { .kind = SLOT_POST, .post = p };
	int err;

	if (!k)
		return -EAGAIN;
	list_del(&p->link);
	err = conn_send(k, s, "POST", p->path, p->body, p->bytes);
	if (err == -EAGAIN)
		list_add(&c->posts, &p->link);
	else if (err == -EINVAL)
		list_add_tail(&c->free_posts, &p->link);
	return err == -EINVAL ? 0 : err;
}

/* One chunk to the source that is being tried: the least urgent that there is. */
static void send_probe(struct client *c)
{
	for (int p = SOURCE_FILL; c->probe && p >= SOURCE_DEMAND; p--) {
		if (list_empty(&c->queue[p]))
			continue;
		send_chunk(c, &c->queue[p], c->probe, 1, 1);
		return;
	}
}

static void send_all(struct client *c, struct list *queue, struct mirror *m, u32 from, u32 limit)
{
	int err = 0;

	while (!list_empty(queue) && err != -EAGAIN)
		err = send_chunk(c, queue, m, from, limit);
}

/*
 * To one source all connections but 0 lead, and of them the first carries no fill.
 * While another is tried on the last one, what is left has to carry both.
 */
static void dispatch(struct client *c)
{
	u32 first = c->use != NULL, from = MIN(first + 1, c->o.conns - 1);
	int err = 0;

	if (c->use && c->probe)
		from = first;
	send_probe(c);

	while (!list_empty(&c->docs) && err != -EAGAIN)
		err = send_doc(c);
	send_all(c, &c->homeward, NULL, 0, c->o.depth);
	send_all(c, &c->queue[SOURCE_DEMAND], c->use, first, c->o.depth);
	for (err = 0; !list_empty(&c->posts) && err != -EAGAIN;)
		err = send_post(c);
	if (!list_empty(&c->queue[SOURCE_DEMAND]))
		return;
	send_all(c, &c->queue[SOURCE_AHEAD], c->use, from, MIN(c->o.depth, AHEAD_DEPTH + 0u));
	send_all(c, &c->queue[SOURCE_FILL], c->use, from, MIN(c->o.depth, FILL_DEPTH + 0u));
}

/* ---------------------------------------------------------------- connecting */

static bool home_only(const struct client *c)
{
	return !list_empty(&c->docs) || !list_empty(&c->posts) || !list_empty(&c->homeward);
}

static bool urgent(const struct client *c)
{
	return home_only(c) || !list_empty(&c->queue[SOURCE_DEMAND]);
}

static bool waiting(const struct client *c)
{
	return urgent(c) || !list_empty(&c->queue[SOURCE_AHEAD]) ||
	       !list_empty(&c->queue[SOURCE_FILL]);
}

/* Would connection @i, closed now, be of use? */
static bool wanted(const struct client *c, u32 i)
{
	bool background = !list_empty(&c->queue[SOURCE_AHEAD]) ||
			  !list_empty(&c->queue[SOURCE_FILL]);
	bool crowded = c->conns[0]->count >= c->o.depth / 2;

	if (c->conns[i]->state != CONN_CLOSED || !waiting(c) || !stack_ip())
		return false;
	if (c->o.conns == 1)
		return true;
	if (mirror_of(c, i))
		return background || !list_empty(&c->queue[SOURCE_DEMAND]);
	if (i == 0 && c->use)
		return home_only(c);
	return i == 0 ? urgent(c) || !c->proven : c->proven && (background || crowded);
}

static void connect_some(struct client *c, u64 now)
{
	for (u32 i = 0; i < c->o.conns; i++)
		if ((now >= c->retry_ns || mirror_of(c, i)) && wanted(c, i))
			conn_connect(c->conns[i]);
}

static void delayed_due(struct client *c, u64 now)
{
	struct source_req *r, *t;

	list_for_each_safe(r, t, &c->delayed, link) {
		if (r->scratch[1] > now)
			continue;
		req_set(r, REQ_QUEUED);
		list_del(&r->link);
		list_add_tail(queue_of(c, r), &r->link);
	}
}

static void docs_late(struct client *c, u64 now)
{
	struct source_doc *d, *t;

	list_for_each_safe(d, t, &c->docs, link)
		if (now >= d->scratch[0])
			doc_done(c, d, stack_ip() ? -ETIMEDOUT : -ENETUNREACH);
}

/* ---------------------------------------------------------------- poll */

static void deliver(struct client *c)
{
	struct list reqs, docs;

	list_init(&reqs);
	list_init(&docs);
	list_splice_tail(&docs, &c->done_docs);
	list_splice_tail(&reqs, &c->done_reqs);
	while (!list_empty(&docs)) {
		struct source_doc *d = list_first(&docs, struct source_doc, link);

		list_del(&d->link);
		d->done(d, (int)(s64)d->scratch[1]);
	}
	while (!list_empty(&reqs)) {
		struct source_req *r = list_first(&reqs, struct source_req, link);

		list_del(&r->link);
		r->done(r, (int)(s64)r->scratch[1]);
	}
}

static void client_poll(struct source *s)
{
	struct client *c = to_client(s);
	u64 now;

	c->more = stack_poll() >= 256;
	c->made = 0;
	for (u32 i = 0; i < c->o.conns; i++)
		conn_process(c->conns[i]);
	now = plat_time_ns();
	for (u32 i = 0; i < c->o.conns; i++)
		conn_timeouts(c->conns[i], now);
	delayed_due(c, now);
	docs_late(c, now);
	deliver(c);
	c->kick = false;
	mirrors_turn(c, now);
	connect_some(c, now);
	dispatch(c);
}

bool client_busy(struct source *s)
{
	struct client *c = to_client(s);

	return c->kick || c->more || !list_empty(&c->done_reqs) || !list_empty(&c->done_docs);
}

int client_pending(struct source *s)
{
	struct client *c = to_client(s);
	struct source_req *r;
	int best = NONE_PENDING;

	for (int p = SOURCE_FILL; p >= SOURCE_DEMAND; p--)
		if (!list_empty(&c->queue[p]))
			best = p;
	list_for_each(r, &c->delayed, link)
		best = MIN(best, (int)r->prio);
	list_for_each(r, &c->homeward, link)
		best = MIN(best, (int)r->prio);
	for (u32 i = 0; i < c->o.conns; i++)
		best = MIN(best, conn_pending(c->conns[i]));
	if (best == NONE_PENDING && !(list_empty(&c->docs) && list_empty(&c->posts) &&
				      list_empty(&c->wire)))
		best = SOURCE_FILL;
	return best == NONE_PENDING ? -1 : best;
}

bool client_idle(struct source *s)
{
	struct client *c = to_client(s);

	for (u32 i = 0; i < c->o.conns; i++)
		if (c->conns[i]->state == CONN_CONNECTING || c->conns[i]->count)
			return false;
	return !client_busy(s) && !waiting(c) && list_empty(&c->delayed);
}

u64 client_deadline_ns(struct source *s)
{
	struct client *c = to_client(s);
	u64 now = plat_time_ns(), d = MIN(stack_deadline_ns(), now + IDLE_NS);
	struct source_req *r;
	struct source_doc *doc;

	for (u32 i = 0; i < c->o.conns; i++)
		d = MIN(d, conn_deadline(c->conns[i]));
	list_for_each(r, &c->delayed, link)
		d = MIN(d, r->scratch[1]);
	list_for_each(doc, &c->docs, link)
		d = MIN(d, doc->scratch[0]);
	/* Even when it is past: it may have become due since the last poll. */
	for (u32 i = 0; i < c->o.conns; i++)
		if (wanted(c, i))
			d = MIN(d, mirror_of(c, i) ? now : c->retry_ns);
	if (waiting(c))
		d = MIN(d, mirrors_deadline(c, now));
	return MAX(d, now);
}

/* ---------------------------------------------------------------- requests */

static void client_fetch(struct source *s, struct source_req *r)
{
	struct client *c = to_client(s);

	r->scratch[0] = r->scratch[1] = 0;
	req_set(r, REQ_QUEUED);
	list_add_tail(&c->queue[r->prio], &r->link);
	c->kick = true;
}

static void client_reprioritise(struct source *s, struct source_req *r, enum source_prio p)
{
	struct client *c = to_client(s);

	if (r->prio == p)
		return;
	if (req_state(r) == REQ_QUEUED && !(r->scratch[0] & REQ_HOME)) {
		list_del(&r->link);
		list_add_tail(&c->queue[p], &r->link);
		c->kick = true;
	}
	r->prio = p;
}

static void client_cancel(struct source *s, struct source_req *r)
{
	struct client *c = to_client(s);

	if (req_state(r) == REQ_DONE)
		return;
	if (req_state(r) == REQ_WIRE) {
		for (u32 i = 0; i < c->o.conns; i++) {
			struct conn *k = c->conns[i];

			for (u32 j = 0; j < k->count; j++) {
				struct slot *t = conn_slot(k, j);

				if (t->kind == SLOT_CHUNK && t->req == r)
					t->kind = SLOT_GONE;
			}
		}
	}
	req_done(c, r, -ECANCELED);
	c->kick = true;
}

static void client_get(struct source *s, struct source_doc *d)
{
	struct client *c = to_client(s);

	d->bytes = 0;
	d->http_status = 0;
	d->scratch[0] = plat_time_ns() + DOC_WAIT_NS;
	d->scratch[1] = 0;
	list_add_tail(&c->docs, &d->link);
	c->kick = true;
}

static void client_post(struct source *s, const char *path, const void *body, u32 bytes)
{
	struct client *c = to_client(s);
	struct post *p;

	/* a newer report is worth more than one that waits */
	if (list_empty(&c->free_posts) && !list_empty(&c->posts)) {
		struct list *l = c->posts.next;

		list_del(l);
		list_add_tail(&c->free_posts, l);
		c->n.posts_dropped++;
	}
	p = list_first(&c->free_posts, struct post, link);
	if (!p || bytes > POST_BYTES || strlen(path) >= sizeof(p->path)) {
		c->n.posts_dropped++;
		return;
	}
	list_del(&p->link);
	memcpy(p->path, path, strlen(path) + 1);
	memcpy(p->body, body, bytes);
	p->bytes = bytes;
	p->tries = 0;
	list_add_tail(&c->posts, &p->link);
	c->kick = true;
}

/* ---------------------------------------------------------------- status */

static enum source_state state_of(struct client *c)
{
	bool open = false;

	for (u32 i = 0; i < c->o.conns; i++)
		open |= c->conns[i]->state == CONN_OPEN;
	if (!stack_link_up() || !stack_ip())
		return SOURCE_DOWN;
	if (!c->use && (c->fails || c->http_status))
		return SOURCE_RETRYING;
	return open || c->proven ? SOURCE_UP : SOURCE_CONNECTING;
}

static void say(struct client *c, struct source_status *o)
{
	const char *fmt = "no answer from %s";

	if (!o->link_up)
		fmt = "no network link";
	else if (!o->ip)
		fmt = "waiting for an address (DHCP)";
	else if (o->state == SOURCE_UP)
		fmt = "connected to %s";
	else if (o->state == SOURCE_CONNECTING)
		fmt = "connecting to %s";
	else if (!c->fails && c->http_status) {
		fmt_snprintf(o->what, sizeof(o->what), "%s answers %u for a chunk", c->host,
			     c->http_status);
		return;
	} else if (o->last_err == -ECONNREFUSED)
		fmt = "connection refused by %s";
	else if (o->last_err == -ECONNRESET || o->last_err == -ECONNABORTED)
		fmt = "connection closed by %s";
	else if (o->last_err == -EPROTO)
		fmt = "%s does not speak HTTP";
	else if (o->last_err == -ENETUNREACH)
		fmt = "no route to %s";
	else if (o->last_err == -EKEYREJECTED)
		fmt = "%s is not this site's server";
	else if (o->last_err == -EOPNOTSUPP)
		fmt = "%s does not speak TLS with us";
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	fmt_snprintf(o->what, sizeof(o->what), fmt, c->use ? c->use->host : c->host);
#pragma GCC diagnostic pop
}

static void client_status(struct source *s, struct source_status *out)
{
	struct client *c = to_client(s);

	*out = c->st;
	out->link_up = stack_link_up();
	out->ip = stack_ip();
	out->state = state_of(c);
	say(c, out);
}

const struct client_counters *client_counters(struct source *s)
{
	return &to_client(s)->n;
}

static void client_signed_time(struct source *s, u64 unix_seconds)
{
	struct client *c = to_client(s);

	if (c->site)
		tls_site_time(c->site, unix_seconds);
}

static void client_credential(struct source *s, const char *bearer)
{
	struct client *c = to_client(s);

	fmt_snprintf(c->bearer, sizeof(c->bearer), "%s", bearer ? bearer : "");
}

static void client_sources(struct source *s, const struct sources *list)
{
	struct client *c = to_client(s);

	mirrors_set(c, list);
	c->kick = true;
}

/* ---------------------------------------------------------------- start */

static const struct source_ops client_ops = {
	.fetch = client_fetch,
	.reprioritise = client_reprioritise,
	.cancel = client_cancel,
	.get = client_get,
	.post = client_post,
	.status = client_status,
	.signed_time = client_signed_time,
	.credential = client_credential,
	.sources = client_sources,
	.poll = client_poll,
};

static int start_tls(struct client *c)
{
	int err = tls_site_create(&c->site, c->o.keys, c->o.nkeys, c->o.ip);

	for (u32 i = 0; i < c->o.conns && !err; i++)
		err = tls_create(&c->conns[i]->tls, c->site, &conn_wire, c->conns[i]);
	return err;
}

int client_create(const struct client_opts *opts, struct source **out)
{
	struct client *c;
	int err;

	if (!opts->ip || !opts->port || opts->conns > CLIENT_CONNS_MAX ||
	    opts->depth > CLIENT_DEPTH_MAX)
		return -EINVAL;
	c = plat_alloc(sizeof(*c));
	if (!c)
		return -ENOMEM;
	c->src.ops = &client_ops;
	c->o = *opts;
	c->o.conns = opts->conns ? opts->conns : STACK_CONNS_MAX;
	c->o.depth = opts->depth ? opts->depth : 6;
	c->o.budget_bytes = opts->budget_bytes ? opts->budget_bytes : 64 * 1024;
	fmt_snprintf(c->host, sizeof(c->host), "%u.%u.%u.%u:%u", opts->ip >> 24,
		     opts->ip >> 16 & 255, opts->ip >> 8 & 255, opts->ip & 255, opts->port);
	list_init(&c->docs);
	for (u32 i = 0; i < ARRAY_SIZE(c->queue); i++)
		list_init(&c->queue[i]);
	list_init(&c->posts);
	list_init(&c->homeward);
	list_init(&c->delayed);
	list_init(&c->wire);
	list_init(&c->done_reqs);
	list_init(&c->done_docs);
	list_init(&c->free_posts);
	for (u32 i = 0; i < POSTS; i++)
		list_add_tail(&c->free_posts, &c->post_pool[i].link);
	for (u32 i = 0; i < c->o.conns; i++) {
		c->conns[i] = plat_alloc(sizeof(struct conn));
		if (!c->conns[i]) {
			client_destroy(&c->src);
			return -ENOMEM;
		}
		c->conns[i]->c = c;
		c->conns[i]->index = i;
	}
	err = opts->nkeys ? start_tls(c) : 0;
	if (err) {
		client_destroy(&c->src);
		return err;
	}
	*out = &c->src;
	return 0;
}

void client_destroy(struct source *s)
{
	struct client *c = to_client(s);

	for (u32 i = 0; i < c->o.conns; i++) {
		if (c->conns[i] && c->conns[i]->state != CONN_CLOSED)
			conn_close(c->conns[i]);
		if (c->conns[i])
			tls_destroy(c->conns[i]->tls);
		plat_free(c->conns[i]);
	}
	tls_site_destroy(c->site);
	plat_free(c);
}
