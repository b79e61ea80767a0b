/*
 * storage/core/check over disks that deploy made: a sound store is sound, every
 * planted corruption is found, and what a repair leaves is sound and boots.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bitmap.h"
#include "base/endian.h"
#include "base/err.h"
#include "base/plat.h"
#include "base/plat_host.h"
#include "storage/core/check.h"
#include "storage/core/deploy.h"
#include "storage/core/store_priv.h"
#include "storage/format/gpt.h"
#include "storage/format/manifest.h"
#include "storage/format/ticket.h"
#include "tests/unit/deploy_fake.h"

#define DISK_BYTES (272 * MIB)
#define CHUNK MANIFEST_CHUNK_MIN
#define CHUNKS 60u
#define IMAGE_BYTES (CHUNKS * CHUNK - 1024)

static struct crypto_key *key;
static u8 keys[1][P256_PUB_BYTES];
static struct fake_disk disk;
static struct fake_source net;
static struct deploy *dep;
static u8 image[CHUNKS * CHUNK], version[32];
static u8 *part; /* the store in the disk's memory */
static struct super sb;
static u8 *pristine; /* the disk's used part, as it was when it was sound */
static u64 pristine_bytes;
static char said[8192];

static void publish(void)
{
	static u8 digests[CHUNKS * 32];
	struct manifest m = { .chunk_bytes = CHUNK, .image_bytes = IMAGE_BYTES,
			      .sector_bytes = 512, .name = "lab" };
	u8 page[32], file[512], to_sign[32];
	size_t n;

	for (u32 c = 0; c < CHUNKS; c++) {
		u32 len = MIN(CHUNK, (u32)(IMAGE_BYTES - c * CHUNK));
		u8 *p = image + c * CHUNK;

		if (c % 7 == 3)
			continue;
		for (u32 i = 0; i < len; i++)
			p[i] = (u8)(i * 3 + (i >> 8) + c * 5 + 1);
		crypto_sha256(digests + 32 * c, p, len);
		fake_source_add(&net, digests + 32 * c, p, len);
	}
	crypto_sha256(page, digests, sizeof(digests));
	fake_source_add(&net, page, digests, sizeof(digests));
	m.pages = page;
	assert_int_equal(manifest_fill_counts(&m), 0);
	n = manifest_size(&m);
	assert_int_equal(manifest_build(&m, file, sizeof(file), to_sign), 0);
	assert_int_equal(key_sign(key, to_sign, file + n - 64), 0);
	manifest_digest(version, file, n);
	fake_source_add(&net, version, file, (u32)n);
}

static void issue(void)
{
	struct ticket t = { .uuid = { 5 }, .channel = "lab/stable", .serial = 3, .fill = true,
			    .policy = TICKET_POLICY_PUSH, .claim = TICKET_CLAIM_BLANK };
	u8 digest[32], sig[64];
	size_t n;

	memcpy(t.version, version, 32);
	assert_int_equal(ticket_build(&t, (char *)net.ticket, sizeof(net.ticket), &n), 0);
	sigtext_digest(digest, net.ticket, n);
	assert_int_equal(key_sign(key, digest, sig), 0);
	assert_int_equal(sigtext_append_sig((char *)net.ticket, sizeof(net.ticket), &n, sig), 0);
	net.ticket_bytes = (u32)n;
}

static void run_for(u32 seconds)
{
	u64 end = plat_host_now_ns + seconds * NS_PER_SEC;

	while (plat_host_now_ns < end) {
		u64 wait;
		bool idle;

		blk_poll(&disk.dev);
		net.src.ops->poll(&net.src);
		wait = deploy_poll(dep);
		idle = list_empty(&disk.queue) && list_empty(&net.chunks);
		plat_host_now_ns += idle ? MAX(MIN(wait, 100 * NS_PER_MS), 10 * NS_PER_US) :
					   NS_PER_US;
	}
}

