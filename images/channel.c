/*
 * channel.c - freshet channel: point names at versions
 */
#include <string.h>

#include "base/err.h"
#include "base/fmt.h"
#include "images/options.h"
#include "server/data/channels.h"

struct args {
	const char *data, *key;
};

static const struct cli_option options[] = {
	CLI_TEXT("data", struct args, data),
	CLI_TEXT("key", struct args, key),
	{ 0 },
};

static enum cli_exit parse(const struct cli_command *c, struct args *a, int *argc, char ***argv)
{
	*a = (struct args){ 0 };
	if (cli_options(c, options, a, argc, argv))
		return CLI_USAGE;
	return a->data ? CLI_OK : cli_usage(c, "--data is needed");
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
	struct crypto_key *key;
	enum cli_exit ret;
	struct datadir d;
	struct args a;

	ret = parse(c, &a, &argc, &argv);
	if (ret)
		return ret;
	if (argc != 2)
		return cli_usage(c, "a channel and a version are needed");
	if (!channel_name_ok(argv[0], strlen(argv[0])))
		return cli_usage(c, "\"%s\" cannot be a channel's name", argv[0]);
	if (cli_private_key(&key, a.key, a.data))
		return CLI_FAILED;
	ret = CLI_FAILED;
	if (!cli_open_data(&d, a.data, true)) {
		ret = set_locked(&d, key, argv[0], argv[1]);
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

static void show_one(void *arg, const char *name, int err, const struct channel *ch)
{
	char hex[DIGEST_HEX + 1];

	if (err) {
		cli_error("channels/%s is not to be trusted: %s", name,
			  err == -EKEYREJECTED ? "bad signature" : err_name(err));
		++*(int *)arg;
	} else {
		printf("%-20s serial %-6llu %s\n", name, (unsigned long long)ch->serial,
		       cli_hex(hex, ch->version));
	}
}

static enum cli_exit run_show(const struct cli_command *c, int argc, char **argv)
{
	enum cli_exit ret;
	u8 pub[P256_PUB_BYTES];
	struct datadir d;
	int bad = 0, err;
	struct args a;

	ret = parse(c, &a, &argc, &argv);
	if (ret)
		return ret;
	if (argc)
		return cli_usage(c, NULL);
	if (cli_public_key(pub, a.key, a.data) || cli_open_data(&d, a.data, false))
		return CLI_FAILED;
	err = channel_list(&d, pub, show_one, &bad);
	if (err)
		cli_error("cannot read %s/channels: %s", a.data, strerror(-err));
	datadir_close(&d);
	return bad || err ? CLI_FAILED : CLI_OK;
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
