# SPDX-License-Identifier: BSD-3-Clause
#
# make            ./nbdkit-qcow-plugin.so and its man page
# make try        install what is missing, build, copy an image and compare
# make check      install what is missing, build, run all tests
# make soak       200 clients of all kinds at once, for SECONDS=60;
#                 SEED=N selects other requests
# make check-valgrind
#                 run most tests and unit programs under valgrind
# make fuzz       run each fuzzer for FUZZ_SECONDS=60
# make fuzz-coverage
#                 report which lines of qcow/ the fuzzers reach
# make analyze    static analysis: gcc, cppcheck, clang-tidy
# make torture    compare random and damaged images with qemu, for SECONDS=60
#                 with SEED=, or repeat one ROUND= of that seed; JOBS=1
# make bench      compare the speed with other readers
# make growth     plot how time and memory grow
# make install    honours DESTDIR, prefix, plugindir, mandir
# make uninstall
# make clean
#
# CC, CFLAGS, CPPFLAGS and LDFLAGS may be set in the environment or on the
# command line.  WERROR=yes turns warnings into errors.  With INSTALL=no make
# does not run apt, and targets fail if a package is missing.
#
# Use another BUILD directory for a variant, for example with sanitizers:
#   make BUILD=build/asan SANITIZE=address,undefined
# This also makes $(BUILD)/nbdkit-qcow-plugin.so.

VERSION = 0.1.0
OLDEST_NBDKIT = 1.32

ifeq ($(origin CC),default)
CC = gcc
endif
# Hardened by default, because images may be hostile.
CFLAGS ?= -O2 -g -fstack-protector-strong
CPPFLAGS ?= -D_FORTIFY_SOURCE=2
LDFLAGS ?= -Wl,-z,relro -Wl,-z,now
WARNINGS = -Wall -Wextra -Wshadow -Wvla -Wconversion \
           $(if $(filter yes,$(WERROR)),-Werror)
PKG_CONFIG ?= pkg-config
BUILD = build/plain
SANITIZE =
WERROR =
INSTALL =

# Without INSTALL=no: tests/install-packages.sh SET...
INSTALL_PACKAGES = $(if $(filter no,$(INSTALL)),@:,@tests/install-packages.sh)

# NAME:PACKAGE, the library's name in pkg-config and its Debian package.
LIBRARIES = nbdkit:nbdkit-plugin-dev libdeflate:libdeflate-dev \
            zlib:zlib1g-dev libzstd:libzstd-dev libgcrypt:libgcrypt20-dev \
            libcurl:libcurl4-openssl-dev libnbd:libnbd-dev
MODULES = $(foreach l,$(LIBRARIES),$(firstword $(subst :, ,$(l))))

prefix ?= $(shell $(PKG_CONFIG) --variable=prefix nbdkit)
plugindir ?= $(shell $(PKG_CONFIG) --define-variable=prefix=$(prefix) \
                                   --variable=plugindir nbdkit)
mandir ?= $(prefix)/share/man

# Where the headers of the libraries are.  The first use sets the variable to
# the result, so pkg-config runs once.
MODULE_CPPFLAGS = $(eval MODULE_CPPFLAGS := $(shell $(PKG_CONFIG) --cflags $(MODULES)))$(MODULE_CPPFLAGS)
TEST_CPPFLAGS = $(eval TEST_CPPFLAGS := $(shell $(PKG_CONFIG) --cflags cmocka))$(TEST_CPPFLAGS)

# 64-bit file offsets; the plugin exports only plugin_init and the debug flags.
ALL_CPPFLAGS = $(CPPFLAGS) -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -I. -Iqcow \
               -DVERSION='"$(VERSION)"' $(MODULE_CPPFLAGS)
ALL_CFLAGS = $(CFLAGS) -std=gnu11 -fPIC -fvisibility=hidden -pthread $(WARNINGS) \
             $(if $(SANITIZE),-fsanitize=$(SANITIZE) -fno-sanitize-recover=undefined \
                           -fno-omit-frame-pointer -U_FORTIFY_SOURCE)
