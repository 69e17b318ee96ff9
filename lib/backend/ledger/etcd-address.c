/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * URL[,URL...][?OPTION=VALUE[&...]]. Two hosts that mean the same ledger must come to the same
 * text, so endpoints are sorted, written with their port, and in lower case; see docs/ledger.md.
 */
#include "backend/ledger/etcd-address.h"

#include <arpa/inet.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

#define PORT_DEFAULT "2379"
#define PREFIX_DEFAULT "holdfast"
#define HOST_MAX 128u /* with the NUL; three of them fit into one URI */

/* A piece of the text, not terminated. */
struct piece {
	const char *text;
	size_t length;
};

/* Up to the first stop; *rest is what stands behind it, or text NULL. */
static struct piece cut(struct piece whole, char stop, struct piece *rest)
{
	const char *at = memchr(whole.text, stop, whole.length);

	if (!at) {
		*rest = (struct piece){ NULL, 0 };
		return whole;
	}
	*rest = (struct piece){ at + 1, (size_t)(whole.text + whole.length - at - 1) };
	return (struct piece){ whole.text, (size_t)(at - whole.text) };
}

static bool starts(struct piece *piece, const char *with)
{
	size_t length = strlen(with);

	if (piece->length < length || strncasecmp(piece->text, with, length) != 0)
		return false;
	piece->text += length;
	piece->length -= length;
	return true;
}

static bool only(const char *text, const char *allowed)
{
	return text[0] && text[strspn(text, allowed)] == '\0';
}

/* ---- endpoints ------------------------------------------------------------------------------- */

/* One spelling: an IPv6 address has many, a name has capitals. False: it is neither. */
static bool normal_host(struct piece host, char ret_host[HOST_MAX])
{
	struct in6_addr address;
	char text[HOST_MAX];

	if (host.length == 0 || host.length >= sizeof(text))
		return false;
	memcpy(text, host.text, host.length);
	text[host.length] = '\0';
	if (text[0] == '[' && text[host.length - 1] == ']') {
		text[host.length - 1] = '\0';
		if (inet_pton(AF_INET6, text + 1, &address) != 1 ||
		    !inet_ntop(AF_INET6, &address, text, sizeof(text)))
			return false;
		(void)snprintf(ret_host, HOST_MAX, "[%.64s]", text);
		return true;
	}
	for (char *at = text; *at; at++)
		if (*at >= 'A' && *at <= 'Z')
			*at = (char)(*at - 'A' + 'a');
	memcpy(ret_host, text, host.length + 1);
	return only(text, "abcdefghijklmnopqrstuvwxyz0123456789.-_") && text[0] != '-';
}

/* Up to five digits, 1..65535, without what could be written in two ways. */
static bool port_ok(struct piece port)
{
	unsigned int value = 0;

	if (port.length == 0 || port.length > 5 || port.text[0] == '0')
		return false;
	for (size_t i = 0; i < port.length; i++) {
		if (port.text[i] < '0' || port.text[i] > '9')
			return false;
		value = value * 10 + (unsigned int)(port.text[i] - '0');
	}
	return value <= 65535;
}

/* Where the host ends and ":PORT" may begin. */
static struct piece cut_host(struct piece url, struct piece *ret_port)
{
	const char *close = url.text[0] == '[' ? memchr(url.text, ']', url.length) : NULL;
	struct piece host, tail = url;

	if (!close)
		return cut(url, ':', ret_port);
	host = (struct piece){ url.text, (size_t)(close + 1 - url.text) };
	tail.text = close + 1;
	tail.length = url.length - host.length;
	*ret_port = (struct piece){ NULL, 0 };
	if (tail.length == 0)
		return host;
	if (tail.text[0] != ':')
		return url; /* no host is written like that */
	*ret_port = (struct piece){ tail.text + 1, tail.length - 1 };
	return host;
}

