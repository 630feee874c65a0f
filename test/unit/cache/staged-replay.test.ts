/**
 * What the stage log means after a crash, compared with a file of single bytes: each byte comes from the pool, from the cache file at a certain
 * state, from the log, or is zero. `SEED=` replays the properties.
 */
import { deepStrictEqual } from 'node:assert/strict';
import fc from 'fast-check';
import t from 'tap';
import { END } from '../../../src/cache/range-map.js';
import type { StageOp } from '../../../src/cache/stage-op.js';
import { type ContentOp, readStageLog, replayContent, type Sequenced } from '../../../src/cache/staged-replay.js';
import type { AppendLog } from '../../../src/disks/append-log.js';
import type { RecordInput } from '../../../src/disks/record.js';
import { openLog } from '../../../src/disks/segment-log.js';
import { MemoryFileIo, seededRandom } from '../disks/memory-file-io.js';
import { encodeRecord } from './arbitrary-ops.js';

const seed = Number(process.env['SEED'] ?? Date.now() % 2 ** 31);
t.comment(`SEED=${seed}`);

const SIZE = 48;
const at = fc.nat(SIZE - 1);
const span = fc.tuple(at, fc.integer({ min: 0, max: 16 })).map(([from, length]) => ({ from, to: from + length }));

const content: fc.Arbitrary<ContentOp> = fc.oneof(
  span.map(({ from, to }) => ({ kind: 'write', ino: 1, offset: from, length: to - from, bytes: undefined }) as const),
  fc.tuple(span, fc.nat(255)).map(([{ from, to }, fill]) => {
    return { kind: 'write', ino: 1, offset: from, length: to - from, bytes: Buffer.alloc(to - from, fill) } as const;
  }),
  at.map((sizeBytes) => ({ kind: 'size', ino: 1, sizeBytes }) as const),
  span.map(({ from, to }) => ({ kind: 'punch', ino: 1, from, to }) as const),
  span.map(({ from, to }) => ({ kind: 'evicted', ino: 1, from, to }) as const),
);

type Byte = 'pool' | 'file' | 'zero' | number;

/** One operation after the other, one byte after the other. */
function model(ops: readonly ContentOp[], sizeBytes: number): { bytes: Byte[]; sizeBytes: number } {
  const bytes: Byte[] = Array.from({ length: 2 * SIZE }, () => 'pool');
  let size = sizeBytes;
  for (const op of ops) {
    if (op.kind === 'write') {
      for (let i = 0; i < op.length; i++) bytes[op.offset + i] = op.bytes === undefined ? 'file' : op.bytes[i]!;
      if (op.length > 0) size = Math.max(size, op.offset + op.length);
    } else if (op.kind === 'size') {
      bytes.fill('zero', op.sizeBytes);
      size = op.sizeBytes;
    } else if (op.kind === 'punch') bytes.fill('zero', op.from, op.to);
    else {
      bytes.fill('pool', op.from, op.to);
      size = Math.max(size, op.to);
    }
  }
  return { bytes, sizeBytes: size };
}

function replayed(ops: readonly ContentOp[], sizeBytes: number): { bytes: Byte[]; sizeBytes: number } {
  const sequenced: Sequenced<ContentOp>[] = ops.map((op, i) => ({ sequence: i + 1, op }));
  const outcome = replayContent(sequenced, sizeBytes);
  const bytes: Byte[] = Array.from({ length: 2 * SIZE }, () => 'pool');
  const settle = (from: number, to: number, value: (i: number) => Byte): void => {
    for (let i = from; i < Math.min(to, bytes.length); i++) {
      if (bytes[i] !== 'pool') throw new Error(`byte ${i} is settled twice`);
      bytes[i] = value(i);
    }
  };
  for (const { from, to } of outcome.inFile) settle(from, to, () => 'file');
  for (const { from, bytes: inline } of outcome.inline) settle(from, from + inline.length, (i) => inline[i - from]!);
  for (const { from, to } of outcome.holes) settle(from, to, () => 'zero');
  return { bytes, sizeBytes: outcome.sizeBytes };
}

t.test('every byte is what the last operation that touched it says', async (t) => {
  fc.assert(
    fc.property(fc.array(content, { maxLength: 25 }), at, (ops, sizeBytes) => {
      deepStrictEqual(replayed(ops, sizeBytes), model(ops, sizeBytes));
    }),
    { seed, numRuns: 3000 },
  );
  t.pass();
});

