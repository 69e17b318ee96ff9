/* SPDX-License-Identifier: BSD-3-Clause */
/* Members of struct hf_device_ops that came later: a table may end before them. */
#ifndef BACKEND_DEVICE_OPS_H
#define BACKEND_DEVICE_OPS_H

#include <errno.h>
#include <stddef.h>

#include <holdfast/backend.h>

#define DEVICE_OPS_SIZE_MIN (offsetof(struct hf_device_ops, close) + sizeof(void (*)(void *)))

static inline int device_ops_map_calls(struct hf_device d, uint64_t iova, uint64_t size,
				       const struct hf_dma_calls *calls, uint32_t flags)
{
	if (d.ops->size < offsetof(struct hf_device_ops, why) || !d.ops->dma_map_calls)
		return -EOPNOTSUPP;
	return d.ops->dma_map_calls(d.self, iova, size, calls, flags);
}

static inline void device_ops_why(struct hf_device d, char *ret_text, size_t size)
{
	ret_text[0] = 0;
	if (d.ops->size >= sizeof(struct hf_device_ops) && d.ops->why)
		d.ops->why(d.self, ret_text, size);
}

#endif
