/*
 * nbd_server.h - a version as a read-only network block device
 */
#ifndef IMAGES_NBD_SERVER_H
#define IMAGES_NBD_SERVER_H

#include "server/data/version.h"

struct nbd_server {
	const struct datadir *d;
	const struct version *v;
	int fd; /* listening */
	bool once; /* end when the last client goes */
};

int nbd_server_listen_unix(struct nbd_server *s, const char *path);
int nbd_server_listen_tcp(struct nbd_server *s, u16 port);
int nbd_server_run(struct nbd_server *s, int stop_fd);

#endif
