/* Conversions of values: see value.h. */
#include "value.h"

#include <string.h>

__extension__ typedef unsigned __int128 wide;

/* ------------------------------------------------------- what is converted */

/* What C calls a number's type; NULL if it has many names. */
static const char *name_of(const struct far__type *t)
{
	static const char *const integers[2][4] = {
		{ "unsigned char", "unsigned short", "unsigned int", "unsigned long" },
		{ "signed char", "short", "int", "long" },
	};

	if (t->kind == FAR_FLOAT)
		return t->size == sizeof(float) ? "float" : t->size == sizeof(double) ? "double" : "long double";
	for (unsigned i = 0; t->kind == FAR_INTEGER && i < 4; i++)
		if (t->size == 1u << i)
			return integers[t->is_signed][i];
	return NULL;
}

struct far__type far__value_type(const struct far__value *value)
{
	struct far__type t = { .size = value->size, .alignment = 1, .is_complete = true, .is_signed = value->is_signed };

	switch (value->type_class) {
	case FAR__T_POINTER:
		t.kind = FAR_POINTER;
		break;
	case FAR__T_REAL:
		t.kind = FAR_FLOAT;
		break;
	case FAR__T_COMPLEX:
		t.kind = FAR_COMPLEX;
		break;
	case FAR__T_STRUCT:
	case FAR__T_UNION:
		t.kind = FAR_STRUCT;
		break;
	default:
		t.kind = value->is_bool ? FAR_BOOL : value->size ? FAR_INTEGER : FAR_VOID;
	}
	t.name = name_of(&t);
	return t;
}

/* Any number of C, exactly: an integer, or the parts of a floating one. */
struct number {
	bool is_integer, is_negative;
	wide integer;	/* its absolute value */
	long double real, imaginary;
};

static bool is_number(const struct far__type *t)
{
	return t->kind == FAR_BOOL || t->kind == FAR_INTEGER || t->kind == FAR_ENUM || t->kind == FAR_FLOAT ||
	       t->kind == FAR_COMPLEX;
}

static struct number read_integer(const struct far__type *t, const void *at)
{
	struct number n = { .is_integer = true };

	memcpy(&n.integer, at, t->size);	/* little-endian: see farcall.h */
	if (t->is_signed && t->size && ((const unsigned char *)at)[t->size - 1] & 0x80) {
		wide above = t->size < sizeof n.integer ? ~(wide)0 << 8 * t->size : 0;

		n.is_negative = true;
		n.integer = -(n.integer | above);
	}
	return n;
}

long double far__read_real(size_t size, const void *at)
{
	union {
		float f;
		double d;
		long double l;
	} u;

	memcpy(&u, at, size);
	return size == sizeof u.f ? (long double)u.f : size == sizeof u.d ? (long double)u.d : u.l;
}

static struct number read_number(const struct far__type *t, const void *at)
{
	struct number n = { 0 };

	if (t->kind != FAR_FLOAT && t->kind != FAR_COMPLEX)
		return read_integer(t, at);
	uint64_t part = t->kind == FAR_COMPLEX ? t->size / 2 : t->size;

	n.real = far__read_real(part, at);
	if (t->kind == FAR_COMPLEX)
		n.imaginary = far__read_real(part, (const char *)at + part);
	return n;
}

/* ----------------------------------------------------------- what it becomes */

/* The number in words, for a complaint. */
static const char *show(const struct number *n, char *text, size_t size)
{
	if (!n->is_integer && n->imaginary != 0)
		snprintf(text, size, "%Lg%+Lgi", n->real, n->imaginary);
	else if (!n->is_integer)
		snprintf(text, size, "%Lg", n->real);
	else if (n->integer >> 64)
		snprintf(text, size, "%s0x%llx%016llx", n->is_negative ? "-" : "", (unsigned long long)(n->integer >> 64),
			 (unsigned long long)n->integer);
	else
		snprintf(text, size, "%s%llu", n->is_negative ? "-" : "", (unsigned long long)n->integer);
	return text;
}

static bool refuse_number(const struct far__type *to, const struct number *n, struct far__complaint *why)
{
	char type[100], number[80];

	far__type_print(to, NULL, type, sizeof type);
	far__refuse(why, "%s is no value of %s", show(n, number, sizeof number), type);
	return false;
}

/* An integer that has the value of a floating number, if there is one. */
static bool make_integer(struct number *n)
{
	long double magnitude = __builtin_fabsl(n->real);

	if (n->imaginary != 0 || !(magnitude < 0x1p127L) || (long double)(wide)magnitude != magnitude)
		return false;
	n->is_integer = true;
	n->is_negative = n->real < 0;
	n->integer = (wide)magnitude;
	return true;
}

