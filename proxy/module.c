/*
 * The debug information of modules: where it is, and how something in it is found.
 *
 * It may be large. So a name is looked up in an index of what units have at their top
 * level, made once; and the variables of a unit, which may be in functions and so cost
 * a walk through all of it, are collected unit by unit: at first of those whose source
 * file the symbol table tells.
 */
#include "module.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { DEPTH_MAX = 128 };	/* of blocks in functions */

struct far__libdw far__dw;
#define dw far__dw

static struct far__module *first;

/* An entry of the index. The DIE's name is compared when it is looked up. */
struct far__found {
	uint64_t hash;		/* of class and name */
	uint64_t offset;	/* of the DIE, and IN_TYPES */
};
#define IN_TYPES	(1ull << 63)

struct far__variable {
	uint64_t address;
	uint64_t offset;	/* of its DIE in .debug_info */
};

/* ------------------------------------------------------------------ opening */

static bool load_libdw(struct far__complaint *why)
{
	void *library = dw.dwfl_begin ? NULL : dlopen("libdw.so.1", RTLD_NOW);
	bool found = library != NULL;

	if (dw.dwfl_begin)
		return true;
	struct far__libdw loaded;

#define X(name) found = found && (*(void **)(void *)&loaded.name = dlsym(library, #name)) != NULL;
	LIBDW(X)
#undef X
	if (found)
		dw = loaded;
	else
		far__refuse(why, "types are read with elfutils, but libdw.so.1 is missing or too old "
			    "(Debian: install libdw1)");
	return found;
}

/* As .gnu_debuglink has it: that of zlib. */
static uint32_t crc_of(int fd)
{
	unsigned char buffer[16384];
	uint32_t table[256], crc = ~0u;
	ssize_t n;

	for (uint32_t i = 0; i < 256; i++) {
		table[i] = i;
		for (int bit = 0; bit < 8; bit++)
			table[i] = table[i] >> 1 ^ (table[i] & 1 ? 0xedb88320 : 0);
	}
	while ((n = read(fd, buffer, sizeof buffer)) > 0)
		for (ssize_t i = 0; i < n; i++)
			crc = crc >> 8 ^ table[(crc ^ buffer[i]) & 0xff];
	return ~crc;
}

