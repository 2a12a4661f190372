/* Slaves that are started again, and what they are limited in. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "check.h"

static void fail_the_second_time(void *count)
{
	if (++*(int *)count > 1)
		far_raise(5, "not again");
}

TEST(a_restart_fails_if_the_setup_does)
{
	int *n = far_calloc(1, sizeof *n);
	struct far_slave *s = far_slave_process(.setup = fail_the_second_time, .setup_arg = n);

	CHECK_OK();
	CHECK_EQ(far_slave_restart(s), -EOWNERDEAD);
	CHECK(far_error());
	far_slave_close(s);
}

static void set_up_slowly(void *unused)
{
	(void)unused;
	sleep(60);
}

TEST(a_setup_that_is_late_fails_though_the_slave_would_be_replaced)
{
	double start = seconds();

	CHECK(!far_slave_process(.setup = set_up_slowly, .deadline_ms = 100, .respawn = 3));
	CHECK_FAILED(FAR_EDEADLINE);
	CHECK(seconds() - start < 10);
}

static int add(int a, int b)
{
	return a + b;
}

static int state;	/* of each incarnation */

static void set_state(int n)
{
	state = n;
}

static int get_state(void)
{
	return state;
}

static void set_up(void *arg)
{
	int *n = arg;

	state = 100 + __atomic_add_fetch(n, 1, __ATOMIC_SEQ_CST);
}

static int *shared_int(void)
{
	return far_calloc(1, sizeof(int));
}

static int count(int *n)
{
	return __atomic_add_fetch(n, 1, __ATOMIC_SEQ_CST);
}

static void die(int signal)
{
	raise(signal);
}

static void wait_for(int *gate)
{
	while (!__atomic_load_n(gate, __ATOMIC_SEQ_CST))
		usleep(100);
}

static bool died(void)
{
	return far_error() && far_error()->signal == SIGKILL;
}

/* --------------------------------------------------------------- restarting */

TEST(a_slave_is_started_again_with_fresh_memory)
{
	int *n = shared_int();
	struct far_slave *s = far_slave_process(.setup = set_up, .setup_arg = n);
	pid_t pid = far_slave_pid(s);

	CHECK_EQ(far_invoke(s, get_state), 101);
	far_invoke(s, set_state, 5);
	CHECK_EQ(far_slave_restart(s), 0);
	CHECK(far_slave_pid(s) != pid);
	AWAIT(5, !lives(pid));
	CHECK_EQ(far_invoke(s, get_state), 102);
	CHECK_OK();
	CHECK_EQ(*n, 2);
	CHECK_EQ(far_slave_close(s), 0);
}

TEST(a_dead_slave_is_started_again)
{
	struct far_slave *s = far_slave_process();

	for (int i = 0; i < 20; i++) {
		CHECK_EQ(far_invoke(s, add, i, 1), i + 1);
		CHECK_EQ(far_wait(far_schedule(s, add, i, 2)), i + 2);
		CHECK_OK();
		far_task(void) t = far_schedule(s, die, SIGKILL), never = far_schedule(s, set_state, 1);

		far_invoke(s, add, 1, 2);
		CHECK(died());
		CHECK_EQ(far_slave_restart(s), 0);
		far_wait(t);
		CHECK(died());
		far_wait(never);
		CHECK(died());
		CHECK_EQ(far_invoke(s, get_state), 0);
	}
	CHECK_EQ(far_slave_close(s), 0);
}

TEST(what_ran_and_what_waited_fails_in_a_restart)
{
	struct far_slave *s = far_slave_process();
	int *gate = shared_int(), *n = shared_int();
	far_task(void) ran = far_schedule(s, wait_for, gate);
	far_task(int) waited = far_schedule(s, count, n);

	CHECK_EQ(far_slave_restart(s), 0);
	far_wait(ran);
	CHECK(died());
	CHECK_HAS(far_error()->message, "restarted");
	far_wait(waited);
	CHECK(died());
	CHECK_EQ(*n, 0);
	CHECK_EQ(far_invoke(s, count, n), 1);
	CHECK_OK();
	CHECK_EQ(far_slave_close(s), 0);
}

static bool enough;

static void *schedule_on(void *slave)
{
	enum { AT_ONCE = 200 };
	far_task(int) task[AT_ONCE];

	while (!__atomic_load_n(&enough, __ATOMIC_SEQ_CST)) {
		for (int i = 0; i < AT_ONCE; i++)
			task[i] = far_schedule(slave, add, i, 1);
		for (int i = 0; i < AT_ONCE; i++)
			if (far_wait(task[i]) != i + 1 && !died())
				return slave;	/* wrong */
	}
	return NULL;
}

