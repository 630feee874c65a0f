/** What every step of opening a pool is given. */
import type { AccessTimes } from '../vfs/access-times.js';
import type { PoolConfig } from './config.js';
import type { Machine } from './machine.js';
import type { PoolLog } from './pool-log.js';

export interface Opening {
  readonly machine: Machine;
  /** The pool's. */
  readonly directory: string;
  readonly config: PoolConfig;
  readonly mode: 'default' | 'strong';
  readonly log: PoolLog;
  /** Nothing begins by itself. */
  readonly isResting: boolean;
  readonly accessTimes: AccessTimes;
  /** Has the part closed again if a later step fails. */
  keep<T extends { close(): Promise<void> }>(part: T): T;
}