ALL_LDFLAGS = $(LDFLAGS) -pthread $(if $(SANITIZE),-fsanitize=$(SANITIZE))
LIBS = $(shell $(PKG_CONFIG) --libs libdeflate zlib libzstd libgcrypt) -ldl

QCOW_SOURCES = $(sort $(wildcard qcow/*.c qcow/*/*.c))
QCOW_OBJECTS = $(QCOW_SOURCES:%.c=$(BUILD)/%.o)
UNIT_TESTS = $(patsubst %.c,$(BUILD)/%,$(sort $(wildcard tests/unit/*.c tests/unit/*/*.c)))
PLUGIN = $(BUILD)/nbdkit-qcow-plugin.so
PLUGIN_SOURCES = qcow-plugin.c plugin-config.c plugin-help.c
PLUGIN_OBJECTS = $(PLUGIN_SOURCES:%.c=$(BUILD)/%.o)

all: nbdkit-qcow-plugin.so nbdkit-qcow-plugin.1

nbdkit-qcow-plugin.so: build/plain/nbdkit-qcow-plugin.so
	cp $< $@.tmp
	mv $@.tmp $@

ifneq ($(BUILD),build/plain)
build/plain/nbdkit-qcow-plugin.so: FORCE
	$(MAKE) BUILD=build/plain SANITIZE= $@
endif

$(PLUGIN): $(PLUGIN_OBJECTS) $(QCOW_OBJECTS) Makefile
	$(CC) -shared $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $(filter %.o,$^) $(LIBS)

# If a library is missing, stop and name its package.
$(BUILD)/.libraries: Makefile
	@$(PKG_CONFIG) --version >/dev/null || \
	  { echo "pkg-config is missing: install the package pkg-config"; exit 1; }
	@ok=yes; for l in $(LIBRARIES); do \
	  $(PKG_CONFIG) --exists $${l%%:*} || \
	  { echo "$${l%%:*} is missing: install the package $${l#*:}" \
	         "('make deps' does it)"; ok=no; }; \
	done; test $$ok = yes
	@$(PKG_CONFIG) --atleast-version=$(OLDEST_NBDKIT) nbdkit || \
	  { echo "nbdkit is too old: $$($(PKG_CONFIG) --modversion nbdkit)," \
	         "but $(OLDEST_NBDKIT) is needed"; exit 1; }
	@mkdir -p $(@D)
	@touch $@

