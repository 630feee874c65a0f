/** Disks, chunk store, metadata and journal of a small pool on a simulated machine that can lose power; and a source of commits. */
import { strictEqual } from 'node:assert/strict';
import { createMap, type SchemeChoice } from '../../../diskmap/index.js';
import { InlinePipeline } from '../../../src/chunks/inline-pipeline.js';
import { PoolChunkStore } from '../../../src/chunks/pool-chunk-store.js';
import { Journal, type JournalDisks, type RoundContent, type RoundSource } from '../../../src/commit/journal.js';
import { type RecoveryReport, recover } from '../../../src/commit/recovery.js';
import { Snapshotter } from '../../../src/commit/snapshotter.js';
import type { Disk, DiskRole } from '../../../src/disks/disk.js';
import { createDisk } from '../../../src/disks/disk-identity.js';
import { openDisk } from '../../../src/disks/open-disk.js';
import type { Random } from '../../../src/io/random.js';
import type { MetaStore } from '../../../src/meta/meta-store.js';
import { encodeCommit } from '../../../src/meta/row-codec.js';
import type { ExtentRow, Ino, RowChange } from '../../../src/meta/rows.js';
import { MemoryMetaStore } from '../../conformance/memory-meta-store.js';
import { ManualClock } from '../cache/manual-clock.js';
import { content } from '../chunks/fixture.js';
import { MemoryFileIo, seededRandom } from '../disks/memory-file-io.js';

const KIB = 1024;
const POOL = 'aa'.repeat(16);
const TIME = { sec: 1, nsec: 0 };

/** The machine with its disks, as it is between two runs. */
export class Machine {
  readonly io: MemoryFileIo;
  readonly random: Random;
  readonly data: number;
  readonly journal: number;
  readonly scheme: SchemeChoice;

  constructor(options: { seed?: number; data?: number; journal?: number; scheme?: SchemeChoice } = {}) {
    this.io = new MemoryFileIo(seededRandom(options.seed ?? 1));
    const next = seededRandom((options.seed ?? 1) + 1);
    this.random = { bytes: (count) => Buffer.from(Array.from({ length: count }, () => Math.floor(next() * 256))) };
    this.data = options.data ?? 3;
    this.journal = options.journal ?? 0;
    this.scheme = options.scheme ?? 'auto';
  }

  async create(): Promise<this> {
    for (let number = 1; number <= this.data; number++) await this.#make(number, 'data');
    for (let number = 1; number <= this.journal; number++) await this.#make(100 + number, 'journal');
    return this;
  }

  async #make(number: number, role: DiskRole): Promise<void> {
    await createDisk(this.io, directoryOf(number), {
      format: 1,
      pool: POOL,
      uuid: `${number}`.padStart(32, 'b'),
      number: role === 'data' ? number : 0,
      role,
      capacityBytes: 8192 * KIB,
      dataSegmentBytes: 512 * KIB,
      journalSegmentBytes: 64 * KIB,
    });
  }

  /** Every disk but those. */
  async disks(without: readonly number[] = []): Promise<Disk[]> {
    const numbers = [
      ...Array.from({ length: this.data }, (_, i) => i + 1),
      ...Array.from({ length: this.journal }, (_, i) => 101 + i),
    ];
    const opened: Disk[] = [];
    const io = this.io.running();
    for (const number of numbers)
      if (!without.includes(number))
        opened.push(await openDisk(io, directoryOf(number), { pool: POOL }, { indexPath: ':memory:' }));
    return opened;
  }

  /** Opens the pool and recovers. `meta`: what is left of the metadata store. */
  async start(
    options: {
      without?: readonly number[];
      meta?: MetaStore;
      tooMany?: string;
      /** Makes the opened disks misbehave. */
      intrude?: (disks: readonly Disk[]) => void;
    } = {},
  ): Promise<Run> {
    const disks = await this.disks(options.without);
    options.intrude?.(disks);
    const run = new Run(this, disks, options.meta ?? new MemoryMetaStore());
    try {
      await run.recover(options.tooMany);
    } catch (error) {
      await run.stop();
      throw error;
    }
    return run;
  }
}

