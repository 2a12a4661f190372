/*
 * C types as data: making, printing and comparing them.
 */
#include "type.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	ALIGNMENT = 16,
	CHUNK = 4096,
	DEPTH_MAX = 64,		/* of what is printed: what is deeper or longer is damaged, or unreadable anyway */
	LENGTH_MAX = 65536,
};

void far__refuse(struct far__complaint *why, const char *format, ...)
{
	va_list arguments;

	if (!why)
		return;
	why->offset = -1;
	va_start(arguments, format);
	vsnprintf(why->text, sizeof why->text, format, arguments);
	va_end(arguments);
}

/* ----------------------------------------------------------------- arenas */

struct far__chunk {
	struct far__chunk *older;
	size_t size, used;	/* with this header */
} __attribute__((aligned(ALIGNMENT)));

static bool grow(struct far__arena *arena, size_t least)
{
	size_t limit = arena->limit ? arena->limit : 1ul << 30;
	size_t size = arena->taken < CHUNK ? CHUNK : arena->taken;	/* doubles what there is */

	if (least > limit || arena->taken > limit - least)
		return false;
	if (size > limit - arena->taken)
		size = limit - arena->taken;
	if (size < least)
		size = least;
	struct far__chunk *chunk = arena->take ? arena->take(size) : malloc(size);

	if (!chunk)
		return false;
	*chunk = (struct far__chunk){ .older = arena->newest, .size = size, .used = sizeof *chunk };
	arena->newest = chunk;
	arena->taken += size;
	return true;
}

void *far__arena_alloc(struct far__arena *arena, size_t size)
{
	if (size > SIZE_MAX / 2)
		return NULL;
	size = (size + ALIGNMENT - 1) & -(size_t)ALIGNMENT;
	if (!arena->newest || arena->newest->size - arena->newest->used < size)
		if (!grow(arena, size + sizeof(struct far__chunk)))
			return NULL;
	void *p = (char *)arena->newest + arena->newest->used;

	arena->newest->used += size;
	return memset(p, 0, size);
}

char *far__arena_text(struct far__arena *arena, const char *text, size_t length)
{
	char *copy = far__arena_alloc(arena, length + 1);

	return copy ? memcpy(copy, text, length) : NULL;
}

void far__arena_free(struct far__arena *arena)
{
	for (struct far__chunk *c = arena->newest, *older; c; c = older) {
		older = c->older;
		if (arena->take)
			arena->give(c);
		else
			free(c);
	}
	arena->newest = NULL;
	arena->taken = 0;
}

/* ----------------------------------------------------------------- making */

struct far__type *far__type_new(struct far__arena *arena, enum far__type_kind kind)
{
	struct far__type *t = far__arena_alloc(arena, sizeof *t);

	if (t)
		*t = (struct far__type){ .kind = kind, .is_complete = true, .alignment = 1 };
	return t;
}

struct far__type *far__type_pointer(struct far__arena *arena, const struct far__type *target, bool to_const)
{
	struct far__type *t = far__type_new(arena, FAR_POINTER);

	if (t) {
		t->size = t->alignment = sizeof(void *);
		t->target = target;
		t->to_const = to_const;
	}
	return t;
}

static uint64_t round_up(uint64_t n, uint64_t to)
{
	return (n + to - 1) / to * to;
}

bool far__field_is_break(const struct far__field *m)
{
	return !m->name && !m->bit_size && m->type->kind != FAR_STRUCT && m->type->kind != FAR_UNION;
}

bool far__type_lay_out(struct far__type *type, struct far__field *member, uint64_t count)
{
	const uint64_t max = 1ull << 40;	/* of bits */
	uint64_t bits = 0, end = 0, kept = 0;

	for (uint64_t i = 0; i < count; i++) {
		struct far__field *m = &member[i];
		const uint64_t unit = m->type->size * 8;

		if (m->type->size > max / 8)
			return false;
		if (type->kind == FAR_UNION)
			bits = 0;
		if (far__field_is_break(m)) {
			bits = round_up(bits, unit);
			continue;
		}
		if (!m->bit_size)
			bits = round_up(bits, m->type->alignment * 8ull);
		else if (bits / unit != (bits + m->bit_size - 1) / unit)
			bits = round_up(bits, unit);
		m->offset = m->bit_size ? bits / unit * m->type->size : bits / 8;
		m->bit_offset = m->bit_size ? (uint32_t)(bits % unit) : 0;
		bits += m->bit_size ? m->bit_size : unit;
		if (bits > end)
			end = bits;
		if (end > max)
			return false;
		/* As in the ABI, a bit-field without a name is padding, and does not align the struct. */
		if (m->bit_size && !m->name)
			continue;
		if (m->type->alignment > type->alignment)
			type->alignment = m->type->alignment;
		member[kept++] = *m;
	}
	if (bits > end)
		end = bits;
	type->size = round_up(round_up(end, 8) / 8, type->alignment);
	type->member = member;
	type->count = kept;
	return true;
}

