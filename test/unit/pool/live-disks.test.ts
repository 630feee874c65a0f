/** Disks that go, are exchanged and return while the pool is open, and where they are found when it is opened. */
import { randomBytes } from 'node:crypto';
import { cpSync, mkdirSync, readdirSync, readFileSync, readlinkSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { DiskReport } from '../../../src/vfs/reports.js';
import { FaultyMachine } from '../vfs/faulty-machine.js';
import { PoolFixture } from '../vfs/pool-fixture.js';

const KIB = 1024;

/** The pool's own timers do not keep a process alive. */
const alive = setInterval(() => {}, 1000);
t.teardown(() => clearInterval(alive));

async function write(fixture: PoolFixture, path: string, bytes: Uint8Array): Promise<void> {
  const file = await fixture.pool.openFile(path, 'w');
  await file.write(0, bytes);
  await file.close();
  await fixture.pool.commit();
}

async function read(fixture: PoolFixture, path: string): Promise<Buffer> {
  const file = await fixture.pool.openFile(path);
  const bytes = await file.read(0, 1024 * KIB);
  await file.close();
  return bytes;
}

async function disk(fixture: PoolFixture, number: number): Promise<DiskReport> {
  const { disks } = await fixture.pool.control.status();
  return disks.find((one) => one.number === number)!;
}

/** Turns of the watch until the disk is in this state. */
async function until(fixture: PoolFixture, number: number, state: DiskReport['state']): Promise<DiskReport> {
  for (;;) {
    await fixture.pool.parts.watch.look();
    const report = await disk(fixture, number);
    if (report.state === state) return report;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** What is in the directory, by name and content. */
function contents(directory: string): string[] {
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .map((entry) => {
      const path = join(entry.parentPath, entry.name);
      return `${path} ${entry.isFile() ? readFileSync(path).toString('base64') : ''}`;
    })
    .sort();
}

/** Files below the directory that this process has open. */
function openBelow(directory: string): string[] {
  return readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      const path = readlinkSync(`/proc/self/fd/${fd}`);
      return path.startsWith(`${directory}/`) ? [path] : [];
    } catch {
      return []; // Closed meanwhile.
    }
  });
}

async function checkAll(t: Test, fixture: PoolFixture, files: ReadonlyMap<string, Buffer>): Promise<void> {
  for (const [path, bytes] of files) t.ok(bytes.equals(await read(fixture, path)), path);
}

t.test('a disk that vanishes while nobody uses it is noticed, done without, and taken in again', async (t) => {
  const fixture = await PoolFixture.create(t);
  const files = new Map<string, Buffer>();
  const put = async (path: string, bytes: Buffer) => {
    files.set(path, bytes);
    await write(fixture, path, bytes);
  };
  await put('/before', randomBytes(300 * KIB));
  const [, second = ''] = fixture.disks;
  const elsewhere = `${second} is here`;
  renameSync(second, elsewhere);
  mkdirSync(second);
  const gone = await until(fixture, 2, 'offline');
  t.match(gone.reason, /disk2 is not a disk: it has no cairn-disk\.json/);
  await put('/large', randomBytes(500 * KIB));
  await put('/small', randomBytes(3 * KIB));
  await fixture.pool.remove('/before');
  files.delete('/before');
  await fixture.pool.commit();
  await checkAll(t, fixture, files);
  t.same(readdirSync(second), [], 'nothing is written where the disk should be mounted');
  // What holds a file of it open keeps the lost file system alive, and unmounting and mounting it again would give the same dead one.
  while (openBelow(elsewhere).length > 0) await fixture.pool.parts.watch.look();

  const returned: number[] = [];
  fixture.pool.parts.disks.whenReturned(({ identity }) => void returned.push(identity.number));
  rmSync(second, { recursive: true });
  renameSync(elsewhere, second);
  await until(fixture, 2, 'online');
  t.same(returned, [2]);
  t.ok(fixture.lines.some((line) => /disk2 is back and in use again/.test(line)));
  await put('/after', randomBytes(500 * KIB));
  t.equal((await fixture.pool.control.state('/after')).health, 'healthy');
  await checkAll(t, fixture, files);
  await fixture.kill('cache', 'meta');
  await checkAll(t, fixture, files);
  const report = await fixture.pool.control.check({ content: true, repair: false }, () => {});
  t.same(
    report.findings.filter(({ severity }) => severity === 'loss'),
    [],
  );
});

