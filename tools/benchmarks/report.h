/* The result of a benchmark: rows of figures, as a table and as JSON. */
#ifndef BENCH_REPORT_H
#define BENCH_REPORT_H

#include "text.h"
#include "turns.h"

enum goal { NO_GOAL, MISSED, MET };

/* No pointers: a row can be sent through a pipe. What is not known is NAN. */
struct row {
	char name[64], floor_name[32];
	enum unit unit;
	double median, p10, p90;	/* of the batches, in nanoseconds or bytes */
	double p99;			/* of single operations, if they were timed singly */
	double floor, ratio, excess;
	char goal_text[64];
	enum goal goal;
};

struct report {
	struct row row[64];
	unsigned rows;
	int cores[2];			/* the caller's and the slaves' */
};

/* End with farcall's last error or, if there is none, because of a wrong result. */
void fail(const char *what) __attribute__((noreturn));

/* Add a measured figure, or samples that have no floor. */
struct row *report_figure(struct report *r, const char *name, const char *floor_name, struct figure *f);
struct row *report_samples(struct report *r, const char *name, enum unit unit, struct samples *s);

/* Set what a row should reach. */
void goal_ratio(struct row *row, double max);
void goal_excess(struct row *row, double max_ns);
void goal_rate(struct row *row, double min_per_second);
void goal_value(struct row *row, double max);

/* The machine, and the rows from @from on. */
void report_machine(const struct report *r);
void report_print(const struct report *r, unsigned from);
/* 0 or -errno. */
int report_json(const struct report *r, const char *path);

#endif
