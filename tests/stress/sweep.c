/*
 * A process dies at each access to shared memory, named point and system call of
 * a scenario, one after the other; and each system call fails once, with each
 * errno that it may.
 *
 *	sweep [-a] [SCENARIO]
 *
 * points.h tells what a point is. By default the first two times at each place
 * count, or the first where each point takes a new master; with -a nearly all. An observer starts each master, and each master a slave to
 * work with and another that must not notice anything. After each point:
 *
 *   - every call has had one outcome, its result or an error, within seconds; none
 *     ran twice, and each result is of a call that ran
 *   - the survivors go on: the other slave answers, a new one starts, the far heap
 *     gives and takes and holds nothing more than the block that the dead was
 *     getting, no descriptor and no process is left over
 *   - a failed system call has had no other effect than an error: what failed
 *     works when it is tried again
 *   - of a master that died nothing is left, and of one that ended neither
 *
 * A master goes on to the next point when it has survived one. Needs a build with
 * FARCALL_INJECT. What does not go through far__sys is not made to fail: fork() in
 * the zygote, waitpid(), kill() and prctl() as the C library has them, threads,
 * stdio, and what liburing does. Death comes between those as well.
 */
#include <errno.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "heap.h"
#include "internal.h"
#include "points.h"
#include "stress.h"

enum {
	LIMIT_S = 10,	/* for one point; nothing takes so long but what hangs */
	FINDING = 3,	/* runs that only find points, for each may go other ways */
};

enum victim { SLAVE, NEW, MASTER, ZYGOTE };
static const char *const victim_names[] = { "slave", "new slave", "master", "zygote" };

struct scenario {
	const char *name;
	void (*run)(struct far_slave **slave);	/* NULLs it if it closes it */
	bool slave;		/* it wants one */
	bool init;		/* it begins before far_init() */
	unsigned deaths, errors;	/* of whom: 1 << enum victim */
};

enum { CALLS = 8, BLOCKS = 5 };

/* What the processes of a sweep tell each other; as points.h has it, it is there before far_init(). */
static struct shared {
	int current;			/* the point that it is the turn of; below 0: points are found */
	unsigned unmet;			/* points that were not met again */
	_Atomic uint32_t ran[CALLS];	/* how often each call ran */
	void *block[BLOCKS];
	/* What is being done to block[.at]. */
	enum { NOTHING, GETTING, FREEING } doing;
	unsigned at;
	size_t size;
} *shared;

static const struct scenario *scenario;
static enum victim victim;
static enum fault fault;

/* ------------------------------------------------------- saying what is wrong */

static void print_where(FILE *stream)
{
	fprintf(stream, "%s, %s of the %s: ", scenario->name, fault == DEATH ? "death" : "a failed call",
		victim_names[victim]);
	if (shared->current < 0)
		fprintf(stream, "without a point");
	else
		points_print(stream, &points->list[shared->current]);
}

__attribute__((noreturn, format(printf, 1, 2)))
static void bad(const char *format, ...)
{
	const struct far_error *e = far_error();
	va_list arguments;

	print_where(stderr);
	fputs(":\n\t", stderr);
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	if (e)
		fprintf(stderr, "\n\tfar_error() is %d: %s", e->code, e->message);
	fputc('\n', stderr);
	_exit(1);
}

/* ------------------------------------------------------------- outcomes */

static bool strict;	/* nothing has happened that a failure could come of */
static bool restarting;	/* far_slave_restart() has been called, which may end calls */

/* This thread's last call failed: may it have? */
static void check_error(const char *what)
{
	const struct far_error *e = far_error();

	if (!e)
		bad("%s failed without an error", what);
	if (strict || !points->fired)
		bad("%s failed", what);
	if (!e->message[0] || !e->code)
		bad("%s failed with an empty error", what);
	if (fault == ERRNO)
		return;
	if (e->code == FAR_EKILLED && (e->signal == SIGKILL || victim == NEW))
		return;
	if (e->code == FAR_EINIT && victim == ZYGOTE)
		return;
	if (e->code == FAR_EDIED && restarting)
		return;
	bad("%s failed, but not so", what);
}

/* This thread's last call was to a slave that is killed then, whatever else happens. */
static void check_killed(const char *what)
{
	if (!far_error())
		bad("%s has an answer", what);
	if (far_error()->code != FAR_EKILLED || far_error()->signal != SIGKILL)
		check_error(what);
}

