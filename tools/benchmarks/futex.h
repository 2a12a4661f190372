/* Sleeping until a word in memory changes, and waking who sleeps there. */
#ifndef BENCH_FUTEX_H
#define BENCH_FUTEX_H

#include <linux/futex.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

/* @flags: FUTEX_PRIVATE_FLAG among threads of one process, which is quicker, or 0. */

static inline void futex_wait(atomic_uint *word, unsigned seen, int flags)
{
	/* acquire: pairs with the release by which the other side changes it before it wakes us. */
	while (atomic_load_explicit(word, memory_order_acquire) == seen)
		syscall(SYS_futex, word, FUTEX_WAIT | flags, seen, NULL, NULL, 0);
}

static inline void futex_wake(atomic_uint *word, int flags)
{
	syscall(SYS_futex, word, FUTEX_WAKE | flags, 1, NULL, NULL, 0);
}

#endif
