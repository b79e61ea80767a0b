/*
 * stubs.S - host interrupt and exception entries, guarded MSR access
 *
 * Every vector has a stub that pushes a dummy error code where the hardware
 * pushes none, and its number. trap_handle(struct trap_frame *) does the rest.
 *
 * But for #DB: an emulated processor lets the single step of a guest whose
 * instruction exits come through to the host, before GS is the host's. It is
 * put to the guest by skip(), so here it is dropped.
 */
	.text
	.globl trap_stubs
	.align 16
trap_stubs:
	.set v, 0
	.rept 256
	.align 16
	.if v == 1
	iretq				/* nothing here steps: see above */
	.endif
	.if (v == 8) || ((v >= 10) && (v <= 14)) || (v == 17) || (v == 21) || (v == 29) || (v == 30)
	.else
	.byte 0x6a, 0x00		/* push $0 */
	.endif
	.byte 0x68			/* push imm32 */
	.long v
	jmp trap_common
	.set v, v + 1
	.endr

trap_common:
	push %r15
	push %r14
	push %r13
	push %r12
	push %r11
	push %r10
	push %r9
	push %r8
	push %rdi
	push %rsi
	push %rbp
	push %rsp
	push %rbx
	push %rdx
	push %rcx
	push %rax
	cld
	mov %rsp, %rdi
	mov %rsp, %rbp
	and $-16, %rsp
	call trap_handle
	mov %rbp, %rsp
	pop %rax
	pop %rcx
	pop %rdx
	pop %rbx
	add $8, %rsp
	pop %rbp
	pop %rsi
	pop %rdi
	pop %r8
	pop %r9
	pop %r10
	pop %r11
	pop %r12
	pop %r13
	pop %r14
	pop %r15
	add $16, %rsp
	iretq

	/* int rdmsr_safe(u32 msr, u64 *v); int wrmsr_safe(u32 msr, u64 v); xsetbv_safe() too */
	.globl rdmsr_safe, rdmsr_safe_insn, wrmsr_safe, wrmsr_safe_insn, msr_safe_failed
	.globl xsetbv_safe, xsetbv_safe_insn
rdmsr_safe:
	mov %edi, %ecx
rdmsr_safe_insn:
	rdmsr
	shl $32, %rdx
	or %rdx, %rax
	mov %rax, (%rsi)
	xor %eax, %eax
	ret
wrmsr_safe:
	mov %edi, %ecx
	mov %esi, %eax
	mov %rsi, %rdx
	shr $32, %rdx
wrmsr_safe_insn:
	wrmsr
	xor %eax, %eax
	ret
xsetbv_safe:
	mov %edi, %ecx
	mov %esi, %eax
	mov %rsi, %rdx
	shr $32, %rdx
xsetbv_safe_insn:
	xsetbv
	xor %eax, %eax
	ret
msr_safe_failed:
	mov $-14, %eax
	ret
	.section .note.GNU-stack, "", @progbits
