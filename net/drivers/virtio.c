/*
 * virtio.c - a virtio 1.x device on PCI, as its driver drives it
 *
 * The device's structures (common, notify, ISR, device configuration) lie
 * somewhere in its BARs; vendor-specific capabilities say where. All must lie
 * in the one window that a struct bus_dev has, as on every hypervisor so far.
 *
 *	reset -> ACKNOWLEDGE, DRIVER -> features -> FEATURES_OK -> queues -> DRIVER_OK
 *
 * A ring is three areas: descriptors, what is available (ours), what was used
 * (the device's). An index of the device's is checked before use: a head that
 * is not out, or a length that makes no sense, costs that entry and nothing
 * else. If the device runs ahead by more than the queue holds, it is broken.
 *
 * With event indices a doorbell rings once, at the next entry used after it was
 * asked for; without them the device is asked to ring or not by a flag. Either
 * way who asks must look again afterwards (virtio_queue_bell()).
 *
 * The store of avail->idx and the load of used->flags or avail_event must not
 * change places, nor the store of used_event and the load of used->idx: a full
 * barrier in both, whose partner is in the device. [VIRTIO 1.1 §2.6.13, §3.1, §4.1]
 */
#include "net/drivers/virtio.h"

#include "base/err.h"
#include "base/log.h"

#define PCI_STATUS 0x06
#define   PCI_STATUS_CAPS BIT(4)
#define PCI_CAPS 0x34
#define CAPS_MAX 48 /* as many as fit: a longer list is a loop */

#define RESET_US 100000u
#define RESET_STEP_US 1000u

static void barrier_compiler(void)
{
	__asm__ volatile("" ::: "memory");
}

static u32 common_r(struct virtio *v, u32 off, u32 bytes)
{
	u32 at = v->common + off;

	return bytes == 1 ? bus_read8(v->bus, at) :
	       bytes == 2 ? bus_read16(v->bus, at) : bus_read32(v->bus, at);
}

static void common_w(struct virtio *v, u32 off, u32 bytes, u32 value)
{
	u32 at = v->common + off;

	if (bytes == 1)
		bus_write8(v->bus, at, (u8)value);
	else if (bytes == 2)
		bus_write16(v->bus, at, (u16)value);
	else
		bus_write32(v->bus, at, value);
}

/* ---------------------------------------------------------------- structures */

static u32 cfg_r(struct virtio *v, u32 off, u32 size)
{
	return v->bus->ops->cfg_read(v->bus, off, size);
}

/* One capability: the first of a kind that we can reach is used. [§4.1.4] */
static void take_cap(struct virtio *v, u32 at)
{
	u32 type = cfg_r(v, at + offsetof(struct virtio_pci_cap, cfg_type), 1);
	u32 bar = cfg_r(v, at + offsetof(struct virtio_pci_cap, bar), 1);
	u32 off = cfg_r(v, at + offsetof(struct virtio_pci_cap, offset), 4);
	u32 bytes = cfg_r(v, at + offsetof(struct virtio_pci_cap, length), 4);

	if (bar != v->bus->window_bar || off > v->bus->bar_bytes ||
	    bytes > v->bus->bar_bytes - off)
		return;
	if (type == VIRTIO_CAP_COMMON && !v->common_bytes && bytes >= VIRTIO_COMMON_BYTES) {
		v->common = off;
		v->common_bytes = bytes;
	} else if (type == VIRTIO_CAP_NOTIFY && !v->notify_bytes) {
		v->notify = off;
		v->notify_bytes = bytes;
		v->notify_mult = cfg_r(v, at + offsetof(struct virtio_pci_cap,
							notify_off_multiplier), 4);
	} else if (type == VIRTIO_CAP_DEVICE && !v->device_bytes) {
		v->device = off;
		v->device_bytes = bytes;
	}
}

/**
 * virtio_probe() - find the device's structures
 *
 * Return: 0; -ENODEV when they are not there or not within the window, as with
 * devices from before virtio 1.0.
 */
