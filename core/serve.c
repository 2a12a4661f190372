/*
 * The slave's side: take a message from a lane, make the call it describes, and
 * write the reply into the message's own slot.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "crash.h"
#include "heap.h"
#include "internal.h"
#include "message.h"
#include "sys.h"

enum {
	BATCH = 64,	/* calls from one lane before the others have their turn */
	GLANCES = 64,	/* looks before the clock is asked how long to go on */
};

#define ALL UINT32_MAX		/* lanes */

void far__server_begin(struct far__server *server, unsigned number, uintptr_t handle, bool process)
{
	*server = (struct far__server){
		.number = number,
		.handle = handle,
		.segment = far__space_segment(number),
		.life = process ? far__life(far__incarnation(handle)) : 0,
		.process = process,
		.is_new = process,
		.thread = pthread_self(),
		.errnum = &errno,
	};
	errno = 0;	/* now, not with the first call, for which it would be a fault */
}

int far_interrupted(void)
{
	const struct far__running *running = far__thread.running;

	return running && ((running->interrupt && shm_load(running->interrupt) == running->token) ||
			   (running->deadline && far__now() >= running->deadline));
}

/*
 * A function was left by longjmp(), out of its call, for another that called farcall or
 * that has ended: what it jumped over is not answered. End the slave, so that it is;
 * far_slave_here() has nothing that could be ended.
 */
static void jumped(void)
{
	const struct far__server *server = far__thread.server;

	if (!server || far__is_forked)
		return;
	if (server->process) {
		far__crash_say(FAR_BY_JUMP);
		exit(0);
	}
	if (far__slave_by_number(server->number)->kind == FAR_THREAD)
		pthread_exit(NULL);
}

/* Make the call, and the step behind it, if there is one: whether it was cut short. */
static int replay(struct far_frame *frame)
{
	if (FAR_UNLIKELY(far__is_mirrored(frame->function))) {
		const struct far__mirror *mirror = far__mirror_of(frame->function);

		frame->function = mirror->function;
		int cut_short = far__replay(frame);

		/* What has not changed is in the caller's cache still: to write it again would take the line away. */
		if (!cut_short && memcmp(mirror->to, mirror->from, mirror->size) != 0)
			memcpy(mirror->to, mirror->from, mirror->size);
		return cut_short;
	}
	return far__replay(frame);
}

bool far__run(struct far_frame *frame, struct far__running *running)
{
	struct far__thread *thread = &far__thread;

	running->outer = thread->running;
	running->frame = frame;
	running->code = 0;
	thread->running = running;
	int cut_short = replay(frame);

	if (FAR_UNLIKELY(thread->running != running))
		jumped();
	thread->running = running->outer;
	return cut_short;
}

void far_raise(int code, const char *format, ...)
{
	struct far__running *running = far__thread.running;
	va_list arguments;

	va_start(arguments, format);
	if (!running) {
		fputs("farcall: far_raise() outside of a call: ", stderr);
		vfprintf(stderr, format, arguments);
		fputc('\n', stderr);
		abort();
	}
	vsnprintf(running->text, sizeof running->text, format, arguments);
	va_end(arguments);
	running->code = code;
	far__unwind(running->frame);
}

/* The text of a raised error, where the master can read it. */
static uint64_t text_for_master(const char *text)
{
	int err;
	size_t size = strlen(text) + 1;
	char *copy = far__heap_alloc(size, false, &err);

	if (copy)
		memcpy(copy, text, size);
	return (uintptr_t)copy;
}

void far__reply_write(struct far__message *reply, const struct far_frame *frame, const struct far__running *raised,
		      int errnum)
{
	if (FAR_UNLIKELY(raised != NULL)) {
		reply->info = far__reply_info(FAR_RAISED, 0, 0);
		reply->word[0] = (uint32_t)raised->code;
		reply->word[1] = text_for_master(raised->text);
	} else {
		reply->info = far__reply_info(FAR_RETURNED, (unsigned)frame->registers.x87, errnum);
		far__pack_result(reply->word, &frame->registers);
	}
}

/*
 * The registers and stack words that a message with more than integer registers
 * brings, and its deadline, or 0. @words is room for them.
 */
