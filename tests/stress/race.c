/*
 * Calls end in each way that they can, at once: by their result, their deadline,
 * far_cancel(), the death of their slave and its restart, and the slave is frozen
 * and set free meanwhile. Each has one outcome, and one that it may have; it never
 * runs twice; and nobody waits for ever.
 *
 *	race [SECONDS [SEED]]
 */
#include <errno.h>
#include <pthread.h>
#include <sys/syscall.h>

#include "stress.h"

enum {
	SECONDS = 4,
	WORKERS = 6,		/* each has a slave of its own; the last a thread, which cannot be killed */
	TASKS = 12,		/* at once, of a worker */
	CELLS = 4096,		/* so many calls later a late one is no longer at work */
	OUTCOMES = 4,
	LATE_S = 5,		/* what ends at a time ends so much later at the most */
	WAS_TOLD = 77,
};

enum { RESULT, LATE, CANCELLED, DIED };

/* What a worker has asked for: its own to write; who cancels reads the handle, which may be stale. */
struct asked {
	far_task(int) _Atomic task;
	atomic_bool cancelled;
	bool timed;
	int expected;
	int *times;		/* in the far heap: how often it has been run */
	double until;		/* when it must have ended, or 0 */
};

static struct worker {
	struct far_slave *_Atomic slave;
	struct asked asked[TASKS];
	bool is_thread;
	unsigned asked_for;
	int *cell;		/* CELLS of them, in the far heap */
} worker[WORKERS];

static atomic_bool stop;
static atomic_ulong ended[OUTCOMES], kills, freezes, cancels, restarts;

/* ------------------------------------------------------ what slaves run */

static int answer(int *times, int n)
{
	__atomic_add_fetch(times, 1, __ATOMIC_SEQ_CST);
	return n + 1;
}

static int answer_later(int *times, int n)
{
	__atomic_add_fetch(times, 1, __ATOMIC_SEQ_CST);
	usleep((unsigned)n);
	return n + 1;
}

static int until_told(int *times, int unused)
{
	(void)unused;
	__atomic_add_fetch(times, 1, __ATOMIC_SEQ_CST);
	while (!far_interrupted())
		usleep(50);
	return WAS_TOLD;
}

static int for_ever(int *times, int unused)
{
	(void)unused;
	__atomic_add_fetch(times, 1, __ATOMIC_SEQ_CST);
	for (volatile bool on = true; on;)
		;
	return 0;
}

/* ---------------------------------------------------------------- callers */

static void ask(struct worker *w, unsigned i, uint64_t *r)
{
	struct asked *a = &w->asked[i];
	unsigned what = below(r, 10);
	int n = (int)below(r, 600), deadline_ms = below(r, 3) ? -1 : (int)below(r, 4);

	a->times = &w->cell[w->asked_for++ % CELLS];
	*a->times = 0;
	a->cancelled = false;
	a->expected = n + 1;
	/* These end by nothing else. */
	if (what >= 8 && deadline_ms < 0)
		deadline_ms = 1 + (int)below(r, 4);
	a->timed = deadline_ms >= 0;
	int (*function)(int *, int) = what < 5 ? answer : what < 8 ? answer_later
				      : what == 9 && !w->is_thread ? for_ever : until_told;

	if (function == until_told)
		a->expected = WAS_TOLD;
	a->task = far_schedule_within(deadline_ms, w->slave, function, a->times, n);
	a->until = a->timed ? now() + deadline_ms / 1e3 : 0;
}

static int outcome_of(const struct worker *w, const struct asked *a, int got)
{
	const struct far_error *e = far_error();

	if (!e) {
		if (got != a->expected)
			wrong("the result is %d, not %d", got, a->expected);
		return RESULT;
	}
	if (e->code == FAR_EDEADLINE && !a->timed)
		wrong("a call without a deadline was late: %s", e->message);
	if (e->code == FAR_ECANCELLED && !a->cancelled)
		wrong("a call that nobody cancelled: %s", e->message);
	if (e->code == FAR_EDEADLINE)
		return LATE;
	if (e->code == FAR_ECANCELLED)
		return CANCELLED;
	if (!far_died(e) || w->is_thread)
		wrong("%d: %s", e->code, e->message);
	return DIED;
}

static int count(const struct worker *w, const struct asked *a, int got)
{
	int how = outcome_of(w, a, got);

	ended[how]++;
	return how;
}

static void collect(struct worker *w, unsigned i)
{
	struct asked *a = &w->asked[i];
	double start = now();
	int how = count(w, a, far_wait(a->task)), times = *a->times;

	if (times > 1 || (how == RESULT && times != 1))
		wrong("a call with outcome %d was run %d times", how, times);
	if (a->until && now() - a->until > LATE_S && now() - start > LATE_S)
		wrong("a deadline was told %g s late", now() - a->until);
}

