/** Disks that are added to an open pool, replaced and taken out of it: what is asked, what is refused, where the data is then, and that a crash in between is none. */
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { createDisk, readIdentity } from '../../../src/disks/disk-identity.js';
import { NodeFileIo } from '../../../src/io/node-file-io.js';
import { loadConfig, saveConfig } from '../../../src/pool/config.js';
import { checkOffline } from '../../../src/pool/offline-check.js';
import { Pool } from '../../../src/pool/pool.js';
import type { JobReport } from '../../../src/vfs/reports.js';

const KIB = 1024;
const MIB = 1024 * KIB;

/** The pool's own timers do not keep a process alive. */
const alive = setInterval(() => {}, 1000);
t.teardown(() => clearInterval(alive));

t.setTimeout(120_000);

const io = new NodeFileIo();
const FAST = { fullSpeed: true };

class Elastic {
  readonly files = new Map<string, Buffer>();
  pool!: Pool;

  private constructor(
    readonly t: Test,
    readonly root: string,
  ) {}

  static async make(t: Test, sizes: readonly number[], chunkBytes = 128 * KIB): Promise<Elastic> {
    const elastic = new Elastic(t, t.testdir());
    const disks = sizes.map((_, i) => elastic.directory(`disk${i + 1}`));
    await Pool.init(join(elastic.root, 'pool'), {
      disks,
      cache: elastic.directory('cache'),
      bucketBytes: MIB,
      chunkBytes,
      sizes: new Map(disks.map((disk, i) => [disk, sizes[i]!])),
    });
    await elastic.open();
    t.teardown(() => elastic.pool.close());
    return elastic;
  }

  async open(): Promise<void> {
    this.pool = await Pool.open(join(this.root, 'pool'));
  }

  directory(name: string): string {
    const path = join(this.root, name);
    mkdirSync(path, { recursive: true });
    return path;
  }

  /** Files of random bytes until so much is used. */
  async fill(bytes: number, fileBytes = MIB): Promise<void> {
    for (let left = bytes, i = this.files.size; left > 0; left -= fileBytes, i++) {
      const content = randomBytes(Math.min(left, fileBytes));
      this.files.set(`/f${i}`, content);
      const file = await this.pool.openFile(`/f${i}`, 'w');
      await file.write(0, content);
      await file.close();
      if (i % 16 === 15) await this.pool.commit();
    }
    await this.pool.commit();
  }

  async verify(what: string): Promise<void> {
    for (const [path, content] of this.files) {
      const file = await this.pool.openFile(path);
      const bytes = await file.read(0, content.length + 1);
      await file.close();
      if (!content.equals(bytes)) this.t.fail(`${what}: ${path}`);
    }
    this.t.pass(`${what}: ${this.files.size} files`);
  }

  get job(): JobReport {
    return this.pool.control.jobs.list().find(({ name }) => name === 'rebalance')!;
  }

