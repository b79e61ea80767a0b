/*
 * vmmtest_mmio.c - hooked pages: every form of access, their edges, the VMM's own memory
 */
#include "base/fmt.h"
#include "tests/guest/vmmtest.h"

struct insn {
	const char *name;
	const u8 *code;
	u32 code_bytes, mode, kind, bytes, reads, writes, flags, pad;
};

enum { DST, SRC, BOTH, KIND = 3, DOWN = 4, ZERO = 8, MANY = 16, REFUSED = 32 };

#define DF BIT64(10)
#define TARGET 0x800u /* offset of the operand in its page */
#define SEEN_FROM 0x7c0u /* what is compared around it */
#define SEEN_BYTES 0x200u
#define FS_BASE_MSR 0xc0000100u
#define FS_BASE 0x40u

extern const struct insn insns[], insns_end[];

static u64 mix(u64 x)
{
	x = (x + 0x9e3779b97f4a7c15ull) * 0xbf58476d1ce4e5b9ull;
	return x ^ x >> 29;
}

static void fill(u64 page, u32 round)
{
	for (u32 at = SEEN_FROM; at < SEEN_FROM + SEEN_BYTES; at += 8)
		write64(page + at, mix(at + 4096 * round));
}

/* A placeholder in the instruction becomes the operand's address. */
static void patch(u8 *code, u32 n, u64 mark, u32 bytes, u64 value)
{
	for (u32 i = 0; i + bytes <= n; i++) {
		u64 v = 0;

		__builtin_memcpy(&v, code + i, bytes);
		if (v == mark)
			__builtin_memcpy(code + i, &value, bytes);
	}
}

static void registers(struct exec *x, const struct insn *i, u64 target, u32 round)
{
	u64 other = low_at(LOW_OTHER) + TARGET, less = i->mode == 16 ? g.low : 0;
	bool counted = i->reads > 1 || i->writes > 1 || (i->kind & ZERO);

	exec_init(x);
	for (u32 r = 0; r < 16; r++)
		if (r != RSP)
			x->gpr[r] = mix(r + 100 * round);
	x->rflags = (round ? 0x8d7 : 2) | (i->kind & DOWN ? DF : 0);
	x->gpr[RDI] = ((i->kind & KIND) == DST ? target : other) - less;
	x->gpr[RSI] = ((i->kind & KIND) == DST ? other : target) - less;
	if ((i->kind & KIND) == BOTH)
		x->gpr[RDI] = x->gpr[RSI] + 64;
	if (counted)
		x->gpr[RCX] = i->kind & ZERO ? 0 : i->kind & MANY ? 400 : 5;
	if (i->mode == 64)
		x->gpr[RBX] = target;
	if (i->mode == 32)
		x->gpr[RDX] = 0x14;
	if (i->mode == 16)
		x->gpr[RBX] = 0x18;
	x->gpr[8] = 2;
	x->gpr[12] = x->gpr[13] = target;
	x->gpr[14] = 100;
	x->gpr[15] = (u64)-40;
}

static void run_on(struct exec *x, const struct insn *i, u64 page, u32 round)
{
	u64 target = page + TARGET, code = low_at(LOW_CODE);
	u8 copy[16];

	fill(page, round);
	fill(low_at(LOW_OTHER), round + 7);
	__builtin_memcpy(copy, i->code, i->code_bytes);
	patch(copy, i->code_bytes, 0x1122334455667788ull, 8, target);
	patch(copy, i->code_bytes, 0x7abbccdd, 4, target - (code + i->code_bytes));
	patch(copy, i->code_bytes, 0x11223344, 4, target);
	if (i->mode == 16)
		patch(copy, i->code_bytes, 0x1122, 2, target - g.low);
	registers(x, i, target, round);
	hook_log()->count = 0;
	exec_code(x, copy, i->code_bytes, i->mode);
}

/* The same value, or the same way from the same kind of start. */
static bool same_register(u64 a, u64 b, u64 delta, u32 mode)
{
	u64 mask = mode == 64 ? ~0ull : 0xffffffff;

	return !((a ^ b) & mask) || !((a + delta - b) & mask);
}

static const char *compare(const struct insn *i, const struct exec *p, const struct exec *h)
{
	u64 delta = low_at(LOW_HOOK) - low_at(LOW_PLAIN);

	if (p->vector != h->vector)
		return "another exception";
	if (p->at_rip != h->at_rip || p->code != h->code)
		return "RIP or error code";
	for (u32 r = 0; r < (i->mode == 64 ? 16 : 8); r++)
		if (!same_register(p->gpr[r], h->gpr[r], delta, i->mode))
			return "a register";
	if ((p->rflags ^ h->rflags) & i->flags)
		return "flags";
	return NULL;
}

