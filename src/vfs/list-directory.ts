/** readdir over the merged entries of a directory; its positions are those of a listing (listing.ts), and a page costs what it returns. */
import type { DirectoryHandle, Handles } from './handles.js';
import { isHidden } from './hidden-name.js';
import type { InodeTable } from './inode-table.js';
import { unknownPosition } from './listing.js';
import { S_IFDIR, S_IFREG } from './mode.js';
import type { Attr, DirEntry } from './vfs.js';

const PAGE = 256;
const DOTS = 2;

export async function listDirectory(
  handle: DirectoryHandle,
  handles: Handles,
  table: InodeTable,
  cookie: number,
  plus: boolean,
  take: (entry: DirEntry, attr: Attr | undefined) => boolean,
): Promise<void> {
  const { inode, directory } = handle;
  const { listings } = handles;
  if (inode.gone) return;
  const parent = inode.parent === 0 ? inode.ino : inode.parent;
  let { listing, number } =
    cookie === 0 ? { listing: listings.begin(directory, parent), number: 0 } : listings.find(directory, cookie);
  handles.reads(handle, listing);
  if (number === 0 && !take({ name: '.', ino: inode.ino, mode: S_IFDIR, cookie: listing.cookie(0) }, undefined)) return;
  if (number <= 1 && !take({ name: '..', ino: parent, mode: S_IFDIR, cookie: listing.cookie(1) }, undefined)) return;
  let index = Math.max(0, number - DOTS);
  const place = listing.place(index);
  if (place === undefined) throw unknownPosition();
  let { key: after, skip } = place;
  for (;;) {
    const { changes } = directory;
    const page = await directory.list(after, PAGE);
    for (const entry of page) {
      const before = after;
      after = entry.key;
      if (skip > 0) {
        skip -= 1;
        continue;
      }
      if (isHidden(inode.ino, entry.name)) continue;
      // Where something has changed since the page was read, it may have been moved: then whoever moved it has said where it is.
      const isSure = directory.changes === changes;
      const found = plus ? table.show(entry.ino, inode.ino, entry.name, isSure) : table.peek(entry.ino);
      const child = found instanceof Promise ? await found : found;
      // It may have gone between the listing and now.
      if (plus && child === undefined) continue;
      const mode = child?.mode ?? (entry.isDirectory ? S_IFDIR : await table.modeOf(entry.ino)) ?? S_IFREG;
      if (!listing.takes(index, entry.key)) {
        listing = listings.beginAfter(directory, parent, before);
        handles.reads(handle, listing);
        index = 0;
      }
      if (!take({ name: entry.name, ino: entry.ino, mode, cookie: listing.cookie(DOTS + index) }, child)) return;
      listing.returned(index, entry.key);
      index += 1;
    }
    if (page.length < PAGE) {
      listings.ended(directory, listing);
      return;
    }
  }
}
