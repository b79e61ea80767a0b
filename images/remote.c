/*
 * remote.c - the server's API, from the command line
 *
 * Where the server is and what we may do there comes from, the first that says so: the
 * options, the environment (FRESHET_SERVER, FRESHET_TOKEN_FILE, FRESHET_CA), the
 * file ~/.config/freshet/client.conf, /etc/freshet/client.conf ("server URL", "token
 * FILE", "ca FILE"), and last this host's own freshetd with its admin.token.
 *
 * Over https the certificate is checked, always; --ca names the site's ca.crt.
 */
#include "images/remote.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fmt.h"
#include "storage/format/ticket.h"

#define SERVER_DEFAULT "http://127.0.0.1:8080"
#define TOKEN_DEFAULT "/var/lib/freshet/admin.token"
#define TEXT_MAX 512

struct remote {
	CURL *curl;
	struct curl_slist *fields;
	char server[TEXT_MAX], token[128], ca[TEXT_MAX];
	char why[CURL_ERROR_SIZE];
};

/* What came back. */
struct answer {
	u8 *data;
	size_t bytes, room;
	void (*line)(void *arg, const char *text);
	void *arg;
};

static void settle(char *out, const char *value)
{
	if (!out[0] && value)
		fmt_snprintf(out, TEXT_MAX, "%s", value);
}

static void read_client_conf(const char *path, char *server, char *token, char *ca)
{
	FILE *f = fopen(path, "re");
	char line[TEXT_MAX + 32], key[16], value[TEXT_MAX];

	while (f && fgets(line, sizeof(line), f)) {
		if (line[0] == '#' || sscanf(line, "%15s %511s", key, value) != 2)
			continue;
		settle(!strcmp(key, "server") ? server : !strcmp(key, "token") ? token :
		       !strcmp(key, "ca") ? ca : (char[TEXT_MAX]){ "x" }, value);
	}
	if (f)
		fclose(f);
}

static int read_token(struct remote *r, const char *path)
{
	FILE *f = fopen(path, "re");
	size_t n;

	if (!f) {
		cli_error("cannot read the token %s: %s; name one with --token FILE", path,
			  strerror(errno));
		return -errno;
	}
	n = fread(r->token, 1, sizeof(r->token) - 1, f);
	fclose(f);
	r->token[n] = 0;
	r->token[strcspn(r->token, " \t\r\n")] = 0;
	return 0;
}

static struct remote *set_up(struct remote *r)
{
	char field[200];

	r->curl = curl_easy_init();
	fmt_snprintf(field, sizeof(field), "Authorization: Bearer %s", r->token);
	r->fields = curl_slist_append(NULL, field);
	r->fields = curl_slist_append(r->fields, "Expect:");
	if (r->curl && r->fields)
		return r;
	remote_close(r);
	return NULL;
}

/** remote_open() - find server and token; says what is wrong */
int remote_open(struct remote **out, const struct remote_args *a)
{
	struct remote *r = calloc(1, sizeof(*r));
	char token[TEXT_MAX] = "", path[TEXT_MAX];
	const char *home = getenv("HOME");
	int err;

	if (!r)
		return -ENOMEM;
	settle(r->server, a->server ? a->server : getenv("FRESHET_SERVER"));
	settle(token, a->token ? a->token : getenv("FRESHET_TOKEN_FILE"));
	settle(r->ca, a->ca ? a->ca : getenv("FRESHET_CA"));
	fmt_snprintf(path, sizeof(path), "%s/.config/freshet/client.conf", home ? home : "");
	read_client_conf(path, r->server, token, r->ca);
	read_client_conf("/etc/freshet/client.conf", r->server, token, r->ca);
	settle(r->server, SERVER_DEFAULT);
	settle(token, TOKEN_DEFAULT);
	while (r->server[0] && r->server[strlen(r->server) - 1] == '/')
		r->server[strlen(r->server) - 1] = 0;
	err = read_token(r, token);
	if (err) {
		free(r);
		return err;
	}
	curl_global_init(CURL_GLOBAL_DEFAULT);
	*out = set_up(r);
	return *out ? 0 : -ENOMEM;
}

