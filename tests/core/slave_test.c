/* Slaves: making, naming, stepping, closing and losing them. */
#include <limits.h>
#include <malloc.h>
#include <pthread.h>

#include "check.h"

static int add(int a, int b)
{
	return a + b;
}

static pid_t my_pid(void)
{
	return getpid();
}

static void my_name(char *name)
{
	prctl(PR_GET_NAME, name);
}

static void count_up(int *n)
{
	__atomic_add_fetch(n, 1, __ATOMIC_SEQ_CST);
}

static void count_up_slowly(int *n)
{
	nanosleep(&(struct timespec){ .tv_nsec = 200000 }, NULL);
	count_up(n);
}

static void wait_for_gate(int *gate)
{
	while (!__atomic_load_n(gate, __ATOMIC_SEQ_CST))
		nanosleep(&(struct timespec){ .tv_nsec = 100000 }, NULL);
}

static void open_gate(int *gate)
{
	__atomic_store_n(gate, 1, __ATOMIC_SEQ_CST);
}

static int *new_int(void)
{
	int *n = far_calloc(1, sizeof *n);

	CHECK(n);
	return n;
}

/* --------------------------------------------------------------- making */

TEST_BOTH(a_slave_has_the_first_15_bytes_of_its_name)
{
	struct far_slave *s = START(.name = "a name that is too long");
	char *name = far_calloc(1, 32);

	CHECK(s);
	far_invoke(s, my_name, name);
	CHECK_OK();
	CHECK_STR(name, "a name that is ");
	CHECK_EQ(far_slave_close(s), 0);
}

TEST_BOTH(the_name_is_seen_in_errors)
{
	struct far_slave *s = START(.name = "worker bee", .close_ms = 1);

	far_schedule(s, wait_for_gate, new_int());
	CHECK_EQ(far_slave_close(s), -ETIMEDOUT);
	CHECK_HAS(far_error()->message, "worker bee");
}

TEST_BOTH(a_slave_runs_in_the_process_that_far_slave_pid_tells)
{
	struct far_slave *s = START();

	CHECK_EQ(far_invoke(s, my_pid), far_slave_pid(s));
	CHECK_EQ(far_slave_pid(s) == getpid(), !in_process);
	CHECK_EQ(far_slave_close(s), 0);
	CHECK_EQ(far_slave_pid(s), -EINVAL);
	CHECK_FAILED(FAR_ECLOSED);
	CHECK_EQ(far_slave_pid(NULL), -EINVAL);
	CHECK_FAILED(FAR_ECLOSED);
}

static int setups;

static void note_setup(void *n)
{
	setups += *(int *)n;
}

static int setups_seen(void)
{
	return setups;
}

TEST_BOTH(setup_runs_before_the_calls)
{
	int *n = new_int();

	*n = 7;
	struct far_slave *s = START(.setup = note_setup, .setup_arg = n);

	CHECK_EQ(far_invoke(s, setups_seen), 7);
	CHECK_EQ(setups, in_process ? 0 : 7);
	CHECK_EQ(far_slave_close(s), 0);
}

static void raise_in_setup(void *arg)
{
	far_raise(4711, "setup does not like %s", (const char *)arg);
}

static void take_a_while(void)
{
	nanosleep(&(struct timespec){ .tv_nsec = 2000000 }, NULL);
}

TEST(the_stock_is_filled_up_when_calls_are_only_scheduled)
{
	far_slave_close(far_slave_process());
	AWAIT(5, slave_processes() == 2);
	struct far_slave *s = far_slave_process();

	far_forget(far_schedule(s, take_a_while));
	AWAIT(5, slave_processes() == 3);
	CHECK_EQ(far_slave_close(s), 0);
}

static void check_no_slaves(int fds)
{
	CHECK_HAS(status_text(), "slaves of this process: 0 processes, 0 threads");
	CHECK_EQ(count_fds(), fds);
	AWAIT(5, slave_processes() == 2);	/* the stock */
}

/* First slaves that were waited for, and woken, for what is opened then and kept. */
static int fds_in_use(void)
{
	struct far_slave *s[] = { far_slave_process(), far_slave_thread() };

	for (int i = 0; i < 4; i++) {
		far_invoke(s[i % 2], take_a_while);
		take_a_while();
	}
	CHECK_EQ(far_slave_close(s[0]), 0);
	CHECK_EQ(far_slave_close(s[1]), 0);
	return count_fds();
}

