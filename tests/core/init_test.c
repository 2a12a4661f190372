/* far_init(): when it is forgotten, when the system refuses, and how the family ends. */
#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>

#include "check.h"

static int add(int a, int b)
{
	return a + b;
}

static int *shared_gate(void)
{
	return far_calloc(1, sizeof(int));
}

static void wait_for_gate(int *gate)
{
	while (!__atomic_load_n(gate, __ATOMIC_SEQ_CST))
		nanosleep(&(struct timespec){ .tv_nsec = 100000 }, NULL);
}

static void check_works(void)
{
	struct far_slave *s = far_slave_process();

	CHECK(s);
	CHECK_EQ(far_invoke(s, add, 1, 2), 3);
	CHECK_EQ(far_slave_close(s), 0);
}

/* What run() leaves as its status, in a child made by fork(). */
static int status_of(void (*run)(int), int argument)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		run(argument);
		_exit(0);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	return status;
}

/* ------------------------------------------------------------------- start */

PLAIN(forgotten_it_is_done_by_the_first_slave_process)
{
	check_works();
	CHECK_EQ(far_init(), 0);
	check_works();
}

PLAIN(called_twice_it_does_nothing)
{
	CHECK_EQ(far_init(), 0);
	pid_t first = zygote();
	int fds = count_fds();

	CHECK_EQ(far_init(), 0);
	CHECK_EQ(far_init(), 0);
	CHECK_OK();
	CHECK_EQ(zygote(), first);
	CHECK_EQ(children_of(getpid(), NULL, 0), 1);
	CHECK_EQ(count_fds(), fds);
	check_works();
}

static pthread_barrier_t barrier;

static void *wait_twice(void *unused)
{
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
	return unused;
}

PLAIN(with_several_threads_it_says_what_to_do)
{
	pthread_t thread;

	pthread_barrier_init(&barrier, NULL, 2);
	pthread_create(&thread, NULL, wait_twice, NULL);
	pthread_barrier_wait(&barrier);
	CHECK(!far_slave_process());
	CHECK_FAILED(FAR_EINIT);
	CHECK_HAS(far_error()->message, "2 threads");
	CHECK_HAS(far_error()->message, "far_init()");
	CHECK(far_init() < 0);
	CHECK_FAILED(FAR_EINIT);
	struct far_slave *s = far_slave_thread();

	CHECK_EQ(far_invoke(s, add, 1, 2), 3);
	CHECK_OK();
	CHECK_EQ(far_slave_close(s), 0);
	pthread_barrier_wait(&barrier);
	pthread_join(thread, NULL);
}

PLAIN(and_works_when_they_have_ended)
{
	pthread_t thread;

	pthread_barrier_init(&barrier, NULL, 2);
	pthread_create(&thread, NULL, wait_twice, NULL);
	pthread_barrier_wait(&barrier);
	CHECK(far_init() < 0);
	CHECK_FAILED(FAR_EINIT);
	pthread_barrier_wait(&barrier);
	pthread_join(thread, NULL);
	CHECK_EQ(far_init(), 0);
	check_works();
}

PLAIN(thread_slaves_need_no_zygote)
{
	struct far_slave *s = far_slave_thread();

	CHECK_EQ(far_invoke(s, add, 1, 2), 3);
	CHECK_EQ(far_slave_close(s), 0);
	CHECK_EQ(zygote(), 0);
}

/* -------------------------------------------------------------- children */

TEST(the_programs_wait_never_sees_our_processes)
{
	struct far_slave *s = far_slave_process(), *t = far_slave_process();
	int status;
	siginfo_t info;

	CHECK_EQ(far_invoke(s, add, 1, 2), 3);
	CHECK_EQ(wait(&status), -1);
	CHECK_EQ(errno, ECHILD);
	CHECK_EQ(waitpid(-1, &status, WNOHANG), -1);
	CHECK_EQ(waitid(P_ALL, 0, &info, WEXITED | WNOHANG), -1);
	far_invoke(s, raise, SIGKILL);
	CHECK_DIED();
	CHECK_EQ(far_slave_close(t), 0);
	CHECK_EQ(wait(&status), -1);
	CHECK_EQ(errno, ECHILD);
	pid_t pid = fork();

	if (pid == 0)
		_exit(5);
	CHECK_EQ(wait(&status), pid);
	CHECK_EQ(WEXITSTATUS(status), 5);
}

