/* storage/core/deploy: each way through a boot, in the world of deploy_fake.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/plat.h"
#include "base/plat_host.h"
#include "storage/core/deploy.h"
#include "storage/format/gpt.h"
#include "storage/format/manifest.h"
#include "storage/format/ticket.h"
#include "tests/unit/deploy_fake.h"

#define DISK_BYTES (512 * MIB)
#define SERIAL "S4 EV/1"
#define CHUNK MANIFEST_CHUNK_MIN
#define ESP_CHUNKS 24u

static struct crypto_key *key, *stranger;
static u8 keys[1][P256_PUB_BYTES];
static const u8 uuid[16] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16 };

static struct fake_disk disk;
static struct fake_disk beside[2]; /* of the same PC */
static u32 besides;
static struct fake_source net;
static struct deploy *dep;
static struct deploy_status st;
static struct ticket ticket;
static u8 version[3][32]; /* of the image: 0 and 1 fit; 2 is larger than the disk */
static u8 manifests[3][512];
static u32 manifest_len[3];
static u8 esp_version[2][32], esp_bytes[2][ESP_CHUNKS * CHUNK];

/* ------------------------------------------------------------------ a site */

static u32 make_manifest(u8 *out, u64 image_bytes, u32 sector_bytes, const char *label,
			 const u8 *pages, const struct crypto_key *k, u8 digest[32])
{
	struct manifest m = { .chunk_bytes = CHUNK, .image_bytes = image_bytes,
			      .sector_bytes = sector_bytes, .name = "lab", .pages = pages };
	u8 to_sign[32];
	size_t n;

	snprintf(m.label, sizeof(m.label), "%s", label);
	assert_int_equal(manifest_fill_counts(&m), 0);
	n = manifest_size(&m);
	assert_true(n <= 512);
	assert_int_equal(manifest_build(&m, out, 512, to_sign), 0);
	assert_int_equal(key_sign(k, to_sign, out + n - 64), 0);
	manifest_digest(digest, out, n);
	return (u32)n;
}

static void publish_image(u32 i, const char *label, u64 bytes)
{
	u8 pages[8 * 32];

	memset(pages, 0x77, sizeof(pages));
	manifest_len[i] = make_manifest(manifests[i], bytes, 512, label, pages, key, version[i]);
	fake_source_add(&net, version[i], manifests[i], manifest_len[i]);
}

static void publish_esp(u32 i, u32 sector_bytes)
{
	u8 digests[ESP_CHUNKS * 32], page[32], m[512];

	for (u32 c = 0; c < ESP_CHUNKS; c++) {
		u8 *p = esp_bytes[i] + c * CHUNK;

		memset(p, 0, CHUNK);
		memset(digests + 32 * c, 0, 32);
		if (c % 3 == 1 && c > 5)
			continue; /* a hole */
		for (u32 k = 0; k < CHUNK; k++)
			p[k] = (u8)(k * 13 + c * (i * (c % 2) + 1));
		crypto_sha256(digests + 32 * c, p, CHUNK);
		fake_source_add(&net, digests + 32 * c, p, CHUNK);
	}
	crypto_sha256(page, digests, sizeof(digests));
	fake_source_add(&net, page, digests, sizeof(digests));
	fake_source_add(&net, esp_version[i], m,
			make_manifest(m, ESP_CHUNKS * CHUNK, sector_bytes, i ? "esp b" : "esp a",
				      page, key, esp_version[i]));
}

static void issue_by(const struct crypto_key *k)
{
	u8 digest[32], sig[64];
	size_t n;

	assert_int_equal(ticket_build(&ticket, (char *)net.ticket, sizeof(net.ticket), &n), 0);
	sigtext_digest(digest, net.ticket, n);
	assert_int_equal(key_sign(k, digest, sig), 0);
	assert_int_equal(sigtext_append_sig((char *)net.ticket, sizeof(net.ticket), &n, sig), 0);
	net.ticket_bytes = (u32)n;
}

static void issue(void)
{
	issue_by(key);
}

static void world(u32 sector_bytes)
{
	plat_host_now_ns = NS_PER_SEC;
	memset(&fake_store, 0, sizeof(fake_store));
	fake_disk_init(&disk, DISK_BYTES, sector_bytes, SERIAL);
	fake_source_init(&net);
	publish_image(0, "one", 64 * MIB);
	publish_image(1, "two", 80 * MIB);
	publish_image(2, "big", DISK_BYTES);
	publish_esp(0, sector_bytes);
	publish_esp(1, sector_bytes);
	ticket = (struct ticket){ .channel = "lab/stable", .serial = 10, .fill = true,
				  .policy = TICKET_POLICY_PUSH, .claim = TICKET_CLAIM_BLANK,
				  .has_esp = true };
	memcpy(ticket.uuid, uuid, 16);
	memcpy(ticket.version, version[0], 32);
	memcpy(ticket.esp, esp_version[0], 32);
	issue();
}

static int setup(void **state)
{
	(void)state;
	dep = NULL;
	world(512);
	return 0;
}

static void switch_on(void)
{
	struct blk_dev *more[2] = { &beside[0].dev, &beside[1].dev };
	struct deploy_cfg cfg = { .blk = &disk.dev, .more = more, .nmore = besides,
				  .source = &net.src, .mac = { 2, 0, 0, 0xab, 0xcd, 0xef },
				  .keys = keys, .nkeys = 1, .build = "test \"build\"" };

	memcpy(cfg.uuid, uuid, 16);
	memset(&fake_store, 0, sizeof(fake_store));
	assert_int_equal(deploy_create(&dep, &cfg), 0);
	deploy_status(dep, &st);
}

/* A PC that is switched off has nothing in flight that matters. */
static void switch_off(void)
{
	if (!dep)
		return;
	list_init(&disk.queue);
	list_init(&beside[0].queue);
	list_init(&beside[1].queue);
	list_init(&net.docs);
	list_init(&net.chunks);
	deploy_destroy(dep);
	dep = NULL;
}

static int teardown(void **state)
{
	(void)state;
	switch_off();
	fake_disk_fini(&disk);
	while (besides)
		fake_disk_fini(&beside[--besides]);
	fake_source_fini(&net);
	return 0;
}

/* One round as the pump does it; the clock runs when nobody has anything to do. */
static void round_trip(void)
{
	bool busy = !list_empty(&disk.queue) && !disk.cut;
	u64 wait;

	blk_poll(&disk.dev);
	for (u32 i = 0; i < besides; i++) {
		busy |= !list_empty(&beside[i].queue);
		blk_poll(&beside[i].dev);
	}
	net.src.ops->poll(&net.src);
	wait = deploy_poll(dep);
	if (!busy && list_empty(&disk.queue))
		plat_host_now_ns += MAX(MIN(wait, 100 * NS_PER_MS), NS_PER_MS);
	else
		plat_host_now_ns += NS_PER_US;
	deploy_status(dep, &st);
}

