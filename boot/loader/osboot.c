/*
 * osboot.c - the OS's own boot loader, from the virtual disk
 *
 * In mode=null there is no virtual disk and any file system will do, except
 * for the very file we are.
 */
#include <string.h>

#include "base/err.h"
#include "base/fmt.h"
#include "boot/loader/launch.h"
#include "boot/loader/loader.h"

static EFI_GUID file_system_guid = EFI_SIMPLE_FILE_SYSTEM_PROTOCOL_GUID;
static EFI_GUID device_path_guid = EFI_DEVICE_PATH_PROTOCOL_GUID;
static EFI_GUID loaded_image_guid = EFI_LOADED_IMAGE_PROTOCOL_GUID;
static EFI_GUID block_io_guid = EFI_BLOCK_IO_PROTOCOL_GUID;

/* The removable-media path first [UEFI 2.10 §3.5.1.1], then what Debian installs. */
static const char *const usual[] = {
	"\\EFI\\BOOT\\BOOTX64.EFI",
	"\\EFI\\debian\\shimx64.efi",
	"\\EFI\\debian\\grubx64.efi",
};

/* Boot services are over: the OS is alone with its disk from here. */
static EFIAPI void boot_services_end(EFI_EVENT event __unused, void *context __unused)
{
	hypercall(HC_DONE, 0);
}

/* @fs's path with a file name behind it; from the pool. */
static EFI_DEVICE_PATH *file_path(EFI_HANDLE fs, const char *name)
{
	EFI_DEVICE_PATH *p, *end, *whole;
	FILEPATH_DEVICE_PATH *file;
	size_t head, n = strlen(name) + 1, node = 4 + 2 * n;
	u8 *out;

	if (EFI_ERROR(BS->HandleProtocol(fs, &device_path_guid, (void **)&p)))
		return NULL;
	for (end = p; !IsDevicePathEnd(end); end = NextDevicePathNode(end))
		if (DevicePathNodeLength(end) < 4)
			return NULL;
	head = (size_t)((u8 *)end - (u8 *)p);
	if (EFI_ERROR(BS->AllocatePool(EfiBootServicesData, head + node + 4, (void **)&whole)))
		return NULL;
	out = (u8 *)whole;
	memcpy(out, p, head);
	file = (FILEPATH_DEVICE_PATH *)(out + head);
	file->Header.Type = MEDIA_DEVICE_PATH;
	file->Header.SubType = MEDIA_FILEPATH_DP;
	SetDevicePathNodeLength(&file->Header, node);
	for (size_t i = 0; i < n; i++) {
		out[head + 4 + 2 * i] = (u8)name[i];
		out[head + 4 + 2 * i + 1] = 0;
	}
	end = (EFI_DEVICE_PATH *)(out + head + node);
	SetDevicePathEndNode(end);
	return whole;
}

/* Are @fs and @name the file we were started from? Case does not count on FAT. */
static bool is_own_file(struct loader *l, EFI_HANDLE fs, const char *name)
{
	EFI_DEVICE_PATH *p = l->loaded->FilePath;
	const CHAR16 *own;

	if (!options_null_mode(&l->options) || fs != l->loaded->DeviceHandle || !p ||
	    DevicePathType(p) != MEDIA_DEVICE_PATH || DevicePathSubType(p) != MEDIA_FILEPATH_DP)
		return false;
	own = ((FILEPATH_DEVICE_PATH *)p)->PathName;
	for (; *name; name++, own++)
		if ((*own | 0x20) != (CHAR16)(*name | 0x20))
			return false;
	return !*own;
}

