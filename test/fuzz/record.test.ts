import { deepStrictEqual } from 'node:assert/strict';
import fc from 'fast-check';
import t from 'tap';
import { loadAddon } from '../../native/addon.js';
import {
  decodeRecordHeader,
  encodeRecordHeader,
  headerBytes,
  type LogRecord,
  nameLength,
  payloadLength,
  peekHeaderBytes,
  readChecksums,
} from '../../src/disks/record-codec.js';

const seed = Number(process.env['SEED'] ?? Date.now() % 2 ** 31);
const options = { seed, numRuns: 1500 };
t.comment(`SEED=${seed}`);
const { crc32c } = loadAddon();

const hex = (bytes: number) =>
  fc.uint8Array({ minLength: bytes, maxLength: bytes }).map((array) => Buffer.from(array).toString('hex'));
const u64 = fc.maxSafeNat();
const u32 = fc.nat(0xffffffff);
const payload = fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 3 });
const compression = fc.option(fc.record({ method: fc.integer({ min: 1, max: 255 }), storedBytes: u32 }), {
  nil: undefined,
});
const key = fc.record({ bucket: hex(16), chunk: hex(32), shard: fc.nat(2) });

const record: fc.Arbitrary<LogRecord> = fc.oneof(
  fc.record({ kind: fc.constant('segment' as const), name: fc.stringMatching(/^[a-z]{1,16}$/), segmentBytes: u32 }),
  fc
    .tuple(key, fc.boolean(), fc.integer({ min: 3, max: 255 }), fc.nat(255), u32, compression, payload)
    .map(([id, erasure, k, m, chunkBytes, compressed, parts]) => {
      const shardBytes = parts.reduce((sum, part) => sum + part.length, 0);
      return {
        kind: 'shard' as const,
        info: { ...id, scheme: { erasure, k, m }, chunkBytes, compression: compressed, shardBytes },
        payload: parts,
      };
    }),
  fc.record({ kind: fc.constant('commit' as const), sequence: u64, epoch: u64, acknowledged: u64, payload }),
  fc.record({
    kind: fc.constant('slot' as const),
    bucket: hex(16),
    path: fc.string({ unit: 'grapheme', maxLength: 200 }),
    version: u64,
    payload,
  }),
  fc.record({ kind: fc.constant('stage' as const), sequence: u64, payload }),
  fc.record({ kind: fc.constant('tombstone' as const), key, targetSegment: u32, through: u64 }),
  fc.record({
    kind: fc.constant('snapshot' as const),
    sequence: u64,
    epoch: u64,
    part: u32,
    last: fc.boolean(),
    payload,
  }),
);
const stamp = fc.record({ generation: u32, logSequence: u64, owner: hex(8) });

function encode(of: LogRecord, as: { generation: number; logSequence: number; owner: string }): Buffer {
  const into = Buffer.alloc(headerBytes(payloadLength(of), nameLength(of)));
  encodeRecordHeader(of, as, crc32c, into, 0);
  return into;
}

/** A header whose own checksum is right whatever else it says: what a bug or an attacker could write. */
function signed(bytes: Buffer): Buffer {
  const length = peekHeaderBytes(bytes, 0);
  if (length === undefined || length > bytes.length) return bytes;
  bytes.writeUInt32LE(crc32c(bytes, 16, length, crc32c(bytes, 0, 12, 0)), 12);
  return bytes;
}

t.test('any record comes back as it was', async () => {
  fc.assert(
    fc.property(record, stamp, (of, as) => {
      const decoded = decodeRecordHeader(encode(of, as), 0, crc32c);
      if (decoded === undefined) throw new Error('not decoded');
      const expected = 'payload' in of ? { ...of, payload: [] } : of;
      // Cloned: what fast-check makes has no prototype.
      deepStrictEqual(structuredClone(decoded.record), structuredClone(expected));
      deepStrictEqual(
        [decoded.generation, decoded.logSequence, decoded.owner],
        [as.generation, as.logSequence, as.owner],
      );
    }),
    { ...options, numRuns: 300 },
  );
});

t.test('truncated and flipped headers are refused', async () => {
  fc.assert(
    fc.property(record, stamp, fc.nat(), fc.nat(7), fc.nat(), (of, as, where, bit, cut) => {
      const bytes = encode(of, as);
      if (decodeRecordHeader(bytes.subarray(0, cut % bytes.length), 0, crc32c) !== undefined) return false;
      bytes[where % bytes.length] = (bytes[where % bytes.length] ?? 0) ^ (1 << bit);
      return decodeRecordHeader(bytes, 0, crc32c) === undefined;
    }),
    options,
  );
});

t.test('no bytes make the decoder throw or claim what is not there', async () => {
  const mutated = fc
    .tuple(record, stamp, fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 8 }))
    .map(([of, as, changes]) => {
      const bytes = encode(of, as);
      for (const [at, value] of changes) bytes[at % bytes.length] = value;
      return signed(bytes);
    });
  const random = fc.uint8Array({ maxLength: 400 }).map((array) => {
    const bytes = Buffer.from(array);
    if (bytes.length > 12) Buffer.from('CRNR\x01').copy(bytes);
    if (bytes.length > 12) bytes.writeUInt32LE(bytes.readUInt32LE(8) % 1000, 8);
    return signed(bytes);
  });
  fc.assert(
    fc.property(fc.oneof(mutated, random), fc.integer({ min: -10, max: 500 }), (bytes, at) => {
      for (const start of [0, at]) {
        const decoded = decodeRecordHeader(bytes, start, crc32c);
        if (decoded === undefined) continue;
        if (start + decoded.headerBytes > bytes.length) return false;
        readChecksums(bytes, start, decoded.payloadBytes);
        if (decoded.recordBytes % 64 !== 0 || decoded.recordBytes < decoded.headerBytes + decoded.payloadBytes)
          return false;
      }
      return true;
    }),
    options,
  );
});
