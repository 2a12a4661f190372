/*
 * From the captured call to the message, and from the reply to the result.
 *
 * A call is made in three steps, all in the calling thread:
 *   begin      find the slave, this thread's port to it, and a free slot; done by
 *              the first pointer argument that must be more than looked at, or by
 *              the last step
 *   look       each pointer argument is passed, replaced by a copy in shared
 *              memory, or refused; a refusal is remembered
 *   dispatch   far__capture() has the registers: write the message, publish it,
 *              and wait for the reply or make a task of it
 * Nothing is published before the last step, so a call that fails earlier leaves
 * nothing to take back but the memory for its copies.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "crash.h"
#include "heap.h"
#include "internal.h"
#include "mail.h"
#include "message.h"
#include "sys.h"

_Static_assert(sizeof(struct far_registers) == 192, "call_x86_64.S: REGISTERS");
_Static_assert(offsetof(struct far_registers, rax) == 48, "call_x86_64.S: RAX");
_Static_assert(offsetof(struct far_registers, x87) == 56, "call_x86_64.S: X87");
_Static_assert(offsetof(struct far_registers, vector) == 64, "call_x86_64.S: VECTOR");
_Static_assert(offsetof(struct far_frame, function) == 192, "call_x86_64.S: FUNCTION");
_Static_assert(offsetof(struct far_frame, stack) == 200, "call_x86_64.S: STACK");
_Static_assert(offsetof(struct far_frame, stack_words) == 208, "call_x86_64.S: STACK_WORDS");
_Static_assert(offsetof(struct far_frame, sp) == 216, "call_x86_64.S: SP");
_Static_assert(offsetof(struct far__call, site) == 0, "call_x86_64.S: SITE");
_Static_assert(offsetof(struct far__call, jump) == 40, "call_x86_64.S: JUMP");
_Static_assert(offsetof(struct far__site, vectors) == 26, "call_x86_64.S: VECTORS");
_Static_assert((int)FAR_INT_REGISTERS == FAR__INTS && (int)FAR_VECTOR_REGISTERS == FAR__VECTORS, "farcall.h");

#define ALIGN16(n)	(((n) + 15) & ~15u)

#define LATE_IN_QUEUE	"the deadline passed before slave \"%s\" began the call"
#define OUTLIVED	"slave process \"%s\" was started again before the call was run, which is of its earlier life"

static inline struct far__slave *slave_of(const struct far__call *call)
{
	return ((struct far__port *)call->port)->slave;
}

static inline unsigned argument_words(const struct far__call *call)
{
	const struct far__site *site = call->site;

	return call->timed + site->ints + site->vectors * (1u + site->wide) + site->stack / 8;
}

/* What of a body its arguments, result and copies can have. */
static inline unsigned body_bytes(const struct far__call *call)
{
	return sizeof(struct far__body) - (call->passes ? FAR_LIST_BYTES : 0);
}

/* Whether the argument words are in the slot and its body. */
static inline bool words_fit(const struct far__call *call)
{
	return argument_words(call) <= FAR_SLOT_ARGUMENTS + body_bytes(call) / 8;
}

/* A message of few words: integer registers alone, in and out. */
static inline bool is_small(const struct far__call *call)
{
	return far__is_small(call->site, call->result) && !call->timed;
}

/* A message that its slot can hold, with the reply: registers alone, in and out. */
static inline bool is_short(const struct far__call *call)
{
	return FAR_LIKELY(is_small(call)) || (!call->site->stack && call->result <= FAR__REGISTERS && !call->timed &&
					      argument_words(call) <= FAR_SLOT_ARGUMENTS);
}

/* The caller waits for the result at once. */
static inline bool is_invoke(const struct far__call *call)
{
	return call->op <= FAR__OP_INVOKE_WITHIN;
}

/* By its own limit or the slave's, from now on, or from when the first descriptor was passed. */
static inline void begin_deadline(struct far__call *call, const struct far__slave *slave)
{
	int limit_ms = call->within != FAR__SLAVES_DEADLINE ? call->within : slave->deadline_ms ? slave->deadline_ms : -1;

	if (!call->passes)
		call->deadline = limit_ms < 0 ? FAR_FOREVER : far__now() + (uint64_t)limit_ms * 1000000;
}

/* --------------------------------------------------------------- begin */

bool (*far__library_find)(struct far__call *call);
struct far__proxies far__proxies;

static void fail_cancelled(const struct far__call *call)
{
	far__fail(FAR_ECANCELLED, ECANCELED, call->site->function, call->site,
		  "the call that it was made in was cancelled");
}

static void fail_closed(const struct far__call *call)
{
	far__fail(FAR_ECLOSED, EBADF, call->site->function, call->site, "the slave is closed");
}

static void fail_literal(const struct far__call *call, const struct far__slave *slave)
{
	far__fail(FAR_EPOINTER, EFAULT, call->site->function, call->site,
		  "a string literal is an argument, in a module loaded after far_init(), which slave process \"%s\" does not "
		  "have: use far_str()", slave->name);
}

static void fail_dead(const struct far__call *call, const struct far__slave *slave)
{
	struct far__message reply;
	struct far_error error;

	far__reply_of_dead(slave, false, &reply);
	far__explain(&error, call->site, (uintptr_t)call->slave, &reply);
	far__fail_with(&error);
}

/* Make the queue's next slot ours if its last call is answered: false if not. */
static inline bool take_answered_slot(struct far__port *port)
{
	const struct far__ring *queue = &port->lane.queue;
	uint32_t before = queue->position - (queue->mask + 1);
	uintptr_t task = *far__port_task(port, before);

	if (FAR_LIKELY(!task))
		return true;
	if (!far__ring_is_answered(queue, before))
		return false;
	far__task_move(task, port, before);
	return true;
}

/*
 * Wait for the call whose slot is wanted. A port that others use, too, is left meanwhile: the
 * slave's own thread may be among them, which alone can free a slot. False: it is not waited
 * for any longer, and the port is left.
 */
static bool await_slot(const struct far__call *call, struct far__port *port, uint32_t position)
{
	const struct far__server *server = far__thread.server;
	bool is_mine = !port->shared || far__port_serves(port) || (server && server->number == port->slave->number);

	if (is_mine && far__port_await(port, &port->lane.queue, position, call->deadline, NULL, NULL))
		return true;
	far__port_leave(port);
	if (is_mine || far__is_dead(port->slave->number) || far_interrupted() ||
	    (call->deadline != FAR_FOREVER && far__now() >= call->deadline))
		return false;
	far__pause();
	return far__port_enter(port, (uintptr_t)call->slave);
}

