/*
 * entry.S - from the firmware's call to the VMM's own address space
 *
 * vmm_entry(struct handoff *h, u32 cpu) is called at its physical address, on
 * the firmware's page tables and stack. It saves what the caller expects to
 * find again, for the guest will "return" from this call, then moves to the
 * launch page tables and the VMM's stack and calls core_enter(). That returns
 * only when this CPU could not be virtualized; the state is then put back.
 *
 * Offsets are those of struct entry_state, 144 bytes (static_assert in core.c).
 */
	.section .text.entry, "ax"
	.globl vmm_entry
	.type vmm_entry, @function
vmm_entry:
	cli
	cld
	mov %esi, %eax
	cmp $64, %eax
	jae .Lbad_cpu
	imul $144, %rax, %rax
	lea core_entry_states(%rip), %r8
	add %rax, %r8
	mov (%rsp), %rax
	mov %rax, 0(%r8)
	lea 8(%rsp), %rax
	mov %rax, 8(%r8)
	pushfq
	pop %rax
	mov %rax, 16(%r8)
	mov %rbx, 24(%r8)
	mov %rbp, 32(%r8)
	mov %r12, 40(%r8)
	mov %r13, 48(%r8)
	mov %r14, 56(%r8)
	mov %r15, 64(%r8)
	mov %cr0, %rax
	mov %rax, 72(%r8)
	mov %cr3, %rax
	mov %rax, 80(%r8)
	mov %cr4, %rax
	mov %rax, 88(%r8)
	bt $12, %rax			/* LA57: the launch tables have four levels */
	jc .Lbad_mode
	mov %es, 96(%r8)
	mov %cs, 98(%r8)
	mov %ss, 100(%r8)
	mov %ds, 102(%r8)
	mov %fs, 104(%r8)
	mov %gs, 106(%r8)
	sldt 108(%r8)
	str 110(%r8)
	sgdt 118(%r8)
	sidt 134(%r8)

	mov 40(%rdi), %rax		/* handoff.cr3 */
	mov %rax, %cr3
	movabs $1f, %rax
	jmp *%rax
1:	/* At the VMM's own addresses now; %esi is the CPU, %rdi the handoff's physical address */
	mov %esi, %ebx
	mov %ebx, %eax
	mov cpu_table(, %rax, 8), %rdx
	lea core_boot_stack_top(%rip), %rsp
	test %ebx, %ebx
	jz 2f
	mov 8(%rdx), %rsp		/* cpu.stack_top */
2:	xor %ebp, %ebp
	push %rbp
	push %rbp
	call core_enter			/* (handoff physical, cpu) */

	/* Failed: back to where we came from, with the error. */
	mov %eax, %ecx
	imul $144, %rbx, %rbx
	lea core_entry_states(%rip), %r8
	add %rbx, %r8
	mov core_region_pa(%rip), %rdx
	lea 3f(%rip), %rax
	movabs $0xffffffff80000000, %r9
	sub %r9, %r8
	add %rdx, %r8			/* identity address of the saved state */
	sub %r9, %rax
	add %rdx, %rax
	jmp *%rax
3:	mov 80(%r8), %rax
	mov %rax, %cr3
	mov 8(%r8), %rsp
	mov 24(%r8), %rbx
	mov 32(%r8), %rbp
	mov 40(%r8), %r12
	mov 48(%r8), %r13
	mov 56(%r8), %r14
	mov 64(%r8), %r15
	mov %ecx, %eax
	jmp *0(%r8)

.Lbad_cpu:
	mov $-22, %eax			/* -EINVAL */
	ret
.Lbad_mode:
	mov $-95, %eax			/* -EOPNOTSUPP */
	ret
	.size vmm_entry, . - vmm_entry
	.section .note.GNU-stack, "", @progbits
