/* Slaves: making, finding and closing them. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "internal.h"

enum { QUEUE_DEFAULT = 256 };

static _Atomic(struct far__slave *) slaves[FAR_SLAVES_MAX];
static _Atomic unsigned highest;	/* number with a record */

static struct far__slave *open_myself(void);

struct far__slave *far__slave_by_number(unsigned number)
{
	return atomic_load_explicit(&slaves[number], memory_order_acquire);
}

struct far__slave *far__slave_find(uintptr_t handle, const char *function, const struct far__site *site)
{
	struct far__slave *slave = far__slave_by_number(far__handle_number(handle));

	if (FAR_UNLIKELY(!slave) && far__my_server && handle == far__my_server->handle)
		slave = open_myself();
	if (!far__is_forked && slave && handle && atomic_load_explicit(&slave->handle, memory_order_acquire) == handle)
		return slave;
	if (far__is_forked)
		far__fail(FAR_EFORKED, ECHILD, function, site,
			  "this process was made by fork(): farcall can be used only in its parent, or after exec");
	else if (!handle)
		far__fail(FAR_ECLOSED, EINVAL, function, site, "the slave is NULL: it could not be started");
	else
		far__fail(FAR_ECLOSED, EBADF, function, site, "the slave is closed, or another process's");
	return NULL;
}

/* -------------------------------------------------------------- making */

/* Where a slave is being made, for its errors. */
static struct far__site site_of(const char *function, const struct far_options *o)
{
	struct far__site site = { .function = function };

	if (o->far__size >= sizeof *o) {
		site.file = o->far__file;
		site.line = o->far__line;
	}
	return site;
}

static bool check(const struct far__site *site, const struct far_options *o)
{
	const char *function = site->function;

	if (o->far__size < sizeof *o)
		far__fail(FAR_EINVAL, EINVAL, function, site, "the program was compiled with another farcall.h");
	else if (o->queue > FAR_QUEUE_MAX)
		far__fail(FAR_EINVAL, EINVAL, function, site, ".queue = %u: at most %d calls can wait", o->queue, FAR_QUEUE_MAX);
	else if (o->when_full != FAR_WAIT && o->when_full != FAR_FAIL)
		far__fail(FAR_EINVAL, EINVAL, function, site, ".when_full is neither FAR_WAIT nor FAR_FAIL");
	else if (o->close_ms < 0 || o->deadline_ms < 0 || o->grace_ms < 0 || o->respawn < 0)
		far__fail(FAR_EINVAL, EINVAL, function, site, ".close_ms, .deadline_ms, .grace_ms or .respawn is negative");
	else
		return true;
	return false;
}

static void no_slave(const struct far__site *site, int err, const char *what)
{
	far__fail(err == -ENOSPC || err == -ENOMEM ? FAR_ENOMEM : FAR_ELIMIT, -err, site->function, site, "%s: %s", what,
		  err == -EAGAIN ? "too many slaves, processes or threads (see ulimit -u)" : strerror(-err));
}

static uint32_t power_of_two(uint32_t n)
{
	return n <= 1 ? 1 : 1u << (32 - __builtin_clz(n - 1));
}

/* The record of a number, made at its first use; NULL if there is no memory. */
static struct far__slave *record_of(unsigned number)
{
	struct far__slave *slave = far__slave_by_number(number);

	if (slave)
		return slave;
	pthread_mutexattr_t recursive;

	slave = calloc(1, sizeof *slave);
	if (!slave)
		return NULL;
	pthread_mutex_init(&slave->lock, NULL);
	pthread_mutexattr_init(&recursive);
	pthread_mutexattr_settype(&recursive, PTHREAD_MUTEX_RECURSIVE);
	pthread_mutex_init(&slave->shared, &recursive);
	pthread_mutexattr_destroy(&recursive);
	slave->number = number;
	slave->segment = far__space_segment(number);
	atomic_store_explicit(&slaves[number], slave, memory_order_release);
	unsigned before = highest;

	while (number > before && !atomic_compare_exchange_weak(&highest, &before, number))
		;
	return slave;
}

