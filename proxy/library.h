/*
 * Libraries that slaves have loaded, and what is known of their functions.
 *
 * A far_library is a handle: FAR_LIBRARY, its place in a table, and a count of
 * those that had it before. Who uses a library enters it, and what is closed
 * meanwhile is freed by the last who leaves.
 */
#ifndef FAR_PROXY_LIBRARY_H
#define FAR_PROXY_LIBRARY_H

#include <pthread.h>

#include "internal.h"
#include "type.h"

struct far__library {
	uintptr_t handle, slave;
	char *name;			/* as far_open() was given it; NULL: what is loaded there already */
	bool is_implied;		/* nobody opened it: a slave was named in its place */
	/* The rest is protected by the lock, which nobody holds while the slave is asked. */
	pthread_mutex_t lock;
	uint32_t incarnation;		/* of the slave, for which the next two hold */
	void *loaded;			/* dlopen()'s handle there, or NULL */
	void *symbols;			/* a tree for tsearch() of struct far__symbol */
	unsigned users;			/* protected by the table's lock */
	bool is_closed;
};

/* A function of a library, as it was asked for. */
struct far__symbol {
	char *text;			/* a name or a prototype: the key */
	char *name;			/* the function's; of its own if it is not .text */
	uint32_t incarnation;		/* in which it lies ... */
	void *address;			/* ... here */
	struct far__signature *signature;	/* or NULL: not found yet */
};

/* For errors: who asks, and from where. */
struct far__asker {
	const char *function;
	const struct far__site *site;
	uint64_t deadline;		/* for asking the slave, or FAR_FOREVER; 0: the slave's own */
};

/* Whether it is open still: cheap, and good for a moment. */
bool far__library_is_open(uintptr_t handle);

/* Find the library, or what @handle, a slave, has loaded, and use it until far__library_leave(). NULL and far_error(). */
struct far__library *far__library_enter(uintptr_t handle, const struct far__asker *asker);
void far__library_leave(struct far__library *library);

/* The entry for @text, made if there is none; NULL and far_error(). Needs the lock. */
struct far__symbol *far__library_symbol(struct far__library *library, const char *text, const struct far__asker *asker);

/* The prototype tells the function's name. False and far_error() if there is no memory. Needs the lock. */
bool far__library_name(struct far__symbol *symbol, const char *name, const struct far__asker *asker);

/*
 * Where symbol->name lies, in symbol->incarnation then; NULL and far_error(). Needs the lock, and
 * lets it go while the slave is asked.
 */
void *far__library_address(struct far__library *library, struct far__symbol *symbol, const struct far__asker *asker);

/* Where a function lies, and in which incarnation of its slave. */
struct far__location {
	void *address;
	uint32_t incarnation;
};

/* Both, by the function's own name: .address is NULL, and far_error(). Takes the lock. */
struct far__location far__library_function(struct far__library *library, const char *name, const struct far__asker *asker);

/*
 * The file, @module of PATH_MAX bytes, that the symbol's function is in; with NULL
 * that of the library. False and far_error(). Needs the lock, and lets it go meanwhile.
 */
bool far__library_module(struct far__library *library, struct far__symbol *symbol, char *module,
			 const struct far__asker *asker);

#endif
