/*
 * Proxies of objects: far_wrap() and what belongs to it.
 *
 * A proxy is what the program sees: a copy of the object's data, in the pool,
 * followed by copies of its tables; its function pointers are closures of libffi.
 * Beside it is a record (struct proxy), and in the far heap a copy that the slave
 * makes anew after each method, from which the data is taken.
 *
 * A dropped proxy is kept for a while, so that to use it is an error and no crash:
 * but what it had in the far heap is given back when the last call in it returns.
 */
#include <errno.h>
#include <search.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "class.h"
#include "heap.h"
#include "library.h"
#include "sys.h"
#include "pool.h"

enum { DROPPED_KEPT = 1000, UNKNOWN_SIZE = 4096 };

struct proxy;

/* A method of a proxy. */
struct bound {
	struct proxy *proxy;
	const struct far__method *method;
	ffi_closure *closure;
	void *code;
	struct far__mirror *mirror;	/* what the slave is told to call, in the far heap */
};

/* A copy of a table. */
struct shown {
	char *here;			/* in the proxy's data; NULL: there is none */
	char *real;
};

struct proxy {
	struct proxy *next;		/* of those that are dropped, the next newer */
	uintptr_t slave;		/* its handle ... */
	uint32_t incarnation;		/* ... and its life, in which the object is */
	char *real;			/* where that is */
	const struct far__class *class;
	char *data;			/* in the pool */
	struct shown *tables;		/* as many as the class has */
	struct bound *bound;		/* as many as the class has methods */
	/* In the far heap; NULL if the type is not known, or when it is not used any more. */
	char *_Atomic copy;
	struct far__mirror *_Atomic mirrors;	/* as many as there are methods */
	void *destroy;			/* over there; NULL: nothing */
	unsigned references;
	_Atomic bool dead;		/* dropped, or its slave is closed */
	bool dropped;
	_Atomic unsigned users;		/* calls in it, and one for its being alive */
};

static struct {
	pthread_mutex_t lock;
	void *alive;			/* a tree for tsearch(): by slave, incarnation and address */
	struct proxy *oldest, **newest;	/* that were dropped */
	unsigned dropped;
} all = { .lock = PTHREAD_MUTEX_INITIALIZER, .newest = &all.oldest };

/* ------------------------------------------------------------ in the slave */

/* The kernel copies it, and finds out whether there is any. */
static void copy_there(void *to, const void *from, size_t size)
{
	const struct iovec there = { to, size }, here = { (void *)(uintptr_t)from, size };
	long n = SYS(process_vm_readv, getpid(), &there, 1, &here, 1, 0);

	if (n == -EFAULT || (n >= 0 && n < (long)size))
		far_raise(FAR_EPOINTER, "there is nothing to be read at %p", from);
	if (n < 0)	/* it may not */
		memcpy(to, from, size);
}

/* ------------------------------------------------------------------- records */

static int by_type(const struct far__type *t, const struct far__type *u)
{
	const char *name = t && t->name ? t->name : "", *other = u && u->name ? u->name : "";
	uint64_t size = t ? t->size : 0, others = u ? u->size : 0;

	return size != others ? (size < others ? -1 : 1) : strcmp(name, other);
}

/* And by type: a struct and the first of its members have one address. */
static int by_object(const void *a, const void *b)
{
	const struct proxy *p = a, *q = b;

	if (p->slave != q->slave)
		return p->slave < q->slave ? -1 : 1;
	if (p->incarnation != q->incarnation)
		return p->incarnation < q->incarnation ? -1 : 1;
	if (p->real != q->real)
		return p->real < q->real ? -1 : 1;
	return by_type(p->class->type, q->class->type);
}

/* Nobody is in it, and who enters is turned away; but may be the second to do this. */
static void free_shared(struct proxy *p)
{
	char *copy = atomic_exchange(&p->copy, NULL);
	struct far__mirror *mirrors = atomic_exchange(&p->mirrors, NULL);

	if (copy)
		far__heap_free(copy);
	if (mirrors)
		far__heap_free(mirrors);
}

static void free_proxy(struct proxy *p)
{
	free_shared(p);
	for (size_t i = 0; p->bound && i < p->class->methods; i++)
		if (p->bound[i].closure)
			ffi_closure_free(p->bound[i].closure);
	free(p->bound);
	free(p->tables);
	if (p->data)
		far__pool_give(p->data);
	free(p);
}

