/*
 * tls.c - the server's certificate and TLS settings
 *
 * Without a certificate of the admin's own the server makes one, signed by the
 * site's key: tls/ca.crt is that key as a certificate authority, tls/server.crt
 * and server.key are ours. So whoever has the site's public key, every PC with its
 * freshet.efi included, can check that it talks to this site, and people import
 * one ca.crt, once. It may sign for this site's servers only: path length zero.
 *
 * TLS 1.2 and 1.3 [RFC 5246, 8446], forward secrecy, AEAD ciphers.
 */
#include "server/tls.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "base/err.h"
#include "base/fmt.h"
#include "base/log.h"

#define CA_DAYS (20 * 365)
#define CERT_DAYS 397 /* what browsers take at most */
#define RENEW_DAYS 30
#define PATH_MAX_BYTES 512

static int say(const char *what)
{
	char text[160] = "?";

	ERR_error_string_n(ERR_get_error(), text, sizeof(text));
	ERR_clear_error();
	log_err("tls: %s failed: %s", what, text);
	return -EIO;
}

static EVP_PKEY *load_key(const char *path)
{
	FILE *f = fopen(path, "re");
	EVP_PKEY *k = f ? PEM_read_PrivateKey(f, NULL, NULL, NULL) : NULL;

	if (f)
		fclose(f);
	return k;
}

static X509 *load_cert(const char *path)
{
	FILE *f = fopen(path, "re");
	X509 *x = f ? PEM_read_X509(f, NULL, NULL, NULL) : NULL;

	if (f)
		fclose(f);
	return x;
}

static bool add_extension(X509 *x, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX ctx;
	X509_EXTENSION *e;
	bool ok;

	X509V3_set_ctx_nodb(&ctx);
	X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
	e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	ok = e && X509_add_ext(x, e, -1) == 1;
	X509_EXTENSION_free(e);
	return ok;
}

/* A certificate without extensions and signature. */
static X509 *new_cert(EVP_PKEY *key, const char *cn, X509_NAME *issuer, long days)
{
	X509 *x = X509_new();
	X509_NAME *name = x ? X509_get_subject_name(x) : NULL;
	BIGNUM *serial = BN_new();
	bool ok = x && serial && BN_rand(serial, 127, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY) &&
		  BN_to_ASN1_INTEGER(serial, X509_get_serialNumber(x)) &&
		  X509_set_version(x, X509_VERSION_3) &&
		  X509_gmtime_adj(X509_getm_notBefore(x), -86400) &&
		  X509_gmtime_adj(X509_getm_notAfter(x), days * 86400) &&
		  X509_set_pubkey(x, key) &&
		  X509_NAME_add_entry_by_txt(name, "O", MBSTRING_UTF8, (const u8 *)"Freshet", -1,
					     -1, 0) &&
		  X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const u8 *)cn, -1, -1,
					     0) &&
		  X509_set_issuer_name(x, issuer ? issuer : name);

	BN_free(serial);
	if (ok)
		return x;
	X509_free(x);
	return NULL;
}

static int write_pem(const char *path, X509 *x, EVP_PKEY *key)
{
	char tmp[PATH_MAX_BYTES + 8];
	int fd, ok;
	FILE *f;

	snprintf(tmp, sizeof(tmp), "%s.new", path);
	fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, x ? 0644 : 0600);
	f = fd < 0 ? NULL : fdopen(fd, "w");
	if (!f)
		return -errno;
	ok = x ? PEM_write_X509(f, x) :
		 PEM_write_PKCS8PrivateKey(f, key, NULL, NULL, 0, NULL, NULL);
	ok = ok && !fflush(f) && !fsync(fd);
	if (fclose(f) || !ok || rename(tmp, path))
		return -EIO;
	return 0;
}

