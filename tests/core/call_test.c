/* Calls: their order, results, arguments and functions. */
#include <dlfcn.h>
#include <pthread.h>
#include <wchar.h>

#include "check.h"
#include "internal.h"

static int add(int a, int b)
{
	return a + b;
}

static double half(double x)
{
	return x / 2;
}

static int *new_ints(int n)
{
	int *p = far_calloc((size_t)n, sizeof *p);

	CHECK(p);
	return p;
}

/* ---------------------------------------------------------------- results */

static void set(int *p, int value)
{
	*p = value;
}

struct small { int a; float b; };
struct big { char text[200]; int n; };
struct huge { char bytes[100000]; };

static struct small make_small(int a, float b)
{
	return (struct small){ a, b };
}

static struct big make_big(int n)
{
	struct big b = { .n = n };

	snprintf(b.text, sizeof b.text, "big %d", n);
	return b;
}

static struct huge make_huge(char c)
{
	struct huge h;

	memset(h.bytes, c, sizeof h.bytes);
	return h;
}

static int sum_of_big(struct big b, struct small s)
{
	return b.n + s.a + (int)s.b;
}

TEST_BOTH(every_kind_of_result_is_invoked)
{
	struct far_slave *s = START();
	int *p = new_ints(1);

	far_invoke(s, set, p, 5);
	CHECK_OK();
	CHECK_EQ(*p, 5);
	CHECK_EQ(far_invoke(s, add, 2, 3), 5);
	CHECK(far_invoke(s, half, 3) == 1.5);
	CHECK(far_invoke(s, far_slave_self) == s);
	struct small small = far_invoke(s, make_small, 1, 2);

	CHECK(small.a == 1 && small.b == 2);
	CHECK_STR(far_invoke(s, make_big, 7).text, "big 7");
	struct huge huge = far_invoke(s, make_huge, 'x');

	CHECK(huge.bytes[0] == 'x' && huge.bytes[99999] == 'x');
	CHECK_EQ(far_invoke(s, sum_of_big, make_big(100), make_small(10, 1)), 111);
	CHECK_EQ(far_slave_close(s), 0);
}

TEST_BOTH(every_kind_of_result_is_scheduled)
{
	struct far_slave *s = START();
	int *p = new_ints(1);
	far_task(void) t = far_schedule(s, set, p, 5);
	far_task(int) i = far_schedule(s, add, 2, 3);
	far_task(double) d = far_schedule(s, half, 3);
	far_task(struct small) small = far_schedule(s, make_small, 1, 2);
	far_task(struct big) big = far_schedule(s, make_big, 7);
	far_task(struct huge) huge = far_schedule(s, make_huge, 'x');

	CHECK_EQ(far_wait(huge).bytes[99999], 'x');
	CHECK_STR(far_wait(big).text, "big 7");
	CHECK_EQ(far_wait(small).a, 1);
	CHECK(far_wait(d) == 1.5);
	CHECK_EQ(far_wait(i), 5);
	far_wait(t);
	CHECK_OK();
	CHECK_EQ(*p, 5);
	CHECK_EQ(far_slave_close(s), 0);
}

TEST_BOTH(a_call_without_a_result_gives_zero_bits)
{
	struct far_slave *s = START();

	far_slave_close(s);
	CHECK_EQ(far_invoke(s, add, 2, 3), 0);
	CHECK(far_invoke(s, half, 3) == 0);
	CHECK(far_invoke(s, far_slave_self) == NULL);
	CHECK_EQ(far_invoke(s, make_small, 1, 2).a, 0);
	CHECK_EQ(far_wait(far_schedule(s, add, 2, 3)), 0);
	CHECK_FAILED(FAR_ECLOSED);
}

TEST_BOTH(a_struct_without_a_result_is_zero_too)
{
	struct far_slave *s = START();

	far_slave_close(s);
	struct big big = far_invoke(s, make_big, 7);

	CHECK_FAILED(FAR_ECLOSED);
	CHECK_EQ(big.n, 0);
	CHECK_STR(big.text, "");
	big = far_wait(far_schedule(s, make_big, 7));
	CHECK_EQ(big.n, 0);
	CHECK_STR(big.text, "");
}

