/* The functions of shapes.h, and others that tests call by name. */
#include "shapes.h"

#include <stdlib.h>
#include <string.h>

int shapes_called(void);
long longest_text(const char *a, char *b);
double area(const struct s16d *rectangle);
void fill(char *buffer, int with, size_t size);
int apply(int (*function)(int), int argument);
char *make_text(const char *text);
void crash(int *at);


static int called;

int shapes_called(void)
{
	return called;
}

#define SHAPE(name, type, ...) \
	type one_##name(type a); \
	type two_##name(int which, type a, double d, char c, type b); \
	type nine_##name(int which, type a, type b, type c, type d, type e, type f, type g, type h, type i); \
	type one_##name(type a) \
	{ \
		called++; \
		return a; \
	} \
	type two_##name(int which, type a, double d, char c, type b) \
	{ \
		return which + d + c > 6 ? a : b; \
	} \
	type nine_##name(int which, type a, type b, type c, type d, type e, type f, type g, type h, type i) \
	{ \
		return which == 0 ? a : which == 1 ? b : which == 2 ? c : which == 3 ? d : which == 4 ? e : which == 5 ? f \
		     : which == 6 ? g : which == 7 ? h : i; \
	}
FAR_SHAPES(SHAPE)

long longest_text(const char *a, char *b)
{
	size_t n = strlen(a), m = b ? strlen(b) : 0;

	return (long)(n > m ? n : m);
}

double area(const struct s16d *rectangle)
{
	return rectangle->a * rectangle->b;
}

void fill(char *buffer, int with, size_t size)
{
	memset(buffer, with, size);
}

int apply(int (*function)(int), int argument)
{
	return function(argument);
}

char *make_text(const char *text)
{
	return strdup(text);
}

void crash(int *at)
{
	*at = 1;
}
