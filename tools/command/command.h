/* The command farcall: what its parts share. */
#ifndef FARCALL_COMMAND_H
#define FARCALL_COMMAND_H

#include <stdbool.h>
#include <stdio.h>

#include "library.h"
#include "signature.h"

enum { DONE = 0, FAILED = 1, MISUSED = 2 };	/* exit statuses */

/* Options for the slave that does the work. */
struct limits {
	int deadline_ms;	/* 0: none */
	size_t memory;		/* bytes; 0: no limit */
};

/* Each runs a command and returns an exit status; messages go to stderr. */
int call_command(const struct limits *limits, const char *library, const char *function, char **arguments, unsigned count);
int inspect_command(const struct limits *limits, const char *library, const char *name);
int types_command(const char *library, const char *output);

/* "farcall: ..." to stderr; returns MISUSED. */
int complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* far_error(), as a person wants to read it; returns FAILED. */
int print_failure(void);

struct far_slave *start_slave(const struct limits *limits);

/* ------------------------------------------------------------------ values */

/* The bytes of the last string, file or standard input that was read, for "#". */
struct bytes {
	char *at;		/* in the far heap, with a NUL behind */
	size_t length;
};

/*
 * Read a value of @type, as written on the command line, into @at. What it points to
 * is put in the far heap. False with a message.
 */
bool read_value(const struct far__type *type, const char *text, void *at, struct bytes *last);

/* The type for a further argument of a variadic function: int, long, double or a string, by its looks. */
const struct far__type *guess_type(const char *text);

/* Print a value, and of the @slave's memory what a string points to. */
void print_value(FILE *stream, struct far_slave *slave, const struct far__type *type, const void *at);

#endif
