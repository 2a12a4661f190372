/*
 * Types from debug information: DIEs become a graph of types.
 *
 * What lies within a value (members, elements, results and parameters) is read by
 * recursion, which damaged files cannot drive deep; what is pointed to is put on a
 * list and read later, when no value is half read. So a struct that is met while it
 * is still incomplete contains itself, which is an error.
 */
#include "debug.h"

#include <link.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "module.h"

#define dw far__dw

enum {
	DEPTH_MAX = 64,		/* of values in values */
	CHAIN_MAX = 64,		/* typedefs of typedefs and qualifiers */
	MEMBERS_MAX = 65536,
	TYPES_MAX = 1 << 18,
	DIMENSIONS_MAX = 16,
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* Found in the table by the DIE that it was made from. */
struct made {
	const void *key;
	struct far__type *type;
};

/* A pointer whose target is to be read. */
struct pending {
	struct far__type *pointer;
	Dwarf_Die die;		/* has a DW_AT_type */
	struct far__module *module;
};

/* A graph that is being made. */
struct reader {
	struct far__module *module;
	struct far__arena *arena;
	struct far__complaint *why;
	const char *what;	/* for messages */
	bool is_shallow;	/* structs that are pointed to are not wanted */
	bool is_eager;		/* a struct that this module does not define is looked for in others */
	unsigned depth;
	struct made *made;	/* a table of made_room places; half of them at most are used */
	size_t made_count, made_room;
	struct pending *pending;
	size_t pendings, pending_room;
};

/* A type as it is used. */
struct use {
	const struct far__type *type;
	bool is_const;
};

static bool resolve(struct reader *r, Dwarf_Die *user, struct use *use);

/* ------------------------------------------------------------------- errors */

__attribute__((format(printf, 2, 3)))
static void *wrong(struct reader *r, const char *format, ...)
{
	char text[512];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof text, format, arguments);
	va_end(arguments);
	far__refuse(r->why, "%s in %s: %s", r->what, r->module->path, text);
	return NULL;
}

static void *damaged(struct reader *r, const char *what)
{
	return wrong(r, "the debug information is damaged (%s)", what);
}

static void *no_memory(struct reader *r)
{
	return wrong(r, "no memory for its types, or they are too many");
}

/* ------------------------------------------------------------- what is made */

static struct made *place_of(const struct reader *r, const void *key)
{
	size_t at = ((uint64_t)(uintptr_t)key * 0x9e3779b97f4a7c15) >> 20 & (r->made_room - 1);

	while (r->made[at].key && r->made[at].key != key)
		at = (at + 1) & (r->made_room - 1);
	return &r->made[at];
}

static struct far__type *made_of(const struct reader *r, const void *key)
{
	return r->made_room ? place_of(r, key)->type : NULL;
}

static bool grow_table(struct reader *r)
{
	struct reader larger = *r;

	larger.made_room = r->made_room ? 2 * r->made_room : 128;
	larger.made = r->made_count < TYPES_MAX ? calloc(larger.made_room, sizeof *larger.made) : NULL;
	if (!larger.made)
		return false;
	for (size_t i = 0; i < r->made_room; i++)
		if (r->made[i].key)
			*place_of(&larger, r->made[i].key) = r->made[i];
	free(r->made);
	r->made = larger.made;
	r->made_room = larger.made_room;
	return true;
}

/* A new type, made from the DIE at @key; its name, if any, is copied. */
static struct far__type *make(struct reader *r, const void *key, enum far__type_kind kind, const char *name)
{
	struct far__type *t = far__type_new(r->arena, kind);

	if (!t || (2 * r->made_count >= r->made_room && !grow_table(r)))
		return no_memory(r);
	if (name && !(t->name = far__arena_text(r->arena, name, strlen(name))))
		return no_memory(r);
	*place_of(r, key) = (struct made){ key, t };
	r->made_count++;
	return t;
}

/* --------------------------------------------------------------- attributes */

static bool number(Dwarf_Die *die, unsigned name, uint64_t *value)
{
	Dwarf_Attribute a;
	Dwarf_Word word;

	if (!dw.dwarf_attr_integrate(die, name, &a) || dw.dwarf_formudata(&a, &word))
		return false;
	*value = word;
	return true;
}

