#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# tests/fuzz/coverage.sh DIRECTORY CORPORA FUZZER...: run the fuzzers in
# DIRECTORY, which were built with coverage, each over its seeds and corpus in
# CORPORA; print the line coverage of each file of qcow/.

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
# Show the columns of lines and functions only.
llvm-cov report -show-region-summary=0 -show-branch-summary=0 \
         -instr-profile="$dir/profile" "${objects[@]}" qcow
