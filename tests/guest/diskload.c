/*
 * diskload.c - reads of a disk, so many at once, and how long they took
 *
 * usage: diskload DISK MIB BLOCK DEPTH seq|rand COUNT
 *
 * COUNT reads of BLOCK bytes from the first MIB MiB of DISK, past the page cache,
 * DEPTH of them under way all the time, one behind the other (and from the start
 * again) or in an order without a pattern, the same each time. Says
 * "diskload: COUNT reads in N us". It asks the kernel itself (io_submit), so that
 * no library is needed; the numbers of reads and of calls are then the same with
 * and without a hypervisor.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define DEPTH_MAX 256

static uint64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/* Where read number @n begins, in blocks. */
static uint64_t place(uint64_t n, uint64_t blocks, int sequential)
{
	uint64_t x = n * 6364136223846793005ull + 1442695040888963407ull;

	return sequential ? n % blocks : (x >> 33) % blocks;
}

static int send(aio_context_t ctx, struct iocb *c)
{
	return syscall(SYS_io_submit, ctx, 1, &c) == 1 ? 0 : -1;
}

static int run(int fd, uint64_t blocks, uint64_t block, uint64_t depth, int sequential,
	       uint64_t count)
{
	static struct iocb cb[DEPTH_MAX];
	struct io_event ev[DEPTH_MAX];
	uint64_t sent = 0, done = 0;
	aio_context_t ctx = 0;
	void *buf;

	if (posix_memalign(&buf, 4096, block * depth) || syscall(SYS_io_setup, depth, &ctx))
		return -1;
	for (uint64_t i = 0; i < depth; i++)
		cb[i] = (struct iocb){
			.aio_fildes = (uint32_t)fd, .aio_lio_opcode = IOCB_CMD_PREAD,
			.aio_buf = (uintptr_t)buf + i * block, .aio_nbytes = block, .aio_data = i,
		};
	while (done < count) {
		long n;

		for (; sent < count && sent < depth; sent++) {
			cb[sent].aio_offset = (int64_t)(place(sent, blocks, sequential) * block);
			if (send(ctx, &cb[sent]))
				return -1;
		}
		n = syscall(SYS_io_getevents, ctx, 1, depth, ev, NULL);
		if (n < 1)
			return -1;
		for (long i = 0; i < n; i++, done++) {
			struct iocb *c = &cb[ev[i].data];

			if (ev[i].res != (int64_t)block)
				return -1;
			if (sent == count)
				continue;
			c->aio_offset = (int64_t)(place(sent++, blocks, sequential) * block);
			if (send(ctx, c))
				return -1;
		}
	}
	return 0;
}

int main(int argc, char **argv)
{
	uint64_t mib, block, depth, count, from;
	int fd, sequential;

	if (argc != 7)
		return 2;
	mib = strtoull(argv[2], NULL, 10);
	block = strtoull(argv[3], NULL, 10);
	depth = strtoull(argv[4], NULL, 10);
	sequential = !strcmp(argv[5], "seq");
	count = strtoull(argv[6], NULL, 10);
	if (!block || block % 512 || !depth || depth > DEPTH_MAX || mib << 20 < block)
		return 2;
	fd = open(argv[1], O_RDONLY | O_DIRECT);
	from = now_us();
	if (fd < 0 || run(fd, (mib << 20) / block, block, depth, sequential, count)) {
		perror("diskload");
		return 1;
	}
	printf("diskload: %llu reads in %llu us\n", (unsigned long long)count,
	       (unsigned long long)(now_us() - from));
	return 0;
}
