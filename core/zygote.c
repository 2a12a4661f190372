/*
 * The zygote: a copy of the program as it was in far_init(), small and with one
 * thread, from which all slave processes are forked.
 *
 * It sleeps in poll() on
 *	the bell      an eventfd that every process of the family holds: somebody
 *	              took a slave from the stock, waits for one, or wants one killed
 *	the socket    whose other end only the master holds: end of file, the master
 *	              is gone, or has executed another program; a child that it forks
 *	              closes its copy of that end
 *	a pidfd       of the master, for it may have made a child by clone(), unheard
 *	an io_uring   a slave begins to end (will.h), or has answered its first call
 *	a signalfd    SIGCHLD: a slave has ended; SIGIO: it has ended, or has executed
 *	              another program
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
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "crash.h"
#include "heap.h"
#include "internal.h"
#include "oom.h"
#include "sys.h"
#include "uring.h"
#include "will.h"

#define STACK_SIZE	(8ul << 20)
#define GUARD_SIZE	(64ul << 10)

enum { FIRST_ANSWER = FAR_SLAVES_MAX };	/* what the ears hear of, beside the wills of slaves by number */
enum { PAUSE = 1000000 };	/* ns: what the zygote does unasked waits so long for quiet */

static bool started;		/* in the master: it was */
static _Atomic bool gone;	/* and it is no more */
static int bell = -1;		/* in every process of the family */
static int zygote_fd = -1;	/* in the master: its pidfd */
static int lifeline = -1;	/* in the master: our end of the socket */

/* In the zygote. */
static struct {
	int master_socket, master_fd, signals, wills;
	pid_t self;
	sigset_t mask;			/* the program's own, for the slaves */
	struct sigaction child;		/* so is this, of SIGCHLD */
	bool look;			/* for a slave that has executed another program ... */
	uint64_t look_after;		/* ... when it is time for that again */
	unsigned highest;		/* number with a pid */
	unsigned last_window;
	uint64_t windows[FAR_SLAVES_MAX / 64];	/* those that are used, a bit each */
	/* By number. What is written for a slave lies close together: after a fork each page that is written is copied. */
	struct mortal {
		pid_t pid;
		bool restart;		/* it is being killed to be started again */
		uint32_t taken;		/* how many calls had been taken when it started */
		uint32_t vain;		/* incarnations in a row that took none */
		uint64_t due;		/* when the next shall be started, or 0 */
	} slave[FAR_SLAVES_MAX];
} z __attribute__((aligned(4096)));

static struct far__will *will_of(unsigned number)
{
	struct far__segment *segment = far__space_segment(number);

	return (struct far__will *)segment->will;
}

/* --------------------------------------------------- in a slave process */

/* The function called pthread_exit(), or the thread was cancelled: without it the slave is of no use. */
static void serving_thread_ends(void *unused)
{
	(void)unused;
	far__crash_say(FAR_BY_THREAD_EXIT);
	exit(0);
}

/* AddressSanitizer, if the program has it, must know the stack that the slave moves to. */
void __sanitizer_start_switch_fiber(void **save, const void *bottom, size_t size) __attribute__((weak));
void __sanitizer_finish_switch_fiber(void *save, const void **bottom, size_t *size) __attribute__((weak));

static void serve(void *arg)
{
	if (__sanitizer_finish_switch_fiber)
		__sanitizer_finish_switch_fiber(NULL, NULL, NULL);
	struct far__server server;	/* for ever: this function does not return */
	unsigned number = (unsigned)(uintptr_t)arg % FAR_SLAVES_MAX;
	bool again = (uintptr_t)arg >= FAR_SLAVES_MAX;

	far__will_leave(will_of(number));
	far__server_begin(&server, number, far__member_handle(number), true);
	far__thread.server = &server;
	far__my_server = &server;
	pthread_cleanup_push(serving_thread_ends, NULL);
	if (again)
		far__server_set_up(&server);
	far__server_loop(&server);
	pthread_cleanup_pop(0);
	shm_store(&server.segment->stop, FAR_STOPPED);
	exit(0);
}

/*
 * A stack in the slave's own window, so that its addresses tell whose they are: its
 * lowest, and its size. Below its guard lies the stack for the crash handler.
 */
