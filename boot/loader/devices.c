/*
 * devices.c - the disks and the NIC: found, taken from the firmware, given back
 *
 * Every NVMe controller, every AHCI controller with a disk and one NIC become the
 * VMM's. Which disk it is, labels and the ticket decide there (storage/core);
 * controllers that do not have it come back (HC_ATTACH). The one that freshet.efi
 * itself came through is named first, which matters only when several disks carry
 * our label. Of NICs the one that reached the server wins, then the first found.
 *
 * Without a disk, or when the options say so, the PC is diskless: memory
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
#define PCI_CLASS_AHCI 0x010601u

/* [AHCI 1.3.1 §3] */
#define AHCI_ABAR 5
#define AHCI_PI 0x0c
#define AHCI_PORT_SIG(n) (0x124u + 0x80 * (n))
#define AHCI_PORT_SSTS(n) (0x128u + 0x80 * (n))
#define   AHCI_DET 0x0fu
#define   AHCI_DET_UP 3u
#define AHCI_SIG_DISK 0x00000101u
#define AHCI_SIG_NONE 0xffffffffu /* no driver has made it speak yet */

static EFI_GUID pci_io_guid = EFI_PCI_IO_PROTOCOL_GUID;
static EFI_GUID device_path_guid = EFI_DEVICE_PATH_PROTOCOL_GUID;
static EFI_GUID network_guid = EFI_SIMPLE_NETWORK_PROTOCOL_GUID;

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
	else if (class >> 8 == PCI_CLASS_AHCI)
		d.id.kind = HANDOFF_PCI_AHCI;
	else if (nic_supported(d.id.vendor, d.id.device))
		d.id.kind = HANDOFF_PCI_NIC;
	return d;
}

static u32 ahci_read(const struct device *d, u32 off)
{
	u32 v = 0;

	if (EFI_ERROR(d->io->Mem.Read(d->io, EfiPciIoWidthUint32, AHCI_ABAR, off, 1, &v)))
		return 0;
	return v;
}

/*
 * Is there something behind one of its ports that may be a disk? Optical drives
 * alone are the OS's. The firmware's driver is asked first to bring the links up.
 */
static bool ahci_has_disk(const struct device *d)
{
	u32 ports;

	BS->ConnectController(d->handle, NULL, NULL, TRUE);
	d->io->Attributes(d->io, EfiPciIoAttributeOperationEnable, EFI_PCI_IO_ATTRIBUTE_MEMORY,
			  NULL);
	ports = ahci_read(d, AHCI_PI);
	for (u32 n = 0; n < 32; n++) {
		u32 sig;

		if (!(ports & BIT(n)) ||
		    (ahci_read(d, AHCI_PORT_SSTS(n)) & AHCI_DET) != AHCI_DET_UP)
			continue;
		sig = ahci_read(d, AHCI_PORT_SIG(n));
		if (sig == AHCI_SIG_DISK || sig == AHCI_SIG_NONE)
			return true;
	}
	return false;
}

/* May it have this PC's disk, as far as the options have it? */
static bool is_disk(const struct device *d, enum options_disk want)
{
	switch (d->id.kind) {
	case HANDOFF_PCI_NVME:
		return want != OPTIONS_DISK_AHCI;
	case HANDOFF_PCI_AHCI:
		return want != OPTIONS_DISK_NVME && want != OPTIONS_DISK_NONE && ahci_has_disk(d);
	default:
		return false;
	}
}

/* The first place for the one we came through. */
static void add_disk(struct loader *l, const struct device *d, bool ours)
{
	u32 at = ours ? 0 : l->disk_count;

	if (l->disk_count == LOADER_DISKS_MAX) {
		con_print("too many disk controllers: %02x:%02x.%x stays with the firmware\n",
			  d->id.bdf >> 8, d->id.bdf >> 3 & 31, d->id.bdf & 7);
		return;
	}
	for (u32 i = l->disk_count; i > at; i--)
		l->disks[i] = l->disks[i - 1];
	l->disks[at] = *d;
	l->disk_count++;
}

static void say(const char *what, const struct device *d, const char *more)
{
	con_print("%s %04x:%02x:%02x.%x [%04x:%04x]%s\n", what, d->id.segment, d->id.bdf >> 8,
		  d->id.bdf >> 3 & 31, d->id.bdf & 7, d->id.vendor, d->id.device, more);
}

static EFI_STATUS pci_handles(EFI_HANDLE **handles, UINTN *n)
{
	return BS->LocateHandleBuffer(ByProtocol, &pci_io_guid, NULL, n, handles);
}

/**
 * devices_find() - choose the disks and the NIC
 *
 * A missing NIC is said and left to the VMM: what is complete on the disk boots
 * without. A diskless PC has nothing to boot then.
 * Return: 0, or FR_NO_DISK, FR_NO_NIC, FR_FIRMWARE.
 */
