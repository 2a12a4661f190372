/*
 * The kernel counts whom it kills for memory before it does so: in the files of our
 * memory cgroup, or else for the whole machine.
 */
#include "oom.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "cgroup.h"
#include "park.h"
#include "sys.h"

static struct {
	int counter;		/* the file ... */
	bool of_machine;	/* ... a long one, if it is not that of our cgroup */
	unsigned long kills;	/* how many when it was last read ... */
	uint64_t seen;		/* ... and when it was seen that they have become more */
} oom = { .counter = -1 };

static unsigned long kills_in(char *text, size_t size)
{
	static const char name[] = "\noom_kill ";	/* the same in all of them */
	long n;

	for (size_t used = 0; (n = SYS(pread64, oom.counter, text + used, size - 1 - used, used)) > 0;) {
		used += (size_t)n;
		text[used] = 0;
		const char *line = strstr(text, name);

		if (line && strchr(line + 1, '\n'))
			return strtoul(line + strlen(name), NULL, 10);
	}
	return 0;
}

static __attribute__((noinline)) unsigned long kills_of_machine(void)
{
	char text[16384];

	return kills_in(text, sizeof text);
}

/* Usually in a short file, which needs no fresh page of the stack. */
static unsigned long count_kills(void)
{
	char text[1024];

	return oom.of_machine ? kills_of_machine() : kills_in(text, sizeof text);
}

void far__oom_begin(void)
{
	oom.counter = far__cgroup_open("memory.oom_control", "memory.events");
	oom.of_machine = oom.counter < 0;
	if (oom.of_machine)
		oom.counter = far__open_to_read("/proc/vmstat");
	oom.kills = count_kills();
}

void far__oom_end(void)
{
	SYS(close, oom.counter);
}

bool far__oom_has_killed(void)
{
	enum { RECENT = 1000000000 };	/* ns */
	unsigned long kills = count_kills();
	uint64_t now = far__now();

	if (kills > oom.kills)
		oom.seen = now;
	oom.kills = kills;
	return oom.seen && now - oom.seen < RECENT;
}
