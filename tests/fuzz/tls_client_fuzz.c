/*
 * What a hostile server may say to net/client/tls.c: the input is a site's public
 * key and then the server's bytes, cut into pieces by their own values now and
 * then. The client's randomness is the same each time, so a recorded connection
 * (corpus, by tests/unit/client_tls_test with TLS_RECORD=file) goes all the way to
 * the data, and the mutations of it begin there too.
 */
#include <string.h>

#include "base/assert.h"
#include "base/crypto_arena.h"
#include "base/err.h"
#include "base/plat_host.h"
#include "net/client/tls.h"

struct peer {
	const u8 *at, *end;
	u32 step;
	bool hungry; /* this turn has had its piece */
};

static int peer_send(void *ctx, const void *data, size_t bytes)
{
	(void)ctx;
	(void)data;
	return (int)bytes;
}

static int peer_recv(void *ctx, void *out, size_t room)
{
	struct peer *p = ctx;
	size_t n = MIN(room, (size_t)(p->end - p->at));

	if (!n)
		return 0;
	if (p->hungry && !(p->hungry = false))
		return -EAGAIN;
	if (p->step++ % 16 == 15) {
		n = MIN(n, (size_t)p->at[0] % 7 + 1);
		p->hungry = true;
	}
	memcpy(out, p->at, n);
	p->at += n;
	return (int)n;
}

static const struct tls_wire wire = { .send = peer_send, .recv = peer_recv };

int LLVMFuzzerTestOneInput(const u8 *data, size_t n);
int LLVMFuzzerTestOneInput(const u8 *data, size_t n)
{
	struct peer p = { .at = data + P256_PUB_BYTES, .end = data + n };
	u8 key[1][P256_PUB_BYTES], buf[512];
	struct tls_site *site;
	struct tls *t;
	int err;

	plat_host_quiet = plat_host_predictable = true;
	if (n <= P256_PUB_BYTES)
		return 0;
	memcpy(key[0], data, P256_PUB_BYTES);
	if (tls_site_create(&site, key, 1, 0x0a000001))
		return 0;
	assert(!tls_create(&t, site, &wire, &p) && !tls_begin(t));
	do {
		err = tls_handshake(t);
	} while (err == -EAGAIN || err == -EINPROGRESS);
	if (!err) {
		tls_write(t, "GET", 3);
		do {
			err = tls_read(t, buf, sizeof(buf));
		} while (err > 0 || err == -EAGAIN);
		tls_end(t);
	}
	tls_destroy(t);
	tls_site_destroy(site);
	assert(!crypto_arena_used(NULL));
	return 0;
}