/* The port is left: of a slave that is closed nothing may be there to tell how it ended. */
static void fail_without_slot(const struct far__call *call, const struct far__slave *slave)
{
	if (slave->handle != (uintptr_t)call->slave)
		fail_closed(call);
	else if (far__is_dead(slave->number))
		fail_dead(call, slave);
	else if (far_interrupted())
		fail_cancelled(call);
	else
		far__fail_late(call->site, (uintptr_t)call->slave, false);
}

/* Whether a full queue is waited for; if not, far_error() says why, and the port is left. */
static bool may_wait(const struct far__call *call, struct far__port *port, uint32_t position)
{
	const struct far__slave *slave = port->slave;

	if (slave->fail_when_full && call->op == FAR__OP_SCHEDULE)
		far__fail(FAR_EFULL, EAGAIN, call->site->function, call->site, "the queue of slave \"%s\" is full", slave->name);
	else if (far__port_waits(port, &port->lane.queue, position))
		far__fail(FAR_EFULL, EDEADLK, call->site->function, call->site,
			  "calls and callbacks are nested so deep that the queue of slave \"%s\" is full: give it more "
			  "than .queue = %u", slave->name, slave->queue);
	else
		return true;
	far__port_leave(port);
	return false;
}

/* The same, and wait for that. False and far_error() if it shall not be waited for, or will not be; and the port is left. */
static bool free_slot(const struct far__call *call, struct far__port *port)
{
	const struct far__ring *queue = &port->lane.queue;

	/* Look again: what was served meanwhile may have made calls too. */
	while (!take_answered_slot(port)) {
		uint32_t before = queue->position - (queue->mask + 1);

		if (!may_wait(call, port, before))
			return false;
		if (!await_slot(call, port, before)) {
			fail_without_slot(call, port->slave);
			return false;
		}
	}
	return true;
}

static bool queue_is_done(const struct far__port *port)
{
	const struct far__ring *queue = &port->lane.queue;

	return !port->task || far__ring_is_answered(queue, queue->position - 1);
}

/* Not of a slave that is dead. False and far_error(). */
static bool need_queue(const struct far__call *call, struct far__port *port)
{
	if (!far__is_dead(port->slave->number))
		return far__port_need_queue(port, call->site);
	fail_dead(call, port->slave);
	return false;
}

/* The ring to use, with a slot that is ours; NULL and far_error(), and the port is left. */
static struct far__ring *choose_ring(const struct far__call *call, struct far__port *port)
{
	struct far__ring *queue = &port->lane.queue;

	if (is_invoke(call) && !port->shared) {
		if (!port->queued)
			return &port->lane.call;
		if (queue_is_done(port) && !far__port_is_abandoned(port) &&
		    !far__port_waits(port, &port->lane.call, port->lane.call.position - 1)) {
			port->queued = false;
			return &port->lane.call;
		}
	}
	if (FAR_UNLIKELY(!port->task) && !need_queue(call, port)) {
		far__port_leave(port);
		return NULL;
	}
	return free_slot(call, port) ? queue : NULL;
}

static bool is_myself(uintptr_t handle)
{
	return far__thread.server && far__thread.server->handle == handle;
}

/* Whether a pointer means the same in the call's slave: if it does so in one life, in that alone. */
static enum far__reach reach_of(struct far__call *call, const struct far__slave *slave, const void *p)
{
	uint32_t incarnation = shm_load(&far__member(slave->number)->incarnation);	/* first: see respawn() in zygote.c */
	enum far__reach reach = far__image_reach(slave, p);

	if (reach == FAR_REACHES && slave->kind == FAR_PROCESS && far__space_window(p) >= 0 && !far__set_life(call, incarnation))
		return FAR_STALE;
	return reach;
}

/* Whether its string literals are where a slave process has them, too: they lie where the function's name does. */
static inline bool has_common_literals(const struct far__call *call)
{
	const char *text = call->site->function;

	return FAR_LIKELY(!call->site->literals) || (text >= far__common_image.start && text < far__common_image.end) ||
	       far__image_has(text);
}

/* Whether the call's function is where it was found for it: what lies in a slave's memory may have gone. */
static inline bool is_at_hand(const struct far__call *call)
{
	const char *f = call->function;

	return (f >= far__common_code.start && f < far__common_code.end) ||
	       (far__image_is_common(f) && (call->life || far__space_window(f) < 0));
}

/* The same, in a slave process; else find it. False and far_error(). */
static bool find_function(struct far__call *call, const struct far__slave *slave)
{
	if (!far__image_is_common(call->function)) {
		call->function = far__image_function(call);
		return call->function;
	}
	if (call->life || reach_of(call, slave, call->function) == FAR_REACHES)
		return true;
	far__fail(FAR_ESTALE, EFAULT, call->site->function, call->site,
		  "the function at %p is in the memory of another slave process, or of one that has ended", call->function);
	return false;
}

/* This thread's port to the slave, entered. NULL and far_error(). */
static struct far__port *open_port(struct far__call *call)
{
	uintptr_t handle = (uintptr_t)call->slave;
	struct far__thread *thread = &far__thread;
	struct far__port *port = thread->last_port;

	if (FAR_UNLIKELY(thread->last_handle != handle || !handle)) {
		port = far__port_find(handle, call->site);
		if (!port)
			return NULL;
		thread->last_handle = handle;
		thread->last_port = port;
	}
	if (FAR_UNLIKELY(!far__port_enter(port, handle))) {
		thread->last_handle = 0;
		thread->last_port = NULL;
		fail_closed(call);
		return NULL;
	}
	if (FAR_UNLIKELY(!is_at_hand(call)) && port->slave->kind == FAR_PROCESS) {
		far__port_leave(port);
		return find_function(call, port->slave) ? open_port(call) : NULL;
	}
	return port;
}

