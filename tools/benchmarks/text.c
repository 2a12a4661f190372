/* Figures as people and JSON write them, and the machine that they are from. */
#include "text.h"

#include <math.h>
#include <sys/utsname.h>
#include <unistd.h>

struct text text_of(enum unit unit, double v)
{
	struct text t;

	if (isnan(v))
		snprintf(t.s, sizeof t.s, "-");
	else if (unit == BYTES)
		snprintf(t.s, sizeof t.s, "%.0f KiB", v / 1024);
	else if (unit == RATE)
		snprintf(t.s, sizeof t.s, "%.*f M/s", v > 100 ? 3 : 2, 1e3 / v);
	else if (v < 10e3)
		snprintf(t.s, sizeof t.s, "%.*f ns", v < 100, v);
	else if (v < 10e6)
		snprintf(t.s, sizeof t.s, "%.1f us", v / 1e3);
	else
		snprintf(t.s, sizeof t.s, "%.1f ms", v / 1e6);
	return t;
}

struct text cpu_model(void)
{
	struct text t = { "unknown CPU" };
	char line[256];
	FILE *f = fopen("/proc/cpuinfo", "re");

	if (!f)
		return t;
	while (fgets(line, sizeof line, f) && sscanf(line, "model name : %47[^\n]", t.s) != 1)
		;
	fclose(f);
	return t;
}

void put_number(FILE *f, const char *key, double v)
{
	fprintf(f, isnan(v) ? ", \"%s\": null" : ", \"%s\": %.6g", key, v);
}

void put_machine(FILE *f)
{
	struct utsname u;

	uname(&u);
	fprintf(f, "\"cpu\": \"%s\", \"cores\": %ld, \"kernel\": \"%s\", \"compiler\": \"%s\"", cpu_model().s,
		sysconf(_SC_NPROCESSORS_ONLN), u.release, COMPILER);
}
