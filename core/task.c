/*
 * Calls whose results come later.
 *
 * A task is a record in a table that only grows; its handle is the record's
 * index and the generation it is in. One word holds generation and phase, so
 * that a compare-and-swap of it tells a stale handle from a good one:
 *
 *	FREE -> RUNNING -> LOCKED -> FREE         collected, right from the slot
 *	            |   -> LOCKED -> MOVED        moved: the slot is needed, or goes
 *	            |        MOVED -> LOCKED -> FREE   collected, from the record
 *	        FORGOTTEN -> LOCKED -> FREE       dropped, when it is moved
 *
 * Whoever has LOCKED it, the collecting thread or the port's thread that needs
 * the slot, is the only one to touch the slot's reply or the record; the other
 * waits for the few instructions that takes. A thread that has claimed the port
 * of a task (far__port_claim) is alone with it and goes past LOCKED. A task in a
 * thread of its own has no port and is MOVED by that thread.
 */
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "internal.h"
#include "message.h"
#include "sys.h"

enum phase { FREE, RUNNING, LOCKED, MOVED, FORGOTTEN };

/* The first cache line is all that most tasks touch. */
struct task {
	_Alignas(64) _Atomic uint64_t word;	/* generation << 8 | phase */
	_Atomic(struct far__port *) port;	/* NULL: in a thread of its own */
	_Atomic uintptr_t handle;	/* the slave's */
	const struct far__site *site;
	_Atomic uint64_t deadline;
	struct task *next_free;
	_Atomic uint32_t position;
	uint32_t index;
	uint8_t result;
	bool few;			/* its message was: see far__message */
	bool quiet;			/* FORGOTTEN, and its failure is known */
	bool holding;			/* .holds has anything in it */
	struct far__holds holds;
	struct far__message reply;	/* once MOVED */
	/* Of tasks in threads of their own. */
	_Atomic uint32_t ends;		/* how many have had this record: a futex word */
	uint32_t interrupt;		/* it is cancelled */
};

enum { BLOCK = 512, BLOCKS = (1 << 15) - 1 };	/* 16 million tasks: an index and 1 have 24 bits of a handle */

static struct {
	pthread_mutex_t lock;
	_Atomic(struct task *) block[BLOCKS];
	_Atomic uint32_t made;		/* records in the blocks there are */
	struct task *free;		/* a list by next_free */
} table = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* Each thread keeps some free records, to need no lock. */
enum { KEPT = 64 };
static __thread struct {
	struct task *first;
	uint32_t n;
} kept;

static struct task *task_at(uint32_t index)
{
	return &atomic_load_explicit(&table.block[index / BLOCK], memory_order_acquire)[index % BLOCK];
}

static uint64_t word_of(uint64_t generation, enum phase phase)
{
	return generation << 8 | phase;
}

/* The record of a handle, and the word it must have, but for the phase. NULL if it is none. */
static struct task *find(uintptr_t handle, uint64_t *generation)
{
	uint32_t index = (uint32_t)(handle & 0xffffff) - 1;

	*generation = handle >> 24;
	if (!handle || FAR_UNLIKELY(far__is_forked) || index >= atomic_load_explicit(&table.made, memory_order_acquire))
		return NULL;
	return task_at(index);
}

/* ------------------------------------------------------------- records */

static bool more_records(void)
{
	uint32_t made = table.made;
	struct task *block = made / BLOCK < BLOCKS ? aligned_alloc(_Alignof(struct task), BLOCK * sizeof *block) : NULL;

	if (!block)
		return false;
	memset(block, 0, BLOCK * sizeof *block);
	for (uint32_t i = 0; i < BLOCK; i++) {
		block[i].index = made + i;
		block[i].word = word_of(1, FREE);
		block[i].next_free = i + 1 < BLOCK ? &block[i + 1] : table.free;
	}
	atomic_store_explicit(&table.block[made / BLOCK], block, memory_order_release);
	table.free = block;
	atomic_store_explicit(&table.made, made + BLOCK, memory_order_release);
	return true;
}

static __attribute__((noinline)) void fetch_records(void)
{
	pthread_mutex_lock(&table.lock);
	while (kept.n < KEPT / 2 && (table.free || more_records())) {
		struct task *t = table.free;

		table.free = t->next_free;
		t->next_free = kept.first;
		kept.first = t;
		kept.n++;
	}
	pthread_mutex_unlock(&table.lock);
}

