/** Recovery with a metadata store that is older, of another history, contradicts the journal, or is damaged where opening does not look. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { CairnError } from '../../../src/errors/cairn-error.js';
import type { InodeRow } from '../../../src/meta/rows.js';
import { openSqliteMetaStore } from '../../../src/meta/sqlite-meta-store.js';
import { destroySqliteMetaStore } from '../../../src/meta/sqlite-schema.js';
import { MemoryMetaStore } from '../../conformance/memory-meta-store.js';
import { filesOf, inoOf, none, put, storeAt } from './crafted-journal.js';
import { Machine } from './simulated-pool.js';

/** A store at commit `sequence` with a file that the journal is going to make. */
async function contradicting(sequence: number, ino: number): Promise<MemoryMetaStore> {
  const meta = new MemoryMetaStore();
  const time = { sec: 0, nsec: 0 };
  const row: InodeRow = {
    ino,
    version: 1,
    mode: 0o100644,
    uid: 0,
    gid: 0,
    nlink: 1,
    rdev: 0,
    sizeBytes: 0,
    atime: time,
    mtime: time,
    ctime: time,
    btime: time,
    target: '',
    contentStage: 0,
  };
  await meta.restore(
    { sequence, epoch: 1, stagedThrough: 0, nextIno: 2 },
    (async function* () {
      yield [{ kind: 'inode', before: 0, row }] as const;
    })(),
  );
  return meta;
}

t.test('a store that does not take a promised commit is rebuilt, once', async (t) => {
  const machine = await new Machine().create();
  await put(machine, none(1, 4));
  const meta = await contradicting(2, inoOf(4, 1));
  const run = await machine.start({ meta });
  t.match(run.report, { sequence: 4, rebuiltFrom: 0 });
  t.match(run.report.notes[0], /the metadata store contradicts the journal: /);
  t.strictSame(
    await filesOf(run),
    [1, 2, 3, 4].map((sequence) => [sequence, 1]),
  );
  await run.stop();
});

t.test('a journal that contradicts itself: a clear error, and what to do', async (t) => {
  const machine = await new Machine().create();
  await put(machine, none(1, 3));
  const meta = new MemoryMetaStore();
  const apply = meta.apply.bind(meta);
  meta.apply = async (commit) => {
    if (commit.sequence === 3) throw new CairnError('CONFLICT', 'inode 7 is not at version 1');
    await apply(commit);
  };
  await t.rejects(machine.start({ meta }), {
    code: 'UNREADABLE',
    message: /contradicts itself .*inode 7/,
    hint: /cairn rescue/,
  });
  const crashed = new MemoryMetaStore();
  crashed.apply = async () => {
    throw new CairnError('NO_SPACE', 'no space left for the metadata store');
  };
  await t.rejects(machine.start({ meta: crashed }), { code: 'NO_SPACE' }, 'a full device is no contradiction');
});

t.test('a rebuild that could not reach what was promised leaves the store as it was', async (t) => {
  const machine = await new Machine().create();
  await put(machine, [...none(1, 2), ...none(4, 5, 2)]);
  const meta = await storeAt(4, 1);
  await t.rejects(machine.start({ meta }), { code: 'UNREADABLE', message: /commit 3 was promised/ });
  t.equal(meta.position().sequence, 4);
});

/** Overwrites the head of every page that holds the bytes, so that SQLite meets the damage only when it reads one of them. */
function damagePagesWith(path: string, mark: Buffer): number {
  const bytes = readFileSync(path);
  const pageBytes = bytes.readUInt16BE(16);
  let pages = 0;
  for (let at = pageBytes; at < bytes.length; at += pageBytes) {
    if (!bytes.subarray(at, at + pageBytes).includes(mark)) continue;
    bytes.fill(0xa5, at, at + 64);
    pages += 1;
  }
  writeFileSync(path, bytes);
  return pages;
}

t.test('a damaged page that opening does not see: the store is marked, made anew, and rebuilt', async (t) => {
  const path = join(t.testdir(), 'meta.sqlite');
  const machine = await new Machine().create();
  await put(machine, none(1, 200));
  const first = await openSqliteMetaStore(path);
  const run = await machine.start({ meta: first });
  const [extent] = await first.listExtents(inoOf(200, 1), 0, 10, 1);
  await run.stop();
  await first.close();
  await put(machine, none(201, 202));
  // The next file's extent goes into the same leaf.
  t.ok(damagePagesWith(path, Buffer.from(extent!.chunk, 'hex')) > 0);
  const broken = await openSqliteMetaStore(path);
  t.equal(broken.isDamaged, false);
  await t.rejects(machine.start({ meta: broken }), { code: 'CORRUPT' });
  t.equal(broken.isDamaged, true);
  await broken.close();
  await t.rejects(openSqliteMetaStore(path), { code: 'CORRUPT', message: /damage was found in it/ });
  destroySqliteMetaStore(path);
  const fresh = await openSqliteMetaStore(path);
  const rebuilt = await machine.start({ meta: fresh });
  t.equal(rebuilt.report.sequence, 202);
  await rebuilt.stop();
  await fresh.close();
});

t.test('a store that is no database is refused when it is opened', async (t) => {
  const path = join(t.testdir(), 'meta.sqlite');
  writeFileSync(path, 'not a database, but long enough to be looked at as one '.repeat(100));
  await t.rejects(openSqliteMetaStore(path), { code: 'CORRUPT' });
});
