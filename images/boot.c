/*
 * boot.c - freshet boot build: what a site's PCs load before they are Freshet's
 *
 *	netboot/freshet.efi    the given one, with the site's public key in its .sitekey
 *	netboot/freshet.conf   the server's address and options, for the loader
 *	netboot/boot.ipxe      the script that iPXE is pointed at
 *	netboot/esp.img        a FAT32 file system with the two, for offline boots
 *	netboot/esp            the version that esp.img became as an image; goes into tickets
 *
 * Everything is made from the arguments alone: the same call makes the same
 * bytes, and then keeps the ESP's version as well, so that PCs that have it
 * do not fetch it again.
 */
#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/endian.h"
#include "base/err.h"
#include "base/fmt.h"
#include "images/builder.h"
#include "images/options.h"
#include "images/pe.h"
#include "storage/format/gpt.h"

#define EFI_MAX (16 * MIB)
#define CONF_MAX 4096
#define SCRIPT_MAX (64 * KIB)
#define SITEKEY_BYTES 4096
#define SITEKEY_MAGIC "FRSHKEY1"
#define SITEKEY_HEAD_BYTES 16
#define TEMPLATE_PATH "boot/ipxe/boot.ipxe.in"
#define TEMPLATE_INSTALLED "/usr/share/freshet/boot.ipxe.in"
#define FAT_EPOCH "315532800" /* 1980-01-01, the first moment FAT knows */

extern char **environ;

struct boot_args {
	const char *data, *key, *efi, *ipxe, *ipxe_efi, *url, *netboot_url, *sign_key, *sign_cert;
	char server[136]; /* of @url: host:port, or https://host:port; no slash behind */
	char netboot[128]; /* host:port, where iPXE fetches */
	struct cli_texts options;
	bool no_esp, quiet;
};

static const struct cli_option options[] = {
	CLI_TEXT("data", struct boot_args, data),
	CLI_TEXT("key", struct boot_args, key),
	CLI_TEXT("efi", struct boot_args, efi),
	CLI_TEXT("server", struct boot_args, url),
	CLI_TEXT("netboot", struct boot_args, netboot_url),
	CLI_TEXTS("option", struct boot_args, options),
	CLI_TEXT("ipxe", struct boot_args, ipxe),
	CLI_TEXT("ipxe-efi", struct boot_args, ipxe_efi),
	CLI_TEXT("sign-key", struct boot_args, sign_key),
	CLI_TEXT("sign-cert", struct boot_args, sign_cert),
	CLI_FLAG("no-esp", struct boot_args, no_esp),
	CLI_FLAG("quiet", struct boot_args, quiet),
	{ 0 },
};

/* The files, as they will lie in netboot/. */
struct boot_files {
	u8 *efi, *ipxe;
	size_t efi_bytes, ipxe_bytes; /* no iPXE: NULL */
	char conf[CONF_MAX];
	char *script;
};

static const char script_builtin[] =
	"#!ipxe\n"
	"# Made by: freshet boot build\n"
	"echo Freshet: loading from @SERVER@\n"
	"imgfetch --name freshet.conf @SERVER@/freshet.conf || goto failed\n"
	"imgfetch --name freshet.efi @SERVER@/freshet.efi || goto failed\n"
	"boot freshet.efi @OPTIONS@ || goto failed\n"
	":failed\n"
	"echo Freshet: could not start; next try in 10 seconds\n"
	"sleep 10\n"
	"chain --replace --autofree @SERVER@/boot.ipxe || goto failed\n";

/* "http://10.0.2.2:8080/" or "10.0.2.2:8080" to "10.0.2.2:8080" */
static int parse_plain(const char *text, char *out, size_t room)
{
	size_t n;

	if (!strncmp(text, "http://", 7))
		text += 7;
	n = strlen(text);
	if (n && text[n - 1] == '/')
		n--;
	if (!n || n >= room)
		return -EINVAL;
	for (size_t i = 0; i < n; i++)
		if (!strchr("0123456789.:abcdefghijklmnopqrstuvwxyz-ABCDEFGHIJKLMNOPQRSTUVWXYZ[]",
			    text[i]))
			return -EINVAL;
	memcpy(out, text, n);
	out[n] = 0;
	return 0;
}

