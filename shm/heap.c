/*
 * The far heap. Its range is cut into units of 64 KiB; the table state[] has a
 * word for each, and nothing else says who owns what:
 *
 *	FREE       nobody's; with COMMITTED its pages exist (and may be dirty)
 *	CLAIMED    a process, named in the word, is about to make it something
 *	SMALL      64 KiB of blocks of one class; map[] has a bit for each
 *	LARGE n    the first of a run of n units that are one block; then TAIL
 *	FREEING n  a process, named in the word, is giving such a run back
 *
 *	   FREE -> CLAIMED -> SMALL -> FREE
 *	                   -> LARGE, TAIL... -> FREEING, TAIL... -> FREE
 *	                   -> FREE, its pages given back
 *
 * Each arrow is one compare-and-swap by whoever moves it, so there is no lock to
 * die with. A run is claimed unit by unit from the left; when a unit turns out
 * to be taken, those before it are released again. It is finished from the
 * right: TAIL, then LARGE in the first word last; it is freed from the right
 * too, the first word last.
 *
 * What a death leaves behind, at any instant:
 *   - CLAIMED words, and TAILs right behind one (far__heap_sweep() frees both:
 *     a TAIL follows only its own run's words);
 *   - FREEING n, with TAILs left of those freed (the sweep frees the TAILs that
 *     follow without a gap: freed ones may be another run's by now);
 *   - a finished block that nobody was told of. It is a finished block.
 *   - an empty SMALL unit (the sweep frees it);
 *   - a SMALL unit that was being retired: up to 64 KiB stay unused until the
 *     family ends.
 *
 * Small blocks: to take one is to set a bit of a map word, to free it is to
 * clear it. A unit whose words are all zero is retired by swapping each for all
 * ones: whoever gets all of them owns the unit. Bits beyond the last block are
 * always set.
 *
 * Publication: a process gets a block's address from the one that allocated it
 * by way of a call, which orders everything; the words here order their own
 * hand-over by acquire and release (the RMWs do both).
 */
#include "heap.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/vfs.h>

#include "access.h"
#include "cgroup.h"
#include "object.h"
#include "space.h"
#include "sys.h"

#define UNIT		65536ul
#define MAP_WORDS	16u		/* 1,024 blocks of 64 bytes */
#define KEEP_UNITS	1024u		/* free units whose pages are kept for reuse: 64 MiB, and more for a moment */
#define STEP_UNITS	256u		/* that are given back at once, which takes a while: 16 MiB */
#define SCAN_UNITS	256u		/* how far to look for room in units of a class */

enum unit_kind { FREE, CLAIMED, SMALL, LARGE, TAIL, FREEING };

#define KIND(s)		((enum unit_kind)((s) & 0xff))
#define COMMITTED	0x100ul
#define OWNER(s)	((unsigned)((s) >> 16) & 0xffff)
#define VALUE(s)	((uint32_t)((s) >> 32))	/* units of a run, or the class */
#define STATE(kind, owner, value) \
	((uint64_t)(kind) | (uint64_t)(owner) << 16 | (uint64_t)(value) << 32)

static const uint16_t class_size[] = {
	64, 128, 192, 256, 320, 384, 512, 768, 1024, 1536, 2048, 3072, 4096,
	5440, 8192, 10880, 16384, 21824, 32768,
};
enum { CLASSES = sizeof class_size / sizeof *class_size };

/* At the start of the object; then state[units], then map[units][MAP_WORDS], then the units. */
struct heap_head {
	uint32_t top;			/* units from here on were never used */
	uint32_t described;		/* units whose state and map pages are committed */
	uint32_t hint;			/* where to look for a free unit */
	uint32_t kept;			/* FREE units that are COMMITTED */
	uint32_t class_hint[CLASSES];	/* a unit of the class that had room; 0 for none */
};

static struct heap_head *head;
static uint64_t *state;
static uint64_t (*map)[MAP_WORDS];
static char *unit0;
static uint32_t units;			/* unit 0 is never given out: a hint of 0 is none */
static unsigned self;
static __thread uint32_t my_unit[CLASSES];

