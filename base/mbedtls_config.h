/*
 * mbedtls_config.h - Mbed TLS cut down to what the VMM says over the network
 *
 * SHA-256 and ECDSA verification on P-256 for signatures; a TLS 1.2 client with
 * one cipher suite, ECDHE-ECDSA with ChaCha20-Poly1305 on P-256, for the
 * connection (net/client/tls.c). What is not compiled cannot be negotiated.
 * ChaCha20, because the VMM may not touch the guest's vector registers: AES
 * would be tables, slow and readable through the cache.
 *
 * Mbed TLS of Debian 12 is 2.28: TLS 1.3 is only begun there.
 *
 * No operating system, no heap but crypto_arena.c's, no clock, and no randomness
 * but what a caller hands in: where none is handed in there is no secret.
 * Operations on the curve can be interrupted and gone on with, so that a handshake
 * never holds a CPU for long.
 */
#ifndef BASE_MBEDTLS_CONFIG_H
#define BASE_MBEDTLS_CONFIG_H

#define MBEDTLS_HAVE_ASM
#define MBEDTLS_NO_UDBL_DIVISION /* 128-bit division would need libgcc */
#define MBEDTLS_NO_PLATFORM_ENTROPY
#define MBEDTLS_PLATFORM_C
#define MBEDTLS_PLATFORM_MEMORY
#define MBEDTLS_PLATFORM_CALLOC_MACRO crypto_arena_calloc
#define MBEDTLS_PLATFORM_FREE_MACRO crypto_arena_free
#define MBEDTLS_PLATFORM_SNPRINTF_MACRO fmt_snprintf

#define MBEDTLS_SHA256_C
#define MBEDTLS_BIGNUM_C
#define MBEDTLS_ECP_C
#define MBEDTLS_ECP_DP_SECP256R1_ENABLED
#define MBEDTLS_ECP_NIST_OPTIM
#define MBEDTLS_ECP_NO_INTERNAL_RNG
#define MBEDTLS_ECP_RESTARTABLE
#define MBEDTLS_ECP_WINDOW_SIZE 4
#define MBEDTLS_ECP_FIXED_POINT_OPTIM 0
#define MBEDTLS_ECDSA_C
#define MBEDTLS_ASN1_WRITE_C
#define MBEDTLS_ASN1_PARSE_C

#define MBEDTLS_MD_C
#define MBEDTLS_HMAC_DRBG_C
#define MBEDTLS_CIPHER_C
#define MBEDTLS_CHACHA20_C
#define MBEDTLS_POLY1305_C
#define MBEDTLS_CHACHAPOLY_C
#define MBEDTLS_OID_C
#define MBEDTLS_PK_C
#define MBEDTLS_PK_PARSE_C
#define MBEDTLS_ECDH_C
#define MBEDTLS_ECDH_LEGACY_CONTEXT /* the one that can be interrupted */
#define MBEDTLS_X509_USE_C
#define MBEDTLS_X509_CRT_PARSE_C
#define MBEDTLS_X509_CHECK_KEY_USAGE
#define MBEDTLS_X509_CHECK_EXTENDED_KEY_USAGE
#define MBEDTLS_X509_REMOVE_INFO
#define MBEDTLS_X509_MAX_INTERMEDIATE_CA 2

#define MBEDTLS_SSL_TLS_C
#define MBEDTLS_SSL_CLI_C
#define MBEDTLS_SSL_PROTO_TLS1_2
#define MBEDTLS_SSL_EXTENDED_MASTER_SECRET
#define MBEDTLS_SSL_KEEP_PEER_CERTIFICATE
#define MBEDTLS_KEY_EXCHANGE_ECDHE_ECDSA_ENABLED
/* What a server may send in one record, and what we do: memory of a connection. */
#define MBEDTLS_SSL_IN_CONTENT_LEN 16384
#define MBEDTLS_SSL_OUT_CONTENT_LEN 4096

#include "base/crypto_arena.h"
#include "base/fmt.h"

#include "mbedtls/check_config.h"

#endif
