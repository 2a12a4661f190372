/* A user's first program: one slave of each kind, the same calls to both. */
#include <farcall.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int calls;

static double scale(double value, int by)
{
	calls++;
	return value * by;
}

struct pair {
	int number;
	float half;
};

static struct pair pair_of(int number)
{
	return (struct pair){ number, (float)number / 2 };
}

/* The master's calls count in a slave thread, whose memory is the master's, and nowhere else. */
static int try_slave(const char *kind, struct far_slave *slave, int calls_here)
{
	if (!slave) {
		fprintf(stderr, "%s: %s\n", kind, far_error() ? far_error()->message : "no error");
		return 1;
	}

	calls = 0;
	double result = far_invoke(slave, scale, 10.5, 4);
	struct pair pair = far_invoke(slave, pair_of, 3);
	int failed = 0;

	if (far_error()) {
		fprintf(stderr, "%s: %s\n", kind, far_error()->message);
		failed = 1;
	} else if (result != 42.0) {
		fprintf(stderr, "%s: scale() gave %g, not 42\n", kind, result);
		failed = 1;
	} else if (pair.number != 3 || pair.half != 1.5f) {
		fprintf(stderr, "%s: pair_of() gave %d and %g, not 3 and 1.5\n", kind, pair.number, (double)pair.half);
		failed = 1;
	} else if (calls != calls_here) {
		fprintf(stderr, "%s: scale() ran %d times here, not %d\n", kind, calls, calls_here);
		failed = 1;
	} else if ((far_slave_pid(slave) == getpid()) != calls_here) {
		fprintf(stderr, "%s: in the wrong process\n", kind);
		failed = 1;
	}
	int error = far_slave_close(slave);

	if (error) {
		fprintf(stderr, "%s: closing: %s\n", kind, strerror(-error));
		failed = 1;
	}
	return failed;
}

int main(void)
{
	int error = far_init();

	if (error) {
		fprintf(stderr, "far_init: %s\n", far_error() ? far_error()->message : strerror(-error));
		return 1;
	}
	int failed = try_slave("thread", far_slave_thread(.name = "thread"), 1);

	failed |= try_slave("process", far_slave_process(.name = "process"), 0);
	puts(failed ? "failed" : "works");
	return failed;
}