static bool run_until(enum deploy_state want, u32 seconds)
{
	u64 end = plat_host_now_ns + seconds * NS_PER_SEC;

	while (st.state != want && plat_host_now_ns < end && !disk.cut)
		round_trip();
	return st.state == want;
}

static void run_for(u32 seconds)
{
	u64 end = plat_host_now_ns + seconds * NS_PER_SEC;

	while (plat_host_now_ns < end && !disk.cut)
		round_trip();
}

static struct gpt_layout disk_layout(void)
{
	u32 ss = disk.dev.sector_bytes;
	struct gpt_layout l;

	assert_int_equal(gpt_classify(disk.mem, GPT_HEAD_BYTES(ss),
				      disk.mem + disk.bytes - GPT_TAIL_BYTES(ss),
				      GPT_TAIL_BYTES(ss), ss, disk.dev.sectors, &l),
			 GPT_DISK_OURS);
	return l;
}

static void assert_esp_is(u32 i)
{
	struct gpt_layout l = disk_layout();

	assert_memory_equal(disk.mem + l.esp.first_lba * l.sector_bytes, esp_bytes[i],
			    sizeof(esp_bytes[i]));
}

static struct store_meta disk_meta(void)
{
	struct gpt_layout l = disk_layout();
	struct store_meta meta;

	fake_store_read(&disk, l.store.first_lba, &meta);
	return meta;
}

/* A disk as an earlier boot left it. */
static void plant(bool complete, u64 serial)
{
	struct store_meta meta = { .bound = true, .chunk_bytes = CHUNK, .image_bytes = 64 * MIB,
				   .sector_bytes = 512, .image = "lab", .complete = complete,
				   .policy = STORE_POLICY_PUSH, .serial = serial };
	u32 ss = disk.dev.sector_bytes;
	struct gpt_layout l;
	u8 random[48] = { 9 };

	assert_int_equal(gpt_plan(&l, disk.dev.sectors, ss, random), 0);
	gpt_build_head(&l, disk.mem);
	gpt_build_tail(&l, disk.mem + disk.bytes - GPT_TAIL_BYTES(ss));
	memcpy(disk.mem + l.esp.first_lba * ss, esp_bytes[0], sizeof(esp_bytes[0]));
	memcpy(meta.version, version[0], 32);
	memcpy(meta.esp, esp_version[0], 32);
	fake_store_plant(&disk, l.store.first_lba, &meta, manifests[0], manifest_len[0]);
}

static void plant_next(const u8 *next)
{
	struct gpt_layout l = disk_layout();
	struct store_meta meta = disk_meta();

	memcpy(meta.next, next, 32);
	fake_store_plant(&disk, l.store.first_lba, &meta, manifests[0], manifest_len[0]);
}

/* Somebody else's disk: random-looking everywhere a reader may look. */
static u8 *make_foreign(void)
{
	u8 *copy = malloc(8 * MIB);

	for (u32 i = 0; i < 4 * MIB; i++)
		disk.mem[i] = (u8)(i * 7 + (i >> 9));
	memset(disk.mem + disk.bytes - MIB, 0x42, MIB);
	memcpy(copy, disk.mem, 4 * MIB);
	memcpy(copy + 4 * MIB, disk.mem + disk.bytes - 4 * MIB, 4 * MIB);
	return copy;
}

static void assert_untouched(u8 *copy)
{
	assert_true(disk.writes == 0);
	assert_memory_equal(disk.mem, copy, 4 * MIB);
	assert_memory_equal(disk.mem + disk.bytes - 4 * MIB, copy + 4 * MIB, 4 * MIB);
	free(copy);
}

static void assert_trouble(enum deploy_code code, u32 seconds)
{
	assert_true(run_until(DEPLOY_TROUBLE, seconds));
	assert_int_equal(st.code, code);
	assert_true(st.text[0]);
}

/* ------------------------------------------------------------------- claims */

static void blank_disk_is_claimed(void **state)
{
	struct store_meta meta;

	(void)state;
	switch_on();
	assert_int_equal(st.state, DEPLOY_DISK);
	assert_null(deploy_disk(dep));
	assert_true(run_until(DEPLOY_READY, 60));
	assert_non_null(deploy_disk(dep));
	assert_true(st.disk_bytes == 64 * MIB);
	assert_esp_is(0);
	meta = disk_meta();
	assert_memory_equal(meta.version, version[0], 32);
	assert_memory_equal(meta.esp, esp_version[0], 32);
	assert_int_equal(meta.serial, 10);
	assert_int_equal(meta.policy, STORE_POLICY_PUSH);
	assert_true(list_empty(&disk.dirty));
	assert_int_equal(fake_store.format_calls, 1);
	assert_true(fake_store.last_cfg.fill.on);
	deploy_attached(dep);
	run_for(1);
	assert_int_equal(st.state, DEPLOY_ATTACHED);
}

static void blank_disk_with_4k_sectors(void **state)
{
	teardown(state);
	world(4096);
	switch_on();
	assert_true(run_until(DEPLOY_READY, 60));
	assert_esp_is(0);
	assert_true(disk_layout().store.first_lba == 65 * MIB / 4096);
}

static void next_boot_after_a_claim_needs_nothing(void **state)
{
	(void)state;
	switch_on();
	assert_true(run_until(DEPLOY_READY, 60));
	switch_off();
	switch_on();
	assert_true(run_until(DEPLOY_READY, 60)); /* not complete: by the ticket */
	assert_int_equal(fake_store.format_calls, 0);
	assert_null(fake_store.last_cfg.manifest);
}

static void esp_is_optional(void **state)
{
	(void)state;
	ticket.has_esp = false;
	issue();
	switch_on();
	assert_true(run_until(DEPLOY_READY, 60));
	assert_true(manifest_digest_is_zero(disk_meta().esp));
}

static void esp_for_other_sectors_is_left_out(void **state)
{
	(void)state;
	publish_esp(0, 4096);
	memcpy(ticket.esp, esp_version[0], 32);
	issue();
	switch_on();
	assert_true(run_until(DEPLOY_READY, 60));
	assert_true(manifest_digest_is_zero(disk_meta().esp));
}

