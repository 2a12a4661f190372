/* Reading debug information elsewhere: see reader.h. */
#include "reader.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "debug.h"
#include "heap.h"
#include "internal.h"

enum { TIME_MS = 20000 };

typedef const struct far__type *read_function(const char *module, const char *name, struct far__arena *arena,
					      struct far__complaint *why);

/* In the far heap, so that what it has taken can be given back when the reader dies. */
struct request {
	struct far__arena arena;
	struct far__complaint why;
	char module[PATH_MAX];
	char name[];
};

static void *take_chunk(size_t size)
{
	int err;

	return far__heap_alloc(size, false, &err);
}

static void give_chunk(void *chunk)
{
	far__heap_free(chunk);
}

struct far__arena far__reader_arena(void)
{
	return (struct far__arena){ .take = take_chunk, .give = give_chunk };
}

/* In the reader. */
static const struct far__type *read_there(read_function *read, struct request *r)
{
	unsetenv("DEBUGINFOD_URLS");
	return read(r->module, r->name, &r->arena, &r->why);
}

static const struct far__type *have_it_read(read_function *read, struct request *r)
{
	struct far_slave *reader = far_slave_process(.name = "farcall-types", .close_ms = TIME_MS);

	if (!reader && far_error()->code == FAR_EINIT)
		return read_there(read, r);	/* there are no slave processes: so be it */
	const struct far__type *type = reader ? far_invoke_within(TIME_MS, reader, read_there, read, r) : NULL;

	if (far__failed)
		far__refuse(&r->why, "the types of %s cannot be read: %s", r->module, far_error()->message);
	(void)far_error();
	far_slave_close(reader);
	(void)far_error();
	return type;
}

static const struct far__type *read_with(read_function *read, const char *module, const char *name,
					 struct far__arena *arena, struct far__complaint *why)
{
	int err;
	struct request *r = far__heap_alloc(sizeof *r + strlen(name) + 1, true, &err);

	if (!r) {
		far__refuse(why, "no shared memory to read the types of %s", module);
		return NULL;
	}
	r->arena = *arena;
	snprintf(r->module, sizeof r->module, "%s", module);
	strcpy(r->name, name);
	const struct far__type *type = have_it_read(read, r);

	*arena = r->arena;
	if (why)
		*why = r->why;
	far__heap_free(r);
	return type;
}

const struct far__type *far__read_function(const char *module, const char *name, struct far__arena *arena,
					   struct far__complaint *why)
{
	return read_with(far__debug_function, module, name, arena, why);
}

const struct far__type *far__read_type(const char *module, const char *name, struct far__arena *arena,
				       struct far__complaint *why)
{
	return read_with(far__debug_type, module, name, arena, why);
}

/* In the reader: @name is an address in hexadecimal. */
static const struct far__type *read_place(const char *module, const char *name, struct far__arena *arena,
					  struct far__complaint *why)
{
	struct far__place place = { .address = strtoull(name, NULL, 16) };

	snprintf(place.module, sizeof place.module, "%s", module);
	return far__debug_variable(&place, arena, why);
}

const struct far__type *far__read_variable(const void *variable, struct far__arena *arena, struct far__complaint *why)
{
	struct far__place place;
	char address[20];

	if (!far__debug_place(variable, &place, why))
		return NULL;
	snprintf(address, sizeof address, "%llx", (unsigned long long)place.address);
	return read_with(read_place, place.module, address, arena, why);
}