t.test('a disk whose writes fail is read on, and taken in again when it takes writes', async (t) => {
  const machine = new FaultyMachine();
  const fixture = await PoolFixture.create(t, { machine });
  const files = new Map<string, Buffer>();
  const put = async (path: string, bytes: Buffer) => {
    files.set(path, bytes);
    await write(fixture, path, bytes);
  };
  await put('/first', randomBytes(300 * KIB));
  machine.fail('sync', /disk3/);
  await put('/second', randomBytes(300 * KIB));
  await put('/third', randomBytes(2 * KIB));
  t.equal((await disk(fixture, 3)).state, 'suspect');
  await fixture.pool.parts.watch.look();
  t.equal((await disk(fixture, 3)).state, 'suspect', 'it serves reads until it takes writes');
  await checkAll(t, fixture, files);
  const [, , third = ''] = fixture.disks;
  renameSync(third, `${third} away`);
  await until(fixture, 3, 'offline');
  while (openBelow(`${third} away`).length > 0) await fixture.pool.parts.watch.look();
  renameSync(`${third} away`, third);
  machine.heal();
  await until(fixture, 3, 'online');
  await put('/fourth', randomBytes(300 * KIB));
  t.equal((await fixture.pool.control.state('/fourth')).health, 'healthy');
  await checkAll(t, fixture, files);
  await fixture.kill('cache', 'meta');
  await checkAll(t, fixture, files);
});

for (const whenDegraded of ['allow', 'refuse'] as const)
  t.test(`a strong fsync while a disk is away: ${whenDegraded}`, async (t) => {
    const fixture = await PoolFixture.create(t, { mode: 'strong', whenDegraded });
    const file = await fixture.pool.openFile('/a', 'w');
    const sync = async (bytes: Buffer): Promise<void> => {
      await file.write(0, bytes);
      await file.flush();
    };
    await sync(randomBytes(1000));
    const [, second = ''] = fixture.disks;
    renameSync(second, `${second} away`);
    await until(fixture, 2, 'offline');
    for (const size of [2000, 400_000]) {
      const syncing = sync(randomBytes(size));
      if (whenDegraded === 'allow') await syncing;
      else await t.rejects(syncing, { code: 'DISK_FAILED', message: /less redundancy than promised: disk 2 is away/ });
    }
    const status = await fixture.pool.control.status();
    t.equal(status.whenDegraded, whenDegraded);
    // The small chunks have their two copies on the other two disks.
    t.same(status.degradedWrites, { commits: 1, chunks: 3, bytes: 3 * 128 * KIB });
    renameSync(`${second} away`, second);
    await until(fixture, 2, 'online');
    const isWhole = async () => (await fixture.pool.control.status()).degradedWrites.chunks === 0;
    while (!(await isWhole())) await new Promise((resolve) => setTimeout(resolve, 20));
    t.equal(
      (await fixture.pool.control.state('/a')).health,
      'healthy',
      'what has been made whole is not counted any more',
    );
    await sync(randomBytes(3000));
    await file.close();
  });

t.test('what a failed sync left in doubt is written again before the disk counts as online', async (t) => {
  const machine = new FaultyMachine();
  const fixture = await PoolFixture.create(t, { machine });
  await write(fixture, '/first', randomBytes(100 * KIB));
  machine.fail('sync', /disk1\/log\/data/);
  await write(fixture, '/second', randomBytes(300 * KIB));
  machine.heal();
  const written: string[] = [];
  const { io } = machine;
  const open = io.open.bind(io);
  io.open = async (path, options) => {
    const file = await open(path, options);
    const write = file.write.bind(file);
    file.write = (parts, position) => {
      if (/disk1\/log\/data/.test(path)) written.push(`write at ${position}`);
      return write(parts, position);
    };
    return file;
  };
  const ends = fixture.pool.parts.disks.byNumber.get(1)!.logEnds;
  await until(fixture, 1, 'online');
  io.open = open;
  t.equal(written[0], `write at ${ends.data.position}`);
});

