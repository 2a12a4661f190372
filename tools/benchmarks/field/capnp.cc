/*
 * Cap'n Proto RPC: two parties over a Unix socketpair. Each side is one thread with
 * an event loop, which sleeps in epoll_wait(), as it has no busy polling. Calls wait
 * for their promises there; posts are streaming calls.
 */
#include "contender.h"

#include <capnp/ez-rpc.h>
#include <capnp/rpc-twoparty.h>
#include <errno.h>
#include <queue>
#include <sys/socket.h>
#include <unistd.h>

#include "calls.capnp.h"

/* A list has at most 2^29 - 1 elements, here bytes. */
enum : size_t { DATA_MAX = (1u << 29) - 1 };

/* By default no message is longer than 64 MiB. */
static constexpr capnp::ReaderOptions options = { .traversalLimitInWords = DATA_MAX, .nestingLimit = 64 };

struct client {
	capnp::EzRpcClient rpc;
	Calls::Client calls = rpc.getMain<Calls>();
	std::queue<kj::Promise<capnp::Response<Calls::AddResults>>> under_way;

	explicit client(int socket) : rpc(socket, options) {}
};

static struct client *client;

class Server final : public Calls::Server {
	kj::Promise<void> add(AddContext context) override
	{
		auto call = context.getParams();

		context.getResults().setSum(answer(call.getA(), call.getB()));
		return kj::READY_NOW;
	}

	kj::Promise<void> note(NoteContext context) override
	{
		auto call = context.getParams();

		answer(call.getA(), call.getB());
		return kj::READY_NOW;
	}

	kj::Promise<void> check(CheckContext context) override
	{
		auto data = context.getParams().getData();

		context.getResults().setSum(::check(data.begin(), data.size()));
		return kj::READY_NOW;
	}
};

/* What @run returns; the library's exceptions end the program. */
template <typename Run> static auto or_die(Run run)
{
	try {
		return run();
	} catch (const kj::Exception &e) {
		errno = 0;
		die("%s", e.getDescription().cStr());
	}
}

static void serve(void *arg)
{
	int *sockets = static_cast<int *>(arg);

	close(sockets[0]);
	or_die([=] {
		auto io = kj::setupAsyncIo();
		auto stream = io.lowLevelProvider->wrapSocketFd(sockets[1]);
		capnp::TwoPartyVatNetwork network(*stream, capnp::rpc::twoparty::Side::SERVER, options);
		auto server = capnp::makeRpcServer(network, kj::heap<Server>());

		network.onDisconnect().wait(io.waitScope);
	});
}

static void open_capnp(const struct place *place)
{
	int sockets[2];

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, sockets))
		die("socketpair");
	fork_side(place->other, serve, sockets);
	close(sockets[1]);
	or_die([&] { client = new struct client(sockets[0]); });
}

static const char *version()
{
	return version_of(CAPNP_VERSION_MAJOR, CAPNP_VERSION_MINOR, CAPNP_VERSION_MICRO);
}

static kj::Promise<capnp::Response<Calls::AddResults>> start_call(int32_t a, int32_t b)
{
	auto request = client->calls.addRequest();

	request.setA(a);
	request.setB(b);
	return request.send();
}

static int32_t call(int32_t a, int32_t b)
{
	return or_die([=] { return start_call(a, b).wait(client->rpc.getWaitScope()).getSum(); });
}

static void send_call(int32_t a, int32_t b)
{
	or_die([=] { client->under_way.push(start_call(a, b)); });
}

static int32_t receive()
{
	return or_die([] {
		auto oldest = kj::mv(client->under_way.front());

		client->under_way.pop();
		return oldest.wait(client->rpc.getWaitScope()).getSum();
	});
}

/* The promise of a streaming call is of space in the window, not of the answer. */
static void post(int32_t a, int32_t b)
{
	or_die([=] {
		auto request = client->calls.noteRequest();

		request.setA(a);
		request.setB(b);
		request.send().wait(client->rpc.getWaitScope());
		/* The message is written by the event loop: let that run until it would sleep. */
		kj::evalLast([] {}).wait(client->rpc.getWaitScope());
	});
}

/* The buffer becomes a segment of the message, without a copy. */
static int32_t pass(uint8_t *p, size_t n)
{
	return or_die([=] {
		auto request = client->calls.checkRequest();
		auto orphanage = capnp::Orphanage::getForMessageContaining(Calls::CheckParams::Builder(request));

		request.adoptData(orphanage.referenceExternalData(capnp::Data::Reader(p, n)));
		return request.send().wait(client->rpc.getWaitScope()).getSum();
	});
}

/* What a contender cannot do is left out. */
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
extern "C" const struct system contender = {
	.version = version,
	.open = open_capnp,
	.call = call,
	.send = send_call,
	.receive = receive,
	.post = post,
	.pass = pass,
	.pass_max = DATA_MAX,
};
