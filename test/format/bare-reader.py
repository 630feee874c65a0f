"""
A second reader of Cairn's disks, written from docs/format.md and the layout tables that it refers to, and from nothing else. Its test
(independent-reader.test.ts) compares it with a pool's files: what it cannot read is missing from the document.

    python3 bare-reader.py DISK...    prints one line per file: SHA-256, a space, the path's bytes in hex

Standard library only, and the program zstd where chunks are compressed. Chunks are checked by the CRC32C of their records; their BLAKE3 names are not. Not for use: it keeps all in memory.
"""
import hashlib
import json
import os
import re
import struct
import subprocess
import sys

BLOCK = 64 * 1024


# CRC32C: Castagnoli, reflected, as iSCSI has it.
TABLE = []
for n in range(256):
    for _ in range(8):
        n = (n >> 1) ^ (0x82F63B78 if n & 1 else 0)
    TABLE.append(n)


def crc32c(data, seed=0):
    crc = seed ^ 0xFFFFFFFF
    for byte in data:
        crc = TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


# Records: src/disks/record-codec.ts.
class Record:
    def __init__(self, segment, at):
        data = segment.data
        self.segment, self.at = segment, at
        magic, version, self.kind, name, self.payload_bytes, checksum = struct.unpack_from("<4sBBHII", data, at)
        self.good = False
        if magic != b"CRNR" or not 1 <= self.kind <= 7 or version not in ((1, 2) if self.kind == 2 else (1,)):
            return
        self.version = version
        blocks = (self.payload_bytes + BLOCK - 1) // BLOCK
        self.payload_at = at + 112 + 4 * blocks + name
        if self.payload_at + self.payload_bytes > len(data):
            return
        if crc32c(data[at + 16 : self.payload_at], crc32c(data[at : at + 12])) != checksum:
            return
        self.sequence, self.generation = struct.unpack_from("<QI", data, at + 16)
        self.owner = data[at + 32 : at + 40]
        self.end = (self.payload_at + self.payload_bytes + 63) // 64 * 64
        self.table = struct.unpack_from("<%dI" % blocks, data, at + 112)
        self.good = True

    def u64(self, at):
        return struct.unpack_from("<Q", self.segment.data, self.at + at)[0]

    def u32(self, at):
        return struct.unpack_from("<I", self.segment.data, self.at + at)[0]

    def byte(self, at):
        return self.segment.data[self.at + at]

    def payload(self):
        """None where a block does not match its checksum."""
        data = self.segment.data[self.payload_at : self.payload_at + self.payload_bytes]
        for index, checksum in enumerate(self.table):
            if crc32c(data[index * BLOCK : (index + 1) * BLOCK]) != checksum:
                return None
        return data


class Segment:
    def __init__(self, path, generation, owner):
        with open(path, "rb") as file:
            self.data = file.read()
        self.generation, self.owner = generation, owner

    def records(self):
        at, last = 0, 0
        while at + 112 <= len(self.data):
            record = Record(self, at)
            if (
                record.good
                and record.generation == self.generation
                and record.owner == self.owner
                and record.sequence > last
            ):
                yield record
                at, last = record.end, record.sequence
            else:
                at += 64


# Payloads of commits and snapshots: src/meta/row-codec.ts, varints as in src/io/byte-writer.ts.
class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def bytes(self, count):
        self.at += count
        if self.at > len(self.data):
            raise ValueError("it ends too early")
        return self.data[self.at - count : self.at]

    def u8(self):
        return self.bytes(1)[0]

    def v(self):
        value = shift = 0
        while True:
            byte = self.u8()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    def name(self):
        return self.bytes(self.u8())

    def time(self):
        self.v()
        self.bytes(4)