TEST(calls_go_on_while_their_slave_is_restarted)
{
	struct far_slave *s = far_slave_process();
	void *wrong;
	pthread_t caller;

	CHECK(pthread_create(&caller, NULL, schedule_on, s) == 0);
	for (int i = 0; i < 300; i++) {
		CHECK_EQ(far_slave_restart(s), 0);
		usleep((unsigned)(i % 7) * 100);
	}
	__atomic_store_n(&enough, true, __ATOMIC_SEQ_CST);
	CHECK(pthread_join(caller, &wrong) == 0);
	CHECK(!wrong);
	CHECK_EQ(far_invoke(s, add, 1, 2), 3);
	far_slave_close(s);
}

TEST(a_thread_cannot_be_restarted)
{
	struct far_slave *t = far_slave_thread();

	CHECK_EQ(far_slave_restart(t), -EINVAL);
	CHECK_FAILED(FAR_EINVAL);
	CHECK_EQ(far_invoke(t, add, 1, 2), 3);
	CHECK_EQ(far_slave_close(t), 0);
	CHECK_EQ(far_slave_restart(t), -EINVAL);
	CHECK_FAILED(FAR_ECLOSED);
}

static int *make_there(void)
{
	int *p = malloc(sizeof *p);

	*p = 7;
	return p;
}

static int look_there(const int *p)
{
	return *p;
}

TEST(pointers_of_a_dead_incarnation_are_stale)
{
	struct far_slave *s = far_slave_process();
	int *p = far_invoke(s, make_there);

	CHECK_EQ(far_invoke(s, look_there, p), 7);
	CHECK_EQ(far_slave_restart(s), 0);
	CHECK_EQ(far_invoke(s, look_there, p), 0);
	CHECK_FAILED(FAR_ESTALE);
	p = far_invoke(s, make_there);
	CHECK_EQ(far_invoke(s, look_there, p), 7);
	CHECK_OK();
	CHECK_EQ(far_slave_close(s), 0);
}

TEST(without_a_zygote_nothing_is_restarted)
{
	struct far_slave *s = far_slave_process();

	kill(zygote(), SIGKILL);
	CHECK_EQ(far_slave_restart(s), -EOWNERDEAD);
	CHECK(far_error());
	far_slave_close(s);
	far_error();
}

/* --------------------------------------------------------------- respawning */

TEST(only_the_running_call_fails_when_a_slave_respawns)
{
	struct far_slave *s = far_slave_process(.respawn = 3, .queue = 16);
	int *n = shared_int(), failed = 0;
	far_task(int) t[100];

	for (int i = 0; i < 100; i++)
		t[i] = i % 10 == 5 ? far_schedule(s, raise, SIGKILL) : far_schedule(s, count, n);
	for (int i = 0; i < 100; i++) {
		far_wait(t[i]);
		CHECK(i % 10 == 5 ? died() : far_error() == NULL);
		failed += far_error() != NULL;
	}
	CHECK_EQ(failed, 10);
	CHECK_EQ(*n, 90);
	CHECK_EQ(far_invoke(s, add, 1, 2), 3);
	CHECK_EQ(far_slave_close(s), 0);
}

TEST(each_incarnation_is_set_up)
{
	int *n = shared_int();
	struct far_slave *s = far_slave_process(.respawn = 1, .setup = set_up, .setup_arg = n);

	for (int i = 1; i < 10; i++) {
		CHECK_EQ(far_invoke(s, get_state), 100 + i);
		far_invoke(s, die, SIGKILL);
		CHECK(died());
	}
	CHECK_EQ(far_slave_close(s), 0);
}

static void die_at_second_start(void *n)
{
	if (__atomic_add_fetch((int *)n, 1, __ATOMIC_SEQ_CST) > 1)
		raise(SIGKILL);
}

TEST(a_slave_that_cannot_start_stays_dead)
{
	int *n = shared_int();
	struct far_slave *s = far_slave_process(.respawn = 4, .setup = die_at_second_start, .setup_arg = n);

	far_invoke(s, die, SIGKILL);
	CHECK(died());
	far_task(int) t = far_schedule(s, add, 1, 2);

	far_wait(t);
	CHECK(died());
	far_invoke(s, add, 1, 2);
	CHECK(died());
	CHECK_EQ(*n, 1 + 4);
	CHECK_EQ(far_slave_close(s), -EOWNERDEAD);
}

static void die_while(void *bad)
{
	if (__atomic_load_n((int *)bad, __ATOMIC_SEQ_CST))
		raise(SIGKILL);
}

