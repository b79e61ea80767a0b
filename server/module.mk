# freshetd, the server. server/data is shared with the tools in images/.
server-format := storage/format/guid.c storage/format/manifest.c storage/format/sources.c \
	storage/format/ticket.c
server-base := base/err.c base/fmt.c base/log.c base/plat_host.c base/crypto_openssl.c
server-data := server/data/channels.c server/data/datadir.c server/data/siteconf.c
# What images/ builds on too.
server-store := server/data/version.c server/data/publish.c server/data/gc.c \
	server/data/objects.c server/data/s3.c server/data/s3_http.c server/data/s3_list.c \
	server/data/digestset.c server/data/profiles.c storage/format/chunk.c \
	storage/format/profile.c

freshetd-src += server/main.c server/config.c server/init.c server/httpd.c server/tls.c \
	server/request.c server/reply.c server/routes.c server/ticket.c server/fault.c \
	server/limit.c server/jobs.c server/dash.c server/verify.c server/cache.c server/fetch.c \
	$(wildcard server/fleet/*.c) $(wildcard server/api/*.c) \
	$(server-data) $(server-store) $(server-format) $(server-base)
freshetd-libs := -levent_core -levent_openssl -lsqlite3 -ljansson -lcurl -lssl -lcrypto -lz -lpthread

# The dashboard's pages are part of the program.
$(foreach k,host asan,$(BUILD)/$(k)/server/dash.o): $(wildcard server/dash/*) docs/api/openapi.json

unit += server_request server_data server_fleet server_config
unit_server_request-src := tests/unit/server_request_test.c server/request.c server/fault.c \
	$(server-base)
unit_server_request-libs := -lcrypto
unit_server_data-src := tests/unit/server_data_test.c $(server-data) $(server-store) \
	$(server-format) $(server-base)
unit_server_data-libs := -lcurl -lcrypto -lz -lpthread
unit_server_fleet-src := tests/unit/server_fleet_test.c $(wildcard server/fleet/*.c) \
	$(server-data) $(server-format) $(server-base)
unit_server_fleet-libs := -lsqlite3 -ljansson -lcrypto -lz
unit_server_config-src := tests/unit/server_config_test.c server/config.c server/limit.c \
	$(server-base)
unit_server_config-libs := -lcrypto

fuzz += server_request s3_list
fuzz_server_request-src := tests/fuzz/server_request_fuzz.c server/request.c
fuzz_s3_list-src := tests/fuzz/s3_list_fuzz.c server/data/s3_list.c server/data/datadir.c \
	$(server-base)
fuzz_s3_list-libs := -lcrypto
