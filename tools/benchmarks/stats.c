/* Samples of one quantity: collecting them, medians and percentiles. */
#include "stats.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

void samples_add(struct samples *s, double value)
{
	if (s->count == s->room) {
		s->room = s->room ? 2 * s->room : 64;
		s->value = realloc(s->value, s->room * sizeof *s->value);
		if (!s->value) {
			perror("bench");
			exit(1);
		}
	}
	s->value[s->count++] = value;
}

void samples_free(struct samples *s)
{
	free(s->value);
	*s = (struct samples){ 0 };
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

double samples_percentile(const struct samples *s, double p)
{
	if (!s->count)
		return NAN;
	qsort(s->value, s->count, sizeof *s->value, compare);

	/* Between two samples, the straight line: the median of an even number. */
	double at = p / 100 * (double)(s->count - 1);
	size_t below = (size_t)at;

	if (below + 1 == s->count)
		return s->value[below];
	return s->value[below] + (at - (double)below) * (s->value[below + 1] - s->value[below]);
}

double samples_median(const struct samples *s)
{
	return samples_percentile(s, 50);
}

uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}
