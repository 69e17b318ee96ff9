/* SPDX-License-Identifier: BSD-3-Clause */
/* Bodies of sections `.../vfio`: tags, device data, and the configuration of a PCI device. */
#include <string.h>

#include "guard/stream.h"

#define END_OF_STATE (VFIO_TAG | 1)
#define CONFIGURATION VFIO_TAG_CONFIGURATION
#define SETUP (VFIO_TAG | 3)
#define DATA (VFIO_TAG | 4)
#define INIT_DATA_SENT (VFIO_TAG | 5)
#define CONFIG_LOAD_READY (VFIO_TAG | 6)

#define DATA_MAX (UINT64_C(1) << 40) /* one read of a device; nobody has a buffer like that */
#define PCI_VERSION 2
#define PCI_FIXED (4 + 16) /* version, levels of the four pins */
#define DISPLAY_MAX 512 /* the one subsection there is, with room */

bool vfio_is(const char *idstr)
{
	const char *slash = strrchr(idstr, '/');

	return strcmp(slash ? slash + 1 : idstr, "vfio") == 0;
}

/* ---- the configuration --------------------------------------------------------------------- */

/* Bytes of the MSI-X table and its pending bits, by the capability in the configuration space. */
static size_t msix_bytes(const uint8_t *space)
{
	uint8_t at = space[0x34] & 0xfc;

	if (!(space[0x06] & 0x10)) /* status: no list of capabilities */
		return 0;
	for (unsigned int i = 0; i < 48 && at >= 0x40; i++) { /* a ring has no end */
		if (space[at] == 0x11) {
			size_t vectors = ((size_t)(space[at + 3] & 7) << 8 | space[at + 2]) + 1;

			return vectors * 16 + (vectors + 7) / 8;
		}
		at = space[at + 1] & 0xfc;
	}
	return 0;
}

/* What stands `at` bytes ahead can be the end of the configuration: the tag, or a subsection. */
static bool ends_at(struct decode *decode, size_t at)
{
	static const char prefix[] = "VFIOPCIDevice/";
	const uint8_t *bytes;

	if (reader_peek(decode->reader, at + 8, &bytes) < at + 8)
		return false;
	if (be64(bytes + at) == END_OF_STATE)
		return true;
	if (bytes[at] != ITEM_SUBSECTION || bytes[at + 1] < sizeof(prefix) - 1 ||
	    reader_peek(decode->reader, at + 2 + sizeof(prefix) - 1, &bytes) <
		    at + 2 + sizeof(prefix) - 1)
		return false;
	return memcmp(bytes + at + 2, prefix, sizeof(prefix) - 1) == 0;
}

/* The length of the fixed part: the space may be short or long, MSI-X may be hidden. */
static size_t fixed_length(struct decode *decode, size_t msix)
{
	static const size_t spaces[] = { 4096, 256 };

	for (unsigned int i = 0; i < 2; i++) {
		if (ends_at(decode, PCI_FIXED + spaces[i] + msix))
			return PCI_FIXED + spaces[i] + msix;
		if (msix && ends_at(decode, PCI_FIXED + spaces[i]))
			return PCI_FIXED + spaces[i];
	}
	return 0;
}

/* The subsection, if it is there; its layout is that of a frame buffer, and of no interest. */
static int display(struct decode *decode)
{
	for (size_t at = 0; at < DISPLAY_MAX; at++) {
		const uint8_t *bytes;

		if (decode_need(decode, at + 8, &bytes, "a subsection of the configuration") < 0)
			return -1;
		if (be64(bytes + at) == END_OF_STATE) {
			reader_take(decode->reader, at);
			return 0;
		}
	}
	return decode_bad(decode, 0, "END_OF_STATE behind at most %d bytes of a subsection",
			  DISPLAY_MAX);
}

int vfio_configuration(struct decode *decode, struct vfio_sums *sums)
{
	const uint8_t *bytes;
	size_t fixed, msix;

	sums->configuration = true;
	if (decode_need(decode, 8, &bytes, "a device's configuration") < 0)
		return -1;
	if (be64(bytes) != END_OF_STATE) { /* else it is no PCI device */
		if (be32(bytes) != PCI_VERSION)
			return decode_bad(decode, 0, "version %d of a PCI device's state",
					  PCI_VERSION);
		if (decode_need(decode, PCI_FIXED + 256 + 8, &bytes, "a configuration") < 0)
			return -1;
		sums->vendor = (uint16_t)(bytes[4] | bytes[5] << 8);
		sums->device = (uint16_t)(bytes[6] | bytes[7] << 8);
		msix = msix_bytes(bytes + 4);
		fixed = fixed_length(decode, msix);
		if (fixed == 0 && decode_need(decode, PCI_FIXED + 4096 + msix + 8, &bytes,
					      "a device's configuration") < 0)
			return -1;
		if (fixed == 0)
			return decode_bad(decode, PCI_FIXED + 256,
					  "END_OF_STATE behind 256 or 4096 bytes of space, four "
					  "pins and MSI-X as the space has it");
		reader_take(decode->reader, fixed);
		if (display(decode) < 0)
			return -1;
	}
	reader_take(decode->reader, 8);
	return 0;
}

/* ---- bodies -------------------------------------------------------------------------------- */

static int data(struct decode *decode, struct vfio_sums *sums)
{
	const uint8_t *bytes;
	uint64_t length;

	if (decode_need(decode, 8, &bytes, "the length of device data") < 0)
		return -1;
	length = be64(bytes);
	if (length > DATA_MAX)
		return decode_bad(decode, 0, "the length of device data");
	reader_take(decode->reader, 8);
	sums->data_count++;
	sums->data_bytes += length;
	return decode_skip(decode, length, "device data");
}

int vfio_body(struct decode *decode, uint8_t type, struct vfio_sums *sums)
{
	bool first = true;

	memset(sums, 0, sizeof(*sums));
	for (;;) {
		const uint8_t *bytes;
		uint64_t tag;

		if (decode_need(decode, 8, &bytes, "a tag of VFIO") < 0)
			return -1;
		tag = be64(bytes);
		if (tag == SETUP			   ? type != ITEM_START || !first
		    : tag == CONFIGURATION		   ? type != ITEM_FULL || !first
		    : tag == CONFIG_LOAD_READY		   ? type != ITEM_FULL || !first
		    : tag == DATA || tag == INIT_DATA_SENT ? type == ITEM_START || type == ITEM_FULL
							   : tag != END_OF_STATE)
			return decode_bad(decode, 0, "a tag of VFIO that can stand here");
		reader_take(decode->reader, 8);
		first = false;
		sums->init_data_sent |= tag == INIT_DATA_SENT;
		sums->load_ready |= tag == CONFIG_LOAD_READY;
		if (tag == CONFIGURATION)
			return vfio_configuration(decode, sums);
		if (tag == END_OF_STATE || tag == INIT_DATA_SENT || tag == CONFIG_LOAD_READY)
			return 0;
		if (tag == DATA && data(decode, sums) < 0)
			return -1;
	}
}

void vfio_fields(const struct vfio_sums *sums, struct inspect_item *item)
{
	if (sums->data_count) {
		item_number(item, "device-bytes", sums->data_bytes);
		item_number(item, "device-reads", sums->data_count);
	}
	if (sums->init_data_sent)
		item_bool(item, "init-data-sent", true);
	if (sums->load_ready)
		item_bool(item, "config-load-ready", true);
	if (sums->configuration) {
		item_hex(item, "vendor", sums->vendor);
		item_hex(item, "device", sums->device);
	}
}