static uint64_t number_or_0(Dwarf_Die *die, unsigned name)
{
	uint64_t value;

	return number(die, name, &value) ? value : 0;
}

/* The DIE that an attribute refers to: 1, 0 if there is no such attribute, or -1 if it leads nowhere. */
static int reference(Dwarf_Die *die, unsigned name, Dwarf_Die *target)
{
	Dwarf_Attribute a;

	if (!dw.dwarf_attr_integrate(die, name, &a))
		return 0;
	return dw.dwarf_formref_die(&a, target) ? 1 : -1;
}

static bool is_power_of_2(uint64_t n)
{
	return n && !(n & (n - 1));
}

/* ------------------------------------------------------------------ scalars */

/* gcc's names of basic types, and as people write them. */
static const char *common_name(const char *name)
{
	static const char *const names[][2] = {
		{ "short int", "short" }, { "short unsigned int", "unsigned short" },
		{ "long int", "long" }, { "long unsigned int", "unsigned long" },
		{ "long long int", "long long" }, { "long long unsigned int", "unsigned long long" },
		{ "__int128 unsigned", "unsigned __int128" },
		{ "complex float", "float _Complex" }, { "complex double", "double _Complex" },
		{ "complex long double", "long double _Complex" },
	};

	for (size_t i = 0; name && i < sizeof names / sizeof *names; i++)
		if (!strcmp(name, names[i][0]))
			return names[i][1];
	return name;
}

static const struct far__type *basic(struct reader *r, Dwarf_Die *die, const void *key, const char *alias)
{
	const char *const name = dw.dwarf_diename(die);
	const uint64_t size = number_or_0(die, DW_AT_byte_size);
	struct far__type *t = make(r, key, FAR_INTEGER, alias ? alias : common_name(name));

	if (!t)
		return NULL;
	t->size = size;
	switch (number_or_0(die, DW_AT_encoding)) {
	case DW_ATE_boolean:
		t->kind = FAR_BOOL;
		break;
	case DW_ATE_signed:
	case DW_ATE_signed_char:
		t->is_signed = true;
		break;
	case DW_ATE_unsigned:
	case DW_ATE_unsigned_char:
	case DW_ATE_UTF:
		break;
	case DW_ATE_float:
		t->kind = FAR_FLOAT;
		/* Not every float of 16 bytes is a long double. */
		t->is_complete = name && !strstr(name, "128");
		break;
	case DW_ATE_complex_float:
		t->kind = FAR_COMPLEX;
		t->is_complete = name && !strstr(name, "128");
		break;
	default:
		t->is_complete = false;
	}
	t->is_char = t->kind == FAR_INTEGER && name && !strcmp(name, "char");
	t->alignment = (uint32_t)(t->kind == FAR_COMPLEX ? size / 2 : size);
	if (!is_power_of_2(size) || size > 32) {
		t->alignment = 1;
		t->is_complete = false;
	}
	return t;
}

/* Of unsigned ones the compiler says so, or it names the integer type that it took. */
static bool enum_is_signed(Dwarf_Die *die)
{
	Dwarf_Die base;
	uint64_t encoding;

	if (!number(die, DW_AT_encoding, &encoding))
		encoding = reference(die, DW_AT_type, &base) == 1 ? number_or_0(&base, DW_AT_encoding) : 0;
	return encoding == DW_ATE_signed || encoding == DW_ATE_signed_char;
}

static const struct far__type *enumeration(struct reader *r, Dwarf_Die *die, const void *key, const char *alias)
{
	const char *const tag = dw.dwarf_diename(die);
	struct far__type *t = make(r, key, FAR_ENUM, tag ? tag : alias);

	if (!t)
		return NULL;
	t->is_tag = tag;
	t->is_signed = enum_is_signed(die);
	t->size = number_or_0(die, DW_AT_byte_size);
	t->is_complete = is_power_of_2(t->size) && t->size <= 8 && !far__die_flag(die, DW_AT_declaration);
	t->alignment = t->is_complete ? (uint32_t)t->size : 1;
	return t;
}

