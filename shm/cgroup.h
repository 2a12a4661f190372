/* What the memory cgroup of this process, which every container has, allows it: version 1 or 2. */
#ifndef FAR_SHM_CGROUP_H
#define FAR_SHM_CGROUP_H

#include <stddef.h>

/* Open a file of our own cgroup to read it, of version 1 or 2 by these names; -errno: there is none. */
int far__cgroup_open(const char *version1, const char *version2);

/* What we may have more, in bytes, with all above us; SIZE_MAX if there is no limit. */
size_t far__cgroup_memory_left(void);

#endif
