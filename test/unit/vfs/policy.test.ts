/** Policies of directories: what may be set, what holds where, what fsync, close and the commit that begins by itself make of it. */
import t from 'tap';
import { checkPool } from '../../../src/fsck/check-pool.js';
import { ROOT_INO } from '../../../src/meta/rows.js';
import { formatDelay, parsePolicy } from '../../../src/vfs/policy.js';
import type { Handle } from '../../../src/vfs/vfs.js';
import { content, text } from '../chunks/fixture.js';
import { readAll } from './compare-tree.js';
import { PoolFixture } from './pool-fixture.js';

const CALLER = { uid: 1000, gid: 1000, pid: 1 };
const OTHER = { uid: 1001, gid: 1001, pid: 1 };
const RW = { read: true, write: true };
const FOREVER = 86_400_000;
const CHECK = { live: false, content: true, repair: false, onProgress: () => {} };
const BYTES = Buffer.alloc(5000, 'precious');

async function directory(fixture: PoolFixture, parent: number, name: string): Promise<number> {
  return (await fixture.vfs.mkdir(parent, name, 0o755, CALLER)).ino;
}

async function file(fixture: PoolFixture, parent: number, name: string, bytes: Uint8Array = BYTES): Promise<Handle> {
  const { handle } = await fixture.vfs.create(parent, name, 0o644, RW, CALLER);
  await fixture.vfs.write(handle, 0, bytes);
  return handle;
}

function set(fixture: PoolFixture, ino: number, key: string, value: string, caller = CALLER): Promise<void> {
  const attempt = async () =>
    fixture.vfs.setxattr(ino, `user.cairn.policy.${key}`, Buffer.from(value), 'set', false, caller);
  return attempt();
}

/** `mode=… scheme=… compression=… commit_delay=…` of the inode. */
async function effective(fixture: PoolFixture, ino: number): Promise<string> {
  return Buffer.from(await fixture.vfs.getxattr(ino, 'user.cairn.policy')).toString();
}

async function modeAt(fixture: PoolFixture, path: string): Promise<string> {
  const { mode } = await fixture.pool.control.policy(path);
  return `${mode.value} by ${mode.from ?? 'pool'}`;
}

async function inoAt(fixture: PoolFixture, path: string): Promise<number> {
  return (await fixture.pool.stat(path)).ino;
}

t.test('values: what is read, what is refused', (t) => {
  const read = (key: Parameters<typeof parsePolicy>[0], text: string) => parsePolicy(key, text, () => 'auto');
  for (const [text, ms] of [
    ['0s', 0],
    ['500ms', 500],
    ['5m', 300_000],
    ['1h', 3_600_000],
    ['1d', FOREVER],
  ] as const) {
    t.same(read('commit_delay', text), { commitDelayMs: ms });
    t.equal(formatDelay(ms), text);
  }
  t.equal(formatDelay(90_000), '90s');
  for (const text of ['', '5', 's', '-1s', '2d', '1w', '5 m', '1.5h', '9999999999s', '5s\n', '0x5s'])
    t.throws(() => read('commit_delay', text), { code: 'INVALID' }, JSON.stringify(text));
  for (const text of ['', 'Strong', 'strong\n', 'x'.repeat(5000)])
    t.throws(() => read('mode', text), { code: 'INVALID' }, JSON.stringify(text.slice(0, 9)));
  t.same(read('compression', 'off'), { compression: 'off' });
  t.same(read('compression', 'zstd'), { compression: 'zstd' });
  t.throws(() => read('compression', 'lzma'), { code: 'INVALID', hint: /off or zstd/ });
  t.end();
});

