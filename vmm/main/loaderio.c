/*
 * loaderio.c - the virtual disk over hypercalls, for the loader's Block I/O
 *
 * One request at a time: the loader offers a synchronous Block I/O protocol and
 * waits by asking. It shares the virtual disk with the emulated controller,
 * which the firmware has no driver for while this is in use.
 *
 * The argument block is copied in once. The buffer must be RAM of the guest
 * throughout, which excludes whatever is the VMM's; it is the guest's own
 * affair what else it does with it meanwhile. After HC_DONE no call gets here;
 * a request still under way then (a loader that does not wait) ends in memory
 * that the guest had named.
 */
#include "vmm/main/loaderio.h"

#include "base/err.h"
#include "boot/handoff.h"
#include "storage/core/blk.h"
#include "vmm/cpu/guest.h"
#include "vmm/main/machine.h"
#include "vmm/main/pump.h"

static struct {
	struct blk_req req;
	struct blk_seg seg;
	u32 busy; /* (a) from begin until done */
	int err; /* (a) of the last one; after .busy */
} io;

static void io_done(struct blk_req *r, int err)
{
	(void)r;
	__atomic_store_n(&io.err, err, __ATOMIC_RELAXED);
	__atomic_store_n(&io.busy, 0, __ATOMIC_RELEASE);
}

/* Fill in the request, or say what is wrong with it. */
static int prepare(u32 nr, const struct handoff_io *a, const struct blk_dev *blk)
{
	u32 sectors = a->bytes / blk->sector_bytes;

	io.req = (struct blk_req){ .op = BLK_FLUSH, .done = io_done };
	if (nr == HC_FLUSH)
		return a->bytes ? -EINVAL : 0;
	if (!a->bytes || a->bytes % blk->sector_bytes || a->bytes > HANDOFF_IO_BYTES_MAX ||
	    a->reserved || a->lba >= blk->sectors || sectors > blk->sectors - a->lba)
		return -EINVAL;
	if (guest_map(GPA(a->buffer), a->bytes, &io.seg.pa))
		return -EFAULT;
	io.seg.bytes = a->bytes;
	io.req.op = nr == HC_WRITE ? BLK_WRITE : BLK_READ;
	io.req.lba = a->lba;
	io.req.sectors = sectors;
	io.req.segs = &io.seg;
	io.req.nsegs = 1;
	return 0;
}

/** loaderio_begin() - see boot/handoff.h. Context: hypercall, boot phase. */
s64 loaderio_begin(u32 nr, u64 gpa)
{
	struct handoff_io a;
	struct blk_dev *blk;
	int err;

	if (guest_read(GPA(gpa), &a, sizeof(a)))
		return -EFAULT;
	if (__atomic_exchange_n(&io.busy, 1, __ATOMIC_ACQUIRE))
		return -EBUSY;
	pump_lock();
	blk = machine_disk();
	err = blk ? prepare(nr, &a, blk) : -EAGAIN;
	if (err)
		__atomic_store_n(&io.busy, 0, __ATOMIC_RELEASE);
	else
		blk_submit(blk, &io.req);
	pump_unlock();
	return err;
}

s64 loaderio_status(void)
{
	pump_kick();
	if (__atomic_load_n(&io.busy, __ATOMIC_ACQUIRE))
		return -EINPROGRESS;
	return __atomic_load_n(&io.err, __ATOMIC_RELAXED);
}
