/*
 * What a dead slave process left, read by its owner: copied out of the segment,
 * checked, and put into words.
 *
 * Errors name a report by its number, so that they may be copied freely, and the
 * errors of all calls that one crash has cost share one report. The last few are
 * kept.
 */
#include "crash.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include "heap.h"
#include "internal.h"
#include "sys.h"

enum { KEPT = 32 };

static struct {
	pthread_mutex_t lock;
	struct far__report *report[KEPT];
	uint64_t last;			/* the number last given */
} reports = { .lock = PTHREAD_MUTEX_INITIALIZER };

void far__reports_forked(void)
{
	pthread_mutex_init(&reports.lock, NULL);
}

/* --------------------------------------------------------------- taking */

/* Copy words that the slave may still be writing: any value may come of it, but each is read once. */
static void copy_out(void *to, const void *from, size_t size)
{
	shm_copy_out(to, from, size / sizeof(uint64_t));
}

/* The lengths of the parts add up to something that fits: how much that is, or 0. */
static size_t size_of_parts(const struct far__record *r)
{
	const uint64_t length[] = { r->stack_length, r->outer_length, r->text_length, r->maps_length };
	size_t sum = 0;

	for (int i = 0; i < 4; i++) {
		if (length[i] > FAR_CRASH_SIZE)
			return 0;
		sum += far__padded(length[i]);
	}
	return sum <= FAR_CRASH_SIZE - sizeof *r ? sum : 0;
}

/* Of an incarnation before it there may be one, too. */
static struct far__report *copy_report(const struct far__segment *segment, uint32_t pid)
{
	struct far__facts facts;
	struct far__record record = { 0 };
	const char *base = (const char *)segment + FAR_CRASH_AT;
	size_t parts = 0;

	/* Pairs with the handler's stores. */
	uint64_t stage = shm_load64(&((const struct far__facts *)segment->crash)->stage);

	if (stage == FAR_CRASH_NONE)
		return NULL;
	copy_out(&facts, segment->crash, sizeof facts);
	if (facts.pid != pid)
		return NULL;
	if (stage == FAR_CRASH_WHOLE) {
		copy_out(&record, base, sizeof record);
		parts = size_of_parts(&record);
	}
	struct far__report *report = calloc(1, sizeof *report + parts + 1);

	if (!report)
		return NULL;
	report->facts = facts;
	if (!parts)
		return report;
	report->whole = true;
	report->record = record;
	copy_out(report->data, base + sizeof record, parts);
	return report;
}

void far__report_point(struct far__report *report)
{
	const char *p = report->data;

	if (!report->whole)
		return;
	report->stack = p;
	p += far__padded(report->record.stack_length);
	report->outer = p;
	p += far__padded(report->record.outer_length);
	report->text = p;
	p += far__padded(report->record.text_length);
	report->maps = p;
}

bool far__report_mapping(const struct far__report *report, size_t *at, struct far__mapping *mapping, char *name, size_t room)
{
	size_t length = report->whole ? report->record.maps_length : 0;

	if (*at >= length || length - *at < sizeof *mapping)
		return false;
	memcpy(mapping, report->maps + *at, sizeof *mapping);
	*at += sizeof *mapping;
	if (mapping->name_length > length - *at)
		return false;
	snprintf(name, room, "%.*s", (int)mapping->name_length, report->maps + *at);
	*at += far__padded(mapping->name_length);
	return true;
}

uint64_t far__report_take(const struct far__slave *slave, uint32_t pid)
{
	uintptr_t handle = far__member_handle(slave->number);
	uint64_t id = 0;

	if (slave->kind != FAR_PROCESS)
		return 0;
	pthread_mutex_lock(&reports.lock);
	for (unsigned i = 0; i < KEPT && !id; i++)
		if (reports.report[i] && reports.report[i]->handle == handle && reports.report[i]->facts.pid == pid)
			id = reports.report[i]->id;
	struct far__report *report = id ? NULL : copy_report(slave->segment, pid);

	if (report) {
		struct far__report **place = &reports.report[++reports.last % KEPT];

		far__report_point(report);
		report->handle = handle;
		id = report->id = reports.last;
		free(*place);
		*place = report;
	}
	pthread_mutex_unlock(&reports.lock);
	return id;
}

