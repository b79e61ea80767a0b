/*
 * vmm/pci on a machine of arrays: functions with configuration space and BARs,
 * hooks that are only remembered, a local APIC that keeps what it is told.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/endian.h"
#include "base/err.h"
#include "base/plat.h"
#include "base/plat_host.h"
#include "vmm/cpu/lapic.h"
#include "vmm/pci/pci.h"
#include "vmm/pci/pci_priv.h"

/* ---------------------------------------------------------------- the machine */

#define ECAM 0xb0000000ull
#define REGION 0x40000000ull
#define RAM_BYTES 0x30000000ull

enum { NVME, NIC, OLD, OTHER, SMALL, PIE, BADHOOK, SEVENTH, SATA, VIRTIO, FUNCTIONS };

struct function {
	u16 bdf;
	u8 cfg[256];
	u32 bar_bytes[6]; /* 0: none */
	u32 bar_flags[6];
	u8 mem[0x20000];
};

static struct function functions[FUNCTIONS];
static u64 mapped; /* the last address asked for */
static u32 hw_cf8, port_log[8], port_logged;
static u32 cf8_raced; /* another CPU writes this right after CONFIG_ADDRESS was read */
static bool no_ecam;
static struct handoff handoff;

static struct list mmios = LIST_INIT(mmios), pios = LIST_INIT(pios);
static int mmio_add_fails;

static struct { u64 address; u32 data; } sent[64];
static u32 sent_count;

static struct function *function_at(u16 bdf)
{
	for (u32 i = 0; i < FUNCTIONS; i++)
		if (functions[i].bdf == bdf)
			return &functions[i];
	return NULL;
}

static u64 real_bar(const struct function *f, u32 i)
{
	u64 v = get_le32(f->cfg + 0x10 + 4 * i);

	if ((v & 7) == 4)
		v |= (u64)get_le32(f->cfg + 0x14 + 4 * i) << 32;
	return v & ~(v & 1 ? 3ull : 15ull);
}

u32 pci_hw_cfg_read(u16 bdf, u32 off, u32 size)
{
	struct function *f = function_at(bdf);
	u32 v = 0;

	assert_true(IS_ALIGNED(off, size));
	if (!f)
		return ~0u >> (32 - 8 * size);
	if (off + size <= 256)
		memcpy(&v, f->cfg + off, size);
	return v;
}

void pci_hw_cfg_write(u16 bdf, u32 off, u32 size, u32 v)
{
	struct function *f = function_at(bdf);
	u32 i = (off - 0x10) / 4;

	if (!f || off + size > 256)
		return;
	if (off >= 0x10 && off < 0x28) {
		bool upper = i && (f->bar_flags[i - 1] & 7) == 4;

		assert_int_equal(size, 4);
		if (f->bar_bytes[i])
			v = (v & ~(f->bar_bytes[i] - 1)) | f->bar_flags[i];
		else if (!upper)
			v = 0;
	}
	memcpy(f->cfg + off, &v, size);
}

/* Only what a function decodes at this moment can be mapped with sense. */
void *pci_hw_map(u64 pa, u64 bytes)
{
	mapped = pa;
	for (u32 n = 0; n < FUNCTIONS; n++) {
		struct function *f = &functions[n];

		for (u32 i = 0; i < 6; i++)
			if (f->bar_bytes[i] && pa >= real_bar(f, i) &&
			    pa + bytes <= real_bar(f, i) + f->bar_bytes[i])
				return f->mem + (pa - real_bar(f, i));
	}
	return NULL;
}

int mmio_region_add(struct mmio_region *r)
{
	struct mmio_region *o;

	assert_true(IS_ALIGNED(r->base.v, PAGE_BYTES) && IS_ALIGNED(r->bytes, PAGE_BYTES));
	if (mmio_add_fails && !--mmio_add_fails)
		return -ENOMEM;
	list_for_each(o, &mmios, link)
		if (r->base.v < o->base.v + o->bytes && o->base.v < r->base.v + r->bytes)
			return -EEXIST;
	list_add_tail(&mmios, &r->link);
	return 0;
}

void mmio_region_remove(struct mmio_region *r)
{
	list_del(&r->link);
}

int pio_region_add(struct pio_region *r)
{
	list_add_tail(&pios, &r->link);
	return 0;
}

void pio_region_remove(struct pio_region *r)
{
	list_del(&r->link);
}

void pio_native(struct pio_access *a)
{
	u16 bdf = (u16)(hw_cf8 >> 8);
	u32 off = (hw_cf8 & 0xfc) | (a->port & 3);

	if (a->port == 0xcf8 && a->bytes == 4) {
		if (a->write)
			hw_cf8 = a->value;
		else
			a->value = hw_cf8;
		if (cf8_raced)
			hw_cf8 = cf8_raced;
	} else if (a->port >= 0xcfc && a->port + a->bytes <= 0xd00 && hw_cf8 >> 31) {
		if (a->write)
			pci_hw_cfg_write(bdf, off, a->bytes, a->value);
		else
			a->value = pci_hw_cfg_read(bdf, off, a->bytes);
	} else {
		port_log[port_logged++ % 8] = a->port;
		a->value = 0;
	}
}

void lapic_msi(u64 address, u32 data)
{
	sent[sent_count % 64].address = address;
	sent[sent_count++ % 64].data = data;
}

void lapic_doorbell_msi(u32 cpu, u64 *address, u32 *data)
{
	assert_int_equal(cpu, 0);
	*address = 0xfee07000;
	*data = 0x400;
}

/* ---------------------------------------------------------------- the guest */

static u32 port(u16 p, u32 bytes, bool write, u32 value)
{
	struct pio_access a = { .port = p, .bytes = bytes, .write = write, .value = value };
	struct pio_region *r, *hit = NULL;

	list_for_each(r, &pios, link)
		if (p < r->first + r->count && p + bytes > r->first)
			hit = r;
	if (!hit || !hit->access(hit->ctx, &a))
		pio_native(&a);
	return a.value;
}

static u32 ioc(u16 bdf, u32 off, u32 bytes)
{
	port(0xcf8, 4, true, 0x80000000u | (u32)bdf << 8 | (off & 0xfc));
	return port((u16)(0xcfc + (off & 3)), bytes, false, 0);
}

static void ioc_w(u16 bdf, u32 off, u32 bytes, u32 v)
{
	port(0xcf8, 4, true, 0x80000000u | (u32)bdf << 8 | (off & 0xfc));
	port((u16)(0xcfc + (off & 3)), bytes, true, v);
}

static struct mmio_region *region_at(u64 gpa)
{
	struct mmio_region *r;

	list_for_each(r, &mmios, link)
		if (gpa - r->base.v < r->bytes)
			return r;
	return NULL;
}

static bool touch(u64 gpa, u32 bytes, bool write, u64 *v)
{
	struct mmio_region *r = region_at(gpa);
	struct mmio_access a = { .bytes = bytes, .write = write, .value = *v };

	if (!r)
		return false;
	a.off = gpa - r->base.v;
	if (r->mode == MMIO_ABSENT)
		a.value = ~0ull;
	else
		r->access(r->ctx, &a);
	*v = a.value & (~0ull >> (64 - 8 * bytes));
	return true;
}

