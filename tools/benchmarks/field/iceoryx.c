/*
 * Eclipse iceoryx: a client and a server of its request-response, by the binding to C.
 * Requests and responses are chunks of shared memory that its daemon, RouDi, has set
 * up; what goes through the queues is where they are. To wait is to poll the queue,
 * or to sleep at a wait set. Monitoring is off in RouDi, as it takes a process that
 * was stopped for a while for dead. A machine can have one RouDi, so each contender
 * has a /tmp and a /dev/shm of its own.
 */
#include "contender.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <iceoryx_binding_c/client.h>
#include <iceoryx_binding_c/log.h>
#include <iceoryx_binding_c/notification_info.h>
#include <iceoryx_binding_c/runtime.h>
#include <iceoryx_binding_c/server.h>
#include <iceoryx_binding_c/wait_set.h>

enum {
	REQUESTS_MAX = 1024,	/* MAX_REQUEST_QUEUE_CAPACITY */
	RESPONSES_MAX = 16,	/* MAX_RESPONSE_QUEUE_CAPACITY */
	BUFFER_MAX = 16 << 20,	/* more takes RouDi seconds to set up */
};

/* Small chunks for full queues, and one that holds the largest buffer and the headers before it. */
static const char config[] =
	"[general]\nversion = 1\n"
	"[[segment]]\n"
	"[[segment.mempool]]\nsize = 128\ncount = 4096\n"
	"[[segment.mempool]]\nsize = 16778240\ncount = 1\n";

enum kind { CALL, POST, PASS };

struct request {
	int32_t a, b;
	uint32_t kind;
	uint32_t n;
	uint8_t buffer[];	/* n bytes */
};

static struct {
	iox_client_t port;
	iox_ws_t waitset;	/* NULL to poll */
	pid_t roudi, other;
} client;

/* Sleep until what is attached to @waitset has something, or, to poll, do not. */
static void wait_at(iox_ws_t waitset)
{
	iox_notification_info_t info;
	uint64_t missed;

	if (waitset)
		iox_ws_wait(waitset, &info, 1, &missed);
}

static void init_runtime(const char *name)
{
	iox_set_loglevel(Iceoryx_LogLevel_Error);
	iox_runtime_init(name);
}

/* ----------------------------------------------------------------- the other side */

static iox_server_t new_server(void)
{
	static iox_server_storage_t storage;
	iox_server_options_t options;

	iox_server_options_init(&options);
	options.requestQueueCapacity = REQUESTS_MAX;
	options.requestQueueFullPolicy = QueueFullPolicy_BLOCK_PRODUCER;
	options.clientTooSlowPolicy = ConsumerTooSlowPolicy_WAIT_FOR_CONSUMER;
	return iox_server_init(&storage, "Bench", "Other", "Call", &options);
}

static iox_ws_t wait_for_requests(iox_server_t server)
{
	static iox_ws_storage_t storage;
	iox_ws_t waitset = iox_ws_init(&storage);

	if (iox_ws_attach_server_state(waitset, server, ServerState_HAS_REQUEST, 0, NULL) != WaitSetResult_SUCCESS)
		die("iox_ws_attach_server_state");
	return waitset;
}

static const struct request *next_request(iox_server_t server, iox_ws_t waitset)
{
	const void *p;
	enum iox_ServerRequestResult result;

	while ((result = iox_server_take_request(server, &p)) == ServerRequestResult_NO_PENDING_REQUESTS)
		wait_at(waitset);
	if (result != ServerRequestResult_SUCCESS)
		die("iox_server_take_request: %d", (int)result);
	return p;
}

/* The request is given back first, so that the client can use the chunk again once it has the response. */
static void respond(iox_server_t server, const struct request *request, int32_t value)
{
	void *response;

	if (iox_server_loan_response(server, request, &response, sizeof value) != AllocationResult_SUCCESS)
		die("iox_server_loan_response");
	memcpy(response, &value, sizeof value);
	iox_server_release_request(server, request);
	if (iox_server_send(server, response) != ServerSendResult_SUCCESS)
		die("iox_server_send");
}

static void serve_one(iox_server_t server, const struct request *request)
{
	switch ((enum kind)request->kind) {
	case CALL:
		respond(server, request, answer(request->a, request->b));
		break;
	case PASS:
		respond(server, request, check(request->buffer, request->n));
		break;
	case POST:
		answer(request->a, request->b);
		iox_server_release_request(server, request);
		break;
	}
}

static void serve(void *spin)
{
	init_runtime("other");

	iox_server_t server = new_server();
	iox_ws_t waitset = *(bool *)spin ? NULL : wait_for_requests(server);

	for (;;)
		serve_one(server, next_request(server, waitset));
}

/* ---------------------------------------------------------------------- RouDi */

__attribute__((format(printf, 2, 3)))
static void write_file(const char *path, const char *format, ...)
{
	FILE *f = fopen(path, "w");
	va_list args;

	va_start(args, format);
	if (!f || vfprintf(f, format, args) < 0 || fclose(f))
		die("%s", path);
	va_end(args);
}

/* Whoever may not mount may in a user namespace of its own, in which it is still itself. */
static void enter_own_namespace(void)
{
	unsigned user = getuid(), group = getgid();

	if (!unshare(CLONE_NEWNS))
		return;
	if (unshare(CLONE_NEWUSER | CLONE_NEWNS))
		die("unshare");
	write_file("/proc/self/setgroups", "deny");
	write_file("/proc/self/uid_map", "%u %u 1", user, user);
	write_file("/proc/self/gid_map", "%u %u 1", group, group);
}

