/* A user's first program: one slave of each kind, one function in both. */
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

/* The master's calls count in a slave thread, whose memory is the master's, and nowhere else. */
static int try_slave(const char *kind, struct far_slave *slave, int calls_here)
{
	if (!slave) {
		fprintf(stderr, "%s: %s\n", kind, far_error() ? far_error()->message : "no error");
		return 1;
	}

	calls = 0;
	double result = far_invoke(slave, scale, 10.5, 4);
	int failed = 0;

	if (far_error()) {
		fprintf(stderr, "%s: %s\n", kind, far_error()->message);
		failed = 1;
	} else if (result != 42.0) {
		fprintf(stderr, "%s: scale() gave %g, not 42\n", kind, result);
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
