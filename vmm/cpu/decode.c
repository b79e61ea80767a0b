/*
 * decode.c - reading and carrying out the instructions that touch hooked MMIO
 *
 * Reading goes in the order of the bytes: prefixes, opcode (which settles the
 * operation and the shape of the rest), ModRM, SIB, displacement, immediate.
 * Where the effective address led has been reported by the nested fault; it is
 * computed only to see whether the operand begins there, or on the page before.
 * BT and its kin with a register bit offset may address beyond their operand;
 * there, too, the reported address is the element the processor chose, so only
 * the offset within it is left to apply.
 *
 * Whatever the processor would refuse with #UD is refused here as well: the
 * bytes are the guest's and may change between its fault and our fetch.
 *
 * [APM 3 §1 "Instruction Encoding", §3 general-purpose reference, §A opcode maps]
 */
#include "vmm/cpu/decode.h"

#include "base/err.h"
#include "base/field.h"

#define REX_W 0x08
#define REX_R 0x04
#define REX_X 0x02
#define REX_B 0x01
#define MODRM_MOD 0xc0u
#define MODRM_REG 0x38u
#define MODRM_RM 0x07u
#define SIB_SCALE 0xc0u
#define SIB_INDEX 0x38u
#define SIB_BASE 0x07u

#define REG_RCX 1
#define REG_RBX 3
#define REG_RSP 4
#define REG_RBP 5
#define REG_RSI 6
#define REG_RDI 7

#define RFLAGS_CF BIT64(0)
#define RFLAGS_PF BIT64(2)
#define RFLAGS_AF BIT64(4)
#define RFLAGS_ZF BIT64(6)
#define RFLAGS_SF BIT64(7)
#define RFLAGS_DF BIT64(10)
#define RFLAGS_OF BIT64(11)
#define RFLAGS_RF BIT64(16)
#define RFLAGS_ARITH (RFLAGS_CF | RFLAGS_PF | RFLAGS_AF | RFLAGS_ZF | RFLAGS_SF | RFLAGS_OF)

/* ---------------------------------------------------------------- reading */

enum imm_kind {
	IMM_NONE,
	IMM_8, /* sign-extended to the operand size */
	IMM_Z, /* operand size, but 4 bytes for 8 */
	IMM_TEST, /* F6, F7: as IMM_Z with TEST only */
};

struct reader {
	const u8 *bytes;
	u8 n, pos;
	bool dry; /* read past the end */
	u8 rex; /* 0: none */
	bool opsize, repe, repne, lock;
	u8 seg_override; /* enum decode_seg + 1 */
};

/* What an opcode says about the bytes behind it and about its operands. */
struct shape {
	bool modrm;
	bool group; /* ModRM.reg is part of the opcode */
	bool moffs;
	bool byte; /* memory operand of one byte */
	enum imm_kind imm;
};

static u8 next(struct reader *r)
{
	if (r->pos >= r->n) {
		r->dry = true;
		return 0;
	}
	return r->bytes[r->pos++];
}

static u64 next_le(struct reader *r, u32 bytes)
{
	u64 v = 0;

	for (u32 i = 0; i < bytes; i++)
		v |= (u64)next(r) << (8 * i);
	return v;
}

static u64 size_mask(u32 bytes)
{
	return ~0ull >> (64 - 8 * bytes);
}

static u64 sign_extend(u64 v, u32 from, u32 to)
{
	u32 shift = 64 - 8 * from;

	return (u64)((s64)(v << shift) >> shift) & size_mask(to);
}

