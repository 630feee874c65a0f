import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { request } from 'node:http';
import { request as requestSecurely } from 'node:https';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { ControlClient } from '../../../src/http/control-client.js';
import { metricsText } from '../../../src/http/metrics.js';
import { hashPassword, isPassword, isPasswordHash } from '../../../src/http/password.js';
import { WebServer } from '../../../src/http/web-server.js';
import type { Clock } from '../../../src/io/clock.js';
import { SystemClock } from '../../../src/io/clock.js';
import type { RequestFigures } from '../../../src/vfs/reports.js';
import { FakeClock, FakePool } from '../cli/fake-pool.js';
import { FakeMonitor } from './fake-monitor.js';

interface Answer {
  readonly status: number | undefined;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: string;
}

const LOCAL = { host: '127.0.0.1', port: 0, passwordHash: undefined, tls: undefined, names: [] };

async function serve(
  t: Test,
  options: Partial<Parameters<typeof WebServer.start>[1]> = {},
  clock: Clock = new SystemClock(),
) {
  const pool = new FakePool('/pool');
  const monitor = new FakeMonitor(() => pool.status());
  const failures: string[] = [];
  const parts = {
    control: pool,
    monitor,
    unmount: async () => {},
    onFailure: (what: string, error: unknown) => failures.push(`${what}: ${String(error)}`),
  };
  const server = await WebServer.start(parts, { ...LOCAL, ...options }, clock);
  t.teardown(() => server.close());
  const { port } = new URL(server.address);
  const send = (method: string, path: string, headers: Record<string, string> = {}, body?: string): Promise<Answer> =>
    new Promise((resolve, reject) => {
      const sent = { host: `127.0.0.1:${port}`, ...headers };
      const outgoing = request(
        { host: '127.0.0.1', port, method, path, headers: sent, agent: false },
        async (response) => {
          let text = '';
          for await (const part of response) text += String(part);
          resolve({ status: response.statusCode, headers: response.headers, body: text });
        },
      );
      outgoing.once('error', reject);
      outgoing.end(body);
    });
  const key = new URL(server.link).hash.slice('#key='.length);
  const own = { origin: server.address, 'sec-fetch-site': 'same-origin', 'content-type': 'application/json' };
  const logIn = async (password: string) => send('POST', '/v1/login', own, JSON.stringify({ password }));
  const cookieOf = ({ headers }: Answer) => String(headers['set-cookie']).split(';')[0] ?? '';
  return { pool, server, send, key, own, logIn, cookieOf, failures };
}

t.test(
  'nothing of the pool is told to strangers; the page itself and, on this machine, the metrics are open',
  async (t) => {
    const { send } = await serve(t);
    for (const path of ['/v1/status', '/v1/live', '/v1/keys', '/v1/web/link', '/v1/nothing']) {
      const { status, body } = await send('GET', path);
      t.equal(status, 401, path);
      t.match(JSON.parse(body), { error: { code: 'ACCESS', hint: /cairn web link/ }, needs: 'key' });
    }
    t.equal((await send('POST', '/v1/commit', {}, '{"paths":["/"]}')).status, 401);
    const page = await send('GET', '/', { 'accept-encoding': 'gzip' });
    t.match(page.headers, {
      'content-security-policy': /default-src 'none'.*frame-ancestors 'none'/,
      'content-encoding': 'gzip',
    });
    const script = await send('GET', '/page/main.js');
    t.match(script, { status: 200, headers: { 'content-type': /javascript/ } });
    t.equal((await send('GET', '/page/main.js', { 'if-none-match': String(script.headers['etag']) })).status, 304);
    for (const path of [
      '/page/../package.json',
      '/page/%2e%2e/secrets.js',
      '/src/pool/config.js',
      '/page/tsconfig.json',
      '/page/absent.js',
    ])
      t.equal((await send('GET', path)).status, 401, `${path} is no file of the page`);
    t.match(await send('GET', '/metrics'), { status: 200, body: /^cairn_pool_health\{health="degraded"\} 1$/m });
  },
);

t.test('only under its own names: another name that leads here is somebody else’s', async (t) => {
  const { send, server } = await serve(t, { names: ['nas.local'] });
  const { port } = new URL(server.address);
  for (const host of [`localhost:${port}`, `127.0.0.1:${port}`, `[::1]:${port}`, `NAS.local:${port}`])
    t.equal((await send('GET', '/', { host })).status, 200, host);
  for (const host of [
    `evil.example:${port}`,
    'localhost',
    `localhost:${Number(port) + 1}`,
    `127.0.0.1.evil.example:${port}`,
  ])
    t.equal((await send('GET', '/', { host })).status, 403, host);
});

