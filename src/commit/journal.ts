/**
 * The ordered commits. A commit is ONE round: its COMMIT record, the small chunks it brings, and the sync of shards that the
 * pipeline wrote before are issued to all disks in parallel; when enough of them have answered, the pool promise holds, and
 * only then the metadata store is told.
 *
 * Requests that arrive while a round is under way share the next one (group commit), so rounds never overlap and are acknowledged in
 * sequence order. What goes into a round is asked of the source at the last moment (`assemble`), so that it includes everything
 * up to then.
 *
 * A disk that fails during a round is left out and what was meant for it is written again to the others, as far as they can take it: small chunks
 * from memory, those that the pipeline stored from the shards that stand; and the record, in the next epoch, since it names the disks that
 * lack their part. The round succeeds as degraded as long as every chunk stays readable
 * and the COMMIT record stands, synced, on one disk more than may be
 * lost: so whoever opens the pool later with as many missing as may be lost knows of it. Where the pool has no more than twice as many disks as may
 * be lost (two mirrored ones), that would forbid to go on with those that are left; there it is as many as then must be left.
 */
import type { ChunkStore, PreparedChunk } from '../chunks/chunk-store.js';
import type { Disk } from '../disks/disk.js';
import type { RecordInput } from '../disks/record.js';
import { CairnError, hasCode } from '../errors/cairn-error.js';
import type { Clock, Timer } from '../io/clock.js';
import type { MetaStore } from '../meta/meta-store.js';
import { encodeCommit } from '../meta/row-codec.js';
import type { Commit, Ino, RowChange } from '../meta/rows.js';

/** COMMIT records go to every live disk, but to no more than this many. */
const COMMIT_COPIES_MAX = 5;
/** A commit that the metadata store refused is given to it again after so long. */
const APPLY_AGAIN_MS = 2_000;
/** What the metadata store keeps back it writes down when so long no commit has been applied. */
const FLUSH_MS = 200;

/** What one round commits. */
export interface RoundContent {
  readonly changes: readonly RowChange[];
  readonly stagedThrough: number;
  readonly nextIno: number;
  /** Small chunks that travel with the COMMIT record; `bytes` stay unchanged until the round is over. */
  readonly small: readonly { readonly bytes: Uint8Array; readonly prepared: PreparedChunk }[];
  /** Chunks that the pipeline stored for this round. */
  readonly stored: readonly string[];
  /** The pool promise holds. */
  onDurable(sequence: number): void;
  /** The metadata store has the commit: what it included is no longer staged. */
  onApplied(sequence: number): void;
  /** Nothing of it counts as committed. */
  onFailed(error: unknown): void;
}

export interface RoundSource {
  /** Resolves when more of what belongs together can be taken together; undefined if nothing is to be waited for. Never rejects. */
  pending?(): Promise<void> | undefined;
  /** Everything that is to be committed now, as one consistent cut, on the calling thread; undefined if there is nothing. */
  assemble(): RoundContent | undefined;
}

/** The disks that a round may use; asked anew every time, since disks come and go. */
export interface JournalDisks {
  /** Data disks that are online. */
  data(): readonly Disk[];
  /** Journal disks that are online. */
  journal(): readonly Disk[];
  /** How many disks may be lost: m. */
  readonly tolerance: number;
  /** Numbers of the pool's data disks that are not online, ascending. */
  missing(): readonly number[];
}

/** `bytes`: plain ones. */
export interface DegradedChunks {
  readonly chunks: readonly string[];
  readonly bytes: number;
}

export interface JournalPosition {
  readonly sequence: number;
  readonly epoch: number;
}

interface EncodedCommit {
  readonly commit: Commit;
  readonly record: RecordInput;
  readonly recordBytes: number;
}