TEST_BOTH(setup_that_raises_leaves_no_slave)
{
	int fds = fds_in_use();

	CHECK(!START(.setup = raise_in_setup, .setup_arg = (void *)(uintptr_t)"this"));
	CHECK_FAILED(4711);
	CHECK_HAS(far_error()->message, "setup does not like this");
	CHECK_STR(strrchr(far_error()->file, '/') + 1, "slave_test.c");
	CHECK_HAS(far_error()->message, "(slave_test.c:");
	check_no_slaves(fds);
}

static void crash_in_setup(void *arg)
{
	(void)arg;
	raise(SIGSEGV);
}

TEST(setup_that_crashes_leaves_no_slave)
{
	int fds = fds_in_use();

	CHECK(!far_slave_process(.setup = crash_in_setup));
	CHECK_DIED();
	CHECK_EQ(far_error()->signal, SIGSEGV);
	check_no_slaves(fds);
}

static void exit_in_setup(void *arg)
{
	_exit(*(int *)arg);
}

TEST(setup_that_exits_leaves_no_slave)
{
	int *status = new_int();
	int fds = fds_in_use();

	for (*status = 0; *status < 2; ++*status) {
		CHECK(!far_slave_process(.setup = exit_in_setup, .setup_arg = status));
		CHECK_DIED();
		CHECK_EQ(far_error()->status, *status);
	}
	check_no_slaves(fds);
}

static void end_thread_in_setup(void *arg)
{
	pthread_exit(arg);
}

TEST_BOTH(setup_that_ends_its_thread_leaves_no_slave)
{
	int fds = fds_in_use();

	CHECK(!START(.setup = end_thread_in_setup));
	CHECK_DIED();
	check_no_slaves(fds);
}

TEST(setup_arg_follows_the_rules_for_pointers)
{
	int n = 7, fds = fds_in_use();

	CHECK(!far_slave_process(.setup = note_setup, .setup_arg = &n));
	CHECK_FAILED(FAR_EPOINTER);
	CHECK_HAS(far_error()->message, "setup");
	check_no_slaves(fds);
	CHECK(far_slave_thread(.setup = note_setup, .setup_arg = &n));
}

TEST_BOTH(options_that_mean_nothing_are_refused)
{
	int fds = fds_in_use();

	CHECK(!START(.queue = 4097));
	CHECK_FAILED(FAR_EINVAL);
	CHECK_HAS(far_error()->message, "4097");
	CHECK(!START(.queue = UINT_MAX));
	CHECK_FAILED(FAR_EINVAL);
	CHECK(!START(.when_full = (enum far_when_full)2));
	CHECK_FAILED(FAR_EINVAL);
	CHECK(!START(.close_ms = -1));
	CHECK_FAILED(FAR_EINVAL);
	CHECK(!(in_process ? far__slave_process : far__slave_thread)(&(struct far_options){ .far__size = 8 }));
	CHECK_FAILED(FAR_EINVAL);
	check_no_slaves(fds);
}

TEST_BOTH(a_queue_may_have_any_size_up_to_4096)
{
	static const unsigned size[] = { 1, 2, 3, 5, 64, 1000, 4095, 4096 };

	for (unsigned i = 0; i < sizeof size / sizeof *size; i++) {
		struct far_slave *s = START(.queue = size[i]);
		int *n = new_int();

		for (unsigned k = 0; k < 2 * size[i] + 3; k++)
			CHECK_EQ(far_forget(far_schedule(s, count_up, n)), 0);
		CHECK_EQ(far_slave_close(s), 0);
		CHECK_EQ(*n, 2 * size[i] + 3);
	}
}

TEST_BOTH(a_full_queue_fails_at_once_if_asked_to)
{
	static const unsigned size[] = { 1, 2, 16, 4096 };

	for (unsigned i = 0; i < sizeof size / sizeof *size; i++) {
		struct far_slave *s = START(.queue = size[i], .when_full = FAR_FAIL);
		int *gate = new_int(), *n = new_int();

		CHECK(far_schedule(s, wait_for_gate, gate));
		for (unsigned k = 1; k < size[i]; k++)
			CHECK(far_schedule(s, count_up, n));
		CHECK(!far_schedule(s, count_up, n));
		CHECK_FAILED(FAR_EFULL);
		CHECK_HAS(far_error()->message, "count_up");
		open_gate(gate);
		CHECK_EQ(far_invoke(s, add, 1, 2), 3);
		CHECK(far_schedule(s, count_up, n));
		CHECK_EQ(far_slave_close(s), 0);
		CHECK_EQ(*n, size[i]);
	}
}

