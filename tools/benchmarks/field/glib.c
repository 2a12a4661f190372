/*
 * GLib: a GAsyncQueue to a GThread, and one back to each calling thread, whose
 * messages return as answers. It sleeps at once.
 */
#include "contender.h"

#include <glib.h>

struct message {
	int32_t a, b;
	const uint8_t *buffer;	/* if not NULL, @n bytes to check */
	size_t n;
	int32_t result;
	GAsyncQueue *replies;	/* NULL: nobody waits, and the other side frees it */
};

static GAsyncQueue *calls;
static GPrivate own_replies = G_PRIVATE_INIT((GDestroyNotify)g_async_queue_unref);

static GAsyncQueue *replies(void)
{
	GAsyncQueue *queue = g_private_get(&own_replies);

	if (!queue) {
		queue = g_async_queue_new();
		g_private_set(&own_replies, queue);
	}
	return queue;
}

static gpointer serve(gpointer place)
{
	pin_to(((const struct place *)place)->other);
	for (;;) {
		struct message *m = g_async_queue_pop(calls);

		m->result = m->buffer ? check(m->buffer, m->n) : answer(m->a, m->b);
		if (m->replies)
			g_async_queue_push(m->replies, m);
		else
			g_free(m);
	}
	return NULL;
}

static void open_glib(const struct place *place)
{
	static struct place kept;

	kept = *place;
	calls = g_async_queue_new();
	g_thread_new("worker", serve, &kept);
}

static const char *version(void)
{
	return version_of((int)glib_major_version, (int)glib_minor_version, (int)glib_micro_version);
}

static int32_t round_trip(struct message *m)
{
	m->replies = replies();
	g_async_queue_push(calls, m);
	g_async_queue_pop(m->replies);
	return m->result;
}

static int32_t call(int32_t a, int32_t b)
{
	return round_trip(&(struct message){ .a = a, .b = b });
}

static int32_t pass(uint8_t *p, size_t n)
{
	return round_trip(&(struct message){ .buffer = p, .n = n });
}

static void send_message(int32_t a, int32_t b, GAsyncQueue *to)
{
	struct message *m = g_new(struct message, 1);

	*m = (struct message){ .a = a, .b = b, .replies = to };
	g_async_queue_push(calls, m);
}

static void send_call(int32_t a, int32_t b)
{
	send_message(a, b, replies());
}

static int32_t receive(void)
{
	struct message *m = g_async_queue_pop(replies());
	int32_t result = m->result;

	g_free(m);
	return result;
}

static void post(int32_t a, int32_t b)
{
	send_message(a, b, NULL);
}

const struct system contender = {
	.version = version,
	.open = open_glib,
	.call = call,
	.send = send_call,
	.receive = receive,
	.post = post,
	.pass = pass,
	.threads = true,
};
