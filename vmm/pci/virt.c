/*
 * virt.c - a virtual function at a taken one's address
 *
 * Its configuration space is its own: bytes, and a mask of what the guest may
 * write; a write changes the bytes and then whatever follows from them. Type 0
 * header, one memory BAR (BAR0 of the real one's type, or another of 32 bits), and
 * capabilities
 *
 *   0x40 power management   D0 and D3hot, nothing happens in either
 *   0x50 MSI-X              if the description has vectors
 *   0x60 PCI Express        if the real function has it: the same kind of port,
 *                           payload sizes forwarded, no ASPM, no FLR
 *   0xa0 those of the description
 *   0xf0 MSI                if the description has it: one message, 64-bit
 *
 * No pin: interrupts come by MSI-X or MSI, or not at all. UEFI polls, Linux and
 * Windows drivers use messages wherever they are offered. No function-level reset: what is
 * not advertised need not reach the model; its controller reset remains.
 *
 * The BAR. The hook stands where the real one's stands, always, so that no guest
 * ever reaches the real registers, even with the virtual function's memory
 * decoding off or its BAR elsewhere: then the hook answers with all ones. When
 * decoding is on and the BAR holds another usable address, hook and real BAR
 * move there (follow()): the new place is hooked, the real BAR moved, the old
 * hook dropped. An address that would lay it over RAM, our memory or
 * the machine's own registers is not followed; nor is an all-ones low half,
 * which is a sizing in progress.
 *
 * Locking: v->lock guards the configuration bytes; follow() runs without it,
 * because hooking waits for other CPUs, and is taken by one CPU at a time
 * through v->moving; who comes second leaves it to the first.
 *
 * A function at a free address (pci_add()) differs in that its slot has no real
 * BAR to move and no real PCI Express capability to copy.
 *
 * [PCI 3.0 §6.1, §6.2.5, §6.8.2; PCIe 4.0 §7.5.3]
 */
#include <string.h>

#include "base/endian.h"
#include "base/err.h"
#include "base/log.h"
#include "base/plat.h"
#include "vmm/pci/pci_priv.h"

#define CAP_PM 0x40u
#define CAP_MSIX 0x50u
#define CAP_PCIE 0x60u
#define CAP_OWN 0xa0u
#define WINDOW_BAR 4u
#define WINDOW_OFF 8u
#define WINDOW_LEN 12u
#define WINDOW_DATA 16u
#define CAP_MSI 0xf0u
#define MSIX_PBA_OFF 0x800u

/* IOAPIC, HPET, local APICs, MSI */
#define MACHINE_BASE 0xfec00000ull
#define MACHINE_END 0xff000000ull

struct pci_virt {
	struct pci_virt_desc d; /* (c) */
	struct pci_slot *slot; /* (c) */
	u64 bar_bytes; /* (c) */
	u32 bar_off; /* (c) in configuration space */
	bool bar_wide; /* (c) of 64 bits */
	struct spinlock lock;
	u8 cfg[PCI_CFG_BYTES]; /* [lock]; fields of 2 and 4 bytes little-endian */
	u8 writable[PCI_CFG_BYTES]; /* (c) */
	u32 window; /* (c) where the capability with the window stands; 0: none */
	u32 answers; /* (a) decoding is on and the BAR is where the hook is */
	u32 moving; /* (a) a CPU is in follow() */
	u32 again; /* (a) something changed meanwhile */
	struct msix msix;
};

/* ---------------------------------------------------------------- building */

static void put(struct pci_virt *v, u32 off, u32 size, u32 value, u32 writable)
{
	for (u32 i = 0; i < size; i++) {
		v->cfg[off + i] = (u8)(value >> (8 * i));
		v->writable[off + i] = (u8)(writable >> (8 * i));
	}
}

/* Append capability @id at @off to the list; returns where the next link goes. */
static u32 put_cap(struct pci_virt *v, u32 link, u32 off, u8 id)
{
	v->cfg[link] = (u8)off;
	v->cfg[off] = id;
	return off + 1;
}

