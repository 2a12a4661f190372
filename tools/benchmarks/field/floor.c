/*
 * The floors: what the machine itself takes to hand two integers to another core
 * and fetch one, with nothing around it; by a cache line that both sides watch,
 * or by the kernel's ways to wake a process: futex, eventfd, pipe, Unix socket.
 * "direct" and "ffi" call here, "memcpy" copies a buffer here.
 */
#include "contender.h"
#include "futex.h"

#include <errno.h>
#include <ffi.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

/* Shared by the two sides: one cache line, which goes there and back. */
static struct shared {
	_Alignas(128) atomic_uint asked;	/* counts calls; the other side waits for it */
	int32_t a, b;				/* the caller's to write before asked */
	atomic_uint answered;			/* counts answers; the caller waits for it */
	int32_t sum;				/* the other side's to write before answered */
} *shared;

static struct way {
	const char *name;
	void (*wait)(atomic_uint *count, unsigned seen);	/* until it is not @seen */
	void (*wake)(atomic_uint *count);
	int asked[2], answered[2];		/* what each side reads and the other writes, if files wake */
} way;

/* -------------------------------------------------------------- ways to wait */

static void spin_wait(atomic_uint *count, unsigned seen)
{
	/* acquire: pairs with the release in advance(). */
	while (atomic_load_explicit(count, memory_order_acquire) == seen)
		__builtin_ia32_pause();
}

static void spin_wake(atomic_uint *count)
{
	(void)count;
}

static void kernel_wait(atomic_uint *count, unsigned seen)
{
	futex_wait(count, seen, 0);
}

static void kernel_wake(atomic_uint *count)
{
	futex_wake(count, 0);
}

/* An eventfd takes 8 bytes at a time, and so may the others. */
static void file_wait(atomic_uint *count, unsigned seen)
{
	int fd = count == &shared->asked ? way.asked[0] : way.answered[0];
	uint64_t token;

	while (read(fd, &token, sizeof token) != sizeof token)
		if (errno != EINTR)
			die("%s", way.name);
	(void)seen;
}

static void file_wake(atomic_uint *count)
{
	int fd = count == &shared->asked ? way.asked[1] : way.answered[1];
	uint64_t token = 1;

	if (write(fd, &token, sizeof token) != sizeof token)
		die("%s", way.name);
}

static void make_eventfd(int fd[2])
{
	fd[0] = fd[1] = eventfd(0, 0);
}

static void make_pipe(int fd[2])
{
	if (pipe(fd))
		die("pipe");
}

static void make_socket(int fd[2])
{
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, fd))
		die("socketpair");
}

static const struct {
	struct way way;
	void (*make)(int fd[2]);
} ways[] = {
	{ { .name = "line", .wait = spin_wait, .wake = spin_wake }, NULL },
	{ { .name = "futex", .wait = kernel_wait, .wake = kernel_wake }, NULL },
	{ { .name = "eventfd", .wait = file_wait, .wake = file_wake }, make_eventfd },
	{ { .name = "pipe", .wait = file_wait, .wake = file_wake }, make_pipe },
	{ { .name = "socket", .wait = file_wait, .wake = file_wake }, make_socket },
};

/* ----------------------------------------------------------------- two sides */

/* Each count has one writer. release: pairs with the wait. */
static void advance(atomic_uint *count)
{
	atomic_store_explicit(count, atomic_load_explicit(count, memory_order_relaxed) + 1, memory_order_release);
	way.wake(count);
}

static void serve(void *arg)
{
	(void)arg;
	for (unsigned seen = 0;; seen++) {
		way.wait(&shared->asked, seen);
		shared->sum = answer(shared->a, shared->b);
		advance(&shared->answered);
	}
}

static int32_t call_other(int32_t a, int32_t b)
{
	unsigned seen = atomic_load_explicit(&shared->answered, memory_order_relaxed);

	shared->a = a;
	shared->b = b;
	advance(&shared->asked);
	way.wait(&shared->answered, seen);
	return shared->sum;
}

/* ------------------------------------------------------------------ one side */

static int32_t (*volatile direct)(int32_t a, int32_t b) = answer;

static int32_t call_direct(int32_t a, int32_t b)
{
	return direct(a, b);
}

static int32_t call_ffi(int32_t a, int32_t b)
{
	static ffi_cif cif;
	static ffi_type *types[] = { &ffi_type_sint32, &ffi_type_sint32 };
	void *args[] = { &a, &b };
	ffi_arg sum;

	if (!cif.nargs && ffi_prep_cif(&cif, FFI_DEFAULT_ABI, 2, &ffi_type_sint32, types) != FFI_OK)
		die("ffi_prep_cif");
	ffi_call(&cif, FFI_FN(answer), &sum, args);
	return (int32_t)sum;
}

static int32_t copy_here(uint8_t *p, size_t n)
{
	uint8_t *copy = kept_buffer(n);

	memcpy(copy, p, n);
	__asm__ volatile("" : : "r"(copy) : "memory");	/* the bytes are wanted */
	return check(copy, n);
}

/* -------------------------------------------------------------------- system */

static int32_t (*chosen)(int32_t a, int32_t b);

static void open_floor(const struct place *place)
{
	const char *name = place->option ? place->option : "line";

	chosen = !strcmp(name, "direct") || !strcmp(name, "memcpy") ? call_direct : !strcmp(name, "ffi") ? call_ffi : NULL;
	if (chosen)
		return;
	for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
		if (strcmp(ways[i].way.name, name))
			continue;
		way = ways[i].way;
		if (ways[i].make) {
			ways[i].make(way.asked);
			ways[i].make(way.answered);
		}
		shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		if (shared == MAP_FAILED)
			die("mmap");
		chosen = call_other;
		fork_side(place->other, serve, NULL);
		return;
	}
	die("no floor named %s", name);
}

static int32_t call(int32_t a, int32_t b)
{
	return chosen(a, b);
}

const struct system contender = {
	.open = open_floor,
	.call = call,
	.pass = copy_here,
};
