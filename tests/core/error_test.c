/* Errors: what far_error() tells, when it changes, and what is printed. */
#include <pthread.h>
#include <sys/utsname.h>

#include "check.h"
#include "internal.h"

static int add(int a, int b)
{
	return a + b;
}

static void raise_it(int code)
{
	far_raise(code, "raised %d", code);
}

/* Run in a child, with its stderr captured: a file of what it printed, and its status. */
static const char *run_in_child(void (*run)(void), int *status)
{
	static char text[8192];
	int file = memfd_create("stderr", 0);
	pid_t pid = fork();

	if (pid == 0) {
		dup2(file, STDERR_FILENO);
		signal(SIGABRT, SIG_DFL);
		run();
		exit(0);
	}
	CHECK_EQ(waitpid(pid, status, 0), pid);
	ssize_t n = pread(file, text, sizeof text - 1, 0);

	text[n < 0 ? 0 : n] = 0;
	close(file);
	return text;
}

/* ---------------------------------------------------------------- the last */

TEST_BOTH(there_is_no_error_at_first_and_after_a_success)
{
	CHECK(far_error() == NULL);
	struct far_slave *s = START();

	CHECK(far_error() == NULL);
	CHECK_EQ(far_invoke(s, add, 1, 2), 3);
	CHECK(far_error() == NULL);
	CHECK_EQ(far_slave_close(s), 0);
	CHECK(far_error() == NULL);
}

TEST_BOTH(an_error_tells_code_function_file_and_line)
{
	struct far_slave *s = START();
	int line = __LINE__ + 1;
	far_invoke(s, raise_it, 42);
	const struct far_error *e = far_error();

	CHECK(e);
	CHECK_EQ(e->code, 42);
	CHECK_STR(e->function, "raise_it");
	CHECK_STR(e->file, __FILE__);
	CHECK_EQ(e->line, line);
	CHECK_EQ(e->signal, 0);
	CHECK_EQ(e->status, 0);
	CHECK_HAS(e->message, "raise_it: raised 42 (error_test.c:");
	CHECK(!strchr(e->message, '\n'));
	CHECK_EQ(far_slave_close(s), 0);
}

TEST_BOTH(a_tasks_error_tells_where_it_was_scheduled)
{
	struct far_slave *s = START();
	int line = __LINE__ + 1;
	far_task(void) t = far_schedule(s, raise_it, 42);

	far_wait(t);
	CHECK_FAILED(42);
	CHECK_STR(far_error()->function, "raise_it");
	CHECK_EQ(far_error()->line, line);
	CHECK_EQ(far_slave_close(s), 0);
}

TEST_BOTH(only_a_successful_invoke_or_wait_clears_the_error)
{
	struct far_slave *s = START(), *t = START();
	far_task(int) task = far_schedule(s, add, 1, 2);

	CHECK_EQ(far_wait_for(task, -1), 0);
	far_invoke(s, raise_it, 42);
	CHECK_FAILED(42);
	far_forget(far_schedule(s, add, 1, 2));
	CHECK_FAILED(42);
	far_free(far_alloc(10));
	CHECK_FAILED(42);
	CHECK_EQ(far_wait_for(task, 0), 0);
	CHECK_FAILED(42);
	CHECK_EQ(far_slave_close(t), 0);
	CHECK_FAILED(42);
	far_slave_self();
	CHECK_FAILED(42);
	t = START();
	CHECK_FAILED(42);
	CHECK_EQ(far_slave_close(t), 0);
	CHECK_EQ(far_wait(task), 3);
	CHECK_OK();
	far_invoke(s, raise_it, 43);
	CHECK_FAILED(43);
	CHECK_EQ(far_invoke(s, add, 1, 2), 3);
	CHECK_OK();
	CHECK_EQ(far_slave_close(s), 0);
}

static void *see_no_error(void *unused)
{
	CHECK_OK();
	far_invoke(NULL, add, 1, 2);
	CHECK_FAILED(FAR_ECLOSED);
	return unused;
}

