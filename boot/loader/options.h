/*
 * options.h - the loader's options: freshet.conf and the load options
 */
#ifndef BOOT_LOADER_OPTIONS_H
#define BOOT_LOADER_OPTIONS_H

#include "base/types.h"

enum option {
	OPTION_SERVER, /* a.b.c.d:port */
	OPTION_MODE, /* normal | null | test */
	OPTION_IP, /* dhcp | a.b.c.d/len,gateway */
	OPTION_VERBOSE, /* 0 | 1 */
	OPTION_WAIT, /* seconds a trouble screen stays */
	OPTION_LOADER, /* \path of the OS loader on its ESP */
	OPTION_DISK, /* auto | nvme | ahci | none */
	OPTION_MEMORY, /* MiB, where there is no disk */
	OPTION_NIC, /* none | virtio | e1000e */
	OPTION_PING, /* on | off */
	OPTION_COUNT,
};

#define OPTION_BYTES 128
#define OPTIONS_FILE_MAX 16384

struct options {
	char value[OPTION_COUNT][OPTION_BYTES]; /* empty: not given */
};

struct options_error {
	u32 line; /* of the file; 0: the load options */
	char key[32];
	char what[96];
};

void options_init(struct options *o);
int options_file(struct options *o, const char *text, size_t bytes, struct options_error *e);
int options_load(struct options *o, const void *args, size_t bytes, struct options_error *e);
int options_complete(const struct options *o, struct options_error *e);
int options_render(const struct options *o, char *out, size_t room);
bool options_null_mode(const struct options *o);
bool options_test_mode(const struct options *o);
enum options_disk { OPTIONS_DISK_AUTO, OPTIONS_DISK_NVME, OPTIONS_DISK_AHCI, OPTIONS_DISK_NONE };
enum options_disk options_disk(const struct options *o);
u64 options_memory(const struct options *o); /* bytes, 0: not given */
u32 options_wait(const struct options *o);

#endif
