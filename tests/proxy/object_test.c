/* Proxies of objects: far_wrap(), far_drop(), far_refresh(), far_unwrap(). */
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>

#include "core/check.h"
#include "heap.h"
#include "unknown.h"

/* ------------------------------------------------------------------ objects */

struct shape {
	double (*area)(struct shape *s);
	void (*scale)(struct shape *s, double factor);
	struct shape *(*twin)(const struct shape *s);
	struct shape *(*self)(struct shape *s);
	double w, h;
	int (*none)(void);
	int (*any)(struct shape *s, ...);
};

static int alive;		/* in a slave process, its own */

static int count_alive(void)
{
	return alive;
}

static double area(struct shape *s)
{
	return s->w * s->h;
}

static void scale(struct shape *s, double factor)
{
	s->w *= factor;
	s->h *= factor;
}

static struct shape *make_rect(double w, double h);

static struct shape *twin(const struct shape *s)
{
	return make_rect(s->w, s->h);
}

static struct shape *self(struct shape *s)
{
	return s;
}

static int any(struct shape *s, ...)
{
	return (int)s->w;
}

static struct shape *make_rect(double w, double h)
{
	struct shape *s = malloc(sizeof *s);

	*s = (struct shape){ area, scale, twin, self, w, h, NULL, any };
	alive++;
	return s;
}

static void destroy(struct shape *s)
{
	alive--;
	free(s);
}

static double width_of(const struct shape *s)
{
	return s->w;
}

/* Inheritance: the base comes first. */
struct circle {
	struct shape base;
	double radius;
	struct {
		double (*bow)(struct circle *c, double part);
		const char *unit;
	} more;
};

static double circle_area(struct shape *s)
{
	return 3 * ((struct circle *)s)->radius * ((struct circle *)s)->radius;
}

static double bow(struct circle *c, double part)
{
	return 6 * c->radius * part;
}

static struct circle *make_circle(double radius)
{
	struct circle *c = calloc(1, sizeof *c);

	*c = (struct circle){ .base = { .area = circle_area }, .radius = radius, .more = { bow, "m" } };
	return c;
}

/* A table of functions that objects share. */
struct stream;

struct operations {
	int (*read)(struct stream *s, char *to, int n);
	int (*write)(struct stream *s, const char *text);
	int version;
};

struct stream {
	const struct operations *ops;
	int position;
	char text[32];
	struct stream *next;
};

static int stream_read(struct stream *s, char *to, int n)
{
	memcpy(to, s->text + s->position, (size_t)n);
	s->position += n;
	return n;
}

static int stream_write(struct stream *s, const char *text)
{
	return snprintf(s->text, sizeof s->text, "%s", text);
}

static const struct operations operations = { stream_read, stream_write, 3 };

static struct stream *open_stream(const char *text)
{
	struct stream *s = calloc(1, sizeof *s);

	s->ops = &operations;
	snprintf(s->text, sizeof s->text, "%s", text);
	return s;
}

static int version_of(const struct operations *o)
{
	return o->version;
}

static struct stream *no_stream(void)
{
	return NULL;
}

struct plain { int a; double b[3]; };

static struct plain *make_plain(int a)
{
	struct plain *p = calloc(1, sizeof *p);

	*p = (struct plain){ a, { 1, 2, 3 } };
	return p;
}

static void set_plain(struct plain *p, int a)
{
	p->a = a;
}

/* -------------------------------------------------------------------- tests */

TEST_BOTH(methods_run_where_the_object_is)
{
	struct far_slave *s = START(.name = "shapes");
	struct shape *r = far_wrap_with(destroy, s, make_rect, 2, 3);

	CHECK_OK();
	CHECK(r && r->w == 2 && r->h == 3);
	CHECK(r->area(r) == 6);
	r->scale(r, 2);
	CHECK_OK();
	CHECK(r->w == 4 && r->h == 6);
	CHECK(r->none == NULL);
	CHECK(far_invoke(s, width_of, r) == 4);
	CHECK_OK();
	CHECK_EQ(far_invoke(s, count_alive), 1);
	CHECK_EQ(far_drop(r), 0);
	CHECK_EQ(far_invoke(s, count_alive), 0);
	CHECK_EQ(far_slave_close(s), 0);
}

