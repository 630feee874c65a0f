/** A small pool in order, and ways to damage it. */
import { randomBytes } from 'node:crypto';
import { closeSync, existsSync, openSync, readdirSync, readSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import type { Test } from 'tap';
import type { Disk } from '../../../src/disks/disk.js';
import type { RecordLocation, ShardEntry } from '../../../src/disks/record.js';
import { hasCode } from '../../../src/errors/cairn-error.js';
import { checkPool } from '../../../src/fsck/check-pool.js';
import type { CheckOptions } from '../../../src/fsck/checked-pool.js';
import type { CheckReport } from '../../../src/vfs/reports.js';
import { PoolFixture } from '../vfs/pool-fixture.js';

const KIB = 1024;

export interface Filled {
  readonly fixture: PoolFixture;
  /** What is in the files. */
  readonly files: ReadonlyMap<string, Buffer>;
}

export interface Plant {
  readonly what: string;
  readonly plant: (pool: Filled) => Promise<void> | void;
  /** What a check finds. */
  readonly codes: readonly string[];
  /** The files that the first finding names. */
  readonly files?: readonly string[];
  /** What is left after a repair. */
  readonly left?: readonly string[];
  readonly options?: CheckOptions;
}

/** Committed: a small file, one of one chunk, one of several, an empty one, three directories. */
export async function filled(t: Test): Promise<Filled> {
  const fixture = await PoolFixture.create(t);
  const files = new Map<string, Buffer>();
  await fixture.pool.makeDirectory('/photos');
  await fixture.pool.makeDirectory('/photos/2026');
  for (const [name, bytes] of [
    ['/small.txt', 3 * KIB],
    ['/photos/medium', 70 * KIB],
    ['/photos/2026/large', 700 * KIB],
    ['/photos/2026/empty', 0],
  ] as const) {
    const content = randomBytes(bytes);
    files.set(name, content);
    await write(fixture, name, content);
  }
  await fixture.pool.commit();
  return { fixture, files };
}

export async function write({ pool }: PoolFixture, name: string, content: Buffer): Promise<void> {
  const file = await pool.openFile(name, 'w');
  if (content.length > 0) await file.write(0, content);
  await file.close();
}

export async function read({ pool }: PoolFixture, name: string): Promise<Buffer> {
  const file = await pool.openFile(name);
  const bytes = await file.read(0, 1024 * KIB);
  await file.close();
  return bytes;
}

export async function check({ pool }: PoolFixture, options: CheckOptions = {}): Promise<CheckReport> {
  // Nobody else mends meanwhile what a check is to find.
  await pool.parts.repair.close();
  return checkPool(pool.parts, options);
}

export const codes = ({ findings }: CheckReport): string[] => findings.map(({ code }) => code);

export const inodeOf = async ({ fixture }: Filled, path: string) => (await fixture.pool.stat(path)).ino;

/** The pool's metadata store, from beside: what it has kept back is written first, for it holds the file's lock until then. */
export async function sql({ fixture }: { fixture: PoolFixture }, ...statements: string[]): Promise<void> {
  await fixture.pool.parts.meta.flush?.().catch((error: unknown) => {
    if (!hasCode(error, 'CLOSED')) throw error;
  });
  const directory = join(fixture.directory, 'meta');
  const name = readdirSync(directory).find((entry) => entry.endsWith('.sqlite'))!;
  const database = new Database(join(directory, name));
  for (const statement of statements) database.exec(statement);
  database.close();
}

/** The largest chunk of the file, and where disk 1 has its shard. */
export async function shardOf(fixture: PoolFixture, path: string, on = 0): Promise<{ disk: Disk; entry: ShardEntry }> {
  const { meta, disks } = fixture.pool.parts;
  const { ino } = await fixture.pool.stat(path);
  const [extent] = await meta.listExtents(ino, 0, Number.MAX_SAFE_INTEGER, 1);
  const holders = disks.opened.filter((disk) => disk.findAnywhere(extent!.chunk).length > 0);
  const disk = holders[on]!;
  return { disk, entry: disk.findAnywhere(extent!.chunk)[0]! };
}

/** Flips bits of a record: `at` counts from its header. */
export function flip({ disk, entry }: { disk: Disk; entry: RecordLocation }, at: number): void {
  const stream = existsSync(segment(disk, 'data', entry.segment)) ? 'data' : 'journal';
  const fd = openSync(segment(disk, stream, entry.segment), 'r+');
  const byte = Buffer.alloc(1);
  readSync(fd, byte, 0, 1, entry.position + at);
  byte[0]! ^= 0xff;
  writeSync(fd, byte, 0, 1, entry.position + at);
  closeSync(fd);
}

function segment(disk: Disk, stream: string, number: number): string {
  return join(disk.directory, 'log', `${stream}-${String(number).padStart(10, '0')}.log`);
}