TEST_BOTH(a_new_queue_is_empty)
{
	for (int i = 0; i < 50; i++) {
		struct far_slave *s = START(.queue = 1, .when_full = FAR_FAIL);

		CHECK(far_schedule(s, add, 1, 2));
		CHECK_EQ(far_slave_close(s), 0);
	}
}

/* -------------------------------------------------------------- closing */

TEST(closing_null_does_nothing)
{
	CHECK_EQ(far_slave_close(NULL), 0);
	CHECK_OK();
}

TEST_BOTH(a_slave_is_closed_once)
{
	struct far_slave *s = START();

	CHECK_EQ(far_slave_close(s), 0);
	CHECK_EQ(far_slave_close(s), -EINVAL);
	CHECK_FAILED(FAR_ECLOSED);
	CHECK_EQ(far_invoke(s, add, 1, 2), 0);
	CHECK_FAILED(FAR_ECLOSED);
	CHECK(!far_schedule(s, add, 1, 2));
	CHECK_FAILED(FAR_ECLOSED);
}

TEST_BOTH(a_closed_handle_is_not_the_next_slave)
{
	struct far_slave *s = START();

	CHECK_EQ(far_slave_close(s), 0);
	for (int i = 0; i < 50; i++) {
		struct far_slave *t = START();

		CHECK(t != s);
		CHECK_EQ(far_invoke(s, add, 1, 2), 0);
		CHECK_FAILED(FAR_ECLOSED);
		CHECK_EQ(far_slave_close(t), 0);
	}
}

TEST_BOTH(closing_lets_queued_calls_finish)
{
	struct far_slave *s = START();
	far_task(int) last;
	int *n = new_int();

	for (int i = 0; i < 100; i++)
		far_forget(far_schedule(s, count_up_slowly, n));
	last = far_schedule(s, add, 3, 4);
	CHECK_EQ(far_slave_close(s), 0);
	CHECK_EQ(*n, 100);
	CHECK_EQ(far_wait(last), 7);
	CHECK_OK();
}

TEST(a_busy_process_is_killed_after_close_ms)
{
	struct far_slave *s = far_slave_process(.close_ms = 20);
	pid_t pid = far_slave_pid(s);
	far_task(int) done = far_schedule(s, add, 1, 2);
	CHECK_EQ(far_wait_for(done, -1), 0);
	far_task(void) hung = far_schedule(s, wait_for_gate, new_int());
	far_task(int) queued = far_schedule(s, add, 3, 4);
	double start = seconds();

	CHECK_EQ(far_slave_close(s), -ETIMEDOUT);
	CHECK(far_error());
	CHECK(seconds() - start >= 0.02 && seconds() - start < 5);
	CHECK(!lives(pid));
	CHECK_EQ(far_wait(done), 3);
	CHECK_OK();
	far_wait(hung);
	CHECK_DIED();
	CHECK_EQ(far_wait(queued), 0);
	CHECK(far_error());
	CHECK_EQ(far_slave_close(s), -EINVAL);
}

TEST(a_busy_thread_is_left_to_itself_after_close_ms)
{
	struct far_slave *s = far_slave_thread(.close_ms = 20);
	int *gate = new_int(), *n = new_int();
	far_task(int) done = far_schedule(s, add, 1, 2);
	far_task(void) hung = far_schedule(s, wait_for_gate, gate);
	far_task(void) queued = far_schedule(s, count_up, n);

	CHECK_EQ(far_slave_close(s), -ETIMEDOUT);
	CHECK(far_error());
	CHECK_EQ(far_wait(done), 3);
	CHECK_OK();
	far_wait(hung);
	CHECK(far_error());
	far_wait(queued);
	CHECK(far_error());
	open_gate(gate);
	struct far_slave *t = far_slave_thread();

	CHECK_EQ(far_invoke(t, add, 5, 6), 11);
	CHECK_EQ(far_slave_close(t), 0);
}

static int count_block(int *n, const char *block, int fd)
{
	(*n)++;
	return block[0] + close(fd);
}