static volatile int handled;

static void handle(int signal)
{
	(void)signal;
	handled++;
}

static void check_deaths(void)
{
	for (int i = 0; i < 3; i++) {
		struct far_slave *s = far_slave_process();

		CHECK_EQ(far_invoke(s, add, 1, 2), 3);
		far_invoke(s, raise, SIGKILL);
		CHECK_DIED();
		CHECK_EQ(far_error()->signal, SIGKILL);
		CHECK_EQ(far_slave_close(s), -EOWNERDEAD);
		check_works();
	}
}

PLAIN(sigchld_may_be_ignored)
{
	signal(SIGCHLD, SIG_IGN);
	CHECK_EQ(far_init(), 0);
	check_deaths();
}

PLAIN(sigchld_may_be_handled)
{
	signal(SIGCHLD, handle);
	CHECK_EQ(far_init(), 0);
	check_deaths();
	CHECK_EQ(handled, 0);
}

PLAIN(signals_may_be_blocked)
{
	sigset_t all;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	CHECK_EQ(far_init(), 0);
	check_deaths();
	sigprocmask(SIG_SETMASK, NULL, &all);
	CHECK(sigismember(&all, SIGCHLD) == 1);
}

static int is_blocked(int signal)
{
	sigset_t set;

	sigprocmask(SIG_SETMASK, NULL, &set);
	return sigismember(&set, signal);
}

static int disposition(int signal)
{
	struct sigaction action;

	sigaction(signal, NULL, &action);
	return action.sa_handler == SIG_IGN ? 1 : action.sa_handler == handle ? 2 : 0;
}

PLAIN(a_slave_has_the_programs_signals)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_SETMASK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGCHLD, SIG_IGN);
	signal(SIGUSR2, handle);
	CHECK_EQ(far_init(), 0);
	struct far_slave *s = far_slave_process();

	CHECK_EQ(far_invoke(s, is_blocked, SIGUSR1), 1);
	CHECK_EQ(far_invoke(s, is_blocked, SIGUSR2), 0);
	CHECK_EQ(far_invoke(s, is_blocked, SIGCHLD), 0);
	CHECK_EQ(far_invoke(s, disposition, SIGPIPE), 1);
	CHECK_EQ(far_invoke(s, disposition, SIGCHLD), 1);
	CHECK_EQ(far_invoke(s, disposition, SIGUSR2), 2);
	CHECK_EQ(far_slave_close(s), 0);
	CHECK_EQ(is_blocked(SIGUSR1), 1);
}

static int read_terminal(void)
{
	char c;

	return read(0, &c, 1) < 0 ? errno : 0;
}

static void in_a_terminal(int unused)
{
	(void)unused;
	int terminal = posix_openpt(O_RDWR | O_NOCTTY);

	CHECK(setsid() > 0 && terminal >= 0 && grantpt(terminal) == 0 && unlockpt(terminal) == 0);
	int in = open(ptsname(terminal), O_RDWR);	/* ours from now on */

	CHECK_EQ(dup2(in, 0), 0);
	CHECK_EQ(far_init(), 0);
	struct far_slave *s = far_slave_process();

	CHECK_EQ(far_invoke_within(10000, s, read_terminal), EIO);
	CHECK_EQ(far_slave_close(s), 0);
}

/* It would be stopped, and its caller wait for ever. */
PLAIN(a_slave_that_reads_the_terminal_is_told_that_it_is_not_in_front)
{
	int terminal = posix_openpt(O_RDWR | O_NOCTTY);

	if (terminal < 0) {
		puts("SKIP: no terminal can be had");
		return;
	}
	close(terminal);
	CHECK_EQ(status_of(in_a_terminal, 0), 0);
}

