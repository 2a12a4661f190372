/* Deadlines and cancelling: calls that are not waited for for ever, or not made at all. */
#include <pthread.h>

#include "check.h"

static int add(int a, int b)
{
	return a + b;
}

static int *shared_int(void)
{
	return far_calloc(1, sizeof(int));
}

static int count(int *n)
{
	return __atomic_add_fetch(n, 1, __ATOMIC_SEQ_CST);
}

/* Until told to go on. */
static void wait_for(int *gate)
{
	while (!__atomic_load_n(gate, __ATOMIC_SEQ_CST))
		usleep(100);
}

static void open_gate(int *gate)
{
	__atomic_store_n(gate, 1, __ATOMIC_SEQ_CST);
}

static int until_interrupted(int *begun)
{
	open_gate(begun);
	while (!far_interrupted())
		usleep(100);
	return 77;
}

static void for_ever(void)
{
	sigset_t all;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	for (;;)
		;
}

/* ---------------------------------------------------------------- deadlines */

TEST_BOTH(a_call_in_time_has_its_result)
{
	struct far_slave *s = START(.deadline_ms = 5000), *plain = START();

	CHECK_EQ(far_invoke(s, add, 1, 2), 3);
	CHECK_EQ(far_wait(far_schedule(s, add, 1, 3)), 4);
	CHECK_EQ(far_invoke_within(5000, plain, add, 1, 4), 5);
	CHECK_EQ(far_wait(far_schedule_within(5000, plain, add, 1, 5)), 6);
	CHECK_EQ(far_invoke_within(-1, s, add, 1, 6), 7);
	CHECK_OK();
	CHECK_EQ(far_slave_close(s), 0);
	CHECK_EQ(far_slave_close(plain), 0);
}

TEST(an_endless_loop_is_killed_at_its_deadline)
{
	struct far_slave *s = far_slave_process(.name = "loop", .deadline_ms = 500);
	double start = seconds();

	far_invoke(s, for_ever);
	CHECK_FAILED(FAR_EDEADLINE);
	CHECK(seconds() - start >= 0.5);
	CHECK(seconds() - start < 5);
	CHECK_HAS(far_error()->message, "before the deadline");
	CHECK_HAS(far_error()->message, "\"loop\"");
	AWAIT(5, !lives(far_slave_pid(s)));
	far_invoke(s, add, 1, 2);
	CHECK_FAILED(FAR_EKILLED);
	CHECK_HAS(far_error()->message, "was killed, for it ran a call whose deadline had passed");
	CHECK_EQ(far_slave_close(s), -EOWNERDEAD);
}

TEST(a_deadline_of_a_call_goes_before_the_slaves)
{
	struct far_slave *s = far_slave_process(.deadline_ms = 60000);
	double start = seconds();

	far_invoke_within(500, s, for_ever);
	CHECK_FAILED(FAR_EDEADLINE);
	CHECK(seconds() - start < 5);
	far_slave_close(s);
	far_error();
}

TEST(a_task_is_killed_at_its_deadline_though_nobody_waits)
{
	struct far_slave *s = far_slave_process();
	far_task(void) t = far_schedule_within(500, s, for_ever);
	pid_t pid = far_slave_pid(s);

	AWAIT(5, !lives(pid));
	far_wait(t);
	CHECK_FAILED(FAR_EDEADLINE);
	far_slave_close(s);
	far_error();
}

TEST(a_task_that_waits_is_late_too)
{
	struct far_slave *s = far_slave_process();
	double start = seconds();
	far_task(void) t = far_schedule_within(500, s, for_ever);

	far_wait(t);
	CHECK_FAILED(FAR_EDEADLINE);
	CHECK(seconds() - start >= 0.5);
	far_slave_close(s);
	far_error();
}