static void check(const char *what, long got, long expected)
{
	if (far_error())
		check_error(what);
	else if (got != expected)
		bad("%s gave %ld, not %ld", what, got, expected);
}

static void check_close(struct far_slave *s)
{
	int err = far_slave_close(s);

	if (!err)
		return;
	if (err != -EOWNERDEAD && fault == DEATH)
		bad("far_slave_close() gave %s", strerrorname_np(-err));
	check_error("far_slave_close()");
}

/* Call @i, once. */
static int mark(int i)
{
	shared->ran[i]++;
	return 1000 + i;
}

static void check_mark(int i, int got)
{
	bool failed = far_error() != NULL;

	check("a call", got, 1000 + i);
	if (shared->ran[i] > 1)
		bad("call %d ran %u times", i, shared->ran[i]);
	if (!failed && !shared->ran[i])
		bad("call %d has a result and did not run", i);
}

/* ------------------------------------------------------------ scenarios */

struct large {
	long n[80];
};

static struct large numbers(long first)
{
	struct large l;

	for (int i = 0; i < 80; i++)
		l.n[i] = first + i;
	return l;
}

static size_t spell(char *to, size_t size, const char *text)
{
	return (size_t)snprintf(to, size, "%s, said the slave", text);
}

static int increment(unsigned char *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		bytes[i]++;
	return (int)n;
}

static int complain(int a)
{
	far_raise(77, "no %d here", a);
}

static void call(struct far_slave **s)
{
	char text[100] = "untouched", word[] = "hello";
	unsigned char bytes[5000] = { 7 };

	check_mark(0, far_invoke(*s, mark, 0));
	size_t n = far_invoke(*s, spell, far_out(text, sizeof text), sizeof text, (const char *)word);

	check("a call with buffers", (long)n, 21);
	if (strcmp(text, far_error() ? "untouched" : "hello, said the slave"))
		bad("the buffer has \"%s\"", text);
	check("a call with memory", far_invoke(*s, increment, far_inout(bytes, sizeof bytes), sizeof bytes), sizeof bytes);
	if (bytes[0] != (far_error() ? 7 : 8))
		bad("the memory has %d", bytes[0]);
	struct large l = far_invoke(*s, numbers, 3);

	check("a call with a large result", l.n[79], 82);
	far_invoke(*s, complain, 5);
	if (!far_error())
		bad("far_raise() did not fail the call");
	if (far_error()->code != 77)
		check_error("a call that raises");
	check_mark(1, far_invoke(*s, mark, 1));
}

/* More than the queue holds, so that results move to their tasks. */
static void schedule(struct far_slave **s)
{
	far_task(int) task[5];
	char word[] = "word";

	for (int i = 0; i < 5; i++) {
		task[i] = far_schedule(*s, mark, i);
		if (!task[i])
			check_error("far_schedule()");
	}
	far_task(size_t) length = far_schedule(*s, strlen, (const char *)word);

	if (!length)
		check_error("far_schedule() with a string");
	for (int i = 4; i >= 0; i--)
		if (task[i])
			check_mark(i, far_wait(task[i]));
	if (length)
		check("a task with a string", (long)far_wait(length), 4);
}

/* In a slave: if there is nothing, look at the error, or it will be printed. */
static bool is_there(const void *p)
{
	if (!p)
		far_error();
	return p;
}

/* In the slave: with a slave of its own. */
static long nest(void)
{
	struct far_slave *inner = far_slave_process(.name = "inner");

	if (!inner)
		return far_error() ? -1 : -100;
	int first = far_invoke(inner, mark, 0);
	bool good = !far_error();
	far_task(int) later = far_schedule(inner, mark, 1);
	int second = far_wait(later);

	good &= !far_error();
	struct far_slave *thread = far_slave_thread();

	if (thread) {
		good &= far_invoke(thread, abs, -42) == 42 && !far_error();
		far_slave_close(thread);
	}
	good &= is_there(thread);
	int err = far_slave_close(inner);

	if (err)
		good = far_error() == NULL;	/* which must be there, and is false */
	return good ? first + second : -1;
}

