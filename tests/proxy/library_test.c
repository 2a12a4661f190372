/* Libraries that only a slave has loaded: far_open(), far_call(), far_bind(). */
#include <dlfcn.h>
#include <malloc.h>
#include <math.h>
#include <pthread.h>
#include <stdint.h>

#include "core/check.h"
#include "shapes.h"

/* Declared, and in no library that this program is linked with. */
int one_int(int a);
struct s32 one_s32(struct s32 a);
long two_long(int which, long a, double d, char c, long b);
int shapes_called(void);
int no_such_function(int a);

static struct far_slave *slave;
static far_library *shapes;

static void begin(void)
{
	slave = START(.name = "libraries");
	shapes = far_open(slave, SHAPES);
	CHECK_OK();
	CHECK(shapes);
}

static void end(void)
{
	CHECK_EQ(far_library_close(shapes), 0);
	CHECK_EQ(far_slave_close(slave), 0);
}

/* ------------------------------------------------------------- signatures */

/* Of a long double ten bytes count. */
static size_t significant(const char *name, size_t size)
{
	return !strcmp(name, "longest") ? 10 : size;
}

static void compare(const char *name, const char *how, const void *a, const void *b, size_t size)
{
	/* Two long doubles in one. */
	bool equal = !strcmp(name, "clongest") ? !memcmp(a, b, 10) && !memcmp((char *)a + 16, (char *)b + 16, 10)
					       : !memcmp(a, b, significant(name, size));

	if (!equal || far_error())
		fail_at(__FILE__, __LINE__, "%s is another %s", name, how);
}

#define NINE(value)	value(11), value(12), value(13), value(14), value(15), value(16), value(17), value(18), value(19)
#define NINE_OF(type)	type, type, type, type, type, type, type, type, type
#define TEXT_(...)	#__VA_ARGS__
#define TEXT(...)	TEXT_(__VA_ARGS__)