static void switch_on(void)
{
	struct deploy_cfg cfg = { .blk = &disk.dev, .source = &net.src, .uuid = { 5 },
				  .keys = keys, .nkeys = 1 };

	assert_int_equal(deploy_create(&dep, &cfg), 0);
}

static void switch_off(void)
{
	assert_true(list_empty(&disk.queue));
	list_init(&net.docs);
	list_init(&net.chunks);
	fake_disk_power_cycle(&disk, 1);
	deploy_destroy(dep);
	dep = NULL;
}

static void written(struct blk_req *r, int err)
{
	*(int *)r->owner = err;
}

static void guest_writes(u64 at)
{
	static u8 buf[8192];
	struct blk_seg seg = { plat_virt_to_phys(buf), sizeof(buf) };
	int err = 1;
	struct blk_req r = { .op = BLK_WRITE, .fua = true, .lba = at / 512, .sectors = 16,
			     .segs = &seg, .nsegs = 1, .done = written, .owner = &err };

	memset(buf, 0x5c, sizeof(buf));
	blk_submit(deploy_disk(dep), &r);
	while (err == 1)
		run_for(1);
	assert_int_equal(err, 0);
}

static int make(void **state)
{
	struct disk_stats s = { 0 };

	(void)state;
	plat_host_quiet = !getenv("VERBOSE");
	plat_host_now_ns = NS_PER_SEC;
	assert_int_equal(key_generate(&key), 0);
	key_public(key, keys[0]);
	fake_disk_init(&disk, DISK_BYTES, 512, "REAL1");
	fake_source_init(&net);
	publish();
	issue();
	switch_on();
	for (u32 i = 0; i < 100 && !s.complete; i++) {
		run_for(5);
		if (deploy_vdisk(dep))
			disk_stats(deploy_vdisk(dep), &s);
	}
	assert_true(s.complete);
	/* three appends behind the checkpoint */
	guest_writes(2 * CHUNK + 4096);
	guest_writes(9 * CHUNK);
	guest_writes(20 * CHUNK);
	switch_off();
	for (u64 at = MIB; !part; at += MIB) {
		assert_true(at < DISK_BYTES);
		if (!super_parse(disk.mem + at, &sb))
			part = disk.mem + at;
	}
	pristine_bytes = (u64)(part - disk.mem) + sb.slots_off + 150ull * CHUNK;
	pristine_bytes = MIN(pristine_bytes, DISK_BYTES);
	pristine = malloc(pristine_bytes);
	memcpy(pristine, disk.mem, pristine_bytes);
	return 0;
}

static int unmake(void **state)
{
	(void)state;
	free(pristine);
	fake_disk_fini(&disk);
	fake_source_fini(&net);
	key_free(key);
	return 0;
}

static int again(void **state)
{
	(void)state;
	memcpy(disk.mem, pristine, pristine_bytes);
	return 0;
}

static void say(struct store_check *k, enum check_level level, const char *text)
{
	size_t n = strlen(said);

	(void)k;
	snprintf(said + n, sizeof(said) - n, "%u %s\n", level, text);
}

static int check(bool repair, bool salvage)
{
	struct store_check k = { .blk = &disk.dev, .lba = (u64)(part - disk.mem) / 512,
				 .sectors = sb.region_bytes / 512, .repair = repair,
				 .salvage = salvage, .say = say };
	int r;

	said[0] = 0;
	r = store_check(&k);
	if (getenv("VERBOSE"))
		fputs(said, stderr);
	if (!r)
		assert_int_equal(k.problems, 0);
	store_check_end(&k);
	while (!list_empty(&disk.dirty)) {
		struct list *l = disk.dirty.next;

		list_del(l);
		free(l);
	}
	return r;
}

/* Found; and after a repair it is sound, and the PC boots without a server when @whole. */
static void finds(const char *what, bool salvage)
{
	if (check(false, false) != 1)
		fail_msg("not found: %s", what);
	if (!strstr(said, what))
		fail_msg("expected \"%s\", was told:\n%s", what, said);
	assert_int_equal(check(true, salvage), 1);
	if (check(false, false))
		fail_msg("not sound after the repair of \"%s\":\n%s", what, said);
}

