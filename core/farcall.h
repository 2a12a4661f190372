/*
 * farcall: run an ordinary C function somewhere else, in a slave thread or in
 * a slave process, and have its result here.
 *
 *	#include <farcall.h>
 *
 *	int main(void)
 *	{
 *		far_init();
 *		struct far_slave *s = far_slave_process(.name = "worker");
 *		double d = far_invoke(s, pow, 2, 10);
 *
 *		if (far_error())
 *			fprintf(stderr, "%s\n", far_error()->message);
 *		far_slave_close(s);
 *	}
 *
 * Nothing is declared, registered or generated: a call through far_invoke() or
 * far_schedule() is type-checked by the compiler against the function's own
 * prototype, as a direct call would be.
 *
 * Needs gcc or clang in a GNU mode (-std=gnu17; c17 works too) on x86-64 Linux.
 *
 * Threads: every function here may be called from any thread unless its own
 * comment says otherwise. None may be called from a signal handler, nor be left
 * by one with siglongjmp().
 *
 * None but far_status() is a cancellation point: pthread_cancel() of a thread that
 * waits in one takes effect when it has returned. Under asynchronous cancellation
 * none may be called.
 *
 * After fork() without exec, every call in the child fails with FAR_EFORKED and
 * disturbs nothing in the parent. A child that a called function made ends when it
 * returns from that function.
 */
#ifndef FARCALL_H
#define FARCALL_H

#ifdef __cplusplus
#error "farcall.h captures calls with C expressions that C++ does not have: call farcall from a C file"
#endif
#ifndef __GNUC__
#error "farcall.h needs gcc or clang"
#endif
#if !defined __x86_64__ || defined __ILP32__
#error "farcall has no capture for this machine yet: see core/call_x86_64.S"
#endif

#pragma GCC system_header

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#define FAR_API __attribute__((visibility("default")))

#define FAR_VERSION_MAJOR 0
#define FAR_VERSION_MINOR 1
#define FAR_VERSION_PATCH 0

/* ------------------------------------------------------------------ start */

/*
 * Prepare slave processes. Write it as the first statement of main(): every
 * slave process is a copy of the program at this moment, so what is allocated,
 * opened or started later is not in it.
 *
 * In a slave process far_init() does not return. In the master it returns 0,
 * or -errno with far_error() set; slave threads work in either case.
 *
 * A program that never calls it is initialised by its first far_slave_process()
 * if it has one thread by then; with more, that call fails and says so. Calling
 * it again does nothing.
 *
 * It maps address space (no memory), starts one small process (the zygote, with
 * exit signal 0, so that the program's own wait() never sees it) and keeps
 * fewer than ten descriptors, all close-on-exec and above 2; each thread that sleeps
 * here keeps one more. To lock memory behind it use mlockall(MCL_CURRENT | MCL_ONFAULT):
 * without the latter the whole range of the far heap would be filled.
 *
 * Environment: FARCALL_WAIT=uring|futex|poll forces how threads sleep;
 * FARCALL_HEAP=SIZE the address range of the far heap (suffixes K, M, G, T; at
 * least 16M); FARCALL_SHM=shm|memfd where shared memory comes from; FARCALL_SPARES=N
 * how many idle slave processes are kept ready (default 2, at most 32). What is none of
 * these is ignored, with a line on standard error.
 */
FAR_API int far_init(void);

/* ----------------------------------------------------------------- slaves */

/*
 * A slave executes the calls sent to it, one at a time, those of one calling
 * thread in the order they were made. Any thread of the process that made a
 * slave may use it; from the 14th on they share a way to it, and wait for each other.
 * The pointer is a handle, never dereferenced: using it after
 * far_slave_close() is an error (FAR_ECLOSED), not a crash.
 */
struct far_slave;

enum far_when_full {
	FAR_WAIT,		/* far_schedule() waits for room: the default */
	FAR_FAIL,		/* far_schedule() fails with FAR_EFULL */
};

/* All zero is the default. Give what you need: far_slave_process(.name = "x"). */
struct far_options {
	size_t far__size;		/* these three are set by the macros */
	const char *far__file;
	unsigned far__line;
	const char *name;		/* seen in errors, top and ps; copied, 15 bytes are kept */
	void (*setup)(void *arg);	/* run in the new slave before its calls */
	void *setup_arg;		/* follows the rules for pointer arguments, below */
	unsigned queue;			/* calls a thread may have waiting: 1 to 4096, default 256;
					   rounded up to a power of two */
	enum far_when_full when_full;
	int close_ms;			/* far_slave_close() waits so long for a hung slave; default: no limit */
	int deadline_ms;		/* for each call that has none of its own; default: no limit */
	/* Of a slave process alone: */
	int grace_ms;			/* far_cancel() kills it if the call goes on so long; default: never */
	int kill_on_cancel;		/* 1: far_cancel() kills it at once if it runs the call */
	int respawn;			/* it is started again when it dies: see below */
	size_t memory_limit;		/* bytes it may have beyond what it starts with: see below */
	unsigned cpu_limit;		/* seconds of processor time; then SIGXCPU ends it */
	unsigned process_limit;		/* processes of its user (RLIMIT_NPROC; not for root) */
	unsigned file_limit;		/* descriptors (RLIMIT_NOFILE) */
	int nice;			/* added to its nice value */
	int core_dumps;			/* 1: it dumps core when it crashes, if the limits allow; default: it does not */
};

/*
 * Start a slave: a thread of this process, or a process of its own. NULL and
 * far_error() on failure, with nothing left behind:
 *   FAR_EINVAL	a bad option
 *   FAR_EINIT	slave processes cannot be started: far_init() came too late,
 *		failed, or the zygote has died
 *   FAR_ELIMIT	too many slaves, processes, threads or descriptors
 *   FAR_ENOMEM	no memory, or /dev/shm is full
 *   FAR_ECRASHED, FAR_EEXITED, FAR_EKILLED, FAR_EDIED
 *		.setup ended the new slave
 *   and what .setup raised with far_raise()
 *
 * Both wait until .setup has returned.
 *
 * A slave process has its own copy of all writable data as it was in
 * far_init(): its globals, its heap. Its functions and constants have the same
 * addresses as here. It is killed when this process ends, however that ends. It is
 * in the terminal's background: it does not hear Ctrl-C, and what it reads from the
 * terminal fails (EIO), unless the program has a handler for SIGTTIN.
 *
 * Restarting. With .respawn = n a process that dies is replaced: .setup runs again
 * in the new one, only the call that was running fails, and calls that had not
 * begun run in the next incarnation. What a dead incarnation's pointers point to
 * is gone: to pass one is FAR_ESTALE, and so is a call that had not begun if it has
 * one, or is to a method of a proxy or a function of a far_library. When n
 * incarnations in a row have ended before they took a call, each started a little
 * later than the one before, the slave stays dead.
 *
 * Limits. .memory_limit counts private writable memory (RLIMIT_DATA): beyond it
 * malloc() and mmap() fail. A limit of 0 is none, or what the program has. The error
 * of a slave that ends in a way that may come of a limit names it.
 *
 * Where the program had no handler for SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT,
 * SIGTRAP or SIGSYS in far_init(), a slave process has one, on an alternate stack:
 * it leaves word of the crash (far_error_print()) and dies of the signal. A function
 * may replace it; then the signal is all that is known ("which it could not report").
 * So it is when another thread of the process overflows its stack, for it has no
 * alternate one unless the function gave it one by sigaltstack().
 *
 * A called function is left by returning or by far_raise(). longjmp() out of its call
 * ends the slave (FAR_EDIED), where that can be told from a return.
 */
#define far_slave_thread(...)	far__slave_thread(FAR__OPTIONS(__VA_ARGS__))
#define far_slave_process(...)	far__slave_process(FAR__OPTIONS(__VA_ARGS__))

/*
 * Make the calling thread, a GUI's main loop say, a slave that serves calls only
 * when it chooses to, inside far_step(). The same thread must step and close it; if it
 * ends before, calls fail (FAR_EDIED).
 */
#define far_slave_here(...)	far__slave_here(FAR__OPTIONS(__VA_ARGS__))

/*
 * Serve what is queued for a slave made by far_slave_here(). With nothing
 * queued, wait up to @timeout_ms for it (0: not at all, -1: for ever).
 * Returns how many calls were served, or -EINVAL (not such a slave, or not
 * this thread's), with far_error().
 */
FAR_API int far_step(struct far_slave *slave, int timeout_ms);

/*
 * Let what is queued finish, then stop the slave and free it. Tasks of a closed
 * slave may still be waited for. Later calls fail with FAR_ECLOSED. NULL is
 * allowed and does nothing. A slave cannot close itself.
 *
 * Returns 0 when all queued calls ran; otherwise, with far_error():
 *   -ETIMEDOUT	a slave process was still busy after .close_ms and was killed
 *		(a thread cannot be killed: it is left running, and its calls fail)
 *   -EINVAL	not a slave of this process, or closed before; or its own thread asks for
 *		it, or a callback of a call to it, or, of far_slave_here(), another thread:
 *		it stays open then
 *   -EOWNERDEAD the slave had died; it is freed all the same
 */
