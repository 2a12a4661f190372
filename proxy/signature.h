/*
 * How a function is called whose type is found at run time: its parameters and
 * result, what libffi needs, and what the core needs.
 *
 * libffi puts the arguments where the function would look for them, and calls
 * far__capture() instead, with the call in the static-chain register, just as
 * the compiler does for a call whose type it knows.
 */
#ifndef FAR_PROXY_SIGNATURE_H
#define FAR_PROXY_SIGNATURE_H

#include <ffi.h>

#include "internal.h"
#include "type.h"

enum { FAR_ARGUMENTS_MAX = 16 };	/* as farcall.h has it for all calls */

/* How libffi makes a call. */
struct far__recipe {
	ffi_cif cif;
	int split;			/* see far__cif() */
	struct far__site site;		/* all but the place in the program */
};

struct far__signature {
	const struct far__type *type;	/* of the function */
	struct far__recipe recipe;	/* without the further arguments of a variadic one */
	uint32_t pointers, strings;	/* parameters that are, a bit each */
	struct far__arena graph, ffi;	/* what .type and .recipe lie in */
};

/* Fill in .recipe from .type, which lies in @s->graph. False and @why if it cannot be called. */
bool far__signature_prepare(struct far__signature *s, struct far__complaint *why);

/* A recipe for a call with @extras arguments more, whose types these are, in @arena. */
bool far__signature_extend(const struct far__signature *s, const struct far__type *const *extra, unsigned extras,
			   struct far__recipe *recipe, struct far__arena *arena, struct far__complaint *why);

/* Set the call's site and result, by which it is known where its pointers' data have room: before these are looked at. */
void far__recipe_prepare(const struct far__recipe *recipe, struct far__call *call);

/*
 * Make the call, that is prepared and whose function and slave are set. @arguments, at most FAR_ARGUMENTS_MAX,
 * point to the values; @result has room for 16 bytes at least.
 */
void far__recipe_call(const struct far__recipe *recipe, struct far__call *call, void *const *arguments, void *result);

/*
 * Make a call with values that have the parameters' types already, as a closure of libffi gets them.
 * @life: that of the slave which can make it (far__life()), or 0. @kept: what it uses, or NULL.
 */
void far__signature_invoke(const struct far__signature *s, struct far_slave *slave, uint32_t life, struct far__kept *kept,
			   void *function, void *const *arguments, void *result);

/* Zero bits for a result of a closure; what is smaller than a register fills one. */
void far__no_value(const ffi_cif *cif, void *result);

/* Prepare a closure's cif. False and @why if the function is variadic, or has too many parameters. */
bool far__signature_closure(struct far__signature *s, ffi_cif *cif, struct far__complaint *why);

/* NULL is none. */
void far__signature_free(struct far__signature *s);

#endif
