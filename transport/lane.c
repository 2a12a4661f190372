/* Making lanes: see lane.h. */
#include "lane.h"

#include "space.h"

uint32_t far__first_position = 0;

static void view(struct far__lane *lane, unsigned slave, unsigned number)
{
	char *base = far__space_segment(slave);
	char *ring = base + (1 + number) * FAR_LANE_STRIDE;

	lane->segment = (struct far__segment *)base;
	lane->head = &lane->segment->lane[number];
	lane->slots = (struct far__slot *)ring;
	lane->bodies = (struct far__body *)(ring + FAR_BODIES_AT);
}

int far__lane_make(struct far__lane *lane, unsigned slave, unsigned number, uint32_t slots)
{
	int err = far__space_commit(slave, (1 + number) * FAR_LANE_STRIDE, slots * sizeof(struct far__slot));

	if (err)
		return err;
	view(lane, slave, number);
	lane->mask = slots - 1;
	lane->position = far__first_position;
	shm_set(&lane->head->mask, lane->mask);
	shm_set(&lane->head->first, lane->position);
	/* Pairs with the slave's load of lanes_ready. */
	__atomic_fetch_or(&lane->segment->lanes_ready, 1u << number, __ATOMIC_RELEASE);
	return 0;
}

int far__lane_commit_bodies(const struct far__lane *lane, unsigned slave, unsigned number)
{
	return far__space_commit(slave, (1 + number) * FAR_LANE_STRIDE + FAR_BODIES_AT,
				 (lane->mask + 1) * sizeof(struct far__body));
}

void far__lane_attach(struct far__lane *lane, unsigned slave, unsigned number)
{
	view(lane, slave, number);
	lane->mask = shm_peek(&lane->head->mask);
	lane->position = shm_peek(&lane->head->first);
}
