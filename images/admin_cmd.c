/*
 * admin_cmd.c - freshet machine, group, rule, rollout, rollback, token, status, log, audit, cost
 *
 * Each is a call of the server's API and a table of what came back. A machine is
 * called by its number, its name, its UUID or the beginning of that, its disk or
 * its address; more than one fits only where the command says so.
 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/err.h"
#include "base/fmt.h"
#include "images/remote.h"

struct args {
	struct remote_args remote;
	const char *canary, *at, *after, *note, *group, *days, *count;
	bool follow;
	int n; /* other arguments */
	char **rest;
	struct remote *r;
};

static const struct cli_option options[] = {
	REMOTE_OPTIONS(struct args, remote),
	CLI_TEXT("canary", struct args, canary),
	CLI_TEXT("at", struct args, at),
	CLI_TEXT("promote-after", struct args, after),
	CLI_TEXT("note", struct args, note),
	CLI_TEXT("days", struct args, days),
	CLI_TEXT("group", struct args, group),
	CLI_FLAG("follow", struct args, follow),
	CLI_TEXT("count", struct args, count),
	{ 0 },
};

/* @least to @most other arguments; opens the server. */
static enum cli_exit begin(const struct cli_command *c, struct args *a, int argc, char **argv,
			   int least, int most)
{
	*a = (struct args){ 0 };
	if (cli_options(c, options, a, &argc, &argv))
		return CLI_USAGE;
	a->n = argc;
	a->rest = argv;
	if (a->n < least || a->n > most)
		return cli_usage(c, NULL);
	return remote_open(&a->r, &a->remote) ? CLI_FAILED : CLI_OK;
}

/* Printed as it came with --json; takes @o. */
static enum cli_exit end(struct args *a, json_t *o, long status, void (*print)(const json_t *o))
{
	enum cli_exit ret = CLI_FAILED;

	if (o && !remote_say(o, status)) {
		ret = CLI_OK;
		if (a->remote.json) {
			json_dumpf(o, stdout, JSON_INDENT(2));
			putchar('\n');
		} else if (print) {
			print(o);
		}
	}
	json_decref(o);
	remote_close(a->r);
	return ret;
}

/* ---------------------------------------------------------------- tables */

static const char *text_of(const json_t *o, const char *key, const char *otherwise)
{
	const json_t *v = json_object_get(o, key);
	static char room[4][32];
	static int turn;

	if (json_is_string(v) && json_string_length(v))
		return json_string_value(v);
	turn = (turn + 1) % 4;
	if (json_is_integer(v))
		snprintf(room[turn], sizeof(room[turn]), "%lld", (long long)json_integer_value(v));
	else if (json_is_real(v))
		snprintf(room[turn], sizeof(room[turn]), "%.1f", json_real_value(v));
	else
		return otherwise;
	return room[turn];
}

/* So that what a machine told cannot steer the terminal. */
static const char *safe(const char *text)
{
	static char room[4][256];
	static int turn;
	char *out = room[turn = (turn + 1) % 4];
	size_t n = 0;

	for (; *text && n < sizeof(room[0]) - 1; text++)
		out[n++] = (u8)*text < 0x20 || *text == 0x7f ? '?' : *text;
	out[n] = 0;
	return out;
}

static const char *time_of(const json_t *o, const char *key)
{
	static char room[2][32];
	static int turn;
	time_t t = (time_t)json_integer_value(json_object_get(o, key));
	struct tm tm;

	turn = !turn;
	if (!t || !localtime_r(&t, &tm))
		return "-";
	strftime(room[turn], sizeof(room[turn]), "%Y-%m-%d %H:%M:%S", &tm);
	return room[turn];
}

static void print_machines(const json_t *all)
{
	const json_t *m;
	size_t i;

	printf("%-5s %-16s %-10s %-10s %5s  %-12s %-19s %s\n", "id", "name", "group", "state", "%",
	       "version", "last seen", "address");
	json_array_foreach(all, i, m) {
		const char *name = text_of(m, "name", NULL);
		bool waits = !json_is_true(json_object_get(m, "approved"));

		printf("%-5s %-16.36s %-10s %-10s %5s  %-12.12s %-19s %s\n",
		       text_of(m, "id", "?"), safe(name ? name : text_of(m, "uuid", "?")),
		       safe(text_of(m, "group", "")), waits ? "pending" :
		       safe(text_of(m, "state", "-")), text_of(m, "percent", "-"),
		       safe(text_of(m, "version", "-")), time_of(m, "last_seen"),
		       safe(text_of(m, "address", "")));
	}
}

