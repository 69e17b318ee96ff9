#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""
stream-verify.py: `holdfast-stream` finds what breaks docs/stream.md, and says where. Mutations of
the golden session (tests/vectors/v1/session): raw ones, which digests have to find, and ones whose
digests were made anew, which only the rules can find. Speaks TAP.
"""
import contextlib
import importlib.machinery
import importlib.util
import io
import json
import os
import random
import re
import struct
import subprocess
import sys
import tempfile
import time

try:
    import xxhash
except ImportError:
    print('1..0 # SKIP python3 has no module xxhash')
    sys.exit(0)

TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..')
TOOL = os.path.join(TOP, 'tools', 'holdfast-stream')
VECTORS = os.path.join(TOP, 'tests', 'vectors', 'v1')

sys.dont_write_bytecode = True
loader = importlib.machinery.SourceFileLoader('holdfast_stream', TOOL)
stream = importlib.util.module_from_spec(importlib.util.spec_from_loader('holdfast_stream', loader))
loader.exec_module(stream)

HELLO, REGIONS, DEVICES, SHAPE, CONFIG, MACHINE, END, GO = range(1, 9)
ACCEPT, PRIMED, LOADED, STARTED, RETURNED = range(0x11, 0x16)
ABORT, BYE, KEEPALIVE = 0x21, 0x22, 0x80000023
ATTACH, PAGES, ROUND, DATA, DEVICE_END, CHANNEL_END = range(0x31, 0x37)
UNKNOWN = 0x80000777
OUT, BACK, BULK0, BULK1 = 'control.out', 'control.in', 'bulk-0.out', 'bulk-1.out'


def read(*path):
    with open(os.path.join(VECTORS, *path), 'rb') as file:
        return file.read()


def golden():
    return {name: read('session', name) for name in (OUT, BACK, BULK0, BULK1)}


def judge(files, allow=False):
    session = stream.Session(files, allow)
    session.judge()
    return session


def holds(files, allow=False):
    """Neither broken nor, unless allowed, incomplete."""
    session = judge(files, allow)
    return not session.breaches and (allow or not session.missing())


class Capture:
    """A capture that can be changed: for each file the stream header, then [type, body]."""

    def __init__(self, files=None):
        self.headers, self.records = {}, {}
        for name, octets in (files or golden()).items():
            self.headers[name], self.records[name] = bytearray(octets[:32]), []
            at = 32
            while at < len(octets):
                number, length = struct.unpack_from('<II', octets, at)
                self.records[name].append([number, bytearray(octets[at + 8:at + 8 + length])])
                at += 8 + (length + 7) // 8 * 8

    def body(self, name, number, nth=0):
        return [body for kind, body in self.records[name] if kind == number][nth]

    def index(self, name, number, nth=0):
        return [i for i, (kind, _) in enumerate(self.records[name]) if kind == number][nth]

    def put(self, name, number, at, form, value, nth=0):
        """A field anew, in the body of a record."""
        struct.pack_into(form, self.body(name, number, nth), at, value)

    def insert(self, name, index, number, body=b''):
        self.records[name].insert(index, [number, bytearray(body)])

    def drop(self, name, number, nth=0):
        return self.records[name].pop(self.index(name, number, nth))

    def move(self, name, number, index, nth=0):
        self.records[name].insert(index, self.drop(name, number, nth))

    def add_channel(self, number):
        name = 'bulk-%d.out' % number
        self.headers[name], self.records[name] = bytearray(self.headers[BULK0]), []
        self.headers[name][14] = number

    def remove(self, name):
        del self.headers[name], self.records[name]

    def offset(self, name, number, nth=0):
        """Where a record begins."""
        index = self.index(name, number, nth)
        return 32 + sum(8 + (len(body) + 7) // 8 * 8 for _, body in self.records[name][:index])

    def seal(self):
        """Digests and counts of END and CHANNEL_END anew, as an honest sender would make them."""
        for name, records in self.records.items():
            for i, (number, body) in enumerate(records):
                before = self.octets(name, i)
                if number == END and len(body) == 48:
                    struct.pack_into('<Q', body, 40, xxhash.xxh3_64_intdigest(before))
                elif number == CHANNEL_END and len(body) == 32:
                    struct.pack_into('<QQQ', body, 8, i, len(before),
                                     xxhash.xxh3_64_intdigest(self.octets(name, i, True)))
        return self

    def octets(self, name, count=None, bare=False):
        """The file up to a record; bare: without content of pages and data of devices."""
        parts = [bytes(self.headers[name])]
        for number, body in self.records[name][:count]:
            kept = body[:{PAGES: 144, DATA: 16}.get(number, len(body))] if bare else body
            parts += [struct.pack('<II', number, len(body)), kept, bytes(-len(body) % 8)]
        return b''.join(parts)

    def files(self):
        return {name: self.octets(name) for name in self.headers}


# ---- the tests -------------------------------------------------------------------------------

def the_golden_session_holds():
    session = judge(golden())
    assert not session.breaches and not session.missing(), session.breaches
    assert session.outcome() == 'started'
    assert session.skipped == 2
    assert Capture().seal().files() == golden(), 'this test seals as the vectors were sealed'


def txt_fields(name):
    """Fields of a vector as its .txt has them: (offset, width, name, octets' beginning)."""
    for line in read(name).decode().splitlines():
        match = re.match(r'([0-9a-f]{6})  (\w+) +(\S+) +((?:[0-9a-f]{2} ?)*)', line)
        assert match, line
        yield int(match.group(1), 16), match.group(2), match.group(3), bytes.fromhex(match.group(4))


def every_vector_has_the_fields_of_its_text():
    names = sorted(name[:-4] for name in os.listdir(VECTORS) if name.endswith('.bin'))
    seen = set()
    for name in names:
        octets = read(name + '.bin')
        if name.startswith('header-'):
            continue
        record = stream.Record(type('View', (), {'view': octets}), 0, 0)
        assert record.whole and record.spec and record.size == len(octets), name
        seen.add(record.spec.number)
        spec, values = record.spec, stream.decode(octets, record)
        places = {8 + field.offset: field for field in spec.fields}
        fixed = 8 + stream.size_of(spec.fields)
        if spec.entry:
            size = stream.size_of(spec.entry)
            for i in range(len(values[spec.rest])):
                places.update({fixed + i * size + field.offset: field for field in spec.entry})
        for offset, kind, label, start in txt_fields(name + '.txt'):
            if offset < 8 or offset >= fixed and not spec.entry or label == '(padding)':
                continue
            if re.search(r'\[[1-7]\]', label):
                continue  # of a bitmap, which is one field here
            field = places.pop(offset)
            label = re.sub(r'\[0\]|[()]', '', label)
            assert field.name == label, (name, offset, field.name, label)
            assert octets[offset:offset + len(start)] == start, (name, offset)
            if kind in stream.SIZES and field.kind not in ('bitmap', 'reserved'):
                assert field.kind == kind, (name, label)
        assert not places, (name, places)
    assert seen == set(stream.BY_NUMBER), 'a vector of every record'


def content_of_pages(name, octets):
    """Ranges that no digest and no rule covers."""
    at = 32
    while at < len(octets):
        number, length = struct.unpack_from('<II', octets, at)
        if number == PAGES:
            yield range(at + 8 + 144, at + 8 + length)
        at += 8 + (length + 7) // 8 * 8


# What nobody can find: control.in has no digest, and these say anything.
FREE = {
    BACK: [(range(10, 12), 'minor of the stream header'),
           (range(0x20, 0x24), 'type of KEEPALIVE: another record to skip'),
           (range(0x38 + 32, 0x38 + 96), 'side of ACCEPT'),
           (range(0x19b, 0x19c), 'bit 31 of PRIMED\'s type: the target may leave it out'),
           (range(0x1b0, 0x1b8), 'verify_us of LOADED'),
           (range(0x1c8, 0x1d0), 'start_us of STARTED'),
           (range(0x1d3, 0x1d4), 'bit 31 of BYE\'s type: it may be missing')],
    OUT: [(range(0x4b3, 0x4b4), 'bit 31 of BYE\'s type, behind END: it may be missing')],
}


def every_flipped_bit_is_found():
    flips = misses = 0
    for name, octets in golden().items():
        skipped = set().union(*content_of_pages(name, octets))
        free = set().union(*(places for places, _ in FREE.get(name, [])))
        files = golden()
        for at in set(range(len(octets))) - skipped:
            for bit in range(8):
                changed = bytearray(octets)
                changed[at] ^= 1 << bit
                files[name] = changed
                flips += 1
                if holds(files):
                    misses += 1
                    assert at in free, '%s: bit %d of octet 0x%x is not missed' % (name, bit, at)
    assert flips > 20000, flips
    assert misses < 800, misses


def flips_in_the_content_of_pages_are_the_transports():
    files = golden()
    for places in content_of_pages(BULK0, files[BULK0]):
        changed = bytearray(files[BULK0])
        changed[places[0]] ^= 1
        changed[places[-1]] ^= 128
        assert holds({**files, BULK0: changed})


def cuts(octets, name):
    """Every length that is not in the middle of a page's content, and some that are."""
    inside = set().union(*(range(places.start + 8, places.stop - 8)
                           for places in content_of_pages(name, octets)))
    return sorted(set(range(len(octets))) - inside) + sorted(inside)[::997]


def every_truncation_is_found_and_may_be_allowed():
    for name, octets in golden().items():
        files = golden()
        for length in cuts(octets, name):
            files[name] = octets[:length]
            # 6.5 (d): the last word was said, a BYE may be missing
            bye = name in (OUT, BACK) and length == len(octets) - 8
            assert holds(files) == bye, '%s cut at 0x%x' % (name, length)
            session = judge(files, allow=True)
            assert not session.breaches, '%s cut at 0x%x: %s' % (name, length, session.breaches[0])
        del files[name]
        assert not holds(files) and holds(files, allow=True), 'without %s' % name


def aborted():
    """The target gives up before LOADED, and before it owes anything for what it has read."""
    capture = Capture()
    for number in (PRIMED, LOADED, STARTED):
        capture.drop(BACK, number)
    capture.insert(BACK, len(capture.records[BACK]) - 1, ABORT,
                   struct.pack('<ii248s', -4142, 5, b'device 0 would not load'))
    capture.drop(OUT, GO)
    return capture


def an_abort_explains_every_truncation():
    whole = aborted().files()
    session = judge(whole)
    assert holds(whole) and session.outcome() == 'aborted'
    for name in (OUT, BULK0, BULK1):
        files = dict(whole)
        for length in cuts(whole[name], name):
            files[name] = whole[name][:length]
            if name == OUT and length < Capture(whole).offset(OUT, SHAPE) + 24:
                continue  # ACCEPT answers SHAPE
            assert holds(files), '%s cut at 0x%x' % (name, length)


def records_dropped_repeated_or_swapped_are_found():
    allowed = set()
    count = 0
    for name in golden():
        for i in range(len(Capture().records[name])):
            for change in ('drop', 'repeat', 'swap'):
                capture = Capture()
                records = capture.records[name]
                if change == 'drop':
                    del records[i]
                elif change == 'repeat':
                    records.insert(i, records[i])
                elif i + 1 < len(records):
                    records[i], records[i + 1] = records[i + 1], records[i]
                else:
                    continue
                count += 1
                if holds(capture.files()):
                    allowed.add((name, Capture().records[name][i][0], change))
    # keep-alives come anywhere, a PRIMED may be left out, a BYE may be missing
    assert allowed == {(BACK, KEEPALIVE, 'drop'), (BACK, KEEPALIVE, 'swap'), (BACK, PRIMED, 'drop'),
                       (BACK, BYE, 'drop'), (OUT, BYE, 'drop')}, allowed
    assert count > 100


def honest_senders_of_any_order_are_told_the_rule():
    """Swaps with all digests right: whatever holds is one of the orders that the page allows."""
    allowed = set()
    for name in (OUT, BULK0, BULK1):
        for i in range(len(Capture().records[name]) - 1):
            capture = Capture()
            records = capture.records[name]
            records[i], records[i + 1] = records[i + 1], records[i]
            if holds(capture.seal().files()):
                allowed.add((records[i][0], records[i + 1][0]))  # in their new order
    assert allowed == {
        (DEVICES, KEEPALIVE), (KEEPALIVE, REGIONS), (CONFIG, MACHINE), (UNKNOWN, CONFIG),
        (MACHINE, UNKNOWN), (ROUND, DATA), (DATA, ROUND), (UNKNOWN, PAGES), (ROUND, UNKNOWN),
        (DEVICE_END, ROUND), (DATA, PAGES)}, allowed


def change(number, name, at, form, value, rule, nth=0, where=0):
    """A case: one field is another one; found at that field, or where octets away."""
    def edit(capture):
        capture.put(name, number, at, form, value, nth)
        return name, capture.offset(name, number, nth) + 8 + at + where, rule
    return edit


def add(number, name, before, body, rule, where=0, nth=0):
    """A case: one record more, in front of the first of another kind; found where octets in it."""
    def edit(capture):
        index = capture.index(name, before, nth) if before else len(capture.records[name])
        capture.insert(name, index, number, body)
        return name, 32 + sum(8 + (len(b) + 7) // 8 * 8
                              for _, b in capture.records[name][:index]) + where, rule
    return edit


def less(number, name, at_number, rule, nth=0, where=0):
    """A case: one record less; found at another record."""
    def edit(capture):
        capture.drop(name, number, nth)
        return name, capture.offset(name, at_number) + where, rule
    return edit


def elsewhere(edit, name, number, rule, where=0):
    """A case whose change is found at another record, maybe in another file."""
    def other(capture):
        edit(capture)
        return name, capture.offset(name, number) + where, rule
    return other


def resize(number, name, size, rule, nth=0):
    def edit(capture):
        body = capture.body(name, number, nth)
        body[:] = body[:size].ljust(size, b'\0')
        return name, capture.offset(name, number, nth) + 4, rule
    return edit


def came_back(epoch, code, cause, rule, where):
    def edit(capture):
        capture.records[BACK][capture.index(BACK, STARTED)] = [RETURNED, bytearray(struct.pack(
            '<Qii248s', epoch, code, cause, b'the device would not run'))]
        return BACK, capture.offset(BACK, RETURNED) + where, rule
    return edit


def header(name, at, octets, rule, where=0):
    def edit(capture):
        capture.headers[name][at:at + len(octets)] = octets
        return name, at + where, rule
    return edit


def one_page(page, zero=False, region=0, count=1):
    return struct.pack('<IIQ', region, count, page) + (1).to_bytes(64, 'little') + \
        int(zero).to_bytes(64, 'little') + (b'' if zero else bytes(4096))


U32, U64, I32 = '<I', '<Q', '<i'
CASES = {
    'the magic': header(BULK1, 7, b'X', '3 (a)'),
    'a major version': header(OUT, 8, b'\2', '3 (b)'),
    'a kind': header(BULK0, 12, b'\1', '3 (c)'),
    'a direction': header(BACK, 13, b'\1', '3 (c)'),
    'a control channel': header(OUT, 14, b'\1', '3 (d)'),
    'a channel of another file': header(BULK1, 14, b'\0', '11 (d)'),
    'reserved in the stream header': header(BULK1, 31, b'\1', '3 (e)'),
    'type 0': add(0, OUT, MACHINE, b'', '4.2'),
    'type 0, to be skipped': add(1 << 31, BACK, LOADED, b'', '4.2'),
    'an unknown record': add(0x777, BULK0, PAGES, b'', '4.2'),
    'an unknown record before HELLO': add(UNKNOWN, OUT, HELLO, b'', '4.2'),
    'an unknown record before ATTACH': add(UNKNOWN, BULK0, ATTACH, b'', '4.2'),
    'an unknown record behind BYE': add(UNKNOWN, BACK, None, b'', '11 (c)'),
    'an unknown record behind CHANNEL_END': add(UNKNOWN, BULK1, None, b'', '11 (c)'),
    'an unknown record of 65537 octets': add(UNKNOWN, BULK1, ROUND, bytes(65537), '4.2', 4),
    'KEEPALIVE without its bit': add(0x23, OUT, MACHINE, bytes(8), '4.2'),
    'KEEPALIVE on a bulk connection': add(KEEPALIVE, BULK0, PAGES, bytes(8), '4.3'),
    'GO from the target': add(GO, BACK, LOADED, bytes(8), '4.3'),
    'LOADED from the source': add(LOADED, OUT, GO, bytes(8), '4.3'),
    'PAGES on the control connection': add(PAGES, OUT, GO, one_page(0), '4.3'),
    'a short HELLO': resize(HELLO, OUT, 432, '4.1 (c)'),
    'a SHAPE of 65537 octets': resize(SHAPE, OUT, 65537, '4.1 (c)'),
    'a BYE with a body': resize(BYE, OUT, 8, '4.1 (c)'),
    'a LOADED of 16 octets': resize(LOADED, BACK, 16, '4.1 (c)'),

    'no session': change(HELLO, OUT, 0, '16s', bytes(16), '5.1'),
    'flags of HELLO': change(HELLO, OUT, 16, U32, 2, '5.1'),
    'a page shift': change(HELLO, OUT, 20, U32, 13, '5.1'),
    'no regions': change(HELLO, OUT, 24, U32, 0, '5.1'),
    '17 regions': change(HELLO, OUT, 24, U32, 17, '5.1'),
    '33 devices': change(HELLO, OUT, 28, U32, 33, '5.1'),
    '17 channels': change(HELLO, OUT, 32, U32, 17, '5.1'),
    'reserved in HELLO': change(HELLO, OUT, 36, U32, 1 << 16, '2.2', where=2),
    'epoch 0': change(HELLO, OUT, 40, U64, 0, '5.1'),
    'a guest name': change(HELLO, OUT, 56, '64s', b'web 1', '5.1 (b)'),
    'a guest without a name': change(HELLO, OUT, 56, '64s', b'', '5.1 (b)'),
    'a text that does not end': change(HELLO, OUT, 120, '64s', b'x' * 64, '2.3', where=63),
    'a control character in a text': change(HELLO, OUT, 120, '64s', b'ab\x1bc', '2.3', where=2),
    'octets behind a text': change(HELLO, OUT, 120, '64s', b'ab\0\0c', '2.3', where=4),
    'an empty side': change(HELLO, OUT, 120, '64s', b'', '5.1'),
    'an empty ledger': change(HELLO, OUT, 184, '256s', b'', '5.1'),
    'regions that HELLO does not have': elsewhere(
        change(HELLO, OUT, 24, U32, 2, ''), OUT, REGIONS, '5.2 (a)', 8),
    'devices that HELLO does not have': elsewhere(
        change(HELLO, OUT, 28, U32, 1, ''), OUT, DEVICES, '5.3 (a)', 8),
    'a region without a name': change(REGIONS, OUT, 24, '64s', b'', '5.2'),
    'a device of no kind': change(DEVICES, OUT, 8 + 64, '16s', b'', '5.3'),
    'a gpa': change(REGIONS, OUT, 8, U64, 1, '5.2'),
    'a region of no size': change(REGIONS, OUT, 16, U64, 0, '5.2'),
    'a region above 2^52': change(REGIONS, OUT, 16, U64, (1 << 52) + 4096, '5.2 (b)'),
    'a region that overflows': change(REGIONS, OUT, 16, U64, (1 << 64) - 4096, '5.2 (b)'),
    'an entry of REGIONS too many': resize(REGIONS, OUT, 168, '5.2 (a)'),
    'two devices of one name': change(DEVICES, OUT, 168, '64s', b'nic0', '5.3'),
    'a device that cannot STOP_COPY': change(DEVICES, OUT, 8 + 144, U32, 2, '5.3 (b)'),
    'reserved in DEVICES': change(DEVICES, OUT, 8 + 157, '3s', b'\0\0\1', '2.2', where=2),
    'DEVICES cut short': resize(DEVICES, OUT, 327, '5.3 (a)'),
    'a configuration of no device': change(CONFIG, OUT, 0, U32, 2, '5.5 (a)'),
    'a second configuration': change(CONFIG, OUT, 0, U32, 1, '6.1', nth=1),
    'a section without a name': change(MACHINE, OUT, 0, '32s', b'', '5.6'),

    'REGIONS missing': less(REGIONS, OUT, DEVICES, '6.1'),
    'REGIONS twice': lambda c: (c.insert(OUT, 2, *c.records[OUT][1]), (OUT, c.offset(
        OUT, REGIONS, 1), '6.1'))[1],
    'HELLO missing': less(HELLO, OUT, REGIONS, '6.1'),
    'KEEPALIVE before HELLO': add(KEEPALIVE, OUT, HELLO, struct.pack(U64, 1), '6.1'),
    'MACHINE_STATE before SHAPE': lambda c: (c.move(OUT, MACHINE, 3), (OUT, c.offset(
        OUT, MACHINE), '6.1'))[1],
    'MACHINE_STATE behind END': lambda c: (c.move(OUT, MACHINE, 11, 1), c.put(
        OUT, END, 12, U32, 1), (OUT, c.offset(OUT, MACHINE, 1), '6.1'))[2],
    'a configuration missing': less(CONFIG, OUT, END, '6.1'),
    'GO before END': lambda c: (c.move(OUT, GO, 5), (OUT, c.offset(OUT, GO), '6.1'))[1],
    'GO twice': add(GO, OUT, BYE, struct.pack(U64, 7), '6.1'),
    'END twice': lambda c: (c.insert(OUT, len(c.records[OUT]) - 1, END, c.body(OUT, END)), (
        OUT, c.offset(OUT, END, 1), '6.1'))[1],
    '1025 sections': lambda c: ([c.insert(OUT, 5, MACHINE, c.body(OUT, MACHINE))
                                 for _ in range(1023)], (OUT, c.offset(OUT, MACHINE, 1024),
                                                         '6.1'))[1],
    'GO behind ABORT': add(ABORT, OUT, GO, struct.pack('<ii248s', -4150, 0, b''), '6.1', 264),
    'a code of ABORT': add(ABORT, OUT, BYE, struct.pack('<ii248s', -4100, 0, b''), '2.4', 8),
    'a cause of ABORT': add(ABORT, OUT, BYE, struct.pack('<ii248s', -4101, 4096, b''), '2.4', 12),
    'a second KEEPALIVE with 1': add(KEEPALIVE, OUT, GO, struct.pack(U64, 1), '5.16 (a)', 8),
    'a KEEPALIVE left out': change(KEEPALIVE, BACK, 0, U64, 2, '5.16 (a)'),

    'features': change(ACCEPT, BACK, 0, U32, 1, '5.9'),
    'more channels than asked for': change(ACCEPT, BACK, 4, U32, 5, '5.9'),
    'chunks of 2 MiB and a page': change(ACCEPT, BACK, 8, U32, 2097152 + 4096, '5.9'),
    'chunks of 4097': change(ACCEPT, BACK, 8, U32, 4097, '5.9'),
    'no token': change(ACCEPT, BACK, 16, '16s', bytes(16), '5.9'),
    'another token': elsewhere(change(ACCEPT, BACK, 16, '16s', b'x' * 16, ''), BULK0, ATTACH,
                               '5.17 (a)', 8 + 16),
    'the side of the source': change(ACCEPT, BACK, 32, '64s', b'alpha.4711.c0ffee', '5.9 (c)'),
    'another ledger': change(ACCEPT, BACK, 96, '256s', b'none', '5.9 (c)'),
    'ACCEPT behind PRIMED': lambda c: (c.move(BACK, ACCEPT, 2), (BACK, c.offset(
        BACK, PRIMED), '6.2'))[1],
    'ACCEPT twice': lambda c: (c.insert(BACK, 2, ACCEPT, c.body(BACK, ACCEPT)), (BACK, c.offset(
        BACK, ACCEPT, 1), '6.2'))[1],
    'PRIMED of no device': change(PRIMED, BACK, 0, U32, 2, '5.10 (a)'),
    'PRIMED of a device without initial data': elsewhere(
        change(PRIMED, BACK, 0, U32, 1, ''), BACK, PRIMED, '6.5 (b)'),
    'PRIMED twice': add(PRIMED, BACK, LOADED, bytes(8), '5.10 (c)', 8),
    'PRIMED behind LOADED': lambda c: (c.move(BACK, PRIMED, 3), (BACK, c.offset(
        BACK, PRIMED), '6.2'))[1],
    'STARTED before LOADED': less(LOADED, BACK, STARTED, '6.2'),
    'STARTED and RETURNED': add(RETURNED, BACK, BYE,
                                struct.pack('<Qii248s', 7, -4150, 0, b''), '6.2'),
    'ABORT behind STARTED': add(ABORT, BACK, BYE, struct.pack('<ii248s', -4150, 0, b''), '6.2'),
    'STARTED in another epoch': change(STARTED, BACK, 0, U64, 8, '5.12 (a)'),
    'RETURNED in another epoch': came_back(8, -4150, 0, '5.13 (a)', 8),
    'a code of RETURNED': came_back(7, -4200, 0, '2.4', 16),
    'a cause of RETURNED': came_back(7, -4150, -1, '2.4', 20),
    'GO in an epoch of the past': change(GO, OUT, 0, U64, 6, '5.8 (a)'),
    'STARTED without GO': lambda c: (c.drop(OUT, GO), (BACK, c.offset(BACK, STARTED),
                                                       '11 (b)'))[1],
    'GO without LOADED': lambda c: (c.drop(BACK, STARTED), c.drop(BACK, LOADED), (
        OUT, c.offset(OUT, GO), '6.5 (b)'))[2],
    'an END without ACCEPT': lambda c: (
        [c.drop(BACK, n) for n in (STARTED, LOADED, PRIMED, ACCEPT)],
        (OUT, c.offset(OUT, CONFIG), '6.1'))[1],
    'a capture without control.in': lambda c: (c.remove(BACK), (OUT, c.offset(
        OUT, CONFIG), '6.1'))[1],
    'LOADED without a channel': lambda c: (c.remove(BULK1), (BACK, c.offset(
        BACK, LOADED), '11 (a)'))[1],
    'LOADED without CHANNEL_END': lambda c: (c.drop(BULK0, CHANNEL_END), (BACK, c.offset(
        BACK, LOADED), '11 (a)'))[1],
    'LOADED without END': lambda c: (c.drop(OUT, GO), c.drop(OUT, END), (BACK, c.offset(
        BACK, LOADED), '11 (a)'))[2],
    'bulk connections without ACCEPT': lambda c: (
        [c.drop(BACK, n) for n in (STARTED, LOADED, PRIMED, ACCEPT)],
        [c.drop(OUT, n) for n in (GO, END, CONFIG, CONFIG, MACHINE, MACHINE)],
        (BULK0, 0, '11 (d)'))[2],
    'a channel 16': lambda c: (c.add_channel(16), ('bulk-16.out', 14, '3 (d)'))[1],
    'a channel that was not granted': lambda c: (
        c.add_channel(2), ('bulk-2.out', 0, '11 (d)'))[1],

    'another session': change(ATTACH, BULK1, 0, '16s', b'x' * 16, '5.17 (a)'),
    'ATTACH with another channel': change(ATTACH, BULK1, 32, U32, 0, '5.17 (a)'),
    'reserved in ATTACH': change(ATTACH, BULK1, 36, U32, 1 << 31, '2.2', where=3),
    'ATTACH missing': less(ATTACH, BULK0, PAGES, '6.3'),
    'ATTACH twice': lambda c: (c.insert(BULK0, 1, *c.records[BULK0][0]), (BULK0, c.offset(
        BULK0, ATTACH, 1), '6.3'))[1],
    'a region that is not there': change(PAGES, BULK0, 0, U32, 1, '5.18 (a)'),
    'a window of no page': change(PAGES, BULK0, 4, U32, 0, '5.18'),
    'a window of 513 pages': change(PAGES, BULK0, 4, U32, 513, '5.18'),
    'pages behind the region': change(PAGES, BULK1, 8, U64, 5, '5.18 (a)'),
    'first_page 2^40': change(PAGES, BULK1, 8, U64, 1 << 40, '5.18 (a)'),
    'a page behind the window': change(PAGES, BULK1, 16 + 63, 'B', 128, '5.18 (b)'),
    'zero without present': change(PAGES, BULK0, 80 + 40, 'B', 1, '5.18 (b)'),
    'nothing present': change(PAGES, BULK1, 16, U64, 0, '5.18 (c)'),
    'content of a page too much': resize(PAGES, BULK1, 144 + 4096, '5.18 (d)'),
    'content of a page too little': resize(PAGES, BULK0, 144 + 4096 * 2, '5.18 (d)'),
    'content above the chunk': elsewhere(change(ACCEPT, BACK, 8, U32, 8192, ''), BULK0, PAGES,
                                         '5.18 (e)', 4),
    'round 0': change(ROUND, BULK0, 0, U32, 0, '5.19 (a)'),
    'round 3 behind 1': change(ROUND, BULK0, 0, U32, 3, '5.19 (a)', nth=1),
    'pages of a round': change(ROUND, BULK1, 8, U64, 3, '5.19 (c)', nth=1),
    'a page twice in a round, on one channel': lambda c: (
        c.insert(BULK1, 2, PAGES, one_page(4, True)),
        (BULK1, c.offset(BULK1, PAGES, 1) + 24, '6.4 (b)'))[1],
    'a page twice in a round, on two channels': lambda c: (
        c.insert(BULK1, 2, PAGES, one_page(3, True)),
        (BULK1, c.offset(BULK1, PAGES, 1) + 24, '6.4 (b)'))[1],
    'pages in no round': lambda c: (
        c.insert(BULK0, c.index(BULK0, CHANNEL_END), PAGES, one_page(0)),
        (BULK0, c.offset(BULK0, PAGES, 1), '6.3 (b)'))[1],
    'no round': lambda c: (c.drop(BULK0, ROUND), c.drop(BULK0, ROUND), c.drop(BULK0, PAGES), (
        BULK0, c.offset(BULK0, CHANNEL_END), '6.3'))[3],
    'a round more on one channel': lambda c: (
        c.insert(BULK0, c.index(BULK0, CHANNEL_END), ROUND, struct.pack('<IIQ', 3, 0, 0)),
        (BULK1, c.offset(BULK1, CHANNEL_END), '5.19 (b)'))[1],
    'a device of another channel': change(DATA, BULK0, 0, U32, 1, '6.3 (a)'),
    'no such device': change(DATA, BULK0, 0, U32, 4, '5.20 (a)'),
    'a sequence': change(DATA, BULK0, 4, U32, 2, '5.20 (c)', nth=1),
    'flags of DEVICE_DATA': change(DATA, BULK0, 8, U32, 4, '5.20 (f)'),
    'INITIAL_DONE twice': elsewhere(change(DATA, BULK0, 8, U32, 1, ''), BULK0, DATA, '5.20 (d)',
                                    40 + 16),
    'INITIAL_DONE with STOP_COPY': change(DATA, BULK0, 8, U32, 3, '5.20 (f)'),
    'INITIAL_DONE behind STOP_COPY': lambda c: (
        c.put(BULK0, DATA, 8, U32, 2), (BULK0, c.offset(BULK0, DATA, 1) + 16, '5.20 (f)'))[1],
    'no STOP_COPY behind STOP_COPY': lambda c: (
        c.put(BULK0, DATA, 8, U32, 2), c.put(BULK0, DATA, 8, U32, 0, 1),
        (BULK0, c.offset(BULK0, DATA, 1) + 16, '5.20 (e)'))[2],
    'data_length': change(DATA, BULK0, 12, U32, 262145, '5.20'),
    'data_length above the body': lambda c: (c.put(BULK0, DATA, 12, U32, 12), (
        BULK0, c.offset(BULK0, DATA) + 4, '5.20 (b)'))[1],
    'data above the chunk': lambda c: (
        c.put(BACK, ACCEPT, 8, U32, 16384), c.insert(BULK0, 2, DATA, struct.pack(
            '<IIII', 0, 0, 0, 20000) + bytes(20000)),
        (BULK0, c.offset(BULK0, DATA) + 8 + 12, '5.20 (b)'))[2],
    'data behind DEVICE_END': add(DATA, BULK0, CHANNEL_END, struct.pack('<IIII', 0, 3, 2, 0),
                                  '6.3'),
    'DEVICE_END twice': lambda c: (
        c.insert(BULK1, c.index(BULK1, CHANNEL_END), DEVICE_END, c.body(BULK1, DEVICE_END)),
        (BULK1, c.offset(BULK1, DEVICE_END, 1), '6.3'))[1],
    'DEVICE_END missing': less(DEVICE_END, BULK1, CHANNEL_END, '6.3'),
    'DEVICE_END of another channel\'s device': change(DEVICE_END, BULK1, 0, U32, 0, '6.3 (a)'),
    'DEVICE_END of no device': change(DEVICE_END, BULK1, 0, U32, 3, '5.21 (a)'),
    'records of DEVICE_END': change(DEVICE_END, BULK0, 4, U32, 4, '5.21 (b)'),
    'bytes of DEVICE_END': change(DEVICE_END, BULK0, 8, U64, 20, '5.21 (b)'),
    'digest of DEVICE_END': change(DEVICE_END, BULK0, 16, U64, 1, '5.21 (b)'),
    'digest of no data': change(DEVICE_END, BULK1, 16, U64, 0, '5.21 (b)'),
    'data of a device': lambda c: (c.body(BULK0, DATA).__setitem__(20, 0), (
        BULK0, c.offset(BULK0, DEVICE_END) + 8 + 16, '5.21 (b)'))[1],
    'channel of CHANNEL_END': change(CHANNEL_END, BULK1, 0, U32, 0, '5.22'),

    'rounds of END': change(END, OUT, 0, U32, 3, '7 (c)'),
    'no rounds in END': change(END, OUT, 0, U32, 0, '5.7'),
    'device_count of END': change(END, OUT, 4, U32, 1, '5.7 (a)'),
    'config_records of END': change(END, OUT, 8, U32, 3, '5.7 (a)'),
    'machine_sections of END': change(END, OUT, 12, U32, 1, '5.7 (a)'),
    'normal_pages of END': change(END, OUT, 16, U64, 6, '7 (d)'),
    'zero_pages of END': change(END, OUT, 24, U64, 2, '7 (d)'),
    'device_bytes of END': change(END, OUT, 32, U64, 18, '7 (e)'),
    'a page that never came': lambda c: (
        c.put(BULK1, PAGES, 16, U64, 2), c.put(BULK1, PAGES, 80, U64, 2),
        c.put(BULK1, ROUND, 8, U64, 1), c.put(OUT, END, 24, U64, 2), (
            OUT, c.offset(OUT, END), '7 (g)'))[4],
}
# Digests and counts that seal() would mend.
SEALED = {
    'digest of END': change(END, OUT, 40, U64, 0, '5.7'),
    'records of CHANNEL_END': change(CHANNEL_END, BULK1, 8, U64, 8, '5.22 (a)'),
    'bytes of CHANNEL_END': change(CHANNEL_END, BULK1, 16, U64, 8673, '5.22 (b)'),
    'digest of CHANNEL_END': change(CHANNEL_END, BULK0, 24, U64, 0, '5.22 (c)'),
}


def every_rule_is_named_at_the_octet_that_breaks_it():
    wrong = []
    for sealing, cases in ((True, CASES), (False, SEALED)):
        for title, edit in cases.items():
            capture = Capture()
            file, offset, rule = edit(capture)
            if sealing and not (file == OUT and rule == '5.7'):
                capture.seal()
            session = judge(capture.files())
            found = [(b.file, b.offset, b.rule) for b in session.breaches]
            if not found or found[0][:2] != (file, offset) or found[0][2] != rule:
                wrong.append('%s: %s, wanted %s' % (title, '; '.join(
                    str(b) for b in session.breaches) or 'nothing', (file, hex(offset), rule)))
    assert not wrong, '\n'.join(wrong)
    assert len(CASES) + len(SEALED) > 120


def padding_is_judged_octet_by_octet():
    at = Capture().offset(OUT, SHAPE) + 8 + 11
    for i in range(5):
        files = golden()
        files[OUT] = bytearray(files[OUT])
        files[OUT][at + i] = 1
        breach = judge(files).breaches[0]
        assert (breach.file, breach.offset, breach.rule) == (OUT, at + i, '4.1 (b)'), breach


def what_the_page_allows_is_not_refused():
    def keepalives(capture):
        for i in (5, 3, 1):
            capture.insert(OUT, i, KEEPALIVE, b'')
        for i, body in enumerate(b for n, b in capture.records[OUT] if n == KEEPALIVE):
            body[:] = struct.pack(U64, i + 1)

    def returned(capture):
        capture.drop(BACK, STARTED)
        capture.insert(BACK, len(capture.records[BACK]) - 1, RETURNED,
                       struct.pack('<Qii248s', 7, -4199, 4095, b'no'))

    for edit in (
            keepalives, returned,
            lambda c: c.put(OUT, HELLO, 16, U32, 1),
            lambda c: c.put(OUT, HELLO, 48, U64, (1 << 64) - 1),
            lambda c: c.put(OUT, HELLO, 56, '64s', b'a' * 63),
            lambda c: (c.put(OUT, GO, 0, U64, 9), c.put(BACK, STARTED, 0, U64, 9)),
            lambda c: c.drop(BACK, PRIMED),
            lambda c: c.drop(OUT, BYE),
            lambda c: c.insert(BACK, 0, UNKNOWN, bytes(65536)),
            lambda c: c.insert(OUT, 1, UNKNOWN | 1 << 30, b'x'),
            lambda c: c.put(BACK, ACCEPT, 8, U32, 12288),
            lambda c: c.headers[OUT].__setitem__(10, 9),
            lambda c: (c.insert(BULK0, 5, PAGES, one_page(1)), c.put(BULK0, ROUND, 8, U64, 1, 1),
                       c.put(OUT, END, 16, U64, 6))):
        capture = Capture()
        edit(capture)
        session = judge(capture.seal().files())
        assert not session.breaches and not session.missing(), session.breaches
    # files that are empty, or no files of a capture
    assert holds({**golden(), 'bulk-9.out': b'', 'bulk-01.out': b'x', 'notes': b'x'})


def garbage_is_a_breach_and_nothing_else():
    chance = random.Random(1)
    for turn in range(3000):
        capture = Capture()
        name = chance.choice((OUT, BACK, BULK0, BULK1))
        for _ in range(chance.randrange(1, 4)):
            body = chance.choice(capture.records[name])[1]
            head = min(len(body), 160)
            if head:
                at = chance.randrange(head)
                body[at:at + 8] = chance.choice((
                    chance.randbytes(len(body[at:at + 8])), b'\xff' * len(body[at:at + 8]),
                    bytes(len(body[at:at + 8]))))
        files = capture.seal().files() if turn % 2 else capture.files()
        octets = bytearray(files[name])
        if turn % 3 == 0:
            at = chance.randrange(len(octets))
            octets[at:at + chance.randrange(9)] = chance.randbytes(chance.randrange(9))
        if turn % 5 == 0:
            del octets[chance.randrange(len(octets)):]
        files[name] = octets
        judge(files, allow=bool(turn % 2))  # ends with breaches or without, by no other exception
        with contextlib.redirect_stdout(io.StringIO()):
            for record in (walk := stream.Walk(octets)):
                stream.decode(walk.view, record)
        stream.collect(files)


# ---- the command -----------------------------------------------------------------------------

def run(*words, **more):
    return subprocess.run([sys.executable, TOOL, *words], stdin=subprocess.DEVNULL, timeout=60,
                          capture_output=True, text=True, check=False, **more)


def write(folder, files):
    for name, octets in files.items():
        with open(os.path.join(folder, name), 'wb') as file:
            file.write(octets)
    return folder


def the_command_says_ok_broken_or_wrong_usage():
    good = os.path.join(VECTORS, 'session')
    done = run('verify', good)
    assert done.returncode == 0 and 'ok: started, 2 channels' in done.stdout, done
    with tempfile.TemporaryDirectory() as folder:
        done = run('verify', folder)
        assert done.returncode == 2 and 'no capture' in done.stderr, done
        capture = Capture()
        capture.put(BULK0, ATTACH, 36, U32, 1)
        done = run('verify', write(folder, capture.files()))
        assert done.returncode == 1, done
        assert 'broken: bulk-0.out: offset 0x4c (76), record 0 (ATTACH at 0x20): section 2.2: ' \
            in done.stdout, done
    with tempfile.TemporaryDirectory() as folder:
        write(folder, {**golden(), BULK1: golden()[BULK1][:300], BACK: golden()[BACK][:0x1a8]})
        done = run('verify', folder)
        assert done.returncode == 1 and 'broken' in done.stdout, done
        done = run('verify', '--allow-incomplete', folder)
        assert done.returncode == 0 and 'incomplete: cut' in done.stdout, done
    for words in ((), ('verify',), ('judge', good), ('verify', good, 'x'), ('verify', '--x', good),
                  ('verify', '/nonexistent'), ('dump', '/nonexistent'), ('stat', TOOL)):
        done = run(*words)
        assert done.returncode == 2 and done.stderr and not done.stdout, (words, done)


def without_xxhash_it_says_what_to_install():
    with tempfile.TemporaryDirectory() as folder:
        write(folder, {'xxhash.py': b'raise ImportError("no")\n'})
        done = run('verify', os.path.join(VECTORS, 'session'),
                   env={**os.environ, 'PYTHONPATH': folder, 'PYTHONDONTWRITEBYTECODE': '1'})
        assert done.returncode == 2 and 'python3-xxhash' in done.stderr, done


def dump_lists_every_record():
    good = os.path.join(VECTORS, 'session')
    done = run('dump', '--json', good)
    assert done.returncode == 0, done
    records = [json.loads(line) for line in done.stdout.splitlines()]
    for name, octets in golden().items():
        mine = [record for record in records if record['file'] == name]
        assert mine[0]['offset'] == 32
        for this, following in zip(mine, mine[1:]):
            assert this['offset'] + this['size'] == following['offset']
        assert mine[-1]['offset'] + mine[-1]['size'] == len(octets)
    first = records[0]
    assert first['name'] == 'HELLO' and first['fields']['guest'] == 'web-1.prod'
    assert first['fields']['session'] == golden()[OUT][40:56].hex()
    pages = next(record for record in records if record['name'] == 'PAGES')
    assert pages['fields']['present'] == '0xf' and pages['fields']['content_octets'] == 12288
    lines = run('dump', os.path.join(good, BULK0)).stdout.splitlines()
    assert len(lines) == 1 + 9 and 'bulk' in lines[0] and 'CHANNEL_END' in lines[-1]
    with tempfile.TemporaryDirectory() as folder:
        capture = Capture()
        capture.put(OUT, HELLO, 120, '64s', b'\x1b[2J')
        files = capture.files()
        write(folder, {OUT: files[OUT], BACK: files[BACK][:-3]})
        done = run('dump', folder)
        assert '\x1b' not in done.stdout and 'LOADED' in done.stdout, done
        assert done.returncode == 1 and 'ends within a record header' in done.stderr, done


def stat_counts():
    done = run('stat', '--json', os.path.join(VECTORS, 'session'))
    assert done.returncode == 0, done
    totals = json.loads(done.stdout)
    assert totals['octets'] == sum(len(octets) for octets in golden().values())
    assert sum(entry['octets'] for entry in totals['records'].values()) == totals['octets'] - 4 * 32
    assert totals['records']['PAGES'] == {'count': 3, 'octets': 12440 + 152 + 8344}
    assert (totals['normal_pages'], totals['zero_pages']) == (5, 3)
    assert totals['zero_share'] == 3 / 8 and totals['rounds'] == 2
    assert totals['device_bytes'] == 19 and totals['devices'] == {'0': 19}
    assert 'pages                   5 with content, 3 zero (37.5 %)' in run(
        'stat', os.path.join(VECTORS, 'session')).stdout


def a_capture_of_a_gibibyte_takes_no_time():
    """Four rounds' worth of records around holes: their cost, not that of reading the disk."""
    pages = 1 << 18
    capture = Capture()
    capture.put(OUT, REGIONS, 16, U64, pages * 4096)
    capture.put(OUT, END, 16, U64, pages)
    capture.put(OUT, END, 24, U64, 0)
    capture.put(OUT, END, 0, U32, 1)
    for name in (BULK0, BULK1):
        capture.drop(name, PAGES)
        capture.drop(name, ROUND, 1)
    capture.drop(BULK1, PAGES)
    window = 16  # pages a record: 16384 records
    with tempfile.TemporaryDirectory() as folder:
        for name, half in ((BULK0, 0), (BULK1, 1)):
            capture.put(name, ROUND, 8, U64, pages // 2)
            records = capture.records[name]
            head = capture.octets(name, 1)
            first = [struct.pack('<IIIIQ', PAGES, 144 + 4096 * window, 0, window, page) +
                     ((1 << window) - 1).to_bytes(64, 'little') + bytes(64)
                     for page in range(half * pages // 2, (half + 1) * pages // 2, window)]
            rest = b''.join(struct.pack('<II', number, len(body)) + body + bytes(-len(body) % 8)
                            for number, body in records[1:-1])
            bare = head + b''.join(first)
            # without the data of devices, but with its padding
            kept = b''.join(struct.pack('<II', number, len(body)) +
                            (body[:16] if number == DATA else body) + bytes(-len(body) % 8)
                            for number, body in records[1:-1])
            octets = len(bare) + pages // 2 * 4096 + len(rest)
            end = struct.pack('<IIIIQQQ', CHANNEL_END, 32, half, 0, len(first) + len(records) - 1,
                              octets, xxhash.xxh3_64_intdigest(bare + kept))
            with open(os.path.join(folder, name), 'wb') as file:
                file.write(head)
                for part in first:
                    file.write(part)
                    file.seek(4096 * window, os.SEEK_CUR)
                file.write(rest + end)
        capture.seal()
        write(folder, {name: capture.octets(name) for name in (OUT, BACK)})
        before = os.times()
        start = time.monotonic()
        done = run('verify', folder)
        after = os.times()
        used = after.children_user - before.children_user
        print('# 1 GiB: %.2f s, %.2f s of them computing' % (time.monotonic() - start, used))
        assert done.returncode == 0 and 'ok: started' in done.stdout, done
        assert used < 15, used


TESTS = [
    the_golden_session_holds, every_vector_has_the_fields_of_its_text, every_flipped_bit_is_found,
    flips_in_the_content_of_pages_are_the_transports, every_truncation_is_found_and_may_be_allowed,
    an_abort_explains_every_truncation, records_dropped_repeated_or_swapped_are_found,
    honest_senders_of_any_order_are_told_the_rule, every_rule_is_named_at_the_octet_that_breaks_it,
    padding_is_judged_octet_by_octet, what_the_page_allows_is_not_refused,
    garbage_is_a_breach_and_nothing_else, the_command_says_ok_broken_or_wrong_usage,
    without_xxhash_it_says_what_to_install, dump_lists_every_record, stat_counts,
    a_capture_of_a_gibibyte_takes_no_time,
]


def main():
    chosen = [test for test in TESTS if len(sys.argv) < 2 or test.__name__ in sys.argv[1:]]
    print('1..%d' % len(chosen))
    failed = 0
    for i, test in enumerate(chosen):
        try:
            test()
            print('ok %d - %s' % (i + 1, test.__name__), flush=True)
        except Exception as error:  # any exception is a failure of that test, not of the others
            failed += 1
            text = '%s: %s' % (type(error).__name__, error)
            print('# ' + text.replace('\n', '\n# '))
            frame = error.__traceback__
            while frame.tb_next:
                frame = frame.tb_next
            print('# line %d' % frame.tb_lineno)
            print('not ok %d - %s' % (i + 1, test.__name__), flush=True)
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
