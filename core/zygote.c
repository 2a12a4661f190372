/*
 * The zygote: a copy of the program as it was in far_init(), small and with one
 * thread, from which all slave processes are forked.
 *
 * It sleeps in poll() on
 *	the bell      an eventfd that every process of the family holds: somebody
 *	              took a slave from the stock, waits for one, or wants one killed
 *	the socket    whose other end only the master holds: end of file, the master
 *	              is gone, or has executed another program
 *	a pidfd       of the master, for a copy of that end may be in a child of it
 *	a signalfd    SIGCHLD: a slave has ended
 *
 * Lives hang together like this: slaves are killed by the kernel when the zygote
 * ends (PR_SET_PDEATHSIG), the zygote ends when the master does, and it kills the
 * slaves of a slave that ended. A sleeper of the master watches the zygote
 * (far__park_watch). The master's wait() never sees the zygote, whose exit signal
 * is 0.
 *
 * A slave is in stock while its number is in family->stock[] and nobody owns it;
 * taking it is a compare-and-swap of its owner, so a taker that dies on the way
 * leaves a slave that is owned by a dead process, and is killed with the others.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "heap.h"
#include "internal.h"
#include "sys.h"

#define STACK_SIZE	(8ul << 20)
#define GUARD_SIZE	(64ul << 10)

static bool started;		/* in the master: it was */
static _Atomic bool gone;	/* and it is no more */
static int bell = -1;		/* in every process of the family */
static int zygote_fd = -1;	/* in the master: its pidfd */
static int lifeline = -1;	/* in the master: our end of the socket */

/* In the zygote. */
static struct {
	int master_socket, master_fd, signals;
	pid_t self;
	sigset_t mask;			/* the program's own, for the slaves */
	struct sigaction child;		/* so is this, of SIGCHLD */
	pid_t pid[FAR_SLAVES_MAX];
	unsigned highest;		/* number with a pid */
} z;

/* --------------------------------------------------- in a slave process */

/* AddressSanitizer, if the program has it, must know the stack that the slave moves to. */
void __sanitizer_start_switch_fiber(void **save, const void *bottom, size_t size) __attribute__((weak));
void __sanitizer_finish_switch_fiber(void *save, const void **bottom, size_t *size) __attribute__((weak));

static void serve(void *arg)
{
	if (__sanitizer_finish_switch_fiber)
		__sanitizer_finish_switch_fiber(NULL, NULL, NULL);
	static struct far__server server;
	unsigned number = (unsigned)(uintptr_t)arg;

	far__server_begin(&server, number, far__member_handle(number), true);
	far__thread.server = &server;
	far__slave_myself(&server);
	far__server_loop(&server);
	shm_store(&server.segment->stop, FAR_STOPPED);
	exit(0);
}

/* A stack in the slave's own window, so that its addresses tell whose they are: its lowest, and its size. */
static char *make_stack(size_t *size)
{
	struct rlimit limit;

	*size = STACK_SIZE;
	if (getrlimit(RLIMIT_STACK, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY && limit.rlim_cur > STACK_SIZE)
		*size = limit.rlim_cur & -4096ul;
	long p = SYS(mmap, 0, *size + GUARD_SIZE, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);

	if (p < 0 && p > -4096)
		return NULL;
	SYS(mprotect, p, GUARD_SIZE, PROT_NONE);
	return (char *)p + GUARD_SIZE;
}

static _Noreturn void become_slave(unsigned number)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != z.self)
		_exit(1);	/* the zygote died before that */
	SYS(close, z.master_socket);
	SYS(close, z.master_fd);
	SYS(close, z.signals);
	far__space_open(number);
	far__now_a_slave();
	far__self = number;
	far__heap_set_owner(number);
	far__error_forked();
	memset(&far__thread, 0, sizeof far__thread);
	size_t size;
	char *stack = make_stack(&size);

	if (!stack)
		_exit(1);
	sigaction(SIGCHLD, &z.child, NULL);
	sigprocmask(SIG_SETMASK, &z.mask, NULL);
	if (__sanitizer_start_switch_fiber)
		__sanitizer_start_switch_fiber(NULL, stack, size);
	far__on_stack(stack + size, serve, (void *)(uintptr_t)number);
}

/* -------------------------------------------------------- in the zygote */

static unsigned in_stock(void)
{
	struct far__family *family = far__family();
	unsigned n = 0;

	for (unsigned i = 0; i < FAR_STOCK_MAX; i++)
		n += shm_load(&family->stock[i]) != 0;
	return n;
}