static void foreign_disk_is_not_touched(void **state)
{
	u8 *copy = make_foreign();

	(void)state;
	switch_on();
	assert_trouble(DEPLOY_DISK_FOREIGN, 5);
	assert_non_null(strstr(st.text, SERIAL));
	run_for(60);
	assert_int_equal(st.state, DEPLOY_TROUBLE);
	assert_int_equal(deploy_action(dep, DEPLOY_BOOT_CACHE), -EINVAL);
	assert_int_equal(deploy_action(dep, DEPLOY_RETRY), 0);
	assert_trouble(DEPLOY_DISK_FOREIGN, 60);
	switch_off();

	strcpy(ticket.claim_serial, "another");
	ticket.claim = TICKET_CLAIM_SERIAL;
	issue();
	switch_on();
	assert_trouble(DEPLOY_DISK_FOREIGN, 5);
	assert_untouched(copy);
}

static void foreign_disk_is_taken_by_serial(void **state)
{
	(void)state;
	free(make_foreign());
	memset(disk.mem + MIB, 0xee, 64 * MIB); /* where the ESP's holes will be */
	strcpy(ticket.claim_serial, SERIAL);
	ticket.claim = TICKET_CLAIM_SERIAL;
	issue();
	switch_on();
	assert_true(run_until(DEPLOY_READY, 60));
	assert_esp_is(0);
}

static void one_byte_somewhere_makes_a_disk_foreign(void **state)
{
	static const u64 at[] = { 0, 511, 3 * MIB + 77, DISK_BYTES - 1, DISK_BYTES - MIB };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(at); i++) {
		disk.mem[at[i]] = 1;
		switch_on();
		assert_trouble(DEPLOY_DISK_FOREIGN, 5);
		switch_off();
		disk.mem[at[i]] = 0;
	}
	/* A file system that is mostly in the middle. */
	memset(disk.mem + 100 * MIB, 0x55, 50 * MIB);
	switch_on();
	assert_trouble(DEPLOY_DISK_FOREIGN, 5);
	assert_true(disk.writes == 0);
}

static void blank_disk_without_a_claim_is_not_touched(void **state)
{
	(void)state;
	ticket.claim = TICKET_CLAIM_NONE;
	issue();
	switch_on();
	assert_trouble(DEPLOY_DISK_FOREIGN, 5);
	run_for(30);
	assert_true(disk.writes == 0);
	ticket.claim = TICKET_CLAIM_BLANK; /* the admin changes his mind; nobody touches the PC */
	issue();
	assert_true(run_until(DEPLOY_READY, 30));
}

/* ------------------------------------------------------------------- several disks */

static struct fake_disk *add_disk(const char *serial)
{
	fake_disk_init(&beside[besides], DISK_BYTES, 512, serial);
	return &beside[besides++];
}

static void assert_claimed(struct fake_disk *f, struct fake_disk *not)
{
	assert_true(run_until(DEPLOY_READY, 60));
	assert_ptr_equal(deploy_real_disk(dep), &f->dev);
	assert_true(f->writes > 0);
	assert_true(not->writes == 0);
}

/* The claimed serial number decides, whichever comes first and whatever is on it. */
static void serial_decides_among_disks(void **state)
{
	struct fake_disk *second = add_disk("second");

	(void)state;
	ticket.claim = TICKET_CLAIM_SERIAL;
	strcpy(ticket.claim_serial, "third");
	issue();
	switch_on();
	assert_trouble(DEPLOY_DISK_FOREIGN, 5);
	assert_non_null(strstr(st.text, SERIAL ", second"));
	assert_true(disk.writes + second->writes == 0);
	strcpy(ticket.claim_serial, "second");
	issue();
	memset(second->mem, 0x42, MIB);
	assert_claimed(second, &disk);
	switch_off();
	switch_on(); /* from now on by its label */
	assert_true(run_until(DEPLOY_READY, 60));
	assert_ptr_equal(deploy_real_disk(dep), &second->dev);
	assert_true(disk.writes == 0);
}

static void first_serial_decides_too(void **state)
{
	struct fake_disk *second = add_disk("second");

	(void)state;
	ticket.claim = TICKET_CLAIM_SERIAL;
	strcpy(ticket.claim_serial, SERIAL);
	issue();
	switch_on();
	assert_claimed(&disk, second);
}

static void twins_are_not_told_apart(void **state)
{
	(void)state;
	add_disk(SERIAL);
	ticket.claim = TICKET_CLAIM_SERIAL;
	strcpy(ticket.claim_serial, SERIAL);
	issue();
	switch_on();
	assert_trouble(DEPLOY_DISK_FOREIGN, 5);
	assert_true(disk.writes + beside[0].writes == 0);
}

/* One blank disk beside others is taken, one of several is not. */
static void blank_among_disks(void **state)
{
	struct fake_disk *second = add_disk("second"), *third;

	(void)state;
	third = add_disk("third");
	memset(third->mem, 0x42, MIB);
	switch_on();
	assert_trouble(DEPLOY_DISK_FOREIGN, 5);
	assert_non_null(strstr(st.text, "2 blank disks (" SERIAL ", second)"));
	run_for(30);
	assert_true(disk.writes + second->writes + third->writes == 0);
	switch_off();
	memset(disk.mem, 0x42, MIB);
	switch_on();
	assert_claimed(second, &disk);
	assert_true(third->writes == 0);
}

static void nothing_claimed_among_disks(void **state)
{
	struct fake_disk *second = add_disk("second");

	(void)state;
	ticket.claim = TICKET_CLAIM_NONE;
	issue();
	switch_on();
	assert_trouble(DEPLOY_DISK_FOREIGN, 5);
	assert_true(disk.writes + second->writes == 0);
	switch_off();
	ticket.claim = TICKET_CLAIM_BLANK;
	issue();
	memset(disk.mem, 0x42, MIB);
	memset(second->mem, 0x42, MIB);
	switch_on();
	assert_trouble(DEPLOY_DISK_FOREIGN, 5);
	assert_true(disk.writes + second->writes == 0);
}

/* Our label wins without a ticket, also behind a blank disk. */
static void label_decides(void **state)
{
	struct fake_disk *second = add_disk("second"), hold = disk;

	(void)state;
	plant(true, 10);
	/* the labelled one is the second */
	memcpy(second->mem, disk.mem, disk.bytes);
	memset(hold.mem, 0, hold.bytes);
	fake_source_up(&net, false);
	switch_on();
	assert_true(run_until(DEPLOY_READY, 5));
	assert_ptr_equal(deploy_real_disk(dep), &second->dev);
	assert_true(disk.writes == 0);
}