TEST(each_thread_has_its_own_error)
{
	struct far_slave *s = far_slave_thread();
	pthread_t thread;

	far_invoke(s, raise_it, 42);
	pthread_create(&thread, NULL, see_no_error, NULL);
	pthread_join(thread, NULL);
	CHECK_FAILED(42);
	CHECK_EQ(far_slave_close(s), 0);
}

static int fails_and_looks(void)
{
	far_invoke(NULL, add, 1, 2);
	return far_error() ? far_error()->code : 0;
}

TEST_BOTH(a_slaves_errors_are_its_own)
{
	struct far_slave *s = START();

	CHECK_EQ(far_invoke(s, fails_and_looks), FAR_ECLOSED);
	CHECK_OK();
	CHECK_EQ(far_slave_close(s), 0);
}

/* ----------------------------------------------------------------- printed */

TEST_BOTH(an_unseen_error_is_printed_at_the_next_call)
{
	struct far_slave *s = START();

	capture_begin();
	far_invoke(s, raise_it, 42);
	CHECK_EQ(far_invoke(s, add, 1, 2), 3);
	const char *text = capture_end();

	CHECK_HAS(text, "farcall: raise_it: raised 42");
	CHECK_EQ(count_of(text, "\n"), 1);
	CHECK_EQ(far_slave_close(s), 0);
}

TEST_BOTH(an_error_that_was_seen_is_not_printed)
{
	struct far_slave *s = START();

	capture_begin();
	far_invoke(s, raise_it, 42);
	CHECK_FAILED(42);
	CHECK_EQ(far_invoke(s, add, 1, 2), 3);
	CHECK_STR(capture_end(), "");
	CHECK_EQ(far_slave_close(s), 0);
}

static void *fail_and_end(void *unused)
{
	far_invoke(NULL, add, 1, 2);
	return unused;
}

TEST(an_unseen_error_is_printed_when_its_thread_ends)
{
	pthread_t thread;

	far_slave_close(far_slave_thread());
	capture_begin();
	pthread_create(&thread, NULL, fail_and_end, NULL);
	pthread_join(thread, NULL);
	CHECK_HAS(capture_end(), "farcall: add: ");
}

static void fail_often_and_end(void)
{
	if (far_init())
		_exit(1);
	struct far_slave *s = far_slave_process();

	for (int i = 0; i < 5; i++)
		far_invoke(s, raise_it, 42);
	far_invoke(s, raise_it, 43);
}

PLAIN(equal_errors_are_printed_once_and_counted_at_the_end)
{
	int status;
	const char *text = run_in_child(fail_often_and_end, &status);

	CHECK_EQ(status, 0);
	CHECK_EQ(count_of(text, "farcall: raise_it: raised 42"), 1);
	CHECK_EQ(count_of(text, "farcall: raise_it: raised 43"), 1);
	CHECK_HAS(text, "4 more like this: raise_it: raised 42");
}

/* ------------------------------------------------------------------- raise */

static void raise_long(void)
{
	char text[2000];

	memset(text, 'x', sizeof text);
	text[sizeof text - 1] = 0;
	far_raise(-7, "%s", text);
}

TEST_BOTH(a_long_text_is_cut)
{
	struct far_slave *s = START();

	far_invoke(s, raise_long);
	CHECK_FAILED(-7);
	CHECK(strlen(far_error()->message) > 300);
	CHECK(strlen(far_error()->message) < sizeof far_error()->message);
	CHECK_HAS(far_error()->message, "(error_test.c:");
	far_wait(far_schedule(s, raise_long));
	CHECK_FAILED(-7);
	CHECK_EQ(far_slave_close(s), 0);
}

static void raise_nothing(void)
{
	far_raise(1, "%s", "");
}

TEST_BOTH(an_empty_text_is_one)
{
	struct far_slave *s = START();

	far_invoke(s, raise_nothing);
	CHECK_FAILED(1);
	CHECK_EQ(far_slave_close(s), 0);
}