static bool write_integer(const struct far__type *to, void *at, struct number n, struct far__complaint *why)
{
	if (!n.is_integer && !make_integer(&n))
		return refuse_number(to, &n, why);
	unsigned bits = (unsigned)(8 * to->size) - to->is_signed;
	wide most = (((wide)1 << (bits - 1)) - 1) * 2 + 1;

	/* Signed, there is one negative number more. */
	if (n.integer > most + (n.is_negative && to->is_signed) || (n.is_negative && n.integer && !to->is_signed))
		return refuse_number(to, &n, why);
	if (n.is_negative)
		n.integer = -n.integer;
	memcpy(at, &n.integer, to->size);
	return true;
}

/* Whether a real number became another one: rounding does not count, infinity does. */
static bool overflows(long double before, long double after)
{
	return __builtin_isinf(after) && !__builtin_isinf(before);
}

static bool write_real(uint64_t size, void *at, long double value)
{
	float f = (float)value;
	double d = (double)value;

	memcpy(at, size == sizeof f ? (void *)&f : size == sizeof d ? (void *)&d : (void *)&value, size);
	return !overflows(value, size == sizeof f ? f : size == sizeof d ? d : value);
}

static bool write_floating(const struct far__type *to, void *at, const struct number *n, struct far__complaint *why)
{
	uint64_t part = to->kind == FAR_COMPLEX ? to->size / 2 : to->size;
	long double real = n->real;

	memset(at, 0, to->size);
	if (n->is_integer)
		real = n->is_negative ? -(long double)n->integer : (long double)n->integer;
	bool right = write_real(part, at, real);

	/* An integer has digits that count. */
	if (n->is_integer) {
		long double written = __builtin_fabsl(far__read_real(part, at));

		right &= written < 0x1p128L && (wide)written == n->integer;	/* what is more has no value in C */
	}
	if (to->kind == FAR_COMPLEX)
		right &= write_real(part, (char *)at + part, n->imaginary);
	else
		right &= n->imaginary == 0;
	return right || refuse_number(to, n, why);
}

static bool write_number(const struct far__type *to, void *at, const struct number *n, struct far__complaint *why)
{
	if (to->kind == FAR_FLOAT || to->kind == FAR_COMPLEX)
		return write_floating(to, at, n, why);
	if (to->kind != FAR_BOOL)
		return write_integer(to, at, *n, why);
	bool is = n->is_integer ? n->integer != 0 : n->real != 0 || n->imaginary != 0;

	memcpy(at, &is, sizeof is);
	return true;
}

/* --------------------------------------------------------------- conversions */

static const char *words_for(const struct far__type *t)
{
	return t->kind == FAR_POINTER ? "a pointer" : is_number(t) ? "a number" : far__is_aggregate(t) ? "a struct or union"
		: t->kind == FAR_VOID ? "nothing" : "no value";
}

static bool refuse_kind(const struct far__type *to, const struct far__type *from, struct far__complaint *why)
{
	char type[100];

	far__type_print(to, NULL, type, sizeof type);
	if (far__is_aggregate(to) && far__is_aggregate(from))
		far__refuse(why, "it has %llu bytes and %s has %llu", (unsigned long long)from->size, type,
			    (unsigned long long)to->size);
	else
		far__refuse(why, "%s is not converted to %s", words_for(from), type);
	return false;
}

bool far__convert(const struct far__type *to_type, void *to, const struct far__type *from_type, const void *from,
		  struct far__complaint *why)
{
	bool to_pointer = far__is_pointer(to_type);

	if (is_number(from_type) && (is_number(to_type) || to_pointer)) {
		struct number n = read_number(from_type, from);

		if (is_number(to_type))
			return write_number(to_type, to, &n, why);
		if (!n.is_integer || n.integer)
			return refuse_kind(to_type, from_type, why);
		memset(to, 0, sizeof(void *));
		return true;
	}
	if (to_pointer && from_type->kind == FAR_POINTER) {
		memcpy(to, from, sizeof(void *));
		return true;
	}
	if (to_type->kind == FAR_BOOL && from_type->kind == FAR_POINTER) {
		void *p;

		memcpy(&p, from, sizeof p);
		*(bool *)to = p != NULL;
		return true;
	}
	if (!far__is_aggregate(to_type) || !far__is_aggregate(from_type) || to_type->size != from_type->size)
		return refuse_kind(to_type, from_type, why);
	memcpy(to, from, to_type->size);
	return true;
}
