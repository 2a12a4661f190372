/*
 * far_callback(): functions of this process that a slave calls. This program is compiled
 * with debug information, but for unknown.c; its slaves are threads and processes.
 */
#include <limits.h>
#include <malloc.h>
#include <math.h>
#include <pthread.h>
#include <unistd.h>

#include "core/check.h"
#include "heap_use.h"
#include "unknown.h"

/* --------------------------------------------------------- what slaves run */

static int sum_of(int (*f)(int), int n)
{
	int sum = 0;

	for (int i = 0; i < n; i++)
		sum += f(i);
	return sum;
}

static int (*kept)(int);

static int keep(int (*f)(int))
{
	kept = f;
	return f(1);
}

static int call_kept(int n)
{
	return kept(n);
}

static int count_down(int (*f)(int), int n)
{
	return n ? f(n) + 1 : 0;
}

/* ------------------------------------------------------------- what runs here */

static pthread_t here;
static int calls;

static int twice(int n)
{
	CHECK(pthread_equal(pthread_self(), here));
	calls++;
	return 2 * n;
}

TEST_BOTH(a_callback_runs_in_the_thread_that_waits)
{
	struct far_slave *s = START();

	here = pthread_self();
	for (int i = 1; i <= 100; i++) {
		CHECK_EQ(far_invoke(s, sum_of, far_callback(twice), i), i * (i - 1));
		CHECK_OK();
	}
	CHECK_EQ(calls, 5050);
	CHECK_EQ(far_invoke(s, sum_of, twice, 0), 0);	/* a function that runs in the slave, which may pass it on */
	CHECK_EQ(far_slave_close(s), 0);
}

TEST_BOTH(the_first_callback_may_be_to_a_slave_that_sleeps_and_from_a_master_that_does)
{
	struct far_slave *s = START();

	here = pthread_self();
	for (int i = 0; i < 5; i++) {
		usleep(20000);
		CHECK_EQ(far_invoke(s, sum_of, far_callback(twice), 10), 90);
	}
	CHECK_EQ(far_slave_close(s), 0);
}

static int compared;

static int compare(const int *a, const int *b)
{
	compared++;
	return (*a > *b) - (*a < *b);
}

TEST_BOTH(the_c_library_sorts_by_a_callback)
{
	struct far_slave *s = START();
	int *v = far_alloc(1000 * sizeof *v);

	for (int i = 0; i < 1000; i++)
		v[i] = i * 7919 % 1000;
	far_invoke(s, qsort, v, 1000, sizeof *v, (int (*)(const void *, const void *))far_callback(compare));
	CHECK_OK();
	for (int i = 0; i < 1000; i++)
		CHECK_EQ(v[i], i);
	CHECK(compared > 5000);
	compared = 0;
	for (int i = 0; i < 1000; i++)
		v[i] = 1000 - i;
	far_call(s, void, "void qsort(void *, size_t, size_t, int (*)(const void *, const void *))", v, 1000, sizeof *v,
		 far_callback(compare));
	CHECK_OK();
	CHECK_EQ(v[0], 1);
	CHECK(compared > 1000);
	far_free(v);
	CHECK_EQ(far_slave_close(s), 0);
}

/* ------------------------------------------------------------------- nesting */

static struct far_slave *nested;

static int count_here(int n)
{
	return far_invoke(nested, count_down, far_callback(count_here), n - 1);
}

TEST_BOTH(calls_go_back_and_forth_to_any_depth)
{
	nested = START();
	for (int n = 0; n <= 200; n += 40) {
		CHECK_EQ(far_invoke(nested, count_down, far_callback(count_here), n), n);
		CHECK_OK();
	}
	CHECK_EQ(far_slave_close(nested), 0);
}

static int count_and_raise(int n)
{
	int result = far_invoke(nested, count_down, far_callback(count_and_raise), n - 1);

	if (far_error())
		far_raise(far_error()->code, "%s", far_error()->message);
	return result;
}

/* Each level has a slot: the outermost one of its own, the others the queue's. */
TEST_BOTH(what_is_nested_deeper_than_the_queue_is_an_error)
{
	nested = START(.queue = 4);
	for (int i = 0; i < 3; i++) {
		CHECK_EQ(far_invoke(nested, count_down, far_callback(count_and_raise), 4), 4);
		CHECK_OK();
		CHECK_EQ(far_invoke(nested, count_down, far_callback(count_and_raise), 50), 0);
		CHECK_FAILED(FAR_EFULL);
		CHECK_HAS(far_error()->message, "give it more than .queue = 4");
	}
	CHECK_EQ(far_slave_close(nested), 0);
}