static const struct far__type *pointer(struct reader *r, Dwarf_Die *die, const void *key)
{
	struct far__type *t = make(r, key, FAR_POINTER, NULL);

	if (!t)
		return NULL;
	t->size = t->alignment = sizeof(void *);
	if (r->pendings == r->pending_room) {
		const size_t room = r->pending_room ? 2 * r->pending_room : 64;
		struct pending *larger = realloc(r->pending, room * sizeof *larger);

		if (!larger)
			return no_memory(r);
		r->pending = larger;
		r->pending_room = room;
	}
	r->pending[r->pendings++] = (struct pending){ t, *die, r->module };
	return t;
}

/* ------------------------------------------------------------------- arrays */

/* The number of elements of a dimension, 0 if it is not constant. */
static uint64_t elements(Dwarf_Die *range)
{
	uint64_t count;

	if (number(range, DW_AT_count, &count))
		return count;
	/* Of [0] the last one is -1, which becomes 0. */
	return number(range, DW_AT_upper_bound, &count) ? count + 1 - number_or_0(range, DW_AT_lower_bound) : 0;
}

static struct far__type *array_of(struct reader *r, const void *key, struct use element, uint64_t count)
{
	struct far__type *t = make(r, key, FAR_ARRAY, NULL);

	if (!t)
		return NULL;
	t->count = count;
	t->target = element.type;
	t->to_const = element.is_const;
	t->alignment = element.type->alignment;
	t->is_complete = count && element.type->is_complete;
	if (__builtin_mul_overflow(count, element.type->size, &t->size) || t->size >> 48)
		return damaged(r, "an array's size");
	return t;
}

static const struct far__type *array(struct reader *r, Dwarf_Die *die, const void *key, const char *alias)
{
	Dwarf_Die child;
	uint64_t count[DIMENSIONS_MAX];
	const void *range[DIMENSIONS_MAX];
	unsigned n = 0;
	struct use element;

	if (!resolve(r, die, &element))
		return NULL;
	for (bool more = far__die_child(die, &child); more; more = far__die_next(&child)) {
		if (dw.dwarf_tag(&child) != DW_TAG_subrange_type)
			continue;
		if (n == DIMENSIONS_MAX)
			return damaged(r, "an array's dimensions");
		range[n] = child.addr;
		count[n++] = elements(&child);
	}
	if (!n)
		return damaged(r, "an array's dimensions");
	if (far__die_flag(die, DW_AT_GNU_vector)) {
		/* Of vectors only the size is known, and so nobody passes them by value. */
		struct far__type *t = make(r, key, FAR_STRUCT, alias ? alias : "vector");

		if (!t)
			return NULL;
		t->is_complete = false;
		t->size = count[0] <= 1024 ? count[0] * element.type->size : 0;
		t->alignment = is_power_of_2(t->size) && t->size <= 64 ? (uint32_t)t->size : 1;
		return t;
	}
	while (n--) {
		struct far__type *t = array_of(r, n ? range[n] : key, element, count[n]);

		if (!t)
			return NULL;
		element = (struct use){ t, false };
	}
	return element.type;
}

/* ------------------------------------------------------- structs and unions */

/* The offset of a member from the begin of its struct, in bytes. */
static bool member_offset(Dwarf_Die *die, uint64_t *offset)
{
	Dwarf_Attribute a;
	Dwarf_Op *op;
	size_t ops;

	*offset = 0;
	if (!dw.dwarf_attr_integrate(die, DW_AT_data_member_location, &a))
		return true;	/* of a union, or a bit-field */
	if (dw.dwarf_formudata(&a, offset) == 0)
		return true;
	/* DWARF 2 has an expression. */
	if (dw.dwarf_getlocation(&a, &op, &ops) || ops != 1 || op->atom != DW_OP_plus_uconst)
		return false;
	*offset = op->number;
	return true;
}

/* Where the bits are: since DWARF 4 counted from the struct's begin, before from the top of a storage unit. */
static bool place_bits(Dwarf_Die *die, struct far__field *m)
{
	const uint64_t unit = m->type->size * 8, size = number_or_0(die, DW_AT_bit_size);
	uint64_t bits, from_top;

	if (!number(die, DW_AT_data_bit_offset, &bits)) {
		uint64_t storage = number_or_0(die, DW_AT_byte_size);

		bits = m->offset * 8;
		if (number(die, DW_AT_bit_offset, &from_top))
			bits += (storage ? storage * 8 : unit) - from_top - size;
	}
	if (!unit || !size || size > unit || bits >> 48)
		return false;
	m->bit_size = (uint32_t)size;
	m->offset = bits / unit * m->type->size;
	m->bit_offset = (uint32_t)(bits % unit);
	return true;
}

