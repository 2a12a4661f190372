/*
 * Lanes: how calls get from a thread to a slave and the replies back.
 *
 * Every slave has a segment of shared memory. One page of it is the head (struct
 * far__segment); each calling thread owns a lane, whose only producer it is and
 * whose only consumer the slave is. A lane has two rings of slots:
 *
 *	call    one slot, for calls that are waited for
 *	queue   up to 4,096 slots, for scheduled calls; made at the first of them
 *
 * The reply is written into the request's own slot, so that a round trip moves a
 * cache line there and back; in the queue, two of them share it. That the waited-for
 * calls share one slot makes them fast: the line that brought a reply is in the
 * caller's cache for the next request (two thirds of the time of a round trip through
 * different lines). The producer uses it only while its queue is all answered, so
 * that its calls stay in order.
 *
 *	segment, 32 MiB of addresses, few of them backed by pages
 *	+0        struct far__segment, with the call slots   4 KiB
 *	+4 KiB    the call slots' bodies, two each
 *	+64 KiB   128 KiB for what the slave leaves if it crashes (core/crash.h)
 *	+2 MiB    lane 0's queue: slots       32 bytes each, up to 4,096: most messages
 *	          then: rests                 32 bytes each, of those that are longer
 *	          + 256 KiB: bodies           448 bytes each, what these cannot hold
 *	+4 MiB    lane 1's queue ...          15 lanes in all
 *
 * Positions count calls, freely through 2^32; position p uses slot p & mask,
 * whose head's state says all there is to say:
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
	FAR_CRASH_WORDS = 16,
	FAR_WILL_WORDS = 5,
};

enum { FAR_CALL, FAR_QUEUE, FAR_RINGS };	/* the rings of a lane */

enum { FAR_FEW_WORDS = 3 };

/* Most messages are of few words: in a queue two such share a cache line, which is then moved half as often. */
struct far__slot {
	uint64_t head;		/* low half: the state; high half: what the message is */
	uint64_t word[FAR_FEW_WORDS];
};

/* The other words of a message, behind all slots of the ring: in the same cache line if there is one slot. */
struct far__rest {
	uint64_t word[FAR_SLOT_WORDS - FAR_FEW_WORDS];
};

struct far__body {
	uint64_t word[FAR_BODY_WORDS];
};

_Static_assert(sizeof(struct far__slot) == 32 && sizeof(struct far__rest) == 32, "a slot and its rest are half a cache line each");
_Static_assert(sizeof(struct far__body) == 448, "a body is seven");

#define FAR_CALL_BODIES_AT	4096ul
enum { FAR_CALL_BODIES = 2 };	/* for one slot: while the slave has one, the producer gets hold of the other's cache lines */
_Static_assert(FAR_CALL_BODIES_AT + FAR_LANES * FAR_CALL_BODIES * sizeof(struct far__body) <= 64 << 10, "what crashes leave is behind");
#define FAR_LANE_STRIDE		(2ul << 20)
#define FAR_SLOT_SIZE		(sizeof(struct far__slot) + sizeof(struct far__rest))
#define FAR_BODIES_AT		(FAR_QUEUE_MAX * FAR_SLOT_SIZE)
_Static_assert(FAR_BODIES_AT + FAR_QUEUE_MAX * sizeof(struct far__body) == FAR_LANE_STRIDE, "lane layout");

/* A lane's part of the segment's head. */
struct far__lane_head {
	struct far__park producer;	/* where threads that wait for replies sleep */
	uint32_t mask;			/* the queue's slots - 1; set before its bit in ready */
	uint32_t hurry;			/* the last position in the queue when its producer last waited: a hint */
	uint32_t interrupt[FAR_RINGS];	/* the state of the call, in each ring, whose function shall give up */
	uint64_t notice[FAR_RINGS];	/* and by when, else its slave is killed: see far__notice(); or 0 */
	uint32_t unused[6];
};

/* What segment->stop may be. */
enum { FAR_STOP = 1, FAR_STOPPED };	/* the slave shall end; it did, with nothing queued */

/* What a slave process is told: limits in bytes, seconds, numbers; a nice value; whether to dump cores. */
enum { FAR_MEMORY_LIMIT, FAR_CPU_LIMIT, FAR_PROCESS_LIMIT, FAR_FILE_LIMIT, FAR_NICE, FAR_CORE_DUMPS, FAR_ORDERS };

