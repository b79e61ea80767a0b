# What tests/e2e/test_bochs.py boots besides freshet.efi.

all: $(BUILD)/test/vmx_lock.efi

$(BUILD)/loader-test/vmx_lock.so: $(BUILD)/loader-test/tests/guest/vmx_lock.o boot/loader/freshet.lds
	$(Q)$(loader-ld) -o $@ $(loader-crt) $< -L/usr/lib -lefi -lgnuefi
