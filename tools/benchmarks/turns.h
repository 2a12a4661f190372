/* Contenders that take turns, and each figure beside its floor. */
#ifndef BENCH_TURNS_H
#define BENCH_TURNS_H

#include <stdint.h>
#include <sys/types.h>

#include "stats.h"

/*
 * Something to measure. A batch of it is several chunks, of so many operations
 * that a chunk takes about chunk_ns; the median chunk is the batch's value, so
 * that a time slice given to a stranger spoils a chunk and not the batch.
 */
struct contender {
	/* Do @n operations, return the nanoseconds they took; preparing is not timed. */
	uint64_t (*run)(struct contender *c, unsigned n);
	void *arg;		/* for run() */
	unsigned number;	/* for run() */
	pid_t peer;		/* a thread that must sleep before the next one's turn, or 0 */
	unsigned chunk_ns;	/* 0: chunks of one operation */
	unsigned chunks;	/* in a batch */
	unsigned n;		/* operations in a chunk: learned from the last batch */
};

/* All times are nanoseconds of one operation. */
struct figure {
	struct contender *what, *floor;
	struct samples value;		/* a batch each */
	struct samples floor_value;	/* the mean of the batches before and after */
	struct samples ratio, excess;	/* value / floor, value - floor, of the same round */
	struct samples chunk;		/* all chunks */
};

/*
 * Measure @count figures in @rounds rounds: in each, every figure has its turn,
 * a batch of its floor before it and one after it.
 */
void take_turns(struct figure *figures, size_t count, unsigned rounds);
void figure_free(struct figure *f);

#endif
