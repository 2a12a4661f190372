/*
 * Types from debug information: the same from the fixture in each way it is compiled.
 */
#include "debug.h"

#include <criterion/criterion.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fixture.h"

TestSuite(debug, .timeout = 120);

/* All that have debug information, somewhere. Those that were not made here are left out. */
static const char *const variants[] = {
	"gcc5", "gcc4", "units", "units5", "packed", "lto", "clang5", "clang4", "linked", "beside",
};
enum { VARIANTS = sizeof variants / sizeof *variants };

static char path[PATH_MAX];

/* The fixture's path, or NULL if it was not made. */
static const char *module(const char *variant)
{
	snprintf(path, sizeof path, "%s%s.so", FIXTURES, variant);
	return access(path, R_OK) ? NULL : path;
}

static struct far__arena arena;
static struct far__complaint why;

#define ASSERT_PRINTS(of_, name_, expected) do { \
	const struct far__type *t_ = (of_); \
	char text_[4096]; \
	cr_assert_not_null(t_, "%s", why.text); \
	far__type_print(t_, name_, text_, sizeof text_); \
	cr_assert_str_eq(text_, expected, "%s: %s", path, text_); \
} while (0)

static const struct far__type *variable(const char *file, int number)
{
	void *library = dlopen(file, RTLD_NOW);
	struct far__place place;

	cr_assert_not_null(library, "%s", dlerror());
	fixture_address *address = (fixture_address *)(uintptr_t)dlsym(library, "fixture_variable");

	cr_assert(far__debug_place(address(number), &place, &why), "%s", why.text);
	const struct far__type *t = far__debug_variable(&place, &arena, &why);

	cr_assert_not_null(t, "%s, %d: %s", file, number, why.text);
	return t;
}

