/*
 * Another source file of the fixture: it defines what fixture.c only declares.
 */
#include "fixture.h"

void *fixture_more(void);
int fixture_open(struct hidden *h, int times);

struct hidden {
	int secret;
	point_t where;
};

int fixture_open(struct hidden *h, int times)
{
	return h->secret * times;
}

void *fixture_more(void)
{
	static struct hidden *shape;	/* the name of another one in fixture.c */

	return &shape;
}
