import { randomBytes } from 'node:crypto';
import t from 'tap';
import type { CacheAccount } from '../../../src/cache/cache-account.js';
import type { StageLog } from '../../../src/cache/stage-log.js';
import type { Journal } from '../../../src/commit/journal.js';
import type { SealPipeline } from '../../../src/commit/seal-pipeline.js';
import { CairnError } from '../../../src/errors/cairn-error.js';
import { type Clock, SystemClock } from '../../../src/io/clock.js';
import { ROOT_INO } from '../../../src/meta/rows.js';
import { SystemMachine } from '../../../src/pool/machine.js';
import { Committer } from '../../../src/vfs/committer.js';
import type { StagedSet } from '../../../src/vfs/staged-set.js';
import type { Handle } from '../../../src/vfs/vfs.js';
import { ManualClock } from '../cache/manual-clock.js';
import { readAll } from './compare-tree.js';
import { PoolFixture } from './pool-fixture.js';

const CALLER = { uid: 1000, gid: 1000, pid: 1 };
const RW = { read: true, write: true };
const FOREVER = 86_400_000;
const KIB = 1024;
const MIB = 1024 * KIB;

async function make(fixture: PoolFixture, name: string, bytes?: Uint8Array): Promise<Handle> {
  const { handle } = await fixture.vfs.create(ROOT_INO, name, 0o644, RW, CALLER);
  if (bytes !== undefined) await fixture.vfs.write(handle, 0, bytes);
  return handle;
}

t.test('an asked commit includes what the background commit has under way', async (t) => {
  const fixture = await PoolFixture.create(t, { commitDelayMs: 0 });
  for (let i = 0; i < 5; i++) {
    const name = `f${i}`;
    await fixture.vfs.release(await make(fixture, name, Buffer.alloc(3 * MIB, i)));
    while ((await fixture.pool.control.state(`/${name}`)).state === 'staged') await new Promise(setImmediate);
    await fixture.pool.control.commit([`/${name}`], () => {});
    t.match(await fixture.pool.control.state(`/${name}`), { stagedBytes: 0, committedBytes: 3 * MIB });
  }
});

t.test('commits asked for at the same time all end, and each means all of it', async (t) => {
  const fixture = await PoolFixture.create(t, { commitDelayMs: 0 });
  for (let round = 0; round < 5; round++) {
    for (let i = 0; i < 30; i++)
      await fixture.vfs.release(await make(fixture, `f${round}-${i}`, Buffer.alloc(50 * KIB, i)));
    const commits = Array.from({ length: 4 }, () => fixture.pool.control.commit(['/'], () => {}));
    await Promise.race(commits);
    const { dirtyFiles, dirtyBytes } = await fixture.pool.control.status();
    t.match({ dirtyFiles, dirtyBytes }, { dirtyFiles: 0, dirtyBytes: 0 });
    await Promise.all(commits);
  }
});

t.test('strong syncs of one file and of many, together', async (t) => {
  const fixture = await PoolFixture.create(t, { mode: 'strong', commitDelayMs: 5 });
  const handles: Handle[] = [];
  for (let i = 0; i < 20; i++) handles.push(await make(fixture, `f${i}`));
  for (let round = 1; round <= 5; round++) {
    const syncs: unknown[] = [];
    for (const [i, handle] of handles.entries()) {
      await fixture.vfs.write(handle, (round * 37 * i) % 100_000, Buffer.alloc(4096, round));
      await fixture.vfs.write(handles[0]!, i * 4096, Buffer.alloc(4096, round));
      syncs.push(fixture.vfs.fsync(handle, false), fixture.vfs.fsync(handles[0]!, false));
    }
    await Promise.all(syncs);
  }
  const wanted: Buffer[] = [];
  for (const handle of handles) wanted.push(await readAll(fixture.vfs, handle, 0, MIB));
  await fixture.kill();
  await fixture.reopenWithout('cache', 'meta');
  for (const [i, bytes] of wanted.entries()) {
    const { ino } = (await fixture.vfs.lookup(ROOT_INO, `f${i}`))!;
    const found = await readAll(fixture.vfs, await fixture.vfs.open(ino, RW), 0, MIB);
    t.ok(found.equals(bytes), `f${i}`);
  }
});

