/*
 * Test that calls of every type arrive in slaves bit for bit, and come back so:
 *
 *	signatures [thread|process|both]
 *
 * The rows are in signatures_*.c. Here are those that are about the function
 * rather than its type, and main(). Each row is run by far_invoke(), by
 * far_schedule() and far_wait(), and by far_thread(); from the master, and inside
 * the slave, where calls to itself run in place.
 */
#include "signatures_types.h"

#include <complex.h>
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const int constants[64] = { 1, 2, 3 };
int increment(int n) { return n + 1; }
double halve(double x) { return x / 2; }

static struct row *rows;
static const struct row *running;
static const char *where;	/* say, "a slave thread" */
static bool failed;
bool row_threads;

void row_add(struct row *row)
{
	row->next = rows;
	rows = row;
}

static void row_fail(const char *how, const char *what)
{
	failed = true;
	fprintf(stderr, "%s:%u: %s in %s: %s: %s\n", running->file, running->line, running->type, where, how, what);
}

void row_check(const char *how, uint64_t want, uint64_t got)
{
	const struct far_error *error = far_error();

	if (error)
		row_fail(how, error->message);
	else if (want != got)
		row_fail(how, "not the result of a direct call");
}

void row_true(bool it_is, const char *what)
{
	if (!it_is)
		row_fail("not so", what);
}

/* Seen by whoever calls them: the test, or a slave. */
static uint64_t seen;
void note(uint64_t hash) { seen = hash; }
uint64_t noted(void) { return seen; }

static t_v4f scrubber(t_l a, t_l b, t_l c, t_l d, t_l e, t_l f, t_v4f g, t_v4f h, t_v4f i, t_v4f j,
	t_v4f k, t_v4f l, t_v4f m, t_v4f n, t_c1000 o, t_c1000 p)
{
	return g + h + i + j + k + l + m + n + (float)(a + b + c + d + e + f + o.a[0] + p.a[0]);
}

void row_scrub(struct far_slave *slave)
{
	t_c1000 block;
	t_v4f v = { -1e30f, -2e30f, -3e30f, -4e30f };
	long n = -0x123456789abcdef;

	memset(&block, 0xa5, sizeof(block));
	(void)far_invoke(slave, scrubber, n, n, n, n, n, n, v, v, v, v, v, v, v, v, block, block);
}

uint64_t mix(uint64_t hash, const void *p, size_t n)
{
	const unsigned char *bytes = p;

	for (size_t i = 0; i < n; i++) {
		hash = (hash ^ bytes[i]) * 0x9e3779b97f4a7c15;
		hash ^= hash >> 29;
	}
	return hash * 31 + n;
}

void fill(void *p, size_t n, uint64_t seed)
{
	unsigned char *bytes = p;

	for (size_t i = 0; i < n; i++) {
		seed = seed * 6364136223846793005 + 1442695040888963407;
		bytes[i] = (unsigned char)(seed >> 56);
	}
}

/* ------------------------------------------------------- kinds of function */

#define PROGRAM(id, text) static void run_##id(struct far_slave *slave); REGISTER(id, text) static void run_##id(struct far_slave *slave)
#define SAME(type, want, ...) do { \
	row_check("far_invoke", (uint64_t)(want), (uint64_t)far_invoke(slave, __VA_ARGS__)); \
	row_check("far_wait", (uint64_t)(want), (uint64_t)far_wait(far_schedule(slave, __VA_ARGS__))); \
} while (0)

/* The compiler may merge or delete direct calls of these: not the remote ones. */
static uint64_t calls;
__attribute__((const, noinline)) static int declared_const(int n) { calls++; return n * n; }
__attribute__((pure, noinline)) static int declared_pure(int n) { calls++; return n * n; }
static uint64_t get_calls(void) { return calls; }

PROGRAM(declared_const, "i(i) const")
{
	uint64_t before = far_invoke(slave, get_calls);
	int sum = far_invoke(slave, declared_const, 3) + far_invoke(slave, declared_const, 3);

	far_invoke(slave, declared_const, 3);
	(void)far_wait(far_schedule(slave, declared_const, 3));
	row_true(sum == 18, "results of a function declared const");
	row_true(far_invoke(slave, get_calls) == before + 4, "a function declared const is called each time");
}

