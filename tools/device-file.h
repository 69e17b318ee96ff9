/* SPDX-License-Identifier: BSD-3-Clause */
/* One device's state in a file: `holdfast device save|load`. holdfast-device(1) has the format. */
#ifndef TOOLS_DEVICE_FILE_H
#define TOOLS_DEVICE_FILE_H

#include <stdbool.h>
#include <stdint.h>

#include <holdfast/backend.h>

struct device_file_result {
	uint64_t bytes; /* of the stream */
	uint64_t digest; /* XXH3-64 of it */
	uint64_t took_ns;
};

/*
 * Save the device's state into path: it is stopped for it and runs again afterwards, also if the
 * save fails, as far as it can. The file is complete or not there; force: it may replace one.
 */
int device_file_save(struct hf_device *device, const char *path, bool force,
		     struct device_file_result *ret_result, struct hf_error *err);

/*
 * Load it. Nothing is asked of the device before the file was read and is sound, and for a device
 * of this model (force: of any). RESUMING is left only if what was written is what the file has. On
 * failure the device is reset.
 */
int device_file_load(struct hf_device *device, const char *path, bool force,
		     struct device_file_result *ret_result, struct hf_error *err);

#endif