t.test('a session: by the key of the link, only for the own page, and over when logged out', async (t) => {
  const { send, key, own, logIn, cookieOf, pool } = await serve(t);
  const answer = await logIn(key);
  t.match(answer, { status: 200, headers: { 'set-cookie': [/HttpOnly; SameSite=Strict$/] } });
  const cookie = cookieOf(answer);
  t.equal((await send('GET', '/v1/status', { cookie })).status, 200);
  const body = '{"paths":["/"]}';
  for (const foreign of [
    {},
    { origin: 'http://evil.example' },
    { origin: 'null' },
    { ...own, 'sec-fetch-site': 'cross-site' },
    { ...own, origin: own.origin.replace('http:', 'https:') },
  ])
    t.equal((await send('POST', '/v1/commit', { cookie, ...foreign }, body)).status, 403, JSON.stringify(foreign));
  t.same(pool.calls, [], 'nothing of this reached the pool');
  t.equal((await send('POST', '/v1/commit', { cookie, ...own }, body)).status, 200);
  t.equal((await send('POST', '/v1/unmount', { cookie, ...own })).status, 404, 'the page cannot end the daemon');
  t.equal((await send('POST', '/v1/logout', { cookie, ...own }, '{}')).status, 200);
  t.equal((await send('GET', '/v1/status', { cookie })).status, 401);
  t.equal(
    (await send('POST', '/v1/login', { ...own, origin: 'http://evil.example' }, `{"password":"${key}"}`)).status,
    403,
  );
  t.equal((await send('POST', '/v1/login', own, '{"password":1}')).status, 400);
});

t.test('guessing is slow, and a session rests only so long', async (t) => {
  const clock = new FakeClock();
  const { send, key, logIn, cookieOf } = await serve(t, {}, clock);
  for (let i = 0; i < 6; i++) t.equal((await logIn('wrong')).status, 401);
  t.equal((await logIn(key)).status, 429, 'the right one too');
  clock.advance(60_000);
  const cookie = cookieOf(await logIn(key));
  clock.advance(11 * 3_600_000);
  t.equal((await send('GET', '/v1/status', { cookie })).status, 200);
  clock.advance(11 * 3_600_000);
  t.equal((await send('GET', '/v1/status', { cookie })).status, 200, 'it was used in between');
  clock.advance(13 * 3_600_000);
  t.equal((await send('GET', '/v1/status', { cookie })).status, 401);
});

t.test('a password, by the page and by the client of the package', async (t) => {
  const hash = await hashPassword('correct horse');
  t.ok(isPasswordHash(hash) && !hash.includes('horse'));
  t.notOk(await isPassword('correct  horse', hash));
  for (const wrong of [
    '',
    'correct horse',
    'scrypt$1$8$1$AAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA',
    `scrypt$8388608$16$9${hash.slice(16)}`,
  ])
    t.notOk(isPasswordHash(wrong), `${wrong} is no hash that could be checked`);
  const { server, logIn } = await serve(t, { passwordHash: hash });
  t.equal(server.link, `${server.address}/`, 'no key where there is a password');
  t.equal((await logIn('correct horse')).status, 200);
  const client = ControlClient.at(server.address, 'correct horse');
  t.equal((await client.status()).commitSequence, 7);
  t.equal((await client.files('/', undefined, 5)).entries.length, 1);
  await t.rejects(ControlClient.at(server.address, 'wrong').status(), { code: 'ACCESS' });
  t.throws(() => ControlClient.at('nas.local', 'x'), { code: 'INVALID' });
  await server.close();
  await t.rejects(client.status(), { code: 'CLOSED' });
});

const openssl = spawnSync('openssl', ['version']).status === 0 ? false : 'openssl is not installed';

