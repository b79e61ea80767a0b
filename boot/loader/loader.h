/*
 * loader.h - what the loader's files share
 *
 * Everything runs on the BSP at TPL_APPLICATION except the ExitBootServices
 * notification. A step returns 0 or an enum handoff_code; with a code it has
 * put the particulars into loader.detail.
 */
#ifndef BOOT_LOADER_LOADER_H
#define BOOT_LOADER_LOADER_H

#include <efi.h>
#include <efilib.h>

#include "base/types.h"
#include "boot/handoff.h"
#include "boot/loader/options.h"

#define LOADER_DISKS_MAX (HANDOFF_PCI_MAX - 1) /* controllers; and a NIC */
#define LOADER_MS(n) ((UINTN)(n) * 1000) /* BS->Stall() counts microseconds */

struct device {
	EFI_HANDLE handle;
	EFI_PCI_IO *io;
	struct handoff_pci id;
};

struct loader {
	EFI_HANDLE image;
	EFI_LOADED_IMAGE *loaded; /* invalid pointers inside after devices_take() */
	struct options options;
	struct device disks[LOADER_DISKS_MAX]; /* controllers; the one we came through is first */
	u32 disk_count;
	struct device nic; /* handle NULL: none */
	bool diskless; /* memory instead */
	struct handoff handoff;
	struct handoff_status status; /* as of the last HC_STATUS */
	bool running; /* this CPU is the VMM's guest */
	char detail[160];
};

/* console.c */
void con_init(void);
void con_print(const char *fmt, ...) __printf_like(1, 2);
void con_redraw(const char *fmt, ...) __printf_like(1, 2);
void con_redraw_end(void);
char con_key(void);

/* trouble.c */
enum way { WAY_RETRY = BIT(0), WAY_CACHE = BIT(1) };
enum way trouble(struct loader *l, u32 code, u32 ways);
void reboot(void) __attribute__((noreturn));

/* files.c */
int files_read_config(struct loader *l, char *text, size_t room, size_t *bytes);

/* machine.c */
int machine_check(struct loader *l);
void machine_describe(struct handoff *h);
u64 machine_free_ram(void);

/* crash.c */
void crash_find(struct crash_record *out);

/* entropy.c */
void entropy_collect(struct handoff *h);

/* screen.c */
void screen_describe(struct handoff_screen *s);

/* devices.c */
int devices_find(struct loader *l);
int devices_take(struct loader *l);
int devices_give_disk(struct loader *l, u32 bdf, EFI_HANDLE *disk);
bool path_starts_with(EFI_HANDLE handle, EFI_HANDLE parent);

/* blockio.c */
int blockio_install(struct loader *l, EFI_HANDLE controller, EFI_HANDLE *disk);

/* diskless.c */
int diskless_prepare(struct loader *l);

/* deploy.c */
int deploy(struct loader *l);

/* osboot.c */
int os_boot(struct loader *l, EFI_HANDLE disk);

/* status of the firmware as text, for details */
const char *efi_text(EFI_STATUS s);

#endif
