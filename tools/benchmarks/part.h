/* A contender's program that runs: commands to it, replies from it. */
#ifndef BENCH_PART_H
#define BENCH_PART_H

struct part;

/*
 * Start @program, by the words of @launcher if there are any, to wait in @mode,
 * on these cores. Returns when it is ready, and stopped. NULL with a message if
 * it fails.
 */
struct part *part_start(const char *launcher, const char *program, const char *mode, const int cores[2],
			const char *option);

/* The version it told, valid as long as it is. */
const char *part_version(const struct part *p);

/* Let it go on, and stop it: one that waits by polling uses no CPU meanwhile. Others just wait. */
void part_resume(struct part *p);
void part_stop(struct part *p);

/*
 * Tell it, while it runs, to do something. Returns how many figures it answered,
 * at most @max, or -1 if it cannot do that. If it fails, or does not answer for
 * two minutes, that is said once and it cannot do anything any more.
 */
int part_command(struct part *p, const char *command, double *figure, int max);

/* CPU time of all its processes so far, in nanoseconds. */
double part_cpu(const struct part *p);

/* End it, and wait until its processes have ended. */
void part_end(struct part *p);

#endif