static u64 rd(u64 gpa, u32 bytes)
{
	u64 v = 0;

	assert_true(touch(gpa, bytes, false, &v));
	return v;
}

static void wr(u64 gpa, u32 bytes, u64 v)
{
	assert_true(touch(gpa, bytes, true, &v));
}

static u64 ecam(u16 bdf, u32 off)
{
	return ECAM + ((u64)bdf << 12) + off;
}

static u32 count(struct list *l)
{
	u32 n = 0;

	for (struct list *p = l->next; p != l; p = p->next)
		n++;
	return n;
}

/* ---------------------------------------------------------------- the devices */

static void bar(struct function *f, u32 i, u32 bytes, u32 flags, u64 base)
{
	f->bar_bytes[i] = bytes;
	f->bar_flags[i] = flags;
	put_le32(f->cfg + 0x10 + 4 * i, (u32)base | flags);
	if ((flags & 7) == 4)
		put_le32(f->cfg + 0x14 + 4 * i, (u32)(base >> 32));
}

static struct function *function(u32 n, u16 bdf, u16 vendor, u16 device)
{
	struct function *f = &functions[n];

	f->bdf = bdf;
	put_le16(f->cfg, vendor);
	put_le16(f->cfg + 2, device);
	put_le16(f->cfg + 4, 3);
	put_le16(f->cfg + 6, 0x10);
	return f;
}

static int setup(void **state)
{
	struct function *f;

	(void)state;
	plat_host_quiet = true;
	for (u32 i = 0; i < FUNCTIONS; i++)
		functions[i].bdf = 0xffff;
	handoff.ecam_base = no_ecam ? 0 : ECAM;
	handoff.ecam_bus_last = 255;
	handoff.phys_limit = 1ull << 40;
	handoff.region_pa = REGION;
	handoff.region_bytes = 64 * MIB;
	handoff.ram_count = 1;
	handoff.ram[0].base = MIB;
	handoff.ram[0].bytes = RAM_BYTES - MIB;

	/* As in QEMU: MSI-X in BAR0, a root complex endpoint */
	f = function(NVME, 0x0018, 0x1b36, 0x0010);
	bar(f, 0, 0x4000, 4, 0xe000004000);
	f->cfg[0x34] = 0x40;
	memcpy(f->cfg + 0x40, (u8[]){ 0x11, 0x80, 0x40, 0 }, 4);
	put_le32(f->cfg + 0x44, 0x2000);
	put_le32(f->cfg + 0x48, 0x3000);
	memcpy(f->cfg + 0x80, (u8[]){ 0x10, 0, 0x92, 0 }, 4);
	put_le32(f->cfg + 0x84, 0x10008002); /* FLR, payload up to 512 */
	put_le16(f->cfg + 0x88, 0x2810);

	/* As QEMU's e1000e: memory, flash, I/O, MSI-X in a BAR of its own, MSI too */
	f = function(NIC, 0x0010, 0x8086, 0x10d3);
	bar(f, 0, 0x20000, 0, 0xc0000000);
	bar(f, 1, 0x20000, 0, 0xc0020000);
	bar(f, 2, 0x20, 1, 0x6000);
	bar(f, 3, 0x4000, 0, 0xc0040000);
	f->cfg[0x34] = 0xd0;
	memcpy(f->cfg + 0xd0, (u8[]){ 0x05, 0xa0, 0x80, 0 }, 4);
	memcpy(f->cfg + 0xa0, (u8[]){ 0x11, 0, 4, 0 }, 4);
	put_le32(f->cfg + 0xa4, 3);
	put_le32(f->cfg + 0xa8, 0x2003);

	/* MSI alone, with masks; a capability list that bites its tail */
	f = function(OLD, 0x0100, 0x8086, 0x10d3);
	bar(f, 0, 0x20000, 8, 0xc1000000);
	f->cfg[0x34] = 0x50;
	memcpy(f->cfg + 0x50, (u8[]){ 0x05, 0x50, 0xf0, 1 }, 4);

	f = function(OTHER, 0x00f8, 0x8086, 0x2918);
	f = function(SMALL, 0x0020, 0x1b36, 0x0010);
	bar(f, 0, 0x2000, 4, 0xe000010000);
	f = function(PIE, 0x0200, 0x144d, 0xa808); /* behind a port; prefetchable BAR */
	bar(f, 0, 0x8000, 4, 0xc2000000);
	f->cfg[0x34] = 0x70;
	memcpy(f->cfg + 0x70, (u8[]){ 0x10, 0, 2, 0 }, 4);
	put_le32(f->cfg + 0x74, 0x10000001);
	put_le32(f->cfg + 0x7c, 0x00475c43); /* ASPM, x4, gen3 */
	put_le16(f->cfg + 0x82, 0x1043);
	/* As QEMU's ich9-ahci: registers in BAR5, index and data ports in BAR4, MSI alone */
	f = function(SATA, 0x00fa, 0x8086, 0x2922);
	put_le32(f->cfg + 8, 0x01060102);
	bar(f, 4, 0x20, 1, 0x7040);
	bar(f, 5, 0x1000, 0, 0xc4000000);
	f->cfg[0x34] = 0x80;
	memcpy(f->cfg + 0x80, (u8[]){ 0x05, 0, 0x80, 0 }, 4);
	function(SEVENTH, 0x007f, 1, 1); /* alone at its device, which has no function 0 */
	/* As QEMU's virtio-net: I/O for drivers of old, MSI-X, and what we want in BAR4 */
	f = function(VIRTIO, 0x0108, 0x1af4, 0x1000);
	bar(f, 0, 0x20, 1, 0x6060);
	bar(f, 1, 0x1000, 0, 0xc0050000);
	bar(f, 4, 0x4000, 4, 0xe000020000);
	f->cfg[0x34] = 0x98;
	memcpy(f->cfg + 0x98, (u8[]){ 0x11, 0, 2, 0 }, 4);
	put_le32(f->cfg + 0x9c, 1);
	put_le32(f->cfg + 0xa0, 0x801);
	f = function(BADHOOK, 0x0300, 1, 1);
	bar(f, 0, 0x4000, 4, 0xc3000000);
	bar(f, 2, 0x20, 1, 0x7000);
	bar(f, 3, 0x4000, 0, 0xc3100000);
	return pci_init(&handoff);
}

/* ---------------------------------------------------------------- tests */

static struct bus_dev *nic, *nvme;

static void nothing_is_hooked_at_first(void **state)
{
	(void)state;
	assert_true(list_empty(&mmios));
	assert_true(list_empty(&pios));
	assert_int_equal(ioc(0x0010, 0, 4), 0x10d38086);
}

