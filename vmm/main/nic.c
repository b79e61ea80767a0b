/*
 * nic.c - the network card: driven for the VMM, presented to the guest
 *
 *	HC_START   the real card is taken; driver, share, stack and client start
 *	HC_ATTACH  the guest's card is made, if options or ticket ask for one
 *	HC_DONE    it appears at the real one's address
 *
 * The firmware never finds it: its drivers were stopped to get the real card,
 * its network stack has gone with them, and nothing that runs before the OS
 * needs one. So no boot loader starts to netboot again, and the OS's driver
 * finds the card as after power-on.
 *
 * The guest's notifications are marks and a kick of the pump, its register
 * accesses take the pump. In the pump nic_poll() comes first and nic_signal()
 * last, as the VMM's own network work may receive for the guest, too. The real
 * card's doorbell is an NMI, the guest's interrupts are ICR writes
 * (pci_virt_irq()). Until the guest has a driver, nothing of this happens.
 *
 * A real card without messages has no doorbell: while the guest's driver runs,
 * a tick polls it.
 */
#include "vmm/main/nic.h"

#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "net/client/client.h"
#include "net/drivers/drivers.h"
#include "net/emul/e1000e.h"
#include "net/emul/nic.h"
#include "net/emul/virtio_net.h"
#include "net/spec/virtio.h"
#include "net/stack/share.h"
#include "net/stack/stack.h"
#include "vmm/cpu/guest.h"
#include "vmm/main/pump.h"
#include "vmm/pci/pci.h"

/* Plain bytes that one poll of the client may make: some ms of hashing and inflating. */
#define CLIENT_BUDGET_BYTES (16 * 1024u)
/* Frames of one look at the card after which there are probably more. */
#define BURST 64

static struct {
	struct emul_host host;
	struct bus_dev *bus;
	struct netif_dev *card;
	struct share *share;
	struct nic_emul *emul; /* NULL: the guest has no card */
	struct pci_virt *virt; /* (a) NULL: it does not see it yet */
	struct pci_virt_desc desc;
	u16 bdf;
	char kind[16]; /* (c) what the options ask for; empty: nothing */
} n;

/* ------------------------------------------------- the emulated card's host */

static bool dma_on(void)
{
	return n.virt && pci_virt_bus_master(n.virt);
}

static int host_read(struct emul_host *h, gpa_t src, void *dst, size_t bytes)
{
	(void)h;
	return dma_on() ? guest_read(src, dst, bytes) : -EFAULT;
}

static int host_write(struct emul_host *h, gpa_t dst, const void *src, size_t bytes)
{
	(void)h;
	return dma_on() ? guest_write(dst, src, bytes) : -EFAULT;
}

static int host_map(struct emul_host *h, gpa_t a, size_t bytes, hpa_t *pa)
{
	(void)h;
	return dma_on() ? guest_map(a, bytes, pa) : -EFAULT;
}

static void host_irq(struct emul_host *h, u32 vec)
{
	(void)h;
	if (dma_on())
		pci_virt_irq(n.virt, vec);
}

