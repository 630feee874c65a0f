/**
 * A pool in a temporary directory, driven through the built command line as a person would: init, mount, kill -9, unmount.
 * Whatever happens, also when the test fails, its teardown ends the daemons, takes the mounts away and removes the
 * directory, and never reaches into a mount while it removes.
 *
 * Only processes that name this temporary directory on their command line are ended.
 */
import { execFile } from 'node:child_process';
import { accessSync, constants, existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, realpath, rename, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { waitForEnd } from '../../src/cli/daemon-process.js';
import { isInside, MountTable } from '../../src/cli/mount-table.js';
import { hasCode } from '../../src/errors/cairn-error.js';
import { ControlClient } from '../../src/http/control-client.js';
import type { FileState, PoolStatus } from '../../src/vfs/reports.js';
import { RunningProgram } from './running-program.js';
import { SCALE } from './scale.js';

/** What a command says while it waits: on a busy machine any of them may. */
const WAITING = /^[^\n]*, \d+ s so far\n/gm;

const MAIN = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));
const RUN_MS = 120_000 * SCALE.patience;
const MAX_OUTPUT_BYTES = 64 * 1024 * 1024;

export interface RunResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface HarnessOptions {
  /** How many data disks; 3 unless said otherwise. */
  readonly disks?: number;
  readonly journals?: number;
  /** Further arguments of `cairn init`. */
  readonly init?: readonly string[];
  /** Where the temporary directory is made: the system's, unless a test wants another device. */
  readonly parent?: string;
}

/** What runs the functions that it is given when it is over, also when it has failed: a test, or Cleanup in a script. */
export interface Teardown {
  teardown(end: () => Promise<void>): void;
}

/** Why mounting is not possible here, for tap's `skip`; false if it is. */
export function cannotMount(): string | false {
  try {
    accessSync('/dev/fuse', constants.R_OK | constants.W_OK);
    return false;
  } catch {
    return '/dev/fuse cannot be opened here';
  }
}

/** Why a file cannot be mounted as a file system here; false if it can. */
export function cannotMountImages(): string | false {
  return cannotMountDisks() || (!existsSync('/dev/loop-control') && 'there are no loop devices here');
}

/** Why file systems of a test's own cannot be mounted here, for tap's `skip`; false if they can. */
export function cannotMountDisks(): string | false {
  return cannotMount() || (process.getuid?.() !== 0 && 'mounting small file systems as disks needs root');
}

export class MountHarness {
  readonly directory: string;
  readonly pool: string;
  readonly mountpoint: string;
  readonly cache: string;
  readonly meta: string;
  readonly disks: readonly string[];
  readonly journals: readonly string[];
  readonly #init: readonly string[];
  readonly #programs: RunningProgram[] = [];
  #pid = 0;

