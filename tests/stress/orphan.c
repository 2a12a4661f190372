/*
 * Masters end in every way there is, at any instant, and somebody else looks at
 * what they leave.
 *
 *	orphan [ROUNDS [SEED]]
 *
 * In each round the observer starts a master, this program again with slaves in
 * all states, and kills it, or its zygote, or lets it end itself; at times it
 * freezes a process of the family before. Then nothing may be left: no process
 * that has the master's tag in its environment, no zombie, no shared memory, no
 * socket. Where the system permits it, the observer has a network and a /dev/shm of
 * its own, and so an exact count of the last two.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/vfs.h>
#include <sys/wait.h>

#include "stress.h"

#ifdef __SANITIZE_ADDRESS__
enum { ROUNDS = 40, GONE_MS = 20000 };
#else
enum { ROUNDS = 170, GONE_MS = 5000 };
#endif

enum { CONTROL = 3 };	/* the master's descriptor: end of file means that it shall finish */

/* How a round ends. Those up to EXECUTES the master does itself. */
enum end {
	CRASHES, EXITS, EXECUTES,
	KILLED, TERMINATED, STOPPED_AND_KILLED, FREEZE_SLAVE, FREEZE_ZYGOTE, KILL_ZYGOTE, FINISHES, ENDS
};

static const char *const end_name[ENDS] = {
	"crashes", "exits", "executes another program", "is killed", "is terminated", "is stopped and killed",
	"is killed, a slave is frozen", "is killed, the zygote is frozen", "loses its zygote", "finishes",
};

/* ------------------------------------------------------ what slaves run */

static uint64_t sum(const uint64_t *item, size_t n)
{
	uint64_t s = 0;

	for (size_t i = 0; i < n; i++)
		s += item[i];
	return s;
}

static void work(unsigned us)
{
	double end = now() + us / 1e6;

	while (now() < end)
		;
}

/* Nothing but SIGKILL ends it. */
static void work_for_ever(void)
{
	sigset_t all;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	for (volatile unsigned n = 0;; n++)
		;
}

/* Slaves of slaves. */
static long nest(int depth, unsigned us)
{
	static struct far_slave *inner;

	if (!depth) {
		usleep(us);
		return 0;
	}
	if (!inner)
		inner = far_slave_process(.name = "inner");
	if (!inner)
		far_raise(1, "no inner slave: %s", far_error()->message);
	long n = far_invoke(inner, nest, depth - 1, us);

	return far_error() ? -1000 : n + 1;
}

/* It keeps memory and gives some back. */
static int churn(unsigned n)
{
	uint64_t r = n + 1;
	void *block[8] = { 0 };

	for (unsigned i = 0; i < n; i++) {
		void **b = &block[below(&r, 8)];

		far_free(*b);
		*b = far_alloc(below(&r, below(&r, 4) ? 5000 : 300000));
	}
	return (int)n;
}

static void set_up(void *arg)
{
	(void)arg;
	usleep(200);
}

/* ------------------------------------------------------------ the master */

enum { CALLERS = 2, SLAVES = 5 };

static struct far_slave *slaves[SLAVES];
static atomic_bool stop;
static bool may_die;		/* somebody kills the zygote */
static bool executes;		/* meanwhile the kernel refuses new threads */

/* What may be said of a call that failed. */
static void check_error(void)
{
	const struct far_error *e = far_error();

	if (!e || (executes && e->code == FAR_ELIMIT))
		return;
	/* FAR_ECLOSED: of a slave that could not be started any more. */
	if (!may_die || (!is_death(e->code) && e->code != FAR_EINIT && e->code != FAR_ECLOSED))
		wrong("%d: %s", e->code, e->message);
}

static void check(long got, long expected)
{
	if (far_error())
		check_error();
	else if (got != expected)
		wrong("the result is %ld, not %ld", got, expected);
}

static void call_with_memory(struct far_slave *slave, uint64_t *r)
{
	size_t n = 1 + below(r, below(r, 4) ? 1000 : 100000);
	uint64_t *item = far_alloc(n * sizeof *item);

	if (!item)
		wrong("far_alloc: %s", far_error()->message);
	for (size_t i = 0; i < n; i++)
		item[i] = i;
	check((long)far_invoke(slave, sum, item, n), (long)(n * (n - 1) / 2));
	if (below(r, 4))
		far_free(item);
}