t.test('what holds where', async (t) => {
  const fixture = await PoolFixture.create(t, { commitDelayMs: FOREVER });
  const { vfs } = fixture;
  const a = await directory(fixture, ROOT_INO, 'a');
  const b = await directory(fixture, a, 'b');
  const c = await directory(fixture, b, 'c');
  await vfs.release(await file(fixture, c, 'f'));
  const f = await inoAt(fixture, '/a/b/c/f');
  const POOL = 'mode=default scheme=auto compression=off commit_delay=1d';

  await t.test('nothing is said: the pool holds', async (t) => {
    t.equal(await effective(fixture, f), POOL);
    t.equal(await modeAt(fixture, '/a/b/c/f'), 'default by pool');
    await t.rejects(async () => vfs.getxattr(a, 'user.cairn.policy.mode'), { code: 'NO_DATA' });
  });

  await t.test('only the owner and root may say something, and only what makes sense, of a directory', async (t) => {
    await t.rejects(set(fixture, a, 'mode', 'strong', OTHER), { code: 'NOT_PERMITTED' });
    await t.rejects(set(fixture, a, 'mode', 'fast'), { code: 'INVALID' });
    await t.rejects(set(fixture, a, 'mood', 'strong'), { code: 'INVALID', hint: /commit_delay/ });
    await t.rejects(set(fixture, a, 'scheme', 'raid5'), { code: 'INVALID' });
    await t.rejects(set(fixture, f, 'mode', 'strong'), { code: 'NOT_DIRECTORY' });
    await t.rejects(async () => vfs.setxattr(a, 'user.cairn.policy', Buffer.from('x'), 'set'), {
      code: 'NOT_PERMITTED',
    });
    await t.rejects(fixture.pool.control.setPolicy('/a', { mode: 'strong', scheme: 'copies:9' }), { code: 'INVALID' });
    t.equal(await effective(fixture, f), POOL, 'all of it or nothing');
    t.same(await vfs.listxattr(a), []);
  });

  await t.test('the nearest directory that says something, key by key', async (t) => {
    await set(fixture, a, 'mode', 'strong');
    await set(fixture, a, 'commit_delay', '5m');
    t.equal(await effective(fixture, f), 'mode=strong scheme=auto compression=off commit_delay=5m');
    t.equal(await modeAt(fixture, '/a/b/c/f'), 'strong by /a');
    await set(fixture, b, 'mode', 'default', { ...CALLER, uid: 0 });
    t.equal(await effective(fixture, f), 'mode=default scheme=auto compression=off commit_delay=5m');
    t.equal(await modeAt(fixture, '/a/b/c/f'), 'default by /a/b');
    t.equal(await modeAt(fixture, '/a'), 'strong by /a');
    t.equal(await effective(fixture, ROOT_INO), POOL, 'nothing goes up');
    t.same((await vfs.listxattr(a)).sort(), ['user.cairn.policy.commit_delay', 'user.cairn.policy.mode']);
    t.equal(String(Buffer.from(await vfs.getxattr(a, 'user.cairn.policy.mode'))), 'strong');
    t.same(await vfs.listxattr(ROOT_INO), [], 'what the pool keeps in mind is not shown');
  });

  await t.test('what moves follows its new place', async (t) => {
    await vfs.rename(b, 'c', ROOT_INO, 'c', {});
    t.equal(await effective(fixture, f), POOL, 'a file below a directory that has been moved out');
    await vfs.rename(ROOT_INO, 'c', a, 'c', {});
    t.match(await effective(fixture, f), 'mode=strong');
    await vfs.rename(c, 'f', b, 'f', {});
    t.match(await effective(fixture, f), 'mode=default');
    await vfs.rename(b, 'f', c, 'f', {});
    await vfs.rename(a, 'c', a, 'b', { exchange: true });
    t.match(await effective(fixture, f), 'mode=strong', '/a/b/f');
    await vfs.rename(a, 'c', a, 'b', { exchange: true });
  });

  await t.test('a file with several names gets the most, also when it loses one', async (t) => {
    const d = await directory(fixture, ROOT_INO, 'd');
    await vfs.link(f, d, 'again');
    t.match(await effective(fixture, f), 'mode=strong');
    await vfs.unlink(d, 'again');
    t.match(await effective(fixture, f), 'mode=strong', 'as long as the name that is left has not been seen');
    await vfs.unlink(c, 'f');
    await vfs.release(await file(fixture, d, 'f'));
    t.match(await effective(fixture, await inoAt(fixture, '/d/f')), 'mode=default');
  });

  await t.test('it survives a restart, a kill, and the loss of cache and metadata', async (t) => {
    await set(fixture, c, 'commit_delay', '7s');
    await fixture.kill();
    t.match(await fixture.pool.control.policy('/a/c'), { commitDelayMs: { value: 7000, from: '/a/c' } });
    t.equal(
      await effective(fixture, await inoAt(fixture, '/a/c')),
      'mode=strong scheme=auto compression=off commit_delay=7s',
    );
    await fixture.reopen();
    await fixture.kill('cache', 'meta');
    t.equal(
      await effective(fixture, await inoAt(fixture, '/a/c')),
      'mode=strong scheme=auto compression=off commit_delay=7s',
    );
    const report = await fixture.pool.control.setPolicy('/a/c', { mode: 'default', commitDelay: null, scheme: null });
    t.match(report, { mode: { value: 'default', from: '/a/c' }, commitDelayMs: { value: 300_000, from: '/a' } });
    await fixture.pool.vfs.removexattr(await inoAt(fixture, '/a/c'), 'user.cairn.policy.mode', CALLER);
    t.equal(await modeAt(fixture, '/a/c'), 'strong by /a');
    await t.rejects(fixture.pool.control.policy('/nowhere'), { code: 'NOT_FOUND' });
  });
});

