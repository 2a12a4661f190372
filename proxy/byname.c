/* far_call(): values whose types the compiler knows, for parameters whose types are data. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "library.h"
#include "lookup.h"
#include "signature.h"
#include "value.h"

/* ---------------------------------------------------------------- far_call() */

union scalar {
	char bytes[FAR_SCALAR_SIZE];
	long double alignment;
	void *pointer;
};

/* A call on its way: its arguments, converted. */
struct making {
	struct far__call *call;
	const struct far__signature *signature;
	const struct far__asker *asker;
	union scalar scalar[FAR_ARGUMENTS_MAX];
	void *argument[FAR_ARGUMENTS_MAX];		/* a scalar, or the program's own struct */
	struct far__type value[FAR_ARGUMENTS_MAX];	/* the program's types */
	const struct far__type *extra[FAR_ARGUMENTS_MAX];
};

static bool refuse_argument(const struct making *m, unsigned i, const struct far__complaint *why)
{
	far__fail(FAR_ETYPE, EINVAL, m->signature->recipe.site.function, m->asker->site, "argument %u: %s", i + 1, why->text);
	return false;
}

/* An argument of a parameter. */
static bool convert_argument(struct making *m, unsigned i, const struct far__value *value)
{
	const struct far__type *parameter = m->signature->type->member[i].type;
	struct far__complaint why;

	m->argument[i] = far__is_aggregate(parameter) ? (void *)(uintptr_t)value->at : m->scalar[i].bytes;
	if (far__is_aggregate(parameter) && far__is_aggregate(&m->value[i]) && parameter->size == value->size)
		return true;
	if (!far__convert(parameter, m->scalar[i].bytes, &m->value[i], value->at, &why))
		return refuse_argument(m, i, &why);
	return true;
}

/* A further argument of a variadic function, promoted. */
static bool promote_argument(struct making *m, unsigned i, const struct far__value *value)
{
	static const struct far__type types[] = {
		{ .kind = FAR_INTEGER, .is_signed = true, .is_complete = true, .size = 4, .alignment = 4 },
		{ .kind = FAR_FLOAT, .is_complete = true, .size = 8, .alignment = 8 },
		{ .kind = FAR_VOID },
	};
	struct far__type *t = &m->value[i];
	struct far__complaint why;

	t->alignment = (uint32_t)(t->size < 16 ? t->size : 16);
	if (far__is_aggregate(t)) {
		far__refuse(&why, "a struct or union where the prototype has \"...\": its members are not known");
		return refuse_argument(m, i, &why);
	}
	if (t->kind == FAR_POINTER)
		t->target = &types[2];
	m->extra[i] = t->kind == FAR_INTEGER && t->size < 4 ? &types[0] : t->kind == FAR_FLOAT && t->size < 8 ? &types[1] : t;
	m->argument[i] = m->scalar[i].bytes;
	return far__convert(m->extra[i], m->argument[i], t, value->at, &why) || refuse_argument(m, i, &why);
}

static bool convert_arguments(struct making *m, const struct far__value *values, unsigned count)
{
	const struct far__type *f = m->signature->type;

	if (count < f->count || (count > f->count && !f->is_variadic)) {
		far__fail(FAR_ETYPE, EINVAL, m->signature->recipe.site.function, m->asker->site, "it takes %s%u arguments, not %u",
			  f->is_variadic ? "at least " : "", (unsigned)f->count, count);
		return false;
	}
	for (unsigned i = 0; i < count; i++) {
		m->value[i] = far__value_type(&values[i]);
		if (i < f->count ? !convert_argument(m, i, &values[i]) : !promote_argument(m, i, &values[i]))
			return false;
	}
	return true;
}

static void look_at_pointers(struct making *m, const struct far__value *values, unsigned count)
{
	const struct far__type *f = m->signature->type;

	for (unsigned i = 0; i < count; i++) {
		const struct far__type *t = i < f->count ? f->member[i].type : m->extra[i];
		bool string = i < f->count ? far__is_string(t) : values[i].const_char;

		if (far__is_pointer(t))
			far__look_at(m->call, m->argument[i], (int)i + 1, string ? FAR__CONST_CHAR : 0,
				     i < f->count ? far__constant_size(t) : 0);
	}
}

