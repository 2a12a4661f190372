/*
 * Many threads call many slaves in every way there is and hand tasks and far_alloc()ed
 * memory to each other, while another thread closes slaves and opens new ones.
 *
 *	handoff [SECONDS [SEED]]
 *
 * There are more callers than a slave has lanes. Every call has exactly one
 * outcome, a right result or one of the errors it may have; at the end all memory
 * is back.
 */
#include <errno.h>
#include <pthread.h>

#include "stress.h"

enum { CALLERS = 20, SLAVES = 6, SLOTS = 64 };

static struct far_slave *_Atomic slaves[SLAVES];
static atomic_bool stop;

/* Outcomes. */
static atomic_ulong made, results, closed, full, forgotten, waits, timeouts, reopened, threads, refused;

/* ------------------------------------------------------ what slaves run */

struct item {
	uint64_t value;
	size_t n;
	unsigned char byte[];
};

static uint64_t sum(const struct item *item)
{
	uint64_t s = item->value;

	for (size_t i = 0; i < item->n; i++)
		s = s * 31 + item->byte[i];
	return s;
}

/* Look at an item in shared memory and change it. */
static uint64_t work(struct item *item, uint64_t salt)
{
	uint64_t s = sum(item);

	item->value = salt;
	if (item->n)
		item->byte[salt % item->n]++;
	return s;
}

struct wide {
	double d[9];
	long n;
};

static struct wide widen(struct wide w, long by)
{
	for (unsigned i = 0; i < 9; i++)
		w.d[i] += (double)by;
	w.n *= by;
	return w;
}

static size_t spell(char *to, size_t size, const char *text, int times)
{
	size_t n = 0;

	for (int i = 0; i < times; i++)
		n += (size_t)snprintf(to + n, size - n, "%s", text);
	return n;
}

static long mix_by_myself(int a, double b, long c)
{
	return far_invoke(far_slave_self(), mix, a, b, c) + 1;
}

static int raise_it(int code)
{
	far_raise(code, "raised on purpose");
}

/* ----------------------------------------------------------- handing over */

/* A task on its way to whoever waits for it. */
struct handed {
	far_task(long) mixed;
	far_task(uint64_t) worked;
	long expect_mixed;
	uint64_t expect_worked;
	struct item *item;
};

static struct handed *_Atomic tasks[SLOTS];
static struct item *_Atomic items[SLOTS];

static struct item *make_item(uint64_t *r)
{
	size_t n = below(r, below(r, 20) ? 400 : 150000);
	struct item *item = far_alloc(sizeof *item + n);

	if (!item)
		wrong("far_alloc: %s", far_error()->message);
	item->value = random_next(r);
	item->n = n;
	memset(item->byte, (int)below(r, 256), n);
	return item;
}

/* Give the item to another thread, and free one that another has given. */
static void pass_item(struct item *item, uint64_t *r)
{
	item->value = 0;
	item->value = sum(item);
	struct item *other = atomic_exchange(&items[below(r, SLOTS)], item);

	if (!other)
		return;
	uint64_t expected = other->value;

	other->value = 0;
	if (sum(other) != expected)
		wrong("an item has changed on its way");
	far_free(other);
}

/* One outcome of a call was an error: which may it be? */
static void count_error(void)
{
	const struct far_error *e = far_error();

	if (!e)
		wrong("a call failed without an error");
	if (e->code == FAR_ECLOSED)
		closed++;
	else if (e->code == FAR_EFULL)
		full++;
	else
		wrong("%d: %s", e->code, e->message);
}

static void check_mixed(long got, long expected)
{
	if (far_error())
		count_error();
	else if (got != expected)
		wrong("mix() is %ld, not %ld", got, expected);
	else
		results++;
}

