/*
 * crypto_arena.h - the heap of Mbed TLS (mbedtls_config.h)
 */
#ifndef BASE_CRYPTO_ARENA_H
#define BASE_CRYPTO_ARENA_H

#include <stddef.h>

void *crypto_arena_calloc(size_t n, size_t bytes);
void crypto_arena_free(void *mem);
size_t crypto_arena_used(size_t *most);

#endif
