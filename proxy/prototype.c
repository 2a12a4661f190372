/*
 * A C prototype given as text becomes a function type.
 *
 * A parser by recursive descent for declarations as C17 and GNU C have them. It
 * refuses all that it does not know. A declarator is read from its middle to the
 * outside but its type is built the other way round; so what is in parentheses is
 * skipped at first, and read when the type around it is known.
 */
#include "prototype.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <time.h>
#include <wchar.h>

enum {
	DEPTH_MAX = 32,		/* of parentheses, parameters' parameters, structs in structs */
	TEXT_MAX = 65536,
	TAGS_MAX = 64,		/* types that are named in a prototype */
	NAME_SIZE = 256,
	SHOWN = 100,		/* characters of a longer text, around what is wrong */
};

enum token { END, IDENTIFIER, NUMBER, PUNCTUATION, BAD };

/* A type that was met, so that one name is one type. */
struct known {
	const char *name;	/* as struct far__names has it */
	const struct far__type *type;
	struct far__type *ours;	/* the same, if it was made here */
};

struct parser {
	const char *text;
	const char *begin, *end;	/* the token to be read next */
	enum token token;
	unsigned depth;
	bool failed;
	struct far__arena *arena;
	const struct far__names *names;
	struct far__complaint *why;
	struct known known[TAGS_MAX];
	unsigned known_count;
};

/* What is declared: a name, which may be missing, and its type. */
struct declared {
	const char *begin;	/* of the declaration, in the text */
	const char *name;	/* there too */
	size_t length;
	const struct far__type *type;
	bool is_const;
};

/* ------------------------------------------------------------------ errors */

/* "message", the text and a caret under @at. Only the first thing that is wrong is told. NULL. */
__attribute__((format(printf, 3, 4)))
static void *wrong(struct parser *p, const char *at, const char *format, ...)
{
	const size_t offset = (size_t)(at - p->text), length = strlen(p->text);
	size_t from = offset > SHOWN / 2 && length > SHOWN ? offset - SHOWN / 2 : 0;
	char message[400], line[SHOWN + 1];
	va_list arguments;
	size_t n = 0;

	if (p->failed)
		return NULL;
	p->failed = true;
	va_start(arguments, format);
	vsnprintf(message, sizeof message, format, arguments);
	va_end(arguments);
	for (; n < SHOWN && p->text[from + n]; n++) {
		unsigned char c = (unsigned char)p->text[from + n];

		line[n] = c == '\t' || c == '\n' || c == '\r' ? ' ' : c < ' ' || c > '~' ? '?' : (char)c;
	}
	line[n] = 0;
	far__refuse(p->why, "%s\n%s\n%*s^", message, line, (int)(offset - from), "");
	if (p->why)
		p->why->offset = (int)offset;
	return NULL;
}

static void *no_memory(struct parser *p)
{
	return wrong(p, p->begin, "no memory for the types of this prototype");
}

/* How much of the current token is printed. */
static int shown(const struct parser *p)
{
	return p->end - p->begin < 80 ? (int)(p->end - p->begin) : 80;
}

/* "expected X, not Y". */
static void *expected(struct parser *p, const char *what)
{
	if (p->token == END)
		return wrong(p, p->begin, "expected %s at the end", what);
	return wrong(p, p->begin, "expected %s, not '%.*s'", what, shown(p), p->begin);
}

/* ------------------------------------------------------------------ tokens */

#define DIGITS			"0123456789"
#define LETTERS_AND_DIGITS	DIGITS "ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz"

/* Behind white space and comments. */
static const char *skip_space(const char *s)
{
	for (;;) {
		const char *close = s;

		s += strspn(s, " \t\n\r\f\v");
		if (s[0] == '/' && s[1] == '*' && (close = strstr(s + 2, "*/")))
			s = close + 2;
		else if (s[0] == '/' && s[1] == '/')
			s += strcspn(s, "\n");
		else
			return s;
	}
}

static void read_token(struct parser *p, const char *from)
{
	const char *s = skip_space(from);

	p->begin = s;
	if (!*s) {
		p->token = END;
	} else if (strchr(LETTERS_AND_DIGITS, *s)) {
		p->token = strchr(DIGITS, *s) ? NUMBER : IDENTIFIER;
		s += strspn(s, LETTERS_AND_DIGITS);
	} else {
		p->token = strchr("*()[]{},;:=", *s) || !strncmp(s, "...", 3) ? PUNCTUATION : BAD;
		s += *s == '.' && p->token == PUNCTUATION ? 3 : 1;
	}
	p->end = s;
}