static void schedule_some(struct far_slave *slave, uint64_t *r)
{
	far_task(long) task[30];
	unsigned n = 1 + below(r, 30);

	for (unsigned i = 0; i < n; i++) {
		task[i] = far_schedule(slave, mix, (int)i, 1.5, 3);
		check_error();
	}
	for (unsigned i = 0; i < n; i++) {
		if (below(r, 10))
			check(far_wait(task[i]), mix((int)i, 1.5, 3));
		else
			far_forget(task[i]);
	}
}

static void call(struct far_slave *slave, uint64_t *r)
{
	static const uint64_t numbers[] = { 1, 2, 3 };
	int a = (int)below(r, 1000);

	switch (below(r, 8)) {
	case 0:
		schedule_some(slave, r);
		break;
	case 1:
		call_with_memory(slave, r);
		break;
	case 2:
		check((long)far_invoke(slave, sum, far_in(numbers, sizeof numbers), 3), 6);
		break;
	case 3:
		far_invoke(slave, work, 500);
		check_error();
		break;
	case 4:
		check(far_invoke(slave, churn, 20), 20);
		break;
	case 5:
		check(far_invoke(slave, close, far_fd(STDERR_FILENO)), 0);
		break;
	default:
		check(far_invoke(slave, mix, a, 0.5, a), mix(a, 0.5, a));
	}
}

static void *caller(void *arg)
{
	uint64_t r = random_start(10 + (unsigned)(uintptr_t)arg);

	while (!stop)
		call(slaves[below(&r, SLAVES)], &r);
	return NULL;
}

/* A slave starts, works and ends, all the time. */
static void *starter(void *arg)
{
	uint64_t r = random_start(20 + (unsigned)(uintptr_t)arg);

	while (!stop) {
		struct far_slave *s = below(&r, 3) ? far_slave_process(.name = "short", .setup = set_up) : far_slave_thread();

		check_error();
		if (!s)
			continue;
		for (unsigned n = below(&r, 4); n; n--) {
			far_forget(far_schedule(s, work, 300));
			check_error();
		}
		far_slave_close(s);
		check_error();
	}
	return NULL;
}

/* A child of the master's that goes on when the master has ended. */
static void leave_a_child(void)
{
	pid_t pid = fork();

	if (pid)
		return;
	prctl(PR_SET_NAME, "left-behind");
	signal(SIGTERM, SIG_DFL);
	for (;;)
		pause();
}

static _Noreturn void end_myself(enum end end)
{
	int *volatile nowhere = (int *)64;

	if (end == CRASHES)
		*nowhere = 1;
	if (end == EXECUTES) {
		execl("/proc/self/exe", "orphan", "other", (char *)NULL);
		wrong("exec: %s", strerror(errno));
	}
	exit(0);
}

static void finish(pthread_t *thread, unsigned n)
{
	stop = true;
	for (unsigned i = 0; i < n; i++)
		pthread_join(thread[i], NULL);
	for (unsigned i = 0; i < SLAVES; i++) {
		far_slave_close(slaves[i]);
		check_error();
	}
}

/* A process in each state. */
static void start_slaves(uint64_t *r)
{
	for (unsigned i = 0; i < SLAVES; i++) {
		slaves[i] = i ? far_slave_process(.name = "called", .setup = below(r, 2) ? set_up : NULL)
			      : far_slave_thread(.name = "thread");
		if (!slaves[i])
			check_error();
	}
	far_slave_process(.name = "idle");
	check_error();
	if (below(r, 3) == 0)
		far_schedule(far_slave_process(.name = "busy"), work_for_ever);
	if (below(r, 2))
		far_schedule(far_slave_process(.name = "nested"), nest, 1 + (int)below(r, 3), below(r, 30000));
	far_schedule(far_slave_thread(.name = "napping"), usleep, 20000);
	check_error();
}

/* The observer says that a master shall finish. */
static void await_finish(void)
{
	struct pollfd control = { .fd = CONTROL, .events = POLLIN };

	while (poll(&control, 1, -1) <= 0)
		;
}

