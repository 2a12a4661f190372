/*
 * Passing a descriptor to a slave process, without a descriptor that ties the
 * two together: the slave binds a datagram socket to an address that the kernel
 * chooses, the master sends the descriptor there with a number nobody can guess,
 * and asks the slave which number it has now.
 */
#include "mail.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "bell.h"
#include "internal.h"
#include "sys.h"

/* In the slave: its mailbox, or -1. */
static int mailbox = -1;

static uint32_t open_mailbox(void)
{
	static uint32_t number;

	if (mailbox < 0)
		mailbox = far__bell_bind(&number);
	return mailbox < 0 ? 0 : number;
}

/* In the slave: the descriptor that came with @secret, or -errno. Others are closed. */
static int take_fd(uint64_t secret)
{
	for (;;) {
		uint64_t got = 0;
		union {
			char bytes[CMSG_SPACE(sizeof(int))];
			struct cmsghdr align;
		} control;
		struct iovec data = { &got, sizeof got };
		struct msghdr m = {
			.msg_iov = &data, .msg_iovlen = 1, .msg_control = &control,
			.msg_controllen = CMSG_LEN(sizeof(int)),	/* of CMSG_SPACE() the kernel would fill the rest with another */
		};
		long n = SYS(recvmsg, mailbox, &m, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);

		if (n == -EINTR)
			continue;
		if (n < 0)
			return (int)n;
		struct cmsghdr *c = CMSG_FIRSTHDR(&m);
		int fd = -1;

		if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
			memcpy(&fd, CMSG_DATA(c), sizeof fd);
		if (n == sizeof got && got == secret)
			return fd >= 0 ? far__fd_above_stdio(fd) : -EMFILE;
		if (fd >= 0)
			SYS(close, fd);
	}
}

static int send_fd(uint32_t number, uint64_t secret, int fd)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = { { 0 } };
	struct iovec data = { &secret, sizeof secret };
	struct sockaddr_un address;
	struct msghdr m = {
		.msg_iov = &data, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control,
		.msg_name = &address, .msg_namelen = far__bell_address(number, &address),
	};
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof fd);
	memcpy(CMSG_DATA(c), &fd, sizeof fd);
	int out = (int)SYS(socket, AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (out < 0)
		return out;
	long n;

	do
		n = SYS(sendmsg, out, &m, MSG_NOSIGNAL);
	while (n == -EINTR);
	SYS(close, out);
	return n < 0 ? (int)n : 0;
}

static int mail(struct far_slave *slave, uint32_t incarnation, int fd, uint64_t deadline)
{
	uint64_t secret;
	uint32_t number = far_invoke_within(far__left_ms(deadline), slave, open_mailbox);

	if (far__failed)
		return -EOWNERDEAD;
	if (!number)
		return -EMFILE;
	if (getrandom(&secret, sizeof secret, 0) != sizeof secret)
		return -EIO;
	int err = send_fd(number, secret, fd);

	if (err) {
		/* Nobody is there any more? Then a call says why. */
		far_invoke_within(far__left_ms(deadline), slave, open_mailbox);
		return far__failed ? -EOWNERDEAD : err;
	}
	int there = far_invoke_within(far__left_ms(deadline), slave, take_fd, FAR_OF_LIFE(secret, incarnation));

	return far__failed ? -EOWNERDEAD : there;
}

int far__mail_fd(struct far__slave *slave, struct far_slave *handle, uint32_t incarnation, int fd, int limit_ms)
{
	/* Now: the socket it is sent by could have the number of one that is closed. */
	int err = (int)SYS(fcntl, fd, F_GETFD, 0);

	if (err < 0)
		return err;
	/* One at a time: the slave takes what lies in its mailbox for its caller's, or nobody's. */
	pthread_mutex_lock(&slave->mail);
	err = mail(handle, incarnation, fd, far__deadline(limit_ms));
	pthread_mutex_unlock(&slave->mail);
	return err;
}
