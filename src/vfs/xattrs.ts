/** Extended attributes: the committed ones of an inode, overlaid with what has been staged. Names are binary strings. */
import type { StageLog } from '../cache/stage-log.js';
import { CairnError } from '../errors/cairn-error.js';
import type { MetaStore } from '../meta/meta-store.js';
import type { Inode } from './inode.js';
import { chain } from './result.js';
import type { StagedSet } from './staged-set.js';
import type { Result } from './vfs.js';

/** Linux: XATTR_NAME_MAX, XATTR_SIZE_MAX (limits.h). */
const NAME_BYTES_MAX = 255;
const VALUE_BYTES_MAX = 65_536;
/** All of one inode together: they travel in one COMMIT record. */
const TOTAL_BYTES_MAX = 512 * 1024;
/** `system.` would be POSIX ACLs, which the mount does not offer. */
const NAMESPACES = ['user.', 'trusted.', 'security.'];

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
    if (inode.version === 0) {
      inode.committedXattrs = new Map();
      return inode.committedXattrs;
    }
    return this.#meta.listXattrs(inode.ino).then((rows) => {
      inode.committedXattrs ??= new Map(rows.map((row) => [row.name, row.value]));
      return inode.committedXattrs;
    });
  }

  get(inode: Inode, name: string): Result<Uint8Array> {
    return chain(this.#find(inode, name), (value) => value ?? missing());
  }

  #find(inode: Inode, name: string): Result<Uint8Array | undefined> {
    const staged = inode.stagedXattrs?.get(name);
    if (staged !== undefined) return staged ?? undefined;
    return chain(this.#committed(inode), (committed) => committed.get(name));
  }

  list(inode: Inode): Result<string[]> {
    return chain(this.#committed(inode), (committed) => {
      const names = new Set(committed.keys());
      for (const [name, value] of inode.stagedXattrs ?? []) {
        if (value === null) names.delete(name);
        else names.add(name);
      }
      return [...names];
    });
  }

  /** NOT_SUPPORTED, RANGE, TOO_BIG, NO_SPACE, EXISTS (`create`), NO_DATA (`replace`). */
  set(inode: Inode, name: string, value: Uint8Array, mode: 'set' | 'create' | 'replace'): Result<void> {
    const namespace = NAMESPACES.find((prefix) => name.startsWith(prefix));
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
      const exists =
        (inode.stagedXattrs?.get(name) ?? (inode.stagedXattrs?.has(name) ? undefined : committed.get(name))) !==
        undefined;
      if (mode === 'create' && exists) throw new CairnError('EXISTS', 'the extended attribute is there already');
      if (mode === 'replace' && !exists) missing();
      let total = name.length + value.length;
      for (const [other, bytes] of committed) if (other !== name) total += other.length + bytes.length;
      for (const [other, bytes] of inode.stagedXattrs ?? [])
        if (other !== name && bytes !== null) total += other.length + bytes.length;
      if (total > TOTAL_BYTES_MAX)
        throw new CairnError(
          'NO_SPACE',
          `the extended attributes of one file may take at most ${TOTAL_BYTES_MAX} bytes`,
        );
      this.#change(inode, name, Uint8Array.from(value));
    });
  }

  remove(inode: Inode, name: string): Result<void> {
    return chain(this.#find(inode, name), (value) => {
      if (value === undefined) missing();
      this.#change(inode, name, null);
    });
  }

  #change(inode: Inode, name: string, value: Uint8Array | null): void {
    inode.stagedXattrs ??= new Map();
    inode.stagedXattrs.set(name, value);
    this.#stage.note(
      value === null ? { kind: 'xattr-gone', ino: inode.ino, name } : { kind: 'xattr', ino: inode.ino, name, value },
    );
    this.#staged.touch(inode);
  }
}

function missing(): never {
  throw new CairnError('NO_DATA', 'there is no such extended attribute');
}