/* The segment's head. Each group of words that one side writes has its own cache lines. */
struct far__segment {
	/* written by the slave */
	struct far__park slave;		/* where the idle slave sleeps */
	uint32_t unused0[14];

	/* written by the owner, who made the slave */
	uint64_t ready;			/* lanes to listen to, a bit each, and in the upper half those with a queue */
	uint32_t stop;			/* the slave shall end when it has nothing queued */
	uint32_t doomed;		/* by the zygote: it takes no more calls, for it may be killed */
	uint64_t name[2];		/* for the slave to take, before its first lane is ready */
	struct far__park control;	/* where those sleep who wait for the slave's end */
	uint32_t unused2[6];

	struct far__lane_head lane[FAR_LANES];
	struct {
		struct far__slot slot;
		struct far__rest rest;
	} call[FAR_LANES];

	/* written by the slave */
	uint32_t taken[FAR_LANES][FAR_RINGS];	/* the next position that it will take */
	uint64_t asleep;		/* the address of the park in which it sleeps within a call, or 0 */
	uint64_t deadline;		/* of the calls that it runs, the earliest, or 0 */
	uint64_t crash[FAR_CRASH_WORDS];	/* when it crashes */
	uint64_t will[FAR_WILL_WORDS];	/* marked by the kernel when it dies: see core/will.h */

	/* written by the owner, before it makes a lane */
	_Alignas(64) uint64_t setup;	/* a function that each new incarnation calls first, or 0 */
	uint64_t setup_argument;
	uint64_t order[FAR_ORDERS];	/* what each incarnation may use or shall do, or 0 */
};

_Static_assert(offsetof(struct far__segment, ready) == 64, "the slave's words have a line of their own");
_Static_assert(offsetof(struct far__segment, lane) == 128, "so have the owner's");
_Static_assert(sizeof(struct far__lane_head) == 64, "and each lane's");
_Static_assert(offsetof(struct far__segment, taken) % 64 == 0, "what the slave writes has lines of its own");
_Static_assert(sizeof(struct far__segment) <= 4096, "the head is a page");

/* One side's view of a ring. */
struct far__ring {
	struct far__slot *slots;
	struct far__rest *rests;
	struct far__body *bodies;
	uint32_t mask, body_mask;
	uint32_t position;	/* the producer's next to fill, or the slave's next to take */
	uint32_t *taken, *interrupt;	/* the ring's, in the segment */
	uint32_t crowd_end;	/* the slots before this one are handed over: see far__ring_is_crowd() */
	uint32_t no_crowd_until;	/* for these the producer does not wait for one */
};

/* One side's view of a lane. */
struct far__lane {
	struct far__segment *segment;
	struct far__lane_head *head;
	struct far__ring call, queue;
	struct far__park *consumer;	/* where the slave sleeps */
	/* The slave's: see far__lane_look(). */
	uint32_t patience;	/* for how many looks to wait for a crowd */
	uint32_t left;		/* of them, now */
	uint32_t alone;		/* calls to take without a crowd, when none has come */
	bool dense;		/* when it looked before there was a call */
};

/* The slots of a queue - 1, as its lane's head has it: a slave may write there, so no more than there is room for. */
static inline uint32_t far__lane_queue_mask(const struct far__lane_head *head)
{
	return shm_load(&head->mask) % FAR_QUEUE_MAX;
}

static inline uint32_t far__asked(uint32_t position)
{
	return 2 * position + 1;
}

static inline uint32_t far__answered(uint32_t position)
{
	return 2 * position + 2;
}

static inline struct far__slot *far__ring_slot(const struct far__ring *ring, uint32_t position)
{
	return &ring->slots[position & ring->mask];
}

static inline struct far__rest *far__ring_rest(const struct far__ring *ring, uint32_t position)
{
	return &ring->rests[position & ring->mask];
}

static inline struct far__body *far__ring_body(const struct far__ring *ring, uint32_t position)
{
	return &ring->bodies[position & ring->body_mask];
}

static inline bool far__ring_is_asked(const struct far__ring *ring, uint32_t position)
{
	return (uint32_t)shm_load64(&far__ring_slot(ring, position)->head) == far__asked(position);
}

/* Whether the slave has begun that call. */
static inline bool far__ring_has_taken(const struct far__ring *ring, uint32_t position)
{
	return (int32_t)(shm_load(ring->taken) - position) > 0;
}

