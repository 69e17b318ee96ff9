# SPDX-License-Identifier: BSD-3-Clause
"""
The cases of the campaign, all of them, in one list: what is done to a handover, where, and to whom.
A case says what must be so; what it leaves open (ledger, transport, vCPUs, devices, how long until
it is healed) the run's seed chooses.
"""

CONTROL_OUT = ["HEADER", "HELLO", "REGIONS", "DEVICES", "SHAPE", "DEVICE_CONFIG", "MACHINE_STATE",
               "END", "GO", "KEEPALIVE", "ABORT", "BYE"]
CONTROL_IN = ["HEADER", "ACCEPT", "PRIMED", "LOADED", "STARTED", "RETURNED", "KEEPALIVE", "ABORT",
              "BYE"]
BULK_OUT = ["HEADER", "ATTACH", "PAGES", "ROUND", "DEVICE_DATA", "DEVICE_END", "CHANNEL_END"]
HOW, PLACE = ["fin", "rst", "silence"], ["before", "inside", "after"]

REFUSES = "fault:device[0].set_state=STOP:1:EIO"  # at the target: the proof fails
RETURNS = "fault:device[0].set_state=RUNNING:1:EIO"  # at the target: claimed, and not started
# At the source, when REFUSES has sent it home: the device has to be reset, and that is LOST.
LOSES = ["fault:device[0].set_state=RUNNING_P2P:2+:EIO", "fault:device[0].set_state=STOP:1+:EIO"]
SLOW_MS = 500

# What makes a state of one side last: (side, state) -> filters of the source, of the target.
AT_SOURCE = {
    "ENTERING": (["delay:ledger.read:%d"], []),
    "HELLO": ([], ["delay:device[0].set_state=RESUMING:%d"]),
    "PRECOPY": (["delay:device[0].precopy_info:60"], []),
    "QUIETING": (["delay:device[0].set_state=PRE_COPY_P2P:%d"], []),
    "QUIESCING": (["delay:machine.stop:%d"], []),
    "STOPPING": (["delay:device[0].set_state=STOP_COPY:%d"], []),
    "DRAINING": (["delay:machine.state_save:%d"], []),
    "PROVING": ([], ["delay:device[0].set_state=STOP:%d"]),
    "OFFERING": (["delay:ledger.swap=OFFERED:%d"], []),
    "COMMITTING": ([], ["delay:device[0].set_state=RUNNING_P2P:%d"]),
    "REVOKING": (["delay:ledger.swap=HOME:%d"], []),
    "DOUBT": (["fault:ledger.swap=HOME:1:EIO"], ["delay:device[0].set_state=RUNNING:%d"]),
    "CLAIMED": (["delay:ledger.swap=HOME:200"], ["delay:device[0].set_state=RUNNING:%d"]),
    "UNDOING": (["delay:device[0].set_state=RUNNING_P2P:%d"], [REFUSES]),
    "REVIVING": (["delay:device[0].set_state=RUNNING:%d"], [REFUSES]),
    "RESUMING": (["delay:machine.run:%d"], [REFUSES]),
}
AT_TARGET = {
    "LISTENING": ([], []),
    "GREETING": ([], []),
    "PREPARING": ([], ["delay:device[0].set_state=RESUMING:%d"]),
    "LOADING": ([], []),
    "VERIFYING": ([], ["delay:device[0].set_state=STOP:%d"]),
    "SETTING": ([], ["delay:machine.state_load:%d"]),
    "LOADED": (["delay:ledger.swap=OFFERED:%d"], []),
    "CLAIMING": ([], ["delay:ledger.swap=CLAIMED:%d"]),
    "STARTING": ([], ["delay:device[0].set_state=RUNNING_P2P:%d"]),
    "REVIVING": ([], ["delay:device[0].set_state=RUNNING:%d"]),
    "RECORDING": ([], ["delay:ledger.swap=AWAY:%d"]),
    "RESUMING": ([], ["delay:machine.run:%d"]),
    "HALTING": ([], ["delay:device[1].reset:%d", RETURNS]),
    "RETURNING": ([], ["delay:ledger.swap=HOME:%d", RETURNS]),
    "RUNNING": ([], []),
}
# States that need the connection to be lost first: GO is behind, and STARTED does not come.
CUT_FIRST = {"REVOKING": "GO", "DOUBT": "GO", "CLAIMED": "GO"}
LEDGER_STATES = {"ENTERING", "OFFERING", "REVOKING", "CLAIMING", "RECORDING", "RETURNING", "DOUBT",
                 "CLAIMED"}
