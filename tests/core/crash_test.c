/* What a function can do to its slave process, and what the master says of it. */
#include <alloca.h>
#include <assert.h>
#include <dlfcn.h>
#include <fenv.h>
#include <limits.h>
#include <malloc.h>
#include <pthread.h>
#include <setjmp.h>
#include <stddef.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <ucontext.h>

#include "check.h"
#include "crash.h"
#include "internal.h"
#include "refuse.h"

#define CRIME __attribute__((noinline)) static void

/* What the compiler shall not see through. */
static volatile uintptr_t zero;
static void *hide(uintptr_t p)
{
	return (void *)(p + zero);
}

static void call(uintptr_t function)
{
	((void (*)(void))(function + zero))();
	__asm__ volatile("");	/* not by a jump */
}

static int add(int a, int b)
{
	return a + b;
}

/* ------------------------------------------------------------- addresses */

static volatile int sink;

CRIME read_null(void)
{
	sink = *(volatile int *)hide(0);
}

CRIME write_null(void)
{
	*(volatile int *)hide(0) = 1;
}

CRIME call_null(void)
{
	call(0);
}

CRIME read_null_plus(void)
{
	sink = *(volatile int *)hide(24);
}

CRIME read_null_minus(void)
{
	sink = *(volatile int *)hide((uintptr_t)-8);
}

CRIME read_wild(void)
{
	sink = *(volatile int *)hide(0x123456789000);
}

CRIME read_non_canonical(void)
{
	sink = *(volatile int *)hide(0x8000123412341234);
}

CRIME read_kernel(void)
{
	sink = *(volatile int *)hide(0xffff888000000000);
}

static const char constant[] = "constant";

CRIME write_constant(void)
{
	*(volatile char *)hide((uintptr_t)constant) = 'x';
}

CRIME write_text(void)
{
	*(volatile char *)hide((uintptr_t)add) = 'x';
}

CRIME jump_to_garbage(void)
{
	call(0x10234567);
}

CRIME call_data(void)
{
	char *p = malloc(100000);

	memset(p, 0xc3, 100000);
	call((uintptr_t)p);
	free(p);
}

CRIME write_past_mapping(void)
{
	char *p = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	munmap(p + 4096, 4096);
	*(volatile char *)(p + 4096) = 1;
}

CRIME unaligned_vector(void)
{
	__asm__ volatile("movaps 1(%0), %%xmm0" : : "r"((uintptr_t)alloca(64) & -16ul) : "xmm0", "memory");
}

CRIME wrong_prototype(void)
{
	sink = (int)((size_t (*)(int))((uintptr_t)strlen + zero))(1000);
}

CRIME use_of_freed_far_block(void)
{
	enum { SIZE = 80 << 20 };	/* more than is kept: the last of its pages go, in a second */
	char *block = far_alloc(SIZE);
	struct node {
		struct node *volatile next;
	} *n = (struct node *)(void *)(block + SIZE - 4096);

	n->next = n;
	far_free(block);
	for (int i = 0; i < 500 && n->next; i++)
		usleep(10000);
	n = n->next;
	sink = n->next != NULL;
}

/* ---------------------------------------------------------- instructions */

CRIME illegal_instruction(void)
{
	__asm__ volatile("ud2");
}

CRIME breakpoint(void)
{
	__asm__ volatile("int3");
}

CRIME privileged_instruction(void)
{
	__asm__ volatile("hlt");
}

CRIME divide_by_zero(void)
{
	sink = 7 / (int)(uintptr_t)hide(0);
}

CRIME divide_too_large(void)
{
	sink = (int)((INT_MIN + (int)zero) / (int)(-1 - (int)zero));
}

CRIME divide_floats_by_zero(void)
{
	volatile double z = (double)zero;

	feenableexcept(FE_DIVBYZERO);
	sink = (int)(1 / z);
}

/* ----------------------------------------------------------------- stack */

__attribute__((noinline)) static int recurse(volatile int *depth)
{
	volatile int here[16];

	here[0] = *depth + 1;
	return zero ? 0 : recurse(here) + here[0];
}

CRIME recurse_for_ever(void)
{
	volatile int depth = 0;

	sink = recurse(&depth);
}

CRIME large_alloca(void)
{
	volatile char *p = alloca((64ul << 20) + zero);

	*p = 1;
}

CRIME smash_the_stack(void)
{
	char small[16];

	memset(hide((uintptr_t)small), 'A', 64);
	__asm__ volatile("" : : "r"(small) : "memory");
}

static void run_in_thread(void *(*function)(void *))
{
	pthread_t thread;

	pthread_create(&thread, NULL, function, NULL);
	pthread_join(thread, NULL);
}

static void *recurse_in_thread(void *unused)
{
	recurse_for_ever();
	return unused;
}

CRIME recurse_in_another_thread(void)
{
	run_in_thread(recurse_in_thread);
}

static void *recurse_with_alternate_stack(void *unused)
{
	sigaltstack(&(stack_t){ .ss_sp = malloc(65536), .ss_size = 65536 }, NULL);
	recurse_for_ever();
	return unused;
}

CRIME recurse_in_a_thread_with_an_alternate_stack(void)
{
	run_in_thread(recurse_with_alternate_stack);
}

static void *crash_in_thread(void *unused)
{
	write_null();
	return unused;
}

CRIME crash_in_another_thread(void)
{
	run_in_thread(crash_in_thread);
}

static pthread_barrier_t all_at_once;

static void *crash_together(void *unused)
{
	pthread_barrier_wait(&all_at_once);
	read_null_plus();
	return unused;
}