/* A disk that is too small stands in nobody's way; one that cannot be read may be ours. */
static void useless_disks(void **state)
{
	struct fake_disk *second = add_disk("second");

	(void)state;
	disk.dev.sectors = 1000;
	switch_on();
	assert_claimed(second, &disk);
	switch_off();
	memset(second->mem, 0, second->bytes);
	disk.dev.sectors = DISK_BYTES / 512;
	second->writes = 0;
	disk.fail_reads = true;
	switch_on();
	assert_trouble(DEPLOY_DISK_FAILED, 5);
	run_for(30);
	assert_true(disk.writes + second->writes == 0);
	disk.fail_reads = false; /* a moment's trouble: now there are two blank ones */
	run_for(15);
	assert_int_equal(st.code, DEPLOY_DISK_FOREIGN);
	assert_true(disk.writes + second->writes == 0);
	disk.fail_reads = true;
	switch_off();
	ticket.claim = TICKET_CLAIM_SERIAL;
	strcpy(ticket.claim_serial, "second");
	issue();
	switch_on();
	assert_claimed(second, &disk);
}

static void small_disks(void **state)
{
	(void)state;
	memcpy(ticket.version, version[2], 32);
	issue();
	switch_on();
	assert_trouble(DEPLOY_DISK_SMALL, 5);
	assert_true(disk.writes == 0);
	switch_off();
	disk.dev.sectors = 200 * MIB / 512;
	switch_on();
	assert_trouble(DEPLOY_DISK_SMALL, 5);
	assert_true(disk.writes == 0);
}

/* Power goes after each write of a claim in turn, and what was in the cache is partly lost. */
static void power_cuts_during_a_claim(void **state)
{
	u64 total;

	(void)state;
	switch_on();
	assert_true(run_until(DEPLOY_READY, 60));
	total = disk.writes;
	assert_true(total > 10);
	for (u64 i = 4; i < 4 * (total + 1); i++) {
		u64 cut = i / 4;

		teardown(state);
		world(512);
		disk.cut_after_writes = cut;
		switch_on();
		run_until(DEPLOY_READY, 60);
		assert_true(disk.cut);
		switch_off();
		fake_disk_power_cycle(&disk, (u32)i * 77);
		switch_on();
		if (!run_until(DEPLOY_READY, 60))
			fail_msg("cut after write %u: state %u FR-%u %s", (u32)cut, st.state,
				 st.code, st.text);
		assert_esp_is(0);
		assert_memory_equal(disk_meta().version, version[0], 32);
	}
}

static void interrupted_claim_waits_for_a_ticket_that_allows_it(void **state)
{
	(void)state;
	disk.cut_after_writes = 4;
	switch_on();
	run_until(DEPLOY_READY, 60);
	switch_off();
	fake_disk_power_cycle(&disk, 1);
	ticket.claim = TICKET_CLAIM_NONE;
	issue();
	disk.writes = 0;
	switch_on();
	assert_trouble(DEPLOY_DISK_FOREIGN, 5);
	assert_true(disk.writes == 0);
}

static void failing_disk(void **state)
{
	(void)state;
	disk.fail_reads = true;
	switch_on();
	assert_trouble(DEPLOY_DISK_FAILED, 5);
	disk.fail_reads = false;
	disk.fail_writes = true;
	run_for(30);
	assert_int_equal(st.state, DEPLOY_TROUBLE);
	assert_int_equal(st.code, DEPLOY_DISK_FAILED);
	disk.fail_writes = false;
	assert_true(run_until(DEPLOY_READY, 60));
}

/* ------------------------------------------------------------------ offline */

static void complete_store_waits_for_nothing(void **state)
{
	u64 begin;

	(void)state;
	plant(true, 10);
	fake_source_up(&net, false);
	switch_on();
	begin = plat_host_now_ns;
	assert_true(run_until(DEPLOY_READY, 1));
	assert_true(plat_host_now_ns - begin < 50 * NS_PER_MS);
	assert_int_equal(net.gets, 0);
	assert_false(fake_store.last_cfg.offline);
	run_for(60);
	assert_true(fake_store.offline); /* damage is an I/O error now, not a wait */
	assert_int_equal(net.posts, 0);
	fake_source_up(&net, true);
	run_for(5);
	assert_false(fake_store.offline);
	assert_true(net.posts > 0);
	assert_int_equal(net.gets, 1); /* the ticket, in the background */
}

/* Behind a quiet guest nothing ticks: with a network every 5 min, without one never. */
static void quiet_guest_is_left_alone(void **state)
{
	(void)state;
	plant(true, 10);
	switch_on();
	run_for(5);
	assert_int_equal(st.state, DEPLOY_READY);
	assert_true(deploy_poll(dep) > 200 * NS_PER_SEC);
	switch_off();
	fake_source_up(&net, false);
	switch_on();
	run_for(5);
	assert_in_range(deploy_poll(dep), 10 * NS_PER_SEC, 16 * NS_PER_SEC); /* then offline */
	run_for(20);
	assert_true(deploy_poll(dep) == ~0ull);
}

static void complete_store_without_a_network_card(void **state)
{
	struct deploy_cfg cfg = { .blk = &disk.dev, .keys = keys, .nkeys = 1 };

	(void)state;
	plant(true, 10);
	assert_int_equal(deploy_create(&dep, &cfg), 0);
	deploy_status(dep, &st);
	assert_true(run_until(DEPLOY_READY, 1));
	assert_true(fake_store.last_cfg.offline);
	run_for(60);
	assert_int_equal(st.state, DEPLOY_READY);
}

static void blank_disk_without_a_network_card(void **state)
{
	struct deploy_cfg cfg = { .blk = &disk.dev, .keys = keys, .nkeys = 1 };

	(void)state;
	assert_int_equal(deploy_create(&dep, &cfg), 0);
	deploy_status(dep, &st);
	assert_trouble(DEPLOY_NO_LINK, 1);
	assert_true(disk.writes == 0);
}

static void incomplete_store_can_be_tried(void **state)
{
	(void)state;
	plant(false, 10);
	fake_source_up(&net, false);
	switch_on();
	run_for(5);
	assert_int_equal(st.state, DEPLOY_NETWORK);
	assert_true(st.can_boot_cache);
	assert_int_equal(deploy_action(dep, DEPLOY_BOOT_CACHE), 0);
	assert_true(run_until(DEPLOY_READY, 1));
	assert_false(st.can_boot_cache);
	run_for(60);
	assert_false(fake_store.offline); /* chunks are missing: wait for them */
	assert_int_equal(deploy_action(dep, DEPLOY_BOOT_CACHE), -EINVAL);
	assert_int_equal(deploy_action(dep, DEPLOY_RETRY), -EINVAL);
}