static void put_pcie(struct pci_virt *v)
{
	const struct pci_slot *s = v->slot;
	u32 real = s->cap_pcie;
	u32 caps = pci_hw_cfg_read(s->bdf, real + PCI_EXP_CAPS, 2);
	u32 type = FIELD_GET(PCI_EXP_CAPS_TYPE, caps);
	u32 devcap = pci_hw_cfg_read(s->bdf, real + PCI_EXP_DEVCAP, 4);
	u32 devctl = pci_hw_cfg_read(s->bdf, real + PCI_EXP_DEVCTL, 2);

	if (type != PCI_EXP_TYPE_RC_ENDPOINT)
		type = PCI_EXP_TYPE_ENDPOINT;
	put(v, CAP_PCIE + PCI_EXP_CAPS, 2, 2 | FIELD_PREP(PCI_EXP_CAPS_TYPE, type), 0);
	put(v, CAP_PCIE + PCI_EXP_DEVCAP, 4,
	    (devcap & PCI_EXP_DEVCAP_PAYLOAD) | PCI_EXP_DEVCAP_RBER, 0);
	put(v, CAP_PCIE + PCI_EXP_DEVCTL, 2,
	    devctl & (PCI_EXP_DEVCTL_PAYLOAD | PCI_EXP_DEVCTL_READRQ),
	    PCI_EXP_DEVCTL_PAYLOAD | PCI_EXP_DEVCTL_READRQ);
	if (type == PCI_EXP_TYPE_RC_ENDPOINT)
		return; /* no link */
	put(v, CAP_PCIE + PCI_EXP_LNKCAP, 4, pci_hw_cfg_read(s->bdf, real + PCI_EXP_LNKCAP, 4) &
	    (PCI_EXP_LNKCAP_SPEED_WIDTH | PCI_EXP_LNKCAP_PORT), 0);
	put(v, CAP_PCIE + PCI_EXP_LNKSTA, 2, pci_hw_cfg_read(s->bdf, real + PCI_EXP_LNKSTA, 2) &
	    PCI_EXP_LNKSTA_SPEED_WIDTH, 0);
}

static void put_bar(struct pci_virt *v)
{
	const struct pci_bar *b = &v->slot->bars[v->slot->window];
	u64 mask = ~(v->bar_bytes - 1);

	/* Another BAR than the first: of 32 bits, not prefetchable. */
	put(v, v->bar_off, 4, (u32)b->base | (v->d.bar ? 0 : b->flags), (u32)mask);
	if (v->bar_wide)
		put(v, v->bar_off + 4, 4, (u32)(b->base >> 32), (u32)(mask >> 32));
}

/* The description's capabilities. Return: where the next link goes. */
static u32 put_own(struct pci_virt *v, u32 link)
{
	u32 at = CAP_OWN;

	for (u32 i = 0; i < v->d.ncaps; i++) {
		const struct pci_virt_cap *c = &v->d.caps[i];

		link = put_cap(v, link, at, c->data[0]);
		memcpy(v->cfg + at + 2, c->data + 2, c->bytes - 2);
		if (c->window) {
			v->window = at;
			put(v, at + WINDOW_BAR, 1, 0, 0xff);
			put(v, at + WINDOW_OFF, 4, 0, ~0u);
			put(v, at + WINDOW_LEN, 4, 0, ~0u);
			put(v, at + WINDOW_DATA, 4, 0, ~0u);
		}
		at = ALIGN_UP(at + c->bytes, 4u);
	}
	return link;
}

