vmm-src += vmm/main/entry.S vmm/main/core.c
vmm-src += $(addprefix vmm/main/, pump.c machine.c backends.c frontend.c nic.c start.c loaderio.c \
	testdev.c)

# Both ends of the loader's disk; the loader's includes the header that takes hypercall() away.
unit += loaderio
unit_loaderio-src := tests/unit/loaderio_test.c tests/fakes/fake_hcdisk.c vmm/main/loaderio.c \
		     $(base-host)

unit += pump
unit_pump-src := tests/unit/pump_test.c vmm/main/pump.c
