/*
 * sumcheck.c - sha256sum -c for a guest whose every instruction is emulated
 *
 * The kernel computes the digests, with a third of the instructions that
 * busybox takes. Checks each "<digest>  <file>" line of a list, names what
 * differs, and ends with how many files and bytes were right.
 */
#include <fcntl.h>
#include <linux/if_alg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define DIGEST_BYTES 32

/* A socket that hashes what is written to it, or -1. */
static int hash_open(void)
{
	struct sockaddr_alg name = {
		.salg_family = AF_ALG, .salg_type = "hash", .salg_name = "sha256",
	};
	int s = socket(AF_ALG, SOCK_SEQPACKET, 0);

	if (s < 0 || bind(s, (struct sockaddr *)&name, sizeof(name)))
		return -1;
	return accept(s, NULL, NULL);
}

/* Digest of a whole file. Return: its size, or -1. */
static long long sum(int hash, const char *path, unsigned char out[DIGEST_BYTES])
{
	static char buf[1 << 16];
	int fd = open(path, O_RDONLY);
	long long bytes = 0;
	ssize_t n;

	if (fd < 0)
		return -1;
	while ((n = read(fd, buf, sizeof(buf))) > 0 && send(hash, buf, (size_t)n, MSG_MORE) == n)
		bytes += n;
	close(fd);
	if (send(hash, NULL, 0, 0) || read(hash, out, DIGEST_BYTES) != DIGEST_BYTES)
		return -1;
	return n ? -1 : bytes;
}

int main(int argc, char **argv)
{
	static char line[4096 + 128];
	unsigned char digest[DIGEST_BYTES];
	char hex[2 * DIGEST_BYTES + 1] = "";
	unsigned int good = 0, bad = 0;
	long long n, bytes = 0;
	FILE *list = argc == 2 ? fopen(argv[1], "r") : NULL;
	int hash = hash_open();

	if (!list || hash < 0) {
		fprintf(stderr, "sumcheck: no list, or a kernel without AF_ALG\n");
		return 2;
	}
	while (fgets(line, sizeof(line), list)) {
		line[strcspn(line, "\n")] = 0;
		n = strlen(line) > 66 ? sum(hash, line + 66, digest) : -1;
		for (int i = 0; i < DIGEST_BYTES; i++)
			sprintf(hex + 2 * i, "%02x", digest[i]);
		if (n < 0 || memcmp(line, hex, 2 * DIGEST_BYTES)) {
			printf("%s: %s\n", line + 66, n < 0 ? "cannot be read" : "differs");
			bad++;
		} else {
			bytes += n;
			good++;
		}
	}
	printf("%u files match, %lld bytes, %u differ\n", good, bytes, bad);
	return bad || !good;
}
