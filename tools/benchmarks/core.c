/* The core of farcall measured beside its floors: calls, far heap, starting and idle slaves. */
#include <farcall.h>

#include <errno.h>
#include <getopt.h>
#include <sched.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "deaths.h"
#include "floors.h"
#include "proc.h"
#include "report.h"

enum { WINDOW_MAX = 1024, IDLE_SLAVES = 100 };
#define GIB ((size_t)1 << 30)

static struct {
	bool quick;
	cpu_set_t cores;			/* all we may use */
	struct peer *process_peer, *thread_peer;/* on the slaves' core */
	struct peer *forker;			/* anywhere, as slaves are started */
	struct far_slave *process, *thread;	/* on the slaves' core */
	void *shared;				/* memory of the far heap */
	struct report report;
} bench;

/* ------------------------------------------------- what slaves are asked to do */

static int add(int a, int b)
{
	return a + b;
}

static int take(void *p)
{
	return p != NULL;
}

static uint64_t __attribute__((noinline)) read_words(const uint64_t *p, size_t n)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += p[i];
	return sum;
}

/* ------------------------------------------------------------------ contenders */

/* The first calls of a chunk wake the slave. */
static void wake(struct far_slave *slave)
{
	for (int i = 0; i < 50; i++)
		if (far_invoke(slave, add, i, 1) != i + 1)
			fail("add");
}

static uint64_t round_trips(struct contender *c, unsigned n)
{
	struct far_slave *slave = c->arg;
	uint64_t sum = 0;

	wake(slave);

	uint64_t start = now_ns();

	for (unsigned i = 0; i < n; i++)
		sum += (unsigned)far_invoke(slave, add, (int)i, 1);

	uint64_t ns = now_ns() - start;

	if (sum != (uint64_t)n * (n + 1) / 2)
		fail("add");
	return ns;
}

static uint64_t sleeping_trip(struct contender *c, unsigned n)
{
	uint64_t total = 0;

	for (unsigned i = 0; i < n; i++) {
		idle(c->peer);

		uint64_t start = now_ns();
		int sum = far_invoke((struct far_slave *)c->arg, add, (int)i, 1);

		total += now_ns() - start;
		if (sum != (int)i + 1)
			fail("add");
	}
	return total;
}

/* Schedule c->number calls ahead, and wait for the oldest; all results are collected. */
static uint64_t stream(struct contender *c, unsigned n)
{
	struct far_slave *slave = c->arg;
	unsigned window = c->number;
	far_task(int) task[WINDOW_MAX];
	uint64_t sum = 0;

	wake(slave);

	uint64_t start = now_ns();

	for (unsigned i = 0; i < n + window; i++) {
		if (i >= window)
			sum += (unsigned)far_wait(task[i & (window - 1)]);
		if (i < n)
			task[i & (window - 1)] = far_schedule(slave, add, (int)i, 1);
	}

	uint64_t ns = now_ns() - start;

	if (sum != (uint64_t)n * (n + 1) / 2)
		fail("stream of add");
	return ns;
}

/* The calls of one thread run in order: when the last one is done, all are. */
static uint64_t forgotten(struct contender *c, unsigned n)
{
	struct far_slave *slave = c->arg;

	wake(slave);

	uint64_t start = now_ns();

	for (unsigned i = 0; i < n; i++)
		if (far_forget(far_schedule(slave, add, (int)i, 1)))
			fail("forgotten add");
	if (far_invoke(slave, add, 1, 1) != 2)
		fail("add");
	return now_ns() - start;
}

static uint64_t pass_block(struct contender *c, unsigned n)
{
	unsigned taken = 0;

	wake(bench.process);

	uint64_t start = now_ns();

	for (unsigned i = 0; i < n; i++)
		taken += (unsigned)far_invoke(bench.process, take, c->arg);

	uint64_t ns = now_ns() - start;

	if (taken != n)
		fail("take");
	return ns;
}

static uint64_t read_here(struct contender *c, unsigned n)
{
	uint64_t start = now_ns();

	for (unsigned i = 0; i < n; i++)
		if (read_words(c->arg, GIB / 8) != GIB / 8)
			fail("reading");
	return now_ns() - start;
}