struct far__report *far__report_copy(uint64_t id, size_t *size)
{
	struct far__report *copy = NULL;

	pthread_mutex_lock(&reports.lock);
	const struct far__report *report = id ? reports.report[id % KEPT] : NULL;

	if (report && report->id == id) {
		*size = sizeof *report + (report->whole ? size_of_parts(&report->record) : 0) + 1;
		copy = malloc(*size);
		if (copy) {
			memcpy(copy, report, *size);
			far__report_point(copy);
		}
	}
	pthread_mutex_unlock(&reports.lock);
	return copy;
}

/* ------------------------------------------------------------- in words */

void far__printable(char *to, size_t room, const char *from, size_t length)
{
	static const char digits[] = "0123456789abcdef";
	size_t used = 0;

	for (size_t i = 0; i < length && from[i]; i++) {
		unsigned char c = (unsigned char)from[i];

		if (used + 5 > room)
			break;
		if (c >= ' ' && c < 127) {
			to[used++] = (char)c;
		} else if (c == '\n' || c == '\t') {
			to[used++] = ' ';
		} else {
			to[used++] = '\\';
			to[used++] = 'x';
			to[used++] = digits[c >> 4];
			to[used++] = digits[c & 15];
		}
	}
	while (used && to[used - 1] == ' ')
		used--;
	to[used] = 0;
}

/* What the slave had mapped at the address of the fault. */
struct mapping {
	bool known;		/* there was something */
	uint32_t access;
	char name[256];
};

static struct mapping mapping_of(const struct far__report *r)
{
	struct mapping found = { 0 };
	struct far__mapping m;
	char name[400];

	for (size_t at = 0; far__report_mapping(r, &at, &m, name, sizeof name);) {
		if (r->facts.address < m.start || r->facts.address >= m.end)
			continue;
		found.known = true;
		found.access = m.access & (FAR_READABLE | FAR_WRITABLE | FAR_EXECUTABLE);
		char *deleted = strstr(name, " (deleted)");

		if (deleted)
			*deleted = 0;
		far__printable(found.name, sizeof found.name, name, strlen(name));
		break;
	}
	return found;
}

enum { READING, WRITING, EXECUTING };

#define NEAR_NULL	65536ul		/* so far from NULL, on either side, NULL was meant */

/* What a page fault's error code says. */
static int access_of(const struct far__facts *f)
{
	return f->access & 16 ? EXECUTING : f->access & 2 ? WRITING : READING;
}

static bool is_canonical(uint64_t p)
{
	return p < 1ul << 47 || p >= -(1ul << 47);
}

/* A stack that the slave's serving thread, or another one, has used up. */
static bool has_overflown(const struct far__facts *f, const struct mapping *m)
{
	enum { NEAR = 65536 };
	uint64_t distance = f->address > f->sp ? f->address - f->sp : f->sp - f->address;

	if (f->other_thread)
		return m->known && !m->access && distance < NEAR;
	/* A big alloca() jumps over the guard: sp is where no stack is, and the fault near it. */
	return f->address < f->stack_low && (f->stack_low - f->address <= NEAR || (f->sp < f->stack_low && distance < NEAR));
}

/* The slave process whose private memory lies there: its number, or 0 if there is none any more. */
static unsigned slave_in_window(unsigned window)
{
	for (unsigned n = 1; n < far__space.slaves; n++) {
		const struct far__member *m = far__member(n);

		if (!far__is_dead(n) && shm_load(&m->pid) && shm_load(&m->window) == window)
			return n;
	}
	return 0;
}

