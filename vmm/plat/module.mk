vmm-src += $(addprefix vmm/plat/,panic.c console.c screen.c string.c time.c memory.c)

unit += screen
unit_screen-src := tests/unit/screen_test.c vmm/plat/screen.c $(base-host)
