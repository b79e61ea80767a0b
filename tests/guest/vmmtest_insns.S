/*
 * vmmtest_insns.S - the instructions that are tried on a hooked page
 *
 * Each line is one instruction with what the VMM must see of it: operand
 * bytes, reads, writes. It is run on plain memory and on the hooked page from
 * the same registers; everything visible must agree. vmmtest_mmio.c tells
 * which register holds what.
 *
 * Flags compared: ALL arithmetic ones; LOGIC: AF is undefined; BITS: CF and ZF.
 */
#define ALL 0xcd5
#define LOGIC 0xcc5
#define BITS 0x441

/* enum insn_kind */
#define DST 0 /* (R)DI: the page */
#define SRC 1 /* (R)SI: the page, (R)DI: plain memory */
#define BOTH 2 /* (R)SI and (R)DI */
#define DOWN 4 /* with the direction flag set */
#define ZERO 8 /* RCX = 0 */
#define MANY 16 /* RCX = 400 */
#define REFUSED 32 /* #UD; emulated processors may not mind on plain memory */

	.macro T mode, kind, bytes, reads, writes, mask, name, insn:vararg
	.text
661:	.code\mode
	\insn
662:	.code64
	.section .rodata
663:	.asciz "\name"
	.section .data.insns, "aw"
	.quad 663b, 661b
	.long 662b - 661b, \mode, \kind, \bytes, \reads, \writes, \mask, 0
	.text
	.endm

	.section .data.insns, "aw"
	.p2align 3
	.globl insns
insns:
	.text

