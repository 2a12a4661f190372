/*
 * What the files of core/ share: the records of slaves, ports and threads, which
 * are private to a process, and the family block, which is shared.
 *
 *	init.c     far_init() and the parts it starts
 *	image.c    what the program and its libraries look like in memory: the pointer rules
 *	call.c     from the captured call to the message, and from the reply to the result
 *	serve.c    the slave's side: take a message, make the call, write the reply
 *	member.c   numbers, segments and deaths, as the whole family sees them
 *	slave.c    slaves: making, finding and closing them
 *	port.c     a thread's way to a slave
 *	task.c     calls whose results come later
 *	zygote.c   the process that slave processes are forked from
 *	oom.c      whether the kernel killed one for want of memory, see oom.h
 *	will.c     how it hears early of their deaths, see will.h
 *	crash.c    in a slave process that crashes: what it writes down, see crash.h
 *	report.c   in its owner: that, copied and put into words
 *	trace.c    far_error_print(): the stack of a slave that crashed
 *	memory.c   far_alloc() and its sisters
 *	error.c    this thread's last failure
 *	status.c   far_status()
 */
#ifndef FAR_CORE_INTERNAL_H
#define FAR_CORE_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "call_x86_64.h"
#include "farcall.h"
#include "lane.h"
#include "message.h"
#include "space.h"
#include "spin.h"

#define FAR_UNLIKELY(x) __builtin_expect(!!(x), 0)
#define FAR_LIKELY(x) __builtin_expect(!!(x), 1)
#define FAR_FOREVER UINT64_MAX

/* ------------------------------------------------------- shared: family */

enum { FAR_STOCK_MAX = 64 };

enum far__state {
	FAR_FREE,		/* nobody's; a process or the zygote takes it by compare-and-swap */
	FAR_BEING_MADE,		/* above these bits: by which process, for .owner may be an earlier one's still */
	FAR_ALIVE,
	FAR_CRASHED,		/* as good as dead: its process is about to die, and its segment tells why */
	FAR_DEAD,		/* .status tells how it ended; nothing more will be answered */
};

enum far__verdict {
	FAR_BY_OTHERS,
	FAR_BY_DEADLINE,
	FAR_BY_CANCEL,
	FAR_BY_RESTART,
	FAR_BYSTANDER = 8,	/* in a reply, with one of these: the call in question had not begun */
};

#define FAR_NOBODY	UINT32_MAX
#define FAR_DOOMED	(FAR_NOBODY - 1)	/* its owner is dead, or has closed it, and it will be */

/* A slave as the whole family sees it. */
struct far__member {
	uint32_t state;		/* enum far__state */
	uint32_t owner;		/* the number of the process that made it, FAR_NOBODY or FAR_DOOMED */
	uint32_t generation;	/* how many slaves have had this number */
	uint32_t pid;		/* of a slave process; 0 for a thread */
	uint32_t status;	/* how it ended, as wait() gives it */
	uint32_t window;	/* where its present incarnation's private memory lies */
	uint32_t incarnation;	/* how often it has been started */
	uint32_t restarts;	/* how many that were asked for have been tried */
	uint32_t respawn;	/* how many incarnations may end without a call; 0: none is replaced */
	uint32_t verdict;	/* why it was killed, if by us: enum far__verdict */
	uint32_t waiting;	/* threads of it that wait for a slave from the stock ... */
	struct far__park arrivals;	/* ... sleep here: a park of their own, for a bell is a process's */
};

/*
 * Segment 0: what every process of the family needs to know of the others. All
 * of its pages are committed before the zygote starts.
 */
struct far__family {
	uint32_t life;			/* the zygote's thread id; the kernel marks it when it dies */
	uint32_t spares;		/* how many slave processes to keep in stock */
	uint32_t stock[FAR_STOCK_MAX];	/* those that nobody owns: a number each, or 0 */
	uint32_t refusals;		/* counts the slaves that could not be made ... */
	uint32_t refusal;		/* ... and why the last could not, an errno */
	uint32_t last;			/* the number last taken */
	uint32_t made, ended, killed;	/* slave processes, since the start */
	uint32_t first_answers;		/* of slaves; counted when the stock is low, and the zygote is woken ... */
	uint32_t hears_answers;		/* ... if it can be, by a futex; else their owners ring */
	uint64_t watch;			/* when the zygote shall look at deadlines again, or 0 */
	uint64_t trim;			/* and when at the far heap, or 0 */
	uint32_t kill[FAR_SLAVES_MAX / 32];	/* slaves that the zygote is asked to kill, a bit each */
	uint32_t restart[FAR_SLAVES_MAX / 32];	/* and to start again */
	struct far__member member[FAR_SLAVES_MAX];
};

static inline struct far__family *far__family(void)
{
	return far__space_segment(0);
}

static inline struct far__member *far__member(unsigned number)
{
	return &far__family()->member[number];
}

/* Nothing more will be answered. */
static inline bool far__is_dead(unsigned number)
{
	return shm_load(&far__member(number)->state) != FAR_ALIVE;
}

/* Its process is no more, either. */
static inline bool far__is_gone(unsigned number)
{
	uint32_t state = shm_load(&far__member(number)->state);

	return state != FAR_ALIVE && state != FAR_CRASHED;
}
enum { FAR_STATE_BITS = 8 };

