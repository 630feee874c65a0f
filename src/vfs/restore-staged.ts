/** Puts what the stage log held after a crash back on top of the committed state, as if it had just been staged. */
import type { CacheAccount } from '../cache/cache-account.js';
import type { CacheFiles } from '../cache/cache-files.js';
import { DIRTY, HOLE } from '../cache/file-content.js';
import type { StageOp } from '../cache/stage-op.js';
import { type ReplayedContent, replayContent, type StagedContents, type StagedReplay } from '../cache/staged-replay.js';
import type { Clock } from '../io/clock.js';
import type { MetaStore } from '../meta/meta-store.js';
import type { Ino } from '../meta/rows.js';
import { Inode } from './inode.js';
import type { InodeTable } from './inode-table.js';
import type { StagedSet } from './staged-set.js';

/** Asked of the metadata store at once. */
const NAMELESS_PAGE = 1000;

export interface RestoreReport {
  readonly files: number;
  readonly bytes: number;
  readonly names: number;
  /** The cache's device has lost what was in its page cache, in this boot: only what had been synced is here. */
  readonly lostPages: boolean;
  /** Writes that a power cut took, that nobody had been promised, and that no commit has. */
  readonly lostWrites: number;
}

/** What a file becomes. */
interface RestoredFile {
  readonly inode: Inode;
  readonly outcome: ReplayedContent;
}

export class StagedRestore {
  readonly #meta: Pick<MetaStore, 'listNameless'>;
  readonly #table: InodeTable;
  readonly #staged: StagedSet;
  readonly #account: CacheAccount;
  readonly #files: CacheFiles;
  readonly #clock: Clock;

  constructor(parts: {
    meta: Pick<MetaStore, 'listNameless'>;
    table: InodeTable;
    staged: StagedSet;
    account: CacheAccount;
    files: CacheFiles;
    clock: Clock;
  }) {
    this.#meta = parts.meta;
    this.#table = parts.table;
    this.#staged = parts.staged;
    this.#account = parts.account;
    this.#files = parts.files;
    this.#clock = parts.clock;
  }

  /** `stagedThrough`: names and attributes up to this stage sequence are committed. */
  async run(replay: StagedReplay, stagedThrough: number): Promise<RestoreReport> {
    let names = 0;
    // A name may be noted before the attributes of what it stands for, and of the directory that it is in.
    for (const ino of replay.contents.keys()) this.#sawIno(ino);
    for (const { sequence, op } of replay.names) {
      this.#sawOp(op);
      if (sequence > stagedThrough && op.kind === 'inode' && (await this.#table.find(op.inode.ino)) === undefined)
        this.#table.add(new Inode(op.inode.ino, op.inode.mode, op.inode.mtime));
    }
    for (const { sequence, op } of replay.names) {
      if (sequence <= stagedThrough) continue;
      await this.#name(op);
      names += 1;
    }
    await this.#dropDangling(replay, stagedThrough);
    await this.#dropNameless(replay);
    let restored = await this.#restored(replay);
    const lostPages = restored.files.some((file) => this.#lacksPages(file));
    if (lostPages) restored = await this.#restored(replay.withoutPages());
    const { files } = restored;
    const lostWrites = replay.brokenOffWrites + restored.lostWrites;
    let bytes = 0;
    const claimed = new Set<Ino>();
    for (const { inode, outcome } of files) {
      claimed.add(inode.ino);
      bytes += this.#content(inode, outcome);
    }
    for (const ino of this.#files.list()) if (!claimed.has(ino)) await this.#files.remove(ino);
    return { files: files.length, bytes, names, lostPages, lostWrites };
  }

  /** The files that something is staged of, and how many writes of any are lost and in no commit. */
  async #restored({ contents, lost }: StagedContents): Promise<{ files: RestoredFile[]; lostWrites: number }> {
    const files: RestoredFile[] = [];
    let lostWrites = 0;
    for (const [ino, ops] of contents) {
      const inode = await this.#table.find(ino);
      if (inode === undefined || inode.content === undefined || inode.gone) continue;
      const staged = ops.filter(({ sequence }) => sequence > inode.contentStage);
      const gone = (lost.get(ino) ?? []).filter(({ sequence }) => sequence > inode.contentStage);
      lostWrites += gone.length;
      if (staged.length > 0) files.push({ inode, outcome: replayContent(staged, inode.sizeBytes, gone) });
    }
    return { files, lostWrites };
  }

  #lacksPages({ inode, outcome }: RestoredFile): boolean {
    return !this.#files.reaches(
      inode.ino,
      outcome.inFile.reduce((end, { to }) => Math.max(end, to), 0),
    );
  }

  /** Inode numbers given out before the crash are never given out again, also those of files that came and went before their attributes were noted. */
  #sawOp(op: StageOp): void {
    if (op.kind === 'inode') this.#sawIno(op.inode.ino);
    else if ('ino' in op) this.#sawIno(op.ino);
  }

