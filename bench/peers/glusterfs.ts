/** A dispersed volume of 2 + 1 on one machine: the one other FUSE file system with erasure coding. Its daemon wants port 24007 for itself. */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { run } from '../child.js';
import type { Peer } from './peer.js';

const VOLUME = 'bench';
const ANSWER_MS = 60_000;

export const glusterfs: Peer = {
  name: 'glusterfs',
  programs: ['glusterd', 'gluster', 'glusterfs'],
  install: 'apt install glusterfs-server',
  remark: 'dispersed volume, 2 + 1',
  start: async (place) => {
    const { base, branches, mountpoint } = place;
    const [state, runDirectory] = [join(base, 'state'), join(base, 'run')];
    for (const directory of [state, runDirectory]) await mkdir(directory);
    const [socket, pidFile, volumeFile] = [join(base, 'socket'), join(base, 'pid'), join(base, 'glusterd.vol')];
    await writeFile(
      volumeFile,
      `volume management
  type mgmt/glusterd
  option working-directory ${state}
  option run-directory ${runDirectory}
  option glusterd-sockfile ${socket}
  option transport-type socket
  option transport.address-family inet
  option transport.socket.listen-port 24007
  option transport.socket.bind-address 127.0.0.1
end-volume
`,
    );
    const command = (...args: string[]) =>
      run('gluster', ['--mode=script', `--glusterd-sock=${socket}`, 'volume', ...args], ANSWER_MS);
    await run('glusterd', ['--volfile', volumeFile, '--log-file', join(base, 'glusterd.log'), '--pid-file', pidFile]);
    place.undo('end glusterd', async () => {
      process.kill(Number(await readFile(pidFile, 'utf8')));
    });
    for (let tries = 0; ; tries++) {
      try {
        await command('info');
        break;
      } catch (error) {
        if (tries === 20) throw error;
        await delay(500);
      }
    }
    const bricks = branches.map((branch) => `${hostname()}:${branch}`);
    await command('create', VOLUME, 'disperse', '3', 'redundancy', '1', ...bricks, 'force');
    await command('start', VOLUME);
    place.undo('stop the volume', async () => {
      await command('stop', VOLUME, 'force');
    });
    const log = join(base, 'mount.log');
    await run('glusterfs', ['--volfile-server=127.0.0.1', `--volfile-id=${VOLUME}`, '--log-file', log, mountpoint]);
  },
};
