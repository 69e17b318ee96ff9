# shellcheck shell=sh
# SPDX-License-Identifier: BSD-3-Clause
#
# A real etcd for a system test, sourced behind functions.sh: a cluster on loopback, at free ports,
# with its data in $tmp. Its nodes are killed when the test ends.

# start_etcd NODES: their endpoints are in $etcd_urls, with commas between them; node I (from 0) is
# killed by kill_etcd I. Skips if there is no etcd.
start_etcd()
{
	requires etcd
	for try_ in 1 2 3 4 5; do
		start_etcd_once "$1" && return 0
		echo "etcd did not start (try $try_)" >&2 # somebody else has taken a port
	done
	fail "etcd does not start: $(tail -qn 1 "$tmp"/etcd-*.log)"
}

start_etcd_once()
{
	etcd_nodes=$1
	ports_=$("$PYTHON" -c 'import socket, sys
sockets = [socket.socket() for _ in range(2 * int(sys.argv[1]))]
for one in sockets: one.bind(("127.0.0.1", 0))
print(*(one.getsockname()[1] for one in sockets))' "$etcd_nodes")
	# shellcheck disable=SC2086 # words
	set -- $ports_
	etcd_urls='' etcd_cluster_='' i_=0
	while [ "$i_" -lt "$etcd_nodes" ]; do
		eval "etcd_client_$i_=http://127.0.0.1:$1 etcd_peer_$i_=http://127.0.0.1:$2"
		etcd_urls=$etcd_urls,http://127.0.0.1:$1
		etcd_cluster_=$etcd_cluster_,n$i_=http://127.0.0.1:$2
		shift 2
		i_=$((i_ + 1))
	done
	etcd_urls=${etcd_urls#,} etcd_cluster_=${etcd_cluster_#,}
	rm -rf "$tmp"/etcd-*
	for i_ in $(seq 0 $((etcd_nodes - 1))); do
		launch_etcd "$i_"
	done
	for i_ in $(seq 0 $((etcd_nodes - 1))); do
		await_etcd "$i_" || {
			kill_all_etcd
			return 1
		}
	done
	cleanup_fn kill_all_etcd
}

launch_etcd()
{
	eval "client_=\$etcd_client_$1 peer_=\$etcd_peer_$1"
	etcd --name "n$1" --data-dir "$tmp/etcd-$1" --logger zap --log-level info \
		--listen-client-urls "$client_" --advertise-client-urls "$client_" \
		--listen-peer-urls "$peer_" --initial-advertise-peer-urls "$peer_" \
		--initial-cluster "$etcd_cluster_" >"$tmp/etcd-$1.log" 2>&1 </dev/null &
	eval "etcd_pid_$1=$!"
}

# Until it serves clients.
await_etcd()
{
	"$PYTHON" "$HF_TESTS_SYSTEM/wait.py" line --bad 'address already in use' \
		"$tmp/etcd-$1.log" '.*serving client ' "$start_deadline_s" >/dev/null
}

kill_etcd()
{
	eval "pid_=\${etcd_pid_$1:-}"
	[ -n "$pid_" ] || return 0
	kill -KILL "$pid_" 2>/dev/null || true
	wait "$pid_" 2>/dev/null || true
	eval "etcd_pid_$1="
}

kill_all_etcd()
{
	for i_ in $(seq 0 $((etcd_nodes - 1))); do
		kill_etcd "$i_"
	done
}

# restart_etcd I...: all of them, with their old data; returns when they serve.
restart_etcd()
{
	for i_ in "$@"; do
		launch_etcd "$i_"
	done
	for i_ in "$@"; do
		await_etcd "$i_" || fail "etcd $i_ does not come back: see $tmp/etcd-$i_.log"
	done
}