/* Fill the record of a number that is alive, served in this process by @server or NULL, and open it to callers. */
static struct far__slave *open_slave(const struct far__site *site, unsigned number, enum far__kind kind,
				     struct far__server *server, const struct far_options *o)
{
	struct far__slave *slave = record_of(number);

	if (!slave) {
		no_slave(site, -ENOMEM, "no memory for a slave");
		return NULL;
	}
	pthread_mutex_lock(&slave->lock);
	slave->kind = kind;
	slave->queue = power_of_two(o->queue ? o->queue : QUEUE_DEFAULT);
	slave->fail_when_full = o->when_full == FAR_FAIL;
	slave->close_ms = o->close_ms;
	slave->deadline_ms = o->deadline_ms;
	slave->grace_ms = o->grace_ms;
	slave->kill_on_cancel = o->kill_on_cancel;
	slave->order[FAR_MEMORY_LIMIT] = o->memory_limit;
	slave->order[FAR_CPU_LIMIT] = o->cpu_limit;
	slave->order[FAR_PROCESS_LIMIT] = o->process_limit;
	slave->order[FAR_FILE_LIMIT] = o->file_limit;
	slave->order[FAR_NICE] = (uint64_t)o->nice;
	slave->order[FAR_CORE_DUMPS] = o->core_dumps != 0;
	slave->server = server;
	if (o->name)
		snprintf(slave->name, sizeof slave->name, "%s", o->name);
	else
		snprintf(slave->name, sizeof slave->name, "slave-%u", number);
	atomic_store(&slave->handle, far__member_handle(number));
	pthread_mutex_unlock(&slave->lock);
	return slave;
}

/* far_invoke(handle, setup, arg), with the errors of who makes the slave. */
static void invoke_setup(const struct far__site *made, struct far_slave *handle, void (*setup)(void *), void *arg)
{
	const struct far__site site = {
		.function = "setup", .file = made->file, .line = made->line, .arguments = 1, .ints = 1, .result = FAR__VOID,
	};
	struct far__buffer string;
	struct far__call call;

	far__start(&call, handle, (void *)(uintptr_t)setup, &string, FAR__OP_INVOKE, FAR__SLAVES_DEADLINE);
	call.site = &site;
	call.result = FAR__VOID;
	far__look(&call, &arg, 1, 0);
	__builtin_call_with_static_chain(((void (*)(void *))(uintptr_t)far__entry())(arg), FAR__ESCAPE(&call));
}

/* Run .setup in the new slave. When it fails the slave is closed again, and its error stays. */
static struct far_slave *set_up(const struct far__site *site, struct far__slave *slave, const struct far_options *o)
{
	struct far_slave *handle = (struct far_slave *)atomic_load(&slave->handle);

	if (!o->setup)
		return handle;
	invoke_setup(site, handle, o->setup, o->setup_arg);
	if (!far__failed)
		return handle;
	struct far_error error = *far_error();

	/* The next incarnation's would be waited for, which has no deadline. */
	if (slave->kind == FAR_PROCESS && error.code == FAR_EDEADLINE) {
		shm_store(&far__member(slave->number)->respawn, 0);
		far__zygote_kill(slave->number);
	}
	far_slave_close(handle);
	far_error();
	far__fail_with(&error);
	return NULL;
}

/* A thread slave's thread ends; if nobody told it to, by pthread_exit() in a call. */
static void thread_ends(void *arg)
{
	struct far__server *server = arg;

	if (server->ended)
		return;
	atomic_fetch_sub(&far__slave_by_number(server->number)->visitors, (uint32_t)server->visits);
	far__member_dead(server->number, 0);
}

static void *thread_main(void *arg)
{
	struct far__server *server = arg;

	server->thread = pthread_self();
	server->errnum = &errno;
	far__thread.server = server;
	far__thread_known();
	pthread_cleanup_push(thread_ends, server);
	far__server_loop(server);
	server->ended = true;
	pthread_cleanup_pop(0);
	return NULL;
}

/* A slave of this process: its number, segment and server. NULL and far_error(). */
static struct far__slave *make_local(const struct far__site *site, enum far__kind kind, const struct far_options *o)
{
	int err;

	if (far__ready(site->function) || !check(site, o))
		return NULL;
	struct far__server *server = malloc(sizeof *server);

