/*
 * fake_launch.c - a VMM for the loader that is none
 *
 * Linked in place of boot/loader/launch.c, with hypercall() as a function: the
 * loader runs all its steps, the "virtual disk" is the real one. What it plays
 * is the port in the option `server`:
 *
 *   1 READY after a second   2 FR-55 until somebody acts   3 FR-55 for 2 seconds
 *   4 the launch fails       5 HC_START fails
 */
#include <string.h>

#include "base/err.h"
#include "base/fmt.h"
#include "boot/loader/loader.h"
#include "tests/fakes/fake_launch.h"

#define COM1 0x3f8

bool hypercall_by_vmcall; /* what machine_check() found; nobody here asks */

static struct {
	char play;
	u32 asked; /* HC_STATUS so far: one per 20 ms */
	u32 bdf;
	bool acted, attached;
} fake;

int launch_vmm(struct handoff *h, const void *elf __unused, size_t bytes __unused)
{
	const char *colon = h->options;

	h->cpu_count = 1;
	h->region_bytes = 64 * MIB;
	for (; *colon && strncmp(colon, "server ", 7); colon++)
		;
	for (; *colon && *colon != ':'; colon++)
		;
	fake.play = *colon ? colon[1] : '1';
	for (u32 i = 0; i < h->pci_count; i++)
		if (h->pci[i].kind == HANDOFF_PCI_NVME)
			fake.bdf = h->pci[i].bdf;
	con_print("fake: flags=%x pci=%u keys=%u ecam=%llx tsc=%llu uuid=%02x%02x\n", h->flags,
		  h->pci_count, h->key_count, (unsigned long long)h->ecam_base,
		  (unsigned long long)h->tsc_hz, h->uuid[0], h->uuid[15]);
	return fake.play == '4' ? -EIO : 0;
}

static void status(struct handoff_status *s)
{
	bool trouble = fake.play == '2' ? !fake.acted : fake.play == '3' && fake.asked < 150;

	memset(s, 0, sizeof(*s));
	fake.asked++;
	s->disk_bdf = fake.bdf;
	s->percent = MIN(fake.asked * 2, 100u);
	s->fetched_bytes = fake.asked * 100000ull;
	if (fake.attached) {
		s->state = HS_ATTACHED;
	} else if (fake.asked < 50) {
		s->state = HS_NETWORK;
		fmt_snprintf(s->text, sizeof(s->text), "fake: link up");
	} else if (trouble) {
		s->state = HS_TROUBLE;
		s->code = FR_NO_SERVER;
		s->can_boot_cache = fake.play == '2';
		fmt_snprintf(s->text, sizeof(s->text), "fake: nobody answers");
	} else {
		s->state = HS_READY;
	}
}

/* By the port: after ExitBootServices there is no console. */
static void say_com1(const char *text)
{
	for (; *text; text++)
		__asm__ volatile("outb %0, %w1" : : "a"(*text), "Nd"(COM1));
}

s64 fake_hypercall(u32 number, u64 arg)
{
	switch (number) {
	case HC_STATUS:
		status((void *)arg);
		return 0;
	case HC_START:
		return fake.play == '5' ? -EINVAL : 0;
	case HC_ATTACH:
		fake.attached = true;
		return 0;
	case HC_ACTION:
		con_print("fake: action=%u\n", (u32)arg);
		fake.acted = true;
		return 0;
	case HC_DONE:
		say_com1("fake: done\r\n");
		return 0;
	}
	return -ENOSYS;
}
