client-src := net/client/client.c net/client/conn.c net/client/mirror.c net/client/tls.c
core-src += $(client-src)

# The whole way from the socketless client to the wire, hosted. Recursive: later
# folders fill in their lists.
net-host = $(client-src) net/http/http.c net/stack/stack.c net/stack/addr.c net/stack/share.c net/stack/sorter.c $(lwip-src) \
	$(mbedtls-host)

client-world = tests/unit/client_world.c $(addprefix tests/fakes/net_, mirror.c httpd.c tlsd.c) \
	$(net-host) $(format-host)

tls-bench-src = tests/perf/tls_client.c $(client-world)

unit += client client_mirror client_tls
unit_client_mirror-src = tests/unit/client_mirror_test.c $(client-world)
unit_client_mirror-libs := -lssl -lcrypto -lz
unit_client-src = tests/unit/client_test.c $(client-world)
unit_client-libs := -lssl -lcrypto -lz
unit_client_tls-src = tests/unit/client_tls_test.c $(client-world)
unit_client_tls-libs := -lssl -lcrypto -lz

fuzz += net_frames tls_client
fuzz_tls_client-src = tests/fuzz/tls_client_fuzz.c net/client/tls.c base/crypto_mbedtls.c \
	$(mbedtls-host) $(base-host)
fuzz_net_frames-src = tests/fuzz/net_frames_fuzz.c $(net-host) $(format-host)
fuzz_net_frames-libs := -lcrypto -lz
