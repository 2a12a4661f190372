/* The result of a benchmark, for people and for programs. */
#include "report.h"

#include <farcall.h>

#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/utsname.h>
#include <unistd.h>

void fail(const char *what)
{
	const struct far_error *e = far_error();

	fprintf(stderr, "bench: %s: %s\n", what, e ? e->message : "wrong result");
	exit(1);
}

struct row *report_samples(struct report *r, const char *name, enum unit unit, struct samples *s)
{
	if (r->rows == sizeof r->row / sizeof r->row[0]) {
		fputs("bench: too many rows\n", stderr);
		exit(1);
	}
	struct row *row = &r->row[r->rows++];

	*row = (struct row){
		.unit = unit, .p99 = NAN, .floor = NAN, .ratio = NAN, .excess = NAN, .median = samples_median(s),
		.p10 = samples_percentile(s, 10), .p90 = samples_percentile(s, 90),
	};
	snprintf(row->name, sizeof row->name, "%s", name);
	return row;
}

struct row *report_figure(struct report *r, const char *name, const char *floor_name, struct figure *f)
{
	struct row *row = report_samples(r, name, TIME, &f->value);

	snprintf(row->floor_name, sizeof row->floor_name, "%s", floor_name);
	if (!f->what->chunk_ns)
		row->p99 = samples_percentile(&f->chunk, 99);
	row->floor = samples_median(&f->floor_value);
	row->ratio = samples_median(&f->ratio);
	row->excess = samples_median(&f->excess);
	return row;
}

static void set_goal(struct row *row, bool met, const char *before, double limit, const char *after)
{
	snprintf(row->goal_text, sizeof row->goal_text, "%s%g%s", before, limit, after);
	row->goal = met ? MET : MISSED;
}

void goal_ratio(struct row *row, double max)
{
	set_goal(row, row->ratio <= max, "<= ", max, " x");
}

void goal_excess(struct row *row, double max_ns)
{
	set_goal(row, row->excess <= max_ns, "<= floor + ", max_ns, " ns");
}

void goal_rate(struct row *row, double min_per_second)
{
	set_goal(row, 1e9 / row->median >= min_per_second, ">= ", min_per_second / 1e6, " M/s");
}

void goal_value(struct row *row, double max)
{
	snprintf(row->goal_text, sizeof row->goal_text, "<= %s", text_of(row->unit, max).s);
	row->goal = row->median <= max ? MET : MISSED;
}

static void print_row(const struct row *row)
{
	static const char *const verdicts[] = { "", "MISSED", "met" };
	char ratio[32] = "", spread[100];

	snprintf(spread, sizeof spread, "%s .. %s", text_of(row->unit, row->p10).s, text_of(row->unit, row->p90).s);
	if (!isnan(row->ratio))
		snprintf(ratio, sizeof ratio, "%.2f", row->ratio);
	printf("%-40s %10s  %-24s %10s  %-12s %9s %6s  %-16s %s\n", row->name, text_of(row->unit, row->median).s,
	       spread, text_of(row->unit, row->p99).s, row->floor_name, text_of(TIME, row->floor).s, ratio,
	       row->goal_text, verdicts[row->goal]);
}

void report_print(const struct report *r, unsigned from)
{
	if (from == 0)
		printf("%-40s %10s  %-24s %10s  %-12s %9s %6s  %s\n", "figure", "median", "p10 .. p90", "p99",
		       "floor", "", "ratio", "goal");
	for (unsigned i = from; i < r->rows; i++)
		print_row(&r->row[i]);
	fflush(stdout);
}

void report_machine(const struct report *r)
{
	struct utsname u;
	double load = NAN;

	uname(&u);
	getloadavg(&load, 1);
	printf("%s, %ld cores (caller on %d, slaves on %d), load %.1f; %s %s; %s\n", cpu_model().s,
	       sysconf(_SC_NPROCESSORS_ONLN), r->cores[0], r->cores[1], load, u.sysname, u.release, COMPILER);
}

static void put_row(FILE *f, const struct row *row)
{
	static const char *const met[] = { "null", "false", "true" };

	fprintf(f, "    { \"figure\": \"%s\", \"unit\": \"%s\"", row->name, row->unit == BYTES ? "bytes" : "ns");
	put_number(f, "median", row->median);
	put_number(f, "p10", row->p10);
	put_number(f, "p90", row->p90);
	put_number(f, "p99", row->p99);
	fprintf(f, ", \"floor_name\": \"%s\"", row->floor_name);
	put_number(f, "floor", row->floor);
	put_number(f, "ratio", row->ratio);
	put_number(f, "excess", row->excess);
	fprintf(f, ", \"goal\": \"%s\", \"met\": %s }", row->goal_text, met[row->goal]);
}

int report_json(const struct report *r, const char *path)
{
	FILE *f = fopen(path, "we");

	if (!f)
		return -errno;
	fputs("{\n  ", f);
	put_machine(f);
	fputs(",\n  \"figures\": [\n", f);
	for (unsigned i = 0; i < r->rows; i++) {
		fputs(i ? ",\n" : "", f);
		put_row(f, &r->row[i]);
	}
	fputs("\n  ]\n}\n", f);
	return fclose(f) ? -errno : 0;
}
