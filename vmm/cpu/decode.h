/*
 * decode.h - the instructions a guest uses on hooked MMIO, read and carried out
 *
 * A nested fault says which guest-physical address was touched and whether by
 * a write, but neither the size nor the value, nor on every machine the bytes
 * of the instruction [APM 2 §15.25.6]. So the VMM fetches the instruction
 * itself, decode_insn() reads it, and decode_execute() does what it says, with
 * the device model in the place of memory.
 *
 * Understood, for every operand and address size, in 16-, 32- and 64-bit code:
 *   MOV (88-8B, A0-A3, C6, C7), MOVNTI, MOVZX, MOVSX, MOVSXD,
 *   ADD OR ADC SBB AND SUB XOR CMP TEST, NOT NEG INC DEC, XCHG,
 *   BT BTS BTR BTC, MOVS STOS LODS with REP; LOCK where it is allowed.
 * Everything else, including forms that do not touch memory and encodings that
 * raise #UD, is -EOPNOTSUPP: nothing is ever half understood.
 *
 * Both functions are pure but for the callbacks: no allocation, no globals.
 */
#ifndef VMM_CPU_DECODE_H
#define VMM_CPU_DECODE_H

#include "base/types.h"

#define DECODE_BYTES_MAX 15 /* [APM 3 §1.1] */
#define DECODE_REP_MAX 256 /* iterations of a REP per decode_execute() */

/* Default operand and address size: CS.L, CS.D; real and virtual-8086 mode are 16. */
enum decode_mode {
	DECODE_16,
	DECODE_32,
	DECODE_64,
};

enum decode_op {
	/* In the order of the opcode's three bits [APM 3 §A.1] */
	DECODE_ADD,
	DECODE_OR,
	DECODE_ADC,
	DECODE_SBB,
	DECODE_AND,
	DECODE_SUB,
	DECODE_XOR,
	DECODE_CMP,
	/* In the order of ModRM.reg of 0F BA, from 4 */
	DECODE_BT,
	DECODE_BTS,
	DECODE_BTR,
	DECODE_BTC,
	DECODE_MOV,
	DECODE_MOVZX,
	DECODE_MOVSX, /* and MOVSXD */
	DECODE_TEST,
	DECODE_XCHG,
	DECODE_NOT,
	DECODE_NEG,
	DECODE_INC,
	DECODE_DEC,
	DECODE_MOVS,
	DECODE_STOS,
	DECODE_LODS,
	DECODE_OPS, /* how many */
};

/* Where the operand that is not the memory operand comes from or goes to */
enum decode_other {
	DECODE_NONE, /* NOT NEG INC DEC, MOVS */
	DECODE_REG,
	DECODE_IMM,
};

/* Values are the hardware's segment numbers. */
enum decode_seg {
	DECODE_ES,
	DECODE_CS,
	DECODE_SS,
	DECODE_DS,
	DECODE_FS,
	DECODE_GS,
};

struct decode_insn {
	u8 op; /* enum decode_op */
	u8 mode; /* enum decode_mode */
	u8 length; /* 1..15 */
	u8 mem_bytes; /* size of the memory operand: 1, 2, 4, 8 */
	u8 reg_bytes; /* of the register operand: != mem_bytes for MOVZX, MOVSX */
	u8 addr_bytes; /* address size: 2, 4, 8 */
	u8 other; /* enum decode_other */
	u8 reg; /* 0..15 in the order of decode_cpu.gpr; 0 for STOS, LODS, moffs */
	bool reg_high; /* AH CH DH BH: bits 15..8 of gpr[reg] */
	bool mem_read, mem_write; /* MOVS: both, of different addresses */
	bool mem_dest; /* memory is the destination (or, for CMP TEST BT, first) */
	bool lock;
	bool rep; /* string instructions only */
	u8 seg; /* enum decode_seg of the operand, of the source of MOVS */
	u64 imm; /* DECODE_IMM: sign-extended to reg_bytes, upper bytes zero */
	/* The operand's address, but for string instructions */
	u8 ea_base, ea_index; /* as reg; DECODE_NO_REG, DECODE_RIP */
	u8 ea_shift; /* of the index */
	u64 ea_disp; /* sign-extended */
};

#define DECODE_NO_REG 0xff
#define DECODE_RIP 0xfe

/*
 * The guest as far as an instruction can see it: the caller fills it in from
 * the exit and, after decode_execute(), writes gpr, rip and rflags back.
 */
struct decode_cpu {
	u64 gpr[16]; /* RAX RCX RDX RBX RSP RBP RSI RDI R8..R15 */
	u64 rip;
	u64 rflags;
	u64 gpa; /* in: the address that faulted, to the byte */
	bool write; /* in: it faulted as a write; tells which operand of MOVS it was */
	void *ctx; /* handed to the callbacks */
};

struct decode_ops {
	/*
	 * The faulting operand. @gpa is decode_cpu.gpa, or for later iterations
	 * of a REP an address in the same 4 KiB page. @bytes is 1, 2, 4 or 8.
	 * A read-modify-write calls both, read first. 0 or a negative error.
	 */
	int (*mmio_read)(void *ctx, u64 gpa, u32 bytes, u64 *value);
	int (*mmio_write)(void *ctx, u64 gpa, u32 bytes, u64 value);
	/*
	 * The other operand of MOVS, at @off in @seg, truncated to the address
	 * size; the callback adds the segment's base, walks the guest's page
	 * tables, and must be ready to find MMIO there too. A negative error
	 * (say, after it has queued #PF for the guest) ends the instruction.
	 */
	int (*mem_read)(void *ctx, enum decode_seg seg, u64 off, u32 bytes, u64 *value);
	int (*mem_write)(void *ctx, enum decode_seg seg, u64 off, u32 bytes, u64 value);
};

/*
 * decode_insn() - read the instruction in @bytes[0..@n-1]
 *
 * More bytes than the instruction has are ignored; 15 are always enough.
 * Return: 0; -ENODATA when @n bytes are not the whole instruction (fetch more,
 * from the next page); -EOPNOTSUPP for everything not listed above.
 */
int decode_insn(struct decode_insn *i, const u8 *bytes, size_t n, enum decode_mode mode);

/*
 * decode_offset() - where in its segment the operand that faulted begins
 * @seg: out, that segment
 *
 * When the reported address is another one modulo the page size, the operand
 * begins on the page before, and the caller must not execute the instruction.
 */
u64 decode_offset(const struct decode_insn *i, const struct decode_cpu *cpu, enum decode_seg *seg);

/*
 * decode_execute() - do what @i says
 *
 * Advances RIP (wrapping as the mode does), sets the flags as the hardware
 * would, clears RFLAGS.RF. A REP does at most DECODE_REP_MAX iterations, none
 * beyond the faulting address's page; while RCX is not 0 RIP then stays, and
 * the guest comes back by itself. The caller ends the interrupt shadow, and
 * raises #DB when RFLAGS.TF was set.
 *
 * Return: 0; a callback's error, with @cpu as after the last whole iteration;
 * -EOPNOTSUPP, with nothing done, when the operand crosses a page.
 */
int decode_execute(const struct decode_insn *i, struct decode_cpu *cpu,
		   const struct decode_ops *ops);

const char *decode_op_name(enum decode_op op);

#endif
