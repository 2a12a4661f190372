/*
 * The far heap: sizes, refusals, exhaustion, many threads and processes, and deaths.
 *
 * Its tables are looked at and set by hand here, so heap.c is part of this file.
 */
#include "heap.c"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "farcall.h"
#include "park.h"

TestSuite(heap, .timeout = 120);

/* ------------------------------------------------------------------ helpers */

static void begin(const char *range)
{
	setenv("FARCALL_HEAP", range, 1);
	cr_assert_eq(far__space_map(), 0);
	cr_assert_eq(far__heap_init(), 0);
}

/* A child that does not survive a test that fails. */
static pid_t mortal_fork(void)
{
	pid_t child = fork();

	if (child == 0)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	return child;
}

static uint64_t random_next(uint64_t *r)
{
	*r ^= *r << 13;
	*r ^= *r >> 7;
	*r ^= *r << 17;
	return *r;
}

static void *get(size_t size)
{
	int err = 0;
	void *block = far__heap_alloc(size, false, &err);

	cr_assert(block, "%zu bytes: %s", size, strerror(-err));
	return block;
}

static void refused(size_t size, int why)
{
	int err = 0;

	cr_assert_null(far__heap_alloc(size, false, &err), "%zu bytes", size);
	cr_assert_eq(err, why, "%zu bytes: %s", size, strerror(-err));
}

static bool is_empty(uint32_t unit, unsigned class)
{
	for (unsigned w = 0; w < words_of(class); w++)
		if (map[unit][w] != absent_bits(class, w))
			return false;
	return true;
}

/*
 * Units that have not come back. Of each class one empty unit, the hint, may stay
 * what it is, so that a program that takes and gives one block has it quickly.
 */
static unsigned units_missing(void)
{
	unsigned n = 0;

	for (uint32_t i = 1; i < head->top; i++) {
		if (KIND(state[i]) == FREE)
			continue;
		if (KIND(state[i]) == SMALL && head->class_hint[VALUE(state[i])] == i &&
		    is_empty(i, VALUE(state[i])))
			continue;
		n++;
	}
	return n;
}

/* Free units that have their pages: what head->kept says. */
static unsigned units_kept(void)
{
	unsigned n = 0;

	for (uint32_t i = 1; i < shm_load(&head->top); i++)
		n += KIND(state[i]) == FREE && state[i] & COMMITTED;
	return n;
}

/* Every run is whole: LARGE n and n - 1 times TAIL, and nobody's claim is left. */
static void assert_all_is_finished(void)
{
	for (uint32_t i = 1, n; i < head->top; i += n) {
		enum unit_kind kind = KIND(state[i]);

		cr_assert(kind == FREE || kind == SMALL || kind == LARGE, "unit %u is in state %d", i, kind);
		n = kind == LARGE ? VALUE(state[i]) : 1;
		for (uint32_t t = 1; t < n; t++)
			cr_assert_eq(KIND(state[i + t]), TAIL, "unit %u of the run at %u", i + t, i);
	}
}

/* Free all that is a block, whoever took it. */
static void free_every_block(void)
{
	for (uint32_t i = 1, n; i < head->top; i += n) {
		unsigned class = VALUE(state[i]);

		n = 1;
		if (KIND(state[i]) == LARGE) {
			n = VALUE(state[i]);
			cr_assert_eq(far__heap_free(unit_address(i)), 0);
		} else if (KIND(state[i]) == SMALL) {
			for (unsigned b = 0; b < blocks_of(class) && KIND(state[i]) == SMALL; b++)
				if (map[i][b / 64] >> b % 64 & 1)
					cr_assert_eq(far__heap_free(unit_address(i) + b * class_size[class]), 0);
		}
	}
}

/* -------------------------------------------------------------------- sizes */

static const size_t sizes[] = {
	0, 1, 2, 8, 63, 64, 65, 100, 127, 128, 129, 191, 192, 193, 320, 321, 384, 385, 511, 512, 513, 767,
	768, 769, 1024, 1025, 1536, 1537, 2048, 3071, 3073, 4095, 4096, 4097, 5440, 5441, 8191, 8193, 10880,
	10881, 16384, 21824, 21825, 32767, 32768, 32769, 65535, 65536, 65537, 131072, 131073, 999999,
	1 << 20, (1 << 20) + 1, 7654321,
};
enum { SIZES = sizeof sizes / sizeof *sizes };

Test(heap, has_blocks_of_every_size_aligned_to_64)
{
	enum { EACH = 3 };
	unsigned char *block[SIZES][EACH];

	begin("1G");
	for (unsigned e = 0; e < EACH; e++)
		for (unsigned s = 0; s < SIZES; s++) {
			block[s][e] = get(sizes[s]);
			cr_assert_eq((uintptr_t)block[s][e] % 64, 0, "%zu bytes", sizes[s]);
			cr_assert(far__heap_size(block[s][e]) >= sizes[s] && far__heap_size(block[s][e]) > 0);
			memset(block[s][e], (int)(3 * s + e), far__heap_size(block[s][e]));
		}
	for (unsigned s = 0; s < SIZES; s++)
		for (unsigned e = 0; e < EACH; e++) {
			for (size_t i = 0; i < far__heap_size(block[s][e]); i++)
				cr_assert_eq(block[s][e][i], (unsigned char)(3 * s + e), "%zu bytes, at %zu", sizes[s], i);
			cr_assert_eq(far__heap_free(block[s][e]), 0);
		}
	cr_assert_eq(units_missing(), 0);
}