static void boot_cache_while_an_answer_is_on_its_way(void **state)
{
	(void)state;
	plant(false, 10);
	memcpy(ticket.version, version[1], 32);
	issue();
	switch_on();
	assert_true(run_until(DEPLOY_MANIFEST, 5));
	net.hold_docs = true;
	run_for(1);
	assert_int_equal(deploy_action(dep, DEPLOY_BOOT_CACHE), 0);
	assert_true(run_until(DEPLOY_READY, 1));
	run_for(400);
	assert_int_equal(net.gets, 2); /* the slot is taken: nothing else is asked */
	net.hold_docs = false; /* late, into memory that must still be there */
	run_for(5);
	assert_int_equal(net.gets, 3);
	assert_int_equal(st.state, DEPLOY_READY);
	assert_memory_equal(disk_meta().version, version[0], 32);
}

static void damaged_manifest_in_the_store_is_not_believed(void **state)
{
	struct gpt_layout l;
	struct store_meta meta;

	(void)state;
	plant(true, 10);
	l = disk_layout();
	meta = disk_meta();
	manifests[0][170] ^= 1;
	fake_store_plant(&disk, l.store.first_lba, &meta, manifests[0], manifest_len[0]);
	manifests[0][170] ^= 1;
	fake_source_up(&net, false);
	switch_on();
	run_for(5);
	assert_int_equal(st.state, DEPLOY_NETWORK);
	assert_false(st.can_boot_cache);
	fake_source_up(&net, true);
	assert_true(run_until(DEPLOY_READY, 5));
	assert_non_null(fake_store.last_cfg.manifest);
}

static void manifest_of_another_version_in_the_store_is_not_believed(void **state)
{
	struct store_meta meta;

	(void)state;
	plant(true, 10);
	meta = disk_meta();
	fake_store_plant(&disk, disk_layout().store.first_lba, &meta, manifests[1],
			 manifest_len[1]);
	fake_source_up(&net, false);
	switch_on();
	run_for(5);
	assert_int_equal(st.state, DEPLOY_NETWORK);
	assert_false(st.can_boot_cache);
}

static void store_of_another_site_is_not_booted(void **state)
{
	(void)state;
	plant(true, 10);
	key_public(stranger, keys[0]);
	fake_source_up(&net, false);
	switch_on();
	run_for(5);
	key_public(key, keys[0]);
	assert_int_equal(st.state, DEPLOY_NETWORK);
	assert_false(st.can_boot_cache);
}

static void damaged_store(void **state)
{
	(void)state;
	plant(true, 10);
	switch_on();
	fake_store.open_err = -EBADMSG;
	assert_trouble(DEPLOY_STORE_BAD, 5);
	assert_true(disk.writes == 0);
	/* The admin gives the disk up. */
	strcpy(ticket.claim_serial, SERIAL);
	ticket.claim = TICKET_CLAIM_SERIAL;
	issue();
	run_for(9);
	fake_store.open_err = 0;
	assert_true(run_until(DEPLOY_READY, 30));
	assert_int_equal(fake_store.format_calls, 1);
}

static void empty_partition_of_ours_is_formatted(void **state)
{
	(void)state;
	plant(true, 10);
	memset(disk.mem + disk_layout().store.first_lba * 512, 0, 65536);
	ticket.claim = TICKET_CLAIM_NONE;
	issue();
	switch_on();
	assert_true(run_until(DEPLOY_READY, 10));
	assert_int_equal(fake_store.format_calls, 1);
}

/* ------------------------------------------------------------------ network */

static void network_comes_late(void **state)
{
	(void)state;
	fake_source_up(&net, false);
	switch_on();
	run_for(10);
	assert_int_equal(st.state, DEPLOY_NETWORK);
	assert_non_null(strstr(st.text, "cable"));
	assert_trouble(DEPLOY_NO_LINK, 25);
	net.link = true;
	run_for(1);
	assert_int_equal(st.code, DEPLOY_NO_DHCP);
	assert_non_null(strstr(st.text, "DHCP"));
	net.ip = true;
	run_for(5);
	assert_non_null(strstr(st.text, "10.0.2.2"));
	run_for(20);
	assert_int_equal(st.state, DEPLOY_TROUBLE);
	assert_int_equal(st.code, DEPLOY_NO_SERVER);
	net.up = true;
	assert_true(run_until(DEPLOY_READY, 12));
}

static void no_server_is_quiet_at_first(void **state)
{
	(void)state;
	net.get_err = -ECONNREFUSED;
	switch_on();
	run_for(2);
	assert_int_equal(st.state, DEPLOY_TICKET);
	assert_trouble(DEPLOY_NO_SERVER, 30);
	run_for(100);
	assert_int_equal(st.state, DEPLOY_TROUBLE);
	assert_in_range(net.gets, 10, 25);
	net.get_err = 0;
	assert_true(run_until(DEPLOY_READY, 12));
}

static void retry_is_at_once_when_told(void **state)
{
	u32 gets;

	(void)state;
	net.ticket_status = 404;
	switch_on();
	assert_trouble(DEPLOY_TICKET_REFUSED, 5);
	run_for(1);
	gets = net.gets;
	net.ticket_status = 0;
	assert_int_equal(deploy_action(dep, DEPLOY_RETRY), 0);
	deploy_status(dep, &st);
	assert_int_equal(st.state, DEPLOY_TICKET);
	run_for(1);
	assert_true(net.gets > gets);
	assert_true(run_until(DEPLOY_READY, 5));
}

static void refusals(void **state)
{
	(void)state;
	net.ticket_status = 403;
	switch_on();
	assert_trouble(DEPLOY_TICKET_REFUSED, 5);
	net.ticket_status = 500; /* the server's own trouble: wait for it */
	run_for(60);
	assert_int_equal(st.code, DEPLOY_NO_SERVER);
	net.ticket_status = 0;
	assert_true(run_until(DEPLOY_READY, 12));
}

static void trouble_stays_on_the_screen_while_retrying(void **state)
{
	u64 end;

	(void)state;
	ticket.claim = TICKET_CLAIM_NONE;
	issue();
	switch_on();
	assert_trouble(DEPLOY_DISK_FOREIGN, 5);
	for (end = plat_host_now_ns + 60 * NS_PER_SEC; plat_host_now_ns < end;) {
		round_trip();
		assert_int_equal(st.state, DEPLOY_TROUBLE);
		assert_non_null(strstr(st.text, SERIAL));
	}
	assert_true(net.gets > 5);
}

