/*
 * Where tests interfere: named points in the code, every access to shared
 * control memory, and every system call. In a normal build the first two are
 * nothing at all.
 */
#ifndef FAR_SHM_INJECT_H
#define FAR_SHM_INJECT_H

#ifdef FARCALL_INJECT

/* Called at each named point (its name) and each shared access (NULL), if set. */
extern void (*far__inject)(const char *point);

static inline void far__point(const char *name)
{
	if (far__inject)
		far__inject(name);
}

static inline void far__touch(void)
{
	if (far__inject)
		far__inject(NULL);
}

#else

static inline void far__point(const char *name)
{
	(void)name;
}

static inline void far__touch(void)
{
}

#endif
#endif