CRIME crash_in_eight_threads(void)
{
	pthread_t thread[8];

	pthread_barrier_init(&all_at_once, NULL, 8);
	for (int i = 0; i < 8; i++)
		pthread_create(&thread[i], NULL, crash_together, NULL);
	for (int i = 0; i < 8; i++)
		pthread_join(thread[i], NULL);
}

CRIME unmap_own_stack(void)
{
	uintptr_t here = (uintptr_t)__builtin_frame_address(0) & -4096ul;

	syscall(SYS_munmap, here - 65536, 131072);
}

CRIME protect_own_stack(void)
{
	uintptr_t here = (uintptr_t)__builtin_frame_address(0) & -4096ul;

	mprotect((void *)(here - 65536), 131072, PROT_READ);
}

CRIME unmap_own_segment(void)
{
	munmap(far__space_segment(far__self), 4096);
}

CRIME protect_own_segment(void)
{
	mprotect(far__space_segment(far__self), FAR_SEGMENT_SIZE, PROT_READ);
}

/* ------------------------------------------------------------------ heap */

CRIME double_free(void)
{
	char *p = malloc(100), *q = hide((uintptr_t)p);

	free(p);
	free(q);
}

CRIME invalid_free(void)
{
	char *p = malloc(100);

	free(hide((uintptr_t)p + 8));
}

CRIME free_of_static(void)
{
	static long words[8];

	free(hide((uintptr_t)&words[2]));
}

CRIME heap_overflow(void)
{
	char *p = malloc(200000), *q = malloc(24);

	/* A chunk of a large size made small again, and its neighbours overrun. */
	memset(hide((uintptr_t)q), 'x', 4096);
	free(p);
	for (int i = 0; i < 1000; i++)
		q = hide((uintptr_t)malloc((size_t)i * 100));
	free(q);
}

/* A chunk that says it is another arena's: free() looks for that arena. */
CRIME overrun_into_a_chunk(void)
{
	char *p = malloc(5000), *q = malloc(5000);

	*(size_t *)hide((uintptr_t)q - 8) |= 4;
	free(q);
	free(p);
}

static void handle_badly(int signal)
{
	sink = signal;
	write_null();
}

CRIME crash_in_signal_handler(void)
{
	signal(SIGUSR1, handle_badly);
	raise(SIGUSR1);
}

/* ----------------------------------------------------------------- endings */

CRIME call_abort(void)
{
	abort();
}

CRIME fail_assertion(void)
{
	assert(zero == 1 && "the moon is full");
}

CRIME raise_segv(void)
{
	raise(SIGSEGV);
}

CRIME raise_kill(void)
{
	raise(SIGKILL);
}

CRIME raise_term(void)
{
	raise(SIGTERM);
}

CRIME raise_abort_unlocked(void)
{
	syscall(SYS_kill, getpid(), SIGABRT);
}

CRIME call_exit(void)
{
	exit(3);
}

CRIME call__exit(void)
{
	_exit(4);
}

CRIME call_quick_exit(void)
{
	quick_exit(5);
}

CRIME call_exit_group(void)
{
	syscall(SYS_exit_group, 6);
}

CRIME call_exit_of_thread(void)
{
	syscall(SYS_exit, 7);
}

CRIME call_pthread_exit(void)
{
	pthread_exit(NULL);
}

CRIME cancel_self(void)
{
	pthread_cancel(pthread_self());
	pthread_testcancel();
}

static jmp_buf outer;

static void jump_to_outer(void)
{
	longjmp(outer, 1);
}

CRIME jump_out_of_an_inner_call(void)
{
	if (!setjmp(outer))
		far_invoke(far_slave_self(), jump_to_outer);
}

/* From the slave's queue, which is served while this call waits. */
CRIME jump_out_of_a_queued_call(void)
{
	if (!setjmp(outer))
		far_wait(far_schedule(far_slave_self(), jump_to_outer));
}

static void set_outer(void)
{
	(void)setjmp(outer);
}

/* So far down that longjmp() itself does not write there. */
static __attribute__((noinline)) void set_outer_below(void)
{
	char room[16384];

	far_invoke(far_slave_self(), set_outer);
	__asm__ volatile("" : : "r"(room) : "memory");
}

CRIME jump_into_an_ended_call(void)
{
	set_outer_below();
	longjmp(outer, 1);
}

CRIME execute_true(void)
{
	execl("/bin/true", "true", (char *)NULL);
}

CRIME execute_sleep(void)
{
	execl("/bin/sleep", "sleep", "1000", (char *)NULL);
}

CRIME close_all_and_execute(void)
{
	close_range(3, ~0u, 0);
	execl("/bin/true", "true", (char *)NULL);
}

static void leave_with_9(int signal)
{
	_exit(signal == SIGSEGV ? 9 : 0);
}

CRIME handle_segv_and_exit(void)
{
	signal(SIGSEGV, leave_with_9);
	write_null();
}

CRIME default_segv(void)
{
	signal(SIGSEGV, SIG_DFL);
	write_null();
}

CRIME block_segv(void)
{
	sigset_t all;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	write_null();
}

CRIME lose_alternate_stack(void)
{
	sigaltstack(&(stack_t){ .ss_flags = SS_DISABLE }, NULL);
	recurse_for_ever();
}

CRIME crash_in_exit(void)
{
	atexit(write_null);
	exit(0);
}

/* ----------------------------------------------------------------- limits */

CRIME truncated_mapping(void)
{
	int fd = memfd_create("truncated", 0);

	if (ftruncate(fd, 8192))
		return;
	volatile char *p = mmap(NULL, 8192, PROT_READ, MAP_SHARED, fd, 0);

	if (ftruncate(fd, 4096))
		return;
	sink = p[4096];
}

CRIME forbidden_call(void)
{
	REFUSE_BY(SECCOMP_RET_TRAP, SYS_getppid);
	sink = getppid();
}