int virtio_probe(struct virtio *v, struct bus_dev *bus)
{
	u32 at;

	*v = (struct virtio){ .bus = bus };
	if (!(cfg_r(v, PCI_STATUS, 2) & PCI_STATUS_CAPS))
		return -ENODEV;
	at = cfg_r(v, PCI_CAPS, 1) & ~3u;
	for (u32 n = 0; at >= 0x40 && n < CAPS_MAX; n++) {
		if (cfg_r(v, at, 1) == VIRTIO_CAP_ID)
			take_cap(v, at);
		at = cfg_r(v, at + 1, 1) & ~3u;
	}
	return v->common_bytes && v->notify_bytes ? 0 : -ENODEV;
}

/* ---------------------------------------------------------------- status */

static u32 status(struct virtio *v)
{
	return common_r(v, VIRTIO_COMMON_STATUS, 1);
}

static void status_add(struct virtio *v, u32 bits)
{
	common_w(v, VIRTIO_COMMON_STATUS, 1, status(v) | bits);
}

/** virtio_reset() - 0; -EIO when the device does not come to rest */
int virtio_reset(struct virtio *v)
{
	common_w(v, VIRTIO_COMMON_STATUS, 1, 0);
	for (u32 us = 0; us <= RESET_US; us += RESET_STEP_US) {
		if (!status(v))
			return 0;
		v->bus->ops->delay_us(v->bus, RESET_STEP_US);
	}
	return -EIO;
}

/**
 * virtio_negotiate() - after a reset: take of @want what the device offers
 *
 * VIRTIO_F_VERSION_1 is always wanted and must be there.
 * Return: 0; -ENODEV when the device is older; -EIO when it does not accept.
 */
int virtio_negotiate(struct virtio *v, u64 want)
{
	u64 have = 0;

	status_add(v, VIRTIO_STATUS_ACKNOWLEDGE);
	status_add(v, VIRTIO_STATUS_DRIVER);
	for (u32 i = 0; i < 2; i++) {
		common_w(v, VIRTIO_COMMON_DFSELECT, 4, i);
		have |= (u64)common_r(v, VIRTIO_COMMON_DF, 4) << (32 * i);
	}
	if (!(have & BIT64(VIRTIO_F_VERSION_1)))
		return -ENODEV;
	/* What the device is given are addresses as its bus has them: bus->dma_alloc() */
	v->features = have & (want | BIT64(VIRTIO_F_VERSION_1) |
			      BIT64(VIRTIO_F_ACCESS_PLATFORM));
	for (u32 i = 0; i < 2; i++) {
		common_w(v, VIRTIO_COMMON_GFSELECT, 4, i);
		common_w(v, VIRTIO_COMMON_GF, 4, (u32)(v->features >> (32 * i)));
	}
	status_add(v, VIRTIO_STATUS_FEATURES_OK);
	return status(v) & VIRTIO_STATUS_FEATURES_OK ? 0 : -EIO;
}

static int vector_w(struct virtio *v, u32 off, u16 vector)
{
	common_w(v, off, 2, vector);
	/* no resources for the vector: it says so [§4.1.5.1.2.1] */
	return common_r(v, off, 2) == vector ? 0 : -EIO;
}

/** virtio_config_vector() - by which vector changes of the configuration ring. 0, -EIO */
int virtio_config_vector(struct virtio *v, u16 vector)
{
	return vector_w(v, VIRTIO_COMMON_MSIX, vector);
}

/** virtio_start() - the queues are set up: go */
void virtio_start(struct virtio *v)
{
	status_add(v, VIRTIO_STATUS_DRIVER_OK);
}

/** virtio_fail() - tell the device that its driver has given up */
void virtio_fail(struct virtio *v)
{
	status_add(v, VIRTIO_STATUS_FAILED);
}

/** virtio_broken() - does the device ask for a reset? */
bool virtio_broken(struct virtio *v)
{
	u32 s = status(v);

	return s & VIRTIO_STATUS_NEEDS_RESET || !(s & VIRTIO_STATUS_DRIVER_OK);
}

/* Device configuration; what lies behind its end reads as ones. */

u8 virtio_config8(struct virtio *v, u32 off)
{
	return off < v->device_bytes ? bus_read8(v->bus, v->device + off) : 0xff;
}

