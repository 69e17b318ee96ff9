/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libcurl, told to do nothing that was not asked for: no proxy from the environment, no redirect,
 * no other protocol, no signal, no answer without a limit.
 *
 * When a connection that was kept open turns out to be dead before a byte of an answer came,
 * libcurl sends the request again on a new one. That is as safe as our own repeating (etcd.c).
 */
#include "backend/ledger/etcd-http.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <curl/curl.h>

#include "backend/ledger/etcd-message.h"
#include "base/error.h"

#define CONNECT_MS 1000u /* a member that is gone must leave time for another */

struct etcd_http {
	CURL *curl;
	struct curl_slist *headers; /* of the last request */
	char *answer;
	size_t used, room;
	char words[CURL_ERROR_SIZE];
};

/* ---- one request ------------------------------------------------------------------------------
 */

/* Called with pieces of the answer. What is not taken makes the request fail. */
static size_t take(char *bytes, size_t one, size_t count, void *ctx)
{
	struct etcd_http *http = ctx;
	size_t size = one * count, room = http->room;
	char *more;

	if (size > ETCD_ANSWER_MAX - http->used)
		return 0;
	while (room < http->used + size)
		room = room ? 2 * room : 8192;
	if (room > http->room) {
		more = realloc(http->answer, room);
		if (!more)
			return 0;
		http->answer = more;
		http->room = room;
	}
	memcpy(http->answer + http->used, bytes, size);
	http->used += size;
	return size;
}

/* The headers of the next request. False: no memory; the old ones stay. */
static bool set_headers(struct etcd_http *http, const char *token)
{
	char line[ETCD_TOKEN_MAX + 32];
	struct curl_slist *headers = NULL, *more;
	const char *lines[] = { "Content-Type: application/json", "Expect:", line };

	(void)snprintf(line, sizeof(line), "Authorization: %s", token);
	for (size_t i = 0; i < (token[0] ? 3 : 2); i++) {
		more = curl_slist_append(headers, lines[i]);
		if (!more) {
			curl_slist_free_all(headers);
			return false;
		}
		headers = more;
	}
	(void)curl_easy_setopt(http->curl, CURLOPT_HTTPHEADER, headers);
	curl_slist_free_all(http->headers);
	http->headers = headers;
	return true;
}

/* A failure after which the request cannot have arrived, as there was nobody to send it to. */
static bool is_not_sent(CURLcode code)
{
	return code == CURLE_COULDNT_CONNECT || code == CURLE_COULDNT_RESOLVE_HOST ||
	       code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CONNECT_ERROR ||
	       code == CURLE_SSL_CERTPROBLEM || code == CURLE_SSL_CACERT_BADFILE;
}

static enum etcd_sent perform(struct etcd_http *http, const char *endpoint,
			      struct etcd_answer *ret_answer, struct hf_error *err)
{
	long status = 0;
	CURLcode code;

	http->words[0] = '\0';
	http->used = 0;
	code = curl_easy_perform(http->curl);
	if (code == CURLE_OK)
		code = curl_easy_getinfo(http->curl, CURLINFO_RESPONSE_CODE, &status);
	if (code == CURLE_OK) {
		*ret_answer =
			(struct etcd_answer){ (unsigned int)status, http->answer, http->used };
		return ETCD_ANSWERED;
	}
	if (code == CURLE_WRITE_ERROR)
		(void)error_set(err, HF_E_LEDGER_UNKNOWN, 0,
				"%.100s: the answer is too long for our memory", endpoint);
	else
		(void)error_set(err, HF_E_LEDGER_UNKNOWN, 0, "%.100s: %.120s", endpoint,
				http->words[0] ? http->words : curl_easy_strerror(code));
	return is_not_sent(code) ? ETCD_NOT_SENT : ETCD_NO_ANSWER;
}

enum etcd_sent etcd_http_post(struct etcd_http *http, const char *endpoint, const char *path,
			      const char *token, const char *body, unsigned int limit_ms,
			      struct etcd_answer *ret_answer, struct hf_error *err)
{
	char url[HF_URI_MAX + 32];
	long limit = (long)limit_ms, connect = limit_ms < CONNECT_MS ? limit : (long)CONNECT_MS;

	(void)snprintf(url, sizeof(url), "%s%s", endpoint, path);
	if (!set_headers(http, token) ||
	    curl_easy_setopt(http->curl, CURLOPT_URL, url) != CURLE_OK ||
	    curl_easy_setopt(http->curl, CURLOPT_POSTFIELDS, body) != CURLE_OK ||
	    curl_easy_setopt(http->curl, CURLOPT_TIMEOUT_MS, limit) != CURLE_OK ||
	    curl_easy_setopt(http->curl, CURLOPT_CONNECTTIMEOUT_MS, connect) != CURLE_OK) {
		(void)error_set(err, HF_E_LEDGER_UNKNOWN, ENOMEM, "%.100s", endpoint);
		return ETCD_NOT_SENT;
	}
	return perform(http, endpoint, ret_answer, err);
}

