/**
 * The tree of a metadata store, walked depth first, a page of a directory at a time. Paths are bytes.
 *
 * What it yields may be trusted as far as names go: `.`, `..` and names with `/` or NUL come out as refused, a directory that is reached a second
 * time is refused too, so the walk ends whatever the rows say.
 */
import type { MetaStore } from '../meta/meta-store.js';
import { type DentryRow, type Ino, type InodeRow, ROOT_INO, sortKey } from '../meta/rows.js';

const PAGE_ROWS = 1000;
const S_IFMT = 0o170000;
const S_IFDIR = 0o040000;

export type TreeEntry =
  /** Comes before what is in it. */
  | { readonly kind: 'directory'; readonly path: Buffer; readonly inode: InodeRow }
  /** Everything in the directory has been yielded. */
  | { readonly kind: 'end'; readonly path: Buffer; readonly inode: InodeRow }
  /** A file, a link, or whatever else is no directory. */
  | { readonly kind: 'other'; readonly path: Buffer; readonly parent: Ino; readonly inode: InodeRow }
  | { readonly kind: 'refused'; readonly path: Buffer; readonly why: string };

/**
 * A directory on the way to `only`, or below it, is yielded; the root is never. `only`: names from the root, as binary strings; all if empty.
 * What has a path of more than `maxPathBytes` is refused, with all below it.
 */
export async function* walkTree(
  meta: MetaStore,
  only: readonly string[],
  maxPathBytes: number,
): AsyncGenerator<TreeEntry> {
  const seen = new Set<Ino>([ROOT_INO]);
  const root: Level = { ino: ROOT_INO, inode: undefined, path: Buffer.alloc(0), rows: [], at: 0, after: '' };
  const levels: Level[] = [root];
  for (let level = levels.at(-1); level !== undefined; level = levels.at(-1)) {
    const row = await nextRow(meta, level);
    if (row === undefined) {
      levels.pop();
      if (level.inode !== undefined) yield { kind: 'end', path: level.path, inode: level.inode };
      continue;
    }
    const wanted = only[levels.length - 1];
    if (wanted !== undefined && row.name !== wanted) continue;
    const path = join(level.path, row.name);
    const inode = await meta.getInode(row.ino);
    const why = isName(row.name)
      ? path.length > maxPathBytes
        ? `its path has more than ${maxPathBytes} bytes`
        : refusal(row, inode, seen, levels.length < only.length)
      : 'its name would lead out of its directory';
    if (why !== undefined || inode === undefined) yield { kind: 'refused', path, why: why ?? '' };
    else if (!isDirectory(inode)) yield { kind: 'other', path, parent: level.ino, inode };
    else {
      seen.add(row.ino);
      yield { kind: 'directory', path, inode };
      levels.push({ ino: row.ino, inode, path, rows: [], at: 0, after: '' });
    }
  }
}

/** `/photos/a.jpg` as names; `.` and empty names are skipped. undefined if it contains `..`. */
export function namesOf(path: string): string[] | undefined {
  const names = path.split('/').filter((name) => name !== '' && name !== '.');
  return names.includes('..') ? undefined : names.map((name) => Buffer.from(name).toString('latin1'));
}

/** A directory that is being walked. */
interface Level {
  readonly ino: Ino;
  /** undefined: the root. */
  readonly inode: InodeRow | undefined;
  readonly path: Buffer;
  rows: readonly DentryRow[];
  at: number;
  /** Sort key of the last row of the pages before; undefined: there are no more. */
  after: string | undefined;
}

async function nextRow(meta: MetaStore, level: Level): Promise<DentryRow | undefined> {
  if (level.at === level.rows.length && level.after !== undefined) {
    level.rows = await meta.listDentries(level.ino, level.after, PAGE_ROWS);
    level.at = 0;
    const last = level.rows.at(-1);
    level.after =
      last !== undefined && level.rows.length === PAGE_ROWS ? sortKey(last.name, last.isDirectory) : undefined;
  }
  const row = level.rows[level.at];
  if (row !== undefined) level.at++;
  return row;
}

/** Why the entry cannot be taken for what it says it is. */
function refusal(
  row: DentryRow,
  inode: InodeRow | undefined,
  seen: ReadonlySet<Ino>,
  mustBeDirectory: boolean,
): string | undefined {
  if (inode === undefined) return `the metadata has its name, but no inode ${row.ino}`;
  if (!isDirectory(inode)) return mustBeDirectory ? 'it is not a directory' : undefined;
  return seen.has(row.ino) ? 'the directory has another name already' : undefined;
}

function isDirectory({ mode }: InodeRow): boolean {
  return (mode & S_IFMT) === S_IFDIR;
}

function isName(name: string): boolean {
  return name !== '' && name !== '.' && name !== '..' && !/[/\0]/.test(name);
}

function join(parent: Buffer, name: string): Buffer {
  const bytes = Buffer.from(name, 'latin1');
  return parent.length === 0 ? bytes : Buffer.concat([parent, Buffer.from('/'), bytes]);
}
