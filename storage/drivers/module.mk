core-src += storage/drivers/nvme.c storage/drivers/memdisk.c

nvme-drv-host := base/err.c base/fmt.c base/log.c base/plat_host.c storage/drivers/nvme.c

unit += nvme_hostile
unit_nvme_hostile-src := tests/unit/nvme_hostile_test.c $(nvme-drv-host)

fuzz += nvme_identify
fuzz_nvme_identify-src := tests/fuzz/nvme_identify_fuzz.c $(nvme-drv-host)

unit += memdisk
unit_memdisk-src := tests/unit/memdisk_test.c storage/drivers/memdisk.c $(base-host)