PROGRAM(declared_pure, "i(i) pure")
{
	uint64_t before = far_invoke(slave, get_calls);
	int sum = far_invoke(slave, declared_pure, 3) + far_invoke(slave, declared_pure, 3);

	far_invoke(slave, declared_pure, 3);
	(void)far_wait(far_schedule(slave, declared_pure, 3));
	row_true(sum == 18, "results of a function declared pure");
	row_true(far_invoke(slave, get_calls) == before + 4, "a function declared pure is called each time");
}


#define LEFT(number) do { \
	row_true(far_error() && far_error()->code == (number), "the error of a function declared noreturn"); \
	row_true(far_error() && strstr(far_error()->message, "left"), "its message"); \
} while (0)

_Noreturn static void leaves(int code, double d, t_lll l) { far_raise(code + (int)(d + (double)l.a[2]), "it left"); }
__attribute__((noreturn)) static void leaves_too(int code) { far_raise(code, "it left"); }
_Noreturn static int leaves_int(int code) { far_raise(code, "it left"); }
_Noreturn static t_lll leaves_lll(t_ld d, t_cld e) { far_raise((int)(d + creall(e)), "it left"); }

PROGRAM(noreturn, "void(i, d, lll) noreturn")
{
	t_lll l = { { 1, 2, 3 } };

	far_invoke(slave, leaves, 1, 2, l);
	LEFT(6);
	far_wait(far_schedule(slave, leaves, 2, 3, l));
	LEFT(8);
	void (*pointer)(int, double, t_lll) __attribute__((noreturn)) = (void *)leaves;
	far_invoke(slave, pointer, 3, 4, l);
	LEFT(10);
	far_wait(far_schedule(slave, pointer, 4, 5, l));
	LEFT(12);
	far_invoke(slave, &leaves, 5, 6, l);
	LEFT(14);
	far_wait(far_schedule(slave, &leaves, 6, 7, l));
	LEFT(16);
}

PROGRAM(noreturn_attribute, "void(i) noreturn")
{
	void (*pointer)(int) __attribute__((noreturn)) = leaves_too;

	far_invoke(slave, leaves_too, 7);
	LEFT(7);
	far_wait(far_schedule(slave, leaves_too, 8));
	LEFT(8);
	far_invoke(slave, pointer, 9);
	LEFT(9);
	far_wait(far_schedule(slave, pointer, 10));
	LEFT(10);
	for (int i = 0; i < 3; i++) {	/* the locals outlive the way back */
		far_invoke(slave, leaves_too, 11 + i);
		LEFT(11 + i);
	}
}

PROGRAM(noreturn_int, "i(i) noreturn")
{
	row_true(far_invoke(slave, leaves_int, 7) == 0, "no result");
	LEFT(7);
	row_true(far_wait(far_schedule(slave, leaves_int, 8)) == 0, "no result");
	LEFT(8);
}

PROGRAM(noreturn_lll, "lll(ld, cld) noreturn")
{
	row_true(far_invoke(slave, leaves_lll, 7, 8).a[2] == 0, "no result");
	LEFT(15);
	row_true(far_wait(far_schedule(slave, leaves_lll, 8, 9)).a[2] == 0, "no result");
	LEFT(17);
}

static int no_parameters(void) { return 0x12345678; }
static int old_style() { return 0x23456789; }
static void nothing(void) { note(0x3456789a); }
static int only_named(int n, ...) { return n * 3; }

PROGRAM(no_parameters, "i()")
{
	SAME(int, no_parameters(), no_parameters);
}

PROGRAM(old_style, "i() without a prototype")
{
	SAME(int, old_style(), old_style);
}

PROGRAM(nothing, "void()")
{
	void (*pointer)(void) = nothing;

	far_invoke(slave, nothing);
	row_check("far_invoke", 0x3456789a, far_invoke(slave, noted));
	far_invoke(slave, note, 1);
	far_invoke(slave, pointer);
	row_check("far_invoke", 0x3456789a, far_invoke(slave, noted));
	far_invoke(slave, note, 2);
	far_wait(far_schedule(slave, nothing));
	row_check("far_wait", 0x3456789a, far_invoke(slave, noted));
}

PROGRAM(only_named, "i(i, ...)()")
{
	SAME(int, 21, only_named, 7);
}

