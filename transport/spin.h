/*
 * How long to spin before sleeping. To be woken costs a sleeping thread tens of
 * microseconds, to see a word change costs a spinning one fifty nanoseconds, and
 * spinning costs a core. So each waiting place learns how long its waits are and
 * spins a little longer than that, if that is short enough to be worth it.
 *
 * When there are more threads to run than cores, whoever is waited for may need
 * the very core that the waiter spins on. So who spins for more than a moment lets
 * others run between two looks: mostly they spin, too, and do the same. If they keep
 * the core for long that is not done again for a while. And a place where spinning did
 * not help spins less and less often, until it helps again.
 *
 * One that sleeps has to be woken first, which takes long, and longer on some
 * machines while the waker keeps its own core busy: that of two cores of a virtual
 * machine, for one, is then woken by its host. Which way such a wait is shorter is
 * tried now and then.
 */
#ifndef FAR_TRANSPORT_SPIN_H
#define FAR_TRANSPORT_SPIN_H

#include <stdbool.h>
#include <stdint.h>

struct far__spin {
	uint32_t typical;	/* a moving average of the waits here, in ns */
	uint32_t rest;		/* waits for which not to spin */
	uint32_t misses;	/* times in a row that spinning did not help */
	uint32_t woken[2];	/* moving averages of the waits for one that had to be woken: slept through, spun through */
	uint32_t wakes;		/* how many those were */
	uint64_t rude_until;	/* nobody is let run until then */
};

/* One wait. */
struct far__spinning {
	uint64_t begin, last, limit;
	bool preempted, polite, woken;
};

void far__spin_init(void);

/* Begin a wait that a first glance did not end, for one that had to be @woken or not. */
void far__spin_begin(struct far__spin *spin, struct far__spinning *s, bool woken);

/* Whether to look some more, called about every hundred nanoseconds. Others may run meanwhile. */
bool far__spin_more(struct far__spinning *s);

/* The wait is over, and it @slept in the end or spinning was enough. */
void far__spin_end(struct far__spin *spin, const struct far__spinning *s, bool slept);

#endif
