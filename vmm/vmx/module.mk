vmm-src += vmm/vmx/run.S $(addprefix vmm/vmx/,vmx.c exit.c ept.c tick.c dump.c)