static int raise_in_place(int code)
{
	far_invoke(far_slave_self(), raise_it, code);
	int seen = far_error() ? far_error()->code : 0;

	return seen + far_invoke(far_slave_self(), add, 1, 2);
}

static int raise_through_two(int code)
{
	far_invoke(far_slave_self(), raise_in_place, code);
	far_raise(code + 1, "outer");
}

TEST_BOTH(an_error_raised_in_a_call_in_place_ends_that_call_alone)
{
	struct far_slave *s = START();

	for (int i = 1; i < 100; i++) {
		CHECK_EQ(far_invoke(s, raise_in_place, i), i + 3);
		CHECK_OK();
	}
	far_invoke(s, raise_through_two, 5);
	CHECK_FAILED(6);
	CHECK_EQ(far_invoke(s, add, 1, 2), 3);
	CHECK_EQ(far_slave_close(s), 0);
}

static int raise_in_my_queue(int code)
{
	far_task(void) t = far_schedule(far_slave_self(), raise_it, code);

	far_wait(t);
	return far_error() ? far_error()->code : 0;
}

TEST_BOTH(an_error_raised_while_a_slave_waits_for_itself_is_the_tasks)
{
	struct far_slave *s = START();

	for (int i = 1; i < 100; i++)
		CHECK_EQ(far_invoke(s, raise_in_my_queue, i), i);
	CHECK_OK();
	CHECK_EQ(far_slave_close(s), 0);
}

static int depth_raise(int depth)
{
	char stack[1000];

	memset(stack, depth, sizeof stack);
	if (depth == 0)
		raise_it(9);
	return depth == 0 ? 0 : depth_raise(depth - 1) + stack[500];
}

TEST_BOTH(an_error_is_raised_from_deep_down)
{
	struct far_slave *s = START();

	for (int i = 0; i < 1000; i++) {
		CHECK_EQ(far_invoke(s, depth_raise, 100), 0);
		CHECK_FAILED(9);
	}
	CHECK_EQ(far_slave_close(s), 0);
}

static void raise_outside(void)
{
	far_raise(5, "nobody asked");
}

PLAIN(raising_outside_of_a_call_aborts)
{
	int status;
	const char *text = run_in_child(raise_outside, &status);

	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	CHECK_HAS(text, "nobody asked");
}

/* ------------------------------------------------------------------ deaths */

static void die_by(int signal)
{
	raise(signal);
}

static int *volatile wild = (int *)0x10;

static int read_wild(void)
{
	return *wild;
}

static void leave(int status)
{
	exit(status);
}

static double sleep_long(void)
{
	return sleep(1000);
}

TEST(a_death_tells_signal_or_status)
{
	static const int how[] = { SIGSEGV, SIGKILL, SIGABRT, SIGTERM, SIGFPE };

	for (unsigned i = 0; i < sizeof how / sizeof *how; i++) {
		struct far_slave *s = far_slave_process(.name = "mortal");

		far_invoke(s, die_by, how[i]);
		CHECK_DIED();
		CHECK_EQ(far_error()->signal, how[i]);
		CHECK_EQ(far_error()->status, 0);
		CHECK_HAS(far_error()->message, "mortal");
		CHECK_HAS(far_error()->message, sigabbrev_np(how[i]));
		CHECK_EQ(far_slave_close(s), -EOWNERDEAD);
	}
	struct far_slave *s = far_slave_process();

	far_invoke(s, leave, 3);
	CHECK_DIED();
	CHECK_EQ(far_error()->signal, 0);
	CHECK_EQ(far_error()->status, 3);
	CHECK_HAS(far_error()->message, "status 3");
	s = far_slave_process();
	far_invoke(s, read_wild);
	CHECK_DIED();
	CHECK_EQ(far_error()->signal, SIGSEGV);
}

