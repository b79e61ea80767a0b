/*
 * s3.h - objects in S3-compatible storage
 */
#ifndef SERVER_DATA_S3_H
#define SERVER_DATA_S3_H

#include "server/data/objects.h"

/* "s3://BUCKET@URL[/REGION]", taken apart. */
struct s3_place {
	char bucket[64], url[192], region[40]; /* the URL without a slash at its end */
};

int s3_place_parse(struct s3_place *p, const char *text);
int s3_open(struct objects **out, const struct objects_conf *conf, char why[OBJECTS_WHY_MAX]);
const char *s3_why(void);

#endif
