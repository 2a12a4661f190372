/* From a struct type to methods, tables and data: see class.h. */
#include "class.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "reader.h"

enum { DEPTH_MAX = 16, ELEMENTS_MAX = 1024 };

static struct {
	pthread_mutex_t lock;
	struct far__class *first;
} classes = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* ------------------------------------------------------- what cannot be called */

static void refuse(ffi_cif *cif, void *result, void **arguments, void *why)
{
	(void)arguments;
	far__no_value(cif, result);
	far__fail(FAR_ETYPE, ENOTSUP, "method", NULL, "%s", (const char *)why);
}

/* A function that fails with @why, which is kept. NULL if there is no memory. */
static void *make_stub(const char *why)
{
	static ffi_cif cif;
	ffi_closure *closure;
	void *code;

	if (ffi_prep_cif(&cif, FFI_DEFAULT_ABI, 0, &ffi_type_pointer, NULL) != FFI_OK)
		return NULL;
	closure = ffi_closure_alloc(sizeof *closure, &code);
	return closure && ffi_prep_closure_loc(closure, &cif, refuse, (void *)(uintptr_t)why, code) == FFI_OK ? code : NULL;
}

/* ---------------------------------------------------------- kinds of members */

static bool is_method(const struct far__type *t)
{
	return t->kind == FAR_POINTER && t->target && t->target->kind == FAR_FUNCTION;
}

/* What an array is made of, or any other type itself. */
static const struct far__type *element_of(const struct far__type *t)
{
	while (t->kind == FAR_ARRAY)
		t = t->target;
	return t;
}

static bool takes(const struct far__type *function, const struct far__type *object)
{
	for (uint64_t i = 0; i < function->count; i++) {
		const struct far__type *t = function->member[i].type;

		if (t->kind == FAR_POINTER && t->target && t->target->kind == FAR_STRUCT &&
		    (t->target == object || (t->target->name && object->name && !strcmp(t->target->name, object->name))))
			return true;
	}
	return false;
}

/* What a struct has. */
struct contents {
	const struct far__type *of;
	unsigned methods, others;
	bool is_self;			/* a method takes a pointer to it: it is an object */
};

static void count_members(struct contents *c, const struct far__type *t, unsigned depth)
{
	if (t->kind != FAR_STRUCT || depth > DEPTH_MAX)
		return;
	for (uint64_t i = 0; i < t->count; i++) {
		const struct far__type *m = element_of(t->member[i].type);

		if (is_method(m)) {
			c->methods++;
			c->is_self |= takes(m->target, c->of);
		} else if (m->kind == FAR_STRUCT) {
			count_members(c, m, depth + 1);
		} else {
			c->others++;
		}
	}
}

/* Whether it points to a table of functions: not to another object, as in a list. */
static bool is_table(const struct far__type *pointer)
{
	struct contents c = { .of = pointer->target };

	if (pointer->kind != FAR_POINTER || !pointer->target || !pointer->target->is_complete)
		return false;
	count_members(&c, pointer->target, 0);
	return c.methods && !c.is_self && (pointer->to_const || c.methods > c.others);
}

/* Whether there is something to call in a struct, or by way of it. */
static bool is_object(const struct far__type *t, unsigned depth)
{
	if (t->kind != FAR_STRUCT || depth > DEPTH_MAX)
		return false;
	for (uint64_t i = 0; i < t->count; i++) {
		const struct far__type *m = element_of(t->member[i].type);

		if (is_method(m) || is_table(m) || is_object(m, depth + 1))
			return true;
	}
	return false;
}

/* ----------------------------------------------------------------- building */

/* One more in an array that grows; NULL if there is no memory. */
static void *one_more(void *array, size_t *count, size_t size)
{
	char **a = array;
	char *more = realloc(*a, (*count + 1) * size);

	if (!more)
		return NULL;
	*a = more;
	return memset(more + size * (*count)++, 0, size);
}

/* The method can be called; or why it cannot. False if there is no memory. */
static bool prepare(struct far__method *m, const struct far__type *function, const char *name)
{
	const struct far__type *result = function->target;
	struct far__complaint why;

	m->signature.type = function;
	m->signature.recipe.site.function = name ? name : "(a method)";
	if (!far__signature_prepare(&m->signature, &why) || !far__signature_closure(&m->signature, &m->cif, &why))
		return (m->why = strdup(why.text)) && (m->stub = make_stub(m->why));
	m->gives_object = result->kind == FAR_POINTER && result->target && result->target->is_complete &&
			  is_object(result->target, 0);
	return true;
}

static bool add_method(struct far__class *c, int table, size_t offset, const struct far__field *field)
{
	struct far__method *m = one_more(&c->method, &c->methods, sizeof *m);

	if (!m)
		return false;
	m->table = table;
	m->offset = offset;
	return prepare(m, field->type->target, field->name);
}

