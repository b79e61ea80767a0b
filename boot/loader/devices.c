/*
 * devices.c - the disk and the NIC: found, taken from the firmware, given back
 *
 * One NVMe controller and one NIC become the VMM's. When there are several, the
 * ones that freshet.efi itself came through win, then the first found: that is
 * the disk with our ESP, or the NIC that reached the server.
 *
 * Without an NVMe disk, or when the options say so, the PC is diskless: memory
 * stands in (diskless.c), and the disks that there are stay with firmware and OS.
 *
 * Taking means DisconnectController(): the firmware's driver stops the device,
 * and every protocol above it goes away, among them the file system or network
 * device we were loaded from. Nothing of l->loaded is touched after that.
 */
#include "base/err.h"
#include "base/fmt.h"
#include "boot/loader/loader.h"
#include "boot/loader/nics.h"

/* [PCI 3.0 App. D]: class code 01-08-02 is an NVM Express I/O controller */
#define PCI_ID 0x00
#define PCI_CLASS 0x08
#define PCI_CLASS_NVME 0x010802u

static EFI_GUID pci_io_guid = EFI_PCI_IO_PROTOCOL_GUID;
static EFI_GUID device_path_guid = EFI_DEVICE_PATH_PROTOCOL_GUID;

static EFI_DEVICE_PATH *path_of(EFI_HANDLE handle)
{
	EFI_DEVICE_PATH *p;

	if (!handle || EFI_ERROR(BS->HandleProtocol(handle, &device_path_guid, (void **)&p)))
		return NULL;
	return p;
}

/**
 * path_starts_with() - does @handle's device stand behind @parent's?
 */
bool path_starts_with(EFI_HANDLE handle, EFI_HANDLE parent)
{
	EFI_DEVICE_PATH *p = path_of(handle), *q = path_of(parent);

	if (!p || !q)
		return false;
	for (; !IsDevicePathEnd(q); p = NextDevicePathNode(p), q = NextDevicePathNode(q)) {
		int n = DevicePathNodeLength(q);

		if (n < 4 || IsDevicePathEnd(p) || DevicePathNodeLength(p) != n ||
		    CompareMem(p, q, (UINTN)n))
			return false;
	}
	return true;
}

/* The PCI function behind @handle; kind 0 when it is nothing of ours. */
static struct device probe(EFI_HANDLE handle)
{
	struct device d = { .handle = handle };
	UINTN segment, bus, dev, fn;
	u32 id, class;

	if (EFI_ERROR(BS->HandleProtocol(handle, &pci_io_guid, (void **)&d.io)) ||
	    EFI_ERROR(d.io->GetLocation(d.io, &segment, &bus, &dev, &fn)) ||
	    EFI_ERROR(d.io->Pci.Read(d.io, EfiPciIoWidthUint32, PCI_ID, 1, &id)) ||
	    EFI_ERROR(d.io->Pci.Read(d.io, EfiPciIoWidthUint32, PCI_CLASS, 1, &class)))
		return d;
	d.id.segment = (u16)segment;
	d.id.bdf = (u16)(bus << 8 | dev << 3 | fn);
	d.id.vendor = (u16)id;
	d.id.device = (u16)(id >> 16);
	if (class >> 8 == PCI_CLASS_NVME)
		d.id.kind = HANDOFF_PCI_NVME;
	else if (nic_supported(d.id.vendor, d.id.device))
		d.id.kind = HANDOFF_PCI_NIC;
	return d;
}

static void say(const char *what, const struct device *d, u32 count)
{
	con_print("%s %04x:%02x:%02x.%x [%04x:%04x]%s\n", what, d->id.segment, d->id.bdf >> 8,
		  d->id.bdf >> 3 & 31, d->id.bdf & 7, d->id.vendor, d->id.device,
		  count > 1 ? ", one of several: the others stay with the firmware" : "");
}

static EFI_STATUS pci_handles(EFI_HANDLE **handles, UINTN *n)
{
	return BS->LocateHandleBuffer(ByProtocol, &pci_io_guid, NULL, n, handles);
}

/**
 * devices_find() - choose the disk and the NIC
 *
 * A missing NIC is said and left to the VMM: what is complete on the disk boots
 * without. A diskless PC has nothing to boot then.
 * Return: 0, or FR_NO_DISK, FR_NO_NIC, FR_FIRMWARE.
 */
