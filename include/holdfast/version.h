/* SPDX-License-Identifier: BSD-3-Clause */
/* The version of the library that these headers belong to. */
#ifndef HOLDFAST_VERSION_H
#define HOLDFAST_VERSION_H

#define HF_VERSION_MAJOR 0
#define HF_VERSION_MINOR 1
#define HF_VERSION_TEXT "0.1.0"

#ifdef __cplusplus
extern "C" {
#endif

/* The version of the library in use, such as "0.1.0". Static text. */
const char *hf_version(void);

#ifdef __cplusplus
}
#endif

#endif