/* Start one candidate. EFI_NOT_FOUND: there is none; else why it is not running. */
static EFI_STATUS start(struct loader *l, EFI_HANDLE fs, const char *name)
{
	EFI_DEVICE_PATH *path;
	EFI_HANDLE os = NULL;
	EFI_LOADED_IMAGE *info;
	EFI_STATUS s;

	if (is_own_file(l, fs, name))
		return EFI_NOT_FOUND;
	path = file_path(fs, name);
	if (!path)
		return EFI_NOT_FOUND;
	s = BS->LoadImage(FALSE, l->image, path, NULL, 0, &os);
	BS->FreePool(path);
	if (s == EFI_NOT_FOUND)
		return s;
	if (!EFI_ERROR(s)) {
		if (!EFI_ERROR(BS->HandleProtocol(os, &loaded_image_guid, (void **)&info)))
			info->LoadOptionsSize = 0;
		con_print("starting %s\n", name);
		s = BS->StartImage(os, NULL, NULL);
		fmt_snprintf(l->detail, sizeof(l->detail), "%s came back: %s", name, efi_text(s));
		return s ? s : EFI_ABORTED;
	}
	if (os)
		BS->UnloadImage(os);
	fmt_snprintf(l->detail, sizeof(l->detail), "%s: %s", name, efi_text(s));
	return s;
}

static EFI_STATUS start_from(struct loader *l, EFI_HANDLE fs)
{
	const char *wanted = l->options.value[OPTION_LOADER];
	EFI_STATUS s = EFI_NOT_FOUND;

	if (wanted[0])
		return start(l, fs, wanted);
	for (size_t i = 0; i < ARRAY_SIZE(usual) && s == EFI_NOT_FOUND; i++)
		s = start(l, fs, usual[i]);
	return s;
}

/* A disc in an optical drive behind the virtual controller is not what this PC starts from. */
static bool on_disc(EFI_HANDLE fs)
{
	EFI_BLOCK_IO *io;

	return !EFI_ERROR(BS->HandleProtocol(fs, &block_io_guid, (void **)&io)) &&
	       io->Media->RemovableMedia;
}

/* Try every file system behind @disk, or anywhere. Return: how many there were. */
static UINTN try_all(struct loader *l, EFI_HANDLE disk)
{
	EFI_HANDLE *handles;
	UINTN n, seen = 0;

	if (EFI_ERROR(BS->LocateHandleBuffer(ByProtocol, &file_system_guid, NULL, &n, &handles)))
		return 0;
	for (UINTN i = 0; i < n; i++) {
		if (disk && (!path_starts_with(handles[i], disk) || on_disc(handles[i])))
			continue;
		seen++;
		if (start_from(l, handles[i]) != EFI_NOT_FOUND)
			break;
	}
	BS->FreePool(handles);
	return seen;
}

/* Firmware in a hurry connects only what its boot entry needed. */
static void connect_all(void)
{
	EFI_HANDLE *handles;
	UINTN n;

	if (EFI_ERROR(BS->LocateHandleBuffer(AllHandles, NULL, NULL, &n, &handles)))
		return;
	for (UINTN i = 0; i < n; i++)
		BS->ConnectController(handles[i], NULL, NULL, TRUE);
	BS->FreePool(handles);
}

/**
 * os_boot() - hand the PC to the OS
 * @disk: controller to look behind; NULL: everywhere (mode=null)
 *
 * Returns only when that failed, or when the OS's loader came back.
 * Return: FR_NO_OS_LOADER or FR_FIRMWARE.
 */
int os_boot(struct loader *l, EFI_HANDLE disk)
{
	EFI_EVENT event;
	EFI_STATUS s;
	UINTN seen;

	s = BS->CreateEvent(EVT_SIGNAL_EXIT_BOOT_SERVICES, TPL_NOTIFY, boot_services_end, NULL,
			    &event);
	if (EFI_ERROR(s)) {
		fmt_snprintf(l->detail, sizeof(l->detail), "an event: %s", efi_text(s));
		return FR_FIRMWARE;
	}
	l->detail[0] = 0;
	seen = try_all(l, disk);
	if (!disk && !l->detail[0]) {
		connect_all();
		seen = try_all(l, disk);
	}
	BS->CloseEvent(event);
	if (!l->detail[0])
		fmt_snprintf(l->detail, sizeof(l->detail), "%u FAT file system(s), no boot loader",
			     (u32)seen);
	return FR_NO_OS_LOADER;
}
