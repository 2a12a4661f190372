/*
 * In a slave process that crashes: write down what there is to know, tell those
 * who wait, and die of the same signal.
 *
 * A handler may interrupt anything, malloc() with its lock held too. So it calls
 * nothing but system calls, reads what may be broken by process_vm_readv(), and
 * finds no symbols: the master has that done elsewhere (trace.c).
 *
 * The master hears of the crash from the handler, before the kernel takes the
 * slave's memory apart, which takes milliseconds when there is much. From then on
 * it may reuse what the slave's calls were given. So if the slave has other
 * threads, which run on until its death, nothing is said before that.
 */
#include "crash.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <ucontext.h>
#include <unistd.h>

#include "internal.h"
#include "sys.h"

enum { YIELDS = 16 };

#define PAGE		4096ul

_Static_assert((int)FAR_CRASH_REGISTERS == (int)NGREG, "the general registers are copied whole");

/* Of SIGXCPU and SIGXFSZ, which limits send, the wait status tells all. */
static const int crashes[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP, SIGSYS };

/* glibc's last words. Nobody but glibc may use them, and it has them for debuggers. */
struct abort_message {
	unsigned int size;
	char text[];
};
static struct abort_message **abort_message;
static size_t least_stack = 16384;
static struct rlimit cores;

/* This slave process. */
static struct {
	pid_t pid;
	unsigned number;
	struct far__segment *segment;
	uintptr_t stack_low, stack_high;
	long data;			/* what data_size() was when a limit was set, or 0 */
	_Atomic pid_t crashing;		/* the thread that is in the handler */
} me;

void far__crash_prepare(void)
{
	unsigned long frame = getauxval(AT_MINSIGSTKSZ);	/* what the kernel pushes: AVX-512 and AMX are large */

	abort_message = (struct abort_message **)dlvsym(RTLD_DEFAULT, "__abort_msg", "GLIBC_PRIVATE");
	least_stack = ((frame > 2048 ? frame : 2048) + 16384 + PAGE - 1) & -PAGE;
}

/* ------------------------------------------------------------- the record */

/* Where the record grows: what is behind @committed has no pages yet. */
struct writer {
	char *base;
	size_t used, committed;
	bool full;
};

/* Room for @length bytes more; NULL if there is no memory. */
static char *room(struct writer *w, size_t length)
{
	size_t end = w->used + far__padded(length);

	if (w->full || end > FAR_CRASH_SIZE)
		return NULL;
	if (end > w->committed) {
		size_t more = (end - w->committed + PAGE - 1) & -PAGE;

		/* By address: descriptors may be closed, or others by now. A file system that is full is no signal so. */
		if (SYS(madvise, w->base + w->committed, more, MADV_POPULATE_WRITE)) {
			w->full = true;
			return NULL;
		}
		w->committed += more;
	}
	return w->base + w->used;
}

/* Copy what may not be there: how much was. */
static size_t copy(char *to, uintptr_t from, size_t length)
{
	size_t done = 0;

	while (done < length) {
		struct iovec here = { to + done, length - done }, there = { (void *)(from + done), length - done };
		long n = SYS(process_vm_readv, me.pid, &here, 1, &there, 1, 0);

		if (n <= 0)
			break;
		done += (size_t)n;
	}
	return done;
}

static size_t add_memory(struct writer *w, uintptr_t from, size_t length)
{
	char *to = room(w, length);
	size_t n = to ? copy(to, from, length) : 0;

	w->used += far__padded(n);
	return n;
}

static bool on_serving_stack(uintptr_t p)
{
	return p >= me.stack_low && p < me.stack_high;
}

static void add_stack(struct writer *w, struct far__record *r)
{
	uintptr_t sp = r->reg[REG_RSP], fp = r->reg[REG_RBP];

	/* It has overflown: begin where there is some, with the frame whose alloca() was too large if that can be. */
	if (!on_serving_stack(sp) && on_serving_stack(fp))
		sp = fp;
	else if (sp < me.stack_low && me.stack_low - sp < FAR_CRASH_STACK)
		sp = me.stack_low;
	bool mine = on_serving_stack(sp);
	/* Of another stack the end is not known: it is where reading ends. */
	size_t length = mine && me.stack_high - sp < FAR_CRASH_STACK ? me.stack_high - sp : FAR_CRASH_STACK;

	r->stack_at = sp;
	r->stack_length = add_memory(w, sp, length);
	uintptr_t end = sp + r->stack_length;

	if (!mine || end >= me.stack_high)
		return;
	r->outer_at = me.stack_high - end < FAR_CRASH_OUTER ? end : me.stack_high - FAR_CRASH_OUTER;
	r->outer_length = add_memory(w, r->outer_at, me.stack_high - r->outer_at);
}

