/*
 * main.c - the UEFI application: from the firmware to the OS, with the VMM below
 *
 *   crash       what a panic has left in memory, first of all
 *   options     freshet.conf and load options; the files' home may vanish later
 *   machine     processor, memory, disk, NIC
 *   hand-off    all the VMM must know, in one structure
 *   take        the firmware lets go of disk and NIC; or memory in place of a disk
 *   launch      every CPU comes back as the VMM's guest
 *   deploy      the VMM gets the image's disk ready; progress on the console
 *   boot        the firmware finds the virtual disk, the OS's loader starts
 *
 * Each step either works or shows a trouble screen (trouble.c), whose retry
 * does the step again. Nothing after `take` uses what we were loaded from. In
 * mode=null the VMM runs and takes nothing: the OS boots from the real disk.
 */
#include <string.h>

#include "base/err.h"
#include "base/fmt.h"
#include "boot/loader/launch.h"
#include "boot/loader/loader.h"
#include "boot/loader/sitekey.h"
#include "boot/loader/version.h"

static_assert(SITEKEY_MAX == HANDOFF_KEYS_MAX, "keys");

extern const u8 vmm_elf_start[], vmm_elf_end[], sitekey_section[];

static EFI_GUID loaded_image_guid = EFI_LOADED_IMAGE_PROTOCOL_GUID;

static struct loader loader;
static EFI_HANDLE virtual_disk;

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *table);

static int bad_option(struct loader *l, const struct options_error *e)
{
	if (e->line)
		fmt_snprintf(l->detail, sizeof(l->detail), "freshet.conf line %u: %s: %s", e->line,
			     e->key, e->what);
	else
		fmt_snprintf(l->detail, sizeof(l->detail), "option %s: %s", e->key, e->what);
	return FR_BAD_CONFIG;
}

static int settle_options(struct loader *l)
{
	static char text[OPTIONS_FILE_MAX + 1];
	struct options_error e;
	size_t bytes;
	int err;

	options_init(&l->options);
	err = files_read_config(l, text, sizeof(text), &bytes);
	if (err == -EIO) {
		fmt_snprintf(l->detail, sizeof(l->detail), "freshet.conf cannot be read");
		return FR_BAD_CONFIG;
	}
	if (!err && options_file(&l->options, text, bytes, &e))
		return bad_option(l, &e);
	err = options_load(&l->options, l->loaded->LoadOptions, l->loaded->LoadOptionsSize, &e);
	if (err == -EINVAL || options_complete(&l->options, &e))
		return bad_option(l, &e);
	return 0;
}

static int read_keys(struct loader *l)
{
	int n = sitekey_read(sitekey_section, l->handoff.keys);

	if (n > 0) {
		l->handoff.key_count = (u32)n;
		return 0;
	}
	fmt_snprintf(l->detail, sizeof(l->detail), "section .sitekey is %s",
		     n == -ENOENT ? "empty" : "damaged");
	return FR_NO_KEY;
}

static int fill_handoff(struct loader *l)
{
	struct handoff *h = &l->handoff;
	int n = options_render(&l->options, h->options, sizeof(h->options));

	h->magic = HANDOFF_MAGIC;
	h->version = HANDOFF_VERSION;
	h->bytes = sizeof(*h);
	h->flags = options_null_mode(&l->options) ? HANDOFF_FLAG_NULL : 0;
	h->flags |= options_test_mode(&l->options) ? HANDOFF_FLAG_TEST : 0;
	h->options_bytes = n > 0 ? (u32)n : 0;
	fmt_snprintf(h->version_text, sizeof(h->version_text), "%s", FRESHET_VERSION);
	machine_describe(h);
	entropy_collect(h);
	screen_describe(&h->screen);
	return 0;
}

static int start_vmm(struct loader *l)
{
	int err = launch_vmm(&l->handoff, vmm_elf_start, (size_t)(vmm_elf_end - vmm_elf_start));

	/* The VMM has its own copy; this one the guest could read. */
	__builtin_memset(l->handoff.seed, 0, sizeof(l->handoff.seed));
	if (!err) {
		l->running = true;
		con_print("VMM runs on %u CPU(s), %llu MiB reserved\n", l->handoff.cpu_count,
			  (unsigned long long)(l->handoff.region_bytes / MIB));
		return 0;
	}
	fmt_snprintf(l->detail, sizeof(l->detail), "launch: %s", err_name(-err));
	return err == -ENOMEM ? FR_LOW_MEMORY : FR_LAUNCH_FAILED;
}

static int give_disk(struct loader *l)
{
	return devices_give_disk(l, l->status.disk_bdf, &virtual_disk);
}

static int boot(struct loader *l)
{
	return os_boot(l, virtual_disk);
}

/* Do a step until it works; the person at the PC decides about trying again. */
static void must(struct loader *l, int (*step)(struct loader *l))
{
	int code;

	for (;;) {
		l->detail[0] = 0;
		code = step(l);
		if (!code)
			return;
		trouble(l, (u32)code, WAY_RETRY);
	}
}

/* A step that cannot be repeated: some CPUs may be guests already. */
static void once(struct loader *l, int (*step)(struct loader *l))
{
	int code = step(l);

	if (code)
		for (;;)
			trouble(l, (u32)code, 0);
}

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *table)
{
	struct loader *l = &loader;

	ST = table;
	BS = table->BootServices;
	RT = table->RuntimeServices;
	l->image = image;
	con_init();
	con_print("Freshet %s\n", FRESHET_VERSION);
	crash_find(&l->handoff.crash);
	if (EFI_ERROR(BS->HandleProtocol(image, &loaded_image_guid, (void **)&l->loaded)))
		return EFI_UNSUPPORTED;
	BS->SetWatchdogTimer(0, 0, 0, NULL); /* a first boot may outlast its 5 minutes */

	must(l, settle_options);
	must(l, machine_check);
	if (!options_null_mode(&l->options)) {
		must(l, read_keys);
		must(l, devices_find);
	}
	must(l, fill_handoff);
	if (!options_null_mode(&l->options)) {
		must(l, devices_take);
		must(l, diskless_prepare);
	}
	once(l, start_vmm);
	if (!options_null_mode(&l->options)) {
		must(l, deploy);
		must(l, give_disk);
	}
	must(l, boot);
	reboot();
}
