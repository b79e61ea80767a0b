/*
 * crash.c - a panic's last words, kept for the next boot
 *
 *	boot    what the loader has found is logged and put where a panic would
 *		put it, so that it outlasts another reset
 *	report  it is part of what the server is told; when a second report is
 *		made the first one has had its time to arrive, and it is forgotten
 *	panic   takes the place of whatever is there
 *
 * Context: boot CPU, pump, panic; never two at once, as a panic stops the others.
 */
#include "vmm/plat/crash.h"

#include "base/log.h"
#include "vmm/plat/console.h"

#define TELL_BYTES 1400 /* of a report, which has other things to say */
#define TELL_TIMES 2

static struct crash_record *record; /* (c) NULL before crash_init() */
static u32 to_tell; /* reports that shall still have it */

static void say_last_words(const struct crash_record *r)
{
	char line[160];
	u32 at = 0;

	log_warn("crash: the last run ended in a panic, its log:");
	while (crash_line(r, &at, line, sizeof(line)))
		log_warn("crash: > %s", line);
}

/** crash_init() - see crash.h. Context: boot CPU, once, when the log works. */
void crash_init(struct crash_record *place, const struct crash_record *found)
{
	record = place;
	record->magic = 0;
	to_tell = 0;
	if (!crash_valid(found))
		return;
	*record = *found;
	to_tell = TELL_TIMES;
	say_last_words(record);
}

/** crash_keep() - see crash.h. Context: panic, the other CPUs stand. */
void crash_keep(u64 log_from)
{
	u32 n;

	if (!record)
		return;
	n = console_read(&log_from, record->text, sizeof(record->text));
	crash_seal(record, n);
}

/* A character as it may stand in a JSON string; returns how many bytes that takes. */
static u32 put_json(char *out, char c)
{
	u32 n = 0;

	if (c == '"' || c == '\\' || c == '\n')
		out[n++] = '\\';
	out[n++] = c == '\n' ? 'n' : c;
	return n;
}

/**
 * crash_report() - see crash.h: ,"crash":"lines" while there is something to tell
 * Context: pump.
 */
u32 crash_report(char *out, u32 room)
{
	static const char head[] = ",\"crash\":\"";
	u32 at = 0, n = 0, i;
	char line[160];

	if (!to_tell || room < sizeof(head) + TELL_BYTES + 2)
		return 0;
	if (!--to_tell) {
		record->magic = 0;
		return 0;
	}
	for (i = 0; head[i]; i++)
		out[n++] = head[i];
	while (crash_line(record, &at, line, sizeof(line)) &&
	       n + 2 * sizeof(line) < TELL_BYTES) {
		for (i = 0; line[i]; i++)
			n += put_json(out + n, line[i]);
		n += put_json(out + n, '\n');
	}
	out[n++] = '"';
	return n;
}