/* One of this thread's; NULL: it keeps none. */
static inline struct task *take_kept(void)
{
	struct task *t = kept.first;

	if (FAR_LIKELY(t != NULL)) {
		kept.first = t->next_free;
		kept.n--;
	}
	return t;
}

/* Give records of this thread back until it keeps no more than @most. */
static void give_back(uint32_t most)
{
	pthread_mutex_lock(&table.lock);
	while (kept.n > most) {
		struct task *t = kept.first;

		kept.first = t->next_free;
		kept.n--;
		t->next_free = table.free;
		table.free = t;
	}
	pthread_mutex_unlock(&table.lock);
}

void far__tasks_thread_end(void)
{
	give_back(0);
}

/* A LOCKED record ends, and its generation: its handle is none any more. */
static inline void end_generation(struct task *t, uint64_t generation)
{
	atomic_store_explicit(&t->word, word_of((generation + 1) & 0xffffffff, FREE), memory_order_release);
}

/* Whose generation has ended, and nobody knows it any more: for the next. */
static inline void keep_record(struct task *t)
{
	if (FAR_UNLIKELY(t->holding))
		free(t->holds.buffers);
	t->next_free = kept.first;
	kept.first = t;
	if (FAR_UNLIKELY(++kept.n > KEPT))
		give_back(KEPT / 2);
}

static inline void drop(struct task *t, uint64_t generation)
{
	end_generation(t, generation);
	keep_record(t);
}

/* The record takes over what the call holds: false if there is no memory to. */
static bool take_over(struct task *t, const struct far__holds *holds)
{
	t->holds = *holds;
	t->holds.buffers = NULL;
	if (!holds->nbuffers)
		return true;
	t->holds.buffers = malloc(holds->nbuffers * sizeof *holds->buffers);
	if (t->holds.buffers)
		memcpy(t->holds.buffers, holds->buffers, holds->nbuffers * sizeof *holds->buffers);
	return t->holds.buffers;
}

static struct task *no_memory(const struct far__call *call)
{
	far__fail(FAR_ENOMEM, ENOMEM, call->site->function, call->site, "no memory for a task");
	return NULL;
}

static inline void describe(struct task *t, const struct far__call *call, struct far__port *port, uint64_t deadline, bool few)
{
	t->site = call->site;
	t->result = call->result;
	t->few = few;
	t->quiet = t->holding = false;
	atomic_store_explicit(&t->port, port, memory_order_relaxed);
	atomic_store_explicit(&t->deadline, deadline, memory_order_relaxed);
	atomic_store_explicit(&t->handle, (uintptr_t)call->slave, memory_order_relaxed);
}

/* A record for the call, with what it holds. NULL and far_error(). */
static struct task *new_task(const struct far__call *call, const struct far__holds *holds, struct far__port *port,
			     uint64_t deadline, bool few)
{
	struct task *t = take_kept();

	if (!t) {
		fetch_records();
		t = take_kept();
	}
	if (!t)
		return no_memory(call);
	describe(t, call, port, deadline, few);
	t->holding = !far__holds_nothing(holds);
	if (!t->holding || take_over(t, holds))
		return t;
	t->holding = false;
	keep_record(t);
	return no_memory(call);
}

/* It begins: its handle. */
static inline uintptr_t set_running(struct task *t)
{
	uint64_t generation = atomic_load_explicit(&t->word, memory_order_relaxed) >> 8;

	/* release: the fields above belong to this generation. */
	atomic_store_explicit(&t->word, word_of(generation, RUNNING), memory_order_release);
	return generation << 24 | (t->index + 1);
}

static inline uintptr_t set_queued(struct task *t, const struct far__port *port)
{
	atomic_store_explicit(&t->position, port->lane.queue.position, memory_order_relaxed);
	return set_running(t);
}

uintptr_t far__task_make(const struct far__call *call, struct far__port *port, const struct far__holds *holds,
			 uint64_t deadline, bool few)
{
	struct task *t = new_task(call, holds, port, deadline, few);

	return t ? set_queued(t, port) : 0;
}

uintptr_t far__task_make_quickly(const struct far__call *call, struct far__port *port, bool few)
{
	const struct far__holds nothing = { 0 };
	struct task *t = take_kept();

	if (FAR_UNLIKELY(!t))
		return far__task_make(call, port, &nothing, FAR_FOREVER, few);
	describe(t, call, port, FAR_FOREVER, few);
	return set_queued(t, port);
}

