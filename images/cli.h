/*
 * cli.h - what freshet's commands share: the table, messages, arguments, progress
 */
#ifndef IMAGES_CLI_H
#define IMAGES_CLI_H

#include <stdio.h>

#include "base/crypto_sign.h"
#include "base/types.h"
#include "server/data/datadir.h"

/* What a command returns, and with it the program. */
enum cli_exit {
	CLI_OK = 0,
	CLI_FAILED = 1, /* the work could not be done, or a check found something */
	CLI_USAGE = 2,	/* the command line is wrong; nothing was touched */
};

struct cli_command {
	const char *group, *verb; /* verb NULL: the group is the whole command */
	const char *args;    /* after the name, in the usage line */
	const char *summary; /* one line */
	const char *help;    /* options, one per line */
	enum cli_exit (*run)(const struct cli_command *c, int argc, char **argv);
};

extern const struct cli_command cmd_key_new, cmd_key_show;
extern const struct cli_command cmd_image_build, cmd_image_verify, cmd_image_ls, cmd_image_export;
extern const struct cli_command cmd_image_show, cmd_image_diff, cmd_image_mount, cmd_image_rm;
extern const struct cli_command cmd_gc, cmd_push, cmd_pull, cmd_cost, cmd_doctor;
extern const struct cli_command cmd_channel_set, cmd_channel_show, cmd_channel_ls;
extern const struct cli_command cmd_boot_build, cmd_boot_dnsmasq;
extern const struct cli_command cmd_site_set, cmd_site_show;
extern const struct cli_command cmd_store_check, cmd_store_dump, cmd_store_repair;
extern const struct cli_command cmd_machine_ls, cmd_machine_show, cmd_machine_set;
extern const struct cli_command cmd_machine_approve, cmd_machine_reset, cmd_machine_update;
extern const struct cli_command cmd_machine_wake, cmd_machine_forget;
extern const struct cli_command cmd_group_ls, cmd_group_set, cmd_group_rm;
extern const struct cli_command cmd_rule_ls, cmd_rule_add, cmd_rule_rm;
extern const struct cli_command cmd_rollout_start, cmd_rollout_ls, cmd_rollout_promote;
extern const struct cli_command cmd_rollout_cancel, cmd_rollback;
extern const struct cli_command cmd_token_ls, cmd_token_add, cmd_token_rm;
extern const struct cli_command cmd_status, cmd_audit, cmd_log, cmd_swarm;

enum cli_exit image_ls_remote(const struct cli_command *c, int argc, char **argv);

void cli_error(const char *fmt, ...) __printf_like(1, 2);
enum cli_exit cli_usage(const struct cli_command *c, const char *fmt, ...) __printf_like(2, 3);
enum cli_exit cli_help(const struct cli_command *c);

int cli_u64(const char *text, u64 *out);
int cli_size(const char *text, u64 *out);
const char *cli_hex(char out[DIGEST_HEX + 1], const u8 digest[SHA256_BYTES]);
void cli_json_text(FILE *f, const char *text);

void cli_be_owner(const struct datadir *d);
void cli_be_self(void);
int cli_make_data(struct datadir *d, const char *path);
int cli_open_data(struct datadir *d, const char *path, bool write);
int cli_private_key(struct crypto_key **out, const char *path, const char *data);
int cli_public_key(u8 pub[P256_PUB_BYTES], const char *path, const char *data);
int cli_version(const struct datadir *d, const char *text, const u8 pub[P256_PUB_BYTES],
		u8 version[SHA256_BYTES]);

struct cli_progress {
	const char *what;
	u64 total; /* bytes */
	u64 start_ns, last_ns;
	int last_tenth;
	bool tty, quiet;
	bool counts; /* of things, not bytes; each stands for a MiB in @total */
};

void cli_progress_start(struct cli_progress *p, const char *what, u64 total, bool quiet);
void cli_progress_at(struct cli_progress *p, u64 done);
void cli_progress_end(struct cli_progress *p);

#endif