/* Its calls have failed: they are not run with what is somebody else's by then. */
TEST(a_thread_that_is_left_to_itself_runs_none_of_its_other_calls)
{
	struct far_slave *s = far_slave_thread(.close_ms = 20);
	int *gate = new_int(), *n = new_int(), fds[2];
	char *block = far_alloc(300000), c;
	far_task(void) hung = far_schedule(s, wait_for_gate, gate);

	CHECK(pipe(fds) == 0);
	far_task(int) queued = far_schedule(s, count_block, n, far_in(block, 300000), far_fd(fds[1]));

	CHECK_EQ(far_slave_close(s), -ETIMEDOUT);
	far_wait(queued);
	CHECK_FAILED(FAR_ECLOSED);
	far_wait(hung);
	CHECK_FAILED(FAR_ECLOSED);
	CHECK_HAS(far_error()->message, "goes on");
	close(fds[1]);
	CHECK_EQ(read(fds[0], &c, 1), 0);
	open_gate(gate);
	usleep(50000);
	CHECK_EQ(*n, 0);
}

static void die_by(int signal)
{
	raise(signal);
}

static void leave(int status)
{
	exit(status);
}

TEST(closing_a_dead_slave_says_so_and_frees_it)
{
	int fds = fds_in_use();

	for (int how = 0; how < 3; how++) {
		struct far_slave *s = far_slave_process();

		if (how == 2)
			far_invoke(s, die_by, SIGKILL);
		else
			far_invoke(s, leave, how);
		CHECK_DIED();
		CHECK_EQ(far_slave_close(s), -EOWNERDEAD);
		CHECK_DIED();
		CHECK_EQ(far_slave_close(s), -EINVAL);
	}
	check_no_slaves(fds);
}

TEST(a_slave_that_exits_in_a_queued_call_is_not_closed_well)
{
	for (int status = 0; status < 2; status++) {
		struct far_slave *s = far_slave_process();
		int *gate = new_int();

		far_schedule(s, wait_for_gate, gate);
		far_task(void) last = far_schedule(s, leave, status);
		far_task(int) behind = far_schedule(s, add, 1, 2);

		open_gate(gate);
		CHECK_EQ(far_slave_close(s), -EOWNERDEAD);
		far_wait(last);
		CHECK_DIED();
		CHECK_EQ(far_wait(behind), 0);
		CHECK_DIED();
	}
}

static int close_myself(void)
{
	return far_slave_close(far_slave_self());
}

TEST_BOTH(a_slave_cannot_close_itself)
{
	struct far_slave *s = START();

	CHECK_EQ(far_invoke(s, close_myself), -EINVAL);
	CHECK_EQ(far_invoke(s, add, 1, 2), 3);
	CHECK_EQ(far_slave_close(s), 0);
}

TEST_BOTH(a_slave_that_nobody_closes_ends_with_the_program)
{
	CHECK(START());
	CHECK(START());
}

struct caller {
	pthread_t thread;
	struct far_slave *slave;
	int *calls;
};

static void *call_until_closed(void *arg)
{
	struct caller *c = arg;

	for (;;) {
		int sum = far_invoke(c->slave, add, 20, 22);

		if (far_error()) {
			CHECK_FAILED(FAR_ECLOSED);
			return NULL;
		}
		CHECK_EQ(sum, 42);
		__atomic_add_fetch(c->calls, 1, __ATOMIC_SEQ_CST);
	}
}

TEST_BOTH(a_slave_may_be_closed_while_other_threads_call_it)
{
	for (int round = 0; round < 20; round++) {
		struct far_slave *s = START();
		struct caller c[4];
		int calls = 0;

		for (int i = 0; i < 4; i++) {
			c[i] = (struct caller){ .slave = s, .calls = &calls };
			pthread_create(&c[i].thread, NULL, call_until_closed, &c[i]);
		}
		AWAIT(5, __atomic_load_n(&calls, __ATOMIC_SEQ_CST) > 100);
		CHECK_EQ(far_slave_close(s), 0);
		for (int i = 0; i < 4; i++)
			pthread_join(c[i].thread, NULL);
	}
}

/* ---------------------------------------------------------- here-slaves */

TEST(stepping_an_idle_slave_returns_at_once_or_after_the_timeout)
{
	struct far_slave *s = far_slave_here(.name = "here");
	double start = seconds();

	CHECK_EQ(far_step(s, 0), 0);
	CHECK(seconds() - start < 0.5);
	CHECK_EQ(far_step(s, 30), 0);
	CHECK(seconds() - start >= 0.03);
	CHECK_EQ(far_slave_pid(s), getpid());
	CHECK(far_slave_self() == s);
	CHECK_EQ(far_slave_close(s), 0);
	CHECK(!far_slave_self());
}

