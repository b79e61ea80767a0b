core-src += storage/drivers/nvme.c storage/drivers/memdisk.c
ahci-drv := storage/drivers/ahci.c storage/drivers/ahci_port.c storage/drivers/ahci_io.c \
	    storage/drivers/ahci_packet.c storage/drivers/ahci_id.c
core-src += $(ahci-drv)

nvme-drv-host := base/err.c base/fmt.c base/log.c base/plat_host.c storage/drivers/nvme.c

unit += nvme_hostile
unit_nvme_hostile-src := tests/unit/nvme_hostile_test.c $(nvme-drv-host)

fuzz += nvme_identify
fuzz_nvme_identify-src := tests/fuzz/nvme_identify_fuzz.c $(nvme-drv-host)

unit += memdisk
unit_memdisk-src := tests/unit/memdisk_test.c storage/drivers/memdisk.c $(base-host)

ahci-drv-host := base/err.c base/fmt.c base/log.c base/plat_host.c $(ahci-drv)

unit += ahci
unit_ahci-src := tests/unit/ahci_test.c tests/fakes/hba_model.c $(ahci-drv-host)

fuzz += ahci_drv ahci_identify
fuzz_ahci_drv-src := tests/fuzz/ahci_drv_fuzz.c tests/fakes/hba_model.c $(ahci-drv-host)
fuzz_ahci_identify-src := tests/fuzz/ahci_identify_fuzz.c $(ahci-drv-host)