FAR_API int far_slave_close(struct far_slave *slave);

/*
 * Kill a slave process, if it lives, and start it again: with fresh memory, .setup
 * run. Calls that it was running fail, and so do those that were waiting, unless
 * it has .respawn. Waits until it is started.
 *
 * Returns 0, or with far_error():
 *   -EINVAL	no slave of this process, or a thread, which cannot be killed
 *   -EOWNERDEAD it could not be started again, or died at once: it is dead
 */
FAR_API int far_slave_restart(struct far_slave *slave);

/*
 * The process a slave runs in: getpid() for a thread; -EINVAL for no slave. Another when
 * it has been started again; of a dead slave, what it was.
 */
FAR_API pid_t far_slave_pid(struct far_slave *slave);

/* The slave that runs the caller, or NULL outside one. Calls to it run in place. */
FAR_API struct far_slave *far_slave_self(void);

/* ------------------------------------------------------------------ calls */

/*
 * far_invoke(slave, function, arguments...)
 *
 * Call @function in @slave and wait for it: an expression of the function's own
 * result type, void included. Arguments are converted as in a direct call, each
 * evaluated once, from left to right. @function may be any function or function
 * pointer: variadic, const, pure, noreturn, from the program or a library, with the
 * system's calling convention (no ms_abi, regparm and the like). Up to
 * 16 arguments and a result of any type but those aligned to more than 16 bytes.
 * (A pointer to a noreturn function must be to one that returns void. An argument
 * with a comma outside of parentheses, like a compound literal, needs some around it,
 * as in any macro.)
 *
 * When there is no result it evaluates to zero bits, and far_error() tells why.
 * errno is the function's if the function set it.
 *
 * Pointer arguments. A slave thread takes every pointer as it is. To a slave
 * process pass what both can reach:
 *   - far_alloc()ed memory, functions, constants, string literals, stdin,
 *     stdout, stderr and NULL go as they are; so do pointers that this slave
 *     returned (they point into its own memory);
 *   - a `const char *` to other memory: the string is copied in;
 *   - any other pointer is refused (FAR_EPOINTER) before anything is sent,
 *     unless one of the words below says what to do;
 *   - a pointer another slave returned is refused (FAR_ESTALE).
 * Pointers inside structures are not looked at. A slave's own static data, and
 * what it maps beyond 16 GiB, have addresses that do not tell whose they are: a
 * pointer to those that it returned needs far_remote() to be passed back.
 */
#define far_invoke(slave, ...) \
	FAR__INVOKE(FAR__SLAVES_DEADLINE, FAR__OP_INVOKE, slave, FAR__COUNT(__VA_ARGS__), FAR__FIRST(__VA_ARGS__), __VA_ARGS__)

/*
 * far_invoke_within(timeout_ms, slave, function, arguments...): as far_invoke(),
 * but with a deadline, so many milliseconds from now (0: it has passed; -1: none; it
 * goes before the slave's .deadline_ms). When it passes without a result, the error is
 * FAR_EDEADLINE: a call that has not begun is taken out and never runs; a slave
 * process that is running it is killed, whatever it does. A thread cannot be
 * killed: the function is told by far_interrupted() and otherwise goes on, its
 * result is dropped, and later calls to that slave wait until it has returned.
 * So is a result dropped that came too late, though nothing was to be killed for it. A
 * function that it calls back is not interrupted: far_invoke_within() waits for it.
 */
#define far_invoke_within(timeout_ms, slave, ...) \
	FAR__INVOKE(timeout_ms, FAR__OP_INVOKE_WITHIN, slave, FAR__COUNT(__VA_ARGS__), FAR__FIRST(__VA_ARGS__), __VA_ARGS__)

/*
 * What to do with a pointer argument, usable only as an argument of the calls
 * here. Each has the type of @p. The copies live in shared memory during the
 * call, aligned to 16 bytes.
 *   far_in(p, n)	copy n bytes in
 *   far_out(p, n)	n zero bytes there, copied back to p by the far_invoke() or
 *			far_wait() that reports success, in its thread, never otherwise
 *   far_inout(p, n)	both
 *   far_str(p)		copy the string in, whatever the type of p
 *   far_remote(p)	pass it as it is: you vouch for it
 *   far_fd(fd)		the function gets a descriptor of its own for the open file
 *			@fd, close-on-exec, and closes it; passing it waits until the
 *			slave has taken it, or for the call's deadline; of a call that
 *			is not run it is closed there
 * far_in(p, n) + k is allowed too, inside the n bytes. An argument has one of them.
 */
#define far_in(p, n)	FAR__BUFFER(p, n, FAR__IN)
#define far_out(p, n)	FAR__BUFFER(p, n, FAR__OUT)
#define far_inout(p, n)	FAR__BUFFER(p, n, FAR__IN | FAR__OUT)
#define far_str(p)	FAR__BUFFER(p, 0, FAR__STRING)
#define far_remote(p)	FAR__BUFFER(p, 0, FAR__REMOTE)
#define far_fd(fd)	far__fd(&far__c, (fd))

/*
 * far_task(R): the handle of a call whose result, of type R, comes later. A task
 * is used once: by far_wait() or far_forget(), in any thread, also after its
 * slave was closed. NULL is no task.
 */
#define far_task(...) __typeof__(__typeof__(__VA_ARGS__) (*)(struct far__task *))

/*
 * far_schedule(slave, function, arguments...): as far_invoke(), but return a
 * far_task(R) at once. It waits only while the queue is full of calls that the
 * slave has not finished (.when_full); finished, uncollected results never
 * block. NULL and far_error() on failure.
 */
#define far_schedule(slave, ...) \
	FAR__SCHEDULE(FAR__SLAVES_DEADLINE, slave, FAR__OP_SCHEDULE, FAR__COUNT(__VA_ARGS__), FAR__FIRST(__VA_ARGS__), __VA_ARGS__)

/*
 * far_schedule_within(timeout_ms, slave, function, arguments...): as far_schedule(),
 * with a deadline as far_invoke_within() has. It holds whether or not anybody waits,
 * and for waiting for room in the queue: NULL and FAR_EDEADLINE then.
 */
#define far_schedule_within(timeout_ms, slave, ...) \
	FAR__SCHEDULE(timeout_ms, slave, FAR__OP_SCHEDULE, FAR__COUNT(__VA_ARGS__), FAR__FIRST(__VA_ARGS__), __VA_ARGS__)

/*
 * far_thread(function, arguments...): call it in a new thread of its own and
 * return a far_task(R). NULL and far_error() (FAR_ELIMIT) if there is none.
 */
#define far_thread(...) \
	FAR__SCHEDULE(-1, (struct far_slave *)0, FAR__OP_THREAD, FAR__COUNT(__VA_ARGS__), FAR__FIRST(__VA_ARGS__), __VA_ARGS__)

/*
 * Wait for a task and release it: an expression of type R. Zero bits and
 * far_error() if the call failed (its reasons), or FAR_ETASK if there is no such
 * task: NULL, forgotten, or waited for before. Waiting in the slave that is to
 * run the task serves that slave's queue meanwhile.
 */
#define far_wait(task)	FAR__WAIT(task)

/*
 * Wait at most @timeout_ms for a task to be done, without taking its result
 * (0: only look, -1: for ever). 0 when it is done, -ETIMEDOUT when not,
 * -EINVAL if there is no such task, -ECANCELED if the call that this is in has been
 * cancelled; failures but -ETIMEDOUT set far_error().
 */
#define far_wait_for(task, timeout_ms)	far__task_wait_for(FAR__ID(task), (timeout_ms))

/* Whether far_wait() would return at once: 1 or 0. A task that is none is done. */
#define far_done(task)	far__task_done(FAR__ID(task))

/*
 * Give a task's result up; the call still runs, and its failure is printed.
 * 0, or -EINVAL if there is no such task. NULL is allowed and does nothing.
 */
#define far_forget(task)	far__task_forget(FAR__ID(task))

/*
 * Have a call not made, or given up. It is still waited for or forgotten like any
 * other, and has one outcome: its result, if it was done before, or FAR_ECANCELLED.
 *   - A call that the slave has not begun is taken out and never runs.
 *   - A running function is told: far_interrupted() is true in it, and what it
 *     waits for by far_invoke() or far_wait() is given up with FAR_ECANCELLED (a
 *     task that it waited for stays). What it returns then is the call's result.
 *   - With .kill_on_cancel the slave process that runs it is killed at once, and
 *     with .grace_ms when that time has passed, if it is still at it. A thread is
 *     never killed.
 * Any thread may cancel. Does not block. Returns 0 when the call was taken out, 1
 * when its function is told, -EALREADY when it is done, -EINVAL, with far_error(),
 * when there is no such task.
 */
#define far_cancel(task)	far__task_cancel(FAR__ID(task))

/* Within a call: was it cancelled, or did its deadline pass? 1 or 0; 0 outside one. Cheap. */
FAR_API int far_interrupted(void);

/* -------------------------------------------------------------- libraries */

