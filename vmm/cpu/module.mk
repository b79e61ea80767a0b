vmm-src += vmm/cpu/stubs.S $(addprefix vmm/cpu/,cpu.c nested.c mmio.c pio.c guest.c lapic.c \
	   apic.c exit.c counters.c)