TEST_BOTH(a_call_that_is_late_in_the_queue_never_runs)
{
	struct far_slave *s = START();
	int *gate = shared_int(), *n = shared_int();
	far_task(void) busy = far_schedule(s, wait_for, gate);
	far_task(int) waited = far_schedule_within(10, s, count, n), later = far_schedule_within(10, s, count, n);
	double scheduled = seconds();

	CHECK_EQ(far_wait(waited), 0);
	CHECK_FAILED(FAR_EDEADLINE);
	AWAIT(5, seconds() - scheduled > 0.015);
	open_gate(gate);
	far_wait(busy);
	CHECK_OK();
	CHECK_EQ(far_wait(later), 0);
	CHECK_FAILED(FAR_EDEADLINE);
	CHECK_EQ(far_invoke(s, add, 1, 2), 3);
	CHECK_EQ(*n, 0);
	CHECK_EQ(far_slave_close(s), 0);
}

TEST(a_thread_goes_on_after_the_deadline_and_is_told)
{
	struct far_slave *s = far_slave_thread();
	int *begun = shared_int();
	double start = seconds();

	CHECK_EQ(far_invoke_within(500, s, until_interrupted, begun), 0);
	CHECK_FAILED(FAR_EDEADLINE);
	CHECK_HAS(far_error()->message, "cannot be killed");
	CHECK(seconds() - start < 5);
	CHECK_EQ(far_invoke(s, add, 1, 2), 3);
	CHECK_EQ(far_invoke(s, add, 1, 3), 4);
	CHECK_OK();
	CHECK_EQ(far_slave_close(s), 0);
}

/* Other slaves are given theirs meanwhile. */
static long count_until_interrupted(void)
{
	long n = 0;

	for (; !far_interrupted(); usleep(20))
		n++;
	return n + 1;
}

TEST_BOTH(half_of_a_result_is_none)
{
	struct far_slave *s = in_process ? far_slave_process(.respawn = 1000) : far_slave_thread();

	for (int i = 0; i < 50; i++) {
		CHECK_EQ(far_invoke_within(3, s, count_until_interrupted), 0);
		CHECK_FAILED(FAR_EDEADLINE);
		CHECK_EQ(far_wait(far_schedule_within(3, s, count_until_interrupted)), 0);
		CHECK_FAILED(FAR_EDEADLINE);
	}
	far_slave_close(s);
}

TEST_BOTH(a_call_that_may_take_no_time_is_not_run)
{
	struct far_slave *s = START();
	int *n = shared_int();

	for (int i = 0; i < 50; i++) {
		CHECK_EQ(far_invoke_within(0, s, count, n), 0);
		CHECK_FAILED(FAR_EDEADLINE);
	}
	CHECK_EQ(far_slave_close(s), 0);
	CHECK_EQ(*n, 0);
}

TEST(a_descriptor_is_not_waited_for_beyond_the_deadline)
{
	struct far_slave *s = far_slave_process(), *idle = far_slave_process();
	far_task(int) busy = far_schedule(s, usleep, 2000000);
	double start = seconds();

	CHECK_EQ(far_invoke_within(200, s, close, far_fd(1)), 0);
	CHECK_FAILED(FAR_EDEADLINE);
	CHECK_EQ(far_invoke_within(200, idle, close, far_fd(1)), 0);
	CHECK_OK();
	CHECK(seconds() - start < 1.5);
	CHECK_EQ(far_wait(busy), 0);
	CHECK_EQ(far_invoke_within(5000, s, close, far_fd(1)), 0);
	CHECK_OK();
	CHECK_EQ(far_slave_close(idle), 0);
	CHECK_EQ(far_slave_close(s), 0);
}

static int keep_open(int first, int second, int behind)
{
	(void)behind;
	return first + second;
}

/* An argument that has the call wait in the queue, behind @f: descriptors that are passed before it are there by then. */
static int keep_busy(struct far_slave *s, void (*f)(int *), int *gate)
{
	*gate = 0;
	far_forget(far_schedule(s, f, gate));
	return 0;
}

/* Nobody has a pipe's other end open any more. */
static void check_end(int p[2])
{
	char c;

	close(p[1]);
	CHECK_EQ(poll(&(struct pollfd){ .fd = p[0], .events = POLLIN }, 1, 5000), 1);
	CHECK_EQ(read(p[0], &c, 1), 0);
	close(p[0]);
}

