import t, { type Test } from 'tap';
import { decodeChanges, decodeCommit, encodeChanges, encodeCommit } from '../../../src/meta/row-codec.js';
import type { Commit, RowChange } from '../../../src/meta/rows.js';

const CHUNK = '00112233445566778899aabbccddeeff'.repeat(2);

const EVERY_KIND: RowChange[] = [
  {
    kind: 'inode',
    before: 1,
    row: {
      ino: 300,
      version: 2,
      mode: 0o100644,
      uid: 1000,
      gid: 0,
      nlink: 1,
      rdev: 0,
      sizeBytes: 2 ** 53 - 1,
      atime: { sec: -1, nsec: 999_999_999 },
      mtime: { sec: 1, nsec: 0 },
      ctime: { sec: 64, nsec: 1 },
      btime: { sec: 0, nsec: 0 },
      target: 'a/\xff',
      contentStage: 5,
    },
  },
  { kind: 'inode-delete', before: 3, ino: 128 },
  { kind: 'dentry', before: 0, row: { parent: 1, name: 'd\xe9', ino: 300, isDirectory: true, version: 9 } },
  { kind: 'dentry-delete', before: 4, parent: 1, name: 'x', isDirectory: false },
  {
    kind: 'extents',
    ino: 300,
    from: 10,
    to: 30,
    extents: [
      { offset: 10, length: 5, chunk: CHUNK, chunkOffset: 0, chunkBytes: 5 },
      { offset: 17, length: 13, chunk: CHUNK, chunkOffset: 2, chunkBytes: 200 },
    ],
  },
  { kind: 'xattr', row: { ino: 300, name: 'user.a/b', value: Uint8Array.of(0, 255) } },
  { kind: 'xattr-delete', ino: 300, name: 'u' },
  { kind: 'chunk', chunk: CHUNK, chunkBytes: 4_194_304 },
  { kind: 'chunk-delete', chunk: CHUNK },
];

const GOLDEN_CHANGES = [
  '09', // count
  '01 01 ac02 02 a48302 e807 00 01 00 ffffffffffffff0f', // inode: before, ino, version, mode, uid, gid, nlink, rdev, size
  '01 ffc99a3b', // atime: -1 s in zigzag, 999,999,999 ns
  '02 00000000', // mtime
  '8001 01000000', // ctime
  '00 00000000', // btime
  '03 612fff 05', // target, contentStage
  '02 03 8001', // inode-delete: before, ino
  '03 00 01 02 64e9 ac02 01 09', // dentry: before, parent, name, ino, isDirectory, version
  '04 04 01 01 78 00', // dentry-delete: before, parent, name, isDirectory
  '05 ac02 0a 14 02', // extents: ino, from, to - from, count
  `00 05 ${CHUNK} 00 05`, // gap, length, chunk, chunkOffset, chunkBytes
  `02 0d ${CHUNK} 02 c801`,
  '06 ac02 08 757365722e612f62 02 00ff', // xattr: ino, name, value
  '07 ac02 01 75', // xattr-delete: ino, name
  `08 ${CHUNK} 80808002`, // chunk: chunk, chunkBytes
  `09 ${CHUNK}`, // chunk-delete
].join('');

const COMMIT: Commit = {
  sequence: 1000,
  epoch: 3,
  acknowledged: 999,
  away: [2, 300],
  stagedThrough: 70,
  nextIno: 301,
  changes: EVERY_KIND,
};
const GOLDEN_COMMIT = `43 01 e807 03 e707 46 ad02 02 02 aa02 ${GOLDEN_CHANGES}`;
const GOLDEN_PART = `50 01 ${GOLDEN_CHANGES}`;

function fromHex(text: string): Buffer {
  return Buffer.from(text.replaceAll(' ', ''), 'hex');
}

function refuses(t: Test, changesHex: string, why: string): void {
  t.throws(() => decodeChanges(fromHex(`5001${changesHex}`)), { code: 'CORRUPT' }, why);
}

t.test('golden bytes of a commit', async (t) => {
  t.equal(Buffer.from(encodeCommit(COMMIT)).toString('hex'), fromHex(GOLDEN_COMMIT).toString('hex'));
  t.matchOnlyStrict(decodeCommit(fromHex(GOLDEN_COMMIT)), COMMIT);
});

t.test('where no disk was away that costs one byte; numbers that do not ascend are no disks', async (t) => {
  const { away: _, ...commit } = COMMIT;
  t.equal(
    Buffer.from(encodeCommit(commit)).toString('hex'),
    fromHex(`43 01 e807 03 e707 46 ad02 00 ${GOLDEN_CHANGES}`).toString('hex'),
  );
  t.matchOnlyStrict(decodeCommit(encodeCommit(commit)), commit);
  t.throws(() => encodeCommit({ ...COMMIT, away: [2, 2] }));
  for (const numbers of ['01 00', '02 02 00', '01 808004', '02 01 ffff03'])
    t.throws(() => decodeCommit(fromHex(`43 01 e807 03 e707 46 ad02 ${numbers} 00`)), { code: 'CORRUPT' }, numbers);
});

