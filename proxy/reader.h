/*
 * Types from the debug information of files that may be damaged, or that this
 * process cannot see: read by a slave process that is started for it.
 */
#ifndef FAR_PROXY_READER_H
#define FAR_PROXY_READER_H

#include "type.h"

/*
 * What far__debug_function() or far__debug_type() tells, in @arena, whose chunks
 * must be the far heap's: see far__reader_arena(). NULL and @why.
 */
const struct far__type *far__read_function(const char *module, const char *name, struct far__arena *arena,
					   struct far__complaint *why);
const struct far__type *far__read_type(const char *module, const char *name, struct far__arena *arena,
				       struct far__complaint *why);

/* What a variable of this process is: far__debug_variable(). */
const struct far__type *far__read_variable(const void *variable, struct far__arena *arena, struct far__complaint *why);

/* An empty arena in the far heap. */
struct far__arena far__reader_arena(void);

#endif
