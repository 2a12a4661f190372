/* Shared-memory objects without a name: see object.h. */
#include "object.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/magic.h>
#include <linux/memfd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "sys.h"

#define SHM_FOLDER "/dev/shm"
#define SHM_ENOUGH (1ull << 30)

static const char *kind = "none yet";

/* Is /dev/shm worth using? If not, say why in kind. */
static int shm_fits(void)
{
	struct statfs fs;

	if (SYS(statfs, SHM_FOLDER, &fs) < 0 || fs.f_type != TMPFS_MAGIC) {
		kind = "memfd (/dev/shm is no tmpfs)";
		return 0;
	}
	if ((unsigned long long)fs.f_blocks * (unsigned long long)fs.f_bsize < SHM_ENOUGH && fs.f_blocks) {
		kind = "memfd (/dev/shm is smaller than 1 GiB)";
		return 0;
	}
	return 1;
}

/* Before Linux 3.11, or where something refuses O_TMPFILE: a name for a moment. */
static int open_and_unlink(void)
{
	for (unsigned i = 0; i < 16; i++) {
		struct timespec t;
		char name[64];

		clock_gettime(CLOCK_MONOTONIC, &t);
		snprintf(name, sizeof name, SHM_FOLDER "/farcall-%d-%lx", (int)getpid(), (long)t.tv_nsec + i);
		int fd = (int)SYS(openat, AT_FDCWD, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

		if (fd != -EEXIST) {
			if (fd >= 0)
				SYS(unlinkat, AT_FDCWD, name, 0);
			return fd;
		}
	}
	return -EEXIST;
}

static int open_shm(void)
{
	int fd = (int)SYS(openat, AT_FDCWD, SHM_FOLDER, O_TMPFILE | O_EXCL | O_RDWR | O_CLOEXEC, 0600);

	kind = "/dev/shm (O_TMPFILE)";
	if (fd == -EOPNOTSUPP || fd == -EISDIR || fd == -ENOENT || fd == -EINVAL) {
		fd = open_and_unlink();
		kind = "/dev/shm (unlinked at once)";
	}
	return fd;
}

static int open_memfd(void)
{
	return (int)SYS(memfd_create, "farcall", MFD_CLOEXEC);
}

int far__object_create(size_t size)
{
	const char *forced = secure_getenv("FARCALL_SHM");
	int fd;

	if (forced && !strcmp(forced, "memfd")) {
		kind = "memfd (FARCALL_SHM)";
		fd = open_memfd();
	} else if (forced && !strcmp(forced, "shm")) {
		fd = open_shm();
	} else if (shm_fits()) {
		fd = open_shm();
		if (fd == -EACCES || fd == -EROFS || fd == -ENOSPC) {
			kind = "memfd (/dev/shm cannot be written)";
			fd = open_memfd();
		}
	} else {
		fd = open_memfd();
	}
	fd = far__fd_above_stdio(fd);
	if (fd < 0)
		return fd;
	struct rlimit limit;
	int err = -EFBIG;	/* instead of SIGXFSZ */

	if (getrlimit(RLIMIT_FSIZE, &limit) || limit.rlim_cur >= size)
		err = (int)SYS(ftruncate, fd, size);

	if (err) {
		SYS(close, fd);
		return err;
	}
	return fd;
}

const char *far__object_kind(void)
{
	return kind;
}

int far__object_commit(int fd, size_t offset, size_t length)
{
	int err;

	do
		err = (int)SYS(fallocate, fd, FALLOC_FL_KEEP_SIZE, offset, length);
	while (err == -EINTR);
	return err;
}

int far__object_discard(int fd, size_t offset, size_t length)
{
	int err;

	do
		err = (int)SYS(fallocate, fd, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, offset, length);
	while (err == -EINTR);
	return err;
}
