/** `cairn policy`: what holds below a directory (mode, scheme, compression, commit delay), and who says so; setting it and taking it away. */
import { type Command, Option } from 'commander';
import { CairnError } from '../errors/cairn-error.js';
import type { ControlClient } from '../http/control-client.js';
import { formatDelay } from '../vfs/policy.js';
import type { PolicyChange, PolicyReport, PolicyValue } from '../vfs/reports.js';
import type { CliContext, ExitCode } from './context.js';
import { daemonClient } from './daemon-client.js';
import { findInPool } from './pool-path.js';

interface Values {
  readonly mode?: string;
  readonly scheme?: string;
  readonly compression?: string;
  readonly commitDelay?: string;
}

interface Keys {
  readonly mode?: true;
  readonly scheme?: true;
  readonly compression?: true;
  readonly commitDelay?: true;
}

const RULE = `
What a directory says holds for everything below it, unless a nearer directory says otherwise. A scheme and compression are for chunks
committed from then on. The same can be set on the mount: setfattr -n user.cairn.policy.mode -v strong DIR`;

export function policyCommand(program: Command, context: CliContext, done: (code: ExitCode) => void): void {
  const policy = program
    .command('policy')
    .description('what holds below a directory: strong or default, scheme, compression, commit delay')
    .addHelpText(
      'after',
      `
Example:
  $ cairn policy set --mode strong /mnt/pool/databases
${RULE}`,
    );
  const forEach = async (
    paths: readonly string[],
    json: true | undefined,
    ask: (client: ControlClient, inside: string) => Promise<PolicyReport>,
  ): Promise<void> => {
    for (const path of paths) {
      const { poolDirectory, inside } = await findInPool(context, path);
      const report = await ask(daemonClient(context, poolDirectory), inside);
      context.stdout.write(json ? `${JSON.stringify(report)}\n` : `${path}\n${policyLines(report)}`);
    }
    done(0);
  };

  policy
    .command('show')
    .description('what holds for files or directories, and which directory says so')
    .argument('<path...>', 'files or directories in a mounted pool')
    .option('--json', 'print it as JSON, one line per path')
    .addHelpText(
      'after',
      `
Example:
  $ cairn policy show /mnt/pool/photos`,
    )
    .action((paths: string[], flags: { json?: true }) =>
      forEach(paths, flags.json, (client, inside) => client.policy(inside)),
    );

  policy
    .command('set')
    .description('give directories a policy')
    .argument('<dir...>', 'directories in a mounted pool')
    .addOption(new Option('--mode <mode>', 'what fsync and close promise').choices(['default', 'strong']))
    .option('--scheme <scheme>', "how chunks are kept: copies:N or ec:K+M; auto: as the pool's groups are")
    .addOption(
      new Option('--compression <how>', 'whether chunks are compressed, where it pays').choices(['off', 'zstd']),
    )
    .option('--commit-delay <time>', 'how long staged bytes may wait for their commit: 0s, 500ms, 5m, up to 1d')
    .option('--json', 'print what holds then as JSON, one line per directory')
    .addHelpText(
      'after',
      `${RULE}

Examples:
  $ cairn policy set --mode strong /mnt/pool/databases
  $ cairn policy set --scheme copies:3 --commit-delay 1m /mnt/pool/photos
  $ cairn policy set --compression zstd /mnt/pool/mail`,
    )
    .action((paths: string[], { json, ...values }: Values & { json?: true }) => {
      if (Object.keys(values).length === 0)
        throw new CairnError('INVALID', 'say what to set', { hint: 'see `cairn policy set --help`' });
      return forEach(paths, json, (client, inside) => client.setPolicy(inside, values as PolicyChange));
    });

  policy
    .command('clear')
    .description('leave it to the directory above again; without options all of it')
    .argument('<dir...>', 'directories in a mounted pool')
    .option('--mode', 'the mode')
    .option('--scheme', 'the scheme')
    .option('--compression', 'the compression')
    .option('--commit-delay', 'the commit delay')
    .option('--json', 'print what holds then as JSON, one line per directory')
    .addHelpText(
      'after',
      `
Example:
  $ cairn policy clear --mode /mnt/pool/databases`,
    )
    .action((paths: string[], { json, ...keys }: Keys & { json?: true }) => {
      const isAll = Object.keys(keys).length === 0;
      const cleared = (isNamed: true | undefined) => (isAll || isNamed === true ? null : undefined);
      const change: PolicyChange = {
        mode: cleared(keys.mode),
        scheme: cleared(keys.scheme),
        compression: cleared(keys.compression),
        commitDelay: cleared(keys.commitDelay),
      };
      return forEach(paths, json, (client, inside) => client.setPolicy(inside, change));
    });
}

/** A line per key, each with the directory that says so. */
export function policyLines(report: PolicyReport): string {
  const { mode, scheme, compression, commitDelayMs } = report;
  return `  mode          ${valueText(mode)}
  scheme        ${valueText(scheme)}
  compression   ${valueText(compression)}
  commit delay  ${valueText({ value: formatDelay(commitDelayMs.value), from: commitDelayMs.from })}
`;
}

function valueText({ value, from }: PolicyValue<string>): string {
  return `${value.padEnd(10)} ${from === null ? '(pool)' : `(${from})`}`;
}
