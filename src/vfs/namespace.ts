/**
 * Names: finding, making, moving and taking them, and what becomes of an inode that has none left.
 *
 * Every change is made in one synchronous step, after everything it needs has been loaded; where something else has changed meanwhile, all is looked up again.
 */
import { CairnError } from '../errors/cairn-error.js';
import type { Clock } from '../io/clock.js';
import type { UserWork } from '../jobs/user-work.js';
import { type Ino, type Name, ROOT_INO } from '../meta/rows.js';
import { type AccessList, DEFAULT_LIST } from './access-list.js';
import type { Backings } from './backings.js';
import type { Committer } from './committer.js';
import type { Entry, EntryTarget } from './directory.js';
import type { FileData } from './file-data.js';
import { isHidden } from './hidden-name.js';
import { Inode } from './inode.js';
import type { InodeTable } from './inode-table.js';
import { isDirectory, isSymlink, S_IFCHR, S_ISGID } from './mode.js';
import type { PolicyTree } from './policy-tree.js';
import type { PoolReader } from './pool-reader.js';
import { mustPin } from './publisher.js';
import { chain } from './result.js';
import type { StagedSet } from './staged-set.js';
import type { Caller, RenameOptions, Result } from './vfs.js';
import type { Xattrs } from './xattrs.js';

const LINKS_MAX = 65_000;

/** A directory and the record of a name in it. */
interface Place {
  readonly dir: Inode;
  readonly entry: Entry;
}

export interface NamespaceParts {
  readonly table: InodeTable;
  readonly data: FileData;
  readonly staged: StagedSet;
  readonly committer: Committer;
  readonly reader: PoolReader;
  readonly xattrs: Xattrs;
  readonly policies: PolicyTree;
  readonly clock: Clock;
  readonly userWork: UserWork;
  readonly backings: Backings;
}

export class Namespace {
  readonly #table: InodeTable;
  readonly #data: FileData;
  readonly #staged: StagedSet;
  readonly #committer: Committer;
  readonly #reader: PoolReader;
  readonly #xattrs: Xattrs;
  readonly #policies: PolicyTree;
  readonly #clock: Clock;
  readonly #userWork: UserWork;
  readonly #backings: Backings;

  constructor(parts: NamespaceParts) {
    this.#table = parts.table;
    this.#data = parts.data;
    this.#staged = parts.staged;
    this.#committer = parts.committer;
    this.#reader = parts.reader;
    this.#xattrs = parts.xattrs;
    this.#policies = parts.policies;
    this.#clock = parts.clock;
    this.#userWork = parts.userWork;
    this.#backings = parts.backings;
  }

