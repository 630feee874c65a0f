import { randomBytes } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { Pool } from '../../../src/pool/pool.js';
import { PoolFixture } from '../vfs/pool-fixture.js';

const alive = setInterval(() => {}, 1000);
t.teardown(() => clearInterval(alive));

const MIB = 1024 * 1024;

async function makePool(t: Test) {
  const root = t.testdir({});
  const at = (name: string) => {
    mkdirSync(join(root, name), { recursive: true });
    return join(root, name);
  };
  await Pool.init(root, {
    disks: [at('d1'), at('d2'), at('d3')],
    journals: [],
    cache: at('cache'),
    meta: at('meta'),
    scheme: 'auto',
    bucketBytes: 64 * MIB,
    chunkBytes: 128 * 1024,
  });
  const pool = await Pool.open(root);
  t.teardown(() => pool.close());
  return pool;
}

async function write(pool: Pool, path: string, bytes: Uint8Array) {
  const file = await pool.openFile(path, 'w');
  await file.write(0, bytes);
  await file.close();
}

const live = async (pool: Pool) =>
  (await pool.control.status()).disks.reduce((sum, { liveBytes }) => sum + liveBytes, 0);
const commit = (pool: Pool) => pool.control.commit(['/'], () => {});

t.test('deleted data gives its space back, and what is still named stays', async (t) => {
  const pool = await makePool(t);
  const kept = randomBytes(MIB);
  await write(pool, '/kept', kept);
  await write(pool, '/twin', kept);
  await write(pool, '/gone', randomBytes(2 * MIB));
  for (let i = 0; i < 20; i++) await write(pool, `/small${i}`, randomBytes(1000));
  await commit(pool);
  const before = await live(pool);
  await pool.remove('/gone');
  await pool.remove('/twin');
  for (let i = 0; i < 20; i++) await pool.remove(`/small${i}`);
  await commit(pool);
  await pool.collect();
  const after = await live(pool);
  t.ok(before - after >= 3 * MIB, `${before} bytes live before, ${after} after`);
  t.same(await (await pool.openFile('/kept')).read(0, MIB), kept);
  await write(pool, '/again', kept);
  await commit(pool);
  t.equal((await pool.control.state('/again')).health, 'healthy');
});

t.test('a file that is open without a name keeps its bytes', async (t) => {
  const pool = await makePool(t);
  const bytes = randomBytes(MIB);
  await write(pool, '/a', bytes);
  await commit(pool);
  const file = await pool.openFile('/a');
  await pool.remove('/a');
  await commit(pool);
  await pool.collect();
  t.same(await file.read(0, MIB), bytes);
  await file.close();
  await pool.collect();
  t.ok((await live(pool)) < 100_000);
});

t.test('content that is deleted and written again at the same time is never lost', async (t) => {
  const pool = await makePool(t);
  const contents = Array.from({ length: 4 }, (_, i) => randomBytes(i < 2 ? 300_000 : 2000));
  for (let round = 0; round < 15; round++) {
    await Promise.all(contents.map((bytes, i) => write(pool, `/f${i}`, bytes)));
    await commit(pool);
    const [removed, other] = [round % 4, (round + 1) % 4];
    await pool.remove(`/f${removed}`);
    await commit(pool);
    await Promise.all([
      pool.collect(),
      write(pool, `/f${removed}`, contents[removed]!),
      write(pool, `/copy${other}`, contents[removed]!).then(() => commit(pool)),
      pool.collect(),
    ]);
    await commit(pool);
    for (const [i, bytes] of contents.entries()) {
      const file = await pool.openFile(`/f${i}`);
      t.same(await file.read(0, bytes.length), bytes);
      await file.close();
      t.equal((await pool.control.state(`/f${i}`)).health, 'healthy');
    }
  }
});

t.test('a full pool says so, and takes writes again as soon as something has been deleted', async (t) => {
  const { pool } = await PoolFixture.create(t, {
    deviceBytes: 256 * MIB,
    bucketBytes: 4 * MIB,
    cacheBytes: 16 * MIB,
    // Nothing is committed or collected because time passes.
    commitDelayMs: 86_400_000,
  });
  const names: string[] = [];
  let made = 0;
  const fill = async (): Promise<unknown> => {
    for (let i = 0; i < 200; i++) {
      const name = `/file${made++}`;
      try {
        await write(pool, name, randomBytes(MIB));
        names.push(name);
      } catch (error) {
        await pool.remove(name).catch(() => undefined);
        return error;
      }
    }
    return undefined;
  };
  for (let round = 0; round < 2; round++) {
    t.match(await fill(), { code: 'NO_SPACE' }, `full after ${names.length} MiB`);
    const before = names.length;
    t.ok(before > 30);
    // Every third: no segment is mostly dead.
    const gone = names.filter((_, i) => i % 3 === 0);
    for (const name of gone) {
      await pool.remove(name);
      names.splice(names.indexOf(name), 1);
    }
    const again = Math.floor(0.6 * gone.length);
    for (let i = 0; i < again; i++) {
      await write(pool, `/again${round}-${i}`, randomBytes(MIB));
      names.push(`/again${round}-${i}`);
    }
  }
  await commit(pool);
  for (const name of names) t.equal((await pool.control.state(name)).health, 'healthy');
});

t.test('rebuilt metadata does not take what was deleted and collected for lost', async (t) => {
  const fixture = await PoolFixture.create(t, { commitDelayMs: 3_600_000 });
  const put = async (path: string): Promise<Buffer> => {
    const bytes = randomBytes(300 * 1024);
    await write(fixture.pool, path, bytes);
    await fixture.pool.commit();
    return bytes;
  };
  await put('/written twice');
  await put('/gone');
  const bytes = await put('/written twice');
  await fixture.pool.remove('/gone');
  await fixture.pool.commit();
  await fixture.pool.collect();
  await fixture.kill('cache', 'meta');
  const { health, findings } = await fixture.pool.control.status();
  t.same({ health, findings }, { health: 'healthy', findings: [] });
  t.same(await (await fixture.pool.openFile('/written twice')).read(0, bytes.length), bytes);
});
