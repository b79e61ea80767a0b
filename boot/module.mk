# boot/: the UEFI application with the VMM inside, and the netboot files.

loader-src += $(wildcard boot/loader/*.c) boot/loader/embed.S base/fmt.c base/err.c base/crc32c.c

# gnu11 and the EFI headers: wchar_t is CHAR16, calls are in the firmware's ABI.
loader-flags = $(base-flags) -ffreestanding -fpic -fshort-wchar -mno-red-zone \
	       -mgeneral-regs-only -fno-stack-protector -fno-asynchronous-unwind-tables \
	       -fcf-protection=none -fvisibility=hidden -fno-tree-loop-distribute-patterns \
	       -U_FORTIFY_SOURCE -DGNU_EFI_USE_MS_ABI -DFRESHET_LOADER \
	       -isystem /usr/include/efi -isystem /usr/include/efi/x86_64 -I$(BUILD)/gen \
	       -Wframe-larger-than=4096

loader-objs := $(patsubst %,$(BUILD)/loader/%.o,$(basename $(sort $(loader-src))))

# VMM_ELF=<file> embeds another VMM; until there is one, nothing.
VMM_ELF ?= $(if $(wildcard vmm/main/vmm.lds),$(BUILD)/vmm.elf,/dev/null)

$(BUILD)/loader/vmm.elf: $(filter-out /dev/null,$(VMM_ELF))
	@mkdir -p $(@D)
	$(Q)if [ -s $(VMM_ELF) ]; then strip -o $@ $(VMM_ELF); else : > $@; fi

# The version changes with every commit; the header only when it does.
$(BUILD)/gen/boot/loader/version.h: FORCE
	@mkdir -p $(@D)
	@echo '#define FRESHET_VERSION "$(VERSION)"' | cmp -s - $@ || \
		echo '#define FRESHET_VERSION "$(VERSION)"' > $@
.PHONY: FORCE
FORCE:

$(BUILD)/loader/%.o: %.c $(BUILD)/flags | $(BUILD)/gen/boot/loader/version.h
	@mkdir -p $(@D)
	@echo "  CC(efi)  $<"
	$(Q)gcc $(loader-flags) -MMD -MP -c $< -o $@
$(BUILD)/loader/%.o: %.S $(BUILD)/loader/vmm.elf
	@mkdir -p $(@D)
	@echo "  AS(efi)  $<"
	$(Q)gcc $(loader-flags) -DVMM_ELF='"$(BUILD)/loader/vmm.elf"' -MMD -MP -c $< -o $@

loader-ld = ld -nostdlib -shared -Bsymbolic -znocombreloc -znoexecstack --no-undefined \
	    --hash-style=sysv --build-id=none --no-warn-rwx-segments -T boot/loader/freshet.lds
loader-pe = objcopy -D -S -j .text -j .reloc -j .data -j .vmm -j .sitekey -j .dynamic -j .rela \
	    -j .dynsym -j .dynstr --output-target=efi-app-x86_64 --subsystem=10
loader-crt := /usr/lib/crt0-efi-x86_64.o

$(BUILD)/loader/freshet.so: $(loader-objs) boot/loader/freshet.lds
	@echo "  LD       $@"
	$(Q)$(loader-ld) -o $@ $(loader-crt) $(loader-objs) -L/usr/lib -lefi -lgnuefi

$(BUILD)/freshet.efi: $(BUILD)/loader/freshet.so
	@echo "  EFI      $@"
	$(Q)$(loader-pe) $< $@

# ---------------------------------------------------------------- tests

unit += loader_options loader_tables loader_nics
unit_loader_options-src := tests/unit/loader_options_test.c boot/loader/options.c $(base-host)
unit_loader_tables-src := tests/unit/loader_tables_test.c boot/loader/tables.c \
			  boot/loader/sitekey.c boot/loader/messages.c $(base-host)
unit_loader_nics-src = tests/unit/loader_nics_test.c boot/loader/nics.c $(nic-drivers) $(base-host)

fuzz += loader_options
fuzz_loader_options-src := tests/fuzz/loader_options_fuzz.c boot/loader/options.c $(base-host)

# The loader with a stand-in for the VMM, and an OS that ends at once: what
# tests/e2e/test_loader.py boots.
loader-test-objs := $(filter-out %/launch.o %/map.o,$(loader-objs)) \
		    $(BUILD)/loader/tests/fakes/fake_launch.o
loader-test-objs := $(patsubst $(BUILD)/loader/%,$(BUILD)/loader-test/%,$(loader-test-objs))
loader-test := $(addprefix $(BUILD)/test/,loader.efi efi_os.efi efi_os_back.efi)

.PHONY: loader-test
loader-test: $(loader-test)
all: $(loader-test)

$(BUILD)/loader-test/%.o: %.c $(BUILD)/flags | $(BUILD)/gen/boot/loader/version.h
	@mkdir -p $(@D)
	$(Q)gcc $(loader-flags) -include tests/fakes/fake_launch.h -MMD -MP -c $< -o $@
$(BUILD)/loader-test/%_back.o: %.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(Q)gcc $(loader-flags) -DCOMES_BACK -MMD -MP -c $< -o $@
$(BUILD)/loader-test/%.o: %.S
	@mkdir -p $(@D)
	@: > $(@D)/nothing
	$(Q)gcc $(loader-flags) -DVMM_ELF='"$(@D)/nothing"' -MMD -MP -c $< -o $@
$(BUILD)/loader-test/loader.so: $(loader-test-objs) boot/loader/freshet.lds
	$(Q)$(loader-ld) -o $@ $(loader-crt) $(loader-test-objs) -L/usr/lib -lefi -lgnuefi
$(BUILD)/loader-test/efi_os.so $(BUILD)/loader-test/efi_os_back.so: \
$(BUILD)/loader-test/%.so: $(BUILD)/loader-test/tests/guest/%.o
	$(Q)$(loader-ld) -o $@ $(loader-crt) $< -L/usr/lib -lefi -lgnuefi
$(BUILD)/test/%.efi: $(BUILD)/loader-test/%.so
	@mkdir -p $(@D)
	@echo "  EFI      $@"
	$(Q)$(loader-pe) $< $@
