/*
 * The floors for starting: what the machine itself takes to start another process
 * or thread that reports once, with nothing around it. "fork" and "pthread" report
 * by a futex, "posix_spawn" starts this program again, which reports by a pipe.
 */
#include "contender.h"
#include "futex.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* Shared with a forked child. */
static struct shared {
	atomic_uint reported;	/* 1 once the worker has */
	atomic_uint told;	/* what the worker is to do then */
	int32_t sum;
} *shared;

enum { WAIT, END, CRASH };

/* A program that was spawned, and the pipes to it. */
struct worker {
	pid_t pid;
	int in, out;
};

static struct worker worker[WORKERS_MAX];
static uint64_t (*chosen)(void);
static bool forks, spawns;

/* ------------------------------------------------------------------------ futex */

static void set(atomic_uint *word, unsigned value)
{
	/* release: pairs with futex_wait(). */
	atomic_store_explicit(word, value, memory_order_release);
	futex_wake(word, 0);
}

static void report(void)
{
	shared->sum = answer(1, 2);
	set(&shared->reported, 1);
}

static void await_report(void)
{
	futex_wait(&shared->reported, 0, 0);
	expect(shared->sum, 3);
}

static void forget_last(void)
{
	atomic_store(&shared->reported, 0);
	atomic_store(&shared->told, WAIT);
}

/* ------------------------------------------------------------------------- fork */

static pid_t fork_worker(void)
{
	pid_t parent = getpid(), child = fork();

	if (child < 0)
		die("fork");
	if (child > 0)
		return child;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() == parent) {
		report();
		futex_wait(&shared->told, WAIT, 0);
		if (atomic_load(&shared->told) == CRASH)
			raise(SIGSEGV);
	}
	_exit(0);
}

static int wait_for(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			die("waitpid");
	return status;
}

static pid_t start_fork(void)
{
	forget_last();

	pid_t child = fork_worker();

	await_report();
	return child;
}

static void end_fork(pid_t child)
{
	set(&shared->told, END);
	wait_for(child);
}

static uint64_t time_fork(void)
{
	uint64_t from = now_ns();
	pid_t child = start_fork();
	uint64_t ns = now_ns() - from;

	end_fork(child);
	return ns;
}

static void crash_fork(uint64_t *error, uint64_t *recovered)
{
	pid_t child = start_fork();
	uint64_t from = now_ns();

	set(&shared->told, CRASH);

	int status = wait_for(child);

	*error = now_ns() - from;
	if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGSEGV)
		die("no SIGSEGV");
	child = start_fork();
	*recovered = now_ns() - from;
	end_fork(child);
}

/* ------------------------------------------------------------------ posix_spawn */

/* All or nothing: false at the end of file. */
static bool read_all(int fd, void *p, size_t n)
{
	ssize_t got;

	while ((got = read(fd, p, n)) < 0 && errno == EINTR)
		;
	if (got != 0 && got != (ssize_t)n)
		die("read");
	return got;
}

static void write_all(int fd, const void *p, size_t n)
{
	if (write(fd, p, n) != (ssize_t)n)
		die("write");
}

/* The program that was spawned: it reports, and answers until its input ends. */
static void be_worker(void)
{
	int32_t call[2] = { 1, 2 };

	do {
		int32_t sum = answer(call[0], call[1]);

		write_all(STDOUT_FILENO, &sum, sizeof sum);
	} while (read_all(STDIN_FILENO, call, sizeof call));
	_exit(0);
}

static int32_t answer_of(const struct worker *w)
{
	int32_t sum;

	if (!read_all(w->out, &sum, sizeof sum))
		die("a worker has died");
	return sum;
}

static struct worker spawn_worker(void)
{
	extern char **environ;
	char name[] = "worker";
	char *argv[] = { program_invocation_name, name, NULL };
	int in[2], out[2];
	struct worker w;
	posix_spawn_file_actions_t actions;

	/* Closed in every other worker, which else would keep this one's input open. */
	if (pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC))
		die("pipe");
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, in[0], STDIN_FILENO);
	posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
	errno = posix_spawn(&w.pid, "/proc/self/exe", &actions, NULL, argv, environ);
	if (errno)
		die("posix_spawn");
	posix_spawn_file_actions_destroy(&actions);
	close(in[0]);
	close(out[1]);
	w.in = in[1];
	w.out = out[0];
	expect(answer_of(&w), 3);
	return w;
}

static uint64_t time_spawn(void)
{
	uint64_t from = now_ns();
	struct worker w = spawn_worker();
	uint64_t ns = now_ns() - from;

	close(w.in);
	close(w.out);
	wait_for(w.pid);
	return ns;
}

static int32_t worker_call(unsigned i, int32_t a, int32_t b)
{
	int32_t call[2] = { a, b };

	write_all(worker[i].in, call, sizeof call);
	return answer_of(&worker[i]);
}

/* ---------------------------------------------------------------------- pthread */

static void *report_once(void *arg)
{
	report();
	return arg;
}

static uint64_t time_thread(void)
{
	pthread_t thread;

	forget_last();

	uint64_t from = now_ns();

	if (pthread_create(&thread, NULL, report_once, NULL))
		die("pthread_create");
	await_report();

	uint64_t ns = now_ns() - from;

	pthread_join(thread, NULL);
	return ns;
}

/* ----------------------------------------------------------------------- system */

static void begin(int *argc, char ***argv)
{
	if (*argc == 2 && !strcmp((*argv)[1], "worker"))
		be_worker();
}

static void open_floor(const struct place *place)
{
	const char *name = place->option ? place->option : "posix_spawn";

	forks = !strcmp(name, "fork");
	spawns = !strcmp(name, "posix_spawn");
	chosen = forks ? time_fork : spawns ? time_spawn : !strcmp(name, "pthread") ? time_thread : NULL;
	if (!chosen)
		die("no floor named %s", name);
	unbind();
	shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		die("mmap");
}

static uint64_t start(void)
{
	return chosen();
}

static void crash(uint64_t *error, uint64_t *recovered)
{
	if (!forks)
		die("only \"fork\" crashes");
	crash_fork(error, recovered);
}

static void workers(unsigned n, pid_t *pid)
{
	if (!spawns)
		die("only \"posix_spawn\" has workers");
	for (unsigned i = 0; i < n; i++) {
		worker[i] = spawn_worker();
		pid[i] = worker[i].pid;
	}
}

const struct system contender = {
	.begin = begin,
	.open = open_floor,
	.start = start,
	.crash = crash,
	.workers = workers,
	.worker_call = worker_call,
};