static void host_intx(struct emul_host *h, bool level)
{
	/* No pin: drivers of today use messages. */
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

static void virt_access(void *ctx, struct mmio_access *a)
{
	(void)ctx;
	if (a->write && n.emul->ops->bell(n.emul, a->off, a->value)) {
		pump_kick();
		return;
	}
	pump_lock();
	n.emul->ops->mmio(n.emul, a->off, a->bytes, a->write, &a->value);
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

/* ------------------------------------------------- the kinds of card */

static void virtio_desc(struct pci_virt_desc *d)
{
	d->vendor = d->subvendor = VIRTIO_PCI_VENDOR;
	d->device = d->subdevice = VIRTIO_PCI_DEVICE_NET;
	d->revision = 1;
	d->class_code = 0x020000;
	d->bar_bytes = VIRTIO_NET_BAR_BYTES;
	d->msix_vectors = VIRTIO_NET_VECTORS;
	d->msix_table_off = VIRTIO_NET_MSIX_OFF;
	d->ncaps = VIRTIO_NET_CAPS;
	for (u32 i = 0; i < VIRTIO_NET_CAPS; i++) {
		d->caps[i].bytes = (u8)virtio_net_cap(i, d->caps[i].data);
		d->caps[i].window = d->caps[i].data[3] == VIRTIO_CAP_PCI_CFG;
	}
}

static void e1000e_desc(struct pci_virt_desc *d)
{
	d->vendor = d->subvendor = E1000E_EMUL_VENDOR;
	d->device = d->subdevice = E1000E_EMUL_DEVICE;
	d->class_code = E1000E_EMUL_CLASS;
	d->bar_bytes = E1000E_EMUL_BAR_BYTES;
	d->msix_vectors = E1000E_EMUL_VECTORS;
	d->msix_table_off = E1000E_EMUL_MSIX_OFF;
	d->msi = true;
}

static bool uses_msix(void *ctx)
{
	(void)ctx;
	return n.virt && pci_virt_msix_enabled(n.virt);
}

static int e1000e_create(struct emul_host *host, struct share *share, struct nic_emul **out)
{
	const struct e1000e_emul_cfg cfg = { .host = host, .share = share, .msix = uses_msix };

	return e1000e_emul_create(&cfg, out);
}

static const struct kind {
	const char *name;
	int (*create)(struct emul_host *host, struct share *share, struct nic_emul **out);
	void (*desc)(struct pci_virt_desc *d);
} kinds[] = {
	[STORE_NIC_VIRTIO] = { "virtio", virtio_net_create, virtio_desc },
	[STORE_NIC_E1000E] = { "e1000e", e1000e_create, e1000e_desc },
};

/* Options are stronger than the ticket. NULL: none. */
static const struct kind *kind_wanted(enum store_nic ticket)
{
	for (u32 i = 0; i < ARRAY_SIZE(kinds); i++)
		if (n.kind[0] ? kinds[i].name && !strcmp(n.kind, kinds[i].name) : i == ticket)
			return kinds[i].name ? &kinds[i] : NULL;
	return NULL;
}

/* ------------------------------------------------- start */

/** nic_option() - see nic.h */
bool nic_option(const struct handoff *h, const char *key, char *out, size_t room)
{
	const char *p = h->options, *end = p + MIN(h->options_bytes, (u32)sizeof(h->options));
	size_t len = strlen(key);

	while (p < end) {
		const char *eol = memchr(p, '\n', (size_t)(end - p));
		size_t bytes = (size_t)((eol ? eol : end) - p);

		if (bytes > len && !memcmp(p, key, len) && p[len] == ' ') {
			bytes = MIN(bytes - len - 1, room - 1);
			memcpy(out, p + len + 1, bytes);
			out[bytes] = 0;
			return true;
		}
		p = eol ? eol + 1 : end;
	}
	return false;
}

static const struct handoff_pci *find_nic(const struct handoff *h)
{
	for (u32 i = 0; i < h->pci_count && i < HANDOFF_PCI_MAX; i++)
		if (h->pci[i].kind == HANDOFF_PCI_NIC)
			return &h->pci[i];
	return NULL;
}

/** nic_start() - see nic.h. Context: boot CPU, hypercall, with the pump. */
void nic_start(const struct handoff *h, struct source **out)
{
	const struct handoff_pci *p = find_nic(h);
	struct client_opts copts = { .budget_bytes = CLIENT_BUDGET_BYTES };
	struct stack_opts sopts = { .dhcp = true };
	char text[128];
	bool tls;
	int err;

	if (!p) {
		log_warn("nic: no supported network card");
		return;
	}
	if (!nic_option(h, "server", text, sizeof(text)) ||
	    stack_parse_server(text, &copts.ip, &copts.port, &tls)) {
		log_warn("nic: no server in the options");
		return;
	}
	if (tls) {
		copts.keys = (const u8(*)[P256_PUB_BYTES])h->keys;
		copts.nkeys = MIN(h->key_count, (u32)HANDOFF_KEYS_MAX);
	}
	if (nic_option(h, "ip", text, sizeof(text)) && stack_opts_parse(text, &sopts))
		log_warn("nic: bad option ip=%s, using DHCP", text);
	sopts.deaf = nic_option(h, "ping", text, sizeof(text)) && !strcmp(text, "off");
	nic_option(h, "nic", n.kind, sizeof(n.kind));
	n.bdf = p->bdf;
	err = pci_take(p->bdf, &n.bus);
	if (!err)
		err = netif_create(n.bus, &n.card);
	if (!err)
		err = share_create(n.card, &n.share);
	if (!err) {
		share_vmm(n.share, &stack_vmm);
		err = stack_start(share_netif(n.share), &sopts);
	}
	if (!err)
		err = client_create(&copts, out);
	if (err)
		log_err("nic: network failed bdf=%x err=%s", p->bdf, err_name(err));
}

const u8 *nic_mac(void)
{
	return n.card ? n.card->mac : NULL;
}

/** nic_attach() - see nic.h. Context: hypercall, with the pump. */
void nic_attach(enum store_nic ticket)
{
	const struct kind *k = kind_wanted(ticket);
	int err;

	if (!k || !n.share || n.emul)
		return;
	n.host.ops = &host_ops;
	err = k->create(&n.host, n.share, &n.emul);
	if (err) {
		log_err("nic: no card for the guest err=%s", err_name(err));
		return;
	}
	n.desc = (struct pci_virt_desc){ .name = n.emul->name, .access = virt_access,
					 .quiesce = virt_quiesce };
	k->desc(&n.desc);
}

/** nic_present() - see nic.h. Context: hypercall, without the pump. */
void nic_present(void)
{
	struct pci_virt *v;
	int err;

	if (!n.emul)
		return;
	err = pci_present(n.bdf, &n.desc, &v);
	if (err)
		log_err("nic: cannot present the guest's card err=%s", err_name(err));
	else
		__atomic_store_n(&n.virt, v, __ATOMIC_RELEASE);
}

/* ------------------------------------------------- the pump's round */

/** nic_poll() - see nic.h */
bool nic_poll(bool *vmm_only)
{
	const struct share_counters *c;
	u64 guest, vmm;
	bool more;

	*vmm_only = false;
	if (!nic_active())
		return false;
	c = share_counters(n.share);
	guest = c->rx_guest + c->tx_guest;
	vmm = c->rx_vmm;
	more = n.emul->ops->poll(n.emul);
	more |= share_poll(n.share) >= BURST;
	more |= n.emul->ops->poll(n.emul);
	*vmm_only = c->rx_vmm != vmm && c->rx_guest + c->tx_guest == guest;
	return more;
}

void nic_signal(void)
{
	if (nic_active())
		n.emul->ops->poll(n.emul);
}

bool nic_active(void)
{
	return n.virt && n.emul->ops->active(n.emul);
}

bool nic_polled(void)
{
	return n.card && !n.card->irq;
}

bool nic_guest_waits(void)
{
	return nic_active() && nic_polled();
}

bool nic_explains_nmi(void)
{
	return n.card && n.card->irq && n.card->ops->work(n.card);
}

void nic_say(void)
{
	const struct share_counters *c;

	if (!n.share)
		return;
	c = share_counters(n.share);
	log_info("figures: nic_rx_guest=%llu nic_rx_vmm=%llu nic_tx_guest=%llu nic_tx_vmm=%llu "
		 "nic_rx_guest_lost=%llu nic_spoofed=%llu", (unsigned long long)c->rx_guest,
		 (unsigned long long)c->rx_vmm, (unsigned long long)c->tx_guest,
		 (unsigned long long)c->tx_vmm, (unsigned long long)c->rx_guest_lost,
		 (unsigned long long)c->tx_spoofed);
	if (n.emul)
		n.emul->ops->say(n.emul);
}
