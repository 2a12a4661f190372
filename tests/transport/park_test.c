/*
 * Sleeping and waking, in the way that FARCALL_WAIT tells: no wake-up is lost,
 * no sleep is too short, and what is refused has a substitute.
 */
#include "park.h"

#include <dlfcn.h>
#include <errno.h>
#include <liburing.h>
#include <linux/audit.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bell.h"
#include "child.h"
#include "refuse.h"
#include "spin.h"

TestSuite(park, .timeout = 60);

#define MS	1000000ull
#define SECOND	1000000000ull
#define FOREVER	UINT64_MAX

/* ------------------------------------------------------------------ helpers */

/* Shared with forked children. */
struct shared {
	struct far__park park[16];
	uint32_t word[16];
	uint32_t looked;	/* how often a sleeper found nothing */
	uint32_t life;
	uint32_t calls;
};

static struct shared *s;

static void share(void)
{
	s = mmap(NULL, sizeof *s, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	cr_assert_neq(s, MAP_FAILED);
}

static const char *const name[] = { "uring", "futex", "poll" };

static void begin(void)
{
	const char *expected = getenv("FARCALL_EXPECT_WAIT");

	share();
	far__park_init();
	if (expected)
		cr_assert_str_eq(name[far__park_backend()], expected);
}

/* Has a word a value? If not, say that somebody looked. */
struct wanted {
	uint32_t *word, value;
};

static bool has_value(void *arg)
{
	const struct wanted *w = arg;

	if (shm_load(w->word) == w->value)
		return true;
	shm_add(&s->looked, 1);
	return false;
}

static bool sleep_until(unsigned park, uint32_t *word, uint32_t value, uint64_t deadline)
{
	struct wanted w = { word, value };

	return far__park_sleep(&s->park[park], has_value, &w, deadline);
}

static void publish(unsigned park, uint32_t *word, uint32_t value)
{
	shm_store(word, value);
	far__park_wake(&s->park[park]);
}

/* Who has looked in vain will sleep, unless it is woken. */
static void wait_for_looks(uint32_t n)
{
	while (shm_load(&s->looked) < n)
		sched_yield();
}

static bool never(void *unused)
{
	(void)unused;
	return false;
}

static bool always(void *unused)
{
	(void)unused;
	return true;
}

/* ----------------------------------------------------------- one by another */

struct sleeper {
	pthread_t thread;
	unsigned park;
	uint64_t deadline;
	bool woken;
	unsigned rounds;
};

static void *sleep_in_thread(void *arg)
{
	struct sleeper *me = arg;

	me->woken = sleep_until(me->park, &s->word[0], 1, me->deadline);
	far__park_thread_end();
	return NULL;
}

Test(park, sleeps_as_it_is_told)
{
	char *text = NULL, expected[20];
	size_t size;

	begin();
	FILE *f = open_memstream(&text, &size);

	far__park_status(f);
	fclose(f);
	snprintf(expected, sizeof expected, "waiting: %s", name[far__park_backend()]);
	cr_assert_eq(strncmp(text, expected, strlen(expected)), 0, "%s", text);
	free(text);
}

Test(park, does_not_sleep_when_it_is_ready)
{
	begin();
	cr_assert(far__park_sleep(&s->park[0], always, NULL, FOREVER));
	cr_assert(far__park_sleep(&s->park[0], always, NULL, 0));
}

Test(park, wakes_a_thread)
{
	begin();
	for (unsigned i = 0; i < 50; i++) {
		struct sleeper a = { .deadline = FOREVER };

		s->word[0] = s->looked = 0;
		cr_assert_eq(pthread_create(&a.thread, NULL, sleep_in_thread, &a), 0);
		wait_for_looks(1);
		publish(0, &s->word[0], 1);
		pthread_join(a.thread, NULL);
		cr_assert(a.woken);
	}
}

Test(park, wakes_a_process)
{
	begin();
	for (unsigned i = 0; i < 20; i++) {
		int status;

		s->word[0] = s->looked = 0;
		pid_t child = mortal_fork();

		cr_assert_geq(child, 0);
		if (child == 0) {
			far__park_forked();
			_exit(!sleep_until(0, &s->word[0], 1, FOREVER));
		}
		wait_for_looks(1);
		publish(0, &s->word[0], 1);
		cr_assert_eq(waitpid(child, &status, 0), child);
		cr_assert_eq(status, 0);
	}
}

Test(park, wakes_all_threads_that_sleep_in_it)
{
	enum { THREADS = 8 };
	struct sleeper a[THREADS];

	begin();
	for (unsigned round = 0; round < 100; round++) {
		s->word[0] = s->looked = 0;
		for (unsigned i = 0; i < THREADS; i++) {
			a[i] = (struct sleeper){ .deadline = FOREVER };
			cr_assert_eq(pthread_create(&a[i].thread, NULL, sleep_in_thread, &a[i]), 0);
		}
		/* The last may be the first to be woken: so not always do all sleep. */
		wait_for_looks(1 + round % THREADS);
		publish(0, &s->word[0], 1);
		for (unsigned i = 0; i < THREADS; i++) {
			pthread_join(a[i].thread, NULL);
			cr_assert(a[i].woken);
		}
	}
}

Test(park, wakes_all_processes_that_sleep_in_it)
{
	enum { PROCESSES = 3 };

	begin();
	if (far__park_backend() == FAR_WAIT_POLL)
		return;		/* a park has room for one bell: see park.h */
	for (unsigned i = 0; i < PROCESSES; i++) {
		if (mortal_fork() == 0) {
			far__park_forked();
			_exit(!sleep_until(0, &s->word[0], 1, FOREVER));
		}
	}
	wait_for_looks(PROCESSES);
	publish(0, &s->word[0], 1);
	for (unsigned i = 0; i < PROCESSES; i++) {
		int status;

		cr_assert_gt(wait(&status), 0);
		cr_assert_eq(status, 0);
	}
}

Test(park, a_dead_sleeper_costs_nothing_but_a_vain_wake_up)
{
	begin();
	pid_t child = mortal_fork();

	cr_assert_geq(child, 0);
	if (child == 0) {
		far__park_forked();
		_exit(sleep_until(0, &s->word[0], 1, FOREVER));
	}
	wait_for_looks(1);
	kill(child, SIGKILL);
	cr_assert_eq(waitpid(child, NULL, 0), child);
	publish(0, &s->word[0], 1);
	publish(0, &s->word[0], 0);
	struct sleeper a = { .deadline = FOREVER };

	s->looked = 0;
	cr_assert_eq(pthread_create(&a.thread, NULL, sleep_in_thread, &a), 0);
	wait_for_looks(1);
	publish(0, &s->word[0], 1);
	pthread_join(a.thread, NULL);
	cr_assert(a.woken);
}

/* ---------------------------------------------------------------- deadlines */

Test(park, a_waker_that_dies_before_it_wakes_leaves_the_sleeper_to_who_reports_it)
{
	struct sleeper a = { .deadline = FOREVER };

	begin();
	cr_assert_eq(pthread_create(&a.thread, NULL, sleep_in_thread, &a), 0);
	wait_for_looks(1);
	usleep(20000);
	shm_store(&s->word[0], 1);
	/* So far came the waker: the park is disarmed, and nobody is woken. */
	uint32_t armed = shm_load(&s->park[0].armed);

	cr_assert(armed & FAR_ARMED);
	cr_assert(shm_cas(&s->park[0].armed, armed, (armed & ~(uint32_t)FAR_ARMED) + FAR_WAKE_UP));
	far__park_wake_for_dead(&s->park[0]);
	pthread_join(a.thread, NULL);
	cr_assert(a.woken);
}

Test(park, a_deadline_is_kept)
{
	begin();
	for (unsigned ms = 0; ms < 200; ms += 33) {
		uint64_t started = far__now(), deadline = started + ms * MS;

		cr_assert_not(far__park_sleep(&s->park[0], never, NULL, deadline));
		cr_assert_geq(far__now(), deadline, "%u ms are over too early", ms);
		cr_assert_lt(far__now() - started, 20 * SECOND, "%u ms took too long", ms);
	}
}

Test(park, a_deadline_in_the_past_does_not_sleep)
{
	begin();
	uint64_t started = far__now();

	cr_assert_not(far__park_sleep(&s->park[0], never, NULL, 0));
	cr_assert_not(far__park_sleep(&s->park[0], never, NULL, 1));
	cr_assert_not(far__park_sleep(&s->park[0], never, NULL, started));
	cr_assert_lt(far__now() - started, 5 * SECOND);
}

Test(park, threads_with_different_deadlines_keep_their_own)
{
	enum { THREADS = 6 };
	struct sleeper a[THREADS];
	uint64_t started, ended;

	begin();
	started = far__now();
	for (unsigned i = 0; i < THREADS; i++) {
		/* The longest first, which in a bell is the leader. */
		a[i] = (struct sleeper){ .park = i, .deadline = started + (THREADS - i) * 100 * MS };
		cr_assert_eq(pthread_create(&a[i].thread, NULL, sleep_in_thread, &a[i]), 0);
	}
	for (unsigned i = THREADS; i-- > 0;) {
		pthread_join(a[i].thread, NULL);
		ended = far__now();
		cr_assert_not(a[i].woken);
		cr_assert_geq(ended, a[i].deadline);
		cr_assert_lt(ended - a[i].deadline, 20 * SECOND);
	}
}

Test(park, woken_before_the_deadline)
{
	begin();
	struct sleeper a = { .deadline = far__now() + 50 * SECOND };

	cr_assert_eq(pthread_create(&a.thread, NULL, sleep_in_thread, &a), 0);
	wait_for_looks(1);
	publish(0, &s->word[0], 1);
	pthread_join(a.thread, NULL);
	cr_assert(a.woken);
	cr_assert_lt(far__now() + 20 * SECOND, a.deadline);
}

static void on_alarm(int unused)
{
	(void)unused;
}

Test(park, signals_neither_end_nor_lengthen_a_sleep)
{
	struct sigaction action = { .sa_handler = on_alarm };
	const struct itimerspec often = { { 0, 1000000 }, { 0, 1000000 } };
	timer_t timer;

	begin();
	sigaction(SIGALRM, &action, NULL);
	cr_assert_eq(timer_create(CLOCK_MONOTONIC, NULL, &timer), 0);
	cr_assert_eq(timer_settime(timer, 0, &often, NULL), 0);
	uint64_t deadline = far__now() + 300 * MS;

	cr_assert_not(far__park_sleep(&s->park[0], never, NULL, deadline));
	cr_assert_geq(far__now(), deadline);
	cr_assert_lt(far__now() - deadline, 20 * SECOND);
	timer_delete(timer);
}

/* ----------------------------------------------------------- no lost wake-up */

/* Side 0 or 1 of a game of ping-pong: it sleeps for each ball, the word. */
static void play(unsigned table, unsigned side, unsigned rounds)
{
	uint32_t *ball = &s->word[table];

	for (unsigned i = 0; i < rounds; i++) {
		sleep_until(2 * table + side, ball, 2 * i + side, FOREVER);
		publish(2 * table + 1 - side, ball, 2 * i + side + 1);
	}
}

struct player {
	pthread_t thread;
	unsigned table, side, rounds;
};

static void *player(void *arg)
{
	const struct player *p = arg;

	play(p->table, p->side, p->rounds);
	far__park_thread_end();
	return NULL;
}

enum { ROUNDS = 100000 };

Test(park, no_wake_up_between_threads_is_lost)
{
	begin();
	struct player a = { .side = 1, .rounds = ROUNDS };

	cr_assert_eq(pthread_create(&a.thread, NULL, player, &a), 0);
	play(0, 0, ROUNDS);
	pthread_join(a.thread, NULL);
	cr_assert_eq(s->word[0], 2 * ROUNDS);
	cr_assert_gt(s->looked, ROUNDS / 100, "hardly anybody slept");
}

static void play_with_a_process(unsigned rounds)
{
	int status;
	pid_t child = mortal_fork();

	cr_assert_geq(child, 0);
	if (child == 0) {
		far__park_forked();
		play(0, 1, rounds);
		_exit(0);
	}
	play(0, 0, rounds);
	cr_assert_eq(waitpid(child, &status, 0), child);
	cr_assert_eq(status, 0);
	cr_assert_eq(s->word[0], 2 * rounds);
}

Test(park, no_wake_up_between_processes_is_lost)
{
	begin();
	play_with_a_process(ROUNDS);
	cr_assert_gt(s->looked, ROUNDS / 100, "hardly anybody slept");
}

/* The threads of one process share its bell. */
static void play_at_many_tables(unsigned tables, unsigned rounds)
{
	struct player a[8];
	int status;
	pid_t child = mortal_fork();

	cr_assert_geq(child, 0);
	if (child == 0)
		far__park_forked();
	for (unsigned i = 0; i < tables; i++) {
		a[i] = (struct player){ .table = i, .side = child == 0, .rounds = rounds };
		if (pthread_create(&a[i].thread, NULL, player, &a[i]))
			abort();
	}
	for (unsigned i = 0; i < tables; i++)
		pthread_join(a[i].thread, NULL);
	if (child == 0)
		_exit(0);
	cr_assert_eq(waitpid(child, &status, 0), child);
	cr_assert_eq(status, 0);
}

Test(park, no_wake_up_of_one_among_many_threads_is_lost)
{
	begin();
	play_at_many_tables(8, 5000);
}

#ifdef FARCALL_INJECT
/* Hold one thread where it has found nothing and is about to sleep. */
static __thread bool to_be_held;
static uint32_t held, go_on;

static void hold(const char *point)
{
	if (!to_be_held || !point || strcmp(point, "park.sleep"))
		return;
	to_be_held = false;
	shm_store(&held, 1);
	while (!shm_load(&go_on))
		sched_yield();
}

static void *sleep_when_let(void *arg)
{
	to_be_held = true;
	return sleep_in_thread(arg);
}

static void start_held(struct sleeper *a)
{
	far__inject = hold;
	cr_assert_eq(pthread_create(&a->thread, NULL, sleep_when_let, a), 0);
	while (!shm_load(&held))
		sched_yield();
}

static void let_go_and_join(struct sleeper *a)
{
	shm_store(&go_on, 1);
	pthread_join(a->thread, NULL);
	cr_assert(a->woken);
}

Test(park, who_was_woken_too_early_does_not_sleep_because_another_came)
{
	begin();
	struct sleeper a = { .deadline = FOREVER };

	start_held(&a);
	publish(0, &s->word[0], 1);
	cr_assert(sleep_until(0, &s->word[0], 1, FOREVER));
	let_go_and_join(&a);
}

Test(park, who_was_woken_too_early_does_not_sleep_because_another_heard_it)
{
	begin();
	struct player leader = { .table = 1, .side = 0, .rounds = 1 };
	struct sleeper a = { .deadline = FOREVER };

	s->word[1] = 1;
	cr_assert_eq(pthread_create(&leader.thread, NULL, player, &leader), 0);
	wait_for_looks(1);
	start_held(&a);
	publish(0, &s->word[0], 1);
	/* In a bell the leader hears it in a moment; otherwise nobody does. */
	nanosleep(&(struct timespec){ .tv_nsec = 100 * MS }, NULL);
	let_go_and_join(&a);
	publish(2, &s->word[1], 0);
	pthread_join(leader.thread, NULL);
}
#endif

/* ------------------------------------------------------- what is watched */

static uint32_t gone_calls;

static void gone(void)
{
	__atomic_fetch_add(&gone_calls, 1, __ATOMIC_SEQ_CST);
	far__park_watch(-1, NULL, NULL);
	shm_store(&s->word[0], 1);
	far__park_wake(&s->park[0]);
	syscall(SYS_futex, &s->life, FUTEX_WAKE, 1000);
}

/* A child that lives until it is killed, and how its end can be noticed. */
static pid_t make_mortal(int *fd)
{
	int ends[2];

	cr_assert_eq(pipe(ends), 0);
	pid_t child = mortal_fork();

	cr_assert_geq(child, 0);
	if (child == 0) {
		static struct robust_list node;
		static struct robust_list_head head;

		close(ends[0]);
		node.next = &head.list;
		head.list.next = &node;
		head.futex_offset = (char *)&s->life - (char *)&node;
		syscall(SYS_set_robust_list, &head, sizeof head);
		shm_store(&s->life, (uint32_t)getpid() | FUTEX_WAITERS);
		for (;;)
			pause();
	}
	close(ends[1]);
	while (!shm_load(&s->life))
		sched_yield();
	*fd = ends[0];
	return child;
}

Test(park, a_death_that_is_watched_ends_the_sleep)
{
	int fd;

	begin();
	for (unsigned i = 0; i < 20; i++) {
		struct sleeper a = { .deadline = FOREVER };

		s->life = s->word[0] = s->looked = gone_calls = 0;
		pid_t child = make_mortal(&fd);

		far__park_watch(fd, &s->life, gone);
		cr_assert_eq(pthread_create(&a.thread, NULL, sleep_in_thread, &a), 0);
		wait_for_looks(1);
		cr_assert_eq(gone_calls, 0);
		kill(child, SIGKILL);
		pthread_join(a.thread, NULL);
		cr_assert(a.woken);
		cr_assert_geq(gone_calls, 1);
		waitpid(child, NULL, 0);
		close(fd);
	}
}

Test(park, a_death_before_the_sleep_is_noticed)
{
	int fd;

	begin();
	pid_t child = make_mortal(&fd);

	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	far__park_watch(fd, &s->life, gone);
	cr_assert(sleep_until(0, &s->word[0], 1, FOREVER));
	cr_assert_geq(gone_calls, 1);
}

/* gone() stops the watching while others are about to call it. */
Test(park, a_death_ends_the_sleep_of_all_threads)
{
	enum { THREADS = 8 };
	struct sleeper a[THREADS];
	int fd;

	begin();
	for (unsigned round = 0; round < 50; round++) {
		s->life = s->word[0] = s->looked = gone_calls = 0;
		pid_t child = make_mortal(&fd);

		far__park_watch(fd, &s->life, gone);
		for (unsigned i = 0; i < THREADS; i++) {
			a[i] = (struct sleeper){ .park = i, .deadline = FOREVER };
			cr_assert_eq(pthread_create(&a[i].thread, NULL, sleep_in_thread, &a[i]), 0);
		}
		wait_for_looks(THREADS);
		kill(child, SIGKILL);
		while (!__atomic_load_n(&gone_calls, __ATOMIC_SEQ_CST))
			sched_yield();
		for (unsigned i = 0; i < THREADS; i++)
			publish(i, &s->word[0], 1);
		for (unsigned i = 0; i < THREADS; i++) {
			pthread_join(a[i].thread, NULL);
			cr_assert(a[i].woken);
		}
		waitpid(child, NULL, 0);
		close(fd);
	}
}

Test(park, wake_ups_come_while_a_death_is_watched)
{
	int fd;

	begin();
	pid_t child = make_mortal(&fd);

	far__park_watch(fd, &s->life, gone);
	play_with_a_process(5000);
	cr_assert_eq(gone_calls, 0);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
}

/* -------------------------------------------------------------- descriptors */

Test(park, a_thread_leaves_no_descriptor)
{
	unsigned before = 0;

	begin();
	for (unsigned i = 0; i < 30; i++) {
		struct sleeper a = { .deadline = far__now() + (i % 2 ? MS : FOREVER / 2) };

		s->word[0] = s->looked = 0;
		cr_assert_eq(pthread_create(&a.thread, NULL, sleep_in_thread, &a), 0);
		wait_for_looks(1);
		publish(0, &s->word[0], 1);
		pthread_join(a.thread, NULL);
		if (i == 0)
			before = count_fds();	/* the process's bell, if it needs one, stays */
		cr_assert_eq(count_fds(), before);
	}
}

static int sleep_without_stdio(void)
{
	for (int i = 0; i <= STDERR_FILENO; i++)
		close(i);
	far__park_forked();
	if (sleep_until(0, &s->word[0], 1, far__now() + 10 * MS))
		return 1;
	far__bell_ring(far__bell());
	for (int i = 0; i <= STDERR_FILENO; i++)
		if (fcntl(i, F_GETFD) >= 0)
			return 2;
	for (int i = 3; i < 100; i++)
		if (fcntl(i, F_GETFD) == 0 && i > STDERR_FILENO + 1)
			return i;	/* not close-on-exec */
	return 0;
}

Test(park, leaves_closed_stdio_closed)
{
	begin();
	for (int i = 3; i < 100; i++)
		if (fcntl(i, F_GETFD) == 0)
			fcntl(i, F_SETFD, FD_CLOEXEC);	/* the test runner's */
	cr_assert_eq(in_child(sleep_without_stdio), 0);
}

/* Out of descriptors, everybody still sleeps and is woken. */
static int play_without_descriptors(void)
{
	int last = dup(0);

	far__park_forked();
	MUST(last > 0);
	while (dup(0) >= 0)
		;
	MUST(errno == EMFILE);
	struct player a = { .side = 1, .rounds = 1000 };

	MUST(pthread_create(&a.thread, NULL, player, &a) == 0);
	play(0, 0, 1000);
	pthread_join(a.thread, NULL);
	return 0;
}

Test(park, needs_no_descriptor)
{
	begin();
	cr_assert_eq(in_child(play_without_descriptors), 0);
}

/* ------------------------------------------------------------ what is refused */

/* In a child that was refused something: is it still woken, and in time? */
static int still_works(void)
{
	struct player a = { .side = 1, .rounds = 2000 };
	uint64_t deadline = far__now() + 20 * MS;

	MUST(pthread_create(&a.thread, NULL, player, &a) == 0);
	play(0, 0, 2000);
	pthread_join(a.thread, NULL);
	MUST(s->word[0] == 4000);
	MUST(!far__park_sleep(&s->park[0], never, NULL, deadline));
	MUST(far__now() >= deadline);
	return 0;
}

static int refused_error;

static int without_uring(void)
{
	unsetenv("FARCALL_WAIT");
	MUST(REFUSE(refused_error, SYS_io_uring_setup, SYS_io_uring_enter) == 0);
	far__park_init();
	MUST(far__park_backend() == FAR_WAIT_FUTEX);
	return still_works();
}

Test(park, uses_futexes_where_io_uring_is_refused)
{
	static const int errors[] = { EPERM, ENOSYS, EOPNOTSUPP, EINVAL, ENOMEM, EMFILE };

	share();
	for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
		s->word[0] = 0;
		refused_error = errors[i];
		cr_assert_eq(in_child(without_uring), 0);
	}
}

