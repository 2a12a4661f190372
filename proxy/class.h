/*
 * What a struct type means for a proxy of it: which members are methods, which
 * point to tables of methods, and which are data.
 */
#ifndef FAR_PROXY_CLASS_H
#define FAR_PROXY_CLASS_H

#include "signature.h"

/* A function pointer in the object, or in one of its tables. */
struct far__method {
	int table;			/* its number, or -1: in the object itself */
	size_t offset;
	struct far__signature signature;	/* its .type is NULL if it cannot be called: see .why */
	ffi_cif cif;			/* for the closure */
	bool gives_object;		/* it returns a pointer to a struct with methods */
	char *why;			/* it cannot be called; or NULL */
	void *stub;			/* then: what is called instead, and fails with that */
};

struct far__table {
	size_t offset, size;		/* of the pointer in the object; of what it points to */
};

/* Bytes of the object that are data. */
struct far__data {
	size_t offset, length;
};

struct far__class {
	struct far__class *next;
	const void *key;		/* whom it was made for: a planted variable, or a type */
	const struct far__type *type;	/* the struct; NULL: nothing is known of it */
	struct far__arena graph;
	struct far__method *method;
	struct far__table *table;
	struct far__data *data;
	size_t methods, tables, datas;
	char why[300];			/* nothing is known: why */
	void *stub;			/* then: what stands for each member, and fails with that */
};

/* The class of what a planted variable points to; kept for ever. NULL if there is no memory. */
struct far__class *far__class_of_variable(const void *planted);

/* The class of a struct type, in a graph that is kept for ever. */
struct far__class *far__class_of_type(const struct far__type *type);

#endif
