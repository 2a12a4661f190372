/* farcall inspect and farcall types: what is known of a library. */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "command.h"
#include "debug.h"

enum { TEXT_MAX = 4096 };

/* ------------------------------------------------------------ in the slave */

static bool print_function(void *arg, const char *name, const struct far__type *type)
{
	char text[TEXT_MAX];

	(void)arg;
	far__type_print(type, name, text, sizeof text);
	return printf("%s;\n", text) >= 0;
}

static void print_struct(const struct far__type *type)
{
	char text[TEXT_MAX];

	far__type_print(type, NULL, text, sizeof text);
	printf("%s {\t/* %llu bytes */\n", text, (unsigned long long)type->size);
	for (uint64_t i = 0; i < type->count; i++) {
		const struct far__field *m = &type->member[i];

		far__type_print(m->type, m->name, text, sizeof text);
		printf("\t%s%s", m->is_const ? "const " : "", text);
		if (m->bit_size)
			printf(" : %u", (unsigned)m->bit_size);
		printf(";\t/* at %llu */\n", (unsigned long long)m->offset);
	}
	puts("};");
}

/* Names of the functions that the dynamic linker knows, for want of more; false if the file is not understood. */
static bool print_names(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	const char *file = fd >= 0 && fstat(fd, &st) == 0 ? mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0) : MAP_FAILED;

	if (file == MAP_FAILED || memcmp(file, ELFMAG, SELFMAG))
		return false;
	/* A damaged file ends this process, which is there for that. */
	const Elf64_Ehdr *header = (const Elf64_Ehdr *)file;
	const Elf64_Shdr *section = (const Elf64_Shdr *)(file + header->e_shoff);

	for (unsigned i = 0; i < header->e_shnum; i++) {
		if (section[i].sh_type != SHT_DYNSYM)
			continue;
		const Elf64_Sym *symbol = (const Elf64_Sym *)(file + section[i].sh_offset);
		const char *names = file + section[section[i].sh_link].sh_offset;

		for (uint64_t k = 0; k < section[i].sh_size / sizeof *symbol; k++)
			if (ELF64_ST_TYPE(symbol[k].st_info) == STT_FUNC && symbol[k].st_shndx != SHN_UNDEF)
				puts(names + symbol[k].st_name);
	}
	return true;
}

static void finish_output(void)
{
	if (fflush(stdout) || ferror(stdout))
		far_raise(FAR_EINVAL, "the output cannot be written: %s", strerror(errno));
}

static void list_there(const char *path)
{
	struct far__complaint why;

	if (!far__debug_functions(path, print_function, NULL, &why)) {
		fprintf(stderr, "farcall: %s: names only\n", why.text);
		if (!print_names(path))
			far_raise(FAR_ENAME, "%s is no ELF file", path);
	}
	finish_output();
}

static void show_there(const char *path, const char *name)
{
	struct far__arena arena = { 0 };
	struct far__complaint why, first;
	const struct far__type *type = far__debug_function(path, name, &arena, &first);

	if (!type && !(type = far__debug_type(path, name, &arena, &why)))
		far_raise(FAR_ENAME, "%s", first.text);
	if ((type->kind == FAR_STRUCT || type->kind == FAR_UNION) && type->is_complete)
		print_struct(type);
	else	/* of "enum colour" or a vector's name there is nothing more to tell */
		(void)print_function(NULL, strchr(name, ' ') || (type->name && !strcmp(type->name, name)) ? NULL : name, type);
	finish_output();
}

static bool pass_over(void *arg, const char *name, const struct far__type *type)
{
	(void)arg;
	(void)name;
	(void)type;
	return true;
}

static void check_there(const char *path)
{
	struct far__complaint why;

	if (!far__debug_functions(path, pass_over, NULL, &why))
		far_raise(FAR_ENAME, "%s", why.text);
}

/* ------------------------------------------------------------ in the master */

/* The library's file, which is the one that a path names, be it a program, or else as a slave finds it. False with a message. */
static bool find_file(struct far_slave *slave, const char *library, char *path)
{
	if (strchr(library, '/') && realpath(library, path))
		return true;
	const struct far__asker asker = { library, NULL, 0 };
	far_library *opened = far_open(slave, library);
	struct far__library *l = opened ? far__library_enter((uintptr_t)opened, &asker) : NULL;
	bool found = false;

	if (l) {
		pthread_mutex_lock(&l->lock);
		found = far__library_module(l, NULL, path, &asker);
		pthread_mutex_unlock(&l->lock);
		far__library_leave(l);
	}
	if (!found)
		(void)print_failure();
	return found;
}

int inspect_command(const struct limits *limits, const char *library, const char *name)
{
	struct far_slave *slave = start_slave(limits);
	char path[PATH_MAX];
	int status = DONE;

	if (!slave)
		return print_failure();
	if (!find_file(slave, library, path))
		return MISUSED;
	if (name)
		far_invoke(slave, show_there, far_str(path), name);
	else
		far_invoke(slave, list_there, far_str(path));
	if (far_error())
		status = print_failure();
	far_slave_close(slave);
	(void)far_error();
	return status;
}

int types_command(const char *library, const char *output)
{
	const struct limits none = { 0 };
	struct far_slave *slave = start_slave(&none);
	char path[PATH_MAX], beside[PATH_MAX + 8];

	if (!slave)
		return print_failure();
	if (!find_file(slave, library, path))
		return MISUSED;
	far_invoke(slave, check_there, far_str(path));
	if (far_error())
		return print_failure();
	far_slave_close(slave);
	snprintf(beside, sizeof beside, "%s.types", path);
	/* Places, lines and ranges are no types. */
	execlp("objcopy", "objcopy", "--only-keep-debug", "--compress-debug-sections", "--wildcard", "--remove-section=.debug_line",
	       "--remove-section=.debug_loc*", "--remove-section=.debug_r*", "--remove-section=.debug_frame",
	       "--remove-section=.symtab", "--remove-section=.strtab", path, output ? output : beside, NULL);
	return complain("objcopy cannot be run: it comes with binutils");
}