static void nested(struct far_slave **s)
{
	long got = far_invoke(*s, nest);

	if (far_error() || strict || !points->fired || got != -1)
		check("a nested call", got, 2001);
	if (shared->ran[0] > 1 || shared->ran[1] > 1)
		bad("a nested call ran twice");
}

static void set_up(void *arg)
{
	mark((int)(intptr_t)arg);
}

static void start(struct far_slave **unused)
{
	(void)unused;
	struct far_slave *s = far_slave_process(.name = "new", .queue = 2, .setup = set_up, .setup_arg = (void *)2);

	if (!s) {
		check_error("far_slave_process()");
		return;
	}
	if (shared->ran[2] != 1)
		bad(".setup ran %u times", shared->ran[2]);
	check_mark(3, far_invoke(s, mark, 3));
	check_close(s);
}

static void close_it(struct far_slave **s)
{
	far_task(int) first = far_schedule(*s, mark, 0), second = far_schedule(*s, mark, 1);

	if (!first || !second)
		check_error("far_schedule()");
	check_close(*s);
	*s = NULL;
	if (first)
		check_mark(0, far_wait(first));
	if (second)
		check_mark(1, far_wait(second));
}

/* The kernel kills the slave while it gets memory, and a call waits behind. */
static int get_and_die(void)
{
	points->doomed = getpid();
	far_free(far_alloc(300000));
	return 0;
}

static void killed(struct far_slave **s)
{
	far_task(int) first = far_schedule(*s, get_and_die), second = far_schedule(*s, mark, 1);

	for (int i = 0; i < 2; i++) {
		far_task(int) task = i ? second : first;

		if (!task) {
			check_error("far_schedule()");
			continue;
		}
		int got = far_wait(task);

		if (!first) {	/* so nothing kills it */
			check_mark(1, got);
			continue;
		}
		check_killed("a call to a slave that was killed");
	}
	int err = far_slave_close(*s);

	*s = NULL;
	if (err != (first ? -EOWNERDEAD : 0))
		bad("far_slave_close() of a slave that was killed gave %d", err);
	far_error();
	points->doomed = 0;
}

/* The call before may run, have run or never run; the one behind is for the next incarnation. */
static void restart(struct far_slave **s)
{
	check_mark(0, far_invoke(*s, mark, 0));
	far_task(int) before = far_schedule(*s, mark, 1);

	if (!before)
		check_error("far_schedule()");
	restarting = true;
	if (far_slave_restart(*s))
		check_error("far_slave_restart()");
	if (before) {
		int got = far_wait(before);

		if (!far_error() || far_error()->code != FAR_EDIED)
			check_mark(1, got);
	}
	check_mark(2, far_invoke(*s, mark, 2));
}

/* What ends the first incarnation is a call; the one behind it is for the second. */
static void respawn(struct far_slave **unused)
{
	(void)unused;
	struct far_slave *s = far_slave_process(.name = "new", .queue = 2, .respawn = 3);

	if (!s) {
		check_error("far_slave_process()");
		return;
	}
	far_task(int) end = far_schedule(s, raise, SIGKILL), behind = far_schedule(s, mark, 3);

	if (!end || !behind)
		check_error("far_schedule()");
	if (end) {
		far_wait(end);
		check_killed("the call that ends its slave");
	}
	if (behind)
		check_mark(3, far_wait(behind));
	check_mark(4, far_invoke(s, mark, 4));
	check_close(s);
}

/* A system call has failed in far_init() or soon after: unless it is one that is never allowed, all can be had now. */
static void begin_again(void)
{
	int error = points->target.error;
	bool never = error == EPERM || error == ENOSYS || error == EACCES || error == ENOENT || error == ECHILD;
	struct far_slave *thread = far_slave_thread();
	pid_t zygote;

	if (!thread || far_invoke(thread, abs, -42) != 42 || far_slave_close(thread))
		bad("a slave thread does not work after a failure");
	if (far_init() && never)
		return;
	strict = true;
	shared->ran[2] = shared->ran[3] = 0;
	start(NULL);
	if (children_of(getpid(), &zygote) != 1)
		bad("there is not one zygote");
	if (count_fds() > 3 + 3 + 9)	/* stdio, and what reading the folder takes */
		bad("there are %u descriptors", count_fds());
}

