/*
 * Prototypes as text: what they become, and what is said of wrong ones.
 */
#include "prototype.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TestSuite(prototype, .timeout = 60);

static struct far__arena arena;
static struct far__complaint why;

/* What a program's debug information would know. */
static const struct far__type *find(void *arg, const char *name)
{
	static const struct far__type number = { .kind = FAR_FLOAT, .is_complete = true, .size = 8, .alignment = 8, .name = "number_t" };
	static const struct far__type color = { .kind = FAR_ENUM, .is_complete = true, .is_tag = true, .size = 4, .alignment = 4, .name = "color" };
	static const struct far__field member[] = { { .name = "x", .type = &number } };
	static const struct far__type point = {
		.kind = FAR_STRUCT, .is_complete = true, .is_tag = true, .size = 8, .alignment = 8, .name = "point", .count = 1, .member = member,
	};

	++*(int *)arg;
	return !strcmp(name, "number_t") ? &number : !strcmp(name, "enum color") ? &color : !strcmp(name, "struct point") ? &point : NULL;
}

static int asked;
static const struct far__names names = { find, &asked };

static const struct far__type *parse(const char *text, const char **name)
{
	return far__prototype(text, &names, &arena, name, &why);
}

/* ------------------------------------------------------------------ right */

static const struct {
	const char *text, *printed;
} right[] = {
	{ "double pow(double, double)", "double pow(double, double)" },
	{ "double pow(double x, double y);", "double pow(double x, double y)" },
	{ "int qsort_r(void *base, size_t n, size_t, int (*cmp)(const void *, const void *, void *), void *)",
	  "int qsort_r(void *base, size_t n, size_t, int (*cmp)(const void *, const void *, void *), void *)" },
	{ "struct point { double x, y; } add(struct point a, const struct point *b)",
	  "struct point add(struct point a, const struct point *b)" },
	{ "char *(*f(int))[3]", "char *(*f(int))[3]" },
	{ "int printf(const char *, ...)", "int printf(const char *, ...)" },
	{ "int printf(const char *format, ...) __attribute__((format(printf, 1, 2)));",
	  "int printf(const char *format, ...)" },
	{ "void f(void)", "void f(void)" },
	{ "void f()", "void f(void)" },
	{ "void (*signal(int sig, void (*func)(int)))(int)", "void (*signal(int sig, void (*func)(int)))(int)" },
	{ "char *strchr(const char *s, int c)", "char *strchr(const char *s, int c)" },
	{ "int f(int a[3])", "int f(int *a)" },
	{ "int f(int a[static 3])", "int f(int *a)" },
	{ "int f(int a[const static 3])", "int f(int *a)" },
	{ "int f(int a[static const restrict 3])", "int f(int *a)" },
	{ "int f(int n, int a[n])", "int f(int n, int *a)" },
	{ "int f(int n, int a[*])", "int f(int n, int *a)" },
	{ "int f(int n, int a[n][3])", "int f(int n, int (*a)[3])" },
	{ "int f(int [])", "int f(int *)" },
	{ "int f(int [][3])", "int f(int (*)[3])" },
	{ "int f(int [2][3][4])", "int f(int (*)[3][4])" },
	{ "int f(const char *const argv[])", "int f(const char *const *argv)" },
	{ "int f(char *argv[], char **envp)", "int f(char **argv, char **envp)" },
	{ "int f(const int a[4])", "int f(const int *a)" },
	{ "int f(int cb(int))", "int f(int (*cb)(int))" },
	{ "int f(int (cb)(int))", "int f(int (*cb)(int))" },
	{ "int f(int (*cb)(int, ...))", "int f(int (*cb)(int, ...))" },
	{ "int f(int (*table[4])(void))", "int f(int (**table)(void))" },
	{ "int (*f(void))(int)", "int (*f(void))(int)" },
	{ "int (*(*f(void))(int))(char)", "int (*(*f(void))(int))(char)" },
	{ "unsigned f(unsigned)", "unsigned int f(unsigned int)" },
	{ "unsigned long long int f(void)", "unsigned long long f(void)" },
	{ "long unsigned int long f(void)", "unsigned long long f(void)" },
	{ "int long long unsigned f(void)", "unsigned long long f(void)" },
	{ "long long f(void)", "long long f(void)" },
	{ "int long f(void)", "long f(void)" },
	{ "short f(void)", "short f(void)" },
	{ "short int unsigned f(void)", "unsigned short f(void)" },
	{ "signed f(void)", "int f(void)" },
	{ "signed char f(void)", "signed char f(void)" },
	{ "char signed f(void)", "signed char f(void)" },
	{ "unsigned char f(char, signed char, unsigned char)",
	  "unsigned char f(char, signed char, unsigned char)" },
	{ "signed long f(void)", "long f(void)" },
	{ "long signed int f(void)", "long f(void)" },
	{ "long double f(long double)", "long double f(long double)" },
	{ "double long f(void)", "long double f(void)" },
	{ "float f(float)", "float f(float)" },
	{ "_Complex double f(double _Complex)", "double _Complex f(double _Complex)" },
	{ "float _Complex f(void)", "float _Complex f(void)" },
	{ "long double _Complex f(void)", "long double _Complex f(void)" },
	{ "double complex f(double complex z)", "double _Complex f(double _Complex z)" },
	{ "__int128 f(unsigned __int128)", "__int128 f(unsigned __int128)" },
	{ "_Bool f(bool)", "_Bool f(bool)" },
	{ "int8_t f(int16_t, int32_t, int64_t)", "int8_t f(int16_t, int32_t, int64_t)" },
	{ "uint8_t f(uint16_t, uint32_t, uint64_t)", "uint8_t f(uint16_t, uint32_t, uint64_t)" },
	{ "size_t f(ssize_t, ptrdiff_t, intptr_t, uintptr_t)",
	  "size_t f(ssize_t, ptrdiff_t, intptr_t, uintptr_t)" },
	{ "off_t lseek(int fd, off_t offset, int whence)", "off_t lseek(int fd, off_t offset, int whence)" },
	{ "pid_t fork(void)", "pid_t fork(void)" },
	{ "time_t time(time_t *t)", "time_t time(time_t *t)" },
	{ "wchar_t *wcscpy(wchar_t *restrict dest, const wchar_t *restrict src)",
	  "wchar_t *wcscpy(wchar_t *dest, const wchar_t *src)" },
	{ "FILE *fopen(const char *path, const char *mode)", "FILE *fopen(const char *path, const char *mode)" },
	{ "int fputs(const char *restrict s, FILE *restrict stream)", "int fputs(const char *s, FILE *stream)" },
	{ "DIR *opendir(const char *name)", "DIR *opendir(const char *name)" },
	{ "mode_t umask(mode_t mask)", "mode_t umask(mode_t mask)" },
	{ "extern int f(int)", "int f(int)" },
	{ "static int f(int)", "int f(int)" },
	{ "static inline int f(int)", "int f(int)" },
	{ "inline int f(int)", "int f(int)" },
	{ "extern inline __attribute__((always_inline)) int f(int)", "int f(int)" },
	{ "_Noreturn void exit(int status)", "void exit(int status)" },
	{ "__extension__ long long f(void)", "long long f(void)" },
	{ "int f(char *__restrict p, const char *__restrict__ q)", "int f(char *p, const char *q)" },
	{ "extern void *malloc (size_t __size) __attribute__ ((__nothrow__ , __leaf__)) __attribute__ ((__malloc__));",
	  "void *malloc(size_t __size)" },
	{ "__attribute__((pure)) int f(int)", "int f(int)" },
	{ "int __attribute__((pure)) f(int)", "int f(int)" },
	{ "int f(int x __attribute__((unused)))", "int f(int x)" },
	{ "const char *f(void)", "const char *f(void)" },
	{ "char const *f(void)", "const char *f(void)" },
	{ "char *const f(void)", "char *f(void)" },
	{ "const char *const *f(const char *const *p)", "const char *const *f(const char *const *p)" },
	{ "char *const *f(void)", "char *const *f(void)" },
	{ "volatile int *f(volatile int *)", "int *f(int *)" },
	{ "int f(const int x)", "int f(const int x)" },
	{ "int f(register int x)", "int f(int x)" },
	{ "struct s *f(struct s *)", "struct s *f(struct s *)" },
	{ "struct s *f(const struct s *)", "struct s *f(const struct s *)" },
	{ "union u *f(union u *)", "union u *f(union u *)" },
	{ "void *f(void *, const void *)", "void *f(void *, const void *)" },
	{ "void **f(void ***)", "void **f(void ***)" },
	{ "int f(struct { int x; double y; } p)", "int f(struct { int x; double y; } p)" },
	{ "int f(struct { int x, y; char *name; } *p)", "int f(struct { int x; int y; char *name; } *p)" },
	{ "struct { int a; } f(void)", "struct { int a; } f(void)" },
	{ "union { int i; float f; } f(void)", "union { int i; float f; } f(void)" },
	{ "int f(union u { int i; double d; } v)", "int f(union u v)" },
	{ "int f(struct point { double x, y; } p, struct point q)", "int f(struct point p, struct point q)" },
	{ "struct node { struct node *next; int v; } *f(struct node *first)",
	  "struct node *f(struct node *first)" },
	{ "int f(struct { unsigned a : 3; unsigned b : 5; int : 0; int c; } p)",
	  "int f(struct { unsigned int a : 3; unsigned int b : 5; int c; } p)" },
	{ "int f(struct { unsigned a : 3, : 4, b : 1; } p)",
	  "int f(struct { unsigned int a : 3; unsigned int b : 1; } p)" },
	{ "int f(struct { int n; int data[]; } *p)", "int f(struct { int n; int data[]; } *p)" },
	{ "int f(struct { char name[16]; int grid[2][3]; } p)",
	  "int f(struct { char name[16]; int grid[2][3]; } p)" },
	{ "int f(struct { struct { int x; } inner; union { int i; float f; }; } p)",
	  "int f(struct { struct { int x; } inner; union { int i; float f; }; } p)" },
	{ "int f(struct s { int (*call)(struct s *, int); } *p)", "int f(struct s *p)" },
	{ "int f(struct { const char *s; char *const t; const int n; } p)",
	  "int f(struct { const char *s; char *const t; const int n; } p)" },
	{ "int f(struct { long double ld; _Bool b; _Complex float c; } p)",
	  "int f(struct { long double ld; _Bool b; float _Complex c; } p)" },
	{ "int f(int, int, int, int, int, int, int, int, int, int)",
	  "int f(int, int, int, int, int, int, int, int, int, int)" },
	{ "double (double, double)", "double (double, double)" },
	{ "int (void)", "int (void)" },
	{ "int (int)", "int (int)" },
	{ "int *(int)", "int *(int)" },
	{ "int f(int (*)(int))", "int f(int (*)(int))" },
	{ "int f(int (*)[3])", "int f(int (*)[3])" },
	{ "int f(int *[3])", "int f(int **)" },
	{ "int f(int *(*)[3])", "int f(int *(*)[3])" },
	{ "int f(int (*(*)(int))(void))", "int f(int (*(*)(int))(void))" },
	{ "int f(int (*const p)(int))", "int f(int (*const p)(int))" },
	{ "int (f)(int)", "int f(int)" },
	{ "int ((f))(int)", "int f(int)" },
	{ "int (*f(int a))[2]", "int (*f(int a))[2]" },
	{ "int (*(f)(int a))[2][3]", "int (*f(int a))[2][3]" },
	{ "  int   f  (  int   x  )  ;", "int f(int x)" },
	{ "int /* comment */ f(int /* x */) // end", "int f(int)" },
	{ "int f(int a[1 + 2])", "int f(int *a)" },
	{ "int f(int n, int a[n * (n + 1)])", "int f(int n, int *a)" },
	{ "int f(int a[0x10], int b[010][010])", "int f(int *a, int (*b)[8])" },
	{ "int f(int b[2u][3UL])", "int f(int (*b)[3])" },
	{ "void f(void (*)(void), void (*)(void))", "void f(void (*)(void), void (*)(void))" },
	{ "void *(*f(void *(*)(void *), void *))(void)", "void *(*f(void *(*)(void *), void *))(void)" },
	{ "clock_t clock(void)", "clock_t clock(void)" },
	{ "uid_t getuid(void)", "uid_t getuid(void)" },
	{ "int f(intmax_t, uintmax_t, int_fast16_t, uint_least8_t)",
	  "int f(intmax_t, uintmax_t, int_fast16_t, uint_least8_t)" },
	{ "int f(struct { short s; char c; } __attribute__((unused)) p)", "int f(struct { short s; char c; } p)" },
	{ "int f(int const const *)", "int f(const int *)" },
	{ "number_t f(enum color c)", "number_t f(enum color c)" },
	{ "struct point add(struct point a, const struct point *b)", "struct point add(struct point a, const struct point *b)" },
	{ "int f(number_t)", "int f(number_t)" },
	{ "int f(number_t number_t)", "int f(number_t number_t)" },
	{ "int f(int (number_t))", "int f(int (*)(number_t))" },
};