static int add(int a, int b)
{
	return a + b;
}

static int schedule_here(int n)
{
	far_task(int) t[8];
	int sum = 0;

	for (int i = 0; i < 8; i++)
		t[i] = far_schedule(nested, add, i, n);
	for (int i = 0; i < 8; i++)
		sum += far_wait(t[i]);
	return sum + far_invoke(nested, add, n, 1);
}

TEST_BOTH(a_callback_may_schedule_calls_in_its_slave)
{
	nested = START();
	CHECK_EQ(far_invoke(nested, sum_of, far_callback(schedule_here), 20), 8 * 190 + 20 * 28 + 190 + 20);
	CHECK_OK();
	CHECK_EQ(far_invoke(nested, add, 1, 2), 3);
	CHECK_EQ(far_slave_close(nested), 0);
}

static struct far_slave *other;

static int by_another(int n)
{
	return far_invoke(other, add, n, far_invoke(other, sum_of, far_callback(twice), 3));
}

TEST_BOTH(a_callback_may_call_another_slave_with_callbacks)
{
	nested = START();
	other = START();
	here = pthread_self();
	CHECK_EQ(far_invoke(nested, sum_of, far_callback(by_another), 4), 6 + 4 * 6);
	CHECK_OK();
	CHECK_EQ(far_slave_close(nested), 0);
	CHECK_EQ(far_slave_close(other), 0);
}

/* -------------------------------------------------------------------- errors */

static int raise_at_3(int n)
{
	if (n == 3)
		far_raise(42, "three is too many");
	return n;
}

TEST_BOTH(what_a_callback_raises_ends_the_call)
{
	struct far_slave *s = START();

	CHECK_EQ(far_invoke(s, sum_of, far_callback(raise_at_3), 3), 3);
	CHECK_OK();
	CHECK_EQ(far_invoke(s, sum_of, far_callback(raise_at_3), 9), 0);
	CHECK_FAILED(42);
	CHECK_HAS(far_error()->message, "three is too many");
	CHECK_EQ(far_invoke(s, sum_of, far_callback(raise_at_3), 3), 3);
	CHECK_EQ(far_slave_close(s), 0);
}

TEST_BOTH(a_callback_after_its_call_has_ended_is_stale)
{
	struct far_slave *s = START();

	here = pthread_self();
	CHECK_EQ(far_invoke(s, keep, far_callback(twice)), 2);
	CHECK_EQ(far_invoke(s, call_kept, 5), 0);
	CHECK_FAILED(FAR_ESTALE);
	CHECK_HAS(far_error()->message, "twice: the call that this is a callback of has ended");
	CHECK_EQ(calls, 1);
	CHECK_EQ(far_invoke(s, sum_of, far_callback(twice), 2), 2);	/* another place in the program: another callback */
	CHECK_EQ(far_invoke(s, call_kept, 5), 0);
	CHECK_FAILED(FAR_ESTALE);
	CHECK_EQ(far_slave_close(s), 0);
}

static int variadic(const char *format, ...)
{
	return *format;
}

static int with_variadic(int (*f)(const char *, ...))
{
	return f("%d", 1);
}

TEST_BOTH(what_cannot_be_called_back_is_refused_before_the_call_is_made)
{
	struct far_slave *s = START(), *closed = START();
	far_task(int) t = far_schedule(s, sum_of, far_callback(twice), 3);

	CHECK(!t);
	CHECK_FAILED(FAR_EINVAL);
	CHECK_HAS(far_error()->message, "use far_invoke()");
	CHECK_EQ(far_invoke(s, with_variadic, far_callback(variadic)), 0);
	CHECK_FAILED(FAR_ETYPE);
	CHECK_HAS(far_error()->message, "any number of arguments");
	CHECK_EQ(far_invoke(s, sum_of, far_callback(twice, int (nonsense)), 1), 0);
	CHECK_FAILED(FAR_ETYPE);
	CHECK_HAS(far_error()->message, "nonsense");
	far_slave_close(closed);
	CHECK_EQ(far_invoke(closed, sum_of, far_callback(twice), 1), 0);
	CHECK_FAILED(FAR_ECLOSED);
	CHECK_EQ(far_invoke(NULL, sum_of, far_callback(twice), 1), 0);
	CHECK_FAILED(FAR_ECLOSED);
	here = pthread_self();
	CHECK_EQ(far_invoke(s, sum_of, far_callback(twice, int (int)), 3), 6);
	CHECK_OK();
	CHECK_EQ(far_slave_close(s), 0);
}

