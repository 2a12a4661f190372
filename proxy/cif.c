/*
 * Types as libffi wants them.
 *
 * libffi lays out a struct from the types of its members, knows no unions, arrays or
 * bit-fields, and nothing of alignment that was asked for. So a struct is not given
 * by its members but by what the ABI looks at (System V, x86-64, 3.2.3): one of more
 * than 16 bytes lies in memory and only its size and alignment matter; of a smaller
 * one, each eight bytes go to a general or to a vector register. Size and alignment
 * are always ours, and libffi does not lay out a type whose size is set.
 */
#include "cif.h"

#include <string.h>

enum {
	REGISTERS_MAX = 16,	/* bytes: what is larger is passed in memory */
	ARGUMENTS_MAX = 1024,
};

static bool refuse(const struct far__type *type, struct far__complaint *why, const char *reason)
{
	char name[256];

	far__type_print(type, NULL, name, sizeof name);
	far__refuse(why, "a value of type %s cannot be passed: %s", name, reason);
	return false;
}

static ffi_type *no_memory(struct far__complaint *why)
{
	far__refuse(why, "no memory for a type");
	return NULL;
}

/* ------------------------------------------------------ what a value holds */

/* The scalars of a value of at most 16 bytes. */
struct content {
	bool general[2];	/* these eight bytes hold something else than float and double */
	bool floats[2];
	unsigned long_doubles, others;
	bool unaligned;
};

static void add_scalar(struct content *c, uint64_t offset, const struct far__type *scalar, bool floating)
{
	uint64_t last = offset + scalar->size - 1;

	if (offset % scalar->alignment)
		c->unaligned = true;
	if (floating && scalar->size == sizeof(long double)) {
		c->long_doubles++;
		return;
	}
	c->others++;
	for (uint64_t i = offset / 8; i <= last / 8 && i < 2; i++)
		*(floating ? &c->floats[i] : &c->general[i]) = true;
}

static void add_value(struct content *c, uint64_t offset, const struct far__type *t);

static void add_member(struct content *c, uint64_t offset, const struct far__field *m)
{
	uint64_t first = m->offset * 8 + m->bit_offset;

	if (!m->bit_size) {
		add_value(c, offset + m->offset, m->type);
		return;
	}
	c->others++;
	for (uint64_t i = (offset * 8 + first) / 64; i <= (offset * 8 + first + m->bit_size - 1) / 64 && i < 2; i++)
		c->general[i] = true;
}

static void add_value(struct content *c, uint64_t offset, const struct far__type *t)
{
	struct far__type part;

	/* Damaged sizes: what is counted here lies within the value, and ends. */
	if (offset >= REGISTERS_MAX || !t->size)
		return;
	switch (t->kind) {
	case FAR_ARRAY:
		for (uint64_t i = 0; i < t->count && i < REGISTERS_MAX && t->target->size; i++)
			add_value(c, offset + i * t->target->size, t->target);
		break;
	case FAR_STRUCT:
	case FAR_UNION:
		for (uint64_t i = 0; i < t->count; i++)
			add_member(c, offset, &t->member[i]);
		break;
	case FAR_COMPLEX:
		part = (struct far__type){ .kind = FAR_FLOAT, .size = t->size / 2, .alignment = t->alignment };
		add_scalar(c, offset, &part, true);
		add_scalar(c, offset + part.size, &part, true);
		break;
	default:
		add_scalar(c, offset, t, t->kind == FAR_FLOAT);
		break;
	}
}

/* ------------------------------------------------------------------- types */

static ffi_type *basic(const struct far__type *t)
{
	static ffi_type *const integer[2][4] = {
		{ &ffi_type_uint8, &ffi_type_uint16, &ffi_type_uint32, &ffi_type_uint64 },
		{ &ffi_type_sint8, &ffi_type_sint16, &ffi_type_sint32, &ffi_type_sint64 },
	};

	switch (t->kind) {
	case FAR_VOID:
		return &ffi_type_void;
	case FAR_POINTER:
		return &ffi_type_pointer;
	case FAR_BOOL:
	case FAR_INTEGER:
	case FAR_ENUM:
		for (unsigned i = 0; i < 4; i++)
			if (t->size == 1u << i)
				return integer[t->is_signed][i];
		return NULL;
	case FAR_FLOAT:
		return t->size == sizeof(float) ? &ffi_type_float
		     : t->size == sizeof(double) ? &ffi_type_double
		     : t->size == sizeof(long double) ? &ffi_type_longdouble : NULL;
	case FAR_COMPLEX:
		return t->size == 2 * sizeof(float) ? &ffi_type_complex_float
		     : t->size == 2 * sizeof(double) ? &ffi_type_complex_double
		     : t->size == 2 * sizeof(long double) ? &ffi_type_complex_longdouble : NULL;
	default:
		return NULL;
	}
}