TEST(calls_to_a_dead_slave_are_not_in_the_way_when_it_is_started_again)
{
	int *bad = shared_int();
	struct far_slave *s = far_slave_process(.respawn = 1, .setup = die_while, .setup_arg = bad);

	for (int i = 0; i < 20; i++) {
		__atomic_store_n(bad, 1, __ATOMIC_SEQ_CST);
		far_invoke(s, die, SIGKILL);
		CHECK(died());
		for (int k = 0; k < i % 3 + 1; k++) {
			far_invoke(s, add, 1, 2);
			CHECK(died());
			if (i < 10)	/* else a queue is in use, too */
				continue;
			far_wait(far_schedule(s, add, 1, 2));
			CHECK(died());
		}
		__atomic_store_n(bad, 0, __ATOMIC_SEQ_CST);
		CHECK_EQ(far_slave_restart(s), 0);
		CHECK_EQ(far_invoke_within(5000, s, add, i, 2), i + 2);
		CHECK_EQ(far_invoke_within(5000, s, add, i, 3), i + 3);
	}
	CHECK_OK();
	CHECK_EQ(far_slave_close(s), 0);
}

/* The first works, the next few end at once, and then one hangs. */
static void end_then_hang(void *n)
{
	int start = __atomic_add_fetch((int *)n, 1, __ATOMIC_SEQ_CST);

	if (start > 9)
		pause();
	if (start > 1)
		_exit(1);
}

/* There is no process to be killed then. */
TEST(a_slave_can_be_closed_between_two_incarnations)
{
	int *n = shared_int();
	struct far_slave *s = far_slave_process(.respawn = 50, .close_ms = 50, .setup = end_then_hang, .setup_arg = n);

	far_invoke(s, die, SIGKILL);
	CHECK(died());
	while (__atomic_load_n(n, __ATOMIC_SEQ_CST) < 9)
		usleep(1000);
	usleep(20000);		/* the next comes a quarter of a second after that */
	CHECK_EQ(far_slave_close(s), -ETIMEDOUT);
	(void)far_error();
}

TEST(an_idle_slave_that_is_killed_is_there_for_the_next_call)
{
	struct far_slave *s = far_slave_process(.respawn = 5);

	for (int i = 0; i < 20; i++) {
		CHECK_EQ(far_invoke(s, add, i, 1), i + 1);
		kill(far_slave_pid(s), SIGKILL);
	}
	CHECK_EQ(far_invoke(s, add, 1, 2), 3);
	CHECK_OK();
	CHECK_EQ(far_slave_close(s), 0);
}

TEST(a_call_that_loops_costs_only_itself)
{
	struct far_slave *s = far_slave_process(.respawn = 3, .deadline_ms = 300);
	int *gate = shared_int();

	for (int i = 0; i < 3; i++) {
		far_task(void) loop = far_schedule(s, wait_for, gate);
		far_task(int) t = far_schedule_within(-1, s, add, i, 1);

		far_wait(loop);
		CHECK_FAILED(FAR_EDEADLINE);
		CHECK_EQ(far_wait(t), i + 1);
		CHECK_OK();
	}
	CHECK_EQ(far_slave_close(s), 0);
}

TEST(closing_lets_a_respawned_slave_finish)
{
	struct far_slave *s = far_slave_process(.respawn = 3);
	int *n = shared_int();

	far_forget(far_schedule(s, die, SIGKILL));
	for (int i = 0; i < 20; i++)
		far_forget(far_schedule(s, count, n));
	CHECK_EQ(far_slave_close(s), 0);
	CHECK_EQ(*n, 20);
}

static struct far_slave *respawning;

static void *call_many(void *unused)
{
	for (int i = 0; i < 300; i++) {
		int sum = far_invoke(respawning, add, i, 1);

		CHECK(far_error() ? died() : sum == i + 1);
	}
	return unused;
}

TEST(many_threads_survive_many_deaths)
{
	pthread_t thread[4];
	int fds = count_fds();

	respawning = far_slave_process(.respawn = 100);
	for (int i = 0; i < 4; i++)
		pthread_create(&thread[i], NULL, call_many, NULL);
	for (int i = 0; i < 50; i++) {
		kill(far_slave_pid(respawning), SIGKILL);
		usleep(2000);
	}
	for (int i = 0; i < 4; i++)
		pthread_join(thread[i], NULL);
	CHECK_EQ(far_slave_close(respawning), 0);
	CHECK(count_fds() <= fds + 2);
}

/* ------------------------------------------------------------------- limits */

static size_t most_memory(void)
{
	size_t sum = 0;

	/* Seen to be used: a compiler may take a block that nobody looks at for granted. */
	for (void *volatile block = malloc(1 << 20); block; block = malloc(1 << 20))
		sum += 1 << 20;
	return sum;
}

