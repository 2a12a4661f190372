/* Shared-memory objects that have no name, so that no death leaves one behind. */
#ifndef FAR_SHM_OBJECT_H
#define FAR_SHM_OBJECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Make a sparse object of @size bytes: a close-on-exec descriptor, or -errno.
 *
 * It lies in /dev/shm (O_TMPFILE, or a name that is removed at once where that is
 * missing) unless that is absent or smaller than 1 GiB, as in most containers;
 * then it is a memfd. FARCALL_SHM=shm or memfd in the environment decides.
 */
int far__object_create(size_t size);

/* In words: where objects come from and why. For far_status(). */
const char *far__object_kind(void);

/* One that is mapped as a whole. */
struct far__object {
	char *at;
	int fd;			/* the program may close it, and have a file of its own there: it is looked at before use */
	uint64_t device, inode;	/* by which it is known; 0: the kernel does not tell */
};

/* Make one: 0 or -errno. Not in core dumps, in which it would fill every hole. */
int far__object_map(struct far__object *object, size_t size);
void far__object_unmap(struct far__object *object, size_t size);

/* Whether its descriptor is still what it was. */
bool far__object_has_fd(const struct far__object *object);

/*
 * Reserve the pages of a range, so that touching them cannot fail with SIGBUS: 0, -ENOSPC,
 * -ENOMEM, or -EBADF, with a part of them reserved perhaps. And give them back.
 */
int far__object_commit(const struct far__object *object, size_t offset, size_t length);
int far__object_discard(const struct far__object *object, size_t offset, size_t length);

#endif