static uint64_t read_there(struct contender *c, unsigned n)
{
	uint64_t start = now_ns();

	for (unsigned i = 0; i < n; i++)
		if (far_invoke(bench.process, read_words, c->arg, GIB / 8) != GIB / 8)
			fail("reading in the slave");
	return now_ns() - start;
}

static uint64_t start_slave(struct contender *c, unsigned n)
{
	uint64_t total = 0;

	(void)c;
	for (unsigned i = 0; i < n; i++) {
		rest(START_REST_MS);

		uint64_t start = now_ns();
		struct far_slave *slave = far_slave_process();

		if (far_invoke(slave, add, 1, 2) != 3)
			fail("start");
		total += now_ns() - start;
		if (far_slave_close(slave))
			fail("close");
	}
	return total;
}

/* ----------------------------------------------------------------------- parts */

/* Measure, add the rows and return the first of them. */
static struct row *measure(struct figure *figures, const char *const *names, size_t count,
			   const char *floor_name, unsigned rounds)
{
	unsigned first = bench.report.rows;

	take_turns(figures, count, bench.quick ? rounds / 5 : rounds);
	for (size_t i = 0; i < count; i++) {
		report_figure(&bench.report, names[i], floor_name, &figures[i]);
		figure_free(&figures[i]);
	}
	return &bench.report.row[first];
}

static struct contender spinning(uint64_t run(struct contender *, unsigned), void *arg, pid_t peer)
{
	return (struct contender){ .run = run, .arg = arg, .peer = peer, .chunk_ns = 100000, .chunks = 25 };
}

static struct contender single(uint64_t run(struct contender *, unsigned), void *arg, pid_t peer, unsigned chunks)
{
	return (struct contender){ .run = run, .arg = arg, .peer = peer, .chunks = chunks };
}

static pid_t tid_of(struct far_slave *slave)
{
	return far_invoke(slave, gettid);
}

/* The same call to the process slave and to the thread slave, each beside a floor of its kind. */
static void measure_calls(const char *const *names, struct contender call, const char *floor_name,
			  struct contender floor, double limit)
{
	struct contender calls[2] = { call, call }, floors[2] = { floor, floor };
	struct figure figures[2] = {
		{ .what = &calls[0], .floor = &floors[0] }, { .what = &calls[1], .floor = &floors[1] },
	};

	calls[0].arg = bench.process;
	calls[1].arg = bench.thread;
	floors[0].arg = bench.process_peer;
	floors[1].arg = bench.thread_peer;
	for (int i = 0; i < 2; i++) {
		calls[i].peer = tid_of(calls[i].arg);
		floors[i].peer = peer_tid(floors[i].arg);
	}

	struct row *row = measure(figures, names, 2, floor_name, 100);

	goal_ratio(&row[0], limit);
	goal_ratio(&row[1], limit);
}

static void part_awake(void)
{
	static const char *const names[] = { "call, process slave awake", "call, thread slave awake" };

	measure_calls(names, spinning(round_trips, NULL, 0), "cache line", spinning(floor_cache_line, NULL, 0), 1.5);
}

static double add_doubles(double a, double b)
{
	return a + b;
}

static long first_and_last(const char *p, size_t n)
{
	return p[0] + p[n - 1];
}

static int fill(char *p, size_t n)
{
	memset(p, 1, n);
	return 0;
}

struct pair { long a, b; };

static struct pair swap(struct pair p)
{
	return (struct pair){ p.b, p.a };
}

static char buffer[64] = "a string of the caller's";

/* A contender that makes such calls. */
#define CALLS(name, call) \
	static uint64_t name(struct contender *c, unsigned n) \
	{ \
		struct far_slave *slave = c->arg; \
		wake(slave); \
		uint64_t start = now_ns(); \
		for (unsigned i = 0; i < n; i++) \
			(void)(call); \
		return now_ns() - start; \
	}
