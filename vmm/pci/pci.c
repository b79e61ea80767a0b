/*
 * pci.c - the slots, and the guest's way to their configuration space
 *
 * A slot is a function that the guest does not see as it is: taken (nothing is
 * there) or presented (something else is there). Nothing is hooked before the
 * first slot exists. ECAM exits only for the pages of the slots' own functions.
 * Of the older mechanism (an OS's early bus scan makes tens of thousands of
 * these accesses):
 *
 *   with ECAM     the data ports 0xCFC-0xCFF exit. CONFIG_ADDRESS is read back,
 *                 and accesses to other functions are carried out through ECAM,
 *                 for between two port accesses another CPU of the guest could
 *                 name a function that is not its own
 *   without       CONFIG_ADDRESS, 0xCF8, exits as well and is remembered; data
 *                 accesses to other functions are carried out as they came. Both
 *                 happen under one lock, so that the VMM's own configuration
 *                 cycles never come between a guest's address and its data
 *
 * The ports between (0xCF9, reset) are left alone.
 *
 * A hidden function 0 hides its siblings from guests that look for function 0
 * first; on the machines so far the functions taken have none.
 *
 * From pci_take() on every BAR of the function is hooked: a guest that could
 * write the real registers could make the device write anywhere. A BAR smaller
 * than a page takes its whole page; firmware aligns memory BARs to pages.
 *
 * [PCI 3.0 §3.2.2.3.2 configuration mechanism; PCI Firmware 3.2 §4.1 MCFG]
 */
#include "vmm/pci/pci.h"

#include "base/err.h"
#include "base/log.h"
#include "vmm/pci/pci_priv.h"

#define CF8_PORT 0xcf8
#define   CF8_ENABLE 0x80000000u
#define   CF8_EXT 0x0f000000u /* register bits 11:8 where the CPU offers it (AMD) */
#define   CF8_BDF 0x00ffff00u
#define   CF8_REG 0x000000fcu
#define CFC_PORT 0xcfc

struct pci_cf8 pci_cf8;
const struct handoff *pci_handoff;

static struct pci_slot slots[PCI_SLOTS_MAX];
static bool ports_hooked;

/**
 * pci_slot_find() - the slot of function @bdf, or NULL
 *
 * Context: any; slots come and go while one CPU of the guest's is awake.
 */
struct pci_slot *pci_slot_find(u16 bdf)
{
	for (u32 i = 0; i < PCI_SLOTS_MAX; i++)
		if (__atomic_load_n(&slots[i].used, __ATOMIC_ACQUIRE) && slots[i].bdf == bdf)
			return &slots[i];
	return NULL;
}

/* ---------------------------------------------------------------- configuration cycles */

static u32 ones(u32 size)
{
	return ~0u >> (32 - 8 * size);
}

/**
 * pci_slot_cfg_read() - what the guest reads; @off + @size stay in one dword
 */
u32 pci_slot_cfg_read(struct pci_slot *s, u32 off, u32 size)
{
	struct pci_virt *v = __atomic_load_n(&s->virt, __ATOMIC_ACQUIRE);

	if (!v)
		return ones(size);
	return off < PCI_CFG_BYTES ? pci_virt_cfg_read(v, off, size) : 0;
}

/**
 * pci_slot_cfg_write() - what the guest writes
 */
void pci_slot_cfg_write(struct pci_slot *s, u32 off, u32 size, u32 value)
{
	struct pci_virt *v = __atomic_load_n(&s->virt, __ATOMIC_ACQUIRE);

	if (v && off < PCI_CFG_BYTES)
		pci_virt_cfg_write(v, off, size, value);
}

/* Up to 8 bytes in pieces that stay within a dword. */
static void ecam_access(void *ctx, struct mmio_access *a)
{
	u64 value = 0;
	u32 n;

	for (u32 done = 0; done < a->bytes; done += n) {
		u32 off = (u32)(a->off + done) & (PAGE_BYTES - 1);

		n = MIN(4 - off % 4, a->bytes - done);
		if (a->write)
			pci_slot_cfg_write(ctx, off, n, (u32)(a->value >> (8 * done)) & ones(n));
		else
			value |= (u64)pci_slot_cfg_read(ctx, off, n) << (8 * done);
	}
	if (!a->write)
		a->value = value;
}

