/*
 * Every load, store and copy of control words that two processes use at once goes
 * through the functions here: a test can stop, kill or inspect at each of them, and
 * no access is left to the compiler's choice.
 *
 * Shared control structures are made of uint32_t and uint64_t alone: no pointer,
 * bit-field, bool, enum or pthread type.
 *
 * Orders: shm_load() acquires and shm_store() releases; shm_peek() and shm_set()
 * order nothing; the read-modify-write functions do both. shm_fence() is the
 * full barrier that "say, then look" needs on both sides.
 */
#ifndef FAR_SHM_ACCESS_H
#define FAR_SHM_ACCESS_H

#include <stddef.h>
#include <stdint.h>

#include "inject.h"

#if __GCC_ATOMIC_INT_LOCK_FREE != 2 || __GCC_ATOMIC_LLONG_LOCK_FREE != 2
#error "shared words need lock-free atomics"
#endif

/* Have a cache line fetched to be written to: a hint. */
static inline void shm_own(const void *p)
{
#ifdef __x86_64__
	__asm__ volatile("prefetchw %0" : : "m"(*(const char *)p));	/* gcc emits it only if it is told that there is one */
#else
	__builtin_prefetch(p, 1);
#endif
}

/* Between two looks at a word that another processor is to change. */
static inline void shm_relax(void)
{
#ifdef __x86_64__
	__builtin_ia32_pause();
#endif
}

/*
 * The same, when it will change in some tens of ns: PAUSE alone takes as long. The looks
 * that follow are not made ahead of time, which would have to be taken back when the word
 * does change; and not at once, for each takes the cache line from who is to write it.
 */
static inline void shm_blink(void)
{
#ifdef __x86_64__
	unsigned long x = 1;

	/* A chain of multiplications, of three cycles each on every processor of this kind. */
	for (int i = 0; i < 24; i++)
		__asm__ volatile("imul %0, %0" : "+r"(x));
	__asm__ volatile("lfence" : : : "memory");
#else
	shm_relax();
#endif
}

static inline uint32_t shm_load(const uint32_t *p)
{
	far__touch();
	return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}

static inline uint32_t shm_peek(const uint32_t *p)
{
	return __atomic_load_n(p, __ATOMIC_RELAXED);
}

static inline void shm_store(uint32_t *p, uint32_t v)
{
	far__touch();
	__atomic_store_n(p, v, __ATOMIC_RELEASE);
}

static inline void shm_set(uint32_t *p, uint32_t v)
{
	far__touch();
	__atomic_store_n(p, v, __ATOMIC_RELAXED);
}

static inline uint32_t shm_swap(uint32_t *p, uint32_t v)
{
	far__touch();
	return __atomic_exchange_n(p, v, __ATOMIC_ACQ_REL);
}

static inline uint32_t shm_add(uint32_t *p, uint32_t v)
{
	far__touch();
	return __atomic_fetch_add(p, v, __ATOMIC_ACQ_REL);
}

static inline uint32_t shm_or(uint32_t *p, uint32_t bits)
{
	far__touch();
	return __atomic_fetch_or(p, bits, __ATOMIC_ACQ_REL);
}

static inline uint32_t shm_and(uint32_t *p, uint32_t bits)
{
	far__touch();
	return __atomic_fetch_and(p, bits, __ATOMIC_ACQ_REL);
}

/* Change *p from @old to @new; false if it was something else. */
static inline _Bool shm_cas(uint32_t *p, uint32_t old, uint32_t new)
{
	far__touch();
	return __atomic_compare_exchange_n(p, &old, new, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}

static inline uint64_t shm_load64(const uint64_t *p)
{
	far__touch();
	return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}

static inline void shm_store64(uint64_t *p, uint64_t v)
{
	far__touch();
	__atomic_store_n(p, v, __ATOMIC_RELEASE);
}

static inline uint64_t shm_peek64(const uint64_t *p)
{
	return __atomic_load_n(p, __ATOMIC_RELAXED);
}

static inline void shm_set64(uint64_t *p, uint64_t v)
{
	far__touch();
	__atomic_store_n(p, v, __ATOMIC_RELAXED);
}

static inline _Bool shm_cas64(uint64_t *p, uint64_t old, uint64_t new)
{
	far__touch();
	return __atomic_compare_exchange_n(p, &old, new, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}

static inline uint64_t shm_or64(uint64_t *p, uint64_t bits)
{
	far__touch();
	return __atomic_fetch_or(p, bits, __ATOMIC_ACQ_REL);
}

static inline uint64_t shm_and64(uint64_t *p, uint64_t bits)
{
	far__touch();
	return __atomic_fetch_and(p, bits, __ATOMIC_ACQ_REL);
}

/* For loops over a few words, of a number known here: gcc would go round them. */
#if defined __clang__ || !defined __GNUC__
#define SHM_UNROLL
#else
#define SHM_UNROLL _Pragma("GCC unroll 8")
#endif

/* Words between private and shared memory, each read or written exactly once. */
static inline void shm_copy_in(uint64_t *shared, const uint64_t *private, size_t words)
{
	far__touch();
	for (size_t i = 0; i < words; i++)
		__atomic_store_n(&shared[i], private[i], __ATOMIC_RELAXED);
}

static inline void shm_copy_out(uint64_t *private, const uint64_t *shared, size_t words)
{
	far__touch();
	for (size_t i = 0; i < words; i++)
		private[i] = __atomic_load_n(&shared[i], __ATOMIC_RELAXED);
}

static inline void shm_fence(void)
{
#ifdef __SANITIZE_THREAD__
	/* ThreadSanitizer knows no fences; what they order here are atomics, which it never reports. */
	__asm__ volatile("mfence" : : : "memory");
#else
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
#endif
}

/* The same right behind a read-modify-write, which is one by itself on x86. */
static inline void shm_fence_behind_change(void)
{
#ifdef __x86_64__
	__asm__ volatile("" : : : "memory");
#else
	shm_fence();
#endif
}

#endif
