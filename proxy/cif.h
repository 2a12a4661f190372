/*
 * Types as libffi wants them, for calls and closures.
 *
 * What is made here points to libffi's own objects: it is valid in this process
 * alone, for as long as its arena, which is not that of a graph for others.
 */
#ifndef FAR_PROXY_CIF_H
#define FAR_PROXY_CIF_H

#include <ffi.h>

#include "type.h"

/*
 * The type of a value of @type, or as a function's result also void. NULL and @why
 * if libffi cannot pass it as the compiler does.
 */
ffi_type *far__type_ffi(const struct far__type *type, struct far__arena *arena, struct far__complaint *why);

/*
 * Prepare calls of a @function. Of a variadic one, @extra are the types of the
 * @extras arguments behind its parameters: as in C, float becomes double and what is
 * smaller than int becomes int, and so must the values.
 *
 * If *split is not -1 then, the struct that is that argument must be given as two,
 * its first eight bytes and the rest. NULL: it is for a closure, which needs none.
 */
bool far__cif(ffi_cif *cif, const struct far__type *function, const struct far__type *const *extra, unsigned extras,
	      int *split, struct far__arena *arena, struct far__complaint *why);

#endif
