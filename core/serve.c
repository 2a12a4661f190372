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
#include <unistd.h>

#include "heap.h"
#include "internal.h"
#include "message.h"

enum { BATCH = 64 };	/* calls from one lane before the others have their turn */

void far__server_begin(struct far__server *server, unsigned number, uintptr_t handle, bool process)
{
	*server = (struct far__server){
		.number = number,
		.handle = handle,
		.segment = far__space_segment(number),
		.process = process,
		.thread = pthread_self(),
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

uint32_t far__reply_write(uint64_t *word, const struct far_frame *frame, const struct far__running *raised)
{
	if (FAR_UNLIKELY(raised != NULL)) {
		word[0] = (uint32_t)raised->code;
		word[1] = text_for_master(raised->text);
		return far__reply_info(FAR_RAISED, 0, 0);
	}
	far__pack_result(word, &frame->registers);
	return far__reply_info(FAR_RETURNED, (unsigned)frame->registers.x87, errno);
}

/* The registers and stack of the call that a slot describes. @words is room for them. */
static void read_message(const struct far__lane *lane, uint32_t position, struct far_frame *frame, uint64_t *words)
{
	struct far__slot *slot = far__lane_slot(lane, position);
	struct far__shape shape = far__shape_of(shm_peek(&slot->info));
	size_t n = shape.ints + shape.vectors * (1 + shape.wide) + shape.stack_words;

	shm_copy_out(words, slot->word, FAR_SLOT_WORDS);
	frame->function = (const void *)*words++;
	if (FAR_UNLIKELY(shape.on_heap)) {
		words = (uint64_t *)*words;
		shape.stack_words = (uint32_t)*words++;
	} else if (n > FAR_SLOT_ARGUMENTS) {
		shm_copy_out(words + FAR_SLOT_ARGUMENTS, far__lane_body(lane, position)->word, n - FAR_SLOT_ARGUMENTS);
	}
	frame->stack = far__unpack(words, &shape, &frame->registers);
	frame->stack_words = shape.stack_words;
}

static void serve_call(struct far__server *server, const struct far__lane *lane, uint32_t position)
{
	struct far__slot *slot = far__lane_slot(lane, position);
	uint64_t words[1 + FAR_MESSAGE_WORDS], reply[FAR_SLOT_WORDS] = { 0 };
	struct far_frame frame;
	struct far__running running;

	read_message(lane, position, &frame, words);
	far__point("serve.call");
	errno = 0;
	bool raised = far__run(&frame, &running);
	uint32_t info = far__reply_write(reply, &frame, raised ? &running : NULL);

	if (server->process && __fpending(stdout))
		fflush(stdout);
	shm_copy_in(slot->word, reply, FAR_SLOT_WORDS);
	shm_set(&slot->info, info);
	far__lane_answer(lane, position);
}

/* Listen to lanes that have become ready. */
static void attach_new(struct far__server *server, uint32_t ready)
{
	uint32_t new = ready & ~server->attached;

	for (; new; new &= new - 1) {
		unsigned number = (unsigned)__builtin_ctz(new);

		far__lane_attach(&server->lane[number], server->number, number);
	}
	server->attached = ready;
}

unsigned far__server_step(struct far__server *server)
{
	uint32_t ready = shm_load(&server->segment->lanes_ready);
	unsigned served = 0;

	if (FAR_UNLIKELY(ready != server->attached))
		attach_new(server, ready);
	for (uint32_t lanes = ready; lanes; lanes &= lanes - 1) {
		struct far__lane *lane = &server->lane[__builtin_ctz(lanes)];

		for (unsigned n = 0; n < BATCH && far__lane_is_asked(lane, lane->position); n++) {
			/* The next one is this one's successor already while it runs: it may serve itself. */
			serve_call(server, lane, lane->position++);
			served++;
		}
	}
	return served;
}

static bool has_work(struct far__server *server)
{
	uint32_t ready = shm_load(&server->segment->lanes_ready);

	if (ready != server->attached)
		return true;
	for (uint32_t lanes = ready; lanes; lanes &= lanes - 1) {
		const struct far__lane *lane = &server->lane[__builtin_ctz(lanes)];

		if (far__lane_is_asked(lane, lane->position))
			return true;
	}
	return false;
}

static bool should_wake(void *arg)
{
	struct far__server *server = arg;

	return has_work(server) || shm_load(&server->segment->stop);
}

bool far__server_wait(struct far__server *server, uint64_t deadline)
{
	struct far__spinning spinning;
	bool work = has_work(server);

	if (work || deadline == 0)
		return work;
	far__spin_begin(&server->spin, &spinning);
	do {
		for (int i = 0; i < 32; i++) {
			if (has_work(server)) {
				work = true;
				break;
			}
			far_relax();
		}
	} while (!work && far__spin_more(&spinning) && !shm_load(&server->segment->stop));
	if (!work)
		far__park_sleep(&server->segment->slave, should_wake, server, deadline);
	far__spin_end(&server->spin, &spinning);
	return work || has_work(server);
}

void far__server_loop(struct far__server *server)
{
	for (;;) {
		if (far__server_step(server))
			continue;
		/* Read stop first: what was queued before it was set is seen now. */
		bool stop = shm_load(&server->segment->stop);

		if (!far__server_wait(server, stop ? 0 : FAR_FOREVER) && stop)
			return;
	}
}
