# SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only
# The sample drivers, for both kernels.
obj-m := mtty.o labdma.o
labdma-y := labdma-device.o labdma-ioctl.o labdma-arcs.o labdma-stream.o
