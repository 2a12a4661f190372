/* Making lanes: see lane.h. */
#include "lane.h"

#include "space.h"

uint32_t far__first_position = 0;

void far__lane_attach(struct far__lane *lane, unsigned slave, unsigned number)
{
	char *base = far__space_segment(slave);
	struct far__segment *segment = (struct far__segment *)base;
	struct far__lane_head *head = &segment->lane[number];

	*lane = (struct far__lane){
		.segment = segment,
		.head = head,
		.consumer = &segment->slave,
		.call = {
			.slots = &segment->call[number].slot,
			.rests = &segment->call[number].rest,
			.bodies = (struct far__body *)(base + FAR_CALL_BODIES_AT) + FAR_CALL_BODIES * number,
			.body_mask = FAR_CALL_BODIES - 1,
			.position = shm_peek(&segment->taken[number][FAR_CALL]),
			.taken = &segment->taken[number][FAR_CALL],
			.interrupt = &head->interrupt[FAR_CALL],
		},
	};
}

static void attach_queue(struct far__lane *lane, unsigned slave, unsigned number, uint32_t mask)
{
	char *base = (char *)far__space_segment(slave) + (1 + number) * FAR_LANE_STRIDE;
	struct far__slot *slots = (struct far__slot *)base;

	lane->queue = (struct far__ring){
		.slots = slots,
		.rests = (struct far__rest *)(slots + mask + 1),
		.bodies = (struct far__body *)(base + FAR_BODIES_AT),
		.mask = mask,
		.body_mask = mask,
		.position = shm_peek(&lane->segment->taken[number][FAR_QUEUE]),
		.taken = &lane->segment->taken[number][FAR_QUEUE],
		.interrupt = &lane->head->interrupt[FAR_QUEUE],
	};
}

void far__lane_attach_queue(struct far__lane *lane, unsigned slave, unsigned number)
{
	attach_queue(lane, slave, number, far__lane_queue_mask(lane->head));
}

void far__lane_make(struct far__lane *lane, unsigned slave, unsigned number)
{
	struct far__segment *segment = far__space_segment(slave);

	shm_set(&segment->taken[number][FAR_CALL], far__first_position);
	shm_set(&segment->taken[number][FAR_QUEUE], far__first_position);
	far__lane_attach(lane, slave, number);
	/* Pairs with the slave's load. */
	shm_or64(&lane->segment->ready, 1ull << number);
}

int far__lane_make_queue(struct far__lane *lane, unsigned slave, unsigned number, uint32_t slots)
{
	int err = far__space_commit(slave, (1 + number) * FAR_LANE_STRIDE, slots * FAR_SLOT_SIZE);

	if (err)
		return err;
	shm_set(&lane->head->mask, slots - 1);
	attach_queue(lane, slave, number, slots - 1);
	/* Pairs with the slave's load: it sees the mask. */
	shm_or64(&lane->segment->ready, 1ull << (32 + number));
	return 0;
}

int far__lane_commit_bodies(const struct far__lane *lane, const struct far__ring *ring, unsigned slave, unsigned number)
{
	if (ring == &lane->call)
		return far__space_commit(slave, FAR_CALL_BODIES_AT, FAR_LANES * FAR_CALL_BODIES * sizeof(struct far__body));
	return far__space_commit(slave, (1 + number) * FAR_LANE_STRIDE + FAR_BODIES_AT,
				 (ring->mask + 1) * sizeof(struct far__body));
}

bool far__ring_take_out(const struct far__ring *ring, uint32_t position)
{
	struct far__slot *slot = far__ring_slot(ring, position);
	uint64_t head = shm_load64(&slot->head);
	uint64_t taken_out = (head >> 32 >> FAR_INFO_BITS << FAR_INFO_BITS | FAR_TAKEN_OUT) << 32 | far__asked(position);

	/* One that runs, as most do, need not be asked after: the barrier may take long where the slave computes. */
	if ((uint32_t)head != far__asked(position) || far__ring_has_taken(ring, position) ||
	    !shm_cas64(&slot->head, head, taken_out))
		return false;
	far__park_barrier();		/* partner: far__ring_take() */
	return !far__ring_has_taken(ring, position);
}

/*
 * With less than a crowd the slave waits for one, unless the producer hurries: the
 * longer, the more often it found a call where it looked. Then it takes what there is,
 * one by one. A producer that makes one call at a time is not made to wait.
 */
bool far__lane_look(struct far__lane *lane)
{
	enum { LEAST = 16, MOST = 256, EVERY = 8 };	/* looks */
	struct far__ring *queue = &lane->queue;
	uint32_t position = queue->position, asked = far__asked(position);
	uint32_t hurry = shm_load(&lane->head->hurry);

	if ((int32_t)(hurry - position) >= 0) {
		far__ring_begin_crowd(queue, position, hurry + 1 - position);
		lane->dense = false;
		lane->left = lane->alone = 0;
		return true;
	}
	if (lane->left) {
		lane->left--;
		if (lane->left % EVERY == 0 && far__ring_is_crowd(queue, position, asked, FAR_CROWD))
			lane->left = 0;
		else if (!lane->left)
			lane->alone = FAR_CROWD;
		return !lane->left;
	}
	if (!far__ring_is_asked(queue, position)) {
		if (lane->dense)
			lane->patience /= 2;
		lane->dense = false;
		lane->alone = 0;
		return false;
	}
	if (lane->alone) {
		lane->alone--;
		return true;
	}
	if (!lane->dense) {
		lane->dense = true;
		return true;
	}
	if (far__ring_is_crowd(queue, position, asked, FAR_CROWD))
		return true;
	if (lane->patience < MOST)
		lane->patience += lane->patience + LEAST;
	lane->left = lane->patience;
	return false;
}

void far__lane_await_crowd(struct far__lane *lane, uint32_t position)
{
	enum { LOOKS = 64, FEW = 4 };
	struct far__ring *queue = &lane->queue;
	uint32_t asked = queue->position - position, n = asked / 2 < FAR_CROWD ? asked / 2 : FAR_CROWD;

	if (n < FEW || (int32_t)(queue->no_crowd_until - position) > 0)
		return;
	far__lane_hurry(lane);
	for (unsigned i = 0; i < LOOKS; i++) {
		if (far__ring_is_crowd(queue, position, far__answered(position), n))
			return;
		shm_relax();
	}
	queue->no_crowd_until = position + FAR_CROWD;
}
