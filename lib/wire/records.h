/* SPDX-License-Identifier: BSD-3-Clause */
/* All records. */
#ifndef WIRE_RECORDS_H
#define WIRE_RECORDS_H

#include "wire/rec.h"

#include "wire/rec-abort.h"
#include "wire/rec-accept.h"
#include "wire/rec-attach.h"
#include "wire/rec-bye.h"
#include "wire/rec-channel-end.h"
#include "wire/rec-device-config.h"
#include "wire/rec-device-data.h"
#include "wire/rec-device-end.h"
#include "wire/rec-devices.h"
#include "wire/rec-end.h"
#include "wire/rec-go.h"
#include "wire/rec-hello.h"
#include "wire/rec-keepalive.h"
#include "wire/rec-loaded.h"
#include "wire/rec-machine-state.h"
#include "wire/rec-pages.h"
#include "wire/rec-primed.h"
#include "wire/rec-regions.h"
#include "wire/rec-returned.h"
#include "wire/rec-round.h"
#include "wire/rec-shape.h"
#include "wire/rec-started.h"

#endif