/* The struct that contains this member must be larger. Its size is not in its type yet. */
static bool fits(const struct far__field *m, uint64_t size)
{
	const uint64_t bits = m->bit_size ? m->bit_offset + m->bit_size : m->type->size * 8;

	return m->offset <= size && (bits + 7) / 8 <= size - m->offset;
}

/* What members and parameters have: a type, and maybe a name. */
static bool read_field(struct reader *r, Dwarf_Die *die, struct far__field *m)
{
	const char *const name = dw.dwarf_diename(die);
	struct use use;

	if (!resolve(r, die, &use))
		return false;
	m->type = use.type;
	m->is_const = use.is_const;
	if (name && *name && !(m->name = far__arena_text(r->arena, name, strlen(name))))
		return no_memory(r);
	return true;
}

static bool read_member(struct reader *r, Dwarf_Die *die, uint64_t size, struct far__field *m)
{
	if (!read_field(r, die, m))
		return false;
	if (!m->type->is_complete && !m->type->size && m->type->kind != FAR_ARRAY)
		return damaged(r, "a member of a type that is not defined, or that contains it");
	if (m->type->kind == FAR_VOID || m->type->kind == FAR_FUNCTION)
		return damaged(r, "a member that is no value");
	if (!member_offset(die, &m->offset) || (dw.dwarf_hasattr(die, DW_AT_bit_size) && !place_bits(die, m)) ||
	    !fits(m, size))
		return damaged(r, "a member's offset");
	return true;
}

/* Of C++: a base is an unnamed member, and a static member is none. */
static bool is_member(Dwarf_Die *die)
{
	const int tag = dw.dwarf_tag(die);

	return tag == DW_TAG_inheritance ||
	       (tag == DW_TAG_member && !far__die_flag(die, DW_AT_external) && !far__die_flag(die, DW_AT_declaration));
}

static uint64_t count_children(Dwarf_Die *parent, int tag)
{
	Dwarf_Die die;
	uint64_t n = 0;

	for (bool more = far__die_child(parent, &die); more; more = far__die_next(&die))
		n += dw.dwarf_tag(&die) == tag;
	return n;
}

/* What the compiler chose, which it does not say unless it was asked for. */
static uint32_t alignment_of(const struct far__type *t, uint64_t size, uint64_t asked)
{
	uint64_t alignment = 1;
	bool packed = false;

	for (uint64_t i = 0; i < t->count; i++) {
		const struct far__field *m = &t->member[i];

		packed |= !m->bit_size && m->offset % m->type->alignment;
		if (m->type->alignment > alignment)
			alignment = m->type->alignment;
	}
	if (packed)
		alignment = 1;
	while (size % alignment)
		alignment /= 2;
	if (is_power_of_2(asked) && asked <= 1 << 28 && asked > alignment)
		alignment = asked;
	return (uint32_t)alignment;
}

static bool read_members(struct reader *r, Dwarf_Die *die, struct far__type *t)
{
	const uint64_t size = number_or_0(die, DW_AT_byte_size), count = count_children(die, DW_TAG_member) + count_children(die, DW_TAG_inheritance);
	struct far__field *m = count <= MEMBERS_MAX ? far__arena_alloc(r->arena, count * sizeof *m) : NULL;
	Dwarf_Die child;

	if (!m)
		return no_memory(r);
	if (size >> 40)
		return damaged(r, "a struct's size");
	t->member = m;
	uint64_t asked = number_or_0(die, DW_AT_alignment);

	for (bool more = far__die_child(die, &child); more; more = far__die_next(&child)) {
		if (!is_member(&child))
			continue;
		if (!read_member(r, &child, size, &m[t->count++]))
			return false;
		if (number_or_0(&child, DW_AT_alignment) > asked)	/* clang says it of the member alone */
			asked = number_or_0(&child, DW_AT_alignment);
	}
	t->size = size;
	t->alignment = alignment_of(t, size, asked);
	t->is_complete = true;
	return true;
}

