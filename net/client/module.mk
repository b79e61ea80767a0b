client-src := net/client/client.c net/client/conn.c
core-src += $(client-src)

# The whole way from the socketless client to the wire, hosted. Recursive: later
# folders fill in their lists.
net-host = $(client-src) net/http/http.c net/stack/stack.c net/stack/addr.c net/stack/share.c net/stack/sorter.c $(lwip-src)

unit += client
unit_client-src = tests/unit/client_test.c tests/fakes/net_mirror.c tests/fakes/net_httpd.c \
	$(net-host) $(format-host)
unit_client-libs := -lcrypto -lz

fuzz += net_frames
fuzz_net_frames-src = tests/fuzz/net_frames_fuzz.c $(net-host) $(format-host)
fuzz_net_frames-libs := -lcrypto -lz