static void next(struct parser *p)
{
	read_token(p, p->end);
}

static bool is(const struct parser *p, const char *token)
{
	size_t length = strlen(token);

	return (size_t)(p->end - p->begin) == length && !memcmp(p->begin, token, length);
}

static bool take(struct parser *p, const char *token)
{
	if (!is(p, token))
		return false;
	next(p);
	return true;
}

static bool is_one_of(const struct parser *p, const char *const *list)
{
	while (*list && !is(p, *list))
		list++;
	return *list;
}

/* From "(" to behind the ")" that closes it; the same for other brackets. */
static bool skip_brackets(struct parser *p)
{
	const char *open = p->begin;
	unsigned depth = 0;

	do {
		if (p->token == END) {
			wrong(p, open, "this '%c' is never closed", *open);
			return false;
		}
		depth += is(p, "(") || is(p, "[") || is(p, "{");
		depth -= is(p, ")") || is(p, "]") || is(p, "}");
		next(p);
	} while (depth);
	return true;
}

/* Deeper by one: false, and that is wrong, beyond the limit. */
static bool enter(struct parser *p)
{
	if (p->depth == DEPTH_MAX) {
		wrong(p, p->begin, "nested more than %d deep", DEPTH_MAX);
		return false;
	}
	p->depth++;
	return true;
}

/* ------------------------------------------------------------- known types */

struct basic {
	const char *name;
	enum far__type_kind kind;
	uint8_t size;
	bool is_signed;
};

#define SIGNED(type) ((type)-1 < (type)1)	/* "< 0" would be warned of */
#define INTEGER(type) { #type, FAR_INTEGER, sizeof(type), SIGNED(type) }

static const struct basic basics[] = {
	{ "bool", FAR_BOOL, sizeof(bool), false },
	INTEGER(int8_t), INTEGER(int16_t), INTEGER(int32_t), INTEGER(int64_t),
	INTEGER(uint8_t), INTEGER(uint16_t), INTEGER(uint32_t), INTEGER(uint64_t),
	INTEGER(int_least8_t), INTEGER(int_least16_t), INTEGER(int_least32_t), INTEGER(int_least64_t),
	INTEGER(uint_least8_t), INTEGER(uint_least16_t), INTEGER(uint_least32_t), INTEGER(uint_least64_t),
	INTEGER(int_fast8_t), INTEGER(int_fast16_t), INTEGER(int_fast32_t), INTEGER(int_fast64_t),
	INTEGER(uint_fast8_t), INTEGER(uint_fast16_t), INTEGER(uint_fast32_t), INTEGER(uint_fast64_t),
	INTEGER(intptr_t), INTEGER(uintptr_t), INTEGER(intmax_t), INTEGER(uintmax_t),
	INTEGER(size_t), INTEGER(ssize_t), INTEGER(ptrdiff_t), INTEGER(wchar_t), INTEGER(wint_t),
	INTEGER(off_t), INTEGER(pid_t), INTEGER(uid_t), INTEGER(gid_t), INTEGER(mode_t), INTEGER(dev_t), INTEGER(ino_t),
	INTEGER(nlink_t), INTEGER(blkcnt_t), INTEGER(blksize_t), INTEGER(id_t), INTEGER(clockid_t),
	INTEGER(time_t), INTEGER(clock_t), INTEGER(suseconds_t), INTEGER(useconds_t),
	{ "socklen_t", FAR_INTEGER, 4, false },
	{ "off64_t", FAR_INTEGER, 8, true },
	/* To be pointed to. */
	{ "FILE", FAR_STRUCT, 0, false },
	{ "DIR", FAR_STRUCT, 0, false },
};

static struct far__type *make_basic(struct parser *p, const struct basic *b)
{
	struct far__type *t = far__type_new(p->arena, b->kind);

	if (!t)
		return no_memory(p);
	t->size = b->size;
	t->is_complete = b->size || b->kind == FAR_VOID;
	t->is_signed = b->is_signed;
	if (b->size)
		t->alignment = b->kind == FAR_COMPLEX ? b->size / 2 : b->size;
	t->name = far__arena_text(p->arena, b->name, strlen(b->name));
	return t->name ? t : no_memory(p);
}

static const struct known *recall(const struct parser *p, const char *name)
{
	for (unsigned i = 0; i < p->known_count; i++)
		if (!strcmp(p->known[i].name, name))
			return &p->known[i];
	return NULL;
}