/* orphan master SEED END AFTER_US */
static int be_master(char **argv)
{
	enum end end = (enum end)atoi(argv[3]);
	unsigned after_us = (unsigned)atoi(argv[4]);
	pthread_t thread[CALLERS + 2];

	seed = strtoull(argv[2], NULL, 10);
	may_die = end == KILL_ZYGOTE;
	if (far_init()) {
		if (!may_die)
			wrong("far_init: %s", far_error()->message);
		await_finish();		/* the zygote has died at once: there is nothing more to lose */
		return 0;
	}
	executes = end == EXECUTES;
	uint64_t r = random_start(1);

	start_slaves(&r);
	for (uintptr_t i = 0; i < CALLERS + 2; i++)
		if (pthread_create(&thread[i], NULL, i < CALLERS ? caller : starter, (void *)i))
			wrong("no thread");
	if (below(&r, 4) == 0)
		leave_a_child();
	if (end <= EXECUTES) {
		usleep(after_us);
		end_myself(end);
	}
	await_finish();
	finish(thread, CALLERS + 2);
	return 0;
}

/* ---------------------------------------------------------- the observer */

static char tag[64];		/* in the environment of all processes of a round's family */
static double began;		/* when the end of this round began */
static unsigned long frozen;	/* processes, in all rounds */

/* Whether the file of a process has @text between two zeros. */
static bool has_word(const char *pid, const char *file, const char *text)
{
	static char buffer[1 << 16];
	char path[300];

	snprintf(path, sizeof path, "/proc/%s/%s", pid, file);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read(fd, buffer, sizeof buffer - 1) : -1;

	if (fd >= 0)
		close(fd);
	buffer[n > 0 ? n : 0] = 0;
	for (const char *p = buffer; p < buffer + n; p += strlen(p) + 1)
		if (!strncmp(p, text, strlen(text)))
			return true;
	return false;
}

static pid_t parent_of(const char *pid)
{
	char path[300], text[600] = "";
	int parent = 0;

	snprintf(path, sizeof path, "/proc/%s/stat", pid);
	FILE *f = fopen(path, "re");
	const char *close = f && fgets(text, sizeof text, f) ? strrchr(text, ')') : NULL;

	if (f)
		fclose(f);
	return close && sscanf(close, ") %*c %d", &parent) == 1 ? parent : 0;
}

/*
 * The processes of a family, without zombies and children left behind: how many,
 * up to @max of them, and the zygote, which is its master's first child: one that is
 * left behind may not have its name yet.
 */
static unsigned find_family(pid_t master, pid_t *pid, unsigned max, pid_t *zygote)
{
	DIR *d = opendir("/proc");
	unsigned n = 0;

	*zygote = 0;
	for (struct dirent *e; d && (e = readdir(d));) {
		if (e->d_name[0] < '1' || e->d_name[0] > '9' || !has_word(e->d_name, "environ", tag) ||
		    has_word(e->d_name, "comm", "left-behind"))
			continue;
		pid_t found = (pid_t)strtol(e->d_name, NULL, 10);

		if (parent_of(e->d_name) == master && (!*zygote || found < *zygote))
			*zygote = found;
		if (n < max)
			pid[n] = found;
		n++;
	}
	if (d)
		closedir(d);
	return n;
}

static unsigned count_names(void)
{
	DIR *d = opendir("/dev/shm");
	unsigned n = 0;

	for (struct dirent *e; d && (e = readdir(d));)
		n += strstr(e->d_name, "farcall") != NULL;
	if (d)
		closedir(d);
	return n;
}

static long shmem_kib(void)
{
	FILE *f = fopen("/proc/meminfo", "re");
	char line[200];
	long n = -1;

	while (f && fgets(line, sizeof line, f))
		if (sscanf(line, "Shmem: %ld", &n) == 1)
			break;
	if (f)
		fclose(f);
	return n;
}

/* What the system has of things that a family could leave. */
struct use {
	unsigned sockets, names, fds;
	unsigned long shm_blocks, shm_files;
};

static bool own_system;		/* its sockets and its /dev/shm are ours alone */

static struct use measure(void)
{
	struct use u = { .names = count_names(), .fds = count_fds() };
	FILE *f = fopen("/proc/net/unix", "re");
	struct statfs fs;