Test(prototype, prints_as_it_was_written)
{
	for (size_t i = 0; i < sizeof right / sizeof *right; i++) {
		const char *name;
		const struct far__type *t = parse(right[i].text, &name);
		char text[1024];

		cr_assert_not_null(t, "%s", why.text);
		far__type_print(t, name, text, sizeof text);
		cr_assert_str_eq(text, right[i].printed, "%s: %s", right[i].text, text);
	}
}

Test(prototype, what_was_printed_is_read_as_the_same_type)
{
	for (size_t i = 0; i < sizeof right / sizeof *right; i++) {
		const char *name;
		const struct far__type *t = parse(right[i].text, &name), *again;

		/* A struct's members are in the type, not in the text if it has a tag. */
		if (strchr(right[i].text, '{'))
			continue;
		again = parse(right[i].printed, &name);
		cr_assert_not_null(again, "%s", why.text);
		cr_assert(far__type_same(t, again), "%s", right[i].text);
	}
}

/* ------------------------------------------------------------------ wrong */

/* A '^' stands before the character that is wrong, and is not part of the text. */
static const struct {
	const char *marked, *message;
} wrong[] = {
	{ "^int (*(*f)(void))(int)", "this declares no function" },
	{ "int ^$f", "expected '(' and parameters, not '$'" },
	{ "^", "expected a type at the end" },
	{ "^int", "this declares no function" },
	{ "^int f", "this declares no function" },
	{ "int f(^", "expected a type at the end" },
	{ "int f(int^", "expected ',' or ')' at the end" },
	{ "int f(int,^", "expected a type at the end" },
	{ "int f(int,^)", "expected a type, not ')'" },
	{ "int f(int x ^y)", "expected ',' or ')', not 'y'" },
	{ "int f(^foo_t x)", "no type 'foo_t' is known" },
	{ "^foo_t f(void)", "no type 'foo_t' is known" },
	{ "int f(^void x)", "there is no value of type void" },
	{ "int f(^void, int)", "there is no value of type void" },
	{ "int f(int, ^void)", "there is no value of type void" },
	{ "int f(^...)", "a parameter must come before '...'" },
	{ "int f(int, ...^, int)", "expected ',' or ')', not ','" },
	{ "int f(int) ^{", "expected the end, not '{'" },
	{ "int f(int) ^int g(int)", "expected the end, not 'int'" },
	{ "int f(int);^;", "expected the end, not ';'" },
	{ "^int x[3]", "this declares no function" },
	{ "^int *p", "this declares no function" },
	{ "^int (*p)(int)", "this declares no function" },
	{ "^typedef int f(int)", "a function is wanted, not a typedef" },
	{ "int f(^va_list ap)", "a va_list cannot be passed: take '...' or the function's sister without v" },
	{ "int f(int a, ^__builtin_va_list ap)", "a va_list cannot be passed" },
	{ "^_Atomic int f(void)", "atomic types cannot be passed" },
	{ "int f(^_Atomic(int) x)", "atomic types cannot be passed" },
	{ "int f(^typeof(1) x)", "an expression's type is not known here" },
	{ "int f(^auto x)", "'auto' is no type" },
	{ "long long ^long f(void)", "'long' once too often" },
	{ "int ^int f(void)", "'int' once too often" },
	{ "^unsigned signed f(void)", "these words together are no type" },
	{ "^short long f(void)", "these words together are no type" },
	{ "^short double f(void)", "these words together are no type" },
	{ "^long float f(void)", "these words together are no type" },
	{ "^unsigned float f(void)", "these words together are no type" },
	{ "^unsigned char int f(void)", "these words together are no type" },
	{ "^long char f(void)", "these words together are no type" },
	{ "signed bool ^f(void)", "expected '(' and parameters, not 'f'" },
	{ "unsigned size_t ^f(void)", "expected '(' and parameters, not 'f'" },
	{ "^int char f(void)", "these words together are no type" },
	{ "^_Complex f(void)", "these words together are no type" },
	{ "^_Complex int f(void)", "these words together are no type" },
	{ "^struct s f(void)", "struct s is not known: only a pointer to it can be used" },
	{ "int f(^struct s s)", "struct s is not known: only a pointer to it can be used" },
	{ "int f(^union u)", "union u is not known: only a pointer to it can be used" },
	{ "int f(enum ^e x)", "enum e is not known" },
	{ "int f(enum ^{ A, B } x)", "an enum cannot be defined here" },
	{ "int f(struct s { int x; } a, struct ^s { int y; } b)", "struct s is defined already" },
	{ "int f(struct s { struct s ^x; } a)", "struct s is not known: only a pointer to it can be used" },
	{ "int f(struct ^{ } a)", "it has no members" },
	{ "int f(struct { int^; } a)", "expected a member's name, not ';'" },
	{ "int f(struct { int x ^} a)", "expected ';', not '}'" },
	{ "int f(struct { int x; ^a)", "no type 'a' is known" },
	{ "int f(struct { void ^x; } a)", "there is no value of type void" },
	{ "int f(struct { int ^x(void); } a)", "a function is no value" },
	{ "int f(struct { int ^a[]; int b; } *p)", "the size of this array is not known" },
	{ "int f(struct { int a : ^33; } p)", "a bit-field of this type has 1 to 32 bits" },
	{ "int f(struct { int a : ^0; } p)", "a bit-field of this type has 1 to 32 bits" },
	{ "int f(struct { double a ^: 3; } p)", "only an integer can be a bit-field" },
	{ "int f(struct { int a : ^x; } p)", "expected a number of bits, not 'x'" },
	{ "int f(struct { int x; } __attribute__((^packed)) a)",
	  "attributes that change layout or calls are not known here" },
	{ "int f(struct __attribute__((__^aligned__(32))) { int x; } a)",
	  "attributes that change layout or calls are not known here" },
	{ "int __attribute__((^ms_abi)) f(int)", "attributes that change layout or calls are not known here" },
	{ "int __attribute__ ^f(int)", "expected '((' behind __attribute__, not 'f'" },
	{ "int __attribute__^((pure f(int)", "this '(' is never closed" },
	{ "int f^(int)[3]", "a function cannot return an array" },
	{ "int f^(int)(int)", "a function cannot return a function" },
	{ "int f(void (*)(int)^[2])", "there is no value of type void" },
	{ "int f(int a[^3)", "expected a number of elements and ']'" },
	{ "int f(int a^[][])", "the size of this array is not known" },
	{ "int f(int a^[3][])", "the size of this array is not known" },
	{ "int f(int n, int a^[n][n])", "the size of this array is not known" },
	{ "int f(int a[^0])", "an array has at least one element" },
	{ "int f(int a[^99999999999])", "too many elements" },
	{ "int f(int a[^3x])", "this is no whole number" },
	{ "int f(void a^[3])", "there is no value of type void" },
	{ "int f(int (*a)[1]^[2](void))", "a function is no value" },
	{ "int ^while(int)", "'while' is a word of C, no name" },
	{ "int f(int ^if)", "'if' is a word of C, no name" },
	{ "int f(^FILE f)", "FILE is not known: only a pointer to it can be used" },
	{ "int f(struct^)", "expected a tag or '{', not ')'" },
	{ "int f(enum^)", "expected a tag or '{', not ')'" },
	{ "^struct {int x;} *", "this declares no function" },
	{ "double pow(double, double^", "expected ',' or ')' at the end" },
	{ "double pow(double, double)^)", "expected the end, not ')'" },
	{ "double pow(double^; double)", "expected ',' or ')', not ';'" },
	{ "double pow ^double, double)", "expected '(' and parameters, not 'double'" },
	{ "int ^#f(int)", "expected '(' and parameters, not '#'" },
	{ "int f(int ^@x)", "expected ',' or ')', not '@'" },
	{ "int ^\"f\"(void)", "expected '(' and parameters, not '\"'" },
	{ "int f(int x ^= 3)", "expected ',' or ')', not '='" },
	{ "int f(int ^&x)", "expected ',' or ')', not '&'" },
	{ "int f(^std::string x)", "no type 'std' is known" },
	{ "int f(^_Float128 x)", "_Float128 cannot be passed" },
	{ "int f(^__float128 x)", "__float128 cannot be passed" },
	{ "^_Thread_local int f(void)", "a function is wanted, not a variable" },
	{ "int f(^_Alignas(16) int x)", "alignment that is asked for is not known here" },
	{ "^template<class T> int f(T)", "no type 'template' is known" },
	{ "int f(const^)", "expected a type, not ')'" },
	{ "^f(int)", "no type 'f' is known" },
	{ "int f^[3](int)", "a function is no value" },
	{ "^int (*f[3])(int)", "this declares no function" },
	{ "int f(^(int))", "expected a type, not '('" },
	{ "int f(int ^((x)", "this '(' is never closed" },
};