  #sawIno(ino: Ino): void {
    this.#staged.nextIno = Math.max(this.#staged.nextIno, ino + 1);
  }

  async #name(op: StageOp): Promise<void> {
    switch (op.kind) {
      case 'inode': {
        const inode = (await this.#table.find(op.inode.ino))!;
        inode.applyImage(op.inode);
        if (inode.content === undefined && inode.directory === undefined) inode.sizeBytes = inode.target.length;
        this.#staged.touch(inode);
        break;
      }
      case 'inode-gone': {
        const inode = await this.#table.find(op.ino);
        if (inode === undefined) break;
        inode.gone = true;
        inode.nlink = 0;
        this.#staged.touch(inode);
        break;
      }
      case 'dentry':
      case 'dentry-gone': {
        const parent = await this.#table.find(op.parent);
        if (parent?.directory === undefined) break;
        const entry = await parent.directory.entry(op.name);
        if (op.kind === 'dentry') {
          const child = await this.#table.find(op.ino);
          if (child !== undefined) child.parent = parent.ino;
          this.#staged.changeEntry(parent, entry, { ino: op.ino, isDirectory: op.isDirectory });
        } else if (entry.target?.isDirectory === op.isDirectory) this.#staged.changeEntry(parent, entry, undefined);
        break;
      }
      case 'xattr':
      case 'xattr-gone': {
        const inode = await this.#table.find(op.ino);
        if (inode === undefined) break;
        inode.stagedXattrs ??= new Map();
        inode.stagedXattrs.set(op.name, op.kind === 'xattr' ? Uint8Array.from(op.value) : null);
        this.#staged.touch(inode);
        break;
      }
      default:
        break;
    }
  }

  /** A name whose inode is not there: power loss took the record with the inode, so neither was promised. */
  async #dropDangling({ names }: StagedReplay, stagedThrough: number): Promise<void> {
    for (const { sequence, op } of names) {
      if (op.kind !== 'dentry' || sequence <= stagedThrough) continue;
      const child = await this.#table.find(op.ino);
      if (child !== undefined && !child.gone) continue;
      const parent = await this.#table.find(op.parent);
      const entry = await parent?.directory?.entry(op.name);
      if (entry?.target?.ino === op.ino) this.#staged.changeEntry(parent!, entry, undefined);
    }
  }

  /** Files that were open without a name: nobody can give them one any more. */
  async #dropNameless({ names }: StagedReplay): Promise<void> {
    const nameless = new Set<Ino>();
    for (const { op } of names) if (op.kind === 'inode' && op.inode.nlink === 0) nameless.add(op.inode.ino);
    for (let after = 0; ; ) {
      const page = await this.#meta.listNameless(after, NAMELESS_PAGE);
      for (const ino of page) nameless.add(ino);
      if (page.length < NAMELESS_PAGE) break;
      after = page.at(-1)!;
    }
    for (const ino of nameless) {
      const inode = await this.#table.find(ino);
      if (inode === undefined || inode.nlink > 0 || inode.gone) continue;
      inode.gone = true;
      this.#staged.touch(inode);
    }
  }

  #content(inode: Inode, outcome: ReturnType<typeof replayContent>): number {
    const content = inode.content!;
    let bytes = 0;
    for (const { from, to } of outcome.holes) content.ranges.set(from, to, HOLE);
    if (outcome.inFile.length > 0) content.leaveMemory();
    for (const { from, bytes: inline } of outcome.inline) {
      content.write(from, inline);
      bytes += inline.length;
    }
    for (const { from, to } of outcome.inFile) {
      content.ranges.set(from, to, DIRTY);
      bytes += to - from;
    }
    inode.sizeBytes = outcome.sizeBytes;
    content.stagedSinceMs = this.#clock.monotonicMs();
    content.stagedFrom = inode.contentStage;
    content.doubtUnsynced();
    this.#account.book(content);
    this.#staged.contents.add(inode);
    this.#staged.touch(inode);
    return bytes;
  }
}