const struct far__field *far__type_member(const struct far__type *type, const char *name, uint64_t *offset)
{
	for (uint64_t i = 0; i < type->count; i++) {
		const struct far__field *m = &type->member[i], *inner;

		*offset = m->offset;
		if (m->name && !strcmp(m->name, name))
			return m;
		/* Values lie in values, so this ends: a struct cannot contain itself. */
		if (m->name || (m->type->kind != FAR_STRUCT && m->type->kind != FAR_UNION))
			continue;
		inner = far__type_member(m->type, name, offset);
		if (inner) {
			*offset += m->offset;
			return inner;
		}
	}
	return NULL;
}

/* --------------------------------------------------------------- printing */

struct text {
	char *buffer;
	size_t size, length;
	unsigned depth;
};

static void put_char(struct text *out, char c)
{
	if (out->length + 1 < out->size)
		out->buffer[out->length] = c;
	out->length++;
}

static void put(struct text *out, const char *text)
{
	while (*text)
		put_char(out, *text++);
}

static void put_number(struct text *out, uint64_t n)
{
	char digits[24];

	snprintf(digits, sizeof digits, "%llu", (unsigned long long)n);
	put(out, digits);
}

static void put_declaration(struct text *out, const struct far__type *t, bool is_const, const char *name);

static bool binds_tighter(const struct far__type *t)
{
	return t->kind == FAR_ARRAY || t->kind == FAR_FUNCTION;
}

static void put_members(struct text *out, const struct far__type *t)
{
	put(out, " {");
	for (uint64_t i = 0; i < t->count; i++) {
		put_char(out, ' ');
		put_declaration(out, t->member[i].type, t->member[i].is_const, t->member[i].name);
		if (t->member[i].bit_size) {
			put(out, " : ");
			put_number(out, t->member[i].bit_size);
		}
		put_char(out, ';');
	}
	put(out, " }");
}

static void put_base(struct text *out, const struct far__type *t, bool is_const)
{
	const char *keyword = t->kind == FAR_STRUCT ? "struct"
			    : t->kind == FAR_UNION ? "union"
			    : t->kind == FAR_ENUM ? "enum" : "";

	if (is_const)
		put(out, "const ");
	if (t->name) {
		put(out, t->is_tag ? keyword : "");
		put(out, t->is_tag ? " " : "");
		put(out, t->name);
	} else if (t->kind == FAR_VOID) {
		put(out, "void");
	} else if (*keyword) {
		put(out, keyword);
		if (t->kind == FAR_ENUM || !t->is_complete)
			put(out, " { ... }");
		else
			put_members(out, t);
	} else {
		put(out, "?");
	}
}

/*
 * A declarator is printed from its middle: what stands before the name, down to the
 * base type, and behind it what the compiler reads first. The two walk the same way.
 */
static void put_before(struct text *out, const struct far__type *t, bool is_const, bool space)
{
	if (++out->depth > DEPTH_MAX || out->length > LENGTH_MAX) {
		put(out, "...");
	} else if (t->kind == FAR_POINTER) {
		put_before(out, t->target, t->to_const, true);
		put(out, binds_tighter(t->target) ? "(*" : "*");
		if (is_const)
			put(out, space ? "const " : "const");
	} else if (binds_tighter(t)) {
		put_before(out, t->target, t->to_const || (is_const && t->kind == FAR_ARRAY), space);
	} else {
		put_base(out, t, is_const);
		if (space)
			put_char(out, ' ');
	}
	out->depth--;
}

static void put_parameters(struct text *out, const struct far__type *t)
{
	put_char(out, '(');
	for (uint64_t i = 0; i < t->count; i++) {
		put(out, i ? ", " : "");
		put_declaration(out, t->member[i].type, t->member[i].is_const, t->member[i].name);
	}
	if (t->is_variadic)
		put(out, t->count ? ", ..." : "...");
	else if (!t->count)
		put(out, "void");
	put_char(out, ')');
}

static void put_behind(struct text *out, const struct far__type *t)
{
	if (++out->depth <= DEPTH_MAX && out->length <= LENGTH_MAX) {
		if (t->kind == FAR_POINTER && binds_tighter(t->target))
			put_char(out, ')');
		if (t->kind == FAR_ARRAY) {
			put_char(out, '[');
			if (t->count)
				put_number(out, t->count);
			put_char(out, ']');
		} else if (t->kind == FAR_FUNCTION) {
			put_parameters(out, t);
		}
		if (t->kind == FAR_POINTER || binds_tighter(t))
			put_behind(out, t->target);
	}
	out->depth--;
}

static void put_declaration(struct text *out, const struct far__type *t, bool is_const, const char *name)
{
	/* Without a name, "char *" but "char [3]" and "int (*)(void)". */
	put_before(out, t, is_const, name || binds_tighter(t));
	put(out, name ? name : "");
	put_behind(out, t);
}

