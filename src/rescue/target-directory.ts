/**
 * The directory that is restored into. While a rescue is under way it has a work directory with what an interrupted one needs to go on:
 *
 *   .cairn-rescue/state.json    which pool and commit, and under which boot ids files were written
 *   .cairn-rescue/writing       the file that is being written: it gets its name, by rename, only when it is complete
 *   .cairn-rescue/links/<ino>   one more name of each file that has several
 *   .cairn-rescue/meta.sqlite   the metadata, made anew by every run
 *   .cairn-rescue/problems      what could not be restored, one JSON line each
 *
 * A file that stands under its name is complete as long as the kernel has not been restarted since: then its attributes tell that it is
 * restored. After a restart (a power cut may have taken what was not on the device yet) it is compared byte by byte.
 */
import {
  closeSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import type { Addon } from '../../native/addon.js';
import { CairnError, systemCode } from '../errors/cairn-error.js';
import { toCairnError } from '../io/system-error.js';

const WORK = '.cairn-rescue';
export const REPORT_JSON = 'cairn-rescue.json';
export const REPORT_TEXT = 'cairn-rescue.txt';
const BOOT_ID_PATH = '/proc/sys/kernel/random/boot_id';
/** Names at the top that the rescue needs itself. */
const TAKEN = new Set([WORK, REPORT_JSON, REPORT_TEXT]);
const SUFFIX = '.from-pool';

interface State {
  readonly format: 1;
  readonly pool: string;
  readonly sequence?: number;
  readonly epoch?: number;
  readonly boots: readonly string[];
}

export class TargetDirectory {
  /** Absolute, without symbolic links. */
  readonly path: string;
  readonly work: string;
  readonly #lockFd: number;
  /** This run made the directory. */
  readonly #made: boolean;
  #state: State;

  /**
   * Makes the directory if only its last part is missing. NOT_EMPTY if something else than an interrupted rescue of this pool is in it, INVALID if
   * it lies in one of `disks`, LOCKED if another rescue writes into it, NOT_FOUND, NOT_DIRECTORY, ACCESS, NO_SPACE.
   */
  static open(path: string, pool: string, disks: readonly string[], addon: Pick<Addon, 'lock'>): TargetDirectory {
    const absolute = placeOf(path);
    for (const disk of disks) {
      const place = realpathSync(disk);
      if (absolute === place || absolute.startsWith(`${place}/`))
        throw new CairnError('INVALID', `--to ${absolute} lies on the disk ${disk}, which is only read`, {
          hint: 'choose a directory elsewhere',
        });
    }
    let made = true;
    try {
      mkdirSync(absolute, { mode: 0o700 });
    } catch (error) {
      made = false;
      if (systemCode(error) !== 'EEXIST') throw toCairnError(error, 'make', absolute);
      if (!lstatSync(absolute).isDirectory())
        throw new CairnError('NOT_DIRECTORY', `--to ${absolute} is not a directory`);
    }
    const work = join(absolute, WORK);
    const before = readState(work);
    const found = readdirSync(absolute);
    if (before === undefined && found.some((name) => name !== WORK || readdirSync(work).length > 0))
      throw new CairnError('NOT_EMPTY', `--to ${absolute} is not empty: it holds ${found.sort()[0]}`, {
        hint: 'choose a new or empty directory; one with an interrupted rescue is gone on with',
      });
    if (before !== undefined && before.pool !== pool)
      throw new CairnError(
        'NOT_EMPTY',
        `--to ${absolute} holds the interrupted rescue of another pool, ${before.pool}`,
        { hint: 'choose an empty directory' },
      );
    const boot = bootId();
    const boots = [...new Set([...(before?.boots ?? []), boot])];
    return new TargetDirectory(absolute, made, { ...before, format: 1, pool, boots }, addon);
  }

  private constructor(path: string, made: boolean, state: State, addon: Pick<Addon, 'lock'>) {
    this.path = path;
    this.#made = made;
    this.work = join(path, WORK);
    this.#state = state;
    try {
      // What these names lead to has to be compared first.
      if (this.rebooted) rmSync(join(this.work, 'links'), { recursive: true, force: true });
      mkdirSync(join(this.work, 'links'), { recursive: true, mode: 0o700 });
      this.#lockFd = openSync(join(this.work, 'lock'), 'a', 0o600);
      if (!addon.lock(this.#lockFd))
        throw new CairnError('LOCKED', `another rescue is writing into ${path}`, { hint: 'wait until it has ended' });
      this.#save();
    } catch (error) {
      throw toCairnError(error, 'write into', path);
    }
  }

  /** This run goes on with one that was interrupted. */
  get resumed(): boolean {
    return this.#state.sequence !== undefined;
  }

  /** The kernel has been restarted since files were written: what stands under a name may not be whole. */
  get rebooted(): boolean {
    return this.#state.boots.length > 1;
  }

  /** Ties the directory to the state that is restored. NOT_EMPTY if it holds part of another one. */
  bind(sequence: number, epoch: number): void {
    const { sequence: before, epoch: epochBefore } = this.#state;
    if (before !== undefined && (before !== sequence || epochBefore !== epoch))
      throw new CairnError(
        'NOT_EMPTY',
        `--to ${this.path} holds the interrupted rescue of commit ${before}, and these disks give commit ${sequence}`,
        { hint: 'give the same disks again, or choose an empty directory' },
      );
    this.#state = { ...this.#state, sequence, epoch };
    this.#save();
  }

  /** Where in the directory a path of the pool goes; a name at the top that the rescue uses itself gets a suffix. */
  placeOf(path: Buffer): Buffer {
    const slash = path.indexOf(0x2f);
    const first = slash < 0 ? path : path.subarray(0, slash);
    const text = first.toString('latin1');
    const name = TAKEN.has(text) ? Buffer.from(text + SUFFIX, 'latin1') : first;
    return Buffer.concat([Buffer.from(`${this.path}/`), name, path.subarray(first.length)]);
  }

  /** Removes what only an unfinished rescue needs. */
  removeWork(): void {
    rmSync(this.work, { recursive: true, force: true });
  }

  /** Nothing has been restored, and nothing will be: the directory is left as it was found, unless a rescue before this one is going on in it. */
  abandon(): void {
    if (this.#state.sequence !== undefined) return;
    this.removeWork();
    if (this.#made) rmdirSync(this.path);
  }

  /** Another rescue may use the directory. */
  release(): void {
    closeSync(this.#lockFd);
  }

  #save(): void {
    const path = join(this.work, 'state.json');
    writeFileSync(`${path}.new`, `${JSON.stringify(this.#state)}\n`, { mode: 0o600 });
    renameSync(`${path}.new`, path);
  }
}

/** The directory that holds it must be there: a typo in the middle must not fill the system's own device. */
function placeOf(path: string): string {
  const absolute = resolve(path);
  try {
    return realpathSync(absolute);
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') throw toCairnError(error, 'look at', absolute);
  }
  try {
    return join(realpathSync(dirname(absolute)), basename(absolute));
  } catch (error) {
    throw toCairnError(error, 'look at', dirname(absolute));
  }
}

function readState(work: string): State | undefined {
  try {
    const state = JSON.parse(readFileSync(join(work, 'state.json'), 'utf8')) as Partial<State>;
    const valid = state.format === 1 && typeof state.pool === 'string' && Array.isArray(state.boots);
    return valid ? (state as State) : undefined;
  } catch {
    return undefined;
  }
}

function bootId(): string {
  try {
    return readFileSync(BOOT_ID_PATH, 'utf8').trim();
  } catch {
    // Never the same twice: everything is compared.
    return `unknown ${Date.now()}`;
  }
}