/* The same; "https://10.0.2.2:8443/" becomes "https://10.0.2.2:8443". */
static int parse_server(const char *text, char *out, size_t room)
{
	static const char scheme[] = "https://";
	size_t n = sizeof(scheme) - 1;

	if (strncmp(text, scheme, n))
		return parse_plain(text, out, room);
	memcpy(out, scheme, n);
	return parse_plain(text + n, out + n, room - n);
}

static bool option_ok(const char *text)
{
	const char *eq = strchr(text, '=');

	if (!eq || eq == text || !eq[1])
		return false;
	for (const char *p = text; *p; p++)
		if (*p <= ' ' || *p > '~')
			return false;
	return true;
}

static enum cli_exit parse(const struct cli_command *c, struct boot_args *a, int argc, char **argv)
{
	*a = (struct boot_args){ 0 };
	if (cli_options(c, options, a, &argc, &argv))
		return CLI_USAGE;
	for (int i = 0; i < a->options.n; i++)
		if (!option_ok(a->options.text[i]))
			return cli_usage(c, "an option is key=value without spaces, not \"%s\"",
					 a->options.text[i]);
	if (!a->data || !a->efi || !a->url || argc)
		return cli_usage(c, "--data, --efi and --server are needed");
	if (!a->sign_key != !a->sign_cert)
		return cli_usage(c, "--sign-key and --sign-cert go together");
	if (parse_server(a->url, a->server, sizeof(a->server)))
		return cli_usage(c, "--server is http[s]://address:port, not \"%s\"", a->url);
	if (!a->netboot_url)
		a->netboot_url = a->url;
	if (parse_plain(a->netboot_url, a->netboot, sizeof(a->netboot)))
		return cli_usage(c, "--netboot is http://address:port (iPXE fetches over plain "
				 "HTTP), not \"%s\"", a->netboot_url);
	return CLI_OK;
}

static int read_file(const char *path, size_t max, u8 **out, size_t *bytes)
{
	struct datadir cwd = { .fd = AT_FDCWD };

	return datadir_read(&cwd, path, max, out, bytes);
}

/* Put the public key where freshet.efi looks for it. */
static int fill_sitekey(struct boot_files *f, const u8 pub[P256_PUB_BYTES], const char *path)
{
	size_t off, n;
	int err = pe_find_section(f->efi, f->efi_bytes, ".sitekey", &off, &n);

	if (!err && n < SITEKEY_HEAD_BYTES + P256_PUB_BYTES)
		err = -EMSGSIZE;
	if (err) {
		cli_error("%s has no usable .sitekey section (%s); is it Freshet's freshet.efi?",
			  path, err_name(err));
		return err;
	}
	memset(f->efi + off, 0, MIN(n, (size_t)SITEKEY_BYTES));
	memcpy(f->efi + off, SITEKEY_MAGIC, 8);
	put_le32(f->efi + off + 8, 1);
	memcpy(f->efi + off + SITEKEY_HEAD_BYTES, pub, P256_PUB_BYTES);
	return 0;
}

static int make_conf(struct boot_files *f, const struct boot_args *a)
{
	size_t n = (size_t)fmt_snprintf(f->conf, sizeof(f->conf), "server %s\n", a->server);

	for (int i = 0; i < a->options.n; i++) {
		const char *key = a->options.text[i], *eq = strchr(key, '=');

		n += (size_t)fmt_snprintf(f->conf + n, sizeof(f->conf) - n, "%.*s %s\n",
					  (int)(eq - key), key, eq + 1);
		if (n >= sizeof(f->conf)) {
			cli_error("the options are too long together");
			return -E2BIG;
		}
	}
	return 0;
}

/* @SERVER@ to http://..., @OPTIONS@ to "key=value ..." */
static void expand(FILE *out, const char *text, const struct boot_args *a)
{
	while (*text) {
		if (!strncmp(text, "@SERVER@", 8)) {
			fprintf(out, "http://%s", a->netboot);
			text += 8;
		} else if (!strncmp(text, "@OPTIONS@", 9)) {
			fprintf(out, "server=%s", a->server);
			for (int i = 0; i < a->options.n; i++)
				fprintf(out, " %s", a->options.text[i]);
			text += 9;
		} else {
			fputc(*text++, out);
		}
	}
}