static int told_to_use_uring(void)
{
	setenv("FARCALL_WAIT", "uring", 1);
	MUST(REFUSE(EPERM, SYS_io_uring_setup) == 0);
	far__park_init();
	MUST(far__park_backend() == FAR_WAIT_POLL);
	return still_works();
}

Test(park, polls_where_io_uring_is_told_but_refused)
{
	share();
	cr_assert_eq(in_child(told_to_use_uring), 0);
}

static int without_waitv(void)
{
	unsetenv("FARCALL_WAIT");
	MUST(REFUSE(ENOSYS, SYS_io_uring_setup, SYS_futex_waitv) == 0);
	far__park_init();
	MUST(far__park_backend() == FAR_WAIT_POLL);
	return still_works();
}

static int told_to_use_futex(void)
{
	setenv("FARCALL_WAIT", "futex", 1);
	MUST(REFUSE(ENOSYS, SYS_futex_waitv) == 0);
	far__park_init();
	MUST(far__park_backend() == FAR_WAIT_POLL);
	return still_works();
}

Test(park, polls_where_futex_waitv_is_missing_too)
{
	share();
	cr_assert_eq(in_child(without_waitv), 0);
	s->word[0] = 0;
	cr_assert_eq(in_child(told_to_use_futex), 0);
}