  /** Makes the directories; the pool is made by `init`. */
  static async create(t: Teardown, options: HarnessOptions = {}): Promise<MountHarness> {
    const directory = await realpath(await mkdtemp(join(options.parent ?? tmpdir(), 'cairn-mount-')));
    const harness = new MountHarness(directory, options);
    t.teardown(() => harness.#cleanUp());
    for (const path of [harness.pool, harness.mountpoint, harness.cache, ...harness.disks, ...harness.journals]) {
      await mkdir(path);
    }
    return harness;
  }

  private constructor(directory: string, options: HarnessOptions) {
    const numbered = (name: string, count: number) =>
      Array.from({ length: count }, (_, index) => join(directory, `${name}${index + 1}`));
    this.directory = directory;
    this.pool = join(directory, 'pool');
    this.mountpoint = join(directory, 'mnt');
    this.cache = join(directory, 'cache');
    this.meta = join(this.pool, 'meta');
    this.disks = numbered('disk', options.disks ?? 3);
    this.journals = numbered('journal', options.journals ?? 0);
    this.#init = options.init ?? [];
  }

  /** Runs `cairn` with these arguments and returns what came of it, also if it failed. */
  run(...args: string[]): Promise<RunResult> {
    return this.runIn(this.directory, ...args);
  }

  /** As `run`, with this working directory. */
  async runIn(cwd: string, ...args: string[]): Promise<RunResult> {
    const result = await this.exec(process.execPath, [MAIN, ...args], cwd);
    const mounted = /^mounted .* \(pid (\d+), log /m.exec(result.stdout);
    if (mounted !== null) this.#pid = Number(mounted[1]);
    return result;
  }

  /** As `run`; throws with what the command said unless it ended with 0. */
  async ok(...args: string[]): Promise<string> {
    const { code, stdout, stderr } = await this.run(...args);
    if (code !== 0) throw new Error(`cairn ${args.join(' ')} ended with ${code}: ${stderr}${await this.logTail()}`);
    return stdout;
  }

  /** Any program, in the temporary directory. */
  exec(program: string, args: readonly string[], cwd = this.directory): Promise<RunResult> {
    const options = { cwd, timeout: RUN_MS, killSignal: 'SIGKILL' as const, maxBuffer: MAX_OUTPUT_BYTES };
    return new Promise((resolve) => {
      execFile(program, [...args], options, (error, stdout, stderr) => {
        const code = error === null ? 0 : typeof error.code === 'number' ? error.code : -1;
        const why = code === -1 ? String(error?.message) : '';
        resolve({ code, stdout, stderr: stderr.replaceAll(WAITING, '') + why });
      });
    });
  }

  /** Any program, beside the test; it is killed in the end. */
  start(program: string, ...args: string[]): RunningProgram {
    const running = new RunningProgram(program, args, this.directory);
    this.#programs.push(running);
    return running;
  }

  /** `cairn` with these arguments, beside the test. */
  startCairn(...args: string[]): RunningProgram {
    return this.start(process.execPath, MAIN, ...args);
  }

  /** A compiled script of this folder, in a process of its own: a test never touches a mount that it may have to kill. */
  script(name: string, ...args: string[]): RunningProgram {
    return this.start(process.execPath, fileURLToPath(new URL(`./${name}.js`, import.meta.url)), ...args);
  }

  /** Any program, which must end with 0; returns its stdout. */
  async must(program: string, ...args: string[]): Promise<string> {
    const { code, stdout, stderr } = await this.exec(program, args);
    if (code !== 0)
      throw new Error(
        `${program} ${args.join(' ')} ended with ${code}: ${stderr.slice(0, 4000)}${await this.logTail()}`,
      );
    return stdout;
  }

  /** Changes cairn.toml as a person would with an editor. */
  async configure(change: (toml: string) => string): Promise<void> {
    const path = join(this.pool, 'cairn.toml');
    const before = await readFile(path, 'utf8');
    const after = change(before);
    if (after === before) throw new Error('the change of cairn.toml changes nothing');
    await writeFile(path, after);
  }

  /** Puts a file system of its own, in memory, at this directory. Root only; taken away in the end. */
  async mountMemory(directory: string, sizeBytes: number): Promise<void> {
    await this.must('mount', '-t', 'tmpfs', '-o', `size=${sizeBytes},mode=755`, 'cairn-test', directory);
  }

  /**
   * Puts an ext4 of its own, in a file, at this directory. Root only; taken away in the end. What it resolves with makes the kernel find an
   * error in it, after which it takes no more writes.
   */
  async mountImage(directory: string, sizeBytes: number, image = `${directory}.image`): Promise<() => Promise<void>> {
    await writeFile(image, '');
    await truncate(image, sizeBytes);
    await this.must('mkfs.ext4', '-q', '-F', image);
    await this.must('mount', '-o', 'loop,errors=remount-ro', image, directory);
    const device = MountTable.read().at(directory)?.source ?? '';
    return () => writeFile(`/sys/fs/ext4/${basename(device)}/trigger_fs_error`, 'a test\n');
  }

  /** Moves a disk's directory away, as if it had been pulled out; what it resolves with puts it back. */
  async pullOut(disk: string): Promise<() => Promise<void>> {
    await rename(disk, `${disk}.away`);
    return () => rename(`${disk}.away`, disk);
  }

  /** As after the loss of the cache's device, with a new one in its place. */
  async loseCache(): Promise<void> {
    await rm(this.cache, { recursive: true });
    await mkdir(this.cache);
  }

  async init(): Promise<void> {
    const journals = this.journals.length > 0 ? ['--journal', ...this.journals] : [];
    await this.ok('init', this.pool, '--disk', ...this.disks, '--cache', this.cache, ...journals, ...this.#init);
  }

  async mount(...flags: string[]): Promise<void> {
    await this.ok('mount', this.pool, this.mountpoint, ...flags);
  }

  async unmount(): Promise<void> {
    await this.ok('unmount', this.mountpoint);
  }

  async commit(path = this.mountpoint): Promise<void> {
    await this.ok('commit', '--wait', path);
  }

  /** Waits until what was written while a disk was away, or was damaged, has been made whole in the background. */
  async healed(): Promise<PoolStatus> {
    for (;;) {
      const status = await this.status();
      if (status.health === 'healthy') return status;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }

  /** As `cairn status`; where a daemon runs it is asked without the price of a process. */
  async status(): Promise<PoolStatus & { running: boolean }> {
    const running = await new ControlClient(this.pool).status().catch((error: unknown) => {
      if (hasCode(error, 'CLOSED')) return undefined;
      throw error;
    });
    if (running !== undefined) return { ...running, running: true };
    return JSON.parse(await this.ok('status', '--json', this.pool)) as PoolStatus & { running: boolean };
  }

  async state(path: string): Promise<FileState> {
    return JSON.parse(await this.ok('state', '--json', path)) as FileState;
  }

  /** What `cairn fsck` finds wrong; undefined if nothing. */
  async fsck(): Promise<string | undefined> {
    const { code, stdout, stderr } = await this.run('fsck', this.pool);
    return code === 0 ? undefined : `${stdout}${stderr}`.trim();
  }

  /** kill -9, at once, of the daemon that was started last. The mount is dead afterwards; `mount` and `unmount` deal with that. */
  async kill(): Promise<void> {
    process.kill(this.#pid, 'SIGKILL');
    while (!(await waitForEnd(this.#pid)));
  }

  /** The messages in the daemon's log, oldest first. */
  async log(): Promise<string[]> {
    const text = await readFile(join(this.pool, 'daemon.log'), 'utf8').catch(() => '');
    return text
      .split('\n')
      .filter((line) => line.startsWith('{'))
      .map((line) => (JSON.parse(line) as { msg: string }).msg);
  }

  /** The end of the daemon's log, for a failure's message. */
  async logTail(): Promise<string> {
    const text = await readFile(join(this.pool, 'daemon.log'), 'utf8').catch(() => '');
    return text === '' ? '' : `\ndaemon.log ends with:\n${text.split('\n').slice(-20).join('\n')}`;
  }

  /** Takes the mount of a daemon away that was killed. */
  async detach(): Promise<void> {
    if (MountTable.read().at(this.mountpoint) === undefined) return;
    const root = process.getuid?.() === 0;
    await this.must(root ? 'umount' : 'fusermount3', root ? '-l' : '-uz', this.mountpoint);
  }

  async #cleanUp(): Promise<void> {
    for (const program of this.#programs) program.kill();
    for (const pid of await this.#processes()) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        continue;
      }
      while (!(await waitForEnd(pid)));
    }
    for (const { mountpoint } of this.#mounts()) {
      const root = process.getuid?.() === 0;
      await this.exec(root ? 'umount' : 'fusermount3', [root ? '-l' : '-uz', mountpoint], '/');
    }
    for (const program of this.#programs) await program.ended;
    const left = this.#mounts();
    if (left.length > 0) throw new Error(`still mounted: ${left.map((mount) => mount.mountpoint).join(', ')}`);
    await rm(this.directory, { recursive: true, force: true });
  }

  #mounts() {
    return MountTable.read().inside(this.directory);
  }

  async #processes(): Promise<number[]> {
    const found: number[] = [];
    for (const entry of await readdir('/proc')) {
      const pid = Number(entry);
      if (!Number.isInteger(pid) || pid === process.pid) continue;
      const args = (await readFile(`/proc/${entry}/cmdline`, 'utf8').catch(() => '')).split('\0');
      if (args.includes(MAIN) && args.some((arg) => isInside(arg, this.directory))) found.push(pid);
    }
    return found;
  }
}
