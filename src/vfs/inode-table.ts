/**
 * The inodes in memory, loaded from the metadata store when asked for and forgotten when nothing hangs on them: nothing staged, no handle, no commit. A face's number of
 * an inode is the inode's own, so the kernel may remember as many as it likes; what is kept here does not grow with them.
 *
 * - More than KEPT are in memory only while so many cannot be forgotten. Those that were asked for since the last look stay.
 * - A listing of files with their attributes leaves nothing here: whoever walks a tree of millions would put out all that is in use.
 * - Of a directory that is forgotten the table knows on how often faces remember it (Vfs.hold), as long as these are not too many.
 */

import type { CacheAccount } from '../cache/cache-account.js';
import { type ContentFiles, FileContent } from '../cache/file-content.js';
import { CairnError } from '../errors/cairn-error.js';
import type { MetaStore } from '../meta/meta-store.js';
import { type Ino, type InodeRow, type Name, ROOT_INO } from '../meta/rows.js';
import { Directory } from './directory.js';
import { Inode } from './inode.js';
import { KnownNames } from './known-names.js';
import { KnownPlaces } from './known-places.js';
import { isDirectory, isFile } from './mode.js';
import { chain } from './result.js';
import type { Attr, Result } from './vfs.js';

/** More inodes than this in memory, of some 700 bytes each: of those that can be loaded again go as many as make half of it, and with them what is cached of them. */
const KEPT = 50_000;
/** A smaller file's holes are not worth a look at its extents. */
const SPARSE_BYTES_MIN = 128 * 1024;
/** Looked at in one go, so that requests are not kept waiting. */
const TRIM_SLICE = 500;
/** Forgotten directories of which is known how often they are remembered, a few dozen bytes each. */
const HELD_MAX = 100_000;

/** Deeper than the kernel lets anybody go; a loop of stale names ends here. */
const DEPTH_MAX = 4096;

/** One name on a path. */
export interface Step {
  readonly parent: Ino;
  readonly name: Name;
  readonly ino: Ino;
}

export class InodeTable {
  readonly #inodes = new Map<Ino, Inode>();
  readonly #loading = new Map<Ino, Promise<Inode | undefined>>();
  readonly #meta: MetaStore;
  readonly #files: ContentFiles;
  readonly #account: CacheAccount;
  readonly #names = new KnownNames();
  readonly places = new KnownPlaces();
  readonly #kept: number;
  #trimAt: number;
  #trimming = false;
  /** Directories that are forgotten here, and how often faces remember them. */
  readonly #held = new Map<Ino, number>();
  /** There were too many of those. */
  #hasLostHolds = false;

  constructor(meta: MetaStore, files: ContentFiles, account: CacheAccount, kept = KEPT) {
    this.#meta = meta;
    this.#files = files;
    this.#account = account;
    this.#kept = kept;
    this.#trimAt = kept;
  }

  peek(ino: Ino): Inode | undefined {
    return this.#inodes.get(ino);
  }

  /** False only if for certain no face remembers the directory by its number (Vfs.hold), or anything of what is in it. */
  mayBeHeld(ino: Ino): boolean {
    return ino === ROOT_INO || this.#hasLostHolds || this.#holdsOf(ino) > 0;
  }

