/*
 * main.c - freshetd: options, start and stop
 *
 * One process, one thread, one event loop. SIGTERM and SIGINT finish what is
 * being sent and leave within a few seconds; SIGHUP reads the key and the fault file
 * again (site.conf, channels and images are read when they are needed).
 */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <event2/event.h>

#include "base/err.h"
#include "base/fmt.h"
#include "base/log.h"
#include "server/httpd.h"
#include "server/site.h"

#define LISTEN_DEFAULT "127.0.0.1:8080"
#define LISTEN_MAX 4
#define GRACE_S 5
#define FAULT_FILE_MAX (64 * KIB)

enum {
	OPT_DATA = 256,
	OPT_KEY,
	OPT_LISTEN,
	OPT_LOG_LEVEL,
	OPT_CHECK,
	OPT_CONNECTIONS,
	OPT_FAULT,
	OPT_FAULT_FILE,
	OPT_FAULT_SEED,
	OPT_HELP,
};

static const struct option options[] = {
	{ "data", required_argument, NULL, OPT_DATA },
	{ "key", required_argument, NULL, OPT_KEY },
	{ "listen", required_argument, NULL, OPT_LISTEN },
	{ "log-level", required_argument, NULL, OPT_LOG_LEVEL },
	{ "check-config", no_argument, NULL, OPT_CHECK },
	{ "max-connections", required_argument, NULL, OPT_CONNECTIONS },
	{ "fault", required_argument, NULL, OPT_FAULT },
	{ "fault-file", required_argument, NULL, OPT_FAULT_FILE },
	{ "fault-seed", required_argument, NULL, OPT_FAULT_SEED },
	{ "help", no_argument, NULL, OPT_HELP },
	{ 0 },
};

static const char help[] =
	"usage: freshetd --data DIR [OPTIONS]\n"
	"\n"
	"Serve a site's images, boot tickets and boot files to its PCs by HTTP.\n"
	"\n"
	"  --data DIR             the data folder that freshet image build made\n"
	"  --key FILE             the site's private key (default DIR/site.key)\n"
	"  --listen ADDRESS:PORT  may be given 4 times (default " LISTEN_DEFAULT ")\n"
	"  --max-connections N    (default 1024)\n"
	"  --log-level LEVEL      err, warn, info (default) or debug: a line per request\n"
	"  --check-config         check folder, key, settings and channel, then exit\n"
	"  --fault SPEC           misbehave, for tests; see freshetd(8)\n"
	"  --fault-file FILE      likewise, a SPEC per line, read again on SIGHUP\n"
	"  --fault-seed N         of the faults with a probability\n";

struct daemon {
	struct site site;
	struct httpd *httpd;
	struct event_base *base;
	struct event *grace;
	const char *data;
	const char *listen[LISTEN_MAX];
	u32 listens;
	struct httpd_limits limits;
	struct faults given; /* by --fault; those of the file come behind */
	const char *fault_file;
	char key_path[4096];
	bool check;
};

static int set_log_level(const char *text)
{
	static const char *const names[] = { "err", "warn", "info", "debug" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (!strcmp(text, names[i])) {
			log_level = (enum log_level)i;
			return 0;
		}
	return -EINVAL;
}

static int parse_number(const char *text, u64 max, u64 *out)
{
	char *end;

	errno = 0;
	*out = strtoull(text, &end, 10);
	return *text < '0' || *text > '9' || *end || errno || *out > max ? -EINVAL : 0;
}

static int usage(const char *what, const char *value)
{
	fprintf(stderr, "freshetd: %s%s%s; see freshetd --help\n", what, value ? ": " : "",
		value ? value : "");
	return 2;
}

/* 0 to go on, else the exit status. */
static int parse_options(struct daemon *d, int argc, char **argv)
{
	u64 n;
	int opt;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (opt) {
		case OPT_DATA:
			d->data = optarg;
			break;
		case OPT_KEY:
			d->site.key_path = optarg;
			break;
		case OPT_LISTEN:
			if (d->listens == LISTEN_MAX)
				return usage("too many addresses", NULL);
			d->listen[d->listens++] = optarg;
			break;
		case OPT_LOG_LEVEL:
			if (set_log_level(optarg))
				return usage("no such log level", optarg);
			break;
		case OPT_CHECK:
			d->check = true;
			break;
		case OPT_CONNECTIONS:
			if (parse_number(optarg, 100000, &n) || !n)
				return usage("not a number of connections", optarg);
			d->limits.connections = (u32)n;
			break;
		case OPT_FAULT:
			if (fault_add(&d->given, optarg))
				return usage("not a fault", optarg);
			break;
		case OPT_FAULT_FILE:
			d->fault_file = optarg;
			break;
		case OPT_FAULT_SEED:
			if (parse_number(optarg, UINT64_MAX, &d->given.random))
				return usage("not a seed", optarg);
			break;
		case OPT_HELP:
			fputs(help, stdout);
			exit(0);
		default:
			return 2;
		}
	}
	if (!d->data || optind != argc)
		return usage(d->data ? "unexpected argument" : "--data is needed",
			     d->data ? argv[optind] : NULL);
	if (!d->listens)
		d->listen[d->listens++] = LISTEN_DEFAULT;
	return 0;
}