static void describe_window(unsigned window, char *to, size_t room)
{
	unsigned number = slave_in_window(window);
	const struct far__slave *slave = number ? far__slave_by_number(number) : NULL;

	if (!number)
		snprintf(to, room, "the memory of a slave process that has ended");
	else if (slave && slave->handle)
		snprintf(to, room, "the memory of another slave process, \"%s\"", slave->name);
	else
		snprintf(to, room, "the memory of another slave process");
}

/* The address of a fault: what is there, or might be meant. */
static void describe_address(const struct far__report *r, char *to, size_t room)
{
	const struct far__facts *f = &r->facts;
	const void *p = (const void *)(uintptr_t)f->address;
	int window = far__space_window(p);
	struct mapping m = mapping_of(r);

	if (f->address == 0)
		snprintf(to, room, "NULL");
	else if (f->address < NEAR_NULL)
		snprintf(to, room, "NULL plus %llu", (unsigned long long)f->address);
	else if (f->address > -NEAR_NULL)
		snprintf(to, room, "NULL minus %llu", -(unsigned long long)f->address);
	else if (!is_canonical(f->address) || f->address >> 63)
		snprintf(to, room, "an address that no process has");
	else if (has_overflown(f, &m) && f->other_thread)
		snprintf(to, room, "beyond the end of the stack: stack overflow");
	else if (has_overflown(f, &m))
		snprintf(to, room, "beyond the end of the stack: stack overflow (it had %llu KiB)",
			 (unsigned long long)(f->stack_high - f->stack_low) >> 10);
	else if (far__space_in_heap(p))
		snprintf(to, room, "the far heap, %s", far__heap_holds(p) ? "a block" : "where no block is: it was freed, or never allocated");
	else if (far__space_in_control(p))
		snprintf(to, room, "farcall's own shared memory");
	else if (window >= 0 && (unsigned)window != f->window)
		describe_window((unsigned)window, to, room);
	else if (m.access && *m.name)
		snprintf(to, room, "%s of %s%s", m.access & FAR_EXECUTABLE ? "the code" : m.access & FAR_WRITABLE ? "the data" : "a constant",
			 basename(m.name), access_of(f) == WRITING ? ", which cannot be written to" : "");
	else if (m.access)
		snprintf(to, room, "its own memory, which it may not %s",
			 access_of(f) == WRITING ? "write to" : access_of(f) == EXECUTING ? "execute" : "read");
	else if (window >= 0)
		snprintf(to, room, "its own memory, where nothing is%s", m.known ? " accessible" : " (freed, or beyond a block's end)");
	else {
		const char *here = far__image_describe(p);

		if (!strcmp(here, "no memory at all"))
			snprintf(to, room, "where nothing is");
		else
			snprintf(to, room, "in the master %s: private memory, passed without far_in()?", here);
	}
}

enum { ORDINARY, PRIVILEGED, VECTOR };

/* What kind of instruction is at @pc: it is the same here, if it is common code. */
static int instruction_at(uint64_t pc)
{
	unsigned char code[16] = { 0 }, *p = code;
	struct iovec here = { code, sizeof code - 1 }, there = { (void *)(uintptr_t)pc, sizeof code - 1 };

	if (!far__image_is_common((const void *)(uintptr_t)pc) || far__space_window((const void *)(uintptr_t)pc) >= 0 ||
	    SYS(process_vm_readv, getpid(), &here, 1, &there, 1, 0) <= 0)
		return ORDINARY;
	/* Prefixes; then hlt, cli, sti, in, out and ins, outs; or the two-byte codes of movaps and its kin, and of the kernel's own. */
	while (*p == 0x66 || *p == 0xf2 || *p == 0xf3 || (*p & 0xf0) == 0x40)
		p++;
	if (*p == 0xf4 || *p == 0xfa || *p == 0xfb || (*p & 0xf4) == 0xe4 || (*p & 0xfc) == 0x6c)
		return PRIVILEGED;
	if (*p == 0xc5 || *p == 0xc4 || *p == 0x62)
		return VECTOR;
	if (*p != 0x0f)
		return ORDINARY;
	if (p[1] == 0x28 || p[1] == 0x29 || p[1] == 0x2b || p[1] == 0xe7 || p[1] == 0x6f || p[1] == 0x7f ||
	    (p[1] >= 0x51 && p[1] <= 0x76) || p[1] >= 0xd0)
		return VECTOR;
	return p[1] <= 0x01 || p[1] == 0x06 || p[1] == 0x08 || p[1] == 0x09 || (p[1] & 0xfc) == 0x20 || p[1] == 0x30 || p[1] == 0x32
		? PRIVILEGED : ORDINARY;
}