/* ------------------------------------------------------------ claiming */

/* If the task is this thread's alone, at an open slave: enter its port and claim it. Else NULL. */
static inline struct far__port *claim(struct task *t)
{
	struct far__port *port = atomic_load_explicit(&t->port, memory_order_relaxed);

	if (!port || !far__port_is_mine(port))
		return NULL;
	if (!far__port_enter_own(port, atomic_load_explicit(&t->handle, memory_order_relaxed)))
		return NULL;
	if (far__port_claim(port))
		return port;
	far__port_leave_own(port);
	return NULL;
}

static void unclaim(struct far__port *port)
{
	far__port_unclaim(port);
	far__port_leave_own(port);
}

/* It could not be claimed: whoever has claimed it shall be done before it is touched. */
static void visit_port(struct task *t)
{
	struct far__port *port = atomic_load_explicit(&t->port, memory_order_relaxed);

	if (port && !far__port_is_mine(port))
		far__port_visit(port);
}

/* -------------------------------------------------------------- moving */

static bool in_body(const void *p)
{
	return far__space_in_control(p);
}

/* A private copy of what lies in a body, or @p itself. */
static void *save(void *p, size_t size, bool *lost)
{
	void *copy = malloc(size ? size : 1);

	if (copy)
		memcpy(copy, p, size);
	else
		*lost = true;
	return copy;
}

/* What a call left in the body of its slot goes to private memory. False if there is none. */
static bool save_body(struct far__holds *holds, size_t result_size)
{
	bool lost = false;

	if (holds->result && in_body(holds->result)) {
		holds->result = save(holds->result, result_size, &lost);
		holds->result_on_malloc = true;
	}
	for (unsigned i = 0; i < holds->nbuffers; i++) {
		struct far__buffer *b = &holds->buffers[i];

		if (!b->there || !in_body(b->there) || !(b->use & FAR__OUT))
			continue;
		b->there = save(b->there, b->size, &lost);
		b->use |= FAR_COPY_PRIVATE;
	}
	return !lost;
}

/* Nobody will ask for it: but if it failed, say so. */
static void conclude_forgotten(struct task *t, uint64_t generation, const struct far__message *reply)
{
	if (FAR_UNLIKELY((reply->info & 0xff) != FAR_RETURNED)) {
		struct far_error error;

		far__explain(&error, t->site, t->handle, reply);
		if (!t->quiet)
			far__complain(error.message);
	}
	if (t->holding)
		far__holds_end(&t->holds, reply);
	drop(t, generation);
}

/* There is a reply, and nothing in it that would have to be told. */
static inline bool has_returned(const struct far__ring *queue, uint32_t position)
{
	uint64_t head = shm_load64(&far__ring_slot(queue, position)->head);

	return (uint32_t)head == far__answered(position) && (head >> 32 & 0xff) == FAR_RETURNED;
}

/* The same to a task that is LOCKED or claimed, and was in @phase. */
static __attribute__((noinline)) void move(struct task *t, uint64_t generation, enum phase phase,
					   const struct far__port *port, uint32_t position)
{
	struct far__message reply;

	far__port_reply(port, &port->lane.queue, position, t->few, &reply);
	if (phase == FORGOTTEN) {
		conclude_forgotten(t, generation, &reply);
		return;
	}
	t->reply = reply;
	if (FAR_UNLIKELY(t->holding) && !save_body(&t->holds, t->site->result_size))
		t->reply.info = far__reply_info(FAR_LOST, 0, 0);
	atomic_store_explicit(&t->word, word_of(generation, MOVED), memory_order_release);
}

static void move_locked(struct task *t, uint64_t generation, const struct far__port *port, uint32_t position)
{
	for (;;) {
		uint64_t word = atomic_load_explicit(&t->word, memory_order_acquire);
		enum phase phase = word & 0xff;

		if (word >> 8 != generation || phase == FREE || phase == MOVED)
			return;
		if (phase == LOCKED) {
			sched_yield();	/* its collector is reading the slot */
			continue;
		}
		if (!atomic_compare_exchange_weak(&t->word, &word, word_of(generation, LOCKED)))
			continue;
		move(t, generation, phase, port, position);
		return;
	}
}

