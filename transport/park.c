/* Sleeping and waking: see park.h for the protocol. */
#include "park.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <poll.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bell.h"
#include "sys.h"
#include "uring.h"

#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449	/* every architecture but alpha */
#endif

enum {
	RESCUE = 100000000,	/* ns */
	/* Fences without a sleeper, until they are given up: a few ns each, where a membarrier() may take ms. */
#ifdef FARCALL_INJECT
	IN_VAIN = 3,		/* tests shall come by there, too */
#else
	IN_VAIN = 10000,
#endif
};

static enum far__wait backend = FAR_WAIT_FUTEX;
static const char *reason = "not chosen yet";
static bool forced;		/* by FARCALL_WAIT: also where a plain futex would do */

/* Any sleeper may find the death, and several at once: each reads these once. */
static struct {
	_Atomic int fd;
	_Atomic(uint32_t *) word;
	void (*_Atomic gone)(void);
} watched = { .fd = -1 };

static struct {
	_Atomic uint64_t sleeps, wakes, fallbacks;
} counters;

uint64_t far__now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static struct timespec timespec_of(uint64_t ns)
{
	return (struct timespec){ .tv_sec = (time_t)(ns / 1000000000), .tv_nsec = (long)(ns % 1000000000) };
}

bool far__sleeper_makes_barrier;

static bool join_barrier(void)
{
	return SYS(membarrier, MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED, 0, 0) == 0;
}

/* It may want memory for a moment, and the sleep is not safe without it. */
static void barrier_for_both(void)
{
	while (SYS(membarrier, MEMBARRIER_CMD_GLOBAL_EXPEDITED, 0, 0) == -ENOMEM)
		sched_yield();
}

void far__park_barrier(void)
{
	shm_fence();
	if (far__sleeper_makes_barrier)
		barrier_for_both();
}

/* Have the wakers of a park make their own barriers, from now on. */
static void ask_for_fences(struct far__park *park)
{
	uint32_t before = shm_load(&park->armed), fenced = (before & ~(uint32_t)FAR_BARE) | FAR_UNSETTLED;

	if (!(before & (FAR_BARE | FAR_UNSETTLED)) || !shm_cas(&park->armed, before, fenced))
		return;
	barrier_for_both();
	uint32_t word = shm_load(&park->armed);

	/* Others may have armed it meanwhile, but if it was woken this may be another time. */
	while (!((word ^ fenced) & ~(uint32_t)FAR_ARMED) && !shm_cas(&park->armed, word, word & ~(uint32_t)FAR_UNSETTLED))
		word = shm_load(&park->armed);
}

/* S1 and S2: the word to sleep on. */
static uint32_t arm(struct far__park *park, uint32_t how)
{
	if (far__sleeper_makes_barrier)
		ask_for_fences(park);
	uint32_t armed = shm_or(&park->armed, how) | how;

	shm_fence();	/* partner: far__park_wake(), or far__park_wake_slowly() */
	if (far__sleeper_makes_barrier && armed & (FAR_BARE | FAR_UNSETTLED))
		barrier_for_both();
	return armed;
}

/* -------------------------------------------------------------- choice */

static bool have_waitv(void)
{
	uint32_t word = 1;
	struct futex_waitv w = { .val = 0, .uaddr = (uintptr_t)&word, .flags = FUTEX_32 };

	return SYS(futex_waitv, &w, 1, 0, 0, CLOCK_MONOTONIC) == -EAGAIN;
}

/* False: there is no such backend. */
static bool choose_forced(const char *name)
{
	if (!strcmp(name, "uring")) {
		int err = far__uring_probe();

		backend = err < 0 ? FAR_WAIT_POLL : FAR_WAIT_URING;
		reason = err < 0 ? "FARCALL_WAIT=uring, but io_uring is refused" : "FARCALL_WAIT";
	} else if (!strcmp(name, "futex")) {
		backend = have_waitv() ? FAR_WAIT_FUTEX : FAR_WAIT_POLL;
		reason = backend == FAR_WAIT_POLL ? "FARCALL_WAIT=futex, but futex_waitv() is missing" : "FARCALL_WAIT";
	} else if (!strcmp(name, "poll")) {
		backend = FAR_WAIT_POLL;
		reason = "FARCALL_WAIT";
	} else {
		return false;
	}
	return true;
}

