/** What the status page says and asks for, without a browser: its views are descriptions of elements, made here from made-up statuses. */
import t, { type Test } from 'tap';
import type { DiskSensor } from '../../../src/monitor/reports.js';
import type { DiskLoss, JobReport, PoolStatus } from '../../../src/vfs/reports.js';
import { FakePool } from '../cli/fake-pool.js';

interface Element {
  readonly tag: string;
  readonly attributes: Readonly<Record<string, unknown>>;
  readonly children: readonly (Element | string)[];
}
type Child = Element | string | number | false | null | undefined | readonly Child[];

interface Store {
  sensors: readonly DiskSensor[];
  place: { selected?: unknown; listing?: unknown; policy?: unknown; path: string };
  notice: string;
}

/** The page is a project of its own for the compiler, with a browser's types. */
async function load<T>(name: string): Promise<T> {
  return (await import(new URL(`../../../src/page/${name}.js`, import.meta.url).href)) as T;
}
const { overview } = await load<{ overview(status: PoolStatus): Child }>('overview');
const { files } = await load<{ files(): Child }>('files');
const { store } = await load<{ store: Store }>('store');

function elements(child: Child): Element[] {
  if (Array.isArray(child)) return child.flatMap((each: Child) => elements(each));
  if (typeof child !== 'object' || child === null) return [];
  const element = child as Element;
  return [element, ...element.children.flatMap((each) => elements(each))];
}

function textOf(child: Child): string {
  if (Array.isArray(child)) return child.map((each: Child) => textOf(each)).join(' ');
  if (typeof child === 'object' && child !== null) return textOf((child as Element).children);
  return typeof child === 'string' || typeof child === 'number' ? String(child) : '';
}

/** Text of the first element of that class. */
function partOf(child: Child, name: string): string {
  const found = elements(child).find(({ attributes }) =>
    String(attributes['class'] ?? '')
      .split(' ')
      .includes(name),
  );
  return found === undefined ? '' : textOf(found);
}

/** Presses the button with that text, and resolves when what it asked for has been answered. */
async function press(t: Test, child: Child, text: string, answer: unknown): Promise<{ path: string; body: unknown }> {
  const button = elements(child).find((each) => each.tag === 'button' && textOf(each) === text);
  if (button === undefined) throw new Error(`there is no button ${text}`);
  const { fetch, requestAnimationFrame, document } = globalThis as Record<string, unknown>;
  t.teardown(() => Object.assign(globalThis, { fetch, requestAnimationFrame, document }));
  const drawn = new Promise<void>((resolve) => {
    Object.assign(globalThis, {
      document: { hidden: false },
      requestAnimationFrame: (draw: () => void) => {
        draw();
        resolve();
      },
    });
  });
  const asked = { path: '', body: undefined as unknown };
  globalThis.fetch = async (path, init) => {
    Object.assign(asked, { path: String(path), body: JSON.parse(String(init?.body ?? 'null')) });
    return new Response(JSON.stringify(answer));
  };
  (button.attributes['onclick'] as () => void)();
  await drawn;
  return asked;
}

const JOB: JobReport = {
  name: 'scrub',
  state: 'running',
  line: 'disk 1',
  doneBytes: 2 ** 20,
  totalBytes: 2 ** 22,
  bytesPerSecond: 2 ** 20,
  leftMs: 3000,
  fullSpeed: false,
  startedMs: 1,
  endedMs: null,
  report: null,
};

async function statusOf(change: Partial<PoolStatus> = {}): Promise<PoolStatus> {
  const status = await new FakePool('/pool').status();
  const disk = { ...status.disks[0]!, number: 1, uuid: 'a', state: 'online' as const, reason: '' };
  return { ...status, health: 'healthy', findings: [], disks: [disk], ...change };
}

t.test('what has not been counted is not called safe', async (t) => {
  const loss: DiskLoss = {
    role: 'data',
    number: 1,
    uuid: 'a',
    directory: '/d1',
    state: 'online',
    chunks: 0,
    bytes: 0,
    files: [],
    moreFiles: 0,
  };
  const forecast = (counted: number, bytes = 0) =>
    ({ format: 1, counted, unreadable: { chunks: 0, bytes: 0 }, disks: [{ ...loss, bytes }] }) as const;
  const said = async (counted: number, bytes?: number) =>
    partOf(overview(await statusOf({ forecast: forecast(counted, bytes) })), 'loss');
  t.equal(await said(0), 'What would be lost if it died now: counting, 0 % so far.');
  t.match(await said(0.999, 2048), /2 KiB would be lost, and more may be: counting, 99 % so far/);
  t.equal(await said(1), 'If it died now: nothing would be lost.');
});

