/**
 * Random histories of commits, applied to a store and to the model side by side: after each one, whatever the interface
 * can show must be the same. `SEED=` replays a run.
 */
import { deepStrictEqual } from 'node:assert/strict';
import fc from 'fast-check';
import type { Test } from 'tap';
import { hasCode } from '../../src/errors/cairn-error.js';
import type { MetaSnapshot, MetaStore } from '../../src/meta/meta-store.js';
import { type Commit, type RowChange, sortKey } from '../../src/meta/rows.js';
import { MemoryMetaStore } from './memory-meta-store.js';
import { chunkOf, dentry, extent, inode, nextCommit } from './meta-rows.js';
import type { OpenStore } from './meta-store.js';

const INOS = 6;
const NAMES = ['a', 'a-b', 'b', '\xff'];
const CHUNKS = 8;
const FILE_BYTES = 60;

const ino = fc.integer({ min: 1, max: INOS });
const name = fc.constantFrom(...NAMES);
const range = fc
  .tuple(fc.nat(FILE_BYTES), fc.nat(FILE_BYTES))
  .map(([a, b]): [number, number] => (a < b ? [a, b] : [b, a]));

/** What a step of a history intends; the versions that make it fit (or not) are looked up when it runs. */
const step = fc.oneof(
  fc.record({ do: fc.constant('put' as const), ino }),
  fc.record({ do: fc.constant('delete' as const), ino }),
  fc.record({ do: fc.constant('link' as const), parent: ino, name, isDirectory: fc.boolean(), ino }),
  fc.record({ do: fc.constant('unlink' as const), parent: ino, name, isDirectory: fc.boolean() }),
  fc.record({ do: fc.constant('rename' as const), parent: ino, name, to: name, isDirectory: fc.boolean() }),
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('write' as const),
      ino,
      range,
      cuts: fc.array(fc.nat(FILE_BYTES), { maxLength: 3 }),
    }),
  },
  fc.record({ do: fc.constant('truncate' as const), ino, to: fc.nat(FILE_BYTES) }),
  fc.record({ do: fc.constant('xattr' as const), ino, name, value: fc.option(fc.uint8Array({ maxLength: 3 })) }),
  fc.record({ do: fc.constant('chunk' as const), number: fc.nat(CHUNKS - 1), isDelete: fc.boolean() }),
);
type Step = typeof step extends fc.Arbitrary<infer Value> ? Value : never;

const history = fc.array(
  fc.record({
    steps: fc.array(step, { minLength: 1, maxLength: 4, size: 'max' }),
    /** Makes the commit end with a change that does not fit. */
    isRefused: fc.nat(5).map((dice) => dice === 0),
    afterwards: fc.constantFrom(
      'nothing',
      'nothing',
      'nothing',
      'nothing',
      'replay',
      'snapshot',
      'snapshot',
      'restore',
    ),
  }),
  { minLength: 10, maxLength: 30, size: 'max' },
);

type History = typeof history extends fc.Arbitrary<infer Value> ? Value : never;

export function testMetaHistories(t: Test, openStore: OpenStore): void {
  t.test('random histories leave the store as the model', async (t) => {
    const seed = Number(process.env['SEED'] ?? Date.now() % 2 ** 31);
    t.comment(`SEED=${seed}`);
    const store = await openStore(t);
    t.teardown(() => store.close());
    await fc.assert(
      fc.asyncProperty(history, async (commits) => {
        await store.restore(new MemoryMetaStore().position(), (async function* () {})());
        await play(store, commits);
      }),
      { seed, numRuns: 60, interruptAfterTimeLimit: 5000 },
    );
    t.pass();
  });
}

async function play(store: MetaStore, commits: History) {
  const model = new MemoryMetaStore();
  const open: { snapshot: MetaSnapshot; expected: unknown }[] = [];
  for (const { steps, isRefused, afterwards } of commits) {
    const changes: RowChange[] = [];
    for (const one of steps) changes.push(...(await toChanges(model, changes, one)));
    if (isRefused) changes.push(inode(INOS + 1, { version: 9 }, 8));
    const commit = nextCommit(model, changes, { epoch: 3, nextIno: INOS + commits.length });
    const wasApplied = await isApplied(model, commit);
    deepStrictEqual(await isApplied(store, commit), wasApplied);
    const state = await dump(model);
    deepStrictEqual(await dump(store), state);
    if (afterwards === 'snapshot') open.push({ snapshot: await store.snapshot(), expected: state });
    if (afterwards === 'replay') deepStrictEqual(await isApplied(store, commit), wasApplied);
    if (afterwards === 'restore') {
      const other = new MemoryMetaStore();
      const { position, batches } = await store.snapshot();
      await other.restore(position, batches);
      deepStrictEqual(await dump(other), state);
      const back = await other.snapshot();
      await store.restore(back.position, back.batches);
    }
    if (afterwards === 'replay' || afterwards === 'restore') deepStrictEqual(await dump(store), state);
  }
  for (const { snapshot, expected } of open) {
    const copy = new MemoryMetaStore();
    await copy.restore(snapshot.position, snapshot.batches);
    deepStrictEqual(await dump(copy), expected);
  }
}

