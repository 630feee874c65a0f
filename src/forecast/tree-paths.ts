/** Paths of files by their inode numbers: one walk over the tree as it is now, staged names included. */
import type { Ino } from '../meta/rows.js';
import { ROOT_INO } from '../meta/rows.js';
import { isDirectory } from '../vfs/mode.js';
import { textOf } from '../vfs/tree-path.js';
import type { Vfs } from '../vfs/vfs.js';

/** The first path found of each; a file without a name is not in it. Directories that go meanwhile are passed over. */
export async function pathsOf(
  vfs: Vfs,
  inos: ReadonlySet<Ino>,
  signal?: AbortSignal,
): Promise<ReadonlyMap<Ino, string>> {
  const paths = new Map<Ino, string>();
  if (inos.has(ROOT_INO)) paths.set(ROOT_INO, '/');
  const left: { ino: Ino; path: string }[] = [{ ino: ROOT_INO, path: '' }];
  for (let at = left.pop(); at !== undefined && paths.size < inos.size; at = left.pop()) {
    signal?.throwIfAborted();
    const { ino: parent, path } = at;
    const handle = await (async () => vfs.opendir(parent))().catch(() => undefined);
    if (handle === undefined) continue;
    try {
      await vfs.readdir(handle, 0, false, ({ name, ino, mode }) => {
        if (name === '.' || name === '..') return true;
        const full = `${path}/${textOf(name)}`;
        if (inos.has(ino) && !paths.has(ino)) paths.set(ino, full);
        if (isDirectory(mode)) left.push({ ino, path: full });
        return true;
      });
    } finally {
      await vfs.releasedir(handle);
    }
  }
  return paths;
}
