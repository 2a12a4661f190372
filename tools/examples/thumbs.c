/*
 * thumbs: make a thumbnail of every PNG picture in a folder, and a contact sheet
 * of them all, in slave processes.
 *
 * The functions that do it are in image.c and know nothing of slaves. A picture
 * is read, scaled and written by three calls, each to the slave that has time
 * for it. All pixels are in the far heap; this program never touches one.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <farcall.h>

#include "image.h"

#define USAGE "usage: thumbs [-j SLAVES] [-s SIZE] [-o OUTPUT_FOLDER] FOLDER"
#define SHEET "contact-sheet.png"

enum {
	IN_FLIGHT = 2,			/* calls a slave has: one to run, one to go on with */
	MOST_WORKERS = 256,
	MOST_SIZE = 1024,
	GLANCE_MS = 2,			/* to wait for one slave before looking at the others */
	REDRAW_NS = 100000000,
};

/* What a picture needs next. */
enum step { READ, SCALE, WRITE, MADE, FAILED };

/* In the far heap, as its images are: slaves store them here. */
struct picture {
	char name[NAME_MAX + 1];
	enum step step;
	struct image *image;		/* as read; freed once scaled */
	struct image *thumbnail;	/* kept for the contact sheet */
	struct picture *next;		/* the one to continue after this one */
};

struct worker {
	struct far_slave *slave;	/* NULL if it died and could not be replaced */
	int said;			/* a file in memory: the slave's stderr */
	off_t reported;			/* so much of it was passed on */
	unsigned flying;
	struct {
		far_task(void) task;
		struct picture *picture;
	} flight[IN_FLIGHT];		/* the oldest first, as the slave runs them */
};

static const char *folder, *output = "thumbnails";
static uint32_t size = 128;
static unsigned nworkers;
static struct worker workers[MOST_WORKERS];

static struct picture *pictures;	/* in the order of their names */
static uint32_t npictures, made, failed;
static struct picture *ready;		/* those no slave has: the one to continue first */

/* ---------------------------------------------------------- what is printed */

static int64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int64_t started, drawn;
static bool on_terminal;

static void erase_progress(void)
{
	if (on_terminal && drawn)
		fputs("\r\033[K", stderr);
	drawn = 0;
}

static void draw_progress(void)
{
	static const char full[] = "##############################";
	static const char none[] = "------------------------------";
	int64_t now = now_ns();
	uint32_t done = made + failed;

	if (!on_terminal || now - drawn < REDRAW_NS)
		return;
	double seconds = (double)(now - started) / 1e9;
	int width = (int)sizeof full - 1;
	int filled = (int)((uint64_t)done * (unsigned)width / npictures);
	fprintf(stderr, "\r[%.*s%.*s] %u of %u", filled, full, width - filled, none, done,
		npictures);
	if (done && seconds > 0.2) {		/* sooner is guesswork */
		double left = seconds / done * (npictures - done);
		fprintf(stderr, ", %.1f/s, %d:%02d left", done / seconds, (int)left / 60,
			(int)left % 60);
	}
	fputs("\033[K", stderr);
	drawn = now;
}

__attribute__((format(printf, 1, 2)))
static void report(const char *format, ...)
{
	va_list arguments;

	erase_progress();
	va_start(arguments, format);
	vprintf(format, arguments);
	va_end(arguments);
	putchar('\n');
	fflush(stdout);
}

__attribute__((noreturn, format(printf, 1, 2)))
static void give_up(const char *format, ...)
{
	va_list arguments;

	erase_progress();
	fputs("thumbs: ", stderr);
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputc('\n', stderr);
	exit(EXIT_FAILURE);
}

/* The last failure in words: what ended the slave, or what the call raised. */
static const char *failure(void)
{
	static char text[sizeof ((struct far_error *)0)->message];
	const struct far_error *error = far_error();

	if (!far_died(error))
		snprintf(text, sizeof text, "%s", error->message);
	else if (error->signal)
		snprintf(text, sizeof text, "slave died, SIG%s", sigabbrev_np(error->signal));
	else
		snprintf(text, sizeof text, "slave died, exit status %d", error->status);
	return text;
}