t.test('a truncation reaches to the end of any file', async (t) => {
  const { holes } = replayContent([{ sequence: 1, op: { kind: 'size', ino: 1, sizeBytes: 5 } }], 100);
  t.strictSame(holes, [{ from: 5, to: END }]);
});

async function openEmpty(): Promise<AppendLog> {
  const options = {
    directory: '/stage',
    name: 'stage',
    segmentBytes: 65_536,
    style: 'zeroed',
    owner: '0123456789abcdef',
  } as const;
  return openLog(new MemoryFileIo(seededRandom(1)), options);
}

/** A log with these records, one for each boot and its operations. */
async function logOf(records: readonly (readonly [boot: string, ops: readonly StageOp[]])[]): Promise<AppendLog> {
  const log = await openEmpty();
  let sequence = 1;
  for (const [boot, ops] of records) {
    await log.append([{ kind: 'stage', sequence, payload: [Buffer.from(encodeRecord(boot, ops))] }], { sync: false });
    sequence += ops.length;
  }
  return log;
}

const inFile = (ino: number, offset: number): StageOp => ({ kind: 'write', ino, offset, length: 10, bytes: undefined });
const inline = (ino: number, offset: number): StageOp => {
  return { kind: 'write', ino, offset, length: 1, bytes: Buffer.of(7) };
};
const synced = (ino: number, through: number): StageOp => ({ kind: 'synced', ino, through });

const gone = (ino: number): StageOp => ({ kind: 'inode-gone', ino });
const record = (sequence: number, ops: readonly StageOp[], durableThrough = 0): RecordInput => {
  return { kind: 'stage', sequence, payload: [Buffer.from(encodeRecord('a', ops, durableThrough))] };
};

function offsetsOf(contents: ReadonlyMap<number, readonly Sequenced<ContentOp>[]>, ino: number): number[] {
  return (contents.get(ino) ?? []).map(({ op }) => (op.kind === 'write' ? op.offset : -1));
}

t.test(
  'where a power cut took the first record of all, what follows it does not count, unless commits or the log itself say that it was safe',
  async (t) => {
    const log = await openEmpty();
    await log.append([record(5, [gone(1)], 2)], { sync: false });
    const broken = await readStageLog(log, 'a');
    t.strictSame(broken.names, []);
    t.equal(broken.cutAfter, 4);
    const committed = await readStageLog(log, 'a', 4);
    t.equal(committed.names.length, 1, 'commits have what is missing');
    await log.append([record(6, [gone(2)], 4)], { sync: false });
    t.equal((await readStageLog(log, 'a')).names.length, 2, 'it was durable, and given back');
  },
);

t.test('the same boot: a killed process loses nothing that reached the page cache', async (t) => {
  const log = await logOf([['a', [inFile(1, 0), inline(1, 10), inFile(2, 0)]]]);
  const { contents, lost, lastSequence } = await readStageLog(log, 'a');
  t.strictSame(offsetsOf(contents, 1), [0, 10]);
  t.strictSame(offsetsOf(contents, 2), [0]);
  t.equal(lost.size, 0);
  t.equal(lastSequence, 3);
});

t.test(
  'another boot: what is only in the cache file counts if the file was synced after it, during its own boot',
  async (t) => {
    const log = await logOf([
      ['a', [inFile(1, 0), inFile(1, 20), synced(1, 1), inline(1, 40)]],
      ['a', [inFile(2, 0), { kind: 'size', ino: 2, sizeBytes: 3 }]],
      ['b', [synced(2, 100), inFile(1, 60), inFile(3, 0), synced(3, 9)]],
    ]);
    const { contents, lost } = await readStageLog(log, 'c');
    t.strictSame(offsetsOf(contents, 1), [0, 40], 'synced, and carried by the log');
    t.strictSame(
      offsetsOf(contents, 2),
      [-1],
      'a sync during a later boot proves nothing of what was written before; a size is never lost',
    );
    t.strictSame(offsetsOf(contents, 3), [0]);
    t.strictSame(
      [...lost].map(([ino, writes]) => [ino, writes.map(({ sequence }) => sequence)]),
      [
        [1, [2, 8]],
        [2, [5]],
      ],
    );
  },
);

