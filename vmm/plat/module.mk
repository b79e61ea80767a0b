vmm-src += $(addprefix vmm/plat/,panic.c console.c string.c time.c memory.c)
