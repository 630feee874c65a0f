/**
 * The process that the S3 loads run in: `node load.js LOAD TARGET SIZE`, both of them JSON. Prints its figures as JSON. Bodies are random and different from each
 * other, so that neither compression nor deduplication makes a load smaller than it says; each answer's length and status are checked.
 */
import { Content, MIB } from '../loads/content.js';
import { Connection, type Received, type Sent, type Target } from './connection.js';
import { BUCKET, keyName, type S3Figures, type S3LoadSize } from './load-size.js';

type S3Load = (target: Target, size: S3LoadSize) => Promise<S3Figures>;

const LARGE_BYTES = 8 * MIB;
const LARGE_OBJECTS = 16;
const SMALL_BYTES = 1024;
const SMALL_OBJECTS = 2000;
const PAGE_KEYS = 1000;
const content = new Content();

function good(answer: Received, bodyBytes?: number): Received {
  if (answer.status !== 200 || (bodyBytes !== undefined && answer.bodyBytes !== bodyBytes))
    throw new Error(`the server answered ${answer.status} with ${answer.bodyBytes} bytes: ${answer.headers}`);
  return answer;
}

/** Runs `next` on each connection again and again until the time is over, or it gives undefined. */
async function run(
  target: Target,
  connections: number,
  seconds: number,
  next: (
    turn: number,
    connection: number,
  ) => { readonly sent: Sent; readonly bodyBytes?: number; readonly counts: number } | undefined,
): Promise<S3Figures> {
  const open = await Promise.all(Array.from({ length: connections }, () => Connection.open(target)));
  let turn = 0;
  let operations = 0;
  let bytes = 0;
  const begun = performance.now();
  const until = begun + seconds * 1000;
  await Promise.all(
    open.map(async (connection, index) => {
      while (performance.now() < until) {
        const one = next(turn++, index);
        if (one === undefined) return;
        good(await connection.send(one.sent), one.bodyBytes);
        operations += 1;
        bytes += one.counts;
      }
    }),
  );
  const elapsed = (performance.now() - begun) / 1000;
  for (const connection of open) connection.close();
  return { operations, bytes, seconds: elapsed };
}

/** Each MiB stamped, so that no two objects are alike. */
function largeBody(index: number): Buffer {
  const body = Buffer.allocUnsafe(LARGE_BYTES);
  for (let at = 0; at < LARGE_BYTES; at += MIB) content.mebibyte(index * 8 + at / MIB).copy(body, at);
  return body;
}

/** A body per connection, whose MiBs get another number at each use. */
function putLarge(headersOf: (body: Buffer) => Record<string, string>, signsBody: boolean): S3Load {
  return async (target, { seconds, largeConnections }) => {
    const bodies = Array.from({ length: largeConnections }, (_, index) => largeBody(index));
    const seed = Math.floor(Math.random() * 2 ** 32);
    return run(target, largeConnections, seconds, (turn, connection) => {
      const body = bodies[connection]!;
      for (let at = 0; at < LARGE_BYTES; at += MIB) {
        body.writeUInt32LE(seed, at + 4);
        body.writeUInt32LE(turn, at + 8);
      }
      // The same names are written again: room comes back while it runs.
      const path = `/${BUCKET}/large-put/${turn % 64}`;
      return { sent: { method: 'PUT', path, body, headers: headersOf(body), signsBody }, counts: LARGE_BYTES };
    });
  };
}

