core-src += net/drivers/e1000e.c
