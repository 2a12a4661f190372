/*
 * Everything at once, while signals interrupt every thread a thousand times a
 * second and children are forked that must disturb nobody.
 *
 *	storm [SECONDS [SEED]]
 *
 * In the first half the handlers are installed with SA_RESTART, in the second
 * without. Every call must succeed, and no wait may be too short. A child made by
 * fork() calls each function of farcall.h, is refused, and ends by exit(), _exit()
 * or pthread_exit().
 */
#include <errno.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "stress.h"

/* Under AddressSanitizer nobody forks: a child may find the allocator locked, by a thread that it does not have. */
#ifdef __SANITIZE_ADDRESS__
enum { FORKERS = 0 };
#else
enum { FORKERS = 1 };
#endif

enum { CALLERS = 3, SLAVES = 4, THREADS = CALLERS + 3 + FORKERS };

static struct far_slave *slaves[SLAVES];
static atomic_bool stop;
static atomic_ulong calls, starts, steps, forks, signals, waits;

static void handle(int signal)
{
	(void)signal;
	int saved = errno;

	signals++;
	errno = saved;
}

/* The calling thread is interrupted from now on, until it ends. */
static timer_t begin_storm(void)
{
	struct sigevent event = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGUSR1 };
	struct itimerspec often = { { 0, 1000000 }, { 0, 1000000 } };
	timer_t timer;

	event._sigev_un._tid = (pid_t)syscall(SYS_gettid);
	if (timer_create(CLOCK_MONOTONIC, &event, &timer) || timer_settime(timer, 0, &often, NULL))
		wrong("no timer: %s", strerror(errno));
	return timer;
}

static void must(const char *what)
{
	if (far_error())
		wrong("%s: %d: %s", what, far_error()->code, far_error()->message);
}

/* ------------------------------------------------------ what slaves run */

static uint64_t sum(const uint64_t *item, size_t n)
{
	uint64_t s = 0;

	for (size_t i = 0; i < n; i++)
		s += item[i];
	return s;
}

/* A slave process has the handler, and a timer of its own. */
static void set_up(void *unused)
{
	(void)unused;
	begin_storm();
}

static void work(unsigned us)
{
	double end = now() + us / 1e6;

	while (now() < end)
		;
}

/* ---------------------------------------------------------------- threads */

static void call_with_memory(struct far_slave *slave, uint64_t *r)
{
	size_t n = 1 + below(r, below(r, 8) ? 1000 : 1000000);
	uint64_t *item = far_calloc(n, sizeof *item);

	if (!item)
		wrong("far_calloc: %s", far_error()->message);
	item[n - 1] = 5;
	if (far_invoke(slave, sum, item, n) != 5)
		wrong("a sum is wrong");
	must("sum");
	far_free(item);
}

static void schedule_some(struct far_slave *slave, uint64_t *r)
{
	far_task(long) task[20];
	unsigned n = 1 + below(r, 20);

	for (unsigned i = 0; i < n; i++) {
		task[i] = far_schedule(slave, mix, (int)i, 1.5, 3);
		must("far_schedule");
	}
	for (unsigned i = n; i-- > 0;) {
		if (far_wait(task[i]) != mix((int)i, 1.5, 3))
			wrong("a task's result is wrong");
		must("far_wait");
	}
}

/* No signal ends a wait before its time. */
static void wait_in_vain(struct far_slave *slave)
{
	far_task(void) task = far_schedule(slave, work, 30000);
	double start = now();
	int err = far_wait_for(task, 5);

	if (err && err != -ETIMEDOUT)
		wrong("far_wait_for: %d", err);
	if (err && now() - start < 0.005)
		wrong("a wait of 5 ms took %g ms", (now() - start) * 1e3);
	far_wait(task);
	must("work");
	waits++;
}

