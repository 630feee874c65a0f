/**
 * readdir over the merged entries of a directory. Cookies are the numbers of the entries in the order in which this handle
 * returned them (1 and 2 are `.` and `..`), so they are stable as long as the handle is open, and a page costs what it returns.
 */
import { CairnError } from '../errors/cairn-error.js';
import type { DirectoryHandle } from './handles.js';
import { isHidden } from './hidden-name.js';
import type { InodeTable } from './inode-table.js';
import { S_IFDIR, S_IFREG } from './mode.js';
import type { Attr, DirEntry } from './vfs.js';

const PAGE = 256;
const DOTS = 2;

export async function listDirectory(
  handle: DirectoryHandle,
  table: InodeTable,
  cookie: number,
  plus: boolean,
  take: (entry: DirEntry, attr: Attr | undefined) => boolean,
): Promise<void> {
  const { inode } = handle;
  if (inode.gone) return;
  if (cookie === 0) {
    handle.rewind();
    if (!take({ name: '.', ino: inode.ino, mode: S_IFDIR, cookie: 1 }, undefined)) return;
  }
  if (
    cookie <= 1 &&
    !take({ name: '..', ino: inode.parent === 0 ? inode.ino : inode.parent, mode: S_IFDIR, cookie: DOTS }, undefined)
  )
    return;
  let index = Math.max(0, cookie - DOTS);
  let after = '';
  let skip = 0;
  if (index > 0) {
    const place = handle.after(index - 1);
    if (place === undefined) throw new CairnError('INVALID', 'this position was never returned for the directory');
    after = place.key;
    skip = place.skip;
  }
  for (;;) {
    const { changes } = inode.directory!;
    const page = await inode.directory!.list(after, PAGE);
    for (const entry of page) {
      after = entry.key;
      if (skip > 0) {
        skip -= 1;
        continue;
      }
      if (isHidden(inode.ino, entry.name)) continue;
      // Where something has changed since the page was read, it may have been moved: then whoever moved it has said where it is.
      const isSure = inode.directory!.changes === changes;
      const found = plus ? table.show(entry.ino, inode.ino, entry.name, isSure) : table.peek(entry.ino);
      const child = found instanceof Promise ? await found : found;
      // It may have gone between the listing and now.
      if (plus && child === undefined) continue;
      const mode = child?.mode ?? (entry.isDirectory ? S_IFDIR : await table.modeOf(entry.ino)) ?? S_IFREG;
      if (!take({ name: entry.name, ino: entry.ino, mode, cookie: index + 1 + DOTS }, child)) return;
      handle.returned(index, entry.key);
      index += 1;
    }
    if (page.length < PAGE) return;
  }
}