t.test('TLS and a password, as others reach it', { skip: openssl }, async (t) => {
  const directory = t.testdir();
  const [key, cert] = [join(directory, 'key.pem'), join(directory, 'cert.pem')];
  const made = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2'];
  const about = ['-subj', '/CN=nas.local', '-addext', 'subjectAltName=DNS:nas.local,IP:127.0.0.1'];
  execFileSync('openssl', [...made, ...about, '-keyout', key, '-out', cert], { stdio: 'ignore' });
  const tls = { cert: readFileSync(cert), key: readFileSync(key) };
  const secret = 'correct horse';
  const hash = await hashPassword(secret);
  const clock = new FakeClock();
  const pool = new FakePool('/pool');
  const failures: string[] = [];
  const parts = {
    control: pool,
    monitor: new FakeMonitor(() => pool.status()),
    unmount: async () => {},
    onFailure: (what: string, error: unknown) => failures.push(`${what}: ${String(error)}`),
  };
  const options = { host: '127.0.0.1', port: 0, passwordHash: hash, tls, names: ['nas.local'] };
  const server = await WebServer.start(parts, options, clock);
  t.teardown(() => server.close());
  const { port } = new URL(server.address);
  t.equal(server.link, `https://nas.local:${port}/`, 'the link has no secret in it');
  const answers: string[] = [];
  const send = (method: string, path: string, headers: Record<string, string> = {}, body?: string): Promise<Answer> =>
    new Promise((resolve, reject) => {
      const sent = { host: `nas.local:${port}`, ...headers };
      const place = { host: '127.0.0.1', servername: 'nas.local', port, ca: tls.cert, agent: false } as const;
      const outgoing = requestSecurely({ ...place, method, path, headers: sent }, async (response) => {
        let text = '';
        for await (const part of response) text += String(part);
        answers.push(text, JSON.stringify(response.headers));
        resolve({ status: response.statusCode, headers: response.headers, body: text });
      });
      outgoing.once('error', reject);
      outgoing.end(body);
    });
  const own = {
    origin: `https://nas.local:${port}`,
    'sec-fetch-site': 'same-origin',
    'content-type': 'application/json',
  };
  const logIn = (password: string) => send('POST', '/v1/login', own, JSON.stringify({ password }));

  const answer = await logIn(secret);
  t.equal(answer.status, 200);
  const [cookie = '', ...flags] = String(answer.headers['set-cookie']).split('; ');
  t.same(flags.sort(), ['HttpOnly', 'Max-Age=2592000', 'Path=/', 'SameSite=Strict', 'Secure']);
  t.equal((await send('GET', '/v1/status', { cookie })).status, 200);
  const insecurely = { ...own, cookie, origin: `http://nas.local:${port}` };
  t.equal(
    (await send('POST', '/v1/commit', insecurely, '{"paths":["/"]}')).status,
    403,
    'a page without TLS is not its own',
  );
  await t.rejects(
    new Promise((resolve, reject) => {
      request({ host: '127.0.0.1', port, path: '/', agent: false }, resolve).once('error', reject).end();
    }),
    'without TLS nothing is answered',
  );

  for (let i = 0; i < 6; i++) t.equal((await logIn(`guess ${i}`)).status, 401);
  t.equal((await logIn(secret)).status, 429, 'and now the right one has to wait as well');
  const bearer = { authorization: `Bearer ${secret}` };
  t.equal((await send('GET', '/v1/status', bearer)).status, 429, 'by the other way too');
  t.equal((await send('GET', '/v1/status', { cookie })).status, 200, 'who is logged in already works on');
  clock.advance(60_000);
  t.equal((await send('GET', '/v1/status', bearer)).status, 200);
  t.equal(
    (await send('GET', '/v1/status', { authorization: `Bearer ${hash}` })).status,
    401,
    'the hash is no password',
  );

  const said = [...answers, ...failures].join('\n');
  for (const word of [secret, hash, hash.split('$').at(-1)!]) t.notOk(said.includes(word), 'no secret is ever told');
});

t.test('an address beyond this machine needs a password and TLS', async (t) => {
  for (const host of ['0.0.0.0', '::', 'nas.local', '192.168.1.2'])
    await t.rejects(serve(t, { host }), { code: 'CONFIG', message: /password and TLS/ }, host);
  await t.rejects(serve(t, { host: '0.0.0.0', passwordHash: await hashPassword('long enough') }), { code: 'CONFIG' });
  await t.rejects(serve(t, { passwordHash: 'hunter2' }), { code: 'CONFIG', hint: /cairn web password/ });
  const { server } = await serve(t);
  await t.rejects(serve(t, { port: Number(new URL(server.address).port) }), {
    code: 'IO',
    message: /cannot be served/,
  });
});