	if (!server) {
		no_slave(site, -ENOMEM, "no memory for a slave");
		return NULL;
	}
	unsigned number = far__member_take(far__self, &err);

	if (!number) {
		no_slave(site, err, "no slave can be made");
		free(server);
		return NULL;
	}
	shm_store(&far__member(number)->state, FAR_ALIVE);
	far__server_begin(server, number, far__member_handle(number), false);
	struct far__slave *slave = open_slave(site, number, kind, server, o);

	if (!slave) {
		far__member_give(number);
		free(server);
	}
	return slave;
}

static void unmake_local(struct far__slave *slave)
{
	far__ports_empty(slave);
	free(slave->server);
	slave->server = NULL;
	far__member_give(slave->number);
}

struct far_slave *far__slave_thread(const struct far_options *o)
{
	struct far__site site = site_of("far_slave_thread", o);
	struct far__slave *slave = make_local(&site, FAR_THREAD, o);

	if (!slave)
		return NULL;
	int err = pthread_create(&slave->thread, NULL, thread_main, slave->server);

	if (err) {
		no_slave(&site, -err, "no thread can be started");
		slave->handle = 0;
		unmake_local(slave);
		return NULL;
	}
	pthread_setname_np(slave->thread, slave->name);
	return set_up(&site, slave, o);
}

struct far_slave *far__slave_here(const struct far_options *o)
{
	struct far__site site = site_of("far_slave_here", o);

	if (far__thread.server) {
		far__fail(FAR_EINVAL, EBUSY, site.function, &site, "this thread is a slave already");
		return NULL;
	}
	struct far__slave *slave = make_local(&site, FAR_HERE, o);

	if (!slave)
		return NULL;
	slave->thread = pthread_self();
	far__thread.server = slave->server;
	far__thread_known();
	return set_up(&site, slave, o);
}

struct far__slave *far__slave_unserved(const struct far__site *site)
{
	struct far_options none = { .far__size = sizeof none };

	return make_local(site, FAR_WAITER, &none);
}

/* What the slave process reads before its first call, and so does each that replaces it. */
static void give_orders(const struct far__slave *slave, const struct far_options *o)
{
	struct far__segment *segment = slave->segment;
	uint64_t name[2];

	memcpy(name, slave->name, sizeof name);
	shm_copy_in(segment->name, name, 2);
	shm_copy_in(segment->order, slave->order, FAR_ORDERS);
	shm_store64(&segment->setup, (uintptr_t)o->setup);
	shm_store64(&segment->setup_argument, (uintptr_t)o->setup_arg);
	shm_store(&far__member(slave->number)->respawn, (uint32_t)o->respawn);
}

struct far_slave *far__slave_process(const struct far_options *o)
{
	struct far__site site = site_of("far_slave_process", o);
	int err;

	if (far__ready(site.function) || !check(&site, o))
		return NULL;
	const char *obstacle = far__processes_ready();

	if (obstacle) {
		far__fail(FAR_EINIT, ENOTSUP, site.function, &site, "%s", obstacle);
		return NULL;
	}
	unsigned number = far__zygote_take(&err);

	if (!number) {
		if (err == -EOWNERDEAD)
			far__fail(FAR_EINIT, EOWNERDEAD, site.function, &site,
				  "the zygote, from which slave processes are started, has died");
		else
			no_slave(&site, err, "no process can be started");
		return NULL;
	}
	struct far__slave *slave = open_slave(&site, number, FAR_PROCESS, NULL, o);

	if (!slave) {
		far__zygote_kill(number);
		return NULL;
	}
	give_orders(slave, o);
	slave->is_new = true;
	return set_up(&site, slave, o);
}

void far__slaves_forget(void)
{
	for (unsigned n = 0; n <= highest; n++)
		slaves[n] = NULL;
	highest = 0;
}

/* Let nobody begin a call any more. */
static void shut(struct far__slave *slave)
{
	pthread_mutex_lock(&slave->lock);
	atomic_store(&slave->handle, 0);
	far__ports_shut(slave);
	pthread_mutex_unlock(&slave->lock);
}