  lookup(parent: Ino, name: Name): Result<Inode | undefined> {
    return this.#userWork.count(
      chain(this.directory(parent), (dir) => {
        if (name === '.') return dir;
        if (name === '..') return this.#table.parentOf(dir);
        if (isHidden(parent, name)) return undefined;
        const { changes } = dir.directory!;
        return chain(dir.directory!.lookup(name), (target) =>
          target === undefined ? undefined : this.#child(dir, name, target, changes),
        );
      }),
    );
  }

  #child(parent: Inode, name: Name, target: EntryTarget, changes: number): Result<Inode> {
    return chain(this.#table.get(target.ino), (inode) => {
      // Where something has changed since, it may have been moved: then whoever moved it has said where it is.
      if (inode.parent === 0 || parent.directory!.changes === changes) inode.seenIn(parent.ino, name);
      return this.#table.measured(inode);
    });
  }

  /** NOT_DIRECTORY. */
  directory(ino: Ino): Result<Inode> {
    return chain(this.#table.get(ino), (inode) => {
      if (inode.directory === undefined) throw new CairnError('NOT_DIRECTORY', 'this is not a directory');
      return inode;
    });
  }

  /** The directory and the record of a name in it, ready to be changed; waits for room first. */
  #entry(parent: Ino, name: Name): Result<Place> {
    const wait = this.#committer.room(0);
    if (wait !== undefined) return wait.then(() => this.#entry(parent, name));
    return this.#userWork.count(
      chain(this.directory(parent), (dir) => {
        if (dir.gone) throw new CairnError('NOT_FOUND', 'the directory has been removed');
        return chain(dir.directory!.entry(name), (entry) =>
          entry.held === undefined ? { dir, entry } : entry.held.then(() => this.#entry(parent, name)),
        );
      }),
    );
  }

  /** False if the record was put away, or the directory removed, while something else was loaded: then everything is looked up again. */
  #stands({ dir, entry }: Place): boolean {
    return !dir.gone && dir.directory!.stands(entry) && entry.held === undefined;
  }

  /** An inode that is about to be changed: what gives or takes its name is over. */
  free(ino: Ino): Result<Inode> {
    return chain(this.#table.get(ino), (inode) =>
      inode.held === undefined ? inode : inode.held.then(() => this.free(ino)),
    );
  }

  /** A new inode under a name that is not taken. EXISTS. */
  make(parent: Ino, name: Name, mode: number, caller: Caller, prepare?: (inode: Inode) => void): Result<Inode> {
    return chain(this.#entry(parent, name), (place) =>
      chain(this.#inheritedBy(place.dir, mode), (list) => {
        if (!this.#stands(place)) return this.make(parent, name, mode, caller, prepare);
        const { dir, entry } = place;
        if (entry.target !== undefined) throw new CairnError('EXISTS', 'the name is taken');
        const inode = this.#newInode(dir, mode, caller, list);
        prepare?.(inode);
        this.#setEntry(dir, entry, inode);
        if (isDirectory(mode)) dir.nlink += 1;
        this.#touched(dir, inode.ctime);
        return inode;
      }),
    );
  }

  /** The default access list of a directory, for what is made in it. */
  #inheritedBy(dir: Inode, mode: number): Result<AccessList | undefined> {
    return isSymlink(mode) ? undefined : this.#xattrs.accessList(dir, DEFAULT_LIST);
  }

  #newInode(dir: Inode, mode: number, caller: Caller, defaultList: AccessList | undefined): Inode {
    const inode = new Inode(this.#staged.nextIno++, mode, this.#clock.now());
    inode.uid = caller.uid;
    inode.gid = caller.gid;
    if ((dir.mode & S_ISGID) !== 0) {
      inode.gid = dir.gid;
      if (isDirectory(mode)) inode.mode |= S_ISGID;
    }
    this.#table.add(inode);
    if (defaultList !== undefined) {
      const list = defaultList.inheritedBy(mode);
      inode.mode = list.applyTo(inode.mode);
      this.#xattrs.putAccessList(inode, list);
      if (isDirectory(mode)) this.#xattrs.set(inode, DEFAULT_LIST, defaultList.encode(), 'set');
    } else if (!isSymlink(mode)) inode.mode &= ~(caller.umask ?? 0);
    this.touch(inode);
    return inode;
  }

  /** A file without a name. */
  makeNameless(parent: Ino, mode: number, caller: Caller): Result<Inode> {
    const wait = this.#committer.room(0);
    if (wait !== undefined) return wait.then(() => this.makeNameless(parent, mode, caller));
    return chain(this.directory(parent), (dir) =>
      chain(this.#inheritedBy(dir, mode), (list) => {
        if (dir.gone) throw new CairnError('NOT_FOUND', 'the directory has been removed');
        const inode = this.#newInode(dir, mode, caller, list);
        inode.nlink = 0;
        inode.parent = dir.ino;
        return inode;
      }),
    );
  }

  #setEntry(dir: Inode, entry: Entry, inode: Inode | undefined): void {
    const target = inode === undefined ? undefined : { ino: inode.ino, isDirectory: isDirectory(inode.mode) };
    inode?.seenIn(dir.ino, entry.name);
    this.#staged.changeEntry(dir, entry, target);
  }

  /** A directory's entries changed. */
  #touched(dir: Inode, now = this.#clock.now()): void {
    dir.mtime = now;
    dir.ctime = now;
    this.touch(dir);
  }

  /** Its row goes with the next commit. */
  touch(inode: Inode): void {
    this.#staged.touch(inode);
    this.#committer.staged();
  }

  link(ino: Ino, parent: Ino, name: Name): Result<Inode> {
    return chain(this.#entry(parent, name), (place) =>
      chain(this.free(ino), (inode) => {
        if (!this.#stands(place)) return this.link(ino, parent, name);
        const { dir, entry } = place;
        if (inode.directory !== undefined)
          throw new CairnError('NOT_PERMITTED', 'a directory cannot have a second name');
        if (inode.gone) throw new CairnError('NOT_FOUND', 'the file has been removed');
        if (entry.target !== undefined) throw new CairnError('EXISTS', 'the name is taken');
        if (inode.nlink >= LINKS_MAX)
          throw new CairnError('TOO_MANY_LINKS', `a file may have at most ${LINKS_MAX} names`);
        inode.nlink += 1;
        inode.ctime = this.#clock.now();
        this.#setEntry(dir, entry, inode);
        this.#touched(dir);
        this.touch(inode);
        return inode;
      }),
    );
  }

  unlink(parent: Ino, name: Name): Result<void> {
    return chain(this.#entry(parent, name), (place) => {
      const { dir, entry } = place;
      const { target } = entry;
      if (target === undefined) throw new CairnError('NOT_FOUND', 'there is no such name');
      if (target.isDirectory) throw new CairnError('IS_DIRECTORY', 'this is a directory');
      return chain(this.#table.get(target.ino), (inode) =>
        chain(this.#beforeLosingName(inode), () => {
          if (!this.#stands(place) || entry.target !== target || inode.held !== undefined || mustPin(inode))
            return chain(inode.held, () => this.unlink(parent, name));
          this.#setEntry(dir, entry, undefined);
          this.#touched(dir);
          this.#loseName(inode);
        }),
      );
    });
  }

  #beforeLosingName(inode: Inode): Result<void> {
    return mustPin(inode) ? this.#reader.pin(inode) : undefined;
  }

  #loseName(inode: Inode): void {
    inode.nlink = inode.directory === undefined ? inode.nlink - 1 : 0;
    inode.ctime = this.#clock.now();
    if (inode.nlink === 0) this.#lost(inode);
    else inode.isAstray = true;
    this.touch(inode);
    this.retire(inode);
  }

  /** Nothing can give it a name again. */
  #lost(inode: Inode): void {
    inode.gone = true;
    this.#staged.contents.delete(inode);
  }

  /** Forgets a file without names and handles. */
  retire(inode: Inode): void {
    if (inode.opens > 0 || inode.nlink > 0) return;
    if (!inode.gone) {
      // It never had a name.
      this.#lost(inode);
      this.touch(inode);
    }
    if (inode.holds > 0) return;
    this.#backings.forget(inode.ino);
    this.#data.discard(inode);
    this.#table.forgetGone(inode);
  }

  rmdir(parent: Ino, name: Name): Result<void> {
    return chain(this.#entry(parent, name), (place) => {
      const { dir, entry } = place;
      const { target } = entry;
      if (target === undefined) throw new CairnError('NOT_FOUND', 'there is no such name');
      if (!target.isDirectory) throw new CairnError('NOT_DIRECTORY', 'this is not a directory');
      return chain(this.#table.get(target.ino), (inode) => {
        const { changes } = inode.directory!;
        return this.#mustBeEmpty(inode).then(() => {
          if (!this.#stands(place) || entry.target !== target || inode.directory!.changes !== changes)
            return this.rmdir(parent, name);
          this.#setEntry(dir, entry, undefined);
          dir.nlink -= 1;
          this.#touched(dir);
          this.#loseName(inode);
          return undefined;
        });
      });
    });
  }

  async #mustBeEmpty(inode: Inode): Promise<void> {
    if (!(await inode.directory!.isEmpty())) throw new CairnError('NOT_EMPTY', 'the directory is not empty');
  }

  rename(parent: Ino, name: Name, newParent: Ino, newName: Name, options: RenameOptions): Result<void> {
    return chain(this.#entry(parent, name), (from) =>
      chain(this.#entry(newParent, newName), (to) => {
        const source = from.entry.target;
        if (source === undefined) throw new CairnError('NOT_FOUND', 'there is no such name');
        const replaced = to.entry.target;
        return chain(this.#table.get(source.ino), (inode) =>
          chain(replaced === undefined ? undefined : this.#table.get(replaced.ino), (other) => {
            const changes = other?.directory?.changes;
            return chain(this.#checkRename(inode, other, from.dir, to.dir, options), () => {
              const stale =
                !this.#stands(from) ||
                !this.#stands(to) ||
                from.entry.target !== source ||
                to.entry.target !== replaced ||
                inode.held !== undefined ||
                other?.held !== undefined ||
                other?.directory?.changes !== changes;
              const exchange = options.exchange === true;
              if (stale || (!exchange && inode !== other && other !== undefined && mustPin(other)))
                return chain(inode.held ?? other?.held, () => this.rename(parent, name, newParent, newName, options));
              if (inode === other) return undefined;
              if (exchange) this.#exchange(from, to, inode, other!);
              else this.#move(from, to, inode, other, options.whiteout);
              return undefined;
            });
          }),
        );
      }),
    );
  }

  #checkRename(
    inode: Inode,
    other: Inode | undefined,
    parent: Inode,
    newParent: Inode,
    options: RenameOptions,
  ): Result<void> {
    if (options.noReplace === true && other !== undefined) throw new CairnError('EXISTS', 'the new name is taken');
    if (options.exchange === true && other === undefined)
      throw new CairnError('NOT_FOUND', 'there is nothing to exchange with');
    const intoItself =
      (inode.directory !== undefined && this.#isBelow(newParent, inode)) ||
      (options.exchange === true && other?.directory !== undefined && this.#isBelow(parent, other));
    if (intoItself) throw new CairnError('INVALID', 'a directory cannot be moved into itself');
    if (options.exchange === true || other === undefined || other === inode) return undefined;
    if (other.directory === undefined) {
      if (inode.directory !== undefined)
        throw new CairnError('NOT_DIRECTORY', 'a directory cannot replace what is not one');
      return this.#beforeLosingName(other);
    }
    if (inode.directory === undefined) throw new CairnError('IS_DIRECTORY', 'the new name is a directory');
    return this.#mustBeEmpty(other);
  }

  /** Follows the known parents; where one is not known the caller's own checks (the kernel's) must do. */
  #isBelow(dir: Inode, ancestor: Inode): boolean {
    for (let at: Inode | undefined = dir; at !== undefined && at.ino !== ROOT_INO; at = this.#table.peek(at.parent)) {
      if (at === ancestor) return true;
    }
    return false;
  }

  #move(from: Place, to: Place, inode: Inode, other: Inode | undefined, whiteout: Caller | undefined): void {
    const now = this.#clock.now();
    const left = whiteout === undefined ? undefined : this.#newInode(from.dir, S_IFCHR, whiteout, undefined);
    this.#setEntry(from.dir, from.entry, left);
    this.#setEntry(to.dir, to.entry, inode);
    if (inode.directory !== undefined) {
      this.#policies.moved();
      from.dir.nlink -= 1;
      if (other === undefined) to.dir.nlink += 1;
    }
    inode.ctime = now;
    this.touch(inode);
    this.#touched(from.dir, now);
    this.#touched(to.dir, now);
    if (other !== undefined) {
      this.#committer.dependsOnNames(inode);
      this.#loseName(other);
    }
  }

  #exchange(from: Place, to: Place, inode: Inode, other: Inode): void {
    const now = this.#clock.now();
    this.#setEntry(from.dir, from.entry, other);
    this.#setEntry(to.dir, to.entry, inode);
    this.#policies.moved();
    const moved = Number(inode.directory !== undefined) - Number(other.directory !== undefined);
    from.dir.nlink -= moved;
    to.dir.nlink += moved;
    inode.ctime = now;
    other.ctime = now;
    this.touch(inode);
    this.touch(other);
    this.#touched(from.dir, now);
    this.#touched(to.dir, now);
  }
}
