/*
 * mbedtls_config.h - Mbed TLS cut down to SHA-256 and ECDSA verification on P-256
 *
 * No operating system, no heap but crypto_mbedtls.c's arena, no randomness:
 * verification has no secrets, so blinding would defend nothing.
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

#define MBEDTLS_SHA256_C
#define MBEDTLS_SHA256_PROCESS_ALT /* sha256_block.c */
#define MBEDTLS_BIGNUM_C
#define MBEDTLS_ECP_C
#define MBEDTLS_ECP_DP_SECP256R1_ENABLED
#define MBEDTLS_ECP_NIST_OPTIM
#define MBEDTLS_ECP_NO_INTERNAL_RNG
#define MBEDTLS_ECP_WINDOW_SIZE 4
#define MBEDTLS_ECP_FIXED_POINT_OPTIM 0
/* ecdsa.h speaks of ASN.1 only in functions that we leave out. */
#define MBEDTLS_ECDSA_C
#define MBEDTLS_ASN1_WRITE_C
#define MBEDTLS_ASN1_PARSE_C

#include <stddef.h>

void *crypto_arena_calloc(size_t n, size_t bytes);
void crypto_arena_free(void *p);

#include "mbedtls/check_config.h"

#endif