static void build_cfg(struct pci_virt *v)
{
	const struct pci_virt_desc *d = &v->d;
	const struct pci_slot *s = v->slot;
	u32 link = PCI_CAPS;

	put(v, PCI_VENDOR, 2, d->vendor, 0);
	put(v, PCI_DEVICE, 2, d->device, 0);
	/* Switched on: firmware need not do again what it did to the real one. */
	put(v, PCI_COMMAND, 2, PCI_COMMAND_MEM | PCI_COMMAND_MASTER,
	    PCI_COMMAND_MEM | PCI_COMMAND_MASTER | PCI_COMMAND_INTX_OFF | 0x0140 /* errors */);
	put(v, PCI_STATUS, 2, PCI_STATUS_CAPS, 0);
	put(v, PCI_REVISION, 1, d->revision, 0);
	put(v, PCI_CLASS, 3, d->class_code, 0);
	put(v, PCI_CACHE_LINE, 1, 0, 0xff);
	put_bar(v);
	put(v, PCI_SUBVENDOR, 2, d->subvendor, 0);
	put(v, PCI_SUBDEVICE, 2, d->subdevice, 0);
	put(v, PCI_INT_LINE, 1, 0xff, 0xff);

	link = put_cap(v, link, CAP_PM, PCI_CAP_PM);
	put(v, CAP_PM + PCI_PM_CAPS, 2, PCI_PM_CAPS_V3, 0);
	put(v, CAP_PM + PCI_PM_CSR, 2, PCI_PM_CSR_NO_SOFT_RESET, PCI_PM_CSR_STATE);
	if (d->msix_vectors) {
		link = put_cap(v, link, CAP_MSIX, PCI_CAP_MSIX);
		put(v, CAP_MSIX + PCI_MSIX_CTL, 2, d->msix_vectors - 1,
		    PCI_MSIX_CTL_ENABLE | PCI_MSIX_CTL_MASK);
		put(v, CAP_MSIX + PCI_MSIX_TABLE, 4, d->msix_table_off | d->bar, 0);
		put(v, CAP_MSIX + PCI_MSIX_PBA, 4, (d->msix_table_off + MSIX_PBA_OFF) | d->bar, 0);
	}
	if (s->cap_pcie) {
		link = put_cap(v, link, CAP_PCIE, PCI_CAP_PCIE);
		put_pcie(v);
	}
	link = put_own(v, link);
	if (d->msi) {
		link = put_cap(v, link, CAP_MSI, PCI_CAP_MSI);
		put(v, CAP_MSI + PCI_MSI_CTL, 2, PCI_MSI_CTL_64, PCI_MSI_CTL_ENABLE);
		put(v, CAP_MSI + PCI_MSI_ADDR, 4, 0, ~3u);
		put(v, CAP_MSI + PCI_MSI_ADDR_HI, 4, 0, ~0u);
		put(v, CAP_MSI + PCI_MSI_DATA_64, 2, 0, 0xffff);
	}
	v->cfg[link] = 0;
}

/* ---------------------------------------------------------------- where it stands */

static bool overlap(u64 a, u64 a_bytes, u64 b, u64 b_bytes)
{
	return a < b + b_bytes && b < a + a_bytes;
}

/* May hook and real BAR be put at @base? */
static bool usable(const struct pci_virt *v, u64 base)
{
	const struct handoff *h = pci_handoff;
	u64 bytes = v->bar_bytes;

	if (base < MIB || base >= h->phys_limit || bytes > h->phys_limit - base ||
	    (u32)base == (u32)~(bytes - 1))
		return false;
	if (overlap(base, bytes, h->region_pa, h->region_bytes) ||
	    overlap(base, bytes, MACHINE_BASE, MACHINE_END - MACHINE_BASE))
		return false;
	if (h->ecam_base &&
	    overlap(base, bytes, h->ecam_base + ((u64)h->ecam_bus_first << 20),
		    (u64)(h->ecam_bus_last - h->ecam_bus_first + 1) << 20))
		return false;
	for (u32 i = 0; i < h->ram_count && i < HANDOFF_RAM_MAX; i++)
		if (overlap(base, bytes, h->ram[i].base, h->ram[i].bytes))
			return false;
	return true;
}

/* Hook @base, move the real BAR under it, drop the old hook. */
static int move_to(struct pci_virt *v, u64 base)
{
	struct pci_slot *s = v->slot;
	struct mmio_region *from = &s->hook[s->hook_now];
	struct mmio_region *to = &s->hook[!s->hook_now];
	int err;

	*to = (struct mmio_region){
		.base = GPA(base), .bytes = from->bytes, .mode = from->mode,
		.access = from->access, .ctx = from->ctx, .name = from->name,
	};
	err = mmio_region_add(to);
	if (err) {
		to->bytes = 0;
		return err;
	}
	if (v->d.quiesce)
		v->d.quiesce(v->d.ctx, true);
	pci_dev_move(s, base);
	if (v->d.quiesce)
		v->d.quiesce(v->d.ctx, false);
	s->hook_now = !s->hook_now;
	mmio_region_remove(from);
	from->bytes = 0;
	return 0;
}

