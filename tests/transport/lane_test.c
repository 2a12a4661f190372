/* Lanes: requests in order and replies to each, through the wrap of positions, in one process and between two. */
#include "lane.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "child.h"
#include "refuse.h"
#include "space.h"
#include "sys.h"

TestSuite(lane, .timeout = 60);

enum { SLAVE = 5 };

/* Where positions begin so that something wraps: the state at half of 2^32, the position at its end. */
static const uint32_t starts[] = { 0, UINT32_MAX / 2 - 1, UINT32_MAX / 2, UINT32_MAX - 1, UINT32_MAX };
enum { STARTS = sizeof starts / sizeof *starts };
static const uint32_t sizes[] = { 1, 2, 128, FAR_QUEUE_MAX };
enum { SIZES = sizeof sizes / sizeof *sizes };

static const char *const wait_name[] = { "uring", "futex", "poll" };

static void begin(void)
{
	const char *expected = getenv("FARCALL_EXPECT_WAIT");

	setenv("FARCALL_HEAP", "16M", 1);
	cr_assert_eq(far__space_map(), 0);
	far__park_init();
	if (expected)
		cr_assert_str_eq(wait_name[far__park_backend()], expected);
	cr_assert_eq(far__space_commit(SLAVE, 0, sizeof(struct far__segment)), 0);
}

static struct far__segment *segment(void)
{
	return far__space_segment(SLAVE);
}

/* Both sides of lane @number, with a queue of @slots. */
static void make(struct far__lane *producer, struct far__lane *slave, unsigned number, uint32_t slots)
{
	far__lane_make(producer, SLAVE, number);
	cr_assert_eq(far__lane_make_queue(producer, SLAVE, number, slots), 0);
	far__lane_attach(slave, SLAVE, number);
	far__lane_attach_queue(slave, SLAVE, number);
}

static void begin_anew(void)
{
	far__space_discard(SLAVE);
	cr_assert_eq(far__space_commit(SLAVE, 0, sizeof(struct far__segment)), 0);
}

/* Any but for one bit, which says that all words are there. */
static uint32_t info_of_request(uint64_t n)
{
	return (uint32_t)n & ~(uint32_t)FAR_NOT_FEW;
}

static uint32_t info_of_reply(uint64_t n)
{
	return ~(uint32_t)n & ~(uint32_t)FAR_NOT_FEW;
}

/* A message that tells which it is, in all of its words. */
static struct far__message message(uint32_t info, uint64_t n, bool few)
{
	struct far__message m = { .info = info, .few = few };

	for (unsigned i = 0; i < FAR_SLOT_WORDS; i++)
		m.word[i] = n * 10 + i;
	return m;
}

static bool is_message(const struct far__message *m, uint32_t info, uint64_t n)
{
	for (unsigned i = 0; i < (m->few ? FAR_FEW_WORDS : FAR_SLOT_WORDS); i++)
		if (m->word[i] != n * 10 + i)
			return false;
	return m->info == info;
}

static void ask(struct far__lane *lane, struct far__ring *ring, uint64_t n)
{
	struct far__message m = message(info_of_request(n), n, n % 2);

	far__lane_ask(lane, ring, ring->position++, &m);
}

/* Take the next request, which is number @n, and answer it. */
static bool answer(struct far__lane *lane, struct far__ring *ring, uint64_t n)
{
	uint32_t position = ring->position++;
	struct far__message m;

	far__ring_read(ring, position, &m, n % 2);
	if (!is_message(&m, info_of_request(n), n))
		return false;
	m = message(info_of_reply(n), n + 1000000, n % 3 == 0);
	far__lane_answer(lane, ring, position, &m);
	return true;
}

/* Look at the reply to request number @n. */
static bool is_reply(const struct far__ring *ring, uint32_t position, uint64_t n)
{
	struct far__message m;

	far__ring_read(ring, position, &m, n % 3 == 0);
	return is_message(&m, info_of_reply(n), n + 1000000);
}

