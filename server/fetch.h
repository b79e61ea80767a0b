/*
 * fetch.h - an object that lies elsewhere is fetched, looked at and served
 */
#ifndef SERVER_FETCH_H
#define SERVER_FETCH_H

#include "server/site.h"

int fetch_begin(struct site *s, const u8 digest[SHA256_BYTES], struct reply *r);

#endif
