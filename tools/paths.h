/* SPDX-License-Identifier: BSD-3-Clause */
/* Where the command keeps and finds things: control sockets, the default ledger, the checker guest.
 */
#ifndef TOOLS_PATHS_H
#define TOOLS_PATHS_H

#include <limits.h>
#include <stdbool.h>

#include <holdfast/error.h>
#include <holdfast/types.h>

/* 1..63 of [A-Za-z0-9._-], and not "." or "..". */
bool path_is_name(const char *name);

/*
 * The control socket of a guest: what has a slash is a path, anything else a name: then it is
 * $XDG_RUNTIME_DIR/holdfast/NAME.qmp, or /tmp/holdfast-UID/NAME.qmp. create: also make the folder,
 * for this user only, and refuse one that somebody else could have made.
 */
int path_control(const char *guest, bool create, char ret_path[static PATH_MAX],
		 struct hf_error *err);

/*
 * The control socket of a guest's guard, which stands on the side of that name ("source",
 * "target"): as above, with NAME.guard-source or NAME.guard-target.
 */
int path_guard_control(const char *guest, const char *side, bool create,
		       char ret_path[static PATH_MAX], struct hf_error *err);

/*
 * The URI of the ledger that is used when none is named: /run/holdfast/ledger for root, else
 * $XDG_RUNTIME_DIR/holdfast/ledger, or /tmp/holdfast-UID/ledger. Its folder is made.
 */
int path_default_ledger(char ret_uri[static HF_URI_MAX], struct hf_error *err);

/* The checker guest's ELF: beside this program as it is built, or where it is installed. */
int path_checker(char ret_path[static PATH_MAX], struct hf_error *err);

/* This program itself. */
int path_self(char ret_path[static PATH_MAX], struct hf_error *err);

#endif
