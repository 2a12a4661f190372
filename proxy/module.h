/*
 * The debug information of modules: where it is, and how something in it is found.
 * For debug.c alone, which holds the lock.
 */
#ifndef FAR_PROXY_MODULE_H
#define FAR_PROXY_MODULE_H

#include <dwarf.h>
#include <elfutils/libdw.h>
#include <elfutils/libdwelf.h>
#include <elfutils/libdwfl.h>

#include "type.h"

/* No program links libdw, which is loaded when the first module is opened. */
#define LIBDW(X) \
	X(dwfl_begin) X(dwfl_end) X(dwfl_report_begin) X(dwfl_report_end) X(dwfl_report_elf) X(dwfl_module_getdwarf) \
	X(dwfl_module_build_id) X(dwfl_module_getsymtab) X(dwfl_module_getsym) X(dwfl_build_id_find_elf) \
	X(dwfl_build_id_find_debuginfo) X(dwfl_offline_section_address) X(dwelf_elf_gnu_build_id) \
	X(dwarf_begin) X(dwarf_end) X(dwarf_getelf) X(dwarf_get_units) X(dwarf_lowpc) \
	X(dwarf_diecu) X(dwarf_offdie) X(dwarf_offdie_types) X(dwarf_dieoffset) X(dwarf_child) X(dwarf_siblingof) \
	X(dwarf_tag) X(dwarf_diename) X(dwarf_attr) X(dwarf_attr_integrate) X(dwarf_hasattr) \
	X(dwarf_formudata) X(dwarf_formflag) X(dwarf_formblock) X(dwarf_formref_die) \
	X(dwarf_formaddr) X(dwarf_getlocation) X(dwarf_getlocation_attr)

extern struct far__libdw {
#define X(name) __typeof__(&name) name;
	LIBDW(X)
#undef X
} far__dw;

/* What a name is the name of: a function as it is defined for others, within a unit, or only declared, and so on. */
enum far__name_kind {
	FAR_GLOBAL_FUNCTION = 1,
	FAR_STATIC_FUNCTION,
	FAR_DECLARED_FUNCTION,
	FAR_STRUCT_TAG,		/* these three as they are defined, not declared */
	FAR_UNION_TAG,
	FAR_ENUM_TAG,
	FAR_TYPEDEF,
};

/* What was compiled together. */
struct far__unit {
	Dwarf_Die die;
	bool in_types;		/* in .debug_types, where offsets count anew */
	bool walked;		/* its variables are known */
};

struct far__found;
struct far__variable;

struct far__module {
	struct far__module *next;
	char *path;
	Dwfl *dwfl;
	Dwfl_Module *file;	/* the module itself; of its symbols and its separate debug information */
	Dwarf *dwarf;		/* of the module, or in NAME.types */
	int types_fd;		/* then, that file; or -1 */
	Dwarf_Addr bias;	/* added to addresses in the debug information gives the module's */
	struct far__unit *unit;
	size_t units;
	struct far__found *name;	/* the index, made when first a name is looked for */
	size_t names, name_room;
	bool is_indexed;
	struct far__variable *variable;	/* of the units that were walked */
	size_t variables, variable_room;
};

/* The module at @path, opened if it is not; or NULL. */
struct far__module *far__module_open(const char *path, struct far__complaint *why);

void far__modules_close(void);

/* What is called so at the top level of any unit. */
bool far__module_find(struct far__module *m, enum far__name_kind class, const char *name, Dwarf_Die *die);

/* The variable at @address, which may be in a function. */
bool far__module_find_variable(struct far__module *m, uint64_t address, Dwarf_Die *die);

/* From a DIE to its first child and on to the next one; false behind the last. They end in damaged files too. */
bool far__die_child(Dwarf_Die *parent, Dwarf_Die *child);
bool far__die_next(Dwarf_Die *die);

/* Whether it has that attribute itself, a flag, and it is set. */
bool far__die_flag(Dwarf_Die *die, unsigned name);

/* Whether a function can be called from other files, as it or its declaration says. */
bool far__die_is_external(Dwarf_Die *die);

#endif