static bool cf8_access(void *ctx, struct pio_access *a)
{
	(void)ctx;
	if (a->port != CF8_PORT || a->bytes != 4)
		return false; /* not CONFIG_ADDRESS but an ordinary port */
	spin_lock(&pci_cf8.lock);
	if (a->write)
		pci_cf8.value = a->value;
	pio_native(a);
	spin_unlock(&pci_cf8.lock);
	return true;
}

/* Functions on buses beyond the window do not exist: it is as large as the bridge's range. */
static bool have_ecam(void)
{
	return pci_handoff->ecam_base && !pci_handoff->ecam_bus_first;
}

static void pass_bytes(struct pio_access *a, u16 bdf, u32 off)
{
	u32 value = 0;

	for (u32 i = 0; i < a->bytes; i++)
		if (a->write)
			pci_hw_cfg_write(bdf, off + i, 1, a->value >> (8 * i) & 0xff);
		else
			value |= pci_hw_cfg_read(bdf, off + i, 1) << (8 * i);
	if (!a->write)
		a->value = value;
}

/* The access to a function of the guest's own, with the two ports or without. */
static void pass(struct pio_access *a, u32 addr, u32 off)
{
	u16 bdf = (u16)FIELD_GET(CF8_BDF, addr);

	if (!have_ecam())
		pio_native(a);
	else if (!(addr & CF8_ENABLE) || bdf >> 8 > pci_handoff->ecam_bus_last ||
		 off % 4 + a->bytes > 4)
		a->value = ones(a->bytes);
	else if (off % a->bytes) /* a word at an odd address: no single cycle of the ports either */
		pass_bytes(a, bdf, off);
	else if (a->write)
		pci_hw_cfg_write(bdf, off, a->bytes, a->value);
	else
		a->value = pci_hw_cfg_read(bdf, off, a->bytes);
}

static u32 address_now(void)
{
	struct pio_access a = { .port = CF8_PORT, .bytes = 4 };

	if (!have_ecam())
		return pci_cf8.value;
	pio_native(&a);
	return a.value;
}

static bool cfc_access(void *ctx, struct pio_access *a)
{
	struct pci_slot *s = NULL;
	u32 addr, off;

	(void)ctx;
	spin_lock(&pci_cf8.lock);
	addr = address_now();
	off = FIELD_GET(CF8_EXT, addr) << 8 | (addr & CF8_REG) | (a->port & 3);
	if (addr & CF8_ENABLE)
		s = pci_slot_find((u16)FIELD_GET(CF8_BDF, addr));
	if (!s)
		pass(a, addr, off);
	spin_unlock(&pci_cf8.lock);
	if (!s)
		return true;
	/* Not all within the window: the bytes within must not reach the device either. */
	if (a->port < CFC_PORT || a->port + a->bytes > CFC_PORT + 4) {
		if (!a->write)
			a->value = ones(a->bytes);
	} else if (a->write) {
		pci_slot_cfg_write(s, off, a->bytes, a->value & ones(a->bytes));
	} else {
		a->value = pci_slot_cfg_read(s, off, a->bytes);
	}
	return true;
}

static struct pio_region cf8_region = {
	.first = CF8_PORT, .count = 1, .access = cf8_access, .name = "pci-address",
};
static struct pio_region cfc_region = {
	.first = CFC_PORT, .count = 4, .access = cfc_access, .name = "pci-data",
};

static int hook_ports(void)
{
	struct pio_access a = { .port = CF8_PORT, .bytes = 4 };
	int err;

	if (ports_hooked)
		return 0;
	err = pio_region_add(&cfc_region);
	if (err || have_ecam()) {
		ports_hooked = !err;
		return err;
	}
	/* From here to the first exit nobody else may set an address: start-up. */
	err = pio_region_add(&cf8_region);
	if (err) {
		pio_region_remove(&cfc_region);
		return err;
	}
	spin_lock(&pci_cf8.lock);
	pio_native(&a);
	pci_cf8.value = a.value;
	spin_unlock(&pci_cf8.lock);
	ports_hooked = true;
	return 0;
}