/* ------------------------------------------------------------- environment */

PLAIN(a_setting_that_is_none_is_named_and_ignored)
{
	static const char *const settings[][2] = {
		{ "FARCALL_WAIT", "io_uring" }, { "FARCALL_SHM", "memory" }, { "FARCALL_HEAP", "-1G" }, { "FARCALL_SPARES", "two" },
	};
	char said[2048] = "";
	int p[2], err = dup(2);

	for (int i = 0; i < 4; i++)
		setenv(settings[i][0], settings[i][1], 1);
	CHECK(pipe(p) == 0 && dup2(p[1], 2) == 2);
	int result = far_init();

	CHECK_EQ(dup2(err, 2), 2);
	CHECK_EQ(result, 0);
	CHECK(read(p[0], said, sizeof said - 1) > 0);
	for (int i = 0; i < 4; i++) {
		CHECK_HAS(said, settings[i][0]);
		CHECK_HAS(said, settings[i][1]);
	}
	check_works();
}

PLAIN(a_limit_on_file_sizes_is_named)
{
	struct rlimit limit;

	getrlimit(RLIMIT_FSIZE, &limit);
	setrlimit(RLIMIT_FSIZE, &(struct rlimit){ 1 << 20, limit.rlim_max });
	CHECK_EQ(far_init(), -EFBIG);
	CHECK_FAILED(FAR_ELIMIT);
	CHECK_HAS(far_error()->message, "ulimit -f");
	setrlimit(RLIMIT_FSIZE, &limit);
	CHECK_EQ(far_init(), 0);
	check_works();
}

/* -------------------------------------------------------------- descriptors */

static int is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

PLAIN(closed_stdio_stays_closed)
{
	int out = fcntl(STDOUT_FILENO, F_DUPFD, 100);

	for (int fd = 0; fd < 3; fd++)
		close(fd);
	int good = far_init() == 0;
	struct far_slave *s = far_slave_process(), *t = far_slave_thread();

	good = good && far_invoke(s, add, 1, 2) == 3 && far_invoke(t, add, 1, 2) == 3;
	for (int i = 0; good && i < 10; i++)
		good = far_invoke(s, usleep, 2000) == 0 && far_invoke(t, usleep, 2000) == 0;
	for (int fd = 0; fd < 3; fd++)
		good = good && !is_open(fd) && !far_invoke(s, is_open, fd);
	int file = memfd_create("file", 0);	/* 0: passing it works, too */

	good = good && file == 0 && far_invoke(s, close, far_fd(file)) == 0;
	good = good && far_slave_close(s) == 0 && far_slave_close(t) == 0;
	dup2(out, STDOUT_FILENO);
	CHECK(good);
}

PLAIN(our_descriptors_are_few_and_closed_by_exec)
{
	int ours = 0;

	close_range(3, ~0u, 0);
	CHECK_EQ(far_init(), 0);
	check_works();
	for (int fd = 3; fd < 1000; fd++) {
		int flags = fcntl(fd, F_GETFD);

		ours += flags >= 0;
		CHECK(flags < 0 || flags & FD_CLOEXEC);
	}
	CHECK(ours < 10);
}

static void limit_fds(rlim_t n)
{
	struct rlimit limit;

	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = n;
	if (setrlimit(RLIMIT_NOFILE, &limit))
		_exit(99);
}

/* It works, or it fails with an error that has words. */
static void try_slaves(void)
{
	struct far_slave *s[] = { far_slave_process(), far_slave_thread() };

	for (int i = 0; i < 2; i++) {
		if (!s[i]) {
			CHECK(far_error());
			continue;
		}
		for (int k = 0; k < 3; k++) {
			int sum = far_invoke(s[i], add, 1, 2);

			CHECK(far_error() || sum == 3);
			far_invoke(s[i], usleep, 2000);
		}
		far_invoke(s[i], close, far_fd(0));
		far_error();
		far_slave_close(s[i]);
		far_error();
	}
}

