/*
 * verify.h - an object is looked at before it is served for the first time
 */
#ifndef SERVER_VERIFY_H
#define SERVER_VERIFY_H

#include "server/site.h"

bool verify_begin(struct site *s, const u8 digest[SHA256_BYTES], struct reply *r);

#endif
