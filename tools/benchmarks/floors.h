/* The floors: what the machine itself takes to go to another core and come back. */
#ifndef BENCH_FLOORS_H
#define BENCH_FLOORS_H

#include "turns.h"

/*
 * A process or thread of ours that sleeps until it is asked for something, and
 * ends with this process. Start the processes before any thread.
 */
struct peer;

struct peer *peer_process(int cpu);	/* -1: on any core */
struct peer *peer_thread(int cpu);
pid_t peer_tid(const struct peer *p);

/* For struct contender .run, with a peer as .arg. */

/* One cache line there and back, both sides spinning. */
uint64_t floor_cache_line(struct contender *c, unsigned n);

/* Wake a peer asleep in futex(), sleep in futex() until it answers. */
uint64_t floor_futex(struct contender *c, unsigned n);

/* Before each start, of slave or floor: the stock of spares refills, and caches go cold, as between starts in programs. */
enum { START_REST_MS = 10 };

/* Ask the (sleeping) process to fork; the child answers and exits. */
uint64_t floor_fork(struct contender *c, unsigned n);

#endif