/* ret_endpoint: SCHEME://HOST:PORT. */
static int parse_endpoint(struct piece url, char ret_endpoint[HF_URI_MAX], struct hf_error *err)
{
	struct piece rest = url, host, port;
	char name[HOST_MAX];
	const char *scheme;

	/* Not repeated in the message: what stands before the @ is a secret. */
	if (memchr(url.text, '@', url.length))
		return error_set(err, HF_E_INVALID, 0,
				 "ledger etcd: no user and no password in a URL; there are the "
				 "options user and password-file");
	if (starts(&rest, "https://"))
		scheme = "https";
	else if (starts(&rest, "http://"))
		scheme = "http";
	else
		return error_set(err, HF_E_INVALID, 0,
				 "ledger etcd: \"%.*s\" begins with neither http:// nor https://",
				 (int)(url.length < 100 ? url.length : 100), url.text);
	if (rest.length && rest.text[rest.length - 1] == '/')
		rest.length--;
	if (rest.length == 0)
		return error_set(err, HF_E_INVALID, 0, "ledger etcd: a URL has no host");
	host = cut_host(rest, &port);
	if (!normal_host(host, name))
		return error_set(err, HF_E_INVALID, 0,
				 "ledger etcd: \"%.*s\" is no host (a URL has no path either)",
				 (int)(host.length < 100 ? host.length : 100), host.text);
	if (!port.text)
		port = (struct piece){ PORT_DEFAULT, strlen(PORT_DEFAULT) };
	if (!port_ok(port))
		return error_set(err, HF_E_INVALID, 0,
				 "ledger etcd: \"%.*s\" is no port from 1 to 65535",
				 (int)(port.length < 100 ? port.length : 100), port.text);
	(void)snprintf(ret_endpoint, HF_URI_MAX, "%s://%s:%.*s", scheme, name, (int)port.length,
		       port.text);
	return 0;
}

static int compare(const void *a, const void *b)
{
	return strcmp(a, b);
}

/* Sorted, and each once. */
static int parse_endpoints(struct piece list, struct etcd_address *address, struct hf_error *err)
{
	char found[ETCD_ENDPOINTS_MAX][HF_URI_MAX];
	struct piece url;
	uint32_t count = 0;
	int r;

	while (list.text) {
		url = cut(list, ',', &list);
		if (count == ETCD_ENDPOINTS_MAX)
			return error_set(err, HF_E_INVALID, 0,
					 "ledger etcd: more than %u endpoints", ETCD_ENDPOINTS_MAX);
		r = parse_endpoint(url, found[count++], err);
		if (r < 0)
			return r;
	}
	qsort(found, count, sizeof(found[0]), compare);
	for (uint32_t i = 0; i < count; i++)
		if (i == 0 || strcmp(found[i], found[i - 1]) != 0)
			memcpy(address->endpoints[address->count++], found[i], HF_URI_MAX);
	return 0;
}

/* ---- options --------------------------------------------------------------------------------- */

/* One "NAME=VALUE" into the member it names. */
static int parse_option(struct piece option, struct etcd_address *address, struct hf_error *err)
{
	const struct {
		const char *name;
		char *value;
		size_t size;
		bool is_path;
	} known[] = {
		{ "cacert", address->cacert, sizeof(address->cacert), true },
		{ "cert", address->cert, sizeof(address->cert), true },
		{ "key", address->key, sizeof(address->key), true },
		{ "user", address->user, sizeof(address->user), false },
		{ "password-file", address->password_file, sizeof(address->password_file), true },
		{ "prefix", address->prefix, sizeof(address->prefix), false },
	};
	struct piece value, name = cut(option, '=', &value);
	int length = (int)(name.length < 40 ? name.length : 40);

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if (strlen(known[i].name) != name.length ||
		    memcmp(known[i].name, name.text, name.length) != 0)
			continue;
		if (!value.text || value.length == 0)
			return error_set(err, HF_E_INVALID, 0,
					 "ledger etcd: option %s has no value", known[i].name);
		if (known[i].value[0])
			return error_set(err, HF_E_INVALID, 0,
					 "ledger etcd: option %s is there twice", known[i].name);
		if (value.length >= known[i].size)
			return error_set(err, HF_E_INVALID, 0,
					 "ledger etcd: option %s: longer than %zu bytes",
					 known[i].name, known[i].size - 1);
		if (known[i].is_path && value.text[0] != '/')
			return error_set(err, HF_E_INVALID, 0,
					 "ledger etcd: option %s: the path is not absolute",
					 known[i].name);
		memcpy(known[i].value, value.text, value.length);
		return 0;
	}
	return error_set(err, HF_E_INVALID, 0,
			 "ledger etcd: \"%.*s\" is none of the options cacert, cert, key, user, "
			 "password-file, prefix",
			 length, name.text);
}

