/*
 * Calls as programs write them, for warnings.sh: compilers must not complain
 * about any of them. It is compiled, never run.
 */
#include <farcall.h>

#include <complex.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct point { int x, y; };
struct matrix { double at[4][4]; };
enum color { RED, GREEN };
typedef far_task(double) double_task;
struct job { const char *name; far_task(int) task; struct job *next; };
struct operations { int (*open)(const char *path, int mode); void (*close)(int fd); };
struct shape { double (*area)(struct shape *s); double w; };

int add(int a, int b);
short narrow(short a, unsigned char b, bool c, float d, enum color e);
struct point shift(struct point p, long by);
struct matrix multiply(struct matrix a, const struct matrix *b);
long double exact(long double x);
double complex rotate(double complex z);
const char *name_of(enum color c);
void nothing(void);
void on_each(int (*function)(int, int), void *argument);
void stop(int status) __attribute__((noreturn));
int square(int n) __attribute__((const));
int logs(const char *format, ...) __attribute__((format(printf, 1, 2)));
size_t sum(const unsigned char *bytes, size_t n);
int callbacks(void (*done)(void *), void *argument);
struct far_slave *start(const struct operations *o);
double_task begin(struct far_slave *slave, double x);
bool every_value(struct far_slave *slave, const struct operations *o, int n);
int pointers(struct far_slave *slave, char *text, size_t size);
int tasks(struct far_slave *slave);
void setup(void *argument);
double by_name(struct far_slave *slave);
double objects(struct far_slave *slave, far_library *library);
int called_back(struct far_slave *slave, far_library *library, void *arg);
struct shape *make_shape(double w);
void destroy_shape(struct shape *s);

static inline int plus_one(struct far_slave *slave, int n)
{
	return far_invoke(slave, add, n, 1);
}

void setup(void *argument)
{
	if (!argument)
		far_raise(7, "%s is %d", "argument", 0);
}

struct far_slave *start(const struct operations *o)
{
	int result = far_init();
	struct far_slave *plain = far_slave_process();
	struct far_slave *slave = far_slave_process(.name = "worker", .setup = setup, .setup_arg = NULL, .queue = 16);
	struct far_slave *thread = far_slave_thread(.when_full = FAR_FAIL, .close_ms = 100);

	if (result || !plain || !slave || !thread)
		fprintf(stderr, "%s\n", far_error()->message);
	(void)o;
	far_slave_close(plain);
	far_slave_close(thread);
	return slave;
}

double_task begin(struct far_slave *slave, double x)
{
	return far_schedule(slave, sqrt, x);
}

