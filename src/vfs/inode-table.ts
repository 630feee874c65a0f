/** The inodes in memory, loaded from the metadata store when asked for and forgotten when nothing staged hangs on them. */

import { type ContentFiles, FileContent } from '../cache/file-content.js';
import { CairnError } from '../errors/cairn-error.js';
import type { MetaStore } from '../meta/meta-store.js';
import { type Ino, ROOT_INO } from '../meta/rows.js';
import { Directory } from './directory.js';
import { Inode } from './inode.js';
import { isDirectory, isFile } from './mode.js';
import type { Result } from './vfs.js';

/** More inodes than this in memory: those that can be loaded again go. */
const KEPT = 50_000;

export class InodeTable {
  readonly #inodes = new Map<Ino, Inode>();
  readonly #loading = new Map<Ino, Promise<Inode | undefined>>();
  readonly #meta: MetaStore;
  readonly #files: ContentFiles;
  #trimAt = KEPT;

  constructor(meta: MetaStore, files: ContentFiles) {
    this.#meta = meta;
    this.#files = files;
  }

  peek(ino: Ino): Inode | undefined {
    return this.#inodes.get(ino);
  }

  /** STALE if there is none. */
  get(ino: Ino): Result<Inode> {
    return this.#inodes.get(ino) ?? this.find(ino).then((inode) => inode ?? stale(ino));
  }

  find(ino: Ino): Promise<Inode | undefined> {
    const there = this.#inodes.get(ino);
    if (there !== undefined) return Promise.resolve(there);
    let loading = this.#loading.get(ino);
    if (loading === undefined) {
      loading = this.#load(ino).finally(() => this.#loading.delete(ino));
      this.#loading.set(ino, loading);
    }
    return loading;
  }

  async #load(ino: Ino): Promise<Inode | undefined> {
    const row = await this.#meta.getInode(ino);
    const since = this.#inodes.get(ino);
    if (since !== undefined) return since;
    if (row === undefined) return undefined;
    const inode = Inode.fromRow(row);
    this.#equip(inode, false);
    this.#inodes.set(ino, inode);
    if (this.#inodes.size > this.#trimAt) this.#trim();
    return inode;
  }

  /** A new inode that no store knows. */
  add(inode: Inode): void {
    this.#equip(inode, true);
    this.#inodes.set(inode.ino, inode);
  }

  #equip(inode: Inode, fresh: boolean): void {
    if (isDirectory(inode.mode)) inode.directory = new Directory(inode.ino, this.#meta, fresh);
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

  forget(ino: Ino): void {
    this.#inodes.delete(ino);
  }

  get size(): number {
    return this.#inodes.size;
  }

  values(): IterableIterator<Inode> {
    return this.#inodes.values();
  }

  #trim(): void {
    for (const [ino, inode] of this.#inodes) {
      if (this.#inodes.size <= KEPT / 2) break;
      if (ino !== ROOT_INO && inode.forgettable) this.#inodes.delete(ino);
    }
    this.#trimAt = Math.max(KEPT, this.#inodes.size * 2);
  }
}

function stale(ino: Ino): never {
  throw new CairnError('STALE', `there is no inode ${ino} any more`);
}
