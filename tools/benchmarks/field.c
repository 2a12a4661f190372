/*
 * farcall beside the field: other systems that make calls to another process or
 * thread, and the floors of the machine. Each is a program under field/, which
 * this one starts, lets measure by turns, and stops between its turns;
 * field/contender.c says what it can be told to do.
 */
#include <errno.h>
#include <getopt.h>
#include <libgen.h>
#include <math.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "findings.h"
#include "part.h"
#include "proc.h"

#define MPIRUN "mpirun --quiet --allow-run-as-root --oversubscribe --bind-to none"

enum { FIGURES_MAX = 2000 };

/* ----------------------------------------------------------- who takes part */

enum {
	INVOKE = 1 << 0, ASLEEP = 1 << 1, PACED = 1 << 2, SCHEDULE = 1 << 3, PASS = 1 << 4,
	START = 1 << 5, CRASH = 1 << 6, WORKERS = 1 << 7, THREADS = 1 << 8,
	CALLS = INVOKE | SCHEDULE | PASS, WAKES = ASLEEP | PACED,
};

static const struct entry entries[] = {
	{ "cache line", FLOOR, "floor", "spin", "line", INVOKE },
	{ "direct call", FLOOR, "floor", "spin", "direct", INVOKE },
	{ "ffi_call", FLOOR, "floor", "spin", "ffi", INVOKE },
	{ "memcpy", FLOOR, "floor", "spin", "memcpy", PASS },
	{ "futex", FLOOR, "floor", "sleep", "futex", INVOKE | WAKES },
	{ "eventfd", FLOOR, "floor", "sleep", "eventfd", INVOKE | WAKES },
	{ "pipe", FLOOR, "floor", "sleep", "pipe", INVOKE | WAKES },
	{ "Unix socket", FLOOR, "floor", "sleep", "socket", INVOKE | WAKES },
	{ "posix_spawn", FLOOR, "spawn", "sleep", "posix_spawn", START | WORKERS },
	{ "fork", FLOOR, "spawn", "sleep", "fork", START | CRASH },
	{ "pthread_create", FLOOR, "spawn", "sleep", "pthread", START },
	{ "farcall process", PROCESS, "farcall", "spin", "process", CALLS | WAKES | THREADS },
	{ "farcall process, far_in()", PROCESS, "farcall", "spin", "copy", PASS },
	{ "farcall slaves", PROCESS, "farcall", "spin", "start", START | CRASH | WORKERS },
	{ "farcall, no spares", PROCESS, "env FARCALL_SPARES=0 farcall", "spin", "start", START },
	{ "UCX, polling", PROCESS, "ucx", "spin", NULL, CALLS },
	{ "UCX, waiting", PROCESS, "ucx", "sleep", NULL, CALLS | WAKES },
	{ "OpenMPI", PROCESS, MPIRUN " -n 2 mpi", "spin", NULL, CALLS },
	{ "iceoryx, polling", PROCESS, "iceoryx", "spin", NULL, CALLS },
	{ "iceoryx, waiting", PROCESS, "iceoryx", "sleep", NULL, CALLS | WAKES },
	{ "libqb", PROCESS, "libqb", "sleep", NULL, CALLS | WAKES },
	{ "nng", PROCESS, "nng", "sleep", NULL, CALLS | WAKES },
	{ "ZeroMQ", PROCESS, "zeromq", "sleep", NULL, CALLS | WAKES },
	{ "Cap'n Proto", PROCESS, "capnp", "sleep", NULL, CALLS | WAKES },
	{ "gRPC", PROCESS, "grpc", "sleep", NULL, CALLS | WAKES | THREADS },
	{ "sd-bus", PROCESS, "sdbus", "sleep", NULL, CALLS | WAKES },
	{ "multiprocessing", PROCESS, "multiprocessing.py", "sleep", NULL, INVOKE | START | CRASH },
	{ "uv_spawn", PROCESS, "uv_spawn", "sleep", NULL, START | CRASH | WORKERS },
	{ "MPI_Comm_spawn", PROCESS, MPIRUN " -n 1 mpi", "sleep", "spawn", START },
	{ "farcall thread", THREAD, "farcall", "spin", "thread", CALLS | WAKES | THREADS },
	{ "pthread condition", THREAD, "condvar", "sleep", NULL, CALLS | WAKES | THREADS },
	{ "GLib", THREAD, "glib", "sleep", NULL, CALLS | WAKES | THREADS },
	{ "libuv", THREAD, "libuv", "sleep", NULL, CALLS | WAKES | THREADS },
	{ "oneTBB", THREAD, "tbb", "sleep", NULL, CALLS | WAKES | THREADS },
};

