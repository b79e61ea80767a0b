core-src += vmm/cpu/decode.c