/*
 * A library that a slave has loaded, whether or not this program is linked with
 * it. A handle, like a slave's: using it after far_library_close() is an error
 * (FAR_ECLOSED). Any thread may use it, and far_invoke(), far_schedule() and their
 * like take it in place of a slave: the function is found there by the name that
 * is written in the call, and only its prototype is needed here, from a header:
 *
 *	far_library *z = far_open(slave, "libz.so.1");
 *	unsigned long c = far_invoke(z, crc32, 0, far_in(buf, n), n);
 *
 * In a slave that has been started again the library is loaded again when it is
 * used; a call that was waiting for the slave then is FAR_ESTALE.
 */
typedef struct far_library far_library;

/*
 * Load a library in @slave: a name or path as for dlopen(); NULL is what is there
 * already, the program and its libraries. NULL and far_error() on failure:
 * FAR_ENAME with the loader's words, FAR_ENOMEM, or what befell the slave.
 */
FAR_API far_library *far_open(struct far_slave *slave, const char *name);

/*
 * Unload it, if nobody else there has it loaded, and free what belongs to it. No
 * call to it may be going on. NULL is allowed and does nothing. 0, or -EINVAL with
 * far_error() if it is none, or closed. Do so before its slave is closed or
 * afterwards, as you like.
 */
FAR_API int far_library_close(far_library *library);

/*
 * far_call(library, R, function, arguments...)
 *
 * Call a function that this program knows nothing of and wait for it: an
 * expression of type R. @function is a string: a C prototype, or a mere name, if
 * the library has debug information (its own, or NAME.types beside it).
 *
 *	double p = far_call(m, double, "double pow(double, double)", 2, 10);
 *	int n = far_call(c, int, "int snprintf(char *, size_t, const char *, ...)",
 *			 far_out(text, 99), 99, "%d", 7);
 *
 * @library may also be a slave: of what is loaded there. Arguments are converted to
 * the parameters' types as C does it, and so is the result to R; a conversion that
 * C does not know, or that would change the value, is an error (FAR_ETYPE), before
 * anything is sent if it is an argument's. Pointer arguments follow the rules of
 * far_invoke(), and besides: a pointer to a const struct whose members are known is
 * copied in, one struct: an array of them needs far_in().
 *
 * Prototypes: any declarator of C, struct and union by value if they are defined in
 * it or in the debug information, the types of <stdint.h>, <stddef.h> and <stdio.h>.
 * FAR_ETYPE shows where a prototype is wrong; FAR_ENAME: there is no such library,
 * function or type. What was learnt of a function is kept with the library.
 */
#define far_call(library, R, ...) \
	FAR__CALL(library, R, FAR__COUNT(__VA_ARGS__), FAR__FIRST(__VA_ARGS__), __VA_ARGS__)

/*
 * far_bind(library, function, type): a plain function pointer of that type, of C, that
 * calls the function over there. Anybody may call it, from any thread; failures are
 * told by far_error() after it has returned zero bits. @function is a name, whose type
 * is then the third argument, or a prototype:
 *
 *	double (*power)(double, double) = far_bind(m, "pow", double (*)(double, double));
 *
 * NULL and far_error() on failure, as of far_call(); FAR_ETYPE for a variadic function.
 * It belongs to the library: after that is closed, to call it is FAR_ECLOSED, as long as
 * there are not a thousand newer ones closed.
 */