/* ------------------------------------------------------------------ order */

static int next;

static int in_order(int n)
{
	return next++ == n;
}

TEST_BOTH(calls_of_one_thread_run_in_the_order_they_were_made)
{
	struct far_slave *s = START(.queue = 8);
	far_task(int) t[1000];

	for (int i = 0; i < 1000; i++) {
		if (i % 7 == 3) {
			CHECK(far_invoke(s, in_order, i));
			t[i] = NULL;
		} else {
			t[i] = far_schedule(s, in_order, i);
		}
	}
	for (int i = 0; i < 1000; i++)
		CHECK(i % 7 == 3 || far_wait(t[i]));
	CHECK_EQ(far_slave_close(s), 0);
}

struct worker {
	pthread_t thread;
	struct far_slave *slave;
	int *count;
	int number;
};

static int add_to(int *p, int n)
{
	return *p += n;	/* only the slave writes it */
}

static void *call_much(void *arg)
{
	struct worker *w = arg;
	int expected = 0;
	far_task(int) t[10];

	for (int i = 1; i <= 100; i++) {
		CHECK_EQ(far_invoke(w->slave, add_to, &w->count[w->number], i), expected += i);
		for (int k = 0; k < 10; k++)
			t[k] = far_schedule(w->slave, add_to, &w->count[w->number], k);
		for (int k = 0; k < 10; k++)
			CHECK_EQ(far_wait(t[k]), expected += k);
		CHECK_EQ(far_invoke(w->slave, make_big, i).n, i);
		CHECK_OK();
	}
	return NULL;
}

static void call_from_threads(struct far_slave *s, int n)
{
	struct worker w[40];
	int *count = new_ints(n);

	for (int i = 0; i < n; i++) {
		w[i] = (struct worker){ .slave = s, .count = count, .number = i };
		pthread_create(&w[i].thread, NULL, call_much, &w[i]);
	}
	for (int i = 0; i < n; i++)
		pthread_join(w[i].thread, NULL);
	far_free(count);
}

TEST_BOTH(forty_threads_call_one_slave)
{
	struct far_slave *s = START();

	call_from_threads(s, 40);
	CHECK_EQ(far_slave_close(s), 0);
}

TEST_BOTH(generations_of_threads_call_one_slave)
{
	struct far_slave *s = START(.queue = 4);

	for (int i = 0; i < 20; i++)
		call_from_threads(s, 6);
	CHECK_EQ(far_slave_close(s), 0);
}

static void *schedule_and_end(void *arg)
{
	struct worker *w = arg;

	for (int i = 0; i < 50; i++)
		far_forget(far_schedule(w->slave, add_to, w->count, 1));
	return NULL;
}

TEST_BOTH(what_a_thread_scheduled_runs_when_it_has_ended)
{
	struct far_slave *s = START(.queue = 64);
	struct worker w = { .slave = s, .count = new_ints(1) };

	for (int i = 0; i < 30; i++) {
		pthread_create(&w.thread, NULL, schedule_and_end, &w);
		pthread_join(w.thread, NULL);
	}
	CHECK_EQ(far_slave_close(s), 0);
	CHECK_EQ(*w.count, 1500);
}

/* -------------------------------------------------------------- arguments */

TEST_BOTH(a_call_may_be_an_argument_of_a_call)
{
	struct far_slave *s = START(), *t = START();

	CHECK_EQ(far_invoke(s, add, far_invoke(s, add, 1, 2), far_invoke(t, add, 3, far_invoke(s, add, 4, 5))), 15);
	CHECK_EQ(far_wait(far_schedule(s, add, far_wait(far_schedule(s, add, 1, 2)), far_invoke(s, add, 3, 4))), 10);
	CHECK_OK();
	CHECK_EQ(far_slave_close(s), 0);
	CHECK_EQ(far_slave_close(t), 0);
}

static int first_of(const int *p, int n)
{
	return n ? *p : 0;
}

