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

/*
 * Ears: one more io_uring, by which a process that waits in poll() hears of futexes,
 * too. Makes it: the descriptor to be polled, or -1 if io_uring cannot wait for
 * futexes here. A child made by fork() has it mapped as well, and shall not use it:
 * without that its memory could lie there, where all slaves' could.
 */
int far__uring_ears(void);

/* Hear, once, when @word is woken, or is no longer @value; if there is memory for it. @id is not 0. */
void far__uring_listen(uint32_t *word, uint32_t value, uint64_t id);

/* What has been heard: an id, or 0 if nothing has. */
uint64_t far__uring_heard(void);

void far__uring_thread_end(void);
void far__uring_forked(void);

#endif