TEST_BOTH(descriptors_of_a_call_that_is_not_run_are_closed)
{
	struct far_slave *s = START();
	int *gate = shared_int(), p[2];
	far_task(int) task;

	CHECK(pipe(p) == 0);
	far_invoke_within(300, s, keep_open, far_fd(p[1]), far_fd(p[1]), keep_busy(s, wait_for, gate));
	CHECK_FAILED(FAR_EDEADLINE);
	open_gate(gate);
	check_end(p);

	CHECK(pipe(p) == 0);
	task = far_schedule_within(300, s, keep_open, far_fd(p[1]), far_fd(p[1]), keep_busy(s, wait_for, gate));
	usleep(350000);
	open_gate(gate);
	far_wait(task);
	CHECK_FAILED(FAR_EDEADLINE);
	check_end(p);

	CHECK(pipe(p) == 0);
	task = far_schedule(s, keep_open, far_fd(p[1]), far_fd(p[1]), keep_busy(s, wait_for, gate));
	CHECK_EQ(far_cancel(task), 0);
	far_wait(task);
	CHECK_FAILED(FAR_ECANCELLED);
	/* What the slave closes when it comes to the call is told in memory that is nobody else's by then. */
	for (size_t size = 16; size <= 1024; size += 16)
		memset(far_alloc(size), 1, size);
	open_gate(gate);
	check_end(p);
	CHECK_EQ(far_slave_close(s), 0);
}

static int close_all(void)
{
	return close_range(3, ~0u, 0);
}

TEST(a_slave_that_has_closed_its_descriptors_is_passed_others)
{
	struct far_slave *s = far_slave_process();

	CHECK_EQ(far_invoke(s, close, far_fd(1)), 0);
	CHECK_EQ(far_invoke(s, close_all), 0);
	CHECK_EQ(far_invoke(s, close, far_fd(1)), 0);
	CHECK_OK();
	CHECK_EQ(far_slave_close(s), 0);
}

static int sleep_with(int fd, int us, int unused)
{
	(void)unused;
	usleep((useconds_t)us);
	return close(fd);
}

static int sleep_here(int us)
{
	return usleep((useconds_t)us);
}

/* From the time when the first descriptor is passed. */
TEST(a_deadline_is_not_begun_again_when_descriptors_have_been_passed)
{
	struct far_slave *s = far_slave_process();

	CHECK_EQ(far_invoke_within(500, s, sleep_with, far_fd(1), 300000, sleep_here(300000)), 0);
	CHECK_FAILED(FAR_EDEADLINE);
	far_slave_close(s);
}

static void *pass_for_ever(void *slave)
{
	struct far_slave *s = slave;

	for (int i = 0; i < 100; i++) {
		far_invoke_within(1 + i % 20, s, close, far_fd(1));
		(void)far_error();
	}
	return NULL;
}

/*
 * What was sent to it, and not taken in time, once stopped those who sent more. It is killed
 * if it has just begun to take one when the time is over.
 */
TEST(descriptors_for_a_slave_that_is_busy_are_given_up_in_time)
{
	struct far_slave *s = far_slave_process(.respawn = 100);
	pthread_t thread;
	double start = seconds();

	pthread_create(&thread, NULL, pass_for_ever, s);
	for (int i = 0; i < 150; i++) {
		far_invoke(s, usleep, 8000);
		(void)far_error();
	}
	pthread_join(thread, NULL);
	CHECK(seconds() - start < 20);
	CHECK_EQ(far_invoke(s, close, far_fd(1)), 0);
	CHECK_OK();
	CHECK_EQ(far_slave_close(s), 0);
}

static void end_thread(int *gate)
{
	wait_for(gate);
	pthread_exit(NULL);
}

TEST(descriptors_of_a_call_behind_one_that_ends_the_thread_are_closed)
{
	int *gate = shared_int(), p[2];

	for (int i = 0; i < 2; i++) {
		struct far_slave *s = far_slave_thread();
		far_task(int) task;

		CHECK(pipe(p) == 0);
		task = far_schedule(s, keep_open, far_fd(p[1]), far_fd(p[1]), keep_busy(s, end_thread, gate));
		open_gate(gate);
		if (i == 0) {
			far_wait(task);
			CHECK_FAILED(FAR_EDIED);
		} else {
			far_forget(task);
		}
		far_slave_close(s);
		check_end(p);
	}
}

static void stay(int *gate)
{
	open_gate(gate);
	pause();
}

