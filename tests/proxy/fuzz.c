/*
 * Prototypes that are mutated and modules that are damaged at random: what reads them
 * must say what is wrong and not crash.
 *
 *	fuzz [SECONDS [SEED]]
 *
 * A damaged module is read in a child. libdw may crash on it, which is why the library
 * reads debug information in a process of its own: what crashes in libdw and libelf is
 * counted, and only what crashes elsewhere fails the test.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include "cif.h"
#include "debug.h"
#include "prototype.h"

enum { CHILD_SECONDS = 10, IN_LIBDW = 3, IN_OURS = 4 };

static uint64_t state;

static uint32_t random_below(uint32_t n)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (uint32_t)(state >> 32) % n;
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* ------------------------------------------------------------- prototypes */

static const char *const words[] = {
	"int ", "unsigned ", "long ", "char ", "const ", "*", "(", ")", "[", "]", "[3]", ",", "...", "struct s ", "{", "}",
	"int x;", "f", " : 3", "void", "(*)", "(void)", "(int)", "double ", "_Complex ", "__attribute__((x))", "union ",
	"static ", ";", "size_t ", "struct { int a; struct s *p; } ", "(*f(int))", "enum e ", "/*", "*/", "//", "\n", "0", "@",
};

static const char *const seeds[] = {
	"int qsort_r(void *base, size_t n, size_t, int (*cmp)(const void *, const void *, void *), void *)",
	"char *(*f(int))[3]",
	"struct node { struct node *next; unsigned v : 3; union { int i; double d; }; } *f(struct node first, ...)",
	"int f(int a[static 3], long double _Complex x[2][3], const char *const *argv)",
	"void (*signal(int sig, void (*func)(int)))(int)",
};

static void mutate(char *text, size_t size)
{
	const char *const word = words[random_below(sizeof words / sizeof *words)];
	const size_t length = strlen(text), at = random_below((uint32_t)length + 1), added = strlen(word);

	switch (random_below(4)) {
	case 0:
		if (length + added < size) {
			memmove(text + at + added, text + at, length - at + 1);
			memcpy(text + at, word, added);
		}
		break;
	case 1:
		memmove(text + at, text + at + (at < length), length - at + (at == length));
		break;
	case 2:
		if (at < length)
			text[at] = (char)(1 + random_below(255));
		break;
	case 3:
		text[at] = 0;
		break;
	}
}

static void use(const struct far__type *t)
{
	struct far__arena arena = { 0 };
	struct far__complaint why;
	char text[2000];
	ffi_cif cif;

	far__type_print(t, "f", text, sizeof text);
	(void)far__type_same(t, t->target ? t->target : t);
	(void)far__cif(&cif, t, NULL, 0, NULL, &arena, &why);
	far__arena_free(&arena);
}

static bool try_prototype(unsigned long *understood)
{
	struct far__arena arena = { .limit = 1 << 20 };
	struct far__complaint why = { .offset = -2 };
	char text[400];
	const char *name;

	snprintf(text, sizeof text, "%s", seeds[random_below(sizeof seeds / sizeof *seeds)]);
	for (unsigned n = random_below(8); n; n--)
		mutate(text, sizeof text);
	const struct far__type *t = far__prototype(text, NULL, &arena, &name, &why);
	const bool told = t || (why.offset >= 0 && why.offset <= (int)strlen(text));

	if (t)
		use(t);
	if (!told)
		printf("no place is told for: %s\n", text);
	*understood += t != NULL;
	far__arena_free(&arena);
	return told;
}

/* ---------------------------------------------------------------- modules */

/* Whether the code at @address is that of elfutils, or was called by it (the C library's is nobody's). */
static bool is_in_libdw(const ucontext_t *context)
{
	const uint64_t *frame = (const uint64_t *)(uintptr_t)context->uc_mcontext.gregs[REG_RSP];
	void *address = (void *)(uintptr_t)context->uc_mcontext.gregs[REG_RIP];
	Dl_info info;

	for (int i = 0; i < 64; i++) {
		if (dladdr(address, &info) && info.dli_fname) {
			if (strstr(info.dli_fname, "libdw") || strstr(info.dli_fname, "libelf"))
				return true;
			if (!strstr(info.dli_fname, ".so"))
				return false;
		}
		address = (void *)(uintptr_t)frame[i];
	}
	return false;
}

static void crashed(int signal, siginfo_t *info, void *context)
{
	(void)signal;
	(void)info;
	_exit(is_in_libdw(context) ? IN_LIBDW : IN_OURS);
}

