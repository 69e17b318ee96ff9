#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""
The campaign's own parts, each shown what it must find: the referee and the judge planted
violations, the proxy a stream of every record. Results are TAP.
"""
import os
import socket
import struct
import tempfile

import campaign_cases
import campaign_judge
import campaign_proxy
import campaign_referee

VCPU = campaign_referee.NUMBERS


def witness(words):
    """A file of (side, vcpu, number)."""
    fd, path = tempfile.mkstemp(prefix="holdfast-witness.")
    with os.fdopen(fd, "wb") as file:
        for time_ns, (side, vcpu, number) in enumerate(words):
            file.write(campaign_referee.RECORD.pack(side, vcpu * VCPU + number % VCPU, time_ns))
    return path


def judged(words, handovers=None):
    path = witness(words)
    records, torn = campaign_referee.read(path)
    os.unlink(path)
    assert not torn and len(records) == len(words)
    return campaign_referee.judge(records, handovers)


def span(side, first, last, vcpu=0):
    return [(side, vcpu, number) for number in range(first, last + 1)]


def clean():
    assert judged(span(1, 1, 50) + span(2, 51, 90)) == []
    both = [word for pair in zip(span(1, 1, 20), span(1, 1, 20, 1)) for word in pair]
    there = [word for pair in zip(span(2, 21, 30, 1), span(2, 21, 30)) for word in pair]
    assert judged(both + there, [1, 2]) == []
    assert judged([]) == []


def wraps():
    words = span(1, 1, 3)
    records = [campaign_referee.Record(side, number, 0) for side, _, number in words]
    records[-1].number = VCPU - 1
    records.append(campaign_referee.Record(1, 0, 0))
    assert len(campaign_referee.judge(records)) == 1  # from 2 to the last number, not the wrap


def at_once():
    found = judged(span(1, 1, 10) + [(2, 0, 11), (1, 0, 12), (2, 0, 13)])
    assert any("executed again" in words for words in found), found


def old_state():
    found = judged(span(1, 1, 10) + span(2, 11, 20) + span(1, 11, 12))
    assert any("an old state ran" in words for words in found), found
    found = judged(span(1, 1, 10) + span(2, 10, 12))
    assert any("an old state ran" in words for words in found), found
    found = judged(span(1, 1, 10) + span(1, 8, 12))
    assert any("an old state ran" in words for words in found), found


def one_word_too_many():
    """The smallest violation that a file can hold: one word of the source behind the target's."""
    assert judged(span(1, 1, 10) + span(2, 11, 11) + span(1, 12, 12))
    assert judged(span(1, 1, 10) + span(1, 1, 10, 1) + [(2, 0, 11), (1, 1, 11)])


def unseen():
    assert any("unseen" in words for words in judged(span(1, 1, 10) + span(2, 12, 14)))
    assert any("begins" in words for words in judged(span(2, 5, 9)))


def wrong_way():
    assert judged(span(1, 1, 10) + span(3, 11, 12), [1, 2])
    assert judged(span(1, 1, 10) + span(3, 11, 12), [1, 3]) == []


def torn():
    path = witness(span(1, 1, 3))
    with open(path, "ab") as file:
        file.write(b"\1\0\0")
    records, is_torn = campaign_referee.read(path)
    os.unlink(path)
    assert is_torn and len(records) == 3


# ---- the judge ---------------------------------------------------------------------------------


def facts(words, **changes):
    record = '{"state": "home", "owner": "S"}'
    base = {"witness": witness(words), "again": False, "killed": [], "corrupt": [],
            "settled": True, "running": ["source"], "progress": {"source": True},
            "ledger": "file", "record": record, "side": {"source": "S", "target": "T"},
            "source": {"status": "running", "outcome": "home", "state": "HOME",
                       "error": {"name": "DEVICE_STATE", "text": "device 0: no"}},
            "target": None, "exit": {"source": None, "target": 1}, "refused": None,
            "log": {"source": "", "target": "incoming migration failed: device 0: no"},
            "do": "nothing", "states": {"target": []}, "told": True,
            "lost_case": False}
    base.update(changes)
    return base


