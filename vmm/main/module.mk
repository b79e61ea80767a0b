vmm-src += vmm/main/entry.S vmm/main/core.c
vmm-src += vmm/main/pump.c vmm/main/machine.c vmm/main/start.c vmm/main/loaderio.c vmm/main/testdev.c
