/**
 * One simulated device with its file system: what is visible, what is durable, and what lies between. A power cut keeps what was synced and,
 * of the rest, any legal subset: of a file's unsynced writes every 512-byte sector or not, in any order; of a directory's unsynced changes
 * of names a first part, since file systems journal these in order.
 *
 * A failed sync forgets writes as Linux does: pages are marked clean, so that a later sync "succeeds" without them, and may be evicted, so
 * that reads give what was there before.
 */
import type { SeededRandom } from './seeded-random.js';
import { SimContent } from './sim-content.js';

const SECTOR_BYTES = 512;

/** What a power cut keeps of what was not synced: nothing, everything, or what chance leaves, down to single sectors. */
export type Keep = 'none' | 'all' | 'any';

type FileChange =
  | { readonly kind: 'write'; readonly position: number; readonly bytes: Buffer }
  | { readonly kind: 'resize'; readonly length: number };

export class SimFile {
  /** What reads give. */
  current = SimContent.EMPTY;
  durable = SimContent.EMPTY;
  /** Changes that no sync covers, in order. */
  pending: readonly FileChange[] = [];
  /** A failed sync took changes: what is visible is no longer what will be durable. */
  forgotten = false;

  change(change: FileChange): void {
    this.current = applied(this.current, change);
    this.pending = [...this.pending, change];
  }

  sync(): void {
    for (const change of this.pending) this.durable = applied(this.durable, change);
    this.pending = [];
  }

  /** A sync that fails: any part of what it should have made durable is, and none of the rest ever will be. */
  failSync(random: SeededRandom): void {
    this.durable = survivors(this.durable, this.pending, random, 'any');
    this.pending = [];
    this.forgotten = true;
  }

  /** Pages that a failed sync marked clean are read from the device again. */
  evict(): void {
    let content = this.durable;
    for (const change of this.pending) content = applied(content, change);
    this.current = content;
    this.forgotten = false;
  }

  copy(): SimFile {
    const copy = new SimFile();
    copy.current = this.current;
    copy.durable = this.durable;
    copy.pending = this.pending;
    copy.forgotten = this.forgotten;
    return copy;
  }

  crash(random: SeededRandom, keep: Keep): void {
    this.durable = survivors(this.durable, this.pending, random, keep);
    this.current = this.durable;
    this.pending = [];
    this.forgotten = false;
  }
}

function applied(content: SimContent, change: FileChange): SimContent {
  return change.kind === 'write' ? content.write(change.position, change.bytes) : content.resize(change.length);
}

/** What of the changes a power cut leaves. */
function survivors(durable: SimContent, changes: readonly FileChange[], random: SeededRandom, keep: Keep): SimContent {
  const way = keep === 'none' ? 0 : keep === 'all' ? 0.4 : random.next();
  if (changes.length === 0 || way < 0.3) return durable;
  const share = way < 0.75 ? 0.5 : random.next();
  let content = durable;
  for (const change of changes) {
    if (way < 0.5) content = applied(content, change);
    else if (change.kind === 'write') content = torn(content, change.position, change.bytes, share, random);
    else if (random.chance(0.5)) content = applied(content, change);
  }
  return content;
}

/** The write with every sector kept or not. */
function torn(content: SimContent, position: number, bytes: Buffer, keep: number, random: SeededRandom): SimContent {
  let result = content;
  for (let at = position; at < position + bytes.length; ) {
    const to = Math.min(position + bytes.length, (Math.floor(at / SECTOR_BYTES) + 1) * SECTOR_BYTES);
    if (random.chance(keep)) result = result.write(at, bytes.subarray(at - position, to - position));
    at = to;
  }
  return result;
}

/** A name stands for a file or a directory. */
type Entry = SimFile | 'directory';

/** One step of the file system's journal: all of it is kept or none. */
type NameChange = readonly { readonly path: string; readonly entry: Entry | undefined }[];

export class SimDevice {
  /** Its mount point: `/disk1`. */
  readonly root: string;
  #names = new Map<string, Entry>();
  #durableNames = new Map<string, Entry>();
  /** Per directory, changes that no sync of it covers. */
  readonly #pending = new Map<string, NameChange[]>();