t.test('a strong directory in a default pool: fsync, close and directory fsync give the pool promise', async (t) => {
  const fixture = await PoolFixture.create(t, { commitDelayMs: FOREVER });
  const strong = await directory(fixture, ROOT_INO, 'strong');
  await set(fixture, strong, 'mode', 'strong');
  const plain = await directory(fixture, ROOT_INO, 'plain');
  await fixture.pool.commit();
  const { vfs } = fixture;
  await vfs.fsync(await file(fixture, strong, 'synced'), false);
  await vfs.flush(await file(fixture, strong, 'closed'));
  const moved = await file(fixture, plain, 'moved');
  await vfs.rename(plain, 'moved', strong, 'moved', {});
  await vfs.fsync(moved, false);
  // Nothing below asks for the pool promise: only the cache has it, with the names.
  const sequence = fixture.pool.parts.journal.sequence;
  await vfs.fsync(await file(fixture, plain, 'synced'), false);
  await vfs.flush(await file(fixture, plain, 'closed'));
  t.equal(fixture.pool.parts.journal.sequence, sequence, 'a default directory commits nothing');
  await fixture.kill('cache', 'meta');
  t.same(await fixture.pool.list('/plain'), []);
  t.same(
    (await fixture.pool.list('/strong')).map(({ name }) => name),
    ['closed', 'moved', 'synced'],
  );

  const below = await directory(fixture, await inoAt(fixture, '/strong'), 'below');
  const handle = await fixture.vfs.opendir(below);
  await fixture.vfs.fsyncdir(handle);
  await fixture.kill('cache', 'meta');
  t.ok(await inoAt(fixture, '/strong/below'), 'a name that a directory fsync promised');
  await fixture.reopenWithout('disk2');
  for (const name of ['closed', 'moved', 'synced']) {
    const open = await fixture.vfs.open(await inoAt(fixture, `/strong/${name}`), { read: true, write: false });
    t.ok((await readAll(fixture.vfs, open, 0, BYTES.length)).equals(BYTES), `${name} without a disk`);
  }
});

t.test('a default directory in a strong pool gives the local promise', async (t) => {
  const fixture = await PoolFixture.create(t, { commitDelayMs: FOREVER, mode: 'strong' });
  const plain = await directory(fixture, ROOT_INO, 'plain');
  await set(fixture, plain, 'mode', 'default');
  await fixture.pool.commit();
  const sequence = fixture.pool.parts.journal.sequence;
  await fixture.vfs.fsync(await file(fixture, plain, 'f'), false);
  t.equal(fixture.pool.parts.journal.sequence, sequence, 'the cache has it');
  await fixture.vfs.fsync(await file(fixture, ROOT_INO, 'f'), false);
  t.ok(fixture.pool.parts.journal.sequence > sequence, 'the pool has it');
  await fixture.kill();
  t.equal((await fixture.pool.stat('/plain/f')).sizeBytes, BYTES.length);
});

