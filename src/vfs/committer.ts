/**
 * When what is staged gets committed: by timer, by pressure, by command, by a strong fsync. Also the brake: an operation that
 * would stage more than there is room for waits here.
 */
import type { CacheAccount } from '../cache/cache-account.js';
import { DIRTY } from '../cache/file-content.js';
import type { Seal } from '../cache/seal.js';
import type { StageLog } from '../cache/stage-log.js';
import type { Journal } from '../commit/journal.js';
import type { SealPipeline } from '../commit/seal-pipeline.js';
import { CairnError, hasCode } from '../errors/cairn-error.js';
import type { Clock, Timer } from '../io/clock.js';
import type { Inode } from './inode.js';
import type { CommitProgress } from './reports.js';
import type { StagedSet } from './staged-set.js';

/** Staged bytes of a file up to this travel with the COMMIT record, as replicas in the journal stream. */
const SMALL_COMMIT_BYTES = 256 * 1024;
const SMALL_COMMIT_RANGES = 64;
/** Seals of one batch: published together. */
const BATCH_BYTES = 256 * 1024 * 1024;
const BATCH_FILES = 2048;
/** Staged longer than this, a file that is still being written is sealed whole. */
const OPEN_FILE_WAIT_MS = 30_000;
/** After a failed background commit. */
const RETRY_MS = 2_000;

export interface CommitterOptions {
  /** From the first staged change to the commit that takes it. */
  readonly delayMs: number;
  /** Names and attributes staged: a commit starts at half of it, operations wait at all of it. */
  readonly namespaceMax: number;
}

export class Committer {
  readonly #staged: StagedSet;
  readonly #journal: Journal;
  readonly #pipeline: SealPipeline;
  readonly #account: CacheAccount;
  readonly #stage: StageLog;
  readonly #clock: Clock;
  readonly #options: CommitterOptions;
  readonly #log: (message: string) => void;
  /** Plain bytes that the pool still takes. */
  readonly #poolFree: () => number;
  /** The pool has no room: something should be done about it. */
  onFull: (() => void) | undefined;
  #timer: Timer | undefined;
  #background: Promise<void> | undefined;
  /** Why the last background commit failed; forgotten when one succeeds. */
  #failure: CairnError | undefined;
  #waiting: (() => void)[] = [];
  /** Files renamed over others before their bytes were committed: they go with the next commit of names. */
  readonly #dependents = new Set<Inode>();
  #closed = false;

  constructor(parts: {
    staged: StagedSet;
    journal: Journal;
    pipeline: SealPipeline;
    account: CacheAccount;
    stage: StageLog;
    clock: Clock;
    options: CommitterOptions;
    log: (message: string) => void;
    poolFree: () => number;
  }) {
    this.#staged = parts.staged;
    this.#journal = parts.journal;
    this.#pipeline = parts.pipeline;
    this.#account = parts.account;
    this.#stage = parts.stage;
    this.#clock = parts.clock;
    this.#options = parts.options;
    this.#log = parts.log;
    this.#poolFree = parts.poolFree;
    this.#staged.onContent = (content) => this.#account.book(content);
    this.#staged.onRound = () => this.#wake();
  }

