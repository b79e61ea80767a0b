/*
 * A server and the network to it
 *
 * Chunks follow a rule (a seed each), so nothing is kept but seeds. What
 * source.h promises holds: a chunk is right when it comes, or it does not come;
 * until then its buffer holds anything. Documents promise nothing: they come
 * cut short, with flipped bits, from last week, for another machine, or never.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/endian.h"
#include "base/err.h"
#include "storage/format/manifest.h"
#include "storage/format/ticket.h"
#include "tests/sim/sim.h"

static void content(u64 seed, u64 sector, u8 out[512])
{
	u64 x = sim_mix(seed, sector);

	for (u32 i = 0; i < 512; i += 8) {
		put_le64(out + i, x);
		x = x * 6364136223846793005ull + 1442695040888963407ull;
	}
	put_le32(out, 0x45534142); /* "BASE": never what a guest writes */
}

void sim_base(const struct sim_version *v, u64 s, u8 out[512])
{
	u32 per = v->chunk_bytes / 512;
	u64 seed = v->seed[s / per];

	if (seed)
		content(seed, s % per, out);
	else
		memset(out, 0, 512);
}

/* ---------------------------------------------------------------- versions */

static u32 plain_bytes(const struct sim_version *v, u32 c)
{
	return (u32)MIN((u64)v->chunk_bytes, v->image_bytes - (u64)c * v->chunk_bytes);
}

static void chunk_content(u64 seed, u8 *out, u32 bytes)
{
	u8 sector[512];

	for (u32 off = 0; off < bytes; off += 512) {
		content(seed, off / 512, sector);
		memcpy(out + off, sector, 512);
	}
}

static void chunk_digest(const struct sim_version *v, const struct sim_version *parent, u32 c,
			 u8 out[32])
{
	static u8 buf[1024 * 1024];
	u32 bytes = plain_bytes(v, c);

	memset(out, 0, 32);
	if (!v->seed[c])
		return;
	if (parent && c < parent->chunks && parent->seed[c] == v->seed[c] &&
	    plain_bytes(parent, c) == bytes) {
		memcpy(out, parent->page + c * 32, 32);
		return;
	}
	chunk_content(v->seed[c], buf, bytes);
	crypto_sha256(out, buf, bytes);
}

static void build(struct sim_version *v, const struct sim_version *parent, u32 number)
{
	struct manifest m = { .chunk_bytes = v->chunk_bytes, .image_bytes = v->image_bytes,
			      .sector_bytes = v->sector_bytes, .created_unix = number,
			      .name = "sim", .pages = v->page_digest };
	u8 to_sign[32];

	for (u32 c = 0; c < v->chunks; c++)
		chunk_digest(v, parent, c, v->page + c * 32);
	crypto_sha256(v->page_digest, v->page, v->chunks * 32);
	if (manifest_fill_counts(&m) || m.page_count != 1)
		sim_fail("this image makes no manifest");
	v->root_bytes = (u32)manifest_size(&m);
	if (manifest_build(&m, v->root, sizeof(v->root), to_sign))
		sim_fail("this manifest cannot be built");
	sim_sign(v->root + v->root_bytes - P256_SIG_BYTES, to_sign);
	manifest_digest(v->digest, v->root, v->root_bytes);
}

void sim_source_push(struct sim_source *s, u64 *rng, u64 image_bytes, u32 chunk_bytes,
		     u32 sector_bytes, bool sick)
{
	struct sim_version *v = &s->v[s->nversions], *parent = s->nversions ? v - 1 : NULL;

	memset(v, 0, sizeof(*v));
	v->sick = sick;
	v->image_bytes = image_bytes;
	v->chunk_bytes = chunk_bytes;
	v->sector_bytes = sector_bytes;
	v->chunks = (u32)DIV_ROUND_UP(image_bytes, chunk_bytes);
	for (u32 c = 0; c < v->chunks; c++) {
		bool keep = parent && c < parent->chunks && sim_below(rng, 100) < 75;

		if (keep)
			v->seed[c] = parent->seed[c];
		else if (parent && sim_one_in(rng, 4)) /* the same content, elsewhere */
			v->seed[c] = parent->seed[sim_below(rng, parent->chunks)];
		else if (c && sim_one_in(rng, 10)) /* twice in one image */
			v->seed[c] = v->seed[sim_below(rng, c)];
		else
			v->seed[c] = sim_one_in(rng, 6) ? 0 : sim_rng(rng) | 1;
	}
	build(v, parent, s->nversions);
	s->channel = s->nversions++;
	s->serial++;
}