/* Prefixes up to the opcode, which is returned. A REX counts only right before it. */
static u8 read_prefixes(struct reader *r, struct decode_insn *i)
{
	bool addrsize = false;
	u8 b;

	for (;;) {
		b = next(r);
		if (i->mode == DECODE_64 && (b & 0xf0) == 0x40) {
			r->rex = b;
			continue;
		}
		if (b == 0x66)
			r->opsize = true;
		else if (b == 0x67)
			addrsize = true;
		else if (b == 0xf0)
			r->lock = true;
		else if (b == 0xf2)
			r->repne = true;
		else if (b == 0xf3)
			r->repe = true;
		else if (b == 0x64 || b == 0x65)
			r->seg_override = (u8)(DECODE_FS + (b - 0x64) + 1);
		else if ((b & 0xe7) == 0x26) {
			/* ES, CS, SS, DS: without meaning in 64-bit code */
			if (i->mode != DECODE_64)
				r->seg_override = (u8)((b >> 3 & 3) + 1);
		} else
			break;
		r->rex = 0;
	}
	if (i->mode == DECODE_64)
		i->addr_bytes = addrsize ? 4 : 8;
	else
		i->addr_bytes = (i->mode == DECODE_32) != addrsize ? 4 : 2;
	return b;
}

static u8 operand_bytes(const struct reader *r, enum decode_mode mode)
{
	if (r->rex & REX_W)
		return 8;
	return (mode == DECODE_16) == r->opsize ? 4 : 2;
}

/* 0F xx */
static int shape_two_byte(const struct reader *r, struct decode_insn *i, struct shape *s, u8 op)
{
	s->modrm = true;
	i->other = DECODE_REG;
	switch (op) {
	case 0xa3: case 0xab: case 0xb3: case 0xbb: /* BTx Ev,Gv */
		i->op = (u8)(DECODE_BT + (op >> 3 & 3));
		i->mem_dest = true;
		return 0;
	case 0xba: /* BTx Ev,Ib */
		s->group = true;
		s->imm = IMM_8;
		i->other = DECODE_IMM;
		i->mem_dest = true;
		return 0;
	case 0xb6: case 0xb7: /* MOVZX Gv,Eb/Ew */
	case 0xbe: case 0xbf:
		i->op = op & 8 ? DECODE_MOVSX : DECODE_MOVZX;
		i->mem_bytes = op & 1 ? 2 : 1;
		return 0;
	case 0xc3: /* MOVNTI: its prefixes would make other instructions of it */
		if (r->opsize || r->repe || r->repne)
			return -EOPNOTSUPP;
		i->op = DECODE_MOV;
		i->mem_bytes = i->reg_bytes = r->rex & REX_W ? 8 : 4;
		i->mem_dest = true;
		return 0;
	}
	return -EOPNOTSUPP;
}

static int shape_one_byte(const struct reader *r, struct decode_insn *i, struct shape *s, u8 op)
{
	s->modrm = true;
	s->byte = !(op & 1);
	i->other = DECODE_REG;
	if (op < 0x40 && (op & 7) < 4) { /* ADD .. CMP: Eb,Gb Ev,Gv Gb,Eb Gv,Ev */
		i->op = op >> 3;
		i->mem_dest = !(op & 2);
		return 0;
	}
	switch (op) {
	case 0x63: /* MOVSXD; with 66 its size is in dispute; ARPL outside 64-bit code */
		if (i->mode != DECODE_64 || (r->opsize && !(r->rex & REX_W)))
			return -EOPNOTSUPP;
		i->op = DECODE_MOVSX;
		i->mem_bytes = 4;
		return 0;
	case 0x80: case 0x81: case 0x83:
		s->group = true;
		s->imm = op == 0x81 ? IMM_Z : IMM_8;
		i->other = DECODE_IMM;
		i->mem_dest = true;
		return 0;
	case 0x84: case 0x85:
	case 0x86: case 0x87:
		i->op = op & 2 ? DECODE_XCHG : DECODE_TEST;
		i->mem_dest = true;
		return 0;
	case 0x88: case 0x89: case 0x8a: case 0x8b:
		i->op = DECODE_MOV;
		i->mem_dest = !(op & 2);
		return 0;
	case 0xa0: case 0xa1: case 0xa2: case 0xa3:
		s->modrm = false;
		s->moffs = true;
		i->op = DECODE_MOV;
		i->mem_dest = op & 2;
		return 0;
	case 0xa4: case 0xa5: case 0xaa: case 0xab: case 0xac: case 0xad:
		s->modrm = false;
		i->op = op < 0xa6 ? DECODE_MOVS : op < 0xac ? DECODE_STOS : DECODE_LODS;
		i->other = i->op == DECODE_MOVS ? DECODE_NONE : DECODE_REG;
		i->mem_dest = i->op != DECODE_LODS;
		i->rep = r->repe || r->repne; /* F2 repeats these just so */
		return 0;
	case 0xc6: case 0xc7:
		s->group = true;
		s->imm = IMM_Z;
		i->other = DECODE_IMM;
		i->mem_dest = true;
		return 0;
	case 0xf6: case 0xf7:
		s->group = true;
		s->imm = IMM_TEST;
		i->mem_dest = true;
		return 0;
	case 0xfe: case 0xff:
		s->group = true;
		i->other = DECODE_NONE;
		i->mem_dest = true;
		return 0;
	}
	return -EOPNOTSUPP;
}

