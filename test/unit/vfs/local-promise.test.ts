/** What the local promise needs of the cache: a sync that covers what it says, and cache files that outlive what a crash can undo. */
import { closeSync, existsSync, openSync, truncateSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import type { CacheAccount } from '../../../src/cache/cache-account.js';
import type { CacheFiles } from '../../../src/cache/cache-files.js';
import { FileContent } from '../../../src/cache/file-content.js';
import type { StageLog } from '../../../src/cache/stage-log.js';
import type { StageOp } from '../../../src/cache/stage-op.js';
import { CairnError } from '../../../src/errors/cairn-error.js';
import { NodeFileIo } from '../../../src/io/node-file-io.js';
import { ROOT_INO } from '../../../src/meta/rows.js';
import { SystemMachine } from '../../../src/pool/machine.js';
import type { Committer } from '../../../src/vfs/committer.js';
import { FileData } from '../../../src/vfs/file-data.js';
import { Inode } from '../../../src/vfs/inode.js';
import type { PoolReader } from '../../../src/vfs/pool-reader.js';
import type { StagedSet } from '../../../src/vfs/staged-set.js';
import { MemoryFiles } from '../cache/cached-file.js';
import { ManualClock } from '../cache/manual-clock.js';
import { PoolFixture } from './pool-fixture.js';

const CALLER = { uid: 1000, gid: 1000, pid: 1 };
const RW = { read: true, write: true };
const LARGE = 300_000;

function cacheFile({ directory }: PoolFixture, ino: number): string {
  const shard = (Math.floor(ino / 256) % 256).toString(16).padStart(2, '0');
  return join(directory, 'cache', 'files', shard, ino.toString(16));
}

t.test('a removed file keeps its cache file until the removal cannot be undone by a crash', async (t) => {
  const fixture = await PoolFixture.create(t, { commitDelayMs: 86_400_000 });
  const { vfs } = fixture;
  const { attr, handle } = await vfs.create(ROOT_INO, 'file', 0o644, RW, CALLER);
  await vfs.write(handle, 0, Buffer.alloc(LARGE, 7));
  await vfs.fsync(handle, false);
  await vfs.release(handle);
  const file = cacheFile(fixture, attr.ino);
  t.ok(existsSync(file));
  await vfs.unlink(ROOT_INO, 'file');
  t.ok(existsSync(file), 'the stage log with the removal is not synced yet');
  await fixture.pool.control.commit(['/'], () => undefined);
  t.notOk(existsSync(file), 'the commit has it');
});

t.test('what was synced survives a cache device that comes back without its last pages in the same boot', async (t) => {
  const fixture = await PoolFixture.create(t, { commitDelayMs: 86_400_000 });
  const { vfs } = fixture;
  const make = async (name: string) => {
    const { attr, handle } = await vfs.create(ROOT_INO, name, 0o644, RW, CALLER);
    await vfs.write(handle, 0, Buffer.alloc(LARGE, 1));
    await vfs.fsync(handle, false);
    return { handle, file: cacheFile(fixture, attr.ino) };
  };
  const wal = await make('wal');
  const rewritten = await make('rewritten');
  for (const { handle, at } of [
    { handle: wal.handle, at: LARGE },
    { handle: rewritten.handle, at: 0 },
  ]) {
    await vfs.write(handle, at, Buffer.alloc(4120, 2));
    await vfs.fsync(handle, false);
    // Never synced, and noted with what is around it.
    await vfs.write(handle, at + 4120, Buffer.alloc(24, 3));
    await vfs.flush(handle);
  }
  // What only the page cache had: the small syncs went into the stage log.
  truncateSync(wal.file, LARGE);
  const descriptor = openSync(rewritten.file, 'r+');
  writeSync(descriptor, Buffer.alloc(8192, 1), 0, 8192, 0);
  closeSync(descriptor);
  await fixture.kill();
  t.match(fixture.lines.join('\n'), /the cache device has lost/);
  const read = async (name: string): Promise<Buffer> => {
    const file = await fixture.pool.openFile(`/${name}`);
    const bytes = await file.read(0, 2 * LARGE);
    await file.close();
    return bytes;
  };
  const same = async (): Promise<void> => {
    t.ok((await read('wal')).equals(Buffer.concat([Buffer.alloc(LARGE, 1), Buffer.alloc(4120, 2)])));
    t.ok((await read('rewritten')).equals(Buffer.concat([Buffer.alloc(4120, 2), Buffer.alloc(LARGE - 4120, 1)])));
  };
  await same();
  await fixture.pool.control.commit(['/'], () => undefined);
  await fixture.reopenWithout('cache');
  await same();
});

t.test('a size survives a kill that comes as it is answered; a mode comes with what is kept next', async (t) => {
  const fixture = await PoolFixture.create(t, { commitDelayMs: 86_400_000 });
  const { attr, handle } = await fixture.vfs.create(ROOT_INO, 'journal', 0o644, RW, CALLER);
  await fixture.vfs.write(handle, 0, Buffer.alloc(1000, 7));
  await fixture.vfs.flush(handle);
  await fixture.vfs.setattr(attr.ino, { mode: 0o600 }, CALLER);
  await fixture.vfs.setattr(attr.ino, { sizeBytes: 0 }, CALLER);
  await fixture.kill();
  t.match(await fixture.vfs.lookup(ROOT_INO, 'journal'), { sizeBytes: 0, mode: 0o100600 });
});

t.test('after a power cut those writes are said to be lost that no commit has, and no others', async (t) => {
  let boot = 'one';
  class OtherBoots extends SystemMachine {
    override readonly io = Object.assign(new NodeFileIo(), { bootId: () => boot });
  }
  const fixture = await PoolFixture.create(t, { commitDelayMs: 86_400_000, machine: new OtherBoots() });
  const put = async (name: string, isSynced = false) => {
    const { handle } = await fixture.vfs.create(ROOT_INO, name, 0o644, RW, CALLER);
    await fixture.vfs.write(handle, 0, Buffer.alloc(LARGE, 7));
    if (isSynced) await fixture.vfs.fsync(handle, false);
    await fixture.vfs.release(handle);
  };
  const said = () => fixture.lines.filter((line) => line.includes('no fsync had made safe'));
  await put('committed');
  boot = 'two';
  await fixture.reopen();
  t.strictSame(said(), [], 'closing had committed it');
  await put('committed later');
  await fixture.pool.control.commit(['/'], () => undefined);
  await put('neither synced nor committed');
  // Its sync takes along what is noted of all files, but not their bytes.
  await put('synced', true);
  boot = 'three';
  await fixture.kill();
  t.match(said(), [/took 1 write that/]);
  t.equal((await fixture.vfs.lookup(ROOT_INO, 'committed later'))?.sizeBytes, LARGE);
});

t.test('a second sync of a file waits for the one under way, which took the list of what is not synced', async (t) => {
  const notes: StageOp[] = [];
  let endSync!: (error?: Error) => void;
  let syncs = 0;
  const stage = {
    sequence: 0,
    onDrain: undefined,
    waiting: undefined,
    drain: () => undefined,
    wake: () => undefined,
    note: (op: StageOp) => notes.push(op),
    sync: async () => undefined,
  };
  const files = {
    datasync: () => {
      syncs += 1;
      return new Promise<void>((resolve, reject) => {
        endSync = (error) => (error === undefined ? resolve() : reject(error));
      });
    },
  };
  const data = new FileData({
    files: files as unknown as CacheFiles,
    account: {} as unknown as CacheAccount,
    stage: stage as unknown as StageLog,
    staged: {} as unknown as StagedSet,
    committer: {} as unknown as Committer,
    reader: {} as unknown as PoolReader,
    clock: new ManualClock(),
  });
  const inode = new Inode(9, 0o100644, { sec: 0, nsec: 0 });
  inode.content = new FileContent(9, new MemoryFiles(), false);
  inode.content.addUnsynced(0, LARGE);
  const done: string[] = [];
  const first = data.syncLocal(inode).then(() => done.push('first'));
  const second = data.syncLocal(inode).then(() => done.push('second'));
  for (let i = 0; i < 10; i++) await new Promise(setImmediate);
  t.strictSame(done, [], 'neither is answered before the file is on the device');
  endSync();
  await Promise.all([first, second]);
  t.equal(syncs, 1);
  t.strictSame(
    notes.map(({ kind }) => kind),
    ['synced'],
  );

  inode.content.addUnsynced(0, LARGE);
  const third = data.syncLocal(inode);
  const fourth = data.syncLocal(inode);
  third.catch(() => undefined);
  await new Promise(setImmediate);
  endSync(new CairnError('IO', 'the device says no'));
  await t.rejects(third, { code: 'IO' });
  await new Promise(setImmediate);
  t.equal(syncs, 3, 'the one that waited tries for itself');
  endSync();
  await fourth;
});

t.test('the number of a file that came and went between two notes is not given out again after a kill', async (t) => {
  const fixture = await PoolFixture.create(t, { commitDelayMs: 86_400_000 });
  await fixture.vfs.mkdir(ROOT_INO, 'directory', 0o755, CALLER);
  await fixture.vfs.create(ROOT_INO, 'a', 0o644, RW, CALLER);
  const { attr } = await fixture.vfs.create(ROOT_INO, 'b', 0o644, RW, CALLER);
  await fixture.vfs.rename(ROOT_INO, 'a', ROOT_INO, 'b', {});
  await fixture.kill();
  const made = await fixture.vfs.create(ROOT_INO, 'c', 0o644, RW, CALLER);
  t.ok(made.attr.ino > attr.ino, `${made.attr.ino} after ${attr.ino}`);
});
