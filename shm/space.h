/*
 * The plan of the address space: what lies where in every process of the family.
 *
 *	windows   one private window per slave process; PROT_NONE until its slave
 *	          opens it, and then the only place where that slave's mmap() and
 *	          malloc() find room. So an address tells its owner.
 *	heap      the far heap, one sparse shared object, mapped whole
 *	control   the family's control block and a segment per slave, likewise
 *
 * All are mapped once, before the zygote starts, and never moved or unmapped:
 * their addresses are the same in every process, and what is stale can still be
 * looked at without a fault: a page that was given back is zeros then, as long as there
 * is memory for those.
 */
#ifndef FAR_SHM_SPACE_H
#define FAR_SHM_SPACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "object.h"

enum { FAR_SLAVES_MAX = 4096 };

#define FAR_SEGMENT_SIZE	(32ul << 20)	/* addresses; a few pages of it are used */

struct far__space {
	unsigned slaves;		/* numbers there is room for: FAR_SLAVES_MAX, or fewer where addresses are scarce */
	char *windows;
	size_t window_size;		/* 0: no windows, so no slave processes */
	char *heap;
	size_t heap_size;
	char *control;			/* segment 0 is the family's block and the master's own */
	struct far__object heap_object, control_object;
};

extern struct far__space far__space;

/* "64M" in bytes; 0 if it is no size. */
size_t far__size_from(const char *text);

/* Map it all, once: 0, or -errno with nothing mapped. Not thread-safe. */
int far__space_map(void);

/* Undo it. Nothing may point into it any more. */
void far__space_unmap(void);

/* Which window @p lies in, or -1. */
static inline int far__space_window(const void *p)
{
	size_t offset = (size_t)((const char *)p - far__space.windows);

	if (offset >= far__space.window_size * far__space.slaves)
		return -1;
	return (int)(offset / far__space.window_size);
}

static inline bool far__space_in_heap(const void *p)
{
	return (size_t)((const char *)p - far__space.heap) < far__space.heap_size;
}

static inline bool far__space_in_control(const void *p)
{
	return (size_t)((const char *)p - far__space.control) < FAR_SEGMENT_SIZE * far__space.slaves;
}

static inline void *far__space_segment(unsigned slave)
{
	return far__space.control + slave * FAR_SEGMENT_SIZE;
}

/* Addresses, no memory: a limit on that counts what is opened. NULL: there are none. */
void *far__space_reserve(size_t size);

/* Reserve pages of a segment (0, -ENOSPC, -ENOMEM); give all of them back, zeroed (0, or -errno with all as it was). */
int far__space_commit(unsigned slave, size_t offset, size_t length);
int far__space_discard(unsigned slave);

/*
 * In the zygote: leave nothing for mmap() and malloc() to hand out but what a
 * window offers. Afterwards the caller must not allocate.
 */
void far__space_seal(void);

/* In a slave process: open a window for it. 0 or -errno. */
int far__space_open(unsigned window);

#endif
