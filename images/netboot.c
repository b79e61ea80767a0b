/*
 * netboot.c - freshet boot dnsmasq: a configuration for the lab's DHCP and TFTP
 *
 * Two ways. Standalone: dnsmasq gives the addresses, too. Proxy: another DHCP
 * server gives them and stays as it is; dnsmasq adds only where to boot from.
 *
 *	firmware, PXE     -> ipxe.efi by TFTP (by proxy: over port 4011)
 *	firmware, HTTP    -> ipxe.efi by HTTP from freshetd; standalone only, as a
 *	                     client's HTTP boot takes its file from the server that
 *	                     gives the address [UEFI 2.10 §24.7]
 *	iPXE, from either -> boot.ipxe by HTTP from freshetd
 *
 * PCs in legacy BIOS mode are offered nothing and go on to their next boot entry.
 * Everything is checked before a line is written: dnsmasq takes what it is given.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/fmt.h"
#include "images/options.h"

struct args {
	const char *server, *network, *interface, *range, *router, *tftp, *output;
	bool proxy;
};

static const struct cli_option options[] = {
	CLI_TEXT("server", struct args, server),
	CLI_TEXT("network", struct args, network),
	CLI_TEXT("interface", struct args, interface),
	CLI_TEXT("range", struct args, range),
	CLI_TEXT("router", struct args, router),
	CLI_TEXT("tftp", struct args, tftp),
	CLI_TEXT("output", struct args, output),
	CLI_FLAG("proxy", struct args, proxy),
	{ 0 },
};

struct plan {
	u32 network, mask, first, last, router; /* host order */
	char url[160];
};

/* "a.b.c.d" and nothing else */
static int quad(const char *text, size_t n, u32 *out)
{
	char room[16];
	struct in_addr a;

	if (!n || n >= sizeof(room))
		return -EINVAL;
	memcpy(room, text, n);
	room[n] = 0;
	if (inet_pton(AF_INET, room, &a) != 1)
		return -EINVAL;
	*out = ntohl(a.s_addr);
	return 0;
}

static const char *show(u32 ip, char out[16])
{
	struct in_addr a = { htonl(ip) };

	inet_ntop(AF_INET, &a, out, 16);
	return out;
}

static int parse_network(const char *text, struct plan *p)
{
	const char *slash = strchr(text, '/');
	u64 bits;

	if (!slash || quad(text, (size_t)(slash - text), &p->network) ||
	    cli_u64(slash + 1, &bits) || bits < 8 || bits > 30)
		return -EINVAL;
	p->mask = ~0u << (32 - bits);
	return p->network & ~p->mask ? -EINVAL : 0;
}

static bool inside(const struct plan *p, u32 ip)
{
	return (ip & p->mask) == p->network && (ip & ~p->mask) && (ip & ~p->mask) != ~p->mask;
}

static int parse_range(const char *text, struct plan *p)
{
	const char *comma = strchr(text, ',');

	if (!comma || quad(text, (size_t)(comma - text), &p->first) ||
	    quad(comma + 1, strlen(comma + 1), &p->last))
		return -EINVAL;
	return inside(p, p->first) && inside(p, p->last) && p->first < p->last ? 0 : -EINVAL;
}

/* http://a.b.c.d[:port]: an address, as neither iPXE's nor the VMM's network asks for names. */
static int parse_url(const char *text, struct plan *p)
{
	const char *host = text + 7, *rest;
	size_t n, digits = 0;
	u32 ip;

	if (strncmp(text, "http://", 7))
		return -EINVAL;
	n = strcspn(host, ":/");
	if (host[n] == ':') {
		digits = strspn(host + n + 1, "0123456789") + 1;
		if (digits < 2 || digits > 6)
			return -EINVAL;
	}
	rest = host + n + digits;
	if (quad(host, n, &ip) || (strcmp(rest, "") && strcmp(rest, "/")))
		return -EINVAL;
	fmt_snprintf(p->url, sizeof(p->url), "http://%.*s", (int)(n + digits), host);
	return 0;
}

/* Words that go into the file as they are. */
static bool word_ok(const char *text)
{
	for (const char *s = text; *s; s++)
		if (*s <= ' ' || *s > '~' || strchr(",#\"\\", *s))
			return false;
	return *text != 0;
}

static enum cli_exit check(const struct cli_command *c, const struct args *a, struct plan *p)
{
	if (!a->server || parse_url(a->server, p))
		return cli_usage(c, "--server is http://a.b.c.d:port");
	if (!a->network || parse_network(a->network, p))
		return cli_usage(c, "--network is a.b.c.0/24 or the like, its own bits zero");
	if (!a->interface || !word_ok(a->interface))
		return cli_usage(c, "--interface names the one towards the lab");
	if (!word_ok(a->tftp) || a->tftp[0] != '/')
		return cli_usage(c, "--tftp is a folder's full path, without spaces");
	if (a->proxy && (a->range || a->router))
		return cli_usage(c, "with --proxy the addresses come from the other server");
	if (!a->proxy && (!a->range || parse_range(a->range, p)))
		return cli_usage(c, "--range is FIRST,LAST within the network, or say --proxy");
	if (a->router && (quad(a->router, strlen(a->router), &p->router) ||
			  !inside(p, p->router)))
		return cli_usage(c, "--router is an address of the network");
	return CLI_OK;
}