TEST_BOTH(a_call_in_an_argument_may_have_buffers_of_its_own)
{
	struct far_slave *s = START(), *t = START();
	int a[200] = { 11 }, b[200] = { 22 };

	CHECK_EQ(far_invoke(s, first_of, far_in(a, sizeof a), far_invoke(s, first_of, far_in(b, sizeof b), 1)), 11);
	CHECK_OK();
	CHECK_EQ(far_invoke(s, first_of, far_in(a, sizeof a), far_invoke(t, first_of, far_in(b, sizeof b), 1)), 11);
	CHECK_OK();
	CHECK_EQ(far_slave_close(s), 0);
	CHECK_EQ(far_slave_close(t), 0);
}

TEST_BOTH(a_failed_call_in_an_argument_gives_zero)
{
	struct far_slave *s = START(), *closed = START();

	far_slave_close(closed);
	CHECK_EQ(far_invoke(s, add, 5, far_invoke(closed, add, 1, 2)), 5);
	CHECK_OK();
	CHECK_EQ(far_slave_close(s), 0);
}

static int evaluated;

static int nth(int n)
{
	CHECK_EQ(evaluated++, n);
	return n;
}

static int digits(int a, int b, int c, int d)
{
	return a * 1000 + b * 100 + c * 10 + d;
}

TEST_BOTH(arguments_are_evaluated_once_and_from_left_to_right)
{
	struct far_slave *s = START();

	CHECK_EQ(far_invoke(s, digits, nth(0), nth(1), nth(2), nth(3)), 123);
	CHECK_EQ(evaluated, 4);
	evaluated = 0;
	CHECK_EQ(far_wait(far_schedule(s, digits, nth(0), nth(1), nth(2), nth(3))), 123);
	CHECK_EQ(evaluated, 4);
	int i = 0;

	CHECK_EQ(far_invoke(s, add, i++, i++), 1);
	CHECK_EQ(i, 2);
	CHECK_EQ(far_slave_close(s), 0);
}

static int choices;

static struct far_slave *choose(struct far_slave *s)
{
	choices++;
	return s;
}

static int (*choose_function(void))(int, int)
{
	choices++;
	return add;
}

TEST_BOTH(slave_and_function_are_evaluated_once)
{
	struct far_slave *s = START();

	CHECK_EQ(far_invoke(choose(s), choose_function(), 1, 2), 3);
	CHECK_EQ(choices, 2);
	CHECK_EQ(far_slave_close(s), 0);
}

static long sum_of_16(int a, long b, short c, char d, unsigned e, double f, float g, long double h, int i, int j, int k, int l,
		      int m, int n, int o, int p)
{
	return a + b + c + d + e + (long)(f + g + (double)h) + i + j + k + l + m + n + o + p;
}

TEST_BOTH(a_call_has_up_to_16_arguments)
{
	struct far_slave *s = START();

	CHECK_EQ(far_invoke(s, sum_of_16, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16), 136);
	CHECK_EQ(far_wait(far_schedule(s, sum_of_16, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16)), 136);
	CHECK_EQ(far_slave_close(s), 0);
}

static double long_and_double(long a, double b)
{
	return (double)a + b;
}

/* Whether this thread's calls to a slave needed more than their slot: learn.c. */
static bool was_large(void)
{
	return far__thread.last_port->call_bodies;
}

TEST_BOTH(what_converted_arguments_take_is_learnt_from_the_first_calls)
{
	struct far_slave *s[] = { START(), START() };

	for (int i = 0; i < 7; i++) {
		CHECK(far_invoke(s[i >= 5], long_and_double, i, 2) == i + 2);
		CHECK_EQ(was_large(), i < 5);
	}
	CHECK_EQ(far_slave_close(s[0]), 0);
	CHECK_EQ(far_slave_close(s[1]), 0);
}

static int byte_of_huge(struct huge h, int n)
{
	return h.bytes[n];
}

TEST_BOTH(a_struct_larger_than_a_slot_is_an_argument)
{
	struct far_slave *s = START();
	struct huge huge = make_huge('y');

	CHECK_EQ(far_invoke(s, byte_of_huge, huge, 99999), 'y');
	CHECK_OK();
	CHECK_EQ(far_wait(far_schedule(s, byte_of_huge, huge, 5)), 'y');
	CHECK_EQ(far_slave_close(s), 0);
}

/* ------------------------------------------------------------------ errno */

