/*
 * profiles.h - boot profiles: what PCs told, and what is made of it
 */
#ifndef SERVER_DATA_PROFILES_H
#define SERVER_DATA_PROFILES_H

#include "base/crypto_sign.h"
#include "server/data/datadir.h"

#define PROFILES_REPORTS 8 /* machines whose report is kept, for each version */

int profiles_add(const struct datadir *d, const struct crypto_key *key, const char *uuid,
		 const void *bytes, size_t n);
void profiles_drop(const struct datadir *d, const u8 version[SHA256_BYTES]);
void path_profile(char out[DATADIR_PATH_MAX], const u8 version[SHA256_BYTES], const char *name);

#endif