CALLS(calls_of_doubles, far_invoke(slave, add_doubles, 1.5, 2.5))
CALLS(calls_that_convert, far_invoke(slave, add_doubles, 1, (int)i))
CALLS(calls_with_pointers, far_invoke(slave, take, bench.shared))
CALLS(calls_with_32_bytes, far_invoke(slave, first_and_last, far_in(buffer, 32), 32))
CALLS(calls_with_64_bytes, far_invoke(slave, first_and_last, far_in(buffer, 64), 64))
CALLS(calls_for_64_bytes, far_invoke(slave, fill, far_out(buffer, 64), 64))
CALLS(calls_with_strings, far_invoke(slave, strlen, far_str(buffer)))
CALLS(calls_with_structs, far_invoke(slave, swap, ((struct pair){ 1, 2 })))
CALLS(calls_within_time, far_invoke_within(1000, slave, add, 1, 2))

/* Calls of other kinds, beside one with two ints. */
static void part_kinds(void)
{
	static const struct {
		const char *name;
		uint64_t (*run)(struct contender *, unsigned);
	} kinds[] = {
		{ "doubles", calls_of_doubles }, { "ints to doubles", calls_that_convert }, { "pointer", calls_with_pointers },
		{ "far_in() of 32 bytes", calls_with_32_bytes }, { "far_in() of 64 bytes", calls_with_64_bytes },
		{ "far_out() of 64 bytes", calls_for_64_bytes }, { "far_str()", calls_with_strings },
		{ "structs", calls_with_structs }, { "far_invoke_within()", calls_within_time },
	};
	enum { COUNT = sizeof kinds / sizeof *kinds };
	struct contender calls[COUNT], floor = spinning(round_trips, bench.process, tid_of(bench.process));
	struct figure figures[COUNT] = { 0 };
	const char *names[COUNT];

	bench.shared = far_alloc(1);
	for (int i = 0; i < COUNT; i++) {
		calls[i] = spinning(kinds[i].run, bench.process, floor.peer);
		figures[i] = (struct figure){ .what = &calls[i], .floor = &floor };
		names[i] = kinds[i].name;
	}
	measure(figures, names, COUNT, "far_invoke", 100);
	far_free(bench.shared);
}

static void part_sleeping(void)
{
	static const char *const names[] = { "call, process slave asleep", "call, thread slave asleep" };

	measure_calls(names, single(sleeping_trip, NULL, 0, 5), "futex", single(floor_futex, NULL, 0, 5), 1.15);
}

static void part_stream(void)
{
	static const char *const names[] = {
		"stream, window 256", "stream, window 256, queue 1024", "stream, window 1",
		"stream, window 16", "stream, window 1024", "stream, forgotten",
	};
	static const unsigned windows[] = { 256, 256, 1, 16, 1024, 0 };
	enum { COUNT = sizeof windows / sizeof windows[0] };
	struct far_slave *deep = far_slave_process(.name = "deep", .queue = 1024);

	if (!deep || far_invoke(deep, pin, bench.report.cores[1]))
		fail("slave with a deep queue");

	struct contender line = spinning(floor_cache_line, bench.process_peer, peer_tid(bench.process_peer));
	struct contender contenders[COUNT];
	struct figure figures[COUNT] = { 0 };

	for (int i = 0; i < COUNT; i++) {
		struct far_slave *slave = i == 1 ? deep : bench.process;

		contenders[i] = spinning(windows[i] ? stream : forgotten, slave, tid_of(slave));
		contenders[i].number = windows[i];
		contenders[i].chunk_ns = 500000;	/* beside which filling and draining is little */
		contenders[i].chunks = 7;
		figures[i] = (struct figure){ .what = &contenders[i], .floor = &line };
	}

	struct row *row = measure(figures, names, COUNT, "cache line", 50);

	for (int i = 0; i < COUNT; i++)
		row[i].unit = RATE;
	goal_rate(&row[0], 15e6);
	far_slave_close(deep);
}

