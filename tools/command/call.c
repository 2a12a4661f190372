/* farcall call: one call, in a slave process that may do what it likes. */
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "lookup.h"

/* How the function is called. NULL with a message and *status. */
static struct far__signature *find(far_library *library, const char *function, void **address, int *status)
{
	const struct far__asker asker = { "call", NULL, 0 };
	struct far__library *l = far__library_enter((uintptr_t)library, &asker);
	struct far__signature *signature = NULL;

	pthread_mutex_lock(&l->lock);
	struct far__symbol *symbol = far__library_symbol(l, function, &asker);

	if (symbol)
		signature = far__look_up(l, symbol, NULL, &asker);
	*address = signature ? far__library_address(l, symbol, &asker) : NULL;
	pthread_mutex_unlock(&l->lock);
	far__library_leave(l);
	if (*address)
		return signature;
	(void)print_failure();
	*status = MISUSED;
	return NULL;
}

/* The values of the arguments, each in memory of its own; false with a message. */
static bool read_arguments(const struct far__type *f, char **text, unsigned count, void **value, const struct far__type **type)
{
	struct bytes last = { 0 };

	if (count > FAR_ARGUMENTS_MAX || f->count > FAR_ARGUMENTS_MAX) {
		complain("a call has at most %d arguments", FAR_ARGUMENTS_MAX);
		return false;
	}
	if (count < f->count || (count > f->count && !f->is_variadic)) {
		complain("the function takes %s%u arguments, not %u", f->is_variadic ? "at least " : "", (unsigned)f->count, count);
		return false;
	}
	for (unsigned i = 0; i < count; i++) {
		type[i] = i < f->count ? f->member[i].type : guess_type(text[i]);
		size_t size = type[i]->size > 16 ? type[i]->size : 16;

		value[i] = calloc(1, size);
		if (!value[i] || !read_value(type[i], text[i], value[i], &last))
			return false;
	}
	return true;
}

static int call(struct far_slave *slave, const struct far__signature *signature, void *address, char **text, unsigned count)
{
	const struct far__type *f = signature->type, *type[FAR_ARGUMENTS_MAX];
	struct far__recipe recipe = signature->recipe;
	struct far__buffer buffers[FAR_ARGUMENTS_MAX];
	struct far__arena arena = { 0 };
	struct far__complaint why;
	struct far__call c;
	void *value[FAR_ARGUMENTS_MAX], *result = calloc(1, f->target->size + 64);
	unsigned fixed = (unsigned)f->count;

	if (!result || !read_arguments(f, text, count, value, type))
		return MISUSED;
	if (count > fixed && !far__signature_extend(signature, type + fixed, count - fixed, &recipe, &arena, &why))
		return complain("%s", why.text);
	far__start(&c, slave, address, buffers, FAR__OP_INVOKE, FAR__SLAVES_DEADLINE);
	far__recipe_prepare(&recipe, &c);
	for (unsigned i = 0; i < count; i++)
		if (far__is_pointer(type[i]))
			far__look_at(&c, value[i], (int)i + 1, 0, 0);
	far__recipe_call(&recipe, &c, value, result);
	if (far_error())
		return print_failure();
	if (f->target->kind != FAR_VOID) {
		print_value(stdout, slave, f->target, result);
		putchar('\n');
	}
	return fflush(stdout) ? complain("standard output cannot be written") : DONE;
}

int call_command(const struct limits *limits, const char *library, const char *function, char **arguments, unsigned count)
{
	struct far_slave *slave = start_slave(limits);
	far_library *l = slave ? far_open(slave, library) : NULL;
	int status = MISUSED;
	void *address;

	if (!l) {
		(void)print_failure();
		return MISUSED;
	}
	const struct far__signature *signature = find(l, function, &address, &status);

	if (signature)
		status = call(slave, signature, address, arguments, count);
	far_slave_close(slave);
	(void)far_error();
	return status;
}