static bool begin(struct far__call *call)
{
	call->begun = true;
	if (call->op == FAR__OP_THREAD)
		return far__ready(call->site->function) == 0;
	if (FAR_UNLIKELY(far__is_library((uintptr_t)call->slave)) && !far__library_find(call))
		return false;
	if (FAR_UNLIKELY(is_invoke(call) && is_myself((uintptr_t)call->slave))) {
		call->in_place = true;
		return true;
	}
	struct far__port *port = open_port(call);

	if (FAR_UNLIKELY(!port))
		return false;
	if (FAR_UNLIKELY(!has_common_literals(call)) && port->slave->kind == FAR_PROCESS) {
		far__port_leave(port);
		fail_literal(call, port->slave);
		return false;
	}
	begin_deadline(call, port->slave);
	if (FAR_UNLIKELY(call->within == 0) && is_invoke(call)) {
		far__port_leave(port);
		far__fail_late(call->site, (uintptr_t)call->slave, false);
		return false;
	}
	struct far__ring *ring = choose_ring(call, port);

	if (FAR_UNLIKELY(!ring))
		return false;
	call->port = port;
	call->ring = ring;
	/* Who waits sees to the deadline; nobody may wait for a task. */
	if (ring == &port->lane.queue)
		call->timed = call->deadline != FAR_FOREVER;
	if (is_small(call))
		return true;
	unsigned words = argument_words(call);

	if (words > FAR_SLOT_ARGUMENTS && words_fit(call))
		call->inline_used = ALIGN16((words - FAR_SLOT_ARGUMENTS) * 8);
	if (call->result == FAR__MEMORY && call->inline_used + call->site->result_size <= body_bytes(call)) {
		call->result_at = (char *)far__ring_body(ring, ring->position) + call->inline_used;
		call->inline_used += ALIGN16((uint32_t)call->site->result_size);
	}
	return true;
}

/* The bodies of a ring are committed when the first is needed. */
static bool have_bodies(const struct far__call *call)
{
	struct far__port *port = call->port;
	bool *have = call->ring == &port->lane.call ? &port->call_bodies : &port->queue_bodies;

	if (FAR_UNLIKELY(!*have)) {
		int err = far__lane_commit_bodies(&port->lane, call->ring, port->slave->number, port->number);

		if (err) {
			far__fail(FAR_ENOMEM, -err, call->site->function, call->site, "no shared memory for the message: %s",
				  strerror(-err));
			return false;
		}
		*have = true;
	}
	return true;
}

static void *body_of(const struct far__call *call)
{
	const struct far__ring *ring = call->ring;

	return far__ring_body(ring, ring->position);
}

/*
 * The rest of a small call's slot, which its messages do not use, moves with it: a few
 * bytes take no more time so. NULL: they are too many, the reply will use it, or the slave
 * is to write them, which would have it take the cache line from the caller, who looks for
 * the reply there, once more.
 */
static void *room_in_slot(struct far__call *call, size_t size, int use)
{
	const struct far__ring *ring = call->ring;

	if (use & FAR__OUT || size > sizeof(struct far__rest) - call->slot_used || !is_small(call) ||
	    far__is_mirrored(call->function))
		return NULL;
	void *room = (char *)far__ring_rest(ring, ring->position) + call->slot_used;

	call->slot_used += ALIGN16((uint32_t)size);
	return room;
}

/* Shared memory for @size bytes of a call: in the slot or the body, or a far-heap block. NULL and far_error(). */
static void *room_for(struct far__call *call, size_t size, int use, bool *on_heap)
{
	void *in_slot = call->port ? room_in_slot(call, size, use) : NULL;
	int err = 0;

	*on_heap = false;
	if (in_slot)
		return in_slot;
	if (call->port && call->inline_used <= body_bytes(call) && size <= body_bytes(call) - call->inline_used) {
		void *room = (char *)body_of(call) + call->inline_used;

		if (!have_bodies(call))
			return NULL;
		call->inline_used += ALIGN16((uint32_t)size);
		return room;
	}
	void *room = far__heap_alloc(size, false, &err);

	if (!room)
		far__fail(FAR_ENOMEM, far__heap_errnum(err), call->site->function, call->site,
			  "no shared memory for %zu bytes of the call: %s", size,
			  err == -ENOBUFS ? "the far heap's range is used up (set FARCALL_HEAP)" : strerror(-err));
	*on_heap = true;
	return room;
}

/* ---------------------------------------------------------------- look */

static void fail_several(struct far__call *call)
{
	if (!call->failed)
		far__fail(FAR_EINVAL, E2BIG, "far_in", NULL,
			  "argument %d has several of far_in(), far_out(), far_fd() and the like", call->argument);
	call->begun = call->failed = true;
}

struct far__buffer *far__buffer_add(struct far__call *call)
{
	/* There is one for each argument, and one more. */
	if (FAR_LIKELY(call->nbuffers <= call->argument))
		return &call->buffers[call->nbuffers++];
	fail_several(call);
	return NULL;
}

void *far__buffer(struct far__call *call, const void *p, size_t size, int use)
{
	struct far__buffer *b = far__buffer_add(call);

	if (b)
		*b = (struct far__buffer){ .here = p, .size = size, .use = (uint8_t)use, .argument = call->argument };
	return (void *)(uintptr_t)p;
}

static void refuse(struct far__call *call, int argument, const void *p, enum far__reach reach)
{
	struct far__slave *slave = slave_of(call);

	if (slave->kind == FAR_OWNER)
		far__fail(FAR_EPOINTER, EFAULT, call->site->function, call->site,
			  "argument %d (%p) of a callback points to %s of the slave process, which who is called back cannot see: "
			  "far_alloc() the memory", argument, p, far__image_describe(p));
	else if (reach == FAR_STALE)
		far__fail(FAR_ESTALE, EFAULT, call->site->function, call->site,
			  "argument %d (%p) points into the memory of another slave process, which \"%s\" cannot see: "
			  "copy it home first, or keep it in far_alloc()ed memory", argument, p, slave->name);
	else
		far__fail(FAR_EPOINTER, EFAULT, call->site->function, call->site,
			  "argument %d (%p) points to %s, which slave process \"%s\" cannot see: "
			  "use far_in(p, n), far_out(p, n), far_inout(p, n) or far_str(p), or far_alloc() the memory",
			  argument, p, far__image_describe(p), slave->name);
	far__failure()->address = (void *)(uintptr_t)p;
	call->failed = true;
}