#define ASSERT_MEMBER(in_, struct_, member_, declared) do { \
	uint64_t offset_; \
	const struct far__field *m_ = far__type_member(in_, #member_, &offset_); \
	cr_assert_not_null(m_, "%s: no %s", path, #member_); \
	cr_assert_eq(offset_, offsetof(struct_, member_), "%s: %s", path, #member_); \
	cr_assert_eq(m_->type->size, sizeof(((struct_ *)NULL)->member_), "%s: %s", path, #member_); \
	cr_assert_eq(m_->type->alignment, __alignof__(((struct_ *)NULL)->member_), "%s: %s", path, #member_); \
	ASSERT_PRINTS(m_->type, #member_, declared); \
} while (0)

#define ASSERT_SIZE(of_, struct_) do { \
	cr_assert((of_)->is_complete, "%s", path); \
	cr_assert_eq((of_)->size, sizeof(struct_), "%s: %s", path, #struct_); \
	cr_assert_eq((of_)->alignment, __alignof__(struct_), "%s: %s", path, #struct_); \
} while (0)

Test(debug, knows_static_variables_wherever_they_are_declared)
{
	static const char *const expected[VARIABLES] = {
		[SHAPE] = "struct shape *v",
		[POINT] = "point_t *v",
		[PACKED] = "struct packed *v",
		[BITS] = "struct bits *v",
		[ANY] = "union any *v",
		[FLEXIBLE] = "struct flexible *v",
		[ANONYMOUS] = "struct anonymous *v",
		[NUMBERS] = "struct numbers *v",
		[VECTORS] = "struct vectors *v",
		[HIDDEN] = "struct hidden *v",
		[FUNCTION] = "double (*v)(struct shape *, int)",
		[WITHIN] = "struct node **v",
		[BLOCK] = "const char *v[4]",
		[INLINED] = "enum level *v",
		[MORE] = "struct hidden *v",
	};

	for (int i = 0; i < VARIANTS; i++)
		for (int v = 0; module(variants[i]) && v < VARIABLES; v++)
			ASSERT_PRINTS(variable(path, v), "v", expected[v]);
}

Test(debug, knows_the_variables_of_the_program_itself)
{
	static struct { short s; struct node *first; } *own;
	struct far__place place;

	cr_assert(far__debug_place(&own, &place, &why), "%s", why.text);
	ASSERT_PRINTS(far__debug_variable(&place, &arena, &why), "own", "struct { short s; struct node *first; } *own");
}

Test(debug, tells_members_as_the_compiler_placed_them)
{
	for (int i = 0; i < VARIANTS; i++) {
		if (!module(variants[i]))
			continue;
		const struct far__type *t = variable(path, NUMBERS)->target;

		ASSERT_SIZE(t, struct numbers);
		ASSERT_MEMBER(t, struct numbers, c, "char c");
		ASSERT_MEMBER(t, struct numbers, sc, "signed char sc");
		ASSERT_MEMBER(t, struct numbers, uc, "unsigned char uc");
		ASSERT_MEMBER(t, struct numbers, s, "short s");
		ASSERT_MEMBER(t, struct numbers, us, "unsigned short us");
		ASSERT_MEMBER(t, struct numbers, l, "long l");
		ASSERT_MEMBER(t, struct numbers, ul, "unsigned long ul");
		ASSERT_MEMBER(t, struct numbers, ll, "long long ll");
		ASSERT_MEMBER(t, struct numbers, b, "_Bool b");
		ASSERT_MEMBER(t, struct numbers, ld, "long double ld");
		ASSERT_MEMBER(t, struct numbers, matrix, "int matrix[2][3]");
		ASSERT_MEMBER(t, struct numbers, many, "char many[200]");
		ASSERT_MEMBER(t, struct numbers, color, "enum color color");
		ASSERT_MEMBER(t, struct numbers, level, "enum level level");
		ASSERT_MEMBER(t, struct numbers, pointer, "void *pointer");
		ASSERT_MEMBER(t, struct numbers, v, "int *v");
		ASSERT_MEMBER(t, struct numbers, aligned, "struct { int i; } aligned");

		uint64_t offset;

		cr_assert(far__type_member(t, "level", &offset)->type->is_signed);
		cr_assert_not(far__type_member(t, "color", &offset)->type->is_signed);
		cr_assert(far__type_member(t, "c", &offset)->type->is_char);
		cr_assert_not(far__type_member(t, "sc", &offset)->type->is_char);
		cr_assert(far__type_member(t, "pointer", &offset)->is_const);
		cr_assert_eq(far__type_member(t, "fc", &offset)->type->kind, FAR_COMPLEX);
		cr_assert_eq(far__type_member(t, "dc", &offset)->type->size, sizeof(double complex));
		cr_assert_eq(far__type_member(t, "wide", &offset)->type->size, 16);
	}
}

Test(debug, follows_pointers_to_themselves)
{
	for (int i = 0; i < VARIANTS; i++) {
		if (!module(variants[i]))
			continue;
		const struct far__type *t = variable(path, SHAPE)->target;
		uint64_t offset;

		ASSERT_SIZE(t, struct shape);
		ASSERT_MEMBER(t, struct shape, area, "double (*area)(struct shape *)");
		ASSERT_MEMBER(t, struct shape, nodes, "const struct node *nodes");
		ASSERT_MEMBER(t, struct shape, name, "char name[16]");
		cr_assert_eq(far__type_member(t, "area", &offset)->type->target->member[0].type->target, t);
		t = far__type_member(t, "nodes", &offset)->type->target;
		ASSERT_SIZE(t, struct node);
		cr_assert_eq(far__type_member(t, "next", &offset)->type->target, t);
	}
}

Test(debug, tells_packed_structs_bit_fields_and_unions)
{
	for (int i = 0; i < VARIANTS; i++) {
		if (!module(variants[i]))
			continue;
		const struct far__type *t = variable(path, PACKED)->target;

		ASSERT_SIZE(t, struct packed);
		cr_assert_eq(t->member[1].offset, 1);
		t = variable(path, ANY)->target;
		ASSERT_SIZE(t, union any);
		ASSERT_MEMBER(t, union any, text, "char text[12]");
		t = variable(path, BITS)->target;
		ASSERT_SIZE(t, struct bits);

		static const uint32_t bits[][2] = { { 0, 3 }, { 3, 7 }, { 32, 30 }, { 62, 1 }, { 64, 40 } };

		for (int m = 0; m < 5; m++) {
			cr_assert_eq(t->member[m].offset * 8 + t->member[m].bit_offset, bits[m][0], "%s: %d", path, m);
			cr_assert_eq(t->member[m].bit_size, bits[m][1], "%s: %d", path, m);
		}
	}
}

Test(debug, finds_members_of_anonymous_members)
{
	for (int i = 0; i < VARIANTS; i++) {
		if (!module(variants[i]))
			continue;
		const struct far__type *t = variable(path, ANONYMOUS)->target;

		ASSERT_SIZE(t, struct anonymous);
		ASSERT_MEMBER(t, struct anonymous, i, "int i");
		ASSERT_MEMBER(t, struct anonymous, g, "float g");
		ASSERT_MEMBER(t, struct anonymous, named, "struct { short s; } named");
		t = variable(path, FLEXIBLE)->target;
		ASSERT_SIZE(t, struct flexible);
		cr_assert_eq(t->member[1].type->count, 0);
		cr_assert_eq(t->member[1].offset, offsetof(struct flexible, point));
	}
}

Test(debug, completes_a_struct_that_another_file_defines)
{
	for (int i = 0; i < VARIANTS; i++) {
		if (!module(variants[i]))
			continue;
		const struct far__type *t = variable(path, HIDDEN)->target;

		cr_assert(t->is_complete, "%s", path);
		cr_assert_eq(t->count, 2);
		ASSERT_PRINTS(t->member[1].type, "where", "point_t where");
	}
}

Test(debug, knows_that_vectors_cannot_be_passed)
{
	for (int i = 0; i < VARIANTS; i++) {
		if (!module(variants[i]))
			continue;
		const struct far__type *t = variable(path, VECTORS)->target;

		ASSERT_SIZE(t, struct vectors);
		cr_assert_not(t->member[0].type->is_complete);
	}
}

/* It is told of the struct, or of the member. */
Test(debug, tells_alignments_that_were_asked_for)
{
	for (int i = 0; i < VARIANTS; i++) {
		if (!module(variants[i]))
			continue;
		const struct far__type *f = far__debug_function(path, "fixture_aligned", &arena, &why);

		cr_assert(f, "%s: %s", path, why.text);
		ASSERT_SIZE(f->member[0].type, struct aligned);
		ASSERT_SIZE(f->member[1].type, struct packed_and_aligned);
	}
}

Test(debug, knows_functions_by_name)
{
	static const char *const expected[][2] = {
		{ "fixture_add", "point_t fixture_add(point_t a, const point_t *b)" },
		{ "fixture_print", "int fixture_print(const char *format, ...)" },
		{ "fixture_find", "const struct node *fixture_find(struct node *first, const char *text, enum color color)" },
		{ "fixture_table", "char (*fixture_table(int (*compare)(const void *, const void *), size_t n))[3]" },
		{ "fixture_nothing", "void fixture_nothing(void)" },
		{ "fixture_sum", "double fixture_sum(struct packed p, union any u, struct bits b)" },
		{ "fixture_open", "int fixture_open(struct hidden *h, int times)" },
		{ "a_function", "int a_function(int a)" },
		{ "b_function", "int b_function(int a)" },
	};

	for (int i = 0; i < VARIANTS; i++)
		for (unsigned f = 0; module(variants[i]) && f < sizeof expected / sizeof *expected; f++)
			ASSERT_PRINTS(far__debug_function(path, expected[f][0], &arena, &why), expected[f][0], expected[f][1]);
}

Test(debug, knows_named_types)
{
	for (int i = 0; i < VARIANTS; i++) {
		if (!module(variants[i]))
			continue;
		ASSERT_PRINTS(far__debug_type(path, "struct shape", &arena, &why), "t", "struct shape t");
		ASSERT_PRINTS(far__debug_type(path, "point_t", &arena, &why), "t", "point_t t");
		ASSERT_PRINTS(far__debug_type(path, "union any", &arena, &why), "t", "union any t");
		ASSERT_PRINTS(far__debug_type(path, "size_t", &arena, &why), "t", "size_t t");
		ASSERT_PRINTS(far__debug_type(path, "enum level", &arena, &why), "t", "enum level t");
		cr_assert(far__debug_type(path, "struct hidden", &arena, &why)->is_complete);
	}
}

Test(debug, takes_a_type_from_another_loaded_module)
{
	/* This program has no struct hidden. */
	cr_assert_not_null(dlopen(module("gcc5"), RTLD_NOW));
	ASSERT_PRINTS(far__debug_type("/proc/self/exe", "struct hidden", &arena, &why), "t", "struct hidden t");
}

static bool count_function(void *arg, const char *name, const struct far__type *type)
{
	cr_assert_eq(type->kind, FAR_FUNCTION);
	cr_assert(!strncmp(name, "fixture_", 8) || !strcmp(name, "a_function"), "%s", name);
	return ++*(int *)arg < 100;
}

static bool stop_at_first(void *arg, const char *name, const struct far__type *type)
{
	return count_function(arg, name, type) && false;
}

Test(debug, lists_the_functions_of_a_module)
{
	for (int i = 0; i < VARIANTS; i++) {
		int n = 0;

		if (!module(variants[i]))
			continue;
		cr_assert(far__debug_functions(path, count_function, &n, &why), "%s", why.text);
		cr_assert_eq(n, 11, "%s: %d", path, n);
		n = 0;
		cr_assert(far__debug_functions(path, stop_at_first, &n, &why));
		cr_assert_eq(n, 1);
	}
}

Test(debug, the_same_type_is_the_same_in_each_variant)
{
	const struct far__type *first[VARIABLES] = { NULL };

	for (int i = 0; i < VARIANTS; i++)
		for (int v = 0; module(variants[i]) && v < VARIABLES; v++) {
			const struct far__type *t = variable(path, v);

			if (!first[v])
				first[v] = t;
			cr_assert(far__type_same(first[v], t), "%s: %d", path, v);
			cr_assert_eq(far__type_same(first[0], t), v == 0, "%s: %d", path, v);
		}
}

Test(debug, the_graph_points_to_nothing_outside_its_arena)
{
	cr_assert_not_null(module("gcc5"));
	const struct far__type *t = variable(path, NUMBERS);

	far__debug_forget();
	dlclose(dlopen(path, RTLD_NOW));
	ASSERT_PRINTS(t->target->member[0].type, t->target->member[0].name, "_Bool b");
	far__arena_free(&arena);
}

Test(debug, says_what_is_missing)
{
	cr_assert_null(far__debug_type(module("none"), "struct shape", &arena, &why));
	cr_assert_not_null(strstr(why.text, "no debug information"), "%s", why.text);
	cr_assert_not_null(strstr(why.text, "-g"), "%s", why.text);
	cr_assert_null(far__debug_type(module("split"), "struct shape", &arena, &why));
	cr_assert_not_null(strstr(why.text, ".dwo files"), "%s", why.text);
	cr_assert_null(far__debug_function(module("gcc5"), "fixture_missing", &arena, &why));
	cr_assert_not_null(strstr(why.text, "no function fixture_missing"), "%s", why.text);
	cr_assert_null(far__debug_type(module("gcc5"), "struct missing", &arena, &why));
	cr_assert_not_null(strstr(why.text, "struct missing is not defined"), "%s", why.text);
	cr_assert_null(far__debug_type("/missing/module", "int_t", &arena, &why));
	cr_assert_not_null(strstr(why.text, "cannot be read"), "%s", why.text);
	cr_assert_null(far__debug_type("/dev/null", "int_t", &arena, &why));
	cr_assert_not_null(strstr(why.text, "no program and no library"), "%s", why.text);

	struct far__place place;

	cr_assert_not(far__debug_place(&place, &place, &why));
	cr_assert_not_null(strstr(why.text, "in no program and no library"), "%s", why.text);
	snprintf(place.module, sizeof place.module, "%s", module("gcc5"));
	place.address = 1;
	cr_assert_null(far__debug_variable(&place, &arena, &why));
	cr_assert_not_null(strstr(why.text, "no variable at 0x1"), "%s", why.text);
}

Test(debug, tells_types_that_cannot_be)
{
	static const char *const expected[][2] = {
		{ "self", "a typedef of itself" },
		{ "first", "a typedef of itself" },
		{ "struct within", "contains it" },
		{ "struct outer", "contains it" },
		{ "nested", "nested too deep" },
		{ "huge", "an array's size" },
		{ "struct small", "a member's offset" },
		{ "nowhere", "a type that is not there" },
	};

	cr_assert_not_null(module("cycles"));
	for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
		cr_assert_null(far__debug_type(path, expected[i][0], &arena, &why), "%s", expected[i][0]);
		cr_assert_not_null(strstr(why.text, expected[i][1]), "%s: %s", expected[i][0], why.text);
	}
}

Test(debug, ends_where_the_arena_does)
{
	struct far__arena small = { .limit = 2048 };

	cr_assert_null(far__debug_type(module("gcc5"), "struct numbers", &small, &why));
	cr_assert_not_null(strstr(why.text, "no memory"), "%s", why.text);
	far__arena_free(&small);
}