  /** Something was staged: it will be committed after the delay, or at once under pressure. */
  staged(): void {
    if (this.#background !== undefined || this.#closed) return;
    if (this.#pressed()) {
      this.#timer?.cancel();
      this.#timer = undefined;
      this.#start();
    } else
      this.#timer ??= this.#clock.after(this.#options.delayMs, () => {
        this.#timer = undefined;
        this.#start();
      });
  }

  #pressed(): boolean {
    return (
      this.#account.dirtyBytes > this.#account.limits.capacityBytes / 2 ||
      this.#staged.namespaceCount > this.#options.namespaceMax / 2 ||
      this.#staged.contents.size > this.#options.namespaceMax / 2
    );
  }

  /**
   * Room for `bytes` more in the cache and one more change of names. Undefined: go on. A promise: wait, then ask again. NO_SPACE if the pool
   * itself is full; the error of the pool if it takes no commits.
   */
  room(bytes: number): Promise<void> | undefined {
    if (bytes > 0 && this.#account.dirtyBytes + bytes > this.#poolFree()) {
      this.onFull?.();
      throw new CairnError('NO_SPACE', 'the pool is full', { hint: 'delete files or add a disk' });
    }
    const fits = this.#account.makeRoom(bytes) && this.#staged.namespaceCount < this.#options.namespaceMax;
    if (fits) return undefined;
    if (this.#failure !== undefined) throw this.#failure;
    this.staged();
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
    });
  }

  #wake(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const resolve of waiting) resolve();
  }

  #start(): void {
    if (this.#background !== undefined || this.#closed) return;
    this.#background = this.commit(() => true, 'background')
      .then(
        () => {
          this.#failure = undefined;
        },
        (error: unknown) => {
          if (hasCode(error, 'NO_SPACE')) this.onFull?.();
          this.#failure = hasCode(error, 'NO_SPACE', 'DISK_FAILED')
            ? error
            : new CairnError('IO', 'the pool takes no commits', { cause: error });
          this.#log(`a background commit failed and is tried again: ${this.#failure.message}`);
        },
      )
      .finally(() => {
        this.#background = undefined;
        this.#wake();
        if (this.#closed) return;
        if (this.#failure !== undefined) {
          this.#timer ??= this.#clock.after(RETRY_MS, () => {
            this.#timer = undefined;
            this.#start();
          });
        } else if (this.#staged.namespaceCount > 0 || this.#staged.contents.size > 0) this.staged();
      });
  }

  /** Rename put this file in the place of another. */
  dependsOnNames(inode: Inode): void {
    if (inode.content?.staged) this.#dependents.add(inode);
  }

  /**
   * Commits all names and attributes, and the content of files that `includes` takes. `background` leaves the end of files that are
   * being written for later. Resolves after the pool promise.
   */
  async commit(
    includes: (inode: Inode) => boolean,
    kind: 'background' | 'asked',
    onProgress?: (progress: CommitProgress) => void,
    signal?: AbortSignal,
  ): Promise<void> {
    if (kind === 'background')
      for (const inode of this.#staged.fragmented)
        if (inode.content !== undefined && !inode.gone) this.#staged.contents.add(inode);
    const files = [...this.#staged.contents].filter(includes);
    // Files that another commit has under way are waited for, then looked at again.
    const progress = { filesDone: 0, filesTotal: files.length, bytesDone: 0, bytesTotal: 0 };
    for (const inode of files) progress.bytesTotal += inode.content!.ranges.bytes(DIRTY);
    const stored = (bytes: number): void => {
      progress.bytesDone += bytes;
      onProgress?.(progress);
    };
    onProgress?.(progress);
    for (let at = 0; at < files.length; ) {
      signal?.throwIfAborted();
      const seals: { inode: Inode; seal: Seal }[] = [];
      let bytes = 0;
      while (at < files.length && bytes < BATCH_BYTES && seals.length < BATCH_FILES) {
        const inode = files[at++]!;
        if (kind === 'asked') await inode.content!.seal?.finished;
        const seal = this.#sealFor(inode, kind);
        if (seal === undefined) continue;
        seals.push({ inode, seal });
        bytes += seal.bytes;
      }
      await this.#storeAndPublish(seals, stored, signal);
      progress.filesDone = at;
      onProgress?.(progress);
    }
    // Also where nothing is left to take: a round under way may have it, and the promise is that round's.
    if (kind === 'asked' || files.length === 0 || this.#staged.namespaceCount > 0) await this.#journal.request();
    // Seals that were under way when this began carry bytes that were staged before it.
    if (kind === 'asked') for (const inode of files) await inode.content?.seal?.finished;
    await this.#trim();
  }

  #sealFor(inode: Inode, kind: 'background' | 'asked'): Seal | undefined {
    const { content } = inode;
    if (content === undefined || content.seal !== undefined || inode.gone) return undefined;
    if (!content.unsealed && !this.#staged.fragmented.has(inode)) {
      this.#staged.contents.delete(inode);
      return undefined;
    }
    const { chunkBytes } = this.#staged;
    const open = kind === 'background' && inode.writers > 0 && inode.sizeBytes > chunkBytes;
    if (open && this.#clock.monotonicMs() - (content.stagedSinceMs ?? 0) < OPEN_FILE_WAIT_MS) {
      // Being appended to: whole chunks now, the rest when it is complete. Only where the part before `limit` is a state that the file had.
      const limit = Math.floor(inode.sizeBytes / chunkBytes) * chunkBytes;
      if (inode.committedSize <= limit && limit < inode.sizeBytes) return this.#staged.seal(inode, limit);
    }
    return this.#staged.seal(inode, Number.MAX_SAFE_INTEGER);
  }

  async #storeAndPublish(
    seals: readonly { inode: Inode; seal: Seal }[],
    onStored: (bytes: number) => void,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    if (seals.length === 0) return;
    try {
      const extents = await this.#pipeline.store(
        seals.map(({ seal }) => seal),
        onStored,
        signal,
      );
      for (const { inode, seal } of seals) this.#staged.ready(inode, seal, extents.get(seal)!);
    } catch (error) {
      for (const { inode, seal } of seals) this.#staged.sealFailed(inode, seal);
      throw error;
    }
    await this.#journal.request();
  }

  /** The pool promise for one file: its content as it is now, and all names and attributes. */
  async commitFile(inode: Inode): Promise<void> {
    this.#stage.drain();
    const target = this.#stage.sequence;
    const { content } = inode;
    if (this.#dependents.size > 0) await this.#commitDependents(inode);
    for (;;) {
      // The promise may hold although the metadata store, for which a seal waits, has not taken the commit yet.
      if (this.#staged.durableThrough >= target && inode.durableStage >= target) return;
      if (content !== undefined && !inode.gone) {
        const seal = content.seal;
        if (seal !== undefined) {
          await seal.finished;
          continue;
        }
        if (content.unsealed) {
          if (isSmall(inode)) this.#staged.want(inode);
          else {
            await this.#storeAndPublish(
              [{ inode, seal: this.#staged.seal(inode, Number.MAX_SAFE_INTEGER) }],
              () => undefined,
              undefined,
            );
            continue;
          }
        }
      }
      await this.#journal.request();
      // A seal that began after the check above may carry the bytes: it counts only when its own round is durable.
      if (
        content === undefined ||
        inode.gone ||
        inode.durableStage >= target ||
        (!content.unsealed && content.seal === undefined)
      )
        return;
    }
  }

  async #commitDependents(except?: Inode): Promise<void> {
    const dependents = [...this.#dependents];
    this.#dependents.clear();
    for (const inode of dependents) if (inode !== except && !inode.gone) await this.commitFile(inode);
  }

  /** Names and attributes only. */
  async commitNames(): Promise<void> {
    if (this.#dependents.size > 0) await this.#commitDependents();
    await this.#journal.request();
  }

  /** Gives segments of the stage log back that commits have overtaken. */
  async #trim(): Promise<void> {
    let through = this.#staged.durableThrough;
    for (const inode of this.#staged.contents) through = Math.min(through, inode.contentStage);
    for (const inode of this.#staged.sealing) through = Math.min(through, inode.contentStage);
    for (const inode of this.#staged.departing.keys()) through = Math.min(through, inode.contentStage);
    await this.#stage.trim(through);
  }

  /** Waits for the background commit and takes no more. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#timer?.cancel();
    await this.#background;
    this.#wake();
  }
}

function isSmall(inode: Inode): boolean {
  const content = inode.content!;
  if (content.ranges.bytes(DIRTY) > SMALL_COMMIT_BYTES) return false;
  if (content.ranges.size <= SMALL_COMMIT_RANGES) return true;
  let dirty = 0;
  content.ranges.forEach(0, inode.sizeBytes, (_from, _to, value) => {
    if (value === DIRTY) dirty += 1;
  });
  return dirty <= SMALL_COMMIT_RANGES;
}