/* Whoever waits for a slave looks again. */
static void tell_waiting(void)
{
	shm_fence();	/* partner: S2 of the sleeper, which says that it waits before it looks */
	for (unsigned n = 0; n <= z.highest; n++)
		if (shm_load(&far__member(n)->waiting))
			far__park_wake(&far__member(n)->arrivals);
}

/* How many threads wait for a slave. Each process counts its own, so that those of one that died are known. */
static unsigned waiting(void)
{
	unsigned threads = 0;

	for (unsigned n = 0; n <= z.highest; n++)
		threads += shm_load(&far__member(n)->waiting);
	return threads;
}

static void put_in_stock(unsigned number)
{
	struct far__family *family = far__family();

	for (unsigned i = 0; i < FAR_STOCK_MAX; i++)
		if (shm_cas(&family->stock[i], 0, number))
			break;
	tell_waiting();
}

/* Fork one slave: 0 or -errno. */
static int make_slave(void)
{
	int err;
	unsigned number = far__member_take(FAR_NOBODY, &err);

	if (!number)
		return err;
	far__point("zygote.fork");
	pid_t pid = fork();

	if (pid == 0)
		become_slave(number);
	if (pid < 0) {
		err = -errno;
		far__member_give(number);
		return err;
	}
	z.pid[number] = pid;
	if (number > z.highest)
		z.highest = number;
	shm_set(&far__member(number)->pid, (uint32_t)pid);
	shm_store(&far__member(number)->state, FAR_ALIVE);
	shm_add(&far__family()->made, 1);
	put_in_stock(number);
	return 0;
}

/* Make slaves until there are enough for those who wait, and @spares more. */
static void refill(unsigned spares)
{
	struct far__family *family = far__family();

	for (;;) {
		/* In this order: a taker stops waiting and then takes, so what is counted for it is not missed here. */
		unsigned stock = in_stock(), want = waiting() + spares;

		if (stock >= want || stock == FAR_STOCK_MAX)
			break;
		int err = make_slave();

		if (!err)
			continue;
		shm_set(&family->refusal, (uint32_t)-err);
		shm_add(&family->refusals, 1);
		tell_waiting();
		break;
	}
}

static void kill_number(unsigned number)
{
	/* We are its parent, so the pid is its own until we wait for it. */
	if (z.pid[number] && kill(z.pid[number], SIGKILL) == 0)
		shm_add(&far__family()->killed, 1);
}

static void kill_wanted(void)
{
	struct far__family *family = far__family();

	for (unsigned w = 0; w < FAR_SLAVES_MAX / 32; w++) {
		if (!shm_load(&family->kill[w]))
			continue;
		for (uint32_t bits = shm_swap(&family->kill[w], 0); bits; bits &= bits - 1)
			kill_number(32 * w + (unsigned)__builtin_ctz(bits));
	}
}

/* Whether a process had made a slave, or was making it. */
static bool is_slave_of(const struct far__member *m, unsigned process)
{
	uint32_t state = shm_load(&m->state);

	if ((state & ((1u << FAR_STATE_BITS) - 1)) == FAR_BEING_MADE)
		return state >> FAR_STATE_BITS == process;
	return state != FAR_FREE && shm_load(&m->owner) == process;
}

/* A process of the family is dead: its slaves go with it. */
static void bereave(unsigned number)
{
	for (unsigned n = 1; n < FAR_SLAVES_MAX; n++) {
		struct far__member *m = far__member(n);

		if (!is_slave_of(m, number))
			continue;
		/* Nobody can take it, if who took it died before it took it out of the stock. */
		shm_set(&m->owner, FAR_DOOMED);
		if (z.pid[n])
			kill_number(n);
		else
			far__member_give(n);	/* a thread of it, or a slave that it never closed */
	}
}

static void bury(unsigned number, int status)
{
	struct far__family *family = far__family();
	struct far__member *m = far__member(number);
	uint32_t owner = shm_load(&m->owner);

	z.pid[number] = 0;
	shm_add(&family->ended, 1);
	for (unsigned i = 0; i < FAR_STOCK_MAX; i++)
		shm_cas(&family->stock[i], number, 0);
	shm_set(&m->waiting, 0);
	far__heap_sweep(number);
	bereave(number);
	/* Between the look at the owner and this, somebody may have taken it from the stock. */
	if (owner == FAR_DOOMED || (owner == FAR_NOBODY && shm_cas(&m->owner, FAR_NOBODY, FAR_DOOMED))) {
		far__member_give(number);
		return;
	}
	far__member_dead(number, (uint32_t)status);
}