/* Opcodes that ModRM.reg completes. */
static int group_op(struct decode_insn *i, struct shape *s, u8 op, u32 reg)
{
	switch (op) {
	case 0x80: case 0x81: case 0x83:
		i->op = (u8)reg;
		return 0;
	case 0xba: /* behind 0F */
		i->op = (u8)(DECODE_BT + reg - 4);
		return reg >= 4 ? 0 : -EOPNOTSUPP;
	case 0xc6: case 0xc7:
		i->op = DECODE_MOV;
		return reg ? -EOPNOTSUPP : 0;
	case 0xf6: case 0xf7: /* /1 is TEST as well, but no manual says so */
		i->op = reg == 0 ? DECODE_TEST : reg == 2 ? DECODE_NOT : DECODE_NEG;
		i->other = reg == 0 ? DECODE_IMM : DECODE_NONE;
		s->imm = reg == 0 ? IMM_Z : IMM_NONE;
		return reg == 0 || reg == 2 || reg == 3 ? 0 : -EOPNOTSUPP;
	case 0xfe: case 0xff:
		i->op = reg ? DECODE_DEC : DECODE_INC;
		return reg < 2 ? 0 : -EOPNOTSUPP;
	}
	return -EOPNOTSUPP;
}

static u64 next_disp(struct reader *r, u32 bytes)
{
	return sign_extend(next_le(r, bytes), bytes, 8);
}

/* Base and index of 16-bit addressing, by ModRM.rm; 6 is BP but with mod 0. */
static void read_address_16(struct reader *r, struct decode_insn *i, u32 mod, u32 rm)
{
	static const u8 base[8] = { REG_RBX, REG_RBX, REG_RBP, REG_RBP, REG_RSI, REG_RDI, REG_RBP,
				    REG_RBX };

	i->ea_base = base[rm];
	if (rm < 4)
		i->ea_index = rm & 1 ? REG_RDI : REG_RSI;
	if (mod == 1) {
		i->ea_disp = next_disp(r, 1);
	} else if (mod == 2) {
		i->ea_disp = next_disp(r, 2);
	} else if (rm == 6) {
		i->ea_base = DECODE_NO_REG;
		i->ea_disp = next_disp(r, 2);
	}
}

/* SIB and displacement. [APM 3 §1.4, tables A-33 .. A-36] */
static void read_address(struct reader *r, struct decode_insn *i, u8 modrm)
{
	u32 mod = FIELD_GET(MODRM_MOD, modrm);
	u32 rm = FIELD_GET(MODRM_RM, modrm);
	bool sib = rm == 4;

	if (i->addr_bytes == 2) {
		read_address_16(r, i, mod, rm);
		return;
	}
	if (sib) {
		u8 b = next(r);
		u32 index = FIELD_GET(SIB_INDEX, b) | (r->rex & REX_X ? 8 : 0);

		rm = FIELD_GET(SIB_BASE, b);
		if (index != 4) {
			i->ea_index = (u8)index;
			i->ea_shift = (u8)FIELD_GET(SIB_SCALE, b);
		}
	}
	i->ea_base = (u8)(rm | (r->rex & REX_B ? 8 : 0));
	if (mod == 1) {
		i->ea_disp = next_disp(r, 1);
	} else if (mod == 2) {
		i->ea_disp = next_disp(r, 4);
	} else if (rm == 5) {
		i->ea_base = i->mode == DECODE_64 && !sib ? DECODE_RIP : DECODE_NO_REG;
		i->ea_disp = next_disp(r, 4);
	}
}

