/**
 * Fetches what the cache lacks of a window that has come to consist of many small extents, so that the next commit in the background can write it again as
 * one chunk: a database that is larger than what is cached of it, or was mounted anew, would else stay in pieces for ever.
 *
 * Invariants:
 * - What is fetched is what is committed: a gap that has been written or cut in the meantime keeps what it was given (`Filling`).
 * - Users come first: nothing is fetched where the cache has no room, and only so much at a time.
 */
import type { CacheAccount } from '../cache/cache-account.js';
import type { FileContent } from '../cache/file-content.js';
import type { Inode } from './inode.js';
import type { PoolReader } from './pool-reader.js';

/** Windows that one commit in the background fetches for. */
const WINDOWS_AT_ONCE = 16;

export class WindowFiller {
  readonly #reader: PoolReader;
  readonly #account: CacheAccount;

  constructor(reader: PoolReader, account: CacheAccount) {
    this.#reader = reader;
    this.#account = account;
  }

  /** Fills up to a few of the ranges, each a window. Never rejects: what cannot be fetched stays as it is, and is forgotten as being in pieces. */
  async fill(inode: Inode, windows: readonly { readonly window: number; from: number; to: number }[]): Promise<void> {
    const { content } = inode;
    if (content === undefined) return;
    for (const { window, from, to } of windows.slice(0, WINDOWS_AT_ONCE)) {
      try {
        if (!(await this.#fillOne(inode, content, from, to))) content.forgetSmallExtents(window);
      } catch {
        // Whoever reads the file is told what is wrong with it.
        content.forgetSmallExtents(window);
      }
    }
  }

  /** False if the window cannot be filled, now or later. */
  async #fillOne(inode: Inode, content: FileContent, from: number, to: number): Promise<boolean> {
    const filling = content.beginFilling(from, to);
    try {
      let bytes = 0;
      for (const gap of filling.gaps) bytes += gap.to - gap.from;
      if (bytes === 0) return true;
      if (!this.#account.makeRoom(bytes) || content.busy !== undefined) return true;
      const fetched: Buffer[] = [];
      for (const gap of filling.gaps) {
        if (!(await this.#isWhole(inode, gap.from, gap.to))) return false;
        const buffer = Buffer.allocUnsafe(gap.to - gap.from);
        await this.#reader.read(inode, gap.from, buffer, 0);
        fetched.push(buffer);
      }
      if (inode.gone || content.busy !== undefined || content.doubtful) return true;
      content.endFilling(filling, fetched);
      this.#account.book(content);
      return true;
    } finally {
      content.dropFilling(filling);
    }
  }

  /** Without holes: what was never written should take no room because of this. */
  async #isWhole(inode: Inode, from: number, to: number): Promise<boolean> {
    let position = from;
    for (const { offset, length } of await this.#reader.extents(inode, from, to)) {
      if (offset > position) return false;
      position = offset + length;
    }
    return position >= to;
  }
}
