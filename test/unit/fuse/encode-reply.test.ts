import t from 'tap';
import { DirentEncoder, ReplyEncoder } from '../../../src/fuse/encode-reply.js';
import type { Attr } from '../../../src/vfs/vfs.js';

const ATTR: Attr = {
  ino: 0x1_2233_4455,
  mode: 0o100644,
  nlink: 2,
  uid: 1000,
  gid: 1001,
  rdev: 0x0501,
  sizeBytes: 0x3_0000_0007,
  blocks: 24,
  atime: { sec: 1, nsec: 2 },
  mtime: { sec: -1, nsec: 4 },
  ctime: { sec: 5, nsec: 6 },
  btime: { sec: 7, nsec: 8 },
};

// biome-ignore format: one field a line
const ATTR_BYTES = [
  0x55, 0x44, 0x33, 0x22, 0x01, 0x00, 0x00, 0x00, // ino
  0x07, 0x00, 0x00, 0x00, 0x03, 0x00, 0x00, 0x00, // size
  0x18, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // blocks
  0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // atime
  0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, // mtime: before 1970
  0x05, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // ctime
  0x02, 0x00, 0x00, 0x00, // atimensec
  0x04, 0x00, 0x00, 0x00, // mtimensec
  0x06, 0x00, 0x00, 0x00, // ctimensec
  0xa4, 0x81, 0x00, 0x00, // mode
  0x02, 0x00, 0x00, 0x00, // nlink
  0xe8, 0x03, 0x00, 0x00, // uid
  0xe9, 0x03, 0x00, 0x00, // gid
  0x01, 0x05, 0x00, 0x00, // rdev
  0x00, 0x00, 0x10, 0x00, // blksize: 1 MiB
  0x00, 0x00, 0x00, 0x00, // flags
];
const HOUR = [0x10, 0x0e, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00]; // 3600
const ZERO8 = [0, 0, 0, 0, 0, 0, 0, 0];
const UNIQUE = [0x0d, 0xf0, 0xad, 0xba, 0xef, 0xbe, 0xad, 0xde];
const unique = 0xdeadbeefbaadf00dn;
// biome-ignore format: one field a line
const ENTRY_BYTES = [
  0x55, 0x44, 0x33, 0x22, 0x01, 0x00, 0x00, 0x00, // nodeid: the inode's number
  ...ZERO8, // generation
  ...HOUR, // entry_valid
  ...HOUR, // attr_valid
  ...ZERO8, // both nanoseconds
  ...ATTR_BYTES,
];

/** The reply, from an encoder whose buffer was dirty. */
function encoded(encode: (encoder: ReplyEncoder) => number): number[] {
  const encoder = new ReplyEncoder();
  encoder.buffer.fill(0xee);
  const length = encode(encoder);
  return [...encoder.buffer.subarray(0, length)];
}

t.test('status', async (t) => {
  const expected = [0x10, 0, 0, 0, 0xfe, 0xff, 0xff, 0xff, ...UNIQUE];
  t.same(
    encoded((encoder) => encoder.status(unique, 2)),
    expected,
    'errnos go out negative',
  );
  t.same(
    encoded((encoder) => encoder.status(unique, 0)),
    [0x10, 0, 0, 0, 0, 0, 0, 0, ...UNIQUE],
  );
});

t.test('entry_out', async (t) => {
  t.same(
    encoded((encoder) => encoder.entry(unique, ATTR)),
    [0x90, 0, 0, 0, 0, 0, 0, 0, ...UNIQUE, ...ENTRY_BYTES],
  );
});

t.test('a negative entry: nodeid 0 with a timeout', async (t) => {
  const bytes = encoded((encoder) => encoder.entry(unique, undefined));
  t.same(bytes, [0x90, 0, 0, 0, 0, 0, 0, 0, ...UNIQUE, ...ZERO8, ...ZERO8, ...HOUR, ...new Array(104).fill(0)]);
});

t.test('attr_out', async (t) => {
  const bytes = encoded((encoder) => encoder.attr(unique, ATTR));
  t.same(bytes, [0x78, 0, 0, 0, 0, 0, 0, 0, ...UNIQUE, ...HOUR, ...ZERO8, ...ATTR_BYTES]);
});

t.test('open_out, alone and after an entry_out', async (t) => {
  const open = [0x2a, 0, 0, 0, 1, 0, 0, 0, 0x0a, 0, 0, 0, 0, 0, 0, 0];
  t.same(
    encoded((encoder) => encoder.open(unique, 0x1_0000_002a, 0x0a)),
    [0x20, 0, 0, 0, 0, 0, 0, 0, ...UNIQUE, ...open],
  );
  t.same(
    encoded((encoder) => encoder.created(unique, ATTR, 0x1_0000_002a, 0x0a)),
    [...[0xa0, 0, 0, 0, 0, 0, 0, 0, ...UNIQUE], ...ENTRY_BYTES, ...open],
  );
});