Test(heap, wastes_little)
{
	begin("1G");
	for (size_t size = 1; size <= 200000; size += size / 16 + 1) {
		void *block = get(size);

		cr_assert(far__heap_size(block) < 2 * size + 64, "%zu bytes for %zu", far__heap_size(block), size);
		cr_assert(far__heap_fits(block, size));
		cr_assert_eq(far__heap_free(block), 0);
	}
}

Test(heap, fits_is_neither_too_small_nor_half_empty)
{
	begin("64M");
	char *small = get(64), *block = get(4096), *large = get(1 << 20);

	cr_assert(far__heap_fits(small, 0) && far__heap_fits(small, 64) && !far__heap_fits(small, 65));
	cr_assert(far__heap_fits(block, 4096) && far__heap_fits(block, 2048));
	cr_assert(!far__heap_fits(block, 2047) && !far__heap_fits(block, 4097));
	cr_assert(far__heap_fits(large, 1 << 20) && far__heap_fits(large, 1 << 19));
	cr_assert(!far__heap_fits(large, (1 << 19) - 1) && !far__heap_fits(large, (1 << 20) + 1));
	cr_assert(!far__heap_fits(&large, 1) && !far__heap_fits(small + 1, 1));
}

Test(heap, clears_what_was_used_before)
{
	begin("64M");
	for (unsigned s = 0; s < SIZES; s++) {
		/* So that what is taken next is surely among what was dirty. */
		void *dirty[40];
		int err;

		for (unsigned round = 0; round < 2; round++) {
			unsigned n = sizes[s] > 100000 ? 2 : 40;

			for (unsigned i = 0; i < n; i++) {
				dirty[i] = get(sizes[s]);
				memset(dirty[i], 0xa5, far__heap_size(dirty[i]));
			}
			for (unsigned i = 0; i < n; i++)
				cr_assert_eq(far__heap_free(dirty[i]), 0);
		}
		char *clean = far__heap_alloc(sizes[s], true, &err);

		cr_assert(clean);
		for (size_t i = 0; i < sizes[s]; i++)
			cr_assert_eq(clean[i], 0, "%zu bytes, at %zu", sizes[s], i);
		memset(clean, 0x5a, sizes[s]);
		cr_assert_eq(far__heap_free(clean), 0);
	}
}

Test(heap, realloc_keeps_the_contents)
{
	unsigned char *block = far_realloc(NULL, 10);
	size_t have = 10;

	cr_assert(block);
	memset(block, 1, 10);
	for (unsigned s = 0; s < 2 * SIZES; s++) {
		size_t size = sizes[s * 31 % SIZES];
		unsigned char *new = far_realloc(block, size);

		cr_assert(new);
		for (size_t i = 0; i < (size < have ? size : have); i++)
			cr_assert_eq(new[i], (unsigned char)(s + 1), "from %zu to %zu, at %zu", have, size, i);
		memset(new, (int)(s + 2), size);
		block = new;
		have = size;
	}
	far_free(block);
	cr_assert_eq(units_missing(), 0);
}

Test(heap, a_failed_realloc_leaves_the_block)
{
	char *block = far_alloc(100);

	cr_assert(block);
	strcpy(block, "still here");
	cr_assert_null(far_realloc(block, SIZE_MAX / 2));
	cr_assert_eq(far_error()->code, FAR_ENOMEM);
	cr_assert_str_eq(block, "still here");
	cr_assert_null(far_realloc(block + 64, 200));
	cr_assert_eq(far_error()->code, FAR_EPOINTER);
	cr_assert_eq(far_error()->address, block + 64);
	cr_assert_str_eq(block, "still here");
	far_free(block);
	cr_assert_eq(units_missing(), 0);
}

/* ----------------------------------------------------------------- refusals */

Test(heap, refuses_a_double_free)
{
	begin("64M");
	for (unsigned s = 0; s < SIZES; s++) {
		void *other = get(sizes[s]), *block = get(sizes[s]);

		cr_assert_eq(far__heap_free(block), 0);
		cr_assert_eq(far__heap_free(block), -EINVAL, "%zu bytes", sizes[s]);
		cr_assert_eq(far__heap_size(block), 0);
		cr_assert_eq(far__heap_free(other), 0);
		cr_assert_eq(far__heap_free(other), -EINVAL);
	}
	cr_assert_eq(units_missing(), 0);
}

