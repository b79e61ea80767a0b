virtio-net-src := net/emul/virtq.c net/emul/virtio_net.c
core-src += $(virtio-net-src)

virtio-net-host = $(virtio-net-src) net/stack/share.c net/stack/sorter.c tests/fakes/net_card.c \
	$(base-host)

unit += virtio_net
unit_virtio_net-src = tests/unit/virtio_net_test.c $(virtio-net-host)

fuzz += virtio_net
fuzz_virtio_net-src = tests/fuzz/virtio_net_fuzz.c $(virtio-net-host)

e1000e-emul := $(addprefix net/emul/,e1000e.c e1000e_phy.c e1000e_irq.c e1000e_rx.c e1000e_tx.c)
core-src += $(e1000e-emul)

nic-rig := tests/fakes/nic_rig.c net/stack/share.c net/stack/sorter.c

unit += e1000e_emul
unit_e1000e_emul-src = tests/unit/e1000e_emul_test.c $(e1000e-emul) $(nic-rig) \
		       net/drivers/drivers.c net/drivers/e1000e.c $(base-host)

fuzz += e1000e_emul
fuzz_e1000e_emul-src = tests/fuzz/e1000e_emul_fuzz.c $(e1000e-emul) $(nic-rig) $(base-host)
