/*
 * Slave processes are killed at any instant while many threads call them in every
 * way there is.
 *
 *	kill [KILLS [SEED]]
 *
 * They are killed idle, busy, while they start, while they are closed, by the
 * slave whose slaves they are, and together with it; some are frozen before, or
 * frozen and set free again. Every call has exactly one outcome: a right result,
 * or the error of a death, or FAR_ECLOSED when the slave is being replaced. At the
 * end all is as it was: no process, no descriptor, no mapping more, and the far
 * heap is empty.
 */
#include <errno.h>
#include <pthread.h>
#include <sys/syscall.h>

#include "stress.h"

#ifdef __SANITIZE_ADDRESS__
enum { KILLS = 300, MORE_MAPPINGS = 40 };	/* its allocator's are not ours to count */
#else
enum { KILLS = 6700, MORE_MAPPINGS = 4 };
#endif

enum {
	CALLERS = 4,
	SLAVES = 48,
	KILLERS = 8,		/* each has its own part of the slaves, and waits much */
	SPARES = 16,
	QUIET = 6,		/* every so many-th slave is called by its killer alone */
	LIMIT_S = 100,
	INNER_DIED = 77,	/* raised by a slave whose own slave has died */
};

/* A slave, and a descriptor of its process so that no other is ever killed. */
static struct {
	struct far_slave *_Atomic slave;
	pthread_mutex_t lock;		/* for .closing and pidfd */
	bool closing;			/* the assassin may kill it */
	atomic_bool was_killed;
	int pidfd;
} places[SLAVES];

static pid_t *starting;			/* of each place, in the far heap: the process that is in set_up() now, or 0 */
static atomic_bool stop;
static atomic_bool slaves_allocate;
static atomic_ulong made, results, died, closed, inner_died, forgotten;
static atomic_ulong kills, killed_idle, killed_busy, killed_starting, killed_closing, killed_frozen, set_free, replaced;

/* ------------------------------------------------------ what slaves run */

static long mix_slowly(int a, unsigned us)
{
	usleep(us);
	return mix(a, us, 1);
}

static uint64_t sum(uint64_t *item, size_t n)
{
	uint64_t s = 0;

	for (size_t i = 0; i < n; i++)
		s += item[i]++ * (i + 1);
	return s;
}

/* As mix(), by asking back. */
static long mix_back(long (*back)(int, double, long), int a)
{
	return back(a, 0.5, a);
}

static size_t spell(char *to, size_t size, const char *text, int times)
{
	size_t n = 0;

	for (int i = 0; i < times; i++)
		n += (size_t)snprintf(to + n, size - n, "%s", text);
	return n;
}

/* Take and give memory: who dies with a finished block in its hands has lost it. */
static int churn(unsigned n)
{
	uint64_t r = n + 1;
	void *block[8] = { 0 };

	for (unsigned i = 0; i < n; i++) {
		void **b = &block[below(&r, 8)];

		far_free(*b);
		*b = far_alloc(below(&r, below(&r, 4) ? 5000 : 300000));
		if (!*b)
			return -1;
	}
	for (unsigned i = 0; i < 8; i++)
		far_free(block[i]);
	return (int)n;
}

