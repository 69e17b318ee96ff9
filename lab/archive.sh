# shellcheck shell=sh
# SPDX-License-Identifier: BSD-3-Clause
#
# Packages of another suite of Debian (backports), without changing this machine: an apt of our
# own, with its own lists and its own idea of what is installed, that asks the archive which the
# machine's apt already uses. For lab/build, which sets $cache, $own_release (this machine's) and
# say(), give_up().

# archive_open SUITE: afterwards archive_get, archive_show, archive_fetch work on it.
archive_open()
{
	suite=$1
	archive_base=${suite%-backports}
	archive_dir=$cache/apt/$suite
	archive_uri=$(archive_address "$archive_base")
	# A newer release is where this machine's own is.
	[ -n "$archive_uri" ] || archive_uri=$(archive_address "$own_release")
	[ -n "$archive_uri" ] || give_up "this machine's apt knows no Debian $archive_base"
	mkdir -p "$archive_dir/lists/partial" "$archive_dir/archives/partial"
	: >"$archive_dir/status"
	archive_key=/usr/share/keyrings/debian-archive-keyring.gpg
	[ -r "$archive_key" ] || give_up "no $archive_key here (package debian-archive-keyring)"
	for word in "$suite" "$archive_base"; do
		echo "deb [signed-by=$archive_key] $archive_uri $word main"
	done | sort -u >"$archive_dir/sources.list"
	say "reading the package lists of $suite"
	archive_get update >"$archive_dir/log" 2>&1 || {
		tail -n 5 "$archive_dir/log" >&2
		give_up "no package lists of $suite from $archive_uri"
	}
}

# What the machine's own apt asks for this suite.
archive_address()
{
	# shellcheck disable=SC2016 # apt's own variables
	apt-get indextargets --format '$(REPO_URI) $(CODENAME)' 'Identifier: Packages' |
		awk -v suite="$1" '$2 == suite { print $1; exit }'
}

archive_apt()
{
	program=$1
	shift
	timeout -k 5 "${LAB_DOWNLOAD_SECONDS:-900}" "$program" -qq \
		-o Dir::Etc::sourcelist="$archive_dir/sources.list" \
		-o Dir::Etc::sourceparts=/dev/null \
		-o Dir::Etc::preferences=/dev/null -o Dir::Etc::preferencesparts=/dev/null \
		-o Dir::State="$archive_dir" -o Dir::State::lists="$archive_dir/lists" \
		-o Dir::State::status="$archive_dir/status" -o Dir::Cache="$archive_dir" \
		-o Dir::Cache::archives="$archive_dir/archives" -o APT::Default-Release="$suite" \
		-o APT::Architecture=amd64 -o APT::Sandbox::User="$(id -un)" -o Debug::NoLocking=1 \
		-o Acquire::Languages=none -o Acquire::Retries=3 -o Acquire::http::Timeout=30 \
		-o Acquire::https::Timeout=30 "$@" </dev/null
}

archive_get()
{
	archive_apt apt-get "$@"
}

# archive_show PACKAGE FIELD
archive_show()
{
	archive_apt apt-cache show --no-all-versions "$1" | sed -n "s/^$2: //p" | head -n 1
}

# archive_fetch FOLDER PACKAGE...: the .deb files.
archive_fetch()
{
	folder=$1
	shift
	mkdir -p "$folder"
	(cd "$folder" && archive_get download "$@" >>"$archive_dir/log" 2>&1) || {
		tail -n 5 "$archive_dir/log" >&2
		give_up "could not fetch $*"
	}
}