static void leave(void *proxy)
{
	struct proxy *p = proxy;

	if (atomic_fetch_sub(&p->users, 1) == 1)
		free_shared(p);
}

/* It is used no more: let the oldest go. The lock is held. */
static void keep_dropped(struct proxy *p)
{
	p->next = NULL;
	*all.newest = p;
	all.newest = &p->next;
	if (++all.dropped <= DROPPED_KEPT)
		return;
	struct proxy *old = all.oldest;

	/* A call that has been in it all the while keeps it. */
	if (atomic_load(&old->users))
		return;
	all.oldest = old->next;
	all.dropped--;
	free_proxy(old);
}

/* Why the object of a proxy cannot be used any more, or NULL. */
static const char *why_stale(const struct proxy *p)
{
	if (atomic_load(&p->dead))
		return p->dropped ? "it was dropped by far_drop()" : "its slave is closed";
	return far__incarnation(p->slave) != p->incarnation ? "its slave was started again" : NULL;
}

static void fail_stale(const struct proxy *p, const char *function, const char *why)
{
	far__fail(FAR_ESTALE, EFAULT, function, NULL, "the object at %p is gone: %s", (void *)p->data, why);
	far__failure()->address = p->data;
}

/* Use a proxy until leave(); false and FAR_ESTALE. */
static bool enter(struct proxy *p, const char *function)
{
	atomic_fetch_add(&p->users, 1);
	const char *why = why_stale(p);

	if (!why)
		return true;
	leave(p);
	fail_stale(p, function, why);
	return false;
}

/* ------------------------------------------------------------------- methods */

static void take_data(const struct proxy *p)
{
	for (size_t i = 0; i < p->class->datas; i++)
		memcpy(p->data + p->class->data[i].offset, p->copy + p->class->data[i].offset, p->class->data[i].length);
}

static char *wrap_result(const struct proxy *from, const struct far__method *method, char *real);

/* Somebody has called a function pointer of a proxy. */
static void call_method(ffi_cif *cif, void *result, void **arguments, void *bound)
{
	const struct bound *b = bound;
	const struct far__signature *s = &b->method->signature;
	struct proxy *p = b->proxy;
	struct far__kept kept = { leave, p, false };

	if (!enter(p, s->recipe.site.function)) {
		far__no_value(cif, result);
		return;
	}
	far__signature_invoke(s, (struct far_slave *)p->slave, far__life(p->incarnation), &kept,
			      (void *)((uintptr_t)b->mirror | FAR_MIRRORED), arguments, result);
	if (!far__failed) {
		take_data(p);
		if (b->method->gives_object && !far__is_number(*(char **)result))
			*(char **)result = wrap_result(p, b->method, *(char **)result);
	}
	if (!kept.by_call)
		leave(p);
}

/* ------------------------------------------------------------------- wrapping */

/* Where the program finds a method's function pointer; NULL if it is in a table that there is not. */
static char *home_of(const struct proxy *p, const struct far__method *m)
{
	char *base = m->table < 0 ? p->data : p->tables[m->table].here;

	return base ? base + m->offset : NULL;
}

static bool no_memory(const struct far__asker *asker)
{
	far__fail(FAR_ENOMEM, ENOMEM, asker->function, asker->site, "no memory for a proxy");
	return false;
}

/* Tables lie behind the data: where the first @n of them end, in the proxy as in the far heap. */
static size_t end_of_tables(const struct far__class *c, size_t n)
{
	size_t end = (c->type->size + 15) & ~15ul;

	for (size_t i = 0; i < n; i++)
		end += (c->table[i].size + 15) & ~15ul;
	return end;
}

static bool make_closure(struct proxy *p, size_t i, void *function)
{
	struct bound *b = &p->bound[i];
	const struct far__method *m = &p->class->method[i];

	*b = (struct bound){ .proxy = p, .method = m, .code = m->stub, .mirror = &p->mirrors[i] };
	if (m->stub)
		return true;
	*b->mirror = (struct far__mirror){ .function = function, .from = p->real, .to = p->copy, .size = p->class->type->size };
	b->closure = ffi_closure_alloc(sizeof *b->closure, &b->code);
	return b->closure &&
	       ffi_prep_closure_loc(b->closure, (ffi_cif *)(uintptr_t)&m->cif, call_method, b, b->code) == FFI_OK;
}

