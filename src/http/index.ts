/**
 * The client of a running pool: `import { ControlClient } from 'cairnfs/client'`. Every method is one request of the API in docs/openapi.json.
 *
 *     const pool = new ControlClient('/srv/pool');
 *     await pool.commit(['/photos'], ({ bytesDone, bytesTotal }) => console.log(bytesDone, bytesTotal));   // resolves after the pool promise
 *     for await (const message of pool.watch()) …                                                          // status, flow and events as they change
 *
 * What fails rejects with a CairnError; match its `code`.
 */
export { CairnError, type ErrorCode } from '../errors/cairn-error.js';
export type * from '../monitor/reports.js';
export type * from '../vfs/reports.js';
export { ControlClient } from './control-client.js';