/* ---------------------------------------------------------------- 64-bit code: MOV */
T 64, DST, 1, 0, 1, ALL, "mov m8,cl", movb %cl, (%rdi)
T 64, DST, 1, 0, 1, ALL, "mov m8,ch", movb %ch, (%rdi)
T 64, DST, 1, 0, 1, ALL, "mov m8,sil", movb %sil, (%rdi)
T 64, DST, 1, 0, 1, ALL, "mov m8,r9b", movb %r9b, (%rdi)
T 64, DST, 2, 0, 1, ALL, "mov m16,r16", movw %cx, (%rdi)
T 64, DST, 4, 0, 1, ALL, "mov m32,r32", movl %ecx, (%rdi)
T 64, DST, 8, 0, 1, ALL, "mov m64,r64", movq %rcx, (%rdi)
T 64, DST, 8, 0, 1, ALL, "mov m64,r11", movq %r11, (%rdi)
T 64, DST, 1, 1, 0, ALL, "mov cl,m8", movb (%rdi), %cl
T 64, DST, 1, 1, 0, ALL, "mov dh,m8", movb (%rdi), %dh
T 64, DST, 1, 1, 0, ALL, "mov bpl,m8", movb (%rdi), %bpl
T 64, DST, 2, 1, 0, ALL, "mov r16,m16", movw (%rdi), %cx
T 64, DST, 4, 1, 0, ALL, "mov r32,m32", movl (%rdi), %ecx
T 64, DST, 8, 1, 0, ALL, "mov r64,m64", movq (%rdi), %rcx
T 64, DST, 8, 1, 0, ALL, "mov r15,m64", movq (%rdi), %r15
T 64, DST, 8, 1, 0, ALL, "mov rdi,m64", movq (%rdi), %rdi
T 64, DST, 1, 0, 1, ALL, "mov m8,imm8", movb $0x5a, (%rdi)
T 64, DST, 2, 0, 1, ALL, "mov m16,imm16", movw $0x5aa5, (%rdi)
T 64, DST, 4, 0, 1, ALL, "mov m32,imm32", movl $0x5aa53cc3, (%rdi)
T 64, DST, 8, 0, 1, ALL, "mov m64,imm32", movq $-0x5aa53cc3, (%rdi)
T 64, DST, 4, 0, 1, ALL, "mov disp8", movl %ecx, 8(%rdi)
T 64, DST, 4, 0, 1, ALL, "mov disp8 negative", movl %ecx, -8(%rdi)
T 64, DST, 4, 0, 1, ALL, "mov disp32", {disp32} movl %ecx, 16(%rdi)
T 64, DST, 4, 0, 1, ALL, "mov sib", movl %ecx, (%rdi,%r8,4)
T 64, DST, 4, 0, 1, ALL, "mov sib disp8", movl %ecx, 12(%rdi,%r8,2)
T 64, DST, 4, 0, 1, ALL, "mov sib disp32", {disp32} movl %ecx, 12(%rbx,%r8,8)
T 64, DST, 4, 0, 1, ALL, "mov base r12", movl %ecx, (%r12)
T 64, DST, 4, 0, 1, ALL, "mov base r13", movl %ecx, (%r13)
T 64, DST, 4, 0, 1, ALL, "mov index only", movl %ecx, 16(,%rdi,1)
T 64, DST, 4, 0, 1, ALL, "mov rip-relative", movl %ecx, 0x7abbccdd(%rip)
T 64, DST, 4, 0, 1, ALL, "mov rip-relative imm32", movl $0x11335577, 0x7abbccdd(%rip)
T 64, DST, 1, 0, 1, ALL, "mov rip-relative imm8", movb $0x77, 0x7abbccdd(%rip)
T 64, DST, 4, 0, 1, ALL, "mov absolute", movl %ecx, 0x11223344
T 64, DST, 1, 0, 1, ALL, "mov moffs8,al", movabs %al, 0x1122334455667788
T 64, DST, 2, 0, 1, ALL, "mov moffs16,ax", movabs %ax, 0x1122334455667788
T 64, DST, 4, 0, 1, ALL, "mov moffs32,eax", movabs %eax, 0x1122334455667788
T 64, DST, 8, 0, 1, ALL, "mov moffs64,rax", movabs %rax, 0x1122334455667788
T 64, DST, 1, 1, 0, ALL, "mov al,moffs8", movabs 0x1122334455667788, %al
T 64, DST, 4, 1, 0, ALL, "mov eax,moffs32", movabs 0x1122334455667788, %eax
T 64, DST, 8, 1, 0, ALL, "mov rax,moffs64", movabs 0x1122334455667788, %rax
T 64, DST, 4, 1, 0, ALL, "mov eax,moffs32 a32", addr32 movl 0x11223344, %eax
T 64, DST, 4, 0, 1, ALL, "mov a32", movl %ecx, (%edi)
T 64, DST, 4, 0, 1, ALL, "mov cs:", .byte 0x2e, 0x89, 0x0f
T 64, DST, 4, 0, 1, ALL, "mov ds:", .byte 0x3e, 0x89, 0x0f
T 64, DST, 4, 0, 1, ALL, "mov fs:", movl %ecx, %fs:(%rdi)
T 64, DST, 2, 0, 1, ALL, "mov 66 66", .byte 0x66, 0x66, 0x89, 0x0f
T 64, DST, 8, 0, 1, ALL, "mov 66 rex.w", .byte 0x66, 0x48, 0x89, 0x0f
T 64, DST, 4, 0, 1, ALL, "mov f2 f3", .byte 0xf2, 0xf3, 0x89, 0x0f
T 64, DST, 1, 1, 0, ALL, "movzx r16,m8", movzbw (%rdi), %cx
T 64, DST, 1, 1, 0, ALL, "movzx r32,m8", movzbl (%rdi), %ecx
T 64, DST, 1, 1, 0, ALL, "movzx r64,m8", movzbq (%rdi), %r10
T 64, DST, 2, 1, 0, ALL, "movzx r32,m16", movzwl (%rdi), %ecx
T 64, DST, 2, 1, 0, ALL, "movzx r64,m16", movzwq (%rdi), %rcx
T 64, DST, 1, 1, 0, ALL, "movsx r16,m8", movsbw (%rdi), %cx
T 64, DST, 1, 1, 0, ALL, "movsx r32,m8", movsbl (%rdi), %ecx
T 64, DST, 1, 1, 0, ALL, "movsx r64,m8", movsbq (%rdi), %rcx
T 64, DST, 2, 1, 0, ALL, "movsx r32,m16", movswl (%rdi), %ecx
T 64, DST, 2, 1, 0, ALL, "movsx r64,m16", movswq (%rdi), %r14
T 64, DST, 4, 1, 0, ALL, "movsxd r64,m32", movslq (%rdi), %rcx
T 64, DST, 4, 0, 1, ALL, "movnti m32", movnti %ecx, (%rdi)
T 64, DST, 8, 0, 1, ALL, "movnti m64", movnti %rcx, (%rdi)

