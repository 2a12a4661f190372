/* Calls whose types are found at run time, beside captured calls to the same slave. */
#include <farcall.h>

#include <errno.h>
#include <ffi.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "debug.h"
#include "proc.h"
#include "report.h"

struct counter {
	int (*add)(struct counter *c, int n);
	int sum;
};

static struct {
	struct far_slave *slave;	/* on the other core */
	struct counter *proxy, *local;
	far_library *program;
	int (*bound)(int, int);
	struct report report;
} bench;

/* ------------------------------------------------- what slaves are asked to do */

static int add_to(struct counter *c, int n)
{
	return c->sum += n;
}

static struct counter *make_counter(void)
{
	struct counter *c = malloc(sizeof *c);

	*c = (struct counter){ .add = add_to };
	return c;
}

/* For others to find by its name. */
__attribute__((visibility("default"), noinline, used)) int bench_add(int a, int b);
int bench_add(int a, int b)
{
	__asm__ volatile("");
	return a + b;
}

static int call_it(int (*f)(int, int), int n)
{
	return f(n, 1);
}

/* ------------------------------------------------------------------ contenders */

/* Time @n evaluations of an expression of i, which gives an int. */
#define TIME_OF(expression) do { \
	unsigned sum = 0; \
	for (int i = 0; i < 50; i++)		/* awake */ \
		sum += (unsigned)far_invoke(bench.slave, bench_add, i, 1); \
	uint64_t start = now_ns(); \
	for (int i = 0; i < (int)n; i++) \
		sum += (unsigned)(expression); \
	uint64_t ns = now_ns() - start; \
	(void)c; \
	__asm__ volatile("" : : "r"(sum)); \
	if (far_error()) \
		fail("call"); \
	return ns; \
} while (0)

static uint64_t captured(struct contender *c, unsigned n)
{
	TIME_OF(far_invoke(bench.slave, bench_add, i, 1));
}

static uint64_t captured_pointer(struct contender *c, unsigned n)
{
	TIME_OF(far_invoke(bench.slave, add_to, far_remote(bench.local), i));
}

static uint64_t direct(struct contender *c, unsigned n)
{
	TIME_OF(bench_add(i, 1));
}

static uint64_t by_libffi(struct contender *c, unsigned n)
{
	ffi_type *types[] = { &ffi_type_sint, &ffi_type_sint };
	ffi_arg result;
	int a, b = 1;
	void *arguments[] = { &a, &b };
	ffi_cif cif;

	if (ffi_prep_cif(&cif, FFI_DEFAULT_ABI, 2, &ffi_type_sint, types) != FFI_OK)
		fail("ffi_prep_cif");
	TIME_OF((a = i, ffi_call(&cif, FFI_FN(bench_add), &result, arguments), (int)result));
}

static uint64_t method(struct contender *c, unsigned n)
{
	TIME_OF(bench.proxy->add(bench.proxy, i));
}

static uint64_t bound(struct contender *c, unsigned n)
{
	TIME_OF(bench.bound(i, 1));
}

static uint64_t by_prototype(struct contender *c, unsigned n)
{
	TIME_OF(far_call(bench.program, int, "int bench_add(int, int)", i, 1));
}

static uint64_t by_library(struct contender *c, unsigned n)
{
	TIME_OF(far_invoke(bench.program, bench_add, i, 1));
}

static uint64_t with_a_callback(struct contender *c, unsigned n)
{
	TIME_OF(far_invoke(bench.slave, call_it, far_callback(bench_add), i));
}

static uint64_t wrapped_and_dropped(struct contender *c, unsigned n)
{
	(void)c;
	uint64_t start = now_ns();

	for (unsigned i = 0; i < n; i++) {
		struct counter *o = far_wrap_with(free, bench.slave, make_counter);

		if (!o || far_drop(o))
			fail("object");
	}
	return now_ns() - start;
}

/* ----------------------------------------------------------------------- parts */

static const struct part {
	const char *name;
	uint64_t (*run)(struct contender *, unsigned);
	uint64_t (*floor)(struct contender *, unsigned);
	double limit;			/* times the floor; 0: no goal */
} parts[] = {
	{ "direct call", direct, captured, 0 },
	{ "ffi_call", by_libffi, captured, 0 },
	{ "method of a proxy", method, captured_pointer, 1.5 },
	{ "bound function pointer", bound, captured, 0 },
	{ "far_call() by prototype", by_prototype, captured, 0 },
	{ "far_invoke() of a library", by_library, captured, 0 },
	{ "call that is called back once", with_a_callback, captured, 0 },
	{ "object wrapped and dropped", wrapped_and_dropped, captured, 0 },
};

enum { PARTS = sizeof parts / sizeof *parts };