static void take_reads_the_device(void **state)
{
	u8 before[256];
	struct bus_dev *d;

	(void)state;
	memcpy(before, functions[NIC].cfg, 256);
	assert_int_equal(pci_take(0x0010, &nic), 0);
	assert_int_equal(nic->vendor, 0x8086);
	assert_int_equal(nic->device, 0x10d3);
	assert_int_equal(nic->bar_bytes, 0x20000);
	assert_true(nic->has_msix && nic->has_msi);
	/* All as before but the command: memory, master, no pin. */
	put_le16(before + 4, 0x407);
	assert_memory_equal(before, functions[NIC].cfg, 256);

	bus_write32(nic, 0x100, 0xabcd);
	assert_int_equal(get_le32(functions[NIC].mem + 0x100), 0xabcd);
	assert_int_equal(bus_read32(nic, 0x100), 0xabcd);
	bus_write64(nic, 0x108, 0x1122334455667788);
	assert_true(bus_read64(nic, 0x108) == 0x1122334455667788);
	assert_int_equal(bus_read32(nic, 0x20000), ~0u);
	assert_int_equal(nic->ops->cfg_read(nic, 0, 2), 0x8086);

	assert_int_equal(pci_take(0x0010, &d), -EEXIST);
	assert_int_equal(pci_take(0x0040, &d), -ENODEV);
	assert_int_equal(pci_take(0x00f8, &d), -ENODEV); /* no BAR0 */
}

static void hidden_function_is_not_there(void **state)
{
	u8 before[256];

	(void)state;
	memcpy(before, functions[NIC].cfg, 256);
	assert_int_equal(ioc(0x0010, 0, 4), 0xffffffff);
	assert_int_equal(ioc(0x0010, 2, 2), 0xffff);
	assert_int_equal(ioc(0x0010, 0xe, 1), 0xff);
	for (u32 off = 0; off < 256; off += 4) {
		ioc_w(0x0010, off, 4, 0x12345678);
		if (!no_ecam)
			wr(ecam(0x0010, off), 4, 0x12345678);
	}
	if (!no_ecam) {
		assert_int_equal(rd(ecam(0x0010, 0), 4), 0xffffffff);
		assert_int_equal(rd(ecam(0x0010, 0x100), 4), 0xffffffff);
		assert_true(rd(ecam(0x0010, 8), 8) == ~0ull);
		assert_int_equal(rd(ecam(0x0010, 3), 2), 0xffff);
	}
	/* Around the data port's edges */
	port(0xcf8, 4, true, 0x80001010);
	port(0xcfa, 4, true, 0xdeadbeef);
	port(0xcfe, 4, true, 0xdeadbeef);
	assert_int_equal(port(0xcfe, 4, false, 0), 0xffffffff);
	assert_memory_equal(before, functions[NIC].cfg, 256);

	/* All of its BARs */
	assert_int_equal(rd(0xc0000100, 4), 0xffffffff);
	assert_int_equal(rd(0xc003fffc, 4), 0xffffffff);
	assert_int_equal(rd(0xc0043ffc, 4), 0xffffffff);
	wr(0xc0000100, 4, 1);
	assert_int_equal(get_le32(functions[NIC].mem + 0x100), 0xabcd);
	assert_int_equal(port(0x6004, 4, false, 0), 0xffffffff);
	assert_int_equal(port(0x6004, 1, false, 0), 0xff);
	assert_null(region_at(0xc0044000));
}

static void other_functions_pass(void **state)
{
	u32 n = port_logged;

	(void)state;
	assert_int_equal(ioc(0x00f8, 0, 4), 0x29188086);
	assert_int_equal(ioc(0x00f8, 2, 1), 0x18);
	ioc_w(0x00f8, 0x41, 1, 0x5a);
	assert_int_equal(functions[OTHER].cfg[0x41], 0x5a);
	assert_int_equal(ioc(0x0040, 0, 2), 0xffff);
	if (!no_ecam) {
		ioc_w(0x00f8, 0x41, 2, 0x7766); /* at an odd address */
		assert_int_equal(get_le16(functions[OTHER].cfg + 0x41), 0x7766);
		assert_int_equal(ioc(0x00f8, 0x41, 2), 0x7766);
		assert_null(region_at(ecam(0x00f8, 0)));
	}
	/* CONFIG_ADDRESS reads back, also while it names a hidden function. */
	port(0xcf8, 4, true, 0x80001004);
	assert_int_equal(port(0xcf8, 4, false, 0), 0x80001004);
	/* Without the enable bit the data port is an ordinary port. */
	port(0xcf8, 4, true, 0x00001000);
	assert_int_equal(port(0xcfc, 4, false, 0), no_ecam ? 0 : ~0u);
	n -= !no_ecam; /* with ECAM nothing reaches the port */
	assert_int_equal(port_logged, n + 1);
	/* The reset register, and what is not CONFIG_ADDRESS though it starts there */
	port(0xcf9, 1, true, 6);
	port(0xcf8, 1, true, 0x99);
	port(0xcf7, 4, true, 0x99);
	assert_int_equal(port_logged, n + 4);
	assert_int_equal(port_log[(n + 1) % 8], 0xcf9);
	assert_int_equal(port(0xcf8, 4, false, 0), 0x00001000);
	port(0xcf8, 4, true, 0x8000f800);
	port(0xcf7, 4, true, 0x80001000);
	assert_int_equal(port(0xcfc, 4, false, 0), 0x29188086);
}

/* One CPU names a function of the guest's, another CPU one that is taken. */
static void raced_address_reaches_nothing(void **state)
{
	u8 before[256];

	(void)state;
	memcpy(before, functions[NIC].cfg, 256);
	port(0xcf8, 4, true, 0x8000f840);
	cf8_raced = 0x80001040;
	port(0xcfc, 4, true, 0x11223344);
	cf8_raced = 0;
	assert_memory_equal(before, functions[NIC].cfg, 256);
	assert_int_equal(get_le32(functions[OTHER].cfg + 0x40), 0x11223344);
	port(0xcf8, 4, true, 0x8000f800);
	cf8_raced = 0x80001000;
	assert_int_equal(port(0xcfc, 4, false, 0), 0x29188086);
	cf8_raced = 0;
}

static void msix_rings_the_doorbell(void **state)
{
	u8 *t = functions[NIC].mem; /* the fake has one memory for all BARs */

	(void)state;
	memset(t, 0x77, 0x100);
	assert_int_equal(nic->ops->irq_enable(nic, 2), 0);
	for (u32 i = 0; i < 2; i++) {
		assert_int_equal(get_le32(t + 16 * i), 0xfee07000);
		assert_int_equal(get_le32(t + 16 * i + 4), 0);
		assert_int_equal(get_le32(t + 16 * i + 8), 0x400);
		assert_int_equal(get_le32(t + 16 * i + 12), 0);
	}
	for (u32 i = 2; i < 5; i++)
		assert_int_equal(get_le32(t + 16 * i + 12), 1);
	assert_int_equal(get_le32(t + 80), 0x77777777);
	assert_int_equal(get_le16(functions[NIC].cfg + 0xa2), 0x8004);
	assert_int_equal(get_le16(functions[NIC].cfg + 0xd2), 0x0080);
	/* Masked, not disabled: see bus_irq_disable(). */
	nic->ops->irq_disable(nic);
	assert_int_equal(get_le16(functions[NIC].cfg + 0xa2), 0xc004);
	nic->ops->irq_enable(nic, 1);
	assert_int_equal(get_le16(functions[NIC].cfg + 0xa2), 0x8004);
}

