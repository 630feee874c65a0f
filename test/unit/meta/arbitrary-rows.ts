/** Arbitrary metadata changes for fast-check: every kind, every field over its whole range, within the codec's limits. */
import fc from 'fast-check';
import type { Time } from '../../../src/io/clock.js';
import type { Commit, DentryRow, ExtentRow, InodeRow, RowChange } from '../../../src/meta/rows.js';

/** fast-check would give some records no prototype; a decoder always gives one. */
export function record<Row>(model: { [Key in keyof Row]: fc.Arbitrary<Row[Key]> }): fc.Arbitrary<Row> {
  return fc.record(model, { noNullPrototype: true });
}

export const whole = fc.oneof(fc.nat(200), fc.maxSafeNat());
const byte = (...without: number[]) =>
  fc
    .nat(255)
    .filter((code) => !without.includes(code))
    .map((code) => String.fromCharCode(code));
const path = (maxLength: number, minLength: number) =>
  fc.array(byte(0, 0x2f), { minLength, maxLength, size: 'max' }).map((bytes) => bytes.join(''));
export const name = fc.oneof(path(12, 1), path(255, 1));
export const attributeName = fc.array(byte(0), { minLength: 1, maxLength: 255 }).map((bytes) => bytes.join(''));
export const target = fc.oneof(
  fc.constant(''),
  fc.array(byte(0), { maxLength: 4095 }).map((bytes) => bytes.join('')),
);
const chunk = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => Buffer.from(bytes).toString('hex'));
export const time: fc.Arbitrary<Time> = record({
  sec: fc.oneof(fc.integer(), fc.integer({ min: -(2 ** 52) + 1, max: 2 ** 52 - 1 })),
  nsec: fc.nat(999_999_999),
});

const inode: fc.Arbitrary<InodeRow> = record({
  ino: whole,
  version: whole,
  mode: whole,
  uid: whole,
  gid: whole,
  nlink: whole,
  rdev: whole,
  sizeBytes: whole,
  atime: time,
  mtime: time,
  ctime: time,
  btime: time,
  target,
  contentStage: whole,
});

const dentry: fc.Arbitrary<DentryRow> = record({
  parent: whole,
  name,
  ino: whole,
  isDirectory: fc.boolean(),
  version: whole,
});

/** Extents within a range, from gaps and lengths. */
const extents = record({
  ino: whole,
  from: fc.oneof(fc.nat(100), fc.nat(2 ** 50)),
  pieces: fc.array(
    record({
      gap: fc.nat(1000),
      length: fc.integer({ min: 1, max: 5_000_000 }),
      chunk,
      chunkOffset: fc.nat(5_000_000),
      rest: fc.nat(100),
    }),
    { maxLength: 5 },
  ),
  rest: fc.nat(2 ** 50),
}).map(({ ino, from, pieces, rest }): RowChange => {
  const rows: ExtentRow[] = [];
  let position = from;
  for (const { gap, length, chunk, chunkOffset, rest: beyond } of pieces) {
    rows.push({ offset: position + gap, length, chunk, chunkOffset, chunkBytes: chunkOffset + length + beyond });
    position += gap + length;
  }
  return { kind: 'extents', ino, from, to: position + rest, extents: rows };
});

export const arbitraryChange: fc.Arbitrary<RowChange> = fc.oneof(
  record({ kind: fc.constant('inode' as const), before: whole, row: inode }),
  record({ kind: fc.constant('inode-delete' as const), before: whole, ino: whole }),
  record({ kind: fc.constant('dentry' as const), before: whole, row: dentry }),
  record({
    kind: fc.constant('dentry-delete' as const),
    before: whole,
    parent: whole,
    name,
    isDirectory: fc.boolean(),
  }),
  extents,
  record({
    kind: fc.constant('xattr' as const),
    row: record({ ino: whole, name: attributeName, value: fc.uint8Array({ maxLength: 300 }) }),
  }),
  record({ kind: fc.constant('xattr-delete' as const), ino: whole, name: attributeName }),
  record({ kind: fc.constant('chunk' as const), chunk, chunkBytes: whole }),
  record({ kind: fc.constant('chunk-delete' as const), chunk }),
);

export const arbitraryCommit: fc.Arbitrary<Commit> = fc
  .tuple(
    record({
      sequence: whole,
      epoch: whole,
      acknowledged: whole,
      stagedThrough: whole,
      nextIno: whole,
      changes: fc.array(arbitraryChange, { maxLength: 6 }),
    }),
    fc.uniqueArray(fc.integer({ min: 1, max: 65_535 }), { maxLength: 4 }),
  )
  .map(([commit, away]) => (away.length === 0 ? commit : { ...commit, away: away.sort((a, b) => a - b) }));
