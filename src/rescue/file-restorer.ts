/**
 * Makes the entries of the tree in the target directory. A file is written under a name of its own in the work directory and gets its place by
 * rename when it is complete and has its attributes; a file that is not complete never does.
 *
 * Every directory on the way is one that this class made or found to be a directory, not a link: nothing is written outside.
 */
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  closeSync,
  ftruncateSync,
  lchownSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readlinkSync,
  readSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import type { Addon } from '../../native/addon.js';
import { CairnError, hasCode, systemCode } from '../errors/cairn-error.js';
import { toCairnError } from '../io/system-error.js';
import type { MetaStore } from '../meta/meta-store.js';
import type { Ino, InodeRow } from '../meta/rows.js';
import type { ChunkReader } from './chunk-reader.js';
import { pathText } from './path-text.js';
import { LostRanges, type RescueReport } from './rescue-report.js';
import type { TargetDirectory } from './target-directory.js';

const S_IFMT = 0o170000;
const S_IFREG = 0o100000;
const S_IFLNK = 0o120000;
/** What mknod(1) calls them. */
const NODES: Readonly<Record<number, string>> = { 2401: 'p', 4802: 'c', 14406: 'b' };
const PERMISSIONS = 0o7777;
const SET_IDS = 0o6000;
const PARTIAL = '.cairn-partial';
const NAME_MAX_BYTES = 255;
const EXTENT_PAGE = 1000;
const NSEC_PER_SEC = 1_000_000_000n;
/** No other file would fare better. */
const FATAL = new Set(['NO_SPACE', 'READ_ONLY', 'IO']);

export interface RestoreCounts {
  /** Names of files, links and nodes that are in place, directories apart. */
  files: number;
  directories: number;
  /** Of the files: found in place from an earlier run. */
  alreadyThere: number;
  /** Written with zeros in the gaps. */
  partial: number;
  /** Content of files that are in place. */
  bytes: number;
}

interface Parts {
  readonly meta: MetaStore;
  readonly chunks: ChunkReader;
  readonly target: TargetDirectory;
  readonly report: RescueReport;
  readonly addon: Pick<Addon, 'setXattr' | 'setTimes'>;
  readonly partial: boolean;
  readonly signal: AbortSignal;
  /** Bytes of content that have been dealt with. */
  readonly onBytes: (bytes: number) => void;
}

export class FileRestorer {
  readonly counts: RestoreCounts = { files: 0, directories: 0, alreadyThere: 0, partial: 0, bytes: 0 };
  readonly #parts: Parts;
  readonly #writing: Buffer;
  readonly #isRoot = process.geteuid?.() === 0;
  readonly #uid = process.geteuid?.();

  constructor(parts: Parts) {
    this.#parts = parts;
    this.#writing = Buffer.from(join(parts.target.work, 'writing'));
    this.#clear();
  }