/* -------------------------------------------------------------------- tests */

static void turn_by_turn(struct far__lane *p, struct far__ring *pr, struct far__lane *s, struct far__ring *sr)
{
	for (uint64_t n = 0; n < 3 * (pr->mask + 1ull) + 5; n++) {
		uint32_t position = pr->position;

		cr_assert_not(far__ring_is_asked(sr, sr->position));
		ask(p, pr, n);
		cr_assert_not(far__ring_is_answered(pr, position));
		cr_assert(far__ring_is_asked(sr, sr->position));
		cr_assert(answer(s, sr, n));
		cr_assert(far__ring_is_answered(pr, position));
		cr_assert_not(far__ring_is_asked(sr, sr->position));
		cr_assert(is_reply(pr, position, n));
	}
}

Test(lane, answers_turn_by_turn_through_every_wrap)
{
	begin();
	for (unsigned i = 0; i < STARTS; i++)
		for (unsigned k = 0; k < SIZES; k++) {
			struct far__lane p, s;

			far__first_position = starts[i];
			begin_anew();
			make(&p, &s, k, sizes[k]);
			turn_by_turn(&p, &p.call, &s, &s.call);
			turn_by_turn(&p, &p.queue, &s, &s.queue);
		}
}

Test(lane, a_full_queue_keeps_its_order_through_every_wrap)
{
	begin();
	for (unsigned i = 0; i < STARTS; i++)
		for (unsigned k = 0; k < SIZES; k++) {
			struct far__lane p, s;
			uint32_t size = sizes[k], first = starts[i];

			far__first_position = first;
			begin_anew();
			make(&p, &s, k, size);
			for (unsigned round = 0; round < 4; round++) {
				/* Each time from another slot on. */
				for (uint32_t n = 0; n < size; n++)
					ask(&p, &p.queue, n + round);
				for (uint32_t n = 0; n < size; n++) {
					cr_assert(far__ring_is_asked(&s.queue, s.queue.position));
					cr_assert(answer(&s, &s.queue, n + round));
				}
				cr_assert_not(far__ring_is_asked(&s.queue, s.queue.position));
				for (uint32_t n = 0; n < size; n++) {
					uint32_t position = p.queue.position - size + n;

					cr_assert(far__ring_is_answered(&p.queue, position));
					cr_assert(is_reply(&p.queue, position, n + round));
				}
				ask(&p, &p.queue, 7);
				cr_assert(answer(&s, &s.queue, 7));
			}
		}
}

Test(lane, an_answer_out_of_order_is_that_of_its_own_request)
{
	struct far__lane p, s;
	struct far__message m;

	begin();
	far__first_position = UINT32_MAX - 1;
	make(&p, &s, 3, 4);
	uint32_t first = p.queue.position;

	for (unsigned n = 0; n < 4; n++)
		ask(&p, &p.queue, n);
	s.queue.position += 4;
	for (unsigned k = 0; k < 4; k++) {
		unsigned n = "\2\0\3\1"[k];

		cr_assert_not(far__ring_is_answered(&p.queue, first + n));
		m = message(n, n, false);
		far__lane_answer(&s, &s.queue, first + n, &m);
		cr_assert(far__ring_is_answered(&p.queue, first + n));
	}
}

/* Its function computes: a membarrier() would take long, and here does so for ever. */
static int take_out_what_runs(void)
{
	struct far__lane producer, slave;

	make(&producer, &slave, 0, 2);
	ask(&producer, &producer.queue, 0);
	ask(&producer, &producer.queue, 1);
	far__ring_take(&slave.queue);
	MUST(REFUSE(ENOMEM, SYS_membarrier) == 0);
	MUST(!far__ring_take_out(&producer.queue, 0));
	MUST(far__slot_info(far__ring_slot(&producer.queue, 0)) == info_of_request(0));
	return 0;
}

