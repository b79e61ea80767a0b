# The simulator: storage/core as it is, everything around it simulated. `make sim`.
sim-src = $(addprefix tests/sim/, main.c plat.c disk.c source.c model.c guest.c damage.c world.c) \
	$(store-core) $(store-check) $(deploy-src) $(format-core) $(base-core)
sim-libs := -lcrypto -lz
