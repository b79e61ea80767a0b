vmm-src += vmm/cpu/stubs.S $(addprefix vmm/cpu/,cpu.c nested.c mmio.c pio.c guest.c lapic.c \
	   apic.c exit.c nmi.c counters.c)

unit += nmi
unit_nmi-src := tests/unit/nmi_test.c vmm/cpu/nmi.c