static inline bool far__ring_is_answered(const struct far__ring *ring, uint32_t position)
{
	return (uint32_t)shm_load64(&far__ring_slot(ring, position)->head) == far__answered(position);
}

/*
 * Crowds. Who goes along a ring right behind the other side looks at each slot while
 * that is being written, and both wait for every cache line. So in a stream of calls
 * each side waits until many slots are handed over, which one look at the last tells.
 * A hint: calls may be answered in any order.
 */
enum { FAR_CROWD = 64, FAR_CROWD_FETCHED = 8 };

/* The @n slots from @position on are handed over: have the first ones fetched, to be written to. */
static inline void far__ring_begin_crowd(struct far__ring *ring, uint32_t position, uint32_t n)
{
	ring->crowd_end = position + n;
	for (uint32_t i = 0; i < FAR_CROWD_FETCHED && i < n; i++)
		shm_own(far__ring_slot(ring, position + i));
}

/*
 * Whether @n slots are handed over: the first, at @position, is in @state then. Behind a
 * full crowd there are a few more, for the processor to fetch unasked as it goes along.
 */
static inline bool far__ring_is_crowd(struct far__ring *ring, uint32_t position, uint32_t state, uint32_t n)
{
	uint32_t last = n - 1 + (n < FAR_CROWD ? 0 : FAR_CROWD / 4);

	if ((uint32_t)shm_load64(&far__ring_slot(ring, position + last)->head) != state + 2 * last)
		return false;
	far__ring_begin_crowd(ring, position, n);
	return true;
}

/* Whether the slot at @position is in a crowd. Fetches some to come, and looks for the next crowd in time. */
static inline bool far__ring_in_crowd(struct far__ring *ring, uint32_t position, uint32_t state)
{
	int32_t left = (int32_t)(ring->crowd_end - position);

	if (left > FAR_CROWD_FETCHED)
		shm_own(far__ring_slot(ring, position + FAR_CROWD_FETCHED));
	else if (left == FAR_CROWD_FETCHED)
		far__ring_is_crowd(ring, position + FAR_CROWD_FETCHED, state + 2 * FAR_CROWD_FETCHED, FAR_CROWD);
	return left > 0;
}

/* The producer's: wait a little until the slot at @position, whose reply it wants, is in a crowd. */
void far__lane_await_crowd(struct far__lane *lane, uint32_t position);

static inline void far__lane_expect(struct far__lane *lane, uint32_t position)
{
	if (!far__ring_in_crowd(&lane->queue, position, far__answered(position)))
		far__lane_await_crowd(lane, position);
}

/*
 * The producer's: whether no other call is on its way. With one that is alone the slave
 * waits for no more, usually, and need not be hurried by way of another cache line.
 */
static inline bool far__ring_is_alone(const struct far__ring *ring, uint32_t position)
{
	return position == ring->position - 1 && far__ring_is_answered(ring, position - 1);
}

/* The producer's: the slave shall not wait for more calls in the queue than there are. */
static inline void far__lane_hurry(const struct far__lane *lane)
{
	shm_store(&lane->head->hurry, lane->queue.position - 1);
}

/* The slave's: is the queue's next call there, and no crowd to be waited for? */
bool far__lane_look(struct far__lane *lane);

static inline bool far__lane_has_queued(struct far__lane *lane, bool patient)
{
	uint32_t position = lane->queue.position;

	if (far__ring_in_crowd(&lane->queue, position, far__asked(position)) || !patient || far__lane_look(lane))
		return far__ring_is_asked(&lane->queue, position);
	return false;
}

/*
 * The slave's: take the call at the ring's position. It says so before it reads what
 * the slot asks for; who takes a call out again (far__ring_take_out) changes that and
 * then looks whether it was taken, and makes the barrier for both.
 */
static inline uint32_t far__ring_take(struct far__ring *ring)
{
	uint32_t position = ring->position++;

	shm_set(ring->taken, ring->position);
	far__park_barrier_of_other();	/* partner: far__ring_take_out() */
	return position;
}

/*
 * The producer's: have the slave answer the call at @position without running it;
 * it asks for FAR_TAKEN_OUT then. True if that is certain; false: it has been taken,
 * and its answer will tell.
 */
bool far__ring_take_out(const struct far__ring *ring, uint32_t position);

/* The lower bits of an info say what is asked for, the upper ones of which life of the slave: core/message.h. */
enum { FAR_INFO_BITS = 22 };