t.test('commit delays: nobody waits for a directory that may wait, nor does it hurry others', async (t) => {
  const fixture = await PoolFixture.create(t, { commitDelayMs: FOREVER });
  const { control } = fixture.pool;
  const stateOf = async (path: string) => (await control.state(path)).state;
  const committed = async (path: string): Promise<void> => {
    while ((await control.state(path)).stagedBytes > 0) await new Promise(setImmediate);
  };
  const now = await directory(fixture, ROOT_INO, 'now');
  const late = await directory(fixture, ROOT_INO, 'late');
  await set(fixture, now, 'commit_delay', '0s');
  await fixture.vfs.release(await file(fixture, late, 'first'));
  await fixture.vfs.release(await file(fixture, now, 'f'));
  await committed('/now/f');
  t.equal(await stateOf('/late/first'), 'staged', 'a commit for the one does not take the other');

  // The other way about: the pool commits at once, a directory may wait.
  await set(fixture, late, 'commit_delay', '1d');
  await fixture.pool.parts.committer.setDelay(0);
  await fixture.vfs.release(await file(fixture, late, 'second'));
  for (const name of ['x', 'y']) {
    await fixture.vfs.release(await file(fixture, ROOT_INO, name));
    await committed(`/${name}`);
  }
  t.equal((await control.state('/late/second')).stagedBytes, BYTES.length);
  await set(fixture, late, 'commit_delay', '10ms');
  await fixture.vfs.release(await file(fixture, late, 'third'));
  await committed('/late/third');
  t.equal((await control.state('/late/second')).stagedBytes, 0, 'what has waited long enough goes too');
  await set(fixture, late, 'commit_delay', '1d');
  await fixture.vfs.release(await file(fixture, late, 'fourth'));
  await control.commit(['/late/fourth'], () => {});
  t.equal(await stateOf('/late/fourth'), 'committed', 'a commit that is asked for waits for nothing');
});

t.test('a scheme of its own: for what is committed from then on, and only one that the disks can keep', async (t) => {
  const fixture = await PoolFixture.create(t, { commitDelayMs: FOREVER });
  const safe = await directory(fixture, ROOT_INO, 'safe');
  const { vfs } = fixture;
  const LARGE = Buffer.alloc(200_000, 'large and precious');
  const schemesOf = async (path: string) => (await fixture.pool.control.state(path)).schemes;
  await t.rejects(set(fixture, safe, 'scheme', 'copies:4'), { code: 'INVALID', message: /needs 4 disks.*over 3/ });
  await t.rejects(set(fixture, safe, 'scheme', 'copies:1'), { code: 'INVALID', message: /no disk.*any one disk/ });
  await vfs.release(await file(fixture, safe, 'before', LARGE));
  await fixture.pool.commit();
  await set(fixture, safe, 'scheme', 'copies:3');
  const below = await directory(fixture, safe, 'below');
  await vfs.release(await file(fixture, below, 'large', Buffer.alloc(200_000, 'another')));
  await vfs.fsync(await file(fixture, below, 'small', Buffer.alloc(3000, 'small')), false);
  await vfs.release(await file(fixture, ROOT_INO, 'plain', Buffer.alloc(200_000, 'plain')));
  await fixture.pool.commit();
  t.same(await schemesOf('/safe/before'), ['ec:2+1'], 'what is there stays');
  t.same(await schemesOf('/safe/below/large'), ['copies:3']);
  t.same(await schemesOf('/safe/below/small'), ['copies:3']);
  t.same(await schemesOf('/plain'), ['ec:2+1']);
  t.match(await fixture.pool.control.policy('/safe/below/large'), { scheme: { value: 'copies:3', from: '/safe' } });

  // The same bytes again: what they are kept under survives less than is asked for here.
  await vfs.release(await file(fixture, below, 'again', LARGE));
  await fixture.pool.commit();
  t.same(await schemesOf('/safe/below/again'), ['copies:3']);
  t.same(await schemesOf('/safe/before'), ['copies:3'], 'a chunk is kept once, at its best');
  await fixture.pool.collect();

  // Through the tree of objects, as S3 writes.
  const { objects } = fixture.pool;
  t.match(await objects.chunkPolicy(async () => below), { scheme: { kind: 'copies', copies: 3 } });
  t.equal(await objects.chunkPolicy(async () => ROOT_INO), undefined);

  const problems = async () => {
    const { findings } = await checkPool(fixture.pool.parts, CHECK);
    return findings.filter(({ severity }) => severity !== 'note');
  };
  t.same(await problems(), []);
  await fixture.kill('cache', 'meta');
  t.same(await schemesOf('/safe/below/large'), ['copies:3']);
  await fixture.vfs.release(
    await file(fixture, await inoAt(fixture, '/safe'), 'after', Buffer.alloc(150_000, 'after')),
  );
  await fixture.pool.commit();
  t.same(await schemesOf('/safe/after'), ['copies:3'], 'what has been asked for is known again');
  t.same(await problems(), []);
});