/* ---------------------------------------------------------------- 64-bit code: ALU */
	.macro ALU op, mask, writes
T 64, DST, 1, 1, \writes, \mask, "\op m8,r8", \op\()b %dl, (%rdi)
T 64, DST, 1, 1, \writes, \mask, "\op m8,ah", \op\()b %ah, (%rdi)
T 64, DST, 2, 1, \writes, \mask, "\op m16,r16", \op\()w %dx, (%rdi)
T 64, DST, 4, 1, \writes, \mask, "\op m32,r32", \op\()l %edx, (%rdi)
T 64, DST, 8, 1, \writes, \mask, "\op m64,r64", \op\()q %rdx, (%rdi)
T 64, DST, 1, 1, 0, \mask, "\op r8,m8", \op\()b (%rdi), %dl
T 64, DST, 2, 1, 0, \mask, "\op r16,m16", \op\()w (%rdi), %dx
T 64, DST, 4, 1, 0, \mask, "\op r32,m32", \op\()l (%rdi), %edx
T 64, DST, 8, 1, 0, \mask, "\op r64,m64", \op\()q (%rdi), %rdx
T 64, DST, 1, 1, \writes, \mask, "\op m8,imm8", \op\()b $0x9c, (%rdi)
T 64, DST, 2, 1, \writes, \mask, "\op m16,imm16", \op\()w $0x7ff1, (%rdi)
T 64, DST, 4, 1, \writes, \mask, "\op m32,imm32", \op\()l $0x7ffffff1, (%rdi)
T 64, DST, 8, 1, \writes, \mask, "\op m64,imm32", \op\()q $-0x7ffffff1, (%rdi)
T 64, DST, 4, 1, \writes, \mask, "\op m32,imm8", \op\()l $-3, (%rdi)
T 64, DST, 8, 1, \writes, \mask, "\op m64,imm8", \op\()q $-3, (%rdi)
	.endm
	.macro LOCKED op, mask
T 64, DST, 4, 1, 1, \mask, "lock \op m32,r32", lock \op\()l %edx, (%rdi)
T 64, DST, 8, 1, 1, \mask, "lock \op m64,imm8", lock \op\()q $0x11, (%rdi)
	.endm
