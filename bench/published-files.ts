/** Very many files, committed past mount and HTTP: a thousand to a round, so that a million take a minute or two. */
import { NO_CONTENT } from '../src/vfs/content-writer.js';
import type { ObjectTree } from '../src/vfs/object-tree.js';
import type { NewFile } from '../src/vfs/publisher.js';
import type { Ino } from '../src/vfs/vfs.js';

export const FILES_PER_ROUND = 1000;

/** Empty files of these names, in one round. */
export async function publishEmptyFiles(
  tree: ObjectTree,
  parent: Ino,
  names: readonly string[],
  attributes: NewFile['attributes'],
): Promise<void> {
  const to = { mode: 0o644, uid: 0, gid: 0, content: NO_CONTENT, attributes };
  await tree.publish(async () => names.map((name) => ({ parent, name, expected: undefined, to })));
}
