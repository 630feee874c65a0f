/**
 * Random histories on a disk that loses power or whose process is killed, against a model. A key is `certain` when its state must survive: its last
 * change was covered by a sync. After every start: what is certain is so, whatever is found reads as it was written, and what was seen stays.
 */
import { copyFileSync, existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { loadAddon } from '../../../native/addon.js';
import type { Disk } from '../../../src/disks/disk.js';
import { createDisk } from '../../../src/disks/disk-identity.js';
import { openDisk } from '../../../src/disks/open-disk.js';
import { shardRecordHeader } from '../../../src/disks/record-codec.js';
import { hasCode } from '../../../src/errors/cairn-error.js';
import type { Clock } from '../../../src/io/clock.js';
import { MemoryFileIo, seededRandom } from './memory-file-io.js';
import { BUCKET, bytesOf, chunkName, commitRecord, shardInfo, shardRecord } from './samples.js';

const KIB = 1024;
const POOL = 'aa'.repeat(16);
const KEYS = 30;
const IDENTITY = {
  format: 1,
  pool: POOL,
  uuid: 'bb'.repeat(16),
  number: 1,
  role: 'data',
  capacityBytes: 1024 * KIB,
  dataSegmentBytes: 64 * KIB,
  journalSegmentBytes: 16 * KIB,
} as const;
const { crc32c } = loadAddon();

/** Timers run at the next turn of the event loop: the index is flushed all the time. */
const HASTY: Clock = {
  nowMs: () => 0,
  now: () => ({ sec: 0, nsec: 0 }),
  monotonicMs: () => 0,
  after: (_delay, task) => {
    let live = true;
    setImmediate(() => live && task());
    return {
      cancel: () => {
        live = false;
      },
    };
  },
};

interface Key {
  certain: boolean;
  present: boolean;
  /** Grows with every change begun. */
  version: number;
  busy: boolean;
}

class History {
  readonly #random: () => number;
  readonly #io: MemoryFileIo;
  readonly #directory = mkdtempSync(join(tmpdir(), 'cairn-history-'));
  readonly #keys: Key[] = Array.from({ length: KEYS }, () => ({
    certain: true,
    present: false,
    version: 0,
    busy: false,
  }));
  /** Changes that are done and wait for a sync: by key and version, what it made of the key. */
  #done: { key: Key; version: number; present: boolean }[] = [];
  #commits = new Set<number>();
  #doneCommits: number[] = [];
  #released = 0;
  #slot = 0;
  #next = 1;
  #files = 0;

  constructor(seed: number) {
    this.#random = seededRandom(seed * 104729 + 7);
    this.#io = new MemoryFileIo(this.#random);
  }

  async run(): Promise<void> {
    try {
      await createDisk(this.#io, '/disk', IDENTITY);
      let index = this.#indexPath();
      for (let life = 0; life < 5; life++) index = await this.#life(index);
    } finally {
      rmSync(this.#directory, { recursive: true, force: true });
    }
  }

  #indexPath(): string {
    return join(this.#directory, `index-${this.#files++}.sqlite`);
  }

  async #life(index: string): Promise<string> {
    const disk = await openDisk(this.#io, '/disk', { pool: POOL }, { indexPath: index, clock: HASTY });
    await this.#check(disk);
    const running: Promise<void>[] = [];
    for (let i = 0; i < 60; i++) {
      const one = this.#step(disk).catch((error: unknown) => {
        if (!hasCode(error, 'NO_SPACE', 'DISK_FAILED', 'IO')) throw error;
      });
      running.push(one);
      if (this.#random() < 0.4) await one;
    }
    const ending = this.#random();
    let next = index;
    if (ending < 0.2) {
      await Promise.all(running);
      await disk.close();
      this.#settle(this.#done);
    } else {
      if (ending < 0.8) this.#io.crash();
      else this.#io.kill();
      next = this.#indexPath();
      // The file as it is at this moment; sometimes it is lost, sometimes an old one is all there is.
      if (this.#random() < 0.7)
        for (const suffix of ['', '-wal']) if (existsSync(index + suffix)) copyFileSync(index + suffix, next + suffix);
      await Promise.all(running);
      await disk.close().catch(() => {});
    }
    this.#done = [];
    this.#doneCommits = [];
    for (const key of this.#keys) key.busy = false;
    return next;
  }

  async #step(disk: Disk): Promise<void> {
    const dice = this.#random();
    if (dice < 0.45) return this.#put(disk);
    if (dice < 0.6) return this.#remove(disk);
    if (dice < 0.75) return this.#commit(disk);
    if (dice < 0.85) return this.#sync(disk);
    if (dice < 0.9) return this.#putSlot(disk);
    if (dice < 0.95) {
      const through = Math.max(0, ...this.#commits) - 3;
      this.#released = Math.max(this.#released, through);
      return disk.releaseCommits(through);
    }
    await disk.reclaim(this.#random());
  }

  #pick(): { key: Key; number: number } | undefined {
    const number = Math.floor(this.#random() * KEYS);
    const key = this.#keys[number] as Key;
    return key.busy ? undefined : { key, number: number + 1 };
  }

  async #put(disk: Disk): Promise<void> {
    const picked = this.#pick();
    if (picked === undefined) return;
    const { key, number } = picked;
    const length = number * 200;
    const dice = this.#random();
    const sync = dice < 0.3;
    key.busy = true;
    key.certain = key.certain && key.present;
    const version = ++key.version;
    if (dice > 0.7) {
      const info = shardInfo(number, length);
      const payload = bytesOf(length, number);
      const reservation = await disk.reserve(info);
      const { generation, logSequence, owner } = reservation;
      try {
        await reservation.write([shardRecordHeader(info, generation, logSequence, owner, payload, crc32c), payload]);
        disk.publish(reservation);
      } catch (error) {
        disk.abandon(reservation, error);
        throw error;
      }
    } else {
      await disk.append(this.#random() < 0.3 ? 'journal' : 'data', [shardRecord(number, length)], { sync });
    }
    key.busy = false;
    if (sync) Object.assign(key, { certain: true, present: true });
    else if (!key.certain) this.#done.push({ key, version, present: true });
  }

  async #remove(disk: Disk): Promise<void> {
    const picked = this.#pick();
    if (picked === undefined) return;
    const { key, number } = picked;
    key.busy = true;
    key.certain = key.certain && !key.present;
    const version = ++key.version;
    await disk.remove(shardInfo(number, number * 200));
    if (disk.find(BUCKET, chunkName(number)).length > 0) throw new Error(`shard ${number} is there after its removal`);
    key.busy = false;
    if (!key.certain) this.#done.push({ key, version, present: false });
  }

  async #commit(disk: Disk): Promise<void> {
    const sequence = this.#next++;
    const sync = this.#random() < 0.6;
    await disk.append('journal', [commitRecord(sequence)], { sync });
    if (sync) this.#commits.add(sequence);
    else this.#doneCommits.push(sequence);
  }

  async #sync(disk: Disk): Promise<void> {
    const [done, commits] = [this.#done, this.#doneCommits];
    this.#done = [];
    this.#doneCommits = [];
    await disk.sync();
    for (const { key, version, present } of done)
      if (key.version === version) Object.assign(key, { certain: true, present });
    for (const sequence of commits) this.#commits.add(sequence);
  }

  #settle(done: readonly { key: Key; version: number; present: boolean }[]): void {
    for (const { key, version, present } of done) {
      if (key.version === version) Object.assign(key, { certain: true, present });
    }
  }

  async #putSlot(disk: Disk): Promise<void> {
    const version = this.#next++;
    const sync = this.#random() < 0.6;
    await disk.append(
      'journal',
      [{ kind: 'slot', bucket: BUCKET, path: '/root', version, payload: [bytesOf(50, version)] }],
      { sync },
    );
    if (sync) this.#slot = Math.max(this.#slot, version);
  }

  async #check(disk: Disk): Promise<void> {
    let live = 0;
    for (const [i, key] of this.#keys.entries()) {
      const [entry] = disk.find(BUCKET, chunkName(i + 1));
      if (key.certain && key.present !== (entry !== undefined)) {
        throw new Error(`shard ${i + 1} ${key.present ? 'is lost' : 'has come back'}\n${disk.openReport.join('\n')}`);
      }
      key.certain = true;
      key.present = entry !== undefined;
      if (entry === undefined) continue;
      live += entry.recordBytes;
      if (!bytesOf(entry.shardBytes, i + 1).equals(await disk.readShard(entry, 0, entry.shardBytes)))
        throw new Error(`shard ${i + 1} is wrong`);
    }
    if (disk.bucketBytes(BUCKET) !== live)
      throw new Error(`${disk.bucketBytes(BUCKET)} bytes are counted, ${live} are there`);
    if (disk.walk(undefined, 1000).length !== this.#keys.filter(({ present }) => present).length)
      throw new Error('walk disagrees with find');
    const found = disk.commits(this.#released);
    for (const sequence of this.#commits) {
      if (sequence > this.#released && !found.some((entry) => entry.sequence === sequence))
        throw new Error(`commit ${sequence} is lost`);
    }
    for (const entry of found) {
      if ((await disk.readCommit(entry)).toString() !== `commit ${entry.sequence}`)
        throw new Error(`commit ${entry.sequence} is wrong`);
      this.#commits.add(entry.sequence);
    }
    const slot = await disk.getSlot(BUCKET, '/root');
    if ((slot?.version ?? 0) < this.#slot) throw new Error(`slot version ${this.#slot} is lost`);
    if (slot !== undefined && !bytesOf(50, slot.version).equals(slot.bytes)) throw new Error('the slot is wrong');
    this.#slot = slot?.version ?? 0; // Seen once, it stays.
  }
}

/** Histories that have found something: a power cut between a record that took another's place, of which the index knows, and the tombstone of the other one. */
const KNOWN = [344478];
const start = Number(process.env['SEED'] ?? Date.now() % 1_000_000);
const runs = Number(process.env['RUNS'] ?? (process.env['SEED'] === undefined ? 40 : 1));

t.test('no history loses what was synced or shows what was removed', async (t) => {
  for (const seed of [...KNOWN, ...Array.from({ length: runs }, (_, i) => start + i)]) {
    try {
      await new History(seed).run();
    } catch (error) {
      t.fail(`SEED=${seed}: ${error instanceof Error ? error.stack : String(error)}`);
    }
  }
  t.pass(`${runs} histories from SEED=${start}`);
});