/* NULL if there is no room. */
static const struct known *remember(struct parser *p, const char *name, const struct far__type *type,
				    struct far__type *ours)
{
	if (p->known_count == TAGS_MAX)
		return wrong(p, p->begin, "more than %d types are named here", TAGS_MAX);
	name = far__arena_text(p->arena, name, strlen(name));
	if (!name)
		return no_memory(p);
	p->known[p->known_count] = (struct known){ name, type, ours };
	return &p->known[p->known_count++];
}

/* What is known here by that name, or elsewhere; or NULL. */
static const struct known *find(struct parser *p, const char *name)
{
	const struct known *k = recall(p, name);

	if (k || !p->names)
		return k;
	const struct far__type *t = p->names->find(p->names->arg, name);

	return t ? remember(p, name, t, NULL) : NULL;
}

/* The type that the current token is the name of, or NULL. */
static const struct far__type *find_typedef(struct parser *p)
{
	const size_t length = (size_t)(p->end - p->begin);
	char name[NAME_SIZE];

	if (p->token != IDENTIFIER || length >= NAME_SIZE)
		return NULL;
	snprintf(name, sizeof name, "%.*s", (int)length, p->begin);
	const struct known *k = recall(p, name);

	for (size_t i = 0; !k && i < sizeof basics / sizeof *basics; i++) {
		if (strcmp(basics[i].name, name))
			continue;
		struct far__type *t = make_basic(p, &basics[i]);

		if (!t || !(k = remember(p, name, t, NULL)))
			return NULL;
	}
	if (!k)
		k = find(p, name);
	return k ? k->type : NULL;
}

/* --------------------------------------------------------------- specifiers */

/* The words of basic types, counted as they come: C allows any order. */
enum word {
	VOID, BOOL, CHAR, SHORT, INT, LONG, FLOAT, DOUBLE, SIGNED_, UNSIGNED, COMPLEX, INT128, WORDS,
};

static const struct {
	const char *text;
	enum word word;
} words[] = {
	{ "void", VOID }, { "_Bool", BOOL }, { "char", CHAR }, { "short", SHORT }, { "int", INT }, { "long", LONG },
	{ "float", FLOAT }, { "double", DOUBLE }, { "signed", SIGNED_ }, { "__signed__", SIGNED_ },
	{ "__signed", SIGNED_ }, { "unsigned", UNSIGNED }, { "_Complex", COMPLEX }, { "__complex__", COMPLEX },
	{ "complex", COMPLEX }, { "__int128", INT128 },
};

#define ONE(word) (1u << 2 * (word))	/* two bits count each word */

/* All that can be said with them: "int" beside short and long, and "signed" beside all but char, are left out. */
static const struct {
	uint32_t words;
	struct basic type;
} combinations[] = {
	{ ONE(VOID), { "void", FAR_VOID, 0, false } },
	{ ONE(BOOL), { "_Bool", FAR_BOOL, sizeof(bool), false } },
	{ ONE(CHAR), { "char", FAR_INTEGER, 1, SIGNED(char) } },
	{ ONE(CHAR) + ONE(SIGNED_), { "signed char", FAR_INTEGER, 1, true } },
	{ ONE(CHAR) + ONE(UNSIGNED), { "unsigned char", FAR_INTEGER, 1, false } },
	{ ONE(SHORT), { "short", FAR_INTEGER, sizeof(short), true } },
	{ ONE(SHORT) + ONE(UNSIGNED), { "unsigned short", FAR_INTEGER, sizeof(short), false } },
	{ ONE(INT), { "int", FAR_INTEGER, sizeof(int), true } },
	{ ONE(UNSIGNED), { "unsigned int", FAR_INTEGER, sizeof(int), false } },
	{ ONE(LONG), { "long", FAR_INTEGER, sizeof(long), true } },
	{ ONE(LONG) + ONE(UNSIGNED), { "unsigned long", FAR_INTEGER, sizeof(long), false } },
	{ 2 * ONE(LONG), { "long long", FAR_INTEGER, sizeof(long long), true } },
	{ 2 * ONE(LONG) + ONE(UNSIGNED), { "unsigned long long", FAR_INTEGER, sizeof(long long), false } },
	{ ONE(INT128), { "__int128", FAR_INTEGER, 16, true } },
	{ ONE(INT128) + ONE(UNSIGNED), { "unsigned __int128", FAR_INTEGER, 16, false } },
	{ ONE(FLOAT), { "float", FAR_FLOAT, sizeof(float), true } },
	{ ONE(DOUBLE), { "double", FAR_FLOAT, sizeof(double), true } },
	{ ONE(LONG) + ONE(DOUBLE), { "long double", FAR_FLOAT, sizeof(long double), true } },
	{ ONE(COMPLEX) + ONE(FLOAT), { "float _Complex", FAR_COMPLEX, 2 * sizeof(float), true } },
	{ ONE(COMPLEX) + ONE(DOUBLE), { "double _Complex", FAR_COMPLEX, 2 * sizeof(double), true } },
	{ ONE(COMPLEX) + ONE(LONG) + ONE(DOUBLE),
	  { "long double _Complex", FAR_COMPLEX, 2 * sizeof(long double), true } },
};

