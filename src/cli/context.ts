/** What every command is given: where it writes, where it runs, and how it reaches the pool. Tests hand in their own. */
import type { EventEmitter } from 'node:events';
import type { Clock } from '../io/clock.js';
import type { ProcessMemory } from './idle-memory.js';
import type { MountTable } from './mount-table.js';
import type { Output } from './output.js';
import type { Mounter, PoolOpener, S3Opener, VersionsOpener, Watcher, WebOpener } from './pool-opener.js';

export interface CliContext {
  readonly stdout: Output;
  readonly stderr: Output;
  readonly cwd: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly clock: Clock;
  /** Emits `SIGINT` and its like: the process. */
  readonly signals: EventEmitter;
  readonly pools: PoolOpener;
  readonly mounter: Mounter;
  readonly openS3: S3Opener;
  readonly openWeb: WebOpener;
  readonly watchPool: Watcher;
  readonly openVersions: VersionsOpener;
  /** The memory of the process that a pool is mounted in; not given by a stand-in: its memory is its own business. */
  readonly openMemory?: () => Promise<ProcessMemory>;
  mountTable(): MountTable;
  /** Reading files, as the pool's own code does it. */
  readonly files: { readFile(path: string): Promise<Buffer> };
  /** Puts a question to the person at the terminal; undefined if there is none. */
  ask(question: string): Promise<string | undefined>;
  /** As `ask`; what is typed is not shown. */
  askSecret(question: string): Promise<string | undefined>;
}

/** What a command ends with: 0 well, 1 an error, 2 wrong usage, 130 interrupted; as a helper of mount(8) what that knows. */
export type ExitCode = 0 | 1 | 2 | 8 | 32 | 130;
