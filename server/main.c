/*
 * main.c - freshetd: options, start and stop
 *
 * One process, one event loop, a few threads beside it for slow work (jobs.c).
 * SIGTERM and SIGINT finish what is being sent and leave within a few seconds; SIGHUP
 * reads the key, the certificate and the fault file again (site.conf, channels and
 * images are read when they are needed).
 *
 * Timers: four times a second what machines told is committed; every second those
 * who watch are told, and roll-outs move on; now and then the database's log is
 * folded back, and a database that could not be opened is tried again.
 */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <event2/event.h>

#include "base/err.h"
#include "base/fmt.h"
#include "base/log.h"
#include "base/plat.h"
#include "server/api/api.h"
#include "server/cache.h"
#include "server/httpd.h"
#include "server/data/objects.h"
#include "server/init.h"
#include "server/jobs.h"
#include "server/site.h"
#include "server/tls.h"

#define LISTEN_DEFAULT "127.0.0.1:8080"
#define GRACE_S 5
#define FAULT_FILE_MAX (64 * KIB)
#define COMMITS_PER_S 4
#define FOLD_S 15 /* also how often streams get a sign of life */
#define REOPEN_S 5

enum {
	OPT_CONFIG = 256,
	OPT_INIT,
	OPT_SET,
	OPT_ROUTES,
	OPT_DATA,
	OPT_KEY,
	OPT_LISTEN,
	OPT_LISTEN_TLS,
	OPT_LOG_LEVEL,
	OPT_CHECK,
	OPT_CONNECTIONS,
	OPT_FAULT,
	OPT_FAULT_FILE,
	OPT_FAULT_SEED,
	OPT_HELP,
};

static const struct option options[] = {
	{ "config", required_argument, NULL, OPT_CONFIG },
	{ "init", no_argument, NULL, OPT_INIT },
	{ "set", required_argument, NULL, OPT_SET },
	{ "routes", no_argument, NULL, OPT_ROUTES },
	{ "data", required_argument, NULL, OPT_DATA },
	{ "key", required_argument, NULL, OPT_KEY },
	{ "listen", required_argument, NULL, OPT_LISTEN },
	{ "listen-tls", required_argument, NULL, OPT_LISTEN_TLS },
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
	"usage: freshetd --config FILE | --data DIR [OPTIONS]\n"
	"\n"
	"Serve a site's images, boot tickets and boot files to its PCs, and an API and a\n"
	"dashboard to its people.\n"
	"\n"
	"  --config FILE          settings; a first start makes key, database and token\n"
	"  --data DIR             the data folder\n"
	"  --init                 make it if it is not there (with --config always)\n"
	"  --key FILE             the site's private key (default DIR/site.key)\n"
	"  --listen ADDRESS:PORT  may be given 4 times (default " LISTEN_DEFAULT ")\n"
	"  --listen-tls A:PORT    likewise for HTTPS (default: none)\n"
	"  --set KEY=VALUE        any setting of the file; may be given many times\n"
	"  --max-connections N    (default 1024)\n"
	"  --log-level LEVEL      err, warn, info (default) or debug: a line per request\n"
	"  --check-config         check settings, folder, key and channel, then exit\n"
	"  --routes               print the API's methods, paths and roles, then exit\n"
	"  --fault SPEC           misbehave, for tests; see freshetd(8)\n"
	"  --fault-file FILE      likewise, a SPEC per line, read again on SIGHUP\n"
	"  --fault-seed N         of the faults with a probability\n";

struct daemon {
	struct site site;
	struct httpd *httpd;
	struct event_base *base;
	struct event *grace, *timer;
	SSL_CTX *tls;
	const char *config;
	u32 ticks;
	struct httpd_limits limits;
	struct faults given; /* by --fault; those of the file come behind */
	const char *fault_file;
	char db_path[CONFIG_TEXT_MAX + 16];
	char tls_cert[CONFIG_TEXT_MAX + 32], tls_key[CONFIG_TEXT_MAX + 32];
	bool check, init;
};

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

/* "key=value" on the command line is a line of the file. */
static int set_option(struct config *c, const char *text)
{
	const char *eq = strchr(text, '=');
	char key[32];

	if (!eq || (size_t)(eq - text) >= sizeof(key))
		return -EINVAL;
	memcpy(key, text, (size_t)(eq - text));
	key[eq - text] = 0;
	return config_set(c, key, eq + 1);
}

/* The file comes first, wherever it stands among the options. */
static int read_config(struct daemon *d, int argc, char **argv)
{
	char why[256];
	int opt;

	opterr = 0;
	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1)
		if (opt == OPT_CONFIG)
			d->config = optarg;
	opterr = 1;
	optind = 1;
	if (d->config && config_read(&d->site.conf, d->config, why)) {
		fprintf(stderr, "freshetd: %s\n", why);
		return 1;
	}
	return 0;
}

