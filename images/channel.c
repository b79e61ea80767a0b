/*
 * channel.c - freshet channel: point names at versions
 */
#include <fcntl.h>
#include <ftw.h>
#include <getopt.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fmt.h"
#include "images/cli.h"
#include "server/data/channels.h"

enum { OPT_DATA = 256, OPT_KEY };

static const struct option options[] = {
	{ "data", required_argument, NULL, OPT_DATA },
	{ "key", required_argument, NULL, OPT_KEY },
	{ 0 },
};

static enum cli_exit parse(const struct cli_command *c, int argc, char **argv, const char **data,
			   const char **key)
{
	int opt;

	*data = *key = NULL;
	optind = 1;
	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (opt == OPT_DATA)
			*data = optarg;
		else if (opt == OPT_KEY)
			*key = optarg;
		else
			return cli_usage(c, NULL);
	}
	return *data ? CLI_OK : cli_usage(c, "--data is needed");
}

static enum cli_exit set_locked(const struct datadir *d, const struct crypto_key *key,
				const char *name, const char *version_text)
{
	u8 pub[P256_PUB_BYTES], version[SHA256_BYTES];
	struct channel ch;
	int err;

	key_public(key, pub);
	if (cli_version(d, version_text, pub, version))
		return CLI_FAILED;
	err = channel_point(d, key, name, version, &ch);
	if (err) {
		cli_error("channel %s was not moved: %s", name,
			  err == -EKEYREJECTED ? "its file is signed with another key" :
						 strerror(-err));
		return CLI_FAILED;
	}
	printf("%s  serial %llu  %s\n", ch.name, (unsigned long long)ch.serial, version_text);
	return CLI_OK;
}

static enum cli_exit run_set(const struct cli_command *c, int argc, char **argv)
{
	const char *data, *key_path;
	struct crypto_key *key;
	enum cli_exit ret;
	struct datadir d;

	ret = parse(c, argc, argv, &data, &key_path);
	if (ret)
		return ret;
	if (argc - optind != 2)
		return cli_usage(c, "a channel and a version are needed");
	if (!channel_name_ok(argv[optind], strlen(argv[optind])))
		return cli_usage(c, "\"%s\" cannot be a channel's name", argv[optind]);
	if (cli_private_key(&key, key_path, data))
		return CLI_FAILED;
	ret = CLI_FAILED;
	if (!cli_open_data(&d, data, true)) {
		ret = set_locked(&d, key, argv[optind], argv[optind + 1]);
		datadir_close(&d);
	}
	key_free(key);
	return ret;
}

const struct cli_command cmd_channel_set = {
	.group = "channel",
	.verb = "set",
	.args = "--data DIR [--key FILE] NAME VERSION",
	.summary = "point a channel at a version, forward or back",
	.help = "  --data DIR   the site's data folder\n"
		"  --key FILE   the site's private key (default DIR/site.key)\n"
		"\n"
		"VERSION is 64 hex digits, or another channel's name to take its version.\n"
		"PCs of the channel take it at their next boot. The serial number always grows,\n"
		"also when going back to an older version.\n",
	.run = run_set,
};

/* nftw(3) hands no argument through. */
static struct {
	struct datadir *d;
	size_t prefix;
	u8 pub[P256_PUB_BYTES];
	int bad;
} show;

static int show_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	const char *name = path + show.prefix;
	char hex[DIGEST_HEX + 1];
	struct channel ch;
	int err;

	(void)st;
	(void)ftw;
	if (type != FTW_F)
		return 0;
	err = channel_name_ok(name, strlen(name)) ? channel_read(show.d, name, show.pub, &ch) :
						    -EINVAL;
	if (err) {
		cli_error("%s is not to be trusted: %s", path,
			  err == -EKEYREJECTED ? "bad signature" : err_name(err));
		show.bad++;
	} else {
		printf("%-20s serial %-6llu %s\n", name, (unsigned long long)ch.serial,
		       cli_hex(hex, ch.version));
	}
	return 0;
}

static enum cli_exit run_show(const struct cli_command *c, int argc, char **argv)
{
	const char *data, *key_path;
	enum cli_exit ret;
	struct datadir d;
	char path[4096];

	ret = parse(c, argc, argv, &data, &key_path);
	if (ret)
		return ret;
	if (argc != optind)
		return cli_usage(c, NULL);
	if (cli_public_key(show.pub, key_path, data) || cli_open_data(&d, data, false))
		return CLI_FAILED;
	show.d = &d;
	show.prefix = (size_t)fmt_snprintf(path, sizeof(path), "%s/channels", data) + 1;
	if (nftw(path, show_one, 16, FTW_PHYS)) {
		cli_error("cannot read %s: %s", path, strerror(errno));
		show.bad++;
	}
	datadir_close(&d);
	return show.bad ? CLI_FAILED : CLI_OK;
}

const struct cli_command cmd_channel_show = {
	.group = "channel",
	.verb = "show",
	.args = "--data DIR [--key FILE]",
	.summary = "list the channels, checked, with serial number and version",
	.help = "  --data DIR   the site's data folder\n"
		"  --key FILE   the site's key, either half (default DIR/site.pub or site.key)\n",
	.run = run_show,
};
