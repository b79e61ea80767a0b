/*
 * files.c - freshet.conf, from whatever freshet.efi came from
 *
 * iPXE puts a small file system on the handle it starts us from, with the files
 * that its script fetched, all in one flat folder. An ESP is a real file system
 * on a disk, and our own folder there is tried first. A firmware's own PXE or
 * HTTP boot has none: then the load options are all there is.
 *
 * Read before devices_take(), which may remove the disk or NIC we came from.
 */
#include "base/err.h"
#include "base/fmt.h"
#include "boot/loader/loader.h"

static EFI_GUID file_system_guid = EFI_SIMPLE_FILE_SYSTEM_PROTOCOL_GUID;

#define PATH_CHARS 260

/* Our own path with the last name replaced, or "freshet.conf" alone. */
static void path_beside_us(const struct loader *l, CHAR16 *path)
{
	static const CHAR16 name[] = L"freshet.conf";
	EFI_DEVICE_PATH *p = l->loaded->FilePath;
	size_t n = 0, dir = 0;

	for (int nodes = 0; p && !IsDevicePathEnd(p) && nodes < 16; nodes++) {
		size_t bytes = DevicePathNodeLength(p);
		const CHAR16 *part = ((FILEPATH_DEVICE_PATH *)p)->PathName;

		if (bytes < 4)
			break;
		if (DevicePathType(p) == MEDIA_DEVICE_PATH &&
		    DevicePathSubType(p) == MEDIA_FILEPATH_DP) {
			if (n && path[n - 1] != L'\\' && part[0] != L'\\' && n < PATH_CHARS - 20)
				path[n++] = L'\\';
			for (size_t i = 0; i < (bytes - 4) / 2 && part[i]; i++)
				if (n < PATH_CHARS - 20)
					path[n++] = part[i];
		}
		p = NextDevicePathNode(p);
	}
	for (size_t i = 0; i < n; i++)
		if (path[i] == L'\\')
			dir = i + 1;
	CopyMem(path + dir, name, sizeof(name));
}

static EFI_STATUS read_file(EFI_FILE *root, CHAR16 *path, char *text, size_t room, size_t *bytes)
{
	UINTN n = room;
	EFI_FILE *f;
	EFI_STATUS s = root->Open(root, &f, path, EFI_FILE_MODE_READ, 0);

	if (EFI_ERROR(s))
		return s;
	s = f->Read(f, &n, text);
	f->Close(f);
	*bytes = n;
	return s;
}

/**
 * files_read_config() - find and read freshet.conf
 * @text:  out, not terminated
 * @room:  a longer file is cut to it; the caller sees *bytes == room
 *
 * Return: 0; -ENOENT when there is no file or no file system; -EIO when there
 * is a file that cannot be read.
 */
int files_read_config(struct loader *l, char *text, size_t room, size_t *bytes)
{
	static CHAR16 beside[PATH_CHARS];
	CHAR16 *const tries[] = { beside, L"\\freshet.conf", L"\\EFI\\freshet\\freshet.conf" };
	EFI_HANDLE from = l->loaded->DeviceHandle;
	EFI_FILE_IO_INTERFACE *fs;
	EFI_FILE *root;
	EFI_STATUS s;

	*bytes = 0;
	if (!from || EFI_ERROR(BS->HandleProtocol(from, &file_system_guid, (void **)&fs)) ||
	    EFI_ERROR(fs->OpenVolume(fs, &root)))
		return -ENOENT;
	path_beside_us(l, beside);
	for (size_t i = 0; i < ARRAY_SIZE(tries); i++) {
		s = read_file(root, tries[i], text, room, bytes);
		if (!EFI_ERROR(s) || s == EFI_DEVICE_ERROR || s == EFI_VOLUME_CORRUPTED)
			break;
	}
	root->Close(root);
	if (!EFI_ERROR(s))
		return 0;
	*bytes = 0;
	return s == EFI_DEVICE_ERROR || s == EFI_VOLUME_CORRUPTED ? -EIO : -ENOENT;
}
