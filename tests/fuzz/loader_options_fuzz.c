/*
 * loader_options_fuzz.c - freshet.conf and load options from anybody
 *
 * The first byte cuts the input into file and load options. What is accepted
 * must render to text that is accepted again and says the same.
 */
#include <stdlib.h>
#include <string.h>

#include "base/types.h"
#include "boot/loader/options.h"

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	struct options o, again;
	struct options_error e;
	char text[4096];
	size_t cut;
	int n;

	if (!size)
		return 0;
	cut = (size_t)data[0] * (size - 1) / 255;
	options_init(&o);
	if (options_file(&o, (const char *)data + 1, cut, &e) ||
	    options_load(&o, data + 1 + cut, size - 1 - cut, &e))
		return 0;
	n = options_render(&o, text, sizeof(text));
	options_init(&again);
	if (n < 0 || (size_t)n != strlen(text) || options_file(&again, text, (size_t)n, &e))
		abort();
	for (int i = 0; i < OPTION_COUNT; i++)
		if (strcmp(o.value[i], again.value[i]))
			abort();
	return 0;
}