	for (int c; f && (c = getc(f)) != EOF;)
		u.sockets += c == '\n';
	if (f)
		fclose(f);
	if (own_system && statfs("/dev/shm", &fs) == 0) {
		u.shm_blocks = fs.f_blocks - fs.f_bfree;
		u.shm_files = fs.f_files - fs.f_ffree;
	}
	return u;
}

static bool same_use(const struct use *a, const struct use *b)
{
	return a->names <= b->names && a->fds == b->fds &&
	       (!own_system || (a->sockets == b->sockets && a->shm_blocks == b->shm_blocks && a->shm_files == b->shm_files));
}

static void write_file(const char *path, const char *text)
{
	FILE *f = fopen(path, "we");

	if (f) {
		fputs(text, f);
		fclose(f);
	}
}

/* Who is not root may do such things in a user namespace, where it is who it was. */
static bool unshare_as_user(int spaces)
{
	char uid[64], gid[64];

	snprintf(uid, sizeof uid, "%d %d 1", (int)geteuid(), (int)geteuid());
	snprintf(gid, sizeof gid, "%d %d 1", (int)getegid(), (int)getegid());
	if (unshare(CLONE_NEWUSER | spaces))
		return false;
	write_file("/proc/self/setgroups", "deny");
	write_file("/proc/self/uid_map", uid);
	write_file("/proc/self/gid_map", gid);
	return true;
}

/* A network and a /dev/shm of our own, of the size that it has here. */
static void have_own_system(void)
{
	struct statfs fs;
	char size[64];
	int spaces = CLONE_NEWNS | CLONE_NEWNET;

	if (statfs("/dev/shm", &fs) || (unshare(spaces) && !unshare_as_user(spaces)))
		return;
	snprintf(size, sizeof size, "size=%llu,mode=1777", (unsigned long long)fs.f_blocks * (unsigned long long)fs.f_bsize);
	own_system = mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 && mount("orphan", "/dev/shm", "tmpfs", 0, size) == 0;
}

static void nap_ms(double ms)
{
	struct timespec t = { .tv_nsec = (long)(ms * 1e6) };

	nanosleep(&t, NULL);
}

/* Take the status of all children that have ended, and of @master; whether there are others. */
static bool reap(pid_t master, int *status)
{
	int s;
	pid_t pid;

	while ((pid = waitpid(-1, &s, WNOHANG | __WALL)) > 0)
		if (pid == master)
			*status = s;
	return pid == 0;
}

/* What is left: it shall not outlive us. */
static void tell_left(pid_t *pid, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		char command[200];

		snprintf(command, sizeof command, "grep -H -E '^(Name|State|PPid|SigBlk)' /proc/%d/status >&2; cat /proc/%d/wchan >&2",
			 (int)pid[i], (int)pid[i]);
		if (system(command))
			fprintf(stderr, "process %d is gone now\n", (int)pid[i]);
		kill(pid[i], SIGKILL);
	}
}

/* Kill the children that masters left. They are ours now, or the living master's. */
static void end_left_behind(void)
{
	DIR *d = opendir("/proc");

	for (struct dirent *e; d && (e = readdir(d));)
		if (e->d_name[0] >= '1' && e->d_name[0] <= '9' && has_word(e->d_name, "environ", tag) &&
		    has_word(e->d_name, "comm", "left-behind"))
			kill((pid_t)strtol(e->d_name, NULL, 10), SIGKILL);
	if (d)
		closedir(d);
}

/*
 * Wait until nothing is left of the family but @spared, which still lives (or 0):
 * how long it took since the end began, in seconds. A child left behind must not
 * matter, and ends last.
 */
static double await_nothing(enum end end, pid_t master, int *status, pid_t spared, const struct use *before)
{
	pid_t left[16], zygote;
	unsigned n;

	for (;;) {
		reap(master, status);
		n = find_family(master, left, 16, &zygote);
		if (n == (spared != 0) && (!n || left[0] == spared))
			break;
		if (now() - began > GONE_MS / 1e3) {
			tell_left(left, n < 16 ? n : 16);
			wrong("a master %s: %u processes are left after %d ms", end_name[end], n, GONE_MS);
		}
		nap_ms(1);
	}
	double took = now() - began;

	if (spared)
		return took;
	end_left_behind();
	struct use after = *before;

	while (reap(master, status) || (after = measure(), !same_use(&after, before))) {
		if (now() - began > GONE_MS / 1e3)
			wrong("a master %s: %s; sockets %u then, %u now; names %u, %u; descriptors %u, %u; blocks %lu, %lu; files %lu, %lu",
			      end_name[end], reap(master, status) ? "children are left" : "no process is left",
			      before->sockets, after.sockets, before->names, after.names, before->fds, after.fds,
			      before->shm_blocks, after.shm_blocks, before->shm_files, after.shm_files);
		nap_ms(1);
	}
	return took;
}