#define far_bind(library, function, ...) \
	((__typeof__(__VA_ARGS__))far__bind(FAR__TARGET(library), function, #__VA_ARGS__, __FILE__, __LINE__))

/* -------------------------------------------------------------- callbacks */

/*
 * far_callback(function), far_callback(function, type)
 *
 * As an argument of far_invoke(), far_call() and their like: a function that, when the
 * slave calls it, runs here, in the thread that makes the call and waits for it. (A
 * function that is passed without this runs in the slave, which has its own copy of it.)
 *
 *	static int progress(void *here, long done) { ... }
 *
 *	far_invoke(slave, convert, file, far_callback(progress), far_remote(&bar));
 *
 * It may call the slave again, which may call back again, to any depth, but not close it. It
 * may end its thread, but not be left by longjmp(): far_raise() is for that. What it raises
 * by far_raise() is raised in the slave, and so does the call end with it, unless the
 * slave's function is called by a thread of its own: then it gets zero bits.
 *
 * Its type is told by the debug information of the program, compiled with -g, or a file
 * PROGRAM.types beside it; or by @type, in C: far_callback(f, int (void *, long)). It
 * may not be variadic. The slave's pointers follow the rules of far_invoke(), in the
 * other direction: const char * and pointers to const structs are copied, what is on the
 * far heap is passed, other memory of a slave process is refused (FAR_EPOINTER, in the
 * slave); any other pointer is taken for one that came from here, and passed.
 *
 * It may be called until the call returns that it was an argument of; afterwards the
 * slave gets FAR_ESTALE, raised. far_schedule() and far_thread() refuse it with
 * FAR_EINVAL, for nobody may be waiting. NULL gives NULL. Other failures are those of
 * the call: FAR_ETYPE if the type is not known or cannot be called, FAR_ENOMEM,
 * FAR_ELIMIT. If the slave dies, the function returns here and then the call fails.
 */
#define far_callback(...) \
	((FAR__POINTER(FAR__FIRST(__VA_ARGS__)))FAR__CALLBACK(FAR__FIRST(__VA_ARGS__), #__VA_ARGS__))

/* ---------------------------------------------------------------- objects */

/*
 * far_wrap(slave, function, arguments...)
 *
 * Call a function that returns a pointer to an object, and return a proxy of it,
 * of the function's own result type:
 *
 *	struct shape *r = far_wrap(slave, make_rect, 2.0, 3.0);
 *	double a = r->area(r);			// runs there, on the real one
 *	far_invoke(slave, draw, r);		// is passed the real one
 *	far_drop(r);
 *
 *   - Function pointers in the object, in structs within it, and in tables that it
 *     points to (o->ops->read(o, n)) are replaced by ones that call the real ones
 *     there: those that are there when it is first wrapped, and not what is put in their
 *     place later. What is null stays null. A table is a struct of which most members are
 *     functions, or a const one that has some, none of which takes a pointer to it. Of
 *     an array the first 1,024 elements are replaced.
 *   - The other members are a copy, made when the object is first wrapped and after each
 *     method; far_refresh() makes it anew. What is written to it stays here. A pointer in
 *     it is one of the slave's: it can be passed to calls, and not followed here if the
 *     slave is a process.
 *   - Passed as an argument to its slave, the proxy, or a pointer into it, becomes a
 *     pointer to the real object. Passed to another slave it is FAR_ESTALE.
 *   - What a method returns is a proxy, too, if it points to a struct with functions.
 *   - The same object has one proxy for each type that it is returned as, which counts
 *     how often it was.
 *
 * Arguments of methods follow the rules of far_call(). A method may not be variadic,
 * nor free the object: for that is far_wrap_with().
 *
 * The object's type is told by the debug information of the program, compiled with
 * -g, or a file PROGRAM.types beside it. Without, the proxy can only be passed to
 * calls: to call a member of it is an error (FAR_ETYPE) that says what to do, but
 * there are no tables to be followed.
 *
 * NULL if the function returned it, or with far_error(): of far_invoke(), FAR_ENOMEM,
 * FAR_ESTALE if the slave has been started again since. Any other value that is no address,
 * like (struct shape *)-1, is returned as it is. @slave may be a far_library, and the
 * function one of its own: drop the object before the library is closed.
 */
#define far_wrap(slave, ...)	FAR__WRAP((void *)0, (void *)0, slave, __VA_ARGS__)

/*
 * far_wrap_with(destroy, slave, function, arguments...): as far_wrap(); when the proxy
 * is dropped for the last time, @destroy is called there with the real object.
 */
#define far_wrap_with(destroy, slave, ...) \
	FAR__WRAP(FAR__FUNCTION(slave, destroy), #destroy, slave, __VA_ARGS__)

/*
 * Give a proxy back. After as many as it was returned, the object is destroyed by
 * what far_wrap_with() was given, or else only forgotten; far_error() tells if that
 * failed. To use the proxy then is FAR_ESTALE, as long as a thousand others have not been
 * dropped. So it is when its slave has been started again or closed, and when it has died
 * it fails as any call does: the proxy is still to be dropped, and then nothing is called.
 * NULL is allowed. 0, or -EINVAL with far_error() if it is no proxy.
 */
FAR_API int far_drop(void *object);

/* Copy the object's data members again. 0, or -EINVAL or -EOWNERDEAD with far_error(). */
FAR_API int far_refresh(void *object);

/*
 * A copy of the real object as it is there, in far_alloc()ed memory: for objects
 * without pointers of their own. NULL and far_error() if it is no proxy, its type is
 * not known, or the call failed.
 */
#define far_unwrap(object)	((__typeof__(((void)0, (object))))far__unwrap((void *)(object)))

/* ----------------------------------------------------------------- memory */

/*
 * The far heap: memory at one address in every process of the family. Pointers
 * to it, and pointers stored in it, are valid in the master and in all slaves as
 * they stand, from the moment they are returned. Any process and thread may free
 * what any other allocated. A process that dies loses nothing of it.
 *
 * Blocks are aligned to 64 bytes. far_alloc() does not clear memory. Size 0
 * gives a block of its own. NULL and far_error() (FAR_ENOMEM, naming what ran
 * out) on failure; a failed far_realloc() leaves the old block as it was.
 * Memory is reserved before it is returned: a full /dev/shm is this error,
 * never SIGBUS. FARCALL_HEAP sets the size of the range.
 *
 * Of what is freed 64 MiB stay reserved for the next far_alloc(), and the rest goes
 * back to the system a second after the last far_free() of that much, or at once
 * where memory or /dev/shm is short.
 *
 * far_free(NULL) does nothing. A pointer that is no block (freed before, from
 * malloc, or inside a block) is left alone and reported (FAR_EPOINTER).
 */
FAR_API void *far_alloc(size_t size) __attribute__((malloc, alloc_size(1)));
FAR_API void *far_calloc(size_t count, size_t size) __attribute__((malloc, alloc_size(1, 2)));
FAR_API void *far_realloc(void *block, size_t size) __attribute__((alloc_size(2)));
FAR_API void far_free(void *block);

/* ----------------------------------------------------------------- errors */

/* What far_error()->code may be, besides the codes given to far_raise(). */
enum far_code {
	FAR_EINVAL = 10001,	/* an argument that means nothing */
	FAR_EINIT,		/* far_init() came too late, failed, or its zygote died */
	FAR_EFORKED,		/* called in a child made by fork() */
	FAR_ECLOSED,		/* the slave is closed, NULL, or another process's */
	FAR_EDIED,		/* the slave ended before the call did: its thread ended, it executed a program */
	FAR_EFULL,		/* the queue is full, and .when_full = FAR_FAIL */
	FAR_ENOMEM,		/* no memory of the kind the message names */
	FAR_ELIMIT,		/* no more slaves, processes, threads or descriptors */
	FAR_EPOINTER,		/* a pointer that the slave cannot reach */
	FAR_ESTALE,		/* a pointer into the memory of another slave */
	FAR_ETASK,		/* no such task, or waited for before */
	FAR_ESYSTEM,		/* a system call failed: errnum, message */
	FAR_EDEADLINE,		/* the call had no result before its deadline */
	FAR_ECANCELLED,		/* the call was cancelled, or the one that made it was */
	FAR_ENAME,		/* no library, function or type of that name */
	FAR_ETYPE,		/* a prototype that is wrong, or an argument that does not fit it */
	/* How else a slave process ended before the call did; far_died() is true of these and FAR_EDIED. */
	FAR_ECRASHED,		/* by a fault of its own: .signal SIGSEGV, BUS, ILL, FPE, ABRT, TRAP or SYS, .address */
	FAR_EEXITED,		/* by exit() or the like: .status */
	FAR_EKILLED,		/* by another signal: .signal; the message tells of the out-of-memory killer */
};

struct far_error {
	int code;		/* enum far_code, or the code given to far_raise() */
	int errnum;		/* the errno behind it, or 0 */
	int signal;		/* the signal that ended the slave, or 0 */
	int status;		/* its exit status, if no signal did */
	void *address;		/* the pointer in question, or that of a crash, or NULL */
	const char *function;	/* the function called, or the one of farcall that failed */
	const char *file;	/* where in the master, or NULL */
	unsigned line;
	char message[400];	/* all of it in words, one line */
	/* Of a crash, besides: */
	int signal_code;	/* the signal's si_code: see sigaction(2) */
	void *pc;		/* the instruction that the slave was at */
	uint64_t far__report;	/* what is known of it: see far_error_print() */
};

/*
 * This thread's last failure, or NULL if its last far_invoke() or far_wait()
 * succeeded. Only failures set it; only those two clear it. Valid until this
 * thread's next call of anything here but far_error().
 *
 * A failure that nobody looked at before the next call, and that of a forgotten
 * task, is printed to stderr; equal ones once, and then counted, as long as there are
 * not more than 32 different ones.
 */
FAR_API const struct far_error *far_error(void);

/*
 * Print this thread's last failure for a person: the message and, if a slave
 * process crashed, its stack at that moment, a line a frame: the function, file
 * and line if there is debug information, else the module and the offset in it.
 * Nothing if there is no failure.
 *
 * The stack is kept when the slave crashes, and read only here: in a slave process
 * started for the purpose, so that a stack or a file that is broken harms nobody,
 * within two seconds, by libdw.so.1 (elfutils) if the system has it. The stacks
 * of the last 32 crashes are kept.
 */
FAR_API void far_error_print(FILE *stream);

/* Whether an error (NULL: no) is that the slave ended before the call did, in any way. */
static inline int far_died(const struct far_error *error)
{
	return error && (error->code == FAR_EDIED || (error->code >= FAR_ECRASHED && error->code <= FAR_EKILLED));
}

/*
 * Abandon the call that the calling function runs in: the master's far_invoke()
 * or far_wait() fails with @code (any but 0) and the message. Like longjmp(), it
 * releases nothing the abandoned functions hold. Outside of a call it prints the
 * message and aborts, as an uncaught exception would.
 */
FAR_API void far_raise(int code, const char *format, ...)
	__attribute__((noreturn, format(printf, 2, 3)));

/*
 * Print what is in use and the counters since the start: the waiting backend and
 * why, where shared memory is, slaves, sleeps, wake-ups, fallbacks. For people;
 * its form may change.
 */
FAR_API void far_status(FILE *stream);

/* --------------------------------------------------------------- internals
 *
 * What the macros above are made of. Nothing below is for use by programs.
 *
 * A call is captured, not described: the macro makes the compiler emit a call
 * through the function's own type, to far__capture() instead of the function,
 * with the address of `far__c` in the static-chain register. far__capture()
 * stores the argument registers and the stack words: they are the message.
 */
struct far__task;
struct far__kept;

/* What is known of a call when it is compiled. */
struct far__site {
	const char *function, *file;
	unsigned line;
	unsigned stack;			/* upper bound of bytes of arguments on the stack */
	uint8_t arguments;
	uint8_t ints, vectors;		/* upper bound of argument registers used */
	uint8_t wide;			/* a vector register may be used to its full 16 bytes */
	uint8_t result;			/* enum far__result */
	uint8_t unsure;			/* the bounds are wide, and its calls may teach better ones */
	uint8_t literals;		/* string literals are among the arguments */
	size_t result_size;
};

/* What the first calls of a site that is unsure have taught: see learn.c. */
struct far__lesson {
	struct far__site site;		/* with better bounds, when .known is set */
	int known, busy;
	uint8_t calls, looked_at, off_stack;
};

enum far__result { FAR__VOID, FAR__INTEGERS, FAR__REGISTERS, FAR__MEMORY, FAR__X87, FAR__X87_2, FAR__ASK, FAR__ASK_X87 };
enum far__op { FAR__OP_INVOKE, FAR__OP_INVOKE_WITHIN, FAR__OP_SCHEDULE, FAR__OP_THREAD, FAR__OP_WAIT };
enum { FAR__SLAVES_DEADLINE = -2 };	/* far__call.within, else as timeout_ms */
enum far__use { FAR__IN = 1, FAR__OUT = 2, FAR__STRING = 4, FAR__REMOTE = 8, FAR__CONST_CHAR = 16 };

struct far__buffer {
	const void *here;
	void *there;
	size_t size;
	uint8_t use, argument;
};

/* What is known of it when it is made. The first part is set by the macros, the rest by the library. */
struct far__call {
	const struct far__site *site;
	struct far_slave *slave;
	void *function;
	uintptr_t task;			/* out: the handle of a scheduled call; in: the one waited for */
	struct far__buffer *buffers;
	void **jump;			/* __builtin_setjmp buffer to return through, or NULL */
	uint8_t op, argument, nbuffers, result;
	uint8_t begun, failed, in_place, timed;
	uint8_t passes;			/* descriptors */
	int within;
	void *port, *ring, *result_at;
	uint32_t slot_used, inline_used;
	uint32_t life;			/* of its slave, which alone can make it; or 0 */
	struct far__kept *kept;		/* what it uses until it has ended, or NULL */
	uint64_t deadline;		/* set when it is begun */
};

/* All of it, field by field: an initialiser would be a slow block store. Returns 0. */
static inline __attribute__((always_inline)) int far__start(struct far__call *c, struct far_slave *slave, void *function,
							     struct far__buffer *buffers, uint8_t op, int within)
{
	c->slave = slave;
	c->function = function;
	c->task = 0;
	c->buffers = buffers;
	c->jump = (void **)0;
	c->op = op;
	c->argument = c->nbuffers = c->result = c->begun = c->failed = c->in_place = c->timed = c->passes = 0;
	c->within = within;
	c->port = c->ring = c->result_at = (void *)0;
	c->kept = (struct far__kept *)0;
	c->slot_used = c->inline_used = c->life = 0;
	return 0;
}

/* A value of the program, described for far_call(): its type as far as it matters. */
struct far__value {
	const void *at;
	size_t size;
	signed char type_class;		/* __builtin_classify_type() */
	unsigned char is_signed, is_bool, const_char;
};

FAR_API void far__capture(void);
/*
 * Of the call that is made next. The arguments' values have their signs changed, so that they
 * are not found in the caller's frame as they would be passed; NaN: a pointer.
 */
FAR_API void far__learn(struct far__call *call, struct far__lesson *lesson, const long double *negatives);
FAR_API void far__call_by_name(struct far__call *call, const char *function, const struct far__value *values, unsigned count,
			       const struct far__value *result);
FAR_API void *far__wrap(struct far_slave *target, void *object, const void *planted, void *destroy, const char *destroyer,
			const char *file, unsigned line);
FAR_API void *far__unwrap(void *object);
FAR_API void *far__bind(struct far_slave *target, const char *function, const char *type, const char *file, unsigned line);
FAR_API void far__look(struct far__call *call, void *value, int argument, int use);
FAR_API void *far__buffer(struct far__call *call, const void *p, size_t size, int use);
FAR_API int far__fd(struct far__call *call, int fd);
FAR_API void *far__callback(struct far__call *call, void *function, const void *planted, const char *text,
			     const char *file, unsigned line);
FAR_API int far__task_cancel(uintptr_t task);
FAR_API int far__task_done(uintptr_t task);
FAR_API int far__task_forget(uintptr_t task);
FAR_API int far__task_wait_for(uintptr_t task, int timeout_ms);
FAR_API struct far_slave *far__slave_thread(const struct far_options *options);
FAR_API struct far_slave *far__slave_process(const struct far_options *options);
FAR_API struct far_slave *far__slave_here(const struct far_options *options);

/* Called as a function of the result type in question: is it returned in memory? */
FAR_API void far__probe(void);
FAR_API void far__probe_x87(void);
FAR_API int far__x87_left(void);

#define FAR__OPTIONS(...) (&(const struct far_options){ .far__size = sizeof(struct far_options), \
	.far__file = __FILE__, .far__line = __LINE__, __VA_ARGS__ })

#define FAR__CAT_(a, b) a##b
#define FAR__CAT(a, b) FAR__CAT_(a, b)
#define FAR__STR_(a) #a
#define FAR__STR(a) FAR__STR_(a)
#define FAR__FIRST(...) FAR__FIRST_(__VA_ARGS__, ~)
#define FAR__FIRST_(f, ...) f
#define FAR__COUNT(...) FAR__COUNT_(__VA_ARGS__, \
	MANY, MANY, MANY, MANY, MANY, MANY, MANY, MANY, \
	16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0, ~)
#define FAR__COUNT_(f, a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13, a14, a15, a16, \
	b1, b2, b3, b4, b5, b6, b7, b8, n, ...) n

/*
 * The pointer type to call through. typeof(f) of a function name carries neither
 * const nor noreturn, as typeof(&f) does; gcc would merge or delete the calls.
 */
#define FAR__IS_POINTER(f) __builtin_types_compatible_p(__typeof__(f), __typeof__(&*(f)))
#define FAR__POINTER(f) __typeof__(__builtin_choose_expr(FAR__IS_POINTER(f), (f), (__typeof__(f) *)0))
#define FAR__IS_VOID(r) __builtin_types_compatible_p(r, void)
/* A type that sizeof and the like accept in place of void. */
#define FAR__NOT_VOID(r) __typeof__(*(__typeof__(__builtin_choose_expr(FAR__IS_VOID(r), (char *)0, (r *)0)))0)

/*
 * The address of a function of the library's, by its entry in the global offset table. In a
 * program that is not position-independent, &f is the program's own entry for it, behind
 * which the linker loses the static chain when it looks f up at the first call. Opaque
 * besides: gcc drops the static chain of a function it knows.
 */
#define FAR__ADDRESS(f) __extension__({ void *far__p; \
	__asm__("{movq\t" #f "@GOTPCREL(%%rip), %0|mov\t%0, QWORD PTR " #f "@GOTPCREL[rip]}" : "=r"(far__p)); far__p; })

static inline void *far__entry(void)
{
	return FAR__ADDRESS(far__capture);
}

/* The compiler does not know that the callee reads through the chain: say so. */
#define FAR__ESCAPE(p) __extension__({ void *far__p = (p); \
	__asm__ volatile("" : "+r"(far__p) : : "memory"); far__p; })

