/**
 * The Vfs of a pool: attributes, handles and what they read and write, over the staged state in memory and the committed state in the metadata store; names are in namespace.ts.
 *
 * Every change is made in one synchronous step, after everything it needs has been loaded; so no other request sees half of it, and a
 * commit, which also takes its cut synchronously, never takes half of it.
 */
import { MEMORY_FILE_BYTES } from '../cache/file-content.js';
import type { StageLog } from '../cache/stage-log.js';
import { CairnError } from '../errors/cairn-error.js';
import type { Clock } from '../io/clock.js';
import { hasSupplementaryGroup } from '../io/process-groups.js';
import type { UserWork } from '../jobs/user-work.js';
import type { Ino, Name } from '../meta/rows.js';
import { ACCESS_LIST, AccessList, DEFAULT_LIST } from './access-list.js';
import { type AccessTimes, readingCounts } from './access-times.js';
import type { Activity } from './activity.js';
import type { Backings } from './backings.js';
import type { Committer } from './committer.js';
import type { FileData } from './file-data.js';
import { type FileHandle, Handles } from './handles.js';
import type { Inode } from './inode.js';
import type { InodeTable } from './inode-table.js';
import type { Interruption } from './interruption.js';
import { listDirectory } from './list-directory.js';
import {
  isDirectory,
  isFile,
  isSymlink,
  PERMISSIONS,
  S_IFDIR,
  S_IFLNK,
  S_IFMT,
  S_IFREG,
  S_ISGID,
  withoutPrivileges,
} from './mode.js';
import { Namespace, type NamespaceParts } from './namespace.js';
import { EFFECTIVE_POLICY, isPolicyAttribute, POLICY_KEYS, type PoolPolicy } from './policy.js';
import type { PolicyTree } from './policy-tree.js';
import type { RangeCopier } from './range-copier.js';
import type { FileState } from './reports.js';
import { chain } from './result.js';
import type { StagedSet } from './staged-set.js';
import { isStateAttribute, refuseStateAttribute, stateAttribute } from './state-attributes.js';
import type { StrongRule } from './strong-rule.js';
import type {
  AllocateMode,
  Attr,
  AttrChange,
  Backing,
  BlockReport,
  Caller,
  CreateResult,
  DirEntry,
  Handle,
  OpenMode,
  ReadPart,
  RenameOptions,
  Result,
  SpaceReport,
  Vfs,
} from './vfs.js';
import type { Xattrs } from './xattrs.js';

/** There is no table of inodes that could fill up. */
const FILES_FREE = 1_000_000_000;
const TARGET_BYTES_MAX = 4095;
/** Reads in a row, each where the last one ended, that make a reader sequential. */
const SEQUENTIAL_READS = 2;

export class Volume implements Vfs {
  readonly strong: boolean;
  readonly #rule: StrongRule;
  readonly #table: InodeTable;
  readonly #data: FileData;
  readonly #staged: StagedSet;
  readonly #stage: StageLog;
  readonly #committer: Committer;
  readonly #copier: RangeCopier;
  readonly #xattrs: Xattrs;
  readonly #policies: PolicyTree;
  readonly #clock: Clock;
  readonly #space: () => BlockReport;
  readonly #inodes: () => Promise<number>;
  readonly #userWork: UserWork;
  readonly #activity: Activity;
  readonly #backings: Backings;
  readonly #accessTimes: AccessTimes;
  readonly #stateOf: (inode: Inode) => Promise<Omit<FileState, 'path'>>;
  readonly #names: Namespace;
  readonly #handles = new Handles();