static int set_errno(int value)
{
	if (value)
		errno = value;
	return value;
}

static int errno_there(void)
{
	return errno;
}

TEST_BOTH(errno_is_the_functions_if_it_set_it)
{
	struct far_slave *s = START();

	errno = 7;
	far_invoke(s, set_errno, 0);
	CHECK_EQ(errno, 7);
	far_invoke(s, set_errno, EDOM);
	CHECK_EQ(errno, EDOM);
	far_task(int) t = far_schedule(s, set_errno, ERANGE), u = far_schedule(s, set_errno, 0);

	errno = 8;
	far_wait(t);
	CHECK_EQ(errno, ERANGE);
	errno = 9;
	far_wait(u);
	CHECK_EQ(errno, 9);
	CHECK_EQ(far_invoke(s, errno_there), 0);
	CHECK_EQ(errno, 9);
	CHECK_EQ(far_slave_close(s), 0);
}

TEST_BOTH(a_large_errno_arrives)
{
	struct far_slave *s = START();

	far_invoke(s, set_errno, 524);
	CHECK_EQ(errno, 524);
	far_invoke(s, set_errno, 60000);
	CHECK_EQ(errno, 60000);
	CHECK_EQ(far_slave_close(s), 0);
}

TEST_BOTH(waiting_long_leaves_errno_alone)
{
	struct far_slave *s = START();

	for (int i = 0; i < 5; i++) {
		errno = 7;
		far_invoke(s, nanosleep, far_in(&((struct timespec){ .tv_nsec = 3000000 }), sizeof(struct timespec)), NULL);
		CHECK_OK();
		CHECK_EQ(errno, 7);
	}
	CHECK_EQ(far_slave_close(s), 0);
}

/* -------------------------------------------------------------- functions */

static int *calls_made;

static void share_calls(int *p)
{
	calls_made = p;
}

__attribute__((const)) static int const_square(int n)
{
	++*calls_made;
	return n * n;
}

__attribute__((pure)) static int pure_square(int n)
{
	++*calls_made;
	return n * n;
}

TEST_BOTH(calls_of_const_and_pure_functions_are_all_made)
{
	struct far_slave *s = START();
	int *n = new_ints(1);

	far_invoke(s, share_calls, n);
	CHECK_EQ(far_invoke(s, const_square, 3) + far_invoke(s, const_square, 3), 18);
	CHECK_EQ(far_invoke(s, pure_square, 3) + far_invoke(s, pure_square, 3), 18);
	far_invoke(s, const_square, 3);
	far_wait(far_schedule(s, pure_square, 3));
	CHECK_EQ(*n, 6);
	CHECK_EQ(far_slave_close(s), 0);
}

__attribute__((noreturn)) static void never_returns(int status)
{
	_exit(status);
}

__attribute__((noreturn)) static void always_raises(int code)
{
	far_raise(code, "raised %d", code);
}

TEST(a_noreturn_function_that_ends_the_slave_comes_back_here)
{
	struct far_slave *s = far_slave_process();

	far_invoke(s, never_returns, 5);
	CHECK_DIED();
	CHECK_EQ(far_error()->status, 5);
	CHECK_EQ(far_slave_close(s), -EOWNERDEAD);
	s = far_slave_process();
	far_wait(far_schedule(s, exit, 6));
	CHECK_DIED();
	CHECK_EQ(far_error()->status, 6);
	CHECK_EQ(far_slave_close(s), -EOWNERDEAD);
	s = far_slave_process();
	far_invoke(s, abort);
	CHECK_EQ(far_error()->signal, SIGABRT);
	CHECK_EQ(far_slave_close(s), -EOWNERDEAD);
}

TEST_BOTH(a_noreturn_function_that_raises_comes_back_here)
{
	struct far_slave *s = START();
	void (*pointer)(int) __attribute__((noreturn)) = always_raises;
	volatile int seen = 0;

	for (int i = 1; i <= 3; i++) {
		far_invoke(s, always_raises, i);
		CHECK_FAILED(i);
		far_invoke(s, pointer, i + 10);
		CHECK_FAILED(i + 10);
		far_wait(far_schedule(s, always_raises, i + 20));
		CHECK_FAILED(i + 20);
		seen++;
	}
	CHECK_EQ(seen, 3);
	CHECK_EQ(far_slave_close(s), 0);
}

