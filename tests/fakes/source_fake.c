#include "tests/fakes/source_fake.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/endian.h"
#include "base/err.h"
#include "storage/format/manifest.h"
#include "tests/fakes/disk_fake.h"

static void content(u64 seed, u64 sector_in_chunk, u8 out[512])
{
	u64 x = seed * 0x9e3779b97f4a7c15ull + sector_in_chunk + 1;

	for (u32 i = 0; i < 512; i += 8) {
		put_le64(out + i, x);
		x = x * 6364136223846793005ull + 1442695040888963407ull;
	}
	/* first word: never mistaken for what a test's guest writes */
	put_le32(out, 0x45534142);
}

void image_fake_sector(const struct image_fake *im, u64 s, u8 out[512])
{
	u32 per = im->chunk_bytes / 512;
	u64 seed = im->seed(im, s / per);

	if (seed)
		content(seed, s % per, out);
	else
		memset(out, 0, 512);
}

static void chunk_digest(const struct image_fake *im, u64 chunk, u8 out[32])
{
	u64 seed = im->seed(im, chunk);

	memset(out, 0, 32);
	if (!seed)
		return;
	out[0] = 'C';
	put_le64(out + 8, seed);
	put_le64(out + 16, ~seed);
}

/* A page's digest depends on its content, like a real one. */
static void page_digest(const struct image_fake *im, u32 page, u8 out[32])
{
	u32 dpp = im->chunk_bytes / 32;
	u64 chunks = DIV_ROUND_UP(im->image_bytes, im->chunk_bytes), h = 14695981039346656037ull;
	u64 end = MIN((u64)(page + 1) * dpp, chunks);

	for (u64 i = (u64)page * dpp; i < end; i++)
		h = (h ^ im->seed(im, i)) * 1099511628211ull + i;
	memset(out, 0, 32);
	out[0] = 'P';
	put_le32(out + 4, page);
	put_le64(out + 8, h);
}

u8 *image_fake_manifest(const struct image_fake *im, u32 *bytes)
{
	struct manifest m = {
		.chunk_bytes = im->chunk_bytes,
		.image_bytes = im->image_bytes,
		.sector_bytes = im->sector_bytes,
		.created_unix = im->version,
		.name = "fake",
	};
	u8 to_sign[32], *pages, *out;

	if (manifest_fill_counts(&m))
		abort();
	pages = calloc(m.page_count, 32);
	for (u32 p = 0; p < m.page_count; p++)
		page_digest(im, p, pages + p * 32);
	m.pages = pages;
	*bytes = (u32)manifest_size(&m);
	out = calloc(1, *bytes);
	if (manifest_build(&m, out, *bytes, to_sign))
		abort();
	free(pages);
	return out;
}

static void deliver(struct source_fake *s, struct source_req *r)
{
	u8 *out = r->buf;

	if (r->digest[0] == 'C') {
		u8 sec[512];

		for (u32 off = 0; off < r->plain_bytes; off += 512) {
			content(get_le64(r->digest + 8), off / 512, sec);
			memcpy(out + off, sec, MIN(512u, r->plain_bytes - off));
		}
	} else {
		u32 page = get_le32(r->digest + 4), i;

		for (i = 0; i < s->nimages; i++) {
			u8 d[32];

			page_digest(s->images[i], page, d);
			if (!memcmp(d, r->digest, 32))
				break;
		}
		assert(i < s->nimages);
		for (u32 n = 0; n < r->plain_bytes / 32; n++)
			chunk_digest(s->images[i],
				     (u64)page * (s->images[i]->chunk_bytes / 32) + n,
				     out + n * 32);
	}
	s->fetched++;
}

static void fake_fetch(struct source *src, struct source_req *r)
{
	struct source_fake *s = container_of(src, struct source_fake, src);

	assert(r->digest[0] == 'C' || r->digest[0] == 'P');
	r->scratch[0] = 0;
	memset(r->buf, 0xee, r->plain_bytes); /* undefined until done */
	list_add_tail(&s->queue, &r->link);
	if (s->norder < ARRAY_SIZE(s->order))
		s->order[s->norder++] = (u32)r->prio;
	s->waiting++;
	s->most_waiting = MAX(s->most_waiting, s->waiting);
}

static void fake_reprio(struct source *src, struct source_req *r, enum source_prio p)
{
	(void)src;
	r->prio = p;
}

static void fake_cancel(struct source *src, struct source_req *r)
{
	struct source_fake *s = container_of(src, struct source_fake, src);

	r->scratch[0] = 1;
	s->cancelled++;
}

static void fake_poll(struct source *src)
{
	struct source_fake *s = container_of(src, struct source_fake, src);
	u32 n = s->waiting;
	struct source_req *r, *tmp;
	struct list out;

	list_init(&out);
	list_for_each_safe(r, tmp, &s->queue, link) {
		bool cancelled = r->scratch[0] != 0;

		if (!cancelled && (s->gone || (!s->prompt && fake_rng(&s->rng) % (n + 1) > 2)))
			continue;
		list_del(&r->link);
		list_add(&out, &r->link);
		s->waiting--;
	}
	while (!list_empty(&out)) {
		r = list_first(&out, struct source_req, link);
		list_del(&r->link);
		if (!r->scratch[0])
			deliver(s, r);
		r->done(r, r->scratch[0] ? -ECANCELED : 0);
	}
}

static void fake_get(struct source *src, struct source_doc *d)
{
	(void)src;
	(void)d;
	abort();
}

static void fake_post(struct source *src, const char *path, const void *body, u32 bytes)
{
	(void)src;
	(void)path;
	(void)body;
	(void)bytes;
}

static void fake_status(struct source *src, struct source_status *out)
{
	(void)src;
	memset(out, 0, sizeof(*out));
}

static const struct source_ops fake_ops = {
	.fetch = fake_fetch,
	.reprioritise = fake_reprio,
	.cancel = fake_cancel,
	.get = fake_get,
	.post = fake_post,
	.status = fake_status,
	.poll = fake_poll,
};

struct source_fake *source_fake_create(u64 seed)
{
	struct source_fake *s = calloc(1, sizeof(*s));

	s->src.ops = &fake_ops;
	s->rng = seed * 40503 + 1181783497276652981ull;
	list_init(&s->queue);
	return s;
}

void source_fake_destroy(struct source_fake *s)
{
	free(s);
}

void source_fake_add(struct source_fake *s, const struct image_fake *im)
{
	s->images[s->nimages++] = im;
}