static void print_object(const json_t *o)
{
	const char *key;
	json_t *v;

	json_object_foreach((json_t *)o, key, v) {
		size_t n = strlen(key);

		if (json_is_object(v) || json_is_array(v)) {
			char *text = json_dumps(v, JSON_INDENT(2));

			printf("%-16s %s\n", key, text);
			free(text);
		} else if (json_is_boolean(v)) {
			printf("%-16s %s\n", key, json_is_true(v) ? "yes" : "no");
		} else if (json_is_integer(v) &&
			   (!strcmp(key, "booted") || !strcmp(key, "reported") ||
			    !strcmp(key, "time") || (n > 5 && !strcmp(key + n - 5, "_seen")))) {
			printf("%-16s %s\n", key, time_of(o, key));
		} else {
			printf("%-16s %s\n", key, safe(text_of(o, key, "-")));
		}
	}
}

static void print_groups(const json_t *all)
{
	const json_t *g;
	size_t i;

	printf("%-16s %8s %8s %8s  %-16s %-7s %-16s %-5s %s\n", "group", "machines", "complete",
	       "trouble", "channel", "policy", "claim", "fill", "note");
	json_array_foreach(all, i, g)
		printf("%-16s %8s %8s %8s  %-16s %-7s %-16s %-5s %s\n",
		       safe(text_of(g, "name", "")), text_of(g, "machines", "0"),
		       text_of(g, "complete", "0"), text_of(g, "trouble", "0"),
		       text_of(g, "channel", "-"), text_of(g, "policy", "-"),
		       safe(text_of(g, "claim", "-")), text_of(g, "fill", "-"),
		       safe(text_of(g, "note", "")));
}

static void print_rules(const json_t *all)
{
	const json_t *r;
	size_t i;

	json_array_foreach(all, i, r)
		printf("%-5s %-8s %-24s -> %s\n", text_of(r, "id", "?"), text_of(r, "field", ""),
		       safe(text_of(r, "pattern", "")), safe(text_of(r, "group", "")));
}

static void print_rollout(const json_t *o)
{
	printf("%-5s %-16s %.12s  %-10s canary %s: %s of %s ready, %s in trouble; %s by %s\n",
	       text_of(o, "id", "?"), text_of(o, "channel", ""), text_of(o, "version", ""),
	       text_of(o, "state", ""), text_of(o, "canary", "-"), text_of(o, "canary_ready", "0"),
	       text_of(o, "canary_machines", "0"), text_of(o, "canary_trouble", "0"),
	       time_of(o, "start_at"), safe(text_of(o, "who", "")));
}

static void print_rollouts(const json_t *all)
{
	const json_t *o;
	size_t i;

	json_array_foreach(all, i, o)
		print_rollout(o);
}

static void print_channel(const json_t *o)
{
	printf("%-20s serial %-6s %s%s\n", text_of(o, "name", ""), text_of(o, "serial", "?"),
	       text_of(o, "version", "-"),
	       json_object_get(o, "cancelled") ? "  (the roll-out was cancelled)" : "");
}

static void print_channels(const json_t *all)
{
	const json_t *o;
	size_t i;

	json_array_foreach(all, i, o)
		print_channel(o);
}

static void print_tokens(const json_t *all)
{
	const json_t *t;
	size_t i;

	json_array_foreach(all, i, t)
		printf("%-24s %-9s made %s  used %s  ends %s\n", text_of(t, "name", ""),
		       text_of(t, "role", ""), time_of(t, "created"), time_of(t, "last_used"),
		       time_of(t, "expires"));
}

static void print_token(const json_t *o)
{
	printf("%s\n", text_of(o, "token", ""));
}

static void print_log(const json_t *all)
{
	for (size_t i = json_array_size(all); i > 0; i--) {
		const json_t *e = json_array_get(all, i - 1);

		printf("%s  %-8s %-6s %s\n", time_of(e, "time"), text_of(e, "kind", ""),
		       text_of(e, "machine", ""), safe(text_of(e, "text", "")));
	}
}

