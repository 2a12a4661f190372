/*
 * What contenders share: a loop that reads commands, runs them and prints what
 * they took.
 *
 *   invoke N             ns of N round trips, one after the other
 *   asleep N             ns each of N round trips that find the other side asleep
 *   paced HZ N           ns each of N round trips at that pace
 *   stream WINDOW N      ns of N calls, WINDOW of them under way
 *   post N               ns of N calls that nobody waits for
 *   pass BYTES N         ns of N round trips of a buffer
 *   threads T WINDOW N   ns of N calls by T threads; WINDOW 0: round trips
 *   start N              ns each of starting N workers
 *   ballast GIB          nothing, but from now on this process is so large
 *   crash N              ns each from the death of N workers to the error
 *   recover N            ns each from the death of N workers to the next good answer
 *   workers N            nothing, but from now on there are N idle workers
 *   memory               bytes (PSS) of each
 *   idle MS              ns of CPU time of all of them and the caller, meanwhile
 *   each COUNT N         ns of N round trips, to the first COUNT of them in turn
 *
 * The reply is one line: "ok" with the figures, or "cannot". A first line,
 * "ready VERSION PID PID...", says who takes part.
 */
#include "contender.h"

#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "proc.h"

enum { PIDS_MAX = 16 };

static struct {
	pid_t pid[PIDS_MAX];
	unsigned pids;
	pid_t worker[WORKERS_MAX];
	unsigned workers;
	cpu_set_t everywhere;		/* where this program might run before it was pinned */
	char socket[64];
} here;

/* ---------------------------------------------------------- for contenders */

/* Where the other side is a thread, nothing that the caller reads may share a cache line with it. */
static _Alignas(128) struct {
	int32_t count;
	char unused[124];
} answered;

int32_t answer(int32_t a, int32_t b)
{
	return a == COUNT ? answered.count : (answered.count++, a + b);
}

int32_t check(const uint8_t *p, size_t n)
{
	return p[0] + p[n - 1];
}

bool answer_message(const void *p, size_t n, int32_t *result)
{
	const int32_t *call = p;

	if (n > 3 * sizeof *call) {
		*result = check(p, n);
		return true;
	}
	*result = answer(call[0], call[1]);
	return n == 2 * sizeof *call;
}

void die(const char *what, ...)
{
	int error = errno;
	va_list args;

	va_start(args, what);
	fprintf(stderr, "%s: ", program_invocation_short_name);
	vfprintf(stderr, what, args);
	fprintf(stderr, error ? ": %s\n" : "\n", strerror(error));
	va_end(args);
	_exit(1);
}

void expect(int64_t got, int64_t wanted)
{
	if (got != wanted) {
		errno = 0;
		die("wrong answer, %lld instead of %lld", (long long)got, (long long)wanted);
	}
}

void expect_sum(int64_t got, unsigned n)
{
	expect(got, (int64_t)n * (n + 1) / 2);
}

void pin_to(int core)
{
	errno = -pin(core);
	if (errno)
		die("core %d", core);
}

void unbind(void)
{
	struct rlimit files;

	sched_setaffinity(0, sizeof here.everywhere, &here.everywhere);
	setrlimit(RLIMIT_CORE, &(struct rlimit){ 0 });
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
}

void also_runs(pid_t pid)
{
	if (here.pids == PIDS_MAX)
		die("too many processes");
	here.pid[here.pids++] = pid;
}

pid_t fork_side(int core, void (*serve)(void *arg), void *arg)
{
	pid_t parent = getpid(), child = fork();

	if (child < 0)
		die("fork");
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(0);
		pin_to(core);
		serve(arg);
		_exit(0);
	}
	also_runs(child);
	return child;
}

static void remove_socket(void)
{
	unlink(here.socket);
}

const char *socket_path(void)
{
	if (!here.socket[0]) {
		snprintf(here.socket, sizeof here.socket, "/tmp/contender-%d", (int)getpid());
		atexit(remove_socket);
	}
	return here.socket;
}

