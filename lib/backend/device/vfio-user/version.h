/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the two ends of a vfio-user connection can do, as the JSON text of the VERSION message has
 * it (the specification's section "Version Data Format"). Capabilities that are not known are
 * ignored, as the specification wants; ones that are known and make no sense are errors.
 */
#ifndef BACKEND_DEVICE_VFIO_USER_VERSION_H
#define BACKEND_DEVICE_VFIO_USER_VERSION_H

#include <stddef.h>
#include <stdint.h>

#include <holdfast/types.h>

#define VU_MAJOR_SPOKEN 0u
#define VU_MINOR_SPOKEN 2u
#define VU_VERSION_TEXT_MAX 4096u /* bytes, with the NUL, of the text that is taken */

#define VU_FDS_MAX 64u /* that we take in one message */
#define VU_FDS_DEFAULT 1u
#define VU_XFER_MAX (64u << 20) /* that we believe a peer */
#define VU_XFER_MIN 4096u
#define VU_DMA_MAPS_MAX 65535u

struct vu_caps {
	uint32_t max_msg_fds, max_data_xfer_size, max_dma_maps;
	uint32_t twin_supported;
	uint32_t twin_fd_index; /* in the descriptors of the reply; of a reply that has some */
	uint32_t has_twin_fd;
	uint64_t pgsizes;
	/* Ours, under "holdfast": */
	uint32_t dma_p2p, precopy_info;
	char compat[HF_NAME_MAX]; /* hf_device_info.compat of the device behind it; "" */
};

/* What a peer can that says nothing. */
void vu_caps_default(struct vu_caps *ret_caps);

/* Text with its NUL into ret_text. Returns its bytes, or -ENOMEM. */
int vu_version_encode(const struct vu_caps *caps, char *ret_text, size_t size);

/* size 0: defaults. 0, -ENOMEM, or -EPROTO with what is wrong. */
int vu_version_decode(const char *text, size_t size, struct vu_caps *ret_caps,
		      const char **ret_field);

#endif
