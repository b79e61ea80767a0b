/*
 * fleet.h - what the server knows of each machine
 */
#ifndef SERVER_FLEET_H
#define SERVER_FLEET_H

#include "base/types.h"

#define FLEET_MACHINES_MAX 65536
#define FLEET_REPORT_MAX (64 * 1024)

struct fleet;

struct fleet_boot {
	const char *uuid, *mac, *disk, *address; /* validated; "" when not told */
};

int fleet_open(struct fleet **out, const char *path);
void fleet_close(struct fleet *f);
int fleet_seen(struct fleet *f, const struct fleet_boot *b);
int fleet_report(struct fleet *f, const char *json, size_t bytes, const char *address);
int fleet_list(struct fleet *f, char **json);

#endif
