/*
 * embed.S - what the PE file carries beside code: the VMM and the site's keys
 *
 * In assembly, so that no compiler folds the keys' empty initial value into the
 * code that reads them.
 */
	.section .vmm, "a", @progbits
	.balign 4096
	.globl vmm_elf_start, vmm_elf_end
	.hidden vmm_elf_start, vmm_elf_end
vmm_elf_start:
	.incbin VMM_ELF
vmm_elf_end:
	.byte 0

	.section .sitekey, "a", @progbits
	.balign 4096
	.globl sitekey_section
	.hidden sitekey_section
sitekey_section:
	.ascii "FRSHKEY1"
	.long 0, 0
	.fill 4096 - 16, 1, 0

	.section .note.GNU-stack, "", @progbits