void far__task_move(uintptr_t handle, struct far__port *port, uint32_t position)
{
	uint64_t generation;
	struct task *t = find(handle, &generation);

	/* Its holder has entered the port, or nobody will any more. */
	if (!far__port_is_mine(port) || !far__port_claim(port)) {
		move_locked(t, generation, port, position);
		return;
	}
	uint64_t word = atomic_load_explicit(&t->word, memory_order_relaxed);

	far__lane_expect(&port->lane, position);
	if (word == word_of(generation, FORGOTTEN) && !t->holding && has_returned(&port->lane.queue, position))
		drop(t, generation);
	else if (word == word_of(generation, FORGOTTEN) || word == word_of(generation, RUNNING))
		move(t, generation, word & 0xff, port, position);
	far__port_unclaim(port);
}

/* ------------------------------------------------------------- waiting */

struct waiting {
	struct task *task;
	uint64_t generation;
};

/*
 * Would collecting return at once? Looks into the slot of a task that is RUNNING,
 * so the slave must not be freed meanwhile: the caller is a visitor of it.
 */
static bool is_done_at(const struct waiting *w, uint64_t word)
{
	struct task *t = w->task;
	struct far__port *port = atomic_load_explicit(&t->port, memory_order_relaxed);
	uint32_t position = atomic_load_explicit(&t->position, memory_order_relaxed);

	if (word != word_of(w->generation, RUNNING) || far_interrupted())
		return true;
	return port && (far__ring_is_answered(&port->lane.queue, position) || far__is_dead(port->slave->number) ||
			far__port_is_unwanted(port));
}

static bool is_done(void *arg)
{
	const struct waiting *w = arg;

	return is_done_at(w, atomic_load(&w->task->word));
}

/* The same, but not for that another thread is having a look. */
static bool is_certainly_done(const struct waiting *w)
{
	uint64_t word;

	while ((word = atomic_load(&w->task->word)) == word_of(w->generation, LOCKED))
		sched_yield();
	return is_done_at(w, word);
}

/* A slave that visits itself serves calls meanwhile, and one of those may end its thread. */
static void count_visitor(struct far__slave *slave, int n)
{
	struct far__server *server = far__thread.server;

	atomic_fetch_add(&slave->visitors, (uint32_t)n);
	if (server && server->number == slave->number)
		server->visits += n;
}

/*
 * Visit the slave of a task, so that it is not freed while its lanes are looked
 * at: count, then look whether the task still is RUNNING. The closer moves all
 * tasks and then looks at the count; all of it is sequentially consistent, so
 * either the visitor sees that its task has moved or the closer sees the visitor.
 * NULL: a task in a thread, which has no slave.
 */
static struct far__slave *visit(struct task *t)
{
	struct far__port *port = atomic_load_explicit(&t->port, memory_order_relaxed);
	struct far__slave *slave = port ? port->slave : NULL;

	if (slave)
		count_visitor(slave, 1);
	return slave;
}

static void leave(struct far__slave *slave)
{
	if (slave)
		count_visitor(slave, -1);
}

/* Sleep until the task of a thread is done, or the deadline; within a call only so long that it hears of its own end. */
static void await_thread(struct waiting *w, uint64_t deadline)
{
	enum { WITHIN_CALL = 5000000 };
	struct task *t = w->task;
	uint32_t ends = atomic_load(&t->ends);	/* partner: thread_done(), which counts when the word is set */

	if (far__thread.running && far__now() + WITHIN_CALL < deadline)
		deadline = far__now() + WITHIN_CALL;
	struct timespec at = { (time_t)(deadline / 1000000000), (long)(deadline % 1000000000) };

	if (!is_done(w))
		SYS(futex, &t->ends, FUTEX_WAIT_BITSET_PRIVATE, ends, deadline == FAR_FOREVER ? NULL : &at, 0,
		    FUTEX_BITSET_MATCH_ANY);
}

static bool await_visiting(struct waiting *w, uint64_t deadline)
{
	struct task *t = w->task;

	while (!is_done(w)) {
		struct far__port *port = atomic_load_explicit(&t->port, memory_order_relaxed);
		uint32_t position = atomic_load_explicit(&t->position, memory_order_relaxed);

		if (atomic_load_explicit(&t->word, memory_order_acquire) != word_of(w->generation, RUNNING))
			return true;
		if (!port) {
			await_thread(w, deadline);
		} else if (far__thread.server && far__thread.server->number == port->slave->number) {
			far__port_await(port, &port->lane.queue, position, deadline, is_done, w);
		} else if (far__port_is_mine(port)) {
			far__port_await(port, &port->lane.queue, position, deadline, is_done, w);
		} else {
			far__thread_known();
			far__sleep_within_call(&port->lane.head->producer, is_done, w, deadline);
		}
		if (deadline != FAR_FOREVER && far__now() >= deadline)
			return is_done(w);
	}
	return true;
}

