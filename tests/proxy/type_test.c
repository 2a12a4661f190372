/*
 * Types: arenas, printing, comparing, and libffi's calls beside the compiler's.
 */
#include "cif.h"

#include <complex.h>
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "debug.h"
#include "prototype.h"

TestSuite(type, .timeout = 60);

static struct far__arena arena;
static struct far__complaint why;

static const struct far__type *parse(const char *text)
{
	const struct far__type *t = far__prototype(text, NULL, &arena, NULL, &why);

	cr_assert_not_null(t, "%s", why.text);
	return t;
}

/* ------------------------------------------------------------------- arenas */

static unsigned chunks;
static char *lowest, *highest;

static void *take(size_t size)
{
	char *p = malloc(size);

	chunks++;
	if (!lowest || p < lowest)
		lowest = p;
	if (p + size > highest)
		highest = p + size;
	return p;
}

static void give(void *chunk)
{
	chunks--;
	free(chunk);
}

Test(type, an_arena_gives_back_all_chunks)
{
	struct far__arena own = { .take = take, .give = give };

	for (size_t size = 0; size < 2000; size++) {
		char *p = far__arena_alloc(&own, size);

		cr_assert_not_null(p);
		cr_assert_eq((uintptr_t)p % 16, 0);
		for (size_t i = 0; i < size; i++)
			cr_assert_eq(p[i], 0);
		memset(p, 1, size);
	}
	cr_assert_gt(chunks, 1);
	far__arena_free(&own);
	cr_assert_eq(chunks, 0);
	cr_assert_not_null(far__arena_alloc(&own, 1));
	far__arena_free(&own);
}

Test(type, an_arena_keeps_to_its_limit)
{
	struct far__arena own = { .take = take, .give = give, .limit = 10000 };

	while (far__arena_alloc(&own, 100))
		;
	cr_assert_leq(own.taken, 10000);
	cr_assert_null(far__arena_alloc(&own, SIZE_MAX));
	far__arena_free(&own);
	cr_assert_null(far__arena_alloc(&own, 10000));
	cr_assert_eq(chunks, 0);
}

/* ----------------------------------------------------------------- printing */

Test(type, what_has_no_room_is_cut)
{
	char text[8] = "xxxxxxx";

	cr_assert_eq(far__type_print(parse("int f(int)"), "f", text, sizeof text), 10);
	cr_assert_str_eq(text, "int f(i");
	cr_assert_eq(far__type_print(parse("int f(int)"), "f", NULL, 0), 10);
}

Test(type, a_damaged_graph_can_be_printed_and_compared)
{
	struct far__type p = { .kind = FAR_POINTER, .size = 8, .alignment = 8, .target = &p, .is_complete = true };
	struct far__type f = { .kind = FAR_FUNCTION, .target = &f, .is_complete = true };
	char text[1000];

	far__type_print(&p, "p", text, sizeof text);
	cr_assert_not_null(strstr(text, "..."));
	far__type_print(&f, "f", text, sizeof text);
	cr_assert(far__type_same(&p, &p));
	cr_assert_not(far__type_same(&p, &f));
}

/* ---------------------------------------------------------------- comparing */

