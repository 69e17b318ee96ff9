/* SPDX-License-Identifier: BSD-3-Clause */
/* See paths.h. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/paths.h"
#include "vmm/control-loop.h"

bool path_is_name(const char *name)
{
	size_t length = strlen(name);

	if (length == 0 || length >= HF_NAME_MAX || strcmp(name, ".") == 0 ||
	    strcmp(name, "..") == 0)
		return false;
	return strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") ==
	       length;
}

static int __attribute__((format(printf, 4, 5)))
put(char *buf, size_t size, struct hf_error *err, const char *format, ...)
{
	va_list args;
	int length;

	va_start(args, format);
	length = vsnprintf(buf, size, format, args);
	va_end(args);
	if (length < 0 || (size_t)length >= size)
		return control_error(err, HF_E_INVALID, 0, "the path %.100s... is too long", buf);
	return 0;
}

/* The folder of this user's running guests. */
static int runtime_folder(char path[static PATH_MAX], struct hf_error *err)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");

	if (runtime && runtime[0] == '/')
		return put(path, PATH_MAX, err, "%s/holdfast", runtime);
	return put(path, PATH_MAX, err, "/tmp/holdfast-%u", (unsigned int)getuid());
}

/* Make a folder that only this user can write; one that is there has to be so already. */
static int make_folder(const char *path, struct hf_error *err)
{
	struct stat st;

	if (mkdir(path, 0700) && errno != EEXIST)
		return control_error(err, HF_E_SYSTEM, errno, "making the folder %s", path);
	if (lstat(path, &st))
		return control_error(err, HF_E_SYSTEM, errno, "the folder %s", path);
	if (!S_ISDIR(st.st_mode) || st.st_uid != getuid() || (st.st_mode & 022))
		return control_error(err, HF_E_SYSTEM, EPERM,
				     "%s is no folder that only this user can write", path);
	return 0;
}

/* suffix: behind the guest's name. */
static int control_of(const char *guest, const char *suffix, bool create,
		      char ret_path[static PATH_MAX], struct hf_error *err)
{
	char folder[PATH_MAX];
	int result;

	if (!path_is_name(guest))
		return control_error(err, HF_E_INVALID, 0,
				     "'%.80s' is no guest's name (1 to 63 of A-Z a-z 0-9 . _ -) "
				     "and no path with a slash",
				     guest);
	result = runtime_folder(folder, err);
	if (result == 0 && create)
		result = make_folder(folder, err);
	return result ? result : put(ret_path, PATH_MAX, err, "%s/%s%s.qmp", folder, guest, suffix);
}

int path_control(const char *guest, bool create, char ret_path[static PATH_MAX],
		 struct hf_error *err)
{
	if (strchr(guest, '/'))
		return put(ret_path, PATH_MAX, err, "%s", guest);
	return control_of(guest, "", create, ret_path, err);
}

int path_guard_control(const char *guest, const char *side, bool create,
		       char ret_path[static PATH_MAX], struct hf_error *err)
{
	char suffix[32];

	(void)snprintf(suffix, sizeof(suffix), ".guard-%s", side);
	return control_of(guest, suffix, create, ret_path, err);
}

int path_default_ledger(char ret_uri[static HF_URI_MAX], struct hf_error *err)
{
	char folder[PATH_MAX], ledger[PATH_MAX];
	int result;

	result = getuid() == 0 ? put(folder, sizeof(folder), err, "/run/holdfast")
			       : runtime_folder(folder, err);
	if (result == 0)
		result = make_folder(folder, err);
	if (result == 0)
		result = put(ledger, sizeof(ledger), err, "%s/ledger", folder);
	if (result == 0)
		result = make_folder(ledger, err);
	return result ? result : put(ret_uri, HF_URI_MAX, err, "file:%s", ledger);
}

int path_self(char ret_path[static PATH_MAX], struct hf_error *err)
{
	ssize_t length = readlink("/proc/self/exe", ret_path, PATH_MAX - 1);

	if (length < 0)
		return control_error(err, HF_E_SYSTEM, errno, "/proc/self/exe");
	ret_path[length] = 0;
	return 0;
}

int path_checker(char ret_path[static PATH_MAX], struct hf_error *err)
{
	char self[PATH_MAX];
	int result = path_self(self, err);

	if (result < 0)
		return result;
	*strrchr(self, '/') = 0;
	result = put(ret_path, PATH_MAX, err, "%s/guest/checker.elf", self);
	if (result < 0 || access(ret_path, R_OK) == 0)
		return result;
	result = put(ret_path, PATH_MAX, err, "%s/holdfast/checker.elf", HOLDFAST_DATADIR);
	if (result < 0 || access(ret_path, R_OK) == 0)
		return result;
	return control_error(err, HF_E_INVALID, 0,
			     "the checker guest is neither at %s/guest/checker.elf nor at %s", self,
			     ret_path);
}
