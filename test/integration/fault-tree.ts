/** What a fault-writer's work has left, read in the test's own process: by a mount that another process serves, or by the library. */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Pool } from '../../src/pool/index.js';
import type { Tree } from './fault-steps.js';

export async function readMount(root: string): Promise<Tree> {
  const tree = new Map<string, Buffer | null>();
  const walk = async (path: string): Promise<void> => {
    for (const entry of await readdir(join(root, path), { withFileTypes: true })) {
      const name = join(path, entry.name);
      tree.set(name, entry.isDirectory() ? null : await readFile(join(root, name)));
      if (entry.isDirectory()) await walk(name);
    }
  };
  await walk('');
  return tree;
}

export async function readPool(directory: string): Promise<Tree> {
  const tree = new Map<string, Buffer | null>();
  const pool = await Pool.open(directory);
  const walk = async (path: string): Promise<void> => {
    for (const { name, kind } of await pool.list(`/${path}`)) {
      const below = join(path, name);
      if (kind === 'directory') {
        tree.set(below, null);
        await walk(below);
        continue;
      }
      const file = await pool.openFile(`/${below}`);
      tree.set(below, await file.read(0, (await pool.stat(`/${below}`)).sizeBytes));
      await file.close();
    }
  };
  try {
    await walk('');
  } finally {
    await pool.close();
  }
  return tree;
}