KEPT_STATES = ["PROVING", "OFFERING", "COMMITTING", "REVOKING", "DOUBT", "CLAIMED", "UNDOING",
               "REVIVING", "RESUMING"]


def states():
    for side, table in (("source", AT_SOURCE), ("target", AT_TARGET)):
        for state, filters in table.items():
            yield side, state, [[spec.replace("%d", str(SLOW_MS)) for spec in part]
                                for part in filters]


def at_state(side, state, filters):
    case = {"at": (side, state), "source_filters": filters[0], "target_filters": filters[1],
            "devices": 2 if state == "HALTING" else 1}
    if state in CUT_FIRST and side == "source":
        case["cut"] = {"way": "out", "type": CUT_FIRST[state], "place": "after", "how": "fin",
                       "scope": "all"}
    if state in LEDGER_STATES:
        case["ledgers"] = ["file", "etcd"]
    return case


def message_case(way, name, kind, how, place):
    filters = {"ABORT": [REFUSES], "RETURNED": [RETURNS],
               "KEEPALIVE": ["delay:device[0].set_state=STOP:1600"]}
    case = {"family": f"{how}", "name": f"{how} {place} {name} {way} on {kind}",
            "cut": {"way": way, "type": name, "kind": kind, "place": place, "how": how},
            "devices": 1, "source_filters": [], "target_filters": filters.get(name, [])}
    if way == "out" and name == "ABORT":
        case["target_filters"] = []
        case["source_filters"] = ["fault:device[0].set_state=STOP_COPY:1:EIO"]
    if how == "rst" and kind == "control":
        case["transport"] = "tcp"  # a UNIX socket has no RST
    return case


def messages():
    for how in HOW:
        for place in PLACE:
            for name in CONTROL_OUT:
                yield message_case("out", name, "control", how, place)
            for name in CONTROL_IN:
                yield message_case("in", name, "control", how, place)
            for name in BULK_OUT:
                yield message_case("out", name, "bulk", how, place)


def signals():
    for side, state, filters in states():
        for who in ("source", "target", "etcd"):
            for how, hold in (("kill", 0.3), ("stop", 2.0), ("stop", 7.0)):
                case = at_state(side, state, filters)
                what = how.upper() + (f" {hold:.0f} s" if how == "stop" else "")
                case.update(family=f"SIG{what} {who}", name=f"SIG{what} {who} at {side} {state}",
                            do="signal", who=who, how=how, hold=hold)
                if who == "etcd":
                    case["ledgers"] = ["etcd"]
                yield case
    for state in KEPT_STATES:
        filters = [[spec.replace("%d", str(SLOW_MS)) for spec in part]
                   for part in AT_SOURCE[state]]
        case = at_state("source", state, filters)
        case.update(family="SIGKILL source, kept", name=f"SIGKILL source, kept, at {state}",
                    do="signal", who="source", how="kill", hold=0.3, keep=True)
        yield case


