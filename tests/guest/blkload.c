/*
 * blkload - a load on a block device, and how long each request took
 *
 *	blkload DEVICE MODE BYTES DEPTH COUNT
 *
 * MODE is "seq" (reads in a row), "rand" (reads anywhere) or "flush" (writes anywhere,
 * each of them followed by a flush before the next). Requests bypass the page cache;
 * what has come back in the meantime is sent again in one call.
 * One line of figures; the device's own size is the range. Repeatable: the same places
 * in the same order.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/fs.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define DEPTH_MAX 64

static uint64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static int by_size(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static uint64_t rng = 88172645463325252ull;

static uint64_t place(const char *mode, uint64_t i, uint64_t units)
{
	if (!strcmp(mode, "seq"))
		return i % units;
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng % units;
}

static void load(int fd, const char *mode, uint32_t bytes, uint32_t depth, uint32_t count,
		 uint64_t units, uint32_t *took)
{
	struct iocb cb[DEPTH_MAX], *batch[DEPTH_MAX];
	struct io_event ev[DEPTH_MAX];
	uint64_t began[DEPTH_MAX], sent = 0, done = 0;
	uint32_t ready[DEPTH_MAX], nready = depth; /* requests that may be sent */
	uint8_t *buf;
	aio_context_t ctx = 0;
	bool writes = !strcmp(mode, "flush");

	if (posix_memalign((void **)&buf, 4096, (size_t)bytes * depth) ||
	    syscall(SYS_io_setup, depth, &ctx))
		die("set-up");
	memset(buf, 0x5a, (size_t)bytes * depth);
	for (uint32_t k = 0; k < depth; k++)
		ready[k] = k;
	while (done < count) {
		uint32_t m = 0;
		long n;

		for (; m < nready && sent < count; m++, sent++) {
			uint32_t k = ready[m];

			cb[k] = (struct iocb){
				.aio_data = k, .aio_fildes = (uint32_t)fd, .aio_nbytes = bytes,
				.aio_lio_opcode = writes ? IOCB_CMD_PWRITE : IOCB_CMD_PREAD,
				.aio_buf = (uintptr_t)(buf + (size_t)k * bytes),
				.aio_offset = (int64_t)(place(mode, sent, units) * bytes),
			};
			batch[m] = &cb[k];
			began[k] = now_us();
		}
		if (m && syscall(SYS_io_submit, ctx, (long)m, batch) != (long)m)
			die("submit");
		n = syscall(SYS_io_getevents, ctx, 1, (long)depth, ev, NULL);
		if (n < 1)
			die("events");
		if (writes && fdatasync(fd))
			die("flush");
		nready = (uint32_t)n;
		for (long i = 0; i < n; i++) {
			if (ev[i].res != bytes)
				die("request");
			ready[i] = (uint32_t)ev[i].data;
			took[done++] = (uint32_t)(now_us() - began[ready[i]]);
		}
	}
}

int main(int argc, char **argv)
{
	uint32_t bytes, depth, count, *took;
	uint64_t size, start;
	int fd;

	if (argc != 6)
		return 2;
	bytes = (uint32_t)atoi(argv[3]);
	depth = (uint32_t)atoi(argv[4]);
	count = (uint32_t)atoi(argv[5]);
	if (!bytes || !depth || depth > DEPTH_MAX || !count)
		return 2;
	fd = open(argv[1], (strcmp(argv[2], "flush") ? O_RDONLY : O_RDWR) | O_DIRECT);
	if (fd < 0 || ioctl(fd, BLKGETSIZE64, &size))
		die(argv[1]);
	took = calloc(count, sizeof(*took));
	start = now_us();
	load(fd, argv[2], bytes, depth, count, size / bytes, took);
	start = now_us() - start;
	qsort(took, count, sizeof(*took), by_size);
	printf("blkload: ops=%u us=%llu p50=%u p99=%u max=%u\n", count, (unsigned long long)start,
	       took[count / 2], took[(uint64_t)count * 99 / 100], took[count - 1]);
	return 0;
}