t.test('metrics: the text format, with names by convention and labels that are escaped', async (t) => {
  const pool = new FakePool('/pool');
  const status = await pool.status();
  const figures = (count: number): RequestFigures => ({
    count,
    bytes: 10 * count,
    totalMs: 500 * count,
    withinCounts: [0, count - 1],
  });
  const activity = { ...pool.activity(), boundsMs: [1, 1000], read: figures(3), write: figures(5), sync: figures(1) };
  const disk = { ...status.disks[0]!, directory: '/a"b\\c\nd' };
  const text = metricsText({ ...status, disks: [disk] }, activity, new FakeMonitor(async () => status).sensors());
  const metric = /^(?:# (?:HELP|TYPE) [a-z_]+ .+|[a-z_]+(?:\{(?:[a-z]+="(?:[^"\\\n]|\\.)*",?)+\})? -?[\d.e+-]+)$/;
  for (const line of text.trimEnd().split('\n')) if (!metric.test(line)) t.fail(`not of the format: ${line}`);
  t.match(text, 'directory="/a\\"b\\\\c\\nd"');
  t.match(text, /^cairn_request_duration_seconds_bucket\{kind="read",le="0.001"\} 0$/m);
  t.match(text, /^cairn_request_duration_seconds_bucket\{kind="read",le="1"\} 2$/m);
  t.match(text, /^cairn_request_duration_seconds_bucket\{kind="read",le="\+Inf"\} 3$/m);
  t.match(text, /^cairn_request_duration_seconds_sum\{kind="read"\} 1.5$/m);
  t.match(text, /^cairn_disk_temperature_celsius\{uuid="a"\} 41$/m);
  // What the examples show and alarm of is there, with the labels that they name.
  const example = (name: string) => readFileSync(new URL(`../../../../examples/${name}`, import.meta.url), 'utf8');
  const busy = {
    ...status,
    disks: [disk],
    forecast: await pool.forecast({ disk: undefined, files: 0 }),
    jobs: pool.jobs.list(),
  };
  const [sensor] = new FakeMonitor(async () => status).sensors();
  const all = metricsText(busy, activity, [{ ...sensor!, uuid: disk.uuid, pendingSectors: 0 }]);
  const has = (metric: string, label?: string) =>
    new RegExp(`^${metric}${label === undefined ? '[{ ]' : `\\{(.*,)?${label}=`}`, 'm').test(all);
  const dashboard = JSON.parse(example('grafana-dashboard.json')) as {
    panels: { title: string; targets?: { expr: string; legendFormat: string }[] }[];
  };
  const rules = example('prometheus-alerts.yml').split('- alert: ').slice(1);
  const used = [
    ...rules.map((rule) => [rule.split('\n', 1)[0], /expr: (.*)/.exec(rule)?.[1] ?? '', rule] as const),
    ...dashboard.panels.flatMap(({ title, targets = [] }) =>
      targets.map(({ expr, legendFormat }) => [title, expr, legendFormat] as const),
    ),
  ];
  t.ok(rules.length >= 9 && used.length >= 23);
  for (const [name, expr, words] of used) {
    const metrics = expr.match(/\b(?:cairn|process)_\w+/g) ?? [];
    t.ok(metrics.length > 0 || expr.startsWith('up{'), `${name} looks at something`);
    for (const metric of metrics) {
      if (!has(metric)) t.fail(`${name}: there is no ${metric}`);
      for (const [, label = ''] of words.matchAll(/\{\{ *(?:\$labels\.)?(\w+) *\}\}/g))
        if (!has(metric, label) && !expr.includes(`by (${label})`)) t.fail(`${name}: ${metric} has no ${label}`);
    }
  }
  const types = [...text.matchAll(/^# TYPE (\S+)/gm)].map(([, name]) => name);
  t.equal(new Set(types).size, types.length, 'each family stands once');
  const promtool = (args: string[], input = '') => spawnSync('promtool', args, { input, encoding: 'utf8' });
  const checked = promtool(['check', 'metrics'], all);
  if (checked.error !== undefined) t.comment('promtool (Debian: prometheus) is not installed');
  else {
    t.same([checked.status, checked.stdout + checked.stderr], [0, ''], 'Prometheus has nothing to say about the names');
    const cases = fileURLToPath(new URL('../../../../examples/prometheus-alerts-test.yml', import.meta.url));
    const { status: passed, stdout, stderr } = promtool(['test', 'rules', cases]);
    t.equal(passed, 0, `each alert is silent and speaks when it should: ${stdout}${stderr}`);
  }
});