static void msi_rings_the_doorbell(void **state)
{
	struct bus_dev *d;
	u8 *c = functions[OLD].cfg + 0x50;

	(void)state;
	assert_int_equal(pci_take(0x0100, &d), 0);
	assert_true(d->has_msi && !d->has_msix);
	put_le32(c + 0x10, ~0u);
	assert_int_equal(d->ops->irq_enable(d, 1), 0);
	assert_int_equal(get_le16(c + 2), 0x181); /* one vector, enabled */
	assert_int_equal(get_le32(c + 4), 0xfee07000);
	assert_int_equal(get_le32(c + 8), 0);
	assert_int_equal(get_le16(c + 12), 0x400);
	assert_int_equal(get_le32(c + 0x10), 0);
	d->ops->irq_disable(d);
	assert_int_equal(get_le16(c + 2), 0x180);
}

static void dma_memory_is_aligned(void **state)
{
	static u8 *kept[10]; /* there is no free */
	u32 n = 0;
	u64 dma;

	(void)state;
	for (size_t align = 1; align <= 65536; align *= 4) {
		u8 *p = nic->ops->dma_alloc(nic, 100, align, &dma);

		kept[n++] = p;
		assert_non_null(p);
		assert_true(IS_ALIGNED(dma, align));
		assert_true(dma == (uintptr_t)p);
		for (u32 i = 0; i < 100; i++)
			assert_int_equal(p[i], 0);
		assert_non_null(memset(kept[n - 1], 0xff, 100));
	}
}

/* ---------------------------------------------------------------- the virtual function */

static struct pci_virt *virt;
static struct mmio_access last;
static u32 accesses, quiet_on, quiet_off;
static u64 bar_when_quiet;

static void model(void *ctx, struct mmio_access *a)
{
	assert_ptr_equal(ctx, &virt);
	last = *a;
	accesses++;
	if (!a->write)
		a->value = 0x5500 + a->off;
}

static void quiesce(void *ctx, bool on)
{
	assert_ptr_equal(ctx, &virt);
	if (on) {
		quiet_on++;
		bar_when_quiet = real_bar(&functions[NVME], 0);
		/* The new place is hooked before the device appears there, the old one still. */
		assert_non_null(region_at(bar_when_quiet));
	} else {
		quiet_off++;
		assert_non_null(region_at(real_bar(&functions[NVME], 0)));
	}
}

static const struct pci_virt_desc desc = {
	.vendor = 0x1d1d, .device = 0x1f1f, .subvendor = 0x1af4, .subdevice = 0x1100,
	.class_code = 0x010802, .revision = 2, .bar_bytes = 0x4000,
	.msix_vectors = 65, .msix_table_off = 0x2000, .name = "test",
	.access = model, .quiesce = quiesce, .ctx = &virt,
	.ncaps = 2, .caps = {
		{ 8, { 9, 0, 8, 1, 0x11, 0x22, 0x33, 0x44 }, false },
		{ 20, { 9, 0, 20, 5 }, true },
	},
};

#define V 0x0018
#define BAR 0xe000004000ull

static void present_stands_in(void **state)
{
	struct pci_virt_desc bad = desc;

	(void)state;
	assert_int_equal(pci_take(V, &nvme), 0);
	assert_int_equal(ioc(V, 0, 4), ~0u);
	assert_int_equal(rd(BAR, 4), 0xffffffff);
	bad.caps[1].bytes = 16; /* a window without its data */
	assert_int_equal(pci_present(V, &bad, &virt), -EINVAL);
	bad.ncaps = 6;
	assert_int_equal(pci_present(V, &bad, &virt), -EINVAL);
	bad = desc;
	bad.bar_bytes = 0x5000;
	assert_int_equal(pci_present(V, &bad, &virt), -EINVAL);
	bad.bar_bytes = 0x8000;
	assert_int_equal(pci_present(V, &bad, &virt), -ENOSPC);
	assert_int_equal(pci_present(0x0050, &desc, &virt), -EOPNOTSUPP);
	assert_int_equal(pci_present(V, &desc, &virt), 0);
	assert_int_equal(pci_present(V, &desc, &virt), -EEXIST);

	assert_int_equal(ioc(V, 0, 4), 0x1f1f1d1d);
	assert_int_equal(ioc(V, 2, 2), 0x1f1f);
	assert_int_equal(ioc(V, 3, 1), 0x1f);
	assert_int_equal(ioc(V, 8, 4), 0x01080202);
	assert_int_equal(ioc(V, 0xe, 1), 0);
	assert_int_equal(ioc(V, 0x2c, 4), 0x11001af4);
	assert_int_equal(ioc(V, 0x3d, 1), 0);
	assert_int_equal(ioc(V, 4, 4), 0x00100006);
	assert_int_equal(ioc(V, 0x10, 4), 0x00004004);
	assert_int_equal(ioc(V, 0x14, 4), 0xe0);
	assert_int_equal(rd(ecam(V, 0), 4), 0x1f1f1d1d);
	assert_true(rd(ecam(V, 0x10), 8) == 0xe000004004);
	assert_int_equal(rd(ecam(V, 1), 2), 0x1f1d);
	assert_int_equal(rd(ecam(V, 0x100), 4), 0);
	/* Read-only is read-only. */
	ioc_w(V, 0, 4, 0);
	ioc_w(V, 8, 4, 0);
	ioc_w(V, 0x2c, 4, 0);
	ioc_w(V, 0x18, 4, ~0u);
	ioc_w(V, 0x30, 4, ~0u);
	assert_int_equal(ioc(V, 0, 4), 0x1f1f1d1d);
	assert_int_equal(ioc(V, 8, 4), 0x01080202);
	assert_int_equal(ioc(V, 0x18, 4), 0);
	assert_int_equal(ioc(V, 0x30, 4), 0);
	/* Out of the data port's window, on either side */
	port(0xcf8, 4, true, 0x80001810);
	port(0xcfe, 4, true, 0);
	port(0xcfa, 4, true, 0);
	assert_int_equal(port(0xcfe, 4, false, 0), ~0u);
	assert_int_equal(ioc(V, 0x10, 4), 0x00004004);
	ioc_w(V, 0x3c, 1, 11);
	assert_int_equal(ioc(V, 0x3c, 2), 11);
}

static u32 find_cap(u16 bdf, u8 id)
{
	u32 off = ioc(bdf, 0x34, 1);

	for (u32 n = 0; off && n < 10; n++) {
		assert_true(off >= 0x40 && off < 0x100 && !(off & 3));
		if (ioc(bdf, off, 1) == id)
			return off;
		off = ioc(bdf, off + 1, 1);
	}
	return 0;
}

