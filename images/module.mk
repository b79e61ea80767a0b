# freshet: the admin's command line. What it shares with the server is server/data.
images-format := storage/format/chunk.c storage/format/chunk_encode.c storage/format/guid.c \
	storage/format/manifest.c storage/format/sources.c storage/format/ticket.c
images-base := base/err.c base/fmt.c base/log.c base/plat_host.c base/crypto_openssl.c
images-data := server/data/channels.c server/data/datadir.c server/data/siteconf.c \
	server/data/version.c server/data/publish.c server/data/gc.c server/data/objects.c \
	server/data/s3.c server/data/s3_http.c server/data/s3_list.c server/data/digestset.c \
	server/data/profiles.c storage/format/profile.c

# freshet store: the VMM's own store; freshet swarm: its client and storage core over
# the host's sockets. All of the core: a list of what is needed goes stale.
images-core := $(wildcard storage/core/*.c) storage/format/journal.c storage/format/gpt.c \
	storage/format/profile.c base/crc32c.c
images-store := images/store_cmd.c
images-swarm := images/swarm.c images/swarm_pc.c images/swarm_disk.c images/swarm_time.c \
	net/sockets/sockets.c net/client/client.c net/client/conn.c net/client/mirror.c net/client/tls.c \
	net/http/http.c net/stack/addr.c $(mbedtls-host)

freshet-src += images/main.c images/cli.c images/options.c images/key.c images/image.c images/builder.c \
	images/source.c images/walk.c images/channel.c images/site.c images/boot.c images/netboot.c images/pe.c \
	images/remote.c images/push.c images/admin_cmd.c images/upkeep.c images/reader.c \
	images/nbd_server.c images/doctor.c \
	$(images-data) $(images-format) $(images-base) \
	$(images-core) $(images-store) $(images-swarm)
freshet-libs := -lnbd -lcurl -ljansson -lcrypto -lz -lpthread

unit += images
unit_images-src := tests/unit/images_test.c images/cli.c images/options.c images/pe.c \
	$(images-data) $(images-format) $(images-base)
unit_images-libs := -lcurl -lcrypto -lz -lpthread