/* Take a free number and the head of its segment, zeroed; 0 and -errno in *err if there is none. */
unsigned far__member_take(uint32_t owner, int *err);

/* Give it back, with the segment's pages. Nobody may use it any more. */
void far__member_give(unsigned number);

/* It is dead: say so to all who wait for it. */
void far__member_dead(unsigned number, uint32_t status);

/* By itself from a signal handler: it will be. Have those who wait for it awake by then. */
void far__member_crashes(unsigned number);

/* The zygote knows that it dies, and how. */
void far__member_dying(unsigned number, uint32_t status);

/* Said by itself from a signal handler: it will be dead at once. */
void far__member_crashed(unsigned number);

/* In a member's .status, beside what wait() gives: the process had executed another program. */
#define FAR_STATUS_EXECUTED	(1u << 16)

/* Or: the kernel killed it, for there was no memory. */
#define FAR_STATUS_NO_MEMORY	(1u << 17)

/* A slave's handle, in its present life. */
static inline uintptr_t far__member_handle(unsigned number)
{
	return (uintptr_t)shm_load(&far__member(number)->generation) * FAR_SLAVES_MAX + number;
}

static inline unsigned far__handle_number(uintptr_t handle)
{
	return handle % FAR_SLAVES_MAX;
}

/* How often the slave has been started, by its handle. */
static inline uint32_t far__incarnation(uintptr_t handle)
{
	return shm_load(&far__member(far__handle_number(handle))->incarnation);
}

/* What far_open() returned is no slave's handle, and may stand in its place in a call. */
#define FAR_LIBRARY	((uintptr_t)1 << 62)

static inline bool far__is_library(uintptr_t handle)
{
	return handle & FAR_LIBRARY;
}

/* Set by the first far_open(): find the call's slave, and its function there by its name. False and far_error(). */
extern bool (*far__library_find)(struct far__call *call);

/* As an argument of a call: only this incarnation of its slave can make it. */
#define FAR_OF_LIFE(argument, incarnation) (far__c.life = far__life(incarnation), (argument))

/*
 * What a call uses in the slave until its function has returned there, which may be long after
 * it is not waited for any more: then it is released, and .by_call tells its owner not to.
 */
struct far__kept {
	void (*release)(void *object);
	void *object;
	bool by_call;
};

/* As an argument of a call: it uses @kept_. */
#define FAR_KEEPING(p, kept_) (far__c.kept = (kept_), (p))

/* Only this incarnation of its slave can make the call: false if that is not so already of another. */
static inline bool far__set_life(struct far__call *call, uint32_t incarnation)
{
	uint32_t life = far__life(incarnation);

	if (call->life && call->life != life)
		return false;
	call->life = life;
	return true;
}

/* One more buffer of the call, to be filled in. NULL and far_error(), and the call has failed: an argument has several. */
struct far__buffer *far__buffer_add(struct far__call *call);

/* As far__look(); if it is a pointer to @constant bytes that are only read, and 0 is none, they are copied in. */
void far__look_at(struct far__call *call, void *value, int argument, int use, size_t constant);

struct far__callback;

/*
 * A call with a step behind it: what the message calls a function is, with its
 * highest bit set, one of these in the far heap. When the function has returned,
 * @size bytes are copied, in the slave, if they have changed: what a proxy shows of
 * its object. If it is not run, the slave closes the descriptors that were passed
 * for it; the list of those lies at the end of the body of the call's slot, where it is
 * until the slot is answered.
 */
struct far__mirror {
	const void *function;
	const void *from;
	void *to;			/* in the far heap */
	size_t size;
	const int *fd;			/* behind it */
	uint32_t nfds;			/* who makes it 0 closes them */
};

enum { FAR_FDS_MAX = 17, FAR_LIST_BYTES = 128 };	/* in such a list: one for each argument, and one more */
_Static_assert(sizeof(struct far__mirror) + FAR_FDS_MAX * sizeof(int) <= FAR_LIST_BYTES, "a list of descriptors");

/* Close what was passed for the call at @position, which nobody will run. Once. */
void far__close_passed(const struct far__ring *ring, uint32_t position);

#define FAR_MIRRORED	((uintptr_t)1 << 63)

static inline bool far__is_mirrored(const void *function)
{
	return (intptr_t)function < 0;
}

static inline const struct far__mirror *far__mirror_of(const void *function)
{
	return (const struct far__mirror *)((uintptr_t)function & ~FAR_MIRRORED);
}

/*
 * Of a small object the data comes in the reply to a small call (FAR_NOT_FEW), not in a
 * cache line of its own: from word FAR_DATA_AT on, and behind it where it belongs, with its
 * size in the upper 16 bits.
 */
enum { FAR_DATA_AT = 2, FAR_DATA_TO = FAR_SLOT_WORDS - 1, FAR_DATA_MAX = (FAR_DATA_TO - FAR_DATA_AT) * 8 };

/* Where proxies of objects lie in this process: no others' objects do. */
struct far__proxies {
	_Atomic uintptr_t begin;
	_Atomic uintptr_t size;		/* stored last, and loaded first: while it is 0 nothing is a proxy */
	/* What @p, in a proxy, points to in the call's slave. NULL and far_error() if there is nothing. */
	void *(*_Atomic find)(struct far__call *call, void *p, int argument);
	void (*_Atomic slave_closed)(uintptr_t handle);		/* NULL: there are no proxies */
	void (*_Atomic free_callbacks)(struct far__callback *first, bool in_use);	/* set with the first callback */
};
extern struct far__proxies far__proxies;

