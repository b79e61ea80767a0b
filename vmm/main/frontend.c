/*
 * frontend.c - the disk controller that the guest sees: NVMe or AHCI, one of them
 *
 * Glue between an emulation (storage/emul) and the machine: guest memory, the
 * message that interrupts, the hooked BAR. Writes that only note something, and
 * reads of AHCI's registers, are served on the CPU that made them, and the former
 * wake the pump; all other accesses take it.
 *
 * The kinds are rows of a table, bound once when the controller is presented.
 */
#include "vmm/main/frontend.h"

#include "base/err.h"
#include "base/log.h"
#include "storage/emul/ahci.h"
#include "storage/emul/nvme.h"
#include "vmm/cpu/guest.h"
#include "vmm/cpu/mmio.h"
#include "vmm/main/backends.h"
#include "vmm/main/pump.h"

#define NVME_BAR_BYTES (16 * 1024u)
#define AHCI_BAR_BYTES 4096u
#define LLU(x) ((unsigned long long)(x))

struct kind {
	struct pci_virt_desc desc;
	/* Make the emulation over @blk; the host is f.host. 0 or -ENOMEM. */
	int (*create)(struct blk_dev *blk);
	void (*destroy)(void);
	/* What any CPU may do: true when that was all, *ring when the pump must run. */
	bool (*note)(struct mmio_access *a, bool *ring);
	void (*mmio)(struct mmio_access *a);
	bool (*poll)(void);
	void (*say)(void);
};

static struct frontend {
	struct emul_host host;
	const struct kind *kind; /* (a) NULL: nothing is presented; then (c) */
	struct pci_virt *virt; /* (c) with kind */
	struct nvme_emul *nvme; /* one of these */
	struct ahci_emul *ahci;
} f;

/* ---------------------------------------------------------------- the emulation's host */

static int host_read(struct emul_host *h, gpa_t src, void *dst, size_t bytes)
{
	(void)h;
	return pci_virt_bus_master(f.virt) ? guest_read(src, dst, bytes) : -EFAULT;
}

static int host_write(struct emul_host *h, gpa_t dst, const void *src, size_t bytes)
{
	(void)h;
	return pci_virt_bus_master(f.virt) ? guest_write(dst, src, bytes) : -EFAULT;
}

static int host_map(struct emul_host *h, gpa_t a, size_t bytes, hpa_t *pa)
{
	(void)h;
	return pci_virt_bus_master(f.virt) ? guest_map(a, bytes, pa) : -EFAULT;
}

static void host_irq(struct emul_host *h, u32 vec)
{
	(void)h;
	pci_virt_irq(f.virt, vec);
}

static void host_intx(struct emul_host *h, bool level)
{
	/* No pin: a guest without messages polls, as firmware does. */
	(void)h;
	(void)level;
}

static const struct emul_host_ops host_ops = {
	.read = host_read,
	.write = host_write,
	.map = host_map,
	.irq = host_irq,
	.intx = host_intx,
};

/* ---------------------------------------------------------------- the BAR */

static void virt_access(void *ctx, struct mmio_access *a)
{
	bool ring = false;

	(void)ctx;
	if (f.kind->note(a, &ring)) {
		if (ring)
			pump_kick();
		return;
	}
	pump_lock();
	f.kind->mmio(a);
	pump_unlock();
}

static void virt_quiesce(void *ctx, bool on)
{
	(void)ctx;
	if (on)
		pump_lock();
	else
		pump_unlock();
}

/* ---------------------------------------------------------------- NVMe */

#define NVME_VENDOR 0x1b36 /* as QEMU's NVMe: no vendor-specific driver binds */

static int nvme_create(struct blk_dev *blk)
{
	static const struct nvme_emul_cfg cfg = {
		.vendor = NVME_VENDOR,
		.subvendor = NVME_VENDOR,
		.vectors = NVME_EMUL_VECTORS_MAX,
		.msix_table_off = NVME_EMUL_BAR_BYTES,
	};

	f.nvme = nvme_emul_create(&f.host, blk, &cfg);
	return f.nvme ? 0 : -ENOMEM;
}

static void nvme_destroy(void)
{
	nvme_emul_destroy(f.nvme);
}

static bool nvme_note(struct mmio_access *a, bool *ring)
{
	*ring = a->write && nvme_emul_doorbell_store(f.nvme, a->off, (u32)a->value);
	return *ring;
}

static void nvme_mmio(struct mmio_access *a)
{
	nvme_emul_mmio(f.nvme, a->off, a->bytes, a->write, &a->value);
}

static bool nvme_poll(void)
{
	return nvme_emul_poll(f.nvme);
}

