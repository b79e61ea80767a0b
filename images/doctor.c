/*
 * doctor.c - freshet doctor: is everything there that a PC needs to boot?
 *
 * Looks from the outside, as a PC would (DHCP, TFTP, HTTP), and on the server at the
 * data folder too. Each line is a finding: "ok", "warn" (works, but), "BAD" (will
 * not work) with what to do, or "skip" with why it could not be looked at.
 */
#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fmt.h"
#include "images/pe.h"
#include "images/remote.h"
#include "server/data/channels.h"
#include "server/data/objects.h"
#include "server/data/version.h"

/* dnsmasq first pings an address for three seconds; a firmware waits for a minute. */
#define DHCP_WAIT_S 10

struct args {
	struct remote_args remote;
	const char *data, *tftp, *tftp_file, *dhcp;
};

static const struct cli_option options[] = {
	REMOTE_OPTIONS(struct args, remote),
	CLI_TEXT("data", struct args, data),
	CLI_TEXT("tftp", struct args, tftp),
	CLI_TEXT("tftp-file", struct args, tftp_file),
	CLI_TEXT("dhcp", struct args, dhcp),
	{ 0 },
};

enum verdict { OK, WARN, BAD, SKIP };

static int bad_count;

static void say(enum verdict v, const char *what, const char *fmt, ...) __printf_like(3, 4);

static void say(enum verdict v, const char *what, const char *fmt, ...)
{
	static const char *const words[] = { "ok", "warn", "BAD", "skip" };
	va_list ap;

	printf("%-5s %-12s ", words[v], what);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	bad_count += v == BAD;
}

/* ---------------------------------------------------------------- data folder */

static void check_mode(const struct datadir *d, const char *rel)
{
	struct stat st;

	if (fstatat(d->fd, rel, &st, 0))
		return;
	if (st.st_mode & 077)
		say(BAD, "permissions", "%s/%s can be read by others: chmod 600", d->path, rel);
}

static void check_channel(void *arg, const char *name, int err, const struct channel *ch)
{
	const struct datadir *d = ((void **)arg)[0];
	const u8 *pub = ((void **)arg)[1];
	struct version_cost cost;
	const char *why = "";
	struct version v;

	++*(int *)((void **)arg)[2];
	if (err) {
		say(BAD, "channel", "%s: %s", name,
		    err == -EKEYREJECTED ? "signed with another key" : "not a channel's file");
		return;
	}
	err = version_load(d, ch->version, pub, &v, &why);
	if (err) {
		say(BAD, "channel", "%s: its version: %s; push or build it again", name, why);
		return;
	}
	err = version_cost(d, &v, NULL, &cost);
	if (err)
		say(BAD, "channel", "%s: its objects: %s", name, objects_why(err));
	else if (cost.missing)
		say(BAD, "channel", "%s: %llu objects are missing; push or build it again", name,
		    (unsigned long long)cost.missing);
	else
		say(OK, "channel", "%s: %s %s, all %llu objects there", name, v.m.name, v.m.label,
		    (unsigned long long)cost.objects);
	version_free(&v);
}

/* Is the key in freshet.efi this site's? */
static void check_efi(const u8 *efi, size_t bytes, const u8 pub[P256_PUB_BYTES])
{
	size_t off, n;

	if (pe_find_section(efi, bytes, ".sitekey", &off, &n) || n < 16 + P256_PUB_BYTES)
		say(BAD, "freshet.efi", "has no place for the site's key: not Freshet's file");
	else if (memcmp(efi + off, "FRSHKEY1", 8))
		say(BAD, "freshet.efi", "has no key in it; make it with freshet boot build");
	else if (memcmp(efi + off + 16, pub, P256_PUB_BYTES))
		say(BAD, "freshet.efi", "has another site's key; run freshet boot build again");
	else
		say(OK, "freshet.efi", "%zu bytes, with this site's key", bytes);
}