t.test(
  'sequences are those of the records, also across gaps; names are in order, with the last sequence per segment',
  async (t) => {
    const log = await openEmpty();
    await log.append([record(5, [gone(1), gone(2)])], { sync: false });
    await log.roll();
    await log.append([record(100, [gone(3), inline(9, 0)], 99)], { sync: false });
    const { names, contents, lastSequence, lastIn, cutAfter, notes } = await readStageLog(log, 'a', 4);
    t.equal(cutAfter, undefined);
    t.match(notes[0], /operations 7 to 99 are missing from the stage log, though they were safe there/);
    t.strictSame(
      names.map(({ sequence, op }) => [sequence, op.kind === 'inode-gone' ? op.ino : 0]),
      [
        [5, 1],
        [6, 2],
        [100, 3],
      ],
    );
    t.equal(contents.get(9)?.[0]?.sequence, 101);
    t.equal(lastSequence, 101);
    t.strictSame([...lastIn.values()], [6, 101]);
  },
);

t.test('a record that makes no sense is skipped, with a note, and its sequence is not given again', async (t) => {
  const log = await logOf([['a', [inline(1, 0)]]]);
  await log.append([{ kind: 'stage', sequence: 50, payload: [Buffer.from('nonsense')] }], { sync: false });
  await log.append([record(40, [inline(2, 0)], 50)], { sync: false });
  const { contents, notes, lastSequence } = await readStageLog(log, 'a');
  t.strictSame([...contents.keys()], [1, 2]);
  t.match(notes[0], /damaged and was skipped/);
  t.equal(lastSequence, 50);
});

t.test(
  'where a power cut took a record and left a later one, the later one does not count, then and ever after',
  async (t) => {
    const log = await openEmpty();
    await log.append([record(1, [gone(1), inline(9, 0)])], { sync: false });
    await log.append([record(4, [gone(3), inline(9, 1)], 2)], { sync: false });
    const broken = await readStageLog(log, 'a');
    t.strictSame(
      broken.names.map(({ sequence }) => sequence),
      [1],
    );
    t.strictSame(offsetsOf(broken.contents, 9), [0]);
    t.equal(broken.cutAfter, 2);
    t.equal(broken.lastSequence, 5, 'its sequences are not given again');
    t.equal(broken.brokenOffWrites, 1);

    await log.append([record(6, [{ kind: 'cut', after: 2 }, gone(7)], 2)], { sync: false });
    await log.append([record(8, [gone(8)], 7)], { sync: false });
    const again = await readStageLog(log, 'a');
    t.strictSame(
      again.names.map(({ sequence }) => sequence),
      [1, 7, 8],
    );
    t.strictSame(offsetsOf(again.contents, 9), [0]);
    t.equal(again.cutAfter, undefined);
    t.equal(again.brokenOffWrites, 0, 'said once');
    t.strictSame(again.notes, []);
  },
);

t.test('a write that was lost takes nothing from what the file had before it, a hole included', async (t) => {
  const kept: Sequenced<ContentOp> = {
    sequence: 1,
    op: { kind: 'write', ino: 1, offset: 512, length: 1, bytes: Buffer.of(7) },
  };
  const lost = [{ sequence: 2, from: 0, to: 70_000 }];
  const { sizeBytes, inline } = replayContent([kept], 0, lost);
  t.equal(sizeBytes, 513);
  t.equal(inline.length, 1);
});

t.test('a size given after a write that was lost makes no zeros of it', async (t) => {
  const lost = [{ sequence: 1, from: 0, to: 70_000 }];
  const size = { sequence: 2, op: { kind: 'size', ino: 1, sizeBytes: 35_000 } } as const;
  const zeros = { sequence: 3, op: { kind: 'punch', ino: 1, from: 0, to: 70_000 } } as const;
  t.equal(replayContent([size], 0, lost).sizeBytes, 0, 'a new file is empty again');
  t.equal(replayContent([size], 5000, lost).sizeBytes, 5000, 'a committed beginning stays');
  t.equal(replayContent([size, zeros], 0, lost).sizeBytes, 35_000, 'zeros that were written are zeros');
  const grown = { sequence: 2, op: { kind: 'size', ino: 1, sizeBytes: 100_000 } } as const;
  const append = {
    sequence: 3,
    op: { kind: 'write', ino: 1, offset: 60_000, length: 3, bytes: Buffer.from('abc') },
  } as const;
  t.match(
    replayContent([grown, append], 0, lost),
    { sizeBytes: 0, inline: [] },
    'what was written behind it goes with it',
  );
  t.equal(replayContent([grown], 0, [{ sequence: 1, from: 200_000, to: 300_000 }]).sizeBytes, 100_000);
});