static void capabilities_are_listed(void **state)
{
	u32 pm = find_cap(V, 1), x = find_cap(V, 0x11), e = find_cap(V, 0x10);

	(void)state;
	assert_true(pm && x && e);
	assert_int_equal(find_cap(V, 5), 0);
	assert_int_equal(ioc(V, x + 2, 2), 64);
	assert_int_equal(ioc(V, x + 4, 4), 0x2000);
	assert_int_equal(ioc(V, x + 8, 4), 0x2800);
	assert_int_equal(ioc(V, e + 2, 2), 0x92); /* root complex endpoint, as the real one */
	assert_int_equal(ioc(V, e + 4, 4), 0x8002); /* no FLR */
	assert_int_equal(ioc(V, e + 12, 4), 0);
	ioc_w(V, pm + 4, 2, 3);
	assert_int_equal(ioc(V, pm + 4, 2), 0x000b);
	ioc_w(V, pm + 4, 2, 0);
	/* Payload sizes reach the real device, nothing else does. */
	assert_int_equal(ioc(V, e + 8, 2), 0x2000);
	ioc_w(V, e + 8, 2, 0xffff & ~0x2080);
	assert_int_equal(get_le16(functions[NVME].cfg + 0x88), 0x5870);
	assert_int_equal(ioc(V, e + 8, 2), 0x5060);
}

/* The description's own capabilities, and the way into the BAR through one of them. */
static void window_in_a_capability(void **state)
{
	u32 c = find_cap(V, 9), w = ioc(V, c + 1, 1);

	(void)state;
	assert_int_equal(ioc(V, c + 4, 4), 0x44332211);
	ioc_w(V, c + 4, 4, 0);
	assert_int_equal(ioc(V, c + 4, 4), 0x44332211);
	assert_int_equal(ioc(V, w, 1), 9);
	assert_int_equal(ioc(V, w + 3, 1), 5);
	accesses = 0;
	ioc_w(V, w + 8, 4, 0x1010);
	ioc_w(V, w + 12, 4, 2);
	assert_int_equal(accesses, 0);
	assert_int_equal(ioc(V, w + 16, 2), 0x6510);
	assert_true(accesses == 1 && last.off == 0x1010 && last.bytes == 2 && !last.write);
	ioc_w(V, w + 16, 4, 0xabcd);
	assert_true(accesses == 2 && last.write && last.value == 0xabcd);
	/* no access: another BAR, an odd length, unaligned, beyond the BAR, the MSI-X table */
	static const u32 bad[][3] = { { 1, 0, 4 }, { 0, 0, 3 }, { 0, 0, 0 }, { 0, 2, 4 },
				      { 0, 0x4000, 4 }, { 0, 0xfffffffc, 4 }, { 0, 0x2ffc, 4 } };

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		ioc_w(V, w + 4, 1, bad[i][0]);
		ioc_w(V, w + 8, 4, bad[i][1]);
		ioc_w(V, w + 12, 4, bad[i][2]);
		ioc_w(V, w + 16, 4, 1);
		ioc(V, w + 16, 4);
	}
	assert_int_equal(accesses, 2);
}

static void bar_accesses_reach_the_model(void **state)
{
	(void)state;
	accesses = 0;
	assert_int_equal(rd(BAR + 0x14, 4), 0x5514);
	assert_int_equal(last.bytes, 4);
	wr(BAR + 0x1003, 1, 0x42);
	assert_int_equal(last.off, 0x1003);
	assert_true(last.write && last.value == 0x42);
	assert_int_equal(rd(BAR + 0x3000, 4), 0x5500 + 0x3000);
	assert_int_equal(accesses, 3);
	rd(BAR + 0x2000, 4);
	rd(BAR + 0x2ffc, 4);
	assert_int_equal(accesses, 3); /* the table's page is not the model's */
	/* The real registers are another thing. */
	bus_write32(nvme, 0x14, 0x777);
	assert_int_equal(get_le32(functions[NVME].mem + 0x14), 0x777);
	assert_int_equal(accesses, 3);
}

static void sizing_works(void **state)
{
	u8 real[256];

	(void)state;
	memcpy(real, functions[NVME].cfg, 256);
	quiet_on = 0;
	for (int decode = 0; decode < 2; decode++) {
		ioc_w(V, 4, 2, decode ? 6 : 4);
		ioc_w(V, 0x10, 4, ~0u);
		assert_int_equal(ioc(V, 0x10, 4), 0xffffc004);
		ioc_w(V, 0x14, 4, ~0u);
		assert_int_equal(ioc(V, 0x14, 4), ~0u);
		assert_int_equal(rd(BAR, 4), 0xffffffff);
		ioc_w(V, 0x10, 4, 0x4004);
		ioc_w(V, 0x14, 4, 0xe0);
	}
	assert_memory_equal(real, functions[NVME].cfg, 256);
	assert_int_equal(quiet_on, 0);
	assert_int_equal(rd(BAR, 4), 0x5500);
	/* Decoding off: nobody answers, and still not the real device. */
	ioc_w(V, 4, 2, 4);
	assert_int_equal(rd(BAR, 4), 0xffffffff);
	assert_int_equal(get_le16(functions[NVME].cfg + 4), 0x407);
	assert_true(pci_virt_bus_master(virt));
	ioc_w(V, 4, 1, 2);
	assert_false(pci_virt_bus_master(virt));
	assert_int_equal(rd(BAR, 4), 0x5500);
	ioc_w(V, 4, 2, 6);
}

static void move(u64 to)
{
	ioc_w(V, 4, 2, 4);
	/* by bytes and words, as hardware allows */
	ioc_w(V, 0x10, 2, (u16)to);
	ioc_w(V, 0x12, 1, (u8)(to >> 16));
	ioc_w(V, 0x13, 1, (u8)(to >> 24));
	wr(ecam(V, 0x14), 4, to >> 32);
	ioc_w(V, 4, 2, 6);
}

