import { join } from 'node:path';
import { run } from '../child.js';
import type { Peer } from './peer.js';

export const juicefs: Peer = {
  name: 'juicefs',
  programs: ['juicefs'],
  install: 'see juicefs.com; Debian has no package',
  remark: 'SQLite metadata, objects in a local directory, no second copy',
  start: async ({ base, branches, mountpoint }) => {
    const meta = `sqlite3://${join(base, 'meta.db')}`;
    await run('juicefs', ['format', '--storage', 'file', '--bucket', `${branches[0]}/`, meta, 'bench']);
    const cache = ['--cache-dir', join(base, 'cache')];
    await run('juicefs', ['mount', '-d', '--no-usage-report', ...cache, meta, mountpoint]);
  },
};
