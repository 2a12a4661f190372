/*
 * far_callback(): functions of this process that a slave calls. What the slave is given
 * is a closure of libffi that it has made itself; the signature lies in the far heap,
 * where both can use it. How the call gets here is the core's business (core/back.c).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "debug.h"
#include "heap.h"
#include "library.h"
#include "lookup.h"
#include "prototype.h"
#include "reader.h"
#include "signature.h"

/* How the functions of one place in the program are called: in the far heap, for ever. */
struct described {
	struct described *next;
	const void *planted;		/* that place */
	struct far__signature signature;
	ffi_cif cif;			/* for closures */
};

static struct {
	pthread_mutex_t lock;
	struct described *first;
} all = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* What a slave calls: in the far heap. */
struct shared {
	struct far__upcall upcall;
	const void *function;
	struct described *described;
	ffi_closure *closure;		/* the slave's own */
};

/* Kept for further calls: a function, as a place in the program names it. */
struct kept {
	struct far__callback callback;
	const void *function, *planted;
	struct shared *shared;
	void *code;			/* what the slave calls */
};

/* ------------------------------------------------------------ in the slave */

static void fail_ended(const char *function)
{
	(void)far_error();	/* what came of it is no news */
	far__fail(FAR_ESTALE, ECANCELED, function, NULL, "the call that this is a callback of has ended");
}

/* The error of a call back is raised where it was made: there is nobody else to tell. */
static void raise_error(const ffi_cif *cif, void *result)
{
	const struct far__running *running = far__thread.running;
	const struct far_error *e = far_error();
	int code = e->code;
	char text[sizeof e->message];

	memcpy(text, e->message, sizeof text);
	if (running && code == FAR_ECANCELLED && running->deadline && far__now() >= running->deadline)
		far_raise(FAR_EDEADLINE, "the deadline passed while it waited for a callback");
	if (running)
		far_raise(code, "%s", text);
	far__complain(text);
	far__no_value(cif, result);
}

/* The slave has called the closure. */
static void call_back(ffi_cif *cif, void *result, void **arguments, void *shared)
{
	const struct shared *s = shared;
	const struct far__signature *signature = &s->described->signature;
	const struct far__site *site = &signature->recipe.site;
	struct far__upcall_state before;

	if (!shm_load(&s->upcall.wanted)) {
		fail_ended(site->function);
	} else if (far__upcall_begin(&s->upcall, site, &before)) {
		far__signature_invoke(signature, (struct far_slave *)s->upcall.owner, 0, NULL, (void *)(uintptr_t)s->function, arguments,
				      result);
		far__upcall_end(&before);
		if (far__failed && !shm_load(&s->upcall.wanted))
			fail_ended(site->function);
	}
	if (far__failed)
		raise_error(cif, result);
}

static void *make_closure(struct shared *s)
{
	void *code;

	s->closure = ffi_closure_alloc(sizeof *s->closure, &code);
	if (!s->closure || ffi_prep_closure_loc(s->closure, &s->described->cif, call_back, s, code) != FFI_OK)
		far_raise(FAR_ENOMEM, "no memory for a function pointer");
	return code;
}

/* ---------------------------------------------------------------- the type */

/* The second argument of far_callback(), in the text of both; NULL: there is none. */
static const char *second(const char *text)
{
	int depth = 0;

	for (; *text; text++) {
		depth += !!strchr("([{", *text) - !!strchr(")]}", *text);
		if (*text == ',' && !depth)
			return text + 1 + strspn(text + 1, " ");
	}
	return NULL;
}

/* The program that has planted a variable knows the names of its own types. */
static const struct far__type *find_type(void *arg, const char *name)
{
	struct described *d = arg;
	struct far__place place;

	return far__debug_place(d->planted, &place, NULL) ? far__read_type(place.module, name, &d->signature.graph, NULL) : NULL;
}

static const struct far__type *read_type(struct described *d, const char *type, struct far__complaint *why)
{
	const struct far__names names = { find_type, d };
	struct far__arena *graph = &d->signature.graph;

	if (type)
		return far__function_type(type, &names, graph, why);
	const struct far__type *pointer = far__read_variable(d->planted, graph, why);

	if (!pointer || (pointer->kind == FAR_POINTER && pointer->target && pointer->target->kind == FAR_FUNCTION))
		return pointer ? pointer->target : NULL;
	far__refuse(why, "it is no function");
	return NULL;
}

