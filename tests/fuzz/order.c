/* SPDX-License-Identifier: BSD-3-Clause */
/* Any sequence of records: what is refused changes nothing, and nothing follows the last one. */
#include <stdlib.h>
#include <string.h>

#include "wire/order.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct order order;

	if (size < 2)
		return 0;
	order_init(&order, data[0] % 3u == 2 ? WIRE_BULK : WIRE_CONTROL,
		   data[0] % 3u == 1 ? WIRE_TO_SOURCE : WIRE_TO_TARGET, data[1] % 2u);
	order_limits(&order, data[1] % 5u, 2);
	for (data += 2, size -= 2; size >= 4; data += 4, size -= 4) {
		struct order_args args = { data[1], data[2], data[3], data[1],
					   data[2], data[3], data[2] };
		struct order before = order;
		const char *why = NULL;

		if (order_record(&order, rec_at(data[0] % 22u)->type, &args, &why) == 0) {
			if (order_complete(&before))
				abort();
			continue;
		}
		if (why == NULL || memcmp(&before, &order, sizeof(order)) != 0)
			abort();
	}
	return 0;
}
