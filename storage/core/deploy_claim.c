/*
 * deploy_claim.c - may this disk be taken, and taking it
 *
 * deploy_step_decide() is the one place that allows writing to a disk that is
 * not ours. The order of a claim, and why a power cut anywhere in it is
 * harmless, is in docs/formats/gpt-layout.md.
 *
 * An ESP image is installed chunk by chunk: read what is there, write only
 * what differs, then read everything again and compare with the digests.
 */
#include <string.h>

#include "base/err.h"
#include "base/fmt.h"
#include "base/log.h"
#include "base/plat.h"
#include "storage/core/deploy_priv.h"

/* ------------------------------------------------------------ the decision */

static bool claim_names_this_disk(const struct deploy *d)
{
	return d->ticket.claim == TICKET_CLAIM_SERIAL &&
	       !strcmp(d->ticket.claim_serial, d->cfg.blk->serial);
}

static bool claim_allowed(const struct deploy *d)
{
	if (claim_names_this_disk(d))
		return true;
	/* An interrupted claim was allowed when it began; nothing is lost by going on. */
	return d->ticket.claim == TICKET_CLAIM_BLANK &&
	       (d->kind == GPT_DISK_BLANK || d->kind == GPT_DISK_CLAIMING);
}

static u64 store_need(const struct deploy *d)
{
	return MAX(d->m.image_bytes, store_min_bytes(d->m.chunk_bytes));
}

static u64 store_room(const struct deploy *d)
{
	return d->layout.store.sectors * d->cfg.blk->sector_bytes;
}

static bool too_small(struct deploy *d)
{
	return deploy_fail(d, STEP_TICKET, DEPLOY_DISK_SMALL,
			   "disk %s is too small: image %s needs %llu MiB, there are %llu",
			   d->cfg.blk->serial, d->m.name,
			   (unsigned long long)(store_need(d) / MIB),
			   (unsigned long long)(store_room(d) / MIB));
}

static bool decide_ours(struct deploy *d)
{
	if (store_room(d) < store_need(d))
		return too_small(d);
	if (d->store && store_chunk_bytes(d->store) == d->m.chunk_bytes) {
		d->update = false;
		d->use_cache = false;
		deploy_go(d, STEP_BIND);
		return true;
	}
	if (d->store_bad && !claim_names_this_disk(d))
		return deploy_fail(d, STEP_TICKET, DEPLOY_STORE_BAD,
				   "the store on disk %s is damaged; claim it to make it anew",
				   d->cfg.blk->serial);
	log_warn("deploy: the store is made anew, was %s",
		 d->store ? "for another chunk size" : "not usable");
	deploy_reset_store(d);
	d->update = false;
	deploy_go(d, STEP_FORMAT);
	return true;
}

/* Nothing is lost and nobody need be asked: the whole of it becomes the store. */
static bool decide_memory(struct deploy *d)
{
	deploy_reset_store(d);
	d->kind = GPT_DISK_OURS; /* no tables after the format */
	d->layout.store = (struct gpt_part){ .sectors = d->cfg.blk->sectors };
	deploy_go(d, STEP_FORMAT);
	return true;
}

/** deploy_step_decide() - ticket and manifest are here: what becomes of the disk? */
bool deploy_step_decide(struct deploy *d)
{
	struct blk_dev *b;
	u8 random[48];
	int err;

	if (d->cfg.memory)
		return decide_memory(d);
	if (d->kind == GPT_DISK_OURS)
		return decide_ours(d);
	if (!deploy_pick_by_ticket(d))
		return false;
	b = d->cfg.blk;
	if (!claim_allowed(d))
		return deploy_fail(d, STEP_TICKET, DEPLOY_DISK_FOREIGN,
				   d->kind == GPT_DISK_FOREIGN ?
					   "disk %s holds something else and was not touched" :
					   "disk %s is not claimed for this machine",
				   b->serial);
	plat_random(random, sizeof(random));
	err = gpt_plan(&d->layout, b->sectors, b->sector_bytes, random);
	if (err)
		return deploy_fail(d, STEP_TICKET, DEPLOY_DISK_SMALL, "disk %s is too small",
				   b->serial);
	if (store_room(d) < store_need(d))
		return too_small(d);
	log_info("deploy: claiming disk serial=%s model=\"%s\" mib=%llu", b->serial, b->model,
		 (unsigned long long)(b->sectors * b->sector_bytes / MIB));
	d->table_step = 0;
	deploy_go(d, STEP_MARK);
	return true;
}