/* Wait until the task is done or the deadline: whether it is. */
static bool await(struct waiting *w, uint64_t deadline)
{
	struct far__slave *slave = visit(w->task);
	bool done = await_visiting(w, deadline);

	leave(slave);
	return done;
}

static void no_such_task(const char *function, const struct far__site *site, uintptr_t handle)
{
	if (far__is_forked && far__ready(function))
		return;
	far__fail(FAR_ETASK, EINVAL, function, site, handle ? "the task was waited for or forgotten before"
							    : "there is no task: it could not be scheduled");
}

/* The reply of a LOCKED task from its slot, if it is there, or never will be. */
static bool take_reply(struct task *t)
{
	const struct far__port *port = t->port;

	if (!port)
		return false;	/* in a thread of its own: MOVED when it is done */
	const struct far__ring *queue = &port->lane.queue;

	if (!far__ring_is_answered(queue, t->position) && !far__is_dead(port->slave->number))
		return false;
	far__port_reply(port, queue, t->position, t->few, &t->reply);
	return true;
}

/* The end of a task whose reply is known: as far__dispatch() returns. */
static int conclude(struct task *t, const struct far__message *reply, struct far_registers *registers)
{
	struct far__holds nothing = { 0 };

	return far__conclude(t->site, t->result, t->handle, reply, FAR_UNLIKELY(t->holding) ? &t->holds : &nothing, registers);
}

/* The reply of a task whose port is claimed, if it is there: from its slot, which is free then, or from the record. */
static inline bool take_claimed_reply(struct task *t, uint64_t generation, struct far__port *port,
				      struct far__message *reply)
{
	uint64_t word = atomic_load_explicit(&t->word, memory_order_relaxed);
	uint32_t position = atomic_load_explicit(&t->position, memory_order_relaxed);
	const struct far__ring *queue = &port->lane.queue;

	if (FAR_UNLIKELY(word != word_of(generation, RUNNING))) {
		*reply = t->reply;
		return word == word_of(generation, MOVED);
	}
	far__lane_expect(&port->lane, position);
	if (FAR_UNLIKELY(!far__ring_is_answered(queue, position)))
		return false;
	far__port_read(port, queue, position, t->few, reply);
	*far__port_task(port, position) = 0;
	return true;
}

/* Collect a task that this thread can claim, answered or MOVED; -1 if it cannot, or is neither. */
static inline __attribute__((always_inline)) int collect_mine(struct task *t, uint64_t generation, struct far_registers *registers)
{
	struct far__port *port = claim(t);
	struct far__message reply;

	if (!port)
		return -1;
	if (FAR_UNLIKELY(!take_claimed_reply(t, generation, port, &reply))) {
		unclaim(port);
		return -1;
	}
	end_generation(t, generation);
	far__port_unclaim(port);
	int x87 = !t->holding && far__conclude_quickly(t->result, &reply, registers) ? 0 : conclude(t, &reply, registers);

	far__port_leave_own(port);	/* not before: what it holds may lie in its slot's body */
	keep_record(t);
	return x87;
}

/* Wait for a task of a port that this thread holds, as for a call that it makes. */
static void await_mine(struct waiting *w, uint64_t deadline)
{
	struct far__port *port = atomic_load_explicit(&w->task->port, memory_order_relaxed);

	if (!port || !far__port_is_mine(port))
		return;
	if (!far__port_enter(port, atomic_load_explicit(&w->task->handle, memory_order_relaxed)))
		return;
	if (atomic_load_explicit(&w->task->word, memory_order_acquire) == word_of(w->generation, RUNNING))
		far__port_await(port, &port->lane.queue, w->task->position, deadline, is_done, w);
	far__port_leave(port);
}

/* A LOCKED task that is no longer waited for ends without its reply: whether it had begun. */
static bool give_up(const struct far__call *call, struct task *t, uint64_t generation, bool late)
{
	struct far__port *port = t->port;

	if (call->kept) {
		if (!t->holding)
			t->holds = (struct far__holds){ 0 };
		far__holds_keep(&t->holds, call->kept);
		t->holding = true;
	}
	if (t->holding)
		far__holds_end_callbacks(&t->holds);
	bool ran = !far__port_give_up(port, &port->lane.queue, t->position, late);

	t->quiet = true;
	atomic_store_explicit(&t->word, word_of(generation, FORGOTTEN), memory_order_release);
	return ran;
}

