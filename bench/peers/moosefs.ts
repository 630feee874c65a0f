/** One master and three chunk servers on one machine, two copies. Its chunk servers refuse the loopback address, so it takes the first other one. */
import { copyFile, mkdir, writeFile } from 'node:fs/promises';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { run } from '../child.js';
import type { Peer } from './peer.js';

/** Where the package puts what a new master starts with. */
const EMPTY_METADATA = '/var/lib/mfs/metadata.mfs.empty';
/** Not the ones that an installation of its own would use. */
const PORTS = { metaloggers: 29_419, servers: 29_420, clients: 29_421, chunks: 29_431 };

export const moosefs: Peer = {
  name: 'moosefs',
  programs: ['mfsmaster', 'mfschunkserver', 'mfsmount', 'mfssetgoal'],
  install: 'apt install moosefs-master moosefs-chunkserver moosefs-client',
  remark: 'two copies; by default its servers sync nothing, so its synced figures promise nothing',
  start: async (place) => {
    const { base, branches, mountpoint } = place;
    const address = Object.values(networkInterfaces())
      .flatMap((addresses) => addresses ?? [])
      .find(({ family, internal }) => family === 'IPv4' && !internal)?.address;
    if (address === undefined) throw new Error('moosefs needs an IPv4 address that is not the loopback one');
    const write = async (name: string, text: string) => {
      await writeFile(join(base, name), text);
      return join(base, name);
    };
    const start = async (program: string, file: string) => {
      await run(program, ['-c', file, 'start']);
      place.undo(`stop ${program}`, async () => {
        await run(program, ['-c', file, 'stop']);
      });
    };
    await mkdir(join(base, 'master'));
    await copyFile(EMPTY_METADATA, join(base, 'master', 'metadata.mfs'));
    const owner = 'WORKING_USER = root\nWORKING_GROUP = root\n';
    const exports = await write('exports.cfg', `${address} / rw,alldirs,maproot=0:0\n`);
    const topology = await write('topology.cfg', '');
    const listen = Object.entries({ MATOML: PORTS.metaloggers, MATOCS: PORTS.servers, MATOCL: PORTS.clients })
      .map(([name, port]) => `${name}_LISTEN_HOST = ${address}\n${name}_LISTEN_PORT = ${port}\n`)
      .join('');
    const master = `DATA_PATH = ${join(base, 'master')}\nEXPORTS_FILENAME = ${exports}\nTOPOLOGY_FILENAME = ${topology}\n`;
    await start('mfsmaster', await write('master.cfg', `${owner}${master}${listen}`));
    for (const [index, branch] of branches.entries()) {
      const state = join(base, `server-${index}`);
      await mkdir(state);
      const disks = await write(`disks-${index}.cfg`, `${branch}\n`);
      const to = `MASTER_HOST = ${address}\nMASTER_PORT = ${PORTS.servers}\n`;
      const from = `CSSERV_LISTEN_HOST = ${address}\nCSSERV_LISTEN_PORT = ${PORTS.chunks + index}\n`;
      const text = `${owner}DATA_PATH = ${state}\nHDD_CONF_FILENAME = ${disks}\nHDD_LEAVE_SPACE_DEFAULT = 256MiB\n${to}${from}`;
      await start('mfschunkserver', await write(`server-${index}.cfg`, text));
    }
    await run('mfsmount', ['-H', address, '-P', String(PORTS.clients), mountpoint]);
    // Servers have to have said hello before two copies can be made.
    await delay(3_000);
    await run('mfssetgoal', ['2', mountpoint]);
  },
};
