/*
 * A thousand slave processes are killed at once, and then a thousand by the death
 * of the zygote.
 *
 *	many [SLAVES [SEED]]
 *
 * Every call that they had fails, with one error and soon, whether it is running,
 * queued or waited for by another thread; what they were is freed, and after the
 * first time other slaves start and work.
 */
#include <pthread.h>

#include "stress.h"

#ifdef __SANITIZE_ADDRESS__
enum { SLAVES = 60 };
#else
enum { SLAVES = 1000 };
#endif

enum { WAITERS = 8, LIMIT_S = 40 };

static unsigned slaves;
static struct far_slave **slave;
static far_task(int) *running;
static far_task(int) *queued;
static atomic_ulong errors;

static int add(int a, int b)
{
	return a + b;
}

static void expect_death(void)
{
	if (!far_error())
		wrong("a call of a dead slave succeeded");
	if (!is_death(far_error()->code) || far_error()->signal != SIGKILL)
		wrong("%d: %s", far_error()->code, far_error()->message);
	errors++;
}

/* Some tasks are waited for by other threads than the one that made them. */
static void *waiter(void *arg)
{
	for (unsigned i = (unsigned)(uintptr_t)arg; i < slaves; i += WAITERS) {
		far_wait(running[i]);
		expect_death();
	}
	return NULL;
}

static pid_t parent_of(pid_t pid)
{
	char path[64], text[600] = "";
	int parent = 0;

	snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
	FILE *f = fopen(path, "re");
	const char *close = f && fgets(text, sizeof text, f) ? strrchr(text, ')') : NULL;

	if (f)
		fclose(f);
	if (!close || sscanf(close, ") %*c %d", &parent) != 1)
		wrong("process %d is not there", (int)pid);
	return parent;
}

static void start_all(void)
{
	for (unsigned i = 0; i < slaves; i++) {
		slave[i] = far_slave_process(.name = "many", .queue = 2);
		if (!slave[i])
			wrong("no slave %u: %s", i, far_error()->message);
		running[i] = far_schedule(slave[i], pause);
		queued[i] = far_schedule(slave[i], add, 1, 2);
		if (far_error())
			wrong("%s", far_error()->message);
	}
}

/* How long it took until all calls had failed, in seconds. */
static double die(bool by_zygote)
{
	pthread_t thread[WAITERS];
	double start;

	errors = 0;
	start_all();
	for (uintptr_t i = 0; i < WAITERS; i++)
		if (pthread_create(&thread[i], NULL, waiter, (void *)i))
			wrong("no thread");
	usleep(50000);
	start = now();
	if (by_zygote)
		kill(parent_of(far_slave_pid(slave[0])), SIGKILL);
	for (unsigned i = 0; i < slaves && !by_zygote; i++)
		kill(far_slave_pid(slave[i]), SIGKILL);
	for (unsigned i = 0; i < slaves; i++) {
		far_wait(queued[i]);
		expect_death();
		far_invoke(slave[i], add, 3, 4);
		expect_death();
	}
	for (unsigned i = 0; i < WAITERS; i++)
		pthread_join(thread[i], NULL);
	double took = now() - start;

	if (errors != 3ul * slaves)
		wrong("%lu errors of %u calls", (unsigned long)errors, 3 * slaves);
	if (took > LIMIT_S)
		wrong("it took %g s", took);
	for (unsigned i = 0; i < slaves; i++)
		if (far_slave_close(slave[i]) >= 0)
			wrong("a dead slave closed well");
	far_error();
	return took;
}

int main(int argc, char **argv)
{
	if (far_init()) {
		fprintf(stderr, "far_init: %s\n", far_error()->message);
		return 1;
	}
	begin(argc, argv, 120);
	slaves = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : SLAVES;
	slave = calloc(slaves, sizeof *slave);
	running = calloc(slaves, sizeof *running);
	queued = calloc(slaves, sizeof *queued);
	struct far_slave *first = far_slave_process();

	far_invoke(first, usleep, 20000);	/* a thread that has slept has what it sleeps with */
	if (far_slave_close(first))
		wrong("%s", far_error()->message);
	unsigned fds = count_fds();
	double killed = die(false);
	struct far_slave *another = far_slave_process();

	if (far_invoke(another, add, 1, 2) != 3 || far_slave_close(another))
		wrong("%s", far_error()->message);
	if (count_fds() != fds)
		wrong("there were %u descriptors, and now are %u", fds, count_fds());
	double with_zygote = die(true);

	printf("many: %u slaves killed at once: all calls had failed after %.3f s; by the zygote's death, after %.3f s\n",
	       slaves, killed, with_zygote);
	return 0;
}