/* head->top. Whatever a slave has written there: there are no more units than there are. */
static uint32_t used_end(void)
{
	uint32_t top = shm_load(&head->top);

	return !top ? 1 : top > units ? units : top;
}

static size_t object_offset(const void *p)
{
	return (size_t)((const char *)p - far__space.heap);
}

static bool give_back(uint32_t keep);

/* If there is no room, give back what is kept first. */
static int commit(const void *from, size_t length)
{
	int err;

	do
		err = far__object_commit(&far__space.heap_object, object_offset(from), length);
	while (err && give_back(0));
	return err;
}

static char *unit_address(uint32_t unit)
{
	return unit0 + (size_t)unit * UNIT;
}

/* 0, or -errno with the pages as they were. */
static int discard(uint32_t first, uint32_t n)
{
	return far__object_discard(&far__space.heap_object, object_offset(unit_address(first)), n * UNIT);
}

/*
 * Map the pages of units that somebody will fill, all at once: that takes a tenth of
 * the faults that touching them one by one would be. Only a hint: where the kernel does
 * not know it (before 5.14), the faults do it.
 */
static void map_pages(uint32_t first, uint32_t n)
{
	SYS(madvise, unit_address(first), n * UNIT, MADV_POPULATE_WRITE);
}

static unsigned blocks_of(unsigned class)
{
	return (unsigned)(UNIT / class_size[class]);
}

static unsigned words_of(unsigned class)
{
	return (blocks_of(class) + 63) / 64;
}

/* The bits of word @w that are beyond the last block of a class. */
static uint64_t absent_bits(unsigned class, unsigned w)
{
	unsigned here = blocks_of(class) - 64 * w;

	return here >= 64 ? 0 : ~0ul << here;
}

