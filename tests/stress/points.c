/* Finding points and making what shall happen there happen: see points.h. */
#include "points.h"

#include <errno.h>
#include <linux/falloc.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "inject.h"
#include "sys.h"

#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449
#endif

struct points *points;

static long (*real_sys)(long, long, long, long, long, long, long);

/* What can go wrong with each system call, but for what only a mistake of ours can cause. */
static const struct {
	long number;
	int error[6];
} plausible[] = {
	{ SYS_bind, { ENOMEM, EPERM } },
	{ SYS_clone, { EAGAIN, ENOMEM, EPERM, ENOSYS } },
	{ SYS_close, { EINTR } },
	{ SYS_eventfd2, { EMFILE, ENFILE, ENOMEM } },
	{ SYS_fallocate, { EINTR, ENOSPC, ENOMEM, EPERM } },
	{ SYS_fcntl, { EMFILE } },
	{ SYS_ftruncate, { EINTR, ENOSPC, ENOMEM } },
	{ SYS_futex, { EINTR, EAGAIN } },
	{ SYS_futex_waitv, { EINTR, EAGAIN, ENOMEM, EPERM, ENOSYS } },
	{ SYS_getsockname, { ENOBUFS } },
	{ SYS_madvise, { ENOMEM } },
	{ SYS_membarrier, { ENOMEM, EPERM, ENOSYS } },
	{ SYS_memfd_create, { EMFILE, ENFILE, ENOMEM, ENOSYS } },
	{ SYS_mmap, { ENOMEM, EPERM } },
	{ SYS_mprotect, { ENOMEM } },
	{ SYS_munmap, { ENOMEM } },
	{ SYS_openat, { EMFILE, ENFILE, ENOMEM, ENOSPC, EACCES } },
	{ SYS_pidfd_open, { EMFILE, ENFILE, ENOMEM, EPERM, ENOSYS } },
	{ SYS_ppoll, { EINTR, ENOMEM } },
	{ SYS_read, { EINTR, EAGAIN } },
	{ SYS_recvfrom, { EINTR, EAGAIN } },
	{ SYS_recvmsg, { EINTR, ENOMEM } },
	{ SYS_sendmsg, { EINTR, ENOMEM, ENOBUFS } },
	{ SYS_sendto, { EINTR, ENOMEM, ENOBUFS } },
	{ SYS_set_robust_list, { ENOSYS } },
	{ SYS_signalfd4, { EMFILE, ENFILE, ENOMEM } },
	{ SYS_socket, { EMFILE, ENFILE, ENOMEM, EPERM } },
	{ SYS_socketpair, { EMFILE, ENFILE, ENOMEM, EPERM } },
	{ SYS_statfs, { ENOENT, EACCES } },
	{ SYS_waitid, { EINTR, ECHILD } },
	{ SYS_write, { EINTR } },
};

static const int *errors_of(long number, long operation)
{
	static const int none[1];

	/* Nothing can go wrong with waking. */
	if (number == SYS_futex && (operation & FUTEX_CMD_MASK) == FUTEX_WAKE)
		return none;
	for (size_t i = 0; i < sizeof plausible / sizeof *plausible; i++)
		if (plausible[i].number == number)
			return plausible[i].error;
	return none;
}

static bool is_victim(int32_t victim)
{
	pid_t self = (pid_t)syscall(SYS_getpid);

	if (victim > 0)
		return self == victim;
	if (victim == NEW_ZYGOTE)
		return self != points->master && getppid() == points->master;
	if (self == points->master || self == points->zygote || getppid() != points->zygote)
		return false;
	for (unsigned i = 0; i < FAMILIAR_MAX; i++)
		if (points->familiar[i] == self)
			return false;
	return true;
}

static void add(const struct point *p)
{
	if (points->used == POINTS_MAX) {
		fputs("there are too many points\n", stderr);
		abort();
	}
	points->list[points->used++] = *p;
}

/* The victim is at @place: how many times now; new points there are added to the list. */
static uint32_t meet(struct point *p, const int *error)
{
	unsigned i = (unsigned)(p->place * 0x9e3779b97f4a7c15 >> 54);

	while (points->place[i].place && points->place[i].place != p->place)
		i = (i + 1) % PLACES_MAX;
	points->place[i].place = p->place;
	p->time = ++points->place[i].met;
	if (p->time > points->place[i].known && p->time <= points->times) {
		points->place[i].known = p->time;
		if (!error)
			add(p);
		for (; error && *error; error++) {
			p->error = *error;
			add(p);
		}
	}
	return p->time;
}

/* Whether this is the target. */
static bool is_target(const struct point *p)
{
	const struct point *t = &points->target;

	if (!points->have_target || p->place != t->place || p->time != t->time)
		return false;
	points->fired = true;
	points->victim = NOBODY;
	return true;
}

static void die(void)
{
	kill((pid_t)syscall(SYS_getpid), SIGKILL);
}

static void at_point(const char *name)
{
	int32_t victim = points->victim;

	if (points->doomed && name && !strcmp(name, "heap.finish") && points->doomed == (pid_t)syscall(SYS_getpid))
		die();
	if (!victim || points->fault != DEATH || !is_victim(victim))
		return;
	struct point p = { .name = name, .call = -1 };

	p.place = name ? (uintptr_t)name : (uintptr_t)__builtin_return_address(0);
	meet(&p, NULL);
	if (is_target(&p))
		die();
}

static long at_call(long number, long a, long b, long c, long d, long e, long f)
{
	int32_t victim = points->victim;

	if (!victim || !is_victim(victim))
		return real_sys(number, a, b, c, d, e, f);
	struct point p = { .call = (int32_t)number };

	/* What it is asked to do makes a difference: a place may wait or wake, commit or discard. */
	p.place = (uintptr_t)__builtin_return_address(0) ^ (uint64_t)number << 50 ^ (uint64_t)(b & 0xff) << 60;
	if (points->fault == DEATH) {
		meet(&p, NULL);
		if (is_target(&p))
			die();
	} else {
		meet(&p, errors_of(number, b));
		if (is_target(&p)) {
			/* Whatever it says, it has closed. */
			if (number == SYS_close)
				real_sys(number, a, b, c, d, e, f);
			return -points->target.error;
		}
	}
	return real_sys(number, a, b, c, d, e, f);
}

void points_begin(void)
{
	points = mmap(NULL, sizeof *points, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (points == MAP_FAILED) {
		perror("mmap");
		exit(1);
	}
	real_sys = far__sys;
	far__sys = at_call;
	far__inject = at_point;
}

void points_clear(enum fault fault, uint32_t times)
{
	memset(points, 0, sizeof *points);
	points->fault = fault;
	points->times = times;
}

void points_arm(pid_t victim, const struct point *target)
{
	for (unsigned i = 0; i < PLACES_MAX; i++)
		points->place[i].met = 0;
	points->fired = false;
	points->have_target = target;
	if (target)
		points->target = *target;
	points->victim = victim;
}

void points_disarm(void)
{
	points->victim = NOBODY;
}

void points_print(FILE *stream, const struct point *p)
{
	extern const char __executable_start[];

	if (p->name)
		fprintf(stream, "%s", p->name);
	else if (p->call >= 0)
		fprintf(stream, "system call %d", p->call);
	else
		fprintf(stream, "access at 0x%zx", (size_t)(p->place - (uintptr_t)__executable_start));
	fprintf(stream, ", time %u", p->time);
	if (p->error)
		fprintf(stream, ", %s", strerrorname_np(p->error));
}