export function directoryOf(number: number): string {
  return `/disk${number}`;
}

/** One life of the daemon. */
export class Run implements JournalDisks {
  readonly tolerance = 1;
  readonly disks: readonly Disk[];
  readonly meta: MetaStore;
  readonly chunks: PoolChunkStore;
  readonly clock = new ManualClock();
  readonly writer: Writer;
  report!: RecoveryReport;
  log!: Journal;
  readonly #machine: Machine;

  constructor(machine: Machine, disks: readonly Disk[], meta: MetaStore) {
    this.#machine = machine;
    this.disks = disks;
    this.meta = meta;
    const map = createMap({
      pool: POOL.slice(0, 16),
      bucketBytes: 2048 * KIB,
      domain: 'disk',
      scheme: machine.scheme,
      disks: Array.from({ length: machine.data }, (_, i) => {
        return { disk: i + 1, site: 0, row: 0, rack: 0, machine: 0, buckets: 3 };
      }),
    });
    const byNumber = new Map<number, Disk | undefined>();
    for (const disk of disks) if (disk.identity.role === 'data') byNumber.set(disk.identity.number, disk);
    const pipeline = new InlinePipeline();
    this.chunks = new PoolChunkStore({ map, disks: byNumber, pipeline, onShort: () => this.log?.noteShort() });
    this.writer = new Writer(this.chunks);
  }

  async recover(tooMany?: string): Promise<void> {
    this.report = await recover({
      disks: this.disks,
      meta: this.meta,
      chunks: this.chunks,
      random: this.#machine.random,
      tolerance: this.tolerance,
      missing: this.missing(),
      tooMany,
    });
    this.log = new Journal(this, this.meta, this.chunks, this.report, this.clock);
    this.log.source = this.writer;
    this.writer.nextIno = Math.max(2, this.meta.position().nextIno);
  }

