/* Learning how long to spin: see spin.h. */
#include "spin.h"

#include <sched.h>

#include "park.h"

enum {
	WORTH = 100000,		/* ns: waits longer than this are slept through */
	WAKING = 200000,	/* ns: and these, if somebody has to be woken first */
	SHORT = 20000,		/* ns: where waits are short, a longer one is worth this: a sleep costs more */
	LEAST = 1000,		/* ns: what is always tried, several cores given */
	LONG = 1000000,		/* ns: longer waits count as this much */
	POLITE = 2000,		/* ns: from then on others may run between two looks */
	PREEMPTED = 300000,	/* ns between two looks: something else ran on this core */
	RUDE = 1000000000,	/* ns: so long nobody is let run if that took so long */
	REST_MISSES = 5,	/* it counts as so many misses */
	MOST_MISSES = 6,	/* rest for 2^5 - 1 waits at the most: work may be short again */
	TRY = 32,		/* one in so many waits for one that was woken is spent the way that seems worse */
};

static bool alone;		/* only one core: who spins keeps the other from working */

void far__spin_init(void)
{
	cpu_set_t cores;

	alone = sched_getaffinity(0, sizeof cores, &cores) == 0 && CPU_COUNT(&cores) == 1;
}

/* Add to an average that forgets. */
static void add(uint32_t *average, int64_t ns)
{
	*average = (uint32_t)(*average + (ns - *average) / 8);
}

/* Spinning must be clearly better than a sleep, which costs nothing. */
static bool spin_for_woken(struct far__spin *spin)
{
	bool better = spin->woken[true] < spin->woken[false] / 8 * 7;

	return better != (++spin->wakes % TRY == 0);
}

void far__spin_begin(struct far__spin *spin, struct far__spinning *s, bool woken)
{
	uint32_t typical = spin->typical;

	s->begin = s->last = far__now();
	s->preempted = false;
	s->polite = s->begin >= spin->rude_until;
	s->woken = woken;
	if (alone || (woken ? !spin_for_woken(spin) : spin->rest))
		s->limit = 0;
	else if (woken)
		s->limit = WAKING;
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
	if (s->polite && now - s->begin > POLITE) {
		uint64_t before = now;

		sched_yield();
		now = far__now();
		s->polite = now - before < PREEMPTED;
	}
	s->last = now;
	return now - s->begin < s->limit && !s->preempted;
}

void far__spin_end(struct far__spin *spin, const struct far__spinning *s, bool slept)
{
	uint64_t took = far__now() - s->begin;
	int64_t last = took > LONG ? LONG : (int64_t)took;

	if (!s->polite && s->begin >= spin->rude_until)
		spin->rude_until = s->last + RUDE;
	if (s->woken) {
		uint32_t *average = &spin->woken[s->limit != 0];
		int64_t most = 4 * (int64_t)*average + SHORT;

		/* One very long wait says little, and would be remembered for long where the other way is taken then. */
		add(average, last < most ? last : most);
		return;
	}
	add(&spin->typical, last);
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
