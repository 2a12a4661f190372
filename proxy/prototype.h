/*
 * A C prototype given as text becomes a function type.
 */
#ifndef FAR_PROXY_PROTOTYPE_H
#define FAR_PROXY_PROTOTYPE_H

#include "type.h"

/*
 * Who knows the types that a prototype only names: "point_t", "struct point",
 * "union u" or "enum e". NULL if there is no such type.
 */
struct far__names {
	const struct far__type *(*find)(void *arg, const char *name);
	void *arg;
};

/*
 * The type of the function that the C declaration @text declares, with a ';' or
 * without, in @arena; if @name is not NULL, *name is the function's, there too, or
 * NULL if the text gives none. @names may be NULL.
 *
 * What C's own headers name needs no definition: size_t, int32_t, FILE and the like,
 * nor a struct that is only pointed to. A struct may be defined in the prototype.
 *
 * NULL, and @why with the offset of what is wrong, shown under the text by a caret.
 */
const struct far__type *far__prototype(const char *text, const struct far__names *names, struct far__arena *arena,
				       const char **name, struct far__complaint *why);

/* The same for a type's name, "double (*)(double, double)" or "handler_t": that of the function, or what it points to. */
const struct far__type *far__function_type(const char *text, const struct far__names *names, struct far__arena *arena,
					   struct far__complaint *why);

#endif