static struct store *peek(struct store_check *k)
{
	*k = (struct store_check){ .blk = &disk.dev, .lba = (u64)(part - disk.mem) / 512,
				   .sectors = sb.region_bytes / 512, .quick = true, .say = say };
	store_check(k);
	return k->store;
}

static u32 slot_of(u32 idx)
{
	struct store_check k;
	u32 slot = peek(&k)->map->base[idx];

	store_check_end(&k);
	return slot;
}

static u8 *slot_data(u32 slot)
{
	return part + sb.slots_off + (u64)slot * CHUNK;
}

/* Block @n of the active half: change it and make its CRC right again, and the chain behind. */
static void rewrite(u32 n, void (*change)(u8 *records, u32 bytes))
{
	u8 *half = part + sb.half_off[sb.active];
	u32 prev = 0, crc;

	for (u32 i = 0;; i++) {
		u8 *block = half + (u64)i * JOURNAL_BLOCK;
		struct journal_head h;

		if (journal_open_block(block, &h, &crc) || h.nonce != sb.nonce || h.seq != i)
			break;
		if (i == n)
			change(block + JOURNAL_HEAD, h.bytes);
		h.prev_crc = prev;
		prev = journal_seal(block, &h);
	}
}

static u8 *record(u8 *p, u32 bytes, u32 type)
{
	for (u32 at = 0; at < bytes; at += get_le16(p + at + 2))
		if (p[at] == type)
			return p + at;
	fail_msg("no record of type %u", type);
	return NULL;
}

static void sound_is_sound(void **state)
{
	(void)state;
	assert_int_equal(check(false, false), 0);
	assert_string_equal(said, "");
	assert_int_equal(check(true, false), 0);
	/* nothing to mend, nothing written */
	assert_memory_equal(disk.mem, pristine, pristine_bytes);
}

static void superblocks(void **state)
{
	for (u32 i = 0; i < 2; i++) {
		again(state);
		part[i * 4096 + 2000] ^= 4;
		finds(i ? "superblock 1: damaged" : "superblock 0: damaged", false);
	}
	again(state);
	memset(part, 0xa5, 8192);
	assert_int_equal(check(true, true), 1);
	assert_non_null(strstr(said, "no superblock is left"));
	again(state);
	put_le32(part + 80, sb.slots - 1); /* a lie with a good CRC */
	put_le32(part + 4092, crc32c(0, part, 4092));
	assert_int_equal(check(false, false), 1);
	assert_non_null(strstr(said, "different stores"));
}

static void data_rots(void **state)
{
	u32 slot = slot_of(12);

	(void)state;
	slot_data(slot)[777] ^= 1;
	finds("chunk 12 in slot", false);
}

static void sums_rot(void **state)
{
	u32 slot = slot_of(14);

	(void)state;
	part[sb.crc_off + (u64)slot * 16 * 4 + 5] ^= 0x10;
	finds("right, and its sums are wrong", false);
}

static void page_rots(void **state)
{
	u32 slot = slot_of(CHUNKS);

	(void)state;
	slot_data(slot)[100] ^= 1;
	finds("table page 0 in slot", false);
}

/* Data and sums agree, and it is another chunk's. */
static void chunk_of_somebody_else(void **state)
{
	u32 a = slot_of(5), b = slot_of(6);

	(void)state;
	memcpy(slot_data(a), slot_data(b), CHUNK);
	for (u32 i = 0; i < 16; i++)
		put_le32(part + sb.crc_off + ((u64)a * 16 + i) * 4,
			 crctab_sum((u64)a * 16 + i, slot_data(a) + i * 4096));
	finds("chunk 5 in slot", false);
}

static void journal_checkpoint(void **state)
{
	(void)state;
	part[sb.half_off[sb.active] + 300] ^= 1;
	assert_int_equal(check(true, true), 1);
	assert_non_null(strstr(said, "refused"));
}

