# SPDX-License-Identifier: BSD-3-Clause
# Daily commands in front of Meson. `make help` lists them.
BUILD ?= build

.PHONY: all check help
all: $(BUILD)/build.ninja
	ninja -C $(BUILD)

$(BUILD)/build.ninja:
	meson setup $(BUILD)

check: all
	meson test -C $(BUILD) --print-errorlogs
