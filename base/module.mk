base-core := base/err.c base/fmt.c base/log.c base/crc32c.c
base-host := $(base-core) base/plat_host.c
core-src += $(base-core)

unit += base
unit_base-src := tests/unit/base_test.c $(base-host)
