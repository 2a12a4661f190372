/* far_init(), and the parts it starts. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crash.h"
#include "heap.h"
#include "internal.h"
#include "object.h"

unsigned far__self, far__my_window;
struct far__server *far__my_server;
bool far__is_forked;

enum { SPARES = 2 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static _Atomic bool ready;
static enum { NOT_TRIED, STARTED, FAILED } processes;
static char obstacle[160];

/* What the parent was at is not ours to go on with. */
static void forget_parent(void)
{
	far__thread.last_handle = 0;
	far__thread.last_port = NULL;
	far__thread.server = NULL;
	far__thread.running = NULL;
	far__error_forked();
	far__reports_forked();
	far__park_forked();
	far__zygote_forked();
	pthread_mutex_init(&lock, NULL);
}

static void in_forked_child(void)
{
	/* A slave finds all as the zygote has left it: each page that is written when it starts costs it a copy. */
	if (far__zygote_is_parent())
		return;
	far__is_forked = true;
	forget_parent();
}

static bool is_wait(const char *text)
{
	return !strcmp(text, "uring") || !strcmp(text, "futex") || !strcmp(text, "poll");
}

static bool is_shm(const char *text)
{
	return !strcmp(text, "shm") || !strcmp(text, "memfd");
}

static bool is_size(const char *text)
{
	return far__size_from(text) > 0;
}

static bool is_count(const char *text)
{
	return strspn(text, "0123456789") == strlen(text);
}

/* The environment is the user's, not the program's: to him goes what is wrong with it. */
static void check_environment(void)
{
	static const struct {
		const char *name;
		bool (*is_good)(const char *text);
		const char *values;
	} settings[] = {
		{ "FARCALL_WAIT", is_wait, "uring, futex or poll" },
		{ "FARCALL_SHM", is_shm, "shm or memfd" },
		{ "FARCALL_HEAP", is_size, "a size like 512M" },
		{ "FARCALL_SPARES", is_count, "a number" },
	};
	char message[160];

	for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++) {
		const char *text = secure_getenv(settings[i].name);

		if (!text || !*text || settings[i].is_good(text))
			continue;
		snprintf(message, sizeof message, "%s is \"%.64s\", which is not %s: it is ignored", settings[i].name, text,
			 settings[i].values);
		far__complain(message);
	}
}

static uint32_t spares_wanted(void)
{
	const char *text = secure_getenv("FARCALL_SPARES");
	unsigned long n = text && *text && is_count(text) ? strtoul(text, NULL, 10) : SPARES;

	return n > FAR_STOCK_MAX / 2 ? FAR_STOCK_MAX / 2 : (uint32_t)n;
}

static int start_family(void)
{
	int err = far__park_init();

	check_environment();
	if (!err)
		err = far__space_map();
	if (err)
		return err;
	err = far__space_commit(0, 0, sizeof(struct far__family));
	if (!err)
		err = far__heap_init();
	if (err) {
		far__space_unmap();
		return err;
	}
	far__heap_trim_soon = far__zygote_trim_soon;
	for (unsigned n = 0; n < FAR_SLAVES_MAX; n++)
		shm_set(&far__member(n)->owner, FAR_NOBODY);
	shm_store(&far__member(0)->state, FAR_ALIVE);
	shm_set(&far__family()->spares, spares_wanted());
	far__spin_init();
	far__ports_init();
	far__image_learn();
	far__crash_prepare();
	pthread_atfork(NULL, NULL, in_forked_child);
	return 0;
}

int far__ready(const char *function)
{
	int err = 0;

	if (FAR_UNLIKELY(far__is_forked)) {
		far__fail(FAR_EFORKED, ECHILD, function, NULL,
			  "this process was made by fork(): farcall can be used only in its parent, or after exec");
		return -ECHILD;
	}
	if (ready)
		return 0;
	pthread_mutex_lock(&lock);
	if (!ready) {
		err = start_family();
		ready = !err;
	}
	pthread_mutex_unlock(&lock);
	if (err)
		far__fail(err == -EMFILE || err == -ENFILE || err == -EFBIG ? FAR_ELIMIT : FAR_ENOMEM, -err, function, NULL,
			  "shared memory cannot be set up: %s (%s)%s", strerror(-err), far__object_kind(),
			  err == -EFBIG ? ": see ulimit -f" : err == -ENOMEM ? ": see ulimit -v"
			  : err == -EAGAIN ? ": see ulimit -l" : "");
	return err;
}

unsigned long far__own_status(const char *name)
{
	size_t length = strlen(name);
	unsigned long value = 0;
	char line[128];
	FILE *f = fopen("/proc/self/status", "rce");

	while (f && fgets(line, sizeof line, f)) {
		if (strncmp(line, name, length))
			continue;
		value = strtoul(line + length, NULL, 10);
		break;
	}
	if (f)
		fclose(f);
	return value;
}

/* Start the zygote; the lock is held. */
static void start_processes(void)
{
	int threads = (int)far__own_status("Threads:");

	processes = FAILED;
	if (threads > 1) {
		processes = NOT_TRIED;	/* a later call may find one thread */
		if (*obstacle)
			return;	/* it was tried when there was one */
		snprintf(obstacle, sizeof obstacle,
			 "the program has %d threads and has not called far_init(): call it as the first statement of main()",
			 threads);
		return;
	}
	int err = far__zygote_start();

	if (!err) {
		processes = STARTED;
		return;
	}
	snprintf(obstacle, sizeof obstacle, "the zygote could not be started: %s",
		 !far__space.window_size ? "no address space is left for slave processes (see ulimit -v)" : strerror(-err));
	if (err == -EMFILE || err == -ENFILE || err == -EAGAIN || err == -ENOMEM)
		processes = NOT_TRIED;
}

const char *far__processes_ready(void)
{
	pthread_mutex_lock(&lock);
	if (processes == NOT_TRIED)
		start_processes();
	bool started = processes == STARTED;

	pthread_mutex_unlock(&lock);
	return started ? NULL : obstacle;
}

int far_init(void)
{
	int err = far__ready("far_init");

	if (err)
		return err;
	const char *why = far__processes_ready();

	if (why) {
		far__fail(FAR_EINIT, ENOTSUP, "far_init", NULL, "%s", why);
		return -ENOTSUP;
	}
	return 0;
}

void far__now_the_zygote(void)
{
	forget_parent();
	far__slaves_forget();
	memset(&far__thread, 0, sizeof far__thread);
	processes = STARTED;	/* as the slaves shall see it */
}