static bool is_null(int (*f)(int))
{
	return !f;
}

TEST_BOTH(null_gives_null)
{
	struct far_slave *s = START();
	int (*none)(int) = NULL;

	CHECK(far_invoke(s, is_null, far_callback(none)));
	CHECK_OK();
	CHECK_EQ(far_slave_close(s), 0);
}

TEST_BOTH(a_type_may_be_told_where_there_is_no_debug_information)
{
	struct far_slave *s = START();

	CHECK_EQ(call_unknown(s, false), 0);
	CHECK_FAILED(FAR_ETYPE);
	CHECK_EQ(call_unknown(s, true), 12);
	CHECK_OK();
	CHECK_EQ(far_slave_close(s), 0);
}

/* ---------------------------------------------------- arguments and results */

struct small { char c; float f; };
struct pair { double d; long n; };
struct big { long n[10]; };

static double mixed(int a, double b, struct small c, struct pair d, struct big e, long double f, char g, const char *h)
{
	double sum = a + b + c.c + (double)c.f + d.d + (double)d.n + (double)f + g + (double)strlen(h);

	for (int i = 0; i < 10; i++)
		sum += (double)e.n[i];
	return sum;
}

static double with_mixed(double (*f)(int, double, struct small, struct pair, struct big, long double, char, const char *))
{
	char text[] = "of the slave's own";

	return f(1, 0.5, (struct small){ 2, 0.25f }, (struct pair){ 4.5, -7 }, (struct big){ { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 } },
		 0.125L, 'x', text);
}

static struct big give_big(struct big b)
{
	b.n[9] = b.n[0] + 1;
	return b;
}

static struct pair give_pair(struct small s)
{
	return (struct pair){ (double)s.f, s.c };
}

static long double give_long_double(float f)
{
	return (long double)f / 3;
}

static bool with_results(struct big (*f)(struct big), struct pair (*g)(struct small), long double (*h)(float))
{
	struct big b = f((struct big){ { 41 } });
	struct pair p = g((struct small){ 'q', 1.5f });

	return b.n[9] == 42 && b.n[0] == 41 && p.d == 1.5 && p.n == 'q' && h(2) == 2.0L / 3;
}

TEST_BOTH(arguments_and_results_of_all_kinds_arrive)
{
	struct far_slave *s = START();

	CHECK(far_invoke(s, with_mixed, far_callback(mixed)) == 1 + 0.5 + 2 + 0.25 + 4.5 - 7 + 0.125 + 'x' + 18 + 55);
	CHECK_OK();
	CHECK(far_invoke(s, with_results, far_callback(give_big), far_callback(give_pair), far_callback(give_long_double)));
	CHECK_OK();
	CHECK_EQ(far_slave_close(s), 0);
}

struct bar {
	long last;
	int count;
};

static int progress(void *bar, long done)
{
	struct bar *b = bar;

	b->last = done;
	b->count++;
	return b->count < 5;
}

static int work(int (*tell)(void *, long), void *arg, long n)
{
	for (long i = 1; i <= n; i++)
		if (!tell(arg, i))
			return (int)i;
	return 0;
}

TEST_BOTH(a_pointer_from_here_comes_back)
{
	struct far_slave *s = START();
	struct bar bar = { 0 };

	CHECK_EQ(far_invoke(s, work, far_callback(progress), far_remote(&bar), 100), 5);
	CHECK_OK();
	CHECK_EQ(bar.last, 5);
	CHECK_EQ(bar.count, 5);
	CHECK_EQ(far_slave_close(s), 0);
}

static int first_of(int *p)
{
	return *p;
}

static int pass_its_own(int (*f)(int *))
{
	static int value = 7;
	int on_stack = 8;

	return value % 2 ? f(&on_stack) : f(&value);
}

