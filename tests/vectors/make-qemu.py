#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Makes streams of QEMU by hand, and what `holdfast inspect --records` has to say of them.

make-qemu.py DIR writes NAME.bin and NAME.txt; make-qemu.py --check DIR compares with what is there.
These are the layouts of QEMU 8.0 to 11.1 that Debian 12's QEMU 7.2 does not write; what it writes,
tests/system/inspect-qemu.py captures. Pages are of 1024 octets where the machine may choose, so
that the vectors stay small; x86 ones are of 4096.
"""
import json
import os
import struct
import sys

TAG = 0xffffffffef100000
END_TAG, CONFIG_TAG, SETUP_TAG, DATA_TAG, INIT_TAG, READY_TAG = (TAG + i for i in range(1, 7))
ZERO, MEM_SIZE, PAGE, EOS, CONTINUE, XBZRLE, ZLIB, FLUSH = \
    2, 4, 8, 0x10, 0x20, 0x40, 0x100, 0x200


def u8(value):
    return struct.pack('>B', value)


def u16(value):
    return struct.pack('>H', value)


def u32(value):
    return struct.pack('>I', value)


def u64(value):
    return struct.pack('>Q', value)


def str8(text):
    return u8(len(text)) + text.encode('ascii')


def shown(value):
    return {True: 'yes', False: 'no'}[value] if isinstance(value, bool) else str(value)


class Stream:
    """Octets, and the line that is expected for each thing in them."""

    def __init__(self):
        self.data = b''
        self.lines = []

    def line(self, offset, length, what, *fields):
        text = ', '.join('%s %s' % (name, shown(value)) for name, value in fields)
        self.lines.append('0x%010x %10d %s' % (offset, length,
                                               '%-14s %s' % (what, text) if text else what))

    def add(self, octets, what, *fields):
        start = len(self.data)
        self.data += octets
        self.line(start, len(octets), what, *fields)


class Multifd(Stream):
    def __init__(self, number, uuid=bytes(16), page=4096):
        super().__init__()
        self.number, self.page, self.room = number, page, 524288 // page
        self.sum = dict.fromkeys(('packets', 'syncs', 'pages', 'zeros', 'payload',
                                  'device-packets', 'device-bytes'), 0)
        self.add(u32(0x11223344) + u32(1) + uuid + u8(number) + bytes(7 + 32), 'multifd-init',
                 ('channel', number), ('uuid', uuid.hex()))

    def packet(self, number, block='', normal=(), zeros=(), sync=False, payload=None, method=0,
               stale=b'', alloc=None):
        """stale: a payload length that a packet without pages has left over, before 9.0."""
        methods = {0: 'none', 2: 'zlib', 4: 'zstd', 8: 'qpl', 16: 'uadk', 32: 'qatzip'}
        if payload is None:
            payload = b'\x11' * (len(normal) * self.page)
        offsets = b''.join(u64(at) for at in list(normal) + list(zeros))
        head = u32(0x11223344) + u32(1) + u32(int(sync) | method)
        head += u32(self.room if alloc is None else alloc) + u32(len(normal))
        head += (stale or u32(len(payload))) + u64(number) + u32(len(zeros)) + bytes(28)
        head += block.encode('ascii').ljust(256, b'\0') + offsets.ljust(8 * self.room, b'\0')
        fields = [('sync', sync), ('compression', methods[method]), ('number', number),
                  ('pages', len(normal)), ('zeros', len(zeros))]
        if normal or zeros:
            fields.append(('block', block))
        if normal:
            fields.append(('payload', len(payload)))
        self.add(head + payload, 'multifd-packet', *fields)
        self.sum['packets'] += 1
        self.sum['syncs'] += sync
        self.sum['pages'] += len(normal)
        self.sum['zeros'] += len(zeros)
        self.sum['payload'] += len(payload)

    def device(self, idstr, index, data, ids=None):
        body = u32(0) + u32(index) + u32(1 if ids else 0) + data
        fields = [('idstr', idstr), ('instance', 0), ('bytes', len(body)), ('index', index),
                  ('configuration', bool(ids))]
        if ids:
            fields += [('vendor', hex(ids[0])), ('device', hex(ids[1]))]
        self.add(u32(0x11223344) + u32(1) + u32(0x40) + idstr.encode().ljust(256, b'\0') + u32(0) +
                 u32(len(body)) + body, 'multifd-device', *fields)
        self.sum['device-packets'] += 1
        self.sum['device-bytes'] += len(body)

    def end(self):
        self.line(len(self.data), 0, 'multifd-total', ('channel', self.number),
                  *self.sum.items())
        self.line(len(self.data), 0, 'end', ('kind', 'multifd'), ('agrees', True))
        return self


class Main(Stream):
    def __init__(self, page=4096, header=True):
        super().__init__()
        self.page, self.sections, self.described, self.blocks = page, {}, [], []
        if header:
            self.add(u32(0x5145564d) + u32(3), 'header', ('version', 3))

    def configuration(self, machine, bits=None, capabilities=None, uuid=None):
        octets = u8(7) + u32(len(machine)) + machine.encode('ascii')
        fields = [('machine', machine)]
        for name, body, field in (
                ('target-page-bits', bits and u32(bits), ('page-bits', bits)),
                ('capabilities', capabilities and
                 u32(len(capabilities)) + b''.join(map(str8, capabilities)),
                 ('capabilities', ' '.join(capabilities or []))),
                ('uuid', uuid, ('uuid', uuid and uuid.hex()))):
            if body:
                octets += u8(5) + str8('configuration/' + name) + u32(1) + body
                fields.append(field)
        self.add(octets, 'configuration', *fields)

    def command(self, number, name, payload=b'', *fields):
        self.add(u8(8) + u16(number) + u16(len(payload)) + payload, 'command', ('command', name),
                 *fields)

    def section(self, kind, ident, body, idstr=None, instance=0, version=1, fields=()):
        """body: octets, or a function that adds them (and lines) to the stream."""
        number = {'start': 1, 'part': 2, 'end': 3, 'full': 4}[kind]
        start = len(self.data)
        head = u8(number) + u32(ident)
        named = [('id', ident), ('idstr', idstr or self.sections[ident][0])]
        if idstr:
            head += str8(idstr) + u32(instance) + u32(version)
            named += [('instance', instance), ('version', version)]
            if kind == 'full':
                self.described.append({'name': idstr, 'instance_id': instance})
        self.data += head
        if callable(body):
            body()
        else:
            self.data += body
        length = len(self.data) - start - len(head)
        if kind == 'full':
            self.described[-1].update(size=length, fields=[
                {'name': 'data', 'size': length, 'type': 'buffer'}])
        self.data += u8(0x7e) + u32(ident)
        self.line(start, len(self.data) - start, 'section-' + kind, *named, ('body', length),
                  *fields)
        known = self.sections.setdefault(ident, [idstr, instance, 0, 0])
        known[2] += 1
        known[3] += len(self.data) - start

    def block(self, name, used, more=b'', *fields):
        start = len(self.data)
        self.data += str8(name) + u64(used) + more
        self.line(start, len(self.data) - start, 'block', ('name', name), ('bytes', used), *fields)

    def record(self, kind, block, at, octets, go_on=False, encoded=None):
        names = {ZERO: 'zero', PAGE: 'page', XBZRLE: 'xbzrle', ZLIB: 'zlib'}
        fields = [('kind', names[kind]), ('block', block), ('at', hex(at))]
        if encoded is not None:
            fields.append(('encoded', encoded))
        self.add(u64(at | kind | (CONTINUE if go_on else 0)) + (b'' if go_on else str8(block)) +
                 octets, 'page', *fields)

    def eof(self, description=True):
        self.add(b'\0', 'eof')
        if description:
            text = json.dumps({'page_size': self.page, 'devices': self.described}).encode()
            text += b' ' * 8
            self.add(u8(6) + u32(len(text)) + text, 'description', ('bytes', len(text)),
                     ('agree', len(self.described)), ('disagree', 0))

    def end(self, kind='main'):
        for ident, (idstr, instance, count, total) in self.sections.items():
            self.line(len(self.data), 0, 'total', ('id', ident), ('idstr', idstr),
                      ('instance', instance), ('count', count), ('bytes', total))
        self.line(len(self.data), 0, 'end', ('kind', kind), ('agrees', True))
        return self


# ---- bodies -----------------------------------------------------------------------------------

def counts(pages=0, zeros=0, **more):
    return [('pages', pages), ('zeros', zeros)] + [(name.replace('_', '-'), value)
                                                   for name, value in more.items()]


def globalstate(state):
    return (u32(len(state) + 1) + state.encode().ljust(32, b'\0') + b'\1\0').ljust(104, b'\0')


def pci(vendor, device, size, vectors=0):
    """A device's configuration, as vfio-pci sends it; with MSI-X if it has vectors."""
    space = bytearray(size)
    struct.pack_into('<HH', space, 0, vendor, device)
    tail = b''
    if vectors:
        space[0x06] = 0x10
        space[0x34] = 0x40
        space[0x40:0x44] = bytes([0x01, 0x50, 0, 0])
        space[0x50:0x54] = bytes([0x11, 0x00]) + struct.pack('<H', vectors - 1)
        tail = bytes(vectors * 16) + bytes((vectors + 7) // 8)
    return u32(2) + bytes(space) + 4 * u32(0) + tail


def ids(vendor, device):
    return [('vendor', hex(vendor)), ('device', hex(device))]


# ---- the vectors ------------------------------------------------------------------------------

def precopy():
    """Machine 10.0: VFIO with pre-copy and an acknowledged switchover; pages of each kind."""
    s = Main(page=1024)
    uuid = bytes(range(0x30, 0x40))
    s.configuration('virt-10.0', bits=10, capabilities=['x-ignore-shared'], uuid=uuid)
    s.command(1, 'OPEN_RETURN_PATH')
    s.command(2, 'PING', u32(1), ('cookie', '0x1'))

    def blocks():
        s.data += u64(9216 | MEM_SIZE)
        s.block('pc.ram', 8192, u64(0x40000000), ('address', '0x40000000'))
        s.block('/rom@etc/acpi/tables', 1024, u64(0), ('address', '0x0'))
        s.add(u64(FLUSH), 'multifd-flush')
        s.data += u64(EOS)

    def pages():
        s.record(ZERO, 'pc.ram', 0, b'\0')
        s.record(PAGE, 'pc.ram', 0x400, bytes(range(256)) * 4, go_on=True)
        s.record(PAGE, '/rom@etc/acpi/tables', 0, b'\x7e' * 1024)
        s.record(XBZRLE, 'pc.ram', 0x1c00, b'\1' + u16(10) + b'\0\2ab\x81\1\3xyz', encoded=10)
        s.record(ZLIB, 'pc.ram', 0x800, u32(3) + b'\x78\1\0', go_on=True, encoded=3)
        s.data += u64(EOS)

    vfio = '0000:00:05.0/vfio'
    s.section('start', 2, blocks, 'ram', version=4, fields=counts(multifd_flushes=1))
    s.section('start', 9, u64(SETUP_TAG) + u64(END_TAG), vfio)
    s.section('full', 7, b'\x7e\0\0\0\7\x7e\0\0\0\7 \4', '0000:00:06.0/virtio-mem')
    s.section('part', 2, pages, fields=counts(2, 1, xbzrle=1, zlib=1))
    s.section('part', 2, lambda: setattr(s, 'data', s.data + u64(EOS)), fields=counts())
    s.section('part', 9, u64(DATA_TAG) + u64(5) + b'first' + u64(INIT_TAG),
              fields=[('device-bytes', 5), ('device-reads', 1), ('init-data-sent', True)])
    s.section('part', 9, u64(END_TAG))
    s.command(11, 'SWITCHOVER_START')
    s.section('end', 2, u64(EOS), fields=counts())
    s.section('end', 9, u64(DATA_TAG) + u64(2) + b'ab' + u64(DATA_TAG) + u64(0) + u64(END_TAG),
              fields=[('device-bytes', 2), ('device-reads', 2)])
    s.section('full', 9, u64(CONFIG_TAG) + pci(0x15b3, 0x101e, 4096, 9) + u64(END_TAG), vfio,
              fields=ids(0x15b3, 0x101e))
    s.section('full', 11, globalstate('running'), 'globalstate',
              fields=[('run-state', 'running')])
    s.eof()
    return s.end()


def vfio_multifd():
    """Machine 10.1: states of VFIO devices travel on multifd channels; a short space; a display."""
    s = Main()
    s.configuration('pc-q35-10.1')
    display = u8(5) + str8('VFIOPCIDevice/VFIODisplay') + u32(1) + bytes(28)
    for ident, name in ((2, '0000:00:05.0/vfio'), (3, '0000:00:06.0/vfio'), (4, 'vfio')):
        s.section('start', ident, u64(SETUP_TAG) + u64(END_TAG), name)
    s.command(11, 'SWITCHOVER_START')
    for ident in (2, 3, 4):
        s.section('end', ident, u64(END_TAG))
    s.section('full', 2, u64(READY_TAG), '0000:00:05.0/vfio',
              fields=[('config-load-ready', True)])
    s.section('full', 3, u64(CONFIG_TAG) + pci(0x4348, 0x3253, 256) + display + u64(END_TAG),
              '0000:00:06.0/vfio', fields=ids(0x4348, 0x3253))
    s.section('full', 4, u64(CONFIG_TAG) + u64(END_TAG), 'vfio', fields=ids(0, 0))
    s.eof()
    return s.end()


def postcopy():
    """Post-copy of 10.2: huge pages, ranges to discard, the package, pages behind it."""
    s = Main()
    s.configuration('pc-q35-10.2')
    s.command(1, 'OPEN_RETURN_PATH')
    s.command(3, 'POSTCOPY_ADVISE', u64(0x201000) + u64(4096), ('ram', True),
              ('page-sizes', '0x201000'), ('page-size', 4096))

    def blocks():
        s.data += u64(0x402000 | MEM_SIZE)
        s.block('mem', 0x400000, u64(0x200000), ('page-size', 0x200000))
        s.block('pc.rom', 0x2000)
        s.data += u64(EOS)

    s.section('start', 2, blocks, 'ram', version=4, fields=counts())
    s.command(11, 'SWITCHOVER_START')
    s.command(6, 'POSTCOPY_RAM_DISCARD', b'\0' + str8('mem') + b'\0' + u64(0) + u64(0x200000) +
              u64(0x300000) + u64(0x1000), ('block', 'mem'), ('ranges', 2), ('bytes', 0x201000))
    s.command(2, 'PING', u32(2), ('cookie', '0x2'))
    package, lines = Main(header=False), len(s.lines)
    package.data = s.data + u8(8) + u16(7) + u16(4) + bytes(4)
    start = len(package.data)
    package.command(4, 'POSTCOPY_LISTEN')
    package.section('full', 3, b'\x7e\0\0\0\3\0', 'timer', version=2)
    package.section('full', 4, globalstate('running'), 'globalstate',
                    fields=[('run-state', 'running')])
    package.command(2, 'PING', u32(3), ('cookie', '0x3'))
    package.command(2, 'PING', u32(0x42), ('cookie', '0x42'))
    package.command(5, 'POSTCOPY_RUN')
    inner = package.data[start:]
    s.command(7, 'PACKAGED', u32(len(inner)), ('bytes', len(inner)))
    s.data += inner
    s.lines[lines + 1:] = package.lines
    s.sections.update(package.sections)
    s.line(len(s.data), 0, 'package-end')
    s.command(2, 'PING', u32(4), ('cookie', '0x4'))

    def pages():
        s.record(PAGE, 'mem', 0x3ff000, b'\5' * 4096)
        s.record(ZERO, 'mem', 0, b'\0', go_on=True)
        s.data += u64(EOS)

    s.section('part', 2, pages, fields=counts(1, 1))
    s.section('end', 2, u64(EOS), fields=counts())
    s.eof(description=False)
    return s.end()


def bitmaps_only():
    """Post-copy of dirty bitmaps alone: an empty advice, an iterable section nobody knows, COLO."""
    s = Main()
    s.configuration('pc-i440fx-8.2')
    s.command(3, 'POSTCOPY_ADVISE', b'', ('ram', False))
    s.command(8, 'ENABLE_COLO')
    s.section('start', 3, b'\x10\x04\x7e\0\0\0\4', 'dirty-bitmap')
    s.section('end', 3, b'\x7e\0\0\0\3\xff')
    s.eof()
    return s.end()


def mapped():
    """mapped-ram of 9.0. The pages are not at whole MiBs here, which a reader need not care for."""
    s = Main(page=1024)
    s.configuration('virt-9.0', bits=10, capabilities=['mapped-ram'])

    def blocks():
        s.data += u64((4096 + 66 * 1024) | MEM_SIZE)
        for name, used, bitmap in (('ram', 4096, b'\5' + bytes(7)),
                                   ('rom', 66 * 1024, b'\xff' * 8 + b'\1' + bytes(7))):
            start = len(s.data)
            s.data += str8(name) + u64(used)
            bitmap_at = len(s.data) + 28
            pages_at = (bitmap_at + len(bitmap) + 511) // 512 * 512
            s.data += u32(1) + u64(1024) + u64(bitmap_at) + u64(pages_at) + bitmap
            s.data = s.data.ljust(pages_at, b'\xee') + b'\x33' * used
            s.line(start, len(s.data) - start, 'block', ('name', name), ('bytes', used),
                   ('bitmap-at', hex(bitmap_at)), ('pages-at', hex(pages_at)),
                   ('pages', sum(bin(octet).count('1') for octet in bitmap)))
        s.data += u64(EOS)

    s.section('start', 2, blocks, 'ram', version=4, fields=counts())
    s.section('end', 2, u64(EOS), fields=counts())
    s.section('full', 4, b'plain body', 'timer', version=2)
    s.section('full', 3, globalstate('paused'), 'globalstate', fields=[('run-state', 'paused')])
    s.eof()
    return s.end()


def recovery():
    """The second connection after a pause: no header, bitmaps are asked for, RAM goes on."""
    s = Main(header=False)
    s.command(10, 'RECV_BITMAP', str8('mem'), ('block', 'mem'))
    s.command(9, 'POSTCOPY_RESUME')

    def pages():
        s.record(ZERO, 'mem', 0x1000, b'\0')
        s.data += u64(EOS)

    s.sections[2] = ['ram', 0, 0, 0]
    s.section('part', 2, pages, fields=counts(0, 1))
    s.section('end', 2, u64(EOS), fields=counts())
    s.eof(description=False)
    return s.end('recovery')


def return_path():
    s = Stream()

    def message(number, name, payload, *fields, behind=b''):
        s.add(u16(number) + u16(len(payload)) + payload + behind, 'return', ('message', name),
              *fields)

    message(2, 'PONG', u32(1), ('cookie', '0x1'))
    message(7, 'SWITCHOVER_ACK', b'')
    message(3, 'REQ_PAGES_ID', u64(0x200000) + u32(0x200000) + str8('mem'), ('at', '0x200000'),
            ('bytes', 0x200000), ('block', 'mem'))
    message(4, 'REQ_PAGES', u64(0x1000) + u32(4096), ('at', '0x1000'), ('bytes', 4096))
    message(5, 'RECV_BITMAP', str8('mem'), ('block', 'mem'), ('bitmap-bytes', 16), ('pages', 65),
            behind=u64(16) + b'\xff' * 8 + b'\1' + bytes(7) + u64(0x0123456789abcdef))
    message(6, 'RESUME_ACK', u32(1))
    message(1, 'SHUT', u32(0), ('value', 0))
    s.line(len(s.data), 0, 'end', ('kind', 'return'), ('agrees', True))
    return s


def preempt():
    s = Main(header=False)
    s.record(PAGE, 'mem', 0x200000, b'\1' * 4096)
    s.record(ZERO, 'mem', 0x201000, b'\0', go_on=True)
    s.line(0, len(s.data), 'pages', ('pages', 1), ('zeros', 1), ('ended', False))
    s.line(len(s.data), 0, 'end', ('kind', 'preempt'), ('agrees', True))
    return s


def multifd_9_0():
    """Pages of zeros in the packet's header, SYNC without pages, no page at all."""
    s = Multifd(1, uuid=bytes(range(16)))
    s.packet(1, 'pc.ram', normal=(0, 0x3000), zeros=(0x1000, 0x2000, 0x7000))
    s.packet(2, 'pc.ram', zeros=(0x8000,))
    s.packet(3, sync=True, alloc=0)
    return s.end()


def multifd_7_2():
    """SYNC with pages; a packet without pages keeps the length of another one's payload."""
    s = Multifd(0)
    s.packet(1, 'pc.ram', normal=(0x5000,), sync=True)
    s.packet(1, 'pc.ram', sync=True, stale=u32(4096))
    s.packet(0, 'pc.ram', stale=u32(4096))
    return s.end()


def multifd_encoded():
    """Each method; what is encoded stays so."""
    s = Multifd(2, page=4096)
    for number, method in enumerate((2, 4, 8, 16, 32)):
        s.packet(number, 'pc.ram', normal=(0x1000 * number,), method=method,
                 payload=b'\x78\x9c' * (5 + number))
    return s.end()


def multifd_device():
    """Packets of a device's state of 10.0, out of order, between pages."""
    s = Multifd(0)
    vfio = '0000:00:05.0/vfio'
    s.device(vfio, 1, u64(CONFIG_TAG) + pci(0x4348, 0x3253, 4096) + u64(END_TAG),
             (0x4348, 0x3253))
    s.packet(1, sync=True, alloc=0)
    s.device(vfio, 0, b'\x42' * 36)
    return s.end()


VECTORS = {
    'main-precopy-10.0': precopy,
    'main-vfio-multifd-10.1': vfio_multifd,
    'main-postcopy-10.2': postcopy,
    'main-bitmaps-8.2': bitmaps_only,
    'main-mapped-ram-9.0': mapped,
    'recovery': recovery,
    'return': return_path,
    'preempt': preempt,
    'multifd-9.0': multifd_9_0,
    'multifd-7.2': multifd_7_2,
    'multifd-encoded': multifd_encoded,
    'multifd-device-10.0': multifd_device,
}


def main():
    check = len(sys.argv) == 3 and sys.argv[1] == '--check'
    if not check and len(sys.argv) != 2:
        sys.exit(__doc__)
    folder, bad = sys.argv[-1], 0
    for name, make in VECTORS.items():
        stream = make()
        for end, content in (('.bin', stream.data),
                             ('.txt', ('\n'.join(stream.lines) + '\n').encode())):
            path = os.path.join(folder, name + end)
            if not check:
                with open(path, 'wb') as file:
                    file.write(content)
                continue
            with open(path, 'rb') as file:
                same = file.read() == content
            if not same:
                print('%s is not what this script makes' % path)
                bad = 1
    stray = {name for name in os.listdir(folder)} - \
        {name + end for name in VECTORS for end in ('.bin', '.txt')}
    if check and stray:
        print('nobody made: ' + ', '.join(sorted(stray)))
        bad = 1
    sys.exit(bad)


if __name__ == '__main__':
    main()