/* The function's name: the first argument of far_callback(). */
static char *name_of(const char *text, struct far__arena *arena)
{
	const char *type = second(text);
	size_t length = type ? (size_t)(type - text) : strlen(text);

	while (type && length && (text[length - 1] == ' ' || text[length - 1] == ','))
		length--;
	return far__arena_text(arena, text, length);
}

static void free_described(struct described *d)
{
	far__arena_free(&d->signature.ffi);
	far__arena_free(&d->signature.graph);
	far__heap_free(d);
}

static bool fill_in(struct described *d, const char *text, const struct far__asker *asker)
{
	struct far__signature *s = &d->signature;
	struct far__complaint why = { .offset = -1 };
	const char *type = second(text);

	s->graph = s->ffi = far__reader_arena();
	s->type = read_type(d, type, &why);
	if (s->type && far__signature_prepare(s, &why) && far__signature_closure(s, &d->cif, &why)) {
		s->recipe.site.function = name_of(text, &s->ffi);
		if (s->recipe.site.function)
			return true;
		far__refuse(&why, "no memory for its type");
	}
	far__fail_complaint(asker, FAR_ETYPE, type ? type : text, &why);
	return false;
}

static void no_memory(const struct far__asker *asker)
{
	far__fail(FAR_ENOMEM, ENOMEM, asker->function, asker->site, "no memory for a callback");
}

/* NULL and far_error(). The list is locked. */
static struct described *find_or_describe(const void *planted, const char *text, const struct far__asker *asker)
{
	struct described *d = all.first;
	int err;

	while (d && d->planted != planted)
		d = d->next;
	if (d)
		return d;
	d = far__heap_alloc(sizeof *d, true, &err);
	if (!d) {
		no_memory(asker);
		return NULL;
	}
	d->planted = planted;
	if (!fill_in(d, text, asker)) {
		free_described(d);
		return NULL;
	}
	d->next = all.first;
	all.first = d;
	return d;
}

static struct described *describe(const void *planted, const char *text, const struct far__asker *asker)
{
	pthread_mutex_lock(&all.lock);
	struct described *d = find_or_describe(planted, text, asker);

	pthread_mutex_unlock(&all.lock);
	return d;
}

/* ------------------------------------------------------------- those there are */

static void free_kept(void *kept)
{
	struct kept *k = kept;

	far__heap_free(k->shared);
	free(k);
}

/* The port's slave is gone; but a thread that was left alone may still call. */
static void free_callbacks(struct far__callback *first, bool in_use)
{
	for (struct far__callback *c = first, *next; c; c = next) {
		struct kept *k = (struct kept *)c;

		next = c->next;
		if (in_use)
			continue;
		if (c->port->slave->kind != FAR_PROCESS && k->shared->closure)
			ffi_closure_free(k->shared->closure);
		free_kept(k);
	}
}

/*
 * One that can be used, or made again since those that knew it are dead. What a call that was
 * given up in this incarnation was given, it may still call: that has an end of its own.
 */
static struct kept *find(const struct far__port *port, const void *function, const void *planted)
{
	for (struct far__callback *c = far__back_first(port); c; c = c->next) {
		struct kept *k = (struct kept *)c;

		if (k->function == function && k->planted == planted &&
		    (far__back_has_made(c) || c->incarnation != far__back_incarnation(port)))
			return k;
	}
	return NULL;
}

/* NULL and far_error(). */
static struct kept *describe_new(const void *function, const void *planted, const char *text, const struct far__asker *asker)
{
	int err;
	struct described *d = describe(planted, text, asker);
	struct kept *k = d ? calloc(1, sizeof *k) : NULL;
	struct shared *s = k ? far__heap_alloc(sizeof *s, true, &err) : NULL;

	if (!s) {
		free(k);
		if (d)
			no_memory(asker);
		return NULL;
	}
	s->function = function;
	s->described = d;
	*k = (struct kept){ .callback.upcall = &s->upcall, .function = function, .planted = planted, .shared = s };
	return k;
}

