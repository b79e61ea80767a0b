/*
 * Opening: the version that the store is bound to, or another one
 *
 * Binding another version keeps what both have, and what has been staged of it;
 * the version that is left stays as the way back when it was complete, until
 * its room is needed. A table page with the same
 * digest in both roots means a whole range of equal chunks, without looking at
 * it. Where a page differs, the old one is loaded from the store and the new
 * one fetched, and chunks with equal digests at the same index stay. Where the
 * old page is not in the store, its chunks go.
 *
 * Nothing on the disk changes until all of this is known. Then the new maps,
 * root and scalars become the store's, and one checkpoint makes it so
 * (journal.c); a crash before it leaves the old version, whole.
 */
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "base/plat.h"
#include "storage/core/disk_priv.h"

static void fail(struct disk *d, int err)
{
	log_err("disk: cannot open err=%s", err_name(err));
	d->phase = DISK_FAILED;
	d->open_err = err;
	d->again = true;
}

static void sealed(struct store_sync *w, int err)
{
	struct disk *d = container_of(w, struct disk, bind.sync);

	if (err) {
		fail(d, -EIO);
		return;
	}
	d->phase = DISK_READY;
	d->again = true;
}

/* Everything in the store's structs is as it shall be: make it durable. */
static void seal(struct disk *d)
{
	d->phase = DISK_SEALING;
	d->bind.sync.done = sealed;
	store_checkpoint(d->s, &d->bind.sync);
}

static void adopt_as(struct disk *d, bool complete, bool up, const struct store_other *old)
{
	struct bind_state *b = &d->bind;
	struct store_meta *m = &d->s->meta;
	struct store *s = d->s;
	int err;

	log_info("disk: bound image=%s chunks=%u kept=%u", b->mf.name, b->map->chunks,
		 b->map->slots_base);
	chunkmap_destroy(s->map);
	plat_free(s->root);
	s->map = d->m = b->map;
	s->root = b->root;
	s->root_bytes = b->root_bytes;
	b->map = NULL;
	b->root = NULL;
	store_other_free(&s->other);
	s->other = *old;
	m->bound = true;
	m->complete = complete;
	m->up = up;
	m->tries = old->map ? 1 : 0; /* this boot counts */
	m->chunk_bytes = b->mf.chunk_bytes;
	m->image_bytes = b->mf.image_bytes;
	m->sector_bytes = b->mf.sector_bytes;
	manifest_digest(m->version, s->root, s->root_bytes);
	if (!memcmp(m->version, m->next, 32))
		memset(m->next, 0, 32);
	memset(m->image, 0, STORE_IMAGE_BYTES);
	memcpy(m->image, b->mf.name, MIN(strlen(b->mf.name), (size_t)STORE_IMAGE_BYTES - 1));
	/* Freed slots may be taken again once the checkpoint is in force, not before. */
	err = slotmap_rebuild(&s->slots, s->map, s->other.map);
	imagemap_fini(&d->im);
	if (!err)
		err = imagemap_init(&d->im, s->root, s->root_bytes);
	if (err)
		fail(d, err);
	else
		seal(d);
}

/* What the version that is left becomes: the way back, when it is all here. */
static void keep_old(struct store *s, struct store_other *old)
{
	struct chunkmap *m;

	memset(old, 0, sizeof(*old));
	if (!s->meta.bound || !s->meta.complete)
		return;
	m = chunkmap_create_base(s->meta.image_bytes, s->sb.chunk_bytes);
	if (!m)
		return;
	for (u32 i = 0; i < m->n; i++)
		chunkmap_base_set(m, i, s->map->base[i]);
	*old = (struct store_other){ .role = STORE_OTHER_PREV, .complete = true, .root = s->root,
				     .root_bytes = s->root_bytes, .map = m };
	memcpy(old->version, s->meta.version, SHA256_BYTES);
	s->root = NULL;
}

static void adopt(struct disk *d)
{
	struct store_other old;

	keep_old(d->s, &old);
	adopt_as(d, false, false, &old);
}

/* ---------------------------------------------------------------- page by page */

static u32 common(const struct disk *d, u32 page)
{
	u64 first = (u64)page * d->im.mf.digests_per_page;
	u64 n = MIN(d->im.mf.chunk_count, d->bind.mf.chunk_count);

	n = n > first ? n - first : 0;
	return (u32)MIN(n, (u64)d->im.mf.digests_per_page);
}

static void keep_page(struct disk *d, u32 page)
{
	u32 first = page * d->im.mf.digests_per_page, n = common(d, page);

	for (u32 i = first; i < first + n; i++)
		chunkmap_base_set(d->bind.map, i, d->m->base[i]);
	chunkmap_base_set(d->bind.map, d->bind.map->chunks + page, d->m->base[d->m->chunks + page]);
}