static X509 *make_ca(EVP_PKEY *key)
{
	X509 *x = new_cert(key, "Freshet site", NULL, CA_DAYS);

	if (x && add_extension(x, x, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") &&
	    add_extension(x, x, NID_key_usage, "critical,keyCertSign,cRLSign") &&
	    add_extension(x, x, NID_subject_key_identifier, "hash") &&
	    X509_sign(x, key, EVP_sha256()))
		return x;
	X509_free(x);
	return NULL;
}

static void add_name(char *list, size_t room, const char *name, size_t n)
{
	char one[CONFIG_TEXT_MAX], entry[CONFIG_TEXT_MAX + 8];
	u8 addr[16];
	size_t have = strlen(list);

	if (!n || n >= sizeof(one))
		return;
	memcpy(one, name, n);
	one[n] = 0;
	for (const char *p = one; *p; p++)
		if (!strchr("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.:-*",
			    *p))
			return;
	fmt_snprintf(entry, sizeof(entry), "%s:%s",
		     inet_pton(AF_INET, one, addr) == 1 || inet_pton(AF_INET6, one, addr) == 1 ?
			     "IP" : "DNS", one);
	if (!strstr(list, entry))
		snprintf(list + have, room - have, "%s%s", have ? "," : "", entry);
}

/* What `freshet boot build` told the PCs: they take no certificate without that address. */
static void add_netboot(char *list, size_t room, const char *data)
{
	static const char key[] = "server https://";
	char path[PATH_MAX_BYTES + 32], line[256];
	FILE *f;

	fmt_snprintf(path, sizeof(path), "%s/netboot/freshet.conf", data);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		if (!strncmp(line, key, sizeof(key) - 1))
			add_name(list, room, line + sizeof(key) - 1,
				 strcspn(line + sizeof(key) - 1, ":/\n"));
	if (f)
		fclose(f);
}

/*
 * Everything that this host may be called: names given, host name, addresses
 * listened at, the one that PCs know.
 */
static void collect_names(char *list, size_t room, const char *data, const struct config *c)
{
	char host[256] = "";
	const char *p = c->tls_names;

	list[0] = 0;
	add_name(list, room, "localhost", 9);
	add_name(list, room, "127.0.0.1", 9);
	add_name(list, room, "::1", 3);
	if (!gethostname(host, sizeof(host) - 1))
		add_name(list, room, host, strlen(host));
	add_netboot(list, room, data);
	while (*p) {
		size_t n = strcspn(p, " \t,");

		add_name(list, room, p, n);
		p += n;
		p += strspn(p, " \t,");
	}
	for (u32 i = 0; i < c->listens_tls; i++) {
		const char *a = c->listen_tls[i], *colon = strrchr(a, ':');
		size_t n = colon ? (size_t)(colon - a) : 0;

		if (n > 2 && a[0] == '[') {
			a++;
			n -= 2;
		}
		if (strncmp(a, "0.0.0.0", 7) && strncmp(a, "::", 2))
			add_name(list, room, a, n);
	}
}

static X509 *make_server(EVP_PKEY *key, X509 *ca, EVP_PKEY *ca_key, const char *names)
{
	char host[65] = "freshetd";
	X509 *x;

	gethostname(host, sizeof(host) - 1);
	x = new_cert(key, host, X509_get_subject_name(ca), CERT_DAYS);
	if (x && add_extension(x, ca, NID_basic_constraints, "critical,CA:FALSE") &&
	    add_extension(x, ca, NID_key_usage, "critical,digitalSignature") &&
	    add_extension(x, ca, NID_ext_key_usage, "serverAuth") &&
	    add_extension(x, ca, NID_subject_alt_name, names) &&
	    add_extension(x, ca, NID_subject_key_identifier, "hash") &&
	    add_extension(x, ca, NID_authority_key_identifier, "keyid") &&
	    X509_sign(x, ca_key, EVP_sha256()))
		return x;
	X509_free(x);
	return NULL;
}

/* Is the certificate good for a month, for these names, and from this site? */
static bool still_good(X509 *x, EVP_PKEY *ca_key, const char *names)
{
	time_t soon = time(NULL) + RENEW_DAYS * 86400;
	GENERAL_NAMES *have, *want;
	X509_EXTENSION *e;
	X509V3_CTX ctx;
	bool good;

	if (!x || X509_cmp_time(X509_get0_notAfter(x), &soon) <= 0 || X509_verify(x, ca_key) != 1)
		return false;
	X509V3_set_ctx_nodb(&ctx);
	X509V3_set_ctx(&ctx, x, x, NULL, NULL, 0);
	e = X509V3_EXT_conf_nid(NULL, &ctx, NID_subject_alt_name, names);
	have = X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL);
	want = e ? X509V3_EXT_d2i(e) : NULL;
	good = have && want && sk_GENERAL_NAME_num(have) == sk_GENERAL_NAME_num(want);
	for (int i = 0; good && i < sk_GENERAL_NAME_num(have); i++)
		good = !GENERAL_NAME_cmp(sk_GENERAL_NAME_value(have, i),
					 sk_GENERAL_NAME_value(want, i));
	GENERAL_NAMES_free(have);
	GENERAL_NAMES_free(want);
	X509_EXTENSION_free(e);
	return good;
}

