/*
 * s3_list.c - what S3-compatible storage says in XML, without being believed
 *
 * No XML parser: the few elements that are wanted are looked for by name, as the answers
 * of all servers have them, without attributes or name spaces. Whatever else there is
 * means nothing. Text that does not fit is cut where it is for people, and an error
 * where it is not. Pure; fuzzed.
 */
#include "server/data/s3_list.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/err.h"
#include "base/fmt.h"

/** s3_xml_text() - the text of the first <@tag> of an answer, or ""; cut to @room; its length */
size_t s3_xml_text(const char *xml, const char *tag, char *out, size_t room)
{
	char open[40];
	const char *p;
	size_t n;

	fmt_snprintf(open, sizeof(open), "<%s>", tag);
	p = xml ? strstr(xml, open) : NULL;
	p = p ? p + strlen(open) : "";
	n = strcspn(p, "<");
	memcpy(out, p, MIN(n, room - 1));
	out[MIN(n, room - 1)] = 0;
	return n;
}

/* XML's own five entities; a token is opaque and may have them. */
static void unescape(char *text)
{
	static const struct {
		const char *name;
		char c;
	} known[] = {
		{ "&amp;", '&' }, { "&lt;", '<' }, { "&gt;", '>' }, { "&quot;", '"' },
		{ "&apos;", '\'' },
	};
	char *to = text;

	for (const char *p = text; *p;) {
		size_t i = 0;

		while (i < ARRAY_SIZE(known) && strncmp(p, known[i].name, strlen(known[i].name)))
			i++;
		if (i < ARRAY_SIZE(known)) {
			*to++ = known[i].c;
			p += strlen(known[i].name);
		} else {
			*to++ = *p++;
		}
	}
	*to = 0;
}

/* One <Contents> of a list; what is not named as ours is not ours. */
static int take_entry(const char *xml, objects_one one, void *arg)
{
	char key[DATADIR_PATH_MAX], want[DATADIR_PATH_MAX], size[24], when[32];
	struct object_entry e;
	struct tm tm = { 0 };
	const char *hex;

	s3_xml_text(xml, "Key", key, sizeof(key));
	s3_xml_text(xml, "Size", size, sizeof(size));
	s3_xml_text(xml, "LastModified", when, sizeof(when));
	hex = strrchr(key, '/');
	if (!hex || !digest_hex_ok(hex + 1, strlen(hex + 1)))
		return 0;
	fmt_unhex(e.digest, SHA256_BYTES, hex + 1, DIGEST_HEX);
	path_object(want, e.digest);
	/* One without a date is as young as can be. */
	e.modified = strptime(when, "%Y-%m-%dT%H:%M:%S", &tm) ? timegm(&tm) : time(NULL);
	e.bytes = strtoull(size, NULL, 10);
	return strcmp(key, want) ? 0 : one(arg, &e);
}

/**
 * s3_list_parse() - a page of a list
 * @xml:   with a NUL behind it; the same again afterwards
 * @token: out, @room bytes: what to ask for the next page with; "": this was the last
 *
 * Return: 0; -EBADMSG for a token that is too long; what @one returned.
 */
int s3_list_parse(char *xml, objects_one one, void *arg, char *token, size_t room)
{
	int err = 0;

	if (s3_xml_text(xml, "NextContinuationToken", token, room) >= room)
		return -EBADMSG;
	unescape(token);
	for (char *p = strstr(xml, "<Contents>"); !err && p;) {
		char *next = strstr(p + 1, "<Contents>");

		if (next)
			*next = 0;
		err = take_entry(p, one, arg);
		if (next)
			*next = '<';
		p = next;
	}
	return err;
}
