/*
 * options.c - the part of a command line that has dashes
 *
 * Every command has a table of its options and a struct that they fill; what is
 * not named keeps its default. getopt_long() does the reading.
 */
#include "images/options.h"

#include <getopt.h>
#include <stdlib.h>

#include "base/err.h"

#define OPTIONS_MAX 32
#define FIRST 256 /* getopt's values for long options: beyond characters */

static int take_one_more(struct cli_texts *t, const char *value)
{
	if (t->n == CLI_TEXTS_MAX)
		return -E2BIG;
	t->text[t->n++] = value;
	return 0;
}

static int take(const struct cli_option *o, void *member, const char *value)
{
	switch (o->take) {
	case CLI_TAKES_NOTHING:
		*(bool *)member = true;
		return 0;
	case CLI_TAKES_TEXT:
		*(const char **)member = value;
		return 0;
	case CLI_TAKES_NUMBER:
		return cli_u64(value, member);
	case CLI_TAKES_SIZE:
		return cli_size(value, member);
	case CLI_TAKES_TEXTS:
		return take_one_more(member, value);
	}
	abort();
}

/**
 * cli_options() - read the options, leave the rest
 * @table: ends with an entry without a name
 * @args:  the struct of the table's offsets, with the defaults in it
 * @argc:  in: the command's; out: how many arguments are left
 * @argv:  in: the command's, its name first; out: those that are left
 *
 * Return: CLI_OK; CLI_USAGE, and what is wrong has been said.
 */
enum cli_exit cli_options(const struct cli_command *c, const struct cli_option *table, void *args,
			  int *argc, char ***argv)
{
	struct option options[OPTIONS_MAX + 1] = { 0 };
	int n, opt;

	for (n = 0; table[n].name; n++) {
		if (n == OPTIONS_MAX)
			abort();
		options[n] = (struct option){ .name = table[n].name, .val = FIRST + n,
					      .has_arg = table[n].take == CLI_TAKES_NOTHING ?
							 no_argument : required_argument };
	}
	optind = 0; /* from the beginning, whatever was read before */
	while ((opt = getopt_long(*argc, *argv, "", options, NULL)) != -1) {
		const struct cli_option *o = &table[opt - FIRST];

		if (opt < FIRST)
			return cli_usage(c, NULL);
		if (!take(o, (char *)args + o->at, optarg))
			continue;
		if (o->take == CLI_TAKES_TEXTS)
			return cli_usage(c, "at most %d times --%s", CLI_TEXTS_MAX, o->name);
		return cli_usage(c, "--%s: \"%s\" is not a number%s", o->name, optarg,
				 o->take == CLI_TAKES_SIZE ? " of bytes" : "");
	}
	*argc -= optind;
	*argv += optind;
	return CLI_OK;
}
