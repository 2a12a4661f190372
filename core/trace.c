/*
 * far_error_print(): a failure as a person wants to read it, with the stack of a
 * slave process that crashed.
 *
 * The stack that the slave left is unwound, and its symbols are found, by libdw:
 * a large library that reads large files, from a stack that may be smashed. So it
 * is loaded in a slave process of our own, taken for the purpose and given two
 * seconds, which gets the report in the far heap and leaves text there. Without
 * such a slave there are only addresses.
 */
#include "crash.h"

#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <ucontext.h>
#include <unistd.h>

#include "heap.h"
#include "internal.h"
#include "sys.h"

#if defined __has_include && __has_include(<elfutils/libdwfl.h>) && __has_include(<dwarf.h>)
#include <dwarf.h>
#include <elfutils/libdwfl.h>
#define HAVE_LIBDW 1
#endif

enum {
	FIRST_FRAMES = 64,
	COUNTED_FRAMES = 16384,		/* as many as the piece of stack that is kept can hold */
	LAST_FRAMES = 8,
	MODULES_MAX = 256,
	TIME_MS = 2000,
};
#define TEXT_SIZE	(64ul << 10)

/* --------------------------------------------------------------- modules */

/* A mapping of code. */
struct module {
	uint64_t start, end, offset;
	uint64_t inode;
	char path[320];
	int fd;			/* in the helper: the file, if it still is the same one, or -1 */
	uint64_t bias;		/* then, what is added to its addresses */
	bool loaded;		/* the bias is known */
};

/* A trace that is being made. */
struct trace {
	const struct far__report *report;
	struct module module[MODULES_MAX];
	unsigned modules;
	char *text;
	size_t used, room;
	unsigned frames;	/* counted; the first of them written */
	uint64_t first_sp, last_sp;
	bool end;		/* the outermost frame was reached */
	size_t last, last_length;	/* the text of the frame before ... */
	unsigned alike;		/* ... and how many were left out since, for they read like it */
	size_t call_end;	/* behind the outermost far__replay() so far: what follows is farcall's own */
};

__attribute__((format(printf, 2, 3)))
static void put(struct trace *t, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	int n = vsnprintf(t->text + t->used, t->room - t->used, format, arguments);

	va_end(arguments);
	if (n > 0)
		t->used = (size_t)n < t->room - t->used ? t->used + (size_t)n : t->room - 1;
}

static void read_maps(struct trace *t)
{
	struct far__mapping m;
	char path[sizeof t->module->path];

	for (size_t at = 0; t->modules < MODULES_MAX && far__report_mapping(t->report, &at, &m, path, sizeof path);) {
		struct module *module = &t->module[t->modules];

		if (!(m.access & FAR_EXECUTABLE) || !*path)
			continue;
		*module = (struct module){ .start = m.start, .end = m.end, .offset = m.offset, .inode = m.inode, .fd = -1 };
		memcpy(module->path, path, sizeof path);
		t->modules++;
	}
}

static struct module *module_of(struct trace *t, uint64_t address)
{
	for (unsigned i = 0; i < t->modules; i++)
		if (address >= t->module[i].start && address < t->module[i].end)
			return &t->module[i];
	return NULL;
}

static void put_place(struct trace *t, uint64_t address)
{
	const struct module *m = module_of(t, address);
	char name[200];

	if (!m) {
		put(t, "%#" PRIx64, address);
		return;
	}
	far__printable(name, sizeof name, basename(m->path), strlen(basename(m->path)));
	if (m->loaded)
		put(t, "%s+%#" PRIx64, name, address - m->bias);
	else
		put(t, "%s, file offset %#" PRIx64, name, address - m->start + m->offset);
}

/* A word of the stack that was kept. */
static bool read_stack(const struct far__report *r, uint64_t address, uint64_t *value)
{
	const struct far__record *d = &r->record;

	if (address >= d->stack_at && d->stack_length >= 8 && address - d->stack_at <= d->stack_length - 8)
		memcpy(value, r->stack + (address - d->stack_at), sizeof *value);
	else if (address >= d->outer_at && d->outer_length >= 8 && address - d->outer_at <= d->outer_length - 8)
		memcpy(value, r->outer + (address - d->outer_at), sizeof *value);
	else
		return false;
	return true;
}

/* In the master, when nothing better can be had: what on the stack may be a return address. */
static void put_candidates(struct trace *t)
{
	const struct far__record *d = &t->report->record;
	unsigned n = 0;

	put(t, "    at ");
	put_place(t, t->report->facts.pc);
	put(t, "\n");
	for (uint64_t at = (d->stack_at + 7) & ~7ul, word; n < 32 && read_stack(t->report, at, &word); at += 8) {
		const struct module *m = module_of(t, word);

		if (!m || m->start == word)
			continue;
		put(t, "    perhaps from ");
		put_place(t, word);
		put(t, "\n");
		n++;
	}
}

