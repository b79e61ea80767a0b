/*
 * siteconf.c - site.conf: the settings that go into boot tickets
 *
 *	# comment
 *	channel lab/stable
 *	policy push
 *	claim blank
 *	fill on
 *	fill_limit 0
 *	fill_window 22:00-06:00
 *	metered off
 *	sources http://10.0.0.7/objects
 *
 *	machine 5d4c5a0e-....
 *	policy boot
 *
 * Lines before the first "machine" are for everybody; those after one are for
 * that machine and win. The text itself is kept, not a tree made from it: a
 * ticket is made by going over the lines, and an edit changes one line and
 * leaves the admin's comments alone.
 */
#include "server/data/siteconf.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/err.h"
#include "base/fmt.h"
#include "server/data/datadir.h"

static int parse_u32(const char *p, u32 *out)
{
	u64 v = 0;

	if (!*p)
		return -EINVAL;
	for (; *p; p++) {
		if (*p < '0' || *p > '9')
			return -EINVAL;
		v = v * 10 + (u64)(*p - '0');
		if (v > UINT32_MAX)
			return -ERANGE;
	}
	*out = (u32)v;
	return 0;
}

static int set_claim(struct ticket *t, const char *value)
{
	size_t n;

	if (!strcmp(value, "none")) {
		t->claim = TICKET_CLAIM_NONE;
	} else if (!strcmp(value, "blank")) {
		t->claim = TICKET_CLAIM_BLANK;
	} else if (!strncmp(value, "serial:", 7)) {
		value += 7;
		n = strlen(value);
		if (!n || n > TICKET_DISK_SERIAL_MAX)
			return -EINVAL;
		for (size_t i = 0; i < n; i++)
			if (value[i] <= ' ' || value[i] > '~')
				return -EINVAL;
		t->claim = TICKET_CLAIM_SERIAL;
		memcpy(t->claim_serial, value, n + 1);
	} else {
		return -EINVAL;
	}
	return 0;
}

static bool two_digits(const char *p, u32 max, u32 *out)
{
	if (p[0] < '0' || p[0] > '9' || p[1] < '0' || p[1] > '9')
		return false;
	*out = (u32)((p[0] - '0') * 10 + p[1] - '0');
	return *out <= max;
}

/* "22:00" to minutes of the day; 24:00 is the end of it. */
static bool clock_minutes(const char *p, u32 *out)
{
	u32 h, m;

	if (!two_digits(p, 24, &h) || p[2] != ':' || !two_digits(p + 3, 59, &m))
		return false;
	*out = h * 60 + m;
	return *out <= TICKET_DAY_MINUTES;
}

/* By the server's clock in the settings, in UTC in the ticket. */
static int set_window(struct ticket *t, const char *value)
{
	time_t now = time(NULL);
	u32 from, to, east;
	struct tm tm;

	if (!strcmp(value, "none")) {
		t->fill_from = t->fill_to = 0;
		return 0;
	}
	if (strlen(value) != 11 || value[5] != '-' || !clock_minutes(value, &from) ||
	    !clock_minutes(value + 6, &to) || !localtime_r(&now, &tm))
		return -EINVAL;
	east = (u32)(tm.tm_gmtoff / 60 + (long)TICKET_DAY_MINUTES);
	t->fill_from = (u16)((from + 2 * TICKET_DAY_MINUTES - east) % TICKET_DAY_MINUTES);
	t->fill_to = (u16)((to + 2 * TICKET_DAY_MINUTES - east) % TICKET_DAY_MINUTES);
	return 0;
}

static int set_switch(bool *out, const char *value)
{
	if (strcmp(value, "on") && strcmp(value, "off"))
		return -EINVAL;
	*out = value[1] == 'n';
	return 0;
}

/**
 * siteconf_set() - one setting into a ticket
 *
 * Return: 0; -ENOENT for a key that is no setting; -EINVAL, -ERANGE for a bad value.
 */
int siteconf_set(struct ticket *t, const char *key, const char *value)
{
	if (!strcmp(key, "policy")) {
		if (!strcmp(value, "boot"))
			t->policy = TICKET_POLICY_BOOT;
		else if (!strcmp(value, "push"))
			t->policy = TICKET_POLICY_PUSH;
		else if (!strcmp(value, "never"))
			t->policy = TICKET_POLICY_NEVER;
		else
			return -EINVAL;
	} else if (!strcmp(key, "claim")) {
		return set_claim(t, value);
	} else if (!strcmp(key, "fill")) {
		return set_switch(&t->fill, value);
	} else if (!strcmp(key, "metered")) {
		return set_switch(&t->metered, value);
	} else if (!strcmp(key, "fill_window")) {
		return set_window(t, value);
	} else if (!strcmp(key, "sources")) {
		return sources_parse(&t->sources, value, strlen(value));
	} else if (!strcmp(key, "frontend")) {
		return ticket_frontend_parse(value, strlen(value), &t->frontend);
	} else if (!strcmp(key, "nic")) {
		return ticket_nic_parse(value, strlen(value), &t->nic);
	} else if (!strcmp(key, "fill_limit")) {
		return parse_u32(value, &t->fill_limit_kib);
	} else if (!strcmp(key, "channel")) {
		if (!channel_name_ok(value, strlen(value)) || strlen(value) > CHANNEL_NAME_MAX)
			return -EINVAL;
		memcpy(t->channel, value, strlen(value) + 1);
	} else {
		return -ENOENT;
	}
	return 0;
}