#ifdef __x86_64__
/* A register's worth of a value of that alignment: @size bytes of it. */
static ffi_type *eight_bytes(bool floats, uint64_t alignment)
{
	if (floats)
		return alignment < sizeof(double) ? &ffi_type_float : &ffi_type_double;
	return alignment == 1 ? &ffi_type_uint8 : alignment == 2 ? &ffi_type_uint16
	     : alignment == 4 ? &ffi_type_uint32 : &ffi_type_uint64;
}

/* Choose members of @made that make libffi put a value where the ABI says: at most 16, and the NULL behind. */
static bool choose_members(const struct far__type *t, ffi_type *made, struct far__complaint *why)
{
	ffi_type **member = made->elements;
	struct content c = { 0 };
	unsigned n = 0;

	if (t->size > REGISTERS_MAX) {
		/* libffi looks for a vector register's type, so it must not find one. */
		member[0] = &ffi_type_uint64;
		return true;
	}
	add_value(&c, 0, t);
	if (c.unaligned)
		return refuse(t, why, "it is packed");
	if (c.long_doubles && (c.long_doubles > 1 || c.others))
		return refuse(t, why, "libffi knows no union with a long double");
	if (c.long_doubles) {
		/* It is passed like one that is in no struct, which libffi can return, too. */
		*made = ffi_type_longdouble;
		return true;
	}
	for (uint64_t at = 0; at < t->size; at += member[n++]->size) {
		if (!c.general[at / 8] && !c.floats[at / 8])
			return refuse(t, why, "eight bytes of it are nothing but padding");
		member[n] = eight_bytes(!c.general[at / 8], t->alignment);
	}
	return true;
}
#else
#error "how this machine passes structs is not written yet"
#endif

static ffi_type *aggregate(const struct far__type *t, struct far__arena *arena, struct far__complaint *why)
{
	ffi_type *made = far__arena_alloc(arena, sizeof *made + (REGISTERS_MAX + 1) * sizeof *made->elements);

	if (!made)
		return no_memory(why);
	*made = (ffi_type){
		.size = t->size, .alignment = (unsigned short)t->alignment, .type = FFI_TYPE_STRUCT,
		.elements = (ffi_type **)(made + 1),
	};
	if (!t->size)
		(void)refuse(t, why, "it is empty");
	else if (t->alignment > REGISTERS_MAX || !t->alignment || t->size % t->alignment)
		(void)refuse(t, why, "its alignment is uncommon");
	else if (choose_members(t, made, why))
		return made;
	return NULL;
}

ffi_type *far__type_ffi(const struct far__type *type, struct far__arena *arena, struct far__complaint *why)
{
	ffi_type *found = NULL;

	if (!type->is_complete)
		(void)refuse(type, why, "what is in it is not known");
	else if (type->kind == FAR_ARRAY || type->kind == FAR_FUNCTION)
		(void)refuse(type, why, "C has no such values");
	/* An __int128 is a struct of two words to the ABI. */
	else if (type->kind == FAR_STRUCT || type->kind == FAR_UNION || (type->kind == FAR_INTEGER && type->size == 16))
		found = aggregate(type, arena, why);
	else if (!(found = basic(type)))
		(void)refuse(type, why, "libffi knows no such type");
	return found;
}

/* ------------------------------------------------------------------- calls */

static ffi_type *argument(const struct far__type *type, bool promote, struct far__arena *arena,
			  struct far__complaint *why)
{
	ffi_type *t;

	if (type->kind == FAR_ARRAY || type->kind == FAR_FUNCTION)
		return &ffi_type_pointer;
	if (type->kind == FAR_VOID) {
		(void)refuse(type, why, "C has no such values");
		return NULL;
	}
	t = far__type_ffi(type, arena, why);
	if (!t || !promote)
		return t;
	if (t == &ffi_type_float)
		return &ffi_type_double;
	return t->type != FFI_TYPE_STRUCT && t->size < sizeof(int) ? &ffi_type_sint : t;
}

/* Registers for arguments, as far as they are taken. */
struct taken {
	unsigned general, vector;
};

