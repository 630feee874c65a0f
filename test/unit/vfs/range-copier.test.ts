/** Copies within the pool: what is shared, what is not, and what is left after a crash. */
import fc from 'fast-check';
import t from 'tap';
import { ROOT_INO } from '../../../src/meta/rows.js';
import type { Caller, Handle, Vfs } from '../../../src/vfs/vfs.js';
import { readAll } from './compare-tree.js';
import { PoolFixture } from './pool-fixture.js';

const seed = Number(process.env['SEED'] ?? Date.now() % 2 ** 31);
t.comment(`SEED=${seed}`);
const CALLER: Caller = { uid: 1000, gid: 1000, pid: 1 };
const RW = { read: true, write: true };
const FOREVER = 86_400_000;
const CHUNK = 128 * 1024;

function pattern(length: number, salt = 0): Buffer {
  const bytes = Buffer.alloc(length);
  for (let i = 0; i < length; i++) bytes[i] = (i * 31 + (i >> 8) * 7 + salt) & 255;
  return bytes;
}

async function make(vfs: Vfs, name: string, bytes: Uint8Array): Promise<{ ino: number; handle: Handle }> {
  const { attr, handle } = await vfs.create(ROOT_INO, name, 0o644, RW, CALLER);
  await vfs.write(handle, 0, bytes);
  return { ino: attr.ino, handle };
}

async function copyAll(vfs: Vfs, from: Handle, at: number, to: Handle, into: number, length: number): Promise<number> {
  let done = 0;
  for (;;) {
    const count = await vfs.copyRange(from, at + done, to, into + done, length - done);
    done += count;
    if (count === 0 || done === length) return done;
  }
}

async function named(vfs: Vfs, name: string, length: number): Promise<Buffer> {
  const handle = await vfs.open((await vfs.lookup(ROOT_INO, name))!.ino, { read: true, write: false });
  const bytes = await readAll(vfs, handle, 0, length);
  await vfs.release(handle);
  return bytes;
}

t.test('committed chunks are shared: no byte is stored again, and none goes while either file has it', async (t) => {
  const fixture = await PoolFixture.create(t, { commitDelayMs: FOREVER });
  const { vfs, pool } = fixture;
  const bytes = pattern(5 * CHUNK + 777);
  const source = await make(vfs, 'source', bytes);
  await pool.commit();
  const before = await pool.parts.meta.statistics();
  const target = await make(vfs, 'target', Buffer.from('what was there'));
  t.equal(await copyAll(vfs, source.handle, 1000, target.handle, 5, bytes.length), bytes.length - 1000);
  const after = await pool.parts.meta.statistics();
  t.equal(after.chunks, before.chunks + 1, 'only the chunk of what was there before is new');
  t.equal(after.chunkBytes, before.chunkBytes + 14);
  const wanted = Buffer.concat([Buffer.from('what '), bytes.subarray(1000)]);
  t.same(await named(vfs, 'target', wanted.length + 10), wanted);
  t.match(await vfs.getattr(target.ino), { sizeBytes: wanted.length });
  await vfs.write(source.handle, 2 * CHUNK, Buffer.from('changed in the source'));
  await vfs.write(target.handle, 3 * CHUNK, Buffer.from('changed in the target'));
  wanted.write('changed in the target', 3 * CHUNK);
  await pool.commit();
  await vfs.release(source.handle);
  await vfs.unlink(ROOT_INO, 'source');
  await pool.commit();
  await pool.parts.collector.run(true);
  t.same(await named(vfs, 'target', wanted.length), wanted);
  await fixture.kill('cache', 'meta');
  t.same(await named(fixture.vfs, 'target', wanted.length), wanted, 'from the disks alone');
});

