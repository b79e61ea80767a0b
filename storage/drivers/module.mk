core-src += storage/drivers/nvme.c
