/** The bytes of stage records: a released format byte is never given a new meaning. */
import t from 'tap';
import { decodeStageRecord, type StageOp } from '../../../src/cache/stage-op.js';
import { encodeRecord } from './arbitrary-ops.js';

const time = (sec: number, nsec: number) => ({ sec, nsec });

/** Operation, and its bytes as hex. */
const GOLDEN: readonly (readonly [StageOp, string])[] = [
  [
    {
      kind: 'inode',
      inode: {
        ino: 300,
        mode: 0o120777,
        uid: 1000,
        gid: 4_294_967_295,
        nlink: 1,
        rdev: 0,
        atime: time(1, 2),
        mtime: time(-1, 999_999_999),
        ctime: time(0, 0),
        btime: time(64, 1),
        target: 'to/\xff',
      },
    },
    '01 ac02 ffc302 e807 ffffffff0f 01 00 0202000000 01ffc99a3b 0000000000 800101000000 04 746f2fff',
  ],
  [{ kind: 'inode-gone', ino: 2 ** 53 - 1 }, '02 ffffffffffffff0f'],
  [{ kind: 'dentry', parent: 1, name: 'a\xe9', isDirectory: true, ino: 7 }, '03 01 0261e9 01 07'],
  [{ kind: 'dentry-gone', parent: 1, name: 'b', isDirectory: false }, '04 01 0162 00'],
  [{ kind: 'xattr', ino: 5, name: 'user.x/y', value: new Uint8Array([9, 8]) }, '05 05 08757365722e782f79 02 0908'],
  [{ kind: 'xattr-gone', ino: 5, name: 'k' }, '06 05 016b'],
  [{ kind: 'write', ino: 5, offset: 4096, length: 128, bytes: undefined }, '07 05 8020 8001'],
  [{ kind: 'write', ino: 5, offset: 0, length: 3, bytes: new Uint8Array([1, 2, 3]) }, '08 05 00 03 010203'],
  [{ kind: 'size', ino: 5, sizeBytes: 2 ** 32 }, '09 05 8080808010'],
  [{ kind: 'punch', ino: 5, from: 10, to: 12 }, '0a 05 0a 02'],
  [{ kind: 'synced', ino: 5, through: 1000 }, '0b 05 e807'],
  [{ kind: 'evicted', ino: 5, from: 0, to: 128 }, '0c 05 00 8001'],
  [{ kind: 'cut', after: 300 }, '0d ac02'],
];

t.test('golden bytes', async (t) => {
  for (const [op, hex] of GOLDEN) {
    const bytes = Buffer.from(`53 01 04 626f6f74 e807 ${hex}`.replaceAll(' ', ''), 'hex');
    t.equal(encodeRecord('boot', [op], 1000).toString('hex'), bytes.toString('hex'), op.kind);
    t.strictSame(decodeStageRecord(bytes), { bootId: 'boot', durableThrough: 1000, ops: [op] }, op.kind);
  }
});

t.test('a record of many operations, and of none', async (t) => {
  const ops = GOLDEN.map(([op]) => op);
  t.strictSame(decodeStageRecord(encodeRecord('', ops)), { bootId: '', durableThrough: 0, ops });
  t.strictSame(decodeStageRecord(encodeRecord('x', [])), { bootId: 'x', durableThrough: 0, ops: [] });
});

t.test('what is malformed is CORRUPT', async (t) => {
  const begin = '5301 00 00';
  const cases: Record<string, string> = {
    'nothing at all': '',
    'another mark': '5401 00',
    'another format': '5302 00',
    'a boot that is too long': '5301 8002',
    'kind 0': `${begin} 00`,
    'an unknown kind': `${begin} 0e 01`,
    'a name with a slash': `${begin} 03 01 012f 00 02`,
    'an empty name': `${begin} 04 01 00 00`,
    'a flag that is neither': `${begin} 04 01 0161 02`,
    'a range beyond 2^53': `${begin} 0a 01 ffffffffffffff0f 01`,
    'fewer bytes than the write says': `${begin} 08 01 00 03 0102`,
    'a needless byte in a number': `${begin} 02 8000`,
  };
  for (const [what, hex] of Object.entries(cases))
    t.throws(() => decodeStageRecord(Buffer.from(hex.replaceAll(' ', ''), 'hex')), { code: 'CORRUPT' }, what);
});

t.test('byte fields do not change with the payload', async (t) => {
  const payload = encodeRecord('b', [{ kind: 'write', ino: 1, offset: 0, length: 2, bytes: new Uint8Array([1, 2]) }]);
  const [op] = decodeStageRecord(payload).ops;
  payload.fill(0);
  t.strictSame(op, { kind: 'write', ino: 1, offset: 0, length: 2, bytes: new Uint8Array([1, 2]) });
});
