/* SPDX-License-Identifier: BSD-3-Clause */
/* Reading the keys of uri.h. */
#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "backend/device/sim/defect.h"
#include "backend/device/sim/uri.h"
#include "base/error.h"

#define ARC_MS_MAX 600000u
#define LATENCY_US_MAX 60000000u

/* Digits and at most one of K, M, G. 0 or -EINVAL. */
static int read_number(const char *text, uint64_t max, uint64_t *ret_number)
{
	uint64_t n = 0, unit = 1;

	if (!isdigit((unsigned char)*text))
		return -EINVAL;
	for (; isdigit((unsigned char)*text); text++) {
		uint64_t digit = (uint64_t)(*text - '0');

		if (n > (UINT64_MAX - digit) / 10)
			return -EINVAL;
		n = n * 10 + digit;
	}
	if (*text == 'K')
		unit = 1ull << 10;
	else if (*text == 'M')
		unit = 1ull << 20;
	else if (*text == 'G')
		unit = 1ull << 30;
	if (unit > 1)
		text++;
	if (*text || n > max / unit)
		return -EINVAL;
	*ret_number = n * unit;
	return 0;
}

static int read_u32(const char *text, uint32_t max, uint32_t *ret_number)
{
	uint64_t n = 0;
	int r = read_number(text, max, &n);

	if (r == 0)
		*ret_number = (uint32_t)n;
	return r;
}

static int read_switch(const char *text, uint32_t *flags, uint32_t flag)
{
	if (strcmp(text, "on") == 0)
		*flags |= flag;
	else if (strcmp(text, "off") == 0)
		*flags &= ~flag;
	else
		return -EINVAL;
	return 0;
}

static int read_state(const char *text, struct sim_config *c)
{
	uint64_t n = 0;

	if (read_number(text, SIM_STATE_MAX, &n) < 0 || n < SIM_STATE_MIN || (n & (n - 1)))
		return -EINVAL;
	c->state_size = n;
	return 0;
}

static int read_flags(const char *text, struct sim_config *c)
{
	uint32_t n = 0;

	if (read_u32(text, 7, &n) < 0 || !(n & HF_MIG_STOP_COPY))
		return -EINVAL;
	c->mig_flags = n;
	return 0;
}

static int read_model(const char *text, struct sim_config *c)
{
	size_t n = strlen(text);

	if (n == 0 || n >= sizeof(c->model))
		return -EINVAL;
	for (size_t i = 0; i < n; i++)
		if (!isalnum((unsigned char)text[i]) && !strchr("-_.", text[i]))
			return -EINVAL;
	memset(c->model, 0, sizeof(c->model)); /* it is compared in full */
	memcpy(c->model, text, n);
	return 0;
}

static int read_defect(const char *text, struct sim_config *c)
{
	const struct defect_row *row = sim_defect_find(text);

	if (!row || c->defect_count == SIM_DEFECTS_MAX)
		return -EINVAL;
	c->defects[c->defect_count++] = row;
	return 0;
}

/* 0, -EINVAL: not a value for this key; -ENOENT: no such key. */
static int read_key(const char *key, const char *value, struct sim_config *c)
{
	if (strcmp(key, "state") == 0)
		return read_state(value, c);
	if (strcmp(key, "flags") == 0)
		return read_flags(value, c);
	if (strcmp(key, "model") == 0)
		return read_model(value, c);
	if (strcmp(key, "precopy") == 0)
		return read_switch(value, &c->mig_flags, HF_MIG_PRE_COPY);
	if (strcmp(key, "p2p") == 0)
		return read_switch(value, &c->mig_flags, HF_MIG_P2P);
	if (strcmp(key, "data_size") == 0)
		return read_switch(value, &c->device_flags, HF_DEVICE_HAS_DATA_SIZE);
	if (strcmp(key, "logging") == 0)
		return read_switch(value, &c->device_flags, HF_DEVICE_HAS_DMA_LOGGING);
	if (strcmp(key, "arc_ms") == 0)
		return read_u32(value, ARC_MS_MAX, &c->arc_ms);
	if (strcmp(key, "latency_us") == 0)
		return read_u32(value, LATENCY_US_MAX, &c->latency_us);
	if (strcmp(key, "rate") == 0)
		return read_number(value, UINT64_MAX, &c->rate);
	if (strcmp(key, "seed") == 0)
		return read_number(value, UINT64_MAX, &c->seed);
	if (strcmp(key, "defect") == 0)
		return read_defect(value, c);
	return -ENOENT;
}

int sim_uri_parse(const char *keys, const char *name, struct sim_config *ret_config,
		  struct hf_error *err)
{
	struct sim_config c = {
		.state_size = 16u << 20,
		.mig_flags = HF_MIG_STOP_COPY | HF_MIG_P2P | HF_MIG_PRE_COPY,
		.device_flags =
			HF_DEVICE_HAS_DATA_SIZE | HF_DEVICE_HAS_DMA_LOGGING | HF_DEVICE_HAS_RESET,
		.model = "basic",
	};
	char text[HF_URI_MAX];
	char *rest = text;

	if (strlen(keys) >= sizeof(text))
		return error_set(err, HF_E_INVALID, 0, "sim: its keys are longer than %zu bytes",
				 sizeof(text) - 1);
	(void)snprintf(text, sizeof(text), "%s", keys);
	(void)snprintf(c.name, sizeof(c.name), "%s", name ? name : "sim");
	while (*keys && rest) {
		char *key = strsep(&rest, ",");
		char *value = strchr(key, '=');
		int r;

		if (!value)
			return error_set(err, HF_E_INVALID, 0, "sim: \"%s\" is not KEY=VALUE", key);
		*value++ = 0;
		r = read_key(key, value, &c);
		if (r == -ENOENT)
			return error_set(err, HF_E_INVALID, 0, "sim: there is no key \"%s\"", key);
		if (r < 0)
			return error_set(err, HF_E_INVALID, 0, "sim: %s cannot be \"%s\"", key,
					 value);
	}
	*ret_config = c;
	return 0;
}