ALU add, ALL, 1
ALU or, LOGIC, 1
ALU adc, ALL, 1
ALU sbb, ALL, 1
ALU and, LOGIC, 1
ALU sub, ALL, 1
ALU xor, LOGIC, 1
ALU cmp, ALL, 0
LOCKED add, ALL
LOCKED or, LOGIC
LOCKED adc, ALL
LOCKED sbb, ALL
LOCKED and, LOGIC
LOCKED sub, ALL
LOCKED xor, LOGIC
T 64, DST, 1, 1, 0, LOGIC, "test m8,r8", testb %dl, (%rdi)
T 64, DST, 2, 1, 0, LOGIC, "test m16,r16", testw %dx, (%rdi)
T 64, DST, 4, 1, 0, LOGIC, "test m32,r32", testl %edx, (%rdi)
T 64, DST, 8, 1, 0, LOGIC, "test m64,r64", testq %rdx, (%rdi)
T 64, DST, 1, 1, 0, LOGIC, "test m8,imm8", testb $0x81, (%rdi)
T 64, DST, 2, 1, 0, LOGIC, "test m16,imm16", testw $0x8001, (%rdi)
T 64, DST, 4, 1, 0, LOGIC, "test m32,imm32", testl $0x80000001, (%rdi)
T 64, DST, 8, 1, 0, LOGIC, "test m64,imm32", testq $-0x7fffffff, (%rdi)
T 64, DST, 1, 1, 1, ALL, "xchg m8,r8", xchgb %dl, (%rdi)
T 64, DST, 1, 1, 1, ALL, "xchg m8,dh", xchgb %dh, (%rdi)
T 64, DST, 2, 1, 1, ALL, "xchg m16,r16", xchgw %dx, (%rdi)
T 64, DST, 4, 1, 1, ALL, "xchg m32,r32", xchgl %edx, (%rdi)
T 64, DST, 8, 1, 1, ALL, "xchg m64,r64", xchgq %rdx, (%rdi)
T 64, DST, 4, 1, 1, ALL, "lock xchg m32,r32", lock xchgl %edx, (%rdi)
	.macro UNARY op, mask
T 64, DST, 1, 1, 1, \mask, "\op m8", \op\()b (%rdi)
T 64, DST, 2, 1, 1, \mask, "\op m16", \op\()w (%rdi)
T 64, DST, 4, 1, 1, \mask, "\op m32", \op\()l (%rdi)
T 64, DST, 8, 1, 1, \mask, "\op m64", \op\()q (%rdi)
T 64, DST, 4, 1, 1, \mask, "lock \op m32", lock \op\()l (%rdi)
	.endm
UNARY not, ALL
UNARY neg, ALL
UNARY inc, ALL
UNARY dec, ALL
	.macro BIT op, writes
T 64, DST, 2, 1, \writes, BITS, "\op m16,r16", \op\()w %r8w, (%rdi)
T 64, DST, 4, 1, \writes, BITS, "\op m32,r32", \op\()l %r8d, (%rdi)
T 64, DST, 8, 1, \writes, BITS, "\op m64,r64", \op\()q %r8, (%rdi)
T 64, DST, 4, 1, \writes, BITS, "\op m32,r32 beyond", \op\()l %r14d, (%rdi)
T 64, DST, 4, 1, \writes, BITS, "\op m32,r32 before", \op\()l %r15d, (%rdi)
T 64, DST, 4, 1, \writes, BITS, "\op m32,imm8", \op\()l $37, (%rdi)
T 64, DST, 8, 1, \writes, BITS, "\op m64,imm8", \op\()q $37, (%rdi)
	.endm
BIT bt, 0
BIT bts, 1
BIT btr, 1
BIT btc, 1
T 64, DST, 4, 1, 1, BITS, "lock bts m32,imm8", lock btsl $5, (%rdi)
T 64, DST+REFUSED, 4, 0, 0, ALL, "lock mov is #UD", .byte 0xf0, 0x89, 0x0f
T 64, DST+REFUSED, 4, 0, 0, ALL, "lock cmp is #UD", .byte 0xf0, 0x39, 0x0f