/* Where no object can lie: a number, like NULL or MAP_FAILED. */
static inline bool far__is_number(const void *p)
{
	return (uintptr_t)p < 65536 || (uintptr_t)p > (uintptr_t)-4096;
}

static inline bool far__is_proxy(const void *p)
{
	uintptr_t size = atomic_load_explicit(&far__proxies.size, memory_order_acquire);

	return (uintptr_t)p - atomic_load_explicit(&far__proxies.begin, memory_order_relaxed) < size;
}

/* --------------------------------------------------- this process's own */

/* FAR_WAITER: a thread that waits for its slave, which calls it back; FAR_OWNER: the same in that slave's process. */
enum far__kind { FAR_THREAD, FAR_PROCESS, FAR_HERE, FAR_MYSELF, FAR_WAITER, FAR_OWNER };

struct far__slave;

/* A thread's way to a slave: the producer's side of one lane. Never freed, only reused. */
struct far__port {
	struct far__lane lane;
	struct far__slave *slave;
	_Atomic uint32_t busy[4];	/* its thread is using it, by the slave's generation; see far__port_enter() */
	_Atomic uint8_t turn;		/* which of them, now */
	_Atomic uintptr_t handle;	/* the slave's, while calls may be made; 0 when closed */
	_Atomic uint64_t holder;	/* the thread it belongs to, by far__thread.id; if it is shared, that which is in it, or 0 */
	_Atomic uint32_t claimed;	/* its holder is at its tasks; see far__port_claim() */
	_Atomic uint32_t visited;	/* enum far__visited: so may be other threads */
	uint8_t number;
	_Atomic bool shared;		/* several threads use it, holding slave->shared */
	bool open;			/* the lane is made */
	bool call_bodies, queue_bodies;	/* these are committed */
	bool queued;			/* calls in the queue may be unanswered, or that in the call slot is abandoned */
	bool abandoned;			/* that in the call slot is not waited for any more */
	bool timed;			/* the slave has a .deadline_ms */
	bool woken;			/* the slave, for the last call */
	struct far__spin spin;
	struct far__holds *left;	/* what an abandoned call holds, or NULL */
	/* What is served while a call is waited for: see back.c. */
	_Atomic(struct far__server *) serves;	/* or NULL */
	uint32_t serves_lanes;		/* of its lanes, a bit each */
	struct far__awaited *waits;	/* for whose replies it waits meanwhile, the innermost first */
	const uint32_t *_Atomic wanted;	/* 0 there: the call will not be answered; or NULL */
	struct far__back *back;		/* or NULL */
	uintptr_t *task;		/* per slot of the queue: the task whose reply it may hold; 0: the slot is free */
};

static inline uintptr_t *far__port_task(const struct far__port *port, uint32_t position)
{
	return &port->task[position & port->lane.queue.mask];
}

enum far__visited { FAR_UNVISITED, FAR_VISITOR_COMES, FAR_VISITED };

/* A slave as its owner sees it. Never freed, only reused. */
struct far__slave {
	_Atomic uintptr_t handle;	/* 0 when there is none */
	enum far__kind kind;
	unsigned number;
	struct far__segment *segment;
	struct far__server *server;	/* of a slave in this process */
	pthread_t thread;
	uint32_t queue;
	bool fail_when_full;
	int close_ms, deadline_ms, grace_ms;
	bool kill_on_cancel;
	_Atomic bool is_new;		/* from the stock, which its owner has not had filled up since */
	uint64_t order[FAR_ORDERS];	/* what its process is told */
	char name[16];
	pthread_mutex_t lock;		/* for taking ports */
	pthread_mutex_t shared;		/* held to use the shared port */
	_Atomic bool goes_on;		/* it is closed, but its end could not be waited for */
	uint32_t ports_taken;
	_Atomic uint32_t visitors;	/* threads that wait for tasks by looking at others' ports */
	_Atomic uint32_t restarters;	/* that are in far_slave_restart(): it is not closed before they have done */
	struct far__port port[FAR_LANES];
};

enum {
	FAR_PORT_SHARED = FAR_LANES - 2,	/* when there are more threads than lanes */
	FAR_PORT_SELF = FAR_LANES - 1,		/* from a slave process to itself */
};

/* A thread that serves a slave's calls: the consumer's side of its lanes. */
struct far__server {
	unsigned number;
	uintptr_t handle;
	struct far__segment *segment;
	uint32_t life;			/* of a slave process: see message.h; else 0 */
	bool process;			/* it is the main thread of a slave process */
	bool has_orders;		/* it has taken them */
	bool is_new;			/* a slave process that has served no call: it is to have the stock filled up */
	bool ended;
	bool patient;			/* with one of the lanes: see far__lane_has_queued() */
	int visits;			/* how many of its slave's visitors it is itself */
	uint64_t ready;			/* the lanes and queues listened to, as in the segment */
	struct far__lane lane[FAR_LANES];
	struct far__spin spin;
	pthread_t thread;
	int *errnum;			/* its errno */
};