TEST_BOTH(what_is_written_to_a_proxy_stays_here)
{
	struct far_slave *s = START();
	struct shape *r = far_wrap(s, make_rect, 2, 3);

	r->w = 100;
	CHECK(r->area(r) == 6);
	CHECK(r->w == 2);
	r->h = 100;
	CHECK_EQ(far_refresh(r), 0);
	CHECK(r->h == 3);
	CHECK_EQ(far_drop(r), 0);
	CHECK_EQ(far_slave_close(s), 0);
}

TEST_BOTH(a_derived_object_has_the_methods_of_its_base)
{
	struct far_slave *s = START();
	struct circle *c = far_wrap(s, make_circle, 10);

	CHECK(c->base.area(&c->base) == 300);
	CHECK(c->more.bow(c, 0.5) == 30);
	CHECK_OK();
	CHECK(c->base.scale == NULL && c->radius == 10);
	CHECK_STR(far_invoke(s, strchr, c->more.unit, 'm'), "m");
	CHECK_EQ(far_drop(c), 0);
	CHECK_EQ(far_slave_close(s), 0);
}

static struct shape *base_of_a_circle(double radius)
{
	static struct circle *one;

	if (!one)
		one = make_circle(radius);
	return &one->base;
}

static struct circle *the_same_circle(void)
{
	return (struct circle *)base_of_a_circle(0);
}

TEST_BOTH(an_object_has_a_proxy_for_each_of_its_types)
{
	struct far_slave *s = START();
	struct shape *base = far_wrap(s, base_of_a_circle, 10);
	struct circle *c = far_wrap(s, the_same_circle);

	CHECK(base->area(base) == 300);
	CHECK(c->radius == 10 && c->more.bow(c, 0.5) == 30);
	CHECK(far_wrap(s, base_of_a_circle, 0) == base && far_wrap(s, the_same_circle) == c);
	CHECK_OK();
	for (int i = 0; i < 2; i++) {
		CHECK_EQ(far_drop(base), 0);
		CHECK_EQ(far_drop(c), 0);
	}
	CHECK_EQ(far_slave_close(s), 0);
}

struct cell {
	int (*process)(struct cell *c);
	int id;
};

/* Functions wherever there can be some, and other objects. */
struct board {
	struct cell row[3];
	pid_t (*grid[2][2])(void);
	const struct board *next;
	int (*count)(const struct board *b);
};

static int process_of(struct cell *c)
{
	return c->id + 8 * getpid();
}

static int count_boards(const struct board *b)
{
	return b ? 1 + count_boards(b->next) : 0;
}

static struct board *make_boards(int n)
{
	struct board *b = calloc(1, sizeof *b);

	for (int i = 0; i < 3; i++)
		b->row[i] = (struct cell){ process_of, i };
	for (int i = 0; i < 4; i++)
		b->grid[i / 2][i % 2] = getpid;
	b->next = n > 1 ? make_boards(n - 1) : NULL;
	b->count = count_boards;
	return b;
}

TEST_BOTH(functions_in_arrays_and_structs_are_methods_and_other_objects_are_not_looked_into)
{
	struct far_slave *s = START();
	struct board *b = far_wrap(s, make_boards, 3);
	int process = far_slave_pid(s);

	for (int i = 0; i < 3; i++)
		CHECK_EQ(b->row[i].process(&b->row[i]), i + 8 * process);
	for (int i = 0; i < 4; i++)
		CHECK_EQ(b->grid[i / 2][i % 2](), process);
	CHECK_EQ(b->count(b), 3);
	CHECK_EQ(b->count(b->next), 2);
	CHECK_EQ(far_invoke(s, count_boards, b->next), 2);
	CHECK_OK();
	CHECK_EQ(far_drop(b), 0);
	CHECK_EQ(far_slave_close(s), 0);
}

static struct shape *nowhere(void)
{
	return (struct shape *)-1;
}

TEST_BOTH(a_value_that_is_no_address_is_no_object)
{
	struct far_slave *s = START();

	CHECK(far_wrap(s, nowhere) == nowhere());
	CHECK_OK();
	CHECK_EQ(far_slave_close(s), 0);
}

