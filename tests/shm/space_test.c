/* The plan of the address space, and that slaves allocate in their own windows. */
#include "space.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "child.h"
#include "sys.h"

TestSuite(space, .timeout = 30);

#define GIB (1ul << 30)

/* ------------------------------------------------------------------ helpers */

/* KiB of addresses, as RLIMIT_AS counts them. */
static size_t addresses(void)
{
	FILE *f = fopen("/proc/self/statm", "r");
	size_t pages = 0;

	cr_assert(f && fscanf(f, "%zu", &pages) == 1);
	fclose(f);
	return pages * 4;
}

/* -------------------------------------------------------------------- tests */

Test(space, before_it_is_mapped_nothing_lies_in_it)
{
	int here = 0;

	cr_assert_eq(far__space_window(&here), -1);
	cr_assert_eq(far__space_window(NULL), -1);
	cr_assert_not(far__space_in_heap(&here));
	cr_assert_not(far__space_in_control(&here));
}

Test(space, an_address_tells_its_window)
{
	int here;

	cr_assert_eq(far__space_map(), 0);
	const char *w = far__space.windows;
	size_t size = far__space.window_size;
	unsigned last = far__space.slaves - 1;

	cr_assert(size, "there are no windows");
	cr_assert_eq(far__space_window(w), 0);
	cr_assert_eq(far__space_window(w - 1), -1);
	cr_assert_eq(far__space_window(w + size - 1), 0);
	cr_assert_eq(far__space_window(w + size), 1);
	cr_assert_eq(far__space_window(w + last * size), (int)last);
	cr_assert_eq(far__space_window(w + last * size + size - 1), (int)last);
	cr_assert_eq(far__space_window(w + (last + 1) * size), -1);
	cr_assert_eq(far__space_window(NULL), -1);
	cr_assert_eq(far__space_window(&here), -1);
	cr_assert_eq(far__space_window((void *)UINTPTR_MAX), -1);
	cr_assert_eq(far__space_window(far__space.heap), -1);
	cr_assert_eq(far__space_window(far__space.control), -1);
}

Test(space, heap_and_control_end_where_they_end)
{
	cr_assert_eq(far__space_map(), 0);
	const char *h = far__space.heap, *c = far__space.control;
	size_t control = FAR_SEGMENT_SIZE * far__space.slaves;

	cr_assert(far__space_in_heap(h) && far__space_in_heap(h + far__space.heap_size - 1));
	cr_assert(!far__space_in_heap(h - 1) && !far__space_in_heap(h + far__space.heap_size));
	cr_assert(far__space_in_control(c) && far__space_in_control(c + control - 1));
	cr_assert(!far__space_in_control(c - 1) && !far__space_in_control(c + control));
	cr_assert(!far__space_in_control(NULL) && !far__space_in_heap(NULL));
	cr_assert_eq(far__space_segment(0), c);
	cr_assert_eq(far__space_segment(7), c + 7 * FAR_SEGMENT_SIZE);
}

Test(space, windows_cannot_be_touched)
{
	cr_assert_eq(far__space_map(), 0);
	/* mincore() and the like do not tell: the kernel refuses to read from there. */
	for (unsigned n = 0; n < far__space.slaves; n += 100) {
		int fds[2];

		cr_assert_eq(pipe(fds), 0);
		cr_assert_lt(write(fds[1], far__space.windows + n * far__space.window_size, 1), 0);
		cr_assert_eq(errno, EFAULT);
		close(fds[0]);
		close(fds[1]);
	}
}

Test(space, a_segment_is_committed_and_discarded)
{
	cr_assert_eq(far__space_map(), 0);
	char *s = far__space_segment(3), *next = far__space_segment(4);

	cr_assert_eq(far__space_commit(3, 0, FAR_SEGMENT_SIZE), 0);
	cr_assert_eq(far__space_commit(4, 0, 4096), 0);
	s[0] = s[FAR_SEGMENT_SIZE - 1] = next[0] = 1;
	far__space_discard(3);
	cr_assert_eq(s[0], 0);
	cr_assert_eq(s[FAR_SEGMENT_SIZE - 1], 0);
	cr_assert_eq(next[0], 1);
	far__space_discard(4);
}