/* Copy a string in, if it is one. */
static void copy_string(struct far__call *call, struct far__buffer *b, int argument)
{
	long length = far__image_strlen(b->here);
	bool on_heap = false;

	if (length < 0) {
		far__fail(FAR_EPOINTER, EFAULT, call->site->function, call->site,
			  "argument %d (%p) is no string: it does not end in readable memory", argument, b->here);
		far__failure()->address = (void *)(uintptr_t)b->here;
		call->failed = true;
		return;
	}
	b->size = (size_t)length + 1;
	b->there = room_for(call, b->size, b->use, &on_heap);
	if (!b->there) {
		call->failed = true;
		return;
	}
	memcpy(b->there, b->here, b->size - 1);
	((char *)b->there)[b->size - 1] = 0;
	b->use = (uint8_t)(FAR__IN | (on_heap ? FAR_COPY_ON_HEAP : 0));
}

static void copy_buffer(struct far__call *call, struct far__buffer *b)
{
	bool on_heap = false;

	b->there = room_for(call, b->size, b->use, &on_heap);
	if (!b->there) {
		call->failed = true;
		return;
	}
	if (on_heap)
		b->use |= FAR_COPY_ON_HEAP;
	if (b->use & FAR__IN)
		memcpy(b->there, b->here, b->size);
	else
		memset(b->there, 0, b->size);
}

/* The buffer that an argument's value lies in, among those its expression named. */
static struct far__buffer *buffer_of(struct far__call *call, const char *p, int argument)
{
	for (unsigned i = 0; i < call->nbuffers; i++) {
		struct far__buffer *b = &call->buffers[i];

		if (b->argument == argument &&
		    (b->here == p || (p >= (const char *)b->here && p <= (const char *)b->here + b->size)))
			return b;
	}
	return NULL;
}

/* The call's slave, if it is begun or this thread's last call was to it; or NULL. */
static const struct far__slave *known_slave(const struct far__call *call)
{
	const struct far__thread *thread = &far__thread;

	if (call->port)
		return slave_of(call);
	return thread->last_port && thread->last_handle == (uintptr_t)call->slave ? thread->last_port->slave : NULL;
}

/* Whether a pointer is passed as it is, if that can be told before the call is begun. */
static bool passes_at_once(struct far__call *call, const struct far__buffer *b, const void *p)
{
	if (b && b->use != FAR__REMOTE)
		return false;
	if (far__space_in_heap(p))
		return true;
	const struct far__slave *slave = known_slave(call);

	return slave && (reach_of(call, slave, p) == FAR_REACHES || b);
}

void far__look_at(struct far__call *call, void *value, int argument, int use, size_t constant)
{
	char *p;

	memcpy(&p, value, sizeof p);
	struct far__buffer *b = call->nbuffers ? buffer_of(call, p, argument) : NULL;
	bool is_proxy = far__is_proxy(p) && call->op != FAR__OP_THREAD;

	/* Such a call is begun when it is made, in one go. */
	if (!is_proxy && passes_at_once(call, b, p))
		return;
	if (!call->begun && !begin(call))
		call->failed = true;
	if (call->failed)
		return;
	if (FAR_UNLIKELY(is_proxy)) {
		p = far__proxies.find(call, p, argument);
		call->failed = !p;
		memcpy(value, &p, sizeof p);
		return;
	}
	if (call->in_place)
		return;
	if (b && p && !(b->use & (FAR_CALLS_BACK | FAR__REMOTE))) {
		if (b->use & FAR__STRING)
			copy_string(call, b, argument);
		else
			copy_buffer(call, b);
		if (!call->failed) {
			p = (char *)b->there + (p - (const char *)b->here);
			memcpy(value, &p, sizeof p);
		}
		return;
	}
	if (call->op == FAR__OP_THREAD)
		return;
	enum far__reach reach = reach_of(call, slave_of(call), p);

	if (reach == FAR_REACHES || (b && b->use & FAR__REMOTE))
		return;
	if (reach != FAR_PRIVATE || (!(use & FAR__CONST_CHAR) && !constant)) {
		refuse(call, argument, p, reach);
		return;
	}
	struct far__buffer *copy = far__buffer_add(call);

	if (!copy)
		return;
	*copy = (struct far__buffer){ .here = p, .size = constant, .use = FAR__IN, .argument = (uint8_t)argument };
	if (constant)
		copy_buffer(call, copy);
	else
		copy_string(call, copy, argument);
	if (!call->failed)
		memcpy(value, &copy->there, sizeof copy->there);
}

void far__look(struct far__call *call, void *value, int argument, int use)
{
	far__look_at(call, value, argument, use, 0);
}

/* As far__mail_fd(), for a call that only the slave's life of now can make. */
static int mail_fd(struct far__call *call, struct far__slave *slave, int fd)
{
	uint32_t incarnation = shm_load(&far__member(slave->number)->incarnation);

	if (far__set_life(call, incarnation))
		return far__mail_fd(call->slave, incarnation, fd, call->deadline);
	far__fail(FAR_ESTALE, EFAULT, "far_fd", NULL, OUTLIVED, slave->name);
	return -EOWNERDEAD;
}

int far__fd(struct far__call *call, int fd)
{
	uintptr_t handle = (uintptr_t)call->slave;
	struct far__thread *thread = &far__thread;
	struct far__buffer *passed = call->failed ? NULL : far__buffer_add(call);
	int result;

	if (!passed)
		return -1;
	*passed = (struct far__buffer){ 0 };
	if (call->op == FAR__OP_THREAD || (thread->server && thread->server->handle == handle)) {
		result = (int)SYS(fcntl, fd, F_DUPFD_CLOEXEC, 3);
	} else {
		struct far__slave *slave = far__slave_find(handle, "far_fd", NULL);

		if (!slave) {
			call->begun = call->failed = true;
			return -1;
		}
		begin_deadline(call, slave);
		if (slave->kind != FAR_PROCESS)
			result = (int)SYS(fcntl, fd, F_DUPFD_CLOEXEC, 3);
		else
			result = mail_fd(call, slave, fd);
		if (result == -EOWNERDEAD) {	/* the slave is, or late, and has said so */
			far__blame("far_fd", NULL, "");
			call->begun = call->failed = true;
			return -1;
		}
	}
	if (result < 0) {
		far__fail(result == -EMFILE || result == -ENFILE ? FAR_ELIMIT : FAR_EINVAL, -result,
			  "far_fd", NULL, "descriptor %d cannot be passed: %s", fd, strerror(-result));
		call->begun = call->failed = true;
		return result;
	}
	call->passes = true;
	*passed = (struct far__buffer){ .size = (size_t)result, .use = FAR_PASSED_FD };
	return result;
}