Test(lane, a_call_that_runs_is_not_taken_out)
{
	struct far__lane producer, slave;

	begin();
	cr_assert_eq(in_child(take_out_what_runs), 0);
	begin_anew();
	make(&producer, &slave, 0, 2);
	ask(&producer, &producer.queue, 0);
	cr_assert(far__ring_take_out(&producer.queue, 0));
	cr_assert_eq(far__slot_info(far__ring_slot(&producer.queue, 0)), (uint32_t)FAR_TAKEN_OUT);
}

Test(lane, few_words_leave_the_others)
{
	struct far__lane p, s;
	struct far__message m = message(1, 1, false);

	begin();
	make(&p, &s, 0, 1);
	far__lane_ask(&p, &p.call, p.call.position, &m);
	m = message(2, 2, true);
	far__lane_answer(&s, &s.call, s.call.position, &m);
	far__ring_read(&p.call, p.call.position, &m, false);
	cr_assert_eq(m.info, 2);
	cr_assert_eq(m.word[FAR_FEW_WORDS - 1], 22);
	cr_assert_eq(m.word[FAR_FEW_WORDS], 13);
}

Test(lane, is_announced_to_the_slave)
{
	struct far__lane p, s;

	begin();
	cr_assert_eq(segment()->ready, 0);
	far__lane_make(&p, SLAVE, 0);
	far__lane_make(&p, SLAVE, FAR_LANES - 1);
	cr_assert_eq(segment()->ready, 1ull | 1ull << (FAR_LANES - 1));
	cr_assert_eq(far__lane_make_queue(&p, SLAVE, FAR_LANES - 1, 64), 0);
	cr_assert_eq(segment()->ready, 1ull | 1ull << (FAR_LANES - 1) | 1ull << (32 + FAR_LANES - 1));
	far__lane_attach(&s, SLAVE, FAR_LANES - 1);
	cr_assert_null(s.queue.slots);
	far__lane_attach_queue(&s, SLAVE, FAR_LANES - 1);
	cr_assert_eq(s.queue.mask, 63);
	cr_assert_eq(s.queue.slots, p.queue.slots);
	cr_assert_eq(s.queue.rests, p.queue.rests);
	cr_assert_eq(s.queue.bodies, p.queue.bodies);
	cr_assert_eq(s.call.slots, p.call.slots);
	cr_assert_eq(s.head, p.head);
}

/* The segment is a slave's to write to: who looks at its lanes stays within them. */
Test(lane, a_queue_of_a_wrong_size_stays_within_its_lane)
{
	struct far__lane p, s;

	begin();
	far__lane_make(&p, SLAVE, 0);
	cr_assert_eq(far__lane_make_queue(&p, SLAVE, 0, 64), 0);
	shm_set(&p.head->mask, UINT32_MAX);
	far__lane_attach(&s, SLAVE, 0);
	far__lane_attach_queue(&s, SLAVE, 0);
	cr_assert_lt(s.queue.mask, FAR_QUEUE_MAX);
	cr_assert_eq(p.queue.mask, 63);
}