uint8_t *kept_buffer(size_t n)
{
	static uint8_t *buffer;
	static size_t room;

	if (room < n) {
		free(buffer);
		buffer = malloc(room = n);
		if (!buffer)
			die("no buffer of %zu bytes", n);
		memset(buffer, 1, n);
	}
	return buffer;
}

const char *version_of(int major, int minor, int patch)
{
	static char text[32];

	snprintf(text, sizeof text, "%d.%d.%d", major, minor, patch);
	return text;
}

const char *version_of_library(void (*function)(void))
{
	static char path[PATH_MAX];
	Dl_info info;

	if (!dladdr((const void *)(uintptr_t)function, &info) || !realpath(info.dli_fname, path))
		return "-";

	const char *so = strstr(path, ".so.");	/* "libsystemd.so.0.35.0" */

	return so ? so + strlen(".so.") : "-";
}

/* ------------------------------------------------------------------ replies */

static void reply_one(uint64_t ns)
{
	printf("ok %llu\n", (unsigned long long)ns);
}

static void begin_list(void)
{
	printf("ok");
}

static void put(uint64_t value)
{
	printf(" %llu", (unsigned long long)value);
}

static void end_list(void)
{
	putchar('\n');
}

/* ------------------------------------------------------------------- calls */

/* The first calls of a turn wake both sides. */
static void wake(void)
{
	for (int32_t i = 0; i < 20; i++)
		expect(contender.call(i, 1), i + 1);
}

static uint64_t call_n(unsigned n)
{
	int64_t sum = 0;
	uint64_t start = now_ns();

	for (unsigned i = 0; i < n; i++)
		sum += contender.call((int32_t)i, 1);

	uint64_t ns = now_ns() - start;

	expect_sum(sum, n);
	return ns;
}

static bool invoke(const unsigned *arg)
{
	if (!contender.call)
		return false;
	wake();
	reply_one(contender.calls ? contender.calls(arg[0]) : call_n(arg[0]));
	return true;
}

/* Wait until nobody but us runs: false if somebody does not stop. */
static bool settle(void)
{
	for (int ms = 0; ms < 200; ms++) {
		bool quiet = true;

		rest(1);
		for (unsigned i = 0; i < here.pids; i++)
			quiet = quiet && !others_run(here.pid[i]);
		if (quiet)
			return true;
	}
	return false;
}

static bool asleep(const unsigned *arg)
{
	if (!contender.call)
		return false;

	uint64_t *ns = calloc(arg[0], sizeof *ns);
	bool slept = ns != NULL;

	for (unsigned i = 0; slept && i < arg[0]; i++) {
		slept = settle();

		uint64_t start = now_ns();
		int32_t sum = contender.call((int32_t)i, 1);

		ns[i] = now_ns() - start;
		expect(sum, (int32_t)i + 1);
	}
	if (slept) {
		begin_list();
		for (unsigned i = 0; i < arg[0]; i++)
			put(ns[i]);
		end_list();
	}
	free(ns);
	return slept;
}

static void sleep_until(uint64_t ns)
{
	struct timespec t = { .tv_sec = (time_t)(ns / 1000000000), .tv_nsec = (long)(ns % 1000000000) };

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR)
		;
}

static bool paced(const unsigned *arg)
{
	if (!contender.call)
		return false;

	uint64_t next = now_ns();

	begin_list();
	for (unsigned i = 0; i < arg[1]; i++) {
		next += 1000000000 / arg[0];
		sleep_until(next);

		uint64_t start = now_ns();
		int32_t sum = contender.call((int32_t)i, 1);

		put(now_ns() - start);
		expect(sum, (int32_t)i + 1);
	}
	end_list();
	return true;
}

static uint64_t stream_n(unsigned window, unsigned n)
{
	int64_t sum = 0;
	unsigned sent = 0, received = 0;
	uint64_t start = now_ns();

	while (received < n) {
		if (sent < n && sent - received < window)
			contender.send((int32_t)sent++, 1);
		else {
			sum += contender.receive();
			received++;
		}
	}

	uint64_t ns = now_ns() - start;

	expect_sum(sum, n);
	return ns;
}