  async moved(): Promise<JobReport> {
    for (;;) {
      const { job } = this;
      if (job.state === 'done' || job.state === 'failed' || job.state === 'idle') return job;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }

  async live(): Promise<Map<number, number>> {
    const { disks } = await this.pool.control.status();
    return new Map(disks.map(({ number, liveBytes }) => [number, liveBytes]));
  }

  async reopen(): Promise<void> {
    await this.pool.close();
    await this.open();
  }

  async isClean(): Promise<void> {
    await this.pool.close();
    const report = await checkOffline(join(this.root, 'pool'), { content: true, repair: false });
    this.t.same(report.findings, [], 'fsck finds nothing');
    await this.open();
  }
}

t.test(
  'a fourth disk like three full ones: within 2 % of even, having moved no more than 1.1 times what that takes',
  async (t) => {
    const elastic = await Elastic.make(t, [64 * MIB, 64 * MIB, 64 * MIB]);
    await elastic.fill(0.93 * (await elastic.pool.control.status()).freeBytes, 2 * MIB);
    const before = await elastic.live();
    const fourth = elastic.directory('disk4');
    const plan = await elastic.pool.control.disks.plan({ action: 'add', directories: [fourth], sizeBytes: 64 * MIB });
    t.same(plan.refusals, []);
    t.equal(plan.needsConsent, false);
    await elastic.pool.control.disks.change(
      { action: 'add', directories: [fourth], sizeBytes: 64 * MIB },
      { fullSpeed: true },
    );
    const job = await elastic.moved();
    t.equal(job.state, 'done', job.line);
    const after = await elastic.live();
    const even = [...before.values()].reduce((sum, each) => sum + each, 0) / 4;
    for (const [number, bytes] of after)
      if (number > 0) t.ok(Math.abs(bytes / even - 1) < 0.02, `disk ${number}: ${(bytes / even - 1) * 100} %`);
    const { writtenBytes } = job.report as { writtenBytes: number };
    t.ok(writtenBytes <= 1.1 * even, `moved ${writtenBytes / even} of the least`);
    t.ok(Math.abs(plan.moveBytes / writtenBytes - 1) < 0.05, 'as planned');
    await elastic.verify('after');
    const status = await elastic.pool.control.status();
    t.equal(status.health, 'healthy', status.findings.join());
    t.ok(status.usableBytes > 1.2 * plan.usableBytesBefore);
    await elastic.isClean();
    t.equal((await elastic.pool.control.status()).disks.length, 4);
    await elastic.verify('opened again');
  },
);

t.test(
  'a disk is replaced and another removed while files come and go; then all is as if it had always been so',
  async (t) => {
    const elastic = await Elastic.make(t, [48 * MIB, 32 * MIB, 40 * MIB, 48 * MIB]);
    await elastic.fill(24 * MIB);
    const { disks } = elastic.pool.control;
    const fifth = elastic.directory('disk5');
    await disks.change({ action: 'replace', disk: '2', directory: fifth, sizeBytes: 40 * MIB }, FAST);
    await elastic.fill(4 * MIB, 30 * KIB);
    t.equal((await elastic.moved()).state, 'done', elastic.job.line);
    let config = await loadConfig(io, join(elastic.root, 'pool'));
    t.same(
      config.disks.map(({ number }) => number),
      [1, 3, 4, 5],
    );
    t.equal((await elastic.pool.control.status()).health, 'healthy');
    t.ok(existsSync(join(elastic.root, 'disk2', 'cairn-disk.json')), 'what was there is left as it is');
    await t.rejects(disks.change({ action: 'add', directories: [join(elastic.root, 'disk2')] }), { code: 'EXISTS' });

    const plan = await disks.plan({ action: 'remove', disk: fifth });
    t.equal(plan.needsConsent, true);
    t.same(plan.refusals, []);
    await disks.change({ action: 'remove', disk: fifth }, FAST);
    await elastic.fill(2 * MIB, 200 * KIB);
    t.equal((await elastic.moved()).state, 'done', elastic.job.line);
    config = await loadConfig(io, join(elastic.root, 'pool'));
    t.same(
      config.disks.map(({ number }) => number),
      [1, 3, 4],
    );
    await elastic.verify('after');
    await elastic.isClean();
    await elastic.verify('opened again');
    // Without any one of them.
    await elastic.pool.close();
    renameSync(join(elastic.root, 'disk3'), join(elastic.root, 'gone'));
    await elastic.open();
    await elastic.verify('without disk 3');
  },
);

/** One shard of a chunk of which no commit has come, as an interrupted one leaves it. */
async function leaveFragment({ parts }: Pool): Promise<void> {
  const disk = parts.disks.byNumber.get(1)!;
  const like = disk.walk(undefined, 64).find(({ scheme }) => scheme.erasure)!;
  const { bucket, shard, scheme, chunkBytes, compression, shardBytes } = like;
  const info = { bucket, shard, scheme, chunkBytes, compression, shardBytes, chunk: randomBytes(32).toString('hex') };
  await disk.append('data', [{ kind: 'shard', info, payload: [randomBytes(shardBytes)] }], { sync: true });
}

t.test('a dead disk is replaced where it was mounted: what it had is made from the others', async (t) => {
  const elastic = await Elastic.make(t, [40 * MIB, 40 * MIB, 40 * MIB]);
  await elastic.fill(20 * MIB);
  await leaveFragment(elastic.pool);
  await elastic.pool.close();
  renameSync(join(elastic.root, 'disk2'), join(elastic.root, 'dead'));
  await elastic.open();
  const { disks } = elastic.pool.control;
  const successor = elastic.directory('disk2');
  const refused = await disks.plan({ action: 'remove', disk: '1' });
  t.match(
    refused.refusals.map(({ reason }) => reason),
    [/disk 2 at .* is missing/],
  );
  const plan = await disks.change({ action: 'replace', disk: '2', directory: successor, sizeBytes: 40 * MIB });
  t.match(plan.notes, [/made from the other disks/, /read and written all along/, /must stay listed/]);
  t.ok(plan.readBytes > 1.9 * plan.moveBytes);
  // In the middle of it the pool is closed, and goes on when it is opened.
  await elastic.reopen();
  t.equal((await elastic.moved()).state, 'done', elastic.job.line);
  await elastic.verify('after');
  await elastic.isClean();
  t.equal((await elastic.pool.control.status()).health, 'healthy');
});

t.test('what would lose something is refused, with what would make it possible', async (t) => {
  const elastic = await Elastic.make(t, [32 * MIB, 32 * MIB, 32 * MIB]);
  const { disks } = elastic.pool.control;
  await elastic.fill(34 * MIB);
  const { refusals } = await disks.plan({ action: 'remove', disk: '3' });
  t.match(refusals, [
    { reason: /holds 3\d.* MiB, and afterwards would have room for 32 MiB/, remedy: /delete .* add room/ },
  ]);
  await t.rejects(disks.change({ action: 'remove', disk: '3' }), { code: 'CONFIG', hint: /delete/ });
  await t.rejects(disks.plan({ action: 'remove', disk: '7' }), { code: 'NOT_FOUND', hint: /cairn disk list/ });
  await t.rejects(disks.plan({ action: 'add', directories: [join(elastic.root, 'nowhere')] }), { code: 'NOT_FOUND' });
  await t.rejects(disks.plan({ action: 'add', directories: [join(elastic.root, 'disk1')] }), { code: 'EXISTS' });
  await t.rejects(disks.plan({ action: 'add', directories: [elastic.root] }), { code: 'NOT_EMPTY' });
  const small = elastic.directory('small');
  await t.rejects(disks.plan({ action: 'add', directories: [small], sizeBytes: MIB - 1 }), {
    code: 'CONFIG',
    message: /smaller than a bucket/,
  });
  await t.rejects(disks.plan({ action: 'add', directories: [small, small] }), { code: 'INVALID' });
  const two = await Elastic.make(t, [32 * MIB, 32 * MIB]);
  const alone = await two.pool.control.disks.plan({ action: 'remove', disk: '2' });
  t.match(alone.refusals, [
    { reason: /would survive no loss of a disk, and now survives 1/, remedy: /add a disk first/ },
  ]);
});

t.test(
  'a change that was interrupted goes on: with a disk that is listed and not in the map, and with an identity alone',
  async (t) => {
    const elastic = await Elastic.make(t, [32 * MIB, 32 * MIB, 32 * MIB]);
    await elastic.fill(12 * MIB);
    await elastic.pool.close();
    const place = join(elastic.root, 'pool');
    const config = await loadConfig(io, place);
    const fourth = elastic.directory('disk4');
    const uuid = 'd'.repeat(32);
    const first = await readIdentity(io, join(elastic.root, 'disk1'));
    await createDisk(io, fourth, { ...first, uuid, number: 4 });
    const fifth = elastic.directory('disk5');
    await createDisk(io, fifth, { ...first, uuid: 'e'.repeat(32), number: 5 });
    await saveConfig(io, place, {
      ...config,
      disks: [...config.disks, { directory: fourth, uuid, role: 'data', number: 4 }],
    });
    await elastic.open();
    t.equal(elastic.pool.parts.map.version, 1);
    await elastic.fill(2 * MIB);
    t.equal((await elastic.pool.control.status()).health, 'healthy');
    await elastic.pool.control.disks.change({ action: 'add', directories: [fourth, fifth] }, FAST);
    t.equal((await elastic.moved()).state, 'done', elastic.job.line);
    t.ok((await elastic.live()).get(4)! > MIB);
    t.ok((await elastic.live()).get(5)! > MIB);
    await elastic.isClean();
    await elastic.verify('after');
  },
);

t.test('the newest map counts that names only listed disks; a disk that lacks it is given it', async (t) => {
  const elastic = await Elastic.make(t, [32 * MIB, 32 * MIB, 32 * MIB]);
  await elastic.fill(4 * MIB);
  await elastic.pool.control.disks.change({
    action: 'add',
    directories: [elastic.directory('disk4')],
    sizeBytes: 32 * MIB,
  });
  t.equal((await elastic.moved()).state, 'done');
  await elastic.pool.close();
  const map = (number: number): Buffer => readFileSync(join(elastic.root, `disk${number}`, 'map'));
  const newest = map(1);
  t.ok([2, 3, 4].every((number) => map(number).equals(newest)));
  const place = join(elastic.root, 'pool');
  const config = await loadConfig(io, place);
  // Disk 4 is not listed any more, as in a cairn.toml from before.
  await saveConfig(io, place, { ...config, disks: config.disks.slice(0, 3) });
  await elastic.open();
  t.equal(elastic.pool.parts.map.version, 2, 'there is no other map: it is used, and disk 4 is missed');
  await elastic.verify('with one disk unlisted');
  await elastic.pool.close();
  await saveConfig(io, place, config);
  await elastic.open();
});
