/** Extended attributes: the committed ones of an inode, overlaid with what has been staged. Names are binary strings. */
import type { StageLog } from '../cache/stage-log.js';
import { assert, CairnError } from '../errors/cairn-error.js';
import type { MetaStore } from '../meta/meta-store.js';
import { ACCESS_LIST, AccessList, DEFAULT_LIST } from './access-list.js';
import type { Inode } from './inode.js';
import { chain } from './result.js';
import type { StagedSet } from './staged-set.js';
import type { Result } from './vfs.js';

/** Linux: XATTR_NAME_MAX, XATTR_SIZE_MAX (limits.h). */
const NAME_BYTES_MAX = 255;
const VALUE_BYTES_MAX = 65_536;
/** All of one inode together: they travel in one COMMIT record. */
const TOTAL_BYTES_MAX = 512 * 1024;
const CAPABILITY = 'security.capability';
const NAMESPACES = ['user.', 'trusted.', 'security.'];
/** Names that begin so are Cairn's own (`cairn.s3.` the object face's, `cairn.policies`); the mount does not show them. */
const OWN_NAMESPACE = 'cairn.';
const LISTS: readonly string[] = [ACCESS_LIST, DEFAULT_LIST];

export class Xattrs {
  readonly #meta: MetaStore;
  readonly #stage: StageLog;
  readonly #staged: StagedSet;

  constructor(meta: MetaStore, stage: StageLog, staged: StagedSet) {
    this.#meta = meta;
    this.#stage = stage;
    this.#staged = staged;
  }

