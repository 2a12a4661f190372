/*
 * UCX over shared memory: active messages of its UCP layer, which calls a handler
 * for each. Who waits polls its worker or, in the mode that sleeps, arms the worker
 * and sleeps until it has something to do.
 */
#include "contender.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <ucp/api/ucp.h>
#include <unistd.h>

enum message { CALL, POST, PASS, ANSWER, MESSAGES };

enum { ANSWERS = 4096 };	/* more than are under way */

/* One side: each process has one. */
static struct {
	ucp_worker_h worker;
	ucp_ep_h peer;
	bool sleeps;
	int32_t answer[ANSWERS];	/* a ring: that came, or that are on their way out */
	unsigned came, received;
	void *rendezvous;		/* a buffer's announcement, and its size; or NULL */
	size_t size;
} side;

static void ensure(ucs_status_t status, const char *what)
{
	if (status != UCS_OK) {
		errno = 0;
		die("%s: %s", what, ucs_status_string(status));
	}
}

static void wait_for_events(void)
{
	if (ucp_worker_progress(side.worker) == 0 && side.sleeps)
		ensure(ucp_worker_wait(side.worker), "ucp_worker_wait");
}

static void complete(ucs_status_ptr_t request, const char *what)
{
	if (!UCS_PTR_IS_PTR(request)) {
		ensure(UCS_PTR_STATUS(request), what);
		return;
	}
	while (ucp_request_check_status(request) == UCS_INPROGRESS)
		wait_for_events();
	ensure(ucp_request_check_status(request), what);
	ucp_request_free(request);
}

static void sent(void *request, ucs_status_t status, void *unused)
{
	(void)unused;
	ensure(status, "ucp_am_send_nbx");
	ucp_request_free(request);
}

/* From within a handler, which cannot wait until it is sent. */
static void send_answer(int32_t sum)
{
	const ucp_request_param_t param = { .op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK, .cb.send = sent };
	int32_t *word = &side.answer[side.came++ % ANSWERS];

	*word = sum;

	ucs_status_ptr_t request = ucp_am_send_nbx(side.peer, ANSWER, NULL, 0, word, sizeof *word, &param);

	if (UCS_PTR_IS_ERR(request))
		ensure(UCS_PTR_STATUS(request), "ucp_am_send_nbx");
}

static void send_bytes(enum message id, const void *p, size_t n)
{
	const ucp_request_param_t param = { 0 };

	complete(ucp_am_send_nbx(side.peer, id, NULL, 0, p, n, &param), "ucp_am_send_nbx");
}

static void send_words(enum message id, int32_t a, int32_t b)
{
	const int32_t words[] = { a, b };

	send_bytes(id, words, sizeof words);
}

/* ------------------------------------------------------------- handlers */

static ucs_status_t on_words(void *arg, const void *header, size_t header_size, void *data, size_t size,
			     const ucp_am_recv_param_t *param)
{
	enum message id = (enum message)(uintptr_t)arg;
	int32_t words[2] = { 0 };

	(void)header;
	(void)header_size;
	(void)param;
	memcpy(words, data, size);
	if (id == ANSWER)
		side.answer[side.came++ % ANSWERS] = words[0];
	else if (id == POST)
		answer(words[0], words[1]);
	else
		send_answer(answer(words[0], words[1]));
	return UCS_OK;
}

/* A large buffer is announced first: the loop of serve() fetches it. */
static ucs_status_t on_buffer(void *arg, const void *header, size_t header_size, void *data, size_t size,
			      const ucp_am_recv_param_t *param)
{
	(void)arg;
	(void)header;
	(void)header_size;
	if (!(param->recv_attr & UCP_AM_RECV_ATTR_FLAG_RNDV)) {
		send_answer(check(data, size));
		return UCS_OK;
	}
	side.rendezvous = data;
	side.size = size;
	return UCS_INPROGRESS;
}

static void fetch_buffer(void)
{
	const ucp_request_param_t param = { 0 };
	void *announced = side.rendezvous;
	uint8_t *buffer = kept_buffer(side.size);

	side.rendezvous = NULL;
	complete(ucp_am_recv_data_nbx(side.worker, announced, buffer, side.size, &param), "ucp_am_recv_data_nbx");
	send_answer(check(buffer, side.size));
}

/* -------------------------------------------------------------- opening */

static void make_worker(void)
{
	ucp_params_t params = {
		.field_mask = UCP_PARAM_FIELD_FEATURES,
		.features = UCP_FEATURE_AM | (side.sleeps ? UCP_FEATURE_WAKEUP : 0),
	};
	ucp_worker_params_t worker_params = {
		.field_mask = UCP_WORKER_PARAM_FIELD_THREAD_MODE,
		.thread_mode = UCS_THREAD_MODE_SINGLE,
	};
	ucp_context_h context;

	ensure(ucp_init(&params, NULL, &context), "ucp_init");
	ensure(ucp_worker_create(context, &worker_params, &side.worker), "ucp_worker_create");
	for (uintptr_t id = 0; id < MESSAGES; id++) {
		ucp_am_handler_param_t handler = {
			.field_mask = UCP_AM_HANDLER_PARAM_FIELD_ID | UCP_AM_HANDLER_PARAM_FIELD_CB |
				      UCP_AM_HANDLER_PARAM_FIELD_ARG,
			.id = (unsigned)id,
			.cb = id == PASS ? on_buffer : on_words,
			.arg = (void *)id,
		};

		ensure(ucp_worker_set_am_recv_handler(side.worker, &handler), "ucp_worker_set_am_recv_handler");
	}
}

/* The sides tell each other their worker's address through a socket. */
static void meet(int fd)
{
	ucp_address_t *mine;
	size_t size;
	char theirs[4096];

	ensure(ucp_worker_get_address(side.worker, &mine, &size), "ucp_worker_get_address");
	if (send(fd, mine, size, 0) != (ssize_t)size || recv(fd, theirs, sizeof theirs, 0) <= 0)
		die("no address of the other side");
	ucp_worker_release_address(side.worker, mine);

	ucp_ep_params_t params = {
		.field_mask = UCP_EP_PARAM_FIELD_REMOTE_ADDRESS,
		.address = (const ucp_address_t *)theirs,
	};

	ensure(ucp_ep_create(side.worker, &params, &side.peer), "ucp_ep_create");
}

static void serve(void *fd)
{
	make_worker();
	meet(*(int *)fd);
	for (;;) {
		wait_for_events();
		if (side.rendezvous)
			fetch_buffer();
	}
}

static void open_ucx(const struct place *place)
{
	static int fd[2];

	side.sleeps = !place->spin;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fd))
		die("socketpair");
	fork_side(place->other, serve, &fd[1]);
	make_worker();
	meet(fd[0]);
}

static const char *version(void)
{
	return ucp_get_version_string();
}

/* ---------------------------------------------------------------- calls */

static void send_call(int32_t a, int32_t b)
{
	send_words(CALL, a, b);
}

static void post(int32_t a, int32_t b)
{
	send_words(POST, a, b);
}

static int32_t receive(void)
{
	while (side.received == side.came)
		wait_for_events();
	return side.answer[side.received++ % ANSWERS];
}

static int32_t call(int32_t a, int32_t b)
{
	send_call(a, b);
	return receive();
}

static int32_t pass(uint8_t *p, size_t n)
{
	send_bytes(PASS, p, n);
	return receive();
}

const struct system contender = {
	.version = version,
	.open = open_ucx,
	.call = call,
	.send = send_call,
	.receive = receive,
	.window_max = ANSWERS,
	.post = post,
	.pass = pass,
};
