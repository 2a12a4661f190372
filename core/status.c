/* far_status(): what is in use, for people. */
#include "heap.h"
#include "internal.h"
#include "object.h"

void far_status(FILE *stream)
{
	fprintf(stream, "farcall %d.%d.%d\n", FAR_VERSION_MAJOR, FAR_VERSION_MINOR, FAR_VERSION_PATCH);
	if (far__ready("far_status"))
		return;
	struct far__family *family = far__family();
	unsigned processes = 0, threads = 0;

	for (unsigned n = 1; n < FAR_SLAVES_MAX; n++) {
		const struct far__slave *slave = far__slave_by_number(n);

		if (slave && slave->handle && slave->kind < FAR_MYSELF)
			*(slave->kind == FAR_PROCESS ? &processes : &threads) += 1;
	}
	far__park_status(stream);
	fprintf(stream, "shared memory: %s\n", far__object_kind());
	far__heap_status(stream);
	fprintf(stream, "slaves of this process: %u processes, %u threads\n", processes, threads);
	fprintf(stream, "slave processes of the family: %u started, %u ended, %u killed, %u kept ready\n",
		shm_load(&family->made), shm_load(&family->ended), shm_load(&family->killed), shm_load(&family->spares));
}