  constructor(
    parts: NamespaceParts & {
      strong: boolean;
      rule: StrongRule;
      stage: StageLog;
      copier: RangeCopier;
      space: () => BlockReport;
      /** How many are committed, with the root. */
      inodes: () => Promise<number>;
      activity: Activity;
      accessTimes: AccessTimes;
      stateOf: (inode: Inode) => Promise<Omit<FileState, 'path'>>;
    },
  ) {
    this.strong = parts.strong;
    this.#rule = parts.rule;
    this.#table = parts.table;
    this.#data = parts.data;
    this.#staged = parts.staged;
    this.#stage = parts.stage;
    this.#committer = parts.committer;
    this.#copier = parts.copier;
    this.#xattrs = parts.xattrs;
    this.#policies = parts.policies;
    this.#clock = parts.clock;
    this.#space = parts.space;
    this.#inodes = parts.inodes;
    this.#userWork = parts.userWork;
    this.#activity = parts.activity;
    this.#stateOf = parts.stateOf;
    this.#backings = parts.backings;
    this.#accessTimes = parts.accessTimes;
    this.#names = new Namespace(parts);
    this.#backings.hold = (inode) => {
      const handle = this.#handles.open(inode, { read: true, write: false });
      return () => void this.release(handle);
    };
  }

  /** What holds where no directory says anything else. */
  get poolPolicy(): PoolPolicy {
    return { mode: this.strong ? 'strong' : 'default', commitDelayMs: this.#committer.delayMs };
  }

  lookup(parent: Ino, name: Name): Result<Attr | undefined> {
    return this.#names.lookup(parent, name);
  }

  getattr(ino: Ino): Result<Attr> {
    return this.#userWork.count(chain(this.#table.get(ino), (inode) => this.#table.measured(inode)));
  }

  /** A size is kept as names are: SQLite ends a transaction with one (TRUNCATE). Other attributes reach the stage log with what comes next, or a moment later. */
  setattr(ino: Ino, change: AttrChange, caller: Caller): Result<Attr> {
    const changed = this.#userWork.count(this.#setattr(ino, change, caller));
    return change.sizeBytes === undefined ? changed : this.#kept(changed);
  }

  #setattr(ino: Ino, change: AttrChange, caller: Caller): Result<Attr> {
    const wait = this.#committer.room(0);
    if (wait !== undefined) return wait.then(() => this.#setattr(ino, change, caller));
    return chain(this.#names.free(ino), (inode) => {
      const list = change.mode === undefined ? undefined : this.#xattrs.accessList(inode, ACCESS_LIST);
      return chain(list, (accessList) => {
        if (this.#table.peek(ino) !== inode || inode.held !== undefined) return this.#setattr(ino, change, caller);
        return this.#change(inode, change, accessList, caller);
      });
    });
  }

  #change(inode: Inode, change: AttrChange, accessList: AccessList | undefined, caller: Caller): Inode {
    // Also while a commit is under way: the cache keeps the bytes that are cut off until it has read them.
    if (change.sizeBytes !== undefined) this.#data.resize(inode, change.sizeBytes);
    const now = this.#clock.now();
    const chowned = change.uid !== undefined || change.gid !== undefined;
    if (change.killPrivileges === true || (chowned && inode.directory === undefined))
      this.#killPrivileges(inode, caller);
    if (change.uid !== undefined) inode.uid = change.uid;
    if (change.gid !== undefined) inode.gid = change.gid;
    if (change.mode !== undefined) {
      inode.mode = (inode.mode & S_IFMT) | (change.mode & PERMISSIONS);
      if (accessList !== undefined) this.#xattrs.putAccessList(inode, accessList.withMode(change.mode));
    }
    if (change.atime !== undefined) inode.atime = change.atime === 'now' ? now : change.atime;
    if (change.mtime !== undefined) inode.mtime = change.mtime === 'now' ? now : change.mtime;
    inode.ctime = change.ctime ?? now;
    this.#names.touch(inode);
    return inode;
  }

  /** Set-id bits and file capabilities; the kernel leaves this to us when it has agreed to HANDLE_KILLPRIV_V2. */
  #killPrivileges(inode: Inode, { uid, gid, pid }: Caller): void {
    const isOfGroup = () => uid === 0 || gid === inode.gid || hasSupplementaryGroup(pid, inode.gid);
    inode.mode = withoutPrivileges(inode.mode, isOfGroup);
    this.#xattrs.dropCapability(inode);
  }

  readlink(ino: Ino): Result<Name> {
    return chain(this.#table.get(ino), (inode) => {
      if (!isSymlink(inode.mode)) throw new CairnError('INVALID', 'this is not a symbolic link');
      this.#access(inode);
      return inode.target;
    });
  }

  create(parent: Ino, name: Name, mode: number, open: OpenMode, caller: Caller): Result<CreateResult> {
    return chain(this.#names.make(parent, name, S_IFREG | (mode & PERMISSIONS), caller), (inode) => {
      const handle = this.#handles.open(inode, open);
      // A close promises the name, also of a file without bytes.
      this.#handles.file(handle).written = true;
      return this.#ready(inode, { attr: inode, handle });
    });
  }

  /** From here on what holds for an open file is in memory: whoever stages or syncs need not wait for it. */
  #ready<T>(inode: Inode, opened: T): Result<T> {
    return chain<unknown, T>(this.#policies.of(inode), () => opened);
  }

  mknod(parent: Ino, name: Name, mode: number, rdev: number, caller: Caller): Result<Attr> {
    return this.#kept(this.#mknod(parent, name, mode, rdev, caller));
  }

  #mknod(parent: Ino, name: Name, mode: number, rdev: number, caller: Caller): Result<Attr> {
    if (isDirectory(mode) || isSymlink(mode))
      throw new CairnError('INVALID', 'mknod makes neither directories nor links');
    const full = (mode & S_IFMT) === 0 ? S_IFREG | mode : mode;
    return this.#names.make(parent, name, full, caller, (inode) => {
      inode.rdev = rdev;
    });
  }

  mkdir(parent: Ino, name: Name, mode: number, caller: Caller): Result<Attr> {
    return this.#kept(this.#mkdir(parent, name, mode, caller));
  }

  #mkdir(parent: Ino, name: Name, mode: number, caller: Caller): Result<Attr> {
    return this.#names.make(parent, name, S_IFDIR | (mode & PERMISSIONS), caller);
  }

  /** As mkdir, with attributes from the start. */
  makeDirectory(
    parent: Ino,
    name: Name,
    mode: number,
    caller: Caller,
    attributes: ReadonlyMap<string, Uint8Array>,
  ): Result<Attr> {
    return chain(this.#names.make(parent, name, S_IFDIR | (mode & PERMISSIONS), caller), (inode) => {
      this.putAttributes(inode, attributes);
      return inode;
    });
  }

  /** Attributes of the object face. */
  putAttributes(inode: Inode, values: ReadonlyMap<string, Uint8Array | null>): void {
    this.#xattrs.put(inode, values);
    if (values.size > 0) this.#attributesChanged(inode);
  }

  symlink(parent: Ino, name: Name, target: Name, caller: Caller): Result<Attr> {
    return this.#kept(this.#symlink(parent, name, target, caller));
  }

  #symlink(parent: Ino, name: Name, target: Name, caller: Caller): Result<Attr> {
    if (target.length > TARGET_BYTES_MAX)
      throw new CairnError('NAME_TOO_LONG', `a link's target may have at most ${TARGET_BYTES_MAX} bytes`);
    return this.#names.make(parent, name, S_IFLNK | 0o777, caller, (inode) => {
      inode.target = target;
      inode.sizeBytes = target.length;
    });
  }

  tmpfile(parent: Ino, mode: number, open: OpenMode, caller: Caller): Result<CreateResult> {
    return chain(this.#names.makeNameless(parent, S_IFREG | (mode & PERMISSIONS), caller), (inode) => ({
      attr: inode,
      handle: this.#handles.open(inode, open),
    }));
  }

  /** What is answered survives a kill of the daemon: a name that is gone, say, by which SQLite commits a transaction. */
  #kept<T>(result: Result<T>): Result<T> {
    return chain(result, (value) => chain<void, T>(this.#stage.flush(), () => value));
  }

  link(ino: Ino, parent: Ino, name: Name): Result<Attr> {
    return this.#kept(this.#names.link(ino, parent, name));
  }

  unlink(parent: Ino, name: Name): Result<void> {
    return this.#kept(this.#names.unlink(parent, name));
  }

  rmdir(parent: Ino, name: Name): Result<void> {
    return this.#kept(this.#names.rmdir(parent, name));
  }

  rename(parent: Ino, name: Name, newParent: Ino, newName: Name, options: RenameOptions): Result<void> {
    return this.#kept(this.#names.rename(parent, name, newParent, newName, options));
  }

  /** A publication has taken the file's last name. */
  retire(inode: Inode): void {
    this.#names.retire(inode);
  }

  open(ino: Ino, mode: OpenMode): Result<Handle> {
    return this.#userWork.count(this.#open(ino, mode));
  }

  #open(ino: Ino, mode: OpenMode): Result<Handle> {
    return chain(this.#table.get(ino), (inode) => {
      if (inode.directory !== undefined) throw new CairnError('IS_DIRECTORY', 'this is a directory');
      if (!isFile(inode.mode)) throw new CairnError('INVALID', 'this is not a regular file');
      if (mode.truncate !== true) return this.#ready(inode, this.#handles.open(inode, mode));
      return chain(this.setattr(ino, { sizeBytes: 0 }, { uid: 0, gid: 0, pid: 0 }), () => {
        const handle = this.#handles.open(inode, mode);
        this.#handles.file(handle).written = true;
        return handle;
      });
    });
  }

  read(handle: Handle, offset: number, length: number): Result<ReadPart[]> {
    const made = this.#underWay(handle);
    if (made !== undefined) return made.then(() => this.read(handle, offset, length));
    const file = this.#reading(handle);
    const startedMs = this.#clock.monotonicMs();
    const bytes = bytesWithin(file, offset, length);
    const parts = this.#data.read(file.inode, offset, length, runOf(file, offset, length));
    return this.#activity.read.note(startedMs, bytes, parts);
  }

  /** Ends with the publication that makes the file: before that its last bytes may be on no disk. */
  #underWay(handle: Handle): Promise<void> | undefined {
    const { inode } = this.#handles.file(handle);
    return inode.version === 0 ? inode.held : undefined;
  }

  #reading(handle: Handle): FileHandle {
    const file = this.#handles.file(handle);
    if (!file.mode.read) throw new CairnError('BAD_HANDLE', 'the file is not open for reading');
    if (file.mode.noAccessTime !== true) this.#access(file.inode);
    return file;
  }

  /** As `read`, with the bytes themselves, which no write changes. */
  async readBytes(handle: Handle, from: number, to: number): Promise<Uint8Array[]> {
    await this.#underWay(handle);
    const file = this.#reading(handle);
    const startedMs = this.#clock.monotonicMs();
    const bytes = bytesWithin(file, from, to - from);
    const reading = this.#data.readOwn(file.inode, from, to - from, runOf(file, from, to - from));
    const parts = await this.#activity.read.note(startedMs, bytes, reading);
    return parts.map((part) => {
      // A small file's bytes may be a view of what the next write changes.
      if (part instanceof Uint8Array) return part.length > MEMORY_FILE_BYTES ? part : Buffer.from(part);
      const bytes = Buffer.allocUnsafe(part.length);
      this.#data.copyCached(file.inode, bytes, part.position);
      return bytes;
    });
  }

  /** A face has answered a read from bytes that it had read before. */
  noteRead(bytes: number): void {
    this.#activity.read.note(this.#clock.monotonicMs(), bytes, undefined);
  }

  write(
    handle: Handle,
    offset: number,
    bytes: Uint8Array,
    killer?: Caller,
    interruption?: Interruption,
    isLate = false,
  ): Result<number> {
    const file = this.#handles.file(handle);
    if (!file.mode.write) throw new CairnError('BAD_HANDLE', 'the file is not open for writing');
    if (file.inode.held !== undefined) {
      const copy = Buffer.from(bytes);
      return file.inode.held.then(() => this.write(handle, offset, copy, killer, undefined, isLate));
    }
    file.written = true;
    // Capabilities go with every write, also root's; the kernel sees to it only where the bytes pass its own pages.
    if (killer !== undefined) this.#killPrivileges(file.inode, killer);
    else if (!isLate) this.#xattrs.dropCapability(file.inode);
    const startedMs = this.#clock.monotonicMs();
    const append = file.mode.append === true;
    const written = this.#data.write(file.inode, { offset, append, interruption, isLate }, bytes);
    return this.#activity.write.note(startedMs, bytes.length, written);
  }

  flush(handle: Handle): Result<void> {
    const file = this.#handles.file(handle);
    return chain(this.#isStrong(file.inode), (strong) => this.#flush(file, strong));
  }

  /** Whether an fsync of it gives the pool promise. */
  #isStrong(inode: Inode): Result<boolean> {
    return chain(this.#policies.of(inode), ({ mode }) => (mode === undefined ? this.strong : mode === 'strong'));
  }

  #flush(file: FileHandle, strong: boolean): Result<void> {
    const { inode } = file;
    // Truncating does not go through the handle, and what a face has kept comes through any.
    const changed = file.mode.write && inode.content?.staged === true;
    if (!file.written && !changed) return undefined;
    file.written = false;
    const flushing = this.#stage.flush();
    if (!strong || inode.gone) return flushing;
    const startedMs = this.#clock.monotonicMs();
    const promised = this.#rule.promise(() => this.#committer.commitFile(inode));
    return this.#activity.sync.note(startedMs, 0, this.#reporting(file, promised));
  }

  /** Default mode: the local promise. Strong mode, or where the cache device has failed: the pool promise. */
  fsync(handle: Handle, _dataOnly: boolean): Result<void> {
    const file = this.#handles.file(handle);
    const startedMs = this.#clock.monotonicMs();
    const synced = this.#reporting(file, this.#sync(file.inode));
    return this.#activity.sync.note(startedMs, 0, synced);
  }

  /** What has failed in the background, or for another handle, is told with the outcome: once per handle. */
  #reporting(file: FileHandle, outcome: Result<void>): Result<void> {
    const told = (): void => {
      const error = this.#handles.takeError(file);
      if (error !== undefined) throw error;
    };
    if (!(outcome instanceof Promise)) return told();
    return outcome.then(told, (error: unknown) => {
      this.#handles.takeError(file);
      throw error;
    });
  }

  #sync(inode: Inode): Result<void> {
    // What the caller may have seen of a publication must not be gone after a crash.
    const { publishing } = this.#staged;
    return publishing === undefined ? this.#syncNow(inode) : publishing.then(() => this.#syncNow(inode));
  }

  #syncNow(inode: Inode): Result<void> {
    if (inode.gone) return undefined;
    return chain(this.#isStrong(inode), (strong) => {
      if (inode.gone) return undefined;
      if (!strong && this.#stage.failure === undefined) return this.#syncLocal(inode);
      const commit = () =>
        inode.directory === undefined ? this.#committer.commitFile(inode) : this.#committer.commitNames();
      return strong ? this.#rule.promise(commit) : commit();
    });
  }

  async #syncLocal(inode: Inode): Promise<void> {
    try {
      await this.#data.syncLocal(inode);
    } catch (error) {
      if (this.#stage.failure === undefined) throw error;
      // The cache device has just failed: what it can no longer promise, the pool can.
      await this.#syncNow(inode);
    }
  }

  /** Something of it was read: true if that has moved the access time. */
  #access(inode: Inode): boolean {
    const rule = inode.directory === undefined ? this.#accessTimes.files : this.#accessTimes.directories;
    if (inode.gone || rule === 'never') return false;
    const now = this.#clock.now();
    if (!readingCounts(rule, inode, now)) return false;
    // Reading waits for no commit: where there is no room for more changes, a later read will tell.
    if (!inode.attrDirty && !this.#committer.hasRoomForNames) return false;
    inode.atime = now;
    this.#names.touch(inode);
    return true;
  }

  accessed(handle: Handle): boolean {
    if (this.#handles.isDirectory(handle)) return this.#access(this.#handles.directory(handle).inode);
    const { inode, mode } = this.#handles.file(handle);
    return mode.read && !mode.write && mode.noAccessTime !== true && this.#access(inode);
  }

  backing(handle: Handle): Backing | undefined {
    return this.#backings.take(this.#handles.file(handle).inode);
  }

  release(handle: Handle): Result<void> {
    const { inode } = this.#handles.close(handle);
    this.#names.retire(inode);
  }

  fallocate(handle: Handle, mode: AllocateMode, offset: number, length: number): Result<void> {
    const file = this.#handles.file(handle);
    const { inode } = file;
    if (!file.mode.write) throw new CairnError('BAD_HANDLE', 'the file is not open for writing');
    if (inode.held !== undefined) return inode.held.then(() => this.fallocate(handle, mode, offset, length));
    const end = offset + length;
    const space = this.#space();
    if (!mode.punchHole && length > space.freeBlocks * space.blockBytes)
      throw new CairnError('NO_SPACE', 'the pool has not so much room');
    file.written = true;
    if (mode.punchHole || mode.zeroRange) this.#data.punch(inode, offset, end);
    if (!mode.keepSize && !mode.punchHole && end > inode.sizeBytes) this.#data.resize(inode, end);
    return undefined;
  }

  async copyRange(from: Handle, offset: number, to: Handle, toOffset: number, length: number): Promise<number> {
    const source = this.#handles.file(from);
    const target = this.#handles.file(to);
    if (!source.mode.read || !target.mode.write)
      throw new CairnError('BAD_HANDLE', 'the files are not open for reading and writing');
    target.written = true;
    this.#xattrs.dropCapability(target.inode);
    const copied = await this.#copier.copy(source.inode, offset, target.inode, toOffset, length);
    if (copied > 0) {
      const now = this.#clock.now();
      target.inode.mtime = now;
      target.inode.ctime = now;
      this.#names.touch(target.inode);
    }
    return copied;
  }

  seek(handle: Handle, offset: number, whence: 'data' | 'hole'): Result<number> {
    return this.#data.seek(this.#handles.file(handle).inode, offset, whence);
  }

  opendir(ino: Ino): Result<Handle> {
    return chain(this.#names.directory(ino), (inode) => this.#handles.openDirectory(inode));
  }

  listingStands(handle: Handle): boolean {
    const { inode, directory } = this.#handles.directory(handle);
    return this.#handles.listings.stands(directory, inode.parent);
  }

  hold(ino: Ino): void {
    const inode = this.#table.peek(ino);
    if (inode?.directory !== undefined) inode.holds += 1;
  }

  unhold(ino: Ino, count: number): void {
    const inode = this.#table.unhold(ino, count);
    if (inode?.gone === true) this.#names.retire(inode);
  }

  readdir(
    handle: Handle,
    cookie: number,
    plus: boolean,
    take: (entry: DirEntry, attr: Attr | undefined) => boolean,
  ): Result<void> {
    const directory = this.#handles.directory(handle);
    if (cookie === 0) this.#access(directory.inode);
    return this.#userWork.count(listDirectory(directory, this.#handles, this.#table, cookie, plus, take));
  }

  fsyncdir(handle: Handle): Result<void> {
    return this.#sync(this.#handles.directory(handle).inode);
  }

  releasedir(handle: Handle): Result<void> {
    const { inode } = this.#handles.directory(handle);
    this.#handles.closeDirectory(handle);
    this.#names.retire(inode);
  }

  getxattr(ino: Ino, name: string): Result<Uint8Array> {
    if (isStateAttribute(name))
      return chain(this.#table.get(ino), (inode) => stateAttribute(name, () => this.#stateOf(inode)));
    if (name === EFFECTIVE_POLICY)
      return chain(this.#table.get(ino), (inode) =>
        chain(this.#policies.of(inode), (policy) => {
          const texts = this.#policies.effective(policy, this.poolPolicy);
          return Buffer.from(POLICY_KEYS.map((key) => `${key}=${texts[key]}`).join(' '), 'latin1');
        }),
      );
    return chain(this.#table.get(ino), (inode) => this.#xattrs.get(inode, name));
  }

  listxattr(ino: Ino): Result<string[]> {
    return chain(this.#table.get(ino), (inode) => this.#xattrs.list(inode));
  }

  setxattr(
    ino: Ino,
    name: string,
    value: Uint8Array,
    mode: 'set' | 'create' | 'replace',
    killSetGroupId = false,
    caller?: Caller,
  ): Result<void> {
    const wait = this.#committer.room(0);
    if (wait !== undefined) return wait.then(() => this.setxattr(ino, name, value, mode, killSetGroupId, caller));
    if (isStateAttribute(name) || name === EFFECTIVE_POLICY) return refuseStateAttribute();
    if (isPolicyAttribute(name))
      return this.#setPolicy(ino, name, value, caller, (inode) => this.#xattrs.set(inode, name, value, mode));
    if (name === ACCESS_LIST) return this.#setAccessList(ino, AccessList.decode(value), killSetGroupId);
    if (name === DEFAULT_LIST) AccessList.decode(value);
    return chain(this.#names.free(ino), (inode) => {
      if (name === DEFAULT_LIST && inode.directory === undefined)
        throw new CairnError('ACCESS', 'only a directory has a default access list');
      return chain(this.#xattrs.set(inode, name, value, mode), () => this.#attributesChanged(inode));
    });
  }

  #setAccessList(ino: Ino, list: AccessList, killSetGroupId: boolean): Result<void> {
    return chain(this.#names.free(ino), (inode) =>
      chain(this.#xattrs.putAccessList(inode, list), () => {
        inode.mode = list.applyTo(inode.mode);
        if (killSetGroupId) inode.mode &= ~S_ISGID;
        this.#attributesChanged(inode);
      }),
    );
  }

  removexattr(ino: Ino, name: string, caller?: Caller): Result<void> {
    if (isStateAttribute(name) || name === EFFECTIVE_POLICY) return refuseStateAttribute();
    if (isPolicyAttribute(name))
      return this.#setPolicy(ino, name, undefined, caller, (inode) => this.#xattrs.remove(inode, name));
    return chain(this.#names.free(ino), (inode) =>
      chain(this.#xattrs.remove(inode, name), () => this.#attributesChanged(inode)),
    );
  }

  /** `put` changes the attribute. What is answered survives a kill of the daemon, as names do. */
  #setPolicy(
    ino: Ino,
    name: string,
    value: Uint8Array | undefined,
    caller: Caller | undefined,
    put: (inode: Inode) => Result<void>,
  ): Result<void> {
    return this.#kept(
      chain(this.#names.free(ino), (inode) => {
        const policy = this.#policies.check(inode, name, value, caller);
        return chain(put(inode), () => {
          this.#attributesChanged(inode);
          return this.#policies.changed([policy]);
        });
      }),
    );
  }

  /** Sets (or, undefined, removes) keys of a directory's policy by the names of their attributes, all or none; a key that is not there is removed all the same. Errors as of PolicyTree.check. */
  setPolicies(ino: Ino, values: ReadonlyMap<string, Uint8Array | undefined>): Result<void> {
    const wait = this.#committer.room(0);
    if (wait !== undefined) return wait.then(() => this.setPolicies(ino, values));
    return this.#kept(
      chain(this.#names.free(ino), (inode) => {
        const policies = [...values].map(([name, value]) => this.#policies.check(inode, name, value, undefined));
        return chain(this.#xattrs.all(inode), (all) => {
          const changes = new Map<string, Uint8Array | null>();
          for (const [name, value] of values)
            if (value !== undefined || all.has(name)) changes.set(name, value ?? null);
          this.putAttributes(inode, changes);
          return this.#policies.changed(policies);
        });
      }),
    );
  }

  #attributesChanged(inode: Inode): void {
    inode.ctime = this.#clock.now();
    this.#names.touch(inode);
  }

  async statfs(): Promise<SpaceReport> {
    const files = (await this.#inodes()) + FILES_FREE;
    return { ...this.#space(), files, freeFiles: FILES_FREE };
  }
}

/** Bytes read in a row, with these that are read now; 0 for a reader that reads here and there. Who begins at the beginning is taken to go on. */
function runOf(file: FileHandle, offset: number, length: number): number {
  const goesOn = offset === file.readEnd;
  file.sequentialReads = goesOn ? file.sequentialReads + 1 : 0;
  file.readRun = (goesOn ? file.readRun : 0) + length;
  file.readEnd = offset + length;
  return file.sequentialReads >= SEQUENTIAL_READS || offset === 0 ? file.readRun : 0;
}

/** What a read gives at most. */
function bytesWithin({ inode }: FileHandle, offset: number, length: number): number {
  return Math.max(0, Math.min(length, inode.sizeBytes - offset));
}