/* Descriptors that were passed for a call that will not be made. The error stays. */
static void take_fds_back(struct far__call *call)
{
	struct far_error error = *far_error();

	for (unsigned i = 0; i < call->nbuffers; i++) {
		int fd = (int)call->buffers[i].size;

		if (!(call->buffers[i].use & FAR_PASSED_FD))
			continue;
		call->buffers[i].use = 0;
		struct far__slave *slave = call->op == FAR__OP_THREAD ? NULL : far__slave_by_number(far__handle_number((uintptr_t)call->slave));

		if (slave && slave->kind == FAR_PROCESS)
			far__task_drop(FAR__ID(far_schedule(call->slave, close, (far__c.life = call->life, fd))));
		else
			SYS(close, fd);
	}
	far_error();
	far__fail_with(&error);
}

/* ------------------------------------------------------------ the reply */

/* Zero bits in the result registers; how many x87 results that takes. */
static int no_value(uint8_t result, struct far_registers *registers)
{
	if (result != FAR__MEMORY)
		registers->gp[0] = 0;
	registers->gp[1] = 0;
	for (unsigned i = 0; i < 2; i++)
		registers->vector[i] = registers->vector[FAR_X87_AT + i] = (struct far_vector){ 0 };
	return result == FAR__X87 ? 1 : result == FAR__X87_2 ? 2 : 0;
}

int far__no_result(const struct far__site *site, uint8_t result, struct far_registers *registers)
{
	if (result == FAR__MEMORY)
		memset((void *)registers->gp[0], 0, site->result_size);
	return no_value(result, registers);
}

void far__holds_end_callbacks(struct far__holds *holds)
{
	for (unsigned i = 0; i < holds->nbuffers; i++) {
		if (holds->buffers[i].use & FAR_CALLS_BACK && holds->buffers[i].there)
			far__callback_end(holds->buffers[i].there);
		holds->buffers[i].use &= (uint8_t)~FAR_CALLS_BACK;
	}
}

void far__holds_release(struct far__holds *holds)
{
	far__holds_end_callbacks(holds);
	if (holds->arguments)
		far__heap_free(holds->arguments);
	if (holds->result_on_heap)
		far__heap_free(holds->result);
	if (holds->result_on_malloc)
		free(holds->result);
	if (holds->kept.by_call)
		holds->kept.release(holds->kept.object);
	holds->kept.by_call = false;
	for (unsigned i = 0; i < holds->nbuffers; i++)
		if (holds->buffers[i].use & FAR_COPY_ON_HEAP)
			far__heap_free(holds->buffers[i].there);
		else if (holds->buffers[i].use & FAR_COPY_PRIVATE)
			free(holds->buffers[i].there);
	holds->nbuffers = 0;
}

void far__reply_release(const struct far__message *reply)
{
	if ((reply->info & 0xff) == FAR_RAISED)
		far__heap_free((void *)(uintptr_t)reply->word[1]);
}

void far__reply_of_dead(const struct far__slave *slave, bool begun, struct far__message *reply)
{
	const struct far__member *m = far__member(slave->number);

	far__death_words(reply, shm_load(&m->status), shm_load(&m->verdict) | (begun ? 0 : FAR_BYSTANDER), shm_load(&m->pid));
	reply->word[2] = far__report_take(slave, shm_load(&m->pid));
	if (slave->kind == FAR_PROCESS ? shm_load(&slave->segment->stop) == FAR_STOPPED && !shm_load(&m->status)
				       : shm_load(&slave->segment->stop))
		reply->info = far__reply_info(FAR_NOT_RUN, 0, 0);
}

void far__explain(struct far_error *e, const struct far__site *site, uintptr_t handle, const struct far__message *reply)
{
	const struct far__slave *slave = far__slave_by_number(far__handle_number(handle));
	const char *name = slave ? slave->name : "";
	char *text = (char *)(uintptr_t)reply->word[1];

	switch ((enum far__outcome)(reply->info & 0xff)) {
	case FAR_RAISED:
		far__error_fill(e, (int)reply->word[0], 0, site->function, site, "%s",
				text ? text : "(there was no memory for the text)");
		far__heap_free(text);
		break;
	case FAR_CANCELLED:
		far__error_fill(e, FAR_ECANCELLED, ECANCELED, site->function, site, "the call was cancelled before it was run");
		break;
	case FAR_LATE:
		far__error_fill(e, FAR_EDEADLINE, ETIMEDOUT, site->function, site, LATE_IN_QUEUE, name);
		break;
	case FAR_OVERDUE:
		far__error_fill(e, FAR_EDEADLINE, ETIMEDOUT, site->function, site,
				"no result before the deadline: it came too late from slave \"%s\"", name);
		break;
	case FAR_OUTLIVED:
		far__error_fill(e, FAR_ESTALE, EFAULT, site->function, site, OUTLIVED, name);
		break;
	case FAR_LOST:
		far__error_fill(e, FAR_ENOMEM, ENOMEM, site->function, site, "no memory to keep the result");
		break;
	case FAR_DIED:
		if (reply->word[1])
			far__explain_death(e, site, slave, (int)(uint32_t)reply->word[0], (uint32_t)(reply->word[0] >> 32),
					   reply->word[2]);
		else
			far__error_fill(e, FAR_EDIED, EOWNERDEAD, site->function, site,
					"the thread that ran it ended (pthread_exit or longjmp?)");
		break;
	case FAR_LEFT:
		far__error_fill(e, FAR_ECLOSED, EBADF, site->function, site,
				"slave \"%s\" was closed, but could not be ended: it goes on with the call", name);
		break;
	default:
		far__error_fill(e, FAR_ECLOSED, EBADF, site->function, site,
				"slave \"%s\" was closed before the call was run", name);
	}
}

void far__fail_late(const struct far__site *site, uintptr_t handle, bool ran)
{
	const struct far__slave *slave = far__slave_by_number(far__handle_number(handle));

	far__fail(FAR_EDEADLINE, ETIMEDOUT, site->function, site,
		  !ran ? LATE_IN_QUEUE : slave && slave->kind == FAR_PROCESS
			  ? "no result before the deadline: slave process \"%s\", which ran the call, is killed"
			  : "no result before the deadline: slave \"%s\" is a thread, and cannot be killed: it goes on",
		  slave ? slave->name : "");
}