static char *make_stack(size_t *size)
{
	struct rlimit limit;
	size_t below = far__crash_stack_size();

	*size = STACK_SIZE;
	if (SYS(prlimit64, 0, RLIMIT_STACK, NULL, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY && limit.rlim_cur > STACK_SIZE)
		*size = limit.rlim_cur & -4096ul;
	long p = SYS(mmap, 0, below + GUARD_SIZE + *size, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);

	if (p < 0 && p > -4096)
		return NULL;
	SYS(mprotect, (size_t)p + below, GUARD_SIZE, PROT_NONE);
	char *stack = (char *)p + below + GUARD_SIZE;

	stack[*size - 4097] = 0;	/* the first call will need it: a fault now, not then */
	return stack;
}

/*
 * Have the zygote get a SIGIO when this process executes another program: a pair
 * of sockets that are closed then, each of which tells of the other's end.
 */
static void tell_of_exec(void)
{
	int end[2];

	if (SYS(socketpair, AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, end) < 0)
		return;
	for (int i = 0; i < 2; i++) {
		end[i] = far__fd_above_stdio(end[i]);
		SYS(fcntl, end[i], F_SETOWN, z.self);
		SYS(fcntl, end[i], F_SETFL, O_ASYNC);
	}
}

/*
 * @again: it replaces an incarnation that has died. By SYS() throughout: each page
 * of the C library that a new process runs through costs it a fault.
 */
static _Noreturn void become_slave(unsigned number, unsigned window, bool again)
{
	SYS(prctl, PR_SET_PDEATHSIG, SIGKILL);
	if (SYS(getppid) != z.self)
		_exit(1);	/* the zygote died before that */
	SYS(close, z.master_socket);
	SYS(close, z.master_fd);
	SYS(close, z.signals);
	far__oom_end();
	SYS(close, z.wills);
	far__space_open(window);
	far__my_window = window;
	far__self = number;
	far__heap_set_owner(number);
	far__park_join();
	size_t size;
	char *stack = make_stack(&size);

	if (!stack)
		_exit(1);
	far__crash_listen(number, stack - GUARD_SIZE - far__crash_stack_size(), stack, stack + size);
	tell_of_exec();
	if (z.child.sa_handler != SIG_DFL)
		sigaction(SIGCHLD, &z.child, NULL);
	SYS(rt_sigprocmask, SIG_SETMASK, &z.mask, NULL, sizeof(long));
	if (__sanitizer_start_switch_fiber)
		__sanitizer_start_switch_fiber(NULL, stack, size);
	far__on_stack(stack + size, serve, (void *)(uintptr_t)(number + again * FAR_SLAVES_MAX));
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

/* In turn, so that the addresses of a dead slave's memory rest as long as can be: a window, or 0. */
static unsigned take_window(void)
{
	for (unsigned i = 1; i < far__space.slaves; i++) {
		unsigned window = (z.last_window + i) % far__space.slaves;

		if (!window || z.windows[window / 64] >> window % 64 & 1)
			continue;
		z.last_window = window;
		z.windows[window / 64] |= 1ull << window % 64;
		return window;
	}
	return 0;
}

static void give_window(unsigned window)
{
	z.windows[window / 64] &= ~(1ull << window % 64);
}

/* Start an incarnation of a slave whose number is taken: 0 or -errno. */
static int start(unsigned number, bool again)
{
	struct far__member *m = far__member(number);
	unsigned window = take_window();

	if (!window)
		return -EAGAIN;
	shm_store(&m->window, window);
	far__point("zygote.fork");
	pid_t pid = fork();

	if (pid == 0)
		become_slave(number, window, again);
	if (pid < 0) {
		give_window(window);
		return -errno;
	}
	z.slave[number].pid = pid;
	far__will_expect(will_of(number), number, pid);
	if (number > z.highest)
		z.highest = number;
	shm_set(&m->pid, (uint32_t)pid);
	shm_store(&m->state, FAR_ALIVE);
	shm_add(&far__family()->made, 1);
	return 0;
}

/* Make a slave and put it in stock: 0 or -errno. */
static int make_slave(void)
{
	int err;
	unsigned number = far__member_take(FAR_DOOMED, &err);	/* whoever knows the number of an earlier one takes it not */

	if (!number)
		return err;
	shm_set(&far__member(number)->incarnation, 1);
	z.slave[number].vain = z.slave[number].taken = 0;
	z.slave[number].due = 0;
	z.slave[number].restart = false;
	err = start(number, false);
	if (err) {
		far__member_give(number);
		return err;
	}
	shm_store(&far__member(number)->owner, FAR_NOBODY);
	put_in_stock(number);
	return 0;
}

static bool stock_is_low(void)
{
	return in_stock() < shm_load(&far__family()->spares);
}

/* Make a slave if there are not enough for those who wait, and @spares more: whether it did. */
static bool add_to_stock(unsigned spares)
{
	struct far__family *family = far__family();
	/* In this order: a taker stops waiting and then takes, so what is counted for it is not missed here. */
	unsigned stock = in_stock(), want = waiting() + spares;

	if (stock >= want || stock == FAR_STOCK_MAX)
		return false;
	int err = make_slave();

	if (!err)
		return true;
	shm_set(&family->refusal, (uint32_t)-err);
	shm_add(&family->refusals, 1);
	tell_waiting();
	return false;
}

static void kill_number(unsigned number)
{
	/* We are its parent, so the pid is its own until we wait for it. */
	if (z.slave[number].pid && kill(z.slave[number].pid, SIGKILL) == 0)
		shm_add(&far__family()->killed, 1);
	/* Between two incarnations there will be no more. */
	if (!z.slave[number].pid && z.slave[number].due) {
		z.slave[number].due = 0;
		far__member_dead(number, shm_load(&far__member(number)->status));
	}
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
		z.slave[n].due = 0;
		if (z.slave[n].pid)
			kill_number(n);
		else
			far__member_give(n);	/* a thread of it, or a slave that it never closed */
	}
}

/* ------------------------------------------------------------ incarnations */

/* For all rings of a slave, as the process left them, or has them now. */
struct rings {
	unsigned number;	/* the slave's */
	uint64_t ready;		/* as in its segment */
	unsigned next;
	struct far__lane lane;	/* of the ring */
	int kind;		/* FAR_CALL or FAR_QUEUE */
};

static struct rings rings_of(unsigned number)
{
	const struct far__segment *segment = far__space_segment(number);

	return (struct rings){ .number = number, .ready = shm_load64(&segment->ready) };
}

/* NULL after the last. */
static const struct far__ring *next_ring(struct rings *r)
{
	while (r->next < FAR_LANES * FAR_RINGS) {
		unsigned lane = r->next / FAR_RINGS;

		r->kind = (int)(r->next++ % FAR_RINGS);
		if (r->kind == FAR_CALL && r->ready >> lane & 1) {
			far__lane_attach(&r->lane, r->number, lane);
			return &r->lane.call;
		}
		if (r->kind == FAR_QUEUE && r->ready >> 32 >> lane & 1) {
			far__lane_attach_queue(&r->lane, r->number, lane);
			return &r->lane.queue;
		}
	}
	return NULL;
}

static uint32_t calls_taken(unsigned number)
{
	struct rings r = rings_of(number);
	const struct far__ring *ring;
	uint32_t sum = 0;

	while ((ring = next_ring(&r)))
		sum += ring->position;
	return sum;
}

/* Answer a call, if it has been asked and is not answered: whether it was so. */
static bool fail_call(const struct far__lane *lane, const struct far__ring *ring, uint32_t position,
		      const struct far__message *death)
{
	bool waits = far__ring_is_asked(ring, position);

	if (waits)
		far__lane_answer(lane, ring, position, death);
	return waits;
}

/*
 * The calls of a ring that wait, too. Their caller may be asking more: those behind the
 * first that is not there yet are left to the next incarnation, which begins with it.
 */
static void fail_waiting(const struct far__lane *lane, const struct far__ring *ring, const struct far__message *death)
{
	uint32_t position = ring->position;

	while (fail_call(lane, ring, position, death))
		position++;
	shm_set(ring->taken, position);
}

/* The calls that a dead incarnation was running fail, and with @all those that wait, too. */
static void fail_running(unsigned number, uint32_t status, bool all)
{
	struct far__member *m = far__member(number);
	uint32_t verdict = shm_swap(&m->verdict, FAR_BY_OTHERS), pid = shm_load(&m->pid);
	struct far__message begun, waiting;
	struct rings r = rings_of(number);
	const struct far__ring *ring;

	far__death_words(&begun, status, verdict, pid);
	far__death_words(&waiting, status, verdict | FAR_BYSTANDER, pid);
	while ((ring = next_ring(&r))) {
		uint32_t taken = ring->position;

		for (uint32_t p = taken - (ring->mask + 1); p != taken; p++)
			fail_call(&r.lane, ring, p, &begun);
		if (all)
			fail_waiting(&r.lane, ring, &waiting);
		/* Its last answer may have disarmed this, and woken nobody. */
		far__park_wake_for_dead(&r.lane.head->producer);
	}
}

/* Start the next incarnation now, or later when those before ended at once; false: no more. */
static bool respawn(unsigned number, uint32_t status)
{
	enum { FIRST_MS = 1, LAST_MS = 1000 };
	struct far__member *m = far__member(number);
	struct far__segment *segment = far__space_segment(number);
	uint32_t taken = calls_taken(number), tries = shm_load(&m->respawn);
	bool wanted = z.slave[number].restart;

	z.slave[number].restart = false;
	if (!wanted && (!tries || shm_load(&segment->stop) == FAR_STOPPED))
		return false;
	z.slave[number].vain = taken != z.slave[number].taken || wanted ? 0 : z.slave[number].vain + 1;
	if (z.slave[number].vain && z.slave[number].vain >= tries)
		return false;
	/*
	 * What the dead incarnation had is gone, before anybody hears that its call failed. In this
	 * order: who looks at the incarnation, and then where its memory lies, sees no earlier one's.
	 */
	shm_store(&m->window, 0);
	shm_add(&m->incarnation, 1);
	/* Of one that is dead already, those who wait have been told. */
	fail_running(number, status, !tries || shm_load(&m->state) == FAR_DEAD);
	z.slave[number].taken = calls_taken(number);
	shm_store64(&segment->deadline, 0);
	shm_store64(&segment->asleep, 0);
	shm_store(&segment->doomed, 0);
	if (!z.slave[number].vain)
		return start(number, true) == 0;
	uint64_t delay = z.slave[number].vain < 10 ? (uint64_t)FIRST_MS << z.slave[number].vain : LAST_MS;

	z.slave[number].due = far__now() + (delay < LAST_MS ? delay : LAST_MS) * 1000000;
	far__zygote_watch(z.slave[number].due);
	return true;
}

/* It has ended: start it again if that is wanted, or say that it is dead. */
static void replace_or_end(unsigned number, uint32_t status)
{
	struct far__segment *segment = far__space_segment(number);
	bool wanted = z.slave[number].restart;

	if (!respawn(number, status))
		far__member_dead(number, status);
	if (!wanted)
		return;
	shm_add(&far__member(number)->restarts, 1);
	far__park_wake(&segment->control);
}

/* Who wanted it may have died meanwhile, and the slave with him. */
static bool is_owned_process(unsigned number)
{
	const struct far__member *m = far__member(number);
	uint32_t state = shm_load(&m->state), owner = shm_load(&m->owner);

	return (state == FAR_ALIVE || state == FAR_CRASHED || state == FAR_DEAD) && owner != FAR_NOBODY && owner != FAR_DOOMED &&
	       shm_load(&m->pid);
}

static void restart_wanted(void)
{
	struct far__family *family = far__family();

	for (unsigned w = 0; w < FAR_SLAVES_MAX / 32; w++) {
		if (!shm_load(&family->restart[w]))
			continue;
		for (uint32_t bits = shm_swap(&family->restart[w], 0); bits; bits &= bits - 1) {
			unsigned number = 32 * w + (unsigned)__builtin_ctz(bits);

			if (!is_owned_process(number))
				continue;
			z.slave[number].restart = true;
			z.slave[number].due = 0;
			if (z.slave[number].pid)
				kill_number(number);
			else
				replace_or_end(number, shm_load(&far__member(number)->status));
		}
	}
}

bool far__process_stat(pid_t pid, char *text, size_t size)
{
	char path[32];

	snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
	far__read_text(path, text, size);
	char *end = strrchr(text, ')');	/* of its name */

	if (!end || end[1] != ' ')
		return false;
	memmove(text, end + 2, strlen(end + 2) + 1);
	return true;
}

/* Whether a process has executed a program since it was forked. Of a zombie the kernel knows it too. */
static bool has_executed(pid_t pid)
{
	char text[512];
	unsigned flags = FAR_NOT_EXECUTED;

	return far__process_stat(pid, text, sizeof text) && sscanf(text, "%*c %*d %*d %*d %*d %*d %u", &flags) == 1 &&
	       !(flags & FAR_NOT_EXECUTED);
}

/* Somebody may have executed a program. Look at all, but spend a small part of the time on it. */
static void look_for_executed(void)
{
	uint64_t start = far__now();

	for (unsigned n = 1; n <= z.highest; n++) {
		if (!z.slave[n].pid || shm_load(&far__member(n)->owner) == FAR_NOBODY || !has_executed(z.slave[n].pid))
			continue;
		kill_number(n);		/* reap() finds out why */
	}
	z.look_after = far__now() + 10 * (far__now() - start) + 1000000;
	z.look = false;
}

/* A slave has ended: FAR_STATUS_NO_MEMORY if it got SIGKILL from the kernel, or 0. */
static int killed_for_memory(unsigned number, int status)
{
	return status == SIGKILL && shm_load(&far__member(number)->verdict) == FAR_BY_OTHERS && far__oom_has_killed()
		       ? FAR_STATUS_NO_MEMORY
		       : 0;
}

static void bury(unsigned number, int status)
{
	struct far__family *family = far__family();
	struct far__member *m = far__member(number);
	uint32_t owner = shm_load(&m->owner);

	z.slave[number].pid = 0;
	far__will_forget(will_of(number));
	give_window(shm_load(&m->window));
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
	replace_or_end(number, (uint32_t)status);
}

/* ------------------------------------------------------------ deadlines */

/* Look at the notices that calls of a slave were given: why it is to be killed, if it is; or else when to look again. */
static enum far__verdict read_notices(unsigned number, uint64_t now, uint64_t *next)
{
	struct rings r = rings_of(number);
	const struct far__ring *ring;

	while ((ring = next_ring(&r))) {
		uint64_t *notice = &r.lane.head->notice[r.kind], given = shm_load64(notice);

		if (!given)
			continue;
		if (!far__ring_is_asked(ring, far__notice_position(given))) {
			shm_cas64(notice, given, 0);	/* it has ended */
			continue;
		}
		int32_t left = far__notice_left(given, now);

		if (left <= 0)
			return far__notice_is_late(given) ? FAR_BY_DEADLINE : FAR_BY_CANCEL;
		uint64_t when = (now / 1000000 + (uint64_t)left) * 1000000;

		if (when < *next)
			*next = when;
	}
	return FAR_BY_OTHERS;
}

/* Why the slave is to be killed at this time, if it is; or else when to look again, or FAR_FOREVER. */
static enum far__verdict judge(unsigned number, uint64_t now, uint64_t *next)
{
	const struct far__segment *segment = far__space_segment(number);
	uint64_t deadline = shm_load64(&segment->deadline);

	*next = deadline ? deadline : FAR_FOREVER;
	if (deadline && deadline <= now)
		return FAR_BY_DEADLINE;
	return read_notices(number, now, next);
}

/*
 * Kill it for the call that it runs, and not when it has just gone on to the next.
 * Once it is doomed it takes none: after the barrier either the end of the call in
 * question is seen here, or the slave sees that it is doomed behind that.
 */
static bool kill_if_guilty(unsigned number, uint64_t now, uint64_t *next)
{
	struct far__segment *segment = far__space_segment(number);

	if (judge(number, now, next) == FAR_BY_OTHERS)
		return false;
	shm_store(&segment->doomed, 1);
	far__park_barrier();	/* partner: await_judgement() in the slave, before each call */
	enum far__verdict verdict = judge(number, now, next);

	if (verdict == FAR_BY_OTHERS) {
		shm_store(&segment->doomed, 0);
		return false;
	}
	shm_cas(&far__member(number)->verdict, FAR_BY_OTHERS, verdict);
	kill_number(number);
	return true;
}

/* Start a slave whose time has come. */
static uint64_t check_due(unsigned number, uint64_t now)
{
	if (!z.slave[number].due || z.slave[number].due > now)
		return z.slave[number].due ? z.slave[number].due : FAR_FOREVER;
	z.slave[number].due = 0;
	if (start(number, true))
		far__member_dead(number, shm_load(&far__member(number)->status));
	return FAR_FOREVER;
}

/* Kill a slave whose time is over; and when to look again, or FAR_FOREVER. */
static uint64_t check_slave(unsigned number, uint64_t now)
{
	uint64_t next;

	return kill_if_guilty(number, now, &next) ? FAR_FOREVER : next;
}

/* Give some of what the far heap keeps back, if it is time; and when to do more, or FAR_FOREVER. */
static uint64_t check_heap(uint64_t now)
{
	enum { BREATH = 1000000 };	/* ns, for who has something else to be done */
	uint64_t when = shm_load64(&far__family()->trim);

	if (!when || when > now)
		return when ? when : FAR_FOREVER;
	if (far__heap_trim())
		return now + BREATH;
	/* Who has more asks anew, after this or before the look. */
	shm_cas64(&far__family()->trim, when, 0);
	return FAR_FOREVER;
}

/* The time has come that somebody asked to be woken for. */
static void check_deadlines(void)
{
	uint64_t now = far__now(), next;

	/* Who sets a deadline from now on sees 0, or we see the deadline. */
	shm_store64(&far__family()->watch, 0);
	shm_fence();	/* partner: far__zygote_watch() */
	next = check_heap(now);
	for (unsigned n = 1; n <= z.highest; n++) {
		uint64_t when = z.slave[n].pid ? check_slave(n, now) : check_due(n, now);

		if (when < next)
			next = when;
	}
	if (next != FAR_FOREVER)
		far__zygote_watch(next);
}

static void take_signals(void)
{
	struct signalfd_siginfo info[2];	/* each of the two is there once */
	long n = SYS(read, z.signals, info, sizeof info);
	bool io = false;

	for (long i = 0; i < n / (long)sizeof *info; i++)
		io |= info[i].ssi_signo == SIGIO;
	if (!io || z.look)
		return;
	uint64_t soon = far__now() + PAUSE;	/* of one that ends there will be nothing to look at by then */

	z.look = true;
	if (z.look_after < soon)
		z.look_after = soon;
}

static void reap(void)
{
	siginfo_t info;

	while (info.si_pid = 0, waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid) {
		int executed = has_executed(info.si_pid) ? FAR_STATUS_EXECUTED : 0, status;

		if (waitpid(info.si_pid, &status, 0) != info.si_pid)
			continue;
		for (unsigned n = 1; n <= z.highest; n++)
			if (z.slave[n].pid == info.si_pid)
				bury(n, status | executed | killed_for_memory(n, status));
	}
}

/* Hear when a slave has answered its first call: once, or at once if one has since this was looked at. */
static void listen_for_answers(void)
{
	uint32_t *answers = &far__family()->first_answers;

	if (z.wills >= 0)
		far__uring_listen(answers, shm_load(answers), FIRST_ANSWER);
}

/*
 * Some die: tell those who wait for them at once. What is left of them is seen to when they
 * are dead. Returns whether a slave has answered its first call.
 */
static bool read_wills(void)
{
	bool answered = false;

	for (unsigned number; (number = far__will_next());) {
		if (number == FIRST_ANSWER) {
			answered = true;
			listen_for_answers();
			continue;
		}
		uint32_t owner = shm_load(&far__member(number)->owner);
		pid_t pid = z.slave[number].pid;
		int status = pid && owner != FAR_NOBODY && owner != FAR_DOOMED && !z.slave[number].restart ? far__will_read(pid) : 0;

		if (status)
			far__member_dying(number, (uint32_t)(status | killed_for_memory(number, status)));
	}
	return answered;
}

static _Noreturn void end_family(void)
{
	for (unsigned n = 1; n <= z.highest; n++)
		if (z.slave[n].pid)
			kill(z.slave[n].pid, SIGKILL);
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
		{ .fd = z.wills, .events = POLLIN },
	};
	bool low = stock_is_low();

	for (;;) {
		uint64_t watch = shm_load64(&family->watch), now = far__now();

		if (watch && watch <= now) {
			check_deadlines();
			continue;
		}
		/* Who waits is served at once; the stock is filled up, one by one, when nothing has happened for a while. */
		while (add_to_stock(0))
			;
		uint64_t left = watch && (!(low || z.look) || watch - now < PAUSE) ? watch - now : low || z.look ? PAUSE : FAR_FOREVER;
		struct timespec pause = { (time_t)(left / 1000000000), (long)(left % 1000000000) };
		long n = SYS(ppoll, p, sizeof p / sizeof *p, left == FAR_FOREVER ? NULL : &pause, NULL, 0);

		if (n == 0 && low && left == PAUSE)
			low = add_to_stock(shm_load(&family->spares));
		if (p[0].revents || p[1].revents)
			end_family();
		if (p[2].revents) {
			uint64_t count;

			SYS(read, bell, &count, sizeof count);
			kill_wanted();
			restart_wanted();
			low = stock_is_low();
		}
		if (p[4].revents && read_wills())
			low = stock_is_low();
		if (p[3].revents) {
			take_signals();
			reap();
			low = stock_is_low();
		}
		if (z.look && far__now() >= z.look_after)
			look_for_executed();
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
	long sent;

	do
		sent = SYS(sendto, z.master_socket, &err, sizeof err, MSG_NOSIGNAL, NULL, 0);
	while (sent == -EINTR || sent == -ENOMEM || sent == -ENOBUFS);
	/* Who cannot be told sees the socket's end. */
	if (err || sent < 0)
		_exit(1);
}

/*
 * A group of its own is in a terminal's background: a slave that reads from it shall fail (EIO)
 * and not be stopped, for who called it would wait for ever.
 */
static void not_stopped_by_terminal(void)
{
	static const int signals[] = { SIGTTIN, SIGTTOU };
	struct sigaction now;

	for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
		if (sigaction(signals[i], NULL, &now) == 0 && now.sa_handler == SIG_DFL)
			sigaction(signals[i], &(struct sigaction){ .sa_handler = SIG_IGN }, NULL);
}

static _Noreturn void zygote(pid_t master, const sigset_t *mask)
{
	sigset_t child;

	/* A stopped zygote shall go on when the master ends. When but a thread of the master ends, no harm is done. */
	prctl(PR_SET_PDEATHSIG, SIGCONT);
	z.self = getpid();
	z.mask = *mask;
	z.master_fd = far__fd_above_stdio((int)SYS(pidfd_open, master, 0));
	if (getppid() != master)
		_exit(1);
	setpgid(0, 0);
	not_stopped_by_terminal();
	prctl(PR_SET_NAME, "farcall-zygote");
	/* A program that ignores it would have the kernel reap our slaves. */
	sigaction(SIGCHLD, &(struct sigaction){ .sa_handler = SIG_DFL }, &z.child);
	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	sigaddset(&child, SIGIO);
	/* The kernel's set is its first word. */
	z.signals = far__fd_above_stdio((int)SYS(signalfd4, -1, &child, sizeof(long), SFD_CLOEXEC | SFD_NONBLOCK));
	if (z.signals < 0)
		report(z.signals);
	/* Where that is refused the loop would not sleep. */
	long waits = SYS(ppoll, NULL, 0, &(struct timespec){ 0 }, NULL, 0);

	if (waits == -ENOSYS || waits == -EPERM || waits == -EACCES)
		report((int)waits);
	leave_a_will();
	z.wills = far__will_begin();
	listen_for_answers();
	shm_store(&far__family()->hears_answers, z.wills >= 0);
	far__now_the_zygote();
	far__crash_handle();
	report(0);
	far__space_seal();
	far__oom_begin();
	zygote_loop();
}

/* --------------------------------------------------------- in the master */

/* The zygote is dead, or so near to it that its will has been executed: leave no zombie. */
static void wait_for_zygote(int type, long id)
{
	siginfo_t info;

	while (SYS(waitid, type, id, &info, WEXITED | __WCLONE, NULL) == -EINTR)
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
	wait_for_zygote(P_PIDFD, zygote_fd);
	far__park_watch(-1, NULL, master_hears_of_death);
	far__slaves_gone();
	far__park_wake(&far__member(0)->arrivals);
	/* The kernel woke one sleeper; wake those that watch, too. */
	SYS(futex, &far__family()->life, FUTEX_WAKE, INT32_MAX);
}

/* Two connected sockets, neither of them 0, 1 or 2: 0 or -errno. */
static int make_lifeline(int end[2])
{
	int err = (int)SYS(socketpair, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, end);

	if (err)
		return err;
	for (int i = 0; i < 2; i++)
		end[i] = far__fd_above_stdio(end[i]);
	if (end[0] >= 0 && end[1] >= 0)
		return 0;
	err = end[0] < 0 ? end[0] : end[1];
	for (int i = 0; i < 2; i++)
		if (end[i] >= 0)
			SYS(close, end[i]);
	return err;
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
	err = make_lifeline(ends);
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
		z.master_socket = ends[1];
		zygote(master, &mask);
	}
	sigprocmask(SIG_SETMASK, &mask, NULL);
	SYS(close, ends[1]);
	err = (int)pid;
	if (pid < 0)
		goto no_zygote;
	zygote_fd = far__fd_above_stdio(pidfd);
	err = zygote_fd < 0 ? zygote_fd : hear_of_life(ends[0]);
	if (err)
		goto zygote_ended;
	lifeline = ends[0];
	far__park_watch(zygote_fd, &far__family()->life, master_hears_of_death);
	started = true;
	return 0;

zygote_ended:
	SYS(close, ends[0]);	/* so that it does end, if only we did not hear it */
	wait_for_zygote(P_PID, pid);
	if (zygote_fd >= 0)
		SYS(close, zygote_fd);
	zygote_fd = -1;
	goto no_socket;
no_zygote:
	SYS(close, ends[0]);
no_socket:
	SYS(close, bell);
	bell = -1;
	return err;
}