static void cannot(struct shape *s)
{
	far_raise(77, "%g is too wide", s->w);
}

static struct shape *make_nothing(void)
{
	return (struct shape *)0x12345678;
}

/* A handle may have the type's name and be another's. */
TEST_BOTH(what_cannot_be_read_is_no_object)
{
	struct far_slave *s = START();

	CHECK(!far_wrap(s, make_nothing));
	CHECK_FAILED(FAR_EPOINTER);
	CHECK_EQ(far_invoke(s, count_alive), 0);
	CHECK_OK();
	CHECK_EQ(far_slave_close(s), 0);
}

struct packed_object {
	int x;
	int (*get)(struct packed_object *o);
	long bits : 9;
	long more : 40;
} __attribute__((packed));

static int get_packed(struct packed_object *o)
{
	return o->x + ++o->bits;
}

static struct packed_object *make_packed(int x)
{
	struct packed_object *o = malloc(sizeof *o);

	*o = (struct packed_object){ x, get_packed, 5, 1l << 38 };
	return o;
}

TEST_BOTH(bits_behind_a_method_leave_it_alone)
{
	struct far_slave *s = START();
	struct packed_object *o = far_wrap(s, make_packed, 100);

	CHECK_OK();
	CHECK_EQ(o->get(o), 106);
	CHECK_EQ(o->bits, 6);
	CHECK_EQ(o->more, 1l << 38);
	CHECK_EQ(o->get(o), 107);
	CHECK_EQ(far_drop(o), 0);
	CHECK_EQ(far_slave_close(s), 0);
}

TEST_BOTH(what_the_destroyer_raises_is_told)
{
	struct far_slave *s = START();
	struct shape *r = far_wrap_with(cannot, s, make_rect, 2, 3);

	CHECK_EQ(far_drop(r), 0);
	CHECK_FAILED(77);
	CHECK_HAS(far_error()->message, "far_drop: the object was not destroyed: 2 is too wide");
	CHECK_EQ(far_slave_close(s), 0);
}

struct slow {
	char data[200];
	void (*fill)(struct slow *s, int *gate);
};

static void fill(struct slow *s, int *gate)
{
	while (!__atomic_load_n(gate, __ATOMIC_SEQ_CST))
		usleep(1000);
	memset(s->data, 1, sizeof s->data);
}

static struct slow *make_slow(void)
{
	struct slow *s = calloc(1, sizeof *s);

	s->fill = fill;
	return s;
}

/* What the object shows is written when the method ends, to memory that is nobody else's then. */
TEST(a_method_that_is_late_writes_to_nothing_but_its_proxy)
{
	enum { BLOCKS = 300 };
	struct far_slave *s = far_slave_thread(.deadline_ms = 50);
	struct slow *o = far_wrap(s, make_slow);
	int *gate = far_calloc(1, sizeof *gate);
	char *block[BLOCKS];

	o->fill(o, gate);
	CHECK_FAILED(FAR_EDEADLINE);
	CHECK_EQ(far_drop(o), 0);
	for (int i = 0; i < BLOCKS; i++)
		block[i] = far_calloc(1, sizeof *o);
	__atomic_store_n(gate, 1, __ATOMIC_SEQ_CST);
	while (far_invoke(s, count_alive), far_error())
		;
	for (int i = 0; i < BLOCKS; i++) {
		for (size_t k = 0; k < sizeof *o; k++)
			CHECK_EQ(block[i][k], 0);
		far_free(block[i]);
	}
	far_free(gate);
	CHECK_EQ(far_slave_close(s), 0);
}

TEST_BOTH(methods_are_found_in_tables)
{
	struct far_slave *s = START();
	struct stream *f = far_wrap(s, open_stream, "hello");
	char *to = far_calloc(1, 8);

	CHECK_EQ(f->ops->version, 3);
	CHECK_EQ(far_invoke(s, version_of, f->ops), 3);
	CHECK_STR(f->text, "hello");
	CHECK_EQ(f->ops->read(f, to, 2), 2);
	CHECK_STR(to, "he");
	CHECK_EQ(f->position, 2);
	char text[] = "private";

	CHECK_EQ(f->ops->write(f, text), 7);
	CHECK_OK();
	CHECK_STR(f->text, "private");
	far_free(to);
	CHECK_EQ(far_drop(f), 0);
	CHECK_EQ(far_slave_close(s), 0);
}

