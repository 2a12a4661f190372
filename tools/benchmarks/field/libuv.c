/*
 * libuv: a thread that runs a loop of its own, woken by uv_async_send(); calls are
 * in a list with a mutex, as uv_async_send() may wake once for several. The caller
 * sleeps on the uv_sem_t of its call.
 */
#include "contender.h"

#include <stdlib.h>
#include <uv.h>

struct message {
	int32_t a, b;
	const uint8_t *buffer;	/* if not NULL, @n bytes to check */
	size_t n;
	bool forgotten;		/* nobody waits, and the other side frees it */
	int32_t result;
	uv_sem_t answered;
	struct message *next, *next_sent;
};

/* Oldest first. */
static struct {
	uv_mutex_t lock;
	struct message *first, **end;
} calls = { .end = &calls.first };

static struct {
	struct message *first, **end;
} sent = { .end = &sent.first };

static uv_loop_t loop;
static uv_async_t called;

/* ------------------------------------------------------------------ other side */

static struct message *take_all(void)
{
	uv_mutex_lock(&calls.lock);

	struct message *first = calls.first;

	calls.first = NULL;
	calls.end = &calls.first;
	uv_mutex_unlock(&calls.lock);
	return first;
}

static void run(struct message *m)
{
	m->result = m->buffer ? check(m->buffer, m->n) : answer(m->a, m->b);
	if (m->forgotten)
		free(m);
	else
		uv_sem_post(&m->answered);
}

static void run_all(uv_async_t *handle)
{
	struct message *next;

	(void)handle;
	for (struct message *m = take_all(); m; m = next) {
		next = m->next;
		run(m);
	}
}

static void serve(void *place)
{
	pin_to(((const struct place *)place)->other);
	uv_run(&loop, UV_RUN_DEFAULT);
}

/* ------------------------------------------------------------------ this side */

static void open_libuv(const struct place *place)
{
	static struct place kept;
	uv_thread_t thread;

	kept = *place;
	if (uv_mutex_init(&calls.lock) || uv_loop_init(&loop) || uv_async_init(&loop, &called, run_all))
		die("loop");
	if (uv_thread_create(&thread, serve, &kept))
		die("uv_thread_create");
}

static void give(struct message *m)
{
	uv_mutex_lock(&calls.lock);
	*calls.end = m;
	calls.end = &m->next;
	uv_mutex_unlock(&calls.lock);
	if (uv_async_send(&called))
		die("uv_async_send");
}

static int32_t wait_for(struct message *m)
{
	uv_sem_wait(&m->answered);
	uv_sem_destroy(&m->answered);
	return m->result;
}

static int32_t round_trip(struct message *m)
{
	if (uv_sem_init(&m->answered, 0))
		die("uv_sem_init");
	give(m);
	return wait_for(m);
}

static int32_t call(int32_t a, int32_t b)
{
	return round_trip(&(struct message){ .a = a, .b = b });
}

static int32_t pass(uint8_t *p, size_t n)
{
	return round_trip(&(struct message){ .buffer = p, .n = n });
}

static struct message *new_message(int32_t a, int32_t b, bool forgotten)
{
	struct message *m = malloc(sizeof *m);

	if (!m)
		die("no memory");
	*m = (struct message){ .a = a, .b = b, .forgotten = forgotten };
	return m;
}

static void send_call(int32_t a, int32_t b)
{
	struct message *m = new_message(a, b, false);

	if (uv_sem_init(&m->answered, 0))
		die("uv_sem_init");
	*sent.end = m;
	sent.end = &m->next_sent;
	give(m);
}

static int32_t receive(void)
{
	struct message *m = sent.first;
	int32_t result = wait_for(m);

	sent.first = m->next_sent;
	if (!sent.first)
		sent.end = &sent.first;
	free(m);
	return result;
}

static void post(int32_t a, int32_t b)
{
	give(new_message(a, b, true));
}

const struct system contender = {
	.version = uv_version_string,
	.open = open_libuv,
	.call = call,
	.send = send_call,
	.receive = receive,
	.post = post,
	.pass = pass,
	.threads = true,
};