static uint64_t read_arguments(const struct far__message *m, const struct far__body *body, struct far_frame *frame,
			   uint64_t *words)
{
	struct far__shape shape = far__shape_of(m->info);
	size_t n = shape.timed + shape.ints + shape.vectors * (1 + shape.wide) + shape.stack_words;
	uint64_t deadline = 0;

	far__copy_words(words, &m->word[1], FAR_SLOT_ARGUMENTS);
	if (FAR_UNLIKELY(shape.on_heap)) {
		words = (uint64_t *)*words;
		shape.stack_words = (uint32_t)*words++;
	} else if (n > FAR_SLOT_ARGUMENTS) {
		shm_copy_out(words + FAR_SLOT_ARGUMENTS, body->word, n - FAR_SLOT_ARGUMENTS);
	}
	if (FAR_UNLIKELY(shape.timed))
		deadline = *words++;
	frame->stack = far__unpack(words, &shape, &frame->registers);
	frame->stack_words = shape.stack_words;
	return deadline;
}

static bool has_output(void)
{
#ifdef __GLIBC__
	/* What __fpending() counts, without a call; wide characters wait elsewhere. */
	return stdout->_IO_write_ptr != stdout->_IO_write_base || (FAR_UNLIKELY(stdout->_mode > 0) && __fpending(stdout));
#else
	return __fpending(stdout);
#endif
}

void far__close_passed(const struct far__ring *ring, uint32_t position)
{
	struct far__message m;

	far__ring_words(ring, position, &m, true);
	const void *function = (void *)(uintptr_t)m.word[0];
	struct far__mirror *mirror = (struct far__mirror *)(uintptr_t)far__mirror_of(function);

	/* A proxy's lies elsewhere, and may have gone with it. */
	if (!far__is_mirrored(function) || !far__space_in_control(mirror))
		return;
	for (uint32_t n = shm_swap(&mirror->nfds, 0); n > 0; n--)
		SYS(close, mirror->fd[n - 1]);
}

/* The reply to a call that is not run. */
static void answer_unrun(const struct far__lane *lane, const struct far__ring *ring, uint32_t position,
			 enum far__outcome why)
{
	struct far__message m = { .info = far__reply_info(why, 0, 0) };

	if (why != FAR_OUTLIVED)	/* they were an earlier life's */
		far__close_passed(ring, position);
	far__lane_answer(lane, ring, position, &m);
}

/* From now on the zygote kills this process when @deadline has passed. Returns the one before, or 0. */
static uint64_t set_deadline(struct far__server *server, uint64_t deadline)
{
	uint64_t before = shm_peek64(&server->segment->deadline);

	if (!server->process || (before && before < deadline))
		return before;
	shm_store64(&server->segment->deadline, deadline);
	far__zygote_watch(deadline);
	return before;
}

/*
 * The called function has forked, and this is the child: the call is the parent's
 * to answer, and so are all that follow.
 */
static _Noreturn void end_forked_child(void)
{
	static const char text[] =
		"farcall: a child made by fork() returned from the call it was made in, where nobody waits for it: it ends\n";

	if (write(STDERR_FILENO, text, sizeof text - 1) < 0)
		_exit(2);
	_exit(1);
}

/* The zygote is about to kill this process, unless it finds that the call in question is over. */
static void await_judgement(const struct far__segment *segment)
{
	while (shm_load(&segment->doomed))
		usleep(20);
}

/* The function behind a mirror whose data fits into the reply, which is returned; NULL: it is none such. */
static const struct far__mirror *unmirror(struct far_frame *frame)
{
	const struct far__mirror *mirror = far__mirror_of(frame->function);

	if (!far__is_mirrored(frame->function) || mirror->size > FAR_DATA_MAX)
		return NULL;
	frame->function = mirror->function;
	return mirror;
}

static void add_data(struct far__message *reply, const struct far__mirror *mirror)
{
	memcpy(&reply->word[FAR_DATA_AT], mirror->from, mirror->size);
	reply->word[FAR_DATA_TO] = (uintptr_t)mirror->to | mirror->size << 48;
	reply->info |= FAR_NOT_FEW;
	reply->few = false;
}