static int check_prefix(struct etcd_address *address, struct hf_error *err)
{
	size_t length = strlen(address->prefix);

	while (length && address->prefix[length - 1] == '/')
		address->prefix[--length] = '\0';
	if (!only(address->prefix, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				   "0123456789._/-"))
		return error_set(err, HF_E_INVALID, 0,
				 "ledger etcd: option prefix: not 1..63 of [A-Za-z0-9._/-]");
	return 0;
}

static int check_options(const struct etcd_address *address, struct hf_error *err)
{
	bool is_tls = false;

	for (uint32_t i = 0; i < address->count; i++)
		is_tls = is_tls || strncmp(address->endpoints[i], "https:", 6) == 0;
	if (!is_tls && (address->cacert[0] || address->cert[0] || address->key[0]))
		return error_set(err, HF_E_INVALID, 0,
				 "ledger etcd: cacert, cert and key are for https:// endpoints, "
				 "and there is none");
	if (!address->cert[0] != !address->key[0])
		return error_set(err, HF_E_INVALID, 0,
				 "ledger etcd: of the options cert and key there must be both");
	if (!address->user[0] != !address->password_file[0])
		return error_set(err, HF_E_INVALID, 0,
				 "ledger etcd: of the options user and password-file there must be "
				 "both");
	return 0;
}

/* ---- the whole ------------------------------------------------------------------------------- */

static int put_uri(struct etcd_address *address, struct hf_error *err)
{
	char uri[sizeof(address->endpoints) + sizeof(address->prefix) + 32];
	size_t used = (size_t)snprintf(uri, sizeof(uri), "etcd:");

	for (uint32_t i = 0; i < address->count; i++)
		used += (size_t)snprintf(uri + used, sizeof(uri) - used, "%s%s", i ? "," : "",
					 address->endpoints[i]);
	if (strcmp(address->prefix, PREFIX_DEFAULT) != 0)
		used += (size_t)snprintf(uri + used, sizeof(uri) - used, "?prefix=%s",
					 address->prefix);
	if (used >= sizeof(address->uri))
		return error_set(err, HF_E_INVALID, 0,
				 "ledger etcd: endpoints and prefix are longer than %zu bytes",
				 sizeof(address->uri) - 1);
	memcpy(address->uri, uri, used + 1);
	return 0;
}

int etcd_address_parse(const char *text, struct etcd_address *ret_address, struct hf_error *err)
{
	struct piece whole = { text, strnlen(text, ETCD_ADDRESS_MAX) }, options, list;
	struct etcd_address address;
	int r = 0;

	memset(&address, 0, sizeof(address));
	if (whole.length == ETCD_ADDRESS_MAX)
		return error_set(err, HF_E_INVALID, 0, "ledger etcd: longer than %u bytes",
				 ETCD_ADDRESS_MAX - 1);
	for (size_t i = 0; i < whole.length; i++)
		if ((unsigned char)text[i] <= ' ' || (unsigned char)text[i] >= 0x7f)
			return error_set(err, HF_E_INVALID, 0,
					 "ledger etcd: byte 0x%02x has no place in it",
					 (unsigned char)text[i]);
	list = cut(whole, '?', &options);
	while (r == 0 && options.text) {
		struct piece option = cut(options, '&', &options);

		r = parse_option(option, &address, err);
	}
	if (r == 0 && !address.prefix[0])
		memcpy(address.prefix, PREFIX_DEFAULT, sizeof(PREFIX_DEFAULT));
	if (r < 0 || (r = parse_endpoints(list, &address, err)) < 0 ||
	    (r = check_prefix(&address, err)) < 0 || (r = check_options(&address, err)) < 0 ||
	    (r = put_uri(&address, err)) < 0)
		return r;
	*ret_address = address;
	return 0;
}
