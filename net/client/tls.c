/*
 * tls.c - the client's side of a TLS 1.2 connection, by Mbed TLS
 *
 * [RFC 5246], one cipher suite (base/mbedtls_config.h), so there is nothing to
 * downgrade to.
 *
 * Whom to believe: the server's certificate must be signed by the site's key, the
 * one in freshet.efi that tickets and manifests are signed with. For Mbed TLS
 * that key is wrapped up as a certificate authority (anchor_*), whose name is the
 * one that server/tls.c gives. No authority of the world is asked, none in
 * between is taken. The certificate must be for servers, and must name the
 * address that we connected to.
 *
 * Time: the VMM has no clock to trust. What it has is the latest time that the
 * site has signed (tls_site_time(), from tickets); a certificate that ended
 * before is refused. So an old one whose key has leaked is of use only until a PC
 * has seen a newer ticket.
 *
 * Staying short: the operations on the curve return after CURVE_OPS; a handshake
 * takes some forty calls then. All else is cheap: a record is at most 16 KiB.
 *
 * Memory: each connection has its two record buffers from the start; the rest of
 * a handshake comes and goes in the arena. When that is full, the handshake
 * fails like one that the wire has cut.
 */
#include "net/client/tls.h"

#include <mbedtls/ecp.h>
#include <mbedtls/hmac_drbg.h>
#include <mbedtls/oid.h>
#include <mbedtls/ssl.h>
#include <mbedtls/x509_crt.h>
#include <string.h>

#include "base/assert.h"
#include "base/err.h"
#include "base/log.h"
#include "base/plat.h"

#define SEED_BYTES 64
#define CURVE_OPS 400 /* of the about 3300 of one multiplication */
#define RECORD_OVERHEAD 64 /* header, tag, and some */
#define SAN_IP 0x87 /* [RFC 5280 §4.2.1.6], context-specific 7 */

struct tls_site {
	mbedtls_ssl_config conf;
	mbedtls_x509_crt anchors;
	mbedtls_hmac_drbg_context drbg;
	u8 ip[4];
	u64 time; /* unix, at least */
};

struct tls {
	struct tls_site *site;
	mbedtls_ssl_context ssl;
	const struct tls_wire *wire;
	void *ctx;
	bool lost; /* the peer sends no more */
};

/* ---------------------------------------------------------------- whom to believe */

/*
 * A certificate of version 3 for O=Freshet, CN=Freshet site, ECDSA on P-256, an
 * authority with path length 0, in DER [RFC 5280 §4.1]; between the two pieces
 * goes the key. Its own signature is not looked at: the key is believed already.
 */
static const u8 anchor_head[] = {
	0x30, 0x82, 0x01, 0x17, 0x30, 0x81, 0xfd, 0xa0, 0x03, 0x02, 0x01, 0x02, 0x02, 0x01, 0x01,
	/* ecdsa-with-SHA256; the issuer */
	0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02,
	0x30, 0x29, 0x31, 0x10, 0x30, 0x0e, 0x06, 0x03, 0x55, 0x04, 0x0a, 0x0c, 0x07,
	'F', 'r', 'e', 's', 'h', 'e', 't',
	0x31, 0x15, 0x30, 0x13, 0x06, 0x03, 0x55, 0x04, 0x03, 0x0c, 0x0c,
	'F', 'r', 'e', 's', 'h', 'e', 't', ' ', 's', 'i', 't', 'e',
	/* from, to; the subject */
	0x30, 0x1e, 0x17, 0x0d, '0', '0', '0', '1', '0', '1', '0', '0', '0', '0', '0', '0', 'Z',
	0x17, 0x0d, '4', '9', '1', '2', '3', '1', '2', '3', '5', '9', '5', '9', 'Z',
	0x30, 0x29, 0x31, 0x10, 0x30, 0x0e, 0x06, 0x03, 0x55, 0x04, 0x0a, 0x0c, 0x07,
	'F', 'r', 'e', 's', 'h', 'e', 't',
	0x31, 0x15, 0x30, 0x13, 0x06, 0x03, 0x55, 0x04, 0x03, 0x0c, 0x0c,
	'F', 'r', 'e', 's', 'h', 'e', 't', ' ', 's', 'i', 't', 'e',
	/* id-ecPublicKey, prime256v1, an uncompressed point */
	0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01,
	0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04,
};
static const u8 anchor_tail[] = {
	/* basicConstraints, critical: CA, path length 0 */
	0xa3, 0x16, 0x30, 0x14, 0x30, 0x12, 0x06, 0x03, 0x55, 0x1d, 0x13, 0x01, 0x01, 0xff,
	0x04, 0x08, 0x30, 0x06, 0x01, 0x01, 0xff, 0x02, 0x01, 0x00,
	/* ecdsa-with-SHA256, a signature of nothing */
	0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02,
	0x03, 0x09, 0x00, 0x30, 0x06, 0x02, 0x01, 0x01, 0x02, 0x01, 0x01,
};