static enum far__name_kind class_of(int tag)
{
	return tag == DW_TAG_union_type ? FAR_UNION_TAG
	     : tag == DW_TAG_enumeration_type ? FAR_ENUM_TAG : FAR_STRUCT_TAG;
}

static bool find_elsewhere(const struct far__module *but, enum far__name_kind class, const char *name,
			   struct far__module **module, Dwarf_Die *die);

/* Whether another DIE may have what is missing here. */
static bool is_declaration(Dwarf_Die *die)
{
	switch (dw.dwarf_tag(die)) {
	case DW_TAG_structure_type:
	case DW_TAG_union_type:
	case DW_TAG_enumeration_type:
		return far__die_flag(die, DW_AT_declaration) || dw.dwarf_hasattr(die, DW_AT_signature);
	default:
		return false;
	}
}

/* From a declaration to the definition, if there is one: in a type unit, elsewhere in this module or in another. */
static void define(struct reader *r, Dwarf_Die *die)
{
	Dwarf_Die definition;
	const char *name = dw.dwarf_diename(die);
	const enum far__name_kind class = class_of(dw.dwarf_tag(die));

	if (reference(die, DW_AT_signature, &definition) == 1) {
		*die = definition;
		return;
	}
	if (!name)
		return;
	if (far__module_find(r->module, class, name, &definition) ||
	    (r->is_eager && find_elsewhere(r->module, class, name, &r->module, &definition)))
		*die = definition;
}

static const struct far__type *aggregate(struct reader *r, Dwarf_Die *die, const void *key, enum far__type_kind kind,
					 const char *alias)
{
	const char *const tag = dw.dwarf_diename(die);
	struct far__type *t = make(r, key, kind, tag ? tag : alias);

	if (!t)
		return NULL;
	t->is_tag = tag;
	t->is_complete = false;
	if (far__die_flag(die, DW_AT_declaration) || r->is_shallow)
		return t;
	return read_members(r, die, t) ? t : NULL;
}

/* ---------------------------------------------------------------- functions */

static const struct far__type *function(struct reader *r, Dwarf_Die *die, const void *key)
{
	struct far__type *t = make(r, key, FAR_FUNCTION, NULL);
	const uint64_t count = count_children(die, DW_TAG_formal_parameter);
	struct far__field *m = count <= MEMBERS_MAX ? far__arena_alloc(r->arena, count * sizeof *m) : NULL;
	Dwarf_Die child;
	struct use result;

	if (!t)
		return NULL;
	if (!m)
		return no_memory(r);
	if (!resolve(r, die, &result))
		return NULL;
	t->target = result.type;
	t->member = m;
	for (bool more = far__die_child(die, &child); more; more = far__die_next(&child)) {
		if (dw.dwarf_tag(&child) == DW_TAG_unspecified_parameters)
			t->is_variadic = true;
		if (dw.dwarf_tag(&child) == DW_TAG_formal_parameter && !read_field(r, &child, &m[t->count++]))
			return NULL;
	}
	return t;
}

/* -------------------------------------------------------------------- types */

/*
 * Go from what has a DW_AT_type to the type, through typedefs and qualifiers. *alias is
 * the outermost typedef's DIE, *name the innermost one's name, or NULL. 0 for void.
 */
static int strip(struct reader *r, Dwarf_Die *user, Dwarf_Die *die, struct use *use, Dwarf_Die *alias,
		 const char **name)
{
	Dwarf_Die at = *user;

	alias->addr = NULL;
	*name = NULL;
	for (int i = 0; i < CHAIN_MAX; i++, at = *die) {
		const int found = reference(&at, DW_AT_type, die);

		if (found < 0)
			(void)damaged(r, "a type that is not there");
		if (found <= 0)
			return found;
		switch (dw.dwarf_tag(die)) {
		case DW_TAG_const_type:
			use->is_const = true;
			break;
		case DW_TAG_volatile_type:
		case DW_TAG_restrict_type:
		case DW_TAG_atomic_type:
			break;
		case DW_TAG_typedef:
			if (!alias->addr)
				*alias = *die;
			*name = dw.dwarf_diename(die);
			break;
		default:
			return 1;
		}
	}
	(void)damaged(r, "a typedef of itself");
	return -1;
}

