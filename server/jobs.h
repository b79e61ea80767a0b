/*
 * jobs.h - work that takes its time, done beside the event loop
 *
 * run() is called on a worker thread and touches nothing but the job and files;
 * finish() is called on the loop's thread, always, and makes the reply, which is
 * dropped if the connection that asked is gone; then drop() frees the job.
 */
#ifndef SERVER_JOBS_H
#define SERVER_JOBS_H

#include "base/list.h"
#include "server/reply.h"

struct event_base;
struct jobs;
struct site;

struct job {
	void (*run)(struct job *j);
	void (*finish)(struct job *j, struct site *s, struct reply *r);
	void (*drop)(struct job *j);
	void *conn; /* whose request it is; NULL: nobody waits */
	struct list node;
};

int jobs_create(struct jobs **out, struct event_base *base, struct site *site, u32 threads,
		void (*reply)(void *conn, struct reply *r));
int jobs_submit(struct jobs *js, struct job *j);
void jobs_answer(struct jobs *js, struct job *j);
u32 jobs_waiting(struct jobs *js);
void jobs_destroy(struct jobs *js);

#endif
