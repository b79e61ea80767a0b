/*
 * imagemap.h - which digest a chunk must have
 *
 * The manifest root names the table pages, the pages name the chunks. The root
 * is in memory (the store keeps its bytes), pages come and go: a handful is
 * cached, because only a miss needs a digest.
 */
#ifndef STORAGE_CORE_IMAGEMAP_H
#define STORAGE_CORE_IMAGEMAP_H

#include "base/types.h"
#include "storage/format/manifest.h"

#define IMAGEMAP_PAGES_MAX 8

struct imagemap {
	struct manifest mf; /* pages point into the store's root */
	u32 n;
	u32 page[IMAGEMAP_PAGES_MAX]; /* ~0u: empty */
	u64 stamp[IMAGEMAP_PAGES_MAX];
	u8 *data[IMAGEMAP_PAGES_MAX];
	u64 clock;
	u64 bytes; /* of memory */
};

/** imagemap_init() - parse @root, which must outlive @im; -EINVAL and the like, -ENOMEM */
int imagemap_init(struct imagemap *im, const void *root, u32 bytes);
void imagemap_fini(struct imagemap *im);

/** imagemap_digest() - of image chunk @chunk, or NULL when its page is not in memory */
const u8 *imagemap_digest(struct imagemap *im, u32 chunk);

/** imagemap_page_put() - page @page's content, copied; replaces the least recently used */
void imagemap_page_put(struct imagemap *im, u32 page, const void *data);

#endif
