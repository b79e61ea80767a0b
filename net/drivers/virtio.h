/*
 * virtio.h - a virtio 1.x device behind a struct bus_dev, and its split rings
 *
 * For drivers of virtio devices: finding the structures, negotiation, queues.
 * What goes through the queues is theirs. See virtio.c.
 */
#ifndef NET_DRIVERS_VIRTIO_H
#define NET_DRIVERS_VIRTIO_H

#include "base/bus.h"
#include "net/spec/virtio.h"

#define VIRTQ_DRV_MAX 256u /* larger queues are used with this size */

struct virtio {
	struct bus_dev *bus; /* (c) */
	u32 common, common_bytes; /* (c) place in the window; bytes 0: not found */
	u32 notify, notify_bytes, notify_mult; /* (c) */
	u32 device, device_bytes; /* (c) */
	u64 features; /* as negotiated */
};

/* A piece of a chain: what the device reads comes before what it writes. */
struct virtio_seg {
	u64 dma;
	u32 bytes;
	bool write;
};

/*
 * One queue. The device sees the three rings; everything that the driver
 * decides by is its own: which heads are out, how long their chains are, which
 * descriptors are free.
 */
struct virtio_queue {
	struct virtio *v; /* (c) */
	u16 index, size; /* (c) size: a power of two */
	u32 notify; /* (c) where to write */
	volatile struct virtq_desc *desc; /* (c) */
	volatile struct virtq_avail *avail; /* (c) */
	volatile struct virtq_used *used; /* (c) */
	u64 dma; /* (c) of desc; the others lie behind it */
	u16 tail; /* what avail->idx is next */
	u16 kicked; /* tail when the device was last told */
	u16 seen; /* (a) what used->idx was looked at up to */
	u16 free, frees; /* list through next[] */
	u16 next[VIRTQ_DRV_MAX];
	u16 chain[VIRTQ_DRV_MAX]; /* by head: descriptors that are the device's; 0: it is not out */
};

int virtio_probe(struct virtio *v, struct bus_dev *bus);
int virtio_reset(struct virtio *v);
int virtio_negotiate(struct virtio *v, u64 want);
int virtio_config_vector(struct virtio *v, u16 vector);
int virtio_queue_alloc(struct virtio *v, struct virtio_queue *q, u16 index);
int virtio_queue_start(struct virtio_queue *q, u16 vector);
void virtio_start(struct virtio *v);
void virtio_fail(struct virtio *v);
bool virtio_broken(struct virtio *v);

static inline bool virtio_has(const struct virtio *v, u32 feature)
{
	return v->features & BIT64(feature);
}

u8 virtio_config8(struct virtio *v, u32 off);
u16 virtio_config16(struct virtio *v, u32 off);
u32 virtio_config32(struct virtio *v, u32 off);

int virtio_queue_add(struct virtio_queue *q, const struct virtio_seg *segs, u32 n, u16 *head);
void virtio_queue_kick(struct virtio_queue *q);
bool virtio_queue_pop(struct virtio_queue *q, u16 *head, u32 *bytes);
void virtio_queue_bell(struct virtio_queue *q, bool on);

/** virtio_queue_work() - has the device used something that was not looked at? Any context. */
static inline bool virtio_queue_work(const struct virtio_queue *q)
{
	return q->used->idx != __atomic_load_n(&q->seen, __ATOMIC_RELAXED);
}

#endif