t.test('a strong sync returns although the file goes on being written', async (t) => {
  const fixture = await PoolFixture.create(t, { mode: 'strong', commitDelayMs: 0 });
  const handle = await make(fixture, 'f', Buffer.alloc(2 * MIB, 1));
  let synced = false;
  const sync = Promise.resolve(fixture.vfs.fsync(handle, false)).then(() => {
    synced = true;
  });
  while (!synced) {
    await fixture.vfs.write(handle, 0, Buffer.alloc(600 * KIB, 2));
    await new Promise(setImmediate);
  }
  await sync;
  await fixture.kill();
  await fixture.reopenWithout('cache', 'meta');
  const { ino } = (await fixture.vfs.lookup(ROOT_INO, 'f'))!;
  const bytes = await readAll(fixture.vfs, await fixture.vfs.open(ino, RW), 0, 4 * MIB);
  t.equal(bytes.length, 2 * MIB);
  t.ok(bytes.subarray(600 * KIB).equals(Buffer.alloc(2 * MIB - 600 * KIB, 1)));
});

t.test('a file many times larger than the cache is written through it', async (t) => {
  for (const mode of ['default', 'strong'] as const) {
    const fixture = await PoolFixture.create(t, { mode, cacheBytes: MIB, commitDelayMs: FOREVER });
    const handle = await make(fixture, 'f');
    const piece = (i: number): Buffer => Buffer.alloc(MIB, `${i} `);
    for (let i = 0; i < 16; i++) await fixture.vfs.write(handle, i * MIB, piece(i));
    for (let i = 0; i < 16; i++)
      if (!(await readAll(fixture.vfs, handle, i * MIB, MIB)).equals(piece(i))) t.fail(`piece ${i} differs`);
    await fixture.vfs.fsync(handle, false);
    t.ok((await fixture.pool.control.status()).cacheBytes <= 2 * MIB, `${mode}: the cache stays small`);
  }
});

t.test('a deleted file that is still open cannot fill the cache for ever', async (t) => {
  const fixture = await PoolFixture.create(t, { cacheBytes: MIB, commitDelayMs: 0 });
  const gone = await make(fixture, 'gone');
  await fixture.vfs.unlink(ROOT_INO, 'gone');
  let taken = 0;
  await t.rejects(
    async () => {
      for (; taken < 20; taken++) await fixture.vfs.write(gone, taken * 128 * KIB, Buffer.alloc(128 * KIB, 1));
    },
    { code: 'NO_SPACE' },
  );
  t.ok(taken >= 7, 'it may use what the cache has');
  await fixture.vfs.release(gone);
  await fixture.vfs.release(await make(fixture, 'other', Buffer.alloc(512 * KIB, 1)));
  await fixture.pool.control.commit(['/'], () => {});
});

t.test(
  'after a commit that had no room a writer waits until what was deleted is given back, and is refused only if that is nothing',
  async (t) => {
    const content = { seal: undefined, unsealed: true, staged: true, dirtyBytes: 1 };
    const inode = { content, gone: false, writers: 0, sizeBytes: 1, durableStage: 0 };
    const clock = new ManualClock();
    let isFull = true;
    const committer = new Committer({
      staged: {
        contents: new Set([inode]),
        sealing: new Set(),
        fragmented: new Set(),
        namespaceBytes: 0,
        chunkBytes: MIB,
        seal: () => ({ bytes: 1, pieces: [] }),
        sealFailed: () => undefined,
      } as unknown as StagedSet,
      journal: { sequence: 7, request: async () => 7 } as unknown as Journal,
      pipeline: {
        store: async () => {
          throw new CairnError('NO_SPACE', 'no group of buckets has room for the chunk');
        },
      } as unknown as SealPipeline,
      account: {
        dirtyBytes: 1,
        cachedBytes: 1,
        limits: { capacityBytes: MIB },
        makeRoom: () => true,
      } as unknown as CacheAccount,
      stage: { sequence: 1, drain: () => undefined, failure: undefined } as unknown as StageLog,
      clock,
      options: { delayMs: FOREVER, roundBytes: MIB },
      log: () => undefined,
      poolTakes: () => !isFull,
    });
    let passes = 0;
    let freed = 0;
    committer.onFull = async () => {
      passes += 1;
      isFull = freed === 0;
      return freed;
    };
    const room = async (): Promise<void> => {
      for (let wait = committer.room(1); wait !== undefined; wait = committer.room(1)) await wait;
    };
    await t.rejects(room(), { code: 'NO_SPACE' });
    t.ok(passes > 0, 'it is tried before anybody is refused');
    passes = 0;
    await t.rejects(room(), { code: 'NO_SPACE' });
    t.equal(passes, 0, 'and not for every request');
    freed = MIB;
    clock.advance(1000);
    await room();
    await committer.close();
  },
);

