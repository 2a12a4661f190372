/*
 * The rows of the test of signatures: a row is a function type, a function of
 * that type, and a call of it. signatures.c runs them.
 *
 * A type has a tag, say `ff`; then t_ff is the type, make_ff(seed) a value whose
 * bytes depend on the seed, and mix_ff(hash, value) mixes the bytes of a value
 * into a hash: those bytes that C defines, so no padding. A function of a row
 * mixes all its arguments and makes its result from that hash. What it has to
 * return is found by calling it directly.
 */
#ifndef SIGNATURES_H
#define SIGNATURES_H

#include <farcall.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#pragma GCC diagnostic ignored "-Wpedantic"	/* the types of GNU C are tested too */

struct row {
	const char *type;	/* counted once, however many rows have it */
	const char *file;
	unsigned line;
	void (*run)(struct far_slave *slave);
	struct row *next;
};

/* Whether to run rows by far_thread() too. */
extern bool row_threads;

/* Called before main(). */
void row_add(struct row *row);

/* Fail the row that is running unless the two hashes are equal, and no call failed. */
void row_check(const char *how, uint64_t want, uint64_t got);
void row_true(bool it_is, const char *what);

/* Call a function of another type, so that no argument is in place by chance. */
void row_scrub(struct far_slave *slave);

/* What a function without result has seen. */
void note(uint64_t hash);
uint64_t noted(void);

uint64_t mix(uint64_t hash, const void *p, size_t n);
void fill(void *p, size_t n, uint64_t seed);

/* ----------------------------------------------------------------- macros */

#define CAT_(a, b) a##b
#define CAT(a, b) CAT_(a, b)
#define LINE(name) CAT(name, __LINE__)
#define HELPER __attribute__((noinline, unused)) static

#define COUNT(...) COUNT_(__VA_ARGS__, 17, 16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1)
#define COUNT_(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, count, ...) count

/* m(1, a), m(2, b), ... of up to 16, and the same without commas */
#define EACH(m, ...) CAT(EACH, COUNT(__VA_ARGS__))(m, __VA_ARGS__)
#define EACH1(m, a) m(1, a)
#define EACH2(m, a, b) EACH1(m, a), m(2, b)
#define EACH3(m, a, b, c) EACH2(m, a, b), m(3, c)
#define EACH4(m, a, b, c, d) EACH3(m, a, b, c), m(4, d)
#define EACH5(m, a, b, c, d, e) EACH4(m, a, b, c, d), m(5, e)
#define EACH6(m, a, b, c, d, e, f) EACH5(m, a, b, c, d, e), m(6, f)
#define EACH7(m, a, b, c, d, e, f, g) EACH6(m, a, b, c, d, e, f), m(7, g)
#define EACH8(m, a, b, c, d, e, f, g, h) EACH7(m, a, b, c, d, e, f, g), m(8, h)
#define EACH9(m, a, b, c, d, e, f, g, h, i) EACH8(m, a, b, c, d, e, f, g, h), m(9, i)
#define EACH10(m, a, b, c, d, e, f, g, h, i, j) EACH9(m, a, b, c, d, e, f, g, h, i), m(10, j)
#define EACH11(m, a, b, c, d, e, f, g, h, i, j, k) EACH10(m, a, b, c, d, e, f, g, h, i, j), m(11, k)
#define EACH12(m, a, b, c, d, e, f, g, h, i, j, k, l) EACH11(m, a, b, c, d, e, f, g, h, i, j, k), m(12, l)
#define EACH13(m, a, b, c, d, e, f, g, h, i, j, k, l, n) EACH12(m, a, b, c, d, e, f, g, h, i, j, k, l), m(13, n)
#define EACH14(m, a, b, c, d, e, f, g, h, i, j, k, l, n, o) \
	EACH13(m, a, b, c, d, e, f, g, h, i, j, k, l, n), m(14, o)
