/*
 * A test program in one header. Each test is a process of its own that has called
 * far_init() before anything else, as a program should; TEST_BOTH() runs once with
 * thread slaves and once with process slaves, PLAIN() without far_init(). When a
 * test's process has ended, all that it started must end within five seconds.
 *
 *	program [part of a test's name]
 *
 * Criterion is no choice here: its own process has threads before a test begins,
 * and its memory lies where far_init() wants to map.
 */
#ifndef FAR_TESTS_CORE_CHECK_H
#define FAR_TESTS_CORE_CHECK_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "farcall.h"
#include "heap_use.h"

#define UNUSED __attribute__((unused))

struct test {
	const char *name;
	void (*run)(void);
	bool plain, both;
	struct test *next;
};

static struct test *first_test, **last_test = &first_test;
UNUSED static bool in_process;		/* what START() starts */

UNUSED static void add_test(struct test *t)
{
	*last_test = t;
	last_test = &t->next;
}

#define TEST_(name_, ...) \
	static void name_(void); \
	__attribute__((constructor)) static void add_##name_(void) \
	{ \
		static struct test t = { .name = #name_, .run = name_, __VA_ARGS__ }; \
		add_test(&t); \
	} \
	static void name_(void)

#define TEST(name) TEST_(name, .both = false)
#define TEST_BOTH(name) TEST_(name, .both = true)
#define PLAIN(name) TEST_(name, .plain = true)

#define START(...) (in_process ? far_slave_process(__VA_ARGS__) : far_slave_thread(__VA_ARGS__))

/* ------------------------------------------------------------- checking */

__attribute__((noreturn, format(printf, 3, 4))) UNUSED
static void fail_at(const char *file, int line, const char *format, ...)
{
	const struct far_error *error = far_error();
	const char *slash = strrchr(file, '/');
	va_list arguments;
	char text[2048];

	va_start(arguments, format);
	vsnprintf(text, sizeof text, format, arguments);
	va_end(arguments);
	dprintf(STDOUT_FILENO, "\t%s:%d: %s\n", slash ? slash + 1 : file, line, text);
	if (error)
		dprintf(STDOUT_FILENO, "\tfar_error() is %d: %s\n", error->code, error->message);
	_exit(1);
}

#define CHECK(condition) do { \
	if (!(condition)) \
		fail_at(__FILE__, __LINE__, "not so: %s", #condition); \
} while (0)

#define CHECK_EQ(a, b) do { \
	long long a_ = (long long)(a), b_ = (long long)(b); \
	if (a_ != b_) \
		fail_at(__FILE__, __LINE__, "%s is %lld, not %s, %lld", #a, a_, #b, b_); \
} while (0)

#define CHECK_STR(a, b) do { \
	const char *a_ = (a), *b_ = (b); \
	if (!a_ || strcmp(a_, b_)) \
		fail_at(__FILE__, __LINE__, "%s is \"%s\", not \"%s\"", #a, a_ ? a_ : "(null)", b_); \
} while (0)

#define CHECK_HAS(text, part) do { \
	const char *t_ = (text), *p_ = (part); \
	if (!t_ || !strstr(t_, p_)) \
		fail_at(__FILE__, __LINE__, "\"%s\" does not contain \"%s\"", t_ ? t_ : "(null)", p_); \
} while (0)

/* The last call succeeded; or it failed with @code_. */
#define CHECK_OK() CHECK(far_error() == NULL)
#define CHECK_FAILED(code_) do { \
	const struct far_error *e_ = far_error(); \
	if (!e_ || e_->code != (code_)) \
		fail_at(__FILE__, __LINE__, "far_error() is not %s", #code_); \
} while (0)

/* The last call's slave ended, in whatever way. */
#define CHECK_DIED() do { \
	if (!far_died(far_error())) \
		fail_at(__FILE__, __LINE__, "far_error() is not that the slave died"); \
} while (0)

static inline double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Wait up to @limit_s for a condition of the system that sends no event. */
#define AWAIT(limit_s, condition) do { \
	double end_ = seconds() + (limit_s); \
	while (!(condition)) { \
		if (seconds() > end_) \
			fail_at(__FILE__, __LINE__, "not within %g s: %s", (double)(limit_s), #condition); \
		nanosleep(&(struct timespec){ .tv_nsec = 500000 }, NULL); \
	} \
} while (0)

/* ------------------------------------------------------------ observing */