/* --------------------------------------------------------------- the claim */

static bool write_failed(struct deploy *d, int err)
{
	return deploy_fail(d, STEP_PROBE_HEAD, DEPLOY_DISK_FAILED, "disk %s: cannot write (%s)",
			   d->cfg.blk->serial, err_name(err));
}

static int flush(struct deploy *d)
{
	return deploy_io_run(d, BLK_FLUSH, 0, 0, NULL);
}

/** deploy_step_mark() - from here on the old contents are gone */
bool deploy_step_mark(struct deploy *d)
{
	int err;

	deploy_say(d, "preparing disk %s", d->cfg.blk->serial);
	if (d->table_step == 0) {
		if (!d->io.started)
			gpt_build_marker(d->work, d->cfg.blk->sector_bytes);
		err = deploy_io_run(d, BLK_WRITE, 0, 1, d->work);
	} else {
		err = flush(d);
	}
	if (err == -EINPROGRESS)
		return false;
	if (err)
		return write_failed(d, err);
	if (d->table_step++ == 0)
		return true;
	d->kind = GPT_DISK_CLAIMING;
	deploy_go(d, STEP_ESP);
	return true;
}

/** deploy_step_esp() - the ESP of a disk that is being claimed */
bool deploy_step_esp(struct deploy *d)
{
	int err = 1;

	if (d->ticket.has_esp) {
		deploy_say(d, "installing the boot partition");
		err = deploy_esp_run(d, d->ticket.esp);
	}
	if (err == -EINPROGRESS)
		return false;
	if (err == -EKEYREJECTED || err == -ENOENT || err == -EMSGSIZE || err == -EPROTO)
		return deploy_fail(d, STEP_TICKET, DEPLOY_MANIFEST_BAD,
				   "the boot partition's image cannot be used (%s)", err_name(err));
	if (err == -EIO)
		return write_failed(d, err);
	if (err < 0)
		return deploy_net_failed(d, err);
	d->esp_installed = err == 0;
	deploy_go(d, STEP_FORMAT);
	return true;
}

static void format_done(struct store_format *f, int err)
{
	struct deploy *d = f->owner;

	d->format_err = err;
	d->format_busy = false;
}

static int start_format(struct deploy *d)
{
	d->format = (struct store_format){
		.blk = d->cfg.blk,
		.lba = d->layout.store.first_lba,
		.sectors = d->layout.store.sectors,
		.chunk_bytes = d->m.chunk_bytes,
		.done = format_done,
		.owner = d,
	};
	return store_format(&d->format);
}

/** deploy_step_format() - an empty store; then the tables, if they are not there yet */
bool deploy_step_format(struct deploy *d)
{
	int err;

	if (!d->formatting) {
		deploy_say(d, "making the store");
		d->formatting = d->format_busy = true;
		err = start_format(d);
		if (err) {
			d->formatting = d->format_busy = false;
			return deploy_fail(d, STEP_TICKET,
					   err == -ENOSPC ? DEPLOY_DISK_SMALL : DEPLOY_INTERNAL,
					   "the store cannot be made (%s)", err_name(err));
		}
	}
	if (d->format_busy)
		return false;
	d->formatting = false;
	if (d->format_err)
		return write_failed(d, d->format_err);
	d->must_format = d->store_bad = false;
	d->table_step = 0;
	deploy_go(d, d->kind == GPT_DISK_OURS ? STEP_OPEN : STEP_TABLES);
	return true;
}

/* Both tables durable, and only then the sector that makes the disk ours. */
static int run_table_step(struct deploy *d)
{
	u32 ss = d->cfg.blk->sector_bytes, tail = GPT_TAIL_BYTES(ss) / ss;
	bool first = !d->io.started;

	switch (d->table_step) {
	case 0:
		if (first)
			gpt_build_tail(&d->layout, d->work);
		return deploy_io_run(d, BLK_WRITE, d->cfg.blk->sectors - tail, tail, d->work);
	case 1:
		if (first)
			gpt_build_head(&d->layout, d->work);
		return deploy_io_run(d, BLK_WRITE, 1, GPT_HEAD_BYTES(ss) / ss - 1, d->work + ss);
	case 3:
		return deploy_io_run(d, BLK_WRITE, 0, 1, d->work);
	default:
		return flush(d);
	}
}