#define ANCHOR_BYTES (sizeof(anchor_head) + P256_PUB_BYTES + sizeof(anchor_tail))
static_assert(ANCHOR_BYTES == 4 + 0x117, "the lengths in anchor_head");

static int anchor_add(mbedtls_x509_crt *chain, const u8 key[P256_PUB_BYTES])
{
	u8 der[ANCHOR_BYTES];

	memcpy(der, anchor_head, sizeof(anchor_head));
	memcpy(der + sizeof(anchor_head), key, P256_PUB_BYTES);
	memcpy(der + sizeof(anchor_head) + P256_PUB_BYTES, anchor_tail, sizeof(anchor_tail));
	switch (mbedtls_x509_crt_parse_der(chain, der, sizeof(der))) {
	case 0:
		return 0;
	case MBEDTLS_ERR_X509_ALLOC_FAILED:
		return -ENOMEM;
	default:
		return -EINVAL; /* not a point of the curve */
	}
}

static bool names(const mbedtls_x509_crt *crt, const u8 ip[4])
{
	if (!(crt->ext_types & MBEDTLS_X509_EXT_SUBJECT_ALT_NAME))
		return false;
	for (const mbedtls_x509_sequence *n = &crt->subject_alt_names; n; n = n->next)
		if (n->buf.tag == SAN_IP && n->buf.len == 4 && !memcmp(n->buf.p, ip, 4))
			return true;
	return false;
}

/* Seconds since 1970 of a date in the Gregorian calendar. */
static u64 unix_time(const mbedtls_x509_time *t)
{
	s64 y = t->year - (t->mon <= 2), m = (t->mon + 9) % 12; /* the year begins in March */
	s64 days = y * 365 + y / 4 - y / 100 + y / 400 + (m * 153 + 2) / 5 + t->day - 1 - 719468;

	if (days < 0)
		return 0;
	return (u64)(((days * 24 + t->hour) * 60 + t->min) * 60 + t->sec);
}

/* Mbed TLS has checked signature, purpose and chain; the rest is ours. */
static int check_cert(void *arg, mbedtls_x509_crt *crt, int depth, uint32_t *flags)
{
	const struct tls_site *s = arg;

	if (depth)
		return 0;
	if (!names(crt, s->ip))
		*flags |= MBEDTLS_X509_BADCERT_CN_MISMATCH;
	if (unix_time(&crt->valid_to) < s->time)
		*flags |= MBEDTLS_X509_BADCERT_EXPIRED;
	return 0;
}

static const char *why_refused(u32 flags)
{
	if (flags & MBEDTLS_X509_BADCERT_NOT_TRUSTED)
		return "not-signed-by-site-key";
	if (flags & MBEDTLS_X509_BADCERT_CN_MISMATCH)
		return "other-address";
	if (flags & MBEDTLS_X509_BADCERT_EXPIRED)
		return "ended-before-last-ticket";
	if (flags & (MBEDTLS_X509_BADCERT_KEY_USAGE | MBEDTLS_X509_BADCERT_EXT_KEY_USAGE |
		     MBEDTLS_X509_BADCERT_NS_CERT_TYPE))
		return "not-for-servers";
	return "weak-or-odd";
}

/* ---------------------------------------------------------------- what is shared */