static bool use_function(void *arg, const char *name, const struct far__type *t)
{
	(void)name;
	use(t);
	return ++*(int *)arg < 1000;
}

static void read_module(const char *path)
{
	static const char *const names[] = {
		"struct shape", "point_t", "struct numbers", "struct anonymous", "struct hidden",
	};
	struct far__arena arena = { .limit = 64 << 20 };
	struct far__place place = { .address = 0 };
	struct far__complaint why;
	int functions = 0;

	snprintf(place.module, sizeof place.module, "%s", path);
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		const struct far__type *t = far__debug_type(path, names[i], &arena, &why);

		if (t)
			use(t);
	}
	(void)far__debug_variable(&place, &arena, &why);
	(void)far__debug_functions(path, use_function, &functions, &why);
	const struct far__type *t = far__debug_function(path, "fixture_find", &arena, &why);

	if (t)
		use(t);
	far__arena_free(&arena);
	far__debug_forget();
}

struct module {
	unsigned char *data;
	size_t size;
};

static struct module load(const char *path)
{
	struct module m = { 0 };
	const int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) || !(m.data = malloc((size_t)st.st_size)) ||
	    read(fd, m.data, (size_t)st.st_size) != st.st_size) {
		perror(path);
		exit(1);
	}
	close(fd);
	m.size = (size_t)st.st_size;
	return m;
}

/* Somewhere in the file, at times in its headers; few bytes, or the end is missing. */
static size_t damage(unsigned char *data, size_t size)
{
	static const unsigned char odd[] = { 0x00, 0x01, 0x7f, 0x80, 0xff };

	for (unsigned n = 1 + random_below(random_below(4) ? 8 : 200); n; n--) {
		const uint32_t at = random_below(random_below(10) ? (uint32_t)size : 64);

		data[at] = random_below(2) ? odd[random_below(sizeof odd)] : (unsigned char)random_below(256);
	}
	return random_below(20) ? size : random_below((uint32_t)size);
}

/* How the child that reads a damaged copy of @m ended: its status as of waitpid(). */
static int try_module(const struct module *m, const char *path)
{
	unsigned char *copy = malloc(m->size);
	int status;

	memcpy(copy, m->data, m->size);
	const size_t size = damage(copy, m->size);
	const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0 || write(fd, copy, size) != (ssize_t)size)
		exit(1);
	close(fd);
	free(copy);
	const pid_t child = fork();

	if (child == 0) {
		const struct sigaction action = { .sa_sigaction = crashed, .sa_flags = SA_SIGINFO };

		sigaction(SIGSEGV, &action, NULL);
		sigaction(SIGBUS, &action, NULL);
		sigaction(SIGFPE, &action, NULL);
		sigaction(SIGABRT, &action, NULL);
		alarm(CHILD_SECONDS);
		read_module(path);
		_exit(0);
	}
	waitpid(child, &status, 0);
	return status;
}

/* ------------------------------------------------------------------- both */

int main(int argc, char **argv)
{
	const double seconds = argc > 1 ? atof(argv[1]) : 4, begin = now();
	static const char *const variants[] = { "gcc5", "gcc4", "units" };
	const uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 0) : 1;
	unsigned long prototypes = 0, understood = 0, modules = 0, in_libdw = 0, hung = 0, failed = 0;
	char path[] = "/tmp/farcall-fuzz-XXXXXX";
	struct module module[3];

	state = 0x9e3779b97f4a7c15 ^ seed;
	while (now() - begin < seconds / 2) {
		failed += !try_prototype(&understood);
		prototypes++;
	}
	for (int i = 0; i < 3; i++) {
		char name[4096];

		snprintf(name, sizeof name, "%s%s.so", FIXTURES, variants[i]);
		module[i] = load(name);
	}
	close(mkstemp(path));
	while (now() - begin < seconds) {
		const uint64_t before = state;
		const int status = try_module(&module[modules++ % 3], path);

		if (WIFEXITED(status) && WEXITSTATUS(status) == IN_LIBDW) {
			in_libdw++;
		} else if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM) {
			hung++;
		} else if (status) {
			failed++;
			printf("module %lu, state %#llx: status %#x\n", modules, (unsigned long long)before, (unsigned)status);
		}
	}
	unlink(path);
	for (int i = 0; i < 3; i++)
		free(module[i].data);
	printf("seed %llu: %lu prototypes, %lu of them right; ", (unsigned long long)seed, prototypes, understood);
	printf("%lu damaged modules, %lu crashed libdw, %lu took more than %d s; %lu failures\n",
	       modules, in_libdw, hung, CHILD_SECONDS, failed);
	return failed != 0;
}
