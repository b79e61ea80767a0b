core-src += net/drivers/e1000e.c

unit += e1000e
unit_e1000e-src = tests/unit/e1000e_test.c tests/fakes/net_e1000.c net/drivers/e1000e.c $(base-host)