static void request_says_who_asks(void **state)
{
	(void)state;
	switch_on();
	assert_true(run_until(DEPLOY_MANIFEST, 5));
	net.hold_docs = true;
	switch_off();
	switch_on();
	run_for(1);
	assert_string_equal(net.last_path, "/v1/boot?uuid=04030201-0605-0807-090a-0b0c0d0e0f10"
					   "&mac=02:00:00:ab:cd:ef&disk=S4%20EV%2f1");
}

/* -------------------------------------------------------------------- trust */

static void untrusted(enum deploy_code code)
{
	switch_on();
	assert_trouble(code, 5);
	assert_true(disk.writes == 0);
	run_for(25);
	assert_int_equal(st.state, DEPLOY_TROUBLE);
	assert_true(disk.writes == 0);
}

static void ticket_of_a_stranger(void **state)
{
	(void)state;
	issue_by(stranger);
	untrusted(DEPLOY_TICKET_BAD);
	issue();
	assert_true(run_until(DEPLOY_READY, 12));
}

static void ticket_changed_on_the_way(void **state)
{
	(void)state;
	strstr((char *)net.ticket, "claim")[6] ^= 1;
	untrusted(DEPLOY_TICKET_BAD);
}

static void ticket_garbage(void **state)
{
	(void)state;
	memset(net.ticket, 0xff, 300);
	untrusted(DEPLOY_TICKET_BAD);
	net.ticket_bytes = 0;
	run_for(12);
	assert_int_equal(st.code, DEPLOY_TICKET_BAD);
	net.ticket_bytes = sizeof(net.ticket);
	run_for(12);
	assert_int_equal(st.code, DEPLOY_TICKET_BAD);
}

static void ticket_for_another_machine(void **state)
{
	(void)state;
	ticket.uuid[3] ^= 1;
	issue();
	untrusted(DEPLOY_TICKET_BAD);
}

static void stale_ticket(void **state)
{
	(void)state;
	plant(false, 11);
	untrusted(DEPLOY_TICKET_STALE);
	assert_true(st.can_boot_cache);
	ticket.serial = 11;
	issue();
	assert_true(run_until(DEPLOY_READY, 12));
}

static void stale_ticket_in_the_background(void **state)
{
	(void)state;
	plant(true, 11);
	memcpy(ticket.version, version[1], 32);
	issue();
	switch_on();
	assert_true(run_until(DEPLOY_READY, 5));
	run_for(20);
	assert_int_equal(net.gets, 1);
	assert_int_equal(st.state, DEPLOY_READY);
	assert_int_equal(disk_meta().serial, 11);
	assert_true(manifest_digest_is_zero(disk_meta().next));
}

static int object_of(const u8 *digest)
{
	for (u32 i = 0; i < net.object_count; i++)
		if (!memcmp(net.objects[i].digest, digest, 32))
			return (int)i;
	return -1;
}

static void bad_manifests(void **state)
{
	int i = object_of(version[0]);
	u8 m[512], pages[32] = { 1 }, digest[32], *good = net.objects[i].bytes;
	u32 n;

	(void)state;
	net.objects[i].bytes[100] ^= 1; /* changed on the way */
	untrusted(DEPLOY_MANIFEST_BAD);
	switch_off();
	net.objects[i].bytes[100] ^= 1;

	net.objects[i].bytes = manifests[1]; /* signed, and another one */
	untrusted(DEPLOY_MANIFEST_BAD);
	switch_off();
	net.objects[i].bytes = good;

	net.objects[i].n--;
	untrusted(DEPLOY_MANIFEST_BAD);
	switch_off();
	net.objects[i].n++;

	net.manifest_status = 404;
	untrusted(DEPLOY_MANIFEST_BAD);
	switch_off();
	net.manifest_status = 0;

	/* The ticket names it, and it is not signed by the site. */
	n = make_manifest(m, 64 * MIB, 512, "evil", pages, stranger, digest);
	fake_source_add(&net, digest, m, n);
	memcpy(ticket.version, digest, 32);
	issue();
	untrusted(DEPLOY_MANIFEST_BAD);
	switch_off();

	/* Signed text that is no manifest. */
	memset(m, 0x31, sizeof(m));
	manifest_digest(digest, m, 300);
	fake_source_add(&net, digest, m, 300);
	memcpy(ticket.version, digest, 32);
	issue();
	untrusted(DEPLOY_MANIFEST_BAD);

	memcpy(ticket.version, version[0], 32);
	issue();
	assert_true(good == net.objects[i].bytes);
	assert_true(run_until(DEPLOY_READY, 12));
}

static void bad_esp_image(void **state)
{
	u8 m[512], page[32] = { 1 };

	(void)state;
	fake_source_add(&net, ticket.esp, m,
			make_manifest(m, MIB, 512, "evil", page, stranger, ticket.esp));
	memcpy(net.objects[net.object_count - 1].digest, ticket.esp, 32);
	issue();
	switch_on();
	assert_trouble(DEPLOY_MANIFEST_BAD, 5);
	memcpy(ticket.esp, esp_version[0], 32);
	issue();
	assert_true(run_until(DEPLOY_READY, 12));
	assert_esp_is(0);
}

/* ------------------------------------------------------------------ updates */

static void newer_version_is_noted_and_taken_at_the_next_boot(void **state)
{
	(void)state;
	plant(true, 10);
	ticket.serial = 12;
	ticket.policy = TICKET_POLICY_BOOT;
	ticket.fill = false;
	memcpy(ticket.version, version[1], 32);
	issue();
	switch_on();
	assert_true(run_until(DEPLOY_READY, 1));
	run_for(5);
	assert_memory_equal(disk_meta().version, version[0], 32);
	assert_memory_equal(disk_meta().next, version[1], 32);
	assert_int_equal(disk_meta().serial, 12);
	assert_int_equal(disk_meta().policy, STORE_POLICY_BOOT);
	assert_false(fake_store.fill.on);
	switch_off();
	switch_on();
	assert_true(run_until(DEPLOY_READY, 5));
	assert_memory_equal(disk_meta().version, version[1], 32);
	run_for(5);
	assert_true(manifest_digest_is_zero(disk_meta().next));
}

