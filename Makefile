# SPDX-License-Identifier: MIT
# hvisor-launch: see README.md. "make help" lists the targets.

VERSION := 0.1.0
PREFIX ?= /usr/local
DESTDIR ?=
BUILD ?= build

# make ARCH=arm64 SYSROOT=FOLDER: cross-built against what tests/sysroot-arm64 unpacked into FOLDER.
ARCH ?=
SYSROOT ?=
ifeq ($(ARCH),arm64)
CC := aarch64-linux-gnu-gcc
AR := aarch64-linux-gnu-ar
CROSS_CFLAGS := -isystem $(SYSROOT)/usr/include -isystem $(SYSROOT)/usr/include/aarch64-linux-gnu
CROSS_LDFLAGS := -L$(SYSROOT)/usr/lib/aarch64-linux-gnu -L$(SYSROOT)/lib/aarch64-linux-gnu \
	-Wl,-rpath-link,$(SYSROOT)/usr/lib/aarch64-linux-gnu:$(SYSROOT)/lib/aarch64-linux-gnu
endif

WARNINGS := -Wall -Wextra -Wshadow -Wconversion -Wno-sign-conversion -Wstrict-prototypes -Wmissing-prototypes \
	-Wvla -Wpointer-arith
LIBNL := -isystem $(SYSROOT)/usr/include/libnl3
ifdef WERROR
WARNINGS += -Werror
endif
OPTIMIZE ?= -O2 -g
SANITIZE ?=
DEFINES := -D_GNU_SOURCE -DHVISOR_VERSION='"$(VERSION)"' -DHVISOR_PREFIX='"$(PREFIX)"'
ALL_CFLAGS := -std=gnu11 $(OPTIMIZE) $(WARNINGS) $(DEFINES) -I. $(LIBNL) -fstack-protector-strong -fPIE $(SANITIZE) \
	$(CROSS_CFLAGS) $(CFLAGS)
ALL_LDFLAGS := -Wl,-z,relro,-z,now $(SANITIZE) $(CROSS_LDFLAGS) $(LDFLAGS)