static const char *compare_log(const struct insn *i, u64 vector)
{
	const struct handoff_test_log *log = hook_log();
	u32 want = vector == NO_VECTOR ? i->reads + i->writes : 0, writes = 0;

	if (log->count != want)
		return "number of accesses";
	for (u32 n = 0; n < MIN(want, (u32)ARRAY_SIZE(log->entry)); n++) {
		if (log->entry[n].bytes != i->bytes)
			return "size of an access";
		if (log->entry[n].at - SEEN_FROM >= SEEN_BYTES)
			return "place of an access";
		writes += log->entry[n].write;
	}
	if (want <= ARRAY_SIZE(log->entry) && want && writes != i->writes)
		return "reads and writes";
	return NULL;
}

static const char *compare_memory(const u64 *other)
{
	for (u32 at = 0; at < SEEN_BYTES; at += 8)
		if (read64(low_at(LOW_HOOK) + SEEN_FROM + at) !=
		    read64(low_at(LOW_PLAIN) + SEEN_FROM + at))
			return "memory";
	for (u32 at = 0; at < SEEN_BYTES; at += 8)
		if (read64(low_at(LOW_OTHER) + SEEN_FROM + at) != other[at / 8])
			return "the other operand";
	return NULL;
}

static void test_insn(const struct insn *i)
{
	static u64 other[SEEN_BYTES / 8];
	struct exec p, h;
	const char *bad = NULL;
	char name[64];

	for (u32 round = 0; round < 2 && !bad; round++) {
		run_on(&p, i, low_at(LOW_PLAIN), round);
		for (u32 at = 0; at < SEEN_BYTES; at += 8)
			other[at / 8] = read64(low_at(LOW_OTHER) + SEEN_FROM + at);
		run_on(&h, i, low_at(LOW_HOOK), round);
		if (i->kind & REFUSED) {
			bad = h.vector == VEC_UD && h.at_rip == h.rip && !hook_log()->count ?
			      NULL : "#UD";
			continue;
		}
		bad = compare(i, &p, &h);
		if (!bad)
			bad = compare_log(i, p.vector);
		if (!bad)
			bad = compare_memory(other);
	}
	fmt_snprintf(name, sizeof(name), "insn%u %s", i->mode, i->name);
	check(!bad, name, "%s differs: plain vec=%lx rip=%lx flags=%lx, hook vec=%lx rip=%lx "
	      "flags=%lx, %u accesses", bad ? bad : "", p.vector, p.at_rip, p.rflags, h.vector,
	      h.at_rip, h.rflags, hook_log()->count);
}

/** test_insns() - vmmtest_insns.S, line by line */
void test_insns(void)
{
	u64 fs = rdmsr(FS_BASE_MSR);

	wrmsr(FS_BASE_MSR, FS_BASE);
	for (const struct insn *i = insns; i < insns_end; i++)
		test_insn(i);
	wrmsr(FS_BASE_MSR, fs);
}

/* ---------------------------------------------------------------- edges */

static u32 accesses(void)
{
	u32 n = hook_log()->count;

	hook_log()->count = 0;
	return n;
}

/* Write and read back at @a; true when it is memory and nobody watched. */
static bool plain_memory(u64 a)
{
	u64 v = mix(a);

	write64(a, v);
	return read64(a) == v && !accesses();
}

static void neighbours(u64 page, const char *name)
{
	static const s64 around[] = { -8, 4096, -4096, 8184, -(s64)BYTES_2M, BYTES_2M,
				      -(s64)BYTES_2M + 4088, BYTES_2M + 8 };
	bool ok = true;
	u32 i, n;

	accesses();
	for (i = 0; i < ARRAY_SIZE(around) && ok; i++)
		ok = plain_memory(page + (u64)around[i]);
	if (ok) {
		write64(page, 1);
		write64(page + 4088, 2);
		n = accesses();
		ok = read64(page) == 1 && read64(page + 4088) == 2 && accesses() == 2 && n == 2;
		i = 100;
	}
	check(ok, name, "case %u", i);
}