$(BUILD)/%.o: %.c $(BUILD)/.libraries
	@mkdir -p $(@D)
	$(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

$(UNIT_TESTS:%=%.o): ALL_CPPFLAGS += $(TEST_CPPFLAGS)
$(UNIT_TESTS:%=%.o): | $(BUILD)/.cmocka

$(BUILD)/tests/unit/%: $(BUILD)/tests/unit/%.o $(QCOW_OBJECTS)
	$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $^ $(LIBS) $(shell $(PKG_CONFIG) --libs cmocka)

$(BUILD)/tests/bench/inflate: $(BUILD)/tests/bench/inflate.o
	$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $< $(LIBS)

$(BUILD)/tests/bench/delay-server: $(BUILD)/tests/bench/delay-server.o
	$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $<

$(BUILD)/tests/faults: $(BUILD)/tests/faults.o $(QCOW_OBJECTS)
	$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $^ $(LIBS)

$(BUILD)/tests/asan-exit.so: tests/asan-exit.c
	@mkdir -p $(@D)
	$(CC) -shared -fPIC $(WARNINGS) -D_GNU_SOURCE -o $@ $<

$(BUILD)/tests/valgrind-openat2.so: tests/valgrind-openat2.c
	@mkdir -p $(@D)
	$(CC) -shared -fPIC $(WARNINGS) -D_GNU_SOURCE -o $@ $<

# Fuzzers are built by clang in their own directory: see 'make fuzz'.
$(BUILD)/tests/fuzz/%: $(BUILD)/tests/fuzz/%.o $(QCOW_OBJECTS)
	$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -fsanitize=fuzzer -o $@ $^ $(LIBS)

nbdkit-qcow-plugin.1: nbdkit-qcow-plugin.pod Makefile
	pod2man -u -s 1 -c NBDKIT -r nbdkit-qcow-plugin-$(VERSION) \
	  -n nbdkit-qcow-plugin $< $@.tmp
	mv $@.tmp $@

unit: $(BUILD)/.cmocka $(UNIT_TESTS)

$(BUILD)/.cmocka:
	@$(PKG_CONFIG) --exists cmocka || \
	  { echo "cmocka is missing: install the package libcmocka-dev" \
	         "('make deps' does it)"; exit 1; }
	@mkdir -p $(@D)
	@touch $@

check-unit: unit
	prove -j3 --failures --comments --exec '' $(UNIT_TESTS)

# --- Targets for users and developers ---

deps:
	$(INSTALL_PACKAGES) build test

try:
	$(INSTALL_PACKAGES) build try
	@$(MAKE) --no-print-directory all
	@tests/try.sh

# They wait most of the time.  If they began last, a processor would be idle.
WAITING_TESTS = tests/web-faults.t tests/web-scripts.t tests/nbd-faults.t \
                tests/renewal.t

check:
	$(INSTALL_PACKAGES) build test
	@$(MAKE) --no-print-directory -j2 all unit $(BUILD)/tests/faults
	prove -j3 --failures --comments --exec '' $(WAITING_TESTS) \
	  $(filter-out $(WAITING_TESTS),$(sort $(wildcard tests/*.t))) $(UNIT_TESTS)

# Only the unit programs check for leaks: nbdkit unloads the plugin, so leaks
# of the tests would have no symbols.  Omitted:
#   unit/mutations: limits the memory, which includes valgrind's
#   faults.t: counts calls, and fills the table of descriptors
#   transcript.t: runs everything under strace
#   access.t, directory.t: need the real openat2
# VALGRIND_TESTS='tests/basic.t tests/luks.t' runs only these.
VALGRIND = valgrind --quiet --error-exitcode=119 --fair-sched=yes --max-threads=4000 \
           --suppressions=$(CURDIR)/tests/valgrind.supp
VALGRIND_OPENAT2 = $(CURDIR)/$(BUILD)/tests/valgrind-openat2.so
VALGRIND_TESTS = $(filter-out $(patsubst %,tests/%.t,faults transcript access directory), \
  $(sort $(wildcard tests/*.t)))
VALGRIND_UNIT_TESTS = $(filter-out %/mutations,$(UNIT_TESTS))
check-valgrind:
	$(INSTALL_PACKAGES) build test valgrind
	@$(MAKE) --no-print-directory -j2 all unit $(BUILD)/tests/valgrind-openat2.so
	prove -j2 --failures --comments \
	  --exec 'env QCOW_VALGRIND=yes LD_PRELOAD=$(VALGRIND_OPENAT2) $(VALGRIND) --leak-check=full' \
	  $(VALGRIND_UNIT_TESTS)
	QCOW_VALGRIND='$(VALGRIND)' QCOW_PRELOAD=$(VALGRIND_OPENAT2) QCOW_TIMEOUT=1800 \
	  prove -j2 --failures --comments --exec '' $(VALGRIND_TESTS)

soak: SECONDS = 60
soak: SEED = 17
soak:
	$(INSTALL_PACKAGES) build test
	@$(MAKE) --no-print-directory all
	QCOW_LOAD_SECONDS=$(SECONDS) QCOW_LOAD_CLIENTS=200 QCOW_SEED=$(SEED) tests/load.t

# FUZZERS='disk/image format/header' runs only these.
FUZZ_SECONDS = 60
FUZZ_DIR = build/fuzz
FUZZERS = $(patsubst tests/fuzz/%.c,%, \
            $(sort $(wildcard tests/fuzz/*.c tests/fuzz/*/*.c)))

# New inputs are kept in $(FUZZ_DIR)/corpus/NAME, where the next run starts.
# Crashing inputs are kept in $(FUZZ_DIR).
fuzz:
	$(INSTALL_PACKAGES) build test ci
	@$(MAKE) --no-print-directory CC=clang BUILD=$(FUZZ_DIR) \
	  SANITIZE=fuzzer-no-link,address,undefined \
	  CFLAGS='-O1 -g' \
	  $(FUZZERS:%=$(FUZZ_DIR)/tests/fuzz/%) $(FUZZ_DIR)/seeds/.made
	@tests/fuzz/run.sh $(FUZZ_DIR) $(FUZZ_SECONDS) $(FUZZERS)

# The coverage of qcow/ by the seeds and the inputs that 'make fuzz' has found.
fuzz-coverage:
	$(INSTALL_PACKAGES) build test ci
	@$(MAKE) --no-print-directory CC=clang BUILD=build/fuzz-coverage SANITIZE=fuzzer-no-link \
	  CFLAGS='-O1 -g -fprofile-instr-generate -fcoverage-mapping' \
	  $(FUZZERS:%=build/fuzz-coverage/tests/fuzz/%) $(FUZZ_DIR)/seeds/.made
	@tests/fuzz/coverage.sh build/fuzz-coverage $(FUZZ_DIR) $(FUZZERS)

$(FUZZ_DIR)/seeds/.made: tests/fuzz/make-seeds.sh tests/fuzz/seeds.py
	tests/fuzz/make-seeds.sh $(@D)
	@touch $@

# Disabled warnings are false positives: gcc's analyzer does not follow lists
# and pointers into structures, and treats structures that a callee fills in as
# uninitialized (cppcheck, too: ctuuninitvar).  The sanitizers and valgrind find
# leaks and uninitialized values.
analyze:
	$(INSTALL_PACKAGES) build analyze
	$(MAKE) --no-print-directory -s WERROR=yes BUILD=build/analyze \
	  CFLAGS='-O2 -g -fanalyzer -Wno-analyzer-malloc-leak -Wno-analyzer-use-of-uninitialized-value' \
	  build/analyze/nbdkit-qcow-plugin.so
	cppcheck --quiet --std=c11 --error-exitcode=1 \
	  --enable=warning,performance,portability --suppress=ctuuninitvar \
	  $(filter-out $(MODULE_CPPFLAGS),$(ALL_CPPFLAGS)) \
	  $(PLUGIN_SOURCES) $(QCOW_SOURCES)
	clang-tidy --quiet $(PLUGIN_SOURCES) $(QCOW_SOURCES) -- -std=gnu11 $(ALL_CPPFLAGS)

# The default seed is different each time; a failure prints how to repeat it.
SECONDS = 60
JOBS = 1
SEED =
ROUND =
torture: all
	$(INSTALL_PACKAGES) build test
	tests/torture/torture --seconds $(SECONDS) --jobs $(JOBS) \
	  $(if $(SEED),--seed $(SEED)) $(if $(ROUND),--round $(ROUND))

# BENCH_OPTIONS='--rows 1,4 --quick'; see tests/bench/bench --help.
bench: all
	$(INSTALL_PACKAGES) build bench
	@$(MAKE) --no-print-directory $(BUILD)/tests/bench/inflate \
	  $(BUILD)/tests/bench/delay-server
	tests/bench/bench --inflate $(BUILD)/tests/bench/inflate \
	  --delay-server $(BUILD)/tests/bench/delay-server $(BENCH_OPTIONS)

# Plots and figures go to build/bench.
growth: all
	$(INSTALL_PACKAGES) build bench
	tests/bench/growth --output build/bench $(BENCH_OPTIONS)

install: all
	install -d $(DESTDIR)$(plugindir) $(DESTDIR)$(mandir)/man1
	install -m 0755 nbdkit-qcow-plugin.so $(DESTDIR)$(plugindir)
	install -m 0644 nbdkit-qcow-plugin.1 $(DESTDIR)$(mandir)/man1

uninstall:
	rm -f $(DESTDIR)$(plugindir)/nbdkit-qcow-plugin.so
	rm -f $(DESTDIR)$(mandir)/man1/nbdkit-qcow-plugin.1

clean:
	rm -rf build nbdkit-qcow-plugin.so nbdkit-qcow-plugin.1

FORCE:

.PHONY: all unit check-unit deps try check check-valgrind soak fuzz \
        fuzz-coverage torture analyze bench growth install uninstall clean FORCE
.SECONDARY:

-include $(QCOW_OBJECTS:.o=.d) $(PLUGIN_OBJECTS:.o=.d) $(UNIT_TESTS:=.d) \
         $(FUZZERS:%=$(BUILD)/tests/fuzz/%.d)
