/* Numbers, segments and deaths, as the whole family sees them. */
#include <errno.h>
#include <string.h>

#include "internal.h"

unsigned far__member_take(uint32_t owner, int *err)
{
	enum { FEW = 32 };
	struct far__family *family = far__family();
	uint32_t start = shm_peek(&family->last), few = far__space.slaves < FEW ? far__space.slaves : FEW;

	/*
	 * One of the first few if that can be, in turn, so that each rests: what a process keeps of a
	 * number is touched then, and to touch it first takes a third of a start.
	 */
	for (uint32_t i = 0; i < far__space.slaves; i++) {
		uint32_t number = i < few ? (start + 1 + i) % few : i;
		struct far__member *m = far__member(number);

		if (!number || shm_load(&m->state) != FAR_FREE ||
		    !shm_cas(&m->state, FAR_FREE, FAR_BEING_MADE | far__self << FAR_STATE_BITS))
			continue;
		far__point("member.taken");
		/* What is still wanted was wanted of an earlier slave. */
		shm_and(&family->kill[number / 32], ~(1u << number % 32));
		shm_and(&family->restart[number / 32], ~(1u << number % 32));
		shm_set(&m->owner, owner);
		shm_set(&family->last, number);
		*err = far__space_commit(number, 0, sizeof(struct far__segment));
		if (*err) {
			shm_store(&m->state, FAR_FREE);
			return 0;
		}
		shm_set(&m->pid, 0);
		shm_set(&m->status, 0);
		shm_set(&m->verdict, FAR_BY_OTHERS);
		shm_set(&m->respawn, 0);
		shm_set(&m->waiting, 0);
		/* 20 bits, never 0: a handle is never NULL, and fits in 32 bits. */
		uint32_t generation = (shm_peek(&m->generation) + 1) & 0xfffff;

		shm_store(&m->generation, generation ? generation : 1);
		return number;
	}
	*err = -EAGAIN;
	return 0;
}

/* The pages stay: what the next slave must find zero is made so. */
static void wipe(struct far__segment *segment)
{
	uint64_t all = (1ull << FAR_LANES) - 1;		/* others may be told by a slave that is out of its mind */

	for (uint64_t queues = shm_load64(&segment->ready) >> 32 & all; queues; queues &= queues - 1) {
		unsigned lane = (unsigned)__builtin_ctzl(queues);
		size_t slots = far__lane_queue_mask(&segment->lane[lane]) + 1;

		memset((char *)segment + (1 + lane) * FAR_LANE_STRIDE, 0, slots * FAR_SLOT_SIZE);
	}
	memset(segment, 0, sizeof *segment);
}

void far__member_give(unsigned number)
{
	if (far__space_discard(number))
		wipe(far__space_segment(number));
	/* One store: until then it is its owner's, for whoever buries that. */
	shm_store(&far__member(number)->state, FAR_FREE);
}

static void wake_all(unsigned number, void (*wake)(struct far__park *))
{
	struct far__segment *segment = far__space_segment(number);

	/* The state is stored; a lane that opens from now on sees it. */
	shm_fence();
	for (uint32_t lanes = (uint32_t)shm_load64(&segment->ready); lanes; lanes &= lanes - 1)
		wake(&segment->lane[__builtin_ctz(lanes)].producer);
	wake(&segment->control);
}

static void wake_armed(struct far__park *park)
{
	far__park_wake(park);
}

void far__member_dead(unsigned number, uint32_t status)
{
	struct far__member *m = far__member(number);

	shm_set(&m->status, status);
	far__point("member.dead");
	shm_store(&m->state, FAR_DEAD);
	wake_all(number, far__park_wake_for_dead);
}

void far__member_crashes(unsigned number)
{
	if (!shm_load(&far__member(number)->respawn))
		wake_all(number, wake_armed);
}

/* One that will be replaced is not dead: who waits for it goes on waiting. */
static bool ends(struct far__member *m)
{
	return !shm_load(&m->respawn) && shm_cas(&m->state, FAR_ALIVE, FAR_CRASHED);
}

void far__member_dying(unsigned number, uint32_t status)
{
	struct far__member *m = far__member(number);

	if (shm_load(&m->state) != FAR_ALIVE)
		return;
	shm_set(&m->status, status);
	if (ends(m))
		wake_all(number, far__park_wake_for_dead);
}

void far__member_crashed(unsigned number)
{
	if (!ends(far__member(number)))
		return;
	far__point("member.crashed");
	wake_all(number, wake_armed);
}
