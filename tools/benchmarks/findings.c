/* What the comparison found, for people, for programs and for gnuplot. */
#include "findings.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "text.h"

static double median(const struct result *r)
{
	return samples_median(&r->value);
}

static double percentile(const struct result *r, double p)
{
	return samples_percentile(r->single.count ? &r->single : &r->value, p);
}

static enum unit unit_of(const struct result *r)
{
	return r->measure->bytes ? BYTES : r->section->rates ? RATE : TIME;
}

/* What there is to say of an entry that was asked. */
static const char *text_of_presence(const struct presence *p)
{
	return p->state == ABSENT ? "absent" : p->state == FAILED ? "failed" : p->version;
}

/* Floors first, then the fastest; those that could not do it last. */
static int compare(const void *a, const void *b)
{
	const struct result *x = *(const struct result *const *)a, *y = *(const struct result *const *)b;
	double one = median(x), other = median(y);

	if ((x->entry->kind == FLOOR) != (y->entry->kind == FLOOR))
		return x->entry->kind == FLOOR ? -1 : 1;
	if (isnan(one) || isnan(other))
		return isnan(one) - isnan(other);
	return (one > other) - (one < other);
}

/* The results of one measure in order. */
static unsigned sorted(const struct findings *f, const struct measure *m, const struct result **list)
{
	unsigned n = 0;

	for (unsigned i = 0; i < f->results; i++)
		if (f->result[i].measure == m)
			list[n++] = &f->result[i];
	qsort(list, n, sizeof *list, compare);
	return n;
}

/* -------------------------------------------------------------------- table */

static void print_result(const struct result *r)
{
	enum unit unit = unit_of(r);
	char spread[100], ratio[16] = "";
	bool tail = r->single.count >= 100;

	snprintf(spread, sizeof spread, "%s .. %s", text_of(unit, percentile(r, 10)).s, text_of(unit, percentile(r, 90)).s);
	if (r->ratio.count)
		snprintf(ratio, sizeof ratio, "%.2f", samples_median(&r->ratio));
	printf("  %-26s %12s  %-28s %10s %10s %8s %10s\n", r->entry->name, text_of(unit, median(r)).s, spread,
	       text_of(unit, r->single.count ? percentile(r, 99) : NAN).s, text_of(unit, tail ? percentile(r, 99.9) : NAN).s,
	       ratio, text_of(TIME, samples_median(&r->cpu)).s);
}

void findings_print(const struct findings *f, const struct section *section)
{
	const struct result *list[ENTRIES_MAX];

	printf("\n%s (%s)\n", section->title, section->name);
	for (const struct measure *m = section->measure; m->name; m++) {
		unsigned n = sorted(f, m, list);

		printf("\n  %-26s %12s  %-28s %10s %10s %8s %10s\n", m->name, "median", "p10 .. p90", "p99", "p99.9",
		       section->floor ? "x floor" : "", "CPU time");
		for (unsigned i = 0; i < n; i++) {
			if (list[i]->value.count)
				print_result(list[i]);
			else
				printf("  %-26s %12s\n", list[i]->entry->name, "cannot");
		}
	}
	for (unsigned i = 0; i < f->count; i++)
		if (f->entries[i].sections & section->bit && (f->presence[i].state == ABSENT || f->presence[i].state == FAILED))
			printf("  %-26s %12s\n", f->entries[i].name, text_of_presence(&f->presence[i]));
	fflush(stdout);
}

/* --------------------------------------------------------------------- JSON */

static void put_result(FILE *file, const struct result *r)
{
	static const char *const units[] = { [TIME] = "ns", [RATE] = "ns", [BYTES] = "bytes" };

	fprintf(file, "    { \"part\": \"%s\", \"figure\": \"%s\", \"system\": \"%s\", \"unit\": \"%s\", \"turns\": %zu",
		r->section->name, r->measure->name, r->entry->name, units[unit_of(r)], r->value.count);
	put_number(file, "median", median(r));
	put_number(file, "p10", percentile(r, 10));
	put_number(file, "p90", percentile(r, 90));
	put_number(file, "p99", r->single.count ? percentile(r, 99) : NAN);
	put_number(file, "p99.9", r->single.count >= 100 ? percentile(r, 99.9) : NAN);
	put_number(file, "ratio", samples_median(&r->ratio));
	put_number(file, "cpu", samples_median(&r->cpu));
	fputs(" }", file);
}

static void put_systems(FILE *file, const struct findings *f)
{
	const char *comma = "";

	for (unsigned i = 0; i < f->count; i++) {
		const struct presence *p = &f->presence[i];

		if (p->state == UNASKED)
			continue;
		fprintf(file, "%s\n    { \"system\": \"%s\", \"%s\": \"%s\" }", comma, f->entries[i].name,
			p->state == PRESENT ? "version" : "state", text_of_presence(p));
		comma = ",";
	}
}

