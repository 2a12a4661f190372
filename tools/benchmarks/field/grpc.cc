/*
 * gRPC over a Unix socket: unary calls through a synchronous stub, to a server of the
 * callback API, as its best practices for C++ recommend; pipelined calls are one
 * bidirectional stream, posts a client stream. It has no busy polling: threads sleep in epoll_wait().
 */
#include "contender.h"

#include <errno.h>
#include <grpcpp/grpcpp.h>
#include <memory>
#include <string>

#include "calls.grpc.pb.h"

/* So many messages fit, even unread, in the 64 KiB that the flow control of HTTP/2 lets a side send. */
enum { WINDOW_MAX = 2048 };

/* ------------------------------------------------------------- the other side */

/* Answers each message of a stream, then reads the next. */
class Adder final : public grpc::ServerBidiReactor<Pair, Sum> {
public:
	Adder()
	{
		StartRead(&pair);
	}

private:
	void OnReadDone(bool ok) override
	{
		if (!ok) {
			Finish(grpc::Status::OK);
			return;
		}
		sum.set_sum(answer(pair.a(), pair.b()));
		StartWrite(&sum);
	}

	void OnWriteDone(bool ok) override
	{
		if (ok)
			StartRead(&pair);
	}

	void OnDone() override
	{
		delete this;
	}

	Pair pair;
	Sum sum;
};

class Noter final : public grpc::ServerReadReactor<Pair> {
public:
	Noter()
	{
		StartRead(&pair);
	}

private:
	void OnReadDone(bool ok) override
	{
		if (!ok) {
			Finish(grpc::Status::OK);
			return;
		}
		answer(pair.a(), pair.b());
		StartRead(&pair);
	}

	void OnDone() override
	{
		delete this;
	}

	Pair pair;
};

class Server final : public Calls::CallbackService {
	grpc::ServerUnaryReactor *Add(grpc::CallbackServerContext *context, const Pair *pair, Sum *sum) override
	{
		sum->set_sum(answer(pair->a(), pair->b()));
		return finish(context);
	}

	grpc::ServerUnaryReactor *Check(grpc::CallbackServerContext *context, const Buffer *buffer, Sum *sum) override
	{
		const std::string &data = buffer->data();

		sum->set_sum(check(reinterpret_cast<const uint8_t *>(data.data()), data.size()));
		return finish(context);
	}

	grpc::ServerBidiReactor<Pair, Sum> *AddEach(grpc::CallbackServerContext *) override
	{
		return new Adder;
	}

	grpc::ServerReadReactor<Pair> *Note(grpc::CallbackServerContext *, Nothing *) override
	{
		return new Noter;
	}

	static grpc::ServerUnaryReactor *finish(grpc::CallbackServerContext *context)
	{
		grpc::ServerUnaryReactor *reactor = context->DefaultReactor();

		reactor->Finish(grpc::Status::OK);
		return reactor;
	}
};

static std::string address()
{
	return std::string("unix:") + socket_path();
}

static void serve(void *arg)
{
	Server service;
	grpc::ServerBuilder builder;

	builder.AddListeningPort(*static_cast<std::string *>(arg), grpc::InsecureServerCredentials());
	builder.RegisterService(&service);
	builder.SetMaxReceiveMessageSize(-1);	/* by default 4 MiB */

	std::unique_ptr<grpc::Server> server = builder.BuildAndStart();

	if (!server)
		die("BuildAndStart");
	server->Wait();
}

/* ----------------------------------------------------------------- the caller */

/* An open stream; these are not destroyed at exit, when the library may be gone. */
struct adding {
	grpc::ClientContext context;
	std::unique_ptr<grpc::ClientReaderWriter<Pair, Sum>> stream;
};

struct noting {
	grpc::ClientContext context;
	Nothing nothing;
	std::unique_ptr<grpc::ClientWriter<Pair>> stream;
};

static Calls::Stub *stub;
static struct adding *adding;
static Buffer buffer;		/* what buffer() returned is its data */

/* The thread's posts since its last call. */
static thread_local struct noting *noting;

static void expect_ok(const grpc::Status &status)
{
	errno = 0;
	if (!status.ok())
		die("%s", status.error_message().c_str());
}

static void expect_written(bool ok)
{
	errno = 0;
	if (!ok)
		die("the stream has ended");
}

static void open_grpc(const struct place *place)
{
	std::string where = address();

	fork_side(place->other, serve, &where);
	stub = Calls::NewStub(grpc::CreateChannel(where, grpc::InsecureChannelCredentials())).release();

	/* The channel connects again until the other side listens. */
	grpc::ClientContext context;
	Pair pair;
	Sum sum;

	context.set_wait_for_ready(true);
	expect_ok(stub->Add(&context, pair, &sum));
}

static const char *version()
{
	static std::string text = grpc::Version();

	return text.c_str();
}

static Pair pair_of(int32_t a, int32_t b)
{
	Pair pair;

	pair.set_a(a);
	pair.set_b(b);
	return pair;
}

/* Streams of one channel are not in order: the posts are before a call if their stream has ended. */
static void finish_posts()
{
	expect_written(noting->stream->WritesDone());
	expect_ok(noting->stream->Finish());
	delete noting;
	noting = nullptr;
}

static int32_t call(int32_t a, int32_t b)
{
	grpc::ClientContext context;
	Sum sum;

	if (noting)
		finish_posts();
	expect_ok(stub->Add(&context, pair_of(a, b), &sum));
	return sum.sum();
}

static void send_call(int32_t a, int32_t b)
{
	if (!adding) {
		adding = new struct adding;
		adding->stream = stub->AddEach(&adding->context);
	}
	expect_written(adding->stream->Write(pair_of(a, b)));
}

static int32_t receive()
{
	Sum sum;

	expect_written(adding->stream->Read(&sum));
	return sum.sum();
}

static void post(int32_t a, int32_t b)
{
	if (!noting) {
		noting = new struct noting;
		noting->stream = stub->Note(&noting->context, &noting->nothing);
	}
	expect_written(noting->stream->Write(pair_of(a, b)));
}

static uint8_t *allocate(size_t n)
{
	buffer.mutable_data()->resize(n);
	return reinterpret_cast<uint8_t *>(buffer.mutable_data()->data());
}

static void release(uint8_t *)
{
	buffer = Buffer();
}

/* The buffer is the data of the message already. */
static int32_t pass(uint8_t *, size_t)
{
	grpc::ClientContext context;
	Sum sum;

	expect_ok(stub->Check(&context, buffer, &sum));
	return sum.sum();
}

/* What a contender cannot do is left out. */
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
extern "C" const struct system contender = {
	.version = version,
	.open = open_grpc,
	.call = call,
	.send = send_call,
	.receive = receive,
	.window_max = WINDOW_MAX,
	.post = post,
	.pass = pass,
	.buffer = allocate,
	.release = release,
	.threads = true,
};