static const struct far__type *combine(struct parser *p, uint32_t said, const char *at)
{
	const uint32_t sizes = ONE(SHORT) | 3 * ONE(LONG), others = ONE(CHAR) | ONE(DOUBLE) | ONE(INT128);
	const uint32_t signed_anyway = sizes | ONE(INT) | ONE(INT128);

	/* "int" says nothing beside these ... */
	if (said & ONE(INT) && said & (sizes | ONE(UNSIGNED)) && !(said & others))
		said -= ONE(INT);
	/* ... nor "signed" beside what is not char; alone it is "int". */
	if (said == ONE(SIGNED_))
		said = ONE(INT);
	else if (said & ONE(SIGNED_) && said & signed_anyway && !(said & (ONE(DOUBLE) | ONE(UNSIGNED))))
		said -= ONE(SIGNED_);
	for (size_t i = 0; i < sizeof combinations / sizeof *combinations; i++) {
		if (combinations[i].words != said)
			continue;
		struct far__type *t = make_basic(p, &combinations[i].type);

		if (t)
			t->is_char = said == ONE(CHAR);
		return t;
	}
	return wrong(p, at, "these words together are no type");
}

static bool skip_attribute(struct parser *p)
{
	static const char *const changing[] = {
		"packed", "aligned", "vector_size", "mode", "ms_abi", "ms_struct", "gcc_struct", "regparm", "stdcall",
		"fastcall", "regcall", "vectorcall", "transparent_union", "scalar_storage_order", "address_space", NULL,
	};
	const char *begin = p->end;

	next(p);
	if (!is(p, "("))
		return expected(p, "'((' behind __attribute__");
	if (!skip_brackets(p))
		return false;
	struct parser inner = { .text = p->text, .end = begin };

	for (next(&inner); inner.begin < p->begin && inner.token != END; next(&inner)) {
		const struct parser whole = inner;

		/* __packed__ is packed. */
		if (inner.end - inner.begin > 4 && !strncmp(inner.begin, "__", 2) && !strncmp(inner.end - 2, "__", 2)) {
			inner.begin += 2;
			inner.end -= 2;
		}
		if (inner.token == IDENTIFIER && is_one_of(&inner, changing))
			return wrong(p, inner.begin, "attributes that change layout or calls are not known here");
		inner = whole;
	}
	return true;
}

/* What says nothing of the type, or of it only const: true if one was taken. */
static bool take_qualifier(struct parser *p, bool *is_const)
{
	static const char *const constant[] = { "const", "__const", "__const__", NULL };
	static const char *const silent[] = {
		"volatile", "__volatile__", "restrict", "__restrict", "__restrict__", "extern", "static", "inline",
		"__inline", "__inline__", "register", "_Noreturn", "__extension__", NULL,
	};

	if (is_one_of(p, constant)) {
		*is_const = true;
		next(p);
		return true;
	}
	if (is(p, "__attribute__") || is(p, "__attribute"))
		return skip_attribute(p);
	if (!is_one_of(p, silent))
		return false;
	next(p);
	return true;
}

/* Words that are C, or look so, but cannot stand in a prototype that can be called. */
static const char *reason_against(const struct parser *p)
{
	static const struct {
		const char *word, *reason;
	} refused[] = {
		{ "_Atomic", "atomic types cannot be passed" },
		{ "va_list", "a va_list cannot be passed: take '...' or the function's sister without v" },
		{ "__builtin_va_list", "a va_list cannot be passed" },
		{ "__gnuc_va_list", "a va_list cannot be passed" },
		{ "typedef", "a function is wanted, not a typedef" },
		{ "auto", "'auto' is no type" },
		{ "typeof", "an expression's type is not known here" },
		{ "__typeof__", "an expression's type is not known here" },
		{ "_Alignas", "alignment that is asked for is not known here" },
		{ "_Thread_local", "a function is wanted, not a variable" },
		{ "__thread", "a function is wanted, not a variable" },
		{ "_Imaginary", "imaginary types are not known here" },
		{ "_Float128", "_Float128 cannot be passed" },
		{ "__float128", "__float128 cannot be passed" },
		{ "_Decimal32", "decimal types cannot be passed" },
		{ "_Decimal64", "decimal types cannot be passed" },
		{ "_Decimal128", "decimal types cannot be passed" },
	};

	for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
		if (is(p, refused[i].word))
			return refused[i].reason;
	return NULL;
}