static pid_t start_master(enum end end, unsigned after_us, bool new_session, unsigned spares, int *control)
{
	char text[4][24];
	int ends[2];

	snprintf(text[0], sizeof text[0], "%llu", (unsigned long long)(seed ^ after_us));
	snprintf(text[1], sizeof text[1], "%d", end);
	snprintf(text[2], sizeof text[2], "%u", after_us);
	snprintf(text[3], sizeof text[3], "%u", spares);
	setenv("FARCALL_SPARES", text[3], 1);
	if (pipe2(ends, O_CLOEXEC))
		wrong("pipe: %s", strerror(errno));
	pid_t master = fork();

	if (master == 0) {
		if (new_session)
			setsid();
		if (ends[0] == CONTROL)
			fcntl(CONTROL, F_SETFD, 0);
		else
			dup2(ends[0], CONTROL);
		execl("/proc/self/exe", "orphan", "master", text[0], text[1], text[2], (char *)NULL);
		_exit(99);
	}
	if (master < 0)
		wrong("fork: %s", strerror(errno));
	close(ends[0]);
	*control = ends[1];
	return master;
}

/* Freeze the zygote or any slave. */
static void freeze(pid_t master, bool the_zygote, uint64_t *r)
{
	double start = now();
	pid_t pid[64], zygote, chosen = 0;
	char text[16];

	for (;;) {
		unsigned n = find_family(master, pid, 64, &zygote);

		chosen = the_zygote ? zygote : n ? pid[below(r, n < 64 ? n : 64)] : master;
		snprintf(text, sizeof text, "%d", (int)chosen);
		/*
		 * A zygote first asks the kernel for SIGCONT when its master ends, and then takes its name.
		 * Slaves are its children; one of the master's is left behind, and may not have its name yet.
		 */
		if (zygote && (the_zygote ? has_word(text, "comm", "farcall-zygote") : parent_of(text) == zygote))
			break;
		if (now() - start > GONE_MS / 1e3)
			wrong("there is nobody to freeze");
		nap_ms(1);
	}
	frozen += kill(chosen, SIGSTOP) == 0;
	nap_ms(below(r, 3));
}

/* Its zygote ends: so do its slaves, it hears of it, and finishes when it is asked to. */
static double kill_zygote(pid_t master, int *status, uint64_t *r)
{
	pid_t pid[1], zygote = 0;
	double start = now();

	while (find_family(master, pid, 1, &zygote), !zygote) {
		if (now() - start > GONE_MS / 1e3)
			wrong("there is no zygote");
		nap_ms(1);
	}
	nap(r, 40000);
	began = now();
	kill(zygote, SIGKILL);
	return await_nothing(KILL_ZYGOTE, master, status, master, NULL);
}

/* As a shell gives it. */
static int expected_status(enum end end)
{
	return end == CRASHES ? SIGSEGV : end == TERMINATED ? SIGTERM : end == EXITS || end == FINISHES || end == KILL_ZYGOTE ? 0 : SIGKILL;
}

static void await_master(pid_t master, enum end end, int *status)
{
	double start = now();

	while (*status < 0) {
		reap(master, status);
		if (now() - start > 4 * GONE_MS / 1e3) {
			tell_left(&master, 1);
			wrong("a master %s: it has not ended after %d ms", end_name[end], 4 * GONE_MS);
		}
		nap_ms(1);
	}
}

/* It has executed another program: its own family ends without it. */
static double await_family(pid_t master, int *status)
{
	double start = now();
	char pid[16];

	snprintf(pid, sizeof pid, "%d", (int)master);
	while (!has_word(pid, "cmdline", "other")) {
		if (now() - start > GONE_MS / 1e3)
			wrong("a master has not executed the other program");
		nap_ms(1);
	}
	began = now();
	double took = await_nothing(EXECUTES, master, status, master, NULL);

	kill(master, SIGKILL);
	return took;
}