static int told_nonsense(void)
{
	setenv("FARCALL_WAIT", "io_uring", 1);
	MUST(REFUSE(EPERM, SYS_io_uring_setup) == 0);
	far__park_init();
	MUST(far__park_backend() == FAR_WAIT_FUTEX);
	return still_works();
}

Test(park, chooses_by_itself_where_it_is_told_nonsense)
{
	share();
	cr_assert_eq(in_child(told_nonsense), 0);
}

static int without_membarrier(void)
{
	MUST(REFUSE(EPERM, SYS_membarrier) == 0);
	far__park_init();
	MUST(!far__sleeper_makes_barrier);
	return still_works();
}

Test(park, makes_fences_where_membarrier_is_refused)
{
	share();
	cr_assert_eq(in_child(without_membarrier), 0);
}

/* It takes long where other cores compute: who needs it here does so for ever. */
static int without_need_for_membarrier(void)
{
	far__park_init();
	MUST(REFUSE(ENOMEM, SYS_membarrier) == 0);
	for (int i = 0; i < 2; i++)
		MUST(!far__park_sleep(&s->park[0], never, NULL, far__now() + MS));
	return 0;
}

Test(park, interrupts_no_core_for_a_sleep_unless_wakers_were_many)
{
	share();
	cr_assert_eq(in_child(without_need_for_membarrier), 0);
}

