/*
 * Waiting in io_uring, by way of liburing: an instance for each thread that
 * sleeps, made at its first sleep.
 */
#ifndef FAR_TRANSPORT_URING_H
#define FAR_TRANSPORT_URING_H

#include <stdint.h>

/*
 * What io_uring can do here: 1 it waits for futexes, 0 only for descriptors,
 * or -errno of why it cannot be used. Found once per process.
 */
int far__uring_probe(void);

enum { FAR_URING_WOKEN, FAR_URING_WATCHED };

/*
 * Sleep while *@word is @value and @fd (or -1) is not readable, until @deadline.
 * FAR_URING_WATCHED if @fd is; FAR_URING_WOKEN for anything else; -errno if this
 * thread cannot have an io_uring.
 */
int far__uring_sleep(uint32_t *word, uint32_t value, int fd, uint64_t deadline);

/* Sleep until @fd or @other (or -1) is readable: FAR_URING_WATCHED if @other is. */
int far__uring_poll(int fd, int other, uint64_t deadline);

void far__uring_thread_end(void);
void far__uring_forked(void);

#endif