TEST_BOTH(a_function_that_ends_its_thread_ends_the_slave)
{
	struct far_slave *s = START();

	far_invoke(s, pthread_exit, NULL);
	CHECK_DIED();
	CHECK_EQ(far_invoke(s, add, 1, 2), 0);
	CHECK_DIED();
	CHECK_EQ(far_slave_close(s), -EOWNERDEAD);
	CHECK_DIED();
}

static void end_thread_from_queue(void)
{
	far_wait(far_schedule(far_slave_self(), pthread_exit, NULL));
}

/* What a thread that is cancelled meanwhile has to show. */
struct patient {
	struct far_slave *slave;
	int *begun;
	int invoked, waited, closed;
};

static int say_and_add(int *begun, int a, int b)
{
	__atomic_store_n(begun, 1, __ATOMIC_SEQ_CST);
	usleep(20000);
	return a + b;
}

static void *wait_in_all_ways(void *arg)
{
	struct patient *p = arg;

	p->invoked = far_invoke(p->slave, say_and_add, p->begun, 1, 2);
	p->waited = far_wait(far_schedule(p->slave, say_and_add, p->begun, 3, 4));
	far_forget(far_schedule(p->slave, say_and_add, p->begun, 5, 6));
	p->closed = far_slave_close(p->slave);
	CHECK_OK();
	pthread_testcancel();
	return NULL;
}

TEST_BOTH(a_thread_that_is_cancelled_in_a_call_goes_on_until_it_has_returned)
{
	struct patient p = { START(), new_ints(1), .closed = -1 };
	pthread_t thread;
	void *end;

	pthread_create(&thread, NULL, wait_in_all_ways, &p);
	AWAIT(10, __atomic_load_n(p.begun, __ATOMIC_SEQ_CST));
	pthread_cancel(thread);
	pthread_join(thread, &end);
	CHECK(end == PTHREAD_CANCELED);
	CHECK_EQ(p.invoked, 3);
	CHECK_EQ(p.waited, 7);
	CHECK_EQ(p.closed, 0);
}

static void *call_for_ever(void *slave)
{
	struct far_slave *s = slave;

	for (;;) {
		int *p = new_ints(100);

		CHECK_EQ(far_invoke(s, add, 1, 2), 3);
		CHECK_EQ(far_wait(far_schedule(s, add, 3, 4)), 7);
		CHECK_EQ(far_wait(far_thread(add, 5, 6)), 11);
		far_free(p);
		pthread_testcancel();
	}
}

TEST_BOTH(threads_that_are_cancelled_at_random_leave_nothing_behind)
{
	struct far_slave *s = START();
	unsigned seed = 1;
	int fds = count_fds();

	for (int i = 0; i < 200; i++) {
		pthread_t thread;
		void *end;

		pthread_create(&thread, NULL, call_for_ever, s);
		usleep((unsigned)rand_r(&seed) % 2000);
		pthread_cancel(thread);
		pthread_join(thread, &end);
		CHECK(end == PTHREAD_CANCELED);
	}
	CHECK_EQ(far_invoke(s, add, 1, 2), 3);
	CHECK_EQ(far_slave_close(s), 0);
	CHECK(count_fds() <= fds + 2);	/* a ring or two are kept */
}

TEST_BOTH(a_call_that_is_served_in_another_may_end_the_thread)
{
	struct far_slave *s = START();

	far_invoke(s, end_thread_from_queue);
	CHECK_DIED();
	far_slave_close(s);
}

static far_task(void) _Atomic anothers_task;

static void wait_for_anothers_task(void)
{
	while (!anothers_task)
		usleep(100);
	far_wait(anothers_task);
}

TEST(so_may_a_call_of_another_thread)
{
	struct far_slave *t = far_slave_thread();
	far_task(void) waits = far_schedule(t, wait_for_anothers_task);

	anothers_task = far_schedule(t, pthread_exit, NULL);
	far_wait(waits);
	CHECK_FAILED(FAR_EDIED);
	CHECK_EQ(far_slave_close(t), -EOWNERDEAD);
}

