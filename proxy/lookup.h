/* How a function of a library is called, found out from what the program says of it. */
#ifndef FAR_PROXY_LOOKUP_H
#define FAR_PROXY_LOOKUP_H

#include "library.h"
#include "signature.h"

/*
 * A signature of its own for a symbol whose text is a prototype, or a name whose
 * type C calls @type, or, if that is NULL, the debug information tells. NULL and
 * far_error(). Needs the library's lock.
 */
struct far__signature *far__look_up(struct far__library *library, struct far__symbol *symbol, const char *type,
				    const struct far__asker *asker);

/* Fail with a complaint about @text, in one line. */
void far__fail_complaint(const struct far__asker *asker, int code, const char *text, const struct far__complaint *why);

#endif
