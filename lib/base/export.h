/* SPDX-License-Identifier: BSD-3-Clause */
/* Marks a function as part of the public API; everything else is hidden. */
#ifndef BASE_EXPORT_H
#define BASE_EXPORT_H

#define HF_EXPORT __attribute__((visibility("default")))

#endif