static void site_conf(struct tls_site *s)
{
	static const int suites[] = { MBEDTLS_TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, 0 };
	static const int hashes[] = { MBEDTLS_MD_SHA256, 0 };
	static const mbedtls_ecp_group_id curves[] = { MBEDTLS_ECP_DP_SECP256R1,
						       MBEDTLS_ECP_DP_NONE };
	static const mbedtls_x509_crt_profile profile = {
		MBEDTLS_X509_ID_FLAG(MBEDTLS_MD_SHA256),
		MBEDTLS_X509_ID_FLAG(MBEDTLS_PK_ECKEY) | MBEDTLS_X509_ID_FLAG(MBEDTLS_PK_ECDSA),
		MBEDTLS_X509_ID_FLAG(MBEDTLS_ECP_DP_SECP256R1),
		0,
	};
	mbedtls_ssl_config *c = &s->conf;

	mbedtls_ssl_conf_endpoint(c, MBEDTLS_SSL_IS_CLIENT);
	mbedtls_ssl_conf_transport(c, MBEDTLS_SSL_TRANSPORT_STREAM);
	mbedtls_ssl_conf_min_version(c, MBEDTLS_SSL_MAJOR_VERSION_3, MBEDTLS_SSL_MINOR_VERSION_3);
	mbedtls_ssl_conf_max_version(c, MBEDTLS_SSL_MAJOR_VERSION_3, MBEDTLS_SSL_MINOR_VERSION_3);
	mbedtls_ssl_conf_ciphersuites(c, suites);
	mbedtls_ssl_conf_sig_hashes(c, hashes);
	mbedtls_ssl_conf_curves(c, curves);
	mbedtls_ssl_conf_cert_profile(c, &profile);
	mbedtls_ssl_conf_extended_master_secret(c, MBEDTLS_SSL_EXTENDED_MS_ENABLED);
	mbedtls_ssl_conf_authmode(c, MBEDTLS_SSL_VERIFY_REQUIRED);
	mbedtls_ssl_conf_ca_chain(c, &s->anchors, NULL);
	mbedtls_ssl_conf_verify(c, check_cert, s);
	mbedtls_ssl_conf_rng(c, mbedtls_hmac_drbg_random, &s->drbg);
	mbedtls_ecp_set_max_ops(CURVE_OPS);
}

static int site_seed(struct tls_site *s)
{
	u8 seed[SEED_BYTES];
	int err;

	if (!plat_entropy(seed, sizeof(seed)))
		log_warn("tls: no good source of randomness: connections may be readable");
	err = mbedtls_hmac_drbg_seed_buf(&s->drbg, mbedtls_md_info_from_type(MBEDTLS_MD_SHA256),
					 seed, sizeof(seed));
	memset(seed, 0, sizeof(seed));
	return err ? -ENOMEM : 0;
}

int tls_site_create(struct tls_site **out, const u8 (*keys)[P256_PUB_BYTES], u32 nkeys, u32 ip)
{
	struct tls_site *s;
	int err;

	if (!nkeys || nkeys > TLS_KEYS_MAX)
		return -EINVAL;
	s = plat_alloc(sizeof(*s));
	if (!s)
		return -ENOMEM;
	mbedtls_ssl_config_init(&s->conf);
	mbedtls_x509_crt_init(&s->anchors);
	mbedtls_hmac_drbg_init(&s->drbg);
	for (u32 i = 0; i < 4; i++)
		s->ip[i] = (u8)(ip >> (24 - 8 * i));
	err = site_seed(s);
	for (u32 i = 0; i < nkeys && !err; i++)
		err = anchor_add(&s->anchors, keys[i]);
	if (err) {
		tls_site_destroy(s);
		return err;
	}
	site_conf(s);
	*out = s;
	return 0;
}

void tls_site_destroy(struct tls_site *s)
{
	if (!s)
		return;
	mbedtls_ssl_config_free(&s->conf);
	mbedtls_x509_crt_free(&s->anchors);
	mbedtls_hmac_drbg_free(&s->drbg);
	plat_free(s);
}

void tls_site_time(struct tls_site *s, u64 unix_seconds)
{
	s->time = MAX(s->time, unix_seconds);
}

/* ---------------------------------------------------------------- one connection */

static int wire_send(void *arg, const unsigned char *data, size_t bytes)
{
	struct tls *t = arg;
	int n = t->wire->send(t->ctx, data, bytes);

	return n > 0 ? n : MBEDTLS_ERR_SSL_WANT_WRITE;
}

static int wire_recv(void *arg, unsigned char *out, size_t room)
{
	struct tls *t = arg;
	int n = t->wire->recv(t->ctx, out, room);

	t->lost = !n;
	return n >= 0 ? n : MBEDTLS_ERR_SSL_WANT_READ;
}