static void bar_moves(void **state)
{
	u32 n = count(&mmios);

	(void)state;
	quiet_on = quiet_off = 0;
	move(0xd0008000);
	assert_int_equal(quiet_on, 1);
	assert_int_equal(quiet_off, 1);
	assert_true(bar_when_quiet == BAR);
	assert_true(real_bar(&functions[NVME], 0) == 0xd0008000);
	assert_int_equal(get_le16(functions[NVME].cfg + 4), 0x407);
	assert_true(mapped == 0xd0008000); /* the driver's window as well */
	assert_null(region_at(BAR));
	assert_int_equal(rd(0xd0008020, 4), 0x5520);
	assert_int_equal(count(&mmios), n);
	bus_write32(nvme, 0x14, 0x888);
	assert_int_equal(get_le32(functions[NVME].mem + 0x14), 0x888);

	/* Where it must not go: RAM, our memory, machine registers, ECAM, nowhere. */
	static const u64 bad[] = { 0, 0x100000, RAM_BYTES - 0x4000, REGION, REGION + 0x100000,
				   0xfee00000, 0xfec00000, ECAM + 0x18000, 1ull << 40,
				   0xffffffffffff8000 };
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		move(bad[i]);
		assert_true(real_bar(&functions[NVME], 0) == 0xd0008000);
		assert_int_equal(rd(0xd0008020, 4), 0xffffffff);
		assert_true(rd(ecam(V, 0x10), 8) == (bad[i] | 4));
	}
	/* Onto another hook, or out of page tables: stays, silent; can move on. */
	move(0xc0000000);
	assert_true(real_bar(&functions[NVME], 0) == 0xd0008000);
	mmio_add_fails = 1;
	move(0xd1000000);
	assert_true(real_bar(&functions[NVME], 0) == 0xd0008000);
	assert_int_equal(rd(0xd0008020, 4), 0xffffffff);
	move(BAR);
	assert_int_equal(rd(BAR + 0x20, 4), 0x5520);
	assert_true(real_bar(&functions[NVME], 0) == BAR);
	assert_int_equal(count(&mmios), n);
	assert_int_equal(quiet_on, quiet_off);
}

/* ---------------------------------------------------------------- MSI-X */

#define TABLE (BAR + 0x2000)
#define PBA (BAR + 0x2800)

static void entry(u32 vec, u64 address, u32 data, u32 ctl)
{
	wr(TABLE + 16 * vec, 4, (u32)address);
	wr(TABLE + 16 * vec + 4, 4, address >> 32);
	wr(TABLE + 16 * vec + 8, 4, data);
	wr(TABLE + 16 * vec + 12, 4, ctl);
}

static void expect_sent(u32 n, u64 address, u32 data)
{
	assert_int_equal(sent_count, n);
	if (n) {
		assert_true(sent[(n - 1) % 64].address == address);
		assert_int_equal(sent[(n - 1) % 64].data, data);
	}
}

static void msix_masks_and_pends(void **state)
{
	u32 ctl = find_cap(V, 0x11) + 2;

	(void)state;
	sent_count = 0;
	assert_int_equal(rd(TABLE + 12, 4), 1); /* masked from reset */
	assert_false(pci_virt_msix_enabled(virt));
	pci_virt_irq(virt, 0); /* lost: disabled, and no pin */
	entry(0, 0xfee01000, 0x41, 0);
	entry(1, 0xfee02000, 0x42, 1);
	entry(64, 0xfee03000, 0x43, 1);
	ioc_w(V, ctl, 2, 0x8000);
	assert_true(pci_virt_msix_enabled(virt));
	expect_sent(0, 0, 0);
	pci_virt_irq(virt, 0);
	expect_sent(1, 0xfee01000, 0x41);
	/* Masked vector: pending, once, and sent when unmasked with the message it has then. */
	pci_virt_irq(virt, 1);
	pci_virt_irq(virt, 1);
	pci_virt_irq(virt, 64);
	expect_sent(1, 0xfee01000, 0x41);
	assert_int_equal(rd(PBA, 4), 2);
	assert_true(rd(PBA, 8) == 2);
	assert_true(rd(PBA + 8, 8) == 1);
	wr(PBA, 4, 0xff);
	assert_int_equal(rd(PBA, 4), 2);
	entry(1, 0xfee05000, 0x52, 0);
	expect_sent(2, 0xfee05000, 0x52);
	assert_int_equal(rd(PBA, 4), 0);
	wr(TABLE + 64 * 16 + 12, 4, 0);
	expect_sent(3, 0xfee03000, 0x43);
	/* The function's mask, by a byte write of the upper half */
	ioc_w(V, ctl + 1, 1, 0xc0);
	pci_virt_irq(virt, 0);
	pci_virt_irq(virt, 64);
	expect_sent(3, 0xfee03000, 0x43);
	assert_int_equal(rd(PBA, 4), 1);
	wr(ecam(V, ctl), 2, 0x8000);
	expect_sent(5, 0xfee03000, 0x43);
	assert_int_equal(sent[3].data, 0x41);
	/* Disabled: what was pending is gone. */
	ioc_w(V, ctl, 2, 0xc000);
	pci_virt_irq(virt, 0);
	ioc_w(V, ctl, 2, 0);
	ioc_w(V, ctl, 2, 0x8000);
	expect_sent(5, 0xfee03000, 0x43);
	/* Vectors that do not exist, messages to nowhere */
	pci_virt_irq(virt, 65);
	pci_virt_irq(virt, ~0u);
	entry(2, 0x12345000, 0x41, 0);
	pci_virt_irq(virt, 2);
	entry(2, 0x1fee00000, 0x41, 0);
	pci_virt_irq(virt, 2);
	expect_sent(5, 0xfee03000, 0x43);
	assert_int_equal(rd(PBA, 4), 0);
	/* Quadwords; odd sizes do nothing */
	wr(TABLE + 48, 8, 0xfee09004);
	wr(TABLE + 56, 8, 0x44);
	assert_true(rd(TABLE + 48, 8) == 0xfee09004);
	wr(TABLE + 48, 2, 0);
	wr(TABLE + 49, 4, 0);
	assert_int_equal(rd(TABLE + 48, 4), 0xfee09004);
	assert_int_equal(rd(TABLE + 48, 1), 0);
	pci_virt_irq(virt, 3);
	expect_sent(6, 0xfee09004, 0x44);
	wr(TABLE + 65 * 16, 4, 0x1234);
	assert_int_equal(rd(TABLE + 65 * 16, 4), 0);
	assert_int_equal(ioc(V, ctl, 2), 0x8040);
}

static void larger_bar_and_link(void **state)
{
	struct pci_virt_desc d = desc;
	struct pci_virt *v;
	struct bus_dev *b;
	u32 e;

	(void)state;
	d.msix_vectors = 0;
	d.quiesce = NULL;
	assert_int_equal(pci_take(0x0200, &b), 0);
	assert_int_equal(b->ops->irq_enable(b, 1), -ENODEV);
	assert_int_equal(pci_present(0x0200, &d, &v), 0);
	assert_int_equal(find_cap(0x0200, 0x11), 0);
	e = find_cap(0x0200, 0x10);
	assert_int_equal(ioc(0x0200, e + 2, 2), 2);
	assert_int_equal(ioc(0x0200, e + 12, 4), 0x43); /* no ASPM */
	assert_int_equal(ioc(0x0200, e + 18, 2), 0x43);
	ioc_w(0x0200, 0x10, 4, ~0u);
	assert_int_equal(ioc(0x0200, 0x10, 4), 0xffff8004);
	ioc_w(0x0200, 0x10, 4, 0xc2000000);
	assert_int_equal(rd(0xc2002000, 4), 0x7500); /* no table: the model's */
	assert_int_equal(rd(0xc2004000, 4), 0); /* beyond what the model has */
	pci_virt_irq(v, 0);
	ioc_w(0x0200, 0x10, 4, 0xd2000000); /* with decoding on */
	assert_int_equal(rd(0xd2000000, 4), 0x5500);
	assert_true(real_bar(&functions[PIE], 0) == 0xd2000000);
}

