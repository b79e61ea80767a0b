vmm-src += $(addprefix vmm/plat/,panic.c console.c screen.c string.c time.c memory.c crash.c entropy.c)

unit += screen crash string
unit_string-src := tests/unit/string_test.c $(base-host)
unit_crash-src := tests/unit/crash_test.c vmm/plat/crash.c $(base-host)
unit_screen-src := tests/unit/screen_test.c vmm/plat/screen.c $(base-host)