/* Its number may be another file's in the next life. */
TEST(a_descriptor_is_not_used_by_a_later_life)
{
	struct far_slave *s = far_slave_process(.respawn = 3);
	int *gate = shared_int(), p[2];
	far_task(int) task;

	CHECK(pipe(p) == 0);
	task = far_schedule(s, keep_open, far_fd(p[1]), far_fd(p[1]), keep_busy(s, stay, gate));
	wait_for(gate);
	kill(far_slave_pid(s), SIGKILL);
	CHECK_EQ(far_wait(task), 0);
	CHECK_FAILED(FAR_ESTALE);
	check_end(p);
	CHECK_EQ(far_slave_close(s), 0);
}

static void raise_when_told(void)
{
	while (!far_interrupted())
		usleep(100);
	far_raise(1, "%s", "what nobody will read, and is not kept for that");
}

TEST(what_a_late_call_raises_is_not_kept)
{
	struct far_slave *s = far_slave_thread();
	size_t large, before = 0, small = 0;

	for (int i = 0; i < 3000; i++) {
		far_invoke_within(1, s, raise_when_told);
		/* On a busy machine it may have raised by the time that its caller looks. */
		CHECK(far_error() && (far_error()->code == FAR_EDEADLINE || far_error()->code == 1));
		far_forget(far_schedule_within(1, s, raise_when_told));
		CHECK_EQ(far_invoke(s, add, 1, 2), 3);
		if (i == 300)
			CHECK(heap_use(&large, &before));
	}
	CHECK(heap_use(&large, &small));
	CHECK(small <= before + 64);
	CHECK_EQ(far_slave_close(s), 0);
}

static void fill(char *p, size_t n, int *gate)
{
	wait_for(gate);
	memset(p, 1, n);
}

TEST(a_late_call_copies_nothing_out)
{
	struct far_slave *s = far_slave_thread();
	int *gate = shared_int();
	static char small[100], large[100000];

	far_invoke_within(200, s, fill, far_out(small, sizeof small), sizeof small, gate);
	CHECK_FAILED(FAR_EDEADLINE);
	open_gate(gate);
	CHECK_EQ(far_invoke(s, add, 1, 2), 3);
	*gate = 0;
	far_invoke_within(200, s, fill, far_out(large, sizeof large), sizeof large, gate);
	CHECK_FAILED(FAR_EDEADLINE);
	open_gate(gate);
	CHECK_EQ(far_invoke(s, add, 1, 2), 3);
	CHECK_EQ(small[0], 0);
	CHECK_EQ(large[0], 0);
	CHECK_EQ(far_slave_close(s), 0);
}

TEST(deadlines_that_are_kept_kill_nobody)
{
	struct far_slave *s = far_slave_process(.deadline_ms = 1000);
	double end = seconds() + 0.3;
	far_task(int) t[50];

	while (seconds() < end) {
		for (int i = 0; i < 50; i++)
			t[i] = far_schedule_within(10000, s, add, i, 1);
		for (int i = 0; i < 50; i++)
			CHECK_EQ(far_wait(t[i]), i + 1);
	}
	CHECK_EQ(far_invoke_within(10000, s, usleep, 1100000), 0);
	CHECK_OK();
	CHECK_EQ(far_slave_close(s), 0);
}

/* ---------------------------------------------------------------- cancelling */

TEST_BOTH(a_cancelled_call_that_had_not_begun_never_runs)
{
	struct far_slave *s = START();
	int *gate = shared_int(), *n = shared_int();
	far_task(void) busy = far_schedule(s, wait_for, gate);
	far_task(int) t = far_schedule(s, count, n), u = far_schedule(s, count, n);

	CHECK_EQ(far_cancel(t), 0);
	CHECK_EQ(far_done(t), 1);
	CHECK_EQ(far_cancel(t), -EALREADY);
	CHECK_EQ(far_wait(t), 0);
	CHECK_FAILED(FAR_ECANCELLED);
	open_gate(gate);
	CHECK_EQ(far_wait(u), 1);
	CHECK_OK();
	far_wait(busy);
	CHECK_EQ(*n, 1);
	CHECK_EQ(far_slave_close(s), 0);
}

