#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Makes the golden vectors of version 1 from docs/stream.md alone, without lib/wire.

make-v1.py DIR writes NAME.bin and NAME.txt for every record, and session/, a small capture.
make-v1.py --check DIR compares with what is there. The vectors of a released version never change;
this script says how they came to be, and tests/unit/wire-vectors.c has the same values in C.
"""
import os
import struct
import sys

try:
    import xxhash
except ImportError:
    print('skipped: python3 has no module xxhash')
    sys.exit(77)

NUMBERS = {'u8': ('<B', 1), 'u16': ('<H', 2), 'u32': ('<I', 4), 'u64': ('<Q', 8), 'i32': ('<i', 4)}
PAGE = 4096


def digest(data):
    return xxhash.xxh3_64_intdigest(data)


class Bytes:
    """Octets, and a line of text for each field of them."""

    def __init__(self):
        self.data = b''
        self.lines = []

    def add(self, kind, name, value):
        if kind in NUMBERS:
            octets = struct.pack(NUMBERS[kind][0], value)
            shown = '%d' % value if value < 4096 else '%d (0x%x)' % (value, value)
        elif kind.startswith('text'):
            octets = value.encode('ascii').ljust(int(kind[4:]), b'\0')
            shown = '"%s"' % value
        else:
            octets = value
            shown = '%d octets' % len(value)
        head = octets[:16].hex(' ') + (' ...' if len(octets) > 16 else '')
        self.lines.append('%06x  %-5s %-22s %-52s %s' % (len(self.data), kind, name, head, shown))
        self.data += octets
        return self


def fields(*items):
    result = Bytes()
    for kind, name, value in items:
        result.add(kind, name, value)
    return result


def record(number, *items):
    body = fields(*items)
    result = fields(('u32', 'type', number), ('u32', 'length', len(body.data)))
    for kind, name, value in items:
        result.add(kind, name, value)
    padding = -len(body.data) % 8
    if padding:
        result.add('octets', '(padding)', bytes(padding))
    return result


def header(kind, direction, channel):
    return fields(('octets', 'magic', b'HOLDFAST'), ('u16', 'major', 1), ('u16', 'minor', 0),
                  ('u8', 'kind', kind), ('u8', 'dir', direction), ('u16', 'channel', channel),
                  ('u64', '(reserved)', 0), ('u64', '(reserved)', 0))


SESSION = bytes(range(0x10, 0x20))
TOKEN = bytes(range(0xa0, 0xb0))
LEDGER = 'file:/var/lib/holdfast/ledger'


def hello(regions, devices, channels, flags=0):
    return record(0x01, ('octets', 'session', SESSION), ('u32', 'flags', flags),
                  ('u32', 'page_shift', 12), ('u32', 'region_count', regions),
                  ('u32', 'device_count', devices), ('u32', 'channels', channels),
                  ('u32', '(reserved)', 0), ('u64', 'epoch', 7),
                  ('u64', 'downtime_us_max', 300000), ('text64', 'guest', 'web-1.prod'),
                  ('text64', 'side', 'alpha.4711.c0ffee'), ('text256', 'ledger', LEDGER))


def regions(*entries):
    items = [('u32', 'count', len(entries)), ('u32', '(reserved)', 0)]
    for gpa, size, name in entries:
        items += [('u64', 'gpa', gpa), ('u64', 'size', size), ('text64', 'name', name)]
    return record(0x02, *items)


def devices(*entries):
    items = [('u32', 'count', len(entries)), ('u32', '(reserved)', 0)]
    for name, kind, compat, flags, ids, revision in entries:
        items += [('text64', 'name', name), ('text16', 'kind', kind), ('text64', 'compat', compat),
                  ('u32', 'mig_flags', flags), ('u16', 'vendor', ids[0]), ('u16', 'device', ids[1]),
                  ('u16', 'subven', ids[2]), ('u16', 'subsys', ids[3]), ('u8', 'rev', revision),
                  ('octets', '(reserved)', bytes(3))]
    return record(0x03, *items)


def shape(data):
    return record(0x04, ('octets', 'data', data))


def device_config(device, data):
    return record(0x05, ('u32', 'device', device), ('u32', '(reserved)', 0),
                  ('octets', 'data', data))


def machine_state(name, instance, version, data):
    return record(0x06, ('text32', 'name', name), ('u32', 'instance', instance),
                  ('u32', 'version', version), ('octets', 'data', data))


def end(rounds, device_count, sections, normal, zero, device_bytes, value):
    return record(0x07, ('u32', 'rounds', rounds), ('u32', 'device_count', device_count),
                  ('u32', 'config_records', device_count), ('u32', 'machine_sections', sections),
                  ('u64', 'normal_pages', normal), ('u64', 'zero_pages', zero),
                  ('u64', 'device_bytes', device_bytes), ('u64', 'digest', value))


def go(epoch):
    return record(0x08, ('u64', 'epoch', epoch))


def accept(channels, chunk):
    return record(0x11, ('u32', 'features', 0), ('u32', 'channels', channels),
                  ('u32', 'chunk_bytes_max', chunk), ('u32', '(reserved)', 0),
                  ('octets', 'token', TOKEN), ('text64', 'side', 'beta.815.decade'),
                  ('text256', 'ledger', LEDGER))


def primed(device):
    return record(0x12, ('u32', 'device', device), ('u32', '(reserved)', 0))


def loaded(microseconds):
    return record(0x13, ('u64', 'verify_us', microseconds))


def started(epoch, microseconds):
    return record(0x14, ('u64', 'epoch', epoch), ('u64', 'start_us', microseconds))


def returned(epoch, code, cause, text):
    return record(0x15, ('u64', 'epoch', epoch), ('i32', 'code', code), ('i32', 'cause', cause),
                  ('text248', 'text', text))


def abort(code, cause, text):
    return record(0x21, ('i32', 'code', code), ('i32', 'cause', cause), ('text248', 'text', text))


def bye():
    return record(0x22)


def keepalive(counter):
    return record(0x80000023, ('u64', 'counter', counter))


def attach(channel):
    return record(0x31, ('octets', 'session', SESSION), ('octets', 'token', TOKEN),
                  ('u32', 'channel', channel), ('u32', '(reserved)', 0))


def pages(region, count, first, present, zero, content):
    items = [('u32', 'region', region), ('u32', 'count', count), ('u64', 'first_page', first)]
    for name, bits in (('present', present), ('zero', zero)):
        mask = sum(1 << bit for bit in bits)
        items += [('u64', '%s[%d]' % (name, word), mask >> 64 * word & (1 << 64) - 1)
                  for word in range(8)]
    assert len(content) == PAGE * (len(present) - len(zero))
    return record(0x32, *items, ('octets', 'content', content))


def round_(number, count):
    return record(0x33, ('u32', 'round', number), ('u32', '(reserved)', 0), ('u64', 'pages', count))


def device_data(device, sequence, flags, data):
    return record(0x34, ('u32', 'device', device), ('u32', 'sequence', sequence),
                  ('u32', 'flags', flags), ('u32', 'data_length', len(data)),
                  ('octets', 'data', data))


def device_end(device, records, count, value):
    return record(0x35, ('u32', 'device', device), ('u32', 'records', records),
                  ('u64', 'bytes', count),
                  ('u64', 'digest', value))


def channel_end(channel, records, count, value):
    return record(0x36, ('u32', 'channel', channel), ('u32', '(reserved)', 0),
                  ('u64', 'records', records), ('u64', 'bytes', count), ('u64', 'digest', value))


RAM = ((0, 0xa0000, 'low'), (0x100000, 0x7ff00000, 'main'), (1 << 32, 1 << 34, 'high'))
NICS = (('nic0', 'vfio', 'mlx5_vfio_pci 15b3:101e v1', 7, (0x15b3, 0x101e, 0x15b3, 0x0001), 2),
        ('disk0', 'vfio-user', '', 1, (0x1af4, 0x1042, 0x1af4, 0x1100), 1))
REASON = 'device 0 (nic0): RESUMING -> STOP: Input/output error'


def vectors():
    fill = bytes(range(1, 255))
    yield 'header-control-out', header(1, 1, 0)
    yield 'header-control-in', header(1, 2, 0)
    yield 'header-bulk', header(2, 1, 15)
    yield 'hello', hello(3, 2, 4, 1)
    yield 'regions', regions(*RAM)
    yield 'devices', devices(*NICS)
    yield 'devices-none', devices()
    yield 'shape', shape(fill[:13])
    yield 'shape-empty', shape(b'')
    yield 'device-config', device_config(31, fill[:100])
    yield 'machine-state', machine_state('vcpu', 255, 3, fill[:33])
    yield 'end', end(12, 2, 19, 0x123456789, 0x9876, 0x40000000001, 0x0123456789abcdef)
    yield 'go', go(7)
    yield 'accept', accept(2, 2 << 20)
    yield 'primed', primed(1)
    yield 'loaded', loaded(123456789)
    yield 'started', started(7, 45678)
    yield 'returned', returned(7, -4160, 5, REASON)
    yield 'abort', abort(-4142, 0, 'DEVICE_END of device 1: the digest differs')
    yield 'bye', bye()
    yield 'keepalive', keepalive(258)
    yield 'attach', attach(3)
    yield 'pages', pages(2, 512, 0x3ffe00, (0, 63, 64, 511), (63, 511),
                         b'\x11' * PAGE + b'\x22' * PAGE)
    yield 'pages-zero', pages(0, 3, 5, (0, 2), (0, 2), b'')
    yield 'round', round_(65535, 0x100000000)
    yield 'device-data', device_data(1, 41, 2, fill[:61])
    yield 'device-data-initial', device_data(0, 0, 1, b'')
    yield 'device-end', device_end(1, 42, 61, digest(fill[:61]))
    yield 'channel-end', channel_end(3, 9, 0x2000000, 0xfedcba9876543210)


class Connection:
    """One file of a capture, with what CHANNEL_END and END say about it."""

    def __init__(self, head):
        self.data = head.data
        self.covered = head.data
        self.records = 0

    def send(self, rec, content=0):
        """content: that many octets of data or pages lie in front of the padding."""
        length = struct.unpack_from('<I', rec.data, 4)[0]
        self.data += rec.data
        self.covered += rec.data[:8 + length - content] + rec.data[8 + length:]
        self.records += 1


def session():
    """Two channels, one region of 6 pages, two devices, two rounds; started at the target."""
    out = Connection(header(1, 1, 0))
    back = Connection(header(1, 2, 0))
    bulk = [Connection(header(2, 1, n)) for n in range(2)]
    unknown = record(0x80000777, ('octets', 'data', b'later'))
    for rec in (hello(1, 2, 4), regions((0, 6 * PAGE, 'ram')), keepalive(1), devices(*NICS),
                shape(b'q35,vcpus=2')):
        out.send(rec)
    for rec in (keepalive(1), accept(2, 2 << 20)):
        back.send(rec)
    for n in range(2):
        bulk[n].send(attach(n))
    bulk[0].send(pages(0, 4, 0, (0, 1, 2, 3), (1,), bytes([1]) * PAGE * 3), 3 * PAGE)
    bulk[1].send(pages(0, 2, 4, (0, 1), (0, 1), b''))
    bulk[0].send(device_data(0, 0, 0, b'first part,'), 11)
    bulk[0].send(device_data(0, 1, 1, b''), 0)
    back.send(primed(0))
    bulk[0].send(round_(1, 4))
    bulk[1].send(unknown)
    bulk[1].send(round_(1, 2))
    bulk[1].send(pages(0, 6, 0, (2, 5), (), bytes([2]) * PAGE * 2), 2 * PAGE)
    bulk[0].send(round_(2, 0))
    bulk[1].send(round_(2, 2))
    bulk[0].send(device_data(0, 2, 2, b'the rest'), 8)
    bulk[0].send(device_end(0, 3, 19, digest(b'first part,the rest')))
    bulk[1].send(device_end(1, 0, 0, digest(b'')))
    for n in range(2):
        bulk[n].send(channel_end(n, bulk[n].records, len(bulk[n].data), digest(bulk[n].covered)))
    for rec in (machine_state('vcpu', 0, 1, b'rax=1'), device_config(1, b''), unknown,
                machine_state('vcpu', 1, 1, b'rax=2'), device_config(0, b'bar0=febd0000')):
        out.send(rec)
    out.send(end(2, 2, 2, 5, 3, 19, digest(out.data)))
    back.send(loaded(1500))
    out.send(go(7))
    back.send(started(7, 2500))
    back.send(bye())
    out.send(bye())
    yield 'control.out', out.data
    yield 'control.in', back.data
    for n in range(2):
        yield 'bulk-%d.out' % n, bulk[n].data


def everything():
    for name, rec in vectors():
        yield name + '.bin', rec.data
        yield name + '.txt', ('\n'.join(rec.lines) + '\n').encode('ascii')
    for name, data in session():
        yield os.path.join('session', name), data


def main(arguments):
    check = arguments[:1] == ['--check']
    folder = arguments[1 if check else 0]
    bad = 0
    for name, data in everything():
        path = os.path.join(folder, name)
        if not check:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, 'wb') as file:
                file.write(data)
            continue
        with open(path, 'rb') as file:
            if file.read() != data:
                print('%s: differs from what the specification says' % path)
                bad = 1
    return bad


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
