/* A thousand slave processes at once, in a program that may have 256 descriptors. */
#include <sys/resource.h>

#define TEST_SECONDS 200
#include "check.h"

#ifdef __SANITIZE_ADDRESS__
enum { SLAVES = 100 };	/* each has a shadow of all its memory */
#else
enum { SLAVES = 1000 };
#endif

static int add(int a, int b)
{
	return a + b;
}

static struct far_slave *slave[SLAVES];

static void start_all(void)
{
	struct rlimit limit;

	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = 256;
	CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
	CHECK_EQ(far_init(), 0);
	for (int i = 0; i < SLAVES; i++) {
		slave[i] = far_slave_process();
		CHECK(slave[i]);
	}
	for (int i = 0; i < SLAVES; i++) {
		CHECK_EQ(far_invoke(slave[i], add, i, 1), i + 1);
		CHECK_EQ(far_wait(far_schedule(slave[i], add, i, 2)), i + 2);
	}
	CHECK_OK();
}

PLAIN(a_thousand_slave_processes_are_called_and_closed)
{
	start_all();
	int fds = count_fds();

	CHECK(fds < 3 + 20);
	CHECK(slave_processes() >= SLAVES);
	for (int i = 0; i < SLAVES; i++)
		CHECK_EQ(far_slave_close(slave[i]), 0);
	CHECK_EQ(count_fds(), fds);
	CHECK_EQ(count_shm_names(), 0);
	AWAIT(5, slave_processes() == 2);
}

PLAIN(a_thousand_slave_processes_end_with_a_killed_program)
{
	static pid_t all[SLAVES + 10];
	int p[2], n;
	pid_t its_zygote;

	CHECK_EQ(pipe2(p, O_CLOEXEC), 0);
	pid_t program = fork();

	if (program == 0) {
		start_all();
		its_zygote = zygote();
		CHECK_EQ(write(p[1], &its_zygote, sizeof its_zygote), sizeof its_zygote);
		pause();
	}
	close(p[1]);
	CHECK_EQ(read(p[0], &its_zygote, sizeof its_zygote), sizeof its_zygote);
	n = children_of(its_zygote, all, SLAVES + 10);
	CHECK(n >= SLAVES && n < SLAVES + 10);
	all[n++] = its_zygote;
	kill(program, SIGKILL);
	double end = seconds() + 5;

	for (int i = 0; i < n; i++)
		while (lives(all[i])) {
			CHECK(seconds() < end);
			usleep(1000);
		}
	CHECK_EQ(waitpid(program, NULL, 0), program);
}