/* A call that is being run: for far_raise() and far_interrupted(). */
struct far__running {
	struct far__running *outer;
	struct far_frame *frame;
	const uint32_t *interrupt;	/* holds @token when the call was cancelled; or NULL */
	uint32_t token;
	uint64_t deadline;		/* or 0 */
	int code;			/* raised, or 0 */
	char text[sizeof ((struct far_error *)0)->message];
};

struct far__thread {
	uint64_t id;			/* of no other thread, ever; 0 until it takes a port */
	uintptr_t last_handle;
	struct far__port *last_port;
	struct far__port **port;	/* by slave number */
	struct far__server *server;	/* if this thread is a slave */
	struct far__running *running;
	bool known;			/* its end is being listened for */
};

extern __thread struct far__thread far__thread;

/* Whose number this process has: 0 the master, else the slave process it is. */
extern unsigned far__self;

/* The window that this slave process allocates in; 0 in the master. */
extern unsigned far__my_window;

/* In a slave process: how it serves its calls; NULL in the master. */
extern struct far__server *far__my_server;

/* This is a child made by fork(): everything is refused. */
extern bool far__is_forked;

/*
 * Functions of ours are no cancellation points, but some of the C library's are: have
 * pthread_cancel() wait, until pthread_setcancelstate() to what this returns.
 */
static inline int far__put_cancel_off(void)
{
	int before;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before);
	return before;
}

/* ---------------------------------------------------------------- init.c */

/* Shared memory and waiting, without slave processes: 0, or -errno with far_error(). */
int far__ready(const char *function);

/* This is the zygote: prepare what its children, the slaves, find. */
void far__now_the_zygote(void);

/* The number after @name in /proc/self/status, or 0 if that does not tell. */
unsigned long far__own_status(const char *name);

/* Why slave processes cannot be made, or NULL. Starts the zygote if it still can. */
const char *far__processes_ready(void);

/* --------------------------------------------------------------- image.c */

void far__image_learn(void);

/* The code that the program had in far_init(): at the same address in every slave. */
extern struct far__code { const char *start, *end; } far__common_code;

/* All of the program, code and data, and whether something is constant in that or in a library that it had then. */
extern struct far__code far__common_image;
bool far__image_has(const void *p);

/* Whether a function is in that, in a library's that the program had then, or in a slave's own memory. */
bool far__image_is_common(const void *function);

enum far__reach { FAR_REACHES, FAR_PRIVATE, FAR_STALE };

/* Whether a pointer means the same in @slave. */
enum far__reach far__image_reach(const struct far__slave *slave, const void *p);

/* In words: what kind of memory of this process @p points to. */
const char *far__image_describe(const void *p);

/* The address of call->function in its slave, where its module is loaded if need be, for the call's life; NULL and far_error(). */
void *far__image_function(struct far__call *call);

/* The length of the string at @p, or -1 if it does not end in readable memory. */
long far__image_strlen(const char *p);

/* ---------------------------------------------------------------- call.c */

/* How a reply begins, in a slot's info. */
enum far__outcome { FAR_RETURNED = 1, FAR_RAISED, FAR_DIED, FAR_NOT_RUN, FAR_LOST, FAR_CANCELLED, FAR_LATE, FAR_OVERDUE, FAR_OUTLIVED, FAR_LEFT };

static inline uint32_t far__reply_info(enum far__outcome outcome, unsigned x87, int errnum)
{
	return (uint32_t)outcome | x87 << 8 | (uint32_t)errnum << 16;
}

/* What a function returned when its deadline had passed is dropped: it may be half of a result, for it was told. */
static inline void far__reply_judge(struct far__message *reply, uint64_t deadline)
{
	if ((reply->info & 0xff) == FAR_RETURNED && far__now() >= deadline)
		reply->info = far__reply_info(FAR_OVERDUE, 0, 0);
}

/* A reply that says FAR_DIED: @pid is that of a slave process, or 0 of a thread. Word 2 is for the report of its crash. */
static inline void far__death_words(struct far__message *reply, uint32_t status, uint32_t verdict, uint32_t pid)
{
	*reply = (struct far__message){ .info = far__reply_info(FAR_DIED, 0, 0) };
	reply->word[0] = status | (uint64_t)verdict << 32;	/* enum far__verdict */
	reply->word[1] = pid;
}

/* In far__buffer.use: where its copy lies, if not in the body of the slot. */
enum { FAR_COPY_ON_HEAP = 0x80, FAR_COPY_PRIVATE = 0x40, FAR_PASSED_FD = 0x20 };	/* the last: .size is the descriptor there */
enum { FAR_CALLS_BACK = 0x10 };	/* .size is the address of its struct far__callback, and .there too once the call is made */

/* A call succeeded: this thread's failure, if it had one, is its last no more. */
void far__succeed_slowly(void);
extern __thread bool far__failed;

static inline void far__succeed(void)
{
	if (FAR_UNLIKELY(far__failed))
		far__succeed_slowly();
}

/* What a call holds in shared memory until its reply is collected. */
struct far__holds {
	void *arguments;		/* a far-heap block for those that no body can hold, or NULL */
	void *result;			/* where a result in memory is written */
	bool result_on_heap, result_on_malloc;
	uint8_t nbuffers;
	struct far__buffer *buffers;
	struct far__kept kept;		/* with .by_call */
};

/* The call is not waited for any more: what it was using is its own. */
static inline void far__holds_keep(struct far__holds *holds, struct far__kept *kept)
{
	if (!kept)
		return;
	kept->by_call = true;
	holds->kept = *kept;
}