TEST(arguments_of_methods_follow_the_rules)
{
	struct far_slave *s = far_slave_process();
	struct stream *f = far_wrap(s, open_stream, "hello");
	char to[8] = "";

	CHECK_EQ(f->ops->read(f, to, 2), 0);
	CHECK_FAILED(FAR_EPOINTER);
	CHECK_HAS(far_error()->message, "read: argument 2");
	CHECK_EQ(f->position, 0);
	CHECK_EQ(far_drop(f), 0);
	CHECK_EQ(far_slave_close(s), 0);
}

TEST_BOTH(a_method_that_returns_an_object_gives_a_proxy)
{
	struct far_slave *s = START();
	struct shape *r = far_wrap_with(destroy, s, make_rect, 2, 3), *t = r->twin(r);

	CHECK(t && t != r && t->w == 2);
	t->scale(t, 3);
	CHECK(t->area(t) == 54 && r->area(r) == 6);
	CHECK(r->self(r) == r);		/* twice the same */
	CHECK_EQ(far_drop(r), 0);
	CHECK(r->area(r) == 6);
	CHECK_OK();
	CHECK_EQ(far_drop(r), 0);
	CHECK_EQ(far_invoke(s, count_alive), 1);
	CHECK_EQ(far_drop(t), 0);
	CHECK_EQ(far_slave_close(s), 0);
}

TEST_BOTH(a_proxy_that_was_dropped_is_stale)
{
	struct far_slave *s = START();
	struct shape *r = far_wrap(s, make_rect, 2, 3);

	CHECK_EQ(far_drop(r), 0);
	CHECK(r->area(r) == 0);
	CHECK_FAILED(FAR_ESTALE);
	CHECK_HAS(far_error()->message, "area: the object");
	CHECK(far_invoke(s, width_of, r) == 0);
	CHECK_FAILED(FAR_ESTALE);
	CHECK_EQ(far_refresh(r), -EINVAL);
	CHECK_FAILED(FAR_ESTALE);
	CHECK_EQ(far_drop(r), -EINVAL);
	CHECK_FAILED(FAR_ESTALE);
	CHECK_EQ(far_drop(&s), -EINVAL);
	CHECK_FAILED(FAR_EINVAL);
	CHECK_EQ(far_drop(NULL), 0);
	CHECK_EQ(far_slave_close(s), 0);
}

TEST_BOTH(objects_go_with_their_slave)
{
	struct far_slave *s = START(), *other = START();
	struct shape *r = far_wrap_with(destroy, s, make_rect, 2, 3);

	CHECK(far_invoke(other, width_of, r) == 0);
	CHECK_FAILED(FAR_ESTALE);
	CHECK_HAS(far_error()->message, "it is another slave's");
	CHECK_EQ(far_slave_close(s), 0);
	CHECK(r->area(r) == 0);
	CHECK_FAILED(FAR_ESTALE);
	CHECK_HAS(far_error()->message, "its slave is closed");
	CHECK_EQ(far_drop(r), 0);
	CHECK_EQ(far_drop(r), -EINVAL);
	(void)far_error();
	CHECK_EQ(far_slave_close(other), 0);
}

TEST(objects_do_not_outlive_an_incarnation)
{
	struct far_slave *s = far_slave_process();
	struct shape *r = far_wrap_with(destroy, s, make_rect, 2, 3);

	CHECK_EQ(far_slave_restart(s), 0);
	CHECK(r->area(r) == 0);
	CHECK_FAILED(FAR_ESTALE);
	CHECK_HAS(far_error()->message, "started again");
	CHECK_EQ(far_drop(r), 0);
	CHECK_EQ(far_invoke(s, count_alive), 0);	/* and was not destroyed there */
	r = far_wrap_with(destroy, s, make_rect, 4, 5);
	far_invoke(s, raise, SIGKILL);
	CHECK_DIED();
	CHECK(r->area(r) == 0);
	CHECK_DIED();
	CHECK_EQ(far_drop(r), 0);
	CHECK_EQ(far_slave_close(s), -EOWNERDEAD);
	(void)far_error();
}

