/** What the forecast says is lost with a disk, or with the cache, is exactly what cannot be read without it, whatever came before. */
import { createHash } from 'node:crypto';
import { renameSync } from 'node:fs';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import t, { type Test } from 'tap';
import { hasCode } from '../../../src/errors/cairn-error.js';
import { LossCensus } from '../../../src/forecast/loss-census.js';
import type { Pool } from '../../../src/pool/pool.js';
import type { DiskLoss, LossForecast, LostFile } from '../../../src/vfs/reports.js';
import { MemoryMetaStore } from '../../conformance/memory-meta-store.js';
import { SeededRandom } from '../../sim/seeded-random.js';
import { ManualClock } from '../cache/manual-clock.js';
import { PoolFixture } from '../vfs/pool-fixture.js';

const KIB = 1024;
const SEED = Number(process.env['SEED'] ?? Math.floor(Math.random() * 2 ** 31));
const FILES_MAX = 10_000;
const alive = setInterval(() => {}, 1000);
t.teardown(() => clearInterval(alive));

/** Bytes of every committed file that cannot be read, by path, and of the chunks that files name. */
interface Truth {
  readonly files: readonly LostFile[];
  readonly chunks: number;
  readonly bytes: number;
}

class History {
  readonly #t: Test;
  readonly #fixture: PoolFixture;
  readonly #random: SeededRandom;
  readonly names = new Set<string>();
  #writes = 0;
  away: number | undefined;
  /** Bytes staged since the last commit, by path. */
  readonly staged = new Map<string, number>();

  constructor(t: Test, fixture: PoolFixture, random: SeededRandom) {
    this.#t = t;
    this.#fixture = fixture;
    this.#random = random;
  }

  get pool(): Pool {
    return this.#fixture.pool;
  }

  content(length: number): Buffer {
    const seed = createHash('sha256')
      .update(`${SEED}/${this.#writes++}`)
      .digest();
    return Buffer.alloc(length, seed);
  }

  async write(): Promise<void> {
    const path = `/f${this.#random.below(12)}`;
    const isLarge = this.#random.chance(0.6);
    const length = isLarge ? 70 * KIB + this.#random.below(400 * KIB) : 1 + this.#random.below(60 * KIB);
    const file = await this.pool.openFile(path, 'w');
    await file.write(0, this.content(length));
    await file.close();
    this.names.add(path);
    this.staged.set(path, length);
  }

  /** The same bytes as another file: chunks that are there already. */
  async copy(): Promise<void> {
    const [from] = this.names;
    if (from === undefined) return;
    const source = await this.pool.openFile(from);
    const bytes = await source.read(0, 1024 * KIB).catch((error: unknown) => {
      if (hasCode(error, 'UNREADABLE', 'IO')) return Buffer.alloc(10);
      throw error;
    });
    await source.close();
    const path = `/copy${this.#random.below(4)}`;
    const file = await this.pool.openFile(path, 'w');
    await file.write(0, bytes);
    await file.close();
    this.names.add(path);
    this.staged.set(path, bytes.length);
  }

