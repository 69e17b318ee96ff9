/* SPDX-License-Identifier: BSD-3-Clause */
/* Reading what uri.h describes. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "backend/device/vfio/uri.h"
#include "base/error.h"

/* Does text look as pattern: x a hexadecimal digit, everything else itself? */
static int looks_as(const char *text, const char *pattern)
{
	for (; *pattern; pattern++, text++)
		if (*pattern == 'x' ? !isxdigit((unsigned char)*text) : *text != *pattern)
			return 0;
	return *text == 0;
}

static int is_uuid(const char *text)
{
	return looks_as(text, "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx");
}

/* sysfs has these in lower case. */
static void put_lower(const char *text, char *ret_text, size_t size)
{
	size_t i = 0;

	for (; text[i] && i + 1 < size; i++)
		ret_text[i] = (char)tolower((unsigned char)text[i]);
	ret_text[i] = 0;
}

static int read_address(const char *text, struct vfio_config *c)
{
	char whole[HF_NAME_MAX];

	if (strlen(text) >= sizeof(whole) - 5)
		return -EINVAL;
	(void)snprintf(whole, sizeof(whole), "%s%s", looks_as(text, "xx:xx.x") ? "0000:" : "",
		       text);
	c->is_mdev = (uint32_t)is_uuid(whole);
	if (!c->is_mdev && !looks_as(whole, "xxxx:xx:xx.x") && !looks_as(whole, "xxxxx:xx:xx.x"))
		return -EINVAL;
	put_lower(whole, c->address, sizeof(c->address));
	return 0;
}

static int read_vm(const char *text, struct vfio_config *c)
{
	size_t n = strlen(text);

	if (n == 0 || n >= sizeof(c->vm))
		return -EINVAL;
	for (size_t i = 0; i < n; i++)
		if (!isalnum((unsigned char)text[i]) && !strchr("-_.", text[i]))
			return -EINVAL;
	memcpy(c->vm, text, n + 1);
	return 0;
}

static int read_token(const char *text, struct vfio_config *c)
{
	if (!is_uuid(text))
		return -EINVAL;
	put_lower(text, c->vf_token, sizeof(c->vf_token));
	return 0;
}

static int read_path(const char *text, struct vfio_config *c)
{
	if (strcmp(text, "auto") == 0)
		c->path = VFIO_PATH_AUTO;
	else if (strcmp(text, "group") == 0)
		c->path = VFIO_PATH_GROUP;
	else if (strcmp(text, "cdev") == 0)
		c->path = VFIO_PATH_CDEV;
	else
		return -EINVAL;
	return 0;
}

static int read_dirty(const char *text, struct vfio_config *c)
{
	if (strcmp(text, "auto") == 0)
		c->dirty = VFIO_DIRTY_AUTO;
	else if (strcmp(text, "device") == 0)
		c->dirty = VFIO_DIRTY_DEVICE;
	else if (strcmp(text, "iommu") == 0)
		c->dirty = VFIO_DIRTY_IOMMU;
	else if (strcmp(text, "all") == 0)
		c->dirty = VFIO_DIRTY_ALL;
	else
		return -EINVAL;
	return 0;
}

/* 0, -EINVAL: not a value for this key; -ENOENT: no such key. */
static int read_key(const char *key, const char *value, struct vfio_config *c)
{
	if (strcmp(key, "path") == 0)
		return read_path(value, c);
	if (strcmp(key, "dirty") == 0)
		return read_dirty(value, c);
	if (strcmp(key, "vm") == 0)
		return read_vm(value, c);
	if (strcmp(key, "vf-token") == 0)
		return read_token(value, c);
	return -ENOENT;
}

int vfio_uri_parse(const char *rest, const char *name, struct vfio_config *ret_config,
		   struct hf_error *err)
{
	struct vfio_config c = { .path = VFIO_PATH_AUTO, .dirty = VFIO_DIRTY_AUTO, .vm = "vm" };
	char text[HF_URI_MAX];
	char *at = text, *address;

	if (strlen(rest) >= sizeof(text))
		return error_set(err, HF_E_INVALID, 0, "vfio: its URI is longer than %zu bytes",
				 sizeof(text) - 1);
	(void)snprintf(text, sizeof(text), "%s", rest);
	address = strsep(&at, ",");
	if (read_address(address, &c) < 0)
		return error_set(err, HF_E_INVALID, 0,
				 "vfio: \"%s\" is neither a PCI address (0000:17:00.1) nor the "
				 "UUID of a mediated device",
				 address);
	while (at) {
		char *key = strsep(&at, ",");
		char *value = strchr(key, '=');
		int r;

		if (!value)
			return error_set(err, HF_E_INVALID, 0, "vfio: \"%s\" is not KEY=VALUE",
					 key);
		*value++ = 0;
		r = read_key(key, value, &c);
		if (r == -ENOENT)
			return error_set(err, HF_E_INVALID, 0, "vfio: there is no key \"%s\"", key);
		if (r < 0)
			return error_set(err, HF_E_INVALID, 0, "vfio: %s cannot be \"%s\"", key,
					 value);
	}
	if (c.vf_token[0] && c.is_mdev)
		return error_set(err, HF_E_INVALID, 0, "vfio: a mediated device takes no vf-token");
	(void)snprintf(c.name, sizeof(c.name), "%s", name ? name : c.address);
	*ret_config = c;
	return 0;
}
