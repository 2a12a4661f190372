/* Calls of functions whose types are data: see signature.h. */
#include "signature.h"

#include <stdlib.h>
#include <string.h>

#include "cif.h"

/* ---------------------------------------- what farcall.h knows at compile time */

/* Count the registers that an argument may occupy, as FAR__LAYOUT() does. */
static void count_registers(const struct far__type *t, unsigned *ints, unsigned *vectors, bool *wide)
{
	bool is_pair = t->kind == FAR_STRUCT || t->kind == FAR_UNION || t->kind == FAR_COMPLEX;

	if (is_pair && t->size <= 16) {
		*ints += 2;
		*vectors += 2;
		*wide |= t->size == 16;
	} else if (t->kind == FAR_FLOAT) {
		*vectors += t->size <= sizeof(double);
	} else if (!is_pair) {
		*ints += t->size > 8 ? 2 : 1;
	}
}

static bool is_in_memory(ffi_type *result, void (*probe)(void))
{
	ffi_type *types[] = { &ffi_type_slong, &ffi_type_slong };
	ffi_cif cif;
	long a = 0x51, b = 0x52;
	void *arguments[] = { &a, &b };
	char value[64];
	int in_memory = 0;

	if (ffi_prep_cif(&cif, FFI_DEFAULT_ABI, 2, result, types) == FFI_OK)
		ffi_call_go(&cif, probe, value, arguments, &in_memory);
	return in_memory;
}

/* How the result comes back, as FAR__RESULT() and FAR__ASK_RESULT() find out. */
static enum far__result result_of(const struct far__type *t, ffi_type *ffi)
{
	switch (t->kind) {
	case FAR_VOID:
		return FAR__VOID;
	case FAR_FLOAT:
		return t->size > sizeof(double) ? FAR__X87 : FAR__REGISTERS;
	case FAR_COMPLEX:
		return t->size > 2 * sizeof(double) ? FAR__X87_2 : FAR__REGISTERS;
	case FAR_STRUCT:
	case FAR_UNION:
		break;
	default:
		return t->size > 8 ? FAR__REGISTERS : FAR__INTEGERS;
	}
	if (t->size > 16)
		return FAR__MEMORY;
	if (t->size < 16)
		return is_in_memory(ffi, far__probe) ? FAR__MEMORY : FAR__REGISTERS;
	bool in_memory = is_in_memory(ffi, far__probe_x87);
	/* If libffi expected a long double, it took it from where the probe had left it. */
	bool left = far__x87_left();

	return in_memory ? FAR__MEMORY : left ? FAR__REGISTERS : FAR__X87;
}

static unsigned at_most(unsigned n, unsigned most)
{
	return n < most ? n : most;
}

static void fill_in(struct far__site *site, const struct far__type *function, const struct far__type *const *extra,
		    unsigned extras, const ffi_cif *cif)
{
	unsigned ints, vectors = 0;
	bool wide = false;

	site->result = (uint8_t)result_of(function->target, cif->rtype);
	site->result_size = function->target->size;
	ints = site->result == FAR__MEMORY;
	for (unsigned i = 0; i < function->count; i++)
		count_registers(function->member[i].type, &ints, &vectors, &wide);
	for (unsigned i = 0; i < extras; i++)
		count_registers(extra[i], &ints, &vectors, &wide);
	site->arguments = (uint8_t)(function->count + extras);
	site->ints = (uint8_t)at_most(ints, FAR__INTS);
	site->vectors = (uint8_t)at_most(vectors, FAR__VECTORS);
	site->wide = wide;
	site->stack = (cif->bytes + 7) & ~7u;
}

/* -------------------------------------------------------------- signatures */

bool far__signature_prepare(struct far__signature *s, struct far__complaint *why)
{
	const struct far__type *f = s->type;

	if (!far__signature_extend(s, NULL, 0, &s->recipe, &s->ffi, why))
		return false;
	for (unsigned i = 0; i < f->count && i < FAR_ARGUMENTS_MAX; i++) {
		s->pointers |= (uint32_t)far__is_pointer(f->member[i].type) << i;
		s->strings |= (uint32_t)far__is_string(f->member[i].type) << i;
	}
	return true;
}

bool far__signature_extend(const struct far__signature *s, const struct far__type *const *extra, unsigned extras,
			   struct far__recipe *recipe, struct far__arena *arena, struct far__complaint *why)
{
	if (!far__cif(&recipe->cif, s->type, extra, extras, &recipe->split, arena, why))
		return false;
	fill_in(&recipe->site, s->type, extra, extras, &recipe->cif);
	return true;
}

void far__recipe_prepare(const struct far__recipe *recipe, struct far__call *call)
{
	call->site = &recipe->site;
	call->result = recipe->site.result;
}

void far__recipe_call(const struct far__recipe *recipe, struct far__call *call, void *const *arguments, void *result)
{
	void *argument[FAR_ARGUMENTS_MAX + 1];
	int split = recipe->split;

	/* libffi leaves both of them alone. */
	ffi_cif *cif = (ffi_cif *)(uintptr_t)&recipe->cif;
	void **at = (void **)(uintptr_t)arguments;

	if (FAR_UNLIKELY(split >= 0)) {
		memcpy(argument, arguments, ((unsigned)split + 1) * sizeof *argument);
		argument[split + 1] = (char *)arguments[split] + 8;
		memcpy(&argument[split + 2], &arguments[split + 1], (cif->nargs - (unsigned)split - 2) * sizeof *argument);
		at = argument;
	}
	ffi_call_go(cif, far__capture, result, at, call);
}

void far__signature_invoke(const struct far__signature *s, struct far_slave *slave, uint32_t life, struct far__kept *kept,
			   void *function, void *const *arguments, void *result)
{
	struct far__buffer buffers[FAR_ARGUMENTS_MAX + 1];
	void *pointer[FAR_ARGUMENTS_MAX], *argument[FAR_ARGUMENTS_MAX];
	struct far__call call;

	far__start(&call, slave, function, buffers, FAR__OP_INVOKE, FAR__SLAVES_DEADLINE);
	call.argument = (uint8_t)s->type->count;
	call.life = life;
	call.kept = kept;
	far__recipe_prepare(&s->recipe, &call);
	memcpy(argument, arguments, s->type->count * sizeof *argument);
	for (uint32_t left = s->pointers; left; left &= left - 1) {
		unsigned i = (unsigned)__builtin_ctz(left);

		memcpy(&pointer[i], arguments[i], sizeof pointer[i]);
		argument[i] = &pointer[i];
		far__look_at(&call, &pointer[i], (int)i + 1, s->strings >> i & 1 ? FAR__CONST_CHAR : 0,
			     far__constant_size(s->type->member[i].type));
	}
	far__recipe_call(&s->recipe, &call, argument, result);
}

void far__no_value(const ffi_cif *cif, void *result)
{
	if (cif->rtype != &ffi_type_void)
		memset(result, 0, cif->rtype->size < sizeof(ffi_arg) ? sizeof(ffi_arg) : cif->rtype->size);
}

bool far__signature_closure(struct far__signature *s, ffi_cif *cif, struct far__complaint *why)
{
	if (!s->type->is_variadic && s->type->count <= FAR_ARGUMENTS_MAX)
		return far__cif(cif, s->type, NULL, 0, NULL, &s->ffi, why);
	far__refuse(why, s->type->is_variadic ? "it takes any number of arguments" : "it takes too many arguments");
	return false;
}

void far__signature_free(struct far__signature *s)
{
	if (!s)
		return;
	far__arena_free(&s->ffi);
	far__arena_free(&s->graph);
	free(s);
}
