/* A list of S3-compatible storage: any text gives entries that are named as ours, no more. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "server/data/s3_list.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void check(bool ok)
{
	if (!ok)
		abort();
}

/* Each is in the text under its name; the third ends it. */
static int one(void *arg, const struct object_entry *e)
{
	char path[DATADIR_PATH_MAX];
	void **a = arg;

	path_object(path, e->digest);
	check(memmem(a[0], *(size_t *)a[1], path, strlen(path)) != NULL);
	return ++*(int *)a[2] == 3 ? -E2BIG : 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	char *text = malloc(n + 1), token[32], word[8];
	int count = 0, err;
	void *arg[] = { text, &n, &count };

	memcpy(text, data, n);
	text[n] = 0;
	err = s3_list_parse(text, one, arg, token, sizeof(token));
	check(err == 0 || err == -EBADMSG || (err == -E2BIG && count == 3));
	check(strlen(token) < sizeof(token));
	check(!memcmp(text, data, n));
	s3_xml_text(text, "Code", word, sizeof(word));
	check(strlen(word) < sizeof(word));
	free(text);
	return 0;
}
