/* SPDX-License-Identifier: BSD-3-Clause */
/* Looking for what find.h says. */
#include <stdio.h>
#include <string.h>

#include "backend/device/vfio/find.h"
#include "backend/device/vfio/sys.h"
#include "base/error.h"

#define FOLDER_MAX (HF_NAME_MAX + 40)
#define CONTAINER_NODE "/dev/vfio/vfio"
#define IOMMUFD_NODE "/dev/iommu"

static void put_path(char *ret_path, size_t size, const char *folder, const char *leaf)
{
	(void)snprintf(ret_path, size, "%s/%s", folder, leaf);
}

static int find_folder(const struct vfio_config *config, char folder[FOLDER_MAX],
		       struct hf_error *err)
{
	(void)snprintf(folder, FOLDER_MAX, "/sys/bus/%s/devices/%s",
		       config->is_mdev ? "mdev" : "pci", config->address);
	if (vfio_sys->exists(folder))
		return 0;
	return error_set(err, HF_E_INVALID, 0, "vfio: this host has no %s %s (%s is not there)",
			 config->is_mdev ? "mediated device" : "PCI device", config->address,
			 folder);
}

static int find_driver(const char *folder, struct vfio_place *place, struct hf_error *err)
{
	char path[FOLDER_MAX + 32];

	if (place->is_mdev) {
		put_path(path, sizeof(path), folder, "mdev_type");
		if (vfio_sys->link_name(path, place->type, sizeof(place->type)) < 0)
			(void)snprintf(place->type, sizeof(place->type), "unknown");
	}
	put_path(path, sizeof(path), folder, "driver");
	if (vfio_sys->link_name(path, place->driver, sizeof(place->driver)) < 0)
		return error_set(err, HF_E_UNSUPPORTED, 0,
				 "vfio: %s is bound to no driver; it needs %s", place->address,
				 place->is_mdev ? "the VFIO driver of its mediated type"
						: "vfio-pci, or its vendor's VFIO driver if it is "
						  "to be migrated");
	return 0;
}

/* What is missing to open the device by its own node? NULL if nothing is. */
static const char *cdev_lacks(const char *folder, struct vfio_place *place)
{
	char path[FOLDER_MAX + 32], name[24];

	put_path(path, sizeof(path), folder, "vfio-dev");
	if (vfio_sys->entry(path, "vfio", name, sizeof(name)) < 0)
		return "vfio-dev, so its driver is no VFIO driver (or the kernel is older than "
		       "6.1)";
	(void)snprintf(place->node, sizeof(place->node), "/dev/vfio/devices/%s", name);
	if (!vfio_sys->exists(place->node))
		return "/dev/vfio/devices/vfioN (the kernel's VFIO_DEVICE_CDEV)";
	if (!vfio_sys->exists(IOMMUFD_NODE))
		return IOMMUFD_NODE " (the kernel's IOMMUFD)";
	return NULL;
}

static int find_group(const char *folder, struct vfio_place *place, struct hf_error *err)
{
	char path[FOLDER_MAX + 32];

	put_path(path, sizeof(path), folder, "iommu_group");
	if (vfio_sys->link_name(path, place->group, sizeof(place->group)) < 0)
		return error_set(err, HF_E_UNSUPPORTED, 0,
				 "vfio: %s is in no IOMMU group: the IOMMU is off, or this host "
				 "has none (its driver: %s)",
				 place->address, place->driver);
	if (!vfio_sys->exists(CONTAINER_NODE))
		return error_set(err, HF_E_UNSUPPORTED, 0,
				 "vfio: " CONTAINER_NODE " is not there: the kernel has no VFIO, "
				 "or its modules vfio and vfio_iommu_type1 are not loaded (for "
				 "%s, group %s, driver %s)",
				 place->address, place->group, place->driver);
	(void)snprintf(place->node, sizeof(place->node), "/dev/vfio/%s", place->group);
	if (vfio_sys->exists(place->node))
		return 0;
	(void)snprintf(path, sizeof(path), "/dev/vfio/noiommu-%s", place->group);
	if (vfio_sys->exists(path))
		return error_set(err, HF_E_UNSUPPORTED, 0,
				 "vfio: %s is there without an IOMMU (%s): it would reach all of "
				 "this host's memory",
				 place->address, path);
	return error_set(err, HF_E_UNSUPPORTED, 0,
			 "vfio: %s is not there: %s is bound to %s, which is no VFIO driver",
			 place->node, place->address, place->driver);
}

int vfio_find(const struct vfio_config *config, struct vfio_place *ret_place, struct hf_error *err)
{
	struct vfio_place place = { .is_mdev = config->is_mdev };
	char folder[FOLDER_MAX];
	const char *lacks;
	int r;

	memcpy(place.address, config->address, sizeof(place.address));
	r = find_folder(config, folder, err);
	if (r == 0)
		r = find_driver(folder, &place, err);
	if (r < 0)
		return r;
	lacks = config->path == VFIO_PATH_GROUP ? "" : cdev_lacks(folder, &place);
	if (!lacks) {
		place.path = VFIO_PATH_CDEV;
		*ret_place = place;
		return 0;
	}
	if (config->path == VFIO_PATH_CDEV)
		return error_set(err, HF_E_UNSUPPORTED, 0,
				 "vfio: %s (driver %s) cannot be opened by cdev: there is no %s",
				 place.address, place.driver, lacks);
	place.path = VFIO_PATH_GROUP;
	r = find_group(folder, &place, err);
	if (r == 0)
		*ret_place = place;
	return r;
}