static void follow_once(struct pci_virt *v)
{
	struct pci_bar *b = &v->slot->bars[v->slot->window];
	bool decode;
	u64 base;
	int err;

	spin_lock(&v->lock);
	decode = get_le16(v->cfg + PCI_COMMAND) & PCI_COMMAND_MEM;
	base = get_le32(v->cfg + v->bar_off) & ~(u64)PCI_BAR_MEM_FLAGS;
	if (v->bar_wide)
		base |= (u64)get_le32(v->cfg + v->bar_off + 4) << 32;
	spin_unlock(&v->lock);
	if (decode && base != b->base && usable(v, base)) {
		__atomic_store_n(&v->answers, 0, __ATOMIC_RELEASE);
		err = move_to(v, base);
		if (err)
			log_limited(LOG_WARN, "pci: BAR not moved to=%llx err=%s",
				    (unsigned long long)base, err_name(err));
		else
			log_limited(LOG_INFO, "pci: BAR moved to=%llx", (unsigned long long)base);
	}
	__atomic_store_n(&v->answers, decode && base == b->base, __ATOMIC_RELEASE);
}

/* Bring hook and real BAR to where the configuration bytes want them. */
static void follow(struct pci_virt *v)
{
	__atomic_store_n(&v->again, 1, __ATOMIC_SEQ_CST);
	while (__atomic_load_n(&v->again, __ATOMIC_SEQ_CST)) {
		if (__atomic_exchange_n(&v->moving, 1, __ATOMIC_SEQ_CST))
			return; /* that CPU looks at .again once more */
		if (__atomic_exchange_n(&v->again, 0, __ATOMIC_SEQ_CST))
			follow_once(v);
		__atomic_store_n(&v->moving, 0, __ATOMIC_SEQ_CST);
	}
}

/* ---------------------------------------------------------------- configuration space */

static bool touches(u32 off, u32 size, u32 reg, u32 bytes)
{
	return overlap(off, size, reg, bytes);
}

/* The window's data are read or written: so is BAR0, if that makes an access. */
static void window_access(struct pci_virt *v, bool write)
{
	struct mmio_access a = { .write = write };
	u8 *cap = v->cfg + v->window;
	u8 bar;

	spin_lock(&v->lock);
	bar = cap[WINDOW_BAR];
	a.off = get_le32(cap + WINDOW_OFF);
	a.bytes = get_le32(cap + WINDOW_LEN);
	a.value = get_le32(cap + WINDOW_DATA);
	spin_unlock(&v->lock);
	if (bar || (a.bytes != 1 && a.bytes != 2 && a.bytes != 4) || !IS_ALIGNED(a.off, a.bytes) ||
	    a.off >= v->d.bar_bytes ||
	    (v->d.msix_vectors && a.off - v->d.msix_table_off < PAGE_BYTES))
		return;
	v->d.access(v->d.ctx, &a);
	if (write)
		return;
	spin_lock(&v->lock);
	for (u32 i = 0; i < a.bytes; i++)
		cap[WINDOW_DATA + i] = (u8)(a.value >> (8 * i));
	spin_unlock(&v->lock);
}

/**
 * pci_virt_cfg_read() - @off + @size within one dword of PCI_CFG_BYTES
 */
u32 pci_virt_cfg_read(struct pci_virt *v, u32 off, u32 size)
{
	u32 value = 0;

	if (v->window && touches(off, size, v->window + WINDOW_DATA, 4))
		window_access(v, false);
	spin_lock(&v->lock);
	for (u32 i = 0; i < size; i++)
		value |= (u32)v->cfg[off + i] << (8 * i);
	spin_unlock(&v->lock);
	return value;
}

/*
 * The real link must agree with what the guest sets up on its other end.
 * The driver keeps working with any payload size.
 */
static void forward_devctl(struct pci_virt *v, u32 devctl)
{
	const u32 mine = PCI_EXP_DEVCTL_PAYLOAD | PCI_EXP_DEVCTL_READRQ;
	u32 off = v->slot->cap_pcie + PCI_EXP_DEVCTL;
	u32 real = pci_hw_cfg_read(v->slot->bdf, off, 2);

	pci_hw_cfg_write(v->slot->bdf, off, 2, (real & ~mine) | (devctl & mine));
}

/**
 * pci_virt_cfg_write() - change what may be changed, and do what follows
 *
 * Context: the guest CPU that wrote; no lock held.
 */