/** remote_again() - another connection to the same server, for another thread */
struct remote *remote_again(const struct remote *r)
{
	struct remote *n = calloc(1, sizeof(*n));

	if (!n)
		return NULL;
	memcpy(n->server, r->server, sizeof(n->server));
	memcpy(n->token, r->token, sizeof(n->token));
	memcpy(n->ca, r->ca, sizeof(n->ca));
	return set_up(n);
}

/** remote_close() - NULL is fine */
void remote_close(struct remote *r)
{
	if (!r)
		return;
	curl_slist_free_all(r->fields);
	if (r->curl)
		curl_easy_cleanup(r->curl);
	free(r);
}

/** remote_url() - for messages */
const char *remote_url(const struct remote *r)
{
	return r->server;
}

static size_t take(char *data, size_t size, size_t n, void *arg)
{
	struct answer *a = arg;

	n *= size;
	if (a->bytes + n + 1 > a->room) {
		size_t room = (a->bytes + n + 1) * 2;
		u8 *more = realloc(a->data, room);

		if (!more)
			return 0;
		a->data = more;
		a->room = room;
	}
	memcpy(a->data + a->bytes, data, n);
	a->bytes += n;
	a->data[a->bytes] = 0;
	while (a->line) { /* whole lines go out at once */
		char *end = memchr(a->data, '\n', a->bytes);
		size_t used;

		if (!end)
			break;
		*end = 0;
		a->line(a->arg, (char *)a->data);
		used = (size_t)(end + 1 - (char *)a->data);
		memmove(a->data, a->data + used, a->bytes - used + 1);
		a->bytes -= used;
	}
	return n;
}

