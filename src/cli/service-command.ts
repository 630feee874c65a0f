/** `cairn service`: has systemd mount a pool at boot, and start its daemon again if it dies. As root for the system; as another user for that user. */
import { execFile } from 'node:child_process';
import { chmod, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Command } from 'commander';
import { CairnError, systemCode } from '../errors/cairn-error.js';
import { loadConfig } from '../pool/config.js';
import type { CliContext, ExitCode } from './context.js';
import { FSTAB_LINE, HELPER_DIRECTORY, mountHelperScripts } from './mount-helper-scripts.js';
import { resolveMountpoint } from './mountpoint.js';
import { resolvePool } from './pool-path.js';
import { choicesOf, escapePath, type UnitChoices, unitText } from './service-unit.js';

interface InstallFlags {
  readonly strong?: true;
  readonly allowOther?: true;
  readonly name?: string;
  readonly unitDirectory?: string;
  readonly dryRun?: true;
  readonly start: boolean;
}

const SYSTEM_DIRECTORY = '/etc/systemd/system';
const PLACE_OPTION = ['--unit-directory <directory>', "where units are, if not in this user's place for them"] as const;

export function serviceCommand(program: Command, context: CliContext, done: (code: ExitCode) => void): void {
  const service = program
    .command('service')
    .description('have systemd, or a line in fstab, mount a pool at boot: install, uninstall, status, fstab')
    .addHelpText(
      'after',
      `
Example:
  $ cairn service install /srv/pool /mnt/pool --dry-run
  $ sudo cairn service install /srv/pool /mnt/pool
  $ cairn service status /srv/pool
  $ journalctl -u cairn-pool -p warning

Run by root it is a service of the system; by another user a service of that user, which runs while somebody is logged in
(always after \`loginctl enable-linger\`). The daemon is told to end with SIGTERM: it commits and unmounts.`,
    );
  service
    .command('install')
    .description('write the unit, enable it and start it; again after disks came or went')
    .argument('<pool>', 'directory of the pool')
    .argument('<mountpoint>', 'where it is to be mounted')
    .option('--strong', 'as of `cairn mount`')
    .option('--allow-other', 'as of `cairn mount`')
    .option('--name <name>', 'of the unit (default: cairn- and the name of the pool directory)')
    .option(...PLACE_OPTION)
    .option('--dry-run', 'show the unit and the commands, and change nothing')
    .option('--no-start', 'only write the unit')
    .action(async (pool: string, mountpoint: string, flags: InstallFlags) => {
      await install(context, pool, mountpoint, flags);
      done(0);
    });
  service
    .command('uninstall')
    .description('stop it (which commits and unmounts) and remove the unit; the pool stays')
    .argument('<pool>', 'directory of the pool')
    .option(...PLACE_OPTION)
    .option('--dry-run', 'show the commands, and change nothing')
    .action(async (pool: string, flags: { unitDirectory?: string; dryRun?: true }) => {
      const found = await findUnit(context, await resolvePool(context, pool), flags.unitDirectory);
      const [disable, reload] = [systemctl('disable', '--now', found.unit), systemctl('daemon-reload')];
      if (flags.dryRun) context.stdout.write(commandsText([disable, ['rm', found.path], reload]));
      else {
        await run(context, disable);
        await rm(found.path);
        await run(context, reload);
        context.stdout.write(`removed ${found.path}; the pool and its data are as they were\n`);
      }
      done(0);
    });
  service
    .command('status')
    .description('whether it runs and is enabled, and whether the unit fits the pool as it is')
    .argument('<pool>', 'directory of the pool')
    .option(...PLACE_OPTION)
    .action(async (pool: string, flags: { unitDirectory?: string }) => {
      const directory = await resolvePool(context, pool);
      const found = await findUnit(context, directory, flags.unitDirectory);
      const [active, enabled] = [
        await ask(context, 'is-active', found.unit),
        await ask(context, 'is-enabled', found.unit),
      ];
      const expected = await unitFor(context, found.choices);
      const fits =
        expected === found.text
          ? 'fits the pool'
          : 'does not fit the pool any more (disks or cairn have moved): run `cairn service install` again';
      context.stdout.write(
        `${found.unit}: ${active}, ${enabled}\n  unit        ${found.path}, ${fits}\n  log         journalctl ${isSystem() ? '' : '--user '}-u ${found.unit}\n`,
      );
      done(active === 'active' ? 0 : 1);
    });
  service
    .command('fstab')
    .description(
      'let mount(8) and umount(8) know the type fuse.cairn, for lines in /etc/fstab; again after cairn or node has moved',
    )
    .option('--helper-directory <directory>', 'where mount(8) looks for its helpers', HELPER_DIRECTORY)
    .option('--dry-run', 'show what would be written, and change nothing')
    .action(async (flags: { helperDirectory: string; dryRun?: true }) => {
      for (const [name, text] of mountHelperScripts(ownProgram())) {
        const path = join(flags.helperDirectory, name);
        if (flags.dryRun) context.stdout.write(`# ${path}\n${text}\n`);
        else {
          await write(path, text, 0o755);
          context.stdout.write(`wrote ${path}\n`);
        }
      }
      context.stdout.write(`a line for /etc/fstab: ${FSTAB_LINE}\n`);
      done(0);
    });
}