Test(heap, refuses_pointers_into_blocks)
{
	begin("64M");
	for (unsigned s = 0; s < SIZES; s++) {
		char *block = get(sizes[s]);
		size_t size = far__heap_size(block);

		for (size_t i = 1; i < size; i += i < 130 ? 1 : i < 70000 ? 63 : 65473)
			cr_assert_eq(far__heap_free(block + i), -EINVAL, "%zu in %zu bytes", i, sizes[s]);
		cr_assert_eq(far__heap_free(block + size - 1), -EINVAL);
		cr_assert_eq(far__heap_size(block), size);
		cr_assert_eq(far__heap_free(block), 0);
	}
	/* What a class leaves over at the end of its unit is no block. */
	char *odd = get(5440), *unit = unit_address((uint32_t)((size_t)(odd - unit0) / UNIT));

	cr_assert_eq(far__heap_free(unit + 12 * 5440), -EINVAL);
	cr_assert_eq(far__heap_free(odd), 0);
}

Test(heap, refuses_pointers_from_elsewhere)
{
	int here;
	void *there = malloc(100);

	begin("64M");
	const char *strange[] = {
		NULL, (char *)&here, there, "text", far__space.heap - 1, far__space.heap, (char *)&state[1],
		(char *)map[1], unit0, unit_address(1), unit_address(units - 1), unit_address(units),
		far__space.heap + far__space.heap_size - 1, far__space.heap + far__space.heap_size,
		(char *)UINTPTR_MAX, far__space.control,
	};

	for (unsigned used = 0; used < 2; used++) {
		for (unsigned i = 0; i < sizeof strange / sizeof *strange; i++) {
			if (used && strange[i] == unit_address(1))
				continue;	/* a block now */
			cr_assert_eq(far__heap_free((void *)(uintptr_t)strange[i]), -EINVAL, "%u", i);
			cr_assert_eq(far__heap_size(strange[i]), 0, "%u", i);
		}
		get(1);
	}
	free(there);
}

Test(heap, refuses_more_than_its_range)
{
	begin("32M");
	get(100);
	uint32_t top = head->top;
	size_t all = (size_t)units * UNIT;

	refused(SIZE_MAX, -ENOBUFS);
	refused(SIZE_MAX - UNIT, -ENOBUFS);
	refused(SIZE_MAX / 2 + 1, -ENOBUFS);
	refused(far__space.heap_size, -ENOBUFS);
	refused(all + 1, -ENOBUFS);
	refused(all, -ENOBUFS);		/* one unit is in use, and the first is nobody's */
	cr_assert_eq(head->top, top);
	void *most = get(all - 2 * UNIT);

	refused(1 << 16, -ENOBUFS);
	get(100);
	cr_assert_eq(far__heap_free(most), 0);
}

Test(heap, holds_what_a_wild_store_left_in_its_head_against_what_there_can_be)
{
	begin("32M");
	const uint32_t wild[] = { 0, units + 1, 0x40000000, UINT32_MAX };
	struct heap_head before;
	FILE *null = fopen("/dev/null", "we");
	int err;

	get(100);
	get(1 << 20);
	before = *head;
	for (size_t i = 0; i < sizeof wild / sizeof *wild; i++) {
		head->top = head->hint = wild[i];
		for (unsigned class = 0; class < CLASSES; class++)
			head->class_hint[class] = wild[i];
		far__heap_sweep(5);
		far__heap_status(null);
		for (size_t size = 50; size < 4 << 20; size *= 3)
			far__heap_free(far__heap_alloc(size, false, &err));
	}
	*head = before;
	get(100);
	get(1 << 20);
	fclose(null);
}

Test(heap, refuses_at_once_what_the_machine_does_not_have)
{
	begin("");
	size_t left = memory_left();

	if (left > (size_t)units * UNIT / 2)
		return;	/* either the machine is huge, or the range was cut down */
	uint32_t top = head->top;
	uint64_t started = far__now();

	refused(2 * left, -ENOMEM);
	refused((size_t)units * UNIT - UNIT, -ENOMEM);
	cr_assert_lt(far__now() - started, 1000000000u);
	cr_assert_eq(head->top, top);
	cr_assert_eq(far__heap_free(get(1 << 20)), 0);
	cr_assert_eq(units_missing(), 0);
}

/* --------------------------------------------------------------- exhaustion */

enum { MANY = 300000 };

static void shuffle(void **block, unsigned n, uint64_t *r)
{
	for (unsigned i = n; i > 1; i--) {
		unsigned k = (unsigned)(random_next(r) % i);
		void *swapped = block[i - 1];

		block[i - 1] = block[k];
		block[k] = swapped;
	}
}

enum order { AS_TAKEN, BACKWARDS, SHUFFLED };

/* Take blocks of a size until there are no more, free all of them: how many there were. */
static unsigned fill_and_empty(size_t size, enum order order, uint64_t *r)
{
	static void *block[MANY];
	unsigned n = 0;
	int err = 0;

	while (n < MANY && (block[n] = far__heap_alloc(size, false, &err)))
		n++;
	cr_assert_lt(n, MANY);
	cr_assert_eq(err, -ENOBUFS);
	if (order == SHUFFLED)
		shuffle(block, n, r);
	for (unsigned i = 0; i < n; i++)
		cr_assert_eq(far__heap_free(block[order == BACKWARDS ? n - 1 - i : i]), 0);
	return n;
}

