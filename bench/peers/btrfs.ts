/** Not FUSE: what a kernel's file system over three devices does with the same bytes. */
import { truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { run } from '../child.js';
import type { Peer } from './peer.js';

/** Of each of the three sparse files behind the loop devices. */
const DEVICE_BYTES = 24 * 2 ** 30;

function btrfs(level: 'raid1' | 'raid5', remark: string): Peer {
  return {
    name: `btrfs-${level}`,
    programs: ['mkfs.btrfs', 'losetup'],
    install: 'apt install btrfs-progs',
    remark,
    start: async (place) => {
      const loops: string[] = [];
      for (const branch of place.branches) {
        const file = join(branch, 'device');
        await writeFile(file, '');
        await truncate(file, DEVICE_BYTES);
        const loop = (await run('losetup', ['--find', '--show', '--direct-io=on', file])).trim();
        place.undo(`detach ${loop}`, async () => {
          await run('losetup', ['--detach', loop]);
        });
        loops.push(loop);
      }
      await run('mkfs.btrfs', ['--quiet', '--force', '--data', level, '--metadata', 'raid1', ...loops]);
      await run('mount', ['-t', 'btrfs', `${loops[0]}`, place.mountpoint]);
    },
  };
}

export const btrfsRaid1: Peer = btrfs('raid1', 'two copies of everything');
export const btrfsRaid5: Peer = btrfs(
  'raid5',
  'data with one parity, two copies of metadata; its authors advise against it',
);
