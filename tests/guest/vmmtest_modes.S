/*
 * vmmtest_modes.S - code that runs below 1 MiB: a trip through the modes, and APs
 *
 * Both pieces are copied to the start of a page and know nothing of where that
 * is but what they are told.
 */
#define SEL_CODE64 0x08
#define SEL_FLAT 0x10
#define SEL_CODE32 0x18
#define SEL_CODE16 0x20
#define SEL_DATA16 0x28
#define PORT_BASE 0x5f00
#define MSR_EFER 0xc0000080

/* struct trip_page at 0xc00 */
#define PAGE 0xc00
#define T_HOOK (PAGE + 4)
#define T_CR3_PAE (PAGE + 8)
#define T_CR3_32 (PAGE + 12)
#define T_CR3_64 (PAGE + 16)
#define MODE(n) (PAGE + 32 + (n) * 32)
#define T_MSR (PAGE + 20) /* hidden: RDMSR is #GP; 0: leave the faults out */
#define SAVED_RSP 0xbf0
#define STACK16 0xbe0
#define IDT32 (PAGE + 0x140)
#define IDTR32 (PAGE + 0x1c0)
#define IDTR16 (PAGE + 0x1c8)
#define IDTR64 (PAGE + 0x1d0)
#define FAULT(n) (PAGE + 0x1e0 + (n) * 16) /* error code, IP, IP wanted, how often */
#define STRING (PAGE + 0x240) /* "abc", then room */

	/* EBP: our page */
	.macro PROBE32 n
	mov $1, %eax
	xor %ecx, %ecx
	cpuid
	mov %ecx, MODE(\n)(%ebp)
	mov %ebx, MODE(\n) + 4(%ebp)
	mov T_HOOK(%ebp), %ebx
	movl $0x11223344 + \n, (%ebx)
	addl $1, (%ebx)
	mov (%ebx), %eax
	mov %eax, MODE(\n) + 8(%ebp)
	lea 0x40(%ebx), %edi
	mov $0x5a, %al
	mov $3, %ecx
	cld
	rep stosb
	movzwl 0x40(%ebx), %eax
	mov $0xa5000000 + \n, %eax
	mov $PORT_BASE, %edx
	outl %eax, %dx
	xor %eax, %eax
	inl %dx, %eax
	mov %eax, MODE(\n) + 12(%ebp)
	lea STRING(%ebp), %esi
	lea STRING + 8(%ebp), %edi
	mov $PORT_BASE + 8, %edx
	mov $3, %ecx
	rep outsb
	mov $3, %ecx
	rep insb
	mov STRING + 8(%ebp), %eax
	mov %eax, MODE(\n) + 16(%ebp)
	movl $0, STRING + 8(%ebp)
	.endm

	/* DS: our page; ES:SI: the hooked one */
	.macro PROBE16 n
	mov $1, %eax
	xor %ecx, %ecx
	cpuid
	mov %ecx, MODE(\n)
	mov %ebx, MODE(\n) + 4
	movl $0x11223344 + \n, %es:(%si)
	addl $1, %es:(%si)
	mov %es:(%si), %eax
	mov %eax, MODE(\n) + 8
	lea 0x40(%si), %di
	mov $0x5a, %al
	mov $3, %cx
	cld
	rep stosb
	movzwl %es:0x40(%si), %eax
	mov $0xa5000000 + \n, %eax
	mov $PORT_BASE, %dx
	outl %eax, %dx
	xor %eax, %eax
	inl %dx, %eax
	mov %eax, MODE(\n) + 12
	push %es
	push %ds
	pop %es
	mov $STRING, %si
	mov $STRING + 8, %di
	mov $PORT_BASE + 8, %dx
	mov $3, %cx
	rep outsb
	mov $3, %cx
	rep insb
	pop %es
	mov STRING + 8, %eax
	mov %eax, MODE(\n) + 16
	movl $0, STRING + 8
	.endm

	.text
	.p2align 4
	.globl trip_start, trip_end, trip_gp32, trip_ud32, trip_gp16, trip_ud16
/* void trip(u64 page); interrupts off */
trip_start:
	.code64
	push %rbx
	push %rbp
	push %r12
	push %r13
	push %r14
	push %r15
	mov %rdi, %rbp
	mov %rsp, SAVED_RSP(%rbp)
	sidt IDTR64(%rbp)
	pushq $SEL_CODE32
	lea (1f - trip_start)(%rbp), %rax
	push %rax
	lretq
1:	.code32
	PROBE32 0
	mov %cr0, %eax
	and $0x7fffffff, %eax
	mov %eax, %cr0
	mov $MSR_EFER, %ecx
	rdmsr
	and $~0x100, %eax
	wrmsr
	mov %cr4, %eax
	and $~0x20, %eax
	mov %eax, %cr4
	PROBE32 1

	/* #GP and #UD that the VMM makes, where there is no paging */
	mov T_MSR(%ebp), %ecx
	jecxz 3f
	lidt IDTR32(%ebp)
	lea (1f - trip_start)(%ebp), %eax
	mov %eax, FAULT(0) + 8(%ebp)
	lea (2f - trip_start)(%ebp), %eax
	mov %eax, FAULT(1) + 8(%ebp)
1:	rdmsr
	.byte 0x0f, 0x01, 0xc1 /* VMCALL */
