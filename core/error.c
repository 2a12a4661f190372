/*
 * This thread's last failure, and the printing of those that nobody looked at.
 * Equal messages are printed once; how often they came is said at the end.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "internal.h"

__thread bool far__failed;
static __thread bool seen;
static __thread struct far_error error;

enum { REMEMBERED = 32 };
static struct {
	pthread_mutex_t lock;
	uint64_t hash[REMEMBERED];
	unsigned again[REMEMBERED];
	char text[REMEMBERED][96];
	unsigned used;
} printed = { .lock = PTHREAD_MUTEX_INITIALIZER };

static uint64_t hash_of(const char *text)
{
	uint64_t h = 14695981039346656037u;	/* FNV-1a */

	while (*text)
		h = (h ^ (unsigned char)*text++) * 1099511628211u;
	return h;
}

/* Has it been printed before? Remember it. */
static bool is_new(const char *message)
{
	uint64_t hash = hash_of(message);
	bool fresh = true;

	pthread_mutex_lock(&printed.lock);
	for (unsigned i = 0; i < printed.used && fresh; i++) {
		if (printed.hash[i] == hash) {
			printed.again[i]++;
			fresh = false;
		}
	}
	if (fresh && printed.used < REMEMBERED) {
		printed.hash[printed.used] = hash;
		snprintf(printed.text[printed.used], sizeof printed.text[0], "%s", message);
		printed.again[printed.used++] = 0;
	}
	pthread_mutex_unlock(&printed.lock);
	return fresh;
}

void far__complain(const char *message)
{
	if (!is_new(message))
		return;
	int cancel = far__put_cancel_off();

	fprintf(stderr, "farcall: %s\n", message);
	pthread_setcancelstate(cancel, NULL);
}

static void print_unseen(void)
{
	if (far__failed && !seen)
		far__complain(error.message);
}

/* " (file:line)" of a place in the program, or nothing. */
static void print_place(char *to, size_t size, const char *file, unsigned line)
{
	const char *slash = file ? strrchr(file, '/') : NULL;

	*to = 0;
	if (file)
		snprintf(to, size, " (%s:%u)", slash ? slash + 1 : file, line);
}

static void fill(struct far_error *e, int code, int errnum, const char *function, const struct far__site *site,
		 const char *format, va_list arguments)
{
	char where[128], what[sizeof e->message];

	vsnprintf(what, sizeof what, format, arguments);
	*e = (struct far_error){ .code = code, .errnum = errnum, .function = function };
	if (site && site->file) {
		e->file = site->file;
		e->line = site->line;
	}
	print_place(where, sizeof where, e->file, e->line);
	/* Cut in the middle rather than lose where it was. */
	int room = (int)(sizeof e->message - strlen(where) - strlen(function) - 3);

	snprintf(e->message, sizeof e->message, "%s: %.*s%s", function, room > 0 ? room : 0, what, where);
}

void far__error_fill(struct far_error *e, int code, int errnum, const char *function, const struct far__site *site,
		     const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	fill(e, code, errnum, function, site, format, arguments);
	va_end(arguments);
}

void far__fail_with(const struct far_error *e)
{
	print_unseen();
	far__thread_known();	/* whose end prints it, if nobody has seen it by then */
	error = *e;
	far__failed = true;
	seen = false;
}

void far__fail(int code, int errnum, const char *function, const struct far__site *site, const char *format, ...)
{
	struct far_error e;
	va_list arguments;

	va_start(arguments, format);
	fill(&e, code, errnum, function, site, format, arguments);
	va_end(arguments);
	far__fail_with(&e);
}

void far__blame(const char *function, const struct far__site *site, const char *what)
{
	struct far_error e = *far_error(), as_ours;
	char where[128], text[sizeof e.message];

	print_place(where, sizeof where, e.file, e.line);
	const char *words = e.message + strlen(e.function) + 2;	/* behind "function: " */
	int length = (int)(strlen(words) - strlen(where));

	snprintf(text, sizeof text, "%s%.*s", what, length > 0 ? length : 0, words);
	far__error_fill(&as_ours, e.code, e.errnum, function, site, "%s", text);
	/* What befell a slave stays as it is. */
	e.function = as_ours.function;
	e.file = as_ours.file;
	e.line = as_ours.line;
	memcpy(e.message, as_ours.message, sizeof e.message);
	far__fail_with(&e);
}

struct far_error *far__failure(void)
{
	return &error;
}

void far__succeed_slowly(void)
{
	print_unseen();
	far__failed = false;
}

const struct far_error *far_error(void)
{
	if (!far__failed)
		return NULL;
	seen = true;
	return &error;
}

void far__error_thread_end(void)
{
	print_unseen();
	far__failed = false;
}

void far__error_forked(void)
{
	pthread_mutex_init(&printed.lock, NULL);
	printed.used = 0;
	far__failed = false;
}

__attribute__((destructor)) static void say_how_often(void)
{
	print_unseen();
	for (unsigned i = 0; i < printed.used; i++)
		if (printed.again[i])
			fprintf(stderr, "farcall: %u more like this: %s\n", printed.again[i], printed.text[i]);
	printed.used = 0;
}