Test(type, same_is_what_can_be_used_for_each_other)
{
	static const struct {
		const char *a, *b;
		bool same;
	} cases[] = {
		{ "int f(int)", "int g(int x)", true },
		{ "int f(int)", "int f(unsigned)", false },
		{ "int f(int)", "long f(int)", false },
		{ "int f(long)", "int f(long long)", true },
		{ "int f(size_t)", "int f(unsigned long)", true },
		{ "int f(char *)", "int f(const char *)", true },
		{ "int f(int, ...)", "int f(int)", false },
		{ "int f(int, int)", "int f(int)", false },
		{ "int f(float)", "int f(int)", false },
		{ "int f(double)", "int f(float)", false },
		{ "int f(void *)", "int f(int *)", false },
		{ "int f(int **)", "int f(int *)", false },
		{ "int f(int (*)[3])", "int f(int (*)[4])", false },
		{ "int f(int (*)[3])", "int f(int (*)[])", true },
		{ "int f(struct a *)", "int f(struct a *)", true },
		{ "int f(struct a *)", "int f(struct b *)", false },
		{ "int f(struct a *)", "int f(union a *)", false },
		{ "int f(struct a { int x; } *)", "int f(struct a *)", true },
		{ "int f(struct a { int x; } *)", "int f(struct a { int y; } *)", false },
		{ "int f(struct a { int x; } *)", "int f(struct a { int x; } *)", true },
		{ "int f(struct a { int x; } *)", "int f(struct { int x; } *)", true },
		{ "int f(struct a { int x : 3; } *)", "int f(struct a { int x : 4; } *)", false },
		{ "int f(struct a { int x, y; } *)", "int f(struct a { int x; } *)", false },
		{ "int f(struct n { struct n *next; } *)", "int f(struct n { struct n *next; } *)", true },
		{ "int f(struct n { struct n *next; int i; } *)", "int f(struct n { struct n *next; float i; } *)", false },
		{ "int f(struct { void (*call)(int); } *)", "int f(struct { void (*call)(float); } *)", false },
	};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		const struct far__type *a = parse(cases[i].a), *b = parse(cases[i].b);

		cr_assert_eq(far__type_same(a, b), cases[i].same, "%s and %s", cases[i].a, cases[i].b);
		cr_assert_eq(far__type_same(b, a), cases[i].same, "%s and %s", cases[i].b, cases[i].a);
	}
}

Test(type, comparing_long_lists_needs_no_stack)
{
	enum { LENGTH = 200000 };
	struct far__type *last[2] = { NULL };

	for (int i = 0; i < LENGTH; i++)
		for (int k = 0; k < 2; k++)
			last[k] = far__type_pointer(&arena, last[k] ? last[k] : far__type_new(&arena, FAR_VOID), false);
	cr_assert(far__type_same(last[0], last[1]));
	cr_assert_not(far__type_same(last[0], last[1]->target));
}

/* -------------------------------------------------------------------- calls */

/*
 * For each way that a struct can be passed: a function that the compiler made takes
 * it between others, and gives it back with its bytes inverted where they are not padding.
 */
#define SHAPES(X) \
	X(one_char, struct { char a; }) \
	X(three_chars, struct { char a[3]; }) \
	X(five_chars, struct { char a[5]; }) \
	X(twelve_chars, struct { char a[12]; }) \
	X(shorts, struct { short a, b, c; }) \
	X(ints, struct { int a, b, c; }) \
	X(one_float, struct { float a; }) \
	X(three_floats, struct { float a, b, c; }) \
	X(four_floats, struct { float a[4]; }) \
	X(two_doubles, struct { double a, b; }) \
	X(three_doubles, struct { double a, b, c; }) \
	X(int_double, struct { long a; double b; }) \
	X(double_int, struct { double a; long b; }) \
	X(float_int, struct { float a; int b; }) \
	X(floats_int, struct { float a, b; int c; }) \
	X(nested, struct { struct { float a, b; } x; struct { int c; } y; int z; }) \
	X(pointers, struct { void *a, *b; }) \
	X(large, struct { long a[5]; }) \
	X(large_chars, struct { char a[100]; }) \
	X(one_long_double, struct { long double a; }) \
	X(long_double_int, struct { long double a; long b, c; }) \
	X(complex_float, struct { float _Complex a; }) \
	X(complex_double, struct { double _Complex a; }) \
	X(union_float, union { float a; }) \
	X(union_int_float, union { int a; float b; }) \
	X(union_double, union { double a; float b; }) \
	X(union_chars, union { char a[16]; double b; }) \
	X(union_twelve, union { char a[12]; float b; }) \
	X(union_floats, union { float a[3]; struct { float b, c; } d; }) \
	X(union_large, union { char a[40]; double b; }) \
	X(union_within, struct { int x; union { float a[2]; int b; } u; float c; }) \
	X(bit_fields, struct { unsigned a : 7; unsigned b : 25; unsigned c : 32; }) \
	X(bits_and_double, struct { unsigned long a : 40; unsigned long b : 24; double c; })