/* ---- new and free -----------------------------------------------------------------------------
 */

static CURLcode global_code;

static void init_global(void)
{
	global_code = curl_global_init(CURL_GLOBAL_DEFAULT);
}

/* Once for the process, and never undone: the program around us may use libcurl, too. */
static bool global_ok(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	return pthread_once(&once, init_global) == 0 && global_code == CURLE_OK;
}

/* True if libcurl has taken all that is the same for every request. */
static bool set_common(struct etcd_http *http)
{
	CURL *curl = http->curl;
	CURLcode code[] = {
		curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, http->words),
		curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take),
		curl_easy_setopt(curl, CURLOPT_WRITEDATA, http),
		curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L),
		curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https"),
		curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L),
		curl_easy_setopt(curl, CURLOPT_PROXY, ""), /* and none from the environment */
		curl_easy_setopt(curl, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED),
		curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1),
		/* Rounds may take long, and then the stand-still must not pay for a connect. */
		curl_easy_setopt(curl, CURLOPT_MAXAGE_CONN, 3600L),
		/* A firewall that forgets idle connections would cost us a time-out. */
		curl_easy_setopt(curl, CURLOPT_TCP_KEEPALIVE, 1L),
		curl_easy_setopt(curl, CURLOPT_TCP_KEEPIDLE, 15L),
		curl_easy_setopt(curl, CURLOPT_TCP_KEEPINTVL, 5L),
		/* A resolver that hangs would hold us after the time limit. */
		curl_easy_setopt(curl, CURLOPT_QUICK_EXIT, 1L),
	};

	for (size_t i = 0; i < sizeof(code) / sizeof(code[0]); i++)
		if (code[i] != CURLE_OK)
			return false;
	return true;
}

/* An option for a file that must be there; "": none is given. */
static int set_file(CURL *curl, CURLoption option, const char *path, struct hf_error *err)
{
	if (!path[0])
		return 0;
	if (access(path, R_OK) < 0)
		return error_set(err, HF_E_INVALID, errno, "ledger etcd: %.150s", path);
	if (curl_easy_setopt(curl, option, path) != CURLE_OK)
		return error_set(err, HF_E_NO_MEMORY, ENOMEM, "ledger etcd");
	return 0;
}

static int set_tls(CURL *curl, const struct etcd_address *address, struct hf_error *err)
{
	int r;

	if (curl_easy_setopt(curl, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2) != CURLE_OK ||
	    curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, 1L) != CURLE_OK ||
	    curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, 2L) != CURLE_OK)
		return error_set(err, HF_E_UNSUPPORTED, 0,
				 "ledger etcd: this build's libcurl has no TLS");
	r = set_file(curl, CURLOPT_CAINFO, address->cacert, err);
	if (r == 0)
		r = set_file(curl, CURLOPT_SSLCERT, address->cert, err);
	if (r == 0)
		r = set_file(curl, CURLOPT_SSLKEY, address->key, err);
	return r;
}

int etcd_http_new(const struct etcd_address *address, struct etcd_http **ret_http,
		  struct hf_error *err)
{
	struct etcd_http *http;
	bool is_tls = false;
	int r = 0;

	if (!global_ok())
		return error_set(err, HF_E_SYSTEM, 0, "ledger etcd: libcurl cannot be used");
	http = calloc(1, sizeof(*http));
	if (http)
		http->curl = curl_easy_init();
	if (!http || !http->curl) {
		free(http);
		return error_set(err, HF_E_NO_MEMORY, ENOMEM, "ledger etcd");
	}
	for (uint32_t i = 0; i < address->count; i++)
		is_tls = is_tls || strncmp(address->endpoints[i], "https:", 6) == 0;
	if (!set_common(http))
		r = error_set(err, HF_E_SYSTEM, 0, "ledger etcd: libcurl lacks something");
	if (r == 0 && is_tls)
		r = set_tls(http->curl, address, err);
	if (r < 0) {
		(void)etcd_http_free(http);
		return r;
	}
	*ret_http = http;
	return 0;
}

struct etcd_http *etcd_http_free(struct etcd_http *http)
{
	if (!http)
		return NULL;
	curl_easy_cleanup(http->curl);
	curl_slist_free_all(http->headers);
	free(http->answer);
	free(http);
	return NULL;
}
