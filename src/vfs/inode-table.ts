/** The inodes in memory, loaded from the metadata store when asked for and forgotten when nothing staged hangs on them. */

import type { CacheAccount } from '../cache/cache-account.js';
import { type ContentFiles, FileContent } from '../cache/file-content.js';
import { CairnError } from '../errors/cairn-error.js';
import type { MetaStore } from '../meta/meta-store.js';
import { type Ino, type InodeRow, type Name, ROOT_INO } from '../meta/rows.js';
import { BoundedMap } from './bounded-map.js';
import { Directory } from './directory.js';
import { Inode } from './inode.js';
import { KnownNames } from './known-names.js';
import { isDirectory, isFile } from './mode.js';
import { chain } from './result.js';
import type { Result } from './vfs.js';

/** More inodes than this in memory: those that can be loaded again go, and with them what is cached of them. */
const KEPT = 100_000;
/** A smaller file's holes are not worth a look at its extents. */
const SPARSE_BYTES_MIN = 128 * 1024;
/** Forgotten in one go, so that requests are not kept waiting. */
const TRIM_SLICE = 500;
/** Places of forgotten inodes that are kept in mind, a few dozen bytes each. */
const PLACES_MAX = 500_000;

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
  #trimAt = KEPT;
  #trimming = false;
  /** A directory that a face remembers has been forgotten here, and with it that it does. */
  #hasLostHolds = false;
  /** Whether the directory of a forgotten inode is kept in mind: where directories have policies, an inode that is asked for by its number alone has one too. */
  keepsPlaces = false;
  /** Inode → its directory, of those that are forgotten; what changes a place loads the inode first. */
  readonly #places = new BoundedMap<Ino, Ino>(PLACES_MAX);

  constructor(meta: MetaStore, files: ContentFiles, account: CacheAccount) {
    this.#meta = meta;
    this.#files = files;
    this.#account = account;
  }

  peek(ino: Ino): Inode | undefined {
    return this.#inodes.get(ino);
  }

  /** False only if for certain no face remembers the directory by its number (Vfs.hold), or anything of what is in it. */
  mayBeHeld(ino: Ino): boolean {
    const inode = this.#inodes.get(ino);
    return ino === ROOT_INO || this.#hasLostHolds || inode === undefined || inode.holds > 0;
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
    if (there !== undefined) return there;
    const row = this.#meta.now?.getInode(ino);
    if (row !== undefined && !mayBeSparse(row)) return this.#loaded(row, undefined);
    let loading = this.#loading.get(ino);
    if (loading === undefined) {
      loading = this.#load(ino).finally(() => this.#loading.delete(ino));
      this.#loading.set(ino, loading);
    }
    return loading;
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
    const place = this.#places.get(inode.ino);
    if (place !== undefined) {
      this.#places.delete(inode.ino);
      inode.parent = place;
    }
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
    setImmediate(() => this.#trim());
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

  #trim(): void {
    let slice = TRIM_SLICE;
    for (const [ino, inode] of this.#inodes) {
      if (this.#inodes.size <= KEPT / 2) break;
      if (ino === ROOT_INO || !inode.forgettable) continue;
      if (slice-- === 0) {
        setImmediate(() => this.#trim());
        return;
      }
      if (inode.holds > 0) this.#hasLostHolds = true;
      if (inode.content !== undefined) this.#account.forget(inode.content);
      this.#inodes.delete(ino);
      if (this.keepsPlaces && inode.parent !== 0) this.#places.set(inode.ino, inode.parent);
    }
    this.#trimming = false;
    this.#trimAt = Math.max(KEPT, this.#inodes.size * 2);
  }
}

/** A look at its extents tells how much of it is there. */
function mayBeSparse({ mode, sizeBytes }: InodeRow): boolean {
  return isFile(mode) && sizeBytes > SPARSE_BYTES_MIN;
}

function stale(ino: Ino): never {
  throw new CairnError('STALE', `there is no inode ${ino} any more`);
}
