/*
 * libqb: its IPC through rings in shared memory (QB_IPC_SHM), to a server in the main loop of another process.
 * The server sleeps in epoll, as a byte through a socket announces each request; the client sleeps on a semaphore
 * in its ring. Nothing can spin. Buffers have a connection of their own, as a ring holds the largest message.
 */
#include "contender.h"
#include "proc.h"

#include <errno.h>
#include <qb/qbdefs.h>
#include <qb/qbipcc.h>
#include <qb/qbipcs.h>
#include <qb/qbloop.h>
#include <qb/qbutil.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	MESSAGE_MAX = 128 << 10,	/* of the connection for calls: what Pacemaker uses */
	WINDOW_MAX = 2048,		/* so many answers fit into a ring of that size */
	RECEIVE_MS = 1000,		/* so often look whether the server is still there */
};

enum { CALL = QB_IPC_MSG_USER_START, POST, BUFFER };

struct request {
	struct qb_ipc_request_header header;
	int32_t a, b;
};

struct response {
	struct qb_ipc_response_header header;
	int32_t result;
};

static char name[32];
static qb_loop_t *loop;
static qb_ipcs_service_t *service;
static pid_t server;
static qb_ipcc_connection_t *calls, *buffers;

/* ------------------------------------------------------------------- server */

static int32_t accept_all(qb_ipcs_connection_t *c, uid_t uid, gid_t gid)
{
	(void)c, (void)uid, (void)gid;
	return 0;
}

static void respond(qb_ipcs_connection_t *c, int32_t id, int32_t result)
{
	struct response r = { .header = { .id = id, .size = sizeof r }, .result = result };

	if (qb_ipcs_response_send(c, &r, sizeof r) != sizeof r)
		die("qb_ipcs_response_send");
}

static int32_t process(qb_ipcs_connection_t *c, void *data, size_t size)
{
	const struct qb_ipc_request_header *header = data;
	const struct request *r = data;

	if (header->id == BUFFER) {
		respond(c, BUFFER, check((const uint8_t *)(header + 1), size - sizeof *header));
		return 0;
	}

	int32_t result = answer(r->a, r->b);

	if (header->id == CALL)
		respond(c, CALL, result);
	return 0;
}

/* The last connection to close is that for calls: then nobody needs the server. */
static void closed(qb_ipcs_connection_t *c)
{
	struct qb_ipcs_stats stats;

	(void)c;
	qb_ipcs_stats_get(service, &stats, QB_FALSE);
	if (stats.active_connections == 0)
		qb_loop_stop(loop);
}

static int32_t add_job(enum qb_loop_priority p, void *data, qb_loop_job_dispatch_fn run)
{
	return qb_loop_job_add(loop, p, data, run);
}

static int32_t add_poll(enum qb_loop_priority p, int32_t fd, int32_t events, void *data, qb_ipcs_dispatch_fn_t run)
{
	return qb_loop_poll_add(loop, p, fd, events, data, run);
}

static int32_t modify_poll(enum qb_loop_priority p, int32_t fd, int32_t events, void *data, qb_ipcs_dispatch_fn_t run)
{
	return qb_loop_poll_mod(loop, p, fd, events, data, run);
}

static int32_t delete_poll(int32_t fd)
{
	return qb_loop_poll_del(loop, fd);
}

static void serve(void *arg)
{
	struct qb_ipcs_service_handlers handlers = {
		.connection_accept = accept_all, .msg_process = process, .connection_destroyed = closed,
	};
	struct qb_ipcs_poll_handlers poll = {
		.job_add = add_job, .dispatch_add = add_poll, .dispatch_mod = modify_poll, .dispatch_del = delete_poll,
	};

	(void)arg;
	loop = qb_loop_create();
	service = qb_ipcs_create(name, 0, QB_IPC_SHM, &handlers);
	if (!loop || !service)
		die("qb_ipcs_create");
	qb_ipcs_poll_handlers_set(service, &poll);
	/* Up to 50 requests in a go, not 5. */
	qb_ipcs_request_rate_limit(service, QB_IPCS_RATE_FAST);
	if (qb_ipcs_run(service))
		die("qb_ipcs_run");
	qb_loop_run(loop);
	qb_ipcs_destroy(service);
}

