/** mount(8) and umount(8) themselves, without their helpers, one of which may be this very program. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { CairnError, messageOf } from '../errors/cairn-error.js';

const run = promisify(execFile);

/** BUSY, or IO with what the program says. */
export async function runSystemMount(program: 'mount' | 'umount', args: readonly string[]): Promise<void> {
  try {
    await run(program, ['-i', ...args], { env: { ...process.env, LC_ALL: 'C' } });
  } catch (cause) {
    const said = cause instanceof Error && 'stderr' in cause ? String(cause.stderr).trim() : '';
    const line = said === '' ? messageOf(cause) : said.replaceAll(/\s*\n\s*/g, ' ');
    throw new CairnError(/busy/i.test(line) ? 'BUSY' : 'IO', line.replace(/^u?mount: /, ''), { cause });
  }
}
