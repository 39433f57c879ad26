#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# The Makefile as packagers use it: flags from the environment, -Werror only on
# request, no apt with INSTALL=no, an error message for an old nbdkit.
# This test compiles nothing; tests/package-build.sh does.

source "$(dirname "$0")/functions.sh"

# plan TARGET [VARIABLE=VALUE...]: print the commands of a build from scratch.
unset MAKEFLAGS MAKEOVERRIDES MFLAGS CC CFLAGS CPPFLAGS LDFLAGS
plan ()
{
    make -n -C "$top" BUILD="$tmp/build" "$@" 2>&1 |
        sed -e ':a' -e '/\\$/N; s/\\\n */ /; ta'
}
so=$tmp/build/nbdkit-qcow-plugin.so
object='-c -o [^ ]*/entry\.o'

plan=$(plan "$so")
like "hardened by default" "$plan" \
     "-D_FORTIFY_SOURCE=2 .*-fstack-protector-strong .*$object"
like "... also when linking" "$plan" '-shared .*-z,relro .*-z,now'
unlike "warnings are not errors by default" "$plan" 'Werror'

export CC=other-cc CFLAGS='-O1 -DFROM_CFLAGS' CPPFLAGS=-DFROM_CPPFLAGS \
       LDFLAGS=-Wl,-FROM-LDFLAGS
plan=$(plan "$so")
unset CC CFLAGS CPPFLAGS LDFLAGS
like "CC, CPPFLAGS and CFLAGS from the environment, and ours" "$plan" \
     "^other-cc .*-DFROM_CPPFLAGS .*-DFROM_CFLAGS .*-fvisibility=hidden .*$object"
like "LDFLAGS from the environment, and ours" "$plan" \
     '^other-cc -shared .*-Wl,-FROM-LDFLAGS .*-pthread'
unlike "... replace the default flags" "$plan" 'FORTIFY|relro'
like "CFLAGS as an argument of make" \
     "$(plan "$so" CFLAGS=-DFROM_ARGUMENT)" \
     "-DFROM_ARGUMENT .*-fvisibility=hidden .*$object"
like "WERROR=yes adds -Werror" "$(plan "$so" WERROR=yes)" "-Werror .*$object"

for target in check try deps soak bench; do
    like "$target installs missing packages" "$(plan $target)" \
         'install-packages\.sh'
    unlike "... but not with INSTALL=no" "$(plan $target INSTALL=no)" \
           'install-packages|apt|sudo'
done

# Libraries in a place of their own.
cat > pkg-config-elsewhere <<'END'
#!/bin/sh
case "$*" in
    --cflags*) shift; for m; do printf -- '-I/opt/%s/include ' "$m"; done ;;
    --libs*) shift; for m; do printf -- '-L/opt/%s/lib ' "$m"; done ;;
    *) exec pkg-config "$@" ;;
esac
END
chmod +x pkg-config-elsewhere
plan=$(plan unit "$so" PKG_CONFIG="$tmp/pkg-config-elsewhere")
for module in nbdkit libdeflate zlib libzstd libgcrypt libcurl libnbd; do
    like "the headers of $module are where pkg-config says" "$plan" \
         "-I/opt/$module/include .*$object"
done
like "... and those of cmocka, for the unit tests" "$plan" \
     '-I/opt/cmocka/include .*-c -o [^ ]*/unit/base/utf8\.o'
like "... and its library" "$plan" '-o [^ ]*/unit/base/utf8 .*-L/opt/cmocka/lib'

# pkg-config on a system with an old nbdkit.
cat > old-pkg-config <<'END'
#!/bin/sh
case "$*" in
    '--modversion nbdkit') echo 1.30.9 ;;
    '--atleast-version='*' nbdkit') exit 1 ;;
    *) exec pkg-config "$@" ;;
esac
END
chmod +x old-pkg-config
out=$(make -C "$top" BUILD="$tmp/build" PKG_CONFIG="$tmp/old-pkg-config" \
           "$tmp/build/.libraries" 2>&1)
is "an old nbdkit stops the build" $? 2
like "... with its version and the required one" "$out" \
     'nbdkit is too old: 1\.30\.9, but 1\.32 is needed'
ok "the installed nbdkit is accepted" \
   make -C "$top" BUILD="$tmp/build" "$tmp/build/.libraries"

# Each library that is loaded with dlopen has a note with its soname, also in a
# file without symbols and unused sections.
# notes FILE: print the JSON texts of the notes.
notes ()
{
    py - "$1" <<'END'
import json, struct, subprocess, sys
subprocess.run(["objcopy", "-O", "binary", "--only-section=.note.dlopen",
                sys.argv[1], "section"], check=True)
section = open("section", "rb").read()
while section:
    name, size, kind = struct.unpack("=3I", section[:12])
    assert (name, kind, section[12:16]) == (4, 0x407c0c0a, b"FDO\0")
    for entry in json.loads(section[16:16 + size].rstrip(b"\0")):
        print(entry["feature"], entry["priority"], *entry["soname"])
    section = section[16 + (size + 3) // 4 * 4:]
END
}
wanted=$'nbd suggested libnbd.so.0\nurl recommended libcurl.so.4'
is "the libraries that are loaded are in notes" "$(notes "$plugin" | sort)" \
   "$wanted"
like "... in a segment" "$(readelf -lW "$plugin")" 'NOTE' '\.note\.dlopen'
strip -o stripped.so "$plugin"
is "... also after strip" "$(notes stripped.so | sort)" "$wanted"
loaded=$(cat "$top"/qcow/*/*.c | grep -c 'library_open (SONAME')
is "... all of them" "$loaded" "$(wc -l <<< "$wanted")"
for compiler in gcc 'gcc -flto' clang; do
    if ! command -v "${compiler%% *}" > /dev/null; then
        skip "the notes with $compiler" "no $compiler here"
        continue
    fi
    # The linker removes the functions of these files if nothing calls them.
    ok "$compiler" sh -c "$compiler"' -O2 -shared -fPIC -ffunction-sections \
        -fdata-sections -Wl,--gc-sections -D_GNU_SOURCE -I"$0/qcow" \
        $(pkg-config --cflags libcurl libnbd) -o small.so \
        "$0"/qcow/base/libcurl.c "$0"/qcow/nbd/libnbd.c' "$top"
    is "... keeps the notes with --gc-sections" "$(notes small.so | sort)" \
       "$wanted"
done

done_testing
