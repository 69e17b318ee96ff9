# SPDX-License-Identifier: BSD-3-Clause
"""
What a run's facts amount to: its end, and what of it breaks a promise (docs/invariants.md, "The
exceptions"; docs/reliability.md). Pure: facts in, sentences out.
"""
import json
import re

import campaign_referee

# A failure of a side's own, as against one that it has seen of the link, the peer or the ledger.
OWN = re.compile(r"^(device \d|the machine|machine|vCPU|loading|mapping)")
FAILED = re.compile(r"incoming migration failed: (.*)")


def record_of(facts):
    """(state, owner's name) of the ledger's record; (None, None) without a ledger."""
    text = facts.get("record")
    if text is None or text.startswith("error"):
        return None, None
    record = json.loads(text)
    names = {side: name for name, side in facts["side"].items()}
    if "again" in facts["side"]:
        names[facts["side"]["again"]] = "source"
    return record["state"], names.get(record["owner"], record["owner"])


def crashes(facts):
    killed = set(facts["killed"])
    for name, status in facts["exit"].items():
        if status is not None and status < 0 and not (name in killed and status == -9):
            yield f"the {name} died by signal {-status}: {facts['log'][name]}"
        elif status is not None and status not in (0, 1) and status >= 0:
            yield f"the {name} ended with status {status}: {facts['log'][name]}"


def reason(story, log):
    """(name of the code or None, text) that a side gives for a handover that failed."""
    if story and story.get("error"):
        return story["error"]["name"], story["error"]["text"]
    found = FAILED.findall(log or "")
    return (None, found[-1]) if found else (None, "")


def end_of_running(facts, said):
    """Exactly one side runs it: is that so, and does everything else agree?"""
    name = facts["running"][0]
    state, owner = record_of(facts)
    if not facts["progress"][name]:
        said["lost"].append(f"the {name} says that it runs, and the guest makes no progress")
    wanted = ("home", "source") if name == "source" else ("away", "target")
    if facts["ledger"] != "none" and (state, owner) != wanted:
        said["unpromised"].append(f"the {name} runs it, and the ledger says {state}, {owner}: "
                                  f"{facts['record']}")
    source, target = facts["source"], facts["target"]
    if name == "source" and target and target["state"] not in ("LISTENING", "IDLE"):
        said["unpromised"].append(f"the source runs it, and the target is {target}")
    if name == "target" and source and source["outcome"] != "away":
        said["unpromised"].append(f"the target runs it, and the source is {source}")
    return {"source": "home", "target": "away"}[name]


def end_of_nothing(facts, said):
    """Nobody runs it: which exception is it?"""
    killed, (state, owner) = facts["killed"], record_of(facts)
    source, target = facts["source"], facts["target"]
    if source and source["outcome"] == "lost" and facts["lost_case"] and source.get("error"):
        return "lost device, paused"
    if "source" in killed and target is None or \
            "source" in killed and target["state"] in ("LISTENING", "IDLE"):
        if state in (None, "none") or owner == "source" or facts["ledger"] == "none":
            return "died with its owner"
    if "target" in killed and source and source["outcome"] == "away":
        if facts["ledger"] == "none" or (state, owner) == ("away", "target"):
            return "died with its owner"
    if source and source["outcome"] == "waiting":
        said["unpromised"].append(f"the source still waits: {source['error']}")
        return "waiting"
    said["lost"].append(f"nobody runs it: source {source}, target {target}, ledger {state} {owner},"
                        f" killed {killed}, {facts['log']}")
    return "lost"


def reasons(facts, end, said):
    """Whoever lives and took part in a handover that failed says why; and both say the same."""
    source, target = facts["source"], facts["target"]
    failed = end in ("home", "lost device, paused")
    mine = reason(source, None) if source and failed else None
    theirs = None
    if "target" not in facts["killed"] and target is None:
        theirs = reason(None, facts["log"]["target"])
        if not theirs[1] or theirs[1] == "?":
            said["unexplained"].append(f"the target failed and gives no reason: "
                                       f"{facts['log']['target']}")
    if mine and (not mine[0] or mine[1] in ("", "?")):
        if not facts["refused"]:
            said["unexplained"].append(f"home, and the source gives no reason: {source}")
    if "waited" in facts and not (facts["waited"].get("error") or {}).get("text"):
        said["unexplained"].append(f"the source waits, and does not say for what: {facts}")
    facts["reasons"] = [mine, theirs]
    if not mine or not theirs or mine[1] in theirs[1] or theirs[1] in mine[1]:
        return
    # Where nothing stood between the two, they tell the same story in the same words.
    if facts["do"] in ("nothing", "cancel") and not facts.get("ledger_filter"):
        said["unexplained"].append(f"the two sides give different reasons: {mine}, {theirs}")
    # What was returned in the ledger was read there, whatever was between the two.
    elif facts["told"] and "RETURNING" in facts["states"]["target"] and OWN.match(theirs[1]):
        said["unexplained"].append(f"the target returned it with a reason ({theirs[1]}), and the "
                                   f"source gives another one: {mine}")
    # Both have failed by themselves, and neither knows of the other.
    elif OWN.match(mine[1]) and OWN.match(theirs[1]):
        said["unexplained"].append(f"each side has a reason of its own: {mine}, {theirs}")


def judge(facts):
    """Returns (end, {count: [sentences]}) with the counts of the last line of the campaign."""
    said = {"lost": [], "executed after another": [], "unpromised": [], "unexplained": []}
    records, torn = campaign_referee.read(facts["witness"])
    sides = campaign_referee.sides(records)
    allowed = [[1], [1, 2]] + ([[1, 3]] if facts["again"] else [])
    said["executed after another"] += campaign_referee.judge(records)
    if sides not in allowed:
        said["executed after another"].append(f"the guest went {sides[:10]}")
    if torn and not facts["killed"]:
        said["executed after another"].append("the witness has a piece of a record")
    for line in facts["corrupt"]:
        said["lost"].append(line)
    said["unpromised"] += list(crashes(facts))
    if not facts["settled"]:
        said["unpromised"].append(f"not at an end after everything was healed: source "
                                  f"{facts['source']}, target {facts['target']}, {facts['log']}")
    if len(facts["running"]) > 1:
        said["executed after another"].append("both sides say that they run it")
        return "both", said
    if facts["running"]:
        end = end_of_running(facts, said)
        if sides and {"home": {1, 3}, "away": {2}}[end].isdisjoint(sides[-1:]):
            said["executed after another"].append(f"it is {end}, and ran at {sides}")
    else:
        end = end_of_nothing(facts, said)
    reasons(facts, end, said)
    return end, said
