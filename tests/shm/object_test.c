/* Shared-memory objects: they have no name, and where they come from. */
#include "object.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/magic.h>
#include <stdbool.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "child.h"
#include "sys.h"

TestSuite(object, .timeout = 30);

/* ------------------------------------------------------------------ helpers */

static bool has_name_in(const char *folder, const struct stat *object)
{
	DIR *d = opendir(folder);
	bool found = false;

	for (struct dirent *e; d && !found && (e = readdir(d));) {
		struct stat s;

		found = !fstatat(dirfd(d), e->d_name, &s, AT_SYMLINK_NOFOLLOW) && s.st_ino == object->st_ino &&
			s.st_dev == object->st_dev;
	}
	if (d)
		closedir(d);
	return found;
}

static void assert_is_good(int fd, off_t size)
{
	struct stat s;

	cr_assert_gt(fd, STDERR_FILENO, "%s", strerror(-fd));
	cr_assert_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
	cr_assert_eq(fstat(fd, &s), 0);
	cr_assert_eq(s.st_size, size);
	cr_assert_eq(s.st_nlink, 0);
	cr_assert_not(has_name_in("/dev/shm", &s));
	char *p = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	cr_assert_neq(p, MAP_FAILED);
	cr_assert_eq(p[size - 1], 0);
	p[0] = 1;
	munmap(p, (size_t)size);
}

/* What the kernel is made to answer. */
static long (*real_sys)(long, long, long, long, long, long, long);
static struct fault {
	int tmpfile, create, ftruncate, fcntl, statfs, interrupted;
	unsigned taken;			/* so many names are taken */
	long most;			/* no more can be reserved between two signals */
	unsigned long long blocks;	/* the size of /dev/shm */
	long type;			/* its file system */
} fault;

static long fake_statfs(long a, long b)
{
	struct statfs *fs = (struct statfs *)b;
	long result = real_sys(SYS_statfs, a, b, 0, 0, 0, 0);

	*fs = (struct statfs){ .f_type = TMPFS_MAGIC, .f_bsize = 4096, .f_blocks = 1 << 20 };
	if (fault.blocks)
		fs->f_blocks = fault.blocks;
	if (fault.type)
		fs->f_type = fault.type;
	return fault.statfs ? fault.statfs : result < 0 ? 0 : result;
}

static long faulty_sys(long number, long a, long b, long c, long d, long e, long f)
{
	if (number == SYS_statfs)
		return fake_statfs(a, b);
	if (number == SYS_openat && (c & O_TMPFILE) == O_TMPFILE && fault.tmpfile)
		return fault.tmpfile;
	if (number == SYS_openat && c & O_CREAT && fault.taken) {
		fault.taken--;
		return -EEXIST;
	}
	if (number == SYS_openat && c & O_CREAT && fault.create)
		return fault.create;
	if (number == SYS_ftruncate && fault.ftruncate)
		return fault.ftruncate;
	if (number == SYS_fcntl && fault.fcntl)
		return fault.fcntl;
	if (number == SYS_fallocate) {
		if (fault.interrupted) {
			fault.interrupted--;
			return -EINTR;
		}
		if (fault.most && d > fault.most)
			return -EINTR;
	}
	return real_sys(number, a, b, c, d, e, f);
}

static void set_fault(struct fault how)
{
	if (!real_sys)
		real_sys = far__sys;
	fault = how;
	far__sys = faulty_sys;
}

static void assert_kind(const char *words)
{
	cr_assert(strstr(far__object_kind(), words), "it is \"%s\", not \"%s\"", far__object_kind(), words);
}

/* -------------------------------------------------------------------- tests */

Test(object, has_no_name)
{
	unsigned before = count_fds();
	int fd = far__object_create(1 << 20);

	assert_is_good(fd, 1 << 20);
	cr_assert_eq(close(fd), 0);
	cr_assert_eq(count_fds(), before);
}

Test(object, lies_in_dev_shm_when_told)
{
	setenv("FARCALL_SHM", "shm", 1);
	int fd = far__object_create(1 << 20);
	struct stat folder, s;

	assert_is_good(fd, 1 << 20);
	cr_assert_eq(stat("/dev/shm", &folder), 0);
	fstat(fd, &s);
	cr_assert_eq(s.st_dev, folder.st_dev);
	assert_kind("/dev/shm (O_TMPFILE)");
}