static void print_audit(const json_t *all)
{
	for (size_t i = json_array_size(all); i > 0; i--) {
		const json_t *e = json_array_get(all, i - 1);

		printf("%s  %-12s %-16s %-18s %s %s\n", time_of(e, "time"), text_of(e, "who", ""),
		       text_of(e, "address", ""), text_of(e, "action", ""),
		       safe(text_of(e, "target", "")), safe(text_of(e, "detail", "")));
	}
}

static void print_size(const char *what, const json_t *v)
{
	double n = (double)json_integer_value(v);

	printf("%-22s %.1f MiB\n", what, n / MIB);
}

static void print_cost(const json_t *o)
{
	const json_t *row;
	size_t i;

	printf("%-22s %s, %s %s\n", "version", text_of(o, "version", ""), text_of(o, "name", ""),
	       text_of(o, "label", ""));
	print_size("image", json_object_get(o, "image_bytes"));
	print_size("stored", json_object_get(o, "stored_bytes"));
	json_array_foreach(json_object_get(o, "from"), i, row)
		printf("from %-17.12s %s machines, each %.1f MiB\n",
		       text_of(row, "version", "nothing"), text_of(row, "machines", "0"),
		       (double)json_integer_value(json_object_get(row, "bytes_per_machine")) / MIB);
	printf("%-22s %s machines\n", "all together", text_of(o, "machines", "0"));
	print_size("over the line", json_object_get(o, "total_bytes"));
	printf("%-22s %.0f s\n", "at 1 Gbit/s",
	       (double)json_integer_value(json_object_get(o, "total_bytes")) * 8 / 1e9 / 0.95);
}

/* ---------------------------------------------------------------- machines */

/* Percent-escaped, for a query. */
static void escape(char *out, size_t room, const char *text)
{
	size_t n = 0;

	for (; *text && n + 4 < room; text++)
		n += (size_t)snprintf(out + n, room - n, isalnum((u8)*text) ? "%c" : "%%%02X",
				      (u8)*text);
	out[n] = 0;
}

static json_t *find_machines(struct args *a, const char *match, long *status)
{
	char path[400] = "/api/v1/machines", word[300];

	if (match) {
		escape(word, sizeof(word), match);
		fmt_snprintf(path, sizeof(path), "/api/v1/machines?match=%s", word);
	}
	return remote_call(a->r, "GET", path, NULL, status);
}

static int one_machine(struct args *a, const char *match, long long *id)
{
	long status;
	json_t *all = find_machines(a, match, &status);
	int err = all ? remote_say(all, status) : -EIO;

	if (!err && json_array_size(all) != 1) {
		if (json_array_size(all))
			cli_error("%s: %zu machines are called so; use the number", match,
				  json_array_size(all));
		else
			cli_error("%s: no such machine", match);
		err = -ENOENT;
	}
	if (!err)
		*id = json_integer_value(json_object_get(json_array_get(all, 0), "id"));
	json_decref(all);
	return err;
}

static enum cli_exit machine_ls(const struct cli_command *c, int argc, char **argv)
{
	struct args a;
	enum cli_exit ret = begin(c, &a, argc, argv, 0, 1);
	long status;
	json_t *o;

	if (ret)
		return ret;
	o = find_machines(&a, a.n ? a.rest[0] : NULL, &status);
	return end(&a, o, status, print_machines);
}

static enum cli_exit machine_show(const struct cli_command *c, int argc, char **argv)
{
	struct args a;
	enum cli_exit ret = begin(c, &a, argc, argv, 1, 1);
	json_t *o = NULL;
	char path[64];
	long long id;
	long status = 0;

	if (ret)
		return ret;
	if (!one_machine(&a, a.rest[0], &id)) {
		fmt_snprintf(path, sizeof(path), "/api/v1/machines/%lld", id);
		o = remote_call(a.r, "GET", path, NULL, &status);
	}
	return end(&a, o, status, print_object);
}

