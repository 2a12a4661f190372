/* See unknown.c. */
#ifndef FAR_TESTS_PROXY_UNKNOWN_H
#define FAR_TESTS_PROXY_UNKNOWN_H

#include "farcall.h"

struct unknown {
	int (*give)(struct unknown *u);
	int answer;
};

struct unknown *wrap_unknown(struct far_slave *slave);
int give_answer(struct unknown *u);

#endif