static void *add_there(void *slave)
{
	return (void *)(intptr_t)far_invoke((struct far_slave *)slave, add, 40, 2);
}

TEST(a_step_serves_the_calls_of_other_threads)
{
	struct far_slave *s = far_slave_here();

	for (int i = 0; i < 400; i++) {
		pthread_t thread;
		void *sum;

		pthread_create(&thread, NULL, add_there, s);
		CHECK_EQ(far_step(s, i % 2 ? -1 : 5000), 1);
		pthread_join(thread, &sum);
		CHECK_EQ((intptr_t)sum, 42);
	}
	CHECK_EQ(far_slave_close(s), 0);
}

struct pointer_call {
	struct far_slave *slave;
	int *pointer;
	int *go;
};

static int read_int(int *p)
{
	return p ? *p : -1;
}

static void *refused_and_then_not(void *arg)
{
	struct pointer_call *c = arg;

	nanosleep(&(struct timespec){ .tv_nsec = 50000000 }, NULL);	/* it sleeps in far_step() */
	far_invoke(c->slave, read_int, c->pointer);
	CHECK_FAILED(FAR_ESTALE);
	nanosleep(&(struct timespec){ .tv_nsec = 20000000 }, NULL);
	CHECK_EQ(far_invoke(c->slave, read_int, c->go), 0);
	CHECK_OK();
	return NULL;
}

TEST(a_step_waits_on_when_a_call_was_refused)
{
	struct far_slave *here = far_slave_here(), *p = far_slave_process();
	struct pointer_call c = { here, far_invoke(p, malloc, 4), new_int() };
	pthread_t thread;

	pthread_create(&thread, NULL, refused_and_then_not, &c);
	CHECK_EQ(far_step(here, -1), 1);
	pthread_join(thread, NULL);
}

static void *step_there(void *slave)
{
	CHECK_EQ(far_step(slave, 0), -EINVAL);
	CHECK_FAILED(FAR_EINVAL);
	CHECK_EQ(far_slave_close(slave), -EINVAL);
	CHECK_FAILED(FAR_EINVAL);
	return NULL;
}

TEST(only_the_thread_that_made_a_here_slave_steps_and_closes_it)
{
	struct far_slave *s = far_slave_here(), *t = far_slave_thread(), *p = far_slave_process();
	pthread_t thread;

	pthread_create(&thread, NULL, step_there, s);
	pthread_join(thread, NULL);
	CHECK_EQ(far_step(t, 0), -EINVAL);
	CHECK_FAILED(FAR_EINVAL);
	CHECK_EQ(far_step(p, 0), -EINVAL);
	CHECK_FAILED(FAR_EINVAL);
	CHECK_EQ(far_step(NULL, 0), -EINVAL);
	CHECK(far_error());
	CHECK(!far_slave_here());
	CHECK_FAILED(FAR_EINVAL);
	CHECK_EQ(far_slave_close(s), 0);
	CHECK_EQ(far_step(s, 0), -EINVAL);
	CHECK_FAILED(FAR_ECLOSED);
}

TEST(a_here_slave_serves_what_it_scheduled_to_itself)
{
	struct far_slave *s = far_slave_here();
	far_task(int) a = far_schedule(s, add, 1, 2), b = far_schedule(s, add, 3, 4), c;

	c = far_schedule(s, add, 5, 6);
	CHECK_EQ(far_wait(b), 7);
	CHECK_EQ(far_wait(a), 3);
	CHECK_EQ(far_wait(c), 11);
	CHECK_EQ(far_invoke(s, add, 7, 8), 15);
	far_schedule(s, add, 9, 10);
	CHECK_EQ(far_step(s, 0), 1);
	CHECK_EQ(far_slave_close(s), 0);
}

TEST(closing_a_here_slave_serves_what_is_queued)
{
	struct far_slave *s = far_slave_here();
	far_task(int) t = far_schedule(s, add, 1, 2);

	CHECK_EQ(far_slave_close(s), 0);
	CHECK_EQ(far_wait(t), 3);
	CHECK_OK();
	s = far_slave_here();
	CHECK(s);
	CHECK_EQ(far_slave_close(s), 0);
}