void far__holds_release(struct far__holds *holds);

/* The call has this reply. A thread that is left to itself goes on using what the call holds, for nobody knows how long. */
static inline void far__holds_end(struct far__holds *holds, const struct far__message *reply)
{
	if (FAR_LIKELY((reply->info & 0xff) != FAR_LEFT))
		far__holds_release(holds);
}

/* A reply that tells nobody anything: free what it holds. */
void far__reply_release(const struct far__message *reply);

static inline bool far__holds_nothing(const struct far__holds *holds)
{
	return !holds->nbuffers && !holds->arguments && !holds->result && !holds->kept.by_call;
}

/* The call is not waited for any more: nor are its callbacks answered. */
void far__holds_end_callbacks(struct far__holds *holds);

/* Why there is no result. Takes what the reply holds. */
void far__explain(struct far_error *error, const struct far__site *site, uintptr_t handle, const struct far__message *reply);

/* No result in time, of a call that was running, or was not. */
void far__fail_late(const struct far__site *site, uintptr_t handle, bool ran);

/*
 * What process @pid left in its slave's segment when it crashed, copied once: its
 * number, or 0 if it left nothing. The segment is still there.
 */
uint64_t far__report_take(const struct far__slave *slave, uint32_t pid);

/* Why a slave process is dead: its wait status, who killed it (enum far__verdict), and its report's number or 0. */
void far__explain_death(struct far_error *error, const struct far__site *site, const struct far__slave *slave, int status,
			uint32_t verdict, uint64_t report);

/* What stands for the reply of a call that a dead slave did not answer, and had begun or not. */
void far__reply_of_dead(const struct far__slave *slave, bool begun, struct far__message *reply);

/*
 * The end of a call: put the result in @registers, copy buffers out, set errno,
 * clear far_error(); or set it. Returns as far__dispatch() does.
 */
int far__conclude(const struct far__site *site, uint8_t result, uintptr_t handle, const struct far__message *reply,
		  struct far__holds *holds, struct far_registers *registers);

/* The end of most calls, which hold nothing: registers come back and there is nothing else to tell. False: it is another. */
static inline bool far__conclude_quickly(uint8_t result, const struct far__message *reply, struct far_registers *registers)
{
	if (FAR_UNLIKELY(reply->info != far__reply_info(FAR_RETURNED, 0, 0) || result > FAR__REGISTERS))
		return false;
	if (result == FAR__REGISTERS)
		far__unpack_result(registers, reply->word, 0);
	else
		far__copy_words(registers->gp, reply->word, 2);
	far__succeed();
	return true;
}

/* No result: zero bits. As far__dispatch() returns. */
int far__no_result(const struct far__site *site, uint8_t result, struct far_registers *registers);

/* Copy a call's stack words from where they were captured. */
void far__copy_stack(uint64_t *to, const uint64_t *stack, size_t words);

/* See learn.c: what the argument registers shall hold when the call is made ... */
uint64_t far__lesson_begin(const struct far__call *call, struct far__lesson *lesson, const long double *negatives);

/* ... and it has been captured. */
void far__lesson_end(const struct far__call *call, const struct far_registers *registers, const uint64_t *stack);

/* Run a captured call right here. As far__dispatch() returns. */
int far__run_here(const struct far__call *call, struct far_registers *registers, const uint64_t *stack);

/* --------------------------------------------------------------- serve.c */

void far__server_begin(struct far__server *server, unsigned number, uintptr_t handle, bool process);

/* In a slave process that replaces a dead one: do what its owner wants done first. */
void far__server_set_up(struct far__server *server);

/* Serve until the slave is told to stop and has nothing queued. */
void far__server_loop(struct far__server *server);

/* Serve what is queued now: how many calls. */
unsigned far__server_step(struct far__server *server);

/* Only of some lanes, a bit each; and whether there is anything. */
unsigned far__server_step_lanes(struct far__server *server, uint32_t lanes);
bool far__server_has_work(struct far__server *server, uint32_t lanes);

/* The same; if nothing is queued, wait for it until the deadline. */
unsigned far__server_wait(struct far__server *server, uint64_t deadline);

/* The reply to a call that returned or, if @raised, was cut short. */
void far__reply_write(struct far__message *reply, const struct far_frame *frame, const struct far__running *raised,
		      int errnum);

/* Make a call in @frame; true when far_raise() cut it short, with *running telling. Its .interrupt is set. */
bool far__run(struct far_frame *frame, struct far__running *running);

/* --------------------------------------------------------------- slave.c */

/* The slave of a handle that this process may call, or NULL and far_error(). */
struct far__slave *far__slave_find(uintptr_t handle, const char *function, const struct far__site *site);
struct far__slave *far__slave_by_number(unsigned number);

/* A slave of this process that no thread is, and its end. NULL and far_error(). */
struct far__slave *far__slave_unserved(const struct far__site *site);
void far__slave_unserved_end(struct far__slave *slave);

/* In a slave process: whom it may call, for it was told that handle. NULL and far_error(). */
struct far__slave *far__slave_owner(uintptr_t handle, const struct far__site *site);

/* In the zygote: what slaves the master has is not for its slaves. Their memory is nobody's. */
void far__slaves_forget(void);

