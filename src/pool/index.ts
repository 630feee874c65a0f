/**
 * The library: `import { Pool } from 'cairnfs'` opens a pool in this process, without a mount. See examples/ for how it is used.
 *
 * `Pool.init` makes a pool, `Pool.open` opens one (one process at a time), `pool.openFile` gives a PoolFile to read, write, append, flush,
 * commit and close; `pool.list`, `stat`, `makeDirectory`, `rename`, `remove` are for names, `pool.commit` for everything at once.
 * Paths are inside the pool and begin with `/`. What fails rejects with a CairnError; match its `code`.
 */
export { CairnError, type ErrorCode } from '../errors/cairn-error.js';
export type { CommitProgress, CommitReport, DiskReport, FileState, PoolStatus } from '../vfs/reports.js';
export type { Attr } from '../vfs/vfs.js';
export type { InitReport } from './init-pool.js';
export { type FileMode, type NewPool, Pool, type PoolEntry, type PoolOptions } from './pool.js';
export type { PoolFile } from './pool-file.js';
export type { PoolLog } from './pool-log.js';
