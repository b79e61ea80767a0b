/*
 * options.h - a command's options as a table: where each goes in the command's arguments
 */
#ifndef IMAGES_OPTIONS_H
#define IMAGES_OPTIONS_H

#include <stddef.h>

#include "images/cli.h"

enum cli_take {
	CLI_TAKES_NOTHING, /* sets a bool */
	CLI_TAKES_TEXT,	   /* const char * */
	CLI_TAKES_NUMBER,  /* u64, plain decimal */
	CLI_TAKES_SIZE,	   /* u64, bytes with K, M or G */
	CLI_TAKES_TEXTS,   /* struct cli_texts; may be repeated */
};

#define CLI_TEXTS_MAX 32

struct cli_texts {
	const char *text[CLI_TEXTS_MAX];
	int n;
};

struct cli_option {
	const char *name;
	enum cli_take take;
	size_t at; /* offset of the member in the struct that cli_options() fills */
};

#define CLI_FLAG(name, type, member) { name, CLI_TAKES_NOTHING, offsetof(type, member) }
#define CLI_TEXT(name, type, member) { name, CLI_TAKES_TEXT, offsetof(type, member) }
#define CLI_NUMBER(name, type, member) { name, CLI_TAKES_NUMBER, offsetof(type, member) }
#define CLI_SIZE(name, type, member) { name, CLI_TAKES_SIZE, offsetof(type, member) }
#define CLI_TEXTS(name, type, member) { name, CLI_TAKES_TEXTS, offsetof(type, member) }

enum cli_exit cli_options(const struct cli_command *c, const struct cli_option *table, void *args,
			  int *argc, char ***argv);

#endif
