/*
 * dash.h - the dashboard's pages
 */
#ifndef SERVER_DASH_H
#define SERVER_DASH_H

#include "server/site.h"

bool dash_answer(struct site *s, struct site_request *q, struct reply *r);

#endif