static void serve_call(struct far__server *server, const struct far__lane *lane, struct far__ring *ring)
{
	if (FAR_UNLIKELY(shm_load(&server->segment->doomed)))	/* partner: kill_if_guilty() in the zygote */
		await_judgement(server->segment);
	/* Taken before it runs: it may serve the calls behind it itself. */
	uint32_t position = far__ring_take(ring);
	if (ring == &lane->call)
		shm_own(far__ring_body(ring, position));	/* if it is used it comes with the slot, not behind it */
	uint32_t info = far__slot_info(far__ring_slot(ring, position));
	bool small = far__info_is_small(info & FAR_OF_ANY_LIFE);
	uint64_t words[FAR_MESSAGE_WORDS], deadline = 0, outer_deadline = 0;
	const struct far__mirror *mirror = NULL;
	struct far__message m;
	struct far_frame frame;
	struct far__running running;

	/* First: what was passed for it is none of this life's. */
	if (FAR_UNLIKELY(info >> FAR_LIFE_AT) && info >> FAR_LIFE_AT != server->life && server->life) {
		answer_unrun(lane, ring, position, FAR_OUTLIVED);
		return;
	}
	if (FAR_UNLIKELY((info & FAR_OF_ANY_LIFE) == FAR_TAKEN_OUT)) {
		answer_unrun(lane, ring, position, FAR_CANCELLED);
		return;
	}
	m.info = info;
	far__ring_words(ring, position, &m, small);
	running.interrupt = ring->interrupt;
	running.token = far__asked(position);
	running.deadline = 0;
	frame.function = (const void *)m.word[0];
	if (small) {
		frame.registers.gp[0] = m.word[1];
		frame.registers.gp[1] = m.word[2];
		frame.registers.rax = frame.registers.x87 = 0;
		frame.stack_words = 0;
		mirror = unmirror(&frame);
	} else {
		deadline = read_arguments(&m, far__ring_body(ring, position), &frame, words);
		if (FAR_UNLIKELY(deadline) && far__now() >= deadline) {
			answer_unrun(lane, ring, position, FAR_LATE);
			return;
		}
	}
	far__point("serve.call");
	if (FAR_UNLIKELY(deadline)) {
		running.deadline = deadline;
		outer_deadline = set_deadline(server, deadline);
	}
	*server->errnum = 0;
	bool raised = far__run(&frame, &running);

	if (FAR_UNLIKELY(far__is_forked))
		end_forked_child();
	if (FAR_UNLIKELY(deadline))
		shm_store64(&server->segment->deadline, outer_deadline);
	far__reply_write(&m, &frame, raised ? &running : NULL, *server->errnum);
	m.few = small;
	if (FAR_UNLIKELY(deadline))
		far__reply_judge(&m, deadline);
	if (FAR_UNLIKELY(mirror != NULL) && !raised)
		add_data(&m, mirror);
	if (server->process && has_output())
		fflush(stdout);
	far__lane_answer(lane, ring, position, &m);
}

/* The hard limit is a little higher: at that of processor time SIGKILL comes, before it SIGXCPU. */
static void limit(int resource, uint64_t most)
{
	const struct rlimit wanted = { most, most + 1 };
	struct rlimit now;

	if (most && SYS(prlimit64, 0, resource, NULL, &now) == 0 && most < now.rlim_max)
		SYS(prlimit64, 0, resource, &wanted, NULL);
}

/* A slave process does as its owner says, who wrote that before it made a lane: once in its life. */
static void take_orders(struct far__server *server)
{
	const struct far__segment *segment = server->segment;
	uint64_t name[2], order[FAR_ORDERS];

	if (!server->process || server->has_orders)
		return;
	server->has_orders = true;
	shm_copy_out(name, segment->name, 2);
	SYS(prctl, PR_SET_NAME, name);
	shm_copy_out(order, segment->order, FAR_ORDERS);
	if (order[FAR_MEMORY_LIMIT]) {
		uint64_t most;

		if (!__builtin_add_overflow(far__own_status("VmData:") << 10, order[FAR_MEMORY_LIMIT], &most))
			limit(RLIMIT_DATA, most);
		far__crash_count_memory();
	}
	limit(RLIMIT_CPU, order[FAR_CPU_LIMIT]);
	limit(RLIMIT_NPROC, order[FAR_PROCESS_LIMIT]);
	limit(RLIMIT_NOFILE, order[FAR_FILE_LIMIT]);
	if (order[FAR_NICE] && nice((int)order[FAR_NICE]) < 0)
		errno = 0;	/* to be nicer is always allowed; otherwise it stays as it is */
	if (order[FAR_CORE_DUMPS])
		far__crash_dump_cores();
}

void far__server_set_up(struct far__server *server)
{
	const struct far__segment *segment = server->segment;
	struct far_frame frame = { .function = (const void *)(uintptr_t)shm_load64(&segment->setup) };
	struct far__running running;

	take_orders(server);
	if (!frame.function)
		return;
	frame.registers.gp[0] = shm_load64(&segment->setup_argument);
	running.interrupt = NULL;
	running.deadline = 0;
	if (far__run(&frame, &running)) {
		fprintf(stderr, "farcall: setup: %s\n", running.text);
		_exit(1);
	}
}

/* Listen to lanes and queues that have become ready. */
static void attach_new(struct far__server *server, uint64_t ready)
{
	take_orders(server);
	for (uint64_t new = ready & ~server->ready; new; new &= new - 1) {
		unsigned bit = (unsigned)__builtin_ctzl(new);

		/* A lane's bit is below its queue's: it comes first. */
		if (bit < 32)
			far__lane_attach(&server->lane[bit], server->number, bit);
		else
			far__lane_attach_queue(&server->lane[bit - 32], server->number, bit - 32);
	}
	server->ready = ready;
}