static void check_netboot(const struct datadir *d, const u8 pub[P256_PUB_BYTES])
{
	static const char *const names[] = { "freshet.conf", "boot.ipxe", "esp.img" };
	char rel[64];
	size_t bytes;
	u8 *efi;

	if (datadir_read(d, "netboot/freshet.efi", 64 * MIB, &efi, &bytes)) {
		say(BAD, "netboot", "no freshet.efi; make the files with freshet boot build");
		return;
	}
	check_efi(efi, bytes, pub);
	free(efi);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		fmt_snprintf(rel, sizeof(rel), "netboot/%s", names[i]);
		if (faccessat(d->fd, rel, R_OK, 0))
			say(i == 2 ? WARN : BAD, "netboot", "no %s%s", rel,
			    i == 2 ? ": PCs cannot boot offline" : "");
	}
}

/* Where they are, if that is not the folder, and whether they can be reached from here. */
static void check_objects(struct datadir *d)
{
	char why[OBJECTS_WHY_MAX] = "";
	int err = objects_open(d, NULL, false, why);

	if (err)
		say(BAD, "objects", "%s", *why ? why : strerror(-err));
	else if (!objects_remote(d))
		return;
	else if ((err = objects_check(d)))
		say(BAD, "objects", "%s", objects_why(err));
	else
		say(OK, "objects", "the storage of %s/" OBJECTS_RECORD " answers", d->path);
}

static void check_data(const char *path)
{
	u8 pub[P256_PUB_BYTES];
	struct statvfs v;
	struct datadir d;
	int channels = 0;
	void *arg[3] = { &d, pub, &channels };
	double free_gib;

	if (datadir_open(&d, path, false)) {
		say(BAD, "folder", "%s: %s", path, strerror(errno));
		return;
	}
	check_objects(&d);
	if (cli_public_key(pub, NULL, path)) {
		say(BAD, "key", "%s has no site.pub or site.key", path);
		datadir_close(&d);
		return;
	}
	check_mode(&d, "site.key");
	check_mode(&d, "admin.token");
	check_mode(&d, "tls/server.key");
	if (!fstatvfs(d.fd, &v)) {
		free_gib = (double)v.f_bavail * (double)v.f_frsize / GIB;
		say(free_gib < 1 ? BAD : free_gib < 10 ? WARN : OK, "disk", "%.1f GiB free in %s",
		    free_gib, path);
		if (v.f_files && v.f_favail < 100000)
			say(WARN, "disk", "only %llu more files: objects are many small ones",
			    (unsigned long long)v.f_favail);
	}
	if (channel_list(&d, pub, check_channel, arg) || !channels)
		say(BAD, "channel", "there is none; freshet image build --channel lab/stable");
	check_netboot(&d, pub);
	datadir_close(&d);
}

/* ---------------------------------------------------------------- server */

static void check_file(struct remote *r, const char *path, const char *must)
{
	u8 *bytes = NULL;
	size_t n = 0;
	long status = 0;

	if (remote_get(r, path, &bytes, &n, &status, NULL))
		say(BAD, "http", "%s%s cannot be fetched", remote_url(r), path);
	else if (status != 200)
		say(BAD, "http", "%s%s: status %ld%s", remote_url(r), path, status,
		    status == 404 ? "; make it with freshet boot build" : "");
	else if (must && (!n || !strstr((char *)bytes, must)))
		say(BAD, "http", "%s%s does not look right", remote_url(r), path);
	else
		say(OK, "http", "%s: %zu bytes", path, n);
	free(bytes);
}

static void check_server(const struct remote_args *a)
{
	u8 *bytes = NULL;
	struct remote *r;
	long long date, skew;
	size_t n;
	long status = 0;
	json_t *o;

	if (remote_open(&r, a)) {
		say(SKIP, "server", "no token, so the server was not asked");
		return;
	}
	if (remote_get(r, "/openapi.json", &bytes, &n, &status, &date)) {
		say(BAD, "server", "%s cannot be reached; is freshetd running? systemctl status "
		    "freshetd", remote_url(r));
		remote_close(r);
		return;
	}
	free(bytes);
	skew = date ? date - (long long)time(NULL) : 0;
	if (!date)
		say(WARN, "clock", "the server did not say what time it is");
	else
		say(llabs(skew) > 60 ? WARN : OK, "clock", "the server's differs by %lld s", skew);
	o = remote_call(r, "GET", "/api/v1/status", NULL, &status);
	if (o && status == 200)
		say(OK, "server", "%s: %lld machines, %lld MiB free; you are %s (%s)",
		    remote_url(r), (long long)json_integer_value(json_object_get(o, "machines")),
		    (long long)json_integer_value(json_object_get(o, "disk_free_bytes")) /
			    (long long)MIB, json_string_value(json_object_get(o, "who")),
		    json_string_value(json_object_get(o, "role")));
	else
		say(BAD, "server", "%s: %s", remote_url(r), o ?
		    json_string_value(json_object_get(o, "error")) : "no answer");
	json_decref(o);
	check_file(r, "/freshet.efi", NULL);
	check_file(r, "/freshet.conf", "server ");
	check_file(r, "/boot.ipxe", "#!ipxe");
	remote_close(r);
}

