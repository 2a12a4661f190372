/*
 * The one door to the kernel for calls that can fail: SYS(name, arguments...)
 * makes the system call and returns its result or -errno, leaving errno alone.
 * A test replaces far__sys to make the n-th call fail, or all of a kind.
 */
#ifndef FAR_SHM_SYS_H
#define FAR_SHM_SYS_H

#include <stddef.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#ifndef MADV_POPULATE_WRITE	/* Linux 5.14 */
#define MADV_POPULATE_WRITE 23
#endif

extern long (*far__sys)(long number, long a, long b, long c, long d, long e, long f);

#define SYS(name, ...) SYS_(SYS_##name, ##__VA_ARGS__, 0, 0, 0, 0, 0, 0)
#define SYS_(number, a, b, c, d, e, f, ...) \
	far__sys(number, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))

/* Open a file of the kernel's to read it: as SYS(openat). And its beginning, as a string; "" if it cannot be read. */
int far__open_to_read(const char *path);
void far__read_text(const char *path, char *text, size_t size);

/* A descriptor moved above stderr, so that a closed stdio stays closed; or -errno as given. */
int far__fd_above_stdio(int fd);

#endif