Test(object, is_a_memfd_when_told)
{
	char link[64], target[64] = "";

	setenv("FARCALL_SHM", "memfd", 1);
	int fd = far__object_create(1 << 20);

	assert_is_good(fd, 1 << 20);
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	cr_assert_gt(readlink(link, target, sizeof target - 1), 0);
	cr_assert_str_eq(target, "/memfd:farcall (deleted)");
	assert_kind("memfd (FARCALL_SHM)");
}

Test(object, leaves_closed_stdio_closed)
{
	for (int memfd = 0; memfd < 2; memfd++) {
		int status;
		pid_t child = mortal_fork();

		cr_assert_geq(child, 0);
		if (child == 0) {
			setenv("FARCALL_SHM", memfd ? "memfd" : "shm", 1);
			for (int i = 0; i <= STDERR_FILENO; i++)
				close(i);
			int fd = far__object_create(1 << 20);

			bool good = fd > STDERR_FILENO && fcntl(fd, F_GETFD) == FD_CLOEXEC;

			for (int i = 0; i <= STDERR_FILENO; i++)
				good &= fcntl(i, F_GETFD) < 0;
			_exit(!good);
		}
		cr_assert_eq(waitpid(child, &status, 0), child);
		cr_assert_eq(status, 0);
	}
}

Test(object, is_unlinked_at_once_where_there_is_no_tmpfile)
{
	static const int reason[] = { -EOPNOTSUPP, -EISDIR, -ENOENT, -EINVAL };

	for (unsigned i = 0; i < sizeof reason / sizeof *reason; i++) {
		set_fault((struct fault){ .tmpfile = reason[i], .taken = i });
		int fd = far__object_create(1 << 16);

		assert_is_good(fd, 1 << 16);
		assert_kind("/dev/shm (unlinked at once)");
		close(fd);
	}
}

Test(object, gives_up_when_all_names_are_taken)
{
	unsigned before = count_fds();

	setenv("FARCALL_SHM", "shm", 1);
	set_fault((struct fault){ .tmpfile = -EOPNOTSUPP, .taken = 1000 });
	cr_assert_eq(far__object_create(1 << 16), -EEXIST);
	cr_assert_eq(count_fds(), before);
}

Test(object, is_a_memfd_where_dev_shm_cannot_be_written)
{
	static const int reason[] = { -EACCES, -EROFS, -ENOSPC };

	for (unsigned i = 0; i < sizeof reason / sizeof *reason; i++) {
		set_fault((struct fault){ .tmpfile = reason[i] });
		int fd = far__object_create(1 << 16);

		assert_is_good(fd, 1 << 16);
		assert_kind("memfd (/dev/shm cannot be written)");
		close(fd);
		/* The same without O_TMPFILE. */
		set_fault((struct fault){ .tmpfile = -EOPNOTSUPP, .create = reason[i] });
		fd = far__object_create(1 << 16);
		assert_is_good(fd, 1 << 16);
		assert_kind("memfd (/dev/shm cannot be written)");
		close(fd);
	}
}

Test(object, is_a_memfd_where_dev_shm_is_small_or_missing)
{
	set_fault((struct fault){ .blocks = (64 << 20) / 4096 });
	assert_is_good(far__object_create(1 << 16), 1 << 16);
	assert_kind("memfd (/dev/shm is smaller than 1 GiB)");
	set_fault((struct fault){ .statfs = -ENOENT });
	assert_is_good(far__object_create(1 << 16), 1 << 16);
	assert_kind("memfd (/dev/shm is no tmpfs)");
	set_fault((struct fault){ .type = EXT4_SUPER_MAGIC });
	assert_is_good(far__object_create(1 << 16), 1 << 16);
	assert_kind("memfd (/dev/shm is no tmpfs)");
}

Test(object, does_not_fall_back_when_told_or_out_of_descriptors)
{
	set_fault((struct fault){ .tmpfile = -EMFILE });
	cr_assert_eq(far__object_create(1 << 16), -EMFILE);
	setenv("FARCALL_SHM", "shm", 1);
	set_fault((struct fault){ .tmpfile = -ENOSPC });
	cr_assert_eq(far__object_create(1 << 16), -ENOSPC);
}

Test(object, is_closed_when_it_cannot_have_its_size)
{
	unsigned before = count_fds();

	set_fault((struct fault){ .ftruncate = -EFBIG });
	cr_assert_eq(far__object_create(1 << 16), -EFBIG);
	cr_assert_eq(count_fds(), before);
}

