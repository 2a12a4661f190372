/*
 * Capturing and replaying calls on x86-64, System V ABI. The layouts of struct
 * far_registers, struct far_frame and struct far__call are checked in call.c.
 */
#define REGISTERS	192	/* sizeof(struct far_registers) */
#define RAX		48
#define X87		56
#define VECTOR		64
#define FUNCTION	192	/* in struct far_frame */
#define STACK		200
#define STACK_WORDS	208
#define SP		216
#define SITE		0	/* in struct far__call */
#define JUMP		40
#define VECTORS		26	/* in struct far__site */

	.text

/*
 * far__capture: called as if it were the remote function, whatever its type,
 * with a struct far__call * in the static-chain register r10. Returns the result
 * registers that far__dispatch() left.
 */
	.globl	far__capture
	.type	far__capture, @function
	.p2align 6
far__capture:
	.cfi_startproc
	endbr64
	push	%rbp
	.cfi_def_cfa_offset 16
	.cfi_offset %rbp, -16
	mov	%rsp, %rbp
	.cfi_def_cfa_register %rbp
	sub	$(REGISTERS + 16), %rsp
	mov	%rdi, 0(%rsp)
	mov	%rsi, 8(%rsp)
	mov	%rdx, 16(%rsp)
	mov	%rcx, 24(%rsp)
	mov	%r8, 32(%rsp)
	mov	%r9, 40(%rsp)
	mov	%rax, RAX(%rsp)
	mov	SITE(%r10), %r11
	cmpb	$0, VECTORS(%r11)	/* none in most calls, and eight stores are felt */
	je	5f
	movaps	%xmm0, VECTOR+0(%rsp)
	movaps	%xmm1, VECTOR+16(%rsp)
	movaps	%xmm2, VECTOR+32(%rsp)
	movaps	%xmm3, VECTOR+48(%rsp)
	movaps	%xmm4, VECTOR+64(%rsp)
	movaps	%xmm5, VECTOR+80(%rsp)
	movaps	%xmm6, VECTOR+96(%rsp)
	movaps	%xmm7, VECTOR+112(%rsp)
5:	mov	%r10, REGISTERS(%rsp)
	mov	%r10, %rdi
	mov	%rsp, %rsi
	lea	16(%rbp), %rdx
	call	far__dispatch
	test	%eax, %eax
	jnz	2f
1:	mov	0(%rsp), %rax
	mov	8(%rsp), %rdx
	movaps	VECTOR+0(%rsp), %xmm0
	movaps	VECTOR+16(%rsp), %xmm1
	leave
	.cfi_remember_state
	.cfi_def_cfa %rsp, 8
	ret
	.cfi_restore_state
2:	cmp	$2, %eax		/* st(1) goes first, then st(0) */
	ja	3f
	jb	4f
	fldt	VECTOR+48(%rsp)
4:	fldt	VECTOR+32(%rsp)
	jmp	1b
3:	mov	REGISTERS(%rsp), %rcx	/* leave through __builtin_setjmp's buffer */
	mov	JUMP(%rcx), %rcx
	mov	0(%rcx), %rbp
	mov	16(%rcx), %rsp
	jmp	*8(%rcx)
	.cfi_endproc
	.size	far__capture, . - far__capture

/*
 * void far__learn(call, lesson, negatives): have all argument registers hold what
 * far__lesson_begin() returns.
 */
	.globl	far__learn
	.type	far__learn, @function
	.p2align 4
far__learn:
	.cfi_startproc
	endbr64
	sub	$8, %rsp
	.cfi_def_cfa_offset 16
	call	far__lesson_begin
	add	$8, %rsp
	.cfi_def_cfa_offset 8
	mov	%rax, %rdi
	mov	%rax, %rsi
	mov	%rax, %rdx
	mov	%rax, %rcx
	mov	%rax, %r8
	mov	%rax, %r9
	movq	%rax, %xmm0
	punpcklqdq %xmm0, %xmm0
	movaps	%xmm0, %xmm1
	movaps	%xmm0, %xmm2
	movaps	%xmm0, %xmm3
	movaps	%xmm0, %xmm4
	movaps	%xmm0, %xmm5
	movaps	%xmm0, %xmm6
	movaps	%xmm0, %xmm7
	ret
	.cfi_endproc
	.size	far__learn, . - far__learn

/* int far__replay(struct far_frame *frame) */
	.globl	far__replay
	.hidden	far__replay
	.type	far__replay, @function
	.p2align 6
far__replay:
	.cfi_startproc
	endbr64
	push	%rbp
	.cfi_def_cfa_offset 16
	.cfi_offset %rbp, -16
	mov	%rsp, %rbp
	.cfi_def_cfa_register %rbp
	push	%rbx
	push	%r12
	push	%r13
	push	%r14
	push	%r15
	sub	$8, %rsp
	.cfi_offset %rbx, -24
	.cfi_offset %r12, -32
	.cfi_offset %r13, -40
	.cfi_offset %r14, -48
	.cfi_offset %r15, -56
	mov	%rdi, %rbx
	mov	%rbp, SP(%rbx)
	mov	STACK_WORDS(%rbx), %rcx
	test	%rcx, %rcx
	jz	1f
	lea	0(,%rcx,8), %rax	/* the stack words, rsp on a multiple of 16 below them */
	sub	%rax, %rsp
	and	$-16, %rsp
	mov	STACK(%rbx), %rsi
	mov	%rsp, %rdi
	rep movsq
