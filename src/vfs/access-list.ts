/**
 * POSIX access control lists (acl(5)) in the form in which the kernel passes them as extended attributes, linux/posix_acl_xattr.h:
 *
 *   u32 version (2) | entries × (u16 tag | u16 permissions | u32 user or group, -1 where the tag has none), little-endian
 *
 * The kernel enforces them (default_permissions); what is left to a file system is to keep list and mode in step: the mode's group
 * bits are the list's mask where it has one, a new file takes the default list of its directory, and a list that says no
 * more than a mode is not kept.
 */
import { CairnError } from '../errors/cairn-error.js';

export const ACCESS_LIST = 'system.posix_acl_access';
export const DEFAULT_LIST = 'system.posix_acl_default';

const VERSION = 2;
const HEADER_BYTES = 4;
const ENTRY_BYTES = 8;
const Tag = { USER_OBJ: 1, USER: 2, GROUP_OBJ: 4, GROUP: 8, MASK: 16, OTHER: 32 } as const;
const RWX = 7;
const GROUP_SHIFT = 3;
const OWNER_SHIFT = 6;
const ALL_RWX = 0o777;

interface Entry {
  readonly tag: number;
  permissions: number;
  readonly id: number;
}

export class AccessList {
  readonly #entries: readonly Entry[];

  private constructor(entries: readonly Entry[]) {
    this.#entries = entries;
  }

  /** INVALID unless it is a whole list: entries in the order of their tags, one each for owner, group and others, a mask where users or groups are named. */
  static decode(bytes: Uint8Array): AccessList {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const body = bytes.length - HEADER_BYTES;
    if (body < 0 || body % ENTRY_BYTES !== 0 || view.getUint32(0, true) !== VERSION) throw invalid();
    const entries: Entry[] = [];
    const counts = new Map<number, number>();
    for (let at = HEADER_BYTES; at < bytes.length; at += ENTRY_BYTES) {
      const tag = view.getUint16(at, true);
      const permissions = view.getUint16(at + 2, true);
      const before = entries.at(-1)?.tag ?? 0;
      const mayRepeat = tag === Tag.USER || tag === Tag.GROUP;
      if (permissions > RWX || tag < before || (tag === before && !mayRepeat)) throw invalid();
      counts.set(tag, (counts.get(tag) ?? 0) + 1);
      entries.push({ tag, permissions, id: view.getUint32(at + 4, true) });
    }
    const known: readonly number[] = Object.values(Tag);
    if ([...counts.keys()].some((tag) => !known.includes(tag))) throw invalid();
    if (!counts.has(Tag.USER_OBJ) || !counts.has(Tag.GROUP_OBJ) || !counts.has(Tag.OTHER)) throw invalid();
    if ((counts.has(Tag.USER) || counts.has(Tag.GROUP)) && !counts.has(Tag.MASK)) throw invalid();
    return new AccessList(entries);
  }

  encode(): Uint8Array {
    const bytes = new Uint8Array(HEADER_BYTES + this.#entries.length * ENTRY_BYTES);
    const view = new DataView(bytes.buffer);
    view.setUint32(0, VERSION, true);
    for (const [index, { tag, permissions, id }] of this.#entries.entries()) {
      const at = HEADER_BYTES + index * ENTRY_BYTES;
      view.setUint16(at, tag, true);
      view.setUint16(at + 2, permissions, true);
      view.setUint32(at + 4, id, true);
    }
    return bytes;
  }

  /** Says no more than a mode does. */
  get isMinimal(): boolean {
    return this.#entries.every(({ tag }) => tag === Tag.USER_OBJ || tag === Tag.GROUP_OBJ || tag === Tag.OTHER);
  }

  /** `mode` with the permission bits that the list says. */
  applyTo(mode: number): number {
    const bits =
      (this.#of(Tag.USER_OBJ).permissions << OWNER_SHIFT) |
      (this.#group.permissions << GROUP_SHIFT) |
      this.#of(Tag.OTHER).permissions;
    return (mode & ~ALL_RWX) | bits;
  }

  /** The list after chmod(2) to `mode`. */
  withMode(mode: number): AccessList {
    return this.#changed((_, bits) => bits, mode);
  }

  /** As a default list, the access list of a new file that asked for `mode`. */
  inheritedBy(mode: number): AccessList {
    return this.#changed((permissions, bits) => permissions & bits, mode);
  }

  #changed(combine: (permissions: number, bits: number) => number, mode: number): AccessList {
    const list = new AccessList(this.#entries.map((entry) => ({ ...entry })));
    for (const [entry, shift] of [
      [list.#of(Tag.USER_OBJ), OWNER_SHIFT],
      [list.#group, GROUP_SHIFT],
      [list.#of(Tag.OTHER), 0],
    ] as const)
      entry.permissions = combine(entry.permissions, (mode >>> shift) & RWX);
    return list;
  }

  /** What the mode's group bits are: the mask where there is one. */
  get #group(): Entry {
    return this.#entries.find(({ tag }) => tag === Tag.MASK) ?? this.#of(Tag.GROUP_OBJ);
  }

  #of(wanted: number): Entry {
    return this.#entries.find(({ tag }) => tag === wanted)!;
  }
}

function invalid(): CairnError {
  return new CairnError('INVALID', 'this is no access control list');
}
