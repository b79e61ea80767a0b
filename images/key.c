/*
 * key.c - freshet key: the pair of keys that a site signs with
 *
 * site.key signs channels, manifests and tickets; whoever has it decides what
 * every PC of the site boots. site.pub goes into freshet.efi and anywhere.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fmt.h"
#include "images/cli.h"

static int write_pub(const char *path, const char *hex)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	int err;

	if (fd < 0)
		return -errno;
	err = fd_write_all(fd, hex, strlen(hex));
	if (!err)
		err = fd_write_all(fd, "\n", 1);
	if (!err && fsync(fd))
		err = -errno;
	if (close(fd) && !err)
		err = -errno;
	return err;
}

static enum cli_exit key_new(const struct cli_command *c, int argc, char **argv)
{
	char path[4096], hex[2 * P256_PUB_BYTES + 1];
	u8 pub[P256_PUB_BYTES];
	struct crypto_key *key;
	int err;

	if (argc != 2 || argv[1][0] == '-')
		return cli_usage(c, argc < 2 ? "which folder?" : "one folder is wanted");
	if (mkdir(argv[1], 0755) && errno != EEXIST) {
		cli_error("cannot make the folder %s: %s", argv[1], strerror(errno));
		return CLI_FAILED;
	}
	err = key_generate(&key);
	if (err) {
		cli_error("cannot make a key: %s", err_name(err));
		return CLI_FAILED;
	}
	fmt_snprintf(path, sizeof(path), "%s/site.key", argv[1]);
	err = key_save_pem(key, path);
	if (err == -EEXIST)
		cli_error("%s is there already; a new key would shut out every PC that knows the "
			  "old one. Move it away first if that is what you want",
			  path);
	else if (err)
		cli_error("cannot write %s: %s", path, strerror(-err));
	key_public(key, pub);
	key_free(key);
	if (err)
		return CLI_FAILED;
	fmt_hex(hex, pub, sizeof(pub));
	fmt_snprintf(path, sizeof(path), "%s/site.pub", argv[1]);
	err = write_pub(path, hex);
	if (err) {
		cli_error("cannot write %s: %s", path, strerror(-err));
		return CLI_FAILED;
	}
	fprintf(stderr, "%s/site.key: keep it secret, and keep a copy offline\n", argv[1]);
	printf("%s\n", hex);
	return CLI_OK;
}

static enum cli_exit key_show(const struct cli_command *c, int argc, char **argv)
{
	char hex[2 * P256_PUB_BYTES + 1];
	u8 pub[P256_PUB_BYTES];
	struct stat st;
	bool folder;

	if (argc != 2 || argv[1][0] == '-')
		return cli_usage(c, "one folder or file is wanted");
	folder = !stat(argv[1], &st) && S_ISDIR(st.st_mode);
	if (cli_public_key(pub, folder ? NULL : argv[1], argv[1]))
		return CLI_FAILED;
	printf("%s\n", fmt_hex(hex, pub, sizeof(pub)));
	return CLI_OK;
}

const struct cli_command cmd_key_new = {
	.group = "key",
	.verb = "new",
	.args = "DIR",
	.summary = "make the site's key: DIR/site.key (secret) and DIR/site.pub",
	.help = "DIR is made if need be; a key that is there is never overwritten.\n"
		"The public key is printed: 128 hex digits, X and Y of the P-256 point.\n",
	.run = key_new,
};

const struct cli_command cmd_key_show = {
	.group = "key",
	.verb = "show",
	.args = "DIR|FILE",
	.summary = "print a site's public key",
	.help = "FILE may be either half, site.key or site.pub.\n",
	.run = key_show,
};