static bool stream(const unsigned *arg)
{
	if ((!contender.send && !contender.stream) || (contender.window_max && arg[0] > contender.window_max))
		return false;
	wake();
	reply_one(contender.stream ? contender.stream(arg[0], arg[1]) : stream_n(arg[0], arg[1]));
	return true;
}

static uint64_t post_n(unsigned n)
{
	uint64_t start = now_ns();

	for (unsigned i = 0; i < n; i++)
		contender.post((int32_t)i, 1);
	expect(contender.call(1, 1), 2);
	return now_ns() - start;
}

static bool post(const unsigned *arg)
{
	if (!contender.post && !contender.posts)
		return false;
	wake();

	int32_t before = contender.call(COUNT, 0);

	reply_one(contender.posts ? contender.posts(arg[0]) : post_n(arg[0]));
	expect(contender.call(COUNT, 0) - before, (int64_t)arg[0] + 1);
	return true;
}

static bool pass(const unsigned *arg)
{
	size_t n = arg[0];

	if (!contender.pass || (contender.pass_max && n > contender.pass_max))
		return false;

	uint8_t *p = contender.buffer ? contender.buffer(n) : malloc(n);

	if (!p)
		die("no buffer of %zu bytes", n);
	memset(p, 1, n);
	wake();
	expect(contender.pass(p, n), check(p, n));

	uint64_t start = now_ns();

	for (unsigned i = 0; i < arg[1]; i++) {
		p[0] = (uint8_t)i;
		expect(contender.pass(p, n), check(p, n));
	}
	reply_one(now_ns() - start);
	if (contender.release)
		contender.release(p);
	else
		free(p);
	return true;
}

/* ------------------------------------------------------------------ threads */

enum { THREADS_MAX = 64 };

struct crowd {
	pthread_barrier_t begin;
	unsigned window, n;		/* calls of each */
};

struct member {
	struct crowd *crowd;
	pthread_t thread;
	uint64_t from, to;		/* by its own clock: who made it may run when others are done */
};

static void *crowd_member(void *arg)
{
	struct member *m = arg;
	const struct crowd *c = m->crowd;

	pthread_barrier_wait(&m->crowd->begin);
	m->from = now_ns();
	if (!c->window)
		call_n(c->n);
	else if (contender.stream)
		contender.stream(c->window, c->n);
	m->to = now_ns();
	return NULL;
}

static bool threads(const unsigned *arg)
{
	struct crowd c = { .window = arg[1], .n = arg[2] / arg[0] };
	struct member member[THREADS_MAX];
	uint64_t from = UINT64_MAX, to = 0;

	if (!contender.threads || (c.window && !contender.stream) || arg[0] > THREADS_MAX)
		return false;
	wake();
	pthread_barrier_init(&c.begin, NULL, arg[0]);
	for (unsigned i = 0; i < arg[0]; i++) {
		member[i].crowd = &c;
		if (pthread_create(&member[i].thread, NULL, crowd_member, &member[i]))
			die("thread");
	}
	for (unsigned i = 0; i < arg[0]; i++) {
		pthread_join(member[i].thread, NULL);
		from = member[i].from < from ? member[i].from : from;
		to = member[i].to > to ? member[i].to : to;
	}
	pthread_barrier_destroy(&c.begin);
	reply_one(to - from);
	return true;
}

/* ------------------------------------------------------------------ workers */

static bool start(const unsigned *arg)
{
	if (!contender.start)
		return false;
	begin_list();
	for (unsigned i = 0; i < arg[0]; i++) {
		rest(10);	/* what refills may do so, and caches go cold, as between starts in programs */
		put(contender.start());
	}
	end_list();
	return true;
}

static bool ballast(const unsigned *arg)
{
	size_t n = (size_t)arg[0] << 30;
	void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (!contender.start || p == MAP_FAILED)
		return false;
	memset(p, 1, n);
	begin_list();
	end_list();
	return true;
}

static bool put_deaths(unsigned n, bool recovered)
{
	uint64_t ns[2];

	if (!contender.crash)
		return false;
	begin_list();
	for (unsigned i = 0; i < n; i++) {
		rest(10);
		contender.crash(&ns[0], &ns[1]);
		put(ns[recovered]);
	}
	end_list();
	return true;
}

