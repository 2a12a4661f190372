/* What the system tells of processes and threads, and where they may run. */
#ifndef BENCH_PROC_H
#define BENCH_PROC_H

#include <stdbool.h>
#include <sys/types.h>

/* Sleep a millisecond, and on until thread @tid sleeps too (0: no thread is meant). */
void idle(pid_t tid);

/* Whether a thread of process @pid runs or could run, the calling one left aside. */
bool others_run(pid_t pid);

/* Sleep so long, at most 999 ms. */
void rest(unsigned ms);

/* Let the caller, and what it starts later, run on @cpu alone. 0 or -errno. */
int pin(int cpu);

/* The first two cores that we may use, the callers' and the other sides'; the program ends if there is one. */
void choose_cores(int cores[2]);

/* CPU time of all threads of a process so far, in nanoseconds; NAN if that cannot be read. */
double cpu_time(pid_t pid);

/* Memory of a process in bytes, pages shared by n processes counted as one n-th; or NAN. */
double proportional_size(pid_t pid);

#endif
