/* SPDX-License-Identifier: BSD-3-Clause */
#include "backend/device/vfio-user/version.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "backend/device/vfio-user/message.h"

void vu_caps_default(struct vu_caps *ret_caps)
{
	*ret_caps = (struct vu_caps){ .max_msg_fds = VU_FDS_DEFAULT,
				      .max_data_xfer_size = VU_XFER_DEFAULT,
				      .max_dma_maps = VU_DMA_MAPS_MAX,
				      .pgsizes = HF_PAGE_SIZE };
}

int vu_version_encode(const struct vu_caps *caps, char *ret_text, size_t size)
{
	json_t *twin = json_pack("{s:b}", "supported", (int)caps->twin_supported);
	json_t *ours = json_pack("{s:b,s:b}", "dma_p2p", (int)caps->dma_p2p, "precopy_info",
				 (int)caps->precopy_info);
	json_t *all;
	size_t n = 0;

	if (twin && caps->has_twin_fd)
		(void)json_object_set_new(twin, "fd_index", json_integer(caps->twin_fd_index));
	if (ours && caps->compat[0]) /* a model's name may be no UTF-8: then it is not told */
		(void)json_object_set_new(ours, "compat", json_string(caps->compat));
	all = json_pack("{s:{s:I,s:I,s:I,s:I,s:o,s:o}}", "capabilities", "max_msg_fds",
			(json_int_t)caps->max_msg_fds, "max_data_xfer_size",
			(json_int_t)caps->max_data_xfer_size, "max_dma_maps",
			(json_int_t)caps->max_dma_maps, "pgsizes", (json_int_t)caps->pgsizes,
			"twin_socket", twin, "holdfast", ours);
	if (all)
		n = json_dumpb(all, ret_text, size - 1, JSON_COMPACT);
	json_decref(all);
	if (n == 0 || n > size - 1)
		return -ENOMEM;
	ret_text[n] = 0;
	return (int)n + 1;
}

/* A whole number in [min, max], cut down to most; left alone if it is not there. */
static int get_number(const json_t *from, const char *name, uint64_t min, uint64_t max,
		      uint64_t most, uint64_t *value, const char **ret_field)
{
	const json_t *member = json_object_get(from, name);
	json_int_t n;

	if (!member)
		return 0;
	n = json_integer_value(member);
	*ret_field = name;
	if (!json_is_integer(member) || n < 0 || (uint64_t)n < min || (uint64_t)n > max)
		return -EPROTO;
	*value = (uint64_t)n < most ? (uint64_t)n : most;
	return 0;
}

static int get_u32(const json_t *from, const char *name, uint64_t min, uint64_t most,
		   uint32_t *value, const char **ret_field)
{
	uint64_t v = *value;
	int r = get_number(from, name, min, INT64_MAX, most, &v, ret_field);

	*value = (uint32_t)v;
	return r;
}

static int get_boolean(const json_t *from, const char *name, uint32_t *value,
		       const char **ret_field)
{
	const json_t *member = json_object_get(from, name);

	if (!member)
		return 0;
	*ret_field = name;
	if (!json_is_boolean(member))
		return -EPROTO;
	*value = (uint32_t)json_is_true(member);
	return 0;
}

static int get_twin(const json_t *all, struct vu_caps *c, const char **ret_field)
{
	const json_t *twin = json_object_get(all, "twin_socket");
	uint64_t index = 0;
	int r;

	if (!twin)
		return 0;
	*ret_field = "twin_socket";
	if (!json_is_object(twin))
		return -EPROTO;
	r = get_boolean(twin, "supported", &c->twin_supported, ret_field);
	if (r == 0)
		r = get_number(twin, "fd_index", 0, VU_FDS_MAX - 1, VU_FDS_MAX, &index, ret_field);
	c->twin_fd_index = (uint32_t)index;
	c->has_twin_fd = json_object_get(twin, "fd_index") != NULL;
	return r;
}

static int get_ours(const json_t *all, struct vu_caps *c, const char **ret_field)
{
	const json_t *ours = json_object_get(all, "holdfast");
	const json_t *compat;
	int r;

	if (!ours)
		return 0;
	*ret_field = "holdfast";
	if (!json_is_object(ours))
		return -EPROTO;
	r = get_boolean(ours, "dma_p2p", &c->dma_p2p, ret_field);
	if (r == 0)
		r = get_boolean(ours, "precopy_info", &c->precopy_info, ret_field);
	compat = json_object_get(ours, "compat");
	if (r < 0 || !compat)
		return r;
	*ret_field = "compat";
	if (!json_is_string(compat) || json_string_length(compat) >= sizeof(c->compat))
		return -EPROTO;
	(void)snprintf(c->compat, sizeof(c->compat), "%s", json_string_value(compat));
	return 0;
}

static int get_all(const json_t *all, struct vu_caps *c, const char **ret_field)
{
	int r = get_u32(all, "max_msg_fds", 0, VU_FDS_MAX, &c->max_msg_fds, ret_field);

	if (r == 0)
		r = get_u32(all, "max_data_xfer_size", VU_XFER_MIN, VU_XFER_MAX,
			    &c->max_data_xfer_size, ret_field);
	if (r == 0)
		r = get_u32(all, "max_dma_maps", 1, VU_DMA_MAPS_MAX, &c->max_dma_maps, ret_field);
	if (r == 0)
		r = get_number(all, "pgsizes", HF_PAGE_SIZE, INT64_MAX, UINT64_MAX, &c->pgsizes,
			       ret_field);
	if (r == 0 && !(c->pgsizes & HF_PAGE_SIZE)) {
		*ret_field = "pgsizes";
		r = -EPROTO;
	}
	if (r == 0)
		r = get_twin(all, c, ret_field);
	return r < 0 ? r : get_ours(all, c, ret_field);
}

int vu_version_decode(const char *text, size_t size, struct vu_caps *ret_caps,
		      const char **ret_field)
{
	struct vu_caps c;
	const json_t *all;
	json_t *root;
	int r = 0;

	vu_caps_default(&c);
	*ret_field = "version data";
	if (size > VU_VERSION_TEXT_MAX)
		return -EPROTO;
	if (size <= 1) {
		*ret_caps = c;
		return 0;
	}
	root = json_loadb(text, size - 1, JSON_REJECT_DUPLICATES, NULL);
	if (!root)
		return -EPROTO;
	all = json_object_get(root, "capabilities");
	if (!json_is_object(root) || (all && !json_is_object(all))) {
		*ret_field = "capabilities";
		r = -EPROTO;
	} else if (all) {
		r = get_all(all, &c, ret_field);
	}
	json_decref(root);
	if (r == 0)
		*ret_caps = c;
	return r;
}