/* As dwfl_standard_find_debuginfo(), which would ask servers too. @link and @crc are those of .gnu_debuglink. */
static int find_debuginfo(Dwfl_Module *file, void **user, const char *name, Dwarf_Addr base, const char *path,
			  const char *link, GElf_Word crc, char **found)
{
	static const char *const folders[] = { "%.*s%s", "%.*s.debug/%s", "/usr/lib/debug%.*s%s" };
	const char *slash = path ? strrchr(path, '/') : NULL;
	int fd = dw.dwfl_build_id_find_debuginfo(file, user, name, base, path, link, crc, found);

	for (unsigned i = 0; fd < 0 && link && i < sizeof folders / sizeof *folders; i++) {
		if (*link == '/')
			*found = i ? NULL : strdup(link);
		else if (asprintf(found, folders[i], slash ? (int)(slash + 1 - path) : 0, path ? path : "", link) < 0)
			*found = NULL;
		if (!*found)
			break;
		fd = open(*found, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
		/* A link to what several files share (.gnu_debugaltlink) has no sum: libdw compares build IDs. */
		if (fd >= 0 && crc && crc_of(fd) != crc) {
			close(fd);
			fd = -1;
		}
		if (fd < 0) {
			free(*found);
			*found = NULL;
		}
	}
	return fd;
}

static bool open_file(struct far__module *m)
{
	static Dwfl_Callbacks callbacks;
	static char *no_path;

	callbacks = (Dwfl_Callbacks){
		.find_elf = dw.dwfl_build_id_find_elf, .find_debuginfo = find_debuginfo,
		.section_address = dw.dwfl_offline_section_address, .debuginfo_path = &no_path,
	};
	m->dwfl = dw.dwfl_begin(&callbacks);
	if (!m->dwfl)
		return false;
	dw.dwfl_report_begin(m->dwfl);
	m->file = dw.dwfl_report_elf(m->dwfl, m->path, m->path, -1, 0, true);
	dw.dwfl_report_end(m->dwfl, NULL, NULL);
	return m->file;
}

/* NAME.types, unless it is of another build. */
static Dwarf *open_types(struct far__module *m)
{
	const unsigned char *id;
	const void *types_id;
	GElf_Addr address;
	char *path;

	if (asprintf(&path, "%s.types", m->path) < 0)
		return NULL;
	m->types_fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	free(path);
	Dwarf *dwarf = m->types_fd >= 0 ? dw.dwarf_begin(m->types_fd, DWARF_C_READ) : NULL;

	if (!dwarf)
		return NULL;
	const int length = dw.dwfl_module_build_id(m->file, &id, &address);
	const ssize_t types_length = dw.dwelf_elf_gnu_build_id(dw.dwarf_getelf(dwarf), &types_id);

	if (length > 0 && types_length > 0 && (length != types_length || memcmp(id, types_id, (size_t)length))) {
		dw.dwarf_end(dwarf);
		return NULL;
	}
	return dwarf;
}

/* Room for one more of @size bytes in an array of *room that has @count. */
static bool make_room(void **array, size_t *room, size_t count, size_t size)
{
	if (count < *room)
		return true;
	const size_t more = *room ? 2 * *room : 64;
	void *larger = realloc(*array, more * size);

	if (!larger)
		return false;
	*array = larger;
	*room = more;
	return true;
}

/* List the units: false if there are none. *is_split is set if some are in other files, which are not read. */
static bool list_units(struct far__module *m, bool *is_split)
{
	Dwarf_CU *cu = NULL;
	Dwarf_Die die, top;
	Dwarf_Half version;
	uint8_t kind, address_size;
	size_t room = 0;

	while (dw.dwarf_get_units(m->dwarf, cu, &cu, &version, &kind, &die, NULL) == 0) {
		*is_split |= kind == DW_UT_skeleton;
		if (kind == DW_UT_skeleton || !dw.dwarf_diecu(&die, &top, &address_size, NULL) ||
		    address_size != sizeof(void *))
			continue;
		if (!make_room((void **)&m->unit, &room, m->units, sizeof *m->unit))
			break;
		m->unit[m->units++] = (struct far__unit){ .die = die, .in_types = version < 5 && kind == DW_UT_type };
	}
	return m->units;
}

static void close_module(struct far__module *m)
{
	if (m->types_fd >= 0) {
		dw.dwarf_end(m->dwarf);
		close(m->types_fd);
	}
	if (m->dwfl)
		dw.dwfl_end(m->dwfl);
	free(m->unit);
	free(m->name);
	free(m->variable);
	free(m->path);
	free(m);
}

static bool open_module(struct far__module *m, struct far__complaint *why)
{
	bool is_split = false;

	if (access(m->path, R_OK)) {
		far__refuse(why, "%s cannot be read: %s", m->path, strerror(errno));
		return false;
	}
	if (!open_file(m)) {
		far__refuse(why, "%s is no program and no library", m->path);
		return false;
	}
	m->dwarf = dw.dwfl_module_getdwarf(m->file, &m->bias);
	if (m->dwarf && list_units(m, &is_split))
		return true;
	m->dwarf = open_types(m);
	m->bias = 0;
	if (m->dwarf && list_units(m, &is_split))
		return true;
	if (is_split)
		far__refuse(why, "the debug information of %s is in .dwo files, which are not read: "
			    "compile it without -gsplit-dwarf", m->path);
	else
		far__refuse(why, "no debug information in %s: compile it with -g, or install its debug package",
			    m->path);
	return false;
}

struct far__module *far__module_open(const char *path, struct far__complaint *why)
{
	struct far__module *m = first;

	while (m && strcmp(m->path, path))
		m = m->next;
	if (m || !load_libdw(why))
		return m;
	m = calloc(1, sizeof *m);
	if (m)
		m->path = strdup(path);
	if (!m || !m->path) {
		far__refuse(why, "no memory to read %s", path);
		free(m);
		return NULL;
	}
	m->types_fd = -1;
	if (!open_module(m, why)) {
		close_module(m);
		return NULL;
	}
	m->next = first;
	first = m;
	return m;
}

void far__modules_close(void)
{
	for (struct far__module *m = first, *next; m; m = next) {
		next = m->next;
		close_module(m);
	}
	first = NULL;
}

/* --------------------------------------------------------------------- DIEs */

bool far__die_child(Dwarf_Die *parent, Dwarf_Die *child)
{
	return dw.dwarf_child(parent, child) == 0;
}

bool far__die_next(Dwarf_Die *die)
{
	Dwarf_Die next;

	/* DW_AT_sibling of a damaged file may point back. */
	if (dw.dwarf_siblingof(die, &next) || (char *)next.addr <= (char *)die->addr)
		return false;
	*die = next;
	return true;
}

bool far__die_flag(Dwarf_Die *die, unsigned name)
{
	Dwarf_Attribute a;
	bool flag = false;

	return dw.dwarf_attr(die, name, &a) && dw.dwarf_formflag(&a, &flag) == 0 && flag;
}

bool far__die_is_external(Dwarf_Die *die)
{
	Dwarf_Attribute a;
	bool flag = false;

	return dw.dwarf_attr_integrate(die, DW_AT_external, &a) && dw.dwarf_formflag(&a, &flag) == 0 && flag;
}

/* -------------------------------------------------------------------- names */

static uint64_t hash_of(enum far__name_kind class, const char *name)
{
	const uint64_t prime = 0x100000001b3;
	uint64_t hash = (0xcbf29ce484222325 ^ class) * prime;	/* FNV-1a, of the class, too */

	for (; *name; name++)
		hash = (hash ^ (unsigned char)*name) * prime;
	return hash;
}

static int compare_found(const void *a, const void *b)
{
	const struct far__found *x = a, *y = b;

	if (x->hash != y->hash)
		return x->hash < y->hash ? -1 : 1;
	return x->offset < y->offset ? -1 : x->offset > y->offset;
}

/* Keep one of each: a struct of a header is in hundreds of units. */
static void sort_names(struct far__module *m)
{
	size_t kept = 0;

	if (m->names)
		qsort(m->name, m->names, sizeof *m->name, compare_found);
	for (size_t i = 0; i < m->names; i++)
		if (!kept || m->name[kept - 1].hash != m->name[i].hash)
			m->name[kept++] = m->name[i];
	m->names = kept;
}

static bool add_name(struct far__module *m, uint64_t hash, uint64_t offset)
{
	if (m->names && m->names == m->name_room) {
		sort_names(m);
		/* Sorted often it would cost time, never it would cost memory. */
		if (m->names > m->name_room / 2 &&
		    !make_room((void **)&m->name, &m->name_room, m->name_room, sizeof *m->name))
			return false;
	} else if (!make_room((void **)&m->name, &m->name_room, m->names, sizeof *m->name)) {
		return false;
	}
	m->name[m->names++] = (struct far__found){ hash, offset };
	return true;
}

/* 0 for what is not in the index. */
static enum far__name_kind class_of(Dwarf_Die *die)
{
	enum far__name_kind class;

	switch (dw.dwarf_tag(die)) {
	case DW_TAG_subprogram:
		if (far__die_flag(die, DW_AT_declaration))
			return FAR_DECLARED_FUNCTION;
		return far__die_is_external(die) ? FAR_GLOBAL_FUNCTION : FAR_STATIC_FUNCTION;
	case DW_TAG_typedef:
		return FAR_TYPEDEF;
	case DW_TAG_structure_type:
		class = FAR_STRUCT_TAG;
		break;
	case DW_TAG_union_type:
		class = FAR_UNION_TAG;
		break;
	case DW_TAG_enumeration_type:
		class = FAR_ENUM_TAG;
		break;
	default:
		return 0;
	}
	return far__die_flag(die, DW_AT_declaration) ? 0 : class;
}

static void index_unit(struct far__module *m, struct far__unit *unit)
{
	const uint64_t section = unit->in_types ? IN_TYPES : 0;
	Dwarf_Die die;

	for (bool more = far__die_child(&unit->die, &die); more; more = far__die_next(&die)) {
		const enum far__name_kind class = class_of(&die);
		const char *name = class ? dw.dwarf_diename(&die) : NULL;

		if (name && !add_name(m, hash_of(class, name), dw.dwarf_dieoffset(&die) | section))
			return;
	}
}

bool far__module_find(struct far__module *m, enum far__name_kind class, const char *name, Dwarf_Die *die)
{
	const uint64_t hash = hash_of(class, name);
	size_t low = 0;

	if (!m->is_indexed) {
		for (size_t i = 0; i < m->units; i++)
			index_unit(m, &m->unit[i]);
		sort_names(m);
		m->is_indexed = true;
	}
	for (size_t high = m->names; low < high; ) {
		const size_t middle = low + (high - low) / 2;

		if (m->name[middle].hash < hash)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == m->names || m->name[low].hash != hash)
		return false;
	const uint64_t offset = m->name[low].offset & ~IN_TYPES;
	const bool in_types = m->name[low].offset & IN_TYPES;
	const char *found = (in_types ? dw.dwarf_offdie_types : dw.dwarf_offdie)(m->dwarf, offset, die)
		? dw.dwarf_diename(die) : NULL;

	return found && !strcmp(found, name);
}

/* ---------------------------------------------------------------- variables */

/* The address that is all of a location. */
static bool static_address(Dwarf_Die *die, uint64_t *address)
{
	Dwarf_Attribute a, at;
	Dwarf_Block block;
	Dwarf_Op *op;
	size_t ops;

	if (!dw.dwarf_attr(die, DW_AT_location, &a) || dw.dwarf_formblock(&a, &block) || !block.length)
		return false;
	switch (*block.data) {
	case DW_OP_addr:
		if (block.length != 1 + sizeof *address)
			return false;
		memcpy(address, block.data + 1, sizeof *address);
		return true;
	case DW_OP_addrx:
	case DW_OP_GNU_addr_index:
		return dw.dwarf_getlocation(&a, &op, &ops) == 0 && ops == 1 &&
		       dw.dwarf_getlocation_attr(&a, op, &at) == 0 && dw.dwarf_formaddr(&at, address) == 0;
	default:
		return false;
	}
}

static void add_variable(struct far__module *m, Dwarf_Die *die)
{
	uint64_t address;

	if (static_address(die, &address) &&
	    make_room((void **)&m->variable, &m->variable_room, m->variables, sizeof *m->variable))
		m->variable[m->variables++] = (struct far__variable){ address + m->bias, dw.dwarf_dieoffset(die) };
}

static void walk(struct far__module *m, Dwarf_Die *parent, unsigned depth)
{
	Dwarf_Die die;

	for (bool more = depth < DEPTH_MAX && far__die_child(parent, &die); more; more = far__die_next(&die)) {
		switch (dw.dwarf_tag(&die)) {
		case DW_TAG_variable:
			add_variable(m, &die);
			break;
		case DW_TAG_subprogram:
		case DW_TAG_inlined_subroutine:
		case DW_TAG_lexical_block:
		case DW_TAG_namespace:
			walk(m, &die, depth + 1);
			break;
		}
	}
}

static bool is_known(struct far__module *m, uint64_t address, Dwarf_Die *die)
{
	for (size_t i = 0; i < m->variables; i++)
		if (m->variable[i].address == address)
			return dw.dwarf_offdie(m->dwarf, m->variable[i].offset, die);
	return false;
}

/* The source file that defines the local symbol at @address, as the linker's symbol table tells; or NULL. */
static const char *file_of(struct far__module *m, uint64_t address)
{
	const int symbols = dw.dwfl_module_getsymtab(m->file);
	const char *file = NULL;

	for (int i = 0; i < symbols; i++) {
		GElf_Sym symbol;
		GElf_Word section;
		const char *name = dw.dwfl_module_getsym(m->file, i, &symbol, &section);

		if (name && GELF_ST_TYPE(symbol.st_info) == STT_FILE)
			file = name;
		else if (name && GELF_ST_TYPE(symbol.st_info) == STT_OBJECT && symbol.st_value == address)
			return GELF_ST_BIND(symbol.st_info) == STB_LOCAL ? file : NULL;
	}
	return NULL;
}

/* Walk the units that were not yet: those of the source file @name, or all if it is NULL. */
static void walk_units(struct far__module *m, const char *file)
{
	for (size_t i = 0; i < m->units; i++) {
		struct far__unit *unit = &m->unit[i];
		const char *name = file && !unit->walked ? dw.dwarf_diename(&unit->die) : NULL;
		const char *slash = name ? strrchr(name, '/') : NULL;

		if (unit->walked || unit->in_types || (file && (!name || strcmp(slash ? slash + 1 : name, file))))
			continue;
		walk(m, &unit->die, 0);
		unit->walked = true;
	}
}

bool far__module_find_variable(struct far__module *m, uint64_t address, Dwarf_Die *die)
{
	if (is_known(m, address, die))
		return true;
	const char *file = file_of(m, address);

	if (file) {
		walk_units(m, file);
		if (is_known(m, address, die))
			return true;
	}
	walk_units(m, NULL);
	return is_known(m, address, die);
}