/* The zygote is gone: so are all slave processes, or soon will be. */
void far__slaves_gone(void);

/* ---------------------------------------------------------------- port.c */

/* This thread's port to a slave, made if need be; NULL and far_error(). */
struct far__port *far__port_find(uintptr_t handle, const struct far__site *site);

/*
 * A port may be closed by another thread at any time. Its user says "busy" and
 * then looks whether it is still open; the closer says "closed" and then looks
 * whether anybody is busy. The closer makes the barrier for both (membarrier);
 * where that is missing both make one.
 */
extern bool far__closer_makes_barrier;

static inline void far__barrier_with_closer(void)
{
	if (FAR_UNLIKELY(!far__closer_makes_barrier))
		shm_fence();
	else
		atomic_signal_fence(memory_order_seq_cst);
}

/*
 * A thread that had the port before, for an earlier slave of that number, may be looking just
 * now whether it still has: it counts elsewhere, for neither makes that a locked instruction.
 */
static inline unsigned far__port_turn(uintptr_t handle)
{
	return handle / FAR_SLAVES_MAX % (sizeof ((struct far__port *)0)->busy / sizeof ((struct far__port *)0)->busy[0]);
}

static inline unsigned far__port_now(const struct far__port *port)
{
	return atomic_load_explicit(&port->turn, memory_order_relaxed);
}

static inline void far__port_uncount(_Atomic uint32_t *busy)
{
	/* release: the closer may take the slots when it sees this. */
	atomic_store_explicit(busy, atomic_load_explicit(busy, memory_order_relaxed) - 1, memory_order_release);
}

/* Of a port that is not shared. False: it is closed, and not entered. */
static inline bool far__port_enter_own(struct far__port *port, uintptr_t handle)
{
	_Atomic uint32_t *busy = &port->busy[far__port_turn(handle)];

	/* Who has been away for long leaves the counts alone: one of them is another thread's by now. */
	if (FAR_UNLIKELY(atomic_load_explicit(&port->handle, memory_order_relaxed) != handle))
		return false;
	/* A count, because a slave that waits for itself may make calls meanwhile. */
	atomic_store_explicit(busy, atomic_load_explicit(busy, memory_order_relaxed) + 1, memory_order_relaxed);
	far__barrier_with_closer();	/* partner: far__ports_shut() */
	if (FAR_LIKELY(atomic_load_explicit(&port->handle, memory_order_acquire) == handle))
		return true;
	far__port_uncount(busy);
	return false;
}

static inline void far__port_leave_own(struct far__port *port)
{
	far__port_uncount(&port->busy[far__port_now(port)]);
}

/* Of one whose threads take turns. */
bool far__port_enter_shared(struct far__port *port, uintptr_t handle);
void far__port_leave_shared(struct far__port *port);

static inline bool far__port_enter(struct far__port *port, uintptr_t handle)
{
	return FAR_UNLIKELY(port->shared) ? far__port_enter_shared(port, handle) : far__port_enter_own(port, handle);
}

static inline void far__port_leave(struct far__port *port)
{
	if (FAR_UNLIKELY(port->shared))
		far__port_leave_shared(port);
	else
		far__port_leave_own(port);
}

/*
 * The tasks of a port are nearly always its own thread's alone, which then spares
 * itself the locked instructions that would wait for what it has just stored into
 * the slave's cache lines: a stream of calls is several times as fast without.
 * The holder, having entered, claims them and looks whether another thread has
 * visited; a visitor says so and then looks whether they are claimed, and makes
 * the barrier for both. From then on all use the tasks' own locks. False: they do.
 */
static inline bool far__port_claim(struct far__port *port)
{
	atomic_store_explicit(&port->claimed, 1, memory_order_relaxed);
	far__barrier_with_closer();	/* partner: far__port_visit() */
	if (!FAR_UNLIKELY(atomic_load_explicit(&port->visited, memory_order_relaxed)))
		return true;
	atomic_store_explicit(&port->claimed, 0, memory_order_release);
	return false;
}

static inline void far__port_unclaim(struct far__port *port)
{
	/* release: a visitor finds the tasks as they are now. */
	atomic_store_explicit(&port->claimed, 0, memory_order_release);
}

/* A thread that is not the holder comes for a task of this port. */
void far__port_visit(struct far__port *port);

static inline bool far__port_is_mine(const struct far__port *port)
{
	return !port->shared && atomic_load_explicit(&port->holder, memory_order_relaxed) == far__thread.id;
}

/* Make the queue of a port that has none (no .task): false and far_error() if there is no memory. */
bool far__port_need_queue(struct far__port *port, const struct far__site *site);

/* Only its thread sets it, or who closes the slave; others may look who wait for one of the thread's tasks. */
static inline struct far__server *far__port_serves(const struct far__port *port)
{
	return atomic_load_explicit(&port->serves, memory_order_relaxed);
}

static inline void far__port_set_serves(struct far__port *port, struct far__server *server)
{
	atomic_store_explicit(&port->serves, server, memory_order_relaxed);
}

/*
 * Wait until the call at @position is answered (true), or never will be, or the
 * deadline, or the caller's own call is cancelled; or @also(@arg), if not NULL.
 */
bool far__port_await_slowly(struct far__port *port, const struct far__ring *ring, uint32_t position, uint64_t deadline,
			    bool (*also)(void *), void *arg);