/* NULL and far_error(). */
static struct kept *new_callback(struct far__port *port, uintptr_t slave, const void *function, const void *planted,
				 const char *text, const struct far__asker *asker)
{
	struct kept *k = describe_new(function, planted, text, asker);

	if (!k)
		return NULL;
	struct far__kept kept = { free_kept, k, false };

	k->code = far_invoke((struct far_slave *)slave, make_closure, FAR_KEEPING(k->shared, &kept));
	if (far__failed) {
		far__blame(asker->function, asker->site, "");
		if (!kept.by_call)
			free_kept(k);
		return NULL;
	}
	far__proxies.free_callbacks = free_callbacks;
	far__back_tie(port, &k->callback);
	return k;
}

/* The incarnation that had it is dead. NULL and far_error(). */
static struct kept *renew(struct far__port *port, uintptr_t slave, struct kept *k, const struct far__asker *asker)
{
	void *code = far_invoke((struct far_slave *)slave, make_closure, k->shared);

	if (far__failed) {
		far__blame(asker->function, asker->site, "");
		return NULL;
	}
	k->code = code;
	far__back_tie(port, &k->callback);
	return k;
}

/* -------------------------------------------------------------- for the program */

/* The slave that the call is to be made in; 0 and far_error(). */
static uintptr_t slave_of(const struct far__call *call, const struct far__asker *asker)
{
	uintptr_t handle = (uintptr_t)call->slave;

	if (!far__is_library(handle))
		return handle;
	struct far__library *l = far__library_enter(handle, asker);

	if (!l)
		return 0;
	handle = l->slave;
	far__library_leave(l);
	return handle;
}

/* With the port entered. */
static struct kept *find_or_make(struct far__port *port, uintptr_t slave, const void *function, const void *planted,
				 const char *text, const struct far__asker *asker)
{
	struct kept *k;

	/* Again, if the slave has been started again meanwhile. */
	do {
		if (!far__back_open(port, asker->site))
			return NULL;
		k = find(port, function, planted);
		if (!k)
			k = new_callback(port, slave, function, planted, text, asker);
		else if (!far__back_has_made(&k->callback))
			k = renew(port, slave, k, asker);
	} while (k && !far__back_is_current(port));
	return k;
}

static struct kept *keep(uintptr_t slave, const void *function, const void *planted, const char *text,
			 const struct far__asker *asker)
{
	struct far__port *port = far__port_find(slave, asker->site);
	struct kept *k = NULL;

	if (!port)
		return NULL;
	if (!far__port_enter(port, slave)) {
		far__fail(FAR_ECLOSED, EBADF, asker->function, asker->site, "the slave is closed");
		return NULL;
	}
	k = find_or_make(port, slave, function, planted, text, asker);
	far__port_leave(port);
	return k;
}

/* Files are read. */
static struct kept *keep_uncancelled(uintptr_t slave, void *function, const void *planted, const char *text,
				     const struct far__asker *asker)
{
	int cancel = far__put_cancel_off();
	struct kept *k = keep(slave, function, planted, text, asker);

	pthread_setcancelstate(cancel, NULL);
	return k;
}

void *far__callback(struct far__call *call, void *function, const void *planted, const char *text, const char *file,
		    unsigned line)
{
	const struct far__site site = { .function = "far_callback", .file = file, .line = line };
	const struct far__asker asker = { site.function, &site, 0 };
	uintptr_t slave = slave_of(call, &asker);
	struct kept *k = NULL;

	if (!function || (slave && far__thread.server && far__thread.server->handle == slave))
		return function;
	if (call->op == FAR__OP_SCHEDULE || call->op == FAR__OP_THREAD)
		far__fail(FAR_EINVAL, EINVAL, site.function, &site, "%s: nobody may be waiting when it is called: use far_invoke()", text);
	else if (slave || !far__failed)
		k = keep_uncancelled(slave, function, planted, text, &asker);
	if (!k) {
		call->begun = call->failed = true;
		return function;
	}
	struct far__buffer *b = far__buffer_add(call);
	struct far__port *port = k->callback.port;
	bool in_window = far__space_window(k->code) >= 0;	/* then it is seen there of which incarnation it is */

	if (b)
		*b = (struct far__buffer){
			.here = k->code, .size = (size_t)&k->callback, .argument = call->argument,
			.use = FAR_CALLS_BACK | (in_window ? 0 : FAR__REMOTE),
		};
	if (b && !in_window && port->slave->kind == FAR_PROCESS && !far__set_life(call, far__back_incarnation(port))) {
		far__fail(FAR_ESTALE, EFAULT, site.function, &site, "the slave was started again between two arguments of the call");
		call->begun = call->failed = true;
	}
	return k->code;
}