/* The processor refuses an instruction, and does not say why: tell what can be told. */
static const char *words_for_refusal(const struct far__report *r)
{
	bool odd = false;	/* an address outside of the 47 bits, in some register */
	int kind = instruction_at(r->facts.pc);

	for (int i = 0; i < REG_RIP && r->whole; i++)
		odd |= !is_canonical(r->record.reg[i]);
	if (kind == PRIVILEGED)
		return "an instruction for the kernel alone";
	if (kind == VECTOR && !odd)
		return "using a vector that is not aligned";
	return kind == VECTOR ? "using an address that cannot exist, or a vector that is not aligned"
			      : "using an address that cannot exist";
}

enum { GENERAL_PROTECTION = 13 };	/* a trap that does not tell the address */

static bool is_access_at_null(const struct far__facts *f)
{
	return f->signal == SIGSEGV && (int64_t)f->code > 0 && f->access >> 32 != GENERAL_PROTECTION &&
	       (f->address < NEAR_NULL || f->address > -NEAR_NULL);
}

static void describe_segv(const struct far__report *r, char *to, size_t room)
{
	const struct far__facts *f = &r->facts;
	static const char *const verb[] = { "reading", "writing", "executing" };
	char what[300];

	if (f->access >> 32 == GENERAL_PROTECTION) {
		snprintf(to, room, "%s", words_for_refusal(r));
		return;
	}
	describe_address(r, what, sizeof what);
	snprintf(to, room, "%s %s (%#llx)", access_of(f) == EXECUTING && f->address < NEAR_NULL ? "calling" : verb[access_of(f)], what,
		 (unsigned long long)f->address);
}

static void describe_bus(const struct far__report *r, char *to, size_t room)
{
	const struct far__facts *f = &r->facts;
	const void *p = (const void *)(uintptr_t)f->address;
	struct mapping m = mapping_of(r);

	switch ((int)f->code) {
	case BUS_ADRALN:
		snprintf(to, room, "at an address that is not aligned (%#llx)", (unsigned long long)f->address);
		break;
	case BUS_ADRERR:
		if (far__space_in_heap(p) || far__space_in_control(p))
			snprintf(to, room, "shared memory is full (%#llx)", (unsigned long long)f->address);
		else
			snprintf(to, room, "beyond the end of a mapped file%s%s (%#llx)", *m.name ? ", " : "", basename(m.name),
				 (unsigned long long)f->address);
		break;
	case BUS_MCEERR_AR:
	case BUS_MCEERR_AO:
		snprintf(to, room, "the machine's memory is broken (%#llx)", (unsigned long long)f->address);
		break;
	default:
		snprintf(to, room, "at an address that cannot be used (%#llx)", (unsigned long long)f->address);
	}
}

static const char *words_for_code(int signal, int code)
{
	switch (signal) {
	case SIGFPE:
		switch (code) {
		case FPE_INTDIV: return "an integer division by zero, or with a quotient that is too large";
		case FPE_INTOVF: return "an integer overflow";
		case FPE_FLTDIV: return "a floating-point division by zero";
		case FPE_FLTOVF: return "a floating-point overflow";
		case FPE_FLTUND: return "a floating-point underflow";
		case FPE_FLTRES: return "an inexact floating-point result";
		case FPE_FLTINV: return "an invalid floating-point operation";
		}
		return "an arithmetic error";
	case SIGILL:
		return code == ILL_PRVOPC || code == ILL_PRVREG ? "an instruction for the kernel alone"
			: "an instruction that does not exist (ud2 stands for what cannot be reached, and for __builtin_trap())";
	case SIGTRAP:
		return code == TRAP_TRACE ? "a single step, with no debugger" : "a breakpoint (int3), with no debugger";
	}
	return "";
}