/* The faults given, then those of the file; one with a bad line is not taken. */
static int load_faults(struct daemon *d)
{
	struct faults all = d->given;
	char line[256];
	FILE *f;

	if (d->fault_file) {
		f = fopen(d->fault_file, "re");
		if (!f) {
			log_err("freshetd: cannot read the fault file path=%s err=%s",
				d->fault_file, strerror(errno));
			return -errno;
		}
		while (fgets(line, sizeof(line), f)) {
			line[strcspn(line, "\n")] = 0;
			if (!line[0] || line[0] == '#')
				continue;
			if (fault_add(&all, line)) {
				log_err("freshetd: not a fault line=\"%s\"", line);
				fclose(f);
				return -EINVAL;
			}
		}
		fclose(f);
	}
	d->site.faults = all;
	if (all.count)
		log_warn("freshetd: misbehaving on purpose faults=%u", all.count);
	return 0;
}

static void on_grace_over(evutil_socket_t fd, short what, void *arg)
{
	struct daemon *d = arg;
	const struct timeval soon = { .tv_usec = 50000 };
	static int ticks;

	(void)fd;
	(void)what;
	if (!httpd_connections(d->httpd) || ++ticks >= GRACE_S * 20)
		event_base_loopbreak(d->base);
	else
		evtimer_add(d->grace, &soon);
}

static void on_stop(evutil_socket_t sig, short what, void *arg)
{
	struct daemon *d = arg;

	(void)what;
	log_info("freshetd: stopping signal=%d connections=%u", (int)sig,
		 httpd_connections(d->httpd));
	httpd_stop(d->httpd);
	on_grace_over(-1, 0, d);
}

static void on_reload(evutil_socket_t sig, short what, void *arg)
{
	struct daemon *d = arg;

	(void)sig;
	(void)what;
	if (!site_load_key(&d->site) && !load_faults(d))
		log_info("freshetd: read key and faults again");
	site_check(&d->site);
}

static int open_site(struct daemon *d)
{
	struct site *s = &d->site;
	int err = datadir_open(&s->dir, d->data, false);

	if (err) {
		log_err("freshetd: cannot open the data folder path=%s err=%s", d->data,
			err_name(err));
		return err;
	}
	if (!s->key_path) {
		fmt_snprintf(d->key_path, sizeof(d->key_path), "%s/site.key", d->data);
		s->key_path = d->key_path;
	}
	err = site_load_key(s);
	return err ? err : load_faults(d);
}

static int start(struct daemon *d)
{
	char path[4096];
	int err;

	fmt_snprintf(path, sizeof(path), "%s/fleet.db", d->data);
	err = fleet_open(&d->site.fleet, path);
	if (err)
		return err;
	d->base = event_base_new();
	err = d->base ? httpd_create(&d->httpd, d->base, &d->site, &d->limits) : -ENOMEM;
	for (u32 i = 0; !err && i < d->listens; i++) {
		err = httpd_listen(d->httpd, d->listen[i]);
		if (err)
			log_err("freshetd: cannot listen address=%s err=%s", d->listen[i],
				err == -EINVAL ? "not address:port" : strerror(-err));
	}
	return err;
}

static int run(struct daemon *d)
{
	struct event *term = evsignal_new(d->base, SIGTERM, on_stop, d);
	struct event *intr = evsignal_new(d->base, SIGINT, on_stop, d);
	struct event *hup = evsignal_new(d->base, SIGHUP, on_reload, d);
	int err = -ENOMEM;

	d->grace = evtimer_new(d->base, on_grace_over, d);
	if (term && intr && hup && d->grace) {
		evsignal_add(term, NULL);
		evsignal_add(intr, NULL);
		evsignal_add(hup, NULL);
		err = event_base_dispatch(d->base) < 0 ? -EIO : 0;
	}
	httpd_destroy(d->httpd);
	d->httpd = NULL;
	if (term)
		event_free(term);
	if (intr)
		event_free(intr);
	if (hup)
		event_free(hup);
	if (d->grace)
		event_free(d->grace);
	return err;
}

static void raise_file_limit(void)
{
	struct rlimit r;

	if (!getrlimit(RLIMIT_NOFILE, &r)) {
		r.rlim_cur = r.rlim_max;
		setrlimit(RLIMIT_NOFILE, &r);
	}
}

int main(int argc, char **argv)
{
	static struct daemon d;
	int ret;

	d.limits = httpd_limits_default;
	d.site.dir.fd = -1;
	setvbuf(stderr, NULL, _IOLBF, 0);
	ret = parse_options(&d, argc, argv);
	if (ret)
		return ret;
	signal(SIGPIPE, SIG_IGN);
	raise_file_limit();
	ret = open_site(&d);
	if (!ret) {
		ret = site_check(&d.site);
		if (d.check)
			printf("%s\n", ret ? "not in order" : "in order");
		else
			ret = start(&d);
		if (!ret && !d.check)
			ret = run(&d);
	}
	httpd_destroy(d.httpd);
	if (d.base)
		event_base_free(d.base);
	fleet_close(d.site.fleet);
	key_free(d.site.key);
	if (d.site.dir.fd >= 0)
		datadir_close(&d.site.dir);
	return ret ? 1 : 0;
}