/* As a program may do that confines itself after far_init(). */
static int refused_later(void)
{
	far__park_init();
	far__park_sleep(&s->park[0], never, NULL, far__now() + MS);
	MUST(REFUSE(EPERM, SYS_io_uring_setup, SYS_io_uring_enter) == 0);
	return still_works();
}

Test(park, goes_on_when_io_uring_is_refused_later)
{
	share();
	cr_assert_eq(in_child(refused_later), 0);
}

/* -------------------------------------------------------------- how to spin */

/* A wait for a slave that had to be woken: it took @ns, spun through or not. */
static void waited(struct far__spin *spin, bool spun, uint64_t ns)
{
	struct far__spinning w = { .begin = far__now() - ns, .last = far__now(), .limit = spun, .polite = true, .woken = true };

	far__spin_end(spin, &w, !spun);
}

Test(spin, one_very_long_wait_does_not_change_the_way_to_wait)
{
	struct far__spin spin = { 0 };
	struct far__spinning w;
	unsigned spun = 0;

	for (int i = 0; i < 100; i++) {
		waited(&spin, true, 20000);
		waited(&spin, false, 50000);
	}
	waited(&spin, true, 50 * MS);
	for (int i = 0; i < 20; i++) {
		far__spin_begin(&spin, &w, true);
		spun += w.limit != 0;
	}
	cr_assert_geq(spun, 19u);
}