Test(prototype, says_what_is_wrong_and_where)
{
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		const size_t offset = strcspn(wrong[i].marked, "^");
		char text[256], expected[1024];

		snprintf(text, sizeof text, "%.*s%s", (int)offset, wrong[i].marked, wrong[i].marked + offset + 1);
		snprintf(expected, sizeof expected, "%s\n%s\n%*s^", wrong[i].message, text, (int)offset, "");
		cr_assert_null(parse(text, NULL), "%s", text);
		cr_assert_eq((size_t)why.offset, offset, "%s\nexpected it at %zu", why.text, offset);
		cr_assert_str_eq(why.text, expected);
	}
}

Test(prototype, shows_the_part_of_a_long_text_that_is_wrong)
{
	char text[1000] = "int f(";

	for (int i = 0; i < 50; i++)
		strcat(text, "int, ");
	strcat(text, "foo_t)");
	cr_assert_null(parse(text, NULL));
	cr_assert_eq(why.offset, 256);
	const char *line = strchr(why.text, '\n') + 1, *caret = strchr(line, '\n') + 1;

	cr_assert_eq(strncmp(line + strcspn(caret, "^"), "foo_t", 5), 0, "%s", why.text);
	cr_assert_lt(caret - line, 110);
}

static void repeat(char *text, const char *part, int times)
{
	while (times--)
		strcat(text, part);
}

