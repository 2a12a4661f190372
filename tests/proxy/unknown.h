/* See unknown.c. */
#ifndef FAR_TESTS_PROXY_UNKNOWN_H
#define FAR_TESTS_PROXY_UNKNOWN_H

#include <stdbool.h>

#include "farcall.h"

struct unknown {
	int (*give)(struct unknown *u);
	int answer;
};

struct unknown *wrap_unknown(struct far_slave *slave);
int give_answer(struct unknown *u);

/* With a callback, whose type is told or not: 12. */
int call_unknown(struct far_slave *slave, bool with_type);

#endif