Test(lane, lanes_do_not_overlap)
{
	struct far__lane p[FAR_LANES], s[FAR_LANES];

	begin();
	const char *end = (char *)segment() + FAR_SEGMENT_SIZE;
	for (unsigned i = 0; i < FAR_LANES; i++) {
		make(&p[i], &s[i], i, FAR_QUEUE_MAX);
		cr_assert_eq(far__lane_commit_bodies(&p[i], &p[i].call, SLAVE, i), 0);
		cr_assert_eq(far__lane_commit_bodies(&p[i], &p[i].queue, SLAVE, i), 0);
		cr_assert_leq((char *)(p[i].queue.bodies + FAR_QUEUE_MAX), end);
	}
	for (unsigned i = 0; i < FAR_LANES; i++) {
		memset(p[i].call.slots, (int)(1 + i), sizeof(struct far__slot));
		memset(p[i].call.rests, (int)(101 + i), sizeof(struct far__rest));
		memset(p[i].call.bodies, (int)(21 + i), FAR_CALL_BODIES * sizeof(struct far__body));
		memset(p[i].queue.slots, (int)(41 + i), FAR_QUEUE_MAX * sizeof(struct far__slot));
		memset(p[i].queue.rests, (int)(81 + i), FAR_QUEUE_MAX * sizeof(struct far__rest));
		memset(p[i].queue.bodies, (int)(61 + i), FAR_QUEUE_MAX * sizeof(struct far__body));
	}
	for (unsigned i = 0; i < FAR_LANES; i++) {
		const char *slots = (char *)s[i].queue.slots, *bodies = (char *)s[i].queue.bodies;
		const char *rests = (char *)s[i].queue.rests;

		cr_assert_eq(*(char *)s[i].call.slots, (char)(1 + i));
		cr_assert_eq(*(char *)(s[i].call.slots + 1), (char)(101 + i));
		cr_assert_eq(*(char *)s[i].call.rests, (char)(101 + i));
		cr_assert_eq(*(char *)(s[i].call.rests + 1), (char)(i + 1 < FAR_LANES ? 2 + i : 0));
		for (unsigned k = 0; k < FAR_CALL_BODIES; k++)
			cr_assert_eq(*(char *)far__ring_body(&s[i].call, k), (char)(21 + i));
		for (size_t k = 0; k < FAR_QUEUE_MAX * sizeof(struct far__slot); k += 61)
			cr_assert(slots[k] == (char)(41 + i) && rests[k] == (char)(81 + i));
		for (size_t k = 0; k < FAR_QUEUE_MAX * sizeof(struct far__body); k += 443)
			cr_assert_eq(bodies[k], (char)(61 + i));
	}
	cr_assert_eq(segment()->ready, 0x7fff00007fffull);
	cr_assert_eq(far__first_position, 0);
	far__space_discard(SLAVE);
}

Test(lane, bodies_belong_to_their_positions)
{
	struct far__lane p, s;

	begin();
	for (unsigned i = 0; i < STARTS; i++) {
		far__first_position = starts[i];
		begin_anew();
		make(&p, &s, 4, 8);
		cr_assert_eq(far__lane_commit_bodies(&p, &p.queue, SLAVE, 4), 0);
		for (uint64_t n = 0; n < 8; n++) {
			uint64_t words[FAR_BODY_WORDS];

			for (unsigned w = 0; w < FAR_BODY_WORDS; w++)
				words[w] = n * 1000 + w;
			shm_copy_in(far__ring_body(&p.queue, p.queue.position)->word, words, FAR_BODY_WORDS);
			ask(&p, &p.queue, n);
		}
		for (uint64_t n = 0; n < 8; n++) {
			uint64_t words[FAR_BODY_WORDS];

			shm_copy_out(words, far__ring_body(&s.queue, s.queue.position)->word, FAR_BODY_WORDS);
			cr_assert(answer(&s, &s.queue, n));
			for (unsigned w = 0; w < FAR_BODY_WORDS; w++)
				cr_assert_eq(words[w], n * 1000 + w);
		}
	}
}

/* No more pages. */
static long (*real_sys)(long, long, long, long, long, long, long);

static long full(long number, long a, long b, long c, long d, long e, long f)
{
	if (number == SYS_fallocate && !(b & FALLOC_FL_PUNCH_HOLE))
		return -ENOSPC;
	return real_sys(number, a, b, c, d, e, f);
}

Test(lane, a_queue_without_room_is_not_made)
{
	struct far__lane p;

	begin();
	real_sys = far__sys;
	far__lane_make(&p, SLAVE, 2);
	far__sys = full;
	cr_assert_eq(far__lane_make_queue(&p, SLAVE, 2, 128), -ENOSPC);
	cr_assert_eq(far__lane_commit_bodies(&p, &p.call, SLAVE, 2), -ENOSPC);
	cr_assert_eq(segment()->ready, 1ull << 2);
	cr_assert_eq(p.head->mask, 0);
	cr_assert_null(p.queue.slots);
	far__sys = real_sys;
	cr_assert_eq(far__lane_make_queue(&p, SLAVE, 2, 128), 0);
	cr_assert_eq(p.queue.mask, 127);
}

