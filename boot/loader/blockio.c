/*
 * blockio.c - the virtual disk as a Block I/O protocol of the loader's own
 *
 * A firmware's PCI bus was enumerated before the VMM came: a virtual controller
 * at an address where nothing was has no handle, and no driver will ever be
 * asked to bind to it. Nor does a firmware without an NVMe driver do anything
 * with one that replaced a real controller. For both the loader brings this:
 * the firmware's partition and FAT drivers bind on top of it, the OS's own boot
 * loader reads through it, and at ExitBootServices it is gone; the OS finds the
 * controller by itself.
 *
 * The device path is the one that an NVMe driver would have made,
 * PciRoot(0)/Pci(d,f)/NVMe(1,...), so that an OS loader that remembers it, or
 * looks for "its" disk, finds what it expects.
 *
 * Synchronous as the protocol is. Callers come at up to TPL_CALLBACK; the call
 * raises to TPL_NOTIFY, so that none comes in between another one's begin and
 * end. [UEFI 2.10 §13.9, §10.3]
 */
#include <string.h>

#include "base/err.h"
#include "base/fmt.h"
#include "boot/loader/hcdisk.h"
#include "boot/loader/loader.h"

#define MEDIA_ID 0x46525348u
#define MSG_NVME_NS 0x17 /* [UEFI 2.10 §10.3.4.22] */

struct nvme_node {
	EFI_DEVICE_PATH head;
	u8 nsid[4];
	u8 eui[8];
} __packed;

struct pci_node {
	EFI_DEVICE_PATH head;
	u8 function, device;
} __packed;

static EFI_GUID block_io_guid = EFI_BLOCK_IO_PROTOCOL_GUID;
static EFI_GUID device_path_guid = EFI_DEVICE_PATH_PROTOCOL_GUID;
static EFI_GUID root_bridge_guid = EFI_PCI_ROOT_BRIDGE_IO_PROTOCOL_GUID;

static EFI_BLOCK_IO_MEDIA media = { .MediaId = MEDIA_ID, .MediaPresent = TRUE };

static EFI_STATUS status_of(int err)
{
	switch (err) {
	case 0:
		return EFI_SUCCESS;
	case -EINVAL:
	case -EFAULT: /* a buffer that is no memory of the guest's */
		return EFI_INVALID_PARAMETER;
	case -ENOSPC:
		return EFI_VOLUME_FULL;
	default:
		return EFI_DEVICE_ERROR;
	}
}

static EFI_STATUS check(UINT32 media_id, EFI_LBA lba, UINTN bytes, const void *buffer)
{
	if (media_id != MEDIA_ID)
		return EFI_MEDIA_CHANGED;
	if (!buffer)
		return EFI_INVALID_PARAMETER;
	if (bytes % media.BlockSize)
		return EFI_BAD_BUFFER_SIZE;
	if (lba > media.LastBlock || bytes / media.BlockSize > media.LastBlock - lba + 1)
		return EFI_INVALID_PARAMETER;
	return EFI_SUCCESS;
}

static EFI_STATUS EFIAPI block_reset(EFI_BLOCK_IO *this __unused, BOOLEAN extended __unused)
{
	return EFI_SUCCESS;
}

static EFI_STATUS EFIAPI block_read(EFI_BLOCK_IO *this __unused, UINT32 media_id, EFI_LBA lba,
				    UINTN bytes, VOID *buffer)
{
	EFI_STATUS s = check(media_id, lba, bytes, buffer);
	EFI_TPL tpl;

	if (s)
		return s;
	tpl = BS->RaiseTPL(TPL_NOTIFY);
	s = status_of(hcdisk_read(lba, media.BlockSize, buffer, bytes));
	BS->RestoreTPL(tpl);
	return s;
}

static EFI_STATUS EFIAPI block_write(EFI_BLOCK_IO *this __unused, UINT32 media_id, EFI_LBA lba,
				     UINTN bytes, VOID *buffer)
{
	EFI_STATUS s = check(media_id, lba, bytes, buffer);
	EFI_TPL tpl;

	if (s)
		return s;
	tpl = BS->RaiseTPL(TPL_NOTIFY);
	s = status_of(hcdisk_write(lba, media.BlockSize, buffer, bytes));
	BS->RestoreTPL(tpl);
	return s;
}

static EFI_STATUS EFIAPI block_flush(EFI_BLOCK_IO *this __unused)
{
	EFI_TPL tpl = BS->RaiseTPL(TPL_NOTIFY);
	EFI_STATUS s = status_of(hcdisk_flush());

	BS->RestoreTPL(tpl);
	return s;
}

