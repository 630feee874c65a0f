/** The library: files by path. */
import { renameSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import type { CommitProgress } from '../../../src/pool/index.js';
import { Pool } from '../../../src/pool/index.js';
import { PoolFixture } from '../vfs/pool-fixture.js';

const FOREVER = 86_400_000;

t.test('modes of opening', async (t) => {
  const { pool } = await PoolFixture.create(t, { commitDelayMs: FOREVER });
  await t.rejects(pool.openFile('/f'), { code: 'NOT_FOUND' });
  await t.rejects(pool.openFile('/f', 'r+'), { code: 'NOT_FOUND' });
  await t.rejects(pool.openFile('/none/f', 'w'), { code: 'NOT_FOUND' });
  await t.rejects(pool.openFile('/', 'r'), { code: 'IS_DIRECTORY' });
  await t.rejects(pool.openFile('/a/../f', 'w'), { code: 'INVALID' });
  const made = await pool.openFile('/f', 'w');
  await made.write(0, Buffer.from('one'));
  t.equal((await made.read(0, 10)).toString(), 'one', 'what was just written is read');
  await made.close();
  const appended = await pool.openFile('/f', 'a');
  await appended.write(0, Buffer.from('two'));
  await appended.append(Buffer.from('three'));
  await appended.close();
  const read = await pool.openFile('/f');
  t.equal((await read.read(0, 100)).toString(), 'onetwothree');
  t.equal((await read.read(3, 3)).toString(), 'two');
  t.equal((await read.read(100, 3)).length, 0);
  await t.rejects(read.write(0, Buffer.from('x')), { code: 'BAD_HANDLE' });
  await t.rejects(read.append(Buffer.from('x')), { code: 'BAD_HANDLE' });
  await read.close();
  await (await pool.openFile('/f', 'w')).close();
  t.equal((await pool.stat('/f')).sizeBytes, 0, 'w empties');
});

t.test('appends at the same time all find their place', async (t) => {
  const { pool } = await PoolFixture.create(t, { cacheBytes: 1024 * 1024, commitDelayMs: FOREVER });
  const files = [await pool.openFile('/f', 'w'), await pool.openFile('/f', 'r+'), await pool.openFile('/f', 'a')];
  const part = (i: number): Buffer => Buffer.alloc(100_000, i + 1);
  await Promise.all(Array.from({ length: 30 }, (_, i) => files[i % 3]!.append(part(i))));
  const bytes = await files[0]!.read(0, 10_000_000);
  t.equal(bytes.length, 3_000_000);
  const found = Array.from({ length: 30 }, (_, i) => bytes.subarray(i * 100_000, (i + 1) * 100_000));
  t.same(
    found.map((piece) => (piece.equals(part(piece[0]! - 1)) ? piece[0] : 'torn')).sort((a, b) => Number(a) - Number(b)),
    Array.from({ length: 30 }, (_, i) => i + 1),
  );
  for (const file of files) await file.close();
});

t.test('names', async (t) => {
  const { pool } = await PoolFixture.create(t, { commitDelayMs: FOREVER });
  await pool.makeDirectory('/d');
  await pool.makeDirectory('/d/ünder');
  await t.rejects(pool.makeDirectory('/d'), { code: 'EXISTS' });
  await (await pool.openFile('/d/file', 'w')).close();
  t.same(await pool.list('/d'), [
    { name: 'file', kind: 'file' },
    { name: 'ünder', kind: 'directory' },
  ]);
  await pool.rename('/d/file', '/d/ünder/moved');
  await t.rejects(pool.remove('/d/ünder'), { code: 'NOT_EMPTY' });
  await t.rejects(pool.rename('/d', '/d/ünder/x'), { code: 'INVALID' });
  await pool.remove('/d/ünder/moved');
  await pool.remove('/d/ünder');
  t.same(await pool.list('/d'), []);
});

t.test('commit of a file tells its progress and follows it through a rename', async (t) => {
  const fixture = await PoolFixture.create(t, { commitDelayMs: FOREVER });
  const file = await fixture.pool.openFile('/a', 'w');
  const bytes = Buffer.alloc(1_000_000, 'bytes');
  await file.write(0, bytes);
  await fixture.pool.rename('/a', '/b');
  const seen: CommitProgress[] = [];
  await file.commit((progress) => seen.push({ ...progress }));
  t.equal(seen[0]?.bytesDone, 0);
  t.match(seen.at(-1), { bytesDone: 1_000_000, bytesTotal: 1_000_000, filesDone: 1, filesTotal: 1 });
  t.equal((await fixture.pool.control.state('/b')).state, 'committed');
  await fixture.kill();
  await fixture.reopenWithout('cache', 'meta');
  const again = await fixture.pool.openFile('/b');
  t.ok((await again.read(0, 2_000_000)).equals(bytes));
});

t.test('flush is the local promise, in strong mode the promise of the pool', async (t) => {
  for (const mode of ['default', 'strong'] as const) {
    const fixture = await PoolFixture.create(t, { mode, commitDelayMs: FOREVER });
    const file = await fixture.pool.openFile('/f', 'w');
    await file.write(0, Buffer.from('bytes'));
    await file.flush();
    await fixture.kill();
    if (mode === 'strong') await fixture.reopenWithout('cache', 'meta', 'disk2');
    t.equal((await (await fixture.pool.openFile('/f')).read(0, 10)).toString(), 'bytes', mode);
  }
});

t.test('one process has a pool, and closing lets go of everything', async (t) => {
  const fixture = await PoolFixture.create(t, { commitDelayMs: FOREVER });
  await t.rejects(Pool.open(fixture.directory), { code: 'LOCKED' });
  const file = await fixture.pool.openFile('/f', 'w');
  await file.write(0, Buffer.alloc(300_000, 1));
  const progress: number[] = [];
  await fixture.pool.close(({ bytesDone }) => progress.push(bytesDone));
  t.equal(progress.at(-1), 300_000, 'closing commits');
  await fixture.open();
  t.equal((await fixture.pool.control.state('/f')).state, 'committed');
});

t.test('a cache that was closed cleanly can be put back after another one was used', async (t) => {
  const fixture = await PoolFixture.create(t);
  const write = async (name: string): Promise<void> => {
    const file = await fixture.pool.openFile(name, 'w');
    await file.write(0, Buffer.from(name));
    await file.flush();
    await file.close();
  };
  await write('/a');
  await fixture.pool.close();
  const [cache, aside, other] = ['cache', 'aside', 'other'].map((name) => join(fixture.directory, name));
  renameSync(cache!, aside!);
  await fixture.open();
  await write('/b');
  await fixture.pool.close();
  renameSync(cache!, other!);
  renameSync(aside!, cache!);
  await fixture.open();
  for (const name of ['/a', '/b']) {
    const file = await fixture.pool.openFile(name);
    t.equal((await file.read(0, 10)).toString(), name);
    await file.close();
  }
});

t.test('settings of an open pool change: the commit delay, the rule of strong fsync, scrubs', async (t) => {
  const { pool } = await PoolFixture.create(t, { commitDelayMs: FOREVER });
  const { settings } = pool;
  const file = await pool.openFile('/a', 'w');
  await file.write(0, Buffer.from('waits'));
  const { commitSequence } = await pool.control.status();
  settings.apply({ ...settings.current, commitDelayMs: 0, whenDegraded: 'refuse', scrubDays: 7, mode: 'strong' });
  // What was waiting for a day is committed at once.
  while ((await pool.control.status()).dirtyBytes > 0) await new Promise((resolve) => setTimeout(resolve, 5));
  const status = await pool.control.status();
  t.ok(status.commitSequence > commitSequence);
  t.equal(status.whenDegraded, 'refuse');
  t.match(settings.current, { commitDelayMs: 0, scrubDays: 7, mode: 'default' }, 'the mode of a mount stays');
  await file.close();
});
