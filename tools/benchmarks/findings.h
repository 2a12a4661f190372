/* What the comparison with other systems measures, and what it found. */
#ifndef BENCH_FINDINGS_H
#define BENCH_FINDINGS_H

#include <stdbool.h>

#include "stats.h"

enum { MEASURES_MAX = 12, ENTRIES_MAX = 48 };

enum kind { FLOOR, PROCESS, THREAD };

/* One that takes part, and how it is started: the last word of the command is a program under field/. */
struct entry {
	const char *name;
	enum kind kind;
	const char *command, *mode, *option;
	unsigned sections;		/* those it takes part in: a set of bits */
};

/*
 * A command, repeated. It answers with the time of some operations, whose number
 * is its last word: @number, or so many as take @target_ms. Or, where both are 0,
 * with a figure of each of some operations.
 */
struct measure {
	const char *name, *command;
	unsigned target_ms, number;
	unsigned chunks;		/* the median of so many answers is a turn's value; 0: of one */
	unsigned rounds;		/* 0: those of the section */
	bool bytes;			/* not nanoseconds */
	const char *before;		/* a command that prepares for it once, or NULL */
};

struct section {
	const char *name;
	unsigned bit;			/* of struct entry .sections */
	const char *floor;		/* an entry, or NULL */
	bool neighbours;		/* the floor has a turn before each other one, not one a round */
	bool alone;			/* no turns, for there is no room for all at once */
	bool rates;			/* shown as operations a second */
	const char *title;
	unsigned rounds;
	struct measure measure[MEASURES_MAX];	/* after the last is one without a name */
};

/* What was found for one entry and one measure: no values if it could not do that. */
struct result {
	const struct section *section;
	const struct measure *measure;
	const struct entry *entry;
	struct samples value;		/* a turn each: nanoseconds of one operation, or bytes */
	struct samples single;		/* operations that were timed singly */
	struct samples ratio;		/* to the floor, of the same round */
	struct samples cpu;		/* nanoseconds of both sides for one operation */
};

/* Whether an entry took part. */
struct presence {
	enum { UNASKED, ABSENT, FAILED, PRESENT } state;
	char version[32];		/* if it is present */
};

struct findings {
	struct result *result;		/* section by section, measure by measure */
	unsigned results, room;
	const struct entry *entries;
	unsigned count;			/* of entries */
	struct presence presence[ENTRIES_MAX];	/* by entry */
};

/* The results of one section as a table. */
void findings_print(const struct findings *f, const struct section *section);

/* Everything as JSON; as a table in Markdown; as columns for gnuplot, a file for each section. 0 or -errno. */
int findings_json(const struct findings *f, const char *path);
int findings_markdown(const struct findings *f, const char *path);
int findings_columns(const struct findings *f, const char *folder);

#endif
