/*
 * main.c - freshet, the admin's command line: find the command and run it
 *
 * A command is two words, a group and a verb. Each has a file named after its
 * group, parses its own options, says in plain words what is wrong and what to
 * do about it, and returns 0 (done), 1 (failed) or 2 (wrong command line).
 * What scripts want to read goes to standard output, all else to standard error.
 */
#include <string.h>

#include "base/fmt.h"
#include "images/cli.h"

static const struct cli_command *const commands[] = {
	&cmd_key_new,	 &cmd_key_show,	    &cmd_image_build, &cmd_image_verify,
	&cmd_image_ls,	 &cmd_image_export, &cmd_channel_set, &cmd_channel_show,
	&cmd_boot_build, &cmd_site_set,	    &cmd_site_show,   &cmd_store_check,
	&cmd_store_dump, &cmd_store_repair,
};

static void print_commands(FILE *f, const char *group)
{
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		const struct cli_command *c = commands[i];

		if (!group || !strcmp(group, c->group))
			fprintf(f, "  %-8s %-8s %s\n", c->group, c->verb, c->summary);
	}
}

static bool known_group(const char *group)
{
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		if (!strcmp(group, commands[i]->group))
			return true;
	return false;
}

static bool wants_help(const char *word)
{
	return !strcmp(word, "--help") || !strcmp(word, "-h") || !strcmp(word, "help");
}

int main(int argc, char **argv)
{
	static char name[64];

	if (argc >= 2 && wants_help(argv[1])) {
		printf("freshet - images, keys, channels and boot files of a site\n\n"
		       "usage: freshet GROUP VERB [OPTIONS] ...\n\n");
		print_commands(stdout, NULL);
		printf("\nfreshet GROUP VERB --help tells more; so does freshet(1).\n");
		return CLI_OK;
	}
	if (argc < 2) {
		fprintf(stderr, "usage: freshet GROUP VERB [OPTIONS] ...\n\n");
		print_commands(stderr, NULL);
		return CLI_USAGE;
	}
	if (!known_group(argv[1])) {
		cli_error("no command \"%s\"; see freshet --help", argv[1]);
		return CLI_USAGE;
	}
	if (argc < 3 || wants_help(argv[2])) {
		print_commands(argc < 3 ? stderr : stdout, argv[1]);
		return argc < 3 ? CLI_USAGE : CLI_OK;
	}
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		const struct cli_command *c = commands[i];

		if (strcmp(c->group, argv[1]) || strcmp(c->verb, argv[2]))
			continue;
		for (int a = 3; a < argc && strcmp(argv[a], "--"); a++)
			if (!strcmp(argv[a], "--help"))
				return cli_help(c);
		/* What getopt_long(3) calls us in its messages. */
		fmt_snprintf(name, sizeof(name), "freshet %s %s", c->group, c->verb);
		argv[2] = name;
		return c->run(c, argc - 2, argv + 2);
	}
	cli_error("no command \"%s %s\"; see freshet %s --help", argv[1], argv[2], argv[1]);
	return CLI_USAGE;
}
