import { run } from '../child.js';
import type { Peer } from './peer.js';

/** Its documentation's settings for speed: pages are kept, and what lies on the branches changes through it alone. */
const OPTIONS =
  'cache.files=auto-full,dropcacheonclose=true,category.create=mfs,cache.attr=3600,cache.entry=3600,cache.negative_entry=3600';

export const mergerfs: Peer = {
  name: 'mergerfs',
  programs: ['mergerfs'],
  install: 'apt install mergerfs',
  remark: 'whole files on one branch, no second copy; a sync of a directory syncs nothing',
  start: async ({ branches, mountpoint }) => {
    await run('mergerfs', ['-o', OPTIONS, branches.join(':'), mountpoint]);
  },
};
