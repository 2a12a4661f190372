/*
 * C types as data: what the debug information or a prototype tells of them.
 *
 * A graph of types lies in one arena and points to nothing outside it, names
 * included: a process can make it in the far heap and another use it there. It is
 * never changed once it was handed out, and may have cycles, through pointers.
 */
#ifndef FAR_PROXY_TYPE_H
#define FAR_PROXY_TYPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ------------------------------------------------------------- complaints */

/* Why there is no result: filled in by functions here that fail. */
struct far__complaint {
	int offset;		/* the character of a prototype that is wrong, or -1 */
	char text[1024];	/* fit to print; with the prototype and a caret in lines of their own */
};

/* Fill in @why, which may be NULL, with offset -1. */
void far__refuse(struct far__complaint *why, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* ----------------------------------------------------------------- arenas */

/*
 * Memory that is freed as a whole. All zero is one that takes its chunks with
 * malloc(). Use one from one thread at a time.
 */
struct far__arena {
	void *(*take)(size_t size);	/* a chunk, aligned to 16, or NULL */
	void (*give)(void *chunk);
	size_t limit;			/* bytes of all chunks; 0 is a gigabyte */
	size_t taken;			/* of them so far */
	struct far__chunk *newest;	/* lies at the begin of its chunk */
};

/* @size zero bytes, aligned to 16; NULL if there are none, or beyond the limit. */
void *far__arena_alloc(struct far__arena *arena, size_t size);

/* A copy of @length characters, with a NUL behind; or NULL. */
char *far__arena_text(struct far__arena *arena, const char *text, size_t length);

/* Give everything back. The arena is empty then and can be used again. */
void far__arena_free(struct far__arena *arena);

/* ------------------------------------------------------------------ types */

enum far__type_kind {
	FAR_VOID,
	FAR_BOOL,
	FAR_INTEGER,
	FAR_ENUM,
	FAR_FLOAT,
	FAR_COMPLEX,
	FAR_POINTER,
	FAR_ARRAY,
	FAR_STRUCT,
	FAR_UNION,
	FAR_FUNCTION,
};

/*
 * Qualifiers are kept where a type is used, so that struct s and const struct s are
 * one type: of const what is pointed to and of members and parameters, no others.
 */
struct far__type {
	enum far__type_kind kind;
	bool is_signed;		/* integer, enum */
	bool is_char;		/* integer: plain char, neither signed nor unsigned char */
	bool is_tag;		/* struct, union, enum: the name is its tag, not that of a typedef */
	bool is_variadic;	/* function: more arguments may follow */
	bool is_complete;	/* false: values of it cannot be made; the size may be known */
	bool to_const;		/* pointer, array: the target is const */
	uint32_t alignment;
	uint64_t size;		/* of a value in bytes; 0 for void, functions and [] */
	const char *name;	/* tag, or name of the basic type or of the scalar's typedef, or NULL */
	const struct far__type *target;	/* pointed to, an array's element, a function's result */
	uint64_t count;		/* elements, members, parameters */
	const struct far__field *member;	/* of struct and union, or a function's parameters */
};

struct far__field {
	const char *name;	/* NULL: a parameter without, or an anonymous struct or union */
	const struct far__type *type;
	bool is_const;
	uint64_t offset;	/* of a bit-field: of the bytes of its type that hold its first bit */
	uint32_t bit_offset;	/* from the lowest bit of those bytes */
	uint32_t bit_size;	/* 0: no bit-field */
};

/* What a parameter is; of an array or a function, a pointer to it. */
static inline bool far__is_pointer(const struct far__type *parameter)
{
	return parameter->kind == FAR_POINTER || parameter->kind == FAR_ARRAY || parameter->kind == FAR_FUNCTION;
}

static inline bool far__is_aggregate(const struct far__type *t)
{
	return t->kind == FAR_STRUCT || t->kind == FAR_UNION;
}

static inline bool far__is_string(const struct far__type *parameter)
{
	return parameter->kind == FAR_POINTER && parameter->to_const && parameter->target->is_char;
}

/* How many bytes may be copied in for a pointer: those of a const struct. */
static inline size_t far__constant_size(const struct far__type *parameter)
{
	return parameter->kind == FAR_POINTER && parameter->to_const && far__is_aggregate(parameter->target) &&
	       parameter->target->is_complete ? parameter->target->size : 0;
}

/* A new type of that kind in @arena, complete and all else zero; or NULL. */
struct far__type *far__type_new(struct far__arena *arena, enum far__type_kind kind);

/* A pointer to @target. */
struct far__type *far__type_pointer(struct far__arena *arena, const struct far__type *target, bool to_const);

/* "int : 0;", after which a bit-field begins in a unit of its own. Only a member that is not laid out can be one. */
bool far__field_is_break(const struct far__field *m);

/*
 * Lay out @type's members one after the other, as the compiler would: sets their
 * offsets and its size and alignment, from their types and bit sizes; members that
 * are padding are taken out of @member. False if it is too large.
 */
bool far__type_lay_out(struct far__type *type, struct far__field *member, uint64_t count);

/*
 * Print the C declaration of @name as a @type into @buffer, or only the type if
 * @name is NULL. As snprintf(): the text's whole length; what has no room is cut.
 */
size_t far__type_print(const struct far__type *type, const char *name, char *buffer, size_t size);

/*
 * Whether values of one can be used as values of the other, as C says of types in
 * two files: tags, names and layout of members, parameters and results agree. It is
 * less strict in that names of typedefs, const, and the kinds of integers of
 * one size and signedness do not matter; an incomplete struct is like any of its tag.
 */
bool far__type_same(const struct far__type *a, const struct far__type *b);

/* The member of that name, also of an anonymous member; *offset is its own from the begin of @type. Or NULL. */
const struct far__field *far__type_member(const struct far__type *type, const char *name, uint64_t *offset);

#endif