/* The record in a slave process of a member that others made: opened when it is first wanted. */
static struct far__slave *open_once(const struct far__site *site, unsigned number, enum far__kind kind,
				    struct far__server *server)
{
	static pthread_mutex_t once = PTHREAD_MUTEX_INITIALIZER;
	struct far_options none = { .far__size = sizeof none };

	pthread_mutex_lock(&once);
	struct far__slave *slave = far__slave_by_number(number);

	/* A member that calls are made back to has ended, and another has its number. */
	if (slave && slave->kind == FAR_OWNER && slave->handle != far__member_handle(number)) {
		shut(slave);
		far__ports_idle(slave, FAR_FOREVER);
		far__ports_empty(slave);
	}
	/* There is a closed one if a slave of this process had the number before. */
	if (!slave || !slave->handle)
		slave = open_slave(site, number, kind, server, &none);
	pthread_mutex_unlock(&once);
	return slave;
}

/* This slave process as it sees itself: when a call to it is first made in it, for most start without. */
static struct far__slave *open_myself(void)
{
	struct far__site site = { .function = "far_init" };

	return open_once(&site, far__my_server->number, FAR_MYSELF, far__my_server);
}

struct far__slave *far__slave_owner(uintptr_t handle, const struct far__site *site)
{
	unsigned number = far__handle_number(handle);

	return far__self ? open_once(site, number, FAR_OWNER, NULL) : far__slave_by_number(number);
}

/* --------------------------------------------------------------- using */

int far_step(struct far_slave *handle, int timeout_ms)
{
	struct far__slave *slave = far__slave_find((uintptr_t)handle, "far_step", NULL);

	if (!slave)
		return -EINVAL;
	if (slave->kind != FAR_HERE || slave->server != far__thread.server) {
		far__fail(FAR_EINVAL, EINVAL, "far_step", NULL, "slave \"%s\" was not made by far_slave_here() in this thread",
			  slave->name);
		return -EINVAL;
	}
	uint64_t deadline = far__deadline(timeout_ms);
	unsigned served;

	far__thread_known();
	/* A lane that opens, or a call that is refused, ends a wait too. */
	do
		served = far__server_wait(slave->server, deadline);
	while (!served && deadline && (deadline == FAR_FOREVER || far__now() < deadline));
	return (int)served;
}

pid_t far_slave_pid(struct far_slave *handle)
{
	struct far__slave *slave = far__slave_find((uintptr_t)handle, "far_slave_pid", NULL);

	if (!slave)
		return -EINVAL;
	return slave->kind == FAR_PROCESS ? (pid_t)shm_load(&far__member(slave->number)->pid) : getpid();
}

struct far_slave *far_slave_self(void)
{
	return far__thread.server ? (struct far_slave *)far__thread.server->handle : NULL;
}

/* ------------------------------------------------------------- closing */

static bool is_gone(void *arg)
{
	return far__is_gone(*(const unsigned *)arg);
}

static void say_stop(struct far__slave *slave)
{
	shm_cas(&slave->segment->stop, 0, FAR_STOP);
	far__park_wake(&slave->segment->slave);
}

static int too_slow(struct far__slave *slave, const char *what)
{
	far__fail(FAR_ECLOSED, ETIMEDOUT, "far_slave_close", NULL, "slave \"%s\" was busy for more than %d ms and was %s",
		  slave->name, slave->close_ms, what);
	return -ETIMEDOUT;
}

/* It has not ended in time. Nor is the zygote waited for for ever: somebody may have stopped it. */
static int kill_slow(struct far__slave *slave)
{
	enum { PATIENCE_MS = 5000 };
	unsigned number = slave->number;

	shm_store(&far__member(number)->respawn, 0);
	far__zygote_kill(number);
	if (far__park_sleep(&slave->segment->control, is_gone, &number, far__deadline(PATIENCE_MS)))
		return too_slow(slave, "killed");
	slave->goes_on = true;
	far__member_dying(number, SIGKILL);
	return too_slow(slave, "left to the zygote, which is stopped, it seems: it kills the slave when it goes on");
}

/*
 * It is closed, and its number free for another, unless nobody knows whether the process has
 * ended: then its segment is left to it. A zygote that is but stopped gives the number away when
 * it has buried the slave; if it did so just now, without having seen that, it is for us.
 */