TEST(memory_can_be_limited)
{
	struct far_slave *s = far_slave_process(.memory_limit = 64 << 20);
	size_t most = far_invoke(s, most_memory);

	CHECK_OK();
	CHECK(most >= 48 << 20 && most <= 64 << 20);
	CHECK_EQ(far_slave_close(s), 0);
}

static void use_all_memory(void)
{
	volatile char *volatile block;

	while ((block = malloc(1 << 20)))
		;
	*block = 1;
}

static void use_too_large_a_block(void)
{
	void *volatile block = malloc(1 << 30);

	if (!block)
		abort();
}

static void use_all_descriptors(void)
{
	while (dup(STDERR_FILENO) >= 0)
		;
	FILE *volatile f = fopen("/dev/null", "r");

	fclose(f);
}

TEST(a_crash_names_the_limit_that_it_may_come_of)
{
	struct far_slave *s = far_slave_process(.memory_limit = 64 << 20, .file_limit = 33, .respawn = 3);
	int used = 0;

	far_invoke(s, use_all_memory);
	CHECK_FAILED(FAR_ECRASHED);
	const char *words = strstr(far_error()->message, "writing NULL (0); it used ");

	CHECK(words && sscanf(words, "%*[^;]; it used %d of the 64 MiB of its .memory_limit", &used) == 1);
	CHECK(used >= 50 && used <= 64);
	far_invoke(s, use_too_large_a_block);
	CHECK_FAILED(FAR_ECRASHED);
	CHECK_HAS(far_error()->message, "abort() was called; it used 0 of the 64 MiB of its .memory_limit");
	far_invoke(s, use_all_descriptors);
	CHECK_FAILED(FAR_ECRASHED);
	CHECK_HAS(far_error()->message, "; all descriptors of its .file_limit (33) are in use");
	far_invoke(s, raise, SIGSEGV);
	CHECK_FAILED(FAR_ECRASHED);
	CHECK(!strstr(far_error()->message, "limit"));
	CHECK_EQ(far_slave_close(s), 0);
}

/* ------------------------------------------------- the kernel's own limits */

/* Write @text into a file of the folder: whether that is allowed. */
static bool say(const char *folder, const char *name, const char *text)
{
	char path[600];

	snprintf(path, sizeof path, "%s/%s", folder, name);
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool good = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return good;
}

/* Make a memory cgroup of 64 MiB within our own: its folder, or NULL. */
static const char *make_cgroup(void)
{
	static char folder[500];
	char line[300];
	FILE *f = fopen("/proc/self/cgroup", "re");
	bool made = false;

	while (f && !made && fgets(line, sizeof line, f)) {
		bool first = strstr(line, ":memory:"), second = !strncmp(line, "0::", 3);

		if (!first && !second)
			continue;
		line[strcspn(line, "\n")] = 0;
		snprintf(folder, sizeof folder, "/sys/fs/cgroup%s%s/farcall-test-%d", first ? "/memory" : "",
			 strrchr(line, ':') + 1, (int)getpid());
		if (mkdir(folder, 0700))
			continue;
		made = say(folder, first ? "memory.limit_in_bytes" : "memory.max", "64M");
		say(folder, first ? "memory.swappiness" : "memory.swap.max", "0");
		if (!made)
			rmdir(folder);
	}
	if (f)
		fclose(f);
	return made ? folder : NULL;
}

static void touch_all_memory(void)
{
	for (;;) {
		void *volatile block = malloc(1 << 20);

		memset(block, 1, 1 << 20);
	}
}

static void run_out_of_memory(void)
{
	struct far_slave *s = far_slave_process(.respawn = 3), *other = far_slave_process();

	far_invoke(s, die, SIGKILL);
	CHECK_FAILED(FAR_EKILLED);
	CHECK_HAS(far_error()->message, "was killed by SIGKILL (Killed)");
	far_invoke(s, touch_all_memory);
	CHECK_FAILED(FAR_EKILLED);
	CHECK_HAS(far_error()->message, "out of memory, it seems: the out-of-memory killer has been at work");
	CHECK_EQ(far_invoke(s, add, 1, 2), 3);
	CHECK_EQ(far_invoke(other, add, 1, 2), 3);
	CHECK_EQ(far_slave_close(s), 0);
	CHECK_EQ(far_slave_close(other), 0);
}