/* The same call for every machine named; "all of GROUP" is its name. */
static enum cli_exit for_machines(struct args *a, const char *method, const char *what,
				  json_t *body)
{
	enum cli_exit ret = CLI_OK;

	for (int i = 0; i < a->n; i++) {
		long status;
		json_t *all = find_machines(a, a->rest[i], &status), *m, *o;
		size_t k;

		if (!all || remote_say(all, status))
			ret = CLI_FAILED;
		if (all && !json_array_size(all)) {
			cli_error("%s: no such machine", a->rest[i]);
			ret = CLI_FAILED;
		}
		json_array_foreach(all, k, m) {
			char path[96];

			fmt_snprintf(path, sizeof(path), "/api/v1/machines/%lld%s",
				     (long long)json_integer_value(json_object_get(m, "id")),
				     what);
			o = remote_call(a->r, method, path, json_incref(body), &status);
			if (!o || remote_say(o, status))
				ret = CLI_FAILED;
			json_decref(o);
		}
		json_decref(all);
	}
	json_decref(body);
	remote_close(a->r);
	return ret;
}

static enum cli_exit machine_do(const struct cli_command *c, int argc, char **argv)
{
	bool forget = !strcmp(c->verb, "forget");
	struct args a;
	enum cli_exit ret = begin(c, &a, argc, argv, 1, 100000);
	char what[24];

	if (ret)
		return ret;
	fmt_snprintf(what, sizeof(what), "/%s", c->verb);
	return for_machines(&a, forget ? "DELETE" : "POST", forget ? "" : what,
			    forget ? NULL : json_object());
}

/* "-" is null: what the group says. Numbers and yes/no where the API wants them. */
static json_t *setting(const char *key, const char *value)
{
	json_t *v;
	u64 n;

	if (!strcmp(value, "-"))
		v = json_null();
	else if (!strcmp(key, "fill_limit") && !cli_u64(value, &n))
		v = json_integer((json_int_t)n);
	else if (!strcmp(key, "approved") || !strcmp(key, "reset_once"))
		v = json_boolean(!strcmp(value, "yes") || !strcmp(value, "on"));
	else
		v = json_string(value);
	return json_pack("{s:o}", key, v);
}

static enum cli_exit machine_set(const struct cli_command *c, int argc, char **argv)
{
	char hex[DIGEST_HEX + 1];
	struct args a;
	enum cli_exit ret = begin(c, &a, argc, argv, 3, 100000);
	const char *key, *value;

	if (ret)
		return ret;
	a.n -= 2;
	key = a.rest[a.n];
	value = a.rest[a.n + 1];
	if (!strcmp(key, "pinned") && strcmp(value, "-")) {
		if (remote_version(a.r, value, hex)) {
			remote_close(a.r);
			return CLI_FAILED;
		}
		value = hex;
	}
	return for_machines(&a, "PATCH", "", setting(key, value));
}

#define MACHINES_HELP                                                                              \
	REMOTE_HELP "\nA machine is its number, name, UUID (or four of its first digits), disk or" \
		    "\naddress; a group's name means all of its machines.\n"

const struct cli_command cmd_machine_ls = {
	.group = "machine", .verb = "ls", .args = "[OPTIONS] [MATCH]",
	.summary = "list machines: all, or those of a group, a state, \"pending\", ...",
	.help = REMOTE_HELP, .run = machine_ls,
};
const struct cli_command cmd_machine_show = {
	.group = "machine", .verb = "show", .args = "[OPTIONS] MACHINE",
	.summary = "everything about a machine, with its last report",
	.help = MACHINES_HELP, .run = machine_show,
};
const struct cli_command cmd_machine_set = {
	.group = "machine", .verb = "set", .args = "[OPTIONS] MACHINE... KEY VALUE",
	.summary = "name, group, note, channel, policy, claim, fill, fill_limit, frontend, nic, "
		   "pinned",
	.help = MACHINES_HELP "VALUE - takes a setting back to what the group says. claim "
			      "serial:S lets the\nmachine take that disk, whatever is on it. "
			      "pinned VERSION keeps it at a version.\n", .run = machine_set,
};
const struct cli_command cmd_machine_approve = {
	.group = "machine", .verb = "approve", .args = "[OPTIONS] MACHINE...",
	.summary = "let new machines boot", .help = MACHINES_HELP, .run = machine_do,
};
const struct cli_command cmd_machine_reset = {
	.group = "machine", .verb = "reset", .args = "[OPTIONS] MACHINE...",
	.summary = "at the next boot, forget what the guest wrote",
	.help = MACHINES_HELP, .run = machine_do,
};
const struct cli_command cmd_machine_update = {
	.group = "machine", .verb = "update", .args = "[OPTIONS] MACHINE...",
	.summary = "take back a pin: at the next boot follow the channel",
	.help = MACHINES_HELP, .run = machine_do,
};
const struct cli_command cmd_machine_wake = {
	.group = "machine", .verb = "wake", .args = "[OPTIONS] MACHINE...",
	.summary = "switch machines on (Wake-on-LAN, sent by the server)",
	.help = MACHINES_HELP, .run = machine_do,
};
const struct cli_command cmd_machine_forget = {
	.group = "machine", .verb = "forget", .args = "[OPTIONS] MACHINE...",
	.summary = "as if they had never asked", .help = MACHINES_HELP, .run = machine_do,
};