static void from_the_beginning(struct far_slave **unused)
{
	if (far_init()) {
		if (!points->fired || !far_error() || !far_error()->message[0])
			bad("far_init() failed");
	} else {
		start(unused);
	}
	if (points->fired && fault == ERRNO)
		begin_again();
}

/* ------------------------------------------------- scenarios of the heap */

static const size_t sizes[BLOCKS] = { 64, 32768, 32768, 32768, 300000 };	/* two of 32768 share 64 KiB */

static bool get(unsigned i)
{
	shared->at = i;
	shared->size = sizes[i];
	shared->doing = GETTING;
	shared->block[i] = far_alloc(sizes[i]);
	shared->doing = NOTHING;
	return is_there(shared->block[i]);
}

static void give(unsigned i)
{
	shared->at = i;
	shared->doing = FREEING;
	far_free(shared->block[i]);
	shared->block[i] = NULL;
	shared->doing = NOTHING;
}

static bool resize(unsigned i)
{
	shared->at = i;
	shared->size = 2 * sizes[i] + 100;
	shared->doing = GETTING;
	void *p = far_realloc(shared->block[i], shared->size);

	if (p)
		shared->block[i] = p;
	shared->doing = NOTHING;
	return is_there(p);
}

/* Each in the victim: how many failed. */
static int get_all(void)
{
	int failed = 0;

	for (unsigned i = 0; i < BLOCKS; i++)
		failed += !get(i);
	return failed;
}

static int resize_all(void)
{
	int failed = 0;

	for (unsigned i = 0; i < BLOCKS; i++)
		failed += shared->block[i] && !resize(i);
	return failed;
}

static int give_all(void)
{
	for (unsigned i = 0; i < BLOCKS; i++)
		give(i);
	return far_error() != NULL;
}

/* In the slave if there is one, else here. */
static void in_victim(struct far_slave *s, int (*work)(void))
{
	int failed = s ? far_invoke(s, work) : work();

	if (s && far_error()) {
		check_error("a call that works on the heap");
	} else if (failed) {
		if (strict || !points->fired || (!s && !far_error()))
			bad("%d blocks could not be had, resized or freed", failed);
		far_error();
	}
}

/* What the dead was doing to a block may have been done or not. */
static void give_what_is_left(void)
{
	for (unsigned i = 0; i < BLOCKS; i++) {
		if (!shared->block[i])
			continue;
		bool in_doubt = points->fired && shared->doing != NOTHING && shared->at == i;
		bool there = far__heap_size(shared->block[i]);

		if (!there && !in_doubt)
			bad("a block of %zu bytes is gone", sizes[i]);
		if (there)
			far_free(shared->block[i]);
		shared->block[i] = NULL;
	}
}

static void alloc(struct far_slave **s)
{
	in_victim(*s, get_all);
}

static void dealloc(struct far_slave **s)
{
	in_victim(*s, give_all);
}

static void reallocate(struct far_slave **s)
{
	in_victim(*s, resize_all);
}

#define OF(v) (1u << (v))

static const struct scenario scenarios[] = {
	{ "invoke", call, .slave = true, .deaths = OF(SLAVE) | OF(MASTER), .errors = OF(SLAVE) | OF(MASTER) },
	{ "schedule", schedule, .slave = true, .deaths = OF(SLAVE) | OF(MASTER), .errors = OF(SLAVE) | OF(MASTER) },
	{ "nested", nested, .slave = true, .deaths = OF(SLAVE) | OF(NEW) | OF(MASTER) | OF(ZYGOTE),
	  .errors = OF(SLAVE) | OF(NEW) | OF(ZYGOTE) },
	{ "start", start, .deaths = OF(NEW) | OF(MASTER) | OF(ZYGOTE),
	  .errors = OF(NEW) | OF(MASTER) | OF(ZYGOTE) },
	{ "close", close_it, .slave = true, .deaths = OF(SLAVE) | OF(MASTER) | OF(ZYGOTE),
	  .errors = OF(SLAVE) | OF(MASTER) | OF(ZYGOTE) },
	{ "killed", killed, .slave = true, .deaths = OF(MASTER) | OF(ZYGOTE), .errors = OF(MASTER) | OF(ZYGOTE) },
	{ "restart", restart, .slave = true, .deaths = OF(SLAVE) | OF(NEW) | OF(MASTER) | OF(ZYGOTE),
	  .errors = OF(SLAVE) | OF(NEW) | OF(MASTER) | OF(ZYGOTE) },
	{ "respawn", respawn, .deaths = OF(NEW) | OF(MASTER) | OF(ZYGOTE),
	  .errors = OF(NEW) | OF(MASTER) | OF(ZYGOTE) },
	{ "alloc", alloc, .slave = true, .deaths = OF(SLAVE), .errors = OF(SLAVE) },
	{ "free", dealloc, .slave = true, .deaths = OF(SLAVE), .errors = OF(SLAVE) },
	{ "realloc", reallocate, .slave = true, .deaths = OF(SLAVE), .errors = OF(SLAVE) },
	{ "alloc", alloc, .deaths = OF(MASTER), .errors = OF(MASTER) },
	{ "free", dealloc, .deaths = OF(MASTER), .errors = OF(MASTER) },
	{ "realloc", reallocate, .deaths = OF(MASTER), .errors = OF(MASTER) },
	{ "init", from_the_beginning, .init = true, .deaths = OF(MASTER) | OF(ZYGOTE), .errors = OF(MASTER) | OF(ZYGOTE) },
};