TEST(a_pointer_of_the_slave_process_is_refused)
{
	struct far_slave *s = far_slave_process();

	CHECK_EQ(far_invoke(s, pass_its_own, far_callback(first_of)), 0);
	CHECK_FAILED(FAR_EPOINTER);
	CHECK_HAS(far_error()->message, "argument 1");
	CHECK_HAS(far_error()->message, "far_alloc() the memory");
	CHECK_EQ(far_slave_close(s), 0);
}

/* -------------------------------------------------------------------- deaths */

static int kill_it(int n)
{
	kill(far_slave_pid(nested), SIGKILL);
	usleep(10000);
	calls++;
	return n;
}

TEST(a_slave_that_dies_while_it_waits_for_a_callback_is_an_error)
{
	for (int i = 0; i < 20; i++) {
		nested = far_slave_process();
		CHECK_EQ(far_invoke(nested, sum_of, far_callback(kill_it), 3), 0);
		CHECK_FAILED(FAR_EKILLED);
		CHECK_EQ(calls, i + 1);
		CHECK_EQ(far_slave_close(nested), -EOWNERDEAD);
	}
}

TEST(the_next_incarnation_calls_back_too)
{
	nested = far_slave_process(.respawn = 3);
	here = pthread_self();
	for (int i = 0; i < 5; i++) {
		CHECK_EQ(far_invoke(nested, sum_of, far_callback(twice), 4), 12);
		CHECK_OK();
		CHECK_EQ(far_invoke(nested, sum_of, far_callback(kill_it), 3), 0);
		CHECK_FAILED(FAR_EKILLED);
	}
	CHECK_EQ(far_slave_close(nested), 0);
}

TEST(of_a_slave_that_is_dead_already_its_death_is_told)
{
	struct far_slave *s = far_slave_process();

	kill(far_slave_pid(s), SIGKILL);
	CHECK_EQ(far_invoke(s, sum_of, far_callback(twice), 3), 0);
	CHECK_FAILED(FAR_EKILLED);
	CHECK_EQ(far_error()->signal, SIGKILL);
	CHECK_HAS(far_error()->message, "(callback_test.c:");
	CHECK_EQ(far_slave_close(s), -EOWNERDEAD);
}

static int slow(int n)
{
	usleep(50000);
	return n;
}

TEST(of_a_late_slave_process_callbacks_end_before_it_is_killed_or_with_it)
{
	struct far_slave *s = far_slave_process();

	CHECK_EQ(far_invoke_within(120, s, sum_of, far_callback(slow), 1000), 0);
	CHECK_FAILED(FAR_EDEADLINE);
	int err = far_slave_close(s);

	CHECK(err == 0 || err == -EOWNERDEAD);
}

static int end_there(int (*f)(int), int n)
{
	f(n);
	_exit(0);
}

TEST(a_slave_that_dies_often_leaves_nothing_of_its_callbacks)
{
	enum { WARM_UP = 50, DEATHS = 1500 };
	struct far_slave *s = far_slave_process(.respawn = 1000000);
	size_t memory = 0, large, small = 0, small_after;

	here = pthread_self();
	for (int i = 0; i < WARM_UP + DEATHS; i++) {
		if (i == WARM_UP) {
			CHECK(heap_use(&large, &small));
			memory = mallinfo2().uordblks;
		}
		CHECK_EQ(far_invoke(s, end_there, far_callback(twice), 1), 0);
		CHECK_FAILED(FAR_EEXITED);
	}
	CHECK(mallinfo2().uordblks <= memory + 8192);
	CHECK(heap_use(&large, &small_after) && small_after <= small + 64);
	CHECK_EQ(far_slave_close(s), 0);
}

static pid_t late_pid;

static bool outlived;

/* It waits until the slave that called it is dead. */
static int outlive_the_caller(int n)
{
	double end = seconds() + 5;

	while (lives(late_pid) && seconds() < end)
		usleep(1000);
	outlived = !lives(late_pid);
	return n;
}

TEST(a_late_slave_process_is_killed_though_its_caller_is_in_a_callback)
{
	struct far_slave *s = far_slave_process();

	late_pid = far_slave_pid(s);
	CHECK_EQ(far_invoke_within(100, s, sum_of, far_callback(outlive_the_caller), 2), 0);
	CHECK_FAILED(FAR_EDEADLINE);
	CHECK(outlived);
	CHECK_EQ(far_slave_close(s), -EOWNERDEAD);
}

