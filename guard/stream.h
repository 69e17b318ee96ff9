/* SPDX-License-Identifier: BSD-3-Clause */
/* What the parts of the decoder of QEMU's main stream share. */
#ifndef GUARD_STREAM_H
#define GUARD_STREAM_H

#include "guard/decode.h"

/* The types of items. */
#define ITEM_EOF 0x00
#define ITEM_START 0x01
#define ITEM_PART 0x02
#define ITEM_END 0x03
#define ITEM_FULL 0x04
#define ITEM_SUBSECTION 0x05
#define ITEM_DESCRIPTION 0x06
#define ITEM_CONFIGURATION 0x07
#define ITEM_COMMAND 0x08
#define ITEM_FOOTER 0x7e

#define SECTIONS_MAX 4096u
#define BLOCKS_MAX 4096u

struct section {
	uint32_t id, instance, version;
	bool iterable; /* START was seen */
	bool ended; /* END was seen */
	bool full;
	uint32_t count; /* items of it */
	uint64_t bytes, full_bytes; /* of all items with headers; of the body of FULL */
	uint64_t took_ns;
	char idstr[256];
};

struct block {
	char name[256];
	uint64_t used;
};

struct ram_sums {
	uint64_t pages, zeros, xbzrle, compressed, flushes;
};

/* Records of RAM, on the main stream or the pre-empt channel. */
struct ram {
	struct block *blocks;
	uint32_t block_count;
	bool listed; /* blocks holds all of them; else any name is right */
	bool shared; /* capability x-ignore-shared: addresses are in the list */
	bool mapped; /* capability mapped-ram: pages are in place */
	uint64_t page_sizes; /* POSTCOPY_ADVISE: OR of the blocks' page sizes */
	bool block_known; /* CONTINUE has something to continue */
	uint64_t block_used;
	char block_name[256];
	struct ram_sums sums; /* of the section that is being read */
};

enum footers { FOOTERS_UNKNOWN, FOOTERS_ON, FOOTERS_OFF };

struct stream {
	struct decode *decode;
	struct section *sections;
	uint32_t section_count, section_room;
	struct ram ram;
	enum footers footers;
	bool recovery; /* what was started before is not in this stream */
	bool listening; /* POSTCOPY_LISTEN: there will be no description */
	bool guessed; /* the end of the body was, for lack of footers */
};

/* section.c: the table, and where opaque bodies end. */
struct section *section_of(struct stream *stream, uint32_t id);
struct section *section_add(struct stream *stream, uint32_t id, const char *idstr);
/* What begins `at` bytes ahead can be an item of this stream. */
bool section_plausible(struct stream *stream, size_t at, bool strict);
/* Reads over a body whose layout is unknown; the reader stands at its footer then. */
int section_opaque(struct stream *stream, const struct section *section);

int configuration_decode(struct stream *stream);
int command_decode(struct stream *stream);
bool command_plausible(uint16_t number, uint16_t length);
int description_decode(struct stream *stream);

int ram_body(struct decode *decode, struct ram *ram, bool start);
void ram_fields(const struct ram *ram, struct inspect_item *item);
void ram_done(struct ram *ram);

/* VFIO: what a body of a section had, and the configuration of a PCI device. */
struct vfio_sums {
	uint64_t data_bytes, data_count;
	bool init_data_sent, load_ready, configuration;
	uint16_t vendor, device;
};

bool vfio_is(const char *idstr);
int vfio_body(struct decode *decode, uint8_t type, struct vfio_sums *sums);
/* Behind the tag of a configuration, END_OF_STATE included. */
int vfio_configuration(struct decode *decode, struct vfio_sums *sums);
void vfio_fields(const struct vfio_sums *sums, struct inspect_item *item);
#define VFIO_TAG 0xffffffffef100000u
#define VFIO_TAG_CONFIGURATION (VFIO_TAG | 2)

#endif