/* ---------------------------------------------------------------- 64-bit code: strings */
T 64, DST, 1, 0, 1, ALL, "stosb", stosb
T 64, DST, 2, 0, 1, ALL, "stosw", stosw
T 64, DST, 4, 0, 1, ALL, "stosl", stosl
T 64, DST, 8, 0, 1, ALL, "stosq", stosq
T 64, DST, 1, 0, 5, ALL, "rep stosb", rep stosb
T 64, DST, 8, 0, 5, ALL, "rep stosq", rep stosq
T 64, DST+DOWN, 2, 0, 5, ALL, "std rep stosw", rep stosw
T 64, DST, 4, 0, 5, ALL, "repne stosl", repne stosl
T 64, DST, 4, 0, 5, ALL, "rep stosl a32", addr32 rep stosl
T 64, DST+ZERO, 4, 0, 0, ALL, "rep stosl rcx=0", rep stosl
T 64, DST+MANY, 1, 0, 400, ALL, "rep stosb rcx=400", rep stosb
T 64, SRC, 1, 1, 0, ALL, "lodsb", lodsb
T 64, SRC, 2, 1, 0, ALL, "lodsw", lodsw
T 64, SRC, 4, 1, 0, ALL, "lodsl", lodsl
T 64, SRC, 8, 1, 0, ALL, "lodsq", lodsq
T 64, SRC, 4, 5, 0, ALL, "rep lodsl", rep lodsl
T 64, DST, 1, 0, 1, ALL, "movsb to", movsb
T 64, DST, 2, 0, 1, ALL, "movsw to", movsw
T 64, DST, 4, 0, 1, ALL, "movsl to", movsl
T 64, DST, 8, 0, 1, ALL, "movsq to", movsq
T 64, SRC, 1, 1, 0, ALL, "movsb from", movsb
T 64, SRC, 8, 1, 0, ALL, "movsq from", movsq
T 64, BOTH, 4, 1, 1, ALL, "movsl within", movsl
T 64, DST, 4, 0, 5, ALL, "rep movsl to", rep movsl
T 64, SRC, 4, 5, 0, ALL, "rep movsl from", rep movsl
T 64, BOTH, 8, 5, 5, ALL, "rep movsq within", rep movsq
T 64, DST+DOWN, 2, 0, 5, ALL, "std rep movsw to", rep movsw
T 64, SRC+DOWN, 1, 5, 0, ALL, "std rep movsb from", rep movsb
T 64, DST+ZERO, 1, 0, 0, ALL, "rep movsb rcx=0", rep movsb
T 64, SRC, 4, 5, 0, ALL, "rep movsl a32 from", addr32 rep movsl
T 64, SRC+MANY, 1, 400, 0, ALL, "rep movsb rcx=400 from", rep movsb

/* ---------------------------------------------------------------- 32-bit code */
T 32, DST, 1, 0, 1, ALL, "mov m8,ch", movb %ch, (%edi)
T 32, DST, 2, 0, 1, ALL, "mov m16,r16", movw %cx, (%edi)
T 32, DST, 4, 0, 1, ALL, "mov m32,r32", movl %ecx, (%edi)
T 32, DST, 4, 1, 0, ALL, "mov r32,m32", movl (%edi), %ecx
T 32, DST, 4, 0, 1, ALL, "mov disp32", movl %ecx, 0x11223344
T 32, DST, 4, 0, 1, ALL, "mov sib", movl %ecx, 12(%edi,%edx,1)
T 32, DST, 4, 0, 1, ALL, "mov moffs32,eax", movl %eax, 0x11223344
T 32, DST, 1, 1, 0, ALL, "mov al,moffs8", movb 0x11223344, %al
T 32, DST, 2, 0, 1, ALL, "mov m16,imm16", movw $0x5aa5, (%edi)
T 32, DST, 4, 0, 1, ALL, "mov m32,imm32", movl $0x5aa53cc3, (%edi)
T 32, DST, 4, 0, 1, ALL, "mov fs:", movl %ecx, %fs:(%edi)
T 32, DST, 1, 1, 0, ALL, "movzx r32,m8", movzbl (%edi), %ecx
T 32, DST, 2, 1, 0, ALL, "movsx r32,m16", movswl (%edi), %ecx
T 32, DST, 4, 1, 1, ALL, "add m32,r32", addl %ebx, (%edi)
T 32, DST, 2, 1, 1, ALL, "adc m16,imm8", adcw $-2, (%edi)
T 32, DST, 4, 1, 0, LOGIC, "and r32,m32", andl (%edi), %ebx
T 32, DST, 4, 1, 0, ALL, "cmp m32,imm32", cmpl $0x12345678, (%edi)
T 32, DST, 1, 1, 1, ALL, "inc m8", incb (%edi)
T 32, DST, 4, 1, 1, ALL, "xchg m32,r32", xchgl %ebx, (%edi)
T 32, DST, 4, 1, 1, LOGIC, "lock or m32,imm8", lock orl $1, (%edi)
T 32, DST, 4, 1, 1, BITS, "bts m32,imm8", btsl $3, (%edi)
T 32, DST, 4, 0, 5, ALL, "rep stosl", rep stosl
T 32, DST, 2, 0, 5, ALL, "rep stosw", rep stosw
T 32, SRC, 4, 5, 0, ALL, "rep movsl from", rep movsl
T 32, DST+DOWN, 1, 0, 5, ALL, "std rep movsb to", rep movsb
T 32, SRC, 4, 1, 0, ALL, "lodsl", lodsl

