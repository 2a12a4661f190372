/* Samples of one quantity, and what can be said of them: median and percentiles. */
#ifndef BENCH_STATS_H
#define BENCH_STATS_H

#include <stddef.h>
#include <stdint.h>

/* Valid when zeroed; samples_free() makes it so again. */
struct samples {
	double *value;		/* ours; in no particular order */
	size_t count, room;
};

void samples_add(struct samples *s, double value);
void samples_free(struct samples *s);

/* The value that @p percent of the samples do not exceed; NAN if there are none. May put them in order. */
double samples_percentile(const struct samples *s, double p);
double samples_median(const struct samples *s);

/* CLOCK_MONOTONIC in nanoseconds. */
uint64_t now_ns(void);

#endif
