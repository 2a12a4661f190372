/* The address space of the family: see space.h. */
#include "space.h"

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "sys.h"

#define PAGE		4096ul
#define WINDOW_SIZE	(16ul << 30)
#define WINDOW_LEAST	(64ul << 20)
#define HEAP_SIZE	(1ul << 40)
#define HEAP_LEAST	(16ul << 20)
#define SLAVES_LEAST	16ul

struct far__space far__space;

size_t far__size_from(const char *text)
{
	static const char suffixes[] = "kmgt";

	if (!text || *text < '0' || *text > '9')
		return 0;
	char *end;
	unsigned long long n = strtoull(text, &end, 10);

	if (*end) {
		const char *suffix = strchr(suffixes, *end | 0x20);

		if (!suffix || end[1])
			return 0;
		unsigned shift = 10 * (unsigned)(suffix - suffixes + 1);

		if (n > SIZE_MAX >> shift)
			return 0;
		n <<= shift;
	}
	return (size_t)n;
}

void *far__space_reserve(size_t size)
{
	long p = SYS(mmap, 0, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p < 0 && p > -4096 ? NULL : (void *)p;
}

static char *reserve_windows(size_t *size, unsigned slaves)
{
	for (size_t s = WINDOW_SIZE; s >= WINDOW_LEAST; s /= 2) {
		char *p = far__space_reserve(s * slaves);

		if (p) {
			*size = s;
			return p;
		}
	}
	*size = 0;
	return NULL;
}

/* Map an object of *size bytes, or of a half, a quarter ... if that is refused, down to @least: 0 or -errno. */
static int map_object(struct far__object *object, size_t *size, size_t least)
{
	int err = -ENOMEM;

	for (size_t s = *size; s >= least; s /= 2) {
		err = far__object_map(object, s);
		if (!err)
			*size = s;
		if (!err || err == -EMFILE || err == -ENFILE)
			return err;
	}
	return err;
}

int far__space_map(void)
{
	struct far__space s = { 0 };
	size_t control_size = FAR_SEGMENT_SIZE * FAR_SLAVES_MAX;
	size_t asked = far__size_from(secure_getenv("FARCALL_HEAP"));

	s.heap_size = asked < HEAP_LEAST ? (asked ? HEAP_LEAST : HEAP_SIZE) : asked & -(1ul << 20);
	int err = map_object(&s.control_object, &control_size, FAR_SEGMENT_SIZE * SLAVES_LEAST);

	if (err)
		return err;
	err = map_object(&s.heap_object, &s.heap_size, HEAP_LEAST);
	if (err) {
		far__object_unmap(&s.control_object, control_size);
		return err;
	}
	s.control = s.control_object.at;
	s.heap = s.heap_object.at;
	s.slaves = (unsigned)(control_size / FAR_SEGMENT_SIZE);
	s.windows = reserve_windows(&s.window_size, s.slaves);
	far__space = s;
	return 0;
}

void far__space_unmap(void)
{
	struct far__space *s = &far__space;

	if (s->windows)
		SYS(munmap, s->windows, s->window_size * s->slaves);
	far__object_unmap(&s->heap_object, s->heap_size);
	far__object_unmap(&s->control_object, FAR_SEGMENT_SIZE * s->slaves);
	*s = (struct far__space){ 0 };
}

int far__space_commit(unsigned slave, size_t offset, size_t length)
{
	return far__object_commit(&far__space.control_object, slave * FAR_SEGMENT_SIZE + offset, length);
}

int far__space_discard(unsigned slave)
{
	return far__object_discard(&far__space.control_object, slave * FAR_SEGMENT_SIZE, FAR_SEGMENT_SIZE);
}

/* Take every block that malloc() can give without asking the kernel for more. */
static void burn_heap(void)
{
	struct rlimit old, none;
	char *brk_end = (char *)(((uintptr_t)sbrk(0) + PAGE - 1) & -PAGE);

	/* A page just above the heap keeps it from growing. */
	SYS(mmap, brk_end, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	if (getrlimit(RLIMIT_AS, &old))
		return;
	none = old;
	none.rlim_cur = PAGE;
	if (setrlimit(RLIMIT_AS, &none))
		return;
	for (size_t size = 1ul << 20; size >= 16; size = size > 1024 ? size / 2 : size - 16)
		for (void *volatile block = malloc(size); block; block = malloc(size))
			;
	setrlimit(RLIMIT_AS, &old);
}

/* Fill every gap above the windows, from the largest piece that fits to the page. */
static void plug_gaps(void)
{
	char *end = far__space.windows + far__space.window_size * far__space.slaves;

	for (size_t size = 1ul << 46; size >= PAGE; size /= 2) {
		for (;;) {
			char *p = far__space_reserve(size);

			if (!p)
				break;
			if (p < end) {
				SYS(munmap, p, size);
				break;
			}
		}
	}
}

/* There if the program has a sanitizer, whether or not this library was built with one. */
void __asan_init(void) __attribute__((weak));
void __msan_init(void) __attribute__((weak));
void __tsan_init(void) __attribute__((weak));

void far__space_seal(void)
{
	/* A sanitizer's allocator has its own fixed range; addresses then tell no owner. */
	if (__asan_init || __msan_init || __tsan_init)
		return;
	burn_heap();
	plug_gaps();
}

int far__space_open(unsigned window)
{
	return (int)SYS(munmap, far__space.windows + window * far__space.window_size, far__space.window_size);
}
