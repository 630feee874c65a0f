/** The library: `import { Pool } from 'cairnfs'`. */
export { CairnError, type ErrorCode } from '../errors/cairn-error.js';
export type { CommitProgress, CommitReport, DiskReport, FileState, PoolStatus } from '../vfs/reports.js';
export type { InitOptions, InitReport } from './init-pool.js';
export { type FileMode, Pool, type PoolEntry, type PoolOptions } from './pool.js';
export type { PoolFile } from './pool-file.js';
export type { PoolLog } from './pool-log.js';