1:	mov	0(%rbx), %rdi
	mov	8(%rbx), %rsi
	mov	16(%rbx), %rdx
	mov	24(%rbx), %rcx
	mov	32(%rbx), %r8
	mov	40(%rbx), %r9
	mov	RAX(%rbx), %rax
	movaps	VECTOR+0(%rbx), %xmm0
	movaps	VECTOR+16(%rbx), %xmm1
	movaps	VECTOR+32(%rbx), %xmm2
	movaps	VECTOR+48(%rbx), %xmm3
	movaps	VECTOR+64(%rbx), %xmm4
	movaps	VECTOR+80(%rbx), %xmm5
	movaps	VECTOR+96(%rbx), %xmm6
	movaps	VECTOR+112(%rbx), %xmm7
	call	*FUNCTION(%rbx)
	mov	%rax, 0(%rbx)
	mov	%rdx, 8(%rbx)
	movaps	%xmm0, VECTOR+0(%rbx)
	movaps	%xmm1, VECTOR+16(%rbx)
	cmpq	$0, X87(%rbx)
	jne	3f
	xor	%eax, %eax
2:	lea	-40(%rbp), %rsp
	pop	%r15
	pop	%r14
	pop	%r13
	pop	%r12
	pop	%rbx
	pop	%rbp
	.cfi_remember_state
	.cfi_def_cfa %rsp, 8
	ret
	.cfi_restore_state
3:	xor	%ecx, %ecx		/* count and take what is on the x87 stack */
	fxam
	fnstsw	%ax
	and	$0x4500, %eax
	cmp	$0x4100, %eax		/* C3 and C0 without C2: empty */
	je	4f
	fstpt	VECTOR+32(%rbx)
	inc	%ecx
	fxam
	fnstsw	%ax
	and	$0x4500, %eax
	cmp	$0x4100, %eax
	je	4f
	fstpt	VECTOR+48(%rbx)
	inc	%ecx
4:	mov	%rcx, X87(%rbx)
	xor	%eax, %eax
	jmp	2b
	.cfi_endproc
	.size	far__replay, . - far__replay

/* _Noreturn void far__unwind(struct far_frame *frame): return 1 from its far__replay() */
	.globl	far__unwind
	.hidden	far__unwind
	.type	far__unwind, @function
far__unwind:
	endbr64
	mov	SP(%rdi), %rbp
	mov	$1, %eax
	jmp	2b
	.size	far__unwind, . - far__unwind

/* _Noreturn void far__on_stack(void *top, void (*fn)(void *), void *arg) */
	.globl	far__on_stack
	.hidden	far__on_stack
	.type	far__on_stack, @function
far__on_stack:
	.cfi_startproc
	.cfi_undefined %rip		/* the outermost frame */
	endbr64
	mov	%rdi, %rsp
	and	$-16, %rsp
	xor	%ebp, %ebp
	mov	%rdx, %rdi
	call	*%rsi
	ud2
	.cfi_endproc
	.size	far__on_stack, . - far__on_stack

/*
 * far__probe(0x51, 0x52) as a function of some aggregate type: if rdi is not the
 * first argument it is where the result goes. Stores 1 or 0 in *r10.
 */
	.globl	far__probe
	.type	far__probe, @function
far__probe:
	.cfi_startproc
	endbr64
	xor	%ecx, %ecx
	cmp	$0x51, %rdi
	setne	%cl
	mov	%ecx, (%r10)
	mov	%rdi, %rax
	ret
	.cfi_endproc
	.size	far__probe, . - far__probe

/*
 * The same, with a number left on the x87 stack: a caller whose result comes there
 * takes it off. int far__x87_left(void): was it still there? It is no more.
 */
	.globl	far__probe_x87
	.type	far__probe_x87, @function
far__probe_x87:
	.cfi_startproc
	endbr64
	fldz
	jmp	far__probe
	.cfi_endproc
	.size	far__probe_x87, . - far__probe_x87

	.globl	far__x87_left
	.type	far__x87_left, @function
far__x87_left:
	.cfi_startproc
	endbr64
	fxam
	fnstsw	%ax
	and	$0x4500, %eax
	cmp	$0x4100, %eax		/* C3 and C0 without C2: empty */
	je	1f
	fstp	%st(0)
	mov	$1, %eax
	ret
1:	xor	%eax, %eax
	ret
	.cfi_endproc
	.size	far__x87_left, . - far__x87_left

	.section .note.GNU-stack, "", @progbits
	.section .note.gnu.property, "a"	/* made for CET: indirect branch tracking */
	.p2align 3
	.long	4, 16, 5
	.asciz	"GNU"
	.long	0xc0000002, 4, 1, 0
