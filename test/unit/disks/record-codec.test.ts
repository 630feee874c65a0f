import t from 'tap';
import { loadAddon } from '../../../native/addon.js';
import {
  checksumCount,
  decodeRecordHeader,
  encodeRecordHeader,
  headerBytes,
  type LogRecord,
  maxPayloadBytes,
  nameLength,
  payloadLength,
  peekHeaderBytes,
  readChecksums,
  recordBytes,
  SEGMENT_START_BYTES,
  shardRecordHeader,
  verifyBlocks,
} from '../../../src/disks/record-codec.js';
import { BUCKET, bytesOf, chunkName, OWNER, shardInfo } from './samples.js';

const { crc32c } = loadAddon();
const STAMP = { generation: 7, logSequence: 2 ** 40 + 5, owner: OWNER };
const KEY = { bucket: BUCKET, chunk: chunkName(0xabc), shard: 1 };

const RECORDS: LogRecord[] = [
  { kind: 'segment', name: 'journal', segmentBytes: 16 * 1024 * 1024 },
  { kind: 'shard', info: { ...shardInfo(0xabc, 12), chunkBytes: 23 }, payload: [Buffer.from('hello, shard')] },
  { kind: 'commit', sequence: 2 ** 33, epoch: 4, acknowledged: 9, payload: [Buffer.from('commit')] },
  { kind: 'slot', bucket: BUCKET, path: '/ä', version: 3, payload: [Buffer.from('slot')] },
  { kind: 'stage', sequence: 77, payload: [Buffer.from('st'), Buffer.from('age')] },
  { kind: 'tombstone', key: KEY, targetSegment: 12, through: 2 ** 35 },
  { kind: 'snapshot', sequence: 6, epoch: 5, part: 4, last: true, payload: [] },
  {
    kind: 'shard',
    info: { ...shardInfo(0xabc, 12), chunkBytes: 70, compression: { method: 1, storedBytes: 23 } },
    payload: [Buffer.from('hello, shard')],
  },
];

function encode(record: LogRecord): Buffer {
  const into = Buffer.alloc(headerBytes(payloadLength(record), nameLength(record)), 0xee);
  encodeRecordHeader(record, STAMP, crc32c, into, 0);
  return into;
}

function withoutPayload(record: LogRecord): LogRecord {
  return 'payload' in record ? { ...record, payload: [] } : record;
}

t.test('the bytes of every kind are these, for good', async (t) => {
  t.strictSame(
    RECORDS.map((record) => encode(record).toString('hex')),
    [
      '43524e520101000000000000abee584c050000000001000007000000000000000123456789abcdef6a6f75726e616c0000000000000000000000000100000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000',
      '43524e52010200000c0000001258b5ae050000000001000007000000000000000123456789abcdef00000000000000010002abcdef0123450000000000000000000000000000000000000000000000000000000000000abc010102011700000000000000000000000000000000000000977c4ec1',
      '43524e52010300000600000061485417050000000001000007000000000000000123456789abcdef0000000002000000040000000000000009000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000006c5de918',
      '43524e52010403000400000006b95d46050000000001000007000000000000000123456789abcdef00000000000000010002abcdef01234503000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000005435ebee2fc3a4',
      '43524e5201050000050000007bc93a49050000000001000007000000000000000123456789abcdef4d0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000c731f96d',
      '43524e5201060000000000001e948dd7050000000001000007000000000000000123456789abcdef00000000000000010002abcdef0123450000000000000000000000000000000000000000000000000000000000000abc010000000c00000000000000080000000000000000000000',
      '43524e5201070000000000000e470a39050000000001000007000000000000000123456789abcdef060000000000000005000000000000000400000001000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000',
      '43524e52020200000c000000419d473f050000000001000007000000000000000123456789abcdef00000000000000010002abcdef0123450000000000000000000000000000000000000000000000000000000000000abc010102014600000017000000010000000000000000000000977c4ec1',
    ],
  );
});

t.test('what is encoded is decoded', async (t) => {
  for (const record of RECORDS) {
    const bytes = Buffer.concat([Buffer.alloc(64), encode(record)]);
    const decoded = decodeRecordHeader(bytes, 64, crc32c);
    t.strictSame(decoded?.record, withoutPayload(record));
    t.match(decoded, { ...STAMP, payloadBytes: payloadLength(record), headerBytes: bytes.length - 64 });
    t.equal((decoded?.recordBytes ?? 1) % 64, 0);
  }
});

t.test('a header that is cut short or changed anywhere is none', async (t) => {
  for (const record of RECORDS) {
    const bytes = encode(record);
    for (let length = 0; length < bytes.length; length++) {
      if (decodeRecordHeader(bytes.subarray(0, length), 0, crc32c)) t.fail(`${record.kind} cut to ${length}`);
    }
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const bad = Buffer.from(bytes);
      bad[bit >> 3] = (bad[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      if (decodeRecordHeader(bad, 0, crc32c)) t.fail(`${record.kind} with bit ${bit} flipped`);
    }
  }
  t.equal(peekHeaderBytes(Buffer.alloc(500), 0), undefined);
});

t.test('checksums run over the borders of the parts, one per 64 KiB', async (t) => {
  const payload = bytesOf(3 * 65536 + 17, 5);
  const parts = [payload.subarray(0, 10), payload.subarray(10, 65536 + 1), Buffer.alloc(0), payload.subarray(65537)];
  const header = encode({ kind: 'stage', sequence: 1, payload: parts });
  t.ok(header.equals(encode({ kind: 'stage', sequence: 1, payload: [payload] })));
  const table = readChecksums(header, 0, payload.length);
  t.equal(table.length, checksumCount(payload.length));
  t.equal(table.length, 4);
  t.ok(verifyBlocks(payload, table, 0, crc32c));
  t.ok(verifyBlocks(payload.subarray(2 * 65536), table, 2, crc32c));
  payload[70_000] = (payload[70_000] ?? 0) ^ 1;
  t.notOk(verifyBlocks(payload, table, 0, crc32c));
  t.ok(verifyBlocks(payload.subarray(0, 65536), table, 0, crc32c), 'the other blocks still hold');
});

t.test('a worker makes the same header from a reservation', async (t) => {
  const payload = bytesOf(100_000, 3);
  const info = shardInfo(3, payload.length);
  const header = shardRecordHeader(info, STAMP.generation, STAMP.logSequence, OWNER, payload, crc32c);
  t.ok(encode({ kind: 'shard', info, payload: [payload] }).equals(header));
  t.throws(() => shardRecordHeader(info, 1, 1, OWNER, payload.subarray(1), crc32c), /assertion failed/);
});

t.test('sizes', async (t) => {
  t.equal(recordBytes(0), 128);
  t.equal(recordBytes(1), 128);
  t.equal(recordBytes(4096), 4224);
  for (const segment of [4096, 65536, 65536 * 3 + 4096, 256 * 1024 * 1024]) {
    const most = maxPayloadBytes(segment);
    t.ok(recordBytes(most) + SEGMENT_START_BYTES <= segment);
    t.ok(recordBytes(most + 256) + SEGMENT_START_BYTES > segment, `${segment} is used`);
  }
  const long = { kind: 'slot', bucket: BUCKET, path: 'x'.repeat(5000), version: 1, payload: [] } as const;
  t.throws(() => nameLength(long), { code: 'INVALID' });
});
