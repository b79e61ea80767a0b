/*
 * events.c - telling those who watch, and what time moves on
 *
 * An event stream [HTML, server-sent events] carries two kinds of messages:
 * "machines", an array of those that changed within the last second, and "event",
 * one line of the log that people read. The latter have numbers: a watcher that was
 * away says the last one it saw and gets the rest. The former have none: whoever
 * begins reads the list.
 *
 * The tick also starts and promotes roll-outs that are due.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/err.h"
#include "base/log.h"
#include "server/api/api.h"

#define REPLAY_MAX 500

/** events_send() - a message to all streams; takes @o */
void events_send(struct site *s, const char *kind, long long id, json_t *o)
{
	char *data = o ? json_dumps(o, JSON_COMPACT) : NULL, *text = NULL;
	int n = -1;

	if (data && id)
		n = asprintf(&text, "id: %lld\nevent: %s\ndata: %s\n\n", id, kind, data);
	else if (data)
		n = asprintf(&text, "event: %s\ndata: %s\n\n", kind, data);
	if (n > 0 && s->publish)
		s->publish(s->publish_arg, text, (size_t)n);
	if (n > 0)
		free(text);
	free(data);
	json_decref(o);
}

/** events_hook() - a line of the log was written */
void events_hook(void *arg, const char *kind, long long machine, const char *text)
{
	struct site *s = arg;
	long long id = db_int(s->fleet->db, 0, "SELECT max(id) FROM events", "");

	log_info("event: %s: %s", kind, text);
	events_send(s, "event", id, json_pack("{s:I,s:I,s:s,s:o,s:s}", "id", (json_int_t)id, "time",
					      (json_int_t)time(NULL), "kind", kind, "machine",
					      machine ? json_integer(machine) : json_null(),
					      "text", text));
}

static void advance(struct site *s, const json_t *o)
{
	const char *state = json_string_value(json_object_get(o, "state"));
	const char *canary = json_string_value(json_object_get(o, "canary"));
	const char *channel = json_string_value(json_object_get(o, "channel"));
	const char *version = json_string_value(json_object_get(o, "version"));
	const char *who = json_string_value(json_object_get(o, "who"));
	long long id = json_integer_value(json_object_get(o, "id"));

	if (!strcmp(state, "scheduled") && canary) {
		fleet_rollout_state(s->fleet, id, "canary");
		fleet_event(s->fleet, "rollout", 0, "roll-out %lld: %s gets %.12s first", id,
			    canary, version);
	} else if (!strcmp(state, "canary") &&
		   json_integer_value(json_object_get(o, "canary_trouble"))) {
		/* Time alone does not promote what troubles the canaries. */
		fleet_rollout_state(s->fleet, id, "cancelled");
		fleet_event(s->fleet, "rollout", 0,
			    "roll-out %lld was stopped: a machine of %s is in trouble", id, canary);
	} else {
		/* "moving" keeps the next tick from doing it again. */
		fleet_rollout_state(s->fleet, id, "moving");
		if (api_point_alone(s, channel, version, who, "roll-out", id))
			fleet_rollout_state(s->fleet, id, state);
	}
}

/** events_tick() - once a second: roll-outs that are due, machines that changed */
void events_tick(struct site *s)
{
	json_t *due, *o;
	size_t i;

	if (!s->fleet)
		return;
	due = fleet_rollouts_due(s->fleet, time(NULL));
	json_array_foreach(due, i, o)
		advance(s, o);
	json_decref(due);
	if (s->fleet->dirty_count) {
		u32 streams = 0;

		if (s->load)
			s->load(s->publish_arg, &streams);
		if (streams)
			events_send(s, "machines", 0, fleet_dirty(s->fleet));
		s->fleet->dirty_count = 0;
	}
}

/** events_body() - how a stream begins: what was missed since event @last, oldest first */
int events_body(struct site *s, u64 last, char **text)
{
	json_t *rows = last ? db_rows(s->fleet->db,
				      "SELECT id, time, kind, machine, text FROM events WHERE"
				      " id > ?1 ORDER BY id LIMIT ?2", "ii", (long long)last,
				      (long long)REPLAY_MAX) : NULL;
	size_t bytes = 0, i;
	json_t *row;
	FILE *f = open_memstream(text, &bytes);

	if (!f)
		return -ENOMEM;
	fprintf(f, ": freshet\nretry: 3000\n\n");
	json_array_foreach(rows, i, row) {
		char *data = json_dumps(row, JSON_COMPACT);

		fprintf(f, "id: %lld\nevent: event\ndata: %s\n\n",
			(long long)json_integer_value(json_object_get(row, "id")), data);
		free(data);
	}
	json_decref(rows);
	return fclose(f) ? -ENOMEM : 0;
}

/** events_answer() - GET /api/v1/events */
int events_answer(struct api_call *c)
{
	char *text;
	int err = events_body(c->s, c->q->head->last_event, &text);

	if (err)
		return err;
	c->r->type = "text/event-stream";
	c->r->data = (u8 *)text;
	c->r->bytes = strlen(text);
	c->r->stream = true;
	return 0;
}