int findings_json(const struct findings *f, const char *path)
{
	FILE *file = fopen(path, "we");

	if (!file)
		return -errno;
	fputs("{\n  ", file);
	put_machine(file);
	fputs(",\n  \"systems\": [", file);
	put_systems(file, f);
	fputs("\n  ],\n  \"figures\": [\n", file);
	for (unsigned i = 0; i < f->results; i++) {
		fputs(i ? ",\n" : "", file);
		put_result(file, &f->result[i]);
	}
	fputs("\n  ]\n}\n", file);
	return fclose(file) ? -errno : 0;
}

/* ----------------------------------------------------------------- Markdown */

static const struct result *find(const struct findings *f, const struct measure *m, const struct entry *e)
{
	for (unsigned i = 0; i < f->results; i++)
		if (f->result[i].measure == m && f->result[i].entry == e)
			return &f->result[i];
	return NULL;
}

static void put_cell(FILE *file, const struct result *r)
{
	if (!r || !r->value.count) {
		fputs(" |", file);
		return;
	}
	fprintf(file, " %s", text_of(unit_of(r), median(r)).s);
	if (r->ratio.count)
		fprintf(file, " (%.3g x)", samples_median(&r->ratio));
	fputs(" |", file);
}

/* A row for each entry, in the order of the first measure; a column for each measure. */
static void put_table(FILE *file, const struct findings *f, const struct section *s)
{
	const struct result *list[ENTRIES_MAX];
	unsigned n = sorted(f, s->measure, list);

	fprintf(file, "\n**%s**%s%s%s\n\n| |", s->title, s->floor ? " (in brackets: beside " : "", s->floor ? s->floor : "",
		s->floor ? ")" : "");
	for (const struct measure *m = s->measure; m->name; m++)
		fprintf(file, " %s |", m->name);
	fputs("\n|---|", file);
	for (const struct measure *m = s->measure; m->name; m++)
		fputs("--:|", file);
	for (unsigned i = 0; i < n; i++) {
		const char *strong = strstr(list[i]->entry->name, "farcall") ? "**" : "";

		fprintf(file, "\n| %s%s%s |", strong, list[i]->entry->name, strong);
		for (const struct measure *m = s->measure; m->name; m++)
			put_cell(file, find(f, m, list[i]->entry));
	}
	putc('\n', file);
}

int findings_markdown(const struct findings *f, const char *path)
{
	FILE *file = fopen(path, "we");
	const struct section *last = NULL;
	const char *comma = "";
	struct utsname u;

	if (!file)
		return -errno;
	uname(&u);
	fprintf(file, "%s, %ld cores, Linux %s, %s. Versions:", cpu_model().s, sysconf(_SC_NPROCESSORS_ONLN), u.release,
		COMPILER);
	for (unsigned i = 0; i < f->count; i++) {
		if (f->presence[i].state == UNASKED || f->entries[i].kind == FLOOR)
			continue;
		fprintf(file, "%s %s %s", comma, f->entries[i].name, text_of_presence(&f->presence[i]));
		comma = ",";
	}
	fputs(".\n", file);
	for (unsigned i = 0; i < f->results; i++) {
		if (f->result[i].section != last)
			put_table(file, f, f->result[i].section);
		last = f->result[i].section;
	}
	return fclose(file) ? -errno : 0;
}

/* ------------------------------------------------------------------ columns */

/* A block for each entry, in the order of the first measure: its name, then a line for each measure. */
static int put_columns(const struct findings *f, const struct section *s, const char *path)
{
	const struct result *list[ENTRIES_MAX];
	unsigned n = sorted(f, s->measure, list);
	FILE *file = fopen(path, "we");

	if (!file)
		return -errno;
	for (unsigned i = 0; i < n; i++) {
		fprintf(file, "%s\n", list[i]->entry->name);
		for (const struct measure *m = s->measure; m->name; m++) {
			const struct result *r = find(f, m, list[i]->entry);

			if (r && r->value.count)
				fprintf(file, "%s\t%td\t%s\t%.6g\t%.6g\n", r->entry->name, m - s->measure, m->name, median(r),
					percentile(r, 99));
		}
		fputs("\n\n", file);
	}
	return fclose(file) ? -errno : 0;
}

int findings_columns(const struct findings *f, const char *folder)
{
	const struct section *last = NULL;
	char path[4096];
	int error = 0;

	for (unsigned i = 0; i < f->results && !error; i++) {
		const struct section *s = f->result[i].section;

		snprintf(path, sizeof path, "%s/%s.tsv", folder, s->name);
		if (s != last)
			error = put_columns(f, s, path);
		last = s;
	}
	return error;
}
