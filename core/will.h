/*
 * The will of a slave process: a word in its segment that the kernel marks, and wakes
 * the zygote by, as soon as the process dies. Of its end as a child the zygote hears
 * only when all its memory has been taken apart, which for a gigabyte takes 17 ms.
 *
 * It is a robust futex (robust_list in the kernel's documentation): the slave's serving
 * thread has the word in the list of locks that it holds; the zygote waits for it in an
 * io_uring. Where that cannot wait for futexes, or the C library keeps that list in
 * another way, there are no wills.
 */
#ifndef FAR_CORE_WILL_H
#define FAR_CORE_WILL_H

#include <stdint.h>
#include <sys/types.h>

/* In the segment. As much of a pthread_mutex_t of glibc's as the list needs: see get_robust_list(2). */
struct far__will {
	uint32_t word;		/* the thread's id while it lives */
	uint32_t unused[5];
	uint64_t before, next;	/* addresses of its neighbours' next */
};

/* In a slave process: by its serving thread. */
void far__will_leave(struct far__will *will);

/* In the zygote: a descriptor that is readable when a will is to be read, or -1 if there will be none. */
int far__will_begin(void);

/* Wait for the will of slave @number, whose process @pid has just been made; for no longer. */
void far__will_expect(struct far__will *will, unsigned number, pid_t pid);
void far__will_forget(struct far__will *will);

/* Whose will is to be read: its number, or 0 if there is no more. */
unsigned far__will_next(void);

/* How that process ends, as wait() will give it, and FAR_STATUS_EXECUTED; 0: it is not known yet, or not that it ends. */
int far__will_read(pid_t pid);

#endif