/* The word that comes next, or WORDS. */
static enum word word_of(const struct parser *p)
{
	for (size_t i = 0; i < sizeof words / sizeof *words; i++)
		if (is(p, words[i].text))
			return words[i].word;
	return WORDS;
}

static bool take_word(struct parser *p, enum word word, uint32_t *said)
{
	const uint32_t most = word == LONG ? 2 : 1;

	if ((*said >> 2 * word & 3) == most)
		return wrong(p, p->begin, "'%.*s' once too often", shown(p), p->begin);
	*said += ONE(word);
	next(p);
	return true;
}

static const struct far__type *tagged(struct parser *p);

static bool is_tag_keyword(const struct parser *p)
{
	return is(p, "struct") || is(p, "union") || is(p, "enum");
}

/* Words that begin a declaration: the base type, and whether it is const. */
static const struct far__type *specifiers(struct parser *p, bool *is_const)
{
	const char *const begin = p->begin;
	const struct far__type *type = NULL;
	uint32_t said = 0;

	*is_const = false;
	for (;;) {
		const char *reason = reason_against(p), *at = p->begin;

		if (reason)
			return wrong(p, at, "%s", reason);
		if (take_qualifier(p, is_const))
			continue;
		if (p->failed)
			return NULL;
		if (is_tag_keyword(p) && !said && !type) {
			type = tagged(p);
			if (!type)
				return NULL;
		} else if (word_of(p) != WORDS) {
			if (type)
				return wrong(p, at, "a second type");
			if (!take_word(p, word_of(p), &said))
				return NULL;
		} else if (!said && !type && (type = find_typedef(p))) {
			next(p);
		} else {
			break;
		}
	}
	if (p->failed)
		return NULL;
	if (said)
		return combine(p, said, begin);
	if (type)
		return type;
	if (p->token == IDENTIFIER)
		return wrong(p, p->begin, "no type '%.*s' is known", shown(p), p->begin);
	return expected(p, "a type");
}

/* ------------------------------------------------------------- declarators */

static bool declarator(struct parser *p, struct declared *d);

/* How many items there can be from here to the bracket that closes, for the room they need. */
static size_t count_items(const struct parser *p)
{
	struct parser ahead = *p;
	unsigned depth = 0;
	size_t n = 1;

	for (; ahead.token != END; next(&ahead)) {
		n += !depth && (is(&ahead, ",") || is(&ahead, ";"));
		depth += is(&ahead, "(") || is(&ahead, "[") || is(&ahead, "{");
		if (is(&ahead, ")") || is(&ahead, "]") || is(&ahead, "}"))
			if (!depth--)
				break;
	}
	return n;
}

/* Whether there can be a value of what was declared at @at. */
static bool check_value(struct parser *p, const struct declared *d, const char *at)
{
	char name[80];

	if (d->type->is_complete && d->type->kind != FAR_VOID && d->type->kind != FAR_FUNCTION)
		return true;
	far__type_print(d->type, NULL, name, sizeof name);
	if (d->type->kind == FAR_VOID)
		return wrong(p, at, "there is no value of type void");
	if (d->type->kind == FAR_FUNCTION)
		return wrong(p, at, "a function is no value");
	if (d->type->kind == FAR_ARRAY)
		return wrong(p, at, "the size of this array is not known");
	return wrong(p, at, "%s is not known: only a pointer to it can be used", name);
}

/* A copy of the name in the graph, or NULL for none. */
static const char *keep_name(struct parser *p, const struct declared *d)
{
	const char *name = d->name ? far__arena_text(p->arena, d->name, d->length) : NULL;

	return name || !d->name ? name : no_memory(p);
}

static bool parameter(struct parser *p, struct far__field *m)
{
	struct declared d = { .begin = p->begin };

	d.type = specifiers(p, &d.is_const);
	if (!d.type || !declarator(p, &d))
		return false;
	/* An array or a function is passed by its address. */
	if (d.type->kind == FAR_ARRAY)
		d.type = far__type_pointer(p->arena, d.type->target, d.type->to_const);
	else if (d.type->kind == FAR_FUNCTION)
		d.type = far__type_pointer(p->arena, d.type, false);
	if (!d.type)
		return no_memory(p);
	*m = (struct far__field){ .name = keep_name(p, &d), .type = d.type, .is_const = d.is_const };
	return check_value(p, &d, d.begin);
}

