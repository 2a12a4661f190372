/* Libraries in slaves, and functions by their names: see library.h. */
#include "library.h"

#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <link.h>
#include <search.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "signature.h"

enum { LIBRARIES_MAX = 1024, GENERATION_SHIFT = 10 };

static struct {
	pthread_mutex_t lock;
	struct far__library *library[LIBRARIES_MAX];
	_Atomic uintptr_t handle[LIBRARIES_MAX];	/* those that are open, to look at without the lock */
	uintptr_t generation;
} table = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* ------------------------------------------------------------ in the slave */

static void *load_there(const char *name)
{
	void *loaded = dlopen(name, RTLD_NOW | RTLD_LOCAL);

	if (!loaded)
		far_raise(FAR_ENAME, "%s", dlerror());
	return loaded;
}

/* The file of what is @loaded, or rather that which the function at @address is in. */
static void module_there(void *loaded, const void *address, char *path)
{
	char whole[PATH_MAX];
	struct link_map *map = NULL;
	Dl_info info;

	if (address ? !dladdr1(address, &info, (void **)&map, RTLD_DL_LINKMAP) : loaded && dlinfo(loaded, RTLD_DI_LINKMAP, &map))
		map = NULL;
	if (!realpath(map && *map->l_name ? map->l_name : "/proc/self/exe", whole))
		far_raise(FAR_ENAME, "the file that has its types is not known");
	memcpy(path, whole, sizeof whole);
}

static void *find_there(void *loaded, const char *name)
{
	void *address = dlsym(loaded ? loaded : RTLD_DEFAULT, name);

	if (!address)
		far_raise(FAR_ENAME, "there is no function %s", name);
	return address;
}

static void unload_there(void *loaded)
{
	dlclose(loaded);
}

/* ------------------------------------------------------------------ errors */

static void *no_memory(const struct far__asker *asker)
{
	far__fail(FAR_ENOMEM, ENOMEM, asker->function, asker->site, "no memory for what is known of a library");
	return NULL;
}

/* ------------------------------------------------------------ the table */

static void free_symbol(void *symbol)
{
	struct far__symbol *s = symbol;

	far__signature_free(s->signature);
	if (s->name != s->text)
		free(s->name);
	free(s->text);
	free(s);
}

static void free_library(struct far__library *l)
{
	tdestroy(l->symbols, free_symbol);
	pthread_mutex_destroy(&l->lock);
	free(l->name);
	free(l);
}

/* Take it out of the table, which is locked: whether nobody uses it, and it is to be freed. */
static bool take_out(unsigned place)
{
	struct far__library *l = table.library[place];

	table.library[place] = NULL;
	atomic_store(&table.handle[place], 0);
	l->is_closed = true;
	return l->users == 0;
}

static bool slave_is_open(uintptr_t handle)
{
	const struct far__slave *slave = far__slave_by_number(far__handle_number(handle));

	return slave && atomic_load(&slave->handle) == handle;
}

/* Those that nobody opened go when their slave has gone. */
static void take_out_orphans(void)
{
	for (unsigned i = 0; i < LIBRARIES_MAX; i++) {
		struct far__library *l = table.library[i];

		if (!l || !l->is_implied || slave_is_open(l->slave))
			continue;
		if (take_out(i))
			free_library(l);
	}
}

static struct far__library *new_library(uintptr_t slave, const char *name, const struct far__asker *asker)
{
	struct far__library *l = calloc(1, sizeof *l);

	if (!l || (name && !(l->name = strdup(name)))) {
		free(l);
		return no_memory(asker);
	}
	pthread_mutex_init(&l->lock, NULL);
	l->slave = slave;
	l->incarnation = UINT32_MAX;
	return l;
}

/* Put it in the table, which is locked; false if that is full. */
static bool put_in(struct far__library *l)
{
	for (unsigned i = 0; i < LIBRARIES_MAX; i++)
		if (!table.library[i]) {
			l->handle = FAR_LIBRARY | ++table.generation << GENERATION_SHIFT | i;
			table.library[i] = l;
			atomic_store(&table.handle[i], l->handle);
			return true;
		}
	return false;
}

static struct far__library *too_many(struct far__library *l, const struct far__asker *asker)
{
	free_library(l);
	far__fail(FAR_ELIMIT, EMFILE, asker->function, asker->site, "%d libraries are open: close some", LIBRARIES_MAX);
	return NULL;
}

/* The library that stands for what a slave has loaded. The table is locked. */
static struct far__library *implied(uintptr_t slave, const struct far__asker *asker)
{
	for (unsigned i = 0; i < LIBRARIES_MAX; i++)
		if (table.library[i] && table.library[i]->is_implied && table.library[i]->slave == slave)
			return table.library[i];
	take_out_orphans();
	struct far__library *l = new_library(slave, NULL, asker);