const LOADS = {
  prepare: async (target) => {
    const connection = await Connection.open(target);
    const made = await connection.send({ method: 'PUT', path: `/${BUCKET}` });
    if (made.status !== 200 && made.status !== 409) good(made);
    for (let index = 0; index < LARGE_OBJECTS; index++)
      good(await connection.send({ method: 'PUT', path: `/${BUCKET}/large/${index}`, body: largeBody(index + 1000) }));
    connection.close();
    const small = await run(target, 16, 600, (turn) =>
      turn >= SMALL_OBJECTS
        ? undefined
        : {
            sent: {
              method: 'PUT',
              path: `/${BUCKET}/small/${turn}`,
              body: Buffer.from(content.piece(turn + 1e6, SMALL_BYTES)),
            },
            counts: SMALL_BYTES,
          },
    );
    return small;
  },
  getLarge: (target, { seconds, largeConnections }) =>
    run(target, largeConnections, seconds, (turn) => ({
      sent: { method: 'GET', path: `/${BUCKET}/large/${turn % LARGE_OBJECTS}` },
      bodyBytes: LARGE_BYTES,
      counts: LARGE_BYTES,
    })),
  putLarge: putLarge(() => ({}), false),
  putLargeSigned: putLarge(() => ({}), true),
  putLargeCrc64: putLarge(() => ({ 'x-amz-sdk-checksum-algorithm': 'CRC64NVME' }), false),
  getSmall: (target, { seconds, smallConnections }) =>
    run(target, smallConnections, seconds, (turn) => ({
      sent: { method: 'GET', path: `/${BUCKET}/small/${turn % SMALL_OBJECTS}` },
      bodyBytes: SMALL_BYTES,
      counts: SMALL_BYTES,
    })),
  putSmall: (target, { seconds, smallConnections }) => {
    const seed = Math.floor(Math.random() * 2 ** 32);
    return run(target, smallConnections, seconds, (turn) => {
      const body = Buffer.from(content.piece(turn, SMALL_BYTES));
      body.writeUInt32LE(seed, 4);
      return { sent: { method: 'PUT', path: `/${BUCKET}/small-put/${turn}`, body }, counts: SMALL_BYTES };
    });
  },
  /** Empty objects, a thousand to a directory. */
  makeKeys: (target, { listedKeys }) =>
    run(target, 64, 36_000, (turn) =>
      turn >= listedKeys
        ? undefined
        : { sent: { method: 'PUT', path: `/${BUCKET}/keys/${keyName(turn)}`, body: new Uint8Array(0) }, counts: 0 },
    ),
  /** All of them in pages of 1,000, over one connection. */
  listKeys: async (target, { listedKeys }) => {
    const connection = await Connection.open(target);
    const begun = performance.now();
    let keys = 0;
    let last = '';
    for (let token: string | undefined = ''; token !== undefined; ) {
      const query: [string, string][] = [
        ['list-type', '2'],
        ['max-keys', String(PAGE_KEYS)],
        ['prefix', 'keys/'],
      ];
      if (token !== '') query.push(['continuation-token', token]);
      query.sort();
      const { body } = good(await connection.send({ method: 'GET', path: `/${BUCKET}`, query, keeps: true }));
      for (let at = body.indexOf('<Key>'); at >= 0; at = body.indexOf('<Key>', at + 5)) keys += 1;
      const end = body.lastIndexOf('<Key>') + 5;
      const key = body.slice(end, body.indexOf('</Key>', end));
      if (key <= last) throw new Error(`the keys are not in order: ${key} comes after ${last}`);
      last = key;
      token = /<NextContinuationToken>([^<]*)</.exec(body)?.[1];
    }
    const seconds = (performance.now() - begun) / 1000;
    connection.close();
    if (keys !== listedKeys) throw new Error(`${keys} keys were listed, and ${listedKeys} are there`);
    return { operations: keys, bytes: 0, seconds };
  },
  /** One PUT of a large object from bytes that are made as they are sent. */
  stream: async (target, { streamMib }) => {
    const connection = await Connection.open(target);
    const begun = performance.now();
    const bodyBytes = streamMib * MIB;
    const answer = connection.send({ method: 'PUT', path: `/${BUCKET}/stream`, bodyBytes });
    for (let index = 0; index < streamMib; index++) await connection.write(content.mebibyte(index + 1e8));
    good(await answer);
    connection.close();
    return { operations: 1, bytes: bodyBytes, seconds: (performance.now() - begun) / 1000 };
  },
} satisfies Record<string, S3Load>;

export type S3LoadName = keyof typeof LOADS;

const [name = '', target = '', size = ''] = process.argv.slice(2);
const figures = await LOADS[name as S3LoadName](JSON.parse(target) as Target, JSON.parse(size) as S3LoadSize);
process.stdout.write(JSON.stringify(figures));