static int perform(struct remote *r, const char *method, const char *path, const void *body,
		   size_t n, struct answer *a, long *status)
{
	char url[2 * TEXT_MAX];
	CURLcode rc;

	fmt_snprintf(url, sizeof(url), "%s%s", r->server, path);
	curl_easy_reset(r->curl);
	curl_easy_setopt(r->curl, CURLOPT_URL, url);
	curl_easy_setopt(r->curl, CURLOPT_HTTPHEADER, r->fields);
	curl_easy_setopt(r->curl, CURLOPT_CUSTOMREQUEST, method);
	curl_easy_setopt(r->curl, CURLOPT_WRITEFUNCTION, take);
	curl_easy_setopt(r->curl, CURLOPT_WRITEDATA, a);
	curl_easy_setopt(r->curl, CURLOPT_ERRORBUFFER, r->why);
	curl_easy_setopt(r->curl, CURLOPT_CONNECTTIMEOUT, 20L);
	curl_easy_setopt(r->curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(r->curl, CURLOPT_FILETIME, 1L);
	if (!a->line) {
		curl_easy_setopt(r->curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
		curl_easy_setopt(r->curl, CURLOPT_LOW_SPEED_TIME, 300L);
	}
	if (r->ca[0])
		curl_easy_setopt(r->curl, CURLOPT_CAINFO, r->ca);
	if (body) {
		curl_easy_setopt(r->curl, CURLOPT_POSTFIELDS, body);
		curl_easy_setopt(r->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)n);
	}
	r->why[0] = 0;
	rc = curl_easy_perform(r->curl);
	curl_easy_getinfo(r->curl, CURLINFO_RESPONSE_CODE, status);
	if (rc == CURLE_OK)
		return 0;
	fmt_snprintf(r->why, sizeof(r->why), "%s", r->why[0] ? r->why : curl_easy_strerror(rc));
	return -EIO;
}

/**
 * remote_call() - a call of the API
 * @body: taken; NULL: none
 *
 * Return: what the server answered, {} when nothing; NULL when it could not be asked,
 * which has been said.
 */
json_t *remote_call(struct remote *r, const char *method, const char *path, json_t *body,
		    long *status)
{
	char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
	struct answer a = { 0 };
	json_t *o = NULL;
	int err = perform(r, method, path, text, text ? strlen(text) : 0, &a, status);

	if (err)
		cli_error("cannot ask %s: %s", r->server, r->why);
	else
		o = a.bytes ? json_loadb((char *)a.data, a.bytes, 0, NULL) : json_object();
	if (!err && !o)
		cli_error("%s: status %ld and no JSON; is it freshetd?", r->server, *status);
	free(a.data);
	free(text);
	json_decref(body);
	return o;
}

/** remote_put() - send bytes; like remote_call(), but silent on failure */
json_t *remote_put(struct remote *r, const char *path, const void *bytes, size_t n, long *status)
{
	struct answer a = { 0 };
	json_t *o = NULL;

	*status = 0;
	if (!perform(r, "PUT", path, bytes, n, &a, status))
		o = a.bytes ? json_loadb((char *)a.data, a.bytes, 0, NULL) : json_object();
	if (!o)
		o = json_pack("{s:s}", "error", r->why[0] ? r->why : "no JSON came back");
	free(a.data);
	return o;
}

/** remote_get() - bytes as they are; silent; @date NULL or out: the server's clock, 0 unknown */
int remote_get(struct remote *r, const char *path, u8 **bytes, size_t *n, long *status,
	       long long *date)
{
	struct curl_header *h;
	struct answer a = { 0 };
	int err = perform(r, "GET", path, NULL, 0, &a, status);

	if (date) {
		*date = 0;
		if (!err && !curl_easy_header(r->curl, "Date", 0, CURLH_HEADER, -1, &h))
			*date = curl_getdate(h->value, NULL);
	}
	if (err) {
		free(a.data);
		return err;
	}
	*bytes = a.data;
	*n = a.bytes;
	return 0;
}

/** remote_follow() - an endless answer, line by line, until it ends */
int remote_follow(struct remote *r, const char *path, void (*line)(void *arg, const char *text),
		  void *arg)
{
	struct answer a = { .line = line, .arg = arg };
	long status = 0;
	int err = perform(r, "GET", path, NULL, 0, &a, &status);

	free(a.data);
	if (!err && status != 200) {
		cli_error("%s: status %ld", r->server, status);
		err = -EIO;
	}
	return err;
}

/** remote_say() - was it done? If not, say why; 0 or -EIO */
int remote_say(const json_t *answer, long status)
{
	const char *why = json_string_value(json_object_get(answer, "error"));

	if (status >= 200 && status < 300)
		return 0;
	cli_error("%s (status %ld)", why ? why : "the server refused", status);
	return -EIO;
}

/**
 * remote_version() - what the user calls a version, on the server: 64 hex digits, the
 * first six or more of them, or a channel's name
 */
int remote_version(struct remote *r, const char *text, char hex[DIGEST_HEX + 1])
{
	bool channel = strchr(text, '/') || strspn(text, "0123456789abcdef") != strlen(text);
	json_t *all, *o;
	long status;
	size_t i, found = 0;

	all = remote_call(r, "GET", channel ? "/api/v1/channels" : "/api/v1/versions", NULL,
			  &status);
	if (!all || remote_say(all, status)) {
		json_decref(all);
		return -EIO;
	}
	json_array_foreach(all, i, o) {
		const char *v = json_string_value(json_object_get(o, "version"));
		const char *name = json_string_value(json_object_get(o, "name"));

		if (!v || (channel ? strcmp(name, text) :
				     strlen(text) < 6 || strncmp(v, text, strlen(text))))
			continue;
		fmt_snprintf(hex, DIGEST_HEX + 1, "%s", v);
		found++;
	}
	json_decref(all);
	if (found == 1)
		return 0;
	cli_error(found ? "%s: more than one version begins so" :
		  channel ? "the server has no channel %s" : "the server has no version %s", text);
	return -ENOENT;
}
