/* Ports: a thread's way to a slave. */
#include <errno.h>
#include <linux/membarrier.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "crash.h"
#include "internal.h"
#include "sys.h"

__thread struct far__thread far__thread;

bool far__closer_makes_barrier;
static pthread_key_t thread_key;
static _Atomic uint64_t last_id;
static bool have_key;

void far__pause(void)
{
	SYS(nanosleep, &(struct timespec){ .tv_nsec = 50000 }, NULL);
}

uint64_t far__deadline(int timeout_ms)
{
	return timeout_ms < 0 ? FAR_FOREVER : timeout_ms == 0 ? 0 : far__now() + (uint64_t)timeout_ms * 1000000;
}

int far__left_ms(uint64_t deadline)
{
	uint64_t now = far__now();

	return deadline == FAR_FOREVER ? -1 : deadline <= now ? 0 : (int)((deadline - now) / 1000000);
}

/* ------------------------------------------------------- ends of threads */

/* A callback that was served while this thread waited has ended it: the call in the call slot is not waited for. */
static void end_in_callback(struct far__port *port)
{
	far__back_give_up(port);
	if (far__port_waits(port, &port->lane.call, port->lane.call.position - 1))
		port->abandoned = port->queued = true;
	port->waits = NULL;
	port->lane.consumer = &port->lane.segment->slave;
}

/* The same, of a port that others use, too, and that such a callback has left locked. */
static void leave_shared(struct far__port *port)
{
	if (atomic_load_explicit(&port->holder, memory_order_relaxed) != far__thread.id)
		return;
	end_in_callback(port);
	for (uint32_t n = port->busy[far__port_now(port)]; n; n--)
		far__port_leave(port);
}

/* It has not closed its slave, which nobody can serve any more: who calls it is told. */
static void end_here(struct far__server *server)
{
	if (server && !server->process && !server->ended && far__slave_by_number(server->number)->kind == FAR_HERE)
		far__member_dead(server->number, 0);
}

static void thread_ends(void *unused)
{
	struct far__thread *thread = &far__thread;

	(void)unused;
	/* Of a child made by fork() nothing is ours, and its locks may be held by threads that it does not have. */
	if (far__is_forked)
		return;
	end_here(thread->server);
	far__error_thread_end();
	far__tasks_thread_end();
	for (unsigned n = 0; thread->port && n < FAR_SLAVES_MAX; n++) {
		struct far__port *port = thread->port[n];

		if (!port)
			continue;
		if (port->shared) {
			leave_shared(port);
			continue;
		}
		pthread_mutex_lock(&port->slave->lock);
		/* Closing has taken the port from us already, if it is closed. */
		if (port->holder == thread->id) {
			port->slave->ports_taken &= ~(1u << port->number);
			end_in_callback(port);
			/* A call that was served while this thread waited here has ended it, by pthread_exit() say. */
			atomic_store_explicit(&port->busy[far__port_now(port)], 0, memory_order_release);
		}
		pthread_mutex_unlock(&port->slave->lock);
	}
	free(thread->port);
	thread->port = NULL;
	thread->last_handle = 0;
	thread->last_port = NULL;
	thread->known = false;
	far__park_thread_end();
}