static void give_number(unsigned number)
{
	struct far__member *m = far__member(number);

	if (far__is_gone(number)) {
		if (far__zygote_alive())
			far__member_give(number);
		return;
	}
	shm_cas(&m->owner, far__self, FAR_DOOMED);
	if (shm_load(&m->state) == FAR_DEAD && shm_cas(&m->owner, FAR_DOOMED, far__self))
		far__member_give(number);
}

static int close_process(struct far__slave *slave, uint64_t deadline)
{
	unsigned number = slave->number;
	bool gone = far__is_gone(number);
	int result = 0;

	if (!gone) {
		say_stop(slave);
		far__thread_known();
		if (!far__park_sleep(&slave->segment->control, is_gone, &number, deadline))
			result = kill_slow(slave);
	}
	struct far__message reply;

	if (!result && (shm_load(&far__member(number)->status) || shm_load(&slave->segment->stop) != FAR_STOPPED)) {
		static const struct far__site site = { .function = "far_slave_close" };
		struct far_error error;

		far__reply_of_dead(slave, false, &reply);
		reply.info = far__reply_info(FAR_DIED, 0, 0);
		far__explain(&error, &site, far__member_handle(number), &reply);
		far__fail_with(&error);
		result = -EOWNERDEAD;
	}
	far__ports_idle(slave, FAR_FOREVER);
	far__ports_empty(slave);
	slave->goes_on = false;
	give_number(number);
	return result;
}

/* Nobody serves it any more, and its ports are shut. */
static void end_local(struct far__slave *slave)
{
	/* Who had entered a port may have asked when nobody looked any more: that call is refused now. */
	far__member_dead(slave->number, 0);
	far__ports_idle(slave, FAR_FOREVER);
	unmake_local(slave);
}

static int close_thread(struct far__slave *slave, uint64_t deadline)
{
	struct timespec at = { (time_t)(deadline / 1000000000), (long)(deadline % 1000000000) };

	say_stop(slave);
	int cancel = far__put_cancel_off();
	int err = deadline == FAR_FOREVER ? pthread_join(slave->thread, NULL)
					  : pthread_clockjoin_np(slave->thread, NULL, CLOCK_MONOTONIC, &at);

	pthread_setcancelstate(cancel, NULL);
	if (err == ETIMEDOUT) {
		/* It goes on using its segment and its server: those stay its own for ever. */
		pthread_detach(slave->thread);
		slave->goes_on = true;
		far__member_dead(slave->number, 0);
		far__ports_idle(slave, FAR_FOREVER);
		far__ports_empty(slave);
		return too_slow(slave, "left to itself");
	}
	bool died = far__is_dead(slave->number);	/* instead of coming to its end */

	end_local(slave);
	if (!died)
		return 0;
	far__fail(FAR_EDIED, EOWNERDEAD, "far_slave_close", NULL, "the thread of slave \"%s\" had ended before (pthread_exit or longjmp?)",
		  slave->name);
	return -EOWNERDEAD;
}

void far__slave_unserved_end(struct far__slave *slave)
{
	shut(slave);
	end_local(slave);
}

static int close_here(struct far__slave *slave)
{
	while (far__server_step(slave->server))
		;
	far__thread.server = NULL;
	end_local(slave);
	return 0;
}