/* In a process of its own, in a memory cgroup of 64 MiB. */
static void run_in_cgroup(void (*run)(void))
{
	const char *cgroup = make_cgroup();
	int status;

	if (!cgroup) {
		puts("SKIP: no memory cgroup can be made");
		return;
	}
	pid_t pid = fork();

	if (pid == 0) {
		alarm(TEST_SECONDS / 2);	/* for the cgroup is removed after it */
		if (!say(cgroup, "cgroup.procs", "0") || far_init())
			fail_at(__FILE__, __LINE__, "not in a memory cgroup");
		run();
		exit(0);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	AWAIT(5, rmdir(cgroup) == 0);
	CHECK_EQ(status, 0);
}

PLAIN(a_slave_that_the_kernel_kills_for_memory_is_told)
{
	run_in_cgroup(run_out_of_memory);
}

static void ask_for_too_much(void)
{
	CHECK(!far_alloc(100 << 20));
	CHECK_FAILED(FAR_ENOMEM);
	void *p = far_alloc(20 << 20);

	CHECK(p);
	far_free(p);
}

PLAIN(more_than_the_cgroup_may_have_is_refused)
{
	run_in_cgroup(ask_for_too_much);
}

static rlim_t limit_of(int resource)
{
	struct rlimit limit;

	getrlimit(resource, &limit);
	return limit.rlim_cur;
}

static bool can_have(size_t size)
{
	void *volatile p = malloc(size);
	bool has = p;

	free(p);
	return has;
}

TEST(the_largest_limit_is_none)
{
	struct far_slave *s = far_slave_process(.memory_limit = SIZE_MAX);

	CHECK_EQ(far_invoke(s, can_have, 64 << 20), true);
	CHECK_OK();
	CHECK_EQ(far_slave_close(s), 0);
}

TEST(limits_hold_in_each_incarnation)
{
	struct far_slave *s = far_slave_process(.cpu_limit = 7, .process_limit = 50, .file_limit = 33, .nice = 3,
						.memory_limit = 100 << 20);
	int nice = getpriority(PRIO_PROCESS, 0) + 3;

	if (nice > 19)
		nice = 19;
	for (int i = 0; i < 2; i++) {
		CHECK_EQ(far_invoke(s, limit_of, RLIMIT_CPU), 7);
		CHECK_EQ(far_invoke(s, limit_of, RLIMIT_NPROC), 50);
		CHECK_EQ(far_invoke(s, limit_of, RLIMIT_NOFILE), 33);
		CHECK_EQ(far_invoke(s, limit_of, RLIMIT_CORE), 0);
		CHECK_EQ(far_invoke(s, getpriority, PRIO_PROCESS, 0), nice);
		CHECK(far_invoke(s, limit_of, RLIMIT_DATA) < 200 << 20);
		CHECK_EQ(far_slave_restart(s), 0);
	}
	CHECK_EQ(far_slave_close(s), 0);
}

static void burn(void)
{
	for (;;)
		;
}

TEST(processor_time_can_be_limited)
{
	struct far_slave *s = far_slave_process(.cpu_limit = 1);

	far_invoke(s, burn);
	CHECK(far_error());
	CHECK_EQ(far_error()->signal, SIGXCPU);
	CHECK_HAS(far_error()->message, "its .cpu_limit of 1 s");
	far_slave_close(s);
	far_error();
}

/* ------------------------------------------------------- descriptors passed */

enum { MANY = 40 };
static int opened[MANY];

static int count_opened(void)
{
	struct stat st;
	int n = 0;

	for (int i = 0; i < MANY; i++)
		n += fstat(opened[i], &st) == 0 && S_ISCHR(st.st_mode);
	return n;
}

static int open_many(void)
{
	for (int i = 0; i < MANY; i++)
		opened[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
	return count_opened();
}

static int close_it(int fd, int unused)
{
	(void)unused;
	return close(fd);
}

static void die_later(void)
{
	usleep(100000);
	raise(SIGKILL);
}

static far_task(int) opens;

/* Between the passing of a descriptor and the call that it is for. */
static int queue_before(struct far_slave *s)
{
	far_forget(far_schedule(s, die_later));
	opens = far_schedule(s, open_many);
	return 0;
}

TEST(what_was_passed_for_a_cancelled_call_is_not_closed_in_the_next_life)
{
	struct far_slave *s = far_slave_process(.respawn = 3);
	far_task(int) t = far_schedule(s, close_it, far_fd(STDERR_FILENO), queue_before(s));

	CHECK_EQ(far_cancel(t), 0);
	CHECK_EQ(far_wait(opens), MANY);
	far_wait(t);
	CHECK_EQ(far_invoke(s, count_opened), MANY);
	CHECK_OK();
	CHECK_EQ(far_slave_close(s), 0);
}