static EFI_BLOCK_IO block_io = {
	.Revision = EFI_BLOCK_IO_INTERFACE_REVISION,
	.Media = &media,
	.Reset = block_reset,
	.ReadBlocks = block_read,
	.WriteBlocks = block_write,
	.FlushBlocks = block_flush,
};

/* ------------------------------------------------- its place */

/* Bytes of @p without its end node; 0 when it is malformed. */
static size_t path_bytes(const EFI_DEVICE_PATH *p)
{
	const u8 *from = (const u8 *)p;

	for (; !IsDevicePathEnd(p); p = NextDevicePathNode(p))
		if (DevicePathNodeLength(p) < 4)
			return 0;
	return (size_t)((const u8 *)p - from);
}

/* The path of the first PCI root bridge, which is bus 0's; NULL: there is none. */
static EFI_DEVICE_PATH *root_path(void)
{
	EFI_DEVICE_PATH *p = NULL;
	EFI_HANDLE *handles;
	UINTN n;

	if (EFI_ERROR(BS->LocateHandleBuffer(ByProtocol, &root_bridge_guid, NULL, &n, &handles)))
		return NULL;
	if (!n || EFI_ERROR(BS->HandleProtocol(handles[0], &device_path_guid, (void **)&p)))
		p = NULL;
	BS->FreePool(handles);
	return p;
}

static void *put_node(u8 **at, u8 type, u8 subtype, u16 bytes)
{
	EFI_DEVICE_PATH *n = (EFI_DEVICE_PATH *)*at;

	memset(n, 0, bytes);
	n->Type = type;
	n->SubType = subtype;
	SetDevicePathNodeLength(n, bytes);
	*at += bytes;
	return n;
}

/* @controller's path, or one for function @bdf of bus 0, with a namespace behind; from the pool. */
static EFI_DEVICE_PATH *make_path(EFI_HANDLE controller, u32 bdf)
{
	EFI_DEVICE_PATH *parent = NULL, *whole;
	struct pci_node *pci;
	struct nvme_node *ns;
	size_t head;
	u8 *at;

	if (!controller || EFI_ERROR(BS->HandleProtocol(controller, &device_path_guid,
							(void **)&parent))) {
		controller = NULL;
		parent = root_path();
	}
	head = parent ? path_bytes(parent) : 0;
	if (EFI_ERROR(BS->AllocatePool(EfiBootServicesData, head + sizeof(*pci) + sizeof(*ns) + 4,
				       (void **)&whole)))
		return NULL;
	at = (u8 *)whole;
	memcpy(at, parent, head);
	at += head;
	if (!controller) {
		pci = put_node(&at, HARDWARE_DEVICE_PATH, HW_PCI_DP, sizeof(*pci));
		pci->device = bdf >> 3 & 31;
		pci->function = bdf & 7;
	}
	ns = put_node(&at, MESSAGING_DEVICE_PATH, MSG_NVME_NS, sizeof(*ns));
	ns->nsid[0] = 1;
	SetDevicePathEndNode((EFI_DEVICE_PATH *)at);
	return whole;
}

/**
 * blockio_install() - give the firmware a disk, and its drivers the chance to look at it
 * @controller: the controller's handle, or NULL
 * @disk:       out, the disk's handle
 *
 * The VMM has attached the disk. Return: 0, or FR_FIRMWARE.
 */
int blockio_install(struct loader *l, EFI_HANDLE controller, EFI_HANDLE *disk)
{
	const struct handoff_status *st = &l->status;
	EFI_DEVICE_PATH *path = make_path(controller, st->disk_bdf);
	EFI_STATUS s = EFI_OUT_OF_RESOURCES;

	if (!st->sector_bytes || st->disk_bytes < st->sector_bytes)
		s = EFI_NO_MEDIA;
	else if (path) {
		media.BlockSize = st->sector_bytes;
		media.LastBlock = st->disk_bytes / st->sector_bytes - 1;
		*disk = NULL;
		s = BS->InstallMultipleProtocolInterfaces(disk, &block_io_guid, &block_io,
							  &device_path_guid, path, NULL);
	}
	if (EFI_ERROR(s)) {
		fmt_snprintf(l->detail, sizeof(l->detail), "the virtual disk: %s", efi_text(s));
		return FR_FIRMWARE;
	}
	BS->ConnectController(*disk, NULL, NULL, TRUE);
	return 0;
}