t.test(
  'compression: of what is committed from then on, held and found in either form, whole after losses',
  async (t) => {
    const fixture = await PoolFixture.create(t, { commitDelayMs: FOREVER });
    const { vfs } = fixture;
    const mail = await directory(fixture, ROOT_INO, 'mail');
    const large = text(2_500_000, 1);
    const small = text(3000, 2);
    const again = text(400_000, 3);
    const attribute = async (path: string) =>
      Buffer.from(await fixture.vfs.getxattr(await inoAt(fixture, path), 'user.cairn.compressed')).toString();
    const compressed = async (path: string) => (await fixture.pool.control.state(path)).compressed;
    await vfs.release(await file(fixture, mail, 'before', again));
    await fixture.pool.commit();
    await t.rejects(set(fixture, mail, 'compression', 'lzma'), { code: 'INVALID', hint: 'it is off or zstd' });
    await set(fixture, mail, 'compression', 'zstd');
    t.equal(await effective(fixture, mail), 'mode=default scheme=auto compression=zstd commit_delay=1d');
    t.match((await fixture.pool.control.policy('/mail/before')).compression, { value: 'zstd', from: '/mail' });
    const below = await directory(fixture, mail, 'below');
    const files = { large, small, again, noise: content(300_000) };
    for (const [name, bytes] of Object.entries(files)) await vfs.release(await file(fixture, below, name, bytes));
    await vfs.release(await file(fixture, ROOT_INO, 'plain', text(400_000, 4)));
    await fixture.pool.commit();
    const { chunks, bytes, storedBytes } = await compressed('/mail/below/large');
    t.same({ chunks, bytes }, { chunks: 20, bytes: large.length });
    t.ok(storedBytes < large.length / 2);
    t.equal(await attribute('/mail/below/large'), `${large.length}/${storedBytes}`);
    t.match(await compressed('/mail/below/small'), { chunks: 1, bytes: 3000 });
    for (const path of ['/mail/before', '/mail/below/again', '/mail/below/noise', '/plain'])
      t.equal(await attribute(path), '0/0', path);

    // As S3 writes; and held content that stands compressed, wherever it is written.
    const { objects } = fixture.pool;
    t.same(await objects.chunkPolicy(async () => below), { isCompressed: true });
    await vfs.release(await file(fixture, ROOT_INO, 'copy', large));
    await fixture.pool.commit();
    t.match(await compressed('/copy'), { chunks, storedBytes });

    const problems = async () => {
      const { findings } = await checkPool(fixture.pool.parts, CHECK);
      return findings.filter(({ severity }) => severity !== 'note');
    };
    const areWhole = async () => {
      for (const [name, expected] of Object.entries(files)) {
        const handle = await fixture.vfs.open(await inoAt(fixture, `/mail/below/${name}`), RW);
        const found = await readAll(fixture.vfs, handle, 0, expected.length);
        t.ok(expected.equals(found), name);
        const end = expected.length;
        t.ok(expected.subarray(end - 9).equals(await readAll(fixture.vfs, handle, end - 9, 9)));
        await fixture.vfs.release(handle);
      }
    };
    t.same(await problems(), []);
    await fixture.kill('cache', 'meta');
    await areWhole();
    t.same(await problems(), []);
    t.match(await compressed('/mail/below/large'), { chunks, storedBytes });
    await fixture.reopenWithout('cache', 'disk1');
    await areWhole();
    t.match(await compressed('/mail/below/large'), { chunks, storedBytes });
  },
);
