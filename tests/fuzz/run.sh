#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# tests/fuzz/run.sh DIRECTORY SECONDS FUZZER...: run each of the fuzzers in
# DIRECTORY for SECONDS, and print the results.  New inputs are kept in
# DIRECTORY/corpus/FUZZER for the next run, an input that fails in
# DIRECTORY/finding-*, and the output in DIRECTORY/log/FUZZER.

set -u
dir=$1
seconds=$2
shift 2
here=$(dirname "$0")
findings=0
table=$(printf '%-21s %12s %12s %10s %10s  %s' \
               fuzzer executions 'per second' inputs 'peak MiB' finding)

# stat_of FUZZER NAME: print one of libFuzzer's final statistics.
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
    # These limits must hold for any untrusted image.
    if ! "$dir/tests/fuzz/$f" -max_total_time="$seconds" \
         -rss_limit_mb=256 -timeout=5 -dict="$dictionary" \
         -artifact_prefix="$dir/finding-${f//\//-}-" -print_final_stats=1 -verbosity=1 \
         "$corpus" "$dir/seeds/$f" > "$dir/log/$f" 2>&1
    then
        findings=$((findings + 1))
        finding=$(sed -n 's/.*Test unit written to //p' "$dir/log/$f")
        # From the first report on.
        sed -n '/^==[0-9]*==\|runtime error\|: failed: /,$p' "$dir/log/$f" >&2
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
