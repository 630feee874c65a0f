/** `cairn doctor`: whether this machine, and a pool on it, have what they need; and how to put right what is not. Exit code 1 if something is bad. */
import type { Command } from 'commander';
import { hasCode, messageOf } from '../errors/cairn-error.js';
import { loadConfig } from '../pool/config.js';
import type { CliContext, ExitCode } from './context.js';
import { daemonClient } from './daemon-client.js';
import { checkDirectories, checkMachine, type Diagnosis } from './doctor-checks.js';
import { resolvePool } from './pool-path.js';
import { withProgress } from './progress.js';
import { Style } from './style.js';
import { counted } from './units.js';

const LABELS = { ok: 'ok', warning: 'warning', bad: 'bad' } as const;

export function doctorCommand(program: Command, context: CliContext, done: (code: ExitCode) => void): void {
  program
    .command('doctor')
    .description('check kernel, FUSE, limits, permissions and the speed of syncs, and say how to fix each')
    .argument('[pool]', 'directory of a pool: its disks, cache and daemon as well')
    .option('--json', 'print it as JSON')
    .addHelpText(
      'after',
      `
Example:
  $ cairn doctor
  $ cairn doctor /srv/pool

Nothing is changed. To measure syncs a file of 4 KiB without a name is written on each disk for less than a second: run it while
the disks have little else to do. Exit code: 0, or 1 if something is bad; warnings are no errors.`,
    )
    .action(async (pool: string | undefined, flags: { json?: true }) => {
      const found = await withProgress(context, 'looking at the machine', async (progress) => {
        const machine = await checkMachine(context);
        if (pool === undefined) return machine;
        const directory = await resolvePool(context, pool);
        const config = await loadConfig(context.files, directory);
        const places = await checkDirectories(directory, config, (what) => progress.step(what));
        return [...machine, ...places, await checkDaemon(context, directory)];
      });
      context.stdout.write(flags.json ? `${JSON.stringify(found, null, 2)}\n` : text(found, new Style(context.stdout)));
      done(found.some(({ state }) => state === 'bad') ? 1 : 0);
    });
}

/** What the pool says of itself, if it is mounted. */
async function checkDaemon(context: CliContext, directory: string): Promise<Diagnosis> {
  const what = 'daemon';
  try {
    const { health, findings, pid } = await daemonClient(context, directory).status();
    if (health === 'healthy') return { state: 'ok', what, finding: `pid ${pid}: the pool is healthy`, fix: '' };
    const state = health === 'failed' ? 'bad' : 'warning';
    return { state, what, finding: `the pool is ${health}: ${findings.join('; ')}`, fix: `cairn status ${directory}` };
  } catch (error) {
    const finding = messageOf(error);
    if (hasCode(error, 'BUSY')) return { state: 'bad', what, finding, fix: error.hint ?? '' };
    return {
      state: 'ok',
      what,
      finding: `${finding}; that is how it should be while the pool is not mounted`,
      fix: '',
    };
  }
}

function text(found: readonly Diagnosis[], style: Style): string {
  const paint = { ok: style.good, warning: style.warning, bad: style.bad };
  const lines = found.flatMap(({ state, what, finding, fix }) => [
    `${paint[state](LABELS[state].padEnd(7))}  ${style.strong(what)}: ${finding}`,
    ...(fix === '' ? [] : [`         -> ${fix}`]),
  ]);
  const count = (state: Diagnosis['state']) => found.filter((each) => each.state === state).length;
  const [errors, warnings] = [count('bad'), count('warning')];
  const sum =
    errors + warnings === 0 ? 'all is well' : `${counted(errors, 'thing')} to fix, ${counted(warnings, 'warning')}`;
  return `${lines.join('\n')}\n\n${sum}\n`;
}