/* How often a patient slave looks until it has served @n calls that are asked. */
static unsigned looks_for(struct far__lane *p, struct far__lane *s, unsigned n)
{
	unsigned looks = 0;

	for (unsigned i = 0; i < n; i++)
		ask(p, &p->queue, i);
	for (unsigned served = 0; served < n; looks++)
		if (far__lane_has_queued(s, true))
			cr_assert(answer(s, &s->queue, served++));
	cr_assert_not(far__lane_has_queued(s, true));
	return looks;
}

/* Nobody says that they are waited for: a crowd is waited for once, not before each of them. */
Test(lane, calls_that_nobody_waits_for_are_served_soon)
{
	struct far__lane p, s;

	begin();
	make(&p, &s, 2, 128);
	for (unsigned round = 0; round < 20; round++)
		for (unsigned n = 1; n <= 64; n++)
			cr_assert_lt(looks_for(&p, &s, n), 600 + n);
}

/* ---------------------------------------------------- both sides at once */

struct looking {
	const struct far__ring *ring;
	uint32_t position;
};

static bool is_asked(void *arg)
{
	const struct looking *l = arg;

	return far__ring_is_asked(l->ring, l->position);
}

static bool is_answered(void *arg)
{
	const struct looking *l = arg;

	return far__ring_is_answered(l->ring, l->position);
}

/* Look a few times and then sleep, as far_invoke() does, but sooner. */
static void await(struct far__park *park, bool (*ready)(void *), const struct far__ring *ring, uint32_t position)
{
	struct looking l = { ring, position };

	for (unsigned i = 0; i < position % 100; i++)
		if (ready(&l))
			return;
	far__park_sleep(park, ready, &l, UINT64_MAX);
}

struct traffic {
	uint32_t size;		/* of the queue; 0: the call slot is used */
	unsigned calls;
	struct far__lane lane;
};

static struct far__ring *ring_of(struct traffic *t)
{
	return t->size ? &t->lane.queue : &t->lane.call;
}

/* The slave's side: 0, or 1 when a request was not the expected one. */
static int serve(struct traffic *t)
{
	struct far__ring *ring = ring_of(t);

	for (uint64_t n = 0; n < t->calls; n++) {
		await(&t->lane.segment->slave, is_asked, ring, ring->position);
		if (!answer(&t->lane, ring, n))
			return 1;
	}
	return 0;
}

/* The producer's: so many requests ahead as there are slots. */
static int call(struct traffic *t)
{
	struct far__ring *ring = ring_of(t);
	uint64_t size = ring->mask + 1ull;

	for (uint64_t n = 0; n < t->calls + size; n++) {
		if (n >= size) {
			uint32_t position = ring->position - (uint32_t)(n < t->calls ? size : t->calls + size - n);

			await(&t->lane.head->producer, is_answered, ring, position);
			if (!is_reply(ring, position, n - size))
				return 1;
		}
		if (n < t->calls)
			ask(&t->lane, ring, n);
	}
	return 0;
}

static void *serving_thread(void *arg)
{
	int wrong = serve(arg);

	far__park_thread_end();
	return (void *)(intptr_t)wrong;
}

static void make_traffic(struct traffic *p, struct traffic *s, unsigned number, uint32_t size, unsigned calls)
{
	p->size = s->size = size;
	p->calls = s->calls = calls;
	make(&p->lane, &s->lane, number, size ? size : 1);
}