TEST(setup_of_a_here_slave_runs_at_once)
{
	int n = 5;
	struct far_slave *s = far_slave_here(.setup = note_setup, .setup_arg = &n);

	CHECK_EQ(setups, 5);
	CHECK_EQ(far_slave_close(s), 0);
	CHECK(!far_slave_here(.setup = raise_in_setup, .setup_arg = (void *)(uintptr_t)"it"));
	CHECK_FAILED(4711);
	CHECK(!far_slave_self());
}

static int step_deeper(int *depth)
{
	struct far_slave *s = far_slave_self();

	if (--*depth > 0)
		far_schedule(s, step_deeper, depth);
	return far_step(s, 0);
}

TEST(a_call_of_a_here_slave_may_step_it)
{
	struct far_slave *s = far_slave_here();
	int depth = 5;
	far_task(int) t = far_schedule(s, step_deeper, &depth);

	CHECK(far_step(s, 0) >= 1);
	CHECK_EQ(far_wait(t), 1);
	CHECK_EQ(depth, 0);
	CHECK_EQ(far_slave_close(s), 0);
}

static struct far_slave *here_there(void)
{
	return far_slave_here();
}

TEST_BOTH(a_slave_is_no_here_slave_too)
{
	struct far_slave *s = START();

	CHECK(!far_invoke(s, here_there));
	CHECK_OK();
	CHECK_EQ(far_slave_close(s), 0);
}

/* --------------------------------------------------------- slaves' selves */

static int add_in_place(int a, int b)
{
	return far_invoke(far_slave_self(), add, a, b);
}

static int add_later(int a, int b)
{
	far_task(int) t = far_schedule(far_slave_self(), add, a, b);

	return far_wait(t);
}

static int sum_to(int n)
{
	if (n == 0)
		return 0;
	far_task(int) t = far_schedule(far_slave_self(), sum_to, n - 1);

	return n + far_wait(t);
}

TEST_BOTH(a_slave_calls_itself_in_place)
{
	struct far_slave *s = START();

	CHECK(!far_slave_self());
	CHECK(far_invoke(s, far_slave_self) == s);
	CHECK_EQ(far_invoke(s, add_in_place, 1, 2), 3);
	CHECK_EQ(far_slave_close(s), 0);
}

TEST_BOTH(a_slave_waits_for_what_it_scheduled_to_itself)
{
	struct far_slave *s = START(.queue = 2);

	CHECK_EQ(far_invoke(s, add_later, 1, 2), 3);
	CHECK_EQ(far_invoke(s, sum_to, 1), 1);
	CHECK_EQ(far_slave_close(s), 0);
}

TEST_BOTH(a_slave_waits_for_itself_a_hundred_deep)
{
	struct far_slave *s = START();

	CHECK_EQ(far_invoke(s, sum_to, 100), 5050);
	CHECK_EQ(far_slave_close(s), 0);
}

static int schedule_many_to_myself(int n)
{
	far_task(int) t[64];
	int sum = 0;

	for (int i = 0; i < n; i++)
		t[i] = far_schedule(far_slave_self(), add, i, 1);
	for (int i = n; i-- > 0;)
		sum += far_wait(t[i]);
	return sum;
}

TEST_BOTH(a_slave_schedules_more_to_itself_than_its_queue_holds)
{
	struct far_slave *s = START(.queue = 1);

	CHECK_EQ(far_invoke(s, schedule_many_to_myself, 64), 63 * 32 + 64);
	CHECK_OK();
	CHECK_EQ(far_slave_close(s), 0);
}

static int two_slaves_there(int a)
{
	struct far_slave *t = far_slave_thread(), *p = far_slave_process();
	int sum = far_invoke(t, add, a, 1) + far_invoke(p, add, a, 2) + far_wait(far_schedule(p, add_later, a, 3));

	if (far_error())
		far_raise(1, "%s", far_error()->message);
	if (far_slave_close(t) || far_slave_close(p))
		far_raise(2, "%s", far_error()->message);
	return sum;
}

TEST_BOTH(slaves_have_slaves)
{
	struct far_slave *s = START();

	for (int i = 0; i < 5; i++) {
		CHECK_EQ(far_invoke(s, two_slaves_there, 10), 36);
		CHECK_OK();
	}
	CHECK_EQ(far_slave_close(s), 0);
}

static pid_t start_family(int generations)
{
	struct far_slave *s = far_slave_process();

	far_slave_thread();
	return generations > 1 ? far_invoke(s, start_family, generations - 1) : far_slave_pid(s);
}

