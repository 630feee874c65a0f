/**
 * The process that a load runs in: `node worker.js LOAD DIRECTORY SIZE`. Never the daemon's own process, nor the bench's
 * (which must stay free to clean up). Prints the figures as JSON.
 */
import { deleteTransactions, walTransactions } from './loads/database.js';
import type { Load, LoadSize } from './loads/load.js';
import { prepareRandom, readRandom, writeRandom } from './loads/random-access.js';
import { smallFiles } from './loads/small-files.js';
import { copyIn, readStream, writeStream } from './loads/stream.js';
import { prepareSynced, writeSynced } from './loads/synced.js';

const LOADS = {
  writeStream,
  readStream,
  copyIn,
  smallFiles,
  prepareRandom,
  writeRandom,
  readRandom,
  prepareSynced,
  writeSynced,
  walTransactions,
  deleteTransactions,
} satisfies Record<string, Load>;

export type LoadName = keyof typeof LOADS;

const [name = '', directory = '', size = ''] = process.argv.slice(2);
process.stdout.write(JSON.stringify(LOADS[name as LoadName](directory, JSON.parse(size) as LoadSize)));