/* ------------------------------------------ io_uring without the futex operation */

static bool old_kernel;

/* In front of liburing's: before Linux 6.7 the answer would be the same. */
struct io_uring_probe *io_uring_get_probe_ring(struct io_uring *ring)
{
	typedef struct io_uring_probe *function(struct io_uring *);
	function *real = (function *)(uintptr_t)dlsym(RTLD_NEXT, "io_uring_get_probe_ring");

	return old_kernel ? NULL : real(ring);
}

static void begin_old(void)
{
	old_kernel = true;
	begin();
}

static bool is_uring(void)
{
	return far__park_backend() == FAR_WAIT_URING;
}

Test(park, old_io_uring_is_not_the_first_choice)
{
	old_kernel = true;
	unsetenv("FARCALL_WAIT");
	far__park_init();
	cr_assert_not(is_uring());
}

Test(park, old_io_uring_loses_no_wake_up)
{
	begin_old();
	if (is_uring())
		play_with_a_process(10000);
}

Test(park, old_io_uring_loses_no_wake_up_of_one_among_many_threads)
{
	begin_old();
	if (is_uring())
		play_at_many_tables(8, 2000);
}

Test(park, old_io_uring_keeps_deadlines_and_leaves_no_descriptor)
{
	begin_old();
	if (!is_uring())
		return;
	unsigned before = 0;

	for (unsigned i = 0; i < 10; i++) {
		struct sleeper a = { .deadline = far__now() + 20 * MS };

		cr_assert_eq(pthread_create(&a.thread, NULL, sleep_in_thread, &a), 0);
		pthread_join(a.thread, NULL);
		cr_assert_not(a.woken);
		cr_assert_geq(far__now(), a.deadline);
		if (i == 0)
			before = count_fds();
		cr_assert_eq(count_fds(), before);
	}
}

Test(park, old_io_uring_watches)
{
	int fd;

	begin_old();
	if (!is_uring())
		return;
	struct sleeper a = { .deadline = FOREVER };
	pid_t child = make_mortal(&fd);

	far__park_watch(fd, &s->life, gone);
	cr_assert_eq(pthread_create(&a.thread, NULL, sleep_in_thread, &a), 0);
	wait_for_looks(1);
	kill(child, SIGKILL);
	pthread_join(a.thread, NULL);
	cr_assert(a.woken);
	cr_assert_geq(gone_calls, 1);
	waitpid(child, NULL, 0);
}
