/*
 * The machine's side of a call on x86-64 (System V ABI): what call_x86_64.S
 * stores and loads. Another architecture brings such a pair of files, and the
 * register rules at the end of farcall.h.
 */
#ifndef FAR_CORE_CALL_X86_64_H
#define FAR_CORE_CALL_X86_64_H

#include <stddef.h>
#include <stdint.h>

enum { FAR_INT_REGISTERS = 6, FAR_VECTOR_REGISTERS = 8 };

struct far_vector {
	_Alignas(16) uint64_t low;
	uint64_t high;
};

/*
 * The argument registers of a call; after it, the result: gp[0] and gp[1] are
 * rax and rdx, vector[0] and vector[1] are xmm0 and xmm1, and what came on the
 * x87 stack is in vector[2] and vector[3].
 */
struct far_registers {
	uint64_t gp[FAR_INT_REGISTERS];	/* rdi, rsi, rdx, rcx, r8, r9 */
	uint64_t rax;			/* al: the vector registers of a variadic call */
	uint64_t x87;			/* results on the x87 stack: before replay, how many to look for */
	struct far_vector vector[FAR_VECTOR_REGISTERS];
};

/* Where a result is in struct far_registers. */
enum { FAR_X87_AT = 2 };

/* What far__replay() works from. */
struct far_frame {
	struct far_registers registers;
	const void *function;
	const uint64_t *stack;		/* words of stack arguments, lowest first */
	uint64_t stack_words;
	void *sp;			/* set by far__replay(): where far__unwind() returns to */
};

/*
 * Call frame->function with the registers and stack words of @frame and store
 * the results over the registers. Returns 0, or 1 when far__unwind() cut it short.
 */
int far__replay(struct far_frame *frame);

/* Return from the far__replay() of @frame at once, as longjmp() would. */
_Noreturn void far__unwind(struct far_frame *frame);

/* Run fn(arg), which must not return, on another stack, whose end is @top. */
_Noreturn void far__on_stack(void *top, void (*fn)(void *), void *arg);

/*
 * Called by far__capture() with the registers and the stack words of the call.
 * Returns how many x87 results to load (0, 1 or 2), or FAR_JUMP to leave through
 * the call's __builtin_setjmp() buffer.
 */
struct far__call;
enum { FAR_JUMP = 3 };
int far__dispatch(struct far__call *call, struct far_registers *registers, const uint64_t *stack);

#endif
