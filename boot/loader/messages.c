/*
 * messages.c - what a trouble code means, in words for the person at the PC
 *
 * docs/messages.md says the same at length; a unit test keeps the two lists and
 * enum handoff_code together. Lines fit a console of 80 columns with a margin.
 */
#include "boot/loader/messages.h"

#include "boot/handoff.h"

static const struct message messages[] = {
	{ FR_NO_SVM, "This processor has no usable AMD-V (SVM with nested paging).",
	  "Freshet cannot run on this PC." },
	{ FR_SVM_LOCKED, "AMD-V is switched off and locked by the firmware.",
	  "Switch on \"SVM\" or \"AMD-V\" in the firmware's setup." },
	{ FR_LOW_MEMORY, "This PC has too little free memory.",
	  "Freshet needs 512 MiB beside what the firmware holds." },
	{ FR_NO_NIC, "No network controller that Freshet has a driver for.",
	  "See the list in docs/messages.md; what is on the disk still boots." },
	{ FR_NO_DISK, "No NVMe disk was found.",
	  "Check the disk; in the firmware's setup switch RAID/RST modes off." },
	{ FR_BAD_CONFIG, "The options are wrong.",
	  "Correct freshet.conf on the server or the boot script's arguments." },
	{ FR_NO_KEY, "This freshet.efi carries no key of a site.",
	  "Serve the file that `freshet boot build` made, not the build's own." },
	{ FR_LAUNCH_FAILED, "The hypervisor did not start.",
	  "Report this with the line above; the disk was not touched." },
	{ FR_NO_OS_LOADER, "The image's own boot loader did not start.",
	  "The image needs \\EFI\\BOOT\\BOOTX64.EFI; option `loader` names another." },
	{ FR_FIRMWARE, "The firmware refused something that Freshet needs.",
	  "Report this with the line above; a firmware update may help." },
	{ FR_NO_VMX, "This processor has no VT-x that Freshet can use.",
	  "The line above names what it lacks; Freshet cannot run on this PC." },
	{ FR_VMX_LOCKED, "VT-x is switched off and locked by the firmware.",
	  "Switch on \"VT-x\" or \"Virtualization\" in the firmware's setup." },
	{ FR_DISK_FOREIGN, "The disk holds something else. Nothing was written to it.",
	  "Wipe it, or claim it by its serial number on the server." },
	{ FR_DISK_SMALL, "The disk is too small for the image.",
	  "Use a larger disk or a smaller image." },
	{ FR_DISK_FAILED, "The disk does not answer or reports errors.",
	  "Check the disk; its own log may tell more." },
	{ FR_NO_LINK, "The network cable has no link.",
	  "Check cable and switch." },
	{ FR_NO_DHCP, "No DHCP server answers.",
	  "Check the DHCP server, or give the option `ip`." },
	{ FR_NO_SERVER, "The image server does not answer.",
	  "Check that freshetd runs, and the option `server`." },
	{ FR_TICKET_REFUSED, "The server does not want to boot this PC.",
	  "Add the machine on the server; its UUID is shown above." },
	{ FR_TICKET_BAD, "The server's boot ticket is damaged or not signed by this site.",
	  "Compare the server's key with the one in freshet.efi." },
	{ FR_TICKET_STALE, "The server offers an older state than this PC has seen.",
	  "Publish the channel again: serial numbers must not go back." },
	{ FR_MANIFEST_BAD, "The image's manifest is damaged or not signed by this site.",
	  "Run `freshet image verify` on the server." },
	{ FR_STORE_BAD, "The store on the disk is damaged.",
	  "Retry with a server; `freshet store check` says more." },
	{ FR_INTERNAL, "Freshet found an error in itself and stopped.",
	  "Please report this; the log is on the second serial port." },
	{ FR_NOT_THE_SITE, "The image server's certificate is not this site's.",
	  "Check the option `server`; the server's log names its certificate." },
	{ FR_NO_TLS, "The image server does not speak TLS 1.2 with this PC.",
	  "Check the port of the option `server`: is it freshetd's for TLS?" },
	{ FR_CREDENTIAL, "The server does not accept this PC's credential.",
	  "`freshet machine forget` it there, then approve its UUID again." },
};

/** message_at() - the list by index; NULL past its end */
const struct message *message_at(size_t i)
{
	return i < ARRAY_SIZE(messages) ? &messages[i] : NULL;
}

/** message_find() - the words for @code; NULL when it is not one of ours */
const struct message *message_find(u32 code)
{
	for (size_t i = 0; i < ARRAY_SIZE(messages); i++)
		if (messages[i].code == code)
			return &messages[i];
	return NULL;
}