/* Put closures where functions are. */
static bool bind_methods(struct proxy *p)
{
	for (size_t i = 0; i < p->class->methods; i++) {
		const struct far__method *m = &p->class->method[i];
		char *home = home_of(p, m);
		void *function = NULL;

		/* The tables are copied already, the object's own functions are not. */
		if (home)
			memcpy(&function, m->table < 0 ? p->copy + m->offset : home, sizeof function);
		if (!function)
			continue;
		if (!make_closure(p, i, function))
			return false;
		memcpy(home, &p->bound[i].code, sizeof(void *));
	}
	return true;
}

/* Have what the object's life has at @from copied to p->copy + @at. */
static bool copy(struct proxy *p, size_t at, char *from, size_t size)
{
	struct far__kept kept = { leave, p, false };

	atomic_fetch_add(&p->users, 1);
	far_invoke((struct far_slave *)p->slave, copy_there, FAR_KEEPING(far_remote((void *)(p->copy + at)), &kept),
		   FAR_OF_LIFE(far_remote((void *)from), p->incarnation), size);
	bool copied = !far__failed;

	if (!kept.by_call)
		leave(p);
	return copied;
}

/* Copy the object's tables behind it. */
static bool copy_tables(struct proxy *p)
{
	const struct far__class *c = p->class;

	for (size_t i = 0; i < c->tables; i++) {
		const struct far__table *table = &c->table[i];
		size_t at = end_of_tables(c, i);
		char *here = p->data + at, *real;

		memcpy(&real, p->copy + table->offset, sizeof real);
		if (far__is_number(real)) {
			memcpy(p->data + table->offset, &real, sizeof real);
			continue;
		}
		if (!copy(p, at, real, table->size))
			return false;
		memcpy(here, p->copy + at, table->size);
		memcpy(p->data + table->offset, &here, sizeof here);
		p->tables[i] = (struct shown){ here, real };
	}
	return true;
}

static bool copy_object(struct proxy *p)
{
	return copy(p, 0, p->real, p->class->type->size);
}

/* The type is known. */
static bool fill_in(struct proxy *p, const struct far__asker *asker)
{
	const struct far__class *c = p->class;
	int err;

	p->bound = calloc(c->methods + 1, sizeof *p->bound);
	p->tables = calloc(c->tables + 1, sizeof *p->tables);
	p->copy = far__heap_alloc(end_of_tables(c, c->tables), true, &err);
	p->mirrors = far__heap_alloc((c->methods + 1) * sizeof *p->mirrors, true, &err);
	if (!p->bound || !p->tables || !p->copy || !p->mirrors)
		return no_memory(asker);
	if (copy_object(p) && copy_tables(p)) {
		if (!bind_methods(p))
			return no_memory(asker);
		take_data(p);
		return true;
	}
	if (!far__failed)
		return no_memory(asker);
	far__blame(asker->function, asker->site, "the object cannot be read: ");
	return false;
}

/* It is not: a handle, of which each member is a function that says so. */
static bool fill_unknown(struct proxy *p)
{
	for (size_t i = 0; i < UNKNOWN_SIZE; i += sizeof p->class->stub)
		memcpy(p->data + i, &p->class->stub, sizeof p->class->stub);
	return true;
}

/* It was not finished; a call that was given up may still write to what it has in the far heap. The lock is held. */
static void forget(struct proxy *p)
{
	if (atomic_load(&p->users) == 1) {
		free_proxy(p);
		return;
	}
	atomic_store(&p->dead, true);
	p->dropped = true;
	leave(p);
	keep_dropped(p);
}

/* With the lock not held, for the slave is asked, which may wrap objects itself. NULL and far_error(). */
static struct proxy *new_proxy(const struct proxy *key, const struct far__class *class, const struct far__asker *asker)
{
	struct proxy *p = calloc(1, sizeof *p);
	size_t size = class->type ? end_of_tables(class, class->tables) : UNKNOWN_SIZE;

	if (!p) {
		(void)no_memory(asker);
		return NULL;
	}
	*p = (struct proxy){ .slave = key->slave, .incarnation = key->incarnation, .real = key->real, .class = class, .users = 1 };
	pthread_mutex_lock(&all.lock);
	p->data = far__pool_take(size, p);
	pthread_mutex_unlock(&all.lock);
	int cancel = far__put_cancel_off();	/* libffi reads files */
	bool filled = p->data ? (class->type ? fill_in(p, asker) : fill_unknown(p)) : no_memory(asker);