/* ---------------------------------------------------------------- the rest: one call each */

static enum cli_exit call(struct args *a, const char *method, const char *path, json_t *body,
			  void (*print)(const json_t *o))
{
	long status = 0;
	json_t *o = remote_call(a->r, method, path, body, &status);

	return end(a, o, status, print);
}

static enum cli_exit simple_ls(const struct cli_command *c, int argc, char **argv)
{
	static const struct {
		const char *group, *path;
		void (*print)(const json_t *o);
	} lists[] = {
		{ "group", "/api/v1/groups", print_groups },
		{ "rule", "/api/v1/rules", print_rules },
		{ "rollout", "/api/v1/rollouts", print_rollouts },
		{ "channel", "/api/v1/channels", print_channels },
		{ "token", "/api/v1/tokens", print_tokens },
		{ "status", "/api/v1/status", print_object },
		{ "audit", "/api/v1/audit", print_audit },
	};
	struct args a;
	enum cli_exit ret = begin(c, &a, argc, argv, 0, 0);

	if (ret)
		return ret;
	for (size_t i = 0; i < ARRAY_SIZE(lists); i++)
		if (!strcmp(lists[i].group, c->group))
			return call(&a, "GET", lists[i].path, NULL, lists[i].print);
	return CLI_FAILED;
}

static void print_versions(const json_t *all)
{
	const json_t *v, *name;
	size_t i, k;

	json_array_foreach(all, i, v) {
		printf("%s  %s  %-16s %7llu MiB  %3s PCs  %s", text_of(v, "version", ""),
		       time_of(v, "created"), text_of(v, "name", ""),
		       (unsigned long long)json_integer_value(json_object_get(v, "image_bytes")) /
			       MIB,
		       text_of(v, "machines", "0"), safe(text_of(v, "label", "")));
		json_array_foreach(json_object_get(v, "channels"), k, name)
			printf("  [%s]", json_string_value(name));
		putchar('\n');
	}
}

/** image_ls_remote() - freshet image ls without a folder */
enum cli_exit image_ls_remote(const struct cli_command *c, int argc, char **argv)
{
	struct args a;
	enum cli_exit ret = begin(c, &a, argc, argv, 0, 0);

	return ret ? ret : call(&a, "GET", "/api/v1/versions", NULL, print_versions);
}

/* A name that goes into a path: the server's own rules are stricter than this. */
static bool path_word(const char *word)
{
	return *word && strlen(word) < 64 && !strpbrk(word, "/?#% ");
}

static enum cli_exit simple_rm(const struct cli_command *c, int argc, char **argv)
{
	struct args a;
	enum cli_exit ret = begin(c, &a, argc, argv, 1, 1);
	char path[128];

	if (ret)
		return ret;
	if (!path_word(a.rest[0])) {
		remote_close(a.r);
		return cli_usage(c, "\"%s\" cannot be a name", a.rest[0]);
	}
	fmt_snprintf(path, sizeof(path), "/api/v1/%ss/%s", c->group, a.rest[0]);
	return call(&a, "DELETE", path, NULL, NULL);
}

static enum cli_exit group_set(const struct cli_command *c, int argc, char **argv)
{
	struct args a;
	enum cli_exit ret = begin(c, &a, argc, argv, 1, 3);
	char path[128];

	if (ret)
		return ret;
	if (!path_word(a.rest[0]) || a.n == 2) {
		remote_close(a.r);
		return cli_usage(c, NULL);
	}
	fmt_snprintf(path, sizeof(path), "/api/v1/groups/%s", a.rest[0]);
	return call(&a, "PUT", path, a.n == 3 ? setting(a.rest[1], a.rest[2]) : json_object(),
		    NULL);
}

