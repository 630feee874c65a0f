import { once } from 'node:events';
import { mkdirSync, symlinkSync } from 'node:fs';
import { realpath } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { wholeDevice } from '../../../src/cli/block-device.js';
import { CairnError } from '../../../src/errors/cairn-error.js';
import { eventsBetween, hotDisks, sensorEvents } from '../../../src/monitor/event-finder.js';
import { HistoryRings, type Sample } from '../../../src/monitor/history.js';
import { Monitor } from '../../../src/monitor/monitor.js';
import { Notifier, type Way } from '../../../src/monitor/notifier.js';
import type { DiskSensor, LiveMessage, PoolEvent } from '../../../src/monitor/reports.js';
import { Sensors } from '../../../src/monitor/sensors.js';
import { waysOf } from '../../../src/monitor/ways.js';
import type { PoolStatus } from '../../../src/vfs/reports.js';
import { FakeClock, FakePool } from '../cli/fake-pool.js';

const figures = (count: number, bytes: number, totalMs: number) => ({ count, bytes, totalMs, withinCounts: [] });
const turns = async () => {
  for (let i = 0; i < 20; i++) await new Promise(setImmediate);
};

/** A healthy pool of disks 1 and 2. */
async function healthy(): Promise<PoolStatus> {
  const status = await new FakePool('/pool').status();
  const disk = (number: number) => ({
    ...status.disks[0]!,
    number,
    uuid: `u${number}`,
    state: 'online' as const,
    reason: '',
  });
  return { ...status, health: 'healthy', findings: [], disks: [disk(1), disk(2)], jobs: [] };
}

const kinds = (events: readonly { readonly kind: string }[]) => events.map(({ kind }) => kind);

t.test('what happened between two looks, in plain words with what to do', async (t) => {
  const well = await healthy();
  const gone = {
    ...well,
    health: 'degraded' as const,
    disks: [well.disks[0]!, { ...well.disks[1]!, state: 'missing' as const, reason: 'it is not there' }],
    findings: ['the data disk at /d2 is missing: it is not there'],
  };
  t.same(kinds(eventsBetween(undefined, well, 90)), ['started']);
  t.same(kinds(eventsBetween(undefined, gone, 90)), ['started', 'degraded']);
  t.same(eventsBetween(well, well, 90), []);
  const [event, ...others] = eventsBetween(well, gone, 90);
  t.match(event, {
    kind: 'disk-gone',
    severity: 'warning',
    message: /Disk 2.*it is not there\. Nothing is lost/,
    advice: /cable.*cairn disk replace \/pool 2/,
  });
  t.same(others, [], 'one message for one thing');
  t.same(kinds(eventsBetween(gone, well, 90)), ['disk-back', 'healed']);
  t.match(eventsBetween(well, { ...gone, health: 'failed' }, 90), [
    { kind: 'disk-gone', severity: 'alarm', message: /cannot be read/ },
    { kind: 'failed', severity: 'alarm' },
  ]);
  t.same(kinds(eventsBetween(well, { ...well, disks: [well.disks[0]!] }, 90)), ['disk-left']);
  const found = (count: number) => ({ ...well, findings: [`${count} chunks were committed while a disk was failing`] });
  t.same(kinds(eventsBetween(well, found(1), 90)), ['finding']);
  t.same(eventsBetween(found(1), found(2), 90), [], 'another figure is no other finding');
  const filled = (percent: number) => ({ ...well, usableBytes: 1000, freeBytes: 1000 - 10 * percent });
  t.same(kinds(eventsBetween(filled(89), filled(91), 90)), ['nearly-full']);
  t.same(eventsBetween(filled(91), filled(89), 90), [], 'at the limit it is not told again and again');
  t.same(kinds(eventsBetween(filled(91), filled(80), 90)), ['room-again']);
  t.same(kinds(eventsBetween(filled(85), filled(85), 80, 90)), ['nearly-full'], 'a lower limit is one that is passed');
  t.same(eventsBetween(filled(85), filled(85), 80), [], 'once');
});