u16 virtio_config16(struct virtio *v, u32 off)
{
	return off + 2 <= v->device_bytes ? bus_read16(v->bus, v->device + off) : 0xffff;
}

u32 virtio_config32(struct virtio *v, u32 off)
{
	return off + 4 <= v->device_bytes ? bus_read32(v->bus, v->device + off) : ~0u;
}

/* ---------------------------------------------------------------- queues */

static u16 round_down(u32 size)
{
	u32 n = 1;

	size = MIN(size, VIRTQ_DRV_MAX);
	while (2 * n <= size)
		n *= 2;
	return (u16)n;
}

/**
 * virtio_queue_alloc() - memory for queue @index, once
 *
 * After virtio_negotiate(). Return: 0; -ENODEV when there is no such queue; -ENOMEM.
 */
int virtio_queue_alloc(struct virtio *v, struct virtio_queue *q, u16 index)
{
	u32 size, used_off;
	u8 *p;

	if (index >= common_r(v, VIRTIO_COMMON_NUMQ, 2))
		return -ENODEV;
	common_w(v, VIRTIO_COMMON_Q_SELECT, 2, index);
	size = common_r(v, VIRTIO_COMMON_Q_SIZE, 2);
	if (!size)
		return -ENODEV;
	q->v = v;
	q->index = index;
	q->size = round_down(size);
	used_off = ALIGN_UP(VIRTQ_DESC_BYTES(q->size) + VIRTQ_AVAIL_BYTES(q->size), 64u);
	p = v->bus->ops->dma_alloc(v->bus, used_off + VIRTQ_USED_BYTES(q->size), PAGE_BYTES,
				   &q->dma);
	if (!p)
		return -ENOMEM;
	q->desc = (volatile void *)p;
	q->avail = (volatile void *)(p + VIRTQ_DESC_BYTES(q->size));
	q->used = (volatile void *)(p + used_off);
	return 0;
}

static void address_w(struct virtio *v, u32 off, u64 dma)
{
	common_w(v, off, 4, (u32)dma);
	common_w(v, off + 4, 4, (u32)(dma >> 32));
}

static volatile u16 *used_event(const struct virtio_queue *q)
{
	return (volatile u16 *)((volatile u8 *)q->avail + VIRTQ_AVAIL_BYTES(q->size) - 2);
}

static volatile u16 *avail_event(const struct virtio_queue *q)
{
	return (volatile u16 *)((volatile u8 *)q->used + VIRTQ_USED_BYTES(q->size) - 2);
}

static void queue_clear(struct virtio_queue *q)
{
	q->tail = q->kicked = 0;
	q->free = 0;
	q->frees = q->size;
	for (u16 i = 0; i < q->size; i++) {
		q->next[i] = (u16)(i + 1);
		q->chain[i] = 0;
	}
	q->avail->flags = 0;
	q->avail->idx = 0;
	q->used->flags = 0;
	q->used->idx = 0;
	*avail_event(q) = 0;
	__atomic_store_n(&q->seen, 0, __ATOMIC_RELAXED);
	virtio_queue_bell(q, false);
}

/**
 * virtio_queue_start() - empty the queue and hand it to the device
 * @vector: MSI-X table entry, or VIRTIO_NO_VECTOR
 *
 * After virtio_reset() and virtio_negotiate(), also a second time.
 * Return: 0; -EIO when the device's word makes no sense.
 */
int virtio_queue_start(struct virtio_queue *q, u16 vector)
{
	struct virtio *v = q->v;
	u64 avail = q->dma + VIRTQ_DESC_BYTES(q->size);
	u64 used = q->dma + (u64)((volatile u8 *)q->used - (volatile u8 *)q->desc);
	u64 off;

	queue_clear(q);
	common_w(v, VIRTIO_COMMON_Q_SELECT, 2, q->index);
	common_w(v, VIRTIO_COMMON_Q_SIZE, 2, q->size);
	off = (u64)common_r(v, VIRTIO_COMMON_Q_NOFF, 2) * v->notify_mult;
	if (off + 2 > v->notify_bytes || (v->notify + off) % 2)
		return -EIO;
	q->notify = v->notify + (u32)off;
	address_w(v, VIRTIO_COMMON_Q_DESCLO, q->dma);
	address_w(v, VIRTIO_COMMON_Q_AVAILLO, avail);
	address_w(v, VIRTIO_COMMON_Q_USEDLO, used);
	if (vector_w(v, VIRTIO_COMMON_Q_MSIX, vector))
		return -EIO;
	common_w(v, VIRTIO_COMMON_Q_ENABLE, 2, 1);
	return 0;
}

