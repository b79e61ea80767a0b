/*
 * memory.c - allocation from the VMM's region, and its addresses
 *
 * First fit on a list of free blocks in address order, with a header in front
 * of each block: simple, and used at start-up and on rare control paths only.
 * Requests of a page or more are page-aligned, others 16-byte aligned.
 *
 * The region is reached at VMM_VBASE, everything else at PHYS_BASE.
 */
#include "vmm/plat/memory.h"

#include <string.h>

#include "base/assert.h"
#include "base/plat.h"
#include "boot/handoff.h"
#include "vmm/cpu/cpu.h"

#define ALIGN_SMALL 16u
#define USED_MAGIC 0x64657375u

struct block {
	u64 bytes; /* with this header */
	union {
		struct block *next; /* while free */
		u64 magic; /* while used */
	};
};

static_assert(sizeof(struct block) == ALIGN_SMALL, "header keeps payloads aligned");

static struct {
	struct spinlock lock;
	struct block *free; /* [lock] by address */
	u64 pa, bytes; /* (c) */
	u64 used; /* [lock] */
	u64 hidden_pa, hidden_bytes; /* (c) after start-up */
} mem;

/** memory_init() - @free_pa up to the region's end may be given out, but a panic's record there */
void memory_init(u64 region_pa, u64 region_bytes, u64 free_pa)
{
	u64 first = ALIGN_UP(free_pa, (u64)PAGE_BYTES);

	mem.pa = region_pa;
	mem.bytes = region_bytes;
	mem.used = first - region_pa;
	mem.free = (struct block *)(uintptr_t)(VMM_VBASE + (first - region_pa));
	mem.free->bytes = region_pa + region_bytes - CRASH_BYTES - first;
	mem.free->next = NULL;
}

static bool touches(u64 pa, u64 bytes, u64 base, u64 base_bytes)
{
	return pa < base + base_bytes && (pa + bytes > base || pa + bytes < pa);
}

bool memory_in_region(u64 pa, u64 bytes)
{
	return touches(pa, bytes, mem.pa, mem.bytes) ||
	       touches(pa, bytes, mem.hidden_pa, mem.hidden_bytes);
}

void memory_hide(u64 pa, u64 bytes)
{
	mem.hidden_pa = pa;
	mem.hidden_bytes = bytes;
}

u64 memory_used(void)
{
	return mem.used;
}

/* Where the header stands when @b gives a payload of @bytes aligned to @align, or 0. */
static u64 block_fit(const struct block *b, u64 bytes, u64 align)
{
	u64 start = (u64)(uintptr_t)b;
	u64 payload = ALIGN_UP(start + sizeof(*b), align);

	/* What is left in front is a free block: it needs room for its header. */
	if (payload + bytes > start + b->bytes)
		return 0;
	return payload - sizeof(*b);
}

static struct block *block_take(struct block **link, u64 header, u64 bytes)
{
	struct block *b = *link, *u = (struct block *)(uintptr_t)header;
	u64 end = (u64)(uintptr_t)b + b->bytes, tail = header + sizeof(*b) + bytes;
	struct block *next = b->next;

	if (end - tail >= 2 * sizeof(*b)) {
		struct block *t = (struct block *)(uintptr_t)tail;

		t->bytes = end - tail;
		t->next = next;
		next = t;
	} else {
		tail = end;
	}
	if (u != b) {
		b->bytes = header - (u64)(uintptr_t)b;
		b->next = next;
	} else {
		*link = next;
	}
	u->bytes = tail - header;
	u->magic = USED_MAGIC;
	return u;
}

/** plat_alloc() - see base/plat.h */
void *plat_alloc(size_t bytes)
{
	u64 align = bytes >= PAGE_BYTES ? PAGE_BYTES : ALIGN_SMALL;
	u64 need = ALIGN_UP((u64)(bytes ? bytes : 1), (u64)ALIGN_SMALL);
	struct block **link, *u = NULL;

	if (bytes > mem.bytes)
		return NULL;
	spin_lock(&mem.lock);
	for (link = &mem.free; *link; link = &(*link)->next) {
		u64 header = block_fit(*link, need, align);

		if (header) {
			u = block_take(link, header, need);
			mem.used += u->bytes;
			break;
		}
	}
	spin_unlock(&mem.lock);
	if (!u)
		return NULL;
	memset(u + 1, 0, bytes);
	return u + 1;
}

static void block_join(struct block *a)
{
	struct block *b = a->next;

	if (b && (u8 *)a + a->bytes == (u8 *)b) {
		a->bytes += b->bytes;
		a->next = b->next;
	}
}

/** plat_free() - give back what plat_alloc() gave; NULL is fine */
void plat_free(void *p)
{
	struct block *u = (struct block *)p - 1, *prev = NULL, *b;

	if (!p)
		return;
	assert(u->magic == USED_MAGIC);
	spin_lock(&mem.lock);
	mem.used -= u->bytes;
	for (b = mem.free; b && b < u; b = b->next)
		prev = b;
	u->next = b;
	if (prev)
		prev->next = u;
	else
		mem.free = u;
	block_join(u);
	if (prev)
		block_join(prev);
	spin_unlock(&mem.lock);
}

void *plat_phys_to_virt(hpa_t pa)
{
	if (pa.v - mem.pa < mem.bytes)
		return (void *)(uintptr_t)(VMM_VBASE + (pa.v - mem.pa));
	return (void *)(uintptr_t)(PHYS_BASE + pa.v);
}

hpa_t plat_virt_to_phys(const void *va)
{
	u64 a = (u64)(uintptr_t)va;

	return a >= VMM_VBASE ? HPA(a - VMM_VBASE + mem.pa) : HPA(a - PHYS_BASE);
}