/* ---------------------------------------------------------------- 16-bit code */
T 16, DST, 1, 0, 1, ALL, "mov m8,ch", movb %ch, (%di)
T 16, DST, 2, 0, 1, ALL, "mov m16,r16", movw %cx, (%di)
T 16, DST, 4, 0, 1, ALL, "mov m32,r32", movl %ecx, (%di)
T 16, DST, 2, 1, 0, ALL, "mov r16,m16", movw (%di), %cx
T 16, DST, 4, 1, 0, ALL, "mov r32,m32", movl (%di), %ecx
T 16, DST, 2, 0, 1, ALL, "mov disp8", movw %cx, 8(%di)
T 16, DST, 2, 0, 1, ALL, "mov disp16", movw %cx, 0x100(%di)
T 16, DST, 2, 0, 1, ALL, "mov bx+di", movw %cx, 4(%bx,%di)
T 16, DST, 2, 0, 1, ALL, "mov absolute", movw %cx, 0x1122
T 16, DST, 2, 0, 1, ALL, "mov moffs16,ax", movw %ax, 0x1122
T 16, DST, 1, 1, 0, ALL, "mov al,moffs8", movb 0x1122, %al
T 16, DST, 2, 0, 1, ALL, "mov m16,imm16", movw $0x5aa5, (%di)
T 16, DST, 4, 0, 1, ALL, "mov m32,imm32", movl $0x5aa53cc3, (%di)
T 16, DST, 4, 0, 1, ALL, "mov a32", movl %ecx, (%edi)
T 16, DST, 4, 0, 1, ALL, "mov a32 sib", movl %ecx, 4(%edi,%ebx,1)
T 16, DST, 2, 0, 1, ALL, "mov es:", movw %cx, %es:(%di)
T 16, DST, 1, 1, 0, ALL, "movzx r16,m8", movzbw (%di), %cx
T 16, DST, 2, 1, 0, ALL, "movsx r32,m16", movswl (%di), %ecx
T 16, DST, 2, 1, 1, ALL, "add m16,r16", addw %dx, (%di)
T 16, DST, 4, 1, 1, ALL, "sub m32,imm32", subl $0x31323355, (%di)
T 16, DST, 2, 1, 0, LOGIC, "test m16,imm16", testw $0x8001, (%di)
T 16, DST, 2, 1, 1, ALL, "xchg m16,r16", xchgw %dx, (%di)
T 16, DST, 1, 1, 1, ALL, "neg m8", negb (%di)
T 16, DST, 1, 0, 5, ALL, "rep stosb", rep stosb
T 16, DST, 2, 0, 5, ALL, "rep stosw", rep stosw
T 16, DST, 4, 0, 5, ALL, "rep stosl a32", addr32 rep stosl
T 16, SRC, 2, 5, 0, ALL, "rep movsw from", rep movsw
T 16, DST, 2, 0, 5, ALL, "rep movsw to", rep movsw
T 16, SRC, 1, 1, 0, ALL, "lodsb", lodsb

	.section .data.insns, "aw"
	.globl insns_end
insns_end:
	.section .note.GNU-stack, "", @progbits