export class Journal {
  /** Called after every applied commit, with the bytes that its record took. */
  onCommit: ((sequence: number, recordBytes: number) => void) | undefined;
  /** The metadata store has these changes. */
  onChanges: ((changes: readonly RowChange[]) => void) | undefined;
  /** These of a commit's chunks have fewer shards than they should, because a disk failed or is away. */
  onDegraded: ((written: DegradedChunks) => void) | undefined;
  /** The metadata store refused a commit that is durable: it is offered again until it is taken, and nothing new is committed before. */
  onRefused: ((error: unknown) => void) | undefined;
  readonly #disks: JournalDisks;
  readonly #meta: MetaStore;
  readonly #chunks: ChunkStore;
  readonly #clock: Clock;
  #source: RoundSource | undefined;
  #sequence: number;
  #epoch: number;
  #degradedSequence = 0;
  #running: Promise<void> | undefined;
  readonly #tasks: (() => Promise<void>)[] = [];
  #next:
    | { promise: Promise<number>; resolve: (sequence: number) => void; reject: (error: unknown) => void }
    | undefined;
  /** Durable, but the metadata store refused it: applied before the next round. */
  #unapplied: { commit: Commit; content: RoundContent; recordBytes: number } | undefined;
  #applyAgain: Timer | undefined;
  #flushTimer: Timer | undefined;
  /** Something has been applied since the timer was set. */
  #isBusy = false;
  #isRefused = false;
  /** Resolves when the store refuses a commit; made when somebody asks. */
  #refused: { readonly promise: Promise<void>; readonly resolve: () => void } | undefined;
  /** Data disks that have been online since this was made. */
  readonly #seen = new Set<Disk>();
  /** Data disks that were online at the end of the last round. */
  #standing: ReadonlySet<Disk>;
  /** Some chunk was stored with fewer shards than there should be since this was made. */
  #isShort = false;

  /** `position`: the last commit that recovery found; the epoch is this daemon's own, higher than any before. */
  constructor(disks: JournalDisks, meta: MetaStore, chunks: ChunkStore, position: JournalPosition, clock: Clock) {
    this.#clock = clock;
    this.#disks = disks;
    this.#meta = meta;
    this.#chunks = chunks;
    this.#sequence = position.sequence;
    this.#epoch = position.epoch;
    for (const disk of disks.data()) this.#seen.add(disk);
    this.#standing = new Set(this.#seen);
  }

  set source(source: RoundSource) {
    this.#source = source;
  }

  /** The last durable commit. */
  get sequence(): number {
    return this.#sequence;
  }

  /** The last commit that was written with fewer shards of some chunk than there should be; 0: none since this was made. */
  get degradedSequence(): number {
    return this.#degradedSequence;
  }

  get epoch(): number {
    return this.#epoch;
  }

  /** A chunk has been stored with fewer shards than there should be, because a disk failed or was full: commits say which disks lack theirs. */
  noteShort(): void {
    this.#isShort = true;
  }

  /** A durable commit waits for the metadata store to take it. */
  get isRefused(): boolean {
    return this.#isRefused;
  }