static void plain_model(void *ctx, struct mmio_access *a)
{
	(void)ctx;
	if (!a->write)
		a->value = 0x6600 + a->off;
}

/* Where no function is: a free device, a BAR that nothing real stands behind. */
static void free_place(void **state)
{
	struct pci_virt_desc plain = desc;
	u32 m = count(&mmios);
	struct pci_virt *v;
	u16 bdf = 0;

	(void)state;
	plain.access = plain_model;
	plain.quiesce = NULL;
	assert_int_equal(pci_present(0x0050, &desc, &v), -EOPNOTSUPP);
	assert_int_equal(pci_add(0, 0x4000, &bdf), -EINVAL);
	assert_int_equal(pci_add(0xa0000, 0x4000, &bdf), -EINVAL);
	assert_int_equal(pci_add(0xd4002000, 0x4000, &bdf), -EINVAL);
	assert_int_equal(pci_add(0xd4000000, 0x6000, &bdf), -EINVAL);
	assert_int_equal(pci_add(0x100000000, 0x4000, &bdf), -EINVAL);
	mmio_add_fails = 1;
	assert_int_equal(pci_add(0xd4000000, 0x4000, &bdf), -ENOMEM);
	assert_int_equal(count(&mmios), m);
	assert_int_equal(pci_add(0xd4000000, 0x4000, &bdf), 0);
	assert_int_equal(bdf, 14 << 3); /* 15 has a function */
	assert_int_equal(ioc(bdf, 0, 4), ~0u);
	assert_int_equal(rd(0xd4000000, 4), 0xffffffff);
	assert_int_equal(pci_present(bdf, &plain, &v), 0);
	assert_int_equal(ioc(bdf, 0, 4), 0x1f1f1d1d);
	assert_int_equal(ioc(bdf + 1, 0, 4), ~0u);
	assert_int_equal(ioc(bdf, 0x10, 4), 0xd4000000);
	assert_int_equal(ioc(bdf, 0x14, 4), 0);
	assert_int_equal(rd(0xd4000020, 4), 0x6620);
	ioc_w(bdf, 4, 2, 4);
	ioc_w(bdf, 0x10, 4, ~0u);
	ioc_w(bdf, 0x14, 4, ~0u);
	assert_int_equal(ioc(bdf, 0x10, 4), 0xffffc000);
	assert_int_equal(ioc(bdf, 0x14, 4), 0);
	assert_int_equal(rd(0xd4000020, 4), 0xffffffff);
	ioc_w(bdf, 0x10, 4, 0xd5000000);
	ioc_w(bdf, 4, 2, 6);
	assert_int_equal(rd(0xd5000020, 4), 0x6620);
	assert_null(region_at(0xd4000000));
	/* Once more: the next free one; real ones are as they were. */
	assert_int_equal(pci_add(0xd4000000, 0x4000, &bdf), 0);
	assert_int_equal(bdf, 13 << 3);
	assert_int_equal(ioc(0x007f, 0, 4), 0x00010001);
}

/* A function with BAR5 and MSI, as an AHCI adapter's, where free_place() has left room. */
static void last_bar_and_msi(void **state)
{
	struct pci_virt_desc d = desc;
	u16 bdf = 13 << 3;
	struct pci_virt *v;
	u32 msi, n;

	(void)state;
	d.bar = 5;
	d.bar_bytes = 0x1000;
	d.msix_vectors = 0;
	d.msi = true;
	d.access = plain_model;
	d.quiesce = NULL;
	assert_false(pci_fits(V, &d)); /* taken already, and above 4 GiB */
	assert_true(pci_fits(bdf, &d));
	d.bar_bytes = 0x8000;
	assert_false(pci_fits(bdf, &d));
	d.bar_bytes = 0x1000;
	assert_int_equal(pci_present(bdf, &d, &v), 0);
	assert_false(pci_fits(bdf, &d));
	assert_int_equal(ioc(bdf, 0x10, 4), 0);
	assert_int_equal(ioc(bdf, 0x24, 4), 0xd4000000);
	assert_int_equal(rd(0xd4000020, 4), 0x6620);
	ioc_w(bdf, 0x24, 4, ~0u);
	assert_int_equal(ioc(bdf, 0x24, 4), 0xffffc000);
	ioc_w(bdf, 0x24, 4, 0xd6000000);
	assert_int_equal(rd(0xd6000020, 4), 0x6620);
	assert_null(region_at(0xd4000000));

	msi = find_cap(bdf, 5);
	assert_true(msi);
	assert_int_equal(find_cap(bdf, 0x11), 0);
	assert_int_equal(ioc(bdf, msi + 2, 2), 0x80);
	n = sent_count;
	pci_virt_irq(v, 0);
	assert_int_equal(sent_count, n); /* not enabled: no pin either */
	ioc_w(bdf, msi + 4, 4, 0xfee01003);
	ioc_w(bdf, msi + 8, 4, 0);
	ioc_w(bdf, msi + 12, 2, 0x4041);
	ioc_w(bdf, msi + 2, 2, 0xffff);
	assert_int_equal(ioc(bdf, msi + 2, 2), 0x81); /* one message, whatever is asked for */
	pci_virt_irq(v, 0);
	assert_int_equal(sent_count, n + 1);
	assert_true(sent[n % 64].address == 0xfee01000);
	assert_int_equal(sent[n % 64].data, 0x4041);
	ioc_w(bdf, msi + 8, 4, 1);
	pci_virt_irq(v, 0);
	assert_int_equal(sent_count, n + 1); /* to nowhere */
}

static void failed_take_leaves_nothing(void **state)
{
	struct bus_dev *d;
	u32 m = count(&mmios), p = count(&pios);

	(void)state;
	for (int n = 1; n <= 3; n++) {
		mmio_add_fails = n;
		assert_int_equal(pci_take(0x0300, &d), -ENOMEM);
		assert_int_equal(count(&mmios), m);
		assert_int_equal(count(&pios), p);
		assert_int_equal(ioc(0x0300, 0, 4), 0x00010001);
	}
	mmio_add_fails = 0;
	assert_int_equal(pci_take(0x0020, &d), 0);
	assert_int_equal(pci_present(0x0020, &desc, &virt), -ENOSPC);
}