enum { ENTRIES = sizeof entries / sizeof entries[0] };

_Static_assert(sizeof entries / sizeof entries[0] <= ENTRIES_MAX, "room for what is found of each");

/* --------------------------------------------------------- what is measured */

static const struct section sections[] = {
	{ "invoke", INVOKE, "cache line", .neighbours = true, .title = "Round trips, one after the other", .rounds = 30, .measure = {
		{ "back to back", "invoke", .target_ms = 4, .chunks = 5 },
	} },
	{ "asleep", ASLEEP, "futex", .neighbours = true, .title = "Round trip that finds the other side asleep", .rounds = 20, .measure = {
		{ "asleep", .command = "asleep 5" },
	} },
	{ "paced", PACED, "futex", .neighbours = true, .title = "Round trips at a steady pace", .rounds = 15, .measure = {
		{ "1 kHz", .command = "paced 1000 100" },
		{ "10 Hz", .command = "paced 10 8", .rounds = 4 },
	} },
	{ "schedule", SCHEDULE, .rates = true, .title = "Calls a second, all answers fetched but the forgotten ones'", .rounds = 20, .measure = {
		{ "window 1", "stream 1", .target_ms = 10, .chunks = 3 },
		{ "window 16", "stream 16", .target_ms = 10, .chunks = 3 },
		{ "window 256", "stream 256", .target_ms = 10, .chunks = 3 },
		{ "window 1024", "stream 1024", .target_ms = 10, .chunks = 3 },
		{ "forgotten", "post", .target_ms = 50 },
	} },
	{ "pass", PASS, "memcpy", .title = "Round trip of a buffer", .rounds = 10, .measure = {
		{ "64 B", "pass 64", .target_ms = 5, .chunks = 3 },
		{ "1 KiB", "pass 1024", .target_ms = 5, .chunks = 3 },
		{ "16 KiB", "pass 16384", .target_ms = 5, .chunks = 3 },
		{ "64 KiB", "pass 65536", .target_ms = 5, .chunks = 3 },
		{ "1 MiB", "pass 1048576", .target_ms = 10, .chunks = 3 },
		{ "16 MiB", "pass 16777216", .target_ms = 20 },
		{ "1 GiB", "pass 1073741824", .number = 5, .rounds = 3 },
	} },
	{ "start", START, "posix_spawn", .title = "Starting a worker, up to its first answer", .rounds = 10, .measure = {
		{ "small caller", .command = "start 3" },
	} },
	{ "start-large", START, .alone = true, .title = "The same for a caller of 4 GiB", .rounds = 10, .measure = {
		{ "caller of 4 GiB", "start 3", .before = "ballast 4" },
	} },
	{ "crash", CRASH, "fork", .title = "A worker dies of SIGSEGV", .rounds = 10, .measure = {
		{ "until the error", .command = "crash 3" },
		{ "until the next answer", .command = "recover 3" },
	} },
	{ "workers", WORKERS, .title = "A thousand workers", .rounds = 5, .measure = {
		{ "memory of each (PSS)", "memory", .before = "workers 1000", .bytes = true, .rounds = 1 },
		{ "CPU time of all, idle for 2 s", "idle 2000", .rounds = 1 },
		{ "round trip, the same one", "each 1", .target_ms = 20, .chunks = 3 },
		{ "round trip, 8 in turn", "each 8", .target_ms = 20, .chunks = 3 },
		{ "round trip, 100 in turn", "each 100", .target_ms = 20, .chunks = 3 },
		{ "round trip, 1000 in turn", "each 1000", .target_ms = 20, .chunks = 3 },
	} },
	{ "threads", THREADS, .rates = true, .title = "Calls a second of several threads to one other side", .rounds = 10, .measure = {
		{ "1 thread", "threads 1 0", .target_ms = 10, .chunks = 3 },
		{ "2 threads", "threads 2 0", .target_ms = 10, .chunks = 3 },
		{ "4 threads", "threads 4 0", .target_ms = 10, .chunks = 3 },
		{ "8 threads", "threads 8 0", .target_ms = 10, .chunks = 3 },
		{ "1 thread, window 256", "threads 1 256", .target_ms = 10, .chunks = 3 },
		{ "2 threads, window 256", "threads 2 256", .target_ms = 10, .chunks = 3 },
		{ "4 threads, window 256", "threads 4 256", .target_ms = 10, .chunks = 3 },
		{ "8 threads, window 256", "threads 8 256", .target_ms = 10, .chunks = 3 },
	} },
};

enum { SECTIONS = sizeof sections / sizeof sections[0] };

/* -------------------------------------------------------------------- turns */