class Tree:
    """The rows, as changes make them."""

    def __init__(self):
        self.inodes, self.dentries, self.extents = {}, {}, {}

    def apply(self, reader):
        for _ in range(reader.v()):
            kind = reader.u8()
            if kind == 1:
                reader.v()
                ino, _, mode, _, _, _, _, size = (reader.v() for _ in range(8))
                for _ in range(4):
                    reader.time()
                reader.bytes(reader.v())
                reader.v()
                self.inodes[ino] = (mode, size)
            elif kind == 2:
                reader.v()
                ino = reader.v()
                self.inodes.pop(ino, None)
                self.extents.pop(ino, None)
            elif kind == 3:
                reader.v()
                parent, name, ino, directory = reader.v(), reader.name(), reader.v(), reader.u8()
                reader.v()
                self.dentries[parent, name, directory] = ino
            elif kind == 4:
                reader.v()
                del self.dentries[reader.v(), reader.name(), reader.u8()]
            elif kind == 5:
                self.replace(reader)
            elif kind == 6:
                reader.v(), reader.name(), reader.bytes(reader.v())
            elif kind == 7:
                reader.v(), reader.name()
            elif kind == 8:
                reader.bytes(32), reader.v()
            elif kind == 9:
                reader.bytes(32)
            else:
                raise ValueError("there is no change of kind %d" % kind)

    def replace(self, reader):
        ino, start = reader.v(), reader.v()
        end = start + reader.v()
        kept = []
        for offset, length, chunk, chunk_offset, chunk_bytes in self.extents.get(ino, []):
            if offset < start:
                kept.append((offset, min(length, start - offset), chunk, chunk_offset, chunk_bytes))
            skip = max(0, end - offset)
            if length > skip:
                kept.append((offset + skip, length - skip, chunk, chunk_offset + skip, chunk_bytes))
        at = start
        for _ in range(reader.v()):
            offset = at + reader.v()
            length, chunk, chunk_offset, chunk_bytes = reader.v(), reader.bytes(32), reader.v(), reader.v()
            kept.append((offset, length, chunk, chunk_offset, chunk_bytes))
            at = offset + length
        self.extents[ino] = kept


# The erasure code: docs/format.md, "Erasure code".
CAUCHY = {
    (2, 1): (2, [[1, 1]]),
    (4, 2): (4, [[1, 1, 1, 1], [1, 2, 9, 4]]),
    (8, 3): (4, [[1, 1, 1, 1, 1, 1, 1, 1], [2, 5, 1, 12, 9, 6, 13, 4], [11, 13, 1, 4, 2, 9, 12, 6]]),
}
POLYNOMIAL = {2: 0b111, 4: 0b10011}


def bit_rows(k, m):
    """Rows of the generator as integers; bit c * w + b stands for packet b of data shard c."""
    w, matrix = CAUCHY[k, m]
    rows = [1 << index for index in range(k * w)]
    for elements in matrix:
        block = [0] * w
        for c, element in enumerate(elements):
            for b in range(w):
                for a in range(w):
                    if element >> a & 1:
                        block[a] |= 1 << (c * w + b)
                element <<= 1
                if element >> w & 1:
                    element ^= POLYNOMIAL[w]
        rows += block
    return w, rows