  /**
   * Waits until the metadata store has been told, which ends `told`. Rejects with what the store refuses a commit with: that may be for good, and
   * whoever waits must not wait for ever.
   */
  async applied(told: Promise<void>): Promise<void> {
    let isTold = false;
    const done = told.then(() => {
      isTold = true;
    });
    if (!this.#isRefused) {
      this.#refused ??= newRefusal();
      await Promise.race([done, this.#refused.promise]);
    }
    if (isTold || !this.#isRefused) return;
    // Offers it once more.
    await this.request();
    await done;
  }

  /** Resolves with the sequence of a commit that includes everything that the source had when this was called. Rejects if that could not be made durable: DISK_FAILED, NO_SPACE, or what the metadata store refused an earlier commit with. */
  request(): Promise<number> {
    if (this.#next === undefined) {
      let resolve!: (sequence: number) => void;
      let reject!: (error: unknown) => void;
      const promise = new Promise<number>((yes, no) => {
        resolve = yes;
        reject = no;
      });
      this.#next = { promise, resolve, reject };
      if (this.#running === undefined) this.#running = this.#run();
      return promise;
    }
    return this.#next.promise;
  }

  /**
   * Makes what recovery decided a commit of its own, without changes: no disk that was away then can have its word in it later. Before there is a
   * source. Rejects as `request`.
   */
  async confirm({ stagedThrough, nextIno }: { readonly stagedThrough: number; readonly nextIno: Ino }): Promise<void> {
    const nothing = (): void => undefined;
    const content: RoundContent = {
      changes: [],
      stagedThrough,
      nextIno,
      small: [],
      stored: [],
      onDurable: nothing,
      onApplied: nothing,
      onFailed: nothing,
    };
    this.#source = { assemble: () => content };
    try {
      await this.request();
    } finally {
      this.#source = undefined;
      await this.between(async () => undefined);
    }
  }

  /** Runs a task while no round is under way: rounds wait for it. */
  between(task: () => Promise<void>): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#tasks.push(() => task().then(resolve, reject));
      if (this.#running === undefined) this.#running = this.#run();
    });
  }

  /** Rounds, as long as someone waits. */
  async #run(): Promise<void> {
    // Whoever asks may be in the middle of a step that changes names and rows: a round that took half of it would publish that half.
    await undefined;
    while (this.#next !== undefined || this.#tasks.length > 0) {
      for (const task of this.#tasks.splice(0)) await task();
      if (this.#next === undefined) continue;
      const waiting = this.#next;
      this.#next = undefined;
      try {
        await this.#round(() => waiting.resolve(this.#sequence));
        waiting.resolve(this.#sequence);
      } catch (error) {
        waiting.reject(error);
      }
    }
    this.#running = undefined;
  }

  async #round(durable: () => void): Promise<void> {
    if (this.#unapplied !== undefined) await this.#apply(this.#unapplied);
    else if (this.#isRefused) await this.#flush();
    for (let wait = this.#source?.pending?.(); wait !== undefined; wait = this.#source?.pending?.()) await wait;
    const content = this.#source?.assemble();
    // Rounds never overlap: everything taken by an earlier one is durable by now, or was given back and would be here.
    if (content === undefined) return;
    let written: { readonly commit: Commit; readonly recordBytes: number };
    try {
      written = await this.#write(content);
    } catch (error) {
      // Some disk may hold this record all the same: the next attempt must win over it.
      this.#epoch += 1;
      content.onFailed(error);
      throw error;
    }
    const { commit, recordBytes } = written;
    this.#sequence = commit.sequence;
    content.onDurable(commit.sequence);
    durable();
    // Whoever waits is answered before the store is told: it keeps the thread busy for a while.
    await new Promise(setImmediate);
    await this.#apply({ commit, content, recordBytes });
  }

  async #apply(unapplied: { commit: Commit; content: RoundContent; recordBytes: number }): Promise<void> {
    const { commit, content, recordBytes } = unapplied;
    this.#unapplied = unapplied;
    try {
      await this.#meta.apply(commit);
    } catch (error) {
      this.#wasRefused(error);
      throw error;
    }
    this.#unapplied = undefined;
    this.#isRefused = false;
    this.#refused = undefined;
    this.#flushLater();
    content.onApplied(commit.sequence);
    this.onChanges?.(commit.changes);
    this.onCommit?.(commit.sequence, recordBytes);
  }

  #wasRefused(error: unknown): void {
    if (hasCode(error, 'CLOSED')) return;
    this.#isRefused = true;
    this.#refused?.resolve();
    this.onRefused?.(error);
    // Nobody may ask for another round, and files that this commit took wait for it.
    this.#applyAgain ??= this.#clock.after(APPLY_AGAIN_MS, () => {
      this.#applyAgain = undefined;
      this.request().catch(() => undefined);
    });
  }

  #flushLater(): void {
    if (this.#meta.flush === undefined) return;
    this.#isBusy = this.#flushTimer !== undefined;
    this.#flushTimer ??= this.#clock.after(FLUSH_MS, () => {
      this.#flushTimer = undefined;
      if (this.#isBusy) this.#flushLater();
      else this.#flush().catch(() => undefined);
    });
  }

  /** What the store has kept back it writes down. A failure is as if it had refused its last commit. */
  async #flush(): Promise<void> {
    try {
      await this.#meta.flush?.();
    } catch (error) {
      this.#wasRefused(error);
      throw error;
    }
    if (this.#unapplied === undefined) this.#isRefused = false;
  }

  #encode(content: RoundContent, away: readonly number[]): EncodedCommit {
    const commit: Commit = {
      sequence: this.#sequence + 1,
      epoch: this.#epoch,
      acknowledged: this.#sequence,
      ...(away.length > 0 && { away }),
      stagedThrough: content.stagedThrough,
      nextIno: content.nextIno,
      changes: content.changes,
    };
    const payload = encodeCommit(commit);
    const { sequence, epoch, acknowledged } = commit;
    return {
      commit,
      record: { kind: 'commit', sequence, epoch, acknowledged, payload: [payload] },
      recordBytes: payload.length,
    };
  }

