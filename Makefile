# Freshet's only rules. Folders add to the lists in their module.mk:
#
#   core-src       portable C: compiled into the VMM and, for tests and tools, hosted
#   vmm-src        VMM only (C and assembly)
#   loader-src     the UEFI application
#   freshet-src    the admin's command line      freshetd-src  the server
#   unit           names of unit tests;   unit_NAME-src = files, unit_NAME-libs = -l...
#   fuzz           names of fuzz targets; fuzz_NAME-src = files, fuzz_NAME-libs
#
# Sources may name files under $(TP) (third-party, unpacked by the build).

BUILD ?= build
TP    ?= build/third_party
V     ?= 0
Q      = $(if $(filter 0,$(V)),@)

core-src :=
vmm-src :=
loader-src :=
freshet-src :=
freshetd-src :=
unit :=
fuzz :=
tp-vmm-src :=

MAKEFLAGS += --no-builtin-rules
.DEFAULT_GOAL := all

modules := $(sort $(wildcard */module.mk */*/module.mk))
include $(modules)

VERSION := $(shell git describe --always --dirty 2>/dev/null || echo unknown)

warn := -Wall -Wextra -Werror -Wshadow -Wmissing-prototypes -Wvla
base-flags := -std=gnu11 -I. -g -O2 -fno-strict-aliasing $(warn)
tp-inc := -isystem $(TP)/lwip/src/include -isystem $(TP)/zlib -isystem $(TP)/mbedtls/include \
	  -Inet/stack/port

vmm-flags := $(base-flags) -ffreestanding -fno-pic -fno-pie -mcmodel=kernel -mno-red-zone \
	     -mgeneral-regs-only -fno-stack-protector -fno-asynchronous-unwind-tables \
	     -fno-omit-frame-pointer -fcf-protection=none -ffunction-sections -fdata-sections \
	     -U_FORTIFY_SOURCE -DFRESHET_VMM -Wframe-larger-than=4096 $(tp-inc) \
	     -DMBEDTLS_CONFIG_FILE='"base/mbedtls_config.h"'
tp-vmm-flags := $(filter-out $(warn),$(vmm-flags)) -w -DZ_SOLO

host-cc    := gcc
host-flags := $(base-flags) -D_GNU_SOURCE -fstack-protector-strong
lwip-inc   := -isystem $(TP)/lwip/src/include -Inet/stack/port
asan-flags := -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
# Mbed TLS compares nothing with nothing: memcmp(NULL, .., 0).
tp-asan    := -fno-sanitize=nonnull-attribute

# ---------------------------------------------------------------- objects

vmm-obj = $(patsubst %,$(BUILD)/vmm/%.o,$(basename $(subst $(TP)/,tp/,$(1))))
host-obj = $(patsubst %,$(BUILD)/host/%.o,$(basename $(subst $(TP)/,tp/,$(1))))
asan-obj = $(patsubst %,$(BUILD)/asan/%.o,$(basename $(subst $(TP)/,tp/,$(1))))
fuzz-obj = $(patsubst %,$(BUILD)/fuzz/%.o,$(basename $(subst $(TP)/,tp/,$(1))))

# A change of flags rebuilds.
$(shell mkdir -p $(BUILD))
flag-file := $(BUILD)/flags
$(shell echo '$(subst ','"'"',$(vmm-flags) $(host-flags) $(asan-flags) $(tp-asan))' | cmp -s - $(flag-file) || \
	echo '$(subst ','"'"',$(vmm-flags) $(host-flags) $(asan-flags) $(tp-asan))' > $(flag-file))

# Written above, while this file was read; make may have listed the folder before.
$(flag-file): ;

tp-stamp := $(TP)/.stamp
$(tp-stamp): tools/third-party.sh
	$(Q)tools/third-party.sh $(TP)

$(BUILD)/vmm/tp/%.o: $(tp-stamp) $(flag-file)
	@mkdir -p $(@D)
	@echo "  CC(vmm)  $*.c"
	$(Q)gcc $(tp-vmm-flags) -MD -MP -c $(TP)/$*.c -o $@
$(BUILD)/vmm/%.o: %.c $(flag-file) | $(tp-stamp)
	@mkdir -p $(@D)
	@echo "  CC(vmm)  $<"
	$(Q)gcc $(vmm-flags) -MD -MP -c $< -o $@
$(BUILD)/vmm/%.o: %.S $(flag-file)
	@mkdir -p $(@D)
	@echo "  AS(vmm)  $<"
	$(Q)gcc $(vmm-flags) -D__ASSEMBLY__ -MD -MP -c $< -o $@

$(BUILD)/host/tp/%.o: $(tp-stamp) $(flag-file)
	@mkdir -p $(@D)
	$(Q)$(host-cc) $(filter-out $(warn),$(host-flags)) -w $(lwip-inc) -MD -MP -c $(TP)/$*.c -o $@
$(BUILD)/asan/tp/%.o: $(tp-stamp) $(flag-file)
	@mkdir -p $(@D)
	$(Q)$(host-cc) $(filter-out $(warn),$(host-flags)) -w $(asan-flags) $(tp-asan) $(lwip-inc) -MD -MP -c $(TP)/$*.c -o $@
$(BUILD)/fuzz/tp/%.o: $(tp-stamp) $(flag-file)
	@mkdir -p $(@D)
	$(Q)clang $(filter-out $(warn),$(host-flags)) -w -fsanitize=fuzzer-no-link,address,undefined $(tp-asan) $(lwip-inc) -MD -MP -c $(TP)/$*.c -o $@
$(BUILD)/host/%.o: %.c $(flag-file) | $(tp-stamp)
	@mkdir -p $(@D)
	@echo "  CC       $<"
	$(Q)$(host-cc) $(host-flags) $(lwip-inc) -MD -MP -c $< -o $@
$(BUILD)/asan/%.o: %.c $(flag-file) | $(tp-stamp)
	@mkdir -p $(@D)
	@echo "  CC(asan) $<"
	$(Q)$(host-cc) $(host-flags) $(asan-flags) $(lwip-inc) -MD -MP -c $< -o $@
$(BUILD)/fuzz/%.o: %.c $(flag-file) | $(tp-stamp)
	@mkdir -p $(@D)
	@echo "  CC(fuzz) $<"
	$(Q)clang $(host-flags) -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all $(lwip-inc) -MD -MP -c $< -o $@

# ---------------------------------------------------------------- the VMM

vmm-objs := $(call vmm-obj,$(core-src) $(vmm-src) $(tp-vmm-src))
$(BUILD)/vmm.elf: $(vmm-objs) vmm/main/vmm.lds
	@echo "  LD       $@"
	$(Q)ld -nostdlib -static -z noexecstack -z max-page-size=4096 --gc-sections --no-warn-rwx-segments \
		-T vmm/main/vmm.lds -o $@.plain $(vmm-objs)
	$(Q)tools/vmm-symbols.py $@.plain $@

# ---------------------------------------------------------------- programs

$(BUILD)/freshet: $(call host-obj,$(freshet-src))
	@echo "  LD       $@"
	$(Q)$(host-cc) -o $@ $^ $(freshet-libs)
$(BUILD)/freshetd: $(call host-obj,$(freshetd-src))
	@echo "  LD       $@"
	$(Q)$(host-cc) -o $@ $^ $(freshetd-libs)

# ---------------------------------------------------------------- unit tests

define unit-rules
$(BUILD)/unit/$(1): $$(call host-obj,$$(unit_$(1)-src))
	@mkdir -p $$(@D)
	$$(Q)$(host-cc) -o $$@ $$^ -lcmocka $$(unit_$(1)-libs)
$(BUILD)/unit-asan/$(1): $$(call asan-obj,$$(unit_$(1)-src))
	@mkdir -p $$(@D)
	$$(Q)$(host-cc) $(asan-flags) -o $$@ $$^ -lcmocka $$(unit_$(1)-libs)
endef
$(foreach u,$(unit),$(eval $(call unit-rules,$(u))))

define fuzz-rules
$(BUILD)/fuzz/bin/$(1): $$(call fuzz-obj,$$(fuzz_$(1)-src))
	@mkdir -p $$(@D)
	$$(Q)clang -fsanitize=fuzzer,address,undefined -o $$@ $$^ $$(fuzz_$(1)-libs)
endef
$(foreach f,$(fuzz),$(eval $(call fuzz-rules,$(f))))

$(BUILD)/sim: $(call host-obj,$(sim-src))
	@echo "  LD       $@"
	$(Q)$(host-cc) -o $@ $^ $(sim-libs)
$(BUILD)/sim-asan: $(call asan-obj,$(sim-src))
	@echo "  LD       $@"
	$(Q)$(host-cc) $(asan-flags) -o $@ $^ $(sim-libs)

# What rows_tls.py runs.
$(BUILD)/tls-bench: $(call host-obj,$(tls-bench-src))
	$(Q)$(host-cc) -o $@ $^ -lcmocka $(unit_client-libs)

unit-bins := $(foreach u,$(unit),$(BUILD)/unit/$(u) $(BUILD)/unit-asan/$(u))
fuzz-bins := $(foreach f,$(fuzz),$(BUILD)/fuzz/bin/$(f))

# ---------------------------------------------------------------- for people

.PHONY: pictures all check coverage lint unit fuzz sim sim-mutations test demo bench e2e image deps clean help third-party

SUDO := $(if $(filter 0,$(shell id -u)),,sudo)

all: $(BUILD)/freshet.efi $(BUILD)/freshet $(BUILD)/freshetd ## build the loader with its VMM, the server and the tools

third-party: $(tp-stamp)

deps: ## install the Debian packages that are missing (root or sudo)
	$(Q)tools/install-deps.sh

lint: ## layers, headers, style
	$(Q)tests/lint/run.sh

unit: $(unit-bins) ## unit tests, plain and with sanitizers
	$(Q)tests/run-unit.sh $(BUILD)

check: lint unit ## the fast inner loop

cov-tests := nvme_emul nvme_meet nvme_hostile memdisk ahci_emul
cov-build := $(BUILD)/coverage
coverage: ## line coverage of storage/emul and storage/drivers by their unit tests
	$(Q)$(MAKE) --no-print-directory BUILD=$(cov-build) TP=$(TP) host-cc='$(host-cc) --coverage' \
		$(addprefix $(cov-build)/unit/,$(cov-tests))
	$(Q)tests/coverage.sh $(cov-build) 90 $(cov-tests) -- storage/emul storage/drivers

fuzz: $(fuzz-bins) ## every fuzz target for FUZZ_SECONDS (30)
	$(Q)tests/run.py --only fuzz

SEED ?= 1
HOURS ?= 1000
sim: $(BUILD)/sim ## the storage core over simulated years: SEED=n HOURS=h
	$(Q)$(BUILD)/sim --seed $(SEED) --hours $(HOURS)

ONLY ?=
sim-mutations: $(BUILD)/sim ## planted bugs that the simulator must find: ONLY=name
	$(Q)tests/sim/mutations.py --out $(BUILD)/mutations --cc '$(host-cc) $(host-flags)' \
		--link '$(sim-libs)' --only '$(ONLY)' $(call host-obj,$(sim-src))

image: $(BUILD)/images/debian.info ## the real Debian disk image
$(BUILD)/images/debian.info: images/recipes/debian.sh
	$(Q)$(SUDO) images/recipes/debian.sh $(BUILD)/images

# These install what is missing first; the rest then runs in a fresh make,
# because the module lists may ask for what was just installed.
test: deps ## every test; the last line says N passed, N failed
	$(Q)$(MAKE) --no-print-directory -j2 all $(BUILD)/images/debian.info $(unit-bins) $(fuzz-bins) \
		$(BUILD)/sim $(BUILD)/sim-asan
	$(Q)tests/run.py

demo: deps ## the main job on real input, with a table at the end
	$(Q)$(MAKE) --no-print-directory -j2 all $(BUILD)/images/debian.info
	$(Q)/usr/bin/python3 tests/e2e/demo.py

bench: deps ## the figures, as ratios from one run
	$(Q)$(MAKE) --no-print-directory -j2 all $(BUILD)/images/debian.info
	$(Q)/usr/bin/python3 tests/perf/bench.py

e2e: all image ## end-to-end tests only
	$(Q)tests/run.py --only e2e

pictures: deps ## the browser tests again, keeping what the browser showed: docs/pictures
	$(Q)$(MAKE) --no-print-directory -j2 all $(BUILD)/images/debian.info
	$(Q)for t in tests/server/test_browser.py tests/e2e/test_first_lab.py; do \
		FRESHET_PICTURES=docs/pictures /usr/bin/python3 -m pytest -q -p no:cacheprovider $$t || exit; \
	done

help: ## this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort

clean: ## remove what was built; third-party sources and images stay
	$(Q)find $(BUILD) -mindepth 1 -maxdepth 1 ! -name third_party ! -name images -exec rm -rf {} +

-include $(shell find $(BUILD) \( -path $(TP) -o -path $(BUILD)/images -o -path '$(BUILD)/e2e*' \) -prune -o -name '*.d' -type f -print 2>/dev/null)