static void between_threads(uint32_t size, uint32_t start, unsigned calls)
{
	struct traffic p, s;
	pthread_t thread;
	void *wrong;

	begin();
	far__first_position = start;
	make_traffic(&p, &s, 1, size, calls);
	cr_assert_eq(pthread_create(&thread, NULL, serving_thread, &s), 0);
	cr_assert_eq(call(&p), 0);
	pthread_join(thread, &wrong);
	cr_assert_null(wrong);
}

static void between_processes(uint32_t size, uint32_t start, unsigned calls)
{
	struct traffic p, s;
	int status;

	begin();
	far__first_position = start;
	make_traffic(&p, &s, 1, size, calls);
	pid_t child = fork();

	cr_assert_geq(child, 0);
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		far__park_forked();
		_exit(serve(&s));
	}
	cr_assert_eq(call(&p), 0);
	cr_assert_eq(waitpid(child, &status, 0), child);
	cr_assert_eq(status, 0);
}

#define NEAR_WRAP (UINT32_MAX - 10000)
#define NEAR_HALF (UINT32_MAX / 2 - 10000)

Test(lane, carries_calls_between_threads) { between_threads(0, NEAR_WRAP, 20000); }
Test(lane, carries_a_queue_of_1_between_threads) { between_threads(1, NEAR_HALF, 20000); }
Test(lane, carries_a_queue_of_2_between_threads) { between_threads(2, NEAR_WRAP, 20000); }
Test(lane, carries_a_queue_of_128_between_threads) { between_threads(128, NEAR_HALF, 200000); }
Test(lane, carries_calls_between_processes) { between_processes(0, NEAR_HALF, 20000); }
Test(lane, carries_a_queue_of_1_between_processes) { between_processes(1, NEAR_WRAP, 20000); }
Test(lane, carries_a_queue_of_2_between_processes) { between_processes(2, NEAR_HALF, 20000); }
Test(lane, carries_a_queue_of_128_between_processes) { between_processes(128, NEAR_WRAP, 200000); }

static bool any_is_asked(void *arg)
{
	struct traffic *t = arg;

	for (unsigned i = 0; i < FAR_LANES; i++)
		if (far__ring_is_asked(&t[i].lane.call, t[i].lane.call.position))
			return true;
	return false;
}

/* A slave that listens to all lanes, in the child. */
static int serve_all(struct traffic *t, unsigned calls)
{
	uint64_t n[FAR_LANES] = { 0 };

	for (unsigned left = FAR_LANES * calls; left;) {
		far__park_sleep(&t->lane.segment->slave, any_is_asked, t, UINT64_MAX);
		for (unsigned i = 0; i < FAR_LANES; i++) {
			struct far__ring *ring = &t[i].lane.call;

			if (!far__ring_is_asked(ring, ring->position))
				continue;
			if (!answer(&t[i].lane, ring, n[i]++))
				return 1;
			left--;
		}
	}
	return 0;
}

static void *calling_thread(void *arg)
{
	int wrong = call(arg);

	far__park_thread_end();
	return (void *)(intptr_t)wrong;
}

Test(lane, carries_calls_of_many_threads_to_a_process)
{
	static struct traffic p[FAR_LANES], s[FAR_LANES];
	pthread_t thread[FAR_LANES];
	int status;

	begin();
	far__first_position = UINT32_MAX - 1000;
	for (unsigned i = 0; i < FAR_LANES; i++)
		make_traffic(&p[i], &s[i], i, 0, 2000);
	pid_t child = fork();

	cr_assert_geq(child, 0);
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		far__park_forked();
		_exit(serve_all(s, 2000));
	}
	for (unsigned i = 0; i < FAR_LANES; i++)
		cr_assert_eq(pthread_create(&thread[i], NULL, calling_thread, &p[i]), 0);
	for (unsigned i = 0; i < FAR_LANES; i++) {
		void *wrong;

		pthread_join(thread[i], &wrong);
		cr_assert_null(wrong);
	}
	cr_assert_eq(waitpid(child, &status, 0), child);
	cr_assert_eq(status, 0);
}
