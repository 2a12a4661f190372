/* For Criterion suites: what a test does in a child of its own, and counts afterwards. */
#ifndef FAR_TESTS_CHILD_H
#define FAR_TESTS_CHILD_H

#include <criterion/criterion.h>
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* A child that does not survive a test that fails. */
static inline pid_t mortal_fork(void)
{
	pid_t child = fork();

	if (child == 0)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	return child;
}

/* Run @test in a child, which may limit and refuse itself what it likes: 0, or what MUST() did not find. */
static inline int in_child(int (*test)(void))
{
	int status;
	pid_t child = mortal_fork();

	if (child == 0)
		_exit(test());
	cr_assert_eq(waitpid(child, &status, 0), child);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + status;
}

/* In such a child: say what is wrong and leave. */
#define MUST(condition) \
	do { \
		if (!(condition)) { \
			fprintf(stderr, "%s:%d: %s is not so\n", __FILE__, __LINE__, #condition); \
			return 1; \
		} \
	} while (0)

static inline unsigned count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

#endif
