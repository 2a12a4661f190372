/* Shared-memory objects that have no name, so that no death leaves one behind. */
#ifndef FAR_SHM_OBJECT_H
#define FAR_SHM_OBJECT_H

#include <stddef.h>

/*
 * Make a sparse object of @size bytes: a close-on-exec descriptor, or -errno.
 *
 * It lies in /dev/shm (O_TMPFILE, or shm_open() and unlink where that is
 * missing) unless that is absent or smaller than 1 GiB, as in most containers;
 * then it is a memfd. FARCALL_SHM=shm or memfd in the environment decides.
 */
int far__object_create(size_t size);

/* In words: where objects come from and why. For far_status(). */
const char *far__object_kind(void);

/*
 * Reserve the pages of a range, so that touching them cannot fail with SIGBUS:
 * 0, -ENOSPC, or -ENOMEM. And give them back.
 */
int far__object_commit(int fd, size_t offset, size_t length);
int far__object_discard(int fd, size_t offset, size_t length);

#endif