static void exhaust(size_t size, enum order order)
{
	uint64_t r = 42;

	begin("16M");
	unsigned class = class_for(size);
	size_t each = size > 32768 ? (size + UNIT - 1) & -UNIT : UNIT / blocks_of(class);
	unsigned expected = (unsigned)((units - 1) * UNIT / each);

	for (unsigned round = 0; round < 3; round++) {
		cr_assert_geq(fill_and_empty(size, order, &r), expected - round);
		cr_assert_leq(units_missing(), 0, "%u units of %u did not come back", units_missing(), units);
	}
	/* All of it can be something else now, but for the unit that was kept. */
	cr_assert_geq(fill_and_empty(UNIT, order, &r), units - 2);
	cr_assert_eq(units_missing(), 0);
}

Test(heap, recovers_from_exhaustion_by_small_blocks) { exhaust(64, AS_TAKEN); }
Test(heap, recovers_from_exhaustion_by_small_blocks_freed_backwards) { exhaust(64, BACKWARDS); }
Test(heap, recovers_from_exhaustion_by_small_blocks_freed_in_any_order) { exhaust(64, SHUFFLED); }
Test(heap, recovers_from_exhaustion_by_blocks_of_1000) { exhaust(1000, AS_TAKEN); }
Test(heap, recovers_from_exhaustion_by_blocks_of_32768) { exhaust(32768, AS_TAKEN); }
Test(heap, recovers_from_exhaustion_by_blocks_of_32768_freed_in_any_order) { exhaust(32768, SHUFFLED); }
Test(heap, recovers_from_exhaustion_by_units) { exhaust(65536, SHUFFLED); }
Test(heap, recovers_from_exhaustion_by_runs) { exhaust(1 << 20, SHUFFLED); }

Test(heap, joins_what_was_freed_with_what_was_never_used)
{
	begin("16M");
	size_t all = (size_t)(units - 1) * UNIT;

	cr_assert_eq(far__heap_free(get(all / 2)), 0);
	cr_assert_eq(far__heap_free(get(all)), 0);
	cr_assert_eq(units_missing(), 0);
}

Test(heap, is_whole_again_after_blocks_of_every_class)
{
	static void *block[20000];
	uint64_t r = 7;
	unsigned n = 0;
	int err = 0;

	begin("64M");
	while (n < 20000 && (block[n] = far__heap_alloc(random_next(&r) % (n % 40 ? 9000 : 300000), false, &err)))
		n++;
	shuffle(block, n, &r);
	for (unsigned i = 0; i < n; i++)
		cr_assert_eq(far__heap_free(block[i]), 0);
	cr_assert_eq(units_missing(), 0);
}

/* ------------------------------------------------- many threads and processes */

/* Blocks on their way from whoever took them to whoever frees them. */
enum { SLOTS = 64 };
struct exchange {
	uint64_t slot[SLOTS];
};

struct stamp {
	uint64_t size, seed;
};

static size_t step_for(size_t size)
{
	return size > 16384 ? 509 : 1;
}

static void stamp(uint64_t *block, size_t size, uint64_t seed)
{
	struct stamp s = { size, seed };

	for (size_t i = 2; i < size / 8; i += step_for(size))
		block[i] = seed + i;
	block[size / 8 - 1] = seed ^ size;
	memcpy(block, &s, sizeof s);
}

static bool is_stamped(const uint64_t *block)
{
	size_t size = block[0];
	uint64_t seed = block[1];

	if (size > far__heap_size(block) || block[size / 8 - 1] != (seed ^ size))
		return false;
	for (size_t i = 2; i < size / 8 - 1; i += step_for(size))
		if (block[i] != seed + i)
			return false;
	return true;
}

static size_t random_size(uint64_t *r)
{
	uint64_t n = random_next(r);
	unsigned bits = n % 100 < 80 ? 16 : n % 100 < 97 ? 18 : 20;

	n = random_next(r) & ((1ul << (6 + random_next(r) % (bits - 5))) - 1);
	return n < 24 ? 24 : n & -8ul;
}

static uint64_t swap_slot(struct exchange *x, unsigned i, const void *block)
{
	return __atomic_exchange_n(&x->slot[i], (uintptr_t)block, __ATOMIC_ACQ_REL);
}

/* Take, hand over and free blocks at random: NULL, or what was wrong. */
static const char *churn(struct exchange *x, uint64_t seed, unsigned long rounds)
{
	uint64_t r = seed * 0x9e3779b97f4a7c15 + 1;
	int err;

	while (rounds--) {
		unsigned i = (unsigned)(random_next(&r) % SLOTS);
		size_t size = random_size(&r);
		bool zero = random_next(&r) % 4 == 0;
		uint64_t *block = random_next(&r) % 8 ? far__heap_alloc(size, zero, &err) : NULL;

		if (block) {
			if ((uintptr_t)block % 64)
				return "a block is not aligned";
			for (size_t k = 0; zero && k < size / 8; k += step_for(size))
				if (block[k])
					return "a block is not clear";
			stamp(block, size, random_next(&r));
		}
		block = (uint64_t *)swap_slot(x, i, block);
		if (!block)
			continue;
		if (!is_stamped(block))
			return "a block has been overwritten";
		memset(block, 0xff, 24);
		if (far__heap_free(block))
			return "a block cannot be freed";
	}
	return NULL;
}

