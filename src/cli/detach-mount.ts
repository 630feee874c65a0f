/** Takes a mount away that no daemon of this process serves: umount2(2) with the right to it, fusermount3 without. */
import { spawn } from 'node:child_process';
import type { Addon } from '../../native/addon.js';
import { CairnError, systemCode } from '../errors/cairn-error.js';

/** BUSY if files are open and `lazy` is false; NOT_PERMITTED; MISSING_TOOL if fusermount3 is needed and not there. */
export async function detachMount(addon: Pick<Addon, 'unmount'>, mountpoint: string, lazy: boolean): Promise<void> {
  try {
    addon.unmount(mountpoint, lazy);
  } catch (cause) {
    const code = systemCode(cause);
    if (code === 'EBUSY') throw busy(mountpoint, cause);
    if (code !== 'EPERM')
      throw new CairnError('IO', `cannot unmount ${mountpoint}: ${code ?? String(cause)}`, { cause });
    await askHelper(mountpoint, lazy);
  }
}

function askHelper(mountpoint: string, lazy: boolean): Promise<void> {
  return new Promise((resolve, reject) => {
    const args = ['-u', ...(lazy ? ['-z'] : []), '--', mountpoint];
    const child = spawn('fusermount3', args, {
      stdio: ['ignore', 'ignore', 'pipe'],
      cwd: '/',
      env: { ...process.env, LC_ALL: 'C' },
    });
    let said = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      said += text;
    });
    child.once('error', (cause) => {
      reject(
        new CairnError('MISSING_TOOL', `only root can unmount ${mountpoint} without fusermount3`, {
          hint: 'install the package fuse3, or run this as root',
          cause,
        }),
      );
    });
    child.once('close', (code) => {
      const [line = ''] = said.trim().split('\n');
      if (code === 0) resolve();
      else if (/busy/i.test(line)) reject(busy(mountpoint, new Error(line)));
      else
        reject(
          new CairnError('NOT_PERMITTED', `cannot unmount ${mountpoint}: ${line || `fusermount3 ended with ${code}`}`),
        );
    });
  });
}

function busy(mountpoint: string, cause: unknown): CairnError {
  return new CairnError('BUSY', `${mountpoint} is busy: files are open or somebody's working directory is there`, {
    hint: `close them (\`fuser -vm ${mountpoint}\` shows who) and try again`,
    cause,
  });
}