/* What a method left in its small object. No slave can have us write outside of the far heap. */
static void take_data(const struct far__message *reply)
{
	uint64_t size = reply->word[FAR_DATA_TO] >> 48;
	char *to = (char *)(uintptr_t)(reply->word[FAR_DATA_TO] & ((1ull << 48) - 1));

	if (size <= FAR_DATA_MAX && far__space_in_heap(to) && far__space_in_heap(to + size))
		memcpy(to, &reply->word[FAR_DATA_AT], size);
}

int far__conclude(const struct far__site *site, uint8_t result, uintptr_t handle, const struct far__message *reply,
		  struct far__holds *holds, struct far_registers *registers)
{
	uint32_t info = reply->info;

	if (FAR_UNLIKELY((info & 0xff) != FAR_RETURNED)) {
		struct far_error error;

		far__explain(&error, site, handle, reply);
		far__fail_with(&error);
		far__holds_end(holds, reply);
		return far__no_result(site, result, registers);
	}
	if (FAR_UNLIKELY(info & FAR_NOT_FEW))
		take_data(reply);
	for (unsigned i = 0; i < holds->nbuffers; i++) {
		const struct far__buffer *b = &holds->buffers[i];

		if (b->use & FAR__OUT)
			memcpy((void *)(uintptr_t)b->here, b->there, b->size);
	}
	if (result == FAR__MEMORY) {
		memcpy((void *)registers->gp[0], holds->result, site->result_size);
	} else if (result <= FAR__INTEGERS) {
		far__copy_words(registers->gp, reply->word, 2);
	} else {
		far__unpack_result(registers, reply->word, info >> 8 & 3);
	}
	if (FAR_UNLIKELY(!far__holds_nothing(holds)))
		far__holds_release(holds);
	if (info >> 16)
		errno = (int)(info >> 16);
	far__succeed();
	return result == FAR__X87 || result == FAR__X87_2 ? (int)(info >> 8 & 3) : 0;
}

/* A call that will not be made, for the reason in far_error(): take all of it back. */
static int unsent(struct far__call *call, struct far__holds *holds, struct far_registers *registers)
{
	far__holds_release(holds);
	if (call->port)
		far__port_leave(call->port);
	if (call->nbuffers && far__failed)
		take_fds_back(call);
	return far__no_result(call->site, call->result, registers);
}

/* ------------------------------------------------------------- dispatch */

/* Where a result in memory goes: begun in the body if it fits, else on the heap. */
static bool place_result(struct far__call *call, struct far__holds *holds)
{
	int err = 0;

	if (call->result != FAR__MEMORY)
		return true;
	if (call->result_at) {
		holds->result = call->result_at;
		return have_bodies(call);
	}
	holds->result = far__heap_alloc(call->site->result_size, false, &err);
	holds->result_on_heap = holds->result;
	if (!holds->result)
		far__fail(FAR_ENOMEM, far__heap_errnum(err), call->site->function, call->site,
			  "no shared memory for %zu bytes of result", call->site->result_size);
	return holds->result;
}

/*
 * The stack words are counted generously, for what may be there cannot be told
 * exactly: the caller's own frame may be copied too, which AddressSanitizer
 * would take for a fault.
 */
__attribute__((no_sanitize("address"), noinline))
void far__copy_stack(uint64_t *to, const uint64_t *stack, size_t words)
{
	for (size_t i = 0; i < words; i++)
		__atomic_store_n(&to[i], __atomic_load_n(&stack[i], __ATOMIC_RELAXED), __ATOMIC_RELAXED);
}

static struct far__shape shape_of(const struct far__call *call, const struct far_registers *registers)
{
	const struct far__site *site = call->site;

	return (struct far__shape){
		.timed = call->timed, .ints = site->ints, .vectors = site->vectors, .wide = site->wide,
		.al = site->vectors ? (unsigned)registers->rax & 15 : 0,
		.x87 = call->result == FAR__X87 || call->result == FAR__X87_2,
		.on_heap = !words_fit(call),
		.stack_words = site->stack / 8,
	};
}

/* Arguments that are more than integer registers. False and far_error() if there is no memory for them. */
static bool pack_arguments(struct far__call *call, const struct far_registers *registers, const uint64_t *stack,
			   struct far__holds *holds, struct far__message *m)
{
	const struct far__site *site = call->site;
	unsigned words = argument_words(call);
	struct far__shape shape = shape_of(call, registers);
	uint64_t packed[FAR_MESSAGE_WORDS];
	uint64_t *to = packed;

	if (FAR_UNLIKELY(shape.on_heap)) {
		int err;

		to = holds->arguments = far__heap_alloc((1 + words) * sizeof *to, false, &err);
		if (!to) {
			far__fail(FAR_ENOMEM, far__heap_errnum(err), site->function, site, "no shared memory for %zu bytes of arguments",
				  words * sizeof *to);
			return false;
		}
		packed[0] = (uintptr_t)to;
		*to++ = shape.stack_words;
	} else if (words > FAR_SLOT_ARGUMENTS && !have_bodies(call)) {
		return false;
	}
	if (FAR_UNLIKELY(call->timed))
		*to++ = call->deadline;
	far__copy_stack(far__pack(to, &shape, registers), stack, shape.stack_words);
	if (call->result == FAR__MEMORY)
		to[0] = (uintptr_t)holds->result;
	if (!shape.on_heap && words > FAR_SLOT_ARGUMENTS)
		shm_copy_in(body_of(call), &packed[FAR_SLOT_ARGUMENTS], words - FAR_SLOT_ARGUMENTS);
	for (unsigned i = shape.on_heap ? 1 : words; i < FAR_SLOT_ARGUMENTS; i++)
		packed[i] = 0;
	far__copy_words(&m->word[1], packed, FAR_SLOT_ARGUMENTS);
	m->info = far__shape_info(shape);
	m->few = false;
	return true;
}

/* The message of a short call that is not small. Apart: most are, and inlined it would slow them down. */
static __attribute__((noinline)) void pack_registers(const struct far__call *call, const struct far_registers *registers,
						     struct far__message *m)
{
	struct far__shape shape = shape_of(call, registers);
	uint64_t *to = far__pack(&m->word[1], &shape, registers);

	while (to < m->word + FAR_SLOT_WORDS)
		*to++ = 0;
	m->word[0] = (uintptr_t)call->function;
	m->info = far__shape_info(shape);
	m->few = false;
}