static void set_directions(struct decode_insn *i)
{
	switch (i->op) {
	case DECODE_CMP: case DECODE_TEST: case DECODE_BT:
	case DECODE_MOVZX: case DECODE_MOVSX: case DECODE_LODS:
		i->mem_read = true;
		break;
	case DECODE_MOV: case DECODE_STOS:
		i->mem_read = !i->mem_dest;
		i->mem_write = i->mem_dest;
		break;
	default: /* read-modify-write, or register op= memory; MOVS */
		i->mem_read = true;
		i->mem_write = i->mem_dest;
		break;
	}
}

static int end_of_bytes(const struct reader *r)
{
	return r->n < DECODE_BYTES_MAX ? -ENODATA : -EOPNOTSUPP;
}

/* ModRM and all behind it; prefixes and opcode have been read. */
static int read_tail(struct reader *r, struct decode_insn *i, struct shape *s, u8 op)
{
	int err;

	if (s->modrm) {
		u8 modrm = next(r);
		u8 reg = FIELD_GET(MODRM_REG, modrm);

		if (r->dry)
			return end_of_bytes(r);
		if (FIELD_GET(MODRM_MOD, modrm) == 3)
			return -EOPNOTSUPP; /* no memory operand */
		if (s->group) {
			err = group_op(i, s, op, reg);
			if (err)
				return err;
		}
		if (i->other == DECODE_REG) {
			i->reg = reg | (r->rex & REX_R ? 8 : 0);
			if (i->reg_bytes == 1 && !r->rex && reg >= 4) {
				i->reg = reg - 4;
				i->reg_high = true;
			}
		}
		read_address(r, i, modrm);
	} else if (s->moffs) {
		i->ea_disp = next_le(r, i->addr_bytes);
	}
	if (s->imm != IMM_NONE) {
		u32 bytes = s->imm == IMM_8 ? 1 : MIN(i->mem_bytes, 4);

		i->imm = sign_extend(next_le(r, bytes), bytes, i->reg_bytes);
	}
	return r->dry ? end_of_bytes(r) : 0;
}

int decode_insn(struct decode_insn *i, const u8 *bytes, size_t n, enum decode_mode mode)
{
	struct reader r = { .bytes = bytes, .n = (u8)MIN(n, (size_t)DECODE_BYTES_MAX) };
	struct shape s = { 0 };
	bool two;
	u8 op;
	int err;

	*i = (struct decode_insn){ .mode = (u8)mode, .ea_base = DECODE_NO_REG,
				   .ea_index = DECODE_NO_REG };
	op = read_prefixes(&r, i);
	two = op == 0x0f;
	if (two)
		op = next(&r);
	if (r.dry)
		return end_of_bytes(&r);
	err = two ? shape_two_byte(&r, i, &s, op) : shape_one_byte(&r, i, &s, op);
	if (err)
		return err;
	if (!i->reg_bytes)
		i->reg_bytes = s.byte ? 1 : operand_bytes(&r, mode);
	if (!i->mem_bytes)
		i->mem_bytes = i->reg_bytes;
	err = read_tail(&r, i, &s, op);
	if (err)
		return err;
	set_directions(i);
	i->seg = r.seg_override ? r.seg_override - 1 :
		 i->ea_base == REG_RSP || i->ea_base == REG_RBP ? DECODE_SS : DECODE_DS;
	i->lock = r.lock;
	if (i->lock && (!i->mem_read || !i->mem_write || i->op == DECODE_MOVS))
		return -EOPNOTSUPP;
	i->length = r.pos;
	return 0;
}

/* ---------------------------------------------------------------- carrying out */

