#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# tests/fuzz/run.sh DIRECTORY SECONDS FUZZER...: run each of the fuzzers that
# were built in DIRECTORY for so long, and say what came of it.  What one
# finds new stays in DIRECTORY/corpus/FUZZER, and is where its next run
# begins; an input that breaks it is kept as DIRECTORY/finding-*, and all that
# it said in DIRECTORY/log/FUZZER.

set -u
dir=$1
seconds=$2
shift 2
here=$(dirname "$0")
findings=0
table=$(printf '%-21s %12s %12s %10s %10s  %s' \
               fuzzer executions 'per second' inputs 'peak MiB' finding)

# stat_of FUZZER NAME: one of the figures that libFuzzer prints at its end.
stat_of ()
{
    sed -n "s/^stat::$2: *//p" "$dir/log/$1"
}

for f in "$@"; do
    dictionary=$here/$f.dictionary
    [ -e "$dictionary" ] || dictionary=$here/dictionary
    corpus=$dir/corpus/$f
    mkdir -p "$corpus" "$dir/log/${f%/*}"
    echo "$f: $seconds seconds"
    finding=-
    # Those are the limits that an image from a stranger must keep to.
    if ! "$dir/tests/fuzz/$f" -max_total_time="$seconds" \
         -rss_limit_mb=256 -timeout=5 -dict="$dictionary" \
         -artifact_prefix="$dir/finding-${f//\//-}-" -print_final_stats=1 -verbosity=1 \
         "$corpus" "$dir/seeds/$f" > "$dir/log/$f" 2>&1
    then
        findings=$((findings + 1))
        finding=$(sed -n 's/.*Test unit written to //p' "$dir/$f.log")
        # From the first report on.
        sed -n '/^==[0-9]*==\|runtime error\|: not so: /,$p' "$dir/log/$f" >&2
        : "${finding:=see $dir/log/$f}"
    fi
    table+=$(printf '\n%-21s %12s %12s %10s %10s  %s' "$f" \
                    "$(stat_of "$f" number_of_executed_units)" \
                    "$(stat_of "$f" average_exec_per_sec)" \
                    "$(find "$corpus" -type f | wc -l)" \
                    "$(stat_of "$f" peak_rss_mb)" "$finding")
done
echo
echo "$table"
[ "$findings" -eq 0 ]