/** False if it was refused with CONFLICT; any other error is a failure. */
async function isApplied(store: MetaStore, commit: Commit): Promise<boolean> {
  try {
    await store.apply(commit);
    return true;
  } catch (error) {
    if (hasCode(error, 'CONFLICT')) return false;
    throw error;
  }
}

/** Versions come from the model, so a second change of one row within a commit does not fit: refusals happen by themselves. */
async function toChanges(model: MetaStore, earlier: readonly RowChange[], one: Step): Promise<RowChange[]> {
  switch (one.do) {
    case 'put': {
      const before = (await model.getInode(one.ino))?.version ?? 0;
      return [inode(one.ino, { version: before + 1, uid: earlier.length }, before)];
    }
    case 'delete':
      return [{ kind: 'inode-delete', before: (await model.getInode(one.ino))?.version ?? 0, ino: one.ino }];
    case 'link': {
      const before = await entryVersion(model, one.parent, one.name, one.isDirectory);
      return [dentry(one.parent, one.name, one.ino, { isDirectory: one.isDirectory, version: before + 1 }, before)];
    }
    case 'unlink': {
      const before = await entryVersion(model, one.parent, one.name, one.isDirectory);
      return [{ kind: 'dentry-delete', before, parent: one.parent, name: one.name, isDirectory: one.isDirectory }];
    }
    case 'rename': {
      const { parent, name, to, isDirectory } = one;
      const before = await entryVersion(model, parent, name, isDirectory);
      const target = await entryVersion(model, parent, to, isDirectory);
      const moved = dentry(parent, to, 1, { isDirectory, version: target + 1 }, target);
      return [{ kind: 'dentry-delete', before, parent, name, isDirectory }, moved];
    }
    case 'write':
      return [write(one.ino, one.range, one.cuts)];
    case 'truncate':
      return [{ kind: 'extents', ino: one.ino, from: one.to, to: Number.MAX_SAFE_INTEGER, extents: [] }];
    case 'xattr':
      return one.value === null
        ? [{ kind: 'xattr-delete', ino: one.ino, name: one.name }]
        : [{ kind: 'xattr', row: { ino: one.ino, name: one.name, value: one.value } }];
    case 'chunk': {
      const chunk = chunkOf(one.number);
      return [one.isDelete ? { kind: 'chunk-delete', chunk } : { kind: 'chunk', chunk, chunkBytes: 1000 }];
    }
  }
}

/** The range is cut at some places, and every other piece is an extent: gaps included. */
function write(ino: number, [from, to]: readonly [number, number], cuts: readonly number[]): RowChange {
  const inner = [...new Set(cuts)].filter((cut) => cut > from && cut < to);
  const ends = [from, ...inner, to].sort((a, b) => a - b);
  const extents = ends.flatMap((start, index) => {
    const end = ends[index + 1] ?? start;
    return end > start && (start + index) % 3 > 0 ? extent(ino, start, end - start, start % CHUNKS).extents : [];
  });
  return { kind: 'extents', ino, from, to, extents };
}

async function entryVersion(model: MetaStore, parent: number, name: string, isDirectory: boolean): Promise<number> {
  const rows = await model.listDentries(parent, '', 100);
  return rows.find((row) => row.name === name && row.isDirectory === isDirectory)?.version ?? 0;
}

/** Everything that the interface shows, read in small pages. */
async function dump(store: MetaStore): Promise<unknown> {
  const files: unknown[] = [];
  for (let ino = 1; ino <= INOS + 1; ino++) {
    const entries = [];
    for (let after = ''; ; ) {
      const page = await store.listDentries(ino, after, 3);
      const last = page.at(-1);
      if (last === undefined) break;
      entries.push(...page);
      after = sortKey(last.name, last.isDirectory);
    }
    files.push({
      row: await store.getInode(ino),
      entries,
      found: await Promise.all(NAMES.map((name) => store.getDentry(ino, name))),
      extents: await store.listExtents(ino, 0, Number.MAX_SAFE_INTEGER, 1000),
      window: await store.listExtents(ino, 7 * ino, 7 * ino + 9, 2),
      xattrs: (await store.listXattrs(ino)).map((row) => [row.ino, row.name, ...row.value]),
    });
  }
  const chunks: unknown[] = [];
  for (let number = 0; number < CHUNKS; number++) {
    chunks.push(await store.getChunk(chunkOf(number)), await store.listChunkUsers(chunkOf(number), 4));
  }
  const unreferenced = await store.listUnreferenced(chunkOf(1), 5);
  return { files, chunks, unreferenced, statistics: await store.statistics(), position: store.position() };
}