TEST_BOTH(what_returns_after_a_callback_that_took_too_long_is_late)
{
	struct far_slave *s = in_process ? far_slave_process(.respawn = 100) : far_slave_thread();

	for (int i = 0; i < 10; i++) {
		CHECK_EQ(far_invoke_within(20, s, sum_of, far_callback(slow), 2), 0);
		CHECK(far_error());
	}
	far_slave_close(s);
}

static int (*report)(int);

static void *report_for_ever(void *unused)
{
	for (;;)
		report(1);
	return unused;
}

static int report_by_two_threads(int (*f)(int))
{
	pthread_t t[2];

	report = f;
	for (int i = 0; i < 2; i++)
		pthread_create(&t[i], NULL, report_for_ever, NULL);
	pthread_join(t[0], NULL);
	return 1;
}

static int report_once(int n)
{
	return report(n);
}

static int store_and_report(int (*f)(int), int n)
{
	report = f;
	return f(n);
}

/* The call that it makes from here calls back, too, while it but looks whether that is done. */
static int poll_another(int n)
{
	if (n != 1)
		return 10 * n;
	far_task(int) t = far_schedule(nested, report_once, 2);
	double end = seconds() + 5;

	while (far_wait_for(t, 0) == -ETIMEDOUT && seconds() < end)
		usleep(100);
	return far_wait_for(t, 0) ? -1 : far_wait(t);
}

TEST(who_looks_whether_a_call_is_done_serves_what_it_calls_back)
{
	nested = far_slave_process();
	CHECK_EQ(far_invoke(nested, store_and_report, far_callback(poll_another), 1), 20);
	CHECK_OK();
	CHECK_EQ(far_slave_close(nested), 0);
}

TEST(a_deadline_that_is_years_away_kills_nobody)
{
	struct far_slave *s = far_slave_process(), *late = far_slave_process();

	far_task(int) t = far_schedule_within(20, late, usleep, 1000);	/* at 20 ms the zygote looks at all deadlines */

	CHECK_EQ(far_invoke_within(INT_MAX, s, sum_of, far_callback(slow), 4), 6);
	CHECK_OK();
	CHECK_EQ(far_wait(t), 0);
	CHECK_EQ(far_slave_close(s), 0);
	far_slave_close(late);
}

static int nap(int n)
{
	usleep(1000);
	return n;
}

TEST(a_slave_that_calls_back_all_the_time_is_late_too)
{
	struct far_slave *s = far_slave_process();
	double start = seconds();

	CHECK_EQ(far_invoke_within(50, s, report_by_two_threads, far_callback(nap)), 0);
	CHECK_FAILED(FAR_EDEADLINE);
	CHECK(seconds() - start < 5);
	far_slave_close(s);
}

TEST(of_a_late_thread_callbacks_are_stale)
{
	struct far_slave *s = far_slave_thread();

	CHECK_EQ(far_invoke_within(120, s, sum_of, far_callback(slow), 1000), 0);
	CHECK_FAILED(FAR_EDEADLINE);
	CHECK_EQ(far_invoke(s, add, 1, 2), 3);	/* it has been raised there */
	CHECK_EQ(far_invoke(s, sum_of, far_callback(slow), 2), 1);
	CHECK_OK();
	CHECK_EQ(far_slave_close(s), 0);
}

static int late_within(int n)
{
	far_invoke_within(60, nested, sum_of, far_callback(slow), 1000);
	CHECK_FAILED(FAR_EDEADLINE);
	return n + 1;
}

/* Of two callbacks that a thread waits in, the inner ends; the outer goes on. */
TEST(a_call_that_is_late_within_a_callback_ends_alone)
{
	nested = far_slave_thread();
	for (int i = 0; i < 3; i++) {
		CHECK_EQ(far_invoke(nested, sum_of, far_callback(late_within), 2), 3);
		CHECK_OK();
	}
	CHECK_EQ(far_invoke(nested, add, 1, 2), 3);
	CHECK_EQ(far_slave_close(nested), 0);
}

static int end_thread(int n)
{
	pthread_exit(NULL);
	return n;
}