/* A call that was made by way of the queue, and is not waited for any more: false if it has just been answered. */
static bool abandon(const struct far__call *call, struct task *t, uint64_t generation)
{
	uint64_t word = word_of(generation, RUNNING);

	if (!atomic_compare_exchange_strong(&t->word, &word, word_of(generation, LOCKED)))
		return false;
	give_up(call, t, generation, false);
	return true;
}

/*
 * A LOCKED task has no reply yet: wait for it. False when there is no more reason
 * to: the error is set.
 */
static bool await_reply(const struct far__call *call, struct waiting *w)
{
	struct task *t = w->task;
	uint64_t deadline = atomic_load_explicit(&t->deadline, memory_order_relaxed);
	struct far__port *port = atomic_load_explicit(&t->port, memory_order_relaxed);

	if (port && deadline != FAR_FOREVER && far__now() >= deadline) {
		const struct far__site *site = t->site;
		uintptr_t handle = t->handle;

		far__fail_late(site, handle, give_up(call, t, w->generation, true));
		return false;
	}
	far__point("task.looked");
	atomic_store(&t->word, word_of(w->generation, RUNNING));
	await(w, deadline);
	if (!far_interrupted() && !(port && far__port_is_unwanted(port)))
		return true;
	if (call->op != FAR__OP_WAIT && !abandon(call, t, w->generation))
		return true;
	far__fail(FAR_ECANCELLED, ECANCELED, call->site->function, call->site, "the call that waited for it was cancelled%s",
		  call->op == FAR__OP_WAIT ? ": the task can still be waited for" : "");
	return false;
}

/* Any thread, whatever has become of the slave. */
static int collect_locked(const struct far__call *call, struct waiting *w, struct far_registers *registers)
{
	struct task *t = w->task;

	visit_port(t);
	for (;;) {
		uint64_t word = atomic_load_explicit(&t->word, memory_order_acquire);
		enum phase phase = word & 0xff;

		if (word >> 8 != w->generation || phase == FREE || phase == FORGOTTEN) {
			no_such_task("far_wait", call->site, call->task);
			return far__no_result(call->site, call->result, registers);
		}
		if (phase == LOCKED) {
			sched_yield();
			continue;
		}
		if (!atomic_compare_exchange_weak(&t->word, &word, word_of(w->generation, LOCKED)))
			continue;
		/* LOCKED, its slave cannot be freed, and the slot may be looked at. */
		if (phase == RUNNING && !take_reply(t)) {
			if (await_reply(call, w))
				continue;
			return far__no_result(call->site, call->result, registers);
		}
		int x87 = conclude(t, &t->reply, registers);

		drop(t, w->generation);
		return x87;
	}
}

/* It is not there yet, or not this thread's alone. */
static __attribute__((noinline)) int collect_awaited(const struct far__call *call, struct waiting *w, struct far_registers *registers)
{
	await_mine(w, atomic_load_explicit(&w->task->deadline, memory_order_relaxed));
	int x87 = collect_mine(w->task, w->generation, registers);

	return x87 >= 0 ? x87 : collect_locked(call, w, registers);
}

int far__task_collect(const struct far__call *call, struct far_registers *registers)
{
	struct waiting w;

	w.task = find(call->task, &w.generation);
	/* A scheduled call that failed left its own error: that is the better one to see. */
	if (!w.task) {
		if (call->task || !far__failed)
			no_such_task("far_wait", call->site, call->task);
		return far__no_result(call->site, call->result, registers);
	}
	int x87 = collect_mine(w.task, w.generation, registers);

	return FAR_LIKELY(x87 >= 0) ? x87 : collect_awaited(call, &w, registers);
}

int far__task_wait_for(uintptr_t task, int timeout_ms)
{
	struct waiting w;

	w.task = find(task, &w.generation);
	if (w.task) {
		uint64_t word = atomic_load_explicit(&w.task->word, memory_order_acquire);

		if (word >> 8 != w.generation || (word & 0xff) == FREE || (word & 0xff) == FORGOTTEN)
			w.task = NULL;
	}
	if (!w.task) {
		no_such_task("far_wait_for", NULL, task);
		return -EINVAL;
	}
	uint64_t deadline = far__deadline(timeout_ms);

	/* LOCKED says nothing: another thread that waits for it is having a look. */
	while (await(&w, deadline) && !far_interrupted()) {
		if (atomic_load_explicit(&w.task->word, memory_order_acquire) != word_of(w.generation, LOCKED))
			return 0;
		sched_yield();
	}
	if (!far_interrupted())
		return -ETIMEDOUT;
	far__fail(FAR_ECANCELLED, ECANCELED, "far_wait_for", NULL, "the call that waited for it was cancelled: the task can still be waited for");
	return -ECANCELED;
}

