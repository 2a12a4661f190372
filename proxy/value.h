/*
 * Values of C converted from one type to another when the program runs, as the
 * compiler converts arguments to parameters; but what would change the value is
 * refused.
 */
#ifndef FAR_PROXY_VALUE_H
#define FAR_PROXY_VALUE_H

#include "internal.h"
#include "type.h"

enum { FAR_SCALAR_SIZE = 32 };	/* of the largest, a _Complex long double */

/* A floating number of @size bytes, as many as one of C's three types has. */
long double far__read_real(size_t size, const void *at);

/* The type of a value that a macro of farcall.h has described; of a struct or union only the size is known. */
struct far__type far__value_type(const struct far__value *value);

/*
 * Convert the value at @from to @to's type: numbers to numbers, a pointer or the
 * integer 0 to a pointer, a struct or union to one of its size. False and @why, a
 * phrase, if C has no such conversion or the value would be another one: only
 * between floating types it is rounded, though never to infinity.
 */
bool far__convert(const struct far__type *to_type, void *to, const struct far__type *from_type, const void *from,
		  struct far__complaint *why);

#endif
