# SPDX-License-Identifier: BSD-3-Clause
# Daily commands in front of Meson; `make help` lists them. What is missing on a Debian 12 is
# installed by `make deps`, which `make demo` and `make check` call themselves.
BUILD ?= build
PREFIX ?= /usr/local
DESTDIR ?=
SECONDS ?= 60
CAMPAIGN_RUNS ?= 1000
CAMPAIGN_SEED ?= 1
JOBS := $(shell nproc 2>/dev/null || echo 1)

FUZZERS = body frame guard-link inspect ledger order record stream-header vfio-user-client vfio-user-message vfio-user-server
C_FILES = $(shell git ls-files '*.c' '*.h' 2>/dev/null)

.PHONY: all help deps deps-all deps-lab demo check check-all check-campaign check-guard-campaign \
	check-asan check-tsan lab check-lab fuzz format check-format tidy cppcheck analyze man install bench clean
all: $(BUILD)/build.ninja
	ninja -C $(BUILD) -j $(JOBS)

$(BUILD)/build.ninja:
	meson setup $(BUILD) --prefix $(PREFIX)

help:
	@echo 'make            build; the command is $(BUILD)/holdfast'
	@echo 'make demo       install what is missing, build, show a handover that fails and one that works'
	@echo 'make check      install what is missing, build, pass all tests (also under sanitizers)'
	@echo 'make deps       install what is missing for the two above'
	@echo 'make check-all  check, the long campaigns, cppcheck, clang-tidy, gcc -fanalyzer, a minute of each fuzzer'
	@echo 'make check-guard-campaign    the same with guards and two unmodified QEMUs'
	@echo 'make check-campaign [CAMPAIGN_RUNS=1000] [CAMPAIGN_SEED=1]    handovers with faults, judged from outside'
	@echo 'make check-asan, make check-tsan    unit, sim and fuzz suites under one sanitizer'
	@echo 'make lab        fetch and build the lab, a machine with real VFIO (docs/lab.md)'
	@echo 'make check-lab  all tests that need the lab'
	@echo 'make fuzz T=NAME [SECONDS=60]       run one fuzzer (clang)'
	@echo 'make format, make check-format      clang-format 14'
	@echo 'make tidy, make cppcheck, make analyze    static analysis'
	@echo 'make man        manual pages, in $(BUILD)/docs'
	@echo 'make bench      measure'
	@echo 'make install    to DESTDIR, PREFIX ($(PREFIX))'
	@echo 'make clean      remove the build folders'

deps:
	@packaging/deps.sh check
deps-all:
	@packaging/deps.sh all
deps-lab:
	@packaging/deps.sh lab

demo: deps
	@$(MAKE) --no-print-directory all
	$(BUILD)/holdfast demo

check: deps
	@tests/check.sh $(BUILD) $(JOBS)

check-all: check deps-all
	meson test -C $(BUILD) --no-rebuild --suite long --num-processes 1 --timeout-multiplier 5
	@$(MAKE) --no-print-directory cppcheck tidy analyze
	@set -e; for name in $(FUZZERS); do $(MAKE) --no-print-directory fuzz T=$$name; done

# Half an hour. CAMPAIGN_FLAGS: see tests/system/campaign.py --help.
check-campaign: deps
	@$(MAKE) --no-print-directory all
	@HOLDFAST=$(abspath $(BUILD))/holdfast \
		HOLDFAST_TEST_CLOCK_LIB=$(abspath $(BUILD))/tests/system/campaign-clock.so \
		/usr/bin/env python3 tests/system/campaign.py --runs $(CAMPAIGN_RUNS) \
		--seed $(CAMPAIGN_SEED) $(CAMPAIGN_FLAGS)

