/** Whole copies of committed files for the kernel to read by itself: when there is one, what is in it, and how long it stays. */

import { randomBytes } from 'node:crypto';
import { closeSync, constants, fstatSync, openSync, readdirSync, readSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { ROOT_INO } from '../../../src/meta/rows.js';
import type { Pool } from '../../../src/pool/pool.js';
import type { Backing, Caller, Vfs } from '../../../src/vfs/vfs.js';
import { FaultyMachine } from './faulty-machine.js';
import { PoolFixture } from './pool-fixture.js';

const CALLER: Caller = { uid: 1000, gid: 1000, pid: 1 };
const READ = { read: true, write: false };
const RW = { read: true, write: true };
const MIB = 1024 * 1024;

async function make(vfs: Vfs, name: string, parts: readonly (readonly [number, Uint8Array])[]): Promise<number> {
  const { attr, handle } = await vfs.create(ROOT_INO, name, 0o644, RW, CALLER);
  for (const [offset, bytes] of parts) await vfs.write(handle, offset, bytes);
  await vfs.release(handle);
  return attr.ino;
}

/** Opens the file, asks once and closes it: what a face does that finds nothing. */
async function ask(vfs: Vfs, ino: number): Promise<Backing | undefined> {
  const handle = await vfs.open(ino, READ);
  try {
    return vfs.backing!(handle);
  } finally {
    await vfs.release(handle);
  }
}

/** The pool's own timers keep no process alive. */
async function copied({ parts }: Pool): Promise<void> {
  const alive = setInterval(() => {}, 1000);
  await parts.backings.idle();
  clearInterval(alive);
}

/** Opens it twice and, when what was to be copied has been, once more. */
async function backed({ pool, vfs }: PoolFixture, ino: number): Promise<Backing | undefined> {
  for (let i = 0; i < 2; i++) (await ask(vfs, ino))?.release();
  await copied(pool);
  return ask(vfs, ino);
}

function bytesOf({ fd }: Backing): Buffer {
  const bytes = Buffer.alloc(fstatSync(fd).size);
  readSync(fd, bytes, 0, bytes.length, 0);
  return bytes;
}

t.test('a file that is opened again gets a copy: whole, without a name, shared', async (t) => {
  const fixture = await PoolFixture.create(t, { cacheBytes: 64 * MIB });
  const content = randomBytes(5 * MIB + 321);
  const ino = await make(fixture.vfs, 'a', [[0, content]]);
  t.equal(await ask(fixture.vfs, ino), undefined);
  t.equal(await ask(fixture.vfs, ino), undefined, 'not while anything of it is staged');
  await fixture.pool.commit();
  const { account } = fixture.pool.parts;
  const first = (await backed(fixture, ino))!;
  t.ok(bytesOf(first).equals(content));
  t.same(
    readdirSync(join(fixture.directory, 'cache')).filter((name) => name.startsWith('backing')),
    [],
    'nobody finds it by another way, nor does the next start',
  );
  const booked = account.cachedBytes;
  const second = (await ask(fixture.vfs, ino))!;
  t.equal(second.fd, first.fd);
  t.equal(account.cachedBytes, booked, 'one copy');
  first.release();
  second.release();
});

t.test('not of small files, nor of what is being written; holes stay holes', async (t) => {
  const fixture = await PoolFixture.create(t, { cacheBytes: 64 * MIB });
  const { vfs } = fixture;
  const small = await make(vfs, 'small', [[0, randomBytes(64 * 1024)]]);
  const written = await make(vfs, 'written', [[0, randomBytes(200_000)]]);
  const end = randomBytes(100_000);
  const sparse = await make(vfs, 'sparse', [[12 * MIB, end]]);
  await fixture.pool.commit();
  const writer = await vfs.open(written, RW);
  for (let i = 0; i < 3; i++) for (const ino of [small, written]) t.equal(await ask(vfs, ino), undefined);
  const backing = (await backed(fixture, sparse))!;
  const stat = fstatSync(backing.fd);
  t.equal(stat.size, 12 * MIB + end.length);
  t.ok(stat.blocks * 512 < MIB, `${stat.blocks} blocks`);
  t.ok(
    bytesOf(backing)
      .subarray(12 * MIB)
      .equals(end),
  );
  t.ok(
    bytesOf(backing)
      .subarray(0, 12 * MIB)
      .equals(Buffer.alloc(12 * MIB)),
  );
  t.equal(await ask(vfs, small), undefined, 'whatever has been copied meanwhile');
  t.equal(await ask(vfs, written), undefined);
  backing.release();
  await vfs.release(writer);
  const since = await backed(fixture, written);
  t.ok(since, 'when nobody writes any more');
  since?.release();
});

t.test('what has changed since is not given out, and what was given out stays as it was', async (t) => {
  const fixture = await PoolFixture.create(t, { cacheBytes: 64 * MIB });
  const { vfs } = fixture;
  const content = randomBytes(300_000);
  const ino = await make(vfs, 'a', [[0, content]]);
  await fixture.pool.commit();
  const old = (await backed(fixture, ino))!;
  const writer = await vfs.open(ino, RW);
  const changed = Buffer.from(content);
  changed.fill('new', 1000, 2000);
  await vfs.write(writer, 1000, changed.subarray(1000, 2000));
  await vfs.release(writer);
  t.equal(await ask(vfs, ino), undefined, 'staged');
  await fixture.pool.commit();
  t.equal(await ask(vfs, ino), undefined, 'committed, while the old copy is in use');
  t.ok(bytesOf(old).equals(content));
  old.release();
  const now = (await backed(fixture, ino))!;
  t.ok(bytesOf(now).equals(changed));
  now.release();
  await vfs.unlink(ROOT_INO, 'a');
  t.ok(fixture.pool.parts.account.cachedBytes < content.length, 'the copy of a file that is gone takes no room');
});

t.test('room: half of the cache, for those that are opened again sooner; what is used or mapped stays', async (t) => {
  const fixture = await PoolFixture.create(t, { cacheBytes: 8 * MIB });
  const { vfs } = fixture;
  const { account } = fixture.pool.parts;
  const sizes = { a: 1.5 * MIB, b: 1.5 * MIB, c: 1.5 * MIB, large: 4 * MIB + 1 };
  const inos = new Map<string, number>();
  for (const [name, sizeBytes] of Object.entries(sizes)) {
    inos.set(name, await make(vfs, name, [[0, randomBytes(sizeBytes)]]));
    await fixture.pool.commit();
  }
  const of = (name: keyof typeof sizes) => inos.get(name)!;
  /** True if all but so many bytes of the cache can be had for a writer. */
  const canHaveAllBut = (bytes: number) => account.makeRoom(account.limits.capacityBytes - bytes);
  const used = (await backed(fixture, of('a')))!;
  (await backed(fixture, of('b')))!.release();
  t.equal(await backed(fixture, of('large')), undefined, 'more than half of the cache');

  for (let i = 0; i < 4; i++) {
    const b = await ask(vfs, of('b'));
    t.ok(b, 'b and c in turn: b keeps the place');
    b?.release();
    t.equal(await ask(vfs, of('c')), undefined);
    await copied(fixture.pool);
  }
  // As a mapping does that outlives its handle: another open file.
  const again = (await ask(vfs, of('b')))!;
  const mapping = openSync(`/proc/self/fd/${again.fd}`, constants.O_RDONLY);
  again.release();
  for (let i = 0; i < 3; i++) t.equal(await backed(fixture, of('c')), undefined, 'c alone: b is mapped');
  t.equal(canHaveAllBut(2.9 * MIB), false, 'nor does one go for a writer');
  t.equal(canHaveAllBut(3.1 * MIB), true);
  used.release();
  t.equal(canHaveAllBut(1.6 * MIB), true, 'nobody uses a');
  t.equal(canHaveAllBut(1.4 * MIB), false);
  closeSync(mapping);
  t.equal(canHaveAllBut(1.4 * MIB), true, 'nobody has b mapped any more');
  const c = await backed(fixture, of('c'));
  t.ok(c);
  c?.release();
});

t.test('what cannot be read, or is not safe on the device, is not given out, and is tried again', async (t) => {
  const machine = new FaultyMachine();
  const fixture = await PoolFixture.create(t, { cacheBytes: 64 * MIB, machine });
  const content = randomBytes(MIB);
  const ino = await make(fixture.vfs, 'a', [[0, content]]);
  await fixture.pool.commit();
  const { account } = fixture.pool.parts;
  const isSuspect = async () => (await fixture.pool.control.status()).findings.some((line) => /is suspect/.test(line));
  const before = account.cachedBytes;
  await ask(fixture.vfs, ino);
  for (const call of ['write', 'sync'] as const) {
    machine.fail(call, /backing$/, 1, 'NO_SPACE');
    t.equal(await ask(fixture.vfs, ino), undefined);
    await copied(fixture.pool);
    t.equal(account.cachedBytes, before, `${call}: there is no copy`);
  }
  t.equal(await isSuspect(), false, 'a full device is none that fails');
  const whole = (await backed(fixture, ino))!;
  t.ok(bytesOf(whole).equals(content));
  whole.release();
  await fixture.reopen();
  machine.fail('read', /disk[123]/);
  t.equal(await backed(fixture, ino), undefined, 'read');
  machine.heal();
  await fixture.reopen();
  machine.fail('sync', /backing$/, 1);
  t.equal(await backed(fixture, ino), undefined);
  t.equal(await isSuspect(), true, 'a device that fails promises nothing any more');
  machine.heal();
});
