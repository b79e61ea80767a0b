store-core := $(addprefix storage/core/, chunkmap.c crctab.c journal.c store.c imagemap.c sched.c \
	      guestio.c guestio_read.c guestio_write.c \
	      bind.c stage.c profile.c reclaim.c scrub.c disk.c) \
	storage/format/journal.c
core-src += $(store-core)

# Unit tests: $(store-core) with $(format-core) $(crypto-host) $(base-host), -lcrypto -lz
store-fakes := tests/fakes/disk_fake.c tests/fakes/source_fake.c tests/fakes/rig.c
store-test = $(store-core) $(store-fakes) $(format-core) $(crypto-host) $(base-host)

unit += store_crash
unit_store_crash-src = tests/unit/store_crash_test.c $(store-test)
unit_store_crash-libs := -lcrypto -lz

unit += disk_basic
unit_disk_basic-src = tests/unit/disk_basic_test.c $(store-test)
unit_disk_basic-libs := -lcrypto -lz

unit += disk_memory
unit_disk_memory-src = tests/unit/disk_memory_test.c tests/fakes/big_disk.c $(store-test)
unit_disk_memory-libs := -lcrypto -lz

unit += disk_figures
unit_disk_figures-src = tests/unit/disk_figures_test.c tests/fakes/big_disk.c $(store-test)
unit_disk_figures-libs := -lcrypto -lz

unit += chunkmap
unit_chunkmap-src = tests/unit/chunkmap_test.c $(store-test)
unit_chunkmap-libs := -lcrypto -lz

unit += trim
unit_trim-src = tests/unit/trim_test.c $(store-test)
unit_trim-libs := -lcrypto -lz

unit += profile
unit_profile-src = tests/unit/profile_test.c $(store-test)
unit_profile-libs := -lcrypto -lz

unit += store_journal
unit_store_journal-src = tests/unit/store_journal_test.c $(store-test)
unit_store_journal-libs := -lcrypto -lz

# The offline check: hosted programs only (freshet store).
store-check := storage/core/check.c

unit += store_check
unit_store_check-src = tests/unit/store_check_test.c tests/unit/deploy_fake.c $(deploy-src) \
	$(store-core) $(store-check) $(format-host)
unit_store_check-libs := -lcrypto -lz

fuzz += journal
fuzz_journal-src = tests/fuzz/journal_fuzz.c storage/format/journal.c $(base-host)