/* One that takes part in the section at hand. */
struct player {
	struct part *part;		/* NULL if it is not here, or failed */
	struct result *result;		/* of the measure at hand; NULL if it cannot do that */
	double n;			/* operations of a command, learned from the last one */
};

static struct {
	struct findings findings;
	struct player player[ENTRIES];
	bool quick;
	int cores[2];			/* the callers' and the other sides' */
	char folder[4096];		/* where the contenders are */
} field;

/* A turn's figures. */
struct turn {
	double figure[FIGURES_MAX];
	int figures;
	double operations;		/* that they stand for */
	double cpu;			/* of one operation */
};

static double median_of(struct turn *turn)
{
	return samples_median(&(struct samples){ .value = turn->figure, .count = (size_t)turn->figures });
}

/* Commands whose number of operations is ours to choose: the time of one, for each. */
static bool run_chunks(struct player *p, const struct measure *m, struct turn *turn)
{
	unsigned chunks = m->chunks ? m->chunks : 1;
	double ns, n = m->number ? m->number : p->n;
	char command[64];

	snprintf(command, sizeof command, "%s %.0f", m->command, n);
	for (unsigned i = 0; i < chunks; i++) {
		if (part_command(p->part, command, &ns, 1) != 1)
			return false;
		turn->figure[i] = ns / n;
	}
	turn->figures = (int)chunks;
	ns = median_of(turn);
	p->n = ns * 1e7 < m->target_ms * 1e6 ? 1e7 : 1 + (double)(long)(m->target_ms * 1e6 / ns);
	turn->operations = n * chunks;
	return true;
}

/* Let it measure once: false if it cannot do that. */
static bool take_turn(struct player *p, const struct measure *m, struct turn *turn)
{
	double cpu = part_cpu(p->part);
	bool done;

	part_resume(p->part);
	if (m->target_ms || m->number) {
		done = run_chunks(p, m, turn);
	} else {
		turn->figures = part_command(p->part, m->command, turn->figure, FIGURES_MAX);
		turn->operations = turn->figures;
		done = turn->figures > 0;
	}
	part_stop(p->part);
	turn->cpu = (part_cpu(p->part) - cpu) / turn->operations;
	return done;
}

/* The value of a turn, noted; NAN if it cannot do that, and then it need not be asked again. */
static double play(struct player *p, const struct measure *m)
{
	static struct turn turn;

	if (!take_turn(p, m, &turn)) {
		p->result = NULL;
		return NAN;
	}
	double value = median_of(&turn);

	samples_add(&p->result->value, value);
	samples_add(&p->result->cpu, turn.cpu);
	if (!m->target_ms && !m->number)
		for (int i = 0; i < turn.figures; i++)
			samples_add(&p->result->single, turn.figure[i]);
	return value;
}

/* One turn of each, and the floor's before it, and before all others or one by one. Who begins changes. */
static void play_round(const struct section *s, const struct measure *m, struct player *floor, unsigned round)
{
	double before = floor ? play(floor, m) : NAN;

	for (unsigned i = 0; i < ENTRIES; i++) {
		struct player *p = &field.player[(i + round) % ENTRIES];

		if (p == floor || !p->result)
			continue;

		double value = play(p, m), after = floor && s->neighbours ? play(floor, m) : before;

		if (p->result && floor)
			samples_add(&p->result->ratio, 2 * value / (before + after));
		before = after;
	}
}

/* What has to be done once: its preparation, and a turn that does not count; the second knows how long it takes. */
static bool warm_up(struct player *p, const struct measure *m)
{
	static struct turn turn;

	p->n = 1;
	if (m->before) {
		part_resume(p->part);
		turn.figures = part_command(p->part, m->before, turn.figure, FIGURES_MAX);
		part_stop(p->part);
		if (turn.figures < 0)
			return false;
	}
	return !m->target_ms || (take_turn(p, m, &turn) && take_turn(p, m, &turn));
}

static struct result *add_result(const struct section *s, const struct measure *m, const struct entry *e)
{
	struct findings *f = &field.findings;

	if (f->results == f->room) {
		fputs("bench: too many results\n", stderr);
		exit(1);
	}
	f->result[f->results] = (struct result){ .section = s, .measure = m, .entry = e };
	return &f->result[f->results++];
}

static void run_measure(const struct section *s, const struct measure *m)
{
	unsigned rounds = m->rounds ? m->rounds : s->rounds;
	struct player *floor = NULL;

	for (unsigned i = 0; i < ENTRIES; i++) {
		struct player *p = &field.player[i];

		p->result = NULL;
		if (!p->part)
			continue;
		struct result *result = add_result(s, m, &entries[i]);

		if (!warm_up(p, m))
			continue;
		p->result = result;
		if (s->floor && !strcmp(entries[i].name, s->floor))
			floor = p;
	}
	if (field.quick && rounds > 3)
		rounds = rounds / 5 + 1;
	for (unsigned i = 0; i < rounds; i++)
		play_round(s, m, floor, i);
}