async function install(context: CliContext, pool: string, mountpoint: string, flags: InstallFlags): Promise<void> {
  const poolDirectory = await resolvePool(context, pool);
  const place = await resolveMountpoint(context, mountpoint);
  const name = flags.name ?? `cairn-${escapePath(basename(poolDirectory))}`;
  if (!/^[A-Za-z0-9:_.\\-]{1,200}$/.test(name))
    throw new CairnError('INVALID', `--name ${name} is not the name of a unit`, { hint: 'letters, digits, - and _' });
  const unit = `${name}.service`;
  const path = join(unitDirectory(context, flags.unitDirectory), unit);
  const before = await readFile(path, 'utf8').catch(() => undefined);
  const owner = before === undefined ? poolDirectory : choicesOf(before)?.poolDirectory;
  if (owner !== poolDirectory)
    throw new CairnError('EXISTS', `${path} is ${owner === undefined ? 'not of cairn' : `of the pool ${owner}`}`, {
      hint: 'give another name with --name',
    });
  const choices = {
    poolDirectory,
    mountpoint: place,
    strong: flags.strong === true,
    allowOther: flags.allowOther === true,
  };
  const text = await unitFor(context, choices);
  const commands = [systemctl('daemon-reload'), systemctl('enable', ...(flags.start ? ['--now'] : []), unit)];
  if (flags.dryRun) {
    context.stdout.write(`# ${path}\n${text}\n# then\n${commandsText(commands)}`);
    return;
  }
  const isRunning = (await ask(context, 'is-active', unit)) === 'active';
  await write(path, text);
  for (const command of commands) await run(context, command);
  const restart = systemctl('restart', unit).join(' ');
  const state = !flags.start
    ? `next: ${systemctl('start', unit).join(' ')}`
    : isRunning && before !== text
      ? `it runs as it was started; what has changed is used after: ${restart}`
      : `mounted ${poolDirectory} at ${place}, and will be at every boot`;
  context.stdout.write(`wrote ${path}\n${state}\n`);
}

/** The unit for the pool as it is. */
async function unitFor(context: CliContext, choices: UnitChoices): Promise<string> {
  return unitText({
    ...choices,
    config: await loadConfig(context.files, choices.poolDirectory),
    isSystem: isSystem(),
    program: ownProgram(),
    mounts: context.mountTable(),
  });
}

