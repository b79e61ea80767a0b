/*
 * siteconf.h - site.conf: the settings that go into boot tickets
 */
#ifndef SERVER_DATA_SITECONF_H
#define SERVER_DATA_SITECONF_H

#include "base/types.h"
#include "storage/format/ticket.h"

#define SITECONF_PATH "site.conf"
#define SITECONF_MAX (4 * MIB)
#define SITECONF_LINE_MAX 512

int siteconf_set(struct ticket *t, const char *key, const char *value);
int siteconf_apply(const char *text, const char *uuid, struct ticket *t, int *line);
int siteconf_apply_own(const char *text, const char *uuid, struct ticket *t, int *line);
int siteconf_edit(const char *text, const char *uuid, const char *key, const char *value,
		  char *out, size_t room);

#endif