/* Say that it is here, to be killed perhaps. */
static void set_up(void *arg)
{
	pid_t *here = arg, me = getpid();

	__atomic_store_n(here, me, __ATOMIC_SEQ_CST);
	usleep(150);
	/* Taken back by who kills it: the signal is on its way, and shall not come when it has long started. */
	if (!__atomic_compare_exchange_n(here, &me, 0, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
		for (;;)
			pause();
}

/* Nothing but SIGKILL ends it. */
static void work_for_ever(void)
{
	sigset_t all;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	for (volatile unsigned n = 0;; n++)
		;
}

/* A slave has a slave of its own, and kills it at times. */
static long nest(int a, unsigned us, bool kill_it)
{
	static struct far_slave *inner;
	far_task(long) task;

	if (!inner)
		inner = far_slave_process(.name = "inner");
	task = far_schedule(inner, mix_slowly, a, us);
	if (kill_it && inner) {
		usleep(us / 2);
		kill(far_slave_pid(inner), SIGKILL);
	}
	long n = far_wait(task);

	if (!far_error())
		return n;
	int code = far_error()->code;
	char text[400];

	snprintf(text, sizeof text, "%s", far_error()->message);
	far_slave_close(inner);
	far_error();
	inner = NULL;
	far_raise(is_death(code) ? INNER_DIED : code, "%s", text);
}

/* ---------------------------------------------------------------- callers */

/* An error is an outcome: is it one that may be? */
static void count_error(void)
{
	const struct far_error *e = far_error();

	if (!e)
		wrong("a call failed without an error");
	if (is_death(e->code)) {
		if (e->signal != SIGKILL)
			wrong("it died of signal %d: %s", e->signal, e->message);
		died++;
	} else if (e->code == FAR_ECLOSED) {
		closed++;
	} else if (e->code == INNER_DIED) {
		inner_died++;
	} else {
		wrong("%d: %s", e->code, e->message);
	}
}

static void check(long got, long expected)
{
	if (far_error())
		count_error();
	else if (got != expected)
		wrong("the result is %ld, not %ld", got, expected);
	else
		results++;
}

static void call_with_memory(struct far_slave *slave, uint64_t *r)
{
	size_t n = 1 + below(r, below(r, 10) ? 100 : 30000);
	uint64_t *item = far_alloc(n * sizeof *item), expected = 0;

	if (!item)
		wrong("far_alloc: %s", far_error()->message);
	for (size_t i = 0; i < n; i++) {
		item[i] = i;
		expected += i * (i + 1);
	}
	if (below(r, 2)) {
		check((long)far_invoke(slave, sum, item, n), (long)expected);
	} else {
		far_task(uint64_t) t = far_schedule(slave, sum, item, n);

		check((long)far_wait(t), (long)expected);
	}
	far_free(item);
}

static void call_with_buffers(struct far_slave *slave, uint64_t *r)
{
	char text[3000] = "untouched", word[400];
	int times = (int)below(r, 6);
	size_t length = below(r, sizeof word - 1);

	memset(word, 'x', length);
	word[length] = 0;
	size_t n = far_invoke(slave, spell, far_out(text, sizeof text), sizeof text, (const char *)word, times);

	if (far_error() && strcmp(text, "untouched"))
		wrong("a buffer changed although the call failed");
	check((long)n, (long)length * times);
}

static void schedule_some(struct far_slave *slave, uint64_t *r)
{
	far_task(long) task[40];
	long expected[40];
	unsigned n = 1 + below(r, 40);

	for (unsigned i = 0; i < n; i++) {
		int a = (int)below(r, 1000);
		unsigned us = below(r, 8) ? 0 : below(r, 2000);

		made++;
		expected[i] = us ? mix(a, us, 1) : mix(a, 2.5, a);
		task[i] = us ? far_schedule(slave, mix_slowly, a, us) : far_schedule(slave, mix, a, 2.5, a);
		if (!task[i])
			count_error();
	}
	for (unsigned i = n; i > 0; i--) {
		unsigned k = below(r, i);

		if (task[k] && below(r, 20) == 0) {
			far_forget(task[k]);
			forgotten++;
		} else if (task[k]) {
			if (below(r, 4) == 0)
				far_wait_for(task[k], (int)below(r, 3));
			check(far_wait(task[k]), expected[k]);
		}
		task[k] = task[i - 1];
		expected[k] = expected[i - 1];
	}
}

static void call(struct far_slave *slave, uint64_t *r)
{
	int a = (int)below(r, 100000);
	unsigned us;

	switch (below(r, 12)) {
	case 0:
		schedule_some(slave, r);
		return;
	case 1:
		made++;
		call_with_memory(slave, r);
		return;
	case 2:
		made++;
		call_with_buffers(slave, r);
		return;
	case 3:
		made++;
		check(far_invoke(slave, mix_slowly, a, 300), mix(a, 300, 1));
		return;
	case 4:
		made++;
		us = below(r, 400);
		check(far_invoke(slave, nest, a, us, below(r, 2)), mix(a, us, 1));
		return;
	case 5:
		made++;
		check(far_invoke(slave, close, far_fd(STDOUT_FILENO)), 0);
		return;
	case 6:
		made++;
		check(far_invoke(slave, mix_back, far_callback(mix, long (int, double, long)), a), mix(a, 0.5, a));
		return;
	case 7:
		if (slaves_allocate) {
			made++;
			check(far_invoke(slave, churn, 50), 50);
			return;
		}
		/* fall through */
	default:
		made++;
		check(far_invoke(slave, mix, a, 0.5, a), mix(a, 0.5, a));
	}
}

static void *caller(void *arg)
{
	uint64_t r = random_start((unsigned)(uintptr_t)arg);

	while (!stop) {
		unsigned i = below(&r, SLAVES);
		struct far_slave *slave = places[i].slave;

		if (slave && i % QUIET)
			call(slave, &r);
		nap(&r, 200);	/* for those who kill */
	}
	return NULL;
}

/* ------------------------------------------------------------------ deaths */

static bool send_signal(int pidfd, int signal)
{
	if (!syscall(SYS_pidfd_send_signal, pidfd, signal, NULL, 0))
		return true;
	if (errno != ESRCH)
		wrong("kill: %s", strerror(errno));
	return false;
}

static void kill_place(unsigned i, atomic_ulong *how)
{
	places[i].was_killed = true;	/* before: who closes it may hear of its death before this thread goes on */
	if (send_signal(places[i].pidfd, SIGKILL)) {
		kills++;
		(*how)++;
	}
}

static void open_place(unsigned i, uint64_t *r)
{
	static const unsigned queues[] = { 1, 2, 16, 128 };
	struct far_slave *s;

	do {
		s = far_slave_process(.name = "mortal", .queue = queues[below(r, 4)], .setup = below(r, 3) ? NULL : set_up,
				      .setup_arg = &starting[i]);
		if (!s && !is_death(far_error()->code))
			wrong("no slave: %s", far_error()->message);
	} while (!s);
	places[i].pidfd = (int)syscall(SYS_pidfd_open, far_slave_pid(s), 0);
	if (places[i].pidfd < 0)
		wrong("no pidfd of process %d: %s", (int)far_slave_pid(s), strerror(errno));
	places[i].was_killed = false;
	places[i].slave = s;
}

static void say_closing(unsigned i, bool closing)
{
	pthread_mutex_lock(&places[i].lock);
	places[i].closing = closing;
	if (!closing) {
		close(places[i].pidfd);
		places[i].pidfd = -1;
	}
	pthread_mutex_unlock(&places[i].lock);
}

static void close_place(unsigned i)
{
	struct far_slave *s = places[i].slave;

	/* At times nobody may call it any more, at times everybody still tries. */
	if (i % 2)
		places[i].slave = NULL;
	say_closing(i, true);
	int err = far_slave_close(s);

	if (err && !(places[i].was_killed && err == -EOWNERDEAD))
		wrong("far_slave_close: %s", far_error()->message);
	far_error();
	say_closing(i, false);
}

/* It dies without a call, and the next call says so. */
static void kill_idle(unsigned i)
{
	double start = now();

	kill_place(i, &killed_idle);
	made++;
	far_invoke(places[i].slave, usleep, 10000000);
	if (!far_error())
		wrong("a dead slave has answered");
	count_error();
	if (now() - start > 8)
		wrong("the death of an idle slave took %g s to be told", now() - start);
}

static void kill_working(unsigned i, uint64_t *r)
{
	made++;
	far_task(void) task = far_schedule(places[i].slave, work_for_ever);

	if (!task)
		wrong("far_schedule: %s", far_error()->message);
	nap(r, 600);
	kill_place(i, &killed_busy);
	far_wait(task);
	if (!far_error())
		wrong("endless work has ended");
	count_error();
}

/* What becomes of a slave: whether it must be replaced. */
static bool decide(unsigned i, uint64_t *r)
{
	if (i % QUIET == 0) {
		kill_idle(i);
		return true;
	}
	switch (below(r, 20)) {
	case 0:
		send_signal(places[i].pidfd, SIGSTOP);
		nap(r, 1000);
		send_signal(places[i].pidfd, SIGCONT);
		set_free++;
		return false;
	case 1:
		send_signal(places[i].pidfd, SIGSTOP);
		nap(r, 1000);
		kill_place(i, &killed_frozen);
		return true;
	case 2:
		kill_working(i, r);
		return true;
	case 3:
	case 4:		/* closed alive, or killed meanwhile */
		return true;
	default:
		kill_place(i, &killed_busy);
		if (below(r, 4) == 0)
			nap(r, 500);
		return true;
	}
}

/* Go along a part of the slaves: kill a few, and then replace them. */
static void *killer(void *arg)
{
	uintptr_t number = (uintptr_t)arg;
	uint64_t r = random_start(1000 + (unsigned)number);

	while (!stop) {
		bool replace[SLAVES] = { false };

		for (unsigned i = (unsigned)number; i < SLAVES; i += KILLERS)
			replace[i] = decide(i, &r);
		for (unsigned i = (unsigned)number; i < SLAVES; i += KILLERS) {
			if (!replace[i])
				continue;
			close_place(i);
			open_place(i, &r);
			replaced++;
		}
	}
	return NULL;
}

/* Kill a process that is in set_up(). While it says so it is not waited for, so its pid is its own. */
static void kill_starting(pid_t *here)
{
	pid_t pid = __atomic_load_n(here, __ATOMIC_SEQ_CST);
	int fd = pid ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;

	if (fd < 0)
		return;
	/* Take its word back first, or it would be there when it has long been dead. */
	if (__atomic_compare_exchange_n(here, &pid, 0, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST) && send_signal(fd, SIGKILL)) {
		kills++;
		killed_starting++;
	}
	close(fd);
}

/* Kill those that are starting, and those that are being closed. */
static void *assassin(void *arg)
{
	uint64_t r = random_start(2000);

	(void)arg;
	while (!stop) {
		unsigned i = below(&r, SLAVES);

		nap(&r, 300);
		if (starting[i])
			kill_starting(&starting[i]);
		pthread_mutex_lock(&places[i].lock);
		if (places[i].closing && !places[i].was_killed)
			kill_place(i, &killed_closing);
		pthread_mutex_unlock(&places[i].lock);
	}
	return NULL;
}

/* Until so many are dead, or it takes too long. */
static void run(unsigned long deaths, double seconds)
{
	pthread_t thread[CALLERS + KILLERS + 1];
	unsigned long already = kills;
	uint64_t r = random_start(3000);
	double start = now();

	stop = false;
	for (unsigned i = 0; i < SLAVES; i++)
		open_place(i, &r);
	for (uintptr_t i = 0; i < CALLERS + KILLERS + 1; i++) {
		bool is_caller = i < CALLERS, is_killer = !is_caller && i < CALLERS + KILLERS;

		if (pthread_create(&thread[i], NULL, is_caller ? caller : is_killer ? killer : assassin,
				   (void *)(is_killer ? i - CALLERS : i)))
			wrong("no thread");
	}
	while (kills - already < deaths && now() - start < seconds)
		usleep(10000);
	stop = true;
	for (unsigned i = 0; i < CALLERS + KILLERS + 1; i++)
		pthread_join(thread[i], NULL);
	for (unsigned i = 0; i < SLAVES; i++)
		close_place(i);
}

/* -------------------------------------------------------------- what is left */

static unsigned count_lines(const char *path)
{
	FILE *f = fopen(path, "r");
	unsigned n = 0;

	for (int c; f && (c = getc(f)) != EOF;)
		n += c == '\n';
	if (f)
		fclose(f);
	return n;
}

/* The zygote is all that is left, and of its slaves those that it keeps ready. */
static void check_processes(void)
{
	pid_t zygote = 0, slave;
	unsigned n = 0;

	if (children_of(getpid(), &zygote) != 1)
		wrong("there are other children than the zygote");
	/* Those that died last are buried in a moment. */
	for (unsigned i = 0; i < 500; i++) {
		n = children_of(zygote, &slave);
		if (n == SPARES)
			return;
		usleep(10000);
	}
	wrong("there are %u slave processes, not %d", n, SPARES);
}

struct use {
	unsigned fds, mappings;
	size_t large, small;
};

static struct use measure(void)
{
	struct use u = { .fds = count_fds(), .mappings = count_lines("/proc/self/maps") };

	read_heap_use(&u.large, &u.small);
	return u;
}

int main(int argc, char **argv)
{
	setenv("FARCALL_SPARES", "16", 1);	/* SPARES */
	if (far_init()) {
		fprintf(stderr, "far_init: %s\n", far_error()->message);
		return 1;
	}
	unsigned long most = argc > 1 ? strtoul(argv[1], NULL, 10) : KILLS;
	double start = now(), limit = most > KILLS ? 1e9 : LIMIT_S;

	begin(argc, argv, LIMIT_S);
	starting = far_calloc(SLAVES, sizeof *starting);
	for (unsigned i = 0; i < SLAVES; i++)
		pthread_mutex_init(&places[i].lock, NULL);
	run(most / 20, limit / 20);	/* the C library keeps arenas and stacks of threads that were */
	struct use before = measure();

	run(most * 4 / 5, limit * 3 / 4);
	struct use after = measure();
	unsigned long all_kills = kills;

	if (after.fds != before.fds)
		wrong("there were %u descriptors, and now are %u", before.fds, after.fds);
	if (after.mappings > before.mappings + MORE_MAPPINGS)
		wrong("there were %u mappings, and now are %u", before.mappings, after.mappings);
	if (after.large || after.small > KEPT_KIB)
		wrong("%zu KiB of large and %zu KiB of small blocks are not back", after.large, after.small);
	check_processes();

	/* With slaves that allocate: each may lose what it holds, and nothing more. */
	slaves_allocate = true;
	run(most - most * 4 / 5 - most / 20, limit / 5);
	after = measure();
	printf("kill: seed %llu: %lu calls: %lu results, %lu died, %lu closed, %lu lost their own slave, %lu forgotten\n",
	       (unsigned long long)seed, made, results, died, closed, inner_died, forgotten);
	printf("kill: %lu killed in %.1f s: %lu idle, %lu busy, %lu frozen, %lu starting, %lu closing; %lu frozen and set free, "
	       "%lu replaced\n",
	       kills, now() - start, killed_idle, killed_busy, killed_frozen, killed_starting, killed_closing, set_free, replaced);
	printf("kill: %lu of them that allocate: %zu KiB of large and %zu KiB of small blocks are in use\n",
	       kills - all_kills, after.large, after.small);
	if (made != results + died + closed + inner_died + forgotten)
		wrong("not every call has one outcome");
	if (after.large > (kills - all_kills) * 8 * 320)
		wrong("more is lost than they can have held");
	check_processes();
	return 0;
}