enum { GENERAL_MAX = 6, VECTOR_MAX = 8 };

/* What a value of at most 16 bytes needs, of what makes it up: see choose_members(). */
static struct taken registers_of(const ffi_type *t)
{
	bool floats[2] = { true, true };
	struct taken n = { 0 };
	size_t at = 0;

	for (ffi_type **e = t->elements; *e && at < REGISTERS_MAX; at += (*e++)->size)
		floats[at / 8] &= *e == &ffi_type_float || *e == &ffi_type_double;
	for (unsigned i = 0; i < (at + 7) / 8; i++)
		*(floats[i] ? &n.vector : &n.general) += 1;
	return n;
}

/*
 * libffi up to 3.4.6 spoils the first vector register when a struct takes the last
 * general one and a vector register (its issue 574). Two scalars go where that goes.
 */
static bool is_spoiling(const ffi_type *t, struct taken taken)
{
	return t->type == FFI_TYPE_STRUCT && t->size > 8 && t->size <= REGISTERS_MAX && taken.general == GENERAL_MAX - 1 &&
	       taken.vector && taken.vector < VECTOR_MAX && registers_of(t).general == 1 && registers_of(t).vector == 1 &&
	       t->elements[0] != &ffi_type_double && t->elements[0] != &ffi_type_float;
}

static void take_registers(const ffi_type *t, struct taken *taken)
{
	struct taken need = { 0 };

	if (t->type == FFI_TYPE_STRUCT && t->size <= REGISTERS_MAX)
		need = registers_of(t);
	else if (t->type == FFI_TYPE_FLOAT || t->type == FFI_TYPE_DOUBLE)
		need.vector = 1;
	else if (t->type == FFI_TYPE_COMPLEX)
		need.vector = t->size <= 8 ? 1 : t->size <= 16 ? 2 : 0;
	else if (t->type != FFI_TYPE_STRUCT && t->type != FFI_TYPE_LONGDOUBLE)
		need.general = 1;
	if (taken->general + need.general <= GENERAL_MAX && taken->vector + need.vector <= VECTOR_MAX) {
		taken->general += need.general;
		taken->vector += need.vector;
	}
}

/* The argument that is to be split, or -1. */
static int find_spoiling(const ffi_type *result, ffi_type **types, unsigned count)
{
	struct taken taken = { .general = result->type == FFI_TYPE_STRUCT && result->size > REGISTERS_MAX };

	for (unsigned i = 0; i < count; i++) {
		if (is_spoiling(types[i], taken))
			return (int)i;
		take_registers(types[i], &taken);
	}
	return -1;
}

static void split_type(ffi_type **types, unsigned count, unsigned i)
{
	ffi_type *rest = types[i]->size > 12 ? &ffi_type_double : &ffi_type_float;

	memmove(&types[i + 1], &types[i], (count - i) * sizeof *types);
	types[i] = &ffi_type_uint64;
	types[i + 1] = rest;
}

bool far__cif(ffi_cif *cif, const struct far__type *function, const struct far__type *const *extra, unsigned extras,
	      int *split, struct far__arena *arena, struct far__complaint *why)
{
	if (function->kind != FAR_FUNCTION)
		return refuse(function, why, "it is no function");
	if (function->count > ARGUMENTS_MAX || extras > ARGUMENTS_MAX)
		return refuse(function, why, "too many arguments");
	if (extras && !function->is_variadic)
		return refuse(function, why, "it takes no more arguments than its parameters");

	unsigned fixed = (unsigned)function->count, count = fixed + extras;
	ffi_type *result = far__type_ffi(function->target, arena, why);
	ffi_type **types = far__arena_alloc(arena, (count + 1) * sizeof *types);

	if (!result)
		return false;
	if (!types)
		return no_memory(why);
	for (unsigned i = 0; i < count; i++) {
		types[i] = argument(i < fixed ? function->member[i].type : extra[i - fixed], i >= fixed, arena, why);
		if (!types[i])
			return false;
	}
	if (split && (*split = find_spoiling(result, types, count)) >= 0) {
		fixed += (unsigned)*split < fixed;
		split_type(types, count++, (unsigned)*split);
	}
	ffi_status status = function->is_variadic ? ffi_prep_cif_var(cif, FFI_DEFAULT_ABI, fixed, count, result, types)
						  : ffi_prep_cif(cif, FFI_DEFAULT_ABI, count, result, types);

	return status == FFI_OK || refuse(function, why, "libffi refuses it");
}
