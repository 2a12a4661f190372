/*
 * oneTBB: task_arena::enqueue(), its way to have another thread run a single
 * task, into an arena with room for one worker. The worker looks for tasks for a
 * while before it sleeps; the caller sleeps in the std::future of its call. Tasks
 * may overtake each other, so there is no post().
 */
#include "contender.h"

#include <deque>
#include <future>
#include <memory>

#include <oneapi/tbb/global_control.h>
#include <oneapi/tbb/task_arena.h>
#include <oneapi/tbb/task_scheduler_observer.h>
#include <oneapi/tbb/version.h>

namespace {

class pinner : public tbb::task_scheduler_observer {
public:
	pinner(tbb::task_arena &arena, int worker_core) : task_scheduler_observer(arena), core(worker_core)
	{
		observe(true);
	}

	void on_scheduler_entry(bool) override
	{
		pin_to(core);
	}

private:
	int core;
};

tbb::task_arena *arena;
std::deque<std::future<int32_t>> sent;

template <typename F> std::future<int32_t> enqueue(F f)
{
	auto promise = std::make_shared<std::promise<int32_t>>();

	arena->enqueue([=] { promise->set_value(f()); });
	return promise->get_future();
}

void open_tbb(const place *place)
{
	/* The caller and the worker; else it would count the cores that the caller may use. */
	new tbb::global_control(tbb::global_control::max_allowed_parallelism, 2);
	arena = new tbb::task_arena(1, 0);
	arena->initialize();
	new pinner(*arena, place->other);
}

const char *version()
{
	int release = TBB_runtime_interface_version();

	/* 12080 stands for 2021.8.0. */
	return version_of(2021, release % 1000 / 10, release % 10);
}

int32_t call(int32_t a, int32_t b)
{
	return enqueue([=] { return answer(a, b); }).get();
}

void send_call(int32_t a, int32_t b)
{
	sent.push_back(enqueue([=] { return answer(a, b); }));
}

int32_t receive()
{
	int32_t result = sent.front().get();

	sent.pop_front();
	return result;
}

int32_t pass(uint8_t *p, size_t n)
{
	return enqueue([=] { return check(p, n); }).get();
}

}

/* What a contender cannot do is left out. */
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
extern "C" const struct system contender = {
	.version = version,
	.open = open_tbb,
	.call = call,
	.send = send_call,
	.receive = receive,
	.pass = pass,
	.threads = true,
};
