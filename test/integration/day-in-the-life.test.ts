/**
 * A day in the life of a pool, on small disks, through the command line: three unequal disks are filled, a fourth is added, one dies while data moves, is replaced,
 * another rots a little, and one is taken out. A reader and a writer are at work all along, and never see an error or a wrong byte. In the end everything is healthy.
 */
import { randomInt } from 'node:crypto';
import { constants, mkdirSync } from 'node:fs';
import { open, readdir, truncate, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { ControlClient } from '../../src/http/control-client.js';
import type { JobReport } from '../../src/vfs/reports.js';
import { contentOf } from './content.js';
import { cannotMount, MountHarness } from './mount-harness.js';
import { SCALE } from './scale.js';

const MIB = 1024 * 1024;
t.setTimeout(300_000 * SCALE.patience);

/** Files with contents that follow from their names; what stands in the table has been written whole. */
class Life {
  readonly files = new Map<string, number>();
  readonly troubles: string[] = [];
  reads = 0;
  writes = 0;
  /** What happens to the pool meanwhile, and how it is then: for whoever reads of a trouble. */
  phase = 'filling';
  describe: () => Promise<string> = async () => '';
  readonly #root: string;
  #isOver = false;
  #work: Promise<unknown> = Promise.resolve();
  #next = 0;

  constructor(root: string) {
    this.#root = root;
  }

  async write(sizeBytes: number): Promise<void> {
    const name = `f${this.#next++}`;
    const file = await open(join(this.#root, name), 'w');
    await file.write(contentOf(name, sizeBytes));
    await file.close();
    this.files.set(name, sizeBytes);
    this.writes++;
  }

  /** Past the kernel's pages: what is read comes from the daemon. */
  async read(name: string): Promise<void> {
    const sizeBytes = this.files.get(name)!;
    const file = await open(join(this.#root, name), constants.O_RDONLY | constants.O_DIRECT);
    try {
      const bytes = Buffer.alloc(sizeBytes);
      for (let at = 0; at < sizeBytes; ) {
        const { bytesRead } = await file.read(bytes, at, Math.min(MIB, sizeBytes - at), at);
        if (bytesRead === 0) break;
        at += bytesRead;
      }
      if (!bytes.equals(contentOf(name, sizeBytes))) this.troubles.push(`${name} has other bytes`);
    } finally {
      await file.close();
    }
    this.reads++;
  }

  begin(): void {
    this.#work = Promise.all([
      this.#repeat(() => this.read([...this.files.keys()][randomInt(this.files.size)]!)),
      this.#repeat(async () => {
        await this.write(randomInt(4) === 0 ? randomInt(1, 60_000) : randomInt(60_000, 400_000));
        if (this.files.size < 90) return;
        // Not one that the reader may just have begun with: the oldest is read, and gone, by name.
        const [oldest = ''] = this.files.keys();
        this.files.delete(oldest);
        await unlink(join(this.#root, oldest));
      }),
    ]);
  }

  async #repeat(step: () => Promise<void>): Promise<void> {
    while (!this.#isOver) {
      try {
        await step();
      } catch (error) {
        // A file that was removed between the choice and the open is none.
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT')
          this.troubles.push(`${this.phase}: ${String(error)} ${await this.describe()}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  async end(): Promise<void> {
    this.#isOver = true;
    await this.#work;
  }
}

/** Flips a byte in every so many, wherever the segments of a disk have data. */
async function rot(disk: string, share: number, shardBytes: number): Promise<number> {
  let flips = 0;
  for (const name of await readdir(join(disk, 'log'))) {
    if (!/^data-\d+\.log$/.test(name)) continue;
    const file = await open(join(disk, 'log', name), 'r+');
    const { size } = await file.stat();
    const byte = Buffer.alloc(1);
    for (let at = randomInt(shardBytes / share); at < size; at += shardBytes / share) {
      await file.read(byte, 0, 1, at);
      byte[0] = byte[0]! ^ 0xff;
      await file.write(byte, 0, 1, at);
      flips++;
    }
    await file.close();
  }
  return flips;
}

async function until<T>(what: string, look: () => Promise<T | undefined>): Promise<T> {
  for (;;) {
    const found = await look();
    if (found !== undefined) return found;
    await new Promise((resolve) => setTimeout(resolve, 50));
    t.comment(what);
  }
}

t.test('a day in the life', { skip: cannotMount() }, async (t: Test) => {
  const harness = await MountHarness.create(t, {
    init: ['--size', '160MiB', '112MiB', '224MiB', '--chunk-size', '256KiB'],
  });
  const { pool, mountpoint, disks } = harness;
  await harness.init();
  // Most reads must come from the disks.
  await harness.configure((toml) => toml.replace(/^# size_bytes.*$/m, 'size_bytes = 8388608'));
  await harness.mount();
  const client = new ControlClient(pool);
  const job = async (): Promise<JobReport> => (await client.jobs()).find(({ name }) => name === 'rebalance')!;
  const life = new Life(mountpoint);
  const { freeBytes } = await harness.status();
  while ([...life.files.values()].reduce((sum, bytes) => sum + bytes, 0) < 0.3 * freeBytes) await life.write(MIB / 2);
  await harness.commit();
  life.describe = async () => {
    const { health, usedBytes, freeBytes: free, disks: reports } = await client.status();
    return JSON.stringify([
      health,
      usedBytes,
      free,
      reports.map((each) => [each.number, each.liveBytes, each.freeBytes]),
    ]);
  };
  life.begin();
  t.teardown(() => life.end());
  const add = (name: string): string => {
    const directory = join(harness.directory, name);
    mkdirSync(directory);
    return directory;
  };

  life.phase = 'adding a disk';
  const fourth = add('disk4');
  t.match(
    await harness.ok('disk', 'add', pool, fourth, '--size', '224MiB'),
    /add: disk 4 \(.*\) joins\n {2}room .*\n {2}protection .*any one disk of 4/,
  );
  await until('waiting for the move to be under way', async () => {
    const { doneBytes, state } = await job();
    return doneBytes > 0 || state === 'done' ? true : undefined;
  });
  t.comment(`${(await job()).state}: disk 1 dies`);
  life.phase = 'a disk has died';
  await harness.pullOut(disks[0]!);
  // What the daemon has open of it is gone too.
  for (const name of await readdir(join(`${disks[0]}.away`, 'log')))
    await truncate(join(`${disks[0]}.away`, 'log', name), 0);
  await until('waiting for its loss to be noticed', async () => {
    const { disks: reports } = await harness.status();
    return reports[0]?.state === 'online' ? undefined : true;
  });
  t.match(await harness.run('disk', 'remove', pool, '2', '--yes'), {
    code: 1,
    stdout: /disk 1 at .* bring disk 1 back, or replace it first/,
  });
  life.phase = 'replacing it';
  const fifth = add('disk5');
  const replaced = await harness.ok('disk', 'replace', pool, '1', fifth, '--size', '224MiB', '--full-speed', '--wait');
  t.match(replaced, /made from the other disks[\s\S]*rebalance: done/);
  t.match(await harness.ok('disk', 'list', pool), /^disk[\s\S]*\n {3}4 {2}data {2}online/);
  t.same(
    (await harness.status()).findings.filter((finding) => /disk1/.test(finding)),
    [],
  );

  life.phase = 'mending what has rotted';
  const flips = await rot(disks[2]!, 0.01, 128 * 1024);
  t.ok(flips > 0, `${flips} bytes of disk 3 are wrong`);
  const repaired = await harness.run('scrub', pool, '--wait', '--full-speed');
  t.equal(repaired.code, 0, `${repaired.stdout}${repaired.stderr}`);

  life.phase = 'removing a disk';
  const removed = await harness.ok('disk', 'remove', pool, '2', '--yes', '--full-speed', '--wait');
  t.match(removed, /remove: disk 2 .* leaves[\s\S]*rebalance: done/);

  await life.end();
  t.same(life.troubles, [], 'no reader and no writer saw an error or a wrong byte');
  t.ok(life.reads > 20 && life.writes > 50, `${life.reads} reads, ${life.writes} writes`);
  await harness.commit();
  const status = await harness.status();
  t.same({ health: status.health, findings: status.findings }, { health: 'healthy', findings: [] });
  t.same(
    status.disks.map(({ number, state }) => [number, state]),
    [
      [3, 'online'],
      [4, 'online'],
      [5, 'online'],
    ],
  );
  await harness.unmount();
  const clean = await harness.run('fsck', '--data', pool);
  t.equal(clean.code, 0, `${clean.stdout}${clean.stderr}`);
  // From the disks alone, without any one of them.
  const putBack = await harness.pullOut(fifth);
  await harness.mount();
  for (const name of life.files.keys()) await life.read(name);
  t.same(life.troubles, []);
  await harness.unmount();
  await putBack();
});
