/* The door to the kernel, and what tests put in front of it. */
#include "sys.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "inject.h"

static long call(long number, long a, long b, long c, long d, long e, long f)
{
	int saved = errno;
	long result = syscall(number, a, b, c, d, e, f);

	if (result == -1) {
		result = -errno;
		errno = saved;
	}
	return result;
}

long (*far__sys)(long, long, long, long, long, long, long) = call;

#ifdef FARCALL_INJECT
void (*far__inject)(const char *point);
#endif

int far__fd_above_stdio(int fd)
{
	if (fd < 0 || fd > STDERR_FILENO)
		return fd;
	int moved = (int)SYS(fcntl, fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);

	SYS(close, fd);
	return moved;
}
