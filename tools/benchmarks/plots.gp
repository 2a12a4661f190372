# The plots of the benchmark beside other systems, for tools/bench --record. bench_field wrote the columns: a block for
# each system, headed by its name, with a line for each figure: system, number of the figure, its name, median, p99.
#   gnuplot -e "columns='FOLDER'" plots.gp
set terminal svg noenhanced size 900,540 font "sans,13" background "white"
set datafile separator "\t"
set style fill solid 0.85 noborder
set grid
set macros

is_farcall(name) = strstrt(name, "farcall") > 0

# Bars: the first figure, a bar for each system, longer bars below.
bars = 'using ($2 == 0 ? $4 : NaN):(column(-2)):(lowest):4:(column(-2) - 0.4):(column(-2) + 0.4):(is_farcall(strcol(1)) ? 0xd7191c : 0x5e81ac):ytic(1) with boxxyerror linecolor rgb variable'

set logscale x
set yrange [] reverse
set ytics nomirror
set lmargin 26
unset key
set xlabel "nanoseconds"

lowest = 1
set output "invoke.svg"
set title "Round trip of a call, one after the other"
plot columns."/invoke.tsv" @bars

lowest = 10000
set output "paced.svg"
set title "Round trip of a call, at 1 kHz"
plot columns."/paced.tsv" @bars

set output "start.svg"
set title "Starting a worker, up to its first answer"
plot columns."/start.tsv" @bars

# Lines: all figures, a line for each system.
set yrange [*:*] noreverse
unset logscale x
set logscale y
set lmargin -1
set key outside right
set xlabel ""

set output "schedule.svg"
set title "Calls a second, all answers fetched but the forgotten ones'"
set ylabel "calls a second"
stats columns."/schedule.tsv" using 4 nooutput
plot for [i = 0:STATS_blocks - 2] columns."/schedule.tsv" index i using 2:(1e9 / $4):xtic(3) with linespoints \
	linewidth 2 title columnhead(1)

set output "pass.svg"
set title "Round trip of a buffer"
set ylabel "nanoseconds"
stats columns."/pass.tsv" using 4 nooutput
plot for [i = 0:STATS_blocks - 2] columns."/pass.tsv" index i using 2:4:xtic(3) with linespoints \
	linewidth 2 title columnhead(1)