def decode(shards, k, m, chunk_bytes):
    """`shards`: number to bytes, at least k of them."""
    shard_bytes = (-(-chunk_bytes // k) + 63) // 64 * 64
    chosen = sorted(shards)[:k]
    if chosen == list(range(k)):
        return b"".join(shards[shard] for shard in chosen)[:chunk_bytes]
    w, rows = bit_rows(k, m)
    out = [bytearray() for _ in range(k)]
    for start in range(0, shard_bytes, BLOCK):
        length = min(BLOCK, shard_bytes - start) // w
        # Gauss-Jordan: what each packet is made of, and the packet as one large number.
        system = []
        for shard in chosen:
            for a in range(w):
                at = start + a * length
                system.append([rows[shard * w + a], int.from_bytes(shards[shard][at : at + length], "little")])
        for column in range(k * w):
            pivot = next(row for row in range(column, k * w) if system[row][0] >> column & 1)
            system[column], system[pivot] = system[pivot], system[column]
            for row in range(k * w):
                if row != column and system[row][0] >> column & 1:
                    system[row] = [x ^ y for x, y in zip(system[row], system[column])]
        for index in range(k * w):
            out[index // w] += system[index][1].to_bytes(length, "little")
    return b"".join(out)[:chunk_bytes]


def unpacked(stored, chunk_bytes):
    # Of docs/format.md, "Compressed chunks": any zstd program.
    chunk = subprocess.run(["zstd", "-dcq"], input=stored, stdout=subprocess.PIPE, check=True).stdout
    assert len(chunk) == chunk_bytes
    return chunk


class Pool:
    def __init__(self, directories):
        self.shards, self.commits, self.snapshots = {}, {}, {}
        self.watermark = 0
        for number, directory in enumerate(directories):
            with open(os.path.join(directory, "cairn-disk.json")) as file:
                owner = bytes.fromhex(json.load(file)["identity"]["uuid"])[:8]
            log = os.path.join(directory, "log")
            for name in sorted(os.listdir(log)):
                match = re.fullmatch(r"(data|journal)-(\d{10})\.log", name)
                if match:
                    for record in Segment(os.path.join(log, name), int(match[2]), owner).records():
                        self.take(record, number)

    def take(self, record, disk):
        if record.kind == 2:
            chunk = record.segment.data[record.at + 56 : record.at + 88]
            compression = (record.byte(100), record.u32(96)) if record.version == 2 else None
            scheme = (record.byte(89), record.byte(90), record.byte(91), record.u32(92), compression)
            self.shards.setdefault(chunk, []).append((scheme, record.byte(88), record))
        elif record.kind == 3:
            self.watermark = max(self.watermark, record.u64(56))
            self.commits.setdefault((record.u64(40), record.u64(48)), []).append(record)
        elif record.kind == 7:
            key = (record.u64(40), record.u64(48), disk)
            part = record.u32(56)
            if part == 0 or key not in self.snapshots:
                self.snapshots[key] = [{}, None]
            self.snapshots[key][0][part] = record
            if record.byte(60):
                self.snapshots[key][1] = part + 1

    def state(self):
        """The tree at the last commit that counts."""
        tree, sequence, epoch = Tree(), 0, 0
        complete = [key for key, (parts, count) in self.snapshots.items() if count is not None and len(parts) == count]
        if complete:
            key = max(complete)
            parts, count = self.snapshots[key]
            position = Reader(parts[0].payload())
            assert position.bytes(2) == b"Q\x01"
            sequence, epoch = position.v(), position.v()
            for part in range(1, count):
                reader = Reader(parts[part].payload())
                assert reader.bytes(2) == b"P\x01"
                tree.apply(reader)
            self.watermark = max(self.watermark, sequence)
        while True:
            epochs = [e for s, e in self.commits if s == sequence + 1]
            if not epochs or max(epochs) < epoch:
                break
            payloads = [record.payload() for record in self.commits[sequence + 1, max(epochs)]]
            payload = next((one for one in payloads if one is not None), None)
            if payload is None:
                break
            sequence, epoch = sequence + 1, max(epochs)
            reader = Reader(payload)
            assert reader.bytes(2) == b"C\x01"
            assert (reader.v(), reader.v()) == (sequence, epoch)
            reader.v(), reader.v(), reader.v()
            for _ in range(reader.v()):
                reader.v()
            tree.apply(reader)
        if sequence < self.watermark:
            raise ValueError("commit %d was promised and cannot be read" % (sequence + 1))
        return tree

    def chunk(self, name, chunk_bytes):
        sets = {}
        for scheme, shard, record in self.shards.get(name, []):
            payload = record.payload()
            if payload is not None and scheme[3] == chunk_bytes:
                sets.setdefault(scheme, {})[shard] = payload
        for (erasure, k, m, _, compression), shards in sets.items():
            method, stored_bytes = compression or (0, chunk_bytes)
            if method > 1 or erasure and len(shards) < k:
                continue
            stored = decode(shards, k, m, stored_bytes) if erasure else next(iter(shards.values()))
            return unpacked(stored, chunk_bytes) if method else stored
        raise ValueError("chunk %s cannot be read" % name.hex())

    def content(self, tree, ino):
        _, size = tree.inodes[ino]
        content = bytearray(size)
        for offset, length, chunk, chunk_offset, chunk_bytes in tree.extents.get(ino, []):
            end = min(offset + length, size)
            if end > offset:
                content[offset:end] = self.chunk(chunk, chunk_bytes)[chunk_offset : chunk_offset + end - offset]
        return content


def main():
    pool = Pool(sys.argv[1:])
    tree = pool.state()
    children = {}
    for (parent, name, _), ino in tree.dentries.items():
        children.setdefault(parent, []).append((name, ino))
    waiting = [(1, b"")]
    while waiting:
        parent, path = waiting.pop()
        for name, ino in children.get(parent, []):
            kind = tree.inodes[ino][0] & 0o170000
            if kind == 0o040000:
                waiting.append((ino, path + name + b"/"))
            elif kind == 0o100000:
                print(hashlib.sha256(pool.content(tree, ino)).hexdigest(), (path + name).hex())


main()
