/*
 * Passing a descriptor to a slave process, without a descriptor that ties the two
 * together: the slave binds a datagram socket, its mailbox, to an address that the
 * kernel chooses, the master sends the descriptor there with a number nobody can
 * guess, and asks the slave which number it has now. Each has a mailbox of its own:
 * so nobody waits for another, nothing is left in it by those who gave up, and a
 * slave may close what descriptors it likes.
 */
#include "mail.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "bell.h"
#include "internal.h"
#include "sys.h"

/*
 * In the slave: what was opened for calls that may be given up, by their secrets, the last few
 * of them. Who gives up knows no descriptor, for the answer may have come too late.
 */
static struct {
	uint64_t secret;
	int fd;
} opened[8];
static unsigned nopened;

static void remember(uint64_t secret, int fd)
{
	size_t i = nopened++ % (sizeof opened / sizeof *opened);

	opened[i].secret = secret;
	opened[i].fd = fd;
}

/* What was remembered, and is no more; or -1. */
static int forget(uint64_t secret)
{
	for (size_t i = 0; i < sizeof opened / sizeof *opened; i++) {
		if (opened[i].secret == secret) {
			opened[i].secret = 0;
			return opened[i].fd;
		}
	}
	return -1;
}

/* In the slave: the caller has given up. */
static void close_opened(uint64_t secret)
{
	int fd = forget(secret);

	if (fd >= 0)
		SYS(close, fd);
}

/* In the slave: a mailbox, or -errno, and in the upper half its address. */
static uint64_t open_mailbox(uint64_t secret)
{
	uint32_t number = 0;
	int mailbox = far__bell_bind(&number);

	remember(secret, mailbox);
	return (uint64_t)number << 32 | (uint32_t)mailbox;
}

/* What came with @secret, or -errno. Others are closed. */
static int receive(int mailbox, uint64_t secret)
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

/* In the slave: the descriptor in the mailbox, which is closed; or -errno. */
static int take_fd(int mailbox, uint64_t secret)
{
	int fd = receive(mailbox, secret);

	forget(secret);
	SYS(close, mailbox);
	remember(secret, fd);
	return fd;
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
		n = SYS(sendmsg, out, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
	while (n == -EINTR);
	SYS(close, out);
	return n < 0 ? (int)n : 0;
}

/* Nobody waits until the slave has closed what it opened, and with a mailbox what lies there. The error stays. */
static void give_up(struct far_slave *slave, uint32_t incarnation, uint64_t secret)
{
	struct far_error error = *far__failure();
	bool failed = far__failed;

	far__task_drop(FAR__ID(far_schedule(slave, close_opened, FAR_OF_LIFE(secret, incarnation))));
	(void)far_error();
	if (failed)
		far__fail_with(&error);
}

int far__mail_fd(struct far_slave *slave, uint32_t incarnation, int fd, uint64_t deadline)
{
	uint64_t secret;
	/* Now: the socket it is sent by could have the number of one that is closed. */
	int err = (int)SYS(fcntl, fd, F_GETFD, 0);

	if (err < 0)
		return err;
	if (SYS(getrandom, &secret, sizeof secret, 0) != sizeof secret)
		return -EIO;
	uint64_t opened_as = far_invoke_within(far__left_ms(deadline), slave, open_mailbox, FAR_OF_LIFE(secret, incarnation));
	int mailbox = (int)(uint32_t)opened_as;

	if (far__failed)
		goto given_up;
	if (mailbox < 0)
		return mailbox;
	err = send_fd((uint32_t)(opened_as >> 32), secret, fd);
	if (err) {
		/* Nobody is there any more? Then a call says why. */
		far_invoke_within(far__left_ms(deadline), slave, close_opened, FAR_OF_LIFE(secret, incarnation));
		return far__failed ? -EOWNERDEAD : err;
	}
	int there = far_invoke_within(far__left_ms(deadline), slave, take_fd, FAR_OF_LIFE(mailbox, incarnation), secret);

	if (!far__failed)
		return there;
given_up:
	give_up(slave, incarnation, secret);
	return -EOWNERDEAD;
}