/* Die, when there has been time to call. */
static void die_later(void)
{
	usleep(20000);
	raise(SIGKILL);
}

static void *have_it_die(void *slave)
{
	far_invoke((struct far_slave *)slave, die_later);
	(void)far_error();
	return NULL;
}

TEST(the_next_incarnation_is_not_asked_for_objects_of_the_one_before)
{
	struct far_slave *s = far_slave_process(.respawn = 3);
	pthread_t thread;

	for (int i = 0; i < 20; i++) {
		struct shape *r = far_wrap(s, make_rect, 2, 3);

		CHECK_OK();
		/* Called when the slave is dead, and the next is hardly there ... */
		if (i % 2) {
			far_invoke(s, raise, SIGKILL);
			CHECK_DIED();
		} else {	/* ... or before, behind the call that it dies of. */
			pthread_create(&thread, NULL, have_it_die, s);
			usleep(10000);
		}
		CHECK(r->area(r) == 0);
		CHECK_FAILED(FAR_ESTALE);
		CHECK(far_invoke(s, width_of, r) == 0);
		CHECK_FAILED(FAR_ESTALE);
		if (i % 2 == 0)
			pthread_join(thread, NULL);
		/* It has not died of that. */
		CHECK_EQ(far_invoke(s, count_alive), 0);
		CHECK_OK();
		CHECK_EQ(far_drop(r), 0);
	}
	CHECK_EQ(far_slave_close(s), 0);
}

TEST_BOTH(what_cannot_be_wrapped_or_called_says_so)
{
	struct far_slave *s = START();
	struct shape *r = far_wrap(s, make_rect, 2, 3);

	CHECK(!far_wrap(s, no_stream));
	CHECK_OK();
	CHECK_EQ(r->any(r, 1), 0);
	CHECK_FAILED(FAR_ETYPE);
	CHECK_HAS(far_error()->message, "any number of arguments");
	CHECK(!far_wrap(NULL, make_rect, 2, 3));
	CHECK_FAILED(FAR_ECLOSED);
	CHECK_EQ(far_drop(r), 0);
	CHECK_EQ(far_slave_close(s), 0);
}

TEST_BOTH(an_object_of_unknown_type_is_a_handle)
{
	struct far_slave *s = START();
	struct unknown *u = wrap_unknown(s);

	CHECK(u);
	CHECK_OK();
	CHECK_EQ(u->give(u), 0);
	CHECK_FAILED(FAR_ETYPE);
	CHECK_HAS(far_error()->message, "the members of this object are not known");
	CHECK_EQ(far_invoke(s, give_answer, u), 42);
	CHECK_OK();
	CHECK_EQ(far_refresh(u), -EINVAL);
	CHECK_FAILED(FAR_ETYPE);
	CHECK_EQ(far_drop(u), 0);
	CHECK_EQ(far_slave_close(s), 0);
}

TEST_BOTH(a_plain_object_can_be_copied_home)
{
	struct far_slave *s = START();
	struct plain *p = far_wrap(s, make_plain, 7);

	CHECK(p->a == 7 && p->b[2] == 3);
	far_invoke(s, set_plain, p, 8);
	struct plain *home = far_unwrap(p);

	CHECK(home->a == 8 && p->a == 7);
	CHECK_EQ(far_refresh(p), 0);
	CHECK_EQ(p->a, 8);
	CHECK_EQ(far_drop(p), 0);
	CHECK_EQ(home->b[1], 2);
	far_free(home);
	CHECK(!far_unwrap(p));
	CHECK_FAILED(FAR_ESTALE);
	CHECK_EQ(far_slave_close(s), 0);
}

static void *use_object(void *object)
{
	struct shape *r = object;
	uintptr_t right = 0;

	for (int i = 0; i < 300; i++) {
		struct shape *t = r->twin(r);

		right += r->area(r) == 6 && t->area(t) == 6;
		right += far_drop(t) == 0;
	}
	return (void *)right;
}

