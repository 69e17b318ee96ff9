/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What stands behind "etcd:" (docs/ledger.md): equal ledgers come to equal text, and what is wrong
 * is named. Linked with the stub of a build without libcurl, to see what that one says.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <holdfast/backend.h>

#include "backend/ledger/base64.h"
#include "backend/ledger/etcd-address.h"

static void spellings_of_one_ledger_have_one_normal_form(void **state)
{
	static const struct {
		const char *text, *uri;
	} cases[] = {
		{ "http://h", "etcd:http://h:2379" },
		{ "HTTP://H.Example/", "etcd:http://h.example:2379" },
		{ "https://h", "etcd:https://h:2379" },
		{ "http://h:1", "etcd:http://h:1" },
		{ "http://h:65535/", "etcd:http://h:65535" },
		{ "http://b,http://a", "etcd:http://a:2379,http://b:2379" },
		{ "http://a:2379,http://A/,http://b", "etcd:http://a:2379,http://b:2379" },
		{ "https://a,http://a", "etcd:http://a:2379,https://a:2379" },
		{ "http://[::1]", "etcd:http://[::1]:2379" },
		{ "http://[0:0:0:0:0:0:0:1]:2379", "etcd:http://[::1]:2379" },
		{ "http://[FE80::0001]:7", "etcd:http://[fe80::1]:7" },
		{ "http://h?prefix=holdfast", "etcd:http://h:2379" },
		{ "http://h?prefix=holdfast/", "etcd:http://h:2379" },
		{ "http://h?prefix=a/b.c_d-E", "etcd:http://h:2379?prefix=a/b.c_d-E" },
		{ "https://h?cacert=/a&cert=/b,c&key=/d?e=f", "etcd:https://h:2379" },
		{ "http://h?user=me&password-file=/p&prefix=x", "etcd:http://h:2379?prefix=x" },
	};
	struct etcd_address address;
	struct hf_error err = { 0 };

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		if (etcd_address_parse(cases[i].text, &address, &err) < 0)
			fail_msg("%s: %s", cases[i].text, err.text);
		assert_string_equal(address.uri, cases[i].uri);
	}
	assert_int_equal(
		etcd_address_parse("https://h?cacert=/a&cert=/b,c&key=/d?e=f", &address, NULL), 0);
	assert_string_equal(address.cacert, "/a");
	assert_string_equal(address.cert, "/b,c");
	assert_string_equal(address.key, "/d?e=f");
	assert_string_equal(address.prefix, "holdfast");
}

static void the_normal_form_is_its_own(void **state)
{
	struct etcd_address first, second;

	(void)state;
	assert_int_equal(
		etcd_address_parse("http://c,https://[::2]:9,http://B?prefix=p/", &first, NULL), 0);
	assert_int_equal(etcd_address_parse(first.uri + strlen("etcd:"), &second, NULL), 0);
	assert_string_equal(first.uri, second.uri);
	assert_int_equal(second.count, 3);
	assert_string_equal(second.endpoints[0], "http://b:2379");
}

