/* How soon a caller hears of a slave's crash, of its being killed, and of a deadline. */
#include "deaths.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <farcall.h>

#include "stats.h"

enum { DEADLINE_MS = 3, MS = 1000000 };
#define GIB ((size_t)1 << 30)

static uint64_t *begun;		/* in the far heap: when it happened */

/* It has the machine for itself: the stock of slaves is full again. */
static struct far_slave *new_slave(void)
{
	struct far_slave *slave = far_slave_process(.name = "mortal");

	if (!slave)
		fail("far_slave_process");
	usleep(10000);
	return slave;
}

/* Its error is known; that it had to be closed so is none. */
static void bury(struct far_slave *slave, int code)
{
	if (!far_error() || far_error()->code != code)
		fail("another error was expected");
	far_slave_close(slave);
	far_error();
}

/* ----------------------------------------------------------- what slaves run */

static void crash(uint64_t *when)
{
	*when = 0;		/* the page is there before the time is taken */
	*when = now_ns();
	*(volatile int *)NULL = 1;
}

/* Its memory must be given back before the process is gone. */
static void crash_large(uint64_t *when)
{
	char *p = mmap(NULL, GIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		far_raise(1, "no memory");
	memset(p, 1, GIB);
	crash(when);
}

static void loop(uint64_t *when)
{
	__atomic_store_n(when, 1, __ATOMIC_RELEASE);
	for (volatile int on = 1; on;)
		;
}

/* ------------------------------------------------------------- what happens */

static uint64_t time_death_in(void (*function)(uint64_t *))
{
	struct far_slave *slave = new_slave();

	far_invoke(slave, function, begun);

	uint64_t ns = now_ns() - *begun;

	bury(slave, FAR_ECRASHED);
	return ns;
}

static uint64_t time_crash(void)
{
	return time_death_in(crash);
}

static uint64_t time_large_crash(void)
{
	return time_death_in(crash_large);
}

static void *kill_it(void *slave)
{
	pid_t pid = far_slave_pid(slave);

	while (!__atomic_load_n(begun, __ATOMIC_ACQUIRE))
		usleep(100);
	usleep(1000);		/* its caller sleeps by now */
	*begun = now_ns();
	kill(pid, SIGKILL);
	return NULL;
}

static uint64_t time_kill(void)
{
	struct far_slave *slave = new_slave();
	pthread_t killer;

	*begun = 0;
	if (pthread_create(&killer, NULL, kill_it, slave))
		fail("no thread");
	far_invoke(slave, loop, begun);

	uint64_t end = now_ns();

	pthread_join(killer, NULL);
	bury(slave, FAR_EKILLED);
	return end - *begun;
}

static uint64_t time_deadline(void)
{
	struct far_slave *slave = new_slave();
	uint64_t start = now_ns();

	far_invoke_within(DEADLINE_MS, slave, loop, begun);

	uint64_t ns = now_ns() - start - DEADLINE_MS * MS;

	bury(slave, FAR_EDEADLINE);
	return ns;
}

static void figure(struct report *report, const char *name, uint64_t (*once)(void), unsigned n)
{
	struct samples all = { 0 }, worst = { 0 };
	char text[64];

	for (unsigned i = 0; i < n; i++)
		samples_add(&all, (double)once());
	samples_add(&worst, samples_percentile(&all, 99.9));
	goal_value(report_samples(report, name, TIME, &all), 1 * MS);
	snprintf(text, sizeof text, "  of %u, the 99.9th percentile", n);
	goal_value(report_samples(report, text, TIME, &worst), 10 * MS);
	samples_free(&all);
	samples_free(&worst);
}

void measure_deaths(struct report *report, bool quick)
{
	begun = far_alloc(sizeof *begun);
	if (!begun)
		fail("far_alloc");
	figure(report, "SIGSEGV to its error", time_crash, quick ? 100 : 1000);
	figure(report, "the same, 1 GiB touched", time_large_crash, quick ? 3 : 20);
	figure(report, "SIGKILL to its error", time_kill, quick ? 100 : 1000);
	figure(report, "deadline to return", time_deadline, quick ? 100 : 1000);
	far_free(begun);
}
