core-src += storage/emul/nvme.c storage/emul/nvme_admin.c storage/emul/nvme_io.c storage/emul/nvme_prp.c