/* And of one that is. */
static void pack_small(const struct far__call *call, const struct far_registers *registers, struct far__message *m)
{
	const struct far__site *site = call->site;

	m->word[0] = (uintptr_t)call->function;
	m->word[1] = site->ints > 0 ? registers->gp[0] : 0;
	m->word[2] = site->ints > 1 ? registers->gp[1] : 0;
	m->info = site->ints;
	m->few = true;
}

static inline void pack_short(const struct far__call *call, const struct far_registers *registers, struct far__message *m)
{
	if (FAR_LIKELY(is_small(call)))
		pack_small(call, registers, m);
	else
		pack_registers(call, registers, m);
}

/* The message of the call. */
static bool pack(struct far__call *call, const struct far_registers *registers, const uint64_t *stack,
		 struct far__holds *holds, struct far__message *m)
{
	if (is_short(call)) {
		pack_short(call, registers, m);
		return true;
	}
	m->word[0] = (uintptr_t)call->function;
	return place_result(call, holds) && pack_arguments(call, registers, stack, holds, m);
}

/*
 * A call that is waited for has no answer. If its slave died, that is the reason;
 * otherwise it is waited for no longer: see to it that it ends, and keep its slot,
 * and what it holds, until then.
 */
static int unanswered(struct far__call *call, struct far_registers *registers, struct far__holds *holds,
		      uint32_t position)
{
	struct far__port *port = call->port;
	struct far__message reply;

	if (far__is_dead(port->slave->number) || far__ring_is_answered(call->ring, position)) {
		far__port_reply(port, call->ring, position, false, &reply);
		far__reply_judge(&reply, call->deadline);
		if (!far__ring_is_answered(call->ring, position)) {
			/* Until the slave is started again, if it is: then the slot is answered. */
			port->queued = port->abandoned = true;
			/* A thread that is left to itself goes on with it, for nobody knows how long: that is lost. */
			if (port->slave->kind != FAR_PROCESS && call->kept)
				call->kept->by_call = true;
		}
		return far__conclude(call->site, call->result, (uintptr_t)call->slave, &reply, holds, registers);
	}
	bool late = !far_interrupted();

	far__holds_end_callbacks(holds);
	bool ran = !far__port_give_up(port, call->ring, position, late);

	far__holds_keep(holds, call->kept);
	far__port_abandon(port, holds);
	if (late)
		far__fail_late(call->site, (uintptr_t)call->slave, ran);
	else
		fail_cancelled(call);
	return far__no_result(call->site, call->result, registers);
}

/* The next call will need as much as this one, perhaps: have it here by then, while there is nothing else to do. */
static void own_next_body(const struct far__call *call)
{
	const char *body = body_of(call);

	for (uint32_t i = 0; i < call->inline_used; i += 64)
		shm_own(body + i);
}

static int invoke(struct far__call *call, struct far_registers *registers, struct far__holds *holds,
		  struct far__message *m)
{
	struct far__port *port = call->port;
	struct far__ring *ring = &port->lane.call;
	uint32_t position = ring->position++;
	int x87;

	port->woken = far__lane_ask(&port->lane, ring, position, m);
	if (call->inline_used)
		own_next_body(call);
	if (FAR_UNLIKELY(!far__port_await(port, ring, position, call->deadline, NULL, NULL))) {
		x87 = unanswered(call, registers, holds, position);
	} else {
		far__port_read(port, ring, position, m->few, m);
		if (FAR_UNLIKELY(call->deadline != FAR_FOREVER))
			far__reply_judge(m, call->deadline);
		x87 = far__holds_nothing(holds) && far__conclude_quickly(call->result, m, registers)
			      ? 0
			      : far__conclude(call->site, call->result, (uintptr_t)call->slave, m, holds, registers);
	}
	far__port_leave(port);
	return x87;
}

/* The call's task is made: hand it over. */
static inline void enqueue(const struct far__call *call, struct far__port *port, const struct far__message *m)
{
	enum { AHEAD = 16 };
	struct far__ring *queue = &port->lane.queue;
	uint32_t position = queue->position++;

	*far__port_task(port, position) = call->task;
	port->queued = true;
	port->woken = far__lane_ask(&port->lane, queue, position, m);
	/* Its result has been collected: the line may still be the slave's. */
	if (!*far__port_task(port, position + AHEAD))
		shm_own(far__ring_slot(queue, position + AHEAD));
}

static int schedule(struct far__call *call, struct far_registers *registers, struct far__holds *holds,
		    const struct far__message *m)
{
	struct far__port *port = call->port;
	uint32_t position = port->lane.queue.position;

	call->task = far__task_make(call, port, holds, call->deadline, m->few);
	if (!call->task)
		return unsent(call, holds, registers);
	enqueue(call, port, m);
	/* A port that several threads share is one's alone while it serves. */
	if (FAR_UNLIKELY(far__port_serves(port) != NULL) && is_invoke(call)) {
		far__port_await(port, &port->lane.queue, position, call->deadline, NULL, NULL);
		int x87 = far__task_collect(call, registers);

		far__port_leave(port);
		return x87;
	}
	far__port_leave(port);
	if (is_invoke(call))
		return far__task_collect(call, registers);
	return no_value(call->result, registers);
}

int far__run_here(const struct far__call *call, struct far_registers *registers, const uint64_t *stack)
{
	struct far_frame frame = {
		.registers = *registers, .function = call->function, .stack = stack, .stack_words = call->site->stack / 8,
	};
	struct far__running running;
	const struct far__running *outer = far__thread.running;

	running.interrupt = outer ? outer->interrupt : NULL;
	running.token = outer ? outer->token : 0;
	running.deadline = outer ? outer->deadline : 0;
	frame.registers.x87 = call->result == FAR__X87 || call->result == FAR__X87_2;
	if (far__run(&frame, &running)) {
		far__fail(running.code, 0, call->site->function, call->site, "%s", running.text);
		return far__no_result(call->site, call->result, registers);
	}
	*registers = frame.registers;
	far__succeed();
	return (int)registers->x87;
}

static int refused(struct far__call *call, struct far_registers *registers)
{
	struct far__holds holds = { .buffers = call->buffers, .nbuffers = call->nbuffers };

	for (unsigned i = 0; i < holds.nbuffers; i++)
		if (!holds.buffers[i].there)
			holds.buffers[i].use &= FAR_PASSED_FD;
	return unsent(call, &holds, registers);
}

