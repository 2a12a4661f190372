/* Bells: see bell.h. */
#include "bell.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

#include "park.h"
#include "sys.h"
#include "uring.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int bell_fd = -1;	/* ours to wait at */
static _Atomic uint32_t bell_number;
static int sender = -1;	/* to ring others with; shared by the family */

static _Atomic uint32_t heard;	/* a futex word, process-private */
static _Atomic uint32_t led;	/* 1 while a thread waits for the socket */

/* As the kernel autobinds: NUL and five hexadecimal digits. Bit 31 marks a number, for 0 is one too. */
unsigned far__bell_address(uint32_t number, struct sockaddr_un *address)
{
	static const char digit[] = "0123456789abcdef";

	*address = (struct sockaddr_un){ .sun_family = AF_UNIX };
	for (int i = 0; i < 5; i++)
		address->sun_path[1 + i] = digit[number >> (16 - 4 * i) & 15];
	return offsetof(struct sockaddr_un, sun_path) + 6;
}

static int datagram_socket(void)
{
	return far__fd_above_stdio((int)SYS(socket, AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
}

static uint32_t number_of(int fd)
{
	struct sockaddr_un a;
	socklen_t length = sizeof a;

	if (SYS(getsockname, fd, &a, &length) < 0 || length < offsetof(struct sockaddr_un, sun_path) + 6)
		return 0;
	char text[6] = { a.sun_path[1], a.sun_path[2], a.sun_path[3], a.sun_path[4], a.sun_path[5] };

	return (uint32_t)strtoul(text, NULL, 16) | 1u << 31;
}

int far__bell_bind(uint32_t *number)
{
	struct sockaddr_un any = { .sun_family = AF_UNIX };
	int fd = datagram_socket();

	if (fd < 0)
		return fd;
	int err = (int)SYS(bind, fd, &any, sizeof any.sun_family);

	*number = err ? 0 : number_of(fd);
	if (*number)
		return fd;
	SYS(close, fd);
	return err ? err : -EADDRNOTAVAIL;
}

uint32_t far__bell(void)
{
	uint32_t number = bell_number;

	if (number)
		return number;
	pthread_mutex_lock(&lock);
	if (!bell_number) {
		int fd = far__bell_bind(&number);

		if (fd >= 0) {
			bell_fd = fd;
			bell_number = number;
		}
	}
	number = bell_number;
	pthread_mutex_unlock(&lock);
	return number;
}

uint32_t far__bell_seen(void)
{
	return heard;
}

/*
 * Stop leading. Whoever sees the first count cannot lead yet, and may go to sleep
 * as a follower of nobody; the second count keeps it from that. Whoever leads next
 * knows by the first that the socket was drained of rings it has not seen.
 */
static void resign(void)
{
	heard++;
	led = 0;
	heard++;
	SYS(futex, &heard, FUTEX_WAKE_PRIVATE, INT_MAX);
}

/* Take all datagrams off the socket. */
static void drain(void)
{
	char nothing;

	while (SYS(recvfrom, bell_fd, &nothing, sizeof nothing, MSG_DONTWAIT, NULL, NULL) >= 0)
		;
}

static bool poll_both(int fd, uint64_t deadline)
{
	struct pollfd p[2] = { { .fd = bell_fd, .events = POLLIN }, { .fd = fd, .events = POLLIN } };
	struct timespec t = { 0 };

	if (deadline != UINT64_MAX) {
		uint64_t now = far__now(), left = deadline > now ? deadline - now : 0;

		t = (struct timespec){ (time_t)(left / 1000000000), (long)(left % 1000000000) };
	}
	SYS(ppoll, p, 2, deadline == UINT64_MAX ? NULL : &t, NULL, 0);
	return p[1].revents != 0;
}

bool far__bell_wait(uint32_t seen, int fd, uint64_t deadline, bool uring)
{
	uint32_t nobody = 0;

	if (heard != seen)
		return false;
	if (!atomic_compare_exchange_strong(&led, &nobody, 1)) {
		struct timespec t = { (time_t)(deadline / 1000000000), (long)(deadline % 1000000000) };

		SYS(futex, &heard, FUTEX_WAIT_BITSET_PRIVATE, seen, deadline == UINT64_MAX ? NULL : &t, 0,
		    FUTEX_BITSET_MATCH_ANY);
		return false;
	}
	bool other = false;

	if (heard == seen) {
		int result = uring ? far__uring_poll(bell_fd, fd, deadline) : -ENOSYS;

		other = result < 0 ? poll_both(fd, deadline) : result == FAR_URING_WATCHED;
		drain();
	}
	resign();
	return other;
}

int far__bell_prepare(void)
{
	if (sender < 0)
		sender = datagram_socket();
	return sender < 0 ? sender : 0;
}

void far__bell_ring(uint32_t bell)
{
	struct sockaddr_un a;
	unsigned length = far__bell_address(bell, &a);

	/* A full queue has woken it already; a missing one is a dead process. What may pass must not cost the ring. */
	long err;

	while (err = SYS(sendto, sender, "", 0, MSG_DONTWAIT | MSG_NOSIGNAL, &a, length),
	       err == -EINTR || err == -ENOMEM || err == -ENOBUFS)
		sched_yield();
	if (err >= 0 || err == -EAGAIN || err == -ECONNREFUSED)
		return;
	/* A function has closed all descriptors, and ours may be another by now. */
	int fd = datagram_socket();

	if (fd >= 0) {
		SYS(sendto, fd, "", 0, MSG_DONTWAIT | MSG_NOSIGNAL, &a, length);
		SYS(close, fd);
	}
}

void far__bell_forked(void)
{
	pthread_mutex_init(&lock, NULL);
	if (bell_fd >= 0)
		SYS(close, bell_fd);
	bell_fd = -1;
	bell_number = 0;
	led = 0;
}