t.test('size', async (t) => {
  const expected = [0x18, 0, 0, 0, 0, 0, 0, 0, ...UNIQUE, 0, 0, 0, 0x80, 1, 0, 0, 0];
  t.same(
    encoded((encoder) => encoder.size(unique, 0x1_8000_0000)),
    expected,
  );
});

t.test('statfs', async (t) => {
  const space = { blockBytes: 4096, totalBlocks: 1000, freeBlocks: 600, files: 500, freeFiles: 400 };
  const bytes = Buffer.from(encoded((encoder) => encoder.statfs(unique, space)));
  t.equal(bytes.length, 16 + 80);
  t.same(
    [0, 8, 16, 24, 32].map((at) => Number(bytes.readBigUInt64LE(16 + at))),
    [1000, 600, 600, 500, 400],
  );
  t.same(
    [40, 44, 48, 52].map((at) => bytes.readUInt32LE(16 + at)),
    [4096, 255, 4096, 0],
  );
});

t.test('statx has the birth time', async (t) => {
  const bytes = Buffer.from(encoded((encoder) => encoder.statx(unique, { ...ATTR, rdev: 0x12345_678 }))).subarray(16);
  t.equal(bytes.length, 288);
  t.equal(bytes.readBigUInt64LE(0), 3600n);
  t.equal(bytes.readUInt32LE(32), 0xfff, 'mask: basic and btime');
  t.equal(bytes.readUInt16LE(60), 0o100644);
  t.equal(bytes.readBigUInt64LE(64), BigInt(ATTR.ino));
  t.equal(bytes.readBigUInt64LE(72), BigInt(ATTR.sizeBytes));
  t.same(
    [96, 112, 128, 144].map((at) => [Number(bytes.readBigInt64LE(at)), bytes.readUInt32LE(at + 8)]),
    [
      [1, 2],
      [7, 8],
      [5, 6],
      [-1, 4],
    ], // atime, btime, ctime, mtime
  );
  t.equal(bytes.readUInt32LE(160), 0x456, 'rdev_major');
  t.equal(bytes.readUInt32LE(164), 0x12378, 'rdev_minor');
});

t.test('dirents are padded to 8 bytes', async (t) => {
  const entries = new DirentEncoder(4096);
  entries.buffer.fill(0xee);
  entries.begin(4096);
  t.ok(entries.isEmpty);
  t.ok(entries.add({ name: 'ab\xff', ino: 9, mode: 0o040755, cookie: 0x1_0000_0001 }));
  t.same(
    [...entries.buffer.subarray(0, entries.finish(unique))],
    [
      ...[0x30, 0, 0, 0, 0, 0, 0, 0, ...UNIQUE],
      ...[9, 0, 0, 0, 0, 0, 0, 0], // ino
      ...[1, 0, 0, 0, 1, 0, 0, 0], // off
      ...[3, 0, 0, 0], // namelen
      ...[4, 0, 0, 0], // type: DT_DIR
      ...[0x61, 0x62, 0xff, 0, 0, 0, 0, 0], // name, padded
    ],
  );
});

t.test('a dirent that does not fit leaves no trace', async (t) => {
  const entries = new DirentEncoder(4096);
  entries.begin(32 + 31);
  t.ok(entries.add({ name: 'a', ino: 2, mode: 0o100644, cookie: 1 }));
  t.notOk(entries.add({ name: 'b', ino: 3, mode: 0o100644, cookie: 2 }), 'one byte is missing');
  t.equal(entries.finish(unique), 16 + 32);
  entries.begin(32 + 32);
  t.ok(entries.isEmpty);
  t.ok(entries.add({ name: 'a', ino: 2, mode: 0o100644, cookie: 1 }));
  t.ok(entries.add({ name: '12345678', ino: 3, mode: 0o100644, cookie: 2 }));
});

t.test('direntplus has an entry_out first, zeros for . and ..', async (t) => {
  const entries = new DirentEncoder(4096);
  entries.buffer.fill(0xee);
  entries.begin(1_000_000);
  t.ok(entries.addPlus({ name: 'x', ino: ATTR.ino, mode: ATTR.mode, cookie: 3 }, ATTR));
  t.ok(entries.addPlus({ name: '.', ino: 1, mode: 0o040755, cookie: 4 }, undefined));
  const bytes = entries.buffer.subarray(16, entries.finish(unique));
  t.equal(bytes.length, 2 * (128 + 32));
  t.same([...bytes.subarray(0, 128)], ENTRY_BYTES);
  t.equal(bytes.readUInt32LE(128 + 20), 8, 'DT_REG');
  t.ok(bytes.subarray(160, 288).every((byte) => byte === 0));
});
