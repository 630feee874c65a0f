/**
 * The process that a load runs in: `node worker.js LOAD DIRECTORY SIZE`. Never the daemon's own process, nor the bench's
 * (which must stay free to clean up). Prints the figures as JSON.
 */
import { deleteTransactions, walTransactions } from './loads/database.js';
import type { Load, LoadSize } from './loads/load.js';
import { prepareRandom, readRandom, readRandomFile, writeRandom } from './loads/random-access.js';
import { memberOfMany, sharedDirectory } from './loads/shared-directory.js';
import { listWithAttributes, makeListed, smallFiles } from './loads/small-files.js';
import { copyIn, readMapped, readStream, writeStream } from './loads/stream.js';
import { prepareSynced, writeSynced } from './loads/synced.js';
import { prepareTree, removeTree, statusOfTree, unpackTree } from './loads/tree.js';

const LOADS = {
  writeStream,
  readStream,
  readMapped,
  copyIn,
  smallFiles,
  makeListed,
  listWithAttributes,
  sharedDirectory,
  memberOfMany,
  prepareTree,
  unpackTree,
  statusOfTree,
  removeTree,
  prepareRandom,
  writeRandom,
  readRandom,
  readRandomFile,
  prepareSynced,
  writeSynced,
  walTransactions,
  deleteTransactions,
} satisfies Record<string, Load>;

export type LoadName = keyof typeof LOADS;

const [name = '', directory = '', size = ''] = process.argv.slice(2);
const load: Load = LOADS[name as LoadName];
process.stdout.write(JSON.stringify(await load(directory, JSON.parse(size) as LoadSize)));