#define DEFINE(name, ...) \
	typedef __VA_ARGS__ name##_t; \
	static name##_t pass_##name(int before, name##_t value, double behind) \
	{ \
		name##_t result; \
		\
		cr_assert_eq(before, 17); \
		cr_assert_eq(behind, 2.5); \
		memcpy(&result, &value, sizeof result); \
		for (size_t i = 0; i < sizeof result; i++) \
			((unsigned char *)&result)[i] ^= 1; \
		return result; \
	}
SHAPES(DEFINE)
#undef DEFINE

static void try_shape(const char *name, const char *definition, void (*function)(void), size_t size, size_t padding)
{
	unsigned char value[128], result[128] = { 0 };
	int before = 17;
	double behind = 2.5;
	void *argument[] = { &before, value, &behind };
	char text[512];
	ffi_cif cif;

	for (size_t i = 0; i < size; i++)
		value[i] = (unsigned char)(0x40 + i % 32);
	snprintf(text, sizeof text, "%.*s s { %s f(int, %s s, double)", (int)strcspn(definition, " {"), definition,
		 strchr(definition, '{') + 1, *definition == 's' ? "struct" : "union");
	const struct far__type *t = parse(text);

	cr_assert_eq(t->target->size, size, "%s", name);
	cr_assert(far__cif(&cif, t, NULL, 0, NULL, &arena, &why), "%s: %s", name, why.text);
	ffi_call(&cif, function, result, argument);
	for (size_t i = 0; i < size - padding; i++)
		cr_assert_eq(result[i], value[i] ^ 1, "%s: byte %zu", name, i);
}