def counted(words, **changes):
    given = facts(words, **changes)
    end, said = campaign_judge.judge(given)
    os.unlink(given["witness"])
    return end, {name for name, sentences in said.items() if sentences}


def judge_accepts():
    assert counted(span(1, 1, 9)) == ("home", set())
    away = {"running": ["target"], "progress": {"target": True}, "record":
            '{"state": "away", "owner": "T"}', "exit": {"source": None, "target": None},
            "source": {"status": "postmigrate", "outcome": "away", "state": "AWAY", "error": None},
            "target": {"status": "running", "outcome": "running", "state": "RUNNING"}}
    assert counted(span(1, 1, 9) + span(2, 10, 12), **away) == ("away", set())
    # and not what differs from it in one point
    assert counted(span(1, 1, 9), **away)[1] == {"executed after another"}
    assert counted(span(1, 1, 9) + span(2, 10, 12),
                   **dict(away, progress={"target": False}))[1] == {"lost"}
    assert counted(span(1, 1, 9) + span(2, 10, 12), **dict(
        away, record='{"state": "claimed", "owner": "S"}'))[1] == {"unpromised"}


def judge_finds():
    stopped = {"status": "paused", "outcome": "home", "state": "HOME", "error": None}
    assert "lost" in counted(span(1, 1, 9), running=[], source=stopped)[1]
    reset = {"status": "paused", "outcome": "lost", "state": "LOST",
             "error": {"name": "DEVICE_LOST", "text": "device 1 was reset"}}
    assert "lost" in counted(span(1, 1, 9), running=[], source=reset)[1]
    assert counted(span(1, 1, 9), running=[], source=reset, lost_case=True, log={
        "source": "", "target": "incoming migration failed: device 1 was reset"}) == \
        ("lost device, paused", set())
    assert "lost" in counted(span(1, 1, 9), corrupt=["checker: CORRUPT what=page-lost"])[1]
    assert "unpromised" in counted(span(1, 1, 9), settled=False)[1]
    assert "unpromised" in counted(span(1, 1, 9), exit={"source": None, "target": -6})[1]
    assert "unpromised" in counted(span(1, 1, 9), running=[], source=dict(
        stopped, outcome="waiting"))[1]
    assert "executed after another" in counted(
        span(1, 1, 9), running=["source", "target"])[1]
    for text in ("", "?"):
        assert "unexplained" in counted(span(1, 1, 9), source={
            "status": "running", "outcome": "home", "state": "HOME",
            "error": {"name": "DEVICE_STATE", "text": text}})[1]
    assert "unexplained" in counted(span(1, 1, 9), log={"source": "", "target": ""})[1]
    assert "unexplained" in counted(span(1, 1, 9), log={
        "source": "", "target": "incoming migration failed: no memory"})[1]


    device = {"source": "", "target": "incoming migration failed: device 1: no"}
    assert counted(span(1, 1, 9), do="cut", log=device)[1] == {"unexplained"}
    lost = {"status": "running", "outcome": "home", "state": "HOME",
            "error": {"name": "CONNECTION_LOST", "text": "the peer closed the connection"}}
    assert counted(span(1, 1, 9), do="cut", log=device, source=lost)[1] == set()
    assert counted(span(1, 1, 9), do="cut", log=device, source=lost, states={
        "target": ["RETURNING"]})[1] == {"unexplained"}
    assert counted(span(1, 1, 9), do="cut", log=device, source=lost, told=False, states={
        "target": ["RETURNING"]})[1] == set()


# ---- the proxy ---------------------------------------------------------------------------------


def stream(kind, names):
    data = b"HOLDFAST" + struct.pack("<HHBBH", 1, 0, kind, 1, 0) + bytes(16)
    places = {}
    for name in names:
        length = {"BYE": 0, "SHAPE": 13}.get(name, 24)
        body = struct.pack("<II", campaign_proxy.TYPES[name], length) + bytes([7] * length)
        places[name] = (len(data), len(data) + len(body) + -length % 8)
        data += body + bytes(-length % 8)
    return data, places


