/*
 * The far heap: blocks of shared memory that any process of the family may take
 * and give back, without a lock, and that survive any process's death. The
 * public face is far_alloc() and its sisters, in farcall.h.
 */
#ifndef FAR_SHM_HEAP_H
#define FAR_SHM_HEAP_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Lay out the heap in its fresh object: 0, -ENOSPC or -ENOMEM. Once, before the zygote. */
int far__heap_init(void);

/* Who claims what this process takes: its slave number, 0 in the master. */
void far__heap_set_owner(unsigned slave);

/*
 * A block of at least @size bytes, aligned to 64; NULL with *err -ENOBUFS (beyond what is
 * left of the heap's range), -ENOMEM (beyond what the machine, or our cgroup, has left) or
 * -ENOSPC (the object's file system is full); -EBADF (the program has closed our descriptor,
 * and the kernel is older than 5.14). @zero asks for zeros. Lock-free.
 */
void *far__heap_alloc(size_t size, bool zero, int *err);

/* That, for far_error()->errnum. */
static inline int far__heap_errnum(int err)
{
	return err == -ENOBUFS ? ENOMEM : -err;
}

/* Usable bytes of the block that begins at @block, or 0 if none does. */
size_t far__heap_size(const void *block);

/* Whether @p points into a block. For messages: the answer may be old by the time it is given. */
bool far__heap_holds(const void *p);

/* 0, or -EINVAL if no block begins there, or it was freed before. Lock-free. */
int far__heap_free(void *block);

/* Whether @block can hold @size bytes without wasting more than half of itself. */
bool far__heap_fits(const void *block, size_t size);

/* Take back what a dead process had claimed but not finished. By the zygote alone. */
void far__heap_sweep(unsigned slave);

/*
 * Pages of blocks that were freed are kept for the next user, those of more than
 * 64 MiB only until soon: when there are such, this has somebody call far__heap_trim()
 * in a moment, or says that nobody will. NULL: the same; they are given back at once then.
 */
extern bool (*far__heap_trim_soon)(void);

/* Give back a part of what is kept beyond 64 MiB, which takes some milliseconds; false: there was none. */
bool far__heap_trim(void);

void far__heap_status(FILE *stream);

#endif