#define EACH15(m, a, b, c, d, e, f, g, h, i, j, k, l, n, o, p) \
	EACH14(m, a, b, c, d, e, f, g, h, i, j, k, l, n, o), m(15, p)
#define EACH16(m, a, b, c, d, e, f, g, h, i, j, k, l, n, o, p, q) \
	EACH15(m, a, b, c, d, e, f, g, h, i, j, k, l, n, o, p), m(16, q)

#define JOIN(m, ...) CAT(JOIN, COUNT(__VA_ARGS__))(m, __VA_ARGS__)
#define JOIN1(m, a) m(1, a)
#define JOIN2(m, a, b) JOIN1(m, a) m(2, b)
#define JOIN3(m, a, b, c) JOIN2(m, a, b) m(3, c)
#define JOIN4(m, a, b, c, d) JOIN3(m, a, b, c) m(4, d)
#define JOIN5(m, a, b, c, d, e) JOIN4(m, a, b, c, d) m(5, e)
#define JOIN6(m, a, b, c, d, e, f) JOIN5(m, a, b, c, d, e) m(6, f)
#define JOIN7(m, a, b, c, d, e, f, g) JOIN6(m, a, b, c, d, e, f) m(7, g)
#define JOIN8(m, a, b, c, d, e, f, g, h) JOIN7(m, a, b, c, d, e, f, g) m(8, h)
#define JOIN9(m, a, b, c, d, e, f, g, h, i) JOIN8(m, a, b, c, d, e, f, g, h) m(9, i)
#define JOIN10(m, a, b, c, d, e, f, g, h, i, j) JOIN9(m, a, b, c, d, e, f, g, h, i) m(10, j)
#define JOIN11(m, a, b, c, d, e, f, g, h, i, j, k) JOIN10(m, a, b, c, d, e, f, g, h, i, j) m(11, k)
#define JOIN12(m, a, b, c, d, e, f, g, h, i, j, k, l) JOIN11(m, a, b, c, d, e, f, g, h, i, j, k) m(12, l)
#define JOIN13(m, a, b, c, d, e, f, g, h, i, j, k, l, n) JOIN12(m, a, b, c, d, e, f, g, h, i, j, k, l) m(13, n)
#define JOIN14(m, a, b, c, d, e, f, g, h, i, j, k, l, n, o) \
	JOIN13(m, a, b, c, d, e, f, g, h, i, j, k, l, n) m(14, o)
#define JOIN15(m, a, b, c, d, e, f, g, h, i, j, k, l, n, o, p) \
	JOIN14(m, a, b, c, d, e, f, g, h, i, j, k, l, n, o) m(15, p)
#define JOIN16(m, a, b, c, d, e, f, g, h, i, j, k, l, n, o, p, q) \
	JOIN15(m, a, b, c, d, e, f, g, h, i, j, k, l, n, o, p) m(16, q)

/* ------------------------------------------------------------------ types */

/* A type all of whose bytes are its value; `fix` makes the value a legal one. */
#define SCALAR(tag, fix, ...) \
	typedef __VA_ARGS__ t_##tag; \
	HELPER uint64_t mix_##tag(uint64_t hash, t_##tag v) { return mix(hash, &v, sizeof(v)); } \
	HELPER t_##tag make_##tag(uint64_t seed) { t_##tag v; fill(&v, sizeof(v), seed); fix; return v; }

/* The same where the last bytes are padding. */
#define PADDED(tag, bytes, fix, ...) \
	typedef __VA_ARGS__ t_##tag; \
	HELPER uint64_t mix_##tag(uint64_t hash, t_##tag v) { return mix(hash, &v, bytes); } \
	HELPER t_##tag make_##tag(uint64_t seed) { t_##tag v; fill(&v, sizeof(v), seed); fix; return v; }