t.test('a round that fails leaves the target as it was', async (t) => {
  const fixture = await PoolFixture.create(t, { commitDelayMs: FOREVER });
  const { vfs, pool } = fixture;
  const source = await make(vfs, 'source', pattern(3 * CHUNK));
  const target = await make(vfs, 'target', Buffer.from('old'));
  await pool.commit();
  const failing = t.capture(pool.parts.journal, 'request', async () => {
    throw new Error('planted');
  });
  await t.rejects(async () => vfs.copyRange(source.handle, 0, target.handle, 0, 3 * CHUNK), /planted/);
  failing.restore();
  t.same(await named(vfs, 'target', 100), Buffer.from('old'));
  t.equal(await vfs.copyRange(source.handle, 0, target.handle, 0, 3 * CHUNK), 3 * CHUNK);
  t.same(await named(vfs, 'target', 3 * CHUNK + 10), pattern(3 * CHUNK));
});

t.test('as a plain copy of bytes, whatever is staged, committed or a hole', async (t) => {
  const fixture = await PoolFixture.create(t, { commitDelayMs: FOREVER });
  const step = fc.oneof(
    fc.record({
      kind: fc.constant('write' as const),
      file: fc.nat(1),
      at: fc.nat(6 * CHUNK),
      length: fc.nat(2 * CHUNK),
    }),
    fc.record({ kind: fc.constant('resize' as const), file: fc.nat(1), at: fc.nat(8 * CHUNK), length: fc.constant(0) }),
    fc.record({
      kind: fc.constant('commit' as const),
      file: fc.constant(0),
      at: fc.constant(0),
      length: fc.constant(0),
    }),
    fc.record({
      kind: fc.constant('copy' as const),
      file: fc.nat(3),
      at: fc.nat(6 * CHUNK),
      length: fc.nat(5 * CHUNK),
    }),
  );
  let run = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 4, maxLength: 14 }), fc.nat(8 * CHUNK), async (steps, place) => {
      const { vfs, pool } = fixture;
      run += 1;
      const names = [`a${run}`, `b${run}`];
      const files = [await make(vfs, names[0]!, pattern(4 * CHUNK, run)), await make(vfs, names[1]!, Buffer.alloc(0))];
      const models = [pattern(4 * CHUNK, run), Buffer.alloc(0)];
      const put = (file: number, at: number, bytes: Uint8Array): void => {
        if (bytes.length === 0) return;
        const grown = Buffer.alloc(Math.max(models[file]!.length, at + bytes.length));
        models[file]!.copy(grown);
        grown.set(bytes, at);
        models[file] = grown;
      };
      for (const [index, { kind, file, at, length }] of steps.entries()) {
        if (kind === 'commit') await pool.commit();
        else if (kind === 'write') {
          const bytes = pattern(length, index);
          await vfs.write(files[file]!.handle, at, bytes);
          put(file, at, bytes);
        } else if (kind === 'resize') {
          await vfs.setattr(files[file]!.ino, { sizeBytes: at }, CALLER);
          const cut = Buffer.alloc(at);
          models[file]!.copy(cut);
          models[file] = cut;
        } else {
          const [from, to] = [file & 1, file >> 1];
          const bytes = Buffer.from(models[from]!.subarray(at, at + length));
          if (bytes.length === 0) continue;
          if (from === to && at < place + length && place < at + length) continue;
          const copied = await copyAll(vfs, files[from]!.handle, at, files[to]!.handle, place, bytes.length);
          if (copied !== bytes.length) return false;
          put(to, place, bytes);
        }
      }
      for (const file of [0, 1]) {
        const found = await readAll(vfs, files[file]!.handle, 0, models[file]!.length + 100);
        if (Buffer.compare(found, models[file]!) !== 0) return false;
        await vfs.flush(files[file]!.handle);
        await vfs.release(files[file]!.handle);
      }
      if (run % 5 === 0) {
        await fixture.kill();
        for (const file of [0, 1])
          if (Buffer.compare(await named(fixture.vfs, names[file]!, models[file]!.length + 100), models[file]!) !== 0)
            return false;
      }
      return true;
    }),
    { seed, numRuns: 15 },
  );
  t.pass();
});
