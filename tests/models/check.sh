#!/usr/bin/env bash
# Check the models in this folder with spin, each in all its states: a protocol as it is must
# hold, and without one of its parts it must fail, or the model would prove nothing.
#
#   tests/models/check.sh                   all variants, a line for each
#   tests/models/check.sh VARIANT...        only these
#   tests/models/check.sh --trace VARIANT   how it fails, in as few steps as possible
#   tests/models/check.sh --list            what the variants are
set -u
export LC_ALL=C
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

# NAME MODEL MUST OPTIONS: these are explained in the model.
variants=(
	"one-sleeper          park  hold  -DROUNDS=4"
	"bare-at-first        park  hold  -DBARE_AT_FIRST -DROUNDS=4"
	"two-sleepers         park  hold  -DSLEEPERS=2 -DROUNDS=3"
	"three-sleepers       park  hold  -DBARE_AT_FIRST -DSLEEPERS=3 -DROUNDS=1"
	"two-wakers           park  hold  -DWAKERS=2"
	"two-of-each          park  hold  -DBARE_AT_FIRST -DWAKERS=2 -DSLEEPERS=2 -DROUNDS=1"
	"always-fence         park  hold  -DALWAYS_FENCE -DWAKERS=2 -DSLEEPERS=2 -DROUNDS=1"
	"no-membarrier        park  fail  -DBARE_AT_FIRST -DNO_MEMBARRIER"
	"not-bare-is-enough   park  fail  -DBARE_AT_FIRST -DNOT_BARE_IS_ENOUGH -DSLEEPERS=2"
	"settled-at-once      park  fail  -DBARE_AT_FIRST -DSETTLED_AT_ONCE"
	"settled-anyhow       park  fail  -DBARE_AT_FIRST -DSETTLED_ANYHOW -DSLEEPERS=2"
	"no-fence             park  fail  -DBARE_AT_FIRST -DNO_FENCE"
	"no-fence-overtaken   park  fail  -DBARE_AT_FIRST -DNO_FENCE_OVERTAKEN -DWAKERS=2"
	"swapped              park  fail  -DBARE_AT_FIRST -DSWAPPED"
	"wake-up-uncounted    park  fail  -DBARE_AT_FIRST -DWAKE_UP_UNCOUNTED -DSLEEPERS=2"
	"vain-uncounted       park  fail  -DBARE_AT_FIRST -DVAIN_UNCOUNTED -DSLEEPERS=2"
	"kill                 doom  hold"
	"no-barrier           doom  fail  -DNO_BARRIER"
	"no-second-look       doom  fail  -DNO_SECOND_LOOK"
	"left-doomed          doom  fail  -DLEFT_DOOMED"
	"looks-first          doom  fail  -DLOOKS_FIRST"
)

find_variant() { # NAME
	local line
	for line in "${variants[@]}"; do
		if [ "${line%% *}" = "$1" ]; then
			read -r name model must options <<<"$line"
			return
		fi
	done
	echo "check.sh: there is no variant '$1': see check.sh --list" >&2
	exit 2
}

# Visit the states, with pan compiled as told; pan.log says what it found.
explore() { # OPTION...
	rm -f pan.log
	# shellcheck disable=SC2086 # options are words
	spin -a $options $model.pml && gcc -w -DSAFETY -DMEMLIM=2048 "$@" -o pan pan.c && ./pan >pan.log 2>&1
}

explore_all() {
	explore -O1
}

# Breadth first: what is found is as short as can be.
explore_for_error() {
	explore -O0 -DBFS
}

# All states were visited, none is bad, and no statement was left out.
holds() {
	grep -q 'errors: 0$' pan.log && ! grep -qE 'not completed|too small' pan.log &&
		[ "$(grep -A 1 -E '^unreached in proctype (waker|sleeper|slave|zygote)$' pan.log | grep -c '(0 of ')" = 2 ]
}

fails() {
	grep -qE '^pan:1: (invalid end state|assertion violated)' pan.log
}

# The steps, each with what it changes.
trace() {
	explore_for_error || return
	if ! fails; then
		echo "$name: no error is found"
		return 1
	fi
	# shellcheck disable=SC2086
	spin -k $model.pml.trail -p -g $options $model.pml |
		awk '/proc / { if (!/\[(else|IF|DO|break|\(1\)|\.\(goto\)|goto .*)\]$/) print; next }
			{ name = $0; sub(/( =|:).*/, "", name); if (value[name] != $0) print; value[name] = $0 }'
}

check() {
	local result=
	if [ "$must" = hold ]; then
		explore_all && holds && result=holds
	else
		explore_for_error && fails && result="fails, as it must"
	fi
	if [ -z "$result" ]; then
		printf '%-20s FAILED: it must %s\n' "$name" "$must"
		cat pan.log
		if [ "$must" = hold ] && fails; then
			trace
		fi
		return 1
	fi
	printf '%-20s ok: %s (%d states, %s s)\n' "$name" "$result" \
		"$(sed -n 's/^ *\([0-9]*\) states, stored.*/\1/p' pan.log)" \
		"$(sed -n 's/^pan: elapsed time \([0-9.e+-]*\) .*/\1/p' pan.log)"
}

if [ "${1:-}" = --list ]; then
	printf '%s\n' "${variants[@]}"
	exit 0
fi
show=check
if [ "${1:-}" = --trace ]; then
	show=trace
	shift
fi
if [ $# = 0 ]; then
	set -- "${variants[@]%% *}"
fi

temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT
cp "$here"/*.pml "$temporary/" && cd "$temporary" || exit 1

status=0
for wanted; do
	find_variant "$wanted"
	if [ "$show" = trace ]; then
		trace
	else
		check
	fi || status=1
done
exit $status