/* 0 to go on, else the exit status. */
static int parse_options(struct daemon *d, int argc, char **argv)
{
	struct config *c = &d->site.conf;
	bool listens = false, listens_tls = false;
	int opt, err = 0;

	while (!err && (opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (opt) {
		case OPT_CONFIG:
			break;
		case OPT_INIT:
			d->init = true;
			break;
		case OPT_SET:
			err = set_option(c, optarg);
			break;
		case OPT_ROUTES:
			api_print_routes();
			exit(0);
		case OPT_DATA:
			err = config_set(c, "data", optarg);
			break;
		case OPT_KEY:
			err = config_set(c, "key", optarg);
			break;
		case OPT_LISTEN: /* those of the file are not meant then */
			c->listens = listens ? c->listens : 0;
			listens = true;
			err = config_set(c, "listen", optarg);
			break;
		case OPT_LISTEN_TLS:
			c->listens_tls = listens_tls ? c->listens_tls : 0;
			listens_tls = true;
			err = config_set(c, "listen_tls", optarg);
			break;
		case OPT_LOG_LEVEL:
			err = config_set(c, "log_level", optarg);
			break;
		case OPT_CHECK:
			d->check = true;
			break;
		case OPT_CONNECTIONS:
			err = config_set(c, "max_connections", optarg);
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
	if (err)
		return usage(err == -ENOSPC ? "too many addresses" : "bad value", optarg);
	if (!c->data[0] || optind != argc)
		return usage(c->data[0] ? "unexpected argument" : "--config or --data is needed",
			     c->data[0] ? argv[optind] : NULL);
	if (!c->listens && !c->listens_tls)
		config_set(c, "listen", LISTEN_DEFAULT);
	if (!c->key[0])
		fmt_snprintf(c->key, sizeof(c->key), "%s/site.key", c->data);
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

/* New connections get the new one; the context itself stays, listeners have it. */
static void renew_certificate(struct daemon *d)
{
	struct config *c = &d->site.conf;

	if (!d->tls)
		return;
	if (!c->tls_cert[0])
		tls_make_certificate(c->data, c->key, NULL, c);
	if (SSL_CTX_use_certificate_chain_file(d->tls, d->tls_cert) != 1 ||
	    SSL_CTX_use_PrivateKey_file(d->tls, d->tls_key, SSL_FILETYPE_PEM) != 1)
		log_err("tls: cannot read the certificate again path=%s", d->tls_cert);
}

static void on_reload(evutil_socket_t sig, short what, void *arg)
{
	struct daemon *d = arg;

	(void)sig;
	(void)what;
	if (!site_load_key(&d->site) && !load_faults(d))
		log_info("freshetd: read key and faults again");
	renew_certificate(d);
	site_check(&d->site);
}

static int open_objects(struct daemon *d)
{
	struct config *c = &d->site.conf;
	struct objects_conf where = { 0 };
	char why[OBJECTS_WHY_MAX] = "";
	int err;

	fmt_snprintf(where.place, sizeof(where.place), "%s", c->objects);
	fmt_snprintf(where.credentials, sizeof(where.credentials), "%s", c->s3_credentials);
	fmt_snprintf(where.ca, sizeof(where.ca), "%s", c->s3_ca);
	err = objects_open(&d->site.dir, &where, !d->check, why);
	if (err)
		log_err("freshetd: %s", *why ? why : strerror(-err));
	return err;
}

/* Said at the start; storage that comes later is used then. */
static int check_objects(struct daemon *d)
{
	int err = objects_check(&d->site.dir);

	if (err)
		log_err("freshetd: the objects cannot be used: %s", objects_why(err));
	return err;
}

static int open_site(struct daemon *d)
{
	struct site *s = &d->site;
	struct config *c = &s->conf;
	int err = 0;

	if ((d->config || d->init) && !d->check)
		err = init_data(c);
	if (err)
		return err;
	err = datadir_open(&s->dir, c->data, false);
	if (err) {
		log_err("freshetd: cannot open the data folder path=%s err=%s", c->data,
			err_name(err));
		return err;
	}
	err = open_objects(d);
	if (err)
		return err;
	s->key_path = c->key;
	err = site_load_key(s);
	return err ? err : load_faults(d);
}

/* ---------------------------------------------------------------- what time does */

static void open_fleet(struct daemon *d)
{
	struct site *s = &d->site;

	if (fleet_open(&s->fleet, d->db_path)) {
		s->fleet = NULL;
		log_limited(LOG_ERR, "freshetd: images are served, but no machine is recorded and "
			    "the API is off until %s is mended or moved away", d->db_path);
		return;
	}
	s->fleet->open_enrolment = s->conf.open_enrolment;
	s->fleet->event = events_hook;
	s->fleet->event_arg = s;
	init_token(s);
}

struct fold_job {
	struct job job;
	const char *path;
};

static void run_fold(struct job *j)
{
	db_checkpoint(container_of(j, struct fold_job, job)->path);
}

static void finish_fold(struct job *j, struct site *s, struct reply *r)
{
	(void)j;
	(void)s;
	(void)r;
}

static void drop_fold(struct job *j)
{
	free(container_of(j, struct fold_job, job));
}

static void fold_log(struct daemon *d)
{
	struct fold_job *f = calloc(1, sizeof(*f));

	if (!f)
		return;
	f->job = (struct job){ .run = run_fold, .finish = finish_fold, .drop = drop_fold };
	f->path = d->db_path;
	if (jobs_submit(d->site.jobs, &f->job))
		free(f);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	static const char alive[] = ": alive\n\n";
	struct daemon *d = arg;
	struct site *s = &d->site;

	(void)fd;
	(void)what;
	d->ticks++;
	if (s->fleet && d->ticks % COMMITS_PER_S == 0)
		events_tick(s);
	if (s->fleet)
		fleet_commit(s->fleet);
	else if (d->ticks % (COMMITS_PER_S * REOPEN_S) == 0)
		open_fleet(d);
	if (d->ticks % (COMMITS_PER_S * FOLD_S) == 0) {
		httpd_publish(d->httpd, alive, sizeof(alive) - 1);
		fold_log(d);
	}
}

static void publish(void *arg, const char *text, size_t bytes)
{
	httpd_publish(((struct daemon *)arg)->httpd, text, bytes);
}

static u32 load(void *arg, u32 *streams)
{
	struct daemon *d = arg;

	*streams = httpd_streams(d->httpd);
	return httpd_connections(d->httpd);
}

/* ---------------------------------------------------------------- start and stop */

static int start_tls(struct daemon *d)
{
	struct config *c = &d->site.conf;
	int err = 0;

	if (!c->listens_tls)
		return 0;
	if (c->tls_cert[0]) {
		fmt_snprintf(d->tls_cert, sizeof(d->tls_cert), "%s", c->tls_cert);
		fmt_snprintf(d->tls_key, sizeof(d->tls_key), "%s",
			     c->tls_key[0] ? c->tls_key : c->tls_cert);
	} else {
		fmt_snprintf(d->tls_cert, sizeof(d->tls_cert), "%s/tls/server.crt", c->data);
		fmt_snprintf(d->tls_key, sizeof(d->tls_key), "%s/tls/server.key", c->data);
		if (!d->check)
			err = tls_make_certificate(c->data, c->key, NULL, c);
		else if (access(d->tls_cert, R_OK))
			return 0; /* the first start will make it */
	}
	return err ? err : tls_context(&d->tls, d->tls_cert, d->tls_key);
}

static int listen_all(struct daemon *d)
{
	struct config *c = &d->site.conf;

	for (u32 i = 0; i < c->listens + c->listens_tls; i++) {
		bool tls = i >= c->listens;
		const char *address = tls ? c->listen_tls[i - c->listens] : c->listen[i];
		int err = httpd_listen(d->httpd, address, tls ? d->tls : NULL);

		if (err) {
			log_err("freshetd: cannot listen address=%s err=%s", address,
				err == -EINVAL ? "not address:port" : strerror(-err));
			return err;
		}
	}
	return 0;
}

static int start(struct daemon *d)
{
	const struct timeval tick = { .tv_usec = 1000000 / COMMITS_PER_S };
	struct site *s = &d->site;
	struct config *c = &s->conf;
	int err;

	fmt_snprintf(d->db_path, sizeof(d->db_path), "%s/fleet.db", c->data);
	s->publish = publish;
	s->load = load;
	s->publish_arg = d;
	s->start_ns = plat_time_ns();
	d->limits.connections = c->connections;
	d->base = event_base_new();
	err = d->base ? httpd_create(&d->httpd, d->base, s, &d->limits) : -ENOMEM;
	if (!err)
		err = digestset_init(&s->verified);
	if (!err && c->object_cache)
		err = cache_create(&s->cache, c->object_cache);
	if (!err)
		err = jobs_create(&s->jobs, d->base, s, c->jobs, httpd_job_done);
	if (!err && objects_remote(&s->dir))
		err = jobs_create(&s->fetchers, d->base, s, c->s3_connections, httpd_job_done);
	if (!err)
		err = start_tls(d);
	if (err)
		return err;
	open_fleet(d);
	d->timer = event_new(d->base, -1, EV_PERSIST, on_timer, d);
	if (!d->timer)
		return -ENOMEM;
	event_add(d->timer, &tick);
	return listen_all(d);
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

static void tear_down(struct daemon *d)
{
	struct site *s = &d->site;

	httpd_destroy(d->httpd);
	objects_stop(&s->dir);
	jobs_destroy(s->jobs);
	jobs_destroy(s->fetchers);
	if (d->timer)
		event_free(d->timer);
	if (d->base)
		event_base_free(d->base);
	SSL_CTX_free(d->tls);
	cache_destroy(s->cache);
	digestset_fini(&s->verified);
	fleet_close(s->fleet);
	key_free(s->key);
	datadir_close(&s->dir);
}

static void raise_file_limit(void)
{
	struct rlimit r;

	if (!getrlimit(RLIMIT_NOFILE, &r)) {
		r.rlim_cur = r.rlim_max;
		setrlimit(RLIMIT_NOFILE, &r);
	}
}

/* Before there is a folder: is what is said of storage right, and does that answer? */
static int check_settings(struct daemon *d)
{
	int err = load_faults(d);

	if (!err && d->site.conf.objects[0])
		err = open_objects(d);
	if (!err && objects_remote(&d->site.dir))
		err = check_objects(d);
	return err;
}

/* --check-config: everything but opening doors. What the first start makes is not missing. */
static int check(struct daemon *d)
{
	bool first = false;
	int err = 0;

	if (d->config || d->init)
		err = init_pending(&d->site.conf, &first);
	if (!err)
		err = first ? check_settings(d) : open_site(d);
	if (!err)
		err = start_tls(d);
	if (!err && !first)
		err = site_check(&d->site);
	if (d->site.dir.fd >= 0 && check_objects(d) && !err)
		err = -EREMOTEIO;
	if (err)
		printf("not in order\n");
	else if (first)
		printf("in order; the first start makes folder=%s key=%s\n", d->site.conf.data,
		       d->site.conf.key);
	else
		printf("in order\n");
	return err;
}

int main(int argc, char **argv)
{
	static struct daemon d;
	struct config *c = &d.site.conf;
	int ret;

	d.limits = httpd_limits_default;
	d.site.dir.fd = d.site.dir.lock_fd = -1;
	list_init(&d.site.fetches);
	config_default(c);
	setvbuf(stderr, NULL, _IOLBF, 0);
	ret = read_config(&d, argc, argv);
	if (!ret)
		ret = parse_options(&d, argc, argv);
	if (ret)
		return ret;
	log_level = (enum log_level)c->log_level;
	limit_init(&d.site.api_limit, c->api_rate, NS_PER_SEC);
	limit_init(&d.site.login_limit, c->login_rate, 60 * NS_PER_SEC);
	limit_init(&d.site.boot_limit, c->boot_rate, NS_PER_SEC);
	signal(SIGPIPE, SIG_IGN);
	raise_file_limit();
	if (d.check) {
		ret = check(&d);
	} else {
		ret = open_site(&d);
		if (!ret) {
			site_check(&d.site);
			check_objects(&d);
			ret = start(&d);
		}
		if (!ret)
			ret = run(&d);
	}
	tear_down(&d);
	return ret ? 1 : 0;
}