/* ------------------------------------------------ TFTP [RFC 1350], DHCP [RFC 2131] */

static bool wait_for(int fd, int ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, ms) > 0;
}

/* Ask for a file's first block; that it comes is enough. */
static void check_tftp(const char *server, const char *file)
{
	struct sockaddr_in sa = { .sin_family = AF_INET, .sin_port = htons(69) }, from;
	socklen_t len = sizeof(from);
	u8 packet[600];
	size_t n = strlen(file);
	const char *colon = strchr(server, ':');
	char host[64];
	int fd;

	fmt_snprintf(host, sizeof(host), "%.*s", (int)(colon ? colon - server : 63), server);
	if (colon)
		sa.sin_port = htons((u16)atoi(colon + 1));
	if (inet_pton(AF_INET, host, &sa.sin_addr) != 1 || n > 200) {
		say(SKIP, "tftp", "%s is no IPv4 address", server);
		return;
	}
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	packet[0] = 0;
	packet[1] = 1; /* read request */
	memcpy(packet + 2, file, n + 1);
	memcpy(packet + 3 + n, "octet", 6);
	for (int i = 0; i < 3; i++) {
		ssize_t got;

		sendto(fd, packet, n + 9, 0, (struct sockaddr *)&sa, sizeof(sa));
		if (!wait_for(fd, 1000))
			continue;
		got = recvfrom(fd, packet, sizeof(packet) - 1, 0, (struct sockaddr *)&from, &len);
		if (got >= 4 && packet[1] == 3) {
			u8 enough[5] = { 0, 5, 0, 0, 0 }; /* an error ends the transfer */

			sendto(fd, enough, sizeof(enough), 0, (struct sockaddr *)&from, len);
			say(OK, "tftp", "%s has %s", server, file);
		} else {
			packet[MAX(got, (ssize_t)0)] = 0;
			say(BAD, "tftp", "%s: no %s: %s", server, file,
			    got > 4 ? (char *)packet + 4 : "?");
		}
		close(fd);
		return;
	}
	say(BAD, "tftp", "%s does not answer; is enable-tftp on in dnsmasq?", server);
	close(fd);
}

struct dhcp_answer {
	char server[16], next[16], file[129];
	bool any, offer;
};

static void parse_dhcp(const u8 *p, size_t n, u32 xid, struct dhcp_answer *a)
{
	u32 got;

	if (n < 241 || p[0] != 2)
		return;
	memcpy(&got, p + 4, 4);
	if (got != xid)
		return;
	a->any = true;
	a->offer |= p[16] | p[17] | p[18] | p[19];
	inet_ntop(AF_INET, p + 20, a->next, sizeof(a->next));
	if (p[108])
		memcpy(a->file, p + 108, 128);
	for (size_t i = 240; i + 1 < n && p[i] != 255; i += p[i] ? 2u + p[i + 1] : 1u) {
		u32 len = p[i + 1];

		if (!p[i] || i + 2 + len > n)
			continue;
		if (p[i] == 54 && len == 4)
			inet_ntop(AF_INET, p + i + 2, a->server, sizeof(a->server));
		if (p[i] == 67 && len < 128) {
			memcpy(a->file, p + i + 2, len);
			a->file[len] = 0;
		}
	}
}

