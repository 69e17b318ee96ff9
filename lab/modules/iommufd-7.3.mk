# SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only
# What iommufd.mk builds of Linux 7.3, and not of others. What iommufd shares with drivers of IOMMUs
# would be in vmlinux, and is a module here: those of Debian's vmlinux do without it.
ccflags-y += -DCONFIG_IOMMUFD_DRIVER_CORE=1
obj-m += iommufd_driver.o
iommufd_driver-y := iommufd/driver.o
iommufd-version-y := eventq.o viommu.o
vfio-pci-version-y := vfio_pci_dmabuf.o