static bool crash(const unsigned *arg)
{
	return put_deaths(arg[0], false);
}

static bool recover(const unsigned *arg)
{
	return put_deaths(arg[0], true);
}

static bool workers(const unsigned *arg)
{
	if (!contender.workers || arg[0] > WORKERS_MAX || here.workers)
		return false;
	contender.workers(here.workers = arg[0], here.worker);
	rest(500);
	begin_list();
	end_list();
	return true;
}

static bool memory(const unsigned *arg)
{
	(void)arg;
	if (!here.workers)
		return false;
	begin_list();
	for (unsigned i = 0; i < here.workers; i++)
		put((uint64_t)proportional_size(here.worker[i]));
	end_list();
	return true;
}

static double cpu_of_all(void)
{
	double sum = cpu_time(getpid());

	for (unsigned i = 0; i < here.workers; i++)
		sum += cpu_time(here.worker[i]);
	return sum;
}

static bool idle_time(const unsigned *arg)
{
	if (!here.workers)
		return false;

	double before = cpu_of_all(), counting = cpu_of_all() - before;

	before = cpu_of_all();
	sleep_until(now_ns() + arg[0] * 1000000ull);

	double used = cpu_of_all() - before - counting;

	reply_one(used > 0 ? (uint64_t)used : 0);
	return true;
}

static bool each(const unsigned *arg)
{
	int64_t sum = 0;

	if (!contender.worker_call || here.workers < arg[0])
		return false;
	for (unsigned i = 0; i < arg[0]; i++)
		contender.worker_call(i, 1, 1);

	uint64_t start = now_ns();

	for (unsigned i = 0; i < arg[1]; i++)
		sum += contender.worker_call(i % arg[0], (int32_t)i, 1);
	reply_one(now_ns() - start);
	expect_sum(sum, arg[1]);
	return true;
}

/* -------------------------------------------------------------------- main */

static const struct command {
	const char *name;
	unsigned args;
	bool (*run)(const unsigned *arg);
} commands[] = {
	{ "invoke", 1, invoke }, { "asleep", 1, asleep }, { "paced", 2, paced }, { "stream", 2, stream },
	{ "post", 1, post }, { "pass", 2, pass }, { "threads", 3, threads }, { "start", 1, start },
	{ "ballast", 1, ballast }, { "crash", 1, crash }, { "recover", 1, recover }, { "workers", 1, workers },
	{ "memory", 0, memory }, { "idle", 1, idle_time }, { "each", 2, each },
};

static void obey(const char *line)
{
	char name[16];
	unsigned arg[3] = { 0 };
	int args = sscanf(line, "%15s %u %u %u", name, &arg[0], &arg[1], &arg[2]) - 1;

	errno = 0;
	for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
		if (strcmp(commands[i].name, name) || (int)commands[i].args != args)
			continue;
		if (!commands[i].run(arg))
			puts("cannot");
		fflush(stdout);
		return;
	}
	die("no such command: %s", line);
}

/* usage: PROGRAM spin|sleep CALLER-CORE OTHER-CORE [OPTION] */
int main(int argc, char **argv)
{
	char line[128];

	if (contender.begin)
		contender.begin(&argc, &argv);
	if (argc < 4) {
		fprintf(stderr, "usage: %s spin|sleep CALLER-CORE OTHER-CORE [OPTION]\n", argv[0]);
		return 2;
	}
	struct place place = {
		.caller = atoi(argv[2]), .other = atoi(argv[3]), .spin = !strcmp(argv[1], "spin"), .option = argv[4],
	};

	also_runs(getpid());
	sched_getaffinity(0, sizeof here.everywhere, &here.everywhere);
	pin_to(place.caller);
	contender.open(&place);
	printf("ready %s", contender.version ? contender.version() : "-");
	for (unsigned i = 0; i < here.pids; i++)
		printf(" %d", (int)here.pid[i]);
	putchar('\n');
	fflush(stdout);
	while (fgets(line, sizeof line, stdin))
		obey(line);
	exit(0);
}