t.test('a full pool refuses writes, not removals, and keeps what it took', async (t) => {
  const fixture = await PoolFixture.create(t, { deviceBytes: 256 * MIB, bucketBytes: 4 * MIB, commitDelayMs: 0 });
  const { usableBytes, freeBytes } = await fixture.pool.control.status();
  const kept: string[] = [];
  let full: unknown;
  for (let i = 0; full === undefined; i++) {
    const handle = await make(fixture, `f${i}`);
    try {
      // No two chunks alike.
      const bytes = Buffer.alloc(MIB);
      for (let at = 0; at < MIB; at += 64 * KIB) bytes.writeUInt32LE(i * MIB + at, at);
      await fixture.vfs.write(handle, 0, bytes);
      kept.push(`f${i}`);
    } catch (error) {
      full = error;
    }
    await fixture.vfs.release(handle);
    if (i * MIB > 2 * usableBytes) throw new Error('it never fills');
  }
  t.match(full, { code: 'NO_SPACE' });
  t.comment(`usable ${usableBytes / MIB} MiB, free ${freeBytes / MIB} MiB, taken ${kept.length} MiB`);
  t.ok(kept.length * MIB > 0.8 * freeBytes, 'only when it is full');
  await fixture.pool.control.commit(['/'], () => {});
  t.equal((await fixture.pool.control.status()).dirtyBytes, 0, 'all that was taken is committed');
  await fixture.vfs.unlink(ROOT_INO, kept.pop()!);
  await fixture.reopenWithout('cache');
  for (const name of kept) {
    const { ino } = (await fixture.vfs.lookup(ROOT_INO, name))!;
    const handle = await fixture.vfs.open(ino, RW);
    t.equal((await readAll(fixture.vfs, handle, 0, 4)).readUInt32LE(), Number(name.slice(1)) * MIB, name);
    await fixture.vfs.release(handle);
  }
});

t.test('thousands of names, targets and attributes are committed in rounds that fit the journal', async (t) => {
  const fixture = await PoolFixture.create(t, { deviceBytes: 256 * MIB, bucketBytes: 4 * MIB, commitDelayMs: FOREVER });
  for (let i = 0; i < 1500; i++) {
    const { ino } = await fixture.vfs.symlink(ROOT_INO, `link-${i}`, `${i}`.padEnd(4000, 'x'), CALLER);
    await fixture.vfs.setxattr(ino, 'trusted.x', Buffer.alloc(i % 10 === 0 ? 60_000 : 10), 'set');
  }
  await fixture.reopenWithout('cache', 'meta');
  const { ino } = (await fixture.vfs.lookup(ROOT_INO, 'link-1490'))!;
  t.equal((await fixture.vfs.readlink(ino)).length, 4000);
  t.equal((await fixture.vfs.getxattr(ino, 'trusted.x')).length, 60_000);
});

/** A clock that can be put forward. */
class LaterMachine extends SystemMachine {
  laterMs = 0;
  override readonly clock: Clock = new (class extends SystemClock {
    constructor(readonly machine: LaterMachine) {
      super();
    }
    override monotonicMs(): number {
      return super.monotonicMs() + this.machine.laterMs;
    }
  })(this);
}

t.test(
  'what strong commits have cut into pieces is one chunk again, also where the cache lacks most of it',
  async (t) => {
    const machine = new LaterMachine();
    const fixture = await PoolFixture.create(t, { machine, mode: 'strong', commitDelayMs: 20 });
    const expected = randomBytes(256 * KIB);
    await fixture.vfs.release(await make(fixture, 'db', expected));
    await fixture.reopen();
    const { ino } = (await fixture.vfs.lookup(ROOT_INO, 'db'))!;
    const handle = await fixture.vfs.open(ino, RW);
    for (let i = 0; i < 40; i++) {
      const page = randomBytes(4 * KIB);
      page.copy(expected, ((i * 7) % 30) * 4 * KIB);
      await fixture.vfs.write(handle, ((i * 7) % 30) * 4 * KIB, page);
      await fixture.vfs.fsync(handle, true);
    }
    const { meta } = fixture.pool.parts;
    const extents = async () => (await meta.listExtents(ino, 0, 128 * KIB, 1000)).length;
    t.ok((await extents()) > 20, 'in pieces');
    // The last sync was answered before its commit was applied.
    await fixture.pool.control.commit(['/'], () => {});
    machine.laterMs = 60_000;
    // Any commit in the background.
    await fixture.vfs.write(handle, 200 * KIB, expected.subarray(200 * KIB, 201 * KIB));
    while ((await extents()) > 1) await new Promise((resolve) => setTimeout(resolve, 10));
    t.ok((await readAll(fixture.vfs, handle, 0, 256 * KIB)).equals(expected));
    await fixture.vfs.release(handle);
    await fixture.reopenWithout('cache', 'meta');
    const again = await fixture.vfs.open((await fixture.vfs.lookup(ROOT_INO, 'db'))!.ino, RW);
    t.ok((await readAll(fixture.vfs, again, 0, 256 * KIB)).equals(expected), 'from the disks alone');
  },
);

