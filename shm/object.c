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
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "sys.h"

#define SHM_FOLDER "/dev/shm"
#define SHM_ENOUGH (1ull << 30)
#define SHM_PIECE (64ul << 10)	/* what is reserved between two signals, however often they come */

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

int far__object_map(struct far__object *object, size_t size)
{
	int fd = far__object_create(size);
	struct stat st;

	if (fd < 0)
		return fd;
	/* A program that has all its memory to come locked (mlockall) would have every hole filled. */
	long at = SYS(mmap, 0, size, PROT_NONE, MAP_SHARED | MAP_NORESERVE, fd, 0);

	if (at < 0 && at > -4096) {
		SYS(close, fd);
		return (int)at;
	}
	SYS(munlock, at, size);
	int err = (int)SYS(mprotect, at, size, PROT_READ | PROT_WRITE);

	if (err) {
		SYS(munmap, at, size);
		SYS(close, fd);
		return err;
	}
	SYS(madvise, at, size, MADV_DONTDUMP);
	*object = (struct far__object){ .at = (char *)at, .fd = fd };
	if (SYS(fstat, fd, &st) == 0) {
		object->device = st.st_dev;
		object->inode = st.st_ino;
	}
	return 0;
}

void far__object_unmap(struct far__object *object, size_t size)
{
	SYS(munmap, object->at, size);
	if (far__object_has_fd(object))
		SYS(close, object->fd);
	*object = (struct far__object){ .fd = -1 };
}

bool far__object_has_fd(const struct far__object *object)
{
	struct stat st;

	return !object->inode || (SYS(fstat, object->fd, &st) == 0 && st.st_dev == object->device && st.st_ino == object->inode);
}

/*
 * Older kernels stop at any signal and undo all they did. A program with a timer
 * would never get beyond what fits between two signals: so each time it happens
 * less is asked for at once.
 */
static int allocate(int fd, size_t offset, size_t length)
{
	size_t most = length;

	while (length) {
		size_t n = length < most ? length : most;
		int err = (int)SYS(fallocate, fd, FALLOC_FL_KEEP_SIZE, offset, n);

		if (err == -EINTR) {
			most = n / 2 > SHM_PIECE ? n / 2 & -SHM_PIECE : SHM_PIECE;
			continue;
		}
		if (err)
			return err;
		offset += n;
		length -= n;
	}
	return 0;
}

/* By the mapping: the kernel touches every page. */
static int populate(char *from, size_t length)
{
	size_t before = (uintptr_t)from % 4096;
	int err;

	do
		err = (int)SYS(madvise, from - before, before + length, MADV_POPULATE_WRITE);
	while (err == -EINTR || err == -EAGAIN);
	return err == -EFAULT ? -ENOSPC : err == -EINVAL ? -EBADF : err;
}

int far__object_commit(const struct far__object *object, size_t offset, size_t length)
{
	return far__object_has_fd(object) ? allocate(object->fd, offset, length) : populate(object->at + offset, length);
}

/* By the mapping not of pages that the program has locked into memory. */
int far__object_discard(const struct far__object *object, size_t offset, size_t length)
{
	int err;

	do
		err = (int)(far__object_has_fd(object)
				    ? SYS(fallocate, object->fd, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, offset, length)
				    : SYS(madvise, object->at + offset, length, MADV_REMOVE));
	while (err == -EINTR);
	return err;
}