/*
 * What a limit made fail, when nobody looked at the result: an abort(), or an access
 * at NULL, where malloc() or fopen() gave it. Names the limits that may be behind it.
 */
static void describe_limits(const struct far__report *r, const struct far__slave *slave, char *to, size_t room)
{
	const struct far__facts *f = &r->facts;
	uint64_t memory = slave->order[FAR_MEMORY_LIMIT], files = slave->order[FAR_FILE_LIMIT];
	unsigned shift = memory < 16ul << 20 ? 10 : 20;

	*to = 0;
	if (f->signal != SIGABRT && !is_access_at_null(f))
		return;
	if (r->record.no_descriptors && files)
		snprintf(to, room, "; all descriptors of its .file_limit (%llu) are in use", (unsigned long long)files);
	else if (r->record.no_descriptors)
		snprintf(to, room, "; all descriptors that it may have are in use");
	else if (memory)
		snprintf(to, room, "; it used %llu of the %llu %s of its .memory_limit", (unsigned long long)f->data >> shift,
			 (unsigned long long)memory >> shift, shift == 10 ? "KiB" : "MiB");
}

/* What the crash was, in words. */
static void describe(const struct far__report *r, char *to, size_t room)
{
	const struct far__facts *f = &r->facts;
	int code = (int)f->code;
	char text[300];

	*text = 0;
	if (r->whole)
		far__printable(text, sizeof text, r->text, r->record.text_length);
	if (f->signal == SIGABRT && *text)
		snprintf(to, room, "%s", text);
	else if (code <= 0 && f->sender == f->pid)
		snprintf(to, room, "%s", f->signal == SIGABRT ? "abort() was called" : "it sent the signal to itself");
	else if (code <= 0)
		snprintf(to, room, "sent by process %llu", (unsigned long long)f->sender);
	else if (f->signal == SIGSEGV)
		describe_segv(r, to, room);
	else if (f->signal == SIGBUS)
		describe_bus(r, to, room);
	else if (f->signal == SIGSYS)
		snprintf(to, room, "a seccomp filter forbids system call %d", (int)f->sender);
	else
		snprintf(to, room, "%s", words_for_code((int)f->signal, code));
}

static bool is_crash(int signal)
{
	return signal == SIGSEGV || signal == SIGBUS || signal == SIGILL || signal == SIGFPE || signal == SIGABRT ||
	       signal == SIGTRAP || signal == SIGSYS;
}

static const char *abbreviation_of(int signal)
{
	const char *a = sigabbrev_np(signal);

	return a ? a : "?";
}

static void explain_crash(struct far_error *e, const struct far__site *site, const struct far__slave *slave,
			  const struct far__report *r)
{
	const struct far__facts *f = &r->facts;
	char what[sizeof e->message], limits[100];

	describe(r, what, sizeof what);
	describe_limits(r, slave, limits, sizeof limits);
	far__error_fill(e, FAR_ECRASHED, EOWNERDEAD, site->function, site, "slave process \"%s\" crashed: SIG%s%s, %s%s", slave->name,
			abbreviation_of((int)f->signal), f->other_thread ? " in another thread" : "", what, limits);
	e->signal = (int)f->signal;
	e->signal_code = (int)f->code;
	e->address = (void *)(uintptr_t)f->address;
	e->pc = (void *)(uintptr_t)f->pc;
	e->far__report = r->id;
}