static u64 reg_get(const struct decode_cpu *cpu, u32 reg, bool high, u32 bytes)
{
	return cpu->gpr[reg] >> (high ? 8 : 0) & size_mask(bytes);
}

/* 4 bytes clear the upper half, 1 and 2 leave the rest alone. */
static void reg_set(struct decode_cpu *cpu, u32 reg, bool high, u32 bytes, u64 v)
{
	u64 mask = (bytes == 4 ? ~0ull : size_mask(bytes)) << (high ? 8 : 0);

	v = (v & size_mask(bytes)) << (high ? 8 : 0);
	cpu->gpr[reg] = (cpu->gpr[reg] & ~mask) | v;
}

static bool parity_even(u64 v)
{
	v ^= v >> 4;
	return !(0x6996 >> (v & 15) & 1);
}

/* SF, ZF, PF of @v */
static u64 flags_of_result(u64 v, u32 bytes)
{
	return (v >> (8 * bytes - 1) & 1 ? RFLAGS_SF : 0) | (v ? 0 : RFLAGS_ZF) |
	       (parity_even(v & 0xff) ? RFLAGS_PF : 0);
}

static u64 add(u64 a, u64 b, u64 carry, u32 bytes, u64 *flags)
{
	u64 r = (a + b + carry) & size_mask(bytes);
	u32 msb = 8 * bytes - 1;

	*flags = flags_of_result(r, bytes);
	*flags |= ((a & b) | ((a | b) & ~r)) >> msb & 1 ? RFLAGS_CF : 0;
	*flags |= ((a ^ r) & (b ^ r)) >> msb & 1 ? RFLAGS_OF : 0;
	*flags |= (a ^ b ^ r) & RFLAGS_AF;
	return r;
}

static u64 sub(u64 a, u64 b, u64 borrow, u32 bytes, u64 *flags)
{
	u64 r = (a - b - borrow) & size_mask(bytes);
	u32 msb = 8 * bytes - 1;

	*flags = flags_of_result(r, bytes);
	*flags |= ((~a & b) | ((~a | b) & r)) >> msb & 1 ? RFLAGS_CF : 0;
	*flags |= ((a ^ b) & (a ^ r)) >> msb & 1 ? RFLAGS_OF : 0;
	*flags |= (a ^ b ^ r) & RFLAGS_AF;
	return r;
}

/*
 * @a is the first operand. *flags in: the present RFLAGS, out: the new ones.
 * AF of the logical operations is undefined; processors clear it, so do we.
 * BT and its kin change CF alone.
 */
static u64 alu(enum decode_op op, u64 a, u64 b, u32 bytes, u64 *flags)
{
	u64 carry = *flags & RFLAGS_CF;
	u64 bit = 1ull << (b & (8 * bytes - 1));
	u64 keep = ~RFLAGS_ARITH;
	u64 r, f = 0;

	switch (op) {
	case DECODE_ADD:
		r = add(a, b, 0, bytes, &f);
		break;
	case DECODE_ADC:
		r = add(a, b, carry, bytes, &f);
		break;
	case DECODE_SUB: case DECODE_CMP:
		r = sub(a, b, 0, bytes, &f);
		break;
	case DECODE_SBB:
		r = sub(a, b, carry, bytes, &f);
		break;
	case DECODE_NEG:
		r = sub(0, a, 0, bytes, &f);
		break;
	case DECODE_INC:
		r = add(a, 1, 0, bytes, &f);
		keep |= RFLAGS_CF;
		break;
	case DECODE_DEC:
		r = sub(a, 1, 0, bytes, &f);
		keep |= RFLAGS_CF;
		break;
	case DECODE_AND: case DECODE_TEST:
		r = a & b;
		f = flags_of_result(r, bytes);
		break;
	case DECODE_OR:
		r = a | b;
		f = flags_of_result(r, bytes);
		break;
	case DECODE_XOR:
		r = a ^ b;
		f = flags_of_result(r, bytes);
		break;
	case DECODE_NOT:
		return ~a & size_mask(bytes);
	default: /* BT BTS BTR BTC */
		r = op == DECODE_BTS ? a | bit : op == DECODE_BTR ? a & ~bit :
		    op == DECODE_BTC ? a ^ bit : a;
		f = a & bit ? RFLAGS_CF : 0;
		keep |= RFLAGS_ARITH & ~RFLAGS_CF;
		break;
	}
	*flags = (*flags & keep) | (f & ~keep);
	return r;
}

