/*
 * nng: two PAIR (version 1) sockets over a Unix socket (ipc://), for all: unlike REQ, one has several calls
 * under way in order, and messages without an answer. Both sides sleep in nng_recvmsg(); nng cannot spin.
 */
#include "contender.h"

#include <nng/nng.h>
#include <nng/protocol/pair1/pair.h>
#include <stdio.h>
#include <string.h>

/* The largest queue that nng allows, in messages. */
enum { QUEUE = 8192 };

static nng_socket client;

static void must(int error, const char *what)
{
	if (error)
		die("%s: %s", what, nng_strerror(error));
}

static nng_socket open_pair(void)
{
	nng_socket s;

	must(nng_pair1_open(&s), "nng_pair1_open");
	must(nng_socket_set_size(s, NNG_OPT_RECVMAXSZ, 0), NNG_OPT_RECVMAXSZ);
	/* The answers to a whole window wait here, else both sides could wait to send. */
	must(nng_socket_set_int(s, NNG_OPT_RECVBUF, QUEUE), NNG_OPT_RECVBUF);
	must(nng_socket_set_int(s, NNG_OPT_SENDBUF, QUEUE), NNG_OPT_SENDBUF);
	return s;
}

static nng_msg *receive_message(nng_socket s)
{
	nng_msg *m;

	must(nng_recvmsg(s, &m, 0), "nng_recvmsg");
	return m;
}

/* The message that came becomes the answer. */
static void send_answer(nng_socket s, nng_msg *m, int32_t result)
{
	nng_msg_clear(m);
	must(nng_msg_append(m, &result, sizeof result), "nng_msg_append");
	must(nng_sendmsg(s, m, 0), "nng_sendmsg");
}

static void serve(void *address)
{
	nng_socket server = open_pair();

	must(nng_listen(server, address, NULL, 0), "nng_listen");
	for (;;) {
		nng_msg *m = receive_message(server);
		int32_t result;

		if (answer_message(nng_msg_body(m), nng_msg_len(m), &result))
			send_answer(server, m, result);
		else
			nng_msg_free(m);
	}
}

static void send_bytes(const void *p, size_t n)
{
	nng_msg *m;

	must(nng_msg_alloc(&m, n), "nng_msg_alloc");
	memcpy(nng_msg_body(m), p, n);
	must(nng_sendmsg(client, m, 0), "nng_sendmsg");
}

static void send_call(int32_t a, int32_t b)
{
	int32_t message[] = { a, b };

	send_bytes(message, sizeof message);
}

static int32_t receive(void)
{
	nng_msg *m = receive_message(client);
	int32_t result;

	memcpy(&result, nng_msg_body(m), sizeof result);
	nng_msg_free(m);
	return result;
}

static int32_t call(int32_t a, int32_t b)
{
	send_call(a, b);
	return receive();
}

static void post(int32_t a, int32_t b)
{
	int32_t message[] = { a, b, 0 };

	send_bytes(message, sizeof message);
}

static int32_t pass(uint8_t *p, size_t n)
{
	send_bytes(p, n);
	return receive();
}

static void open_nng(const struct place *place)
{
	static char address[100];

	snprintf(address, sizeof address, "ipc://%s", socket_path());
	fork_side(place->other, serve, address);
	client = open_pair();
	/* Not blocking, it retries until the other side listens. */
	must(nng_dial(client, address, NULL, NNG_FLAG_NONBLOCK), "nng_dial");
	call(0, 0);
}

const struct system contender = {
	.version = nng_version,
	.open = open_nng,
	.call = call,
	.send = send_call,
	.receive = receive,
	.window_max = QUEUE,
	.post = post,
	.pass = pass,
};
