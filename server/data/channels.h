/*
 * channels.h - signed pointers from a name to a version, as files of the data folder
 */
#ifndef SERVER_DATA_CHANNELS_H
#define SERVER_DATA_CHANNELS_H

#include "base/crypto_sign.h"
#include "server/data/datadir.h"
#include "storage/format/ticket.h"

int channel_read(const struct datadir *d, const char *name, const u8 pub[P256_PUB_BYTES],
		 struct channel *out);
int channel_list(const struct datadir *d, const u8 pub[P256_PUB_BYTES],
		 void (*one)(void *arg, const char *name, int err, const struct channel *ch),
		 void *arg);
int channel_point(const struct datadir *d, const struct crypto_key *key, const char *name,
		  const u8 version[SHA256_BYTES], struct channel *out);

#endif
