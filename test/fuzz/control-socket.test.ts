/** Whatever is written to the control socket: an answer or a closed connection, no crash, no hang, nothing reaches the pool by accident. */
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createConnection } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import { ControlClient } from '../../src/http/control-client.js';
import { ControlServer } from '../../src/http/control-server.js';
import { SystemClock } from '../../src/io/clock.js';
import { FakePool } from '../unit/cli/fake-pool.js';

const seed = Number(process.env['SEED'] ?? Math.trunc(Math.random() * 2 ** 31));
t.comment(`SEED=${seed}`);

const json = fc.oneof(
  fc.json(),
  fc.string(),
  fc.constant('{"paths":["/a"],"wait":true}'),
  fc.constant('{"paths":["/a"],"wait":false}'),
);
const path = fc.oneof(
  fc.constantFrom(
    '/v1/status',
    '/v1/state',
    '/v1/state?path=/x',
    '/v1/commit',
    '*',
    '//x/y',
    'http://[',
    '/%',
    '/v1/state?path=%ff',
    '/v1/../v1/status',
  ),
  fc.string({ unit: 'binary-ascii', maxLength: 40 }),
  fc.webPath().map((each) => `/v1/state?path=${each}`),
);
const message = fc
  .record({
    method: fc.oneof(
      { weight: 8, arbitrary: fc.constantFrom('GET', 'POST', 'PUT', 'HEAD', 'OPTIONS', 'CONNECT', 'TRACE') },
      fc.string({ maxLength: 6 }),
    ),
    path,
    version: fc.constantFrom('HTTP/1.1', 'HTTP/1.0', 'HTTP/9.9', ''),
    headers: fc.array(
      fc.oneof(
        fc.constantFrom(
          'transfer-encoding: chunked',
          'content-length: 3',
          'content-length: -1',
          'expect: 100-continue',
          'upgrade: x',
          'connection: upgrade',
          'host: x',
          'host:',
        ),
        fc.string({ maxLength: 30 }),
      ),
      { maxLength: 3 },
    ),
    body: json,
    counted: fc.boolean(),
  })
  .map(({ method, path, version, headers, body, counted }) => {
    const length = counted ? [`content-length: ${Buffer.byteLength(body)}`] : [];
    return Buffer.from([`${method} ${path} ${version}`, 'host: x', ...headers, ...length, '', body].join('\r\n'));
  });
const bytes = fc.oneof(
  { weight: 6, arbitrary: message },
  fc.uint8Array({ maxLength: 300 }).map((each) => Buffer.from(each)),
);

t.test('garbage of every kind', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'cairn-fuzz-'));
  t.teardown(() => rm(directory, { recursive: true, force: true }));
  const pool = new FakePool(directory);
  let unmounts = 0;
  const handlers = {
    control: pool,
    unmount: async () => {
      unmounts++;
    },
    onFailure: (what: string, error: unknown) => t.fail(`${what}: ${String(error)}`),
  };
  const server = await ControlServer.start(directory, handlers, new SystemClock());
  t.teardown(() => server.close());
  await fc.assert(
    fc.asyncProperty(fc.array(bytes, { minLength: 1, maxLength: 3 }), async (parts) => {
      const socket = createConnection({ path: join(directory, 'control.sock') });
      socket.on('error', () => {}).resume();
      const closed = once(socket, 'close');
      for (const part of parts) socket.write(part);
      // The end of the input ends every request, also one that promised more.
      socket.end();
      await closed;
    }),
    { seed, numRuns: 500 },
  );
  t.equal((await new ControlClient(directory).status()).format, 1, 'it still answers');
  t.equal(unmounts, 0, 'nothing but its own address unmounts');
});
