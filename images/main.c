/*
 * main.c - freshet, the admin's command line: find the command and run it
 *
 * A command is two words, a group and a verb, or one that stands alone. Each parses
 * its own options, says in plain words what is wrong and what to
 * do about it, and returns 0 (done), 1 (failed) or 2 (wrong command line).
 * What scripts want to read goes to standard output, all else to standard error.
 */
#include <string.h>

#include "base/fmt.h"
#include "images/cli.h"

static const struct cli_command *const commands[] = {
	&cmd_key_new,	      &cmd_key_show,	   &cmd_image_build,	 &cmd_image_ls,
	&cmd_image_show,      &cmd_image_diff,	   &cmd_image_verify,	 &cmd_image_export,
	&cmd_image_mount,     &cmd_image_rm,	   &cmd_push,		 &cmd_pull,
	&cmd_cost,	      &cmd_gc,		   &cmd_channel_set,	 &cmd_channel_show,
	&cmd_channel_ls,      &cmd_rollout_start,  &cmd_rollout_ls,	 &cmd_rollout_promote,
	&cmd_rollout_cancel,  &cmd_rollback,	   &cmd_machine_ls,	 &cmd_machine_show,
	&cmd_machine_set,     &cmd_machine_approve, &cmd_machine_reset,	 &cmd_machine_update,
	&cmd_machine_wake,    &cmd_machine_forget, &cmd_group_ls,	 &cmd_group_set,
	&cmd_group_rm,	      &cmd_rule_ls,	   &cmd_rule_add,	 &cmd_rule_rm,
	&cmd_token_ls,	      &cmd_token_add,	   &cmd_token_rm,	 &cmd_status,
	&cmd_log,	      &cmd_audit,	   &cmd_boot_build,	 &cmd_site_set,
	&cmd_site_show,	      &cmd_store_check,	   &cmd_store_dump,	 &cmd_store_repair,
	&cmd_doctor,	      &cmd_swarm,		&cmd_boot_dnsmasq,
};

static void print_commands(FILE *f, const char *group)
{
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		const struct cli_command *c = commands[i];

		if (!group || !strcmp(group, c->group))
			fprintf(f, "  %-8s %-8s %s\n", c->group, c->verb ? c->verb : "",
				c->summary);
	}
}

static const struct cli_command *find_single(const char *word)
{
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		if (!commands[i]->verb && !strcmp(word, commands[i]->group))
			return commands[i];
	return NULL;
}

/* --help is for us, wherever it stands before "--". */
static enum cli_exit run(const struct cli_command *c, int words, int argc, char **argv)
{
	static char name[64];

	for (int a = words; a < argc && strcmp(argv[a], "--"); a++)
		if (!strcmp(argv[a], "--help"))
			return cli_help(c);
	/* What getopt_long(3) calls us in its messages. */
	fmt_snprintf(name, sizeof(name), "freshet %s%s%s", c->group, c->verb ? " " : "",
		     c->verb ? c->verb : "");
	argv[words - 1] = name;
	return c->run(c, argc - words + 1, argv + words - 1);
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
	const struct cli_command *single = argc >= 2 ? find_single(argv[1]) : NULL;

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
	if (single)
		return run(single, 2, argc, argv);
	if (argc < 3 || wants_help(argv[2])) {
		print_commands(argc < 3 ? stderr : stdout, argv[1]);
		return argc < 3 ? CLI_USAGE : CLI_OK;
	}
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		const struct cli_command *c = commands[i];

		if (!strcmp(c->group, argv[1]) && c->verb && !strcmp(c->verb, argv[2]))
			return run(c, 3, argc, argv);
	}
	cli_error("no command \"%s %s\"; see freshet %s --help", argv[1], argv[2], argv[1]);
	return CLI_USAGE;
}
