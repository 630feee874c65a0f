/**
 * A name that stands for an inode which is not there. Whoever looks at the tree takes such a name for one that is free, and whoever wants to make a
 * file of it finds it taken: both would look again for ever. It is damage of the metadata, and is said to be.
 */
import { CairnError } from '../errors/cairn-error.js';
import type { Name } from '../meta/rows.js';
import type { Inode } from './inode.js';
import type { InodeTable } from './inode-table.js';
import { textOf } from './tree-path.js';

/** CORRUPT if the name leads to no inode; nothing if it is free, in use, or about to change. */
export async function refuseDangling(table: InodeTable, dir: Inode, name: Name): Promise<void> {
  const target = await dir.directory?.lookup(name);
  if (target === undefined || (await table.find(target.ino)) !== undefined) return;
  // An inode goes in one step with its last name: if the name is still there, the inode was not lost just now.
  if ((await dir.directory?.lookup(name))?.ino !== target.ino) return;
  const above = table.pathOf(dir.ino)?.map((step) => step.name) ?? [`inode ${dir.ino}`];
  const path = `/${[...above, name].map(textOf).join('/')}`;
  throw new CairnError(
    'CORRUPT',
    `the metadata has the name ${path}, but not the file that it stands for (inode ${target.ino})`,
    { hint: 'unmount the pool and run `cairn fsck --repair`: the metadata is rebuilt from the disks' },
  );
}