static void with_few_fds(int n)
{
	close_range(3, ~0u, 0);
	limit_fds((rlim_t)n);
	int err = far_init();

	if (err) {
		CHECK(far_error());
		CHECK(far_error()->code == FAR_ELIMIT || far_error()->code == FAR_EINIT);
		CHECK(strlen(far_error()->message) > 20);
	}
	try_slaves();
	try_slaves();
	limit_fds(1000);
	int fds = count_fds();

	CHECK(err == 0 || fds < 10);
	/* Where nothing was left half-made, it works now. */
	if (err) {
		CHECK_EQ(far_init(), 0);
		check_works();
	}
}

PLAIN(few_descriptors_are_a_clear_error)
{
	for (int n = 3; n <= 30; n++) {
		int status = status_of(with_few_fds, n);

		if (status)
			fail_at(__FILE__, __LINE__, "with a limit of %d descriptors: status %#x", n, status);
	}
}

static void fewer_fds_later(int n)
{
	CHECK_EQ(far_init(), 0);
	check_works();
	limit_fds((rlim_t)n);
	for (int i = 0; i < 3; i++)
		try_slaves();
	limit_fds(1000);
	check_works();
}

PLAIN(few_descriptors_after_the_start_are_a_clear_error)
{
	for (int n = 3; n <= 20; n++) {
		int status = status_of(fewer_fds_later, n);

		if (status)
			fail_at(__FILE__, __LINE__, "with a limit of %d descriptors: status %#x", n, status);
	}
}

/*
 * A limit of processes counts those of the user, in the user's namespace, but for
 * root: be a user who has no others.
 */
static void become_somebody(void)
{
	uid_t nobody_else = 100000 + (uid_t)getpid();

	if (geteuid() == 0) {
		CHECK_EQ(setresgid(nobody_else, nobody_else, nobody_else), 0);
		CHECK_EQ(setresuid(nobody_else, nobody_else, nobody_else), 0);
		prctl(PR_SET_DUMPABLE, 1);
	} else if (unshare(CLONE_NEWUSER)) {
		puts("SKIP: no user namespace is permitted");
		exit(0);
	}
}

static void with_few_processes(int n)
{
	struct far_slave *s[12];
	int made = 0;

	become_somebody();
	struct rlimit limit = { (rlim_t)n, (rlim_t)n };

	CHECK_EQ(setrlimit(RLIMIT_NPROC, &limit), 0);
	if (far_init()) {
		CHECK_FAILED(FAR_EINIT);
		CHECK(n < 3);
		CHECK(!far_slave_process());
		CHECK(far_error());
		return;
	}
	while (made < 12 && (s[made] = far_slave_process()))
		made++;
	CHECK(made < 12);
	CHECK_FAILED(FAR_ELIMIT);
	for (int i = 0; i < made; i++)
		CHECK_EQ(far_invoke(s[i], add, 1, 2), 3);
	for (int i = 0; i < made; i++)
		CHECK_EQ(far_slave_close(s[i]), 0);
	if (made)
		check_works();
}

PLAIN(few_processes_are_a_clear_error)
{
	for (int n = 1; n <= 10; n++) {
		int status = status_of(with_few_processes, n);

		if (status)
			fail_at(__FILE__, __LINE__, "with a limit of %d processes: status %#x", n, status);
	}
}

static void with_few_addresses(int bits)
{
	struct rlimit limit = { 1ul << bits, 1ul << bits };

	CHECK_EQ(setrlimit(RLIMIT_AS, &limit), 0);
	if (far_init()) {
		CHECK(far_error()->code == FAR_ENOMEM || far_error()->code == FAR_EINIT);
		CHECK(strlen(far_error()->message) > 20);
	}
	try_slaves();
	char *block = far_alloc(1000);

	if (block)
		memset(block, 1, 1000);
	else
		CHECK_FAILED(FAR_ENOMEM);
	far_free(block);
}