void far__ports_init(void)
{
	have_key = !pthread_key_create(&thread_key, thread_ends);
	far__closer_makes_barrier = SYS(membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0;
}

void far__thread_known(void)
{
	if (far__thread.known || !have_key)
		return;
	far__thread.known = true;
	pthread_setspecific(thread_key, &far__thread);
}

/* ------------------------------------------------------------- closing */

/* The barrier of far__ports_shut() or far__port_visit(), and of all other threads of this process. */
static void barrier_for_both(void)
{
	shm_fence();
	/* It may want memory for a moment. */
	while (far__closer_makes_barrier && SYS(membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) == -ENOMEM)
		sched_yield();
}

void far__ports_shut(struct far__slave *slave)
{
	for (unsigned i = 0; i < FAR_LANES; i++)
		atomic_store_explicit(&slave->port[i].handle, 0, memory_order_relaxed);
	barrier_for_both();	/* partner: far__port_enter_own() */
}

void far__port_visit(struct far__port *port)
{
	if (atomic_load_explicit(&port->visited, memory_order_acquire) != FAR_VISITED) {
		atomic_store_explicit(&port->visited, FAR_VISITOR_COMES, memory_order_relaxed);
		barrier_for_both();	/* partner: far__port_claim() */
		atomic_store_explicit(&port->visited, FAR_VISITED, memory_order_release);
	}
	while (atomic_load_explicit(&port->claimed, memory_order_acquire))
		sched_yield();
}

static bool is_busy(const struct far__port *port)
{
	uint32_t busy = 0;

	for (size_t i = 0; i < sizeof port->busy / sizeof port->busy[0]; i++)
		busy |= atomic_load_explicit(&port->busy[i], memory_order_acquire);
	return busy;
}

bool far__port_enter_shared(struct far__port *port, uintptr_t handle)
{
	pthread_mutex_lock(&port->slave->shared);
	if (far__port_enter_own(port, handle)) {
		port->holder = far__thread.id;
		return true;
	}
	pthread_mutex_unlock(&port->slave->shared);
	return false;
}

void far__port_leave_shared(struct far__port *port)
{
	_Atomic uint32_t *busy = &port->busy[far__port_now(port)];

	if (atomic_load_explicit(busy, memory_order_relaxed) == 1)
		port->holder = 0;
	far__port_uncount(busy);
	pthread_mutex_unlock(&port->slave->shared);
}

bool far__port_is_in(const struct far__slave *slave)
{
	const struct far__port *port = far__thread.port ? far__thread.port[slave->number] : NULL;

	return port && atomic_load_explicit(&port->holder, memory_order_relaxed) == far__thread.id &&
	       atomic_load_explicit(&port->busy[far__port_now(port)], memory_order_relaxed);
}

bool far__ports_idle(struct far__slave *slave, uint64_t deadline)
{
	for (unsigned i = 0; i < FAR_LANES; i++) {
		while (is_busy(&slave->port[i])) {
			if (deadline != FAR_FOREVER && far__now() >= deadline)
				return false;
			far__pause();
		}
	}
	return true;
}

/* -------------------------------------------------------------- making */

static void open_lane(struct far__slave *slave, struct far__port *port, unsigned number)
{
	far__lane_make(&port->lane, slave->number, number);
	port->slave = slave;
	port->number = (uint8_t)number;
	port->shared = number == FAR_PORT_SHARED || slave->kind == FAR_MYSELF;
	port->call_bodies = port->queue_bodies = false;
	port->queued = port->abandoned = false;
	port->timed = slave->deadline_ms;
	port->spin = (struct far__spin){ 0 };
	far__port_set_serves(port, NULL);
	port->waits = NULL;
	port->wanted = NULL;
	port->visited = FAR_UNVISITED;
	port->open = true;
}

/* Its owner has had its first answer, or does not wait for it. */
static void see_to_stock(struct far__slave *slave)
{
	if (FAR_UNLIKELY(slave->is_new) && atomic_exchange(&slave->is_new, false))
		far__zygote_refill();
}

bool far__port_need_queue(struct far__port *port, const struct far__site *site)
{
	struct far__slave *slave = port->slave;

	port->task = calloc(slave->queue, sizeof *port->task);
	int err = port->task ? far__lane_make_queue(&port->lane, slave->number, port->number, slave->queue) : -ENOMEM;

	if (!err) {
		see_to_stock(slave);
		return true;
	}
	free(port->task);
	port->task = NULL;
	far__fail(FAR_ENOMEM, -err, site->function, site, "no memory for a queue to slave \"%s\": %s", slave->name,
		  strerror(-err));
	return false;
}

/* Which of its ports this thread shall use; slave->lock is held. */
static unsigned choose(struct far__slave *slave, bool myself)
{
	if (myself || slave->kind == FAR_MYSELF)
		return FAR_PORT_SELF;
	for (unsigned i = 0; i < FAR_PORT_SHARED; i++)
		if (!(slave->ports_taken & 1u << i))
			return i;
	return FAR_PORT_SHARED;
}

static struct far__port *take_port(struct far__slave *slave, uintptr_t handle, const struct far__site *site)
{
	struct far__server *server = far__thread.server;

	pthread_mutex_lock(&slave->lock);
	unsigned number = choose(slave, server && server->handle == handle);
	struct far__port *port = &slave->port[number];
	bool closed = atomic_load(&slave->handle) != handle;

	if (!closed) {
		if (!port->open)
			open_lane(slave, port, number);
		slave->ports_taken |= 1u << number;
		if (!port->shared)
			port->holder = far__thread.id;
		atomic_store_explicit(&port->turn, (uint8_t)far__port_turn(handle), memory_order_relaxed);
		atomic_store_explicit(&port->handle, handle, memory_order_release);
	}
	pthread_mutex_unlock(&slave->lock);
	if (!closed)
		return port;
	far__fail(FAR_ECLOSED, EBADF, site->function, site, "the slave is closed");
	return NULL;
}

struct far__port *far__port_find(uintptr_t handle, const struct far__site *site)
{
	struct far__thread *thread = &far__thread;
	unsigned number = far__handle_number(handle);
	struct far__slave *slave = far__slave_find(handle, site->function, site);

	if (!slave)
		return NULL;
	if (!thread->id)
		thread->id = atomic_fetch_add(&last_id, 1) + 1;
	if (!thread->port) {
		thread->port = calloc(FAR_SLAVES_MAX, sizeof(struct far__port *));
		if (!thread->port) {
			far__fail(FAR_ENOMEM, ENOMEM, site->function, site, "no memory");
			return NULL;
		}
		far__thread_known();
	}
	struct far__port *port = thread->port[number];

	if (port && (port->shared || port->holder == thread->id) &&
	    atomic_load_explicit(&port->handle, memory_order_acquire) == handle)
		return port;
	port = take_port(slave, handle, site);
	if (port)
		thread->port[number] = port;
	return port;
}

/* ------------------------------------------------------------ giving up */

/* Have the zygote kill the slave if it still runs the call in @ms. */
static void give_notice(const struct far__ring *ring, uint64_t *notice, uint32_t position, bool late, int ms)
{
	uint64_t now = far__now(), before;
	uint64_t when = ms ? now + (uint64_t)(ms + 1) * 1000000 : now;	/* not early: the notice drops what is less than a ms */

	do {
		before = shm_load64(notice);
		uint32_t other = far__notice_position(before);

		/* It has just ended; or the slave is to be killed for another that it runs, and not later. */
		if (!far__ring_is_asked(ring, position) ||
		    (before && other != position && far__ring_is_asked(ring, other) && far__notice_left(before, now) <= ms))
			return;
	} while (!shm_cas64(notice, before, far__notice(position, late, when)));
	far__zygote_watch(when);
}

bool far__port_give_up(struct far__port *port, const struct far__ring *ring, uint32_t position, bool late)
{
	struct far__slave *slave = port->slave;
	struct far__segment *segment = slave->segment;

	if (far__ring_take_out(ring, position))
		return true;
	shm_store(ring->interrupt, far__asked(position));
	shm_fence();	/* partner: arm(), of a slave that says where it sleeps */
	uint64_t park = shm_load64(&segment->asleep);

	if (far__space_in_control((void *)(uintptr_t)park))	/* as a slave says that is in its right mind */
		far__park_wake((struct far__park *)(uintptr_t)park);
	far__park_wake(&segment->slave);	/* where it waits for itself */
	bool at_once = late || slave->kill_on_cancel, queued = ring == &port->lane.queue;

	/* Of a queued call the slave itself knows the deadline: if it runs it, it has told the zygote. */
	if (slave->kind == FAR_PROCESS && (late ? !queued : at_once || slave->grace_ms))
		give_notice(ring, &port->lane.head->notice[queued], position, late, at_once ? 0 : slave->grace_ms);
	return false;
}

void far__port_abandon(struct far__port *port, const struct far__holds *holds)
{
	struct far__holds *left = far__holds_nothing(holds) ? NULL : malloc(sizeof *left);

	port->queued = port->abandoned = true;
	port->left = left;
	if (!left)
		return;		/* without memory its far-heap blocks stay until the family ends */
	*left = *holds;
	left->buffers = malloc(holds->nbuffers * sizeof *left->buffers);
	if (left->buffers && holds->nbuffers)
		memcpy(left->buffers, holds->buffers, holds->nbuffers * sizeof *left->buffers);
	else
		left->nbuffers = 0;
}

/*
 * Whether a slave that has ended began a call that it has not answered. A thread that is left
 * to itself would go on with those that it has not, too: they are taken out by who asks.
 */
static bool has_begun(const struct far__slave *slave, const struct far__ring *ring, uint32_t position)
{
	return slave->goes_on ? !far__ring_take_out(ring, position) : far__ring_has_taken(ring, position);
}

void far__port_unanswered(const struct far__port *port, const struct far__ring *ring, uint32_t position, struct far__message *reply)
{
	const struct far__slave *slave = port->slave;
	bool begun = has_begun(slave, ring, position);

	far__reply_of_dead(slave, begun, reply);
	if (slave->goes_on && begun)
		reply->info = far__reply_info(FAR_LEFT, 0, 0);
}

/* Threads have their descriptors from this process, which does not end. */
static void close_passed(const struct far__port *port, const struct far__ring *ring)
{
	for (uint32_t p = ring->position - (ring->mask + 1); ring->slots && p != ring->position; p++)
		if (far__ring_is_asked(ring, p) && !has_begun(port->slave, ring, p))
			far__close_passed(ring, p);
}

/* Its abandoned call is over: free what that and its reply have left. */
static void drop_abandoned(struct far__port *port)
{
	const struct far__ring *ring = &port->lane.call;
	struct far__holds *left = port->left;
	struct far__message reply;

	port->abandoned = false;
	port->left = NULL;
	far__port_reply(port, ring, ring->position - 1, true, &reply);
	far__reply_release(&reply);
	if (!left)
		return;
	struct far__buffer *buffers = left->buffers;

	far__holds_end(left, &reply);
	free(buffers);
	free(left);
}

bool far__port_is_abandoned(struct far__port *port)
{
	const struct far__ring *ring = &port->lane.call;

	if (!port->abandoned)
		return false;
	if (!far__ring_is_answered(ring, ring->position - 1))
		return true;
	drop_abandoned(port);
	return false;
}

void far__ports_empty(struct far__slave *slave)
{
	for (unsigned i = 0; i < FAR_LANES; i++) {
		struct far__port *port = &slave->port[i];

		far__back_close(port, slave->goes_on);

		const struct far__ring *queue = &port->lane.queue;

		for (uint32_t s = 0; port->task && s <= queue->mask; s++) {
			/* The slots hold the last size positions, each in its place. */
			uint32_t position = queue->position - 1 - ((queue->position - 1 - s) & queue->mask);

			if (port->task[s])
				far__task_move(port->task[s], port, position);
		}
		free(port->task);
		port->task = NULL;
		if (port->abandoned)
			drop_abandoned(port);
		if (port->open && slave->kind != FAR_PROCESS) {
			close_passed(port, &port->lane.call);
			close_passed(port, &port->lane.queue);
		}
		port->open = false;
	}
	/* Their tasks have moved, which they see when they look again: see far__task_collect(). */
	shm_fence();	/* partner: visit() in task.c, which counts and then looks */
	while (atomic_load(&slave->visitors))
		sched_yield();
	pthread_mutex_lock(&slave->lock);	/* threads that end take their bit out */
	slave->ports_taken = 0;
	pthread_mutex_unlock(&slave->lock);
}

/* -------------------------------------------------------------- waiting */

struct far__awaited {
	struct far__awaited *outer;
	struct far__port *port;
	const struct far__ring *ring;
	uint32_t position;
	bool (*also)(void *);
	void *arg;
};

/* A slave that has begun to crash has woken us early: it is dead in a moment, too short to sleep again. */
static bool dies_now(const struct far__slave *slave)
{
	enum { MOMENT = 2000000 };	/* ns */
	const struct far__member *m = far__member(slave->number);

	if (slave->kind == FAR_PROCESS && !shm_load(&m->respawn) && far__crash_has_begun(slave->segment, shm_load(&m->pid)))
		for (uint64_t start = far__now(); !far__is_dead(slave->number) && far__now() - start < MOMENT;)
			sched_yield();
	return far__is_dead(slave->number);
}

static bool settled(void *arg)
{
	const struct far__awaited *a = arg;

	return far__ring_is_answered(a->ring, a->position) || far_interrupted() || (a->also && a->also(a->arg)) ||
	       far__port_is_unwanted(a->port) || dies_now(a->port->slave);
}

bool far__port_waits(const struct far__port *port, const struct far__ring *ring, uint32_t position)
{
	for (const struct far__awaited *a = port->waits; a; a = a->outer)
		if (a->ring == ring && a->position == position)
			return true;
	return false;
}

static bool is_called(const struct far__port *port)
{
	struct far__server *server = far__port_serves(port);

	return server && far__server_has_work(server, port->serves_lanes);
}

static bool settled_or_called(void *arg)
{
	const struct far__awaited *a = arg;

	return is_called(a->port) || settled(arg);
}

bool far__sleep_within_call(struct far__park *park, bool (*ready)(void *), void *arg, uint64_t deadline)
{
	struct far__server *server = far__thread.server;

	if (!server)
		return far__park_sleep(park, ready, arg, deadline);
	if (far__thread.running && far__thread.running->deadline && far__thread.running->deadline < deadline)
		deadline = far__thread.running->deadline;
	shm_store64(&server->segment->asleep, (uintptr_t)park);
	bool is_ready = far__park_sleep(park, ready, arg, deadline);

	shm_store64(&server->segment->asleep, 0);
	return is_ready;
}

/* The slave itself waits: it serves its own calls until this one is answered. */
static void await_myself(struct far__awaited *awaited, uint64_t deadline)
{
	while (!settled(awaited)) {
		if (!far__server_wait(far__thread.server, deadline) && deadline != FAR_FOREVER && far__now() >= deadline)
			break;
	}
}

static bool spin(struct far__spinning *spinning, const struct far__awaited *a)
{
	do {
		for (int i = 0; i < 32; i++) {
			if (far__ring_is_answered(a->ring, a->position) || is_called(a->port))
				return true;
			shm_relax();
		}
		if (far__is_dead(a->port->slave->number))
			return true;
	} while (far__spin_more(spinning));
	return false;
}

static void await_once(struct far__awaited *a, uint64_t deadline)
{
	struct far__port *port = a->port;
	struct far__spinning spinning;

	far__spin_begin(&port->spin, &spinning, port->woken);
	port->woken = false;
	bool slept = !spin(&spinning, a);

	if (slept) {
		far__thread_known();
		far__sleep_within_call(&port->lane.head->producer, settled_or_called, a, deadline);
	}
	far__spin_end(&port->spin, &spinning, slept);
}

/* Serve what has come, with who asked it sleeping where its answers wake. */
static void serve_meanwhile(struct far__port *port)
{
	struct far__park *consumer = port->lane.consumer;
	struct far__server *server = far__port_serves(port);

	for (uint32_t lanes = (uint32_t)shm_load64(&server->segment->ready) & port->serves_lanes; lanes; lanes &= lanes - 1) {
		unsigned number = (unsigned)__builtin_ctz(lanes);

		port->lane.consumer = &server->segment->lane[number].producer;
		far__server_step_lanes(server, 1u << number);
	}
	port->lane.consumer = consumer;
}

/* In a callback this thread does not see to the deadline of its call, of which only it knows: the zygote does. */
static void entrust_deadline(const struct far__awaited *a, uint64_t deadline)
{
	const struct far__port *port = a->port;
	uint64_t now = far__now();

	give_notice(a->ring, &port->lane.head->notice[FAR_CALL], a->position, true,
		    deadline > now ? (int)((deadline - now) / 1000000) : 0);
}

/* Whether that is to be done now: of a call that has begun, and may be told in a notice. */
static bool may_entrust(const struct far__awaited *a, uint64_t deadline)
{
	enum { NOTICE_MS = 1 << 29 };
	const struct far__port *port = a->port;

	return deadline != FAR_FOREVER && port->slave->kind == FAR_PROCESS && a->ring == &port->lane.call &&
	       far__ring_has_taken(a->ring, a->position) && deadline < far__now() + NOTICE_MS * 1000000ull;
}

/* See back.c. */
static void await_serving(struct far__awaited *a, uint64_t deadline)
{
	struct far__port *port = a->port;
	bool entrusted = false;

	a->outer = port->waits;
	port->waits = a;
	port->queued = true;
	while (!settled(a)) {
		bool called = is_called(port);

		/* Who only looks serves what has come. */
		if (deadline != FAR_FOREVER && far__now() >= deadline && (deadline || !called))
			break;
		if (!called) {
			await_once(a, deadline);
			continue;
		}
		if (!entrusted && may_entrust(a, deadline)) {
			entrust_deadline(a, deadline);
			entrusted = true;
		}
		serve_meanwhile(port);
		if (!deadline)
			break;
	}
	port->waits = a->outer;
}

bool far__port_await_slowly(struct far__port *port, const struct far__ring *ring, uint32_t position, uint64_t deadline,
			    bool (*also)(void *), void *arg)
{
	struct far__server *server = far__thread.server;
	struct far__awaited awaited = { NULL, port, ring, position, also, arg };

	if (ring == &port->lane.queue)
		far__lane_hurry(&port->lane);
	if (server && server->number == port->slave->number) {
		await_myself(&awaited, deadline);
	} else if (far__port_serves(port)) {
		await_serving(&awaited, deadline);
	} else if (deadline) {
		await_once(&awaited, deadline);
	}
	if (!far__zygote_hears_answers())
		see_to_stock(port->slave);
	/* Of a slave that died, look once more: an answer before its death counts. */
	return far__ring_is_answered(ring, position);
}