TEST(calls_to_a_dead_slave_fail_at_once)
{
	struct far_slave *s = far_slave_process(.queue = 2);

	far_invoke(s, die_by, SIGKILL);
	double start = seconds();

	for (int i = 0; i < 100; i++) {
		CHECK_EQ(far_invoke(s, add, 1, 2), 0);
		CHECK_DIED();
		CHECK_EQ(far_error()->signal, SIGKILL);
		far_wait(far_schedule(s, add, 1, 2));
		CHECK_DIED();
	}
	CHECK(seconds() - start < 1);
	CHECK_EQ(far_slave_close(s), -EOWNERDEAD);
}

static void *kill_later(void *pid)
{
	nanosleep(&(struct timespec){ .tv_nsec = 20000000 }, NULL);
	kill((pid_t)(intptr_t)pid, SIGKILL);
	return NULL;
}

static void touch(size_t bytes)
{
	memset(malloc(bytes), 1, bytes);
}

/* Whether the zygote can hear of it: its io_uring must be able to wait for futexes, since Linux 6.7. */
static bool wills_are_read(void)
{
	struct utsname system;
	unsigned major = 0, minor = 0;

	uname(&system);
	sscanf(system.release, "%u.%u", &major, &minor);
	return major * 100 + minor >= 607 && strstr(status_text(), "waiting: uring");
}

TEST(a_killed_slave_is_heard_of_before_its_memory_is_taken_apart)
{
	bool early = !wills_are_read();

	/* Once in many times: this process may have to wait for a processor. */
	for (int i = 0; i < 50 && !early; i++) {
		struct far_slave *s = far_slave_process();
		pid_t pid = far_slave_pid(s);
		pthread_t thread;

		far_invoke(s, touch, (size_t)256 << 20);
		pthread_create(&thread, NULL, kill_later, (void *)(intptr_t)pid);
		far_invoke(s, sleep_long);
		early = kill(pid, 0) == 0;
		CHECK_DIED();
		CHECK_EQ(far_error()->signal, SIGKILL);
		pthread_join(thread, NULL);
		CHECK_EQ(far_slave_close(s), -EOWNERDEAD);
		CHECK(kill(pid, 0) < 0);
	}
	CHECK(early);
}

static int die_with_lock(pthread_mutex_t *kept, pthread_mutex_t *returned)
{
	pthread_mutex_lock(returned);
	pthread_mutex_lock(kept);
	pthread_mutex_unlock(returned);
	return raise(SIGKILL);
}

/* The slave's own list of locks has its will in it. */
TEST(robust_mutexes_of_a_dead_slave_are_told)
{
	struct far_slave *s = far_slave_process();
	pthread_mutex_t *lock = far_calloc(2, sizeof *lock);
	pthread_mutexattr_t robust;

	pthread_mutexattr_init(&robust);
	pthread_mutexattr_setrobust(&robust, PTHREAD_MUTEX_ROBUST);
	pthread_mutexattr_setpshared(&robust, PTHREAD_PROCESS_SHARED);
	for (int i = 0; i < 2; i++)
		pthread_mutex_init(&lock[i], &robust);
	far_invoke(s, die_with_lock, &lock[0], &lock[1]);
	CHECK_DIED();
	CHECK_EQ(pthread_mutex_lock(&lock[0]), EOWNERDEAD);
	CHECK_EQ(pthread_mutex_lock(&lock[1]), 0);
	CHECK_EQ(far_slave_close(s), -EOWNERDEAD);
}

TEST(a_caller_that_waits_hears_of_the_death)
{
	for (int i = 0; i < 10; i++) {
		struct far_slave *s = far_slave_process();
		pthread_t thread;

		pthread_create(&thread, NULL, kill_later, (void *)(intptr_t)far_slave_pid(s));
		CHECK(far_invoke(s, sleep_long) == 0);
		CHECK_DIED();
		CHECK_EQ(far_error()->signal, SIGKILL);
		pthread_join(thread, NULL);
		CHECK_EQ(far_slave_close(s), -EOWNERDEAD);
	}
}

