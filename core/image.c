/*
 * What the program and its libraries look like in memory, as they were in
 * far_init() and so are in every slave process; and from that, which pointers
 * mean the same there.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "internal.h"
#include "sys.h"

#define PAGE 4096ul

/* A part of an image that slaves have too, and nobody writes: code, constants. */
struct range {
	uintptr_t start, end;
	bool code;
};

enum { RANGES_MAX = 4096, WRITTEN_MAX = 512 };
static struct range ranges[RANGES_MAX];
static struct range written[WRITTEN_MAX];	/* the other parts, of which each process has its own; with what is constant since */
static size_t nranges, nwritten;

struct far__code far__common_code, far__common_image;

static void add_range(uintptr_t start, uintptr_t end, bool code)
{
	if (nranges < RANGES_MAX && start < end)
		ranges[nranges++] = (struct range){ start, end, code };
}

static int add_module(struct dl_phdr_info *info, size_t size, void *first)
{
	(void)size;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *h = &info->dlpi_phdr[i];
		uintptr_t start = info->dlpi_addr + h->p_vaddr;

		if (h->p_type == PT_LOAD && !(h->p_flags & PF_W))
			add_range(start & -PAGE, (start + h->p_memsz + PAGE - 1) & -PAGE, h->p_flags & PF_X);
		else if (h->p_type == PT_GNU_RELRO)	/* written by the loader, constant since */
			add_range(start & -PAGE, (start + h->p_memsz) & -PAGE, false);
		if (h->p_type == PT_LOAD && h->p_flags & PF_W && nwritten < WRITTEN_MAX)
			written[nwritten++] = (struct range){ start & -PAGE, start + h->p_memsz, false };
		if (h->p_type != PT_LOAD || !*(bool *)first)
			continue;
		if (h->p_flags & PF_X)
			far__common_code = (struct far__code){ (const char *)start, (const char *)start + h->p_memsz };
		if (!far__common_image.start)
			far__common_image.start = (const char *)start;
		far__common_image.end = (const char *)start + h->p_memsz;	/* they come in this order */
	}
	*(bool *)first = false;	/* the program itself comes first */
	return 0;
}

static int by_start(const void *a, const void *b)
{
	const struct range *x = a, *y = b;

	return x->start < y->start ? -1 : x->start > y->start;
}

void far__image_learn(void)
{
	bool first = true;

	nranges = nwritten = 0;
	dl_iterate_phdr(add_module, &first);
	qsort(ranges, nranges, sizeof *ranges, by_start);
}

static const struct range *range_of(const void *p)
{
	uintptr_t v = (uintptr_t)p;
	size_t low = 0, high = nranges;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (ranges[middle].end <= v)
			low = middle + 1;
		else
			high = middle;
	}
	return low < nranges && ranges[low].start <= v ? &ranges[low] : NULL;
}

/* Static data that is not constant. */
static bool is_written(const void *p)
{
	if (range_of(p))
		return false;
	for (size_t i = 0; i < nwritten; i++)
		if ((uintptr_t)p - written[i].start < written[i].end - written[i].start)
			return true;
	return false;
}

bool far__image_is_common(const void *function)
{
	if (far__is_mirrored(function))
		return true;
	const struct range *r = range_of(function);

	return (r && r->code) || far__space_window(function) >= 0;
}

bool far__image_has(const void *p)
{
	return range_of(p);
}

enum far__reach far__image_reach(const struct far__slave *slave, const void *p)
{
	if (far__space_in_heap(p) || far__is_number(p) || far__space_in_control(p))
		return FAR_REACHES;
	int window = far__space_window(p);

	if (slave->kind == FAR_OWNER)
		return window == (int)far__my_window || is_written(p) ? FAR_PRIVATE : FAR_REACHES;
	if (slave->kind != FAR_PROCESS)
		return window < 0 || window == (int)far__my_window ? FAR_REACHES : FAR_STALE;
	if (window >= 0)
		return window == (int)shm_load(&far__member(slave->number)->window) ? FAR_REACHES
		       : window == (int)far__my_window ? FAR_PRIVATE : FAR_STALE;
	if (range_of(p) || p == (void *)stdin || p == (void *)stdout || p == (void *)stderr)
		return FAR_REACHES;
	return FAR_PRIVATE;
}

/* ------------------------------------------------------------ in words */

