/*
 * Slave processes are killed at any instant while many threads call them in every
 * way there is.
 *
 *	kill [SECONDS [SEED]]
 *
 * Every call has exactly one outcome: a right result, or FAR_EDIED, or FAR_ECLOSED
 * when the dead slave has been replaced. At the end all is as it was: no process,
 * no descriptor, no mapping more, and the far heap is empty.
 */
#include <errno.h>
#include <pthread.h>
#include <sys/syscall.h>

#include "stress.h"

enum { CALLERS = 10, SLAVES = 5 };

/* A slave, and a descriptor of its process so that no other is ever killed. */
static struct {
	pthread_mutex_t lock;
	struct far_slave *_Atomic slave;
	int pidfd;
} places[SLAVES];

static atomic_bool stop;
static atomic_bool slaves_allocate;
static atomic_ulong made, results, died, closed, forgotten, kills, replaced;

/* ------------------------------------------------------ what slaves run */

static long mix(int a, double b, long c)
{
	return a * 1000003l + (long)(b * 16) + c * 7919;
}

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

static void set_up(void *arg)
{
	(void)arg;
	usleep(100);
}

/* ---------------------------------------------------------------- callers */

/* An error is an outcome: is it one that may be? */
static void count_error(void)
{
	const struct far_error *e = far_error();

	if (!e)
		wrong("a call failed without an error");
	if (e->code == FAR_EDIED) {
		if (e->signal != SIGKILL)
			wrong("it died of signal %d: %s", e->signal, e->message);
		died++;
	} else if (e->code == FAR_ECLOSED) {
		closed++;
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

	switch (below(r, 8)) {
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

	while (!stop)
		call(places[below(&r, SLAVES)].slave, &r);
	return NULL;
}

/* ------------------------------------------------------------------ deaths */

static void open_place(unsigned i, unsigned queue)
{
	struct far_slave *s = far_slave_process(.name = "mortal", .queue = queue, .setup = set_up);

	if (!s)
		wrong("no slave: %s", far_error()->message);
	places[i].pidfd = (int)syscall(SYS_pidfd_open, far_slave_pid(s), 0);
	if (places[i].pidfd < 0)
		wrong("no pidfd of process %d: %s", (int)far_slave_pid(s), strerror(errno));
	places[i].slave = s;
}

static void close_place(unsigned i, bool was_killed)
{
	int err = far_slave_close(places[i].slave);

	if (err && !(was_killed && err == -EOWNERDEAD))
		wrong("far_slave_close: %s", far_error()->message);
	far_error();
	close(places[i].pidfd);
}

/* Kill, or close, a slave that is in use; wait a while; replace it. */
static void *killer(void *arg)
{
	static const unsigned queues[] = { 1, 2, 16, 128 };
	uint64_t r = random_start((unsigned)(uintptr_t)arg);

	while (!stop) {
		unsigned i = below(&r, SLAVES);

		nap(&r, 8000);
		pthread_mutex_lock(&places[i].lock);
		bool kill_it = below(&r, 8) != 0;

		if (kill_it) {
			if (syscall(SYS_pidfd_send_signal, places[i].pidfd, SIGKILL, NULL, 0))
				wrong("kill: %s", strerror(errno));
			kills++;
			if (below(&r, 2))
				nap(&r, 2000);
		}
		close_place(i, kill_it);
		open_place(i, queues[below(&r, 4)]);
		replaced++;
		pthread_mutex_unlock(&places[i].lock);
	}
	return NULL;
}

static void run(unsigned ms)
{
	pthread_t thread[CALLERS], killers[2];

	stop = false;
	for (unsigned i = 0; i < SLAVES; i++)
		open_place(i, 0);
	for (uintptr_t i = 0; i < CALLERS; i++)
		if (pthread_create(&thread[i], NULL, caller, (void *)i))
			wrong("no thread");
	for (uintptr_t i = 0; i < 2; i++)
		if (pthread_create(&killers[i], NULL, killer, (void *)(1000 + i)))
			wrong("no thread");
	usleep(ms * 1000);
	stop = true;
	for (unsigned i = 0; i < CALLERS; i++)
		pthread_join(thread[i], NULL);
	for (unsigned i = 0; i < 2; i++)
		pthread_join(killers[i], NULL);
	for (unsigned i = 0; i < SLAVES; i++)
		close_place(i, false);
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

/* The zygote is all that is left, and none of the slaves it had. */
static void check_processes(void)
{
	pid_t zygote = 0, slave;
	unsigned n = 0;

	if (children_of(getpid(), &zygote) != 1)
		wrong("there are other children than the zygote");
	/* Those that died last are buried in a moment. */
	for (unsigned i = 0; i < 500; i++) {
		n = children_of(zygote, &slave);
		if (!n)
			return;
		usleep(10000);
	}
	wrong("%u slave processes are left", n);
}

struct use {
	unsigned fds, mappings;
	size_t large, small;
};

static struct use measure(void)
{
	struct use u = { .fds = count_fds(), .mappings = count_lines("/proc/self/maps") };

	heap_use(&u.large, &u.small);
	return u;
}

int main(int argc, char **argv)
{
	setenv("FARCALL_SPARES", "0", 1);	/* so that no slave shall be left */
	if (far_init()) {
		fprintf(stderr, "far_init: %s\n", far_error()->message);
		return 1;
	}
	unsigned seconds = begin(argc, argv, 5);

	for (unsigned i = 0; i < SLAVES; i++)
		pthread_mutex_init(&places[i].lock, NULL);
	run(300);	/* the C library keeps arenas and stacks of threads that were */
	struct use before = measure();

	run(seconds * 800);
	struct use after = measure();
	unsigned long all_kills = kills;

	printf("kill: seed %llu: %lu calls: %lu results, %lu died, %lu closed, %lu forgotten; %lu slaves killed, %lu replaced\n",
	       (unsigned long long)seed, made, results, died, closed, forgotten, kills, replaced);
	if (made != results + died + closed + forgotten)
		wrong("not every call has one outcome");
	if (after.fds != before.fds)
		wrong("there were %u descriptors, and now are %u", before.fds, after.fds);
	if (after.mappings > before.mappings + 4)
		wrong("there were %u mappings, and now are %u", before.mappings, after.mappings);
	if (after.large || after.small > KEPT_KIB)
		wrong("%zu KiB of large and %zu KiB of small blocks are not back", after.large, after.small);
	check_processes();

	/* With slaves that allocate: each may lose what it holds, and nothing more. */
	slaves_allocate = true;
	run(seconds * 200);
	after = measure();
	printf("kill: slaves that allocate: %lu killed; %zu KiB of large and %zu KiB of small blocks are in use\n",
	       kills - all_kills, after.large, after.small);
	if (after.large > (kills - all_kills) * 8 * 320)
		wrong("more is lost than they can have held");
	check_processes();
	return 0;
}
