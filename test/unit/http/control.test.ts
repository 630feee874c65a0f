import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { request } from 'node:http';
import { createConnection, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import * as v from 'valibot';
import { CairnError } from '../../../src/errors/cairn-error.js';
import { ControlClient } from '../../../src/http/control-client.js';
import { ControlServer } from '../../../src/http/control-server.js';
import { openApi } from '../../../src/http/open-api.js';
import { OPERATIONS, type Operation, type OperationName } from '../../../src/http/operations.js';
import { LiveMessageSchema } from '../../../src/http/report-schemas.js';
import { SystemClock } from '../../../src/io/clock.js';
import type { CheckProgress, CommitProgress } from '../../../src/vfs/reports.js';
import { ManualClock } from '../cache/manual-clock.js';
import { FakePool } from '../cli/fake-pool.js';
import { EVENT, FakeMonitor } from './fake-monitor.js';

/** In /tmp: the worktree's own path may be too long for the ordinary case. */
async function temporary(t: Test): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'cairn-control-'));
  t.teardown(() => rm(directory, { recursive: true, force: true }));
  return directory;
}

async function serve(t: Test, directory: string) {
  const pool = new FakePool(directory);
  const failures: string[] = [];
  const monitor = new FakeMonitor(() => pool.status());
  const handlers = {
    control: pool,
    monitor,
    unmount: async (onProgress: (progress: CommitProgress) => void) => {
      await pool.commit(['/'], onProgress);
      server.stopListening();
    },
    onFailure: (what: string, error: unknown) => failures.push(`${what}: ${String(error)}`),
  };
  const server = await ControlServer.start(directory, handlers, new SystemClock());
  t.teardown(() => server.close());
  return { pool, monitor, server, failures, client: new ControlClient(directory) };
}

interface Raw {
  readonly status: number | undefined;
  readonly body: string;
}

function raw(directory: string, method: string, path: string, body?: string | Buffer): Promise<Raw> {
  return new Promise((resolve, reject) => {
    const socketPath = join(directory, 'control.sock');
    const outgoing = request({ socketPath, method, path, agent: false }, async (response) => {
      let text = '';
      for await (const part of response) text += String(part);
      resolve({ status: response.statusCode, body: text });
    });
    outgoing.once('error', reject);
    outgoing.end(body);
  });
}

t.test('every request has its answer', async (t) => {
  const directory = await temporary(t);
  const { client, pool } = await serve(t, directory);
  t.equal((await client.status()).commitSequence, 7);
  t.equal((await client.state('/a b&c=ä?#%2F')).path, '/a b&c=ä?#%2F', 'a path arrives as it is');
  const progress: CommitProgress[] = [];
  const report = await client.commit(['/x', '/y'], (each) => progress.push(each));
  t.equal(report.sequence, 8);
  t.same(progress, pool.progress);
  await client.startCommit(['/z']);
  t.ok(pool.calls.includes('commit /z'));
});

t.test('docs/openapi.json is what the table of operations says: `npm run openapi` writes it', (t) => {
  t.same(JSON.parse(readFileSync('docs/openapi.json', 'utf8')), openApi());
  t.end();
});