int far_slave_close(struct far_slave *handle)
{
	uintptr_t open = (uintptr_t)handle;

	if (!handle)
		return 0;
	struct far__slave *slave = far__slave_find(open, "far_slave_close", NULL);

	if (!slave)
		return -EINVAL;
	bool mine = slave->server && slave->server == far__thread.server;

	if (slave->kind == FAR_HERE ? !mine || far__thread.running : mine || slave->kind == FAR_MYSELF) {
		far__fail(FAR_EINVAL, EDEADLK, "far_slave_close", NULL,
			  slave->kind == FAR_HERE ? "slave \"%s\" can be closed only by the thread that made it, outside of its calls"
						  : "slave \"%s\" cannot close itself", slave->name);
		return -EINVAL;
	}
	if (far__port_is_in(slave)) {
		far__fail(FAR_EINVAL, EDEADLK, "far_slave_close", NULL,
			  "slave \"%s\" cannot be closed in a callback of a call to it, before that has returned", slave->name);
		return -EINVAL;
	}
	/* Locked, for a thread that is taking a port opens it when it has seen the handle. */
	pthread_mutex_lock(&slave->lock);
	bool closing = atomic_compare_exchange_strong(&slave->handle, &open, 0);

	if (closing)
		far__ports_shut(slave);
	pthread_mutex_unlock(&slave->lock);
	if (!closing) {
		far__fail(FAR_ECLOSED, EBADF, "far_slave_close", NULL, "another thread is closing the slave");
		return -EINVAL;
	}
	while (atomic_load(&slave->restarters))
		far__pause();
	if (far__proxies.slave_closed)
		far__proxies.slave_closed((uintptr_t)handle);
	uint64_t deadline = slave->close_ms ? far__deadline(slave->close_ms) : FAR_FOREVER;

	if (slave->kind == FAR_PROCESS)
		return close_process(slave, deadline);
	return slave->kind == FAR_THREAD ? close_thread(slave, deadline) : close_here(slave);
}

struct restarted {
	const struct far__member *member;
	uint32_t before;
};

static bool has_restarted(void *arg)
{
	const struct restarted *r = arg;

	return shm_load(&r->member->restarts) != r->before || !far__zygote_alive();
}

/* What a slave can do when its .setup has returned. */
static void be_called(void)
{
}

static int restart(struct far__slave *slave, struct far_slave *handle)
{
	struct far__member *m = far__member(slave->number);
	struct restarted r = { m, shm_load(&m->restarts) };

	shm_cas(&m->verdict, FAR_BY_OTHERS, FAR_BY_RESTART);
	far__zygote_restart(slave->number);
	far__thread_known();
	far__park_sleep(&slave->segment->control, has_restarted, &r, FAR_FOREVER);
	if (far__is_dead(slave->number)) {
		far__fail(FAR_EDIED, EOWNERDEAD, "far_slave_restart", NULL, "slave process \"%s\" could not be started again",
			  slave->name);
		return -EOWNERDEAD;
	}
	if (!shm_load64(&slave->segment->setup))
		return 0;
	far_invoke_within(-1, handle, be_called);
	if (!far__failed)
		return 0;
	far__blame("far_slave_restart", NULL, "");
	return -EOWNERDEAD;
}

int far_slave_restart(struct far_slave *handle)
{
	struct far__slave *slave = far__slave_find((uintptr_t)handle, "far_slave_restart", NULL);

	if (!slave)
		return -EINVAL;
	if (slave->kind != FAR_PROCESS) {
		far__fail(FAR_EINVAL, EINVAL, "far_slave_restart", NULL,
			  "slave \"%s\" is a thread, which cannot be killed and started again", slave->name);
		return -EINVAL;
	}
	/* Count, then look whether it is still open; who closes it says so, and then looks at the count. */
	atomic_fetch_add(&slave->restarters, 1);
	int result = atomic_load(&slave->handle) == (uintptr_t)handle ? restart(slave, handle) : -EINVAL;

	atomic_fetch_sub(&slave->restarters, 1);
	if (result == -EINVAL)
		far__fail(FAR_ECLOSED, EBADF, "far_slave_restart", NULL, "another thread is closing the slave");
	return result;
}

void far__slaves_gone(void)
{
	for (unsigned n = 1; n < FAR_SLAVES_MAX; n++) {
		const struct far__member *m = far__member(n);
		uint32_t state = shm_load(&m->state);

		/*
		 * By what the family knows of them: those that are being closed have no handle
		 * any more, and one that was just taken has no record yet. Of one that is dead
		 * already the zygote may have died before it had told all who wait.
		 */
		if ((state == FAR_ALIVE || state == FAR_CRASHED || state == FAR_DEAD) && shm_load(&m->owner) == far__self && shm_load(&m->pid)) {
			far__member_dead(n, state == FAR_DEAD ? shm_load(&m->status) : SIGKILL);
			/* One that has other rights than it had is killed with the zygote no more: it ends itself. */
			far__park_wake(&((struct far__segment *)far__space_segment(n))->slave);
		}
	}
}