static const struct far__type *read_type(struct reader *r, Dwarf_Die *die, const void *key, const char *scalar_name,
					 const char *name)
{
	switch (dw.dwarf_tag(die)) {
	case DW_TAG_base_type:
		return basic(r, die, key, scalar_name);
	case DW_TAG_enumeration_type:
		return enumeration(r, die, key, name);
	case DW_TAG_pointer_type:
	case DW_TAG_reference_type:
	case DW_TAG_rvalue_reference_type:
		return pointer(r, die, key);
	case DW_TAG_array_type:
		return array(r, die, key, name);
	case DW_TAG_structure_type:
	case DW_TAG_class_type:
		return aggregate(r, die, key, FAR_STRUCT, name);
	case DW_TAG_union_type:
		return aggregate(r, die, key, FAR_UNION, name);
	case DW_TAG_subroutine_type:
	case DW_TAG_subprogram:
		return function(r, die, key);
	case DW_TAG_unspecified_type:
		return make(r, key, FAR_VOID, NULL);
	default:
		return wrong(r, "a type that C does not have (DWARF tag %#x)", (unsigned)dw.dwarf_tag(die));
	}
}

/* The type of a DIE that is one; @alias is the typedef that it was found through, or has a NULL address. */
static const struct far__type *type_of(struct reader *r, Dwarf_Die *die, Dwarf_Die *alias, const char *name)
{
	struct far__module *const module = r->module;
	/* Scalars keep the names of their typedefs, and so are types of their own. */
	const bool is_named = alias->addr && dw.dwarf_tag(die) == DW_TAG_base_type;

	if (is_declaration(die))
		define(r, die);
	const void *key = is_named ? alias->addr : die->addr;
	struct far__type *t = made_of(r, key);

	if (t) {
		/* An anonymous struct may be met before the typedef that names it. */
		if (!t->name && name && (t->kind == FAR_STRUCT || t->kind == FAR_UNION || t->kind == FAR_ENUM))
			t->name = far__arena_text(r->arena, name, strlen(name));
	} else if (r->depth == DEPTH_MAX) {
		return damaged(r, "values nested too deep");
	} else {
		r->depth++;
		t = (struct far__type *)(uintptr_t)read_type(r, die, key, is_named ? dw.dwarf_diename(alias) : NULL, name);
		r->depth--;
	}
	r->module = module;	/* define() may have gone to another one */
	return t;
}

/* The type that @user has. */
static bool resolve(struct reader *r, Dwarf_Die *user, struct use *use)
{
	static const char nothing;	/* the key of void, which has no DIE */
	Dwarf_Die die, alias;
	const char *name;

	*use = (struct use){ 0 };
	switch (strip(r, user, &die, use, &alias, &name)) {
	case 1:
		use->type = type_of(r, &die, &alias, name);
		break;
	case 0:
		use->type = made_of(r, &nothing);
		if (!use->type)
			use->type = make(r, &nothing, FAR_VOID, NULL);
		break;
	}
	return use->type;
}

/* Read what is pointed to, and what that points to, until all is known. */
static bool resolve_pending(struct reader *r)
{
	for (size_t i = 0; i < r->pendings; i++) {
		struct pending p = r->pending[i];
		struct use use;

		r->module = p.module;
		if (!resolve(r, &p.die, &use))
			return false;
		p.pointer->target = use.type;
		p.pointer->to_const = use.is_const;
		r->is_eager = false;	/* only the first is what was asked for */
	}
	return true;
}

static const struct far__type *finish(struct reader *r, const struct far__type *type)
{
	if (type && !resolve_pending(r))
		type = NULL;
	free(r->made);
	free(r->pending);
	return type;
}

/* ------------------------------------------------------------------ modules */

/* The program itself has no name. */
static const char *path_of(const struct dl_phdr_info *info)
{
	return *info->dlpi_name ? info->dlpi_name : "/proc/self/exe";
}