	if (!l)
		return NULL;
	l->is_implied = true;
	return put_in(l) ? l : too_many(l, asker);
}

bool far__library_is_open(uintptr_t handle)
{
	return atomic_load_explicit(&table.handle[handle % LIBRARIES_MAX], memory_order_relaxed) == handle;
}

struct far__library *far__library_enter(uintptr_t handle, const struct far__asker *asker)
{
	if (!far__is_library(handle) && !far__slave_find(handle, asker->function, asker->site))
		return NULL;
	pthread_mutex_lock(&table.lock);
	struct far__library *l = far__is_library(handle) ? table.library[handle % LIBRARIES_MAX] : implied(handle, asker);

	if (l && far__is_library(handle) && l->handle != handle)
		l = NULL;
	if (l)
		l->users++;
	pthread_mutex_unlock(&table.lock);
	if (!l && far__is_library(handle))
		far__fail(FAR_ECLOSED, EBADF, asker->function, asker->site, "the library is closed");
	return l;
}

void far__library_leave(struct far__library *l)
{
	pthread_mutex_lock(&table.lock);
	bool last = --l->users == 0 && l->is_closed;

	pthread_mutex_unlock(&table.lock);
	if (last)
		free_library(l);
}

/* ------------------------------------------------------------- in a slave */

static struct far_slave *slave_of(const struct far__library *l)
{
	return (struct far_slave *)l->slave;
}

/* The limit, in ms, of a call to the slave for who asks. */
static int limit_of(const struct far__asker *asker)
{
	return asker->deadline ? far__left_ms(asker->deadline) : FAR__SLAVES_DEADLINE;
}

/*
 * Nobody holds a lock who waits for the slave: that may be waiting for him, in a callback
 * which uses the library. So each call to it stands between these two, and behind it things
 * may have changed.
 */
static void ask_slave(struct far__library *l)
{
	pthread_mutex_unlock(&l->lock);
}

static void slave_has_answered(struct far__library *l)
{
	pthread_mutex_lock(&l->lock);
}

/* As often as it was loaded. */
static void unload_once(struct far__library *l, void *loaded, uint32_t incarnation)
{
	ask_slave(l);
	far_invoke(slave_of(l), unload_there, FAR_OF_LIFE(far_remote(loaded), incarnation));
	(void)far_error();
	slave_has_answered(l);
}

/* Have it loaded in an incarnation of the slave. */
static bool load_in(struct far__library *l, uint32_t incarnation, const struct far__asker *asker)
{
	void *loaded = NULL;
	bool failed = false;

	if (!l->is_implied) {
		ask_slave(l);
		loaded = l->name ? far_invoke_within(limit_of(asker), slave_of(l), load_there, FAR_OF_LIFE(far_str(l->name), incarnation))
				 : far_invoke_within(limit_of(asker), slave_of(l), load_there, FAR_OF_LIFE(NULL, incarnation));
		failed = !loaded;
		slave_has_answered(l);
	}
	if (failed)
		return false;
	if (l->incarnation == incarnation) {
		unload_once(l, loaded, incarnation);
		return true;
	}
	l->loaded = loaded;
	l->incarnation = incarnation;
	return true;
}

/* Have it loaded in the slave's present incarnation. */
static bool load(struct far__library *l, const struct far__asker *asker)
{
	for (;;) {
		uint32_t incarnation = far__incarnation(l->slave);

		if (l->incarnation == incarnation || load_in(l, incarnation, asker))
			return true;
		if (far__incarnation(l->slave) == incarnation || far_error()->code != FAR_ESTALE) {
			far__blame(asker->function, asker->site, "");
			return false;
		}
	}
}

void *far__library_address(struct far__library *l, struct far__symbol *s, const struct far__asker *asker)
{
	if (!load(l, asker))
		return NULL;
	if (s->address && s->incarnation == l->incarnation)
		return s->address;
	void *loaded = l->loaded;
	uint32_t incarnation = l->incarnation;

	ask_slave(l);
	void *address = far_invoke_within(limit_of(asker), slave_of(l), find_there, FAR_OF_LIFE(far_remote(loaded), incarnation),
					  far_str(s->name));

	slave_has_answered(l);
	if (!address) {
		char where[PATH_MAX + 10];

		snprintf(where, sizeof where, "%s%s", l->name ? l->name : "", l->name ? ": " : "");
		far__blame(asker->function, asker->site, where);
		return NULL;
	}
	s->address = address;
	s->incarnation = incarnation;
	return address;
}

bool far__library_name(struct far__symbol *s, const char *name, const struct far__asker *asker)
{
	char *copy = strcmp(s->name, name) ? strdup(name) : s->name;

	if (!copy)
		return no_memory(asker);
	if (copy == s->name)	/* another thread has found it, too, and may be reading it */
		return true;
	if (s->name != s->text)
		free(s->name);
	s->name = copy;
	s->address = NULL;
	return true;
}