/* As much as @type's values have, or a register of libffi. */
static void *room_for_result(const struct far__type *type, union scalar *small)
{
	return type->size <= sizeof *small ? small->bytes : malloc(type->size);
}

static void give_result(const struct making *m, const void *from, const struct far__value *result)
{
	const struct far__type *type = m->signature->type->target;
	struct far__complaint why;

	if (!result || far__failed)
		return;
	struct far__type wanted = far__value_type(result);

	if (far__convert(&wanted, (void *)(uintptr_t)result->at, type, from, &why))
		return;
	memset((void *)(uintptr_t)result->at, 0, result->size);
	far__fail(FAR_ETYPE, EINVAL, m->signature->recipe.site.function, m->asker->site, "the result: %s", why.text);
}

static void make_call(struct making *m, const struct far__value *values, unsigned count, const struct far__value *result)
{
	const struct far__signature *s = m->signature;
	struct far__recipe recipe = s->recipe;
	struct far__arena arena = { 0 };
	struct far__complaint why;
	union scalar small;

	if (!convert_arguments(m, values, count))
		return;
	unsigned fixed = (unsigned)s->type->count;

	if (count > fixed && !far__signature_extend(s, m->extra + fixed, count - fixed, &recipe, &arena, &why)) {
		far__fail_complaint(m->asker, FAR_ETYPE, s->recipe.site.function, &why);
		far__arena_free(&arena);
		return;
	}
	void *room = room_for_result(s->type->target, &small);

	if (room) {
		recipe.site.file = m->asker->site->file;
		recipe.site.line = m->asker->site->line;
		far__recipe_prepare(&recipe, m->call);
		look_at_pointers(m, values, count);
		far__recipe_call(&recipe, m->call, m->argument, room);
		give_result(m, room, result);
	} else {
		far__fail(FAR_ENOMEM, ENOMEM, s->recipe.site.function, m->asker->site, "no memory for the result");
	}
	if (room != small.bytes)
		free(room);
	far__arena_free(&arena);
}

/* Another thread may have looked it up meanwhile. */
static void publish(struct far__symbol *symbol, struct far__signature *signature)
{
	if (symbol->signature)
		far__signature_free(signature);
	else
		symbol->signature = signature;
}

/* Find the function there, and how it is called. The call's slave is known then. NULL and far_error(). */
static const struct far__signature *resolve(struct far__call *call, struct far__library *library, const char *function,
					    const struct far__asker *asker)
{
	pthread_mutex_lock(&library->lock);
	struct far__symbol *symbol = far__library_symbol(library, function, asker);

	if (symbol && !symbol->signature)
		publish(symbol, far__look_up(library, symbol, NULL, asker));
	if (symbol && symbol->signature)
		call->function = far__library_address(library, symbol, asker);
	if (call->function)
		call->life = far__life(symbol->incarnation);
	call->slave = (struct far_slave *)library->slave;
	pthread_mutex_unlock(&library->lock);
	return call->function ? symbol->signature : NULL;
}

void far__call_by_name(struct far__call *call, const char *function, const struct far__value *values, unsigned count,
		       const struct far__value *result)
{
	const struct far__asker asker = { call->site->function, call->site, 0 };
	struct far__library *library = far__library_enter((uintptr_t)call->slave, &asker);
	struct making m;	/* of 8 KiB: what is in it is set when it is needed */

	m.call = call;
	m.asker = &asker;

	if (result)
		memset((void *)(uintptr_t)result->at, 0, result->size);
	if (!library)
		return;
	if (!function) {
		far__fail(FAR_EINVAL, EINVAL, asker.function, asker.site, "the function's name is NULL");
		far__library_leave(library);
		return;
	}
	m.signature = resolve(call, library, function, &asker);
	if (m.signature)
		make_call(&m, values, count, result);
	far__library_leave(library);
}