/** test_edges() - in the boot phase: pages at edges of large ones, hooked in all ways */
void test_edges(void)
{
	u64 first = g.big + BYTES_2M, last = g.big + 2 * BYTES_2M - PAGE_BYTES, log;
	u64 high = 16 * GIB - PAGE_BYTES, v;
	bool ok;

	log = low_at(LOW_LOG);
	for (u64 a = g.big; a < g.big + 3 * BYTES_2M; a += 65536 - 8)
		write64(a, mix(a));
	write64(first, 0x1111);
	write64(last, 0x2222);
	test_call(HT_HOOK, first, log);
	test_call(HT_HOOK, last, log);
	ok = true;
	for (u64 a = g.big; a < g.big + 3 * BYTES_2M; a += 65536 - 8)
		if ((a < first || a >= first + PAGE_BYTES) && (a < last || a >= last + PAGE_BYTES))
			ok = ok && read64(a) == mix(a);
	check(ok && !accesses(), "edge: a split keeps what is around", "moved or watched");
	neighbours(first, "edge: first page of 2 MiB");
	neighbours(last, "edge: last page of 2 MiB");
	v = read64(first + 16);
	check(!v && accesses() == 1, "edge: the page's own memory is out of sight", "%lx", v);
	test_call(HT_UNHOOK, first, 0);
	check(read64(first) == 0x1111 && !accesses(), "edge: and back after unhooking", "%lx",
	      read64(first));
	test_call(HT_UNHOOK, last, 0);
	check(plain_memory(last) && plain_memory(first), "edge: no access exits after unhooking",
	      "watched");

	test_call(HT_HOOK_WRITES, first, log);
	write64(last, 5); /* a plain page: nothing */
	check(read64(first + 8) == read64(first + 8) && !accesses(),
	      "edge: writes only: reads do not exit", "they do");
	write64(first + 8, 0x3333);
	check(accesses() == 1 && read64(first + 8) == 0x3333 && !accesses(),
	      "edge: writes only: writes exit", "%lx", read64(first + 8));
	test_call(HT_UNHOOK, first, 0);
	check(read64(first + 8) == 0x3333, "edge: writes only: memory has it", "%lx",
	      read64(first + 8));

	write64(first, 0x4444);
	test_call(HT_HOOK_ABSENT, first, 0);
	write64(first, 0x5555);
	check(read64(first) == ~0ull && read32(first + 4) == ~0u, "edge: absent: all ones", "%lx",
	      read64(first));
	test_call(HT_UNHOOK, first, 0);
	check(read64(first) == 0x4444, "edge: absent: writes vanish", "%lx", read64(first));

	map_window(0, high - PAGE_BYTES, PTE_P | PTE_W);
	map_window(1, high, PTE_P | PTE_W);
	map_window(2, high + PAGE_BYTES, PTE_P | PTE_W);
	test_call(HT_HOOK, high, log);
	write64(window(1), 0x6666);
	v = read64(window(1));
	check(v == 0x6666 && accesses() == 2, "edge: hooked above all memory", "%lx", v);
	read64(window(0) + 4088);
	read64(window(2));
	check(!accesses(), "edge: its neighbours are not", "watched");
	test_call(HT_UNHOOK, high, 0);
	read64(window(1));
	check(!accesses(), "edge: unhooked above all memory", "watched");
	for (u32 i = 0; i < 3; i++)
		map_window(i, 0, 0);
}

/* An access across an edge of the hooked page: #UD, and nothing has happened. */
static void straddle(u64 at, bool write, const char *name)
{
	static const u64 was[] = { 0x0102030405060708, 0x2122232425262728, 0x3132333435363738,
				   0x1112131415161718 };
	u64 before = low_at(LOW_HOOK) - 8, after = low_at(LOW_AFTER), is[4];
	struct exec x;
	u32 n;

	write64(before, was[0]);
	write64(low_at(LOW_HOOK), was[1]);
	write64(low_at(LOW_HOOK) + 4088, was[2]);
	write64(after, was[3]);
	accesses();
	exec_init(&x);
	x.gpr[RDI] = at;
	x.gpr[RCX] = ~0ull;
	if (write)
		EXEC_BYTES(&x, 0x48, 0x89, 0x0f);
	else
		EXEC_BYTES(&x, 0x48, 0x8b, 0x0f);
	n = accesses();
	is[0] = read64(before);
	is[1] = read64(low_at(LOW_HOOK));
	is[2] = read64(low_at(LOW_HOOK) + 4088);
	is[3] = read64(after);
	check(x.vector == VEC_UD && x.at_rip == x.rip && x.gpr[RCX] == ~0ull && !n &&
	      !__builtin_memcmp(is, was, sizeof(is)), name,
	      "vec=%lx rcx=%lx accesses=%u before=%lx hook=%lx..%lx after=%lx", x.vector,
	      x.gpr[RCX], n, is[0], is[1], is[2], is[3]);
}

/* A REP whose elements lie on both sides. */
static void rep_across(const char *name)
{
	struct exec x;
	bool ok = true;

	for (u32 i = 0; i < 16; i++) {
		*(volatile u8 *)(low_at(LOW_HOOK) - 8 + i) = 0;
		*(volatile u8 *)(low_at(LOW_OTHER) + i) = (u8)(0x40 + i);
	}
	accesses();
	exec_init(&x);
	x.gpr[RSI] = low_at(LOW_OTHER);
	x.gpr[RDI] = low_at(LOW_HOOK) - 8;
	x.gpr[RCX] = 16;
	EXEC_BYTES(&x, 0xf3, 0xa4);
	ok = x.vector == NO_VECTOR && accesses() == 8;
	for (u32 i = 0; i < 16; i++)
		ok = ok && *(volatile u8 *)(low_at(LOW_HOOK) - 8 + i) == (u8)(0x40 + i);
	check(ok && !x.gpr[RCX], name, "vec=%lx rcx=%lx", x.vector, x.gpr[RCX]);
}