CRIME strict_seccomp(void)
{
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT))
		kill(getpid(), SIGKILL);	/* not possible behind a filter, which the whole test may have: the same end */
	sink = getppid();
}

CRIME out_of_cpu_time(void)
{
	setrlimit(RLIMIT_CPU, &(struct rlimit){ 1, 10 });
	for (;;)
		sink++;
}

CRIME too_large_a_file(void)
{
	int fd = memfd_create("large", 0);

	setrlimit(RLIMIT_FSIZE, &(struct rlimit){ 4096, 4096 });
	sink = (int)pwrite(fd, "x", 1, 8192);
}

CRIME out_of_address_space(void)
{
	struct rlimit none = { 4096, 4096 };

	setrlimit(RLIMIT_AS, &none);
	memset(hide((uintptr_t)malloc(10ul << 20)), 1, 100);
}

CRIME no_descriptors(void)
{
	setrlimit(RLIMIT_NOFILE, &(struct rlimit){ 0, 0 });
	write_null();
}

CRIME close_all_and_crash(void)
{
	close_range(0, ~0u, 0);
	usleep(30000);		/* until the master sleeps */
	read_null_plus();
}

/* ------------------------------------------------------------ the table */

#define CRASHED(signal_) .code = FAR_ECRASHED, .signal = signal_
#define EXITED(status_) .code = FAR_EEXITED, .status = status_
#define KILLED(signal_) .code = FAR_EKILLED, .signal = signal_
#define DIED .code = FAR_EDIED

static const struct crime {
	const char *name;
	void (*commit)(void);
	int code, signal, status;
	const char *words;
} crimes[] = {
#define X(f, ...) { #f, f, __VA_ARGS__ }
	X(read_null, CRASHED(SIGSEGV), .words = "reading NULL (0)"),
	X(write_null, CRASHED(SIGSEGV), .words = "writing NULL (0)"),
	X(call_null, CRASHED(SIGSEGV), .words = "calling NULL (0)"),
	X(read_null_plus, CRASHED(SIGSEGV), .words = "reading NULL plus 24 (0x18)"),
	X(read_null_minus, CRASHED(SIGSEGV), .words = "reading NULL minus 8"),
	X(read_wild, CRASHED(SIGSEGV), .words = "reading "),
	X(read_non_canonical, CRASHED(SIGSEGV), .words = "an address that cannot exist"),
	X(read_kernel, CRASHED(SIGSEGV), .words = "an address that no process has"),
	X(write_constant, CRASHED(SIGSEGV), .words = "writing a constant of crash_test, which cannot be written to"),
	X(write_text, CRASHED(SIGSEGV), .words = "writing the code of crash_test, which cannot be written to"),
	X(jump_to_garbage, CRASHED(SIGSEGV), .words = "executing where nothing is (0x10234567)"),
	X(call_data, CRASHED(SIGSEGV), .words = "executing its own memory, which it may not execute"),
	X(write_past_mapping, CRASHED(SIGSEGV), .words = "writing its own memory, where nothing is"),
	X(unaligned_vector, CRASHED(SIGSEGV), .words = "a vector that is not aligned"),
	X(wrong_prototype, CRASHED(SIGSEGV), .words = "reading NULL plus 1000"),
	X(use_of_freed_far_block, CRASHED(SIGSEGV), .words = "reading NULL (0)"),
	X(illegal_instruction, CRASHED(SIGILL), .words = "an instruction that does not exist"),
	X(breakpoint, CRASHED(SIGTRAP), .words = "a breakpoint (int3)"),
	X(privileged_instruction, CRASHED(SIGSEGV), .words = "an instruction for the kernel alone"),
	X(divide_by_zero, CRASHED(SIGFPE), .words = "an integer division by zero"),
	X(divide_too_large, CRASHED(SIGFPE), .words = "an integer division by zero, or with a quotient that is too large"),
	X(divide_floats_by_zero, CRASHED(SIGFPE), .words = "a floating-point division by zero"),
	X(recurse_for_ever, CRASHED(SIGSEGV), .words = "stack overflow (it had 8192 KiB)"),
	X(large_alloca, CRASHED(SIGSEGV), .words = "stack overflow"),
	X(smash_the_stack, CRASHED(SIGABRT), .words = "stack smashing detected"),
	X(recurse_in_another_thread, CRASHED(SIGSEGV), .words = "which it could not report"),
	X(recurse_in_a_thread_with_an_alternate_stack, CRASHED(SIGSEGV),
	  .words = "in another thread, writing beyond the end of the stack: stack overflow (0x"),
	X(crash_in_another_thread, CRASHED(SIGSEGV), .words = "in another thread, writing NULL"),
	X(crash_in_eight_threads, CRASHED(SIGSEGV), .words = "in another thread, reading NULL plus 24"),
	X(unmap_own_stack, CRASHED(SIGSEGV), .words = "its own memory, where nothing is"),
	X(protect_own_stack, CRASHED(SIGSEGV), .words = "its own memory, which it may not write to"),
	X(unmap_own_segment, CRASHED(SIGSEGV), .words = "which it could not report"),
	X(protect_own_segment, CRASHED(SIGSEGV), .words = "which it could not report"),
	X(double_free, CRASHED(SIGABRT), .words = "double free detected"),
	X(invalid_free, CRASHED(SIGABRT), .words = "free(): invalid pointer"),
	X(free_of_static, CRASHED(SIGABRT), .words = "free(): invalid"),
	X(heap_overflow, CRASHED(SIGABRT), .words = "corrupted"),
	X(overrun_into_a_chunk, CRASHED(SIGSEGV), .words = "reading "),
	X(crash_in_signal_handler, CRASHED(SIGSEGV), .words = "writing NULL"),
	X(call_abort, CRASHED(SIGABRT), .words = "abort() was called"),
	X(fail_assertion, CRASHED(SIGABRT), .words = "the moon is full"),
	X(raise_segv, CRASHED(SIGSEGV), .words = "it sent the signal to itself"),
	X(raise_abort_unlocked, CRASHED(SIGABRT), .words = "abort() was called"),
	X(raise_kill, KILLED(SIGKILL), .words = "killed by SIGKILL"),
	X(raise_term, KILLED(SIGTERM), .words = "killed by SIGTERM"),
	X(call_exit, EXITED(3), .words = "exited with status 3"),
	X(call__exit, EXITED(4), .words = "exited with status 4"),
	X(call_quick_exit, EXITED(5), .words = "exited with status 5"),
	X(call_exit_group, EXITED(6), .words = "exited with status 6"),
	X(call_exit_of_thread, EXITED(7), .words = "exited with status 7"),
	X(call_pthread_exit, DIED, .words = "that ran it ended (pthread_exit?)"),
	X(cancel_self, DIED, .words = "that ran it ended (pthread_exit?)"),
	X(jump_out_of_an_inner_call, DIED, .words = "was left by longjmp()"),
	X(jump_out_of_a_queued_call, DIED, .words = "was left by longjmp()"),
	X(jump_into_an_ended_call, DIED, .words = "was left by longjmp()"),
	X(execute_true, DIED, .words = "executed another program"),
	X(execute_sleep, DIED, .words = "executed another program"),
	X(close_all_and_execute, DIED, .words = "executed another program"),
	X(handle_segv_and_exit, EXITED(9), .words = "exited with status 9"),
	X(default_segv, CRASHED(SIGSEGV), .words = "which it could not report"),
	X(block_segv, CRASHED(SIGSEGV), .words = "which it could not report"),
	X(lose_alternate_stack, CRASHED(SIGSEGV), .words = "which it could not report"),
	X(crash_in_exit, CRASHED(SIGSEGV), .words = "writing NULL"),
	X(truncated_mapping, CRASHED(SIGBUS), .words = "beyond the end of a mapped file, memfd:truncated"),
	X(forbidden_call, CRASHED(SIGSYS), .words = "a seccomp filter forbids system call 110"),
	X(strict_seccomp, KILLED(SIGKILL), .words = "killed by SIGKILL"),
	X(out_of_cpu_time, KILLED(SIGXCPU), .words = "its limit of CPU time"),
	X(too_large_a_file, KILLED(SIGXFSZ), .words = "its limit of file size"),
	X(out_of_address_space, CRASHED(SIGSEGV), .words = "writing NULL"),
	X(no_descriptors, CRASHED(SIGSEGV), .words = "writing NULL"),
	X(close_all_and_crash, CRASHED(SIGSEGV), .words = "reading NULL plus 24"),
#undef X
};