static enum cli_exit rule_add(const struct cli_command *c, int argc, char **argv)
{
	struct args a;
	enum cli_exit ret = begin(c, &a, argc, argv, 3, 3);

	return ret ? ret : call(&a, "POST", "/api/v1/rules",
				json_pack("{s:s,s:s,s:s}", "field", a.rest[0], "pattern",
					  a.rest[1], "group", a.rest[2]), print_rules);
}

static enum cli_exit token_add(const struct cli_command *c, int argc, char **argv)
{
	struct args a;
	enum cli_exit ret = begin(c, &a, argc, argv, 2, 2);
	json_t *o;
	u64 days;

	if (ret)
		return ret;
	o = json_pack("{s:s,s:s}", "name", a.rest[0], "role", a.rest[1]);
	if (a.days && !cli_u64(a.days, &days))
		json_object_set_new(o, "days", json_integer((json_int_t)days));
	return call(&a, "POST", "/api/v1/tokens", o, print_token);
}

/* "now", "+2h", "22:30" (the next one), "2026-11-23 02:00"; local time. */
static int parse_time(const char *text, long long *out)
{
	time_t now = time(NULL);
	struct tm tm;
	char *end;

	if (!localtime_r(&now, &tm))
		return -EINVAL;
	tm.tm_sec = 0;
	tm.tm_isdst = -1;
	if (!strcmp(text, "now")) {
		*out = now;
		return 0;
	}
	end = strptime(text, "%Y-%m-%d %H:%M", &tm);
	if (!end)
		end = strptime(text, "%Y-%m-%dT%H:%M", &tm);
	if (end && !*end) {
		*out = mktime(&tm);
		return 0;
	}
	localtime_r(&now, &tm);
	tm.tm_sec = 0;
	end = strptime(text, "%H:%M", &tm);
	if (!end || *end)
		return -EINVAL;
	*out = mktime(&tm);
	if (*out <= now)
		*out += 86400;
	return 0;
}

/* "90s", "30m", "2h", "1d" */
static int parse_span(const char *text, long long *seconds)
{
	static const char units[] = "smhd";
	static const int factors[] = { 1, 60, 3600, 86400 };
	char number[16];
	size_t n = strlen(text);
	const char *unit = n ? strchr(units, text[n - 1]) : NULL;
	u64 v;

	if (!unit || n < 2 || n >= sizeof(number))
		return -EINVAL;
	memcpy(number, text, n - 1);
	number[n - 1] = 0;
	if (cli_u64(number, &v) || v > 1000000)
		return -EINVAL;
	*seconds = (long long)v * factors[unit - units];
	return 0;
}

static enum cli_exit rollout_start(const struct cli_command *c, int argc, char **argv)
{
	char hex[DIGEST_HEX + 1];
	long long at = 0, after = 0;
	struct args a;
	enum cli_exit ret = begin(c, &a, argc, argv, 2, 2);
	json_t *o;

	if (ret)
		return ret;
	if (a.at && (a.at[0] == '+' ? parse_span(a.at + 1, &at) : parse_time(a.at, &at)))
		ret = cli_usage(c, "--at is now, +2h, 22:30 or \"2026-11-23 02:00\"");
	if (!ret && a.after && parse_span(a.after, &after))
		ret = cli_usage(c, "--promote-after is a time span: 30m, 2h, 1d");
	if (!ret && remote_version(a.r, a.rest[1], hex))
		ret = CLI_FAILED;
	if (ret) {
		remote_close(a.r);
		return ret;
	}
	o = json_pack("{s:s,s:s}", "channel", a.rest[0], "version", hex);
	if (a.canary)
		json_object_set_new(o, "canary", json_string(a.canary));
	if (a.at)
		json_object_set_new(o, "start_at",
				    json_integer(a.at[0] == '+' ? time(NULL) + at : at));
	if (a.after)
		json_object_set_new(o, "promote_after", json_integer(after));
	if (a.note)
		json_object_set_new(o, "note", json_string(a.note));
	return call(&a, "POST", "/api/v1/rollouts", o, print_rollout);
}