/* ---------------------------------------------------------------- hooks of a slot */

static bool nothing_there(void *ctx, struct pio_access *a)
{
	(void)ctx;
	if (!a->write)
		a->value = ones(a->bytes);
	return true;
}

/* Is the page range inside one that this slot hides already? */
static bool hidden_already(const struct pci_slot *s, u64 base, u64 bytes)
{
	const struct mmio_region *r = s->hide;

	for (u32 i = 0; i <= PCI_BARS; i++, r++) {
		if (i == PCI_BARS)
			r = &s->hook[s->hook_now];
		if (r->bytes && base >= r->base.v && base + bytes <= r->base.v + r->bytes)
			return true;
	}
	return false;
}

static int hook_bar(struct pci_slot *s, u32 i)
{
	const struct pci_bar *b = &s->bars[i];
	u64 base = ALIGN_DOWN(b->base, (u64)PAGE_BYTES);
	u64 bytes = ALIGN_UP(b->base + b->bytes, (u64)PAGE_BYTES) - base;
	struct mmio_region *r = i == s->window ? &s->hook[0] : &s->hide[i];
	int err;

	if (!b->bytes || !b->base)
		return 0;
	if (b->io) {
		s->hide_io[i] = (struct pio_region){
			.first = (u16)b->base, .count = (u16)b->bytes,
			.access = nothing_there, .name = "pci-hidden",
		};
		return pio_region_add(&s->hide_io[i]);
	}
	if (hidden_already(s, base, bytes))
		return 0;
	*r = (struct mmio_region){
		.base = GPA(base), .bytes = bytes, .mode = MMIO_ABSENT, .name = "pci-hidden",
	};
	if (i == s->window) {
		r->mode = MMIO_TRAP_ALL;
		r->access = pci_window_access;
		r->ctx = s;
		r->name = "pci-bar0";
	}
	err = mmio_region_add(r);
	if (err)
		r->bytes = 0;
	return err;
}

static int hook_ecam(struct pci_slot *s)
{
	const struct handoff *h = pci_handoff;
	u32 bus = s->bdf >> 8;

	if (!h->ecam_base || bus < h->ecam_bus_first || bus > h->ecam_bus_last)
		return 0;
	s->ecam = (struct mmio_region){
		.base = GPA(h->ecam_base + ((u64)s->bdf << 12)), .bytes = PAGE_BYTES,
		.mode = MMIO_TRAP_ALL, .access = ecam_access, .ctx = s, .name = "pci-ecam",
	};
	return mmio_region_add(&s->ecam);
}

static void unhook(struct pci_slot *s)
{
	if (s->ecam.bytes)
		mmio_region_remove(&s->ecam);
	if (s->hook[0].bytes)
		mmio_region_remove(&s->hook[0]);
	for (u32 i = 0; i < PCI_BARS; i++) {
		if (s->hide[i].bytes)
			mmio_region_remove(&s->hide[i]);
		if (s->hide_io[i].count)
			pio_region_remove(&s->hide_io[i]);
	}
}

static int hook_slot(struct pci_slot *s)
{
	int err = hook_ports();

	for (u32 i = 0; !err && i < PCI_BARS; i++) {
		err = hook_bar(s, i);
		if (err)
			s->hide_io[i].count = 0;
	}
	if (!err) {
		err = hook_ecam(s);
		if (err)
			s->ecam.bytes = 0;
	}
	if (err)
		unhook(s);
	return err;
}

/* ---------------------------------------------------------------- the outside */

/**
 * pci_init() - remember the machine's description, which must stay
 */
int pci_init(const struct handoff *h)
{
	pci_handoff = h;
	return 0;
}

static struct pci_slot *slot_free(void)
{
	for (u32 i = 0; i < PCI_SLOTS_MAX; i++)
		if (!slots[i].used)
			return &slots[i];
	return NULL;
}

/* Nothing at any of the eight functions, and nothing of ours. */
static bool device_free(u32 dev)
{
	for (u32 fn = 0; fn < 8; fn++) {
		u16 bdf = (u16)(dev << 3 | fn);

		if (pci_slot_find(bdf) || (u16)pci_hw_cfg_read(bdf, PCI_VENDOR, 2) != 0xffff)
			return false;
	}
	return true;
}

