# lwIP 2.1 (Debian source package) and its port
lwip-src := $(addprefix $(TP)/lwip/src/, \
	core/init.c core/def.c core/inet_chksum.c core/ip.c core/mem.c core/memp.c core/netif.c \
	core/pbuf.c core/tcp.c core/tcp_in.c core/tcp_out.c core/udp.c \
	core/ipv4/dhcp.c core/ipv4/etharp.c core/ipv4/icmp.c core/ipv4/ip4.c core/ipv4/ip4_addr.c \
	netif/ethernet.c)
tp-vmm-src += $(lwip-src)
core-src += net/stack/stack.c net/stack/addr.c net/stack/share.c net/stack/sorter.c

unit += share
unit_share-src = tests/unit/share_test.c tests/fakes/net_frames.c net/stack/share.c \
	net/stack/sorter.c $(base-host)

fuzz += sorter
fuzz_sorter-src = tests/fuzz/sorter_fuzz.c net/stack/sorter.c $(base-host)