/* __builtin_classify_type, where gcc and clang agree on the number. */
enum { FAR__T_POINTER = 5, FAR__T_REAL = 8, FAR__T_COMPLEX = 9, FAR__T_STRUCT = 12, FAR__T_UNION = 13 };
#define FAR__CLASS(v) __builtin_classify_type( \
	__builtin_choose_expr(__builtin_types_compatible_p(__typeof__(v), float), 0.0, v))	/* -Wdouble-promotion */
#define FAR__IS_AGGREGATE(class) ((class) == FAR__T_STRUCT || (class) == FAR__T_UNION)
#define FAR__IS_VECTOR(class) ((class) < 0 || (class) > FAR__T_UNION)
#define FAR__ROUND(n) (((n) + 7) / 8 * 8)
/* gcc has a second type like long double. */
#ifdef __clang__
#define FAR__IS_X87(t) __builtin_types_compatible_p(t, long double)
#define FAR__IS_X87_2(t) __builtin_types_compatible_p(t, _Complex long double)
#else
#define FAR__IS_X87(t) (__builtin_types_compatible_p(t, long double) || __builtin_types_compatible_p(t, _Float64x))
#define FAR__IS_X87_2(t) \
	(__builtin_types_compatible_p(t, _Complex long double) || __builtin_types_compatible_p(t, _Complex _Float64x))
#endif
/* Wider vector registers are not stored, whatever the alignment. */
#define FAR__CARRIED(v) (_Alignof(__typeof__(v)) <= 16 && (sizeof(v) <= 16 || !FAR__IS_VECTOR(FAR__CLASS(v))))

/*
 * What argument i may occupy (System V x86-64): `far__e` says that the arguments
 * but for pointers have exactly the parameters' types; else a number may be converted
 * to the largest number there is, _Complex included. Small aggregates (and _Complex,
 * which may be of integers) may travel in registers of either kind or, packed or
 * with a long double inside, in memory; so may vectors (of one double).
 */
#define FAR__LAYOUT(i) enum { \
	far__t##i = FAR__CLASS(far__a##i), \
	far__z##i = sizeof(far__a##i), \
	far__p##i = (int)far__t##i == FAR__T_POINTER, \
	far__g##i = FAR__IS_AGGREGATE((int)far__t##i) || (far__e && (int)far__t##i == FAR__T_COMPLEX), \
	far__l##i = FAR__IS_X87(__typeof__(far__a##i)), \
	far__o##i = (int)far__t##i == FAR__T_REAL, \
	far__x##i = FAR__IS_VECTOR((int)far__t##i), \
	far__v##i = (int)far__p##i ? 0 : (int)far__g##i ? 2 * (far__z##i > 0 && far__z##i <= 16) \
		: !far__e ? 2 : far__x##i || (far__o##i && !far__l##i), \
	far__n##i = (int)far__p##i ? 1 : (int)far__g##i ? 2 * (far__z##i > 0 && far__z##i <= 16) \
		: !far__e ? 2 : far__o##i ? 0 : far__z##i > 8 ? 2 : 1, \
	far__w##i = (int)far__v##i && (far__z##i == 16 || (!far__e && !far__g##i)), \
	far__f##i = FAR__ROUND(far__z##i) + 8, \
	far__s##i = (int)far__p##i ? 0 : (int)far__g##i ? FAR__ROUND(far__z##i) + 8 * (_Alignof(__typeof__(far__a##i)) > 8) \
		: !far__e ? 40 : far__l##i || far__x##i ? far__f##i : 0 };

/*
 * Evaluate argument i, once; look at it if it is a pointer; use it. A constant stands in the
 * call as it was written, for what compilers check there; of these a literal alone is an array.
 */