static int make_all(const char *dir, EVP_PKEY *ca_key, const char *names)
{
	char ca_path[PATH_MAX_BYTES], crt_path[PATH_MAX_BYTES], key_path[PATH_MAX_BYTES];
	EVP_PKEY *key;
	X509 *ca, *crt;
	int err = 0;

	fmt_snprintf(ca_path, sizeof(ca_path), "%s/ca.crt", dir);
	fmt_snprintf(crt_path, sizeof(crt_path), "%s/server.crt", dir);
	fmt_snprintf(key_path, sizeof(key_path), "%s/server.key", dir);
	ca = load_cert(ca_path);
	if (!ca || X509_verify(ca, ca_key) != 1) {
		X509_free(ca);
		ca = make_ca(ca_key);
		err = ca ? write_pem(ca_path, ca, NULL) : say("making ca.crt");
	}
	key = load_key(key_path);
	if (!err && !key) {
		key = EVP_EC_gen("P-256");
		err = key ? write_pem(key_path, NULL, key) : say("making server.key");
	}
	crt = load_cert(crt_path);
	if (!err && (!still_good(crt, ca_key, names) || X509_check_private_key(crt, key) != 1)) {
		X509_free(crt);
		crt = make_server(key, ca, ca_key, names);
		err = crt ? write_pem(crt_path, crt, NULL) : say("making server.crt");
		if (!err)
			log_info("tls: made a certificate names=%s", names);
	}
	ERR_clear_error();
	X509_free(ca);
	X509_free(crt);
	EVP_PKEY_free(key);
	return err;
}

/**
 * tls_make_certificate() - see that tls/ has a certificate that is good for a while
 * @names: NULL: everything that this host may be called
 */
int tls_make_certificate(const char *data, const char *site_key, const char *names,
			 const struct config *c)
{
	char dir[PATH_MAX_BYTES], list[2048];
	EVP_PKEY *ca_key;
	int err;

	snprintf(dir, sizeof(dir), "%.400s/tls", data);
	if (mkdir(dir, 0755) && errno != EEXIST) {
		log_err("tls: cannot make %s err=%s", dir, strerror(errno));
		return -EIO;
	}
	if (!names) {
		collect_names(list, sizeof(list), data, c);
		names = list;
	}
	ca_key = load_key(site_key);
	if (!ca_key)
		return say("reading the site's key");
	err = make_all(dir, ca_key, names);
	EVP_PKEY_free(ca_key);
	return err;
}

/** tls_context() - what connections are made with; 0, or -EIO having said why */
int tls_context(SSL_CTX **out, const char *cert, const char *key)
{
	SSL_CTX *c = SSL_CTX_new(TLS_server_method());

	if (!c)
		return -ENOMEM;
	SSL_CTX_set_min_proto_version(c, TLS1_2_VERSION);
	SSL_CTX_set_options(c, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION |
				       SSL_OP_CIPHER_SERVER_PREFERENCE |
				       SSL_OP_IGNORE_UNEXPECTED_EOF);
	SSL_CTX_set_mode(c, SSL_MODE_RELEASE_BUFFERS);
	if (SSL_CTX_set_cipher_list(c, "ECDHE+AESGCM:ECDHE+CHACHA20") != 1 ||
	    SSL_CTX_use_certificate_chain_file(c, cert) != 1 ||
	    SSL_CTX_use_PrivateKey_file(c, key, SSL_FILETYPE_PEM) != 1 ||
	    SSL_CTX_check_private_key(c) != 1) {
		SSL_CTX_free(c);
		return say(cert);
	}
	*out = c;
	return 0;
}
