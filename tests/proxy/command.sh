#!/bin/bash
# The command farcall, as a person uses it.
#
#	command.sh FARCALL SHAPES BARE PROGRAM	the command; a library with and one without debug information;
#						a program with it
set -u
farcall=$1 shapes=$2 bare=$3 program=$4
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
failed=0

# Run farcall: its output shall be TEXT, or hold it between two stars, its status STATUS.
check() { # STATUS TEXT ARGUMENT...
	local status=$1 text=$2 output is
	shift 2
	output=$(timeout 20 "$farcall" "$@" 2>&1 </dev/null)
	is=$?
	# shellcheck disable=SC2053 # it is a pattern
	if [ $is != "$status" ] || [[ $output != $text ]]; then
		echo "farcall $*: status $is, not $status; or its output is not '$text':"
		printf '%s\n' "$output"
		failed=1
	fi
}

# Numbers, strings, files, structs.
check 0 1024 call libm.so.6 'double pow(double, double)' 2 10
check 0 0.1 call libm.so.6 'float fabsf(float)' -0.1
check 0 -5 call "$shapes" one_int -5
check 0 18446744073709551615 call "$shapes" one_ulong 0xffffffffffffffff
check 0 true call "$shapes" one_bool true
check 0 97 call "$shapes" one_uchar a
check 0 '1.5 + -2i' call "$shapes" one_cdouble 1.5-2i
check 0 '{.a = {.a = 1, .b = 2.5}, .b = {.a = 3, .b = 4.5}}' call "$shapes" one_s24 '{{1, 2.5},{3 , 4.5}}'
check 0 '{.a = {1, 2, 3}}' call "$shapes" one_s3 '{{1, 2, 3}}'
check 0 '"a \\"quoted\\"\\n"' call "$shapes" make_text $'a "quoted"\n'
check 0 NULL call "$shapes" one_pointer NULL
check 0 '7 x 1.5 8' call libc.so.6 'int printf(const char *, ...)' '%d %s %g ' 7 x 1.5
seq 1000 >"$folder/file"
crc=$(gzip -c "$folder/file" | tail -c 8 | od -An -tu4 -N4 | tr -d ' ')
crc32='unsigned long crc32(unsigned long, const unsigned char *, unsigned)'
check 0 "$crc" call libz.so.1 "$crc32" 0 "@$folder/file" '#'
[ "$("$farcall" call libz.so.1 "$crc32" 0 - '#' <"$folder/file")" = "$crc" ] || {
	echo "standard input has another crc32"
	failed=1
}

# What goes wrong there.
check 1 '*crashed: SIGSEGV, *0*' call "$shapes" crash NULL
check 1 '*exited with status 3*' call libc.so.6 'void exit(int)' 3
check 1 '*no result before the deadline*' --deadline=0.1 call libc.so.6 'int pause(void)'
check 1 '*no result before the deadline*' call -d 0.1 libc.so.6 'int pause(void)'
check 0 NULL call -m 16m libc.so.6 'void *malloc(size_t)' 1000000000

# What cannot be called.
check 2 '*2 arguments, not 1*' call libm.so.6 'double pow(double, double)' 2
check 2 '*300 is no value of signed char*' call "$shapes" one_schar 300
check 2 '*-1 is no value of*' call "$shapes" one_ulong -1
check 2 '*too large*' call "$shapes" one_ulong 99999999999999999999
check 2 '*too large*' call "$shapes" one_double 1e5000
check 0 inf call "$shapes" one_double inf
check 2 '*no number*' call "$shapes" one_double 1x
check 2 '*at most 16 arguments*' call libc.so.6 'int printf(const char *, ...)' {a..q}
check 2 '*fewer values*' call "$shapes" one_s16i '{1}'
check 2 '*more values*' call "$shapes" one_s16i '{1, 2, 3}'
check 2 '*dubl*at character 19 *"dubl)"*' call "$shapes" 'double one_double(dubl)' 1
check 2 '*no function nothing*' call "$shapes" 'int nothing(int)' 1
check 2 '*debug information*' call "$bare" one_int 1
check 2 '*libnone.so*' call libnone.so 'int x(void)'
check 2 '*nofile*' call libz.so.1 "$crc32" 0 "@$folder/nofile" 5
check 2 '*no number of seconds*' -d x call libm.so.6 'double sqrt(double)' 4
check 2 '*no size*' -m 10x call libm.so.6 'double sqrt(double)' 4
check 2 '*which command*'
check 2 '*no such command*' dance
check 2 '*needs*' call libm.so.6
check 0 'usage: *' --help
check 0 'farcall [0-9]*' --version

# What is known of a library.
check 0 '*struct s24 one_s24(struct s24 a);*' inspect "$shapes"
check 0 'struct s24 one_s24(struct s24 a);' inspect "$shapes" one_s24
check 0 'struct s24 {*struct s16m b;*at 8*};' inspect "$shapes" 'struct s24'
check 0 'enum colour;' inspect "$shapes" 'enum colour'
check 0 '*names only*one_s24*' inspect "$bare"
"$farcall" inspect "$shapes" >/dev/full 2>"$folder/why"
grep -q 'cannot be written' "$folder/why" || {
	echo "that the output cannot be written is not told"
	failed=1
}
check 1 '*nothing*' inspect "$shapes" nothing

# Types kept beside a stripped library.
cp "$shapes" "$folder/whole.so"
strip -o "$folder/stripped.so" "$shapes"
check 2 '*debug information*' call "$folder/stripped.so" one_int 7
check 0 '' types "$folder/whole.so" "$folder/stripped.so.types"
check 0 7 call "$folder/stripped.so" one_int 7
check 0 '{.a = 1, .b = 2.5}' call "$folder/stripped.so" one_s8m '{1, 2.5}'

# Types of a program, and of what has none.
check 0 '' types "$program" "$folder/program.types"
check 0 '*int main(*' inspect "$folder/program.types"
check 1 '*no debug information*' types "$bare" "$folder/bare.types"
[ ! -e "$folder/bare.types" ] || {
	echo "types of a library without debug information have been kept"
	failed=1
}

exit $failed