PLAIN(few_addresses_are_a_clear_error)
{
	for (int bits = 25; bits <= 47; bits++) {
		int status = status_of(with_few_addresses, bits);

		if (status)
			fail_at(__FILE__, __LINE__, "with 2^%d bytes of addresses: status %#x", bits, status);
	}
}

/* --------------------------------------------------------------------- ends */

static pid_t start_there(void)
{
	return far_slave_pid(far_slave_process());
}

enum { PIDS = 8 };

/* A program with a zygote, slaves, and a slave's slave; it tells their pids and does what it is told. */
static pid_t start_program(pid_t *pid, void (*end)(void))
{
	int p[2];

	CHECK_EQ(pipe2(p, O_CLOEXEC), 0);
	pid_t program = fork();

	if (program == 0) {
		pid_t mine[PIDS] = { 0 };
		int n = 0;

		CHECK_EQ(far_init(), 0);
		for (int i = 0; i < 3; i++) {
			struct far_slave *s = far_slave_process();

			mine[n++] = far_slave_pid(s);
			mine[n++] = far_invoke(s, start_there);
			CHECK_OK();
			far_schedule(s, wait_for_gate, shared_gate());
		}
		mine[n++] = zygote();
		mine[n++] = getpid();
		CHECK_EQ(write(p[1], mine, sizeof mine), sizeof mine);
		end();
		pause();
	}
	CHECK_EQ(read(p[0], pid, PIDS * sizeof *pid), PIDS * sizeof *pid);
	close(p[0]);
	close(p[1]);
	return program;
}

static int living(const pid_t *pid, int n)
{
	int alive = 0;

	for (int i = 0; i < n; i++)
		alive += lives(pid[i]);
	return alive;
}

static void do_nothing(void)
{
}

PLAIN(a_killed_program_takes_its_family_along)
{
	pid_t pid[PIDS], program = start_program(pid, do_nothing);

	CHECK_EQ(living(pid, PIDS), PIDS);
	kill(program, SIGKILL);
	AWAIT(5, living(pid, PIDS) == 0);
	CHECK_EQ(waitpid(program, NULL, 0), program);
}

PLAIN(also_when_some_of_it_are_stopped)
{
	enum { FIRST = 0, ZYGOTE = PIDS - 2 };

	for (int n = 1; n <= 3; n++) {
		pid_t pid[PIDS], program = start_program(pid, do_nothing);

		if (n & 1)
			kill(pid[ZYGOTE], SIGSTOP);
		if (n & 2)
			kill(pid[FIRST], SIGSTOP);
		kill(program, SIGKILL);
		AWAIT(5, living(pid, PIDS) == 0);
		CHECK_EQ(waitpid(program, NULL, 0), program);
	}
}

static void *end_main_thread_late(void *unused)
{
	usleep(20000);
	raise(SIGKILL);
	return unused;
}

static void leave_it_to_a_thread(void)
{
	pthread_t thread;

	pthread_create(&thread, NULL, end_main_thread_late, NULL);
	pthread_exit(NULL);
}

PLAIN(the_family_lives_until_the_last_thread_ends)
{
	pid_t pid[PIDS], program = start_program(pid, leave_it_to_a_thread);

	AWAIT(5, living(pid, PIDS) == 0);
	CHECK_EQ(waitpid(program, NULL, 0), program);
}

static void leave(void)
{
	exit(0);
}

PLAIN(a_program_that_exits_takes_its_busy_family_along)
{
	pid_t pid[PIDS], program = start_program(pid, leave);

	AWAIT(5, living(pid, PIDS) == 0);
	CHECK_EQ(waitpid(program, NULL, 0), program);
}

static void execute_something(void)
{
	execlp("sleep", "sleep", "20", (char *)NULL);
	_exit(98);
}