static inline bool far__port_await(struct far__port *port, const struct far__ring *ring, uint32_t position,
				   uint64_t deadline, bool (*also)(void *), void *arg)
{
	enum { GLANCES = 64 };	/* before a clock is asked how long to go on */

	if (far__ring_is_answered(ring, position))
		return true;
	if (ring == &port->lane.queue && !far__ring_is_alone(ring, position))
		far__lane_hurry(&port->lane);
	for (int i = 0; i < GLANCES && !far__port_serves(port); i++) {
		shm_blink();
		if (far__ring_is_answered(ring, position))
			return true;
	}
	return far__port_await_slowly(port, ring, position, deadline, also, arg);
}

/* The reply at @position, which is answered, to a message of few words or not. */
static inline void far__port_read(const struct far__port *port, const struct far__ring *ring, uint32_t position,
				  bool few, struct far__message *reply)
{
	far__ring_read(ring, position, reply, few);
	if (FAR_UNLIKELY((reply->info & 0xff) == FAR_DIED))
		reply->word[2] = far__report_take(port->slave, (uint32_t)reply->word[1]);
}

/* The same; or what stands for it when there is none, for the slave is dead. */
void far__port_unanswered(const struct far__port *port, const struct far__ring *ring, uint32_t position, struct far__message *reply);

static inline void far__port_reply(const struct far__port *port, const struct far__ring *ring, uint32_t position,
				   bool few, struct far__message *reply)
{
	if (FAR_LIKELY(far__ring_is_answered(ring, position)))
		far__port_read(port, ring, position, few, reply);
	else
		far__port_unanswered(port, ring, position, reply);
}

/*
 * The call at @position is wanted no longer: take it out of the ring (true), or have
 * its function told and, as the slave's options say or because it is @late, its
 * process killed if it is still at it.
 */
bool far__port_give_up(struct far__port *port, const struct far__ring *ring, uint32_t position, bool late);

/* The port is to the owner of callbacks, who does not wait any more for the call that they belong to. */
static inline bool far__port_is_unwanted(const struct far__port *port)
{
	const uint32_t *wanted = atomic_load_explicit(&port->wanted, memory_order_relaxed);

	return FAR_UNLIKELY(wanted != NULL) && !shm_load(wanted);
}

/* Whether this thread is in a callback of the call at @position, whose slot it so cannot have. */
bool far__port_waits(const struct far__port *port, const struct far__ring *ring, uint32_t position);

/* That call, in the call slot, is not waited for: keep what it holds. */
void far__port_abandon(struct far__port *port, const struct far__holds *holds);

/* Whether such a call still has the call slot. */
bool far__port_is_abandoned(struct far__port *port);

/* Whether this thread is in one of its calls to the slave: in a callback of it. */
bool far__port_is_in(const struct far__slave *slave);

/* Let nobody in any more, and wait until all have left: false if not before the deadline. */
void far__ports_shut(struct far__slave *slave);
bool far__ports_idle(struct far__slave *slave, uint64_t deadline);

/*
 * The slave is dead: hand replies over to the tasks that still want them, wait
 * until nobody looks at the lanes any more, and forget them.
 */
void far__ports_empty(struct far__slave *slave);

void far__ports_init(void);

/* This thread's end shall be noticed: it will sleep, or hold what must be given back. */
void far__thread_known(void);

uint64_t far__deadline(int timeout_ms);

/* And back: what is left of it. */
int far__left_ms(uint64_t deadline);

/* Sleep for 50 us, until what another thread does in less is looked at again. */
void far__pause(void);

/* far__park_sleep(), of a slave so that far_cancel() finds it. @ready must look for far_interrupted(). */
bool far__sleep_within_call(struct far__park *park, bool (*ready)(void *), void *arg, uint64_t deadline);

/*
 * The notice that a call is given: by when it shall have ended, and whether its deadline is
 * over. In one word, so that none is given another's time: its position, a bit, and the
 * lower 31 of the time in ms. Who gives one sees to it that it is of a call that runs, and
 * the one due first if there are two, for a slave that waits for itself.
 */
static inline uint64_t far__notice(uint32_t position, bool late, uint64_t when)
{
	return (uint64_t)position << 32 | (uint64_t)late << 31 | (when / 1000000 & 0x7fffffff);
}

static inline uint32_t far__notice_position(uint64_t notice)
{
	return (uint32_t)(notice >> 32);
}

static inline bool far__notice_is_late(uint64_t notice)
{
	return notice >> 31 & 1;
}

/* How many ms are left at the time @now. */
static inline int32_t far__notice_left(uint64_t notice, uint64_t now)
{
	return (int32_t)((uint32_t)(notice - now / 1000000) << 1) / 2;
}

/* ---------------------------------------------------------------- back.c */

/* What a slave knows of a callback: in the far heap, the first part of what far_callback() makes. */
struct far__upcall {
	uint32_t wanted;	/* calls that are waited for and may make it; 0: it would not be answered */
	uint32_t lane;		/* by which those come */
	unsigned slave;		/* the number of who makes it ... */
	uintptr_t owner;	/* ... and the handle of who answers it */
};

/* What the thread knows of it, by whose calls it is made. */
struct far__callback {
	struct far__callback *next;
	struct far__port *port;		/* NULL until it is tied to one */
	uint32_t generation;		/* of the member that it was made for last ... */
	uint32_t incarnation;		/* ... and that member's */
	struct far__upcall *upcall;
};

