/*
 * virtq.h - the device's side of a split virtqueue
 *
 * Everything of the guest's is copied in once and checked; after an error the
 * queue must not be touched again before a reset (device needs reset).
 */
#ifndef NET_EMUL_VIRTQ_H
#define NET_EMUL_VIRTQ_H

#include "net/spec/virtio.h"
#include "storage/emul/host.h"

#define VIRTQ_EMUL_SIZE_MAX 256u

struct virtq {
	struct emul_host *host; /* (c) */
	bool ready;
	bool event_idx, indirect; /* negotiated */
	u16 size; /* a power of two, VIRTQ_EMUL_SIZE_MAX at most */
	u16 vector;
	u64 desc, avail, used;
	u16 seen; /* of the available ring: entries taken so far */
	u16 done; /* used ring: entries put so far */
	u16 told; /* .done when the guest's interrupt was last thought about */
};

/* A piece of a chain, as the guest named it; not yet checked against its memory. */
struct virtq_seg {
	u64 addr;
	u32 bytes;
	bool write; /* the device writes */
};

/* Room for any chain that is none of nonsense. */
struct virtq_chain {
	u16 head;
	u32 n;
	u32 readable, writable; /* bytes; the readable ones come first */
	struct virtq_seg segs[VIRTQ_EMUL_SIZE_MAX];
};

void virtq_reset(struct virtq *q);
int virtq_start(struct virtq *q);
int virtq_pop(struct virtq *q, struct virtq_chain *c);
void virtq_unpop(struct virtq *q, u32 n);
int virtq_push(struct virtq *q, u16 head, u32 written);
int virtq_rearm(struct virtq *q);
int virtq_wants_irq(struct virtq *q);
int virtq_copy_in(struct virtq *q, const struct virtq_chain *c, u32 off, void *to, u32 bytes);
int virtq_copy_out(struct virtq *q, const struct virtq_chain *c, u32 off, const void *from,
		   u32 bytes);

#endif