static int make_script(struct boot_files *f, const struct boot_args *a)
{
	const char *path = a->ipxe ? a->ipxe : TEMPLATE_PATH;
	u8 *template = NULL;
	size_t bytes;
	FILE *out;
	int err = read_file(path, SCRIPT_MAX, &template, &bytes);

	if (err && !a->ipxe)
		err = read_file(TEMPLATE_INSTALLED, SCRIPT_MAX, &template, &bytes);
	if (err && (a->ipxe || err != -ENOENT)) {
		cli_error("cannot read the iPXE template %s: %s",
			  a->ipxe ? path : TEMPLATE_INSTALLED, strerror(-err));
		return err;
	}
	out = open_memstream(&f->script, &bytes);
	if (out) {
		expand(out, template ? (const char *)template : script_builtin, a);
		err = fclose(out) ? -ENOMEM : 0;
	}
	free(template);
	return out ? err : -ENOMEM;
}

/*
 * Start a program as who we are now. While we act as the data folder's owner, root is
 * still our real user, and a program may go back to that (mtools does): so for the
 * moment of its start the real user is the acting one.
 */
static int spawn(pid_t *pid, const char *const argv[])
{
	uid_t uid = getuid();
	gid_t gid = getgid();
	int err;

	if (setresgid(getegid(), -1, -1) || setresuid(geteuid(), -1, -1))
		return errno;
	err = posix_spawnp(pid, argv[0], NULL, NULL, (char *const *)argv, environ);
	if (setresuid(uid, -1, -1) || setresgid(gid, -1, -1))
		abort(); /* the saved ones are these */
	return err;
}

/* Run a program of @package; its own words say what is wrong. */
static int run_tool(const char *package, const char *const argv[])
{
	int status;
	pid_t pid;
	int err = spawn(&pid, argv);

	if (err) {
		cli_error("cannot run %s: %s; install the package %s", argv[0], strerror(err),
			  package);
		return -err;
	}
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	if (!WIFEXITED(status) || WEXITSTATUS(status)) {
		cli_error("%s failed", argv[0]);
		return -EIO;
	}
	return 0;
}

static int write_new(const char *path, const u8 *data, size_t bytes)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	int err = fd < 0 ? -errno : fd_write_all(fd, data, bytes);

	if (fd >= 0 && close(fd) && !err)
		err = -errno;
	return err;
}

static int sign_in(const char *folder, const struct boot_args *a, u8 **pe, size_t *bytes)
{
	char in[64], out[64];
	const char *const argv[] = { "sbsign", "--key", a->sign_key, "--cert", a->sign_cert,
				     "--output", out, in, NULL };
	int err;

	fmt_snprintf(in, sizeof(in), "%s/plain.efi", folder);
	fmt_snprintf(out, sizeof(out), "%s/signed.efi", folder);
	err = write_new(in, *pe, *bytes);
	if (!err)
		err = run_tool("sbsigntool", argv);
	free(*pe);
	*pe = NULL;
	if (!err)
		err = read_file(out, EFI_MAX, pe, bytes);
	unlink(in);
	unlink(out);
	return err;
}

/*
 * Sign a PE file for Secure Boot, in place. Behind the site's key, which the signature
 * covers; before the ESP is made, which holds the same file. The data folder's owner may
 * not see the key, so whoever called does it; root must not write where that owner could
 * plant a link, so it is done in a folder that is the caller's alone.
 */
static int sign(const struct boot_args *a, const struct datadir *d, u8 **pe, size_t *bytes)
{
	char folder[] = "/tmp/freshet-XXXXXX";
	int err;

	if (!a->sign_key || !*pe)
		return 0;
	cli_be_self();
	err = mkdtemp(folder) ? 0 : -errno;
	if (!err) {
		err = sign_in(folder, a, pe, bytes);
		rmdir(folder);
	}
	if (err)
		cli_error("cannot sign with %s: %s", a->sign_key, strerror(-err));
	cli_be_owner(d);
	return err;
}

/*
 * A FAT32 file system of exactly the size that gpt_plan() gives the ESP. Its
 * serial number and times are fixed; mtools takes the latter from the environment.
 */