static void empty(struct exchange *x)
{
	for (unsigned i = 0; i < SLOTS; i++) {
		uint64_t *block = (uint64_t *)swap_slot(x, i, NULL);

		if (block) {
			cr_assert(is_stamped(block));
			cr_assert_eq(far__heap_free(block), 0);
		}
	}
}

static struct exchange *make_exchange(void)
{
	struct exchange *x = mmap(NULL, sizeof *x, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	cr_assert_neq(x, MAP_FAILED);
	return x;
}

enum { WORKERS = 4, ROUNDS = 30000 };

struct worker {
	struct exchange *x;
	uint64_t seed;
	pthread_t thread;
};

static void *churning_thread(void *arg)
{
	struct worker *w = arg;

	return (void *)(uintptr_t)churn(w->x, w->seed, ROUNDS);
}

static pid_t churning_process(struct exchange *x, unsigned number, uint64_t seed, unsigned long rounds)
{
	pid_t child = mortal_fork();

	if (child)
		return child;
	far__heap_set_owner(number);
	const char *wrong = churn(x, seed, rounds);

	if (wrong)
		fprintf(stderr, "process %u: %s\n", number, wrong);
	_exit(wrong != NULL);
}

Test(heap, serves_threads_at_once)
{
	struct exchange *x = make_exchange();
	struct worker w[WORKERS];

	begin("256M");
	for (unsigned i = 0; i < WORKERS; i++) {
		w[i] = (struct worker){ .x = x, .seed = i + 1 };
		cr_assert_eq(pthread_create(&w[i].thread, NULL, churning_thread, &w[i]), 0);
	}
	for (unsigned i = 0; i < WORKERS; i++) {
		void *wrong;

		pthread_join(w[i].thread, &wrong);
		cr_assert_null(wrong, "%s", (char *)wrong);
	}
	empty(x);
	assert_all_is_finished();
	cr_assert_eq(units_missing(), 0, "%u units did not come back", units_missing());
}

Test(heap, serves_processes_at_once)
{
	struct exchange *x = make_exchange();

	begin("256M");
	for (unsigned i = 0; i < WORKERS; i++)
		cr_assert_gt(churning_process(x, i + 1, i + 1, ROUNDS), 0);
	for (unsigned i = 0; i < WORKERS; i++) {
		int status;

		cr_assert_gt(wait(&status), 0);
		cr_assert_eq(status, 0);
	}
	empty(x);
	assert_all_is_finished();
	cr_assert_eq(units_missing(), 0, "%u units did not come back", units_missing());
}

/* A heap so small that everybody is refused all the time. */
Test(heap, serves_processes_that_exhaust_it)
{
	struct exchange *x = make_exchange();

	begin("16M");
	static void *ballast[MANY];
	unsigned n = 0;
	int err;

	while (n < MANY && (ballast[n] = far__heap_alloc(UNIT, false, &err)))
		n++;
	for (unsigned i = 0; i < 30; i++)
		cr_assert_eq(far__heap_free(ballast[--n]), 0);
	for (unsigned i = 0; i < WORKERS; i++)
		cr_assert_gt(churning_process(x, i + 1, i + 1, ROUNDS), 0);
	for (unsigned i = 0; i < WORKERS; i++) {
		int status;

		cr_assert_gt(wait(&status), 0);
		cr_assert_eq(status, 0);
	}
	empty(x);
	while (n)
		cr_assert_eq(far__heap_free(ballast[--n]), 0);
	assert_all_is_finished();
	cr_assert_eq(units_missing(), 0, "%u units did not come back", units_missing());
}

Test(heap, a_block_may_be_freed_by_another_process)
{
	int status;

	begin("256M");
	struct exchange *x = make_exchange();
	char *small = get(500), *large = get(500000);

	strcpy(small, "small");
	strcpy(large, "large");
	pid_t child = mortal_fork();

	cr_assert_geq(child, 0);
	if (child == 0) {
		bool good = !strcmp(small, "small") && !strcmp(large, "large");

		good &= !far__heap_free(small) && !far__heap_free(large) && far__heap_free(small) == -EINVAL;
		for (unsigned i = 0; i < SLOTS; i++) {
			size_t size = i % 2 ? 100 * i + 24 : 70000 * i + 24;
			uint64_t *block = far__heap_alloc(size, false, &status);

			stamp(block, size & -8ul, i);
			swap_slot(x, i, block);
		}
		_exit(!good);
	}
	cr_assert_eq(waitpid(child, &status, 0), child);
	cr_assert_eq(status, 0);
	empty(x);
	cr_assert_eq(units_missing(), 0);
}

/* ------------------------------------------------------------------- deaths */

static void assert_nothing_is_claimed_by(unsigned number)
{
	for (uint32_t i = 1; i < head->top; i++)
		cr_assert(!((KIND(state[i]) == CLAIMED || KIND(state[i]) == FREEING) && OWNER(state[i]) == number),
			  "unit %u is still claimed by %u", i, number);
}

Test(heap, loses_nothing_to_processes_killed_at_any_instant)
{
	enum { KILLS = 300, ALIVE = 3 };
	struct exchange *x = make_exchange();
	pid_t child[ALIVE];
	uint64_t r = 20;

	begin("256M");
	for (unsigned i = 0; i < ALIVE; i++)
		child[i] = churning_process(x, i + 1, i + 1, -1ul);
	for (unsigned k = 0; k < KILLS; k++) {
		unsigned i = (unsigned)(random_next(&r) % ALIVE);
		struct timespec pause = { .tv_nsec = (long)(random_next(&r) % 3000000) };
		int status;

		nanosleep(&pause, NULL);
		cr_assert_eq(kill(child[i], SIGKILL), 0);
		cr_assert_eq(waitpid(child[i], &status, 0), child[i]);
		cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "status %x", (unsigned)status);
		far__heap_sweep(i + 1);
		assert_nothing_is_claimed_by(i + 1);
		child[i] = churning_process(x, i + 1, 1000 + k, -1ul);
	}
	for (unsigned i = 0; i < ALIVE; i++) {
		kill(child[i], SIGKILL);
		waitpid(child[i], NULL, 0);
		far__heap_sweep(i + 1);
	}
	empty(x);
	assert_all_is_finished();
	free_every_block();
	cr_assert_eq(units_missing(), 0, "%u units did not come back", units_missing());
	cr_assert_null(churn(x, 99, 2000));
}