static void begin_callbacks(const struct far__call *call)
{
	for (unsigned i = 0; i < call->nbuffers; i++) {
		struct far__buffer *b = &call->buffers[i];

		if (!(b->use & FAR_CALLS_BACK))
			continue;
		b->there = (void *)b->size;
		far__callback_begin(b->there);
	}
}

/* Whether nothing is to be done with any of its buffers when the call has ended. */
static bool buffers_are_done(const struct far__call *call)
{
	enum { TO_DO = FAR__OUT | FAR_COPY_ON_HEAP | FAR_COPY_PRIVATE | FAR_CALLS_BACK };
	uint8_t use = 0;

	for (unsigned i = 0; i < call->nbuffers; i++)
		use |= call->buffers[i].use;
	return !(use & TO_DO);
}

/*
 * The slave is told with the function what was passed to it, for it closes that if it takes
 * the call and does not run it. False and far_error() if there is no memory for the list.
 */
static bool list_fds(struct far__call *call, struct far__message *m)
{
	struct far__mirror *list = (void *)((char *)body_of(call) + body_bytes(call));
	int *fd = (int *)(list + 1);

	if (!have_bodies(call))
		return false;
	*list = (struct far__mirror){ .function = call->function, .from = list, .to = list, .fd = fd };
	for (unsigned i = 0; i < call->nbuffers; i++)
		if (call->buffers[i].use & FAR_PASSED_FD)
			fd[list->nfds++] = (int)call->buffers[i].size;
	m->word[0] = (uintptr_t)list | FAR_MIRRORED;
	return true;
}

static int make(struct far__call *call, struct far_registers *registers, const uint64_t *stack)
{
	if (FAR_UNLIKELY(call->site->unsure))
		far__lesson_end(call, registers, stack);
	if (!call->begun && !begin(call))
		call->failed = true;
	if (FAR_UNLIKELY(call->failed))
		return refused(call, registers);
	if (FAR_UNLIKELY(call->in_place))
		return far__run_here(call, registers, stack);
	if (FAR_UNLIKELY(call->op == FAR__OP_THREAD)) {
		call->task = far__task_thread(call, registers, stack);
		if (!call->task && call->nbuffers)
			take_fds_back(call);
		return no_value(call->result, registers);
	}
	struct far__port *port = call->port;
	struct far__holds holds = { .buffers = call->buffers, .nbuffers = call->nbuffers };
	struct far__message m;

	if (!pack(call, registers, stack, &holds, &m) || (call->passes && !list_fds(call, &m)))
		return unsent(call, &holds, registers);
	m.info |= call->life << FAR_LIFE_AT;
	if (call->nbuffers) {
		begin_callbacks(call);
		if (buffers_are_done(call))
			holds.nbuffers = 0;
	}
	if (call->ring == &port->lane.call)
		return invoke(call, registers, &holds, &m);
	return schedule(call, registers, &holds, &m);
}

/* As far__dispatch() returns. */
static inline int dispatched(const struct far__call *call, int x87)
{
	return FAR_UNLIKELY(call->jump != NULL) ? FAR_JUMP : x87;
}

static __attribute__((noinline)) int dispatch_any(struct far__call *call, struct far_registers *registers, const uint64_t *stack)
{
	return dispatched(call, make(call, registers, stack));
}

/*
 * Most calls take nothing but registers, and go to the slave that this thread called last. They
 * have a shorter way, by functions of their own that the compiler enters without a detour.
 * Whether a call may go it, as far as it tells itself ...
 */
static inline bool is_plain(const struct far__call *call)
{
	return !call->begun && !call->passes && is_short(call) && call->within == FAR__SLAVES_DEADLINE && is_at_hand(call) &&
	       has_common_literals(call);
}

/* ... and as far as its port does, which is not shared, and entered then; NULL: it may not. */
static inline struct far__port *enter_last(const struct far__call *call)
{
	const struct far__thread *thread = &far__thread;
	struct far__port *port = thread->last_port;

	if (!port || thread->last_handle != (uintptr_t)call->slave || port->timed ||
	    atomic_load_explicit(&port->shared, memory_order_relaxed))
		return NULL;
	return FAR_LIKELY(far__port_enter_own(port, thread->last_handle)) ? port : NULL;
}

static __attribute__((noinline)) int dispatch_invoke(struct far__call *call, struct far_registers *registers, const uint64_t *stack)
{
	struct far__port *port = is_plain(call) ? enter_last(call) : NULL;
	struct far__holds nothing = { 0 };
	struct far__message m;

	if (FAR_UNLIKELY(!port))
		return dispatch_any(call, registers, stack);
	if (FAR_UNLIKELY(port->queued) || is_myself(far__thread.last_handle)) {
		far__port_leave_own(port);
		return dispatch_any(call, registers, stack);
	}
	call->port = port;
	call->ring = &port->lane.call;
	call->deadline = FAR_FOREVER;
	pack_short(call, registers, &m);
	m.info |= call->life << FAR_LIFE_AT;
	invoke(call, registers, &nothing, &m);
	return dispatched(call, 0);
}

static __attribute__((noinline)) int dispatch_schedule(struct far__call *call, struct far_registers *registers,
						       const uint64_t *stack)
{
	struct far__port *port = is_plain(call) ? enter_last(call) : NULL;
	struct far__message m;

	if (FAR_UNLIKELY(!port))
		return dispatch_any(call, registers, stack);
	if (FAR_UNLIKELY(!port->task) || !take_answered_slot(port)) {
		far__port_leave_own(port);
		return dispatch_any(call, registers, stack);
	}
	pack_short(call, registers, &m);
	m.info |= call->life << FAR_LIFE_AT;
	call->task = far__task_make_quickly(call, port, m.few);
	if (FAR_LIKELY(call->task != 0))
		enqueue(call, port, &m);
	far__port_leave_own(port);
	return dispatched(call, call->task ? 0 : far__no_result(call->site, call->result, registers));
}

int far__dispatch(struct far__call *call, struct far_registers *registers, const uint64_t *stack)
{
	switch (call->op) {
	case FAR__OP_WAIT:
		return far__task_collect(call, registers);
	case FAR__OP_INVOKE:
		return dispatch_invoke(call, registers, stack);
	case FAR__OP_SCHEDULE:
		return dispatch_schedule(call, registers, stack);
	default:
		return dispatch_any(call, registers, stack);
	}
}
