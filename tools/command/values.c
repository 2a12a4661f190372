/* Values as text: what a person writes for a parameter, and what a result looks like. */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "command.h"
#include "value.h"

enum { DEPTH_MAX = 16 };

/* ---------------------------------------------------------------- reading */

/* What is left of an argument, a struct's maybe. */
struct reader {
	const char *at;
	const char *whole;	/* for messages */
	unsigned depth;		/* of braces */
	struct bytes *last;
};

static bool wrong(const struct reader *r, const char *what)
{
	complain("'%s': %s", r->whole, what);
	return false;
}

static void skip_space(struct reader *r)
{
	while (r->depth && isspace((unsigned char)*r->at))
		r->at++;
}

/* Whether a value ends here. */
static bool is_end(const struct reader *r, const char *at)
{
	return !*at || (r->depth && (*at == ',' || *at == '}' || isspace((unsigned char)*at)));
}

static bool take_word(struct reader *r, const char *word)
{
	size_t length = strlen(word);

	if (strncmp(r->at, word, length) || !is_end(r, r->at + length))
		return false;
	r->at += length;
	return true;
}

static bool convert(const struct reader *r, const struct far__type *type, void *to, enum far__type_kind kind, bool is_signed,
		    const void *from, size_t size)
{
	const struct far__type written = {
		.kind = kind, .is_signed = is_signed, .is_complete = true, .size = size, .alignment = 8,
	};
	struct far__complaint why;

	return far__convert(type, to, &written, from, &why) || wrong(r, why.text);
}

/* A number without a fraction, as C writes it: whether it is one, which may be too large. */
static bool read_integer(struct reader *r, const struct far__type *type, void *to, bool *is)
{
	char *end;
	bool negative = *r->at == '-';

	errno = 0;
	long long s = negative ? strtoll(r->at, &end, 0) : 0;
	unsigned long long u = negative ? 0 : strtoull(r->at, &end, 0);

	*is = end != r->at && is_end(r, end) && !isspace((unsigned char)*r->at);
	if (!*is)
		return false;
	r->at = end;
	if (errno)
		return wrong(r, "it is too large");
	return negative ? convert(r, type, to, FAR_INTEGER, true, &s, sizeof s)
			: convert(r, type, to, FAR_INTEGER, false, &u, sizeof u);
}

/* 1.5, or 1+2i. */
static bool read_floating(struct reader *r, const struct far__type *type, void *to)
{
	char *end;

	errno = 0;
	long double part[2] = { strtold(r->at, &end), 0 };

	if (end != r->at && (*end == '+' || *end == '-')) {
		char *rest = end;

		part[1] = strtold(rest, &end);
		if (end == rest || *end++ != 'i')
			return wrong(r, "it is no number: a complex one is like 1.5+2i");
	}
	if (end == r->at || !is_end(r, end))
		return wrong(r, "it is no number");
	if (errno && (part[0] - part[0] != 0 || part[1] - part[1] != 0))
		return wrong(r, "it is too large");
	r->at = end;
	return part[1] != 0 ? convert(r, type, to, FAR_COMPLEX, true, part, sizeof part)
			    : convert(r, type, to, FAR_FLOAT, true, part, sizeof *part);
}

static bool read_number(struct reader *r, const struct far__type *type, void *to)
{
	bool is;

	if (type->kind == FAR_BOOL && (take_word(r, "true") || take_word(r, "false"))) {
		*(bool *)to = r->at[-2] == 'u';
		return true;
	}
	if (take_word(r, "#"))
		return r->last->at ? convert(r, type, to, FAR_INTEGER, false, &r->last->length, sizeof r->last->length)
				   : wrong(r, "there are no bytes before it to count");
	bool right = read_integer(r, type, to, &is);

	if (is)
		return right;
	if (type->kind == FAR_INTEGER && type->size == 1 && *r->at && is_end(r, r->at + 1)) {
		*(char *)to = *r->at++;
		return true;
	}
	return read_floating(r, type, to);
}

/* Everything that can be read from a descriptor, into the far heap. */
static bool read_all(int fd, struct bytes *b)
{
	size_t room = 0;
	ssize_t n;

	*b = (struct bytes){ 0 };
	do {
		if (room - b->length < 2) {
			char *more = far_realloc(b->at, room = room ? 2 * room : 65536);

			if (!more)
				return false;
			b->at = more;
		}
		n = read(fd, b->at + b->length, room - b->length - 1);
		if (n > 0)
			b->length += (size_t)n;
	} while (n > 0 || (n < 0 && errno == EINTR));
	b->at[b->length] = 0;
	return n == 0;
}