/* Wait for a task, or do without its result. */
static void finish(struct handed *h, uint64_t *r)
{
	if (h->mixed && below(r, 10) == 0) {
		if (far_forget(h->mixed))
			wrong("far_forget: %s", far_error()->message);
		forgotten++;
		free(h);
		return;
	}
	if (below(r, 3) == 0) {
		int err = h->mixed ? far_wait_for(h->mixed, (int)below(r, 3)) : far_wait_for(h->worked, (int)below(r, 3));

		waits++;
		if (err == -ETIMEDOUT)
			timeouts++;
		else if (err)
			wrong("far_wait_for: %s", far_error()->message);
		else if (!(h->mixed ? far_done(h->mixed) : far_done(h->worked)))
			wrong("what was waited for is not done");
	}
	if (below(r, 3) == 0)
		while (!(h->mixed ? far_done(h->mixed) : far_done(h->worked)))
			nap(r, 200);
	if (h->mixed) {
		check_mixed(far_wait(h->mixed), h->expect_mixed);
	} else {
		check_mixed((long)far_wait(h->worked), (long)h->expect_worked);
		pass_item(h->item, r);
	}
	if (below(r, 10) == 0) {
		if (h->mixed)
			far_wait(h->mixed);
		else
			far_wait(h->worked);
		if (!far_error() || far_error()->code != FAR_ETASK)
			wrong("a task was waited for twice");
		refused++;
	}
	free(h);
}

static struct handed *schedule(struct far_slave *slave, uint64_t *r)
{
	struct handed *h = calloc(1, sizeof *h);
	int a = (int)below(r, 100000);
	double b = below(r, 1000) / 4.0;

	made++;
	switch (below(r, 4)) {
	case 0:
		h->item = make_item(r);
		h->expect_worked = sum(h->item);
		h->worked = far_schedule(slave, work, h->item, random_next(r));
		break;
	case 1:
		h->expect_mixed = mix(a, b, 5);
		h->mixed = far_thread(mix, a, b, 5);
		threads++;
		break;
	case 2:
		h->expect_mixed = mix(a, b, 6) + 1;
		h->mixed = far_schedule(slave, mix_by_myself, a, b, 6);
		break;
	default:
		h->expect_mixed = mix(a, b, 7);
		h->mixed = far_schedule(slave, mix, a, b, 7);
	}
	if (h->mixed || h->worked)
		return h;
	count_error();
	if (h->item)
		pass_item(h->item, r);
	free(h);
	return NULL;
}

/* ---------------------------------------------------------------- callers */

static void invoke_something(struct far_slave *slave, uint64_t *r)
{
	int a = (int)below(r, 100000);

	made++;
	switch (below(r, 6)) {
	case 0: {
		struct item *item = make_item(r);
		uint64_t expected = sum(item), got = far_invoke(slave, work, item, random_next(r));

		check_mixed((long)got, (long)expected);
		pass_item(item, r);
		break;
	}
	case 1: {
		struct wide w = { .d = { 1, 2, 3 }, .n = a };

		w = far_invoke(slave, widen, w, 3);
		if (far_error())
			count_error();
		else if (w.d[0] != 4 || w.d[8] != 3 || w.n != 3l * a)
			wrong("widen() is wrong");
		else
			results++;
		break;
	}
	case 2: {
		char text[2000] = "untouched", word[8] = "abcdefg";
		int times = (int)below(r, 250);
		size_t n = far_invoke(slave, spell, far_out(text, sizeof text), sizeof text, (const char *)word, times);

		if (far_error()) {
			count_error();
			if (strcmp(text, "untouched"))
				wrong("a buffer changed although the call failed");
		} else if (n != 7ul * (unsigned)times || strlen(text) != n) {
			wrong("spell() is wrong");
		} else {
			results++;
		}
		break;
	}
	case 3:
		far_invoke(slave, raise_it, a + 1);
		if (!far_error())
			wrong("an error was lost");
		if (far_error()->code == a + 1)
			results++;
		else
			count_error();
		break;
	default:
		check_mixed(far_invoke(slave, mix, a, 0.5, a), mix(a, 0.5, a));
	}
}

static void schedule_some(struct far_slave *slave, uint64_t *r)
{
	struct handed *h[32];
	unsigned n = 1 + below(r, 32);

	for (unsigned i = 0; i < n; i++)
		h[i] = schedule(below(r, 4) ? slave : slaves[below(r, SLAVES)], r);
	if (below(r, 2))
		nap(r, 300);
	for (unsigned i = n; i > 0; i--) {
		unsigned k = below(r, i);

		if (h[k])
			finish(h[k], r);
		h[k] = h[i - 1];
	}
}

static void hand_over(struct far_slave *slave, uint64_t *r)
{
	struct handed *mine = schedule(slave, r);

	if (!mine)
		return;
	struct handed *other = atomic_exchange(&tasks[below(r, SLOTS)], mine);

	if (other)
		finish(other, r);
}

