/*
 * A module whose debug information the tests read.
 */
#include "fixture.h"

#include <stdio.h>

void *fixture_variable(int variable);
void *fixture_more(void);
point_t fixture_add(point_t a, const point_t *b);
int fixture_print(const char *format, ...);
char (*fixture_table(int (*compare)(const void *a, const void *b), size_t n))[3];
const struct node *fixture_find(struct node *first, const char *text, enum color color);
void fixture_nothing(void);
double fixture_sum(struct packed p, union any u, struct bits b);
int a_function(int a);
long fixture_aligned(struct aligned a, struct packed_and_aligned b);

static struct shape *shape;
static point_t *point;
static struct packed *packed;
static struct bits *bits;
static union any *any;
static struct flexible *flexible;
static struct anonymous *anonymous;
static struct numbers *numbers;
static struct vectors *vectors;
static struct hidden *hidden;
static double (*function)(struct shape *, int);

static inline __attribute__((always_inline)) void *inlined(void)
{
	static enum level *level;

	return &level;
}

void *fixture_variable(int variable)
{
	static struct node **within;

	switch (variable) {
	case SHAPE:
		return &shape;
	case POINT:
		return &point;
	case PACKED:
		return &packed;
	case BITS:
		return &bits;
	case ANY:
		return &any;
	case FLEXIBLE:
		return &flexible;
	case ANONYMOUS:
		return &anonymous;
	case NUMBERS:
		return &numbers;
	case VECTORS:
		return &vectors;
	case HIDDEN:
		return &hidden;
	case FUNCTION:
		return &function;
	case WITHIN:
		return &within;
	case INLINED:
		return inlined();
	case MORE:
		return fixture_more();
	}
	{
		static const char *block[4];

		return variable == BLOCK ? block : NULL;
	}
}

point_t fixture_add(point_t a, const point_t *b)
{
	return (point_t){ a.x + b->x, a.y + b->y };
}

int fixture_print(const char *format, ...)
{
	return fputs(format, stdout);
}

char (*fixture_table(int (*compare)(const void *a, const void *b), size_t n))[3]
{
	static char table[4][3];

	return compare(table, table + n) ? table : NULL;
}

const struct node *fixture_find(struct node *first, const char *text, enum color color)
{
	return first->text == text ? first->next + color : first;
}

void fixture_nothing(void)
{
}

double fixture_sum(struct packed p, union any u, struct bits b)
{
	return p.d + u.d + b.a;
}

/* Names that an index of kind and name once confused. */
static __attribute__((noinline)) int b_function(int a)
{
	return a + printf("b");
}

int a_function(int a)
{
	return b_function(a) + 1;
}

long fixture_aligned(struct aligned a, struct packed_and_aligned b)
{
	return a.l + b.l;
}
