# SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only
# The kernel's own vfio, iommufd and mdev, built beside its Debian package with the options that
# Debian leaves off. The sources are copied here by compile.sh; samples.mk stands in front, and the
# file of the version, iommufd-VERSION.mk, which names what kernels do not have in common.
ccflags-y += -DCONFIG_IOMMUFD_MODULE=1 -DCONFIG_IOMMUFD_DRIVER=1 -DCONFIG_VFIO_DEVICE_CDEV=1
ccflags-y += -DCONFIG_INTERVAL_TREE_SPAN_ITER=1 -DCONFIG_VFIO_DEBUGFS=1

obj-m += iova_bitmap.o iommufd.o vfio.o vfio_iommu_type1.o mdev.o vfio-pci-core.o vfio-pci.o

# Debian's vmlinux has neither of these: iova_bitmap, and the span iterator of interval trees.
iova_bitmap-y := iommufd/iova_bitmap.o iommufd/iova_license.o
iommufd-y := $(addprefix iommufd/, device.o hw_pagetable.o io_pagetable.o ioas.o main.o pages.o \
	vfio_compat.o span_iter.o $(iommufd-version-y))
vfio-y := $(addprefix vfio/, vfio_main.o device_cdev.o group.o iommufd.o container.o virqfd.o \
	debugfs.o)
vfio_iommu_type1-y := vfio/vfio_iommu_type1.o
mdev-y := $(addprefix vfio/mdev/, mdev_core.o mdev_sysfs.o mdev_driver.o)
vfio-pci-core-y := $(addprefix vfio/pci/, vfio_pci_core.o vfio_pci_intrs.o vfio_pci_rdwr.o \
	vfio_pci_config.o $(vfio-pci-version-y))
vfio-pci-y := $(addprefix vfio/pci/, vfio_pci.o vfio_pci_igd.o)