Test(object, is_closed_when_it_cannot_leave_stdio)
{
	close(STDIN_FILENO);
	unsigned before = count_fds();

	set_fault((struct fault){ .fcntl = -EMFILE });
	cr_assert_eq(far__object_create(1 << 16), -EMFILE);
	cr_assert_eq(count_fds(), before);
}

static blkcnt_t blocks_of(int fd)
{
	struct stat s;

	cr_assert_eq(fstat(fd, &s), 0);
	return s.st_blocks;
}

static struct far__object map_one(size_t size)
{
	struct far__object o;

	cr_assert_eq(far__object_map(&o, size), 0);
	return o;
}

static void assert_commits_and_discards(const struct far__object *o, int fd)
{
	blkcnt_t before = blocks_of(fd);
	char *p = o->at;

	cr_assert_eq(far__object_commit(o, 1 << 20, 2 << 20), 0);
	cr_assert_geq(blocks_of(fd) - before, (2 << 20) / 512);
	p[1 << 20] = p[(3 << 20) - 1] = 7;
	/* Again, and over what is there: it stays. */
	cr_assert_eq(far__object_commit(o, 0, 4 << 20), 0);
	cr_assert_eq(p[1 << 20], 7);
	cr_assert_eq(far__object_discard(o, 1 << 20, 2 << 20), 0);
	cr_assert_eq(p[1 << 20], 0);
	cr_assert_eq(p[(3 << 20) - 1], 0);
	cr_assert_eq(far__object_discard(o, 0, 16 << 20), 0);
	cr_assert_leq(blocks_of(fd), 2 * 4096 / 512 * 512);
}

Test(object, commits_and_discards_pages)
{
	struct far__object o = map_one(16 << 20);

	assert_is_good(o.fd, 16 << 20);
	assert_commits_and_discards(&o, o.fd);
	far__object_unmap(&o, 16 << 20);
}

Test(object, leaves_a_file_alone_that_has_its_descriptor)
{
	struct far__object o = map_one(16 << 20);
	int fd = dup(o.fd), other = memfd_create("other", 0);

	cr_assert_eq(write(other, "mine", 4), 4);
	blkcnt_t blocks = blocks_of(other);

	cr_assert_eq(dup2(other, o.fd), o.fd);
	assert_commits_and_discards(&o, fd);
	cr_assert_eq(blocks_of(other), blocks);
	far__object_unmap(&o, 16 << 20);
	close(fd);
}

Test(object, does_so_without_a_descriptor)
{
	struct far__object o = map_one(16 << 20);
	int fd = dup(o.fd);
	unsigned count = count_fds();

	close(o.fd);
	assert_commits_and_discards(&o, fd);
	far__object_unmap(&o, 16 << 20);
	cr_assert_eq(count_fds(), count - 1);
	close(fd);
}

Test(object, a_commit_of_part_of_a_page_is_of_the_page)
{
	struct far__object o = map_one(1 << 20);

	cr_assert_eq(far__object_commit(&o, 4000, 200), 0);
	cr_assert_geq(blocks_of(o.fd), 2 * 4096 / 512);
	far__object_unmap(&o, 1 << 20);
}

Test(object, a_commit_survives_signals)
{
	set_fault((struct fault){ .interrupted = 5 });
	struct far__object o = map_one(1 << 20);

	cr_assert_eq(far__object_commit(&o, 0, 1 << 20), 0);
	cr_assert_eq(fault.interrupted, 0);
	cr_assert_eq(blocks_of(o.fd), (1 << 20) / 512);
	far__object_unmap(&o, 1 << 20);
}

/* As older kernels do when a signal comes before all is done. */
Test(object, is_reserved_in_pieces_where_signals_leave_no_time_for_more)
{
	set_fault((struct fault){ .most = 200000 });
	struct far__object o = map_one(4 << 20);

	cr_assert_eq(far__object_commit(&o, 1 << 20, (1 << 20) + 1000), 0);
	cr_assert_eq(blocks_of(o.fd), ((1 << 20) + 4096) / 512);
	far__object_unmap(&o, 4 << 20);
}

Test(object, system_calls_leave_errno_alone)
{
	errno = 1234;
	cr_assert_eq(SYS(close, -1), -EBADF);
	cr_assert_eq(errno, 1234);
	cr_assert_eq(far__fd_above_stdio(-ENFILE), -ENFILE);
}