/* ---------------------------------------------------------------- chunks */

static void deliver(struct sim_source *s, struct source_req *r)
{
	s->fetched++;
	for (u32 i = 0; i < s->nversions; i++) {
		const struct sim_version *v = &s->v[i];

		if (!memcmp(v->page_digest, r->digest, 32)) {
			if (r->plain_bytes != v->chunks * 32)
				sim_fail("a table page is asked for with the wrong length");
			memcpy(r->buf, v->page, r->plain_bytes);
			return;
		}
		for (u32 c = 0; c < v->chunks; c++) {
			if (memcmp(v->page + c * 32, r->digest, 32))
				continue;
			if (r->plain_bytes != plain_bytes(v, c))
				sim_fail("a chunk is asked for with the wrong length");
			chunk_content(v->seed[c], r->buf, r->plain_bytes);
			return;
		}
	}
	sim_fail("something is asked for that never was");
}

static u64 due(struct sim_source *s)
{
	u32 us = 100;

	if (sim_has(SIM_LATE))
		us += sim_below(&s->rng, sim_one_in(&s->rng, 20) ? 400000 : 3000);
	return sim_now + us * NS_PER_US;
}

static void src_fetch(struct source *src, struct source_req *r)
{
	struct sim_source *s = container_of(src, struct sim_source, src);

	memset(r->buf, 0xee, MIN(r->plain_bytes, 512u));
	r->scratch[0] = 0;
	r->scratch[1] = due(s);
	list_add_tail(&s->chunks, &r->link);
}

static void src_reprioritise(struct source *src, struct source_req *r, enum source_prio p)
{
	(void)src;
	r->prio = p;
}

static void src_cancel(struct source *src, struct source_req *r)
{
	(void)src;
	r->scratch[0] = 1;
	r->scratch[1] = sim_now;
}

/* ---------------------------------------------------------------- documents */

static u32 make_ticket(struct sim_source *s, u8 *out, u32 room)
{
	struct ticket t = { .uuid = { 7 }, .channel = "sim/stable", .serial = s->serial,
			    .policy = s->policy, .claim = TICKET_CLAIM_BLANK,
			    .fill = s->fill, .fill_limit_kib = s->fill_limit,
			    .fill_from = s->fill_from, .fill_to = s->fill_to,
			    .metered = s->metered, .time_unix = 1 + sim_now / NS_PER_SEC };
	u8 digest[32], sig[64];
	size_t n;

	memcpy(t.version, s->v[s->channel].digest, 32);
	if (s->claim_serial) {
		t.claim = TICKET_CLAIM_SERIAL;
		strcpy(t.claim_serial, "SIM1");
	}
	if (ticket_build(&t, (char *)out, room, &n))
		sim_fail("this ticket cannot be built");
	sigtext_digest(digest, out, n);
	sim_sign(sig, digest);
	if (sigtext_append_sig((char *)out, room, &n, sig))
		sim_fail("this ticket is too long");
	return (u32)n;
}

static int answer(struct source_doc *d, const void *bytes, u32 n)
{
	d->http_status = 200;
	if (n > d->room)
		return -EMSGSIZE;
	memcpy(d->buf, bytes, n);
	d->bytes = n;
	return 0;
}