UNUSED static int count_entries(const char *folder)
{
	DIR *d = opendir(folder);
	int n = -3;	/* ".", ".." and, of descriptors, d itself; the same for all */

	if (!d)
		return -1;
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

/* Names of ours in /dev/shm; other tests, Criterion's, may have some there meanwhile. */
UNUSED static int count_shm_names(void)
{
	DIR *d = opendir("/dev/shm");
	int n = 0;

	if (!d)
		return 0;
	for (struct dirent *e; (e = readdir(d)); )
		n += strstr(e->d_name, "farcall") != NULL;
	closedir(d);
	return n;
}

UNUSED static int count_fds(void)
{
	return count_entries("/proc/self/fd");
}

UNUSED static int count_maps(void)
{
	FILE *f = fopen("/proc/self/maps", "re");
	int c, n = 0;

	while ((c = getc(f)) != EOF)
		n += c == '\n';
	fclose(f);
	return n;
}

/* The state and parent of a process; false if there is none. */
UNUSED static bool look_at(pid_t pid, char *state, pid_t *parent)
{
	char path[64], text[512];
	FILE *f;

	snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
	f = fopen(path, "re");
	if (!f)
		return false;
	size_t n = fread(text, 1, sizeof text - 1, f);

	fclose(f);
	text[n] = 0;
	char *end = strrchr(text, ')');

	return end && sscanf(end + 1, " %c %d", state, parent) == 2;
}

/* There is such a process, and it is no zombie. */
UNUSED static bool lives(pid_t pid)
{
	pid_t parent;
	char state;

	return look_at(pid, &state, &parent) && state != 'Z' && state != 'X';
}

/* How many living children a process has, and up to @max of them. */
UNUSED static int children_of(pid_t pid, pid_t *child, int max)
{
	DIR *d = opendir("/proc");
	struct dirent *e;
	int n = 0;

	while (d && (e = readdir(d))) {
		pid_t candidate = (pid_t)atoi(e->d_name), parent;
		char state;

		if (candidate <= 0 || !look_at(candidate, &state, &parent) || parent != pid || state == 'Z')
			continue;
		if (n < max)
			child[n] = candidate;
		n++;
	}
	if (d)
		closedir(d);
	return n;
}

/* The zygote of this process, the only child it has unless the test made others before. */
UNUSED static pid_t zygote(void)
{
	pid_t pid = 0;

	return children_of(getpid(), &pid, 1) >= 1 ? pid : 0;
}

UNUSED static int slave_processes(void)
{
	return children_of(zygote(), NULL, 0);
}

UNUSED static const char *status_text(void)
{
	static char text[4096];
	FILE *f = fmemopen(text, sizeof text, "w");

	far_status(f);
	fclose(f);
	return text;
}

/* Of the far heap, in KiB. */
UNUSED static size_t heap_in_use(void)
{
	size_t large, small;

	CHECK(heap_use(&large, &small));
	return large + small;
}

/* What is printed to stderr in between; of this process, for slaves have a stderr of their own. */
UNUSED static int captured_fd, real_stderr;

UNUSED static void capture_begin(void)
{
	fflush(stderr);
	captured_fd = memfd_create("stderr", MFD_CLOEXEC);
	real_stderr = dup(STDERR_FILENO);
	dup2(captured_fd, STDERR_FILENO);
}

UNUSED static const char *capture_end(void)
{
	static char text[8192];

	fflush(stderr);
	dup2(real_stderr, STDERR_FILENO);
	close(real_stderr);
	ssize_t n = pread(captured_fd, text, sizeof text - 1, 0);

	close(captured_fd);
	text[n < 0 ? 0 : n] = 0;
	return text;
}

UNUSED static int count_of(const char *text, const char *part)
{
	int n = 0;

	for (const char *p = strstr(text, part); p; p = strstr(p + 1, part))
		n++;
	return n;
}

/* -------------------------------------------------------------- running */

#ifndef TEST_SECONDS
#define TEST_SECONDS 100	/* to tell a hang, on a machine that has other work too */
#endif

static FILE *failures;	/* their names, for the end of the output: of a long one the middle may be left out */

/* Wait for all that a test left: true if it ended by itself in five seconds. */
static bool nothing_left(void)
{
	double end = seconds() + 5;
	pid_t child[64];

	for (;;) {
		pid_t pid = waitpid(-1, NULL, WNOHANG | __WALL);

		if (pid < 0)
			return true;
		if (pid > 0)
			continue;
		if (seconds() > end)
			break;
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
	}
	int n = children_of(getpid(), child, 64);

	for (int i = 0; i < n && i < 64; i++)
		kill(child[i], SIGKILL);
	while (waitpid(-1, NULL, __WALL) > 0)
		;
	printf("\t%d processes were left behind\n", n);
	return false;
}

/* The first line of a file of the kernel's about a process. */
static const char *line_of(pid_t pid, const char *name, char *line, int size)
{
	char path[64];

	snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
	FILE *f = fopen(path, "re");

	if (!f || !fgets(line, size, f))
		snprintf(line, (size_t)size, "?");
	line[strcspn(line, "\n")] = 0;
	if (f)
		fclose(f);
	return line;
}

/* Of a test that hangs: each of its threads, and of its children's, with the system call it is in. */
static void describe(pid_t pid)
{
	char path[64], name[32], call[200], state = '?';
	pid_t child[64], parent;

	snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
	DIR *d = opendir(path);

	for (struct dirent *e; d && (e = readdir(d));) {
		pid_t thread = (pid_t)atoi(e->d_name);

		if (thread > 0 && look_at(thread, &state, &parent))
			printf("\t%d %d %s %c syscall %s\n", (int)pid, (int)thread, line_of(thread, "comm", name, sizeof name),
			       state, line_of(thread, "syscall", call, sizeof call));
	}
	if (d)
		closedir(d);
	int n = children_of(pid, child, 64);

	for (int i = 0; i < n && i < 64; i++)
		describe(child[i]);
}

/*
 * Wait for a test's process: false if it hangs, and was killed. Second by second, for a
 * machine that stands still for a while may find the clock far ahead.
 */
static bool await_test(pid_t pid, int *status)
{
	struct pollfd end = { .fd = (int)syscall(SYS_pidfd_open, pid, 0), .events = POLLIN };
	bool ends = false;

	for (int i = 0; i < TEST_SECONDS && !ends; i++)
		ends = poll(&end, 1, 1000) != 0;
	close(end.fd);
	if (!ends) {
		printf("\tnot done after %d s\n", TEST_SECONDS);
		describe(pid);
		kill(pid, SIGKILL);
	}
	waitpid(pid, status, 0);
	return ends;
}

static bool run_test(const struct test *t)
{
	int status;

	fflush(NULL);
	pid_t pid = fork();

	if (pid == 0) {
		if (!t->plain && far_init())
			fail_at(__FILE__, __LINE__, "far_init() failed");
		t->run();
		exit(0);
	}
	bool ends = await_test(pid, &status), passed = status == 0;

	if (ends && WIFSIGNALED(status))
		printf("\tended by signal %d, %s\n", WTERMSIG(status), strsignal(WTERMSIG(status)));
	passed &= nothing_left();
	const char *kind = !t->both ? "" : in_process ? ", process" : ", thread";

	printf("%s %s%s\n", passed ? "ok  " : "FAIL", t->name, kind);
	if (!passed)
		fprintf(failures, "FAIL %s%s\n", t->name, kind);
	return passed;
}

TEST(the_status_names_the_expected_way_of_waiting)
{
	const char *expected = getenv("FARCALL_EXPECT_WAIT");
	char line[64];

	if (!expected)
		return;
	snprintf(line, sizeof line, "waiting: %s ", expected);
	CHECK_HAS(status_text(), line);
}

/* This system lacks what FARCALL_WAIT asks for: found out in a process of its own. */
static bool cannot_wait_so(void)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		const char *text = status_text();

		_exit(strstr(text, "is refused") || strstr(text, "is missing"));
	}
	waitpid(pid, &status, 0);
	return status != 0 && getenv("FARCALL_WAIT");
}

#ifndef NO_MAIN
int main(int argc, char **argv)
{
	unsigned count[2] = { 0 };
	char *failed = NULL;
	size_t size;

	failures = open_memstream(&failed, &size);
	setvbuf(stdout, NULL, _IOLBF, 0);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	if (cannot_wait_so()) {
		puts("skipped: this way of waiting is refused here");
		return 77;
	}
	for (const struct test *t = first_test; t; t = t->next) {
		if (argc > 1 && !strstr(t->name, argv[1]))
			continue;
		for (int kind = 0; kind <= t->both; kind++) {
			in_process = kind;
			count[run_test(t)]++;
		}
	}
	fclose(failures);
	printf("%s%u passed, %u failed\n", failed, count[1], count[0]);
	free(failed);
	return count[0] || !count[1];
}
#endif

#endif