static enum cli_exit rollout_do(const struct cli_command *c, int argc, char **argv)
{
	bool promote = !strcmp(c->verb, "promote");
	struct args a;
	enum cli_exit ret = begin(c, &a, argc, argv, 1, 1);
	char path[128];

	if (ret)
		return ret;
	if (!path_word(a.rest[0])) {
		remote_close(a.r);
		return cli_usage(c, NULL);
	}
	fmt_snprintf(path, sizeof(path), "/api/v1/rollouts/%s/%s", a.rest[0], c->verb);
	return call(&a, "POST", path, json_object(), promote ? print_channel : print_rollout);
}

static enum cli_exit rollback(const struct cli_command *c, int argc, char **argv)
{
	struct args a;
	enum cli_exit ret = begin(c, &a, argc, argv, 1, 1);

	return ret ? ret : call(&a, "POST", "/api/v1/rollback",
				json_pack("{s:s}", "channel", a.rest[0]), print_channel);
}

static enum cli_exit cost(const struct cli_command *c, int argc, char **argv)
{
	char hex[DIGEST_HEX + 1], path[400], group[200] = "";
	struct args a;
	enum cli_exit ret = begin(c, &a, argc, argv, 1, 1);

	if (ret)
		return ret;
	if (remote_version(a.r, a.rest[0], hex)) {
		remote_close(a.r);
		return CLI_FAILED;
	}
	if (a.group)
		escape(group, sizeof(group), a.group);
	fmt_snprintf(path, sizeof(path), "/api/v1/versions/%s%s%s", hex, a.group ? "?group=" : "",
		     group);
	return call(&a, "GET", path, NULL, print_cost);
}

/* ---------------------------------------------------------------- log */

struct follow {
	char kind[32];
};

static void follow_line(void *arg, const char *text)
{
	struct follow *f = arg;
	json_t *o, *all;

	if (!strncmp(text, "event: ", 7))
		fmt_snprintf(f->kind, sizeof(f->kind), "%s", text + 7);
	if (strncmp(text, "data: ", 6) || strcmp(f->kind, "event"))
		return;
	o = json_loads(text + 6, 0, NULL);
	all = json_array();
	if (o)
		json_array_append_new(all, o);
	print_log(all);
	fflush(stdout);
	json_decref(all);
}

static enum cli_exit show_log(const struct cli_command *c, int argc, char **argv)
{
	struct follow f = { "" };
	char path[64];
	struct args a;
	enum cli_exit ret = begin(c, &a, argc, argv, 0, 0);
	u64 count = 50;

	if (ret)
		return ret;
	if (a.count && cli_u64(a.count, &count)) {
		remote_close(a.r);
		return cli_usage(c, "--count is a number");
	}
	if (a.follow) {
		int err = remote_follow(a.r, "/api/v1/events", follow_line, &f);

		remote_close(a.r);
		return err ? CLI_FAILED : CLI_OK;
	}
	fmt_snprintf(path, sizeof(path), "/api/v1/log?count=%llu", (unsigned long long)count);
	return call(&a, "GET", path, NULL, print_log);
}