/* Returns how long it took until nothing was left, in seconds. */
static double run_round(enum end end, uint64_t *r, const struct use *before)
{
	unsigned after_us = below(r, below(r, 4) ? 50000 : 6000);
	int control, status = -1;
	double took = 0;

	/* Not of the seed: another run may have the same. */
	snprintf(tag, sizeof tag, "FARCALL_ORPHAN=%d-%.9f", (int)getpid(), now());
	putenv(tag);
	pid_t master = start_master(end, after_us, below(r, 2), below(r, 4), &control);

	if (end > EXECUTES && end != KILL_ZYGOTE)
		nap_ms(after_us / 1e3);
	if (end == FREEZE_SLAVE || end == FREEZE_ZYGOTE)
		freeze(master, end == FREEZE_ZYGOTE, r);
	if (end == STOPPED_AND_KILLED) {
		kill(master, SIGSTOP);
		nap_ms(below(r, 5));
	}
	if (end == EXECUTES)
		took = await_family(master, &status);
	if (end == KILL_ZYGOTE)
		took = kill_zygote(master, &status, r);
	began = now();
	if (end == KILLED || end == STOPPED_AND_KILLED || end == FREEZE_SLAVE || end == FREEZE_ZYGOTE)
		kill(master, SIGKILL);
	if (end == TERMINATED)
		kill(master, SIGTERM);
	close(control);
	await_master(master, end, &status);
	/* Those that end by themselves take their time to come to it. */
	if (end <= EXECUTES || end == FINISHES || end == KILL_ZYGOTE)
		began = now();
	double last = await_nothing(end, master, &status, 0, before);

	if (status != expected_status(end))
		wrong("a master %s: its status is %#x", end_name[end], (unsigned)status);
	return took > last ? took : last;
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static enum end choose_end(uint64_t *r)
{
	unsigned n = below(r, 2 * ENDS);

	return n < ENDS ? (enum end)n : KILLED;
}

int main(int argc, char **argv)
{
	if (argc > 4 && !strcmp(argv[1], "master"))
		return be_master(argv);
	if (argc > 1 && !strcmp(argv[1], "other"))
		for (;;)
			pause();
	unsigned rounds = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : ROUNDS, count[ENDS] = { 0 };
	double *took = calloc(rounds + 1, sizeof *took);
	struct rlimit none = { 0 };
	const char *options = getenv("ASAN_OPTIONS");
	char asan[400];

	begin(argc, argv, 120);
	snprintf(asan, sizeof asan, "%s:detect_leaks=0", options ? options : "");
	setenv("ASAN_OPTIONS", asan, 1);	/* who is ended in the middle leaks */
	setrlimit(RLIMIT_CORE, &none);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	have_own_system();
	uint64_t r = random_start(0);
	struct use before = measure();
	long shmem = shmem_kib();
	double start = now();

	for (unsigned i = 0; i < rounds; i++) {
		enum end end = choose_end(&r);

		took[i] = run_round(end, &r, &before);
		count[end]++;
	}
	double seconds = now() - start;
	/* Others use some too: but what each master leaves would be more than this. */
	long most = shmem + 32768 + 512l * rounds;

	for (unsigned i = 0; i < 100 && shmem_kib() > most; i++)
		nap_ms(100);
	qsort(took, rounds, sizeof *took, by_size);
	printf("orphan: seed %llu: %u masters in %.1f s:", (unsigned long long)seed, rounds, seconds);
	for (unsigned i = 0; i < ENDS; i++)
		printf("%s %u %s", i ? "," : "", count[i], end_name[i]);
	printf("\norphan: nothing was left after %.1f ms (median), %.1f ms (worst); %lu processes were frozen; %s; Shmem %ld KiB before, "
	       "%ld KiB after\n",
	       took[rounds / 2] * 1e3, rounds ? took[rounds - 1] * 1e3 : 0, frozen,
	       own_system ? "sockets and shared memory counted exactly" : "no system of its own", shmem, shmem_kib());
	free(took);
	if (shmem_kib() > most)
		wrong("shared memory is left");
	return 0;
}