static bool works_on_blocks(void)
{
	return scenario->run == alloc || scenario->run == dealloc || scenario->run == reallocate;
}

/* ------------------------------------------------------------ in the master */

static struct far_slave *other;

static struct {
	unsigned fds;
	size_t large, small;
} before;

/* As the zygote counts them; whether it counts right the observer sees when all have to be gone. */
static unsigned slaves_alive(void)
{
	return shm_load(&far__family()->made) - shm_load(&far__family()->ended);
}

static void await_slaves(unsigned n)
{
	for (unsigned i = 0; slaves_alive() != n; i++) {
		if (i == 3000)
			bad("there are %u slave processes, not %u", slaves_alive(), n);
		usleep(1000);
	}
}

static void measure(void)
{
	before.fds = count_fds();
	read_heap_use(&before.large, &before.small);
}

static void check_use(void)
{
	size_t large, small, lost = 0;

	if (points->fired && fault == DEATH && shared->doing == GETTING)
		lost = (shared->size + 65535) / 65536 * 64;
	read_heap_use(&large, &small);
	if (large != before.large && large != before.large + lost)
		bad("there were %zu KiB in large blocks, and now are %zu", before.large, large);
	if (small > before.small + KEPT_KIB)
		bad("there were %zu KiB in small blocks, and now are %zu", before.small, small);
	if (count_fds() != before.fds)
		bad("there were %u descriptors, and now are %u", before.fds, count_fds());
	/* The block that the dead was getting is lost, or its unit. */
	before.large = large;
	if (lost && small > before.small)
		before.small = small;
}

static struct far_slave *must_start(const char *name)
{
	struct far_slave *s = far_slave_process(.name = name, .queue = 2);

	if (!s)
		bad("slave \"%s\" cannot be started", name);
	return s;
}

static void must_answer(struct far_slave *s, const char *which)
{
	if (far_invoke(s, abs, -42) != 42 || far_error())
		bad("the %s slave does not answer", which);
}

static void must_close(struct far_slave *s, const char *which)
{
	if (far_slave_close(s))
		bad("the %s slave cannot be closed", which);
}

static void check_the_heap_works(void)
{
	void *small = far_alloc(100), *large = far_alloc(200000);

	if (!small || !large)
		bad("far_alloc() does not work");
	memset(small, 1, 100);
	memset(large, 1, 200000);
	far_free(small);
	far_free(large);
	unsigned char *zero = far_calloc(1, 150000);

	if (!zero)
		bad("far_calloc() does not work");
	for (unsigned i = 0; i < 150000; i++)
		if (zero[i])
			bad("far_calloc() gave memory that is not zero");
	far_free(zero);
	if (far_error())
		bad("far_free() does not work");
}

/* The master's number and that of the other slave are all that is taken. */
static void check_numbers(void)
{
	for (unsigned n = 1; n < far__space.slaves; n++)
		for (unsigned i = 0; (n == far__handle_number((uintptr_t)other)) != (shm_load(&far__member(n)->state) != FAR_FREE); i++) {
			if (i == 3000)
				bad("number %u is in state %u", n, shm_load(&far__member(n)->state));
			usleep(1000);
		}
}