static void update_never_stops_a_boot(void **state)
{
	(void)state;
	plant(true, 10);
	plant_next(version[1]);
	memcpy(ticket.version, version[1], 32);

	fake_source_up(&net, false); /* no network at all */
	switch_on();
	assert_true(run_until(DEPLOY_READY, 9));
	switch_off();

	net.link = net.ip = true; /* a network, no server */
	switch_on();
	assert_true(run_until(DEPLOY_READY, 9));
	switch_off();

	fake_source_up(&net, true);
	issue_by(stranger);
	switch_on();
	assert_true(run_until(DEPLOY_READY, 1));
	switch_off();

	issue();
	net.manifest_status = 404;
	switch_on();
	assert_true(run_until(DEPLOY_READY, 1));
	switch_off();

	net.hold_docs = true;
	switch_on();
	assert_true(run_until(DEPLOY_READY, 9));
	net.hold_docs = false;
	run_for(2);
	assert_memory_equal(disk_meta().version, version[0], 32);
	assert_true(disk_meta().complete);
	switch_off();

	net.manifest_status = 0;
	memcpy(ticket.version, version[2], 32); /* does not fit */
	issue();
	switch_on();
	assert_true(run_until(DEPLOY_READY, 1));
	assert_memory_equal(disk_meta().version, version[0], 32);
}

static void esp_is_updated_behind_the_guest(void **state)
{
	u64 total;

	(void)state;
	plant(true, 10);
	memcpy(ticket.esp, esp_version[1], 32);
	issue();
	switch_on();
	run_for(20);
	assert_int_equal(st.state, DEPLOY_READY);
	assert_esp_is(1);
	assert_memory_equal(disk_meta().esp, esp_version[1], 32);
	total = disk.writes;
	assert_in_range(total, ESP_CHUNKS / 2 - 4, ESP_CHUNKS / 2 + 4); /* what differs, not all */
	for (u64 i = 12; i < 12 * (total + 1); i++) {
		u64 cut = i / 12;
		u32 back;

		teardown(state);
		world(512);
		plant(true, 10);
		memcpy(ticket.esp, esp_version[1], 32);
		issue();
		disk.cut_after_writes = cut;
		switch_on();
		run_for(20);
		assert_true(disk.cut);
		switch_off();
		fake_disk_power_cycle(&disk, (u32)i * 31);
		/* Meanwhile the site may have gone back to the old one. */
		back = i % 2;
		memcpy(ticket.esp, esp_version[back], 32);
		issue();
		switch_on();
		run_for(20);
		assert_esp_is(back);
		assert_memory_equal(disk_meta().esp, esp_version[back], 32);
	}
}

static void bad_esp_update_leaves_the_guest_alone(void **state)
{
	(void)state;
	plant(true, 10);
	memset(ticket.esp, 0x99, 32);
	issue();
	switch_on();
	run_for(20);
	assert_int_equal(st.state, DEPLOY_READY);
	assert_esp_is(0);
}

/* ------------------------------------------------------------------ reports */

static void reports(void **state)
{
	u32 n;

	(void)state;
	switch_on();
	assert_true(run_until(DEPLOY_READY, 60));
	run_for(1);
	assert_non_null(strstr(net.last_post,
			       "{\"uuid\":\"04030201-0605-0807-090a-0b0c0d0e0f10\","));
	assert_non_null(strstr(net.last_post, "\"build\":\"test \\\"build\\\"\","));
	assert_non_null(strstr(net.last_post, "\"state\":\"ready\""));
	assert_non_null(strstr(net.last_post, "\"percent\":12.3"));
	assert_non_null(strstr(net.last_post, "\"channel\":\"lab/stable\""));
	assert_non_null(strstr(net.last_post, "\"timeline_ms\":{\"disk\":0,"));
	assert_int_equal(net.last_post[strlen(net.last_post) - 1], '}');
	n = net.posts;
	run_for(100); /* filling: every 10 s */
	assert_in_range(net.posts - n, 9, 11);
	switch_off();
	plant(true, 10);
	switch_on();
	run_for(5);
	n = net.posts;
	run_for(100); /* complete: nothing to say */
	assert_int_equal(net.posts, n);
	deploy_attached(dep);
	run_for(1);
	assert_int_equal(net.posts, n + 1);
	assert_non_null(strstr(net.last_post, "\"state\":\"attached\""));
}

/* ------------------------------------------------------------ boot profile */

static void publish_profile(const struct crypto_key *k)
{
	struct profile p = { .chunk_bytes = CHUNK, .boots = 2, .nruns = 1 };
	struct profile_run run = { 3, 4 };
	u8 to_sign[32];

	memcpy(p.version, version[0], 32);
	assert_int_equal(profile_build(&p, &run, net.profile, sizeof(net.profile), to_sign), 0);
	net.profile_bytes = (u32)profile_size(1);
	assert_int_equal(key_sign(k, to_sign, net.profile + net.profile_bytes - 64), 0);
}

static void profile_is_played_when_signed(void **state)
{
	(void)state;
	publish_profile(key);
	switch_on();
	assert_true(run_until(DEPLOY_READY, 5));
	run_for(2);
	assert_int_equal(net.profile_gets, 1);
	assert_int_equal(fake_store.plays, 1);
	assert_int_equal(fake_store.played_bytes, net.profile_bytes);
	run_for(700); /* tickets are asked for again, the profile is not */
	assert_int_equal(net.profile_gets, 1);
	switch_off();
	publish_profile(stranger);
	switch_on();
	assert_true(run_until(DEPLOY_READY, 5));
	run_for(2);
	assert_int_equal(net.profile_gets, 2);
	assert_int_equal(fake_store.plays, 0);
}

static void complete_store_asks_for_no_profile(void **state)
{
	(void)state;
	publish_profile(key);
	plant(true, 10);
	switch_on();
	run_for(5);
	assert_int_equal(st.state, DEPLOY_READY);
	assert_int_equal(net.profile_gets, 0);
}

/* The end of a boot: the guest is up, nothing new for 10 s, nothing waits. */
static void what_a_boot_read_is_told_once(void **state)
{
	(void)state;
	switch_on();
	assert_true(run_until(DEPLOY_READY, 5));
	fake_store.profile = (struct disk_profile){ .recording = true, .runs = 2, .chunks = 9 };
	run_for(30);
	deploy_attached(dep);
	fake_store.profile.last_ns = plat_host_now_ns + 55 * NS_PER_SEC;
	run_for(62);
	assert_int_equal(fake_store.stops, 0); /* 60 s, but it has just read something new */
	fake_store.waiting = 1;
	run_for(10);
	assert_int_equal(fake_store.stops, 0); /* something waits */
	fake_store.waiting = 0;
	fake_source_up(&net, false);
	run_for(20);
	assert_int_equal(fake_store.stops, 1);
	assert_int_equal(net.tolds, 0);
	fake_source_up(&net, true);
	run_for(2);
	assert_int_equal(net.tolds, 1);
	assert_int_equal(net.told_bytes, 5);
	assert_memory_equal(net.told, "reads", 5);
	run_for(600);
	assert_int_equal(net.tolds, 1);
	assert_int_equal(fake_store.stops, 1);
}