/* What can go wrong with a document on its way. */
static int spoil(struct sim_source *s, struct source_doc *d, int err)
{
	u8 *p = d->buf;

	switch (sim_below(&s->rng, 5)) {
	case 0:
		d->bytes = sim_below(&s->rng, d->bytes + 1);
		return err;
	case 1:
		p[sim_below(&s->rng, d->bytes)] ^= (u8)(1 << sim_below(&s->rng, 8));
		return err;
	case 2:
		d->http_status = 404;
		return -ENOENT;
	case 3:
		d->http_status = 503;
		return -EIO;
	default:
		d->http_status = 0;
		return -ETIMEDOUT;
	}
}

static int serve_boot(struct sim_source *s, struct source_doc *d)
{
	u8 text[1024];
	u32 n;

	if (sim_has(SIM_DOC) && s->old_bytes && sim_one_in(&s->rng, 12)) {
		/* with the channel's number still the same it counts */
		s->served |= 1u << s->old_channel;
		s->policies |= 1u << s->old_policy;
		return answer(d, s->old_ticket, s->old_bytes);
	}
	n = make_ticket(s, text, sizeof(text));
	if (sim_one_in(&s->rng, 8)) {
		memcpy(s->old_ticket, text, n);
		s->old_bytes = n;
		s->old_channel = s->channel;
		s->old_policy = s->policy;
	}
	s->served |= 1u << s->channel;
	s->policies |= 1u << s->policy;
	s->highest = MAX(s->highest, s->serial);
	return answer(d, text, n);
}

/* A profile says anything: chunks that are not there, of another version, in any order. */
static int serve_profile(struct sim_source *s, const struct sim_version *v, struct source_doc *d)
{
	static struct profile_run runs[40];
	static u8 out[PROFILE_BYTES_MAX];
	struct profile p = { .chunk_bytes = v->chunk_bytes, .boots = 1,
			     .nruns = 1 + sim_below(&s->rng, 40) };
	u8 to_sign[32];

	if (!sim_has(SIM_PROFILE) || sim_one_in(&s->rng, 3)) {
		d->http_status = 404;
		return -ENOENT;
	}
	memcpy(p.version, sim_one_in(&s->rng, 10) ? s->v[0].digest : v->digest, 32);
	for (u32 i = 0; i < p.nruns; i++) {
		runs[i].first = sim_below(&s->rng, v->chunks + 2);
		runs[i].count = 1 + sim_below(&s->rng, 8);
	}
	if (sim_one_in(&s->rng, 10))
		runs[0].first = 0xfffffff0u - sim_below(&s->rng, 100);
	if (profile_build(&p, runs, out, sizeof(out), to_sign))
		sim_fail("this profile cannot be built");
	sim_sign(out + profile_size(p.nruns) - 64, to_sign);
	return answer(d, out, (u32)profile_size(p.nruns));
}

static int serve(struct sim_source *s, struct source_doc *d)
{
	char hex[65];

	if (!strncmp(d->path, "/v1/boot?", 9))
		return serve_boot(s, d);
	for (u32 i = 0; i < s->nversions; i++) {
		for (u32 k = 0; k < 32; k++)
			snprintf(hex + 2 * k, 3, "%02x", s->v[i].digest[k]);
		if (!strncmp(d->path, "/v1/manifest/", 13) && !strcmp(d->path + 13, hex))
			return answer(d, s->v[i].root, s->v[i].root_bytes);
		if (!strncmp(d->path, "/v1/profile/", 12) && !strcmp(d->path + 12, hex))
			return serve_profile(s, &s->v[i], d);
	}
	d->http_status = 404;
	return -ENOENT;
}

static void src_get(struct source *src, struct source_doc *d)
{
	struct sim_source *s = container_of(src, struct sim_source, src);

	d->scratch[1] = s->up ? due(s) : sim_now + 2 * NS_PER_SEC;
	list_add_tail(&s->docs, &d->link);
}