int far__task_done(uintptr_t task)
{
	struct waiting w;

	w.task = find(task, &w.generation);
	if (!w.task)
		return 1;
	struct far__slave *slave = visit(w.task);
	bool done = is_certainly_done(&w);

	/* The slave's own thread runs what it waits for. */
	if (!done && far__thread.server)
		done = await_visiting(&w, 0);
	leave(slave);
	return done;
}

/* Forget a task that this thread can claim, and which is RUNNING: false if it cannot, or it is not. */
static inline bool forget_mine(struct task *t, uint64_t generation)
{
	struct far__port *port = claim(t);

	if (!port)
		return false;
	bool runs = atomic_load_explicit(&t->word, memory_order_relaxed) == word_of(generation, RUNNING);

	if (runs)
		atomic_store_explicit(&t->word, word_of(generation, FORGOTTEN), memory_order_release);
	unclaim(port);
	return runs;
}

/* Any task, from any thread; false if it is none. */
static bool forget_locked(struct task *t, uint64_t generation)
{
	visit_port(t);
	for (;;) {
		uint64_t word = atomic_load_explicit(&t->word, memory_order_acquire);
		enum phase phase = word & 0xff;

		if (word >> 8 != generation || phase == FREE || phase == FORGOTTEN)
			return false;
		if (phase == LOCKED) {
			sched_yield();
			continue;
		}
		if (phase == MOVED) {
			if (!atomic_compare_exchange_weak(&t->word, &word, word_of(generation, LOCKED)))
				continue;
			conclude_forgotten(t, generation, &t->reply);
			return true;
		}
		if (atomic_compare_exchange_weak(&t->word, &word, word_of(generation, FORGOTTEN)))
			return true;
	}
}

static __attribute__((noinline)) int forget_any(uintptr_t task)
{
	uint64_t generation;
	struct task *t = find(task, &generation);

	if (t && forget_locked(t, generation))
		return 0;
	no_such_task("far_forget", NULL, task);
	return -EINVAL;
}

int far__task_forget(uintptr_t task)
{
	uint64_t generation;
	struct task *t = find(task, &generation);

	return !task || (t && FAR_LIKELY(forget_mine(t, generation))) ? 0 : forget_any(task);
}

void far__task_drop(uintptr_t task)
{
	uint64_t generation;
	struct task *t = find(task, &generation);

	if (!t)
		return;
	t->quiet = true;
	far__task_forget(task);
}

/* ------------------------------------------------------------ cancelling */

/* Such a task: 0 when it was taken out, 1 when it is told, -EALREADY when it is done. */
static int cancel_locked(struct task *t)
{
	struct far__port *port = t->port;

	if (!port) {
		shm_store(&t->interrupt, 1);
		return 1;
	}
	if (far__ring_is_answered(&port->lane.queue, t->position) || far__is_dead(port->slave->number))
		return -EALREADY;
	if (!far__port_give_up(port, &port->lane.queue, t->position, false))
		return 1;
	t->reply.info = far__reply_info(FAR_CANCELLED, 0, 0);
	return 0;
}

/* Cancel a task that is RUNNING, and this thread's alone or LOCKED. */
static int cancel(struct task *t, uint64_t generation)
{
	struct far__port *port = t->port;
	int result = cancel_locked(t);

	/* Taken out, it is MOVED with its outcome, and whoever waits for it shall see that. */
	atomic_store(&t->word, word_of(generation, result == 0 ? MOVED : RUNNING));
	if (result == 0)
		far__park_wake(&port->lane.head->producer);
	return result;
}

static int cancel_any(struct task *t, uint64_t generation)
{
	visit_port(t);
	for (;;) {
		uint64_t word = atomic_load_explicit(&t->word, memory_order_acquire);
		enum phase phase = word & 0xff;

		if (word >> 8 != generation || phase == FREE || phase == FORGOTTEN)
			return -EINVAL;
		if (phase == MOVED)
			return -EALREADY;
		if (phase == LOCKED)
			sched_yield();
		else if (atomic_compare_exchange_weak(&t->word, &word, word_of(generation, LOCKED)))
			return cancel(t, generation);
	}
}

