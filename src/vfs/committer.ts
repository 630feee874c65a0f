/**
 * When what is staged gets committed: by timer, by pressure, by command, by a strong fsync. Also the brake: an operation that
 * would stage more than there is room for waits here.
 */
import type { CacheAccount } from '../cache/cache-account.js';
import { DIRTY, UNSEALED } from '../cache/file-content.js';
import { RangeMap } from '../cache/range-map.js';
import type { Seal } from '../cache/seal.js';
import type { StageLog } from '../cache/stage-log.js';
import type { Journal } from '../commit/journal.js';
import type { SealPipeline } from '../commit/seal-pipeline.js';
import { CairnError, hasCode } from '../errors/cairn-error.js';
import type { Clock, Timer } from '../io/clock.js';
import type { Inode } from './inode.js';
import type { PolicyTree } from './policy-tree.js';
import type { CommitProgress } from './reports.js';
import { QUIET_MS, type StagedSet } from './staged-set.js';
import type { WindowFiller } from './window-filler.js';

/** Staged bytes of a file up to this travel with the COMMIT record, as replicas in the journal stream. */
const SMALL_COMMIT_BYTES = 256 * 1024;
const SMALL_COMMIT_RANGES = 64;
const DIRTY_RANGES = RangeMap.mask(DIRTY);
/** Seals of one batch: published together. */
const BATCH_BYTES = 256 * 1024 * 1024;
const BATCH_PIECES = 2048;
/** Staged longer than this, a file that is still being written is sealed whole. */
const OPEN_FILE_WAIT_MS = 30_000;
/** Of files that took the place of others, what one round takes in its append. */
const DEPENDENT_BYTES_MAX = 8 * 1024 * 1024;
/** After a failed background commit. */
const RETRY_MS = 2_000;
/** What goes from a cache whose device is full, at least: a write alone would be back for the next page. */
const SPARE_BYTES = 8 * 1024 * 1024;
/** So long a full pool answers at once that it is full, after what could be given back was. */
const FULL_MS = 300;
/** Files in a row for which the pool had no room, after which the others of a batch are not tried. */
const REFUSED_MAX = 8;
/** So many files with staged bytes start a commit. */
const CONTENTS_MAX = 4096;
/** A file that may wait keeps what was staged after it in the stage log: with more segments than this nothing waits any longer. */
const STAGE_SEGMENTS_MAX = 4;
/** A commit that takes whatever is staged, however long it might wait. */
const EVERYTHING = Number.POSITIVE_INFINITY;

export interface CommitterOptions {
  /** From the first staged change to the commit that takes it. */
  readonly delayMs: number;
  /** Bytes of names and attributes staged: a commit starts at half of it, operations wait at all of it. */
  readonly roundBytes: number;
}

export class Committer {
  readonly #staged: StagedSet;
  readonly #journal: Journal;
  readonly #pipeline: SealPipeline;
  readonly #account: CacheAccount;
  readonly #stage: StageLog;
  readonly #clock: Clock;
  #options: CommitterOptions;
  readonly #log: (message: string) => void;
  /** Whether the pool still takes so many plain bytes, of so many files. */
  readonly #poolTakes: (bytes: number, files: number) => boolean;
  /** The pool has no room: gives back what deleted files took, and returns how many bytes on disks that were. */
  onFull: (() => Promise<number>) | undefined;
  /** Fetches what windows lack that are to be written again; without one only cached windows are. */
  filler: WindowFiller | undefined;
  /** How long the files of a directory may wait; without it all wait alike. */
  policies: Pick<PolicyTree, 'isUsed' | 'now' | 'of'> | undefined;
  #timer: Timer | undefined;
  #timerAtMs = 0;
  /** The commit that the timer begins takes files that may wait so long, and no longer, also before their time. */
  #reachMs = 0;
  #quietTimer: Timer | undefined;
  #background: Promise<void> | undefined;
  /** Why the last background commit failed; forgotten when one succeeds. */
  #failure: CairnError | undefined;
  #starting = false;
  #waiting: (() => void)[] = [];
  /** Files renamed over others before their bytes were committed: they go with the next commit of names. */
  readonly #dependents = new Set<Inode>();
  /** Files whose seal is in the pipeline, each until it is ready or has failed. */
  readonly #storing = new Map<Inode, Promise<void>>();
  #closed = false;
  #making: Promise<number> | undefined;
  /** Until then it is known that there is nothing to give back. */
  #fullUntilMs = Number.NEGATIVE_INFINITY;
  /** The newest commit that this is known of. */
  #fullAt = 0;