bool far__library_module(struct far__library *l, struct far__symbol *s, char *module, const struct far__asker *asker)
{
	void *address = s ? far__library_address(l, s, asker) : NULL;

	if (s ? !address : !load(l, asker))
		return false;
	void *loaded = l->loaded;
	uint32_t incarnation = l->incarnation;

	ask_slave(l);
	far_invoke_within(limit_of(asker), slave_of(l), module_there, FAR_OF_LIFE(far_remote(loaded), incarnation),
			  far_remote(address), far_out(module, PATH_MAX));
	bool failed = far__failed;

	slave_has_answered(l);
	if (failed)
		far__blame(asker->function, asker->site, "");
	return !failed;
}

static int by_text(const void *a, const void *b)
{
	return strcmp(((const struct far__symbol *)a)->text, ((const struct far__symbol *)b)->text);
}

struct far__symbol *far__library_symbol(struct far__library *l, const char *text, const struct far__asker *asker)
{
	struct far__symbol key = { .text = (char *)(uintptr_t)text };
	void **found = tfind(&key, &l->symbols, by_text);

	if (found)
		return *found;
	struct far__symbol *s = calloc(1, sizeof *s);

	if (s && (s->text = strdup(text)) && tsearch(s, &l->symbols, by_text)) {
		s->name = s->text;
		return s;
	}
	if (s)
		free_symbol(s);
	return no_memory(asker);
}

struct far__location far__library_function(struct far__library *l, const char *name, const struct far__asker *asker)
{
	pthread_mutex_lock(&l->lock);
	struct far__symbol *s = far__library_symbol(l, name, asker);
	void *address = s ? far__library_address(l, s, asker) : NULL;
	struct far__location place = { address, address ? s->incarnation : 0 };

	pthread_mutex_unlock(&l->lock);
	return place;
}

/* For far_invoke() and its like: the function that the call names. */
static bool find_for_call(struct far__call *call)
{
	const struct far__asker asker = {
		call->site->function, call->site,
		.deadline = call->within == FAR__SLAVES_DEADLINE ? 0 : call->within ? far__deadline(call->within) : far__now(),
	};
	struct far__library *l = far__library_enter((uintptr_t)call->slave, &asker);

	if (!l)
		return false;
	struct far__location place = far__library_function(l, call->site->function, &asker);

	call->function = place.address;
	call->life = far__life(place.incarnation);
	call->slave = slave_of(l);
	call->within = limit_of(&asker);
	far__library_leave(l);
	return call->function;
}

/* ------------------------------------------------------- for the program */

far_library *far_open(struct far_slave *slave, const char *name)
{
	const struct far__asker asker = { "far_open", NULL, 0 };

	if (!far__slave_find((uintptr_t)slave, "far_open", NULL))
		return NULL;
	struct far__library *l = new_library((uintptr_t)slave, name, &asker);

	if (!l)
		return NULL;
	pthread_mutex_lock(&l->lock);
	bool is_loaded = load(l, &asker);

	pthread_mutex_unlock(&l->lock);
	if (!is_loaded) {
		free_library(l);
		return NULL;
	}
	far__library_find = find_for_call;
	pthread_mutex_lock(&table.lock);
	bool is_in = put_in(l);

	pthread_mutex_unlock(&table.lock);
	if (!is_in) {
		far_invoke(slave, unload_there, FAR_OF_LIFE(far_remote(l->loaded), l->incarnation));
		l = too_many(l, &asker);
	}
	return l ? (far_library *)l->handle : NULL;
}

/* Unload it in the slave, if that is still there. */
static void unload(struct far__library *l)
{
	pthread_mutex_lock(&l->lock);
	if (slave_is_open(l->slave) && l->incarnation == far__incarnation(l->slave) && !far__is_dead(far__handle_number(l->slave)))
		unload_once(l, l->loaded, l->incarnation);
	pthread_mutex_unlock(&l->lock);
}

int far_library_close(far_library *library)
{
	const struct far__asker asker = { "far_library_close", NULL, 0 };
	uintptr_t handle = (uintptr_t)library;

	if (!library)
		return 0;
	struct far__library *l = far__library_is_open(handle) ? far__library_enter(handle, &asker) : NULL;

	if (!l) {
		far__fail(FAR_EINVAL, EINVAL, "far_library_close", NULL, "it is no library, or closed");
		return -EINVAL;
	}
	pthread_mutex_lock(&table.lock);
	bool is_ours = !l->is_closed;

	if (is_ours)
		(void)take_out(handle % LIBRARIES_MAX);
	pthread_mutex_unlock(&table.lock);
	if (is_ours)
		unload(l);
	far__library_leave(l);
	return 0;
}
