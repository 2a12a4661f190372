/*
 * What a slave process leaves in its segment when it crashes, for those who wait
 * for it.
 *
 *	segment->crash	struct far__facts, in the segment's head, whose page there always is
 *	+64 KiB		struct far__record and what follows it, if there is memory for it
 *
 * The slave writes the facts, says so (FAR_CRASH_FACTS), wakes those who wait for it,
 * which may take as long as the rest, writes the record, says so (FAR_CRASH_WHOLE), has
 * its member's state changed to FAR_CRASHED, and dies. A death on the way leaves as
 * much as has been said.
 *
 * Trust. The slave is out of its mind: whoever reads this copies it first, and
 * then believes nothing of the copy.
 */
#ifndef FAR_CORE_CRASH_H
#define FAR_CORE_CRASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "lane.h"

enum far__crash_stage { FAR_CRASH_NONE, FAR_CRASH_FACTS, FAR_CRASH_WHOLE };

/* In .how: what there is to tell. */
enum far__crash_how {
	FAR_BY_SIGNAL = 1,
	FAR_BY_THREAD_EXIT,	/* the serving thread ended: pthread_exit(), a cancellation */
	FAR_BY_JUMP,		/* a function was left by longjmp(), and its call with it */
};

struct far__facts {
	uint64_t stage;		/* enum far__crash_stage; stored with release */
	uint64_t how;		/* enum far__crash_how */
	uint64_t signal;
	uint64_t code;		/* si_code, sign-extended */
	uint64_t address;	/* si_addr */
	uint64_t pc, sp;
	uint64_t access;	/* of a page fault: the processor's error code; its high half: the trap */
	uint64_t sender;	/* a signal that was sent: by which process; SIGSYS: the system call */
	uint64_t pid;
	uint64_t other_thread;	/* it was not the one that serves */
	uint64_t stack_low, stack_high;	/* of the serving thread */
	uint64_t window;	/* where its private memory lies */
	uint64_t data;		/* bytes of private writable memory, beyond what it started with, if that is limited */
};

_Static_assert(sizeof(struct far__facts) <= FAR_CRASH_WORDS * sizeof(uint64_t), "they fit in the head");

enum { FAR_CRASH_REGISTERS = 23 };	/* as in gregset_t */

/* The parts follow in the order of their lengths, each on a multiple of 8 bytes. */
struct far__record {
	uint64_t reg[FAR_CRASH_REGISTERS];
	uint64_t called;	/* the frame pointer of the innermost far__replay(), or 0 */
	uint64_t stack_at, stack_length;	/* the stack from sp up */
	uint64_t outer_at, outer_length;	/* its other end, if the first piece does not reach it */
	uint64_t text_length;	/* what glibc said when it aborted */
	uint64_t no_descriptors;	/* all that it may have were in use */
	uint64_t maps_length;	/* mappings: those of code that have names, and that at the address of the fault */
};

/* What /proc/self/maps tells of a mapping. Its name follows, padded to a multiple of 8 bytes. */
struct far__mapping {
	uint64_t start, end, offset, inode;
	uint32_t access;	/* enum far__access */
	uint32_t name_length;
};

enum far__access { FAR_READABLE = 1, FAR_WRITABLE = 2, FAR_EXECUTABLE = 4 };	/* as PROCMAP_QUERY has it */

/* The length of a part or a mapping's name, with its padding. */
static inline size_t far__padded(size_t length)
{
	return (length + 7) & ~7ul;
}

#define FAR_CRASH_AT		(64ul << 10)
#define FAR_CRASH_SIZE		(128ul << 10)	/* of addresses; as much is backed by pages as is needed */
#define FAR_CRASH_STACK		(64ul << 10)	/* at most so much of the stack */
#define FAR_CRASH_OUTER		(8ul << 10)	/* and of its other end */
#define FAR_CRASH_TEXT		1024ul
_Static_assert(FAR_CRASH_AT + FAR_CRASH_SIZE <= FAR_LANE_STRIDE, "before the first queue");

/* Whether the process @pid has begun to crash: it will say that it has in a moment, as a rule. */
static inline bool far__crash_has_begun(const struct far__segment *segment, uint32_t pid)
{
	const struct far__facts *facts = (const struct far__facts *)segment->crash;

	return shm_load64(&facts->stage) != FAR_CRASH_NONE && shm_peek64(&facts->how) == FAR_BY_SIGNAL &&
	       shm_peek64(&facts->pid) == pid;
}

/* ------------------------------------------------- crash.c: in a slave process */

/* In far_init(): look up what a handler cannot. */
void far__crash_prepare(void);

/* In the zygote: from now on crashes are recorded, where the program had no handler; and cores are not dumped. */
void far__crash_handle(void);

/* How large a stack the handler needs. */
size_t far__crash_stack_size(void);

/* In slave @number: it is at @alternate, and the stack that the slave will serve on between the other two. */
void far__crash_listen(unsigned number, void *alternate, const void *stack_low, const void *stack_high);

/* From now on its memory is limited: what it has now does not count. */
void far__crash_count_memory(void);

/* The owner wants cores of this slave. */
void far__crash_dump_cores(void);

/* The process is about to end, by itself: leave word of it. */
void far__crash_say(enum far__crash_how how);

/* ------------------------------------------------------- report.c: in its owner */

struct far__slave;
struct far__site;
struct far_error;

/* A private copy of what a slave left. */
struct far__report {
	uint64_t id;
	uintptr_t handle;	/* the slave's */
	struct far__facts facts;
	struct far__record record;
	bool whole;		/* there is a record: its lengths are right */
	const char *stack, *outer, *text, *maps;	/* into .data */
	char data[];
};

/* A copy of a report, to be freed; NULL if it is not kept any more. */
struct far__report *far__report_copy(uint64_t id, size_t *size);

/* The mapping at @at among those of a report, and the next one's place; false: there are no more. Begins at 0. */
bool far__report_mapping(const struct far__report *report, size_t *at, struct far__mapping *mapping, char *name, size_t room);

/* Set the pointers of a report that has been copied. */
void far__report_point(struct far__report *report);

void far__reports_forked(void);

/* Text that a slave wrote, fit for a terminal. */
void far__printable(char *to, size_t room, const char *from, size_t length);

#endif
