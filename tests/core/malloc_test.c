/*
 * Each malloc() of each kind of call fails, in the C library too: the call works
 * nevertheless, or has an error, and what it had allocated by then is freed.
 */
#include "check.h"

/* ------------------------------------------------ a malloc() that can fail */

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *block, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
void __libc_free(void *block);

static _Atomic unsigned left;	/* the how manieth from now on fails; 0: none */
static _Atomic bool fired;
static _Atomic long alive;	/* blocks */

static bool fails(void)
{
	unsigned n = left;

	while (n && !__atomic_compare_exchange_n((unsigned *)&left, &n, n - 1, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
		;
	if (n != 1)
		return false;
	fired = true;
	errno = ENOMEM;
	return true;
}

static void *count_block(void *block)
{
	alive += block != NULL;
	return block;
}

void *malloc(size_t size)
{
	return fails() ? NULL : count_block(__libc_malloc(size));
}

void *calloc(size_t count, size_t size)
{
	return fails() ? NULL : count_block(__libc_calloc(count, size));
}

void *aligned_alloc(size_t alignment, size_t size)
{
	return fails() ? NULL : count_block(__libc_memalign(alignment, size));
}

void *realloc(void *block, size_t size)
{
	if (fails())
		return NULL;
	alive -= block != NULL;
	return count_block(__libc_realloc(block, size));
}

void free(void *block)
{
	alive -= block != NULL;
	__libc_free(block);
}

/* ------------------------------------------------------------- the calls */

enum { BUFFER = 100000 };	/* so much goes to the far heap */

static int add(int a, int b)
{
	return a + b;
}

struct large {
	char text[300];		/* lies beside its slot, and moves to its task */
};

static struct large fill(char c)
{
	struct large l;

	memset(l.text, c, sizeof l.text);
	return l;
}

static size_t copy(char *to, const char *from, size_t size)
{
	memcpy(to, from, size);
	return size;
}

static void set_up(void *unused)
{
	(void)unused;
}

/* The last call gave what it should, or failed because of us. */
static void check(bool good)
{
	const struct far_error *e = far_error();

	if (e ? !fired || (e->code != FAR_ENOMEM && e->code != FAR_ELIMIT) : !good)
		fail_at(__FILE__, __LINE__, "%s", good ? "not this error" : "not this result");
}

static void start(struct far_slave *unused)
{
	(void)unused;
	struct far_slave *s = START(.name = "new", .setup = set_up);

	check(s);
	if (!s)
		return;
	check(far_invoke(s, add, 1, 2) == 3);
	CHECK_EQ(far_slave_close(s), 0);
}

static void invoke(struct far_slave *s)
{
	static char from[BUFFER], to[BUFFER];

	check(far_invoke(s, add, 1, 2) == 3);
	check(far_invoke(s, copy, far_out(to, sizeof to), far_in(from, sizeof from), sizeof to) == sizeof to);
	check(far_invoke(s, fill, 'x').text[299] == 'x');
	check(far_invoke_within(60000, s, add, 3, 4) == 7);
}

/* More than the queue holds, so that results move to their tasks. */
static void schedule(struct far_slave *s)
{
	static char from[BUFFER], to[BUFFER];
	far_task(struct large) large[6];
	far_task(size_t) buffers = far_schedule(s, copy, far_out(to, sizeof to), far_in(from, sizeof from), sizeof to);

	check(buffers);
	for (int i = 0; i < 6; i++)
		check((large[i] = far_schedule(s, fill, 'x')) != NULL);
	for (int i = 0; i < 6; i++)
		if (large[i])
			check(far_wait(large[i]).text[299] == 'x');
	if (buffers)
		check(far_wait(buffers) == sizeof to);
}

static void in_threads(struct far_slave *unused)
{
	(void)unused;
	far_task(int) small = far_thread(add, 1, 2);

	check(small);
	far_task(struct large) large = far_thread(fill, 'x');

	check(large);
	if (small)
		check(far_wait(small) == 3);
	if (large)
		check(far_wait(large).text[299] == 'x');
}

static void memory(struct far_slave *unused)
{
	(void)unused;
	char *p = far_alloc(100000);

	check(p);
	char *q = far_realloc(p, 300000);

	check(q);
	far_free(q ? q : p);
}

/* ---------------------------------------------------------------- sweeping */

enum {
	UNFIRED = 2,
	TIMES = 20,
	KEPT = 10,	/* blocks more or less: threads that have ended a little later leave stacks to be used again */
};

/* In a process of its own: the @n-th fails, again and again. How many blocks are alive in the end, in *blocks. */
static _Noreturn void fail_one(void (*run)(struct far_slave *), unsigned n, long *blocks)
{
	CHECK_EQ(far_init(), 0);
	struct far_slave *s = START(.queue = 4);

	CHECK(s);
	size_t kib = heap_in_use();

	for (int i = 0; i < TIMES; i++) {
		left = n;
		run(s);
		left = 0;
	}
	int status = fired ? 0 : UNFIRED;

	fired = false;
	run(s);
	CHECK_EQ(heap_in_use(), kib);
	CHECK_EQ(far_slave_close(s), 0);
	*blocks = alive;
	_exit(status);
}

static void fail_each(void (*run)(struct far_slave *))
{
	long *blocks = mmap(NULL, 2 * sizeof *blocks, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int status = 0;

	for (unsigned n = 0; n <= 1 || status == 0; n++) {
		pid_t pid = fork();

		if (pid == 0)
			fail_one(run, n, &blocks[n > 0]);
		CHECK_EQ(waitpid(pid, &status, 0), pid);
		CHECK(WIFEXITED(status) && WEXITSTATUS(status) != 1);
		CHECK(n == 0 || blocks[1] < blocks[0] + KEPT);
	}
}

#define TEST_EACH(name) TEST_(name, .plain = true, .both = true)

TEST_EACH(slaves_start_or_fail_cleanly_when_malloc_fails)
{
	fail_each(start);
}

TEST_EACH(calls_are_made_or_fail_cleanly_when_malloc_fails)
{
	fail_each(invoke);
}

TEST_EACH(calls_are_scheduled_or_fail_cleanly_when_malloc_fails)
{
	fail_each(schedule);
}

PLAIN(threads_start_or_fail_cleanly_when_malloc_fails)
{
	fail_each(in_threads);
}

PLAIN(the_far_heap_works_or_fails_cleanly_when_malloc_fails)
{
	fail_each(memory);
}
