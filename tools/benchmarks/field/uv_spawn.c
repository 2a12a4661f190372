/*
 * libuv's way to start a worker: uv_spawn() of this program again, which answers
 * calls over uv pipes at its stdin and stdout. Both sides wait in their loops.
 */
#include "contender.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

struct request {
	int32_t a, b;
	bool crash;
};

/* What comes out of a pipe, until it is one message. */
struct message {
	union {
		struct request request;
		int32_t result;
		char byte[sizeof(struct request)];
	};
	size_t size;
};

/* Our side of a worker. */
struct worker {
	uv_process_t process;
	uv_pipe_t in, out;
	struct message answer;
	int signal;
	bool exited;
	unsigned open;		/* handles */
};

/* The worker's side. */
static struct {
	uv_pipe_t in, out;
	struct message request;
} here;

static struct worker *worker[WORKERS_MAX];

static void check_error(int error, const char *what)
{
	if (error < 0)
		die("%s: %s", what, uv_strerror(error));
}

/* ---------------------------------------------------------------------- pipes */

static void room_in_message(uv_handle_t *pipe, size_t suggested, uv_buf_t *buf)
{
	struct message *m = pipe->data;

	(void)suggested;
	*buf = uv_buf_init(m->byte + m->size, (unsigned)(sizeof m->byte - m->size));
}

/* At most one message is under way: a try succeeds, as the pipe is empty. */
static void send_bytes(uv_pipe_t *pipe, const void *p, size_t n)
{
	uv_buf_t buf = uv_buf_init((char *)p, (unsigned)n);
	int sent = uv_try_write((uv_stream_t *)pipe, &buf, 1);

	check_error(sent, "uv_try_write");
	if ((size_t)sent != n)
		die("uv_try_write");
}

/* ----------------------------------------------------------------- in a worker */

static void answer_request(uv_stream_t *in, ssize_t n, const uv_buf_t *buf)
{
	(void)buf;
	if (n < 0) {
		uv_close((uv_handle_t *)in, NULL);
		uv_close((uv_handle_t *)&here.out, NULL);
		return;
	}
	here.request.size += (size_t)n;
	if (here.request.size < sizeof here.request.request)
		return;
	here.request.size = 0;
	if (here.request.request.crash)
		raise(SIGSEGV);

	int32_t result = answer(here.request.request.a, here.request.request.b);

	send_bytes(&here.out, &result, sizeof result);
}

static void be_worker(void)
{
	uv_loop_t *loop = uv_default_loop();

	here.in.data = &here.request;
	check_error(uv_pipe_init(loop, &here.in, 0), "uv_pipe_init");
	check_error(uv_pipe_init(loop, &here.out, 0), "uv_pipe_init");
	check_error(uv_pipe_open(&here.in, 0), "uv_pipe_open");
	check_error(uv_pipe_open(&here.out, 1), "uv_pipe_open");
	check_error(uv_read_start((uv_stream_t *)&here.in, room_in_message, answer_request), "uv_read_start");
	uv_run(loop, UV_RUN_DEFAULT);
	exit(0);
}

/* ---------------------------------------------------------------- a worker here */

static void take_answer(uv_stream_t *out, ssize_t n, const uv_buf_t *buf)
{
	struct message *m = out->data;

	(void)buf;
	if (n < 0)
		uv_read_stop(out);
	else
		m->size += (size_t)n;
}

static void note_exit(uv_process_t *process, int64_t status, int signal_number)
{
	struct worker *w = process->data;

	(void)status;
	w->signal = signal_number;
	w->exited = true;
}

static struct worker *spawn_worker(void)
{
	uv_loop_t *loop = uv_default_loop();
	struct worker *w = calloc(1, sizeof *w);
	char file[4096], name[] = "worker";
	size_t size = sizeof file;