/* "(void)" and, as in C23, "()". */
static bool takes_nothing(struct parser *p)
{
	if (is(p, "void")) {
		struct parser ahead = *p;

		next(&ahead);
		if (is(&ahead, ")"))
			next(p);
	}
	return is(p, ")");
}

static bool parameters(struct parser *p, struct far__type *function)
{
	struct far__field *m = far__arena_alloc(p->arena, count_items(p) * sizeof *m);

	if (!m)
		return no_memory(p);
	function->member = m;
	if (takes_nothing(p))
		return true;
	do {
		if (is(p, "...")) {
			if (!function->count)
				return wrong(p, p->begin, "a parameter must come before '...'");
			function->is_variadic = true;
			next(p);
			break;
		}
		if (!parameter(p, &m[function->count]))
			return false;
		function->count++;
	} while (take(p, ","));
	return true;
}

static bool suffixes(struct parser *p, struct declared *d);

static bool function_suffix(struct parser *p, struct declared *d)
{
	struct far__type *t = far__type_new(p->arena, FAR_FUNCTION);
	const char *const at = p->begin;

	if (!t)
		return no_memory(p);
	next(p);
	if (!parameters(p, t))
		return false;
	if (!take(p, ")"))
		return expected(p, "',' or ')'");
	if (!suffixes(p, d))
		return false;
	if (d->type->kind == FAR_ARRAY || d->type->kind == FAR_FUNCTION)
		return wrong(p, at, "a function cannot return %s",
			     d->type->kind == FAR_ARRAY ? "an array" : "a function");
	if (d->type->kind != FAR_VOID && !check_value(p, d, d->begin))
		return false;
	t->target = d->type;
	d->type = t;
	d->is_const = false;
	return true;
}

/* What is in the brackets: a number of elements, or 0 for one that is not known here. */
static bool array_count(struct parser *p, uint64_t *count)
{
	const char *const at = p->begin;
	bool ignored;
	char *end;

	while (take_qualifier(p, &ignored))
		;
	*count = 0;
	if (p->token == NUMBER) {
		*count = strtoull(p->begin, &end, 0);
		end += strspn(end, "uUlL");
		if (end != p->end)
			return wrong(p, p->begin, "this is no whole number");
		if (!*count || *count > UINT32_MAX)
			return wrong(p, p->begin, *count ? "too many elements" : "an array has at least one element");
		next(p);
		if (is(p, "]"))
			return true;
		*count = 0;
	}
	/* Some expression. What closes is looked for from the begin, to tell where that is missing. */
	while (!is(p, "]")) {
		if (p->token == END || is(p, "}") || is(p, ";"))
			return wrong(p, at, "expected a number of elements and ']'");
		if (is(p, "(") || is(p, "[")) {
			if (!skip_brackets(p))
				return false;
		} else {
			next(p);
		}
	}
	return true;
}

static bool array_suffix(struct parser *p, struct declared *d)
{
	struct far__type *t = far__type_new(p->arena, FAR_ARRAY);
	const char *const at = p->begin;

	if (!t)
		return no_memory(p);
	next(p);
	if (!array_count(p, &t->count))
		return false;
	next(p);
	if (!suffixes(p, d) || !check_value(p, d, at))
		return false;
	if (__builtin_mul_overflow(t->count, d->type->size, &t->size))
		return wrong(p, at, "this array is too large");
	t->alignment = d->type->alignment;
	t->is_complete = t->count;
	t->target = d->type;
	t->to_const = d->is_const;
	d->type = t;
	d->is_const = false;
	return true;
}

/* What follows a name: the last is nearest to the base type. */
static bool suffixes(struct parser *p, struct declared *d)
{
	bool done;

	if (!is(p, "(") && !is(p, "["))
		return true;
	if (!enter(p))
		return false;
	done = is(p, "(") ? function_suffix(p, d) : array_suffix(p, d);
	p->depth--;
	return done;
}

/* At "(": whether it encloses a declarator, not parameters. */
static bool is_grouping(const struct parser *p)
{
	struct parser ahead = *p;
	bool ignored;

	next(&ahead);
	if (is(&ahead, ")") || is(&ahead, "...") || is(&ahead, ","))
		return false;
	return !is_tag_keyword(&ahead) && word_of(&ahead) == WORDS && !reason_against(&ahead) &&
	       !take_qualifier(&ahead, &ignored) && !ahead.failed && !find_typedef(&ahead);
}