int devices_find(struct loader *l)
{
	enum options_disk want = options_disk(&l->options);
	u32 disks = 0, nic_count = 0;
	EFI_HANDLE *handles;
	EFI_STATUS s;
	UINTN n;

	l->disk.handle = l->nic.handle = NULL;
	s = pci_handles(&handles, &n);
	if (EFI_ERROR(s)) {
		fmt_snprintf(l->detail, sizeof(l->detail), "PCI devices: %s", efi_text(s));
		return FR_FIRMWARE;
	}
	for (UINTN i = 0; i < n; i++) {
		struct device d = probe(handles[i]);
		bool ours = path_starts_with(l->loaded->DeviceHandle, d.handle);

		if (d.id.kind == HANDOFF_PCI_NVME && (!disks++ || ours))
			l->disk = d;
		if (d.id.kind == HANDOFF_PCI_NIC && (!nic_count++ || ours))
			l->nic = d;
	}
	BS->FreePool(handles);
	l->diskless = want == OPTIONS_DISK_NONE || (want == OPTIONS_DISK_AUTO && !disks);
	if (nic_count) {
		say("NIC ", &l->nic, nic_count);
	} else if (l->diskless) {
		fmt_snprintf(l->detail, sizeof(l->detail),
			     "%u PCI functions looked at, and no disk", (u32)n);
		return FR_NO_NIC;
	} else {
		con_print("FR-%02u  no supported network controller: only a complete cache boots\n",
			  FR_NO_NIC);
	}
	if (l->diskless) {
		l->disk.handle = NULL;
		return 0;
	}
	if (!disks) {
		fmt_snprintf(l->detail, sizeof(l->detail), "%u PCI functions looked at", (u32)n);
		return FR_NO_DISK;
	}
	say("disk", &l->disk, disks);
	return 0;
}

static bool is_driven(const struct device *d)
{
	EFI_OPEN_PROTOCOL_INFORMATION_ENTRY *users;
	bool driven = false;
	UINTN n;

	if (EFI_ERROR(BS->OpenProtocolInformation(d->handle, &pci_io_guid, &users, &n)))
		return false;
	for (UINTN i = 0; i < n; i++)
		driven |= !!(users[i].Attributes & EFI_OPEN_PROTOCOL_BY_DRIVER);
	BS->FreePool(users);
	return driven;
}

/*
 * What counts is whether a driver is still there, not the status: iPXE's driver
 * stops everything when it is asked to stop its children, and calls the second
 * request, for the controller, an error.
 */
static int take(struct loader *l, struct device *d)
{
	EFI_STATUS s;

	if (!d->handle)
		return 0;
	s = BS->DisconnectController(d->handle, NULL, NULL);
	if (is_driven(d)) {
		fmt_snprintf(l->detail, sizeof(l->detail),
			     "the firmware's driver keeps %02x:%02x.%x: %s", d->id.bdf >> 8,
			     d->id.bdf >> 3 & 31, d->id.bdf & 7, efi_text(s));
		return FR_FIRMWARE;
	}
	/*
	 * A driver that stops puts decoding back as it found it: off, mostly.
	 * Bus mastering stays off until the VMM has reset the device.
	 */
	d->io->Attributes(d->io, EfiPciIoAttributeOperationEnable, EFI_PCI_IO_ATTRIBUTE_MEMORY,
			  NULL);
	l->handoff.pci[l->handoff.pci_count++] = d->id;
	return 0;
}

/**
 * devices_take() - stop the firmware's drivers of disk and NIC
 *
 * May be called again after it failed.
 * Return: 0, or FR_FIRMWARE.
 */
int devices_take(struct loader *l)
{
	int code;

	l->handoff.pci_count = 0;
	code = take(l, &l->disk);
	return code ? code : take(l, &l->nic);
}

/**
 * devices_give_disk() - let the firmware's drivers find the virtual disk
 * @bdf:  where the VMM presents it
 * @disk: out, the controller's handle
 *
 * By the firmware's own NVMe driver where it has the controller and such a
 * driver, else as a Block I/O protocol of ours.
 *
 * Return: 0, or FR_FIRMWARE.
 */
int devices_give_disk(struct loader *l, u32 bdf, EFI_HANDLE *disk)
{
	EFI_HANDLE *handles, found = NULL;
	EFI_STATUS s;
	UINTN n;

	s = pci_handles(&handles, &n);
	if (EFI_ERROR(s))
		n = 0;
	for (UINTN i = 0; i < n; i++) {
		struct device d = probe(handles[i]);

		if (d.io && !d.id.segment && d.id.bdf == bdf)
			found = d.handle;
	}
	if (n)
		BS->FreePool(handles);
	if (!found)
		return blockio_install(l, NULL, disk);
	s = BS->ConnectController(found, NULL, NULL, TRUE);
	if (EFI_ERROR(s)) {
		con_print("no driver of the firmware took the virtual disk: %s\n", efi_text(s));
		return blockio_install(l, found, disk);
	}
	*disk = found;
	return 0;
}
