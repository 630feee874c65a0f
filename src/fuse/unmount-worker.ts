/** The thread that unmountFuse starts: one umount2(2), and out. A failure is an uncaught exception, which reaches the starter as `error`. */
import { workerData } from 'node:worker_threads';
import { loadAddon } from '../../native/addon.js';
import { assert } from '../errors/cairn-error.js';

const job: unknown = workerData;
assert(typeof job === 'object' && job !== null && 'mountpoint' in job && 'lazy' in job, 'a job for the unmount worker');
loadAddon().unmount(String(job.mountpoint), job.lazy === true);