/** deploy_step_tables() - the partition tables, last of all the protective MBR */
bool deploy_step_tables(struct deploy *d)
{
	int err = run_table_step(d);

	if (err == -EINPROGRESS)
		return false;
	if (err)
		return write_failed(d, err);
	if (d->table_step++ < 4)
		return true;
	d->kind = GPT_DISK_OURS;
	log_info("deploy: disk claimed serial=%s", d->cfg.blk->serial);
	deploy_go(d, STEP_OPEN);
	return true;
}

/* ----------------------------------------------------------------- the ESP */

static u32 esp_chunk_bytes(const struct deploy *d)
{
	return manifest_chunk_plain_bytes(&d->esp.m, d->esp.chunk);
}

static u64 esp_chunk_lba(const struct deploy *d)
{
	return d->layout.esp.first_lba +
	       (u64)d->esp.chunk * d->esp.m.chunk_bytes / d->cfg.blk->sector_bytes;
}

static int esp_io(struct deploy *d, enum blk_op op)
{
	return deploy_io_run(d, op, esp_chunk_lba(d), esp_chunk_bytes(d) / d->cfg.blk->sector_bytes,
			     d->work);
}

/* Is what was read the chunk that should be there? */
static bool esp_chunk_is_there(const struct deploy *d)
{
	const u8 *want = d->esp.digests + (size_t)d->esp.chunk * SHA256_BYTES;
	u8 got[SHA256_BYTES];

	if (manifest_digest_is_zero(want))
		return gpt_is_zero(d->work, esp_chunk_bytes(d));
	crypto_sha256(got, d->work, esp_chunk_bytes(d));
	return !memcmp(got, want, SHA256_BYTES);
}

static int esp_begin(struct deploy *d, const u8 *version)
{
	struct deploy_esp *e = &d->esp;

	if (!d->work)
		d->work = plat_alloc(DEPLOY_WORK_BYTES);
	if (!e->digests)
		e->digests = plat_alloc(DEPLOY_ESP_CHUNKS_MAX * SHA256_BYTES);
	if (!d->work || !e->digests)
		return err_trace(-ENOMEM);
	memcpy(e->version, version, SHA256_BYTES);
	e->chunk = 0;
	e->written = 0;
	e->step = ESP_MANIFEST;
	return 0;
}

/* 0: go on; 1: no image for this disk, do without. */
static int esp_take_manifest(struct deploy *d)
{
	struct deploy_esp *e = &d->esp;
	u32 n = d->doc.doc.bytes;
	u8 digest[SHA256_BYTES];

	manifest_digest(digest, d->doc_buf, n);
	if (memcmp(digest, e->version, SHA256_BYTES) ||
	    manifest_verify(d->doc_buf, n, d->cfg.keys, d->cfg.nkeys) ||
	    manifest_parse(d->doc_buf, n, &e->m))
		return err_trace(-EKEYREJECTED);
	if (e->m.page_count != 1 || e->m.chunk_count > DEPLOY_ESP_CHUNKS_MAX ||
	    e->m.image_bytes > d->layout.esp.sectors * d->cfg.blk->sector_bytes ||
	    e->m.sector_bytes != d->cfg.blk->sector_bytes) {
		log_warn("deploy: no ESP, the image does not fit mib=%llu sector_bytes=%u",
			 (unsigned long long)(e->m.image_bytes / MIB), e->m.sector_bytes);
		return 1;
	}
	memcpy(e->page, manifest_page_digest(&e->m, 0), SHA256_BYTES);
	e->m.pages = NULL;
	e->step = ESP_PAGE;
	return 0;
}

static int esp_manifest(struct deploy *d)
{
	char path[100], hex[2 * SHA256_BYTES + 1];
	int err;

	fmt_snprintf(path, sizeof(path), "/v1/manifest/%s",
		     fmt_hex(hex, d->esp.version, SHA256_BYTES));
	err = deploy_doc_run(d, path, d->doc_buf, SIGTEXT_MAX);
	if (err == -EIO)
		err = -EAGAIN; /* the server's; -EIO is the disk's from here on */
	return err ? err : esp_take_manifest(d);
}

