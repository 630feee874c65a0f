/**
 * Raw requests to the S3 server, made up and damaged (s3-request-maker.ts), on many connections at once: each that is whole is answered, or its connection
 * ended; nothing hangs; no answer is a failure of the server's own; and afterwards it works and the pool is whole. The seed is printed; SEED=n replays
 * the requests, COUNT=n makes so many (a million by hand).
 */
import { connect } from 'node:net';
import t from 'tap';
import { SeededRandom } from '../sim/seeded-random.js';
import { MAIN, S3Fixture } from '../unit/s3/s3-fixture.js';
import { type MadeRequest, RequestMaker } from './s3-request-maker.js';

const seed = Number(process.env['SEED'] ?? Date.now() % 2 ** 31);
const COUNT = Number(process.env['COUNT'] ?? 1000);
const CONNECTIONS = 12;
/** A request that is not answered in this time hangs: what the server itself waits for is shorter for requests that are whole. */
const HANG_MS = 120_000;

interface RawAnswer {
  /** 0: the connection was ended without an answer. */
  readonly status: number;
  readonly text: string;
}

/** Sends the bytes on a connection of their own; resolves with the last answer that is not 100. */
function send(host: string, port: number, { bytes, isHead, isDamaged }: MadeRequest): Promise<RawAnswer> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port, allowHalfOpen: true, noDelay: true });
    let received = '';
    const done = (): void => {
      clearTimeout(impatient);
      socket.destroy();
      const all = [...received.matchAll(/HTTP\/1\.1 (\d{3}) /g)].map((match) => Number(match[1]));
      resolve({ status: all.findLast((status) => status !== 100) ?? 0, text: received });
    };
    const impatient = setTimeout(() => {
      socket.destroy();
      reject(new Error(`no answer to ${JSON.stringify(bytes.toString('latin1').slice(0, 4000))}`));
    }, HANG_MS);
    socket.on('data', (piece) => {
      received += piece.toString('latin1');
      if (!isDamaged && isWhole(received, isHead)) done();
    });
    // A server that refuses early may close while we still send.
    socket.on('error', done);
    socket.on('end', done);
    socket.on('close', done);
    if (isDamaged) socket.end(bytes);
    else socket.write(bytes);
  });
}

function isWhole(text: string, isHead: boolean): boolean {
  const end = text.indexOf('\r\n\r\n');
  if (end < 0) return false;
  const head = text.slice(0, end + 2);
  if (head.startsWith('HTTP/1.1 100 ')) return isWhole(text.slice(end + 4), isHead);
  const length = Number(/\r\ncontent-length: *(\d+)\r\n/i.exec(head)?.[1] ?? 0);
  return isHead || text.length - end - 4 >= length;
}

t.test(`${COUNT} requests`, async (t) => {
  t.comment(`SEED=${seed}`);
  const s3 = await S3Fixture.create(t);
  const { hostname, port, host } = new URL(s3.server.endpoint);
  for (const bucket of ['aaa', 'bbb', 'versioned']) await s3.send('PUT', `/${bucket}`);
  const maker = new RequestMaker(new SeededRandom(seed), MAIN, host);
  const statuses = new Map<number, number>();
  let made = 0;
  const one = async (): Promise<void> => {
    while (made < COUNT) {
      made += 1;
      const request = maker.next();
      const { status, text } = await send(hostname, Number(port), request);
      statuses.set(status, (statuses.get(status) ?? 0) + 1);
      const upload = /<UploadId>([^<]+)</.exec(text)?.[1];
      if (upload !== undefined && maker.uploads.push(upload) > 20) maker.uploads.shift();
      const told = { request: request.bytes.toString('latin1').slice(0, 4000), answer: text.slice(0, 2000) };
      if (status >= 500 && status !== 501 && status !== 503) t.fail(`status ${status}`, told);
      if (status === 0 && !request.isDamaged) t.fail('no answer to a whole request', told);
    }
  };
  await Promise.all(Array.from({ length: CONNECTIONS }, one));
  const count = (from: number, to: number): number =>
    [...statuses].reduce((sum, [status, times]) => sum + (status >= from && status < to ? times : 0), 0);
  t.comment(JSON.stringify(Object.fromEntries([...statuses].sort(([a], [b]) => a - b))));
  t.ok(count(200, 300) > COUNT / 10, 'many of them do something');
  t.ok(count(400, 500) > COUNT / 10, 'and many are refused');
  t.same(s3.failures, [], 'nothing failed in the server');
  // Without the settings that requests may have made: owners cannot lock themselves out of the policy.
  await s3.send('DELETE', '/aaa?policy');
  // One of them may have removed the bucket.
  t.ok([200, 409].includes((await s3.send('PUT', '/aaa')).status));
  t.equal((await s3.send('PUT', '/aaa/last', { body: 'works' })).status, 200);
  t.equal((await s3.send('GET', '/aaa/last')).text, 'works');
  t.same((await s3.pool.pool.control.check({ content: true, repair: false }, () => {})).findings, []);
});
