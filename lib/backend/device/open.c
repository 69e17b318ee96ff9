/* SPDX-License-Identifier: BSD-3-Clause */
/* Devices by URI: KIND, KIND:REST or KIND=REST. The kinds are the rows of one table. */
#include <assert.h>
#include <string.h>

#include <holdfast/backend.h>

#include "backend/device/sim/sim.h"
#include "backend/device/vfio-user/client.h"
#include "backend/device/vfio/vfio.h"
#include "base/error.h"
#include "base/export.h"

struct kind {
	const char *name;
	/* rest: behind the first colon or =, or "" */
	int (*open)(const struct hf_device_host *host, const char *rest, const char *name,
		    struct hf_device *ret_device, struct hf_error *err);
};

static int open_sim(const struct hf_device_host *host, const char *rest, const char *name,
		    struct hf_device *ret_device, struct hf_error *err)
{
	(void)host; /* there is no file of the kernel's behind it */
	return sim_open(rest, name, ret_device, err);
}

static int open_user(const struct hf_device_host *host, const char *rest, const char *name,
		     struct hf_device *ret_device, struct hf_error *err)
{
	(void)host; /* as above */
	return vu_client_open(rest, name, ret_device, err);
}

static const struct kind kinds[] = {
	{ "sim", open_sim },
	{ "vfio", vfio_open },
	{ "vfio-user", open_user },
};

HF_EXPORT int hf_device_open_for(const struct hf_device_host *host, const char *uri,
				 const char *name, struct hf_device *ret_device,
				 struct hf_error *err)
{
	const char *rest;
	size_t length;

	if (host && (host->size < sizeof(*host) || host->flags || !host->file))
		return error_set(err, HF_E_INVALID, 0, "a device's host: its size, flags or file");
	if (!uri || !*uri)
		return error_set(err, HF_E_INVALID, 0, "a device needs a URI");
	length = strcspn(uri, ":=");
	rest = uri + length + (uri[length] != 0);
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (strlen(kinds[i].name) == length && strncmp(kinds[i].name, uri, length) == 0)
			return kinds[i].open(host, rest, name, ret_device, err);
	return error_set(err, HF_E_UNSUPPORTED, 0, "there are no devices of kind \"%.*s\"",
			 (int)length, uri);
}

HF_EXPORT int hf_device_open(const char *uri, const char *name, struct hf_device *ret_device,
			     struct hf_error *err)
{
	return hf_device_open_for(NULL, uri, name, ret_device, err);
}

HF_EXPORT void hf_device_close(struct hf_device *device)
{
	if (!device)
		return;
	if (device->ops)
		device->ops->close(device->self);
	*device = (struct hf_device){ 0 };
}