static void *caller(void *arg)
{
	uint64_t r = random_start((unsigned)(uintptr_t)arg);
	timer_t timer = begin_storm();

	while (!stop) {
		struct far_slave *slave = slaves[below(&r, SLAVES)];
		int a = (int)below(&r, 1000);

		switch (below(&r, 30)) {
		case 0:
			wait_in_vain(slave);
			break;
		case 1: case 2:
			call_with_memory(slave, &r);
			break;
		case 3: case 4:
			schedule_some(slave, &r);
			break;
		case 5:
			if (far_wait(far_thread(mix, a, 0.5, a)) != mix(a, 0.5, a))
				wrong("a thread's result is wrong");
			break;
		case 6:
			if (far_invoke(slave, close, far_fd(STDOUT_FILENO)))
				wrong("close: %s", strerror(errno));
			break;
		case 7:
			far_invoke(slave, work, 2000);
			break;
		default:
			if (far_invoke(slave, mix, a, 0.5, a) != mix(a, 0.5, a))
				wrong("a result is wrong");
		}
		must("a call");
		calls++;
	}
	timer_delete(timer);
	return NULL;
}

static void *starter(void *arg)
{
	uint64_t r = random_start((unsigned)(uintptr_t)arg);
	timer_t timer = begin_storm();

	while (!stop) {
		struct far_slave *s = below(&r, 2) ? far_slave_process(.setup = set_up) : far_slave_thread();

		must("a start");
		far_forget(far_schedule(s, work, 1000));
		if (far_slave_close(s))
			wrong("far_slave_close: %s", far_error()->message);
		starts++;
	}
	timer_delete(timer);
	return NULL;
}

static struct far_slave *_Atomic here;

static void *stepper(void *arg)
{
	timer_t timer = begin_storm();
	struct far_slave *s = far_slave_here();

	(void)arg;
	must("far_slave_here");
	here = s;
	while (!stop) {
		double start = now();
		int n = far_step(s, 10);

		if (n < 0)
			wrong("far_step: %s", far_error()->message);
		if (!n && now() - start < 0.010)
			wrong("a step of 10 ms took %g ms", (now() - start) * 1e3);
		steps++;
	}
	here = NULL;
	while (far_step(s, 50) > 0)
		;
	if (far_slave_close(s))
		wrong("far_slave_close: %s", far_error()->message);
	timer_delete(timer);
	return NULL;
}

/* ---------------------------------------------------------------- children */

static far_task(long) parents_task;
static void *parents_block;

static void must_be_refused(const char *what, bool value)
{
	if (!value || !far_error() || far_error()->code != FAR_EFORKED)
		wrong("in a forked child, %s: %s", what, far_error() ? far_error()->message : "no error");
}

static void call_everything(void)
{
	struct far_slave *s = slaves[0];
	FILE *null = fopen("/dev/null", "we");

	must_be_refused("far_init", far_init() < 0);
	must_be_refused("far_slave_thread", !far_slave_thread());
	must_be_refused("far_slave_process", !far_slave_process());
	must_be_refused("far_slave_here", !far_slave_here());
	must_be_refused("far_step", far_step(s, 1) < 0);
	must_be_refused("far_slave_pid", far_slave_pid(s) < 0);
	must_be_refused("far_invoke", !far_invoke(s, mix, 1, 2, 3));
	must_be_refused("far_fd", !far_invoke(s, close, far_fd(0)));
	must_be_refused("far_in", !far_invoke(s, sum, far_in((uint64_t[]){ 1 }, 8), 1));
	must_be_refused("far_schedule", !far_schedule(s, mix, 1, 2, 3));
	must_be_refused("far_thread", !far_thread(mix, 1, 2, 3));
	must_be_refused("far_wait_for", far_wait_for(parents_task, 1) < 0);
	must_be_refused("far_wait", !far_wait(parents_task));
	must_be_refused("far_forget", far_forget(parents_task) < 0);
	must_be_refused("far_alloc", !far_alloc(10));
	must_be_refused("far_calloc", !far_calloc(10, 10));
	must_be_refused("far_realloc", !far_realloc(parents_block, 1000));
	must_be_refused("far_free", (far_free(parents_block), true));
	must_be_refused("far_slave_close", far_slave_close(s) < 0);
	if (far_slave_self())
		wrong("a forked child is a slave");
	if (null) {
		far_status(null);
		fclose(null);
	}
	far_error();
}