int far__task_cancel(uintptr_t task)
{
	uint64_t generation;
	struct task *t = find(task, &generation);
	struct far__port *mine = t ? claim(t) : NULL;
	int result = -EINVAL;

	if (mine && atomic_load_explicit(&t->word, memory_order_relaxed) == word_of(generation, RUNNING))
		result = cancel(t, generation);
	if (mine)
		unclaim(mine);
	if (t && result == -EINVAL)
		result = cancel_any(t, generation);
	if (result == -EINVAL)
		no_such_task("far_cancel", NULL, task);
	return result;
}

/* -------------------------------------------------- threads of their own */

struct start {
	struct task *task;
	uint64_t generation;
	struct far__message reply;
	struct far_frame frame;
	uint64_t stack[];
};

/* The thread is done, or was ended by pthread_exit() before it had a reply. */
static void thread_done(void *arg)
{
	struct start *start = arg;
	struct task *t = start->task;

	t->reply = start->reply;
	for (;;) {
		uint64_t word = atomic_load_explicit(&t->word, memory_order_acquire);
		enum phase phase = word & 0xff;

		if (phase == LOCKED) {
			sched_yield();	/* somebody has a look, and will write RUNNING again */
			continue;
		}
		if (!atomic_compare_exchange_weak(&t->word, &word,
						  word_of(start->generation, phase == FORGOTTEN ? LOCKED : MOVED)))
			continue;
		if (phase == FORGOTTEN)
			conclude_forgotten(t, start->generation, &t->reply);
		break;
	}
	/* Records are never unmapped: a wake-up too many, for a later task, does no harm. */
	atomic_fetch_add(&t->ends, 1);
	SYS(futex, &t->ends, FUTEX_WAKE_PRIVATE, INT_MAX);
	free(start);
}

static void *run_thread(void *arg)
{
	struct start *start = arg;
	struct far__running running;

	far__death_words(&start->reply, 0, FAR_BY_OTHERS, 0);
	running.interrupt = &start->task->interrupt;
	running.token = 1;
	running.deadline = 0;
	far__thread_known();
	pthread_cleanup_push(thread_done, start);
	errno = 0;
	bool raised = far__run(&start->frame, &running);

	far__reply_write(&start->reply, &start->frame, raised ? &running : NULL, errno);
	pthread_cleanup_pop(1);
	return NULL;
}

uintptr_t far__task_thread(const struct far__call *call, const struct far_registers *registers, const uint64_t *stack)
{
	size_t words = call->site->stack / 8;
	struct far__holds holds = { .buffers = call->buffers, .nbuffers = call->nbuffers };
	struct start *start = aligned_alloc(16, (sizeof *start + words * sizeof *stack + 15) & -16ul);
	struct task *t = NULL;
	pthread_t thread;
	pthread_attr_t detached;

	if (start && call->result == FAR__MEMORY) {
		holds.result = malloc(call->site->result_size);
		holds.result_on_malloc = holds.result;
	}
	if (start && (holds.result || call->result != FAR__MEMORY))
		t = new_task(call, &holds, NULL, FAR_FOREVER, false);
	else
		no_memory(call);
	if (!t) {
		free(start);
		far__holds_release(&holds);
		return 0;
	}
	*start = (struct start){ .task = t, .generation = t->word >> 8 };
	start->frame = (struct far_frame){
		.registers = *registers, .function = call->function, .stack = start->stack, .stack_words = words,
	};
	far__copy_stack(start->stack, stack, words);
	start->frame.registers.x87 = call->result == FAR__X87 || call->result == FAR__X87_2;
	if (call->result == FAR__MEMORY)
		start->frame.registers.gp[0] = (uintptr_t)holds.result;
	t->interrupt = 0;
	uintptr_t handle = set_running(t);

	pthread_attr_init(&detached);
	pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
	int err = pthread_create(&thread, &detached, run_thread, start);

	pthread_attr_destroy(&detached);
	if (!err)
		return handle;
	far__fail(FAR_ELIMIT, err, call->site->function, call->site, "no thread can be started: %s", strerror(err));
	if (t->holding)
		far__holds_release(&t->holds);
	drop(t, start->generation);
	free(start);
	return 0;
}