t.test('jobs and scrubs', async (t) => {
  const well = await healthy();
  const job = (state: 'running' | 'done' | 'failed', report: object | null = null): PoolStatus => ({
    ...well,
    jobs: [
      {
        ...new FakePool('/pool').jobs.list()[0]!,
        state,
        line: 'disk 1',
        report: report as never,
        endedMs: state === 'running' ? null : 5,
      },
    ],
  });
  t.same(kinds(eventsBetween(well, job('running'), 90)), ['job-started']);
  t.match(eventsBetween(job('running'), job('failed'), 90), [
    { kind: 'job-ended', severity: 'warning', advice: /resume/ },
  ]);
  const none = { names: [], more: 0 };
  const report = { lost: { names: ['/a'], more: 2 }, degraded: none, notes: [], damagedShards: 1, more: true };
  t.match(eventsBetween(job('running'), job('done', report), 90), [
    { kind: 'job-ended' },
    { kind: 'scrub-found', severity: 'warning', message: /a damaged piece/ },
    { kind: 'scrub-found', severity: 'alarm', message: /3 files/ },
  ]);
  t.match(eventsBetween(job('running'), job('done', { ...report, lost: none, damagedShards: 0 }), 90), [
    { kind: 'job-ended', severity: 'good', message: /found nothing wrong/ },
  ]);
  t.notMatch(
    eventsBetween(job('running'), job('done', { ...report, lost: none, damagedShards: 0, notes: ['odd'] }), 90)[0],
    { message: /nothing wrong/ },
  );
  t.same(eventsBetween(job('done', report), job('done', report), 90), []);
  t.same(
    kinds(eventsBetween(job('running'), job('done', { lost: 1 }), 90)),
    ['job-ended'],
    'a report that it does not know',
  );
});

t.test('the history: means of a step, steps that are full leave at the other end, nothing where no daemon ran', (t) => {
  const rings = new HistoryRings();
  const sample = (atMs: number, bytes: number): Sample => ({
    atMs,
    elapsedMs: 5000,
    readBytes: 0,
    writeBytes: bytes,
    committedBytes: bytes,
    read: { count: 0, totalMs: 0 },
    write: { count: 2, totalMs: 3 },
    sync: { count: 0, totalMs: 0 },
    stagedBytes: 7,
    usedBytes: 9,
  });
  rings.add(sample(20_000, 5000));
  rings.add(sample(25_000, 15_000));
  rings.add(sample(40_000, 0));
  const { points } = rings.history('hour', 41_000);
  t.match(points, [
    { atMs: 20_000, writeBytesPerSecond: 2000, writeMs: 1.5, readMs: null, stagedBytes: 7 },
    { atMs: 40_000, writeBytesPerSecond: 0 },
  ]);
  t.equal(points.length, 2);
  for (let atMs = 50_000; atMs < 8_000_000; atMs += 10_000) rings.add(sample(atMs, 1));
  const full = rings.history('hour', 8_000_000).points;
  t.equal(full.length, 360);
  t.equal(rings.history('day', 8_000_000).points.length, 34);
  const again = new HistoryRings();
  again.load(rings.kept(8_000_000));
  t.same(again.history('hour', 8_000_000), rings.history('hour', 8_000_000), 'as it was kept');
  t.same(again.history('hour', 20_000_000).points, [], 'what is too old is left out');
  t.end();
});

async function watched(t: Test, kept: string | undefined = undefined) {
  const pool = new FakePool('/pool');
  let status = await healthy();
  const clock = new FakeClock();
  const files = new Map<string, string>(kept === undefined ? [] : [['/pool/monitor.json', kept]]);
  const warnings: string[] = [];
  const parts = {
    control: { status: async () => status, activity: () => pool.activity() },
    clock,
    io: {
      readFile: async (path: string) => {
        const text = files.get(path);
        if (text === undefined) throw new CairnError('NOT_FOUND', path);
        return Buffer.from(text);
      },
      replaceFile: async (path: string, bytes: Uint8Array) => void files.set(path, Buffer.from(bytes).toString()),
    },
    poolDirectory: '/pool',
    warn: (_error: unknown, message: string) => void warnings.push(message),
  };
  const monitor = new Monitor(parts, 90);
  t.teardown(() => monitor.close());
  const become = (change: Partial<PoolStatus>) => {
    status = { ...status, ...change };
  };
  return { pool, monitor, clock, files, warnings, become };
}

