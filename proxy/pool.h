/*
 * Memory for proxies: an address range of its own, so that one comparison tells a
 * pointer to a proxy, or into one, from all others. Not for use by several threads.
 */
#ifndef FAR_PROXY_POOL_H
#define FAR_PROXY_POOL_H

#include <stddef.h>

/* @size zero bytes that belong to @owner, aligned to 16; NULL if there are none. */
void *far__pool_take(size_t size, void *owner);

/* Give them back. */
void far__pool_give(void *p);

/* To whom the memory belongs that @p points into; NULL if to nobody. May be called by any thread. */
void *far__pool_owner(const void *p);

#endif