static void *call_to_end(void *slave)
{
	far_invoke((struct far_slave *)slave, sum_of, far_callback(end_thread), 3);
	fail_at(__FILE__, __LINE__, "it goes on");
}

TEST_BOTH(a_callback_may_end_its_thread)
{
	struct far_slave *s = START();

	for (int i = 0; i < 5; i++) {
		pthread_t t;

		pthread_create(&t, NULL, call_to_end, s);
		pthread_join(t, NULL);
		CHECK_EQ(far_invoke(s, add, 1, 2), 3);
		CHECK_OK();
	}
	here = pthread_self();
	CHECK_EQ(far_invoke(s, sum_of, far_callback(twice), 3), 6);
	CHECK_EQ(far_slave_close(s), 0);
}

static int one_more(int n)
{
	return n + 1;
}

static void *call_once(void *slave)
{
	CHECK_EQ(far_invoke((struct far_slave *)slave, one_more, 1), 2);
	CHECK_OK();
	return NULL;
}

static pthread_barrier_t all_have_called;

static void *call_and_stay(void *slave)
{
	call_once(slave);
	pthread_barrier_wait(&all_have_called);
	pause();
	return NULL;
}

/* There are no lanes left: what the thread was in is used by others, too. */
TEST_BOTH(a_callback_may_end_a_thread_that_shares_its_way_to_the_slave)
{
	enum { LANES = 13 };
	struct far_slave *s = START();
	pthread_t t;

	pthread_barrier_init(&all_have_called, NULL, LANES + 1);
	for (int i = 0; i < LANES; i++)
		pthread_create(&t, NULL, call_and_stay, s);
	pthread_barrier_wait(&all_have_called);
	pthread_create(&t, NULL, call_to_end, s);
	pthread_join(t, NULL);
	pthread_create(&t, NULL, call_once, s);
	pthread_join(t, NULL);
	CHECK_EQ(far_slave_close(s), 0);
	exit(0);
}

static int close_it(int n)
{
	CHECK_EQ(far_slave_close(nested), -EINVAL);
	CHECK_FAILED(FAR_EINVAL);
	CHECK_HAS(far_error()->message, "cannot be closed in a callback");
	return n;
}

TEST_BOTH(a_callback_cannot_close_the_slave_that_waits_for_it)
{
	nested = START();
	CHECK_EQ(far_invoke(nested, sum_of, far_callback(close_it), 3), 3);
	CHECK_OK();
	CHECK_EQ(far_slave_close(nested), 0);
}

/* ------------------------------------------------------------------- threads */

static __thread int mine;

static int of_this_thread(int n)
{
	return mine + n;
}

static void *call_much(void *slave)
{
	static int numbers;

	mine = 1000 * __atomic_add_fetch(&numbers, 1, __ATOMIC_RELAXED);
	for (int i = 0; i < 50; i++) {
		CHECK_EQ(far_invoke((struct far_slave *)slave, sum_of, far_callback(of_this_thread), 3), 3 * mine + 3);
		CHECK_OK();
	}
	return NULL;
}

/* More than there are lanes. */
TEST_BOTH(twenty_threads_are_called_back_each_by_its_own_calls)
{
	struct far_slave *s = START();
	pthread_t t[20];

	for (int i = 0; i < 20; i++)
		pthread_create(&t[i], NULL, call_much, s);
	for (int i = 0; i < 20; i++)
		pthread_join(t[i], NULL);
	CHECK_EQ(far_slave_close(s), 0);
}

/* As many slaves of a slave as there are numbers. */
static void *have_many(void *unused)
{
	for (int i = 0; i < 4096; i++)
		CHECK_EQ(far_slave_close(far_slave_here()), 0);
	return unused;
}

static int wear_numbers(void)
{
	pthread_t t;

	return pthread_create(&t, NULL, have_many, NULL) || pthread_join(t, NULL);
}

TEST(a_slave_that_has_had_slaves_of_every_number_calls_back)
{
	struct far_slave *s = far_slave_process();

	CHECK_EQ(far_invoke(s, wear_numbers), 0);
	here = pthread_self();
	CHECK_EQ(far_invoke(s, sum_of, far_callback(twice), 3), 6);
	CHECK_OK();
	CHECK_EQ(far_slave_close(s), 0);
}

