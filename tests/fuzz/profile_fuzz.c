/* profile_parse(): whatever is accepted is bounded, and can be built again, byte for byte. */
#include <stdint.h>
#include <string.h>

#include "base/assert.h"
#include "storage/format/profile.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static struct profile_run runs[PROFILE_RUNS_MAX];
	static u8 again[PROFILE_BYTES_MAX];
	struct profile p;
	u64 total = 0;

	if (profile_parse(data, n, &p))
		return 0;
	assert(p.nruns <= PROFILE_RUNS_MAX && profile_size(p.nruns) == n);
	for (u32 i = 0; i < p.nruns; i++) {
		runs[i] = profile_run_get(&p, i);
		assert(runs[i].count && runs[i].first + runs[i].count > runs[i].first);
		total += runs[i].count;
	}
	assert(total <= PROFILE_CHUNKS_MAX);
	assert(!profile_build(&p, runs, again, sizeof(again), NULL));
	assert(!memcmp(again, data, n - P256_SIG_BYTES));
	return 0;
}
