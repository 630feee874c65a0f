/** How the files of a directory are, for people: names, sizes, how much is committed, how healthy. */
import type { ChunkStore } from '../chunks/chunk-store.js';
import { CairnError } from '../errors/cairn-error.js';
import { isHidden } from './hidden-name.js';
import type { Inode } from './inode.js';
import type { InodeTable } from './inode-table.js';
import { isDirectory, isFile, isSymlink } from './mode.js';
import type { PoolReader } from './pool-reader.js';
import type { FileEntry, FileListing, FileState } from './reports.js';
import { textOf } from './tree-path.js';

/** A file of more bytes has so many chunks that a listing does not look at each. */
const LOOKED_AT_BYTES = 256 * 1024 * 1024;

interface Parts {
  readonly table: InodeTable;
  readonly reader: PoolReader;
  readonly chunks: Pick<ChunkStore, 'health'>;
}

function kindOf({ mode }: Inode): FileState['kind'] {
  return isFile(mode) ? 'file' : isDirectory(mode) ? 'directory' : isSymlink(mode) ? 'symlink' : 'other';
}

function commitStateOf(inode: Inode): FileState['state'] {
  if (inode.content?.seal !== undefined || inode.taken) return 'committing';
  const staged = (inode.content?.dirtyBytes ?? 0) > 0 || inode.content?.staged === true;
  return staged || inode.attrDirty || inode.version === 0 ? 'staged' : 'committed';
}

/** Every chunk is looked at. */
export async function stateOf(inode: Inode, { reader, chunks }: Parts): Promise<Omit<FileState, 'path'>> {
  const kind = kindOf(inode);
  const extents = kind === 'file' ? await reader.extents(inode, 0, Number.MAX_SAFE_INTEGER) : [];
  const names = new Set(extents.map(({ chunk }) => chunk));
  const schemes = new Set<string>();
  const compressed = { chunks: 0, bytes: 0, storedBytes: 0 };
  let health: FileState['health'] = 'healthy';
  for (const chunk of names) {
    const found = chunks.health(chunk);
    if (found.scheme !== '') schemes.add(found.scheme);
    if (found.compressed !== undefined) {
      compressed.chunks += 1;
      compressed.bytes += found.compressed.chunkBytes;
      compressed.storedBytes += found.compressed.storedBytes;
    }
    if (found.health === 'lost' || (found.health === 'degraded' && health === 'healthy')) health = found.health;
  }
  return {
    kind,
    sizeBytes: inode.sizeBytes,
    stagedBytes: inode.content?.dirtyBytes ?? 0,
    committedBytes: extents.reduce((sum, { length }) => sum + length, 0),
    chunks: names.size,
    schemes: [...schemes].sort(),
    compressed,
    state: commitStateOf(inode),
    health,
  };
}

/** The names behind `after`, in byte order (directories as if they ended in `/`). NOT_DIRECTORY. */
export async function listEntries(
  directory: Inode,
  parts: Parts,
  after: string | undefined,
  limit: number,
): Promise<Omit<FileListing, 'path'>> {
  if (directory.directory === undefined) throw new CairnError('NOT_DIRECTORY', 'this is not a directory');
  const from = after === undefined ? '' : Buffer.from(after, 'base64url').toString('latin1');
  const page = await directory.directory.list(from, limit);
  const entries: FileEntry[] = [];
  for (const { name, ino } of page) {
    if (isHidden(directory.ino, name)) continue;
    const inode = parts.table.peek(ino) ?? (await parts.table.find(ino));
    // It went between the listing and this.
    if (inode === undefined || inode.gone) continue;
    const isLookedAt = kindOf(inode) !== 'file' || inode.sizeBytes <= LOOKED_AT_BYTES;
    entries.push({
      name: textOf(name),
      kind: kindOf(inode),
      sizeBytes: inode.sizeBytes,
      modifiedMs: inode.mtime.sec * 1000 + Math.floor(inode.mtime.nsec / 1e6),
      state: commitStateOf(inode),
      health: isLookedAt ? (await stateOf(inode, parts)).health : null,
    });
  }
  const last = page.at(-1);
  // A name need not be text: the place of the last one travels as it is.
  const next = page.length < limit || last === undefined ? null : Buffer.from(last.key, 'latin1').toString('base64url');
  return { entries, next };
}
