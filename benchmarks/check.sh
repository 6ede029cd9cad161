#!/usr/bin/env bash
# Counts the instructions of a call that is answered from memory and compares them with
# instructions.txt: unlike nanoseconds, they do not drift. It fails when a hit has grown by
# more than 5 %. Where there is no valgrind, or no count of this architecture to compare
# with, it says so and exits with 77.
#
#   benchmarks/check.sh           compare
#   benchmarks/check.sh -print    print the count alone
#   benchmarks/check.sh -write    write instructions.txt
set -euo pipefail
export LC_ALL=C
cd "$(dirname "${BASH_SOURCE[0]}")"

readonly calls=10000 most=5 # percent
readonly mode=${1:--compare}

skip() {
  echo "SKIPPED: the instructions of a hit were not counted: $*" >&2
  exit 77
}

[[ $mode =~ ^-(compare|print|write)$ ]] || { echo "usage: check.sh [-print | -write]" >&2; exit 2; }
for program in valgrind callgrind_annotate; do
  type -P "$program" >/dev/null || skip "$program is not installed"
done
architecture=$(go env GOARCH)
# Neither what the environment asks of the compiler nor what this CPU can do changes the code that runs.
export GOAMD64=v1 GOARM64=v8.0 GOFLAGS='' GOEXPERIMENT='' CGO_ENABLED=0
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
go build -o "$folder/hits" ./instructions
# An old valgrind can't run what a new compiler makes, and a container may not let it run at all.
valgrind --tool=none "$folder/hits" -n 0 >"$folder/log" 2>&1 || { cat "$folder/log" >&2; skip "valgrind can't run the program (see above)"; }

# count sets total and sha256 to the instructions of a run with $1 calls and to those of them
# that are SHA-256's blocks. The collector is off, goroutines are not preempted, and there
# is one thread for them: what is left varies by about 0.2 %.
count() {
  GOGC=off GOMAXPROCS=1 GODEBUG=cpu.all=off,asyncpreemptoff=1 valgrind --tool=callgrind --callgrind-out-file="$folder/profile" \
    "$folder/hits" -n "$1" >"$folder/log" 2>&1 || { cat "$folder/log" >&2; return 1; }
  callgrind_annotate --auto=no --threshold=100 "$folder/profile" >"$folder/functions" 2>"$folder/log" || { cat "$folder/log" >&2; return 1; }
  total=$(awk '/PROGRAM TOTALS/ {gsub(",", "", $1); print $1; exit}' "$folder/functions")
  sha256=$(awk '/sha256\.block/ {gsub(",", "", $1); sum += $1} END {printf "%d", sum}' "$folder/functions")
  ((total > 0 && sha256 > 0)) || { echo "callgrind names no functions" >&2; return 1; }
}

count "$calls"
few=$((total - sha256)) few_sha256=$sha256
count $((2 * calls))
hit=$(((total - sha256 - few) / calls))
digest=$(((sha256 - few_sha256) / calls))

case $mode in
-print)
  echo "$hit, and $digest of SHA-256"
  exit
  ;;
-write)
  cat >instructions.txt <<END
# Instructions of a hit by bearer beyond those of SHA-256, as "check.sh -write" counted them.
hit $hit
sha256 $digest
go $(go env GOVERSION)
arch $architecture
END
  cat instructions.txt
  exit
  ;;
esac
field() { awk -v name="$1" '$1 == name {print $2}' instructions.txt; }
[[ $(field arch) == "$architecture" ]] || skip "the committed count is of $(field arch), this is $architecture"
committed=$(field hit)
echo "a hit: $hit instructions; committed: $committed ($(awk -v a="$hit" -v b="$committed" 'BEGIN {printf "%+.1f", 100 * (a / b - 1)}') %)"
if [[ $(field go) != "$(go env GOVERSION)" ]]; then
  echo "the committed count was made with $(field go), this one with $(go env GOVERSION): that alone may make a difference"
fi
if ((hit * 100 > committed * (100 + most))); then
  echo "that is more than $most % over benchmarks/instructions.txt: find out why, or commit the new count (benchmarks/check.sh -write)"
  exit 1
fi
if ((hit * 100 < committed * (100 - most))); then
  echo "that is a good deal less: commit the new count, so that it stays so (benchmarks/check.sh -write)"
fi