/* ----------------------------------------------------------------- sections */

static void start_player(unsigned i)
{
	const struct entry *e = &entries[i];
	const char *space = strrchr(e->command, ' '), *program = space ? space + 1 : e->command;
	struct presence *presence = &field.findings.presence[i];
	char path[sizeof field.folder + 32], launcher[256];

	snprintf(path, sizeof path, "%s/%s", field.folder, program);
	if (access(path, X_OK)) {
		presence->state = ABSENT;
		return;
	}
	snprintf(launcher, sizeof launcher, "%.*s", (int)(program - e->command), e->command);
	field.player[i].part = part_start(launcher, path, e->mode, field.cores, e->option);
	presence->state = field.player[i].part ? PRESENT : FAILED;
	if (field.player[i].part)
		snprintf(presence->version, sizeof presence->version, "%s", part_version(field.player[i].part));
}

static bool is_wanted(const struct entry *e, const struct section *s, const char *only)
{
	return e->sections & s->bit && (!only || e->kind == FLOOR || strstr(e->name, only));
}

/* Measure with those who are here, and send them home. */
static void run_measures(const struct section *s)
{
	for (const struct measure *m = s->measure; m->name; m++)
		run_measure(s, m);
	for (unsigned i = 0; i < ENTRIES; i++) {
		if (field.player[i].part)
			part_end(field.player[i].part);
		field.player[i].part = NULL;
	}
}

static void run_section(const struct section *s, const char *only)
{
	for (unsigned i = 0; i < ENTRIES; i++) {
		if (!is_wanted(&entries[i], s, only))
			continue;
		start_player(i);
		if (s->alone)
			run_measures(s);
	}
	if (!s->alone)
		run_measures(s);
	findings_print(&field.findings, s);
}

/* --------------------------------------------------------------------- main */

/* The contenders' folder is beside this program. */
static void find_folder(void)
{
	char path[sizeof field.folder - 8];
	ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);

	if (n < 0) {
		perror("bench: /proc/self/exe");
		exit(1);
	}
	path[n] = '\0';
	snprintf(field.folder, sizeof field.folder, "%s/field", dirname(path));
}

static void prepare(void)
{
	struct findings *f = &field.findings;

	signal(SIGPIPE, SIG_IGN);	/* a contender that ended is reported */
	choose_cores(field.cores);
	find_folder();
	f->entries = entries;
	f->count = ENTRIES;
	f->room = SECTIONS * MEASURES_MAX * ENTRIES;
	f->result = calloc(f->room, sizeof *f->result);
	if (!f->result) {
		perror("bench");
		exit(1);
	}
}

static const struct section *section_named(const char *name)
{
	for (unsigned i = 0; i < SECTIONS; i++)
		if (!strcmp(sections[i].name, name))
			return &sections[i];
	fprintf(stderr, "bench: no part is named %s\n", name);
	exit(2);
}

static void write_file(int write(const struct findings *, const char *), const char *path)
{
	int error = path ? write(&field.findings, path) : 0;

	if (error) {
		fprintf(stderr, "bench: %s: %s\n", path, strerror(-error));
		exit(1);
	}
}

/* usage: bench_field [--quick] [--only NAME] [--json FILE] [--markdown FILE] [--columns FOLDER] [SECTION...] */
int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "quick", no_argument, NULL, 'q' }, { "only", required_argument, NULL, 'o' },
		{ "json", required_argument, NULL, 'j' }, { "markdown", required_argument, NULL, 'm' },
		{ "columns", required_argument, NULL, 'c' }, { 0 },
	};
	const char *only = NULL, *json = NULL, *markdown = NULL, *columns = NULL;

	for (int o; (o = getopt_long(argc, argv, "", options, NULL)) != -1;) {
		switch (o) {
		case 'q':
			field.quick = true;
			break;
		case 'o':
			only = optarg;
			break;
		case 'j':
			json = optarg;
			break;
		case 'm':
			markdown = optarg;
			break;
		case 'c':
			columns = optarg;
			break;
		default:
			return 2;
		}
	}
	prepare();
	for (int i = optind; i < argc; i++)
		section_named(argv[i]);		/* all are known, before any is run */
	for (int i = optind; i < argc; i++)
		run_section(section_named(argv[i]), only);
	for (unsigned i = 0; optind == argc && i < SECTIONS; i++)
		run_section(&sections[i], only);
	write_file(findings_json, json);
	write_file(findings_markdown, markdown);
	write_file(findings_columns, columns);
	return 0;
}