static void reap(void)
{
	struct signalfd_siginfo info;
	int status;
	pid_t pid;

	while (SYS(read, z.signals, &info, sizeof info) > 0)
		;
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		for (unsigned n = 1; n <= z.highest; n++)
			if (z.pid[n] == pid)
				bury(n, status);
}

static _Noreturn void end_family(void)
{
	for (unsigned n = 1; n <= z.highest; n++)
		if (z.pid[n])
			kill(z.pid[n], SIGKILL);
	_exit(0);
}

static _Noreturn void zygote_loop(void)
{
	struct far__family *family = far__family();
	struct pollfd p[] = {
		{ .fd = z.master_socket, .events = POLLIN },
		{ .fd = z.master_fd, .events = POLLIN },
		{ .fd = bell, .events = POLLIN },
		{ .fd = z.signals, .events = POLLIN },
	};
	bool low = true;

	for (;;) {
		/* Who waits is served at once; the stock is filled up when nobody has asked for a while. */
		refill(0);
		struct timespec pause = { .tv_nsec = 1000000 };
		long n = SYS(ppoll, p, 4, low ? &pause : NULL, NULL, 0);

		if (n == 0) {
			refill(shm_load(&family->spares));
			low = false;
			continue;
		}
		if (p[0].revents || p[1].revents)
			end_family();
		if (p[2].revents) {
			uint64_t count;

			SYS(read, bell, &count, sizeof count);
			kill_wanted();
			low = true;
		}
		if (p[3].revents) {
			reap();
			low = true;
		}
	}
}

/*
 * Have the kernel mark family->life when this thread dies, by way of the robust
 * futex list; the zygote takes no locks, so the list is free for this. Its node
 * is private memory, and the word lies at a fixed distance from it.
 */
static void leave_a_will(void)
{
	static struct robust_list node;
	static struct robust_list_head head;
	uint32_t *life = &far__family()->life;

	node.next = &head.list;
	head.list.next = &node;
	head.futex_offset = (char *)life - (char *)&node;
	SYS(set_robust_list, &head, sizeof head);
	shm_store(life, (uint32_t)SYS(gettid) | FUTEX_WAITERS);
}

/* Tell the master, who waits for it in far__zygote_start(), that all is well or what is not. */
static void report(int err)
{
	while (SYS(sendto, z.master_socket, &err, sizeof err, MSG_NOSIGNAL, NULL, 0) == -EINTR)
		;
	if (err)
		_exit(1);
}

static _Noreturn void zygote(pid_t master, const sigset_t *mask)
{
	sigset_t child;

	z.self = getpid();
	z.mask = *mask;
	z.master_fd = far__fd_above_stdio((int)SYS(pidfd_open, master, 0));
	if (getppid() != master)
		_exit(1);
	setpgid(0, 0);
	prctl(PR_SET_NAME, "farcall-zygote");
	/* A program that ignores it would have the kernel reap our slaves. */
	sigaction(SIGCHLD, &(struct sigaction){ .sa_handler = SIG_DFL }, &z.child);
	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	/* The kernel's set is its first word. */
	z.signals = far__fd_above_stdio((int)SYS(signalfd4, -1, &child, sizeof(long), SFD_CLOEXEC | SFD_NONBLOCK));
	if (z.signals < 0)
		report(z.signals);
	leave_a_will();
	report(0);
	far__space_seal();
	zygote_loop();
}

/* --------------------------------------------------------- in the master */

/* The zygote is dead, or so near to it that its will has been executed: leave no zombie. */
static void wait_for_zygote(int pidfd)
{
	siginfo_t info;

	while (SYS(waitid, P_PIDFD, pidfd, &info, WEXITED | __WCLONE, NULL) == -EINTR)
		;
}

/*
 * The zygote says that it runs: 0, or -errno. Not before has it left its will,
 * without which those who sleep on futexes would not learn of its death.
 */
static int hear_of_life(int socket)
{
	int err;
	long n;

	do
		n = SYS(read, socket, &err, sizeof err);
	while (n == -EINTR);
	return n == sizeof err ? err : n < 0 ? (int)n : -EOWNERDEAD;
}

