/* Tasks: calls whose results come later. */
#include <pthread.h>

#include "check.h"
#include "inject.h"

enum { MANY = 100000 };

static int twice(int n)
{
	return 2 * n;
}

static int *new_int(void)
{
	int *n = far_calloc(1, sizeof *n);

	CHECK(n);
	return n;
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

/* ------------------------------------------------------------ many tasks */

static far_task(int) tasks[MANY];
static int order[MANY];

static void schedule_all(struct far_slave *s)
{
	for (int i = 0; i < MANY; i++) {
		tasks[i] = far_schedule(s, twice, i);
		CHECK(tasks[i]);
		order[i] = i;
	}
}

static void wait_for_all(void)
{
	for (int i = 0; i < MANY; i++)
		CHECK_EQ(far_wait(tasks[order[i]]), 2 * order[i]);
	CHECK_OK();
}

TEST_BOTH(a_hundred_thousand_tasks_of_a_queue_of_one_are_waited_for_in_order)
{
	struct far_slave *s = START(.queue = 1);

	schedule_all(s);
	wait_for_all();
	CHECK_EQ(far_slave_close(s), 0);
}

TEST_BOTH(or_in_reverse)
{
	struct far_slave *s = START(.queue = 1);

	schedule_all(s);
	for (int i = 0; i < MANY; i++)
		order[i] = MANY - 1 - i;
	wait_for_all();
	CHECK_EQ(far_slave_close(s), 0);
}

TEST_BOTH(or_at_random_after_their_slave_was_closed)
{
	struct far_slave *s = START(.queue = 1);
	unsigned random = 12345;

	schedule_all(s);
	CHECK_EQ(far_slave_close(s), 0);
	for (int i = MANY - 1; i > 0; i--) {
		random = random * 1103515245 + 12345;
		int k = (int)((random >> 8) % (unsigned)(i + 1)), swapped = order[i];

		order[i] = order[k];
		order[k] = swapped;
	}
	wait_for_all();
}

static void *wait_for_some(void *arg)
{
	for (int i = (int)(intptr_t)arg; i < 10000; i += 8)
		CHECK_EQ(far_wait(tasks[i]), 2 * i);
	return NULL;
}

TEST_BOTH(other_threads_wait_for_them_while_more_are_scheduled)
{
	struct far_slave *s = START(.queue = 16);
	pthread_t thread[8];

	for (int i = 0; i < 10000; i++)
		tasks[i] = far_schedule(s, twice, i);
	for (int i = 0; i < 8; i++)
		pthread_create(&thread[i], NULL, wait_for_some, (void *)(intptr_t)i);
	for (int i = 0; i < 10000; i++)
		far_forget(far_schedule(s, twice, i));
	for (int i = 0; i < 8; i++)
		pthread_join(thread[i], NULL);
	CHECK_EQ(far_slave_close(s), 0);
}

struct big { char text[300]; int n; };

static struct big make_big(int n)
{
	struct big b = { .n = n };

	snprintf(b.text, sizeof b.text, "big %d", n);
	return b;
}

static void fill(int *p, int n, int value)
{
	for (int i = 0; i < n; i++)
		p[i] += value;
}

TEST_BOTH(uncollected_results_in_memory_outlive_their_slots)
{
	struct far_slave *s = START(.queue = 2);
	far_task(struct big) big[100];
	far_task(void) filled[100];
	static int out[100][50];
	char text[16];

	for (int i = 0; i < 100; i++) {
		big[i] = far_schedule(s, make_big, i);
		filled[i] = far_schedule(s, fill, far_inout(out[i], sizeof out[i]), 50, i);
	}
	for (int i = 99; i >= 0; i--) {
		struct big b = far_wait(big[i]);

		snprintf(text, sizeof text, "big %d", i);
		CHECK_STR(b.text, text);
		CHECK_EQ(b.n, i);
		CHECK_EQ(out[i][49], 0);
		far_wait(filled[i]);
		CHECK_EQ(out[i][0], i);
		CHECK_EQ(out[i][49], i);
	}
	CHECK_EQ(far_slave_close(s), 0);
}

/* --------------------------------------------------------------- used once */

/* What a call does not set shall matter to nobody. */
static __attribute__((noinline)) void leave_zeros_on_the_stack(void)
{
	volatile char byte[8192];

	for (size_t i = 0; i < sizeof byte; i++)
		byte[i] = 0;
}

static __attribute__((noinline)) void schedule_nap(struct far_slave *s, int i)
{
	tasks[i] = far_schedule(s, usleep, 100);
}

TEST_BOTH(however_many_are_scheduled_none_has_a_deadline_of_itself)
{
	enum { N = 200 };
	struct far_slave *s = START(.queue = N);

	for (int i = 0; i < N; i++) {
		leave_zeros_on_the_stack();
		schedule_nap(s, i);
	}
	for (int i = 0; i < N; i++) {
		CHECK_EQ(far_wait(tasks[i]), 0);
		CHECK_OK();
	}
	CHECK_EQ(far_slave_close(s), 0);
}

TEST_BOTH(a_task_is_waited_for_once)
{
	struct far_slave *s = START();
	far_task(int) t = far_schedule(s, twice, 21);

	CHECK_EQ(far_wait(t), 42);
	for (int i = 0; i < 3; i++) {
		CHECK_EQ(far_wait(t), 0);
		CHECK_FAILED(FAR_ETASK);
		CHECK_EQ(far_wait_for(t, 0), -EINVAL);
		CHECK_FAILED(FAR_ETASK);
		CHECK_EQ(far_forget(t), -EINVAL);
		CHECK_FAILED(FAR_ETASK);
		CHECK_EQ(far_done(t), 1);
		/* its record is another task's now */
		CHECK_EQ(far_wait(far_schedule(s, twice, i)), 2 * i);
	}
	CHECK_EQ(far_slave_close(s), 0);
}

TEST_BOTH(a_forgotten_task_runs_and_cannot_be_waited_for)
{
	struct far_slave *s = START();
	int *n = new_int();
	far_task(void) t = far_schedule(s, fill, n, 1, 5);

	CHECK_EQ(far_forget(t), 0);
	CHECK_EQ(far_forget(t), -EINVAL);
	CHECK_FAILED(FAR_ETASK);
	far_wait(t);
	CHECK_FAILED(FAR_ETASK);
	CHECK_EQ(far_slave_close(s), 0);
	CHECK_EQ(*n, 5);
}

TEST(null_is_no_task)
{
	far_task(int) t = NULL;

	CHECK_EQ(far_wait(t), 0);
	CHECK_FAILED(FAR_ETASK);
	CHECK_EQ(far_wait_for(t, -1), -EINVAL);
	CHECK_FAILED(FAR_ETASK);
	CHECK_EQ(far_done(t), 1);
	CHECK_EQ(far_forget(t), 0);
}

TEST_BOTH(waiting_for_what_could_not_be_scheduled_keeps_that_error)
{
	struct far_slave *s = START();

	far_slave_close(s);
	CHECK_EQ(far_wait(far_schedule(s, twice, 1)), 0);
	CHECK_FAILED(FAR_ECLOSED);
}

TEST(what_never_was_a_task_is_none)
{
	far_task(int) t = (far_task(int))(uintptr_t)0x123456;

	CHECK_EQ(far_wait(t), 0);
	CHECK_FAILED(FAR_ETASK);
	CHECK_EQ(far_done(t), 1);
}

struct race {
	far_task(int) task;
	int *won;
};

static void *wait_too(void *arg)
{
	struct race *r = arg;

	if (far_wait(r->task) == 42)
		__atomic_add_fetch(r->won, 1, __ATOMIC_SEQ_CST);
	else
		CHECK_FAILED(FAR_ETASK);
	return NULL;
}

TEST_BOTH(of_threads_that_wait_for_one_task_one_has_its_result)
{
	struct far_slave *s = START();

	for (int i = 0; i < 50; i++) {
		int won = 0, *gate = new_int();
		pthread_t thread[4];

		far_forget(far_schedule(s, wait_for_gate, gate));
		struct race r = { far_schedule(s, twice, 21), &won };

		for (int k = 0; k < 4; k++)
			pthread_create(&thread[k], NULL, wait_too, &r);
		open_gate(gate);
		for (int k = 0; k < 4; k++)
			pthread_join(thread[k], NULL);
		CHECK_EQ(won, 1);
		far_free(gate);
	}
	CHECK_EQ(far_slave_close(s), 0);
}

/* --------------------------------------------------------------- timeouts */

static void check_timeouts(far_task(void) t, int *gate)
{
	double start = seconds();

	CHECK_EQ(far_wait_for(t, 0), -ETIMEDOUT);
	CHECK_EQ(far_done(t), 0);
	CHECK(seconds() - start < 1);
	CHECK_OK();
	start = seconds();
	CHECK_EQ(far_wait_for(t, 30), -ETIMEDOUT);
	CHECK(seconds() - start >= 0.03 && seconds() - start < 5);
	CHECK_OK();
	open_gate(gate);
	CHECK_EQ(far_wait_for(t, -1), 0);
	CHECK_EQ(far_wait_for(t, 0), 0);
	CHECK_EQ(far_done(t), 1);
	far_wait(t);
	CHECK_OK();
}

TEST_BOTH(waiting_with_a_timeout_takes_no_result)
{
	struct far_slave *s = START();
	int *gate = new_int();

	check_timeouts(far_schedule(s, wait_for_gate, gate), gate);
	gate = new_int();
	check_timeouts(far_thread(wait_for_gate, gate), gate);
	CHECK_EQ(far_slave_close(s), 0);
}

static void *check_there(void *arg)
{
	struct { far_task(void) t; int *gate; } *c = arg;

	check_timeouts(c->t, c->gate);
	return NULL;
}

TEST_BOTH(and_so_it_does_in_another_thread)
{
	struct far_slave *s = START();
	struct { far_task(void) t; int *gate; } c = { .gate = new_int() };
	pthread_t thread;

	c.t = far_schedule(s, wait_for_gate, c.gate);
	pthread_create(&thread, NULL, check_there, &c);
	pthread_join(thread, NULL);
	CHECK_EQ(far_slave_close(s), 0);
}

TEST_BOTH(a_wait_that_times_out_keeps_the_last_error)
{
	struct far_slave *s = START();
	int *gate = new_int();
	far_task(void) t = far_schedule(s, wait_for_gate, gate);

	CHECK_EQ(far_invoke(NULL, twice, 1), 0);
	CHECK_FAILED(FAR_ECLOSED);
	CHECK_EQ(far_wait_for(t, 1), -ETIMEDOUT);
	CHECK_FAILED(FAR_ECLOSED);
	open_gate(gate);
	far_wait(t);
	CHECK_EQ(far_slave_close(s), 0);
}

/* -------------------------------------------------------- slaves that went */

static void die_by(int signal)
{
	raise(signal);
}

TEST(done_tasks_of_a_dead_slave_have_their_results)
{
	for (int close = 0; close < 2; close++) {
		struct far_slave *s = far_slave_process();
		far_task(int) t[20];
		far_task(struct big) big = far_schedule(s, make_big, 7);

		for (int i = 0; i < 20; i++)
			t[i] = far_schedule(s, twice, i);
		far_task(void) last = far_schedule(s, die_by, SIGKILL);
		far_task(int) behind = far_schedule(s, twice, 1);

		if (close)
			CHECK_EQ(far_slave_close(s), -EOWNERDEAD);
		CHECK_EQ(far_wait_for(behind, -1), 0);
		CHECK_EQ(far_wait(behind), 0);
		CHECK_DIED();
		CHECK_EQ(far_error()->signal, SIGKILL);
		far_wait(last);
		CHECK_DIED();
		for (int i = 0; i < 20; i++)
			CHECK_EQ(far_wait(t[i]), 2 * i);
		CHECK_OK();
		CHECK_STR(far_wait(big).text, "big 7");
		if (!close)
			CHECK_EQ(far_slave_close(s), -EOWNERDEAD);
	}
}

static void *wait_for_hung(void *task)
{
	far_task(void) *t = task;

	far_wait(*t);
	CHECK_DIED();
	return NULL;
}

TEST(threads_that_wait_learn_of_a_death)
{
	struct far_slave *s = far_slave_process();
	far_task(void) t[4];
	pthread_t thread[4];

	for (int i = 0; i < 4; i++) {
		t[i] = far_schedule(s, wait_for_gate, new_int());
		pthread_create(&thread[i], NULL, wait_for_hung, &t[i]);
	}
	nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
	kill(far_slave_pid(s), SIGKILL);
	for (int i = 0; i < 4; i++)
		pthread_join(thread[i], NULL);
	CHECK_EQ(far_slave_close(s), -EOWNERDEAD);
}

TEST_BOTH(slaves_may_come_and_go_while_their_tasks_stay)
{
	enum { SLAVES = 50, EACH = 20 };
	far_task(int) t[SLAVES][EACH];

	for (int i = 0; i < SLAVES; i++) {
		struct far_slave *s = START();

		for (int k = 0; k < EACH; k++)
			t[i][k] = far_schedule(s, twice, EACH * i + k);
		CHECK_EQ(far_slave_close(s), 0);
	}
	for (int i = SLAVES; i-- > 0;)
		for (int k = EACH; k-- > 0;)
			CHECK_EQ(far_wait(t[i][k]), 2 * (EACH * i + k));
}

static void out_of_nothing(int *p, int n)
{
	for (int i = 0; i < n; i++)
		p[i] = i;
}

TEST_BOTH(buffers_are_copied_out_after_their_slave_was_closed)
{
	static int small[10], large[100000];
	struct far_slave *s = START();
	far_task(void) a = far_schedule(s, out_of_nothing, far_out(small, sizeof small), 10);
	far_task(void) b = far_schedule(s, out_of_nothing, far_out(large, sizeof large), 100000);

	CHECK_EQ(far_slave_close(s), 0);
	CHECK_EQ(small[9], 0);
	CHECK_EQ(large[99999], 0);
	far_wait(a);
	far_wait(b);
	CHECK_EQ(small[9], 9);
	CHECK_EQ(large[99999], 99999);
}

/* ------------------------------------------------------------- far_thread */

static void raise_it(int code)
{
	far_raise(code, "raised %d", code);
}

static pid_t thread_id(void)
{
	return gettid();
}

TEST(a_call_in_a_thread_of_its_own_has_a_result)
{
	far_task(int) t[50];

	CHECK(far_wait(far_thread(thread_id)) != gettid());
	for (int i = 0; i < 50; i++)
		t[i] = far_thread(twice, i);
	for (int i = 0; i < 50; i++)
		CHECK_EQ(far_wait(t[i]), 2 * i);
	CHECK_STR(far_wait(far_thread(make_big, 9)).text, "big 9");
	CHECK_OK();
}

static void linger(const char *point)
{
	if (point && !strcmp(point, "task.looked"))
		usleep(1000);
}

/* It ends while the waiting thread has a look at it. */
TEST(threads_that_end_at_once_are_waited_for)
{
#ifdef FARCALL_INJECT
	far__inject = linger;
#else
	(void)linger;
#endif
	for (int i = 0; i < 500; i++)
		CHECK_EQ(far_wait(far_thread(twice, i)), 2 * i);
	CHECK_OK();
}

TEST(a_call_in_a_thread_of_its_own_may_raise)
{
	far_task(void) t = far_thread(raise_it, 77);

	far_wait(t);
	CHECK_FAILED(77);
	CHECK_HAS(far_error()->message, "raised 77");
	far_wait(t);
	CHECK_FAILED(FAR_ETASK);
}

TEST(a_call_in_a_thread_of_its_own_may_end_the_thread)
{
	far_wait(far_thread(pthread_exit, NULL));
	CHECK_DIED();
}

TEST(a_call_in_a_thread_of_its_own_takes_pointers_as_they_are)
{
	static int a[100];
	int b[100] = { 0 };
	far_task(void) t = far_thread(out_of_nothing, a, 100), u = far_thread(out_of_nothing, far_out(b, sizeof b), 100),
		       v = far_thread(fill, far_inout(b, sizeof b), 100, 5);

	far_wait(t);
	CHECK_EQ(a[99], 99);
	CHECK_EQ(b[99], 0);
	far_wait(u);
	CHECK_EQ(b[99], 99);
	far_wait(v);
	CHECK_EQ(b[99], 5);
	CHECK_EQ(far_wait(far_thread(strlen, far_str("12345"))), 5);
	CHECK_OK();
}

static int self_is_null(void)
{
	return far_slave_self() == NULL;
}

static int call_from_there(struct far_slave *s, int n)
{
	return far_invoke(s, twice, n);
}

TEST_BOTH(a_thread_of_its_own_is_no_slave_but_may_have_some)
{
	struct far_slave *s = START();

	CHECK_EQ(far_wait(far_thread(self_is_null)), 1);
	CHECK_EQ(far_wait(far_thread(call_from_there, s, 21)), 42);
	CHECK_EQ(far_slave_close(s), 0);
}

static int thread_there(int n)
{
	return far_wait(far_thread(twice, n));
}

TEST_BOTH(a_slave_has_threads_of_its_own)
{
	struct far_slave *s = START();

	CHECK_EQ(far_invoke(s, thread_there, 21), 42);
	CHECK_OK();
	CHECK_EQ(far_slave_close(s), 0);
}

TEST(a_forgotten_thread_that_fails_is_printed)
{
	capture_begin();
	far_task(void) t = far_thread(raise_it, 55);

	CHECK_EQ(far_forget(t), 0);
	double end = seconds() + 5;
	char text[1000] = "";

	while (!strstr(text, "raised 55") && seconds() < end)
		CHECK(pread(captured_fd, text, sizeof text - 1, 0) >= 0);
	CHECK_HAS(capture_end(), "raised 55");
}

TEST_BOTH(a_forgotten_task_that_fails_is_printed)
{
	struct far_slave *s = START();

	capture_begin();
	CHECK_EQ(far_forget(far_schedule(s, raise_it, 55)), 0);
	CHECK_EQ(far_slave_close(s), 0);
	CHECK_HAS(capture_end(), "raised 55");
}

TEST_BOTH(a_task_forgotten_when_done_is_printed_if_it_failed)
{
	struct far_slave *s = START();
	far_task(void) t = far_schedule(s, raise_it, 55);

	CHECK_EQ(far_wait_for(t, -1), 0);
	capture_begin();
	CHECK_EQ(far_forget(t), 0);
	CHECK_EQ(far_slave_close(s), 0);
	CHECK_HAS(capture_end(), "raised 55");
}

static int one(void)
{
	return 1;
}

static void *fill_the_queue(void *slave)
{
	for (int i = 0; i < 1000; i++)
		CHECK_EQ(far_forget(far_schedule((struct far_slave *)slave, one)), 0);
	return NULL;
}

static int wait_behind_a_full_queue(void)
{
	struct far_slave *me = far_slave_self();
	pthread_t t;
	int n = 0;

	pthread_create(&t, NULL, fill_the_queue, me);
	pthread_detach(t);
	usleep(100000);
	for (int i = 0; i < 3; i++)
		n += far_wait(far_schedule(me, one));
	return n;
}

/* Only the slave's own thread empties it, which is one of those who want a place there. */
TEST_BOTH(a_slave_may_schedule_to_itself_while_another_of_its_threads_waits_for_its_queue)
{
	struct far_slave *s = START();

	CHECK_EQ(far_invoke(s, wait_behind_a_full_queue), 3);
	CHECK_OK();
	CHECK_EQ(far_slave_close(s), 0);
}