static void add_text(struct writer *w, struct far__record *r)
{
	struct abort_message *message = NULL;

	if (!abort_message || copy((char *)&message, (uintptr_t)abort_message, sizeof message) != sizeof message || !message)
		return;
	char *to = room(w, FAR_CRASH_TEXT);
	size_t n = to ? copy(to, (uintptr_t)message->text, FAR_CRASH_TEXT) : 0;

	r->text_length = to ? strnlen(to, n) : 0;
	w->used += far__padded(r->text_length);
}

/* -------------------------------------------------------------- the maps */

enum { NAME_MAX_KEPT = 320 };	/* longer names are cut */

/* What is at the address of the fault, and what code there is: the rest is not kept. */
static void keep_map(struct writer *w, struct far__record *r, const struct far__mapping *m, const char *name, uintptr_t address)
{
	size_t length = sizeof *m + m->name_length;

	if (!(address >= m->start && address < m->end) && !(m->access & FAR_EXECUTABLE && m->name_length))
		return;
	char *to = room(w, length);

	if (!to)
		return;
	memcpy(to, m, sizeof *m);
	memcpy(to + sizeof *m, name, m->name_length);
	w->used += far__padded(length);
	r->maps_length += far__padded(length);
}

static uint64_t number(const char **p, unsigned base)
{
	uint64_t v = 0;

	for (;; ++*p) {
		unsigned digit = **p >= 'a' ? (unsigned)(**p - 'a') + 10 : (unsigned)(**p - '0');

		if (digit >= base)
			return v;
		v = v * base + digit;
	}
}

/* A line of /proc/self/maps, without its end: "start-end rwxp offset major:minor inode    name". */
static const char *parse_line(const char *line, struct far__mapping *m)
{
	*m = (struct far__mapping){ .start = number(&line, 16) };
	line += *line == '-';
	m->end = number(&line, 16);
	line += *line == ' ';
	for (; *line && *line != ' '; line++)
		m->access |= *line == 'r' ? FAR_READABLE : *line == 'w' ? FAR_WRITABLE : *line == 'x' ? FAR_EXECUTABLE : 0;
	line += *line == ' ';
	m->offset = number(&line, 16);
	line += *line == ' ';
	while (*line && *line != ' ')
		line++;
	line += *line == ' ';
	m->inode = number(&line, 10);
	while (*line == ' ')
		line++;
	m->name_length = (uint32_t)strlen(line);
	return line;
}

/* By reading them all. */
static void read_maps(int fd, struct writer *w, struct far__record *r, uintptr_t address)
{
	enum { READS_MAX = 1024, NUMBERS = 80 };
	char line[NUMBERS + NAME_MAX_KEPT], buffer[2048];
	struct far__mapping m;
	size_t length = 0;

	for (int i = 0; i < READS_MAX; i++) {
		long n = SYS(read, fd, buffer, sizeof buffer);

		if (n <= 0)
			break;
		for (long k = 0; k < n; k++) {
			if (buffer[k] == '\n') {
				line[length] = 0;
				length = 0;
				const char *name = parse_line(line, &m);

				keep_map(w, r, &m, name, address);
			} else if (length < sizeof line - 1) {
				line[length++] = buffer[k];
			}
		}
	}
}

/* PROCMAP_QUERY, which is in <linux/fs.h> since Linux 6.11: asks for one mapping. */
struct query {
	uint64_t size, flags, address;
	uint64_t start, end, access, page_size, offset, inode;
	uint32_t major, minor;
	uint32_t name_size, build_id_size;
	uint64_t name, build_id;
};

#define QUERY	_IOWR('f', 17, struct query)

enum { THIS_OR_NEXT = 16 };	/* beside enum far__access, in .flags */

/* 0, -ENOENT if there is none, or what keeps us from asking. */
static int ask_for_map(int fd, uint64_t flags, uintptr_t address, struct far__mapping *m, char *name, size_t room)
{
	struct query q = {
		.size = sizeof q, .flags = flags, .address = address, .name = (uintptr_t)name, .name_size = (uint32_t)room,
	};

	name[0] = 0;
	int err = (int)SYS(ioctl, fd, QUERY, &q);

	*m = (struct far__mapping){
		.start = q.start, .end = q.end, .offset = q.offset, .inode = q.inode,
		.access = (uint32_t)q.access, .name_length = (uint32_t)strlen(name),
	};
	return err;
}

