/* The floors: a cache line, a futex and a fork, there and back, with nothing around them. */
#include "floors.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "futex.h"
#include "proc.h"

enum request { BOUNCE, ECHO, FORK };

/* Shared by the two sides. Neighbouring lines are fetched in pairs: 128 bytes apart. */
struct peer {
	_Alignas(128) atomic_uint asked;	/* counts requests; the peer sleeps on it */
	enum request request;			/* ours to write before asked */
	unsigned rounds;			/* how often the line bounces */
	int private_;				/* FUTEX_PRIVATE_FLAG, or 0 between processes */
	int cpu;
	_Alignas(128) atomic_uint answered;	/* counts answers; we sleep on it */
	_Alignas(128) atomic_uint line;		/* odd: the peer's turn; even: ours */
	_Alignas(128) atomic_int tid;
};

static void futex_advance(struct peer *p, atomic_uint *word)
{
	/* release: pairs with futex_wait(). */
	atomic_fetch_add_explicit(word, 1, memory_order_release);
	futex_wake(word, p->private_);
}

static void await_line(struct peer *p, unsigned value)
{
	while (atomic_load_explicit(&p->line, memory_order_acquire) != value)
		__builtin_ia32_pause();
}

static void give_line(struct peer *p, unsigned value)
{
	atomic_store_explicit(&p->line, value, memory_order_release);
}

static void serve_bounces(struct peer *p)
{
	for (unsigned i = 0; i < p->rounds; i++) {
		await_line(p, 2 * i + 1);
		give_line(p, 2 * i + 2);
	}
}

static void serve_fork(struct peer *p)
{
	pid_t child = fork();

	if (child == 0) {
		futex_advance(p, &p->answered);
		_exit(0);
	}
	if (child < 0) {
		perror("bench: fork");
		_exit(1);
	}
	waitpid(child, NULL, 0);
}

static void *serve(void *arg)
{
	struct peer *p = arg;

	if (p->cpu >= 0)
		pin(p->cpu);
	atomic_store(&p->tid, (int)gettid());
	futex_advance(p, &p->answered);
	for (unsigned seen = 0;; seen++) {
		futex_wait(&p->asked, seen, p->private_);
		switch (p->request) {
		case BOUNCE:
			serve_bounces(p);
			break;
		case ECHO:
			futex_advance(p, &p->answered);
			break;
		case FORK:
			serve_fork(p);
			break;
		}
	}
	return NULL;
}

static struct peer *peer_memory(int cpu, int flags)
{
	struct peer *p = mmap(NULL, sizeof *p, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | flags, -1, 0);

	if (p == MAP_FAILED) {
		perror("bench: mmap");
		exit(1);
	}
	p->cpu = cpu;
	return p;
}

struct peer *peer_process(int cpu)
{
	struct peer *p = peer_memory(cpu, MAP_SHARED);
	pid_t parent = getpid(), child = fork();

	if (child < 0) {
		perror("bench: fork");
		exit(1);
	}
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(0);
		close_range(3, ~0u, 0);
		serve(p);
	}
	futex_wait(&p->answered, 0, p->private_);
	return p;
}

struct peer *peer_thread(int cpu)
{
	struct peer *p = peer_memory(cpu, MAP_PRIVATE);
	pthread_t thread;

	p->private_ = FUTEX_PRIVATE_FLAG;
	if (pthread_create(&thread, NULL, serve, p)) {
		fputs("bench: no thread\n", stderr);
		exit(1);
	}
	pthread_detach(thread);
	futex_wait(&p->answered, 0, p->private_);
	return p;
}

pid_t peer_tid(const struct peer *p)
{
	return atomic_load(&p->tid);
}

static void ask(struct peer *p, enum request request)
{
	p->request = request;
	futex_advance(p, &p->asked);
}

static void bounce(struct peer *p, unsigned first, unsigned n)
{
	for (unsigned i = first; i < first + n; i++) {
		give_line(p, 2 * i + 1);
		await_line(p, 2 * i + 2);
	}
}

uint64_t floor_cache_line(struct contender *c, unsigned n)
{
	struct peer *p = c->arg;

	give_line(p, 0);
	p->rounds = n + 1;
	ask(p, BOUNCE);
	bounce(p, 0, 1);	/* until the peer is awake */

	uint64_t start = now_ns();

	bounce(p, 1, n);
	return now_ns() - start;
}

/* Each request finds the peer asleep, as a call finds a sleeping slave, and has done so for @ms. */
static uint64_t ask_sleeper(struct contender *c, enum request request, unsigned ms, unsigned n)
{
	struct peer *p = c->arg;
	uint64_t total = 0;

	for (unsigned i = 0; i < n; i++) {
		idle(peer_tid(p));
		rest(ms);

		unsigned seen = atomic_load(&p->answered);
		uint64_t start = now_ns();

		ask(p, request);
		futex_wait(&p->answered, seen, p->private_);
		total += now_ns() - start;
	}
	return total;
}

uint64_t floor_futex(struct contender *c, unsigned n)
{
	return ask_sleeper(c, ECHO, 0, n);
}

uint64_t floor_fork(struct contender *c, unsigned n)
{
	return ask_sleeper(c, FORK, START_REST_MS, n);
}
