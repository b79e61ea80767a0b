/*
 * site.c - freshet site: the settings that go into boot tickets
 */
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "images/cli.h"
#include "server/data/siteconf.h"

enum { OPT_DATA = 256, OPT_UUID };

static const struct option options[] = {
	{ "data", required_argument, NULL, OPT_DATA },
	{ "uuid", required_argument, NULL, OPT_UUID },
	{ 0 },
};

static enum cli_exit parse(const struct cli_command *c, int argc, char **argv, const char **data,
			   char **uuid)
{
	int opt;

	*data = NULL;
	*uuid = NULL;
	optind = 1;
	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (opt == OPT_DATA)
			*data = optarg;
		else if (opt == OPT_UUID)
			*uuid = optarg;
		else
			return cli_usage(c, NULL);
	}
	for (char *p = *uuid; p && *p; p++)
		if (*p >= 'A' && *p <= 'F')
			*p |= 0x20;
	if (*uuid && !uuid_ok(*uuid))
		return cli_usage(c, "\"%s\" is no UUID (8-4-4-4-12 hex digits)", *uuid);
	return *data ? CLI_OK : cli_usage(c, "--data is needed");
}

static int read_conf(const struct datadir *d, char **text)
{
	size_t bytes;
	u8 *file;
	int err = datadir_read(d, SITECONF_PATH, SITECONF_MAX, &file, &bytes);

	if (err == -ENOENT) {
		*text = strdup("");
		return *text ? 0 : -ENOMEM;
	}
	if (err)
		cli_error("cannot read %s/%s: %s", d->path, SITECONF_PATH, strerror(-err));
	*text = (char *)file;
	return err;
}

static enum cli_exit set_locked(const struct datadir *d, const char *uuid, const char *key,
				const char *value)
{
	size_t room;
	char *text, *edited;
	int err = read_conf(d, &text);

	if (err)
		return CLI_FAILED;
	room = strlen(text) + 4 * SITECONF_LINE_MAX;
	edited = malloc(room);
	err = edited ? siteconf_edit(text, uuid, key, value, edited, room) : -ENOMEM;
	if (err == -ENOENT)
		cli_error("no setting \"%s\"; there are: channel policy claim fill fill_limit",
			  key);
	else if (err)
		cli_error("cannot set %s to \"%s\": %s; see freshet site set --help", key, value,
			  err_name(err));
	else
		err = datadir_write(d, SITECONF_PATH, edited, strlen(edited), 0644);
	free(text);
	free(edited);
	return err ? CLI_FAILED : CLI_OK;
}

static enum cli_exit run_set(const struct cli_command *c, int argc, char **argv)
{
	enum cli_exit ret;
	const char *data;
	struct datadir d;
	char *uuid;

	ret = parse(c, argc, argv, &data, &uuid);
	if (ret)
		return ret;
	if (argc - optind != 2)
		return cli_usage(c, "a key and a value are needed");
	if (cli_open_data(&d, data, true))
		return CLI_FAILED;
	ret = set_locked(&d, uuid, argv[optind], argv[optind + 1]);
	datadir_close(&d);
	return ret;
}

const struct cli_command cmd_site_set = {
	.group = "site",
	.verb = "set",
	.args = "--data DIR [--uuid U] KEY VALUE",
	.summary = "change a setting of boot tickets, for everybody or one machine",
	.help = "  --data DIR   the site's data folder\n"
		"  --uuid U     for this machine only (its SMBIOS UUID)\n"
		"\n"
		"  channel NAME             what PCs boot (default lab/stable)\n"
		"  policy boot|push         guest writes vanish at reboot (default), or are kept\n"
		"                           until a new version arrives\n"
		"  claim none|blank|serial:S\n"
		"                           which disks Freshet may take: none, blank ones\n"
		"                           (default), or that of this serial number and\n"
		"                           whatever is on it\n"
		"  fill on|off              copy the rest of the image in the background\n"
		"  fill_limit KIB           at most so many KiB/s; 0: no limit\n"
		"\n"
		"A running freshetd takes changes at once. The file is DIR/site.conf.\n",
	.run = run_set,
};

static enum cli_exit run_show(const struct cli_command *c, int argc, char **argv)
{
	enum cli_exit ret;
	const char *data;
	struct datadir d;
	char *uuid, *text;

	ret = parse(c, argc, argv, &data, &uuid);
	if (ret)
		return ret;
	if (argc != optind)
		return cli_usage(c, NULL);
	if (cli_open_data(&d, data, false))
		return CLI_FAILED;
	ret = CLI_FAILED;
	if (!read_conf(&d, &text)) {
		struct ticket t = { 0 };
		int line, err = siteconf_apply(text, uuid, &t, &line);

		fputs(text, stdout);
		free(text);
		if (err)
			cli_error("%s/%s line %d: %s", data, SITECONF_PATH, line,
				  err == -ENOENT ? "no such setting" : "bad value");
		else
			ret = CLI_OK;
	}
	datadir_close(&d);
	return ret;
}

const struct cli_command cmd_site_show = {
	.group = "site",
	.verb = "show",
	.args = "--data DIR",
	.summary = "print the settings and check them",
	.help = "  --data DIR   the site's data folder\n",
	.run = run_show,
};
