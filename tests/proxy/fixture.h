/*
 * Types of all kinds, for a module whose debug information is read.
 */
#ifndef FAR_TESTS_PROXY_FIXTURE_H
#define FAR_TESTS_PROXY_FIXTURE_H

#include <complex.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hidden;		/* defined in fixture_more.c alone */

struct node {
	struct node *next;
	const char *text;
	int value;
};

struct shape {
	double (*area)(struct shape *);
	const struct node *const nodes;
	char name[16];
};

typedef struct {
	double x, y;
} point_t;

enum color { RED, GREEN, BLUE };
enum level { LOW = -1, HIGH };

struct __attribute__((packed)) packed {
	char c;
	int i;
	double d;
};

struct bits {
	unsigned a : 3, b : 7;
	int c : 30;
	bool d : 1;
	uint64_t e : 40;
};

struct aligned {
	char c;
	_Alignas(16) long l;
	long m;
};

struct __attribute__((packed, aligned(8))) packed_and_aligned {
	char c;
	int i;
	long l;
};

union any {
	int i;
	double d;
	char text[12];
};

struct flexible {
	size_t count;
	point_t point[];
};

struct anonymous {
	int kind;
	union {
		int i;
		struct {
			float f, g;
		};
	};
	struct {
		short s;
	} named;
};

struct numbers {
	_Bool b;
	char c;
	signed char sc;
	unsigned char uc;
	short s;
	unsigned short us;
	unsigned u;
	long l;
	unsigned long ul;
	long long ll;
	float f;
	double d;
	long double ld;
	float complex fc;
	double complex dc;
	__extension__ __int128 wide;
	enum color color;
	enum level level;
	int matrix[2][3];
	char many[200];
	void *const pointer;
	volatile int *volatile v;
	struct __attribute__((aligned(32))) {
		int i;
	} aligned;
};

typedef int vector __attribute__((vector_size(16)));

struct vectors {
	vector v;
};

/* What there is in a module: a static variable's address by its number. */
enum {
	SHAPE, POINT, PACKED, BITS, ANY, FLEXIBLE, ANONYMOUS, NUMBERS, VECTORS, HIDDEN, FUNCTION, WITHIN, BLOCK, INLINED,
	MORE, VARIABLES
};

typedef void *fixture_address(int variable);

#endif
