core-src += vmm/mm/npt.c
