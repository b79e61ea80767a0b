/*
 * storage/core/deploy with the real store and virtual disk: what a guest reads
 * and writes over claims, power cuts, offline boots and updates.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/endian.h"
#include "base/err.h"
#include "base/plat.h"
#include "base/plat_host.h"
#include "storage/core/deploy.h"
#include "storage/format/gpt.h"
#include "storage/format/manifest.h"
#include "storage/format/ticket.h"
#include "tests/unit/deploy_fake.h"

#define DISK_BYTES (320 * MIB)
#define CHUNK MANIFEST_CHUNK_MIN
#define CHUNKS 80u
#define IMAGE_BYTES (CHUNKS * CHUNK - 1024)

static struct crypto_key *key;
static u8 keys[1][P256_PUB_BYTES];
static const u8 uuid[16] = { 5 };
static struct fake_disk disk;
static struct fake_source net;
static struct deploy *dep;
static struct deploy_status st;
static struct ticket ticket;
/* of the tickets that are issued */
static enum ticket_frontend frontend;
static enum ticket_nic nic;
static u8 image[2][CHUNKS * CHUNK], version[2][32];
static u8 buf[128 * 1024] __aligned(4096);

/* Version 1 shares every second chunk with version 0; each seventh is a hole. */
static void publish(u32 v)
{
	static u8 digests[CHUNKS * 32];
	struct manifest m = { .chunk_bytes = CHUNK, .image_bytes = IMAGE_BYTES,
			      .sector_bytes = 512, .name = "lab" };
	u8 page[32], file[512], to_sign[32];
	size_t n;

	for (u32 c = 0; c < CHUNKS; c++) {
		u32 len = MIN(CHUNK, (u32)(IMAGE_BYTES - c * CHUNK));
		u8 *p = image[v] + c * CHUNK;

		memset(p, 0, CHUNK);
		memset(digests + 32 * c, 0, 32);
		if (c % 7 == 3)
			continue;
		for (u32 i = 0; i < len; i++)
			p[i] = (u8)(i * 3 + (i >> 8) + c * 5 + (c % 2) * v * 91 + 1);
		for (u32 i = 0; i < len; i += 512) /* every sector is one of a kind */
			put_le32(p + i, c << 16 | i / 512 << 1 | (c % 2) * v);
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
	manifest_digest(version[v], file, n);
	fake_source_add(&net, version[v], file, (u32)n);
}

static const u8 *issue_credential;
static u64 issue_time;

static void issue(u32 v, u64 serial, enum ticket_policy policy)
{
	u8 digest[32], sig[64];
	size_t n;

	ticket = (struct ticket){ .channel = "lab/stable", .serial = serial, .fill = true,
				  .policy = policy, .claim = TICKET_CLAIM_BLANK,
				  .frontend = frontend, .nic = nic };
	memcpy(ticket.uuid, uuid, 16);
	memcpy(ticket.version, version[v], 32);
	ticket.time_unix = issue_time;
	ticket.has_credential = issue_credential;
	if (issue_credential)
		memcpy(ticket.credential, issue_credential, CREDENTIAL_BYTES);
	assert_int_equal(ticket_build(&ticket, (char *)net.ticket, sizeof(net.ticket), &n), 0);
	sigtext_digest(digest, net.ticket, n);
	assert_int_equal(key_sign(key, digest, sig), 0);
	assert_int_equal(sigtext_append_sig((char *)net.ticket, sizeof(net.ticket), &n, sig), 0);
	net.ticket_bytes = (u32)n;
}

static int setup(void **state)
{
	(void)state;
	plat_host_now_ns = NS_PER_SEC;
	fake_disk_init(&disk, DISK_BYTES, 512, "REAL1");
	fake_source_init(&net);
	publish(0);
	publish(1);
	frontend = TICKET_FRONTEND_SAME;
	nic = TICKET_NIC_NONE;
	issue_credential = NULL;
	issue_time = 0;
	issue(0, 1, TICKET_POLICY_PUSH);
	dep = NULL;
	return 0;
}

static void switch_on(void)
{
	struct deploy_cfg cfg = { .blk = &disk.dev, .source = &net.src, .keys = keys, .nkeys = 1 };

	memcpy(cfg.uuid, uuid, 16);
	assert_int_equal(deploy_create(&dep, &cfg), 0);
	deploy_status(dep, &st);
}

static void round_trip(void)
{
	u64 wait;
	bool idle;

	blk_poll(&disk.dev);
	net.src.ops->poll(&net.src);
	wait = deploy_poll(dep);
	idle = (disk.cut || list_empty(&disk.queue)) && (!net.up || list_empty(&net.chunks));
	plat_host_now_ns += idle ? MAX(MIN(wait, 100 * NS_PER_MS), 10 * NS_PER_US) : NS_PER_US;
	deploy_status(dep, &st);
}

static bool ready(u32 seconds)
{
	u64 end = plat_host_now_ns + seconds * NS_PER_SEC;

	while (st.state != DEPLOY_READY && plat_host_now_ns < end && !disk.cut)
		round_trip();
	return st.state == DEPLOY_READY;
}

static void run_for(u32 seconds)
{
	u64 end = plat_host_now_ns + seconds * NS_PER_SEC;

	while (plat_host_now_ns < end && !disk.cut)
		round_trip();
}

/* The plug is pulled: memory is simply gone, and with it whatever was in flight. */
static void pull_the_plug(u32 seed)
{
	struct blk_req *r;

	/* Only so that nothing leaks: every request ends, none reaches the medium. */
	for (u32 i = 0; i < 1000 && (r = list_first(&disk.queue, struct blk_req, link)); i++) {
		list_del(&r->link);
		r->done(r, -EIO);
	}
	list_init(&disk.queue);
	list_init(&net.docs);
	list_init(&net.chunks);
	list_init(&net.cancelled);
	fake_disk_power_cycle(&disk, seed);
	deploy_destroy(dep);
	dep = NULL;
}

static int teardown(void **state)
{
	(void)state;
	if (dep)
		pull_the_plug(0);
	fake_disk_fini(&disk);
	fake_source_fini(&net);
	return 0;
}

static void io_done(struct blk_req *r, int err)
{
	*(int *)r->owner = err;
}

static int guest_io(enum blk_op op, u64 at, u32 bytes, u32 seconds)
{
	u64 end = plat_host_now_ns + seconds * NS_PER_SEC;
	struct blk_seg seg = { plat_virt_to_phys(buf), bytes };
	int err = -EINPROGRESS;
	struct blk_req r = { .op = op, .lba = at / 512, .sectors = bytes / 512, .segs = &seg,
			     .nsegs = bytes ? 1 : 0, .done = io_done, .owner = &err };

	blk_submit(deploy_disk(dep), &r);
	while (err == -EINPROGRESS && plat_host_now_ns < end)
		round_trip();
	return err;
}

static void assert_guest_sees(const u8 *want)
{
	for (u32 at = 0; at < IMAGE_BYTES; at += 32768) {
		u32 n = MIN(32768u, (u32)(IMAGE_BYTES - at));

		memset(buf, 0xee, n);
		assert_int_equal(guest_io(BLK_READ, at, n, 60), 0);
		if (memcmp(buf, want + at, n))
			fail_msg("wrong bytes at %u", at);
	}
}

static void wait_complete(void)
{
	struct disk_stats s = { 0 };

	for (u32 i = 0; i < 300 && !s.complete; i++) {
		run_for(1);
		disk_stats(deploy_vdisk(dep), &s);
	}
	assert_true(s.complete);
	assert_int_equal(st.percent, 100);
}

/* What a ticket issues is said once it is on the disk, and after a power cut too. */
static void credential_is_kept(void **state)
{
	char want[CREDENTIAL_TEXT_BYTES];
	u8 c[CREDENTIAL_BYTES];

	(void)state;
	memset(c, 0x5e, sizeof(c));
	credential_text(want, c);
	switch_on();
	assert_true(ready(60));
	assert_string_equal(net.bearer, CREDENTIAL_WANTED);
	pull_the_plug(1);

	issue_credential = c;
	issue_time = 1800000000;
	issue(0, 2, TICKET_POLICY_PUSH);
	switch_on();
	assert_true(ready(60));
	assert_string_equal(net.bearer, CREDENTIAL_WANTED);
	run_for(20);
	assert_string_equal(net.bearer, want);
	pull_the_plug(2);

	/* the next boot: without a ticket's help */
	net.signed_time = 0;
	net.bearer[0] = 0;
	issue_credential = NULL;
	issue_time = 0;
	issue(0, 2, TICKET_POLICY_PUSH);
	switch_on();
	assert_true(ready(60));
	run_for(1);
	assert_int_equal(net.signed_time, 1800000000);
	run_for(20);
	assert_string_equal(net.bearer, want);
}

static void cold_fill_offline(void **state)
{
	(void)state;
	switch_on();
	assert_true(ready(60));
	assert_true(st.disk_bytes == IMAGE_BYTES);
	assert_guest_sees(image[0]);
	wait_complete();
	pull_the_plug(3);

	fake_source_up(&net, false);
	net.fetches = net.gets = 0;
	switch_on();
	assert_true(ready(1));
	assert_guest_sees(image[0]);
	assert_int_equal(net.fetches, 0);
	assert_int_equal(net.gets, 0);
}

static void guest_writes_live_as_the_policy_says(void **state)
{
	(void)state;
	for (u32 boot = 0; boot < 2; boot++) {
		issue(0, 2 + boot, boot ? TICKET_POLICY_BOOT : TICKET_POLICY_PUSH);
		switch_on();
		assert_true(ready(60));
		wait_complete();
		memset(buf, 0x5c + (int)boot, 8192);
		assert_int_equal(guest_io(BLK_WRITE, 3 * CHUNK + 4096, 8192, 10), 0);
		assert_int_equal(guest_io(BLK_FLUSH, 0, 0, 10), 0);
		run_for(5); /* the ticket's policy is noted */
		pull_the_plug(boot);
		fake_source_up(&net, false);
		switch_on();
		assert_true(ready(1));
		assert_int_equal(guest_io(BLK_READ, 3 * CHUNK + 4096, 8192, 10), 0);
		for (u32 i = 0; i < 8192; i++)
			assert_int_equal(buf[i], boot ? image[0][3 * CHUNK + 4096 + i] : 0x5c);
		pull_the_plug(9);
		fake_source_up(&net, true);
	}
}

/* A ticket that comes behind a running guest speaks of the next boot, and the store remembers. */
static void what_the_guest_sees_is_the_store_s(void **state)
{
	static const enum ticket_frontend asked[] = {
		TICKET_FRONTEND_SAME, TICKET_FRONTEND_AHCI, TICKET_FRONTEND_NVME,
	};
	static const enum store_frontend shown[] = {
		STORE_FRONTEND_SAME, STORE_FRONTEND_AHCI, STORE_FRONTEND_NVME,
	};
	static const enum ticket_nic card[] = {
		TICKET_NIC_NONE, TICKET_NIC_VIRTIO, TICKET_NIC_E1000E,
	};
	static const enum store_nic given[] = {
		STORE_NIC_NONE, STORE_NIC_VIRTIO, STORE_NIC_E1000E,
	};

	(void)state;
	for (u32 boot = 0; boot < ARRAY_SIZE(asked); boot++) {
		frontend = asked[boot];
		nic = card[boot];
		issue(0, 2 + boot, TICKET_POLICY_PUSH);
		switch_on();
		assert_true(ready(60));
		assert_int_equal(deploy_frontend(dep), shown[boot ? boot - 1 : 0]);
		assert_int_equal(deploy_nic(dep), given[boot ? boot - 1 : 0]);
		wait_complete();
		run_for(5); /* it is noted */
		pull_the_plug(boot);
		fake_source_up(&net, false);
		switch_on();
		assert_true(ready(1));
		assert_int_equal(deploy_frontend(dep), shown[boot]);
		assert_int_equal(deploy_nic(dep), given[boot]);
		pull_the_plug(9);
		fake_source_up(&net, true);
	}
}

static void damage_on_the_disk_offline_is_one_error(void **state)
{
	u8 *hit = NULL;

	(void)state;
	switch_on();
	assert_true(ready(60));
	wait_complete();
	pull_the_plug(1);
	for (u64 at = 65 * MIB; !hit; at += 4096) {
		assert_true(at < DISK_BYTES);
		if (!memcmp(disk.mem + at, image[0] + 12 * CHUNK, 4096))
			hit = disk.mem + at;
	}
	hit[100] ^= 1;
	fake_source_up(&net, false);
	switch_on();
	assert_true(ready(1));
	assert_int_equal(guest_io(BLK_READ, 12 * CHUNK, 4096, 60), -EIO);
	assert_int_equal(guest_io(BLK_READ, 13 * CHUNK, 4096, 60), 0);
	fake_source_up(&net, true);
	run_for(2);
	assert_int_equal(guest_io(BLK_READ, 12 * CHUNK, 4096, 60), 0);
	assert_memory_equal(buf, image[0] + 12 * CHUNK, 4096);
}

/* A lost line of checksums costs nothing: the digests say that the data is right. */
static void lost_sums_are_no_loss(void **state)
{
	u8 *sb = NULL;

	(void)state;
	switch_on();
	assert_true(ready(60));
	wait_complete();
	pull_the_plug(1);
	for (u64 at = MIB; !sb; at += MIB) {
		assert_true(at < DISK_BYTES);
		if (!memcmp(disk.mem + at, "FRSHSTO1", 8))
			sb = disk.mem + at;
	}
	memset(sb + get_le64(sb + 64), 0xff, 8192);
	fake_source_up(&net, false);
	switch_on();
	assert_true(ready(1));
	run_for(30);
	assert_guest_sees(image[0]);
	pull_the_plug(2);
	switch_on(); /* and they have been made again */
	assert_true(ready(1));
	assert_guest_sees(image[0]);
}

static void off(u32 seed)
{
	pull_the_plug(seed);
	fake_source_up(&net, false);
}

/* Staged while the old one runs; the next boot needs no network to change over. */
static void update_at_the_next_boot(void **state)
{
	u32 fetches;

	(void)state;
	switch_on();
	assert_true(ready(60));
	wait_complete();
	issue(1, 2, TICKET_POLICY_PUSH);
	fetches = net.fetches;
	run_for(400); /* asks again now and then */
	assert_in_range(net.fetches - fetches, 1, CHUNKS / 2 + 2); /* what both have is kept */
	assert_guest_sees(image[0]);
	off(1);
	fetches = net.fetches;
	switch_on();
	assert_true(ready(1));
	assert_guest_sees(image[1]);
	assert_int_equal(net.fetches, fetches);
	off(2);
	switch_on();
	assert_true(ready(1));
	assert_guest_sees(image[1]);
}

/* Not staged to the end: the rest is streamed, and nothing is fetched twice. */
static void update_staged_by_half(void **state)
{
	u32 fetches, total;

	(void)state;
	switch_on();
	assert_true(ready(60));
	wait_complete();
	issue(1, 2, TICKET_POLICY_PUSH);
	total = net.fetches;
	for (u32 i = 0; i < 1000000 && net.fetches < total + 12; i++)
		round_trip();
	pull_the_plug(1);
	switch_on();
	assert_true(ready(20));
	fetches = net.fetches;
	assert_true(fetches < total + CHUNKS / 2);
	assert_guest_sees(image[1]);
	wait_complete();
	assert_in_range(net.fetches - total, 1, CHUNKS / 2 + 4);
}

static void stage_and_switch(void)
{
	switch_on();
	assert_true(ready(60));
	deploy_attached(dep);
	deploy_guest_up(dep);
	wait_complete();
	issue(1, 2, TICKET_POLICY_PUSH);
	run_for(400);
	off(1);
}

/* Three boots that bring no guest up, and the PC is back where it was, and stays there. */
static void goes_back_by_itself(void **state)
{
	(void)state;
	stage_and_switch();
	for (u32 i = 0; i < 3; i++) {
		switch_on();
		assert_true(ready(1));
		deploy_attached(dep);
		assert_guest_sees(image[1]);
		off(i);
	}
	fake_source_up(&net, true); /* the server still offers it */
	for (u32 i = 0; i < 3; i++) {
		switch_on();
		assert_true(ready(20));
		deploy_attached(dep);
		assert_guest_sees(image[0]);
		run_for(400);
		assert_non_null(strstr(net.last_post, "rolled_back_from"));
		pull_the_plug(i);
	}
	issue(1, 3, TICKET_POLICY_PUSH); /* offered once more, on purpose */
	switch_on();
	assert_true(ready(20));
	run_for(400);
	off(7);
	switch_on();
	assert_true(ready(1));
	assert_guest_sees(image[1]);
}

static void stays_when_the_guest_is_up(void **state)
{
	(void)state;
	stage_and_switch();
	for (u32 i = 0; i < 5; i++) {
		switch_on();
		assert_true(ready(1));
		deploy_attached(dep);
		assert_guest_sees(image[1]);
		if (i == 2) { /* it still uses its disk after a minute */
			run_for(61);
			assert_int_equal(guest_io(BLK_READ, 0, 4096, 10), 0);
			run_for(5);
		}
		off(i);
	}
}

/* An idle guest whose store is complete costs no tick, not even when its mark is written. */
static void mark_needs_no_tick(void **state)
{
	u32 waits = 0;

	(void)state;
	issue(0, 1, TICKET_POLICY_PUSH);
	switch_on();
	assert_true(ready(60));
	deploy_attached(dep);
	wait_complete();
	run_for(61);
	assert_int_equal(guest_io(BLK_READ, 0, 4096, 10), 0);
	for (u32 i = 0; i < 100; i++) {
		u64 wait = deploy_poll(dep);

		if (!list_empty(&disk.queue)) { /* the mark; its completion would ring */
			waits++;
			assert_true(wait > 2 * NS_PER_SEC);
		}
		blk_poll(&disk.dev);
		net.src.ops->poll(&net.src);
		plat_host_now_ns += NS_PER_US;
	}
	assert_true(waits > 0);
	off(0);
}

static void never_means_never(void **state)
{
	(void)state;
	issue(0, 2, TICKET_POLICY_NEVER);
	switch_on();
	assert_true(ready(60));
	wait_complete();
	memset(buf, 0x77, 8192);
	assert_int_equal(guest_io(BLK_WRITE, 3 * CHUNK, 8192, 10), 0);
	assert_int_equal(guest_io(BLK_FLUSH, 0, 0, 10), 0);
	issue(1, 3, TICKET_POLICY_NEVER);
	for (u32 boot = 0; boot < 3; boot++) {
		run_for(400);
		pull_the_plug(boot);
		switch_on();
		assert_true(ready(20));
		assert_int_equal(guest_io(BLK_READ, 3 * CHUNK, 8192, 10), 0);
		assert_int_equal(buf[0], 0x77);
		assert_int_equal(guest_io(BLK_READ, CHUNK, 8192, 10), 0);
		assert_memory_equal(buf, image[0] + CHUNK, 8192);
	}
}

static void power_cuts_anywhere(void **state)
{
	(void)state;
	for (u32 cut = 1; cut < 120; cut += 3) {
		disk.cut_after_writes = cut;
		disk.writes = 0;
		switch_on();
		ready(60);
		if (!disk.cut)
			run_for(60);
		pull_the_plug(cut * 17);
		switch_on();
		if (!ready(60))
			fail_msg("cut %u: state %u FR-%u %s", cut, st.state, st.code, st.text);
		assert_guest_sees(image[0]);
		teardown(state);
		setup(state);
	}
}

/* Memory instead of a disk: nobody's, whatever is in it, and made anew at each boot. */
static void switch_on_in_memory(u64 bytes)
{
	struct deploy_cfg cfg = { .blk = &disk.dev, .memory = true, .source = &net.src,
				  .keys = keys, .nkeys = 1 };

	disk.dev.sectors = bytes / 512;
	memcpy(cfg.uuid, uuid, 16);
	assert_int_equal(deploy_create(&dep, &cfg), 0);
	deploy_status(dep, &st);
}

static void memory_instead_of_a_disk(void **state)
{
	struct disk_stats s;

	(void)state;
	memset(disk.mem, 0xa5, 32 * MIB);
	for (u32 boot = 0; boot < 2; boot++) {
		switch_on_in_memory(32 * MIB);
		assert_true(ready(60));
		assert_guest_sees(image[0]);
		memset(buf, 0x77, 8192);
		assert_int_equal(guest_io(BLK_WRITE, 5 * CHUNK, 8192, 10), 0);
		memset(buf, 0, 8192);
		assert_int_equal(guest_io(BLK_READ, 5 * CHUNK, 8192, 10), 0);
		assert_int_equal(buf[8191], 0x77);
		wait_complete(); /* there is room for all of it */
		disk_stats(deploy_vdisk(dep), &s);
		assert_false(s.filling);
		/* A newer version is not put beside it: nothing of it would be here next time. */
		issue(1, 2 + boot, TICKET_POLICY_PUSH);
		run_for(400);
		disk_stats(deploy_vdisk(dep), &s);
		assert_int_equal(s.staged_bytes, 0);
		issue(0, 3 + boot, TICKET_POLICY_PUSH);
		pull_the_plug(boot);
	}
}

/* Too little for the image: all of it can be read, and writes go on until there is no room. */
static void memory_smaller_than_the_image(void **state)
{
	struct disk_stats s;
	u32 written = 0;
	int err = 0;

	(void)state;
	switch_on_in_memory(store_min_bytes(CHUNK) + MIB);
	assert_true(ready(60));
	run_for(60);
	disk_stats(deploy_vdisk(dep), &s);
	assert_int_equal(s.fill_chunks, 0);
	assert_false(s.filling);
	assert_guest_sees(image[0]);
	assert_guest_sees(image[0]);
	disk_stats(deploy_vdisk(dep), &s);
	assert_true(s.store_full);
	for (u32 c = 0; c < CHUNKS - 1 && !err; c++, written += !err) {
		memset(buf, (int)c, CHUNK);
		err = guest_io(BLK_WRITE, (u64)c * CHUNK, CHUNK, 10);
	}
	assert_int_equal(err, -ENOSPC);
	assert_true(written > 2);
	for (u32 c = 0; c < written; c++) {
		assert_int_equal(guest_io(BLK_READ, (u64)c * CHUNK, CHUNK, 10), 0);
		assert_int_equal(buf[c], (u8)c);
		assert_int_equal(buf[CHUNK - 1], (u8)c);
	}
	assert_int_equal(guest_io(BLK_READ, (u64)(CHUNKS - 2) * CHUNK, 4096, 10), 0);
	assert_memory_equal(buf, image[0] + (CHUNKS - 2) * CHUNK, 4096);
	assert_int_equal(st.state, DEPLOY_READY);
}

static int make_keys(void **state)
{
	(void)state;
	plat_host_quiet = !getenv("VERBOSE");
	if (key_generate(&key))
		return -1;
	key_public(key, keys[0]);
	return 0;
}

static int drop_keys(void **state)
{
	(void)state;
	key_free(key);
	return 0;
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(cold_fill_offline),
		T(credential_is_kept),
		T(guest_writes_live_as_the_policy_says),
		T(what_the_guest_sees_is_the_store_s),
		T(damage_on_the_disk_offline_is_one_error),
		T(lost_sums_are_no_loss),
		T(update_at_the_next_boot),
		T(update_staged_by_half),
		T(goes_back_by_itself),
		T(stays_when_the_guest_is_up),
		T(mark_needs_no_tick),
		T(never_means_never),
		T(power_cuts_anywhere),
		T(memory_instead_of_a_disk),
		T(memory_smaller_than_the_image),
	};

	return cmocka_run_group_tests(tests, make_keys, drop_keys);
}