TEST_BOTH(threads_share_objects)
{
	struct far_slave *s = START();
	struct shape *r = far_wrap_with(destroy, s, make_rect, 2, 3);
	pthread_t thread[4];
	void *right;

	for (int i = 0; i < 4; i++)
		pthread_create(&thread[i], NULL, use_object, r);
	for (int i = 0; i < 4; i++) {
		pthread_join(thread[i], &right);
		CHECK_EQ((uintptr_t)right, 600);
	}
	CHECK_EQ(far_drop(r), 0);
	CHECK_EQ(far_slave_close(s), 0);
}

/* A thread slave wraps while its master waits for it to be asked about an object. */
static int wrap_there(struct far_slave *s)
{
	struct shape *r = far_wrap_with(destroy, s, make_rect, 1, 1);
	int area = (int)r->area(r);

	far_drop(r);
	return area;
}

TEST_BOTH(objects_are_wrapped_in_both_directions)
{
	struct far_slave *s = START(), *t = far_slave_thread();

	for (int i = 0; i < 50; i++) {
		far_task(int) task = far_schedule(t, wrap_there, s);
		struct shape *r = far_wrap(t, make_rect, 2, 2);

		CHECK(r->area(r) == 4);
		CHECK_EQ(far_wait(task), 1);
		CHECK_EQ(far_drop(r), 0);
	}
	CHECK_EQ(far_slave_close(t), 0);
	CHECK_EQ(far_slave_close(s), 0);
}

static int wrap_many(struct far_slave *s)
{
	struct shape *r[200];
	int right = 0;

	for (int i = 0; i < 200; i++)
		r[i] = far_wrap_with(destroy, s, make_rect, i, 1);
	for (int i = 0; i < 200; i++) {
		right += r[i] && r[i]->area(r[i]) == i;
		far_drop(r[i]);
	}
	return right;
}

static int wrap_many_of_ones_own(void)
{
	struct far_slave *s = far_slave_process();
	int right = wrap_many(s);

	far_slave_close(s);
	return right;
}

/* The range that proxies lie in is no memory. */
TEST(a_slave_of_little_memory_has_proxies_too)
{
	struct far_slave *s = far_slave_process(.memory_limit = 32 << 20);

	CHECK_EQ(far_invoke(s, wrap_many_of_ones_own), 200);
	CHECK_OK();
	CHECK_EQ(far_slave_close(s), 0);
}

TEST_BOTH(objects_that_were_dropped_leave_nothing_behind)
{
	struct far_slave *s = START();
	size_t memory = 0;
	int maps = 0;

	for (int i = 0; i < 4000; i++) {
		struct shape *r = far_wrap_with(destroy, s, make_rect, i, 1);

		CHECK(r->area(r) == i);
		CHECK_EQ(far_drop(r), 0);
		if (i == 2500) {
			memory = mallinfo2().uordblks;
			maps = count_maps();
		}
	}
	CHECK(mallinfo2().uordblks <= memory + 4096);
	CHECK(count_maps() <= maps + 2);
	CHECK_EQ(far_invoke(s, count_alive), 0);
	CHECK_EQ(far_slave_close(s), 0);
}

static void lose_objects(unsigned slaves, int objects)
{
	for (unsigned i = 0; i < slaves; i++) {
		struct far_slave *s = far_slave_process();

		CHECK_EQ(far_invoke(s, count_alive), 0);
		for (int k = 0; k < objects; k++) {
			struct shape *r = far_wrap_with(destroy, s, make_rect, k, 1);

			CHECK(r->area(r) == k);
			CHECK(k % 3 || far_drop(r) == 0);
		}
		capture_begin();
		kill(far_slave_pid(s), SIGKILL);
		CHECK_EQ(far_slave_close(s), -EOWNERDEAD);
		CHECK(far_died(far_error()));
		capture_end();
	}
}

/* They are dropped when their slave is closed, and kept as long as others that were; a slave's number has a record. */
TEST(objects_of_slaves_that_died_leave_nothing_behind)
{
	lose_objects(120, 15);
	size_t start = mallinfo2().uordblks, shared = heap_in_use();
	int maps = count_maps();

	lose_objects(60, 0);
	size_t records = mallinfo2().uordblks - start;

	lose_objects(60, 15);
	CHECK(mallinfo2().uordblks <= start + 2 * records + 8192);
	CHECK(heap_in_use() <= shared + 64);
	CHECK(count_maps() <= maps + 2);
}
