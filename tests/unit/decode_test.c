/*
 * The MMIO decoder against two judges: what it reads against capstone, over
 * all opcodes, ModRM and SIB bytes and prefixes; what it does against this
 * machine's own processor, by running the same bytes on the same registers.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <capstone/capstone.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/err.h"
#include "vmm/cpu/decode.h"

static u64 rng_state = 0x9e3779b97f4a7c15ull;

static u64 rnd(void)
{
	rng_state ^= rng_state << 13;
	rng_state ^= rng_state >> 7;
	rng_state ^= rng_state << 17;
	return rng_state * 0x2545f4914f6cdd1dull;
}

static const char *hex(const u8 *b, size_t n)
{
	static char text[64];

	for (size_t i = 0; i < n; i++)
		sprintf(text + 3 * i, "%02x ", b[i]);
	return text;
}

/* ---------------------------------------------------------------- reading */

static csh handles[3];
static u64 accepted, refused, compared_regs;

struct reg_name {
	u8 num, bytes;
	bool high;
};

/* capstone's register, by its name, so that no table of ours is trusted twice */
static bool reg_by_name(unsigned int reg, struct reg_name *out)
{
	static const char *const old[8] = { "ax", "cx", "dx", "bx", "sp", "bp", "si", "di" };
	const char *s = cs_reg_name(handles[0], reg);
	char buf[8];
	size_t n;

	if (!s || strlen(s) > 5)
		return false;
	strcpy(buf, s);
	n = strlen(buf);
	*out = (struct reg_name){ 0 };
	if (buf[0] == 'r' && buf[1] >= '0' && buf[1] <= '9') {
		char *end;

		out->num = (u8)strtoul(buf + 1, &end, 10);
		out->bytes = !*end ? 8 : *end == 'd' ? 4 : *end == 'w' ? 2 : 1;
		return true;
	}
	if (n == 2 && buf[1] == 'h') {
		out->num = (u8)(strchr("acdb", buf[0]) - "acdb");
		out->bytes = 1;
		out->high = true;
		return true;
	}
	out->bytes = 2;
	if (buf[n - 1] == 'l') {
		out->bytes = 1;
		buf[n - 1] = 0;
		if (n == 2)
			strcpy(buf + 1, "x");
	} else if (buf[0] == 'r' || buf[0] == 'e') {
		out->bytes = buf[0] == 'r' ? 8 : 4;
		memmove(buf, buf + 1, n);
	}
	for (u8 i = 0; i < 8; i++) {
		if (!strcmp(buf, old[i])) {
			out->num = i;
			return true;
		}
	}
	return false;
}

/* The operation that capstone's mnemonic stands for; -1: not one of ours. */
static int op_of(const cs_insn *c)
{
	switch (c->id) {
	case X86_INS_ADD: return DECODE_ADD;
	case X86_INS_OR: return DECODE_OR;
	case X86_INS_ADC: return DECODE_ADC;
	case X86_INS_SBB: return DECODE_SBB;
	case X86_INS_AND: return DECODE_AND;
	case X86_INS_SUB: return DECODE_SUB;
	case X86_INS_XOR: return DECODE_XOR;
	case X86_INS_CMP: return DECODE_CMP;
	case X86_INS_BT: return DECODE_BT;
	case X86_INS_BTS: return DECODE_BTS;
	case X86_INS_BTR: return DECODE_BTR;
	case X86_INS_BTC: return DECODE_BTC;
	case X86_INS_MOV: case X86_INS_MOVABS: case X86_INS_MOVNTI: return DECODE_MOV;
	case X86_INS_MOVZX: return DECODE_MOVZX;
	case X86_INS_MOVSX: case X86_INS_MOVSXD: return DECODE_MOVSX;
	case X86_INS_TEST: return DECODE_TEST;
	case X86_INS_XCHG: return DECODE_XCHG;
	case X86_INS_NOT: return DECODE_NOT;
	case X86_INS_NEG: return DECODE_NEG;
	case X86_INS_INC: return DECODE_INC;
	case X86_INS_DEC: return DECODE_DEC;
	case X86_INS_MOVSB: case X86_INS_MOVSW: case X86_INS_MOVSD: case X86_INS_MOVSQ:
		return c->detail->x86.opcode[0] == 0x0f ? -1 : DECODE_MOVS;
	case X86_INS_STOSB: case X86_INS_STOSW: case X86_INS_STOSD: case X86_INS_STOSQ:
		return DECODE_STOS;
	case X86_INS_LODSB: case X86_INS_LODSW: case X86_INS_LODSD: case X86_INS_LODSQ:
		return DECODE_LODS;
	}
	return -1;
}

static const cs_x86_op *mem_operand(const cs_insn *c)
{
	for (int k = 0; k < c->detail->x86.op_count; k++)
		if (c->detail->x86.operands[k].type == X86_OP_MEM)
			return &c->detail->x86.operands[k];
	return NULL;
}