/* Print it all, as a person would see it, and have it to look at. */
static const char *print_error(void)
{
	static char text[65536];

	*text = 0;
	FILE *f = fmemopen(text, sizeof text, "w");

	far_error_print(f);
	fclose(f);
	fputs(text, stdout);
	return text;
}

TEST(every_crime_is_told_from_the_others)
{
	const char *only = getenv("CRIME");

	alarm(120);
	for (size_t i = 0; i < sizeof crimes / sizeof *crimes; i++) {
		const struct crime *c = &crimes[i];

		if (only && strcmp(only, c->name))
			continue;
		struct far_slave *s = far_slave_process(.name = "culprit");

		CHECK(s);
		double start = seconds();

		far_invoke(s, c->commit);
		const struct far_error *e = far_error();
		double took = seconds() - start;

		if (!e || e->code != c->code || e->signal != c->signal || e->status != c->status || !strstr(e->message, c->words))
			fail_at(__FILE__, __LINE__, "%s: code %d, signal %d, status %d, not %d, %d, %d, \"%s\"", c->name,
				e ? e->code : 0, e ? e->signal : 0, e ? e->status : 0, c->code, c->signal, c->status, c->words);
		printf("\n%s, after %.2f ms\n", c->name, took * 1000);
		print_error();
		CHECK_EQ(far_slave_close(s), -EOWNERDEAD);
		CHECK_EQ(far_error()->code, c->code);
		CHECK_HAS(far_error()->message, c->words);
	}
}

static void die_by(int signal)
{
	kill(getpid(), signal);
	for (;;)
		pause();
}

TEST(a_signal_that_is_no_fault_kills)
{
	static const int signals[] = {
		SIGHUP, SIGINT, SIGQUIT, SIGKILL, SIGUSR1, SIGUSR2, SIGPIPE, SIGALRM, SIGTERM, SIGSTKFLT, SIGXCPU, SIGXFSZ,
		SIGVTALRM, SIGPROF, SIGIO, SIGPWR,
	};

	for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
		struct far_slave *s = far_slave_process();

		far_invoke(s, die_by, signals[i]);
		CHECK_FAILED(FAR_EKILLED);
		CHECK_EQ(far_error()->signal, signals[i]);
		CHECK_HAS(far_error()->message, sigabbrev_np(signals[i]));
		CHECK_EQ(far_slave_close(s), -EOWNERDEAD);
	}
	struct far_slave *s = far_slave_process();

	far_invoke(s, die_by, SIGRTMIN + 3);
	CHECK_FAILED(FAR_EKILLED);
	CHECK_EQ(far_error()->signal, SIGRTMIN + 3);
	CHECK_EQ(far_slave_close(s), -EOWNERDEAD);
}

static void *kill_when_stopped(void *pid)
{
	pid_t p = (pid_t)(intptr_t)pid, parent;
	char state = 0;

	AWAIT(10, look_at(p, &state, &parent) && state == 'T');
	kill(p, SIGKILL);
	return NULL;
}