static void check_the_living(void)
{
	must_answer(other, "other");
	struct far_slave *s = must_start("next");

	must_answer(s, "next");
	must_close(s, "next");
	check_the_heap_works();
	await_slaves(1);
	check_numbers();
	check_use();
}

/* The zygote is dead: all slave processes are, none can be started, and the rest goes on. */
static void check_after_the_zygote(void)
{
	if (other) {
		/* It says that it dies a moment before it does. */
		for (unsigned i = 0; far_invoke(other, abs, -42) == 42 && i < 3000; i++)
			usleep(1000);
		if (!far_error() || far_error()->code != FAR_EKILLED)
			bad("the zygote is dead, and the other slave not");
		if (far_slave_close(other) != -EOWNERDEAD)
			bad("a slave that died with the zygote was closed as if it had not");
		far_error();
	}
	if (far_slave_process() || far_error()->code != FAR_EINIT)
		bad("the zygote is dead, and a slave could be started or there is another error");
	struct far_slave *thread = far_slave_thread();

	if (!thread)
		bad("the zygote is dead, and no slave thread can be started");
	must_answer(thread, "thread");
	must_close(thread, "thread");
	check_the_heap_works();
	pid_t one = 0;

	if (children_of(getpid(), &one))
		bad("the zygote is dead, and there is still a process %d", one);
}

static void forget_calls(void)
{
	memset(shared->ran, 0, sizeof shared->ran);
	shared->doing = NOTHING;
	memset(shared->block, 0, sizeof shared->block);
	if (scenario->run == dealloc || scenario->run == reallocate)
		get_all();
}

/* What failed once works now. */
static void do_it_again(struct far_slave **s)
{
	if (*s) {
		far_invoke(*s, abs, -1);
		if (far_error()) {
			check_close(*s);
			*s = NULL;
		}
	}
	strict = true;
	if (!*s && scenario->slave)
		*s = must_start("again");
	forget_calls();
	scenario->run(s);
	if (works_on_blocks())
		give_what_is_left();
}

static pid_t pid_of_victim(struct far_slave *s)
{
	switch (victim) {
	case SLAVE:
		return far_slave_pid(s);
	case NEW:
		return NEW_SLAVE;
	case MASTER:
		return getpid();
	default:
		return scenario->init ? NEW_ZYGOTE : points->zygote;
	}
}

static void one_point(void)
{
	const struct point *target = shared->current < 0 ? NULL : &points->list[shared->current];
	struct far_slave *s = NULL;

	alarm(LIMIT_S);
	strict = restarting = false;
	points->fired = false;
	/* Numbers are taken in turn: have those taken again that the last point left. */
	if (!scenario->init)
		shm_set(&far__family()->last, 0);
	if (scenario->slave)
		s = must_start("victim");
	forget_calls();
	points->familiar[1] = s ? far_slave_pid(s) : 0;
	points_arm(pid_of_victim(s), target);
	scenario->run(&s);
	points_disarm();
	shared->unmet += target && !points->fired;
	if (works_on_blocks())
		give_what_is_left();
	if (points->fired && fault == DEATH && victim == ZYGOTE) {
		far_slave_close(s);
		far_error();
		check_after_the_zygote();
		return;
	}
	if (points->fired && fault == ERRNO && !scenario->init)
		do_it_again(&s);
	strict = false;
	if (s)
		check_close(s);
	if (!scenario->init)
		check_the_living();
}

static pid_t my_zygote(void)
{
	return (pid_t)(shm_load(&far__family()->life) & 0x3fffffff);
}

static void begin_master(void)
{
	if (far_init())
		bad("far_init() failed");
	points->zygote = my_zygote();
	other = must_start("other");
	must_answer(other, "other");
	points->familiar[0] = far_slave_pid(other);
	/* What is made once is made before anything is measured. */
	check_the_heap_works();
	struct far_slave *s = must_start("first");

	must_answer(s, "first");
	must_close(s, "first");
	await_slaves(1);
	measure();
}

/* Whether nobody is left after a point to go on, or a heap that has not kept pages yet is needed. */
static bool ends_it_all(void)
{
	return scenario->init || (fault == DEATH ? victim == MASTER || victim == ZYGOTE : works_on_blocks());
}