TEST_BOTH(a_running_function_is_told)
{
	struct far_slave *s = START();
	int *begun = shared_int();
	far_task(int) t = far_schedule(s, until_interrupted, begun);

	wait_for(begun);
	CHECK_EQ(far_cancel(t), 1);
	CHECK_EQ(far_wait(t), 77);
	CHECK_OK();
	/* The next call is not. */
	CHECK_EQ(far_invoke(s, far_interrupted), 0);
	CHECK_EQ(far_interrupted(), 0);
	CHECK_EQ(far_slave_close(s), 0);
}

TEST(a_call_in_a_thread_of_its_own_is_told)
{
	int *begun = shared_int();
	far_task(int) t = far_thread(until_interrupted, begun);

	wait_for(begun);
	CHECK_EQ(far_cancel(t), 1);
	CHECK_EQ(far_wait(t), 77);
	CHECK_OK();
}

TEST_BOTH(what_is_done_or_no_task_cannot_be_cancelled)
{
	struct far_slave *s = START();
	far_task(int) t = far_schedule(s, add, 1, 2), none = NULL;

	CHECK_EQ(far_wait_for(t, -1), 0);
	CHECK_EQ(far_cancel(t), -EALREADY);
	CHECK_EQ(far_wait(t), 3);
	CHECK_OK();
	CHECK_EQ(far_cancel(t), -EINVAL);
	CHECK_FAILED(FAR_ETASK);
	CHECK_EQ(far_cancel(none), -EINVAL);
	CHECK_FAILED(FAR_ETASK);
	t = far_schedule(s, add, 1, 2);
	CHECK_EQ(far_forget(t), 0);
	CHECK_EQ(far_cancel(t), -EINVAL);
	CHECK_FAILED(FAR_ETASK);
	CHECK_EQ(far_slave_close(s), 0);
}

static void begin_for_ever(int *begun)
{
	open_gate(begun);
	for_ever();
}

TEST(kill_on_cancel_kills_a_process_that_runs_the_call)
{
	struct far_slave *s = far_slave_process(.kill_on_cancel = 1);
	int *gate = shared_int(), *begun = shared_int();
	far_task(int) queued;
	far_task(void) t = far_schedule(s, begin_for_ever, begun);
	pid_t pid = far_slave_pid(s);

	wait_for(begun);
	queued = far_schedule(s, count, gate);
	CHECK_EQ(far_cancel(queued), 0);
	CHECK(lives(pid));
	far_forget(queued);
	CHECK_EQ(far_cancel(t), 1);
	AWAIT(5, !lives(pid));
	far_wait(t);
	CHECK_FAILED(FAR_ECANCELLED);
	far_slave_close(s);
	far_error();
}

TEST(after_the_grace_time_a_process_is_killed)
{
	struct far_slave *s = far_slave_process(.grace_ms = 500);
	int *begun = shared_int();
	far_task(void) t;
	far_task(int) polite = far_schedule(s, until_interrupted, begun);

	wait_for(begun);
	CHECK_EQ(far_cancel(polite), 1);
	CHECK_EQ(far_wait(polite), 77);
	usleep(600000);
	CHECK_EQ(far_invoke(s, add, 1, 2), 3);
	t = far_schedule(s, for_ever);
	usleep(100000);
	double start = seconds();

	CHECK_EQ(far_cancel(t), 1);
	far_wait(t);
	CHECK_FAILED(FAR_ECANCELLED);
	CHECK(seconds() - start >= 0.4);
	far_slave_close(s);
	far_error();
}

/* In a slave: call another, which waits until the master says so; then report how that ended. */
static int call_and_wait(struct far_slave *other, int *begun, int *gate)
{
	open_gate(begun);
	far_invoke(other, wait_for, gate);
	return far_error() ? far_error()->code : 0;
}

static int call_own_slave(int *begun, int *gate)
{
	struct far_slave *mine = far_slave_process();
	int code = call_and_wait(mine, begun, gate);

	open_gate(gate);
	far_error();
	far_slave_close(mine);
	return code;
}

