#!/bin/sh
# warnings.sh CC [option...]: calls as programs write them give no warning, whatever CC may be asked for.
here=$(dirname "$0")
CC=${1:?usage: warnings.sh CC [option...]}
shift
warnings="-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wcast-qual -Wcast-align -Wundef
	-Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition -Wwrite-strings -Wformat=2 -Wnull-dereference
	-Wredundant-decls -Wunused -Wfloat-conversion -Wbad-function-cast -Wvla -Wdeclaration-after-statement"
failed=0
compiled=0
object=$(mktemp) || exit 1
trap 'rm -f "$object"' EXIT

for standard in c17 gnu17; do
	for level in 0 1 2 3 s; do
		if "$CC" -std=$standard -O$level $warnings -Werror "$@" -I"$here/../../core" -c -o "$object" "$here/warnings.c"; then
			compiled=$((compiled + 1))
		else
			echo "warnings.sh: $CC -std=$standard -O$level complains" >&2
			failed=$((failed + 1))
		fi
	done
done
echo "warnings: $compiled compiled without, $failed failed"
[ $failed -eq 0 ]