int tls_create(struct tls **out, struct tls_site *s, const struct tls_wire *wire, void *ctx)
{
	struct tls *t = plat_alloc(sizeof(*t));

	if (!t)
		return -ENOMEM;
	t->site = s;
	t->wire = wire;
	t->ctx = ctx;
	mbedtls_ssl_init(&t->ssl);
	if (mbedtls_ssl_setup(&t->ssl, &s->conf)) {
		tls_destroy(t);
		return -ENOMEM;
	}
	mbedtls_ssl_set_bio(&t->ssl, t, wire_send, wire_recv, NULL);
	*out = t;
	return 0;
}

void tls_destroy(struct tls *t)
{
	if (!t)
		return;
	mbedtls_ssl_free(&t->ssl);
	plat_free(t);
}

int tls_begin(struct tls *t)
{
	t->lost = false;
	return mbedtls_ssl_session_reset(&t->ssl) ? -ENOMEM : 0;
}

/* An error of Mbed TLS as one of ours. */
static int to_errno(const struct tls *t, int ret)
{
	switch (ret) {
	case MBEDTLS_ERR_SSL_WANT_READ:
	case MBEDTLS_ERR_SSL_WANT_WRITE:
		return -EAGAIN;
	case MBEDTLS_ERR_SSL_CRYPTO_IN_PROGRESS:
		return -EINPROGRESS;
	case MBEDTLS_ERR_SSL_ALLOC_FAILED:
	case MBEDTLS_ERR_MPI_ALLOC_FAILED:
	case MBEDTLS_ERR_ECP_ALLOC_FAILED:
	case MBEDTLS_ERR_X509_ALLOC_FAILED:
		return -ENOMEM;
	case MBEDTLS_ERR_SSL_CONN_EOF:
		return -ECONNRESET;
	default:
		return t->lost ? -ECONNRESET : -EPROTO;
	}
}

/* Before the server's first flight is over it may be no TLS server, or not one for us. */
static bool is_hello(const struct tls *t)
{
	return t->ssl.state <= MBEDTLS_SSL_SERVER_HELLO;
}

int tls_handshake(struct tls *t)
{
	int ret = mbedtls_ssl_handshake(&t->ssl), err;
	u32 flags;

	if (!ret)
		return 0;
	err = to_errno(t, ret);
	if (err == -EAGAIN || err == -EINPROGRESS)
		return err;
	flags = mbedtls_ssl_get_verify_result(&t->ssl);
	if (ret == MBEDTLS_ERR_X509_CERT_VERIFY_FAILED ||
	    ret == MBEDTLS_ERR_SSL_BAD_HS_CERTIFICATE) {
		log_limited(LOG_ERR, "tls: server refused why=%s", why_refused(flags));
		return -EKEYREJECTED;
	}
	if (is_hello(t) && err == -EPROTO)
		err = -EOPNOTSUPP;
	log_limited(LOG_WARN, "tls: handshake failed state=%d ret=-0x%x err=%s", t->ssl.state,
		    (u32)-ret, err_name(err));
	return err;
}

int tls_read(struct tls *t, void *out, size_t room)
{
	int ret = mbedtls_ssl_read(&t->ssl, out, room);

	if (ret > 0)
		return ret;
	if (ret == MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY)
		return 0;
	return ret ? to_errno(t, ret) : -ECONNRESET; /* 0: the wire's end, which anybody can make */
}

bool tls_pending(const struct tls *t)
{
	return mbedtls_ssl_check_pending(&t->ssl);
}

size_t tls_room(size_t bytes)
{
	return bytes + (bytes / MBEDTLS_SSL_OUT_CONTENT_LEN + 1) * RECORD_OVERHEAD;
}

int tls_write(struct tls *t, const void *data, size_t bytes)
{
	const u8 *p = data;

	while (bytes) {
		int n = mbedtls_ssl_write(&t->ssl, p, bytes);

		if (n <= 0)
			return err_trace(-ENOMEM); /* the wire had room, so it has lied */
		p += n;
		bytes -= (size_t)n;
	}
	return 0;
}

void tls_end(struct tls *t)
{
	mbedtls_ssl_close_notify(&t->ssl);
}
