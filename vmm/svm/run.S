/*
 * run.S - one trip into the guest; windows in which the host takes events
 *
 * void svm_enter(u64 vmcb_pa, u64 gpr[16], u64 host_pa)
 *
 * RAX and RSP travel in the VMCB. FS, GS, TR, LDTR and the system call MSRs
 * are switched by VMLOAD and VMSAVE; until the second VMLOAD the guest's GS
 * is in place, so nothing per-CPU is touched before it. GIF is 0 on both sides.
 */
	.text
	.globl svm_enter
	.type svm_enter, @function
svm_enter:
	push %rbx
	push %rbp
	push %r12
	push %r13
	push %r14
	push %r15
	push %rdx
	push %rsi
	mov %rdi, %rax
	mov 8(%rsi), %rcx
	mov 16(%rsi), %rdx
	mov 24(%rsi), %rbx
	mov 40(%rsi), %rbp
	mov 56(%rsi), %rdi
	mov 64(%rsi), %r8
	mov 72(%rsi), %r9
	mov 80(%rsi), %r10
	mov 88(%rsi), %r11
	mov 96(%rsi), %r12
	mov 104(%rsi), %r13
	mov 112(%rsi), %r14
	mov 120(%rsi), %r15
	mov 48(%rsi), %rsi
	vmload %rax
	vmrun %rax
	vmsave %rax
	push %rsi
	mov 8(%rsp), %rsi
	mov %rcx, 8(%rsi)
	mov %rdx, 16(%rsi)
	mov %rbx, 24(%rsi)
	mov %rbp, 40(%rsi)
	mov %rdi, 56(%rsi)
	mov %r8, 64(%rsi)
	mov %r9, 72(%rsi)
	mov %r10, 80(%rsi)
	mov %r11, 88(%rsi)
	mov %r12, 96(%rsi)
	mov %r13, 104(%rsi)
	mov %r14, 112(%rsi)
	mov %r15, 120(%rsi)
	pop %rcx
	mov %rcx, 48(%rsi)
	add $8, %rsp
	pop %rax
	vmload %rax
	pop %r15
	pop %r14
	pop %r13
	pop %r12
	pop %rbp
	pop %rbx
	ret
	.size svm_enter, . - svm_enter

	/* GIF opens with interrupts off: a pending NMI or SMI is taken. */
	.globl svm_window
svm_window:
	stgi
	nop
	nop
	clgi
	ret

	/* trap_handle() clears IF in the frame, so one interrupt is taken. */
	.globl svm_window_intr
svm_window_intr:
	stgi
	sti
	nop
	nop
	cli
	clgi
	ret

	/*
	 * An NMI between STGI and HLT would be served before the HLT and the
	 * CPU would sleep through it: trap_handle() moves RIP past the HLT.
	 */
	.globl svm_wait_nmi, svm_wait_first, svm_wait_end
svm_wait_nmi:
	stgi
svm_wait_first:
	nop
	hlt
svm_wait_end:
	clgi
	ret
	.section .note.GNU-stack, "", @progbits
