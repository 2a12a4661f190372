/* far_alloc() and its sisters: the far heap with errors in words. */
#include <errno.h>
#include <string.h>

#include "heap.h"
#include "internal.h"
#include "object.h"

static void *alloc(const char *function, size_t size, bool zero)
{
	int err = 0;

	if (far__ready(function))
		return NULL;
	void *block = far__heap_alloc(size, zero, &err);

	if (block)
		return block;
	if (err == -ENOSPC)
		far__fail(FAR_ENOMEM, ENOSPC, function, NULL, "no room for %zu bytes: %s is full",
			  size, far__object_kind());
	else if (err == -ENOBUFS)
		far__fail(FAR_ENOMEM, ENOMEM, function, NULL, "%zu bytes are more than %sthe far heap's range of %zu (set FARCALL_HEAP)",
			  size, size > far__space.heap_size ? "" : "is left of ", far__space.heap_size);
	else
		far__fail(FAR_ENOMEM, -err, function, NULL, "no memory for %zu bytes: %s", size, strerror(-err));
	return NULL;
}

void *far_alloc(size_t size)
{
	return alloc("far_alloc", size, false);
}

void *far_calloc(size_t count, size_t size)
{
	size_t total;

	if (__builtin_mul_overflow(count, size, &total)) {
		far__fail(FAR_ENOMEM, EOVERFLOW, "far_calloc", NULL, "%zu times %zu bytes overflow", count, size);
		return NULL;
	}
	return alloc("far_calloc", total, true);
}

static void not_a_block(const char *function, void *block)
{
	far__fail(FAR_EPOINTER, EINVAL, function, NULL,
		  "%p is no far_alloc()ed block: freed before, inside a block, or from elsewhere", block);
	far__failure()->address = block;
}

void *far_realloc(void *block, size_t size)
{
	if (!block)
		return alloc("far_realloc", size, false);
	if (far__ready("far_realloc"))
		return NULL;
	size_t old = far__heap_size(block);

	if (!old) {
		not_a_block("far_realloc", block);
		return NULL;
	}
	if (far__heap_fits(block, size))
		return block;
	void *new = alloc("far_realloc", size, false);

	if (new) {
		memcpy(new, block, old < size ? old : size);
		far__heap_free(block);
	}
	return new;
}

void far_free(void *block)
{
	if (!block || far__ready("far_free"))
		return;
	if (far__heap_free(block))
		not_a_block("far_free", block);
}
