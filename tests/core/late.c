/* A module that call_test loads when its slaves are already running. */
#include <stdlib.h>
#include <string.h>

#include "farcall.h"

int late_add(int a, int b);
int late_count(void);
size_t late_length(const char *text);
int late_literal(struct far_slave *slave);
int late_string(struct far_slave *slave);
extern const int late_constant;

const int late_constant = 42;

int late_add(int a, int b)
{
	return a + b;
}

int late_count(void)
{
	static int count;

	return ++count;
}

size_t late_length(const char *text)
{
	return strlen(text);
}

int late_literal(struct far_slave *slave)
{
	return far_invoke(slave, atoi, "42");
}

int late_string(struct far_slave *slave)
{
	return far_invoke(slave, atoi, far_str("42"));
}