/* ------------------------------------------------------------------- client */

/* The server removes the files in /dev/shm, and must have done so before it dies with this process. */
static void disconnect(void)
{
	qb_ipcc_disconnect(calls);
	while (waitpid(server, NULL, 0) < 0 && errno == EINTR)
		;
}

static void open_libqb(const struct place *place)
{
	snprintf(name, sizeof name, "contender-%d", (int)getpid());
	server = fork_side(place->other, serve, NULL);
	while (!(calls = qb_ipcc_connect(name, MESSAGE_MAX))) {
		if (errno != ENOENT && errno != ECONNREFUSED)
			die("qb_ipcc_connect");
		rest(1);
	}
	atexit(disconnect);
}

static const char *version(void)
{
	return qb_ver_str;
}

static struct request request(int32_t id, int32_t a, int32_t b)
{
	return (struct request){ .header = { .id = id, .size = sizeof(struct request) }, .a = a, .b = b };
}

/* -EAGAIN: the ring is full. */
static void send_request(int32_t id, int32_t a, int32_t b)
{
	struct request r = request(id, a, b);
	ssize_t n;

	while ((n = qb_ipcc_send(calls, &r, sizeof r)) == -EAGAIN)
		sched_yield();
	if (n != sizeof r) {
		errno = (int)-n;
		die("qb_ipcc_send");
	}
}

static void send_call(int32_t a, int32_t b)
{
	send_request(CALL, a, b);
}

static int32_t receive(void)
{
	struct response r;
	ssize_t n;

	while ((n = qb_ipcc_recv(calls, &r, sizeof r, RECEIVE_MS)) == -EAGAIN || n == -ETIMEDOUT || n == -EINTR)
		;
	if (n != sizeof r) {
		errno = (int)-n;
		die("qb_ipcc_recv");
	}
	return r.result;
}

static int32_t send_and_receive(qb_ipcc_connection_t *c, const struct iovec *part, uint32_t parts)
{
	struct response r;
	ssize_t n;

	while ((n = qb_ipcc_sendv_recv(c, part, parts, &r, sizeof r, -1)) == -EAGAIN)
		sched_yield();
	if (n != sizeof r) {
		errno = (int)-n;
		die("qb_ipcc_sendv_recv");
	}
	return r.result;
}

static int32_t call(int32_t a, int32_t b)
{
	struct request r = request(CALL, a, b);

	return send_and_receive(calls, &(struct iovec){ &r, sizeof r }, 1);
}

static void post(int32_t a, int32_t b)
{
	send_request(POST, a, b);
}

static uint8_t *buffer(size_t n)
{
	buffers = qb_ipcc_connect(name, sizeof(struct qb_ipc_request_header) + n);
	if (!buffers)
		die("qb_ipcc_connect");
	return malloc(n);
}

static void release(uint8_t *p)
{
	qb_ipcc_disconnect(buffers);
	free(p);
}

static int32_t pass(uint8_t *p, size_t n)
{
	struct qb_ipc_request_header header = { .id = BUFFER, .size = (int32_t)(sizeof header + n) };
	struct iovec part[] = { { &header, sizeof header }, { p, n } };

	return send_and_receive(buffers, part, 2);
}

const struct system contender = {
	.version = version,
	.open = open_libqb,
	.call = call,
	.send = send_call,
	.receive = receive,
	.window_max = WINDOW_MAX,
	.post = post,
	.pass = pass,
	.buffer = buffer,
	.release = release,
	.pass_max = 1 << 30,	/* the library counts in int32_t */
};
