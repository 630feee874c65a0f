import {
  closeSync,
  existsSync,
  openSync,
  readFileSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import t from 'tap';
import type { RowChange } from '../../../src/meta/rows.js';
import { openSqliteMetaStore } from '../../../src/meta/sqlite-meta-store.js';
import { readPosition } from '../../../src/meta/sqlite-position.js';
import { destroySqliteMetaStore } from '../../../src/meta/sqlite-schema.js';
import { SqliteTransaction } from '../../../src/meta/sqlite-transaction.js';
import { dentry, extent, inode, nextCommit } from '../../conformance/meta-rows.js';
import { testMetaStore } from '../../conformance/meta-store.js';

testMetaStore(t, (t) => openSqliteMetaStore(join(t.testdir(), 'meta.db')));

const FILE: RowChange[] = [inode(5), dentry(1, 'a', 5), extent(5, 0, 10, 1)];

t.test('what was applied is there after closing', async (t) => {
  const path = join(t.testdir(), 'meta.db');
  const first = await openSqliteMetaStore(path);
  await first.apply(nextCommit(first, FILE, { epoch: 2, stagedThrough: 9, nextIno: 6 }));
  await first.close();
  const second = await openSqliteMetaStore(path);
  t.teardown(() => second.close());
  t.strictSame(second.position(), { sequence: 1, epoch: 2, stagedThrough: 9, nextIno: 6 });
  t.match(await second.getDentry(1, 'a'), { ino: 5 });
  t.match(await second.statistics(), { inodes: 1, extents: 1, chunks: 1 });
});

t.test('a copy of the files in the middle of a restore is the state from before', async (t) => {
  const directory = t.testdir();
  const path = join(directory, 'meta.db');
  const store = await openSqliteMetaStore(path);
  t.teardown(() => store.close());
  await store.apply(nextCommit(store, FILE));
  const copy = join(directory, 'copy.db');
  async function* batches(): AsyncGenerator<readonly RowChange[]> {
    // Enough rows that SQLite has to write some of them before the transaction ends.
    for (let ino = 10; ino < 60_000; ino += 2000) {
      yield Array.from({ length: 2000 }, (_, index) => inode(ino + index, { target: 'x'.repeat(700) }));
    }
    await t.rejects(store.getInode(5), { code: 'BUSY' }, 'nobody sees it half restored');
    await t.rejects(store.apply(nextCommit(store, [])), { code: 'BUSY' });
    // What kill -9 would leave.
    for (const suffix of ['', '-wal']) writeFileSync(copy + suffix, readFileSync(path + suffix));
  }
  await store.restore({ sequence: 90, epoch: 1, stagedThrough: 0, nextIno: 70_000 }, batches());
  t.equal(store.position().sequence, 90);
  t.equal(await store.getInode(5), undefined);
  t.ok(statSync(`${copy}-wal`).size > 10_000_000, 'half of it had been written');
  const found = await openSqliteMetaStore(copy);
  t.teardown(() => found.close());
  t.equal(found.position().sequence, 1);
  t.match(await found.getInode(5), { ino: 5 });
  t.match(await found.statistics(), { inodes: 1 });
  t.equal(statSync(`${path}-wal`).size, 0, 'and afterwards the log gives its space back');
});

t.test('closing while it is restored ends the restore', async (t) => {
  const path = join(t.testdir(), 'meta.db');
  const store = await openSqliteMetaStore(path);
  await store.apply(nextCommit(store, FILE));
  async function* batches(): AsyncGenerator<readonly RowChange[]> {
    yield [inode(7)];
    await store.close();
    yield [inode(8)];
  }
  const position = { sequence: 90, epoch: 1, stagedThrough: 0, nextIno: 9 };
  await t.rejects(store.restore(position, batches()), { code: 'CLOSED' });
  const again = await openSqliteMetaStore(path);
  t.teardown(() => again.close());
  t.equal(again.position().sequence, 1);
});

t.test('closing ends open snapshots, and not as if they were complete', async (t) => {
  const store = await openSqliteMetaStore(join(t.testdir(), 'meta.db'));
  await store.apply(nextCommit(store, FILE));
  const { batches } = await store.snapshot();
  const iterator = batches[Symbol.asyncIterator]();
  t.match(await iterator.next(), { done: false });
  await store.close();
  await t.rejects(iterator.next(), { code: 'CLOSED' });
});

t.test('a snapshot lets go of the file when it ends, however it ends', async (t) => {
  const path = join(t.testdir(), 'meta.db');
  const store = await openSqliteMetaStore(path);
  t.teardown(() => store.close());
  await store.apply(nextCommit(store, FILE));
  /** A checkpoint that truncates succeeds only if nobody reads an older state. */
  const isFree = async () => {
    await store.apply(nextCommit(store, []));
    await store.flush?.();
    const other = new Database(path, { timeout: 0 });
    const [row] = other.pragma('wal_checkpoint(TRUNCATE)') as { busy: number }[];
    other.close();
    return row?.busy === 0;
  };
  const open = await store.snapshot();
  t.equal(await isFree(), false, 'held while it is open');
  for await (const _ of open.batches);
  t.equal(await isFree(), true, 'exhausted');
  await (await store.snapshot()).batches[Symbol.asyncIterator]().return?.();
  t.equal(await isFree(), true, 'returned before the first batch');
  for await (const _ of (await store.snapshot()).batches) break;
  t.equal(await isFree(), true, 'left in the middle');
});

/** The COMMITs of the database fail as on a full disk while the answer is true: SQLite ends the transaction by itself then. */
function failCommits(database: Database.Database, isFull: () => boolean): void {
  const prepare = database.prepare.bind(database);
  database.prepare = ((sql: string) => {
    const statement = prepare(sql);
    if (sql !== 'COMMIT') return statement;
    const run = statement.run.bind(statement);
    statement.run = () => {
      if (!isFull()) return run();
      database.exec('ROLLBACK');
      throw new Database.SqliteError('database or disk is full', 'SQLITE_FULL');
    };
    return statement;
  }) as Database.Database['prepare'];
}

t.test('commits share a transaction, and none is lost where it fails', async (t) => {
  const path = join(t.testdir(), 'meta.db');
  await (await openSqliteMetaStore(path)).close();
  const database = new Database(path);
  let isFull = false;
  failCommits(database, () => isFull);
  const other = new Database(path, { readonly: true });
  t.teardown(() => {
    database.close();
    other.close();
  });
  const inodes = (from: Database.Database) => from.prepare('SELECT ino FROM inode ORDER BY ino').pluck().all();
  const transaction = new SqliteTransaction(database);
  const apply = (changes: RowChange[]) =>
    transaction.apply(nextCommit({ position: () => transaction.position }, changes));
  apply([inode(5)]);
  apply([inode(6), inode(7)]);
  t.strictSame(inodes(database), [5, 6, 7]);
  t.strictSame(inodes(other), [], 'the file has them together, later');
  t.throws(() => apply([inode(8), inode(5)]), { code: 'CONFLICT' });
  t.strictSame([inodes(database), transaction.position.sequence], [[5, 6, 7], 2], 'and what does not fit, not at all');
  transaction.flush();
  t.strictSame(inodes(other), [5, 6, 7]);
  t.strictSame(readPosition(other), { position: transaction.position, counts: transaction.counts });

  apply([inode(8)]);
  isFull = true;
  t.throws(() => transaction.flush(), { code: 'SQLITE_FULL' });
  t.strictSame(inodes(database), [5, 6, 7], 'SQLite has forgotten it');
  transaction.ensure();
  t.strictSame([inodes(database), transaction.counts.inodes], [[5, 6, 7, 8], 4]);
  t.throws(() => apply([inode(9)]), { code: 'SQLITE_FULL' }, 'no more is taken on top of what is overdue');
  transaction.ensure();
  t.strictSame([inodes(database), transaction.position.sequence], [[5, 6, 7, 8], 3]);
  isFull = false;
  apply([inode(9)]);
  t.strictSame(
    [inodes(database), inodes(other)],
    [
      [5, 6, 7, 8, 9],
      [5, 6, 7, 8],
    ],
  );
  transaction.flush();
  t.strictSame(readPosition(other), { position: transaction.position, counts: transaction.counts });

  // Within a statement SQLite may end the transaction too: here the file may not grow.
  apply([inode(10)]);
  const pages = Number(database.pragma('page_count', { simple: true }));
  database.pragma(`max_page_count = ${pages + 1}`);
  const many = Array.from({ length: 500 }, (_, index) => inode(100 + index, { target: 'x'.repeat(500) }));
  t.throws(() => apply(many), { code: 'SQLITE_FULL' });
  transaction.ensure();
  t.strictSame([inodes(database), transaction.counts.inodes], [[5, 6, 7, 8, 9, 10], 6]);
  database.pragma('max_page_count = 1000000');
  apply(many);
  transaction.flush();
  t.equal(inodes(other).length, 506);
});

t.test('memory is given back whatever the store is at, and nothing is lost', async (t) => {
  const path = join(t.testdir(), 'meta.db');
  const store = await openSqliteMetaStore(path);
  await store.apply(nextCommit(store, FILE));
  store.releaseMemory?.();
  t.match(await store.getDentry(1, 'a'), { ino: 5 }, 'with commits that the file lacks');
  async function* batches(): AsyncGenerator<readonly RowChange[]> {
    yield [inode(6)];
    store.releaseMemory?.();
    yield [inode(7)];
  }
  await store.restore({ sequence: 9, epoch: 1, stagedThrough: 0, nextIno: 8 }, batches());
  store.releaseMemory?.();
  t.match(await store.statistics(), { inodes: 2 });
  await store.close();
  store.releaseMemory?.();
});

t.test('files that cannot be used are CORRUPT, with what to do', async (t) => {
  const make = async (t: { testdir(): string }) => {
    const path = join(t.testdir(), 'meta.db');
    const store = await openSqliteMetaStore(path);
    await store.apply(nextCommit(store, [...FILE, ...Array.from({ length: 3000 }, (_, index) => inode(100 + index))]));
    await store.close();
    return path;
  };
  const damages: [string, (path: string) => void][] = [
    ['another kind of file', (path) => writeFileSync(path, 'not a database, but longer than its header '.repeat(50))],
    ['overwritten with zeros', (path) => writeFileSync(path, Buffer.alloc(64 * 1024))],
    ['cut short', (path) => truncateSync(path, 5000)],
    ['a newer format', (path) => edit(path, 'PRAGMA user_version = 2')],
    ['another program', (path) => edit(path, 'PRAGMA application_id = 1')],
    ['a table too many', (path) => edit(path, 'CREATE TABLE other (a)')],
    ['a table too few', (path) => edit(path, 'DROP TABLE xattr')],
    ['another index', (path) => edit(path, 'DROP INDEX extent_chunk; CREATE INDEX extent_chunk ON extent (length)')],
    ['no position', (path) => edit(path, 'DELETE FROM position')],
  ];
  for (const [what, damage] of damages) {
    await t.test(what, async (t) => {
      const path = await make(t);
      damage(path);
      await t.rejects(openSqliteMetaStore(path), { name: 'CairnError', code: 'CORRUPT', hint: /made anew/ });
      destroySqliteMetaStore(path);
      for (const suffix of ['', '-wal', '-shm']) t.notOk(existsSync(path + suffix));
      const fresh = await openSqliteMetaStore(path);
      t.equal(fresh.position().sequence, 0, 'and a fresh one can take its place');
      await fresh.close();
    });
  }
  await t.test('damage that is met later', async (t) => {
    const path = await make(t);
    const bytes = readFileSync(path);
    // The first pages hold the schema and the roots of the tables; all others are overwritten.
    writeFileSync(path, Buffer.concat([bytes.subarray(0, 12 * 4096), Buffer.alloc(bytes.length - 12 * 4096, 0xff)]));
    const store = await openSqliteMetaStore(path);
    t.teardown(() => store.close());
    await t.rejects(store.getInode(2000), { code: 'CORRUPT' });
    const before = store.position();
    await t.rejects(store.apply(nextCommit(store, [inode(2000, { version: 2 }, 1)])), { code: 'CORRUPT' });
    t.strictSame(store.position(), before);
    const { batches } = await store.snapshot();
    await t.rejects(batches[Symbol.asyncIterator]().next(), { code: 'CORRUPT' }, 'a snapshot does not skip it');
  });
});

t.test('a directory that is not there', async (t) => {
  await t.rejects(openSqliteMetaStore(join(t.testdir(), 'none', 'meta.db')), { code: 'NOT_FOUND' });
});

t.test('another program that holds the file', async (t) => {
  const path = join(t.testdir(), 'meta.db');
  const store = await openSqliteMetaStore(path);
  t.teardown(() => store.close());
  const other = new Database(path);
  t.teardown(() => other.close());
  other.exec('BEGIN IMMEDIATE');
  await t.rejects(store.apply(nextCommit(store, FILE)), { code: 'BUSY' });
  t.equal(await store.getInode(5), undefined);
  other.exec('ROLLBACK');
  await store.apply(nextCommit(store, FILE));
  t.match(await store.getInode(5), { ino: 5 }, 'the same commit passes later');
});

function edit(path: string, sql: string): void {
  const database = new Database(path);
  database.exec(sql);
  database.close();
}

t.test('damage that is met while the store is in use: the next opening does not take it for whole', async (t) => {
  const path = join(t.testdir(), 'meta.db');
  const first = await openSqliteMetaStore(path);
  const rows = Array.from({ length: 20_000 }, (_, index) => inode(10 + index, { target: 'x'.repeat(200) }));
  await first.apply(nextCommit(first, rows));
  await first.close();
  const store = await openSqliteMetaStore(path);
  const file = openSync(path, 'r+');
  const { size } = statSync(path);
  for (let page = size / 2; page < size; page += 4096) writeSync(file, Buffer.alloc(4096, 0xa5), 0, 4096, page);
  closeSync(file);
  const failures = new Set<string>();
  for (let ino = 10; ino < 20_000; ino += 100)
    await store.getInode(ino).catch((error: { code: string }) => failures.add(error.code));
  t.strictSame([...failures], ['CORRUPT']);
  await store.close();
  await t.rejects(openSqliteMetaStore(path), { code: 'CORRUPT' });
  destroySqliteMetaStore(path);
  const anew = await openSqliteMetaStore(path);
  t.equal(anew.position().sequence, 0);
  await anew.close();
  await (await openSqliteMetaStore(path)).close();
});
