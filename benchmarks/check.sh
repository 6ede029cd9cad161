#!/usr/bin/env bash
# Counts the instructions of a call that is answered from memory and compares them with
# instructions.txt: unlike nanoseconds, they do not drift. It fails when a hit has grown by
# more than 5 %, and exits with 77 where there is no valgrind.
#
#   benchmarks/check.sh           compare
#   benchmarks/check.sh -print    print the count alone
#   benchmarks/check.sh -write    write instructions.txt
set -euo pipefail
export LC_ALL=C
cd "$(dirname "${BASH_SOURCE[0]}")"

readonly calls=10000 most=5 # percent
readonly mode=${1:--compare}

if ! type -P valgrind >/dev/null; then
  echo "SKIPPED: instructions are counted with valgrind, which is not installed" >&2
  exit 77
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
go build -o "$folder/hits" ./instructions

# count prints the instructions of a run with $1 calls. The collector is off and the
# scheduler has one thread to think about: what is left varies by about 0.1 %.
count() {
  GOGC=off GOMAXPROCS=1 GODEBUG=asyncpreemptoff=1 valgrind --tool=callgrind --callgrind-out-file=/dev/null \
    "$folder/hits" -n "$1" 2>"$folder/log" || { cat "$folder/log" >&2; return 1; }
  awk '/Collected *:/ {print $NF}' "$folder/log"
}

few=$(count "$calls")
many=$(count $((2 * calls)))
hit=$(((many - few) / calls))
if [[ $mode == -print ]]; then
  echo "$hit"
  exit
fi
if [[ $mode == -write ]]; then
  printf '# Instructions of a hit by bearer, as check.sh -write counted them with %s.\n%d\n' "$(go env GOVERSION)" "$hit" >instructions.txt
  cat instructions.txt
  exit
fi
committed=$(grep -v '^#' instructions.txt)
echo "a hit: $hit instructions; committed: $committed ($(awk -v a="$hit" -v b="$committed" 'BEGIN {printf "%+.1f", 100 * (a / b - 1)}') %)"
if ((hit * 100 > committed * (100 + most))); then
  echo "that is more than $most % over benchmarks/instructions.txt: find out why, or commit the new count (benchmarks/check.sh -write)"
  exit 1
fi
if ((hit * 100 < committed * (100 - most))); then
  echo "that is a good deal less: commit the new count, so that it stays so (benchmarks/check.sh -write)"
fi