#ifdef HAVE_LIBDW
/* ---------------------------------------------------- in the helping slave */

#define LIBDW(X) \
	X(dwfl_begin) X(dwfl_end) X(dwfl_report_begin) X(dwfl_report_end) X(dwfl_report_elf) X(dwfl_attach_state) \
	X(dwfl_getthread_frames) X(dwfl_frame_pc) X(dwfl_frame_reg) X(dwfl_thread_state_registers) \
	X(dwfl_thread_state_register_pc) X(dwfl_addrmodule) X(dwfl_module_addrname) X(dwfl_module_addrdie) \
	X(dwfl_module_nextcu) X(dwarf_haspc) X(dwarf_getsrc_die) X(dwarf_linesrc) X(dwarf_lineno) \
	X(dwfl_standard_find_debuginfo) X(dwfl_offline_section_address) \
	X(dwfl_build_id_find_elf) X(dwarf_getscopes) X(dwarf_tag) X(dwarf_diename) X(dwarf_attr_integrate) \
	X(dwarf_formudata) X(dwarf_getsrcfiles) X(dwarf_filesrc)

static struct {
#define X(name) __typeof__(&name) name;
	LIBDW(X)
#undef X
} dw;

static bool load_libdw(void)
{
	void *library = dlopen("libdw.so.1", RTLD_NOW);
	bool found = library != NULL;

#define X(name) found = found && (*(void **)(void *)&dw.name = dlsym(library, #name)) != NULL;
	LIBDW(X)
#undef X
	return found;
}

/* Open the module's file, if it still is what the slave had mapped, and find where it was loaded. */
static void open_module(struct module *m)
{
	Elf64_Ehdr header;
	struct stat st;

	if (*m->path != '/')
		return;
	m->fd = (int)SYS(openat, AT_FDCWD, m->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK, 0);
	if (m->fd < 0)
		return;
	if (fstat(m->fd, &st) || !S_ISREG(st.st_mode) || st.st_ino != m->inode ||
	    pread(m->fd, &header, sizeof header, 0) != sizeof header || memcmp(header.e_ident, ELFMAG, SELFMAG) ||
	    header.e_ident[EI_CLASS] != ELFCLASS64)
		goto other;
	for (unsigned i = 0; i < header.e_phnum; i++) {
		Elf64_Phdr p;

		if (pread(m->fd, &p, sizeof p, (off_t)(header.e_phoff + i * sizeof p)) != sizeof p)
			break;
		if (p.p_type != PT_LOAD || (p.p_offset & -4096ul) > m->offset || p.p_offset + p.p_filesz <= m->offset)
			continue;
		m->bias = m->start - m->offset - (p.p_vaddr - p.p_offset);
		m->loaded = true;
		return;
	}
other:
	close(m->fd);
	m->fd = -1;
}

/* Whether a call could return to @address: one of the forms of the instruction ends there. */
static bool follows_call(struct trace *t, uint64_t address)
{
	const struct module *m = module_of(t, address);
	unsigned char b[7];

	if (!m || m->fd < 0 || address - m->start < sizeof b ||
	    pread(m->fd, b, sizeof b, (off_t)(address - sizeof b - m->start + m->offset)) != sizeof b)
		return false;
	if (b[2] == 0xe8)
		return true;
	/* ff /2: with no displacement, one of 8 bits (and a SIB byte), one of 32 bits. */
	for (unsigned length = 2; length <= 7; length++)
		if (b[7 - length] == 0xff && (b[8 - length] >> 3 & 7) == 2)
			return true;
	return false;
}

static void put_line(struct trace *t, const char *path, int line)
{
	char file[300];

	far__printable(file, sizeof file, path, strlen(path));
	put(t, "%s:%d", file, line);
}

/* "  #3  function   place": a function that was called there; then the callers that it is inlined into. */
static void put_function(struct trace *t, unsigned n, bool sure, const char *name)
{
	char printable[200];

	far__printable(printable, sizeof printable, name, strlen(name));
	if (sure)
		put(t, "    #%-3u %-24s ", n, printable);
	else
		put(t, "    ?    %-24s ", printable);
}

static int attribute(Dwarf_Die *die, unsigned which)
{
	Dwarf_Attribute a;
	Dwarf_Word value;

	if (!dw.dwarf_attr_integrate(die, which, &a) || dw.dwarf_formudata(&a, &value))
		return 0;
	return (int)value;
}