/* By asking for each, which is several times as fast. False: it cannot be asked, or not be told. */
static bool ask_for_maps(int fd, struct writer *w, struct far__record *r, uintptr_t address)
{
	enum { MAPS_MAX = 4096 };
	char name[NAME_MAX_KEPT];
	struct far__mapping m;
	int err = ask_for_map(fd, 0, address, &m, name, sizeof name);
	bool code = !err && m.access & FAR_EXECUTABLE && m.name_length;	/* it is among those below */

	if (err && err != -ENOENT)
		return false;
	if (!err && !code)
		keep_map(w, r, &m, name, address);
	uintptr_t at = 0;

	for (int i = 0; i < MAPS_MAX; i++) {
		err = ask_for_map(fd, FAR_EXECUTABLE | THIS_OR_NEXT, at, &m, name, sizeof name);
		if (err)
			return err == -ENOENT;
		if (m.name_length)
			keep_map(w, r, &m, name, address);
		at = m.end;
	}
	return false;
}

/* What code there is, and what is at the address of the fault. */
static void add_maps(struct writer *w, struct far__record *r, uintptr_t address)
{
	size_t before = w->used;
	int fd = (int)SYS(openat, AT_FDCWD, "/proc/self/maps", O_RDONLY | O_CLOEXEC, 0);

	r->no_descriptors = fd == -EMFILE;
	if (fd < 0)
		return;
	if (!ask_for_maps(fd, w, r, address)) {
		w->used = before;
		r->maps_length = 0;
		read_maps(fd, w, r, address);
	}
	SYS(close, fd);
}

/* ------------------------------------------------------------ the handler */

/* Private writable memory, in bytes, or less than 0: what RLIMIT_DATA counts, and the first stack. */
static long data_size(void)
{
	enum { FIELD = 5 };
	char text[128];
	long size = 0;
	int fd = (int)SYS(openat, AT_FDCWD, "/proc/self/statm", O_RDONLY | O_CLOEXEC, 0);

	if (fd < 0)
		return fd;
	long n = SYS(read, fd, text, sizeof text);

	SYS(close, fd);
	for (long i = 0, field = 0; i < n && field <= FIELD; i++) {
		if (text[i] == ' ')
			field++;
		else if (field == FIELD)
			size = size * 10 + text[i] - '0';
	}
	return size * (long)PAGE;
}

static void write_facts(int signal, const siginfo_t *info, const ucontext_t *context)
{
	const greg_t *reg = context->uc_mcontext.gregs;
	long data = me.data > 0 ? data_size() : 0;
	struct far__facts f = {
		.stage = FAR_CRASH_NONE,
		.how = FAR_BY_SIGNAL,
		.signal = (uint64_t)signal,
		.code = (uint64_t)(int64_t)info->si_code,
		.pc = (uint64_t)reg[REG_RIP],
		.sp = (uint64_t)reg[REG_RSP],
		.access = ((uint64_t)reg[REG_ERR] & UINT32_MAX) | (uint64_t)reg[REG_TRAPNO] << 32,
		.pid = (uint64_t)me.pid,
		.other_thread = SYS(gettid, 0) != me.pid,
		.stack_low = me.stack_low,
		.stack_high = me.stack_high,
		.window = far__my_window,
		.data = data > me.data ? (uint64_t)(data - me.data) : 0,
	};

	if (info->si_code <= 0)
		f.sender = (uint64_t)info->si_pid;
	else if (signal == SIGSYS)
		f.sender = (uint64_t)info->si_syscall;
	else
		f.address = (uint64_t)(uintptr_t)info->si_addr;
	shm_copy_in(me.segment->crash, (const uint64_t *)&f, sizeof f / sizeof(uint64_t));
	shm_store64(&((struct far__facts *)me.segment->crash)->stage, FAR_CRASH_FACTS);
}

/* The frame pointer of the far__replay() that made the call, if it looks like one. */
static uintptr_t innermost_call(void)
{
	struct far__running running;
	struct far_frame frame;

	if (!far__thread.running || copy((char *)&running, (uintptr_t)far__thread.running, sizeof running) != sizeof running ||
	    copy((char *)&frame, (uintptr_t)running.frame, sizeof frame) != sizeof frame)
		return 0;
	return on_serving_stack((uintptr_t)frame.sp) ? (uintptr_t)frame.sp : 0;
}