static void compare_page(struct disk *d)
{
	struct bind_state *b = &d->bind;
	const u8 *was = d->pool[0].data, *is = d->pool[1].data;
	u32 first = b->page * b->mf.digests_per_page, n = common(d, b->page);
	u32 all = manifest_page_plain_bytes(&b->mf, b->page) / SHA256_BYTES;

	for (u32 i = 0; i < all; i++) {
		if (manifest_digest_is_zero(is + i * SHA256_BYTES))
			chunkmap_base_set(b->map, first + i, SLOT_ZERO);
		else if (i < n && !memcmp(was + i * 32, is + i * 32, 32))
			chunkmap_base_set(b->map, first + i, d->m->base[first + i]);
	}
	b->page++;
	b->old_ok = false;
}

static void new_page(struct source_req *r, int err)
{
	struct disk *d = r->owner;

	cbuf_free(&d->pool[1]);
	d->bind.busy = false;
	d->again = true;
	if (err)
		return; /* once more, from another source perhaps */
	compare_page(d);
}

static void fetch_page(struct disk *d)
{
	struct cbuf *c = &d->pool[1];
	struct bind_state *b = &d->bind;

	b->busy = true;
	cbuf_set(c, CBUF_FETCH); /* so that taking the source away cancels it */
	c->from = d->src;
	memcpy(c->src.digest, manifest_page_digest(&b->mf, b->page), SHA256_BYTES);
	c->src.plain_bytes = manifest_page_plain_bytes(&b->mf, b->page);
	c->src.buf = c->data;
	c->src.prio = SOURCE_DEMAND;
	c->src.done = new_page;
	c->src.owner = d;
	d->st.page_chunks++;
	d->src->ops->fetch(d->src, &c->src);
}

/* The old page has been read back; @ok: and is sound. */
void bind_old_page(struct disk *d, struct cbuf *c, bool ok)
{
	cbuf_free(c); /* the data stays: nobody takes buffers while binding */
	d->bind.old_ok = ok;
	d->bind.busy = false;
	if (!ok)
		d->bind.page++; /* nothing to compare with */
}

static bool worth_comparing(const struct disk *d, u32 page)
{
	u32 first = page * d->im.mf.digests_per_page, n = common(d, page);

	if (page >= d->im.mf.page_count || d->m->base[d->m->chunks + page] >= SLOT_LIMIT)
		return false;
	for (u32 i = first; i < first + n; i++)
		if (d->m->base[i] < SLOT_LIMIT)
			return true;
	return false;
}

static void bind_page(struct disk *d)
{
	struct bind_state *b = &d->bind;

	while (!b->busy) {
		if (b->page == b->mf.page_count) {
			adopt(d);
			return;
		}
		if (b->old_ok) {
			if (d->src)
				fetch_page(d);
			return;
		}
		if (b->page < d->im.mf.page_count &&
		    !memcmp(manifest_page_digest(&b->mf, b->page),
			    manifest_page_digest(&d->im.mf, b->page), SHA256_BYTES)) {
			keep_page(d, b->page++);
		} else if (worth_comparing(d, b->page)) {
			b->busy = true;
			cbuf_load(&d->pool[0], d->m->chunks + b->page,
				  d->m->base[d->m->chunks + b->page]);
		} else {
			b->page++;
		}
	}
}

void bind_poll(struct disk *d)
{
	if (d->phase == DISK_BINDING)
		bind_page(d);
}

/* ---------------------------------------------------------------- start */

static bool set_scalars(struct disk *d, const struct disk_cfg *cfg)
{
	struct store *s = d->s;
	struct store_meta *m = &s->meta;
	bool changed = false;

	if (cfg->policy && cfg->policy != m->policy) {
		m->policy = cfg->policy;
		changed = true;
	}
	if (cfg->frontend && cfg->frontend != (m->frontend ? m->frontend : STORE_FRONTEND_SAME)) {
		m->frontend = cfg->frontend;
		changed = true;
	}
	if (cfg->nic && cfg->nic != (m->nic ? m->nic : STORE_NIC_NONE)) {
		m->nic = cfg->nic;
		changed = true;
	}
	if (cfg->serial > m->serial) {
		m->serial = cfg->serial;
		changed = true;
	}
	if (cfg->esp && memcmp(cfg->esp, m->esp, 32)) {
		memcpy(m->esp, cfg->esp, 32);
		changed = true;
	}
	if (m->policy != STORE_POLICY_PUSH && m->policy != STORE_POLICY_NEVER)
		m->policy = STORE_POLICY_BOOT;
	s->keep_overlay = m->policy != STORE_POLICY_BOOT;
	return changed;
}