static void *forker(void *arg)
{
	uint64_t r = random_start((unsigned)(uintptr_t)arg);
	timer_t timer = begin_storm();
	int status;

	while (!stop) {
		unsigned way = below(&r, 3);

		parents_task = far_schedule(slaves[0], mix, 1, 2.0, 3);
		parents_block = far_alloc(100);
		strcpy(parents_block, "still here");
		pid_t pid = fork();

		if (pid == 0) {
			alarm(30);
			call_everything();
			if (way == 0)
				_exit(0);
			if (way == 1)
				exit(0);
			pthread_exit(NULL);
		}
		if (pid < 0)
			wrong("fork: %s", strerror(errno));
		while (waitpid(pid, &status, 0) < 0)
			if (errno != EINTR)
				wrong("waitpid: %s", strerror(errno));
		if (status)
			wrong("a child ended with %#x", (unsigned)status);
		if (far_wait(parents_task) != mix(1, 2.0, 3) || strcmp(parents_block, "still here"))
			wrong("a child disturbed its parent");
		far_free(parents_block);
		must("a fork");
		forks++;
		nap(&r, 5000);
	}
	timer_delete(timer);
	return NULL;
}

/* Calls to the slave that steps. */
static void *visitor(void *arg)
{
	uint64_t r = random_start((unsigned)(uintptr_t)arg);
	timer_t timer = begin_storm();

	while (!stop) {
		struct far_slave *s = here;
		int a = (int)below(&r, 1000);

		nap(&r, 20000);
		if (!s)
			continue;
		long n = far_invoke(s, mix, a, 0.5, a);

		/* It may have been closed meanwhile. */
		if (far_error() ? far_error()->code != FAR_ECLOSED : n != mix(a, 0.5, a))
			wrong("a call to a slave that steps: %s", far_error() ? far_error()->message : "a wrong result");
	}
	timer_delete(timer);
	return NULL;
}

static void run(unsigned ms)
{
	static void *(*const others[])(void *) = { starter, stepper, visitor, forker };
	pthread_t thread[THREADS];

	stop = false;
	for (uintptr_t i = 0; i < THREADS; i++)
		if (pthread_create(&thread[i], NULL, i < CALLERS ? caller : others[i - CALLERS], (void *)(i + 1)))
			wrong("no thread");
	for (double end = now() + ms / 1e3; now() < end;)
		usleep(10000);
	stop = true;
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
}

/* From now on system calls that a signal interrupts are restarted, or not. */
static void restart_calls(bool restart)
{
	struct sigaction action = { .sa_handler = handle, .sa_flags = restart ? SA_RESTART : 0 };

	sigaction(SIGUSR1, &action, NULL);
}

int main(int argc, char **argv)
{
	restart_calls(true);
	if (far_init()) {
		fprintf(stderr, "far_init: %s\n", far_error()->message);
		return 1;
	}
	unsigned seconds = begin(argc, argv, 4);

	for (unsigned i = 0; i < SLAVES; i++) {
		slaves[i] = i % 2 ? far_slave_process(.setup = set_up) : far_slave_thread();
		must("a slave");
	}
	run(seconds * 500);
	restart_calls(false);
	for (unsigned i = 1; i < SLAVES; i += 2)
		far_invoke(slaves[i], restart_calls, false);
	run(seconds * 500);
	for (unsigned i = 0; i < SLAVES; i++)
		if (far_slave_close(slaves[i]))
			wrong("far_slave_close: %s", far_error()->message);
	printf("storm: seed %llu: %lu signals here; %lu calls, %lu slaves started, %lu steps, %lu waits in vain, %lu children\n",
	       (unsigned long long)seed, signals, calls, starts, steps, waits, forks);
	return 0;
}