static void close_all_and_stop(void)
{
	close_range(0, ~0u, 0);
	raise(SIGSTOP);
}

TEST(a_slave_that_stops_itself_can_be_killed)
{
	for (int i = 0; i < 2; i++) {
		struct far_slave *s = far_slave_process();
		pthread_t thread;

		pthread_create(&thread, NULL, kill_when_stopped, (void *)(intptr_t)far_slave_pid(s));
		if (i)
			far_invoke(s, close_all_and_stop);
		else
			far_invoke(s, raise, SIGSTOP);
		CHECK_FAILED(FAR_EKILLED);
		CHECK_EQ(far_error()->signal, SIGKILL);
		pthread_join(thread, NULL);
		CHECK_EQ(far_slave_close(s), -EOWNERDEAD);
	}
}

static void *send_segv(void *pid)
{
	kill((pid_t)(intptr_t)pid, SIGSEGV);
	return NULL;
}

TEST(a_fault_signal_from_outside_is_told)
{
	struct far_slave *s = far_slave_process();
	pthread_t thread;
	char words[64];

	pthread_create(&thread, NULL, send_segv, (void *)(intptr_t)far_slave_pid(s));
	far_invoke(s, pause);
	CHECK_FAILED(FAR_ECRASHED);
	snprintf(words, sizeof words, "SIGSEGV, sent by process %d", (int)getpid());
	CHECK_HAS(far_error()->message, words);
	pthread_join(thread, NULL);
	CHECK_EQ(far_slave_close(s), -EOWNERDEAD);
}

/* ---------------------------------------------------- pointers that crossed */

static int read_int(const int *p)
{
	return *p;
}

