/*
 * vmmtest_trap.S - exceptions, and running one instruction with given registers
 *
 * exec_run() loads a register file by IRETQ, in any code segment and at any
 * privilege, and comes back through the IDT: by INT 0x80, which ends every
 * piece of code under test, or by whatever exception it raised.
 */
	.text
	.p2align 4
	.globl trap_stubs
trap_stubs:
	vec = 0
	.rept 256
	.p2align 4
	.if vec == 8 || (vec >= 10 && vec <= 14) || vec == 17 || vec == 21 || vec == 29 || vec == 30
	.else
	push $0
	.endif
	pushq $vec
	jmp trap_common
	vec = vec + 1
	.endr

	.p2align 4
trap_common:
	push %rax
	push %rcx
	push %rdx
	push %rbx
	push %rbp
	push %rsi
	push %rdi
	push %r8
	push %r9
	push %r10
	push %r11
	push %r12
	push %r13
	push %r14
	push %r15
	mov %rsp, %rdi
	mov %rsp, %rbx
	and $-16, %rsp
	cld
	call trap
	test %rax, %rax
	jnz exec_leave
	mov %rbx, %rsp
	pop %r15
	pop %r14
	pop %r13
	pop %r12
	pop %r11
	pop %r10
	pop %r9
	pop %r8
	pop %rdi
	pop %rsi
	pop %rbp
	pop %rbx
	pop %rdx
	pop %rcx
	pop %rax
	add $16, %rsp
	iretq

/* void exec_run(struct exec *x); offsets as in vmmtest.h */
	.globl exec_run
exec_run:
	push %rbx
	push %rbp
	push %r12
	push %r13
	push %r14
	push %r15
	mov %rsp, 176(%rdi)
	mov 152(%rdi), %ds
	mov 160(%rdi), %es
	pushq 168(%rdi)
	pushq 32(%rdi)
	pushq 128(%rdi)
	pushq 144(%rdi)
	pushq 136(%rdi)
	mov 0(%rdi), %rax
	mov 8(%rdi), %rcx
	mov 16(%rdi), %rdx
	mov 24(%rdi), %rbx
	mov 40(%rdi), %rbp
	mov 48(%rdi), %rsi
	mov 64(%rdi), %r8
	mov 72(%rdi), %r9
	mov 80(%rdi), %r10
	mov 88(%rdi), %r11
	mov 96(%rdi), %r12
	mov 104(%rdi), %r13
	mov 112(%rdi), %r14
	mov 120(%rdi), %r15
	mov 56(%rdi), %rdi
	iretq

/* RAX: the struct exec. The data segments are the flat ones again. */
exec_leave:
	mov 176(%rax), %rsp
	mov $0x10, %ecx
	mov %ecx, %ds
	mov %ecx, %es
	mov %ecx, %ss
	pushq $2
	popfq
	pop %r15
	pop %r14
	pop %r13
	pop %r12
	pop %rbp
	pop %rbx
	ret

/* void load_tables(const void *gdtr, const void *idtr, u32 code, u32 data, u32 tss) */
	.globl load_tables
load_tables:
	lgdt (%rdi)
	lidt (%rsi)
	mov %ecx, %ds
	mov %ecx, %es
	mov %ecx, %ss
	mov %ecx, %fs
	mov %ecx, %gs
	pop %rax
	mov %edx, %edx
	push %rdx
	push %rax
	test %r8d, %r8d
	jz 1f
	ltr %r8w
1:	lretq
	.section .note.GNU-stack, "", @progbits