TEST(a_killed_slave_takes_its_slaves_along)
{
	struct far_slave *s = far_slave_process();
	pid_t pid = far_invoke(s, start_family, 3);

	CHECK(lives(pid));
	kill(far_slave_pid(s), SIGKILL);
	AWAIT(5, !lives(pid));
	AWAIT(5, slave_processes() == 2);
	CHECK_EQ(far_slave_close(s), -EOWNERDEAD);
}

TEST(a_closed_slave_takes_its_slaves_along)
{
	struct far_slave *s = far_slave_process();
	pid_t pid = far_invoke(s, start_family, 3);

	CHECK(lives(pid));
	CHECK_EQ(far_slave_close(s), 0);
	AWAIT(5, !lives(pid));
	AWAIT(5, slave_processes() == 2);
}

static int make_many(int n)
{
	int made = 0;

	for (int i = 0; i < n; i++) {
		struct far_slave *s = far_slave_process();

		made += far_invoke(s, add, 1, 2) == 3;
		far_slave_close(s);
	}
	return made;
}

TEST_BOTH(slaves_start_slaves_at_the_same_time)
{
	struct far_slave *s[8];
	far_task(int) t[8];

	for (int i = 0; i < 8; i++) {
		s[i] = START();
		t[i] = far_schedule(s[i], make_many, 30);
	}
	for (int i = 0; i < 8; i++) {
		CHECK_EQ(far_wait(t[i]), 30);
		CHECK_EQ(far_slave_close(s[i]), 0);
	}
}

static struct far_slave *start_after(int us)
{
	usleep((useconds_t)us);
	return far_slave_process();
}

/* Who waits for a slave may find it taken by another who did not wait, and must be given the next. */
PLAIN(two_slaves_are_started_at_the_same_time_without_spares)
{
	setenv("FARCALL_SPARES", "0", 1);
	CHECK_EQ(far_init(), 0);
	struct far_slave *starter[] = { far_slave_thread(), far_slave_thread() };

	for (int i = 0; i < 500; i++) {
		far_task(struct far_slave *) one = far_schedule(starter[0], start_after, 0);
		far_task(struct far_slave *) other = far_schedule(starter[1], start_after, i % 250 * 10);

		CHECK_EQ(far_slave_close(far_wait(one)), 0);
		CHECK_EQ(far_slave_close(far_wait(other)), 0);
	}
	CHECK_EQ(far_slave_close(starter[0]), 0);
	CHECK_EQ(far_slave_close(starter[1]), 0);
}

static int call_dying_slave(void)
{
	struct far_slave *s = far_slave_process();

	far_invoke(s, die_by, SIGKILL);
	int code = far_error() ? far_error()->code : 0;

	return far_slave_close(s) == -EOWNERDEAD ? code : -1;
}

TEST(a_slave_hears_of_the_death_of_its_slave)
{
	struct far_slave *s = far_slave_process();

	CHECK_EQ(far_invoke(s, call_dying_slave), FAR_EKILLED);
	CHECK_EQ(far_slave_close(s), 0);
}

static struct far_slave *make_there(void)
{
	return far_slave_process();
}

TEST(the_slave_of_a_slave_is_not_for_the_master)
{
	struct far_slave *s = far_slave_process(), *theirs = far_invoke(s, make_there);

	CHECK(theirs);
	CHECK_EQ(far_invoke(theirs, add, 1, 2), 0);
	CHECK_FAILED(FAR_ECLOSED);
	CHECK_EQ(far_slave_close(theirs), -EINVAL);
	CHECK_EQ(far_slave_close(s), 0);
}

static int call_sibling(struct far_slave *s)
{
	far_invoke(s, add, 1, 2);
	return far_error() ? far_error()->code : 0;
}

TEST(the_masters_slave_is_not_for_its_other_slaves)
{
	struct far_slave *a = far_slave_process(), *b = far_slave_process();

	CHECK_EQ(far_invoke(a, call_sibling, b), FAR_ECLOSED);
	CHECK_EQ(far_slave_close(a), 0);
	CHECK_EQ(far_slave_close(b), 0);
}

TEST(a_thread_slave_calls_its_siblings_in_the_process)
{
	struct far_slave *a = far_slave_thread(), *b = far_slave_thread(), *p = far_slave_process();

	CHECK_EQ(far_invoke(a, call_sibling, b), 0);
	CHECK_EQ(far_invoke(a, call_sibling, p), 0);
	CHECK_EQ(far_slave_close(a), 0);
	CHECK_EQ(far_slave_close(b), 0);
	CHECK_EQ(far_slave_close(p), 0);
}