def pull(end, wanted):
    data = b""
    end.settimeout(5)
    while len(data) < wanted:
        try:
            more = end.recv(65536)
        except (ConnectionResetError, socket.timeout):
            break
        if not more:
            break
        data += more
    return data


def carried(name, place, how, chunk):
    """(octets that came before the fault, octets in all after it was healed, what was expected)"""
    names = ["HELLO", "REGIONS", "SHAPE", "END", "GO", "BYE"]
    data, places = stream(campaign_proxy.CONTROL, names)
    begin, end = places[name]
    expected = {"before": begin, "inside": None, "after": end}[place]
    far = socket.create_server(("127.0.0.1", 0))
    listener = socket.create_server(("127.0.0.1", 0))
    struck = []
    proxy = campaign_proxy.Proxy(
        listener, lambda: socket.create_connection(far.getsockname()),
        [{"way": "out", "type": name, "place": place, "how": how, "scope": "one"}], struck.append)
    near = socket.create_connection(listener.getsockname())
    there = far.accept()[0]
    try:
        for at in range(0, len(data), chunk):
            near.sendall(data[at:at + chunk])
    except OSError:
        pass  # that is what a connection that is closed does
    got = pull(there, expected if expected is not None else begin + 4)
    if how == "silence":
        there.settimeout(0.05)
        try:
            got += there.recv(65536)
        except socket.timeout:
            pass
        proxy.heal()
        rest = got + pull(there, len(data) - len(got))
    else:
        got += pull(there, 1 << 20)
        rest = got
    for one in (near, there, far):
        one.close()
    proxy.end()
    assert len(struck) == 1
    assert data.startswith(got)
    if expected is None:
        assert begin < len(got) < end, (name, place, how, len(got), begin, end)
    elif how == "rst":
        assert len(got) <= expected, (name, place, how, len(got), expected)
    else:
        assert len(got) == expected, (name, place, how, len(got), expected)
    if how == "silence":
        assert rest == data


def proxy_places():
    for chunk in (1 << 16, 5):
        for name in ("HELLO", "SHAPE", "END", "BYE"):
            for place in ("before", "inside", "after"):
                for how in ("fin", "silence"):
                    carried(name, place, how, chunk)
    for name in ("SHAPE", "BYE"):
        carried(name, "before", "rst", 1 << 16)


def cases_cover():
    names = [case["name"] for case in campaign_cases.all_cases()]
    for how in campaign_cases.HOW:
        for place in campaign_cases.PLACE:
            for record in campaign_proxy.TYPES:
                assert any(name.startswith(f"{how} {place} {record} ") for name in names), record


TESTS = [
    ("the referee finds nothing in a handover without fault", clean),
    ("the referee finds a number far ahead, and takes the last one's follower for right", wraps),
    ("the referee finds two sides that execute at once", at_once),
    ("the referee finds an old state that runs, here, there and without a handover", old_state),
    ("the referee finds a single word of the source after the target's first", one_word_too_many),
    ("the referee finds what was executed and not seen", unseen),
    ("the referee finds a side that nobody had reason to expect", wrong_way),
    ("the referee tells a record that was cut by a kill", torn),
    ("the judge accepts a guest at home and a guest away, and no side effect of either",
     judge_accepts),
    ("the judge finds each kind of broken promise", judge_finds),
    ("the proxy strikes before, inside and after a record, and changes no octet", proxy_places),
    ("the cases have every record of the stream, in every way and place", cases_cover),
]


def main():
    print(f"1..{len(TESTS)}", flush=True)
    failed = 0
    for number, (name, test) in enumerate(TESTS, 1):
        try:
            test()
            print(f"ok {number} - {name}", flush=True)
        except Exception as why:  # pylint: disable=broad-except # a failed test is told as one
            failed += 1
            print(f"not ok {number} - {name}\n# {type(why).__name__}: {why}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
