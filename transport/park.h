/*
 * Sleeping until somebody in another process has published something, and waking
 * whoever sleeps so.
 *
 * A park is a word in shared memory that says whether, and how, its side sleeps:
 *
 *	sleeper                             waker
 *	S1  armed |= how I sleep            W1  publish (a release store)
 *	S2  barrier for both                W2  (keep the compiler from swapping)
 *	S3  look: anything published?       W3  look: armed?
 *	S4  no: sleep while armed is the    W4  yes: disarm, count, wake
 *	    same as in S1
 *
 * Each side says before it looks. With a full barrier between, on both sides,
 * either S3 sees W1 and the sleeper does not sleep, or W3 sees S1 and the waker
 * wakes; without either of them both may look too early (a store waits in the
 * store buffer while the later load is answered) and the sleeper sleeps for ever.
 *
 * Publishing is frequent and must be cheap, sleeping need not be: so the sleeper
 * makes the barrier for both. membarrier(GLOBAL_EXPEDITED) has every core that
 * runs a process of the family execute a full barrier before it returns. If that
 * falls before the waker's W1, its W3 comes after S1; if after, S3 comes after
 * W1; and W3 cannot come before it while W1 comes after.
 *
 * It interrupts every such core, though, which may take until the next tick of a
 * core that computes where a hypervisor does not hurry. So it is for parks whose
 * sleeper nearly always spins instead. At first, and from when somebody sleeps, the
 * wakers make their own barriers: W3 finds that the word is not BARE, makes a full
 * barrier and looks again. A waker that does so in vain many times, for the sleeper
 * spins, sets BARE. Who arms a word that is BARE clears it and sets UNSETTLED, makes
 * membarrier(), from which on every waker's W3 finds that it is not BARE, and clears
 * UNSETTLED. Who arms a word that is neither needs no membarrier(). BARE may be set
 * at any time: whoever armed the word before is seen by those who see it without,
 * and who arms it later makes the barrier. The count of wake-ups changes with it, so
 * that UNSETTLED is never cleared for another time's. Where there is no membarrier(),
 * W2 and S2 are full barriers each, always.
 *
 * Whoever disarms wakes, so a sleep costs one wake-up. A wake-up without cause is
 * allowed at any time: sleepers look again.
 *
 * The word counts the wake-ups, for there may be several sleepers: one that was
 * woken between S3 and S4 must not sleep because another has armed the park again
 * since, who will find something in its S3 and go.
 *
 * tests/models/park.pml is this protocol for a model checker, which tries all orders
 * of these steps and of the stores on their way, and each part's absence.
 *
 * What a death leaves behind: a dead sleeper's park stays armed and costs its
 * wakers a vain wake-up. A waker that dies between W1 and W4 leaves a sleeper
 * asleep with something published, and if it dies within W4, in a park that says
 * that nobody sleeps: whoever reports the death wakes it, whatever the park says
 * (far__park_wake_for_dead).
 *
 * Three ways to sleep (FARCALL_WAIT), alike but in cost; a process that has
 * nothing to watch uses the plain futex call unless one of them is forced:
 *	uring	an io_uring of the thread's own, in which it waits for the park's
 *		futex word and the watched descriptor together (Linux 6.7); where
 *		the futex operation is missing, for the bell
 *	futex	futex_waitv() on the park's word and the watched word (Linux 5.16)
 *	poll	ppoll() on the process's bell, a datagram socket, and the watched
 *		descriptor; needs nothing but sockets
 *
 * A process that can die without those who wait for it hearing of it (the
 * zygote) is watched by all sleepers: far__park_watch().
 */
#ifndef FAR_TRANSPORT_PARK_H
#define FAR_TRANSPORT_PARK_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "access.h"

struct far__park {
	uint32_t armed;		/* how its sleepers sleep, both if differently; above that a count of wake-ups */
	uint32_t bell;		/* the bell to ring, if that is how */
};

enum far__armed {
	FAR_ON_FUTEX = 1, FAR_ON_BELL = 2, FAR_ARMED = 3,
	FAR_BARE = 4, FAR_UNSETTLED = 8,
	FAR_WAKE_UP = 16,
};

enum far__wait { FAR_WAIT_URING, FAR_WAIT_FUTEX, FAR_WAIT_POLL };

/* Choose how this process's threads sleep. After a fork, forget the parent's sleepers. */
int far__park_init(void);	/* 0, or -EMFILE and the like */
void far__park_forked(void);

/* In a process that is to sleep as its parent did: take part in barriers. */
void far__park_join(void);

/* The sleeper's membarrier() may stand for the waker's barrier: decided once, for the whole family. */
extern bool far__sleeper_makes_barrier;

enum far__wait far__park_backend(void);

/*
 * From now on sleepers of this process also end their sleep when @fd becomes
 * readable, or the kernel marks the robust futex @word as its dead owner's; they
 * call @gone then, several at once perhaps. @fd -1 and @word NULL: nothing is
 * watched any more; those who are just waking up call the @gone given then, if
 * it is not NULL.
 */
void far__park_watch(int fd, uint32_t *word, void (*gone)(void));

/*
 * Sleep in @park until @ready(@arg) is true, or the time @deadline
 * (CLOCK_MONOTONIC, in ns; UINT64_MAX: never) has passed: whether it is ready.
 * @ready must see what wakers publish, with acquire loads. Several threads may
 * sleep in one park; if they are of several processes that are woken by bells,
 * only the last to arm it is sure to be woken. Does not spin.
 */
bool far__park_sleep(struct far__park *park, bool (*ready)(void *), void *arg, uint64_t deadline);

/* W3 again if need be, and W4: whether anybody was woken. The caller has published. */
bool far__park_wake_slowly(struct far__park *park);

/*
 * "Say, then look" between processes, where one side does it often and the other
 * seldom: the latter makes the barrier for both, if there is membarrier().
 */
void far__park_barrier(void);

static inline void far__park_barrier_of_other(void)
{
	if (__builtin_expect(far__sleeper_makes_barrier, 1))
		__atomic_signal_fence(__ATOMIC_SEQ_CST);
	else
		shm_fence();
}

/* Whether anybody was woken. */
static inline bool far__park_wake(struct far__park *park)
{
	far__park_barrier_of_other();	/* W2 */
	if (__builtin_expect((shm_peek(&park->armed) & (FAR_ARMED | FAR_BARE)) != FAR_BARE, 0))	/* W3 */
		return far__park_wake_slowly(park);
	return false;
}

/* Wake all sleepers of a park whose waker has died, perhaps when it had disarmed the park. The caller has published. */
void far__park_wake_for_dead(struct far__park *park);

/* A thread that slept is ending: free what its sleeps hold. */
void far__park_thread_end(void);

uint64_t far__now(void);

void far__park_status(FILE *stream);

#endif
