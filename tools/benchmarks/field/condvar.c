/*
 * Threads by hand: a bounded queue with a mutex and condition variables to one
 * worker thread. Each call has a flag and a condition variable of its own for the
 * answer; who waits sleeps at once.
 */
#include "contender.h"

#include <gnu/libc-version.h>
#include <pthread.h>

enum { QUEUE_MAX = 1024 };

struct reply {
	pthread_cond_t answered;
	bool done;
	int32_t value;
};

struct message {
	int32_t a, b;
	const uint8_t *buffer;	/* if not NULL, @n bytes to check */
	size_t n;
	struct reply *reply;	/* NULL: nobody waits */
};

static struct {
	pthread_mutex_t lock;
	pthread_cond_t not_empty, not_full;
	struct message ring[QUEUE_MAX];
	unsigned put, taken;	/* counts */
} queue = {
	.lock = PTHREAD_MUTEX_INITIALIZER, .not_empty = PTHREAD_COND_INITIALIZER, .not_full = PTHREAD_COND_INITIALIZER,
};

/* The replies of a stream. */
static struct reply stream[QUEUE_MAX];
static unsigned sent, received;

/* ----------------------------------------------------------------- the worker */

static struct message take(void)
{
	pthread_mutex_lock(&queue.lock);
	while (queue.put == queue.taken)
		pthread_cond_wait(&queue.not_empty, &queue.lock);

	struct message m = queue.ring[queue.taken++ % QUEUE_MAX];

	pthread_mutex_unlock(&queue.lock);
	pthread_cond_signal(&queue.not_full);
	return m;
}

static void give(struct reply *r, int32_t value)
{
	pthread_mutex_lock(&queue.lock);
	r->value = value;
	r->done = true;
	/* With the lock held: once it is free the reply may be gone. */
	pthread_cond_signal(&r->answered);
	pthread_mutex_unlock(&queue.lock);
}

static void *serve(void *place)
{
	pin_to(((const struct place *)place)->other);
	for (;;) {
		struct message m = take();
		int32_t value = m.buffer ? check(m.buffer, m.n) : answer(m.a, m.b);

		if (m.reply)
			give(m.reply, value);
	}
	return NULL;
}

/* ----------------------------------------------------------------- the caller */

static void put(struct message m)
{
	pthread_mutex_lock(&queue.lock);
	while (queue.put - queue.taken == QUEUE_MAX)
		pthread_cond_wait(&queue.not_full, &queue.lock);
	queue.ring[queue.put++ % QUEUE_MAX] = m;
	pthread_mutex_unlock(&queue.lock);
	pthread_cond_signal(&queue.not_empty);
}

static int32_t wait_for(struct reply *r)
{
	pthread_mutex_lock(&queue.lock);
	while (!r->done)
		pthread_cond_wait(&r->answered, &queue.lock);
	pthread_mutex_unlock(&queue.lock);
	return r->value;
}

static void open_queue(const struct place *place)
{
	static struct place kept;
	pthread_t worker;

	kept = *place;
	if (pthread_create(&worker, NULL, serve, &kept))
		die("pthread_create");
}

static int32_t call(int32_t a, int32_t b)
{
	struct reply r = { .answered = PTHREAD_COND_INITIALIZER };

	put((struct message){ .a = a, .b = b, .reply = &r });
	return wait_for(&r);
}

static void send_call(int32_t a, int32_t b)
{
	struct reply *r = &stream[sent++ % QUEUE_MAX];

	*r = (struct reply){ .answered = PTHREAD_COND_INITIALIZER };
	put((struct message){ .a = a, .b = b, .reply = r });
}

static int32_t receive(void)
{
	return wait_for(&stream[received++ % QUEUE_MAX]);
}

static void post(int32_t a, int32_t b)
{
	put((struct message){ .a = a, .b = b });
}

static int32_t pass(uint8_t *p, size_t n)
{
	struct reply r = { .answered = PTHREAD_COND_INITIALIZER };

	put((struct message){ .buffer = p, .n = n, .reply = &r });
	return wait_for(&r);
}

const struct system contender = {
	.version = gnu_get_libc_version,
	.open = open_queue,
	.call = call,
	.send = send_call,
	.receive = receive,
	.window_max = QUEUE_MAX,
	.post = post,
	.pass = pass,
	.threads = true,
};
