/*
 * metrics.c - the server in Prometheus' text format
 */
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>

#include "base/err.h"
#include "base/plat.h"
#include "server/api/api.h"

static void put(FILE *f, const char *name, const char *type, const char *help, u64 value)
{
	fprintf(f, "# HELP freshet_%s %s\n# TYPE freshet_%s %s\nfreshet_%s %llu\n", name, help,
		name, type, name, (unsigned long long)value);
}

/* A label's value: backslash, quote and newline are escaped. */
static void put_label(FILE *f, const char *text)
{
	for (; text && *text; text++) {
		if (*text == '\\' || *text == '"')
			fputc('\\', f);
		if (*text == '\n')
			fputs("\\n", f);
		else
			fputc(*text, f);
	}
}

static void put_rows(FILE *f, const char *name, const char *help, const char *label, json_t *rows)
{
	json_t *row;
	size_t i;

	fprintf(f, "# HELP freshet_%s %s\n# TYPE freshet_%s gauge\n", name, help, name);
	json_array_foreach(rows, i, row) {
		fprintf(f, "freshet_%s{%s=\"", name, label);
		put_label(f, json_string_value(json_object_get(row, "k")));
		fprintf(f, "\"} %lld\n", (long long)json_integer_value(json_object_get(row, "n")));
	}
	json_decref(rows);
}

static void put_fleet(FILE *f, struct fleet *fleet)
{
	put_rows(f, "machines", "Machines by their last reported state.", "state",
		 db_rows(fleet->db, "SELECT ifnull(state, 'unknown') AS k, count(*) AS n FROM"
				    " machines GROUP BY 1", ""));
	put_rows(f, "machines_by_version", "Machines by the version they run.", "version",
		 db_rows(fleet->db, "SELECT ifnull(version, '') AS k, count(*) AS n FROM machines"
				    " GROUP BY 1", ""));
	put_rows(f, "machines_by_group", "Machines by group.", "group",
		 db_rows(fleet->db, "SELECT grp AS k, count(*) AS n FROM machines GROUP BY 1",
			 ""));
	put(f, "machines_pending", "gauge", "Machines that wait for approval.",
	    (u64)db_int(fleet->db, 0, "SELECT count(*) FROM machines WHERE NOT approved", ""));
	put(f, "reports_total", "counter", "Reports taken.", fleet->reports);
}

/** metrics_text() - all of them, to be freed */
int metrics_text(struct site *s, char **text)
{
	u32 streams = 0, connections = s->load ? s->load(s->publish_arg, &streams) : 0;
	struct statvfs v = { 0 };
	size_t bytes = 0;
	FILE *f = open_memstream(text, &bytes);

	if (!f)
		return -ENOMEM;
	fprintf(f, "# HELP freshet_http_replies_total Replies by class of status.\n"
		   "# TYPE freshet_http_replies_total counter\n");
	for (int i = 2; i < 6; i++)
		fprintf(f, "freshet_http_replies_total{class=\"%dxx\"} %llu\n", i,
			(unsigned long long)s->counts.replies[i]);
	put(f, "http_bytes_total", "counter", "Bytes of bodies sent.", s->counts.bytes);
	put(f, "objects_total", "counter", "Chunk objects sent.", s->counts.objects);
	put(f, "object_bytes_total", "counter", "Bytes of them.", s->counts.object_bytes);
	put(f, "fetches_total", "counter", "Objects fetched from storage elsewhere.",
	    s->counts.fetches);
	put(f, "fetch_errors_total", "counter", "Of these, storage could not be used.",
	    s->counts.fetch_errors);
	put(f, "tickets_total", "counter", "Boot tickets made.", s->counts.tickets);
	put(f, "uploads_total", "counter", "Chunk objects uploaded.", s->counts.uploads);
	put(f, "limited_total", "counter", "Requests over a limit.", s->counts.limited);
	put(f, "connections", "gauge", "Connections now.", connections);
	put(f, "event_streams", "gauge", "Event streams among them.", streams);
	put(f, "jobs", "gauge", "Jobs waiting or running.",
	    (s->jobs ? jobs_waiting(s->jobs) : 0) +
		    (s->fetchers ? jobs_waiting(s->fetchers) : 0));
	put(f, "uptime_seconds", "gauge", "Since the start.",
	    (plat_time_ns() - s->start_ns) / NS_PER_SEC);
	if (!fstatvfs(s->dir.fd, &v))
		put(f, "disk_free_bytes", "gauge", "Room in the data folder.",
		    (u64)v.f_bavail * v.f_frsize);
	put(f, "database_up", "gauge", "1 when the database is usable.", s->fleet != NULL);
	if (s->fleet)
		put_fleet(f, s->fleet);
	return fclose(f) ? -ENOMEM : 0;
}