void pci_virt_cfg_write(struct pci_virt *v, u32 off, u32 size, u32 value)
{
	u32 msix_ctl, devctl;

	spin_lock(&v->lock);
	for (u32 i = 0; i < size; i++) {
		u8 w = v->writable[off + i];

		v->cfg[off + i] = (u8)((v->cfg[off + i] & ~w) | (value >> (8 * i) & w));
	}
	msix_ctl = get_le16(v->cfg + CAP_MSIX + PCI_MSIX_CTL);
	devctl = get_le16(v->cfg + CAP_PCIE + PCI_EXP_DEVCTL);
	spin_unlock(&v->lock);

	if (touches(off, size, PCI_COMMAND, 2) || touches(off, size, v->bar_off, 8))
		follow(v);
	if (v->d.msix_vectors && touches(off, size, CAP_MSIX + PCI_MSIX_CTL, 2))
		msix_control(&v->msix, msix_ctl & PCI_MSIX_CTL_ENABLE,
			     msix_ctl & PCI_MSIX_CTL_MASK);
	if (v->slot->cap_pcie && touches(off, size, CAP_PCIE + PCI_EXP_DEVCTL, 2))
		forward_devctl(v, devctl);
	if (v->window && touches(off, size, v->window + WINDOW_DATA, 4))
		window_access(v, true);
}

/* ---------------------------------------------------------------- BAR0 */

/* The page of table and PBA: dwords and aligned quadwords, as the spec demands. */
static void msix_access(struct pci_virt *v, struct mmio_access *a, u32 off)
{
	u64 value = 0;

	if (a->bytes < 4 || !IS_ALIGNED(off, a->bytes)) {
		if (!a->write)
			a->value = 0;
		return;
	}
	for (u32 done = 0; done < a->bytes; done += 4) {
		u32 o = off + done;

		if (a->write && o < MSIX_PBA_OFF)
			msix_table_write(&v->msix, o, (u32)(a->value >> (8 * done)));
		else if (!a->write)
			value |= (u64)(o < MSIX_PBA_OFF ?
				       msix_table_read(&v->msix, o) :
				       msix_pba_read(&v->msix, o - MSIX_PBA_OFF)) << (8 * done);
	}
	if (!a->write)
		a->value = value;
}

/**
 * pci_window_access() - the guest touches the place of a taken function's window
 */
void pci_window_access(void *ctx, struct mmio_access *a)
{
	struct pci_slot *s = ctx;
	struct pci_virt *v = __atomic_load_n(&s->virt, __ATOMIC_ACQUIRE);

	if (!v || !__atomic_load_n(&v->answers, __ATOMIC_ACQUIRE)) {
		if (!a->write)
			a->value = ~0ull;
		return;
	}
	if (v->d.msix_vectors && a->off - v->d.msix_table_off < PAGE_BYTES)
		msix_access(v, a, (u32)(a->off - v->d.msix_table_off));
	else if (a->off < v->d.bar_bytes)
		v->d.access(v->d.ctx, a);
	else if (!a->write)
		a->value = 0; /* the real BAR is larger than what we present */
}

/* ---------------------------------------------------------------- the outside */

static bool caps_ok(const struct pci_virt_desc *d)
{
	u32 at = CAP_OWN;

	if (d->ncaps > PCI_VIRT_CAPS_MAX)
		return false;
	for (u32 i = 0; i < d->ncaps; i++) {
		u32 bytes = d->caps[i].bytes;

		if (bytes < 4 || bytes > PCI_VIRT_CAP_BYTES || (d->caps[i].window && bytes < 20))
			return false;
		at += ALIGN_UP(bytes, 4u);
	}
	return at <= (d->msi ? CAP_MSI : PCI_CFG_BYTES);
}

static bool desc_ok(const struct pci_virt_desc *d)
{
	return d->access && caps_ok(d) &&
	       d->bar_bytes >= PAGE_BYTES && !(d->bar_bytes & (d->bar_bytes - 1)) &&
	       d->bar < PCI_BARS && d->msix_vectors <= PCI_VIRT_VECTORS_MAX &&
	       (!d->msix_vectors || (IS_ALIGNED(d->msix_table_off, PAGE_BYTES) &&
				     d->msix_table_off < d->bar_bytes));
}