t.test('swapped mounts are sorted out by what is on the disks', async (t) => {
  const fixture = await PoolFixture.create(t);
  const files = new Map([['/a', randomBytes(300 * KIB)]]);
  await write(fixture, '/a', files.get('/a')!);
  await fixture.pool.close();
  const [first = '', second = '', third = ''] = fixture.disks;
  const cache = join(fixture.directory, 'cache');
  const swap = (one: string, other: string): void => {
    renameSync(one, `${one}.aside`);
    renameSync(other, one);
    renameSync(`${one}.aside`, other);
  };
  swap(first, second);
  swap(third, cache);
  await fixture.open();
  t.equal((await fixture.pool.control.status()).health, 'healthy');
  t.equal((await disk(fixture, 1)).directory, second);
  t.equal((await disk(fixture, 3)).directory, cache);
  t.ok(fixture.lines.some((line) => /that cairn\.toml lists at .*disk1 was found at .*disk2/.test(line)));
  await checkAll(t, fixture, files);
  swap(first, second);
  const returned = await until(fixture, 1, 'online');
  t.equal(returned.directory, first, 'also while the pool is open');
  await until(fixture, 2, 'online');
  await checkAll(t, fixture, files);
});

t.test('an older copy of a disk in its place, while the pool is open, gets what it lacks', async (t) => {
  const fixture = await PoolFixture.create(t);
  const files = new Map<string, Buffer>();
  const put = async (path: string) => {
    const bytes = randomBytes(300 * KIB);
    files.set(path, bytes);
    await write(fixture, path, bytes);
  };
  await put('/a');
  const [, second = ''] = fixture.disks;
  const older = `${second} then`;
  cpSync(second, older, { recursive: true });
  await put('/a');
  await put('/b');
  renameSync(second, `${second} now`);
  await until(fixture, 2, 'offline');
  renameSync(older, second);
  await until(fixture, 2, 'online');
  t.ok(fixture.lines.some((line) => /older than it was when it went/.test(line)));
  await checkAll(t, fixture, files);
  // Without the walk over the other disks nobody would know.
  for (;;) {
    const { findings } = await fixture.pool.control.check({ content: true, repair: false }, () => {});
    if (findings.every(({ severity }) => severity === 'note')) break;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  await checkAll(t, fixture, files);
});

t.test('a foreign disk and a copy of a disk are named, and not changed', async (t) => {
  const fixture = await PoolFixture.create(t);
  const other = await PoolFixture.create(t);
  await write(fixture, '/a', randomBytes(300 * KIB));
  const bytes = await read(fixture, '/a');
  const [first = '', second = '', third = ''] = fixture.disks;
  await fixture.pool.close();
  await other.pool.close();
  const aside = join(fixture.directory, 'aside');
  renameSync(second, aside);
  cpSync(other.disks[1]!, second, { recursive: true });
  const foreign = contents(second);
  await fixture.open();
  const report = await disk(fixture, 2);
  t.equal(report.state, 'foreign');
  t.match(
    report.reason,
    /disk2 is a disk of another pool, [0-9a-f]{32}: it is not used, and not changed; mount the right/,
  );
  t.ok(bytes.equals(await read(fixture, '/a')));
  await fixture.pool.close();
  t.same(contents(second), foreign);

  rmSync(second, { recursive: true });
  cpSync(third, second, { recursive: true });
  const copies = [contents(second), contents(third)];
  await fixture.open();
  for (const number of [2, 3])
    t.match(
      (await disk(fixture, number)).reason,
      number === 2 ? /disk2 is another disk/ : /disk2 and .*disk3 are copies/,
    );
  await fixture.pool.abandon();
  t.same([contents(second), contents(third)], copies);
  rmSync(second, { recursive: true });
  renameSync(aside, second);
  await fixture.open();

  // A copy that turns up where a disk has gone: the one in use stays in use.
  renameSync(first, aside);
  cpSync(third, first, { recursive: true });
  writeFileSync(join(first, 'cairn-disk.json'), readFileSync(join(third, 'cairn-disk.json')));
  const copy = contents(first);
  const away = await until(fixture, 1, 'offline');
  t.match(away.reason, /another disk is in its place/);
  await fixture.pool.parts.watch.look();
  t.equal((await disk(fixture, 3)).state, 'online');
  t.ok(bytes.equals(await read(fixture, '/a')));
  t.same(contents(first), copy);
});