/* Why a slave was killed by a signal that is no crash. */
static void describe_kill(const struct far__slave *slave, int status, char *to, size_t room)
{
	int signal = WTERMSIG(status);
	unsigned long long seconds = slave->order[FAR_CPU_LIMIT];

	if ((unsigned)status & FAR_STATUS_NO_MEMORY)
		snprintf(to, room, "out of memory, it seems: the out-of-memory killer has been at work");
	else if (signal == SIGXCPU && seconds)
		snprintf(to, room, "its .cpu_limit of %llu s", seconds);
	else
		snprintf(to, room, "%s", signal == SIGXCPU ? "its limit of CPU time"
			 : signal == SIGXFSZ ? "its limit of file size" : strsignal(signal));
}

static void explain_status(struct far_error *e, const struct far__site *site, const struct far__slave *slave, int status)
{
	int signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
	const char *name = slave->name;
	char why[100];

	if ((unsigned)status & FAR_STATUS_EXECUTED) {
		far__error_fill(e, FAR_EDIED, EOWNERDEAD, site->function, site,
				"slave process \"%s\" executed another program, and so is no slave any more", name);
	} else if (is_crash(signal)) {
		far__error_fill(e, FAR_ECRASHED, EOWNERDEAD, site->function, site,
				"slave process \"%s\" crashed: SIG%s (%s), which it could not report", name,
				abbreviation_of(signal), strsignal(signal));
		e->signal = signal;
	} else if (signal) {
		describe_kill(slave, status, why, sizeof why);
		far__error_fill(e, FAR_EKILLED, EOWNERDEAD, site->function, site,
				"slave process \"%s\" was killed by SIG%s (%s)", name, abbreviation_of(signal), why);
		e->signal = signal;
	} else {
		far__error_fill(e, FAR_EEXITED, EOWNERDEAD, site->function, site,
				"slave process \"%s\" exited with status %d", name, WEXITSTATUS(status));
		e->status = WEXITSTATUS(status);
	}
}

/* We killed it ourselves, and know what for. */
static void explain_verdict(struct far_error *e, const struct far__site *site, const struct far__slave *slave, int status,
			    uint32_t verdict)
{
	static const struct { int code; const char *words; } why[] = {
		[FAR_BY_DEADLINE] = { FAR_EDEADLINE, "killed, for it ran a call whose deadline had passed" },
		[FAR_BY_CANCEL] = { FAR_ECANCELLED, "killed, for it ran a call that was cancelled" },
		[FAR_BY_RESTART] = { FAR_EDIED, "restarted" },
	};

	int code = why[verdict & ~(uint32_t)FAR_BYSTANDER].code;

	/* Of a call that waited behind the one in question it is a death like another. */
	if (verdict & FAR_BYSTANDER && code != FAR_EDIED)
		code = FAR_EKILLED;
	far__error_fill(e, code, EOWNERDEAD, site->function, site, "slave process \"%s\" was %s", slave->name,
			why[verdict & ~(uint32_t)FAR_BYSTANDER].words);
	e->signal = WTERMSIG(status);
}

void far__explain_death(struct far_error *e, const struct far__site *site, const struct far__slave *slave, int status,
			uint32_t verdict, uint64_t id)
{
	uint32_t by = verdict & ~(uint32_t)FAR_BYSTANDER;
	size_t size;
	struct far__report *report = far__report_copy(id, &size);

	if (report && report->facts.how == FAR_BY_SIGNAL && is_crash((int)report->facts.signal))
		explain_crash(e, site, slave, report);
	else if (report && report->facts.how == FAR_BY_THREAD_EXIT && !WIFSIGNALED(status))
		far__error_fill(e, FAR_EDIED, EOWNERDEAD, site->function, site,
				"the thread of slave process \"%s\" that ran it ended (pthread_exit?)", slave->name);
	else if (report && report->facts.how == FAR_BY_JUMP && !WIFSIGNALED(status))
		far__error_fill(e, FAR_EDIED, EOWNERDEAD, site->function, site,
				"a function in slave process \"%s\" was left by longjmp(), out of its call", slave->name);
	else if (by > FAR_BY_OTHERS && by <= FAR_BY_RESTART && WIFSIGNALED(status))
		explain_verdict(e, site, slave, status, verdict);
	else
		explain_status(e, site, slave, status);
	free(report);
}
