/*
 * A contender: a program that lets one system make calls to another side, and
 * measures them when field.c, which drives it, says so. Each describes itself by
 * a struct system; contender.c has the main() that they share.
 *
 * Every system makes the same call, answer(a, b), on the other side: two integers
 * go there, one comes back. The other side is a process or thread pinned to a
 * core of its own. Each is written as the documentation of its system
 * recommends; it ends with a message by die() when anything fails.
 */
#ifndef BENCH_CONTENDER_H
#define BENCH_CONTENDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#include "stats.h"	/* now_ns() */

enum { WORKERS_MAX = 1000 };

/* Where to run and how to wait. */
struct place {
	int caller, other;	/* cores; the caller is pinned already */
	bool spin;		/* wait by polling, if the system lets one choose */
	const char *option;	/* what field.c's table has for this contender, or NULL */
};

/* What a system can do. What it cannot, or has no use for, is NULL. */
struct system {
	/* Run first of all in main(). */
	void (*begin)(int *argc, char ***argv);

	/* The version that runs, "4.3.4"; asked for once, after open(). */
	const char *(*version)(void);

	/* Start the other side, or what will start workers. Called once. */
	void (*open)(const struct place *place);

	/* The full round trip of answer(a, b). */
	int32_t (*call)(int32_t a, int32_t b);

	/*
	 * A stream: send() starts a call, receive() waits for the oldest one that
	 * was sent and has not been received. At most @window_max (0: any number)
	 * are under way.
	 */
	void (*send)(int32_t a, int32_t b);
	int32_t (*receive)(void);
	unsigned window_max;

	/* A call that nobody waits for; a later call() of this thread runs after it. */
	void (*post)(int32_t a, int32_t b);

	/*
	 * The round trip of a buffer: the other side gets all @n bytes where it can
	 * read them, and answers check(p, n). A buffer comes from buffer(), or
	 * else from malloc(), and is given to release(), or else to free(). At
	 * most @pass_max bytes (0: any number).
	 */
	int32_t (*pass)(uint8_t *p, size_t n);
	uint8_t *(*buffer)(size_t n);
	void (*release)(uint8_t *p);
	size_t pass_max;

	/* Several threads may be in call() at once. */
	bool threads;

	/*
	 * The whole loops, for systems whose call is shorter than calling it by a
	 * pointer: nanoseconds for @n calls. stream() may be run by several threads.
	 */
	uint64_t (*calls)(unsigned n);
	uint64_t (*stream)(unsigned window, unsigned n);
	uint64_t (*posts)(unsigned n);

	/* Start a worker, let it answer once, end it: nanoseconds up to the answer. */
	uint64_t (*start)(void);

	/*
	 * Let a worker die of SIGSEGV in a call: nanoseconds until the caller has its
	 * error, and from the death on until a worker (that one's successor) has
	 * given its next good answer.
	 */
	void (*crash)(uint64_t *error, uint64_t *recovered);

	/* Have @n workers, at most WORKERS_MAX, each of which has answered once; worker_call() goes to one of them. */
	void (*workers)(unsigned n, pid_t *pid);
	int32_t (*worker_call)(unsigned worker, int32_t a, int32_t b);
};

/* What the contender's own file defines. */
extern const struct system contender;

/* ---------------------------------------------------------- for contenders */

/* What the other side does. It counts; answer(COUNT, 0) returns how often it was called before. */
#define COUNT INT32_MIN
int32_t answer(int32_t a, int32_t b);

/* What the other side answers to a buffer: its first and its last byte show that it came. */
int32_t check(const uint8_t *p, size_t n);

/*
 * Both, for messages that are just bytes: two integers are a call, a third means that
 * nobody waits, and anything else is a buffer. False if there is nothing to send back.
 */
bool answer_message(const void *p, size_t n, int32_t *result);

/*
 * Fork a child, pinned to @core, that runs @serve(arg), and dies with this
 * process. Call it before anything is opened and any thread is started.
 */
pid_t fork_side(int core, void (*serve)(void *arg), void *arg);

/* Count the CPU time of this process for the contender, and stop it between turns. fork_side() does so. */
void also_runs(pid_t pid);

/* Pin the calling thread. */
void pin_to(int core);

/*
 * Undo the pinning, for those that start others: both may use every core, as they may
 * in programs, and as many files as the system allows. A crash leaves no core file.
 */
void unbind(void);

/* Print why, and errno if it is not 0, and exit. */
void die(const char *what, ...) __attribute__((noreturn, format(printf, 1, 2)));

/* Die of a wrong answer. */
void expect(int64_t got, int64_t wanted);

/* Die unless @got is the sum of the answers to (0, 1), (1, 1), ..., (n - 1, 1). */
void expect_sum(int64_t got, unsigned n);

/* A path for a socket of this contender that is not in use; the file is removed at exit. */
const char *socket_path(void);

/* Touched memory for a buffer that arrives, until the next one does. */
uint8_t *kept_buffer(size_t n);

/* For system.version: of three numbers; or, if only its file's name tells, of the library that has @function. */
const char *version_of(int major, int minor, int patch);
const char *version_of_library(void (*function)(void));

#ifdef __cplusplus
}
#endif
#endif