#ifdef FARCALL_INJECT
/* Die at the n-th access to shared memory. */
static unsigned long accesses_left;

static void die_at_access(const char *point)
{
	(void)point;
	if (!accesses_left--)
		kill(getpid(), SIGKILL);
}

Test(heap, loses_nothing_to_a_death_at_each_access)
{
	struct exchange *x = make_exchange();
	static const size_t size[] = { 64, 20000, 32768, 65536, 300000 };
	bool finished;
	unsigned long n = 0;

	begin("64M");
	do {
		pid_t child = mortal_fork();
		int status;

		if (child == 0) {
			void *block[2 * 5];

			far__heap_set_owner(9);
			accesses_left = n;
			far__inject = die_at_access;
			for (unsigned i = 0; i < 10; i++)
				block[i] = far__heap_alloc(size[i % 5], i % 2, &status);
			for (unsigned i = 0; i < 10; i++)
				far__heap_free(block[i]);
			while (give_back(0))
				;
			_exit(0);
		}
		cr_assert_eq(waitpid(child, &status, 0), child);
		finished = WIFEXITED(status);
		far__heap_sweep(9);
		assert_all_is_finished();
		cr_assert_eq(shm_load(&head->kept), units_kept(), "after access %lu", n);
		free_every_block();
		cr_assert_eq(units_missing(), 0, "%u units did not come back after access %lu", units_missing(), n);
		n++;
	} while (!finished);
	cr_assert_gt(n, 50);
	cr_assert_null(churn(x, 99, 2000));
}
#endif

static void dirty_unit(uint32_t unit)
{
	memset(unit_address(unit), 0xee, UNIT);
}

/* Units 1 to 7, as one run that was just freed: what follows sets their words. */
static void begin_by_hand(void)
{
	begin("64M");
	cr_assert_eq(get(7 * UNIT), unit_address(1));
	for (uint32_t i = 1; i <= 7; i++)
		dirty_unit(i);
}

static void set_words(const uint64_t *word)
{
	for (uint32_t i = 0; i < 7; i++)
		shm_store64(&state[1 + i], word[i]);
}

static void assert_words(const uint64_t *word)
{
	for (uint32_t i = 0; i < 7; i++)
		cr_assert_eq(state[1 + i], word[i], "unit %u is %lx", 1 + i, state[1 + i]);
}

#define W_FREE		STATE(FREE, 0, 0)
#define W_TAIL		STATE(TAIL, 0, 0)
#define W_CLAIMED(who)	STATE(CLAIMED, who, 0)
#define W_FREEING(who, n) STATE(FREEING, who, n)
#define W_LARGE(n)	STATE(LARGE, 0, n)

Test(heap, the_sweep_frees_what_the_dead_had_claimed_and_nothing_else)
{
	begin_by_hand();
	set_words((uint64_t[]){ W_CLAIMED(5), W_CLAIMED(5) | COMMITTED, W_CLAIMED(6), W_LARGE(2), W_TAIL,
				W_CLAIMED(5), W_CLAIMED(0) });
	far__heap_sweep(5);
	assert_words((uint64_t[]){ W_FREE, W_FREE, W_CLAIMED(6), W_LARGE(2), W_TAIL, W_FREE, W_CLAIMED(0) });
}