/* ------------------------------------------------------------------ slaves */

/* Run in the slave: from now on its stderr is @fd. */
static void say_into(int fd)
{
	dup2(fd, STDERR_FILENO);
	close(fd);
}

/*
 * Pass on what a slave printed: below the report of its death, or at the end.
 * In between, its next picture may have begun to complain.
 */
static void pass_on(struct worker *w)
{
	char text[1024];
	ssize_t n;

	while ((n = pread(w->said, text, sizeof text - 1, w->reported)) > 0) {
		w->reported += n;
		text[n] = '\0';
		char *rest = text, *line;
		while ((line = strsep(&rest, "\n")))
			if (*line)
				report("    %s", line);
	}
}

static bool start_slave(struct worker *w)
{
	w->slave = far_slave_process(.name = "thumbs");
	if (!w->slave)
		return false;
	far_invoke(w->slave, say_into, far_fd(w->said));
	return !far_error();
}

static void start_worker(struct worker *w)
{
	w->said = memfd_create("stderr of a slave", MFD_CLOEXEC);
	if (w->said < 0)
		give_up("memfd_create: %s", strerror(errno));
	if (!start_slave(w))
		give_up("%s", failure());
}

/* Its slave has died: start another one. */
static void replace_slave(struct worker *w)
{
	far_slave_close(w->slave);
	(void)far_error();		/* that it had died, which is reported */
	if (start_slave(w))
		return;
	report("cannot replace it: %s", failure());
	far_slave_close(w->slave);
	w->slave = NULL;
}

static void stop_worker(struct worker *w)
{
	far_slave_close(w->slave);
	pass_on(w);
	close(w->said);
}

/* ---------------------------------------------------------------- pictures */

static void make_ready(struct picture *p)
{
	p->next = ready;
	ready = p;
}

static void path_in(char path[PATH_MAX], const char *in, const char *name)
{
	if (snprintf(path, PATH_MAX, "%s/%s", in, name) >= PATH_MAX)
		give_up("%s/%s: %s", in, name, strerror(ENAMETOOLONG));
}

static void fail(struct picture *p)
{
	char path[PATH_MAX];

	report("%s: %s", p->name, failure());
	if (p->step == WRITE) {
		path_in(path, output, p->name);
		unlink(path);		/* what there is of it */
	}
	far_free(p->image);
	far_free(p->thumbnail);
	p->image = p->thumbnail = NULL;
	p->step = FAILED;
	failed++;
}

/* Its step is done: on to the next one. */
static void advance(struct picture *p)
{
	switch (p->step++) {
	case READ:
		break;
	case SCALE:
		far_free(p->image);
		p->image = NULL;
		break;
	default:
		made++;
		return;
	}
	make_ready(p);
}

/* ------------------------------------------------- pictures through slaves */

/* Schedule the next step of a picture. */
static void give(struct worker *w, struct picture *p)
{
	char path[PATH_MAX];
	far_task(void) task = NULL;

	if (p->step == READ) {
		path_in(path, folder, p->name);
		task = far_schedule(w->slave, image_read, far_str(path), &p->image);
	} else if (p->step == SCALE) {
		task = far_schedule(w->slave, image_scale, p->image, size, &p->thumbnail);
	} else {
		path_in(path, output, p->name);
		task = far_schedule(w->slave, image_write, p->thumbnail, far_str(path));
	}
	if (task) {
		w->flight[w->flying].task = task;
		w->flight[w->flying++].picture = p;
	} else if (!far_died(far_error())) {
		fail(p);
	} else {
		make_ready(p);		/* no fault of this picture's */
		if (!w->flying)
			replace_slave(w);
	}
}

/* Wait for the oldest call of a worker: its picture. far_error() tells how it went. */
static struct picture *take(struct worker *w)
{
	struct picture *p = w->flight[0].picture;