  constructor(root: string) {
    this.root = root;
    this.#names.set(root, 'directory');
    this.#durableNames.set(root, 'directory');
  }

  find(path: string): Entry | undefined {
    return this.#names.get(path);
  }

  file(path: string): SimFile | undefined {
    const entry = this.#names.get(path);
    return entry instanceof SimFile ? entry : undefined;
  }

  list(directory: string): string[] {
    const names: string[] = [];
    const prefix = `${directory}/`;
    for (const path of this.#names.keys())
      if (path.startsWith(prefix) && !path.includes('/', prefix.length)) names.push(path.slice(prefix.length));
    return names;
  }

  /** Paths of all files. */
  paths(): string[] {
    const paths: string[] = [];
    for (const [path, entry] of this.#names) if (entry instanceof SimFile) paths.push(path);
    return paths.sort();
  }

  set(path: string, entry: Entry): void {
    this.#change(path, [{ path, entry }]);
  }

  remove(path: string): void {
    this.#change(path, [{ path, entry: undefined }]);
  }

  /** Within one directory. */
  rename(from: string, to: string): void {
    const entry = this.#names.get(from);
    if (parentOf(from) !== parentOf(to)) throw new Error(`rename from ${from} to ${to}: not within one directory`);
    this.#change(from, [
      { path: from, entry: undefined },
      { path: to, entry },
    ]);
  }

  syncDirectory(directory: string): void {
    for (const change of this.#pending.get(directory) ?? []) apply(this.#durableNames, change);
    this.#pending.delete(directory);
  }

  #change(path: string, change: NameChange): void {
    apply(this.#names, change);
    const parent = parentOf(path);
    const pending = this.#pending.get(parent);
    if (pending === undefined) this.#pending.set(parent, [change]);
    else pending.push(change);
  }

  /** An independent copy, files included. */
  copy(): SimDevice {
    const copy = new SimDevice(this.root);
    const files = new Map<SimFile, SimFile>();
    const entryOf = (entry: Entry): Entry => {
      if (entry === 'directory') return entry;
      let file = files.get(entry);
      if (file === undefined) {
        file = entry.copy();
        files.set(entry, file);
      }
      return file;
    };
    copy.#names = new Map([...this.#names].map(([path, entry]) => [path, entryOf(entry)]));
    copy.#durableNames = new Map([...this.#durableNames].map(([path, entry]) => [path, entryOf(entry)]));
    for (const [directory, changes] of this.#pending)
      copy.#pending.set(
        directory,
        changes.map((change) => change.map(({ path, entry }) => ({ path, entry: entry && entryOf(entry) }))),
      );
    return copy;
  }

  /** Power loss. */
  crash(random: SeededRandom, keep: Keep): void {
    for (const changes of this.#pending.values()) {
      const { length } = changes;
      const kept = keep === 'none' ? 0 : keep === 'all' || random.chance(0.3) ? length : random.below(length + 1);
      for (const change of changes.slice(0, kept)) apply(this.#durableNames, change);
    }
    this.#pending.clear();
    for (const path of this.#durableNames.keys()) if (!this.#reachable(path)) this.#durableNames.delete(path);
    this.#names = new Map(this.#durableNames);
    for (const entry of new Set(this.#names.values())) if (entry instanceof SimFile) entry.crash(random, keep);
  }

  #reachable(path: string): boolean {
    for (let at = path; at !== this.root; ) {
      at = parentOf(at);
      if (this.#durableNames.get(at) !== 'directory') return false;
    }
    return true;
  }

  /** Damage at rest: visible and durable alike. */
  damage(path: string, change: (content: SimContent) => SimContent): void {
    const file = this.file(path);
    if (file === undefined) return;
    file.durable = change(file.durable);
    file.current = change(file.current);
  }

  /** All that is on it is lost. */
  wipe(): void {
    this.#pending.clear();
    this.#names = new Map([[this.root, 'directory']]);
    this.#durableNames = new Map([[this.root, 'directory']]);
  }
}

function apply(names: Map<string, Entry>, change: NameChange): void {
  for (const { path, entry } of change) {
    if (entry === undefined) names.delete(path);
    else names.set(path, entry);
  }
}

export function parentOf(path: string): string {
  return path.slice(0, path.lastIndexOf('/'));
}
