/* Our memory cgroup: see cgroup.h. */
#include "cgroup.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sys.h"

enum { PATH_SIZE = 512, STAT_SIZE = 4096 };

static const struct version {
	const char *entry;	/* how its line in /proc/self/cgroup begins, behind a number */
	const char *mount, *limit, *usage;
	const char *cache[2];	/* in memory.stat: of files, which the kernel lets go of */
} versions[] = {
	{ ":memory:", "/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes",
	  { "\ntotal_inactive_file ", "\ntotal_active_file " } },
	{ "0::", "/sys/fs/cgroup", "memory.max", "memory.current", { "\ninactive_file ", "\nactive_file " } },
};

/* The folder of our cgroup: false if there is none of that version. */
static bool find_folder(const struct version *v, char folder[PATH_SIZE])
{
	char text[4096];

	far__read_text("/proc/self/cgroup", text, sizeof text);
	const char *path = strstr(text, v->entry);

	if (!path)
		return false;
	path += strlen(v->entry);
	int n = snprintf(folder, PATH_SIZE, "%s%.*s", v->mount, (int)strcspn(path, "\n"), path);

	return n > 0 && n < PATH_SIZE;
}

static void name_file(char name[PATH_SIZE], const char *folder, const char *file)
{
	snprintf(name, PATH_SIZE, "%.*s/%s", PATH_SIZE - 64, folder, file);
}

int far__cgroup_open(const char *version1, const char *version2)
{
	const char *const file[] = { version1, version2 };
	char folder[PATH_SIZE], name[PATH_SIZE];

	for (size_t i = 0; i < sizeof versions / sizeof *versions; i++) {
		if (!find_folder(&versions[i], folder))
			continue;
		name_file(name, folder, file[i]);
		int fd = far__open_to_read(name);

		if (fd >= 0)
			return fd;
	}
	return -ENOENT;
}

/* The number in a file, or SIZE_MAX if there is none. */
static size_t read_number(const char *folder, const char *file)
{
	char name[PATH_SIZE], text[32];

	name_file(name, folder, file);
	far__read_text(name, text, sizeof text);
	return *text >= '0' && *text <= '9' ? strtoull(text, NULL, 10) : SIZE_MAX;
}

static size_t read_cache(const struct version *v, const char *folder)
{
	char name[PATH_SIZE], text[STAT_SIZE];
	size_t sum = 0;

	name_file(name, folder, "memory.stat");
	far__read_text(name, text, sizeof text);
	for (size_t i = 0; i < sizeof v->cache / sizeof *v->cache; i++) {
		const char *line = strstr(text, v->cache[i]);

		if (line)
			sum += strtoull(line + strlen(v->cache[i]), NULL, 10);
	}
	return sum;
}

static size_t left_in(const struct version *v, const char *folder)
{
	size_t limit = read_number(folder, v->limit);

	/* Without one, version 1 has the largest number of pages. */
	if (limit >= SIZE_MAX / 4)
		return SIZE_MAX;
	size_t usage = read_number(folder, v->usage), cache = read_cache(v, folder);

	if (usage == SIZE_MAX)
		return SIZE_MAX;
	usage -= cache < usage ? cache : usage;
	return usage < limit ? limit - usage : 0;
}

size_t far__cgroup_memory_left(void)
{
	char folder[PATH_SIZE];
	size_t least = SIZE_MAX;

	for (size_t i = 0; i < sizeof versions / sizeof *versions; i++) {
		const struct version *v = &versions[i];
		size_t top = strlen(v->mount);

		if (!find_folder(v, folder))
			continue;
		while (strlen(folder) >= top) {
			size_t left = left_in(v, folder);

			if (left < least)
				least = left;
			*strrchr(folder, '/') = 0;
		}
	}
	return least;
}