Test(heap, the_sweep_frees_a_run_that_was_not_finished)
{
	begin_by_hand();
	/* Finishing sets the tails from the right. */
	set_words((uint64_t[]){ W_CLAIMED(5), W_CLAIMED(5), W_TAIL, W_TAIL, W_LARGE(2), W_TAIL, W_FREE });
	far__heap_sweep(5);
	assert_words((uint64_t[]){ W_FREE, W_FREE, W_FREE, W_FREE, W_LARGE(2), W_TAIL, W_FREE });
}

Test(heap, the_sweep_frees_a_run_whose_freeing_had_begun)
{
	begin_by_hand();
	set_words((uint64_t[]){ W_FREEING(5, 4), W_TAIL, W_TAIL, W_TAIL, W_LARGE(2), W_TAIL, W_FREE });
	far__heap_sweep(5);
	assert_words((uint64_t[]){ W_FREE, W_FREE, W_FREE, W_FREE, W_LARGE(2), W_TAIL, W_FREE });
}

Test(heap, the_sweep_leaves_freed_units_that_have_a_new_owner)
{
	begin_by_hand();
	/* Of a run of 6 the last three were freed, and two of them are another block by now. */
	set_words((uint64_t[]){ W_FREEING(5, 6), W_TAIL, W_TAIL, W_FREE, W_LARGE(2), W_TAIL, W_CLAIMED(6) });
	far__heap_sweep(5);
	assert_words((uint64_t[]){ W_FREE, W_FREE, W_FREE, W_FREE, W_LARGE(2), W_TAIL, W_CLAIMED(6) });
}

Test(heap, the_sweep_leaves_what_others_free)
{
	uint64_t words[] = { W_FREEING(6, 2), W_TAIL, W_LARGE(1), W_FREEING(0, 3), W_TAIL, W_TAIL, W_FREE };

	begin_by_hand();
	set_words(words);
	far__heap_sweep(5);
	assert_words(words);
}

Test(heap, what_was_swept_is_clean)
{
	int err;

	begin_by_hand();
	set_words((uint64_t[]){ W_CLAIMED(5), W_CLAIMED(5), W_TAIL, W_TAIL, W_TAIL, W_TAIL, W_TAIL });
	far__heap_sweep(5);
	char *block = far__heap_alloc(7 * UNIT, true, &err);

	cr_assert_eq(block, unit_address(1));
	for (size_t i = 0; i < 7 * UNIT; i++)
		cr_assert_eq(block[i], 0, "at %zu", i);
}

/* ----------------------------------------------------------- no room at all */

static long (*real_sys)(long, long, long, long, long, long, long);
static unsigned commits_left;	/* this many succeed, and then one, or all, fail */
static bool fail_once;

static long full_sys(long number, long a, long b, long c, long d, long e, long f)
{
	if (number == SYS_fallocate && !(b & FALLOC_FL_PUNCH_HOLE)) {
		if (!commits_left) {
			if (fail_once)
				commits_left = -1u;
			return -ENOSPC;
		}
		commits_left--;
	}
	return real_sys(number, a, b, c, d, e, f);
}

static void fill_up(unsigned commits, bool once)
{
	commits_left = commits;
	fail_once = once;
	far__sys = full_sys;
}

/* Each needs new pages for the tables too, which come for 512 units at a time. */
static void no_room(bool once)
{
	static const size_t need[] = { 100, 30000, 100000, 520 * UNIT, 520 * UNIT, 64 };

	real_sys = far__sys;
	setenv("FARCALL_HEAP", "1G", 1);
	cr_assert_eq(far__space_map(), 0);
	fill_up(0, once);
	cr_assert_eq(far__heap_init(), -ENOSPC);
	fill_up(-1u, once);
	cr_assert_eq(far__heap_init(), 0);
	for (unsigned i = 0; i < sizeof need / sizeof *need; i++) {
		for (unsigned n = 0;; n++) {
			int err = 0;

			cr_assert_lt(n, 10);
			fill_up(n, once);
			void *block = far__heap_alloc(need[i], true, &err);

			far__sys = real_sys;
			assert_all_is_finished();
			if (!block) {
				cr_assert_eq(err, -ENOSPC);
				for (uint32_t u = 1; u < head->top; u++)
					cr_assert(KIND(state[u]) != SMALL || i, "unit %u stays claimed", u);
				continue;
			}
			cr_assert(n || i == 5, "the tables and pages of %zu bytes are there already", need[i]);
			memset(block, 0xaa, need[i]);
			break;
		}
	}
	free_every_block();
	cr_assert_eq(units_missing(), 0);
	struct exchange *x = make_exchange();

	cr_assert_null(churn(x, 1, 2000));
}

Test(heap, a_commit_that_fails_once_loses_nothing) { no_room(true); }
Test(heap, commits_that_fail_from_then_on_lose_nothing) { no_room(false); }

Test(heap, uses_kept_pages_when_there_are_no_others)
{
	int err = 0;

	begin("64M");
	void *block = get(10 * UNIT);

	cr_assert_eq(far__heap_free(block), 0);
	real_sys = far__sys;
	fill_up(0, false);
	cr_assert_eq(far__heap_alloc(10 * UNIT, false, &err), block);
	cr_assert_null(far__heap_alloc(UNIT, false, &err));
	cr_assert_eq(err, -ENOSPC);
}