/* The operand of a string instruction that faulted is its destination. */
static bool dst_faulted(const struct decode_insn *i, const struct decode_cpu *cpu)
{
	return i->op == DECODE_STOS || (i->op == DECODE_MOVS && cpu->write);
}

u64 decode_offset(const struct decode_insn *i, const struct decode_cpu *cpu, enum decode_seg *seg)
{
	u64 at = i->ea_disp;

	*seg = i->seg;
	if (i->op == DECODE_MOVS || i->op == DECODE_STOS || i->op == DECODE_LODS) {
		if (!dst_faulted(i, cpu))
			return reg_get(cpu, REG_RSI, false, i->addr_bytes);
		*seg = DECODE_ES;
		return reg_get(cpu, REG_RDI, false, i->addr_bytes);
	}
	if (i->ea_base == DECODE_RIP)
		at += cpu->rip + i->length;
	else if (i->ea_base != DECODE_NO_REG)
		at += cpu->gpr[i->ea_base];
	if (i->ea_index != DECODE_NO_REG)
		at += cpu->gpr[i->ea_index] << i->ea_shift;
	if (i->op >= DECODE_BT && i->op <= DECODE_BTC && i->other == DECODE_REG) {
		u64 bit = sign_extend(reg_get(cpu, i->reg, false, i->reg_bytes), i->reg_bytes, 8);

		at += (u64)((s64)bit >> 3) & ~(u64)(i->mem_bytes - 1u);
	}
	return at & size_mask(i->addr_bytes);
}

static void finish(const struct decode_insn *i, struct decode_cpu *cpu)
{
	u64 mask = i->mode == DECODE_64 ? ~0ull : i->mode == DECODE_32 ? 0xffffffff : 0xffff;

	cpu->rip = (cpu->rip + i->length) & mask;
	cpu->rflags &= ~RFLAGS_RF;
}

/* One iteration of MOVS, STOS, LODS with the faulting operand at @gpa. */
static int string_step(const struct decode_insn *i, struct decode_cpu *cpu,
		       const struct decode_ops *ops, u64 gpa)
{
	u64 src = reg_get(cpu, REG_RSI, false, i->addr_bytes);
	u64 dst = reg_get(cpu, REG_RDI, false, i->addr_bytes);
	u64 step = cpu->rflags & RFLAGS_DF ? 0 - (u64)i->mem_bytes : i->mem_bytes;
	bool to_fault = dst_faulted(i, cpu);
	u64 v = reg_get(cpu, 0, false, i->mem_bytes);
	int err = 0;

	if (i->mem_read) {
		err = to_fault ? ops->mem_read(cpu->ctx, i->seg, src, i->mem_bytes, &v) :
				    ops->mmio_read(cpu->ctx, gpa, i->mem_bytes, &v);
		if (err)
			return err;
		v &= size_mask(i->mem_bytes);
	}
	if (i->mem_write) {
		err = to_fault ? ops->mmio_write(cpu->ctx, gpa, i->mem_bytes, v) :
				    ops->mem_write(cpu->ctx, DECODE_ES, dst, i->mem_bytes, v);
		if (err)
			return err;
		reg_set(cpu, REG_RDI, false, i->addr_bytes, dst + step);
	}
	if (i->mem_read)
		reg_set(cpu, REG_RSI, false, i->addr_bytes, src + step);
	if (i->op == DECODE_LODS)
		reg_set(cpu, 0, false, i->mem_bytes, v);
	return 0;
}