static void measure_calls(unsigned rounds)
{
	struct contender what[PARTS], floor[PARTS];
	struct figure figures[PARTS] = { 0 };

	for (int i = 0; i < PARTS; i++) {
		what[i] = floor[i] = (struct contender){ .run = parts[i].run, .chunk_ns = 200000, .chunks = 9 };
		floor[i].run = parts[i].floor;
		figures[i].what = &what[i];
		figures[i].floor = &floor[i];
	}
	take_turns(figures, PARTS, rounds);
	for (int i = 0; i < PARTS; i++) {
		struct row *row = report_figure(&bench.report, parts[i].name, "far_invoke", &figures[i]);

		if (parts[i].limit > 0)
			goal_ratio(row, parts[i].limit);
		figure_free(&figures[i]);
	}
}

/* The first object that a place in the program wraps: its type is read. */
static void measure_types(void)
{
	struct samples first = { 0 };
	uint64_t start;

#define FIRST do { \
	start = now_ns(); \
	if (far_drop(far_wrap(bench.slave, make_counter))) \
		fail("object"); \
	samples_add(&first, (double)(now_ns() - start)); \
} while (0)
	FIRST;
	FIRST;
	FIRST;
	FIRST;
	FIRST;
	report_samples(&bench.report, "first object of a type", TIME, &first);
	samples_free(&first);
}

/* What reading the types of a function takes, in a slave that has read nothing before. */
struct reading {
	uint64_t first, next;		/* ns: of one function, and of a type of the same library */
	long memory;			/* bytes, at most */
};

static void read_there(const char *module, struct reading *r)
{
	struct far__arena arena = { 0 };
	struct far__complaint why;
	char line[256];
	uint64_t start = now_ns();
	FILE *status;

	if (!far__debug_function(module, "last_number", &arena, &why))
		far_raise(1, "%s", why.text);
	r->first = now_ns() - start;
	start = now_ns();
	if (!far__debug_type(module, "struct item1234", &arena, &why))
		far_raise(1, "%s", why.text);
	r->next = now_ns() - start;
	status = fopen("/proc/self/status", "re");
	while (status && fgets(line, sizeof line, status))
		if (sscanf(line, "RssAnon: %ld", &r->memory) == 1)
			r->memory *= 1024;
	if (status)
		fclose(status);
}

static void measure_reading(void)
{
	struct samples first = { 0 }, next = { 0 }, memory = { 0 };
	struct reading r = { 0 };

	for (int i = 0; i < 5; i++) {
		struct far_slave *reader = far_slave_process(.name = "reader");

		far_invoke(reader, read_there, MANY_TYPES, far_out(&r, sizeof r));
		if (far_error())
			fail("reading types");
		far_slave_close(reader);
		samples_add(&first, (double)r.first);
		samples_add(&next, (double)r.next);
		samples_add(&memory, (double)r.memory);
	}
	report_samples(&bench.report, "a function's type, 50 MB of debug info", TIME, &first);
	report_samples(&bench.report, "  the next type of these", TIME, &next);
	report_samples(&bench.report, "  private memory of the reader", BYTES, &memory);
	samples_free(&first);
	samples_free(&next);
	samples_free(&memory);
}

static void start_all(void)
{
	choose_cores(bench.report.cores);
	bench.slave = far_slave_process(.name = "process");
	if (far_invoke(bench.slave, pin, bench.report.cores[1]) || far_error() || pin(bench.report.cores[0]))
		fail("pinning");
	bench.program = far_open(bench.slave, NULL);
	bench.local = far_invoke(bench.slave, make_counter);
	bench.proxy = far_wrap(bench.slave, make_counter);
	bench.bound = far_bind(bench.program, "bench_add", int (*)(int, int));
	if (!bench.program || !bench.local || !bench.proxy || !bench.bound)
		fail("start");
}

int main(int argc, char **argv)
{
	far_init();

	static const struct option options[] = { { "quick", no_argument, NULL, 'q' }, { "json", required_argument, NULL, 'j' }, { 0 } };
	const char *json = NULL;
	bool quick = false;

	for (int o; (o = getopt_long(argc, argv, "", options, NULL)) != -1;) {
		if (o == 'q')
			quick = true;
		else if (o == 'j')
			json = optarg;
		else
			return 2;
	}
	start_all();
	report_machine(&bench.report);
	measure_calls(quick ? 10 : 100);
	measure_types();
	measure_reading();
	report_print(&bench.report, 0);
	far_slave_close(bench.slave);
	if (json && report_json(&bench.report, json)) {
		fprintf(stderr, "bench: %s: %s\n", json, strerror(errno));
		return 1;
	}
	return 0;
}
