/* Whether a process that got SIGKILL was killed by the kernel for want of memory: what its count tells. */
#ifndef FAR_CORE_OOM_H
#define FAR_CORE_OOM_H

#include <stdbool.h>

/* Begin to count; and in a child, stop. */
void far__oom_begin(void);
void far__oom_end(void);

/*
 * A process has been killed just now: was it for memory? Nothing tells whom the count is of:
 * one that others kill just then is said to be, too.
 */
bool far__oom_has_killed(void);

#endif
