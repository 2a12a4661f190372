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
#include <unistd.h>

#include "heap.h"
#include "internal.h"
#include "message.h"

enum {
	BATCH = 64,	/* calls from one lane before the others have their turn */
	GLANCES = 64,	/* looks before the clock is asked how long to go on */
};

void far__server_begin(struct far__server *server, unsigned number, uintptr_t handle, bool process)
{
	*server = (struct far__server){
		.number = number,
		.handle = handle,
		.segment = far__space_segment(number),
		.process = process,
		.thread = pthread_self(),
		.errnum = &errno,
	};
}

bool far__run(struct far_frame *frame, struct far__running *running)
{
	struct far__thread *thread = &far__thread;

	running->outer = thread->running;
	running->frame = frame;
	running->code = 0;
	thread->running = running;
	int cut_short = far__replay(frame);

	/* far__unwind() may have come from deeper calls: those are over too. */
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

/* The registers and stack words that a message with more than integer registers brings. @words is room for them. */
static void read_arguments(const struct far__message *m, const struct far__body *body, struct far_frame *frame,
			   uint64_t *words)
{
	struct far__shape shape = far__shape_of(m->info);
	size_t n = shape.ints + shape.vectors * (1 + shape.wide) + shape.stack_words;

	memcpy(words, &m->word[1], FAR_SLOT_ARGUMENTS * sizeof *words);
	if (FAR_UNLIKELY(shape.on_heap)) {
		words = (uint64_t *)*words;
		shape.stack_words = (uint32_t)*words++;
	} else if (n > FAR_SLOT_ARGUMENTS) {
		shm_copy_out(words + FAR_SLOT_ARGUMENTS, body->word, n - FAR_SLOT_ARGUMENTS);
	}
	frame->stack = far__unpack(words, &shape, &frame->registers);
	frame->stack_words = shape.stack_words;
}

static bool has_output(void)
{
#ifdef __GLIBC__
	return stdout->_IO_write_ptr != stdout->_IO_write_base;	/* what __fpending() counts, without a call */
#else
	return __fpending(stdout);
#endif
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

static void serve_call(struct far__server *server, const struct far__lane *lane, struct far__ring *ring)
{
	/* Taken before it runs: it may serve the calls behind it itself. */
	uint32_t position = ring->position++;
	const struct far__slot *slot = far__ring_slot(ring, position);
	bool small = far__info_is_small(far__slot_info(slot));
	struct far__message m;
	uint64_t words[FAR_MESSAGE_WORDS];
	struct far_frame frame;
	struct far__running running;

	far__slot_read(slot, &m, small);
	frame.function = (const void *)m.word[0];
	if (small) {
		frame.registers.gp[0] = m.word[1];
		frame.registers.gp[1] = m.word[2];
		frame.registers.rax = frame.registers.x87 = 0;
		frame.stack_words = 0;
	} else {
		read_arguments(&m, far__ring_body(ring, position), &frame, words);
	}
	far__point("serve.call");
	*server->errnum = 0;
	bool raised = far__run(&frame, &running);

	if (FAR_UNLIKELY(far__is_forked))
		end_forked_child();
	far__reply_write(&m, &frame, raised ? &running : NULL, *server->errnum);
	m.few = small;
	if (server->process && has_output())
		fflush(stdout);
	far__lane_answer(lane, ring, position, &m);
}

/* A slave process is called what its owner calls it; the owner wrote that before it made a lane. */
static void take_name(const struct far__segment *segment)
{
	uint64_t name[2];

	shm_copy_out(name, segment->name, 2);
	prctl(PR_SET_NAME, name);
}

/* Listen to lanes and queues that have become ready. */
static void attach_new(struct far__server *server, uint64_t ready)
{
	if (server->process && !server->ready)
		take_name(server->segment);
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

static unsigned serve_queue(struct far__server *server, struct far__lane *lane)
{
	struct far__ring *queue = &lane->queue;
	unsigned served = 0;

	while (served < BATCH && far__lane_has_queued(lane)) {
		far__ring_fetch(queue, queue->position, far__asked(queue->position + FAR_LOOK_AHEAD));
		serve_call(server, lane, queue);
		served++;
	}
	return served;
}

/* Serve what is queued now, but for queues that it is better to be @patient with. */
static unsigned serve_lanes(struct far__server *server, bool patient)
{
	uint64_t ready = shm_load64(&server->segment->ready);
	unsigned served = 0;

	server->patient = false;
	if (FAR_UNLIKELY(ready != server->ready))
		attach_new(server, ready);
	for (uint32_t lanes = (uint32_t)ready; lanes; lanes &= lanes - 1) {
		unsigned number = (unsigned)__builtin_ctz(lanes);
		struct far__lane *lane = &server->lane[number];

		if (has_work_in(&lane->call)) {
			serve_call(server, lane, &lane->call);
			served++;
		}
		if (ready >> 32 & 1u << number) {
			if (!patient)
				lane->left = 0;
			served += serve_queue(server, lane);
			server->patient |= lane->left != 0;
		}
	}
	return served;
}

unsigned far__server_step(struct far__server *server)
{
	return serve_lanes(server, false);
}

static bool has_work(struct far__server *server)
{
	uint64_t ready = shm_load64(&server->segment->ready);

	if (ready != server->ready)
		return true;
	for (uint32_t lanes = (uint32_t)ready; lanes; lanes &= lanes - 1) {
		unsigned number = (unsigned)__builtin_ctz(lanes);
		const struct far__lane *lane = &server->lane[number];

		if (has_work_in(&lane->call) || (ready >> 32 & 1u << number && has_work_in(&lane->queue)))
			return true;
	}
	return false;
}

static bool should_wake(void *arg)
{
	struct far__server *server = arg;

	return has_work(server) || shm_load(&server->segment->stop);
}

unsigned far__server_wait(struct far__server *server, uint64_t deadline)
{
	struct far__spinning spinning;
	unsigned served;

	served = serve_lanes(server, deadline != 0);
	if (served || !deadline)
		return served;
	/*
	 * Glances without a clock: in a stream of calls the next is nearly here.
	 * Not at once: to look while the caller writes takes the line from it.
	 */
	for (int i = 0; i < GLANCES; i += !server->patient) {
		far_relax();
		served = serve_lanes(server, true);
		if (served)
			return served;
	}
	far__spin_begin(&server->spin, &spinning);
	do {
		for (int i = 0; i < 32; i++) {
			if (has_work(server)) {
				far__spin_end(&server->spin, &spinning, false);
				return far__server_step(server);
			}
			far_relax();
		}
	} while (!shm_load(&server->segment->stop) && far__spin_more(&spinning));
	far__park_sleep(&server->segment->slave, should_wake, server, deadline);
	far__spin_end(&server->spin, &spinning, true);
	return far__server_step(server);
}

void far__server_loop(struct far__server *server)
{
	for (;;) {
		/* Read stop first: what was queued before it was set is seen now. */
		bool stop = shm_load(&server->segment->stop);

		if (!far__server_wait(server, stop ? 0 : FAR_FOREVER) && stop)
			return;
	}
}
