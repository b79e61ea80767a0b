/*
 * Damage: what rots on the PC's disk, and which errors it excuses
 *
 * Blocks that hold chunks or their sums rot and go bad while the PC runs,
 * superblocks and the journal while it is off. An error that the guest gets must
 * come from such a block, from its table page, or from there being no room.
 */
#include "base/bitmap.h"
#include "base/err.h"
#include "tests/sim/world.h"

static u64 part_off(void)
{
	return w.layout.store.first_lba * w.layout.sector_bytes;
}

/* A block of the store, as a block of the disk. */
u64 part_block(u64 block)
{
	return part_off() / 4096 + block;
}

static void garbage(u64 off, u32 bytes, u64 *rng)
{
	for (u32 at = 0; at < bytes; at += 4096) {
		u64 x[512];

		for (u32 i = 0; i < 512; i++)
			x[i] = sim_rng(rng);
		sim_disk_poke(&w.disk, off + at, x, 4096);
	}
}

static bool supers(struct super sb[2])
{
	u8 block[4096];

	for (u32 i = 0; i < 2; i++) {
		sim_disk_peek(&w.disk, part_off() + i * 4096, block, 4096);
		if (super_parse(block, &sb[i]))
			return false;
	}
	return true;
}

/* While the PC is off. */
void damage_metadata(void)
{
	struct super sb[2];
	u32 copy = sim_below(&w.rng_fault, 2);

	if (w.sound || sim_disk_is_damaged(&w.disk, part_block(0)) ||
	    sim_disk_is_damaged(&w.disk, part_block(1)) || !supers(sb))
		return;
	if (sim_has(SIM_SUPER) && sim_one_in(&w.rng_fault, 24) &&
	    sb[0].generation == sb[1].generation) {
		sim_total.supers++;
		sim_say("superblock %u is damaged", copy);
		if (sim_below(&w.rng_fault, 2)) {
			garbage(part_off() + copy * 4096, 4096, &w.rng_fault);
		} else {
			sim_disk_bad(&w.disk, part_block(copy));
		}
	} else if (sim_has(SIM_SUPERS) && sim_one_in(&w.rng_fault, 150)) {
		sim_say("both superblocks are damaged");
		garbage(part_off(), 8192, &w.rng_fault);
		w.lost = true;
	} else if (sim_has(SIM_JROT) && sim_one_in(&w.rng_fault, 150)) {
		struct super *s = &sb[sb[1].generation > sb[0].generation];
		u32 block = sim_below(&w.rng_fault, sim_one_in(&w.rng_fault, 3) ? 64 : 4);

		sim_say("block %u of the journal is damaged", block);
		sim_disk_rot(&w.disk, part_block(s->half_off[s->active] / 4096 + block),
			     sim_below(&w.rng_fault, 32768));
		w.loose = true;
	}
}

/* A slot that a chunk is in, or NONE. */
static u32 some_base(struct store *s)
{
	if (!s || !s->map || !w.attached)
		return NONE;
	for (u32 i = 0; i < 8; i++) {
		u32 slot = s->map->base[sim_below(&w.rng_fault, s->map->n)];

		if (slot < SLOT_LIMIT)
			return slot;
	}
	return NONE;
}

/* While it is on. */
void damage_running(void)
{
	struct store *s = store();
	u32 slot, block;
	u64 at;

	if (w.sound || !sim_has(SIM_ROT | SIM_BAD) || !sim_one_in(&w.rng_fault, 300))
		return;
	slot = some_base(s);
	if (slot == NONE)
		return;
	block = slot * s->bpc + sim_below(&w.rng_fault, s->bpc);
	at = part_block(s->sb.slots_off / 4096 + block);
	if (sim_one_in(&w.rng_fault, 4))
		at = part_block(s->sb.crc_off / 4096 + block / CRCTAB_SUMS);
	if (sim_has(SIM_ROT) && sim_below(&w.rng_fault, 2)) {
		sim_total.rots++;
		sim_disk_rot(&w.disk, at, sim_below(&w.rng_fault, 32768));
	} else if (sim_has(SIM_BAD)) {
		u32 c = sim_below(&w.rng_fault, s->map->chunks);

		sim_total.bads++;
		if (sim_one_in(&w.rng_fault, 4) && chunkmap_ovl_slot(s->map, c) < SLOT_LIMIT)
			at = part_block(s->sb.slots_off / 4096 +
					store_slot_block(s, chunkmap_ovl_slot(s->map, c)) +
					sim_below(&w.rng_fault, s->bpc));
		sim_disk_bad(&w.disk, at);
	}
}

static bool slot_damaged(const struct store *s, u32 slot)
{
	if (slot >= SLOT_LIMIT)
		return false;
	for (u32 b = 0; b < s->bpc; b++)
		if (sim_disk_is_damaged(&w.disk, part_block(s->sb.slots_off / 4096 +
							    (u64)slot * s->bpc + b)))
			return true;
	return false;
}

static bool range_damaged(u64 first, u32 n)
{
	const struct store *s = store();
	u64 per = s->sb.chunk_bytes / 512;

	for (u64 c = first / per; n && c <= (first + n - 1) / per; c++)
		if (slot_damaged(s, s->map->base[c]) ||
		    slot_damaged(s, chunkmap_ovl_slot(s->map, (u32)c)) ||
		    slot_damaged(s, s->map->base[s->map->chunks]))
			return true; /* its table page counts, too */
	return false;
}

void sim_explain(enum blk_op op, u64 first, u32 n, int err)
{
	const struct store *s = store();

	if (err == -ENOSPC && !s->failed && (s->other.map || s->dropped))
		sim_fail("a write is refused, and a second version could be dropped");
	if (err == -ENOSPC && (op == BLK_WRITE || op == BLK_WRITE_ZEROES) && !s->slots.free) {
		sim_total.enospc++;
		return;
	}
	if (err == -EIO) {
		sim_total.eio++;
		if ((op == BLK_READ || op == BLK_WRITE || op == BLK_WRITE_ZEROES) &&
		    range_damaged(first, n))
			return;
		if (op != BLK_READ && w.writes_failed)
			return;
	}
	sim_fail("an error without a reason op=%u first=%llu n=%u err=%s", op,
		 (unsigned long long)first, n, err_name(err));
}