#define FAR__EVALUATE(i, a) \
	enum { far__k##i = __builtin_choose_expr(__builtin_constant_p(a), 1, 0) }; \
	__auto_type far__a##i = ((void)(far__c.argument = i), (a)); \
	enum { far__q##i = far__k##i && !__builtin_types_compatible_p(__typeof__(__builtin_choose_expr(far__k##i, (a), 0)), \
		__typeof__(__builtin_choose_expr(far__k##i, far__a##i, 0))) }; \
	_Static_assert(FAR__CARRIED(far__a##i), \
		"farcall: argument " #i " is aligned to more than 16 bytes and cannot be carried by value: pass a pointer");
#define FAR__LOOK(i) \
	if (!far__k##i && (int)far__t##i == FAR__T_POINTER) \
		far__look(&far__c, &far__a##i, i, \
			__builtin_types_compatible_p(__typeof__(far__a##i), const char *) ? FAR__CONST_CHAR : 0);
#define FAR__USE(i, a) __builtin_choose_expr(far__k##i, (a), far__a##i)

#define FAR__E0(f)
#define FAR__E1(f, a) FAR__EVALUATE(1, a)
#define FAR__E2(f, a, b) FAR__E1(f, a) FAR__EVALUATE(2, b)
#define FAR__E3(f, a, b, c) FAR__E2(f, a, b) FAR__EVALUATE(3, c)
#define FAR__E4(f, a, b, c, d) FAR__E3(f, a, b, c) FAR__EVALUATE(4, d)
#define FAR__E5(f, a, b, c, d, e) FAR__E4(f, a, b, c, d) FAR__EVALUATE(5, e)
#define FAR__E6(f, a, b, c, d, e, g) FAR__E5(f, a, b, c, d, e) FAR__EVALUATE(6, g)
#define FAR__E7(f, a, b, c, d, e, g, h) FAR__E6(f, a, b, c, d, e, g) FAR__EVALUATE(7, h)
#define FAR__E8(f, a, b, c, d, e, g, h, i) FAR__E7(f, a, b, c, d, e, g, h) FAR__EVALUATE(8, i)
#define FAR__E9(f, a, b, c, d, e, g, h, i, j) FAR__E8(f, a, b, c, d, e, g, h, i) FAR__EVALUATE(9, j)
#define FAR__E10(f, a, b, c, d, e, g, h, i, j, k) FAR__E9(f, a, b, c, d, e, g, h, i, j) FAR__EVALUATE(10, k)
#define FAR__E11(f, a, b, c, d, e, g, h, i, j, k, l) FAR__E10(f, a, b, c, d, e, g, h, i, j, k) FAR__EVALUATE(11, l)
#define FAR__E12(f, a, b, c, d, e, g, h, i, j, k, l, m) FAR__E11(f, a, b, c, d, e, g, h, i, j, k, l) FAR__EVALUATE(12, m)
#define FAR__E13(f, a, b, c, d, e, g, h, i, j, k, l, m, n) \
	FAR__E12(f, a, b, c, d, e, g, h, i, j, k, l, m) FAR__EVALUATE(13, n)
#define FAR__E14(f, a, b, c, d, e, g, h, i, j, k, l, m, n, o) \
	FAR__E13(f, a, b, c, d, e, g, h, i, j, k, l, m, n) FAR__EVALUATE(14, o)
#define FAR__E15(f, a, b, c, d, e, g, h, i, j, k, l, m, n, o, p) \
	FAR__E14(f, a, b, c, d, e, g, h, i, j, k, l, m, n, o) FAR__EVALUATE(15, p)
#define FAR__E16(f, a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q) \
	FAR__E15(f, a, b, c, d, e, g, h, i, j, k, l, m, n, o, p) FAR__EVALUATE(16, q)
#define FAR__EMANY(...) _Static_assert(0, "farcall: a call can have at most 16 arguments");

#define FAR__U0(f)
#define FAR__U1(f, a) FAR__USE(1, a)
#define FAR__U2(f, a, b) FAR__U1(f, a), FAR__USE(2, b)
#define FAR__U3(f, a, b, c) FAR__U2(f, a, b), FAR__USE(3, c)
#define FAR__U4(f, a, b, c, d) FAR__U3(f, a, b, c), FAR__USE(4, d)
#define FAR__U5(f, a, b, c, d, e) FAR__U4(f, a, b, c, d), FAR__USE(5, e)
#define FAR__U6(f, a, b, c, d, e, g) FAR__U5(f, a, b, c, d, e), FAR__USE(6, g)
#define FAR__U7(f, a, b, c, d, e, g, h) FAR__U6(f, a, b, c, d, e, g), FAR__USE(7, h)
#define FAR__U8(f, a, b, c, d, e, g, h, i) FAR__U7(f, a, b, c, d, e, g, h), FAR__USE(8, i)
#define FAR__U9(f, a, b, c, d, e, g, h, i, j) FAR__U8(f, a, b, c, d, e, g, h, i), FAR__USE(9, j)
#define FAR__U10(f, a, b, c, d, e, g, h, i, j, k) FAR__U9(f, a, b, c, d, e, g, h, i, j), FAR__USE(10, k)
#define FAR__U11(f, a, b, c, d, e, g, h, i, j, k, l) FAR__U10(f, a, b, c, d, e, g, h, i, j, k), FAR__USE(11, l)
#define FAR__U12(f, a, b, c, d, e, g, h, i, j, k, l, m) FAR__U11(f, a, b, c, d, e, g, h, i, j, k, l), FAR__USE(12, m)
#define FAR__U13(f, a, b, c, d, e, g, h, i, j, k, l, m, n) \
	FAR__U12(f, a, b, c, d, e, g, h, i, j, k, l, m), FAR__USE(13, n)
#define FAR__U14(f, a, b, c, d, e, g, h, i, j, k, l, m, n, o) \
	FAR__U13(f, a, b, c, d, e, g, h, i, j, k, l, m, n), FAR__USE(14, o)
#define FAR__U15(f, a, b, c, d, e, g, h, i, j, k, l, m, n, o, p) \
	FAR__U14(f, a, b, c, d, e, g, h, i, j, k, l, m, n, o), FAR__USE(15, p)
#define FAR__U16(f, a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q) \
	FAR__U15(f, a, b, c, d, e, g, h, i, j, k, l, m, n, o, p), FAR__USE(16, q)
#define FAR__UMANY(f, ...)

/* m(1) ... m(n) */
#define FAR__EACH0(m)
#define FAR__EACH1(m) m(1)
#define FAR__EACH2(m) FAR__EACH1(m) m(2)
#define FAR__EACH3(m) FAR__EACH2(m) m(3)
#define FAR__EACH4(m) FAR__EACH3(m) m(4)
#define FAR__EACH5(m) FAR__EACH4(m) m(5)
#define FAR__EACH6(m) FAR__EACH5(m) m(6)
#define FAR__EACH7(m) FAR__EACH6(m) m(7)
#define FAR__EACH8(m) FAR__EACH7(m) m(8)
#define FAR__EACH9(m) FAR__EACH8(m) m(9)
#define FAR__EACH10(m) FAR__EACH9(m) m(10)
#define FAR__EACH11(m) FAR__EACH10(m) m(11)
#define FAR__EACH12(m) FAR__EACH11(m) m(12)
#define FAR__EACH13(m) FAR__EACH12(m) m(13)
#define FAR__EACH14(m) FAR__EACH13(m) m(14)
#define FAR__EACH15(m) FAR__EACH14(m) m(15)
#define FAR__EACH16(m) FAR__EACH15(m) m(16)
#define FAR__EACHMANY(m)

/* The types of the arguments, each made into another or not. */
#define FAR__TYPE0(as) void
#define FAR__TYPE1(as) as(far__a1)
#define FAR__TYPE2(as) FAR__TYPE1(as), as(far__a2)
#define FAR__TYPE3(as) FAR__TYPE2(as), as(far__a3)
#define FAR__TYPE4(as) FAR__TYPE3(as), as(far__a4)
#define FAR__TYPE5(as) FAR__TYPE4(as), as(far__a5)
#define FAR__TYPE6(as) FAR__TYPE5(as), as(far__a6)
#define FAR__TYPE7(as) FAR__TYPE6(as), as(far__a7)
#define FAR__TYPE8(as) FAR__TYPE7(as), as(far__a8)
#define FAR__TYPE9(as) FAR__TYPE8(as), as(far__a9)
#define FAR__TYPE10(as) FAR__TYPE9(as), as(far__a10)
#define FAR__TYPE11(as) FAR__TYPE10(as), as(far__a11)
#define FAR__TYPE12(as) FAR__TYPE11(as), as(far__a12)
#define FAR__TYPE13(as) FAR__TYPE12(as), as(far__a13)
#define FAR__TYPE14(as) FAR__TYPE13(as), as(far__a14)
#define FAR__TYPE15(as) FAR__TYPE14(as), as(far__a15)
#define FAR__TYPE16(as) FAR__TYPE15(as), as(far__a16)
#define FAR__TYPEMANY(as) void

/*
 * A pointer may be given to a parameter that is const or void *: these are tried, for all
 * pointers of a call alike. (const added to any type would be added to functions, too.)
 */
#define FAR__ADD_CONST(type) type *: (const type *)0
#define FAR__AS_IT_IS(v) __typeof__(v)
#define FAR__AS_CONST(v) __typeof__(_Generic((v), FAR__ADD_CONST(char), FAR__ADD_CONST(signed char), FAR__ADD_CONST(unsigned char), \
	FAR__ADD_CONST(short), FAR__ADD_CONST(unsigned short), FAR__ADD_CONST(int), FAR__ADD_CONST(unsigned), \
	FAR__ADD_CONST(long), FAR__ADD_CONST(unsigned long), FAR__ADD_CONST(long long), FAR__ADD_CONST(unsigned long long), \
	FAR__ADD_CONST(float), FAR__ADD_CONST(double), default: (v)))
#define FAR__AS_POINTER(v, pointer) __typeof__(__builtin_choose_expr(FAR__CLASS(v) == FAR__T_POINTER, (pointer)0, (v)))
#define FAR__AS_VOID(v) FAR__AS_POINTER(v, void *)
#define FAR__AS_CONST_VOID(v) FAR__AS_POINTER(v, const void *)
#define FAR__TAKES(f, r, n, as) \
	__builtin_types_compatible_p(__typeof__(*(FAR__POINTER(f))0), r(FAR__CAT(FAR__TYPE, n)(as)))

#define FAR__SUM_N(i) + (int)far__n##i
#define FAR__SUM_V(i) + (int)far__v##i
#define FAR__SUM_S(i) + (int)far__s##i
#define FAR__SUM_F(i) + (int)far__f##i
#define FAR__ANY_W(i) || far__w##i
#define FAR__ANY_Q(i) || far__q##i
#define FAR__ONE(i) + 1

/*
 * A number of up to 64 bits or a pointer: what its parameter's type may be is known well
 * enough to learn the rest from calls, of up to six of them.
 */
#define FAR__PLAIN(i) && ((int)far__p##i || (far__z##i <= 8 && !far__g##i && !far__x##i && (int)far__t##i != FAR__T_COMPLEX))
#define FAR__NEGATIVE(i) -(long double)__builtin_choose_expr(FAR__CLASS(far__a##i) == FAR__T_POINTER, __builtin_nan(""), \
	__builtin_choose_expr(FAR__IS_AGGREGATE(FAR__CLASS(far__a##i)) || FAR__CLASS(far__a##i) == FAR__T_COMPLEX || \
		FAR__IS_VECTOR(FAR__CLASS(far__a##i)), 0u, far__a##i)),
/* Of an inline function each file may have its own: clang need not say so. */
#ifdef __clang__
#define FAR__STATIC(...) _Pragma("clang diagnostic push") _Pragma("clang diagnostic ignored \"-Wstatic-local-in-inline\"") \
	static __VA_ARGS__; _Pragma("clang diagnostic pop")
#else
#define FAR__STATIC(...) static __VA_ARGS__;
#endif
#define FAR__SITE(unsure, bounds, lesson) \
	((unsure) && __atomic_load_n(&(lesson)->known, __ATOMIC_ACQUIRE) ? &(lesson)->site : (bounds))

enum { FAR__INTS = 6, FAR__VECTORS = 8 };	/* argument registers */

/*
 * How the result comes back. Small aggregates must be asked for (far__probe):
 * packed ones, unions and vectors of one double may come in memory, where their
 * size does not tell, and what holds a long double on the x87 stack.
 */
#define FAR__RESULT_(r, class) ( \
	FAR__IS_VOID(r) ? FAR__VOID \
	: FAR__IS_X87(r) ? FAR__X87 \
	: FAR__IS_X87_2(r) ? FAR__X87_2 \
	: sizeof(FAR__NOT_VOID(r)) == 0 ? FAR__VOID \
	: (class) == FAR__T_COMPLEX ? (sizeof(FAR__NOT_VOID(r)) > 16 ? FAR__MEMORY : FAR__REGISTERS) \
	: FAR__IS_VECTOR(class) ? (sizeof(FAR__NOT_VOID(r)) > 8 ? FAR__REGISTERS : FAR__ASK) \
	: !FAR__IS_AGGREGATE(class) ? ((class) == FAR__T_REAL ? FAR__REGISTERS : FAR__INTEGERS) \
	: sizeof(FAR__NOT_VOID(r)) > 16 ? FAR__MEMORY \
	: sizeof(FAR__NOT_VOID(r)) == 16 ? FAR__ASK_X87 : FAR__ASK)
#define FAR__RESULT(r) FAR__RESULT_(r, FAR__CLASS(*(FAR__NOT_VOID(r) *)0))

#define FAR__PROBE(r, probe) __extension__({ int far__m = 0; \
	(void)__builtin_call_with_static_chain( \
		((FAR__NOT_VOID(r) (*)(long, long))FAR__ADDRESS(probe))(0x51, 0x52), FAR__ESCAPE(&far__m)); \
	__asm__ volatile("" : : : "memory"); far__m; })

#define FAR__ASK_RESULT(r) do { \
	if (far__site.result == FAR__ASK) { \
		far__c.result = FAR__PROBE(r, far__probe) ? FAR__MEMORY : FAR__REGISTERS; \
	} else if (far__site.result == FAR__ASK_X87) { \
		int far__in_memory = FAR__PROBE(r, far__probe_x87); \
		int far__left = far__x87_left(); \
		far__c.result = far__in_memory ? FAR__MEMORY : far__left ? FAR__REGISTERS : FAR__X87; \
	} \
} while (0)

/*
 * The type that a call is made through, where the arguments have the parameters' types:
 * one that says no more. With it no compiler believes that the function never returns, or
 * that its result alone matters and it need not be called.
 */
#define FAR__EXACTLY(r, n, as) r (*)(FAR__CAT(FAR__TYPE, n)(as))
#define FAR__EXACT(f, r, n) __typeof__(__builtin_choose_expr((int)far__as & 1, (FAR__EXACTLY(r, n, FAR__AS_IT_IS))0, \
	__builtin_choose_expr((int)far__as & 2, (FAR__EXACTLY(r, n, FAR__AS_CONST))0, \
	__builtin_choose_expr((int)far__as & 4, (FAR__EXACTLY(r, n, FAR__AS_VOID))0, \
	__builtin_choose_expr((int)far__as & 8, (FAR__EXACTLY(r, n, FAR__AS_CONST_VOID))0, (FAR__POINTER(f))0)))))

/*
 * Elsewhere a function that the compiler believes never returns: come back through
 * __builtin_setjmp(). clang knows it of every such function and tells nobody, gcc of
 * pointers. `far__c` escapes before: on the way back clang believes that no call was made.
 * And the landing point has a block of its own: clang would put there, and execute again
 * on the way back, what stands before it. gcc 12 with -flto lost the store of the buffer's
 * address, unless volatile.
 */
#ifdef __clang__
#define FAR__MAY_NOT_RETURN(f, r) (FAR__IS_VOID(r) && !far__e)
#else
#define FAR__MAY_NOT_RETURN(f, r) (FAR__IS_VOID(r) && !far__e && \
	__builtin_types_compatible_p(__typeof__(&*(f)), volatile __typeof__(*(__typeof__(&*(f)))0) *))
#endif
#if defined __CET__ && !defined __clang__
/* With -fcf-protection=return gcc has the shadow stack's pointer where far__capture() looks. */
#define FAR__JUMP_SP(j) if (__CET__ & 2) { void **far__s = (void **)FAR__ESCAPE(j); far__s[2] = far__s[3]; }
#else
#define FAR__JUMP_SP(j)
#endif
#define FAR__GUARD(f, r, call) __builtin_choose_expr(FAR__MAY_NOT_RETURN(f, r), \
	__extension__({ void *far__j[5]; int far__go = 1; \
		*(void **volatile *)&far__c.jump = far__j; (void)FAR__ESCAPE(&far__c); \
		__asm__ volatile("" : "+r"(far__go)); \
		if (far__go) { if (__builtin_setjmp(far__j) == 0) { FAR__JUMP_SP(far__j) call; } } }), call)

#define FAR__TRY(type, n, ...) __builtin_call_with_static_chain( \
	((type)far__entry())(FAR__CAT(FAR__U, n)(__VA_ARGS__)), FAR__ESCAPE(&far__c))

/* A library stands for a slave: far__call.slave is either's handle. */
#define FAR__IS_LIBRARY(s) __builtin_types_compatible_p(__typeof__(s), struct far_library *)
#define FAR__TARGET(s) _Generic((s), struct far_library *: (struct far_slave *)(void *)(uintptr_t)(s), default: (s))
/* Nothing refers to a library's function: the program need not be linked with it. */
#define FAR__FUNCTION(s, f) __builtin_choose_expr(FAR__IS_LIBRARY(s), (void *)0, (void *)(f))

/* Among declarations: some programs want none behind a statement. */
#define FAR__BEGIN(...) char far__begun __attribute__((unused)) = (char)far__start(__VA_ARGS__)

/* Everything up to the call itself; leaves the type far__r and the context far__c. */
#define FAR__PREPARE(within_, slave_, op_, n, f, ...) \
	struct far__buffer far__b[1 FAR__CAT(FAR__EACH, n)(FAR__ONE)]; \
	struct far__call far__c; \
	FAR__BEGIN(&far__c, FAR__TARGET(slave_), FAR__FUNCTION(slave_, f), far__b, op_, (within_)); \
	FAR__CAT(FAR__E, n)(__VA_ARGS__) \
	typedef __typeof__((f)(FAR__CAT(FAR__U, n)(__VA_ARGS__))) far__r; \
	_Static_assert(FAR__CARRIED(*(FAR__NOT_VOID(far__r) *)0), \
		"farcall: the result is aligned to more than 16 bytes and cannot be carried by value: return a pointer"); \
	enum { far__as = FAR__TAKES(f, far__r, n, FAR__AS_IT_IS) | FAR__TAKES(f, far__r, n, FAR__AS_CONST) << 1 | \
		FAR__TAKES(f, far__r, n, FAR__AS_VOID) << 2 | FAR__TAKES(f, far__r, n, FAR__AS_CONST_VOID) << 3, \
		far__e = (int)far__as != 0 }; \
	FAR__CAT(FAR__EACH, n)(FAR__LAYOUT) \
	enum { \
		far__ni = 0 FAR__CAT(FAR__EACH, n)(FAR__SUM_N), \
		far__nv = 0 FAR__CAT(FAR__EACH, n)(FAR__SUM_V), \
		far__full = far__ni + (FAR__RESULT(far__r) >= FAR__MEMORY) > FAR__INTS || far__nv > FAR__VECTORS, \
		far__st = (0 FAR__CAT(FAR__EACH, n)(FAR__SUM_S)) + far__full * (0 FAR__CAT(FAR__EACH, n)(FAR__SUM_F)), \
		far__rg = far__ni + (FAR__RESULT(far__r) == FAR__MEMORY || FAR__RESULT(far__r) >= FAR__ASK), \
		far__us = !far__e && far__nv > 0 && n <= 6 FAR__CAT(FAR__EACH, n)(FAR__PLAIN), \
	}; \
	static const struct far__site far__site = { \
		.function = FAR__STR(f), .file = __FILE__, .line = __LINE__, .arguments = 0 FAR__CAT(FAR__EACH, n)(FAR__ONE), \
		.ints = (int)far__rg > FAR__INTS ? FAR__INTS : (int)far__rg, \
		.vectors = (int)far__nv > FAR__VECTORS ? FAR__VECTORS : (int)far__nv, \
		.wide = 0 FAR__CAT(FAR__EACH, n)(FAR__ANY_W), \
		.stack = far__st, \
		.result = FAR__RESULT(far__r), \
		.unsure = far__us, \
		.literals = 0 FAR__CAT(FAR__EACH, n)(FAR__ANY_Q), \
		.result_size = FAR__IS_VOID(far__r) ? 0 : sizeof(FAR__NOT_VOID(far__r)), \
	}; \
	FAR__STATIC(struct far__lesson far__lesson) \
	far__c.site = FAR__SITE(far__us, &far__site, &far__lesson); \
	far__c.result = far__site.result; \
	FAR__ASK_RESULT(far__r); \
	FAR__CAT(FAR__EACH, n)(FAR__LOOK) \
	if (far__us && far__c.site == &far__site)	/* nothing comes between this and the call */ \
		far__learn(&far__c, &far__lesson, (const long double[]){ FAR__CAT(FAR__EACH, n)(FAR__NEGATIVE) 0 });

#define FAR__INVOKE(within, op, slave, n, f, ...) __extension__({ \
	FAR__PREPARE(within, slave, op, n, f, __VA_ARGS__) \
	FAR__GUARD(f, far__r, FAR__TRY(FAR__EXACT(f, far__r, n), n, __VA_ARGS__)); })

/* gcc would leave out a call of a const function by its address, whose result nobody wants. */
#ifdef __clang__
#define FAR__MAKE(r, call) (void)(call)
#else
#define FAR__MAKE(r, call) __builtin_choose_expr(FAR__IS_VOID(r), (call), __extension__({ \
	__auto_type far__v = __builtin_choose_expr(FAR__IS_VOID(r), 0, (call)); \
	__asm__ volatile("" : : "m"(far__v) : "memory"); }))
