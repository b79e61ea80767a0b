nvme-emul := storage/emul/nvme.c storage/emul/nvme_admin.c storage/emul/nvme_io.c \
	     storage/emul/nvme_prp.c
core-src += $(nvme-emul)

nvme-test-host := base/err.c base/fmt.c base/log.c base/plat_host.c tests/fakes/fake_bar.c $(nvme-emul)

unit += nvme_meet
unit_nvme_meet-src := tests/unit/nvme_meet_test.c storage/drivers/nvme.c $(nvme-test-host)

unit += nvme_emul
unit_nvme_emul-src := tests/unit/nvme_emul_test.c $(nvme-test-host)

fuzz += nvme_emul
fuzz_nvme_emul-src := tests/fuzz/nvme_emul_fuzz.c $(nvme-test-host)