t.test('whoever watches is told at once and then of what changes; what was seen outlives the daemon', async (t) => {
  const { pool, monitor, clock, files, become } = await watched(t);
  pool.figures = { write: figures(0, 0, 0), committedBytes: 0 };
  await monitor.start();
  const seen: LiveMessage[] = [];
  const stop = monitor.watch((message) => seen.push(message));
  t.match(seen, [{ kind: 'status', status: { health: 'healthy' } }], 'without waiting');
  await turns();
  seen.length = 0;
  pool.figures = {
    write: figures(4, 4_000_000, 8),
    committedBytes: 1_000_000,
    stagedBytes: 3_000_000,
    committingBytes: 500_000,
  };
  become({ findings: ['something is wrong'], health: 'degraded' });
  clock.advance(1000);
  await turns();
  t.match(seen, [
    {
      kind: 'pulse',
      pulse: {
        writeBytesPerSecond: 4_000_000,
        commitBytesPerSecond: 1_000_000,
        writeMs: 2,
        stagedBytes: 2_500_000,
        committingBytes: 500_000,
      },
    },
    { kind: 'event', event: { kind: 'degraded' } },
    { kind: 'event', event: { kind: 'finding', message: 'Something is wrong.' } },
    { kind: 'status', status: { health: 'degraded' } },
  ]);
  stop();
  clock.advance(1000);
  await turns();
  const told = seen.length;
  clock.advance(10_000);
  await turns();
  t.equal(seen.length, told, 'and no more afterwards');
  t.same(kinds(monitor.events()), ['finding', 'degraded', 'started'], 'newest first');
  await monitor.close();
  const next = await watched(t, files.get('/pool/monitor.json'));
  await next.monitor.start();
  t.same(kinds(next.monitor.events()).slice(1), ['finding', 'degraded', 'started']);
  t.same(new Set(next.monitor.events().map(({ id }) => id)).size, 4, 'numbers go on');
  t.ok(next.monitor.history('hour').points.length > 0);
  t.same(next.warnings, []);
});

t.test('while nobody watches, nothing is put into words for them; who comes then misses nothing', async (t) => {
  const { monitor, clock, become } = await watched(t);
  let written = 0;
  const counting = {
    toJSON: () => {
      written += 1;
      return '';
    },
  };
  become({ protection: counting as unknown as string });
  await monitor.start();
  for (let i = 0; i < 5; i++) {
    clock.advance(5000);
    await turns();
  }
  t.equal(written, 0);
  const healths: string[] = [];
  const listen = (message: LiveMessage) => {
    if (message.kind === 'status') healths.push(message.status.health);
  };
  const stop = monitor.watch(listen);
  await turns();
  t.ok(written > 0);
  stop();
  become({ health: 'degraded' });
  clock.advance(1000);
  await turns();
  clock.advance(5000);
  await turns();
  healths.length = 0;
  become({ health: 'healthy' });
  const stopAgain = monitor.watch(listen);
  await turns();
  stopAgain();
  t.same(
    [healths[0], healths.at(-1)],
    ['degraded', 'healthy'],
    'also what is again as it was when the last one looked',
  );
});

t.test('a file of history that is damaged is said and begins anew', async (t) => {
  const { monitor, files } = await watched(t);
  await monitor.start();
  await monitor.close();
  const text = files.get('/pool/monitor.json') ?? '';
  const seed = Number(process.env['SEED'] ?? Date.now() % 1e9);
  t.comment(`SEED=${seed}`);
  let state = seed;
  const random = (below: number): number => {
    state = (state * 1_103_515_245 + 12_345) % 2 ** 31;
    return state % below;
  };
  for (let i = 0; i < 40; i++) {
    const at = random(text.length);
    const broken = [text.slice(0, at), `${text.slice(0, at)}${'x{[0"'[random(5)]}${text.slice(at + 1)}`][random(2)]!;
    const { monitor: next, warnings } = await watched(t, broken);
    await next.start();
    t.ok(next.events().length >= 1);
    if (warnings.length > 0) t.match(warnings, [/begin anew/]);
    await next.close();
  }
  const { warnings, monitor: last } = await watched(t, '{"format":2}');
  await last.start();
  t.match(warnings, [/monitor.json is not what it should be/]);
});