	far_wait(w->flight[0].task);
	w->flying--;
	memmove(w->flight, w->flight + 1, w->flying * sizeof w->flight[0]);
	return p;
}

/*
 * A slave that dies dies of the oldest call it has. The others fail with it, but
 * had not begun: their pictures are put back for another slave.
 */
static void collect(struct worker *w)
{
	struct picture *p = take(w);
	const struct far_error *error = far_error();

	if (!error) {
		advance(p);
		return;
	}
	bool died = far_died(error);
	fail(p);
	if (!died)
		return;
	pass_on(w);
	while (w->flying) {
		p = take(w);
		(void)far_error();	/* that the slave had died, which is reported */
		make_ready(p);
	}
	replace_slave(w);
}

/* Collect what is done. If nothing is, wait a little for one of them. */
static void collect_some(void)
{
	struct worker *waiting = NULL;
	bool any = false;

	for (struct worker *w = workers; w < workers + nworkers; w++) {
		while (w->flying && far_done(w->flight[0].task)) {
			collect(w);
			any = true;
		}
		if (w->flying)
			waiting = w;
	}
	if (waiting && !any)
		far_wait_for(waiting->flight[0].task, GLANCE_MS);
}

static void make_thumbnails(void)
{
	while (made + failed < npictures) {
		bool working = false;

		for (unsigned round = 0; round < IN_FLIGHT; round++)
			for (struct worker *w = workers; w < workers + nworkers; w++)
				if (w->slave && w->flying <= round && ready) {
					struct picture *p = ready;

					ready = p->next;
					give(w, p);
				}
		for (struct worker *w = workers; w < workers + nworkers; w++)
			working |= w->slave != NULL;
		if (!working)
			give_up("no slave is left");
		collect_some();
		draw_progress();
	}
}

static void make_sheet(void)
{
	char path[PATH_MAX];
	struct image **images = calloc(npictures, sizeof *images);
	struct worker *w = workers;

	if (!images)
		give_up("no memory for the contact sheet");
	while (!w->slave)		/* make_thumbnails() left one */
		w++;
	for (uint32_t i = 0; i < npictures; i++)
		images[i] = pictures[i].thumbnail;
	path_in(path, output, SHEET);
	far_invoke(w->slave, image_write_sheet, far_in(images, npictures * sizeof *images),
		   npictures, size, far_str(path));
	if (far_error())
		give_up("%s: %s", path, failure());
	free(images);
}

/* ----------------------------------------------------------------- folders */

/* Whether a name in the folder is that of a picture; others are not looked at. */
static int is_picture(const struct dirent *entry)
{
	const char *dot = strrchr(entry->d_name, '.');
	char path[PATH_MAX];
	struct stat s;

	if (!dot || strcasecmp(dot, ".png") != 0)
		return 0;
	path_in(path, folder, entry->d_name);
	return stat(path, &s) != 0 || S_ISREG(s.st_mode);	/* reading it will tell why not */
}

static void find_pictures(void)
{
	struct dirent **entries;
	int n = scandir(folder, &entries, is_picture, alphasort);

	if (n < 0)
		give_up("%s: %s", folder, strerror(errno));
	pictures = far_calloc((size_t)n, sizeof *pictures);
	if (!pictures)
		give_up("%s", failure());
	for (int i = 0; i < n; i++) {
		if (strcmp(entries[i]->d_name, SHEET) == 0)
			report("%s: left out, the contact sheet has this name", SHEET);
		else
			strcpy(pictures[npictures++].name, entries[i]->d_name);
		free(entries[i]);
	}
	free(entries);
	if (npictures == 0)
		give_up("%s: no PNG pictures there", folder);
	for (uint32_t i = npictures; i-- > 0;)
		make_ready(&pictures[i]);
}