/* Die where a slave may be killed: it has disarmed its caller's park, and not woken it yet. */
static void die_before_waking(void)
{
	struct far__park *park = &((struct far__segment *)far__space_segment(far__self))->lane[0].producer;
	uint32_t armed;

	while (!((armed = shm_load(&park->armed)) & FAR_ARMED))
		usleep(100);
	usleep(5000);
	while (!shm_cas(&park->armed, armed, (armed & ~(uint32_t)FAR_ARMED) + FAR_WAKE_UP))
		armed = shm_load(&park->armed);
	raise(SIGKILL);
}

TEST(a_slave_that_dies_while_it_wakes_its_caller_does_not_leave_it_asleep)
{
	for (int i = 0; i < 5; i++) {
		struct far_slave *s = far_slave_process();

		far_invoke(s, die_before_waking);
		CHECK_FAILED(FAR_EKILLED);
		CHECK_EQ(far_slave_close(s), -EOWNERDEAD);
	}
}

TEST(an_idle_slave_that_was_killed_is_found_dead)
{
	struct far_slave *s = far_slave_process();
	pid_t pid = far_slave_pid(s);

	CHECK_EQ(far_invoke(s, add, 1, 2), 3);
	kill(pid, SIGKILL);
	AWAIT(5, !lives(pid));
	CHECK_EQ(far_invoke(s, add, 1, 2), 0);
	CHECK_DIED();
	CHECK_EQ(far_slave_close(s), -EOWNERDEAD);
}

TEST(other_slaves_live_on)
{
	struct far_slave *s = far_slave_process(), *t = far_slave_process();

	far_invoke(s, die_by, SIGKILL);
	CHECK_EQ(far_invoke(t, add, 1, 2), 3);
	CHECK_OK();
	CHECK_EQ(far_slave_close(t), 0);
}

TEST_BOTH(calls_without_a_slave_fail)
{
	struct far_slave *s = START();

	CHECK_EQ(far_invoke(NULL, add, 1, 2), 0);
	CHECK_FAILED(FAR_ECLOSED);
	CHECK(!far_schedule(NULL, add, 1, 2));
	CHECK_FAILED(FAR_ECLOSED);
	CHECK_EQ(far_slave_close(s), 0);
	CHECK_EQ(far_invoke(s, add, 1, 2), 0);
	CHECK_FAILED(FAR_ECLOSED);
	CHECK_STR(far_error()->function, "add");
	CHECK_EQ(far_invoke((struct far_slave *)(uintptr_t)0x123456789abc, add, 1, 2), 0);
	CHECK_FAILED(FAR_ECLOSED);
}

/* -------------------------------------------------------------------- fork */

static struct far_slave *parents;
static far_task(int) parents_task;
static void *parents_block;

#define CHILD_CHECK(n, condition) do { if (!(condition)) _exit(n); } while (0)
#define FORKED() (far_error() && far_error()->code == FAR_EFORKED)

static void call_in_child(void)
{
	CHILD_CHECK(1, far_init() < 0 && FORKED());
	CHILD_CHECK(2, far_invoke(parents, add, 1, 2) == 0 && FORKED());
	CHILD_CHECK(3, !far_schedule(parents, add, 1, 2) && FORKED());
	CHILD_CHECK(4, !far_slave_process() && FORKED());
	CHILD_CHECK(5, !far_slave_thread() && FORKED());
	CHILD_CHECK(6, !far_slave_here() && FORKED());
	CHILD_CHECK(7, far_slave_close(parents) == -EINVAL && FORKED());
	CHILD_CHECK(8, !far_alloc(10) && FORKED());
	CHILD_CHECK(9, (far_free(parents_block), FORKED()));
	CHILD_CHECK(10, far_slave_pid(parents) == -EINVAL && FORKED());
	CHILD_CHECK(11, far_invoke(NULL, add, 1, 2) == 0 && FORKED());
	_exit(0);
}

static void wait_in_child(void)
{
	CHILD_CHECK(1, far_wait_for(parents_task, 0) == -EINVAL && FORKED());
	CHILD_CHECK(2, far_wait(parents_task) == 0 && FORKED());
	CHILD_CHECK(3, far_forget(parents_task) == -EINVAL && FORKED());
	_exit(0);
}

