/*
 * farcall: a slave process or, by the option "thread", a slave thread. Buffers
 * are in the far heap or, by "copy", in the caller's own memory. "start" leaves
 * the cores alone, for what starts slaves.
 */
#include <farcall.h>

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "contender.h"

enum { WINDOW_MAX = 1024 };

static struct far_slave *slave, *worker[WORKERS_MAX];
static bool is_thread, copies;

static void check_error(const char *what)
{
	if (far_error()) {
		errno = 0;
		die("%s: %s", what, far_error()->message);
	}
}

static void begin(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	far_init();
}

static const char *version(void)
{
	return version_of(FAR_VERSION_MAJOR, FAR_VERSION_MINOR, FAR_VERSION_PATCH);
}

static void open_farcall(const struct place *place)
{
	const char *option = place->option ? place->option : "process";

	if (!strcmp(option, "start")) {
		unbind();
		far_slave_close(far_slave_process());	/* no worker is the first one */
		check_error("slave");
		return;
	}
	is_thread = !strcmp(option, "thread");
	copies = !strcmp(option, "copy");
	slave = is_thread ? far_slave_thread() : far_slave_process();
	far_invoke(slave, pin_to, place->other);
	check_error("slave");
	if (!is_thread)
		also_runs(far_slave_pid(slave));
}

static int32_t call(int32_t a, int32_t b)
{
	return far_invoke(slave, answer, a, b);
}

static uint64_t calls(unsigned n)
{
	int64_t sum = 0;
	uint64_t start = now_ns();

	for (unsigned i = 0; i < n; i++)
		sum += far_invoke(slave, answer, (int32_t)i, 1);

	uint64_t ns = now_ns() - start;

	expect_sum(sum, n);
	return ns;
}

static uint64_t stream(unsigned window, unsigned n)
{
	far_task(int32_t) task[WINDOW_MAX];
	int64_t sum = 0;
	uint64_t start = now_ns();
	unsigned next = 0;	/* the slot of the oldest task, and then of the newest */

	for (unsigned i = 0; i < n + window; i++) {
		if (i >= window)
			sum += far_wait(task[next]);
		if (i < n)
			task[next] = far_schedule(slave, answer, (int32_t)i, 1);
		next = next + 1 == window ? 0 : next + 1;
	}

	uint64_t ns = now_ns() - start;

	expect_sum(sum, n);
	return ns;
}

static uint64_t posts(unsigned n)
{
	uint64_t start = now_ns();

	for (unsigned i = 0; i < n; i++)
		if (far_forget(far_schedule(slave, answer, (int32_t)i, 1)))
			die("far_forget");
	expect(far_invoke(slave, answer, 1, 1), 2);
	return now_ns() - start;
}

static uint8_t *buffer(size_t n)
{
	return copies ? malloc(n) : far_alloc(n);
}

static void release(uint8_t *p)
{
	if (copies)
		free(p);
	else
		far_free(p);
}

static int32_t pass(uint8_t *p, size_t n)
{
	return copies ? far_invoke(slave, check, far_in(p, n), n) : far_invoke(slave, check, p, n);
}

/* ------------------------------------------------------------------ workers */

static struct far_slave *start_slave(void)
{
	struct far_slave *s = far_slave_process();

	expect(far_invoke(s, answer, 1, 2), 3);
	return s;
}

static uint64_t start(void)
{
	uint64_t from = now_ns();
	struct far_slave *s = start_slave();
	uint64_t ns = now_ns() - from;

	if (far_slave_close(s))
		die("close");
	return ns;
}

static int32_t crash_here(void)
{
	int32_t *volatile nothing = NULL;

	return *nothing;
}

static void crash(uint64_t *error, uint64_t *recovered)
{
	struct far_slave *s = start_slave();
	uint64_t from = now_ns();

	far_invoke(s, crash_here);
	*error = now_ns() - from;
	if (!far_error() || far_error()->signal != SIGSEGV)
		die("no SIGSEGV");
	if (far_slave_restart(s) || far_invoke(s, answer, 1, 2) != 3)
		die("restart");
	*recovered = now_ns() - from;
	far_slave_close(s);
}

static void workers(unsigned n, pid_t *pid)
{
	for (unsigned i = 0; i < n; i++) {
		worker[i] = start_slave();
		pid[i] = far_slave_pid(worker[i]);
	}
}

static int32_t worker_call(unsigned i, int32_t a, int32_t b)
{
	return far_invoke(worker[i], answer, a, b);
}

const struct system contender = {
	.begin = begin,
	.version = version,
	.open = open_farcall,
	.call = call,
	.window_max = WINDOW_MAX,
	.pass = pass,
	.buffer = buffer,
	.release = release,
	.threads = true,
	.calls = calls,
	.stream = stream,
	.posts = posts,
	.start = start,
	.crash = crash,
	.workers = workers,
	.worker_call = worker_call,
};