/* Have a member that this port's slave can call; false and far_error(). The port is entered. */
bool far__back_open(struct far__port *port, const struct far__site *site);

/* Whether that is the member which the slave's present incarnation knows. */
bool far__back_is_current(const struct far__port *port);

/* Which incarnation that is. */
uint32_t far__back_incarnation(const struct far__port *port);

/* The port's callbacks; one is made for the present member, the first time or again; whether it has been. */
struct far__callback *far__back_first(const struct far__port *port);
void far__back_tie(struct far__port *port, struct far__callback *callback);
bool far__back_has_made(const struct far__callback *callback);

/* The port's thread, or its slave, ends: nothing is answered any more. */
void far__back_give_up(struct far__port *port);

/* The slave is closed; if it is @in_use still, a thread left to itself, it may call what it has kept. */
void far__back_close(struct far__port *port, bool in_use);

/* A call that may make it begins to be waited for, and is not any more. */
void far__callback_begin(struct far__callback *callback);
void far__callback_end(struct far__callback *callback);

/* In the slave, around a call to its owner; false and far_error(). */
struct far__upcall_state {
	struct far__port *port;
	struct far__server *serves;
	uint32_t serves_lanes;
	const uint32_t *wanted;
};
bool far__upcall_begin(const struct far__upcall *upcall, const struct far__site *site, struct far__upcall_state *before);
void far__upcall_end(const struct far__upcall_state *before);

/* ---------------------------------------------------------------- task.c */

/*
 * Make the task of the call that the queue takes next, with a message of @few words or
 * not; 0 and far_error() if there is no memory. Quickly, of one that holds nothing and has
 * no deadline.
 */
uintptr_t far__task_make(const struct far__call *call, struct far__port *port, const struct far__holds *holds,
			 uint64_t deadline, bool few);
uintptr_t far__task_make_quickly(const struct far__call *call, struct far__port *port, bool few);

/* Wait for a task and take its result, as far__dispatch() returns. */
int far__task_collect(const struct far__call *call, struct far_registers *registers);

/* far_forget() a task that this thread has just scheduled, and be silent if it fails. */
void far__task_drop(uintptr_t task);

/* A slot is needed, or its slave is going: move the reply to the task, if it is still wanted. */
void far__task_move(uintptr_t task, struct far__port *port, uint32_t position);

/* Start a task in a thread of its own. */
uintptr_t far__task_thread(const struct far__call *call, const struct far_registers *registers, const uint64_t *stack);

/* -------------------------------------------------------------- zygote.c */

/* What /proc/PID/stat says behind the name: false if there is no such process. */
bool far__process_stat(pid_t pid, char *text, size_t size);

/* Of the flags in it: PF_EXITING and PF_FORKNOEXEC of the kernel's linux/sched.h. */
enum { FAR_EXITING = 0x4, FAR_NOT_EXECUTED = 0x40 };

/* Start it: 0 or -errno. Does not return in a slave process. */
int far__zygote_start(void);

bool far__zygote_alive(void);

/* The same, as the kernel has marked it, in any process of the family. */
bool far__zygote_has_died(void);

/* In a child made by fork(): it does not keep the family alive. */
void far__zygote_forked(void);

/* In a child that was just forked: it is a slave process. */
bool far__zygote_is_parent(void);

/* A slave process for this one to own, or 0 and -errno in *err. */
unsigned far__zygote_take(int *err);

/*
 * Have the stock filled up, by the owner of a slave that was taken from it: when a call is
 * scheduled, which may take long, or the first is answered and the zygote does not hear of
 * that. Not when it was taken: the zygote would have the core that its first call is to run
 * on. Who finds the stock empty before that rings itself.
 */
void far__zygote_refill(void);

/* In a slave process: it has answered its first call. */
void far__zygote_first_answer(void);

static inline bool far__zygote_hears_answers(void)
{
	return shm_load(&far__family()->hears_answers);
}

/* Have a slave process killed, if it still lives. */
void far__zygote_kill(unsigned number);

/* Have it killed, if it lives, and started again. */
void far__zygote_restart(unsigned number);

/* Have the zygote look at the deadlines in all segments at that time, in ns, or before. */
void far__zygote_watch(uint64_t deadline);

/* Have it trim the far heap when a second has passed in which nobody asked for that; false: there is no zygote. */
bool far__zygote_trim_soon(void);

/* --------------------------------------------------------------- error.c */

/* Set this thread's last failure. @site says where, or is NULL; @function what. */
void far__fail(int code, int errnum, const char *function, const struct far__site *site, const char *format, ...)
	__attribute__((format(printf, 5, 6)));

/* The same into @error, without setting it; and then set it. */
void far__error_fill(struct far_error *error, int code, int errnum, const char *function, const struct far__site *site,
		     const char *format, ...) __attribute__((format(printf, 6, 7)));
void far__fail_with(const struct far_error *error);

/* The last failure, of a call that was made on the way, is @function's own: @what, and its words. */
void far__blame(const char *function, const struct far__site *site, const char *what);

/* The error just set, to add to it. */
struct far_error *far__failure(void);

/* Print a failure that nobody will see otherwise. */
void far__complain(const char *message);

void far__error_thread_end(void);
void far__tasks_thread_end(void);
void far__error_forked(void);

#endif
