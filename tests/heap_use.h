/* How much of the far heap is in use, as far_status() tells. */
#ifndef FAR_TESTS_HEAP_USE_H
#define FAR_TESTS_HEAP_USE_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "farcall.h"

/* In KiB. False: it does not tell. */
static inline bool heap_use(size_t *large, size_t *small)
{
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	far_status(f);
	fclose(f);
	const char *line = strstr(text, "in use");
	bool told = line && sscanf(line, "in use %zu KiB in large blocks, %zu KiB", large, small) == 2;

	free(text);
	return told;
}

#endif
