#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# tests/fuzz/coverage.sh DIRECTORY CORPORA FUZZER...: run the fuzzers that
# were built in DIRECTORY to count lines, each over its seeds and what it has
# found so far in CORPORA; print how many lines of each file of qcow/ that
# reached.

set -e -u
dir=$1
corpora=$2
shift 2
objects=()
profiles=()
for f in "$@"; do
    mkdir -p "$dir/log/${f%/*}"
    inputs=("$corpora/seeds/$f")
    [ ! -d "$corpora/corpus/$f" ] || inputs+=("$corpora/corpus/$f")
    echo "$f"
    LLVM_PROFILE_FILE="$dir/log/$f.profraw" \
        "$dir/tests/fuzz/$f" -runs=0 "${inputs[@]}" > "$dir/log/$f" 2>&1 ||
        { cat "$dir/log/$f" >&2; exit 1; }
    profiles+=("$dir/log/$f.profraw")
    objects+=(${objects:+-object} "$dir/tests/fuzz/$f")
done
llvm-profdata merge -o "$dir/profile" "${profiles[@]}"
echo
# Of the columns, those of lines and functions are of interest.
llvm-cov report -show-region-summary=0 -show-branch-summary=0 \
         -instr-profile="$dir/profile" "${objects[@]}" qcow
