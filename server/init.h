/*
 * init.h - the first start: keys, folders, an admin's token
 */
#ifndef SERVER_INIT_H
#define SERVER_INIT_H

#include "server/site.h"

int init_pending(const struct config *c, bool *pending);
int init_data(const struct config *c);
int init_token(struct site *s);

#endif
