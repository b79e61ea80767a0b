# The bare-metal test guest, see vmmtest.c.
vmmtest-objs := $(patsubst %.c,%,$(patsubst %.S,%,$(wildcard tests/guest/vmmtest*.[cS]))) \
		base/fmt base/err
vmmtest-objs := $(patsubst %,$(BUILD)/loader/%.o,$(vmmtest-objs))

$(BUILD)/loader-test/vmmtest.so: $(vmmtest-objs) boot/loader/freshet.lds
	@mkdir -p $(@D)
	$(Q)$(loader-ld) -o $@ $(loader-crt) $(vmmtest-objs) -L/usr/lib -lefi -lgnuefi

all: $(BUILD)/test/vmmtest.efi

# An OS that asks the VMM for a panic, see tests/e2e/test_panic.py.
$(BUILD)/loader-test/vmm_panic.so: $(BUILD)/loader/tests/guest/vmm_panic.o
	@mkdir -p $(@D)
	$(Q)$(loader-ld) -o $@ $(loader-crt) $< -L/usr/lib -lefi -lgnuefi

all: $(BUILD)/test/vmm_panic.efi
