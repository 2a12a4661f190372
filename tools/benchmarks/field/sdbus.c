/*
 * sd-bus: a method call of D-Bus to an object in another process, peer to peer over
 * a socket pair, with no bus daemon between. It always sleeps until the socket has
 * something: sd-bus has no mode that polls.
 */
#include "contender.h"

#include <errno.h>
#include <sys/socket.h>
#include <systemd/sd-bus.h>

#define PATH "/other"
#define INTERFACE "bench.Other"

static sd_bus *client;
static unsigned answers;	/* that came and have not been received: 0 or 1 */
static int32_t last_answer;

static int checked(int r, const char *what)
{
	if (r < 0) {
		errno = -r;
		die("%s", what);
	}
	return r;
}

/* The default of 25 s is for services; here a turn may be stopped for longer. */
static sd_bus *new_bus(int fd)
{
	sd_bus *bus;

	checked(sd_bus_new(&bus), "sd_bus_new");
	checked(sd_bus_set_fd(bus, fd, fd), "sd_bus_set_fd");
	checked(sd_bus_set_method_call_timeout(bus, UINT64_MAX), "sd_bus_set_method_call_timeout");
	return bus;
}

/* ----------------------------------------------------------------- the other side */

static int on_answer(sd_bus_message *m, void *data, sd_bus_error *error)
{
	int32_t a, b;

	(void)data;
	(void)error;
	checked(sd_bus_message_read(m, "ii", &a, &b), "sd_bus_message_read");
	/* If the caller expects no reply, this sends none. */
	return sd_bus_reply_method_return(m, "i", answer(a, b));
}

static int on_check(sd_bus_message *m, void *data, sd_bus_error *error)
{
	const void *p;
	size_t n;

	(void)data;
	(void)error;
	checked(sd_bus_message_read_array(m, 'y', &p, &n), "sd_bus_message_read_array");
	return sd_bus_reply_method_return(m, "i", check(p, n));
}

static const sd_bus_vtable methods[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_METHOD("Answer", "ii", "i", on_answer, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD("Check", "ay", "i", on_check, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_VTABLE_END
};

/* Do one thing that is to be done, or wait for one. */
static void process(sd_bus *bus)
{
	if (!checked(sd_bus_process(bus, NULL), "sd_bus_process"))
		checked(sd_bus_wait(bus, UINT64_MAX), "sd_bus_wait");
}

static void serve(void *fd)
{
	sd_bus *bus = new_bus(*(int *)fd);
	sd_id128_t id;

	checked(sd_id128_randomize(&id), "sd_id128_randomize");
	checked(sd_bus_set_server(bus, true, id), "sd_bus_set_server");
	checked(sd_bus_add_object_vtable(bus, NULL, PATH, INTERFACE, methods, NULL), "sd_bus_add_object_vtable");
	checked(sd_bus_start(bus), "sd_bus_start");
	for (;;)
		process(bus);
}

/* ----------------------------------------------------------------------- caller */

static void open_sdbus(const struct place *place)
{
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds))
		die("socketpair");
	fork_side(place->other, serve, &fds[1]);
	client = new_bus(fds[0]);
	checked(sd_bus_start(client), "sd_bus_start");
}

/* The library has no function that tells. */
static const char *version(void)
{
	return version_of_library((void (*)(void))sd_bus_new);
}

static int32_t read_answer(sd_bus_message *reply)
{
	int32_t result;

	checked(sd_bus_message_read(reply, "i", &result), "sd_bus_message_read");
	return result;
}

static int32_t call(int32_t a, int32_t b)
{
	sd_bus_message *reply;

	checked(sd_bus_call_method(client, NULL, PATH, INTERFACE, "Answer", NULL, &reply, "ii", a, b),
		"sd_bus_call_method");

	int32_t result = read_answer(reply);

	sd_bus_message_unref(reply);
	return result;
}

static int on_reply(sd_bus_message *reply, void *data, sd_bus_error *error)
{
	(void)data;
	(void)error;
	last_answer = read_answer(reply);
	answers++;
	return 1;
}

static void send_call(int32_t a, int32_t b)
{
	checked(sd_bus_call_method_async(client, NULL, NULL, PATH, INTERFACE, "Answer", on_reply, NULL, "ii", a, b),
		"sd_bus_call_method_async");
}

/* sd_bus_process() handles one message at most, and replies come in the order of the calls. */
static int32_t receive(void)
{
	while (!answers)
		process(client);
	answers--;
	return last_answer;
}

static sd_bus_message *new_call(const char *method)
{
	sd_bus_message *m;

	checked(sd_bus_message_new_method_call(client, &m, NULL, PATH, INTERFACE, method),
		"sd_bus_message_new_method_call");
	return m;
}

/* What the socket cannot take now is queued, and stays there until somebody processes or flushes the queue. */
static void post(int32_t a, int32_t b)
{
	sd_bus_message *m = new_call("Answer");

	checked(sd_bus_message_append(m, "ii", a, b), "sd_bus_message_append");
	checked(sd_bus_message_set_expect_reply(m, false), "sd_bus_message_set_expect_reply");
	checked(sd_bus_send(client, m, NULL), "sd_bus_send");
	checked(sd_bus_flush(client), "sd_bus_flush");
	sd_bus_message_unref(m);
}

static int32_t pass(uint8_t *p, size_t n)
{
	sd_bus_message *m = new_call("Check"), *reply;

	checked(sd_bus_message_append_array(m, 'y', p, n), "sd_bus_message_append_array");
	checked(sd_bus_call(client, m, 0, NULL, &reply), "sd_bus_call");

	int32_t result = read_answer(reply);

	sd_bus_message_unref(reply);
	sd_bus_message_unref(m);
	return result;
}

const struct system contender = {
	.version = version,
	.open = open_sdbus,
	.call = call,
	.send = send_call,
	.receive = receive,
	.post = post,
	.pass = pass,
	.pass_max = 64 << 20,	/* the longest array of D-Bus */
};