static int find_object(struct dl_phdr_info *info, size_t size, void *arg)
{
	struct far__place *place = arg;
	const uint64_t address = place->address - info->dlpi_addr;

	(void)size;
	for (unsigned i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *p = &info->dlpi_phdr[i];

		if (p->p_type != PT_LOAD || address < p->p_vaddr || address - p->p_vaddr >= p->p_memsz)
			continue;
		place->address = address;
		snprintf(place->module, sizeof place->module, "%s", path_of(info));
		return 1;
	}
	return 0;
}

bool far__debug_place(const void *address, struct far__place *place, struct far__complaint *why)
{
	char path[PATH_MAX];

	*place = (struct far__place){ .address = (uintptr_t)address };
	if (!dl_iterate_phdr(find_object, place)) {
		far__refuse(why, "%p is in no program and no library", address);
		return false;
	}
	/* The name shall be good in other processes too. */
	if (realpath(place->module, path))
		memcpy(place->module, path, sizeof path);
	return true;
}

struct names {
	char *name[256];
	unsigned count;
};

static int collect_name(struct dl_phdr_info *info, size_t size, void *arg)
{
	struct names *names = arg;
	char *path = realpath(path_of(info), NULL);

	(void)size;
	if (path)
		names->name[names->count++] = path;
	return names->count == sizeof names->name / sizeof *names->name;
}

/* In other modules of this process: which one defines it. */
static bool find_elsewhere(const struct far__module *but, enum far__name_kind class, const char *name,
			   struct far__module **module, Dwarf_Die *die)
{
	struct names names = { .count = 0 };
	bool found = false;

	dl_iterate_phdr(collect_name, &names);
	for (unsigned i = 0; i < names.count; i++) {
		const bool is_wanted = !found && strcmp(names.name[i], but->path);
		struct far__module *m = is_wanted ? far__module_open(names.name[i], NULL) : NULL;

		if (m && far__module_find(m, class, name, die)) {
			*module = m;
			found = true;
		}
		free(names.name[i]);
	}
	return found;
}

/* ------------------------------------------------------------------- asking */

const struct far__type *far__debug_variable(const struct far__place *place, struct far__arena *arena,
					    struct far__complaint *why)
{
	struct reader r = { .arena = arena, .why = why, .what = "the variable", .is_eager = true };
	const struct far__type *type = NULL;
	struct use use;
	Dwarf_Die die;

	pthread_mutex_lock(&lock);
	r.module = far__module_open(place->module, why);
	if (r.module) {
		if (far__module_find_variable(r.module, place->address, &die))
			type = finish(&r, resolve(&r, &die, &use) ? use.type : NULL);
		else
			far__refuse(why, "no variable at %#llx is known in %s: is its source file compiled with -g?",
				    (unsigned long long)place->address, place->module);
	}
	pthread_mutex_unlock(&lock);
	return type;
}

/* What @die, a function, says. Its name is the caller's. */
static const struct far__type *read_function(struct reader *r, Dwarf_Die *die)
{
	Dwarf_Die origin;

	/* What was inlined or moved has its parameters' types where it was written. */
	while (dw.dwarf_hasattr(die, DW_AT_abstract_origin) && r->depth++ < CHAIN_MAX &&
	       reference(die, DW_AT_abstract_origin, &origin) == 1)
		*die = origin;
	r->depth = 0;
	return finish(r, function(r, die, die->addr));
}

const struct far__type *far__debug_function(const char *module, const char *name, struct far__arena *arena,
					    struct far__complaint *why)
{
	struct reader r = { .arena = arena, .why = why, .what = name };
	const struct far__type *type = NULL;
	Dwarf_Die die;

	pthread_mutex_lock(&lock);
	r.module = far__module_open(module, why);
	if (r.module) {
		if (far__module_find(r.module, FAR_GLOBAL_FUNCTION, name, &die) ||
		    far__module_find(r.module, FAR_STATIC_FUNCTION, name, &die) ||
		    far__module_find(r.module, FAR_DECLARED_FUNCTION, name, &die))
			type = read_function(&r, &die);
		else
			far__refuse(why, "no function %s in the debug information of %s", name, module);
	}
	pthread_mutex_unlock(&lock);
	return type;
}