static int same_version(struct disk *d, const struct disk_cfg *cfg)
{
	struct store *s = d->s;
	bool changed;
	int err;

	err = imagemap_init(&d->im, s->root, s->root_bytes);
	if (err)
		return err;
	d->m = s->map;
	if (d->im.mf.image_bytes != s->meta.image_bytes ||
	    d->im.mf.chunk_bytes != s->sb.chunk_bytes)
		return -EINVAL;
	changed = set_scalars(d, cfg);
	/* While there is a way back, boots are counted until a guest has come up. */
	if (!s->meta.up && s->other.role == STORE_OTHER_PREV) {
		s->meta.tries++;
		changed = true;
	}
	if (!s->keep_overlay) {
		/* "push" became "boot" (then it is sealed), or there is none anyway */
		chunkmap_ovl_drop(s->map);
		err = slotmap_rebuild(&s->slots, s->map, s->other.map);
		if (err)
			return err;
	}
	if (changed)
		seal(d);
	else
		d->phase = DISK_READY;
	return 0;
}

/*
 * The version is in the store already, staged or left: change over. Nothing is
 * fetched; one checkpoint makes it so.
 */
static int change_over(struct disk *d, const struct disk_cfg *cfg)
{
	struct bind_state *b = &d->bind;
	struct store *s = d->s;
	struct store_meta *m = &s->meta;
	struct store_other old = { 0 };
	bool complete = s->other.complete;

	b->map = chunkmap_create(b->mf.image_bytes, b->mf.chunk_bytes);
	if (!b->map)
		return -ENOMEM;
	for (u32 i = 0; i < b->map->n; i++)
		chunkmap_base_set(b->map, i, s->other.map->base[i]);
	set_scalars(d, cfg);
	if (cfg->give_up) {
		memcpy(m->bad, m->version, SHA256_BYTES);
		m->bad_serial = m->serial;
	}
	d->m = s->map;
	if (!cfg->give_up)
		keep_old(s, &old);
	b->root = s->other.root;
	b->root_bytes = s->other.root_bytes;
	s->other.root = NULL;
	adopt_as(d, complete, cfg->give_up, &old);
	return 0;
}

static int other_version(struct disk *d, const struct disk_cfg *cfg)
{
	struct bind_state *b = &d->bind;
	struct store *s = d->s;
	u8 digest[SHA256_BYTES];
	bool staged;
	int err;

	if (b->mf.chunk_bytes != s->sb.chunk_bytes)
		return -EINVAL;
	manifest_digest(digest, cfg->manifest, cfg->manifest_bytes);
	staged = s->other.map && !memcmp(digest, s->other.version, SHA256_BYTES);
	if (staged && s->other.complete)
		return change_over(d, cfg);
	b->root = plat_alloc(cfg->manifest_bytes);
	b->map = chunkmap_create(b->mf.image_bytes, b->mf.chunk_bytes);
	if (!b->root || !b->map)
		return -ENOMEM;
	/* What an earlier boot has fetched of it; what it shares is found once more. */
	for (u32 i = 0; staged && i < b->map->n; i++)
		chunkmap_base_set(b->map, i, s->other.map->base[i]);
	memcpy(b->root, cfg->manifest, cfg->manifest_bytes);
	b->root_bytes = cfg->manifest_bytes;
	err = manifest_parse(b->root, b->root_bytes, &b->mf);
	if (err)
		return err;
	set_scalars(d, cfg);
	d->m = s->map;
	if (!s->meta.bound || imagemap_init(&d->im, s->root, s->root_bytes)) {
		adopt(d);
		return 0;
	}
	d->phase = DISK_BINDING;
	return 0;
}

/**
 * bind_start() - find out which version it shall be, and begin
 *
 * Return: 0, the rest is bind_poll()'s; -EINVAL, -ENOMEM.
 */
int bind_start(struct disk *d, const struct disk_cfg *cfg)
{
	u8 digest[SHA256_BYTES];
	int err;

	if (!cfg->manifest)
		return d->s->meta.bound ? same_version(d, cfg) : -EINVAL;
	err = manifest_parse(cfg->manifest, cfg->manifest_bytes, &d->bind.mf);
	if (err)
		return -EINVAL;
	manifest_digest(digest, cfg->manifest, cfg->manifest_bytes);
	if (d->s->meta.bound && !memcmp(digest, d->s->meta.version, SHA256_BYTES))
		return same_version(d, cfg);
	return other_version(d, cfg);
}

void bind_fini(struct disk *d)
{
	chunkmap_destroy(d->bind.map);
	plat_free(d->bind.root);
}