PLAIN(a_program_that_executes_another_takes_its_family_along)
{
	pid_t pid[PIDS], program = start_program(pid, execute_something);

	AWAIT(5, living(pid, PIDS - 1) == 0);
	CHECK_EQ(living(pid, PIDS), 1);
	kill(program, SIGKILL);
	CHECK_EQ(waitpid(program, NULL, 0), program);
}

static void execute_myself(void)
{
	int null = open("/dev/null", O_RDWR);

	dup2(null, STDOUT_FILENO);
	execl("/proc/self/exe", "again", "called_twice", (char *)NULL);
	_exit(98);
}

PLAIN(a_program_may_execute_itself)
{
	int status;
	pid_t pid[PIDS], program = start_program(pid, execute_myself);

	CHECK_EQ(waitpid(program, &status, 0), program);
	CHECK_EQ(status, 0);
	AWAIT(5, living(pid, PIDS) == 0);
}

static void fork_a_child(void)
{
	if (fork() == 0) {	/* it holds copies of our descriptors */
		alarm(20);
		pause();
		_exit(0);
	}
}

static void keep_a_copy(void)
{
	fork_a_child();
	raise(SIGKILL);
}

static void keep_a_copy_and_execute(void)
{
	fork_a_child();
	execute_something();
}

/* The child is ours, or our parent's, now. */
static void end_child(void)
{
	pid_t child[64];

	for (int n = children_of(getppid(), child, 64); n-- > 0;)
		if (child[n] != getpid())
			kill(child[n], SIGKILL);
}

PLAIN(a_forked_child_does_not_keep_the_family_alive)
{
	pid_t pid[PIDS], program = start_program(pid, keep_a_copy);

	AWAIT(5, living(pid, PIDS) == 0);
	CHECK_EQ(waitpid(program, NULL, 0), program);
	end_child();
}

PLAIN(nor_does_it_when_the_program_executes_another)
{
	pid_t pid[PIDS], program = start_program(pid, keep_a_copy_and_execute);

	AWAIT(5, living(pid, PIDS - 1) == 0);
	kill(program, SIGKILL);
	CHECK_EQ(waitpid(program, NULL, 0), program);
	end_child();
}

/* -------------------------------------------------------------- the zygote */

static void check_without_zygote(struct far_slave *s)
{
	double start = seconds();

	CHECK_EQ(far_invoke(s, add, 1, 2), 0);
	CHECK_DIED();
	CHECK(seconds() - start < 1);
	CHECK(!far_slave_process());
	CHECK_FAILED(FAR_EINIT);
	CHECK_HAS(far_error()->message, "zygote");
	CHECK_EQ(far_slave_close(s), -EOWNERDEAD);
	struct far_slave *t = far_slave_thread();

	CHECK_EQ(far_invoke(t, add, 1, 2), 3);
	CHECK_EQ(far_slave_close(t), 0);
	CHECK(seconds() - start < 2);
}

TEST(without_a_zygote_all_calls_fail_soon)
{
	struct far_slave *s = far_slave_process();

	CHECK_EQ(far_invoke(s, add, 1, 2), 3);
	kill(zygote(), SIGKILL);
	AWAIT(5, !lives(far_slave_pid(s)));
	check_without_zygote(s);
}

/* As the kernel does when a process changes its user. */
static void untie(void)
{
	prctl(PR_SET_PDEATHSIG, 0);
}

TEST(a_slave_that_is_not_killed_with_the_zygote_takes_no_calls_and_ends)
{
	struct far_slave *s = far_slave_process();
	pid_t pid = far_slave_pid(s), z = zygote();

	far_invoke(s, untie);
	CHECK_OK();
	usleep(100000);		/* it sleeps */
	kill(z, SIGKILL);
	AWAIT(5, !lives(z));
	check_without_zygote(s);
	AWAIT(5, !lives(pid));
}

static void *kill_zygote_later(void *unused)
{
	usleep(20000);
	kill(zygote(), SIGKILL);
	return unused;
}