static void part_heap(void)
{
	void *small = far_alloc(64);
	uint64_t *large = far_alloc(GIB);

	if (!small || !large) {
		fprintf(stderr, "bench: the far heap is left out: %s\n", far_error()->message);
		far_free(small);
		far_free(large);
		return;
	}
	for (size_t i = 0; i < GIB / 8; i++)
		large[i] = 1;

	pid_t tid = tid_of(bench.process);
	struct contender pass_small = spinning(pass_block, small, tid), pass_large = spinning(pass_block, large, tid);
	struct contender here = single(read_here, large, 0, 1), there = single(read_there, large, tid, 1);
	struct figure pass = { .what = &pass_large, .floor = &pass_small };
	struct figure read = { .what = &there, .floor = &here };

	goal_excess(measure(&pass, (const char *[]){ "1 GiB passed" }, 1, "64 bytes", 60), 50);
	measure(&read, (const char *[]){ "1 GiB passed and read" }, 1, "read here", 15);
	far_free(small);
	far_free(large);
}

static void start_figure(const char *name, double limit)
{
	struct contender floor = single(floor_fork, bench.forker, 0, 3), slave = single(start_slave, NULL, 0, 3);
	struct figure f = { .what = &slave, .floor = &floor };

	goal_ratio(measure(&f, &name, 1, "fork", 30), limit);
}

/* Starting and forking alike may use every core, as they may in programs. */
static void part_start(void)
{
	const char *spares = getenv("FARCALL_SPARES");
	bool none = spares && atoi(spares) == 0;
	double limit = none ? 2.5 : 1.5;

	sched_setaffinity(0, sizeof bench.cores, &bench.cores);
	start_figure(none ? "slave started, no spares" : "slave started", limit);

	/* Touched: MAP_POPULATE alone would not say that it stopped half-way. */
	void *ballast = mmap(NULL, 4 * GIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if ((size_t)sysconf(_SC_AVPHYS_PAGES) * 4096 < 5 * GIB || ballast == MAP_FAILED) {
		fputs("bench: no room for a master of 4 GiB\n", stderr);
	} else {
		memset(ballast, 1, 4 * GIB);
		start_figure(none ? "slave started, no spares, 4 GiB master" : "slave started, 4 GiB master", limit);
		munmap(ballast, 4 * GIB);
	}
	pin(bench.report.cores[0]);
}

/* FARCALL_SPARES is read once: run this part in a program of its own, which sends its rows. */
static void part_start_bare(void)
{
	int fd[2];
	pid_t child;
	struct report *r = &bench.report;

	if (pipe(fd) || (child = fork()) < 0)
		fail("no child");
	if (child == 0) {
		dup2(fd[1], 3);
		sched_setaffinity(0, sizeof bench.cores, &bench.cores);
		setenv("FARCALL_SPARES", "0", 1);
		execl("/proc/self/exe", "bench_core", "--rows-to-3", "--only=start", bench.quick ? "--quick" : NULL, NULL);
		_exit(1);
	}
	close(fd[1]);
	while (r->rows < sizeof r->row / sizeof r->row[0] &&
	       read(fd[0], &r->row[r->rows], sizeof r->row[0]) == sizeof r->row[0])
		r->rows++;
	close(fd[0]);

	int status;

	if (waitpid(child, &status, 0) != child || status)
		fputs("bench: the run without spare slaves failed\n", stderr);
}

/* CPU time of all idle slaves and of the zygote, which is their parent. */
static double family_time(struct far_slave **slaves, pid_t zygote)
{
	double sum = cpu_time(zygote);

	for (int i = 0; i < IDLE_SLAVES; i++)
		sum += cpu_time(far_slave_pid(slaves[i]));
	return sum;
}

static void part_idle(void)
{
	struct far_slave *slaves[IDLE_SLAVES];
	struct samples used = { 0 }, size = { 0 }, zygote_size = { 0 };

	for (int i = 0; i < IDLE_SLAVES; i++) {
		slaves[i] = far_slave_process(.name = "idle");
		if (far_invoke(slaves[i], add, 1, i) != i + 1)
			fail("idle slave");
	}
	pid_t zygote = far_invoke(slaves[0], getppid);

	sleep(1);	/* they end their starting, and the stock refills */

	double before = family_time(slaves, zygote);

	sleep(5);
	samples_add(&used, family_time(slaves, zygote) - before);
	for (int i = 0; i < IDLE_SLAVES; i++)
		samples_add(&size, proportional_size(far_slave_pid(slaves[i])));
	samples_add(&zygote_size, proportional_size(zygote));
	for (int i = 0; i < IDLE_SLAVES; i++)
		far_slave_close(slaves[i]);

	goal_value(report_samples(&bench.report, "CPU time of 100 idle slaves in 5 s", TIME, &used), 0);
	report_samples(&bench.report, "memory of an idle slave (PSS)", BYTES, &size);
	report_samples(&bench.report, "memory of the zygote (PSS)", BYTES, &zygote_size);
	samples_free(&used);
	samples_free(&size);
	samples_free(&zygote_size);
}

/* Callers and slaves may use every core, as they may in programs. */
static void part_deaths(void)
{
	sched_setaffinity(0, sizeof bench.cores, &bench.cores);
	measure_deaths(&bench.report, bench.quick);
	pin(bench.report.cores[0]);
}

static const struct part {
	const char *name;
	void (*run)(void);
} parts[] = {
	{ "awake", part_awake }, { "kinds", part_kinds }, { "sleeping", part_sleeping }, { "stream", part_stream },
	{ "heap", part_heap }, { "start", part_start }, { "start-bare", part_start_bare }, { "idle", part_idle }, { "deaths", part_deaths },
};

/* ------------------------------------------------------------------------ main */

/* The processes are forked while the program is as small as the zygote, and maps what it maps. */
static void start_all(void)
{
	int core = bench.report.cores[1];

	bench.forker = peer_process(-1);
	bench.process_peer = peer_process(core);
	bench.thread_peer = peer_thread(core);
	bench.process = far_slave_process(.name = "process");
	bench.thread = far_slave_thread(.name = "thread");
	if (far_invoke(bench.process, pin, core) || far_error() || far_invoke(bench.thread, pin, core) || far_error())
		fail("slaves");
	if (pin(bench.report.cores[0]))
		fail("pinning");
}

/* Run all parts, or the one named @only: false if there is no such part. */
static bool run_parts(const char *only, bool quiet)
{
	bool any = false;

	for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
		unsigned from = bench.report.rows;

		if (only && strcmp(only, parts[i].name))
			continue;
		any = true;
		parts[i].run();
		if (!quiet)
			report_print(&bench.report, from);
	}
	return any;
}