struct line {
	char text[SITECONF_LINE_MAX];
	char *key, *value; /* "" when there is none */
	size_t raw_bytes;  /* in the file, newline included */
};

/* Split the line at @p into key and value; false when it is too long. */
static bool split_line(struct line *l, const char *p)
{
	size_t n = strcspn(p, "\n");
	char *q;

	l->raw_bytes = n + (p[n] == '\n');
	if (n >= sizeof(l->text))
		return false;
	memcpy(l->text, p, n);
	l->text[n] = 0;
	while (n && (l->text[n - 1] == ' ' || l->text[n - 1] == '\t' || l->text[n - 1] == '\r'))
		l->text[--n] = 0;
	l->key = l->text + strspn(l->text, " \t");
	if (*l->key == '#')
		*l->key = 0;
	q = l->key + strcspn(l->key, " \t");
	if (*q)
		*q++ = 0;
	l->value = q + strspn(q, " \t");
	return true;
}

/* The lines for everybody, those of machine @uuid, or both; all others are checked only. */
static int apply(const char *text, const char *uuid, bool common, struct ticket *t, int *line)
{
	struct ticket scratch = { 0 };
	bool mine = common;
	struct line l;

	for (*line = 1; *text; text += l.raw_bytes, ++*line) {
		int err = 0;

		if (!split_line(&l, text))
			return -EINVAL;
		if (!*l.key)
			continue;
		if (!strcmp(l.key, "machine")) {
			err = uuid_ok(l.value) ? 0 : -EINVAL;
			mine = !err && uuid && !strcmp(uuid, l.value);
		} else {
			err = siteconf_set(mine ? t : &scratch, l.key, l.value);
		}
		if (err)
			return err;
	}
	return 0;
}

/**
 * siteconf_apply() - go over the settings and put those for one machine into a ticket
 * @uuid: the machine; NULL: everybody's only
 * @t:    in and out: what no line sets stays as it is
 * @line: out, on failure: which line is wrong
 *
 * Every line is checked, also those of other machines.
 * Return: 0; -ENOENT for an unknown key; -EINVAL, -ERANGE for a bad value.
 */
int siteconf_apply(const char *text, const char *uuid, struct ticket *t, int *line)
{
	return apply(text, uuid, true, t, line);
}

/** siteconf_apply_own() - likewise, but only the lines of this one machine */
int siteconf_apply_own(const char *text, const char *uuid, struct ticket *t, int *line)
{
	return apply(text, uuid, false, t, line);
}

static int put(char *out, size_t room, size_t *have, const char *p, size_t n)
{
	if (*have + n >= room)
		return -ENOSPC;
	memcpy(out + *have, p, n);
	*have += n;
	out[*have] = 0;
	return 0;
}

static int put_setting(char *out, size_t room, size_t *have, const char *key, const char *value)
{
	char text[SITECONF_LINE_MAX];
	int n = fmt_snprintf(text, sizeof(text), "%s %s\n", key, value);

	if (n >= (int)sizeof(text))
		return -EINVAL;
	return put(out, room, have, text, (size_t)n);
}

/**
 * siteconf_edit() - the same text with one setting changed
 * @uuid: whose; NULL: everybody's
 *
 * The setting's first line is replaced, later ones of the same section are
 * dropped; without one, a line is added to the end of the section, which is
 * added to the end of the text if need be.
 * Return: 0; -ENOSPC; -ENOENT, -EINVAL, -ERANGE for a bad setting or a bad line.
 */
int siteconf_edit(const char *text, const char *uuid, const char *key, const char *value,
		  char *out, size_t room)
{
	struct ticket scratch = { 0 };
	bool mine = !uuid, done = false;
	size_t have = 0, gap = 0; /* gap: empty lines at the end of a section, held back */
	int err = siteconf_set(&scratch, key, value);
	struct line l;

	if (room)
		out[0] = 0;
	for (; !err && *text; text += l.raw_bytes) {
		if (!split_line(&l, text))
			return -EINVAL;
		if (!*l.key && l.raw_bytes == 1) {
			gap++;
			continue;
		}
		if (!strcmp(l.key, "machine")) {
			if (mine && !done) {
				err = put_setting(out, room, &have, key, value);
				done = true;
			}
			mine = uuid && !strcmp(uuid, l.value);
		}
		for (; !err && gap; gap--)
			err = put(out, room, &have, "\n", 1);
		if (mine && !strcmp(l.key, key)) {
			if (!err && !done)
				err = put_setting(out, room, &have, key, value);
			done = true;
			continue;
		}
		if (!err)
			err = put(out, room, &have, text, l.raw_bytes);
		if (!err && out[have - 1] != '\n')
			err = put(out, room, &have, "\n", 1);
	}
	if (!err && !done && !mine) {
		err = put(out, room, &have, "\n", have ? 1 : 0);
		if (!err)
			err = put_setting(out, room, &have, "machine", uuid);
	}
	if (!err && !done)
		err = put_setting(out, room, &have, key, value);
	return err;
}
