/* Hearing early of the death of slave processes: see will.h. */
#include "will.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>

#include "access.h"
#include "internal.h"
#include "sys.h"
#include "uring.h"

_Static_assert(sizeof(struct far__will) == sizeof(uint64_t) * FAR_WILL_WORDS, "lane.h");

void far__will_leave(struct far__will *will)
{
	struct robust_list_head *head;
	size_t size;

	if (SYS(get_robust_list, 0, &head, &size) < 0 || !head ||
	    head->futex_offset != (long)offsetof(struct far__will, word) - (long)offsetof(struct far__will, next))
		return;
	/* As glibc puts in a lock; the first of the list is its end, and pointers may be odd there. */
	uintptr_t first = (uintptr_t)head->list.next;
	uint64_t *before_first = (uint64_t *)(first & ~1ul) - 1;

	shm_set64(&will->before, (uintptr_t)&head->list);
	shm_set64(&will->next, first);
	*before_first = (uintptr_t)&will->next;
	__atomic_signal_fence(__ATOMIC_SEQ_CST);	/* the kernel may read the list at any time */
	head->list.next = (struct robust_list *)(uintptr_t)&will->next;
}

int far__will_begin(void)
{
	return far__park_backend() == FAR_WAIT_URING ? far__uring_ears() : -1;
}

void far__will_expect(struct far__will *will, unsigned number, pid_t pid)
{
	uint32_t word = (uint32_t)pid | FUTEX_WAITERS;

	shm_store(&will->word, word);
	far__uring_listen(&will->word, word, number);
}

void far__will_forget(struct far__will *will)
{
	if (shm_load(&will->word) & FUTEX_OWNER_DIED)
		return;
	/* It died before it had left one, or has executed another program. */
	shm_store(&will->word, 0);
	SYS(futex, &will->word, FUTEX_WAKE, INT32_MAX);
}

unsigned far__will_next(void)
{
	return (unsigned)far__uring_heard();
}

int far__will_read(pid_t pid)
{
	unsigned flags = 0, threads = 0;
	int status = 0;
	char text[512];

	if (!far__process_stat(pid, text, sizeof text) ||
	    sscanf(text, "%*c %*d %*d %*d %*d %*d %u %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %u", &flags, &threads) != 2)
		return 0;
	const char *last = strrchr(text, ' ');

	/* Other threads of its own may run on for a moment. */
	if (!(flags & FAR_EXITING) || threads != 1 || !last || sscanf(last, "%d", &status) != 1)
		return 0;
	/* Its will is executed when it executes a program, and it may have been killed for that since. */
	return flags & FAR_NOT_EXECUTED || !status ? status : status | (int)FAR_STATUS_EXECUTED;
}
