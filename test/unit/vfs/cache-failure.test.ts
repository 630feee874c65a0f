/** When the cache device fails: what fsync answers, to whom, and where the bytes are then. */
import t, { type Test } from 'tap';
import { decodeCommit } from '../../../src/meta/row-codec.js';
import { ROOT_INO } from '../../../src/meta/rows.js';
import type { Handle } from '../../../src/vfs/vfs.js';
import { FaultyMachine } from './faulty-machine.js';
import { PoolFixture } from './pool-fixture.js';

const CALLER = { uid: 1000, gid: 1000, pid: 1 };
const RW = { read: true, write: true };
const LARGE = 300_000;
const CACHE_FILES = /cache.files/;
const STAGE_LOG = /cache.stage/;
const DAY_MS = 86_400_000;

async function setup(t: Test, mode: 'default' | 'strong' = 'default') {
  const machine = new FaultyMachine();
  const fixture = await PoolFixture.create(t, { machine, mode, commitDelayMs: DAY_MS });
  t.teardown(() => machine.heal());
  const make = async (name: string): Promise<{ ino: number; handle: Handle }> => {
    const { attr, handle } = await fixture.vfs.create(ROOT_INO, name, 0o644, RW, CALLER);
    return { ino: attr.ino, handle };
  };
  const contentOf = async (name: string): Promise<Buffer> => {
    const attr = await fixture.vfs.lookup(ROOT_INO, name);
    if (attr === undefined) throw new Error(`${name} is not there`);
    const handle = await fixture.vfs.open(attr.ino, { read: true, write: false });
    const file = await fixture.pool.openFile(`/${name}`);
    try {
      return await file.read(0, attr.sizeBytes);
    } finally {
      await file.close();
      await fixture.vfs.release(handle);
    }
  };
  const findings = async () => (await fixture.pool.control.status()).findings.join();
  return { machine, fixture, make, contentOf, findings };
}

/** As a program: undefined if it succeeds, else the code. */
async function fsync(fixture: PoolFixture, handle: Handle): Promise<string | undefined> {
  try {
    await fixture.vfs.fsync(handle, false);
    return undefined;
  } catch (error) {
    return (error as { code: string }).code;
  }
}

t.test('after a failed sync of a cache file each handle is told once, and the bytes are in the pool', async (t) => {
  const { machine, fixture, make, contentOf, findings } = await setup(t);
  const { ino, handle } = await make('file');
  const other = await fixture.vfs.open(ino, RW);
  const bytes = Buffer.alloc(LARGE, 7);
  await fixture.vfs.write(handle, 0, bytes);
  machine.fail('sync', CACHE_FILES, 1);
  t.equal(await fsync(fixture, handle), 'IO', 'who met it');
  t.equal(await fsync(fixture, handle), undefined, 'once');
  t.equal(await fsync(fixture, other), 'IO', 'whoever had it open too');
  t.equal(await fsync(fixture, other), undefined);
  const late = await fixture.vfs.open(ino, RW);
  t.equal(await fsync(fixture, late), undefined, 'but not who came after somebody was told');
  t.match(await findings(), /the cache at .* is suspect/);
  await fixture.reopenWithout('cache', 'meta');
  t.ok(bytes.equals(await contentOf('file')), 'what the fsyncs that succeeded promised does not need the cache');
  t.notMatch(await findings(), /suspect/, 'opened again, the cache is trusted again');
});

t.test('once the cache is suspect, fsync is the pool promise, or fails', async (t) => {
  const { machine, fixture, make, contentOf } = await setup(t);
  const first = await make('first');
  await fixture.vfs.write(first.handle, 0, Buffer.alloc(LARGE, 1));
  machine.fail('sync', CACHE_FILES, 1);
  t.equal(await fsync(fixture, first.handle), 'IO');
  const second = await make('second');
  await fixture.vfs.write(second.handle, 0, Buffer.alloc(LARGE, 2));
  t.equal(await fsync(fixture, second.handle), undefined);
  const small = await make('small');
  await fixture.vfs.write(small.handle, 0, Buffer.from('small'));
  t.equal(await fsync(fixture, small.handle), undefined);
  const root = await fixture.vfs.opendir(ROOT_INO);
  await fixture.vfs.mkdir(ROOT_INO, 'directory', 0o755, CALLER);
  await fixture.vfs.fsyncdir(root);
  await fixture.reopenWithout('cache', 'meta');
  t.ok(Buffer.alloc(LARGE, 2).equals(await contentOf('second')));
  t.equal((await contentOf('small')).toString(), 'small');
  t.ok(await fixture.vfs.lookup(ROOT_INO, 'directory'));
});

