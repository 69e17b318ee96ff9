# SPDX-License-Identifier: BSD-3-Clause
"""
The referee of the campaign: reads what the guest itself said to the witness (docs/checker.md) and
tells whether any side executed it after another side had. It knows nothing of migration, and asks
no process: the order of the records in the file is the order in which the vCPUs executed.
"""
import struct

SENTENCES_MAX = 8  # two that run at once break the rule with every word
RECORD = struct.Struct("<IIQ")  # vmm/witness.h: side, word, time
NUMBERS = 1 << 26  # guest/work.h: how many a word has room for


class Record:
    """One word of a vCPU: which side executed it, and the how manieth of that vCPU it is."""

    __slots__ = ("side", "vcpu", "number", "time_ns")

    def __init__(self, side, word, time_ns):
        self.side, self.time_ns = side, time_ns
        self.vcpu, self.number = word // NUMBERS, word % NUMBERS


def read(path):
    """The records, and whether a piece of one stands at the end (its writer was killed)."""
    with open(path, "rb") as file:
        data = file.read()
    whole = len(data) - len(data) % RECORD.size
    return [Record(*fields) for fields in RECORD.iter_unpack(data[:whole])], whole != len(data)


def sides(records):
    """The sides in the order in which they executed; one is named again when it comes again."""
    order = []
    for record in records:
        if not order or order[-1] != record.side:
            order.append(record.side)
    return order


def judge(records, handovers=None):
    """
    Sentences, one for each way in which the file breaks a promise. handovers is the list of
    sides by which the guest may have gone: it may end early, not go back and not be left.
    """
    said, last, first = [], {}, {}
    for place, record in enumerate(records):
        key = record.vcpu
        if key not in last:
            if record.number != 1:
                said.append(f"record {place}: vCPU {key} begins with {record.number}, not with 1")
        else:
            number, side = last[key]
            expected = (number + 1) % NUMBERS
            if record.number == number or (expected - record.number) % NUMBERS < NUMBERS // 2 \
                    and record.number != expected:
                said.append(f"record {place}: vCPU {key} said {record.number} again at side "
                            f"{record.side}, after {number} at side {side}: an old state ran")
            elif record.number != expected:
                said.append(f"record {place}: vCPU {key} goes from {number} to {record.number}: "
                            f"it executed unseen")
        last[key] = (record.number, record.side)
        first.setdefault(record.side, place)
    if len(said) > SENTENCES_MAX:
        said = said[:SENTENCES_MAX] + [f"and {len(said) - SENTENCES_MAX} more of that kind"]
    order = sides(records)
    again = {side for side in order if order.count(side) > 1}
    if again and handovers is None:
        said.append(f"sides {sorted(again)} executed again after another side had: "
                    f"{order[:10]}")
    if handovers is not None and order != handovers[:len(order)]:
        said.append(f"the guest went {order[:10]}, and should have gone {handovers}")
    return said