/* What RouDi and the runtimes leave there is gone with the last of them. */
static void make_own_folders(void)
{
	enter_own_namespace();
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("tmpfs", "/tmp", "tmpfs", 0, NULL) || mount("tmpfs", "/dev/shm", "tmpfs", 0, NULL))
		die("mount");
}

/* It runs on any core. */
static void run_roudi(void *output)
{
	int file = memfd_create("roudi.toml", 0);
	char path[32];

	if (file < 0 || write(file, config, sizeof config - 1) < 0)
		die("configuration of iox-roudi");
	unbind();
	dup2(*(int *)output, STDOUT_FILENO);
	dup2(*(int *)output, STDERR_FILENO);
	snprintf(path, sizeof path, "/proc/self/fd/%d", file);
	execlp("iox-roudi", "iox-roudi", "-m", "off", "-c", path, (char *)NULL);
	die("iox-roudi");
}

static void start_roudi(int core)
{
	int output[2];
	char line[512] = "";

	if (pipe2(output, O_CLOEXEC))
		die("pipe");
	client.roudi = fork_side(core, run_roudi, &output[1]);
	close(output[1]);

	FILE *f = fdopen(output[0], "r");	/* it stays open, as RouDi may print more */

	while (!strstr(line, "ready for clients"))
		if (!fgets(line, sizeof line, f)) {
			errno = 0;
			die("iox-roudi ended, %s", line);
		}
}

/* --------------------------------------------------------------------- caller */

static iox_client_t new_client(void)
{
	static iox_client_storage_t storage;
	iox_client_options_t options;

	iox_client_options_init(&options);
	options.responseQueueCapacity = RESPONSES_MAX;
	options.responseQueueFullPolicy = QueueFullPolicy_BLOCK_PRODUCER;
	options.serverTooSlowPolicy = ConsumerTooSlowPolicy_WAIT_FOR_CONSUMER;
	return iox_client_init(&storage, "Bench", "Other", "Call", &options);
}

static iox_ws_t wait_for_responses(iox_client_t port)
{
	static iox_ws_storage_t storage;
	iox_ws_t waitset = iox_ws_init(&storage);

	if (iox_ws_attach_client_state(waitset, port, ClientState_HAS_RESPONSE, 0, NULL) != WaitSetResult_SUCCESS)
		die("iox_ws_attach_client_state");
	return waitset;
}

static struct request *new_request(enum kind kind, size_t n)
{
	void *p;
	enum iox_AllocationResult result =
		iox_client_loan_request(client.port, &p, (uint32_t)(sizeof(struct request) + n));

	if (result != AllocationResult_SUCCESS)
		die("iox_client_loan_request: %d", (int)result);

	struct request *request = p;

	request->kind = kind;
	request->n = (uint32_t)n;
	return request;
}

static void send_request(struct request *request)
{
	enum iox_ClientSendResult result = iox_client_send(client.port, request);

	if (result != ClientSendResult_SUCCESS)
		die("iox_client_send: %d", (int)result);
}

/* They would die with us; but RouDi takes a while to give its memory back, which nobody else should meet. */
static void end_others(void)
{
	kill(client.other, SIGKILL);
	kill(client.roudi, SIGKILL);
	while (wait(NULL) > 0 || errno == EINTR)
		;
}

static void open_iceoryx(const struct place *place)
{
	static bool spin;

	spin = place->spin;
	make_own_folders();
	start_roudi(place->other);
	client.other = fork_side(place->other, serve, &spin);
	atexit(end_others);	/* runs after our runtime has left RouDi */
	init_runtime("caller");
	client.port = new_client();
	while (iox_client_get_connection_state(client.port) != ConnectionState_CONNECTED) {
		errno = 0;
		if (waitpid(-1, NULL, WNOHANG))
			die("iox-roudi or the other side has ended");
		usleep(1000);
	}
	if (!spin)
		client.waitset = wait_for_responses(client.port);
}

/* The binding has no function that tells. */
static const char *version(void)
{
	return version_of_library((void (*)(void))iox_runtime_init);
}

static void send_call(int32_t a, int32_t b)
{
	struct request *request = new_request(CALL, 0);

	request->a = a;
	request->b = b;
	send_request(request);
}

static int32_t receive(void)
{
	const void *response;
	enum iox_ChunkReceiveResult result;
	int32_t value;

	while ((result = iox_client_take_response(client.port, &response)) == ChunkReceiveResult_NO_CHUNK_AVAILABLE)
		wait_at(client.waitset);
	if (result != ChunkReceiveResult_SUCCESS)
		die("iox_client_take_response: %d", (int)result);
	memcpy(&value, response, sizeof value);
	iox_client_release_response(client.port, response);
	return value;
}

static int32_t call(int32_t a, int32_t b)
{
	send_call(a, b);
	return receive();
}

/* The server does not respond to it. When the queue of requests is full, this waits. */
static void post(int32_t a, int32_t b)
{
	struct request *request = new_request(POST, 0);

	request->a = a;
	request->b = b;
	send_request(request);
}

/*
 * No byte is copied: a program that uses iceoryx makes its data in the chunk. The
 * server owns the chunk that was sent, so each buffer is a new one, and the bytes
 * that tell whether it came are put into it; those between are what they were.
 */
static int32_t pass(uint8_t *p, size_t n)
{
	struct request *request = new_request(PASS, n);

	request->buffer[0] = p[0];
	request->buffer[n - 1] = p[n - 1];
	send_request(request);
	return receive();
}

const struct system contender = {
	.version = version,
	.open = open_iceoryx,
	.call = call,
	.send = send_call,
	.receive = receive,
	.window_max = RESPONSES_MAX,
	.post = post,
	.pass = pass,
	.pass_max = BUFFER_MAX,
};