  /** False, with the reason in the report, if it is not there in the end: what is in it cannot be made then. */
  makeDirectory(path: Buffer): boolean {
    const place = this.#parts.target.placeOf(path);
    return this.#attempt(path, () => {
      try {
        mkdirSync(place, { mode: 0o700 });
      } catch (error) {
        if (systemCode(error) !== 'EEXIST') throw error;
        if (!lstatSync(place).isDirectory())
          throw new CairnError('EXISTS', 'something else of its name is in its place');
        // From an earlier run, perhaps with its own mode already.
        chmodSync(place, 0o700);
      }
    });
  }

  /** When everything in it has been made: its times would not last before. */
  async finishDirectory(path: Buffer, inode: InodeRow): Promise<void> {
    await this.#setAttributes(this.#parts.target.placeOf(path), inode, this.#noteOn(path));
    this.counts.directories++;
  }

  /** The target directory gets the attributes of the pool's root. Calls `onNote` with what could not be set. */
  async finishRoot(inode: InodeRow, onNote: (why: string) => void): Promise<void> {
    await this.#setAttributes(Buffer.from(this.#parts.target.path), inode, onNote);
  }

  /** Anything that is no directory. Throws what would befall every other file too: NO_SPACE, READ_ONLY, IO; what `signal` was aborted with. */
  async restore(path: Buffer, parent: Ino, inode: InodeRow): Promise<void> {
    const place = this.#parts.target.placeOf(path);
    try {
      if (place.length !== this.#parts.target.path.length + 1 + path.length)
        this.#parts.report.add(path, 'note', `restored as ${pathText(place)}: the rescue uses the name itself`);
      if (this.#linkTo(place, inode)) {
        this.counts.files++;
        this.#parts.onBytes(await this.#parts.meta.allocatedBytes(inode.ino));
      } else await this.#restoreNew(path, place, parent, inode);
    } catch (error) {
      this.#clear();
      this.#parts.signal.throwIfAborted();
      this.#refuse(path, error);
    }
  }

  async #restoreNew(path: Buffer, place: Buffer, parent: Ino, inode: InodeRow): Promise<void> {
    const type = inode.mode & S_IFMT;
    if (await this.#isThere(place, inode)) this.counts.alreadyThere++;
    else if (type === S_IFREG) {
      if (!(await this.#writeFile(path, place, parent, inode))) return;
    } else {
      if (type === S_IFLNK) symlinkSync(Buffer.from(inode.target, 'latin1'), this.#writing);
      else this.#makeNode(inode);
      await this.#setAttributes(this.#writing, inode, this.#noteOn(path));
      this.#rename(place);
    }
    this.counts.files++;
    if (type === S_IFREG) this.counts.bytes += inode.sizeBytes;
    if (inode.nlink > 1) this.#rememberLink(path, place, inode);
  }

  /** The whole file, or nothing under its name. */
  async #writeFile(path: Buffer, place: Buffer, parent: Ino, inode: InodeRow): Promise<boolean> {
    const lost = new LostRanges();
    const fd = openSync(this.#writing, 'wx', 0o600);
    try {
      await this.#eachExtent(inode, lost, (bytes, position) => {
        // What is not wanted in part need not be written on.
        if (lost.count === 0 || this.#parts.partial) writeFully(fd, bytes, position);
      });
      ftruncateSync(fd, inode.sizeBytes);
    } finally {
      closeSync(fd);
    }
    if (lost.count === 0) {
      await this.#setAttributes(this.#writing, inode, this.#noteOn(path));
      this.#rename(place);
      return true;
    }
    const partial = this.#parts.partial ? await this.#partialPlace(place, parent, inode) : undefined;
    if (partial !== undefined) {
      await this.#setAttributes(this.#writing, inode, this.#noteOn(path));
      this.#rename(partial);
      this.counts.partial++;
    }
    this.#clear();
    this.#parts.report.add(path, 'lost', `${lost.bytes} of its ${inode.sizeBytes} bytes cannot be read`, {
      sizeBytes: inode.sizeBytes,
      ...lost.fields(),
      ...(partial !== undefined && { partial: pathText(partial) }),
    });
    return false;
  }

  /** Calls `write` for every range that can be read; the others go into `lost`. */
  async #eachExtent(
    inode: InodeRow,
    lost: LostRanges,
    write: (bytes: Buffer, position: number) => void,
  ): Promise<void> {
    const { meta, chunks, signal, onBytes } = this.#parts;
    for (let from = 0; from < inode.sizeBytes; ) {
      const extents = await meta.listExtents(inode.ino, from, inode.sizeBytes, EXTENT_PAGE);
      for (const { offset, length, chunk, chunkOffset, chunkBytes } of extents) {
        signal.throwIfAborted();
        const to = Math.min(offset + length, inode.sizeBytes);
        try {
          const bytes = await chunks.read(chunk, chunkBytes);
          write(bytes.subarray(chunkOffset, chunkOffset + to - offset), offset);
        } catch (error) {
          if (!hasCode(error, 'UNREADABLE')) throw error;
          lost.add({ from: offset, to, chunk, why: error.message });
        }
        onBytes(to - offset);
        from = to;
      }
      // One extent may have been found though more follow; none means that the rest is a hole.
      if (extents.length === 0) return;
    }
  }

  /** Restored by an earlier run. */
  async #isThere(place: Buffer, inode: InodeRow): Promise<boolean> {
    if (!this.#parts.target.resumed) return false;
    const stats = lstatSync(place, { bigint: true, throwIfNoEntry: false });
    if (stats === undefined) return false;
    const { sec, nsec } = inode.mtime;
    if ((Number(stats.mode) & S_IFMT) !== (inode.mode & S_IFMT)) return false;
    if (stats.mtimeNs !== BigInt(sec) * NSEC_PER_SEC + BigInt(nsec)) return false;
    if (stats.isSymbolicLink()) return readlinkSync(place, 'latin1') === inode.target;
    if (!stats.isFile()) return true;
    if (Number(stats.size) !== inode.sizeBytes) return false;
    if (this.#parts.target.rebooted) return await this.#isSame(place, inode);
    this.#parts.onBytes(await this.#parts.meta.allocatedBytes(inode.ino));
    return true;
  }

  /** The content, byte by byte. Holes are not looked at: their ranges have no bytes to be wrong, and the size is right. */
  async #isSame(place: Buffer, inode: InodeRow): Promise<boolean> {
    const lost = new LostRanges();
    let same = true;
    const fd = openSync(place, 'r');
    try {
      await this.#eachExtent(inode, lost, (bytes, position) => {
        const found = Buffer.allocUnsafe(bytes.length);
        same = same && readSync(fd, found, 0, found.length, position) === bytes.length && found.equals(bytes);
      });
    } finally {
      closeSync(fd);
    }
    return same && lost.count === 0;
  }

  /** True if the file has been restored under another name, and now has this one too. */
  #linkTo(place: Buffer, inode: InodeRow): boolean {
    if (inode.nlink < 2) return false;
    const first = this.#linkPath(inode);
    if (lstatSync(first, { throwIfNoEntry: false }) === undefined) return false;
    try {
      linkSync(first, this.#writing);
    } catch (error) {
      // Too many links, or a file system without them: a file of its own then, which is noted.
      if (systemCode(error) === 'EMLINK' || systemCode(error) === 'EPERM') return false;
      throw error;
    }
    this.#rename(place);
    // Renaming a file to a name that it has already leaves both.
    this.#clear();
    return true;
  }

  #rememberLink(path: Buffer, place: Buffer, inode: InodeRow): void {
    try {
      linkSync(place, this.#linkPath(inode));
    } catch (error) {
      if (systemCode(error) === 'EEXIST') return;
      this.#parts.report.add(
        path,
        'note',
        `its other names get copies of their own: ${toCairnError(error, 'link', pathText(place)).message}`,
      );
    }
  }

  #linkPath(inode: InodeRow): string {
    return join(this.#parts.target.work, 'links', String(inode.ino));
  }

  #makeNode({ mode, rdev }: InodeRow): void {
    const kind = NODES[mode & S_IFMT];
    if (kind === undefined) throw new CairnError('NOT_SUPPORTED', 'sockets, and what has no known kind, are not made');
    // As linux/kdev_t.h encodes them.
    const major = String((rdev >>> 8) & 0xfff);
    const minor = String((rdev & 0xff) | ((rdev >>> 12) & 0xfff00));
    execFileSync('mknod', ['-m', '600', this.#writing.toString(), kind, ...(kind === 'p' ? [] : [major, minor])], {
      stdio: 'pipe',
    });
  }

  /** Extended attributes first (they need write permission), the mode after the owner (which takes set-id bits away), times last. */
  async #setAttributes(place: Buffer, inode: InodeRow, onNote: (why: string) => void): Promise<void> {
    const { addon } = this.#parts;
    const note = (what: string, error: unknown): void =>
      onNote(`${what} could not be set: ${toCairnError(error, 'set it on', pathText(place)).message}`);
    for (const { name, value } of await this.#parts.meta.listXattrs(inode.ino)) {
      // The pool's own notes on the policies of its directories; these have theirs as attributes that can be set.
      if (name === 'cairn.policies') continue;
      try {
        addon.setXattr(place, Buffer.from(name, 'latin1'), value);
      } catch (error) {
        note(`the extended attribute ${pathText(Buffer.from(name, 'latin1'))}`, error);
      }
    }
    let { mode } = inode;
    if (this.#isRoot) {
      try {
        lchownSync(place, inode.uid, inode.gid);
      } catch (error) {
        note('its owner', error);
        mode &= ~SET_IDS;
      }
    } else if (inode.uid !== this.#uid) mode &= ~SET_IDS;
    try {
      if ((mode & S_IFMT) !== S_IFLNK) chmodSync(place, mode & PERMISSIONS);
    } catch (error) {
      note('its mode', error);
    }
    try {
      addon.setTimes(place, inode.atime.sec, inode.atime.nsec, inode.mtime.sec, inode.mtime.nsec);
    } catch (error) {
      note('its times', error);
    }
  }

  #noteOn(path: Buffer): (why: string) => void {
    return (why) => this.#parts.report.add(path, 'note', why);
  }

  /** A name beside the file's own that no other file of the pool has. */
  async #partialPlace(place: Buffer, parent: Ino, { ino }: InodeRow): Promise<Buffer> {
    const at = place.lastIndexOf(0x2f) + 1;
    const whole = place.subarray(at);
    const cut = Buffer.concat([whole.subarray(0, NAME_MAX_BYTES - PARTIAL.length - 20), Buffer.from(`~${ino}`)]);
    for (let name = whole.length + PARTIAL.length <= NAME_MAX_BYTES ? whole : cut; ; name = cut) {
      const suffixed = Buffer.concat([name, Buffer.from(PARTIAL)]);
      const taken = (await this.#parts.meta.getDentry(parent, suffixed.toString('latin1'))) !== undefined;
      if (!taken || name === cut) return Buffer.concat([place.subarray(0, at), suffixed]);
    }
  }

  #rename(place: Buffer): void {
    const before = lstatSync(place, { throwIfNoEntry: false });
    if (before?.isDirectory()) throw new CairnError('EXISTS', 'a directory of its name is in its place');
    renameSync(this.#writing, place);
  }

  #clear(): void {
    rmSync(this.#writing.toString(), { force: true });
  }

  #attempt(path: Buffer, task: () => void): boolean {
    try {
      task();
      return true;
    } catch (error) {
      this.#refuse(path, error);
      return false;
    }
  }

  #refuse(path: Buffer, error: unknown): void {
    const found = error instanceof CairnError ? error : toCairnError(error, 'write', pathText(path));
    if (systemCode(found.cause) === undefined && !(error instanceof CairnError)) throw error;
    if (FATAL.has(found.code) && isFatal(found))
      throw new CairnError(found.code, found.message, {
        cause: error,
        hint: 'put that right and run the same command again: it goes on where it was',
      });
    this.#parts.report.add(path, 'refused', found.message);
  }
}

/** An unknown error of the system becomes IO too, and may concern this one name only. */
function isFatal({ code, cause }: CairnError): boolean {
  return code !== 'IO' || systemCode(cause) === 'EIO';
}

function writeFully(fd: number, bytes: Buffer, position: number): void {
  for (let done = 0; done < bytes.length; ) done += writeSync(fd, bytes, done, bytes.length - done, position + done);
}
