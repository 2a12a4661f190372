/*
 * How long to spin before sleeping. To be woken costs a sleeping thread tens of
 * microseconds, to see a word change costs a spinning one fifty nanoseconds, and
 * spinning costs a core. So each waiting place learns how long its waits are and
 * spins a little longer than that, if that is short enough to be worth it.
 *
 * When there are more threads to run than cores, whoever is waited for may need
 * the very core that the waiter spins on. So a place where spinning did not help
 * spins less and less often, until it helps again.
 */
#ifndef FAR_TRANSPORT_SPIN_H
#define FAR_TRANSPORT_SPIN_H

#include <stdbool.h>
#include <stdint.h>

struct far__spin {
	uint32_t typical;	/* a moving average of the waits here, in ns */
	uint32_t rest;		/* waits for which not to spin */
	uint32_t misses;	/* times in a row that spinning did not help */
};

/* One wait. */
struct far__spinning {
	uint64_t begin, last, limit;
	bool preempted;
};

void far__spin_init(void);

/* Begin a wait that a first glance did not end. */
void far__spin_begin(const struct far__spin *spin, struct far__spinning *s);

/* Whether to look some more, called about every hundred nanoseconds. */
bool far__spin_more(struct far__spinning *s);

/* The wait is over, and it @slept in the end or spinning was enough. */
void far__spin_end(struct far__spin *spin, const struct far__spinning *s, bool slept);

#endif
