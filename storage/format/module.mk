format-core := $(addprefix storage/format/, guid.c manifest.c profile.c chunk.c sources.c ticket.c gpt.c)
core-src += $(format-core)

# Hosted programs: $(format-core) $(crypto-host) $(base-host), -lz -lcrypto;
# who makes objects adds $(format-encode).
format-encode := storage/format/chunk_encode.c
format-host := $(format-core) $(format-encode) $(crypto-host) $(base-host)

unit += format_manifest format_profile format_chunk format_ticket format_gpt
unit_format_manifest-src := tests/unit/format_manifest_test.c $(format-host)
unit_format_manifest-libs := -lcrypto -lz
unit_format_profile-src := tests/unit/format_profile_test.c $(format-host)
unit_format_profile-libs := -lcrypto -lz
unit_format_chunk-src := tests/unit/format_chunk_test.c $(format-host)
unit_format_chunk-libs := -lcrypto -lz
unit_format_ticket-src := tests/unit/format_ticket_test.c $(format-host)
unit_format_ticket-libs := -lcrypto -lz
unit_format_gpt-src := tests/unit/format_gpt_test.c $(format-host)
unit_format_gpt-libs := -lcrypto -lz

fuzz += manifest profile chunk ticket gpt
fuzz_manifest-src := tests/fuzz/manifest_fuzz.c $(format-host)
fuzz_manifest-libs := -lcrypto -lz
fuzz_profile-src := tests/fuzz/profile_fuzz.c $(format-host)
fuzz_profile-libs := -lcrypto -lz
fuzz_chunk-src := tests/fuzz/chunk_fuzz.c $(format-host)
fuzz_chunk-libs := -lcrypto -lz
fuzz_ticket-src := tests/fuzz/ticket_fuzz.c $(format-host)
fuzz_ticket-libs := -lcrypto -lz
fuzz_gpt-src := tests/fuzz/gpt_fuzz.c $(format-host)
fuzz_gpt-libs := -lcrypto -lz

# The state machine of a boot (storage/core/deploy.h).
deploy-src := $(addprefix storage/core/, deploy.c deploy_ticket.c deploy_slots.c deploy_claim.c \
	deploy_pick.c deploy_bg.c deploy_profile.c deploy_fill.c deploy_report.c)
core-src += $(deploy-src)

unit += deploy deploy_store
unit_deploy-src := tests/unit/deploy_test.c tests/unit/deploy_fake.c tests/unit/deploy_fake_store.c \
	$(deploy-src) $(format-host)
unit_deploy-libs := -lcrypto -lz
unit_deploy_store-src = tests/unit/deploy_store_test.c tests/unit/deploy_fake.c $(deploy-src) \
	$(store-core) $(format-host)
unit_deploy_store-libs := -lcrypto -lz
