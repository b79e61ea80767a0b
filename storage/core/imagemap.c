/*
 * The cache of table pages; see imagemap.h.
 */
#include "storage/core/imagemap.h"

#include <string.h>

#include "base/err.h"
#include "base/plat.h"

#define CACHE_BYTES (1u << 20)

int imagemap_init(struct imagemap *im, const void *root, u32 bytes)
{
	int err;

	memset(im, 0, sizeof(*im));
	err = manifest_parse(root, bytes, &im->mf);
	if (err)
		return err;
	im->n = CACHE_BYTES / im->mf.chunk_bytes;
	im->n = MAX(im->n, 2u);
	im->n = MIN(im->n, (u32)IMAGEMAP_PAGES_MAX);
	if (im->n > im->mf.page_count && im->mf.page_count)
		im->n = im->mf.page_count;
	for (u32 i = 0; i < im->n; i++) {
		im->page[i] = ~0u;
		im->data[i] = plat_alloc(im->mf.chunk_bytes);
		if (!im->data[i]) {
			imagemap_fini(im);
			return -ENOMEM;
		}
		im->bytes += im->mf.chunk_bytes;
	}
	return 0;
}

void imagemap_fini(struct imagemap *im)
{
	for (u32 i = 0; i < im->n; i++)
		plat_free(im->data[i]);
	im->n = 0;
}

const u8 *imagemap_digest(struct imagemap *im, u32 chunk)
{
	u32 page = chunk / im->mf.digests_per_page;

	for (u32 i = 0; i < im->n; i++) {
		if (im->page[i] != page)
			continue;
		im->stamp[i] = ++im->clock;
		return im->data[i] + chunk % im->mf.digests_per_page * SHA256_BYTES;
	}
	return NULL;
}

void imagemap_page_put(struct imagemap *im, u32 page, const void *data)
{
	u32 at = 0;

	for (u32 i = 0; i < im->n; i++) {
		if (im->page[i] == page) {
			at = i;
			break;
		}
		if (im->stamp[i] < im->stamp[at])
			at = i;
	}
	im->page[at] = page;
	im->stamp[at] = ++im->clock;
	memcpy(im->data[at], data, manifest_page_plain_bytes(&im->mf, page));
}
