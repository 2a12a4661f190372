/* Memory for proxies: see pool.h. */
#include "pool.h"

#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include "internal.h"
#include "sys.h"

#define GRANULE		256ul
#define POOL_SIZE	(4ul << 30)
#define GRANULES	(POOL_SIZE / GRANULE)

enum { SIZES = 64 };	/* granules of which there are lists of their own */

/* A piece that was given back; in its first granule. */
struct piece {
	struct piece *next;
	size_t granules;
};

static char *base;
static void *_Atomic *owners;		/* by granule */
static size_t used;			/* granules that were ever taken */
static struct piece *pieces[SIZES + 1];	/* by size, the last of all that are larger */

static void *reserve(size_t size)
{
	long p = SYS(mmap, 0, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p < 0 && p > -4096 ? NULL : (void *)p;
}

/* Pages that are not used take no memory. */
static bool begin(void)
{
	char *range = reserve(POOL_SIZE);
	void *map = range ? reserve(GRANULES * sizeof *owners) : NULL;

	if (!map) {
		if (range)
			SYS(munmap, range, POOL_SIZE);
		return false;
	}
	SYS(madvise, range, POOL_SIZE, MADV_NOHUGEPAGE);
	SYS(madvise, map, GRANULES * sizeof *owners, MADV_NOHUGEPAGE);
	owners = map;
	base = range;
	far__proxies.begin = (uintptr_t)range;
	far__proxies.size = POOL_SIZE;	/* last: until then nothing is a proxy */
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
		if (granules > GRANULES - used)
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
	return far__is_proxy(p) ? owners[(size_t)((const char *)p - base) / GRANULE] : NULL;
}