/*
 * From the middle of bus 0 downwards, then upwards: firmware tables describe
 * devices at both ends that some board may have, and the OS would believe ours
 * to be one of them. Return: 1..31; 0: there is none.
 */
static u32 find_device(void)
{
	for (u32 dev = 15; dev; dev--)
		if (device_free(dev))
			return dev;
	for (u32 dev = 16; dev < 32; dev++)
		if (device_free(dev))
			return dev;
	return 0;
}

/** pci_add() - see pci.h. Context: start-up or a hypercall. */
int pci_add(u64 bar, u64 bytes, u16 *bdf)
{
	struct pci_slot *s = slot_free();
	u32 dev = find_device();
	int err;

	if (bar < MIB || bytes < PAGE_BYTES || (bytes & (bytes - 1)) || !IS_ALIGNED(bar, bytes) ||
	    bar + bytes > GIB * 4)
		return -EINVAL;
	if (!s)
		return -ENOSPC;
	if (!dev)
		return -ENODEV;
	*s = (struct pci_slot){ .bdf = (u16)(dev << 3), .unreal = true };
	s->bars[0] = (struct pci_bar){ .base = bar, .bytes = bytes };
	err = hook_slot(s);
	if (err) {
		log_err("pci: cannot hook a free place bdf=%04x err=%s", s->bdf, err_name(err));
		return err;
	}
	__atomic_store_n(&s->used, true, __ATOMIC_RELEASE);
	*bdf = s->bdf;
	log_info("pci: free place bdf=00:%02x.0 bar0=%llx+%llx", dev, (unsigned long long)bar,
		 (unsigned long long)bytes);
	return 0;
}

/**
 * pci_release() - the guest may have a taken function back
 *
 * Context: start-up or a hypercall, with one CPU of the guest's awake; the
 * driver has let the device go, and nothing has been presented in its place.
 * Return: 0; -EINVAL when it is not such a function.
 */
int pci_release(u16 bdf)
{
	struct pci_slot *s = pci_slot_find(bdf);

	if (!s || s->unreal || s->virt)
		return -EINVAL;
	pci_hw_cfg_write(bdf, PCI_COMMAND, 2, pci_hw_cfg_read(bdf, PCI_COMMAND, 2) &
			 ~(PCI_COMMAND_MASTER | PCI_COMMAND_INTX_OFF));
	__atomic_store_n(&s->used, false, __ATOMIC_RELEASE);
	unhook(s);
	log_info("pci: released bdf=%02x:%02x.%u", bdf >> 8, bdf >> 3 & 31, bdf & 7u);
	return 0;
}

/**
 * pci_take() - take function @bdf from the guest for a driver of ours
 * @out: the device, for ever
 *
 * Context: start-up, one CPU; the guest's drivers have let the device go.
 * Return: 0; -ENODEV when there is no usable device; -EEXIST when it is taken;
 * -ENOSPC without a slot; an error of the hooks. Then nothing has changed.
 */
int pci_take(u16 bdf, struct bus_dev **out)
{
	struct pci_slot *s = slot_free();
	int err;

	if (pci_slot_find(bdf))
		return -EEXIST;
	if (!s)
		return -ENOSPC;
	*s = (struct pci_slot){ .bdf = bdf };
	err = pci_dev_probe(s);
	if (err)
		return err;
	err = hook_slot(s);
	if (err) {
		log_err("pci: cannot hide a function bdf=%04x err=%s", bdf, err_name(err));
		return err;
	}
	__atomic_store_n(&s->used, true, __ATOMIC_RELEASE);
	log_info("pci: taken bdf=%02x:%02x.%u id=%04x:%04x bar%u=%llx+%llx irq=%s", bdf >> 8,
		 bdf >> 3 & 31, bdf & 7u, s->bus.vendor, s->bus.device, s->window,
		 (unsigned long long)s->bars[s->window].base,
		 (unsigned long long)s->bars[s->window].bytes,
		 s->cap_msix ? "msi-x" : s->cap_msi ? "msi" : "none");
	*out = &s->bus;
	return 0;
}