static void *map_there(void)
{
	return mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

TEST(a_pointer_into_another_slave_is_told)
{
	struct far_slave *s = far_slave_process(.name = "one"), *t = far_slave_process(.name = "two");
	int *p = far_invoke(t, map_there);

	far_invoke(s, read_int, far_remote(p));
	CHECK_FAILED(FAR_ECRASHED);
	CHECK(far_error()->address == p);
	CHECK_HAS(far_error()->message, "reading the memory of another slave process, \"two\"");
	CHECK_EQ(far_slave_close(s), -EOWNERDEAD);
	CHECK_EQ(far_slave_close(t), 0);
}

/* Where an incarnation's private memory lies is not where that before it had its own. */
TEST(memory_of_an_earlier_incarnation_is_told_from_its_own)
{
	struct far_slave *s = far_slave_process(.name = "twice");
	int *p = far_invoke(s, map_there);

	CHECK_EQ(far_slave_restart(s), 0);
	far_invoke(s, read_int, far_remote(p));
	CHECK_FAILED(FAR_ECRASHED);
	CHECK_HAS(far_error()->message, "reading the memory of a slave process that has ended");
	CHECK_EQ(far_slave_restart(s), 0);
	far_invoke(s, unmap_own_stack);
	CHECK_FAILED(FAR_ECRASHED);
	CHECK_HAS(far_error()->message, "its own memory, where nothing is");
	CHECK_EQ(far_slave_close(s), -EOWNERDEAD);
}

static void *pass_my_stack(void *slave)
{
	int here = 5;

	far_invoke((struct far_slave *)slave, read_int, far_remote(&here));
	CHECK_FAILED(FAR_ECRASHED);
	CHECK_HAS(far_error()->message, "in the master this thread's stack: private memory, passed without far_in()?");
	return NULL;
}

TEST(private_memory_of_the_master_is_told)
{
	struct far_slave *s = far_slave_process(), *t = far_slave_process();
	int *p = map_there();
	pthread_t thread;

	far_invoke(s, read_int, far_remote(p));
	CHECK_FAILED(FAR_ECRASHED);
	CHECK_HAS(far_error()->message, "in the master private memory");
	CHECK_EQ(far_slave_close(s), -EOWNERDEAD);
	pthread_create(&thread, NULL, pass_my_stack, t);
	pthread_join(thread, NULL);
	CHECK_EQ(far_slave_close(t), -EOWNERDEAD);
}

/* ------------------------------------------------------------- who hears it */

TEST(a_result_before_the_crash_counts)
{
	struct far_slave *s = far_slave_process();
	far_task(int) t[10];

	for (int i = 0; i < 10; i++)
		t[i] = far_schedule(s, add, i, 1);
	far_task(void) crash = far_schedule(s, write_null);
	far_task(int) after = far_schedule(s, add, 1, 1);

	far_wait(crash);
	CHECK_FAILED(FAR_ECRASHED);
	for (int i = 0; i < 10; i++) {
		CHECK_EQ(far_wait(t[i]), i + 1);
		CHECK_OK();
	}
	far_wait(after);
	CHECK_FAILED(FAR_ECRASHED);
	CHECK_HAS(far_error()->message, "writing NULL");
	CHECK_EQ(far_slave_close(s), -EOWNERDEAD);
	CHECK_HAS(far_error()->message, "writing NULL");
}

TEST(a_task_tells_of_the_crash_after_its_slave_was_closed)
{
	struct far_slave *s = far_slave_process();
	far_task(void) crash = far_schedule(s, write_null);

	CHECK_EQ(far_slave_close(s), -EOWNERDEAD);
	s = far_slave_process();
	CHECK_EQ(far_invoke(s, add, 1, 2), 3);
	far_wait(crash);
	CHECK_FAILED(FAR_ECRASHED);
	CHECK_HAS(far_error()->message, "writing NULL");
	CHECK_EQ(far_slave_close(s), 0);
}

static void fill_and_crash(void)
{
	char *p = mmap(NULL, 64ul << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	p[0] = 1;
	write_null();
}

TEST(a_slave_that_is_still_dying_can_be_closed_and_replaced)
{
	for (int i = 0; i < 20; i++) {
		struct far_slave *s = far_slave_process();

		far_invoke(s, fill_and_crash);
		CHECK_FAILED(FAR_ECRASHED);
		CHECK_EQ(far_slave_close(s), -EOWNERDEAD);
		far_error();
	}
}

static void *call_until_dead(void *slave)
{
	struct far_slave *s = slave;

	while (far_invoke(s, add, 1, 2) == 3)
		;
	CHECK_FAILED(FAR_ECRASHED);
	CHECK_HAS(far_error()->message, "reading NULL plus 24");
	return NULL;
}

TEST(all_callers_hear_of_the_same_crash)
{
	struct far_slave *s = far_slave_process();
	pthread_t thread[20];

	for (int i = 0; i < 20; i++)
		pthread_create(&thread[i], NULL, call_until_dead, s);
	CHECK_EQ(far_invoke(s, add, 1, 2), 3);
	far_invoke(s, read_null_plus);
	CHECK_FAILED(FAR_ECRASHED);
	for (int i = 0; i < 20; i++)
		pthread_join(thread[i], NULL);
	CHECK_EQ(far_slave_close(s), -EOWNERDEAD);
}

static int fork_a_crash(void)
{
	int status;
	pid_t pid = fork();

	if (pid == 0)
		write_null();
	return waitpid(pid, &status, 0) == pid && WIFSIGNALED(status) ? WTERMSIG(status) : -1;
}

TEST(a_crash_of_a_slaves_child_is_not_the_slaves)
{
	struct far_slave *s = far_slave_process();

	CHECK_EQ(far_invoke(s, fork_a_crash), SIGSEGV);
	CHECK_EQ(far_invoke(s, add, 1, 2), 3);
	CHECK_EQ(far_slave_close(s), 0);
}

static int run_commands(void)
{
	int sum = 0;

	for (int i = 0; i < 5; i++)
		sum += WEXITSTATUS(system("exit 2"));
	usleep(20000);
	return sum;
}

TEST(a_slave_may_run_commands)
{
	struct far_slave *s = far_slave_process();

	CHECK_EQ(far_invoke(s, run_commands), 10);
	CHECK_EQ(far_invoke(s, add, 1, 2), 3);
	CHECK_EQ(far_slave_close(s), 0);
}

static int close_all(void)
{
	int result = close_range(0, ~0u, 0);

	usleep(30000);		/* until the master sleeps */
	return result;
}

TEST(a_slave_that_closes_all_descriptors_serves_on_or_is_replaced)
{
	struct far_slave *s = far_slave_process();

	CHECK_EQ(far_invoke(s, close_all), 0);
	usleep(20000);		/* long enough for it to sleep */
	CHECK_EQ(far_invoke(s, add, 1, 2), 3);
	CHECK_OK();
	CHECK_EQ(far_slave_close(s), 0);
}

static int file;

/* In the place of what is farcall's there is a file then. */
static int replace_all(void)
{
	close_range(0, ~0u, 0);
	file = memfd_create("theirs", 0);
	for (int fd = 0; fd < 64; fd++)
		if (fd != file && dup2(file, fd) < 0)
			return -1;
	return 0;
}

static long size_of_file(void)
{
	struct stat st;

	return fstat(file, &st) ? -1 : (long)st.st_size;
}

TEST(a_slaves_file_in_the_place_of_a_descriptor_of_farcall_is_not_written_to)
{
	struct far_slave *s = far_slave_process(.deadline_ms = 10000);

	CHECK_EQ(far_invoke(s, replace_all), 0);
	usleep(20000);		/* it rests, for the first time */
	CHECK_EQ(far_invoke(s, size_of_file), 0);
	CHECK_OK();
	CHECK_EQ(far_slave_close(s), 0);
}

/* From now on be killed by what no slave needs to sleep and to be woken. */
static int confine(void)
{
	return REFUSE_BY(SECCOMP_RET_KILL_PROCESS, SYS_read, SYS_write, SYS_openat, SYS_fstat, SYS_kill, SYS_clone);
}

TEST(a_slave_that_confines_itself_serves_on)
{
	struct far_slave *s = far_slave_process();

	CHECK_EQ(far_invoke(s, confine), 0);
	for (int i = 0; i < 3; i++) {
		usleep(20000);		/* it sleeps */
		CHECK_EQ(far_invoke(s, add, i, 2), i + 2);
	}
	CHECK_OK();
	far_slave_close(s);
	far_error();
}

static jmp_buf old;

static int set_jump(void)
{
	return setjmp(old);
}

static void jump(void)
{
	longjmp(old, 1);
}

TEST(a_jump_out_of_a_call_ends_a_thread_slave)
{
	struct far_slave *t = far_slave_thread();

	far_invoke(t, jump_out_of_a_queued_call);
	CHECK_FAILED(FAR_EDIED);
	CHECK_HAS(far_error()->message, "ended (pthread_exit or longjmp?)");
	CHECK_EQ(far_slave_close(t), -EOWNERDEAD);
	CHECK_FAILED(FAR_EDIED);
}

/* From where the earlier function was it looks like a return of the later one. Anything but a call that never ends. */
TEST(a_jump_into_an_earlier_function_ends_the_call)
{
	struct far_slave *s = far_slave_process();

	CHECK_EQ(far_invoke(s, set_jump), 0);
	far_invoke(s, jump);
	far_error();
	printf("%s\n", far_error() ? far_error()->message : "the earlier function returned again, for the later");
	far_slave_close(s);
	far_error();
}

/* ----------------------------------------------------------------- traces */

enum { FIRST_LINE = __LINE__ };		/* the next functions' lines count from here */

__attribute__((noinline)) static void trace_inner(volatile int *p)
{
	*p = 1;
	sink++;
}

__attribute__((noinline)) static int trace_middle(int n)
{
	trace_inner(hide((uintptr_t)n));
	return sink;
}

__attribute__((noinline)) static int trace_outer(int n)
{
	return trace_middle(n) + 1;
}

/* The trace has a line that begins with @function's name, behind the one before, and names a place in this file. */
static const char *find_frame(const char *text, const char *function, int line)
{
	char name[64], place[64];

	snprintf(name, sizeof name, "  %s ", function);
	const char *frame = strstr(text, name);
	const char *end = frame ? strchr(frame, '\n') : NULL;

	CHECK(frame && end);
	snprintf(place, sizeof place, "crash_test.c:%d", line);
	CHECK(!line || (strstr(frame, place) && strstr(frame, place) < end));
	return end;
}

TEST(a_trace_names_functions_files_and_lines)
{
	struct far_slave *s = far_slave_process();

	far_invoke(s, trace_outer, 8);
	CHECK_FAILED(FAR_ECRASHED);
	const char *p = print_error();

	CHECK(strstr(p, far_error()->message) == p);
	p = find_frame(p, "trace_inner", FIRST_LINE + 4);
	p = find_frame(p, "trace_middle", FIRST_LINE + 10);
	p = find_frame(p, "trace_outer", FIRST_LINE + 16);
	p = find_frame(p, "far__replay", 0);
	CHECK_STR(p, "\n");
	CHECK_FAILED(FAR_ECRASHED);
	CHECK_EQ(far_slave_close(s), -EOWNERDEAD);
}

__attribute__((noinline)) static int call_in_place(int n)
{
	return far_invoke(far_slave_self(), trace_outer, n) + 1;
}

TEST(a_trace_goes_through_a_call_in_place)
{
	struct far_slave *s = far_slave_process();

	far_wait(far_schedule(s, call_in_place, 8));
	CHECK_FAILED(FAR_ECRASHED);
	const char *p = print_error();

	p = find_frame(p, "trace_outer", 0);
	p = find_frame(p, "far__replay", 0);
	p = find_frame(p, "far__capture", 0);
	p = find_frame(p, "call_in_place", 0);
	p = find_frame(p, "far__replay", 0);
	CHECK_STR(p, "\n");
	CHECK_EQ(far_slave_close(s), -EOWNERDEAD);
}

TEST(a_trace_goes_through_a_module_without_symbols)
{
	struct far_slave *s = far_slave_process();
	void *module = dlopen(STRIPPED_MODULE, RTLD_NOW);
	void (*crash)(volatile int *) = (void (*)(volatile int *))(uintptr_t)dlsym(module, "stripped_crash");

	far_invoke(s, crash, NULL);
	CHECK_FAILED(FAR_ECRASHED);
	const char *p = print_error();

	CHECK_EQ(count_of(p, "stripped.so+0x"), 2);
	CHECK_HAS(p, "stripped_crash");
	CHECK_HAS(p, "far__replay");
	CHECK_EQ(far_slave_close(s), -EOWNERDEAD);
}

TEST(a_trace_of_a_stack_overflow_has_both_ends)
{
	struct far_slave *s = far_slave_process();

	far_invoke(s, recurse_for_ever);
	CHECK_FAILED(FAR_ECRASHED);
	const char *p = print_error();

	CHECK_HAS(p, "  recurse ");
	CHECK_HAS(p, "more like it");
	CHECK_HAS(p, "frames left out");
	CHECK_HAS(p, "  recurse_for_ever ");
	CHECK_EQ(far_slave_close(s), -EOWNERDEAD);
}

TEST(an_error_can_be_printed_again_and_after_the_slave_was_closed)
{
	struct far_slave *s = far_slave_process(.name = "gone");
	int slaves;

	far_invoke(s, trace_outer, 8);
	CHECK_FAILED(FAR_ECRASHED);
	CHECK_HAS(print_error(), "trace_inner");
	CHECK_HAS(print_error(), "trace_inner");
	CHECK_EQ(far_slave_close(s), -EOWNERDEAD);
	CHECK_HAS(print_error(), "trace_inner");
	CHECK_HAS(far_error()->message, "gone");
	s = far_slave_process();
	CHECK_FAILED(FAR_ECRASHED);
	CHECK_HAS(print_error(), "trace_inner");
	CHECK_EQ(far_invoke(s, add, 1, 2), 3);
	CHECK_STR(print_error(), "");
	CHECK_EQ(far_slave_close(s), 0);
	AWAIT(5, (slaves = slave_processes()) <= 2);
}

TEST(printing_an_error_that_is_no_crash_prints_its_message)
{
	struct far_slave *s = far_slave_process();

	CHECK_STR(print_error(), "");
	far_invoke(s, raise_kill);
	CHECK_FAILED(FAR_EKILLED);
	CHECK_HAS(print_error(), "killed by SIGKILL");
	CHECK_EQ(count_of(print_error(), "\n"), 1);
	CHECK_EQ(far_slave_close(s), -EOWNERDEAD);
}

TEST(printing_disturbs_no_error)
{
	struct far_slave *s = far_slave_process();

	far_invoke(s, trace_outer, 8);
	CHECK_FAILED(FAR_ECRASHED);
	capture_begin();
	print_error();
	CHECK_FAILED(FAR_ECRASHED);
	CHECK_EQ(far_slave_close(s), -EOWNERDEAD);
	CHECK_FAILED(FAR_ECRASHED);
	CHECK_STR(capture_end(), "");
}

static _Atomic bool stopping;

/* Stop every process of the family that is there to make a trace. */
static void *stop_helpers(void *zygote)
{
	while (stopping) {
		pid_t child[16];
		int n = children_of((pid_t)(intptr_t)zygote, child, 16);

		for (int i = 0; i < n && i < 16; i++) {
			char path[64], name[32] = "";

			snprintf(path, sizeof path, "/proc/%d/comm", (int)child[i]);
			FILE *f = fopen(path, "re");

			if (f && fgets(name, sizeof name, f) && !strcmp(name, "farcall-trace\n"))
				kill(child[i], SIGSTOP);
			if (f)
				fclose(f);
		}
	}
	return NULL;
}

TEST(a_trace_that_is_not_made_in_time_is_made_without_symbols)
{
	struct far_slave *s = far_slave_process();
	pthread_t thread;

	far_invoke(s, trace_outer, 8);
	CHECK_FAILED(FAR_ECRASHED);
	stopping = true;
	pthread_create(&thread, NULL, stop_helpers, (void *)(intptr_t)zygote());
	/* It may be faster than the one that stops it. */
	for (int i = 0; i < 20; i++)
		if (strstr(print_error(), "perhaps from"))
			break;
	stopping = false;
	pthread_join(thread, NULL);
	CHECK_FAILED(FAR_ECRASHED);
	CHECK_HAS(print_error(), "trace_inner");
	CHECK_EQ(far_slave_close(s), -EOWNERDEAD);
}

/* The reports of more crashes than are kept. */
TEST(old_stacks_are_forgotten)
{
	struct far_slave *s = far_slave_process();

	far_invoke(s, trace_outer, 8);
	CHECK_FAILED(FAR_ECRASHED);
	struct far_error old_error = *far_error();

	for (int i = 0; i < 40; i++) {
		struct far_slave *t = far_slave_process();

		far_invoke(t, trace_outer, 8);
		CHECK_FAILED(FAR_ECRASHED);
		CHECK_EQ(far_slave_close(t), -EOWNERDEAD);
		far_error();
	}
	far_slave_close(s);
	far_error();
	far__fail_with(&old_error);
	CHECK_HAS(print_error(), "not kept any more");
}

/* Mappings that there are; what follows the last is not one, whatever its name's length may be. */
static void forge_maps(char *maps)
{
	FILE *own = fopen("/proc/self/maps", "re");
	char line[400], access[5], name[300];
	struct far__mapping m;

	for (size_t used = 0; fgets(line, sizeof line, own) && used < 15000; used += sizeof m + ((m.name_length + 7) & ~7u)) {
		*name = 0;
		if (sscanf(line, "%lx-%lx %4s %lx %*s %lu %299[^\n]", &m.start, &m.end, access, &m.offset, &m.inode, name) < 5)
			_exit(2);
		m.access = FAR_READABLE | (access[2] == 'x' ? FAR_EXECUTABLE : 0);
		m.name_length = (uint32_t)strlen(name);
		memcpy(maps + used, &m, sizeof m);
		memcpy(maps + used + sizeof m, name, m.name_length);
	}
	fclose(own);
}

/* In the slave: a report of its own making. */
static void forge_report(unsigned seed)
{
	struct far__segment *segment = far__space_segment(far__self);
	char *record = (char *)segment + FAR_CRASH_AT;
	struct far__facts *f = (struct far__facts *)segment->crash;

	srand(seed);
	for (size_t i = 0; i < FAR_CRASH_SIZE; i++)
		record[i] = (char)rand();
	for (size_t i = 0; i < sizeof *f; i++)
		((char *)f)[i] = (char)rand();
	struct far__record *r = (struct far__record *)(void *)record;

	if (seed % 2) {
		/* Lengths that are right, of parts that are not. */
		r->stack_at = (uintptr_t)&r & -16ul;
		r->stack_length = 8000;
		r->outer_length = seed % 3 ? 8000 : 0;
		r->text_length = 100;
		r->maps_length = 20000;
		forge_maps(record + sizeof *r + 8000 + r->outer_length + 104);
		if (seed % 5)
			r->reg[REG_RIP] = (uintptr_t)add;
		r->reg[REG_RSP] = r->stack_at + 64;
		r->reg[REG_RBP] = r->stack_at + 640;
	}
	f->pid = (uint64_t)getpid();
	f->how = FAR_BY_SIGNAL;
	f->signal = SIGSEGV;
	f->stage = seed % 7 ? FAR_CRASH_WHOLE : seed;
	_exit(1);
}

TEST(a_forged_report_harms_nobody)
{
	for (unsigned seed = 1; seed <= 24; seed++) {
		struct far_slave *s = far_slave_process();

		far_invoke(s, forge_report, seed);
		CHECK_DIED();
		print_error();
		for (const char *p = far_error()->message; *p; p++)
			CHECK(*p >= ' ' && *p < 127);
		CHECK_EQ(far_slave_close(s), -EOWNERDEAD);
		far_error();
	}
}

static long core_limit(void)
{
	struct rlimit limit;

	getrlimit(RLIMIT_CORE, &limit);
	return limit.rlim_cur == RLIM_INFINITY ? -1 : (long)limit.rlim_cur;
}

PLAIN(cores_are_dumped_only_where_they_are_wanted)
{
	struct rlimit limit;

	getrlimit(RLIMIT_CORE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_CORE, &limit);
	CHECK_EQ(far_init(), 0);
	struct far_slave *s = far_slave_process(), *t = far_slave_process(.core_dumps = 1);

	CHECK_EQ(far_invoke(s, core_limit), 0);
	CHECK_EQ(far_invoke(t, core_limit), core_limit());
	CHECK_EQ(far_slave_close(s), 0);
	CHECK_EQ(far_slave_close(t), 0);
}
