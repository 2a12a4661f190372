/*
 * Learning from the first calls of a site which registers its arguments take.
 *
 * Where arguments have not exactly the types of the parameters, the compiler converts
 * them, to types that the macros cannot find out: an int may become a long, a double, a
 * _Complex double in two vector registers, a long double on the stack. So far__site has
 * the most that there can be, and all of it would be sent with every call: three cache
 * lines instead of one. The first calls tell better.
 *
 *	Registers  Just before the call is made, all of them are filled with a random
 *	           number. One that holds it still when the call is captured has no part of
 *	           an argument; and then none of those behind it does, for they are taken
 *	           in order. Twice, with different numbers: no argument is both of them.
 *	Stack      Numbers of at most 64 bits go there as long double, alone or _Complex, as
 *	           _Complex __float128, or as integers of more than 128 bits (_Complex __int128,
 *	           _BitInt); or when no register is left, which cannot be while few are used.
 *	           The first of them would lie on top: if what does is none of the numbers,
 *	           converted so, there is none.
 *
 * What is compared may be equal by chance (a 0 on the stack): the next call is looked at.
 */
#include <string.h>
#include <sys/auxv.h>
#include <sys/uio.h>
#include <unistd.h>

#include "internal.h"
#include "message.h"
#include "sys.h"

enum {
	LOOKS = 2,		/* at registers */
	CALLS = 32,		/* that are looked at before the site stays as it is */
	FEW_INTS = 4, FEW_VECTORS = 6,
	ARGUMENTS = 6,		/* far__site.arguments, of one that is unsure */
	X87_BYTES = 10,		/* of a long double in memory */
};

/* The lesson that this thread's next call is. */
static __thread struct {
	const struct far__call *call;
	struct far__lesson *lesson;
	uint64_t filling;
	long double number[ARGUMENTS];
} now;

/* As good as random: nobody passes it by chance. */
static uint64_t random_number(void)
{
	static _Atomic uint64_t calls;
	uint64_t v = 0;

	memcpy(&v, (const void *)getauxval(AT_RANDOM), sizeof v);
	v += (atomic_fetch_add_explicit(&calls, 1, memory_order_relaxed) + 1) * 0x9e3779b97f4a7c15;	/* splitmix64 */
	v = (v ^ v >> 30) * 0xbf58476d1ce4e5b9;
	v = (v ^ v >> 27) * 0x94d049bb133111eb;
	return v ^ v >> 31;
}

uint64_t far__lesson_begin(const struct far__call *call, struct far__lesson *lesson, const long double *negatives)
{
	now.call = call;
	now.lesson = lesson;
	now.filling = random_number();
	for (unsigned i = 0; i < call->site->arguments; i++)
		now.number[i] = -negatives[i];
	return now.filling;
}

static uint8_t used_ints(const struct far__site *site, const struct far_registers *registers)
{
	uint8_t n = 0;

	while (n < site->ints && registers->gp[n] != now.filling)
		n++;
	return n;
}

static uint8_t used_vectors(const struct far__site *site, const struct far_registers *registers, bool *wide)
{
	uint8_t n = 0;

	for (; n < site->vectors; n++) {
		const struct far_vector *v = &registers->vector[n];

		if (v->low == now.filling && v->high == now.filling)
			break;
		/* What has a 0 there and is none is a double or less. */
		*wide |= v->high != now.filling && (v->high != 0 || v->low == 0);
	}
	return n;
}

/* Whether @top may be where @number begins, converted to what is passed on the stack. */
static bool may_be(const uint64_t top[2], long double number)
{
	__float128 quad = number;

	if (memcmp(top, &number, X87_BYTES) == 0 || memcmp(top, &quad, sizeof quad) == 0)
		return true;
	if (number != number)
		return false;	/* a pointer */
	return number <= -0x1p63L || number >= 0x1p64L || top[0] == (number < 0 ? (uint64_t)(int64_t)number : (uint64_t)number);
}

/* If it is the caller's frame it may never have been written, and valgrind would report a look at it: the kernel copies it. */
static void read_top(uint64_t top[2], const uint64_t *stack)
{
	enum { SIZE = 2 * sizeof *top };
	struct iovec here = { top, SIZE }, there = { (void *)(uintptr_t)stack, SIZE };

	if (SYS(process_vm_readv, getpid(), &here, 1, &there, 1, 0) != SIZE)
		far__copy_stack(top, stack, 2);
}

static bool stack_is_used(const struct far__site *site, const uint64_t *stack)
{
	uint64_t top[2];

	read_top(top, stack);
	for (unsigned i = 0; i < site->arguments; i++)
		if (may_be(top, now.number[i]))
			return true;
	return false;
}

static void finish(struct far__lesson *lesson, const struct far__site *site, bool learnt)
{
	struct far__site *better = &lesson->site;
	uint8_t ints = better->ints, vectors = better->vectors, wide = better->wide;

	*better = *site;
	better->unsure = 0;
	if (learnt) {
		better->ints = ints;
		better->vectors = vectors;
		better->wide = wide;
		better->stack = 0;
	}
	__atomic_store_n(&lesson->known, 1, __ATOMIC_RELEASE);	/* partner: FAR__SITE() */
}

static void look(struct far__lesson *lesson, const struct far__site *site, const struct far_registers *registers,
		 const uint64_t *stack)
{
	struct far__site *so_far = &lesson->site;
	bool wide = false;
	uint8_t ints = used_ints(site, registers), vectors = used_vectors(site, registers, &wide);

	if (lesson->looked_at < LOOKS) {
		so_far->ints = ints > so_far->ints ? ints : so_far->ints;
		so_far->vectors = vectors > so_far->vectors ? vectors : so_far->vectors;
		so_far->wide |= wide;
		lesson->looked_at++;
	}
	lesson->off_stack |= !stack_is_used(site, stack);
	lesson->calls++;
	if (so_far->ints > FEW_INTS || so_far->vectors > FEW_VECTORS || lesson->calls == CALLS)
		finish(lesson, site, false);
	else if (lesson->looked_at == LOOKS && lesson->off_stack)
		finish(lesson, site, true);
}

void far__lesson_end(const struct far__call *call, const struct far_registers *registers, const uint64_t *stack)
{
	struct far__lesson *lesson = now.lesson;

	if (now.call != call)
		return;
	now.call = NULL;
	/* Not waited for: other threads' calls teach the same, and in a child of fork() it may be taken for ever. */
	if (__atomic_exchange_n(&lesson->busy, 1, __ATOMIC_ACQUIRE))
		return;
	if (!lesson->known)
		look(lesson, call->site, registers, stack);
	__atomic_store_n(&lesson->busy, 0, __ATOMIC_RELEASE);
}
