/**
 * Chunks that are known to need repair, each once, a bounded number of them. Those of which nothing can be made whole now wait: for a disk that
 * returns, or for room. Written down a moment after each change, and never before what was repaired is durable.
 */
import { join } from 'node:path';
import { hasCode } from '../errors/cairn-error.js';
import type { Clock, Timer } from '../io/clock.js';
import type { FileIo } from '../io/file-io.js';
import { decodeRepairList, encodeRepairList } from './repair-list.js';

/** About a megabyte of the list. */
const CHUNKS_MAX = 16_384;
const SAVE_DELAY_MS = 2_000;

/** `damaged`: shards are not what they should be, each is looked at; `degraded`: shards are missing. */
export type RepairReason = 'damaged' | 'degraded';

export class RepairQueue {
  readonly #io: Pick<FileIo, 'makeDirectory' | 'readFile' | 'replaceFile'>;
  readonly #directory: string;
  readonly #clock: Clock;
  readonly #settle: () => Promise<void>;
  readonly #warn: (error: unknown, message: string) => void;
  readonly #ready = new Map<string, RepairReason>();
  readonly #waiting = new Map<string, RepairReason>();
  #isIncomplete = false;
  #timer: Timer | undefined;
  #saving: Promise<void> = Promise.resolve();
  #isChanged = false;
  #hasWarned = false;

  constructor(parts: {
    io: Pick<FileIo, 'makeDirectory' | 'readFile' | 'replaceFile'>;
    poolDirectory: string;
    clock: Clock;
    /** Makes durable what was repaired so far. */
    settle: () => Promise<void>;
    warn: (error: unknown, message: string) => void;
  }) {
    this.#io = parts.io;
    this.#directory = join(parts.poolDirectory, 'jobs');
    this.#clock = parts.clock;
    this.#settle = parts.settle;
    this.#warn = parts.warn;
  }

  /** To be repaired now. */
  get ready(): number {
    return this.#ready.size;
  }

  /** Of those that wait, the ones that have fewer shards than they should. */
  get degraded(): number {
    let count = 0;
    for (const reason of [...this.#ready.values(), ...this.#waiting.values()]) if (reason === 'degraded') count++;
    return count;
  }

  get waiting(): number {
    return this.#waiting.size;
  }

  /** More was to be kept in mind than there is room for: only a scrub finds the rest. */
  get isIncomplete(): boolean {
    return this.#isIncomplete;
  }

  /** Damage is more than a lack. A chunk that waits is ready again. */
  add(chunk: string, reason: RepairReason): void {
    const known = this.#ready.get(chunk) ?? this.#waiting.get(chunk);
    if (known === undefined && this.#ready.size + this.#waiting.size >= CHUNKS_MAX) {
      if (this.#isIncomplete) return;
      this.#isIncomplete = true;
    } else {
      if (this.#ready.has(chunk) && (known === reason || known === 'damaged')) return;
      this.#waiting.delete(chunk);
      this.#ready.set(chunk, known === 'damaged' ? known : reason);
    }
    this.#changed();
  }

  next(): { readonly chunk: string; readonly reason: RepairReason } | undefined {
    for (const [chunk, reason] of this.#ready) return { chunk, reason };
    return undefined;
  }

  /** It needs no repair any more. */
  done(chunk: string): void {
    const known = this.#ready.delete(chunk);
    if (this.#waiting.delete(chunk) || known) this.#changed();
  }

  /** Nothing can be done for it now. */
  wait(chunk: string): void {
    const reason = this.#ready.get(chunk);
    if (reason === undefined) return;
    this.#ready.delete(chunk);
    this.#waiting.set(chunk, reason);
  }

  /** What waits is tried once more. */
  retry(): void {
    for (const [chunk, reason] of this.#waiting) this.#ready.set(chunk, reason);
    this.#waiting.clear();
  }

  /** Everything has been looked at. */
  complete(): void {
    if (!this.#isIncomplete) return;
    this.#isIncomplete = false;
    this.#changed();
  }

  /** What was kept joins what is there. */
  async load(): Promise<void> {
    try {
      const list = decodeRepairList(await this.#io.readFile(this.#path));
      for (const chunk of list.damaged) this.#ready.set(chunk, 'damaged');
      for (const chunk of list.degraded) if (!this.#ready.has(chunk)) this.#ready.set(chunk, 'degraded');
      this.#isIncomplete ||= list.isIncomplete;
    } catch (error) {
      if (!hasCode(error, 'NOT_FOUND')) this.#warn(error, 'the list of what is to be repaired cannot be read');
    }
  }

  async close(): Promise<void> {
    this.#timer?.cancel();
    await this.#save();
  }

  #changed(): void {
    this.#isChanged = true;
    this.#timer ??= this.#clock.after(SAVE_DELAY_MS, () => {
      this.#timer = undefined;
      void this.#save();
    });
  }

  #save(): Promise<void> {
    this.#saving = this.#saving.then(() => this.#saveNow());
    return this.#saving;
  }

  async #saveNow(): Promise<void> {
    if (!this.#isChanged) return;
    this.#isChanged = false;
    const all = [...this.#ready, ...this.#waiting];
    const having = (wanted: RepairReason): string[] =>
      all.flatMap(([chunk, reason]) => (reason === wanted ? [chunk] : []));
    const list = encodeRepairList({
      format: 1,
      damaged: having('damaged'),
      degraded: having('degraded'),
      isIncomplete: this.#isIncomplete,
    });
    try {
      await this.#settle();
      await this.#io.makeDirectory(this.#directory);
      await this.#io.replaceFile(this.#path, list);
      this.#hasWarned = false;
    } catch (error) {
      if (!this.#hasWarned) this.#warn(error, 'the list of what is to be repaired could not be written down');
      this.#hasWarned = true;
    }
  }

  get #path(): string {
    return join(this.#directory, 'repair.list');
  }
}
