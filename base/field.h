/*
 * field.h - masks instead of bitfields for everything hardware can see
 */
#ifndef BASE_FIELD_H
#define BASE_FIELD_H

#define BIT(n) (1u << (n))
#define BIT64(n) (1ull << (n))
/* GENMASK(h, l): bits h..l set, 64 bits wide so that it fits either register */
#define GENMASK(h, l) ((~0ull >> (63 - (h))) & (~0ull << (l)))

#define FIELD_SHIFT(mask) (__builtin_ctzll(mask))
#define FIELD_GET(mask, v) (((v) & (mask)) >> FIELD_SHIFT(mask))
#define FIELD_PREP(mask, v) (((__typeof__(mask))(v) << FIELD_SHIFT(mask)) & (mask))

#endif