async function findUnit(
  context: CliContext,
  poolDirectory: string,
  place: string | undefined,
): Promise<{ unit: string; path: string; text: string; choices: UnitChoices }> {
  const directory = unitDirectory(context, place);
  for (const unit of await readdir(directory).catch(() => [])) {
    if (!unit.endsWith('.service')) continue;
    const path = join(directory, unit);
    const text = await readFile(path, 'utf8').catch(() => '');
    const choices = choicesOf(text);
    if (choices?.poolDirectory === poolDirectory) return { unit, path, text, choices };
  }
  throw new CairnError('NOT_FOUND', `no service for the pool ${poolDirectory} is in ${directory}`, {
    hint: `install one with \`cairn service install ${poolDirectory} MOUNTPOINT\``,
  });
}

async function write(path: string, text: string, mode = 0o644): Promise<void> {
  try {
    await mkdir(join(path, '..'), { recursive: true });
    await writeFile(path, text);
    // Whatever the umask is: who starts it may be another user.
    await chmod(path, mode);
  } catch (cause) {
    throw new CairnError('ACCESS', `cannot write ${path}: ${systemCode(cause) ?? String(cause)}`, {
      hint: 'run it as root (sudo), or see what it would do with --dry-run',
      cause,
    });
  }
}

function isSystem(): boolean {
  return process.getuid?.() === 0;
}

function unitDirectory(context: CliContext, given: string | undefined): string {
  if (given !== undefined) return given;
  const { env } = context;
  return isSystem()
    ? SYSTEM_DIRECTORY
    : join(env['XDG_CONFIG_HOME'] || join(env['HOME'] ?? '/', '.config'), 'systemd/user');
}

function ownProgram(): string[] {
  return [process.execPath, fileURLToPath(new URL('./cairn.cjs', import.meta.url))];
}

function systemctl(...args: string[]): string[] {
  return ['systemctl', ...(isSystem() ? [] : ['--user']), ...args];
}

function commandsText(commands: readonly (readonly string[])[]): string {
  return commands.map((command) => `${command.join(' ')}\n`).join('');
}

/** MISSING_TOOL without systemd; IO with what it said. */
async function run(context: CliContext, [program = '', ...args]: readonly string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    execFile(program, args, { env: { ...context.env } as NodeJS.ProcessEnv }, (error, stdout, stderr) => {
      if (error === null) resolve(stdout.trim());
      else if (error.code === 'ENOENT')
        reject(
          new CairnError('MISSING_TOOL', `there is no ${program} here: this machine does not run systemd`, {
            hint: 'have your service manager run what `cairn service install --dry-run` shows as ExecStart',
          }),
        );
      else {
        const unit = args.at(-1) ?? '';
        const said = (stderr.trim() || error.message).split('\n')[0]?.replace(/\.$/, '');
        const refuse = (why: string | undefined): void =>
          reject(
            new CairnError('IO', `${[program, ...args].join(' ')}: ${why ?? said}`, {
              hint: `nothing in the pool has changed; see \`journalctl -u ${unit}\``,
              cause: error,
            }),
          );
        void lastWords(context, unit).then(refuse);
      }
    });
  });
}

/** What the daemon said when it could not start, which systemctl does not tell; undefined if it said nothing. */
async function lastWords(context: CliContext, unit: string): Promise<string | undefined> {
  const args = [
    ...(isSystem() ? [] : ['--user']),
    '-u',
    unit,
    '-n',
    '1',
    '-p',
    'err',
    '-o',
    'cat',
    '-t',
    'cairn',
    '-S',
    '-1min',
  ];
  return new Promise((resolve) => {
    execFile('journalctl', args, { env: { ...context.env } as NodeJS.ProcessEnv }, (_error, stdout) => {
      const [, words] = /^cairn: (.+)/m.exec(stdout) ?? [];
      resolve(words);
    });
  });
}

/** `is-active` and `is-enabled` end with an error where the answer is no. */
async function ask(context: CliContext, question: string, unit: string): Promise<string> {
  const [program = '', ...args] = systemctl(question, unit);
  return new Promise((resolve) => {
    execFile(program, args, { env: { ...context.env } as NodeJS.ProcessEnv }, (_error, stdout) =>
      resolve(stdout.trim() || 'not known'),
    );
  });
}