static void nvme_say(void)
{
	const struct nvme_emul_stats *s = nvme_emul_stats(f.nvme);

	log_info("figures: nvme_irqs=%llu nvme_resets=%llu nvme_errors=%llu", LLU(s->irqs),
		 LLU(s->resets), LLU(s->errors));
}

/* ---------------------------------------------------------------- AHCI */

/*
 * The disk, then the optical drives behind the real controller, which is hidden
 * with them. No port is empty: that would cost every driver its time-outs.
 */
static int ahci_create(struct blk_dev *blk)
{
	struct packet_dev *drives[AHCI_EMUL_DRIVES];
	struct ahci_emul_cfg cfg = { .port = 0 };
	u32 n = backends_drives(drives, ARRAY_SIZE(drives));

	for (u32 i = 0; i < n; i++) {
		cfg.drives[i].dev = drives[i];
		cfg.drives[i].port = i + 1;
	}
	f.ahci = ahci_emul_create(&f.host, blk, &cfg);
	return f.ahci ? 0 : -ENOMEM;
}

static void ahci_destroy(void)
{
	ahci_emul_destroy(f.ahci);
}

static bool ahci_note(struct mmio_access *a, bool *ring)
{
	enum ahci_emul_store s;

	if (!a->write) {
		a->value = ahci_emul_read(f.ahci, a->off, a->bytes);
		return true;
	}
	s = ahci_emul_doorbell_store(f.ahci, a->off, a->bytes, (u32)a->value);
	*ring = s == AHCI_EMUL_RANG;
	return s != AHCI_EMUL_NOT;
}

static void ahci_mmio(struct mmio_access *a)
{
	ahci_emul_write(f.ahci, a->off, a->bytes, a->value);
}

static bool ahci_poll(void)
{
	return ahci_emul_poll(f.ahci);
}

static void ahci_say(void)
{
	const struct ahci_emul_stats *s = ahci_emul_stats(f.ahci);

	log_info("figures: ahci_irqs=%llu ahci_resets=%llu ahci_errors=%llu ahci_queued=%llu "
		 "ahci_packets=%llu", LLU(s->irqs), LLU(s->resets), LLU(s->errors),
		 LLU(s->queued), LLU(s->packets));
}

/* ---------------------------------------------------------------- kinds */

static const struct kind kinds[] = {
	[FRONTEND_NVME] = {
		.desc = {
			.vendor = NVME_VENDOR,
			.device = 0x0010,
			.class_code = 0x010802,
			.bar_bytes = NVME_BAR_BYTES,
			.msix_vectors = NVME_EMUL_VECTORS_MAX,
			.msix_table_off = NVME_EMUL_BAR_BYTES,
			.name = "nvme",
			.access = virt_access,
			.quiesce = virt_quiesce,
		},
		.create = nvme_create,
		.destroy = nvme_destroy,
		.note = nvme_note,
		.mmio = nvme_mmio,
		.poll = nvme_poll,
		.say = nvme_say,
	},
	[FRONTEND_AHCI] = {
		.desc = {
			.vendor = 0x8086, /* as QEMU's ICH9, which every OS has met */
			.device = 0x2922,
			.subvendor = 0x1af4,
			.subdevice = 0x1100,
			.revision = 2,
			.class_code = 0x010601,
			.bar = 5,
			.bar_bytes = AHCI_BAR_BYTES,
			.msi = true,
			.name = "ahci",
			.access = virt_access,
			.quiesce = virt_quiesce,
		},
		.create = ahci_create,
		.destroy = ahci_destroy,
		.note = ahci_note,
		.mmio = ahci_mmio,
		.poll = ahci_poll,
		.say = ahci_say,
	},
};

/** frontend_desc() - see frontend.h */
const struct pci_virt_desc *frontend_desc(enum frontend_kind kind)
{
	return &kinds[kind].desc;
}

/** frontend_present() - see frontend.h */
int frontend_present(enum frontend_kind kind, struct blk_dev *blk, u16 bdf)
{
	const struct kind *k = &kinds[kind];
	int err;

	if (f.kind)
		return -EEXIST;
	f.host.ops = &host_ops;
	err = k->create(blk);
	if (err)
		return err;
	/* The guest's first access takes the pump, which the caller has. */
	f.kind = k;
	err = pci_present(bdf, &k->desc, &f.virt);
	if (err) {
		f.kind = NULL;
		k->destroy();
	}
	return err;
}

/** frontend_up() - see frontend.h */
bool frontend_up(void)
{
	return __atomic_load_n(&f.kind, __ATOMIC_ACQUIRE);
}

/** frontend_poll() - see frontend.h */
bool frontend_poll(void)
{
	return f.kind && f.kind->poll();
}

/** frontend_say() - see frontend.h */
void frontend_say(void)
{
	if (f.kind)
		f.kind->say();
}
