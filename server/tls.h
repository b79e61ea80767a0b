/*
 * tls.h - the server's certificate and TLS settings
 */
#ifndef SERVER_TLS_H
#define SERVER_TLS_H

#include <openssl/ssl.h>

#include "base/types.h"
#include "server/config.h"

int tls_make_certificate(const char *data, const char *site_key, const char *names,
			 const struct config *c);
int tls_context(SSL_CTX **out, const char *cert, const char *key);

#endif