/*
 * The hook is of whole pages, so a real BAR of less than one has room for one:
 * but it must begin where the page does.
 */
static bool fits(const struct pci_slot *s, const struct pci_virt_desc *d)
{
	const struct pci_bar *b = &s->bars[s->window];
	u64 room = ALIGN_UP(b->bytes, (u64)PAGE_BYTES);

	return room >= d->bar_bytes && IS_ALIGNED(b->base, room) &&
	       (!d->bar || b->base + room <= 4 * GIB);
}

/**
 * pci_fits() - has the function that was taken at @bdf room for @desc?
 */
bool pci_fits(u16 bdf, const struct pci_virt_desc *desc)
{
	const struct pci_slot *s = pci_slot_find(bdf);

	return s && !s->virt && fits(s, desc);
}

/**
 * pci_present() - put a virtual function where @bdf was taken
 *
 * It stands at once where firmware had put the real one, decoding switched on.
 * Context: start-up or a hypercall; allocates.
 * Return: 0; -EINVAL for a description that cannot be; -EOPNOTSUPP when no
 * function was taken at @bdf; -EEXIST when one is presented; -ENOSPC when the
 * real window is smaller than the virtual one or out of its reach; -ENOMEM.
 */
int pci_present(u16 bdf, const struct pci_virt_desc *desc, struct pci_virt **out)
{
	struct pci_slot *s = pci_slot_find(bdf);
	struct pci_virt *v;

	if (!desc_ok(desc))
		return -EINVAL;
	if (!s)
		return -EOPNOTSUPP;
	if (s->virt)
		return -EEXIST;
	if (!fits(s, desc)) {
		log_err("pci: no room for %s bdf=%04x window=%llx+%llx wanted=%x", desc->name, bdf,
			(unsigned long long)s->bars[s->window].base,
			(unsigned long long)s->bars[s->window].bytes, desc->bar_bytes);
		return -ENOSPC;
	}
	v = plat_alloc(sizeof(*v));
	if (!v)
		return -ENOMEM;
	v->d = *desc;
	v->slot = s;
	v->bar_bytes = ALIGN_UP(s->bars[s->window].bytes, (u64)PAGE_BYTES);
	v->bar_off = PCI_BAR0 + 4 * desc->bar;
	v->bar_wide = !desc->bar && s->bars[s->window].wide;
	build_cfg(v);
	msix_init(&v->msix, desc->msix_vectors);
	*out = v;
	follow(v);
	__atomic_store_n(&s->virt, v, __ATOMIC_RELEASE);
	log_info("pci: presented %s bdf=%02x:%02x.%u id=%04x:%04x vectors=%u", desc->name,
		 bdf >> 8, bdf >> 3 & 31, bdf & 7u, desc->vendor, desc->device,
		 desc->msix_vectors);
	return 0;
}

/* The one message of MSI, as the guest has set it up. */
static void msi_send(struct pci_virt *v)
{
	u64 address;
	u32 data;
	bool on;

	spin_lock(&v->lock);
	on = get_le16(v->cfg + CAP_MSI + PCI_MSI_CTL) & PCI_MSI_CTL_ENABLE;
	address = get_le64(v->cfg + CAP_MSI + PCI_MSI_ADDR);
	data = get_le16(v->cfg + CAP_MSI + PCI_MSI_DATA_64);
	spin_unlock(&v->lock);
	if (on)
		msi_message(address, data);
}

/**
 * pci_virt_irq() - raise MSI-X vector @vec of @v, or its MSI
 */
void pci_virt_irq(struct pci_virt *v, u32 vec)
{
	if (v->d.msi && !pci_virt_msix_enabled(v))
		msi_send(v);
	else
		msix_raise(&v->msix, vec);
}

/**
 * pci_virt_msix_enabled() - has the guest switched MSI-X on?
 */
bool pci_virt_msix_enabled(const struct pci_virt *v)
{
	return __atomic_load_n(&v->msix.enabled, __ATOMIC_RELAXED);
}

/**
 * pci_virt_bus_master() - has the guest allowed DMA and messages?
 */
bool pci_virt_bus_master(const struct pci_virt *v)
{
	return v->cfg[PCI_COMMAND] & PCI_COMMAND_MASTER;
}