/* ---------------------------------------------------------------- entries */

/**
 * virtio_queue_add() - make a chain of @n pieces available; virtio_queue_kick() tells
 * @head: out, what virtio_queue_pop() will name
 *
 * Return: 0; -ENOBUFS when there are not so many descriptors.
 */
int virtio_queue_add(struct virtio_queue *q, const struct virtio_seg *segs, u32 n, u16 *head)
{
	u16 i = q->free;

	if (!n || n > q->frees)
		return -ENOBUFS;
	*head = i;
	for (u32 s = 0; s < n; s++) {
		volatile struct virtq_desc *d = &q->desc[i];
		bool last = s + 1 == n;

		d->addr = segs[s].dma;
		d->len = segs[s].bytes;
		d->next = last ? 0 : q->next[i];
		d->flags = (u16)((last ? 0 : VIRTQ_DESC_NEXT) |
				 (segs[s].write ? VIRTQ_DESC_WRITE : 0));
		i = q->next[i];
	}
	q->free = i;
	q->frees = (u16)(q->frees - n);
	q->chain[*head] = (u16)n;
	q->avail->ring[q->tail & (q->size - 1)] = *head;
	q->tail++;
	return 0;
}

/** virtio_queue_kick() - what was added is the device's now */
void virtio_queue_kick(struct virtio_queue *q)
{
	u16 old = q->kicked;
	bool tell;

	barrier_compiler(); /* descriptors before the index; x86 keeps stores in order */
	q->avail->idx = q->tail;
	q->kicked = q->tail;
	__sync_synchronize();
	tell = virtio_has(q->v, VIRTIO_F_RING_EVENT_IDX) ?
		       virtq_need_event(*avail_event(q), q->tail, old) :
		       !(q->used->flags & VIRTQ_USED_NO_NOTIFY);
	if (tell && old != q->tail)
		bus_write16(q->v->bus, q->notify, q->index);
}

/* The chain goes back to the free list, by what we know of it. */
static void chain_free(struct virtio_queue *q, u16 head)
{
	u16 last = head;

	for (u16 n = 1; n < q->chain[head]; n++)
		last = q->next[last];
	q->next[last] = q->free;
	q->free = head;
	q->frees = (u16)(q->frees + q->chain[head]);
	q->chain[head] = 0;
}

/**
 * virtio_queue_pop() - the next chain that the device has used
 * @bytes: out, what it says to have written: to be checked by the caller
 *
 * Entries that name no chain of ours are skipped.
 * Return: false: there is none.
 */
bool virtio_queue_pop(struct virtio_queue *q, u16 *head, u32 *bytes)
{
	while (virtio_queue_work(q)) {
		volatile struct virtq_used_elem *u = &q->used->ring[q->seen & (q->size - 1)];
		u32 id;

		barrier_compiler(); /* the index before the entry */
		id = u->id;
		*bytes = u->len;
		__atomic_store_n(&q->seen, (u16)(q->seen + 1), __ATOMIC_RELAXED);
		if (id < q->size && q->chain[id]) {
			*head = (u16)id;
			chain_free(q, *head);
			return true;
		}
		log_limited(LOG_WARN, "virtio: used entry of nothing queue=%u id=%u", q->index, id);
	}
	return false;
}

/**
 * virtio_queue_bell() - ring at the next entry used, or do not
 *
 * What was used before this call does not ring: look again after it.
 */
void virtio_queue_bell(struct virtio_queue *q, bool on)
{
	u16 seen = q->seen;

	if (virtio_has(q->v, VIRTIO_F_RING_EVENT_IDX))
		*used_event(q) = on ? seen : (u16)(seen - 1);
	else
		q->avail->flags = on ? 0 : VIRTQ_AVAIL_NO_INTERRUPT;
	__sync_synchronize();
}