static void thread_in_child(void)
{
	CHILD_CHECK(1, !far_thread(add, 1, 2) && FORKED());
	_exit(0);
}

static void check_child(void (*run)(void))
{
	static char text[1000];
	char *copy = text;
	int status;

	parents = START();
	strcpy(copy = far_alloc(100), "still here");
	parents_block = copy;
	parents_task = far_schedule(parents, strcmp, "a", copy);
	CHECK_EQ(far_wait_for(parents_task, -1), 0);
	run_in_child(run, &status);
	CHECK(WIFEXITED(status));
	CHECK_EQ(WEXITSTATUS(status), 0);
	CHECK_STR(copy, "still here");
	CHECK(far_wait(parents_task) < 0);
	CHECK_OK();
	CHECK_EQ(far_invoke(parents, add, 1, 2), 3);
	CHECK_EQ(far_slave_close(parents), 0);
}

TEST_BOTH(calls_in_a_forked_child_fail_and_leave_the_parent_alone)
{
	check_child(call_in_child);
}

TEST_BOTH(tasks_are_not_for_a_forked_child)
{
	check_child(wait_in_child);
}

TEST(a_forked_child_starts_no_threads)
{
	check_child(thread_in_child);
}

static void do_nothing(void)
{
}

TEST_BOTH(a_forked_child_does_not_print_the_parents_error)
{
	struct far_slave *s = START();
	int status;

	far_invoke(s, raise_it, 42);
	CHECK_STR(run_in_child(do_nothing, &status), "");
	CHECK_FAILED(42);
	CHECK_EQ(far_slave_close(s), 0);
}

static int fork_there(void)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		far_invoke(far_slave_self(), add, 1, 2);
		_exit(far_error() && far_error()->code == FAR_EFORKED ? 7 : 0);
	}
	return waitpid(pid, &status, 0) == pid ? WEXITSTATUS(status) : -1;
}

TEST_BOTH(a_child_that_a_slave_forked_is_no_slave)
{
	struct far_slave *s = START();

	CHECK_EQ(far_invoke(s, fork_there), 7);
	CHECK_OK();
	CHECK_EQ(far_slave_close(s), 0);
}

static pid_t fork_and_raise(void)
{
	pid_t pid = fork();

	if (pid == 0)
		far_raise(42, "nobody hears it");
	return pid;
}

/* It does not answer the call, nor any that follows. */
TEST_BOTH(a_child_that_returns_from_a_call_serves_nobody)
{
	struct far_slave *s = START();
	int status;

	for (int i = 0; i < 20; i++) {
		pid_t pid = i % 2 ? far_invoke(s, fork) : far_invoke(s, fork_and_raise);

		CHECK_OK();
		CHECK(pid > 0);
		CHECK_EQ(far_invoke(s, waitpid, pid, far_remote(in_process ? NULL : &status), 0), pid);
		for (int k = 0; k < 20; k++)
			CHECK_EQ(far_invoke(s, add, i, k), i + k);
	}
	CHECK_EQ(far_slave_close(s), 0);
}

static void *end_thread(void *unused)
{
	far_forget(far_schedule(parents, add, 1, 2));
	if (fork() == 0)
		pthread_exit(NULL);
	CHECK(wait(NULL) > 0);
	return unused;
}

static void *schedule_and_forget(void *unused)
{
	for (int i = 0; i < 20000; i++)
		far_forget(far_schedule(parents, add, 1, 2));
	return unused;
}

/* Whatever locks other threads held when it was forked. */
TEST(a_thread_of_a_forked_child_may_end)
{
	pthread_t thread[3], forking;

	parents = far_slave_thread();
	for (int i = 0; i < 3; i++)
		pthread_create(&thread[i], NULL, schedule_and_forget, NULL);
	for (int i = 0; i < 50; i++) {
		pthread_create(&forking, NULL, end_thread, NULL);
		pthread_join(forking, NULL);
	}
	for (int i = 0; i < 3; i++)
		pthread_join(thread[i], NULL);
	CHECK_EQ(far_slave_close(parents), 0);
}