static bool take_name(struct parser *p, struct declared *d)
{
	static const char *const keywords[] = {
		"if", "else", "for", "while", "do", "switch", "case", "default", "break", "continue", "return", "goto",
		"sizeof", "struct", "union", "enum", NULL,
	};

	if (is_one_of(p, keywords) || reason_against(p))
		return wrong(p, p->begin, "'%.*s' is a word of C, no name", shown(p), p->begin);
	d->name = p->begin;
	d->length = (size_t)(p->end - p->begin);
	next(p);
	return true;
}

static bool pointers(struct parser *p, struct declared *d)
{
	while (!p->failed && take(p, "*")) {
		d->type = far__type_pointer(p->arena, d->type, d->is_const);
		d->is_const = false;
		if (!d->type)
			return no_memory(p);
		while (take_qualifier(p, &d->is_const))
			;
	}
	return !p->failed;
}

/* What makes, of the base type in @d, the type of the name that is declared; there may be none. */
static bool declarator(struct parser *p, struct declared *d)
{
	const char *inside = NULL;
	bool ignored;

	if (!enter(p) || !pointers(p, d))
		return false;
	if (is(p, "(") && is_grouping(p)) {
		inside = p->end;
		if (!skip_brackets(p))
			return false;
	} else if (p->token == IDENTIFIER && !take_name(p, d)) {
		return false;
	}
	if (!suffixes(p, d))
		return false;
	while (is(p, "__attribute__") && take_qualifier(p, &ignored))
		;
	if (inside) {
		const char *const behind = p->begin;

		read_token(p, inside);
		if (!declarator(p, d))
			return false;
		if (!is(p, ")"))
			return expected(p, "')'");
		read_token(p, behind);
	}
	p->depth--;
	return !p->failed;
}

/* ------------------------------------------------------ structs and unions */

static bool bit_size(struct parser *p, struct far__field *m)
{
	const enum far__type_kind kind = m->type->kind;
	char *end;

	if (kind != FAR_INTEGER && kind != FAR_ENUM && kind != FAR_BOOL)
		return wrong(p, p->begin, "only an integer can be a bit-field");
	next(p);
	const unsigned long bits = strtoul(p->begin, &end, 0), most = kind == FAR_BOOL ? 1 : m->type->size * 8;

	if (p->token != NUMBER || end != p->end)
		return expected(p, "a number of bits");
	if (bits > most || (!bits && m->name))
		return wrong(p, p->begin, "a bit-field of this type has 1 to %lu bits", most);
	m->bit_size = (uint32_t)bits;
	next(p);
	return true;
}

/* One declarator of a member. */
static bool member(struct parser *p, const struct declared *base, struct far__field *m)
{
	const char *const at = p->begin;
	struct declared d = *base;

	if (!declarator(p, &d))
		return false;
	*m = (struct far__field){ .name = keep_name(p, &d), .type = d.type, .is_const = d.is_const };
	if (is(p, ":"))
		return bit_size(p, m);
	if (!d.name)
		return expected(p, "a member's name");
	if (d.type->kind == FAR_ARRAY && !d.type->is_complete) {
		struct parser ahead = *p;

		next(&ahead);
		if (is(p, ";") && is(&ahead, "}"))
			return true;	/* a flexible array */
	}
	return check_value(p, &d, at);
}

/* "int x, y : 3;" */
static bool member_declaration(struct parser *p, struct far__type *t, struct far__field *m)
{
	struct declared base = { .begin = p->begin };

	base.type = specifiers(p, &base.is_const);
	if (!base.type)
		return false;
	if (is(p, ";") && !base.type->name && (base.type->kind == FAR_STRUCT || base.type->kind == FAR_UNION)) {
		m[t->count++] = (struct far__field){ .type = base.type, .is_const = base.is_const };
	} else {
		do {
			if (!member(p, &base, &m[t->count]))
				return false;
			t->count++;
		} while (take(p, ","));
	}
	return take(p, ";") || expected(p, "';'");
}

static bool members(struct parser *p, struct far__type *t)
{
	const char *const at = p->begin;

	next(p);
	struct far__field *m = far__arena_alloc(p->arena, count_items(p) * sizeof *m);

	if (!m)
		return no_memory(p);
	while (!is(p, "}"))
		if (!member_declaration(p, t, m))
			return false;
	next(p);
	if (!t->count)
		return wrong(p, at, "it has no members");
	if (!far__type_lay_out(t, m, t->count))
		return wrong(p, at, "it is too large");
	t->is_complete = true;
	return true;
}