/* What no request asks for: seven integer registers. */
enum { FAR_TAKEN_OUT = 7 | 1 << 14 };

/* In the info of a reply to a request of few words: it has all of them. */
enum { FAR_NOT_FEW = 1 << 10 };

/* What a slot carries, on its way in or out. */
struct far__message {
	uint32_t info;
	bool few;		/* no more than FAR_FEW_WORDS are used */
	uint64_t word[FAR_SLOT_WORDS];
};

/*
 * Fill a slot and hand it over: in one go and with as few stores as can be, for
 * the other side is looking at the head meanwhile, and each look that falls
 * between two stores takes the cache line away. Words that are not used keep what
 * an earlier message between the same two sides had there.
 */
static inline void far__ring_fill(const struct far__ring *ring, uint32_t position, const struct far__message *m, uint32_t state)
{
	struct far__slot *slot = far__ring_slot(ring, position);

	SHM_UNROLL
	for (unsigned i = 0; i < FAR_FEW_WORDS; i++)
		shm_set64(&slot->word[i], m->word[i]);
	if (!m->few) {
		struct far__rest *rest = far__ring_rest(ring, position);

		SHM_UNROLL
		for (unsigned i = FAR_FEW_WORDS; i < FAR_SLOT_WORDS; i++)
			shm_set64(&rest->word[i - FAR_FEW_WORDS], m->word[i]);
	}
	shm_store64(&slot->head, (uint64_t)m->info << 32 | state);
}

/* What is in a slot that has been handed over. */
static inline uint32_t far__slot_info(const struct far__slot *slot)
{
	return (uint32_t)(shm_peek64(&slot->head) >> 32);
}

/* The words alone: of a request, whose info may change, it is read once. */
static inline void far__ring_words(const struct far__ring *ring, uint32_t position, struct far__message *m, bool few)
{
	const struct far__slot *slot = far__ring_slot(ring, position);
	const struct far__rest *rest = far__ring_rest(ring, position);

	m->few = few;
	SHM_UNROLL
	for (unsigned i = 0; i < FAR_FEW_WORDS; i++)
		m->word[i] = shm_peek64(&slot->word[i]);
	if (few)
		return;
	SHM_UNROLL
	for (unsigned i = FAR_FEW_WORDS; i < FAR_SLOT_WORDS; i++)
		m->word[i] = shm_peek64(&rest->word[i - FAR_FEW_WORDS]);
}

static inline void far__ring_read(const struct far__ring *ring, uint32_t position, struct far__message *m, bool few)
{
	m->info = far__slot_info(far__ring_slot(ring, position));
	far__ring_words(ring, position, m, few && !(m->info & FAR_NOT_FEW));
}

/* The producer's: make the request at @position of one of the lane's rings. Whether the slave had to be woken. */
static inline bool far__lane_ask(const struct far__lane *lane, const struct far__ring *ring, uint32_t position,
				 const struct far__message *m)
{
	far__point("lane.ask");
	far__ring_fill(ring, position, m, far__asked(position));
	far__point("lane.asked");
	return far__park_wake(lane->consumer);
}

/* The slave's: reply to it. */
static inline void far__lane_answer(const struct far__lane *lane, const struct far__ring *ring, uint32_t position,
				    const struct far__message *m)
{
	far__point("lane.answer");
	far__ring_fill(ring, position, m, far__answered(position));
	far__point("lane.answered");
	far__park_wake(&lane->head->producer);
}

/* The producer's side of lane @number of a segment, with its call slot; the slave listens to it from now on. */
void far__lane_make(struct far__lane *lane, unsigned slave, unsigned number);

/* Its queue, of @slots slots (a power of two): 0, or -ENOSPC or -ENOMEM with nothing done. */
int far__lane_make_queue(struct far__lane *lane, unsigned slave, unsigned number, uint32_t slots);

/* See to it that the bodies of a ring may be touched: 0, -ENOSPC or -ENOMEM. */
int far__lane_commit_bodies(const struct far__lane *lane, const struct far__ring *ring, unsigned slave, unsigned number);

/* The slave's side of a lane that is ready, and of its queue when that is. */
void far__lane_attach(struct far__lane *lane, unsigned slave, unsigned number);
void far__lane_attach_queue(struct far__lane *lane, unsigned slave, unsigned number);

/* Where positions begin: near the wrap in tests, so that it is crossed. */
extern uint32_t far__first_position;

#endif