/* ------------------------------------------------------ nothing is left */

static void make_and_close(int n)
{
	struct far_slave *s[100];

	for (int i = 0; i < n; i++) {
		s[i] = START();
		CHECK(s[i]);
		CHECK_EQ(far_invoke(s[i], add, i, 1), i + 1);
		CHECK_EQ(far_wait(far_schedule(s[i], add, i, 2)), i + 2);
	}
	for (int i = 0; i < n; i++)
		CHECK_EQ(far_slave_close(s[i]), 0);
}

TEST_BOTH(slaves_made_and_closed_leave_nothing_behind)
{
	mallopt(M_ARENA_MAX, 1);
	make_and_close(100);
	make_and_close(100);
	int fds = fds_in_use(), maps = count_maps();

	for (int i = 0; i < 3; i++)
		make_and_close(100);
	CHECK_EQ(count_fds(), fds);
	CHECK(count_maps() <= maps);
	CHECK_EQ(count_shm_names(), 0);
	AWAIT(5, slave_processes() == 2);
	CHECK_HAS(status_text(), "slaves of this process: 0 processes, 0 threads");
}

static void *close_slave(void *slave)
{
	CHECK_EQ(far_slave_close(slave), 0);
	return NULL;
}

static void *start_slave(void *unused)
{
	(void)unused;
	return far_slave_process();
}

static void *step_a_little(void *unused)
{
	struct far_slave *s = far_slave_here();

	CHECK_EQ(far_step(s, 5), 0);
	CHECK_EQ(far_slave_close(s), 0);
	return unused;
}

static void *in_a_thread(void *(*run)(void *), void *arg)
{
	pthread_t thread;
	void *result;

	pthread_create(&thread, NULL, run, arg);
	pthread_join(thread, &result);
	return result;
}

/* What a thread sleeps with ends with it, also if it has made no call. */
TEST(threads_that_only_start_step_and_close_leave_nothing_behind)
{
	int fds = 0, maps = 0;

	mallopt(M_ARENA_MAX, 1);
	for (int i = 0; i < 20; i++) {
		struct far_slave *s = in_a_thread(start_slave, NULL), *t = in_a_thread(start_slave, NULL);
		struct far_slave *u = in_a_thread(start_slave, NULL);	/* more than there are in stock */

		far_forget(far_schedule(s, usleep, 5000));
		in_a_thread(step_a_little, NULL);
		in_a_thread(close_slave, s);
		in_a_thread(close_slave, t);
		in_a_thread(close_slave, u);
		if (i == 9) {
			fds = count_fds();
			maps = count_maps();
		}
	}
	CHECK_EQ(count_fds(), fds);
	CHECK(count_maps() <= maps + 2);
}

/* All of ours are close-on-exec; those that the test was started with are not. */
static int our_fds(void)
{
	int n = 0;

	for (int fd = 0; fd < 1024; fd++) {
		int flags = fcntl(fd, F_GETFD);

		n += flags >= 0 && flags & FD_CLOEXEC;
	}
	return n;
}

TEST(a_slave_process_has_few_descriptors_of_ours)
{
	struct far_slave *s = far_slave_process();
	int here = our_fds(), there = far_invoke(s, our_fds);

	CHECK_OK();
	CHECK(here < 10);
	CHECK(there < 10);
	CHECK_EQ(far_slave_close(s), 0);
}

TEST(an_idle_slave_process_costs_the_master_no_descriptor)
{
	int fds = fds_in_use();

	for (int i = 0; i < 20; i++)
		CHECK_EQ(far_invoke(far_slave_process(), add, i, 1), i + 1);
	CHECK_EQ(count_fds(), fds);
}

static void *be_a_slave_and_end(void *slave)
{
	*(struct far_slave **)slave = far_slave_here(.name = "short-lived");
	return NULL;
}

TEST(a_thread_that_ends_without_closing_its_slave_is_missed)
{
	struct far_slave *s = NULL;
	pthread_t t;

	pthread_create(&t, NULL, be_a_slave_and_end, &s);
	pthread_join(t, NULL);
	CHECK_EQ(far_invoke(s, getpid), 0);
	CHECK_FAILED(FAR_EDIED);
}