int far__park_init(void)
{
	const char *name = secure_getenv("FARCALL_WAIT");

	far__sleeper_makes_barrier = join_barrier();
	if (name && choose_forced(name)) {
		forced = true;
	} else if (far__uring_probe() > 0) {
		backend = FAR_WAIT_URING;
		reason = "io_uring waits for futexes here";
	} else if (have_waitv()) {
		backend = FAR_WAIT_FUTEX;
		reason = "io_uring is refused or cannot wait for futexes";
	} else {
		backend = FAR_WAIT_POLL;
		reason = "neither io_uring nor futex_waitv() can be used";
	}
	bool bells = backend == FAR_WAIT_POLL || (backend == FAR_WAIT_URING && far__uring_probe() == 0);

	/* Whoever sleeps so relies on all others having a socket to ring with, whatever their limits. */
	return bells ? far__bell_prepare() : 0;
}

void far__park_join(void)
{
	if (far__sleeper_makes_barrier)
		join_barrier();		/* what did work for the parent */
}

void far__park_forked(void)
{
	watched.fd = -1;
	watched.word = NULL;
	far__park_join();
	far__uring_forked();
	far__bell_forked();
	counters.sleeps = counters.wakes = counters.fallbacks = 0;
}

enum far__wait far__park_backend(void)
{
	return backend;
}

void far__park_watch(int fd, uint32_t *word, void (*gone)(void))
{
	watched.gone = gone;
	watched.word = word;
	watched.fd = fd;
}

/* ------------------------------------------------------------- sleeping */

/* Whoever did this first may have ended the watching. */
static void tell_gone(void)
{
	void (*gone)(void) = watched.gone;

	if (gone)
		gone();
}

/* Each sleeps until something may have happened; how long is the caller's loop's business. */

/* The plain futex call, for a process that has nothing to watch: most slaves. */
static void sleep_on_word(struct far__park *park, uint32_t armed, uint64_t deadline)
{
	struct timespec t = timespec_of(deadline);

	/* FUTEX_WAIT_BITSET takes an absolute time. */
	SYS(futex, &park->armed, FUTEX_WAIT_BITSET, armed, deadline == UINT64_MAX ? NULL : &t, 0,
	    FUTEX_BITSET_MATCH_ANY);
}

static void sleep_on_futex(struct far__park *park, uint32_t armed, uint64_t deadline)
{
	struct timespec t = timespec_of(deadline);
	struct futex_waitv w[2] = {
		{ .val = armed, .uaddr = (uintptr_t)&park->armed, .flags = FUTEX_32 },
	};
	uint32_t *life = watched.word;

	if (life) {
		uint32_t owner = shm_load(life);

		if (owner & FUTEX_OWNER_DIED) {
			tell_gone();
			return;
		}
		w[1] = (struct futex_waitv){ .val = owner, .uaddr = (uintptr_t)life, .flags = FUTEX_32 };
	}
	long result = SYS(futex_waitv, w, life ? 2 : 1, 0, deadline == UINT64_MAX ? NULL : &t, CLOCK_MONOTONIC);

	if (result == -ENOSYS || result == -EPERM) {	/* nor is there a bell: look at the life now and then */
		uint64_t soon = far__now() + RESCUE;

		sleep_on_word(park, armed, life && soon < deadline ? soon : deadline);
	}
	if (life && shm_load(life) & FUTEX_OWNER_DIED)
		tell_gone();
}

static void sleep_on_bell(uint32_t seen, uint64_t deadline)
{
	if (far__bell_wait(seen, watched.fd, deadline, backend == FAR_WAIT_URING))
		tell_gone();
}

static bool sleep_in_ring(struct far__park *park, uint32_t armed, uint64_t deadline)
{
	int result = far__uring_sleep(&park->armed, armed, watched.fd, deadline);

	if (result == FAR_URING_WATCHED)
		tell_gone();
	if (result < 0)
		counters.fallbacks++;
	return result >= 0;
}

