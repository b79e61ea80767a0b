/*
 * client_priv.h - shared by client.c (requests), conn.c (connections), mirror.c (sources)
 */
#ifndef NET_CLIENT_CLIENT_PRIV_H
#define NET_CLIENT_CLIENT_PRIV_H

#include "base/crypto.h"
#include "lwip/pbuf.h"
#include "lwip/tcp.h"
#include "net/client/client.h"
#include "net/client/tls.h"
#include "net/http/http.h"
#include "storage/format/chunk.h"
#include "storage/format/sources.h"

#define CONN_RXQ 512u
#define POSTS 2
#define BEARER_BYTES 128u
#define POST_BYTES 16384u

/* What one request may take of lwIP's send queue, in buffers. */
#define SENDQ 16u
#define SENDQ_TLS 32u
#define CONN_PLAIN 4096u

#define CONNECT_NS (5 * NS_PER_SEC)
#define SILENCE_NS (5 * NS_PER_SEC) /* no byte for so long: connection given up */
#define RESPONSE_NS (60 * NS_PER_SEC) /* one response, from the first to its last byte */
#define HANDSHAKE_NS (20 * NS_PER_SEC) /* of TLS, from its first to its last byte */
#define IDLE_CLOSE_NS (15 * NS_PER_SEC)
#define BACKOFF_MIN_NS (100 * NS_PER_MS)
#define BACKOFF_MAX_NS (2 * NS_PER_SEC)
#define DOC_WAIT_NS (10 * NS_PER_SEC) /* for a link, an address, a connection */
/* Bodies nobody wants are read away up to here; beyond, reconnecting is cheaper. */
#define DISCARD_MAX CHUNK_OBJECT_MAX

enum slot_kind {
	SLOT_CHUNK,
	SLOT_DOC,
	SLOT_POST,
	SLOT_GONE, /* cancelled on the wire: read the response away */
};

#define NONE_PENDING (SOURCE_FILL + 1)

struct slot {
	enum slot_kind kind;
	union {
		struct source_req *req;
		struct source_doc *doc;
		struct post *post;
	};
};

struct post {
	struct list link;
	char path[128];
	u32 bytes;
	u32 tries;
	u8 body[POST_BYTES];
};

/* A source of chunks besides home; mirror.c. */
struct mirror {
	const struct source_url *url;
	char host[24];
	bool proven; /* a good chunk came since the last failure */
	u32 fails, good, bad; /* good, bad: in a row */
	u64 retry_ns; /* unproven: not to be tried before */
};

enum conn_state {
	CONN_CLOSED,
	CONN_CONNECTING,
	CONN_HANDSHAKE,
	CONN_OPEN,
};

struct conn {
	struct client *c;
	u32 index;
	enum conn_state state;
	struct mirror *mirror; /* whom it leads to; NULL: home */
	struct tcp_pcb *pcb; /* NULL once lwIP has freed it */
	int lost; /* why lwIP took the pcb away; 0 while it has not */
	bool eof; /* the peer will send no more */

	struct pbuf *rxq[CONN_RXQ];
	u32 rx_head, rx_count;
	u32 rx_off; /* consumed of the first */

	struct tls *tls; /* (c) NULL: plain HTTP */
	u8 plain[CONN_PLAIN]; /* decrypted, not yet parsed */
	u32 plain_at, plain_bytes;

	struct slot slots[CLIENT_DEPTH_MAX]; /* sent, in the order of the answers */
	u32 head, count;

	u64 since_ns; /* connecting, idle, or last byte; by state */
	u64 response_ns; /* when the first slot's turn came; the handshake's begin */
	u32 served; /* responses since connect */

	struct http_parser parser;
	bool want_body; /* else the body is read away */
	int body_err;
	u64 discarded;
	u32 hashed;
	struct crypto_sha256 sha;
	struct chunk_decoder dec;
};

struct client {
	struct source src;
	struct client_opts o;
	char host[24]; /* "a.b.c.d:port" */
	struct tls_site *site; /* NULL: plain HTTP */
	char bearer[BEARER_BYTES]; /* "": none */

	struct list docs, queue[3], posts; /* waiting to be sent */
	struct list homeward; /* chunk requests that a mirror had no good answer for */
	struct list delayed; /* chunk requests waiting for their next try */
	struct list wire; /* chunk requests and documents on a connection */
	struct list done_reqs, done_docs; /* answered, callback due */
	struct list free_posts;
	struct post post_pool[POSTS];

	bool kick; /* something was submitted since the last poll */
	bool more; /* the budget ended before the work did */
	u32 made; /* plain bytes made in this poll */

	struct sources list;
	struct mirror mirrors[SOURCES_MAX]; /* the first list.count */
	struct mirror *use, *probe; /* chunks go there; it is being tried */

	bool proven; /* the server accepted a connection since the last failure */
	u32 fails;
	u64 retry_ns;
	u32 http_status; /* the last bad one for a chunk, 0 after a good one */
	struct source_status st;
	struct client_counters n;
	struct conn *conns[CLIENT_CONNS_MAX];
};

extern const struct tls_wire conn_wire; /* ctx: a struct conn */

/* conn.c: connections; nothing here calls a request's done() */
void conn_connect(struct conn *k);
void conn_close(struct conn *k); /* idle connections only */
void conn_drop(struct conn *k, int err); /* slots go back by client_slot_lost() */
void conn_process(struct conn *k);
void conn_timeouts(struct conn *k, u64 now);
u64 conn_deadline(const struct conn *k);
/* Most urgent chunk request that was sent here, or NONE_PENDING */
int conn_pending(const struct conn *k);
bool conn_rx_pending(const struct conn *k);
/* 0; -EAGAIN no room now (nothing sent); other errors: the connection was dropped */
int conn_send(struct conn *k, struct slot s, const char *method, const char *path,
	      const void *body, s64 body_bytes);

/* mirror.c */
void mirrors_set(struct client *c, const struct sources *list);
void mirrors_turn(struct client *c, u64 now);
struct mirror *mirror_of(const struct client *c, u32 i);
void mirror_failed(struct client *c, struct mirror *m, int err);
void mirror_answered(struct client *c, struct mirror *m, bool good);
u64 mirrors_deadline(const struct client *c, u64 now);

/* client.c: what became of a slot of connection @k */
void client_slot_done(struct conn *k, struct slot s, int err, u32 status);
/*
 * The connection went away. @first: this slot's answer was due; @stale: not
 * its fault (others were before it, or a connection that had worked was
 * closed before the answer began).
 */
void client_slot_lost(struct conn *k, struct slot s, int err, bool first, bool stale);
void client_conn_up(struct conn *k);
void client_conn_failed(struct conn *k, int err, bool worked);

/* TLS leads home alone. */
static inline struct tls *conn_tls(const struct conn *k)
{
	return k->mirror ? NULL : k->tls;
}

static inline struct slot *conn_slot(struct conn *k, u32 i)
{
	return &k->slots[(k->head + i) % CLIENT_DEPTH_MAX];
}

#endif
