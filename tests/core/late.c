/* A module that call_test loads when its slaves are already running. */
#include <string.h>

int late_add(int a, int b);
int late_count(void);
size_t late_length(const char *text);
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
