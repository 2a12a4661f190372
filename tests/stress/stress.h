/* What the programs that race on purpose have in common. */
#ifndef STRESS_H
#define STRESS_H

#include <dirent.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <farcall.h>

#include "heap_use.h"

#ifdef __SANITIZE_THREAD__
#define THREADS_ONLY 1		/* it follows no forked process */
#else
#define THREADS_ONLY 0
#endif

/* Say what is wrong, and how to see it again. */
static uint64_t seed;
static __attribute__((noreturn, format(printf, 1, 2))) void wrong(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	fprintf(stderr, "WRONG (seed %llu): ", (unsigned long long)seed);
	vfprintf(stderr, format, arguments);
	fputc('\n', stderr);
	va_end(arguments);
	_exit(1);
}

static inline uint64_t random_next(uint64_t *r)
{
	*r ^= *r << 13;
	*r ^= *r >> 7;
	*r ^= *r << 17;
	return *r;
}

static inline unsigned below(uint64_t *r, unsigned n)
{
	return (unsigned)(random_next(r) >> 32) % n;
}

/* A source of its own for each thread. */
static inline uint64_t random_start(unsigned thread)
{
	uint64_t r = (seed + 1) * 0x9e3779b97f4a7c15 + thread * 0xd1b54a32d192ed03;

	for (unsigned i = 0; i < 10; i++)
		random_next(&r);
	return r ? r : 1;
}

static inline void nap(uint64_t *r, unsigned most_us)
{
	struct timespec t = { .tv_nsec = (long)below(r, most_us) * 1000 };

	nanosleep(&t, NULL);
}

static inline double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void hangs(int unused)
{
	static const char text[] = "WRONG: it hangs\n";

	(void)unused;
	if (write(STDERR_FILENO, text, sizeof text - 1) < 0)
		_exit(2);
	abort();
}

/* PROGRAM [SECONDS [SEED]]: how long to run. A hang is an abort. */
static inline unsigned begin(int argc, char **argv, unsigned seconds)
{
	if (argc > 1)
		seconds = (unsigned)strtoul(argv[1], NULL, 10);
	seed = argc > 2 ? strtoull(argv[2], NULL, 10) : (uint64_t)time(NULL) * 1000 + (uint64_t)getpid() % 1000;
	signal(SIGALRM, hangs);
	alarm(seconds + 40);
	return seconds;
}

/* Whether a call failed because its slave ended. */
static inline bool is_death(int code)
{
	return code == FAR_EKILLED;
}

static inline unsigned count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	while (d && readdir(d))
		n++;
	if (d)
		closedir(d);
	return n;
}

/* Processes whose parent is @parent: how many, and one of them. */
static inline unsigned children_of(pid_t parent, pid_t *one)
{
	DIR *d = opendir("/proc");
	unsigned n = 0;

	for (struct dirent *e; d && (e = readdir(d));) {
		char path[300], text[600] = "";
		int ppid;
		FILE *f;

		snprintf(path, sizeof path, "/proc/%s/stat", e->d_name);
		if (e->d_name[0] < '0' || e->d_name[0] > '9' || !(f = fopen(path, "r")))
			continue;
		const char *close = fgets(text, sizeof text, f) ? strrchr(text, ')') : NULL;

		fclose(f);
		if (close && sscanf(close, ") %*c %d", &ppid) == 1 && ppid == parent) {
			*one = (pid_t)strtol(e->d_name, NULL, 10);
			n++;
		}
	}
	if (d)
		closedir(d);
	return n;
}

/* What is in use of the far heap, in KiB. */
static inline void read_heap_use(size_t *large, size_t *small)
{
	if (!heap_use(large, small))
		wrong("far_status() does not tell the use of the far heap");
}

/* A unit of each class of small blocks may be kept. */
enum { KEPT_KIB = 19 * 64 };

/* ------------------------------------------------------ what slaves run */

static inline long mix(int a, double b, long c)
{
	return a * 1000003l + (long)(b * 16) + c * 7919;
}

#endif
