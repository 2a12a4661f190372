/* Memory for proxies: see pool.h. */
#include "pool.h"

#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include "internal.h"
#include "space.h"
#include "sys.h"

#define GRANULE		256ul
#define POOL_SIZE	(4ul << 30)
#define GRANULES	(POOL_SIZE / GRANULE)

#define STEP		(1ul << 20)	/* so much of the range is opened at once */

enum { SIZES = 64 };	/* granules of which there are lists of their own */

/* A piece that was given back; in its first granule. */
struct piece {
	struct piece *next;
	size_t granules;
};

static char *base;
static void *_Atomic *owners;		/* by granule */
static size_t used;			/* granules that were ever taken ... */
static _Atomic size_t opened;	/* ... and that can be */
static struct piece *pieces[SIZES + 1];	/* by size, the last of all that are larger */

static bool begin(void)
{
	char *range = far__space_reserve(POOL_SIZE);
	void *map = range ? far__space_reserve(GRANULES * sizeof *owners) : NULL;

	if (!map) {
		if (range)
			SYS(munmap, range, POOL_SIZE);
		return false;
	}
	owners = map;
	base = range;
	far__proxies.begin = (uintptr_t)range;
	atomic_store_explicit(&far__proxies.size, POOL_SIZE, memory_order_release);
	return true;
}

/* Have @granules more to take. */
static bool open_more(size_t granules)
{
	size_t more = (granules * GRANULE + STEP - 1) & -STEP;

	if (more / GRANULE > GRANULES - opened ||
	    SYS(mprotect, base + opened * GRANULE, more, PROT_READ | PROT_WRITE) ||
	    SYS(mprotect, &owners[opened], more / GRANULE * sizeof *owners, PROT_READ | PROT_WRITE))
		return false;
	opened += more / GRANULE;
	return true;
}

static struct piece *take_piece(size_t granules)
{
	struct piece **list = &pieces[granules < SIZES ? granules : SIZES];

	while (*list && (*list)->granules != granules)
		list = &(*list)->next;
	struct piece *p = *list;

	if (p)
		*list = p->next;
	return p;
}

void *far__pool_take(size_t size, void *owner)
{
	size_t granules = (size + GRANULE - 1) / GRANULE;

	if (size > POOL_SIZE || (!base && !begin()))
		return NULL;
	char *p = (char *)take_piece(granules);

	if (!p) {
		if (granules > opened - used && !open_more(granules))
			return NULL;
		p = base + used * GRANULE;
		used += granules;
	}
	memset(p, 0, granules * GRANULE);
	for (size_t i = 0; i < granules; i++)
		owners[((size_t)(p - base)) / GRANULE + i] = owner;
	return p;
}

void far__pool_give(void *p)
{
	size_t first = (size_t)((char *)p - base) / GRANULE, granules = 0;
	void *owner = owners[first];

	while (first + granules < used && owners[first + granules] == owner)
		owners[first + granules++] = NULL;
	struct piece *piece = p, **list = &pieces[granules < SIZES ? granules : SIZES];

	*piece = (struct piece){ .next = *list, .granules = granules };
	*list = piece;
}

void *far__pool_owner(const void *p)
{
	size_t granule = (size_t)((const char *)p - base) / GRANULE;

	/* What is behind was never taken, and its owners cannot be read. */
	return far__is_proxy(p) && granule < atomic_load_explicit(&opened, memory_order_acquire) ? owners[granule] : NULL;
}