static bool read_file(const char *path, struct bytes *b)
{
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : STDIN_FILENO;
	bool all = fd >= 0 && read_all(fd, b);

	if (!all)
		complain("%s: %s", path ? path : "standard input", far_error() ? far_error()->message : strerror(errno));
	if (path && fd >= 0)
		close(fd);
	return all;
}

/* A pointer is to bytes: nothing else can be written here. */
static bool read_pointer(struct reader *r, void *to)
{
	struct bytes b = { 0 };

	if (r->depth)
		return take_word(r, "NULL") ? memset(to, 0, sizeof(void *)) != NULL
					    : wrong(r, "a pointer in a struct can only be NULL");
	const char *text = r->at;

	r->at += strlen(r->at);
	if (!strcmp(text, "NULL")) {
		memset(to, 0, sizeof(void *));
		return true;
	}
	if (*text == '@' || !strcmp(text, "-")) {
		if (!read_file(*text == '@' ? text + 1 : NULL, &b))
			return false;
	} else {
		b.length = strlen(text);
		b.at = far_alloc(b.length + 1);
		if (!b.at)
			return wrong(r, far_error()->message);
		memcpy(b.at, text, b.length + 1);
	}
	*r->last = b;
	memcpy(to, &b.at, sizeof b.at);
	return true;
}

static bool read_any(struct reader *r, const struct far__type *type, void *to);

/* "{1, 2}" for each member, or each element. */
static bool read_members(struct reader *r, const struct far__type *type, char *to)
{
	if (*r->at != '{' || ++r->depth > DEPTH_MAX)
		return wrong(r, "a struct, union or array is written {VALUE, VALUE, ...}");
	r->at++;
	/* Of a union the first alone. */
	uint64_t count = type->kind == FAR_UNION ? 1 : type->count;

	for (uint64_t i = 0; i < count; i++) {
		const struct far__field *m = type->kind == FAR_ARRAY ? NULL : &type->member[i];

		skip_space(r);
		if (m && m->bit_size)
			return wrong(r, "bit-fields cannot be written");
		if (!read_any(r, m ? m->type : type->target, to + (m ? m->offset : i * type->target->size)))
			return false;
		skip_space(r);
		if (i + 1 < count && *r->at++ != ',')
			return wrong(r, "it has fewer values than the type has members");
	}
	if (*r->at != '}')
		return wrong(r, "it has more values than the type has members, or '}' is missing");
	r->at++;
	r->depth--;
	return true;
}

static bool read_any(struct reader *r, const struct far__type *type, void *to)
{
	switch (type->kind) {
	case FAR_POINTER:
		return read_pointer(r, to);
	case FAR_ARRAY:
	case FAR_STRUCT:
	case FAR_UNION:
		return read_members(r, type, to);
	case FAR_VOID:
	case FAR_FUNCTION:
		return wrong(r, "there is no value of this type");
	default:
		return read_number(r, type, to);
	}
}

bool read_value(const struct far__type *type, const char *text, void *at, struct bytes *last)
{
	struct reader r = { .at = text, .whole = text, .last = last };

	/* As a parameter it is a pointer. */
	if (type->kind == FAR_ARRAY || type->kind == FAR_FUNCTION)
		return read_pointer(&r, at);
	if (!read_any(&r, type, at))
		return false;
	return !*r.at || wrong(&r, "something follows the value");
}

const struct far__type *guess_type(const char *text)
{
	static const struct far__type character = {
		.kind = FAR_INTEGER, .is_char = true, .is_complete = true, .size = 1, .alignment = 1, .name = "char",
	}, types[] = {
		{ .kind = FAR_INTEGER, .is_signed = true, .is_complete = true, .size = 4, .alignment = 4, .name = "int" },
		{ .kind = FAR_INTEGER, .is_signed = true, .is_complete = true, .size = 8, .alignment = 8, .name = "long" },
		{ .kind = FAR_FLOAT, .is_complete = true, .size = 8, .alignment = 8, .name = "double" },
		{ .kind = FAR_POINTER, .is_complete = true, .size = 8, .alignment = 8, .to_const = true, .target = &character },
	};
	char *end;
	long n = strtol(text, &end, 0);

	if (end != text && !*end)
		return n == (int)n ? &types[0] : &types[1];
	if (!strcmp(text, "#"))
		return &types[1];
	(void)strtod(text, &end);
	return end != text && !*end ? &types[2] : &types[3];
}