  missing(): number[] {
    const here = new Set(this.data().map(({ identity }) => identity.number));
    return Array.from({ length: this.#machine.data }, (_, i) => i + 1).filter((number) => !here.has(number));
  }

  data(): Disk[] {
    return this.disks.filter((disk) => disk.state === 'online' && disk.identity.role === 'data');
  }

  journal(): Disk[] {
    return this.disks.filter((disk) => disk.state === 'online' && disk.identity.role === 'journal');
  }

  disk(number: number): Disk {
    return this.disks.find(({ directory }) => directory === directoryOf(number))!;
  }

  snapshotter(): Snapshotter {
    return new Snapshotter(this, this.meta, this.chunks);
  }

  /** Writes a file and commits it: its number, when that is acknowledged. */
  async commit(bytes: Buffer = content(500, this.writer.nextIno)): Promise<Ino> {
    const ino = this.writer.stage(bytes);
    await this.log.request();
    return ino;
  }

  /** All that was requested is applied too: an acknowledgement does not wait for the metadata store. */
  async settle(): Promise<void> {
    await this.log.request();
  }

  /** The file's bytes by metadata and chunks; undefined if there is no such file. */
  async read(ino: Ino): Promise<Buffer | undefined> {
    const row = await this.meta.getInode(ino);
    if (row === undefined) return undefined;
    const parts: Uint8Array[] = [];
    for (const extent of await this.meta.listExtents(ino, 0, row.sizeBytes, 100))
      parts.push(await this.chunks.read(extent.chunk, extent.chunkBytes, 0, extent.length));
    const bytes = Buffer.concat(parts);
    strictEqual(bytes.length, row.sizeBytes);
    return bytes;
  }

  async stop(): Promise<void> {
    await this.chunks.close();
    await Promise.allSettled(this.disks.map((disk) => disk.close()));
  }
}

interface StagedFile {
  readonly ino: Ino;
  readonly bytes: Buffer;
  /** Stored by the pipeline already, if it is large. */
  readonly stored: { readonly chunk: string; readonly chunkBytes: number } | undefined;
}

/** Stages whole new files; what a round gives back is staged again. */
export class Writer implements RoundSource {
  nextIno: Ino = 2;
  /** Written, durable or applied: one entry per event, in order. */
  readonly events: string[] = [];
  readonly files = new Map<Ino, Buffer>();
  rounds = 0;
  /** Thrown by the next `assemble`. */
  refusal: unknown;
  staged: StagedFile[] = [];
  readonly #chunks: PoolChunkStore;

  constructor(chunks: PoolChunkStore) {
    this.#chunks = chunks;
  }

  stage(bytes: Buffer, stored?: { readonly chunk: string; readonly chunkBytes: number }): Ino {
    const ino = this.nextIno++;
    this.files.set(ino, bytes);
    this.staged.push({ ino, bytes, stored });
    return ino;
  }

  /** What the next rounds wait for, one after the other. */
  readonly waits: Promise<void>[] = [];

  pending(): Promise<void> | undefined {
    return this.waits.shift();
  }

  assemble(): RoundContent | undefined {
    const { refusal } = this;
    this.refusal = undefined;
    if (refusal !== undefined) throw refusal;
    const taken = this.staged;
    if (taken.length === 0) return undefined;
    this.staged = [];
    this.rounds += 1;
    const small: { bytes: Buffer; prepared: ReturnType<PoolChunkStore['prepareSmall']> }[] = [];
    const changes = taken.flatMap((file): RowChange[] => {
      let { stored } = file;
      if (stored === undefined) {
        const prepared = this.#chunks.prepareSmall(file.bytes);
        small.push({ bytes: file.bytes, prepared });
        stored = prepared;
      }
      return changesOf(file.ino, { ...stored, offset: 0, length: file.bytes.length, chunkOffset: 0 });
    });
    const inos = taken.map(({ ino }) => ino).join();
    return {
      changes,
      stagedThrough: this.nextIno,
      nextIno: this.nextIno,
      small,
      stored: changes.flatMap((change) => (change.kind === 'extents' ? change.extents.map(({ chunk }) => chunk) : [])),
      onDurable: (sequence) => this.events.push(`durable ${sequence}: ${inos}`),
      onApplied: (sequence) => this.events.push(`applied ${sequence}: ${inos}`),
      onFailed: () => {
        this.events.push(`failed: ${inos}`);
        this.staged = [...taken, ...this.staged];
      },
    };
  }
}

/** A new file of one extent. */
function changesOf(ino: Ino, extent: ExtentRow): RowChange[] {
  return [
    {
      kind: 'inode',
      before: 0,
      row: {
        ino,
        version: 1,
        mode: 0o100644,
        uid: 0,
        gid: 0,
        nlink: 1,
        rdev: 0,
        sizeBytes: extent.length,
        atime: TIME,
        mtime: TIME,
        ctime: TIME,
        btime: TIME,
        target: '',
        contentStage: 0,
      },
    },
    { kind: 'extents', ino, from: 0, to: extent.length, extents: [extent] },
  ];
}

/** Writes a COMMIT record as a journal would, with one new file `ino`, whose chunk is made of `bytes` without being stored. */
export async function putCommit(
  disk: Disk,
  commit: {
    sequence: number;
    epoch: number;
    acknowledged: number;
    ino: Ino;
    extent: ExtentRow;
    away?: readonly number[] | undefined;
  },
): Promise<void> {
  const { sequence, epoch, acknowledged, ino, extent, away = [] } = commit;
  const payload = encodeCommit({
    sequence,
    epoch,
    acknowledged,
    ...(away.length > 0 && { away }),
    stagedThrough: sequence,
    nextIno: ino + 1,
    changes: changesOf(ino, extent),
  });
  await disk.append('journal', [{ kind: 'commit', sequence, epoch, acknowledged, payload: [payload] }], {
    sync: true,
  });
}