static int old_definition(a, b, c) int a; double b; char *c; { return a + (int)b + (c == NULL); }

PROGRAM(old_definition, "i(i, d, p) defined in the old style")
{
	SAME(int, 7, old_definition, 1, 5.0, NULL);
}

static int step;
static int next(void) { return ++step; }

/* Ways to name a function. */
static struct operations {
	int (*increment)(int);
	double (*halve)(double);
	int (*few[3])(int);
} operations = { increment, halve, { increment, abs, toupper } };

static struct operations *get_operations(void) { return &operations; }

PROGRAM(targets, "i(i) by pointer")
{
	struct operations *const o = get_operations();
	int (*pointer)(int) = increment;
	int (*const constant)(int) = increment;
	int (**twice)(int) = &pointer;

	SAME(int, 42, pointer, 41);
	SAME(int, 42, constant, 41);
	SAME(int, 42, &increment, 41);
	SAME(int, 42, *increment, 41);
	SAME(int, 42, *pointer, 41);
	SAME(int, 42, *twice, 41);
	SAME(int, 42, (increment), 41);
	SAME(int, 42, o->increment, 41);
	SAME(int, 42, get_operations()->increment, 41);
	SAME(int, 42, operations.few[0], 41);
	SAME(int, 42, running ? increment : abs, 41);
	SAME(int, 42, (int (*)(int))increment, 41);
	step = 0;
	SAME(int, 42, (next(), increment), 41);
	row_true(step == 2, "the function is evaluated once");
	SAME(int, 41, o->few[1], -41);
	SAME(int, 'A', o->few[2], 'a');
	row_true(far_invoke(slave, o->halve, 5) == 2.5, "a double by a member");
}

static t_ll choose_ll(t_ll n) { return n * 2; }
static t_d choose_d(t_d n) { return n * 2; }
#define choose(n) _Generic((n), t_d: choose_d, default: choose_ll)

PROGRAM(generic, "d(d) and ll(ll) by _Generic")
{
	SAME(t_ll, 42, choose(1L), 21);
	row_true(far_invoke(slave, choose(1.0), 1.25) == 2.5, "a double by _Generic");
}

/* Functions of libraries, some of which compilers know. */
PROGRAM(libraries, "functions of libraries")
{
	char want[200];
	char *got = far_alloc(sizeof(want));
	const char *format = "%d %s %g %c %ld %Lg %5.2f %x %p %u %i %e";

	row_true(far_invoke(slave, pow, 2, 10) == 1024, "pow");
	row_true(far_invoke(slave, sqrt, 9) == 3, "sqrt");
	row_true(far_invoke(slave, powl, 2, 10) == 1024, "powl");
	row_true(far_invoke(slave, ldexpf, 1.5f, 4) == 24, "ldexpf");
	row_true(far_invoke(slave, cabs, 3 + 4 * I) == 5, "cabs");
	row_true(far_invoke(slave, conj, 3 + 4 * I) == 3 - 4 * I, "conj");
	row_true(far_invoke(slave, conjl, 3 + 4 * I) == 3 - 4 * I, "conjl");
	row_true(far_invoke(slave, div, 17, 5).rem == 2, "div");
	row_true(far_invoke(slave, lldiv, 17, 5).quot == 3, "lldiv");
	row_true(far_invoke(slave, strlen, "four") == 4, "strlen");
	row_true(far_invoke(slave, strtol, "0x10", NULL, 0) == 16, "strtol");
	row_true(far_invoke(slave, strtold, "2.5", NULL) == 2.5L, "strtold");
	row_true(far_invoke(slave, abs, -3) == 3, "abs");
	row_true(far_invoke(slave, labs, -3) == 3, "labs");
	row_true(far_invoke(slave, isdigit, '3') != 0, "isdigit");
	row_true(far_invoke(slave, memset, got, 'x', 9) == got && !memcmp(got, "xxxxxxxxx", 9), "memset");
	row_true(far_invoke(slave, strcpy, got, "copied") == got && !strcmp(got, "copied"), "strcpy");
	far_invoke(slave, free, NULL);
	row_true(!far_error(), "free");

	int length = snprintf(want, sizeof(want), format, 1, "two", 3.5, '4', 5L, 6.5L, 7.25f, 8, NULL, 9u, 10, 11.5);
	row_true(length == far_invoke(slave, snprintf, got, sizeof(want), format,
		1, "two", 3.5, '4', 5L, 6.5L, 7.25f, 8, NULL, 9u, 10, 11.5) && !strcmp(want, got), "snprintf");
	memset(got, 0, sizeof(want));
	row_true(length == far_wait(far_schedule(slave, snprintf, got, sizeof(want), format,
		1, "two", 3.5, '4', 5L, 6.5L, 7.25f, 8, NULL, 9u, 10, 11.5)) && !strcmp(want, got), "snprintf");
	row_true(far_invoke(slave, printf, "") == 0 && !far_error(), "printf");
	row_true(far_invoke(slave, sprintf, got, "%s and %s", "this", "that") == 13 && !strcmp(got, "this and that"), "sprintf");
	far_free(got);
}