static void *call_in_thread(void *f)
{
	return (void *)(intptr_t)((int (*)(int))(uintptr_t)f)(20);
}

static int in_a_thread(int (*f)(int))
{
	pthread_t t;
	void *result;

	if (pthread_create(&t, NULL, call_in_thread, (void *)(uintptr_t)f))
		return -1;
	pthread_join(t, &result);
	return (int)(intptr_t)result;
}

TEST_BOTH(a_thread_that_the_function_starts_may_call_back)
{
	struct far_slave *s = START();

	here = pthread_self();
	for (int i = 0; i < 10; i++) {
		CHECK_EQ(far_invoke(s, in_a_thread, far_callback(twice)), 40);
		CHECK_OK();
	}
	CHECK_EQ(far_slave_close(s), 0);
}

/* ----------------------------------------------------------------- what is left */

TEST_BOTH(nothing_is_left_of_callbacks)
{
	struct far_slave *s = START();

	here = pthread_self();
	CHECK_EQ(far_invoke(s, sum_of, far_callback(twice), 3), 6);
	CHECK_EQ(far_slave_close(s), 0);
	int fds = count_fds(), maps = count_maps();
	size_t shared = heap_in_use();

	/* A slave's number is used again only when all others have been: of those that callbacks need, too. */
	for (int i = 0; i < 300; i++) {
		s = START();
		CHECK_EQ(far_invoke(s, sum_of, far_callback(twice), 3), 6);
		CHECK_OK();
		CHECK_EQ(far_slave_close(s), 0);
	}
	CHECK(count_fds() <= fds + 1);
	CHECK(count_maps() <= maps + 4);
	CHECK(heap_in_use() <= shared + 64);
}

/* ------------------------------------------- while another thread waits for the slave */

static int pass_back(int (*f)(struct far_slave *, int), struct far_slave *s, int fd)
{
	return f(s, fd);
}

static int pass(struct far_slave *s, int fd)
{
	usleep(200000);
	return far_invoke(s, close, far_fd(fd));
}

static void *pass_in_thread(void *s)
{
	usleep(100000);
	CHECK_EQ(far_invoke((struct far_slave *)s, close, far_fd(1)), 0);
	CHECK_OK();
	return NULL;
}

TEST(a_callback_passes_a_descriptor_while_another_thread_does)
{
	struct far_slave *s = far_slave_process();
	pthread_t thread;

	pthread_create(&thread, NULL, pass_in_thread, s);
	CHECK_EQ(far_invoke(s, pass_back, far_callback(pass), far_remote(s), 1), 0);
	CHECK_OK();
	pthread_join(thread, NULL);
	CHECK_EQ(far_slave_close(s), 0);
}

static far_library *libm;
static int *ready;

static int call_back(int (*f)(int), int n)
{
	return f(n);
}

/* While another thread looks a function up, which waits for the slave, which waits for this. */
static int use_library(int n)
{
	__atomic_store_n(ready, 1, __ATOMIC_SEQ_CST);
	usleep(200000);
	double (*bound)(double) = far_bind(libm, "exp", double (*)(double));

	return n + (int)far_call(libm, double, "double cbrt(double)", 27.0) + (int)far_invoke(libm, sin, 0.0) + (int)bound(0.0);
}

static void *look_up_another(void *unused)
{
	while (!__atomic_load_n(ready, __ATOMIC_SEQ_CST))
		usleep(100);
	double (*bound)(double) = far_bind(libm, "sqrt", double (*)(double));

	CHECK_EQ((int)bound(16.0), 4);
	CHECK_EQ((int)far_call(libm, double, "double fabs(double)", -5.0), 5);
	return unused;
}

TEST_BOTH(a_callback_uses_the_library_that_another_thread_looks_into)
{
	pthread_t thread;

	struct far_slave *slave = START();

	libm = far_open(slave, "libm.so.6");
	ready = far_calloc(1, sizeof *ready);
	pthread_create(&thread, NULL, look_up_another, NULL);
	CHECK_EQ(far_invoke(slave, call_back, far_callback(use_library), 1), 5);
	CHECK_OK();
	pthread_join(thread, NULL);
	CHECK_EQ(far_library_close(libm), 0);
	CHECK_EQ(far_slave_close(slave), 0);
}