static void prepare_output(void)
{
	struct stat from, to;

	if (stat(folder, &from) != 0)
		give_up("%s: %s", folder, strerror(errno));
	if (mkdir(output, 0777) != 0 && errno != EEXIST)
		give_up("%s: %s", output, strerror(errno));
	if (stat(output, &to) != 0)
		give_up("%s: %s", output, strerror(errno));
	if (!S_ISDIR(to.st_mode))
		give_up("%s: %s", output, strerror(ENOTDIR));
	if (access(output, W_OK | X_OK) != 0)
		give_up("%s: %s", output, strerror(errno));
	if (from.st_dev == to.st_dev && from.st_ino == to.st_ino)
		give_up("%s: has the pictures, and thumbnails would replace them", output);
}

/* ------------------------------------------------------------ command line */

static void help(void)
{
	puts(USAGE "\n"
	     "\n"
	     "Make a thumbnail of every PNG picture in FOLDER, and of them all one picture,\n"
	     SHEET ". Files whose name does not end in .png are ignored.\n"
	     "\n"
	     "  -j SLAVES         use so many slave processes, 1 to 256 (one for each processor)\n"
	     "  -s SIZE           thumbnails fit a square of SIZE pixels, 1 to 1024 (128)\n"
	     "  -o OUTPUT_FOLDER  put them there, by the names of the pictures (thumbnails)\n"
	     "  -h, --help        print this\n"
	     "\n"
	     "Exit status: 0 if at least one thumbnail was made (a picture that cannot be read\n"
	     "is a line of the report), 1 if none was, 2 for a wrong command line.");
	exit(EXIT_SUCCESS);
}

__attribute__((noreturn))
static void wrong_usage(void)
{
	fputs(USAGE "\n", stderr);
	exit(2);
}

static unsigned number(const char *text, unsigned most)
{
	char *end;
	long n = strtol(text, &end, 10);

	if (end == text || *end || n < 1 || n > (long)most) {
		fprintf(stderr, "thumbs: %s: a number from 1 to %u is wanted\n", text, most);
		wrong_usage();
	}
	return (unsigned)n;
}

static void read_options(int argc, char **argv)
{
	static const struct option words[] = { { "help", no_argument, NULL, 'h' }, { 0 } };
	int c;

	while ((c = getopt_long(argc, argv, "j:s:o:h", words, NULL)) != -1)
		switch (c) {
		case 'j': nworkers = number(optarg, MOST_WORKERS); break;
		case 's': size = number(optarg, MOST_SIZE); break;
		case 'o': output = optarg; break;
		case 'h': help(); break;
		default: wrong_usage();
		}
	if (optind != argc - 1)
		wrong_usage();
	folder = argv[optind];
	if (!nworkers) {
		long processors = sysconf(_SC_NPROCESSORS_ONLN);
		nworkers = processors < 1 ? 1 : (unsigned)processors;
		if (nworkers > MOST_WORKERS)
			nworkers = MOST_WORKERS;
	}
}

int main(int argc, char **argv)
{
	if (far_init() != 0)
		give_up("%s", failure());
	read_options(argc, argv);
	on_terminal = isatty(STDERR_FILENO);
	find_pictures();
	prepare_output();
	started = now_ns();

	if (nworkers > npictures)
		nworkers = npictures;
	for (unsigned i = 0; i < nworkers; i++)
		start_worker(&workers[i]);
	make_thumbnails();
	if (made)
		make_sheet();
	for (unsigned i = 0; i < nworkers; i++)
		stop_worker(&workers[i]);
	for (uint32_t i = 0; i < npictures; i++)
		far_free(pictures[i].thumbnail);
	far_free(pictures);

	double seconds = (double)(now_ns() - started) / 1e9;
	report("%u of %u pictures in %.2f s, %.1f/s, by %u slave%s",
	       made, npictures, seconds, npictures / seconds, nworkers, nworkers == 1 ? "" : "s");
	if (!made)
		return EXIT_FAILURE;
	report("thumbnails:    %s/", output);
	report("contact sheet: %s/" SHEET, output);
	return EXIT_SUCCESS;
}