static int digits(int a, int b, int c, int d, int e) { return (((a * 10 + b) * 10 + c) * 10 + d) * 10 + e; }

PROGRAM(order, "i(i, i, i, i, i), arguments evaluated once, from left to right")
{
	int i = 1;

	step = 0;
	row_check("far_invoke", 12345, (uint64_t)far_invoke(slave, digits, next(), next(), next(), next(), next()));
	row_check("far_wait", 67900, (uint64_t)far_wait(far_schedule(slave, digits, next(), next(), next() + 1, next() - 9, next() - 10)));
	row_true(step == 10, "each argument is evaluated once");
	row_check("far_invoke", 12488, (uint64_t)far_invoke(slave, digits, i++, i++, ++i, i += 4, i));
	row_check("far_wait", 12345, (uint64_t)far_invoke(slave, digits, ({ 1; }), 2, i ? 3 : 0, 8 >> 1, sizeof(int) + 1));
}

static t_ff mirror(t_ff p, t_c c) { return (t_ff){ p.b + (float)c, p.a }; }
static t_lll spread(long n) { return (t_lll){ { n, n + 1, n + 2 } }; }
static long total(t_lll l, t_ff p, t_ld d) { return l.a[0] + l.a[1] + l.a[2] + (long)p.a + (long)p.b + (long)d; }

PROGRAM(nested, "calls as arguments of calls")
{
	SAME(int, 5, increment, far_invoke(slave, increment, far_invoke(slave, increment, far_invoke(slave, increment, 1))));
	SAME(int, 3, increment, far_wait(far_schedule(slave, increment, 1)));
	SAME(long, 6 + 13 + 1, total, far_invoke(slave, spread, far_invoke(slave, increment, 0)),
		far_invoke(slave, mirror, far_invoke(slave, mirror, ((t_ff){ 2, 1 }), 4), 6), far_invoke(slave, powl, 1, 2));
}

/* As the value that a function returns, and without a use. */
__attribute__((noinline)) static t_lll tail_lll(struct far_slave *slave, long n) { return far_invoke(slave, spread, n); }
__attribute__((noinline)) static int tail_int(struct far_slave *slave, int n) { return far_invoke(slave, increment, n); }
__attribute__((noinline)) static void tail_void(struct far_slave *slave) { far_invoke(slave, nothing); }
__attribute__((noinline)) static int tail_wait(far_task(int) task) { return far_wait(task); }
__attribute__((noinline)) static far_task(int) tail_schedule(struct far_slave *slave, int n)
{
	return far_schedule(slave, increment, n);
}

PROGRAM(tail, "calls in a tail position")
{
	row_check("far_invoke", 9, (uint64_t)tail_lll(slave, 7).a[2]);
	row_check("far_invoke", 9, (uint64_t)tail_int(slave, 8));
	row_check("far_wait", 9, (uint64_t)tail_wait(tail_schedule(slave, 8)));
	far_invoke(slave, note, 1);
	tail_void(slave);
	row_check("far_invoke", 0x3456789a, far_invoke(slave, noted));
	far_invoke(slave, spread, 1);
	far_invoke(slave, increment, 1);
	far_invoke(slave, powl, 1, 1);
	far_invoke(slave, cpowl, 1, 1);
	row_true(far_invoke(slave, powl, 2, 3) * 2 + 1 == 17, "an unused result on the x87 stack was taken off");
	row_true(running ? far_invoke(slave, increment, 1) == 2 : far_invoke(slave, increment, 2) == 4, "in a conditional");
	for (int i = 0; i < 20; i++)	/* a leak of the x87 stack shows after 8 */
		(void)far_invoke(slave, powl, 2, i), (void)far_wait(far_schedule(slave, conjl, i));
	row_true(far_invoke(slave, powl, 2, 3) * 2 + 1 == 17, "unused results on the x87 stack were taken off");
}

