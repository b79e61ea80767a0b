/*
 * readcost.c - what a read costs, and what doing nothing costs, in exits
 *
 * usage: readcost DISK FIRST STRIDE COUNT IDLE_SECONDS
 *
 * Reads COUNT times 4 KiB of DISK, each from a place that nobody has read yet:
 * FIRST + STRIDE * i, in an order without a pattern. Before and after that, and
 * before and after doing nothing with the whole disk local, it asks the VMM for
 * its figures, which the log then has five times:
 *
 *	A (pause) B (reads, pause) C (the rest of the disk is read) D (idle) E
 *
 * C-B less B-A is what the reads have cost. The VMM answers once a second.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/io.h>
#include <unistd.h>

#define VMM_PORT 0x2ff /* scratch register of the VMM's serial port */
#define PAUSE_US 1500000
#define BLOCK 4096
#define DRAIN (1 << 20)

static void ask(void)
{
	outb('F', VMM_PORT);
}

static int reads(int fd, void *buf, long long first, long long stride, int count)
{
	/* 7 and a power of two have no common divisor: each place comes once. */
	for (int i = 0; i < count; i++)
		if (pread(fd, buf, BLOCK, first + stride * (i * 7 % count)) != BLOCK)
			return -1;
	return 0;
}

int main(int argc, char **argv)
{
	long long at = 0;
	void *buf;
	ssize_t n;
	int fd;

	if (argc != 6 || ioperm(VMM_PORT, 1, 1) || posix_memalign(&buf, BLOCK, DRAIN)) {
		fprintf(stderr, "readcost: bad arguments, or no right to ports\n");
		return 2;
	}
	fd = open(argv[1], O_RDONLY | O_DIRECT);
	usleep(PAUSE_US);
	ask();
	usleep(PAUSE_US);
	ask();
	if (fd < 0 || reads(fd, buf, atoll(argv[2]), atoll(argv[3]), atoi(argv[4]))) {
		fprintf(stderr, "readcost: %s cannot be read\n", argv[1]);
		return 1;
	}
	usleep(PAUSE_US);
	ask();
	while ((n = pread(fd, buf, DRAIN, at)) > 0)
		at += n;
	usleep(2 * PAUSE_US);
	ask();
	sleep((unsigned int)atoi(argv[5]));
	ask();
	usleep(PAUSE_US / 2);
	printf("readcost: done, %lld bytes\n", at);
	return n < 0;
}