Test(space, is_the_same_memory_at_the_same_address_in_a_child)
{
	int status;

	cr_assert_eq(far__space_map(), 0);
	cr_assert_eq(far__space_commit(1, 0, 4096), 0);
	pid_t child = fork();

	cr_assert_geq(child, 0);
	if (child == 0) {
		strcpy(far__space_segment(1), "from the child");
		_exit(0);
	}
	cr_assert_eq(waitpid(child, &status, 0), child);
	cr_assert_str_eq(far__space_segment(1), "from the child");
	far__space_discard(1);
}

Test(space, the_range_of_the_heap_is_as_asked)
{
	static const struct {
		const char *text;
		size_t size;
	} asked[] = {
		{ "64M", 64ul << 20 }, { "64m", 64ul << 20 }, { "1G", GIB }, { "2g", 2 * GIB },
		{ "65536k", 64ul << 20 }, { "67108864", 64ul << 20 },
		{ "68157439", 64ul << 20 },	/* whole MiB only */
		{ "1", 16ul << 20 }, { "4K", 16ul << 20 },
	};

	for (unsigned i = 0; i < sizeof asked / sizeof *asked; i++) {
		setenv("FARCALL_HEAP", asked[i].text, 1);
		cr_assert_eq(far__space_map(), 0);
		cr_assert_eq(far__space.heap_size, asked[i].size, "%s is %zu", asked[i].text, far__space.heap_size);
	}
}

Test(space, a_range_that_is_no_size_is_ignored)
{
	static const char *const text[] = { "", "M", "64MB", "64 M", "a lot", "64X", "99999999999999999999G", "0" };

	unsetenv("FARCALL_HEAP");
	cr_assert_eq(far__space_map(), 0);
	size_t usual = far__space.heap_size;

	for (unsigned i = 0; i < sizeof text / sizeof *text; i++) {
		munmap(far__space.heap, far__space.heap_size);
		munmap(far__space.control, FAR_SEGMENT_SIZE * far__space.slaves);
		munmap(far__space.windows, far__space.window_size * far__space.slaves);
		setenv("FARCALL_HEAP", text[i], 1);
		cr_assert_eq(far__space_map(), 0);
		cr_assert_eq(far__space.heap_size, usual, "\"%s\" is %zu", text[i], far__space.heap_size);
	}
}

/* Objects: the first is the control block, the second the heap. */
static long (*real_sys)(long, long, long, long, long, long, long);
static unsigned sizes_left;

static long no_more_objects(long number, long a, long b, long c, long d, long e, long f)
{
	if (number == SYS_ftruncate && !sizes_left)
		return -EFBIG;
	if (number == SYS_ftruncate)
		sizes_left--;
	return real_sys(number, a, b, c, d, e, f);
}

Test(space, a_failure_leaves_nothing_mapped)
{
	unsigned fds = count_fds();
	size_t before = addresses();

	real_sys = far__sys;
	far__sys = no_more_objects;
	for (unsigned objects = 0; objects < 2; objects++) {
		sizes_left = objects;
		cr_assert_eq(far__space_map(), -EFBIG);
		cr_assert_eq(count_fds(), fds);
		cr_assert_lt(addresses() - before, 1024u);
		cr_assert_null(far__space.control);
	}
	sizes_left = 2;
	cr_assert_eq(far__space_map(), 0);
	cr_assert_eq(count_fds(), fds + 2);
}

/* AddressSanitizer's own range is far beyond any limit that could be set. */
#ifndef __SANITIZE_ADDRESS__

static size_t limit;

static int map_in_limit(void)
{
	struct rlimit r = { limit, limit };

	unsetenv("FARCALL_HEAP");
	MUST(setrlimit(RLIMIT_AS, &r) == 0);
	MUST(far__space_map() == 0);
	MUST(far__space.slaves >= 16 && far__space.slaves <= FAR_SLAVES_MAX);
	MUST(far__space.heap_size >= 16ul << 20);
	size_t size = far__space.window_size;

	MUST(size == 0 || (size >= 64ul << 20 && (size & (size - 1)) == 0));
	MUST(!size == !far__space.windows);
	MUST(far__space_window(&r) == -1);
	if (size)
		MUST(far__space_window(far__space.windows + size * far__space.slaves - 1) == (int)far__space.slaves - 1);
	/* Something is left for the program itself. */
	void *p = malloc(1 << 20);

	MUST(p);
	free(p);
	return 0;
}

Test(space, windows_are_halved_until_they_fit)
{
	limit = 2048 * GIB;
	cr_assert_eq(in_child(map_in_limit), 0);
}

