/*
 * What a request looks like. A slot's info says what is there, word[0] is the
 * function, and the argument words follow: the deadline if there is one (ns of
 * CLOCK_MONOTONIC), integer registers, vector registers (one word each, or two if
 * any is used to its full width), stack words. The first six are in the slot, the
 * rest in its body; if they are too many for that, FAR_ON_HEAP is set and word[1]
 * is the address of a far-heap block with the number of stack words and then all
 * of them.
 *
 *	bits 0-2   integer registers        bit  12     look for an x87 result
 *	bits 3-6   vector registers         bit  13     FAR_ON_HEAP
 *	bit  7     they are wide            bit  14     not small, whatever the rest
 *	bits 8-11  al                       bit  15     there is a deadline
 *	bits 22-31 the slave's life, or 0   bits 16-21  stack words, if not on the heap
 *
 * A slave that has been started again takes the calls that its earlier lives have left.
 * What only one of these could make, for a pointer is of its private memory, says so.
 *
 * A reply: info is far__reply_info(); words 0 and 1 are rax and rdx, words 2 to 5
 * xmm0 and xmm1, or the x87 results. Of a raised error, word 0 is
 * the code and word 1 the address of a far-heap block with the text, or 0.
 */
#ifndef FAR_CORE_MESSAGE_H
#define FAR_CORE_MESSAGE_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "call_x86_64.h"
#include "farcall.h"
#include "lane.h"

enum {
	FAR_SLOT_ARGUMENTS = FAR_SLOT_WORDS - 1,
	FAR_MESSAGE_WORDS = FAR_SLOT_ARGUMENTS + FAR_BODY_WORDS,
	FAR_WIDE = 1 << 7,
	FAR_LOOK_FOR_X87 = 1 << 12,
	FAR_ON_HEAP = 1 << 13,
	FAR_ANY_RESULT = 1 << 14,
	FAR_STACK_WORDS = 63,
	FAR_LIFE_AT = FAR_INFO_BITS,
	FAR_OF_ANY_LIFE = (1 << FAR_LIFE_AT) - 1,
};

_Static_assert(FAR_MESSAGE_WORDS <= FAR_STACK_WORDS, "stack words have six bits");

/* An incarnation, in the bits there are; never 0. */
static inline uint32_t far__life(uint32_t incarnation)
{
	return 1u << 9 | (incarnation & ((1u << 9) - 1));
}

struct far__shape {
	unsigned timed, ints, vectors, wide, al, x87, on_heap;
	uint32_t stack_words;
};

static inline uint32_t far__shape_info(struct far__shape s)
{
	return s.ints | s.vectors << 3 | s.wide << 7 | s.al << 8 | s.x87 << 12 | s.on_heap << 13 |
	       FAR_ANY_RESULT | s.timed << 15 | (s.on_heap ? 0 : s.stack_words << 16);
}

static inline struct far__shape far__shape_of(uint32_t info)
{
	return (struct far__shape){
		.ints = info & 7, .vectors = info >> 3 & 15, .wide = info >> 7 & 1, .al = info >> 8 & 15,
		.x87 = info >> 12 & 1, .on_heap = info >> 13 & 1, .timed = info >> 15 & 1, .stack_words = info >> 16 & FAR_STACK_WORDS,
	};
}

/*
 * What was just written in words is read in words, and a vector register that will be
 * loaded whole is written whole: a load of two stores' bytes has to wait until both are in
 * the cache, and they are behind those to shared lines that other processors have.
 */
static inline uint64_t far__word(const uint64_t *p)
{
	return __atomic_load_n(p, __ATOMIC_RELAXED);	/* or the compiler would take two at once */
}

static inline void far__copy_words(uint64_t *to, const uint64_t *from, size_t n)
{
	for (size_t i = 0; i < n; i++)
		to[i] = far__word(&from[i]);
}

static inline void far__set_vector(struct far_vector *v, uint64_t low, uint64_t high)
{
	typedef uint64_t whole __attribute__((vector_size(16), may_alias));

	*(whole *)v = (whole){ low, high };
}

/* The argument words of registers; the stack words are left to the caller. */
static inline uint64_t *far__pack(uint64_t *to, const struct far__shape *s, const struct far_registers *r)
{
	far__copy_words(to, r->gp, s->ints);
	to += s->ints;
	for (unsigned i = 0; i < s->vectors; i++) {
		*to++ = r->vector[i].low;
		if (s->wide)
			*to++ = r->vector[i].high;
	}
	return to;
}

static inline const uint64_t *far__unpack(const uint64_t *from, const struct far__shape *s, struct far_registers *r)
{
	far__copy_words(r->gp, from, s->ints);
	from += s->ints;
	for (unsigned i = 0; i < s->vectors; i++) {
		uint64_t low = far__word(from++);

		far__set_vector(&r->vector[i], low, s->wide ? far__word(from++) : 0);
	}
	r->rax = s->al;
	r->x87 = s->x87;
	return from;
}

/*
 * Most calls have a few integer arguments and an integer result, or none: such a
 * message is just the function and two words, its info the number of arguments.
 * The caller knows it by the call, the slave by the info.
 */
enum { FAR_SMALL_INTS = FAR_FEW_WORDS - 1 };

static inline bool far__is_small(const struct far__site *site, uint8_t result)
{
	return !(site->vectors | site->stack) && site->ints <= FAR_SMALL_INTS && result <= FAR__INTEGERS;
}

static inline bool far__info_is_small(uint32_t info)
{
	return info <= FAR_SMALL_INTS;
}

static inline void far__pack_result(uint64_t *word, const struct far_registers *r)
{
	const struct far_vector *v = &r->vector[r->x87 ? FAR_X87_AT : 0];

	word[0] = r->gp[0];
	word[1] = r->gp[1];
	word[2] = v[0].low;
	word[3] = v[0].high;
	word[4] = v[1].low;
	word[5] = v[1].high;
}

static inline void far__unpack_result(struct far_registers *r, const uint64_t *word, unsigned x87)
{
	struct far_vector *v = &r->vector[x87 ? FAR_X87_AT : 0];

	far__copy_words(r->gp, word, 2);
	far__set_vector(&v[0], far__word(&word[2]), far__word(&word[3]));
	far__set_vector(&v[1], far__word(&word[4]), far__word(&word[5]));
}

#endif