const struct cli_command cmd_group_ls = {
	.group = "group", .verb = "ls", .args = "[OPTIONS]", .summary = "list groups",
	.help = REMOTE_HELP, .run = simple_ls,
};
const struct cli_command cmd_group_set = {
	.group = "group", .verb = "set", .args = "[OPTIONS] GROUP [KEY VALUE]",
	.summary = "make a group, or change a setting of it",
	.help = REMOTE_HELP "\nKEY is channel, policy, claim, fill, fill_limit, frontend, nic, "
			    "note, or\nfill_window (22:00-06:00: when the rest of an image "
			    "may be copied). VALUE - takes a setting back.\n", .run = group_set,
};
const struct cli_command cmd_group_rm = {
	.group = "group", .verb = "rm", .args = "[OPTIONS] GROUP",
	.summary = "remove a group; its machines go to the default group",
	.help = REMOTE_HELP, .run = simple_rm,
};
const struct cli_command cmd_rule_ls = {
	.group = "rule", .verb = "ls", .args = "[OPTIONS]",
	.summary = "list the rules by which new machines are approved",
	.help = REMOTE_HELP, .run = simple_ls,
};
const struct cli_command cmd_rule_add = {
	.group = "rule", .verb = "add", .args = "[OPTIONS] FIELD PATTERN GROUP",
	.summary = "approve new machines whose FIELD fits PATTERN, into GROUP",
	.help = REMOTE_HELP "\nFIELD is mac, address, uuid or disk; PATTERN has * and ?. The first "
			    "rule that fits counts.\nExample: freshet rule add address '10.0.3.*' "
			    "lab3\n", .run = rule_add,
};
const struct cli_command cmd_rule_rm = {
	.group = "rule", .verb = "rm", .args = "[OPTIONS] NUMBER", .summary = "remove a rule",
	.help = REMOTE_HELP, .run = simple_rm,
};
const struct cli_command cmd_channel_ls = {
	.group = "channel", .verb = "ls", .args = "[OPTIONS]",
	.summary = "list the server's channels",
	.help = REMOTE_HELP, .run = simple_ls,
};
const struct cli_command cmd_rollout_ls = {
	.group = "rollout", .verb = "ls", .args = "[OPTIONS]", .summary = "list roll-outs",
	.help = REMOTE_HELP, .run = simple_ls,
};
const struct cli_command cmd_rollout_start = {
	.group = "rollout", .verb = "start", .args = "[OPTIONS] CHANNEL VERSION",
	.summary = "bring a version to a channel: to a canary group first, at a time",
	.help = "  --canary GROUP     these machines get it first\n"
		"  --promote-after T  then all of the channel, after 30m, 2h, 1d without trouble\n"
		"                     (default: when somebody says so)\n"
		"  --at TIME          begin then: +2h, 22:30, \"2026-11-23 02:00\" (default: now)\n"
		"  --note TEXT        for people\n" REMOTE_HELP, .run = rollout_start,
};
const struct cli_command cmd_rollout_promote = {
	.group = "rollout", .verb = "promote", .args = "[OPTIONS] NUMBER",
	.summary = "to all machines of the channel, now",
	.help = REMOTE_HELP, .run = rollout_do,
};
const struct cli_command cmd_rollout_cancel = {
	.group = "rollout", .verb = "cancel", .args = "[OPTIONS] NUMBER",
	.summary = "end it; the canaries get the channel's version again",
	.help = REMOTE_HELP, .run = rollout_do,
};
const struct cli_command cmd_rollback = {
	.group = "rollback", .args = "[OPTIONS] CHANNEL",
	.summary = "take back what was rolled out last",
	.help = REMOTE_HELP "\nCancels the channel's roll-out if one is under way; else the "
			    "channel points again at\nwhat it pointed at before. Twice goes "
			    "back two steps.\n",
	.run = rollback,
};
const struct cli_command cmd_token_ls = {
	.group = "token", .verb = "ls", .args = "[OPTIONS]", .summary = "list tokens",
	.help = REMOTE_HELP, .run = simple_ls,
};
const struct cli_command cmd_token_add = {
	.group = "token", .verb = "add", .args = "[OPTIONS] NAME ROLE",
	.summary = "make a token and print it; ROLE is reader, operator or admin",
	.help = "  --days N       it ends after N days\n" REMOTE_HELP, .run = token_add,
};
const struct cli_command cmd_token_rm = {
	.group = "token", .verb = "rm", .args = "[OPTIONS] NAME", .summary = "remove a token",
	.help = REMOTE_HELP, .run = simple_rm,
};
const struct cli_command cmd_status = {
	.group = "status", .args = "[OPTIONS]", .summary = "the server's state, and who you are",
	.help = REMOTE_HELP, .run = simple_ls,
};
const struct cli_command cmd_audit = {
	.group = "audit", .args = "[OPTIONS]", .summary = "who changed what",
	.help = REMOTE_HELP, .run = simple_ls,
};
const struct cli_command cmd_log = {
	.group = "log", .args = "[OPTIONS]",
	.summary = "what happened; with --follow, as it happens",
	.help = "  --follow       go on until interrupted\n"
		"  --count N      the last N (default 50)\n" REMOTE_HELP, .run = show_log,
};
const struct cli_command cmd_cost = {
	.group = "cost", .args = "[OPTIONS] VERSION",
	.summary = "what a version would cost each machine and the line, before rolling it out",
	.help = "  --group G      of these machines (default: all)\n" REMOTE_HELP, .run = cost,
};