/* Each function by its prototype, by a bound pointer and, told by the debug information, by its name, beside a direct call. */
#define SHAPE(name, type, ...) \
	static type value_##name(int n) \
	{ \
		type v = __VA_ARGS__; \
		return v; \
	} \
	static void check_##name(void *module) \
	{ \
		type (*one)(type) = (type (*)(type))(uintptr_t)dlsym(module, "one_" #name); \
		type (*two)(int, type, double, char, type) = (type (*)(int, type, double, char, type))(uintptr_t)dlsym(module, "two_" #name); \
		type (*nine)(int, NINE_OF(type)) = (type (*)(int, NINE_OF(type)))(uintptr_t)dlsym(module, "nine_" #name); \
		type (*bound_one)(type) = far_bind(shapes, "one_" #name, type (*)(type)); \
		type (*bound_two)(int, type, double, char, type) = \
			far_bind(shapes, "two_" #name, type (*)(int, type, double, char, type)); \
		type (*bound_nine)(int, NINE_OF(type)) = \
			far_bind(shapes, #type " nine_" #name "(int, " TEXT(NINE_OF(type)) ")", type (*)(int, NINE_OF(type))); \
		CHECK(one && two && nine && bound_one && bound_two && bound_nine); \
		type a = one(value_##name(3)); \
		type b = far_call(shapes, type, #type " one_" #name "(" #type ")", value_##name(3)); \
		compare(#name, "by its prototype", &a, &b, sizeof a); \
		b = far_call(shapes, type, "one_" #name, value_##name(3)); \
		compare(#name, "by its name", &a, &b, sizeof a); \
		b = bound_one(value_##name(3)); \
		compare(#name, "bound", &a, &b, sizeof a); \
		for (int i = 0; i < 9; i += 4) { \
			a = two(i, value_##name(4), 2, 1, value_##name(5)); \
			b = far_call(shapes, type, #type " two_" #name "(int, " #type ", double, char, " #type ")", i, \
				     value_##name(4), 2, 1, value_##name(5)); \
			compare(#name, "among two by its prototype", &a, &b, sizeof a); \
			b = bound_two(i, value_##name(4), 2, 1, value_##name(5)); \
			compare(#name, "among two, bound", &a, &b, sizeof a); \
			a = nine(i, NINE(value_##name)); \
			b = far_call(shapes, type, "nine_" #name, i, NINE(value_##name)); \
			compare(#name, "among nine by its name", &a, &b, sizeof a); \
			b = bound_nine(i, NINE(value_##name)); \
			compare(#name, "among nine, bound", &a, &b, sizeof a); \
		} \
	}
FAR_SHAPES(SHAPE)

TEST_BOTH(calls_by_name_are_direct_calls_bit_for_bit)
{
	begin();
	void *module = dlopen(SHAPES, RTLD_NOW | RTLD_LOCAL);

	CHECK(module);
#define RUN(name, type, ...) check_##name(module);
	FAR_SHAPES(RUN)
	dlclose(module);
	end();
}

/* ------------------------------------------------------------------ calls */

TEST_BOTH(far_invoke_finds_a_librarys_function_by_its_name)
{
	begin();
	CHECK_EQ(far_invoke(shapes, one_int, 7), 7);
	CHECK_OK();
	far_task(struct s32) t = far_schedule(shapes, one_s32, value_s32(4));

	CHECK_EQ(far_wait(t).a[2] == 3.3, 1);
	CHECK_EQ(far_invoke_within(5000, shapes, two_long, 9, 1, 2, 3, 4), 1);
	CHECK_OK();
	far_invoke(shapes, no_such_function, 1);
	CHECK_FAILED(FAR_ENAME);
	CHECK_HAS(far_error()->message, "there is no function no_such_function");
	end();
}

TEST_BOTH(arguments_are_converted_as_in_c)
{
	begin();
	CHECK_EQ(far_call(shapes, double, "double one_double(double)", 3), 3);
	CHECK_EQ(far_call(shapes, double, "double one_double(double)", 'a'), 'a');
	CHECK_EQ(far_call(shapes, long, "double one_double(double)", 3.0f), 3);
	CHECK_EQ(far_call(shapes, int, "int one_int(int)", 7.0), 7);
	CHECK_EQ(far_call(shapes, int, "_Bool one_bool(_Bool)", "x"), 1);
	CHECK_EQ(far_call(shapes, int, "_Bool one_bool(_Bool)", 0.5), 1);
	CHECK_EQ(far_call(shapes, _Bool, "int one_int(int)", 256), 1);
	CHECK_EQ(far_call(shapes, _Bool, "double one_double(double)", 0.5), 1);
	CHECK_EQ(far_call(shapes, int, NULL), 0);
	CHECK_FAILED(FAR_EINVAL);
	CHECK_EQ(far_call(shapes, long, "signed char one_schar(signed char)", -128L), -128);
	CHECK(far_call(shapes, float, "float one_float(float)", 0.1) == 0.1f);
	CHECK(far_call(shapes, void *, "const void *one_pointer(const void *)", 0) == NULL);
	far_call(shapes, void, "int one_int(int)", 7);
	CHECK_OK();
	end();
}

#define REFUSED(words, ...) do { \
	far_call(shapes, __VA_ARGS__); \
	CHECK_FAILED(FAR_ETYPE); \
	CHECK_HAS(far_error()->message, words); \
} while (0)

TEST_BOTH(what_would_be_another_value_is_refused)
{
	begin();
	CHECK_EQ(far_call(shapes, int, "int shapes_called(void)"), 0);
	REFUSED("one_int: argument 1: 2147483648 is no value of int", int, "int one_int(int)", 2147483648);
	REFUSED("2.5 is no value of int", int, "int one_int(int)", 2.5);
	REFUSED("nan is no value", int, "int one_int(int)", NAN);
	REFUSED("-1 is no value of unsigned int", unsigned, "unsigned one_unsigned(unsigned)", -1);
	REFUSED("16777217 is no value of float", float, "float one_float(float)", 16777217);
	REFUSED("1e+300 is no value of float", float, "float one_float(float)", 1e300);
	REFUSED("is no value of double", double, "double one_double(double)", 1 + 2 * I);
	REFUSED("a pointer is not converted to int", int, "int one_int(int)", "7");
	REFUSED("a number is not converted to", void *, "const void *one_pointer(const void *)", 7);
	REFUSED("it has 8 bytes and struct s16d has 16", struct s16d, "struct s16d one_s16d(struct s16d)", ((struct s8f){ 1, 2 }));
	REFUSED("one_int: it takes 1 arguments, not 2", int, "int one_int(int)", 1, 2);
	REFUSED("it takes 1 arguments, not 0", int, "one_int");
	CHECK_EQ(far_call(shapes, int, "shapes_called"), 0);
	REFUSED("the result: 4096 is no value of signed char", signed char, "int one_int(int)", 4096);
	end();
}

TEST_BOTH(a_wrong_prototype_is_shown_where_it_is_wrong)
{
	begin();
	REFUSED("no type 'duble' is known: at character 19 of \"double one_double(duble)\"", double, "double one_double(duble)", 1);
	end();
}

TEST_BOTH(variadic_functions_take_promoted_arguments)
{
	char text[60] = "";

	begin();
	CHECK_EQ(far_call(slave, int, "int snprintf(char *, size_t, const char *, ...)", far_out(text, sizeof text), sizeof text,
			  "%d %c %g %s %Lg %ld", (short)-7, 'x', 1.5f, "text", 2.5L, 1L << 40), 31);
	CHECK_STR(text, "-7 x 1.5 text 2.5 1099511627776");
	far_call(slave, int, "int snprintf(char *, size_t, const char *, ...)", far_out(text, 9), 9, "%d", (struct s4){ 1 });
	CHECK_FAILED(FAR_ETYPE);
	far_call(slave, int, "int snprintf(char *, size_t, const char *, ...)", far_out(text, 9), 9);
	CHECK_HAS(far_error()->message, "it takes at least 3 arguments, not 2");
	end();
}

static int twice(int n)
{
	return 2 * n;
}

TEST(pointer_arguments_follow_the_rules)
{
	char private[20] = "private", buffer[8] = "";
	struct s16d rectangle = { 2, 3.5 };

	in_process = true;
	begin();
	CHECK_EQ(far_call(shapes, long, "longest_text", private, NULL), 7);
	CHECK_EQ(far_call(shapes, long, "long longest_text(const char *, char *)", "x", far_str(private)), 7);
	CHECK(far_call(shapes, double, "area", &rectangle) == 7);
	double (*bound_area)(const struct s16d *) = far_bind(shapes, "area", double (*)(const struct s16d *));

	CHECK(bound_area(&rectangle) == 7);
	CHECK_OK();
	far_call(shapes, void, "fill", far_out(buffer, 8), 'x', 7);
	CHECK_STR(buffer, "xxxxxxx");
	far_call(shapes, void, "fill", buffer, 'y', 7);
	CHECK_FAILED(FAR_EPOINTER);
	CHECK_HAS(far_error()->message, "fill: argument 1");
	CHECK_HAS(far_error()->message, "far_out(p, n)");
	CHECK_EQ(far_call(shapes, int, "apply", twice, 21), 42);
	char *theirs = far_call(shapes, char *, "make_text", "their own");

	CHECK_EQ(far_call(shapes, long, "longest_text", theirs, NULL), 9);
	CHECK_OK();
	end();
}

/* -------------------------------------------------------------- libraries */

TEST_BOTH(libraries_without_debug_information_need_a_prototype)
{
	slave = START();
	far_library *m = far_open(slave, "libm.so.6");

	CHECK(far_call(m, double, "double pow(double, double)", 2, 10) == 1024);
	double (*root)(double) = far_bind(m, "sqrt", double (*)(double));

	CHECK(root(9) == 3);
	CHECK_OK();
	CHECK_EQ(far_library_close(m), 0);
	far_library *bare = far_open(slave, BARE);

	CHECK_EQ(far_call(bare, int, "int one_int(int)", 7), 7);
	far_call(bare, int, "one_int", 7);
	CHECK_FAILED(FAR_ENAME);
	CHECK_HAS(far_error()->message, "bare");
	CHECK_EQ(far_library_close(bare), 0);
	CHECK_EQ(far_slave_close(slave), 0);
}

TEST_BOTH(a_library_that_is_none_is_an_error)
{
	slave = START();
	CHECK(!far_open(slave, "libnone.so.7"));
	CHECK_FAILED(FAR_ENAME);
	CHECK_HAS(far_error()->message, "far_open: libnone.so.7: cannot open");
	CHECK(!far_open(NULL, "libm.so.6"));
	CHECK_FAILED(FAR_ECLOSED);
	CHECK_EQ(far_library_close((far_library *)&slave), -EINVAL);
	CHECK_FAILED(FAR_EINVAL);
	CHECK_EQ(far_library_close(NULL), 0);
	CHECK_EQ(far_slave_close(slave), 0);
}

TEST_BOTH(a_closed_library_is_an_error)
{
	begin();
	int (*bound)(int) = far_bind(shapes, "one_int", int (*)(int));

	CHECK(bound == far_bind(shapes, "one_int", int (*)(int)));
	CHECK_EQ(bound(7), 7);
	CHECK_EQ(far_library_close(shapes), 0);
	CHECK_EQ(bound(7), 0);
	CHECK_FAILED(FAR_ECLOSED);
	CHECK_EQ(far_invoke(shapes, one_int, 7), 0);
	CHECK_FAILED(FAR_ECLOSED);
	CHECK_EQ(far_call(shapes, int, "one_int", 7), 0);
	CHECK_FAILED(FAR_ECLOSED);
	CHECK(!far_bind(shapes, "one_int", int (*)(int)));
	CHECK_FAILED(FAR_ECLOSED);
	CHECK_EQ(far_library_close(shapes), -EINVAL);
	CHECK_FAILED(FAR_EINVAL);
	CHECK_EQ(far_slave_close(slave), 0);
}

TEST(a_library_is_loaded_again_in_a_slave_that_is_started_again)
{
	in_process = true;
	begin();
	int (*bound)(int) = far_bind(shapes, "one_int", int (*)(int));

	CHECK_EQ(bound(7), 7);
	CHECK_EQ(far_invoke(shapes, shapes_called), 1);
	CHECK_EQ(far_slave_restart(slave), 0);
	CHECK_EQ(bound(7), 7);
	CHECK_EQ(far_call(shapes, int, "shapes_called"), 1);
	CHECK_EQ(far_invoke(shapes, shapes_called), 1);
	CHECK_OK();
	end();
}

static void die_later(void)
{
	usleep(20000);
	raise(SIGKILL);
}

static void *have_it_die(void *unused)
{
	(void)unused;
	far_invoke(slave, die_later);
	(void)far_error();
	return NULL;
}

/* Where a library's functions lie in the next incarnation is not known when the call is made. */
TEST(a_call_of_a_library_is_not_made_in_the_next_incarnation)
{
	in_process = true;
	slave = far_slave_process(.respawn = 3);
	shapes = far_open(slave, SHAPES);
	int (*bound)(int) = far_bind(shapes, "one_int", int (*)(int));

	for (int i = 0; i < 9; i++) {
		pthread_t thread;

		CHECK_EQ(bound(7), 7);
		CHECK_EQ(far_call(shapes, int, "int one_int(int)", 7), 7);
		CHECK_EQ(far_invoke(shapes, shapes_called), 2);
		CHECK_OK();
		pthread_create(&thread, NULL, have_it_die, NULL);
		usleep(10000);
		int result = i % 3 == 0 ? bound(7) : i % 3 == 1 ? far_call(shapes, int, "int one_int(int)", 7)
								: far_invoke(shapes, shapes_called);

		CHECK_EQ(result, 0);
		CHECK_FAILED(FAR_ESTALE);
		pthread_join(thread, NULL);
	}
	CHECK_EQ(far_library_close(shapes), 0);
	CHECK_EQ(far_slave_close(slave), 0);
}

TEST(a_crash_in_a_library_is_an_error_like_any)
{
	in_process = true;
	begin();
	void (*bound)(int *) = far_bind(shapes, "crash", void (*)(int *));

	bound(NULL);
	CHECK_FAILED(FAR_ECRASHED);
	CHECK_STR(far_error()->function, "crash");
	CHECK_EQ(far_library_close(shapes), 0);
	CHECK_EQ(far_slave_close(slave), -EOWNERDEAD);
	(void)far_error();
}

static void *call_often(void *bound)
{
	int (*one)(int) = (int (*)(int))(uintptr_t)bound, right = 0;

	for (int i = 0; i < 500; i++) {
		right += one(i) == i;
		right += far_call(shapes, int, "int one_int(int)", i) == i;
	}
	return (void *)(uintptr_t)right;
}

TEST_BOTH(threads_share_a_library)
{
	pthread_t thread[4];
	void *right;

	begin();
	int (*bound)(int) = far_bind(shapes, "one_int", int (*)(int));

	for (int i = 0; i < 4; i++)
		pthread_create(&thread[i], NULL, call_often, (void *)(uintptr_t)bound);
	for (int i = 0; i < 4; i++) {
		pthread_join(thread[i], &right);
		CHECK_EQ((uintptr_t)right, 1000);
	}
	end();
}

/* The memory that ten slaves leave in use. */
static long memory_of_ten(bool called)
{
	long before = (long)mallinfo2().uordblks;

	for (int i = 0; i < 10; i++) {
		slave = START();
		if (called)
			CHECK_EQ(far_call(slave, int, "int abs(int)", -i), i);
		CHECK_EQ(far_slave_close(slave), 0);
	}
	return (long)mallinfo2().uordblks - before;
}

/* What is known of the functions of a slave goes with it; what is kept of its number is used again, and there are few. */
TEST(a_function_is_looked_up_within_the_deadline)
{
	struct far_slave *s = far_slave_process();
	far_library *m = far_open(s, "libm.so.6");
	double start = seconds();
	far_task(int) busy = far_schedule(s, usleep, 2000000);

	far_invoke_within(100, m, cos, 0.0);
	CHECK_FAILED(FAR_EDEADLINE);
	far_invoke_within(0, m, cos, 0.0);
	CHECK_FAILED(FAR_EDEADLINE);
	CHECK(seconds() - start < 1.5);
	CHECK_EQ(far_wait(busy), 0);
	CHECK_EQ((int)far_invoke_within(5000, m, cos, 0.0), 1);
	CHECK_OK();
	busy = far_schedule(s, usleep, 2000000);
	start = seconds();
	far_invoke_within(0, m, cos, 0.0);
	CHECK_FAILED(FAR_EDEADLINE);
	CHECK(seconds() - start < 1.5);
	CHECK_EQ(far_wait(busy), 0);
	CHECK_EQ(far_slave_close(s), 0);
}

TEST_BOTH(slaves_that_are_called_by_name_leave_nothing_behind)
{
	for (int i = 0; i < 6; i++)
		memory_of_ten(true);
	CHECK(memory_of_ten(true) <= 2048);
	CHECK(memory_of_ten(false) <= 2048);
}

TEST_BOTH(libraries_opened_and_closed_leave_nothing_behind)
{
	int maps = 0, fds = 0;

	slave = START();
	for (int i = 0; i < 40; i++) {
		shapes = far_open(slave, SHAPES);
		CHECK_EQ(far_call(shapes, int, "one_int", i), i);
		CHECK_EQ(far_bind(shapes, "one_int", int (*)(int))(i), i);
		CHECK_EQ(far_library_close(shapes), 0);
		if (i == 9) {
			maps = count_maps();
			fds = count_fds();
		}
	}
	CHECK_EQ(count_fds(), fds);
	CHECK(count_maps() <= maps + 2);
	CHECK_EQ(far_slave_close(slave), 0);
}
