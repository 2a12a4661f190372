/* Figures as people and JSON write them, and the machine that they are from. */
#ifndef BENCH_TEXT_H
#define BENCH_TEXT_H

#include <stdio.h>

#ifdef __clang__
#define COMPILER "clang " __clang_version__
#else
#define COMPILER "gcc " __VERSION__
#endif

/* A rate is kept as the time of one operation, times are nanoseconds. */
enum unit { TIME, RATE, BYTES };

struct text {
	char s[48];
};

/* "-" for NAN. */
struct text text_of(enum unit unit, double v);

/* What the system calls the processor. */
struct text cpu_model(void);

/* , "key": v - or null, as JSON knows no NAN. */
void put_number(FILE *f, const char *key, double v);

/* The machine and the compiler: members of a JSON object. */
void put_machine(FILE *f);

#endif