	if (!w)
		die("no memory");
	check_error(uv_exepath(file, &size), "uv_exepath");
	check_error(uv_pipe_init(loop, &w->in, 0), "uv_pipe_init");
	check_error(uv_pipe_init(loop, &w->out, 0), "uv_pipe_init");

	char *args[] = { file, name, NULL };
	uv_stdio_container_t stdio[] = {
		{ .flags = UV_CREATE_PIPE | UV_READABLE_PIPE, .data.stream = (uv_stream_t *)&w->in },
		{ .flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE, .data.stream = (uv_stream_t *)&w->out },
		{ .flags = UV_INHERIT_FD, .data.fd = 2 },
	};
	uv_process_options_t options = {
		.exit_cb = note_exit, .file = file, .args = args, .stdio_count = 3, .stdio = stdio,
	};

	check_error(uv_spawn(loop, &w->process, &options), "uv_spawn");
	w->process.data = w;
	w->in.data = w->out.data = &w->answer;
	check_error(uv_read_start((uv_stream_t *)&w->out, room_in_message, take_answer), "uv_read_start");
	return w;
}

static int32_t call_worker(struct worker *w, int32_t a, int32_t b)
{
	struct request request = { .a = a, .b = b };

	w->answer.size = 0;
	send_bytes(&w->in, &request, sizeof request);
	while (w->answer.size < sizeof w->answer.result) {
		if (w->exited)
			die("a worker has died");
		uv_run(uv_default_loop(), UV_RUN_ONCE);
	}
	return w->answer.result;
}

static struct worker *start_worker(void)
{
	struct worker *w = spawn_worker();

	expect(call_worker(w, 1, 2), 3);
	return w;
}

static void wait_for_exit(const struct worker *w)
{
	while (!w->exited)
		uv_run(uv_default_loop(), UV_RUN_ONCE);
}

static void note_closed(uv_handle_t *handle)
{
	unsigned *open = handle->data;

	--*open;
}

static void close_handle(struct worker *w, void *handle)
{
	((uv_handle_t *)handle)->data = &w->open;
	w->open++;
	uv_close(handle, note_closed);
}

/* Its input ends, and so does it. */
static void end_worker(struct worker *w)
{
	close_handle(w, &w->in);
	close_handle(w, &w->out);
	wait_for_exit(w);
	close_handle(w, &w->process);
	while (w->open)
		uv_run(uv_default_loop(), UV_RUN_ONCE);
	free(w);
}

/* ------------------------------------------------------------------------ system */

static void begin(int *argc, char ***argv)
{
	if (*argc == 2 && !strcmp((*argv)[1], "worker"))
		be_worker();
}

static void open_libuv(const struct place *place)
{
	(void)place;
	unbind();
}

static uint64_t start(void)
{
	uint64_t from = now_ns();
	struct worker *w = start_worker();
	uint64_t ns = now_ns() - from;

	end_worker(w);
	return ns;
}

static void crash(uint64_t *error, uint64_t *recovered)
{
	struct request request = { .crash = true };
	struct worker *w = start_worker();
	uint64_t from = now_ns();

	send_bytes(&w->in, &request, sizeof request);
	wait_for_exit(w);
	*error = now_ns() - from;
	if (w->signal != SIGSEGV)
		die("no SIGSEGV");

	struct worker *successor = start_worker();

	*recovered = now_ns() - from;
	end_worker(w);
	end_worker(successor);
}

static void workers(unsigned n, pid_t *pid)
{
	for (unsigned i = 0; i < n; i++) {
		worker[i] = start_worker();
		pid[i] = uv_process_get_pid(&worker[i]->process);
	}
}

static int32_t worker_call(unsigned i, int32_t a, int32_t b)
{
	return call_worker(worker[i], a, b);
}

const struct system contender = {
	.begin = begin,
	.version = uv_version_string,
	.open = open_libuv,
	.start = start,
	.crash = crash,
	.workers = workers,
	.worker_call = worker_call,
};
