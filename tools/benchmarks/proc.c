/* What the system tells of processes and threads, and where they may run. */
#include "proc.h"

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static bool state_is_running(const char *path)
{
	char line[512];
	bool running = false;
	FILE *f = fopen(path, "re");

	if (!f)
		return false;
	if (fgets(line, sizeof line, f)) {
		/* The state follows the name, which stands in brackets and may contain anything. */
		const char *end = strrchr(line, ')');

		running = end && !strncmp(end, ") R", 3);
	}
	fclose(f);
	return running;
}

static bool is_running(pid_t tid)
{
	char path[64];

	snprintf(path, sizeof path, "/proc/%d/stat", (int)tid);
	return state_is_running(path);
}

bool others_run(pid_t pid)
{
	char path[300];
	bool found = false;
	struct dirent *entry;

	snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
	DIR *tasks = opendir(path);

	if (!tasks)
		return false;
	while (!found && (entry = readdir(tasks))) {
		pid_t tid = atoi(entry->d_name);

		if (tid == 0 || tid == gettid())
			continue;
		snprintf(path, sizeof path, "/proc/%d/task/%d/stat", (int)pid, (int)tid);
		found = state_is_running(path);
	}
	closedir(tasks);
	return found;
}

void idle(pid_t tid)
{
	int ms = 0;

	do {
		rest(1);
		if (++ms == 5000) {
			fprintf(stderr, "bench: thread %d does not go to sleep\n", (int)tid);
			exit(1);
		}
	} while (tid && is_running(tid));
}

void rest(unsigned ms)
{
	nanosleep(&(struct timespec){ .tv_nsec = ms * 1000000l }, NULL);
}

int pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET((size_t)cpu, &set);
	return sched_setaffinity(0, sizeof set, &set) ? -errno : 0;
}

void choose_cores(int cores[2])
{
	cpu_set_t allowed;
	int found = 0;

	sched_getaffinity(0, sizeof allowed, &allowed);
	for (int i = 0; i < CPU_SETSIZE && found < 2; i++)
		if (CPU_ISSET((size_t)i, &allowed))
			cores[found++] = i;
	if (found < 2) {
		fputs("bench: needs two cores\n", stderr);
		exit(1);
	}
}

double cpu_time(pid_t pid)
{
	clockid_t clock;
	struct timespec t;

	if (clock_getcpuclockid(pid, &clock) || clock_gettime(clock, &t))
		return NAN;
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

double proportional_size(pid_t pid)
{
	char path[64], line[256];
	double kib = 0;

	snprintf(path, sizeof path, "/proc/%d/smaps_rollup", (int)pid);
	FILE *f = fopen(path, "re");

	if (!f)
		return NAN;
	while (fgets(line, sizeof line, f) && sscanf(line, "Pss: %lf", &kib) != 1)
		;
	fclose(f);
	return kib * 1024;
}
