/*
 * far_bind(): functions of a library as plain function pointers, which are
 * closures of libffi. They live on when the library is closed, for somebody may
 * still call them; the oldest of many such are freed.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "library.h"
#include "lookup.h"
#include "prototype.h"
#include "signature.h"

enum { CLOSED_KEPT = 1000 };

struct bound {
	struct bound *older;
	char *text, *type;		/* as far_bind() was given them */
	uintptr_t library, slave;	/* handles */
	struct far__signature *signature;
	ffi_cif cif;			/* for the closure */
	ffi_closure *closure;
	void *code;			/* what the program calls */
	_Atomic uint64_t at;		/* where the function is, 48 bits, and the low bits of the incarnation */
};

static struct {
	pthread_mutex_t lock;
	struct bound *newest;
} all = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* ---------------------------------------------------------------- the calls */

static uint64_t pack(struct far__location place)
{
	return (uintptr_t)place.address | (uint64_t)place.incarnation << 48;
}

/* Where the function is in the slave that there is now. 0 and far_error(). */
static uint64_t find_again(struct bound *b, const struct far__asker *asker)
{
	struct far__library *library = far__library_enter(b->library, asker);

	if (!library)
		return 0;
	struct far__location place = far__library_function(library, b->signature->recipe.site.function, asker);

	far__library_leave(library);
	if (!place.address)
		return 0;
	atomic_store(&b->at, pack(place));
	return pack(place);
}

static uint64_t find(struct bound *b, const struct far__asker *asker)
{
	uint64_t at = atomic_load_explicit(&b->at, memory_order_relaxed);

	if (FAR_UNLIKELY(!far__library_is_open(b->library) || at >> 48 != (far__incarnation(b->slave) & 0xffff)))
		return find_again(b, asker);
	return at;
}

/* Somebody has called the pointer. */
static void call_bound(ffi_cif *cif, void *result, void **arguments, void *bound)
{
	struct bound *b = bound;
	const struct far__site *site = &b->signature->recipe.site;
	uint64_t at = find(b, &(const struct far__asker){ site->function, site, 0 });

	if (at)
		far__signature_invoke(b->signature, (struct far_slave *)b->slave, far__life((uint32_t)(at >> 48)), NULL,
				      (void *)(uintptr_t)(at & ((1ull << 48) - 1)), arguments, result);
	else
		far__no_value(cif, result);
}

/* ----------------------------------------------------------------- binding */

static void free_bound(struct bound *b)
{
	if (b->closure)
		ffi_closure_free(b->closure);
	far__signature_free(b->signature);
	free(b->text);
	free(b->type);
	free(b);
}

/* Free what has long been closed. The list is locked. */
static void forget_old(void)
{
	unsigned closed = 0;

	for (struct bound **p = &all.newest, *b; (b = *p);) {
		closed += !far__library_is_open(b->library);
		if (closed <= CLOSED_KEPT || far__library_is_open(b->library)) {
			p = &b->older;
			continue;
		}
		*p = b->older;
		free_bound(b);
	}
}

static struct bound *find_bound(uintptr_t library, const char *text, const char *type)
{
	for (struct bound *b = all.newest; b; b = b->older)
		if (b->library == library && !strcmp(b->text, text) && !strcmp(b->type, type))
			return b;
	return NULL;
}

static bool no_memory(const struct far__asker *asker)
{
	far__fail(FAR_ENOMEM, ENOMEM, asker->function, asker->site, "no memory for a function pointer");
	return false;
}

/* A prototype and the pointer's type must agree, if the latter says something that can be understood. */
static bool agrees(const struct bound *b, const struct far__asker *asker)
{
	struct far__arena arena = { 0 };
	const struct far__type *wanted = far__function_type(b->type, NULL, &arena, NULL);
	bool same = !wanted || far__type_same(wanted, b->signature->type);

	far__arena_free(&arena);
	if (!same)
		far__fail(FAR_ETYPE, EINVAL, asker->function, asker->site, "\"%s\" is not the type %s", b->text, b->type);
	return same;
}

static bool make_closure(struct bound *b, const struct far__asker *asker)
{
	struct far__complaint why;

	if (!far__signature_closure(b->signature, &b->cif, &why)) {
		far__fail_complaint(asker, FAR_ETYPE, b->text, &why);
		return false;
	}
	int cancel = far__put_cancel_off();	/* libffi reads files */

	b->closure = ffi_closure_alloc(sizeof *b->closure, &b->code);
	pthread_setcancelstate(cancel, NULL);
	return (b->closure && ffi_prep_closure_loc(b->closure, &b->cif, call_bound, b, b->code) == FFI_OK) ||
	       no_memory(asker);
}

/* Find out all about it. Needs the library's lock, and lets it go while the slave is asked. */
static bool fill_in(struct bound *b, struct far__library *library, const struct far__asker *asker)
{
	struct far__symbol *symbol = far__library_symbol(library, b->text, asker);

	b->slave = library->slave;
	b->library = library->handle;
	b->signature = symbol ? far__look_up(library, symbol, b->type, asker) : NULL;
	if (!b->signature || !agrees(b, asker) || !make_closure(b, asker))
		return false;
	struct far__location place = { .address = far__library_address(library, symbol, asker) };

	place.incarnation = symbol->incarnation;
	atomic_store(&b->at, pack(place));
	return place.address;
}

static struct bound *new_bound(struct far__library *library, const char *text, const char *type,
			       const struct far__asker *asker)
{
	struct bound *b = calloc(1, sizeof *b);

	if (b && (b->text = strdup(text)) && (b->type = strdup(type))) {
		if (fill_in(b, library, asker))
			return b;
	} else {
		no_memory(asker);
	}
	if (b)
		free_bound(b);
	return NULL;
}

static struct bound *find_listed(struct far__library *library, const char *text, const char *type)
{
	pthread_mutex_lock(&all.lock);
	struct bound *b = find_bound(library->handle, text, type);

	pthread_mutex_unlock(&all.lock);
	return b;
}

/* Add it, unless another thread has bound the same meanwhile: that which is in the list. */
static struct bound *list(struct bound *new)
{
	pthread_mutex_lock(&all.lock);
	struct bound *b = find_bound(new->library, new->text, new->type);

	if (b) {
		free_bound(new);
	} else {
		b = new;
		b->older = all.newest;
		all.newest = b;
		forget_old();
	}
	pthread_mutex_unlock(&all.lock);
	return b;
}

static struct bound *bind_in(struct far__library *library, const char *text, const char *type, const struct far__asker *asker)
{
	struct bound *b = find_listed(library, text, type);

	if (b)
		return b;
	pthread_mutex_lock(&library->lock);
	b = new_bound(library, text, type, asker);
	pthread_mutex_unlock(&library->lock);
	return b ? list(b) : NULL;
}

void *far__bind(struct far_slave *target, const char *function, const char *type, const char *file, unsigned line)
{
	const struct far__site site = { .function = "far_bind", .file = file, .line = line };
	const struct far__asker asker = { "far_bind", &site, 0 };
	struct far__library *library = far__library_enter((uintptr_t)target, &asker);

	if (!library)
		return NULL;
	struct bound *b = bind_in(library, function, type, &asker);

	far__library_leave(library);
	return b ? b->code : NULL;
}