/* What was compiled together with the code at @address; its addresses count from *bias. NULL: no debug information. */
static Dwarf_Die *unit_of(Dwfl_Module *mod, uint64_t address, Dwarf_Addr *bias)
{
	Dwarf_Die *cu = dw.dwfl_module_addrdie(mod, address, bias);

	/* That looks in a table which clang does not make. */
	if (!cu)
		while ((cu = dw.dwfl_module_nextcu(mod, cu, bias)) && dw.dwarf_haspc(cu, address - *bias) != 1)
			;
	return cu;
}

/* The functions that are inlined at @address, from the innermost out; the line where the last was called stays in *line. */
static void put_inlined(struct trace *t, unsigned n, Dwarf_Die *cu, uint64_t address, const char **file, int *line)
{
	Dwarf_Die *scopes = NULL;
	int count = dw.dwarf_getscopes(cu, address, &scopes);
	Dwarf_Files *files;

	for (int i = 0; i < count; i++) {
		int tag = dw.dwarf_tag(&scopes[i]);
		const char *name = dw.dwarf_diename(&scopes[i]);

		if (tag == DW_TAG_subprogram)
			break;
		if (tag != DW_TAG_inlined_subroutine || !name || !*file)
			continue;
		put_function(t, n, true, name);
		put_line(t, *file, *line);
		put(t, " (inlined)\n");
		*line = attribute(&scopes[i], DW_AT_call_line);
		*file = dw.dwarf_getsrcfiles(cu, &files, NULL) == 0
			? dw.dwarf_filesrc(files, (size_t)attribute(&scopes[i], DW_AT_call_file), NULL, NULL) : NULL;
	}
	free(scopes);
}

/* @address is of the instruction, or one byte into the call of which @pc is the return address. */
static void put_frame(struct trace *t, Dwfl *dwfl, unsigned n, bool sure, uint64_t pc, uint64_t address)
{
	Dwfl_Module *mod = dw.dwfl_addrmodule(dwfl, address);
	const char *name = mod ? dw.dwfl_module_addrname(mod, address) : NULL;
	Dwarf_Addr bias = 0;
	Dwarf_Die *cu = mod ? unit_of(mod, address, &bias) : NULL;
	Dwarf_Line *src = cu ? dw.dwarf_getsrc_die(cu, address - bias) : NULL;
	int line = 0;
	const char *file = src && !dw.dwarf_lineno(src, &line) ? dw.dwarf_linesrc(src, NULL, NULL) : NULL;

	if (cu && sure)
		put_inlined(t, n, cu, address - bias, &file, &line);
	put_function(t, n, sure, name ? name : "?");
	if (file)
		put_line(t, file, line);
	else
		put_place(t, pc);
	put(t, "\n");
}

static bool read_memory(Dwfl *dwfl, Dwarf_Addr address, Dwarf_Word *result, void *arg)
{
	(void)dwfl;
	return read_stack(((struct trace *)arg)->report, address, result);
}

static pid_t next_thread(Dwfl *dwfl, void *arg, void **thread)
{
	(void)dwfl;
	if (*thread)
		return 0;
	*thread = arg;
	return 1;
}

static bool set_registers(Dwfl_Thread *thread, void *arg)
{
	/* DWARF's numbers of rax, rdx, rcx, rbx, rsi, rdi, rbp, rsp, r8 to r15, and the return address. */
	static const uint8_t order[] = {
		REG_RAX, REG_RDX, REG_RCX, REG_RBX, REG_RSI, REG_RDI, REG_RBP, REG_RSP,
		REG_R8, REG_R9, REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15, REG_RIP,
	};
	const struct trace *t = arg;
	Dwarf_Word reg[17];

	for (int i = 0; i < 17; i++)
		reg[i] = t->report->record.reg[order[i]];
	dw.dwfl_thread_state_register_pc(thread, reg[16]);
	return dw.dwfl_thread_state_registers(thread, 0, 17, reg);
}

struct walk {
	struct trace *trace;
	Dwfl *dwfl;
};

static void tell_alike(struct trace *t)
{
	if (t->alike)
		put(t, "    ... and %u more like it\n", t->alike);
	t->alike = 0;
}

