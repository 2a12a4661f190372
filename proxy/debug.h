/*
 * Types from debug information, read with libdw.
 *
 * A module is a program or a library, given by its file's path. Its debug information
 * is in itself; or where distributions put it, found by build ID or .gnu_debuglink;
 * or in a file NAME.types beside it. Nothing is fetched from a network.
 *
 * Everything here may be called from any thread; one is served at a time. What was
 * learnt of a module is kept until far__debug_forget(). libdw itself may crash on
 * damaged files: read those of others in a process that may.
 *
 * Graphs are made in the caller's arena. What fails gives NULL or false and says why
 * in words for a user; parts of a graph stay in the arena then.
 */
#ifndef FAR_PROXY_DEBUG_H
#define FAR_PROXY_DEBUG_H

#include <limits.h>

#include "type.h"

/* Something in a module of this process, for any process that can read the file. */
struct far__place {
	char module[PATH_MAX];
	uint64_t address;	/* as the module was linked, not as it is loaded */
};

/* Where @address is. False if no module has it. Does not need libdw. */
bool far__debug_place(const void *address, struct far__place *place, struct far__complaint *why);

/* The type of the variable with static storage at @place, also of one within a function. */
const struct far__type *far__debug_variable(const struct far__place *place, struct far__arena *arena,
					    struct far__complaint *why);

/* The type of a function by name: one that is defined in the module if there is, else as a header declared it. */
const struct far__type *far__debug_function(const char *module, const char *name, struct far__arena *arena,
					    struct far__complaint *why);

/*
 * "struct shape", "union u", "enum e" or the name of a typedef. One that the module
 * only declares is taken from another that is loaded in this process.
 */
const struct far__type *far__debug_type(const char *module, const char *name, struct far__arena *arena,
					struct far__complaint *why);

/*
 * Call @visit for each function that the module defines for others, until it returns
 * false. The type is a prototype, whose structs are incomplete, and valid in the call
 * alone. @visit must not ask for types itself.
 */
bool far__debug_functions(const char *module, bool (*visit)(void *arg, const char *name, const struct far__type *type),
			  void *arg, struct far__complaint *why);

/* Close all files and free what is known of all modules. */
void far__debug_forget(void);

#endif