TEST(a_cancelled_function_waits_for_its_own_calls_no_longer)
{
	struct far_slave *s = far_slave_process();
	int *begun = shared_int(), *gate = shared_int();
	far_task(int) t = far_schedule(s, call_own_slave, begun, gate);

	wait_for(begun);
	usleep(20000);
	CHECK_EQ(far_cancel(t), 1);
	CHECK_EQ(far_wait(t), FAR_ECANCELLED);
	CHECK_OK();
	CHECK_EQ(far_invoke(s, add, 1, 2), 3);
	CHECK_EQ(far_slave_close(s), 0);
}

static int wait_for_own_task(int *begun, int *gate)
{
	struct far_slave *mine = far_slave_process();
	far_task(void) t = far_schedule(mine, wait_for, gate);

	open_gate(begun);
	far_wait(t);
	int code = far_error() ? far_error()->code : 0;

	/* The wait was given up, the task was not. Outside of a cancelled call it could be waited for. */
	code = code == FAR_ECANCELLED && far_wait_for(t, 0) == -ECANCELED && far_error()->code == FAR_ECANCELLED ? 1 : 0;
	open_gate(gate);
	far_forget(t);
	far_slave_close(mine);
	far_error();
	return code;
}

TEST(a_wait_that_is_given_up_has_taken_nothing)
{
	struct far_slave *s = far_slave_process();
	int *begun = shared_int(), *gate = shared_int();
	far_task(int) t = far_schedule(s, wait_for_own_task, begun, gate);

	wait_for(begun);
	usleep(20000);
	CHECK_EQ(far_cancel(t), 1);
	CHECK_EQ(far_wait(t), 1);
	CHECK_OK();
	CHECK_EQ(far_slave_close(s), 0);
}

static void *cancel_often(void *task)
{
	for (int i = 0; i < 20000; i++)
		far_cancel(*(far_task(int) *)task);
	return NULL;
}

TEST_BOTH(a_task_that_others_look_at_is_not_done_for_that)
{
	struct far_slave *s = START();
	int *gate = shared_int();
	far_task(void) task = far_schedule(s, wait_for, gate);
	pthread_t thread;
	int done = 0;

	usleep(20000);		/* once it has begun a function that does not ask goes on */
	pthread_create(&thread, NULL, cancel_often, &task);
	for (int i = 0; i < 100000; i++)
		done += far_done(task);
	pthread_join(thread, NULL);
	CHECK_EQ(done, 0);
	open_gate(gate);
	far_wait(task);
	CHECK_EQ(far_slave_close(s), 0);
}

static void *cancel_later(void *task)
{
	far_task(int) *t = task;

	usleep(20000);
	far_cancel(*t);
	return NULL;
}

TEST_BOTH(another_thread_may_cancel_what_is_waited_for)
{
	struct far_slave *s = START();
	int *gate = shared_int(), *n = shared_int();
	far_task(void) busy = far_schedule(s, wait_for, gate);
	far_task(int) t = far_schedule(s, count, n);
	pthread_t thread;

	pthread_create(&thread, NULL, cancel_later, &t);
	CHECK_EQ(far_wait(t), 0);
	CHECK_FAILED(FAR_ECANCELLED);
	pthread_join(thread, NULL);
	open_gate(gate);
	far_wait(busy);
	CHECK_EQ(*n, 0);
	CHECK_EQ(far_slave_close(s), 0);
}

TEST_BOTH(cancelled_at_random_each_task_has_one_outcome)
{
	struct far_slave *s = START(.queue = 8);
	int *n = shared_int(), run = 0, cancelled = 0;

	for (int i = 0; i < 5000; i++) {
		far_task(int) t[4];

		for (int k = 0; k < 4; k++)
			t[k] = far_schedule(s, count, n);
		int k = rand() % 4, how = far_cancel(t[k]);

		for (int m = 0; m < 4; m++) {
			far_wait(t[m]);
			const struct far_error *e = far_error();

			CHECK(!e || (m == k && e->code == FAR_ECANCELLED));
			CHECK(m != k || how != 0 || e);
			CHECK(m != k || how != -EALREADY || !e);
			run += !e;
			cancelled += e != NULL;
		}
	}
	CHECK_EQ(run + cancelled, 20000);
	CHECK_EQ(*n, run);
	CHECK(cancelled > 0);
	CHECK_EQ(far_slave_close(s), 0);
}
