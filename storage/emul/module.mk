nvme-emul := storage/emul/nvme.c storage/emul/nvme_admin.c storage/emul/nvme_io.c \
	     storage/emul/nvme_prp.c storage/emul/nvme_dbbuf.c storage/emul/segs.c
ahci-emul := storage/emul/ahci.c storage/emul/ahci_port.c storage/emul/ahci_prd.c \
	     storage/emul/ata.c storage/emul/ata_identify.c storage/emul/atapi.c
core-src += $(nvme-emul) $(ahci-emul)

emul-test-host := base/err.c base/fmt.c base/log.c base/plat_host.c tests/fakes/fake_bar.c \
		  $(nvme-emul) $(ahci-emul)

unit += nvme_meet
unit_nvme_meet-src := tests/unit/nvme_meet_test.c storage/drivers/nvme.c $(emul-test-host)

unit += nvme_emul
unit_nvme_emul-src := tests/unit/nvme_emul_test.c $(emul-test-host)

unit += nvme_dbbuf
unit_nvme_dbbuf-src := tests/unit/nvme_dbbuf_test.c $(emul-test-host)

fuzz += nvme_emul
fuzz_nvme_emul-src := tests/fuzz/nvme_emul_fuzz.c $(emul-test-host)

unit += ahci_meet
unit_ahci_meet-src := tests/unit/ahci_meet_test.c $(ahci-drv) $(emul-test-host)

unit += ahci_emul
unit_ahci_emul-src := tests/unit/ahci_emul_test.c $(emul-test-host)

fuzz += ahci_emul
fuzz_ahci_emul-src := tests/fuzz/ahci_emul_fuzz.c $(emul-test-host)

unit += ahci_packet
unit_ahci_packet-src := tests/unit/ahci_packet_test.c tests/fakes/hba_model.c $(ahci-drv) $(emul-test-host)