t.test('a suspect cache and disks that take no commit: fsync fails, and what is staged stays readable', async (t) => {
  const { machine, fixture, make, contentOf } = await setup(t);
  const { handle } = await make('file');
  const bytes = Buffer.alloc(LARGE, 3);
  await fixture.vfs.write(handle, 0, bytes);
  machine.fail('sync', CACHE_FILES, 1);
  machine.fail('write', /disk[123].log/);
  t.not(await fsync(fixture, handle), undefined);
  t.not(await fsync(fixture, handle), undefined, 'nothing can be promised any more');
  t.ok(bytes.equals(await contentOf('file')));
});

t.test(
  'a failed sync of the stage log: the fsync that meets it commits to the pool instead, and succeeds',
  async (t) => {
    const { machine, fixture, make, contentOf, findings } = await setup(t);
    const { handle } = await make('file');
    await fixture.vfs.write(handle, 0, Buffer.from('first'));
    machine.fail('sync', STAGE_LOG, 1);
    t.equal(await fsync(fixture, handle), undefined);
    t.match(await findings(), /suspect/);
    await fixture.vfs.write(handle, 0, Buffer.from('again'));
    t.equal(await fsync(fixture, handle), undefined);
    await fixture.vfs.mkdir(ROOT_INO, 'directory', 0o755, CALLER);
    const root = await fixture.vfs.opendir(ROOT_INO);
    await fixture.vfs.fsyncdir(root);
    await fixture.reopenWithout('cache', 'meta');
    t.equal((await contentOf('file')).toString(), 'again');
    t.ok(await fixture.vfs.lookup(ROOT_INO, 'directory'));
  },
);

for (const code of ['IO', 'NO_SPACE'] as const) {
  t.test(
    `a stage record that cannot be written whole (${code}): nothing after it is promised by the log`,
    async (t) => {
      const { machine, fixture, make, contentOf } = await setup(t);
      machine.fail('write', STAGE_LOG, 1, code);
      const { handle } = await make('file');
      await fixture.vfs.write(handle, 0, Buffer.from('bytes'));
      t.equal(await fsync(fixture, handle), undefined);
      machine.heal();
      await fixture.vfs.write(handle, 5, Buffer.from(' more'));
      t.equal(await fsync(fixture, handle), undefined);
      await fixture.reopenWithout('cache', 'meta');
      t.equal((await contentOf('file')).toString(), 'bytes more');
    },
  );
}

t.test('staged bytes of a few ranges that cannot be read are not forgotten by the fsync that fails', async (t) => {
  const { machine, fixture, make, contentOf } = await setup(t);
  const { handle } = await make('file');
  await fixture.vfs.write(handle, 0, Buffer.alloc(LARGE, 1));
  t.equal(await fsync(fixture, handle), undefined);
  await fixture.vfs.write(handle, 0, Buffer.alloc(1000, 2));
  machine.fail('read', CACHE_FILES);
  t.not(await fsync(fixture, handle), undefined);
  t.not(await fsync(fixture, handle), undefined, 'there is still something that no promise holds for');
  machine.heal();
  t.equal(await fsync(fixture, handle), undefined);
  await fixture.reopenWithout('cache', 'meta');
  t.equal((await contentOf('file'))[0], 2);
});

t.test('strong mode: bytes that the kernel failed to write back are not committed unseen', async (t) => {
  const { machine, fixture, make, contentOf, findings } = await setup(t, 'strong');
  for (const [name, length] of [
    ['large', 2 * 1024 * 1024],
    ['small', 100_000],
  ] as const) {
    const { ino, handle } = await make(name);
    const other = await fixture.vfs.open(ino, RW);
    await fixture.vfs.write(handle, 0, Buffer.alloc(length, 9));
    machine.fail('writeback', CACHE_FILES, 1);
    t.equal(await fsync(fixture, handle), 'IO', name);
    machine.heal();
    t.equal(await fsync(fixture, handle), undefined);
    t.equal(await fsync(fixture, other), 'IO');
    t.match(await findings(), /suspect/);
    t.ok(Buffer.alloc(length, 9).equals(await contentOf(name)));
  }
});