static bool is_string(int op)
{
	return op == DECODE_MOVS || op == DECODE_STOS || op == DECODE_LODS;
}

#define WANT(cond)                                                             \
	do {                                                                   \
		if (!(cond))                                                   \
			fail_msg("mode %d, %s: %s %s: %s", mode, hex(b, 15),   \
				 c->mnemonic, c->op_str, #cond);               \
	} while (0)

/* The address that capstone's operand means, and its default segment, against ours. */
static void compare_address(const u8 *b, int mode, const struct decode_insn *i, const cs_insn *c,
			    const x86_op_mem *m)
{
	struct decode_cpu cpu = { .rip = rnd() };
	struct reg_name base = { 0 }, index = { 0 };
	u64 want = (u64)m->disp;
	enum decode_seg seg;

	for (int k = 0; k < 16; k++)
		cpu.gpr[k] = rnd();
	if (i->op == DECODE_MOVS || i->op == DECODE_STOS || i->op == DECODE_LODS)
		return;
	if (m->base == X86_REG_RIP || m->base == X86_REG_EIP)
		want += cpu.rip + i->length;
	else if (m->base != X86_REG_INVALID && reg_by_name(m->base, &base))
		want += cpu.gpr[base.num];
	if (m->index != X86_REG_INVALID && reg_by_name(m->index, &index))
		want += cpu.gpr[index.num] * (u64)m->scale;
	/* Bit offsets in registers have a test of their own against the processor. */
	if (i->op < DECODE_BT || i->op > DECODE_BTC || i->other != DECODE_REG)
		WANT(decode_offset(i, &cpu, &seg) == (want & ~0ull >> (64 - 8 * i->addr_bytes)));
}

static void compare_operands(const u8 *b, int mode, const struct decode_insn *i, const cs_insn *c)
{
	const cs_x86 *x = &c->detail->x86;
	const cs_x86_op *mem = mem_operand(c);
	u64 mask = ~0ull >> (64 - 8 * i->reg_bytes);
	bool reg_seen = false, imm_seen = false;

	WANT(mem);
	WANT(i->mem_bytes == mem->size);
	WANT(i->addr_bytes == x->addr_size);
	compare_address(b, mode, i, c, &mem->mem);
	for (int k = 0; k < x->op_count; k++) {
		const cs_x86_op *o = &x->operands[k];
		struct reg_name r = { 0 };

		if (o->type == X86_OP_REG) {
			WANT(reg_by_name(o->reg, &r));
			WANT(i->other == DECODE_REG);
			WANT(r.num == i->reg && r.high == i->reg_high);
			/* capstone always calls MOVSXD's register by its 64-bit name */
			if (c->id == X86_INS_MOVSXD)
				WANT(i->reg_bytes == (x->rex & 8 ? 8 : 4));
			else
				WANT(r.bytes == i->reg_bytes);
			reg_seen = true;
			compared_regs++;
		} else if (o->type == X86_OP_IMM) {
			WANT(i->other == DECODE_IMM);
			if (i->op >= DECODE_BT && i->op <= DECODE_BTC)
				WANT((u8)o->imm == (u8)i->imm);
			else
				WANT(((u64)o->imm & mask) == i->imm);
			imm_seen = true;
		}
	}
	WANT(reg_seen == (i->other == DECODE_REG));
	WANT(imm_seen == (i->other == DECODE_IMM));
	if (i->op == DECODE_XCHG)
		return;
	WANT(i->mem_dest == (x->operands[0].type == X86_OP_MEM));
	if (i->op == DECODE_MOVS) {
		WANT(x->operands[1].type == X86_OP_MEM);
		mem = &x->operands[1];
	}
	if (i->op == DECODE_MOVS || i->op == DECODE_LODS) {
		static const u8 segs[6] = { X86_REG_ES, X86_REG_CS, X86_REG_SS, X86_REG_DS,
					    X86_REG_FS, X86_REG_GS };
		unsigned int seg = mem->mem.segment;

		/* Absent is DS; in 64-bit code the four old ones say nothing. */
		if (seg == X86_REG_INVALID || (mode == DECODE_64 && seg != X86_REG_FS &&
					       seg != X86_REG_GS))
			seg = X86_REG_DS;
		WANT(segs[i->seg] == seg);
	}
}

/* Encodings that exist but that the decoder refuses on purpose. */
static bool refused_on_purpose(const cs_insn *c, int mode)
{
	const cs_x86 *x = &c->detail->x86;
	u8 op = x->opcode[0];
	u8 reg = x->modrm >> 3 & 7;

	if (x->opcode[0] == 0x0f) {
		/* Only the integer forms; 0F C3 with a prefix is not MOVNTI. */
		return x->opcode[1] == 0xc3;
	}
	if (op == 0x82) /* another name of 80, long gone */
		return mode != DECODE_64;
	if (op == 0x8c || op == 0x8e) /* segment registers */
		return true;
	if (op == 0xf6 || op == 0xf7) /* an undocumented name of /0 */
		return reg == 1;
	return op == 0x63;
}

static bool has_prefix(const u8 *b, u8 p, size_t n)
{
	for (size_t k = 0; k < n; k++)
		if (b[k] == p)
			return true;
	return false;
}

/* @pre bytes of prefixes are at the start of @b. */
static bool compare(const u8 *b, size_t pre, int mode)
{
	static cs_insn *c;
	const u8 *code = b;
	size_t n = 15;
	uint64_t addr = 0;
	struct decode_insn i;
	int err = decode_insn(&i, b, 15, mode);
	bool known = false, lock = has_prefix(b, 0xf0, pre);

	if (!c)
		c = cs_malloc(handles[0]);
	if (cs_disasm_iter(handles[mode], &code, &n, &addr, c))
		known = op_of(c) >= 0 && (is_string(op_of(c)) || mem_operand(c));
	else
		snprintf(c->mnemonic, sizeof(c->mnemonic), "(none)"), c->op_str[0] = 0;
	if (err) {
		WANT(err == -EOPNOTSUPP);
		if (known && !lock)
			WANT(refused_on_purpose(c, mode));
		refused++;
		return false;
	}
	WANT(known);
	WANT(i.length == c->size);
	WANT(i.op == op_of(c));
	WANT(i.lock == lock);
	compare_operands(b, mode, &i, c);
	accepted++;
	/* One byte less is not the whole instruction, and never misread. */
	for (size_t k = 0; k < i.length; k++) {
		struct decode_insn j;

		WANT(decode_insn(&j, b, k, mode) == -ENODATA);
	}
	return true;
}

struct prefixes {
	u8 n, b[4];
	bool only64;
};

static const struct prefixes prefix_sets[] = {
	{ 0, { 0 }, false },
	{ 1, { 0x66 }, false },
	{ 1, { 0x67 }, false },
	{ 2, { 0x66, 0x67 }, false },
	{ 1, { 0xf3 }, false },
	{ 1, { 0xf2 }, false },
	{ 1, { 0xf0 }, false },
	{ 2, { 0x66, 0xf0 }, false },
	{ 1, { 0x26 }, false },
	{ 1, { 0x2e }, false },
	{ 1, { 0x36 }, false },
	{ 1, { 0x3e }, false },
	{ 1, { 0x64 }, false },
	{ 1, { 0x65 }, false },
	{ 3, { 0xf3, 0x67, 0x66 }, false },
	{ 1, { 0x40 }, true },
	{ 1, { 0x41 }, true },
	{ 1, { 0x42 }, true },
	{ 1, { 0x44 }, true },
	{ 1, { 0x48 }, true },
	{ 1, { 0x4c }, true },
	{ 1, { 0x4f }, true },
	{ 2, { 0x66, 0x44 }, true },
	{ 2, { 0x66, 0x48 }, true },
	{ 2, { 0x67, 0x4d }, true },
	{ 2, { 0xf0, 0x48 }, true },
	{ 3, { 0xf3, 0x67, 0x48 }, true },
};

static bool is_prefix(u8 b, int mode)
{
	return b == 0x66 || b == 0x67 || b == 0xf0 || b == 0xf2 || b == 0xf3 || b == 0x64 ||
	       b == 0x65 || (b & 0xe7) == 0x26 || (mode == DECODE_64 && (b & 0xf0) == 0x40);
}

static size_t put_opcode(u8 *b, const struct prefixes *p, bool two, u8 op)
{
	static const u8 tail[15] = { 0x84, 0x91, 0xa2, 0xb3, 0x74, 0x85, 0x96, 0x27, 0x38,
				     0x49, 0x5a, 0x6b, 0x7c, 0x8d, 0x9e };
	size_t n = p->n;

	memcpy(b, p->b, n);
	if (two)
		b[n++] = 0x0f;
	b[n++] = op;
	memcpy(b + n, tail, 15 - n);
	return n;
}

/* Every ModRM of an opcode that is supported with any; a sample of the others. */
static void reads_as_capstone(void **state)
{
	u8 b[15];

	(void)state;
	for (int mode = 0; mode < 3; mode++)
	for (size_t p = 0; p < ARRAY_SIZE(prefix_sets); p++) {
		if (prefix_sets[p].only64 && mode != DECODE_64)
			continue;
		for (int op = 0; op < 512; op++) {
			bool two = op >= 256, any = false;
			size_t n;

			if ((!two && is_prefix((u8)op, mode)) || op == 0x0f)
				continue;
			n = put_opcode(b, &prefix_sets[p], two, (u8)op);
			for (int m = 0; m < 256; m += 8) {
				b[n] = (u8)m;
				any |= compare(b, prefix_sets[p].n, mode);
			}
			for (int m = 0; any && m < 256; m++) {
				b[n] = (u8)m;
				compare(b, prefix_sets[p].n, mode);
			}
		}
	}
	print_message("accepted %lu refused %lu register operands %lu\n", accepted, refused,
		      compared_regs);
	assert_true(accepted > 200000);
}

static void reads_every_sib(void **state)
{
	static const u8 ops[] = { 0x89, 0x8a, 0x81, 0x83, 0xc7, 0xf7 };
	u8 b[15];

	(void)state;
	for (int mode = 0; mode < 3; mode++)
	for (size_t p = 0; p < ARRAY_SIZE(prefix_sets); p++)
	for (size_t o = 0; o < ARRAY_SIZE(ops); o++) {
		size_t n;

		if (prefix_sets[p].only64 && mode != DECODE_64)
			continue;
		n = put_opcode(b, &prefix_sets[p], false, ops[o]);
		for (int mod = 0; mod < 3; mod++)
		for (int sib = 0; sib < 256; sib++) {
			b[n] = (u8)(mod << 6 | 4);
			b[n + 1] = (u8)sib;
			compare(b, prefix_sets[p].n, mode);
		}
	}
}

/* Prefixes in any number and order: the length and the sizes must still agree. */
static void reads_random_prefixes(void **state)
{
	static const u8 some[] = { 0x66, 0x67, 0x64, 0x65, 0xf3, 0x48, 0x44, 0x66, 0x67 };
	static const u8 ops[] = { 0x89, 0x8a, 0x81, 0xc6, 0xf7, 0xab, 0xa4, 0xa1, 0x01 };
	u64 whole = 0;

	(void)state;
	for (int k = 0; k < 200000; k++) {
		u8 b[15];
		size_t n = rnd() % 5;
		struct decode_insn i;

		for (size_t j = 0; j < sizeof(b); j++)
			b[j] = (u8)rnd();
		for (size_t j = 0; j < n; j++)
			b[j] = some[rnd() % sizeof(some)];
		b[n] = ops[rnd() % sizeof(ops)];
		/*
		 * capstone forgets that a REX before another prefix is void, and
		 * takes a repeated prefix for an instruction of its own: leave
		 * those to refuses_and_limits(). Where F3 follows 66 it forgets
		 * the 66.
		 */
		if (has_prefix(b, 0xf3, n) && has_prefix(b, 0x66, n))
			continue;
		for (size_t j = 0; j < n; j++)
			if (((b[j] & 0xf0) == 0x40 && j + 1 != n) || has_prefix(b, b[j], j))
				goto skip;
		if (!decode_insn(&i, b, 15, DECODE_64)) {
			compare(b, n, DECODE_64);
			whole++;
		}
skip:;
	}
	assert_true(whole > 10000);
}

static int try(const char *text, int mode, struct decode_insn *i)
{
	u8 b[20];
	size_t n = 0;

	for (unsigned int v; sscanf(text + 3 * n, "%2x", &v) == 1; n++) {
		b[n] = (u8)v;
		if (strlen(text) <= 3 * n + 2) {
			n++;
			break;
		}
	}
	return decode_insn(i, b, n, mode);
}

static void refuses_and_limits(void **state)
{
	static const char *const bad[] = {
		"89 c0", /* no memory operand */
		"8e 00", "8c 00", /* segment registers */
		"f6 08 01", /* /1 */
		"66 0f c3 00", "f3 0f c3 00",
		"66 63 00",
		"c6 08 01", "fe 10", "ff 10", "0f ba 18 01",
		"0f b0 00", "0f c0 00", "0f 10 00", "0f 6f 00", "0f c7 08",
		"f0 88 00", "f0 3a 00", "f0 38 00", "f0 84 00", "f0 03 00", "f0 a4", "f0 0f a3 00",
		"f0 0f b6 00", "f0 a2 00 00 00 00 00 00 00 00",
		"ff 30", "8f 00", "d0 00", "c4 e2 79 18 00", "62 f1 7c 48 10 00", "a6", "ae",
		"66 66 66 66 66 66 66 66 66 66 66 66 66 66 89 00", /* 16 bytes */
	};
	struct decode_insn i;

	(void)state;
	for (size_t k = 0; k < ARRAY_SIZE(bad); k++)
		if (try(bad[k], DECODE_64, &i) != -EOPNOTSUPP)
			fail_msg("accepted: %s", bad[k]);
	/* 15 bytes are allowed, and repeated prefixes change nothing. */
	assert_int_equal(try("66 66 66 66 66 66 66 66 66 66 66 66 66 89 08", DECODE_64, &i), 0);
	assert_int_equal(i.length, 15);
	assert_int_equal(i.mem_bytes, 2);
	/* A REX before another prefix is void. */
	assert_int_equal(try("48 66 89 08", DECODE_64, &i), 0);
	assert_int_equal(i.mem_bytes, 2);
	assert_int_equal(try("4c 48 89 08", DECODE_64, &i), 0);
	assert_int_equal(i.mem_bytes, 8);
	assert_int_equal(i.reg, 1);
	/* A later segment override wins; the old four are void in 64-bit code. */
	assert_int_equal(try("64 65 2e a4", DECODE_64, &i), 0);
	assert_int_equal(i.seg, DECODE_GS);
	assert_int_equal(try("64 65 2e a4", DECODE_32, &i), 0);
	assert_int_equal(i.seg, DECODE_CS);
	assert_int_equal(try("", DECODE_32, &i), -ENODATA);
}

/* ---------------------------------------------------------------- carrying out */

/* What the processor is given and gives back; the asm below knows the layout. */
struct native {
	u64 gpr[16]; /* [4], RSP, is neither loaded nor stored */
	u64 rflags;
};

struct native native_state;
u64 native_rsp, native_code;
void native_run(void);

asm(".text\n"
    ".globl native_run\n"
    "native_run:\n"
    "push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
    "pushq native_state+128(%rip); popfq\n"
    "mov native_state+0(%rip), %rax; mov native_state+8(%rip), %rcx\n"
    "mov native_state+16(%rip), %rdx; mov native_state+24(%rip), %rbx\n"
    "mov native_state+40(%rip), %rbp; mov native_state+48(%rip), %rsi\n"
    "mov native_state+56(%rip), %rdi; mov native_state+64(%rip), %r8\n"
    "mov native_state+72(%rip), %r9; mov native_state+80(%rip), %r10\n"
    "mov native_state+88(%rip), %r11; mov native_state+96(%rip), %r12\n"
    "mov native_state+104(%rip), %r13; mov native_state+112(%rip), %r14\n"
    "mov native_state+120(%rip), %r15\n"
    "call *native_code(%rip)\n"
    "mov %rax, native_state+0(%rip); mov %rcx, native_state+8(%rip)\n"
    "mov %rdx, native_state+16(%rip); mov %rbx, native_state+24(%rip)\n"
    "mov %rbp, native_state+40(%rip); mov %rsi, native_state+48(%rip)\n"
    "mov %rdi, native_state+56(%rip); mov %r8, native_state+64(%rip)\n"
    "mov %r9, native_state+72(%rip); mov %r10, native_state+80(%rip)\n"
    "mov %r11, native_state+88(%rip); mov %r12, native_state+96(%rip)\n"
    "mov %r13, native_state+104(%rip); mov %r14, native_state+112(%rip)\n"
    "mov %r15, native_state+120(%rip)\n"
    "pushfq; popq native_state+128(%rip)\n"
    "cld\n"
    "pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
    "ret\n");

/* Below 4 GiB, so that 32-bit addresses reach them. */
static u8 *code_page;
static u8 *mem_a; /* the device's page, for the processor */
static u8 *mem_b; /* the other operand of MOVS */
static u8 dev[PAGE_BYTES], other[PAGE_BYTES]; /* the same, for the decoder */
static u32 reads, writes;

static int dev_read(void *ctx, u64 gpa, u32 bytes, u64 *v)
{
	(void)ctx;
	*v = 0xa5a5a5a5a5a5a5a5ull; /* upper bytes mean nothing */
	memcpy(v, dev + (gpa - (uintptr_t)mem_a), bytes);
	reads++;
	return 0;
}

static int dev_write(void *ctx, u64 gpa, u32 bytes, u64 v)
{
	(void)ctx;
	memcpy(dev + (gpa - (uintptr_t)mem_a), &v, bytes);
	writes++;
	return 0;
}

static int other_read(void *ctx, enum decode_seg seg, u64 off, u32 bytes, u64 *v)
{
	(void)ctx;
	assert_int_equal(seg, DECODE_DS);
	memcpy(v, other + (off - (uintptr_t)mem_b), bytes);
	return 0;
}

static int other_write(void *ctx, enum decode_seg seg, u64 off, u32 bytes, u64 v)
{
	(void)ctx;
	assert_int_equal(seg, DECODE_ES);
	memcpy(other + (off - (uintptr_t)mem_b), &v, bytes);
	return 0;
}

static const struct decode_ops fake_ops = {
	.mmio_read = dev_read,
	.mmio_write = dev_write,
	.mem_read = other_read,
	.mem_write = other_write,
};

static void *low_page(int prot)
{
	void *p = mmap(NULL, PAGE_BYTES, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);

	assert_ptr_not_equal(p, MAP_FAILED);
	return p;
}

/* Values that make carries, borrows, zeros and sign changes likely. */
static u64 operand(void)
{
	static const u64 edge[] = { 0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x7fffffff,
				    0x80000000, 0xffffffff, 0x7fffffffffffffffull,
				    0x8000000000000000ull, ~0ull };

	return rnd() % 3 ? rnd() : edge[rnd() % ARRAY_SIZE(edge)] + rnd() % 3 - 1;
}

static u64 undefined_flags(u8 op)
{
	switch (op) {
	case DECODE_AND: case DECODE_OR: case DECODE_XOR: case DECODE_TEST:
		return 0x10; /* AF */
	case DECODE_BT: case DECODE_BTS: case DECODE_BTR: case DECODE_BTC:
		return 0x894; /* OF SF AF PF; ZF stays [APM 3 "BT"] */
	}
	return 0;
}

#define FLAGS 0xcd5ull /* OF DF SF ZF AF PF CF */

/* Run @n bytes both ways; the memory operand is at @at in the device's page. */
static void both_ways(const u8 *b, size_t n, struct native *in, u32 at, bool write)
{
	struct decode_insn i;
	struct decode_cpu cpu = { .rip = 0x1000, .gpa = (uintptr_t)mem_a + at, .write = write };
	enum decode_seg seg;
	u64 care;

	memcpy(code_page, b, n);
	code_page[n] = 0xc3;
	memcpy(dev, mem_a, PAGE_BYTES);
	memcpy(other, mem_b, PAGE_BYTES);
	in->rflags = 0x202 | (in->rflags & FLAGS);
	memcpy(cpu.gpr, in->gpr, sizeof(cpu.gpr));
	cpu.rflags = in->rflags | 0x10000;

	if (decode_insn(&i, b, n, DECODE_64))
		fail_msg("refused: %s", hex(b, n));
	if (decode_offset(&i, &cpu, &seg) != cpu.gpa && i.ea_base != DECODE_RIP)
		fail_msg("%s: address %lx, not %lx", hex(b, n), decode_offset(&i, &cpu, &seg),
			 cpu.gpa);
	assert_int_equal(i.length, n);
	assert_int_equal(decode_execute(&i, &cpu, &fake_ops), 0);

	native_state = *in;
	native_run();
	cpu.gpr[4] = native_state.gpr[4] = 0;
	care = FLAGS & ~undefined_flags(i.op);
	if (memcmp(cpu.gpr, native_state.gpr, sizeof(cpu.gpr)) || memcmp(dev, mem_a, PAGE_BYTES) ||
	    memcmp(other, mem_b, PAGE_BYTES) ||
	    ((cpu.rflags ^ native_state.rflags) & care) ||
	    cpu.rip != 0x1000 + n || cpu.rflags & 0x10000) {
		for (int k = 0; k < 16; k++)
			print_message("gpr %d in %lx native %lx ours %lx\n", k, in->gpr[k],
				      native_state.gpr[k], cpu.gpr[k]);
		fail_msg("%s %s: flags %lx native, %lx ours", decode_op_name(i.op), hex(b, n),
			 native_state.rflags, cpu.rflags);
	}
}

static void random_state(struct native *in)
{
	for (int k = 0; k < 16; k++)
		in->gpr[k] = operand();
	in->rflags = rnd() & FLAGS & ~0x400ull;
}

/* All opcodes with a ModRM, [rdi] as memory, every register, every size. */
static void executes_as_the_processor(void **state)
{
	static const struct prefixes sets[] = {
		{ 0, { 0 }, false }, { 1, { 0x66 }, false }, { 1, { 0x48 }, false },
		{ 1, { 0x44 }, false }, { 1, { 0x40 }, false }, { 1, { 0x4c }, false },
		{ 2, { 0x66, 0x44 }, false }, { 1, { 0xf0 }, false }, { 2, { 0xf0, 0x48 }, false },
	};
	u64 ran[DECODE_OPS] = { 0 };
	u8 b[15];

	(void)state;
	for (size_t p = 0; p < ARRAY_SIZE(sets); p++)
	for (int op = 0; op < 512; op++)
	for (int reg = 0; reg < 8; reg++) {
		bool two = op >= 256;
		size_t n;
		struct decode_insn i;

		if ((!two && is_prefix((u8)op, DECODE_64)) || op == 0x0f)
			continue;
		n = put_opcode(b, &sets[p], two, (u8)op);
		b[n] = (u8)(reg << 3 | 7); /* [rdi] */
		if (decode_insn(&i, b, 15, DECODE_64) || i.length <= n)
			continue;
		if (i.other == DECODE_REG && i.reg == 4)
			continue; /* RSP is ours */
		if ((op >= 0xa0 && op < 0xb0))
			continue; /* below */
		for (int k = 0; k < 24; k++) {
			struct native in;
			u64 v[2] = { operand(), operand() };
			u32 at = 512;

			random_state(&in);
			if (i.other == DECODE_IMM)
				for (size_t j = n + 1; j < i.length; j++)
					b[j] = (u8)operand();
			in.gpr[7] = (uintptr_t)mem_a + at;
			if (i.op >= DECODE_BT && i.op <= DECODE_BTC && i.other == DECODE_REG) {
				s64 bit = (s64)(rnd() % 4000) - 2000;
				s64 unit = 8 * i.mem_bytes;

				if (i.reg == 7) /* an address and an offset at once */
					continue;
				in.gpr[i.reg] = (u64)bit;
				bit -= bit < 0 ? unit - 1 : 0; /* divide towards -infinity */
				at += (u32)(i.mem_bytes * (bit / unit));
			}
			memcpy(mem_a + at, v, sizeof(v));
			both_ways(b, i.length, &in, at, i.mem_write);
			ran[i.op]++;
		}
	}
	for (int o = 0; o < DECODE_MOVS; o++)
		if (ran[o] < 100)
			fail_msg("%s ran only %lu times", decode_op_name(o), ran[o]);
}

static void executes_moffs(void **state)
{
	static const u8 pre[] = { 0, 0x66, 0x48, 0x67 };

	(void)state;
	for (size_t p = 0; p < sizeof(pre); p++)
	for (u8 op = 0xa0; op < 0xa4; op++) {
		u8 b[15];
		size_t n = 0;
		u64 a = (uintptr_t)mem_a + 64;
		struct native in;

		if (pre[p])
			b[n++] = pre[p];
		b[n++] = op;
		memcpy(b + n, &a, 8);
		n += pre[p] == 0x67 ? 4 : 8;
		random_state(&in);
		memcpy(mem_a + 64, &(u64){ operand() }, 8);
		both_ways(b, n, &in, 64, op & 2);
	}
}

/* MOVS both ways, STOS, LODS; with and without REP, both directions. */
static void executes_strings(void **state)
{
	static const u8 ops[] = { 0xa4, 0xa5, 0xaa, 0xab, 0xac, 0xad };
	static const struct prefixes sets[] = {
		{ 0, { 0 }, false }, { 1, { 0x66 }, false }, { 1, { 0x48 }, false },
		{ 1, { 0xf3 }, false }, { 2, { 0xf3, 0x66 }, false }, { 2, { 0xf3, 0x48 }, false },
		{ 2, { 0xf3, 0x67 }, false }, { 1, { 0x67 }, false }, { 1, { 0xf2 }, false },
	};

	(void)state;
	for (size_t p = 0; p < ARRAY_SIZE(sets); p++)
	for (size_t o = 0; o < sizeof(ops); o++)
	for (int k = 0; k < 40; k++) {
		u8 b[15];
		size_t n = sets[p].n;
		struct native in;
		bool to_dev = ops[o] == 0xaa || ops[o] == 0xab || (ops[o] < 0xa6 && k & 1);

		memcpy(b, sets[p].b, n);
		b[n++] = ops[o];
		random_state(&in);
		if (k & 2)
			in.rflags |= 0x400;
		in.gpr[1] = rnd() % 100;
		if (sets[p].n == 2 && sets[p].b[1] == 0x67)
			in.gpr[1] |= 0x500000000ull; /* ECX counts alone */
		in.gpr[6] = (uintptr_t)(to_dev ? mem_b : mem_a) + 1024;
		in.gpr[7] = (uintptr_t)(to_dev ? mem_a : mem_b) + 1024;
		if (ops[o] >= 0xac)
			in.gpr[6] = (uintptr_t)mem_a + 1024;
		for (u32 j = 0; j < PAGE_BYTES; j++) {
			mem_a[j] = (u8)rnd();
			mem_b[j] = (u8)rnd();
		}
		both_ways(b, n, &in, 1024, to_dev);
	}
}

static void rep_stops_and_resumes(void **state)
{
	static const u8 rep_stosb[] = { 0xf3, 0xaa };
	struct decode_insn i;
	struct decode_cpu cpu = { .rip = 0x40, .rflags = 2 | 0x10000, .write = true };

	(void)state;
	assert_int_equal(decode_insn(&i, rep_stosb, 2, DECODE_64), 0);
	cpu.gpr[1] = DECODE_REP_MAX + 10;
	cpu.gpr[7] = cpu.gpa = (uintptr_t)mem_a;
	writes = 0;
	assert_int_equal(decode_execute(&i, &cpu, &fake_ops), 0);
	assert_int_equal(writes, DECODE_REP_MAX);
	assert_int_equal(cpu.gpr[1], 10);
	assert_int_equal(cpu.gpr[7], (uintptr_t)mem_a + DECODE_REP_MAX);
	assert_int_equal(cpu.rip, 0x40);
	cpu.gpa += DECODE_REP_MAX;
	assert_int_equal(decode_execute(&i, &cpu, &fake_ops), 0);
	assert_int_equal(cpu.gpr[1], 0);
	assert_int_equal(cpu.rip, 0x42);

	/* Never beyond the page. */
	cpu.gpr[1] = 10;
	cpu.gpr[7] = cpu.gpa = (uintptr_t)mem_a + PAGE_BYTES - 4;
	writes = 0;
	assert_int_equal(decode_execute(&i, &cpu, &fake_ops), 0);
	assert_int_equal(writes, 4);
	assert_int_equal(cpu.gpr[1], 6);
	assert_int_equal(cpu.rip, 0x42);
	/* Nor below it. */
	cpu.rflags |= 0x400;
	cpu.gpr[7] = cpu.gpa = (uintptr_t)mem_a + 2;
	cpu.gpr[1] = 10;
	writes = 0;
	assert_int_equal(decode_execute(&i, &cpu, &fake_ops), 0);
	assert_int_equal(writes, 3);
	assert_int_equal(cpu.gpr[1], 7);
}

static int broken(void *ctx, enum decode_seg seg, u64 off, u32 bytes, u64 *v)
{
	u32 *left = ctx;

	(void)seg, (void)off, (void)bytes;
	*v = 7;
	return (*left)-- ? 0 : -EFAULT;
}

static void faults_keep_what_is_done(void **state)
{
	static const u8 rep_movsd[] = { 0xf3, 0xa5 }, add[] = { 0x01, 0x08 };
	struct decode_ops ops = fake_ops;
	struct decode_insn i;
	u32 left = 3;
	struct decode_cpu cpu = { .rip = 0x40, .write = true, .ctx = &left };

	(void)state;
	ops.mem_read = broken;
	assert_int_equal(decode_insn(&i, rep_movsd, 2, DECODE_32), 0);
	cpu.gpr[1] = 5;
	cpu.gpr[6] = 0x5000;
	cpu.gpr[7] = cpu.gpa = (uintptr_t)mem_a;
	assert_int_equal(decode_execute(&i, &cpu, &ops), -EFAULT);
	assert_int_equal(cpu.gpr[1], 2);
	assert_int_equal(cpu.gpr[6], 0x500c);
	assert_int_equal(cpu.rip, 0x40);
	/* An operand across two pages is nobody's register. */
	assert_int_equal(decode_insn(&i, add, 2, DECODE_32), 0);
	cpu.gpa = (uintptr_t)mem_a + PAGE_BYTES - 2;
	writes = 0;
	assert_int_equal(decode_execute(&i, &cpu, &ops), -EOPNOTSUPP);
	assert_int_equal(writes, 0);
}

static void small_modes_wrap(void **state)
{
	static const u8 lods16[] = { 0xac }, mov[] = { 0x88, 0x07 };
	struct decode_insn i;
	struct decode_cpu cpu = { .rip = 0xffff, .gpa = (uintptr_t)mem_a };

	(void)state;
	assert_int_equal(decode_insn(&i, lods16, 1, DECODE_16), 0);
	cpu.gpr[6] = 0x1234ffff;
	mem_a[0] = dev[0] = 0x5a;
	cpu.gpr[0] = 0x1122334455667788;
	assert_int_equal(decode_execute(&i, &cpu, &fake_ops), 0);
	assert_int_equal(cpu.gpr[6], 0x12340000);
	assert_int_equal(cpu.gpr[0], 0x112233445566775a);
	assert_int_equal(cpu.rip, 0);
	assert_int_equal(decode_insn(&i, mov, 2, DECODE_32), 0);
	cpu.rip = 0xffffffff;
	assert_int_equal(decode_execute(&i, &cpu, &fake_ops), 0);
	assert_int_equal(cpu.rip, 1);
}

static int setup(void **state)
{
	static const cs_mode modes[3] = { CS_MODE_16, CS_MODE_32, CS_MODE_64 };

	(void)state;
	for (int m = 0; m < 3; m++) {
		if (cs_open(CS_ARCH_X86, modes[m], &handles[m]))
			return -1;
		cs_option(handles[m], CS_OPT_DETAIL, CS_OPT_ON);
	}
	code_page = low_page(PROT_READ | PROT_WRITE | PROT_EXEC);
	mem_a = low_page(PROT_READ | PROT_WRITE);
	mem_b = low_page(PROT_READ | PROT_WRITE);
	native_code = (uintptr_t)code_page;
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_as_capstone),
		cmocka_unit_test(reads_every_sib),
		cmocka_unit_test(reads_random_prefixes),
		cmocka_unit_test(refuses_and_limits),
		cmocka_unit_test(executes_as_the_processor),
		cmocka_unit_test(executes_moffs),
		cmocka_unit_test(executes_strings),
		cmocka_unit_test(rep_stops_and_resumes),
		cmocka_unit_test(faults_keep_what_is_done),
		cmocka_unit_test(small_modes_wrap),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