static int windows_in_2_tib(void)
{
	limit = 2048 * GIB;
	MUST(map_in_limit() == 0);
	MUST(far__space.window_size == 128ul << 20);
	return 0;
}

Test(space, two_tebibytes_are_enough_for_all_slaves)
{
	cr_assert_eq(in_child(windows_in_2_tib), 0);
}

Test(space, fits_into_any_limit)
{
	for (limit = GIB; limit <= 256 * 1024 * GIB; limit *= 2)
		cr_assert_eq(in_child(map_in_limit), 0, "limit %zu GiB", limit / GIB);
}

static int map_in_nothing(void)
{
	struct rlimit r = { addresses() * 1024 + (100ul << 20), RLIM_INFINITY };
	unsigned fds = count_fds();

	MUST(setrlimit(RLIMIT_AS, &r) == 0);
	MUST(far__space_map() == -ENOMEM);
	MUST(count_fds() == fds);
	MUST(!far__space.control && !far__space.heap && !far__space.windows);
	return 0;
}

Test(space, a_limit_too_low_is_an_error)
{
	cr_assert_eq(in_child(map_in_nothing), 0);
}

/*
 * What a slave allocates lies in its window. Not so under AddressSanitizer, whose
 * allocator has a range of its own.
 */
static void *look_at_stack(void *arg)
{
	int here = 0;

	*(int *)arg = far__space_window(&here);
	return malloc(100);
}

static int in_window(unsigned n)
{
	const int w = (int)n;
	static void *block[2000];

	for (unsigned i = 0; i < 2000; i++) {
		block[i] = malloc(i % 100 ? i : 10000 * i + 1);
		MUST(block[i] && far__space_window(block[i]) == w);
		memset(block[i], 1, i);
	}
	for (unsigned i = 0; i < 2000; i += 2)
		free(block[i]);
	for (unsigned i = 0; i < 2000; i += 2)
		MUST(far__space_window(block[i] = malloc(i)) == w);
	for (size_t size = 4096; size <= far__space.window_size / 4; size *= 2) {
		void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		MUST(p != MAP_FAILED && far__space_window(p) == w);
		MUST(far__space_window((char *)p + size - 1) == w);
		munmap(p, size);
	}
	return 0;
}

static int thread_in_window(unsigned n)
{
	int stack = -1;
	void *block;
	pthread_t t;

	MUST(pthread_create(&t, NULL, look_at_stack, &stack) == 0);
	MUST(pthread_join(t, &block) == 0);
	MUST(stack == (int)n);
	MUST(far__space_window(block) == (int)n);
	return 0;
}

/* The C library keeps stacks of threads, the test runner's too, until one is very large. */
static int forget_stacks(void)
{
	pthread_attr_t large;
	pthread_t t;
	int stack;

	pthread_attr_init(&large);
	pthread_attr_setstacksize(&large, 64 << 20);
	MUST(pthread_create(&t, &large, look_at_stack, &stack) == 0);
	MUST(pthread_join(t, NULL) == 0);
	return 0;
}

/* As the zygote does it: seal, and fork slaves that open their windows. */
static int seal_and_open(void)
{
	static char *inherited[100];
	static const unsigned numbers[] = { 1, 2, 999, FAR_SLAVES_MAX - 1 };

	setenv("FARCALL_HEAP", "1G", 1);
	MUST(far__space_map() == 0);
	MUST(far__space.slaves == FAR_SLAVES_MAX);
	MUST(forget_stacks() == 0);
	for (unsigned i = 0; i < 100; i++)
		inherited[i] = strdup("inherited");
	for (unsigned i = 0; i < 100; i += 2)
		free(inherited[i]);	/* gaps to be used up */
	far__space_seal();
	for (unsigned i = 0; i < sizeof numbers / sizeof *numbers; i++) {
		int status;
		pid_t child = mortal_fork();

		if (child == 0) {
			if (far__space_open(numbers[i]))
				_exit(2);
			_exit(strcmp(inherited[1], "inherited") ? 3 : thread_in_window(numbers[i]) || in_window(numbers[i]));
		}
		MUST(waitpid(child, &status, 0) == child);
		MUST(status == 0);
	}
	return 0;
}

Test(space, what_a_slave_allocates_lies_in_its_window)
{
	cr_assert_eq(in_child(seal_and_open), 0);
}
#endif