static void write_record(const siginfo_t *info, const ucontext_t *context)
{
	struct writer w = { .base = (char *)me.segment + FAR_CRASH_AT };
	struct far__record r = { .called = innermost_call() };

	if (!room(&w, sizeof r))
		return;
	w.used = sizeof r;
	for (int i = 0; i < FAR_CRASH_REGISTERS; i++)
		r.reg[i] = (uint64_t)context->uc_mcontext.gregs[i];
	add_stack(&w, &r);
	add_text(&w, &r);
	add_maps(&w, &r, info->si_code > 0 ? (uintptr_t)info->si_addr : 0);
	shm_copy_in((uint64_t *)(void *)w.base, (const uint64_t *)&r, sizeof r / sizeof(uint64_t));
	/* Pairs with far__report_take(). */
	shm_store64(&((struct far__facts *)me.segment->crash)->stage, FAR_CRASH_WHOLE);
}

/* Nothing of this process runs on when this thread ends. */
static bool is_alone(void)
{
	struct stat st;
	/* In a process with one thread it does nothing, in others it is refused: unshare(2). A filter may refuse it, too. */
	long err = SYS(unshare, CLONE_THREAD);

	if (!err || err == -EINVAL)
		return !err;
	/* Slower. Two links are the folder's own. */
	return SYS(stat, "/proc/self/task", &st) == 0 && st.st_nlink == 3;
}

static _Noreturn void die_of(int signal)
{
	sigset_t set;

	sigaction(signal, &(struct sigaction){ .sa_handler = SIG_DFL }, NULL);
	long pid = SYS(getpid, 0), tid = SYS(gettid, 0);

	SYS(tgkill, pid, tid, signal);
	sigemptyset(&set);
	sigaddset(&set, signal);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	_exit(128 + signal);
}

/* All signals are blocked meanwhile: a fault in here kills at once, and leaves what has been said by then. */
static void handle(int signal, siginfo_t *info, void *context)
{
	pid_t nobody = 0;

	/* The zygote, or a child that the slave forked, is not our business. */
	if (!far__self || far__is_forked || SYS(getpid, 0) != me.pid)
		die_of(signal);
	if (!atomic_compare_exchange_strong(&me.crashing, &nobody, (pid_t)SYS(gettid, 0)))
		for (;;)
			SYS(ppoll, NULL, 0, NULL, NULL, 0);	/* another thread came first, and takes us with it */
	write_facts(signal, info, context);
	far__point("crash.facts");
	bool alone = is_alone();

	if (alone)
		far__member_crashes(me.number);
	write_record(info, context);
	far__point("crash.record");
	if (alone) {
		far__member_crashed(me.number);
		/*
		 * The kernel may have put who waits for it, or was woken, behind us: to take memory apart
		 * takes long, and is not interrupted. A spinning one has let us run many times, each of
		 * which puts it behind us once more.
		 */
		for (int i = 0; i < YIELDS; i++)
			SYS(sched_yield);
	}
	die_of(signal);
}

/* ----------------------------------------------------------------- setting up */

void far__crash_handle(void)
{
	struct sigaction ours = { .sa_sigaction = handle, .sa_flags = SA_SIGINFO | SA_ONSTACK }, old;

	sigfillset(&ours.sa_mask);
	for (size_t i = 0; i < sizeof crashes / sizeof *crashes; i++)
		if (sigaction(crashes[i], NULL, &old) == 0 && !(old.sa_flags & SA_SIGINFO) && old.sa_handler == SIG_DFL)
			sigaction(crashes[i], &ours, NULL);
	if (getrlimit(RLIMIT_CORE, &cores) == 0)
		setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, cores.rlim_max });
}

void far__crash_count_memory(void)
{
	me.data = data_size();
}

void far__crash_dump_cores(void)
{
	setrlimit(RLIMIT_CORE, &cores);
}

size_t far__crash_stack_size(void)
{
	return least_stack;
}

void far__crash_listen(unsigned number, void *alternate, const void *stack_low, const void *stack_high)
{
	stack_t stack = { .ss_sp = alternate, .ss_size = least_stack };

	me.pid = getpid();
	me.number = number;
	me.segment = far__space_segment(number);
	me.stack_low = (uintptr_t)stack_low;
	me.stack_high = (uintptr_t)stack_high;
	SYS(sigaltstack, &stack, NULL);
}

void far__crash_say(enum far__crash_how how)
{
	struct far__facts f = { .stage = FAR_CRASH_NONE, .how = how, .pid = (uint64_t)me.pid };

	shm_copy_in(me.segment->crash, (const uint64_t *)&f, sizeof f / sizeof(uint64_t));
	shm_store64(&((struct far__facts *)me.segment->crash)->stage, FAR_CRASH_FACTS);
}