/* Recursion makes many frames of one line. The text from @before on is the frame just put. */
static void leave_out_if_alike(struct trace *t, size_t before)
{
	enum { NUMBER = 9 };	/* columns */
	char frame[1024];
	size_t length = t->used - before;

	if (length <= NUMBER || length > sizeof frame)
		return;
	memcpy(frame, t->text + before, length);
	if (t->last_length == length && !memcmp(t->text + t->last + NUMBER, frame + NUMBER, length - NUMBER)) {
		t->used = before;
		t->alike++;
		return;
	}
	if (t->alike) {
		t->used = before;
		tell_alike(t);
		before = t->used;
		put(t, "%.*s", (int)length, frame);
	}
	t->last = before;
	t->last_length = t->used - before;
	if (!strncmp(frame + NUMBER, "far__replay ", 12))
		t->call_end = t->used;
}

static int take_frame(Dwfl_Frame *frame, void *arg)
{
	struct walk *w = arg;
	struct trace *t = w->trace;
	Dwarf_Addr pc;
	Dwarf_Word sp;
	bool activation;

	if (!dw.dwfl_frame_pc(frame, &pc, &activation) || t->frames >= COUNTED_FRAMES)
		return DWARF_CB_ABORT;
	if (dw.dwfl_frame_reg(frame, 7, &sp) == 0) {
		/* Frames lie one above the other, or the stack is broken. */
		if (t->frames && sp <= t->last_sp)
			return DWARF_CB_ABORT;
		if (!t->frames)
			t->first_sp = sp;
		t->last_sp = sp;
	}
	if (t->frames < FIRST_FRAMES) {
		size_t before = t->used;

		put_frame(t, w->dwfl, t->frames, true, pc, activation ? pc : pc - 1);
		leave_out_if_alike(t, before);
	}
	t->frames++;
	return DWARF_CB_OK;
}

/* What is at the other end of a stack that was too large to keep: return addresses that are likely. */
static void put_last(struct trace *t, Dwfl *dwfl)
{
	const struct far__report *r = t->report;
	uint64_t found[LAST_FRAMES], word;
	unsigned n = 0;
	const uint64_t low = r->record.outer_at, called = r->record.called;
	uint64_t size = t->last_sp > t->first_sp && t->frames > 1 ? (t->last_sp - t->first_sp) / (t->frames - 1) : 0;
	uint64_t end = r->record.outer_at + r->record.outer_length;

	/* Of a stack that is none, any number may come: say none. */
	if (size && end > t->last_sp && end - t->last_sp < far__space.window_size)
		put(t, "    ... about %" PRIu64 " frames left out ...\n", t->frames - FIRST_FRAMES + (end - t->last_sp) / size);
	else
		put(t, "    ...\n");
	/* Below its frame pointer far__replay() has saved registers and put arguments; then it called the function. */
	for (uint64_t at = (called > low && called < end ? called : end) & ~7ul; n < LAST_FRAMES && (at -= 8) >= low; )
		if (read_stack(r, at, &word) && follows_call(t, word))
			found[n++] = word;
	while (n--)
		put_frame(t, dwfl, 0, false, found[n], found[n] - 1);
}

static void report_modules(struct trace *t, Dwfl *dwfl)
{
	dw.dwfl_report_begin(dwfl);
	for (unsigned i = 0; i < t->modules; i++) {
		struct module *m = &t->module[i];
		bool again = false;

		open_module(m);
		for (unsigned k = 0; k < i; k++)
			again |= t->module[k].loaded && t->module[k].bias == m->bias && !strcmp(t->module[k].path, m->path);
		if (m->loaded && !again)
			(void)dw.dwfl_report_elf(dwfl, basename(m->path), m->path, -1, m->bias, true);
	}
	dw.dwfl_report_end(dwfl, NULL, NULL);
}

/* A call of what is no code has pushed the return address, and no more. */
static void step_back_from_nowhere(struct trace *t, struct far__report *r)
{
	uint64_t sp = r->record.reg[REG_RSP], back;

	if (module_of(t, r->record.reg[REG_RIP]) || !read_stack(r, sp, &back) || !module_of(t, back))
		return;
	put(t, "    #%-3u 0x%-22" PRIx64 " where no code is\n", t->frames++, r->record.reg[REG_RIP]);
	/* Into the call: the unwinder takes it for the instruction that was executed. */
	r->record.reg[REG_RIP] = back - 1;
	r->record.reg[REG_RSP] = sp + 8;
}