static int sum_far(const int *p, int n, t_d weight, int *total_of) { int t = 0; for (int i = 0; i < n; i++) t += p[i]; *total_of = (int)(t * weight); return t; }

PROGRAM(far_heap, "i(ip, i, d, ip) on the far heap")
{
	int *numbers = far_alloc(10 * sizeof(int));
	int *result = far_alloc(sizeof(int));

	for (int i = 0; i < 10; i++)
		numbers[i] = i;
	SAME(int, 45, sum_far, numbers, 10, 2, result);
	row_true(*result == 90, "a result through a pointer to the far heap");
	SAME(int, 30, sum_far, numbers + 4, 5, 2 - 0.5, result);
	row_true(*result == 45, "a pointer inside a block");
	far_free(numbers);
	far_free(result);
}

/* Parameters that C adjusts, qualifies or leaves open. */
static int adjusted(int n, const int a[static 4], int f(int), const t_c c, register int r) { return n + a[2] + f(n) + c + r; }
static int restricted(const char *restrict a, const char *volatile b) { return a[0] * 256 + b[0]; }
typedef union { int *i; void *p; const char *s; } transparent __attribute__((transparent_union));
static int opens(transparent u, t_d d, transparent v) { return (u.p != NULL) + 2 * (v.s != NULL) + (int)d; }

PROGRAM(adjusted, "i(int, array, function, const char, register int)")
{
	SAME(int, 10 + 3 + 11 + 'a' + 1, adjusted, 10, constants, increment, 'a', 1);
	SAME(int, 'x' * 256 + 'y', restricted, "xx", "yy");
}

PROGRAM(transparent, "i(transparent union, d, transparent union)")
{
	SAME(int, 3 + 5, opens, NULL, 6, "literal");
	SAME(int, 2 + 5, opens, (void *)0, 5, (void *)constants);
}

/*
 * Conversions again and again, of other values: what the library learns from the first calls
 * of a site must hold for all. Zeros come first, for they tell least.
 */
