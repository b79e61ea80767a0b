/*
 * config.h - freshetd's own settings: a file of "key value" lines, then the command line
 */
#ifndef SERVER_CONFIG_H
#define SERVER_CONFIG_H

#include "base/types.h"

#define CONFIG_LISTEN_MAX 4
#define CONFIG_TEXT_MAX 256

/* Who may use something over a plain connection. */
enum config_plain {
	PLAIN_OFF,
	PLAIN_LOOPBACK, /* the server's own host */
	PLAIN_ON,
};

struct config {
	char data[CONFIG_TEXT_MAX];
	char key[CONFIG_TEXT_MAX];
	char listen[CONFIG_LISTEN_MAX][CONFIG_TEXT_MAX];
	char listen_tls[CONFIG_LISTEN_MAX][CONFIG_TEXT_MAX];
	u32 listens, listens_tls;
	char tls_cert[CONFIG_TEXT_MAX], tls_key[CONFIG_TEXT_MAX]; /* "": made by us */
	char objects[CONFIG_TEXT_MAX]; /* where they are; "": as the folder says */
	char s3_credentials[CONFIG_TEXT_MAX], s3_ca[CONFIG_TEXT_MAX];
	u32 s3_connections; /* requests to the storage at once */
	char tls_names[CONFIG_TEXT_MAX];			    /* more names for our own */
	char wake_address[CONFIG_TEXT_MAX];
	u32 connections;
	u32 api_rate;	  /* requests per second and address, with a token or without */
	u32 login_rate;	  /* wrong tokens per minute and address */
	u32 boot_rate;	  /* tickets and reports per second and address */
	u32 object_cache; /* open files */
	u32 jobs;	  /* threads for slow work */
	int log_level;
	bool open_enrolment;
	enum config_plain plain_api, metrics;
	bool plain_objects, plain_boot;
	bool dashboard;
	bool verify; /* objects, before they are served for the first time */
};

void config_default(struct config *c);
int config_set(struct config *c, const char *key, const char *value);
int config_read(struct config *c, const char *path, char why[256]);

#endif
