/* SPDX-License-Identifier: BSD-3-Clause */
/* Is a page all zeros? */
#ifndef ENGINE_ZERO_H
#define ENGINE_ZERO_H

#include <stdbool.h>

/* page: HF_PAGE_SIZE bytes, aligned to 64. It may change meanwhile: then the answer is of no
 * consequence, since a page that changes is dirty and sent again. */
bool page_is_zero(const void *page);

#endif