t.test('notifications: what is asked for, by every way, tried again until it went, and never waited for', async (t) => {
  const received: { body: string; headers: NodeJS.Dict<string | string[]>; url: string | undefined }[] = [];
  let failing = 1;
  const receiver = createServer(async (request, response) => {
    let body = '';
    for await (const part of request) body += String(part);
    if (failing > 0) {
      failing -= 1;
      response.writeHead(503).end('later');
      return;
    }
    received.push({ body, headers: request.headers, url: request.url });
    response.end();
  }).listen(0, '127.0.0.1');
  await once(receiver, 'listening');
  t.teardown(() => receiver.close());
  const base = `http://127.0.0.1:${(receiver.address() as AddressInfo).port}`;
  const clock = new FakeClock();
  const failures: string[] = [];
  const ways = waysOf({ webhook: `${base}/hook`, ntfy: undefined, mailTo: undefined, mailCommand: [] });
  const notifier = new Notifier({
    ways,
    on: ['degraded', 'healed'],
    pool: '/pool',
    host: 'nas',
    clock,
    onFailure: (way, _message, error) => failures.push(`${way}: ${String(error)}`),
  });
  t.teardown(() => notifier.close());
  const event = (kind: PoolEvent['kind'], message: string): PoolEvent => ({
    id: 1,
    atMs: clock.nowMs(),
    kind,
    severity: 'warning',
    message,
    advice: 'do this',
  });
  notifier.tell(event('disk-gone', 'first'));
  notifier.tell(event('job-ended', 'not asked for'));
  notifier.tell(event('healed', 'second'));
  while (failing > 0) await new Promise((resolve) => setTimeout(resolve, 5));
  await turns();
  t.same(received, []);
  while (received.length < 2) {
    clock.advance(5000);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  t.match(
    received.map(({ body }) => JSON.parse(body)),
    [
      { format: 1, host: 'nas', pool: '/pool', event: { kind: 'disk-gone', message: 'first', advice: 'do this' } },
      { event: { kind: 'healed', message: 'second' } },
    ],
  );
  t.same(failures, []);

  const all = waysOf({
    webhook: undefined,
    ntfy: `${base}/topic`,
    ntfyToken: 'tk_1',
    mailTo: 'me@example.org',
    mailFrom: 'nas@example.org',
    mailCommand: ['sh', '-c', 'cat >&2; exit 3'],
  });
  const tester = new Notifier({ ways: all, on: [], pool: '/pool', host: 'nas', clock, onFailure: () => {} });
  const [ntfy, mail] = await tester.test();
  t.match(ntfy, { way: 'ntfy', error: null });
  t.match(received.at(-1), {
    url: '/topic',
    headers: { title: /Cairn on nas/, authorization: 'Bearer tk_1', priority: '3' },
    body: /This is a test/,
  });
  t.match(mail, {
    way: 'mail',
    error: /ended with 3: From: nas@example.org\nTo: me@example.org\nSubject: Cairn on nas/,
  });
});

t.test('what waits goes on waiting when [notify] changes, by the ways that stay', async (t) => {
  const clock = new FakeClock();
  const sent: string[] = [];
  const way = (name: string, isUp: boolean): Way => ({
    name,
    send: async ({ event: { message } }) => {
      if (!isUp) throw new CairnError('IO', 'nobody there');
      sent.push(`${name}: ${message}`);
    },
  });
  const notifierOf = (ways: Way[]) =>
    new Notifier({ ways, on: ['full'], pool: '/pool', host: 'nas', clock, onFailure: () => t.fail('given up') });
  const { monitor } = await watched(t);
  monitor.notifyBy(notifierOf([way('webhook', false), way('ntfy', false)]));
  const full = { kind: 'nearly-full', severity: 'warning', message: 'full', advice: '' } as const;
  monitor.report(full);
  await turns();
  monitor.notifyBy(notifierOf([way('webhook', true), way('mail', true)]));
  await turns();
  t.same(sent, ['webhook: full'], 'a way that is new is not told of what was before it');
  monitor.notifyBy(undefined);
  monitor.report(full);
  clock.advance(3_600_000);
  await turns();
  t.equal(sent.length, 1, 'and nobody is told where nobody is to be');
});

t.test('a message that never goes is given up after a day, and said', async (t) => {
  const clock = new FakeClock();
  let tries = 0;
  const way: Way = {
    name: 'webhook',
    send: async () => {
      tries += 1;
      throw new CairnError('IO', 'nobody there');
    },
  };
  const failures: string[] = [];
  const notifier = new Notifier({
    ways: [way],
    on: ['full'],
    pool: '/pool',
    host: 'nas',
    clock,
    onFailure: (name, { event }, error) => failures.push(`${name}: ${event.message}: ${String(error)}`),
  });
  notifier.tell({ id: 1, atMs: clock.nowMs(), kind: 'nearly-full', severity: 'warning', message: 'full', advice: '' });
  for (let i = 0; i < 60 && failures.length === 0; i++) {
    await turns();
    clock.advance(30 * 60_000);
  }
  t.match(failures, [/webhook: full: .*nobody there/]);
  t.ok(tries > 40 && tries < 70, `${tries} tries in a day`);
  notifier.close();
});

/** An answer in the shape of smartctl 7.3, which tells with what it was asked. */
function smartctl(exit_status: number, facts: object, message?: string): string {
  const messages = message === undefined ? {} : { messages: [{ string: message, severity: 'error' }] };
  const argv = ['smartctl', '--json', '-i', '-H', '-A', '--nocheck=standby', '/dev/sda'];
  return JSON.stringify({
    json_format_version: [1, 0],
    smartctl: { version: [7, 3], argv, ...messages, exit_status },
    ...facts,
  });
}

t.test('sensors: what the kinds of devices answer', async (t) => {
  const disk = (await healthy()).disks[0]!;
  const raw = (value: number) => ({ raw: { value, string: String(value) } });
  const table = [
    { id: 1, name: 'Raw_Read_Error_Rate', value: 100, ...raw(7) },
    { id: 5, name: 'Reallocated_Sector_Ct', value: 98, ...raw(12) },
    { id: 197, name: 'Current_Pending_Sector', value: 100, ...raw(8) },
  ];
  const time = { temperature: { current: 31 }, power_on_time: { hours: 700, minutes: 2 } };
  const names = { model_name: 'M', serial_number: 'S' };
  const nvme = { critical_warning: 16, available_spare: 100, percentage_used: 3, media_errors: 0, temperature: 31 };
  const said = { model: 'M', serial: 'S', temperatureCelsius: 31, poweredOnHours: 700, why: '' };
  const sectors = { reallocatedSectors: 12, pendingSectors: 8 };
  const unknown = { reallocatedSectors: null, pendingSectors: null };
  for (const [what, code, facts, expected] of [
    [
      'ATA that is failing, with its errors logged',
      0b1101_1000,
      { ...names, ...time, ata_smart_attributes: { revision: 16, table }, smart_status: { passed: false } },
      { ...said, ...sectors, smart: 'failing' },
    ],
    [
      'ATA that did not answer one of the questions',
      0b100,
      { ...names, ...time, ata_smart_attributes: { revision: 16, table }, smart_status: { passed: true } },
      { ...said, ...sectors, smart: 'passed' },
    ],
    [
      'NVMe with a critical warning',
      0b1000,
      {
        ...names,
        ...time,
        smart_status: { passed: false, nvme: { value: 16 } },
        nvme_smart_health_information_log: nvme,
      },
      { ...said, ...unknown, smart: 'failing' },
    ],
    [
      'SCSI',
      0,
      { ...time, scsi_model_name: 'M', serial_number: 'S', scsi_grown_defect_list: 2, smart_status: { passed: true } },
      { ...said, reallocatedSectors: 2, pendingSectors: null, smart: 'passed' },
    ],
    [
      'the volume of a RAID controller',
      0b100,
      { ...names, device_type: { name: 'disk' }, temperature: { current: 0, drive_trip: 0 } },
      { model: 'M', temperatureCelsius: null, smart: null, why: 'the device says nothing of its health' },
    ],
  ] as const) {
    const sensors = new Sensors(
      async () => ({ code, output: smartctl(code, facts) }),
      async () => '/dev/sda',
      () => 5,
    );
    t.match(await sensors.ask([disk]), [expected], what);
  }
});

t.test('the device that is asked is the disk below partitions and volumes, where it is one', async (t) => {
  const sys = await realpath(t.testdir());
  const disk = join(sys, 'sda');
  const make = (...parts: string[]) => mkdirSync(join(sys, ...parts), { recursive: true });
  make('sda', 'sda1', 'partition');
  make('sdb');
  for (const volume of ['dm-0', 'dm-1', 'md0']) make(volume, 'slaves');
  symlinkSync(join(disk, 'sda1'), join(sys, 'dm-0', 'slaves', 'sda1'));
  symlinkSync(join(sys, 'dm-0'), join(sys, 'dm-1', 'slaves', 'dm-0'));
  for (const below of ['sda', 'sdb']) symlinkSync(join(sys, below), join(sys, 'md0', 'slaves', below));
  for (const node of ['sda', 'sda/sda1', 'dm-0', 'dm-1']) t.equal(await wholeDevice(join(sys, node)), disk, node);
  t.equal(await wholeDevice(join(sys, 'md0')), join(sys, 'md0'), 'of several it is none');
});

t.test('sensors: what smartctl says, what a sleeping disk said last, and why where it says nothing', async (t) => {
  const disk = (await healthy()).disks[0]!;
  const answer = {
    model_name: 'WDC',
    serial_number: 'S1',
    smart_status: { passed: true },
    temperature: { current: 38 },
    power_on_time: { hours: 4800 },
    ata_smart_attributes: {
      table: [
        { id: 5, raw: { value: 2 } },
        { id: 197, raw: { value: 0 } },
      ],
    },
  };
  let next: { code: number | 'ENOENT'; output: string } = { code: 0, output: JSON.stringify(answer) };
  const asked: string[][] = [];
  const run = async (args: readonly string[]) => {
    asked.push([...args]);
    return next;
  };
  const sensors = new Sensors(
    run,
    async (directory) => (directory === '/d2' ? '/dev/sda1' : undefined),
    () => 5,
  );
  const first = await sensors.ask([disk]);
  t.match(first, [
    {
      device: '/dev/sda1',
      model: 'WDC',
      temperatureCelsius: 38,
      smart: 'passed',
      poweredOnHours: 4800,
      reallocatedSectors: 2,
      pendingSectors: 0,
      why: '',
    },
  ]);
  t.ok(asked[0]?.includes('--nocheck=standby'));
  next = { code: 2, output: smartctl(2, {}, 'Device is in STANDBY mode, exit(2)') };
  t.same(await sensors.ask([disk]), first, 'a disk that sleeps is as it was');
  t.same(await sensors.ask([{ ...disk, state: 'missing' }]), first, 'and so is one that is away');
  next = {
    code: 8,
    output: JSON.stringify({ ...answer, smart_status: { passed: false }, temperature: { current: 63 } }),
  };
  const failing = await sensors.ask([disk]);
  const status = { disks: [disk], directory: '/pool' };
  const none: ReadonlySet<string> = new Set();
  t.match(sensorEvents(first, failing, status, none), [
    { kind: 'disk-failing', message: /SMART/, advice: 'Replace it soon: cairn disk replace /pool 1 NEW-DIRECTORY' },
    { kind: 'disk-failing', message: /63 °C/ },
  ]);
  t.same(sensorEvents(failing, failing, status, hotDisks(none, failing)), []);
  const at = (change: Partial<DiskSensor>) => [{ ...first[0]!, ...change }];
  let hot = none;
  const told = [40, 57, 59, 61, 58, 60, 54, 61].map((temperatureCelsius) => {
    const now = at({ temperatureCelsius });
    const events = sensorEvents(first, now, status, hot);
    hot = hotDisks(hot, now);
    return events.length;
  });
  t.same(told, [0, 0, 0, 1, 0, 0, 0, 1], 'a disk that warms up slowly is told of, and once until it has cooled down');
  t.match(sensorEvents(first, at({ pendingSectors: 3 }), status, none), [
    { message: /cannot read: 3\. What stood there is read from the other disks/, advice: /cairn scrub \/pool/ },
  ]);
  t.match(sensorEvents(first, at({ reallocatedSectors: 4 }), status, none), [{ message: /replace 2 more/ }]);
  for (const [output, code, why] of [
    ['', 'ENOENT', /smartmontools/],
    ['no json', 0, /no answer/],
    [smartctl(2, {}, 'Smartctl open device: /dev/sda failed: Permission denied'), 2, /Permission denied/],
    [smartctl(1, {}, '/dev/vda: Unable to detect device type'), 1, /Unable to detect/],
    [smartctl(2, {}, 'Device is in SLEEP mode, exit(2)'), 2, /^it sleeps, and is not woken/],
    ['{"temperature":"hot"}', 0, /no answer/],
  ] as const) {
    next = { code, output };
    t.match(await sensors.ask([{ ...disk, uuid: `other ${output}` }]), [{ smart: null, why }]);
  }
  next = { code: 2, output: smartctl(2, {}, 'Smartctl open device: /dev/sda failed: No such device') };
  t.match(await sensors.ask([disk]), [{ smart: null, why: /No such device/ }], 'gone is not asleep');
  t.match(await sensors.ask([{ ...disk, uuid: 'x', directory: '/tmpfs' }]), [
    { device: null, why: /no device of its own/ },
  ]);
});