static int execute_string(const struct decode_insn *i, struct decode_cpu *cpu,
			  const struct decode_ops *ops)
{
	u64 step = cpu->rflags & RFLAGS_DF ? 0 - (u64)i->mem_bytes : i->mem_bytes;
	u64 page = ALIGN_DOWN(cpu->gpa, PAGE_BYTES);
	u64 gpa = cpu->gpa;
	u64 left = i->rep ? reg_get(cpu, REG_RCX, false, i->addr_bytes) : 1;
	int err;

	for (u32 n = 0; left && n < DECODE_REP_MAX; n++) {
		/* The next page is another fault's business; so is an element across two. */
		if (gpa < page || gpa + i->mem_bytes > page + PAGE_BYTES)
			break;
		err = string_step(i, cpu, ops, gpa);
		if (err)
			return err;
		gpa += step;
		left--;
		if (i->rep)
			reg_set(cpu, REG_RCX, false, i->addr_bytes, left);
	}
	if (!left)
		finish(i, cpu);
	return 0;
}

/* Memory is the destination, or the first operand of CMP, TEST, BT. */
static int execute_on_memory(const struct decode_insn *i, struct decode_cpu *cpu,
			     const struct decode_ops *ops, u64 other)
{
	u64 flags = cpu->rflags;
	u64 old = 0, v = other;
	int err;

	if (i->mem_read) {
		err = ops->mmio_read(cpu->ctx, cpu->gpa, i->mem_bytes, &old);
		if (err)
			return err;
		old &= size_mask(i->mem_bytes);
		if (i->op != DECODE_XCHG)
			v = alu(i->op, old, other, i->mem_bytes, &flags);
	}
	if (i->mem_write) {
		err = ops->mmio_write(cpu->ctx, cpu->gpa, i->mem_bytes, v);
		if (err)
			return err;
	}
	if (i->op == DECODE_XCHG)
		reg_set(cpu, i->reg, i->reg_high, i->reg_bytes, old);
	cpu->rflags = flags;
	return 0;
}

/* A register is the destination, or the first operand of CMP. */
static int execute_on_register(const struct decode_insn *i, struct decode_cpu *cpu,
			       const struct decode_ops *ops, u64 other)
{
	u64 v = 0;
	int err;

	err = ops->mmio_read(cpu->ctx, cpu->gpa, i->mem_bytes, &v);
	if (err)
		return err;
	v &= size_mask(i->mem_bytes);
	switch (i->op) {
	case DECODE_MOV: case DECODE_MOVZX:
		break;
	case DECODE_MOVSX:
		v = sign_extend(v, i->mem_bytes, i->reg_bytes);
		break;
	default:
		v = alu(i->op, other, v, i->reg_bytes, &cpu->rflags);
		if (i->op == DECODE_CMP)
			return 0;
		break;
	}
	reg_set(cpu, i->reg, i->reg_high, i->reg_bytes, v);
	return 0;
}

int decode_execute(const struct decode_insn *i, struct decode_cpu *cpu,
		   const struct decode_ops *ops)
{
	u64 other;
	int err;

	if ((cpu->gpa & (PAGE_BYTES - 1)) + i->mem_bytes > PAGE_BYTES)
		return -EOPNOTSUPP;
	if (i->op == DECODE_MOVS || i->op == DECODE_STOS || i->op == DECODE_LODS)
		return execute_string(i, cpu, ops);
	other = i->other == DECODE_IMM ? i->imm : i->other == DECODE_REG ?
		reg_get(cpu, i->reg, i->reg_high, i->reg_bytes) : 0;
	err = i->mem_dest ? execute_on_memory(i, cpu, ops, other) :
			    execute_on_register(i, cpu, ops, other);
	if (!err)
		finish(i, cpu);
	return err;
}

const char *decode_op_name(enum decode_op op)
{
	static const char *const names[DECODE_OPS] = {
		"add", "or", "adc", "sbb", "and", "sub", "xor", "cmp",
		"bt", "bts", "btr", "btc", "mov", "movzx", "movsx", "test", "xchg",
		"not", "neg", "inc", "dec", "movs", "stos", "lods",
	};

	return (u32)op < DECODE_OPS ? names[op] : "?";
}
