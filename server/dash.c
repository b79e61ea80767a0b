/*
 * dash.c - the dashboard's pages, and logging in
 *
 * The pages are files of server/dash/, part of the program: one file to install,
 * nothing fetched from elsewhere, and the browser is told to allow nothing else
 * (Content-Security-Policy). They read and change everything through the JSON API.
 *
 * Logging in turns a token into a session: a token of its own, with the same role, as
 * a cookie that scripts cannot read and other sites cannot send, for twelve hours.
 */
#include "server/dash.h"

#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/err.h"
#include "base/fmt.h"
#include "base/plat.h"

#define SESSION_S (12 * 3600)

#define EMBED(name, path)                                                                          \
	__asm__(".section .rodata\n.global " #name "\n.global " #name "_end\n" #name              \
		":\n.incbin \"" path "\"\n" #name "_end:\n.byte 0\n.previous\n");                  \
	extern const char name[], name##_end[]

EMBED(dash_index_html, "server/dash/index.html");
EMBED(dash_login_html, "server/dash/login.html");
EMBED(dash_app_js, "server/dash/app.js");
EMBED(dash_style_css, "server/dash/style.css");
EMBED(dash_openapi_json, "docs/api/openapi.json");

static const struct page {
	const char *path, *type, *data, *end;
	bool open; /* for who has not logged in too */
} pages[] = {
	{ "/", "text/html; charset=utf-8", dash_index_html, dash_index_html_end, false },
	{ "/login", "text/html; charset=utf-8", dash_login_html, dash_login_html_end, true },
	{ "/dash/app.js", "text/javascript; charset=utf-8", dash_app_js, dash_app_js_end, true },
	{ "/dash/style.css", "text/css; charset=utf-8", dash_style_css, dash_style_css_end, true },
	{ "/openapi.json", "application/json", dash_openapi_json, dash_openapi_json_end, true },
};

static void go_to(struct reply *r, const char *where)
{
	reply_error(r, 303);
	reply_field(r, "Location", where);
}

static void send_page(const struct page *p, struct reply *r)
{
	size_t n = (size_t)(p->end - p->data);

	r->data = malloc(n + 1);
	if (!r->data) {
		reply_error(r, 503);
		return;
	}
	memcpy(r->data, p->data, n);
	r->bytes = n;
	r->type = p->type;
	r->cache = "no-cache";
	reply_field(r, "Content-Security-Policy",
		    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
		    " img-src 'self' data:; form-action 'self'; frame-ancestors 'none';"
		    " base-uri 'none'");
	reply_field(r, "X-Content-Type-Options", "nosniff");
	reply_field(r, "Referrer-Policy", "no-referrer");
}

static enum fleet_role session_role(struct site *s, const struct site_request *q)
{
	char name[64];

	if (!s->fleet || !q->head->cookie[0])
		return ROLE_NONE;
	return fleet_token_role(s->fleet, q->head->cookie, name);
}

/* "token=frt_..." of a form; blanks around it come from copying. */
static bool form_token(const struct site_request *q, char token[REQUEST_TOKEN_MAX])
{
	const char *p = (const char *)q->body, *end = p + q->head->body_bytes;
	size_t n = 0;

	if (end - p < 6 || memcmp(p, "token=", 6))
		return false;
	for (p += 6; p < end && *p != '&'; p++) {
		if (*p == '+')
			continue;
		if (n + 1 >= REQUEST_TOKEN_MAX)
			return false;
		token[n++] = *p;
	}
	token[n] = 0;
	return n > 0;
}

static void set_cookie(const struct site_request *q, struct reply *r, const char *value, int age)
{
	char field[200];

	fmt_snprintf(field, sizeof(field),
		     "freshet=%s; Path=/; HttpOnly; SameSite=Strict; Max-Age=%d%s", value, age,
		     q->tls ? "; Secure" : "");
	reply_field(r, "Set-Cookie", field);
}

static void login(struct site *s, const struct site_request *q, struct reply *r)
{
	char token[REQUEST_TOKEN_MAX], who[64], name[96], session[64], tag[9];
	enum fleet_role role = ROLE_NONE;
	u8 random[4] = { 0 };

	if (!s->fleet) {
		reply_error(r, 503);
		return;
	}
	if (!limit_has(&s->login_limit, q->address, plat_time_ns())) {
		reply_error(r, 429);
		reply_field(r, "Retry-After", "60");
		return;
	}
	if (form_token(q, token))
		role = fleet_token_role(s->fleet, token, who);
	if (role == ROLE_NONE) {
		limit_take(&s->login_limit, q->address, plat_time_ns());
		go_to(r, "/login?wrong#wrong"); /* the page shows what is named so */
		return;
	}
	RAND_bytes(random, sizeof(random));
	fmt_snprintf(name, sizeof(name), "%.40s/%s", who, fmt_hex(tag, random, sizeof(random)));
	if (fleet_token_add(s->fleet, name, role, (long long)time(NULL) + SESSION_S, session)) {
		reply_error(r, 503);
		return;
	}
	fleet_audit(s->fleet, who, role, q->address, "login", name, "");
	go_to(r, "/");
	set_cookie(q, r, session, SESSION_S);
}

static void logout(struct site *s, const struct site_request *q, struct reply *r)
{
	char name[64];

	if (session_role(s, q) != ROLE_NONE) {
		fleet_token_role(s->fleet, q->head->cookie, name);
		if (strchr(name, '/')) /* a session, not somebody's own token */
			fleet_token_delete(s->fleet, name);
	}
	go_to(r, "/login");
	set_cookie(q, r, "", 0);
}

static void put_html(FILE *f, const char *text)
{
	for (; text && *text; text++) {
		if (*text == '<')
			fputs("&lt;", f);
		else if (*text == '&')
			fputs("&amp;", f);
		else if (*text == '"')
			fputs("&quot;", f);
		else
			fputc(*text, f);
	}
}

static void put_cell(FILE *f, const json_t *row, const char *key)
{
	const json_t *v = json_object_get(row, key);

	fputs("<td>", f);
	if (json_is_string(v))
		put_html(f, json_string_value(v));
	else if (json_is_number(v))
		fprintf(f, "%g", json_number_value(v));
	else if (json_is_boolean(v))
		fputs(json_is_true(v) ? "yes" : "no", f);
}

/* The machines for who reads without scripts. */
static void plain_page(struct site *s, struct reply *r)
{
	static const char *const keys[] = { "id",    "name",	"group",   "approved", "state",
					    "percent", "version", "address", "text" };
	json_t *all = fleet_machines(s->fleet, NULL), *m;
	char *text = NULL;
	size_t i, bytes = 0;
	FILE *f = open_memstream(&text, &bytes);

	if (!f || !all) {
		reply_error(r, 503);
		return;
	}
	fputs("<!doctype html><html lang=en><meta charset=utf-8><title>Freshet</title>"
	      "<meta name=viewport content=\"width=device-width\"><link rel=icon href=data:,>"
	      "<link rel=stylesheet href=/dash/style.css><main><h1>Freshet: machines</h1>"
	      "<table><tr>", f);
	for (i = 0; i < ARRAY_SIZE(keys); i++)
		fprintf(f, "<th scope=col>%s", keys[i]);
	json_array_foreach(all, i, m) {
		fputs("<tr>", f);
		for (size_t k = 0; k < ARRAY_SIZE(keys); k++)
			put_cell(f, m, keys[k]);
	}
	fputs("</table></main></html>\n", f);
	fclose(f);
	json_decref(all);
	r->type = "text/html; charset=utf-8";
	r->data = (u8 *)text;
	r->bytes = bytes;
}

static bool may_come(const struct site *s, const struct site_request *q)
{
	return q->tls || s->conf.plain_api == PLAIN_ON ||
	       (s->conf.plain_api == PLAIN_LOOPBACK && q->loopback);
}

/** dash_answer() - pages, login and logout; false when the path is none of these */
bool dash_answer(struct site *s, struct site_request *q, struct reply *r)
{
	const char *path = q->head->path;
	bool post = q->head->method == METHOD_POST;
	const struct page *p = NULL;
	bool plain = !strcmp(path, "/plain");

	for (size_t i = 0; i < ARRAY_SIZE(pages); i++)
		if (!strcmp(path, pages[i].path))
			p = &pages[i];
	if (!s->conf.dashboard || (!p && !plain && strcmp(path, "/logout")))
		return false;
	if (!may_come(s, q)) {
		reply_error(r, 403);
		reply_fini(r);
		reply_text(r, "text/plain", "The dashboard wants HTTPS; see listen_tls and "
					    "plain_api in freshetd.conf.\n");
	} else if (!strcmp(path, "/logout") && post) {
		logout(s, q, r);
	} else if (!strcmp(path, "/login") && post) {
		login(s, q, r);
	} else if (plain && q->head->method == METHOD_GET) {
		if (session_role(s, q) == ROLE_NONE)
			go_to(r, "/login");
		else
			plain_page(s, r);
	} else if (!p || (q->head->method != METHOD_GET && q->head->method != METHOD_HEAD)) {
		reply_error(r, 405);
		r->allow = p ? "GET, HEAD" : "POST";
	} else if (!p->open && session_role(s, q) == ROLE_NONE) {
		go_to(r, "/login");
	} else {
		send_page(p, r);
	}
	return true;
}