Test(heap, gives_pages_back_beyond_those_it_keeps)
{
	begin("1G");
	char *block = get(2 * KEEP_UNITS * UNIT);

	memset(block, 1, 2 * KEEP_UNITS * UNIT);
	cr_assert_eq(far__heap_free(block), 0);
	cr_assert_eq(head->kept, KEEP_UNITS);
	cr_assert_eq(units_kept(), KEEP_UNITS);
	for (uint32_t i = 0; i < KEEP_UNITS; i++)
		cr_assert_eq(block[(KEEP_UNITS + i) * UNIT], 0, "unit %u", i);
}

static unsigned asked_to_trim;
static bool trims = true;

static bool trim_soon(void)
{
	asked_to_trim++;
	return trims;
}

Test(heap, keeps_them_until_it_is_trimmed_if_somebody_does)
{
	begin("1G");
	far__heap_trim_soon = trim_soon;
	char *small = get(KEEP_UNITS * UNIT);

	cr_assert_eq(far__heap_free(small), 0);
	cr_assert_eq(asked_to_trim, 0);
	char *block = get(2 * KEEP_UNITS * UNIT);

	block[UNIT] = 1;
	cr_assert_eq(far__heap_free(block), 0);
	cr_assert_eq(asked_to_trim, 1);
	cr_assert_eq(units_kept(), 2 * KEEP_UNITS);
	cr_assert_eq(get(2 * KEEP_UNITS * UNIT), block);
	cr_assert_eq(block[UNIT], 1, "it has its pages again");
	cr_assert_eq(far__heap_free(block), 0);
	cr_assert(far__heap_trim());
	cr_assert_eq(units_kept(), 2 * KEEP_UNITS - STEP_UNITS);
	while (far__heap_trim())
		;
	cr_assert_eq(units_kept(), KEEP_UNITS);
	cr_assert_eq(head->kept, KEEP_UNITS);
	trims = false;
	cr_assert_eq(far__heap_free(get(2 * KEEP_UNITS * UNIT)), 0);
	cr_assert_eq(units_kept(), KEEP_UNITS, "nobody will trim it, so it was");
}

static long no_memory_sys(long number, long a, long b, long c, long d, long e, long f)
{
	if (number == SYS_fstatfs) {
		*(struct statfs *)b = (struct statfs){ .f_bsize = 4096, .f_blocks = 1 << 20, .f_bavail = KEEP_UNITS };
		return 0;
	}
	return real_sys(number, a, b, c, d, e, f);
}

Test(heap, keeps_no_more_where_room_is_short)
{
	begin("1G");
	far__heap_trim_soon = trim_soon;
	void *block = get(2 * KEEP_UNITS * UNIT);

	real_sys = far__sys;
	far__sys = no_memory_sys;
	cr_assert_eq(far__heap_free(block), 0);
	far__sys = real_sys;
	cr_assert_eq(asked_to_trim, 0);
	cr_assert_eq(units_kept(), KEEP_UNITS);
}

static unsigned refusals = 3;

static long briefly_full_sys(long number, long a, long b, long c, long d, long e, long f)
{
	if (number == SYS_fallocate && !(b & FALLOC_FL_PUNCH_HOLE) && refusals) {
		refusals--;
		return -ENOSPC;
	}
	return real_sys(number, a, b, c, d, e, f);
}

Test(heap, gives_back_what_it_keeps_before_it_fails)
{
	begin("1G");
	far__heap_trim_soon = trim_soon;
	void *low = get(UNIT), *block = get(2 * KEEP_UNITS * UNIT), *high = get(UNIT);

	cr_assert_eq(far__heap_free(block), 0);
	real_sys = far__sys;
	far__sys = briefly_full_sys;
	cr_assert_gt((char *)get(3 * KEEP_UNITS * UNIT), (char *)high);
	far__sys = real_sys;
	cr_assert_eq(refusals, 0);
	cr_assert_eq(units_kept(), 2 * KEEP_UNITS - 3 * STEP_UNITS);
	cr_assert_eq(far__heap_free(low), 0);
}

static long keeping_sys(long number, long a, long b, long c, long d, long e, long f)
{
	if (number == SYS_fallocate && b & FALLOC_FL_PUNCH_HOLE)
		return -EPERM;
	return real_sys(number, a, b, c, d, e, f);
}

Test(heap, gives_zeros_also_if_pages_could_not_be_given_back)
{
	enum { SIZE = 1 << 20 };
	int err = 0;

	begin("1G");
	real_sys = far__sys;
	void *block = get(2 * KEEP_UNITS * UNIT);

	memset(block, 0xee, SIZE);
	far__sys = keeping_sys;
	cr_assert_eq(far__heap_free(block), 0);
	char *again = far__heap_alloc(SIZE, true, &err);

	cr_assert_eq(again, block);
	for (size_t i = 0; i < SIZE; i++)
		cr_assert_eq(again[i], 0, "at %zu", i);
	far__sys = real_sys;
}
