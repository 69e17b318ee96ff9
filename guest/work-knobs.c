/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The workload's knobs: KEY=VALUE words of a command line. A word that is not understood is an
 * error, so that a test never runs with other settings than it asked for.
 */
#include "work.h"

#include <stddef.h>

enum knob_kind { KNOB_U64, KNOB_U32, KNOB_WORD };

struct word {
	const char *text;
	uint64_t value;
};

struct knob {
	const char *name;
	enum knob_kind kind;
	uint32_t offset;
	uint64_t min, max;
	const struct word *words; /* also for numbers: dma=max */
};

static const struct word touch_words[] = { { "full", 0 }, { "header", 1 }, { NULL, 0 } };
static const struct word off_words[] = { { "on", 0 }, { "off", 1 }, { NULL, 0 } };
static const struct word order_words[] = { { "random", WORK_ORDER_RANDOM },
					   { "linear", WORK_ORDER_LINEAR },
					   { NULL, 0 } };
static const struct word max_words[] = { { "max", WORK_MAX }, { NULL, 0 } };
/* clang-format off */
static const struct word selftest_words[] = {
	{ "corrupt", WORK_SELFTEST_WORD },
	{ "word",    WORK_SELFTEST_WORD },
	{ "stale",   WORK_SELFTEST_STALE },
	{ "lost",    WORK_SELFTEST_LOST },
	{ "table",   WORK_SELFTEST_TABLE },
	{ "irq",     WORK_SELFTEST_IRQ },
	{ "dma",     WORK_SELFTEST_DMA },
	{ "command", WORK_SELFTEST_COMMAND },
	{ "uart",    WORK_SELFTEST_UART },
	{ NULL, 0 },
};

#define AT(member) offsetof(struct work_knobs, member)
static const struct knob knobs[] = {
	{ "mem",        KNOB_U64,  AT(mem_mib),      0, 1u << 24,      NULL },
	{ "rate",       KNOB_U64,  AT(rate),         0, 1u << 30,      NULL },
	{ "dma",        KNOB_U64,  AT(dma),          0, 1000000,       max_words },
	{ "seed",       KNOB_U64,  AT(seed),         0, UINT64_MAX,    NULL },
	{ "zero",       KNOB_U32,  AT(zero_percent), 0, 99,            NULL },
	{ "comp",       KNOB_U32,  AT(comp_percent), 0, 100,           NULL },
	{ "touch",      KNOB_WORD, AT(header_only),  0, 0,             touch_words },
	{ "order",      KNOB_WORD, AT(order),        0, 0,             order_words },
	{ "dma_len",    KNOB_U32,  AT(dma_len),      256, WORK_DMA_LEN_MAX, NULL },
	{ "beat",       KNOB_U32,  AT(beat_us),      0, 60000000,      NULL },
	{ "report",     KNOB_U32,  AT(report_ms),    1, 3600000,       NULL },
	{ "stop_after", KNOB_U32,  AT(stop_after_s), 0, 1u << 30,      NULL },
	{ "vcpus",      KNOB_U32,  AT(vcpus),        0, WORK_VCPUS_MAX, NULL },
	{ "witness",    KNOB_U32,  AT(witness_us),   0, 60000000,      NULL },
	{ "registers",  KNOB_WORD, AT(registers_off), 0, 0,            off_words },
	{ "pins",       KNOB_WORD, AT(pins_off),     0, 0,             off_words },
	{ "selftest",   KNOB_WORD, AT(selftest),     0, 0,             selftest_words },
};
#undef AT
/* clang-format on */

/* Is text[0..length) just this word? */
static bool is_word(const char *text, uint32_t length, const char *word)
{
	uint32_t i;

	for (i = 0; i < length; i++)
		if (word[i] == 0 || word[i] != text[i])
			return false;
	return word[length] == 0;
}

static bool number_parse(const char *text, uint32_t length, uint64_t *ret_value)
{
	uint64_t value = 0;
	uint32_t i;

	for (i = 0; i < length; i++) {
		uint64_t digit = (uint64_t)(unsigned char)text[i] - '0';

		if (digit > 9 || value > (UINT64_MAX - digit) / 10)
			return false;
		value = value * 10 + digit;
	}
	if (length == 0)
		return false;
	*ret_value = value;
	return true;
}

static bool value_parse(const struct knob *knob, const char *text, uint32_t length,
			uint64_t *ret_value)
{
	const struct word *word;

	for (word = knob->words; word && word->text; word++) {
		if (is_word(text, length, word->text)) {
			*ret_value = word->value;
			return true;
		}
	}
	return knob->kind != KNOB_WORD && number_parse(text, length, ret_value) &&
	       *ret_value >= knob->min && *ret_value <= knob->max;
}

static bool knob_set(struct work_knobs *set, const char *text, uint32_t length)
{
	uint32_t name_length = 0, i;
	uint64_t value = 0;

	while (name_length < length && text[name_length] != '=')
		name_length++;
	if (name_length == length)
		return false;
	for (i = 0; i < sizeof(knobs) / sizeof(knobs[0]); i++) {
		char *at = (char *)set + knobs[i].offset;

		if (!is_word(text, name_length, knobs[i].name))
			continue;
		if (!value_parse(&knobs[i], text + name_length + 1, length - name_length - 1,
				 &value))
			return false;
		if (knobs[i].kind == KNOB_U64)
			*(uint64_t *)(void *)at = value;
		else
			*(uint32_t *)(void *)at = (uint32_t)value;
		return true;
	}
	return false;
}

int work_knobs_parse(const char *command_line, struct work_knobs *ret_knobs, char *bad,
		     uint32_t bad_size)
{
	struct work_knobs set = {
		.dma = 1000,
		.seed = 1,
		.dma_len = 4096,
		.beat_us = 1000,
		.report_ms = 200,
	};
	const char *text = command_line;
	uint32_t i;

	while (*text) {
		uint32_t length = 0;

		while (*text == ' ')
			text++;
		while (text[length] && text[length] != ' ')
			length++;
		if (length && !knob_set(&set, text, length)) {
			for (i = 0; i < length && i + 1 < bad_size; i++)
				bad[i] = text[i];
			bad[i] = 0;
			return -1;
		}
		text += length;
	}
	if (set.zero_percent + set.comp_percent > 100 || set.dma_len % 8) {
		const char *why = set.dma_len % 8 ? "dma_len" : "zero";

		for (i = 0; why[i] && i + 1 < bad_size; i++)
			bad[i] = why[i];
		bad[i] = 0;
		return -1;
	}
	*ret_knobs = set;
	return 0;
}