int main(int argc, char **argv)
{
	far_init();

	static const struct option options[] = {
		{ "quick", no_argument, NULL, 'q' }, { "json", required_argument, NULL, 'j' },
		{ "only", required_argument, NULL, 'o' }, { "rows-to-3", no_argument, NULL, '3' }, { 0 },
	};
	const char *json = NULL, *only = NULL;
	bool rows_to_3 = false;

	for (int o; (o = getopt_long(argc, argv, "", options, NULL)) != -1;) {
		switch (o) {
		case 'q':
			bench.quick = true;
			break;
		case 'j':
			json = optarg;
			break;
		case 'o':
			only = optarg;
			break;
		case '3':
			rows_to_3 = true;
			break;
		default:
			return 2;
		}
	}
	sched_getaffinity(0, sizeof bench.cores, &bench.cores);
	choose_cores(bench.report.cores);
	start_all();
	if (!rows_to_3)
		report_machine(&bench.report);
	if (!run_parts(only, rows_to_3)) {
		fprintf(stderr, "bench: there is no section \"%s\"\n", only);
		return 2;
	}
	far_slave_close(bench.process);
	far_slave_close(bench.thread);
	if (rows_to_3 && write(3, bench.report.row, bench.report.rows * sizeof bench.report.row[0]) < 0)
		return 1;
	if (json && report_json(&bench.report, json)) {
		fprintf(stderr, "bench: %s: %s\n", json, strerror(errno));
		return 1;
	}
	return 0;
}