static void master_hears_of_death(void)
{
	if (atomic_exchange(&gone, true))
		return;
	wait_for_zygote(zygote_fd);
	far__park_watch(-1, NULL, master_hears_of_death);
	far__slaves_gone();
	far__park_wake(&far__member(0)->arrivals);
	/* The kernel woke one sleeper; wake those that watch, too. */
	SYS(futex, &far__family()->life, FUTEX_WAKE, INT32_MAX);
}

int far__zygote_start(void)
{
	int ends[2], pidfd = -1, err;
	sigset_t all, mask;
	long pid;

	if (!far__space.window_size)
		return -ENOMEM;
	bell = far__fd_above_stdio((int)SYS(eventfd2, 0, EFD_CLOEXEC | EFD_NONBLOCK));
	if (bell < 0)
		return bell;
	err = (int)SYS(socketpair, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends);
	if (err)
		goto no_socket;
	fflush(NULL);	/* or every slave would print it again */
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &mask);
	pid_t master = getpid();

	/* Exit signal 0: no SIGCHLD, and wait() passes it over. */
	pid = SYS(clone, CLONE_PIDFD, 0, &pidfd, 0, 0);
	if (pid == 0) {
		SYS(close, ends[0]);
		z.master_socket = far__fd_above_stdio(ends[1]);
		zygote(master, &mask);
	}
	SYS(close, ends[1]);
	err = pid < 0 ? (int)pid : hear_of_life(ends[0]);
	sigprocmask(SIG_SETMASK, &mask, NULL);
	if (pid < 0)
		goto no_zygote;
	if (err)
		goto zygote_ended;
	lifeline = far__fd_above_stdio(ends[0]);
	zygote_fd = far__fd_above_stdio(pidfd);
	far__park_watch(zygote_fd, &far__family()->life, master_hears_of_death);
	started = true;
	return 0;

zygote_ended:
	SYS(close, ends[0]);	/* so that it does end, if only we did not hear it */
	wait_for_zygote(pidfd);
	SYS(close, pidfd);
	goto no_socket;
no_zygote:
	SYS(close, ends[0]);
no_socket:
	SYS(close, bell);
	bell = -1;
	return err;
}

bool far__zygote_alive(void)
{
	if (started && !gone && far__self == 0) {
		struct pollfd p = { .fd = zygote_fd, .events = POLLIN };

		if (SYS(ppoll, &p, 1, &(struct timespec){ 0 }, NULL, 0) > 0)
			master_hears_of_death();
	}
	return far__self || (started && !gone);
}

/* ------------------------------------------- in any process of the family */

static void ring(void)
{
	uint64_t one = 1;

	while (SYS(write, bell, &one, sizeof one) == -EINTR)
		;
}

static unsigned take_from_stock(void)
{
	struct far__family *family = far__family();

	for (unsigned i = 0; i < FAR_STOCK_MAX; i++) {
		uint32_t number = shm_load(&family->stock[i]);

		if (!number)
			continue;
		bool taken = shm_cas(&far__member(number)->owner, FAR_NOBODY, far__self);

		far__point("zygote.taken");
		shm_cas(&family->stock[i], number, 0);
		if (taken)
			return number;
	}
	return 0;
}

struct arrival {
	uint32_t refusals;
};

static bool arrived(void *arg)
{
	const struct arrival *a = arg;

	return in_stock() || shm_load(&far__family()->refusals) != a->refusals || gone;
}

unsigned far__zygote_take(int *err)
{
	struct far__family *family = far__family();

	for (;;) {
		struct arrival a = { shm_load(&family->refusals) };
		/* Slaves that died with it may still be in stock. */
		unsigned number = far__zygote_alive() ? take_from_stock() : 0;

		/* Look again: whoever heard of the zygote's death meanwhile may have looked for our slaves before. */
		if (number && far__zygote_alive()) {
			/* The stock is to be filled up, or the zygote had made it for another who waits. */
			ring();
			return number;
		}
		if (!far__zygote_alive()) {
			*err = -EOWNERDEAD;
			return 0;
		}
		shm_add(&far__member(far__self)->waiting, 1);
		ring();
		far__park_sleep(&far__member(far__self)->arrivals, arrived, &a, FAR_FOREVER);
		shm_add(&far__member(far__self)->waiting, -1u);
		if (!in_stock() && shm_load(&family->refusals) != a.refusals) {
			*err = -(int)shm_load(&family->refusal);
			return 0;
		}
	}
}

void far__zygote_kill(unsigned number)
{
	shm_or(&far__family()->kill[number / 32], 1u << number % 32);
	ring();
}