t.test('every answer is as its schema says', async (t) => {
  const directory = await temporary(t);
  const { pool } = await serve(t, directory);
  pool.findings = [{ severity: 'note', code: 'x', message: 'm', advice: '', files: ['/a'], moreFiles: 0 }];
  const inputs: Partial<Record<OperationName, readonly [path: string, body?: unknown]>> = {
    state: ['/v1/state?path=/a'],
    files: ['/v1/files?path=/&after=a&limit=3'],
    versions: ['/v1/versions?path=/a'],
    policy: ['/v1/policy?path=/a'],
    setPolicy: ['/v1/policy', { path: '/a', change: { mode: 'strong', scheme: null } }],
    forecast: ['/v1/forecast?files=2'],
    history: ['/v1/history?span=day'],
    commit: ['/v1/commit', { paths: ['/'] }],
    check: ['/v1/check', { content: true, repair: false }],
    job: ['/v1/jobs/scrub/start', { fullSpeed: true }],
    planDisks: ['/v1/disks/plan', { request: { action: 'remove', disk: '2' } }],
    changeDisks: ['/v1/disks/change', { request: { action: 'add', directories: ['/x'] } }],
  };
  for (const [name, { method, path, answer }] of Object.entries<Operation>(OPERATIONS)) {
    if (answer.kind === 'messages' || name === 'unmount') continue;
    const [url = path, body] = inputs[name as OperationName] ?? [];
    const got = await raw(directory, method, url, body === undefined ? undefined : JSON.stringify(body));
    t.equal(got.status, 200, `${name} ${got.body.slice(0, 200)}`);
    if (answer.kind === 'text') {
      t.match(got.body, /^# HELP cairn_pool_info /);
      continue;
    }
    if (answer.kind === 'json') {
      t.doesNotThrow(() => v.parse(answer.schema, JSON.parse(got.body)), name);
      continue;
    }
    const events = got.body
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    t.doesNotThrow(() => v.parse(answer.report, events.at(-1)?.['report']), name);
    for (const { progress } of events.slice(0, -1)) t.doesNotThrow(() => v.parse(answer.progress, progress), name);
  }
});

t.test('who asked for the end has the answer, however long it takes after the socket has gone', async (t) => {
  const directory = await temporary(t);
  const clock = new ManualClock();
  const pool = new FakePool(directory);
  let end = (): void => undefined;
  const ended = new Promise<void>((resolve) => {
    end = resolve;
  });
  let isStopping = false;
  const unmount = async (): Promise<void> => {
    server.stopListening();
    isStopping = true;
    await ended;
  };
  const parts = { control: pool, monitor: new FakeMonitor(() => pool.status()), unmount, onFailure: () => undefined };
  const server = await ControlServer.start(directory, parts, clock);
  t.teardown(() => server.close());
  const unmounting = new ControlClient(directory).unmount(() => undefined);
  while (!isStopping) await new Promise(setImmediate);
  clock.advance(600_000);
  end();
  await unmounting;
  await server.close();
});

t.test('live messages come as they happen, and end with the client and with the server', async (t) => {
  const directory = await temporary(t);
  const { client, server, monitor } = await serve(t, directory);
  const stop = new AbortController();
  const seen: string[] = [];
  const watching = (async () => {
    for await (const message of client.watch(stop.signal)) {
      v.parse(LiveMessageSchema, message);
      seen.push(message.kind);
      if (message.kind === 'status') monitor.tell({ kind: 'event', event: EVENT });
      else stop.abort();
    }
  })();
  await t.rejects(watching, { code: 'ABORTED' });
  t.same(seen, ['status', 'event']);
  while (monitor.listeners.size > 0) await new Promise(setImmediate);
  const messages = client.watch();
  t.match((await messages.next()).value, { kind: 'status' });
  server.stopListening();
  t.equal((await messages.next()).done, true);
});

t.test('the forecast, of one disk and with files', async (t) => {
  const directory = await temporary(t);
  const { client, pool } = await serve(t, directory);
  t.match(await client.forecast({ files: 0 }), { counted: 1, disks: [{ number: 2, files: [] }] });
  const named = await client.forecast({ disk: '/d 2&files=9', files: 1 });
  t.match(named, { disks: [{ files: [{ bytes: 1000 }], moreFiles: 7 }] });
  t.same(pool.calls, ['forecast undefined 0', 'forecast /d 2&files=9 1']);
  await t.rejects(client.forecast({ disk: '9', files: 0 }), { code: 'NOT_FOUND', hint: 'name it by number' });
});

t.test('jobs: listed, started with options and pace, paused, resumed, cancelled', async (t) => {
  const directory = await temporary(t);
  const { client, pool } = await serve(t, directory);
  t.match(await client.jobs(), [{ name: 'scrub', state: 'idle' }]);
  t.match(await client.job('scrub', 'start', { options: { disk: 2 }, pace: { fullSpeed: true } }), {
    state: 'running',
  });
  t.match(await client.job('scrub', 'pause'), { state: 'paused' });
  t.match(await client.job('scrub', 'resume', { pace: { fullSpeed: false } }), { state: 'running' });
  t.match(await client.job('scrub', 'pace', { pace: { fullSpeed: true } }), { state: 'running', fullSpeed: true });
  await t.rejects(client.job('scrub', 'pace'), { code: 'INVALID' }, 'a pace must be said');
  t.match(await client.job('scrub', 'cancel'), { name: 'scrub', state: 'cancelled' });
  t.same(pool.calls, [
    'job start {"disk":2} scrub at full speed',
    'job pause scrub',
    'job resume scrub',
    'job pace scrub at full speed',
    'job cancel scrub',
  ]);
  await t.rejects(client.job('dance', 'start'), { code: 'NOT_FOUND' });
});

t.test('a commit without wait answers before it is done; its failure is told to the log', async (t) => {
  const directory = await temporary(t);
  const { client, pool, failures } = await serve(t, directory);
  let open = () => {};
  pool.gate = new Promise((resolve) => {
    open = resolve;
  });
  pool.commitError = new CairnError('DISK_FAILED', 'two disks are gone');
  await client.startCommit(['/']);
  t.same(failures, []);
  open();
  await pool.gate;
  await client.status();
  t.match(failures, ['commit that nobody waits for: CairnError: two disks are gone']);
});

t.test('errors arrive with code, message and hint; what is not ours is not shown', async (t) => {
  const directory = await temporary(t);
  const { client, pool, failures } = await serve(t, directory);
  await t.rejects(client.state('/absent'), {
    code: 'NOT_FOUND',
    message: 'there is no /absent',
    hint: 'look elsewhere',
  });
  t.equal((await raw(directory, 'GET', '/v1/state?path=/absent')).status, 404);
  await t.rejects(client.state('/broken'), { code: 'IO', message: 'the daemon failed to answer' });
  t.match(failures, ['control request: TypeError: a secret']);
  pool.commitError = new CairnError('NO_SPACE', 'the disks are full', { hint: 'add one' });
  await t.rejects(
    client.commit(['/'], () => {}),
    { code: 'NO_SPACE', hint: 'add one' },
    'after progress was sent',
  );
  pool.progress = [];
  await t.rejects(
    client.commit(['/'], () => {}),
    { code: 'NO_SPACE', hint: 'add one' },
    'before anything was sent',
  );
});

t.test('bad input is refused and says what is wrong', async (t) => {
  const directory = await temporary(t);
  const { pool } = await serve(t, directory);
  const cases: [string, string, string | undefined, number, RegExp][] = [
    ['GET', '/v1/nothing', undefined, 404, /there is no GET \/v1\/nothing/],
    ['DELETE', '/v1/status', undefined, 404, /there is no DELETE/],
    ['GET', '/v1/state', undefined, 400, /must have a path/],
    ['GET', '/v1/state?path=a', undefined, 400, /starts with \//],
    ['GET', '/v1/state?path=/a/../b', undefined, 400, /no \.\./],
    ['GET', '/v1/state?path=/a%00', undefined, 400, /no NUL/],
    ['GET', `/v1/state?path=/${'a'.repeat(4096)}`, undefined, 400, /at most 4096 bytes/],
    ['POST', '/v1/commit', '', 400, /not JSON/],
    ['POST', '/v1/commit', '{"paths":', 400, /not JSON/],
    ['POST', '/v1/commit', '[]', 400, /body of a commit/],
    ['POST', '/v1/commit', '{"paths":[]}', 400, /body of a commit/],
    ['POST', '/v1/commit', '{"paths":[1]}', 400, /body of a commit/],
    ['POST', '/v1/commit', '{"paths":["/"],"force":true}', 400, /body of a commit/],
    ['POST', '/v1/commit', '{"paths":["x"]}', 400, /starts with \//],
    ['POST', '/v1/check', '[]', 400, /body of a check/],
    ['POST', '/v1/check', '{"repair":"yes"}', 400, /body of a check/],
    ['POST', '/v1/check', '{"force":true}', 400, /body of a check/],
    ['GET', '/v1/forecast?files=-1', undefined, 400, /files is a whole number/],
    ['GET', '/v1/forecast?files=many', undefined, 400, /files is a whole number/],
    ['POST', '/v1/jobs/scrub/dance', '{}', 404, /there is no POST/],
    ['GET', '/v1/jobs/scrub/start', undefined, 404, /there is no GET/],
    ['POST', '/v1/jobs/scrub/start', '[]', 400, /body for a job/],
    ['POST', '/v1/jobs/scrub/start', '{"fullSpeed":1}', 400, /body for a job/],
    ['POST', '/v1/jobs/scrub/pause', '{"force":true}', 400, /body for a job/],
  ];
  for (const [method, path, body, status, message] of cases) {
    const answer = await raw(directory, method, path, body);
    t.equal(answer.status, status, `${method} ${path.slice(0, 40)} ${body ?? ''}`);
    const { error } = JSON.parse(answer.body) as { error: { code: string; message: string } };
    t.match(error, { code: 'INVALID', message });
  }
  t.same(pool.calls, [], 'nothing of this reached the pool');
});

t.test('an oversized body is refused, not kept', async (t) => {
  const directory = await temporary(t);
  const { client, pool } = await serve(t, directory);
  const socket = createConnection(join(directory, 'control.sock'));
  let answer = '';
  socket.on('data', (bytes) => {
    answer += String(bytes);
  });
  socket.on('error', () => {});
  const ended = once(socket, 'close');
  socket.write('POST /v1/commit HTTP/1.1\r\nhost: x\r\ncontent-length: 999999999\r\n\r\n');
  socket.write(Buffer.alloc(1024 * 1024 + 1, 32));
  await ended;
  t.match(answer, /^HTTP\/1.1 413 /);
  t.same(pool.calls, []);
  t.equal((await client.status()).format, 1, 'the next request is served');
});

t.test('a client that goes away stops nothing', async (t) => {
  const directory = await temporary(t);
  const { client, pool, failures } = await serve(t, directory);
  let open = () => {};
  pool.gate = new Promise((resolve) => {
    open = resolve;
  });
  const body = JSON.stringify({ paths: ['/'], wait: true });
  const socket = createConnection(join(directory, 'control.sock'));
  socket.write(`POST /v1/commit HTTP/1.1\r\nhost: x\r\ncontent-length: ${body.length}\r\n\r\n${body}`);
  await once(socket, 'data');
  socket.destroy();
  await once(socket, 'close');
  await client.status();
  open();
  t.equal((await client.status()).format, 1);
  t.same(failures, []);
});

t.test('only the owner may speak to it, and no file stays', async (t) => {
  const directory = await temporary(t);
  const { server, client } = await serve(t, directory);
  const path = join(directory, 'control.sock');
  t.equal(statSync(path).mode & 0o777, 0o600);
  await client.unmount(() => {});
  await server.close();
  t.notOk(existsSync(path));
  await t.rejects(client.status(), { code: 'CLOSED', hint: /cairn mount/ });
});

t.test('a dead daemon leaves its socket: the next one replaces it', async (t) => {
  const directory = await temporary(t);
  const path = join(directory, 'control.sock');
  // A socket file whose process has gone: bound under another name, so that closing does not remove it.
  const dead = createServer().listen(join(directory, 'other'));
  await once(dead, 'listening');
  const { linkSync } = await import('node:fs');
  linkSync(join(directory, 'other'), path);
  dead.close();
  await once(dead, 'close');
  await t.rejects(new ControlClient(directory).status(), { code: 'CLOSED', message: /no daemon is running/ });
  const { client } = await serve(t, directory);
  t.equal((await client.status()).format, 1);
  await t.rejects(serve(t, directory), { code: 'LOCKED' }, 'a live one is not replaced');
  t.equal((await client.status()).format, 1);
});

t.test('what is not a socket is left alone', async (t) => {
  const directory = await temporary(t);
  writeFileSync(join(directory, 'control.sock'), 'mine');
  await t.rejects(serve(t, directory), { code: 'EXISTS', hint: 'move it away' });
  await t.rejects(new ControlClient(directory).status(), { code: 'CLOSED' });
});

t.test('a pool deeper than a socket path may be', async (t) => {
  const directory = join(await temporary(t), 'd'.repeat(120), 'e'.repeat(120));
  mkdirSync(directory, { recursive: true });
  const { client, server } = await serve(t, directory);
  t.equal((await client.status()).format, 1);
  t.equal(statSync(join(directory, 'control.sock')).mode & 0o777, 0o600, 'the socket is in the pool all the same');
  await server.close();
  t.notOk(existsSync(join(directory, 'control.sock')));
  await t.rejects(client.status(), { code: 'CLOSED' });
});

t.test('a daemon that dies in the middle is reported, not waited for', async (t) => {
  const directory = await temporary(t);
  const dying = createServer((socket) => {
    socket.once('data', () => {
      socket.write('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n');
      socket.write('15\r\n{"progress":{"bytes":1\r\n', () => socket.destroy());
    });
    socket.on('error', () => {});
  }).listen(join(directory, 'control.sock'));
  await once(dying, 'listening');
  t.teardown(() => dying.close());
  await t.rejects(
    new ControlClient(directory).commit(['/'], () => {}),
    { code: 'CLOSED', hint: /daemon.log/ },
  );
});

t.test('a daemon that does not answer is said to hang, not waited for', async (t) => {
  const directory = await temporary(t);
  // It accepts, as the kernel does for a process that is stopped.
  const server = createServer((socket) => void t.teardown(() => socket.destroy())).listen(
    join(directory, 'control.sock'),
  );
  t.teardown(() => server.close());
  await once(server, 'listening');
  let told = 0;
  const client = new ControlClient(directory, { patienceMs: 20, onSilence: () => told++ });
  const hangs = { code: 'BUSY', message: /does not answer/, hint: /stopped/ };
  await t.rejects(client.status(), hangs);
  t.equal(told, 1, 'and before that it is said that it is waited for');
  // All of them, each by another way of answering.
  await t.rejects(client.state('/a'), hangs);
  await t.rejects(client.startCommit(['/']), hangs);
  await t.rejects(
    client.commit(['/'], () => {}),
    hangs,
  );
  await t.rejects(client.jobs(), hangs);
  t.equal(told, 1, 'once');
});

t.test('what takes long is waited for while the daemon says how it is', async (t) => {
  const { pool, client } = await serve(t, await temporary(t));
  const [status, state] = [pool.status.bind(pool), pool.state.bind(pool)];
  let enough = () => {};
  const looked = new Promise<void>((resolve) => {
    enough = resolve;
  });
  pool.status = () => {
    enough();
    return status();
  };
  pool.state = async (path) => {
    await looked;
    return state(path);
  };
  t.equal((await client.state('/a')).path, '/a');
});

t.test('a check tells how far it is, and ends with its client', async (t) => {
  const directory = await temporary(t);
  const { client, pool } = await serve(t, directory);
  const progress: CheckProgress[] = [];
  const report = await client.check({ content: true, repair: false }, (each) => progress.push(each));
  t.match(report, { format: 1, clean: true, findings: [] });
  t.match(progress, [{ step: /log of disk 1/, unit: 'bytes' }]);
  pool.gate = new Promise(() => {});
  const stop = new AbortController();
  const stopped = client.check({ content: false, repair: true }, () => stop.abort(), stop.signal);
  await t.rejects(stopped, { code: 'ABORTED' });
  while (!pool.calls.includes('check stopped')) await new Promise(setImmediate);
  t.same(pool.calls, ['check content', 'check repair', 'check stopped']);
});