2:	.byte 0x0f, 0x01, 0xd9 /* VMMCALL */
3:
	mov T_CR3_32(%ebp), %eax
	mov %eax, %cr3
	mov %cr4, %eax
	or $0x10, %eax
	mov %eax, %cr4
	mov %cr0, %eax
	or $0x80000000, %eax
	mov %eax, %cr0
	jmp 1f
1:	PROBE32 2
	mov %cr0, %eax
	and $0x7fffffff, %eax
	mov %eax, %cr0

	mov T_CR3_PAE(%ebp), %eax
	mov %eax, %cr3
	mov %cr4, %eax
	or $0x20, %eax
	mov %eax, %cr4
	mov %cr0, %eax
	or $0x80000000, %eax
	mov %eax, %cr0
	jmp 1f
1:	PROBE32 3
	mov %cr0, %eax
	and $0x7fffffff, %eax
	mov %eax, %cr0
	mov %cr4, %eax
	and $~0x20, %eax
	mov %eax, %cr4

	pushl $SEL_CODE16
	pushl $(1f - trip_start)
	lretl
1:	.code16
	mov $SEL_DATA16, %ax
	mov %ax, %ds
	mov %ax, %es
	mov %ax, %ss
	mov $STACK16, %esp
	mov T_HOOK, %esi
	sub %ebp, %esi
	PROBE16 4

	mov %ebp, %edx
	shr $4, %edx
	mov %cr0, %eax
	and $~1, %eax
	mov %eax, %cr0
	push %dx
	pushw $(1f - trip_start)
	lretw
1:	mov %cs, %ax
	mov %ax, %ds
	mov %ax, %ss
	mov T_HOOK, %eax
	shr $4, %eax
	mov %ax, %es
	xor %esi, %esi
	PROBE16 5

	/* The same in real mode, where no error code is pushed */
	mov T_MSR, %ecx
	jecxz 3f
	lidtl IDTR16
	movl $(1f - trip_start), FAULT(2) + 8
	movl $(2f - trip_start), FAULT(3) + 8
1:	rdmsr
	.byte 0x0f, 0x01, 0xc1
2:	.byte 0x0f, 0x01, 0xd9
3:
	mov %cr0, %eax
	or $1, %eax
	mov %eax, %cr0
	pushl $SEL_CODE32
	lea (1f - trip_start)(%ebp), %eax
	push %eax
	lretl
1:	.code32
	mov $SEL_FLAT, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %ss
	lea STACK16(%ebp), %esp
	PROBE32 6

	mov %cr4, %eax
	or $0x20, %eax
	mov %eax, %cr4
	mov T_CR3_64(%ebp), %eax
	mov %eax, %cr3
	mov $MSR_EFER, %ecx
	rdmsr
	or $0x100, %eax
	wrmsr
	mov %cr0, %eax
	or $0x80000000, %eax
	mov %eax, %cr0
	pushl $SEL_CODE64
	lea (1f - trip_start)(%ebp), %eax
	push %eax
	lretl
1:	.code64
	mov %ebp, %ebp
	mov SAVED_RSP(%rbp), %rsp
	lidt IDTR64(%rbp)
	pop %r15
	pop %r14
	pop %r13
	pop %r12
	pop %rbp
	pop %rbx
	ret

	.code32
trip_gp32:
	pop %eax
	mov %eax, FAULT(0)(%ebp)
	mov (%esp), %eax
	mov %eax, FAULT(0) + 4(%ebp)
	incl FAULT(0) + 12(%ebp)
	addl $2, (%esp)
	iretl
trip_ud32:
	mov (%esp), %eax
	mov %eax, FAULT(1) + 4(%ebp)
	incl FAULT(1) + 12(%ebp)
	addl $3, (%esp)
	iretl
	.code16
trip_gp16:
	push %bp
	mov %sp, %bp
	mov 2(%bp), %ax
	mov %ax, FAULT(2) + 4
	incl FAULT(2) + 12
	addw $2, 2(%bp)
	pop %bp
	iretw
trip_ud16:
	push %bp
	mov %sp, %bp
	mov 2(%bp), %ax
	mov %ax, FAULT(3) + 4
	incl FAULT(3) + 12
	addw $3, 2(%bp)
	pop %bp
	iretw
	.code64
	.org trip_start + STACK16 - 64 /* fails when it is longer */
trip_end:

/* struct ap_page at 0x800 */
	.p2align 4
	.globl ap_start, ap_end
ap_start:
	.code16
	movl %eax, %cs:0x804
	movl %ebx, %cs:0x808
	movl %edx, %cs:0x80c
	movl %esp, %cs:0x82c
	mov %cs, %ax
	mov %ax, %ds
	mov %ax, %ss
	mov $0xff0, %sp
	pushfl
	popl 0x810
	mov %cr0, %eax
	mov %eax, 0x814
	xor %eax, %eax
	mov %cs, %ax
	mov %eax, 0x818
	call 1f
1:	xor %eax, %eax
	pop %ax
	sub $(1b - ap_start), %ax
	mov %eax, 0x81c
	mov $1, %eax
	cpuid
	mov %ecx, 0x820
	mov 0x7f8, %ax
	mov %ax, %es
	mov 0x800, %ecx
	inc %ecx
	lea 0x600d0000(%ecx), %eax
	mov %eax, %es:0x80
	xor %eax, %eax
	mov %es:0x80, %eax
	mov %eax, 0x824
	mov %ecx, 0x800
2:	hlt
	jmp 2b
	.org ap_start + 0x700
	incl %cs:0x828
	iretw
	.code64
ap_end:
	.section .note.GNU-stack, "", @progbits
