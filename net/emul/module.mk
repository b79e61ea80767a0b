virtio-net-src := net/emul/virtq.c net/emul/virtio_net.c
core-src += $(virtio-net-src)

virtio-net-host = $(virtio-net-src) net/stack/share.c net/stack/sorter.c tests/fakes/net_card.c \
	$(base-host)

unit += virtio_net
unit_virtio_net-src = tests/unit/virtio_net_test.c $(virtio-net-host)

fuzz += virtio_net
fuzz_virtio_net-src = tests/fuzz/virtio_net_fuzz.c $(virtio-net-host)