static void what_is_wrong_is_named(void **state)
{
	static const struct {
		const char *text, *words;
	} cases[] = {
		{ "", "neither http:// nor https://" },
		{ "h:2379", "\"h:2379\" begins with neither" },
		{ "ftp://h", "\"ftp://h\" begins with neither" },
		{ "http://", "no host" },
		{ "http:///", "no host" },
		{ "http://h,", "begins with neither" },
		{ "http://h,,http://i", "begins with neither" },
		{ "http://h:", "\"\" is no port" },
		{ "http://h:0", "\"0\" is no port" },
		{ "http://h:080", "\"080\" is no port" },
		{ "http://h:65536", "\"65536\" is no port" },
		{ "http://h:123456", "no port" },
		{ "http://h:1:2", "\"1:2\" is no port" },
		{ "http://h/v3", "\"h/v3\" is no host" },
		{ "http://-h", "is no host" },
		{ "http://h_\xc3\xa4", "byte 0xc3" },
		{ "http://h h", "byte 0x20" },
		{ "http://h\r\nX: y", "byte 0x0d" },
		{ "http://[::1", "is no host" },
		{ "http://[::1]9", "is no host" },
		{ "http://[nonsense]", "is no host" },
		{ "http://[]", "is no host" },
		{ "http://h#f", "is no host" },
		{ "http://me:secret@h", "no user and no password in a URL" },
		{ "http://h?", "\"\" is none of the options" },
		{ "http://h?frob=1", "\"frob\" is none of the options" },
		{ "http://h?prefix", "option prefix has no value" },
		{ "http://h?prefix=", "option prefix has no value" },
		{ "http://h?prefix=/", "option prefix: not 1..63" },
		{ "http://h?prefix=a%b", "option prefix: not 1..63" },
		{ "http://h?prefix=a&prefix=a", "option prefix is there twice" },
		{ "http://h?prefix=a&", "is none of the options" },
		{ "https://h?cacert=ca.pem", "option cacert: the path is not absolute" },
		{ "http://h?cacert=/ca.pem", "for https:// endpoints" },
		{ "https://h?cert=/c", "options cert and key there must be both" },
		{ "https://h?key=/k", "options cert and key there must be both" },
		{ "http://h?user=me", "options user and password-file there must be" },
		{ "http://h?password-file=/p", "options user and password-file there must be" },
		{ "http://1,http://2,http://3,http://4,http://5,http://6,http://7,http://8,http://"
		  "9",
		  "more than 8 endpoints" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct etcd_address address;
		struct hf_error err = { 0 };

		if (etcd_address_parse(cases[i].text, &address, &err) != HF_E_INVALID ||
		    !strstr(err.text, cases[i].words))
			fail_msg("%s: \"%s\", and not \"%s\"", cases[i].text, err.text,
				 cases[i].words);
		assert_null(strstr(err.text, "secret"));
	}
}

static void limits_hold(void **state)
{
	char text[ETCD_ADDRESS_MAX + 1], long_name[HF_NAME_MAX + 1];
	struct etcd_address address;
	struct hf_error err = { 0 };

	(void)state;
	/* The normal form has room for 255 characters: "etcd:" and these. */
	for (int extra = 0; extra < 2; extra++) {
		(void)snprintf(text, sizeof(text), "http://%0*d:1,http://%0*d:1", 115, 1,
			       116 + extra, 2);
		assert_int_equal(etcd_address_parse(text, &address, NULL),
				 extra ? HF_E_INVALID : 0);
	}
	assert_int_equal(strlen(text) + strlen("etcd:"), HF_URI_MAX);
	memset(long_name, 'p', sizeof(long_name));
	for (size_t length = HF_NAME_MAX - 1; length <= HF_NAME_MAX; length++) {
		(void)snprintf(text, sizeof(text), "http://h?prefix=%.*s", (int)length, long_name);
		assert_int_equal(etcd_address_parse(text, &address, NULL),
				 length < HF_NAME_MAX ? 0 : HF_E_INVALID);
	}
	memset(text, 'x', sizeof(text));
	memcpy(text, "https://h?cacert=/", 18);
	text[ETCD_ADDRESS_MAX] = '\0';
	assert_int_equal(etcd_address_parse(text, &address, &err), HF_E_INVALID);
	text[ETCD_ADDRESS_MAX - 1] = '\0';
	assert_int_equal(etcd_address_parse(text, &address, NULL), 0);
}

static void base64_has_one_spelling(void **state)
{
	static const char *const good[][2] = {
		{ "", "" },
		{ "f", "Zg==" },
		{ "fo", "Zm8=" },
		{ "foo", "Zm9v" },
		{ "foob", "Zm9vYg==" },
		{ "fooba", "Zm9vYmE=" },
		{ "\xff\xfe", "//4=" },
	};
	static const char *const bad[] = { "Z",	   "Zg",   "Zg=",      "Zh==",	 "Zm9=",
					   "Z===", "====", "Zg==Zg==", "Zm9v\n", "Zm-_",
					   "=Zg=", "Zg =", "Zm9vYg" };
	char text[64], bytes[64];

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		size_t length = strlen(good[i][0]);

		base64_encode(good[i][0], length, text);
		assert_string_equal(text, good[i][1]);
		assert_int_equal(strlen(text), BASE64_LENGTH(length));
		assert_int_equal(base64_decode(text, strlen(text), bytes, length), length);
		assert_memory_equal(bytes, good[i][0], length);
		if (length)
			assert_true(base64_decode(text, strlen(text), bytes, length - 1) < 0);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (base64_decode(bad[i], strlen(bad[i]), bytes, sizeof(bytes)) >= 0)
			fail_msg("%s was taken", bad[i]);
}

static void a_build_without_libcurl_says_so(void **state)
{
	struct hf_ledger ledger = { 0 };
	struct hf_error err = { 0 };

	(void)state;
	assert_int_equal(hf_ledger_open("etcd:http://h", &ledger, &err), HF_E_UNSUPPORTED);
	assert_non_null(strstr(err.text, "this build has no etcd"));
	assert_null(ledger.ops);
	memset(&err, 0, sizeof(err));
	assert_int_equal(hf_ledger_open("etcd:h", &ledger, &err), HF_E_INVALID);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(spellings_of_one_ledger_have_one_normal_form),
		cmocka_unit_test(the_normal_form_is_its_own),
		cmocka_unit_test(what_is_wrong_is_named),
		cmocka_unit_test(limits_hold),
		cmocka_unit_test(base64_has_one_spelling),
		cmocka_unit_test(a_build_without_libcurl_says_so),
	};

	return cmocka_run_group_tests_name("ledger-etcd-address", tests, NULL, NULL);
}