static _Noreturn void master(void)
{
	alarm(LIMIT_S);
	points->master = getpid();
	if (!scenario->init)
		begin_master();
	do {
		one_point();
		shared->current++;
	} while (!ends_it_all() && shared->current < (int)points->used);
	exit(0);
}

/* ---------------------------------------------------------- in the observer */

/* Wait for all that a master left: true if it ended by itself. */
static bool nothing_left(void)
{
	double end = now() + 5;
	pid_t one;

	while (now() < end) {
		pid_t pid = waitpid(-1, NULL, WNOHANG | __WALL);

		if (pid < 0)
			return true;
		if (pid == 0)
			usleep(500);
	}
	while (children_of(getpid(), &one)) {
		kill(one, SIGKILL);
		waitpid(one, NULL, __WALL);
	}
	return false;
}

static unsigned count_names(void)
{
	DIR *d = opendir("/dev/shm");
	unsigned n = 0;

	for (struct dirent *e; d && (e = readdir(d));)
		n += strstr(e->d_name, "farcall") != NULL;
	if (d)
		closedir(d);
	return n;
}

__attribute__((format(printf, 1, 2)))
static bool failed(const char *format, ...)
{
	va_list arguments;

	print_where(stdout);
	fputs(": ", stdout);
	va_start(arguments, format);
	vprintf(format, arguments);
	va_end(arguments);
	fputc('\n', stdout);
	return false;
}

/* Start a master, and see how it ends: whether all is well. It takes shared->current along. */
static bool run_master(void)
{
	unsigned fds = count_fds();
	int status;

	points->fired = false;
	pid_t pid = fork();

	if (pid == 0)
		master();
	waitpid(pid, &status, 0);
	bool killed_it = points->fired && fault == DEATH && victim == MASTER;
	bool good = true;

	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
		good = failed("it hangs");
	else if (killed_it ? !WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL : status != 0)
		good = failed("the master ended with status 0x%x", status);
	if (!nothing_left())
		good = failed("processes are left");
	if (count_names())
		good = failed("names are left in /dev/shm");
	if (count_fds() != fds)
		good = failed("there were %u descriptors, and now are %u", fds, count_fds());
	return good;
}

/* All points of a scenario, a victim and a fault: how many failed, having added to *all. */
static unsigned sweep(uint32_t times, unsigned *all)
{
	unsigned points_seen, bad_ones = 0;
	double begun = now();

	points_clear(fault, times);
	memset(shared, 0, sizeof *shared);
	shared->current = -FINDING;
	do {
		int first = shared->current;
		bool good = run_master();

		/* One that has survived, or was to die, has had its turn. */
		if (!good)
			bad_ones++;
		if (shared->current == first || (!good && shared->current < (int)points->used))
			shared->current++;
	} while (shared->current < (int)points->used);
	/* The run that finds the first points can fail, too. */
	points_seen = points->used > bad_ones ? points->used : bad_ones;
	printf("%-9s %-11s %-9s %4u points, %4u passed, %3u not met again (%.1f s)\n", scenario->name,
	       fault == DEATH ? "death of" : "errors of", victim_names[victim], points->used,
	       points_seen - bad_ones, shared->unmet, now() - begun);
	*all += points_seen;
	return bad_ones;
}

int main(int argc, char **argv)
{
	unsigned all = 0, bad_ones = 0;
	bool nearly_all = false;

	setvbuf(stdout, NULL, _IOLBF, 0);
	setenv("FARCALL_SPARES", "0", 1);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	points_begin();
	shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED) {
		perror("mmap");
		return 1;
	}
	if (argc > 1 && !strcmp(argv[1], "-a")) {
		nearly_all = true;
		argv++;
		argc--;
	}
	for (unsigned i = 0; i < sizeof scenarios / sizeof *scenarios; i++) {
		scenario = &scenarios[i];
		if (argc > 1 && strcmp(argv[1], scenario->name))
			continue;
		for (fault = DEATH; fault <= ERRNO; fault++)
			for (victim = SLAVE; victim <= ZYGOTE; victim++)
				if ((fault == DEATH ? scenario->deaths : scenario->errors) & OF(victim))
					bad_ones += sweep(nearly_all ? 200 : ends_it_all() ? 1 : 2, &all);
	}
	printf("%u passed, %u failed\n", all - bad_ones, bad_ones);
	return bad_ones || !all;
}
