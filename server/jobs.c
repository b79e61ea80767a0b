/*
 * jobs.c - work that takes its time, done beside the event loop
 *
 * A queue, some threads, an eventfd(2) back. What clients can make us queue is
 * bounded by JOBS_MAX; above it they hear 503 and come again.
 */
#include "server/jobs.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <event2/event.h>

#include "base/err.h"

#define JOBS_MAX 256

struct jobs {
	struct site *site;
	void (*reply)(void *conn, struct reply *r);
	struct event *wake;
	int fd;
	u32 threads;
	pthread_t *thread;
	pthread_mutex_t lock;
	pthread_cond_t more;
	struct list todo, done; /* [lock] */
	u32 count;		/* [lock] */
	bool stopping;		/* [lock] */
};

static void *work(void *arg)
{
	struct jobs *js = arg;
	u64 one = 1;

	pthread_mutex_lock(&js->lock);
	while (!js->stopping) {
		struct job *j;

		if (list_empty(&js->todo)) {
			pthread_cond_wait(&js->more, &js->lock);
			continue;
		}
		j = list_first(&js->todo, struct job, node);
		list_del(&j->node);
		pthread_mutex_unlock(&js->lock);
		j->run(j);
		pthread_mutex_lock(&js->lock);
		list_add_tail(&js->done, &j->node);
		if (write(js->fd, &one, sizeof(one)) < 0)
			continue; /* the counter is full: the loop is awake anyway */
	}
	pthread_mutex_unlock(&js->lock);
	return NULL;
}

/**
 * jobs_answer() - let a job that was never submitted make its reply, and drop it
 *
 * For one that waits for what another does. On the loop's thread.
 */
void jobs_answer(struct jobs *js, struct job *j)
{
	struct reply r;

	reply_init(&r);
	j->finish(j, js->site, &r);
	if (j->conn && js->reply)
		js->reply(j->conn, &r); /* takes the reply */
	else
		reply_fini(&r);
	j->drop(j);
}

static void on_done(evutil_socket_t fd, short what, void *arg)
{
	struct jobs *js = arg;
	u64 count;

	(void)what;
	if (read(fd, &count, sizeof(count)) < 0)
		return;
	for (;;) {
		struct job *j = NULL;

		pthread_mutex_lock(&js->lock);
		if (!list_empty(&js->done)) {
			j = list_first(&js->done, struct job, node);
			list_del(&j->node);
			js->count--;
		}
		pthread_mutex_unlock(&js->lock);
		if (!j)
			break;
		jobs_answer(js, j);
	}
}

/**
 * jobs_create() - start the threads
 * @reply: sends a finished job's reply to the connection that waits for it
 */
int jobs_create(struct jobs **out, struct event_base *base, struct site *site, u32 threads,
		void (*reply)(void *conn, struct reply *r))
{
	struct jobs *js = calloc(1, sizeof(*js));

	if (!js)
		return -ENOMEM;
	js->site = site;
	js->reply = reply;
	list_init(&js->todo);
	list_init(&js->done);
	pthread_mutex_init(&js->lock, NULL);
	pthread_cond_init(&js->more, NULL);
	js->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	js->thread = calloc(threads, sizeof(*js->thread));
	js->wake = js->fd < 0 ? NULL : event_new(base, js->fd, EV_READ | EV_PERSIST, on_done, js);
	if (!js->thread || !js->wake) {
		jobs_destroy(js);
		return -ENOMEM;
	}
	event_add(js->wake, NULL);
	for (; js->threads < threads; js->threads++)
		if (pthread_create(&js->thread[js->threads], NULL, work, js)) {
			jobs_destroy(js);
			return -EAGAIN;
		}
	*out = js;
	return 0;
}

/** jobs_submit() - hand it over; -EBUSY when too many wait, and the job is still the caller's */
int jobs_submit(struct jobs *js, struct job *j)
{
	int err = 0;

	pthread_mutex_lock(&js->lock);
	if (js->count >= JOBS_MAX) {
		err = -EBUSY;
	} else {
		js->count++;
		list_add_tail(&js->todo, &j->node);
		pthread_cond_signal(&js->more);
	}
	pthread_mutex_unlock(&js->lock);
	return err;
}

/** jobs_waiting() - how many are not finished */
u32 jobs_waiting(struct jobs *js)
{
	u32 n;

	pthread_mutex_lock(&js->lock);
	n = js->count;
	pthread_mutex_unlock(&js->lock);
	return n;
}

static void drop_all(struct list *l)
{
	struct job *j, *tmp;

	list_for_each_safe(j, tmp, l, node) {
		list_del(&j->node);
		j->drop(j);
	}
}

/** jobs_destroy() - wait for what runs, drop the rest; NULL is fine */
void jobs_destroy(struct jobs *js)
{
	if (!js)
		return;
	pthread_mutex_lock(&js->lock);
	js->stopping = true;
	pthread_cond_broadcast(&js->more);
	pthread_mutex_unlock(&js->lock);
	for (u32 i = 0; i < js->threads; i++)
		pthread_join(js->thread[i], NULL);
	drop_all(&js->todo);
	drop_all(&js->done);
	if (js->wake)
		event_free(js->wake);
	if (js->fd >= 0)
		close(js->fd);
	free(js->thread);
	free(js);
}
