#!/bin/sh
# must_not_compile.sh CC [option...]: wrong calls are refused when compiled, in words that tell what is wrong.
here=$(dirname "$0")
CC=${1:?usage: must_not_compile.sh CC [option...]}
shift
# What is only a warning in older compilers by default is an error in newer ones.
options="-std=gnu17 -fsyntax-only -Werror=incompatible-pointer-types -Werror=int-conversion -Werror $*"
refused=0
failed=0

# A function with these in reach, around the statements that are the arguments.
program() {
	cat <<END
#include <farcall.h>
#include <string.h>
struct point { int x, y; };
struct wide { _Alignas(32) int x; };
typedef float vector __attribute__((vector_size(32)));
typedef float loose_vector __attribute__((vector_size(32), aligned(4)));
double take(double a, int b);
struct point move(struct point p, int by);
int pointers(int *to, const char *text);
void nothing(void);
int wide(struct wide w);
int vectors(vector *v, vector w);
int loose(loose_vector v);
struct wide give_wide(void);
loose_vector give_vector(void);
int variadic(const char *format, ...);
int seventeen(int, int, int, int, int, int, int, int, int, int, int, int, int, int, int, int, int);
void test(struct far_slave *slave, struct point p, struct wide w, vector *v, loose_vector *u, int n, double *d);
void test(struct far_slave *slave, struct point p, struct wide w, vector *v, loose_vector *u, int n, double *d)
{
	(void)slave, (void)p, (void)w, (void)v, (void)u, (void)n, (void)d;
	$*
}
END
}

# refuse WORDS STATEMENTS: these do not compile, and the message has WORDS, an extended regular expression.
refuse() {
	if message=$(program "$2" | $CC $options -I"$here/../../core" -x c - 2>&1); then
		echo "must_not_compile.sh: $CC accepts $2" >&2
	elif ! echo "$message" | grep -Eq "error: .*($1)"; then
		echo "must_not_compile.sh: $CC on $2 does not say \"$1\" but" "$message" >&2
	else
		refused=$((refused + 1))
		return
	fi
	failed=$((failed + 1))
}

# What is right is accepted: the others are not refused for a fault of program().
if ! program 'd[0] = far_invoke(slave, take, d[1], n);
	p = far_wait(far_schedule(slave, move, p, 3));
	far_invoke(slave, variadic, "%d", 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);' |
	$CC $options -I"$here/../../core" -x c -
then
	echo "must_not_compile.sh: $CC refuses what is right" >&2
	exit 1
fi

refuse 'too many arguments' 'far_invoke(slave, take, 1, 2, 3);'
refuse 'too many arguments' 'far_invoke(slave, nothing, 1);'
refuse 'too many arguments' 'far_schedule(slave, take, 1, 2, 3);'
refuse 'too many arguments' 'far_thread(take, 1, 2, 3);'
refuse 'too few arguments' 'far_invoke(slave, take, 1);'
refuse 'too few arguments' 'far_invoke(slave, take);'
refuse 'too few arguments' 'far_schedule(slave, move);'
refuse 'too few arguments' 'far_invoke(slave, variadic);'
refuse 'incompatible type' 'far_invoke(slave, take, d, 2);'
refuse 'incompatible type' 'far_invoke(slave, take, p, 2);'
refuse 'incompatible type' 'far_invoke(slave, take, 1, p);'
refuse 'incompatible type' 'far_invoke(slave, move, 1, 2);'
refuse 'incompatible type' 'far_schedule(slave, move, d, 2);'
refuse 'incompatible pointer type' 'far_invoke(slave, pointers, d, "text");'
refuse 'pointer from integer|integer to pointer' 'far_invoke(slave, pointers, n, "text");'
refuse 'discards' 'const int *c = 0; far_invoke(slave, pointers, c, "text");'
refuse 'at most 16 arguments' 'far_invoke(slave, seventeen, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17);'
refuse 'at most 16 arguments' 'far_invoke(slave, variadic, "", 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20);'
refuse 'at most 16 arguments' 'far_schedule(slave, variadic, "", 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17);'
refuse 'argument 1 is aligned to more than 16 bytes.*pass a pointer' 'far_invoke(slave, wide, w);'
refuse 'argument 2 is aligned to more than 16 bytes.*pass a pointer' 'far_invoke(slave, vectors, v, *v);'
refuse 'argument 1 is aligned to more than 16 bytes.*pass a pointer' 'far_schedule(slave, loose, *u);'
refuse 'argument 2 is aligned to more than 16 bytes.*pass a pointer' 'far_invoke(slave, variadic, "", w);'
refuse 'the result is aligned to more than 16 bytes.*return a pointer' 'w = far_invoke(slave, give_wide);'
refuse 'the result is aligned to more than 16 bytes.*return a pointer' '*u = far_invoke(slave, give_vector);'
refuse 'incompatible' 'far_task(double) t = far_schedule(slave, take, 1, 2); int *q = far_wait(t); (void)q;'
refuse 'incompatible' 'far_task(int) t = far_schedule(slave, take, 1, 2); (void)t;'
refuse 'incompatible' 'far_task(double) t = far_thread(move, p, 1); (void)t;'
refuse 'incompatible' 'p = far_invoke(slave, take, 1, 2);'
refuse 'incompatible' 'double x = far_invoke(slave, move, p, 1); (void)x;'
refuse 'void value|incompatible type .*void' 'n = far_invoke(slave, nothing);'
refuse 'void value|incompatible type .*void' 'far_task(void) t = far_schedule(slave, nothing); n = far_wait(t);'
refuse 'not a function' 'far_wait(n);'
refuse 'not a function' 'far_wait(NULL);'
refuse 'not a function' 'far_forget(n);'
refuse 'not a function' 'far_done(d);'
refuse 'not a function' 'far_wait_for(slave, 1);'
refuse 'not a function|pointer' 'far_invoke(slave, n, 1);'
refuse 'incompatible pointer type' 'far_invoke(d, take, 1, 2);'
refuse 'far__c' 'strlen(far_str("text"));'
refuse 'nmae' 'far_slave_process(.nmae = "worker");'
refuse 'undeclared|implicit' 'far_invoke(slave, no_such_function, 1);'

echo "must_not_compile: $refused refused, $failed failed"
[ $failed -eq 0 ]
