/*
 * site.c - freshet site: the settings that go into boot tickets
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "images/options.h"
#include "server/data/siteconf.h"

struct args {
	const char *data;
	char *uuid;
};

static const struct cli_option options[] = {
	CLI_TEXT("data", struct args, data),
	CLI_TEXT("uuid", struct args, uuid),
	{ 0 },
};

static enum cli_exit parse(const struct cli_command *c, struct args *a, int *argc, char ***argv)
{
	*a = (struct args){ 0 };
	if (cli_options(c, options, a, argc, argv))
		return CLI_USAGE;
	for (char *p = a->uuid; p && *p; p++)
		if (*p >= 'A' && *p <= 'F')
			*p |= 0x20;
	if (a->uuid && !uuid_ok(a->uuid))
		return cli_usage(c, "\"%s\" is no UUID (8-4-4-4-12 hex digits)", a->uuid);
	return a->data ? CLI_OK : cli_usage(c, "--data is needed");
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
		cli_error("no setting \"%s\"; there are: channel policy claim fill "
			  "fill_limit fill_window metered frontend nic sources",
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

/* A value of several words is the same as one in quotes. */
static int join_values(char out[SITECONF_LINE_MAX], int count, char **values)
{
	size_t used = 0;

	out[0] = 0;
	for (int i = 0; i < count; i++) {
		int n = snprintf(out + used, SITECONF_LINE_MAX - used, "%s%s", i ? " " : "",
				 values[i]);

		if (n < 0 || (size_t)n >= SITECONF_LINE_MAX - used)
			return -EMSGSIZE;
		used += (size_t)n;
	}
	return 0;
}

static enum cli_exit run_set(const struct cli_command *c, int argc, char **argv)
{
	char value[SITECONF_LINE_MAX];
	enum cli_exit ret;
	struct datadir d;
	struct args a;

	ret = parse(c, &a, &argc, &argv);
	if (ret)
		return ret;
	if (argc < 2 || join_values(value, argc - 1, argv + 1))
		return cli_usage(c, "a key and a value are needed");
	if (cli_open_data(&d, a.data, true))
		return CLI_FAILED;
	ret = set_locked(&d, a.uuid, argv[0], value);
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
		"  policy boot|push|never   guest writes vanish at reboot (default); are kept\n"
		"                           until a new version arrives; are kept, and no\n"
		"                           other version is taken\n"
		"  claim none|blank|serial:S\n"
		"                           which disks Freshet may take: none, blank ones\n"
		"                           (default), or that of this serial number and\n"
		"                           whatever is on it\n"
		"  fill on|off              copy the rest of the image in the background\n"
		"  fill_limit KIB           at most so many KiB/s; 0: no limit\n"
		"  fill_window 22:00-06:00  only then, by the server's clock; none: always\n"
		"  metered on|off           fetch nothing that the guest does not wait for\n"
		"  frontend same|nvme|ahci  the disk controller that the OS sees: as the PC's own\n"
		"                           (default), NVMe or AHCI; from the next boot on\n"
		"  nic none|virtio|e1000e   the network card that the OS sees, over the PC's own:\n"
		"                           none (default), virtio, or an Intel 82574L for images\n"
		"                           without virtio drivers; from the next boot on\n"
		"  sources URL...|none      where chunk objects lie besides, e.g.\n"
		"                           http://10.0.0.7/objects: asked first, in this order\n"
		"\n"
		"A running freshetd takes changes at once. The file is DIR/site.conf.\n",
	.run = run_set,
};

static enum cli_exit run_show(const struct cli_command *c, int argc, char **argv)
{
	enum cli_exit ret;
	struct datadir d;
	struct args a;
	char *text;

	ret = parse(c, &a, &argc, &argv);
	if (ret)
		return ret;
	if (argc)
		return cli_usage(c, NULL);
	if (cli_open_data(&d, a.data, false))
		return CLI_FAILED;
	ret = CLI_FAILED;
	if (!read_conf(&d, &text)) {
		struct ticket t = { 0 };
		int line, err = siteconf_apply(text, a.uuid, &t, &line);

		fputs(text, stdout);
		free(text);
		if (err)
			cli_error("%s/%s line %d: %s", a.data, SITECONF_PATH, line,
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
