/* SPDX-License-Identifier: BSD-3-Clause */
/* The URI of a served device: SOCKET[,KEY=VALUE...] (docs/vfio-user.md has the keys). */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "backend/device/vfio-user/client.h"
#include "base/error.h"

#define TIMEOUT_S 30u
#define ARC_TIMEOUT_S 600u
#define TIMEOUT_S_MAX 86400u

static int read_number(const char *text, uint64_t min, uint64_t max, uint32_t *ret_number)
{
	char *end;
	unsigned long long n;

	if (*text < '0' || *text > '9')
		return -EINVAL;
	errno = 0;
	n = strtoull(text, &end, 10);
	if (errno || *end || n < min || n > max)
		return -EINVAL;
	*ret_number = (uint32_t)n;
	return 0;
}

/* One of two words. */
static int read_word(const char *text, const char *off, const char *on, uint32_t *ret_flag)
{
	if (strcmp(text, on) == 0)
		*ret_flag = 1;
	else if (strcmp(text, off) == 0)
		*ret_flag = 0;
	else
		return -EINVAL;
	return 0;
}

static int read_dirty(const char *text, struct vu_config *c)
{
	if (strcmp(text, "auto") == 0)
		c->dirty = VU_DIRTY_AUTO;
	else if (strcmp(text, "device") == 0)
		c->dirty = VU_DIRTY_DEVICE;
	else if (strcmp(text, "all") == 0)
		c->dirty = VU_DIRTY_ALL;
	else
		return -EINVAL;
	return 0;
}

static int read_share(const char *text, struct vu_config *c)
{
	if (strcmp(text, "auto") == 0)
		c->share = VU_SHARE_AUTO;
	else if (strcmp(text, "share") == 0)
		c->share = VU_SHARE_ALL;
	else if (strcmp(text, "messages") == 0)
		c->share = VU_SHARE_NONE;
	else
		return -EINVAL;
	return 0;
}

/* 0, -EINVAL: not a value for this key; -ENOENT: no such key. */
static int read_key(const char *key, const char *value, struct vu_config *c)
{
	if (strcmp(key, "timeout") == 0)
		return read_number(value, 1, TIMEOUT_S_MAX, &c->timeout_s);
	if (strcmp(key, "arc-timeout") == 0)
		return read_number(value, 1, TIMEOUT_S_MAX, &c->arc_timeout_s);
	if (strcmp(key, "xfer") == 0)
		return read_number(value, VU_XFER_MIN, VU_XFER_MAX, &c->xfer);
	if (strcmp(key, "twin") == 0)
		return read_word(value, "off", "on", &c->twin);
	if (strcmp(key, "dma") == 0)
		return read_share(value, c);
	if (strcmp(key, "dirty") == 0)
		return read_dirty(value, c);
	return -ENOENT;
}

static int read_path(const char *text, struct vu_config *c, struct hf_error *err)
{
	if (!*text)
		return error_set(err, HF_E_INVALID, 0, "vfio-user: there is no path of a socket");
	if (strlen(text) >= sizeof(((struct sockaddr_un *)NULL)->sun_path))
		return error_set(err, HF_E_INVALID, 0,
				 "vfio-user: the path of its socket is longer than %zu bytes: %s",
				 sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1, text);
	(void)snprintf(c->path, sizeof(c->path), "%s", text);
	return 0;
}

int vu_uri_parse(const char *rest, const char *name, struct vu_config *ret_config,
		 struct hf_error *err)
{
	struct vu_config c = { .timeout_s = TIMEOUT_S,
			       .arc_timeout_s = ARC_TIMEOUT_S,
			       .xfer = VU_XFER_DEFAULT,
			       .twin = 1 };
	char text[HF_URI_MAX];
	char *at = text;
	int r;

	if (strlen(rest) >= sizeof(text))
		return error_set(err, HF_E_INVALID, 0,
				 "vfio-user: its URI is longer than %zu bytes", sizeof(text) - 1);
	(void)snprintf(text, sizeof(text), "%s", rest);
	r = read_path(strsep(&at, ","), &c, err);
	while (r == 0 && at) {
		char *key = strsep(&at, ",");
		char *value = strchr(key, '=');

		if (!value)
			return error_set(err, HF_E_INVALID, 0, "vfio-user: \"%s\" is not KEY=VALUE",
					 key);
		*value++ = 0;
		r = read_key(key, value, &c);
		if (r == -ENOENT)
			return error_set(err, HF_E_INVALID, 0, "vfio-user: there is no key \"%s\"",
					 key);
		if (r < 0)
			return error_set(err, HF_E_INVALID, 0, "vfio-user: %s cannot be \"%s\"",
					 key, value);
	}
	if (r < 0)
		return r;
	(void)snprintf(c.name, sizeof(c.name), "%s", name ? name : "vfio-user");
	*ret_config = c;
	return 0;
}