t.test(
  'strong mode: what a background commit failed with is told to every handle unless a later one makes it good',
  async (t) => {
    const { machine, fixture, make } = await setup(t, 'strong');
    const { ino, handle } = await make('file');
    const other = await fixture.vfs.open(ino, RW);
    await fixture.vfs.write(handle, 0, Buffer.alloc(LARGE, 4));
    machine.fail('write', /disk[123].log/);
    t.not(await fsync(fixture, handle), undefined);
    await t.rejects(async () => fixture.vfs.flush(handle), 'close tells too');
    t.not(await fsync(fixture, other), undefined);
  },
);

t.test(
  'a commit that was asked for fails where the bytes of a file are in doubt: it never says that it is done',
  async (t) => {
    const { machine, fixture, make } = await setup(t, 'default');
    const { handle } = await make('file');
    await fixture.vfs.write(handle, 0, Buffer.alloc(LARGE, 7));
    machine.fail('writeback', CACHE_FILES);
    await t.rejects(fixture.pool.commit(), { code: 'IO' });
    machine.heal();
    await fixture.pool.commit();
    t.match(await fixture.pool.control.state('/file'), { state: 'committed', health: 'healthy' });
  },
);

t.test('while everything is committed at once, no commit holds a part of an operation', async (t) => {
  const { machine, fixture, make } = await setup(t);
  const { handle } = await make('first');
  machine.fail('sync', STAGE_LOG, 1);
  await fsync(fixture, handle);
  const { disks } = fixture.pool.parts;
  const [disk] = disks.opened;
  const before = disk!.commits(0).at(-1)!.sequence;
  const pause = () => fixture.pool.control.commit(['/'], () => undefined);
  await make('created');
  await pause();
  await fixture.vfs.mkdir(ROOT_INO, 'directory', 0o755, CALLER);
  await pause();
  const directory = await fixture.vfs.lookup(ROOT_INO, 'directory');
  await fixture.vfs.rename(ROOT_INO, 'created', directory!.ino, 'moved', {});
  await pause();
  await fixture.vfs.unlink(directory!.ino, 'moved');
  await pause();
  const shapes: string[] = [];
  for (const entry of disk!.commits(0)) {
    if (entry.sequence <= before) continue;
    const { changes } = decodeCommit(await disk!.readCommit(entry));
    const rows = changes.map((change) => {
      if (change.kind === 'inode') return `inode ${change.row.ino}`;
      if (change.kind === 'dentry') return `${change.row.parent}/${change.row.name}`;
      if (change.kind === 'dentry-delete') return `gone ${change.parent}/${change.name}`;
      return change.kind === 'inode-delete' ? `gone ${change.ino}` : change.kind;
    });
    shapes.push(rows.sort().join());
  }
  const d = directory!.ino;
  t.strictSame(
    shapes.filter((shape) => shape !== ''),
    [
      `1/created,inode 1,inode ${d - 1}`,
      `1/directory,inode 1,inode ${d}`,
      `${d}/moved,gone 1/created,inode 1,inode ${d - 1},inode ${d}`,
      `gone ${d - 1},gone ${d}/moved,inode ${d}`,
    ],
  );
});

t.test(
  'a write finds room on a full device of the cache: what is clean goes, then what a commit makes clean',
  async (t) => {
    const { machine, fixture, make, contentOf } = await setup(t);
    const { account } = fixture.pool.parts;
    const old = await make('old');
    await fixture.vfs.write(old.handle, 0, Buffer.alloc(LARGE, 1));
    await fixture.pool.commit();
    t.equal(account.cachedBytes, LARGE);
    const { handle } = await make('file');
    machine.fail('write', CACHE_FILES, 1, 'NO_SPACE');
    t.equal(await fixture.vfs.write(handle, 0, Buffer.alloc(LARGE, 2)), LARGE);
    t.equal(account.cachedBytes, LARGE, 'the old file has gone from the cache');
    t.equal(account.dirtyBytes, LARGE);
    machine.fail('write', CACHE_FILES, 2, 'NO_SPACE');
    t.equal(await fixture.vfs.write(handle, LARGE, Buffer.alloc(LARGE, 3)), LARGE);
    t.equal(account.dirtyBytes, LARGE, 'the first half was committed for it');
    await fixture.pool.commit();
    machine.fail('write', CACHE_FILES, Number.POSITIVE_INFINITY, 'NO_SPACE');
    await t.rejects(Promise.resolve(fixture.vfs.write(handle, 0, Buffer.alloc(10))), { code: 'NO_SPACE' });
    machine.heal();
    t.ok(Buffer.alloc(LARGE, 1).equals(await contentOf('old')));
    t.ok(Buffer.concat([Buffer.alloc(LARGE, 2), Buffer.alloc(LARGE, 3)]).equals(await contentOf('file')));
  },
);
