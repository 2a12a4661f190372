/* ZeroMQ: a DEALER calls a ROUTER in another process, over a Unix socket. */
#include "contender.h"

#include <errno.h>
#include <stdio.h>
#include <zmq.h>

static void *client;

/* By default a queue blocks at a thousand messages, or drops them. */
static void *open_socket(int type)
{
	int unlimited = 0;
	void *socket = zmq_socket(zmq_ctx_new(), type);

	if (!socket || zmq_setsockopt(socket, ZMQ_SNDHWM, &unlimited, sizeof unlimited) ||
	    zmq_setsockopt(socket, ZMQ_RCVHWM, &unlimited, sizeof unlimited))
		die("zmq_socket");
	return socket;
}

static int receive_message(zmq_msg_t *m, void *socket)
{
	int n;

	zmq_msg_init(m);
	while ((n = zmq_msg_recv(m, socket, 0)) < 0 && errno == EINTR)
		;
	if (n < 0)
		die("zmq_msg_recv");
	return n;
}

static void send_bytes(void *socket, const void *p, size_t n, int flags)
{
	while (zmq_send(socket, p, n, flags) < 0)
		if (errno != EINTR)
			die("zmq_send");
}

static void serve(void *path)
{
	void *server = open_socket(ZMQ_ROUTER);

	if (zmq_bind(server, path))
		die("zmq_bind");
	for (;;) {
		zmq_msg_t sender, message;
		int32_t result;

		receive_message(&sender, server);
		size_t n = (size_t)receive_message(&message, server);

		if (answer_message(zmq_msg_data(&message), n, &result)) {
			while (zmq_msg_send(&sender, server, ZMQ_SNDMORE) < 0)
				if (errno != EINTR)
					die("zmq_msg_send");
			send_bytes(server, &result, sizeof result, 0);
		} else {
			zmq_msg_close(&sender);
		}
		zmq_msg_close(&message);
	}
}

static void open_zeromq(const struct place *place)
{
	static char address[100];

	snprintf(address, sizeof address, "ipc://%s", socket_path());
	fork_side(place->other, serve, address);

	client = open_socket(ZMQ_DEALER);
	if (zmq_connect(client, address))
		die("zmq_connect");
}

static const char *version(void)
{
	int major, minor, patch;

	zmq_version(&major, &minor, &patch);
	return version_of(major, minor, patch);
}

static void send_call(int32_t a, int32_t b)
{
	int32_t call[] = { a, b };

	send_bytes(client, call, sizeof call, 0);
}

static int32_t receive(void)
{
	int32_t result;

	while (zmq_recv(client, &result, sizeof result, 0) < 0)
		if (errno != EINTR)
			die("zmq_recv");
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

	send_bytes(client, message, sizeof message, 0);
}

static int32_t pass(uint8_t *p, size_t n)
{
	send_bytes(client, p, n, 0);
	return receive();
}

const struct system contender = {
	.version = version,
	.open = open_zeromq,
	.call = call,
	.send = send_call,
	.receive = receive,
	.post = post,
	.pass = pass,
};
