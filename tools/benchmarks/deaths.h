/* How soon a caller hears of a slave's crash, of its being killed, and of a deadline. */
#ifndef BENCH_DEATHS_H
#define BENCH_DEATHS_H

#include <stdbool.h>

#include "report.h"

/* Add the rows, of thousands of deaths or, if @quick, of some. The caller's process has slaves. */
void measure_deaths(struct report *report, bool quick);

#endif