bool far__park_sleep(struct far__park *park, bool (*ready)(void *), void *arg, uint64_t deadline)
{
	bool on_bell = backend == FAR_WAIT_POLL || (backend == FAR_WAIT_URING && far__uring_probe() == 0);
	uint32_t how = FAR_ON_FUTEX;

	if (on_bell) {
		uint32_t bell = far__bell();

		if (bell) {
			shm_set(&park->bell, bell);
			how = FAR_ON_BELL;
		} else {
			counters.fallbacks++;
		}
	}
	for (;;) {
		uint32_t seen = far__bell_seen();
		uint32_t armed = arm(park, how);	/* S1, S2 */

		if (ready(arg))				/* S3 */
			return true;
		if (deadline != UINT64_MAX && far__now() >= deadline)
			return false;
		far__point("park.sleep");
		counters.sleeps++;
		if (how == FAR_ON_BELL)
			sleep_on_bell(seen, deadline);
		else if (!watched.word && !forced)
			sleep_on_word(park, armed, deadline);
		else if (backend == FAR_WAIT_URING && sleep_in_ring(park, armed, deadline))
			continue;
		else
			sleep_on_futex(park, armed, deadline);
	}
}

/* A fence found nobody. When that goes on, the sleeper spins now: no more fences. */
static void fenced_in_vain(struct far__park *park, uint32_t armed)
{
	static __thread uint32_t times;

	if (++times < IN_VAIN)
		return;
	times = 0;
	shm_cas(&park->armed, armed, ((armed & ~(uint32_t)FAR_UNSETTLED) | FAR_BARE) + FAR_WAKE_UP);
}

/* The last half of W4, for sleepers that sleep as @armed says. */
static void wake(struct far__park *park, uint32_t armed)
{
	if (armed & FAR_ON_BELL)
		far__bell_ring(shm_peek(&park->bell));
	if (armed & FAR_ON_FUTEX)
		SYS(futex, &park->armed, FUTEX_WAKE, INT_MAX);
	counters.wakes++;
}

bool far__park_wake_slowly(struct far__park *park)
{
	uint32_t armed = shm_peek(&park->armed);

	if (!(armed & FAR_ARMED)) {
		shm_fence();	/* W2 of a word that is not BARE; partner: arm() */
		armed = shm_load(&park->armed);
		if (!(armed & FAR_ARMED)) {
			fenced_in_vain(park, armed);
			return false;
		}
	}
	while (!shm_cas(&park->armed, armed, (armed & ~(uint32_t)FAR_ARMED) + FAR_WAKE_UP)) {
		shm_fence();	/* W2 of a word that is not BARE: a CAS that fails need not be a barrier */
		armed = shm_load(&park->armed);
		if (!(armed & FAR_ARMED))
			return false;
	}
	far__point("park.wake");
	wake(park, armed);
	return true;
}

void far__park_wake_for_dead(struct far__park *park)
{
	uint32_t armed = shm_load(&park->armed);

	/* Counted also if it is not armed: who has armed it and not gone to sleep yet shall not. */
	while (!shm_cas(&park->armed, armed, (armed & ~(uint32_t)FAR_ARMED) + FAR_WAKE_UP))
		armed = shm_load(&park->armed);
	wake(park, armed | FAR_ON_FUTEX | (shm_peek(&park->bell) ? FAR_ON_BELL : 0));
}

void far__park_thread_end(void)
{
	far__uring_thread_end();
}

void far__park_status(FILE *stream)
{
	static const char *const name[] = { "uring", "futex", "poll" };

	fprintf(stream, "waiting: %s (%s), %s, %llu sleeps, %llu wake-ups, %llu fallbacks\n", name[backend], reason,
		far__sleeper_makes_barrier ? "membarrier" : "no membarrier",
		(unsigned long long)counters.sleeps, (unsigned long long)counters.wakes,
		(unsigned long long)counters.fallbacks);
}