t.test('golden bytes of a snapshot part', async (t) => {
  t.equal(Buffer.from(encodeChanges(EVERY_KIND)).toString('hex'), fromHex(GOLDEN_PART).toString('hex'));
  t.matchOnlyStrict(decodeChanges(fromHex(GOLDEN_PART)), EVERY_KIND);
});

t.test('one is never taken for the other, nor a newer format for this one', async (t) => {
  t.throws(() => decodeCommit(fromHex(GOLDEN_PART)), { code: 'CORRUPT' });
  t.throws(() => decodeChanges(fromHex(GOLDEN_COMMIT)), { code: 'CORRUPT' });
  t.throws(() => decodeCommit(fromHex(GOLDEN_COMMIT.replace('43 01', '43 02'))), {
    code: 'CORRUPT',
    message: /format/,
  });
  t.throws(() => decodeCommit(new Uint8Array(0)), { code: 'CORRUPT' });
});

t.test('bytes that no encoder writes are refused', async (t) => {
  refuses(t, '00 00', 'bytes after the end');
  refuses(t, '01 0a', 'an unknown kind');
  refuses(t, '01 02 8000 01', 'a number with a needless byte');
  refuses(t, '01 02 ffffffffffffff1f 01', 'a number above 2^53 - 1');
  refuses(t, '01 02 ffffffffffffffff01 01', 'a number of nine bytes');
  refuses(t, 'ffffffffffffff0f 02 00 01', 'a count that the bytes cannot hold');
  refuses(t, '01 04 04 01 00 00', 'an empty name');
  refuses(t, '01 04 04 01 02 612f 00', 'a name with a slash');
  refuses(t, '01 04 04 01 02 6100 00', 'a name with NUL');
  refuses(t, '01 04 04 01 01 78 02', 'a flag that is neither 0 nor 1');
  refuses(t, `01 05 01 00 05 01 00 00 ${CHUNK} 00 05`, 'an extent of no bytes');
  refuses(t, `01 05 01 00 05 01 01 05 ${CHUNK} 00 05`, 'an extent beyond the range');
  refuses(t, `01 05 01 00 05 01 00 05 ${CHUNK} 01 05`, 'an extent beyond its chunk');
  refuses(t, '01 05 01 01 ffffffffffffff0f 00', 'a range that ends above 2^53 - 1');
  refuses(t, '01 06 01 01 61 818004', 'an attribute above 64 KiB');
});

t.test('what the decoder would refuse is never written', async (t) => {
  const dentry = (name: string): RowChange => ({
    kind: 'dentry-delete',
    before: 0,
    parent: 1,
    name,
    isDirectory: false,
  });
  const bad: RowChange[] = [
    dentry(''),
    dentry('a/b'),
    dentry('a\0'),
    dentry('x'.repeat(256)),
    dentry('\u0100'),
    { kind: 'inode-delete', before: -1, ino: 1 },
    { kind: 'inode-delete', before: 0, ino: 2 ** 53 },
    { kind: 'inode-delete', before: 0.5, ino: 1 },
    { kind: 'chunk-delete', chunk: 'zz'.repeat(32) },
    { kind: 'chunk-delete', chunk: 'aa'.repeat(31) },
    { kind: 'extents', ino: 1, from: 5, to: 4, extents: [] },
    {
      kind: 'extents',
      ino: 1,
      from: 0,
      to: 9,
      extents: [{ offset: 0, length: 10, chunk: CHUNK, chunkOffset: 0, chunkBytes: 10 }],
    },
    { kind: 'xattr', row: { ino: 1, name: 'a', value: new Uint8Array(65537) } },
  ];
  for (const change of bad)
    t.throws(() => encodeChanges([change]), /assertion failed/, JSON.stringify(change).slice(0, 80));
  t.equal(Buffer.from(encodeChanges([dentry('x')])).toString('hex'), '500101040001017800', 'a refusal leaves no trace');
});

t.test('results do not share memory, small or large', async (t) => {
  const many = (name: string): RowChange[] =>
    Array.from({ length: 40_000 }, () => ({ kind: 'xattr-delete', ino: 1, name }));
  const small = [encodeChanges(EVERY_KIND), encodeChanges([])];
  const large = [encodeChanges(many('first-name')), encodeChanges(many('other-name'))];
  t.matchOnlyStrict(decodeChanges(small[0]!), EVERY_KIND);
  t.matchOnlyStrict(decodeChanges(small[1]!), []);
  t.ok(large[0]!.length > 256 * 1024, 'the buffer had to grow');
  t.ok(decodeChanges(large[0]!).every((change) => change.kind === 'xattr-delete' && change.name === 'first-name'));
  t.ok(decodeChanges(large[1]!).every((change) => change.kind === 'xattr-delete' && change.name === 'other-name'));
});