#endif

#define FAR__SCHEDULE(within, slave, op, n, f, ...) __extension__({ \
	FAR__PREPARE(within, slave, op, n, f, __VA_ARGS__) \
	FAR__MAKE(far__r, FAR__GUARD(f, far__r, FAR__TRY(FAR__EXACT(f, far__r, n), n, __VA_ARGS__))); \
	__asm__ volatile("" : : : "memory"); \
	(far_task(far__r))far__c.task; })

#define FAR__WAIT(t) __extension__({ \
	__auto_type far__t = ((void)0, (t));	/* the comma takes _Atomic away, too */ \
	typedef __typeof__(far__t((struct far__task *)0)) far__r; \
	static const struct far__site far__site = { \
		.function = "far_wait", .file = __FILE__, .line = __LINE__, .result = FAR__RESULT(far__r), \
		.result_size = FAR__IS_VOID(far__r) ? 0 : sizeof(FAR__NOT_VOID(far__r)), \
	}; \
	struct far__call far__c; \
	far__start(&far__c, (struct far_slave *)0, (void *)0, (struct far__buffer *)0, FAR__OP_WAIT, -1); \
	far__c.site = &far__site; \
	far__c.task = (uintptr_t)far__t; \
	far__c.result = far__site.result; \
	FAR__ASK_RESULT(far__r); \
	__builtin_call_with_static_chain( \
		((__typeof__(far__t))far__entry())((struct far__task *)0), FAR__ESCAPE(&far__c)); })

