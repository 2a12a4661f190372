/*
 * Waiting in io_uring. A thread's ring has at most three requests under way:
 * the poll of the watched descriptor, which stays from sleep to sleep, the wait
 * for a futex word or for a bell, and the cancellation of that.
 *
 * Debian 12's liburing 2.3 and headers do not know the futex operation of Linux
 * 6.7: its numbers are below, and whether the kernel has it is asked of it.
 */
#include "uring.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "park.h"
#include "sys.h"

enum { OP_FUTEX_WAIT = 51, FUTEX2_U32 = 2 };	/* linux/io_uring.h and linux/futex.h of 6.7 */
enum { ENTRIES = 4 };
enum tag { TAG_SLEEP = 1, TAG_WATCH, TAG_CANCEL };

static __thread struct {
	struct io_uring ring;
	bool usable, failed;
	int watching;			/* the descriptor under way, plus one */
} mine;

static struct {
	struct io_uring ring;
	bool usable;
} ears;

static int probed;			/* 0 not yet, 1 + what far__uring_probe() says, or -errno */

static int setup(struct io_uring *ring)
{
	int err = io_uring_queue_init(ENTRIES, ring, 0);

	if (err)
		return err;
	int fd = far__fd_above_stdio(ring->ring_fd);

	ring->ring_fd = ring->enter_ring_fd = fd < 0 ? -1 : fd;
	if (fd < 0)
		io_uring_queue_exit(ring);
	return fd < 0 ? fd : 0;
}

int far__uring_probe(void)
{
	struct io_uring ring;

	if (!probed) {
		int err = setup(&ring);

		if (err) {
			probed = err;
		} else {
			struct io_uring_probe *p = io_uring_get_probe_ring(&ring);
			bool timed_wait = ring.features & IORING_FEAT_EXT_ARG;

			probed = !timed_wait ? -EOPNOTSUPP : 1 + (p && io_uring_opcode_supported(p, OP_FUTEX_WAIT));
			io_uring_free_probe(p);
			io_uring_queue_exit(&ring);
		}
	}
	return probed < 0 ? probed : probed - 1;
}

static int make_mine(void)
{
	if (mine.usable)
		return 0;
	if (mine.failed)
		return -EAGAIN;
	int err = setup(&mine.ring);

	mine.usable = !err;
	mine.failed = err;
	return err;
}

/* Have the watched descriptor polled, unless it is already. */
static void watch(int fd)
{
	if (fd < 0 || mine.watching == fd + 1)
		return;
	struct io_uring_sqe *sqe = io_uring_get_sqe(&mine.ring);

	io_uring_prep_poll_add(sqe, fd, POLLIN);
	io_uring_sqe_set_data64(sqe, TAG_WATCH);
	mine.watching = fd + 1;
}

/*
 * Submit, and wait for the sleep to end. A sleep that the deadline or the watched
 * descriptor ended is cancelled and waited for, so that none outlives its call.
 */
static int finish(uint64_t deadline)
{
	int result = FAR_URING_WOKEN;
	bool under_way = true, cancelled = false;

	while (under_way) {
		struct io_uring_cqe *cqe;
		struct __kernel_timespec t = { 0 };
		struct __kernel_timespec *limit = NULL;

		if (deadline != UINT64_MAX && !cancelled) {
			uint64_t now = far__now(), left = deadline > now ? deadline - now : 0;

			t.tv_sec = (long long)(left / 1000000000);
			t.tv_nsec = (long long)(left % 1000000000);
			limit = &t;
		}
		int err = io_uring_submit_and_wait_timeout(&mine.ring, &cqe, 1, limit, NULL);
		bool stop = err == -ETIME || err == -EINTR;
		unsigned head, n = 0;

		if (err < 0 && !stop) {	/* refused from now on, by a filter say: closing it ends all */
			far__uring_thread_end();
			mine.failed = true;
			return err;
		}

		io_uring_for_each_cqe(&mine.ring, head, cqe) {
			n++;
			if (cqe->user_data == TAG_SLEEP)
				under_way = false;
			if (cqe->user_data == TAG_WATCH) {
				mine.watching = 0;
				result = cqe->res > 0 ? FAR_URING_WATCHED : result;
				stop = true;
			}
		}
		io_uring_cq_advance(&mine.ring, n);
		if (under_way && stop && !cancelled) {
			struct io_uring_sqe *sqe = io_uring_get_sqe(&mine.ring);

			io_uring_prep_cancel64(sqe, TAG_SLEEP, 0);
			io_uring_sqe_set_data64(sqe, TAG_CANCEL);
			cancelled = true;
		}
	}
	return result;
}

static void prepare_futex_wait(struct io_uring_sqe *sqe, uint32_t *word, uint32_t value, uint64_t tag)
{
	io_uring_prep_rw(OP_FUTEX_WAIT, sqe, FUTEX2_U32, word, 0, value);
	sqe->addr3 = ~0u;	/* FUTEX_BITSET_MATCH_ANY */
	io_uring_sqe_set_data64(sqe, tag);
}

int far__uring_sleep(uint32_t *word, uint32_t value, int fd, uint64_t deadline)
{
	int err = make_mine();

	if (err)
		return err;
	watch(fd);
	prepare_futex_wait(io_uring_get_sqe(&mine.ring), word, value, TAG_SLEEP);
	return finish(deadline);
}

int far__uring_poll(int fd, int other, uint64_t deadline)
{
	int err = make_mine();

	if (err)
		return err;
	watch(other);
	struct io_uring_sqe *sqe = io_uring_get_sqe(&mine.ring);

	io_uring_prep_poll_add(sqe, fd, POLLIN);
	io_uring_sqe_set_data64(sqe, TAG_SLEEP);
	return finish(deadline);
}

int far__uring_ears(void)
{
	if (far__uring_probe() <= 0 || setup(&ears.ring))
		return -1;
	ears.usable = true;
	return ears.ring.ring_fd;
}

void far__uring_listen(uint32_t *word, uint32_t value, uint64_t id)
{
	/* While the kernel has no memory for them, requests stay in the ring. */
	struct io_uring_sqe *sqe = ears.usable ? io_uring_get_sqe(&ears.ring) : NULL;

	if (sqe)
		prepare_futex_wait(sqe, word, value, id);
	if (ears.usable)
		io_uring_submit(&ears.ring);
}

uint64_t far__uring_heard(void)
{
	struct io_uring_cqe *cqe;

	if (!ears.usable || io_uring_peek_cqe(&ears.ring, &cqe))
		return 0;
	uint64_t id = cqe->user_data;

	io_uring_cqe_seen(&ears.ring, cqe);
	return id;
}

/* The program may have closed it, and have a file there now, if the kernel tells what it is. */
static bool has_fd(const struct io_uring *ring)
{
	char link[64], name[64];

	if (SYS(fcntl, ring->ring_fd, F_GETFD) == -EBADF)
		return false;
	snprintf(link, sizeof link, "/proc/self/fd/%d", ring->ring_fd);
	long n = SYS(readlinkat, AT_FDCWD, link, name, sizeof name - 1);

	name[n > 0 ? n : 0] = 0;
	return n <= 0 || strstr(name, "[io_uring]");
}

void far__uring_thread_end(void)
{
	if (mine.usable && !has_fd(&mine.ring))
		mine.ring.ring_fd = -1;
	if (mine.usable)
		io_uring_queue_exit(&mine.ring);
	memset(&mine, 0, sizeof mine);
}

void far__uring_forked(void)
{
	/* The rings are the parent's: unmap and close ours of them, submit nothing. */
	far__uring_thread_end();
}