# The portable core, which the kernel module compiles too; what the backends share; the launcher without its main().
CORE := common/region.c common/vmmio.c common/bridge.c
SHARED := $(filter-out $(CORE),$(wildcard common/*.c))
LAUNCHER_MAINS := launcher/main.c launcher/hvisor_main.c
LAUNCHER := $(filter-out $(LAUNCHER_MAINS),$(wildcard launcher/*.c))
# A test program is a file test_*.c; the other files beside it are what the programs of that folder share.
UNIT_TESTS := $(wildcard tests/unit/test_*.c)
SIM_MAINS := $(wildcard tests/sim/simguest.c)
SIM_TESTS := $(wildcard tests/sim/test_*.c)
SIM := $(filter-out $(SIM_TESTS) $(SIM_MAINS),$(wildcard tests/sim/*.c))
BENCH_MAINS := $(wildcard tests/bench/bench_*.c)
BENCH := $(filter-out $(BENCH_MAINS),$(wildcard tests/bench/*.c))
SOAK := $(wildcard tests/soak/*.c)
FUZZ_MAINS := $(wildcard tests/fuzz/fuzz_*.c)
FUZZ := $(filter-out $(FUZZ_MAINS),$(wildcard tests/fuzz/*.c))
TRACE_MAINS := tests/trace/policy_use.c
TRACE := $(filter-out $(TRACE_MAINS),$(wildcard tests/trace/*.c))
TEST_SUPPORT := $(wildcard tests/*.c)
# Backends that can be told to die between any two stores: tests/steps/step.h.
STEPS := $(wildcard tests/steps/*.c)

object = $(patsubst %.c,$(BUILD)/%.o,$(1))
program = $(patsubst %.c,$(BUILD)/%,$(1))

# A backend hvisor-X is made of backends/X.c and backends/X_*.c.
BACKENDS := $(sort $(foreach f,$(wildcard backends/*.c),hvisor-$(firstword $(subst _, ,$(basename $(notdir $f))))))
PROGRAMS := $(BUILD)/hvisor-launch $(BUILD)/hvisor $(addprefix $(BUILD)/,$(BACKENDS))
TESTS := $(call program,$(UNIT_TESTS) $(SIM_TESTS))
HOSTILE := $(BUILD)/tests/sim/hostile/hvisor-blk
TOOLS := $(call program,$(SIM_MAINS) $(BENCH_MAINS) $(TRACE_MAINS)) $(addprefix $(BUILD)/steps/,$(BACKENDS))

.DELETE_ON_ERROR:
.SECONDARY:
.PHONY: all programs tests test test-steps test-vm demo demo-sim bench soak fuzz fuzz-targets check format install \
	uninstall install-dkms uninstall-dkms clean deps help

all: programs
programs: $(PROGRAMS)
tests: programs $(TESTS) $(TOOLS) $(HOSTILE) $(BUILD)/tests/soak/soak

help:
	@echo "make                 build the programs into $(BUILD)/"
	@echo "make test            build and run all tests        (make test ONLY=name: those whose name has it)"
	@echo "make test-vm         of them, those that boot Linux above a hypervisor in QEMU"
	@echo "make test-steps      of them, deaths at each step of the launcher and each pair of steps of a backend: long"
	@echo "make demo            boot all of it in QEMU, and get the guest's shell (DEMO=script: watch it being used)"
	@echo "make demo-sim        a guest's disk served, without QEMU: its backend is killed in the middle"
	@echo "make bench           measure against the limits and the peers, into $(BUILD)/bench.json"
	@echo "make soak            faults at random under a verified load on all devices, for MINUTES=10 (or SECONDS=n)"
	@echo "make fuzz            hostile input made up for SECONDS=60 for each target; 0: what is kept in git"
	@echo "make check           format, static analysis, licences"
	@echo "make install         DESTDIR= PREFIX="
	@echo "make install-dkms    the kernel module's sources for dkms, into DESTDIR/usr/src"
	@echo "make deps            install the Debian packages that all of this needs, or name them"

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

archive = @mkdir -p $(@D) && rm -f $@ && $(AR) rcs $@ $^
$(BUILD)/libcore.a: $(call object,$(CORE))
	$(archive)
$(BUILD)/libshared.a: $(call object,$(SHARED))
	$(archive)
$(BUILD)/liblauncher.a: $(call object,$(LAUNCHER))
	$(archive)
$(BUILD)/libsim.a: $(call object,$(SIM))
	$(archive)
$(BUILD)/libbench.a: $(call object,$(BENCH))
	$(archive)
$(BUILD)/libtrace.a: $(call object,$(TRACE))
	$(archive)
$(BUILD)/libfuzz.a: $(call object,$(FUZZ) $(wildcard tests/sim/sim.c tests/sim/sim_*.c))
	$(archive)
$(BUILD)/libbackends.a: $(call object,$(wildcard backends/*_*.c))
	$(archive)
$(BUILD)/libtest.a: $(call object,$(TEST_SUPPORT))
	$(archive)

LAUNCHER_LIBS := -Wl,--as-needed -lseccomp -lcap-ng -lcjson -lfdt -lnl-route-3 -lnl-3
$(BUILD)/hvisor-launch: $(BUILD)/launcher/main.o $(BUILD)/liblauncher.a $(BUILD)/libshared.a $(BUILD)/libcore.a
	$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -pie -o $@ $^ $(LAUNCHER_LIBS)

$(BUILD)/hvisor: $(BUILD)/launcher/hvisor_main.o $(BUILD)/liblauncher.a $(BUILD)/libshared.a $(BUILD)/libcore.a
	$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -pie -o $@ $^ $(LAUNCHER_LIBS)

# A backend runs in an empty root folder, so it is linked statically.
STATIC ?= -static-pie
BACKEND_LIBS := -luring
define backend_rule
$(BUILD)/$(1): $(call object,$(wildcard backends/$(1:hvisor-%=%).c backends/$(1:hvisor-%=%)_*.c)) \
		$(BUILD)/libshared.a $(BUILD)/libcore.a
	$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) $(STATIC) -o $$@ $$^ $(BACKEND_LIBS)
endef
$(foreach b,$(BACKENDS),$(eval $(call backend_rule,$(b))))

# The same block backend, but some of its devices do their worst: tests/sim/hostile/backend.c.
$(HOSTILE): $(call object,$(wildcard backends/blk.c backends/blk_*.c) tests/sim/hostile/backend.c) \
		$(BUILD)/libshared.a $(BUILD)/libcore.a
	$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) $(STATIC) -Wl,--wrap=backend_loop,--wrap=confine_self -o $@ $^ $(BACKEND_LIBS)

steps_object = $(patsubst %.c,$(BUILD)/steps/%.o,$(1))
$(BUILD)/steps/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -DHVISOR_STEPS -MMD -MP -c -o $@ $<
$(BUILD)/libsteps.a: $(call steps_object,$(SHARED) $(CORE))
	$(archive)
define steps_rule
$(BUILD)/steps/$(1): $(call steps_object,$(wildcard backends/$(1:hvisor-%=%).c backends/$(1:hvisor-%=%)_*.c) $(STEPS)) \
		$(BUILD)/libsteps.a
	$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) $(STATIC) -o $$@ $$^ $(BACKEND_LIBS)
endef
$(foreach b,$(BACKENDS),$(eval $(call steps_rule,$(b))))

# What a program of a tests folder is linked with.
TEST_ARCHIVES := $(BUILD)/libtest.a
# liburing 2.3 forgot io_uring_register_restrictions() in its shared library.
unit_LIBS := $(LAUNCHER_LIBS) -l:liburing.a -lpthread
sim_LIBS := $(LAUNCHER_LIBS) -lext2fs -lcom_err -lpthread
trace_LIBS := $(LAUNCHER_LIBS)
bench_LIBS := $(LAUNCHER_LIBS) -luring -lpthread
define test_rule
$(BUILD)/tests/$(1)/%: $(BUILD)/tests/$(1)/%.o $(2)
	$$(CC) $$(ALL_CFLAGS) $$(ALL_LDFLAGS) -pie -o $$@ $$^ $$($(1)_LIBS)
endef
$(eval $(call test_rule,unit,$(BUILD)/libtest.a $(BUILD)/liblauncher.a $(BUILD)/libshared.a $(BUILD)/libcore.a))
$(eval $(call test_rule,sim,$(BUILD)/libsim.a $(BUILD)/libtest.a $(BUILD)/liblauncher.a $(BUILD)/libshared.a \
	$(BUILD)/libcore.a))
$(eval $(call test_rule,trace,$(BUILD)/libtrace.a $(BUILD)/libtest.a $(BUILD)/liblauncher.a $(BUILD)/libshared.a \
	$(BUILD)/libcore.a))
$(eval $(call test_rule,bench,$(BUILD)/libbench.a $(BUILD)/libsim.a $(BUILD)/libtest.a $(BUILD)/liblauncher.a \
	$(BUILD)/libshared.a $(BUILD)/libcore.a))

$(BUILD)/tests/soak/soak: $(call object,$(SOAK)) $(BUILD)/libsim.a $(BUILD)/libtest.a $(BUILD)/liblauncher.a \
		$(BUILD)/libshared.a $(BUILD)/libcore.a
	$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -pie -o $@ $^ $(sim_LIBS)

# Built by clang, with a build folder of their own: "make fuzz" sees to both.
FUZZ_BUILD ?= build-fuzz
FUZZ_SANITIZE := -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined \
	-fprofile-instr-generate -fcoverage-mapping
fuzz-targets: $(call program,$(FUZZ_MAINS))
$(BUILD)/tests/fuzz/%: $(BUILD)/tests/fuzz/%.o $(BUILD)/libbackends.a $(BUILD)/libfuzz.a $(BUILD)/liblauncher.a \
		$(BUILD)/libshared.a $(BUILD)/libcore.a
	$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -fsanitize=fuzzer -pie -o $@ $^ $(LAUNCHER_LIBS) -l:liburing.a

deps:
	@./tests/install-packages

# Into VM_BUILD; HVISOR=, KERNEL=, MODULES= and HVISOR_VM_CACHE= as tests/vm/README.md has them.
VM_BUILD ?= build-vm
export VM_BUILD HVISOR KERNEL MODULES HVISOR_VM_CACHE KDIR

# Packages first, when something is missing; the parts that need them in a make of their own, which sees them then.
test:
	@./tests/install-packages build test cross vm
	@$(MAKE) --no-print-directory tests
	@./tests/vm/build
	@./tests/run $(if $(ONLY),--only $(ONLY),--policy-use $(BUILD)/policy-use) $(TESTS) tests/vm/test

# Hours, and none of it needed for "make test".
test-steps:
	@./tests/install-packages
	@$(MAKE) --no-print-directory tests
	@STEPS_ALL=1 ./tests/run $(if $(ONLY),--only $(ONLY)) $(BUILD)/tests/sim/test_steps \
		$(BUILD)/tests/sim/test_launch_steps

test-vm:
	@./tests/install-packages build test cross vm
	@./tests/vm/build
	@VM_ALL=1 ./tests/run $(if $(ONLY),--only $(ONLY)) tests/vm/test

demo:
	@./tests/install-packages build test cross vm
	@./tests/vm/build
	@./examples/qemu-aarch64/demo $(DEMO)

demo-sim:
	@./tests/install-packages
	@$(MAKE) --no-print-directory tests
	@./tests/sim/demo

bench:
	@./tests/install-packages build test bench
	@$(MAKE) --no-print-directory tests
	@./tests/bench/run

MINUTES ?= 10
soak:
	@./tests/install-packages build test
	@$(MAKE) --no-print-directory programs $(BUILD)/tests/soak/soak
	@$(BUILD)/tests/soak/soak $(if $(SECONDS),$(SECONDS),$$(($(MINUTES) * 60))) $(SEED)

fuzz:
	@./tests/install-packages build fuzz
	@$(MAKE) --no-print-directory CC=clang BUILD=$(FUZZ_BUILD) OPTIMIZE='-O1 -g' SANITIZE='$(FUZZ_SANITIZE)' fuzz-targets
	@./tests/fuzz/run $(if $(SECONDS),$(SECONDS),60) $(patsubst %.c,$(FUZZ_BUILD)/%,$(if $(ONLY),tests/fuzz/fuzz_$(ONLY).c,$(FUZZ_MAINS)))

check:
	@./tests/check

format:
	clang-format -i $$(git ls-files '*.c' '*.h' | grep -v '^kmod/')

install: programs
	install -d $(DESTDIR)$(PREFIX)/sbin $(DESTDIR)$(PREFIX)/libexec/hvisor-launch \
		$(DESTDIR)$(PREFIX)/share/hvisor-launch/policy $(DESTDIR)$(PREFIX)/share/hvisor-launch/examples
	install -m 755 $(BUILD)/hvisor-launch $(BUILD)/hvisor $(DESTDIR)$(PREFIX)/sbin/
	install -m 755 $(addprefix $(BUILD)/,$(BACKENDS)) $(DESTDIR)$(PREFIX)/libexec/hvisor-launch/
	install -m 644 policy/*.policy $(DESTDIR)$(PREFIX)/share/hvisor-launch/policy/
	for page in docs/*.[158]; do \
		install -D -m 644 $$page $(DESTDIR)$(PREFIX)/share/man/man$${page##*.}/$${page##*/} || exit 1; \
	done

uninstall:
	rm -f $(DESTDIR)$(PREFIX)/sbin/hvisor-launch $(DESTDIR)$(PREFIX)/sbin/hvisor
	rm -rf $(DESTDIR)$(PREFIX)/libexec/hvisor-launch $(DESTDIR)$(PREFIX)/share/hvisor-launch
	for page in docs/*.[158]; do rm -f $(DESTDIR)$(PREFIX)/share/man/man$${page##*.}/$${page##*/}; done

# The module's sources as dkms wants them: by themselves, with what they include from common/.
DKMS := $(DESTDIR)/usr/src/hvisor-$(VERSION)
install-dkms:
	install -d $(DKMS)/kmod $(DKMS)/common
	install -m 644 kmod/*.c kmod/*.h kmod/Kbuild kmod/Makefile $(DKMS)/kmod/
	install -m 644 $(CORE) $(CORE:.c=.h) common/core_os.h $(DKMS)/common/
	sed 's/@VERSION@/$(VERSION)/' kmod/dkms.conf >$(DKMS)/dkms.conf
	@echo "$(DKMS) is complete; now, as root: dkms install hvisor/$(VERSION)"

uninstall-dkms:
	rm -rf $(DKMS)

clean:
	rm -rf $(BUILD)

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
