/**
 * One file, directory or link in memory: its attributes as they are now (an Inode is its own Attr, so that answering needs no
 * copy), and what of it the pool has.
 */
import { DIRTY, type FileContent, HOLE, SEALED, SEALED_HOLE } from '../cache/file-content.js';
import { RangeMap } from '../cache/range-map.js';
import type { Seal } from '../cache/seal.js';
import type { StagedInode } from '../cache/stage-op.js';
import type { Time } from '../io/clock.js';
import type { ExtentRow, Ino, InodeRow, Name } from '../meta/rows.js';
import type { Directory } from './directory.js';
import { ErrorSequence } from './error-sequence.js';
import { isDirectory } from './mode.js';
import { NO_POLICY, type Policy } from './policy.js';
import type { Attr } from './vfs.js';

const STAT_BLOCK_BYTES = 512;
const HOLES = RangeMap.mask(HOLE, SEALED_HOLE);

export class Inode implements Attr {
  readonly ino: Ino;
  mode: number;
  uid = 0;
  gid = 0;
  nlink = 1;
  rdev = 0;
  sizeBytes = 0;
  atime: Time;
  mtime: Time;
  ctime: Time;
  btime: Time;
  target = '';

  /** Version of the committed row; 0 if there is none. */
  version = 0;
  /** Size and content stage of the committed row: what an attribute commit repeats while the content is still staged. */
  committedSize = 0;
  contentStage = 0;
  /** Bytes of the committed content that are no holes; undefined if that must be asked of the store. */
  allocatedBytes: number | undefined = 0;
  /** Content changes up to this stage sequence have the pool promise (set before the metadata store knows). */
  durableStage = 0;
  /** A directory that has (or had) an entry for this inode; 0 if not known. */
  parent: Ino = 0;
  /** The name with which it was last seen there. */
  name: Name = '';
  /** It has lost one of several names, perhaps that one: `parent` need not have an entry for it any more. */
  isAstray = false;
  /** Attributes differ from the committed row and no commit under way has them. */
  attrDirty = false;
  /** A commit under way has the attributes: the row in the store may change any moment. */
  taken = false;
  /** Why the last attempt to commit the content failed; undefined once another is made. */
  failure: unknown;
  /** What its handles are to be told; undefined if there never was anything. */
  errors: ErrorSequence | undefined;
  /** The stage log lacks the attributes as they are. */
  imagePending = false;
  /** No name is left and nothing can give it one again. */
  gone = false;
  /** A publication that gives or takes a name is under way: changes wait for it. */
  held: Promise<void> | undefined;
  /** Open handles, and those of them that may write. */
  opens = 0;
  writers = 0;
  /** Asked for since the table last looked for what can be forgotten. */
  isUsed = false;
  /** How often faces remember this directory by its number (Vfs.hold). */
  holds = 0;
  content: FileContent | undefined;
  directory: Directory | undefined;
  /** Committed extents, complete; undefined if not loaded or too many. */
  extents: readonly ExtentRow[] | undefined;
  manyExtents = false;
  /** Attributes of the user's own: committed ones once loaded, and changes since (null: removed). */
  committedXattrs: Map<string, Uint8Array> | undefined;
  stagedXattrs: Map<string, Uint8Array | null> | undefined;
  /** What holds below this directory; as the PolicyTree found it at that age (0: never). */
  policy: Policy = NO_POLICY;
  policyAge = 0;

  constructor(ino: Ino, mode: number, now: Time) {
    this.ino = ino;
    this.mode = mode;
    this.atime = now;
    this.mtime = now;
    this.ctime = now;
    this.btime = now;
    if (isDirectory(mode)) this.nlink = 2;
  }

  static fromRow(row: InodeRow): Inode {
    const inode = new Inode(row.ino, row.mode, row.atime);
    inode.uid = row.uid;
    inode.gid = row.gid;
    inode.nlink = row.nlink;
    inode.rdev = row.rdev;
    inode.sizeBytes = row.sizeBytes;
    inode.mtime = row.mtime;
    inode.ctime = row.ctime;
    inode.btime = row.btime;
    inode.target = row.target;
    inode.version = row.version;
    inode.committedSize = row.sizeBytes;
    inode.allocatedBytes = row.sizeBytes;
    inode.contentStage = row.contentStage;
    inode.durableStage = row.contentStage;
    return inode;
  }