static void journal_log(void **state)
{
	struct store_check k;
	u32 at = peek(&k)->log_start + 1;

	(void)state;
	assert_true(k.store->pos.seq > at + 1);
	store_check_end(&k);
	part[sb.half_off[sb.active] + (u64)at * 4096 + 60] ^= 1;
	assert_int_equal(check(false, false), 1);
	assert_non_null(strstr(said, "refused"));
	assert_int_equal(check(true, false), 1); /* not without being told to */
	finds("refused", true);
}

static void wrong_version(u8 *p, u32 bytes)
{
	record(p, bytes, REC_META)[4 + 36] ^= 1;
}

static void manifest_is_another(void **state)
{
	(void)state;
	rewrite(0, wrong_version);
	assert_int_equal(check(false, false), 1);
}

static void two_chunks_one_slot(u8 *p, u32 bytes)
{
	u8 *r = record(p, bytes, REC_MAP);

	for (; r[0] == REC_MAP && get_le32(r + 8) >= SLOT_LIMIT; r += 16)
		;
	put_le32(r + 16 + 8, get_le32(r + 8)); /* the next run, too */
	put_le32(r + 32 + 8, get_le32(r + 8));
}

static void slot_twice(void **state)
{
	(void)state;
	rewrite(0, two_chunks_one_slot);
	assert_int_equal(check(false, false), 1);
	assert_non_null(strstr(said, "refused"));
}

static void far_away(u8 *p, u32 bytes)
{
	u8 *r = record(p, bytes, REC_MAP);

	for (; r[0] == REC_MAP && get_le32(r + 8) >= SLOT_LIMIT; r += 16)
		;
	put_le32(r + 8, sb.slots - 1 + 5);
}

static void slot_outside(void **state)
{
	(void)state;
	rewrite(0, far_away);
	assert_int_equal(check(false, false), 1);
}

static void not_here(u8 *p, u32 bytes)
{
	u8 *r = record(p, bytes, REC_MAP);

	put_le32(r + 8, SLOT_NONE);
}

static void complete_but_not(void **state)
{
	(void)state;
	rewrite(0, not_here);
	assert_int_equal(check(false, false), 1);
	assert_non_null(strstr(said, "marked complete"));
}

static void as_zero(u8 *p, u32 bytes)
{
	u8 *r = record(p, bytes, REC_MAP);

	for (; get_le32(r + 8) >= SLOT_LIMIT; r += 16)
		;
	put_le32(r + 8, SLOT_ZERO);
}

static void zero_but_not(void **state)
{
	(void)state;
	rewrite(0, as_zero);
	assert_int_equal(check(false, false), 1);
	assert_non_null(strstr(said, "taken for zero"));
}

static void both_ways(u8 *p, u32 bytes)
{
	u8 *r = record(p, bytes, REC_OVL);

	r[12 + 2] |= r[12]; /* written and zeroed at once */
	r[12 + 3] |= r[13];
}

static void overlay_contradicts(void **state)
{
	struct store_check k;
	u32 at = peek(&k)->log_start;

	(void)state;
	store_check_end(&k);
	rewrite(at, both_ways);
	assert_int_equal(check(false, false), 1);
}

static void cut_short(void **state)
{
	u64 was = disk.dev.sectors;

	(void)state;
	disk.dev.sectors = (u64)(part - disk.mem) / 512 + sb.slots_off / 512 + 300;
	assert_int_not_equal(check(false, false), 0);
	disk.dev.sectors = was;
}

#define T(f) cmocka_unit_test_setup(f, again)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(sound_is_sound),
		T(superblocks),
		T(data_rots),
		T(sums_rot),
		T(page_rots),
		T(chunk_of_somebody_else),
		T(journal_checkpoint),
		T(journal_log),
		T(manifest_is_another),
		T(slot_twice),
		T(slot_outside),
		T(complete_but_not),
		T(zero_but_not),
		T(overlay_contradicts),
		T(cut_short),
	};

	return cmocka_run_group_tests(tests, make, unmake);
}