/* A new struct or union, to be defined. */
static struct far__type *make_aggregate(struct parser *p, enum far__type_kind kind)
{
	struct far__type *t = far__type_new(p->arena, kind);

	if (!t)
		return no_memory(p);
	t->is_complete = false;
	return t;
}

/* What is called so, or else a new struct or union; of which one that is @defined here must be. */
static const struct known *named(struct parser *p, enum far__type_kind kind, const char *keyword, const char *tag,
				 size_t length, bool defined)
{
	char name[NAME_SIZE];

	if (snprintf(name, sizeof name, "%s %.*s", keyword, (int)length, tag) >= (int)sizeof name)
		return wrong(p, tag, "this name is too long");
	const struct known *k = defined ? recall(p, name) : find(p, name);

	if (k && defined && (!k->ours || k->type->is_complete))
		return wrong(p, tag, "%s is defined already", name);
	if (k || p->failed)
		return k;
	if (kind == FAR_ENUM)
		return wrong(p, tag, "%s is not known", name);
	struct far__type *t = make_aggregate(p, kind);

	if (!t || !(t->name = far__arena_text(p->arena, tag, length)))
		return no_memory(p);
	t->is_tag = true;
	return remember(p, name, t, t);
}

static bool skip_attributes(struct parser *p)
{
	while (is(p, "__attribute__"))
		if (!skip_attribute(p))
			return false;
	return true;
}

/* "struct tag", "struct tag { ... }" and "struct { ... }"; the same of a union; "enum tag". */
static const struct far__type *tagged(struct parser *p)
{
	const enum far__type_kind kind = is(p, "struct") ? FAR_STRUCT : is(p, "union") ? FAR_UNION : FAR_ENUM;
	const char *const keyword = kind == FAR_STRUCT ? "struct" : kind == FAR_UNION ? "union" : "enum";
	const struct known *k = NULL;

	next(p);
	if (!skip_attributes(p))
		return NULL;
	if (p->token == IDENTIFIER) {
		const char *const tag = p->begin;

		next(p);
		k = named(p, kind, keyword, tag, strspn(tag, LETTERS_AND_DIGITS), is(p, "{") && kind != FAR_ENUM);
		if (!k)
			return NULL;
	}
	if (!is(p, "{"))
		return k ? k->type : expected(p, "a tag or '{'");
	if (kind == FAR_ENUM)
		return wrong(p, p->begin, "an enum cannot be defined here");
	struct far__type *t = k ? k->ours : make_aggregate(p, kind);

	if (!t || !enter(p) || !members(p, t))
		return NULL;
	p->depth--;
	return skip_attributes(p) ? t : NULL;
}

/* -------------------------------------------------------------- prototypes */

/* What one declaration declares, which is all of the text. */
static bool parse(struct parser *p, struct declared *d)
{
	if (strnlen(p->text, TEXT_MAX) == TEXT_MAX) {
		far__refuse(p->why, "a prototype of more than %d characters", TEXT_MAX - 1);
		return false;
	}
	read_token(p, p->text);
	d->begin = p->begin;
	d->type = specifiers(p, &d->is_const);
	if (!d->type || !declarator(p, d))
		return false;
	(void)take(p, ";");
	return p->token == END || expected(p, d->type->kind == FAR_FUNCTION ? "the end" : "'(' and parameters");
}

const struct far__type *far__prototype(const char *text, const struct far__names *names, struct far__arena *arena,
				       const char **name, struct far__complaint *why)
{
	struct parser p = { .text = text, .arena = arena, .names = names, .why = why };
	struct declared d = { 0 };

	if (!parse(&p, &d))
		return NULL;
	if (d.type->kind != FAR_FUNCTION)
		return wrong(&p, d.begin, "this declares no function");
	if (name)
		*name = keep_name(&p, &d);
	return p.failed ? NULL : d.type;
}

const struct far__type *far__function_type(const char *text, const struct far__names *names, struct far__arena *arena,
					   struct far__complaint *why)
{
	struct parser p = { .text = text, .arena = arena, .names = names, .why = why };
	struct declared d = { 0 };

	if (!parse(&p, &d))
		return NULL;
	const struct far__type *t = d.type->kind == FAR_POINTER ? d.type->target : d.type;

	return t->kind == FAR_FUNCTION ? t : wrong(&p, d.begin, "this is the type of no function");
}