static int esp_page(struct deploy *d)
{
	u32 bytes = manifest_page_plain_bytes(&d->esp.m, 0);
	int err = 0;

	if (manifest_digest_is_zero(d->esp.page))
		memset(d->esp.digests, 0, bytes);
	else
		err = deploy_fetch_run(d, d->esp.page, bytes, d->esp.digests);
	if (!err)
		d->esp.step = ESP_LOOK;
	return err;
}

/* On to the next chunk, or to what comes after the last. */
static void esp_next(struct deploy *d, enum esp_step same, enum esp_step after)
{
	struct deploy_esp *e = &d->esp;

	e->step = ++e->chunk < e->m.chunk_count ? same : after;
	d->percent = (u32)(e->chunk * (same == ESP_CHECK ? 30 : 70) / e->m.chunk_count) +
		     (same == ESP_CHECK ? 70 : 0);
}

static int esp_look(struct deploy *d)
{
	const u8 *want = d->esp.digests + (size_t)d->esp.chunk * SHA256_BYTES;
	int err = esp_io(d, BLK_READ);

	if (err)
		return err;
	if (esp_chunk_is_there(d)) {
		esp_next(d, ESP_LOOK, ESP_FLUSH);
	} else if (manifest_digest_is_zero(want)) {
		memset(d->work, 0, esp_chunk_bytes(d));
		d->esp.step = ESP_WRITE;
	} else {
		d->esp.step = ESP_FETCH;
	}
	return 0;
}

static int esp_check(struct deploy *d)
{
	int err = esp_io(d, BLK_READ);

	if (err)
		return err;
	if (!esp_chunk_is_there(d)) {
		log_err("deploy: ESP reads back wrong chunk=%u", d->esp.chunk);
		return err_trace(-EIO);
	}
	esp_next(d, ESP_CHECK, ESP_IDLE);
	return 0;
}

static int esp_step(struct deploy *d)
{
	struct deploy_esp *e = &d->esp;
	int err;

	switch (e->step) {
	case ESP_MANIFEST:
		return esp_manifest(d);
	case ESP_PAGE:
		return esp_page(d);
	case ESP_LOOK:
		return esp_look(d);
	case ESP_FETCH:
		err = deploy_fetch_run(d, e->digests + (size_t)e->chunk * SHA256_BYTES,
				       esp_chunk_bytes(d), d->work);
		if (!err)
			e->step = ESP_WRITE;
		return err;
	case ESP_WRITE:
		err = esp_io(d, BLK_WRITE);
		if (!err) {
			e->written++;
			esp_next(d, ESP_LOOK, ESP_FLUSH);
		}
		return err;
	case ESP_FLUSH:
		err = e->written ? flush(d) : 0;
		e->chunk = err ? e->chunk : 0;
		if (!err)
			e->step = e->written ? ESP_CHECK : ESP_IDLE;
		return err;
	case ESP_CHECK:
		return esp_check(d);
	case ESP_IDLE:
		break;
	}
	return 0;
}

/**
 * deploy_esp_run() - install the ESP image of this version
 *
 * Call until it does not return -EINPROGRESS. Starts again from the beginning
 * after an error; what was written by then is found in place.
 * Return: 0 installed and read back; 1 there is none that fits; -EINPROGRESS;
 * -EKEYREJECTED for an image that does not verify; -EIO from the disk; -EAGAIN
 * for an error of the server's; other errors of source_doc.
 */
int deploy_esp_run(struct deploy *d, const u8 version[SHA256_BYTES])
{
	struct deploy_esp *e = &d->esp;
	int err = 0;

	if (e->step == ESP_IDLE)
		err = esp_begin(d, version);
	while (!err && e->step != ESP_IDLE)
		err = esp_step(d);
	if (err == -EINPROGRESS)
		return err;
	e->step = ESP_IDLE;
	plat_free(e->digests);
	e->digests = NULL;
	if (d->step == STEP_READY) {
		plat_free(d->work);
		d->work = NULL;
	}
	return err;
}
