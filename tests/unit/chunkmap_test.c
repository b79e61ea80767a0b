/*
 * The map of guest writes against a model of two bits for each block and a slot for each chunk
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "storage/core/chunkmap.h"

#define CHUNKS 83u

static u64 rng;

static u32 below(u32 n)
{
	rng = rng * 6364136223846793005ull + 1442695040888963407ull;
	return (u32)((rng >> 33) % n);
}

struct model {
	u8 state[CHUNKS * 256]; /* enum ovl_state */
	u32 slot[CHUNKS];
};

static void compare(const struct chunkmap *m, const struct model *w)
{
	u32 slots = 0;

	for (u32 c = 0; c < m->chunks; c++) {
		bool any = false, valid = false;

		assert_int_equal(chunkmap_ovl_slot(m, c), w->slot[c]);
		slots += w->slot[c] != SLOT_NONE;
		for (u32 b = c * m->bpc; b < (c + 1) * m->bpc; b++) {
			u32 slot = SLOT_NONE;

			assert_int_equal(chunkmap_ovl_at(m, b, &slot), w->state[b]);
			if (w->state[b] == OVL_VALID)
				assert_int_equal(slot, w->slot[c]);
			any |= w->state[b] != OVL_NOT;
			valid |= w->state[b] == OVL_VALID;
		}
		assert_int_equal(chunkmap_ovl_any(m, c), any);
		assert_int_equal(chunkmap_ovl_valid(m, c), valid);
	}
	assert_int_equal(m->slots_ovl, slots);
}

static void step(struct chunkmap *m, struct model *w)
{
	u32 c = below(m->chunks), off = below(m->bpc), n = 1 + below(m->bpc - off);
	u64 first = (u64)c * m->bpc;
	bool zero = below(3), changed = false;

	if (below(2))
		off = 0, n = m->bpc;
	if (zero && m->group[first / GROUP_BLOCKS] == GROUP_ZERO) {
		assert_false(chunkmap_ovl_mark(m, first + off, n, true));
		return;
	}
	chunkmap_spare(m);
	assert_true(chunkmap_ovl_room(m, c));
	if (!zero && w->slot[c] == SLOT_NONE) {
		w->slot[c] = c + 7;
		chunkmap_ovl_slot_set(m, c, c + 7);
	}
	for (u32 b = (u32)first + off; b < first + off + n; b++) {
		u8 is = zero ? OVL_ZERO : OVL_VALID;

		changed |= w->state[b] != is;
		w->state[b] = is;
	}
	assert_int_equal(chunkmap_ovl_mark(m, first + off, n, zero), changed);
	if (w->slot[c] != SLOT_NONE && !chunkmap_ovl_valid(m, c)) {
		w->slot[c] = SLOT_NONE;
		chunkmap_ovl_slot_set(m, c, SLOT_NONE);
	}
}

/* All chunks as records, in any order, into a new map. */
static void through_records(const struct chunkmap *m, const struct model *w, u64 bytes, u32 chunk)
{
	struct chunkmap *to = chunkmap_create(bytes, chunk);

	for (u32 i = 0; i < m->chunks; i++) {
		u32 c = (i * 31 + 5) % m->chunks;
		struct record r;

		chunkmap_ovl_get(m, c, &r);
		assert_int_equal(r.ovl.slot, w->slot[c]);
		assert_int_equal(chunkmap_ovl_put(to, &r), 0);
	}
	compare(to, w);
	chunkmap_destroy(to);
}

static void random_writes(void **state)
{
	static struct model w;

	(void)state;
	for (u32 chunk = 64 * 1024; chunk <= 1024 * 1024; chunk *= 2) {
		u64 bytes = (u64)CHUNKS * chunk;
		struct chunkmap *m = chunkmap_create(bytes, chunk);
		u32 whole = 0;

		rng = chunk;
		memset(&w, 0, sizeof(w));
		memset(w.slot, 0xff, sizeof(w.slot));
		for (u32 i = 0; i < 6000; i++) {
			step(m, &w);
			if (i % 200 == 0)
				compare(m, &w);
			if (i % 1500 == 0)
				through_records(m, &w, bytes, chunk);
		}
		/* all trimmed: no leaf is needed but for the end, which is no whole group */
		for (u32 c = 0; c < m->chunks; c++) {
			if (m->group[(u64)c * m->bpc / GROUP_BLOCKS] == GROUP_ZERO)
				continue;
			chunkmap_spare(m);
			assert_true(chunkmap_ovl_room(m, c));
			chunkmap_ovl_mark(m, (u64)c * m->bpc, m->bpc, true);
			if (chunkmap_ovl_slot(m, c) != SLOT_NONE)
				chunkmap_ovl_slot_set(m, c, SLOT_NONE);
		}
		for (u32 g = 0; g < m->groups; g++)
			whole += m->group[g] == GROUP_ZERO;
		assert_in_range(whole, CHUNKS * m->bpc / GROUP_BLOCKS, m->groups);
		assert_int_equal(m->nfree, m->nslabs * SLAB_LEAVES - (m->groups - whole));
		chunkmap_ovl_drop(m);
		memset(&w, 0, sizeof(w));
		memset(w.slot, 0xff, sizeof(w.slot));
		compare(m, &w);
		assert_int_equal(m->nfree, m->nslabs * SLAB_LEAVES);
		chunkmap_destroy(m);
	}
}

static void records_that_do_not_fit(void **state)
{
	struct chunkmap *m = chunkmap_create(10 * 64 * 1024, 64 * 1024);
	struct record r = { .type = REC_OVL };

	(void)state;
	r.ovl.bits_bytes = 2;
	r.ovl.slot = 3;
	r.ovl.chunk = 10;
	assert_int_equal(chunkmap_ovl_put(m, &r), -EBADMSG);
	r.ovl.chunk = 9;
	r.ovl.bits_bytes = 4;
	assert_int_equal(chunkmap_ovl_put(m, &r), -EBADMSG);
	r.ovl.bits_bytes = 2;
	r.ovl.valid[0] = r.ovl.zero[0] = 1;
	assert_int_equal(chunkmap_ovl_put(m, &r), -EBADMSG);
	r.ovl.zero[0] = 2;
	r.ovl.slot = SLOT_NONE;
	assert_int_equal(chunkmap_ovl_put(m, &r), -EBADMSG);
	assert_false(chunkmap_ovl_any(m, 9));
	r.ovl.slot = 3;
	assert_int_equal(chunkmap_ovl_put(m, &r), 0);
	assert_int_equal(chunkmap_ovl_slot(m, 9), 3);
	chunkmap_destroy(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_writes),
		cmocka_unit_test(records_that_do_not_fit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