/* Whatever a guest writes: the real BAR stays hooked, off RAM, off our memory, decoding. */
static void random_guest_stays_out(void **state)
{
	u64 x = 88172645463325252ull;
	static const u32 hot[] = { 4, 5, 6, 0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x52,
				   0x53, 0x68 };

	(void)state;
	for (int i = 0; i < 200000; i++) {
		struct mmio_region *r;
		u32 off, size;
		u64 base;

		x ^= x << 13, x ^= x >> 7, x ^= x << 17;
		size = 1u << (x >> 8 & 3);
		off = x & 1 ? hot[(x >> 16) % ARRAY_SIZE(hot)] : (u32)(x >> 16) & 0xff;
		if (x >> 60 == 0)
			wr(ecam(V, 0x10), 8, x & 0xffffff3000);
		else if (size == 8 || (off & 3) + size > 4)
			wr(ecam(V, off), size, x >> 13);
		else
			ioc_w(V, off, size, (u32)(x >> 24));
		base = real_bar(&functions[NVME], 0);
		r = region_at(base);
		assert_non_null(r);
		assert_true(r->base.v == base && r->bytes == 0x4000);
		assert_true(base >= RAM_BYTES);
		assert_true(base >= REGION + 64 * MIB || base + 0x4000 <= REGION);
		assert_int_equal(get_le16(functions[NVME].cfg + 4), 0x407);
		touch(base + (x & 0x3ff8), 8, x & 16, &base);
	}
	assert_true(quiet_on > 100);
	assert_int_equal(quiet_on, quiet_off);
	move(BAR);
	assert_int_equal(rd(BAR + 0x20, 4), 0x5520);
}

static void free_place_without_ecam(void **state)
{
	struct pci_virt_desc plain = desc;
	struct pci_virt *v;
	u16 bdf;

	(void)state;
	plain.access = plain_model;
	plain.quiesce = NULL;
	assert_int_equal(pci_add(0xd4000000, 0x4000, &bdf), 0);
	assert_int_equal(ioc(bdf, 0, 4), ~0u);
	assert_int_equal(pci_present(bdf, &plain, &v), 0);
	assert_int_equal(ioc(bdf, 0, 4), 0x1f1f1d1d);
	assert_int_equal(rd(0xd4000020, 4), 0x6620);
}

/* Its registers are where AHCI has them; given back, all of it is the guest's again. */
static void sata_comes_and_goes(void **state)
{
	struct function *f = &functions[SATA];
	u32 hooks = count(&mmios), ports = count(&pios);
	struct bus_dev *d;
	u8 before[256];

	(void)state;
	assert_int_equal(pci_release(0x00fa), -EINVAL);
	memcpy(before, f->cfg, 256);
	assert_int_equal(pci_take(0x00fa, &d), 0);
	assert_int_equal(d->bar_bytes, 0x1000);
	assert_true(d->has_msi && !d->has_msix);
	bus_write32(d, 0x120, 0xabcd);
	assert_int_equal(get_le32(f->mem + 0x120), 0xabcd);
	assert_int_equal(rd(0xc4000120, 4), 0xffffffff);
	assert_int_equal(port(0x7040, 4, false, 0), 0xffffffff);
	assert_int_equal(ioc(0x00fa, 0, 4), 0xffffffff);
	assert_int_equal(d->ops->irq_enable(d, 1), 0);
	assert_int_equal(get_le16(f->cfg + 0x82), 0x81);
	assert_int_equal(get_le32(f->cfg + 0x84), 0xfee07000);
	assert_int_equal(get_le16(f->cfg + 0x8c), 0x400);
	assert_int_equal(get_le16(f->cfg + 4), 0x407);

	d->ops->irq_disable(d);
	assert_int_equal(pci_release(0x00fa), 0);
	assert_int_equal(get_le16(f->cfg + 4), 3); /* no master, its pin */
	assert_int_equal(get_le16(f->cfg + 0x82), 0x80);
	assert_memory_equal(f->cfg + 8, before + 8, 0x40);
	assert_int_equal(ioc(0x00fa, 0, 4), 0x29228086);
	assert_null(region_at(0xc4000120));
	assert_int_equal(count(&mmios), hooks);
	assert_int_equal(count(&pios), ports);
	assert_int_equal(pci_release(0x00fa), -EINVAL);
	assert_int_equal(pci_take(0x00fa, &d), 0);
	assert_int_equal(pci_release(0x00fa), 0);
}

/* BAR0 is no memory: the window is the first that is, but not the MSI-X table's. */
static void window_elsewhere(void **state)
{
	struct bus_dev *d;
	struct pci_virt *v;

	(void)state;
	assert_int_equal(pci_take(0x0108, &d), 0);
	assert_int_equal(d->window_bar, 4);
	assert_int_equal(d->bar_bytes, 0x4000);
	bus_write16(d, 0x102, 0x1234);
	bus_write8(d, 0x101, 0x56);
	assert_int_equal(mapped, 0xe000020000);
	assert_int_equal(bus_read32(d, 0x100), 0x12345600);
	assert_int_equal(bus_read16(d, 0x102), 0x1234);
	assert_int_equal(bus_read8(d, 0x103), 0x12);
	assert_int_equal(bus_read8(d, 0x4000), 0xff);
	assert_int_equal(bus_read16(d, 0x3fff), 0xffff);
	/* none of the three is left to the guest */
	assert_int_equal(rd(0xe000020100, 4), ~0u);
	assert_non_null(region_at(0xc0050000));
	/* the virtual one has it as BAR0 */
	assert_int_equal(pci_present(0x0108, &desc, &v), 0);
	assert_int_equal(ioc(0x0108, 0x10, 4), 0x00020004);
	assert_int_equal(ioc(0x0108, 0x14, 4), 0xe0);
	assert_int_equal(ioc(0x0108, 0x20, 4), 0);
}

int main(void)
{
	/* In this order: slots are taken for ever. */
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_hooked_at_first),
		cmocka_unit_test(take_reads_the_device),
		cmocka_unit_test(hidden_function_is_not_there),
		cmocka_unit_test(other_functions_pass),
		cmocka_unit_test(raced_address_reaches_nothing),
		cmocka_unit_test(msix_rings_the_doorbell),
		cmocka_unit_test(msi_rings_the_doorbell),
		cmocka_unit_test(dma_memory_is_aligned),
		cmocka_unit_test(present_stands_in),
		cmocka_unit_test(capabilities_are_listed),
		cmocka_unit_test(window_in_a_capability),
		cmocka_unit_test(bar_accesses_reach_the_model),
		cmocka_unit_test(sizing_works),
		cmocka_unit_test(bar_moves),
		cmocka_unit_test(msix_masks_and_pends),
		cmocka_unit_test(larger_bar_and_link),
		cmocka_unit_test(random_guest_stays_out),
		cmocka_unit_test(sata_comes_and_goes),
		cmocka_unit_test(free_place),
		cmocka_unit_test(last_bar_and_msi),
		cmocka_unit_test(failed_take_leaves_nothing),
	};
	const struct CMUnitTest ports_alone[] = {
		cmocka_unit_test(take_reads_the_device),
		cmocka_unit_test(hidden_function_is_not_there),
		cmocka_unit_test(other_functions_pass),
		cmocka_unit_test(free_place_without_ecam),
		cmocka_unit_test(window_elsewhere),
	};
	pid_t child = fork(); /* a machine of its own, without ECAM */
	int status, rc;

	if (!child) {
		no_ecam = true;
		return cmocka_run_group_tests(ports_alone, setup, NULL);
	}
	if (child < 0 || waitpid(child, &status, 0) != child)
		return 1;
	rc = cmocka_run_group_tests(tests, setup, NULL);
	return rc || status ? 1 : 0;
}
