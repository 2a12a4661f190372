/*
 * A bell: how a process that sleeps in poll() or in io_uring is woken by another
 * that shares no descriptor with it. It is a datagram socket bound to an address
 * that the kernel chose, five hexadecimal digits in the abstract namespace; who
 * knows the number, which lies in shared memory, sends an empty datagram. A
 * stranger who guesses it causes a wake-up without cause and nothing else.
 *
 * All sleeping threads of a process share its bell: one of them, the leader,
 * waits for the socket, the others for the leader. So nobody drains a ring that
 * another has not yet seen.
 */
#ifndef FAR_TRANSPORT_BELL_H
#define FAR_TRANSPORT_BELL_H

#include <stdbool.h>
#include <stdint.h>

/* This process's bell, made at the first call; 0 if none can be had. */
uint32_t far__bell(void);

/* A count of the times that somebody stopped listening to it. Read it before you arm. */
uint32_t far__bell_seen(void);

/* Before the first fork: the socket that this process and those forked from it ring with. 0 or -errno. */
int far__bell_prepare(void);

/*
 * Sleep until the bell rings, @fd (or -1) is readable, or the @deadline in ns
 * has passed; may return early, and does if far__bell_seen() is not @seen any
 * more: your ring may be among those that were heard since. True if it was @fd.
 * @uring: wait in an io_uring.
 */
bool far__bell_wait(uint32_t seen, int fd, uint64_t deadline, bool uring);

void far__bell_ring(uint32_t bell);

/* Make a datagram socket with a number of its own: a descriptor, or -errno. */
int far__bell_bind(uint32_t *number);

/* The address of a number; returns its length. */
struct sockaddr_un;
unsigned far__bell_address(uint32_t number, struct sockaddr_un *address);

void far__bell_forked(void);

#endif