/* Another slave, of a kind by chance. */
static void open_slave(struct worker *w, uint64_t *r)
{
	static const unsigned queues[] = { 1, 4, 64 };
	unsigned queue = queues[below(r, 3)];

	do {
		w->slave = w->is_thread ? far_slave_thread(.queue = queue)
			: far_slave_process(.name = "racer", .queue = queue, .respawn = below(r, 2) ? 1000 : 0,
					    .grace_ms = 1 + (int)below(r, 3), .kill_on_cancel = (int)below(r, 2));
		if (!w->slave && !far_died(far_error()))
			wrong("no slave: %s", far_error()->message);
	} while (!w->slave);
}

static void close_slave(struct worker *w)
{
	int err = far_slave_close(w->slave);

	if (err && (err != -EOWNERDEAD || w->is_thread))
		wrong("far_slave_close: %s", far_error()->message);
	far_error();
}

static void *work(void *number)
{
	struct worker *w = &worker[(uintptr_t)number];
	uint64_t r = random_start((unsigned)(uintptr_t)number);

	while (!stop) {
		unsigned n = 1 + below(&r, TASKS), made = 0;
		bool dead = false;

		for (; made < n && !dead; made++) {
			ask(w, made, &r);
			/* Refused it is an outcome, too: the slave is dead, or there was no room in time. */
			if (!w->asked[made].task)
				dead = count(w, &w->asked[made], 0) == DIED;
		}
		for (unsigned i = 0; i < made; i++)
			if (w->asked[i].task)
				collect(w, i);
		if (dead || below(&r, 100) == 0) {	/* it may not rise again */
			close_slave(w);
			open_slave(w, &r);
		} else if (!w->is_thread && below(&r, 200) == 0) {
			if (far_slave_restart(w->slave) && !far_died(far_error()))
				wrong("far_slave_restart: %s", far_error()->message);
			restarts++;
		}
	}
	return NULL;
}

/* ------------------------------------------------------ what happens to them */

/*
 * Cancel what is there at this moment. The mark comes first: between it and the
 * call the task may be collected and the next one take its place, which then is
 * not cancelled though it is marked: that is harmless.
 */
static void *cancel(void *unused)
{
	uint64_t r = random_start(1000);

	(void)unused;
	while (!stop) {
		struct asked *a = &worker[below(&r, WORKERS)].asked[below(&r, TASKS)];
		far_task(int) t = a->task;

		nap(&r, 300);
		a->cancelled = true;
		if (t && a->task == t && far_cancel(t) >= 0)
			cancels++;
		far_error();
	}
	return NULL;
}

static void *kill_and_freeze(void *unused)
{
	uint64_t r = random_start(1001);

	(void)unused;
	while (!stop) {
		struct far_slave *slave = worker[below(&r, WORKERS - 1)].slave;

		nap(&r, 2000);
		pid_t pid = far_slave_pid(slave);
		int fd = pid > 0 ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;

		/* Still its process, so that it is no other that has the number now. */
		if (fd >= 0 && far_slave_pid(slave) == pid && pid != getpid()) {
			if (below(&r, 3) == 0) {
				syscall(SYS_pidfd_send_signal, fd, SIGSTOP, NULL, 0);
				nap(&r, 4000);
				syscall(SYS_pidfd_send_signal, fd, SIGCONT, NULL, 0);
				freezes++;
			} else {
				kills += !syscall(SYS_pidfd_send_signal, fd, SIGKILL, NULL, 0);
			}
		}
		if (fd >= 0)
			close(fd);
		far_error();
	}
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t thread[WORKERS + 2];

	if (far_init()) {
		fprintf(stderr, "far_init: %s\n", far_error()->message);
		return 1;
	}
	unsigned seconds = begin(argc, argv, SECONDS);
	uint64_t r = random_start(2000);

	worker[WORKERS - 1].is_thread = true;
	for (unsigned i = 0; i < WORKERS; i++) {
		worker[i].cell = far_calloc(CELLS, sizeof(int));
		open_slave(&worker[i], &r);
	}
	for (uintptr_t i = 0; i < WORKERS + 2; i++)
		if (pthread_create(&thread[i], NULL, i < WORKERS ? work : i == WORKERS ? cancel : kill_and_freeze, (void *)i))
			wrong("no thread");
	sleep(seconds);
	stop = true;
	for (unsigned i = 0; i < WORKERS + 2; i++)
		pthread_join(thread[i], NULL);
	for (unsigned i = 0; i < WORKERS; i++)
		close_slave(&worker[i]);
	printf("race: seed %llu: %lu results, %lu late, %lu cancelled, %lu lost with their slave; %lu kills, %lu freezes, "
	       "%lu cancellations, %lu restarts\n", (unsigned long long)seed, ended[RESULT], ended[LATE], ended[CANCELLED],
	       ended[DIED], kills, freezes, cancels, restarts);
	for (unsigned i = 0; i < OUTCOMES; i++)
		if (!ended[i])
			wrong("no call had outcome %u", i);
	return 0;
}
