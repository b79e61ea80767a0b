/*
 * virtq.c - the device's side of a split virtqueue
 *
 * The guest fills descriptors, puts chain heads into the available ring and
 * moves its index; the device takes them in order and puts the heads into the
 * used ring, in any order. Indices count modulo 2^16, rings modulo their size.
 *
 * What the guest can do wrong: an index that runs away, a head or next beyond
 * the table, a chain longer than the table (a loop), a readable piece after a
 * writable one, an indirect table of a wrong length or within another, rings
 * or buffers outside its memory. All of that is -EINVAL or -EFAULT, and the
 * device needs a reset.
 *
 * Indices are read and written with one access of their own width, because the
 * guest looks at them meanwhile; the order of the others is that of the program,
 * as x86 keeps it for stores and for loads. Only "write, then read" needs a fence.
 *
 * [VIRTIO 1.1 §2.6]
 */
#include "net/emul/virtq.h"

#include "base/err.h"
#include "base/plat.h"

#define RING_HEAD 4u /* flags and idx, of both rings */

static void compiler_barrier(void)
{
	__asm__ volatile("" ::: "memory");
}

static volatile u16 *word(struct virtq *q, u64 addr)
{
	hpa_t pa;

	if (q->host->ops->map(q->host, GPA(addr), sizeof(u16), &pa))
		return NULL;
	return plat_phys_to_virt(pa);
}

static int word_read(struct virtq *q, u64 addr, u16 *out)
{
	volatile u16 *p = word(q, addr);

	if (!p)
		return err_trace(-EFAULT);
	*out = *p;
	compiler_barrier();
	return 0;
}

static int word_write(struct virtq *q, u64 addr, u16 v)
{
	volatile u16 *p = word(q, addr);

	if (!p)
		return err_trace(-EFAULT);
	compiler_barrier();
	*p = v;
	return 0;
}

/**
 * virtq_reset() - as after power-on; size is the largest
 */
void virtq_reset(struct virtq *q)
{
	*q = (struct virtq){ .host = q->host, .size = VIRTQ_EMUL_SIZE_MAX,
			     .vector = VIRTIO_NO_VECTOR };
}

/**
 * virtq_start() - the guest enables the queue
 *
 * Return: 0; -EINVAL, -EFAULT when size or rings cannot be.
 */
int virtq_start(struct virtq *q)
{
	hpa_t pa;

	if (!q->size || q->size > VIRTQ_EMUL_SIZE_MAX || (q->size & (q->size - 1)) ||
	    q->desc % 16 || q->avail % 2 || q->used % 4)
		return err_trace(-EINVAL);
	if (q->host->ops->map(q->host, GPA(q->desc), VIRTQ_DESC_BYTES(q->size), &pa) ||
	    q->host->ops->map(q->host, GPA(q->avail), VIRTQ_AVAIL_BYTES(q->size), &pa) ||
	    q->host->ops->map(q->host, GPA(q->used), VIRTQ_USED_BYTES(q->size), &pa))
		return err_trace(-EFAULT);
	q->seen = q->done = q->told = 0;
	q->ready = true;
	return 0;
}

/* Entries that wait; -EINVAL when that cannot be. */
static int waiting(struct virtq *q)
{
	u16 idx;

	if (word_read(q, q->avail + 2, &idx))
		return -EFAULT;
	idx = (u16)(idx - q->seen);
	return idx <= q->size ? idx : err_trace(-EINVAL);
}

/* One descriptor into the chain. */
static int add(struct virtq_chain *c, const struct virtq_desc *d)
{
	bool write = d->flags & VIRTQ_DESC_WRITE;

	if (c->n == VIRTQ_EMUL_SIZE_MAX || (!write && c->writable))
		return err_trace(-EINVAL);
	if (!d->len)
		return 0;
	if (d->len > ~0u - c->readable - c->writable)
		return err_trace(-EINVAL);
	*(write ? &c->writable : &c->readable) += d->len;
	c->segs[c->n++] = (struct virtq_seg){ d->addr, d->len, write };
	return 0;
}

/* The chain that begins at @at in a table of @entries. */
static int walk(struct virtq *q, struct virtq_chain *c, u64 table, u32 entries, u32 at,
		bool indirect)
{
	for (u32 steps = 0; steps < entries; steps++) {
		struct virtq_desc d;
		int err;

		if (at >= entries)
			return err_trace(-EINVAL);
		err = q->host->ops->read(q->host, GPA(table + 16ull * at), &d, sizeof(d));
		if (err)
			return err;
		if (d.flags & VIRTQ_DESC_INDIRECT) {
			u32 n = d.len / sizeof(d);

			if (indirect || !q->indirect || (d.flags & VIRTQ_DESC_NEXT) || !n ||
			    d.len % sizeof(d) || n > q->size)
				return err_trace(-EINVAL);
			return walk(q, c, d.addr, n, 0, true);
		}
		err = add(c, &d);
		if (err || !(d.flags & VIRTQ_DESC_NEXT))
			return err;
		at = d.next;
	}
	return err_trace(-EINVAL); /* a loop */
}

