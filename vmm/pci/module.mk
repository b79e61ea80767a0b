core-src += vmm/cpu/decode.c
vmm-src += vmm/pci/hw.c vmm/pci/pci.c vmm/pci/dev.c vmm/pci/virt.c vmm/pci/msix.c

unit += decode
unit_decode-src := tests/unit/decode_test.c vmm/cpu/decode.c
unit_decode-libs := -lcapstone

fuzz += decode
fuzz_decode-src := tests/fuzz/decode_fuzz.c vmm/cpu/decode.c

unit += pci
unit_pci-src := tests/unit/pci_test.c vmm/pci/pci.c vmm/pci/dev.c vmm/pci/virt.c vmm/pci/msix.c \
	$(base-host)
