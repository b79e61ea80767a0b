# Every driver of a card, and what they share: all of it goes into the VMM.
nic-drivers := $(addprefix net/drivers/,drivers.c e1000e.c igb.c virtio.c virtio_net.c)
core-src += $(nic-drivers)

unit += e1000e
unit_e1000e-src = tests/unit/e1000e_test.c tests/fakes/net_e1000.c net/drivers/drivers.c \
		  net/drivers/e1000e.c $(base-host)

unit += virtio_net_drv
unit_virtio_net_drv-src = tests/unit/virtio_net_drv_test.c tests/fakes/net_virtio.c net/drivers/drivers.c \
		      net/drivers/virtio.c net/drivers/virtio_net.c $(base-host)

unit += igb
unit_igb-src = tests/unit/igb_test.c tests/fakes/net_igb.c net/drivers/drivers.c net/drivers/igb.c \
	       $(base-host)