  /**
   * What st_blocks is for: copying programs look for holes only in a file that has fewer of them than its size needs. Never too few; where
   * staged bytes lie over a file with holes perhaps too many, because they are not compared with the extents.
   */
  get blocks(): number {
    return Math.ceil(this.#usedBytes() / STAT_BLOCK_BYTES);
  }

  #usedBytes(): number {
    const { content, sizeBytes } = this;
    if (content === undefined || this.allocatedBytes === undefined) return sizeBytes;
    const { ranges } = content;
    const staged = ranges.bytes(DIRTY) + ranges.bytes(SEALED);
    let kept = this.allocatedBytes;
    if (kept > 0 && ranges.firstAtOrAfter(0, HOLES) !== undefined) {
      let holes = 0;
      ranges.forEachOf(0, this.committedSize, HOLES, (from, to) => {
        holes += to - from;
      });
      kept = Math.max(0, kept - holes);
    }
    return Math.min(sizeBytes, kept + staged);
  }

  /** To be called before a commit of content is applied: what will be allocated then, as far as that can be told without the extents. */
  allocate(seal: Seal, extents: readonly ExtentRow[]): void {
    const before = this.committedSize;
    const after = seal.sizeBytes;
    let added = 0;
    let rewritten = false;
    for (const { offset, length } of extents) {
      if (offset >= before) added += length;
      else {
        added += Math.max(0, offset + length - before);
        rewritten = true;
      }
    }
    const isDense = this.allocatedBytes === before;
    let kept = Math.min(before, after);
    for (const { from, to } of seal.holes) kept -= Math.max(0, Math.min(to, before, after) - from);
    if (isDense) this.allocatedBytes = kept + added;
    else if (this.allocatedBytes !== undefined && !rewritten && seal.holes.every(({ from }) => from >= before))
      this.allocatedBytes += added;
    else this.allocatedBytes = undefined;
  }

  /** Seen under this name. */
  seenIn(parent: Ino, name: Name): void {
    this.parent = parent;
    this.name = name;
    this.isAstray = false;
  }

  /** A write, sync or commit of the content failed where nobody could be answered. `passing`: a later commit may make it good. */
  failed(error: unknown, passing: boolean): void {
    this.errors ??= new ErrorSequence();
    this.errors.record(error, passing);
  }

  /** Attributes are those of the image; content is untouched. */
  applyImage(image: StagedInode): void {
    this.mode = image.mode;
    this.uid = image.uid;
    this.gid = image.gid;
    this.nlink = image.nlink;
    this.rdev = image.rdev;
    this.atime = image.atime;
    this.mtime = image.mtime;
    this.ctime = image.ctime;
    this.btime = image.btime;
    this.target = image.target;
  }

  /** The row of the next commit; `content` is what it makes true of size and content stage. */
  toRow(content: { readonly sizeBytes: number; readonly contentStage: number }): InodeRow {
    return {
      ino: this.ino,
      version: this.version + 1,
      mode: this.mode,
      uid: this.uid,
      gid: this.gid,
      nlink: this.nlink,
      rdev: this.rdev,
      sizeBytes: content.sizeBytes,
      atime: this.atime,
      mtime: this.mtime,
      ctime: this.ctime,
      btime: this.btime,
      target: this.target,
      contentStage: content.contentStage,
    };
  }

  /** Nothing but clean cached bytes would be lost by forgetting it: it can be loaded again as it is. */
  get forgettable(): boolean {
    return (
      this.opens === 0 &&
      !this.attrDirty &&
      !this.taken &&
      !this.imagePending &&
      !this.gone &&
      this.held === undefined &&
      this.failure === undefined &&
      this.errors?.isUnseen !== true &&
      (this.content === undefined || this.content.clean) &&
      (this.directory === undefined || this.directory.forgettable) &&
      (this.stagedXattrs === undefined || this.stagedXattrs.size === 0)
    );
  }
}
