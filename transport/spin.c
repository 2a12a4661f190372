/* Learning how long to spin: see spin.h. */
#include "spin.h"

#include <sched.h>

#include "park.h"

enum {
	WORTH = 100000,		/* ns: waits longer than this are slept through */
	SHORT = 20000,		/* ns: where waits are short, a longer one is worth this: a sleep costs more */
	LEAST = 1000,		/* ns: what is always tried, several cores given */
	LONG = 1000000,		/* ns: longer waits count as this much */
	PREEMPTED = 300000,	/* ns between two looks: something else ran on this core */
	REST_MISSES = 5,	/* it counts as so many misses */
	MOST_MISSES = 6,	/* rest for 2^5 - 1 waits at the most: work may be short again */
};

static bool alone;		/* only one core: who spins keeps the other from working */

void far__spin_init(void)
{
	cpu_set_t cores;

	alone = sched_getaffinity(0, sizeof cores, &cores) == 0 && CPU_COUNT(&cores) == 1;
}

void far__spin_begin(const struct far__spin *spin, struct far__spinning *s)
{
	uint32_t typical = spin->typical;

	s->begin = s->last = far__now();
	s->preempted = false;
	if (alone || spin->rest)
		s->limit = 0;
	else if (typical <= WORTH)
		s->limit = 2 * typical + SHORT;
	else
		s->limit = LEAST;
}

bool far__spin_more(struct far__spinning *s)
{
	uint64_t now = far__now();

	if (now - s->last > PREEMPTED)
		s->preempted = true;
	s->last = now;
	return now - s->begin < s->limit && !s->preempted;
}

void far__spin_end(struct far__spin *spin, const struct far__spinning *s, bool slept)
{
	uint64_t took = far__now() - s->begin;
	int64_t last = took > LONG ? LONG : (int64_t)took;

	spin->typical = (uint32_t)(spin->typical + (last - spin->typical) / 8);
	if (!s->limit) {
		if (spin->rest)
			spin->rest--;
		return;
	}
	if (!slept) {
		spin->misses = 0;
		return;
	}
	spin->misses = s->preempted && spin->misses < REST_MISSES ? REST_MISSES : spin->misses + 1;
	if (spin->misses > MOST_MISSES)
		spin->misses = MOST_MISSES;
	spin->rest = (1u << (spin->misses - 1)) - 1;
}
