/*
 * crypto_arena.c - the heap of Mbed TLS: a first-fit list in static memory
 *
 * What is in it: a TLS connection's two record buffers (22 KiB each connection,
 * for as long as the client lives), what a handshake and a signature's
 * verification need for a while (20 KiB at most), and a peer's certificate. When
 * it is full, whatever asked fails cleanly: a connection is given up, a signature
 * is not believed. The rest of the VMM's memory is out of its reach.
 *
 * One owner calls everything here: in the VMM that is the pump.
 */
#include "base/crypto_arena.h"

#include <string.h>

#include "base/assert.h"
#include "base/types.h"

#define ARENA_BYTES (192 * 1024)

/* Before every piece; pieces follow one another without gaps. */
struct piece {
	u32 bytes; /* header included, a multiple of 16 */
	u32 used;
	u64 pad;
};

static u8 arena[ARENA_BYTES] __aligned(16);
static bool arena_ready;
static size_t arena_used, arena_most;

static_assert(sizeof(struct piece) == 16, "pieces keep 16-byte alignment");

static struct piece *piece_next(struct piece *p)
{
	return (struct piece *)((u8 *)p + p->bytes);
}

static bool piece_is_end(const struct piece *p)
{
	return (const u8 *)p == arena + ARENA_BYTES;
}

/* Join @p with the free pieces behind it. */
static void piece_join(struct piece *p)
{
	struct piece *n = piece_next(p);

	while (!piece_is_end(n) && !n->used) {
		p->bytes += n->bytes;
		n = piece_next(p);
	}
}

/**
 * crypto_arena_calloc() - Mbed TLS's calloc()
 *
 * Return: zeroed memory, or NULL when the arena is full.
 */
void *crypto_arena_calloc(size_t n, size_t bytes)
{
	struct piece *p = (struct piece *)arena;
	u32 want;

	if (!n || !bytes || n > ARENA_BYTES || bytes > ARENA_BYTES || n * bytes > ARENA_BYTES)
		return NULL;
	want = (u32)(sizeof(*p) + ALIGN_UP(n * bytes, (size_t)16));
	if (!arena_ready) {
		*p = (struct piece){ .bytes = ARENA_BYTES };
		arena_ready = true;
	}
	for (; !piece_is_end(p); p = piece_next(p)) {
		if (p->used)
			continue;
		piece_join(p);
		if (p->bytes < want)
			continue;
		if (p->bytes > want) {
			u32 rest = p->bytes - want;

			p->bytes = want;
			*piece_next(p) = (struct piece){ .bytes = rest };
		}
		p->used = 1;
		arena_used += p->bytes;
		arena_most = MAX(arena_most, arena_used);
		return memset(p + 1, 0, want - sizeof(*p));
	}
	return NULL;
}

/** crypto_arena_free() - Mbed TLS's free() */
void crypto_arena_free(void *mem)
{
	struct piece *p;

	if (!mem)
		return;
	p = (struct piece *)mem - 1;
	assert((u8 *)p >= arena && (u8 *)mem < arena + ARENA_BYTES && p->used);
	p->used = 0;
	arena_used -= p->bytes;
}

/** crypto_arena_used() - bytes in use, for tests and figures; *most: ever, if not NULL */
size_t crypto_arena_used(size_t *most)
{
	if (most)
		*most = arena_most;
	return arena_used;
}