#define COMPLEX(tag, part, ...) \
	typedef _Complex __VA_ARGS__ t_##tag; \
	HELPER uint64_t mix_##tag(uint64_t hash, t_##tag v) { return mix_##part(mix_##part(hash, __real__ v), __imag__ v); } \
	HELPER t_##tag make_##tag(uint64_t seed) \
	{ t_##tag v; __real__ v = make_##part(seed); __imag__ v = make_##part(seed + 1); return v; }

/*
 * STRUCT(tag, attributes, members): M(tag, name) is a member, A(tag, name, n) an
 * array, W(tag, name, n) a bit-field of n bits. A union has the value of its
 * first member.
 */
#define STRUCT(tag, attributes, ...) AGGREGATE(struct, tag, attributes, JOIN, __VA_ARGS__)
#define UNION(tag, attributes, ...) AGGREGATE(union, tag, attributes, ONLY_FIRST, __VA_ARGS__)
#define AGGREGATE(kind, tag, attributes, value, ...) \
	typedef kind attributes s_##tag { JOIN(DECLARE, __VA_ARGS__) } t_##tag; \
	HELPER uint64_t mix_##tag(uint64_t hash, t_##tag v) { value(MIX, __VA_ARGS__) return hash; } \
	HELPER t_##tag make_##tag(uint64_t seed) \
	{ t_##tag v; memset(&v, 0x3c, sizeof(v)); value(MAKE, __VA_ARGS__) return v; }
#define ONLY_FIRST(m, first, ...) m(1, first)
#define DECLARE(i, member) DECLARE_##member
#define DECLARE_M(tag, name) t_##tag name;
#define DECLARE_A(tag, name, n) t_##tag name[n];
#define DECLARE_W(tag, name, n) t_##tag name : n;
#define MIX(i, member) MIX_##member
#define MIX_M(tag, name) hash = mix_##tag(hash, v.name);
#define MIX_A(tag, name, n) for (int i = 0; i < n; i++) hash = mix_##tag(hash, v.name[i]);
#define MIX_W(tag, name, n) hash = mix_##tag(hash, v.name);
#define MAKE(i, member) MAKE_##member
#define MAKE_M(tag, name) v.name = make_##tag(seed++);
#define MAKE_A(tag, name, n) for (int i = 0; i < n; i++) v.name[i] = make_##tag(seed++);
#define MAKE_W(tag, name, n) v.name = make_##tag(seed++);

/* ------------------------------------------------------------------- rows */

#define PARAMETER(i, tag) t_##tag a##i
#define MIX_PARAMETER(i, tag) hash = mix_##tag(hash, a##i);
#define MIX_NEXT(i, tag) hash = mix_##tag(hash, va_arg(list, t_##tag));
#define VALUE(i, tag) make_##tag(100 * i)

/* Define the test of function `id`, which returns a t_<result>. */
#define TEST(id, text, result, ...) \
	static void run_##id(struct far_slave *slave) \
	{ \
		uint64_t want = mix_##result(0, id(__VA_ARGS__)); \
		row_scrub(slave); \
		t_##result now = far_invoke(slave, id, __VA_ARGS__); \
		row_check("far_invoke", want, mix_##result(0, now)); \
		row_scrub(slave); \
		far_task(t_##result) task = far_schedule(slave, id, __VA_ARGS__); \
		row_scrub(slave); \
		t_##result later = far_wait(task); \
		row_check("far_wait", want, mix_##result(0, later)); \
		if (row_threads) { \
			task = far_thread(id, __VA_ARGS__); \
			row_scrub(slave); \
			later = far_wait(task); \
			row_check("far_thread", want, mix_##result(0, later)); \
		} \
	} \
	REGISTER(id, text)
#define TEST_VOID(id, text, ...) \
	static void run_##id(struct far_slave *slave) \
	{ \
		id(__VA_ARGS__); \
		uint64_t want = noted(); \
		row_scrub(slave); \
		far_invoke(slave, id, __VA_ARGS__); \
		row_check("far_invoke", want, far_invoke(slave, noted)); \
		row_scrub(slave); \
		far_task(void) task = far_schedule(slave, id, __VA_ARGS__); \
		far_wait(task); \
		row_check("far_wait", want, far_invoke(slave, noted)); \
		if (row_threads) { \
			note(0); \
			far_wait(far_thread(id, __VA_ARGS__)); \
			row_check("far_thread", want, noted()); \
		} \
	} \
	REGISTER(id, text)
#define REGISTER(id, text) \
	__attribute__((constructor)) static void add_##id(void) \
	{ \
		static struct row row = { .type = text, .file = __FILE__, .line = __LINE__, .run = run_##id }; \
		row_add(&row); \
	}

#define FUNCTION(id, result, ...) \
	static t_##result id(EACH(PARAMETER, __VA_ARGS__)) \
	{ \
		uint64_t hash = 1; \
		JOIN(MIX_PARAMETER, __VA_ARGS__) \
		return make_##result(hash); \
	}
#define FUNCTION_VOID(id, ...) \
	static void id(EACH(PARAMETER, __VA_ARGS__)) \
	{ \
		uint64_t hash = 1; \
		JOIN(MIX_PARAMETER, __VA_ARGS__) \
		note(hash); \
	}
#define FUNCTION_VARIADIC(id, result, fixed, ...) \
	static t_##result id(t_##fixed a, ...) \
	{ \
		va_list list; \
		uint64_t hash = mix_##fixed(1, a); \
		va_start(list, a); \
		JOIN(MIX_NEXT, __VA_ARGS__) \
		va_end(list); \
		return make_##result(hash); \
	}

#define ROW_(id, text, result, ...) \
	FUNCTION(id, result, __VA_ARGS__) \
	TEST(id, text, result, EACH(VALUE, __VA_ARGS__))
#define ROW_VOID_(id, ...) \
	FUNCTION_VOID(id, __VA_ARGS__) \
	TEST_VOID(id, "void(" #__VA_ARGS__ ")", EACH(VALUE, __VA_ARGS__))
#define ROW_VARIADIC_(id, text, result, fixed, ...) \
	FUNCTION_VARIADIC(id, result, fixed, __VA_ARGS__) \
	TEST(id, text, result, make_##fixed(7), EACH(VALUE, __VA_ARGS__))
#define CONVERT_(id, text, result, tags, ...) \
	FUNCTION(id, result, UNWRAP tags) \
	TEST(id, text, result, __VA_ARGS__)
#define CONVERT_VARIADIC_(id, text, result, fixed, tags, ...) \
	FUNCTION_VARIADIC(id, result, fixed, UNWRAP tags) \
	TEST(id, text, result, __VA_ARGS__)
#define UNWRAP(...) __VA_ARGS__

/* ROW(result, parameters...), by tags. One a line. */
#define ROW(result, ...) ROW_(LINE(row), #result "(" #__VA_ARGS__ ")", result, __VA_ARGS__)
#define ROW_VOID(...) ROW_VOID_(LINE(row), __VA_ARGS__)
/* ROW_VARIADIC(result, the one named parameter, arguments...) */
#define ROW_VARIADIC(result, fixed, ...) \
	ROW_VARIADIC_(LINE(row), #result "(" #fixed ", ...)(" #__VA_ARGS__ ")", result, fixed, __VA_ARGS__)
/* CONVERT(result, (parameters...), arguments...): the arguments are expressions of other types. */
#define CONVERT(result, tags, ...) CONVERT_(LINE(row), #result #tags, result, tags, __VA_ARGS__)
#define CONVERT_VARIADIC(result, fixed, tags, ...) \
	CONVERT_VARIADIC_(LINE(row), #result "(" #fixed ", ...)" #tags, result, fixed, tags, __VA_ARGS__)

/* Two rows for a type: one alone, and one among others that use the registers up. */
#define EVERY(tag) \
	ROW_(alone_##tag, #tag "(" #tag ")", tag, tag) \
	ROW_(crowd_##tag, #tag "(l, d, " #tag ", p, f, " #tag ", " #tag ", i, d, " #tag ", l)", \
		tag, l, d, tag, p, f, tag, tag, i, d, tag, l)

#endif