static void write_addresses(FILE *f, const struct args *a, const struct plan *p)
{
	char first[16], last[16], mask[16], net[16];

	show(p->mask, mask);
	if (a->proxy) {
		fprintf(f, "# Another server gives addresses; this one says where to boot from.\n"
			"dhcp-range=%s,proxy,%s\n\n", show(p->network, net), mask);
		return;
	}
	fprintf(f, "# A PC takes two leases: one for its system, one for the VMM below it.\n"
		"dhcp-authoritative\ndhcp-range=%s,%s,%s,12h\n", show(p->first, first),
		show(p->last, last), mask);
	if (p->router)
		fprintf(f, "dhcp-option=option:router,%s\n", show(p->router, net));
	fprintf(f, "\n");
}

static void write_boot(FILE *f, const struct args *a, const struct plan *p)
{
	fprintf(f, "# Who asks [RFC 4578 2.1]: 7 and 9, UEFI x86-64 by PXE; 16, by HTTP; iPXE.\n"
		"dhcp-match=set:efi64,option:client-arch,7\n"
		"dhcp-match=set:efi64,option:client-arch,9\n"
		"dhcp-match=set:efihttp,option:client-arch,16\n"
		"dhcp-userclass=set:ipxe,iPXE\n"
		"dhcp-match=set:ipxe,175\n\n");
	if (a->proxy) {
		fprintf(f, "pxe-prompt=\"Freshet\",0\n"
			"pxe-service=tag:!ipxe,X86-64_EFI,\"Freshet\",ipxe.efi\n"
			"pxe-service=tag:!ipxe,BC_EFI,\"Freshet\",ipxe.efi\n"
			"dhcp-boot=tag:ipxe,%s/boot.ipxe\n", p->url);
		return;
	}
	fprintf(f, "dhcp-boot=tag:efi64,tag:!ipxe,ipxe.efi\n"
		"dhcp-option-force=tag:efihttp,tag:!ipxe,option:vendor-class,HTTPClient\n"
		"dhcp-boot=tag:efihttp,tag:!ipxe,%s/ipxe.efi\n"
		"dhcp-boot=tag:ipxe,%s/boot.ipxe\n", p->url, p->url);
}

static void write_all(FILE *f, const struct args *a, const struct plan *p)
{
	fprintf(f, "# Made by: freshet boot dnsmasq\n"
		"# ipxe.efi has to lie in %s: cp /usr/lib/ipxe/ipxe.efi there, or for\n"
		"# Secure Boot the signed one, netboot/ipxe.efi of the data folder.\n"
		"interface=%s\nbind-interfaces\nport=0\nenable-tftp\ntftp-root=%s\nlog-dhcp\n\n",
		a->tftp, a->interface, a->tftp);
	write_addresses(f, a, p);
	write_boot(f, a, p);
}

static enum cli_exit boot_dnsmasq(const struct cli_command *c, int argc, char **argv)
{
	struct args a = { .tftp = "/srv/tftp" };
	struct plan p = { 0 };
	enum cli_exit rc = cli_options(c, options, &a, &argc, &argv);
	FILE *f = stdout;

	if (!rc && argc)
		rc = cli_usage(c, "no argument is wanted: %s", argv[0]);
	if (!rc)
		rc = check(c, &a, &p);
	if (rc)
		return rc;
	if (a.output)
		f = fopen(a.output, "w");
	if (f)
		write_all(f, &a, &p);
	if (!f || fflush(f) || (f != stdout && fclose(f))) {
		cli_error("cannot write %s: %s", a.output ? a.output : "the configuration",
			  strerror(errno));
		return CLI_FAILED;
	}
	return CLI_OK;
}

const struct cli_command cmd_boot_dnsmasq = {
	.group = "boot",
	.verb = "dnsmasq",
	.args = "--server URL --network A/N --interface IF --range A,B | --proxy [OPTIONS]",
	.summary = "print a configuration of dnsmasq for the lab's network boot",
	.help = "  --server URL     where PCs find freshetd, http://a.b.c.d:port\n"
		"  --network A/N    the lab's network, e.g. 10.0.0.0/24\n"
		"  --interface IF   this machine's, towards it\n"
		"  --range A,B      give addresses, from A to B: no other DHCP server is there\n"
		"  --router A       for them\n"
		"  --proxy          another DHCP server gives the addresses\n"
		"  --tftp DIR       where ipxe.efi lies (default /srv/tftp)\n"
		"  --output FILE    write it there, e.g. /etc/dnsmasq.d/freshet.conf\n"
		"\nThen: dnsmasq --test && systemctl restart dnsmasq; freshet doctor --dhcp IF\n",
	.run = boot_dnsmasq,
};