TEST_BOTH(variadic_functions_are_called)
{
	struct far_slave *s = START();
	char *text = far_calloc(1, 100);

	CHECK_EQ(far_invoke(s, snprintf, text, 100, "%d %s %.2f %c", 3, "abc", 1.5, 'x'), 12);
	CHECK_STR(text, "3 abc 1.50 x");
	CHECK_EQ(far_wait(far_schedule(s, snprintf, text, 100, "%ld %Lf %f %f %f %f %f %f %f %f %d", 1L, 2.0L, 1., 2., 3., 4., 5.,
				       6., 7., 8., 9)), 84);
	CHECK_STR(text, "1 2.000000 1.000000 2.000000 3.000000 4.000000 5.000000 6.000000 7.000000 8.000000 9");
	CHECK_EQ(far_slave_close(s), 0);
}

static int apply(int (*f)(int, int), int a, int b)
{
	return f(a, b);
}

static int subtract(int a, int b)
{
	return a - b;
}

TEST_BOTH(functions_are_pointers_arguments_and_results)
{
	struct far_slave *s = START();
	int (*const table[])(int, int) = { add, subtract };

	for (int i = 0; i < 2; i++) {
		CHECK_EQ(far_invoke(s, table[i], 5, 3), i ? 2 : 8);
		CHECK_EQ(far_invoke(s, apply, table[i], 5, 3), i ? 2 : 8);
	}
	CHECK_EQ(far_invoke(s, *table[1], 5, 3), 2);
	CHECK(far_invoke(s, choose_function) == add);
	CHECK_EQ(far_invoke(s, far_invoke(s, choose_function), 5, 3), 8);
	CHECK_EQ(far_slave_close(s), 0);
}

TEST_BOTH(functions_of_libraries_are_called)
{
	struct far_slave *s = START();

	CHECK_EQ(far_invoke(s, strlen, "12345"), 5);
	CHECK_EQ(far_invoke(s, atoi, "42"), 42);
	CHECK_EQ(far_invoke(s, abs, -3), 3);
	CHECK_EQ(far_invoke(s, getpid), far_slave_pid(s));
	CHECK_EQ(far_slave_close(s), 0);
}

static long seen[6];
static int nseen;

static void see(int n)
{
	seen[nseen++] = n;
}

static void see_long(long n)
{
	seen[nseen++] = n;
}

/* clang once made the sums again on the way back, in place. */
TEST(arguments_are_evaluated_once_though_a_function_may_not_return)
{
	struct far_slave *s = far_slave_thread();
	int a = far_invoke(s, add, 1, 2), b = far_invoke(s, add, 2, 3), c = far_invoke(s, add, 50, 50);

	far_invoke(s, see, a + b);
	int d = a + b;

	far_invoke(s, see, d);
	far_invoke(s, see, d + c);
	far_invoke(s, see_long, a + b);
	int e = a + b;

	far_invoke(s, see_long, e);
	far_invoke(s, see_long, e + c);
	for (int i = 0; i < 6; i++)
		CHECK_EQ(seen[i], i % 3 == 2 ? 108 : 8);
	CHECK_EQ(d, 8);
	CHECK_EQ(e, 8);
	CHECK_EQ(far_slave_close(s), 0);
}

__attribute__((noreturn)) static void leave(long status)
{
	exit((int)status);
}

/* By its name, by a pointer and by what that points to, with arguments of its types and others. */
TEST(functions_that_never_return_are_called_in_every_way)
{
	void (*pointer)(long) __attribute__((noreturn)) = leave;

	for (int i = 0; i < 6; i++) {
		struct far_slave *s = far_slave_process();
		int status = 3 + i;

		switch (i) {
		case 0: far_invoke(s, leave, status); break;
		case 1: far_invoke(s, pointer, status); break;
		case 2: far_invoke(s, *pointer, status); break;
		case 3: far_invoke(s, leave, (long)status); break;
		case 4: far_invoke(s, pointer, (long)status); break;
		default: far_invoke(s, *pointer, (long)status); break;
		}
		CHECK_EQ(status, 3 + i);
		CHECK_DIED();
		far_slave_close(s);
	}
}