bool every_value(struct far_slave *slave, const struct operations *o, int n)
{
	char c = 'c';
	short s = 3;
	const int constant = 4;
	volatile int changing = n;
	unsigned char bytes[] = { 1, 2, 3 };
	struct point p = { 1, 2 };
	struct { unsigned three : 3, rest : 29; } bits = { 1, 2 };
	static struct matrix m;
	int (*pointer)(int, int) = add;
	enum color color = GREEN;
	int result = far_invoke(slave, add, far_invoke(slave, add, n, far_invoke(slave, add, 1, n)), plus_one(slave, n));
	const double d = far_invoke(slave, pow, 2, n) + far_invoke(slave, pow, 2.5, 0.5);
	float f = far_invoke(slave, sqrtf, 2);
	short t = far_invoke(slave, narrow, 1, 2, 0, 3, GREEN);
	struct point q = far_invoke(slave, shift, far_invoke(slave, shift, p, 1), 2);
	struct matrix r = far_invoke(slave, multiply, m, NULL);
	long double x = far_invoke(slave, exact, d);
	double complex z = far_invoke(slave, rotate, 1.0 + d * I);
	const char *name = far_invoke(slave, name_of, color);
	size_t length = far_invoke(slave, strlen, "literal");
	bool yes = far_invoke(slave, add, 1, 2) == 3 && !far_error();

	far_invoke(slave, nothing);
	far_invoke(slave, add, 1, 2);
	far_invoke(slave, add, n, constant);
	far_invoke(slave, add, changing, n++);
	far_invoke(slave, add, c, s);
	far_invoke(slave, add, bytes[1], bits.three);
	far_invoke(slave, narrow, s, bytes[0], true, 1.5F, RED);
	far_invoke(slave, narrow, 3, 'c', n > 2, 2, color);
	far_invoke(slave, shift, p, 3);
	far_invoke(slave, shift, ((struct point){ 1, 2 }), n);
	far_invoke(slave, multiply, m, NULL);
	far_invoke(slave, stop, 3);
	far_invoke(slave, square, n);
	far_invoke(slave, logs, "%s %d %g %c\n", "text", n, 1.5, c);
	far_invoke(slave, logs, "nothing\n");
	far_invoke(slave, printf, "%s and %zu\n", "this", sizeof(p));
	far_invoke(slave, on_each, add, NULL);
	far_invoke(slave, on_each, &add, (void *)0);
	far_invoke(slave, free, NULL);
	far_invoke(slave, pointer, 1, 2);
	far_invoke(slave, o->close, far_invoke(slave, o->open, "path", 3));
	(void)far_invoke(slave, add, 1, 2);

	for (int i = 0; i < far_invoke(slave, add, n, 2); i++)
		if (far_invoke(slave, square, i) > 10)
			return far_invoke(slave, add, i, i) != 0;
	while (far_invoke(slave, add, result, 1) < 0)
		result += far_invoke(slave, add, result, 1);
	switch (far_invoke(slave, add, n, 0)) {
	case 1:
		far_invoke(slave, nothing);
		break;
	default:
		result = n ? far_invoke(slave, add, 1, 1) : far_invoke(slave, square, 2);
	}
	n ? far_invoke(slave, nothing) : (void)0;
	for (;; far_invoke(slave, nothing))
		if (result++ > 3)
			break;
	return yes && name && length && (double)f > d && q.x > t && r.at[0][0] < (double)x && creal(z) < 1;
}

int pointers(struct far_slave *slave, char *text, size_t size)
{
	unsigned char *bytes = far_alloc(size);
	unsigned char block[100] = { 0 };
	int fds[2];
	const struct matrix m = { { { 0 } } };
	struct matrix other = m;
	size_t n = far_invoke(slave, sum, bytes, size);

	if (!bytes || pipe(fds))
		return far_error()->code;
	n += far_invoke(slave, sum, far_in(block, sizeof(block)), sizeof(block));
	n += far_invoke(slave, sum, far_in(block, sizeof block) + 3, sizeof(block) - 3);
	n += far_invoke(slave, strlen, text);
	n += far_invoke(slave, strlen, far_str(text));
	far_invoke(slave, multiply, other, far_in(&m, sizeof(m)));
	far_invoke(slave, memset, far_out(block, sizeof(block)), 0, sizeof(block));
	far_invoke(slave, memcpy, far_inout(&other, sizeof(other)), far_in(&m, sizeof(m)), sizeof(m));
	far_invoke(slave, on_each, add, far_remote(text));
	far_invoke(slave, close, far_fd(fds[0]));
	far_invoke(slave, write, far_fd(fds[1]), "text", 4);
	bytes = far_realloc(bytes, size * 2);
	far_free(bytes);
	return n > 3;
}