size_t far__type_print(const struct far__type *type, const char *name, char *buffer, size_t size)
{
	struct text out = { .buffer = buffer, .size = size };

	put_declaration(&out, type, false, name);
	if (size)
		buffer[out.length < size ? out.length : size - 1] = 0;
	return out.length;
}

/* -------------------------------------------------------------- comparing */

struct pair {
	const struct far__type *a, *b;
};

/*
 * The pairs that must be the same for the first to be: those before @done have been
 * looked at, and each is there once, so that cycles end. The table finds a pair.
 */
struct pairs {
	struct pair *pair;
	uint32_t *table;	/* 1 + index, or 0; by hash, then the next free one */
	size_t count, done, room;	/* the table has twice as many places */
	bool failed;		/* no memory */
};

static uint32_t *place_of(const struct pairs *p, struct pair pair)
{
	uint64_t hash = ((uint64_t)(uintptr_t)pair.a * 31 + (uint64_t)(uintptr_t)pair.b) * 0x9e3779b97f4a7c15;
	size_t at = hash >> 20 & (2 * p->room - 1);

	while (p->table[at] && (p->pair[p->table[at] - 1].a != pair.a || p->pair[p->table[at] - 1].b != pair.b))
		at = (at + 1) & (2 * p->room - 1);
	return &p->table[at];
}

static bool make_room(struct pairs *p)
{
	size_t room = p->room ? 2 * p->room : 64;
	struct pair *pair = realloc(p->pair, room * sizeof *pair);
	uint32_t *table = calloc(2 * room, sizeof *table);

	if (pair)
		p->pair = pair;
	if (!pair || !table) {
		free(table);
		return false;
	}
	free(p->table);
	p->table = table;
	p->room = room;
	for (size_t i = 0; i < p->count; i++)
		*place_of(p, p->pair[i]) = (uint32_t)i + 1;
	return true;
}

static void require(struct pairs *p, const struct far__type *a, const struct far__type *b)
{
	struct pair pair = { a, b };

	if (a == b || p->failed)
		return;
	if (p->count == p->room && !make_room(p)) {
		p->failed = true;
		return;
	}
	uint32_t *place = place_of(p, pair);

	if (*place)
		return;
	p->pair[p->count++] = pair;
	*place = (uint32_t)p->count;
}

static bool same_name(const char *a, const char *b)
{
	return a && b ? !strcmp(a, b) : a == b;
}

static bool is_integral(const struct far__type *t)
{
	return t->kind == FAR_INTEGER || t->kind == FAR_ENUM;
}

static bool same_aggregate(struct pairs *p, const struct far__type *a, const struct far__type *b)
{
	if (a->is_tag && b->is_tag && strcmp(a->name, b->name))
		return false;
	if (!a->is_complete || !b->is_complete)
		return same_name(a->name, b->name);
	if (a->size != b->size || a->count != b->count)
		return false;
	for (uint64_t i = 0; i < a->count; i++) {
		const struct far__field *m = &a->member[i], *n = &b->member[i];

		if (!same_name(m->name, n->name) || m->bit_size != n->bit_size ||
		    m->offset * 8 + m->bit_offset != n->offset * 8 + n->bit_offset)
			return false;
		require(p, m->type, n->type);
	}
	return true;
}

static bool same_function(struct pairs *p, const struct far__type *a, const struct far__type *b)
{
	if (a->count != b->count || a->is_variadic != b->is_variadic)
		return false;
	require(p, a->target, b->target);
	for (uint64_t i = 0; i < a->count; i++)
		require(p, a->member[i].type, b->member[i].type);
	return true;
}

static bool same_here(struct pairs *p, const struct far__type *a, const struct far__type *b)
{
	if (is_integral(a) && is_integral(b))
		/* An enum's signedness is the compiler's choice. */
		return a->size == b->size && (a->is_signed == b->is_signed || a->kind != b->kind);
	if (a->kind != b->kind)
		return false;
	switch (a->kind) {
	case FAR_POINTER:
		require(p, a->target, b->target);
		return true;
	case FAR_ARRAY:
		require(p, a->target, b->target);
		return a->count == b->count || !a->count || !b->count;
	case FAR_STRUCT:
	case FAR_UNION:
		return same_aggregate(p, a, b);
	case FAR_FUNCTION:
		return same_function(p, a, b);
	default:
		return a->size == b->size && a->is_complete == b->is_complete;
	}
}

bool far__type_same(const struct far__type *a, const struct far__type *b)
{
	struct pairs p = { 0 };
	bool same = true;

	require(&p, a, b);
	while (same && !p.failed && p.done < p.count) {
		struct pair pair = p.pair[p.done++];

		same = same_here(&p, pair.a, pair.b);
	}
	free(p.pair);
	free(p.table);
	return same && !p.failed;
}
