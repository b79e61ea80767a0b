vmm-src += vmm/vmx/run.S $(addprefix vmm/vmx/,vmx.c exit.c ept.c tick.c dump.c)

unit += vmx_need
unit_vmx_need-src := tests/unit/vmx_need_test.c

# The processor as this folder relies on it: an EFI application, see vmxsuite.c.
vmxsuite-objs := $(patsubst %,$(BUILD)/loader/%.o,tests/guest/vmxsuite vmm/vmx/run vmm/mm/npt \
		 vmm/mm/memtype base/fmt base/err)
triple-objs := $(BUILD)/loader/tests/guest/triple.o

$(BUILD)/loader-test/vmxsuite.so: $(vmxsuite-objs) boot/loader/freshet.lds
	@mkdir -p $(@D)
	$(Q)$(loader-ld) -o $@ $(loader-crt) $(vmxsuite-objs) -L/usr/lib -lefi -lgnuefi
$(BUILD)/loader-test/triple.so: $(triple-objs) boot/loader/freshet.lds
	@mkdir -p $(@D)
	$(Q)$(loader-ld) -o $@ $(loader-crt) $(triple-objs) -L/usr/lib -lefi -lgnuefi

all: $(BUILD)/test/vmxsuite.efi $(BUILD)/test/triple.efi