static bool add_data(struct far__class *c, size_t offset, size_t length)
{
	struct far__data *last = c->datas ? &c->data[c->datas - 1] : NULL;

	if (!length)
		return true;
	if (last && offset <= last->offset + last->length) {
		if (offset + length > last->offset + last->length)
			last->length = offset + length - last->offset;
		return true;
	}
	struct far__data *d = one_more(&c->data, &c->datas, sizeof *d);

	if (d)
		*d = (struct far__data){ offset, length };
	return d;
}

static bool add_members(struct far__class *c, int table, size_t offset, const struct far__type *t, unsigned depth);

static bool add_table(struct far__class *c, size_t offset, const struct far__type *t)
{
	struct far__table *table = one_more(&c->table, &c->tables, sizeof *table);

	if (!table)
		return false;
	*table = (struct far__table){ offset, t->size };
	return add_members(c, (int)c->tables - 1, 0, t, 0);
}

static bool add_member(struct far__class *c, int table, size_t offset, const struct far__field *field, unsigned depth)
{
	const struct far__type *t = field->type;

	if (is_method(t))
		return add_method(c, table, offset, field);
	if (t->kind == FAR_STRUCT && depth < DEPTH_MAX)
		return add_members(c, table, offset, t, depth + 1);
	if (t->kind == FAR_ARRAY && depth < DEPTH_MAX && (is_method(element_of(t)) || is_object(element_of(t), 0))) {
		const struct far__field element = { .name = field->name, .type = t->target };

		for (uint64_t i = 0; i < t->count && i < ELEMENTS_MAX; i++)
			if (!add_member(c, table, offset + i * t->target->size, &element, depth + 1))
				return false;
		return true;
	}
	/* A table's data is copied once, with it. */
	if (table < 0 && is_table(t))
		return add_table(c, offset, t->target);
	if (table >= 0)
		return true;
	/* The storage unit of bits may have begun in another member. */
	return field->bit_size ? add_data(c, offset + field->bit_offset / 8, (field->bit_offset % 8 + field->bit_size + 7) / 8)
			       : add_data(c, offset, t->size);
}

static bool add_members(struct far__class *c, int table, size_t offset, const struct far__type *t, unsigned depth)
{
	for (uint64_t i = 0; i < t->count; i++)
		if (!add_member(c, table, offset + t->member[i].offset, &t->member[i], depth))
			return false;
	return true;
}

static void free_class(struct far__class *c)
{
	for (size_t i = 0; i < c->methods; i++) {
		far__arena_free(&c->method[i].signature.ffi);
		free(c->method[i].why);
	}
	free(c->method);
	free(c->table);
	free(c->data);
	far__arena_free(&c->graph);
	free(c);
}

static struct far__class *build(struct far__class *c)
{
	bool built;

	if (!c->type)
		built = (c->stub = make_stub(c->why));
	else if (c->type->kind == FAR_STRUCT)
		built = add_members(c, -1, 0, c->type, 0);
	else
		built = add_data(c, 0, c->type->size);
	if (built)
		return c;
	free_class(c);
	return NULL;
}

/* What the variable points to, if that is a struct of known members; else c->why. */
static void read_type(struct far__class *c, const void *planted)
{
	struct far__complaint why = { 0 };
	const struct far__type *pointer;

	c->graph = far__reader_arena();
	pointer = far__read_variable(planted, &c->graph, &why);
	if (pointer && pointer->kind == FAR_POINTER && pointer->target && pointer->target->is_complete && pointer->target->size)
		c->type = pointer->target;
	else
		snprintf(c->why, sizeof c->why, "the members of this object are not known: %.*s",
			 pointer ? 99 : (int)strcspn(why.text, "\n"),
			 pointer ? "its struct is only declared where it is wrapped" : why.text);
}

/* ------------------------------------------------------------------- finding */

static struct far__class *find(const void *key)
{
	struct far__class *c = classes.first;

	while (c && c->key != key)
		c = c->next;
	return c;
}

static struct far__class *find_or_build(const void *key, const struct far__type *type)
{
	int cancel = far__put_cancel_off();	/* files are read */

	pthread_mutex_lock(&classes.lock);
	struct far__class *c = find(key);

	if (!c && (c = calloc(1, sizeof *c))) {
		c->key = key;
		c->type = type;
		if (!type)
			read_type(c, key);
		c = build(c);
		if (c) {
			c->next = classes.first;
			classes.first = c;
		}
	}
	pthread_mutex_unlock(&classes.lock);
	pthread_setcancelstate(cancel, NULL);
	return c;
}

struct far__class *far__class_of_variable(const void *planted)
{
	return find_or_build(planted, NULL);
}

struct far__class *far__class_of_type(const struct far__type *type)
{
	return find_or_build(type, type);
}