Test(type, structs_are_passed_as_the_compiler_passes_them)
{
#define TRY(name, ...) try_shape(#name, #__VA_ARGS__, (void (*)(void))pass_##name, sizeof(name##_t), \
				 strstr(#name, "long_double") ? sizeof(name##_t) - 10 : 0);
	SHAPES(TRY)
#undef TRY
}

static long double scale(long double a, float b, char c, _Bool d, double _Complex e)
{
	return a * b + c + d + cimagl(e);
}

Test(type, scalars_are_passed_as_the_compiler_passes_them)
{
	long double a = 1.5L, result;
	float b = 2;
	char c = 3;
	_Bool d = true;
	double _Complex e = 4 + 5 * I;
	void *argument[] = { &a, &b, &c, &d, &e };
	ffi_cif cif;

	cr_assert(far__cif(&cif, parse("long double f(long double, float, char, _Bool, double _Complex)"), NULL, 0, NULL, &arena, &why), "%s", why.text);
	ffi_call(&cif, (void (*)(void))scale, &result, argument);
	cr_assert_eq(result, 12);
}

__extension__ typedef __int128 wide_t;

static wide_t widen(int a, wide_t b)
{
	return b * a;
}

Test(type, an_int128_is_passed_in_two_words)
{
	wide_t b = (wide_t)1 << 70, result;
	int a = 3;
	void *argument[] = { &a, &b };
	ffi_cif cif;

	cr_assert(far__cif(&cif, parse("__int128 f(int, __int128)"), NULL, 0, NULL, &arena, &why), "%s", why.text);
	ffi_call(&cif, (void (*)(void))widen, &result, argument);
	cr_assert(result == 3 * b);
}

Test(type, a_variadic_call_promotes_as_c_does)
{
	const struct far__type *f = parse("int f(char *, unsigned long, const char *, ...)");
	const struct far__type *types = parse("void f(double, int, char *, float, char)");
	const struct far__type *extra[5];
	char text[64], *s = text;
	const char *string = "end";
	unsigned long size = sizeof text;
	const char *format = "%g %d %s %g %c";
	double d = 1.5, promoted = 2.5;
	int i = 7, c = 'c';
	void *argument[] = { &s, &size, &format, &d, &i, &string, &promoted, &c };
	ffi_arg result;
	ffi_cif cif;

	for (int k = 0; k < 5; k++)
		extra[k] = types->member[k].type;
	cr_assert(far__cif(&cif, f, extra, 5, NULL, &arena, &why), "%s", why.text);
	ffi_call(&cif, (void (*)(void))snprintf, &result, argument);
	cr_assert_str_eq(text, "1.5 7 end 2.5 c");
}

Test(type, refuses_calls_that_libffi_cannot_make)
{
	static const char *const refused[][2] = {
		{ "int f(union { long double a; int b; } u)", "union with a long double" },
		{ "int f(FILE *, union { long double a; long double b; } u)", "union with a long double" },
	};
	struct far__type odd = { .kind = FAR_STRUCT, .is_complete = true, .size = 12, .alignment = 8, .name = "odd" };
	struct far__type aligned = { .kind = FAR_STRUCT, .is_complete = true, .size = 64, .alignment = 64, .name = "aligned" };
	struct far__type integer = { .kind = FAR_INTEGER, .is_complete = true, .size = 4, .alignment = 4, .name = "int" };
	struct far__field member[] = { { .name = "c", .type = &integer, .offset = 1 } };
	struct far__type packed = {
		.kind = FAR_STRUCT, .is_complete = true, .size = 5, .alignment = 1, .name = "packed", .count = 1, .member = member,
	};
	struct far__type unknown = { .kind = FAR_STRUCT, .name = "unknown", .is_tag = true };
	struct far__type empty = { .kind = FAR_STRUCT, .is_complete = true, .alignment = 1 };
	struct far__type padding = { .kind = FAR_STRUCT, .is_complete = true, .size = 16, .alignment = 16, .count = 1, .member = member };
	ffi_cif cif;

	for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
		cr_assert_not(far__cif(&cif, parse(refused[i][0]), NULL, 0, NULL, &arena, &why));
		cr_assert_not_null(strstr(why.text, refused[i][1]), "%s", why.text);
	}
#define REFUSED(type, word) do { \
	cr_assert_null(far__type_ffi(&type, &arena, &why), #type); \
	cr_assert_not_null(strstr(why.text, word), "%s", why.text); \
} while (0)
	REFUSED(odd, "alignment");
	REFUSED(aligned, "alignment");
	REFUSED(packed, "packed");
	REFUSED(unknown, "struct unknown cannot be passed: what is in it is not known");
	REFUSED(empty, "empty");
	member[0].offset = 0;
	REFUSED(padding, "padding");
#undef REFUSED
	cr_assert_not(far__cif(&cif, parse("int f(int)"), (const struct far__type *[]){ &integer }, 1, NULL, &arena, &why));
	cr_assert_not_null(strstr(why.text, "no more arguments"), "%s", why.text);
	cr_assert_not(far__cif(&cif, &integer, NULL, 0, NULL, &arena, &why));
	cr_assert_not_null(strstr(why.text, "no function"), "%s", why.text);
}

/* --------------------------------------------------------------- graphs */

static void check_inside(const void *p)
{
	cr_assert(!p || ((const char *)p >= lowest && (const char *)p < highest));
}

Test(type, a_graph_points_to_nothing_outside_its_arena)
{
	struct far__arena own = { .take = take, .give = give };
	char text[] = "struct list { struct list *next; struct { int a, b; } x; } *f(size_t n, int (*call)(char *name))";
	const struct far__type *t = far__prototype(text, NULL, &own, NULL, &why);

	cr_assert_not_null(t, "%s", why.text);
	memset(text, '?', sizeof text - 1);
	check_inside(t);
	for (uint64_t i = 0; i < t->count; i++) {
		check_inside(t->member[i].name);
		check_inside(t->member[i].type);
		check_inside(t->member[i].type->name);
	}
	check_inside(t->target->target->name);
	cr_assert_str_eq(t->member[0].type->name, "size_t");
	far__arena_free(&own);
}
