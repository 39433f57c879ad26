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

done_testing