static unsigned class_for(size_t size)
{
	unsigned low = 0, high = CLASSES - 1;

	while (low < high) {
		unsigned middle = (low + high) / 2;

		if (class_size[middle] < size)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

int far__heap_init(void)
{
	size_t size = far__space.heap_size;

	units = (uint32_t)(size / (UNIT + sizeof *state + sizeof *map) - 1);
	head = (struct heap_head *)far__space.heap;
	state = (uint64_t *)(far__space.heap + 4096);
	map = (uint64_t (*)[MAP_WORDS])(state + units);
	uintptr_t end = (uintptr_t)(map + units);

	unit0 = (char *)((end + 4095) & -4096ul);
	while ((size_t)(unit0 - far__space.heap) + units * UNIT > size)
		units--;
	/* Not by commit(), which would look into the head for what is kept. */
	int err = far__object_commit(&far__space.heap_object, 0, sizeof *head);

	if (err)
		return err;
	shm_store(&head->top, 1);
	shm_store(&head->hint, 1);
	return 0;
}

void far__heap_set_owner(unsigned slave)
{
	self = slave;
}

/* See to it that the table's pages for units below @end exist. */
static int describe(uint32_t end)
{
	uint32_t done = shm_load(&head->described);

	if (end <= done)
		return 0;
	uint32_t more = end - done < 512 ? done + 512 : end;

	if (more > units)
		more = units;
	int err = commit(&state[done], (more - done) * sizeof *state);

	if (!err)
		err = commit(&map[done], (more - done) * sizeof *map);
	if (err)
		return err;
	while (done < more && !shm_cas(&head->described, done, more))
		done = shm_load(&head->described);
	return 0;
}

/* What the machine could still give, or SIZE_MAX if it does not say. */
static size_t memory_left(void)
{
	char text[256];
	unsigned long kib;

	far__read_text("/proc/meminfo", text, sizeof text);
	const char *line = strstr(text, "MemAvailable:");

	return line && sscanf(line, "MemAvailable: %lu", &kib) == 1 ? kib << 10 : SIZE_MAX;
}

/* Whether the machine, and the object's file system, have as much again as is kept. */
static bool much_is_left(void)
{
	size_t kept = shm_load(&head->kept) * UNIT;
	struct statfs fs;

	return far__object_has_fd(&far__space.heap_object) && SYS(fstatfs, far__space.heap_object.fd, &fs) == 0 &&
	       (!fs.f_blocks || fs.f_bavail * (size_t)fs.f_bsize >= kept) && memory_left() >= kept;
}

/* ---------------------------------------------------------------- runs */

static void unclaim(uint32_t first, uint32_t n)
{
	while (n--) {
		uint64_t s = shm_load64(&state[first + n]);

		shm_store64(&state[first + n], STATE(FREE, 0, 0) | (s & COMMITTED));
	}
}

/* Claim the run, all or nothing. On failure *taken is the unit that was not free. */
static bool claim(uint32_t first, uint32_t n, uint32_t *taken)
{
	for (uint32_t i = 0; i < n; i++) {
		uint64_t s = shm_load64(&state[first + i]);

		if (KIND(s) != FREE ||
		    !shm_cas64(&state[first + i], s, STATE(CLAIMED, self, 0) | (s & COMMITTED))) {
			unclaim(first, i);
			*taken = first + i;
			return false;
		}
		far__point("heap.claim");
	}
	return true;
}

/* Find and claim @n free units in [from, to): the first, or 0. */
static uint32_t claim_between(uint32_t from, uint32_t to, uint32_t n)
{
	uint32_t run = 0;

	for (uint32_t i = from; i < to; i++) {
		if (KIND(shm_load64(&state[i])) != FREE) {
			run = 0;
			continue;
		}
		if (++run < n)
			continue;
		uint32_t taken;

		if (claim(i + 1 - n, n, &taken))
			return i + 1 - n;
		run = i - taken;
	}
	return 0;
}

/* How many units right below @end are free, up to @most. */
static uint32_t free_below(uint32_t end, uint32_t most)
{
	uint32_t n = 0;

	while (n < most && end - n > 1 && KIND(shm_load64(&state[end - n - 1])) == FREE)
		n++;
	return n;
}

/* The same beyond what was ever used, or half beyond. */
static uint32_t claim_fresh(uint32_t n, int *err)
{
	for (;;) {
		uint32_t top = used_end(), taken;
		uint32_t first = top - free_below(top, n - 1);

		if (n > units - first || shm_load(&head->top) - 1 >= units) {
			*err = -ENOBUFS;
			return 0;
		}
		*err = describe(first + n);
		if (*err)
			return 0;
		if (!shm_cas(&head->top, top, first + n))
			continue;
		if (claim(first, n, &taken))
			return first;
	}
}

/* Take the pages of claimed units out of the kept ones: how many there were. */
static uint32_t take_kept(uint32_t first, uint32_t n)
{
	uint32_t committed = 0;

	for (uint32_t i = first; i < first + n; i++)
		committed += !!(shm_load64(&state[i]) & COMMITTED);
	if (committed)
		shm_add(&head->kept, -committed);
	return committed;
}

/* The last free units that have pages: the first of them, and how many in *n, at most a step. */
static uint32_t last_kept(uint32_t *n)
{
	const uint64_t kept = STATE(FREE, 0, 0) | COMMITTED;
	uint32_t i = used_end() - 1;

	while (i > 0 && shm_load64(&state[i]) != kept)
		i--;
	for (*n = 0; i > 0 && *n < STEP_UNITS && shm_load64(&state[i]) == kept; i--)
		++*n;
	return i + 1;
}

/* If the pages of more than @keep free units are kept, give some back to the system; false: there are none that can be. */
static bool give_back(uint32_t keep)
{
	uint32_t n, taken;

	if ((int32_t)shm_load(&head->kept) <= (int32_t)keep)
		return false;
	uint32_t first = last_kept(&n);

	if (!n)
		return false;
	if (!claim(first, n, &taken))
		return true;	/* somebody wanted them */
	uint32_t committed = take_kept(first, n);

	if (discard(first, n)) {
		shm_add(&head->kept, committed);
		unclaim(first, n);
		return false;
	}
	far__point("heap.give_back");
	while (n--)
		shm_store64(&state[first + n], STATE(FREE, 0, 0));
	return true;
}

bool (*far__heap_trim_soon)(void);

bool far__heap_trim(void)
{
	return give_back(KEEP_UNITS);
}

/*
 * Set the units free. Who uses large blocks one after the other finds their pages
 * again, which is ten times as fast as new ones; nobody has more than he uses for long.
 */
static void release(uint32_t first, uint32_t n)
{
	bool excess = (int32_t)(shm_add(&head->kept, n) + n) > (int32_t)KEEP_UNITS;

	far__point("heap.release");
	while (n--)
		shm_store64(&state[first + n], STATE(FREE, 0, 0) | COMMITTED);
	shm_set(&head->hint, first);
	if (excess && !(far__heap_trim_soon && much_is_left() && far__heap_trim_soon()))
		while (far__heap_trim())
			;
}

/* A claimed run of @n units with all its pages; *fresh if they are certainly zero. */
static uint32_t claim_run(uint32_t n, bool *fresh, int *err)
{
	uint32_t top = used_end(), hint = shm_peek(&head->hint);
	uint32_t first = 0;

	if (hint < top)
		first = claim_between(hint, top, n);
	if (!first)
		first = claim_between(1, top, n);
	if (!first)
		first = claim_fresh(n, err);
	if (!first)
		return 0;
	uint32_t committed = take_kept(first, n);

	*fresh = committed == 0;
	if (committed == n)
		return first;
	*err = commit(unit_address(first), n * UNIT);
	if (*err == 0) {
		map_pages(first, n);
		return first;
	}
	/* Nothing else touches these units: give back what was reserved of them. It is zero if it stays. */
	for (uint32_t i = first; i < first + n; i++)
		if (!(shm_load64(&state[i]) & COMMITTED))
			discard(i, 1);
	shm_add(&head->kept, committed);
	unclaim(first, n);
	return 0;
}

/* More than there is would end in the death of somebody. What is kept can be had. */
static bool may_have(size_t size)
{
	if (size < 64ul << 20)
		return true;
	while (size > memory_left() || size > far__cgroup_memory_left())
		if (!give_back(0))
			return false;
	return true;
}

static void *alloc_large(size_t size, bool zero, int *err)
{
	uint32_t n;
	bool fresh;

	*err = size > (size_t)units * UNIT ? -ENOBUFS : may_have(size) ? 0 : -ENOMEM;
	if (*err)
		return NULL;
	n = (uint32_t)((size + UNIT - 1) / UNIT);
	uint32_t first = claim_run(n, &fresh, err);

	if (!first)
		return NULL;
	if (zero && !fresh)
		memset(unit_address(first), 0, size);
	for (uint32_t i = n; i-- > 1; )
		shm_store64(&state[first + i], STATE(TAIL, 0, 0));
	far__point("heap.finish");
	shm_store64(&state[first], STATE(LARGE, 0, n));
	return unit_address(first);
}

/* -------------------------------------------------------------- blocks */

/* Take a block of a unit, if it still is of the class and has one. */
static void *take_block(uint32_t unit, unsigned class)
{
	if (!unit || unit >= units || shm_load64(&state[unit]) != STATE(SMALL, 0, class))
		return NULL;
	for (unsigned w = 0; w < words_of(class); w++) {
		uint64_t word = shm_load64(&map[unit][w]);

		while (word != ~0ul) {
			unsigned bit = (unsigned)__builtin_ctzl(~word);
			uint64_t before = shm_or64(&map[unit][w], 1ul << bit);

			if (before & 1ul << bit) {
				word = before;
				continue;
			}
			/* The unit may have been retired and reborn since it was looked at. */
			if (shm_load64(&state[unit]) != STATE(SMALL, 0, class)) {
				shm_and64(&map[unit][w], ~(1ul << bit));
				return NULL;
			}
			return unit_address(unit) + (size_t)(w * 64 + bit) * class_size[class];
		}
	}
	return NULL;
}

static uint32_t make_unit(unsigned class, int *err)
{
	bool fresh;
	uint32_t unit = claim_run(1, &fresh, err);

	if (!unit)
		return 0;
	for (unsigned w = 0; w < words_of(class); w++)
		shm_store64(&map[unit][w], absent_bits(class, w));
	far__point("heap.finish");
	shm_store64(&state[unit], STATE(SMALL, 0, class));
	return unit;
}

/* If nothing of a unit is in use, make it free. */
static void retire(uint32_t unit, unsigned class)
{
	unsigned w, words = words_of(class);

	/* Again after a vain try: what was freed meanwhile was not retired, for the try was in its way. */
	while (shm_load64(&state[unit]) == STATE(SMALL, 0, class)) {
		for (w = 0; w < words; w++)
			if (shm_load64(&map[unit][w]) != absent_bits(class, w))
				return;
		for (w = 0; w < words; w++)
			if (!shm_cas64(&map[unit][w], absent_bits(class, w), ~0ul))
				break;
		if (w == words && shm_cas64(&state[unit], STATE(SMALL, 0, class), STATE(CLAIMED, self, 0))) {
			release(unit, 1);
			return;
		}
		while (w--)
			shm_and64(&map[unit][w], absent_bits(class, w));
	}
}

/*
 * From now on look into @unit first. The unit of which that was true was not
 * retired when it became empty: look whether it has. (Here the hint is set and
 * then the map is read, in far__heap_free() the other way round: one of both
 * retires it.)
 */
static void set_class_hint(unsigned class, uint32_t unit)
{
	uint32_t before = shm_swap(&head->class_hint[class], unit);

	shm_fence_behind_change();	/* partner: far__heap_free() */
	if (before && before < units && before != unit)
		retire(before, class);
}

/* Look for room in the units of a class that are near the place last looked at. */
static void *take_nearby(unsigned class)
{
	static __thread uint32_t cursor;
	uint32_t top = used_end();

	for (uint32_t i = 0; i < SCAN_UNITS && i < top; i++) {
		if (++cursor >= top)
			cursor = 1;
		void *block = take_block(cursor, class);

		if (block) {
			my_unit[class] = cursor;
			return block;
		}
	}
	return NULL;
}

static void *alloc_small(unsigned class, int *err)
{
	void *block = take_block(my_unit[class], class);

	if (block)
		return block;
	uint32_t hint = shm_load(&head->class_hint[class]);

	block = take_block(hint, class);
	if (block) {
		my_unit[class] = hint;
		return block;
	}
	block = take_nearby(class);
	while (!block) {
		uint32_t unit = make_unit(class, err);

		if (!unit)
			return NULL;
		my_unit[class] = unit;
		set_class_hint(class, unit);
		block = take_block(unit, class);
	}
	return block;
}

/* ----------------------------------------------------------- the face */

void *far__heap_alloc(size_t size, bool zero, int *err)
{
	if (size > class_size[CLASSES - 1])
		return alloc_large(size, zero, err);
	void *block = alloc_small(class_for(size), err);

	if (block && zero)
		memset(block, 0, size);
	return block;
}

/* What was ever used of the heap: the unit that @p lies in, its state, and where in it. */
static bool find_unit(const void *p, uint32_t *unit, uint64_t *s, size_t *offset)
{
	size_t at = (uintptr_t)p - (uintptr_t)unit0;

	if (!far__space_in_heap(p) || (uintptr_t)p < (uintptr_t)unit0 || at / UNIT >= used_end())
		return false;
	*unit = (uint32_t)(at / UNIT);
	*s = shm_load64(&state[*unit]);
	*offset = at % UNIT;
	return KIND(*s) == SMALL ? VALUE(*s) < CLASSES : KIND(*s) != LARGE || VALUE(*s) <= units - *unit;
}

static bool is_taken(uint32_t unit, unsigned class, unsigned block)
{
	return block < blocks_of(class) && shm_load64(&map[unit][block / 64]) >> block % 64 & 1;
}

/* Where @p lies: its unit, and in a SMALL one its bit. False if no block begins there. */
static bool locate(const void *p, uint32_t *unit, uint64_t *s, unsigned *block)
{
	size_t offset;

	if (!find_unit(p, unit, s, &offset))
		return false;
	if (KIND(*s) == LARGE)
		return offset == 0;
	if (KIND(*s) != SMALL || offset % class_size[VALUE(*s)])
		return false;
	*block = (unsigned)(offset / class_size[VALUE(*s)]);
	return is_taken(*unit, VALUE(*s), *block);
}

size_t far__heap_size(const void *block)
{
	uint32_t unit;
	uint64_t s;
	unsigned i;

	if (!locate(block, &unit, &s, &i))
		return 0;
	return KIND(s) == LARGE ? VALUE(s) * UNIT : class_size[VALUE(s)];
}

bool far__heap_holds(const void *p)
{
	uint32_t unit;
	uint64_t s;
	size_t offset;

	if (!find_unit(p, &unit, &s, &offset))
		return false;
	return KIND(s) == SMALL ? is_taken(unit, VALUE(s), (unsigned)(offset / class_size[VALUE(s)]))
				: KIND(s) == LARGE || KIND(s) == TAIL;
}

int far__heap_free(void *block)
{
	uint32_t unit;
	uint64_t s;
	unsigned i;

	if (!locate(block, &unit, &s, &i))
		return -EINVAL;
	if (KIND(s) == LARGE) {
		if (!shm_cas64(&state[unit], s, STATE(FREEING, self, VALUE(s))))
			return -EINVAL;
		release(unit, VALUE(s));
		return 0;
	}
	unsigned class = VALUE(s);
	uint64_t bit = 1ul << i % 64;
	uint64_t before = shm_and64(&map[unit][i / 64], ~bit);

	if (!(before & bit))
		return -EINVAL;
	shm_fence_behind_change();	/* partner: set_class_hint() */
	if (shm_peek(&head->class_hint[class]) != unit) {
		if ((before & ~bit) == absent_bits(class, i / 64))
			retire(unit, class);
		else if (before == ~0ul)
			set_class_hint(class, unit);
	}
	return 0;
}

bool far__heap_fits(const void *block, size_t size)
{
	size_t have = far__heap_size(block);

	return have >= size && (have <= 2 * size || have <= 256);
}

/*
 * Free a run that a dead process was making or giving back, without its pages; if
 * they cannot be discarded, with all of them; else it stays the dead's. How many
 * units are kept so.
 */
static uint32_t give_up(uint32_t first, uint32_t n)
{
	uint64_t kept = 0;

	if (discard(first, n)) {
		if (commit(unit_address(first), n * UNIT))
			return 0;
		kept = COMMITTED;
	}
	for (uint32_t i = n; i-- > 0; )
		shm_store64(&state[first + i], STATE(FREE, 0, 0) | kept);
	return kept ? n : 0;
}

void far__heap_sweep(unsigned slave)
{
	uint32_t top = used_end(), kept = 0;
	bool found = false;

	for (uint32_t i = 1; i < top; i++) {
		uint64_t s = shm_load64(&state[i]);

		/* It may have made the unit and taken nothing, or freed the last block. */
		if (KIND(s) == SMALL && VALUE(s) < CLASSES && shm_peek(&head->class_hint[VALUE(s)]) != i)
			retire(i, VALUE(s));
		kept += KIND(shm_load64(&state[i])) == FREE && shm_load64(&state[i]) & COMMITTED;
		if ((KIND(s) != CLAIMED && KIND(s) != FREEING) || OWNER(s) != slave)
			continue;
		uint32_t n = 1;

		while (i + n < top && KIND(shm_load64(&state[i + n])) == TAIL)
			n++;
		kept += give_up(i, n);
		found = true;
		i += n - 1;
	}
	/* It counted these before or after it had them. Who takes and gives meanwhile is miscounted by a little. */
	if (found)
		shm_set(&head->kept, kept);
}

void far__heap_status(FILE *stream)
{
	uint32_t top = head ? used_end() : 1, small = 0, large = 0;

	for (uint32_t i = 1; i < top; i++) {
		enum unit_kind k = KIND(shm_load64(&state[i]));

		small += k == SMALL;
		large += k == LARGE || k == TAIL;
	}
	fprintf(stream, "far heap: %zu MiB of addresses, in use %zu KiB in large blocks, %zu KiB for small ones, %zu KiB kept\n",
		far__space.heap_size >> 20, large * (UNIT >> 10), small * (UNIT >> 10),
		(head ? shm_load(&head->kept) : 0) * (UNIT >> 10));
}
