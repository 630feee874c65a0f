/**
 * What listing costs at a given number of keys: a pool made by the library, keys published a thousand at a time past HTTP (so that a million take a minute or two), and
 * the S3 server in this process, which lists all of them in pages of 1,000 for a client of its own process, and then single pages at the start, in the middle and at the end.
 */
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { loadavg } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { SystemClock } from '../../src/io/clock.js';
import { Pool } from '../../src/pool/pool.js';
import { encodeAttributes, OBJECT } from '../../src/s3/object-attributes.js';
import { S3Server } from '../../src/s3/s3-server.js';
import { UserTable } from '../../src/s3/users.js';
import type { ObjectTree } from '../../src/vfs/object-tree.js';
import { run } from '../child.js';
import { Cleanup } from '../cleanup.js';
import { FILES_PER_ROUND, publishEmptyFiles } from '../published-files.js';
import { Connection } from './connection.js';
import { BUCKET, keyName, type S3Figures, type S3LoadSize } from './load-size.js';

const HELP = `Usage: node dist/bench/s3/listing.js [options]

  --keys N    how many, a multiple of 1,000 (1000000)
  --dir DIR   where pool and disks are (/dev/shm)`;

/** Keys of a directory are made in one round. */
const PER_DIRECTORY = FILES_PER_ROUND;
const SINGLE_PAGES = 20;
const SETTLE_MS = 5000;
const USER = { id: 'bench', name: 'bench', accessKey: 'benchaccess', secretKey: 'benchsecret0' };
const OWNER = { uid: 0, gid: 0, mode: 0o755 };

/** Empty objects as a PUT makes them, `keys/DDDDDD/NNN`. */
async function makeKeys(tree: ObjectTree, keys: number): Promise<void> {
  const bucket = await tree.makeDirectory(tree.root, BUCKET, OWNER);
  const top = await tree.makeDirectory(bucket.ino, 'keys', OWNER);
  const etag = 'd41d8cd98f00b204e9800998ecf8427e';
  for (let first = 0; first < keys; first += PER_DIRECTORY) {
    const [directory = ''] = keyName(first).split('/');
    const { ino: parent } = await tree.makeDirectory(top.ino, directory, OWNER);
    const names = Array.from({ length: PER_DIRECTORY }, (_, i) => keyName(first + i).split('/')[1] ?? '');
    await publishEmptyFiles(
      tree,
      parent,
      names,
      (stage) => new Map([[OBJECT, encodeAttributes({ v: 1, stage, size: 0, etag, owner: USER.id, headers: {} })]]),
    );
  }
}

async function main(cleanup: Cleanup): Promise<void> {
  const { values } = parseArgs({
    options: {
      keys: { type: 'string', default: '1000000' },
      dir: { type: 'string', default: '/dev/shm' },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  if (values.help) {
    process.stdout.write(`${HELP}\n`);
    return;
  }
  const keys = Number(values.keys);
  if (!Number.isSafeInteger(keys) || keys < PER_DIRECTORY || keys % PER_DIRECTORY !== 0 || keys > 1e9)
    throw new Error(`--keys ${values.keys} is no multiple of ${PER_DIRECTORY} up to 1,000,000,000`);
  const base = await mkdtemp(join(values.dir, 'cairn-s3-listing-'));
  cleanup.add(`remove ${base}`, () => rm(base, { recursive: true, force: true, maxRetries: 10 }));
  const disks = ['disk1', 'disk2', 'disk3'].map((name) => join(base, name));
  for (const directory of [...disks, join(base, 'cache')]) await mkdir(directory);
  await Pool.init(join(base, 'pool'), { disks, cache: join(base, 'cache') });
  const pool = await Pool.open(join(base, 'pool'));
  cleanup.add('close the pool', () => pool.close());
  const begun = performance.now();
  await makeKeys(pool.objects, keys);
  process.stdout.write(`${keys} keys made in ${((performance.now() - begun) / 1000).toFixed(0)} s\n`);
  // What the pool does with so many new files ends first.
  await delay(SETTLE_MS);
  const clock = new SystemClock();
  const failed = (what: unknown, error?: unknown): void =>
    void process.stderr.write(`${String(what)} ${String(error)}\n`);
  const users = new UserTable(async () => [USER], clock, failed);
  const server = await S3Server.start(
    { tree: pool.objects, users, clock, audit: () => undefined, onFailure: failed },
    { host: '127.0.0.1', port: 0, region: 'us-east-1', requestsMax: 100 },
  );
  cleanup.add('stop the server', () => server.close());
  const { accessKey, secretKey } = USER;
  const target = { endpoint: server.endpoint, accessKey, secretKey };

  const size: S3LoadSize = { seconds: 0, largeConnections: 1, smallConnections: 1, listedKeys: keys, streamMib: 0 };
  const loadFile = fileURLToPath(new URL('./load.js', import.meta.url));
  for (const round of ['first', 'second']) {
    const before = process.cpuUsage();
    const text = await run(process.execPath, [loadFile, 'listKeys', JSON.stringify(target), JSON.stringify(size)]);
    const { user, system } = process.cpuUsage(before);
    const { operations, seconds } = JSON.parse(text) as S3Figures;
    const perPage = (user + system) / 1000 / (operations / PER_DIRECTORY);
    const load = loadavg()[0]?.toFixed(1);
    process.stdout.write(
      `${round} time: ${Math.round(operations / seconds)} keys/s, ${perPage.toFixed(2)} ms of the server's CPU for a page of 1,000 (load average ${load})\n`,
    );
  }
  const connection = await Connection.open(target);
  cleanup.add('close the connection', async () => connection.close());
  for (const [where, at] of [
    ['start', 0],
    ['middle', 0.5],
    ['end', 0.99],
  ] as const) {
    const before = process.cpuUsage();
    for (let page = 0; page < SINGLE_PAGES; page++) {
      const after = `keys/${keyName(Math.floor(at * keys) + page)}`;
      const query = [
        ['list-type', '2'],
        ['max-keys', '1000'],
        ['start-after', after],
      ] as const;
      const answer = await connection.send({ method: 'GET', path: `/${BUCKET}`, query, keeps: true });
      if (answer.status !== 200) throw new Error(`the server answered ${answer.status}: ${answer.body}`);
    }
    const { user, system } = process.cpuUsage(before);
    process.stdout.write(
      `a page at the ${where}: ${((user + system) / 1000 / SINGLE_PAGES).toFixed(2)} ms of CPU, the client's among it\n`,
    );
  }
}

const cleanup = new Cleanup();
try {
  await main(cleanup);
} catch (error) {
  process.stderr.write(`bench: ${error instanceof Error ? error.message : error}\n`);
  process.exitCode = 1;
}
await cleanup.run();
