# SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only
# What iommufd.mk builds of Linux 6.12, and not of others.
iommufd-version-y := fault.o