static void *caller(void *arg)
{
	uint64_t r = random_start((unsigned)(uintptr_t)arg);

	while (!stop) {
		struct far_slave *slave = slaves[below(&r, SLAVES)];

		for (unsigned n = below(&r, 20); n; n--) {
			switch (below(&r, 8)) {
			case 0:
				schedule_some(slave, &r);
				break;
			case 1:
			case 2:
				hand_over(slave, &r);
				break;
			default:
				invoke_something(slave, &r);
			}
		}
		/* Threads come and go, and so do their lanes. */
		if (below(&r, 50) == 0)
			break;
	}
	return NULL;
}

static void *generations(void *arg)
{
	uintptr_t number = (uintptr_t)arg;

	for (; !stop; number += CALLERS) {
		pthread_t t;

		if (pthread_create(&t, NULL, caller, (void *)number))
			wrong("no thread");
		pthread_join(t, NULL);
	}
	return NULL;
}

/* ----------------------------------------------------------------- slaves */

static struct far_slave *open_slave(unsigned i, uint64_t *r)
{
	static const unsigned queues[] = { 1, 2, 8, 128 };
	unsigned queue = queues[below(r, 4)];
	enum far_when_full when_full = below(r, 4) ? FAR_WAIT : FAR_FAIL;
	struct far_slave *s = i % 2 && !THREADS_ONLY
				      ? far_slave_process(.name = "process", .queue = queue, .when_full = when_full)
				      : far_slave_thread(.name = "thread", .queue = queue, .when_full = when_full);

	if (!s)
		wrong("no slave: %s", far_error()->message);
	return s;
}

static void *reopen(void *unused)
{
	uint64_t r = random_start(-1u);

	(void)unused;
	while (!stop) {
		unsigned i = below(&r, SLAVES);
		struct far_slave *old = slaves[i];

		nap(&r, 20000);
		/* At times nobody may call it any more, at times everybody still tries. */
		if (below(&r, 2))
			slaves[i] = NULL;
		if (far_slave_close(old))
			wrong("far_slave_close: %s", far_error()->message);
		if (far_slave_close(old) != -EINVAL || !far_error())
			wrong("a slave was closed twice");
		slaves[i] = open_slave(i, &r);
		reopened++;
	}
	return NULL;
}

int main(int argc, char **argv)
{
	if (!THREADS_ONLY && far_init()) {
		fprintf(stderr, "far_init: %s\n", far_error()->message);
		return 1;
	}
	unsigned seconds = begin(argc, argv, 3);
	uint64_t r = random_start(1000000);
	pthread_t thread[CALLERS], reopener;
	size_t large, small;

	for (unsigned i = 0; i < SLAVES; i++)
		slaves[i] = open_slave(i, &r);
	for (uintptr_t i = 0; i < CALLERS; i++)
		if (pthread_create(&thread[i], NULL, generations, (void *)i))
			wrong("no thread");
	if (pthread_create(&reopener, NULL, reopen, NULL))
		wrong("no thread");
	sleep(seconds);
	stop = true;
	for (unsigned i = 0; i < CALLERS; i++)
		pthread_join(thread[i], NULL);
	pthread_join(reopener, NULL);
	for (unsigned i = 0; i < SLOTS; i++)
		if (tasks[i])
			finish(tasks[i], &r);
	for (unsigned i = 0; i < SLOTS; i++)
		far_free(items[i]);
	for (unsigned i = 0; i < SLAVES; i++)
		if (far_slave_close(slaves[i]))
			wrong("far_slave_close: %s", far_error()->message);

	printf("handoff: seed %llu: %lu calls: %lu results, %lu closed, %lu full, %lu forgotten; %lu threads, "
	       "%lu waits, %lu timed out; %lu double waits; %lu slaves reopened\n",
	       (unsigned long long)seed, made, results, closed, full, forgotten, threads, waits, timeouts, refused,
	       reopened);
	if (made != results + closed + full + forgotten)
		wrong("not every call has one outcome");
	read_heap_use(&large, &small);
	if (large || small > KEPT_KIB)
		wrong("%zu KiB of large and %zu KiB of small blocks are not back", large, small);
	return 0;
}