static void unwind(struct trace *t, struct far__report *r)
{
	static char *no_path;
	static const Dwfl_Thread_Callbacks threads = {
		.next_thread = next_thread, .memory_read = read_memory, .set_initial_registers = set_registers,
	};
	const Dwfl_Callbacks callbacks = {
		.find_elf = dw.dwfl_build_id_find_elf, .find_debuginfo = dw.dwfl_standard_find_debuginfo,
		.section_address = dw.dwfl_offline_section_address, .debuginfo_path = &no_path,
	};
	Dwfl *dwfl = dw.dwfl_begin(&callbacks);
	struct walk walk = { t, dwfl };

	if (!dwfl)
		return;
	report_modules(t, dwfl);
	step_back_from_nowhere(t, r);
	if (!dw.dwfl_attach_state(dwfl, NULL, getpid(), &threads, t))
		return;
	t->end = dw.dwfl_getthread_frames(dwfl, 1, take_frame, &walk) == 0;
	tell_alike(t);
	if (t->end && t->call_end)
		t->used = t->call_end;
	if (t->frames > FIRST_FRAMES || (!t->end && r->record.outer_length))
		put_last(t, dwfl);
	/* Nothing is freed: this process ends. */
}

/* Called in the helper: the trace of a report in the far heap, into @text of TEXT_SIZE bytes: its length, or 0. */
static size_t make_trace(struct far__report *r, char *text)
{
	struct trace *t = calloc(1, sizeof *t);

	unsetenv("DEBUGINFOD_URLS");	/* there is no time for that */
	far__report_point(r);
	if (!t || !load_libdw())
		return 0;
	t->report = r;
	t->text = text;
	t->room = TEXT_SIZE;
	read_maps(t);
	unwind(t, r);
	return t->frames ? t->used : 0;
}

/* ------------------------------------------------------------ in the master */

/* Have it made within the time: the length of the text, or 0. */
static size_t have_it_made(struct far__report *r, char *text)
{
	struct far_slave *helper = far_slave_process(.name = "farcall-trace", .close_ms = TIME_MS);
	size_t length = 0;

	if (!helper)
		return 0;
	far_task(size_t) task = far_schedule(helper, make_trace, r, text);

	if (task) {
		if (far_wait_for(task, TIME_MS))
			far__zygote_kill(far__handle_number((uintptr_t)helper));
		length = far_wait(task);
	}
	(void)far_error();
	far_slave_close(helper);
	(void)far_error();
	return length < TEXT_SIZE ? length : 0;
}

/* The trace as lines of text in private memory, or NULL. */
static char *trace_by_helper(const struct far__report *report, size_t size)
{
	int err;
	struct far__report *shared = far__heap_alloc(size, false, &err);
	char *text = shared ? far__heap_alloc(TEXT_SIZE, false, &err) : NULL, *copy = NULL;

	if (text) {
		memcpy(shared, report, size);
		size_t length = have_it_made(shared, text);

		copy = length ? malloc(length + 1) : NULL;
		if (copy) {
			memcpy(copy, text, length);
			copy[length] = 0;
		}
		far__heap_free(text);
	}
	if (shared)
		far__heap_free(shared);
	return copy;
}
#else
static char *trace_by_helper(const struct far__report *report, size_t size)
{
	(void)report;
	(void)size;
	return NULL;
}
#endif

static char *trace_by_hand(const struct far__report *report)
{
	struct trace *t = calloc(1, sizeof *t);

	if (t) {
		t->report = report;
		t->room = TEXT_SIZE;
		t->text = calloc(1, t->room);
	}
	char *text = t ? t->text : NULL;

	if (text) {
		read_maps(t);
		put_candidates(t);
	}
	free(t);
	return text;
}

/* What a slave wrote, line by line. */
static void print_lines(FILE *stream, const char *text)
{
	while (*text) {
		size_t length = strcspn(text, "\n");
		char line[1024];

		far__printable(line, sizeof line, text, length);
		fprintf(stream, "%s\n", line);
		text += length + (text[length] == '\n');
	}
}

static void print_trace(FILE *stream, uint64_t id)
{
	size_t size;
	struct far__report *report = far__report_copy(id, &size);

	if (!report) {
		fputs("    (its stack is not kept any more)\n", stream);
		return;
	}
	if (report->whole) {
		char *text = trace_by_helper(report, size);

		if (!text)
			text = trace_by_hand(report);
		print_lines(stream, text ? text : "    (no memory for its stack)");
		free(text);
	}
	free(report);
}

void far_error_print(FILE *stream)
{
	const struct far_error *e = far_error();

	if (!e)
		return;
	struct far_error error = *e;
	int cancel = far__put_cancel_off();

	fprintf(stream, "%s\n", error.message);
	if (error.far__report) {
		print_trace(stream, error.far__report);
		/* Calls have been made meanwhile: this stays the last failure, and has been seen. */
		far__fail_with(&error);
		(void)far_error();
	}
	pthread_setcancelstate(cancel, NULL);
}