static int make_esp(const char *data, const char *image)
{
	char efi[4096], conf[4096];
	const char *const format[] = { "mformat", "-i", image, "-F", "-c", "1", "-H", "2048",
				       "-h",	  "64",	"-s",  "32", "-N", "46525348", "-v",
				       "FRESHET", "-T", "131072", "::", NULL };
	const char *const folders[] = { "mmd",	       "-i",	       image, "::/EFI",
					"::/EFI/BOOT", "::/EFI/freshet", NULL };
	const char *const boot[] = { "mcopy", "-i", image, efi, "::/EFI/BOOT/BOOTX64.EFI", NULL };
	const char *const conf1[] = { "mcopy", "-i", image, conf, "::/EFI/BOOT/freshet.conf",
				      NULL };
	const char *const conf2[] = { "mcopy", "-i", image, conf, "::/EFI/freshet/freshet.conf",
				      NULL };
	const char *const *const steps[] = { format, folders, boot, conf1, conf2 };
	int fd = open(image, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	int err = 0;

	static_assert(GPT_ESP_BYTES == 131072 * 512ull, "mformat's -T");
	fmt_snprintf(efi, sizeof(efi), "%s/netboot/freshet.efi", data);
	fmt_snprintf(conf, sizeof(conf), "%s/netboot/freshet.conf", data);
	if (fd < 0 || ftruncate(fd, (off_t)GPT_ESP_BYTES))
		err = -errno;
	if (fd >= 0 && close(fd) && !err)
		err = -errno;
	if (err)
		cli_error("cannot write %s: %s", image, strerror(-err));
	setenv("SOURCE_DATE_EPOCH", FAT_EPOCH, 1);
	setenv("TZ", "UTC", 1);
	setenv("MTOOLSRC", "/dev/null", 1);
	setenv("MTOOLS_SKIP_CHECK", "1", 1);
	for (size_t i = 0; !err && i < ARRAY_SIZE(steps); i++)
		err = run_tool("mtools", steps[i]);
	return err;
}

static int old_esp(const struct datadir *d, u8 version[SHA256_BYTES])
{
	size_t bytes;
	u8 *text;
	int err = datadir_read(d, "netboot/esp", DIGEST_HEX + 1, &text, &bytes);

	if (err)
		return err;
	err = bytes < DIGEST_HEX ? -EINVAL :
				   fmt_unhex(version, SHA256_BYTES, (char *)text, DIGEST_HEX);
	free(text);
	return err;
}

/* The ESP as an image like any other, so that PCs fetch and check it in the same way. */
static int publish_esp(struct datadir *d, const struct crypto_key *key, const char *image,
		       bool quiet, u8 version[SHA256_BYTES])
{
	u8 before[SHA256_BYTES];
	struct source source;
	struct build_params p = {
		.dir = d,
		.key = key,
		.source = &source,
		.name = "esp",
		.label = "",
		.chunk_bytes = MANIFEST_CHUNK_DEFAULT,
		.sector_bytes = 512,
		.level = 6,
		.threads = 2,
		.reuse = old_esp(d, before) ? NULL : before,
		.quiet = quiet,
	};
	char line[DIGEST_HEX + 2];
	struct build_result r;
	int err = source_open(&source, image, "raw", 512);

	if (!err) {
		err = image_build(&p, &r);
		source_close(&source);
	}
	if (!err) {
		memcpy(version, r.version, SHA256_BYTES);
		fmt_hex(line, r.version, SHA256_BYTES);
		strcat(line, "\n");
		err = datadir_write(d, "netboot/esp", line, strlen(line), 0644);
	}
	if (err)
		cli_error("cannot make an image of %s: %s", image, strerror(-err));
	return err;
}

static int write_files(const struct datadir *d, const struct boot_files *f)
{
	int err = datadir_write(d, "netboot/freshet.efi", f->efi, f->efi_bytes, 0644);

	if (!err)
		err = f->ipxe ? datadir_write(d, "netboot/ipxe.efi", f->ipxe, f->ipxe_bytes, 0644) :
				0;
	if (!err)
		err = datadir_write(d, "netboot/freshet.conf", f->conf, strlen(f->conf), 0644);
	if (!err)
		err = datadir_write(d, "netboot/boot.ipxe", f->script, strlen(f->script), 0644);
	if (err)
		cli_error("cannot write %s/netboot: %s", d->path, strerror(-err));
	return err;
}

/* What comes from outside the data folder, whose owner may not be able to read it. */
static int read_files(struct boot_files *f, const struct boot_args *a,
		      const u8 pub[P256_PUB_BYTES])
{
	int err = read_file(a->efi, EFI_MAX, &f->efi, &f->efi_bytes);

	if (err)
		cli_error("cannot read %s: %s; build it with make", a->efi, strerror(-err));
	if (!err)
		err = fill_sitekey(f, pub, a->efi);
	if (!err && a->ipxe_efi) {
		err = read_file(a->ipxe_efi, EFI_MAX, &f->ipxe, &f->ipxe_bytes);
		if (err)
			cli_error("cannot read %s: %s", a->ipxe_efi, strerror(-err));
	}
	if (!err)
		err = make_conf(f, a);
	return err ? err : make_script(f, a);
}

static enum cli_exit build_locked(const struct boot_args *a, struct datadir *d,
				  struct boot_files *f, const struct crypto_key *key)
{
	u8 version[SHA256_BYTES];
	char image[4096], hex[DIGEST_HEX + 1];
	int err = sign(a, d, &f->efi, &f->efi_bytes);

	if (!err)
		err = sign(a, d, &f->ipxe, &f->ipxe_bytes);
	if (!err)
		err = write_files(d, f);
	if (err)
		return CLI_FAILED;
	printf("%s/netboot: freshet.efi %zu bytes, freshet.conf, boot.ipxe\n", a->data,
	       f->efi_bytes);
	if (a->no_esp)
		return CLI_OK;
	/* tmp/ is ours while we hold the lock; the old esp.img stays whole until the end. */
	fmt_snprintf(image, sizeof(image), "%s/tmp/esp.img", a->data);
	if (make_esp(a->data, image) || publish_esp(d, key, image, a->quiet, version))
		return CLI_FAILED;
	if (renameat(d->fd, "tmp/esp.img", d->fd, "netboot/esp.img")) {
		cli_error("cannot write %s/netboot/esp.img: %s", a->data, strerror(errno));
		return CLI_FAILED;
	}
	printf("esp      %s\n", cli_hex(hex, version));
	return CLI_OK;
}

static enum cli_exit run_build(const struct cli_command *c, int argc, char **argv)
{
	struct boot_files f = { 0 };
	u8 pub[P256_PUB_BYTES];
	struct crypto_key *key = NULL;
	struct boot_args a;
	enum cli_exit ret;
	struct datadir d;

	ret = parse(c, &a, argc, argv);
	if (ret)
		return ret;
	if (a.no_esp ? cli_public_key(pub, a.key, a.data) : cli_private_key(&key, a.key, a.data))
		return CLI_FAILED;
	if (key)
		key_public(key, pub);
	ret = CLI_FAILED;
	if (!read_files(&f, &a, pub) && !cli_open_data(&d, a.data, true)) {
		ret = build_locked(&a, &d, &f, key);
		datadir_close(&d);
	}
	free(f.efi);
	free(f.ipxe);
	free(f.script);
	key_free(key);
	return ret;
}

const struct cli_command cmd_boot_build = {
	.group = "boot",
	.verb = "build",
	.args = "--data DIR --efi FILE --server URL [OPTIONS]",
	.summary = "make the site's boot files: freshet.efi with its key, iPXE script, ESP",
	.help = "  --data DIR       the site's data folder; the files go to DIR/netboot\n"
		"  --key FILE       the site's private key (default DIR/site.key); with --no-esp\n"
		"                   site.pub will do\n"
		"  --efi FILE       freshet.efi as it was built\n"
		"  --server URL     where PCs find freshetd, e.g. http://10.0.0.1:8080, or\n"
		"                   its TLS port: https://10.0.0.1:8443\n"
		"  --netboot URL    where iPXE finds it, plain HTTP; default: as --server\n"
		"  --option K=V     another line for freshet.conf; may be given many times\n"
		"  --ipxe FILE      the script's template (default " TEMPLATE_PATH ",\n"
		"                   the installed one, or one built in); @SERVER@ and @OPTIONS@\n"
		"                   are replaced\n"
		"  --ipxe-efi FILE  iPXE itself, served as /ipxe.efi, for boots by HTTP\n"
		"  --sign-key FILE  sign freshet.efi and iPXE for Secure Boot, with this key\n"
		"  --sign-cert FILE and its certificate, both PEM; runs sbsign\n"
		"  --no-esp         leave the ESP alone: PCs cannot boot offline\n"
		"  --quiet          no progress\n"
		"\n"
		"The ESP becomes an image of its own; boot tickets name it from then on.\n",
	.run = run_build,
};
