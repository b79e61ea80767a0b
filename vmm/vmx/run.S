/*
 * run.S - one trip into the guest, and how no NMI gets lost before it
 *
 * u32 vmx_enter(u64 gpr[16], const u64 *nmi_count, u64 nmi_done, u32 resume)
 *
 * RSP and RIP travel in the VMCS, CR2 and the debug registers 0 to 3 and 6 stay
 * in the processor. Returns 0 after an exit; 1 when an NMI was taken that
 * nobody has looked at, and the guest was not entered; 2 when the processor
 * refused the instruction.
 *
 * There is no GIF: an NMI may arrive between the last look at the counter and
 * the entry, and what it asked for would then wait for the next exit. So its
 * handler moves RIP to vmx_enter_abort when it finds it between vmx_enter_look
 * and vmx_enter_end (trap_nmi() in vmm/cpu/cpu.c). RSP is the same in all of
 * that code, and the registers it has loaded for the guest are dropped.
 */
#define VMCS_HOST_RSP 0x6c14

	.text
	.globl vmx_enter, vmx_enter_look, vmx_enter_end, vmx_enter_abort, vmx_left
	.type vmx_enter, @function
vmx_enter:
	push %rbx
	push %rbp
	push %r12
	push %r13
	push %r14
	push %r15
	push %rdi
	mov $VMCS_HOST_RSP, %eax
	vmwrite %rsp, %rax
vmx_enter_look:
	cmp %rdx, (%rsi)
	jne vmx_enter_abort
	test %ecx, %ecx			/* the moves below keep the flags */
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
	jz 1f
	vmresume
	jmp vmx_enter_end
1:	vmlaunch
vmx_enter_end:
	pop %rdi
	mov $2, %eax
	jmp 2f
vmx_enter_abort:
	pop %rdi
	mov $1, %eax
	jmp 2f
vmx_left:				/* the host's RIP */
	push %rdi
	mov 8(%rsp), %rdi
	mov %rax, 0(%rdi)
	mov %rcx, 8(%rdi)
	mov %rdx, 16(%rdi)
	mov %rbx, 24(%rdi)
	mov %rbp, 40(%rdi)
	mov %rsi, 48(%rdi)
	mov %r8, 64(%rdi)
	mov %r9, 72(%rdi)
	mov %r10, 80(%rdi)
	mov %r11, 88(%rdi)
	mov %r12, 96(%rdi)
	mov %r13, 104(%rdi)
	mov %r14, 112(%rdi)
	mov %r15, 120(%rdi)
	pop %rcx
	mov %rcx, 56(%rdi)
	pop %rdi
	xor %eax, %eax
2:	pop %r15
	pop %r14
	pop %r13
	pop %r12
	pop %rbp
	pop %rbx
	ret
	.size vmx_enter, . - vmx_enter

	/*
	 * void vmx_sleep(const u64 *nmi_count, u64 nmi_done): until an NMI. The
	 * same trick: one that comes after the look moves RIP past the HLT.
	 */
	.globl vmx_sleep, vmx_sleep_look, vmx_sleep_end
vmx_sleep:
vmx_sleep_look:
	cmp %rsi, (%rdi)
	jne vmx_sleep_end
	hlt
vmx_sleep_end:
	ret

	/* The NMI of an exit: through our IDT, whose IRET unblocks the next. */
	.globl vmx_take_nmi
vmx_take_nmi:
	int $2
	ret
	.section .note.GNU-stack, "", @progbits