static void endless_boot_ends(void **state)
{
	(void)state;
	switch_on();
	assert_true(run_until(DEPLOY_READY, 5));
	deploy_attached(dep);
	deploy_guest_up(dep);
	for (u32 s = 0; s < 290; s += 5) {
		fake_store.profile.last_ns = plat_host_now_ns;
		run_for(5);
	}
	assert_int_equal(fake_store.stops, 0);
	for (u32 s = 0; s < 20; s += 5) {
		fake_store.profile.last_ns = plat_host_now_ns;
		run_for(5);
	}
	assert_int_equal(fake_store.stops, 1);
}

static void scrub_is_for_complete_stores_and_later(void **state)
{
	(void)state;
	plant(true, 10);
	switch_on();
	assert_true(run_until(DEPLOY_READY, 5));
	run_for(700);
	assert_int_equal(fake_store.scrubs, 0); /* no guest yet */
	deploy_attached(dep);
	run_for(590);
	assert_int_equal(fake_store.scrubs, 0);
	run_for(20);
	assert_int_equal(fake_store.scrubs, 1);
	run_for(1000);
	assert_int_equal(fake_store.scrubs, 1);
}

/* 22:00 to 06:00, as seen by a PC that gets its ticket at 21:59, and asks for no other. */
static void window_is_kept_without_asking(void **state)
{
	(void)state;
	ticket.fill_from = 22 * 60;
	ticket.fill_to = 6 * 60;
	ticket.time_unix = 1000 * 86400ull + 22 * 3600 - 60;
	issue();
	switch_on();
	assert_true(run_until(DEPLOY_READY, 5));
	assert_false(fake_store.last_cfg.fill.on);
	net.ticket_status = 404; /* no other */
	run_for(50);
	assert_false(fake_store.fill.on);
	run_for(20);
	assert_true(fake_store.fill.on);
	plat_host_now_ns += (8 * 3600 - 100) * NS_PER_SEC;
	run_for(60);
	assert_true(fake_store.fill.on);
	run_for(60);
	assert_false(fake_store.fill.on);
}

static void window_inside_a_day(void **state)
{
	(void)state;
	ticket.fill_from = 8 * 60;
	ticket.fill_to = 18 * 60;
	ticket.time_unix = 12 * 3600;
	issue();
	switch_on();
	assert_true(run_until(DEPLOY_READY, 5));
	assert_true(fake_store.last_cfg.fill.on);
	ticket.time_unix = 19 * 3600;
	issue();
	run_for(310); /* it asks again */
	assert_false(fake_store.fill.on);
}

static void metered_fetches_nothing_ahead(void **state)
{
	(void)state;
	ticket.metered = true;
	ticket.fill_limit_kib = 7;
	publish_profile(key);
	issue();
	switch_on();
	assert_true(run_until(DEPLOY_READY, 5));
	assert_false(fake_store.last_cfg.fill.on);
	assert_true(fake_store.last_cfg.fill.metered);
	run_for(5);
	assert_int_equal(net.profile_gets, 0);
	ticket.metered = false;
	issue();
	run_for(310);
	assert_true(fake_store.fill.on);
	assert_false(fake_store.fill.metered);
	assert_int_equal(fake_store.fill.limit_kib_s, 7);
	assert_int_equal(net.profile_gets, 1);
}

static void create_checks_its_arguments(void **state)
{
	struct deploy_cfg cfg = { .blk = &disk.dev, .source = &net.src, .keys = keys };
	struct deploy *d;

	(void)state;
	assert_int_equal(deploy_create(&d, &cfg), -EINVAL);
	cfg.nkeys = 1;
	cfg.blk = NULL;
	assert_int_equal(deploy_create(&d, &cfg), -EINVAL);
}

static int make_keys(void **state)
{
	(void)state;
	plat_host_quiet = !getenv("VERBOSE");
	if (key_generate(&key) || key_generate(&stranger))
		return -1;
	key_public(key, keys[0]);
	return 0;
}

static int drop_keys(void **state)
{
	(void)state;
	key_free(key);
	key_free(stranger);
	return 0;
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(blank_disk_is_claimed),
		T(blank_disk_with_4k_sectors),
		T(next_boot_after_a_claim_needs_nothing),
		T(esp_is_optional),
		T(esp_for_other_sectors_is_left_out),
		T(foreign_disk_is_not_touched),
		T(foreign_disk_is_taken_by_serial),
		T(one_byte_somewhere_makes_a_disk_foreign),
		T(blank_disk_without_a_claim_is_not_touched),
		T(serial_decides_among_disks),
		T(first_serial_decides_too),
		T(twins_are_not_told_apart),
		T(blank_among_disks),
		T(nothing_claimed_among_disks),
		T(label_decides),
		T(useless_disks),
		T(small_disks),
		T(power_cuts_during_a_claim),
		T(interrupted_claim_waits_for_a_ticket_that_allows_it),
		T(failing_disk),
		T(complete_store_waits_for_nothing),
		T(quiet_guest_is_left_alone),
		T(profile_is_played_when_signed),
		T(complete_store_asks_for_no_profile),
		T(what_a_boot_read_is_told_once),
		T(endless_boot_ends),
		T(scrub_is_for_complete_stores_and_later),
		T(window_is_kept_without_asking),
		T(window_inside_a_day),
		T(metered_fetches_nothing_ahead),
		T(complete_store_without_a_network_card),
		T(blank_disk_without_a_network_card),
		T(incomplete_store_can_be_tried),
		T(boot_cache_while_an_answer_is_on_its_way),
		T(damaged_manifest_in_the_store_is_not_believed),
		T(manifest_of_another_version_in_the_store_is_not_believed),
		T(store_of_another_site_is_not_booted),
		T(damaged_store),
		T(empty_partition_of_ours_is_formatted),
		T(network_comes_late),
		T(no_server_is_quiet_at_first),
		T(retry_is_at_once_when_told),
		T(refusals),
		T(trouble_stays_on_the_screen_while_retrying),
		T(request_says_who_asks),
		T(ticket_of_a_stranger),
		T(ticket_changed_on_the_way),
		T(ticket_garbage),
		T(ticket_for_another_machine),
		T(stale_ticket),
		T(stale_ticket_in_the_background),
		T(bad_manifests),
		T(bad_esp_image),
		T(newer_version_is_noted_and_taken_at_the_next_boot),
		T(update_never_stops_a_boot),
		T(esp_is_updated_behind_the_guest),
		T(bad_esp_update_leaves_the_guest_alone),
		T(reports),
		T(create_checks_its_arguments),
	};

	return cmocka_run_group_tests(tests, make_keys, drop_keys);
}