t.test('a disk that is away: what it means, and what to do', async (t) => {
  const status = await statusOf();
  const away = { ...status.disks[0]!, state: 'missing' as const, reason: 'it is not there' };
  const finding = `the data disk at ${away.directory} is missing: it is not there`;
  const page = overview({ ...status, health: 'degraded', findings: [finding], disks: [away] });
  t.match(partOf(page, 'todo'), /Disk 1 is missing.*It is not there\..*Nothing is lost.*cable.*Replace Disk 1/s);
  t.equal(partOf(page, 'finding'), '', 'it is said once');
  t.match(textOf(page), /Held back .* as long as a disk is away/);
  t.notMatch(partOf(overview({ ...status, health: 'failed', disks: [away] }), 'todo'), /Nothing is lost/);
});

t.test('how it is mounted, and what that promises', async (t) => {
  const said = async (change: Partial<PoolStatus>) =>
    partOf(overview(await statusOf({ mountpoint: '/m', ...change })), 'mounted');
  t.match(await said({ mode: 'strong' }), /^Mounted at \/m in strong mode: what a program has synced or closed is on/);
  t.match(await said({}), /in default mode: .* safe in the cache at once/);
  t.match(await said({ readOnly: true, passthrough: true }), /^Mounted read-only at \/m: .*\(passthrough\)\.$/);
  t.notMatch(await said({ readOnly: true }), /passthrough/);
  t.match(await said({ writeback: true }), /keeps what is neither synced nor closed .*\(writeback\)/);
  t.notMatch(await said({}), /writeback/);
  t.equal(await said({ mountpoint: null }), 'Not mounted.');
});

t.test('what devices say of themselves', async (t) => {
  const unknown = { uuid: 'a', device: null, serial: null, pendingSectors: null, askedMs: 0, why: '' };
  t.teardown(() => {
    store.sensors = [];
  });
  store.sensors = [
    { ...unknown, model: 'WDC', temperatureCelsius: 41, smart: 'failing', poweredOnHours: 48, reallocatedSectors: 1 },
  ];
  t.match(textOf(overview(await statusOf())), 'WDC · 41 °C · SMART: FAILING · 2 days powered on · 1 replaced sector');
  const none = { model: null, temperatureCelsius: null, smart: null, poweredOnHours: null, reallocatedSectors: null };
  store.sensors = [{ ...unknown, ...none, why: 'smartctl is not installed' }];
  t.match(textOf(overview(await statusOf())), 'Temperature and SMART are not shown: smartctl is not installed.');
});

t.test('a job: how far it is, and a word to it', async (t) => {
  const running = overview(await statusOf({ jobs: [JOB] }));
  t.match(textOf(running), /Disk 1\. +1 MiB of 4 MiB, 1 MiB\/s, about 3 s left/);
  t.same(await press(t, running, 'Full speed', { ...JOB, fullSpeed: true }), {
    path: '/v1/jobs/scrub/pace',
    body: { fullSpeed: true },
  });
  t.equal(store.notice, 'scrub is running, at full speed.');
  t.same(await press(t, running, 'Pause', { ...JOB, state: 'paused' }), { path: '/v1/jobs/scrub/pause', body: {} });
  t.equal(store.notice, 'scrub is paused.');
  const paused = overview(await statusOf({ jobs: [{ ...JOB, state: 'paused', fullSpeed: true }] }));
  t.same(await press(t, paused, 'Resume', JOB), { path: '/v1/jobs/scrub/resume', body: {} });
  t.same(await press(t, paused, 'Stand back for users', { ...JOB, state: 'paused' }), {
    path: '/v1/jobs/scrub/pace',
    body: { fullSpeed: false },
  });
  await press(t, paused, 'Cancel', { error: { code: 'BUSY', message: 'it is over', hint: 'start it' } });
  t.equal(store.notice, 'it is over (start it)', 'what is refused is said, with what to do');
});

t.test('a file: its state, and the versions that S3 keeps of it', async (t) => {
  const base = { sizeBytes: 3000, modifiedMs: 0 };
  store.place.listing = {
    path: '/',
    entries: [{ ...base, name: 'a', kind: 'file', state: 'staged', health: 'degraded' }],
    next: null,
  };
  store.place.selected = {
    path: '/a',
    error: '',
    state: { ...(await new FakePool('/pool').state('/a')), health: 'degraded' },
    versions: [
      { ...base, id: 'v2', isCurrent: true, isDeleteMarker: false },
      { ...base, id: 'v1', isCurrent: false, isDeleteMarker: true },
    ],
  };
  store.place.policy = {
    path: '/db',
    isDirectory: true,
    mode: { value: 'strong', from: '/db' },
    scheme: { value: 'copies:3', from: '/' },
    compression: { value: 'off', from: null },
    commitDelayMs: { value: 60_000, from: null },
  };
  const page = files();
  t.equal(
    partOf(page, 'policy'),
    'What is written here:  strong mode (said here) · kept as copies:3 (said by /) · committed within 60 s .',
  );
  t.match(partOf(page, 'table'), /a +2\.93 KiB .*staged.*degraded/s);
  t.match(partOf(page, 'details'), /1\.95 KiB in 1 chunk \(copies:2, ec:2\+1\)/);
  t.match(partOf(page, 'versions'), /v2 +2\.93 KiB, .*, the present one +v1 +deleted, /s);
});