/* A PC's first question: DHCPDISCOVER of a UEFI x86-64 PXE client [RFC 4578]. Nothing is taken. */
static void check_dhcp(const char *interface)
{
	static const u8 opts[] = { 99, 130, 83, 99, 53, 1, 1, 55, 4, 1, 3, 66, 67, 57, 2, 5, 220,
				   93, 2, 0, 7, 94, 3, 1, 3, 16, 60, 32 };
	static const char class[] = "PXEClient:Arch:00007:UNDI:003016";
	struct sockaddr_in me = { .sin_family = AF_INET, .sin_port = htons(68) };
	struct sockaddr_in all = { .sin_family = AF_INET, .sin_port = htons(67),
				   .sin_addr = { htonl(INADDR_BROADCAST) } };
	struct dhcp_answer a = { 0 };
	u8 packet[1500] = { 1, 1, 6, 0 };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), one = 1;
	u32 xid = (u32)time(NULL) ^ (u32)getpid() << 16;
	time_t end;

	setsockopt(fd, SOL_SOCKET, SO_BROADCAST, &one, sizeof(one));
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, interface, (socklen_t)strlen(interface)) ||
	    bind(fd, (struct sockaddr *)&me, sizeof(me))) {
		say(SKIP, "dhcp", "cannot ask at %s: %s", interface, strerror(errno));
		close(fd);
		return;
	}
	memcpy(packet + 4, &xid, 4);
	packet[10] = 0x80; /* answer by broadcast: we have no address */
	memcpy(packet + 28, "\x02" "FRSH\x01", 6);
	memcpy(packet + 236, opts, sizeof(opts));
	memcpy(packet + 236 + sizeof(opts), class, 32);
	packet[236 + sizeof(opts) + 32] = 255;
	end = time(NULL) + DHCP_WAIT_S;
	for (int i = 0; time(NULL) < end; i++) {
		if (i % 2 == 0)
			sendto(fd, packet, 300 + 28, 0, (struct sockaddr *)&all, sizeof(all));
		while (wait_for(fd, 700)) {
			u8 in[1500];
			ssize_t n = recv(fd, in, sizeof(in), 0);

			if (n > 0)
				parse_dhcp(in, (size_t)n, xid, &a);
		}
		if (a.any && a.file[0])
			break;
	}
	close(fd);
	if (!a.any)
		say(BAD, "dhcp", "nobody answers at %s", interface);
	else if (!a.file[0])
		say(BAD, "dhcp", "%s answers, but names no boot file for UEFI PCs; see "
		    "boot/dnsmasq/freshet.conf", a.server);
	else
		say(OK, "dhcp", "%s offers %s from %s%s", a.server, a.file, a.next,
		    a.offer ? "" : " (proxy: addresses come from elsewhere)");
}

static enum cli_exit run_doctor(const struct cli_command *c, int argc, char **argv)
{
	struct args a = { .tftp_file = "ipxe.efi" };

	if (cli_options(c, options, &a, &argc, &argv))
		return CLI_USAGE;
	if (argc)
		return cli_usage(c, NULL);
	if (!a.data && !access("/var/lib/freshet", R_OK | X_OK))
		a.data = "/var/lib/freshet";
	if (a.data)
		check_data(a.data);
	else
		say(SKIP, "folder", "not on this host, or not readable; --data DIR names it");
	check_server(&a.remote);
	if (a.tftp)
		check_tftp(a.tftp, a.tftp_file);
	else
		say(SKIP, "tftp", "--tftp ADDRESS asks it for %s", a.tftp_file);
	if (a.dhcp)
		check_dhcp(a.dhcp);
	else
		say(SKIP, "dhcp", "--dhcp INTERFACE asks there as a PC would (root)");
	printf(bad_count ? "%d things will not work\n" : "nothing is wrong that could be seen\n",
	       bad_count);
	return bad_count ? CLI_FAILED : CLI_OK;
}

const struct cli_command cmd_doctor = {
	.group = "doctor", .args = "[--data DIR] [--tftp ADDRESS] [--dhcp INTERFACE] [OPTIONS]",
	.summary = "look whether everything is there that a PC needs to boot",
	.help = "  --data DIR     the data folder (default: /var/lib/freshet if it is here)\n"
		"  --tftp A       ask the TFTP server at A[:PORT] for a file\n"
		"  --tftp-file F  for which (default ipxe.efi)\n"
		"  --dhcp IF      ask for an address at this interface as a UEFI PC would; takes\n"
		"                 none (root)\n" REMOTE_HELP
		"\nReturns 1 if anything will not work.\n",
	.run = run_doctor,
};