#define AGAIN(tag) \
	static uint64_t again_##tag(t_##tag a, t_##tag b) { return mix_##tag(mix_##tag(0, a), b); } \
	PROGRAM(again_##tag, "hash(" #tag ", " #tag ") again and again") \
	{ \
		AGAIN_FROM(tag, int, 0, 0, 0, 0, 1, -1, 0, 77, -2000000000) \
		AGAIN_FROM(tag, unsigned char, 0, 0, 1, 255) \
		AGAIN_FROM(tag, unsigned long, 0, 0, 1, -1ul, 0) \
		AGAIN_FROM(tag, long, -1, 0, 1, 0x7fffffffffffffff, 3) \
		AGAIN_FROM(tag, float, 0, 0, 0, 1, 120, 0.5f) \
		AGAIN_FROM(tag, double, 5, 0, 0, 1, 120, 0.25) \
	}
#define AGAIN_FROM(tag, type, ...) { \
	const type value[] = { __VA_ARGS__ }; \
	enum { N = sizeof value / sizeof *value }; \
	for (int i = 0; i < 4 * N; i++) { \
		type a = value[i % N], b = value[i / 4]; \
		SAME(uint64_t, again_##tag(a, b), again_##tag, a, b); \
		SAME(uint64_t, again_##tag(0, b), again_##tag, 0, b); \
		SAME(uint64_t, again_##tag(a, 64), again_##tag, a, 64); \
	} \
}
AGAIN(c) AGAIN(b) AGAIN(s) AGAIN(u) AGAIN(l) AGAIN(ul) AGAIN(x) AGAIN(ux) AGAIN(e) AGAIN(he)
AGAIN(f) AGAIN(d) AGAIN(q) AGAIN(ld)
AGAIN(cf) AGAIN(cd) AGAIN(cld) AGAIN(cc) AGAIN(ci) AGAIN(cl) AGAIN(cq)

static uint64_t mixed_again(t_c a, t_ld b, t_d c, t_x d) { return mix_x(mix_d(mix_ld(mix_c(0, a), b), c), d); }
static uint64_t four_wide(t_x a, t_cd b, t_x c, t_cl d) { return mix_cl(mix_x(mix_cd(mix_x(0, a), b), c), d); }

PROGRAM(mixed_again, "hash(c, ld, d, x) again and again")
{
	for (int i = 0; i < 60; i++)
		SAME(uint64_t, mixed_again(i, 0, i % 7, -i), mixed_again, i, 0, i % 7, -i);
}

PROGRAM(four_wide, "hash(x, cd, x, cl) again and again")
{
	for (int i = 0; i < 60; i++)
		SAME(uint64_t, four_wide(i, -i, 3, i), four_wide, i, -i, 3, i);
}

static uint64_t nine_vectors(t_cd a, t_cd b, t_cd c, t_cd d, t_cd e) { return mix_cd(mix_cd(mix_cd(mix_cd(mix_cd(0, a), b), c), d), e); }

PROGRAM(nine_vectors, "hash(cd, cd, cd, cd, cd) again and again")
{
	for (int i = 0; i < 60; i++)
		SAME(uint64_t, nine_vectors(i, -i, 3, i, 1 + i), nine_vectors, i, -i, 3, i, 1 + i);
}

/* ------------------------------------------------------------------- main */

/* Several times: the first calls of a site may be other ones than the later. */
static bool run_row(const struct row *row, struct far_slave *slave, const char *place, bool threads)
{
	running = row;
	where = place;
	failed = false;
	row_threads = threads;
	for (int i = 0; i < 4; i++)
		row->run(slave);
	return failed;
}

static bool run_in_place(const struct row *row, const char *place)
{
	return run_row(row, far_slave_self(), place, false);
}

static int compare_rows(const void *a, const void *b)
{
	const struct row *const *p = a, *const *q = b;
	int files = strcmp((*p)->file, (*q)->file);

	return files ? files : (int)(*p)->line - (int)(*q)->line;
}

static int compare_types(const void *a, const void *b)
{
	const struct row *const *p = a, *const *q = b;

	return strcmp((*p)->type, (*q)->type);
}

int main(int argc, char **argv)
{
	const char *which = argc > 1 ? argv[1] : "both";
	bool threads = strcmp(which, "process"), processes = strcmp(which, "thread");
	struct far_slave *thread = NULL, *process = NULL;
	unsigned count = 0, types = 0, passed = 0;

	if (argc > 2 || (strcmp(which, "both") && threads && processes)) {
		fprintf(stderr, "usage: signatures [thread|process|both]\n");
		return 2;
	}
	far_init();
	if ((threads && !(thread = far_slave_thread(.name = "signatures")))
	    || (processes && !(process = far_slave_process(.name = "signatures")))) {
		fprintf(stderr, "signatures: no slave: %s\n", far_error()->message);
		return 1;
	}

	for (struct row *row = rows; row; row = row->next)
		count++;
	const struct row **sorted = calloc(count, sizeof(*sorted));
	for (const struct row *row = rows, **to = sorted; row; row = row->next)
		*to++ = row;
	qsort(sorted, count, sizeof(*sorted), compare_types);
	for (unsigned i = 0; i < count; i++)
		types += !i || strcmp(sorted[i]->type, sorted[i - 1]->type);
	qsort(sorted, count, sizeof(*sorted), compare_rows);

	for (unsigned i = 0; i < count; i++) {
		bool fails = false;

		if (thread) {
			fails |= run_row(sorted[i], thread, "a slave thread", true);
			fails |= far_invoke(thread, run_in_place, far_remote(sorted[i]), "a slave thread itself") || far_error();
		}
		if (process) {
			fails |= run_row(sorted[i], process, "a slave process", false);
			fails |= far_invoke(process, run_in_place, far_remote(sorted[i]), "a slave process itself") || far_error();
		}
		passed += !fails;
	}
	free(sorted);
	if (far_slave_close(thread) || far_slave_close(process)) {
		fprintf(stderr, "signatures: %s\n", far_error()->message);
		return 1;
	}
	printf("signatures: %u types, %u passed, %u failed\n", types, passed, count - passed);
	return passed == count ? 0 : 1;
}
