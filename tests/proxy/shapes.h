/*
 * Functions of many signatures, in a module that no test is linked with.
 *
 * FAR_SHAPES(X): X(name, type, initialiser...), which depends on n. Each has three
 * functions: see shapes.c.
 */
#ifndef FAR_TESTS_PROXY_SHAPES_H
#define FAR_TESTS_PROXY_SHAPES_H

#include <complex.h>
#include <stdint.h>

enum colour { RED, GREEN = 100, BLUE = -3 };

struct s1 { char a; };
struct s2 { short a; };
struct s3 { char a[3]; };
struct s4 { float a; };
struct s8m { int a; float b; };
struct s8 { double a; };
struct s8f { float a, b; };
struct s12 { float a, b, c; };
struct s16i { long a, b; };
struct s16m { long a; double b; };
struct s16n { double a; long b; };
struct s16d { double a, b; };
struct s16f { float a[4]; };
struct s17 { char a[17]; };
struct s24 { struct s8m a; struct s16m b; };
struct s32 { double a[4]; };
struct s200 { long a[25]; };
union u4 { int a; float b; };
union u8 { double a; long b; };
union u16 { struct s16d a; long b[2]; };
typedef struct { int a, b; } nameless_t;

typedef long double longest_t;
typedef _Complex float cfloat_t;
typedef _Complex double cdouble_t;
typedef _Complex long double clongest_t;
typedef enum colour colour_t;
typedef const void *pointer_t;
typedef int (*function_t)(int);

#define INTEGER(type, n)	((type)(0x123456789abcdef1 * (n)))
#define FAR_SHAPES(X) \
	X(bool, _Bool, (n) % 2 == 0) \
	X(char, char, INTEGER(char, n)) \
	X(schar, signed char, INTEGER(signed char, n)) \
	X(uchar, unsigned char, INTEGER(unsigned char, n)) \
	X(short, short, INTEGER(short, n)) \
	X(ushort, unsigned short, INTEGER(unsigned short, n)) \
	X(int, int, INTEGER(int, n)) \
	X(unsigned, unsigned, INTEGER(unsigned, n)) \
	X(long, long, INTEGER(long, n)) \
	X(ulong, unsigned long, INTEGER(unsigned long, n)) \
	X(llong, long long, INTEGER(long long, n)) \
	X(ullong, unsigned long long, INTEGER(unsigned long long, n)) \
	X(int8, int8_t, INTEGER(int8_t, n)) \
	X(uint64, uint64_t, INTEGER(uint64_t, n)) \
	X(colour, colour_t, (n) % 2 ? BLUE : GREEN) \
	X(float, float, 1.25f / (n)) \
	X(double, double, 1.1 / (n)) \
	X(longest, longest_t, 1.1L / (n)) \
	X(cfloat, cfloat_t, 1.25f / (n) + 2.5f * I) \
	X(cdouble, cdouble_t, 1.1 / (n) - 2.5 * I) \
	X(clongest, clongest_t, 1.1L / (n) + 7.7L * I) \
	X(pointer, pointer_t, (const void *)(uintptr_t)(n)) \
	X(function, function_t, (function_t)(uintptr_t)(n)) \
	X(s1, struct s1, { INTEGER(char, n) }) \
	X(s2, struct s2, { INTEGER(short, n) }) \
	X(s3, struct s3, { { 1, (n), 3 } }) \
	X(s4, struct s4, { 1.5f / (n) }) \
	X(s8m, struct s8m, { INTEGER(int, n), 1.1f / (n) }) \
	X(s8, struct s8, { 1.1 / (n) }) \
	X(s8f, struct s8f, { 1.1f / (n), 2.2f }) \
	X(s12, struct s12, { 1.1f / (n), 2.2f, 3.3f }) \
	X(s16i, struct s16i, { INTEGER(long, n), 7 }) \
	X(s16m, struct s16m, { INTEGER(long, n), 1.1 / (n) }) \
	X(s16n, struct s16n, { 1.1 / (n), INTEGER(long, n) }) \
	X(s16d, struct s16d, { 1.1 / (n), 2.2 }) \
	X(s16f, struct s16f, { { 1.1f / (n), 2.2f, 3.3f, 4.4f } }) \
	X(s17, struct s17, { { (n), 'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j', 'k', 'l', 'm', 'n', 'o', 'p' } }) \
	X(s24, struct s24, { { INTEGER(int, n), 1.1f }, { 12, 1.1 / (n) } }) \
	X(s32, struct s32, { { 1.1 / (n), 2.2, 3.3, 4.4 } }) \
	X(s200, struct s200, { { INTEGER(long, n), 2, 3, [24] = 25 } }) \
	X(u4, union u4, { INTEGER(int, n) }) \
	X(u8, union u8, { 1.1 / (n) }) \
	X(u16, union u16, { { 1.1 / (n), 2.2 } }) \
	X(nameless, nameless_t, { INTEGER(int, n), 5 })

#endif
