import { setTimeout as delay } from 'node:timers/promises';
import { findMount } from '../../src/fuse/mount-table.js';
import { type Peer, startServer } from './peer.js';

const PORTS = { master: 29_333, volume: 29_380, filer: 29_888 };
const READY_MS = 60_000;

export const seaweedfs: Peer = {
  name: 'seaweedfs',
  programs: ['weed'],
  install: 'see seaweedfs.com; Debian has no package',
  remark: 'one volume server, no second copy',
  start: async (place) => {
    const ports = Object.entries(PORTS).map(([name, port]) => `-${name}.port=${port}`);
    startServer(place, 'weed', ['server', '-ip=127.0.0.1', `-dir=${place.branches[0]}`, '-filer', ...ports]);
    startServer(place, 'weed', ['mount', `-filer=127.0.0.1:${PORTS.filer}`, `-dir=${place.mountpoint}`]);
    for (let waited = 0; (await findMount(place.mountpoint)) === undefined; waited += 100) {
      if (waited > READY_MS)
        throw new Error(`seaweedfs was not mounted in ${READY_MS / 1000} s: see ${place.base}/weed.log`);
      await delay(100);
    }
  },
};