__attribute__((const)) static int negative(int n)
{
	return -n;
}

TEST_BOTH(const_functions_are_scheduled_in_every_way)
{
	struct far_slave *s = START();
	int (*pointer)(int) __attribute__((const)) = negative;

	CHECK_EQ(far_wait(far_schedule(s, negative, 1)), -1);
	CHECK_EQ(far_wait(far_schedule(s, &negative, 2)), -2);
	CHECK_EQ(far_wait(far_schedule(s, pointer, 3)), -3);
	CHECK_EQ(far_wait(far_schedule(s, *pointer, 4)), -4);
	CHECK_EQ(far_wait(far_schedule(s, pointer, 5L)), -5);
	CHECK_EQ(far_wait(far_thread(pointer, 6)), -6);
	CHECK_OK();
	CHECK_EQ(far_slave_close(s), 0);
}

/* ---------------------------------------------------- modules loaded later */

static void *late(const char *module, const char *name)
{
	void *handle = dlopen(module, RTLD_NOW), *symbol = handle ? dlsym(handle, name) : NULL;

	if (!symbol)
		fail_at(__FILE__, __LINE__, "%s", dlerror());
	return symbol;
}

/* ISO C has no conversion from what dlsym() returns to a function. */
#define LATE(type, module, name) ((type)(uintptr_t)late(module, name))

TEST_BOTH(functions_of_a_module_loaded_later_are_called)
{
	struct far_slave *s = START();
	int (*late_add)(int, int) = LATE(int (*)(int, int), LATE_MODULE, "late_add");
	int (*late_count)(void) = LATE(int (*)(void), LATE_MODULE, "late_count");
	size_t (*late_length)(const char *) = LATE(size_t (*)(const char *), LATE_MODULE, "late_length");
	char text[] = "private";

	CHECK_EQ(far_invoke(s, late_add, 1, 2), 3);
	CHECK_OK();
	CHECK_EQ(far_wait(far_schedule(s, late_add, 3, 4)), 7);
	CHECK_EQ(far_invoke(s, late_count), 1);
	CHECK_EQ(far_invoke(s, late_count), 2);
	CHECK_EQ(late_count(), in_process ? 1 : 3);
	CHECK_EQ(far_invoke(s, late_length, (const char *)text), 7);
	CHECK_EQ(far_invoke(s, late_length, far_str(text)), 7);
	CHECK_OK();
	for (int i = 0; i < 1000; i++)
		CHECK_EQ(far_invoke(s, late_add, i, 2), i + 2);
	struct far_slave *t = START();

	CHECK_EQ(far_invoke(t, late_count), in_process ? 1 : 4);
	CHECK_EQ(far_slave_close(t), 0);
	CHECK_EQ(far_slave_close(s), 0);
}

TEST_BOTH(a_literal_of_a_module_loaded_later_is_passed_to_those_who_have_it)
{
	struct far_slave *s = START();
	int (*late_literal)(struct far_slave *) = LATE(int (*)(struct far_slave *), LATE_MODULE, "late_literal");
	int (*late_string)(struct far_slave *) = LATE(int (*)(struct far_slave *), LATE_MODULE, "late_string");

	for (int i = 0; i < 3; i++) {
		CHECK_EQ(late_literal(s), in_process ? 0 : 42);
		if (in_process) {
			CHECK_FAILED(FAR_EPOINTER);
			CHECK_HAS(far_error()->message, "far_str()");
		}
		CHECK_EQ(late_string(s), 42);
		CHECK_OK();
	}
	CHECK_EQ(far_slave_close(s), 0);
}

TEST(a_pointer_into_a_module_loaded_later_is_refused)
{
	struct far_slave *s = far_slave_process();
	const int *constant = late(LATE_MODULE, "late_constant");
	int (*late_add)(int, int) = LATE(int (*)(int, int), LATE_MODULE, "late_add");

	CHECK_EQ(far_invoke(s, first_of, constant, 1), 0);
	CHECK_FAILED(FAR_EPOINTER);
	CHECK_HAS(far_error()->message, "loaded after far_init()");
	CHECK_EQ(far_invoke(s, apply, late_add, 1, 2), 0);
	CHECK_FAILED(FAR_EPOINTER);
	CHECK_EQ(far_invoke(s, first_of, far_in(constant, sizeof *constant), 1), 42);
	CHECK_OK();
	CHECK_EQ(far_slave_close(s), 0);
}

