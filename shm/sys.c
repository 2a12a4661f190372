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

int far__open_to_read(const char *path)
{
	return far__fd_above_stdio((int)SYS(openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0));
}

void far__read_text(const char *path, char *text, size_t size)
{
	int fd = far__open_to_read(path);
	size_t used = 0;
	long n;

	while (fd >= 0 && (n = SYS(read, fd, text + used, size - 1 - used)) > 0)
		used += (size_t)n;
	if (fd >= 0)
		SYS(close, fd);
	text[used] = 0;
}
