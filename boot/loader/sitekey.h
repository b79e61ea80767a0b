/*
 * sitekey.h - the `.sitekey` section of freshet.efi: whom this PC trusts
 *
 * 4096 bytes with raw data of their own in the PE file. The build leaves the
 * section empty; `freshet boot build` finds it by name and writes the site's
 * public keys into it, after which the file may be signed for Secure Boot.
 *
 *   0 magic "FRSHKEY1"   8 u32 count   12 u32 0   16 count * 64 bytes X || Y
 */
#ifndef BOOT_LOADER_SITEKEY_H
#define BOOT_LOADER_SITEKEY_H

#include "base/types.h"

#define SITEKEY_BYTES 4096
#define SITEKEY_MAX 4
#define SITEKEY_KEY_BYTES 64

int sitekey_read(const void *section, u8 keys[SITEKEY_MAX][SITEKEY_KEY_BYTES]);

#endif