/** test_pages() - around the hooked page below 1 MiB, after the boot phase */
void test_pages(void)
{
	struct exec x;
	u64 h = low_at(LOW_HOOK);

	straddle(h - 4, true, "straddle: a write into the page");
	straddle(h - 4, false, "straddle: a read into the page");
	straddle(h + 4092, true, "straddle: a write out of the page");
	straddle(h + 4092, false, "straddle: a read out of the page");
	rep_across("straddle: rep movsb over the edge");
	accesses();
	exec_init(&x);
	x.gpr[RDI] = h;
	EXEC_BYTES(&x, 0x0f, 0x11, 0x07); /* movups %xmm0, (%rdi) */
	check(x.vector == VEC_UD && x.at_rip == x.rip && !accesses(), "mmio: SSE store is #UD",
	      "vec=%lx", x.vector);
	exec_init(&x);
	x.gpr[RDI] = h;
	x.rflags |= BIT64(8);
	/* The first trap comes after the MOV. */
	EXEC_BYTES(&x, 0x89, 0x07, 0x90);
	check(x.vector == VEC_DB && x.at_rip == x.rip + 2 && accesses() == 1,
	      "mmio: single step", "vec=%lx rip=+%lx", x.vector, x.at_rip - x.rip);
}

/* ---------------------------------------------------------------- the VMM's memory */

/** test_region() - it reads as ones and cannot be written */
void test_region(void)
{
	u64 r = g.region_pa, end = r + g.region_bytes, other = low_at(LOW_OTHER);
	u64 at[] = { r, r + 0x1000, r + 0x1ff8, r + BYTES_2M, r + g.region_bytes / 2, end - 8 };
	struct exec x;
	bool ok = true;

	for (u64 a = r; a < end; a += 0x10040 - 8)
		ok = ok && read64(a) == ~0ull;
	check(ok, "region: reads give ones", "they do not");
	for (u32 i = 0; i < ARRAY_SIZE(at); i++) {
		write64(at[i], 0);
		write32(at[i] + 4, 0);
		*(volatile u8 *)at[i] = 0;
		ok = ok && read64(at[i]) == ~0ull && read32(at[i]) == ~0u &&
		     *(volatile u8 *)(at[i] + 7) == 0xff;
	}
	check(ok, "region: writes vanish", "they do not");
	exec_init(&x);
	x.gpr[RSI] = r + 0x2000 - 32;
	x.gpr[RDI] = other;
	x.gpr[RCX] = 64;
	write64(other + 40, 0);
	EXEC_BYTES(&x, 0xf3, 0xa4);
	check(x.vector == NO_VECTOR && read64(other + 40) == ~0ull && read64(other) == ~0ull,
	      "region: rep movsb out of it", "vec=%lx %lx", x.vector, read64(other));
	exec_init(&x);
	x.gpr[RSI] = r;
	x.gpr[RDI] = low_at(LOW_HOOK);
	x.gpr[RCX] = 4;
	EXEC_BYTES(&x, 0xf3, 0x48, 0xa5);
	check(x.vector == NO_VECTOR && read64(low_at(LOW_HOOK)) == ~0ull,
	      "region: movs from it to a hooked page", "vec=%lx %lx", x.vector,
	      read64(low_at(LOW_HOOK)));
	exec_init(&x);
	write64(low_at(LOW_HOOK), 0);
	x.gpr[RSI] = low_at(LOW_HOOK);
	x.gpr[RDI] = r;
	EXEC_BYTES(&x, 0x48, 0xa5);
	check(x.vector == NO_VECTOR && read64(r) == ~0ull, "region: movs to it from a hooked page",
	      "vec=%lx %lx", x.vector, read64(r));
	exec_init(&x);
	x.gpr[RDI] = r + 64;
	EXEC_BYTES(&x, 0xf0, 0x48, 0x83, 0x07, 0x01); /* lock addq $1, (%rdi) */
	check(x.vector == NO_VECTOR && read64(r + 64) == ~0ull && (x.rflags & BIT64(6)),
	      "region: a locked add sees ones", "vec=%lx flags=%lx", x.vector, x.rflags);
	map_window(0, r, PTE_P | PTE_W);
	check(read64(window(0)) == ~0ull, "region: through another mapping", "%lx",
	      read64(window(0)));
	map_window(0, 0, 0);
}
