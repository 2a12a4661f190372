/* Compiled without debug information: what is wrapped here has no known type. */
#include "unknown.h"

#include <stdlib.h>

static int answer(struct unknown *u)
{
	return u->answer;
}

static struct unknown *make_unknown(void)
{
	struct unknown *u = malloc(sizeof *u);

	*u = (struct unknown){ .give = answer, .answer = 42 };
	return u;
}

struct unknown *wrap_unknown(struct far_slave *slave)
{
	return far_wrap(slave, make_unknown);
}

int give_answer(struct unknown *u)
{
	return u->give(u);
}

static int triple(int n)
{
	return 3 * n;
}

static int apply(int (*f)(int), int n)
{
	return f(n);
}

int call_unknown(struct far_slave *slave, bool with_type)
{
	return with_type ? far_invoke(slave, apply, far_callback(triple, int (int)), 4) : far_invoke(slave, apply, far_callback(triple), 4);
}
