/* far_error_print(): a failure as a person wants to read it, with the stack of a slave that crashed. */
#include "crash.h"

#include <stdlib.h>

#include "internal.h"

void far_error_print(FILE *stream)
{
	const struct far_error *e = far_error();

	if (e)
		fprintf(stream, "%s\n", e->message);
}