int devices_find(struct loader *l)
{
	enum options_disk want = options_disk(&l->options);
	u32 nic_count = 0;
	EFI_HANDLE *handles;
	EFI_STATUS s;
	UINTN n;

	l->disk_count = 0;
	l->nic.handle = NULL;
	s = pci_handles(&handles, &n);
	if (EFI_ERROR(s)) {
		fmt_snprintf(l->detail, sizeof(l->detail), "PCI devices: %s", efi_text(s));
		return FR_FIRMWARE;
	}
	for (UINTN i = 0; i < n; i++) {
		struct device d = probe(handles[i]);
		bool ours = path_starts_with(l->loaded->DeviceHandle, d.handle);

		if (is_disk(&d, want))
			add_disk(l, &d, ours);
		if (d.id.kind == HANDOFF_PCI_NIC && (!nic_count++ || ours))
			l->nic = d;
	}
	BS->FreePool(handles);
	l->diskless = want == OPTIONS_DISK_NONE || (want == OPTIONS_DISK_AUTO && !l->disk_count);
	if (nic_count) {
		say("NIC ", &l->nic,
		    nic_count > 1 ? ", one of several: the others stay with the firmware" : "");
	} else if (l->diskless) {
		fmt_snprintf(l->detail, sizeof(l->detail),
			     "%u PCI functions looked at, and no disk", (u32)n);
		return FR_NO_NIC;
	} else {
		con_print("FR-%02u  no supported network controller: only a complete cache boots\n",
			  FR_NO_NIC);
	}
	if (l->diskless) {
		l->disk_count = 0;
		return 0;
	}
	if (!l->disk_count) {
		fmt_snprintf(l->detail, sizeof(l->detail), "%u PCI functions looked at", (u32)n);
		return FR_NO_DISK;
	}
	for (u32 i = 0; i < l->disk_count; i++)
		say("disk", &l->disks[i], l->disks[i].id.kind == HANDOFF_PCI_AHCI ? " AHCI" : "");
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
 * Who drives a network interface behind @d is stopped before what provides it, the
 * last one made first. An iPXE that came as a file sits on the firmware's interface,
 * and its error (see take()) would make the driver below refuse to stop. One that
 * goes away meanwhile has no path any more.
 */
static void free_interfaces(const struct device *d)
{
	EFI_HANDLE *handles;
	UINTN n;

	if (EFI_ERROR(BS->LocateHandleBuffer(ByProtocol, &network_guid, NULL, &n, &handles)))
		return;
	while (n--)
		if (handles[n] != d->handle && path_starts_with(handles[n], d->handle))
			BS->DisconnectController(handles[n], NULL, NULL);
	BS->FreePool(handles);
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
	free_interfaces(d);
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
 * devices_take() - stop the firmware's drivers of disks and NIC
 *
 * May be called again after it failed.
 * Return: 0, or FR_FIRMWARE.
 */
int devices_take(struct loader *l)
{
	int code = 0;

	l->handoff.pci_count = 0;
	for (u32 i = 0; i < l->disk_count && !code; i++)
		code = take(l, &l->disks[i]);
	return code ? code : take(l, &l->nic);
}

/* Controllers that turned out not to have the disk are there again. */
static void reconnect_others(struct loader *l, u32 bdf)
{
	for (u32 i = 0; i < l->disk_count; i++) {
		struct device d = probe(l->disks[i].handle);

		if (d.io && d.id.bdf != bdf && d.id.vendor != 0xffff)
			BS->ConnectController(d.handle, NULL, NULL, TRUE);
	}
}

/* What stands there now is of the kind that the firmware has seen there. */
static bool same_kind(const struct loader *l, const struct device *now)
{
	for (u32 i = 0; i < l->disk_count; i++)
		if (l->disks[i].id.bdf == now->id.bdf)
			return l->disks[i].id.kind == now->id.kind;
	return false;
}

/**
 * devices_give_disk() - let the firmware's drivers find the virtual disk
 * @bdf:  where the VMM presents it
 * @disk: out, the controller's handle
 *
 * By the firmware's own driver where it has the controller and such a driver,
 * else as a Block I/O protocol of ours. A controller of another kind than the real
 * one's is not the firmware's: what it knows of the BARs at that place is the real
 * one's.
 *
 * Return: 0, or FR_FIRMWARE.
 */
int devices_give_disk(struct loader *l, u32 bdf, EFI_HANDLE *disk)
{
	EFI_HANDLE *handles, found = NULL;
	bool same = false;
	EFI_STATUS s;
	UINTN n;

	s = pci_handles(&handles, &n);
	if (EFI_ERROR(s))
		n = 0;
	for (UINTN i = 0; i < n; i++) {
		struct device d = probe(handles[i]);

		if (d.io && !d.id.segment && d.id.bdf == bdf) {
			found = d.handle;
			same = same_kind(l, &d);
		}
	}
	if (n)
		BS->FreePool(handles);
	reconnect_others(l, bdf);
	if (!same)
		return blockio_install(l, found, disk);
	s = BS->ConnectController(found, NULL, NULL, TRUE);
	if (EFI_ERROR(s)) {
		con_print("no driver of the firmware took the virtual disk: %s\n", efi_text(s));
		return blockio_install(l, found, disk);
	}
	*disk = found;
	return 0;
}