TEST(a_caller_that_waits_hears_of_the_zygotes_death)
{
	struct far_slave *s = far_slave_process();
	pthread_t thread;

	pthread_create(&thread, NULL, kill_zygote_later, NULL);
	double start = seconds();

	far_invoke(s, wait_for_gate, shared_gate());
	CHECK_DIED();
	CHECK(seconds() - start < 2);
	pthread_join(thread, NULL);
	check_without_zygote(s);
}

static void *wait_for_task(void *task)
{
	far_task(void) *t = task;

	far_wait(*t);
	CHECK_DIED();
	return NULL;
}

TEST(threads_that_wait_for_tasks_hear_of_it)
{
	struct far_slave *s = far_slave_process(), *t = far_slave_process();
	pthread_t thread[4];
	far_task(void) task[4];

	for (int i = 0; i < 4; i++) {
		task[i] = far_schedule(i % 2 ? s : t, wait_for_gate, shared_gate());
		pthread_create(&thread[i], NULL, wait_for_task, &task[i]);
	}
	kill_zygote_later(NULL);
	for (int i = 0; i < 4; i++)
		pthread_join(thread[i], NULL);
	check_without_zygote(s);
}

TEST(a_slave_may_be_closed_when_the_zygote_has_just_died)
{
	struct far_slave *idle = far_slave_process(), *busy = far_slave_process(.close_ms = 1), *queued = far_slave_process();
	double start = seconds();

	far_schedule(busy, wait_for_gate, shared_gate());
	far_schedule(queued, wait_for_gate, shared_gate());
	kill(zygote(), SIGKILL);
	CHECK_EQ(far_slave_close(queued), -EOWNERDEAD);
	CHECK(far_slave_close(busy) < 0);
	CHECK_EQ(far_slave_close(idle), -EOWNERDEAD);
	CHECK(seconds() - start < 2);
}

TEST(a_slave_that_is_being_closed_is_not_waited_for_in_vain)
{
	struct far_slave *s = far_slave_process();
	pthread_t thread;

	far_schedule(s, wait_for_gate, shared_gate());
	pthread_create(&thread, NULL, kill_zygote_later, NULL);
	CHECK_EQ(far_slave_close(s), -EOWNERDEAD);
	pthread_join(thread, NULL);
}

TEST(nor_for_ever_for_a_zygote_that_is_stopped)
{
	struct far_slave *s = far_slave_process(.close_ms = 50);
	pid_t pid = far_slave_pid(s);
	double start = seconds();

	far_forget(far_schedule(s, wait_for_gate, shared_gate()));
	kill(zygote(), SIGSTOP);
	CHECK_EQ(far_slave_close(s), -ETIMEDOUT);
	CHECK_HAS(far_error()->message, "the zygote");
	CHECK(seconds() - start < 20);
	CHECK(lives(pid));
	kill(zygote(), SIGCONT);
	AWAIT(5, !lives(pid));
	s = far_slave_process();
	CHECK_EQ(far_invoke(s, add, 1, 2), 3);
	CHECK_EQ(far_slave_close(s), 0);
}

TEST(no_slave_is_started_when_the_zygote_has_just_died)
{
	struct far_slave *s = NULL;

	kill(zygote(), SIGKILL);
	for (int i = 0; i < 5; i++) {
		double start = seconds();

		s = far_slave_process();	/* may be one of the stock, that dies soon */
		if (s)
			far_invoke(s, wait_for_gate, shared_gate());
		CHECK(far_error());
		CHECK(far_died(far_error()) || far_error()->code == FAR_EINIT);
		far_slave_close(s);
		far_error();
		CHECK(seconds() - start < 2);
	}
	CHECK(!far_slave_process());
	CHECK_FAILED(FAR_EINIT);
}

TEST(a_dead_zygote_is_no_child_to_wait_for)
{
	struct far_slave *s = far_slave_process();

	kill(zygote(), SIGKILL);
	far_invoke(s, wait_for_gate, shared_gate());
	CHECK_DIED();
	CHECK_EQ(wait(NULL), -1);
	CHECK_EQ(errno, ECHILD);
}
