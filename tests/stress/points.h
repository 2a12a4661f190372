/*
 * The points where a process can die, or a system call fail, while a scenario runs.
 *
 * A point is a place in the code (an access to shared memory, a named point, a
 * system call) and how many times the victim has been there since it was armed.
 * Points are found as they are met: what runs in the victim adds those that nobody
 * knew to a list in memory that all processes of a sweep share, so that paths that
 * are taken by chance only (who spins, who sleeps) are swept too, and a loop that
 * waits is a few points and not thousands.
 *
 * Kept apart from farcall's own shared memory: it is there before far_init().
 */
#ifndef POINTS_H
#define POINTS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

enum fault { DEATH, ERRNO };

struct point {
	uint64_t place;		/* a return address, a name or, of a system call, both address and number */
	uint32_t time;		/* the how manieth there */
	int32_t error;		/* for ERRNO: that it fails with */
	int32_t call;		/* the system call, or -1 */
	const char *name;	/* of a named point */
};

/* Whom to arm, if not a process by its number. */
enum { NOBODY = 0, NEW_SLAVE = -1, NEW_ZYGOTE = -2 };

enum { POINTS_MAX = 4096, PLACES_MAX = 1024, FAMILIAR_MAX = 4 };

struct points {
	_Atomic int32_t victim;		/* NOBODY: not armed */
	pid_t master, zygote;
	pid_t familiar[FAMILIAR_MAX];	/* slaves that are not new */
	enum fault fault;
	uint32_t times;			/* at each place, no more points than this */
	_Atomic bool fired;
	bool have_target;
	struct point target;
	unsigned used;
	struct point list[POINTS_MAX];
	struct {
		uint64_t place;
		uint32_t met, known;
	} place[PLACES_MAX];
	/* A slave that dies when it is about to finish a block of the far heap, besides. */
	_Atomic pid_t doomed;
};

extern struct points *points;

/* Make the shared list, and put our hooks into the library: before any fork. */
void points_begin(void);

/* A new sweep: forget all points. */
void points_clear(enum fault fault, uint32_t times);

/* From now on @victim meets points, and what is at @target happens there (NULL: nothing does, find points). */
void points_arm(pid_t victim, const struct point *target);
void points_disarm(void);

void points_print(FILE *stream, const struct point *p);

#endif