  #holdsOf(ino: Ino): number {
    return this.#inodes.get(ino)?.holds ?? this.#held.get(ino) ?? 0;
  }

  /** A face gives back what it remembers of a directory (of anything else it is not known): the inode, if it is in memory. */
  unhold(ino: Ino, count: number): Inode | undefined {
    const holds = this.#holdsOf(ino);
    if (holds === 0) return undefined;
    const inode = this.#inodes.get(ino);
    const left = Math.max(0, holds - count);
    if (inode !== undefined) inode.holds = left;
    else if (left === 0) this.#held.delete(ino);
    else this.#held.set(ino, left);
    return inode;
  }

  /** The names on the way from the root as they were seen last. Undefined where one is not in memory. */
  pathOf(ino: Ino): readonly Step[] | undefined {
    const steps: Step[] = [];
    for (let at = ino; at !== ROOT_INO; ) {
      const inode = this.#inodes.get(at);
      if (inode === undefined || inode.parent === 0 || inode.name === '' || steps.length === DEPTH_MAX)
        return undefined;
      steps.push({ parent: inode.parent, name: inode.name, ino: at });
      at = inode.parent;
    }
    return steps.reverse();
  }

  /** STALE if there is none, or if it is gone and nobody has it open or stands in it. */
  get(ino: Ino): Result<Inode> {
    const inode = this.#inodes.get(ino);
    if (inode === undefined) return chain(this.find(ino), (found) => found ?? stale(ino));
    inode.isUsed = true;
    return inode.gone && inode.opens === 0 && inode.holds === 0 ? stale(ino) : inode;
  }

  /**
   * Who has a directory by its handle, as an NFS server after a restart, asks for its parent before anybody has come down from the root. STALE if it has
   * been removed.
   */
  parentOf(dir: Inode): Result<Inode> {
    if (dir.parent !== 0) return this.get(dir.parent);
    return this.#meta.getDirectoryEntry(dir.ino).then((row) => {
      // Whoever has moved it meanwhile has said where it is.
      if (dir.parent === 0 && row !== undefined) dir.seenIn(row.parent, row.name);
      return this.get(dir.parent);
    });
  }

  find(ino: Ino): Result<Inode | undefined> {
    const there = this.#inodes.get(ino);
    if (there !== undefined) {
      there.isUsed = true;
      return there;
    }
    const row = this.#meta.now?.getInode(ino);
    if (row !== undefined && !mayBeSparse(row)) return this.#loaded(row, undefined);
    let loading = this.#loading.get(ino);
    if (loading === undefined) {
      loading = this.#load(ino).finally(() => this.#loading.delete(ino));
      this.#loading.set(ino, loading);
    }
    return loading;
  }

  /**
   * As `find`, of what a listing shows under this name: a file that is not in memory is not kept there. What is returned is for its attributes alone. `isSure`: it is known
   * to be under that name at this moment.
   */
  show(ino: Ino, parent: Ino, name: Name, isSure: boolean): Result<Attr | undefined> {
    const there = this.#inodes.get(ino);
    const row = there === undefined ? this.#meta.now?.getInode(ino) : undefined;
    if (row !== undefined && !isDirectory(row.mode) && !mayBeSparse(row)) {
      if (isSure) this.places.put(ino, parent, name);
      return Inode.fromRow(row);
    }
    return chain(there ?? this.find(ino), (inode) => {
      if (inode !== undefined && (inode.parent === 0 || isSure)) inode.seenIn(parent, name);
      return inode;
    });
  }

  /** Of what is not to be kept in memory. Undefined if there is no such inode. */
  async modeOf(ino: Ino): Promise<number | undefined> {
    return this.#inodes.get(ino)?.mode ?? (await this.#meta.getInode(ino))?.mode;
  }

  async #load(ino: Ino): Promise<Inode | undefined> {
    const row = await this.#meta.getInode(ino);
    const allocatedBytes = row !== undefined && mayBeSparse(row) ? await this.#meta.allocatedBytes(ino) : undefined;
    const since = this.#inodes.get(ino);
    if (since !== undefined) return since;
    return row && this.#loaded(row, allocatedBytes);
  }

  #loaded(row: InodeRow, allocatedBytes: number | undefined): Inode {
    const inode = Inode.fromRow(row);
    if (allocatedBytes !== undefined) inode.allocatedBytes = allocatedBytes;
    this.#equip(inode, false);
    this.#inodes.set(inode.ino, inode);
    const place = this.places.take(inode.ino);
    if (place !== undefined) {
      inode.parent = place.parent;
      inode.name = place.name;
    }
    inode.holds = this.#held.get(inode.ino) ?? 0;
    if (inode.holds > 0) this.#held.delete(inode.ino);
    this.#grown();
    return inode;
  }

  /** With its blocks known, if a commit has left them unknown. */
  measured(inode: Inode): Result<Inode> {
    if (inode.allocatedBytes !== undefined) return inode;
    const { version } = inode;
    return this.#meta.allocatedBytes(inode.ino).then((bytes) => {
      // A commit may have been applied meanwhile; then the blocks are those of a file without holes until somebody asks again.
      if (inode.version === version) inode.allocatedBytes ??= bytes;
      return inode;
    });
  }

  #grown(): void {
    if (this.#inodes.size <= this.#trimAt || this.#trimming) return;
    // Not now: whoever has just been given an inode by the store has not used it yet.
    this.#trimming = true;
    const size = this.#inodes.size;
    setImmediate(() => this.#trim(this.#inodes.values(), 2 * size));
  }

  /** A new inode that no store knows. */
  add(inode: Inode): void {
    this.#equip(inode, true);
    this.#inodes.set(inode.ino, inode);
    this.#grown();
  }

  /** A new file whose content is in the pool already. */
  adopt(inode: Inode): void {
    this.#equip(inode, false);
    this.#inodes.set(inode.ino, inode);
    this.#grown();
  }

  #equip(inode: Inode, fresh: boolean): void {
    if (isDirectory(inode.mode)) inode.directory = new Directory(inode.ino, this.#meta, this.#names, fresh);
    else if (isFile(inode.mode)) inode.content = new FileContent(inode.ino, this.#files, fresh);
    if (inode.ino === ROOT_INO) inode.parent = ROOT_INO;
  }

  /** Chunks that files without a name still read, as long as they are open. */
  orphanChunks(): Set<string> {
    const chunks = new Set<string>();
    for (const inode of this.#inodes.values()) {
      if (inode.gone) for (const { chunk } of inode.extents ?? []) chunks.add(chunk);
    }
    return chunks;
  }

  /** Nothing is left of an inode that is gone. While the store has its row it stays: a look-up must not find that row. */
  forgetGone(inode: Inode): void {
    const isHeld = inode.opens > 0 || inode.holds > 0;
    if (inode.gone && !isHeld && inode.version === 0 && !inode.taken) this.#inodes.delete(inode.ino);
  }

  get size(): number {
    return this.#inodes.size;
  }

  values(): IterableIterator<Inode> {
    return this.#inodes.values();
  }

  /** Goes on with `inodes`, at most `looks` of them. One that was used since it was looked at last comes up once more, behind the others. */
  #trim(inodes: Iterator<Inode>, looks: number): void {
    for (let slice = Math.min(looks, TRIM_SLICE); slice > 0; slice--) {
      const { value: inode } = inodes.next();
      if (inode === undefined || this.#inodes.size <= this.#kept / 2) {
        this.#trimmed();
        return;
      }
      if (inode.ino === ROOT_INO || !inode.forgettable) continue;
      this.#inodes.delete(inode.ino);
      if (inode.isUsed) this.#inodes.set(inode.ino, inode);
      else this.#forget(inode);
      inode.isUsed = false;
    }
    if (looks <= TRIM_SLICE) this.#trimmed();
    else setImmediate(() => this.#trim(inodes, looks - TRIM_SLICE));
  }

  #trimmed(): void {
    this.#trimming = false;
    this.#trimAt = Math.max(this.#kept, this.#inodes.size + this.#kept / 2);
  }

  #forget(inode: Inode): void {
    if (inode.content !== undefined) this.#account.forget(inode.content);
    if (inode.parent !== 0 && !inode.isAstray) this.places.put(inode.ino, inode.parent, inode.name);
    if (inode.holds === 0) return;
    if (this.#held.size < HELD_MAX) this.#held.set(inode.ino, inode.holds);
    else this.#hasLostHolds = true;
  }
}

/** A look at its extents tells how much of it is there. */
function mayBeSparse({ mode, sizeBytes }: InodeRow): boolean {
  return isFile(mode) && sizeBytes > SPARSE_BYTES_MIN;
}

function stale(ino: Ino): never {
  throw new CairnError('STALE', `there is no inode ${ino} any more`);
}