	pthread_setcancelstate(cancel, NULL);
	if (filled)
		return p;
	pthread_mutex_lock(&all.lock);
	forget(p);
	pthread_mutex_unlock(&all.lock);
	return NULL;
}

/* One more reference to the proxy of an object, if there is one. The lock is held. */
static struct proxy *refer(const struct proxy *key)
{
	void **found = tfind(key, &all.alive, by_object);
	struct proxy *p = found ? *found : NULL;

	if (p)
		p->references++;
	return p;
}

/* Make it known; or another thread has, and it is freed. NULL if there is no memory. */
static struct proxy *publish(struct proxy *new)
{
	pthread_mutex_lock(&all.lock);
	struct proxy *p = refer(new);

	if (!p && tsearch(new, &all.alive, by_object)) {
		p = new;
		p->references = 1;
	} else {
		free_proxy(new);
	}
	pthread_mutex_unlock(&all.lock);
	return p;
}

/* The proxy of an object, new or not, with a reference more. NULL and far_error(). */
static struct proxy *proxy_of(uintptr_t slave, char *real, const struct far__class *class, const struct far__asker *asker)
{
	const struct proxy key = { .slave = slave, .incarnation = far__incarnation(slave), .real = real, .class = class };
	const struct far__slave *record = far__slave_find(slave, asker->function, asker->site);

	if (!record)
		return NULL;
	/* That incarnation's memory, if it is the memory of one. */
	if (far__image_reach(record, real) == FAR_STALE) {
		far__fail(FAR_ESTALE, EFAULT, asker->function, asker->site, "the object at %p is gone: its slave was started again",
			  (void *)real);
		return NULL;
	}
	pthread_mutex_lock(&all.lock);
	struct proxy *p = refer(&key);

	pthread_mutex_unlock(&all.lock);
	if (p)
		return p;
	p = new_proxy(&key, class, asker);
	if (p && !(p = publish(p)))
		(void)no_memory(asker);
	return p;
}

static char *wrap_result(const struct proxy *from, const struct far__method *method, char *real)
{
	const struct far__asker asker = { method->signature.recipe.site.function, NULL, 0 };
	const struct far__class *class = far__class_of_type(method->signature.type->target->target);
	struct proxy *p = class ? proxy_of(from->slave, real, class, &asker) : NULL;

	if (!class)
		(void)no_memory(&asker);
	return p ? p->data : NULL;
}

/* ---------------------------------------------------------- pointers to proxies */

/* What a pointer into a proxy points to there: the data, or one of the tables behind. */
static char *real_of(const struct proxy *p, char *at)
{
	for (size_t i = 0; p->class->type && i < p->class->tables; i++) {
		const struct shown *t = &p->tables[i];

		if (t->here && at >= t->here && at <= t->here + p->class->table[i].size)
			return t->real + (at - t->here);
	}
	return p->real + (at - p->data);
}

static void *find_real(struct far__call *call, void *at, int argument)
{
	struct proxy *p = far__pool_owner(at);
	const char *why = p ? why_stale(p) : "it was dropped long ago";

	if (!why && p->slave != (uintptr_t)call->slave)
		why = "it is another slave's";
	if (!why && !far__set_life(call, p->incarnation))
		why = "its slave was started again";
	if (!why)
		return real_of(p, at);
	far__fail(FAR_ESTALE, EFAULT, call->site->function, call->site, "argument %d (%p) is a proxy whose object is not there: %s",
		  argument, at, why);
	far__failure()->address = at;
	return NULL;
}

/* Take a proxy out of use. The lock is held. */
static void kill_proxy(struct proxy *p)
{
	tdelete(p, &all.alive, by_object);
	atomic_store(&p->dead, true);
	leave(p);
}

struct orphans {
	uintptr_t slave;
	struct proxy *first;
};

static struct orphans *orphans;	/* under the lock: for twalk() */

static void find_orphan(const void *node, VISIT visit, int depth)
{
	struct proxy *p = *(struct proxy *const *)node;

	(void)depth;
	if ((visit == postorder || visit == leaf) && p->slave == orphans->slave) {
		p->next = orphans->first;
		orphans->first = p;
	}
}

