import fc from 'fast-check';
import t from 'tap';
import { hasCode } from '../../../src/errors/cairn-error.js';
import { AccessList } from '../../../src/vfs/access-list.js';

const seed = Number(process.env['SEED'] ?? Date.now() % 2 ** 31);
t.comment(`SEED=${seed}`);

type Entry = readonly [tag: number, permissions: number, id: number];
const NOBODY = 0xffffffff;

function bytesOf(entries: readonly Entry[], version = 2): Uint8Array {
  const bytes = Buffer.alloc(4 + 8 * entries.length);
  bytes.writeUInt32LE(version, 0);
  for (const [index, [tag, permissions, id]] of entries.entries()) {
    bytes.writeUInt16LE(tag, 4 + 8 * index);
    bytes.writeUInt16LE(permissions, 6 + 8 * index);
    bytes.writeUInt32LE(id, 8 + 8 * index);
  }
  return bytes;
}

const MINIMAL: Entry[] = [
  [1, 6, NOBODY],
  [4, 4, NOBODY],
  [32, 0, NOBODY],
];
const NAMED: Entry[] = [
  [1, 7, NOBODY],
  [2, 6, 1001],
  [2, 5, 1002],
  [4, 4, NOBODY],
  [8, 7, 77],
  [16, 6, NOBODY],
  [32, 1, NOBODY],
];

t.test('what a list says of the mode, and a mode of the list', async (t) => {
  const minimal = AccessList.decode(bytesOf(MINIMAL));
  t.equal(minimal.isMinimal, true);
  t.equal(minimal.applyTo(0o100777), 0o100640);
  t.same([...minimal.encode()], [...bytesOf(MINIMAL)], 'the bytes that the kernel knows');
  const named = AccessList.decode(bytesOf(NAMED));
  t.equal(named.isMinimal, false);
  t.equal(named.applyTo(0o106000), 0o106761, 'the group bits are the mask');
  const changed = named.withMode(0o104).encode();
  t.same(
    [...changed],
    [...bytesOf(NAMED.map(([tag, p, id]): Entry => [tag, tag === 1 ? 1 : tag === 16 ? 0 : tag === 32 ? 4 : p, id]))],
    'chmod changes owner, mask and others, not who is named',
  );
  t.equal(named.applyTo(0), 0o761, 'and makes a list of its own');
  t.equal(named.inheritedBy(0o640).applyTo(0), 0o640);
  t.equal(named.inheritedBy(0o777).applyTo(0), 0o761, 'no more than the default list gives');
});

t.test('what is no list is refused', async (t) => {
  const bad: [string, Uint8Array][] = [
    ['nothing', new Uint8Array(0)],
    ['no entries', bytesOf([])],
    ['another version', bytesOf(MINIMAL, 1)],
    ['half an entry', bytesOf(MINIMAL).subarray(0, 24)],
    ['no others', bytesOf(MINIMAL.slice(0, 2))],
    ['no owner', bytesOf(MINIMAL.slice(1))],
    ['another order', bytesOf([...MINIMAL].reverse())],
    ['two owners', bytesOf([MINIMAL[0]!, ...MINIMAL])],
    ['a tag that does not exist', bytesOf([...MINIMAL, [64, 0, NOBODY]])],
    ['permissions that do not exist', bytesOf([[1, 8, NOBODY], ...MINIMAL.slice(1)])],
    ['a user without a mask', bytesOf([MINIMAL[0]!, [2, 6, 1001], ...MINIMAL.slice(1)])],
  ];
  for (const [what, bytes] of bad) t.throws(() => AccessList.decode(bytes), { code: 'INVALID' }, what);
});

t.test('any bytes are a list that is written as it was read, or refused', async (t) => {
  const entry = fc.tuple(fc.constantFrom(1, 2, 4, 8, 16, 32, 3), fc.nat({ max: 9 }), fc.nat());
  const lists = fc.array(entry, { maxLength: 8 }).map((entries) => {
    const sorted = [...entries].sort(([a], [b]) => a - b);
    return bytesOf([...MINIMAL.slice(0, 1), ...sorted] as Entry[]);
  });
  fc.assert(
    fc.property(fc.oneof(lists, fc.uint8Array({ maxLength: 60 })), fc.nat({ max: 0o7777 }), (bytes, mode) => {
      let list: AccessList;
      try {
        list = AccessList.decode(bytes);
      } catch (error) {
        return hasCode(error, 'INVALID');
      }
      return (
        Buffer.compare(list.encode(), bytes) === 0 &&
        list.withMode(mode).applyTo(0) === (mode & 0o777) &&
        (list.inheritedBy(mode).applyTo(0) & ~mode) === 0
      );
    }),
    { seed, numRuns: 3000 },
  );
  t.pass();
});