def ledgers():
    operations = [("source", "read", ""), ("source", "swap", "=OFFERED"), ("source", "swap", ""),
                  ("target", "read", ""), ("target", "swap", "=CLAIMED"),
                  ("target", "swap", "=AWAY"), ("target", "swap", "=HOME")]
    for side, op, state in operations:
        for how, spec in (("slow", "delay:ledger.%s%s:400"),
                          ("very slow", "delay:ledger.%s%s:1500"),
                          ("refuses", "fault:ledger.%s%s:1:EIO"),
                          ("answer lost", "fault:ledger.%s%s:1:after"),
                          ("three answers lost", "fault:ledger.%s%s:%d:after")):
            specs = [spec % (op, state)] if "%d" not in spec else \
                [spec % (op, state, n) for n in (1, 2, 3)]
            case = {"family": f"ledger {how} ({side})", "ledgers": ["file", "etcd"], "devices": 1,
                    "name": f"ledger {how}: {side}'s {op}{state}", "do": "nothing",
                    "source_filters": specs if side == "source" else [],
                    "target_filters": specs if side == "target" else []}
            if state == "=HOME":
                case["target_filters"] = specs + [RETURNS]
            yield case
    for side in (1, 2):
        for number in range(1, 5):
            for mode in ("slow", "refuse", "silent", "lose"):
                for hold in (0.4, 5.0):
                    yield {"family": f"etcd {mode} ({'source' if side == 1 else 'target'})",
                           "name": f"etcd {mode} from request {number} of side {side}, {hold} s",
                           "do": "road", "who": side, "number": number, "mode": mode, "hold": hold,
                           "ledgers": ["etcd"], "devices": 1}
    for side, state, filters in states():
        if state not in LEDGER_STATES | {"PROVING", "COMMITTING", "LOADED", "STARTING"}:
            continue
        for name in ("full", "gone", "silent", "refuse"):
            for who in (1, 2, 0) if name in ("silent", "refuse") else (0,):
                case = at_state(side, state, filters)
                sides = {0: "both", 1: "source", 2: "target"}[who]
                words = {"full": "disk full", "gone": "folder gone"}.get(
                    name, f"etcd partition, {name} ({sides})")
                case.update(family=words, name=f"{words} at {side} {state}", do="ledger",
                            what=name, who=who, hold=None,
                            ledgers=["file" if name in ("full", "gone") else "etcd"])
                yield case


def others():
    for side, state, filters in states():
        for hold in (0.5, 3.0, 12.0) if state not in CUT_FIRST or side == "target" else ():
            case = at_state(side, state, filters)
            case.pop("cut", None)
            case.update(family=f"link down {hold} s", name=f"link down {hold} s at {side} {state}",
                        do="link", hold=hold, transport="tcp", direct=True)
            yield case
        case = at_state(side, state, filters)
        case.update(family="cancel", name=f"cancel at {side} {state}", do="cancel", hold=0.1)
        yield case
        for who, step in (("source", 3600), ("target", -3600)):
            if state in ("PRECOPY", "DRAINING", "OFFERING", "COMMITTING", "LOADED", "CLAIMING",
                         "RECORDING", "REVOKING"):
                case = at_state(side, state, filters)
                case.update(family="clock step", name=f"clock of the {who} steps {step} s at "
                            f"{side} {state}", do="clock", who=who, step=step, hold=1.0)
                yield case
    for ledger in ("file", "etcd", "none"):
        for name, filters in (("nothing", []), ("device refuses its proof", [REFUSES]),
                              ("device refuses to run", [RETURNS]),
                              ("machine state refused", ["fault:machine.state_load:1:EIO"])):
            for transport in ("unix", "tcp"):
                yield {"family": name, "name": f"{name}, {ledger}, {transport}", "do": "nothing",
                       "ledgers": [ledger], "transport": transport, "devices": 1,
                       "source_filters": [], "target_filters": filters}
        for transport in ("unix", "tcp"):
            yield {"family": "device refuses the way back", "do": "nothing", "lost": True,
                   "name": f"device refuses the way back, {ledger}, {transport}",
                   "ledgers": [ledger], "transport": transport, "devices": 1,
                   "source_filters": LOSES, "target_filters": [REFUSES]}


def all_cases():
    cases = []
    for part in (messages, signals, ledgers, others):
        for case in part():
            case.setdefault("do", "cut")
            case.setdefault("source_filters", [])
            case.setdefault("target_filters", [])
            cases.append(case)
    assert len({case["name"] for case in cases}) == len(cases)
    return cases


# No case of the campaign: a broken promise that it has to find. The operator lies: he takes the
# guest back though the target runs it, and without a ledger nothing can stop him.
PLANTED = {"family": "planted", "name": "without a ledger, an operator's wrong word", "do": "cut",
           "cut": {"way": "in", "type": "STARTED", "kind": "control", "place": "before",
                   "how": "fin", "scope": "all"},
           "ledgers": ["none"], "devices": 1, "source_filters": [], "target_filters": [],
           "lie": True}


if __name__ == "__main__":
    for each in all_cases():
        print(each["family"], "|", each["name"])