void far__zygote_forked(void)
{
	if (lifeline >= 0)
		SYS(close, lifeline);
	lifeline = -1;
}

bool far__zygote_has_died(void)
{
	return shm_load(&far__family()->life) & FUTEX_OWNER_DIED;
}

bool far__zygote_is_parent(void)
{
	return z.self && !far__self;
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

/* The program may have closed it, and have a file there now: an anonymous inode, as an eventfd's, has no type. */
static bool has_bell(void)
{
	struct stat st;
	long err = SYS(fstat, bell, &st);

	return err ? err != -EBADF : !(st.st_mode & S_IFMT);
}

static void ring(void)
{
	uint64_t one = 1;

	if (!has_bell())
		return;
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
	uint32_t refusals, made;
};

static bool arrived(void *arg)
{
	const struct arrival *a = arg;

	return in_stock() || shm_load(&far__family()->refusals) != a->refusals ||
	       shm_load(&far__family()->made) != a->made || gone;
}

unsigned far__zygote_take(int *err)
{
	struct far__family *family = far__family();

	for (;;) {
		struct arrival a = { shm_load(&family->refusals), shm_load(&family->made) };
		/* Slaves that died with it may still be in stock. */
		unsigned number = far__zygote_alive() ? take_from_stock() : 0;

		/* Look again: whoever heard of the zygote's death meanwhile may have looked for our slaves before. */
		if (number && far__zygote_alive())
			return number;	/* the stock is its owner's to have filled up: see_to_stock() in port.c */
		if (!far__zygote_alive()) {
			*err = -EOWNERDEAD;
			return 0;
		}
		shm_add(&far__member(far__self)->waiting, 1);
		ring();
		far__thread_known();
		far__park_sleep(&far__member(far__self)->arrivals, arrived, &a, FAR_FOREVER);
		shm_add(&far__member(far__self)->waiting, -1u);
		if (!in_stock() && shm_load(&family->refusals) != a.refusals) {
			*err = -(int)shm_load(&family->refusal);
			return 0;
		}
	}
}

void far__zygote_refill(void)
{
	if (stock_is_low())
		ring();
}

/* By a futex alone: the bell it may have closed, and to write to be denied it. */
void far__zygote_first_answer(void)
{
	struct far__family *family = far__family();

	if (!stock_is_low())
		return;
	shm_add(&family->first_answers, 1);
	SYS(futex, &family->first_answers, FUTEX_WAKE, 1);
}

void far__zygote_kill(unsigned number)
{
	shm_or(&far__family()->kill[number / 32], 1u << number % 32);
	ring();
}

void far__zygote_restart(unsigned number)
{
	shm_or(&far__family()->restart[number / 32], 1u << number % 32);
	ring();
}

void far__zygote_watch(uint64_t deadline)
{
	struct far__family *family = far__family();
	uint64_t watch;

	shm_fence();	/* partner: check_deadlines(), which looks at what the caller has stored */
	do {
		watch = shm_load64(&family->watch);
		if (watch && watch <= deadline)
			return;
	} while (!shm_cas64(&family->watch, watch, deadline));
	ring();
}

bool far__zygote_trim_soon(void)
{
	enum { SOON = 1000000000 };	/* ns */
	uint64_t when = far__now() + SOON;

	if (!far__self && (!started || gone))
		return false;
	shm_store64(&far__family()->trim, when);
	far__zygote_watch(when);
	return true;
}