static void doc_done(struct sim_source *s, struct source_doc *d)
{
	int err = -ETIMEDOUT;

	list_del(&d->link);
	if (s->up) {
		err = serve(s, d);
		if (!err && sim_has(SIM_DOC) && sim_one_in(&s->rng, 12))
			err = spoil(s, d, err);
	}
	d->done(d, err);
}

/* What a boot has read: nothing that its version does not have. */
static void check_profile(const struct sim_source *s, const void *body, u32 bytes)
{
	const struct sim_version *v = NULL;
	struct profile p;

	if (profile_parse(body, bytes, &p))
		sim_fail("what is told of a boot is no profile");
	for (u32 i = 0; i < s->nversions; i++)
		if (!memcmp(s->v[i].digest, p.version, 32))
			v = &s->v[i];
	for (u32 i = 0; v && i < p.nruns; i++)
		if (profile_run_get(&p, i).first + profile_run_get(&p, i).count > v->chunks)
			v = NULL;
	if (!v)
		sim_fail("a boot is said to have read what its version does not have");
}

static void src_post(struct source *src, const char *path, const void *body, u32 bytes)
{
	struct sim_source *s = container_of(src, struct sim_source, src);

	if (strncmp(path, "/v1/profile", 11))
		return;
	check_profile(s, body, bytes);
	sim_total.profiles++;
}

static void src_status(struct source *src, struct source_status *out)
{
	struct sim_source *s = container_of(src, struct sim_source, src);

	memset(out, 0, sizeof(*out));
	out->state = s->up ? SOURCE_UP : SOURCE_DOWN;
	out->link_up = s->up;
	out->ip = s->up ? 0x0a000002 : 0;
}

/* ---------------------------------------------------------------- turning */

static void src_poll(struct source *src)
{
	struct sim_source *s = container_of(src, struct sim_source, src);
	struct source_req *r, *tr;
	struct source_doc *d, *td;
	struct list ripe;

	list_init(&ripe);
	list_for_each_safe(r, tr, &s->chunks, link) {
		if (r->scratch[1] > sim_now || (!s->up && !r->scratch[0]))
			continue;
		list_del(&r->link);
		list_add_tail(&ripe, &r->link);
	}
	while (!list_empty(&ripe)) {
		r = list_first(&ripe, struct source_req, link);
		list_del(&r->link);
		if (!r->scratch[0])
			deliver(s, r);
		r->done(r, r->scratch[0] ? -ECANCELED : 0);
	}
	list_for_each_safe(d, td, &s->docs, link)
		if (d->scratch[1] <= sim_now) {
			doc_done(s, d);
			break; /* others may be gone now */
		}
}

static const struct source_ops src_ops = {
	.fetch = src_fetch, .reprioritise = src_reprioritise, .cancel = src_cancel,
	.get = src_get, .post = src_post, .status = src_status, .poll = src_poll,
};

void sim_source_init(struct sim_source *s, u64 rng)
{
	memset(s, 0, sizeof(*s));
	s->src.ops = &src_ops;
	s->rng = rng;
	s->policy = TICKET_POLICY_PUSH;
	s->fill = true;
	sim_source_reset(s);
}

void sim_source_reset(struct sim_source *s)
{
	list_init(&s->chunks);
	list_init(&s->docs);
	s->served = s->policies = 0;
	s->highest = 0;
}

u64 sim_source_next(const struct sim_source *s)
{
	struct source_req *r;
	struct source_doc *d;
	u64 next = ~0ull;

	list_for_each(r, &s->chunks, link)
		if (s->up || r->scratch[0])
			next = MIN(next, r->scratch[1]);
	list_for_each(d, &s->docs, link)
		next = MIN(next, d->scratch[1]);
	return next;
}

void sim_source_set(struct sim_source *s, bool up)
{
	struct source_req *r;

	s->up = up;
	/* what was on the wire comes again, later */
	list_for_each(r, &s->chunks, link)
		if (!r->scratch[0])
			r->scratch[1] = due(s);
}
