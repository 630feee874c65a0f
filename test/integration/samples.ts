/** Files of every size that is kept in a way of its own, written to a mount and checked later. */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Test } from 'tap';
import { contentOf } from './content.js';
import type { MountHarness } from './mount-harness.js';

const MIB = 1024 * 1024;
/** Sizes of every way in which content is kept: in a COMMIT's append, as copies, as shards, as several chunks. */
export const SIZES = [0, 100, 5000, 60_000, 70_000, 300_000, 3 * MIB, 9 * MIB];

export async function writeSome(harness: MountHarness, name: string): Promise<void> {
  const place = join(harness.mountpoint, name);
  await mkdir(place);
  for (const size of SIZES) await writeFile(join(place, `${size}`), contentOf(`${name} ${size}`, size));
}

/** All that `writeSome` wrote is there. */
export async function checkSome(t: Test, harness: MountHarness, name: string): Promise<void> {
  for (const size of SIZES) {
    const found = await readFile(join(harness.mountpoint, name, `${size}`)).catch((error: unknown) => String(error));
    const right = typeof found !== 'string' && found.equals(contentOf(`${name} ${size}`, size));
    t.ok(right, `${name}: ${size} bytes`, typeof found === 'string' ? { found } : { length: found.length });
  }
}
