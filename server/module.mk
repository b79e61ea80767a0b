# freshetd, the server. server/data is shared with the tools in images/.
server-format := storage/format/guid.c storage/format/manifest.c storage/format/ticket.c
server-base := base/err.c base/fmt.c base/log.c base/plat_host.c base/crypto_openssl.c
server-data := server/data/channels.c server/data/datadir.c server/data/siteconf.c

freshetd-src += server/main.c server/httpd.c server/request.c server/reply.c server/routes.c \
	server/ticket.c server/fault.c server/fleet.c $(server-data) $(server-format) $(server-base)
freshetd-libs := -levent_core -lsqlite3 -lcrypto -lz -lpthread

unit += server_request server_data
unit_server_request-src := tests/unit/server_request_test.c server/request.c server/fault.c \
	$(server-base)
unit_server_request-libs := -lcrypto
unit_server_data-src := tests/unit/server_data_test.c server/fleet.c $(server-data) \
	$(server-format) $(server-base)
unit_server_data-libs := -lsqlite3 -lcrypto -lz

fuzz += server_request
fuzz_server_request-src := tests/fuzz/server_request_fuzz.c server/request.c