  constructor(parts: {
    staged: StagedSet;
    journal: Journal;
    pipeline: SealPipeline;
    account: CacheAccount;
    stage: StageLog;
    clock: Clock;
    options: CommitterOptions;
    log: (message: string) => void;
    poolTakes: (bytes: number, files: number) => boolean;
  }) {
    this.#staged = parts.staged;
    this.#journal = parts.journal;
    this.#pipeline = parts.pipeline;
    this.#account = parts.account;
    this.#stage = parts.stage;
    this.#clock = parts.clock;
    this.#options = parts.options;
    this.#log = parts.log;
    this.#poolTakes = parts.poolTakes;
    this.#staged.onContent = (content) => this.#account.settle(content);
    this.#staged.onRound = () => this.#wake();
    this.#staged.onPending = () => this.#pendingDependents();
    this.#staged.onAssemble = () => this.#wantDependents();
  }

  /** Something was staged (bytes of the inode; without one, names): it will be committed after the delay, or at once under pressure. */
  staged(inode?: Inode): void {
    if (this.#background !== undefined || this.#closed || this.#failure !== undefined) return;
    if (this.#pressed()) {
      this.#startSoon();
      return;
    }
    const delayMs = inode === undefined ? this.#options.delayMs : this.#delayOf(inode);
    this.#later(delayMs, delayMs);
  }

  /** How long bytes that are staged for the file may wait. */
  #delayOf(inode: Inode): number {
    const { policies } = this;
    const delayMs = policies?.isUsed === true ? policies.now(inode).commitDelayMs : undefined;
    return delayMs ?? this.#options.delayMs;
  }

  /** Until the file's bytes have waited as long as they may; 0: they have. */
  #leftMs(inode: Inode, nowMs: number): number {
    const sinceMs = inode.content?.stagedSinceMs;
    return sinceMs === undefined ? 0 : Math.max(0, sinceMs + this.#delayOf(inode) - nowMs);
  }