  async remove(): Promise<void> {
    const path = [...this.names][this.#random.below(this.names.size)];
    if (path === undefined) return;
    await this.pool.remove(path);
    this.names.delete(path);
    this.staged.delete(path);
  }

  async commit(): Promise<void> {
    await this.pool.commit();
    this.staged.clear();
  }

  async toggle(): Promise<void> {
    const number = this.away ?? 1 + this.#random.below(3);
    const directory = this.#fixture.disks[number - 1]!;
    const [from, to, state] =
      this.away === undefined
        ? [directory, `${directory} away`, 'offline']
        : [`${directory} away`, directory, 'online'];
    renameSync(from, to);
    for (;;) {
      await this.pool.parts.watch.look();
      const { disks } = await this.pool.control.status();
      if (disks.find((disk) => disk.number === number)?.state === state) break;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    this.away = this.away === undefined ? number : undefined;
  }

  /** As the read path finds it. */
  async truth(without: number): Promise<Truth> {
    const { meta, disks } = this.pool.parts;
    const there = disks.byNumber.get(without);
    const before = await this.unreadable();
    disks.byNumber.set(without, undefined);
    const lost = await this.unreadable();
    disks.byNumber.set(without, there);
    for (const chunk of before.keys()) lost.delete(chunk);
    const files: LostFile[] = [];
    for (const path of this.names) {
      const { ino } = await this.pool.stat(path);
      const size = (await meta.getInode(ino))?.sizeBytes ?? 0;
      let bytes = 0;
      for (const { chunk, offset, length } of await meta.listExtents(ino, 0, size, 1000))
        if (lost.has(chunk)) bytes += Math.min(length, size - offset);
      if (bytes > 0) files.push({ path, bytes });
    }
    files.sort((a, b) => (a.path < b.path ? -1 : 1));
    return { files, chunks: lost.size, bytes: [...lost.values()].reduce((sum, bytes) => sum + bytes, 0) };
  }

  /** Plain bytes of the chunks that files name and that cannot be read as it is. */
  async unreadable(): Promise<Map<string, number>> {
    const { meta, chunks } = this.pool.parts;
    const lost = new Map<string, number>();
    for (const { chunk, chunkBytes, references } of await meta.listChunks('', 10_000)) {
      if (references === 0) continue;
      await chunks.read(chunk, chunkBytes, 0, chunkBytes).catch((error: unknown) => {
        if (!hasCode(error, 'UNREADABLE')) throw error;
        lost.set(chunk, chunkBytes);
      });
    }
    return lost;
  }

  async check(when: string): Promise<void> {
    for (;;) {
      const { disks, counted } = await this.#forecast();
      const truths = new Map<number, Truth>();
      for (const { role, number } of disks) if (role !== 'cache') truths.set(number, await this.truth(number));
      // What repair healed in between is in one of the two only.
      if (!isDeepStrictEqual((await this.#forecast()).disks, disks)) continue;
      this.#t.equal(counted, 1);
      for (const loss of disks) {
        if (loss.role === 'cache') this.#checkCache(loss, when);
        else {
          const { files, chunks, bytes } = loss;
          this.#t.same({ files, chunks, bytes }, truths.get(loss.number), `${when}: disk ${loss.number}`);
        }
      }
      return;
    }
  }

  #forecast(): Promise<LossForecast> {
    return this.pool.control.forecast({ files: FILES_MAX });
  }

  #checkCache({ bytes, files }: DiskLoss, when: string): void {
    const lost = [...this.staged].map(([path, length]) => ({ path, bytes: length }));
    lost.sort((a, b) => (a.path < b.path ? -1 : 1));
    this.#t.same(
      files.filter((file) => file.bytes > 0),
      lost,
      `${when}: the cache`,
    );
    this.#t.equal(
      bytes,
      lost.reduce((sum, file) => sum + file.bytes, 0),
    );
  }
}

t.comment(`SEED=${SEED}`);
for (let history = 0; history < 2; history++)
  t.test(`history ${history} of seed ${SEED}`, async (t) => {
    const random = new SeededRandom(SEED + history);
    const fixture = await PoolFixture.create(t, { commitDelayMs: 86_400_000 });
    const run = new History(t, fixture, random);
    for (let step = 0; step < 20; step++) {
      const dice = random.below(100);
      if (dice < 40) await run.write();
      else if (dice < 50) await run.copy();
      else if (dice < 60) await run.remove();
      else if (dice < 80) await run.commit();
      else if (dice < 92) await run.toggle();
      else await run.pool.collect();
      if (step % 4 === 3) await run.check(`step ${step}`);
    }
    await run.check('at the end');
    await t.test('and what really is gone with a disk', async (t) => {
      await run.commit();
      const victim = run.away === undefined ? 1 : 1 + (run.away % 3);
      // Nothing is healed between the forecast and the loss.
      await run.pool.parts.jobs.close();
      const before = await run.unreadable();
      const { disks } = await run.pool.control.forecast({ disk: String(victim), files: FILES_MAX });
      const extents = new Map<string, { offset: number; length: number }[]>();
      for (const path of run.names) {
        const { ino, sizeBytes } = await run.pool.stat(path);
        extents.set(
          path,
          (await run.pool.parts.meta.listExtents(ino, 0, sizeBytes, 1000))
            .filter(({ chunk }) => !before.has(chunk))
            .map(({ offset, length }) => ({ offset, length: Math.min(length, sizeBytes - offset) })),
        );
      }
      await run.pool.close();
      renameSync(fixture.disks[victim - 1]!, join(fixture.directory, 'dead'));
      renameSync(join(fixture.directory, 'cache'), join(fixture.directory, 'cache that is gone'));
      await fixture.open();
      const lost: LostFile[] = [];
      for (const [path, ranges] of extents) {
        const file = await run.pool.openFile(path);
        let bytes = 0;
        for (const { offset, length } of ranges)
          await file.read(offset, length).catch((error: unknown) => {
            if (!hasCode(error, 'UNREADABLE', 'IO')) throw error;
            bytes += length;
          });
        await file.close();
        if (bytes > 0) lost.push({ path, bytes });
      }
      lost.sort((a, b) => (a.path < b.path ? -1 : 1));
      t.same(disks[0]?.files, lost);
    });
  });

t.test('nobody is woken while nothing changes, and what failed to be looked at is looked at again', async (t) => {
  const clock = new ManualClock();
  const asked: string[] = [];
  let fails = true;
  const meta = Object.assign(new MemoryMetaStore(), {
    getChunk: async (chunk: string) => {
      asked.push(chunk);
      if (fails) throw new Error('not at the moment');
      return undefined;
    },
  });
  const log: string[] = [];
  const census = new LossCensus({
    meta,
    disks: new Map(),
    allOnline: () => true,
    clock,
    log: (message) => log.push(message),
  });
  t.teardown(() => census.close());
  const settled = async (isOver: () => boolean): Promise<void> => {
    while (!isOver()) {
      clock.advance(1_000);
      await new Promise(setImmediate);
    }
  };
  const isQuiet = (): boolean => clock.waiting === 0;
  census.restart();
  t.ok(isQuiet(), 'not before it is begun');
  census.start();
  let counted = 0;
  while (counted < 1 || !isQuiet()) {
    clock.advance(1_000);
    for (let turn = 0; turn < 10; turn++) await new Promise(setImmediate);
    counted = await census.counted();
  }
  census.shardChanged('aa', 'gone');
  t.equal(clock.waiting, 1);
  await settled(() => log.length > 0 && clock.waiting === 1);
  t.match(log, [/tried again/]);
  fails = false;
  const before = asked.length;
  await settled(() => asked.length > before && isQuiet());
  t.equal(asked.at(-1), 'aa');
  census.shardChanged('bb', 'put');
  census.committed([{ kind: 'chunk-delete', chunk: 'cc' }]);
  t.ok(isQuiet(), 'a shard more makes nothing worse, nor does a commit where nothing hangs on a single disk');
});

t.test('what hangs on one disk is counted while it changes, and nothing where nothing does', async (t) => {
  const fixture = await PoolFixture.create(t, { commitDelayMs: 86_400_000 });
  const { pool } = fixture;
  const write = async (path: string, bytes: Buffer) => {
    const file = await pool.openFile(path, 'w');
    await file.write(0, bytes);
    await file.close();
  };
  await write('/a', Buffer.alloc(300 * KIB, 'a'));
  const staged = await pool.control.forecast({ disk: 'cache', files: 10 });
  t.match(staged.disks, [{ role: 'cache', bytes: 300 * KIB, moreFiles: 0 }]);
  t.same(
    staged.disks[0]?.files.filter(({ bytes }) => bytes > 0),
    [{ path: '/a', bytes: 300 * KIB }],
  );
  const committing = pool.commit();
  while (pool.parts.staged.sealing.size === 0) await new Promise(setImmediate);
  t.equal((await pool.control.forecast({ disk: 'cache', files: 0 })).disks[0]?.bytes, 300 * KIB, 'in flight');
  await committing;
  const safe = await pool.control.forecast({ files: 10 });
  t.ok(safe.disks.every(({ bytes, chunks }) => bytes === 0 && chunks === 0));
  t.equal((await pool.control.status()).forecast.counted, 1);
  await t.rejects(pool.control.forecast({ disk: '7', files: 0 }), {
    code: 'NOT_FOUND',
    message: 'the pool has no disk 7',
  });
});