  /** Until the record and all small chunks stand synced on every disk that still works. */
  async #write(content: RoundContent): Promise<EncodedCommit> {
    if (this.#hasReturned()) await this.#mend(content);
    let encoded = this.#encode(content, this.#lacking(content));
    this.#checkEnough(this.#commitTargets().length, []);
    const failed = new Set<Disk>();
    const committed = new Set<Disk>();
    let pending = content.small.map((small) => small.prepared);
    const errors: unknown[] = [];
    let mended = false;
    for (;;) {
      const { record } = encoded;
      const batches = new Map<Disk, RecordInput[]>();
      for (const prepared of pending) {
        for (const { disk, record: shard } of prepared.records) put(batches, disk, shard);
      }
      for (const disk of this.#commitTargets()) {
        if (!failed.has(disk) && !committed.has(disk)) put(batches, disk, record);
      }
      const broken = new Set<Disk>();
      const jobs: Promise<unknown>[] = [];
      const attempt = (disk: Disk, job: Promise<unknown>): void => {
        jobs.push(
          job.catch((error: unknown) => {
            broken.add(disk);
            errors.push(error);
          }),
        );
      };
      for (const disk of this.#disks.data()) if (disk.unsynced && !failed.has(disk)) attempt(disk, disk.sync());
      for (const [disk, records] of batches) attempt(disk, disk.append('journal', records, { sync: true }));
      await (jobs.length === 1 ? jobs[0] : Promise.all(jobs));
      for (const [disk, records] of batches) if (!broken.has(disk) && records.includes(record)) committed.add(disk);
      if (broken.size === 0) {
        pending = [];
        if (!mended && committed.size > 0 && this.#hasLost(failed)) {
          this.#checkReadable(content, failed, errors.at(-1));
          mended = true;
          if (await this.#mend(content)) continue;
        }
        const lost = this.#lostSince(encoded.commit, failed);
        if (committed.size === 0 || lost.length === 0) break;
        this.#checkEnough(committed.size, errors);
        this.#checkReadable(content, failed, errors.at(-1));
        // Acknowledged, what these disks lack must not prove later that it never was; so not before it is known that the round succeeds.
        this.#epoch += 1;
        encoded = this.#encode(content, [...(encoded.commit.away ?? []), ...lost].sort(ascending));
        committed.clear();
        continue;
      }
      for (const disk of broken) {
        failed.add(disk);
        committed.delete(disk);
      }
      // Whatever lost a copy now, whenever it was written: what still stands as it should needs nothing.
      try {
        pending = content.small.map(({ bytes, prepared }) => this.#chunks.prepareSmall(bytes, failed, prepared.asked));
      } catch (error) {
        throw isFull(errors) ? noRoom(error) : error;
      }
      // They are held once already.
      this.#chunks.release(pending.map(({ chunk }) => chunk));
    }
    this.#checkEnough(committed.size, errors);
    if (this.#lostDisk() || failed.size > 0) this.#checkReadable(content, failed, errors.at(-1));
    this.#noteDegraded(content, encoded.commit.sequence);
    this.#standing = new Set(this.#disks.data());
    return encoded;
  }

  /** A data disk was away when the last round ended, and is back: what the pipeline stored meanwhile was stored without it. */
  #hasReturned(): boolean {
    return this.#disks.data().some((disk) => !this.#standing.has(disk));
  }

  /**
   * Numbers of the data disks that lack their part of the commit: those that are away, and for each chunk that was stored short as many more as make
   * up for what it lacks. No more than these: recovery takes every one for a disk that may have kept the commit from being readable.
   */
  #lacking({ stored, small }: RoundContent): number[] {
    const lacking = new Set(this.#disks.missing());
    if (!this.#isShort && !this.#lostDisk()) return [...lacking].sort(ascending);
    const online = this.#disks.data().map(({ identity }) => identity.number);
    // Those are written with the record itself.
    const prepared = new Set(small.map((one) => one.prepared.chunk));
    for (const chunk of stored) {
      if (prepared.has(chunk)) continue;
      const { disks, shardsNeeded } = this.#chunks.health(chunk);
      const without = [...lacking].filter((number) => !disks.includes(number));
      let short = shardsNeeded + this.#disks.tolerance - disks.length - without.length;
      for (const number of online) {
        if (short <= 0) break;
        if (disks.includes(number) || lacking.has(number)) continue;
        lacking.add(number);
        short -= 1;
      }
    }
    return [...lacking].sort(ascending);
  }

  /** Numbers of data disks that failed, or went, after the record was made. */
  #lostSince({ away = [] }: Commit, failed: ReadonlySet<Disk>): number[] {
    const lost = new Set(this.#disks.missing());
    for (const { identity } of failed) if (identity.role === 'data') lost.add(identity.number);
    return [...lost].filter((number) => !away.includes(number));
  }

  /** A data disk has failed since the last round: shards on it that were to become durable with this one may be missing. */
  #hasLost(failed: ReadonlySet<Disk>): boolean {
    if (failed.size > 0) return true;
    const online = new Set(this.#disks.data());
    return [...this.#standing].some((disk) => !online.has(disk));
  }

  /** Writes shards that went with a disk to others, where there are any. True if something was written, which wants a sync. */
  async #mend(content: RoundContent): Promise<boolean> {
    const stored = new Set(content.stored);
    let written = false;
    for (const change of content.changes) {
      if (change.kind !== 'extents') continue;
      for (const { chunk, chunkBytes } of change.extents) {
        if (!stored.delete(chunk)) continue;
        try {
          if ((await this.#chunks.mend(chunk, chunkBytes)).shardsWritten > 0) written = true;
        } catch (error) {
          // It is readable: that is enough for the commit. What it lacks is counted.
          if (!(error instanceof CairnError)) throw error;
        }
      }
    }
    return written;
  }

  /** What too few disks know could be gone with those, and unknown to all others. */
  #checkEnough(holders: number, errors: readonly unknown[]): void {
    const { tolerance } = this.#disks;
    const disks = this.#disks.data().length + this.#disks.missing().length;
    const needed = Math.max(1, Math.min(tolerance + 1, disks - tolerance));
    if (holders >= needed) return;
    const cause = errors.at(-1);
    if (isFull(errors)) throw noRoom(cause);
    throw new CairnError(
      'DISK_FAILED',
      holders === 0 ? 'no disk took the commit' : `too few disks take commits: ${holders}, and ${needed} are needed`,
      { hint: 'see `cairn status`, and connect the missing disks', cause },
    );
  }

  #commitTargets(): readonly Disk[] {
    const journal = this.#disks.journal();
    if (journal.length > this.#disks.tolerance) return journal;
    const data = this.#disks.data();
    return data.length > COMMIT_COPIES_MAX ? data.slice(0, COMMIT_COPIES_MAX) : data;
  }

  /** A data disk has gone since this was made: chunks that the pipeline stored may have lost shards before they were synced. */
  #lostDisk(): boolean {
    const online = this.#disks.data();
    for (const disk of online) this.#seen.add(disk);
    return this.#seen.size > online.length;
  }

  #noteDegraded(content: RoundContent, sequence: number): void {
    if (!this.#isShort && !this.#lostDisk() && this.#disks.missing().length === 0) return;
    const degraded = new Set<string>();
    for (const chunk of [...content.stored, ...content.small.map(({ prepared }) => prepared.chunk)])
      if (this.#chunks.health(chunk).health !== 'healthy') degraded.add(chunk);
    if (degraded.size === 0) return;
    this.#degradedSequence = sequence;
    let bytes = 0;
    const left = new Set(degraded);
    for (const change of content.changes)
      if (change.kind === 'extents')
        for (const { chunk, chunkBytes } of change.extents) if (left.delete(chunk)) bytes += chunkBytes;
    this.onDegraded?.({ chunks: [...degraded], bytes });
  }

  /** Shards on a disk that failed do not count: they may not have reached it. */
  #checkReadable(content: RoundContent, failed: ReadonlySet<Disk>, cause: unknown): void {
    const usable = new Set<number>();
    for (const disk of this.#disks.data()) if (!failed.has(disk)) usable.add(disk.identity.number);
    for (const chunk of content.stored) {
      const { disks, shardsNeeded } = this.#chunks.health(chunk);
      if (shardsNeeded > 0 && disks.filter((number) => usable.has(number)).length >= shardsNeeded) continue;
      throw new CairnError('DISK_FAILED', 'too few disks took the data of the commit', {
        hint: 'see `cairn status`',
        cause,
      });
    }
  }
}

function ascending(a: number, b: number): number {
  return a - b;
}

function put(batches: Map<Disk, RecordInput[]>, disk: Disk, record: RecordInput): void {
  const batch = batches.get(disk);
  if (batch === undefined) batches.set(disk, [record]);
  else batch.push(record);
}

function newRefusal(): { readonly promise: Promise<void>; readonly resolve: () => void } {
  let resolve!: () => void;
  const promise = new Promise<void>((yes) => {
    resolve = yes;
  });
  return { promise, resolve };
}

/** What the disks failed with is that they are full, all of them. */
function isFull(errors: readonly unknown[]): boolean {
  return errors.length > 0 && errors.every((error) => hasCode(error, 'NO_SPACE'));
}

function noRoom(cause: unknown): CairnError {
  return new CairnError('NO_SPACE', 'no disk has room for the commit', { hint: 'delete files or add a disk', cause });
}