int tasks(struct far_slave *slave)
{
	struct job job = { .name = "job", .task = far_schedule(slave, add, 1, 2) };
	far_task(struct point) point = far_schedule(slave, shift, ((struct point){ 1, 2 }), 3);
	far_task(void) none = far_schedule(slave, nothing);
	far_task(const char *) name = far_thread(name_of, RED);
	far_task(int) many[3];
	double_task d = begin(slave, 2);
	far_task(void) last = far_schedule(slave, stop, 3);
	far_task(long double) x = far_schedule(slave, exact, 3);
	far_task(int) _Atomic shared = far_schedule(slave, add, 4, 5);	/* between threads */
	int total = far_wait(job.task) + far_wait(point).x;

	for (int i = 0; i < 3; i++)
		many[i] = far_schedule(slave, add, i, i + 1);
	for (int i = 0; i < 3; i++)
		total += far_wait(many[i]);
	far_wait(none);
	far_wait(far_schedule(slave, nothing));
	total += far_wait(far_schedule(slave, add, far_wait(far_schedule(slave, add, 1, 2)), 3));
	if (far_done(d) && far_wait_for(d, 100) == 0)
		total += far_wait(d) > 2;
	if (!far_wait(name))
		total++;
	far_forget(last);
	far_forget(far_schedule(slave, logs, "%d\n", total));
	far_forget(x);
	if (far_wait_for(shared, 1) == 0 && far_done(shared) && far_cancel(shared) < 0)
		total += far_wait(shared);
	else
		far_forget(shared);
	total += (int)far_wait(far_thread(exact, 3.5));
	if (far_error())
		far_status(stderr);
	return total;
}

double by_name(struct far_slave *slave)
{
	far_library *z = far_open(slave, "libz.so.1");
	char text[9];
	double d = far_call(z, double, "double pow(double, double)", 2, 10.5f);
	float f = far_call(slave, float, "anything", 1u, 'c', 2L, text[0], (short)1, true, "text", NULL, RED, (struct point){ 0 }, &d);
	int n = far_call(z, int, "int snprintf(char *, size_t, const char *, ...)", far_out(text, sizeof text), sizeof text, "%d", 7);
	double (*power)(double, double) = far_bind(z, "pow", double (*)(double, double));
	struct shape *(*make)(double) = far_bind(slave, "struct shape *make_shape(double)", struct shape *(*)(double));
	far_task(long double) x = far_schedule(z, exact, 3);

	far_call(z, void, "void nothing(void)");
	far_invoke(z, nothing);
	n += far_invoke(z, add, 1, 2) + far_invoke_within(9, z, shift, ((struct point){ 1, 2 }), n).x;
	n += (int)far_invoke(z, sum, far_in((const unsigned char *)text, 9), 9) + far_library_close(z);
	return power(d, (double)f) + n + (make != NULL) + (double)far_wait(x);
}

double objects(struct far_slave *slave, far_library *library)
{
	struct shape *r = far_wrap(slave, make_shape, 2), *q = far_wrap_with(destroy_shape, slave, make_shape, 1.5f);
	struct shape *l = far_wrap_with(destroy_shape, library, make_shape, 1), *home = far_unwrap(r);
	double area = r->area(r) + q->area(far_wrap(slave, make_shape, far_invoke(slave, sqrt, 2)));

	if (far_refresh(q) || far_drop(r) || far_drop(q) || far_drop(l))
		area = home->w;
	far_free(home);
	return area;
}

int call_twice(int (*f)(int, int), int (*g)(const char *, void *), void *arg);
int told(const char *what, void *arg);

int called_back(struct far_slave *slave, far_library *library, void *arg)
{
	int (*pointer)(int, int) = add;
	int n = far_invoke(slave, call_twice, far_callback(add), far_callback(told), far_remote(arg));

	n += far_invoke(library, call_twice, far_callback(pointer), far_callback(told, int (const char *, void *)), far_remote(arg));
	n += far_invoke_within(5, slave, call_twice, n ? far_callback(add) : far_callback(pointer), NULL, NULL);
	return n + far_call(slave, int, "int call(int (*)(int, int))", far_callback(&add));
}

/* Of inline functions that are not static. */
inline double root(struct far_slave *slave, int n)
{
	return far_invoke(slave, sqrt, n);
}

struct shape *new_shape(double w);

inline int used(struct far_slave *slave, int n)
{
	struct shape *s = far_wrap(slave, new_shape, 2);

	return far_drop(s) + far_invoke(slave, call_twice, far_callback(add), NULL, NULL) + n;
}