static bool on_my_stack(const void *p)
{
	pthread_attr_t attr;
	void *base;
	size_t size;

	if (pthread_getattr_np(pthread_self(), &attr))
		return false;
	pthread_attr_getstack(&attr, &base, &size);
	pthread_attr_destroy(&attr);
	return (size_t)((const char *)p - (const char *)base) < size;
}

const char *far__image_describe(const void *p)
{
	const char *what = "no memory at all";
	char line[512], name[256];
	unsigned long start, end;
	FILE *maps;

	if (on_my_stack(p))
		return "this thread's stack";
	maps = fopen("/proc/self/maps", "rce");
	if (!maps)
		return "private memory";
	while (fgets(line, sizeof line, maps)) {
		*name = 0;
		if (sscanf(line, "%lx-%lx %*s %*s %*s %*s %255[^\n]", &start, &end, name) < 2 ||
		    (uintptr_t)p < start || (uintptr_t)p >= end)
			continue;
		if (!strcmp(name, "[stack]"))
			what = "the main thread's stack";
		else if (!strcmp(name, "[heap]"))
			what = "the heap";
		else if (*name == '/')
			what = range_of(p) ? "constant data" : "static data, or a module loaded after far_init()";
		else
			what = "private memory (the heap, static data, or another thread's stack)";
		break;
	}
	fclose(maps);
	return what;
}

/* ------------------------------------------------------------- strings */

/*
 * Whether the page with these bytes can be read: the kernel tries before it looks at a
 * senseless first argument (kernel/signal.c; Abseil's AddressIsReadable() does the same).
 * That takes a tenth of the time of process_vm_readv().
 */
static bool is_readable(const char *p)
{
	const void *word = (const void *)((uintptr_t)p & -8ul);

	return SYS(rt_sigprocmask, -1, word, NULL, 8) != -EFAULT;
}

long far__image_strlen(const char *p)
{
	size_t length = 0;

	for (;;) {
		size_t rest = PAGE - ((uintptr_t)(p + length) & (PAGE - 1));

		if (!is_readable(p + length))
			return -1;
		size_t n = strnlen(p + length, rest);

		length += n;
		if (n < rest)
			return (long)length;
	}
}

/* ------------------------------------- functions of modules loaded later */

/* In the slave: where the module's code at @offset is. */
static void *load(const char *module, size_t offset)
{
	struct link_map *map;
	void *handle = dlopen(module, RTLD_NOW);

	if (!handle || dlinfo(handle, RTLD_DI_LINKMAP, &map)) {
		const char *why = dlerror();

		far_raise(FAR_EPOINTER, "%s", why ? why : "dlopen() failed");
	}
	return (void *)(map->l_addr + offset);
}

/* What was found, for each slave: a slave keeps what it has loaded. */
static struct {
	pthread_mutex_t lock;
	struct found {
		uintptr_t handle;
		uint32_t incarnation;
		void *here, *there;
	} found[64];
} cache = { .lock = PTHREAD_MUTEX_INITIALIZER };

static struct found *cached(uintptr_t handle, const void *here)
{
	return &cache.found[(handle ^ (uintptr_t)here >> 4) % 64];
}

void *far__image_function(struct far__call *call)
{
	uintptr_t handle = (uintptr_t)call->slave;
	struct link_map *map = NULL;
	void *there = NULL;
	Dl_info info;

	uint32_t incarnation = far__incarnation(handle);

	call->life = far__life(incarnation);
	pthread_mutex_lock(&cache.lock);
	struct found found = *cached(handle, call->function);

	pthread_mutex_unlock(&cache.lock);
	if (found.handle == handle && found.incarnation == incarnation && found.here == call->function)
		return found.there;
	if (!call->function || !dladdr1(call->function, &info, (void **)&map, RTLD_DL_LINKMAP) || !map || !*map->l_name) {
		far__fail(FAR_EPOINTER, EFAULT, call->site->function, call->site,
			  "%p is no function of the program or of a library", call->function);
		return NULL;
	}
	/* The slave may be in another folder. */
	char path[PATH_MAX];
	const char *name = realpath(map->l_name, path) ? path : map->l_name;

	there = far_invoke(call->slave, load, far_str(name), (uintptr_t)call->function - map->l_addr);
	if (far__failed) {
		far__blame(call->site->function, call->site, "the slave cannot load the module it is in: ");
		return NULL;
	}
	pthread_mutex_lock(&cache.lock);
	*cached(handle, call->function) = (struct found){ handle, incarnation, call->function, there };
	pthread_mutex_unlock(&cache.lock);
	return there;
}