static inline bool has_work_in(const struct far__ring *ring)
{
	return far__ring_is_asked(ring, ring->position);
}

static unsigned serve_queue(struct far__server *server, struct far__lane *lane, bool patient)
{
	struct far__ring *queue = &lane->queue;
	unsigned served = 0;

	while (served < BATCH && far__lane_has_queued(lane, patient)) {
		serve_call(server, lane, queue);
		served++;
	}
	return served;
}

/* Serve what is queued now in some of the lanes, but for queues that it is better to be @patient with. */
static unsigned serve_lanes(struct far__server *server, uint32_t which, bool patient)
{
	uint64_t ready = shm_load64(&server->segment->ready);
	unsigned served = 0;

	server->patient = false;
	if (FAR_UNLIKELY(ready != server->ready))
		attach_new(server, ready);
	for (uint32_t lanes = (uint32_t)ready & which; lanes; lanes &= lanes - 1) {
		unsigned number = (unsigned)__builtin_ctz(lanes);
		struct far__lane *lane = &server->lane[number];

		if (has_work_in(&lane->call)) {
			serve_call(server, lane, &lane->call);
			served++;
		}
		if (ready >> 32 & 1u << number) {
			served += serve_queue(server, lane, patient);
			server->patient |= lane->left != 0;
		}
	}
	return served;
}

unsigned far__server_step(struct far__server *server)
{
	return serve_lanes(server, ALL, false);
}

unsigned far__server_step_lanes(struct far__server *server, uint32_t lanes)
{
	return serve_lanes(server, lanes, false);
}

bool far__server_has_work(struct far__server *server, uint32_t which)
{
	uint64_t ready = shm_load64(&server->segment->ready);

	if (ready != server->ready)
		return true;
	for (uint32_t lanes = (uint32_t)ready & which; lanes; lanes &= lanes - 1) {
		unsigned number = (unsigned)__builtin_ctz(lanes);
		const struct far__lane *lane = &server->lane[number];

		if (has_work_in(&lane->call) || (ready >> 32 & 1u << number && has_work_in(&lane->queue)))
			return true;
	}
	return false;
}

/* The kernel kills a slave process with the zygote, but not one that has changed its user or its capabilities. */
static bool is_orphan(const struct far__server *server)
{
	return server->process && far__zygote_has_died();
}

static bool should_wake(void *arg)
{
	struct far__server *server = arg;

	return far__server_has_work(server, ALL) || shm_load(&server->segment->stop) || far_interrupted() ||
	       is_orphan(server);
}

static void sleep_idle(struct far__server *server, uint64_t deadline)
{
	far__park_sleep(&server->segment->slave, should_wake, server, deadline);
	if (is_orphan(server))
		_exit(1);
}

unsigned far__server_wait(struct far__server *server, uint64_t deadline)
{
	struct far__spinning spinning;
	unsigned served;

	served = serve_lanes(server, ALL, deadline != 0);
	if (served || !deadline)
		return served;
	/* Nobody knows it yet: whoever is about to may need this very core for that. */
	if (!server->ready) {
		sleep_idle(server, deadline);
		return far__server_step(server);
	}
	/*
	 * Glances without a clock: in a stream of calls the next is nearly here.
	 * Not at once: to look while the caller writes takes the line from it.
	 */
	for (int i = 0; i < GLANCES; i += !server->patient) {
		shm_blink();
		served = serve_lanes(server, ALL, true);
		if (served)
			return served;
	}
	far__spin_begin(&server->spin, &spinning, false);
	do {
		for (int i = 0; i < 32; i++) {
			if (far__server_has_work(server, ALL)) {
				far__spin_end(&server->spin, &spinning, false);
				return far__server_step(server);
			}
			shm_relax();
		}
	} while (!shm_load(&server->segment->stop) && far__spin_more(&spinning));
	sleep_idle(server, deadline);
	far__spin_end(&server->spin, &spinning, true);
	return far__server_step(server);
}

void far__server_loop(struct far__server *server)
{
	for (;;) {
		/* Read stop first: what was queued before it was set is seen now. */
		bool stop = shm_load(&server->segment->stop);
		unsigned served = far__server_wait(server, stop ? 0 : FAR_FOREVER);

		if (!served && stop)
			return;
		if (FAR_UNLIKELY(served && server->is_new)) {
			server->is_new = false;
			far__zygote_first_answer();
		}
	}
}