/* The sign of an integer's type; 0 of others. */
#define FAR__NUMBER(a) __builtin_choose_expr(FAR__CLASS(a) == FAR__T_POINTER || FAR__CLASS(a) == FAR__T_REAL || \
	FAR__CLASS(a) == FAR__T_COMPLEX || FAR__IS_AGGREGATE(FAR__CLASS(a)), 0u, (a))
#define FAR__DESCRIBE(a) { .at = &(a), .size = sizeof(a), .type_class = FAR__CLASS(a), \
	.is_signed = (__typeof__(FAR__NUMBER(a)))-1 < (__typeof__(FAR__NUMBER(a)))1, \
	.is_bool = __builtin_types_compatible_p(__typeof__(a), _Bool), \
	.const_char = __builtin_types_compatible_p(__typeof__(a), const char *) },
/* Of which libffi knows how they are passed: of the others, _Float128 and _Complex int say, class and size tell too little. */
#define FAR__IS_ONE(v, t) __builtin_types_compatible_p(__typeof__(v), t)
#define FAR__KNOWN(v) (!FAR__IS_VECTOR(FAR__CLASS(v)) && \
	(FAR__CLASS(v) != FAR__T_REAL || FAR__IS_ONE(v, float) || FAR__IS_ONE(v, double) || FAR__IS_ONE(v, long double)) && \
	(FAR__CLASS(v) != FAR__T_COMPLEX || FAR__IS_ONE(v, _Complex float) || FAR__IS_ONE(v, _Complex double) || \
		FAR__IS_ONE(v, _Complex long double)))
#define FAR__KNOW(i) _Static_assert(FAR__KNOWN(far__a##i), \
	"farcall: argument " #i " of far_call() is of a type that only the compiler knows how to pass: use far_invoke()");
#define FAR__DESCRIBE_ARGUMENT(i) FAR__DESCRIBE(far__a##i)

#define FAR__CALL(target, r, n, text, ...) __extension__({ \
	static const struct far__site far__site = { .function = "far_call", .file = __FILE__, .line = __LINE__ }; \
	struct far__buffer far__b[1 FAR__CAT(FAR__EACH, n)(FAR__ONE)]; \
	struct far__call far__c; \
	FAR__BEGIN(&far__c, FAR__TARGET(target), (void *)0, far__b, FAR__OP_INVOKE, FAR__SLAVES_DEADLINE); \
	FAR__CAT(FAR__E, n)(__VA_ARGS__) \
	FAR__CAT(FAR__EACH, n)(FAR__KNOW) \
	FAR__NOT_VOID(r) far__v; \
	_Static_assert(FAR__KNOWN(far__v), \
		"farcall: the result of far_call() is of a type that only the compiler knows how to return: use far_invoke()"); \
	far__c.site = &far__site; \
	far__call_by_name(&far__c, (text), (const struct far__value[]){ FAR__CAT(FAR__EACH, n)(FAR__DESCRIBE_ARGUMENT) { 0 } }, \
			  0 FAR__CAT(FAR__EACH, n)(FAR__ONE), \
			  FAR__IS_VOID(r) ? (const struct far__value *)0 : (const struct far__value[]){ FAR__DESCRIBE(far__v) }); \
	__builtin_choose_expr(FAR__IS_VOID(r), (void)0, far__v); })

/* The debug information tells the type of the variable, and so of what it points to. */
#define FAR__WRAP(destroy, destroyer, slave, ...) __extension__({ \
	__auto_type far__s = (slave); \
	__auto_type far__o = far_invoke(far__s, __VA_ARGS__); \
	FAR__STATIC(__typeof__(far__o) far__planted __attribute__((used))) \
	(__typeof__(far__o))far__wrap(FAR__TARGET(far__s), (void *)far__o, &far__planted, (destroy), (destroyer), \
				      __FILE__, __LINE__); })

#define FAR__CALLBACK(f, text) __extension__({ \
	FAR__STATIC(FAR__POINTER(f) far__planted __attribute__((used))) \
	far__callback(&far__c, (void *)(f), &far__planted, text, __FILE__, __LINE__); })

/* The number of a task, which must be one: a function of struct far__task *. */
#define FAR__ID(t) ((uintptr_t)(t) + 0 * sizeof(__typeof__(((void)0, (t))((struct far__task *)0)) *))

/* No statement expression: a compound literal in p must live until the call is made. */
#define FAR__BUFFER(p, n, use) \
	((__typeof__(((void)0, (p))))far__buffer(&far__c, (const void *)(uintptr_t)(p), (n), (use)))

#endif