TEST(a_module_is_found_though_the_slave_is_in_another_folder)
{
	struct far_slave *s = far_slave_process();
	char folder[] = LATE_MODULE, name[300];
	char *slash = strrchr(folder, '/');

	snprintf(name, sizeof name, "./%s", slash + 1);
	*slash = 0;
	CHECK_EQ(chdir(folder), 0);
	int (*late_add)(int, int) = LATE(int (*)(int, int), name, "late_add");

	CHECK_EQ(far_invoke(s, chdir, "/"), 0);
	CHECK_EQ(far_invoke(s, late_add, 1, 2), 3);
	CHECK_OK();
	CHECK_EQ(far_slave_close(s), 0);
}

TEST(what_is_no_function_is_refused)
{
	struct far_slave *s = far_slave_process();
	int (*null)(int, int) = NULL;
	int (*wild)(int, int) = (int (*)(int, int))(uintptr_t)0x123456789000;

	CHECK_EQ(far_invoke(s, null, 1, 2), 0);
	CHECK_FAILED(FAR_EPOINTER);
	CHECK_EQ(far_invoke(s, wild, 1, 2), 0);
	CHECK_FAILED(FAR_EPOINTER);
	CHECK(!far_schedule(s, null, 1, 2));
	CHECK_FAILED(FAR_EPOINTER);
	CHECK_EQ(far_invoke(s, add, 1, 2), 3);
	CHECK_EQ(far_slave_close(s), 0);
}

/* ----------------------------------------------------------------- output */

static void say(const char *text)
{
	fputs(text, stdout);
}

PLAIN(what_a_slave_process_printed_is_out_when_the_call_is_done)
{
	int file = memfd_create("stdout", 0), real = dup(STDOUT_FILENO);
	char text[100] = "";

	dup2(file, STDOUT_FILENO);
	printf("before ");
	CHECK_EQ(far_init(), 0);
	struct far_slave *s = far_slave_process();

	far_invoke(s, say, "one ");
	CHECK(pread(file, text, sizeof text - 1, 0) >= 0);
	CHECK_STR(text, "before one ");
	far_wait(far_schedule(s, say, "two "));
	CHECK(pread(file, text, sizeof text - 1, 0) >= 0);
	CHECK_STR(text, "before one two ");
	CHECK_EQ(far_slave_close(s), 0);
	dup2(real, STDOUT_FILENO);
	memset(text, 0, sizeof text);
	CHECK(pread(file, text, sizeof text - 1, 0) >= 0);
	CHECK_STR(text, "before one two ");
}

static void say_widely(const wchar_t *text)
{
	fputws(text, stdout);
}

PLAIN(wide_characters_are_too)
{
	static const wchar_t said[] = L"wide";
	int file = memfd_create("stdout", 0);
	char text[100] = "";
	FILE *real = stdout;

	stdout = fdopen(file, "w");	/* in the other one bytes may have been written, and then nothing else can be */
	CHECK_EQ(far_init(), 0);
	struct far_slave *s = far_slave_process();

	far_invoke(s, say_widely, said);
	CHECK(pread(file, text, sizeof text - 1, 0) >= 0);
	CHECK_STR(text, "wide");
	CHECK_EQ(far_slave_close(s), 0);
	stdout = real;
}

static void say_and_leave(const char *text)
{
	fputs(text, stdout);
	exit(0);
}

PLAIN(what_a_slave_printed_before_it_exits_is_out_once)
{
	int file = memfd_create("stdout", 0);
	char text[100] = "";

	dup2(file, STDOUT_FILENO);
	CHECK_EQ(far_init(), 0);
	struct far_slave *s = far_slave_process();

	printf("mine ");	/* not the slave's to flush */
	far_invoke(s, say_and_leave, "last ");
	CHECK_DIED();
	far_slave_close(s);
	CHECK(pread(file, text, sizeof text - 1, 0) >= 0);
	CHECK_STR(text, "last ");
}
