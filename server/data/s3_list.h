/*
 * s3_list.h - what S3-compatible storage says in XML, without being believed
 */
#ifndef SERVER_DATA_S3_LIST_H
#define SERVER_DATA_S3_LIST_H

#include "server/data/objects.h"

size_t s3_xml_text(const char *xml, const char *tag, char *out, size_t room);
int s3_list_parse(char *xml, objects_one one, void *arg, char *token, size_t room);

#endif