/* A slave is closed: its objects are gone. */
static void slave_closed(uintptr_t slave)
{
	struct orphans found = { .slave = slave };

	pthread_mutex_lock(&all.lock);
	orphans = &found;
	twalk(all.alive, find_orphan);
	for (struct proxy *p = found.first, *next; p; p = next) {
		next = p->next;
		kill_proxy(p);
		keep_dropped(p);
	}
	pthread_mutex_unlock(&all.lock);
}

/* ------------------------------------------------------- for the program */

void *far__wrap(struct far_slave *target, void *object, const void *planted, void *destroy, const char *destroyer,
		const char *file, unsigned line)
{
	const struct far__site site = { .function = "far_wrap", .file = file, .line = line };
	const struct far__asker asker = { "far_wrap", &site, 0 };
	uintptr_t slave = (uintptr_t)target;

	if (far__is_number(object))
		return object;
	if (far__is_library(slave)) {
		struct far__library *l = far__library_enter(slave, &asker);

		if (!l)
			return NULL;
		slave = l->slave;
		if (destroyer && !destroy)
			destroy = far__library_function(l, destroyer, &asker).address;
		far__library_leave(l);
		if (destroyer && !destroy)
			return NULL;
	}
	const struct far__class *class = far__class_of_variable(planted);

	far__proxies.find = find_real;
	far__proxies.slave_closed = slave_closed;
	struct proxy *p = class ? proxy_of(slave, object, class, &asker) : NULL;

	if (!class)
		(void)no_memory(&asker);
	if (!p)
		return NULL;
	if (destroy)
		p->destroy = destroy;
	return p->data;
}

static struct proxy *find(void *object, const char *function)
{
	struct proxy *p = far__pool_owner(object);

	if (!p)
		far__fail(FAR_EINVAL, EINVAL, function, NULL, "%p is no proxy, or it was dropped long ago", object);
	return p;
}

/* Destroy the object, if it is still there. */
static void destroy(const struct proxy *p)
{
	void (*destroyer)(void *) = (void (*)(void *))(uintptr_t)p->destroy;

	if (!destroyer || far__incarnation(p->slave) != p->incarnation || far__is_dead(far__handle_number(p->slave)))
		return;
	far_invoke((struct far_slave *)p->slave, destroyer, FAR_OF_LIFE(far_remote((void *)p->real), p->incarnation));
	if (far__failed)
		far__blame("far_drop", NULL, "the object was not destroyed: ");
}

int far_drop(void *object)
{
	struct proxy *p = object ? find(object, "far_drop") : NULL;

	if (!p)
		return object ? -EINVAL : 0;
	pthread_mutex_lock(&all.lock);
	bool is_orphan = atomic_load(&p->dead) && !p->dropped, last = false, stale = p->dropped;

	if (!stale && !--p->references) {
		last = !is_orphan;
		p->dropped = true;
		if (last)
			kill_proxy(p);
	}
	pthread_mutex_unlock(&all.lock);
	if (stale) {
		fail_stale(p, "far_drop", why_stale(p));
		return -EINVAL;
	}
	if (!last)
		return 0;
	destroy(p);
	pthread_mutex_lock(&all.lock);
	keep_dropped(p);
	pthread_mutex_unlock(&all.lock);
	return 0;
}

/* A proxy whose type is known, entered; NULL and far_error(). */
static struct proxy *enter_known(void *object, const char *function)
{
	struct proxy *p = find(object, function);

	if (!p)
		return NULL;
	if (!p->class->type) {
		far__fail(FAR_ETYPE, ENOTSUP, function, NULL, "%s", p->class->why);
		return NULL;
	}
	return enter(p, function) ? p : NULL;
}

int far_refresh(void *object)
{
	struct proxy *p = enter_known(object, "far_refresh");

	if (!p)
		return -EINVAL;
	bool copied = copy_object(p);

	if (copied)
		take_data(p);
	else
		far__blame("far_refresh", NULL, "");
	leave(p);
	return copied ? 0 : -EOWNERDEAD;
}

void *far__unwrap(void *object)
{
	struct proxy *p = enter_known(object, "far_unwrap");
	void *home = p ? far_alloc(p->class->type->size) : NULL;

	if (home && copy_object(p)) {
		memcpy(home, p->copy, p->class->type->size);
	} else if (home) {
		far__blame("far_unwrap", NULL, "");
		far__heap_free(home);
		home = NULL;
	}
	if (p)
		leave(p);
	return home;
}