/* "struct s" is the class of s and *name "s"; other names are typedefs'. */
static enum far__name_kind class_of_name(const char **name)
{
	static const struct {
		const char *keyword;
		enum far__name_kind class;
	} keywords[] = { { "struct ", FAR_STRUCT_TAG }, { "union ", FAR_UNION_TAG }, { "enum ", FAR_ENUM_TAG } };

	for (unsigned i = 0; i < sizeof keywords / sizeof *keywords; i++) {
		const size_t length = strlen(keywords[i].keyword);

		if (!strncmp(*name, keywords[i].keyword, length)) {
			*name += length + strspn(*name + length, " ");
			return keywords[i].class;
		}
	}
	return FAR_TYPEDEF;
}

/* A DIE of a class other than functions: a typedef is what it stands for. */
static const struct far__type *read_named(struct reader *r, Dwarf_Die *die, enum far__name_kind class)
{
	Dwarf_Die target, alias = { .addr = NULL };
	const struct far__type *type = NULL;
	struct use use;
	const char *name;

	if (class != FAR_TYPEDEF)
		return finish(r, type_of(r, die, &alias, NULL));
	switch (strip(r, die, &target, &use, &alias, &name)) {
	case 1:
		/* The typedef that was asked for is the outermost. */
		type = type_of(r, &target, die, name ? name : dw.dwarf_diename(die));
		break;
	case 0:
		type = make(r, die->addr, FAR_VOID, NULL);
		break;
	}
	r->is_eager = false;
	return finish(r, type);
}

const struct far__type *far__debug_type(const char *module, const char *name, struct far__arena *arena,
					struct far__complaint *why)
{
	struct reader r = { .arena = arena, .why = why, .what = name, .is_eager = true };
	const struct far__type *type = NULL;
	const char *bare = name;
	const enum far__name_kind class = class_of_name(&bare);
	Dwarf_Die die;

	pthread_mutex_lock(&lock);
	r.module = far__module_open(module, why);
	if (r.module) {
		if (far__module_find(r.module, class, bare, &die) ||
		    find_elsewhere(r.module, class, bare, &r.module, &die))
			type = read_named(&r, &die, class);
		else
			far__refuse(why, "%s is not defined in the debug information of %s, nor of what is loaded",
				    name, module);
	}
	pthread_mutex_unlock(&lock);
	return type;
}

/* ------------------------------------------------------------------ listing */

struct visit {
	struct far__module *module;
	bool (*visit)(void *arg, const char *name, const struct far__type *type);
	void *arg;
};

/* False to end. A function that cannot be read is left out. */
static bool visit_function(const struct visit *v, Dwarf_Die *die)
{
	struct far__arena arena = { 0 };
	struct reader r = { .module = v->module, .arena = &arena, .what = "a function", .is_shallow = true };
	const char *name = dw.dwarf_diename(die);
	const struct far__type *type = read_function(&r, die);
	bool more = !name || !type || v->visit(v->arg, name, type);

	far__arena_free(&arena);
	return more;
}

/* False to end. */
static bool visit_unit(const struct visit *v, struct far__unit *unit)
{
	Dwarf_Die die;
	Dwarf_Addr pc;

	for (bool more = far__die_child(&unit->die, &die); more; more = far__die_next(&die)) {
		Dwarf_Die function = die;

		if (dw.dwarf_tag(&die) == DW_TAG_subprogram && dw.dwarf_lowpc(&die, &pc) == 0 &&
		    far__die_is_external(&die) && !visit_function(v, &function))
			return false;
	}
	return true;
}

bool far__debug_functions(const char *module, bool (*visit)(void *arg, const char *name, const struct far__type *type),
			  void *arg, struct far__complaint *why)
{
	struct visit v = { .visit = visit, .arg = arg };

	pthread_mutex_lock(&lock);
	v.module = far__module_open(module, why);
	for (size_t i = 0; v.module && i < v.module->units; i++)
		if (!visit_unit(&v, &v.module->unit[i]))
			break;
	pthread_mutex_unlock(&lock);
	return v.module;
}

void far__debug_forget(void)
{
	pthread_mutex_lock(&lock);
	far__modules_close();
	pthread_mutex_unlock(&lock);
}