/* --------------------------------------------------------------- printing */

static void print_quoted(FILE *stream, const char *text)
{
	fputc('"', stream);
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;

		if (c == '"' || c == '\\')
			fprintf(stream, "\\%c", c);
		else if (c == '\n')
			fputs("\\n", stream);
		else if (c == '\t')
			fputs("\\t", stream);
		else if (c < ' ' || c == 127)
			fprintf(stream, "\\%03o", c);
		else
			fputc(c, stream);
	}
	fputc('"', stream);
}

/* In the slave: a copy of a string for all to see. */
static char *copy_there(const char *text)
{
	size_t length = strlen(text);
	char *copy = far_alloc(length + 1);

	return copy ? memcpy(copy, text, length + 1) : NULL;
}

static void print_pointer(FILE *stream, struct far_slave *slave, const struct far__type *type, const void *at)
{
	const char *p, *copy = NULL;

	memcpy(&p, at, sizeof p);
	if (!p) {
		fputs("NULL", stream);
		return;
	}
	if (type->target->is_char)
		copy = far_invoke(slave, copy_there, far_remote(p));
	(void)far_error();
	if (copy)
		print_quoted(stream, copy);
	else
		fprintf(stream, "%p", (const void *)p);
	far_free((void *)(uintptr_t)copy);
}

static void print_integer(FILE *stream, const struct far__type *type, const void *at)
{
	unsigned long long low = 0, high = 0;

	memcpy(&low, at, type->size < sizeof low ? type->size : sizeof low);
	if (type->size > sizeof low)
		memcpy(&high, (const char *)at + sizeof low, sizeof high);
	if (high)
		fprintf(stream, "0x%llx%016llx", high, low);
	else if (!type->is_signed || !type->size)
		fprintf(stream, "%llu", low);
	else
		fprintf(stream, "%lld", (long long)(low << (64 - 8 * (type->size < 8 ? type->size : 8))) >>
				(64 - 8 * (type->size < 8 ? type->size : 8)));
}

/* As few digits as tell it from all others. */
static void print_real(FILE *stream, size_t size, const void *at)
{
	long double value = far__read_real(size, at), again;
	char text[64];

	for (int digits = 6; digits <= 21; digits++) {
		snprintf(text, sizeof text, "%.*Lg", digits, value);
		again = size == sizeof(float) ? strtof(text, NULL) : size == sizeof(double) ? strtod(text, NULL) : strtold(text, NULL);
		if (again == value)
			break;
	}
	fputs(text, stream);
}

static void print_members(FILE *stream, struct far_slave *slave, const struct far__type *type, const char *at)
{
	fputc('{', stream);
	for (uint64_t i = 0; i < type->count; i++) {
		const struct far__field *m = type->kind == FAR_ARRAY ? NULL : &type->member[i];

		fputs(i ? ", " : "", stream);
		if (m && m->name)
			fprintf(stream, ".%s = ", m->name);
		if (m && m->bit_size)
			fputs("...", stream);
		else
			print_value(stream, slave, m ? m->type : type->target, at + (m ? m->offset : i * type->target->size));
	}
	fputc('}', stream);
}

void print_value(FILE *stream, struct far_slave *slave, const struct far__type *type, const void *at)
{
	switch (type->kind) {
	case FAR_VOID:
	case FAR_FUNCTION:
		break;
	case FAR_BOOL:
		fputs(*(const unsigned char *)at ? "true" : "false", stream);
		break;
	case FAR_INTEGER:
	case FAR_ENUM:
		print_integer(stream, type, at);
		break;
	case FAR_FLOAT:
		print_real(stream, type->size, at);
		break;
	case FAR_COMPLEX:
		print_real(stream, type->size / 2, at);
		fputs(" + ", stream);
		print_real(stream, type->size / 2, (const char *)at + type->size / 2);
		fputs("i", stream);
		break;
	case FAR_POINTER:
		print_pointer(stream, slave, type, at);
		break;
	case FAR_ARRAY:
	case FAR_STRUCT:
	case FAR_UNION:
		print_members(stream, slave, type, at);
		break;
	}
}