Test(prototype, refuses_what_is_nested_too_deep)
{
	static const char *const parts[] = { "int (", "int f(int (*)(", "int f(struct { int x; ", "int f(int a[3]", "(((", "int (*" };

	for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
		char *text = calloc(1, 60000);

		repeat(text, parts[i], 1000);
		cr_assert_null(parse(text, NULL));
		cr_assert_geq(why.offset, 0);
		free(text);
	}
	char text[2000] = "int f(int ";

	repeat(text, "(", 40);
	repeat(text, ")", 40);
	strcat(text, ")");
	cr_assert_null(parse(text, NULL));
	cr_assert_not_null(strstr(why.text, "nested more than 32 deep"), "%s", why.text);
}

Test(prototype, refuses_an_endless_text)
{
	char *text = malloc(70000);

	memset(text, ' ', 69999);
	text[69999] = 0;
	cr_assert_null(parse(text, NULL));
	cr_assert_eq(why.offset, -1);
	cr_assert_not_null(strstr(why.text, "more than 65535 characters"), "%s", why.text);
	free(text);
}

/* ----------------------------------------------------------------- layouts */

Test(prototype, lays_structs_out_as_the_compiler_does)
{
	struct one { char c; short s; int i; long l; };
	struct two { char c; long double ld; char d; };
	struct three { unsigned a : 3; unsigned b : 30; char c; int d : 9; };
	struct four { char c; int : 0; char d; };
	struct five { _Bool a : 1; char b; long c : 40; short d : 3; };
	struct six { int n; double data[]; };
	union seven { char c[9]; int i; };
	struct eight { char c; int : 3; char d : 4; };
	struct nine { char c; union { struct { char a; int b; }; long l; } u; char d; };
	static const struct {
		const char *text;
		size_t size, alignment;
	} cases[] = {
#define CASE(tag, body) { "int f(" #tag " { " body " } *p)", sizeof(tag), __alignof__(tag) }
		CASE(struct one, "char c; short s; int i; long l;"),
		CASE(struct two, "char c; long double ld; char d;"),
		CASE(struct three, "unsigned a : 3; unsigned b : 30; char c; int d : 9;"),
		CASE(struct four, "char c; int : 0; char d;"),
		CASE(struct five, "_Bool a : 1; char b; long c : 40; short d : 3;"),
		CASE(struct six, "int n; double data[];"),
		CASE(union seven, "char c[9]; int i;"),
		CASE(struct eight, "char c; int : 3; char d : 4;"),
		CASE(struct nine, "char c; union { struct { char a; int b; }; long l; } u; char d;"),
#undef CASE
	};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		const struct far__type *t = parse(cases[i].text, NULL);

		cr_assert_not_null(t, "%s", why.text);
		t = t->member[0].type->target;
		cr_assert_eq(t->size, cases[i].size, "%s: %zu", cases[i].text, (size_t)t->size);
		cr_assert_eq(t->alignment, cases[i].alignment, "%s", cases[i].text);
	}
}

/* ------------------------------------------------------------------- names */

Test(prototype, one_name_is_one_type_and_is_asked_for_once)
{
	const struct far__type *t = parse("struct point f(struct point *, struct other *, struct other **)", NULL);

	cr_assert_not_null(t, "%s", why.text);
	cr_assert_eq(t->target, t->member[0].type->target);
	cr_assert_eq(t->member[1].type->target, t->member[2].type->target->target);
	cr_assert_eq(asked, 2);
}

Test(prototype, keeps_parameters_names_and_gives_the_functions)
{
	const char *name = "";
	const struct far__type *t = parse("int f(int first, char *, long third)", &name);

	cr_assert_str_eq(name, "f");
	cr_assert_str_eq(t->member[0].name, "first");
	cr_assert_null(t->member[1].name);
	cr_assert_str_eq(t->member[2].name, "third");
	cr_assert_not_null(parse("int (int)", &name));
	cr_assert_null(name);
}

Test(prototype, tells_a_lack_of_memory)
{
	struct far__arena small = { .limit = 256 };

	cr_assert_null(far__prototype("int f(int, long, short, char)", NULL, &small, NULL, &why));
	cr_assert_not_null(strstr(why.text, "no memory"), "%s", why.text);
	far__arena_free(&small);
}