  #committed(inode: Inode): Result<Map<string, Uint8Array>> {
    if (inode.committedXattrs !== undefined) return inode.committedXattrs;
    const { version } = inode;
    if (version === 0) {
      inode.committedXattrs = new Map();
      return inode.committedXattrs;
    }
    return this.#meta.listXattrs(inode.ino).then((rows) => {
      // A commit may have been applied while they were being read.
      if (inode.version !== version) return this.#committed(inode);
      inode.committedXattrs ??= new Map(rows.map((row) => [row.name, row.value]));
      return inode.committedXattrs;
    });
  }

  get(inode: Inode, name: string): Result<Uint8Array> {
    if (name.startsWith(OWN_NAMESPACE)) missing();
    const staged = inode.stagedXattrs?.get(name);
    if (staged !== undefined) return staged ?? missing();
    return chain(this.#committed(inode), (committed) => {
      const since = inode.stagedXattrs?.get(name);
      return (since === undefined ? committed.get(name) : since) ?? missing();
    });
  }

  list(inode: Inode): Result<string[]> {
    return chain(this.#committed(inode), (committed) =>
      [...overlaid(inode, committed).keys()].filter((name) => !name.startsWith(OWN_NAMESPACE)),
    );
  }

  /** All as they are now, also Cairn's own. */
  all(inode: Inode): Result<ReadonlyMap<string, Uint8Array>> {
    return chain(this.#committed(inode), (committed) => overlaid(inode, committed));
  }

  /** Sets or (null) removes attributes, in one step; once `all` has been answered at once. */
  put(inode: Inode, values: ReadonlyMap<string, Uint8Array | null>): void {
    for (const [name, value] of values) {
      assert(name.length <= NAME_BYTES_MAX && (value?.length ?? 0) <= VALUE_BYTES_MAX, 'an attribute fits its row');
      this.#change(inode, name, value);
    }
  }

  /** NOT_SUPPORTED, RANGE, TOO_BIG, NO_SPACE, EXISTS (`create`), NO_DATA (`replace`). */
  set(inode: Inode, name: string, value: Uint8Array, mode: 'set' | 'create' | 'replace'): Result<void> {
    const namespace = LISTS.includes(name) ? 'system.' : NAMESPACES.find((prefix) => name.startsWith(prefix));
    if (namespace === undefined)
      throw new CairnError(
        'NOT_SUPPORTED',
        'extended attributes outside user., trusted. and security. are not offered',
      );
    if (name.length === namespace.length)
      throw new CairnError('INVALID', 'an extended attribute needs a name behind its namespace');
    if (name.length > NAME_BYTES_MAX)
      throw new CairnError('RANGE', `the name of an extended attribute may have at most ${NAME_BYTES_MAX} bytes`);
    if (value.length > VALUE_BYTES_MAX)
      throw new CairnError('TOO_BIG', `an extended attribute may have at most ${VALUE_BYTES_MAX} bytes`);
    return chain(this.#committed(inode), (committed) => {
      const all = overlaid(inode, committed);
      if (mode === 'create' && all.has(name)) throw new CairnError('EXISTS', 'the extended attribute is there already');
      if (mode === 'replace' && !all.has(name)) missing();
      let total = name.length + value.length;
      for (const [other, bytes] of all) if (other !== name) total += other.length + bytes.length;
      if (total > TOTAL_BYTES_MAX)
        throw new CairnError(
          'NO_SPACE',
          `the extended attributes of one file may take at most ${TOTAL_BYTES_MAX} bytes`,
        );
      this.#change(inode, name, Uint8Array.from(value));
    });
  }

  remove(inode: Inode, name: string): Result<void> {
    return chain(this.#committed(inode), (committed) => {
      if (!overlaid(inode, committed).has(name)) missing();
      this.#change(inode, name, null);
    });
  }

  /** The access list of an inode, or the one that a directory gives to what is made in it; undefined if there is none. */
  accessList(inode: Inode, name: typeof ACCESS_LIST | typeof DEFAULT_LIST): Result<AccessList | undefined> {
    return chain(this.#committed(inode), (committed) => {
      const staged = inode.stagedXattrs?.get(name);
      const value = staged === undefined ? committed.get(name) : staged;
      return value == null ? undefined : AccessList.decode(value);
    });
  }

  /** Sets the list beside a mode that fits it; one that says no more than the mode is not kept. The inode's attributes must be at hand. */
  putAccessList(inode: Inode, list: AccessList): Result<void> {
    return chain(this.#committed(inode), (committed) => {
      if (!list.isMinimal) this.#change(inode, ACCESS_LIST, list.encode());
      else if (overlaid(inode, committed).has(ACCESS_LIST)) this.#change(inode, ACCESS_LIST, null);
    });
  }

  /** A file that is written to or given away loses its capabilities (capabilities(7)). */
  dropCapability(inode: Inode): void {
    const staged = inode.stagedXattrs?.get(CAPABILITY);
    if (staged === null) return;
    const committed = staged === undefined ? this.#committed(inode) : undefined;
    if (committed instanceof Promise) {
      // The write need not wait: whoever asks for the attribute asks the store after this.
      void committed.then(() => this.dropCapability(inode)).catch(() => undefined);
    } else if (committed === undefined || committed.has(CAPABILITY)) this.#change(inode, CAPABILITY, null);
  }

  #change(inode: Inode, name: string, value: Uint8Array | null): void {
    inode.stagedXattrs ??= new Map();
    inode.stagedXattrs.set(name, value);
    this.#stage.note(
      value === null ? { kind: 'xattr-gone', ino: inode.ino, name } : { kind: 'xattr', ino: inode.ino, name, value },
    );
    this.#staged.touch(inode, name.length + (value?.length ?? 0));
  }
}

/** All as they are now. */
function overlaid(inode: Inode, committed: ReadonlyMap<string, Uint8Array>): Map<string, Uint8Array> {
  const all = new Map(committed);
  for (const [name, value] of inode.stagedXattrs ?? []) {
    if (value === null) all.delete(name);
    else all.set(name, value);
  }
  return all;
}

/** One for all: the kernel asks for security.capability before the first write of every file, and a trace of the stack costs more than the answer. */
const MISSING = new CairnError('NO_DATA', 'there is no such extended attribute');

function missing(): never {
  throw MISSING;
}