/**
 * virtq_pop() - take the next chain
 *
 * Return: 1; 0 when there is none; -EINVAL, -EFAULT: the device needs a reset.
 */
int virtq_pop(struct virtq *q, struct virtq_chain *c)
{
	int n = q->ready ? waiting(q) : 0, err;
	u16 head;

	if (n <= 0)
		return n;
	if (word_read(q, q->avail + RING_HEAD + 2u * (q->seen % q->size), &head))
		return -EFAULT;
	if (head >= q->size)
		return err_trace(-EINVAL);
	c->head = head;
	c->n = c->readable = c->writable = 0;
	err = walk(q, c, q->desc, q->size, head, false);
	if (err)
		return err;
	q->seen++;
	return 1;
}

/**
 * virtq_unpop() - the last @n chains were not used; they come again
 */
void virtq_unpop(struct virtq *q, u32 n)
{
	q->seen = (u16)(q->seen - n);
}

/**
 * virtq_push() - give chain @head back, @written bytes of it filled
 */
int virtq_push(struct virtq *q, u16 head, u32 written)
{
	struct virtq_used_elem e = { head, written };
	int err;

	err = q->host->ops->write(q->host,
				  GPA(q->used + RING_HEAD + sizeof(e) * (q->done % q->size)),
				  &e, sizeof(e));
	if (err)
		return err;
	q->done++;
	return word_write(q, q->used + 2, q->done);
}

/**
 * virtq_rearm() - the ring was seen empty: the guest shall ring for the next entry
 *
 * Return: how many came meanwhile; an error as of virtq_pop().
 */
int virtq_rearm(struct virtq *q)
{
	if (q->event_idx) {
		if (word_write(q, q->used + RING_HEAD + sizeof(struct virtq_used_elem) * q->size,
			       q->seen))
			return -EFAULT;
		/* pairs with the guest's barrier between moving its index and looking at ours */
		__sync_synchronize();
	}
	return waiting(q);
}

/**
 * virtq_wants_irq() - shall the guest hear of what was pushed since the last call?
 *
 * Return: 1, 0, or an error as of virtq_pop().
 */
int virtq_wants_irq(struct virtq *q)
{
	u16 was = q->told, v;

	if (!q->ready || was == q->done)
		return 0;
	/* pairs with the guest's barrier between asking for an interrupt and its last look */
	__sync_synchronize();
	if (word_read(q, q->event_idx ? q->avail + RING_HEAD + 2u * q->size : q->avail, &v))
		return -EFAULT;
	q->told = q->done;
	return q->event_idx ? virtq_need_event(v, q->done, was) : !(v & VIRTQ_AVAIL_NO_INTERRUPT);
}

/* Bytes from @off of the chain's readable or writable part. */
static int copy(struct virtq *q, const struct virtq_chain *c, u32 off, void *p, u32 bytes,
		bool write)
{
	u8 *at = p;

	for (u32 i = 0; i < c->n && bytes; i++) {
		const struct virtq_seg *s = &c->segs[i];
		u32 n;
		int err;

		if (s->write != write)
			continue;
		if (off >= s->bytes) {
			off -= s->bytes;
			continue;
		}
		n = MIN(s->bytes - off, bytes);
		if (write)
			err = q->host->ops->write(q->host, GPA(s->addr + off), at, n);
		else
			err = q->host->ops->read(q->host, GPA(s->addr + off), at, n);
		if (err)
			return err;
		at += n;
		bytes -= n;
		off = 0;
	}
	return bytes ? err_trace(-EINVAL) : 0;
}

/**
 * virtq_copy_in() - @bytes at @off of what the device may read; all or an error
 */
int virtq_copy_in(struct virtq *q, const struct virtq_chain *c, u32 off, void *to, u32 bytes)
{
	return copy(q, c, off, to, bytes, false);
}

/**
 * virtq_copy_out() - the same of what it may write
 */
int virtq_copy_out(struct virtq *q, const struct virtq_chain *c, u32 off, const void *from,
		   u32 bytes)
{
	return copy(q, c, off, (void *)(uintptr_t)from, bytes, true);
}