# Two thirds of an hour; GUARD_CAMPAIGN_FLAGS=--alone: two QEMUs without guards, ten minutes.
check-guard-campaign: deps
	@$(MAKE) --no-print-directory all
	@HOLDFAST=$(abspath $(BUILD))/holdfast CHECKER=$(abspath $(BUILD))/guest/checker.elf \
		/usr/bin/env python3 tests/system/guard_campaign.py $(GUARD_CAMPAIGN_FLAGS)

check-asan check-tsan: check-%: deps
	@tests/check.sh $(BUILD) $(JOBS) $*

lab: deps-lab
	@lab/build
	@lab/build qemu || [ $$? -eq 77 ] # its tests skip, with the same reason
check-lab: deps lab
	@$(MAKE) --no-print-directory all
	meson test -C $(BUILD) --no-rebuild --suite lab --num-processes 1 --timeout-multiplier 5 \
		--print-errorlogs

# What a fuzzer finds, it leaves beside its corpus in $(BUILD)-fuzz.
fuzz: deps-all
	@[ -n "$(T)" ] || { echo 'make fuzz T=NAME; NAME is one of: $(FUZZERS)' >&2; exit 2; }
	@[ -f $(BUILD)-fuzz/build.ninja ] || CC=clang meson setup $(BUILD)-fuzz -Dfuzzers=true
	ninja -C $(BUILD)-fuzz -j $(JOBS) tests/fuzz/fuzz-$(T)
	@mkdir -p $(BUILD)-fuzz/corpus-$(T)
	cd $(BUILD)-fuzz && tests/fuzz/fuzz-$(T) -max_total_time=$(SECONDS) -timeout=5 corpus-$(T) \
		$$(ls -d $(CURDIR)/tests/fuzz/corpus/$(T) $(CURDIR)/tests/vectors/v1 \
		$(if $(filter inspect,$(T)),$(CURDIR)/tests/vectors/qemu) 2>/dev/null)

format:
	clang-format -i $(C_FILES)
check-format:
	clang-format --dry-run -Werror $(C_FILES)

# clang-tidy wants a build folder that clang understands.
tidy: deps-all
	@[ -f $(BUILD)-tidy/build.ninja ] || CC=clang meson setup $(BUILD)-tidy
	ninja -C $(BUILD)-tidy -j $(JOBS)
	git ls-files 'guard/*.c' 'lib/*.c' 'vmm/*.c' 'tools/*.c' | \
		xargs -P $(JOBS) -n 4 clang-tidy -p $(BUILD)-tidy --quiet --warnings-as-errors='*'

cppcheck: deps-all
	cppcheck -q -j $(JOBS) --std=c11 --enable=warning,portability --inline-suppr \
		--suppressions-list=packaging/cppcheck-suppressions --error-exitcode=1 \
		-D_GNU_SOURCE -Iinclude -Ilib -I. guard lib vmm tools

# Leaks are for LeakSanitizer: gcc's analyzer does not see that a caller cleans up what is half-built.
analyze: deps
	@[ -f $(BUILD)-analyze/build.ninja ] || meson setup $(BUILD)-analyze -Dtests=disabled \
		-Dc_args='-fanalyzer -Wno-analyzer-malloc-leak' -Dwerror=true
	ninja -C $(BUILD)-analyze -j $(JOBS) lib/base/libhf_base.a lib/wire/libhf_wire.a \
		lib/core/libhf_core.a lib/backend/libhf_backend.a

man: $(BUILD)/build.ninja
	ninja -C $(BUILD) -j $(JOBS) docs/all

install: $(BUILD)/build.ninja
	meson configure $(BUILD) --prefix $(abspath $(PREFIX))
	ninja -C $(BUILD) -j $(JOBS)
	DESTDIR=$(DESTDIR) meson install -C $(BUILD) --no-rebuild

bench: all
	meson test -C $(BUILD) --no-rebuild --benchmark --verbose

clean:
	rm -rf $(BUILD) $(BUILD)-asan $(BUILD)-tsan $(BUILD)-tidy $(BUILD)-analyze $(BUILD)-fuzz