t.test('a file of very many scattered pieces is committed in rounds that fit the journal', async (t) => {
  const fixture = await PoolFixture.create(t, { deviceBytes: 256 * MIB, bucketBytes: 4 * MIB, commitDelayMs: FOREVER });
  const handle = await make(fixture, 'f');
  for (let i = 0; i < 6000; i++) await fixture.vfs.write(handle, i * 9000, Buffer.from(String(i)));
  await fixture.pool.control.commit(['/'], () => {});
  t.match(await fixture.pool.control.state('/f'), { state: 'committed', stagedBytes: 0 });
  await fixture.reopenWithout('cache', 'meta');
  const open = await fixture.vfs.open((await fixture.vfs.lookup(ROOT_INO, 'f'))!.ino, RW);
  for (const i of [0, 1, 5000, 5999])
    t.equal((await readAll(fixture.vfs, open, i * 9000, String(i).length)).toString(), String(i));
});

for (const [what, bytes] of [
  ['small', 3000],
  ['large', 700 * KIB],
] as const) {
  t.test(`a ${what} file that took the place of another is never in the pool without its bytes`, async (t) => {
    const fixture = await PoolFixture.create(t, { commitDelayMs: FOREVER });
    const { vfs } = fixture;
    await vfs.release(await make(fixture, 'target', Buffer.alloc(bytes, 1)));
    await vfs.release(await make(fixture, 'other', Buffer.alloc(5000, 2)));
    await fixture.pool.control.commit(['/'], () => {});
    const handle = await make(fixture, 'target.new', Buffer.alloc(bytes, 3));
    await vfs.fsync(handle, false);
    await vfs.release(handle);
    await vfs.rename(ROOT_INO, 'target.new', ROOT_INO, 'target', {});
    // Names go with every commit, whichever file was meant.
    await fixture.pool.control.commit(['/other'], () => {});
    await fixture.kill('cache', 'meta');
    const { ino } = (await fixture.vfs.lookup(ROOT_INO, 'target'))!;
    const found = await readAll(fixture.vfs, await fixture.vfs.open(ino, RW), 0, MIB);
    t.ok(found.equals(Buffer.alloc(bytes, 3)), 'the new bytes', { length: found.length });
  });
}

for (const [what, bytes] of [
  ['small', 3000],
  ['large', 700 * KIB],
] as const) {
  t.test(`a rename of a ${what} file over another while commits are under way`, async (t) => {
    const fixture = await PoolFixture.create(t, { commitDelayMs: FOREVER });
    const { vfs } = fixture;
    await vfs.release(await make(fixture, 'target', Buffer.alloc(bytes, 1)));
    await fixture.pool.control.commit(['/'], () => {});
    await vfs.release(await make(fixture, 'huge', Buffer.alloc(9 * MIB, 2)));
    await vfs.release(await make(fixture, 'other', Buffer.alloc(5000, 2)));
    const handle = await make(fixture, 'target.new', Buffer.alloc(bytes, 3));
    await vfs.fsync(handle, false);
    // Has the file and is not done with it when the other's round takes the names.
    const slow = fixture.pool.control.commit(['/huge', '/target.new'], () => {});
    while ((await fixture.pool.control.state('/huge')).state !== 'committing') await new Promise(setImmediate);
    await vfs.rename(ROOT_INO, 'target.new', ROOT_INO, 'target', {});
    await fixture.pool.control.commit(['/other'], () => {});
    await fixture.kill('cache', 'meta');
    await slow.catch(() => undefined);
    const { ino } = (await fixture.vfs.lookup(ROOT_INO, 'target'))!;
    const found = await readAll(fixture.vfs, await fixture.vfs.open(ino, RW), 0, MIB);
    t.ok(found.equals(Buffer.alloc(bytes, 3)), 'the new bytes', { length: found.length });
  });
}

t.test('the close of an empty new file is a promise in strong mode', async (t) => {
  const fixture = await PoolFixture.create(t, { mode: 'strong', commitDelayMs: FOREVER });
  const handle = await make(fixture, 'empty');
  await fixture.vfs.flush(handle);
  await fixture.kill('cache', 'meta');
  t.ok(await fixture.vfs.lookup(ROOT_INO, 'empty'));
});