  /**
   * What a commit that begins by itself takes: files whose time has come, and with them those that may wait no longer than the longest of these,
   * so that one commit does for many. Others are neither taken early nor does anything wait for them.
   */
  #dueFiles(reachMs: number): (inode: Inode) => boolean {
    if (this.policies?.isUsed !== true || reachMs === EVERYTHING) return () => true;
    if (this.#pressed() || this.#shortOfRoom || this.#stage.segmentCount > STAGE_SEGMENTS_MAX) return () => true;
    const nowMs = this.#clock.monotonicMs();
    let reach = reachMs;
    for (const inode of this.#staged.contents)
      if (this.#leftMs(inode, nowMs) === 0) reach = Math.max(reach, this.#delayOf(inode));
    // What has nothing staged is only to be put together (fragmented).
    return (inode) => this.#delayOf(inode) <= reach || !this.#staged.contents.has(inode);
  }

  /** Something is still staged after a commit that began by itself. */
  #laterForRest(madeProgress: boolean): void {
    const { delayMs } = this.#options;
    if (this.policies?.isUsed !== true) {
      // Where nothing could be done there is no use in trying again at once.
      if (madeProgress) this.staged();
      else this.#later(delayMs, delayMs);
      return;
    }
    if (madeProgress && this.#pressed()) {
      this.#startSoon();
      return;
    }
    const nowMs = this.#clock.monotonicMs();
    let leftMs = this.#staged.namespaceBytes > 0 ? delayMs : EVERYTHING;
    for (const inode of this.#staged.contents)
      leftMs = Math.min(leftMs, Math.max(madeProgress ? 0 : delayMs, this.#leftMs(inode, nowMs)));
    if (leftMs !== EVERYTHING) this.#later(leftMs, 0);
  }

  get delayMs(): number {
    return this.#options.delayMs;
  }

  /** From the first staged change to the commit that takes it, from now on; what waits already waits as long from now. */
  setDelay(delayMs: number): void {
    if (delayMs === this.#options.delayMs) return;
    this.#options = { ...this.#options, delayMs };
    if (this.#timer === undefined || this.#failure !== undefined) return;
    this.#timer.cancel();
    this.#timer = undefined;
    this.#laterForRest(true);
  }

  /** After the synchronous step that is under way: of what it changes, a commit has all or nothing. */
  #startSoon(): void {
    if (this.#starting) return;
    this.#starting = true;
    queueMicrotask(() => {
      this.#starting = false;
      this.#start();
    });
  }

  /** Something staged is in danger: it is committed now. */
  hurry(): void {
    if (this.#background !== undefined || this.#closed) return;
    this.#timer?.cancel();
    this.#timer = undefined;
    // Not within the step that found the danger: that may be a commit's.
    this.#later(0, EVERYTHING);
  }

  /** The sooner of two: whatever is left after a commit gets a timer of its own. */
  #later(delayMs: number, reachMs: number): void {
    if (this.#timer !== undefined) {
      // Where all wait alike, whoever came first is due first.
      if (this.policies?.isUsed !== true || this.#clock.monotonicMs() + delayMs >= this.#timerAtMs) return;
      this.#timer.cancel();
    }
    this.#timerAtMs = this.#clock.monotonicMs() + delayMs;
    this.#reachMs = reachMs;
    this.#timer = this.#clock.after(delayMs, () => {
      this.#timer = undefined;
      this.#start(this.#reachMs);
    });
  }

  #pressed(): boolean {
    return (
      // Only the pool can make anything durable.
      this.#stage.failure !== undefined ||
      this.#account.dirtyBytes > this.#account.limits.capacityBytes / 2 ||
      this.#staged.namespaceBytes > this.#options.roundBytes / 2 ||
      this.#staged.contents.size > CONTENTS_MAX
    );
  }

  /** A commit could make room. What belongs to deleted files that are still open cannot be committed. */
  get #committable(): boolean {
    return this.#background !== undefined || this.#staged.contents.size > 0 || this.#staged.sealing.size > 0;
  }

  /**
   * Room for `bytes` more in the cache, and for one more change of names. Undefined: go on. A promise: wait, then ask again. NO_SPACE if
   * the pool itself is full; the error of the pool if it takes no commits.
   */
  room(bytes: number): Promise<void> | undefined {
    if (this.#staged.namespaceBytes >= this.#options.roundBytes) return this.#commitFirst();
    if (bytes === 0) return undefined;
    if (!this.#poolTakes(this.#account.dirtyBytes + bytes, this.#staged.contents.size + 1)) {
      // While a commit is under way its bytes count twice, as staged and as stored: only when it is over the pool is known to be full.
      if (this.#committable) return this.#commitFirst();
      const making = this.#makeSpace();
      if (making !== undefined) return making.then(() => undefined);
      throw new CairnError('NO_SPACE', 'the pool is full', { hint: 'delete files or add a disk' });
    }
    if (this.#account.makeRoom(bytes)) return undefined;
    if (this.#committable) return this.#commitFirst();
    // More at once than the whole cache: let it through rather than wait for what never comes.
    if (this.#account.dirtyBytes === 0) return undefined;
    throw new CairnError('NO_SPACE', 'the cache is full of deleted files that are still open', {
      hint: 'end the programs that hold them open',
    });
  }

  /**
   * The device of the cache has no room for `bytes`, though the account has: somebody else fills it. A promise: wait, then try again, clean bytes are going or
   * a commit makes some. Undefined: the cache holds nothing that could go.
   */
  spare(bytes: number): Promise<void> | undefined {
    const going = this.#account.giveBack(Math.max(bytes, SPARE_BYTES));
    if (going !== undefined) return going;
    if (this.#account.dirtyBytes > 0 && this.#committable) return this.#commitFirst();
    return undefined;
  }

  /** Changes of attributes still fit into the next commit: what is not worth waiting for is left out where they do not. */
  get hasRoomForNames(): boolean {
    return this.#staged.namespaceBytes < this.#options.roundBytes;
  }

  /**
   * What has been deleted is committed, and its space given back, before anybody is told that the pool is full: the bytes that gave. Undefined: that has
   * just been done and gave nothing.
   */
  #makeSpace(): Promise<number> | undefined {
    // What has been staged or committed since may be a deletion.
    const isAsThen = this.#staged.namespaceBytes === 0 && this.#journal.sequence === this.#fullAt;
    const isKnown = this.#clock.monotonicMs() < this.#fullUntilMs && isAsThen;
    if (this.onFull === undefined || isKnown) return this.#making;
    this.#making ??= this.#collect(this.onFull).finally(() => {
      this.#making = undefined;
    });
    return this.#making;
  }

  async #collect(collect: () => Promise<number>): Promise<number> {
    // If that fails, what was deleted before can be given back all the same.
    await this.#journal.request().catch(() => undefined);
    const freed = await collect();
    if (freed === 0) {
      this.#fullUntilMs = this.#clock.monotonicMs() + FULL_MS;
      this.#fullAt = this.#journal.sequence;
    } else if (hasCode(this.#failure, 'NO_SPACE')) this.#failure = undefined;
    return freed;
  }

  /** Whether what failed for want of room is worth another try: what deleted files took has been given back since. */
  async #hasMadeSpace(failure: unknown): Promise<boolean> {
    return hasCode(failure, 'NO_SPACE') && ((await this.#makeSpace()) ?? 0) > 0;
  }

  #commitFirst(): Promise<void> {
    if (this.#failure !== undefined) {
      // What had no room may have some when what was deleted is given back.
      const making = hasCode(this.#failure, 'NO_SPACE') ? this.#makeSpace() : undefined;
      if (making !== undefined) return making.then(() => undefined);
      throw this.#failure;
    }
    if (this.#closed) throw new CairnError('CLOSED', 'the pool is being closed');
    const waiting = new Promise<void>((resolve) => {
      this.#waiting.push(resolve);
    });
    this.#start();
    return waiting;
  }

  #wake(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const resolve of waiting) resolve();
  }

  #start(reachMs = EVERYTHING): void {
    if (this.#background !== undefined || this.#closed) return;
    this.#timer?.cancel();
    this.#timer = undefined;
    const before = this.#journal.sequence;
    const commit = () => this.commit(this.#dueFiles(reachMs), 'background');
    this.#background = (this.#staged.fragmented.size === 0 ? commit() : this.#fillWindows().then(commit))
      .catch((error: unknown) => {
        this.#failure = hasCode(error, 'NO_SPACE', 'DISK_FAILED')
          ? error
          : new CairnError('IO', 'the pool takes no commits', { cause: error });
        this.#log(`a background commit failed and is tried again: ${this.#failure.message}`);
      })
      .finally(() => {
        this.#background = undefined;
        this.#wake();
        if (this.#closed) return;
        if (this.#failure !== undefined) {
          this.#later(RETRY_MS, EVERYTHING);
          return;
        }
        const isRest = this.#staged.namespaceBytes > 0 || this.#staged.contents.size > 0;
        if (isRest) this.#laterForRest(this.#journal.sequence !== before);
        // The rest may be allowed to wait for hours.
        if (this.#staged.fragmented.size > 0 && (!isRest || this.policies?.isUsed === true)) this.#whenQuiet();
      });
  }

  /** Files in pieces are looked at again, also if nothing more is staged. */
  #whenQuiet(): void {
    this.#quietTimer ??= this.#clock.after(QUIET_MS, () => {
      this.#quietTimer = undefined;
      this.#start(this.#options.delayMs);
    });
  }

  /** Not while a commit is waited for. */
  async #fillWindows(): Promise<void> {
    for (const inode of [...this.#staged.fragmented]) {
      if (this.filler === undefined || this.#pressed() || this.#waiting.length > 0) return;
      if (inode.gone || inode.content === undefined) continue;
      const windows = this.#staged.piecedWindows(inode);
      if (windows.length > 0) await this.filler.fill(inode, windows);
    }
  }

  /** Rename put this file in the place of another. */
  dependsOnNames(inode: Inode): void {
    if (inode.content?.staged) this.#dependents.add(inode);
  }

  /**
   * A round takes all names, so also those of renames since the contents of its commit were stored. For a name that the pool has always to
   * stand for the old bytes or for the new ones, it waits until those of larger files are stored, and takes small ones along.
   */
  #pendingDependents(): Promise<void> | undefined {
    const waits: Promise<void>[] = [];
    for (const inode of this.#dependents) {
      const { content } = inode;
      if (inode.gone || content === undefined) continue;
      const isStored = !content.unsealed || content.seal !== undefined || isSmall(inode);
      const storing = this.#storing.get(inode) ?? (isStored ? undefined : this.#storeDependent(inode));
      if (storing !== undefined) waits.push(storing);
    }
    return waits.length === 0 ? undefined : Promise.all(waits).then(() => undefined);
  }

  /** If there is no room for its bytes, its name goes without: names must be committed, for deleting to make room. */
  async #storeDependent(inode: Inode): Promise<void> {
    const seal = this.#staged.seal(inode);
    await this.#store([{ inode, seal }], () => undefined, undefined).catch(() => {
      this.#dependents.delete(inode);
    });
  }

  #wantDependents(): void {
    let bytes = 0;
    for (const inode of this.#dependents) {
      const { content } = inode;
      if (inode.gone || content === undefined || !content.unsealed || content.seal !== undefined) continue;
      if (!isSmall(inode)) continue;
      bytes += content.ranges.bytes(DIRTY);
      if (bytes > DEPENDENT_BYTES_MAX) return;
      this.#staged.want(inode);
    }
  }

  /**
   * Commits all names and attributes, and the content of files that `includes` takes. `background` leaves the end of files that are
   * being written for later; `asked` takes everything staged before the call, also what another commit has under way. Resolves after the
   * pool promise; rejects with the first failure, after the files that it does not concern.
   */
  async commit(
    includes: (inode: Inode) => boolean,
    kind: 'background' | 'asked',
    onProgress?: (progress: CommitProgress) => void,
    signal?: AbortSignal,
  ): Promise<void> {
    const asked = kind === 'asked';
    this.#stage.drain();
    const target = this.#stage.sequence;
    const progress = { filesDone: 0, filesTotal: 0, bytesDone: 0, bytesTotal: 0 };
    let left = this.#filesToCommit(includes, asked);
    progress.filesTotal = left.length;
    for (const { content } of left) progress.bytesTotal += content!.dirtyBytes;
    const stored = (bytes: number): void => {
      progress.bytesDone = Math.min(progress.bytesTotal, progress.bytesDone + bytes);
      onProgress?.(progress);
    };
    onProgress?.(progress);
    if (this.policies?.isUsed === true)
      for (const inode of left) {
        const policy = this.policies.of(inode);
        // Of a file that nobody has opened since the start it may not be in memory yet; without it the file gets the most.
        if (policy instanceof Promise) await policy.catch(() => undefined);
      }
    let failure: unknown;
    while (left.length > 0) {
      const again: Inode[] = [];
      const failed = await this.#commitFiles(left, kind, again, stored, signal);
      if (failure === undefined && (await this.#hasMadeSpace(failed)))
        again.push(...left.filter((inode) => inode.failure !== undefined && !again.includes(inode)));
      else failure ??= failed;
      progress.filesDone = progress.filesTotal - again.length;
      onProgress?.(progress);
      // Nothing of our own is under way now: two commits that wait for each other's files would never end.
      for (const { content } of again)
        if (content?.seal !== undefined) await this.#journal.applied(content.seal.finished);
      left = again.filter((inode) => inode.content!.staged && !inode.gone && inode.durableStage < target);
    }
    // Also after a failure: names must be committed where contents cannot be, for deleting to make room.
    await this.#journal.request();
    // Whoever asked sees its outcome too: reports come from the metadata store.
    if (asked) await this.#staged.round;
    if (failure !== undefined) throw failure;
    this.#failure = undefined;
    for (const inode of this.#dependents) if (inode.gone || !inode.content?.staged) this.#dependents.delete(inode);
    await this.#trim();
  }

  #filesToCommit(includes: (inode: Inode) => boolean, asked: boolean): Inode[] {
    const { contents, fragmented, sealing } = this.#staged;
    // Files that took the place of others come first: the new name and the new bytes in one round.
    const files = new Set<Inode>([...this.#dependents].filter((inode) => contents.has(inode)));
    for (const inode of contents) files.add(inode);
    if (asked) for (const inode of sealing) files.add(inode);
    else for (const inode of fragmented) files.add(inode);
    return [...files].filter(
      (inode) => !inode.gone && inode.content !== undefined && (includes(inode) || this.#dependents.has(inode)),
    );
  }

  /** Seals and commits files, in batches. Into `again` go those that another commit has, and those of which a part was left. Returns the first failure. */
  async #commitFiles(
    files: readonly Inode[],
    kind: 'background' | 'asked',
    again: Inode[],
    stored: (bytes: number) => void,
    signal: AbortSignal | undefined,
  ): Promise<unknown> {
    let failure: unknown;
    for (let at = 0; at < files.length; ) {
      signal?.throwIfAborted();
      const seals: { inode: Inode; seal: Seal }[] = [];
      let bytes = 0;
      let pieces = 0;
      while (at < files.length && bytes < BATCH_BYTES && pieces < BATCH_PIECES) {
        const inode = files[at++]!;
        if (kind === 'asked' && inode.content!.seal !== undefined) {
          again.push(inode);
          continue;
        }
        const seal = this.#sealFor(inode, kind);
        if (seal === undefined) continue;
        seals.push({ inode, seal });
        bytes += seal.bytes;
        pieces += seal.pieces.length + 1;
        if (kind === 'asked' && seal.contentStage === undefined) again.push(inode);
      }
      try {
        await this.#storeAndPublish(seals, stored, signal);
      } catch (error) {
        signal?.throwIfAborted();
        // One damaged file must not keep the others from the pool.
        if (seals.length === 1 || hasCode(error, 'DISK_FAILED')) failure ??= error;
        else {
          const failed = await this.#oneByOne(seals, kind, again, stored, signal);
          failure ??= failed;
        }
      }
    }
    return failure;
  }

  /** After a batch has failed as a whole. */
  async #oneByOne(
    seals: readonly { readonly inode: Inode }[],
    kind: 'background' | 'asked',
    again: Inode[],
    stored: (bytes: number) => void,
    signal: AbortSignal | undefined,
  ): Promise<unknown> {
    let failure: unknown;
    let refused = 0;
    for (const { inode } of seals) {
      const failed = await this.#commitFiles([inode], kind, again, stored, signal);
      failure ??= failed;
      refused = failed === undefined ? 0 : refused + 1;
      if (hasCode(failed, 'DISK_FAILED') || (hasCode(failed, 'NO_SPACE') && refused >= REFUSED_MAX)) break;
    }
    return failure;
  }

  #sealFor(inode: Inode, kind: 'background' | 'asked'): Seal | undefined {
    const { content } = inode;
    if (content === undefined || content.seal !== undefined || inode.gone) return undefined;
    if (!content.unsealed && !this.#staged.canRegroup(inode)) {
      this.#staged.contents.delete(inode);
      return undefined;
    }
    const { chunkBytes } = this.#staged;
    const mayWait = kind === 'background' && !this.#shortOfRoom && this.#stage.failure === undefined;
    const open = mayWait && inode.writers > 0 && inode.sizeBytes > chunkBytes;
    if (open && this.#clock.monotonicMs() - (content.stagedSinceMs ?? 0) < OPEN_FILE_WAIT_MS) {
      // Being appended to: whole chunks now, the rest when it is complete. Only where the part before `limit` is a state that the file had.
      const limit = Math.floor(inode.sizeBytes / chunkBytes) * chunkBytes;
      if (inode.committedSize <= limit && limit < inode.sizeBytes) {
        const first = content.ranges.firstAtOrAfter(0, UNSEALED);
        return first !== undefined && first.from < limit ? this.#staged.seal(inode, limit) : undefined;
      }
    }
    return this.#staged.seal(inode);
  }

  /** Only what has been sealed whole can be evicted. */
  get #shortOfRoom(): boolean {
    return this.#waiting.length > 0 || this.#account.cachedBytes > 0.75 * this.#account.limits.capacityBytes;
  }

  async #storeAndPublish(
    seals: readonly { inode: Inode; seal: Seal }[],
    onStored: (bytes: number) => void,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    if (seals.length === 0) return;
    await this.#store(seals, onStored, signal);
    await this.#journal.request();
    // The round may have gone on without a file whose bytes turned out to be in doubt: for that one it is no success.
    for (const { inode, seal } of seals) if (!inode.gone && seal.failure !== undefined) throw seal.failure;
  }

  /** Makes the seals ready for a round. */
  async #store(
    seals: readonly { inode: Inode; seal: Seal }[],
    onStored: (bytes: number) => void,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    let end!: () => void;
    const storing = new Promise<void>((resolve) => {
      end = resolve;
    });
    for (const { inode } of seals) this.#storing.set(inode, storing);
    try {
      const extents = await this.#pipeline.store(
        seals.map(({ seal }) => seal),
        onStored,
        signal,
      );
      for (const { inode, seal } of seals) this.#staged.ready(inode, seal, extents.get(seal)!);
    } catch (error) {
      for (const { inode, seal } of seals)
        this.#staged.sealFailed(inode, seal, signal?.aborted === true ? undefined : error);
      throw error;
    } finally {
      for (const { inode } of seals) this.#storing.delete(inode);
      end();
    }
  }

  /** The pool promise for one file: its content as it is now, and all names and attributes. */
  async commitFile(inode: Inode): Promise<void> {
    for (;;) {
      try {
        await this.#commitDependents(inode);
        await this.#commitContent(inode);
        return;
      } catch (error) {
        if (!(await this.#hasMadeSpace(error))) throw error;
      }
    }
  }

  async #commitContent(inode: Inode): Promise<void> {
    this.#stage.drain();
    const target = this.#stage.sequence;
    const { content } = inode;
    for (;;) {
      // The promise may hold although the metadata store, for which a seal waits, has not taken the commit yet.
      if (this.#staged.durableThrough >= target && inode.durableStage >= target) return;
      if (content !== undefined && !inode.gone && inode.durableStage < target) {
        if (content.seal !== undefined) {
          await this.#journal.applied(content.seal.finished);
          continue;
        }
        if (content.unsealed) {
          if (isSmall(inode)) this.#staged.want(inode);
          else {
            const seal = this.#staged.seal(inode);
            await this.#storeAndPublish([{ inode, seal }], () => undefined, undefined);
            // The round may have gone on without it.
            if (inode.failure !== undefined) throw inode.failure;
            continue;
          }
        }
      }
      await this.#journal.request();
      if (content === undefined || inode.gone || inode.durableStage >= target) return;
      if (inode.failure !== undefined && content.seal === undefined) throw inode.failure;
      // A seal that began after the check above may carry the bytes: it counts only when its own round is durable.
      if (!content.unsealed && content.seal === undefined) return;
    }
  }

  async #commitDependents(except?: Inode): Promise<void> {
    for (const inode of [...this.#dependents]) {
      if (inode !== except && !inode.gone) await this.#commitContent(inode);
      this.#dependents.delete(inode);
    }
  }

  /** Names and attributes only. */
  async commitNames(): Promise<void> {
    await this.#commitDependents();
    await this.#journal.request();
  }

  /** Gives segments of the stage log back that commits have overtaken. */
  async #trim(): Promise<void> {
    let through = this.#staged.durableThrough;
    for (const { content } of this.#staged.contents) through = Math.min(through, content!.stagedFrom);
    for (const { content } of this.#staged.sealing) through = Math.min(through, content!.stagedFrom);
    for (const { content } of this.#staged.departing.keys())
      through = Math.min(through, content?.stagedFrom ?? through);
    await this.#stage.trim(through);
  }

  /** Waits for the background commit and takes no more. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#timer?.cancel();
    this.#quietTimer?.cancel();
    await this.#background;
    this.#wake();
  }
}

function isSmall(inode: Inode): boolean {
  const content = inode.content!;
  if (content.ranges.bytes(DIRTY) > SMALL_COMMIT_BYTES) return false;
  if (content.ranges.size <= SMALL_COMMIT_RANGES) return true;
  let dirty = 0;
  content.ranges.forEachOf(0, inode.sizeBytes, DIRTY_RANGES, () => {
    dirty += 1;
  });
  return dirty <= SMALL_COMMIT_RANGES;
}
