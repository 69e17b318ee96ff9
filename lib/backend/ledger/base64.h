/* SPDX-License-Identifier: BSD-3-Clause */
/* Base64 as in RFC 4648, section 4: with padding, in one spelling only. */
#ifndef BACKEND_LEDGER_BASE64_H
#define BACKEND_LEDGER_BASE64_H

#include <stddef.h>
#include <sys/types.h>

/* Characters that length bytes become, without the NUL. */
#define BASE64_LENGTH(length) (((length) + 2u) / 3u * 4u)

/* ret_text has room for BASE64_LENGTH(length) + 1 characters, and is terminated. */
void base64_encode(const void *bytes, size_t length, char *ret_text);

/* The number of bytes, or -EBADMSG: no base64, or not the only spelling; -EMSGSIZE: above room. */
ssize_t base64_decode(const char *text, size_t length, void *ret_bytes, size_t room);

#endif
