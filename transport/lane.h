/*
 * Lanes: how calls get from a thread to a slave and the replies back.
 *
 * Every slave has a segment of shared memory. One page of it is the head (struct
 * far__segment); behind it lie the lanes, each a ring of slots with one producer
 * (the calling thread that owns it) and one consumer (the slave). The reply is
 * written into the request's own slot, so that a round trip moves one cache line
 * there and back.
 *
 *	segment, 32 MiB of addresses, few of them backed by pages
 *	+0        struct far__segment         4 KiB
 *	+2 MiB    lane 0: slots               64 bytes each, up to 4,096
 *	          + 256 KiB: bodies           448 bytes each, the rest of a message
 *	                                      that its slot cannot hold
 *	+4 MiB    lane 1 ...                  15 lanes in all
 *
 * Positions count calls, freely through 2^32; position p uses slot p & mask,
 * whose state says all there is to say:
 *
 *	2p + 1    asked: the request of p is whole; the slot is the slave's
 *	2p + 2    answered: the reply of p is whole; the slot is the producer's
 *	other     an earlier position's; the slot is the producer's
 *
 * The producer stores "asked" (release), the slave reads it (acquire) at the one
 * position it expects next: requests are taken in order. The slave stores
 * "answered" (release), and the producer reads it (acquire) when it wants the
 * reply, or the slot for position p + size. Calls may be answered out of order
 * (a slave that waits for itself), so each slot is looked at, not a counter.
 *
 * Progress: the producer waits only for a slot whose call the slave has not
 * finished. What a death leaves behind: of a dead slave, slots in the state
 * "asked", which nobody will answer (who waits must learn of the death elsewhere).
 * Of a dead producer, nothing: its slave dies with it.
 */
#ifndef FAR_TRANSPORT_LANE_H
#define FAR_TRANSPORT_LANE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "access.h"
#include "park.h"

enum {
	FAR_LANES = 15,
	FAR_QUEUE_MAX = 4096,
	FAR_SLOT_WORDS = 7,
	FAR_BODY_WORDS = 56,
};

struct far__slot {
	uint32_t state;
	uint32_t info;
	uint64_t word[FAR_SLOT_WORDS];
};

struct far__body {
	uint64_t word[FAR_BODY_WORDS];
};

_Static_assert(sizeof(struct far__slot) == 64, "a slot is a cache line");
_Static_assert(sizeof(struct far__body) == 448, "a body is seven");

#define FAR_LANE_STRIDE		(2ul << 20)
#define FAR_BODIES_AT		(FAR_QUEUE_MAX * sizeof(struct far__slot))
_Static_assert(FAR_BODIES_AT + FAR_QUEUE_MAX * sizeof(struct far__body) == FAR_LANE_STRIDE, "lane layout");

/* A lane's part of the segment's head. */
struct far__lane_head {
	struct far__park producer;	/* where threads that wait for replies sleep */
	uint32_t mask;			/* slots - 1; set before the lane's bit in lanes_ready */
	uint32_t first;			/* the position both sides begin at */
	uint32_t unused[12];
};

/* The segment's head. Each group of words that one side writes has its own cache lines. */
struct far__segment {
	/* written by the slave */
	struct far__park slave;		/* where the idle slave sleeps */
	uint32_t unused0[14];

	/* written by the owner, who made the slave */
	uint32_t stop;			/* the slave shall end when it has nothing queued */
	uint32_t lanes_ready;		/* lanes to listen to, a bit each */
	struct far__park control;	/* where those sleep who wait for the slave's end */
	uint32_t unused1[12];

	struct far__lane_head lane[FAR_LANES];
};

_Static_assert(offsetof(struct far__segment, stop) == 64, "the slave's words have a line of their own");
_Static_assert(offsetof(struct far__segment, lane) == 128, "so have the owner's");
_Static_assert(sizeof(struct far__lane_head) == 64, "and each lane's");
_Static_assert(sizeof(struct far__segment) <= 4096, "the head is a page");

/* One side's view of a lane. */
struct far__lane {
	struct far__slot *slots;
	struct far__body *bodies;
	struct far__segment *segment;
	struct far__lane_head *head;
	uint32_t mask;
	uint32_t position;	/* the producer's next to fill, or the slave's next to take */
};

static inline uint32_t far__asked(uint32_t position)
{
	return 2 * position + 1;
}

static inline uint32_t far__answered(uint32_t position)
{
	return 2 * position + 2;
}

static inline struct far__slot *far__lane_slot(const struct far__lane *lane, uint32_t position)
{
	return &lane->slots[position & lane->mask];
}

static inline struct far__body *far__lane_body(const struct far__lane *lane, uint32_t position)
{
	return &lane->bodies[position & lane->mask];
}

static inline bool far__lane_is_asked(const struct far__lane *lane, uint32_t position)
{
	return shm_load(&far__lane_slot(lane, position)->state) == far__asked(position);
}

static inline bool far__lane_is_answered(const struct far__lane *lane, uint32_t position)
{
	return shm_load(&far__lane_slot(lane, position)->state) == far__answered(position);
}

/* The producer's: the request at @position is whole. */
static inline void far__lane_ask(const struct far__lane *lane, uint32_t position)
{
	far__point("lane.ask");
	shm_store(&far__lane_slot(lane, position)->state, far__asked(position));
	far__point("lane.asked");
	far__park_wake(&lane->segment->slave);
}

/* The slave's: the reply at @position is whole. */
static inline void far__lane_answer(const struct far__lane *lane, uint32_t position)
{
	far__point("lane.answer");
	shm_store(&far__lane_slot(lane, position)->state, far__answered(position));
	far__point("lane.answered");
	far__park_wake(&lane->head->producer);
}

/*
 * The producer's side of lane @number of a segment, with @slots slots (a power
 * of two), made for the first time: 0, or -ENOSPC or -ENOMEM with nothing done.
 */
int far__lane_make(struct far__lane *lane, unsigned slave, unsigned number, uint32_t slots);

/* See to it that the lane's bodies may be touched: 0, -ENOSPC or -ENOMEM. */
int far__lane_commit_bodies(const struct far__lane *lane, unsigned slave, unsigned number);

/* The slave's side of a lane that is ready. */
void far__lane_attach(struct far__lane *lane, unsigned slave, unsigned number);

/* Where positions begin: near the wrap in test builds, so that it is always crossed. */
extern uint32_t far__first_position;

#endif
